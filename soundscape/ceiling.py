"""The ceiling at the end of the mixer: transparent below it, true peak never above -1 dBTP.

    frame out = frame of the mix x G,    G a number in (0, 1] for each frame, and exactly 1 in nearly all of them

**True peak.** What the sound reaches between its frames counts as well: a sine at a quarter of the rate can peak 3 dB
over its highest frame. Between each two frames a windowed sinc interpolates 11 values; with the frame itself they are
what ITU-R BS.1770-5, annex 2, asks for, at three times its resolution. For two phases t and 1 - t the taps mirror each
other, so one value is the sum of an even and an odd part, the other their difference, and

    max(|even + odd|, |even - odd|) = |even| + |odd|

**Need.** Frames are taken in cells of a sixth of a millisecond on a grid that begins at frame 0. A cell whose peak p
exceeds the target T needs ln(p / T) nepers of attenuation; every other needs none.

**Hold and release.** A need weighs 1 for 30 ms and falls as a raised cosine to 0 at 100 ms; a cell is held at the
largest of the weighted needs before it. The hold spans the peaks of a tone down to 17 Hz, so that a tone gets one gain,
not a gain that follows its wave.

**Attack.** Where a cell begins the gain is exp(-A), A the mean, under a Hann window, of what that cell and the next 4
(more at low rates) are held at. Each of them holds the needs of this cell and of the one before, so A is no less than
either; from point to point the gain runs straight, so it is nowhere too high. The reach is `ahead`: 63 frames (1.3 ms)
at 48 kHz.

Nothing recurs: a frame depends on the mix from `behind` before to `ahead` after it and nothing else. Cells lie on the
grid of absolute frames; maxima are exact in any order; sums run over taps, in one order, each an elementwise
operation; logarithms and exponentials are taken one by one. So the frames are the same to the last bit in whatever
blocks they are asked for, and from any earlier `Tail` again.

**Why not a memoryless soft knee**, which would need no look-ahead? *Measured*, tanh from -6 to -1 dBFS against this:

                                                 soft knee       this
    true peak, noise at +40 dB                   +6.3 dBTP       -1.1 dBTP
    true peak, fs/4 at 45 degrees, +12 dB        +2.1 dBTP       -1.1 dBTP
    100 Hz sine at +6 dB over: distortion        -13 dB          -126 dB (50 Hz and 1 kHz alike)
    100 Hz sine at -3 dBFS, 2 dB under           -40 dB          none: bit-identical

A knee knows a frame, and true peak is no property of a frame: it would have to lie 7 dB lower to be safe, and bend all
that is above. A recursive release, the usual one, would never come back to exactly 1.

**Cost**, *measured*, blocks of 960 frames: 2 us where all frames are under 0.36 (-8.7 dBFS), a copy and a look at the
largest; some 100 us where they are louder but not too loud; 250 us while the gain is at work.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from soundscape.gain import db_to_linear

__all__ = ["CEILING_DBTP", "Ceiling", "Tail"]

CEILING_DBTP = -1.0
"""The true peak that nothing exceeds, in dB over full scale."""

_TARGET = db_to_linear(CEILING_DBTP - 0.1)
"""What peaks come down to. No two interpolators agree near half the rate: *measured* on 8,000 sounds made up of steps,
tones, noise and squares of up to +40 dB, FFmpeg's meter (`ebur128`) reads at most 0.05 dB over it at 44.1 kHz and more,
0.095 dB at less. The other way round the meter, with its 4 values per frame, misses up to 0.35 dB of what is seen here;
under 0.4 of the rate both agree."""

_TAPS = 16
"""Frames at either side that an interpolated value depends on: with 12, FFmpeg's meter (16) reads 0.2 to 0.5 dB more in
full-band noise, with 8 up to 0.8 dB."""

_BETA = 8.0
"""Of the Kaiser window."""

_PHASES = 12
"""Values per frame, an even number. BS.1770's 4 miss up to 0.7 dB of a tone at half the rate, 12 miss 0.1 dB."""

_CELLS_PER_SECOND = 6_000

_HOLD, _RELEASE = 0.03, 0.1
"""Seconds until a need begins to weigh less, and until it weighs nothing. *Measured*, distortion of a sine at +6 dB:
under -126 dB from 20 Hz up; a hold of 10 ms gives -73 dB at 40 Hz, none -45 dB."""

_ATTACK = 4
"""Cells over which the gain comes down, at least."""

_LOWEST_RATE = 8_000
"""Frames per second under which there is no ceiling: nobody listens at such rates, there one counts frames."""

_LOUDEST = np.float32(1e6)
"""+120 dB; one sound comes to +100 at most (`mixer.MOST_GAIN`, and a layer's +40). What is louder or no number is an
error, and counts as silence: a single such frame would otherwise take all others with it for 100 ms."""

_PIECE = 2_048
"""Frames limited at a time: bounds the memory that a long block takes."""

