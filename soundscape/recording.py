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
found: names of states and tools are the application's own. The first line of a call that went on without some of its
sounds (`on_error="skip"`) has their sources as well: `"skipped": ["typing.wav"]`. Sound that the application made as it
went is left out.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import reprlib
import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, get_args

from soundscape.clip import Clip
from soundscape.driver.facts import to_plain
from soundscape.engine import Engine, Fact, FactKind
from soundscape.exceptions import OutputError, SceneError, UsageError

__all__ = ["Recorder", "RecorderRun", "Recording", "RecordingFile", "read_recording", "unloadable"]

logger = logging.getLogger("soundscape")

VERSION = 1

LONGEST_SECONDS = 7 * 86_400
"""A recording that says it is longer is a mistake, and would be rendered for ever."""

LOOK_SECONDS = 0.05
"""How often the recorder looks at what the engine has taken: what a crash of the process may lose."""

CLOSE_SECONDS = 1.0
"""How long a close waits for the last lines to be written, at most."""

_WITHOUT_VALUE = ("close", "cut")

_PLAIN: dict[str, type] = {"gain": dict, "play": dict, "scene": dict, "stop": int}
"""What was asked for in mid-call, as it is written."""


# --- writing ---------------------------------------------------------------------------------------------------------


class Recorder:
    """Records the runs of one session, each to a file of its own.

    It is the first of `NAME.jsonl`, `NAME-2.jsonl`, `NAME-3.jsonl`... that is free: what was recorded is never lost to
    what is recorded next, also by several processes at once. The log names the file.

    Writing has a thread of its own: it never holds up the session or the sound. What goes wrong with it is logged once
    and ends the recording, not the call.

    Args:
        path: the file. It is made at once.
        scene: the scene's name.
        seed: of every draw.
        sample_rate: frames per second.
        skipped: the sources that could not be loaded, and are silent.

    Attributes:
        path: the file of the last run that was begun; before, the one that is kept for the first.
        head: the first line of each.

    Raises:
        OutputError: the file cannot be written.
        UsageError: `path` is none.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        scene: str,
        seed: int,
        sample_rate: int,
        skipped: Sequence[str] = (),
    ) -> None:
        if not isinstance(path, str | os.PathLike):
            raise UsageError(f"record must be a path, not {path!r}")
        head = {"soundscape": VERSION, "scene": scene, "seed": seed, "sample_rate": sample_rate}
        self.head = _line(head | ({"skipped": list(skipped)} if skipped else {}))
        self._followed = False
        try:
            if Path(path).exists() and not Path(path).is_file():
                raise OutputError(f"{Path(path)}: cannot be written: not a regular file")
            self._asked = Path(path).absolute()  # the process may go elsewhere before the call begins
            self.next_file()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(f"{Path(path)}: cannot be written: {reason}") from None

    def follow(self, engine: Engine) -> RecorderRun:
        """Records a run. Never raises; the file is complete after the run's `aclose`."""
        again, self._followed = self._followed, True
        return RecorderRun(self, engine, again=again)

    def next_file(self) -> Path:
        """Makes a file that was not there: `path` from now on.

        Raises:
            OSError: it cannot be written.
        """
        path = self._asked
        while True:
            try:
                with path.open("xb") as file:
                    file.write(self.head)
                self.path = path
                return path
            except FileExistsError:
                # By halves: a folder may hold a hundred thousand calls.
                number = 2 + bisect_left(range(2, 1 << 31), True, key=lambda n: not os.path.lexists(self._numbered(n)))
                path = self._numbered(number)

    def _numbered(self, number: int) -> Path:
        return self._asked.with_name(f"{self._asked.stem}-{number}{self._asked.suffix}")


class RecorderRun:
    """One run on its way into its file; made by `Recorder.follow`."""

    def __init__(self, recorder: Recorder, engine: Engine, *, again: bool) -> None:
        self._recorder = recorder
        self._path = recorder.path
        self._again = again
        self._engine = engine
        self._stop = threading.Event()
        # In the context of the session: a log may tell its job by it.
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._write,), name="soundscape-record", daemon=True
        )
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
        facts = self._engine.facts
        try:
            if self._again:
                self._path = self._recorder.next_file()
            logger.info("the call is recorded to %s", self._path, extra={"recording": str(self._path)})
            with self._path.open("wb") as file:
                recording = RecordingFile(file, self._recorder.head, sample_rate=self._engine.sample_rate)
                while not self._stop.wait(LOOK_SECONDS):
                    if len(facts) >= recording.facts:  # else the engine is going back, and is about to take them again
                        recording.update(facts)
                recording.update(facts)
                recording.end(self._engine.position)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or error
        path = getattr(error, "filename", None) or self._path
        logger.error("%s: the recording ends here, the call goes on: %s", path, reason)


