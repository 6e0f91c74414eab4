"""Who is measured beside whom: each started on a session, with a bed and a sound while the agent thinks.

A player needs of a room that somebody takes its track. No server is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from livekit import rtc
from livekit.agents import AgentSession
from livekit.agents.voice import background_audio as livekit

from soundscape import RoomOutput, Scene, Soundscape
from soundscape import background_audio as drop_in

SCENE = """
[base]
source = "bed.wav"
[states.thinking]
source = "tone.wav"
[defaults]
crossfade = 0
"""

Started = tuple[rtc.LocalAudioTrack, Callable[[], Awaitable[None]]]
"""The track, and what ends it."""

Starter = Callable[[Path, AgentSession[Any]], Awaitable[Started]]


class TrackRoom:
    """Keeps the track that is published, so that it can be listened to."""

    def __init__(self) -> None:
        self.track: rtc.LocalAudioTrack | None = None
        self.track_publications: dict[str, Any] = {}

    @property
    def local_participant(self) -> TrackRoom:
        return self

    def isconnected(self) -> bool:
        return True

    async def publish_track(self, track: rtc.LocalAudioTrack, options: Any = None) -> None:
        self.track = track

    async def unpublish_track(self, sid: str) -> None:
        self.track = None

    def as_room(self) -> rtc.Room:
        return cast(rtc.Room, self)


async def start_soundscape(folder: Path, session: AgentSession[Any], scene: str = SCENE) -> Started:
    output = RoomOutput(None)
    background = Soundscape(Scene.from_toml(scene, folder), seed=1, output=output).attach(session)
    while output.track is None:
        await asyncio.sleep(0.001)
    return output.track, background.aclose


async def start_player(module: ModuleType, folder: Path, session: AgentSession[Any]) -> Started:
    """LiveKit's player, or the one of its interface."""
    room, config = TrackRoom(), module.AudioConfig
    player = module.BackgroundAudioPlayer(
        ambient_sound=config(str(folder / "bed.wav")), thinking_sound=config(str(folder / "tone.wav"))
    )
    await player.start(room=room.as_room(), agent_session=session)
    assert room.track is not None
    return room.track, player.aclose


start_drop_in: Starter = partial(start_player, drop_in)
start_livekit: Starter = partial(start_player, livekit)