_Samples = npt.NDArray[np.float32]


def _interpolator() -> tuple[_Samples, _Samples]:
    """Even and odd parts, `(_TAPS, phases, 1)`: tap k is for the k-th frame before and the k-th after."""
    offset = np.arange(1, _PHASES // 2 + 1) / _PHASES
    taps = np.arange(_TAPS)[:, np.newaxis]

    def sinc(time: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.sinc(time) * np.i0(_BETA * np.sqrt(1 - (time / _TAPS) ** 2)) / np.i0(_BETA)

    before, after = sinc(taps + offset), sinc(taps + 1 - offset)
    even, odd = (before + after) / 2, (before - after) / 2
    return even.astype(np.float32)[..., np.newaxis], odd[:, :-1].astype(np.float32)[..., np.newaxis]  # odd: 0 halfway


_EVEN, _ODD = _interpolator()

_GREATEST_SUM = float(np.maximum(np.abs(_EVEN), np.abs(np.pad(_ODD, ((0, 0), (0, 1), (0, 0))))).sum(axis=0).max() * 2)
_QUIET = _TARGET / _GREATEST_SUM * (1 - 1e-5)
"""No peak between frames of up to this magnitude exceeds the target: it is at most their largest times sum |tap|."""

_HALFWAY = np.concatenate((_EVEN[::-1, -1, 0], _EVEN[:, -1, 0]))
"""Taps, `(2 * _TAPS,)`, of the value halfway between two frames."""

_CALM = _TARGET / 1.29 * (1 - 1e-4)
"""No peak exceeds the target where neither frames nor halfway values within 15 gaps exceed this: of all sounds of which
those are at most 1, none has an interpolated value over 1.288 (the linear programme of the tests)."""


class Tail(NamedTuple):
    """All that the ceiling remembers from block to block. Nothing in it is ever written to: keep one to come back.

    Attributes:
        frame: the next frame to be given out; the next one of the mix comes `ahead` later.
        mix: float32 `(ahead,)`: the mix from `frame` on.
        needs: float32 `(cells,)`, nepers: what the last cells needed; `None` if they needed nothing.
    """

    frame: int
    mix: _Samples
    needs: _Samples | None


class Ceiling:
    """Keeps a mono mix under the ceiling.

    Args:
        sample_rate: frames per second; under 8,000 the mix is given out as it is, at once.

    Attributes:
        ahead: frames of the mix that must be known after a frame before that can be given out.
        behind: frames of the mix before a frame that it can depend on.
    """

    def __init__(self, sample_rate: int) -> None:
        self._idle = sample_rate < _LOWEST_RATE
        rate = max(sample_rate, _LOWEST_RATE)
        self._cell = cell = round(rate / _CELLS_PER_SECOND)
        # At least so many that the next cell to be looked at, and the taps before it, are always within `ahead`.
        self._attack = attack = max(_ATTACK, math.ceil((_TAPS - 1) / cell) - 1)
        hold, release = (round(seconds * rate / cell) for seconds in (_HOLD, _RELEASE))
        age = np.clip((np.arange(release) - hold) / (release - hold), 0, 1)
        self._weights = (0.5 + 0.5 * np.cos(np.pi * age))[::-1].astype(np.float32)
        hann = np.sin(np.pi * np.arange(1, attack + 2) / (attack + 2)) ** 2
        self._window = (hann / hann.sum()).astype(np.float32)
        self._ramp = np.arange(cell) / cell
        self._kept = release + attack + 1
        self.ahead = 0 if self._idle else (attack + 2) * cell + _TAPS - 1
        # A gap is told to be calm by 2 * _TAPS - 2 frames at either side: whether those that lack what follows can
        # still be told so in the next block.
        self._foresees = self.ahead >= 4 * _TAPS - 3
        self.behind = 0 if self._idle else release * cell + _TAPS

    def start(self, frame: int = 0) -> Tail:
        """Silence up to a frame, which is the next of the mix to be pushed."""
        return Tail(frame - self.ahead, np.zeros(self.ahead, np.float32), None)

    def push(self, tail: Tail, block: _Samples) -> tuple[Tail, _Samples]:
        """Takes the next frames of the mix and gives out as many, from `tail.frame` on.

        Args:
            tail: what the push before returned, or `start`.
            block: float32 `(frames,)`: the mix from frame `tail.frame + ahead` on. Not written to.

        Returns:
            The tail for the next push, and float32 `(frames,)`: the mix bit for bit wherever it needs no attenuation.
        """
        return self.take(tail, np.concatenate((tail.mix, block)))

    def take(self, tail: Tail, joined: _Samples) -> tuple[Tail, _Samples]:
        """As `push`, of frames that stand behind those of the tail already.

        Args:
            tail: what the push before returned, or `start`.
            joined: float32 `(ahead + frames,)`: `tail.mix` and what follows; not to be written to afterwards.
        """
        block = joined[self.ahead :]
        size = len(block)
        if self._idle or not size:
            return tail._replace(frame=tail.frame + size), block
        calm = tail.needs is None or not tail.needs.any()
        if calm and (_quiet(joined) or (self._foresees and _calm(joined))):
            return Tail(tail.frame + size, joined[size:].copy(), None), joined[:size]
        out = np.empty(size, np.float32)
        for at in range(0, size, _PIECE):
            tail = self._limit(tail, block[at : at + _PIECE], out[at : at + _PIECE])
        return tail, out

    def _limit(self, tail: Tail, block: _Samples, out: _Samples) -> Tail:
        mix = np.concatenate((tail.mix, block))
        mix = np.where(np.abs(mix) <= _LOUDEST, mix, np.float32(0))
        first, last = tail.frame, tail.frame + len(block)
        known, new = ((frame + self.ahead - _TAPS) // self._cell for frame in (first, last))
        oldest = known - self._kept
        before = tail.needs
        if before is None:  # calm so far, of which the last cells were not quite sure
            known = -(-(first + _TAPS - 1) // self._cell)
            before = np.zeros(known - oldest, np.float32)
        needs = np.concatenate((before, self._needs(mix, known * self._cell - first, new - known)))
        if needs.any():
            np.multiply(mix[: len(block)], self._gain(needs, oldest, first, last), out)
        else:
            out[:] = mix[: len(block)]
        mix, needs = mix[len(block) :].copy(), needs[-self._kept :].copy()
        return Tail(last, mix, needs if needs.any() or not _quiet(mix) else None)

    def _needs(self, mix: _Samples, begin: int, cells: int) -> _Samples:
        """The attenuation that cells need, nepers `(cells,)`, the first of which begins at an index into `mix`."""
        needs = np.zeros(cells, np.float32)
        loud = np.flatnonzero(np.abs(mix[begin - _TAPS + 1 : begin + cells * self._cell + _TAPS]) > _QUIET)
        if not len(loud):
            return needs
        low = max(0, int(loud[0]) - 2 * _TAPS + 1) // self._cell
        high = min(cells, int(loud[-1]) // self._cell + 1)
        peaks = _peaks(mix, begin + low * self._cell, begin + high * self._cell).reshape(-1, self._cell).max(axis=1)
        needs[low:high] = [math.log(peak / _TARGET) if peak > _TARGET else 0.0 for peak in peaks.tolist()]
        return needs

    def _gain(self, needs: _Samples, cell: int, first: int, last: int) -> _Samples:
        """G of the frames `first` to `last - 1`, from the needs of the cells from number `cell` on."""
        begin, end = first // self._cell, (last - 1) // self._cell + 2
        span = needs[begin - len(self._weights) + 1 - cell : end + self._attack - cell]
        held = (sliding_window_view(span, len(self._weights)) * self._weights).max(axis=1)
        attenuation = np.zeros(end - begin, np.float32)
        for at, weight in enumerate(self._window):
            attenuation += weight * held[at : at + end - begin]
        gain = np.array([math.exp(-nepers) for nepers in attenuation.tolist()])
        gain = gain[:-1, np.newaxis] + np.diff(gain)[:, np.newaxis] * self._ramp
        at = first - begin * self._cell
        return gain.ravel()[at : at + last - first].astype(np.float32)


def _quiet(block: _Samples) -> bool:
    """Whether no frame is large enough for a peak over the target anywhere near, and each is a number."""
    # A third of the time of max() and min(), and finds NaN too.
    return bool(block.item(block.argmax()) <= _QUIET and block.item(block.argmin()) >= -_QUIET)


def _calm(joined: _Samples) -> bool:
    """Whether nothing in sight can come to a peak over the target; takes a tenth of the time of looking at all."""
    if not abs(joined.item(joined.argmax())) <= _CALM or not abs(joined.item(joined.argmin())) <= _CALM:
        return False
    halfway = np.convolve(joined, _HALFWAY, "valid")
    return bool(halfway.item(halfway.argmax()) <= _CALM and halfway.item(halfway.argmin()) >= -_CALM)


def _peaks(mix: _Samples, begin: int, end: int) -> _Samples:
    """The largest magnitude from each frame up to the next, for the frames `begin` to `end - 1`: `(end - begin,)`."""
    size = end - begin
    even = np.zeros((_EVEN.shape[1], size), np.float32)
    odd = np.zeros((_ODD.shape[1], size), np.float32)
    scratch = np.empty_like(even)
    for tap in range(_TAPS):
        before, after = mix[begin - tap : end - tap], mix[begin + 1 + tap : end + 1 + tap]
        even += np.multiply(_EVEN[tap], before + after, scratch)
        odd += np.multiply(_ODD[tap], before - after, scratch[:-1])
    peaks = np.abs(even, even)
    peaks[:-1] += np.abs(odd, odd)
    largest: _Samples = peaks.max(axis=0)
    return np.maximum(largest, np.abs(mix[begin:end]), out=largest)
