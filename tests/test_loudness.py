"""How loud a clip is: held against meters that are not FFmpeg's, and silent about what has no loudness."""

from __future__ import annotations

import math
import threading

import numpy as np
import pyloudnorm
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundscape.exceptions import UsageError
from soundscape.library.loudness import Loudness, integrated_loudness, measure, true_peak

RATE = 48_000
RATES = (16_000, 44_100, 48_000)
MATERIALS = ("white", "pink", "100 Hz", "1 kHz", "10 kHz", "speech", "birds", "clicks")
Sound = NDArray[np.float32]


def material(name: str, seconds: float, rate: int, level: float, seed: int = 0) -> Sound:
    """A sound whose loudest frame is at a level in dBFS. Speech is bursts with pauses; a bird or a click each 3 s."""
    rng, count = np.random.default_rng(seed), round(seconds * rate)
    time = np.arange(count) / rate
    if name.endswith("Hz"):
        hertz = float(name.split()[0]) * (1_000 if "k" in name else 1)
        sound = np.sin(2 * np.pi * min(hertz, 0.45 * rate) * time + rng.uniform(0, 2 * np.pi))
    elif name == "birds":
        sound = np.sin(2 * np.pi * 3_000 * time + 40 * np.sin(2 * np.pi * 12 * time)) * np.exp(-20 * (time % 3))
    elif name == "clicks":
        sound = rng.standard_normal(count) * (time % 3 < 0.005)
    else:
        spectrum = np.fft.rfft(rng.standard_normal(count))
        slope = {"white": 0.0, "pink": 0.5, "speech": 0.7}[name]
        sound = np.fft.irfft(spectrum * np.maximum(np.fft.rfftfreq(count, 1 / rate), 20) ** -slope, count)
        if name == "speech":
            spoken = np.repeat(rng.uniform(-12, 0, count // (rate // 5) + 1), rate // 5)[:count]
            sound *= 10 ** (spoken / 20) * (np.sin(2 * np.pi * 4 * time) ** 2) * (time % 2 < 1.3)
    return np.asarray(10 ** (level / 20) * sound / np.abs(sound).max(), np.float32)


def theirs(sound: Sound, rate: int, design: str = "K-weighting") -> tuple[float | None, float]:
    """pyloudnorm's reading, and how near any of its blocks comes to a gate, in LU."""
    meter = pyloudnorm.Meter(rate, filter_class=design)
    lufs = float(meter.integrated_loudness(sound.astype(np.float64)))
    blocks = np.array(meter.blockwise_loudness)
    passed = blocks[blocks > -70]
    gates = [-70.0, *([10 * math.log10(np.mean(10 ** (passed / 10))) - 10] if len(passed) else [])]
    near = min(float(np.abs(blocks - gate).min()) for gate in gates)
    return (lufs if math.isfinite(lufs) else None), near


# --- Guarantee 11 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", MATERIALS)
def test_11_loudness_is_within_a_tenth_of_an_independent_meter(name: str, rate: int) -> None:
    sound = material(name, 10, rate, level=-12)
    lufs, _ = theirs(sound, rate)
    assert integrated_loudness(sound, rate) == pytest.approx(lufs, abs=0.1)


@settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(MATERIALS),
    rate=st.sampled_from(RATES),
    tenths=st.integers(4, 30),
    level=st.integers(-60, 0),
    seed=st.integers(0, 2**32 - 1),
)
def test_11_for_any_material_length_and_level(name: str, rate: int, tenths: int, level: int, seed: int) -> None:
    """Whole tenths of a second, for pyloudnorm counts an incomplete block in where the recommendation leaves it out;
    and no block right at a gate, where a thousandth of a LU decides whether it counts."""
    sound = material(name, tenths / 10, rate, level, seed)
    lufs, near = theirs(sound, rate)
    assume(near > 0.1)
    measured = integrated_loudness(sound, rate)
    assert measured is None if lufs is None else measured == pytest.approx(lufs, abs=0.1)


@pytest.mark.parametrize("name", MATERIALS)
def test_at_48_khz_it_is_the_recommendations_own_weighting(name: str) -> None:
    """pyloudnorm's usual filter is 0.04 dB under BS.1770's table at all frequencies; its other one, "DeMan", is it."""
    sound = material(name, 10, RATE, level=-12)
    lufs, _ = theirs(sound, RATE, "DeMan")
    assert integrated_loudness(sound, RATE) == pytest.approx(lufs, abs=0.002)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("hertz", [50, 100, 997, 2_500, 3_600])
def test_the_sample_rate_makes_no_difference(hertz: int, rate: int) -> None:
    """A tone at full scale, weighted by the recommendation's table. FFmpeg alone is 0.4 LU off at 8 kHz."""
    z = np.exp(-2j * np.pi * hertz / RATE)
    shelf = np.polyval([1.19839281085285, -2.69169618940638, 1.53512485958697], z)
    shelf /= np.polyval([0.73248077421585, -1.69065929318241, 1], z)
    high_pass = np.polyval([1, -2, 1], z) / np.polyval([0.99007225036621, -1.99004745483398, 1], z)
    lufs = -0.691 - 3.0103 + 20 * math.log10(abs(shelf * high_pass))
    tone = np.sin(2 * np.pi * hertz * np.arange(4 * rate) / rate).astype(np.float32)
    assert integrated_loudness(tone, rate) == pytest.approx(lufs, abs=0.07)


# --- What has no loudness --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
def test_400_ms_are_measured_and_less_is_not(rate: int) -> None:
    whole = material("white", 0.4, rate, level=0)
    assert integrated_loudness(whole, rate) is not None
    assert integrated_loudness(whole[:-1], rate) is None


@pytest.mark.parametrize("dc", [0.0, 1e-30, 0.5, -1.0, 1e30])
def test_silence_and_dc_have_no_loudness(dc: float) -> None:
    assert integrated_loudness(np.full(2 * RATE, dc, np.float32), RATE) is None


def test_under_the_gate_there_is_none_and_just_above_it_there_is() -> None:
    tone = material("1 kHz", 2, RATE, level=0)
    assert integrated_loudness(tone * np.float32(10 ** (-67.2 / 20)), RATE) is None
    assert integrated_loudness(tone * np.float32(10 ** (-66.8 / 20)), RATE) == pytest.approx(-69.8, abs=0.05)


def test_an_offset_changes_nothing() -> None:
    """The onset of DC, which a meter that begins with the clip would hear, is no part of the sound."""
    sound = material("pink", 2, RATE, level=-40)
    plain = integrated_loudness(sound, RATE)
    assert integrated_loudness(sound + np.float32(0.5), RATE) == pytest.approx(plain, abs=0.01)


def test_what_is_beyond_the_last_whole_tenth_of_a_second_is_no_block() -> None:
    """As in the recommendation: incomplete blocks at the end are not used."""
    sound = material("white", 1, RATE, level=-20)
    longer = np.append(sound, material("white", 0.0999, RATE, level=0))
    assert integrated_loudness(longer, RATE) == pytest.approx(integrated_loudness(sound, RATE), abs=0.001)


# --- Any level -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [-8, 4, 20, 100])
def test_float32_is_measured_at_any_level(exponent: int) -> None:
    """FFmpeg's own integrated loudness stays at +10 LUFS, and its peak has three decimals."""
    sound = material("white", 2, RATE, level=0)
    plain, scaled = measure(sound, RATE), measure(np.ldexp(sound, exponent), RATE)
    assert plain.lufs is not None
    assert scaled.lufs == pytest.approx(plain.lufs + exponent * 20 * math.log10(2), abs=1e-6)
    assert scaled.true_peak == pytest.approx(plain.true_peak + exponent * 20 * math.log10(2), abs=1e-6)


# --- True peak -------------------------------------------------------------------------------------------------------


def test_the_true_peak_is_found_between_the_frames() -> None:
    """A quarter of the sample rate, 45 degrees off: the frames stay 3.01 dB under the peak."""
    time = np.arange(RATE)
    tone = (0.5 * np.sin(np.pi / 2 * time + np.pi / 4) * np.sin(np.pi * time / RATE)).astype(np.float32)
    assert 20 * math.log10(np.abs(tone).max()) == pytest.approx(-9.03, abs=0.01)
    assert true_peak(tone, RATE) == pytest.approx(-6.02, abs=0.02)


@pytest.mark.parametrize("at", [0, 24_000, 47_999])
def test_a_peak_counts_wherever_it_is(at: int) -> None:
    sound = np.zeros(RATE, np.float32)
    sound[at] = 0.5
    assert true_peak(sound, RATE) == pytest.approx(-6.02, abs=0.01)


@pytest.mark.parametrize("rate", [1, 100, 8_000, 384_000])
@pytest.mark.parametrize("frames", [1, 2, 100])
def test_a_true_peak_is_never_under_the_sample_peak(frames: int, rate: int) -> None:
    sound = np.random.default_rng(frames).standard_normal(frames).astype(np.float32)
    assert true_peak(sound, rate) >= 20 * math.log10(np.abs(sound).max()) - 1e-9


def test_dc_has_a_peak_though_no_loudness() -> None:
    """The overshoot where it begins and ends is one too."""
    assert -6.03 < true_peak(np.full(RATE, 0.5, np.float32), RATE) < -4.9


def test_silence_has_no_peak() -> None:
    assert measure(np.zeros(RATE, np.float32), RATE) == Loudness(None, -math.inf)
    assert measure(np.zeros(0, np.float32), RATE) == Loudness(None, -math.inf)


# --- Use -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [np.zeros((2, 2)), np.array([0, np.nan]), np.array([np.inf, 0])])
def test_what_is_no_mono_sound_is_refused(samples: NDArray[np.float64]) -> None:
    for ask in (integrated_loudness, true_peak, measure):
        with pytest.raises(UsageError, match="loudness is measured of"):
            ask(samples.astype(np.float32), RATE)


def test_a_clips_read_only_samples_are_measured_and_left_alone() -> None:
    sound = material("speech", 2, RATE, level=-6)
    before = sound.tobytes()
    sound.setflags(write=False)
    measure(sound, RATE)
    assert sound.tobytes() == before


def test_threads_measure_each_for_itself() -> None:
    sounds = [material(name, 3, RATE, level=-6) for name in MATERIALS]
    expected = [measure(sound, RATE) for sound in sounds]
    got: dict[int, Loudness] = {}
    threads = [threading.Thread(target=lambda k=k: got.update({k: measure(sounds[k], RATE)})) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [got[k] for k in range(8)] == expected
