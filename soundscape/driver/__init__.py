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
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from soundscape.clip import Clip
from soundscape.cues import Cue, Gain
from soundscape.driver.chance import Chance
from soundscape.driver.ducks import Ducks
from soundscape.driver.facts import Fact, SetGain, Switch
from soundscape.driver.moments import Moments
from soundscape.driver.notes import Entry, Notes
from soundscape.driver.playback import Playback
from soundscape.driver.playbacks import Playbacks
from soundscape.driver.scenery import Scenery
from soundscape.driver.shots import Shots
from soundscape.driver.states import Facts, StateTable
from soundscape.gain import db_to_linear
from soundscape.scene import HOST_STATES, NONE, Rule, SceneModel
from soundscape.scene.flaws import nearest
from soundscape.scene.tables import Layer

__all__ = ["Driver", "Entry", "Fact"]

logger = logging.getLogger("soundscape")

_OVER = ("gone", "pick_ends", "over", "piece")
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
        self._forgotten = 0  # how many entries there were before these
        self._scenery = Scenery(scene, clips)
        self._table = StateTable(scene.known_states)
        self._notes = Notes(sample_rate)
        self._chance = Chance(seed)
        self._playbacks = Playbacks(self._scenery, self._chance, self._notes)
        self._shots = Shots(self._playbacks, self._chance, self._notes)
        self._ducks = Ducks(self._notes, self._declick)
        self._ducks.use(scene.ducks)
        self._moments = Moments(self._notes)
        self._facts = Facts()
        self._last_rule = self._scenery.rule(NONE, NONE)
        self._first_fact: int | None = None
        self._pending: _Pending | None = None
        self._armed: dict[str, int] = {}
        """By key, since when a layer is wanted that waits for its `after`."""

    def snapshot(self) -> tuple[Any, ...]:
        """Everything there is to know about the present, for `restore`."""
        values = self._facts, self._last_rule, self._first_fact, self._pending, self._notes.count
        return (
            self.state,
            self._forgotten + len(self.log),
            self._scenery,
            values,
            [changing.copy() for changing in self._dictionaries],
        )

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Goes back to a snapshot, which stays as it is."""
        state, entries, scenery, values, dictionaries = snapshot
        self._table.go(state)
        self._use(scenery)
        del self.log[entries - self._forgotten :]
        self._facts, self._last_rule, self._first_fact, self._pending, self._notes.count = values
        for changing, kept in zip(self._dictionaries, dictionaries, strict=True):
            changing.clear()
            changing.update(kept)
        self.due = self._notes.due

    def forget(self, frame: int) -> None:
        """Lets go of what the log has before a frame, to which nobody will go back."""
        count = bisect_left(self.log, frame, key=attrgetter("frame"))
        self._forgotten += count
        del self.log[:count]
        self._moments.forget(frame)

    @property
    def _dictionaries(self) -> tuple[dict[Any, Any], ...]:
        """All that changes beside a few values."""
        chance, playbacks, ducks = self._chance, self._playbacks, self._ducks
        return (
            *(self._armed, self._shots.last, self._notes.timers),
            *(chance.draws, chance.last, chance.bags),
            *(playbacks.playing, playbacks.fell_silent),
            *(ducks.tables, ducks.former, ducks.active, ducks.envelopes),
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

    def fed(self, number: int) -> tuple[float, int] | None:
        """Up to which frame a sound of the moment was fed, and with how many, while it sounds."""
        sound = self._moments.sounding.get(number)
        return None if sound is None else (sound.until, sound.frames)

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
            state, self._pending = self._pending.state, None
            self._commit(state)
        self._fire(_OTHERS)
        notes.entries.sort(key=lambda entry: (entry.action != "commit", entry.key))
        self.log.extend(notes.entries)
        self.due = notes.due
        return notes.cues

    # --- facts and states -----------------------------------------------------------------------------------------

    def _take(self, facts: Iterable[Fact]) -> None:
        cut = False
        switch: Switch | None = None
        for fact in facts:
            cut = cut or fact.kind == "cut"
            if self._first_fact is None:
                self._first_fact = self._notes.frame
            if not self._facts.close or fact.kind == "feed":
                switch = fact.value if fact.kind == "scene" else switch
                self._take_one(*fact)
        before = self._scenery
        if switch is not None:
            self._use(switch.scenery)
            self._ducks.use(switch.scenery.scene.ducks)
        self._ducks.take(self._facts)
        state = self._facts.state(self._scenery.scene.states)
        self._know(state)
        if switch is not None:
            self._switch(state, before, switch.crossfade)
        if state == self.state:
            self._stay()
        elif self._pending is None or state != self._pending.state or switch is not None:
            self._head_for(state)
        if cut:
            self._playbacks.cut()
            self._moments.cut(self._declick)

    def _take_one(self, kind: str, value: Any) -> None:
        if kind == "gain":
            self._set_gain(value)
        elif kind == "play":
            self._moments.play(value, self._declick)
        elif kind == "feed":
            self._moments.feed(value)
        elif kind == "stop":
            self._moments.stop(value, self._declick)
        elif kind in ("close", "cut"):
            self._facts = self._facts._replace(close=True)
            self._moments.close(self._scenery.rule(self.state, NONE), self._declick)
        elif kind != "scene":
            self._facts = self._facts._replace(**{kind: value})

    def _know(self, state: str) -> None:
        """A state that the scene does not know has the base layers alone (T16)."""
        if state not in self._scenery.known_states and self._scenery.scene.first_told(state):
            scene = self._scenery.scene
            hint = nearest(state, (*HOST_STATES, *scene.states))
            what = "scene %r: state %r is not defined; only the base layers sound%s"
            logger.warning(what, scene.name, state, hint and f"; {hint}")
        self._table.add(state)

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
            self._wait(key, self._scenery.wanted(self.state)[key])

    def _head_for(self, state: str) -> None:
        """Another state is the session's: it is committed, at once or when it has settled (T8)."""
        left_at = self._notes.frame if self._pending is None else self._pending.left_at
        left = self._unsettled(state)
        if self._pending is not None:
            self._cancel_pending()
        if left <= 0:
            self._commit(state)
            return
        self._pending = _Pending(state, left_at)
        self._notes.set_timer("", "settle", self._notes.frame + left)
        self._notes.log("settle", state, duration=left)

    def _unsettled(self, state: str) -> int:
        """How many frames a change to a state has yet to last."""
        left_at = self._notes.frame if self._pending is None else self._pending.left_at
        settle = 0.0 if self._facts.close else self._scenery.rule(self.state, state).settle
        return left_at + self._notes.frames(settle) - self._notes.frame

    def _cancel_pending(self) -> None:
        assert self._pending is not None
        self._notes.drop_timer("", "settle")
        self._notes.log("cancel", self._pending.state)
        self._pending = None

    # --- commits --------------------------------------------------------------------------------------------------

    def _commit(self, state: str) -> None:
        old = self.state
        self._go(state, self._scenery.wanted(old), self._scenery.rule(old, state))

    def _go(self, state: str, before: Mapping[str, Layer], rule: Rule) -> None:
        """Commits a state, or the present one again.

        Args:
            state: which.
            before: what was wanted until now.
            rule: how it goes.
        """
        self._last_rule = rule
        self._table.go(state)
        self._notes.log("commit", state)
        now = self._scenery.wanted(state)
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
            if layer is None or playback.lost or (not playback.loops and playback.place != "wanted"):
                self._playbacks.leave(playback, rule, at_once=rule.urgent or self._facts.close)
            else:
                self._playbacks.go_on(playback, layer, rule)
        if layer is None:
            self._disarm(key)
        elif key in self._armed:
            self._wait(key, layer)
        elif all(playback.lost for playback in playing) if layer.kind == "loop" else entered:
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
        if waited:
            self._say_cancelled(key)

    def _say_cancelled(self, key: str) -> None:
        if not any(entry.action == "release" and entry.key == key for entry in self._notes.entries):
            self._notes.log("cancel", key)

    def _come(self, key: str, layer: Layer) -> None:
        """A layer has waited long enough. The transition by which it became wanted is history."""
        del self._armed[key]
        lowest = self._scenery.scene.defaults
        self._set_in(key, layer, lowest.crossfade if lowest.fade_in is None else lowest.fade_in)

    def _set_in(self, key: str, layer: Layer, fade_in: float) -> None:
        if layer.kind == "loop":
            assert self._first_fact is not None
            self._playbacks.start(key, layer, fade_in, self._notes.frame - self._first_fact)
        elif layer.kind == "once":
            self._shots.once(key, layer)
        else:
            self._shots.wait(key, layer)

    # --- scenes ---------------------------------------------------------------------------------------------------

    def _use(self, scenery: Scenery) -> None:
        self._scenery = self._playbacks.scenery = scenery
        self._ducks.declick = self._declick

    def _switch(self, state: str, before: Scenery, crossfade: float | None) -> None:
        """What another scene wants, in the state that is committed, or in the session's where that has settled.

        What is another sound in it under the same key, or nothing, is lost; all else goes on as in a change of state.
        """
        rule = self._scenery.switched
        if state == self.state or self._unsettled(state) > 0:
            state = self.state
        else:
            rule = self._scenery.rule(self.state, state)
            if self._pending is not None:
                self._cancel_pending()
        if crossfade is not None and not self._facts.close:
            rule = rule._replace(fade_in=crossfade, fade_out=crossfade)
        lost = [key for key in before.layers if not self._scenery.shares(key, before)]
        waited = [key for key in lost if self._lose(key)]
        kept = {key: layer for key, layer in before.wanted(self.state).items() if key not in lost}
        self._go(state, kept, rule)
        for key in waited:
            self._say_cancelled(key)

    def _lose(self, key: str) -> bool:
        """A key is another sound from now on, or none.

        Returns:
            Whether something waited, which dies.
        """
        self._playbacks.lose(key)
        self._chance.forget(key)
        self._shots.last.pop(key, None)
        armed = self._armed.pop(key, None) is not None
        return self._notes.drop_timer(key, "start", "gap") or armed

    # --- timers ---------------------------------------------------------------------------------------------------

    def _fire(self, whats: tuple[str, ...]) -> None:
        """Does what is due at this frame, in the order in which it was set."""
        while found := self._notes.ready(whats):
            owner, what = found
            if what == "over":
                assert isinstance(owner, int)
                self._moments.over(owner)
            elif what == "piece":
                assert isinstance(owner, int)
                self._moments.next_piece(owner)
            elif what == "gap":
                self._shots.scatter(str(owner), self._scenery.wanted(self.state)[str(owner)])
            elif what == "recovery":
                assert isinstance(owner, int)
                self._ducks.recover(owner)
            elif what != "start":
                assert isinstance(owner, int)
                self._playbacks.due(owner, what, self._last_rule)
            elif self._pending is None:  # else it waits for what becomes of the change
                self._come(str(owner), self._scenery.wanted(self.state)[str(owner)])
