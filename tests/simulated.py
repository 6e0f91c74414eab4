"""A native queue and an event loop on a clock of their own: hours pass in seconds, and time does what it is told to.

The loop's time stands still but for what the selector waits for and what `Time.go` says: a test with it means the same
on every machine.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from soundscape.outputs import Source
from soundscape.outputs.feed import DEEP_MS

TICK = 0.01
Samples = npt.NDArray[np.int16]


class Stuck(BaseException):
    """Something spins, or waits for what will never come."""


def nothing() -> float:
    return 0.0


def briefly() -> float:
    return 0.0003


class Time(selectors.SelectSelector):
    """The clock, and the selector that advances it where others wait.

    Attributes:
        late: by how much each wake-up is late, seconds.
        held: for how long others keep the interpreter's lock, each time that it is given away.
        native: what goes by this clock too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0  # as good as any
        self.late: Callable[[], float] = nothing
        self.held: Callable[[], float] = nothing
        self.native: SimulatedQueue | None = None
        self._asked = 0

    def ask(self) -> float:
        """The time, to those who do not ask for it for ever."""
        self._asked += 1
        if self._asked > 10_000:
            raise Stuck("10,000 questions, and no time has passed")
        return self.now

    def go(self, seconds: float, *, until_completion: bool = False) -> bool:
        """Time passes, whoever is at work.

        Args:
            seconds: how much.
            until_completion: less, if a tick completes a capture.

        Returns:
            Whether one did.
        """
        end = self.now + seconds
        while self.native is not None and self.native.next_tick <= end:
            self.now = max(self.now, self.native.next_tick)
            self._asked = 0
            if self.native.tick() and until_completion:
                return True
        if end > self.now:
            self.now, self._asked = end, 0
        return False

    def pause(self, seconds: float) -> None:
        """What `time.sleep` is."""
        self.go(seconds + self.held())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None and not (self.native and self.native.waited_for):
            raise Stuck("nothing will ever happen")
        if timeout is None or timeout > 0:
            if not self.go(3600 if timeout is None else timeout, until_completion=True):
                self.go(self.late())
        else:
            self.ask()
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Goes by a `Time` of its own."""

    def __init__(self) -> None:
        self.clock = Time()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.ask()


class Sent(NamedTuple):
    """What a tick sent; None is silence for want of frames."""

    at: float
    samples: Samples | None


class SimulatedQueue:
    """Does what LiveKit's native queue does (*measured*, livekit 1.1.21), and is told how to misbehave.

    Attributes:
        sent: what was sent, tick by tick.
        captures: the time of each.
        clears: the time of each.
        jitter: how long after its tick a capture completes.
        cost: how long handing over a block takes.
        holds: so many ticks to come send silence whatever is there.
        more: so many ticks to come take twice as much.
        delay: by how much the next tick is late.
        failing: so many captures to come fail.
        unclear: so many clears to come fail.
        blocked: how long the next capture blocks, once it is taken.
        closed: whether captures complete at once, and nothing is sent.
    """

    def __init__(self, time: Time, frames: int, phase: float = 0.0) -> None:
        self.sent: list[Sent] = []
        self.captures: list[float] = []
        self.clears: list[float] = []
        self.jitter: Callable[[], float] = briefly
        self.cost: Callable[[], float] = nothing
        self.holds = self.more = self.failing = self.unclear = 0
        self.delay = self.blocked = 0.0
        self.closed = False
        self.frames = frames
        self._size = frames * DEEP_MS // 10
        self._time = time
        self._origin = time.now + phase
        self._queued: Samples = np.zeros((0, 1), np.int16)
        self._pending: asyncio.Future[None] | None = None
        time.native = self

    @property
    def next_tick(self) -> float:
        return self._origin + len(self.sent) * TICK + self.delay

    @property
    def waited_for(self) -> bool:
        return self._pending is not None

    def tick(self) -> bool:
        """Sends; whether a capture is complete then."""
        self.delay = 0.0
        take = self.frames
        if self.more and len(self._queued) >= 2 * take:
            self.more, take = self.more - 1, 2 * take
        if self.holds:
            self.holds, take = self.holds - 1, len(self._queued) + 1
        at = self._time.now
        if take <= len(self._queued):
            self.sent.append(Sent(at, self._queued[:take]))
            self._queued = self._queued[take:]
        else:
            self.sent.append(Sent(at, None))
        if self._pending is None or len(self._queued) > self._size:
            return False
        self._complete(self._pending, self.jitter())
        self._pending = None
        return True

    @staticmethod
    def _complete(pending: asyncio.Future[None], after: float) -> None:
        pending.get_loop().call_later(after, _finish, pending)

    async def capture(self, samples: Samples) -> None:
        assert self._pending is None, "one capture at a time"
        self.captures.append(self._time.now)
        if self.failing:
            self.failing -= 1
            raise RuntimeError("InvalidState - failed to capture frame")
        if self.closed:
            self._time.ask()
            return
        self._time.go(self.cost())
        self._queued = np.concatenate([self._queued, samples])
        pending = asyncio.get_running_loop().create_future()
        if len(self._queued) <= self._size:
            self._complete(pending, 0.0004)
        else:
            self._pending = pending
        try:
            await pending
            if self.blocked:
                blocked, self.blocked = self.blocked, 0.0
                await asyncio.sleep(blocked)
        finally:
            self._pending = None

    def clear(self) -> None:
        if self.unclear:
            self.unclear -= 1
            raise RuntimeError("InvalidState - the source is closed")
        self.clears.append(self._time.now)
        self._queued = self._queued[:0]


def _finish(pending: asyncio.Future[None]) -> None:
    if not pending.done():
        pending.set_result(None)


class SlowSource:
    """A source whose rendering takes time, and which fails where it is told to.

    Attributes:
        takes: how long the next block takes.
        failing: names of methods, each fails so many times, before it has done anything.
    """

    def __init__(self, source: Source, time: Time) -> None:
        self.source = source
        self.sample_rate = source.sample_rate
        self.num_channels = source.num_channels
        self.takes: Callable[[], float] = nothing
        self.failing: dict[str, int] = {}
        self._time = time

    @property
    def position(self) -> int:
        return self.source.position

    @property
    def finished(self) -> bool:
        return self.source.finished

    @property
    def silent_until(self) -> float:
        return self.source.silent_until

    def render(self, frames: int) -> npt.NDArray[np.float32]:
        self._may_fail("render")
        self._time.go(self.takes())
        return self.source.render(frames)

    def rest(self, frame: int) -> None:
        self._may_fail("rest")
        self.source.rest(frame)

    def keep(self) -> None:
        self.source.keep()

    def take_back(self, frame: int) -> None:
        self._may_fail("take_back")
        self.source.take_back(frame)

    def _may_fail(self, name: str) -> None:
        if left := self.failing.get(name, 0):
            self.failing[name] = left - 1
            raise ValueError(f"{name} is broken")
