"""A clip goes round without a mark: what is left alone, what is crossed, and how the pieces are handed out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundscape.clip import Clip, Loop
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


# --- The author's loop -----------------------------------------------------------------------------------------------


def ramp(frames: int, *loop: int | None) -> Clip:
    """0, 1, 2... at one frame a second, with a loop from, to and with a crossfade of so many frames."""
    return Clip.from_samples(np.arange(frames), 1, loop=Loop(*loop))  # type: ignore[arg-type]


def test_what_is_before_the_start_is_heard_once() -> None:
    clip = ramp(7, 2, 5, 0)
    assert play(clip, 0, 10).tolist() == [0, 1, 2, 3, 4, 2, 3, 4, 2, 3]
    assert (clip.start, clip.end, clip.period, clip.length) == (2, 5, 3, 7)


def test_what_is_after_the_end_is_the_natural_rest() -> None:
    clip = ramp(7, 2, 5, 0)
    assert play(clip, clip.end, 10, loop=False).tolist() == [5, 6]


def test_a_crossfade_of_0_leaves_the_end_as_it_is() -> None:
    assert len(Clip.from_samples(tone(433.3), RATE).seam) == 2_400
    clip = Clip.from_samples(tone(433.3), RATE, loop=Loop(0, 4 * RATE, 0))
    assert (len(clip.seam), clip.period) == (0, 4 * RATE)


def test_a_seam_leads_in_to_the_start_and_the_pass_keeps_time() -> None:
    """The last two frames, 6 and 7, cross into the two before the start; equal power, for they resemble each other."""
    clip = ramp(10, 4, 8, 2)
    six, seven = clip.seam.tolist()
    assert play(clip, 0, 15).tolist() == [0, 1, 2, 3, 4, 5, six, seven, 4, 5, six, seven, 4, 5, six]
    assert clip.period == 8 - 4
    assert play(clip, clip.end, 10, loop=False).tolist() == [6, 7, 8, 9]


def test_without_a_lead_in_the_passes_overlap() -> None:
    """The last two frames, 6 and 7, cross into the first two, so each pass is two frames shorter."""
    clip = ramp(10, 1, 8, 2)
    six, seven = clip.seam.tolist()
    assert play(clip, 0, 16).tolist() == [0, 1, 2, 3, 4, 5, six, seven, 3, 4, 5, six, seven, 3, 4, 5]
    assert clip.period == 8 - 1 - 2


@pytest.mark.parametrize("loop", [Loop(4, 12, 3), Loop(8, 12, 4), Loop(0, 12, 4), Loop(1, 13, 4), Loop(4, 8, 4)])
def test_what_repeats_is_crossed_into_itself_unheard(loop: Loop) -> None:
    bars = np.array([5.0, 1.0, -2.0, 3.0] * 4)
    crossed = play(Clip.from_samples(bars, 1, loop=loop), 0, 40)
    assert crossed == pytest.approx(np.tile(bars, 3)[:40], abs=1e-6)


def test_strangers_cross_at_a_constant_power() -> None:
    """[1, 0] into [0, 1]: uncorrelated, so cosine and sine of thirds of a right angle."""
    clip = Clip.from_samples([0, 1, 0, 0, 1, 0], 1, loop=Loop(2, 6, 2))
    assert clip.seam == pytest.approx([np.cos(np.pi / 6), np.sin(np.pi / 3)], abs=1e-6)


def test_an_authors_points_are_never_moved() -> None:
    """Also where nothing is said of a crossfade; only the loop of a whole clip looks for a better end."""
    sound = tone(440.06)
    assert Clip.from_samples(sound, RATE).end < 4 * RATE - 2_400
    whole = Clip.from_samples(sound, RATE, loop=Loop(0, 4 * RATE))
    assert (whole.start, whole.end, len(whole.seam)) == (0, 4 * RATE - 2_400, 2_400)
    part = Clip.from_samples(sound, RATE, loop=Loop(RATE, 3 * RATE + 7))
    assert (part.period, len(part.seam), part.start) == (2 * RATE + 7, 2_400, RATE - 2_400)


def test_a_part_that_closes_is_left_alone() -> None:
    """Three whole periods of 480 frames from anywhere to anywhere: nothing to cross."""
    clip = Clip.from_samples(tone(100), RATE, loop=Loop(12_345, 12_345 + 48_000))
    assert (clip.start, clip.period, len(clip.seam)) == (12_345, 48_000, 0)


def test_a_part_that_begins_with_a_drum_keeps_its_bar() -> None:
    """What leads in to the drum is quiet, so it is an attack and nothing is to be blurred into it."""
    bar = 0.01 * tone(110)
    bar[RATE : 2 * RATE] += (0.5 * noise(0, 3, circular=False)[:RATE] * np.exp(-12 * SECONDS[:RATE])).astype(np.float32)
    clip = Clip.from_samples(bar, RATE, loop=Loop(RATE, 3 * RATE - 123))
    assert (clip.start, clip.period, len(clip.seam)) == (RATE, 2 * RATE - 123, 0)


def test_a_part_out_of_a_dying_sound_is_no_attack() -> None:
    """It is louder than its end, yet not than what leads in to it: to begin there at once would be a click."""
    sound = tone(433.3, phase=1.0) * np.exp(-3 * SECONDS).astype(np.float32)
    assert len(Clip.from_samples(sound, RATE, loop=Loop(RATE, 2 * RATE)).seam) == 2_400


@pytest.mark.parametrize(
    ("loop", "flaw"),
    [
        (Loop(0, 10), None),
        (Loop(9, 10), None),
        (Loop(-1, 10), "starts before the clip does"),
        (Loop(5, 5), "ends where it starts"),
        (Loop(5, 4), "ends before it starts"),
        (Loop(5, 11), "ends after the clip does"),
        (Loop(10, 11), "starts where the clip is over"),
        (Loop(0, 10, -1), "has a negative crossfade"),
        (Loop(0, 10, 5), None),
        (
            Loop(4, 9, 5),
            "is shorter than two crossfades, with less than one before its start to cross into",
        ),
        (Loop(5, 10, 5), None),
        (Loop(6, 10, 5), "is shorter than its crossfade"),
    ],
)
def test_a_loop_that_cannot_be_says_why(loop: Loop, flaw: str | None) -> None:
    """Of a clip of ten frames."""
    assert loop.flaw(10) == flaw
    if flaw is None:
        assert Clip.from_samples(np.arange(10), 1, loop=loop).period >= 1
    else:
        with pytest.raises(UsageError, match=rf"^the loop {flaw}: \[.* in a clip of 10 frames$"):
            Clip.from_samples(np.arange(10), 1, loop=loop)


def test_another_loop_gain_or_loudness_shares_the_samples() -> None:
    clip = Clip.from_samples(np.arange(9), 1)
    assert (clip.gain, clip.lufs) == (1.0, None)
    quieter = replace(clip, gain=0.5, lufs=-23.0)
    looped = quieter.with_loop(Loop(2, 5, 0))
    assert looped.samples is quieter.samples is clip.samples
    assert (looped.gain, looped.lufs, looped.start, looped.period) == (0.5, -23.0, 2, 3)
    assert play(looped.with_loop(None), 0, 12).tolist() == play(clip, 0, 12).tolist()


# --- Positions -------------------------------------------------------------------------------------------------------


def test_a_position_is_wrapped_to_the_first_that_sounds_the_same() -> None:
    """A seam is not in the first pass: its frames are found at the beginning of the second one, 6 and 7."""
    clip = ramp(10, 4, 8, 2)
    assert [clip.wrapped(position) for position in range(15)] == [0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6]


def test_a_pass_ends_where_its_seam_would_begin() -> None:
    clip = ramp(10, 4, 8, 2)
    assert [clip.pass_end(position) for position in range(12)] == [6] * 6 + [10] * 4 + [14] * 2


@st.composite
def loops(draw: st.DrawFn) -> tuple[Loop, int]:
    """A loop of any shape and the length of its clip."""
    length = draw(st.integers(1, 30))
    start = draw(st.integers(0, length - 1))
    end = draw(st.integers(start + 1, length))
    longest = end - start if start >= end - start else max(start if start <= end - start else 0, (end - start) // 2)
    return Loop(start, end, draw(st.integers(0, longest))), length


def by_definition(clip: Clip, loop: Loop, position: int) -> float:
    """A frame of a loop, in the author's terms."""
    crossfade = loop.crossfade or 0
    leads_in = loop.start >= crossfade
    taken = loop.end - loop.start - (0 if leads_in else crossfade)
    if position < loop.end - crossfade:
        return float(clip.samples[position])
    into = (position - (loop.end - crossfade)) % taken
    if into < crossfade:
        return float(clip.seam[into])
    return float(clip.samples[loop.start + into - (crossfade if leads_in else 0)])


