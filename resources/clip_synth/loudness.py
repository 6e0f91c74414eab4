"""Loudness after ITU-R BS.1770, true peak, and the levelling of a finished clip."""

from __future__ import annotations

import numpy as np

from clip_synth.dsp import RATE, Array, db, samples, smooth

TARGET_LUFS = -27.0
CEILING_DBTP = -4.0

# The K-weighting biquads at 48 kHz, as tabulated in the recommendation.
_SHELF = (
    (1.53512485958697, -2.69169618940638, 1.19839281085285),
    (1.0, -1.69065929318241, 0.73248077421585),
)
_HIGH_PASS = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))


def _weighted(x: Array) -> Array:
    """K-weighting of `x`, circularly; the caller pads what is not a loop."""
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(len(x)))
    spectrum = np.fft.rfft(x)
    for numerator, denominator in (_SHELF, _HIGH_PASS):
        spectrum = spectrum * np.polyval(numerator[::-1], z) / np.polyval(denominator[::-1], z)
    return np.asarray(np.fft.irfft(spectrum, len(x)))


def loudness(x: Array, *, loop: bool) -> float:
    """Gated loudness in LUFS; of a clip under 400 ms, the loudness of the whole of it."""
    n = len(x)
    power = np.square(_weighted(x if loop else np.pad(x, (0, RATE))))[:n]
    block = samples(0.4)
    if n <= block:
        return float(-0.691 + 10.0 * np.log10(power.mean() + 1e-20))
    total = np.concatenate(([0.0], np.cumsum(power)))
    starts = np.arange(0, n - block + 1, block // 4)
    mean = (total[starts + block] - total[starts]) / block
    level = -0.691 + 10.0 * np.log10(mean + 1e-20)
    kept = mean[level > -70.0]
    if not len(kept):
        return -70.0
    gate = 10.0 * np.log10(kept.mean()) - 10.0
    return float(-0.691 + 10.0 * np.log10(kept[10.0 * np.log10(kept) > gate].mean()))


def sounding(x: Array, floor: float = -45.0) -> Array:
    """The part of a one-shot within `floor` dB of its loudest 5 ms."""
    hop = samples(0.005)
    count = len(x) // hop
    level = np.square(x[: count * hop]).reshape(count, hop).mean(axis=1)
    live = np.flatnonzero(level > level.max() * 10.0 ** (floor / 10.0))
    return x[live[0] * hop : (live[-1] + 1) * hop]


def true_peak(x: Array) -> float:
    """Largest magnitude after fourfold oversampling, in dB of full scale."""
    n = len(x)
    spectrum = np.zeros(2 * n + 1, dtype=np.complex128)
    spectrum[: n // 2 + 1] = np.fft.rfft(x)
    return float(20.0 * np.log10(np.abs(np.fft.irfft(spectrum, 4 * n)).max() * 4.0 + 1e-12))


def limit(x: Array, ceiling: float) -> Array:
    """Turn down, smoothly and ahead of time, what exceeds `ceiling` (a linear amplitude)."""
    hop = 24  # gain is worked out every half millisecond
    pad = -len(x) % hop
    peaks = np.abs(np.pad(x, (0, pad))).reshape(-1, hop).max(axis=1)
    if peaks.max() <= ceiling:
        return x
    need = np.minimum(1.0, ceiling / np.maximum(peaks, 1e-9))
    held = np.minimum.reduce([np.roll(need, k) for k in range(-4, 9)])
    gain = smooth(held, 7)
    centres = (np.arange(len(gain)) + 0.5) * hop
    curve = np.interp(np.arange(len(x)), centres, gain, period=len(gain) * hop)
    return np.asarray(x * curve)


def level(x: Array, *, loop: bool, target: float = TARGET_LUFS) -> Array:
    """Bring `x` to the common loudness, holding its true peak under the ceiling."""
    if not np.all(np.isfinite(x)):
        raise ValueError("not a number somewhere in the clip")
    out = x - x.mean()
    ceiling = CEILING_DBTP
    for _ in range(8):
        part = out if loop else sounding(out)
        out = limit(out * db(target - loudness(part, loop=loop)), db(ceiling))
        ceiling -= max(0.0, true_peak(out) - CEILING_DBTP)
    return np.asarray(out - out.mean())
