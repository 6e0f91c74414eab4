"""The driver: facts of a session in, cues and a log out. It counts frames and hears nothing.

**Which state.** The facts (`Fact`) of a session are kept side by side: the agent's state, the user's, whether a tool
runs, what the application asked for, whether the session was closed. The first that applies names the state that the
session is in. Moving from the committed state to that one is a transition of a small table, held by the `transitions`
library; nothing happens in the table itself.

**What to do.** A commit compares what the new state wants with what sounds, key by key. A key has at most one loop.
Each playback stands at one of three places, and every case of the scene format is a step between them:

    wanted ---- left, and fades ----> leaving ---- its fade ends ----> gone
       ^  \\                            |
       |   '--- left, and plays out --> held ----- its time is up ---> leaving, or gone at its end
       '------- wanted again: go on <---+---- (revive, when leaving)

A change never waits for another: whatever is in mid-fade is turned at its present gain, onto the new transition's
clock. Gains are closed forms of the frame (`soundscape.gain.Envelope`), so the driver knows them without the mixer,
and both know the same.

**When.** A frame's facts are taken together and only the last state counts. Before them goes what is over by then;
after them the timers that are due, in the order in which they were set. All that changes lives in three dictionaries
of frozen records and a few counters: a copy of those is a copy of the driver.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from soundscape.clip import Clip
from soundscape.cues import Cue, Fade, Finish, Play, Stop, to_frames
from soundscape.driver.states import Fact, Facts, StateTable
from soundscape.gain import Envelope, draw
from soundscape.scene import NONE, AudioConfig, Layer, Rule, SceneModel

__all__ = ["Driver", "Entry", "Fact"]

logger = logging.getLogger("soundscape")

FINISH_SECONDS = 5.0
"""How long a sound that plays out may take before it is faded (scene format, T10)."""

SHORTEST_PICK_SECONDS = 0.002
"""How long a pick of a pool that plays on lasts at least."""

Action = Literal["commit", "hold", "cancel", "start", "level", "revive", "release", "shot", "skip"]


class Entry(NamedTuple):
    """A line of the log: what the driver decided at a frame.

    Attributes:
        at: seconds.
        frame: the same in frames.
        action: what was done.
        key: the layer's key; of a commit the state.
        gain_from: linear layer gain before it.
        gain_to: linear layer gain it leads to.
        duration: seconds it takes, or the time that is left of a hold.
        clip: the source as written.
    """

    at: float
    frame: int
    action: Action
    key: str
    gain_from: float = 0.0
    gain_to: float = 0.0
    duration: float = 0.0
    clip: str = ""


class _Playing(NamedTuple):
    """A playback as the driver knows it."""

    number: int
    key: str
    layer: Layer  # of the committed state; once left, of the state left
    place: Literal["wanted", "held", "leaving"]
    envelope: Envelope
    own_fade: bool  # the envelope's duration is the sound's own, not a transition's
    pick: AudioConfig | None  # None: silence was drawn
    pick_at: int  # the frame at which the pick's first frame sounded, or would have
    chained: bool  # pick follows pick

    @property
    def loops(self) -> bool:
        return self.layer.kind == "loop"

    @property
    def source(self) -> str:
        assert self.pick is not None, "silence has no source"
        return self.pick.source


_What = Literal["gone", "pass_ends", "release", "next_pick"]
"""What a playback's timers are for: it is over; the pass it plays out is over; its time to play out is up; the next
pick of its pool begins."""


class Driver:
    """Decides what sounds. Pure: the same facts at the same frames give the same cues and the same log.

    Args:
        scene: a scene without flaws.
        clips: clips by source; asked for lengths only, and only where a decision needs one.
        seed: of every draw.
        sample_rate: frames per second.
    """

    def __init__(self, scene: SceneModel, clips: Mapping[str, Clip], *, seed: int, sample_rate: int) -> None:
        self.log: list[Entry] = []
        self.due: float = math.inf
        """The frame of the next timer; infinite where there is none."""
        self._scene = scene
        self._clips = clips
        self._seed = seed
        self._rate = sample_rate
        self._table = StateTable(scene.known_states)
        self._wanted: Callable[[str], dict[str, Layer]] = lru_cache(maxsize=None)(scene.wanted)
        self._rule: Callable[[str, str], Rule] = lru_cache(maxsize=None)(scene.rule)
        # All that changes:
        self._facts = Facts()
        self._last_rule = self._rule(NONE, NONE)
        self._first_fact: int | None = None
        self._playing: dict[int, _Playing] = {}
        self._timers: dict[tuple[int, _What], tuple[int, int]] = {}  # due, order
        self._draws: dict[tuple[str, str], int] = {}
        self._fell_silent: dict[str, tuple[AudioConfig, int]] = {}
        self._count = 0
        self._frame = 0
        self._cues: list[Cue] = []
        self._entries: list[Entry] = []

    @property
    def state(self) -> str:
        """The committed state."""
        return self._table.committed

    @property
    def finished(self) -> bool:
        """Whether the session was closed and nothing sounds any more."""
        return self._facts.close and not self._playing

    def gain(self, key: str, frame: int) -> float:
        """The linear layer gain of a key at a frame not before the last step; 0 where nothing of it sounds."""
        # A copy: it may be asked for while another thread renders.
        playing = list(self._playing.values())
        gains = [p.envelope.at(frame) for p in playing if p.key == key and p.pick is not None]
        return max(gains, default=0.0)

    def step(self, frame: int, facts: Iterable[Fact] = ()) -> list[Cue]:
        """Takes the facts of a frame and all that is due there.

        Frames do not go backwards, and no timer may be due before this one.

        Returns:
            What the mixer has to do at this frame, in order.
        """
        self._frame = frame
        self._cues, self._entries = [], []
        self._fire(("gone", "pass_ends"))
        self._take(facts)
        self._fire(("gone", "pass_ends", "release", "next_pick"))
        self._entries.sort(key=lambda entry: (entry.action != "commit", entry.key))
        self.log.extend(self._entries)
        self.due = min(self._timers.values())[0] if self._timers else math.inf
        return self._cues

    # --- facts and commits --------------------------------------------------------------------------------------

    def _take(self, facts: Iterable[Fact]) -> None:
        cut = False
        for kind, value in facts:
            cut = cut or kind == "cut"
            if self._first_fact is None:
                self._first_fact = self._frame
            if not self._facts.close:
                change: dict[str, Any] = {"close": True} if kind in ("close", "cut") else {kind: value}
                self._facts = self._facts._replace(**change)
        state = self._facts.state(self._scene.states)
        if state not in self._table:
            logger.warning("scene %r: state %r is not defined; only the base layers sound", self._scene.name, state)
            self._table.add(state)
        if state != self.state:
            self._commit(state)
        if cut:
            for playing in list(self._playing.values()):
                self._fade(playing._replace(place="leaving"), 0.0, 0.0, "release")

    def _commit(self, state: str) -> None:
        old = self.state
        rule = self._last_rule = self._rule(old, state)
        self._table.go(state)
        self._log("commit", state)
        before, now = self._wanted(old), self._wanted(state)
        by_key: dict[str, list[_Playing]] = {key: [] for key in now}
        for playing in self._playing.values():
            by_key.setdefault(playing.key, []).append(playing)
        for key in sorted(by_key):
            layer = now.get(key)
            for playing in by_key[key]:
                if layer is None or (not playing.loops and playing.place != "wanted"):
                    self._leave(playing, rule)
                else:
                    self._go_on(playing, layer, rule)
            if layer is None:
                continue
            if layer.kind == "once":
                if key not in before:
                    self._shoot(key, layer, blocked=bool(by_key[key]))
            elif not by_key[key]:
                self._start(key, layer, rule)

    def _go_on(self, playing: _Playing, layer: Layer, rule: Rule) -> None:
        """A playback that is wanted, and was, or is again."""
        old = playing
        playing = self._put(playing._replace(layer=layer, place="wanted"))
        if playing.pick is None:
            return
        target, envelope = layer.gain, playing.envelope
        if old.place == "leaving":
            own = self._own_fade(playing, "fade_in")
            self._fade(playing, target, rule.fade_in if own is None else own, "revive", own=own is not None)
            return
        if old.place == "held":
            self._unhold(playing)
        if envelope.g1 != target:
            rises = target > envelope.at(self._frame)
            self._fade(playing, target, rule.fade_in if rises else rule.fade_out, "level")
        elif old.place == "wanted":
            self._turn(playing, rule)

    def _leave(self, playing: _Playing, rule: Rule) -> None:
        """A playback that is not wanted."""
        if playing.pick is None:
            self._drop(playing)
        elif playing.place == "leaving":
            self._turn(playing, rule)
        elif rule.urgent or self._facts.close:
            self._release(playing, rule)
        elif playing.place == "wanted":
            if playing.layer.finishes:
                self._hold(playing)
            else:
                self._release(playing, rule)

    def _turn(self, playing: _Playing, rule: Rule) -> None:
        """A playback in mid-fade whose target stays goes on by the new transition's clock (T1)."""
        envelope = playing.envelope
        if not envelope.moving(self._frame):
            return
        rises = envelope.g1 > envelope.at(self._frame)
        seconds = rule.fade_in if rises else rule.fade_out
        if playing.own_fade:
            if not rule.urgent or envelope.end - self._frame <= self._fade_frames(rule.fade_out):
                return
            seconds = rule.fade_out
        self._fade(playing, envelope.g1, seconds, "release" if playing.place == "leaving" else "level")

    # --- single steps -------------------------------------------------------------------------------------------

    def _start(self, key: str, layer: Layer, rule: Rule) -> None:
        entries = self._scene.entries(layer)
        pick = self._pick(key, entries)
        offset = 0
        if pick is not None:
            pick, offset = self._where(key, layer, pick)
        playing = _Playing(
            number=self._next_number(),
            key=key,
            layer=layer,
            place="wanted",
            envelope=Envelope.at_rest(0.0, self._frame),
            own_fade=False,
            pick=pick,
            pick_at=self._frame - offset,
            chained=sum(entry.probability > 0 for entry in entries) > 1,
        )
        if pick is None:
            self._put(playing)
            return
        own = self._own_fade(playing, "fade_in")
        seconds = rule.fade_in if own is None else own
        # Only a clip's own beginning may set in at full level; anything else would click.
        at_once = seconds == 0 and offset == 0
        duration = 0 if at_once else self._fade_frames(seconds)
        envelope = Envelope(self._frame, duration, 0.0, layer.gain)
        playing = self._put(playing._replace(envelope=envelope, own_fade=own is not None))
        self._play(playing, offset=offset)
        self._log("start", key, 0.0, layer.gain, duration, pick.source)

    def _shoot(self, key: str, layer: Layer, *, blocked: bool) -> None:
        pick = self._pick(key, self._scene.entries(layer))
        if pick is None:
            return
        if blocked:
            self._log("skip", key, clip=pick.source)
            return
        playing = _Playing(
            self._next_number(), key, layer, "wanted", Envelope.at_rest(layer.gain), False, pick, self._frame, False
        )
        own = self._own_fade(playing, "fade_in")
        if own:
            envelope = Envelope(self._frame, self._fade_frames(own), 0.0, layer.gain)
            playing = playing._replace(envelope=envelope, own_fade=True)
        self._put(playing)
        self._play(playing, offset=0)
        self._timer(playing, "gone", self._natural_end(playing))
        self._log("shot", key, playing.envelope.at(self._frame), layer.gain, playing.envelope.duration, pick.source)

    def _release(self, playing: _Playing, rule: Rule) -> None:
        own = self._own_fade(playing, "fade_out")
        if own is not None and rule.urgent and own > rule.fade_out:
            own = None  # capped, it is the transition's from the first frame on
        seconds = rule.fade_out if own is None else own
        self._fade(playing._replace(place="leaving"), 0.0, seconds, "release", own=own is not None)

    def _hold(self, playing: _Playing) -> None:
        """It plays out, for a bounded time (T10)."""
        left = self._natural_end(playing) - self._frame
        if playing.loops and not playing.chained:
            period = self._clips[playing.source].period
            left = period - (self._frame - playing.pick_at) % period
        bound = to_frames(FINISH_SECONDS, self._rate)
        playing = self._put(playing._replace(place="held"))
        self._timers.pop((playing.number, "next_pick"), None)
        if left > bound:
            self._timer(playing, "release", self._frame + bound)
        elif playing.loops:
            self._timer(playing, "pass_ends", self._frame + left)
        gain = playing.envelope.at(self._frame)
        self._log("hold", playing.key, gain, gain, min(left, bound), playing.source)

    def _unhold(self, playing: _Playing) -> None:
        self._timers.pop((playing.number, "release"), None)
        self._timers.pop((playing.number, "pass_ends"), None)
        if playing.chained:
            self._time_next_pick(playing)
        gain = playing.envelope.at(self._frame)
        self._log("cancel", playing.key, gain, gain, clip=playing.source)

    def _fade(self, playing: _Playing, target: float, seconds: float, action: Action, *, own: bool = False) -> None:
        duration = self._fade_frames(seconds)
        before = playing.envelope.at(self._frame)
        envelope = playing.envelope.towards(target, self._frame, duration)
        playing = self._put(playing._replace(envelope=envelope, own_fade=own))
        self._cues.append(Fade(self._frame, playing.number, target, duration))
        self._log(action, playing.key, before, target, duration, playing.source)
        if playing.chained and (playing.number, "next_pick") not in self._timers:
            self._time_next_pick(playing)  # it was playing out; a fade spans the picks
        if playing.place == "leaving":
            end = envelope.end if playing.loops else min(envelope.end, self._natural_end(playing))
            self._timer(playing, "gone", end)
            self._timers.pop((playing.number, "release"), None)
            self._timers.pop((playing.number, "pass_ends"), None)
        elif playing.loops:
            self._timers.pop((playing.number, "gone"), None)

    # --- chance and picks ---------------------------------------------------------------------------------------

    def _draw(self, key: str, purpose: str) -> float:
        n = self._draws.get((key, purpose), 0)
        self._draws[key, purpose] = n + 1
        return draw(self._seed, key, purpose, n)

    def _pick(self, key: str, entries: tuple[AudioConfig, ...], *, silence: bool = True) -> AudioConfig | None:
        """The first entry in the file's order whose summed share exceeds the draw (T14)."""
        total = sum(entry.probability for entry in entries)
        u = self._draw(key, "pick") * (max(total, 1.0) if silence else total)
        summed = 0.0
        for entry in entries:
            summed += entry.probability
            if summed > u:
                return entry
        if silence and total < 1.0:
            return None
        return next(entry for entry in reversed(entries) if entry.probability > 0)  # a sum rounded below 1

    def _where(self, key: str, layer: Layer, pick: AudioConfig) -> tuple[AudioConfig, int]:
        """Which pick a loop begins with, and at which of its frames (T5)."""
        if layer.start == "resume":
            return self._fell_silent.get(key, (pick, 0))
        if layer.start == "random":
            return pick, int(self._draw(key, "start") * self._clips[pick.source].period)
        if layer.start == "elapsed":
            assert self._first_fact is not None
            return pick, (self._frame - self._first_fact) % self._clips[pick.source].period
        return pick, 0

    def _next_pick(self, playing: _Playing) -> None:
        """The next pick of a loop that is a pool crosses in over the end of the last one (T11)."""
        left = max(0, self._natural_end(playing) - self._frame)
        pick = self._pick(playing.key, self._scene.entries(playing.layer), silence=False)
        playing = self._put(playing._replace(pick=pick, pick_at=self._frame))
        self._play(playing, offset=0, crossfade=left)

    def _play(self, playing: _Playing, *, offset: int, crossfade: int = 0) -> None:
        pick = playing.pick
        assert pick is not None
        loop = playing.loops and not playing.chained
        cue = Play(self._frame, playing.number, pick.source, offset, loop, pick.volume, playing.envelope, crossfade)
        self._cues.append(cue)
        if playing.chained and playing.loops:
            self._time_next_pick(playing)

    def _time_next_pick(self, playing: _Playing) -> None:
        length = self._clips[playing.source].length
        crossfade = min(self._fade_frames(self._scene.defaults.crossfade), length // 4)
        # However short the clips are, what there is to do for each bounds how many there may be.
        earliest = self._frame + to_frames(SHORTEST_PICK_SECONDS, self._rate)
        self._timer(playing, "next_pick", max(earliest, self._natural_end(playing) - crossfade))

    # --- records ------------------------------------------------------------------------------------------------

    def _fire(self, kinds: tuple[_What, ...]) -> None:
        """Does what is due at this frame, in the order in which it was set."""
        while ready := [
            (at, timer) for timer, at in self._timers.items() if at[0] <= self._frame and timer[1] in kinds
        ]:
            number, what = min(ready)[1]
            del self._timers[number, what]
            playing = self._playing[number]
            if what == "next_pick":
                self._next_pick(playing)
            elif what == "release":
                self._release(playing, self._last_rule)
            else:
                # What a clip has beyond its loop, 0.1 s at most, is the clip's end: nobody holds it.
                self._drop(playing, Finish if what == "pass_ends" and not playing.chained else Stop)

    def _drop(self, playing: _Playing, cue: type[Stop | Finish] = Stop) -> None:
        del self._playing[playing.number]
        for timer in [timer for timer in self._timers if timer[0] == playing.number]:
            del self._timers[timer]
        if playing.pick is None:
            return
        if playing.loops:
            clip = self._clips[playing.source]
            position = self._frame - playing.pick_at
            if not playing.chained:
                self._fell_silent[playing.key] = (playing.pick, position % clip.period)
            elif position < clip.length:
                self._fell_silent[playing.key] = (playing.pick, position)
            else:
                self._fell_silent.pop(playing.key, None)
        self._cues.append(cue(self._frame, playing.number))

    def _put(self, playing: _Playing) -> _Playing:
        self._playing[playing.number] = playing
        return playing

    def _timer(self, playing: _Playing, what: _What, due: int) -> None:
        self._timers[playing.number, what] = (due, self._next_number())

    def _next_number(self) -> int:
        self._count += 1
        return self._count

    def _natural_end(self, playing: _Playing) -> int:
        """The frame at which the pick's clip is over."""
        return playing.pick_at + self._clips[playing.source].length

    def _own_fade(self, playing: _Playing, which: Literal["fade_in", "fade_out"]) -> float | None:
        """The layer's own fade, else the pick's, else none."""
        own: float | None = getattr(playing.layer, which)
        return getattr(playing.pick, which) if own is None else own

    def _fade_frames(self, seconds: float) -> int:
        return to_frames(max(seconds, self._scene.defaults.declick), self._rate)

    def _log(
        self,
        action: Action,
        key: str,
        gain_from: float = 0.0,
        gain_to: float = 0.0,
        duration: int = 0,
        clip: str = "",
    ) -> None:
        at, seconds = self._frame / self._rate, duration / self._rate
        self._entries.append(Entry(at, self._frame, action, key, gain_from, gain_to, seconds, clip))
