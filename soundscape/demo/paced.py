"""An audio output that plays to nobody, in real time, and remembers what was heard when.

The timeline is a list of runs. A run is sound that was played without a break, with the moment it
began; frames captured in time lengthen the last run, an output that has run dry or was paused
begins another. What is scheduled but not yet played is cut off again by a pause or an interruption,
so the past of the timeline holds no sound that nobody could have heard.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field

import numpy as np
from livekit import rtc
from livekit.agents.voice import io
from numpy.typing import NDArray

__all__ = ["PacedVoice"]

_Samples = NDArray[np.float32]


@dataclass
class _Run:
    begins: float  # seconds of the event loop's clock
    blocks: list[_Samples] = field(default_factory=list)
    frames: int = 0

    def add(self, block: _Samples) -> None:
        self.blocks.append(block)
        self.frames += len(block)

    def cut(self, frames: int) -> _Samples:
        """Keeps the first `frames`, returns the rest."""
        whole = np.concatenate(self.blocks)
        self.blocks, self.frames = [whole[:frames]], min(frames, self.frames)
        return whole[frames:]


class PacedVoice(io.AudioOutput):
    """Plays an agent's voice by the event loop's clock, without a sound card.

    To be made inside a running event loop and given to a session as `session.output.audio`.

    Args:
        origin: Time of the event loop (`loop.time()`) that is 0 on the timeline; now by default.
        sample_rate: In Hz; the session resamples to it.
    """

    def __init__(self, *, origin: float | None = None, sample_rate: int = 24_000) -> None:
        super().__init__(
            label="PacedVoice",
            capabilities=io.AudioOutputCapabilities(pause=True),
            sample_rate=sample_rate,
        )
        self._loop = asyncio.get_running_loop()
        self._rate = sample_rate
        self._origin = self._loop.time() if origin is None else origin
        self._runs: list[_Run] = []
        self._held: list[_Samples] = []  # captured during a pause
        self._paused = False
        self._idle = asyncio.Event()  # no flushed segment is still playing
        self._idle.set()
        self._end: asyncio.TimerHandle | None = None
        self._reset()

    def _reset(self) -> None:
        self._open = False  # a frame of this segment has come
        self._started = False  # and somebody could hear it
        self._flushed = False
        self._cleared = False
        self._scheduled = 0  # frames of this segment that were or will be played

    @property
    def origin(self) -> float:
        """Time of the event loop that is 0 on the timeline."""
        return self._origin

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Takes a frame, to be played after those before it.

        Raises:
            ValueError: The frame has another sample rate than the output.
        """
        if frame.sample_rate != self._rate:
            raise ValueError(f"the output plays {self._rate} Hz, the frame has {frame.sample_rate}")
        await self._idle.wait()  # a segment begins when the one before it has ended
        await super().capture_frame(frame)
        if self._cleared:
            return
        self._open = True
        block = np.frombuffer(frame.data, dtype=np.int16).reshape(-1, frame.num_channels)
        block = block.mean(axis=1, dtype=np.float32) / np.float32(32768.0)
        if self._paused:
            self._held.append(block)
        else:
            self._schedule(block)

    def flush(self) -> None:
        """Ends the segment: it is finished once what was captured has been played."""
        super().flush()
        if not self._open:
            return
        self._flushed = True
        self._idle.clear()
        if self._cleared:
            self._finish(interrupted=True)
        elif not self._paused:
            self._finish_when_played()

    def clear_buffer(self) -> None:
        """Silence at once: what has not been played never will be."""
        if not self._open or self._cleared:
            return
        self._cleared = True
        self._cut()
        self._held.clear()
        if self._flushed:
            self._finish(interrupted=True)

    def pause(self) -> None:
        """Stops playing; what is left and what comes is kept."""
        super().pause()
        if self._paused:
            return
        self._paused = True
        self._held.append(self._cut())
        if self._end is not None:
            self._end.cancel()

    def resume(self) -> None:
        """Plays on from where `pause` stopped."""
        super().resume()
        if not self._paused:
            return
        self._paused = False
        held, self._held = self._held, []
        for block in held:
            if len(block):
                self._schedule(block)
        if self._flushed:
            self._finish_when_played()

    def heard(self, until: float, *, since: float = 0.0, sample_rate: int | None = None) -> NDArray[np.float32]:
        """What was heard of the voice, silence where there was none.

        Args:
            until: Seconds after the origin. Of the future there is what is captured by now, which
                a pause or an interruption may still take back.
            since: Seconds after the origin.
            sample_rate: In Hz, that of the output by default.

        Returns:
            float32 (frames,), mono, from -1 to 1; frame i was heard at `since + i / sample_rate`.
        """
        rate = self._rate if sample_rate is None else sample_rate
        # Whole seconds, and one more at either end, give every rate a whole number of frames and
        # the resampler's echo of the far end a place outside of what is asked for.
        begin, end = math.floor(since) - 1, math.ceil(until) + 1
        line = np.zeros((end - begin) * self._rate, dtype=np.float32)
        for run in self._runs:
            at = round((run.begins - self._origin - begin) * self._rate)
            first, last = max(at, 0), min(at + run.frames, len(line))
            if first < last:
                line[first:last] = np.concatenate(run.blocks)[first - at : last - at]
        if rate != self._rate:
            line = _resample(line, (end - begin) * rate)
        start, stop = round((since - begin) * rate), round((until - begin) * rate)
        return line[start:stop]

    def _schedule(self, block: _Samples) -> None:
        now = self._loop.time()
        if not self._runs or self._played_at() < now:
            self._runs.append(_Run(now))
        self._runs[-1].add(block)
        self._scheduled += len(block)
        if not self._started:
            self._started = True
            self.on_playback_started(created_at=time.time())

    def _played_at(self) -> float:
        """When all that is scheduled has been played, in seconds of the event loop."""
        if not self._runs:
            return self._loop.time()
        return self._runs[-1].begins + self._runs[-1].frames / self._rate

    def _cut(self) -> _Samples:
        """Takes back what is scheduled after now. It can only be in the last run."""
        if not self._runs or self._played_at() <= self._loop.time():
            return np.zeros(0, dtype=np.float32)
        run = self._runs[-1]
        rest = run.cut(math.ceil((self._loop.time() - run.begins) * self._rate))
        self._scheduled -= len(rest)
        return rest

    def _finish_when_played(self) -> None:
        self._end = self._loop.call_at(self._played_at(), self._finish, False)

    def _finish(self, interrupted: bool) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None
        position = self._scheduled / self._rate
        self._reset()
        self._idle.set()
        self.on_playback_finished(playback_position=position, interrupted=interrupted)


def _resample(line: _Samples, frames: int) -> _Samples:
    """A band-limited line at another rate: its spectrum, cut or padded."""
    spectrum = np.fft.rfft(line)
    kept = np.zeros(frames // 2 + 1, dtype=spectrum.dtype)
    shared = min(len(kept), len(spectrum)) - 1  # without the Nyquist frequency, which is ambiguous
    kept[:shared] = spectrum[:shared]
    return np.asarray(np.fft.irfft(kept, frames) * (frames / len(line)), dtype=np.float32)
