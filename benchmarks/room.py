"""What a background costs in a room of LiveKit's own server, with codec and network, of the processor and of the line.

    python benchmarks/room.py [SECONDS] [ROOMS]

needs LiveKit's server, as `call.py` does. ROOMS rooms of one process are connected all the time; in turns, in three
rounds, each has for SECONDS no background (`none`), one with a bed, the same without RED at 24 kbit/s, a scene in which
nothing sounds, the same with DTX, or LiveKit's player with the same bed (10 and 5 unless given). Printed is the CPU
time, in brackets what is beyond that of `none`, and what each room's track sends: payload, and on the line with its
headers (RTP's, as counted, and 38 bytes a packet of UDP, IP and SRTP). Nobody subscribes: to hear it costs the server
and the caller.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from call import write_sounds
from livekit import rtc
from livekit.agents import AgentSession
from livekit.agents.voice import background_audio as livekit
from peer import SCENE

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from livekit_server import running

from soundscape import RoomOutput, Scene, Soundscape

ROUNDS = 3
SILENCE = "[states.thinking]"
OVERHEAD = 38  # bytes a packet
Ends = Callable[[], Awaitable[None]]


NARROW = rtc.TrackPublishOptions(dtx=False, red=False)
NARROW.audio_encoding.max_bitrate = 24_000
KINDS: dict[str, tuple[str, rtc.TrackPublishOptions | None]] = {
    "bed": (SCENE, None),
    "bed, narrow": (SCENE, NARROW),
    "silence": (SILENCE, None),
    "silence, DTX": (SILENCE, rtc.TrackPublishOptions(dtx=True)),
}


async def started(kind: str, room: rtc.Room, folder: Path) -> Ends:
    session: AgentSession[None] = AgentSession()
    if kind == "livekit":
        player = livekit.BackgroundAudioPlayer(ambient_sound=str(folder / "bed.wav"))
        await player.start(room=room, agent_session=session)
        return player.aclose
    scene, published = KINDS[kind]
    output = RoomOutput(room, options=published)
    return Soundscape(Scene.from_toml(scene, folder), seed=1, output=output).attach(session).aclose


async def sent(rooms: list[rtc.Room]) -> tuple[int, int]:
    """Bytes of all tracks so far: payload, and on the line."""
    payload = line = 0
    for room in rooms:
        for publication in room.local_participant.track_publications.values():
            assert publication.track is not None
            for stats in await publication.track.get_stats():
                if stats.HasField("outbound_rtp"):
                    out = stats.outbound_rtp
                    payload += out.sent.bytes_sent
                    line += out.sent.bytes_sent + out.outbound.header_bytes_sent + OVERHEAD * out.sent.packets_sent
    return payload, line


async def measure(kind: str, rooms: list[rtc.Room], seconds: float, folder: Path) -> tuple[float, float, float]:
    """Percent of a core, kbit/s of payload and on the line, a room."""
    ends = [] if kind == "none" else [await started(kind, room, folder) for room in rooms]
    await asyncio.sleep(3)
    before, cpu, began = await sent(rooms), time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    cpu, lasted = time.process_time() - cpu, time.monotonic() - began
    payload, line = (
        8 * (now - then) / lasted / 1_000 / len(rooms) for now, then in zip(await sent(rooms), before, strict=True)
    )
    for end in ends:
        await end()
    return 100 * cpu / lasted / len(rooms), payload, line


async def main(seconds: float, count: int) -> None:
    found: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in ("none", *KINDS, "livekit")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sounds(folder)
        with running(folder) as server:
            rooms = [await server.join("agent", str(number)) for number in range(count)]
            for _ in range(ROUNDS):
                for kind, figures in found.items():
                    figures.append(await measure(kind, rooms, seconds, folder))
            for room in rooms:
                await room.disconnect()
    for kind, figures in found.items():
        more = [cpu - none for (cpu, _, _), (none, _, _) in zip(figures, found["none"], strict=True)]
        cpu, payload, line = (statistics.median(column) for column in zip(*figures, strict=True))
        print(
            f"{kind:13} {cpu:5.2f} % of a core a room (+{statistics.median(more):5.2f}, "
            f"{min(more):.2f} to {max(more):.2f})   {payload:5.1f} kbit/s, {line:5.1f} on the line"
        )


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if sys.argv[1:] else 10, int(sys.argv[2]) if sys.argv[2:] else 5))
