"""Typing: two keyboards, each key with a sound of its own, played by a person with a rhythm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clip_synth.dsp import (
    RATE,
    Array,
    Curve,
    attack,
    convolve,
    db,
    generator,
    modes,
    noise,
    place,
    room,
    samples,
    shape,
    unit,
)

_ROWS = ("1234567890-=", "qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./")
_BACK, _ENTER, _SPACE = "<", "\n", " "
# Which finger strikes a column: left little finger 0 ... right little finger 7.
_FINGERS = (0, 1, 2, 3, 3, 4, 4, 5, 6, 7, 7, 7)

_TEXT_LAPTOP = (
    "good morning. let me see what we have<<<<can find for that date\n"
    "yes, two places left on friday, one by the wino<dow"
)
_TEXT_MECHANICAL = "order arrived late, outer box dented\nsending a new one totay<<<day, no charge. will call back"


@dataclass(frozen=True)
class Keyboard:
    """What a keyboard is made of, as far as one hears it."""

    seed: int
    body: Curve
    """Strength of the resonances over frequency."""
    ring: float
    """Time constant of a resonance at 1 kHz, in seconds."""
    count: int
    """Resonances of one key."""
    click: float
    """Level of the switch's own click before the bottom-out, in dB."""
    click_hz: float
    travel: float
    """Seconds from the click to the bottom-out."""
    thud: float
    """Level of the desk and the case under the stroke, in dB."""
    thud_hz: float
    up: float
    """Level of the release, in dB."""
    spring: float
    """Level of the spring's ping, in dB."""


LAPTOP = Keyboard(
    seed=41,
    body=((120, -34), (300, -24), (600, -12), (1200, -5), (2200, 0), (4200, 1), (7000, -4),
          (10000, -9), (14000, -18), (20000, -36)),
    ring=0.0034, count=80, click=-12.0, click_hz=3300.0, travel=0.007,
    thud=-17.0, thud_hz=150.0, up=-10.0, spring=-90.0,
)  # fmt: skip
MECHANICAL = Keyboard(
    seed=42,
    body=((120, -16), (280, -6), (480, -3), (900, -2), (1500, 0), (2600, -2), (5000, -5),
          (9000, -9), (14000, -17), (20000, -34)),
    ring=0.0068, count=80, click=-5.0, click_hz=4700.0, travel=0.013,
    thud=-10.0, thud_hz=112.0, up=-6.0, spring=-31.0,
)  # fmt: skip


def _key_seed(board: Keyboard, key: str) -> int:
    return board.seed * 1000 + ord(key)


def _burst(n: int, rng: np.random.Generator, decay: float, curve: Curve) -> Array:
    """A contact: a few milliseconds of coloured noise, sharp at the front."""
    out = rng.standard_normal(n) * np.exp(-np.arange(n) / (decay * RATE))
    return unit(shape(out, curve, causal=True))


def _impact(board: Keyboard, key: str, rng: np.random.Generator, *, hard: float, pitch: float = 1.0) -> Array:
    """The key's body struck once; the same key has the same resonances every time."""
    own = generator(_key_seed(board, key))
    large = 0.72 if key in (_SPACE, _ENTER) else 1.0
    low, high = np.log(150.0 * large), np.log(9500.0)
    spread = (np.arange(board.count) + own.uniform(0.0, 1.0, board.count)) / board.count
    freqs = np.exp(low + (high - low) * spread) * pitch
    points = np.asarray(board.body, dtype=np.float64)
    level = np.interp(np.log2(freqs), np.log2(points[:, 0]), points[:, 1])
    level += own.normal(0.0, 4.0, board.count) + rng.normal(0.0, 2.0, board.count)
    level += (hard - 1.0) * 5.0 * np.log2(freqs / 800.0)
    decays = board.ring * (freqs / 1000.0) ** -0.75 * own.lognormal(0.0, 0.3, board.count)
    if large < 1.0:
        decays *= 1.3
    phases = rng.uniform(-0.6, 0.6, board.count) + np.pi * own.integers(0, 2, board.count)
    n = samples(0.16)
    out = modes(n, freqs, np.minimum(decays, 0.03), 10.0 ** (level / 20.0), phases)
    out = unit(attack(out, 0.0005))
    contact = _burst(n, rng, board.ring * 0.55, board.body)
    return np.asarray(out + 0.9 * contact * attack(np.ones(n), 0.0003))


