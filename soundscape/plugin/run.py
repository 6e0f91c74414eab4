"""One run of a session, and what was said to it, to be said to the next one again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from soundscape.engine import Engine, Fact
from soundscape.outputs import Output
from soundscape.plugin.handles import Moments
from soundscape.plugin.host import when_left
from soundscape.plugin.metrics import Report
from soundscape.recording import RecorderRun

__all__ = ["CLOSE_SECONDS", "Run", "from_the_start", "slot"]

logger = logging.getLogger("soundscape")

CLOSE_SECONDS = 10.0
"""How long the close waits for the last fade, at most."""

DECLICK_SECONDS = 0.2
"""How long it goes on after that, at most, to end without a click: time for an output to take another block or two."""

GRACE_SECONDS = 5.0
"""How long an output may take beyond all that before it is left to itself."""


class Run:
    """An engine, the output that pulls from it, and the sounds of the moment it plays: of a session from attaching, or
    from its being started again, to its close.

    Args:
        engine: what plays.
        said: what was logged already, and is not again.
    """

    def __init__(self, engine: Engine, said: set[str]) -> None:
        self.engine = engine
        self.output: Output | None = None
        self.recording: RecorderRun | None = None
        self._report: Report | None = None
        self.moments: Moments | None = None  # from the start on
        self.posting = False  # facts go to the engine: an output pulls from it, or is about to
        self.starts = False  # or has started
        self.starting: asyncio.Task[None] | None = None
        self.closing: asyncio.Task[None] | None = None
        self.ended = False
        self._hear_no_more: Callable[[], None] = lambda: None  # of the room's end
        self.let_go_of_lock: Callable[[], None] = lambda: None
        self._said = said

    @property
    def heard(self) -> int:
        """The frame that is heard next."""
        return 0 if self.output is None else self.output.heard

    def started(self, output: Output, scene: str, left: Callable[[], None]) -> None:
        """An output pulls from the engine from now on.

        Args:
            output: which.
            scene: the scene's name.
            left: called when the output's room, if it has one, is disconnected for good.
        """
        self.output = output
        self._hear_no_more = when_left(getattr(output, "room", None), left)
        self._report = Report(scene, self.engine, output)

    def play_moments(self) -> None:
        """From now on sounds of the moment can be asked for."""
        self.moments = Moments(self.engine, lambda: self.heard, self.changed)

    def tell(self, fact: Fact) -> None:
        """Tells the engine a fact, to be heard as soon as can be."""
        self.engine.post(fact)
        self.changed()

    def changed(self) -> None:
        """Tells the output that facts were posted."""
        if self.output is not None:
            try:
                self.output.changed()
            except Exception:
                self.say_once("the background's output could not be told of a change", trace=True)

    def say_once(self, message: str, *, trace: bool = False) -> None:
        """Logs an error, the first time."""
        if message not in self._said:
            self._said.add(message)
            logger.error(message, exc_info=trace)

    async def let_go(self, seconds: float = 0.0) -> None:
        """Closes the output when the scene has faded out, or after some seconds by a declick."""
        assert self.output is not None
        # A task of its own: who gives up waiting shall not stop the sound dead.
        closing = asyncio.ensure_future(self.output.aclose(timeout=seconds + DECLICK_SECONDS))
        try:
            await asyncio.wait([closing], timeout=seconds)
        finally:
            self._hear_no_more()
            try:
                await self._cut(closing)
            finally:  # also where that is given up too
                closing.cancel()
                self.let_go_of_lock()
                if self._report is not None:
                    self._report.close()
                if self.recording is not None:
                    await self.recording.aclose()

    async def _cut(self, closing: asyncio.Future[None]) -> None:
        if not closing.done():
            self.tell(Fact("cut"))
            await asyncio.wait([closing], timeout=GRACE_SECONDS)
        if not closing.done():
            self.say_once("the background's output does not close; it is left to itself")
        elif not closing.cancelled() and closing.exception() is not None:
            self.say_once(f"the background's output did not close in order: {closing.exception()!r}")


def slot(fact: Fact) -> tuple[str, ...]:
    """Under what a fact is kept until another one takes its place."""
    return (fact.kind, fact.value.of, fact.value.name) if fact.kind == "gain" else (fact.kind,)


def from_the_start(fact: Fact) -> Fact:
    """A fact as a run begins with it: its way there is over."""
    if fact.kind == "gain":
        return Fact("gain", fact.value._replace(fade=0.0))
    return Fact("scene", fact.value._replace(crossfade=None)) if fact.kind == "scene" else fact
