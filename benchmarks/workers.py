"""What a room costs at LiveKit's workers: rooms at once at two of them, without a background, with soundscape, and with
LiveKit's player, each in turn.

    python benchmarks/workers.py [ROOMS] [SECONDS] [KIND ...]

needs LiveKit's server, as `call.py` does. A caller in each room types three times in SECONDS (20 rooms and 60 unless
given; KIND is `none`, `soundscape` or `livekit`, all unless given); the agent thinks for 3 s and answers, by a script
and in a synthetic voice. Printed is what all processes of both workers take in that time, divided by the rooms: CPU
time, memory of their own, and memory with a share of what several map; and in brackets how much of it is the
background's. Each room has two tones of its own, for the bed and for thinking: of each half second that a caller
received, it is counted whether the tones are those of the room and its state, without a hole of 20 ms, and whether
there are others. Of soundscape, what its log says of holes and of changes that came late (fall-backs) is printed too.

A caller has a machine of its own where agents are at work. Here all share this one, so each subscribes to the
background for one of its three talks only, a third of them at a time, and to the voice until it came.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
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
BACKGROUND = "background_audio"
HEARD, FAINT = 0.03, 0.003  # of tones of 0.1
QUIET = 0.03  # RMS of 20 ms; of a tone it is 0.07


def tones(room: int) -> tuple[int, int]:
    return 400 + 200 * room, 470 + 200 * room  # no sum or difference of these, which a codec may add, is another room's


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
    """Types in a room three times, and hears its background in one of these talks, in pieces of half a second, each
    with the states it was heard in."""

    def __init__(self, room: rtc.Room, number: int) -> None:
        self.room, self.number = room, number
        self.pieces: list[tuple[set[str], npt.NDArray[np.int16]]] = []
        self._states: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        room.on("track_published", lambda publication, _: publication.set_subscribed(publication.name != BACKGROUND))
        room.on("track_subscribed", self._subscribed)
        room.on("participant_attributes_changed", self._changed)
        for publication in self._publications():
            publication.set_subscribed(publication.name != BACKGROUND)

    def _publications(self) -> list[rtc.RemoteTrackPublication]:
        agents = self.room.remote_participants.values()
        return [publication for agent in agents for publication in agent.track_publications.values()]

    @property
    def background(self) -> rtc.RemoteTrackPublication | None:
        return next((publication for publication in self._publications() if publication.name == BACKGROUND), None)

    @property
    def state(self) -> str:
        """The agent's, where there is one."""
        found = (participant.attributes.get("lk.agent.state") for participant in self.room.remote_participants.values())
        return next((state for state in found if state), "")

    def _changed(self, *_: object) -> None:
        self._states.add(self.state)

    def _subscribed(self, track: rtc.RemoteTrack, publication: rtc.RemoteTrackPublication, *_: object) -> None:
        if publication.name == BACKGROUND:
            self._tasks.add(asyncio.create_task(self._listen(track)))
        else:
            publication.set_subscribed(False)  # the agent speaks once there was somebody to hear it

    async def _listen(self, track: rtc.RemoteTrack) -> None:
        stream = rtc.AudioStream.from_track(track=track, sample_rate=RATE, num_channels=1, frame_size_ms=500)
        async for event in stream:
            self.pieces.append((self._states, np.frombuffer(event.frame.data, np.int16).copy()))
            self._states = {self.state}

    async def talk(self, seconds: float) -> None:
        """Types in each third of the time, at a moment of its own, and waits for the answer."""
        began = time.monotonic()
        for turn in range(3):
            moment = began + (turn + random.uniform(0, 0.5)) / 3 * seconds
            await asyncio.sleep(max(0.0, moment - time.monotonic()))
            heard = self.background if turn == self.number % 3 else None
            if heard is not None:
                heard.set_subscribed(True)
                await asyncio.sleep(3)
                del self.pieces[:2]  # the first are made up until the track has come
            await self.room.local_participant.send_text("Where is my lamp?", topic="lk.chat")
            async with asyncio.timeout(60):
                for state in ("speaking", "listening"):
                    while self.state != state:
                        await asyncio.sleep(0.05)
            if heard is not None:
                await asyncio.sleep(2)
                heard.set_subscribed(False)

    def right(self, rooms: int) -> tuple[int, int, int]:
        """Of the pieces that lie within one state, after a second of it: how many have the tones of the room and its
        state, and how many there are. And of all pieces, how many have a tone of another room, in both halves: a sound
        that breaks off has a little of every tone."""
        bed, think = tones(self.number)
        others = [tone for room in range(rooms) for tone in tones(room) if room != self.number]
        right = count = 0
        states = [states for states, _ in self.pieces]
        for before, last, now, (_, samples) in zip(states, states[1:], states[2:], self.pieces[2:], strict=False):
            if not before == last == now or len(now) != 1:
                continue
            wanted = {bed, think} if now == {"thinking"} else {bed}
            own = all((level(samples, tone) > HEARD) == (tone in wanted) for tone in (bed, think))
            whole = samples.astype(np.float64).reshape(-1, RATE // 50).std(axis=1).min() > QUIET * 32_768
            right += bool(own and whole)
            count += 1
        halves = [np.array_split(samples, 2) for _, samples in self.pieces]
        foreign = sum(any(all(level(half, tone) > FAINT for half in two) for tone in others) for two in halves)
        return right, count, foreign

    async def leave(self) -> None:
        await self.room.disconnect()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def told(workers: list[Worker]) -> None:
    """What soundscape's log says of its calls' ends."""
    said = [json.loads(line) for worker in workers for line in worker.output().splitlines() if line.startswith("{")]
    ends = [record for record in said if record.get("message") == "the background ended"]
    holes = [record["gap_seconds"] for record in ends if record["gaps"]]
    print(f"soundscape  of {len(ends)} calls {len(holes)} had holes,", end=" ")
    print(f"{max(holes, default=0.0):.2f} s at most in a call, {sum(holes):.2f} s in all;", end=" ")
    print(f"{sum(record['fallbacks'] for record in ends)} fall-backs")


def spent(workers: list[Worker]) -> float:
    """Seconds of CPU time of all their processes so far."""
    ticks = 0
    for worker in workers:
        for process in worker.processes():
            with suppress(OSError):  # it has just ended
                fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(workers: list[Worker]) -> tuple[float, float]:
    """MB of all their processes: what is theirs alone, and with a share of what several map."""
    private = proportional = 0
    for worker in workers:
        for process in worker.processes():
            lines: list[str] = []
            with suppress(OSError):
                lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            for line in lines:
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
            options = rtc.RoomOptions(auto_subscribe=False)
            caller = Caller(await at.join("caller", str(number), options=options), number)
            callers.append(caller)
            async with asyncio.timeout(120):
                while caller.state != "listening" or (kind != "none" and caller.background is None):
                    await asyncio.sleep(0.02)
        await asyncio.sleep(5)
        cpu, own, began = spent(workers), time.process_time(), time.monotonic()
        talks = asyncio.gather(*(caller.talk(seconds) for caller in callers))
        await asyncio.sleep(seconds)
        cpu, own = spent(workers) - cpu, time.process_time() - own
        cpu, own = (100 * used / (time.monotonic() - began) for used in (cpu, own))
        private, proportional = memory(workers)
        await talks
        counts = [caller.right(rooms) for caller in callers]
        for caller in callers:
            await caller.leave()
        for worker in workers:
            worker.terminate()
        for worker in workers:
            await worker.ended(60)
        if kind == "soundscape":
            told(workers)
    print(f"{kind:11} both workers {cpu:.0f} % of a core, the callers {own:.0f} %")
    if kind != "none":
        right, count, foreign = (sum(column) for column in zip(*counts, strict=True))
        fewest = min(count for _, count, _ in counts)
        print(f"{kind:11} {right} of {count} half seconds had the tones of their room and its state,", end=" ")
        print(f"{fewest} or more for each caller; {foreign} of all had another room's")
    return cpu / rooms, private / rooms, proportional / rooms


def main(rooms: int, seconds: float, *kinds: str) -> None:
    found: dict[str, tuple[Any, ...]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        times = np.arange(10 * RATE)[:, np.newaxis] / RATE
        for tone in (tone for room in range(rooms) for tone in tones(room)):
            write_audio(folder / f"{tone}.wav", [(0.1 * np.sin(2 * np.pi * tone * times)).astype(np.float32)], RATE)
        with running(folder) as at:
            for kind in kinds or KINDS:
                try:
                    found[kind] = asyncio.run(measure(kind, rooms, seconds, folder, at))
                except TimeoutError:
                    print(f"{kind:11} given up: an agent did not answer for a minute")
    for kind, figures in found.items():
        cpu, private, proportional = figures
        print(f"{kind:11} {cpu:5.2f} % of a core, {private:6.1f} MB of its own, {proportional:6.1f} MB a room", end="")
        if "none" in found:
            more = (value - none for value, none in zip(figures, found["none"], strict=True))
            print("  (" + " ".join(f"{value:+8.2f}" for value in more), end=")")
        print()


if __name__ == "__main__":
    if "ROOMS_KIND" in os.environ:
        cli.run_app(server)
    else:
        given = sys.argv[1:]
        main(int(given[0]) if given else 20, float(given[1]) if given[1:] else 60, *given[2:])
