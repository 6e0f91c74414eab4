"""Sound that an application makes as it goes. Pure ones at a frame a second: the frames are their own names."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from livekit import rtc
from livekit.agents import AgentSession
from rooms import tapped

from soundscape import MemoryOutput, RoomOutput, Scene, Soundscape, UsageError
from soundscape.background_audio import AudioConfig
from soundscape.clip import Clip
from soundscape.engine import Engine, Fact, Moment, Piece
from soundscape.plugin.streams import AHEAD

pytestmark = pytest.mark.long

QUARTER, HALF = 0.38268343236508984, 0.7071067811865476
"""sin(pi u / 2) at u = 1/4 and 1/2."""


class Stream:
    """A moment that is fed, on an engine in which nothing else sounds."""

    def __init__(self, **options: Any) -> None:
        self.engine = Engine(Scene.from_toml("defaults = { crossfade = 2, declick = 0 }"), {}, sample_rate=1)
        self.engine.post(Fact("agent", "listening"))
        self.engine.post(Fact("play", Moment(1, "a stream", None, **options)))
        self.pieces: dict[str, Clip] = {}

    def feed(self, *values: float) -> None:
        """The next piece; without values the end."""
        name = str(len(self.pieces))
        if values:
            self.pieces[name] = Clip(np.array(values, np.float32), 1, len(values), np.empty(0, np.float32))
        self.engine.post(Fact("feed", Piece(1, name, self.pieces, len(values))))

    def heard(self, frames: int) -> list[float]:
        return [round(float(value), 6) for value in self.engine.render(frames)[:, 0]]


def test_pieces_follow_each_other_to_the_frame() -> None:
    stream = Stream()
    stream.feed(1, 2)
    stream.feed(3)
    assert stream.heard(1) == [1]
    stream.feed(4, 5, 6)
    assert stream.heard(6) == [2, 3, 4, 5, 6, 0]


def test_a_piece_that_comes_too_late_is_heard_whole_after_a_pause() -> None:
    stream = Stream()
    stream.feed(1, 2)
    assert stream.heard(4) == [1, 2, 0, 0]
    stream.feed(3, 4)
    stream.feed(5)
    assert stream.heard(4) == [3, 4, 5, 0]


def test_it_is_over_where_the_last_piece_ends() -> None:
    stream = Stream()
    assert stream.heard(2) == [0, 0]
    assert stream.engine.moment_ends(1) == math.inf
    stream.feed(1, 2, 3)
    stream.feed()
    stream.feed(9)
    assert stream.heard(2) == [1, 2]
    assert stream.engine.moment_ends(1) == 5
    assert stream.engine.moment_fed(1) == (5, 3)
    assert stream.heard(3) == [3, 0, 0]
    assert stream.engine.moment_fed(1) is None


def test_that_no_more_comes_may_be_said_after_the_end() -> None:
    stream = Stream()
    stream.feed(1, 2)
    stream.heard(6)
    stream.feed()
    stream.heard(1)
    assert stream.engine.moment_ends(1) == 2
    assert stream.engine.silent_until == math.inf


def test_one_fade_in_spans_all_pieces_and_so_does_the_fade_out() -> None:
    stream = Stream(fade_in=4, fade_out=4)
    stream.feed(1)
    stream.feed(1, 1, 1)
    for _ in range(9):
        stream.feed(1)
    assert stream.heard(5) == pytest.approx([0, QUARTER, HALF, math.cos(math.pi / 8), 1], abs=1e-6)
    stream.engine.post(Fact("stop", 1))
    assert stream.heard(5) == pytest.approx([1, math.cos(math.pi / 8), HALF, QUARTER, 0], abs=1e-6)
    assert stream.engine.moment_ends(1) == 9


def test_the_fade_of_the_close_goes_on_through_what_comes_meanwhile() -> None:
    stream = Stream()
    stream.feed(1, 1)
    assert stream.heard(1) == [1]
    stream.engine.post(Fact("close"))
    stream.feed(1, 1)
    assert stream.heard(3) == pytest.approx([1, HALF, 0], abs=1e-6)
    assert stream.engine.finished


def test_one_that_is_stopped_before_its_first_piece_is_not_heard() -> None:
    stream = Stream()
    stream.engine.post(Fact("stop", 1))
    stream.feed(1, 2)
    assert stream.heard(3) == [0, 0, 0]
    assert stream.engine.moment_ends(1) == 0


# --- iterators ------------------------------------------------------------------------------------------------------


def ramp(frames: int) -> npt.NDArray[np.int16]:
    """1, 2, 3, ... and no 0, too quiet for the ceiling: every sample tells its place among 8,000."""
    return (np.arange(frames) % 8_000 + 1).astype(np.int16)


def blocks(samples: npt.NDArray[np.int16], size: int, rate: int = 48_000) -> list[rtc.AudioFrame]:
    """Blocks of so many frames; samples are `(frames,)` or `(frames, channels)`."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    cut = [samples[at : at + size] for at in range(0, len(samples), size)]
    return [rtc.AudioFrame(part.tobytes(), rate, channels, len(part)) for part in cut]


