"""How late a change of state is heard: soundscape, its drop-in player and LiveKit's own, on one session, in one run.

    python benchmarks/latency.py [CHANGES]

All play the same two files: quiet noise, and a tone while the agent thinks. All publish a real track, read back with
`rtc.AudioStream.from_track`. The clock runs from the session's event to the arrival of the 10 ms block in which the
tone is first there, or for the first time not; what is not heard within 1.2 s is endless. What was heard of soundscape
is then compared, sample for sample, with what a fresh engine renders of the same facts.
"""

from __future__ import annotations

import asyncio
import math
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from livekit import rtc
from livekit.agents import AgentSession, AgentStateChangedEvent
from peer import SCENE, start_drop_in, start_livekit

from soundscape import RoomOutput, Scene, Soundscape
from soundscape.engine import Engine
from soundscape.outputs import to_int16
from soundscape.outputs.file import write_audio

SAMPLE_RATE = 48_000


def write_sounds(folder: Path) -> None:
    times = np.arange(20 * SAMPLE_RATE) / SAMPLE_RATE
    sounds = {"bed": np.random.default_rng(1).normal(0, 0.01, len(times)), "tone": 0.5 * np.sin(2000 * np.pi * times)}
    for name, sound in sounds.items():
        write_audio(folder / f"{name}.wav", [sound.astype(np.float32)[:, np.newaxis]], SAMPLE_RATE)


class Tap:
    """Listens to a track for the block in which the tone comes or goes."""

    def __init__(self, track: rtc.LocalAudioTrack) -> None:
        self._loop = asyncio.get_running_loop()
        self._stream = rtc.AudioStream.from_track(track=track, sample_rate=SAMPLE_RATE, num_channels=1)
        self._loud = False
        self.changes: list[tuple[float, bool]] = []
        self.blocks: list[npt.NDArray[np.int16]] = []
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for event in self._stream:
            self.blocks.append(np.frombuffer(event.frame.data, np.int16))
            peak = np.abs(self.blocks[-1]).max() / 32768
            if (peak > 0.1) != self._loud:
                self._loud = not self._loud
                self.changes.append((self._loop.time(), self._loud))

    async def aclose(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._stream.aclose()


def compared(blocks: list[npt.NDArray[np.int16]], engine: Engine, again: Engine) -> tuple[int, int, int]:
    """What was heard beside what a fresh engine renders of the same facts.

    Returns:
        Blocks of 10 ms that are the same; that are silent where there should be sound, which is then heard later; and
        that are neither.
    """
    for frame, fact in engine.facts:
        again.post(fact, frame)
    sound = to_int16(again.render(engine.position))[:, 0]
    size = len(blocks[0])
    blocks = blocks[next(n for n, block in enumerate(blocks) if block.any()) :]
    # The tap may have missed the first; the bed is noise, so there is one place only.
    at = size * next(n for n in range(1000) if np.array_equal(sound[n * size : (n + 1) * size], blocks[0]))
    same = silent = other = 0
    for block in blocks:
        if not block.any():
            silent += 1
            continue
        equal = np.array_equal(block, sound[at : at + size])
        same, other, at = same + equal, other + (not equal), at + size
    return same, silent, other


async def main(changes: int) -> None:
    loop = asyncio.get_running_loop()
    session: AgentSession[Any] = AgentSession()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sounds(folder)
        players = {"drop-in": await start_drop_in(folder, session), "LiveKit": await start_livekit(folder, session)}
        output = RoomOutput(None)
        background = Soundscape(Scene.from_toml(SCENE, folder), seed=1, output=output).attach(session)
        while output.track is None:
            await asyncio.sleep(0.01)
        taps = {"soundscape": Tap(output.track)} | {who: Tap(track) for who, (track, _) in players.items()}
        await asyncio.sleep(2)
        events: list[tuple[float, bool]] = []
        for i in range(changes):
            old, new = ("thinking", "listening") if i % 2 else ("listening", "thinking")
            events.append((loop.time(), new == "thinking"))
            session.emit("agent_state_changed", AgentStateChangedEvent(old_state=old, new_state=new))  # type: ignore[arg-type]
            await asyncio.sleep(1.2 + 0.3 * random.random())
        medians = {}
        for who, tap in taps.items():
            late = sorted(
                next(
                    (1000 * (when - at) for when, what in tap.changes if what == loud and at < when < at + 1.2),
                    math.inf,
                )
                for at, loud in events
            )
            medians[who] = statistics.median(late)
            print(
                f"{who:11} median {medians[who]:6.1f} ms   p99 {late[int(0.99 * (len(late) - 1))]:6.1f}"
                f"   least {late[0]:6.1f}   most {late[-1]:6.1f}   heard {sum(map(math.isfinite, late))} of {len(late)}"
            )
        for who in ("soundscape", "drop-in"):
            ratio = medians[who] / medians["LiveKit"]
            print(f"{who}'s median is {ratio:.3f} of LiveKit's, 1 / {1 / ratio:.1f}")
        again = Engine(background.scene, background.clips, seed=background.seed)
        same, silent, other = compared(taps["soundscape"].blocks, background.engine, again)
        print(f"soundscape: {same / 100:.0f} s are the engine's own, {silent} blocks of 10 ms silence, {other} neither")
        print(f"{output.stats}"[:250])
        for tap in taps.values():
            await tap.aclose()
        for aclose in (background.aclose, *(aclose for _, aclose in players.values())):
            await aclose()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
