"""A `Soundscape` whose room is left, or whose close is given up: it ends, and all that was asked of it does."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import AgentSession
from rooms import Room, constant, folder, warnings  # noqa: F401 - a fixture

from soundscape import RoomOutput, Scene, Soundscape
from soundscape.engine import Fact

SLOW = "defaults.crossfade = 8\nbase.source = 'eighth.wav'"
"""Fades for longer than these tests wait."""


async def playing(room: Room, folder: Path) -> tuple[Soundscape, AgentSession[Any]]:  # noqa: F811
    session: AgentSession[Any] = AgentSession()
    background = Soundscape(Scene.from_toml(SLOW, folder), seed=1, output=RoomOutput(room.room)).attach(session)
    while background.publication is None or background.engine.position < 4_800:  # a bed that never began has no fade
        await asyncio.sleep(0.01)
    return background, session


async def over(background: Soundscape, tasks: set[asyncio.Task[Any]]) -> None:
    async with asyncio.timeout(5):
        while asyncio.all_tasks() != tasks:
            await asyncio.sleep(0.01)
    assert background.engine.finished
    assert [fact for _, fact in background.engine.facts][-2:] == [Fact("close"), Fact("cut")]


async def test_it_ends_with_its_room_though_the_session_goes_on(
    folder: Path,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks, room = asyncio.all_tasks(), Room()
    background, session = await playing(room, folder)
    handle = background.play("quarter.wav", loop=True)
    await asyncio.sleep(0.1)
    engine = background.engine
    with caplog.at_level(logging.WARNING, "soundscape"):
        room.disconnect()
        async with asyncio.timeout(5):
            await handle
        await over(background, tasks)
        session.emit("agent_state_changed", SimpleNamespace(old_state="listening", new_state="thinking"))  # type: ignore[arg-type]
        assert asyncio.all_tasks() == tasks
    assert background.engine is engine
    assert warnings(caplog) == []
    await background.aclose()


async def test_a_fade_that_began_before_the_room_was_left_is_cut_short(folder: Path) -> None:  # noqa: F811
    tasks, room = asyncio.all_tasks(), Room()
    background, session = await playing(room, folder)
    session.emit("close", SimpleNamespace())  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    room.disconnect()
    await over(background, tasks)


@pytest.mark.parametrize("delay", [0.1, 3600])
async def test_a_room_that_was_left_while_the_track_was_published_ends_it_too(
    delay: float,
    folder: Path,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A caller who hangs up at once is no error, nor waited for: the room may answer yet, or never."""
    tasks, room = asyncio.all_tasks(), Room()
    room.delay = delay
    output = RoomOutput(room.room)
    background = Soundscape(Scene.from_toml(SLOW, folder), seed=1, output=output).attach(AgentSession())
    await asyncio.sleep(0.05)
    room.disconnect()
    await asyncio.sleep(0.1)
    await over(background, tasks)
    assert warnings(caplog) == []


class Leaving(Room):
    """It is left while a track is published, and so refuses it."""

    async def publish_track(self, track: rtc.LocalAudioTrack, _: rtc.TrackPublishOptions) -> Any:
        self.connected = False
        raise RuntimeError("engine is closed")


async def test_a_room_that_refuses_the_track_because_it_was_left_is_no_error_either(
    folder: Path,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks, room = asyncio.all_tasks(), Leaving()
    output = RoomOutput(room.room)
    background = Soundscape(Scene.from_toml(SLOW, folder), seed=1, output=output).attach(AgentSession())
    await asyncio.sleep(0.1)
    room.disconnect()
    await over(background, tasks)
    assert warnings(caplog) == []


async def test_a_close_that_is_given_up_leaves_no_handle_open(folder: Path) -> None:  # noqa: F811
    tasks = asyncio.all_tasks()
    background, _ = await playing(Room(), folder)
    handle = background.play("quarter.wav", loop=True)
    await asyncio.sleep(0.1)
    closing = asyncio.create_task(background.aclose())
    await asyncio.sleep(0.1)
    closing.cancel()
    async with asyncio.timeout(5):
        await handle
    await over(background, tasks)