class Made:
    """An iterator, what it was asked, and whether it was closed."""

    def __init__(self, given: list[rtc.AudioFrame], *, pause: float = 0.0, fails: bool = False) -> None:
        self.given = given
        self.pause = pause
        self.fails = fails
        self.asked = 0
        self.closed = False
        self.tasks: set[Any] = set()

    async def frames(self) -> AsyncGenerator[rtc.AudioFrame, None]:
        try:
            for block in self.given:
                self.asked += 1
                self.tasks.add(asyncio.current_task())
                if self.pause:
                    await asyncio.sleep(self.pause)
                yield block
            self.asked += 1
            if self.fails:
                raise ValueError("out of sound")
        finally:
            self.closed = True


async def attached(output: Any) -> Soundscape:
    call = Soundscape(Scene.from_toml(""), seed=1, output=output).attach(AgentSession())
    async with asyncio.timeout(10):
        while call._run.output is None:
            await asyncio.sleep(0.001)
    return call


async def pulled(output: MemoryOutput, until: Any, step: int = 480) -> None:
    """As fast as the loop turns, until something is true."""
    async with asyncio.timeout(20):
        while not until():
            output.pull(step)
            await asyncio.sleep(0.001)


def sounding(output: MemoryOutput) -> npt.NDArray[np.int16]:
    samples: npt.NDArray[np.int16] = np.rint(output.samples[:, 0] * 32768).astype(np.int16)
    return samples[np.flatnonzero(samples)]


@pytest.mark.parametrize("size", [1, 441, 480, 48_000])
async def test_every_frame_is_heard_once_whatever_the_blocks(size: int) -> None:
    output = MemoryOutput(paced=False)
    call = await attached(output)
    made = Made(blocks(ramp(6_000 if size == 1 else 100_000), size))
    handle = call.play(made.frames())
    await pulled(output, handle.done)
    assert (sounding(output) == ramp(len(sounding(output)))).all()
    assert len(sounding(output)) == sum(block.samples_per_channel for block in made.given)
    assert made.closed
    await call.aclose()


async def test_it_is_asked_on_the_loop_by_one_task_once_past_its_end_and_no_earlier_than_needed() -> None:
    output = MemoryOutput(paced=False)
    call = await attached(output)
    made = Made(blocks(ramp(240_000), 480))
    await asyncio.sleep(0.1)
    assert made.asked == 0
    handle = call.play(made.frames())
    await asyncio.sleep(0.2)
    assert AHEAD * 100 <= made.asked <= AHEAD * 100 + 2
    await pulled(output, handle.done)
    assert made.asked == len(made.given) + 1
    assert len(made.tasks) == 1
    await call.aclose()


async def test_one_that_is_as_fast_as_its_sound_has_no_pause() -> None:
    """In a room, in real time: half a second has been rendered as silence already when a block comes."""
    output = RoomOutput(None)
    call = await attached(output)
    async with tapped(output) as tap:
        made = Made(blocks(ramp(72_000), 960), pause=0.018)
        async with asyncio.timeout(20):
            await call.play(made.frames())
        await asyncio.sleep(0.1)
    heard = np.concatenate(tap.blocks)
    first, last = np.flatnonzero(heard)[[0, -1]]
    exact = not (output.stats.gaps or output.stats.disagreements or output.stats.fallbacks)
    assert not exact or (heard[first : last + 1] == ramp(72_000)).all()
    await call.aclose()


