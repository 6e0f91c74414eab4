"""A clip goes round without a mark: what is left alone, what is crossed, and how the pieces are handed out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundscape.clip import Clip
from soundscape.exceptions import UsageError

RATE = 48_000
SECONDS = np.arange(4 * RATE) / RATE
Sound = NDArray[np.float32]


def tone(hertz: float, phase: float = 0.0) -> Sound:
    return (0.3 * np.sin(2 * np.pi * hertz * SECONDS + phase)).astype(np.float32)


def noise(slope: float, seed: int, *, circular: bool) -> Sound:
    """Four seconds of noise that falls by 3 dB times `slope` an octave: its end meets its beginning, or it is cut."""
    frames = len(SECONDS) * (1 if circular else 2)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(frames))
    hertz = np.maximum(np.fft.rfftfreq(frames, 1 / RATE), 1)
    sound = np.fft.irfft(np.where(hertz > 20, spectrum * hertz ** (-slope / 2), 0), frames)[: len(SECONDS)]
    return np.asarray(0.1 * sound / sound.std(), np.float32)


def play(clip: Clip, position: int, frames: int, *, loop: bool = True) -> Sound:
    return np.concatenate([np.empty(0, np.float32), *clip.runs(position, frames, loop=loop)])


def seam_of(out: float, samples: list[float]) -> Clip:
    """A clip with a seam of one frame, made by hand."""
    return Clip(np.array(samples, np.float32), 1, len(samples) - 1, np.array([out], np.float32))


# --- Playing ---------------------------------------------------------------------------------------------------------


def test_played_once_it_ends_where_the_file_ends() -> None:
    clip = Clip.from_samples([1.0, 2.0, 3.0], sample_rate=1)
    assert play(clip, 1, 10, loop=False).tolist() == [2, 3]
    assert list(clip.runs(3, 10, loop=False)) == []


def test_a_loop_goes_round() -> None:
    clip = Clip.from_samples([1.0, 2.0, 3.0], sample_rate=1)
    assert play(clip, 2, 6).tolist() == [3, 1, 2, 3, 1, 2]


def test_every_pass_but_the_first_begins_with_the_seam() -> None:
    clip = seam_of(9, [1, 2, 3, 4])
    assert play(clip, 0, 8).tolist() == [1, 2, 3, 9, 2, 3, 9, 2]


def test_what_is_beyond_the_loop_is_the_natural_rest() -> None:
    clip = seam_of(9, [1, 2, 3, 4])
    assert play(clip, clip.period, 10, loop=False).tolist() == [4]


def test_the_pieces_are_views_and_nobody_can_write_into_them() -> None:
    clip = Clip.from_samples(noise(2, 1, circular=False), RATE)
    for piece in clip.runs(clip.period - 10, 5_000, loop=True):
        assert not piece.flags.owndata
        assert not piece.flags.writeable


@given(position=st.integers(0, 40), lengths=st.lists(st.integers(0, 12), max_size=8), loop=st.booleans())
def test_any_split_gives_the_same_frames(position: int, lengths: list[int], loop: bool) -> None:
    clip = Clip(np.arange(9, dtype=np.float32), 1, 7, np.array([50, 51], np.float32))
    whole = play(clip, position, sum(lengths), loop=loop)
    starts = np.cumsum([position, *lengths])
    parts = [play(clip, int(start), length, loop=loop) for start, length in zip(starts, lengths, strict=False)]
    assert np.concatenate([np.empty(0, np.float32), *parts]).tolist() == whole.tolist()


# --- What a clip is made of ------------------------------------------------------------------------------------------


def test_the_callers_array_is_not_the_clips() -> None:
    mine = np.array([1.0, 2.0], np.float32)
    clip = Clip.from_samples(mine, 1)
    mine[0] = 7
    assert clip.samples.tolist() == [1, 2]
    assert mine.flags.writeable


def test_a_read_only_array_is_not_copied() -> None:
    mine = np.array([1.0, 2.0], np.float32)
    mine.setflags(write=False)
    assert Clip.from_samples(mine, 1).samples is mine


@pytest.mark.parametrize("samples", [[], [[0.0, 1.0]], [0.0, np.nan], [np.inf]])
def test_what_is_no_sound_is_refused(samples: list[float]) -> None:
    with pytest.raises(UsageError):
        Clip.from_samples(samples, 1)


def test_loud_is_not_infinite() -> None:
    assert Clip.from_samples([3e38, 3e38], 1).length == 2


def test_a_rate_under_1_is_refused() -> None:
    with pytest.raises(UsageError, match="this is 0"):
        Clip.from_samples([0.0], 0)


@pytest.mark.parametrize("frames", range(1, 40))
def test_at_tiny_rates_and_lengths_there_is_no_seam_or_a_quarter_of_the_clip(frames: int) -> None:
    ramp = np.arange(frames, dtype=np.float32)
    assert Clip.from_samples(ramp, 1).period == frames
    clip = Clip.from_samples(ramp, RATE)
    assert len(clip.seam) <= frames // 4
    assert 1 <= clip.period <= frames


# --- What is left alone ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hertz", [60, 440, 3_000])
def test_a_tone_that_closes_is_left_alone(hertz: float) -> None:
    clip = Clip.from_samples(tone(hertz, phase=1.0), RATE)
    assert (clip.period, len(clip.seam)) == (clip.length, 0)


@pytest.mark.parametrize("slope", [0, 1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_noise_whose_end_meets_its_beginning_is_left_alone(slope: float, seed: int) -> None:
    clip = Clip.from_samples(noise(slope, seed, circular=True), RATE)
    assert clip.period == clip.length


def test_silence_at_both_ends_is_left_alone() -> None:
    sound = np.zeros(RATE, np.float32)
    sound[10_000:20_000] = tone(440)[:10_000]
    assert Clip.from_samples(sound, RATE).period == RATE


def test_an_attack_on_the_first_frame_keeps_its_bar() -> None:
    """A bell every half second over a quiet drone; 50 ms less would make it limp."""
    bar = np.zeros(2 * RATE)
    strike = np.sin(2 * np.pi * 660 * SECONDS[:RATE] + 0.5) * np.exp(-9 * SECONDS[:RATE])
    for start in range(0, 2 * RATE, RATE // 2):
        bar[(start + np.arange(RATE)) % (2 * RATE)] += 0.5 * strike
    clip = Clip.from_samples(bar + 0.01 * tone(110)[: 2 * RATE], RATE)
    assert clip.period == clip.length


@pytest.mark.checkout
def test_the_loops_that_ship_are_left_alone() -> None:
    from soundscape.library import list_clips, load, resolve

    clips = {name: load(resolve(f"soundscape:{name}", Path())) for name in list_clips()}
    assert clips
    assert [name for name, clip in clips.items() if clip.period != clip.length] == []


# --- What is crossed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hertz", [60.06, 440.06, 3_000.06])
def test_a_tone_that_does_not_close_is_crossed_in_phase(hertz: float) -> None:
    clip = Clip.from_samples(tone(hertz), RATE)
    assert len(clip.seam) == 2_400
    assert clip.length - 4_800 <= clip.period <= clip.length - 2_400
    # In phase, so the crossing is the tone itself: its level within 0.1 dB, its steps no larger than the tone's own.
    wrap = play(clip, clip.period - 4_800, 9_600)
    levels = [20 * np.log10(np.sqrt(np.mean(wrap[k : k + 2_400] ** 2)) / (0.3 / np.sqrt(2))) for k in (3_600, 4_800)]
    assert np.abs(levels).max() < 0.1
    assert np.abs(np.diff(wrap)).max() <= 1.001 * np.abs(np.diff(tone(hertz))).max()


def test_a_kink_without_a_step_is_found() -> None:
    """The tone ends in mid-swing at zero and begins anew at zero, the other way."""
    sound = tone(480)[: 4 * RATE - 49]
    assert abs(float(sound[0] - sound[-1])) < 1e-4
    assert len(Clip.from_samples(sound, RATE).seam) == 2_400


def test_brown_noise_cut_anywhere_is_crossed_without_a_step() -> None:
    """A seam's step stays under the clip's own 99.9th percentile of steps."""
    for seed in range(10):
        clip = Clip.from_samples(noise(3, seed, circular=False), RATE)
        steps = np.abs(np.diff(clip.samples))
        assert len(clip.seam) == 2_400
        # What the seam adds to the step that the sound itself makes, where the seam begins and where it ends.
        begins = clip.seam[0] - clip.samples[clip.period]
        ends = clip.seam[-1] - clip.samples[2_399]
        assert max(abs(begins), abs(ends)) < np.quantile(steps, 0.999)


def test_the_level_holds_over_a_seam() -> None:
    """The level stays within 0.5 dB. One seam of 50 ms of noise differs by chance; the mean over 100 does not."""
    powers = []
    for seed in range(100):
        sound = np.random.default_rng(seed).standard_normal(12_000).astype(np.float32)
        sound[:100] += np.linspace(20, 0, 100)  # a beginning that its end does not lead to
        clip = Clip.from_samples(sound, RATE)
        assert len(clip.seam) == 2_400
        powers.append(np.mean(clip.seam[400:-400] ** 2))
    assert abs(10 * np.log10(np.mean(powers))) < 0.5


def test_a_short_clip_gives_a_quarter_of_itself() -> None:
    clip = Clip.from_samples(tone(433.3)[:4_801], RATE)
    assert len(clip.seam) == 1_200
    assert clip.period >= 4_801 - 2 * 1_200


def test_the_same_samples_give_the_same_loop() -> None:
    first, second = (Clip.from_samples(noise(3, 5, circular=False), RATE) for _ in range(2))
    assert first.period == second.period
    assert first.seam.tobytes() == second.seam.tobytes()
