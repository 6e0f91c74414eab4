"""A call as a caller hears it, in a real room of LiveKit's own server: soundscape beside LiveKit's player, in one run.

    python benchmarks/call.py [CHANGES] [SECONDS]

needs LiveKit's server: LIVEKIT_SERVER is its path, or `livekit-server` is on the PATH. CHANGES of state at random
moments, one in SECONDS (100 and 2 unless given; `200 3` is a call of ten minutes), told to both on one session; a third
participant listens to their tracks. Both play the same two files, a bed of noise and a tone while the agent thinks.

Printed is how late a change is heard, from the session's event to the arrival of the block in which the tone comes or
goes (one that is not heard within 1.2 s is later than all others; one that nothing was said of counts as heard of
none); where the bed was missing for 4 ms or more, beside what the receiver's own statistics say of packets and of sound
that it made up; and what was received of soundscape beside the engine's render of the call's recording: how far they
lag, how much they are alike, and how the level of each layer, and of each 20 ms, differs in each state.
"""

from __future__ import annotations

import asyncio
import math
import random
import statistics
import sys
import tempfile
from dataclasses import replace
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

RATE = 48_000
BED, BAND = 0.02, 8_000  # RMS, and Hz up to where its noise goes: what a codec passes on as it is
WINDOW = 96  # frames, two periods of the tone
AT_MOST_DB = 1.0
Samples = npt.NDArray[np.float64]


def write_sounds(folder: Path) -> None:
    times = np.arange(60 * RATE) / RATE
    spectrum = np.fft.rfft(np.random.default_rng(1).normal(0, 1, len(times)))
    spectrum[np.fft.rfftfreq(len(times), 1 / RATE) > BAND] = 0
    bed = np.fft.irfft(spectrum, len(times))
    sounds = {"bed": bed * BED / bed.std(), "tone": 0.1 * np.sin(2000 * np.pi * times)}
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
    def holes(self) -> tuple[int, float]:
        """Where the bed, which never stops, is at less than 0.4 of its level in two windows or more: how often, and for
        how many ms in all. A codec does as much to one, where a tone comes or goes."""
        heard = np.concatenate(self.blocks)
        heard = heard[np.flatnonzero(np.abs(heard) > 0.001)[0] :]
        windows = heard[: len(heard) // WINDOW * WINDOW].reshape(-1, WINDOW)
        turns = np.exp(-2j * np.pi * 1_000 * np.arange(WINDOW) / RATE)
        beside = np.mean(windows**2, axis=1) - 2 * np.abs(windows @ turns / WINDOW) ** 2
        edges = np.flatnonzero(np.diff(np.concatenate([[False], beside < (0.4 * BED) ** 2, [False]])))
        lengths = (edges[1::2] - edges[::2]) * 1_000 * WINDOW / RATE
        lengths = lengths[lengths > 1_000 * WINDOW / RATE]
        return len(lengths), float(lengths.sum())

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


def rms(samples: Samples) -> Samples:
    """Of each 20 ms."""
    blocks = samples[: len(samples) // 960 * 960].reshape(-1, 960)
    return np.asarray(np.sqrt(np.mean(blocks**2, axis=1)) + 1e-9)


def compare(heard: Samples, folder: Path, recording: Path) -> None:
    """What was received beside what the engine renders of the recording."""
    take = replay(Scene.from_toml(SCENE, folder), recording)
    sent = take.audio()[:, 0].astype(np.float64)
    commits = [entry for entry in take.log if entry.action == "commit" and entry.key in ("listening", "thinking")]
    heard = heard[np.flatnonzero(np.abs(heard) > 0.001)[0] :]
    lag, _ = lag_of(heard[: 20 * RATE], sent[: 30 * RATE])
    alike: dict[str, list[float]] = {"listening": [], "thinking": []}
    lags: list[int] = []
    levels: dict[str, list[float]] = {"bed, listening": [], "bed, thinking": [], "tone, thinking": []}
    moments: list[float] = []
    for entry, following in pairwise(commits):
        first, last = entry.frame + RATE // 20, following.frame - RATE // 10
        if last - first < RATE // 2:
            continue
        piece = sent[first:last]
        more = heard[max(first + lag - RATE // 10, 0) : last + lag + RATE // 10]
        off, likeness = lag_of(more, piece)
        lag += off - min(first + lag, RATE // 10)  # the receiver stretches and cuts
        alike[entry.key].append(likeness)
        lags.append(lag)
        there = heard[first + lag : last + lag]
        piece = piece[: len(there)]
        moments += [20 * np.log10(a / b) for a, b in zip(rms(there), rms(piece), strict=True)]
        levels[f"bed, {entry.key}"].append(20 * np.log10(noise(there) / noise(piece)))
        if entry.key == "thinking":
            levels["tone, thinking"].append(20 * np.log10(tone(there) / tone(piece)))
    print("received beside rendered, from 50 ms after a change to 100 ms before the next:")
    for state, found in alike.items():
        print(f"  correlation in {state}: median {statistics.median(found):.3f}, least {min(found):.3f}")
    print(f"  it drifts by {1000 * (max(lags) - min(lags)) / RATE:.0f} ms in all, in {len(lags)} states")
    for name, found in levels.items():
        print(f"  level of the {name}: {statistics.median(found):+.2f} dB, {min(found):+.2f} to {max(found):+.2f}")
        wrong = sum(abs(level) > AT_MOST_DB for level in found)
        if wrong:
            print(f"  WRONG: in {wrong} of {len(found)} states it is off by more than {AT_MOST_DB} dB")
    moments.sort()
    print(f"  level of all in 20 ms: {moments[0]:+.2f} to {moments[-1]:+.2f} dB; 99 in a hundred", end=" ")
    print(f"{moments[len(moments) // 200]:+.2f} to {moments[-len(moments) // 200 - 1]:+.2f}")


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
    stats = replace(output.stats)  # what follows keeps the interpreter's lock

    medians = {}
    for who in ("soundscape", "LiveKit"):
        late = []
        for at, loud in events:
            arrival = next((when for when, what in ears[who].changes if what == loud and at < when < at + 1.2), None)
            late.append(math.inf if arrival is None else 1000 * (arrival - at))
        late.sort()
        unheard = late.count(math.inf)
        medians[who] = statistics.median(late)
        print(
            f"{who:11} median {medians[who]:6.1f} ms   p99 {late[int(0.99 * (len(late) - 1))]:6.1f}"
            f"   least {late[0]:6.1f}   most {late[-1]:6.1f}   heard {len(late) - unheard} of {len(events)}"
            f"   heard of none {len(ears[who].changes) - len(late) + unheard}"
        )
        holes, missing = ears[who].holes
        seconds_heard = len(ears[who].blocks) / 100
        print(f"  {seconds_heard:.0f} s, {missing:.0f} ms missing in {holes} places; {await ears[who].statistics()}")
    print(f"soundscape's median is 1 / {medians['LiveKit'] / medians['soundscape']:.1f} of LiveKit's")
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
