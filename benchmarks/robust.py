"""What a busy process and a busy machine do to the sound: gaps of soundscape beside LiveKit's own player, in one run.

    python benchmarks/robust.py blocked         the event loop blocked for 2 s, ten times
    python benchmarks/robust.py held [SECONDS]  the main thread in Python without a pause; `held-switch`: with 0.2 ms
    python benchmarks/robust.py busy [SECONDS]  twice as many processes as cores, all of them computing

Both play a bed of noise without end, so that 10 ms of exact zeros are a gap, and change between thinking and listening.
Both tracks are read back with `rtc.AudioStream.from_track`; what comes while the loop is blocked is read afterwards.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from latency import SAMPLE_RATE
from livekit import rtc
from livekit.agents import AgentSession, AgentStateChangedEvent
from peer import SCENE, start_livekit

from soundscape import RoomOutput, Scene, Soundscape
from soundscape.outputs.file import write_audio

BLOCK = SAMPLE_RATE // 100


def write_noises(folder: Path) -> None:
    for seed, name in enumerate(("bed", "tone")):
        noise = np.random.default_rng(seed).normal(0, 0.05, 20 * SAMPLE_RATE).astype(np.float32)
        write_audio(folder / f"{name}.wav", [noise[:, np.newaxis]], SAMPLE_RATE)


class Tap:
    """What a track has sent."""

    def __init__(self, track: rtc.LocalAudioTrack) -> None:
        self._stream = rtc.AudioStream.from_track(track=track, sample_rate=SAMPLE_RATE, num_channels=1)
        self._blocks: list[npt.NDArray[np.int16]] = []
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for event in self._stream:
            self._blocks.append(np.frombuffer(event.frame.data, np.int16))

    def gaps(self) -> tuple[int, float]:
        """How many there were since the first sound, and their seconds."""
        silent = np.array([not block.any() for block in self._blocks])
        silent = silent[int(np.argmin(silent)) :]
        return int(np.count_nonzero(np.diff(silent.astype(int)) == 1)), float(silent.sum()) * BLOCK / SAMPLE_RATE

    async def aclose(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._stream.aclose()


def compute(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        sum(range(1_000))


def change(session: AgentSession[Any], states: list[str]) -> None:
    old, new = states
    states.reverse()
    session.emit("agent_state_changed", AgentStateChangedEvent(old_state=old, new_state=new))  # type: ignore[arg-type]


async def changes(session: AgentSession[Any], seconds: float) -> None:
    until, states = time.perf_counter() + seconds, ["listening", "thinking"]
    await asyncio.sleep(random.random())  # many sessions do not change all at once
    while time.perf_counter() < until:
        change(session, states)
        await asyncio.sleep(0.5 + random.random())


async def disturb(what: str, seconds: float, session: AgentSession[Any]) -> None:
    if what == "blocked":
        for _ in range(10):
            await changes(session, 1)
            time.sleep(2)  # noqa: ASYNC251 - that is what is measured
    elif what == "busy":
        others = [multiprocessing.Process(target=compute, args=(seconds,)) for _ in range(2 * (os.cpu_count() or 1))]
        for other in others:
            other.start()
        await changes(session, seconds)
        for other in others:
            other.join()
    else:
        until, states = time.perf_counter() + seconds, ["listening", "thinking"]
        while time.perf_counter() < until:
            change(session, states)
            compute(1 + random.random())


async def main(what: str, seconds: float) -> None:
    session: AgentSession[Any] = AgentSession()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_noises(folder)
        output = RoomOutput(None)
        track, close_player = await start_livekit(folder, session)
        background = Soundscape(Scene.from_toml(SCENE, folder), seed=1, output=output).attach(session)
        await asyncio.sleep(1)
        assert output.track is not None
        taps = {"soundscape": Tap(output.track), "LiveKit": Tap(track)}
        await asyncio.sleep(2)
        if what == "held-switch":
            sys.setswitchinterval(0.0002)
        await disturb(what, seconds, session)
        await asyncio.sleep(1)
        for who, tap in taps.items():
            gaps, lasting = tap.gaps()
            print(f"{what:12} {who:11} {gaps:4} gaps, {lasting:6.2f} s")
            await tap.aclose()
        stats = output.stats
        shares = [round(1000 * (stats.latency(share) or 0), 1) for share in (0.5, 0.99)]
        print(f"  counted: {stats.gaps} gaps, {stats.gap_seconds:.2f} s; {stats.fallbacks} fall-backs; ", end="")
        print(
            f"{stats.changes} changes, median {shares[0]} ms, p99 {shares[1]} ms, {stats.disagreements} disagreements"
        )
        await background.aclose()
        await close_player()


if __name__ == "__main__":
    given = {"blocked": 0.0, "held": 30.0, "held-switch": 30.0, "busy": 60.0}
    asyncio.run(main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else given[sys.argv[1]]))
