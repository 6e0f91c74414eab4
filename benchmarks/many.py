"""Many calls in one process: how many play without a gap, what each further one takes, what is left when they end.

    python benchmarks/many.py sessions [COUNTS...]  gaps of so many sessions, each kind in a process of its own
    python benchmarks/many.py memory                of each further session
    python benchmarks/many.py rounds [ROUNDS]       100 sessions started and closed, again and again

Every session plays a bed of noise and changes between thinking and listening. Of `sessions`, eight tracks are listened
to, for 10 s: to hear them all would take more than to play them.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from livekit.agents import AgentSession
from peer import Starter, start_drop_in, start_livekit, start_soundscape
from robust import Tap, changes, write_noises

KINDS: dict[str, Starter] = {"soundscape": start_soundscape, "drop-in": start_drop_in, "livekit": start_livekit}


async def sessions(kind: str, count: int, folder: Path) -> None:
    found: list[AgentSession[Any]] = [AgentSession() for _ in range(count)]
    started = [await KINDS[kind](folder, session) for session in found]
    await asyncio.sleep(3)
    taps = [Tap(track) for track, _ in random.sample(started, min(8, count))]
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(changes(session, 10) for session in found))
    share = (time.process_time() - cpu) / (time.perf_counter() - wall)
    gaps = [tap.gaps() for tap in taps]
    print(f"{kind:11} {count:4} sessions: {sum(n for n, _ in gaps):4} gaps, {sum(s for _, s in gaps):6.2f} s", end="")
    print(f" on {len(taps)} tracks; {100 * share:.0f} % of a core", flush=True)
    os._exit(0)  # what comes now is of no interest


def memory_now() -> int:
    """Bytes that are this process' alone."""
    gc.collect()
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private"))


async def memory(kind: str, folder: Path) -> None:
    closers, before = [], 0
    for count in range(61):
        _, aclose = await KINDS[kind](folder, AgentSession())
        closers.append(aclose)
        if count == 10:
            await asyncio.sleep(2)
            before = memory_now()
    await asyncio.sleep(2)
    print(f"{kind:11} {(memory_now() - before) / 50 / 1e6:.2f} MB for each further session", flush=True)
    os._exit(0)


async def rounds(count: int, folder: Path) -> None:
    for number in range(count):
        started = [await start_soundscape(folder, AgentSession()) for _ in range(100)]
        await asyncio.sleep(0.5)
        await asyncio.gather(*(aclose() for _, aclose in started))
        del started
        await asyncio.sleep(0.2)
        threads, tasks, fds = threading.active_count(), len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
        print(
            f"round {number + 1:2}: {memory_now() / 1e6:6.1f} MB, {threads} threads, {tasks} tasks, {fds} descriptors"
        )


def main() -> None:
    what = sys.argv[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_noises(folder)
        if what == "rounds":
            asyncio.run(rounds(int(sys.argv[2]) if len(sys.argv) > 2 else 20, folder))
            return
        for kind in KINDS:
            for count in sys.argv[2:] or (["20", "40", "70", "100"] if what == "sessions" else ["0"]):
                subprocess.run([sys.executable, __file__, f"in-{what}", kind, count, str(folder)], check=True)


if __name__ == "__main__":
    if sys.argv[1] == "in-sessions":
        asyncio.run(sessions(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])))
    elif sys.argv[1] == "in-memory":
        asyncio.run(memory(sys.argv[2], Path(sys.argv[4])))
    else:
        main()
