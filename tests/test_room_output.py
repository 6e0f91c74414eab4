"""The room's output, at the published track: real sources and tracks, read back without a server.

What is said of a room itself is tried on a stand-in that answers late, never, or with an error: no server is needed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from livekit import rtc
from rooms import output_threads, tapped, until_no_thread_is_left, until_nothing_goes_on, warnings
from sources import OneWay

from soundscape.clip import Clip
from soundscape.engine import Engine, Fact
from soundscape.exceptions import OutputError, UsageError
from soundscape.loader import Scene
from soundscape.outputs import to_int16
from soundscape.outputs.room import NativeQueue, RoomOutput

pytestmark = pytest.mark.long

RATE = 48_000
PERIOD = 480 * 68  # in blocks of the native source, so that a value tells its place in the block


class Ramp(OneWay):
    """Silence until `go`; from then on 1, 2, 3 ... (of 32768, 1 again after 32640), and silence after `length`."""

    def __init__(self, length: int | None = None, *, go: bool = False) -> None:
        self.position = 0
        self.length = length
        self.go = go
        self.broken = False
        self.threads: set[str] = set()
        self._sounded = 0

    @property
    def finished(self) -> bool:
        return self.length is not None and self._sounded >= self.length

    def render(self, frames: int) -> npt.NDArray[np.float32]:
        self.threads.add(threading.current_thread().name)
        self.position += frames
        if self.broken:
            raise ValueError("broken")
        if not self.go:
            return np.zeros((frames, 1), np.float32)
        self._sounded += frames
        sound = ramp(self._sounded)[-frames:, np.newaxis]
        if self.length is not None:
            sound[max(0, frames - (self._sounded - self.length)) :] = 0
        return (sound / 32768).astype(np.float32)


def ramp(frames: int) -> npt.NDArray[np.int64]:
    return np.arange(frames) % PERIOD + 1


# --- the sound --------------------------------------------------------------------------------------------------------


async def test_every_frame_arrives_once_and_in_order_and_closing_waits_for_the_last() -> None:
    source, output = Ramp(96_480), RoomOutput(None)
    await output.start(source)
    async with tapped(output) as tap:
        source.go = True
        await output.aclose(timeout=10)
    assert np.array_equal(tap.heard, ramp(96_480))
    assert all(len(block) == 480 for block in tap.blocks)
    assert all(block[0] % 480 == 1 and block.all() for block in tap.blocks if block.any())
    assert output.stats.captured >= 96_480
    assert source.threads == {"soundscape-output"}


async def test_a_blocked_event_loop_leaves_no_gap() -> None:
    source, output = Ramp(48_960, go=False), RoomOutput(None)
    await output.start(source)
    async with tapped(output) as tap:
        source.go = True
        await asyncio.sleep(0.2)
        time.sleep(0.4)  # noqa: ASYNC251 - a busy session
        await output.aclose(timeout=10)
    assert np.array_equal(tap.heard, ramp(48_960))


async def test_changes_are_heard_at_once_and_to_the_bit_what_the_scene_makes_of_them() -> None:
    """Half a second is rendered ahead: what is not heard yet is taken back, and not a frame is lost or heard twice."""
    text = "[base]\nsource = 'bed'\n[states.thinking]\nsource = 'typing'\n[defaults]\ncrossfade = 0.1\n"
    clips = {
        name: Clip.from_samples(np.random.default_rng(seed).normal(0, 0.05, 100_000).astype(np.float32), RATE)
        for seed, name in enumerate(("bed", "typing"))
    }
    engine, again = (Engine(Scene.from_toml(text), clips, sample_rate=RATE) for _ in range(2))
    engine.post(Fact("agent", "listening"))
    output = RoomOutput(None)
    await output.start(engine)
    async with tapped(output) as tap:
        for n in range(12):
            await asyncio.sleep(0.1 + 0.0137 * n)
            engine.post(Fact("agent", ("thinking", "listening")[n % 2]))
            output.changed()
        await asyncio.sleep(0.2)
        engine.post(Fact("close"))
        output.changed()
        await output.aclose(timeout=5)
    for frame, fact in engine.facts:
        again.post(fact, frame)
    sound = to_int16(again.render(engine.position))[:, 0]
    heard = np.concatenate(tap.blocks)
    first = int(np.flatnonzero(heard)[0])
    offset = next(n for n in np.flatnonzero(sound == heard[first]) if (sound[n:][:480] == heard[first:][:480]).all())
    heard = heard[first:][: len(sound) - offset]
    lost = output.stats.gaps + output.stats.disagreements  # on a machine that is too busy: it says so
    assert lost or np.array_equal(heard, sound[offset:][: len(heard)])
    assert output.stats.changes == 13
    latency = output.stats.latency()
    assert latency is not None
    assert latency < 0.1  # some 10 ms as measured; the rest is for a busy machine


async def test_a_failing_render_is_silence_for_its_blocks_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    source, output = Ramp(90_000, go=True), RoomOutput(None)
    await output.start(source)
    async with tapped(output) as tap:
        source.broken = True
        await asyncio.sleep(0.6)
        source.broken = False
        await output.aclose(timeout=10)
    heard = tap.heard
    assert np.array_equal(heard[heard != 0], ramp(90_000)[-np.count_nonzero(heard) :])
    assert np.count_nonzero(heard == 0) > 4_800
    assert len(warnings(caplog)) == 1
    assert [record.levelno for record in caplog.records if record.levelno > logging.WARNING] == [logging.ERROR]
    assert output.stats.render_failures > 1


# --- faults of the track ----------------------------------------------------------------------------------------------


async def test_a_failed_capture_is_tried_again_and_nothing_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(NativeQueue):
        to_fail = 0

        async def capture(self, samples: npt.NDArray[np.int16]) -> None:
            if Failing.to_fail:
                Failing.to_fail -= 1
                raise RuntimeError("InvalidState - failed to capture frame")
            await super().capture(samples)

    class Flaky(RoomOutput):
        queue_type = Failing

    source, output = Ramp(60_000), Flaky(None)
    await output.start(source)
    async with tapped(output) as tap:
        source.go = True
        for _ in range(2):
            Failing.to_fail = 2
            await asyncio.sleep(0.6)
        await output.aclose(timeout=10)
    heard = tap.heard
    assert np.array_equal(heard[heard != 0], ramp(60_000))
    assert output.stats.failures == 4
    assert [message.split(";")[0] for message in warnings(caplog)] == [
        "the room does not take the background",
        "the room takes the background again",
    ]


async def test_a_source_closed_underneath_is_not_pumped_faster_than_time() -> None:
    class Closing(NativeQueue):
        async def capture(self, samples: npt.NDArray[np.int16]) -> None:
            await self.source.aclose()
            await super().capture(samples)  # returns at once, without yielding

    class Closed(RoomOutput):
        queue_type = Closing

    source, output = Ramp(), Closed(None)
    began = time.monotonic()
    await output.start(source)
    await asyncio.sleep(1)
    await output.aclose(timeout=0.1)
    # Ahead by no more than the queue, and as much again by which it was found to take everything; twice.
    assert 0.9 * RATE < source.position < (time.monotonic() - began + 2.4) * RATE
    assert not output_threads()


# --- the beginning and the end ----------------------------------------------------------------------------------------


async def test_the_first_output_starts_the_thread_and_the_last_one_ends_it() -> None:
    assert not output_threads()
    one, other = RoomOutput(None), RoomOutput(None)
    assert not output_threads()
    await one.start(Ramp())
    await other.start(Ramp())
    assert len(output_threads()) == 1
    await one.aclose()
    assert len(output_threads()) == 1
    await other.aclose()
    assert not output_threads()


async def test_an_output_is_started_once_and_closed_as_often_as_one_likes() -> None:
    output = RoomOutput(None)
    await output.aclose(timeout=1)
    assert output.track is None
    await output.start(Ramp())
    assert output.track is not None
    assert output.publication is None
    with pytest.raises(UsageError, match="started once"):
        await output.start(Ramp())
    await asyncio.gather(output.aclose(), output.aclose())
    await output.aclose()
    with pytest.raises(UsageError, match="started once"):
        await output.start(Ramp())
    assert not output_threads()


async def test_closing_is_bounded() -> None:
    output = RoomOutput(None)
    await output.start(Ramp())
    began = time.monotonic()
    await output.aclose(timeout=0.2)
    assert 0.2 <= time.monotonic() - began < 1
    assert not output_threads()


async def test_a_cancelled_close_lets_go_at_once() -> None:
    before = asyncio.all_tasks()
    output = RoomOutput(None)
    await output.start(Ramp())
    closing = asyncio.create_task(output.aclose(timeout=60))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert time.monotonic() - began < 0.1
    await until_no_thread_is_left()
    assert asyncio.all_tasks() == before


async def test_the_queue_is_empty_when_its_source_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not may corrupt the heap: LiveKit's clock still takes frames out of it."""
    done = []

    class Noted(rtc.AudioSource):
        async def capture_frame(self, frame: rtc.AudioFrame) -> None:
            done.append("capture")
            await super().capture_frame(frame)

        def clear_queue(self) -> None:
            super().clear_queue()
            done.append("clear")

        async def aclose(self) -> None:
            done.append("close")
            await super().aclose()

    monkeypatch.setattr(rtc, "AudioSource", Noted)
    for wait in (0.0, 0.1):
        output = RoomOutput(None)
        await output.start(Ramp())
        await asyncio.sleep(wait)
        await output.aclose()
        assert done[-2:] == ["clear", "close"]
    assert "capture" in done


