"""Where the sound goes. An output pulls blocks from the engine at its own pace; the pace is all it adds.

`Output` is the whole contract, and an output of one's own is welcome: `PacedOutput` leaves only `_write` to be written.
"""

from __future__ import annotations

import asyncio
import logging
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from soundscape.exceptions import UsageError

__all__ = ["MemoryOutput", "Output", "PacedOutput", "Source", "Stats", "to_int16"]

logger = logging.getLogger("soundscape")

BLOCK_SECONDS = 0.02
"""Length of a block: a fact waits for the next one, so it is half of this on average; each costs the same whatever it
holds."""


class Source(Protocol):
    """What an output pulls from; `soundscape.engine.Engine` is one."""

    @property
    def sample_rate(self) -> int:
        """Frames per second."""
        ...

    @property
    def num_channels(self) -> int:
        """Channels of every block."""
        ...

    @property
    def position(self) -> int:
        """The next frame to be rendered."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the scene was closed, its fade is over, and everything that follows is exact silence."""
        ...

    @property
    def silent_until(self) -> float:
        """Up to which frame everything is exact silence unless something is posted; `position` where unknown."""
        ...

    def render(self, frames: int) -> npt.NDArray[np.float32]:
        """The next `frames` frames: float32 `(frames, channels)`. Facts posted before are heard from the first on."""
        ...

    def rest(self, frame: int) -> None:
        """Goes on to a frame, at most `silent_until`, without rendering."""
        ...

    def keep(self) -> None:
        """All that was rendered will be heard, but for what is taken back."""
        ...

    def take_back(self, frame: int) -> None:
        """Goes back to a frame that nobody has heard, and answers there what was posted since."""
        ...


@runtime_checkable
class Output(Protocol):
    """Takes what a source renders to where it is heard.

    One thread at a time calls `Source.render`; which one is the output's choice.
    """

    @property
    def heard(self) -> int:
        """The frame that is heard next, as far as can be known; 0 before the start. From any thread."""
        ...

    async def start(self, source: Source) -> None:
        """Begins to pull. Called once.

        Raises:
            OutputError: the device or the room cannot be had.
        """
        ...

    def changed(self) -> None:
        """A fact was posted to the source. May be called from any thread; an output that has rendered ahead may
        take back what has not been heard yet. Never raises."""
        ...

    async def aclose(self, *, timeout: float = 0.0) -> None:
        """Goes on until the source has finished and what it gave is heard, `timeout` seconds at most, then lets go of
        everything. Cancelled, it lets go at once. Twice, nothing more happens."""
        ...


def to_int16(block: npt.NDArray[np.float32], out: npt.NDArray[np.int16] | None = None) -> npt.NDArray[np.int16]:
    """Converts samples to 16 bit, once, where they leave.

    Full scale is 32768, so that `int16 / 32768` comes back bit-exactly; half-way values go to the even neighbour, what
    is beyond the range to its end, and what is no number to 0.

    Args:
        block: float32, any shape, full scale 1.0.
        out: int16 of the same shape, C-contiguous or not, to be filled in place of a new array.
    """
    # Clipping comes first: an infinity or a huge value times 32768 would overflow with a warning.
    scaled = np.clip(block, np.float32(-1.0), np.float32(32767 / 32768))
    scaled *= np.float32(32768.0)
    np.rint(scaled, out=scaled)
    if math.isnan(scaled.sum()):  # a quarter of the cost of looking at every sample, in a case that should not be
        scaled[np.isnan(scaled)] = 0.0
    if out is None:
        return scaled.astype(np.int16)
    np.copyto(out, scaled, casting="unsafe")
    return out


