"""Building blocks shared by every clip.

Loops are made *circularly*: noise is shaped in the frequency domain over the whole length of the
clip, events that run past the end continue at the beginning, and reverberation is a circular
convolution.  A clip made of these parts has no seam to hide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

RATE = 48_000
"""Sampling rate of every clip, in Hz."""

Array = npt.NDArray[np.float64]
Curve = Sequence[tuple[float, float]]
"""A frequency response: (Hz, dB) points, joined by straight lines on a log-frequency axis."""


def generator(seed: int) -> np.random.Generator:
    """A random generator whose stream depends on `seed` alone."""
    return np.random.Generator(np.random.PCG64(seed))


def db(value: float) -> float:
    """Decibels to a linear amplitude."""
    return float(10.0 ** (value / 20.0))


def samples(seconds: float, rate: int = RATE) -> int:
    """A duration as a whole number of samples."""
    return round(seconds * rate)


def rms(x: Array) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(x))))


def unit(x: Array) -> Array:
    """`x` scaled to an RMS of one."""
    return x / max(rms(x), 1e-12)


def response(freqs: Array, curve: Curve) -> Array:
    """Linear gain of `curve` at `freqs`; constant beyond its first and last point."""
    points = np.asarray(curve, dtype=np.float64)
    level = np.interp(np.log2(np.maximum(freqs, 1.0)), np.log2(points[:, 0]), points[:, 1])
    return np.asarray(10.0 ** (level / 20.0))


def _minimum_phase(gain: Array, n: int) -> npt.NDArray[np.complex128]:
    """Spectrum with the magnitude `gain` (the rfft bins of `n` samples) and minimum phase."""
    cepstrum = np.fft.irfft(np.log(np.maximum(gain, 1e-6)), n)
    cepstrum[1 : (n + 1) // 2] *= 2.0
    cepstrum[n // 2 + 1 :] = 0.0
    return np.asarray(np.exp(np.fft.rfft(cepstrum)))


def shape(x: Array, curve: Curve, rate: int = RATE, *, causal: bool = False) -> Array:
    """Filter `x` circularly; `causal` avoids pre-ringing, for sharp events."""
    n = len(x)
    gain = response(np.asarray(np.fft.rfftfreq(n, 1.0 / rate), dtype=np.float64), curve)
    spectrum = np.fft.rfft(x)
    filtered = spectrum * (_minimum_phase(gain, n) if causal else gain)
    return np.asarray(np.fft.irfft(filtered, n))


def noise(n: int, rng: np.random.Generator, curve: Curve, rate: int = RATE) -> Array:
    """Periodic Gaussian noise with the spectrum `curve`, RMS one.

    Outside the points of the curve the noise falls by 24 dB per octave.
    """
    first, last = curve[0], curve[-1]
    skirts = ((first[0] / 16, first[1] - 96), *curve, (last[0] * 16, last[1] - 96))
    return unit(shape(rng.standard_normal(n), skirts, rate))


def drift(n: int, rng: np.random.Generator, hz: float, rate: int = RATE) -> Array:
    """Periodic random motion slower than about `hz`, zero mean and RMS one."""
    count = max(2, int(hz * n / rate))
    rolloff = np.exp(-0.5 * (np.arange(1, 2 * count + 1) / (0.6 * count)) ** 2)
    bins = rng.standard_normal(2 * count) + 1j * rng.standard_normal(2 * count)
    spectrum = np.zeros(n // 2 + 1, dtype=np.complex128)
    spectrum[1 : 2 * count + 1] = (bins * rolloff)[: n // 2]
    return unit(np.asarray(np.fft.irfft(spectrum, n)))


def place(target: Array, event: Array, start: int) -> None:
    """Add `event` to `target` from `start` on, running past the end into the beginning."""
    n = len(target)
    begin = start % n
    while len(event):
        part = event[: n - begin]
        target[begin : begin + len(part)] += part
        event, begin = event[len(part) :], 0


def resample(x: Array, n: int) -> Array:
    """One period of `x` with `n` samples instead, band-limited."""
    spectrum = np.fft.rfft(x)
    out = np.zeros(n // 2 + 1, dtype=np.complex128)
    kept = min(len(out), len(spectrum))
    out[:kept] = spectrum[:kept]
    return np.asarray(np.fft.irfft(out, n) * (n / len(x)))


def smooth(x: Array, width: int) -> Array:
    """Circular smoothing along the first axis with a Hann window of `width` samples."""
    if width < 2:
        return x
    window = np.hanning(width + 2)[1:-1]
    kernel = np.zeros(len(x))
    place(kernel, window / window.sum(), -(width // 2))
    turned = np.fft.rfft(kernel).reshape((-1,) + (1,) * (x.ndim - 1))
    return np.asarray(np.fft.irfft(np.fft.rfft(x, axis=0) * turned, len(x), axis=0))


def convolve(x: Array, impulse: Array) -> Array:
    """Circular convolution: the tail of `impulse` wraps around the end of `x`."""
    kernel = np.zeros(len(x))
    place(kernel, impulse, 0)
    return np.asarray(np.fft.irfft(np.fft.rfft(x) * np.fft.rfft(kernel), len(x)))


def room(
    rng: np.random.Generator,
    rt60: float,
    *,
    direct: float = 0.0,
    early: float = -6.0,
    late: float = -6.0,
    size: float = 1.0,
    damping: float = 0.45,
) -> Array:
    """Impulse response of an invented room.

    Levels are energies in dB of the direct sound, the early reflections and the diffuse tail.
    `size` stretches the pattern of the early reflections; `damping` is how much shorter the
    reverberation is in the treble than in the bass.
    """
    n = samples(1.1 * rt60 + 0.1)
    t = np.arange(n) / RATE
    freqs = np.fft.rfftfreq(n, 1.0 / RATE)
    octave = np.log2(np.maximum(freqs, 1.0) / 125.0)
    tail = np.zeros(n)
    for band, centre in enumerate((0.0, 2.0, 4.0, 6.0)):
        weight = np.clip(1.0 - np.abs(octave - centre) / 2.0, 0.0, 1.0)
        weight = np.where((band == 0) & (octave < 0.0), 1.0, weight)
        weight = np.where((band == 3) & (octave > 6.0), 1.0, weight)
        grain = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * np.sqrt(weight), n)
        decay = rt60 * (1.15 - damping * band / 3.0)
        tail += db(-2.5 * band) * grain * 10.0 ** (-3.0 * t / decay)
    onset = samples(0.012 * size)
    tail *= np.clip(t * RATE / max(onset, 1), 0.0, 1.0) ** 2
    taps = np.zeros(n)
    for delay in np.sort(rng.uniform(0.003, 0.05, 16)) * size:
        width = samples(0.0002 + 0.004 * float(delay))
        lobe = np.hanning(width + 2)[1:-1]
        sign = 1.0 if rng.random() < 0.7 else -1.0
        place(taps, sign * lobe / lobe.sum() / (1.0 + 30.0 * delay), samples(float(delay)))
    out = np.asarray(db(early) * taps / max(float(np.linalg.norm(taps)), 1e-12))
    out += db(late) * tail / max(float(np.linalg.norm(tail)), 1e-12)
    out[0] += db(direct)
    return out


def calm_start(x: Array) -> Array:
    """The loop `x`, turned so that it closes at a moment when nothing happens.

    It is seamless anywhere; this keeps a stroke or a syllable from falling on the very seam.
    """
    hop, span = samples(0.01), 5
    cost = np.zeros(len(x) // hop)
    for band in (x, np.diff(x, n=2, append=x[:2])):  # all of it, and the treble
        power = np.square(band[: len(cost) * hop]).reshape(-1, hop).mean(axis=1)
        around = np.mean([np.roll(power, k) for k in range(-span, span)], axis=0)
        after = np.mean([np.roll(power, -k) for k in range(span)], axis=0)
        before = np.mean([np.roll(power, k) for k in range(1, span + 1)], axis=0)
        worst = np.max([np.roll(power, k) for k in range(-span, span)], axis=0)
        level = 10.0 * np.log10(around + 1e-20)
        cost += np.abs(level - np.percentile(level, 40))
        cost += 3.0 * np.abs(10.0 * np.log10((after + 1e-20) / (before + 1e-20)))
        cost += 10.0 * np.log10((worst + 1e-20) / (around + 1e-20))
    return np.roll(x, -int(np.argmin(cost)) * hop)


def modes(n: int, freqs: Array, decays: Array, gains: Array, phases: Array | None = None) -> Array:
    """A struck body: damped sinusoids; `decays` are time constants in seconds."""
    t = np.arange(n) / RATE
    phase = np.zeros(len(freqs)) if phases is None else phases
    out = np.zeros(n)
    for f, tau, gain, offset in zip(freqs, decays, gains, phase, strict=True):
        live = min(n, samples(9.0 * float(tau)) + 1)
        part = t[:live]
        out[:live] += gain * np.exp(-part / tau) * np.sin(2.0 * np.pi * f * part + offset)
    return out


def attack(x: Array, seconds: float) -> Array:
    """`x` with a raised-cosine onset."""
    n = min(len(x), max(1, samples(seconds)))
    out = x.copy()
    out[:n] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(n) / n)
    return out


def release(x: Array, seconds: float) -> Array:
    """`x` with a raised-cosine ending."""
    return attack(x[::-1], seconds)[::-1].copy()


def spread_times(rng: np.random.Generator, seconds: float, count: int, jitter: float = 0.4) -> Array:
    """`count` times spread over one loop, each moved at random by `jitter` of the spacing."""
    step = seconds / count
    times = (np.arange(count) + rng.uniform(-jitter, jitter, count)) * step
    return np.asarray((times + rng.uniform(0.0, seconds)) % seconds)
