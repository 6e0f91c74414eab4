"""Mono sound at another rate, by FFmpeg's resampler, nothing lost at either end.

By itself it gives nothing at all for a few dozen frames and keeps the last ones of any length (*measured*: 20 frames at
8 kHz give none, 100 at 192 kHz 21 of 25). At the beginning it mirrors what comes first, so that the first frame is in
its place; so the end gets its mirror image too, longer than the filter, and what comes of that is cut off again.
"""

from __future__ import annotations

import math

import av
import numpy as np
from numpy.typing import NDArray

__all__ = ["Resampler"]

_MIRROR = 64
"""Frames, of the lower rate, to add at the end: the filter is 32 long, and gives the first once 33 are there."""


class Resampler:
    """One sound, in pieces, however cut. It is half a filter behind: 16 frames of the lower rate, once it has begun."""

    def __init__(self, source: int, rate: int) -> None:
        """Two different rates, in frames per second: from, and to."""
        self.source = source
        self.rate = rate
        self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
        self._mirror = math.ceil(_MIRROR * max(1.0, source / rate))
        self._end = np.empty(0, np.float32)
        self._taken = 0
        self._given = 0

    def resample(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Takes float32 `(frames,)`, one frame at least; what is ready by now, often of earlier pieces."""
        self._taken += len(samples)
        self._end = np.concatenate([self._end, samples[-self._mirror - 1 :]])[-self._mirror - 1 :]
        return self._through(samples)

    def rest(self) -> NDArray[np.float32]:
        """What is left: n frames have then become n * rate / source, rounded, one at least. Nothing may follow."""
        left = max(1, (2 * self._taken * self.rate + self.source) // (2 * self.source)) - self._given
        mirrored = np.pad(self._end, (0, self._mirror), mode="reflect")[len(self._end) :]
        return np.concatenate([self._through(mirrored), self._through(None)])[:left]

    def _through(self, samples: NDArray[np.float32] | None) -> NDArray[np.float32]:
        frame = None
        if samples is not None:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[np.newaxis]), format="fltp", layout="mono")
            frame.sample_rate = self.source
        given = self._resampler.resample(frame)
        parts = [np.frombuffer(out.planes[0], np.float32, out.samples) for out in given]  # type: ignore[call-overload]
        self._given += sum(map(len, parts))
        return np.concatenate(parts) if parts else np.empty(0, np.float32)