class SafeSource:
    """A source as every output pulls it: what cannot be rendered is silence, and said once in the log.

    A fault in the engine must not take the sound's thread, PortAudio's callback or the session with it.

    Args:
        source: the source.
        stats: where failures are counted.

    Attributes:
        source: the source itself.
        sample_rate: frames per second.
    """

    def __init__(self, source: Source, stats: Stats | None = None) -> None:
        self.source = source
        self.sample_rate = source.sample_rate
        self._stats = Stats() if stats is None else stats

    @property
    def position(self) -> int:
        """The next frame to be rendered."""
        return self.source.position

    @property
    def finished(self) -> bool:
        """As the source says; a source that cannot tell has not."""
        try:
            return self.source.finished
        except Exception as error:
            self._failed(error)
            return False

    @property
    def silent_until(self) -> float:
        """As the source says; a source that cannot tell may sound at once."""
        try:
            return self.source.silent_until
        except Exception as error:
            self._failed(error)
            return self.source.position

    def keep(self) -> None:
        """As the source does."""
        self._went(self.source.keep)

    def rest(self, frame: int) -> bool:
        """Goes on to a frame without rendering; whether it could."""
        return self._went(self.source.rest, frame)

    def take_back(self, frame: int) -> bool:
        """Goes back to a frame; whether it could."""
        return self._went(self.source.take_back, frame)

    def _went(self, go: Callable[..., None], *where: int) -> bool:
        try:
            go(*where)
        except Exception as error:
            self._failed(error)
            return False
        return True

    def render(self, frames: int) -> npt.NDArray[np.float32]:
        """The next `frames` frames, float32 `(frames, channels)`. Never raises."""
        shape = (frames, self.source.num_channels)
        try:
            block = self.source.render(frames)
            if block.shape == shape:
                return block
            raise ValueError(f"asked for a block of {shape}, got {block.shape}")
        except Exception as error:
            self._failed(error)
            return np.zeros(shape, np.float32)

    def _failed(self, error: Exception) -> None:
        self._stats.render_failures += 1
        if self._stats.render_failures == 1:
            logger.error("rendering failed, silence instead; said once", exc_info=error)


@dataclass
class Stats:
    """What an output has seen so far.

    Attributes:
        changes: facts that were answered; those of one moment count once.
        captured: frames handed on.
        gaps: how often there was silence in the sound's stead, as far as can be known.
        gap_seconds: how much of it.
        fallbacks: how often it gave up answering at once for a while.
        disagreements: how often the native queue was not where it was believed to be.
        failures: captures that failed; each was tried again.
        recoveries: how often captures went on after a failure.
        render_failures: how often the engine failed; a block that it could not render is silence, and no gap.
        render_seconds: time spent on rendering.
        seconds: time since the first block.
        latencies: seconds from each of the last changes to the first sound that tells of it leaving the queue.
    """

    changes: int = 0
    captured: int = 0
    gaps: int = 0
    gap_seconds: float = 0.0
    fallbacks: int = 0
    disagreements: int = 0
    failures: int = 0
    recoveries: int = 0
    render_failures: int = 0
    render_seconds: float = 0.0
    seconds: float = 0.0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=1000))

    def answered(self, seconds: float) -> None:
        """A change was answered after so many seconds."""
        self.changes += 1
        self.latencies.append(seconds)

    def missed(self, seconds: float) -> None:
        """There was silence in the sound's stead for so long."""
        self.gaps += 1
        self.gap_seconds += seconds

    def latency(self, share: float = 0.5) -> float | None:
        """Seconds that such a share of the last changes took at most, the median unless said; None without any."""
        ordered = sorted(self.latencies)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None


