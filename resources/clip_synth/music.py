"""Music for somebody who waits: sixteen bars that lead back into themselves.

Composed for this project.  Everything is placed in musical time on a circle of exactly sixteen
bars, so the last bar's tails ring under the first.
"""

from __future__ import annotations

import numpy as np

from clip_synth.dsp import (
    RATE,
    Array,
    attack,
    convolve,
    db,
    drift,
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

_BEAT = 0.6  # seconds: 100 to the minute
_BARS = 16
_LENGTH = _BARS * 4 * _BEAT

_SCALE = frozenset((5, 7, 9, 10, 0, 2, 4))  # F major

# (bar, beat, bass note, voicing), MIDI note numbers; each voicing moves by step into the next.
_HARMONY: tuple[tuple[int, float, int, tuple[int, ...]], ...] = (
    (0, 0, 41, (57, 60, 64, 67)), (1, 0, 38, (57, 60, 64, 65)),
    (2, 0, 34, (57, 60, 62, 65)), (3, 0, 36, (58, 62, 65, 67)),
    (4, 0, 41, (57, 60, 64, 67)), (5, 0, 33, (55, 59, 60, 64)),
    (6, 0, 34, (57, 60, 62, 65)), (7, 0, 36, (58, 62, 65, 67)), (7, 2, 36, (58, 62, 64, 67)),
    (8, 0, 38, (57, 60, 64, 65)), (9, 0, 43, (57, 59, 64, 65)),
    (10, 0, 43, (57, 58, 62, 65)), (11, 0, 36, (58, 62, 64, 69)),
    (12, 0, 34, (57, 60, 62, 65)), (13, 0, 33, (55, 60, 64, 67)), (13, 2, 38, (54, 60, 63, 69)),
    (14, 0, 43, (58, 62, 65, 69)), (15, 0, 36, (58, 62, 65, 67)), (15, 2, 36, (58, 62, 64, 69)),
)  # fmt: skip

# For each bar: (beat, length in beats, MIDI note).
_MELODY: tuple[tuple[tuple[float, float, int], ...], ...] = (
    ((0.5, 0.5, 69), (1.0, 0.5, 72), (1.5, 1.5, 76), (3.0, 0.5, 74), (3.5, 0.5, 72)),
    ((0.0, 1.5, 74), (1.5, 0.5, 72), (2.0, 1.8, 69)),
    ((0.5, 0.5, 65), (1.0, 0.5, 69), (1.5, 1.5, 72), (3.0, 0.5, 70), (3.5, 0.5, 69)),
    ((0.0, 2.5, 67), (3.0, 0.5, 65), (3.5, 0.5, 67)),
    ((0.5, 0.5, 69), (1.0, 0.5, 72), (1.5, 1.5, 79), (3.0, 0.5, 77), (3.5, 0.5, 76)),
    ((0.0, 1.5, 76), (1.5, 0.5, 74), (2.0, 1.8, 72)),
    ((0.5, 0.5, 74), (1.0, 0.5, 77), (1.5, 1.0, 76), (2.5, 0.5, 74), (3.0, 1.0, 72)),
    ((0.0, 2.0, 74), (2.5, 0.5, 72), (3.0, 0.5, 70), (3.5, 0.5, 67)),
    ((0.0, 1.5, 69), (1.5, 0.5, 72), (2.0, 1.5, 77), (3.5, 0.5, 76)),
    ((0.0, 1.0, 76), (1.0, 0.5, 74), (1.5, 2.2, 71)),
    ((0.5, 0.5, 70), (1.0, 0.5, 74), (1.5, 1.5, 77), (3.0, 0.5, 76), (3.5, 0.5, 74)),
    ((0.0, 1.5, 76), (1.5, 0.5, 74), (2.0, 1.8, 69)),
    ((0.5, 0.5, 69), (1.0, 0.5, 72), (1.5, 1.0, 74), (2.5, 0.5, 77), (3.0, 1.0, 81)),
    ((0.0, 1.5, 79), (1.5, 0.5, 76), (2.0, 1.0, 75), (3.0, 1.0, 72)),
    ((0.0, 1.5, 74), (1.5, 0.5, 70), (2.0, 1.8, 69)),
    ((0.0, 1.0, 67), (1.0, 0.9, 70), (2.0, 1.6, 69)),
)


def _hz(note: int) -> float:
    return float(440.0 * 2.0 ** ((note - 69) / 12.0))


def _at(bar: int, beat: float, rng: np.random.Generator, loose: float = 0.006) -> int:
    """Position in samples, with a light swing of the off-beats and a human hand."""
    swing = 0.045 if beat % 1.0 == 0.5 else 0.0
    return samples((bar * 4 + beat + swing) * _BEAT + rng.normal(0.0, loose))


def _electric_piano(note: int, seconds: float, touch: float) -> Array:
    """A tine and its pickup: two sines that bend each other, mellow when touched softly."""
    n = samples(seconds + 0.35)
    t = np.arange(n) / RATE
    f = _hz(note)
    out = np.zeros(n)
    for cents, gain in ((-3.0, 1.0), (4.0, 0.7)):
        w = 2 * np.pi * f * 2.0 ** (cents / 1200.0) * t
        index = (0.9 * np.exp(-t / 0.45) + 0.22) * touch
        out += gain * np.sin(w + index * np.sin(w))
        bite = 0.16 * touch * np.exp(-t / 0.05)
        out += gain * bite * np.sin(w * 7.02)
    out *= np.exp(-t / (1.5 * (220.0 / f) ** 0.4))
    damp = np.exp(-np.maximum(t - seconds, 0.0) / 0.09)
    return release(attack(out * damp * touch, 0.003), 0.05)


def _pluck(note: int, seconds: float, touch: float, rng: np.random.Generator) -> Array:
    """A nylon string: each harmonic shorter than the one below, the point of plucking audible."""
    f = _hz(note)
    k = np.arange(1, 15)
    k = k[k * f < 9000.0].astype(np.float64)
    freqs = f * k * np.sqrt(1.0 + 0.00012 * k**2)
    gains = np.abs(np.sin(np.pi * k * 0.23)) / k**1.35 * touch ** (0.4 + 0.12 * k)
    decays = 1.05 * (330.0 / f) ** 0.35 / (1.0 + 0.16 * k**1.6)
    n = samples(seconds + 0.9)
    out = modes(n, freqs, decays, gains, rng.uniform(-0.3, 0.3, len(k)))
    t = np.arange(n) / RATE
    out *= np.exp(-np.maximum(t - seconds, 0.0) / 0.3)
    nail = rng.standard_normal(samples(0.012)) * np.hanning(samples(0.012))
    place(out, 0.03 * touch * shape(nail, ((500, -10), (1800, 0), (6000, -14))), 0)
    return release(attack(out, 0.0025), 0.1)


def _pad(notes: tuple[int, ...], seconds: float, rng: np.random.Generator) -> Array:
    """Strings far back: detuned, dark, slow to come and go."""
    n = samples(seconds + 1.3)
    t = np.arange(n) / RATE
    out = np.zeros(n)
    for note in notes:
        for cents in (-7.0, 0.0, 6.0):
            f = _hz(note) * 2.0 ** ((cents + rng.normal(0, 1)) / 1200.0)
            for k in range(1, 7):
                out += np.sin(2 * np.pi * (k * f * t + rng.random())) / k**1.9
    rise = np.clip(t / 0.9, 0, 1) ** 1.5 * np.clip((seconds + 1.3 - t) / 1.3, 0, 1) ** 1.5
    return np.asarray(out * rise / len(notes))


def _bass(note: int, seconds: float, touch: float) -> Array:
    """A double bass played with the flesh of the finger."""
    n = samples(seconds + 0.2)
    t = np.arange(n) / RATE
    f = _hz(note)
    gains, taus = (1.0, 0.55, 0.22, 0.1, 0.05), (0.9, 0.55, 0.3, 0.18, 0.1)
    out = np.zeros(n)
    for k, (gain, tau) in enumerate(zip(gains, taus, strict=True), start=1):
        out += gain * np.exp(-t / tau) * np.sin(2 * np.pi * k * f * t)
    out *= np.exp(-np.maximum(t - seconds, 0.0) / 0.06)
    return touch * release(attack(out, 0.009), 0.06)


def _brush(rng: np.random.Generator, seconds: float, accent: float) -> Array:
    """Wire brushes on a snare: a sweep, with a pat where it is accented."""
    n = samples(seconds)
    t = np.arange(n) / n
    sweep = noise(n, rng, ((300, -24), (1200, -8), (3500, 0), (8000, -5), (15000, -20)))
    sweep *= (0.15 + np.sin(np.pi * t**0.7)) * np.clip(1.0 + 0.25 * drift(n, rng, 25.0), 0, 2)
    pat = rng.standard_normal(n) * np.exp(-t * seconds / 0.035)
    pat = shape(pat, ((150, -8), (260, 0), (900, -6), (4000, -6), (12000, -20)), causal=True)
    return release(attack(0.5 * sweep + accent * 0.5 * unit(pat) * 0.5, 0.004), seconds / 4)


def _kick() -> Array:
    """A felt beater, more felt than heard."""
    n = samples(0.3)
    t = np.arange(n) / RATE
    phase = 2 * np.pi * np.cumsum(52.0 + 40.0 * np.exp(-t / 0.02)) / RATE
    return release(attack(np.sin(phase) * np.exp(-t / 0.08), 0.004), 0.1)


def _comping(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """The chords, on electric piano and on the pad behind it."""
    keys, pad = np.zeros(n), np.zeros(n)
    for i, (bar, beat, _, voicing) in enumerate(_HARMONY):
        following = _HARMONY[(i + 1) % len(_HARMONY)]
        beats = (following[0] * 4 + following[1] - bar * 4 - beat) % (_BARS * 4)
        place(pad, _pad(voicing, beats * _BEAT, rng), _at(bar, beat - 0.4, rng, 0.0))
        if beats < 4:
            hits = [(0.0, 1.7, 0.8)]
        elif bar % 4 == 1:
            hits = [(0.0, 2.2, 0.82), (2.5, 1.3, 0.6)]
        elif bar % 4 == 3:
            hits = [(0.0, 1.2, 0.8), (1.5, 1.3, 0.62), (3.0, 0.9, 0.5)]
        else:
            hits = [(0.0, 1.3, 0.82), (1.5, 2.3, 0.64)]
        for offset, length, touch in hits:
            start = _at(bar, beat + offset, rng)
            for k, note in enumerate(voicing):
                strum = samples(0.007 * k + abs(rng.normal(0.0, 0.003)))
                force = touch * rng.uniform(0.88, 1.05)
                place(keys, _electric_piano(note, length * _BEAT, force), start + strum)
    return keys, pad


def _ground(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Bass and brushes."""
    bass, drums = np.zeros(n), np.zeros(n)
    roots = {bar: note for bar, beat, note, _ in _HARMONY if beat == 0}
    halves = {bar: note for bar, beat, note, _ in _HARMONY if beat == 2}
    for bar in range(_BARS):
        root = roots[bar]
        second = halves.get(bar, root)
        fifth = root + 7 if root < 38 else root - 5
        place(bass, _bass(root, 1.35 * _BEAT, 1.0), _at(bar, 0.0, rng))
        if bar % 2:
            place(bass, _bass(fifth, 0.4 * _BEAT, 0.6), _at(bar, 1.5, rng))
        place(bass, _bass(second, 1.3 * _BEAT, 0.85), _at(bar, 2.0, rng))
        ahead = roots[(bar + 1) % _BARS]
        step = 1 if ahead < second else -1
        lead = ahead + (step if (ahead + step) % 12 in _SCALE else 2 * step)
        if bar % 4 != 2:
            place(bass, _bass(lead, 0.4 * _BEAT, 0.55), _at(bar, 3.5, rng))
        for beat, gain in ((0.0, 0.9), (2.0, 0.55)):
            place(drums, gain * _kick(), _at(bar, beat, rng, 0.003))
        for beat in (0.0, 1.0, 2.0, 3.0):
            accent = rng.uniform(0.6, 0.85) if beat in (1.0, 3.0) else 0.0
            sweep = _brush(rng, rng.uniform(0.56, 0.7), accent)
            place(drums, rng.uniform(0.2, 0.32) * sweep, _at(bar, beat - 0.04, rng, 0.012))
            if rng.random() < 0.8:
                tip = _brush(rng, 0.09, 0.3)
                place(drums, rng.uniform(0.08, 0.17) * tip, _at(bar, beat + 0.5, rng))
    return bass, drums


def hold_music() -> Array:
    """Electric piano, nylon string, a pad, bass and brushes in F."""
    rng = generator(6001)
    n = samples(_LENGTH)
    keys, pad = _comping(n, rng)
    bass, drums = _ground(n, rng)
    lead = np.zeros(n)
    for bar, notes in enumerate(_MELODY):
        for beat, length, note in notes:
            touch = float(np.clip(0.82 + 0.012 * (note - 72) + rng.normal(0, 0.06), 0.55, 1.0))
            place(lead, _pluck(note, length * _BEAT, touch, rng), _at(bar, beat, rng, 0.008))
    cycle = np.arange(n) / n
    keys *= 1.0 + 0.09 * np.sin(2 * np.pi * 176 * cycle)  # the tremolo fits the loop
    hall = room(rng, 1.7, direct=-90.0, early=-8.0, late=0.0, size=1.6)
    small = ((150, -14), (400, 0), (4500, 0), (9000, -10))
    send = 0.5 * unit(keys) + 0.85 * unit(lead) + 0.35 * unit(pad) + 0.10 * unit(drums)
    wet = convolve(shape(send, small), hall)
    mix = (
        db(-1.5) * unit(keys)
        + db(-0.5) * unit(lead)
        + db(-9.5) * unit(shape(pad, ((120, -10), (300, 0), (1500, -3), (5000, -18))))
        + db(-5.5) * unit(bass)
        + db(-16.0) * unit(drums)
        + db(-10.0) * unit(wet)
    )
    return shape(mix, ((30, -40), (45, -3), (80, 0), (2000, 0), (9000, -3), (16000, -12)))
