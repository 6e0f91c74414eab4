"""What a room costs at LiveKit's workers: rooms at once at two of them, with soundscape, with LiveKit's player, and
without a background, each in turn.

    python benchmarks/workers.py [ROOMS] [SECONDS]

needs LiveKit's server, as `call.py` does. A caller in each room types three times in SECONDS (20 rooms and 60 unless
given); the agent thinks for 3 s and answers, by a script and in a synthetic voice. Printed is what all processes of
both workers take in that time, divided by the rooms: CPU time, memory of their own, and memory with a share of what
several map; and in brackets how much of it is the background's. Each room has two tones of its own, for the bed and for
thinking: of each half second that a caller received, it is counted whether the tones are those of the room and its
state, and no others.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from livekit import rtc
from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli
from livekit.agents.voice import background_audio as livekit

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from livekit_server import LiveKitServer, Worker, level, running, working

import soundscape
from soundscape import Scene, Soundscape
from soundscape.demo.scripted import Completion, ScriptedLLM, ScriptedTTS
from soundscape.outputs.file import write_audio

RATE = 48_000
KINDS = ("none", "soundscape", "livekit")
SCENE = '[defaults]\ncrossfade = 0.1\n[base]\nsource = "{0}.wav"\n[states.thinking]\nsource = "{1}.wav"\n'
HEARD, FAINT = 0.03, 0.003  # of tones of 0.1


def tones(room: int) -> tuple[int, int]:
    return 400 + 200 * room, 500 + 200 * room


# --- the agent, in the workers' processes ----------------------------------------------------------------------------

server = AgentServer(load_fnc=lambda: 0.0, port=0, num_idle_processes=1)


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    session: AgentSession[None] = AgentSession(
        llm=ScriptedLLM(itertools.repeat(Completion("Your lamp is on its way.", think=3.0))),
        tts=ScriptedTTS(),
        vad=None,
        turn_handling={"turn_detection": "manual"},
    )
    folder, kind = Path(os.environ["ROOMS_FOLDER"]), os.environ["ROOMS_KIND"]
    bed, think = tones(int(ctx.room.name))
    if kind == "soundscape":
        soundscape.use(session, Soundscape(Scene.from_toml(SCENE.format(bed, think), folder)))
    await session.start(Agent(instructions=""), room=ctx.room)
    if kind == "livekit":
        config = livekit.AudioConfig
        player = livekit.BackgroundAudioPlayer(
            ambient_sound=config(str(folder / f"{bed}.wav")), thinking_sound=config(str(folder / f"{think}.wav"))
        )
        await player.start(room=ctx.room, agent_session=session)


# --- the callers -----------------------------------------------------------------------------------------------------


class Caller:
    """Types in a room, and hears its background in pieces of half a second, each with the states it was heard in."""

    def __init__(self, room: rtc.Room) -> None:
        self.room = room
        self.pieces: list[tuple[set[str], npt.NDArray[np.int16]]] = []
        self.subscribed = asyncio.Event()
        self._states: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        room.on("track_subscribed", self._subscribed)
        room.on("participant_attributes_changed", self._changed)

    @property
    def state(self) -> str:
        """The agent's, where there is one."""
        found = (participant.attributes.get("lk.agent.state") for participant in self.room.remote_participants.values())
        return next((state for state in found if state), "")

    def _changed(self, *_: object) -> None:
        self._states.add(self.state)

    def _subscribed(self, track: rtc.RemoteTrack, publication: rtc.RemoteTrackPublication, *_: object) -> None:
        if publication.name == "background_audio":
            self.subscribed.set()
            self._tasks.add(asyncio.create_task(self._listen(track)))

    async def _listen(self, track: rtc.RemoteTrack) -> None:
        stream = rtc.AudioStream.from_track(track=track, sample_rate=RATE, num_channels=1, frame_size_ms=500)
        async for event in stream:
            self.pieces.append((self._states, np.frombuffer(event.frame.data, np.int16).copy()))
            self._states = {self.state}

    async def talk(self, seconds: float) -> None:
        """Types three times, at moments of its own, and waits for each answer."""
        for _ in range(3):
            await asyncio.sleep(random.uniform(0.05, 0.1) * seconds)
            await self.room.local_participant.send_text("Where is my lamp?", topic="lk.chat")
            async with asyncio.timeout(60):
                while self.state != "speaking":
                    await asyncio.sleep(0.05)
                while self.state != "listening":
                    await asyncio.sleep(0.05)

    def right(self, number: int, rooms: int) -> tuple[int, int]:
        """Of the pieces that lie within one state, after another one of it: how many have the tones of the room and the
        state and no others, and how many there are."""
        bed, think = tones(number)
        others = [tone for room in range(rooms) for tone in tones(room) if room != number]
        right = count = 0
        for (before, _), (states, samples) in itertools.pairwise(self.pieces):
            if before != states or len(states) != 1:
                continue
            wanted = {bed, think} if states == {"thinking"} else {bed}
            own = all((level(samples, tone) > HEARD) == (tone in wanted) for tone in (bed, think))
            right += own and max((level(samples, tone) for tone in others), default=0.0) < FAINT
            count += 1
        return right, count

    async def leave(self) -> None:
        await self.room.disconnect()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def spent(workers: list[Worker]) -> float:
    """Seconds of CPU time of all their processes so far."""
    ticks = 0
    for worker in workers:
        for process in worker.processes():
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(workers: list[Worker]) -> tuple[float, float]:
    """MB of all their processes: what is theirs alone, and with a share of what several map."""
    private = proportional = 0
    for worker in workers:
        for process in worker.processes():
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                name, _, value = line.partition(":")
                private += int(value.split()[0]) if name.startswith("Private_") and "Huge" not in name else 0
                proportional += int(value.split()[0]) if name == "Pss" else 0
    return private / 1024, proportional / 1024


