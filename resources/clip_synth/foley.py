"""Small things that happen in rooms: crockery, chairs, paper, footsteps, a telephone."""

from __future__ import annotations

import numpy as np

from clip_synth.dsp import (
    RATE,
    Array,
    attack,
    db,
    drift,
    modes,
    noise,
    place,
    release,
    samples,
    shape,
    unit,
)


def _struck(
    rng: np.random.Generator,
    seconds: float,
    ratios: tuple[float, ...],
    hz: float,
    ring: float,
    soft: float,
) -> Array:
    """A ringing object hit once; `soft` is the fall per octave of its partials, in dB."""
    ratio = np.array(ratios) * rng.uniform(0.985, 1.015, len(ratios))
    freqs = hz * ratio
    freqs = freqs[freqs < 15_000]
    gains = 10.0 ** ((-soft * np.log2(freqs / freqs[0]) + rng.normal(0, 4, len(freqs))) / 20.0)
    decays = ring * (freqs / freqs[0]) ** -0.8 * rng.lognormal(0.0, 0.25, len(freqs))
    out = modes(samples(seconds), freqs, decays, gains, rng.uniform(0, 6.28, len(freqs)))
    return release(attack(out / (np.abs(out).max() + 1e-9), 0.0006), seconds / 4)


def cup(rng: np.random.Generator) -> Array:
    """A cup put down on its saucer: one or several touches, and the table under it."""
    out = np.zeros(samples(0.9))
    hz = rng.uniform(1500, 2600)
    at = 0.02
    for touch in range(int(rng.integers(1, 4))):
        hit = _struck(rng, 0.35, (1.0, 1.62, 2.37, 3.18, 4.4), hz, 0.022, 3.5)
        place(out, hit * rng.uniform(0.4, 1.0) * 0.75**touch, samples(at))
        at += rng.uniform(0.03, 0.13)
    table = _struck(rng, 0.2, (1.0, 1.7, 2.9), rng.uniform(160, 260), 0.014, 4.0)
    place(out, 0.5 * table, samples(0.02))
    return out


def spoon(rng: np.random.Generator) -> Array:
    """A spoon stirring or laid down: a few bright taps, uneven in time."""
    out = np.zeros(samples(2.2))
    hz, at, gap = rng.uniform(2400, 4200), 0.02, rng.uniform(0.11, 0.24)
    for _ in range(int(rng.integers(2, 8))):
        hit = _struck(rng, 0.3, (1.0, 1.47, 2.09, 2.56, 3.3), hz, 0.03, 2.0)
        place(out, hit * rng.lognormal(-0.5, 0.45), samples(at))
        at += gap * rng.lognormal(0.0, 0.25)
    return out


def cutlery(rng: np.random.Generator) -> Array:
    """Knife and fork on a plate, or dropped together into a tray."""
    out = np.zeros(samples(1.4))
    at = 0.02
    for _ in range(int(rng.integers(2, 6))):
        if rng.random() < 0.5:
            ratios, hz, ring = (1.0, 1.83, 2.76, 3.9, 5.4), rng.uniform(1100, 1900), 0.03
        else:
            ratios, hz, ring = (1.0, 1.33, 1.92, 2.41, 3.1), rng.uniform(3000, 5200), 0.05
        place(out, _struck(rng, 0.4, ratios, hz, ring, 2.5) * rng.lognormal(-0.6, 0.5),
              samples(at))  # fmt: skip
        at += rng.exponential(0.09) + 0.015
    return out


def glass(rng: np.random.Generator) -> Array:
    """Two glasses touch."""
    out = np.zeros(samples(1.0))
    for k in range(2):
        hz = rng.uniform(1700, 3100)
        hit = _struck(rng, 0.8, (1.0, 2.32, 4.25, 6.1), hz, 0.09, 5.0)
        place(out, hit * (1.0 - 0.4 * k), samples(0.02 + 0.004 * k))
    return out


def steam(rng: np.random.Generator, seconds: float) -> Array:
    """Milk being frothed: a hiss that spits, sings a little, and sinks as the milk fills."""
    n = samples(seconds)
    hiss = noise(n, rng, ((400, -22), (1200, -8), (3500, 0), (7000, -4), (14000, -18)))
    gurgle = noise(n, rng, ((100, -30), (260, 0), (700, -4), (1800, -20)))
    spit = np.clip(0.7 + 0.45 * drift(n, rng, 14.0), 0.05, 2.0)
    t = np.arange(n) / n
    hz = 620.0 + 240.0 * t + 25.0 * drift(n, rng, 3.0)
    whistle = np.sin(2 * np.pi * np.cumsum(hz) / RATE) * np.clip(drift(n, rng, 4.0), 0, 2)
    body = hiss * spit * (1.0 - 0.45 * t) + 0.55 * gurgle * spit * t + 0.05 * whistle
    envelope = np.clip(t / 0.06, 0, 1) ** 1.5 * np.clip((1 - t) / 0.1, 0, 1) ** 1.5
    return np.asarray(body * envelope)