async def test_twenty_rounds_leave_nothing_behind() -> None:
    if not os.path.exists("/proc/self/fd"):  # noqa: ASYNC240 - nothing there that could block
        pytest.skip("counts open descriptors in /proc")

    async def one_round() -> int:
        output = RoomOutput(None)
        await output.start(Ramp())
        await asyncio.sleep(0.02)
        await output.aclose()
        return len(os.listdir("/proc/self/fd"))

    await one_round()  # the native library opens its own, once
    opened = await one_round()
    tasks = asyncio.all_tasks()
    for _ in range(20):
        opened_now = await one_round()
    assert opened_now == opened
    assert not output_threads()
    assert asyncio.all_tasks() == tasks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_may_be_forked_before_its_first_call_and_end_without_closing() -> None:
    script = textwrap.dedent(
        """
            import asyncio, os, sys
            import numpy as np
            from soundscape.outputs.room import RoomOutput

            class Silence:
                sample_rate, num_channels, position, finished = 48_000, 1, 0, False

                @property
                def silent_until(self):
                    return self.position

                def keep(self):
                    pass

                def render(self, frames):
                    self.position += frames
                    return np.zeros((frames, 1), np.float32)

            async def call():
                source = Silence()
                await RoomOutput(None).start(source)
                await asyncio.sleep(0.2)
                assert source.position > 4800

            child = os.fork()
            asyncio.run(call())
            if child:
                assert os.waitpid(child, 0)[1] == 0
            """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20)
    # The native library may say that a capture was under way; nothing of ours is to be seen.
    assert "Traceback" not in done.stderr
    assert (done.returncode, done.stdout) == (0, "")


