"""A small formant synthesiser: sound that passes for a person on the telephone.

Nobody is meant to understand it. The demo and the tests need a voice that has what a background is
mixed against: syllables, pauses, a melody, the spectrum of speech. It is built in the source-filter
way, from text to sound:

1. Letters become phones by a table of rules, and phones become tracks sampled every millisecond:
   formant frequencies, loudness of voice, breath and friction, and the pitch of a sentence
   (declination, an accent per stressed word, a fall at a full stop, a rise at a question mark).
2. Every period of the voice is a grain: the spectrum of one glottal pulse (the flow derivative of
   Klatt and Klatt, J. Acoust. Soc. Am. 87, 1990) times the response of the vocal tract at that
   instant. All grains are computed at once as rows of an array, then added where they belong, so
   that pulses lie between samples and formants move without any recursive filter.
3. Friction and aspiration are grains of shaped noise on a fixed grid.
4. The result is brought to -20 LUFS (ITU-R BS.1770-5), its peaks held below -3 dBFS.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundscape.demo.phones import CONSONANTS, VOWELS, WEAK, Formants, phones

__all__ = ["LOUDNESS_LUFS", "PEAK_DBFS", "speak"]

Floats = NDArray[np.float32]
_Array = NDArray[np.float64]
_Complex = NDArray[np.complex64]

LOUDNESS_LUFS = -20.0
PEAK_DBFS = -3.5  # half a decibel below what is promised: the estimate of true peaks has an error

_PITCH_HZ = 172.0
_TOKEN = re.compile(r"[a-z']+|[0-9]|[,;:.!?\u2013\u2014]+")
_PAUSE_MS = {",": 240, ";": 300, ":": 300, ".": 460, "!": 460, "?": 480}


@dataclass
class _Tracks:
    """One column per millisecond; filled phone by phone."""

    columns: list[tuple[float, ...]] = field(default_factory=list)
    ms: list[int] = field(default_factory=list)
    accents: list[tuple[int, float]] = field(default_factory=list)  # (at ms, semitones)
    ends: list[tuple[int, int, str]] = field(default_factory=list)  # (from ms, to ms, mark)
    now: int = 0

    def add(
        self,
        ms: float,
        formants: Formants,
        *,
        voice: float = 0.0,
        breath: float = 0.0,
        friction: float = 0.0,
        centre: float = 4000.0,
        width: float = 2500.0,
        damping: float = 1.0,
    ) -> None:
        whole = max(1, round(ms))
        self.columns.append((*formants, voice, breath, friction, centre, width, damping))
        self.ms.append(whole)
        self.now += whole


def _plan(text: str, rng: np.random.Generator) -> _Tracks:
    tracks = _Tracks()
    tokens = _TOKEN.findall(text.lower())
    begin = 0
    for index, token in enumerate(tokens):
        mark = token[0] if not token[0].isalnum() and token[0] != "'" else ""
        if mark:
            if tracks.now > begin:
                tracks.ends.append((begin, tracks.now, mark))
            if index + 1 < len(tokens) and tracks.now:
                ms = _PAUSE_MS.get(mark, 300) * rng.uniform(0.9, 1.1)
                tracks.add(ms, (500, 1500, 2600))
            begin = tracks.now
            continue
        following = tokens[index + 1] if index + 1 < len(tokens) else "."
        last = not (following[0].isalnum() or following[0] == "'")
        _say_word(tracks, phones(token), token not in WEAK, last, rng)
    if tracks.now > begin:
        tracks.ends.append((begin, tracks.now, "."))
    return tracks


def _say_word(tracks: _Tracks, word: str, stressed: bool, last: bool, rng: np.random.Generator) -> None:
    """Adds the phones of a word; the last of a clause is drawn out."""
    vowels = [i for i, phone in enumerate(word) if phone in VOWELS]
    for i, phone in enumerate(word):
        slow = rng.uniform(0.94, 1.06) * (1.35 if last and vowels and i >= vowels[-1] else 1.0)
        if phone not in VOWELS:
            _say_consonant(tracks, phone, slow, i + 1 < len(word) and word[i + 1] in VOWELS)
            continue
        strong = stressed and i == vowels[0]
        voice = 1.0 if strong else 0.72
        targets = VOWELS[phone]
        ms = slow * ((138 if strong else 82) + 34 * (len(targets) - 1))
        if strong:
            tracks.accents.append((tracks.now + round(ms * 0.4), rng.uniform(1.4, 4.2)))
        for target in targets:
            tracks.add(ms / len(targets), target, voice=voice)


def _say_consonant(tracks: _Tracks, phone: str, slow: float, opens: bool) -> None:
    c = CONSONANTS[phone]
    if not c.stop:
        tracks.add(
            c.ms * slow,
            c.formants,
            voice=c.voice,
            breath=c.breath,
            friction=c.friction,
            centre=c.centre,
            width=c.width,
            damping=c.damping,
        )
        return
    shape = {"centre": float(c.centre), "width": float(c.width)}
    tracks.add(c.ms * slow, c.formants, voice=c.voice, damping=2.0, **shape)
    tracks.add(11, c.formants, voice=c.voice, friction=c.friction, damping=1.5, **shape)
    if not c.voice:  # the breath between a voiceless burst and the voice
        tracks.add(
            38 if opens else 22,
            c.formants,
            breath=0.5 if opens else 0.2,
            friction=0.1 * c.friction,
            damping=1.8,
            **shape,
        )


def _hann(length: int) -> _Array:
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(length) + 0.5) / length)
    return np.asarray(window / window.sum(), dtype=np.float64)


def _smooth(rows: _Array, length: int) -> _Array:
    """Rows blurred over `length` columns, their ends held."""
    padded = np.pad(rows, ((0, 0), (length // 2, (length - 1) // 2)), mode="edge")
    kernel = _hann(length)
    blurred = [np.convolve(row, kernel, mode="valid") for row in padded]
    return np.asarray(blurred)


def _swell(ms: int, rng: np.random.Generator) -> _Array:
    """The slow unevenness of a speaker's effort, as a factor, some 1.5 dB either way."""
    drift = _smooth(rng.standard_normal((1, ms)), 160)[0] * np.sqrt(160.0)
    return np.asarray(10 ** (1.2 * drift / 20))


