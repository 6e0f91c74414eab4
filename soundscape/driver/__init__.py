"""The driver: facts of a session in, cues and a log out. It counts frames and hears nothing.

**Which state.** The facts (`Fact`) of a session are kept side by side: the agent's state, the user's, whether a tool
runs, what the application asked for, whether the session was closed. The first that applies names the state that the
session is in. A change to that state may have to settle; then it is committed: a transition of a small table, held by
the `transitions` library. Nothing happens in the table itself.

**What to do.** A commit compares what the new state wants with what is there, key by key. A key has at most one loop;
`playbacks` has the steps that one can take. What is wanted and does not sound yet waits for one of two timers: `start`
(the layer's `after`) and `gap` (a scatter's next shot).

A change never waits for another: whatever is in mid-fade is turned at its present gain, onto the new transition's
clock.

**When.** A frame's facts are taken together and only the last state counts. Before them goes what is over by then;
after them a change that has settled, then the other timers that are due, in the order in which they were set. All that
changes lives in dictionaries of frozen records and a few plain values: a copy of those is a copy of the driver.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from soundscape.clip import Clip
from soundscape.cues import Cue, Gain
from soundscape.driver.chance import Chance
from soundscape.driver.ducks import Ducks
from soundscape.driver.facts import Fact, SetGain
from soundscape.driver.moments import Moments
from soundscape.driver.notes import Entry, Notes
from soundscape.driver.playbacks import Playback, Playbacks
from soundscape.driver.states import Facts, StateTable
from soundscape.gain import db_to_linear
from soundscape.scene import HOST_STATES, NONE, Rule, SceneModel
from soundscape.scene.flaws import nearest
from soundscape.scene.tables import Layer

__all__ = ["Driver", "Entry", "Fact"]

logger = logging.getLogger("soundscape")

LEAST_GAP_SECONDS = 0.02
"""How far apart the shots of a scatter are due at least: however short its sounds and gaps are, each costs something
(*measured*, a hundred layers of the shortest: a fifth of a core)."""

_OVER = ("gone", "pick_ends", "over")
"""Timers of what ends by itself: over in a frame, it is over before that frame's facts."""

_OTHERS = (*_OVER, "pass_ends", "min_play", "release", "next_pick", "start", "gap", "recovery")