class RecordingFile:
    """A recording that is kept the same as an engine's facts, a list that grows at its end and, when the engine goes
    back, loses some there.

    Args:
        file: an empty file, or one that shall be.
        head: the first line.
        sample_rate: frames per second.
    """

    def __init__(self, file: BinaryIO, head: bytes, *, sample_rate: int) -> None:
        self._file = file
        self._sample_rate = sample_rate
        self._written: list[tuple[tuple[int, Fact], int]] = []  # with the byte at which its line begins
        self._end = 0
        self._add(head)
        file.flush()

    @property
    def facts(self) -> int:
        """How many are in the file."""
        return len(self._written)

    def update(self, facts: Sequence[tuple[int, Fact]]) -> None:
        """Writes what is new, over what is no more. Looks at no fact but these, and the one before them.

        Args:
            facts: all of them, each with its frame; another thread may be changing the list.
        """
        end = self._end
        new = self._new(facts)
        if self._end < end:
            self._file.seek(self._end)
            self._file.truncate()
        for taken in new:
            frame, fact = taken
            self._written.append((taken, self._end))
            if not _made_as_it_went(fact):
                self._add(self._line(frame, fact.kind, to_plain(fact)))
        self._file.flush()

    def end(self, frame: int) -> None:
        """Writes the last line.

        Args:
            frame: the one that the call ended before.
        """
        self._add(self._line(frame, "end"))
        self._file.flush()

    def _new(self, facts: Sequence[tuple[int, Fact]]) -> Sequence[tuple[int, Fact]]:
        """Forgets what was written and stands no more.

        Facts leave the list at its end only, and one that is taken again is another tuple. So where the last one that
        was written is still that very tuple, all before it stand as well. The tail is one slice, as nothing can come
        between its parts.
        """
        while self._written:
            (last, begin), place = self._written[-1], len(self._written) - 1
            tail = facts[place:]
            if tail and tail[0] is last:
                return tail[1:]
            self._end = begin
            self._written.pop()
        return facts[:]

    def _add(self, line: bytes) -> None:
        self._file.write(line)
        self._end += len(line)

    def _line(self, frame: int, kind: str, value: Any = None) -> bytes:
        told = True if kind in (*_WITHOUT_VALUE, "end") else value
        return _line({"at": frame / self._sample_rate, kind: told})


def unloadable(clips: Mapping[str, Clip]) -> list[str]:
    """The sources that cannot be loaded: what a call that goes on without them has to record."""
    missing = []
    for source in clips:
        try:
            clips[source]
        except SceneError:
            missing.append(source)
    return missing


def _made_as_it_went(fact: Fact) -> bool:
    """Whether a fact is of sound that is fed, which a recording has no place for."""
    return fact.kind == "feed" or (fact.kind == "play" and fact.value.clip is None)


def _line(values: dict[str, Any]) -> bytes:
    return f"{json.dumps(values)}\n".encode()


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recording:
    """What a recording says.

    Attributes:
        scene: the name of the scene that was played.
        seed: of every draw.
        sample_rate: frames per second.
        facts: what became true, each with its time in seconds, in order; what was asked for in mid-call as it was
            written (`soundscape.driver.facts.from_plain`).
        seconds: how long it was; None where the call crashed.
        skipped: the sources that could not be loaded, and were silent.
    """

    scene: str
    seed: int
    sample_rate: int
    facts: tuple[tuple[float, Fact], ...]
    seconds: float | None
    skipped: tuple[str, ...]


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
    skipped = head.get("skipped", [])
    if not isinstance(skipped, list) or not all(isinstance(source, str) for source in skipped):
        raise UsageError(f"{name}:{lines[0][0]}: skipped must be a list of sources")
    facts, seconds = _facts(lines[1:], name)
    return Recording(scene, seed, rate, facts, seconds, tuple(skipped))


def _facts(lines: Iterable[tuple[int, str]], name: str) -> tuple[tuple[tuple[float, Fact], ...], float | None]:
    facts: list[tuple[float, Fact]] = []
    last = 0.0
    for number, line in lines:
        values = _parsed(line) or {}
        at = values.pop("at", None)
        kind, value = next(iter(values.items()), ("", None))
        told = value is True if kind in (*_WITHOUT_VALUE, "end") else isinstance(value, _PLAIN.get(kind, str | None))
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