def _pitch(tracks: _Tracks, ms: int, rng: np.random.Generator) -> _Array:
    """The fundamental frequency in Hz, every millisecond."""
    t = np.arange(ms, dtype=np.float64)
    semitones = np.zeros(ms)
    for begin, end, mark in tracks.ends:
        x = np.clip((t - begin) / max(end - begin, 1), 0.0, 1.0)
        inside = (t >= begin) & (t < end)
        semitones += inside * (1.6 - 3.2 * x)
        turn = np.clip(1.0 - (end - t) / 260.0, 0.0, 1.0) * inside
        semitones += turn**1.5 * {"?": 7.0, ",": 2.2}.get(mark, -3.5)
    for at, height in tracks.accents:
        semitones += height * np.exp(-0.5 * ((t - at) / 75.0) ** 2)
    drift = _smooth(rng.standard_normal((1, ms)), 220)[0] * np.sqrt(220.0)
    return np.asarray(_PITCH_HZ * 2 ** ((_smooth(semitones[None], 50)[0] + 0.35 * drift) / 12))


def _tract(formants: _Array, damping: _Array, hz: _Array) -> _Complex:
    """The response of the vocal tract: rows are instants, columns frequencies."""
    f = hz.astype(np.float32)
    response = np.ones((len(formants), len(f)), dtype=np.complex64)
    widths = (90.0, 110.0, 160.0)
    for column, width in enumerate(widths):
        square = (formants[:, column].astype(np.float32) ** 2)[:, None]
        denominator = np.empty(response.shape, dtype=np.complex64)
        denominator.real = square - f**2
        denominator.imag = (width * damping.astype(np.float32))[:, None] * f
        response *= square / denominator
    # The poles above the third hardly move; without them the cascade would be far too dull.
    fixed = np.ones(len(f), dtype=np.complex64)
    for pole in np.arange(3900.0, max(20_000.0, hz[-1] * 1.4), 1120.0):
        fixed *= pole**2 / (pole**2 - f**2 + 1j * f * (0.09 * pole)).astype(np.complex64)
    return np.asarray(response * fixed)


def _add(grains: _Array | Floats, starts: NDArray[np.int64], out: _Array) -> None:
    length = grains.shape[1]
    for grain, start in zip(grains, starts, strict=True):
        out[start : start + length] += grain


