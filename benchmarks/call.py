"""A call as a caller hears it, in a real room of LiveKit's own server: soundscape beside LiveKit's player, in one run.

    python benchmarks/call.py [CHANGES] [SECONDS]

needs LiveKit's server: LIVEKIT_SERVER is its path, or `livekit-server` is on the PATH. CHANGES of state at random
moments, one in SECONDS (100 and 2 unless given; `200 3` is a call of ten minutes), told to both on one session; a third
participant listens to their tracks. Both play the same two files, a bed of noise and a tone while the agent thinks.

Printed is how late a change is heard, from the session's event to the arrival of the block in which the tone comes or
goes; what was missing, beside what the receiver's own statistics say of packets and of sound that it made up; and what
was received of soundscape beside the engine's render of the call's recording: how far they lag, how much they are
alike, and how the level of each layer differs in each state.
"""

from __future__ import annotations

import asyncio
import math
import random
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from livekit import rtc
from livekit.agents import AgentSession, AgentStateChangedEvent
from livekit.agents.voice import background_audio as livekit
from peer import SCENE

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from livekit_server import LiveKitServer, running

from soundscape import RoomOutput, Scene, Soundscape
from soundscape.outputs.file import write_audio
from soundscape.testing import replay

RATE, BLOCK = 48_000, 480
Samples = npt.NDArray[np.float64]


def write_sounds(folder: Path) -> None:
    times = np.arange(60 * RATE) / RATE
    sounds = {"bed": np.random.default_rng(1).normal(0, 0.02, len(times)), "tone": 0.1 * np.sin(2000 * np.pi * times)}
    for name, sound in sounds.items():
        write_audio(folder / f"{name}.wav", [sound.astype(np.float32)[:, np.newaxis]], RATE)


def tone(samples: Samples) -> float:
    """The amplitude of the tone, whose periods fill a block."""
    turns = np.exp(-2j * np.pi * 1_000 * np.arange(len(samples)) / RATE)
    return float(2 * abs(np.dot(samples, turns)) / len(samples))


def noise(samples: Samples) -> float:
    """What is there beside the tone, RMS."""
    return math.sqrt(max(float(np.mean(samples**2)) - tone(samples) ** 2 / 2, 0.0))


class Ear:
    """Hears one participant's track, block by block."""

    def __init__(self, track: rtc.RemoteTrack) -> None:
        self.track = track
        self.blocks: list[Samples] = []
        self.changes: list[tuple[float, bool]] = []
        self._stream = rtc.AudioStream.from_track(track=track, sample_rate=RATE, num_channels=1, frame_size_ms=10)
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        loop, loud = asyncio.get_running_loop(), False
        async for event in self._stream:
            self.blocks.append(np.frombuffer(event.frame.data, np.int16) / 32_768)
            if (tone(self.blocks[-1]) > 0.05) != loud:
                loud = not loud
                self.changes.append((loop.time(), loud))

    @property
    def silent(self) -> int:
        """Blocks without sound since the first one with it: the bed never stops."""
        sounding = [bool(np.sqrt(np.mean(block**2)) > 0.002) for block in self.blocks]
        return sounding[sounding.index(True) :].count(False)

    async def statistics(self) -> str:
        for stats in await self.track.get_stats():
            if stats.HasField("inbound_rtp"):
                inbound, received = stats.inbound_rtp.inbound, stats.inbound_rtp.received
                return (
                    f"{received.packets_lost} of {received.packets_lost + received.packets_received} packets lost, "
                    f"{inbound.concealed_samples / RATE:.2f} s made up in {inbound.concealment_events} places, "
                    f"{inbound.inserted_samples_for_deceleration / RATE:.2f} s stretched, "
                    f"{inbound.removed_samples_for_acceleration / RATE:.2f} s cut out"
                )
        return "no statistics"

    async def aclose(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._stream.aclose()


def lag_of(received: Samples, sent: Samples) -> tuple[int, float]:
    """By how many frames the one lags behind the other, and their correlation there."""
    size = 1 << (len(received) + len(sent)).bit_length()
    product = np.fft.irfft(np.fft.rfft(received, size) * np.conj(np.fft.rfft(sent, size)), size)
    lag = int(np.argmax(product))
    lag = lag - size if lag > size // 2 else lag
    a = received[max(lag, 0) :]
    b = sent[max(-lag, 0) :]
    length = min(len(a), len(b))
    a, b = a[:length], b[:length]
    return lag, float(np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)))