def stroke(board: Keyboard, key: str, rng: np.random.Generator, force: float) -> tuple[Array, int]:
    """One key pressed and let go, and the sample at which it reaches the bottom."""
    out = np.zeros(samples(0.42))
    bottom = samples(0.03)
    large = key in (_SPACE, _ENTER)
    travel = board.travel * rng.lognormal(0.0, 0.18) / np.sqrt(force)
    hit = _impact(board, key, rng, hard=force) * force
    place(out, hit, bottom)
    # The finger and the key bounce: two or three contacts within a few milliseconds.
    for bounce in range(int(rng.integers(1, 3))):
        late = samples(rng.uniform(0.0012, 0.006) * (1 + bounce))
        echo = _impact(board, key, rng, hard=0.8, pitch=rng.uniform(0.97, 1.04))
        place(out, db(rng.uniform(-20.0, -9.0)) * force * echo, bottom + late)
    if large:  # the stabiliser bar rattles
        for _ in range(3):
            late = samples(rng.uniform(0.004, 0.024))
            rattle = _impact(board, "]", rng, hard=0.9, pitch=rng.uniform(0.7, 0.9))
            place(out, db(rng.uniform(-17.0, -10.0)) * force * rattle, bottom + late)
    n = samples(0.09)
    hz = board.click_hz * rng.uniform(0.96, 1.05)
    snap = np.array([hz, hz * 1.47, hz * 2.1, hz * 0.61])
    click = modes(n, snap, np.array([0.0022, 0.0016, 0.001, 0.003]),
                  np.array([1.0, 0.6, 0.35, 0.3]), rng.uniform(-1, 1, 4))  # fmt: skip
    click = unit(attack(click, 0.0002)) + 0.7 * _burst(n, rng, 0.001, ((800, -20), (3000, 0), (9000, -3), (18000, -24)))
    place(out, db(board.click + rng.normal(0, 2.0)) * click, bottom - samples(travel))
    thud_hz = board.thud_hz * (0.8 if large else 1.0) * rng.uniform(0.92, 1.08)
    thud = modes(samples(0.2), np.array([thud_hz, thud_hz * 1.83, thud_hz * 2.6]),
                 np.array([0.016, 0.011, 0.008]), np.array([1.0, 0.6, 0.4]))  # fmt: skip
    boost = 3.0 if large else 0.0
    place(out, db(board.thud + boost) * force * unit(attack(thud, 0.0025)), bottom)
    if board.spring > -60.0:
        ping_hz = generator(_key_seed(board, key) + 7).uniform(2300.0, 3900.0)
        ping = modes(samples(0.3), np.array([ping_hz, ping_hz * 1.31]),
                     np.array([0.035, 0.025]), np.array([1.0, 0.5]))  # fmt: skip
        place(out, db(board.spring + rng.normal(0, 3.0)) * unit(attack(ping, 0.004)), bottom)
    for _ in range(int(rng.integers(0, 3))):  # fingertips settle on the caps around it
        touch = _burst(n, rng, 0.004, ((300, -14), (900, 0), (2600, -2), (6000, -12)))
        late = samples(rng.uniform(-0.02, 0.14))
        place(out, db(rng.uniform(-27.0, -18.0)) * attack(touch, 0.002), bottom + late)
    held = samples(float(np.clip(rng.lognormal(np.log(0.092), 0.22), 0.055, 0.2)))
    up = _impact(board, key, rng, hard=0.8, pitch=1.18)
    place(out, db(board.up + rng.normal(0.0, 2.5)) * np.sqrt(force) * up, bottom + held)
    if rng.random() < 0.7:
        tick = _burst(n, rng, 0.0012, ((900, -24), (2500, -6), (5000, 0), (9000, -4)))
        late = held - samples(rng.uniform(0.002, 0.009))
        place(out, db(board.up - 5.0 + rng.normal(0.0, 3.0)) * tick, bottom + late)
    return out, bottom


