"""One run of a session, and what was said to it, to be said to the next one again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from soundscape.engine import Engine, Fact
from soundscape.outputs import Output
from soundscape.plugin.handles import Moments
from soundscape.recording import RecorderRun

__all__ = ["Run", "from_the_start", "slot"]


class Run:
    """One run of a session: from attaching, or from its being started again, to its close."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.output: Output | None = None
        self.recording: RecorderRun | None = None
        self.moments: Moments | None = None  # from the start on
        self.posting = False  # facts go to the engine: an output pulls from it, or is about to
        self.starting: asyncio.Task[None] | None = None
        self.closing: asyncio.Task[None] | None = None
        self.ended = False
        self.let_go_of_lock: Callable[[], None] = lambda: None

    @property
    def heard(self) -> int:
        """The frame that is heard next."""
        return 0 if self.output is None else self.output.heard


def slot(fact: Fact) -> tuple[str, ...]:
    """Under what a fact is kept until another one takes its place."""
    return (fact.kind, fact.value.of, fact.value.name) if fact.kind == "gain" else (fact.kind,)


def from_the_start(fact: Fact) -> Fact:
    """A fact as a run begins with it: its way there is over."""
    if fact.kind == "gain":
        return Fact("gain", fact.value._replace(fade=0.0))
    return Fact("scene", fact.value._replace(crossfade=None)) if fact.kind == "scene" else fact