async def measure(kind: str, rooms: int, seconds: float, folder: Path, at: LiveKitServer) -> tuple[float, float, float]:
    environment = {"ROOMS_FOLDER": str(folder), "ROOMS_KIND": kind, "PYTHONUNBUFFERED": "1"}
    with ExitStack() as stack:
        workers = [
            stack.enter_context(working(at, [__file__, "start"], folder / f"{kind}-{name}.log", environment))
            for name in ("first", "second")
        ]
        await asyncio.gather(*(worker.registered() for worker in workers))
        callers: list[Caller] = []
        for number in range(rooms):
            caller = Caller(await at.join("caller", str(number)))
            callers.append(caller)
            async with asyncio.timeout(120):
                while caller.state != "listening":
                    await asyncio.sleep(0.02)
                if kind != "none":
                    await caller.subscribed.wait()
        await asyncio.sleep(5)
        for caller in callers:
            caller.pieces.clear()
        cpu, began = spent(workers), asyncio.get_running_loop().time()
        talks = asyncio.gather(*(caller.talk(seconds) for caller in callers))
        await asyncio.sleep(seconds)
        cpu = (spent(workers) - cpu) / (asyncio.get_running_loop().time() - began)
        private, proportional = memory(workers)
        await talks
        counts = [caller.right(number, rooms) for number, caller in enumerate(callers)]
        for caller in callers:
            await caller.leave()
        for worker in workers:
            worker.terminate()
        for worker in workers:
            await worker.ended(60)
    if kind != "none":
        right, count = (sum(column) for column in zip(*counts, strict=True))
        print(f"{kind:11} {right} of {count} half seconds had the tones of their room and state, and no others")
    return 100 * cpu / rooms, private / rooms, proportional / rooms


def main(rooms: int, seconds: float) -> None:
    found: dict[str, tuple[Any, ...]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        times = np.arange(60 * RATE)[:, np.newaxis] / RATE
        for tone in (tone for room in range(rooms) for tone in tones(room)):
            write_audio(folder / f"{tone}.wav", [(0.1 * np.sin(2 * np.pi * tone * times)).astype(np.float32)], RATE)
        with running(folder) as at:
            for kind in KINDS:
                found[kind] = asyncio.run(measure(kind, rooms, seconds, folder, at))
    for kind, figures in found.items():
        cpu, private, proportional = figures
        more = " ".join(f"{value - none:+8.2f}" for value, none in zip(figures, found["none"], strict=True))
        print(
            f"{kind:11} {cpu:5.2f} % of a core, {private:6.1f} MB of its own, {proportional:6.1f} MB a room  ({more})"
        )


if __name__ == "__main__":
    if "ROOMS_KIND" in os.environ:
        cli.run_app(server)
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, float(sys.argv[2]) if len(sys.argv) > 2 else 60)
