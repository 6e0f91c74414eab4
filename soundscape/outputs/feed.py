"""The feed: what a source renders goes into a native queue, in order and whole.

A block that is not taken is tried again until it is: what follows is heard later, never without it. What the queue has
taken of it is kept in the source; what was cleared from it is rendered and captured again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

import numpy as np
import numpy.typing as npt

from soundscape.outputs import SafeSource, Stats, to_int16
from soundscape.outputs.ticks import Ticks

__all__ = ["DEEP_MS", "Feed", "Queue", "Samples"]

logger = logging.getLogger("soundscape")

DEEP_MS = 600
"""The queue's size: as deep as LiveKit's player keeps its own, at the least. What a change costs grows with it: 0.4 ms
for each answer."""

_RETRY = (0.05, 1.0)  # the first wait after a failed capture, doubled up to the second

Samples = npt.NDArray[np.int16]
"""A block: int16 `(frames, channels)`."""


class Queue(Protocol):
    """The native queue."""

    async def capture(self, samples: npt.NDArray[np.int16]) -> None:
        """Appends int16 `(frames, channels)`; complete once no more than the queue's size is in it."""
        ...

    def clear(self) -> None:
        """Drops what is in it."""
        ...


class Feed:
    """Feeds one source to one native queue, on one event loop.

    Args:
        source: what is rendered.
        queue: the native queue, empty, of `DEEP_MS`.
        stats: where it is counted.
        ticks: the queue's clock.

    Attributes:
        size: frames that the queue holds before a capture has to wait.
        pushed: the frame that follows all that was captured.
        sounded: the frame after the last one that was not silent.
    """

    def __init__(self, source: SafeSource, queue: Queue, stats: Stats, ticks: Ticks) -> None:
        self.size = source.sample_rate * DEEP_MS // 1000
        self.pushed = source.position
        self.sounded = self.pushed
        self._source = source
        self._queue = queue
        self._stats = stats
        self._ticks = ticks
        self._loop = asyncio.get_running_loop()

    @property
    def queued(self) -> int:
        """Frames that the queue holds, by the clock."""
        ticks = self._ticks
        return max(self.pushed - ticks.gone(ticks.number(self._loop.time())), 0) if ticks.begun else 0

    async def push(self, frames: int) -> float:
        """Renders and captures what follows.

        Returns:
            When it was captured.
        """
        if off := self._source.position - self.pushed:  # the source has failed to go where it should
            self.pushed += off
            self._ticks.move(off)
        samples = self.render(frames)
        at = self._loop.time()
        await self.deliver(samples)
        return at

    def render(self, frames: int) -> Samples:
        """What the source renders next, to be delivered."""
        began = time.perf_counter()
        samples = to_int16(self._source.render(frames))
        self._stats.render_seconds += time.perf_counter() - began
        return samples

    async def deliver(self, samples: Samples) -> None:
        """Captures a block, again and again until it is taken: what follows is heard whole."""
        wait, most = _RETRY
        failed = False
        while True:
            try:
                await self._queue.capture(samples)
                break
            except Exception as error:
                failed = True
                self._stats.failures += 1
                if self._stats.failures == 1:
                    logger.warning("the room does not take the background; trying again, said once", exc_info=error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, most)
        if failed:
            self._ticks.known = False
            if not self._stats.recoveries:
                logger.warning("the room takes the background again; said once")
            self._stats.recoveries += 1
        sounding = np.flatnonzero(samples)
        if len(sounding):
            self.sounded = self.pushed + int(sounding[-1]) // samples.shape[1] + 1
        self.pushed += len(samples)
        self._stats.captured += len(samples)
        self._source.keep()

    def clear(self, frame: int) -> bool:
        """Drops what the queue holds, to be delivered again from a frame on; whether it could."""
        try:
            self._queue.clear()
        except Exception as error:
            logger.debug("the queue could not be cleared: %r", error)
            return False
        self.pushed = frame
        return True
