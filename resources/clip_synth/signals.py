"""Short sounds that mark a moment: a chime, a handset lifted, a handset laid down."""

from __future__ import annotations

import numpy as np

from clip_synth.dsp import (
    RATE,
    Array,
    attack,
    convolve,
    db,
    generator,
    modes,
    noise,
    place,
    release,
    room,
    samples,
    shape,
    unit,
)


def _bell(hz: float, seconds: float) -> Array:
    """A soft bar struck with felt."""
    n = samples(seconds)
    ratios = np.array([1.0, 1.0012, 2.0, 2.756, 4.07, 5.42])
    gains = np.array([1.0, 0.14, 0.28, 0.16, 0.05, 0.03])
    decays = np.array([0.38, 0.42, 0.22, 0.12, 0.06, 0.04])
    return release(attack(modes(n, hz * ratios, decays, gains), 0.004), 0.15)


def chime() -> Array:
    """Two bell notes a fourth apart, the second softer in attack and left to ring."""
    rng = generator(9001)
    n = samples(1.9)
    dry = np.zeros(n)
    place(dry, _bell(783.99, 1.2), samples(0.02))
    place(dry, 0.9 * _bell(1046.5, 1.5), samples(0.19))
    hall = room(rng, 0.9, early=-16.0, late=-13.0)
    wet = convolve(np.pad(dry, (0, RATE)), hall)[:n]
    wet = shape(np.pad(wet, (0, RATE)), ((40, -40), (200, 0), (6000, 0), (14000, -8)))[:n]
    return release(wet, 0.35)


def knock(rng: np.random.Generator, seconds: float, low: float, high: float, ring: float, tilt: float) -> Array:
    """Two pieces of hollow plastic meeting; `tilt` is in dB per octave from 1 kHz."""
    count = 40
    freqs = np.exp(rng.uniform(np.log(low), np.log(high), count))
    level = tilt * np.log2(freqs / 1000.0) + rng.normal(0.0, 4.0, count)
    decays = ring * (freqs / 1000.0) ** -0.7 * rng.lognormal(0.0, 0.3, count)
    n = samples(seconds)
    body = modes(n, freqs, decays, 10.0 ** (level / 20.0), rng.uniform(0, 2 * np.pi, count))
    grit = rng.standard_normal(n) * np.exp(-np.arange(n) / (0.0018 * RATE))
    grit = shape(grit, ((300, -12), (1500, 0), (7000, -4), (14000, -20)), causal=True)
    return release(attack(unit(body) + 0.5 * unit(grit), 0.0006), seconds / 3)


def _scrape(rng: np.random.Generator, seconds: float) -> Array:
    """A hand or a handset sliding: rough, swelling noise."""
    n = samples(seconds)
    grain = np.abs(noise(n, rng, ((20, -30), (60, 0), (120, 0), (300, -30))))
    hush = noise(n, rng, ((150, -20), (600, -3), (1800, 0), (5000, -9), (11000, -24)))
    return np.asarray(hush * grain * np.hanning(n))


def _in_room(dry: Array, rng: np.random.Generator, line: float) -> Array:
    n = len(dry)
    wet = convolve(np.pad(dry, (0, RATE)), room(rng, 0.22, early=-9.0, late=-14.0, size=0.4))[:n]
    # The narrow end of a telephone line, not quite as narrow as the real one.
    band = ((60, -40), (180, -6), (350, 0), (3600, 0), (6000, -10 * line), (12000, -28 * line))
    return shape(np.pad(wet, (0, RATE)), band, causal=True)[:n]


def pick_up() -> Array:
    """The handset leaves its cradle, the hook switch springs up, the line opens."""
    rng = generator(9102)
    n = samples(0.72)
    dry = np.zeros(n)
    place(dry, 0.55 * knock(rng, 0.10, 350, 6000, 0.006, -3.0), samples(0.02))
    place(dry, 0.34 * _scrape(rng, 0.20), samples(0.05))
    place(dry, 0.8 * knock(rng, 0.12, 260, 5000, 0.008, -3.5), samples(0.145))
    place(dry, 0.38 * knock(rng, 0.08, 900, 7000, 0.004, -1.0), samples(0.178))
    place(dry, 0.22 * _scrape(rng, 0.26), samples(0.22))
    place(dry, 0.30 * knock(rng, 0.08, 500, 5000, 0.004, -2.0), samples(0.33))
    opened = noise(n, rng, ((150, -20), (400, 0), (2500, -2), (4500, -20)))
    gate = np.clip((np.arange(n) / RATE - 0.31) / 0.02, 0.0, 1.0)
    out = _in_room(dry, rng, 1.0) + db(-27.0) * opened * gate
    return release(attack(out, 0.005), 0.22)


def hang_up() -> Array:
    """The handset meets the cradle, tips, settles, and the switch goes down."""
    rng = generator(9203)
    n = samples(0.7)
    dry = np.zeros(n)
    place(dry, 0.30 * _scrape(rng, 0.14), samples(0.01))
    place(dry, 1.0 * knock(rng, 0.20, 190, 4200, 0.013, -4.0), samples(0.09))
    place(dry, 0.7 * knock(rng, 0.16, 240, 4800, 0.010, -3.5), samples(0.163))
    place(dry, 0.3 * knock(rng, 0.08, 900, 7000, 0.004, -1.0), samples(0.196))
    place(dry, 0.36 * knock(rng, 0.12, 260, 5000, 0.008, -3.0), samples(0.285))
    place(dry, 0.16 * _scrape(rng, 0.2), samples(0.3))
    place(dry, 0.2 * knock(rng, 0.10, 400, 5000, 0.006, -2.5), samples(0.45))
    return release(_in_room(dry, rng, 0.8), 0.12)