@settings(max_examples=300, deadline=None)
@given(shape=loops(), position=st.integers(0, 120), frames=st.integers(0, 150))
def test_a_loop_of_any_shape_plays_as_it_is_defined(shape: tuple[Loop, int], position: int, frames: int) -> None:
    loop, length = shape
    clip = Clip.from_samples(np.arange(length), 1, loop=loop)
    expected = [by_definition(clip, loop, at) for at in range(position, position + frames)]
    assert play(clip, position, frames).tolist() == expected


@settings(max_examples=300, deadline=None)
@given(shape=loops(), position=st.integers(0, 120))
def test_positions_are_what_they_say(shape: tuple[Loop, int], position: int) -> None:
    loop, length = shape
    made = Clip.from_samples(np.arange(length), 1, loop=loop)
    clip = replace(made, seam=np.arange(100, 100 + len(made.seam), dtype=np.float32))  # no frame like another
    wrapped = clip.wrapped(position)
    assert play(clip, wrapped, 80).tolist() == play(clip, position, 80).tolist()
    assert clip.samples[position] == position if position < clip.end else wrapped < clip.end + len(clip.seam)
    assert all(play(clip, before, 1) != play(clip, position, 1) for before in range(wrapped))
    end = clip.pass_end(position)
    assert position < end <= max(position, clip.start) + clip.period
    assert play(clip, end, 80).tolist() == play(clip, clip.end, 80).tolist()