async def test_a_slow_one_pauses_loses_nothing_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    output = MemoryOutput()
    call = await attached(output)
    handle = call.play(Made(blocks(ramp(48_000), 4_800), pause=0.3).frames())
    async with asyncio.timeout(20):
        await handle
    assert (sounding(output) == ramp(48_000)).all()
    said = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert [message for message in said if "too slowly" in message] == said
    assert len(said) == 1
    await call.aclose()


@pytest.mark.parametrize(("rate", "channels"), [(24_000, 1), (44_100, 1), (16_000, 2), (48_000, 2), (48_000, 1)])
async def test_any_rate_and_number_of_channels_sounds_as_high_and_as_loud(rate: int, channels: int) -> None:
    tone = np.rint(10_000 * np.sin(2 * np.pi * 1_000 * np.arange(rate) / rate)).astype(np.int16)
    output = MemoryOutput(paced=False)
    call = await attached(output)
    handle = call.play(Made(blocks(np.repeat(tone[:, np.newaxis], channels, 1), rate // 50, rate)).frames())
    await pulled(output, handle.done)
    heard = output.samples[:, 0]
    first, last = np.flatnonzero(heard)[[0, -1]]
    assert abs(last - first - 48_000) <= 96
    spectrum = np.abs(np.fft.rfft(heard[first + 4_800 : first + 43_200] * np.hanning(38_400)))
    assert np.argmax(spectrum) == 800
    assert 4 * spectrum.max() / 38_400 == pytest.approx(10_000 / 32_768, rel=0.01)
    await call.aclose()


async def test_one_that_raises_ends_there_and_the_log_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    output = MemoryOutput(paced=False)
    call = await attached(output)
    handle = call.play(Made(blocks(ramp(9_600), 480), fails=True).frames())
    await pulled(output, handle.done)
    await handle
    assert (sounding(output) == ramp(9_600)).all()
    (said,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert "out of sound" in str(said.exc_info)
    await call.aclose()


async def test_one_that_gives_something_else_ends_there(caplog: pytest.LogCaptureFixture) -> None:
    async def odd() -> AsyncIterator[Any]:
        yield rtc.AudioFrame(ramp(480).tobytes(), 48_000, 1, 480)
        yield b"sound"

    output = MemoryOutput(paced=False)
    call = await attached(output)
    handle = call.play(odd())
    await pulled(output, handle.done)
    assert len(sounding(output)) == 480
    assert "gives rtc.AudioFrame, not b'sound'" in caplog.text
    await call.aclose()


async def test_one_without_a_block_is_done_at_its_end() -> None:
    output = MemoryOutput(paced=False)
    call = await attached(output)
    handle = call.play(Made([]).frames())
    await pulled(output, handle.done)
    assert not output.samples.any()
    await call.aclose()


@pytest.mark.parametrize("when", ["before", "never", "sounding"])
async def test_stopping_closes_the_generator_and_nothing_more_is_heard(when: str) -> None:
    async def never() -> AsyncGenerator[rtc.AudioFrame, None]:
        try:
            await asyncio.Event().wait()
            yield blocks(ramp(480), 480)[0]
        finally:
            made.closed = True

    output = MemoryOutput(paced=False)
    call = await attached(output)
    made = Made(blocks(ramp(480_000), 480))
    handle = call.play(never() if when == "never" else made.frames())
    if when != "before":
        await asyncio.sleep(0.1)
        output.pull(4_800)
    handle.stop()
    assert handle.done()
    output.pull(480)
    assert not output.pull(48_000).any()
    async with asyncio.timeout(5):
        while not made.closed and made.asked:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert not [task for task in asyncio.all_tasks() if task.get_name() in ("soundscape-play", "soundscape-stream")]
    await call.aclose()


async def test_a_stop_with_a_fade_out_is_fed_until_it_was_heard() -> None:
    output = MemoryOutput(paced=False)
    call = await attached(output)
    made = Made(blocks(np.full(480_000, 8_192, np.int16), 480))
    handle = call.play(AudioConfig(made.frames(), fade_out=1.5))
    await asyncio.sleep(0.1)
    output.pull(9_600)
    handle.stop()
    assert not handle.done()
    begun = len(output.samples)
    await pulled(output, handle.done)
    tail = output.samples[begun : begun + 71_900, 0]
    assert (tail > 0).all()
    assert np.diff(tail[100:]).max() <= 0
    assert made.closed
    await call.aclose()


async def test_an_iterator_that_is_no_generator_is_left_as_it_is() -> None:
    """Somebody else may go on with it."""

    class Endless:
        closed = False

        def __aiter__(self) -> Endless:
            return self

        async def __anext__(self) -> rtc.AudioFrame:
            return blocks(ramp(480), 480)[0]

        async def aclose(self) -> None:
            self.closed = True

    output = MemoryOutput(paced=False)
    call = await attached(output)
    made = Endless()
    handle = call.play(made)
    await asyncio.sleep(0.1)
    assert output.pull(480).any()
    handle.stop()
    await call.aclose()
    assert not made.closed


async def test_the_close_ends_it_and_leaves_no_task() -> None:
    tasks = asyncio.all_tasks()
    output = MemoryOutput()
    call = await attached(output)
    made = Made(blocks(ramp(480_000), 480), pause=0.005)
    handle = call.play(made.frames())
    await asyncio.sleep(0.5)
    await call.aclose()
    assert handle.done()
    assert made.closed
    assert asyncio.all_tasks() == tasks


class Ahead(MemoryOutput):
    """Pulled by hand, and heard later."""

    at = 0

    @property
    def heard(self) -> int:
        return self.at


async def test_what_was_rendered_too_late_and_taken_back_leaves_no_hole() -> None:
    """Where it was rendered first it ends 28,320 frames further on than where it is heard."""
    output = Ahead(paced=False)
    call = await attached(output)
    output.pull(28_800)
    handle = call.play(Made(blocks(ramp(480_000), 480)).frames())
    await asyncio.sleep(0.1)
    output.pull(4_800)
    await asyncio.sleep(0.1)
    call.engine.take_back(480)
    output.pull(28_800)
    output.at = 20_000
    await asyncio.sleep(0.2)
    output.pull(480)
    fed = call.engine.moment_fed(1)
    assert fed is not None
    assert fed[0] > output.at + 0.6 * 48_000
    handle.stop()
    await call.aclose()


def held() -> int:
    """Frames of all clips in the process."""
    return sum(found.length for found in gc.get_objects() if isinstance(found, Clip))


async def test_what_it_gave_is_let_go_of_once_it_was_heard() -> None:
    """Of two minutes some seconds are kept: those that are looked at every 20 ms, here at 200 times the speed."""
    output = MemoryOutput(paced=False)
    call = await attached(output)

    async def long() -> AsyncIterator[rtc.AudioFrame]:
        block = blocks(ramp(48_000), 48_000)[0]
        for _ in range(120):
            yield block

    before = held()
    handle = call.play(long())
    pulls, most = 0, 0
    async with asyncio.timeout(30):
        while not handle.done():
            output.pull(9_600)
            await asyncio.sleep(0.001)
            pulls += 1
            if pulls % 50 == 0:
                most = max(most, held() - before)
    assert 0 < most <= 15 * 48_000
    await call.aclose()


async def test_it_cannot_go_round() -> None:
    call = await attached(MemoryOutput(paced=False))
    made = Made([])
    frames = made.frames()
    with pytest.raises(UsageError, match="cannot be looped"):
        call.play(frames, loop=True)
    await frames.aclose()
    await call.aclose()


async def test_a_recording_leaves_it_out(tmp_path: Path) -> None:
    from soundscape.testing import replay

    scene = tmp_path / "quiet.toml"
    scene.write_text("")
    output = MemoryOutput(paced=False)
    call = Soundscape.from_file(scene, output=output, record=tmp_path / "call.jsonl").attach(AgentSession())
    while call._run.output is None:
        await asyncio.sleep(0.001)
    handle = call.play(Made(blocks(ramp(4_800), 480)).frames())
    await pulled(output, handle.done)
    await call.aclose()
    assert "feed" not in (tmp_path / "call.jsonl").read_text()
    assert not replay(scene, tmp_path / "call.jsonl").audio().any()