class _Pending(NamedTuple):
    """A change that has not settled yet."""

    state: str
    left_at: int  # the frame at which the committed state was left


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
        self._wanted: Callable[[str], dict[str, Layer]] = lru_cache(maxsize=None)(scene.wanted)
        self._rule: Callable[[str, str], Rule] = lru_cache(maxsize=None)(scene.rule)
        self._table = StateTable(scene.known_states)
        self._notes = Notes(sample_rate)
        self._chance = Chance(seed)
        self._playbacks = Playbacks(scene, clips, self._chance, self._notes)
        self._ducks = Ducks(scene.ducks, self._notes, self._declick)
        self._moments = Moments(self._notes)
        self._facts = Facts()
        self._last_rule = self._rule(NONE, NONE)
        self._first_fact: int | None = None
        self._pending: _Pending | None = None
        self._armed: dict[str, int] = {}
        """By key, since when a layer is wanted that waits for its `after`."""
        self._last_shot: dict[str, int] = {}
        """By key, the frame at which a `once` last sounded."""

    def snapshot(self) -> tuple[Any, ...]:
        """Everything there is to know about the present, for `restore`."""
        values = self._facts, self._last_rule, self._first_fact, self._pending, self._notes.count
        return self.state, len(self.log), values, [changing.copy() for changing in self._dictionaries]

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Goes back to a snapshot, which stays as it is."""
        state, length, values, dictionaries = snapshot
        self._table.go(state)
        del self.log[length:]
        self._facts, self._last_rule, self._first_fact, self._pending, self._notes.count = values
        for changing, kept in zip(self._dictionaries, dictionaries, strict=True):
            changing.clear()
            changing.update(kept)
        self.due = self._notes.due

    @property
    def _dictionaries(self) -> tuple[dict[Any, Any], ...]:
        """All that changes beside a few values."""
        chance, playbacks, ducks = self._chance, self._playbacks, self._ducks
        return (
            *(self._armed, self._last_shot, self._notes.timers),
            *(chance.draws, chance.last, chance.bags),
            *(playbacks.playing, playbacks.fell_silent),
            *(ducks.active, ducks.envelopes),
            *(self._moments.sounding, self._moments.ends),
        )

    @property
    def state(self) -> str:
        """The committed state."""
        return self._table.committed

    @property
    def finished(self) -> bool:
        """Whether the session was closed and nothing sounds any more."""
        return self._facts.close and not self._playbacks.playing and not self._moments.sounding

    @property
    def moments(self) -> Mapping[int, float]:
        """The sounds of the moment that have begun, by number, and the frame at which each is over."""
        return self._moments.ends

    def gain(self, key: str, frame: int) -> float:
        """The linear layer gain of a key at a frame not before the last step; 0 where nothing of it sounds."""
        # A copy: it may be asked for while another thread renders.
        playing = list(self._playbacks.playing.values())
        return max((p.envelope.at(frame) for p in playing if p.key == key and p.pick is not None), default=0.0)

    def bus_gain(self, bus: str, frame: int) -> float:
        """The linear gain of a bus under its ducks at a frame not before the last step."""
        return self._ducks.gain(bus, frame)

    def step(self, frame: int, facts: Iterable[Fact] = ()) -> list[Cue]:
        """Takes the facts of a frame and all that is due there.

        Frames do not go backwards, and no timer may be due before this one.

        Returns:
            What the mixer has to do at this frame, in order.
        """
        notes = self._notes
        notes.begin(frame)
        self._fire(_OVER)
        self._take(facts)
        if notes.ready(("settle",)) and self._pending is not None:
            self._commit(self._pending.state)
        self._fire(_OTHERS)
        notes.entries.sort(key=lambda entry: (entry.action != "commit", entry.key))
        self.log.extend(notes.entries)
        self.due = notes.due
        return notes.cues

    # --- facts and states -----------------------------------------------------------------------------------------

    def _take(self, facts: Iterable[Fact]) -> None:
        cut = False
        for kind, value in facts:
            cut = cut or kind == "cut"
            if self._first_fact is None:
                self._first_fact = self._notes.frame
            if self._facts.close:
                continue
            if kind == "gain":
                self._set_gain(value)
            elif kind == "play":
                self._moments.play(value, self._declick)
            elif kind == "stop":
                self._moments.stop(value, self._declick)
            elif kind in ("close", "cut"):
                self._facts = self._facts._replace(close=True)
                self._moments.close(self._rule(self.state, NONE), self._declick)
            else:
                self._facts = self._facts._replace(**{kind: value})
        self._ducks.take(self._facts)
        state = self._facts.state(self._scene.states)
        if state not in self._table:
            if self._scene.first_told(state):
                hint = nearest(state, (*HOST_STATES, *self._scene.states))
                what = "scene %r: state %r is not defined; only the base layers sound%s"
                logger.warning(what, self._scene.name, state, hint and f"; {hint}")
            self._table.add(state)
        if state == self.state:
            self._stay()
        elif self._pending is None or state != self._pending.state:
            self._head_for(state)
        if cut:
            self._playbacks.cut()
            self._moments.cut(self._declick)

    @property
    def _declick(self) -> int:
        return self._playbacks.fade_frames(0.0)

    def _set_gain(self, wish: SetGain) -> None:
        """A gain that is set has an envelope of its own, which the mixer keeps: nothing here is decided by it."""
        duration = self._playbacks.fade_frames(wish.fade)
        self._notes.cues.append(Gain(self._notes.frame, wish.of, wish.name, db_to_linear(wish.gain_db), duration))

    def _stay(self) -> None:
        """The committed state is the session's, or is it again."""
        if self._pending is None:
            return
        self._cancel_pending()
        for key in [key for key in self._armed if (key, "start") not in self._notes.timers]:
            self._wait(key, self._wanted(self.state)[key])

    def _head_for(self, state: str) -> None:
        """Another state is the session's: it is committed, at once or when it has settled (T8)."""
        left_at = self._notes.frame if self._pending is None else self._pending.left_at
        if self._pending is not None:
            self._cancel_pending()
        settle = 0.0 if self._facts.close else self._rule(self.state, state).settle
        left = left_at + self._notes.frames(settle) - self._notes.frame
        if left <= 0:
            self._commit(state)
            return
        self._pending = _Pending(state, left_at)
        self._notes.set_timer("", "settle", self._notes.frame + left)
        self._notes.log("settle", state, duration=left)

    def _cancel_pending(self) -> None:
        assert self._pending is not None
        self._notes.drop_timer("", "settle")
        self._notes.log("cancel", self._pending.state)
        self._pending = None

    # --- commits --------------------------------------------------------------------------------------------------

    def _commit(self, state: str) -> None:
        old = self.state
        rule = self._last_rule = self._rule(old, state)
        self._pending = None
        self._table.go(state)
        self._notes.log("commit", state)
        before, now = self._wanted(old), self._wanted(state)
        by_key: dict[str, list[Playback]] = {key: [] for key in now}
        for playback in self._playbacks.playing.values():
            by_key.setdefault(playback.key, []).append(playback)
        for key in self._armed:
            by_key.setdefault(key, [])
        for key in before:
            by_key.setdefault(key, [])
        for key in sorted(by_key):
            self._compare(key, by_key[key], now.get(key), rule, entered=key not in before)

    def _compare(self, key: str, playing: list[Playback], layer: Layer | None, rule: Rule, *, entered: bool) -> None:
        """What is there of a key against what is wanted of it."""
        for playback in playing:
            if layer is None or (not playback.loops and playback.place != "wanted"):
                self._playbacks.leave(playback, rule, at_once=rule.urgent or self._facts.close)
            else:
                self._playbacks.go_on(playback, layer, rule)
        if layer is None:
            self._disarm(key)
        elif key in self._armed:
            self._wait(key, layer)
        elif (not playing) if layer.kind == "loop" else entered:
            if layer.after:
                self._armed[key] = self._notes.frame
                self._wait(key, layer)
            else:
                self._set_in(key, layer, rule.fade_in)

    def _wait(self, key: str, layer: Layer) -> None:
        """A layer that is wanted waits until its `after` has passed, counted from when it became wanted (T7)."""
        due = self._armed[key] + self._notes.frames(layer.after)
        if due <= self._notes.frame:
            self._notes.drop_timer(key, "start")
            self._come(key, layer)
        elif self._notes.timers.get((key, "start"), (None,))[0] != due:
            self._notes.set_timer(key, "start", due)
            self._notes.log("arm", key, duration=due - self._notes.frame)

    def _disarm(self, key: str) -> None:
        """Nothing of a key is wanted: what waited dies. Where something is released, that says enough."""
        armed = self._armed.pop(key, None) is not None
        waited = self._notes.drop_timer(key, "start", "gap") or armed
        if waited and not any(entry.action == "release" and entry.key == key for entry in self._notes.entries):
            self._notes.log("cancel", key)

    def _come(self, key: str, layer: Layer) -> None:
        """A layer has waited long enough. The transition by which it became wanted is history."""
        del self._armed[key]
        lowest = self._scene.defaults
        self._set_in(key, layer, lowest.crossfade if lowest.fade_in is None else lowest.fade_in)

    def _set_in(self, key: str, layer: Layer, fade_in: float) -> None:
        if layer.kind == "loop":
            assert self._first_fact is not None
            self._playbacks.start(key, layer, fade_in, self._notes.frame - self._first_fact)
        elif layer.kind == "once":
            self._shoot_once(key, layer)
        else:
            span = layer.interval if layer.first is None else layer.first
            assert span is not None
            wait = self._notes.frames(self._chance.between(key, "first", span))
            self._notes.set_timer(key, "gap", self._notes.frame + wait)

    # --- shots ----------------------------------------------------------------------------------------------------

    def _sounding(self, key: str) -> int:
        return sum(playback.key == key for playback in self._playbacks.playing.values())

    def _shoot_once(self, key: str, layer: Layer) -> None:
        """One shot. What is blocked is dropped, not queued (T13)."""
        pick = self._chance.pick(key, self._scene.pool(layer), silence=True)
        if pick is None:
            return
        frame = self._notes.frame
        last = self._last_shot.get(key)
        cooling = last is not None and frame < last + self._notes.frames(layer.cooldown or 0.0)
        if cooling or self._sounding(key):
            self._notes.log("skip", key, clip=pick.entry.source)
            return
        self._last_shot[key] = frame
        self._playbacks.shoot(key, layer, pick)

    def _scatter(self, key: str) -> None:
        """A scatter's shot is due, and the gap to the next one is drawn (T12)."""
        layer = self._wanted(self.state)[key]
        assert layer.interval is not None
        frame, lasts = self._notes.frame, 0
        pick = self._chance.pick(key, self._scene.pool(layer), silence=True)
        if pick is not None and self._sounding(key) >= (layer.max_playbacks or 1):
            self._notes.log("skip", key, clip=pick.entry.source)
        elif pick is not None:
            lasts = self._playbacks.shoot(key, layer, pick)
        gap = self._notes.frames(self._chance.between(key, "interval", layer.interval))
        least = max(1, self._notes.frames(LEAST_GAP_SECONDS))
        self._notes.set_timer(key, "gap", frame + max(least, lasts + gap))

    # --- timers ---------------------------------------------------------------------------------------------------

    def _fire(self, whats: tuple[str, ...]) -> None:
        """Does what is due at this frame, in the order in which it was set."""
        while found := self._notes.ready(whats):
            owner, what = found
            if what == "over":
                assert isinstance(owner, int)
                self._moments.over(owner)
            elif what == "gap":
                self._scatter(str(owner))
            elif what == "recovery":
                assert isinstance(owner, int)
                self._ducks.recover(owner)
            elif what != "start":
                assert isinstance(owner, int)
                self._playbacks.due(owner, what, self._last_rule)
            elif self._pending is None:  # else it waits for what becomes of the change
                self._come(str(owner), self._wanted(self.state)[str(owner)])
