"""Sounds of the moment: what the application asks to be played. They know nothing of states and layers."""

from __future__ import annotations

import math
from typing import NamedTuple

from soundscape.cues import Fade, Play, Stop
from soundscape.driver.facts import Moment
from soundscape.driver.notes import Action, Notes
from soundscape.gain import Envelope
from soundscape.scene import MAIN, Rule

__all__ = ["Moments"]

_ENDS = 1_000
"""Ends that are remembered however old they are."""


class _Sounding(NamedTuple):
    """A moment that sounds."""

    moment: Moment
    playback: int
    began: int
    envelope: Envelope
    leaving: bool = False

    @property
    def natural_end(self) -> float:
        return math.inf if self.moment.loop else self.began + self.moment.clip.length

    @property
    def key(self) -> str:
        return f"play {self.moment.source}"


class Moments:
    """The sounds of the moment of one run.

    Args:
        notes: where cues, log entries and timers go.
    """

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self.sounding: dict[int, _Sounding] = {}
        """By the moment's number."""
        self.ends: dict[int, float] = {}
        """By the moment's number, the frame at which it is over, once it has begun; infinite where it goes on."""

    def play(self, moment: Moment, declick: int) -> None:
        """Begins a sound, at the clip's beginning: without a fade-in at full level."""
        frame = self._notes.frame
        duration = max(self._notes.frames(moment.fade_in), declick) if moment.fade_in else 0
        envelope = Envelope(frame, duration, 0.0, moment.volume)
        sound = self.sounding[moment.number] = _Sounding(moment, self._notes.number(), frame, envelope)
        cue = Play(
            at=frame,
            playback=sound.playback,
            key=sound.key,
            source=moment.source,
            clips={moment.source: moment.clip},
            offset=0,
            loop=moment.loop,
            gain=1.0,
            bus=MAIN,
            lufs=None,
            envelope=envelope,
        )
        self._notes.cues.append(cue)
        action: Action = "start" if moment.loop else "shot"
        self._notes.log(action, sound.key, envelope.at(frame), moment.volume, duration, moment.source)
        self._ends(moment.number, sound.natural_end)

    def stop(self, number: int, declick: int) -> None:
        """Ends a sound by its own fade-out. One that would begin at this frame is not heard at all."""
        sound = self.sounding.get(number)
        if sound is not None and sound.began == self._notes.frame:
            self._notes.log("release", sound.key, sound.envelope.at(sound.began), 0.0, 0, sound.moment.source)
            self.over(number)
        elif sound is not None and not sound.leaving:
            self._leave(sound, max(self._notes.frames(sound.moment.fade_out), declick))

    def close(self, rule: Rule, declick: int) -> None:
        """Ends all of them as a transition does: by their own fade-out, else by its."""
        for sound in list(self.sounding.values()):
            if not sound.leaving:
                own = sound.moment.fade_out
                seconds = own if own and not (rule.urgent and own > rule.fade_out) else rule.fade_out
                self._leave(sound, max(self._notes.frames(seconds), declick))

    def cut(self, declick: int) -> None:
        """Ends all of them as quickly as can be without a click."""
        for sound in list(self.sounding.values()):
            if not sound.leaving or sound.envelope.end > self._notes.frame + declick:
                self._leave(sound, declick)

    def over(self, number: int) -> None:
        """A sound is over."""
        sound = self.sounding.pop(number)
        self._notes.drop_timer(number, "over")
        self._notes.cues.append(Stop(self._notes.frame, sound.playback))
        self.ends[number] = self._notes.frame

    def forget(self, frame: int) -> None:
        """Lets go of the ends before a frame, but for the last thousand: who waits for one may be held up."""
        old = sorted((end, number) for number, end in self.ends.items() if end < frame)
        for _, number in old[:-_ENDS]:
            del self.ends[number]

    def _leave(self, sound: _Sounding, duration: int) -> None:
        frame, number = self._notes.frame, sound.moment.number
        envelope = sound.envelope.towards(0.0, frame, duration)
        self.sounding[number] = sound._replace(envelope=envelope, leaving=True)
        self._notes.cues.append(Fade(frame, sound.playback, 0.0, duration))
        self._notes.log("release", sound.key, envelope.g0, 0.0, duration, sound.moment.source)
        self._ends(number, min(envelope.end, sound.natural_end))

    def _ends(self, number: int, end: float) -> None:
        self.ends[number] = end
        if end < math.inf:
            self._notes.set_timer(number, "over", int(end))
