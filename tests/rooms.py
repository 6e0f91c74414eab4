"""A room and a session that need no server, what is heard of a track, and a folder with sounds in it, for players."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from livekit import rtc
from livekit.agents import NOT_GIVEN, AgentSession

from soundscape import RoomOutput
from soundscape.background_audio import BackgroundAudioPlayer
from soundscape.outputs.file import write_audio

RATE = 48_000


class Tap:
    """What a track sends, block by block, with the time each came."""

    def __init__(self) -> None:
        self.blocks: list[npt.NDArray[np.int16]] = []
        self.times: list[float] = []

    @property
    def heard(self) -> npt.NDArray[np.int16]:
        """From the first sound to the last."""
        samples = np.concatenate(self.blocks)
        sounding = np.flatnonzero(samples)
        return samples[sounding[0] : sounding[-1] + 1]


@contextlib.asynccontextmanager
async def tapped(output: RoomOutput) -> AsyncIterator[Tap]:
    assert output.track is not None
    stream, tap = rtc.AudioStream.from_track(track=output.track, sample_rate=RATE, num_channels=1), Tap()

    async def read() -> None:
        async for event in stream:
            tap.times.append(time.monotonic())
            tap.blocks.append(np.frombuffer(event.frame.data, np.int16))

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.1)
    try:
        yield tap
    finally:
        await asyncio.sleep(0.1)
        await stream.aclose()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def output_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "soundscape-output"]


async def until_no_thread_is_left() -> None:
    async with asyncio.timeout(2):
        while output_threads():
            await asyncio.sleep(0.01)


async def until_nothing_goes_on() -> None:
    """Neither on the output's thread nor in the background of this loop."""
    await until_no_thread_is_left()
    async with asyncio.timeout(2):
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)


class Room(rtc.EventEmitter[Any]):
    """A room that takes tracks and tells of its end; it fails, or takes its time, where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.local_participant = self
        self.track_publications: dict[str, Any] = {}
        self.connected = True
        self.delay = 0.0
        self.error: Exception | None = None
        self._count = 0

    def isconnected(self) -> bool:
        return self.connected

    async def publish_track(self, track: rtc.LocalAudioTrack, _: rtc.TrackPublishOptions) -> Any:
        await asyncio.sleep(self.delay)
        if self.error is not None:
            raise self.error
        self._count += 1
        publication = SimpleNamespace(sid=f"TR_{self._count}", name=track.name, track=track)
        self.track_publications[publication.sid] = publication
        return publication

    async def unpublish_track(self, sid: str) -> None:
        await asyncio.sleep(0)
        del self.track_publications[sid]

    def disconnect(self) -> None:
        self.connected = False
        self.track_publications.clear()
        self.emit("connection_state_changed", rtc.ConnectionState.CONN_DISCONNECTED)

    @property
    def room(self) -> rtc.Room:
        return cast(rtc.Room, self)


class Session(rtc.EventEmitter[Any]):
    """The states of an agent."""

    def becomes(self, *states: Any) -> None:
        for state in states:
            self.emit("agent_state_changed", SimpleNamespace(old_state="", new_state=state))

    @property
    def session(self) -> AgentSession[Any]:
        return cast(AgentSession[Any], self)


async def started(player: BackgroundAudioPlayer, session: Session | None = None) -> RoomOutput:
    """The output of a player in a room of its own, which is heard 100 ms later."""
    await player.start(room=Room().room, agent_session=NOT_GIVEN if session is None else session.session)
    assert player._run is not None
    assert isinstance(player._run.output, RoomOutput)
    await asyncio.sleep(0.2)
    return player._run.output


def exact(output: RoomOutput) -> bool:
    """Whether nothing was lost; else on a machine that is too busy, which says so."""
    return not (output.stats.gaps or output.stats.disagreements)


async def reaches(tap: Tap, level: float) -> None:
    """Waits until the track is at a level and stays there for 50 ms: on a busy machine an answer takes its time."""
    try:
        async with asyncio.timeout(5):
            while len(tap.blocks) < 5 or np.abs(np.concatenate(tap.blocks[-5:]) - 32_768 * level).max() > 32:
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"it is {tap.blocks[-1] / 32_768} and never was {level}") from None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with constants in it: what is heard is the sum of the gains."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"eighth": 0.125, "quarter": 0.25}.items():
        constant(name, value)
    return tmp_path


def constant(name: str, value: float, seconds: float = 1.0) -> None:
    write_audio(Path(f"{name}.wav"), [np.full((round(seconds * RATE), 1), value, np.float32)], RATE)


BUSY = ("the background answers late", "there was silence in the background's stead")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was complained of, but for the machine's being busy."""
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return [message for message in said if not message.startswith(BUSY)]
