"""How a scene sounds: real files, read by the library, rendered at 48 kHz, and measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from soundscape.library import load
from soundscape.library.loudness import integrated_loudness, measure
from soundscape.loader import Scene
from soundscape.outputs import to_int16
from soundscape.outputs.file import write_audio
from soundscape.testing import Take, replay

RATE = 48_000
Sound = npt.NDArray[np.float32]


def noise(seconds: float, level: float, seed: int) -> Sound:
    """White noise of a level (RMS, linear), not beyond full scale."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.standard_normal(round(seconds * RATE)) * level, -1, 1).astype(np.float32)


def sine(hertz: float, seconds: float, peak: float = 1.0) -> Sound:
    return (peak * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def take(folder: Path, scene: str, sequence: str, *, until: float, **sounds: Sound) -> Take:
    """A sequence through a scene whose files are these sounds."""
    for name, sound in sounds.items():
        write_audio(folder / f"{name}.wav", [sound.reshape(-1, 1)], RATE)
    return replay(Scene.from_toml(scene, base_dir=folder), sequence, until=until)


def db(power: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.asarray(10 * np.log10(np.maximum(power, 1e-20)))


# --- levels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bus", "level_lu"), [("room", -22.0), ("near", -9.0)])
def test_a_bus_brings_whatever_plays_on_it_to_its_level(tmp_path: Path, bus: str, level_lu: float) -> None:
    """Loud noise and a soft tone, 30 dB apart as files, are at the same loudness beside speech of -20 LUFS."""
    scene = f"""
        [buses.room]
        level_lu = -22
        [buses.near]
        level_lu = -9
        [states.thinking]
        source = "noise.wav"
        bus = "{bus}"
        [states.tool]
        source = "tone.wav"
        bus = "{bus}"
    """
    sounds = {"noise": noise(5, 0.2, 1), "tone": sine(440, 5, 0.01)}
    for state in ("thinking", "tool"):
        audio = take(tmp_path, scene, f"{state}@0", until=8, **sounds).audio(1, 8)
        assert integrated_loudness(audio[:, 0], RATE) == pytest.approx(-20 + level_lu, abs=0.5)


def test_a_clip_that_is_not_to_be_normalised_plays_as_it_is_on_a_bus_too(tmp_path: Path) -> None:
    scene = """
        [clips.tone]
        source = "tone.wav"
        normalize = false
        [buses.room]
        level_lu = -30
        [states.thinking]
        source = "tone"
        bus = "room"
    """
    audio = take(tmp_path, scene, "thinking@0", until=3, tone=sine(440, 2, 0.5)).audio(1, 3)
    assert np.abs(audio).max() == pytest.approx(0.5, abs=1e-3)


def test_a_clips_own_gain_comes_on_top_of_its_buses_level(tmp_path: Path) -> None:
    scene = """
        [clips.soft]
        source = "tone.wav"
        gain_db = -6
        [buses.room]
        level_lu = -20
        [states.thinking]
        source = "soft"
        bus = "room"
    """
    audio = take(tmp_path, scene, "thinking@0", until=5, tone=sine(440, 3, 0.5)).audio(1, 5)
    assert integrated_loudness(audio[:, 0], RATE) == pytest.approx(-46, abs=0.1)


def test_a_click_shorter_than_400_ms_is_left_as_loud_as_it_is(tmp_path: Path) -> None:
    scene = """
        [buses.room]
        level_lu = -30
        [states.thinking]
        kind = "once"
        source = "click.wav"
        bus = "room"
    """
    audio = take(tmp_path, scene, "thinking@0", until=1, click=sine(1_000, 0.1, 0.25)).audio()
    assert np.abs(audio).max() == pytest.approx(0.25, abs=1e-3)


# --- the ceiling ------------------------------------------------------------------------------------------------

BOTH = """
    [states.thinking]
    layers = [{ source = "a.wav", fade_in = 0 }, { source = "b.wav", fade_in = 0 }]
"""


def test_two_full_scale_clips_touch_no_rail(tmp_path: Path) -> None:
    audio = take(tmp_path, BOTH, "thinking@0", until=3, a=noise(2, 0.5, 1), b=sine(100, 2)).audio()[:, 0]
    samples = to_int16(audio)
    assert samples.min() > -32_768
    assert samples.max() < 32_767
    assert measure(audio, RATE).true_peak <= -1.0


def test_below_the_ceiling_it_is_transparent_to_the_bit(tmp_path: Path) -> None:
    """Two files of 16 bit, each at a third of full scale: their sum, to the last bit."""
    a, b = sine(100, 1, 0.3), sine(1_370, 1, 0.3)
    made = take(tmp_path, BOTH.replace("fade_in = 0 }", "fade_in = 0, volume = 1 }"), "thinking@0", until=0.9, a=a, b=b)
    one, two = (to_int16(sound).astype(np.float32) / np.float32(32_768) for sound in (a, b))
    assert made.audio()[:, 0].tobytes() == (one + two)[: round(0.9 * RATE)].tobytes()


def test_part_of_a_take_is_the_same_to_the_bit_under_the_ceiling_too(tmp_path: Path) -> None:
    """It looks back 100 ms and ahead 1.3: what is rendered from the middle on has been limited by what went before."""
    made = take(
        tmp_path, BOTH, "thinking@0 listening@0.52 thinking@0.53", until=1, a=noise(2, 0.5, 1), b=noise(2, 0.5, 2)
    )
    assert made.audio(0.5, 0.9).tobytes() == made.audio()[round(0.5 * RATE) : round(0.9 * RATE)].tobytes()


# --- fades ------------------------------------------------------------------------------------------------------


def test_crossfades_of_strangers_keep_the_power_through_interruptions(tmp_path: Path) -> None:
    """Three noises, each change in the middle of the last one; 50 ms windows, averaged over 24 pairs of seeds, for the
    power of 50 ms of noise itself is uncertain by 0.1 dB."""
    scene = """
        [defaults]
        crossfade = 0.6
        [states.listening]
        source = "a.wav"
        [states.thinking]
        source = "b.wav"
        [states.idle]
        source = "c.wav"
    """
    sequence = "listening@0 thinking@1 idle@1.3 listening@1.5 thinking@1.6"
    powers = []
    for seed in range(24):
        sounds = {name: noise(4, 0.05, 3 * seed + i) for i, name in enumerate("abc")}
        audio = take(tmp_path, scene, sequence, until=3, **sounds).audio(0.7, 2.8)[:, 0]
        powers.append(np.square(audio).reshape(-1, RATE // 20).mean(axis=1))
    assert np.abs(db(np.mean(powers, axis=0)) - db(0.05**2)).max() < 0.3


def test_a_sine_cut_off_in_no_time_keeps_to_the_declicks_own_slope(tmp_path: Path) -> None:
    """100 Hz at 0.5, a fade-out of 0 s: it takes 5 ms. A step is the sine's own (0.5 x 2 pi 100 / 48000) and the fade's
    (0.5 x pi/2 / 240 frames) at most."""
    scene = """
        [states.thinking]
        source = "tone.wav"
        fade_in = 0
        [[transitions]]
        from = "thinking"
        fade_out = 0
    """
    audio = take(tmp_path, scene, "thinking@0 idle@0.5025", until=1, tone=sine(100, 2, 0.5)).audio()[:, 0]
    steps = np.abs(np.diff(audio))
    assert steps.max() <= 0.5 * 2 * np.pi * 100 / RATE + 0.5 * np.pi / 2 / 240 + 1e-4
    assert not audio[round(0.5075 * RATE) :].any()


def test_after_the_end_there_are_exact_zeros(tmp_path: Path) -> None:
    made = take(tmp_path, BOTH, "thinking@0 close@1", until=4, a=noise(2, 0.5, 1), b=noise(2, 0.5, 2))
    assert made.audio(0.99, 1.79).any()
    assert not made.audio(1.8, 4).any()


# --- loops ------------------------------------------------------------------------------------------------------


def test_a_loop_of_noise_has_no_seam_that_can_be_measured(tmp_path: Path) -> None:
    """Seven joins of twenty dark noises: the level of the 50 ms that cross is within 0.5 dB of the rest, and no step
    there is larger than the clip's own 99.9th percentile but for one in a thousand."""
    scene = '[states.thinking]\nsource = "a.wav"\nfade_in = 0'
    crossing, rest, steps, crossed = [], [], [], 0
    for seed in range(20):
        clip = np.convolve(noise(0.7, 0.5, seed), np.full(100, 0.05, np.float32), "same")
        audio = take(tmp_path, scene, "thinking@0", until=6, a=clip).audio()[:, 0]
        loop = load(tmp_path / "a.wav")
        crossed += len(loop.seam) > 0
        allowed = np.quantile(np.abs(np.diff(clip)), 0.999)
        for n in range(1, 8):
            at = loop.end + (n - 1) * loop.period
            crossing.append(np.square(audio[at : at + RATE // 20]).mean())
            rest.append(np.square(audio[at + RATE // 10 : at + RATE // 2]).mean())
            steps += list(np.abs(np.diff(audio[at - 1 : at + RATE // 20])) > allowed)
    assert crossed >= 10
    assert abs(db(np.mean(crossing)) - db(np.mean(rest))) < 0.5
    assert np.mean(steps) < 0.0015
