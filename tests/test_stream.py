"""Sound in pieces becomes the same sound as in one: mono, at the engine's rate, every frame in its place."""

from __future__ import annotations

import io
import itertools
import math
import wave
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundscape.exceptions import UsageError
from soundscape.library.decode import decode
from soundscape.library.stream import StreamConverter

RATE = 48_000
RATES = (1_000, 8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 47_999, 88_200, 96_000, 192_000)
"""Common ones, the limits, and one that has no whole number of frames in common with the engine's."""

Block = NDArray[np.int16]
Sound = NDArray[np.float32]


def noise(frames: int, channels: int = 1, seed: int = 1) -> Block:
    return np.random.default_rng(seed).integers(-32_768, 32_768, (frames, channels)).astype(np.int16)


def tone(frequency: float, rate: int, seconds: float) -> Block:
    """At half of full scale, -6 dB."""
    angle = 2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate
    whole: Block = np.rint(16_384 * np.sin(angle)).astype(np.int16)
    return whole[:, np.newaxis]


def pieces(block: Block, frames: int) -> list[Block]:
    return [block[i : i + frames] for i in range(0, len(block), frames)]


def converted(blocks: Iterable[Block], rate: int, to: int = RATE) -> Sound:
    """The whole of what becomes of some blocks."""
    converter = StreamConverter(to)
    parts = [converter.convert(block, rate) for block in blocks]
    return np.concatenate([*parts, converter.finish()])


