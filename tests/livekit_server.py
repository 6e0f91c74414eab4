"""LiveKit's own server for tests, on this machine alone, and callers who listen in its rooms."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from livekit import api, rtc

KEY, SECRET = "devkey", "secret-secret-secret-secret-secret-1234"
GET_IT = "GOBIN=~/bin go install github.com/livekit/livekit-server/cmd/server@v1.13.5"
WHY_NOT = f"needs LiveKit's server: set LIVEKIT_SERVER to its path, or have livekit-server on the PATH ({GET_IT})"
LONGEST = 900  # seconds after which a server that nobody stopped stops by itself

CONFIG = """
port: {port}
bind_addresses: ["127.0.0.1"]
rtc: {{ tcp_port: {tcp}, udp_port: {udp}, node_ip: 127.0.0.1, use_external_ip: false, enable_loopback_candidate: true }}
keys: {{ {key}: {secret} }}
logging: {{ level: error }}
"""


def find_server() -> str | None:
    """The program, if there is one."""
    return os.environ.get("LIVEKIT_SERVER") or shutil.which("livekit-server")


def free_port(kind: socket.SocketKind) -> int:
    with closing(socket.socket(socket.AF_INET, kind)) as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


class LiveKitServer:
    """One server process, on ports of its own, which it keeps when it is started again."""

    def __init__(self, program: str, folder: Path) -> None:
        self.port = free_port(socket.SOCK_STREAM)
        self.url = f"ws://127.0.0.1:{self.port}"
        self._config = folder / "livekit.yaml"
        ports = {"tcp": free_port(socket.SOCK_STREAM), "udp": free_port(socket.SOCK_DGRAM)}
        self._config.write_text(CONFIG.format(port=self.port, key=KEY, secret=SECRET, **ports))
        self._command = ["timeout", "--foreground", str(LONGEST), program, "--config", str(self._config)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        until = time.monotonic() + 20
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}", timeout=1) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends it at once, as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    def token(self, name: str, room: str) -> str:
        grants = api.VideoGrants(room_join=True, room=room)
        return api.AccessToken(KEY, SECRET).with_identity(name).with_grants(grants).to_jwt()

    async def join(self, name: str, room: str = "call") -> rtc.Room:
        """Somebody in a room."""
        joined = rtc.Room()
        await joined.connect(self.url, self.token(name, room))
        return joined


@contextmanager
def running(folder: Path) -> Iterator[LiveKitServer]:
    program = find_server()
    assert program is not None, WHY_NOT
    server = LiveKitServer(program, folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Caller:
    """Listens to a track of a room, named, as long as it is there, and to what comes in its place."""

    def __init__(self, room: rtc.Room, track_name: str = "background_audio") -> None:
        self.room = room
        self.blocks: list[npt.NDArray[np.int16]] = []
        self.times: list[float] = []
        self.subscriptions = 0
        self._name = track_name
        self._tasks: set[asyncio.Task[None]] = set()
        room.on("track_subscribed", self._subscribed)

    def _subscribed(self, track: rtc.RemoteTrack, publication: rtc.RemoteTrackPublication, *_: object) -> None:
        if publication.name == self._name:
            self.subscriptions += 1
            self._tasks.add(asyncio.create_task(self._listen(track)))

    async def _listen(self, track: rtc.RemoteTrack) -> None:
        stream = rtc.AudioStream.from_track(track=track, sample_rate=48_000, num_channels=1)
        try:
            async for event in stream:
                self.blocks.append(np.frombuffer(event.frame.data, np.int16).copy())
                self.times.append(asyncio.get_running_loop().time())
        finally:
            await stream.aclose()

    def since(self, at: float) -> npt.NDArray[np.int16]:
        """What came from a time of the loop's on."""
        blocks = [block for block, time in zip(self.blocks, self.times, strict=True) if time >= at]
        return np.concatenate(blocks) if blocks else np.zeros(0, np.int16)

    async def leave(self) -> None:
        await self.room.disconnect()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
