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
import pytest
from livekit import rtc
from livekit.agents import Agent, AgentSession
from livekit_server import WHY_NOT, Caller, Line, LiveKitServer, find_server, level, running

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


async def levels(caller: Caller, seconds: float = 0.4) -> dict[str, float]:
    """Of each tone, in what comes from now on."""
    heard = await caller.next(seconds)
    return {name: level(heard, hertz) for name, hertz in HERTZ.items()}


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
    await hears(caller, 0.1, 0)
    background.set_state("thinking")
    await hears(caller, 0.1, 0.1)
    background.set_state(None)
    await hears(caller, 0.1, 0)
    await background.aclose()
    await gone()
    assert not room.local_participant.track_publications
    await room.disconnect()
    await caller.leave()


async def hears(caller: Caller, bed: float, think: float) -> None:
    """Waits until the layers are at these levels; on a busy machine an answer takes its time."""
    last: dict[str, float] = {}
    try:
        async with asyncio.timeout(10):
            while (last := await levels(caller)) != about(bed, think):
                pass
    except TimeoutError:
        raise AssertionError(f"it is {last}, not bed {bed} and think {think}") from None


async def gone() -> None:
    """Waits until there is no task of ours, and no thread."""
    async with asyncio.timeout(10):
        while any(task.get_name().startswith("soundscape") for task in asyncio.all_tasks()):
            await asyncio.sleep(0.01)
        while "soundscape-output" in [thread.name for thread in threading.enumerate()]:
            await asyncio.sleep(0.01)


async def test_a_session_that_is_there_before_its_room_is_connected_has_its_bed(
    server: LiveKitServer, folder: Path
) -> None:
    caller = Caller(await server.join("caller", "early"))
    room = rtc.Room()
    background = follow(AgentSession(), room, folder)
    await asyncio.sleep(0.1)
    await room.connect(server.url, server.token("agent", "early"))
    assert await levels(caller) == about(0.1, 0)
    await background.aclose()
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
    await hears(caller, 0.1, 0)
    server.stop()
    background.set_state("thinking")
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(30):
        await again.wait()
        while caller.subscriptions < 2:
            await asyncio.sleep(0.05)
    await hears(caller, 0.1, 0.1)
    (publication,) = room.local_participant.track_publications.values()
    assert background.publication is publication
    await background.aclose()
    assert not room.local_participant.track_publications
    await gone()
    await room.disconnect()
    await caller.leave()


@pytest.mark.parametrize("refuse", [False, True])
async def test_while_the_signal_connection_is_cut_changes_are_kept_and_there_is_one_track(
    refuse: bool, server: LiveKitServer, folder: Path
) -> None:
    """Where the SDK has it again at once the sound goes on, and changes are heard meanwhile. Refused, it connects anew:
    the sound stops, and comes back in the present state."""
    name = f"cut, refuse={refuse}"
    caller, line = Caller(await server.join("caller", name)), Line(server.port)
    await line.mend()
    room = await server.join("agent", name, line.url)
    lost, again = asyncio.Event(), asyncio.Event()
    room.on("reconnecting", lost.set)
    room.on("reconnected", again.set)
    background = follow(AgentSession(), room, folder)
    await hears(caller, 0.1, 0)
    async with asyncio.timeout(30):
        await line.cut(refuse=refuse)
        await lost.wait()
        background.set_state("thinking")
        if refuse:
            await asyncio.sleep(1)  # the SDK tries again at once, and then gives the old connection up
        else:
            await hears(caller, 0.1, 0.1)
            assert not again.is_set()
        await line.mend()
        await again.wait()
        while caller.subscriptions < 1 + refuse:
            await asyncio.sleep(0.05)
    await hears(caller, 0.1, 0.1)
    background.set_state(None)
    await hears(caller, 0.1, 0)
    assert caller.subscriptions == 1 + refuse
    (publication,) = room.local_participant.track_publications.values()
    assert background.publication is publication
    await background.aclose()
    await gone()
    await room.disconnect()
    await line.cut(refuse=True)
    await caller.leave()


async def test_a_caller_who_leaves_and_comes_back_hears_the_present_state(server: LiveKitServer, folder: Path) -> None:
    caller = Caller(await server.join("caller", "back"))
    room = await server.join("agent", "back")
    background = follow(AgentSession(), room, folder)
    await hears(caller, 0.1, 0)
    await caller.leave()
    background.set_state("thinking")
    caller = Caller(await server.join("caller", "back"))
    await hears(caller, 0.1, 0.1)
    assert len(room.local_participant.track_publications) == 1
    await background.aclose()
    await gone()
    await room.disconnect()
    await caller.leave()


async def test_a_room_that_is_deleted_in_mid_call_ends_the_background_of_its_session(
    server: LiveKitServer, folder: Path
) -> None:
    """The session is the host's own, started in the room; it closes only where the caller is told to have gone first,
    so the background does not wait for that."""
    caller = Caller(await server.join("caller", "deleted"))
    room = await server.join("agent", "deleted")
    session: AgentSession[None] = AgentSession()
    background = Soundscape(Scene.from_toml(SCENE, folder), seed=1).attach(session)
    await session.start(Agent(instructions=""), room=room)
    await hears(caller, 0.1, 0)
    handle = background.play(str(folder / "think.wav"), loop=True)
    await hears(caller, 0.1, 0.1)
    await server.delete("deleted")
    async with asyncio.timeout(10):
        await handle
        await gone()
        await session.aclose()
        await background.aclose()
    assert background.engine.finished
    await caller.leave()


@pytest.mark.parametrize("who", ["scene", "player"])
async def test_a_room_that_is_left_in_mid_call_leaves_no_task_and_no_thread(
    who: str, server: LiveKitServer, folder: Path
) -> None:
    tasks, room = asyncio.all_tasks(), await server.join("agent", f"left by a {who}")
    background: Soundscape | BackgroundAudioPlayer
    if who == "scene":
        background = follow(AgentSession(), room, folder)
        while background.publication is None:
            await asyncio.sleep(0.01)
    else:
        background = BackgroundAudioPlayer(ambient_sound=str(folder / "bed.wav"))
        await background.start(room=room)
    handle = background.play(str(folder / "think.wav"), loop=True)
    await asyncio.sleep(0.1)
    await room.disconnect()
    async with asyncio.timeout(5):
        await handle
        while asyncio.all_tasks() != tasks:
            await asyncio.sleep(0.01)
    await gone()
    await background.aclose()


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
