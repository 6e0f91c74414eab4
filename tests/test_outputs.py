"""Outputs without a call: what is rendered arrives, in order and to the bit, and a fault ends nothing but itself."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from sources import OneWay

from soundscape.exceptions import OutputError, UsageError
from soundscape.outputs import MemoryOutput, Output, PacedOutput, to_int16
from soundscape.outputs.file import FileOutput, write_audio
from soundscape.outputs.room import RoomOutput
from soundscape.outputs.speakers import SpeakersOutput

RATE = 48_000
Block = npt.NDArray[np.float32]


class Ramp(OneWay):
    """Frame n is n / 32768 (from 0 again after 1.0), so that a frame lost or heard twice shows."""

    def __init__(self, *, until: int | None = None) -> None:
        self.position = 0
        self.until = until
        self.broken = False

    @property
    def finished(self) -> bool:
        return self.until is not None and self.position >= self.until

    def render(self, frames: int) -> Block:
        if self.broken:
            raise ValueError("broken")
        self.position += frames
        return ramp(self.position)[-frames:]


def ramp(frames: int) -> Block:
    return ((np.arange(frames) % 32768) / 32768).astype(np.float32)[:, np.newaxis]


def decoded(path: Path) -> npt.NDArray[np.int16]:
    """A file's samples, 16 bit: `(frames, channels)`."""
    with av.open(str(path)) as container:
        channels = container.streams.audio[0].codec_context.channels
        blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
    if blocks[0].dtype == np.int16:
        return np.concatenate([block.reshape(-1, channels) for block in blocks])
    return to_int16(np.concatenate([block.T for block in blocks]))


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def in_blocks(sound: Block, size: int = 960) -> Iterator[Block]:
    for start in range(0, len(sound), size):
        yield sound[start : start + size]


# --- to_int16 ---------------------------------------------------------------------------------------------------------


def test_every_16_bit_value_survives_the_way_through_float() -> None:
    every = np.arange(-32768, 32768).astype(np.int16)
    assert np.array_equal(to_int16(every.astype(np.float32) / np.float32(32768)), every)


def test_samples_are_rounded_half_to_even_and_clipped() -> None:
    steps = np.array([0.5, 1.5, -0.5, -1.5, 2.4, 32766.5, 32767.4, 32768, -32768.4, -40000, 1e30], np.float32)
    with np.errstate(all="raise"):
        given = to_int16(steps / np.float32(32768))
    assert given.tolist() == [0, 2, 0, -2, 2, 32766, 32767, 32767, -32768, -32768, 32767]


def test_what_is_no_number_is_silence_and_infinity_is_full_scale() -> None:
    block = np.array([[np.nan], [np.inf], [-np.inf], [0.25]], np.float32)
    before = block.copy()
    assert to_int16(block).tolist() == [[0], [32767], [-32768], [8192]]
    assert np.array_equal(block, before, equal_nan=True)  # what was given is left alone


def test_an_array_of_ones_own_is_filled() -> None:
    out = np.ones((3, 1), np.int16)
    assert to_int16(np.array([[0.5], [0.0], [-1.0]], np.float32), out) is out
    assert out.tolist() == [[16384], [0], [-32768]]


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".WAV"])
@pytest.mark.parametrize("frames", [1, 17, 960, 4609, 48_001])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_and_flac_hold_exactly_the_frames_written(tmp_path: Path, suffix: str, frames: int, channels: int) -> None:
    noise = np.random.default_rng(0).uniform(-1.1, 1.1, (frames, channels)).astype(np.float32)
    write_audio(tmp_path / f"x{suffix}", in_blocks(noise, 441), RATE)
    assert np.array_equal(decoded(tmp_path / f"x{suffix}"), to_int16(noise))


def test_ogg_holds_as_many_frames_and_sounds_alike(tmp_path: Path) -> None:
    tone = (0.5 * np.sin(np.arange(48_001) * 0.03)).astype(np.float32)[:, np.newaxis]
    write_audio(tmp_path / "x.ogg", in_blocks(tone), RATE)
    heard = decoded(tmp_path / "x.ogg") / np.float32(32768)
    assert heard.shape == tone.shape
    # Lossy: 0.005 as measured; one frame earlier or later would make it 0.011.
    assert np.sqrt(np.mean((heard - tone)[2000:-2000] ** 2)) < 0.008


def test_ogg_takes_a_rate_that_opus_does_not_know(tmp_path: Path) -> None:
    write_audio(tmp_path / "x.ogg", in_blocks(np.zeros((44_100, 1), np.float32)), 44_100)
    assert len(decoded(tmp_path / "x.ogg")) == 48_000


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_the_same_sound_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in "ab":
        write_audio(tmp_path / (name + suffix), in_blocks(ramp(9600)), RATE)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_no_blocks_make_an_empty_file(tmp_path: Path) -> None:
    write_audio(tmp_path / "x.wav", [], RATE)
    assert (tmp_path / "x.wav").stat().st_size == 44  # a WAV header and nothing else