def compare(heard: Samples, folder: Path, recording: Path) -> None:
    """What was received beside what the engine renders of the recording."""
    take = replay(Scene.from_toml(SCENE, folder), recording)
    sent = take.audio()[:, 0].astype(np.float64)
    commits = [entry for entry in take.log if entry.action == "commit" and entry.key in ("listening", "thinking")]
    heard = heard[np.flatnonzero(np.abs(heard) > 0.001)[0] :]
    lag, _ = lag_of(heard[: 20 * RATE], sent[: 30 * RATE])
    alike: list[float] = []
    lags: list[int] = []
    levels: dict[str, list[float]] = {"bed, listening": [], "bed, thinking": [], "tone, thinking": []}
    for entry, following in pairwise(commits):
        first, last = entry.frame + RATE // 2, following.frame - RATE // 10
        if last - first < RATE // 2:
            continue
        piece = sent[first:last]
        more = heard[max(first + lag - RATE // 10, 0) : last + lag + RATE // 10]
        off, likeness = lag_of(more, piece)
        lag += off - min(first + lag, RATE // 10)  # the receiver stretches and cuts
        alike.append(likeness)
        lags.append(lag)
        there = heard[first + lag : last + lag]
        piece = piece[: len(there)]
        levels[f"bed, {entry.key}"].append(20 * np.log10(noise(there) / noise(piece)))
        if entry.key == "thinking":
            levels["tone, thinking"].append(20 * np.log10(tone(there) / tone(piece)))
    print(f"received beside rendered: correlation, median {statistics.median(alike):.3f}, least {min(alike):.3f}")
    print(f"  it drifts by {1000 * (max(lags) - min(lags)) / RATE:.0f} ms in all, in {len(lags)} states")
    for name, found in levels.items():
        print(f"  level of the {name}: {statistics.median(found):+.2f} dB, {min(found):+.2f} to {max(found):+.2f}")


async def call(server: LiveKitServer, folder: Path, changes: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    rooms = {name: await server.join(name) for name in ("caller", "soundscape", "LiveKit")}
    ears: dict[str, Ear] = {}

    def subscribed(track: rtc.RemoteTrack, _: object, participant: rtc.RemoteParticipant) -> None:
        ears[participant.identity] = Ear(track)

    rooms["caller"].on("track_subscribed", subscribed)
    session: AgentSession[Any] = AgentSession()
    recording = folder / "call.jsonl"
    output = RoomOutput(rooms["soundscape"])
    background = Soundscape(Scene.from_toml(SCENE, folder), seed=1, output=output, record=recording).attach(session)
    config = livekit.AudioConfig
    player = livekit.BackgroundAudioPlayer(
        ambient_sound=config(str(folder / "bed.wav")), thinking_sound=config(str(folder / "tone.wav"))
    )
    await player.start(room=rooms["LiveKit"], agent_session=session)
    while len(ears) < 2:
        await asyncio.sleep(0.01)
    await asyncio.sleep(3)
    events: list[tuple[float, bool]] = []
    began = loop.time()
    for i in range(changes):
        await asyncio.sleep(began + (i + 0.5 * random.random()) * seconds - loop.time())
        old, new = ("thinking", "listening") if i % 2 else ("listening", "thinking")
        events.append((loop.time(), new == "thinking"))
        session.emit("agent_state_changed", AgentStateChangedEvent(old_state=old, new_state=new))  # type: ignore[arg-type]
    await asyncio.sleep(1.5)

    medians = {}
    for who in ("soundscape", "LiveKit"):
        late = []
        for at, loud in events:
            arrival = next((when for when, what in ears[who].changes if what == loud and at < when < at + 1.2), None)
            late += [] if arrival is None else [1000 * (arrival - at)]
        late.sort()
        medians[who] = statistics.median(late)
        print(
            f"{who:11} median {medians[who]:6.1f} ms   p99 {late[int(0.99 * (len(late) - 1))]:6.1f}"
            f"   least {late[0]:6.1f}   most {late[-1]:6.1f}   heard {len(late)} of {len(events)}"
        )
        print(
            f"  {len(ears[who].blocks) / 100:.0f} s, {10 * ears[who].silent} ms silent; {await ears[who].statistics()}"
        )
    print(f"soundscape's median is 1 / {medians['LiveKit'] / medians['soundscape']:.1f} of LiveKit's")
    stats = output.stats
    print(f"  at its track: {stats.gaps} gaps, {stats.fallbacks} fall-backs, {stats.disagreements} disagreements")
    heard = np.concatenate(ears["soundscape"].blocks)
    await background.aclose()
    await player.aclose()
    for ear in ears.values():
        await ear.aclose()
    for room in rooms.values():
        await room.disconnect()
    compare(heard, folder, recording)


def main(changes: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sounds(folder)
        with running(folder) as server:
            asyncio.run(call(server, folder, changes, seconds))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100, float(sys.argv[2]) if len(sys.argv) > 2 else 2.0)
