"""What a call costs: CPU per session of soundscape, its drop-in player, LiveKit's own, and of the least there is.

    python benchmarks/cpu.py [SECONDS] [SESSIONS]

Each plays the same two files, a bed and a thinking sound, and changes between listening and thinking every few
seconds; `silent` is soundscape with a scene in which nothing sounds. Each kind runs in a process of its own, in turns;
the process' CPU time (all of its threads) is divided by wall time and sessions. `floor` captures blocks of 200 ms of
silence, as long as those of soundscape's room output, and nothing else.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from latency import write_sounds
from livekit import rtc
from livekit.agents import AgentSession, AgentStateChangedEvent
from peer import Started, Starter, start_drop_in, start_livekit, start_soundscape

ROUNDS = 3
STATE_SECONDS = 10.0


async def start_silent(folder: Path, session: AgentSession[Any]) -> Started:
    return await start_soundscape(folder, session, "[states.thinking]")


async def start_floor(folder: Path, session: AgentSession[Any]) -> Started:
    source = rtc.AudioSource(48_000, 1, queue_size_ms=600)
    track = rtc.LocalAudioTrack.create_audio_track("floor", source)
    frame = rtc.AudioFrame(bytes(19_200), 48_000, 1, 9_600)

    async def pump() -> None:
        while track:
            await source.capture_frame(frame)

    task = asyncio.create_task(pump())

    async def aclose() -> None:
        task.cancel()
        await source.aclose()

    return track, aclose


KINDS: dict[str, Starter] = {
    "soundscape": start_soundscape,
    "drop-in": start_drop_in,
    "silent": start_silent,
    "livekit": start_livekit,
    "floor": start_floor,
}


async def measure(kind: str, seconds: float, count: int) -> float:
    """The share of a core that one session takes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sounds(folder)
        sessions: list[AgentSession[Any]] = [AgentSession() for _ in range(count)]
        started = [await KINDS[kind](folder, session) for session in sessions]
        await asyncio.sleep(1.5)
        cpu, wall = time.process_time(), time.perf_counter()
        states = ["listening", "thinking"]
        while time.perf_counter() - wall < seconds:
            old, new = states
            states.reverse()
            for session in sessions:
                session.emit("agent_state_changed", AgentStateChangedEvent(old_state=old, new_state=new))  # type: ignore[arg-type]
            await asyncio.sleep(STATE_SECONDS)
        share = (time.process_time() - cpu) / (time.perf_counter() - wall) / count
        for _, aclose in started:
            await aclose()
    return share


def main(seconds: float, count: int) -> None:
    shares: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(ROUNDS):
        for kind in KINDS:
            command = [sys.executable, __file__, kind, str(seconds), str(count)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            shares[kind].append(float(done.stdout.split()[-1]))
    for kind, found in shares.items():
        ratios = {
            other: statistics.median(a / b for a, b in zip(found, shares[other], strict=True))
            for other in ("livekit", "floor", "soundscape")
        }
        print(
            f"{kind:11} {100 * statistics.median(found):5.2f} % of a core a session"
            f"   {ratios['livekit']:4.2f} of LiveKit's   {ratios['floor']:4.2f} of the floor"
            f"   {ratios['soundscape']:4.2f} of soundscape's"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in KINDS:
        print(asyncio.run(measure(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 40, int(sys.argv[2]) if len(sys.argv) > 2 else 10)
