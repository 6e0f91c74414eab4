"""Recordings: what a live session told its background and when, to be played back exactly.

A recording is JSON lines. The first says what was played, each other one what became true and when, the last one how
long it was; a call that crashed has no last one:

    {"soundscape": 1, "scene": "office", "seed": 7, "sample_rate": 48000}
    {"at": 0.0, "agent": "listening"}
    {"at": 3.02, "agent": "thinking"}
    {"at": 3.5, "tool": "look_up_order"}
    {"at": 4.96, "tool": null}
    {"at": 9.06, "close": true}
    {"at": 10.1, "end": true}

`at` is in seconds and tells the frame exactly. Nothing that was said is in it, by whom, or what a tool was given or
found: names of states and tools are the application's own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import reprlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from soundscape.engine import Engine, Fact, FactKind
from soundscape.exceptions import OutputError, UsageError

__all__ = ["Recorder", "RecorderRun", "Recording", "read_recording"]

logger = logging.getLogger("soundscape")

VERSION = 1

LONGEST_SECONDS = 7 * 86_400
"""A recording that says it is longer is a mistake, and would be rendered for ever."""

LOOK_SECONDS = 0.05
"""How often the recorder looks at what the engine has taken: what a crash of the process may lose."""

CLOSE_SECONDS = 1.0
"""How long a close waits for the last lines to be written, at most."""

_WITHOUT_VALUE = ("close", "cut")


# --- writing ---------------------------------------------------------------------------------------------------------


class Recorder:
    """Records the runs of one session: the first at `path`, one that is started again beside it as `NAME-2.jsonl`.

    Writing has a thread of its own: it never holds up the session or the sound. What goes wrong with it is logged once
    and ends the recording, not the call.

    Args:
        path: the file, replaced if there is one.
        scene: the scene's name.
        seed: of every draw.
        sample_rate: frames per second.

    Raises:
        OutputError: the file cannot be written.
        UsageError: `path` is none.
    """

    def __init__(self, path: str | os.PathLike[str], *, scene: str, seed: int, sample_rate: int) -> None:
        if not isinstance(path, str | os.PathLike):
            raise UsageError(f"record must be a path, not {path!r}")
        self._path = Path(path)
        self._head = _line({"soundscape": VERSION, "scene": scene, "seed": seed, "sample_rate": sample_rate})
        self._runs = 0
        try:
            if self._path.exists() and not self._path.is_file():
                raise OutputError(f"{self._path}: cannot be written: not a regular file")
            self._path.write_bytes(self._head.encode())
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(f"{self._path}: cannot be written: {reason}") from None

    def follow(self, engine: Engine) -> RecorderRun:
        """Records a run. Never raises; the file is complete after the run's `aclose`."""
        self._runs += 1
        path = self._path
        if self._runs > 1:
            path = path.with_name(f"{path.stem}-{self._runs}{path.suffix}")
        return RecorderRun(path, self._head, engine)


