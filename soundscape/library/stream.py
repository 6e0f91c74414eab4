"""Sound that arrives piece by piece, as the mixer plays it: mono float32 at the engine's rate.

What arrives is what an application makes as it goes: blocks of any length, rate and number of channels, which may
change on the way. The channels become one here, by their mean: FFmpeg's own stereo to mono is 3 dB louder, and PyAV
ends the process at 8 planar channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from soundscape.exceptions import UsageError
from soundscape.library.resample import Resampler

__all__ = ["StreamConverter"]

_SAMPLE_RATES = range(1_000, 192_001)


class StreamConverter:
    """Turns one stream of blocks into mono float32 at one rate.

    How the sound is cut into blocks changes nothing, but for half a bit of 16 where the rates have no ratio of small
    numbers (from 47,999 to 48,000). At the rate it already has it passes at once, to the bit; at another the last 16
    frames, of the lower rate, are given when more has come.
    """

    def __init__(self, sample_rate: int) -> None:
        """Starts with nothing in it.

        Args:
            sample_rate: frames per second to give, 1,000 to 192,000.

        Raises:
            UsageError: a rate that is none of these.
        """
        self._sample_rate = _checked_rate(sample_rate)
        self._resampler: Resampler | None = None

    def convert(self, block: NDArray[np.int16], sample_rate: int) -> NDArray[np.float32]:
        """What is ready once a block has come. A change of rate brings all that is left of the old one first.

        Args:
            block: int16 `(frames, channels)`; 32,768 is full scale. One without a frame changes nothing.
            sample_rate: its frames per second, 1,000 to 192,000.

        Returns:
            float32 `(frames,)`, the mean of the channels; full scale is 1. n frames of one rate become, in all,
            n * to / from, rounded, the first in its place.

        Raises:
            UsageError: what is no such block, or a rate that is none of these; nothing has happened then.
        """
        rate = _checked_rate(sample_rate)
        mono = _mono(block)
        if not len(mono):
            return mono
        rest = None
        if self._resampler is not None and self._resampler.source != rate:
            rest = self.finish()
        if rate != self._sample_rate:
            self._resampler = self._resampler or Resampler(rate, self._sample_rate)
            mono = self._resampler.resample(mono)
        return mono if rest is None else np.concatenate([rest, mono])

    def finish(self) -> NDArray[np.float32]:
        """What is left, float32 `(frames,)`; a block that comes afterwards begins another sound."""
        resampler, self._resampler = self._resampler, None
        return np.empty(0, np.float32) if resampler is None else resampler.rest()


def _checked_rate(rate: object) -> int:
    if type(rate) is not int or rate not in _SAMPLE_RATES:
        raise UsageError(f"a sample rate is a whole number from 1,000 to 192,000, not {rate!r}")
    return rate


def _mono(block: NDArray[np.int16]) -> NDArray[np.float32]:
    """The mean of the channels, full scale being 1: exact of one or two. Sums are whole numbers, exact in float32."""
    if not isinstance(block, np.ndarray):
        raise UsageError(f"a block of sound is an array, not {type(block).__name__}")
    if block.dtype != np.int16:
        raise UsageError(f"a block of sound is int16, not {block.dtype}")
    if block.ndim != 2 or not block.shape[1]:
        raise UsageError(f"a block of sound is (frames, channels), with a channel at least, not {block.shape}")
    channels = block.shape[1]
    total = block[:, 0].astype(np.float32)
    for channel in range(1, channels):
        total += block[:, channel]
    total /= 32_768 * channels
    return total