def _voiced(tracks: _Array, f0: _Array, rate: int, rng: np.random.Generator, out: _Array) -> None:
    """Adds the voice, one grain for each opening and closing of the glottis."""
    cycles = np.concatenate(([0.0], np.cumsum(f0) / 1000.0))
    count = int(cycles[-1])
    ms = np.interp(np.arange(1, count + 1), cycles, np.arange(len(cycles), dtype=np.float64))
    ms += rng.standard_normal(count) * 0.006 * 1000.0 / f0.mean()  # jitter
    at = np.clip(ms.astype(np.int64), 0, tracks.shape[1] - 1)
    keep = tracks[3, at] > 0.004
    ms, at = ms[keep], at[keep]
    if not len(at):
        return
    length = 1 << int(rate * 0.035).bit_length()
    # Above 9 kHz there is friction only; 0 Hz is left out because the pulse divides by it.
    hz = np.asarray(np.fft.rfftfreq(length, 1 / rate)[1:], dtype=np.float64)
    hz = hz[hz <= 9000.0]
    voice = tracks[3, at]
    source = _pulses(voice, 1.0 / f0[at], hz, rate)
    noise = rng.standard_normal((len(at), int(rate * 0.012)), dtype=np.float32)
    noise *= np.hanning(noise.shape[1])
    breath = np.fft.rfft(noise, length)[:, 1 : len(hz) + 1]
    source += _complex(breath * (0.016 * np.sqrt(rate / 24_000) * 1j * hz / (1j * hz + 2500.0)))
    shimmer = voice * (1 + 0.04 * rng.standard_normal(len(at)))
    start = ms * rate / 1000.0
    whole = start.astype(np.int64)
    source *= _delay(2 * np.pi * hz * ((start - whole) / rate)[:, None])
    source *= _tract(tracks[:3, at].T, tracks[8, at], hz)
    spectrum = np.zeros((len(at), length // 2 + 1), dtype=np.complex64)
    spectrum[:, 1 : len(hz) + 1] = source * shimmer.astype(np.float32)[:, None] * _edges(hz)
    _add(np.fft.irfft(spectrum, length), whole, out)


def _pulses(voice: _Array, period: _Array, hz: _Array, rate: int) -> _Complex:
    """Spectra of the glottal flow's derivative, one row for each period (seconds)."""
    # A calm voice closes softly: the weaker, the longer open and the duller.
    is_open = (period * (0.72 - 0.12 * voice))[:, None]
    tilt = (1100.0 + 2600.0 * voice)[:, None]
    # The transform of 3x^2 - 2x over the open phase, times its length in samples: the derivative is
    # then 1 where the glottis closes, whatever the pitch.
    angle = 2 * np.pi * hz * is_open
    s = _complex(1j * angle)
    pulse = (6 - 2 * s - _delay(angle) * (6 + s * (4 + s))) / (s * s * s)
    pulse *= (rate * is_open).astype(np.float32)
    pulse /= _complex(1 + 1j * hz / tilt)
    return np.asarray(pulse)


def _complex(values: NDArray[np.complexfloating[Any, Any]]) -> _Complex:
    return values.astype(np.complex64)


def _delay(angle: _Array) -> _Complex:
    """exp(-1j * angle); sine and cosine in single precision take a third of the time."""
    narrow = angle.astype(np.float32)
    turned = np.empty(narrow.shape, dtype=np.complex64)
    np.cos(narrow, out=turned.real)
    np.sin(-narrow, out=turned.imag)
    return turned


def _edges(hz: _Array) -> _Complex:
    """A gentle high-pass at 70 Hz (no DC) and a cosine to nothing at the top of the band."""
    high_pass = (1j * hz / (1j * hz + 70.0)) ** 2
    top = np.clip((hz[-1] - hz) / (0.12 * hz[-1]), 0.0, 1.0)
    return _complex(high_pass * np.sin(0.5 * np.pi * top) ** 2)


def _noises(tracks: _Array, rate: int, rng: np.random.Generator, out: _Array) -> None:
    """Adds aspiration (noise through the tract) and friction (noise at the constriction)."""
    at = np.arange(3, tracks.shape[1] - 3, 3)  # every 3 ms, in windows of 6 ms
    at = at[(tracks[4, at] > 0.003) | (tracks[5, at] > 0.002)]
    if not len(at):
        return
    length = 1 << int(rate * 0.015).bit_length()
    hz = np.asarray(np.fft.rfftfreq(length, 1 / rate), dtype=np.float64)
    window = np.hanning(int(0.006 * rate) + 2)[1:-1]
    window *= np.sqrt(rate / 24_000)  # the same power per hertz at every rate
    white = rng.standard_normal((len(at), len(window)), dtype=np.float32) * window
    breath, friction, centre, width = (tracks[i, at][:, None] for i in (4, 5, 6, 7))
    shape = width * hz / (centre**2 - hz**2 + 1j * width * hz)  # a band-pass, 1 at its centre
    shape *= friction * (1j * hz / (1j * hz + 0.5 * centre)) ** 2
    through = _tract(tracks[:3, at].T, 1.5 * tracks[8, at], hz) * (0.06 * breath)
    shape += through * (1j * hz / (1j * hz + 1200.0))
    spectrum = np.fft.rfft(white.astype(np.float32), length) * _complex(shape) * _edges(hz)
    _add(np.fft.irfft(spectrum, length), np.round(at * rate / 1000.0).astype(np.int64), out)


def _loudness(sound: _Array, rate: int) -> float:
    """Integrated loudness in LUFS (BS.1770-5); a sound shorter than a block of 0.4 s is one."""
    length = 1 << len(sound).bit_length()
    hz = np.minimum(np.fft.rfftfreq(length, 1 / rate), 24_000.0)
    z = np.exp(-2j * np.pi * hz / 48_000.0)
    shelf = (1.53512485958697 + z * (-2.69169618940638 + z * 1.19839281085285)) / (
        1 + z * (-1.69065929318241 + z * 0.73248077421585)
    )
    high = (1 - 2 * z + z * z) / (1 + z * (-1.99004745483398 + z * 0.99007225036621))
    power = np.fft.irfft(np.fft.rfft(sound, length) * shelf * high, length)[: len(sound)] ** 2
    block, step = min(len(sound), int(0.4 * rate)), int(0.1 * rate)
    sums = np.concatenate(([0.0], np.cumsum(power)))
    starts = np.arange(0, len(sound) - block + 1, step)
    means = np.asarray((sums[starts + block] - sums[starts]) / block)
    means = means[means > 10 ** ((-70 + 0.691) / 10)]
    means = means[means > 0.1 * means.mean()]
    return float(-0.691 + 10 * np.log10(means.mean()))


def _hold_peaks(sound: _Array, rate: int, ceiling: float) -> _Array:
    """The sound under a smooth gain that keeps its true peaks below `ceiling` (linear)."""
    length = 1 << len(sound).bit_length()
    fine = np.fft.irfft(np.fft.rfft(sound, length), 4 * length)[: 4 * len(sound)] * 4
    block = rate // 1000
    count = -(-len(sound) // block)
    peaks = np.abs(np.pad(fine, (0, 4 * count * block - len(fine)))).reshape(count, -1).max(axis=1)
    reach = 4  # ms: the gain is down before the peak comes, and blurred over as long
    around = np.lib.stride_tricks.sliding_window_view(np.pad(peaks, reach + 1), 2 * reach + 3)
    gain = np.minimum(1.0, ceiling / np.maximum(around.max(axis=1), 1e-9))
    gain = _smooth(gain[None], 2 * reach + 1)[0]
    middles = (np.arange(count) + 0.5) * block
    return np.asarray(sound * np.interp(np.arange(len(sound)), middles, gain))


def speak(text: str, *, sample_rate: int, seed: int = 0) -> Floats:
    """Speech-like sound for a text.

    About four syllables a second, with pauses where the text has punctuation; none after the last
    mark. The same text, rate and seed give the same samples.

    Args:
        text: What is to be said; only its letters, digits and punctuation matter.
        sample_rate: In Hz, from 8000.
        seed: Another seed says the same with another melody and rhythm.

    Returns:
        float32 (frames,), mono, -20 LUFS integrated, true peak below -3 dBFS. A text without a
        letter or digit is 0.2 s of silence.

    Raises:
        ValueError: The sample rate is below 8000.
    """
    if sample_rate < 8000:
        raise ValueError(f"sample_rate must be at least 8000 Hz, not {sample_rate}")
    rng = np.random.default_rng((zlib.crc32(text.encode()), seed & 0xFFFFFFFF))
    plan = _plan(text, rng)
    if not plan.now:
        return np.zeros(sample_rate // 5, dtype=np.float32)
    plan.add(30, (500, 1500, 2600))
    columns = np.repeat(np.asarray(plan.columns, dtype=np.float64).T, plan.ms, axis=1)
    tracks = np.empty_like(columns)
    ms = tracks.shape[1]
    tracks[:3] = _smooth(columns[:3], 62)
    tracks[3:4] = _smooth(columns[3:4] * _swell(ms, rng), 38)
    tracks[4:5] = _smooth(columns[4:5], 24)
    tracks[5:6] = _smooth(columns[5:6], 12)
    tracks[6:] = _smooth(columns[6:], 16)
    out = np.zeros(int(ms * sample_rate / 1000) + sample_rate // 8)
    _voiced(tracks, _pitch(plan, ms, rng), sample_rate, rng, out)
    _noises(tracks, sample_rate, rng, out)
    out = out[: int((ms + 40) * sample_rate / 1000)]
    out *= 10 ** ((LOUDNESS_LUFS - _loudness(out, sample_rate)) / 20)
    out = _hold_peaks(out, sample_rate, 10 ** (PEAK_DBFS / 20))
    return out.astype(np.float32)
