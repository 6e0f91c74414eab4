"""The ceiling: what it must never let through, and what it must never touch.

True peaks are read by FFmpeg's own meter, which interpolates with another filter than the ceiling's. Times in comments
and names are those at 48 kHz.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable

import av
import av.filter
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import soundscape.ceiling as ceiling_module
from soundscape.ceiling import CEILING_DBTP, Ceiling, Tail
from soundscape.outputs import to_int16

pytestmark = pytest.mark.long

Sound = npt.NDArray[np.float32]

RATE = 48_000
RATES = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000, 192_000)
PROPERTY = settings(max_examples=200, derandomize=True, deadline=None, database=None)
SEEDS = st.integers(0, 2**32 - 1)


# --- playing and measuring ---------------------------------------------------------------------------------------


def limited(mix: Sound, rate: int = RATE, sizes: Iterable[int] = ()) -> Sound:
    """The mix under the ceiling, frame for frame, pushed in blocks of these sizes and then of 20 ms."""
    ceiling = Ceiling(rate)
    tail, blocks, at, more = ceiling.start(), [np.zeros(0, np.float32)], 0, iter(sizes)
    mix = np.concatenate((mix, np.zeros(ceiling.ahead, np.float32)))
    while at < len(mix):
        size = next(more, rate // 50)
        tail, out = ceiling.push(tail, mix[at : at + size])
        blocks.append(out)
        at += size
    return np.concatenate(blocks)[ceiling.ahead :]


def true_peak(sound: Sound, rate: int = RATE) -> float:
    """dBTP, by FFmpeg's meter, which reads at 192 kHz."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=rate, format="flt", layout="mono", time_base=None)
    meter, sink = graph.add("ebur128", "peak=true:metadata=1"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    padded = 100 * np.concatenate((np.zeros(64, np.float32), sound, np.zeros(rate // 8, np.float32)))
    frame = av.AudioFrame.from_ndarray(padded[np.newaxis], format="flt", layout="mono")
    frame.sample_rate = rate
    graph.push(frame)
    graph.push(None)
    peak = 0.0
    while True:
        try:
            found = graph.pull()
        except (av.EOFError, BlockingIOError):
            return decibels(peak / 100)  # it prints three decimals
        assert isinstance(found, av.AudioFrame)
        peak = max(peak, float(found.metadata.get("lavfi.r128.true_peaks_ch0", 0)))


def decibels(factor: float) -> float:
    return 20 * math.log10(max(factor, 1e-9))


def peak(sound: Sound) -> float:
    return decibels(float(np.abs(sound).max()))


def scaled(sound: Sound, dbtp: float, rate: int = RATE) -> Sound:
    """To a true peak."""
    return sound * np.float32(10 ** ((dbtp - true_peak(sound, rate)) / 20))


def distortion(sound: Sound, frequency: int) -> float:
    """All that one second of a tone holds beside the tone, dB under it."""
    power = np.square(np.abs(np.fft.rfft(sound * np.blackman(len(sound)))))
    tone = power[frequency - 4 : frequency + 5].sum()
    return 10 * math.log10((power.sum() - tone) / tone)


def same(one: Sound, other: Sound) -> bool:
    """To the last bit, the sign of a zero included."""
    return one.dtype == other.dtype == np.float32 and one.tobytes() == other.tobytes()


# --- material ----------------------------------------------------------------------------------------------------


def float32(sound: npt.ArrayLike) -> Sound:
    return np.asarray(sound, np.float32)


def sine(frequency: float, seconds: float = 0.5, rate: int = RATE, *, phase: float = 0.0) -> Sound:
    frames = np.arange(round(seconds * rate))
    return float32(np.sin(2 * np.pi * frequency / rate * frames + phase))


def noise(seed: int = 0, size: int = RATE // 2) -> Sound:
    return float32(np.random.default_rng(seed).uniform(-1, 1, size))


def impulses(*heights: float) -> Sound:
    sound = np.zeros(RATE // 2, np.float32)
    sound[1_001 :: RATE // 20][: len(heights)] = heights
    return sound


def bursts(carrier: Sound, *heights: float) -> Sound:
    """20 ms each, every 100 ms, from one frame to the next."""
    gain = np.full(len(carrier), 0.01, np.float32)
    for n, height in enumerate(heights):
        gain[4_800 * n + 500 : 4_800 * n + 1_460] = height
    return carrier * gain


def clip(seed: int) -> Sound:
    """A full-scale clip: coloured noise that swells and dies away."""
    sound = np.convolve(noise(seed), 0.9 ** np.arange(100))[: RATE // 2] * sine(3, phase=seed) ** 4
    return float32(sound / np.abs(sound).max())


def music() -> Sound:
    """Plucked notes, 9 dB over full scale."""
    time = np.arange(RATE // 2) / RATE
    notes = ((110, 4), (220, 4), (277, 8), (330, 8), (1_760, 16), (5_000, 16))
    return float32(sum(sine(note) * np.exp(-4 * (time * rate % 1)) for note, rate in notes))


def wander() -> Sound:
    """Full-band, and its level moves by up to 40 dB within a few milliseconds."""
    rng = np.random.default_rng(3)
    level = np.clip(np.cumsum(rng.normal(size=RATE // 2)) * 0.5, -20, 40)
    return float32(10 ** (level / 20) * rng.choice([-1, 1], RATE // 2))


MATERIAL: dict[str, Callable[[], Sound]] = {
    "three noises at full scale": lambda: noise(1) + noise(2) + noise(3),
    "noise at +40 dB": lambda: 100 * noise(),
    "random signs": lambda: float32(1.5 * np.sign(noise())),
    "square of 441 Hz": lambda: float32(4 * np.sign(sine(441.3))),
    "square of 3 kHz": lambda: float32(2 * np.sign(sine(3_001.3))),
    "a quarter of the rate": lambda: sine(RATE / 4, phase=np.pi / 4),
    "a quarter of the rate at +12 dB": lambda: 4 * sine(RATE / 4, phase=np.pi / 4),
    "0.41 of the rate": lambda: 2 * sine(0.41 * RATE),
    "50 Hz at +12 dB": lambda: 4 * sine(50),
    "100 Hz at +12 dB": lambda: 4 * sine(100),
    "impulses": lambda: impulses(1, 2, -10, 100, -1.1, 3, -100, 1, 1),
    "bursts of 1 kHz": lambda: bursts(sine(1_000), 1, 1.2, 2, 4, 10, 100),
    "bursts of noise": lambda: bursts(noise(), 1, 1.2, 2, 4, 10, 100),
    "all levels at once": wander,
    "two clips": lambda: clip(1) + clip(2),
    "music": music,
}


def made_up(seed: int, size: int = 4_000) -> Sound:
    """Stretches of tones, noise, squares, silence and lone frames, each at a level of its own."""
    rng = np.random.default_rng(seed)
    cuts = np.unique(rng.integers(0, size, rng.integers(1, 12)))
    parts = []
    for stretch in np.split(np.arange(size), cuts):
        rate = rng.uniform(0.001, 0.45)
        carrier: npt.NDArray[np.float64] = [
            np.sin(2 * np.pi * rate * stretch),
            np.sign(np.sin(2 * np.pi * rate * stretch)),
            rng.uniform(-1, 1, len(stretch)),
            rng.choice([-1.0, 1.0], len(stretch)),
            rng.normal(size=len(stretch)) * (rng.random(len(stretch)) < 0.02),
            np.zeros(len(stretch)),
        ][rng.integers(6)]
        parts.append(carrier * 10 ** (rng.uniform(-40, 40) / 20))
    return float32(np.concatenate(parts))


# --- never above -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MATERIAL)
def test_no_true_peak_over_the_ceiling(name: str) -> None:
    """Whatever comes in, at any level, an independent meter reads no more than -1 dBTP."""
    mix = MATERIAL[name]()
    assert true_peak(mix) > CEILING_DBTP
    out = limited(mix)
    assert true_peak(out) <= CEILING_DBTP
    assert peak(out) <= CEILING_DBTP


@pytest.mark.parametrize("rate", RATES)
def test_at_every_rate(rate: int) -> None:
    """The ceiling is the same at every rate that is listened to, though the meter reads at 192 kHz always."""
    for mix in (sine(0.43 * rate, 0.1, rate) * 4, noise(size=rate // 10) * 3, np.sign(sine(301, 0.1, rate)) * 2):
        assert true_peak(limited(mix, rate), rate) <= CEILING_DBTP


@pytest.mark.parametrize("rate", RATES[:-1])
def test_a_tone_between_its_frames(rate: int) -> None:
    """Peaks in the middle between two frames are seen, and those a sixteenth of a frame beside it not missed. (At
    192 kHz the meter does not look between.)"""
    for phase in (1 / 4, 1 / 4 + 1 / 32):
        out = limited(sine(rate / 4, 0.1, rate, phase=phase * math.pi), rate)
        assert true_peak(out, rate) == pytest.approx(-1.1, abs=0.1)


def test_the_highest_peak_between_low_frames() -> None:
    """Frames of 0.38 can add up to a peak of 0.9 between two of them; no block is passed by that might hold one."""
    mix = np.zeros(2_000, np.float32)
    mix[984:1_016] = 0.38 * np.concatenate(([-1, 1] * 8, [1, -1] * 8))
    assert true_peak(limited(mix)) <= CEILING_DBTP
    assert not same(limited(mix), mix)


@PROPERTY
@given(seed=SEEDS)
def test_never_above(seed: int) -> None:
    """No sound that anybody makes up reads over -1 dBTP."""
    assert true_peak(limited(made_up(seed))) <= CEILING_DBTP


@pytest.mark.parametrize("name", ["100 Hz at +12 dB", "bursts of 1 kHz", "two clips", "impulses"])
def test_it_takes_no_more_than_it_must(name: str) -> None:
    """What is too loud comes out at the ceiling, not somewhere below it: within 0.15 dB."""
    assert true_peak(limited(MATERIAL[name]())) > CEILING_DBTP - 0.15


# --- transparent below -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MATERIAL)
def test_transparent_below(name: str) -> None:
    """A mix whose true peak is 0.3 dB below the ceiling is given out bit for bit: 0.1 is the margin, and by up to 0.2
    meters disagree where there is sound up to half the rate."""
    mix = scaled(MATERIAL[name](), CEILING_DBTP - 0.3)
    assert same(limited(mix), mix)


@pytest.mark.parametrize("frequency", [50, 440, 997, 5_000, 12_000])
def test_transparent_right_below(frequency: int) -> None:
    """A tone 0.12 dB under the ceiling is left alone, one 0.08 dB under it is not: this is the margin."""
    tone = sine(frequency, phase=np.pi / 4) * np.hanning(RATE // 2).astype(np.float32)
    below, above = scaled(tone, -1.12), scaled(tone, -1.08)
    assert same(limited(below), below)
    assert not same(limited(above), above)


@PROPERTY
@given(seed=SEEDS, rate=st.sampled_from(RATES[:6]))
def test_transparent_below_whatever_it_is(seed: int, rate: int) -> None:
    """In any blocks: 0.5 dB below, as the meter misses up to 0.35 dB of what lies close to half the rate. (Above 48 kHz
    it looks at fewer than 4 values per frame and misses more.)"""
    mix = scaled(made_up(seed) + 0.01 * noise(seed, 4_000), CEILING_DBTP - 0.5, rate)
    assert same(limited(mix, rate, (1, 100, 3, 2_000)), mix)


def test_two_full_scale_clips() -> None:
    """Together they would clip; under the ceiling no sample is on the rail, and what is not loud is untouched."""
    mix = clip(1) + clip(2)
    assert to_int16(mix[:, np.newaxis]).max() == 32_767
    out = limited(mix)
    assert np.abs(to_int16(out[:, np.newaxis]).astype(int)).max() <= 32_768 * 10 ** (-1 / 20)
    assert true_peak(out) <= CEILING_DBTP
    untouched = out == mix
    assert 0.1 < untouched.mean() < 0.95


@PROPERTY
@given(seed=SEEDS, rate=st.sampled_from(RATES))
def test_the_gain_is_between_0_and_1(seed: int, rate: int) -> None:
    """The ceiling never makes louder, never turns a sign, never makes silence."""
    mix = made_up(seed)
    out = limited(mix, rate)
    sounds = mix != 0
    gain = out[sounds].astype(float) / mix[sounds]
    assert np.isfinite(out).all()
    assert (gain > 0).all()
    assert (gain <= 1).all()
    assert not out[~sounds].any()


# --- how it sounds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frequency", [20, 50, 100, 1_000])
def test_a_loud_tone_stays_a_tone(frequency: int) -> None:
    """6 dB too loud, it gets one gain and no harmonics: the wave is not followed, however low."""
    out = limited(2 * sine(frequency, 2.0))
    assert distortion(out[RATE // 2 : RATE // 2 + RATE], frequency) < -110


def test_an_impulse_is_over_after_100_ms() -> None:
    """A click takes the sound around it down within 1.3 ms, for 30 ms; after 100 ms all is bit-identical again."""
    bed = 0.1 * sine(300)
    mix = bed.copy()
    mix[10_000] = 2.0
    out = limited(mix)
    assert same(out[: 10_000 - 63], bed[: 10_000 - 63])
    held = out[10_001:11_400] / mix[10_001:11_400]
    assert held == pytest.approx(out[10_000] / 2, rel=1e-5)
    assert decibels(out[10_000]) == pytest.approx(-1.1, abs=0.01)
    assert same(out[10_000 + 4_850 :], bed[10_000 + 4_850 :])


def test_the_gain_moves_without_steps() -> None:
    """Around a click at +20 dB the gain falls by less than 1.5 dB from frame to frame, and rises by less than 0.02."""
    mix = np.full(RATE // 2, 0.05, np.float32)
    mix[10_000] = 10.0
    moves = np.diff(20 * np.log10(limited(mix) / mix))
    assert -1.5 < moves.min() < -0.5
    assert moves.max() < 0.02


# --- blocks and rewinding ----------------------------------------------------------------------------------------


@PROPERTY
@given(seed=SEEDS, rate=st.sampled_from(RATES), sizes=st.lists(st.sampled_from((0, 1, 2, 7, 8, 63, 64, 700, 3_000))))
def test_any_split_into_blocks_gives_the_same_frames(seed: int, rate: int, sizes: list[int]) -> None:
    """Guarantee 1, under the ceiling."""
    mix = made_up(seed)
    assert same(limited(mix, rate, sizes), limited(mix, rate, [len(mix) + 1_000]))


def test_frame_by_frame() -> None:
    """Guarantee 1, at its extreme."""
    mix = made_up(1, 1_500)
    assert same(limited(mix, sizes=[1] * 2_000), limited(mix))


def test_a_click_at_a_seam_of_blocks() -> None:
    """A lone loud frame is seen wherever the block that holds it ends, and however quiet the next one is."""
    mix = 0.1 * noise(size=1_500)
    mix[500] = 2.0
    whole = limited(mix)
    for cut in range(495, 600):
        assert same(limited(mix, sizes=[cut]), whole)


@PROPERTY
@given(seed=SEEDS, rate=st.sampled_from(RATES))
def test_rewinding_to_any_tail_gives_the_same_frames(seed: int, rate: int) -> None:
    """Guarantee 8, under the ceiling: a tail that was kept is all there is to come back to."""
    rng = np.random.default_rng(seed)
    mix, ceiling, tail = made_up(seed), Ceiling(rate), Ceiling(rate).start(1_000)
    kept: list[tuple[Tail, int, Sound]] = []
    blocks: list[Sound] = []
    for block in np.split(mix, np.sort(rng.integers(0, len(mix), 8))):
        kept.append((tail, len(blocks), block))
        tail, out = ceiling.push(tail, block)
        blocks.append(out.copy())
        out[:] = np.nan  # what was given out is the caller's
    for tail, n, block in reversed(kept):
        again, out = ceiling.push(tail, block)
        assert same(out, blocks[n])
        assert again.frame == tail.frame + len(block)


@PROPERTY
@given(seed=SEEDS, rate=st.sampled_from(RATES[:4]))
def test_a_frame_depends_on_its_window_alone(seed: int, rate: int) -> None:
    """On the mix from `behind` before to `ahead` after it: another past or future changes nothing."""
    ceiling = Ceiling(rate)
    mix = made_up(seed, 2 * ceiling.behind + 100)
    frame = int(np.random.default_rng(seed).integers(ceiling.behind, 2 * ceiling.behind))
    window = slice(frame - ceiling.behind, frame + ceiling.ahead + 1)
    other = made_up(seed + 1, len(mix))
    other[window] = mix[window]
    assert limited(mix, rate)[frame] == limited(other, rate)[frame]


def test_a_tail_holds_on_to_no_block() -> None:
    """Whoever keeps a tail for each block of a second keeps a few hundred bytes each, at rest."""
    ceiling = Ceiling(RATE)
    tail, _ = ceiling.push(ceiling.start(), 0.1 * noise())
    assert tail.mix.base is None
    assert (tail.mix.nbytes, tail.needs) == (252, None)


def test_what_is_over_leaves_nothing_behind() -> None:
    """`behind` frames after the last loud one the tail is that of silence again, so a block costs next to nothing."""
    ceiling = Ceiling(RATE)
    tail, _ = ceiling.push(ceiling.start(), 100 * noise())
    assert tail.needs is not None
    tail, _ = ceiling.push(tail, np.zeros(ceiling.ahead + ceiling.behind + 100, np.float32))
    assert tail.needs is None
    assert not tail.mix.any()


def test_the_mix_is_not_written_to() -> None:
    """Nor is a tail: both may be read-only."""
    ceiling = Ceiling(RATE)
    tail, mix = ceiling.start(), 2 * noise()
    mix.setflags(write=False)
    for at in range(0, len(mix), 5_000):
        tail, _ = ceiling.push(tail, mix[at : at + 5_000])
        tail.mix.setflags(write=False)
        assert tail.needs is not None
        tail.needs.setflags(write=False)


# --- what is no sound --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.1, 3.0])
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf, 3e38])
def test_a_broken_number_is_a_frame_of_silence(broken: float, level: float) -> None:
    """And spoils no other frame: all is as if it had been 0."""
    mix = level * noise()
    mix[5_000] = 0.0
    wanted = limited(mix)
    mix[5_000] = broken
    assert same(limited(mix), wanted)


def test_silence() -> None:
    """In, and out, at once and at any length."""
    assert same(limited(np.zeros(10_000, np.float32)), np.zeros(10_000, np.float32))


# --- rates and delay ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1, 100, 1_000, 7_999])
def test_no_ceiling_where_frames_are_counted(rate: int) -> None:
    """Under 8,000 frames per second whatever comes is given out at once, as it is."""
    ceiling = Ceiling(rate)
    mix = np.array([10, -2, 0, 0.5, 1e9], np.float32)
    assert (ceiling.ahead, ceiling.behind) == (0, 0)
    tail, out = ceiling.push(ceiling.start(), mix)
    assert same(out, mix)
    assert tail.frame == 5


@pytest.mark.parametrize(("rate", "ahead"), [(8_000, 31), (16_000, 33), (44_100, 57), (48_000, 63), (192_000, 207)])
def test_the_delay(rate: int, ahead: int) -> None:
    """As short as the taps and the attack allow: 1.3 ms at 48 kHz, 3.9 ms at 8 kHz."""
    assert Ceiling(rate).ahead == ahead


# --- the quick look ---------------------------------------------------------------------------------------------


def interpolated(phase: int, mirrored: bool) -> npt.NDArray[np.float64]:
    """The taps, `(32,)`, of one of the values between two frames."""
    even = ceiling_module._EVEN[:, phase, 0].astype(np.float64)
    odd = np.pad(ceiling_module._ODD[..., 0].astype(np.float64), ((0, 0), (0, 1)))[:, phase] * (-1 if mirrored else 1)
    return np.concatenate(((even + odd)[::-1], even - odd))


def test_what_is_calm_at_its_frames_and_halfway_is_nowhere_much_higher() -> None:
    """Of all sounds whose frames, and values halfway, are at most 1 within the reach of the quick look, the highest
    interpolated value: 1.288, under the 1.29 that the bound is made with."""
    half, frames = interpolated(ceiling_module._PHASES // 2 - 1, False), 62
    known = np.array([np.pad(half, (at, frames - 32 - at)) for at in range(31)])
    highest = 0.0
    for phase in range(ceiling_module._PHASES // 2):
        for mirrored in (False, True):
            value = np.pad(interpolated(phase, mirrored), (15, 15))
            found = linprog(-value, A_ub=np.vstack((known, -known)), b_ub=np.ones(62), bounds=[(-1, 1)] * frames)
            highest = max(highest, -float(found.fun or 0.0))
    assert highest == pytest.approx(1.288, abs=1e-3)
    assert ceiling_module._CALM * highest < ceiling_module._TARGET


@PROPERTY
@given(seed=st.integers(0, 2**32 - 1), level=st.floats(0.3, 1.2), sizes=st.lists(st.integers(1, 1_500), min_size=1))
def test_the_quick_look_decides_nothing_else_than_the_slow_one(seed: int, level: float, sizes: list[int]) -> None:
    """Material around the bounds, that comes and goes: the same bits as without the quick look."""
    rng = np.random.default_rng(seed)
    sound = np.convolve(rng.uniform(-1, 1, 4_000), np.ones(rng.integers(1, 12)), "same")
    sound *= (
        level / np.abs(sound).max() * np.interp(np.arange(4_000), np.sort(rng.integers(0, 4_000, 6)), rng.random(6))
    )
    slow, ceiling = Ceiling(RATE), Ceiling(RATE)
    slow._foresees = False
    mix = np.concatenate((sound, np.zeros(slow.ahead))).astype(np.float32)
    _, expected = slow.push(slow.start(), mix)
    tail, blocks, at, more = ceiling.start(), [], 0, itertools.cycle(sizes)
    while at < len(mix):
        size = next(more)
        tail, out = ceiling.push(tail, mix[at : at + size])
        blocks.append(out)
        at += size
    assert np.concatenate(blocks).tobytes() == expected.tobytes()
