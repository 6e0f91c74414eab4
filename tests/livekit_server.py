"""LiveKit's own server for tests, on this machine alone, workers who take its jobs, and callers who listen."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
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
room: {{ departure_timeout: 1 }}
logging: {{ level: error }}
"""


def find_server() -> str | None:
    """The program, if there is one."""
    return os.environ.get("LIVEKIT_SERVER") or shutil.which("livekit-server")


def free_ports(*kinds: socket.SocketKind) -> list[int]:
    """A port for each kind, no two the same."""
    with ExitStack() as stack:
        made = [stack.enter_context(socket.socket(socket.AF_INET, kind)) for kind in kinds]
        for one in made:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in made]


class LiveKitServer:
    """One server process, on ports of its own, which it keeps when it is started again."""

    def __init__(self, program: str, folder: Path) -> None:
        self.port, tcp, udp = free_ports(socket.SOCK_STREAM, socket.SOCK_STREAM, socket.SOCK_DGRAM)
        self.url = f"ws://127.0.0.1:{self.port}"
        self._config = folder / "livekit.yaml"
        self._config.write_text(CONFIG.format(port=self.port, tcp=tcp, udp=udp, key=KEY, secret=SECRET))
        self._log = folder / "livekit.log"
        self._command = ["timeout", "--foreground", str(LONGEST), program, "--config", str(self._config)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + 20
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}", timeout=1) as answer:
                    if answer.status == 200:
                        return
            except OSError as error:
                if time.monotonic() > until or self._process.poll() is not None:
                    said = self._log.read_text("utf-8", "replace")[-2_000:]
                    raise RuntimeError(f"LiveKit's server does not answer; it said: {said}") from error
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

    async def join(
        self, name: str, room: str = "call", url: str | None = None, options: rtc.RoomOptions | None = None
    ) -> rtc.Room:
        """Somebody in a room, over the server's own address unless said."""
        joined = rtc.Room()
        await joined.connect(url or self.url, self.token(name, room), options or rtc.RoomOptions())
        return joined

    async def delete(self, room: str) -> None:
        """Ends a room, as an application's backend does."""
        async with api.LiveKitAPI(f"http://127.0.0.1:{self.port}", KEY, SECRET) as backend:
            await backend.room.delete_room(api.DeleteRoomRequest(room=room))


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


class Line:
    """What the signal connection goes over, to be cut and mended; media take their own way."""

    def __init__(self, port: int) -> None:
        self._to = port
        (self._port,) = free_ports(socket.SOCK_STREAM)
        self.url = f"ws://127.0.0.1:{self._port}"
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._ends: set[asyncio.StreamWriter] = set()
        self._pipes: set[asyncio.Task[None]] = set()

    async def mend(self) -> None:
        """From now on connections are taken, and those that wait go on."""
        self._open.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._taken, "127.0.0.1", self._port)

    async def cut(self, *, refuse: bool) -> None:
        """Ends those there are, without a farewell. Others are refused, or wait."""
        self._open.clear()
        if self._server is not None and refuse:
            self._server.close()
            self._server = None
        for end in self._ends:
            end.transport.abort()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _taken(self, near: asyncio.StreamReader, near_end: asyncio.StreamWriter) -> None:
        await self._open.wait()
        far, far_end = await asyncio.open_connection("127.0.0.1", self._to)
        for reader, writer in ((near, far_end), (far, near_end)):
            self._ends.add(writer)
            self._pipes.add(asyncio.create_task(self._pipe(reader, writer)))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()


class Worker:
    """A worker process with all that it starts, in a session of its own.

    Args:
        server: whose jobs it takes.
        command: the program and its arguments, as for Python.
        log: where its output goes.
        environment: what it is given beside ours.
    """

    def __init__(self, server: LiveKitServer, command: list[str], log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        keys = {"LIVEKIT_URL": server.url, "LIVEKIT_API_KEY": KEY, "LIVEKIT_API_SECRET": SECRET}
        ours = {name: value for name, value in os.environ.items() if not name.startswith("LIVEKIT_")}
        ours["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)  # the package that is tested
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["timeout", "--foreground", str(LONGEST), sys.executable, *command],
                env={**ours, **keys, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def number(self) -> int:
        """Of its session, by which a job knows whose it is."""
        return self._process.pid

    def output(self) -> str:
        return self.log.read_text("utf-8", "replace")

    async def registered(self) -> None:
        """Waits until the server knows it."""
        async with asyncio.timeout(60):
            while "registered worker" not in self.output():
                assert self._process.poll() is None, self.output()
                await asyncio.sleep(0.05)

    def processes(self) -> list[int]:
        """Those of its session that run."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has just ended
                state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
                if int(session) == self.number and state != "Z":
                    found.append(int(stat.parent.name))
        return found

    def terminate(self) -> None:
        """SIGTERM to the worker, which `timeout` hands on, and to nothing that it started."""
        self._process.terminate()

    async def ended(self, seconds: float = 30) -> int:
        """Waits until it and all that it started are gone. Returns its exit status."""
        async with asyncio.timeout(seconds):
            while self._process.poll() is None or self.processes():
                await asyncio.sleep(0.05)
        assert self._process.returncode is not None
        return self._process.returncode

    def kill(self) -> None:
        """Ends what is left, until nothing is."""
        while left := self.processes():
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            self._process.poll()
            time.sleep(0.02)
        self._process.wait(10)


@contextmanager
def working(
    server: LiveKitServer, command: list[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Worker]:
    worker = Worker(server, command, log, environment or {})
    try:
        yield worker
    finally:
        worker.kill()


def level(samples: npt.NDArray[np.int16], hertz: float) -> float:
    """The amplitude of a tone; full scale is 1."""
    window = np.hanning(len(samples))
    turns = np.exp(-2j * np.pi * hertz * np.arange(len(samples)) / 48_000)
    return float(2 * abs(np.dot(samples / 32_768 * window, turns)) / window.sum())


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

    async def next(self, seconds: float) -> npt.NDArray[np.int16]:
        """What comes from now on."""
        at = asyncio.get_running_loop().time() + 0.2  # what was sent before is on its way
        async with asyncio.timeout(20):
            while len(self.since(at)) < seconds * 48_000:
                await asyncio.sleep(0.02)
        return self.since(at)

    async def leave(self) -> None:
        await self.room.disconnect()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
