"""Workers in processes of their own, to which LiveKit's own server dispatches jobs: what their callers hear.

Skipped without the server, with the command that gets it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pytest
from livekit import rtc
from livekit_server import WHY_NOT, Caller, LiveKitServer, Worker, find_server, level, running, working

from soundscape.outputs.file import write_audio

pytestmark = [
    pytest.mark.checkout,
    pytest.mark.skipif(find_server() is None, reason=WHY_NOT),
]

AGENT = Path(__file__).parent / "worker_agent.py"
EXAMPLE = Path(__file__).parent.parent / "examples" / "agent.py"
HEARD = 0.03  # of a tone of 0.1: what a codec leaves of it is more, what leaks into another's place is far less
FAINT = 0.003
SCENE = """
[defaults]
crossfade = 0.3
[base]
source = "{bed}.wav"
[states.thinking]
source = "{think}.wav"
"""


class Call:
    """A caller in a room: what is heard of the background and of the agent, and the agent's states."""

    def __init__(self, room: rtc.Room, bed: int = 400, think: int = 1_000) -> None:
        self.room, self.bed, self.think = room, bed, think
        self.background = Caller(room)
        self.voice = Caller(room, "roomio_audio")
        self.states: list[str] = []
        room.on("participant_attributes_changed", self._changed)

    def _changed(self, changed: dict[str, str], _: rtc.Participant) -> None:
        if "lk.agent.state" in changed:
            self.states.append(changed["lk.agent.state"])

    @classmethod
    async def join(
        cls, stack: AsyncExitStack, server: LiveKitServer, room: str, name: str = "caller", **tones: int
    ) -> Self:
        call = cls(await server.join(name, room), **tones)
        stack.push_async_callback(call.leave)
        return call

    @property
    def state(self) -> str | None:
        for participant in self.room.remote_participants.values():
            if "lk.agent.state" in participant.attributes:
                return participant.attributes["lk.agent.state"]
        return None

    async def until(self, state: str) -> None:
        async with asyncio.timeout(60):
            while self.state != state:
                await asyncio.sleep(0.01)

    async def say(self, text: str = "Where is my lamp?") -> None:
        await self.room.local_participant.send_text(text, topic="lk.chat")

    async def hears(self, *hertz: int) -> None:
        """The tones of the background that are heard come to be these of its own two, while the state is as it is."""
        state, levels = self.state, dict[int, float]()
        while self.state == state:
            heard = await self.background.next(0.2)
            levels = {tone: level(heard, tone) for tone in (self.bed, self.think)}
            if all(found > HEARD if tone in hertz else found < FAINT for tone, found in levels.items()):
                return
        raise AssertionError(f"{state}: heard {levels}, not {hertz} alone")

    async def leave(self) -> None:
        await self.voice.leave()
        await self.background.leave()


def write_tone(folder: Path, hertz: int) -> None:
    tone = 0.1 * np.sin(2 * np.pi * hertz * np.arange(48_000) / 48_000)
    write_audio(folder / f"{hertz}.wav", [tone.astype(np.float32)[:, np.newaxis]], 48_000)


def write_scene(folder: Path, room: str, bed: int = 400, think: int = 1_000) -> None:
    for hertz in (bed, think):
        write_tone(folder, hertz)
    (folder / f"{room}.toml").write_text(SCENE.format(bed=bed, think=think), "utf-8")


async def told(folder: Path, room: str) -> dict[str, Any]:
    """What the room's job said at its end."""
    async with asyncio.timeout(30):
        while not (folder / f"{room}.json").exists() or not (text := (folder / f"{room}.json").read_text("utf-8")):
            await asyncio.sleep(0.05)
    found: dict[str, Any] = json.loads(text)
    return found


def start(
    stack: AsyncExitStack, server: LiveKitServer, folder: Path, mode: str = "start", name: str = "worker"
) -> Worker:
    command = [str(AGENT), mode, *(["--no-reload"] if mode == "dev" else [])]
    return stack.enter_context(working(server, command, folder / f"{name}.log", {"WORKER_SCENES": str(folder)}))


