"""A clip: decoded sound in memory, and how its end meets its beginning.

**A loop's passes.** A position counts from the clip's first frame and goes on counting through the passes:

    position < end                samples[position]          what leads in, and the first pass; end = start + period
    later, q = (position - end) % period:
        q < len(seam)             seam[q]                    the end of the last pass crossing into this one
        else                      samples[start + q]

so that every pass after the first begins with the seam. What is before `start` is heard once; of what the file has from
`end` on, a loop sounds no more than went into the seam.

**An author's loop** `[a, b)` with a crossfade of X comes down to the same. Its last X frames go into the seam, so `end`
is b - X. Overlapping passes (`start` a) cross into [a, a + X) and take b - a - X each. Where X frames lead in to a, the
seam crosses into those instead (`start` a - X): then it is over as a comes, and a pass takes b - a, to the frame.

**Which clips get a seam.** One whose end flows into its beginning is left as it is, to the frame: a crossfade would
take 50 ms from each bar of a musical loop. `_flows` decides, by one of two marks.

1. *The join can be foretold as well as the rest.* A linear predictor is fitted to the 100 ms at either side, and what
   it gets wrong over the first frames after the join is compared with what it gets wrong elsewhere. The step must be no
   larger than usual either; by itself that would not do: a tone whose phase jumps can have a small one, a kink.
2. *An attack hides the join.* The first 5 ms move 4 dB more than the 20 ms before the join, in the signal's first
   difference (and than the 20 ms before them, in a loop that something leads in to), and either the step is no larger
   than usual or it is the attack's own, beside which the sound before has died away: a drum on the first beat, a bell
   that rings once. Such a beginning is nothing that could be foretold, and crossing another sound into it would blunt
   it.

**The seam.** Elsewhere the end moves back, by up to 50 ms, to where the clip resembles its own beginning most (an
author's end stays), and the 50 ms before it cross into the first 50 ms. With r the correlation of the two, the gains
satisfy

    out^2 + in^2 + 2 r out in = 1,    out : in = cos : sin of pi u / 2

which holds the power for equal sounds (r = 1), for strangers (r = 0) and in between (Fink, Holters, Zölzer,
"Signal-Matched Power-Complementary Cross-Fading and Dry-Wet Mixing", DAFx-16, 2016).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from soundscape.exceptions import UsageError

__all__ = ["Clip", "Loop"]

_SEAM = 0.05
"""Seconds of a seam, and how far the end may move (the format's 50 ms); of a loop under 200 ms a quarter at most."""

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
"""How much of the jump that an attack begins with there may be left of the sound before it: -12 dB."""


@dataclass(frozen=True, slots=True)
class Loop:
    """Which frames of a clip go round, as an author says it: [start, end), neither of which is ever moved.

    Attributes:
        start: the first frame of the loop; those before it are heard once.
        end: the frame after its last.
        crossfade: frames. None: 50 ms (a quarter of a loop under 200 ms), unless the end flows into the start. 0: the
            end meets the start as it is. More: the last of these frames cross into as many before `start`, which keeps
            the pass at end - start; where there are not as many, into the first ones after it, which shortens the pass
            by the crossfade. Places that are in opposite phase cancel where they cross.
    """

    start: int
    end: int
    crossfade: int | None = None

    def flaw(self, length: int) -> str | None:
        """What makes this no loop of a clip of `length` frames, in words that go on after "the loop"; else None."""
        if self.start < 0:
            return "starts before the clip does"
        if self.end <= self.start:
            return "ends before it starts" if self.end < self.start else "ends where it starts"
        if self.end > length:
            return "starts where the clip is over" if self.start >= length else "ends after the clip does"
        return self._crossfade_flaw()

    def _crossfade_flaw(self) -> str | None:
        crossfade, frames = self.crossfade or 0, self.end - self.start
        if crossfade < 0:
            return "has a negative crossfade"
        if crossfade > frames:
            return "is shorter than its crossfade"
        if crossfade > self.start and 2 * crossfade > frames:
            return "is shorter than two crossfades, with less than one before its start to cross into"
        return None


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Clip:
    """Decoded sound that nobody changes: it is shared by everything that plays it.

    `dataclasses.replace(clip, gain=..., lufs=...)` and `with_loop` give another clip of the same samples, uncopied.

    Attributes:
        samples: float32 `(frames,)`, mono, read-only; full scale is 1, and may be exceeded.
        sample_rate: frames per second.
        period: frames of one pass of the loop.
        seam: float32 `(X,)`, read-only: what the first X frames of every pass but the first are.
        start: the frame at which the first pass begins, X before an author's start that the seam leads in to.
        gain: the author's own, linear. Carried, not applied.
        lufs: integrated loudness of the samples, without `gain`; None: not known, or not to be normalised. Carried.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    period: int
    seam: NDArray[np.float32]
    start: int = 0
    gain: float = 1.0
    lufs: float | None = None

    @classmethod
    def from_samples(cls, samples: ArrayLike, sample_rate: int, *, loop: Loop | None = None) -> Clip:
        """A clip of these frames.

        Args:
            samples: mono, `(frames,)`; float32 that is read-only already is taken as it is, anything else copied.
            sample_rate: frames per second, 1 or more.
            loop: which of them go round; all of them unless said, the end moved where a seam is better for it.

        Raises:
            UsageError: no frames, more than one dimension, a number that is not finite, a rate under 1, a loop that
                cannot be.
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
        frames.setflags(write=False)
        return cls(frames, sample_rate, len(frames), np.empty(0, np.float32)).with_loop(loop)

    def with_loop(self, loop: Loop | None) -> Clip:
        """A clip of the same samples, gain and loudness that goes round elsewhere; None: all of it, as found.

        Raises:
            UsageError: the clip has no such loop.
        """
        if loop is not None and (flaw := loop.flaw(self.length)):
            crossfade = "" if loop.crossfade is None else f" with a crossfade of {loop.crossfade}"
            span = f"[{loop.start}, {loop.end}){crossfade} in a clip of {self.length} frames"
            raise UsageError(f"the loop {flaw}: {span}")
        start, end, seam = _loop(self.samples, self.sample_rate, loop)
        seam.setflags(write=False)
        return replace(self, start=start, period=end - start, seam=seam)

    @property
    def length(self) -> int:
        """Frames of the clip played once."""
        return len(self.samples)

    @property
    def end(self) -> int:
        """The position at which the first pass ends."""
        return self.start + self.period

    def wrapped(self, position: int) -> int:
        """The first position from which a loop sounds just as it does from this one.

        That is a frame of the lead-in or of the first pass, or, inside a seam, one of the second pass's.
        """
        past = position - self.start - self.period
        if past < 0:
            return position
        q = past % self.period
        return self.start + q + (self.period if q < len(self.seam) else 0)

    def pass_end(self, position: int) -> int:
        """The position at which the pass that a position is in ends; the lead-in goes with the first."""
        passes = max(0, position - self.start) // self.period
        return self.start + (passes + 1) * self.period

    def run(self, position: int, frames: int) -> NDArray[np.float32] | None:
        """The frames of a loop from a position on, where they lie in one piece: in the lead-in and the first pass, or
        between a seam and the end. A view; None elsewhere."""
        end = self.start + self.period
        if position >= end:
            position = (position - end) % self.period
            if not len(self.seam) <= position <= self.period - frames:
                return None
            position += self.start
        elif position + frames > end:
            return None
        return self.samples[position : position + frames]

    def runs(self, position: int, frames: int, *, loop: bool) -> Sequence[NDArray[np.float32]]:
        """The pieces, in order, that make up the frames from a position on; views, but for loops of a few frames.

        Args:
            position: 0 or more; of a loop, counted through all of its passes.
            frames: how many are wanted.
            loop: whether the clip goes round. If not, the pieces end where the clip does, which may be at once.
        """
        last = position + frames
        if not loop:
            return (self.samples[position:last],) if position < len(self.samples) and frames > 0 else ()
        run = self.run(position, frames)
        return self._pieces(position, last) if run is None else (run,)

    def _pieces(self, position: int, last: int) -> Sequence[NDArray[np.float32]]:
        start, end = self.start, self.start + self.period
        pieces = []
        while position < last:
            if position < end:
                piece = self.samples[position : min(end, last)]
            else:
                q, left = (position - end) % self.period, last - position
                if left > 4 * self.period:
                    # Many passes of a very short loop: one piece, lest a block be made of a thousand.
                    one = np.concatenate([self.seam, self.samples[start + len(self.seam) : end]])
                    piece = np.tile(one, (q + left) // self.period + 1)[q : q + left]
                elif q < len(self.seam):
                    piece = self.seam[q : q + left]
                else:
                    piece = self.samples[start + q : min(end, start + q + left)]
            pieces.append(piece)
            position += len(piece)
        return pieces


def _finite(frames: NDArray[np.float32]) -> bool:
    """Whether no frame is NaN or infinite. The sum of squares says so in a fifth of the time, unless it overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(float(np.dot(frames, frames))) or bool(np.isfinite(frames).all())


def _loop(samples: NDArray[np.float32], rate: int, loop: Loop | None) -> tuple[int, int, NDArray[np.float32]]:
    """Where a clip's first pass begins and ends, and the seam."""
    start, end, cross = (0, len(samples), None) if loop is None else (loop.start, loop.end, loop.crossfade)
    if cross is None:
        cross = min(int(_SEAM * rate), (end - start) // 4)
        cross = 0 if cross and _flows(samples, start, end, rate) else cross
    if not cross:
        return start, end, np.empty(0, np.float32)
    if start >= cross:
        start -= cross
    head = samples[start : start + cross]
    if loop is None:
        end = _best_end(samples, cross)
    tail = samples[end - cross : end]
    return start, end - cross, _crossed(tail, head, _correlation(tail, head))


def _flows(samples: NDArray[np.float32], start: int, end: int, sample_rate: int) -> bool:
    """Whether the sound before `end` flows into the one after `start` as well as the loop's sound flows elsewhere."""
    side = min(int(_SIDE * sample_rate), (end - start) // 2)
    if side < 2:
        return False
    before, after = samples[end - side : end].astype(np.float64), samples[start : start + side].astype(np.float64)
    foretold = _steps(before, after) and _foretold(before, after, max(1, sample_rate // _BAND))
    return foretold or _attacks(before, after, samples[max(0, start - side) : start], sample_rate)


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
    first, last = max(0, join - reach - order), join + reach  # the windows that touch the join
    sides = [side for side in (signal[: first + order], signal[last:]) if len(side) > order]
    products = np.sum([_products(side, order + 1) for side in sides], axis=0)
    products[np.diag_indices(order)] += _NOISE * products[-1, -1] + 1e-30
    predictor = np.append(np.linalg.solve(products[:order, :order], -products[:order, order]), 1.0)
    errors = np.abs(np.concatenate([np.convolve(side, predictor[::-1], "valid") for side in sides]))
    allowed = max(_TOLERANCE * float(np.quantile(errors, 0.999)), _FLOOR * math.sqrt(products[-1, -1] / len(errors)))
    return bool(np.abs(np.convolve(signal[first : last + order], predictor[::-1], "valid")).max() <= allowed)


def _products(signal: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The sums of the products of each two frames of a window of so many, over all places of it: `(size, size)`.

    By running sums: a matrix product is handed to threads, which a busy machine keeps waiting (*measured*: 1 ms at
    rest, up to 30).
    """
    products = np.empty((size, size))
    count = len(signal) - size + 1
    for lag in range(size):
        sums = np.concatenate([[0.0], np.cumsum(signal[: len(signal) - lag] * signal[lag:])])
        along = sums[count : count + size - lag] - sums[: size - lag]
        products[np.arange(size - lag), np.arange(lag, size)] = along
        products[np.arange(lag, size), np.arange(size - lag)] = along
    return products


def _steps(before: NDArray[np.float64], after: NDArray[np.float64]) -> bool:
    """Whether the step over the join is under the 99.9th percentile of those at either side."""
    usual = np.abs(np.concatenate([np.diff(before), np.diff(after)]))
    return bool(abs(after[0] - before[-1]) <= np.quantile(usual, 0.999) + 1e-4 * usual.max())


def _attacks(
    before: NDArray[np.float64], after: NDArray[np.float64], lead: NDArray[np.float32], sample_rate: int
) -> bool:
    """Whether the loop begins with an attack, also after what leads in to it, and whether that hides how it ends."""
    short = int(0.02 * sample_rate) + 1
    rest, attack = np.diff(before[-short:]), np.diff(after[: int(0.005 * sample_rate) + 1])
    if not len(rest) or not len(attack):
        return False
    quiet = max(rest.std(), np.diff(lead[-short:]).std() if len(lead) > 1 else 0.0)
    if attack.std() < _ATTACK * quiet:
        return False
    return _steps(before, after) or bool(np.abs(before[-len(rest) :]).max() <= _DIED * abs(after[0]))


def _best_end(samples: NDArray[np.float32], cross: int) -> int:
    """The end, within `cross` frames of the clip's, before which it resembles its beginning most."""
    head, tail = samples[:cross].astype(np.float64), samples[-2 * cross :].astype(np.float64)
    size = 1 << (3 * cross).bit_length()
    spectrum = np.fft.rfft(tail, size) * np.conj(np.fft.rfft(head, size))
    products = np.fft.irfft(spectrum, size)[: cross + 1]
    powers = np.concatenate(([0.0], np.cumsum(np.square(tail))))
    resemblance = products / np.sqrt(np.maximum(powers[cross:] - powers[:-cross], 1e-30))
    return len(samples) - cross + int(np.argmax(resemblance))


def _correlation(going: NDArray[np.float32], coming: NDArray[np.float32]) -> float:
    """Of two stretches that cross, each frame counted for as much as both are heard at it."""
    both = np.sin((np.arange(len(going)) + 1) * (math.pi / (len(going) + 1)))
    a, b = going.astype(np.float64), coming.astype(np.float64)
    return float(np.dot(both * a, b) / math.sqrt(max(np.dot(both * a, a) * np.dot(both * b, b), 1e-60)))


def _crossed(going: NDArray[np.float32], coming: NDArray[np.float32], r: float) -> NDArray[np.float32]:
    """One stretch crossing into another that correlates with it by r, at a constant power."""
    angle = (np.arange(len(going)) + 1) * (0.5 * math.pi / (len(going) + 1))
    # Opposites cannot be crossed at a constant power at all; from -0.5 on the gains would exceed 3 dB.
    norm = np.sqrt(1 + min(max(r, -0.5), 1.0) * np.sin(2 * angle))
    crossed: NDArray[np.float64] = (np.cos(angle) * going + np.sin(angle) * coming) / norm
    return crossed.astype(np.float32, copy=False)
