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
    """The ducks of one run.

    Args:
        notes: where cues and timers go.
        declick: frames of the shortest fade.
    """

    def __init__(self, notes: Notes, declick: int) -> None:
        self._notes = notes
        self.declick = declick
        self.tables: dict[int, DuckTable] = {}
        """By number, those of the scene."""
        self.former: dict[int, DuckTable] = {}
        """By number, those of another scene, on their way back to 1."""
        self.active: dict[int, bool] = {}
        self.envelopes: dict[int, Envelope] = {}

    def gain(self, bus: str, frame: int) -> float:
        """The linear gain of a bus at a frame not before the last step."""
        tables = self.former | self.tables
        acting = [
            envelope.at(frame)
            for i, envelope in list(self.envelopes.items())
            if i in tables and (bus in tables[i].buses or ALL in tables[i].buses)
        ]
        return max(math.prod(acting), DUCK_FLOOR)

    def use(self, tables: Sequence[DuckTable]) -> None:
        """Takes the ducks of a scene in place of those before. Equal ones go on."""
        for i in [i for i in self.former if not self.envelopes[i].moving(self._notes.frame)]:
            del self.former[i], self.envelopes[i]
        before, known = self.tables.copy(), self.tables | self.former
        self.tables.clear()
        for table in tables:
            number = next((i for i, other in known.items() if other == table), None)
            if number is None:
                number = self._notes.number()
            else:
                del known[number]
                self.former.pop(number, None)
            self.tables[number] = table
        for i in sorted(known.keys() & before.keys()):
            self._notes.drop_timer(i, "recovery")
            self.active.pop(i, None)
            if i in self.envelopes:
                self.former[i] = before[i]
                self._move(i, before[i], 1.0, before[i].fade_in)

    def take(self, facts: Facts) -> None:
        """Takes the facts of the present frame. After the close they finish the fade they are in and stay there."""
        for i, table in self.tables.items():
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
                self._move(i, table, db_to_linear(table.by_db), table.fade_out)

    def recover(self, i: int) -> None:
        """A duck's recovery is over."""
        self._move(i, self.tables[i], 1.0, self.tables[i].fade_in)

    def _move(self, i: int, table: DuckTable, gain: float, seconds: float) -> None:
        frame = self._notes.frame
        duration = max(self._notes.frames(seconds), self.declick)
        present = self.envelopes.get(i, Envelope.at_rest(1.0, frame))
        self.envelopes[i] = present.towards(gain, frame, duration)
        self._notes.cues.append(Duck(frame, i, None if ALL in table.buses else frozenset(table.buses), gain, duration))