class RecorderRun:
    """One run on its way into its file; made by `Recorder.follow`."""

    def __init__(self, path: Path, head: str, engine: Engine) -> None:
        self._path = path
        self._head = head
        self._engine = engine
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, name="soundscape-record", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._failed(error)

    async def aclose(self) -> None:
        """Writes what is left and closes the file; waits for it, `CLOSE_SECONDS` at most."""
        self._stop.set()
        loop = asyncio.get_running_loop()
        until = loop.time() + CLOSE_SECONDS
        while self._thread.is_alive() and loop.time() < until:
            await asyncio.sleep(0.002)

    def _write(self) -> None:
        try:
            with self._path.open("w", encoding="utf-8", newline="\n") as file:
                file.write(self._head)
                file.flush()
                written: list[tuple[int, Fact]] = []
                stopped = False
                while not stopped:
                    stopped = self._stop.wait(LOOK_SECONDS)
                    facts = list(self._engine.facts)
                    if len(facts) < len(written) and not stopped:
                        continue  # the engine is going back, and is about to take them again
                    if facts[: len(written)] != written:
                        file.seek(len(self._head))
                        file.truncate()
                        written = []
                    file.writelines(self._line(frame, *fact) for frame, fact in facts[len(written) :])
                    written = facts
                    if stopped:
                        file.write(self._line(self._engine.position, "end"))
                    file.flush()
        except Exception as error:
            self._failed(error)

    def _line(self, frame: int, kind: str, value: str | None = None) -> str:
        told = True if kind in (*_WITHOUT_VALUE, "end") else value
        return _line({"at": frame / self._engine.sample_rate, kind: told})

    def _failed(self, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or error
        logger.error("%s: the recording ends here, the call goes on: %s", self._path, reason)


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values) + "\n"


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recording:
    """What a recording says.

    Attributes:
        scene: the name of the scene that was played.
        seed: of every draw.
        sample_rate: frames per second.
        facts: what became true, each with its time in seconds, in order.
        seconds: how long it was; None where the call crashed.
    """

    scene: str
    seed: int
    sample_rate: int
    facts: tuple[tuple[float, Fact], ...]
    seconds: float | None


def read_recording(path: str | os.PathLike[str]) -> Recording:
    """Reads a recording. A last line that was cut off by a crash is left out.

    Raises:
        UsageError: it cannot be read, or is none; with the line.
    """
    name = os.fspath(path)
    try:
        text = Path(path).read_text("utf-8")
    except OSError as error:
        raise UsageError(f"{name}: the recording cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise UsageError(f"{name}: not a recording") from None
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if lines and not text.endswith("\n") and _parsed(lines[-1][1]) is None:
        del lines[-1]
    head = _parsed(lines[0][1]) if lines else None
    if head is None or "soundscape" not in head:
        raise UsageError(f"{name}: not a recording: its first line is not what Soundscape(..., record=...) writes")
    version = head["soundscape"]
    if type(version) is not int or version != VERSION:
        raise UsageError(f"{name}: a recording of version {reprlib.repr(version)}; this soundscape reads {VERSION}")
    scene, seed, rate = head.get("scene"), head.get("seed"), head.get("sample_rate")
    if not isinstance(scene, str) or type(seed) is not int or type(rate) is not int:
        raise UsageError(f"{name}:{lines[0][0]}: needs scene (a name), seed and sample_rate (whole numbers)")
    if not 8_000 <= rate <= 192_000:
        raise UsageError(f"{name}:{lines[0][0]}: a sample rate is from 8,000 to 192,000, not {rate}")
    facts, seconds = _facts(lines[1:], name)
    return Recording(scene, seed, rate, facts, seconds)


def _facts(lines: Iterable[tuple[int, str]], name: str) -> tuple[tuple[tuple[float, Fact], ...], float | None]:
    facts: list[tuple[float, Fact]] = []
    last = 0.0
    for number, line in lines:
        values = _parsed(line) or {}
        at = values.pop("at", None)
        kind, value = next(iter(values.items()), ("", None))
        told = value is True if kind in (*_WITHOUT_VALUE, "end") else value is None or isinstance(value, str)
        if len(values) != 1 or kind not in (*get_args(FactKind), "end") or not told or not _is_time(at):
            raise UsageError(f"{name}:{number}: not a line of a recording, such as {{'at': 3.02, 'agent': 'thinking'}}")
        if at < last and kind != "end":  # what was said last may not have been heard any more
            raise UsageError(f"{name}:{number}: goes back in time; the line before is at {last:g}")
        if kind == "end":
            return tuple(facts), at
        last = at
        facts.append((at, Fact(kind, None if value is True else value)))  # type: ignore[arg-type]
    return tuple(facts), None


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _is_time(at: object) -> bool:
    return type(at) in (int, float) and 0 <= at <= LONGEST_SECONDS  # type: ignore[operator]