def test_a_name_with_a_colon_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_audio("12:30.wav", in_blocks(ramp(10)), RATE)
    assert names(tmp_path) == ["12:30.wav"]


@pytest.mark.parametrize("name", ["x.mp3", "x", ".wav"])
def test_another_suffix_is_refused_before_anything_is_rendered(tmp_path: Path, name: str) -> None:
    def blocks() -> Iterator[Block]:
        pytest.fail("a block was asked for")
        yield

    with pytest.raises(UsageError, match=r"\.wav, \.flac or \.ogg"):
        write_audio(tmp_path / name, blocks(), RATE)
    with pytest.raises(UsageError, match=r"\.wav, \.flac or \.ogg"):
        FileOutput(tmp_path / name)
    assert names(tmp_path) == []


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    def blocks() -> Iterator[Block]:
        yield ramp(960)
        raise ZeroDivisionError

    (tmp_path / "x.wav").write_bytes(b"before")
    with pytest.raises(ZeroDivisionError):
        write_audio(tmp_path / "x.wav", blocks(), RATE)
    with pytest.raises(UsageError, match="2 channels in a file of 1"):
        write_audio(tmp_path / "x.wav", [ramp(9), np.zeros((9, 2), np.float32)], RATE)
    with pytest.raises(UsageError, match="3 channels"):
        write_audio(tmp_path / "x.wav", [np.zeros((9, 3), np.float32)], RATE)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x.wav", b"before")]


def test_a_link_stays_a_link_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    """Whether there was a file already or not; the temporary one lies beside it."""
    (tmp_path / "kept").mkdir()
    for there in (False, True):
        (tmp_path / f"{there}.wav").symlink_to(tmp_path / "kept" / f"{there}.wav")
        if there:
            (tmp_path / "kept" / f"{there}.wav").write_bytes(b"old")
        write_audio(tmp_path / f"{there}.wav", [ramp(100)], RATE)
        assert (tmp_path / f"{there}.wav").is_symlink()
        assert len(decoded(tmp_path / "kept" / f"{there}.wav")) == 100
    assert names(tmp_path / "kept") == ["False.wav", "True.wav"]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to(os.devnull)])