def as_file(block: Block, rate: int, to: int = RATE) -> Sound:
    """The same sound by way of a WAV file and its decoder."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(block.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(block.astype("<i2").tobytes())
    file.seek(0)
    return decode(file, "stream.wav", to)


def snr(sound: Sound, frequency: float, rate: int = RATE) -> float:
    """What is in a sound of one frequency, against all else in it, in dB; its ends left out."""
    middle = sound[len(sound) // 10 : -len(sound) // 10].astype(np.float64)
    angle = 2 * np.pi * frequency * np.arange(len(middle)) / rate
    basis = np.stack([np.sin(angle), np.cos(angle), np.ones_like(angle)], axis=1)
    wanted = basis @ np.linalg.lstsq(basis, middle, rcond=None)[0]
    return float(10 * np.log10(wanted.var() / (middle - wanted).var()))


# --- At the engine's own rate ----------------------------------------------------------------------------------------


def test_mono_at_the_engines_rate_passes_to_the_bit_and_at_once() -> None:
    """Every value that 16 bits have; nothing is left for the end."""
    every = np.arange(-32_768, 32_768).astype(np.int16)[:, np.newaxis]
    converter = StreamConverter(RATE)
    got = converter.convert(every, RATE)
    assert got.dtype == np.float32
    assert got.tolist() == [value / 32_768 for value in range(-32_768, 32_768)]
    assert converter.finish().tolist() == []


def test_one_frame_is_one_frame() -> None:
    assert StreamConverter(RATE).convert(np.array([[16_384]], np.int16), RATE).tolist() == [0.5]


def test_stereo_is_the_mean_of_its_channels() -> None:
    """Exactly, at full scale too, where a sum in 16 bits would wrap, and where the mean is no whole number."""
    block = np.array([[32_767, 32_767], [-32_768, -32_768], [32_767, -32_768], [16_384, 0], [1, 0]], np.int16)
    got = StreamConverter(RATE).convert(block, RATE)
    assert got.tolist() == [32_767 / 32_768, -1.0, -0.5 / 32_768, 0.25, 0.5 / 32_768]


@pytest.mark.parametrize("channels", [3, 6, 8, 9, 70])
def test_any_number_of_channels_is_averaged(channels: int) -> None:
    """Also from 8 on, where PyAV would end the process."""
    block = noise(1_000, channels)
    got = StreamConverter(RATE).convert(block, RATE)
    assert got.tolist() == (block.sum(axis=1, dtype=int) / (32_768 * channels)).astype(np.float32).tolist()


def test_the_number_of_channels_may_change_at_any_time() -> None:
    """The resampler hears of none of it."""
    left = tone(440, 24_000, 0.5)
    blocks = [np.repeat(block, 1 + n % 9, axis=1) for n, block in enumerate(pieces(left, 240))]
    assert converted(blocks, 24_000) == pytest.approx(converted([left], 24_000), abs=1e-6)  # float32's own rounding


def test_what_was_given_stays_as_it_was_when_the_block_is_used_again() -> None:
    """Applications fill one buffer over and over."""
    for rate in (RATE, 24_000):
        block = noise(480)
        wanted = converted([block.copy()] * 2, rate)
        converter = StreamConverter(RATE)
        first = converter.convert(block, rate)
        block[:] = 0
        second = converter.convert(noise(480), rate)
        assert np.array_equal(np.concatenate([first, second, converter.finish()]), wanted)


# --- At another ------------------------------------------------------------------------------------------------------


@given(
    rate=st.sampled_from(RATES),
    to=st.sampled_from((8_000, 16_000, 24_000, 44_100, 48_000, 192_000)),
    frames=st.integers(1, 3_000),
    sizes=st.lists(st.sampled_from((0, 1, 2, 15, 31, 32, 33, 34, 64, 240, 1_000)), max_size=30),
    seed=st.integers(0, 9),
)
def test_how_a_sound_is_cut_changes_nothing(rate: int, to: int, frames: int, sizes: list[int], seed: int) -> None:
    """To the bit, or to one bit of 16 where the rates have no ratio of small numbers, and FFmpeg's filter is set
    between its phases; and it is as long as it was, to half a frame."""
    block = noise(frames, seed=seed)
    cuts = np.cumsum([0, *sizes])
    got = converted([*(block[a:b] for a, b in itertools.pairwise(cuts)), block[cuts[-1] :]], rate, to)
    phases = to // math.gcd(rate, to)
    assert np.abs(got - converted([block], rate, to)).max() <= (0 if phases <= 1_024 else 1 / 32_768)
    assert len(got) == max(1, (2 * frames * to + rate) // (2 * rate))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("frames", [1, 20, 100, 3_000])
def test_a_stream_sounds_like_the_file_of_it(rate: int, frames: int) -> None:
    """To the bit, however short it is."""
    block = noise(frames, channels=2)
    assert np.array_equal(converted(pieces(block, max(1, rate // 100)), rate), as_file(block, rate))


@pytest.mark.parametrize("rate", RATES)
def test_every_frame_is_in_its_place(rate: int) -> None:
    """A click comes out where it was, at the very beginning too, within a frame of the engine's."""
    for at in (0, rate // 3, rate - 1):
        click = np.zeros((rate, 1), np.int16)
        click[at] = 16_384
        got = converted(pieces(click, rate // 100), rate)
        assert len(got) == RATE
        assert abs(int(np.abs(got).argmax()) - at * RATE / rate) <= 1


@pytest.mark.parametrize("rate", RATES)
def test_a_constant_is_constant_to_its_ends(rate: int) -> None:
    """Nothing fades in or out: silence is not taken for what comes before and after."""
    block = np.full((rate // 10, 1), 16_384, np.int16)
    # The filter's ripple at 0 Hz.
    assert converted(pieces(block, rate // 100), rate) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 44_100, 47_999, 96_000])
def test_a_tone_stays_a_tone(rate: int) -> None:
    """As clean as 16 bits are (*measured*: 92 to 98 dB), and as loud, to 0.6 of the lower rate's band."""
    for frequency in (440.0, 0.3 * min(rate, RATE)):
        got = converted(pieces(tone(frequency, rate, 1), rate // 100), rate)
        assert snr(got, frequency) > 90
        assert np.sqrt(2 * np.mean(got.astype(np.float64) ** 2)) == pytest.approx(0.5, rel=0.001)


def test_what_the_engine_cannot_play_is_not_folded_into_what_it_can() -> None:
    """20 kHz, of a stream at 48 kHz, is silence at 24 kHz, not 4 kHz."""
    got = converted(pieces(tone(20_000, RATE, 1), 480), RATE, 24_000)
    assert np.abs(got[100:-100]).max() < 0.5 * 10 ** (-80 / 20)


@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100, 96_000])
def test_what_has_come_is_given_but_for_a_few_frames(rate: int) -> None:
    """Half the filter's length: 16 frames of the lower rate, and one begun; 0.7 ms at 24 kHz."""
    converter = StreamConverter(RATE)
    given = 0
    for n, block in enumerate(pieces(noise(rate), rate // 100), 1):
        given += len(converter.convert(block, rate))
        assert 0 <= n / 100 - given / RATE <= 17 / min(rate, RATE)


# --- Changes in mid-stream -------------------------------------------------------------------------------------------


def test_a_change_of_rate_gives_all_of_the_old_one_first() -> None:
    """Each stretch as if it were alone, the engine's own rate among them, and back to one that was there before."""
    stretches = [(noise(2_400), 24_000), (noise(960), RATE), (noise(800, 2), 16_000), (noise(7), 24_000)]
    converter = StreamConverter(RATE)
    got = [converter.convert(piece, rate) for block, rate in stretches for piece in pieces(block, 100)]
    whole = np.concatenate([*got, converter.finish()])
    assert np.array_equal(whole, np.concatenate([converted([block], rate) for block, rate in stretches]))
    assert len(whole) == 4_800 + 960 + 2_400 + 14


def test_a_tone_goes_on_through_a_change_of_rate() -> None:
    """No click at the seam, though it is where the tone is steepest."""
    converter = StreamConverter(RATE)
    slow, fast = tone(100, 24_000, 1), tone(100, 44_100, 1)
    got = np.concatenate([converter.convert(slow, 24_000), converter.convert(fast, 44_100), converter.finish()])
    assert len(got) == 2 * RATE
    steepest = 0.5 * 2 * np.pi * 100 / RATE
    # The mirror image holds the last frame for the half of it that is a frame here, the next then makes up for that;
    # the rest is what the filter makes of the bend.
    assert np.abs(np.diff(got)).max() < 3 * steepest


def test_a_block_without_a_frame_changes_nothing() -> None:
    """Also if it says another rate: a change that brings no sound is none."""
    block = noise(1_000)
    converter = StreamConverter(RATE)
    empty = np.zeros((0, 2), np.int16)
    assert converter.convert(empty, 8_000).tolist() == []
    parts = [converter.convert(block[:500], 24_000)]
    for rate in (24_000, 16_000, RATE):
        got = converter.convert(empty, rate)
        assert got.dtype == np.float32
        assert got.shape == (0,)
    parts += [converter.convert(block[500:], 24_000), converter.finish()]
    assert np.array_equal(np.concatenate(parts), converted([block], 24_000))


def test_finish_gives_nothing_twice_and_then_all_begins_anew() -> None:
    converter = StreamConverter(RATE)
    assert converter.finish().dtype == np.float32
    block = noise(100)
    first = np.concatenate([converter.convert(block, 24_000), converter.finish()])
    assert converter.finish().tolist() == []
    again = np.concatenate([converter.convert(block, 24_000), converter.finish()])
    assert np.array_equal(first, again)


# --- What is no sound ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0, -48_000, 999, 192_001, 24_000.0, True, "24000", None])
def test_a_rate_that_is_none(rate: Any) -> None:
    wanted = "a sample rate is a whole number from 1,000 to 192,000, not "
    for attempt in (lambda: StreamConverter(rate), lambda: StreamConverter(RATE).convert(noise(1), rate)):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert str(caught.value) == wanted + repr(rate)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (b"\0\0", "a block of sound is an array, not bytes"),
        ([[0]], "a block of sound is an array, not list"),
        (np.zeros((5, 1), np.float32), "a block of sound is int16, not float32"),
        (np.zeros((5, 1), np.uint16), "a block of sound is int16, not uint16"),
        (np.zeros((5, 1), ">i2"), "a block of sound is int16, not >i2"),
        (np.zeros(5, np.int16), "a block of sound is (frames, channels), with a channel at least, not (5,)"),
        (np.zeros((5, 0), np.int16), "a block of sound is (frames, channels), with a channel at least, not (5, 0)"),
        (
            np.zeros((1, 5, 1), np.int16),
            "a block of sound is (frames, channels), with a channel at least, not (1, 5, 1)",
        ),
    ],
)
def test_a_block_that_is_none(block: Any, message: str) -> None:
    """Refused, and nothing happened: the stream goes on as if it had not been there."""
    good = noise(500)
    converter = StreamConverter(RATE)
    parts = [converter.convert(good[:250], 24_000)]
    for rate in (24_000, 16_000):
        with pytest.raises(UsageError) as caught:
            converter.convert(block, rate)
        assert str(caught.value) == message
    parts += [converter.convert(good[250:], 24_000), converter.finish()]
    assert np.array_equal(np.concatenate(parts), converted([good], 24_000))