# --- the room ---------------------------------------------------------------------------------------------------------


class StandIn:
    """A room that takes tracks, and hangs or fails where it is told to."""

    def __init__(self) -> None:
        self.local_participant = self
        self.track_publications: dict[str, SimpleNamespace] = {}
        self.connected = True
        self.hangs: set[str] = set()
        self.delay = 0.0
        self.error: Exception | None = None
        self.options: rtc.TrackPublishOptions | None = None

    @property
    def room(self) -> rtc.Room:
        return cast(rtc.Room, self)

    def isconnected(self) -> bool:
        return self.connected

    async def publish_track(self, track: rtc.LocalAudioTrack, options: rtc.TrackPublishOptions) -> SimpleNamespace:
        await asyncio.sleep(3600 if "publish" in self.hangs else self.delay)
        if self.error is not None:
            raise self.error
        self.options = options
        publication = self.track_publications["TR_1"] = SimpleNamespace(sid="TR_1", name=track.name)
        return publication

    async def unpublish_track(self, sid: str) -> None:
        await asyncio.sleep(3600 if "unpublish" in self.hangs else 0)
        del self.track_publications[sid]

    def reconnect(self) -> None:
        publication = self.track_publications.pop("TR_1")
        publication.sid = "TR_2"
        self.track_publications["TR_2"] = publication


async def test_the_track_is_published_for_music_and_never_as_a_microphone() -> None:
    room = StandIn()
    output = RoomOutput(room.room)
    await output.start(Ramp())
    assert output.publication is not None
    assert output.publication.name == "background_audio"
    assert room.options is not None
    assert room.options.HasField("dtx")
    assert not room.options.dtx
    assert room.options.audio_encoding.max_bitrate == 48_000
    assert room.options.source != rtc.TrackSource.SOURCE_MICROPHONE
    await output.aclose()
    assert output.publication is None


async def test_options_and_name_are_the_callers_to_choose() -> None:
    room = StandIn()
    options = rtc.TrackPublishOptions(dtx=True, source=rtc.TrackSource.SOURCE_SCREENSHARE_AUDIO)
    output = RoomOutput(room.room, track_name="rain", options=options)
    await output.start(Ramp())
    assert output.publication is not None
    assert output.publication.name == "rain"
    assert room.options == options
    await output.aclose()