def test_what_is_no_file_is_not_written_over(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "x.wav")
    kind = stat.S_IFMT((tmp_path / "x.wav").stat().st_mode)
    with pytest.raises(OutputError, match=r"x\.wav: cannot be written: not a regular file"):
        write_audio(tmp_path / "x.wav", [ramp(100)], RATE)
    assert stat.S_IFMT((tmp_path / "x.wav").stat().st_mode) == kind
    assert names(tmp_path) == ["x.wav"]


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()
    for path in (tmp_path / "missing" / "x.wav", tmp_path / "folder.wav"):
        with pytest.raises(OutputError, match=r"wav: cannot be written: (No such|not a regular)"):
            write_audio(path, in_blocks(ramp(960)), RATE)
    assert names(tmp_path) == ["folder.wav"]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    resource = pytest.importorskip("resource", reason="limits the size of files, which Windows cannot")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0).uniform(-1, 1, (10 * RATE, 1)).astype(np.float32)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written: File too large"):
            write_audio(tmp_path / f"x{suffix}", in_blocks(noise), RATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == []


async def test_a_live_file_is_complete_once_closed(tmp_path: Path) -> None:
    source, output = Ramp(), FileOutput(tmp_path / "x.wav")
    await output.start(source)
    await asyncio.sleep(0.1)
    assert not (tmp_path / "x.wav").exists()
    source.until = 9600
    await output.aclose(timeout=5)
    await output.aclose()
    assert names(tmp_path) == ["x.wav"]
    assert np.array_equal(decoded(tmp_path / "x.wav"), to_int16(ramp(9600)))


async def test_a_live_file_that_cannot_be_had_fails_at_the_start(tmp_path: Path) -> None:
    output = FileOutput(tmp_path / "missing" / "x.wav")
    with pytest.raises(OutputError, match="No such file"):
        await output.start(Ramp())
    await output.aclose()
    (tmp_path / "missing").mkdir()
    await output.start(Ramp())  # nothing was begun, so it may be tried again
    await output.aclose()
    assert (tmp_path / "missing" / "x.wav").exists()


# --- pace -------------------------------------------------------------------------------------------------------------


async def test_time_in_the_sound_is_time_on_the_clock_even_when_the_loop_is_blocked() -> None:
    output = MemoryOutput()
    await output.start(Ramp())
    began = time.monotonic()
    await asyncio.sleep(0.2)
    time.sleep(0.4)  # noqa: ASYNC251 - a busy session
    await asyncio.sleep(0.2)
    passed = time.monotonic() - began
    await output.aclose()
    # A block is rendered when its time begins, so there may be one more; or one less, on a slow machine.
    assert abs(len(output.samples) - passed * RATE) < 2 * 960
    assert np.array_equal(output.samples, ramp(len(output.samples)))


async def test_closing_waits_for_the_end_of_the_sound_but_no_longer_than_asked() -> None:
    finite, endless = MemoryOutput(), MemoryOutput()
    await finite.start(Ramp(until=4800))
    await endless.start(Ramp())
    began = time.monotonic()
    await finite.aclose(timeout=5)
    assert time.monotonic() - began < 1
    assert len(finite.samples) == 4800
    began = time.monotonic()
    await endless.aclose(timeout=0.1)
    assert 0.1 <= time.monotonic() - began < 1
    frames = len(endless.samples)
    await asyncio.sleep(0.05)
    assert len(endless.samples) == frames


async def test_a_cancelled_close_lets_go_at_once() -> None:
    before = asyncio.all_tasks()
    output = MemoryOutput()
    await output.start(Ramp())
    closing = asyncio.create_task(output.aclose(timeout=60))
    await asyncio.sleep(0.05)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_an_output_is_started_once_and_closed_as_often_as_one_likes() -> None:
    output = MemoryOutput()
    await output.aclose()
    await output.start(Ramp())
    output.changed()
    with pytest.raises(UsageError, match="started once"):
        await output.start(Ramp())
    await output.aclose()
    await output.aclose()


async def test_a_failing_render_is_silence_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    source, output = Ramp(), MemoryOutput(paced=False)
    await output.start(source)
    output.pull(480)
    source.broken = True
    for _ in range(3):
        assert not output.pull(480).any()
    source.broken = False
    output.pull(480)
    silence = np.zeros((3 * 480, 1), np.float32)
    assert np.array_equal(output.samples, np.concatenate([ramp(480), silence, ramp(960)[480:]]))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_a_source_that_gives_another_shape_is_silence_too() -> None:
    class Short(Ramp):
        def render(self, frames: int) -> Block:
            return super().render(frames - 1)

    output = MemoryOutput(paced=False)
    await output.start(Short())
    assert not output.pull(480).any()
    assert len(output.samples) == 480


async def test_an_output_of_ones_own_may_fail_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    class Flaky(PacedOutput):
        blocks = 0

        def _write(self, block: Block) -> None:
            self.blocks += 1
            raise OSError("no room")

        def _close(self) -> None:
            raise OSError("still no room")

    output = Flaky()
    await output.start(Ramp(until=4800))
    await output.aclose(timeout=5)
    assert output.blocks == 5
    assert [record.getMessage() for record in caplog.records] == [
        "Flaky cannot take the sound; goes on, said once",
        "Flaky could not be closed in order",
    ]


async def test_by_hand_nothing_is_rendered_but_what_is_asked_for() -> None:
    output = MemoryOutput(paced=False)
    assert output.samples.shape == (0, 1)
    with pytest.raises(UsageError, match="start the output"):
        output.pull(1)
    source = Ramp()
    await output.start(source)
    await asyncio.sleep(0.05)
    assert source.position == 0
    assert np.array_equal(output.pull(7), ramp(7))
    source.until = 9600
    began = time.monotonic()
    await output.aclose(timeout=0.1)  # in the sound's own time: not enough for the end
    assert source.position == 7 + 4800
    await output.aclose(timeout=60)
    assert source.position == 7 + 4800
    assert time.monotonic() - began < 0.1
    assert np.array_equal(output.samples, ramp(7 + 4800))


async def test_an_output_paced_by_the_clock_is_not_pulled_by_hand() -> None:
    with pytest.raises(UsageError, match="paced=False"):
        MemoryOutput().pull(1)


# --- the protocol, and speakers ---------------------------------------------------------------------------------------


def test_all_of_them_are_outputs(tmp_path: Path) -> None:
    for output in (MemoryOutput(), FileOutput(tmp_path / "x.wav"), SpeakersOutput(), RoomOutput(None)):
        assert isinstance(output, Output)


async def test_without_speakers_the_error_says_what_to_do() -> None:
    try:
        import sounddevice  # noqa: F401
    except OSError:
        advice = r"apt install libportaudio2.* choose another output"
    else:
        advice = r"python -m sounddevice.* choose another output"
    output = SpeakersOutput("no device of this name")
    await output.aclose()
    with pytest.raises(OutputError, match=advice):
        await output.start(Ramp())
    await output.aclose()
    await output.aclose()
