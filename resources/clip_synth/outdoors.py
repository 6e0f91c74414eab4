"""Under the open sky: a city and the rain."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clip_synth import birds, foley
from clip_synth.dsp import (
    RATE,
    Array,
    Curve,
    attack,
    convolve,
    db,
    drift,
    generator,
    noise,
    place,
    release,
    room,
    samples,
    shape,
    spread_times,
    unit,
)
from clip_synth.voices import conversation


def _car(rng: np.random.Generator) -> Array:
    """A vehicle going by: tyres and engine, brighter and higher as it comes."""
    near = rng.uniform(8.0, 30.0)
    speed = rng.uniform(8.0, 15.0)
    reach = 1.9 * near / speed + 2.2
    n = samples(2.0 * reach)
    t = np.arange(n) / RATE - reach
    distance = np.sqrt(near**2 + (speed * t) ** 2)
    closeness = near / distance
    doppler = 1.0 / (1.0 + speed**2 * t / (343.0 * distance))
    heavy = rng.random() < 0.2
    tread = rng.uniform(550, 950) * (0.7 if heavy else 1.0)
    low = noise(n, rng, ((35, -12), (70, 0), (160, -2), (500, -10), (1500, -24), (5000, -44)))
    tyres = noise(n, rng, ((150, -22), (tread / 2, -5), (tread, 0), (2 * tread, -6),
                           (5 * tread, -20), (12000, -46)))  # fmt: skip
    hiss = noise(n, rng, ((800, -20), (2200, 0), (5000, -8), (11000, -26)))
    turns = rng.uniform(22, 40) * (0.7 if heavy else 1.0)
    phase = np.cumsum(turns * doppler * (1.0 + 0.01 * drift(n, rng, 1.5))) / RATE
    engine = np.zeros(n)
    for k, gain in ((2, 1.0), (4, 0.6), (6, 0.4), (8, 0.2), (3, 0.25), (5, 0.15)):
        engine += gain * np.sin(2 * np.pi * (k * phase + rng.random()))
    sound = 0.8 * low * closeness**1.2 + 0.62 * tyres * closeness**1.7
    sound += 0.2 * hiss * closeness**2.6 + (0.5 if heavy else 0.2) * engine * closeness**1.5
    sound *= np.hanning(n) ** 0.5
    return np.asarray(sound * (15.0 / near) ** 0.7 * rng.uniform(0.8, 1.15))


def _horn(rng: np.random.Generator) -> Array:
    """A horn streets away: two reeds, one or two short presses."""
    out = np.zeros(samples(1.3))
    hz = rng.uniform(330, 430)
    at = 0.0
    for _ in range(int(rng.integers(1, 3))):
        n = samples(rng.uniform(0.14, 0.42))
        t = np.arange(n) / RATE
        tone = np.zeros(n)
        for base in (hz, hz * 1.24):
            for k in range(1, 9):
                tone += np.sin(2 * np.pi * k * base * t + k) / k**0.7
        place(out, release(attack(tone, 0.025), 0.06), samples(at))
        at += n / RATE + rng.uniform(0.1, 0.2)
    return unit(out)


def _brake(rng: np.random.Generator) -> Array:
    """The air brake of a bus lets go."""
    n = samples(rng.uniform(0.5, 0.9))
    fall = np.exp(-np.arange(n) / (0.18 * RATE))
    return attack(noise(n, rng, ((700, -20), (2500, 0), (7000, -6), (13000, -24))) * fall, 0.02)


def city_ambience(seconds: float = 48.0) -> Array:
    """A street heard from a window: the roar of the town, cars below, people, a distant horn."""
    rng = generator(1001)
    n = samples(seconds)
    street = room(rng, 1.3, direct=-2.0, early=-4.0, late=-6.0, size=2.5)
    far = room(rng, 2.4, direct=-14.0, early=-6.0, late=0.0, size=4.0)
    roar = noise(
        n,
        rng,
        (
            (22, -24),
            (32, -6),
            (55, 0),
            (100, -1),
            (200, -4),
            (400, -8),
            (900, -11),
            (1400, -16),
            (2200, -25),
            (4000, -37),
            (9000, -54),
        ),
    )
    swell = 10.0 ** (0.05 * drift(n, rng, 0.18) + 0.015 * drift(n, rng, 1.0))
    mix = roar * swell
    middle = noise(n, rng, ((100, -20), (350, -3), (900, 0), (1800, -8), (4000, -24)))
    mix += 0.16 * middle * 10.0 ** (0.12 * drift(n, rng, 0.3))
    cars = np.zeros(n)
    for time in spread_times(rng, seconds, 15, 0.49):
        place(cars, _car(rng), samples(float(time)))
    mix += 0.66 * convolve(cars, street)
    people = np.zeros(n)
    for _ in range(3):
        people += conversation(seconds, 2, rng, pause=1.6) * 10.0 ** (0.25 * drift(n, rng, 0.1))
    voice: Curve = ((120, -20), (300, -3), (600, 0), (1500, -5), (3500, -18), (8000, -38))
    mix += db(-11.5) * unit(convolve(shape(people, voice), street))
    for make, count, gain, curve in (
        (_horn, 4, -8.0, ((200, -8), (450, 0), (1200, -8), (3000, -26), (8000, -50))),
        (_brake, 3, -10.0, ((300, -6), (1500, 0), (4000, -10), (9000, -28))),
    ):
        events = np.zeros(n)
        for time in spread_times(rng, seconds, count):
            place(events, db(rng.normal(gain, 2.5)) * make(rng), samples(float(time)))
        mix += convolve(shape(events, curve), far)
    walkers = np.zeros(n)
    for time in spread_times(rng, seconds, 6):
        steps = foley.footsteps(rng, int(rng.integers(8, 14)), rng.uniform(0.6, 1.0))
        place(walkers, steps * db(rng.normal(-1.0, 3.0)), samples(float(time)))
    mix += 0.5 * convolve(shape(walkers, ((150, -12), (500, 0), (4000, -8))), street)
    sparrows = np.zeros(n)
    for time in spread_times(rng, seconds, 18, 0.9):
        place(sparrows, db(rng.normal(-14.0, 3.0)) * birds.sparrow(rng), samples(float(time)))
    mix += convolve(shape(sparrows, ((3000, 0), (6000, -9), (12000, -26))), street)
    return shape(mix, ((20, -40), (32, -6), (60, 0), (12000, 0)))


def _drops(n: int, rng: np.random.Generator, per_second: float, kernels: list[Array], spread: float) -> Array:
    """Dense drops, each sounding like one of `kernels`, log-normal in strength."""
    out = np.zeros(n)
    share = per_second / len(kernels)
    for kernel in kernels:
        count = rng.poisson(share * n / RATE)
        train = np.zeros(n)
        hits = np.minimum(rng.lognormal(0.0, spread, count), 4.0) * rng.choice([-1.0, 1.0], count)
        np.add.at(train, rng.integers(0, n, count), hits)
        out += convolve(train, kernel)
    return unit(out)


def _single_drops(
    n: int,
    rng: np.random.Generator,
    per_second: float,
    make: Callable[[np.random.Generator], Array],
    spread: float,
) -> Array:
    """Sparse drops, no two alike."""
    out = np.zeros(n)
    for at in rng.integers(0, n, rng.poisson(per_second * n / RATE)):
        strength = min(float(rng.lognormal(0.0, spread)), 4.0) * float(rng.choice([-1.0, 1.0]))
        place(out, strength * make(rng), int(at))
    return unit(out)


def _patter(rng: np.random.Generator, low: float, high: float, decay: float) -> Array:
    """A drop on something hard or leafy: a dull tick with a resonance."""
    n = samples(0.03)
    hz = np.exp(rng.uniform(np.log(low), np.log(high)))
    body = rng.standard_normal(n) * np.exp(-np.arange(n) / (decay * RATE))
    curve = ((hz / 4, -24), (hz / 1.5, -4), (hz, 0), (hz * 2.0, -6), (hz * 5, -22))
    return release(unit(shape(body, curve, causal=True)), 0.006)


def _plink(rng: np.random.Generator) -> Array:
    """A drop into a puddle: the bubble it leaves rings, rising."""
    n = samples(0.09)
    t = np.arange(n) / RATE
    hz = np.exp(rng.uniform(np.log(900), np.log(3600)))
    decay = 0.004 + 9.0 / hz
    rise = rng.uniform(0.05, 0.35)
    phase = 2 * np.pi * np.cumsum(hz * (1.0 + rise * t / 0.03)) / RATE
    return release(attack(np.sin(phase) * np.exp(-t / decay), 0.001), 0.02)


_WASH: Curve = (
    (60, -28), (150, -16), (400, -7), (1000, -3), (2500, 0), (4500, 0), (8000, -4), (13000, -11),
    (18000, -20),
)  # fmt: skip


def rain(seconds: float = 40.0) -> Array:
    """Steady rain on a yard and a window sill, with a gutter running."""
    rng = generator(8001)
    n = samples(seconds)
    yard = room(rng, 0.5, direct=0.0, early=-7.0, late=-12.0, size=1.5)
    wash = noise(n, rng, _WASH)
    low = noise(n, rng, ((40, -14), (90, 0), (250, -2), (700, -7), (2000, -20)))
    gusts = 10.0 ** (0.045 * drift(n, rng, 0.22) + 0.015 * drift(n, rng, 0.9))
    mix = wash * gusts + db(-9.5) * low * gusts
    fine = _drops(n, rng, 1500, [_patter(rng, 2500, 9000, 0.0007) for _ in range(40)], 0.7)
    mix += db(-1.0) * fine * gusts
    mid = _drops(n, rng, 170, [_patter(rng, 1100, 5000, 0.0013) for _ in range(48)], 0.7)
    mix += db(-2.5) * mid
    near = db(-2.5) * _single_drops(n, rng, 60, lambda r: _patter(r, 700, 2600, 0.002), 0.7)
    near += db(-2.5) * _single_drops(n, rng, 20, lambda r: _patter(r, 420, 1500, 0.003), 0.6)
    near += db(-1.0) * _single_drops(n, rng, 14, lambda r: _patter(r, 1800, 7000, 0.0012), 0.6)
    near += db(-3.0) * _single_drops(n, rng, 11, _plink, 0.7)
    trickle = _single_drops(n, rng, 55, _plink, 0.5) * (1.0 + 0.3 * drift(n, rng, 3.0))
    trickle = shape(trickle, ((200, -10), (700, 0), (1800, -4), (4000, -16), (9000, -34)))
    near += db(-9.0) * unit(trickle)
    mix += db(-8.5) * unit(convolve(near, yard))
    return shape(mix, ((30, -40), (80, -3), (140, 0), (9000, 0), (15000, -4)))
