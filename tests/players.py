"""What the tests of background players are written with: a room that stands in for one, and a tap on its track.

The module under test is the fixture `api`: `soundscape.background_audio`, or LiveKit's own with `--livekit-player`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from livekit import rtc
from livekit.agents import AgentSession, AgentStateChangedEvent

__all__ = [
    "RATE",
    "Frames",
    "Room",
    "Tap",
    "begins",
    "frames",
    "heard",
    "level",
    "noise",
    "playing",
    "rms",
    "soon",
    "tapped",
    "tell",
    "tone",
    "write_wav",
]

RATE = 48_000

Samples = npt.NDArray[np.int16]

# --- sounds ---------------------------------------------------------------------------------------------------------


def tone(hertz: float, seconds: float, amplitude: float = 0.25, rate: int = RATE) -> Samples:
    """A cosine, so that its first sample is heard."""
    return np.round(amplitude * 32768 * np.cos(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(
        np.int16
    )


def noise(seconds: float, amplitude: float = 0.25) -> Samples:
    """No piece of it is like another; no sample of it is silent."""
    peak = round(amplitude * 32768)
    values = np.random.default_rng(7).integers(1, peak, round(seconds * RATE))
    return (values * np.where(np.arange(len(values)) % 2, 1, -1)).astype(np.int16)


def write_wav(path: Path, samples: Samples, rate: int = RATE) -> str:
    """Writes `(frames,)` or `(frames, channels)`, and gives the path as the players take it."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return str(path)


def frames(samples: Samples, rate: int = RATE, seconds: float = 0.02) -> Iterator[rtc.AudioFrame]:
    """The blocks of a sound, `(frames,)` or `(frames, channels)`."""
    length = round(seconds * rate)
    for start in range(0, len(samples), length):
        block = samples[start : start + length]
        yield rtc.AudioFrame(block.tobytes(), rate, 1 if block.ndim == 1 else block.shape[1], len(block))


class Frames:
    """An iterator that counts how often it is asked, and remembers on which loops."""

    def __init__(self, samples: Samples, rate: int = RATE) -> None:
        self._frames = frames(samples, rate)
        self.asked = 0
        self.loops: set[asyncio.AbstractEventLoop] = set()

    def __aiter__(self) -> Frames:
        return self

    async def __anext__(self) -> rtc.AudioFrame:
        self.asked += 1
        self.loops.add(asyncio.get_running_loop())
        with contextlib.suppress(StopIteration):
            return next(self._frames)
        raise StopAsyncIteration


# --- the room -------------------------------------------------------------------------------------------------------


class Room:
    """Takes tracks, and fails or never answers where it is told to.

    Attributes:
        track: the last one that was published.
        error: what publishing raises.
        deaf: whether unpublishing is never answered.
    """

    def __init__(self) -> None:
        self.track: rtc.LocalAudioTrack | None = None
        self.track_publications: dict[str, SimpleNamespace] = {}
        self.error: Exception | None = None
        self.deaf = False

    @property
    def room(self) -> rtc.Room:
        return cast(rtc.Room, self)

    @property
    def local_participant(self) -> Room:
        return self

    def isconnected(self) -> bool:
        return True

    async def publish_track(self, track: rtc.LocalAudioTrack, options: rtc.TrackPublishOptions) -> SimpleNamespace:
        if self.error is not None:
            raise self.error
        self.track = track
        sid = f"TR_{len(self.track_publications)}"
        publication = self.track_publications[sid] = SimpleNamespace(sid=sid, name=track.name, track=track)
        return publication

    async def unpublish_track(self, sid: str) -> None:
        if self.deaf:
            await asyncio.Event().wait()
        self.track = self.track_publications.pop(sid).track and None

    def reconnect(self) -> None:
        """Publishes what was published again, as the SDK does: under new SIDs."""
        self.track_publications = {f"{sid}_again": was for sid, was in self.track_publications.items()}
        for sid, publication in self.track_publications.items():
            publication.sid = sid


