"""Which state a session is in: facts side by side, and the table of states they lead through."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import NamedTuple

from transitions import Machine

from soundscape.scene import NONE

__all__ = ["Facts", "StateTable"]

# The library tells of each step at INFO, from the thread that renders.
logging.getLogger("transitions").setLevel(logging.WARNING)


class Facts(NamedTuple):
    """What is true of a session at a time."""

    agent: str | None = None
    user: str | None = None
    tool: str | None = None
    app: str | None = None
    close: bool = False

    def state(self, defined: Collection[str]) -> str:
        """The first of the session's facts that applies (scene format, "From session facts to a state")."""
        if self.close or self.agent is None:
            return NONE
        if self.app is not None:
            return self.app
        if self.tool is not None and self.agent != "speaking" and "tool" in defined:
            return "tool"
        if self.user == "away" and self.agent not in ("thinking", "speaking") and "away" in defined:
            return "away"
        return self.agent


class _Session:
    """The model of the table, in which the `transitions` library keeps the state."""

    committed: str


class StateTable:
    """The table of states: each leads to every other, by the trigger `go_<state>`. Nothing happens in it.

    A way is entered into it when it is first gone: scenes of a thousand states have a million of them.

    Args:
        states: the states that are known.
    """

    def __init__(self, states: Iterable[str]) -> None:
        self.machine = Machine(
            model=None,
            states=[NONE, *(state for state in states if state != NONE)],
            initial=NONE,
            auto_transitions=False,
            model_attribute="committed",
        )
        self._session = _Session()
        self.machine.add_model(self._session)

    def __contains__(self, state: str) -> bool:
        return state in self.machine.states

    @property
    def committed(self) -> str:
        """The state that the session is in."""
        return self._session.committed

    def add(self, state: str) -> None:
        """Makes a state known, if it is not."""
        if state not in self:
            self.machine.add_state(state)

    def go(self, state: str) -> None:
        """Moves to a state that is known; to the committed one, nothing happens."""
        if state == self.committed:
            return
        trigger = f"go_{state}"
        if not self.machine.get_transitions(trigger, self.committed):
            self.machine.add_transition(trigger, self.committed, state)
        self._session.trigger(trigger)  # type: ignore[attr-defined]