def chair(rng: np.random.Generator) -> Array:
    """A chair leg dragged a hand's breadth: stick and slip, with the floor sounding."""
    seconds = rng.uniform(0.25, 0.7)
    n = samples(seconds)
    rate = rng.uniform(70, 150) * (1.0 + 0.2 * np.linspace(0, rng.choice([-1, 1]), n))
    phase = np.cumsum(rate * (1.0 + 0.12 * drift(n, rng, 20.0))) / RATE
    slips = np.diff(np.floor(phase), prepend=0.0) * rng.uniform(0.3, 1.0, n)
    rough = slips + 0.02 * rng.standard_normal(n)
    body = ((60, -18), (180, -2), (320, 0), (700, -6), (1500, -8), (4000, -18), (9000, -34))
    return unit(shape(np.pad(rough, (0, 4800)), body, causal=True)[:n]) * np.hanning(n) * 0.4


def creak(rng: np.random.Generator) -> Array:
    """The back of an office chair taking weight."""
    n = samples(rng.uniform(0.3, 0.8))
    hz = rng.uniform(280, 520) * np.exp(0.25 * np.cumsum(drift(n, rng, 6.0)) / n)
    pulses = np.diff(np.floor(np.cumsum(hz * (1 + 0.1 * drift(n, rng, 30.0)) / 9) / RATE),
                     prepend=0.0)  # fmt: skip
    body = ((150, -24), (420, 0), (900, -3), (1900, -10), (5000, -28))
    return unit(shape(np.pad(pulses, (0, 4800)), body, causal=True)[:n]) * np.hanning(n) * 0.3


def paper(rng: np.random.Generator) -> Array:
    """A sheet turned over: a crackling swish."""
    n = samples(rng.uniform(0.35, 1.0))
    swish = noise(n, rng, ((300, -26), (1200, -6), (4000, 0), (8000, -4), (15000, -20)))
    crackle = np.zeros(n)
    count = max(1, int(n / RATE * 260))
    crackle[rng.integers(0, n, count)] = rng.lognormal(0, 0.9, count) * rng.choice([-1, 1], count)
    crackle = unit(shape(crackle, ((600, -20), (2500, 0), (7000, -2), (14000, -18)), causal=True))
    curve = np.clip(0.6 + 0.5 * drift(n, rng, 7.0), 0.05, 2.0) * np.hanning(n)
    return np.asarray(0.35 * (0.6 * swish + 0.8 * crackle) * curve)


def footsteps(rng: np.random.Generator, count: int, hard: float) -> Array:
    """Somebody walks by; `hard` is 0 for carpet and 1 for heels on stone."""
    gap = rng.uniform(0.48, 0.6)
    n = samples(gap * (count + 1))
    out = np.zeros(n)
    pitch = rng.uniform(0.85, 1.2)
    for i in range(count):
        step = np.zeros(samples(0.3))
        thump = modes(samples(0.2), pitch * np.array([78.0, 131.0, 210.0, 340.0]),
                      np.array([0.02, 0.015, 0.01, 0.007]),
                      np.array([1.0, 0.7, 0.5, 0.3]) * rng.uniform(0.7, 1.3, 4))  # fmt: skip
        place(step, attack(thump, 0.004 + 0.006 * (1 - hard)), 0)
        tap = rng.standard_normal(samples(0.05))
        tap *= np.exp(-np.arange(len(tap)) / (0.004 * RATE))
        tap = shape(tap, ((300, -12), (1100, 0), (2600, -4), (6000, -16)), causal=True)
        place(step, (0.1 + 0.8 * hard) * tap, samples(0.001))
        scuff = rng.standard_normal(samples(0.12)) * np.hanning(samples(0.12))
        scuff = shape(scuff, ((500, -16), (2500, 0), (6000, -5), (12000, -20)))
        place(step, 0.12 * scuff, samples(rng.uniform(0.05, 0.12)))
        passing = np.sin(np.pi * (i + 0.7) / (count + 0.4))
        time = gap * (i + 0.2) + rng.normal(0.0, 0.012)
        place(out, step * passing * rng.uniform(0.75, 1.0), samples(max(time, 0.0)))
    return out


def telephone(rng: np.random.Generator, rings: int) -> Array:
    """An office telephone with an electronic warble, somewhere else."""
    n = samples(rings * 2.6)
    t = np.arange(n) / RATE
    low, high = rng.uniform(780, 860), rng.uniform(980, 1060)
    turn = 0.5 + 0.5 * np.tanh(6.0 * np.sin(2 * np.pi * 12.5 * t))
    tone = turn * np.sin(2 * np.pi * low * t) + (1 - turn) * np.sin(2 * np.pi * high * t)
    tone += 0.25 * turn * np.sin(4 * np.pi * low * t)
    within = t % 2.6
    gate = np.clip(within / 0.02, 0, 1) * np.clip((0.95 - within) / 0.06, 0, 1)
    return np.asarray(tone * gate * db(-6.0))