def tell(session: AgentSession[Any], state: str, before: str = "listening") -> None:
    """Tells what the host tells when its agent's state changes."""
    event = AgentStateChangedEvent(old_state=before, new_state=state)  # type: ignore[arg-type]
    session.emit("agent_state_changed", event)


# --- what is heard --------------------------------------------------------------------------------------------------


class Tap:
    """What a track sends, 10 ms by 10 ms, with the time each came."""

    def __init__(self) -> None:
        self.blocks: list[Samples] = []
        self.times: list[float] = []

    @property
    def samples(self) -> Samples:
        """All of it."""
        return np.concatenate(self.blocks) if self.blocks else np.zeros(0, np.int16)

    def last(self, seconds: float) -> Samples:
        """What came last."""
        return self.samples[-round(seconds * RATE) :]

    async def since(self, began: float, heard: Callable[[Samples], bool], within: float = 1.5) -> float:
        """Seconds from a time (`time.monotonic`) to the first block of which something is so; infinite if none is."""
        while time.monotonic() < began + within:
            for block, at in zip(self.blocks, self.times, strict=True):
                if at >= began and heard(block):
                    return at - began
            await asyncio.sleep(0.005)
        return float("inf")

    async def sounds(self, within: float = 3.0) -> None:
        """Waits for sound."""
        assert await soon(lambda: any(block.any() for block in self.blocks), within), "nothing is heard"

    async def falls_silent(self, within: float = 5.0) -> None:
        """Waits until nothing was heard for 0.25 s."""
        assert await soon(lambda: len(self.blocks) > 25 and not self.last(0.25).any(), within), "it does not end"


@contextlib.asynccontextmanager
async def tapped(room: Room) -> AsyncIterator[Tap]:
    """Listens to what is published."""
    assert await soon(lambda: room.track is not None), "nothing is published"
    assert room.track is not None
    stream, tap = rtc.AudioStream.from_track(track=room.track, sample_rate=RATE, num_channels=1), Tap()

    async def read() -> None:
        async for event in stream:
            tap.times.append(time.monotonic())
            tap.blocks.append(np.frombuffer(event.frame.data, np.int16))

    reading = asyncio.create_task(read())
    try:
        await asyncio.sleep(0.05)
        yield tap
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await stream.aclose()


@contextlib.asynccontextmanager
async def playing(
    player: Any, session: AgentSession[Any] | None = None, room: Room | None = None
) -> AsyncIterator[Tap]:
    """Starts a player, listens to it, and closes it."""
    room = Room() if room is None else room
    await (player.start(room=room.room) if session is None else player.start(room=room.room, agent_session=session))
    try:
        async with tapped(room) as tap:
            yield tap
    finally:
        await asyncio.wait_for(player.aclose(), 5)


async def soon(so: Callable[[], bool], within: float = 2.0) -> bool:
    """Whether something becomes so."""
    until = time.monotonic() + within
    while not so() and time.monotonic() < until:
        await asyncio.sleep(0.01)
    return so()


def heard(samples: Samples) -> Samples:
    """From the first sound to the last."""
    sounding = np.flatnonzero(samples)
    return samples[sounding[0] : sounding[-1] + 1] if len(sounding) else samples[:0]


def begins(samples: Samples, sound: Samples) -> int:
    """The frame of a sound with which what is heard of it begins; -1: it is no part of it."""
    head = heard(samples)[:100]
    if not len(head):
        return -1
    places = np.flatnonzero(sound[: len(sound) - len(head) + 1] == head[0])
    return next((int(n) for n in places if np.array_equal(sound[n : n + len(head)], head)), -1)


def level(samples: Samples, hertz: float) -> float:
    """The amplitude of a tone in a piece of sound."""
    window = np.hanning(len(samples))
    turns = np.exp(-2j * np.pi * hertz * np.arange(len(samples)) / RATE)
    return float(2 * abs(np.dot(samples * window, turns)) / window.sum() / 32768)


def rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples / 32768))))
