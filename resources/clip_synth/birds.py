"""Birds: whistles swept in pitch, in the phrases of several kinds of singer, and a forest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from clip_synth.dsp import (
    RATE,
    Array,
    Curve,
    convolve,
    db,
    drift,
    generator,
    noise,
    place,
    room,
    samples,
    shape,
    spread_times,
)


def whistle(
    rng: np.random.Generator,
    seconds: float,
    path: Sequence[float],
    *,
    shimmer: float = 0.0,
    shimmer_hz: float = 60.0,
    overtone: float = -26.0,
    swell: float = 0.35,
) -> Array:
    """One note through the frequencies `path`; `swell` is where in it the note is loudest."""
    n = samples(seconds)
    t = np.linspace(0.0, 1.0, n)
    knots = np.linspace(0.0, 1.0, len(path))
    glide = np.interp(t, knots, np.log2(np.asarray(path, dtype=np.float64)))
    glide = glide + 0.004 * drift(n, rng, 30.0)
    if n > 200:  # round the corners of the glide
        width = n // 12
        padded = np.pad(glide, width, mode="edge")
        glide = np.convolve(padded, np.ones(width) / width, "same")[width:-width]
    wobble = shimmer * np.sin(2 * np.pi * shimmer_hz * t * seconds + rng.uniform(0, 6.28))
    phase = 2 * np.pi * np.cumsum(2.0**glide * (1.0 + wobble)) / RATE
    envelope = np.where(t < swell, np.sin(0.5 * np.pi * t / swell),
                        np.cos(0.5 * np.pi * (t - swell) / (1.0 - swell))) ** 1.3  # fmt: skip
    flutter = 1.0 + 0.12 * drift(n, rng, 45.0)
    tone = np.sin(phase) + db(overtone) * np.sin(2 * phase + 0.5)
    tone += db(overtone - 9.0) * np.sin(3 * phase + 1.1)
    return np.asarray(tone * np.maximum(envelope, 0.0) * flutter)


def _series(parts: list[tuple[float, Array]]) -> Array:
    """Notes with the silence after each."""
    total = sum(len(note) / RATE + gap for gap, note in parts)
    out = np.zeros(samples(total) + 64)
    at = 0.0
    for gap, note in parts:
        place(out, note, samples(at))
        at += len(note) / RATE + gap
    return out


def tit(rng: np.random.Generator) -> Array:
    """Two pitches seesawing."""
    high, low = rng.uniform(5000, 6100), rng.uniform(3600, 4400)
    parts = []
    for _ in range(int(rng.integers(2, 6))):
        parts.append((0.035, whistle(rng, 0.085, (high * 0.96, high, high * 0.97), swell=0.3)))
        parts.append((rng.uniform(0.07, 0.1), whistle(rng, 0.13, (low, low * 1.02, low * 0.98))))
    return _series(parts)


def warbler(rng: np.random.Generator) -> Array:
    """A cascade: quick notes that slow and fall, and a flourish."""
    top = rng.uniform(5600, 6800)
    count = int(rng.integers(8, 14))
    parts = []
    for i in range(count):
        f = top * (1.0 - 0.48 * i / count)
        length = 0.05 + 0.05 * i / count
        parts.append((0.03 + 0.02 * i / count,
                      whistle(rng, length, (f * 1.12, f, f * 0.86), swell=0.3)))  # fmt: skip
    f = top * 0.5
    parts.append((0.05, whistle(rng, 0.16, (f, f * 1.35, f * 1.1, f * 0.95), swell=0.5)))
    return _series(parts)


def robin(rng: np.random.Generator) -> Array:
    """A rippling phrase, never twice the same."""
    parts = []
    for _ in range(int(rng.integers(4, 9))):
        f = rng.uniform(2900, 6200)
        kind = rng.integers(4)
        if kind == 0:
            path = (f, f * rng.uniform(1.2, 1.5), f * 1.05)
            parts.append((rng.uniform(0.02, 0.06), whistle(rng, rng.uniform(0.08, 0.16), path)))
        elif kind == 1:
            parts.append(
                (
                    0.04,
                    whistle(
                        rng,
                        rng.uniform(0.15, 0.3),
                        (f, f * 0.97, f * 0.9),
                        shimmer=0.05,
                        shimmer_hz=rng.uniform(28, 55),
                    ),
                )
            )
        elif kind == 2:
            for _ in range(int(rng.integers(3, 7))):
                parts.append((0.018, whistle(rng, 0.042, (f * 1.1, f * 0.84), swell=0.3)))
        else:
            parts.append((rng.uniform(0.03, 0.09), whistle(rng, 0.11, (f * 1.25, f * 0.8))))
    return _series(parts)


def blackbird(rng: np.random.Generator) -> Array:
    """A few mellow flute notes and a thin scratchy end."""
    parts = []
    f = rng.uniform(1750, 2300)
    for _ in range(int(rng.integers(3, 6))):
        step = f * float(rng.choice([0.84, 0.94, 1.0, 1.12, 1.26]))
        bend = rng.uniform(0.94, 1.08)
        parts.append((rng.uniform(0.02, 0.08), whistle(
            rng, rng.uniform(0.12, 0.26), (step, step * bend, step), overtone=-22.0,
            shimmer=0.006, shimmer_hz=rng.uniform(14, 30))))  # fmt: skip
    for _ in range(int(rng.integers(2, 5))):
        g = rng.uniform(4200, 6000)
        parts.append((0.015, 0.3 * whistle(rng, 0.05, (g, g * 1.2, g * 0.9), shimmer=0.08,
                                           shimmer_hz=110.0)))  # fmt: skip
    return _series(parts)


def chiffchaff(rng: np.random.Generator) -> Array:
    """Two notes in an irregular, patient alternation."""
    high, low = rng.uniform(4600, 5100), rng.uniform(3700, 4100)
    parts = []
    for _ in range(int(rng.integers(4, 9))):
        f = high if rng.random() < 0.5 else low
        parts.append((rng.uniform(0.12, 0.17), whistle(rng, 0.11, (f * 1.4, f * 1.02, f * 0.98),
                                                      swell=0.25)))  # fmt: skip
    return _series(parts)


def sparrow(rng: np.random.Generator) -> Array:
    """Chirps, rough and full of overtones."""
    parts = []
    for _ in range(int(rng.integers(1, 5))):
        f = rng.uniform(3000, 4300)
        parts.append((rng.uniform(0.12, 0.4), whistle(
            rng, rng.uniform(0.06, 0.12), (f * 0.8, f * 1.2, f * 0.9), overtone=-12.0,
            shimmer=0.03, shimmer_hz=120.0)))  # fmt: skip
    return _series(parts)


def contact(rng: np.random.Generator) -> Array:
    """The thin calls by which small birds keep together."""
    parts = []
    for _ in range(int(rng.integers(1, 5))):
        f = rng.uniform(6600, 8300)
        parts.append((rng.uniform(0.06, 0.2), whistle(rng, rng.uniform(0.05, 0.1), (f * 1.06, f, f * 0.93))))
    return _series(parts)


def pigeon(rng: np.random.Generator) -> Array:
    """Five breathy coos, low and a long way off."""
    f = rng.uniform(410, 470)
    parts = []
    for length, step in ((0.26, 0.95), (0.5, 1.08), (0.42, 1.0), (0.22, 1.0), (0.3, 0.97)):
        parts.append((0.09, whistle(rng, length, (f * step * 0.96, f * step, f * step * 0.95),
                                    overtone=-16.0, swell=0.45)))  # fmt: skip
    return _series(parts)


_Singer = Callable[[np.random.Generator], Array]
# Singer, phrases per loop, level in dB, how many birds of the kind share them.
_CHOIR: tuple[tuple[_Singer, int, float], ...] = (
    (robin, 12, -4.0), (warbler, 6, -6.0), (tit, 8, -6.0), (chiffchaff, 5, -9.0),
    (blackbird, 9, -5.0), (sparrow, 12, -9.0), (contact, 26, -12.0), (pigeon, 2, -9.0),
)  # fmt: skip
# Distance: share of the phrases, level in dB, what the air and the leaves let through.
_RANGES: tuple[tuple[float, float, Curve], ...] = (
    (0.22, 0.0, ((300, 0), (6000, 0), (12000, -6))),
    (0.38, -8.0, ((300, 0), (3000, 0), (6000, -4), (12000, -14))),
    (0.40, -15.0, ((300, 0), (2500, -1), (5000, -7), (9000, -18), (14000, -34))),
)


def forest_ambience(seconds: float = 48.0) -> Array:
    """A wood in the morning: wind in the leaves, birds near and far."""
    rng = generator(2001)
    n = samples(seconds)
    wind = drift(n, rng, 0.14)
    gust = 10.0 ** (0.085 * wind + 0.04 * drift(n, rng, 0.5))
    bulk = noise(n, rng, ((30, -24), (80, -9), (180, -3), (450, 0), (900, -3), (1800, -14),
                          (4000, -26), (8000, -35), (15000, -48)))  # fmt: skip
    leaves = noise(n, rng, ((250, -22), (800, -3), (1800, 0), (3600, -4), (8000, -10),
                            (14000, -20)))  # fmt: skip
    grain = np.clip(1.0 + 0.35 * drift(n, rng, 14.0) + 0.25 * drift(n, rng, 5.0), 0.1, 3.0)
    mix = bulk * gust + 0.2 * leaves * grain * gust**1.7
    flicker = np.clip(drift(n, rng, 9.0) * 0.6 + 0.4 * drift(n, rng, 1.0), 0.0, 3.0)
    near = noise(n, rng, ((900, -20), (3000, 0), (7000, -1), (13000, -12)))
    mix += 0.09 * near * flicker * gust
    insects = noise(n, rng, ((3600, -40), (4300, -6), (4700, 0), (5200, -6), (6000, -40)))
    mix += db(-33.0) * insects * (1.0 + 0.5 * drift(n, rng, 0.6))
    songs = [np.zeros(n) for _ in _RANGES]
    shares = np.array([share for share, _, _ in _RANGES])
    for singer, count, gain in _CHOIR:
        for time in spread_times(rng, seconds, count, 0.49):
            where = int(rng.choice(len(_RANGES), p=shares / shares.sum()))
            if singer is pigeon:
                where = 2
            phrase = db(gain + rng.normal(0.0, 2.0)) * singer(rng)
            place(songs[where], phrase, samples(float(time)))
    for k, (_, gain, curve) in enumerate(_RANGES):
        wood = room(rng, 1.5, direct=-1.0 - 4.0 * k, early=-9.0, late=-10.0 + 4.0 * k, size=3.5)
        mix += db(gain + 11.0) * convolve(shape(songs[k], curve), wood)
    return shape(mix, ((30, -40), (70, -6), (140, 0), (14000, 0)))
