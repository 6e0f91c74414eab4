"""Ducks: dips of buses while somebody speaks. They follow the raw facts and know nothing of states and layers (T17)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from soundscape.cues import DUCK_FLOOR, Duck
from soundscape.driver.notes import Notes
from soundscape.driver.states import Facts
from soundscape.gain import Envelope, db_to_linear
from soundscape.scene.tables import ALL
from soundscape.scene.tables import Duck as DuckTable

__all__ = ["Ducks"]


class Ducks:
    """The ducks of one run of a scene.

    Args:
        tables: the scene's.
        notes: where cues and timers go.
        declick: frames of the shortest fade.
    """

    def __init__(self, tables: Sequence[DuckTable], notes: Notes, declick: int) -> None:
        self._tables = tables
        self._notes = notes
        self._declick = declick
        self.active: dict[int, bool] = {}
        self.envelopes: dict[int, Envelope] = {}

    def gain(self, bus: str, frame: int) -> float:
        """The linear gain of a bus at a frame not before the last step."""
        acting = [
            envelope.at(frame)
            for i, envelope in list(self.envelopes.items())
            if bus in self._tables[i].buses or ALL in self._tables[i].buses
        ]
        return max(math.prod(acting), DUCK_FLOOR)

    def take(self, facts: Facts) -> None:
        """Takes the facts of the present frame. After the close they finish the fade they are in and stay there."""
        for i, table in enumerate(self._tables):
            if facts.close:
                self._notes.drop_timer(i, "recovery")
                continue
            speaker = facts.agent if table.while_ == "agent_speaking" else facts.user
            active = speaker == "speaking"
            if active == self.active.get(i, False):
                continue
            self.active[i] = active
            if not active:
                self._notes.set_timer(i, "recovery", self._notes.frame + self._notes.frames(table.recovery))
            elif not self._notes.drop_timer(i, "recovery"):
                self._move(i, db_to_linear(table.by_db), table.fade_out)

    def recover(self, i: int) -> None:
        """A duck's recovery is over."""
        self._move(i, 1.0, self._tables[i].fade_in)

    def _move(self, i: int, gain: float, seconds: float) -> None:
        frame = self._notes.frame
        duration = max(self._notes.frames(seconds), self._declick)
        present = self.envelopes.get(i, Envelope.at_rest(1.0, frame))
        self.envelopes[i] = present.towards(gain, frame, duration)
        buses = self._tables[i].buses
        self._notes.cues.append(Duck(frame, i, None if ALL in buses else frozenset(buses), gain, duration))
