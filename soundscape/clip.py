"""A clip: decoded sound in memory, and how its end meets its beginning.

**A loop's passes.** A position counts from the clip's first frame and goes on counting through the passes:

    position < period             samples[position]
    later, q = (position - period) % period:
        q < len(seam)             seam[q]       the end of the last pass crossing into the beginning of this one
        else                      samples[q]

so that every pass after the first begins with the seam. What the file has after `period` is its natural rest: it is
heard where a loop is told to finish its pass and stop.

**Which clips get a seam.** One whose end flows into its beginning is left as it is, to the frame: a crossfade would
take 50 ms from each bar of a musical loop. `_flows` decides, by one of two marks.

1. *The join can be foretold as well as the rest.* A linear predictor is fitted to the 100 ms at either side, and what
   it gets wrong over the first frames after the join is compared with what it gets wrong elsewhere. The step must be no
   larger than usual either; by itself that would not do: a tone whose phase jumps can have a small one, a kink.
2. *An attack hides the join.* The first 5 ms move 4 dB more than the 20 ms before the join, in the signal's first
   difference, and either the step is no larger than those of the attack or what was before has died away: a drum on
   the first beat, a bell that rings once. Such a beginning is nothing that could be foretold, and crossing another
   sound into it would blunt it.

**The seam.** Elsewhere the end moves back, by up to 50 ms, to where the clip resembles its own beginning most, and the
50 ms before it cross into the first 50 ms. With r the correlation of the two, the gains satisfy

    out^2 + in^2 + 2 r out in = 1,    out : in = cos : sin of pi u / 2

which holds the power for equal sounds (r = 1), for strangers (r = 0) and in between (Fink, Holters, Zölzer,
"Signal-Matched Power-Complementary Cross-Fading and Dry-Wet Mixing", DAFx-16, 2016).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from soundscape.exceptions import UsageError

__all__ = ["Clip"]

_SEAM = 0.05
"""Seconds of a seam, and how far the end may move (the format's 50 ms); of a clip under 200 ms a quarter at most."""

_SIDE = 0.1
"""Seconds at either side of the join that say what is usual there."""

_ORDER = 32
"""Frames the predictor looks back on; it foretells any 16 steady tones exactly."""

_TOLERANCE = 1.3
"""How far an error at the join may exceed the 99.9th percentile of the usual ones: *measured*, the largest of the 60 at
a place inside a clip where nothing was cut is 1.0 to 1.3 of it."""

_FLOOR = 10 ** (-60 / 20)
"""An error this small beside the sound around it is not heard, however well the rest can be foretold."""

_BAND = 22_050
"""Frames per second, or up to twice as many, that the join is judged at. Opus, Vorbis and MP3 leave nothing above 16 to
20 kHz: a predictor that sees this emptiness takes any coding error for a click (*measured*: white noise that is
seamless, through Opus: errors 45 times the usual; without the upper octave 0.7 times)."""

_NOISE = 1e-6
"""White noise added to the predictor's view, beside the sound's power: what lies 60 dB down is not to steer it."""

_ATTACK = 1.6
"""By what factor an attack moves more than what it follows: 4 dB. Steady noise stays within 1.2."""

_DIED = 0.25
"""How much of an attack's peak there may be left of the sound before it, if it begins with a jump: -12 dB."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Decoded sound that nobody changes: it is shared by everything that plays it.

    Attributes:
        samples: float32 `(frames,)`, mono, read-only; full scale is 1, and may be exceeded.
        sample_rate: frames per second.
        period: frames of one pass of the loop.
        seam: float32 `(X,)`, read-only: what the first X frames of every pass but the first are.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    period: int
    seam: NDArray[np.float32]

    @classmethod
    def from_samples(cls, samples: ArrayLike, sample_rate: int) -> Clip:
        """A clip of these frames, with its loop found.

        Args:
            samples: mono, `(frames,)`; float32 that is read-only already is taken as it is, anything else copied.
            sample_rate: frames per second, 1 or more.

        Raises:
            UsageError: no frames, more than one dimension, a number that is not finite, a rate under 1.
        """
        frames = np.asarray(samples, dtype=np.float32)
        if frames.ndim != 1 or not len(frames):
            raise UsageError(f"a clip is made of mono frames, (frames,), one at least; these are {frames.shape}")
        if sample_rate < 1:
            raise UsageError(f"a sample rate is 1 or more; this is {sample_rate}")
        if not _finite(frames):
            raise UsageError("a clip's frames are finite numbers; some of these are not")
        if frames.flags.writeable or not frames.flags.c_contiguous:
            frames = frames.copy()
        period, seam = _loop(frames, sample_rate)
        frames.setflags(write=False)
        seam.setflags(write=False)
        return cls(frames, sample_rate, period, seam)

    @property
    def length(self) -> int:
        """Frames of the clip played once."""
        return len(self.samples)

    def runs(self, position: int, frames: int, *, loop: bool) -> Sequence[NDArray[np.float32]]:
        """The pieces, in order, that make up the frames from a position on; views, but for loops of a few frames.

        Args:
            position: 0 or more; of a loop, counted through all of its passes.
            frames: how many are wanted.
            loop: whether the clip goes round. If not, the pieces end where the clip does, which may be at once.
        """
        end = position + frames
        if end <= self.period or not loop:
            return (self.samples[position:end],) if position < len(self.samples) and frames > 0 else ()
        pieces = []
        if position >= self.period and frames > 4 * self.period:
            # Many passes of a very short loop: one piece, lest a block be made of a thousand.
            one = np.concatenate([self.seam, self.samples[len(self.seam) : self.period]])
            q = (position - self.period) % self.period
            return (np.tile(one, (q + frames) // self.period + 1)[q : q + frames],)
        while position < end:
            q = position if position < self.period else (position - self.period) % self.period
            if position >= self.period and q < len(self.seam):
                piece = self.seam[q : q + end - position]
            else:
                piece = self.samples[q : min(self.period, q + end - position)]
            pieces.append(piece)
            position += len(piece)
        return pieces


def _finite(frames: NDArray[np.float32]) -> bool:
    """Whether no frame is NaN or infinite. The sum of squares says so in a fifth of the time, unless it overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(float(np.dot(frames, frames))) or bool(np.isfinite(frames).all())


def _loop(samples: NDArray[np.float32], sample_rate: int) -> tuple[int, NDArray[np.float32]]:
    """The period and the seam of a clip."""
    cross = min(int(_SEAM * sample_rate), len(samples) // 4)
    if not cross or _flows(samples, sample_rate):
        return len(samples), np.empty(0, np.float32)
    end, r = _best_end(samples, cross)
    return end - cross, _crossed(samples[end - cross : end], samples[:cross], r)


def _flows(samples: NDArray[np.float32], sample_rate: int) -> bool:
    """Whether the clip's end flows into its beginning as well as the sound there flows elsewhere."""
    side = min(int(_SIDE * sample_rate), len(samples) // 2)
    before, after = samples[-side:].astype(np.float64), samples[:side].astype(np.float64)
    if len(before) < 2:
        return False
    foretold = _steps(before, after) and _foretold(before, after, max(1, sample_rate // _BAND))
    return foretold or _attacks(before, after, sample_rate)


def _foretold(before: NDArray[np.float64], after: NDArray[np.float64], step: int) -> bool:
    """Whether a linear predictor errs no more over the join than at either side of it, every `step`-th frame taken.

    The predictor is the least-squares one (the covariance method), which unlike that of the autocorrelation is exact
    for steady tones. It is fitted to windows that do not touch the join.
    """
    reach = 12 * step if step > 1 else 0
    signal = np.concatenate([before, after])
    if len(signal) <= 4 * reach:
        return False
    if step > 1:
        taps = np.sinc(np.arange(-reach, reach + 1) * (0.9 / step)) * np.hanning(2 * reach + 3)[1:-1]
        signal = np.convolve(signal, taps / taps.sum(), "valid")[::step]
    join, reach = (len(before) - reach) // step, reach // step
    order = min(_ORDER, len(signal) // 8)
    if not order:
        return False
    windows = sliding_window_view(signal, order + 1)
    first, last = max(0, join - reach - order), join + reach
    usual = np.concatenate([windows[:first], windows[last:]])
    products = usual.T @ usual
    products[np.diag_indices(order)] += _NOISE * products[-1, -1] + 1e-30
    predictor = np.append(np.linalg.solve(products[:order, :order], -products[:order, order]), 1.0)
    allowed = _TOLERANCE * float(np.quantile(np.abs(usual @ predictor), 0.999))
    floor = _FLOOR * math.sqrt(products[-1, -1] / len(usual))
    return bool(np.abs(windows[first:last] @ predictor).max() <= max(allowed, floor))


def _steps(before: NDArray[np.float64], after: NDArray[np.float64]) -> bool:
    """Whether the step over the join is under the 99.9th percentile of those at either side."""
    usual = np.abs(np.concatenate([np.diff(before), np.diff(after)]))
    return bool(abs(after[0] - before[-1]) <= np.quantile(usual, 0.999) + 1e-4 * usual.max())


def _attacks(before: NDArray[np.float64], after: NDArray[np.float64], sample_rate: int) -> bool:
    """Whether the clip begins with an attack, which hides how the one before it ends."""
    rest, attack = np.diff(before[-int(0.02 * sample_rate) - 1 :]), np.diff(after[: int(0.005 * sample_rate) + 1])
    if not len(rest) or not len(attack):
        return False
    peak = np.abs(after[: len(attack)]).max()
    hidden = abs(after[0] - before[-1]) <= np.abs(attack).max() or np.abs(before[-len(rest) :]).max() <= _DIED * peak
    return bool(attack.std() >= _ATTACK * rest.std() and hidden)


def _best_end(samples: NDArray[np.float32], cross: int) -> tuple[int, float]:
    """The end, within `cross` frames of the clip's, before which it resembles its beginning most, and how much."""
    head, tail = samples[:cross].astype(np.float64), samples[-2 * cross :].astype(np.float64)
    size = 1 << (3 * cross).bit_length()
    spectrum = np.fft.rfft(tail, size) * np.conj(np.fft.rfft(head, size))
    products = np.fft.irfft(spectrum, size)[: cross + 1]
    powers = np.concatenate(([0.0], np.cumsum(np.square(tail))))
    powers = (powers[cross:] - powers[:-cross]) * np.dot(head, head)
    r = products / np.sqrt(np.maximum(powers, 1e-30))
    best = int(np.argmax(r))
    return len(samples) - cross + best, float(r[best])


def _crossed(going: NDArray[np.float32], coming: NDArray[np.float32], r: float) -> NDArray[np.float32]:
    """One stretch crossing into another that correlates with it by r, at a constant power."""
    angle = (np.arange(len(going)) + 1) * (0.5 * math.pi / (len(going) + 1))
    # Opposites cannot be crossed at a constant power at all; from -0.5 on the gains would exceed 3 dB.
    norm = np.sqrt(1 + min(max(r, -0.5), 1.0) * np.sin(2 * angle))
    crossed: NDArray[np.float64] = (np.cos(angle) * going + np.sin(angle) * coming) / norm
    return crossed.astype(np.float32, copy=False)
