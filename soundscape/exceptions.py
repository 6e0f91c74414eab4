"""What can go wrong, by whose fault it is.

SoundscapeError
├── SceneError       the scene's author: `.problems` say where and what to do
├── UsageError       the caller's program
├── DecodeError      the world: a file that is no sound
└── OutputError      the world: a device or a room that does not take the sound
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["DecodeError", "OutputError", "Problem", "SceneError", "SoundscapeError", "UsageError"]


class SoundscapeError(Exception):
    """The base of every error this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a scene, in the words of its file.

    Attributes:
        path: the scene file as the caller named it, or `<scene>` for text.
        line: line in the file, from 1; 0 where the scene was built in code.
        column: column in characters, from 1; 0 likewise.
        where: the place in the file's words, such as `states.thinking.pool[0]`; empty for the file as a whole.
        message: what is wrong.
        hint: what to do, or empty.
    """

    path: str
    line: int
    column: int
    where: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        text = f"{place}: {self.where}: {self.message}" if self.where else f"{place}: {self.message}"
        return f"{text}; {self.hint}" if self.hint else text


class SceneError(SoundscapeError):
    """A scene that cannot be played as written. All of its problems are listed, in the file's order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.path, p.line, p.column)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UsageError(SoundscapeError, ValueError):
    """The calling program asked for something that cannot be."""


class DecodeError(SoundscapeError):
    """A file that cannot be read as a sound.

    Attributes:
        message: what is wrong, with the source as its author wrote it.
        hint: what to do, or empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class OutputError(SoundscapeError):
    """A device or a room that cannot take the sound."""