def test_what_would_pass_for_the_voice_is_refused() -> None:
    with pytest.raises(UsageError, match="SOURCE_MICROPHONE"):
        RoomOutput(None, options=rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE))


async def test_a_track_that_has_another_sid_since_a_reconnect_is_taken_back_all_the_same() -> None:
    room = StandIn()
    output = RoomOutput(room.room)
    await output.start(Ramp())
    room.reconnect()
    assert output.publication is not None
    assert output.publication.sid == "TR_2"
    await output.aclose()
    assert room.track_publications == {}


async def test_a_room_that_never_answers_does_not_hold_up_the_end() -> None:
    room = StandIn()
    room.hangs.add("unpublish")
    output = RoomOutput(room.room)
    await output.start(Ramp())
    began = time.monotonic()
    await output.aclose()
    assert 0.9 < time.monotonic() - began < 2
    assert not output_threads()


async def test_a_room_that_was_left_needs_no_answer() -> None:
    room = StandIn()
    room.hangs.add("unpublish")
    output = RoomOutput(room.room)
    await output.start(Ramp())
    room.connected = False
    began = time.monotonic()
    await output.aclose()
    assert time.monotonic() - began < 0.5
    assert not output_threads()


async def test_a_cancelled_close_takes_the_track_back_in_the_background() -> None:
    room = StandIn()
    output = RoomOutput(room.room)
    await output.start(Ramp())
    closing = asyncio.create_task(output.aclose(timeout=60))
    await asyncio.sleep(0.05)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await until_nothing_goes_on()
    assert room.track_publications == {}


@pytest.mark.parametrize("turns", range(8))
async def test_a_start_that_is_given_up_leaves_no_track(turns: int) -> None:
    """Whenever that is: before, while or after the room answers."""
    room = StandIn()
    output = RoomOutput(room.room)
    starting = asyncio.create_task(output.start(Ramp()))
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    if not starting.cancelled():
        await output.aclose()
    await until_nothing_goes_on()
    assert room.track_publications == {}


async def test_a_room_that_refuses_is_an_output_error_and_may_be_tried_again() -> None:
    room = StandIn()
    output = RoomOutput(room.room)
    room.connected = False
    with pytest.raises(OutputError, match="not connected"):
        await output.start(Ramp())
    room.connected, room.error = True, RuntimeError("insufficient permissions")
    with pytest.raises(OutputError, match="insufficient permissions"):
        await output.start(Ramp())
    assert output.track is None
    await until_no_thread_is_left()
    room.error = None
    await output.start(Ramp())
    assert output.publication is not None
    await output.aclose()
    assert not output_threads()


class Unconnected(StandIn):
    """Has no participant until it is connected."""

    @property
    def local_participant(self) -> Any:
        if not self.connected:
            raise RuntimeError("cannot access local participant before connecting")
        return self

    @local_participant.setter
    def local_participant(self, _: Any) -> None: ...


async def test_a_room_that_is_about_to_be_connected_is_waited_for() -> None:
    room = Unconnected()
    room.connected = False
    output = RoomOutput(room.room)
    starting = asyncio.create_task(output.start(Ramp()))
    await asyncio.sleep(0.1)
    assert not starting.done()
    room.connected = True
    await starting
    assert output.publication is not None
    await output.aclose()
    await until_no_thread_is_left()


async def test_a_close_before_the_room_is_connected_ends_the_start() -> None:
    room = Unconnected()
    room.connected = False
    output = RoomOutput(room.room)
    starting = asyncio.create_task(output.start(Ramp()))
    await asyncio.sleep(0.05)
    await output.aclose()
    await starting
    assert room.track_publications == {}
    await until_no_thread_is_left()


async def test_a_room_that_was_never_connected_is_an_output_error() -> None:
    with pytest.raises(OutputError, match="not connected"):
        await RoomOutput(rtc.Room()).start(Ramp())
    await until_no_thread_is_left()


async def test_a_cancelled_start_leaves_no_publication() -> None:
    room = StandIn()
    room.delay = 0.1
    output = RoomOutput(room.room)
    starting = asyncio.create_task(output.start(Ramp()))
    await asyncio.sleep(0.05)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await asyncio.sleep(0.2)
    assert room.track_publications == {}
    await until_no_thread_is_left()


async def test_a_close_while_it_starts_leaves_no_publication() -> None:
    room = StandIn()
    room.delay = 0.1
    output = RoomOutput(room.room)
    starting = asyncio.create_task(output.start(Ramp()))
    await asyncio.sleep(0.05)
    await output.aclose()
    await starting
    assert room.track_publications == {}
    assert not output_threads()
