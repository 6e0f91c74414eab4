"""A sound card for tests: a PulseAudio server of their own that plays into nothing, and what it played.

PortAudio looks for devices when it is imported, so what plays is a process of its own, with `SoundCard.env`.

Skipped where the programs are missing, with the command that gets them; with SOUNDSCAPE_SOUND_CARD=1 that is a failure.
"""

from __future__ import annotations

import ctypes.util
import fcntl
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

RATE = 48_000
GET_IT = "apt install libportaudio2 pulseaudio pulseaudio-utils libasound2-plugins"
LONGEST = 300  # seconds after which a server that nobody stopped stops by itself
SINK = ["module-null-sink", "sink_name=null", f"rate={RATE}", "channels=2"]

_missing = [name for name in ("pulseaudio", "pactl", "parec") if shutil.which(name) is None]
_missing += [] if ctypes.util.find_library("portaudio") else ["PortAudio"]
_required = os.environ.get("SOUNDSCAPE_SOUND_CARD") == "1"
needs_sound_card = pytest.mark.skipif(
    bool(_missing) and not _required, reason=f"needs a sound card of its own: no {', '.join(_missing)} ({GET_IT})"
)


class SoundCard:
    """A server with one sink, and a recording of all that it plays.

    Attributes:
        env: what a process needs to play on it.
    """

    def __init__(self, folder: Path) -> None:
        runtime, home = folder / "run", folder / "home"
        runtime.mkdir(mode=0o700, parents=True)
        home.mkdir()
        own = {"XDG_RUNTIME_DIR": str(runtime), "HOME": str(home), "PULSE_SERVER": f"unix:{runtime}/pulse/native"}
        self.env = {**os.environ, **own, "TERM": "xterm", "COLUMNS": "160"}
        self.env.setdefault("SOUNDSCAPE_CACHE", "off")
        self._blocks: list[bytes] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Starts the server and listens; again, after it was killed, as well."""
        command = [
            "timeout",
            str(LONGEST),
            "pulseaudio",
            "-n",
            "--daemonize=no",
            "--exit-idle-time=-1",
            "--use-pid-file=no",
        ]
        self._start([*command, "-L", "module-native-protocol-unix", "-L", " ".join(SINK)])
        until = time.monotonic() + 20
        while subprocess.run(["pactl", "info"], env=self.env, capture_output=True).returncode:
            assert time.monotonic() < until, "the sound server does not answer"
            time.sleep(0.05)
        self.listen()

    def listen(self) -> None:
        """Records what the sink plays from now on, as long as it is there."""
        form = ["--format=s16le", f"--rate={RATE}", "--channels=1", "--latency-msec=20"]
        recorder = self._start(["timeout", str(LONGEST), "parec", "-d", "null.monitor", *form], stdout=subprocess.PIPE)
        threading.Thread(target=self._record, args=[recorder], daemon=True).start()
        # *Measured*: a player that comes to a sink that nothing was attached to for 3 s may be held up at its start.
        self.goes_on(3.0)

    def goes_on(self, seconds: float) -> None:
        """Waits until it has played for so long, be it silence."""
        until = len(self.heard()) + seconds * RATE
        wait_for(lambda: len(self.heard()) > until)

    def pactl(self, *words: str) -> None:
        """Tells the server something."""
        subprocess.run(["pactl", *words], env=self.env, check=True, capture_output=True)

    def stop(self) -> None:
        """Ends it at once, as a crash would."""
        for process in reversed(self._processes):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()
        self._processes.clear()

    def heard(self) -> npt.NDArray[np.float32]:
        """All that was played since the start: float32 `(frames,)`, the quiet included."""
        data = b"".join(self._blocks)
        samples = np.frombuffer(data[: len(data) // 2 * 2], np.int16)
        return samples.astype(np.float32) / np.float32(32_768)

    def _start(self, command: list[str], stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command, env=self.env, stdout=stdout, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._processes.append(process)
        return process

    def _record(self, recorder: subprocess.Popen[bytes]) -> None:
        assert recorder.stdout is not None
        with suppress(ValueError):  # closed by `stop`
            while block := os.read(recorder.stdout.fileno(), 65_536):
                self._blocks.append(block)


@contextmanager
def sound_card(folder: Path) -> Iterator[SoundCard]:
    assert not _missing, f"no {', '.join(_missing)}: {GET_IT}"
    card = SoundCard(folder)
    try:
        card.start()
        yield card
    finally:
        card.stop()


def without_portaudio(env: dict[str, str], folder: Path) -> dict[str, str]:
    """For a process to which its system says that there is no PortAudio."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import ctypes.util\nctypes.util.find_library = lambda name: None\n")
    return {**env, "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), env.get("PYTHONPATH")]))}


class Terminal:
    """A program in a terminal of its own, whose keys can be pressed."""

    def __init__(self, *arguments: str, env: dict[str, str], cwd: Path) -> None:
        self._own, other = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=other,
            stdout=other,
            stderr=other,
            env=env,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(other)
        self._read: list[bytes] = []
        self._reader = threading.Thread(target=self._keep, daemon=True)
        self._reader.start()

    @property
    def shown(self) -> str:
        """All that it wrote."""
        return b"".join(self._read).decode(errors="replace")

    @property
    def echoes(self) -> bool:
        """Whether it shows what is typed, and a line at a time, as a shell left it."""
        flags = termios.tcgetattr(self._own)[3]
        return bool(flags & termios.ECHO and flags & termios.ICANON)

    def press(self, keys: str) -> None:
        os.write(self._own, keys.encode(errors="surrogateescape"))

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self, seconds: float = 30) -> int:
        """Its exit status."""
        status = self.process.wait(seconds)
        self._reader.join(5)
        return status

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self._reader.join(5)
        os.close(self._own)

    def _keep(self) -> None:
        with suppress(OSError):  # the other end is closed
            while block := os.read(self._own, 65_536):
                self._read.append(block)


def wait_for(true: Callable[[], bool], seconds: float = 30) -> None:
    """Waits until something is true, and fails where it does not become so."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.02)


def level(samples: npt.NDArray[np.float32], hertz: float) -> float:
    """The amplitude of a tone; full scale is 1."""
    window = np.hanning(len(samples))
    turns = np.exp(-2j * np.pi * hertz * np.arange(len(samples)) / RATE)
    return float(2 * abs(np.dot(samples * window, turns)) / window.sum())
