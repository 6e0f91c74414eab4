"""Invented people talking: a source-filter voice that says nothing in no language.

A glottal pulse train and noise are shaped by moving formants, frame by frame, under control of a
random stream of syllables with the rhythm and the intonation of conversation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clip_synth.dsp import RATE, Array, Curve, drift, resample, shape, smooth, unit

VOICE_RATE = 32_000
_HOP = 160
_WINDOW = 640
_FFT = 1280

# First three formants of vowels, in Hz, for a long vocal tract.
_VOWELS = (
    (290, 2230, 2950), (400, 1980, 2560), (540, 1820, 2480), (670, 1690, 2430),
    (720, 1120, 2480), (580, 880, 2430), (450, 1040, 2260), (320, 920, 2240),
    (620, 1210, 2440), (500, 1460, 2480), (480, 1320, 1720), (460, 1750, 2500),
)  # fmt: skip
_VOWEL_WEIGHTS = np.array([8, 12, 10, 7, 7, 5, 5, 6, 8, 20, 5, 7], dtype=np.float64)
# Formants while the tongue is at the lips, behind the teeth, at the palate.
_PLACES = ((280, 900, 2250), (300, 1700, 2600), (290, 2050, 2400))
_GLIDES = ((330, 1150, 2650), (320, 1150, 1650), (310, 760, 2250), (280, 2200, 2950))
_RAISED_VOICE: Curve = (
    (80, 1),
    (170, 4),
    (450, 0),
    (900, 1.5),
    (1500, 8),
    (2500, 13),
    (3500, 18),
    (4500, 23),
    (8000, 25),
)
_NASALS = ((260, 1050, 2200), (270, 1500, 2450), (280, 2000, 2500))


@dataclass(frozen=True)
class Voice:
    """One speaker."""

    pitch: float
    """Habitual pitch in Hz."""
    span: float
    """Liveliness of the intonation, in semitones."""
    tempo: float
    """Syllables per second."""
    tract: float
    """Scale of the formants: 1 is a long vocal tract, 1.17 a short one."""
    breath: float
    """Amount of noise in the voiced sound."""


@dataclass
class _Score:
    """What the articulators do, frame by frame."""

    pitch: Array
    voiced: Array
    breath: Array
    hiss: Array
    hiss_hz: Array
    formants: Array

    @classmethod
    def silent(cls, frames: int, pitch: float) -> _Score:
        """Nobody speaks."""
        return cls(
            pitch=np.full(frames, np.log2(pitch)),
            voiced=np.zeros(frames),
            breath=np.zeros(frames),
            hiss=np.zeros(frames),
            hiss_hz=np.full(frames, 4000.0),
            formants=np.tile(np.log2(np.array([500.0, 1500.0, 2500.0])), (frames, 1)),
        )

    def write(
        self,
        start: float,
        ms: float,
        formants: tuple[int, int, int],
        *,
        voiced: float = 0.0,
        breath: float = 0.0,
        hiss: float = 0.0,
        hiss_hz: float = 4000.0,
    ) -> float:
        """Hold one gesture for `ms` milliseconds and say where the next begins, in frames."""
        end = start + ms * VOICE_RATE / 1000.0 / _HOP
        at = np.arange(round(start), max(round(end), round(start) + 1)) % len(self.pitch)
        self.voiced[at] = voiced
        self.breath[at] = breath
        self.hiss[at] = hiss
        self.hiss_hz[at] = hiss_hz
        self.formants[at] = np.log2(np.asarray(formants, dtype=np.float64))
        return end


def random_voice(rng: np.random.Generator) -> Voice:
    """A speaker, man or woman alike often."""
    if rng.random() < 0.5:
        return Voice(rng.uniform(98, 172), rng.uniform(4, 8), rng.uniform(4.2, 6.0),
                     rng.uniform(0.96, 1.06), rng.uniform(0.02, 0.08))  # fmt: skip
    return Voice(rng.uniform(175, 285), rng.uniform(4, 8), rng.uniform(4.3, 6.2),
                 rng.uniform(1.1, 1.2), rng.uniform(0.04, 0.12))  # fmt: skip


def _vowel(rng: np.random.Generator) -> tuple[int, int, int]:
    """A vowel, never quite the same twice; raised voices open the mouth."""
    f1, f2, f3 = _VOWELS[rng.choice(len(_VOWELS), p=_VOWEL_WEIGHTS / _VOWEL_WEIGHTS.sum())]
    return int(f1 * rng.lognormal(0.06, 0.12)), int(f2 * rng.lognormal(0, 0.06)), f3


def _onset(score: _Score, at: float, rng: np.random.Generator, loud: float) -> float:
    """A consonant before the vowel."""
    place = int(rng.integers(3))
    kind = rng.choice(8, p=[0.13, 0.17, 0.16, 0.12, 0.16, 0.12, 0.06, 0.08])
    if kind == 0:  # sharp or hushing fricative
        hz = float(rng.choice([3000.0, 5600.0, 6400.0], p=[0.3, 0.4, 0.3])) * rng.uniform(0.9, 1.1)
        return score.write(at, rng.uniform(70, 120), _PLACES[1], hiss=0.30 * loud, hiss_hz=hz)
    if kind == 1:  # voiceless stop: silence, burst, breath
        at = score.write(at, rng.uniform(45, 80), _PLACES[place])
        at = score.write(at, 9, _PLACES[place], hiss=0.45 * loud,
                         hiss_hz=(900.0, 4200.0, 2100.0)[place])  # fmt: skip
        return score.write(at, rng.uniform(15, 45), _PLACES[place], breath=0.30 * loud)
    if kind == 2:  # voiced stop
        at = score.write(at, rng.uniform(35, 60), _PLACES[place], voiced=0.10 * loud)
        return score.write(at, 8, _PLACES[place], voiced=0.3 * loud, hiss=0.15 * loud,
                           hiss_hz=(900.0, 3800.0, 2000.0)[place])  # fmt: skip
    if kind == 3:
        return score.write(at, rng.uniform(50, 85), _NASALS[place], voiced=0.38 * loud)
    if kind == 4:
        glide = _GLIDES[int(rng.integers(4))]
        return score.write(at, rng.uniform(45, 80), glide, voiced=0.55 * loud)
    if kind == 5:  # voiced fricative
        return score.write(at, rng.uniform(45, 80), _PLACES[1], voiced=0.25 * loud,
                           hiss=0.10 * loud, hiss_hz=rng.uniform(3500, 6000))  # fmt: skip
    if kind == 6:
        return score.write(at, rng.uniform(40, 70), _VOWELS[9], breath=0.28 * loud)
    return score.write(at, rng.uniform(40, 80), _PLACES[0], hiss=0.07 * loud, hiss_hz=5000.0)


def _coda(score: _Score, at: float, rng: np.random.Generator, loud: float) -> float:
    """A consonant after the vowel."""
    kind = rng.choice(4, p=[0.3, 0.25, 0.25, 0.2])
    place = int(rng.integers(3))
    if kind == 0:
        return score.write(at, rng.uniform(50, 90), _NASALS[place], voiced=0.32 * loud)
    if kind == 1:
        return score.write(at, rng.uniform(60, 110), _PLACES[1], hiss=0.2 * loud,
                           hiss_hz=rng.uniform(4800, 6500))  # fmt: skip
    if kind == 2:
        return score.write(at, rng.uniform(40, 70), _PLACES[place], voiced=0.02 * loud)
    return score.write(at, rng.uniform(40, 70), _GLIDES[int(rng.integers(2))], voiced=0.45 * loud)


def _phrase(score: _Score, at: float, seconds: float, voice: Voice, rng: np.random.Generator) -> None:
    """Syllables that fill `seconds`, under one arch of intonation."""
    count = max(1, round(seconds * voice.tempo))
    rising = rng.random() < 0.22
    first = round(at)
    accents = rng.random(count) < 0.36
    register = rng.normal(1.0, 2.2)
    marks: list[tuple[float, float]] = []
    for i in range(count):
        stress = 1.0 if accents[i] else rng.uniform(0.45, 0.75)
        loud = stress * (1.0 - 0.25 * i / count)
        last = i == count - 1
        if rng.random() < 0.88:
            at = _onset(score, at, rng, loud)
        length = (62.0 + 75.0 * stress) * (1.6 if last else 1.0) * 5.0 / voice.tempo
        length *= rng.lognormal(0.0, 0.2)
        height = register + voice.span * (0.5 - 0.9 * i / count) + rng.normal(0.0, 0.8)
        height += voice.span * rng.uniform(0.3, 0.9) * float(accents[i])
        if last:
            height += voice.span * (0.9 if rising else -0.5)
        marks.append((at, height))
        vowel = _vowel(rng)
        if accents[i] and rng.random() < 0.4:  # a diphthong
            target = _VOWELS[0] if rng.random() < 0.5 else _VOWELS[7]
            middle = (vowel[0] + target[0]) // 2, (vowel[1] + target[1]) // 2, target[2]
            at = score.write(at, 0.55 * length, vowel, voiced=loud, breath=0.03 * loud)
            at = score.write(at, 0.45 * length, middle, voiced=0.8 * loud, breath=0.03 * loud)
        else:
            at = score.write(at, length, vowel, voiced=loud, breath=0.03 * loud)
        if rng.random() < (0.7 if last else 0.35):
            at = _coda(score, at, rng, loud)
    _intone(score, first, round(at), marks, voice)


def _laugh(score: _Score, at: float, voice: Voice, rng: np.random.Generator) -> None:
    """A short laugh."""
    first = round(at)
    count = int(rng.integers(3, 7))
    vowel = _VOWELS[int(rng.choice([3, 4, 8, 9]))]
    height = rng.uniform(3.0, 6.0)
    marks: list[tuple[float, float]] = []
    for i in range(count):
        loud = 0.85 * (1.0 - 0.6 * i / count) * rng.uniform(0.8, 1.1)
        at = score.write(at, rng.uniform(70, 105), vowel, breath=0.22 * loud)
        marks.append((at, height - (height + 1.0) * i / count))
        at = score.write(at, rng.uniform(65, 100), vowel, voiced=loud, breath=0.12 * loud)
    _intone(score, first, round(at), marks, voice)


def _intone(score: _Score, first: int, end: int, marks: list[tuple[float, float]], voice: Voice) -> None:
    """Lay a pitch contour through `marks` (frame, semitones)."""
    frames = np.arange(first, end)
    curve = np.interp(frames, [m[0] for m in marks], [m[1] for m in marks])
    score.pitch[frames % len(score.pitch)] = np.log2(voice.pitch) + curve / 12.0


def _source(pitch: Array, rng: np.random.Generator) -> Array:
    """Glottal flow derivative at the given pitch (Hz per sample), with jitter and shimmer."""
    n = len(pitch)
    wobble = 1.0 + 0.008 * drift(n, rng, 25.0, VOICE_RATE) + 0.006 * drift(n, rng, 5.0, VOICE_RATE)
    phase = np.cumsum(pitch * wobble / VOICE_RATE)
    phase *= round(phase[-1]) / phase[-1]
    phase %= 1.0
    opening, closing = 0.42, 0.17
    rise = np.sin(np.pi * phase / opening) * 0.5 / opening
    fall = -np.sin(0.5 * np.pi * (phase - opening) / closing) * 0.5 / closing
    flow = np.where(phase < opening, rise, np.where(phase < opening + closing, fall, 0.0))
    shimmer = 1.0 + 0.06 * drift(n, rng, 40.0, VOICE_RATE)
    return np.asarray(flow * shimmer)


def _frames(x: Array) -> Array:
    """Overlapping windows of the loop `x`, one per hop."""
    count = len(x) // _HOP
    extended = np.concatenate((x, x[: _WINDOW - _HOP]))
    windows = np.lib.stride_tricks.sliding_window_view(extended, _WINDOW)[::_HOP]
    return np.asarray(windows[:count] * np.sqrt(np.hanning(_WINDOW + 1)[:-1]))


def _render(score: _Score, voice: Voice, rng: np.random.Generator) -> Array:
    """The sound of `score` in `voice`."""
    n = len(score.pitch) * _HOP
    positions = np.arange(n) / _HOP
    frames = np.arange(len(score.pitch))
    pitch = 2.0 ** np.interp(positions, frames, smooth(score.pitch, 25), period=len(frames))
    formants = 2.0 ** smooth(score.formants, 13) * voice.tract
    voiced = smooth(score.voiced, 5)
    breath = smooth(score.breath, 4) + voice.breath * voiced
    hiss = smooth(score.hiss, 3)
    hz = np.fft.rfftfreq(_FFT, 1.0 / VOICE_RATE)
    tract = np.ones((len(frames), len(hz)), dtype=np.complex128)
    for k, width in enumerate((115.0, 130.0, 180.0, 250.0, 320.0, 400.0, 500.0)):
        if k < 3:
            centre = formants[:, k : k + 1]
        else:
            centre = np.full((len(frames), 1), (3550.0, 4600.0, 5700.0, 6900.0)[k - 3] * voice.tract)
        tract *= centre**2 / (centre**2 - hz**2 + 1j * hz * width * voice.tract)
    tract /= 1.0 + (hz / 9000.0) ** 4
    octaves = np.log2(np.maximum(hz, 40.0) / score.hiss_hz[:, None])
    rustle = hiss[:, None] * np.exp(-0.5 * (octaves / np.where(octaves > 0, 0.7, 0.45)) ** 2)
    flow = np.fft.rfft(_frames(_source(pitch, rng)), _FFT)
    air = np.fft.rfft(_frames(rng.standard_normal(n)), _FFT)
    hush = np.fft.rfft(_frames(rng.standard_normal(n)), _FFT)
    tilted = air * np.minimum(1.0, hz / 1500.0)
    spectra = tract * (flow * voiced[:, None] + tilted * breath[:, None] * 1.2)
    spectra += 0.95 * hush * rustle
    blocks = np.fft.irfft(spectra, _FFT)
    blocks[:, :_WINDOW] *= 0.5
    blocks[:, _WINDOW:] *= 0.5
    out = np.zeros((len(frames), _HOP))
    for k in range(_FFT // _HOP):
        out += np.roll(blocks[:, k * _HOP : (k + 1) * _HOP], k, axis=0)
    return out.ravel()


def conversation(
    seconds: float,
    people: int,
    rng: np.random.Generator,
    *,
    laughs: float = 0.05,
    pause: float = 0.35,
) -> Array:
    """`people` taking turns for one loop of `seconds`, at `RATE`, RMS one."""
    frames = round(seconds * VOICE_RATE / _HOP)
    speakers = [random_voice(rng) for _ in range(people)]
    scores = [_Score.silent(frames, v.pitch) for v in speakers]
    per_second = VOICE_RATE / _HOP
    time = rng.uniform(0.0, seconds)
    stop, who = time + seconds - 1.0, 0
    while time < stop:
        if people > 1:
            who = (who + int(rng.integers(1, people))) % people
        if rng.random() < laughs:
            _laugh(scores[who], time * per_second, speakers[who], rng)
            time += 1.0
            continue
        for _ in range(1 + int(rng.random() < 0.45)):
            length = float(np.clip(rng.lognormal(0.45, 0.5), 0.4, 3.6))
            _phrase(scores[who], time * per_second, length, speakers[who], rng)
            time += 1.12 * length + rng.uniform(0.1, 0.45)
        time += max(-0.3, rng.normal(pause, 0.4))
    mix = np.zeros(frames * _HOP)
    for score, voice in zip(scores, speakers, strict=True):
        mix += unit(_render(score, voice, rng)) * np.sqrt(max(score.voiced.mean(), 1e-6))
    mix = shape(mix, _RAISED_VOICE, VOICE_RATE)
    return unit(resample(mix, round(seconds * RATE)))