def in_order(worker: Worker) -> None:
    """Nothing of ours went wrong that was logged. The host logs tracebacks of its own where a room goes before it."""
    for line in worker.output().splitlines():
        assert "ERROR" not in line or "soundscape" not in line, line
        assert "Traceback" not in line or "livekit.agents" in line, line
        assert not line.startswith("  File") or "/soundscape/" not in line, line


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveKitServer]:
    with running(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Ends workers and calls, whatever happens."""
    async with AsyncExitStack() as made:
        yield made


async def test_a_caller_hears_the_bed_the_thinking_the_voice_and_the_end(
    server: LiveKitServer, tmp_path: Path, stack: AsyncExitStack
) -> None:
    write_scene(tmp_path, "layers")
    worker = start(stack, server, tmp_path)
    await worker.registered()
    call = await Call.join(stack, server, "layers")
    await call.until("listening")
    await call.hears(400)
    await call.say()
    await call.until("thinking")
    await call.hears(400, 1_000)
    assert not np.any(np.abs(call.voice.since(0)) > 300)
    await call.until("speaking")
    assert np.abs(await call.voice.next(0.4)).max() > 1_000
    await call.hears(400)
    await call.until("listening")
    witness = await Call.join(stack, server, "layers", "witness")
    await witness.hears(400)
    gone = asyncio.Event()

    def unpublished(publication: rtc.RemoteTrackPublication, _: rtc.RemoteParticipant) -> None:
        if publication.name == "background_audio":
            gone.set()

    witness.room.on("track_unpublished", unpublished)
    await call.leave()
    async with asyncio.timeout(10):
        await gone.wait()
    end = witness.background.since(0)[-4_800:]  # 0.1 s
    assert level(end, 400) < HEARD
    await witness.leave()
    job = await told(tmp_path, "layers")
    assert job["loads"] == {"memory": 2, "cache": 0, "file": 0}
    assert ["release", "400.wav"] in job["log"]
    assert call.states[-3:] == ["thinking", "speaking", "listening"]
    worker.terminate()
    await worker.ended()
    in_order(worker)


async def test_a_worker_that_drains_lets_its_call_go_on_and_is_gone_after_it(
    server: LiveKitServer, tmp_path: Path, stack: AsyncExitStack
) -> None:
    write_scene(tmp_path, "drained")
    worker = start(stack, server, tmp_path)
    await worker.registered()
    call = await Call.join(stack, server, "drained")
    await call.until("listening")
    await call.hears(400)
    worker.terminate()
    async with asyncio.timeout(20):
        while "draining worker" not in worker.output():
            await asyncio.sleep(0.05)
    await call.say()
    await call.until("thinking")
    await call.hears(400, 1_000)
    await call.leave()
    assert ["release", "400.wav"] in (await told(tmp_path, "drained"))["log"]
    await worker.ended()
    in_order(worker)


@pytest.mark.parametrize("by", ["the worker's SIGTERM", "the job's shutdown"])
async def test_a_call_that_ends_at_once_ends_by_a_fade_that_its_caller_hears(
    server: LiveKitServer, tmp_path: Path, stack: AsyncExitStack, by: str
) -> None:
    write_scene(tmp_path, "dev")
    worker = start(stack, server, tmp_path, "dev")
    await worker.registered()
    call = await Call.join(stack, server, "dev")
    await call.until("listening")
    await call.hears(400)
    full = level(await call.background.next(0.2), 400)
    at = asyncio.get_running_loop().time()
    if by == "the job's shutdown":
        await call.say("Goodbye.")
        await told(tmp_path, "dev")
    worker.terminate()
    await worker.ended()
    assert ["release", "400.wav"] in (await told(tmp_path, "dev"))["log"]
    in_order(worker)

    def loudest(piece: npt.NDArray[np.int16]) -> float:
        """Of parts of 10 ms: where a receiver mends what came late, or its clock, one or two are less (seen)."""
        return max(level(part, 400) for part in np.array_split(piece, 5))

    heard = call.background.since(at)
    levels = [loudest(piece) / full for piece in np.array_split(heard, len(heard) // 2_400)]
    last_full = max(number for number, now in enumerate(levels) if now >= 0.95)
    fade = [now for now in levels[last_full + 1 :] if now > 0.05]
    assert 3 <= len(fade) <= 8  # of 50 ms each: the scene's 0.3 s
    assert all(after < before + 0.02 for before, after in pairwise(fade))
    assert levels[-1] < 0.05
    await call.leave()


async def test_the_example_talks_to_a_caller_who_types_without_any_key_of_a_model(
    server: LiveKitServer, tmp_path: Path, stack: AsyncExitStack
) -> None:
    command = [str(EXAMPLE), "dev", "--no-reload"]
    worker = stack.enter_context(working(server, command, tmp_path / "worker.log"))
    await worker.registered()
    call = await Call.join(stack, server, "example")
    await call.until("speaking")
    assert np.abs(await call.voice.next(0.4)).max() > 1_000
    await call.until("listening")
    assert np.abs(await call.background.next(0.4)).max() > 30
    await call.say()
    await call.until("thinking")
    await call.until("speaking")
    assert np.abs(await call.voice.next(0.4)).max() > 1_000
    await call.leave()
    worker.terminate()
    await worker.ended()
    in_order(worker)


async def test_callers_of_two_workers_hear_their_own_rooms_and_nobody_elses(
    server: LiveKitServer, tmp_path: Path, stack: AsyncExitStack
) -> None:
    tones = {f"room {number}": (300 + 200 * number, 400 + 200 * number) for number in range(4)}
    for room, (bed, think) in tones.items():
        write_scene(tmp_path, room, bed, think)
    workers = [start(stack, server, tmp_path, name=name) for name in ("first", "second")]
    await asyncio.gather(*(worker.registered() for worker in workers))
    calls = [await Call.join(stack, server, room, bed=bed, think=think) for room, (bed, think) in tones.items()]
    await asyncio.gather(*(call.until("listening") for call in calls))
    await asyncio.gather(*(call.hears(call.bed) for call in calls))
    for thinking, waiting in ((calls[::2], calls[1::2]), (calls[1::2], calls[::2])):
        told_before = [len(call.states) for call in waiting]
        await asyncio.gather(*(call.say() for call in thinking))
        await asyncio.gather(*(call.until("thinking") for call in thinking))
        await asyncio.gather(*(call.hears(call.bed, call.think) for call in thinking))
        await asyncio.gather(*(call.hears(call.bed) for call in waiting))
        assert [len(call.states) for call in waiting] == told_before
        await asyncio.gather(*(call.until("speaking") for call in thinking))
        await asyncio.gather(*(call.until("listening") for call in thinking))
    every = {tone for pair in tones.values() for tone in pair}
    for call in calls:
        heard = call.background.since(0)
        parts = [heard[at : at + 24_000] for at in range(0, len(heard) - 24_000, 24_000)]
        assert max(level(part, tone) for part in parts for tone in every - {call.bed, call.think}) < FAINT
        await call.leave()
    jobs = [await told(tmp_path, room) for room in tones]
    numbers = {worker.number for worker in workers}
    assert {job["worker"] for job in jobs} <= numbers  # the server draws which of the two
    for worker in workers:
        worker.terminate()
    for worker in workers:
        await worker.ended()
        in_order(worker)
