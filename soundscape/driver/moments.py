"""Sounds of the moment: what the application asks to be played. They know nothing of states and layers.

**Sound that is fed** comes in pieces, each a fact. A piece begins where the one before it ends, to the frame; one that
comes too late for that, where it comes: the sound pauses, and nothing of it is lost. So what sounds at a frame is a
closed form of the facts before it, as everything here, and an output may go back as it likes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from soundscape.clip import Clip
from soundscape.cues import Fade, Play, Stop
from soundscape.driver.facts import Moment, Piece
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
    until: float  # the frame at which what is known of it ends; infinite for a loop
    leaving: bool = False
    fed: bool = False  # more may come
    frames: int = 0  # how many were fed
    pieces: tuple[Piece, ...] = ()  # which have not begun

    @property
    def natural_end(self) -> float:
        return math.inf if self.fed else self.until

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
        """Begins a sound, at the clip's beginning: without a fade-in at full level. One that is fed begins with its
        first piece."""
        frame, clip = self._notes.frame, moment.clip
        duration = max(self._notes.frames(moment.fade_in), declick) if moment.fade_in else 0
        envelope = Envelope(frame, duration, 0.0, moment.volume)
        until = frame if clip is None else math.inf if moment.loop else frame + clip.length
        sound = _Sounding(moment, self._notes.number(), frame, envelope, until, fed=clip is None)
        self.sounding[moment.number] = sound
        if clip is not None:
            self._cue(sound, moment.source, {moment.source: clip})
        action: Action = "start" if moment.loop or clip is None else "shot"
        self._notes.log(action, sound.key, envelope.at(frame), moment.volume, duration, moment.source)
        self._ends(moment.number, sound.natural_end)

    def feed(self, piece: Piece) -> None:
        """Takes what follows of a sound."""
        sound, frame = self.sounding.get(piece.number), self._notes.frame
        if sound is None or not sound.fed:
            return
        if not piece.frames:
            self.sounding[piece.number] = sound._replace(fed=False)
            self._ends(piece.number, min(sound.envelope.end, sound.until) if sound.leaving else sound.until)
            return
        begins = max(sound.until, frame)
        sound = sound._replace(until=begins + piece.frames, frames=sound.frames + piece.frames)
        if begins == frame:
            self._cue(sound, piece.source, piece.clips)
        else:
            sound = sound._replace(pieces=(*sound.pieces, piece))
            if len(sound.pieces) == 1:
                self._notes.set_timer(piece.number, "piece", int(begins))
        self.sounding[piece.number] = sound

    def next_piece(self, number: int) -> None:
        """The piece that sounded is over, the next one begins."""
        sound = self.sounding[number]
        piece, *others = sound.pieces
        self._cue(sound, piece.source, piece.clips)
        self.sounding[number] = sound._replace(pieces=tuple(others))
        if others:
            self._notes.set_timer(number, "piece", self._notes.frame + piece.frames)

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
        self._notes.drop_timer(number, "over", "piece")
        self._notes.cues.append(Stop(self._notes.frame, sound.playback))
        # The word that no more would come may have come after the last of it was over.
        self.ends[number] = min(self.ends[number], self._notes.frame)

    def forget(self, frame: int) -> None:
        """Lets go of the ends before a frame, but for the last thousand: who waits for one may be held up."""
        old = sorted((end, number) for number, end in self.ends.items() if end < frame)
        for _, number in old[:-_ENDS]:
            del self.ends[number]

    def _cue(self, sound: _Sounding, source: str, clips: Mapping[str, Clip]) -> None:
        play = Play(
            at=self._notes.frame,
            playback=sound.playback,
            key=sound.key,
            source=source,
            clips=clips,
            offset=0,
            loop=sound.moment.loop,
            gain=1.0,
            bus=MAIN,
            lufs=None,
            envelope=sound.envelope,
        )
        self._notes.cues.append(play)

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
