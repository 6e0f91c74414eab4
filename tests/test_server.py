"""In a real room of LiveKit's own server: what a second participant hears, and what becomes of it when things go.

Skipped without the server, with the command that gets it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from livekit import rtc
from livekit.agents import AgentSession
from livekit_server import WHY_NOT, Caller, LiveKitServer, find_server, running

from soundscape import RoomOutput, Scene, Soundscape
from soundscape.background_audio import BackgroundAudioPlayer
from soundscape.outputs.file import write_audio

pytestmark = pytest.mark.skipif(find_server() is None, reason=WHY_NOT)

HERTZ = {"bed": 400.0, "think": 1_000.0}
SCENE = """
[defaults]
crossfade = 0.05
[base]
source = "bed.wav"
[states.thinking]
source = "think.wav"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveKitServer]:
    with running(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, hertz in HERTZ.items():
        tone = 0.1 * np.sin(2 * np.pi * hertz * np.arange(48_000) / 48_000)
        write_audio(tmp_path / f"{name}.wav", [tone.astype(np.float32)[:, np.newaxis]], 48_000)
    return tmp_path


def level(samples: npt.NDArray[np.int16], hertz: float) -> float:
    """The amplitude of a tone; full scale is 1."""
    window = np.hanning(len(samples))
    turns = np.exp(-2j * np.pi * hertz * np.arange(len(samples)) / 48_000)
    return float(2 * abs(np.dot(samples / 32_768 * window, turns)) / window.sum())


async def levels(caller: Caller, seconds: float = 0.4) -> dict[str, float]:
    """Of each tone, in what comes from now on."""
    loop = asyncio.get_running_loop()
    at = loop.time() + 0.2  # what was sent before is on its way
    async with asyncio.timeout(20):
        while len(caller.since(at)) < seconds * 48_000:
            await asyncio.sleep(0.02)
    return {name: level(caller.since(at), hertz) for name, hertz in HERTZ.items()}


def follow(session: AgentSession[Any], room: rtc.Room, folder: Path) -> Soundscape:
    return Soundscape(Scene.from_toml(SCENE, folder), seed=1, output=RoomOutput(room)).attach(session)


def about(bed: float, think: float) -> Any:
    """Within 1 dB; of what is silent no more than 40 dB below."""
    return {"bed": pytest.approx(bed, rel=0.12, abs=0.001), "think": pytest.approx(think, rel=0.12, abs=0.001)}


async def test_a_caller_hears_each_layer_in_its_state(server: LiveKitServer, folder: Path) -> None:
    caller = Caller(await server.join("caller"))
    room = await server.join("agent")
    session: AgentSession[None] = AgentSession()
    background = follow(session, room, folder)
    assert await levels(caller) == about(0.1, 0)
    background.set_state("thinking")
    assert await levels(caller) == about(0.1, 0.1)
    background.set_state(None)
    assert await levels(caller) == about(0.1, 0)
    await background.aclose()
    assert not room.local_participant.track_publications
    await room.disconnect()
    await caller.leave()


async def test_after_a_crash_of_the_server_there_is_one_track_and_the_present_state_is_heard(
    server: LiveKitServer, folder: Path
) -> None:
    caller = Caller(await server.join("caller", "crash"))
    room = await server.join("agent", "crash")
    again = asyncio.Event()
    room.on("reconnected", again.set)
    background = follow(AgentSession(), room, folder)
    assert await levels(caller) == about(0.1, 0)
    server.stop()
    background.set_state("thinking")
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(30):
        await again.wait()
        while caller.subscriptions < 2:
            await asyncio.sleep(0.05)
    assert await levels(caller) == about(0.1, 0.1)
    (publication,) = room.local_participant.track_publications.values()
    assert background.publication is publication
    await background.aclose()
    assert not room.local_participant.track_publications
    await room.disconnect()
    await caller.leave()


@pytest.mark.parametrize("who", ["scene", "player"])
async def test_a_room_that_is_left_in_mid_call_leaves_no_task_and_no_thread(
    who: str, server: LiveKitServer, folder: Path
) -> None:
    tasks, room = asyncio.all_tasks(), await server.join("agent", f"left by a {who}")
    if who == "scene":
        background = follow(AgentSession(), room, folder)
        while background.publication is None:
            await asyncio.sleep(0.01)
        await room.disconnect()
        await background.aclose()
    else:
        player = BackgroundAudioPlayer(ambient_sound=str(folder / "bed.wav"))
        await player.start(room=room)
        handle = player.play(str(folder / "think.wav"), loop=True)
        await asyncio.sleep(0.1)
        await room.disconnect()
        async with asyncio.timeout(5):
            await handle
        await player.aclose()
    async with asyncio.timeout(5):
        while asyncio.all_tasks() != tasks:
            await asyncio.sleep(0.01)
    assert "soundscape-output" not in [thread.name for thread in threading.enumerate()]


async def test_two_players_in_one_room_take_back_their_own_track(server: LiveKitServer, folder: Path) -> None:
    room = await server.join("agent", "two players")
    first, second = BackgroundAudioPlayer(), BackgroundAudioPlayer()
    for player in (first, second):
        await player.start(room=room)
    assert len(room.local_participant.track_publications) == 2
    stays = first.publication
    await second.aclose()
    assert list(room.local_participant.track_publications.values()) == [stays]
    await first.aclose()
    assert not room.local_participant.track_publications
    await room.disconnect()
