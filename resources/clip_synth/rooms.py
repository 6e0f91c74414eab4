"""Places with people in them: an office, a crowded room, a café."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clip_synth import foley
from clip_synth.dsp import (
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
    unit,
)
from clip_synth.keyboards import LAPTOP, MECHANICAL, type_text
from clip_synth.voices import conversation

_NEAR: Curve = ((90, -6), (150, 0), (4000, 0), (9000, -6), (16000, -20))
_MIDDLE: Curve = ((90, -8), (160, 0), (700, 0), (2500, -3), (6000, -9), (12000, -24))
_FAR: Curve = ((90, -10), (170, 0), (500, 0), (1300, -8), (3000, -20), (8000, -40))


def _babble(
    n: int,
    rng: np.random.Generator,
    groups: int,
    people: int,
    curve: Curve,
    space: Array,
    *,
    laughs: float = 0.05,
    pause: float = 0.35,
    spread: float = 3.0,
) -> Array:
    """`groups` conversations at one distance, in one room, RMS one."""
    mix = np.zeros(n)
    for _ in range(groups):
        talk = conversation(n / 48_000, people, rng, laughs=laughs, pause=pause)
        # People turn their heads, lean in, raise their voices.
        sway = 10.0 ** (0.15 * drift(n, rng, 0.25))
        mix += db(rng.normal(0.0, spread)) * talk * sway
    return unit(convolve(shape(mix, curve), space))


def _scatter(
    n: int,
    rng: np.random.Generator,
    makers: list[tuple[Callable[[np.random.Generator], Array], int, float]],
    curve: Curve,
    space: Array,
) -> Array:
    """Events spread over the loop: (maker, how many, level in dB)."""
    dry = np.zeros(n)
    for make, count, gain in makers:
        for time in spread_times(rng, n / 48_000, count):
            event = make(rng)
            place(dry, db(gain + rng.normal(0.0, 3.5)) * event, samples(float(time)))
    return convolve(shape(dry, curve), space)


def _typists(n: int, rng: np.random.Generator, space: Array) -> Array:
    """Colleagues at their keyboards, in spells."""
    dry = np.zeros(n)
    lines = ("see the notes below, then\n", "could you send it again, ", "thanks, will do.\n",
             "the second page of the report ", "lunch at one, ", "invoice number and date ",
             "all good here ", "pushed it back a week, ")  # fmt: skip
    for i, time in enumerate(spread_times(rng, n / 48_000, 14)):
        board = LAPTOP if i % 3 else MECHANICAL
        line = lines[i % len(lines)]
        gain = db(rng.normal(0.0, 3.0))
        for at, sound in type_text(board, line, rng, rng.uniform(0.95, 1.3)):
            place(dry, gain * sound, samples(float(time) + at))
    curve = ((120, -14), (400, -3), (1500, 0), (5000, 0), (12000, -8))
    return unit(convolve(shape(dry, curve), space))


def office_ambience(seconds: float = 40.0) -> Array:
    """An open-plan office: air conditioning, talk further off, keys, now and then something."""
    rng = generator(3001)
    n = samples(seconds)
    hall = room(rng, 0.65, direct=-6.0, early=-3.0, late=-2.0, size=1.3)
    far_hall = room(rng, 0.85, direct=-12.0, early=-4.0, late=0.0, size=2.0)
    air = noise(
        n,
        rng,
        (
            (25, -30),
            (50, -16),
            (85, -5),
            (120, -3),
            (220, 0),
            (320, -2),
            (700, -8),
            (1500, -15),
            (3500, -25),
            (8000, -42),
            (15000, -60),
        ),
    )
    hum = noise(n, rng, ((85, -80), (97, -6), (100, 0), (103, -6), (116, -80)))
    mix = air * (1.0 + 0.04 * drift(n, rng, 0.3)) + db(-17.0) * hum
    mix += db(1.0) * _babble(n, rng, 3, 3, _MIDDLE, hall, laughs=0.01, pause=1.1, spread=1.5)
    mix += db(-2.0) * _babble(n, rng, 4, 3, _FAR, far_hall, laughs=0.03, pause=0.5)
    mix += db(-7.5) * _typists(n, rng, hall)
    mix += db(3.0) * _scatter(n, rng, [
        (foley.paper, 8, -2.0), (foley.creak, 4, -13.0), (foley.chair, 3, -11.0),
        (foley.cup, 3, -9.0),
        (lambda r: foley.footsteps(r, int(r.integers(5, 9)), 0.3), 4, -2.0),
    ], _NEAR, hall)  # fmt: skip
    ring = np.zeros(n)
    place(ring, foley.telephone(rng, 2), samples(0.63 * seconds))
    mix += db(-13.0) * convolve(shape(ring, _FAR), far_hall)
    return shape(mix, ((25, -40), (45, -12), (80, 0), (12000, 0)))


def crowded_room(seconds: float = 40.0) -> Array:
    """A party or a foyer: many conversations at many distances."""
    rng = generator(3102)
    n = samples(seconds)
    hall = room(rng, 0.8, direct=-2.0, early=-3.0, late=-4.0, size=1.4)
    far_hall = room(rng, 1.0, direct=-9.0, early=-4.0, late=0.0, size=2.2)
    mix = _babble(n, rng, 4, 3, _NEAR, hall, laughs=0.07, pause=0.9, spread=2.5)
    mix += db(-2.5) * _babble(n, rng, 6, 3, _MIDDLE, far_hall, laughs=0.06, pause=0.2)
    mix += db(-7.0) * _babble(n, rng, 7, 2, _FAR, far_hall, laughs=0.04, pause=0.1)
    mix += db(-30.0) * noise(n, rng, ((40, -14), (120, 0), (400, -6), (2000, -16), (9000, -34)))
    mix += db(-6.0) * _scatter(n, rng, [
        (foley.glass, 6, -6.0), (foley.chair, 5, -3.0), (foley.cutlery, 4, -12.0),
        (lambda r: foley.footsteps(r, int(r.integers(4, 8)), 0.6), 7, 3.0),
    ], _MIDDLE, hall)  # fmt: skip
    return shape(mix, ((30, -50), (80, -10), (130, 0), (9000, 0), (16000, -10)))


def cafe(seconds: float = 40.0) -> Array:
    """A café in the morning: tables talking, crockery, the machine frothing milk at the back."""
    rng = generator(3203)
    n = samples(seconds)
    hall = room(rng, 0.7, direct=-3.0, early=-3.0, late=-4.0, size=1.2)
    far_hall = room(rng, 0.9, direct=-9.0, early=-3.0, late=-1.0, size=1.8)
    mix = _babble(n, rng, 3, 2, _NEAR, hall, laughs=0.04, pause=1.0, spread=1.5)
    mix += db(-2.0) * _babble(n, rng, 7, 2, _MIDDLE, far_hall, laughs=0.04, pause=0.3)
    mix += db(-17.0) * noise(n, rng, ((40, -12), (90, 0), (250, -3), (1000, -11), (5000, -26),
                                      (12000, -44)))  # fmt: skip
    mix += db(7.0) * _scatter(n, rng, [
        (foley.cup, 19, -3.0), (foley.spoon, 7, -9.0), (foley.cutlery, 9, -6.0),
        (foley.glass, 4, -13.0),
    ], _NEAR, hall)  # fmt: skip
    mix += db(3.0) * _scatter(n, rng, [
        (foley.cup, 22, -5.0), (foley.cutlery, 14, -5.0), (foley.chair, 5, -1.0),
        (lambda r: foley.footsteps(r, int(r.integers(4, 8)), 0.5), 6, 4.0),
    ], _MIDDLE, far_hall)  # fmt: skip
    machine = np.zeros(n)
    for time, length in ((0.11, 4.6), (0.30, 2.1), (0.68, 5.4)):
        place(machine, foley.steam(rng, length), samples(time * seconds))
    mix += db(-9.0) * convolve(shape(machine, _MIDDLE), far_hall)
    return shape(mix, ((30, -50), (70, -8), (120, 0), (9000, 0), (16000, -8)))