def _column(key: str) -> tuple[int, int]:
    for row, keys in enumerate(_ROWS):
        if key in keys:
            return row, keys.index(key)
    return (0, 11) if key == _BACK else (2, 11)


def _interval(before: str, key: str, rng: np.random.Generator) -> float:
    """Seconds from one keystroke to the next, by the way the two keys are reached."""
    if before in ".\n":
        return float(rng.uniform(0.55, 1.1))
    if before == ",":
        return float(rng.uniform(0.2, 0.5))
    if key == _BACK and before != _BACK:
        return float(rng.uniform(0.4, 0.7))
    if before == _BACK:
        return float(rng.uniform(0.13, 0.19) if key == _BACK else rng.uniform(0.3, 0.5))
    if before == _SPACE and rng.random() < 0.16:
        return float(rng.uniform(0.35, 0.8))
    base = 0.128
    if _SPACE in (before, key):
        base = 0.118
    else:
        (row, column), (row2, column2) = _column(before), _column(key)
        one, two = _FINGERS[column], _FINGERS[column2]
        if key == before:
            base = 0.15
        elif one == two:
            base = 0.185
        elif (one < 4) != (two < 4):
            base = 0.105
        base += 0.012 * abs(row - row2)
    return float(np.clip(base * rng.lognormal(0.0, 0.3), 0.062, 0.5))


def type_text(board: Keyboard, text: str, rng: np.random.Generator, pace: float = 1.0) -> list[tuple[float, Array]]:
    """Times of the strokes and their sound, the first at zero."""
    out: list[tuple[float, Array]] = []
    time, before = 0.0, ""
    for key in text:
        if before:
            time += pace * _interval(before, key, rng)
        finger = _FINGERS[_column(key)[1]] if key != _SPACE else 4
        force = float(np.clip(rng.lognormal(0.0, 0.3), 0.45, 1.6))
        force *= 0.88 if finger in (0, 7) else 1.0
        force *= 1.15 if key in (_SPACE, _ENTER) else 1.0
        sound, bottom = stroke(board, key, rng, force)
        out.append((time - bottom / RATE, sound))
        before = key
    return out


def _clip(board: Keyboard, text: str, seed: int, pace: float, tone: Curve) -> Array:
    """Typing in a small furnished room, silent but for the room at both ends."""
    rng = generator(seed)
    strokes = type_text(board, text, rng, pace)
    lead = 0.45
    last = strokes[-1][0] + lead
    n = samples(np.ceil(2.0 * (last + 1.0)) / 2.0)
    dry = np.zeros(n)
    for time, sound in strokes:
        place(dry, sound, samples(time + lead))
    wet = convolve(dry, room(rng, 0.28, early=-12.0, late=-17.0, size=0.5))
    wet = unit(wet)
    return np.asarray(wet + db(-31.0) * noise(n, rng, tone))


_ROOM_TONE = ((30, -20), (60, 0), (150, -3), (400, -12), (1500, -22), (6000, -34), (16000, -50))


def keyboard_typing() -> Array:
    """A flat laptop keyboard: soft, short, mostly plastic."""
    return _clip(LAPTOP, _TEXT_LAPTOP, 4101, 0.94, _ROOM_TONE)


def keyboard_typing_2() -> Array:
    """A mechanical keyboard: a click on the way down, a hollow knock, a clack on the way up."""
    return _clip(MECHANICAL, _TEXT_MECHANICAL, 4202, 1.0, _ROOM_TONE)