class PacedOutput(ABC):
    """An output that takes 20 ms every 20 ms, from a task on the running loop: the base for outputs of one's own.

    A subclass writes `_write`, and `_open` and `_close` where there is something to be had or let go of. The schedule
    is absolute: it does not drift, and after a stall of the loop all that was missed is rendered, so time in the sound
    is time on the clock. The task ends when the source has finished.
    """

    def __init__(self) -> None:
        self._source: SafeSource | None = None
        self._task: asyncio.Task[None] | None = None
        self._write_failed = False

    @property
    def heard(self) -> int:
        """What was rendered counts as heard."""
        return 0 if self._source is None else self._source.position

    @abstractmethod
    def _write(self, block: npt.NDArray[np.float32]) -> None:
        """Takes the next block, float32 `(frames, channels)`, and does not keep it. Called on the loop: must not
        block. What it raises is logged once, and the next block is tried."""

    def _open(self, source: Source) -> None:  # noqa: B027 - a hook, empty on purpose
        """Called by `start`; what it raises ends the start.

        Raises:
            OutputError: what is needed cannot be had.
        """

    def _close(self) -> None:  # noqa: B027 - a hook, empty on purpose
        """Called once, after the last block. What it raises is logged."""

    async def start(self, source: Source) -> None:
        """Begins to pull.

        Raises:
            OutputError: what is needed cannot be had.
            UsageError: it was started before.
        """
        if self._source is not None:
            raise UsageError(f"{type(self).__name__} was started before; an output is started once")
        self._open(source)
        self._source = SafeSource(source)
        self._task = self._begin(self._source)

    def changed(self) -> None:  # noqa: B027 - a hook, empty on purpose
        """Nothing has been rendered ahead, so there is nothing to take back."""

    async def aclose(self, *, timeout: float = 0.0) -> None:
        """Goes on until the source has finished, `timeout` seconds at most, then lets go of everything."""
        task, self._task = self._task, None
        if task is None:
            return
        try:
            if timeout > 0:
                await asyncio.wait([task], timeout=timeout)
        finally:
            task.cancel()
            try:
                self._close()
            except Exception:
                logger.exception("%s could not be closed in order", type(self).__name__)
        await asyncio.gather(task, return_exceptions=True)

    def _begin(self, source: SafeSource) -> asyncio.Task[None] | None:
        return asyncio.create_task(self._run(source), name=f"soundscape.{type(self).__name__}")

    async def _run(self, source: SafeSource) -> None:
        loop = asyncio.get_running_loop()
        rate = source.source.sample_rate
        block, done, began = round(rate * BLOCK_SECONDS), 0, loop.time()
        while not source.finished:
            self._give(source.render(block))
            done += block
            # At least a turn of the loop, even when catching up: the session goes first.
            await asyncio.sleep(max(0.0, began + done / rate - loop.time()))

    def _give(self, block: npt.NDArray[np.float32]) -> None:
        try:
            self._write(block)
        except Exception:
            if not self._write_failed:
                self._write_failed = True
                logger.exception("%s cannot take the sound; goes on, said once", type(self).__name__)


class MemoryOutput(PacedOutput):
    """Keeps what was rendered; for tests.

    Args:
        paced: pull by the clock, as outputs do; `False`: only as `pull` asks, without any clock.
    """

    def __init__(self, *, paced: bool = True) -> None:
        super().__init__()
        self._paced = paced
        self._closed = False
        self._blocks: list[npt.NDArray[np.float32]] = []

    @property
    def samples(self) -> npt.NDArray[np.float32]:
        """All that was rendered so far: float32 `(frames, channels)`."""
        if self._blocks:
            self._blocks = [np.concatenate(self._blocks)]
            return self._blocks[0].copy()
        return np.zeros((0, self._source.source.num_channels if self._source else 1), np.float32)

    def pull(self, frames: int) -> npt.NDArray[np.float32]:
        """Renders and keeps the next `frames` frames, and returns them: float32 `(frames, channels)`.

        Raises:
            UsageError: it was not started, or it is paced by the clock.
        """
        if self._paced:
            raise UsageError("this output is paced by the clock; MemoryOutput(paced=False) is pulled by hand")
        if self._source is None:
            raise UsageError("start the output before pulling from it")
        block = self._source.render(frames)
        self._write(block)
        return block

    async def aclose(self, *, timeout: float = 0.0) -> None:
        """As every output; pulled by hand, `timeout` counts in the sound's own seconds and takes no time."""
        if not self._paced and self._source is not None and not self._closed:
            self._closed = True
            rate = self._source.source.sample_rate
            for _ in range(round(timeout / BLOCK_SECONDS)):
                if self._source.finished:
                    break
                self.pull(round(rate * BLOCK_SECONDS))
        await super().aclose(timeout=timeout)

    def _begin(self, source: SafeSource) -> asyncio.Task[None] | None:
        return super()._begin(source) if self._paced else None

    def _write(self, block: npt.NDArray[np.float32]) -> None:
        self._blocks.append(block.copy())