# --- Guarantee 10 ----------------------------------------------------------------------------------------------------


def sounding(kind: str, rate: int, frames: int, seed: int) -> Sound:
    """Noise of any colour, one to four tones, or either of them as it dies away by 3 to 60 dB.

    What dies away sets in within 5 ms: if it began with a jump, this would be the clip's own, and is left to it.
    """
    rng, time = np.random.default_rng(seed), np.arange(frames) / rate
    sound = np.zeros(frames)
    if kind == "tones" or (kind == "dying" and seed % 2):
        for hertz in 10 ** rng.uniform(1.8, np.log10(rate / 3), rng.integers(1, 5)):
            sound += rng.uniform(0.2, 1) * np.sin(2 * np.pi * (hertz * time + rng.random()))
    else:
        spectrum, hertz = np.fft.rfft(rng.standard_normal(2 * frames)), np.fft.rfftfreq(2 * frames, 1 / rate)
        slope = rng.uniform(0, 1.5)
        sound = np.fft.irfft(np.where(hertz > 20, spectrum * np.maximum(hertz, 1) ** -slope, 0))[:frames]
    if kind == "dying":
        sound *= 10 ** (-rng.uniform(3, 60) / 20 * time / time[-1]) * np.minimum(1, time / 0.005)
    return np.asarray(0.5 * sound / np.abs(sound).max(), np.float32)


def levels(sound: Sound, window: int) -> NDArray[np.float64]:
    """The level of every 50 ms, a fifth of that apart, in dB."""
    powers = np.concatenate([[0.0], np.cumsum(np.square(sound.astype(np.float64)))])
    starts = np.arange(0, len(sound) - window + 1, window // 5)
    return np.asarray(10 * np.log10(np.maximum(powers[starts + window] - powers[starts], 1e-30) / window))


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(["noise", "tones", "dying"]),
    rate=st.sampled_from([16_000, 48_000]),
    seconds=st.floats(0.5, 1.5),
    seed=st.integers(0, 2**32 - 1),
    part=st.none() | st.tuples(st.floats(0, 0.5), st.floats(0.25, 1)),
)
def test_10_a_loop_has_no_step_and_holds_its_level(
    kind: str, rate: int, seconds: float, seed: int, part: tuple[float, float] | None
) -> None:
    """The loop of a whole clip or of any part of it, the crossfade left to us.

    The step is what the seam adds to the sound's own where it begins and where it ends; where nothing was crossed, that
    from the end to the start. Usual steps are those of the clip or of the 100 ms at either side. The level counts where
    that of the loop's own 50 ms is steady, and where an author has not let opposites meet: those cancel.
    """
    samples = sounding(kind, rate, round(seconds * rate), seed)
    start = round(part[0] * len(samples)) if part else 0
    end = min(len(samples), start + round(part[1] * len(samples))) if part else len(samples)
    clip = Clip.from_samples(samples, rate, loop=Loop(start, end) if part else None)
    seam, window = len(clip.seam), rate // 20
    going, coming = samples[clip.end : clip.end + seam], samples[clip.start : clip.start + seam]

    if seam:
        step = max(abs(clip.seam[0] - going[0]), abs(clip.seam[-1] - coming[-1]))
    else:
        step = abs(samples[clip.start] - samples[clip.end - 1])
    sides = np.abs(np.r_[np.diff(samples[end - rate // 10 : end]), np.diff(samples[start : start + rate // 10])])
    assert step <= 1.0001 * max(np.quantile(np.abs(np.diff(samples)), 0.999), np.quantile(sides, 0.999))

    own = levels(samples[clip.start : clip.end + seam], window)
    opposites = bool(part) and seam and np.dot(going, coming) < -0.5 * np.linalg.norm(going) * np.linalg.norm(coming)
    if np.ptp(own) < 0.4 and not opposites:
        around = play(clip, max(0, clip.end - 2 * window), 4 * window + seam)
        assert np.abs(levels(around, window) - own.mean()).max() < 0.5
