"""A room of machines: fans whose blades sing, each a little out of step, and moving air."""

from __future__ import annotations

import numpy as np

from clip_synth.dsp import (
    RATE,
    Array,
    convolve,
    db,
    drift,
    generator,
    noise,
    room,
    samples,
    shape,
    unit,
)


def steady_phase(n: int, hz: float, wander: Array) -> Array:
    """Phase, in cycles, of a tone near `hz` that closes on itself after `n` samples."""
    cycles = max(1, round(hz * n / RATE))
    return np.asarray(cycles * (np.arange(n) / n) + np.cumsum(hz / RATE * wander))


def _fan(n: int, rng: np.random.Generator, turns: float, blades: int) -> Array:
    """One fan: harmonics of the blade passage, beaten by the shaft, and its own rush of air."""
    wander = 0.0035 * drift(n, rng, 0.12) + 0.0008 * drift(n, rng, 1.2)
    wander -= wander.mean()
    phase = steady_phase(n, turns, wander)
    shaft = 1.0 + 0.12 * np.sin(2 * np.pi * (phase + rng.random()))
    tone = np.zeros(n)
    for k in range(1, 6):
        gain = db(-5.5 * (k - 1) + rng.normal(0.0, 3.0))
        sway = 1.0 + 0.25 * drift(n, rng, 0.35)
        tone += gain * sway * np.sin(2 * np.pi * (k * blades * phase + rng.random()))
    motor = 0.25 * np.sin(2 * np.pi * (2 * phase + rng.random()))
    hz = turns * blades
    rush = noise(n, rng, ((60, -30), (hz, -3), (2.5 * hz, 0), (9 * hz, -9), (14000, -30)))
    chop = 1.0 + 0.18 * np.sin(2 * np.pi * (blades * phase + rng.random()))
    return np.asarray(0.42 * unit((tone + motor) * shaft) + 0.8 * rush * chop)


def server_hum(seconds: float = 40.0) -> Array:
    """Racks of fans in a hard room with the air conditioning running."""
    rng = generator(7001)
    n = samples(seconds)
    fans = np.zeros(n)
    for turns, blades, far in (
        (38.4, 7, -2.0), (38.9, 7, -4.0), (47.3, 5, -3.0), (58.2, 7, -7.0), (59.1, 7, -8.0),
        (31.6, 9, -4.0), (84.5, 5, -10.0), (24.2, 7, -1.0), (92.0, 7, -15.0),
    ):  # fmt: skip
        fans += db(far) * _fan(n, rng, turns, blades)
    fans = convolve(fans, room(rng, 0.6, direct=-4.0, early=-3.0, late=-2.0, size=1.2))
    air = noise(n, rng, ((25, -26), (50, -4), (110, 0), (300, -5), (900, -10), (3000, -17),
                         (8000, -28), (16000, -44)))  # fmt: skip
    breath = 1.0 + 0.05 * drift(n, rng, 0.25)
    mains = np.zeros(n)
    t = np.arange(n) / RATE
    for k, gain in ((1, 0.5), (2, 1.0), (3, 0.3), (4, 0.45), (6, 0.2)):
        mains += gain * np.sin(2 * np.pi * (50.0 * k * t + rng.random()))
    mix = unit(fans) + 0.9 * air * breath + db(-19.0) * unit(mains)
    return shape(mix, ((25, -30), (45, -4), (90, 0), (5000, 0), (12000, -6)))
