"""Where a scene came from, and where things stand in it, in its author's words."""

from __future__ import annotations

import os
import re
import stat
from datetime import date, time
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from soundscape.exceptions import Problem, SceneError
from soundscape.loader.text import MAX_BYTES, TOO_LARGE, Loc, Places

__all__ = ["Origin", "child", "quoted"]


class Origin:
    """The text a scene came from, and where things stand in it."""

    def __init__(self, text: str, path: str, base_dir: Path) -> None:
        self.text = text
        self.path = path
        self.base_dir = base_dir
        self.data: dict[str, Any] = {}
        """The tables, once they were read."""

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, missing: str = "") -> Self:
        """The text of a scene file.

        Args:
            path: the file.
            missing: what to do where there is none.

        Raises:
            SceneError: it cannot be read.
        """
        name = os.fspath(path)
        try:
            info = os.stat(name)
            if not stat.S_ISREG(info.st_mode):
                raise SceneError([Problem(name, 0, 0, "", "not a regular file", "name a scene's TOML file")])
            if info.st_size > MAX_BYTES:
                raise SceneError([Problem(name, 1, 1, "", *TOO_LARGE)])
            with open(name, "rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise SceneError([Problem(name, 0, 0, "", "no such file", missing)]) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SceneError([Problem(name, 0, 0, "", f"cannot be read: {reason}", "")]) from None
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = raw[: error.start]
            column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
            place = (before.count(b"\n") + 1, column)
            raise SceneError([Problem(name, *place, "", "not UTF-8 text", "save the file as UTF-8")]) from None
        return cls(text, name, Path(name).parent)

    @cached_property
    def places(self) -> Places:
        """Line and column, from 1, of each key and list element."""
        return Places(self.text)

    def real(self, loc: Loc) -> Loc:
        """A place in the file's own terms: without what stands in the models only (the list around a layer written
        in place, the tags of unions)."""
        found: list[str | int] = []
        here: Any = self.data
        rest = list(loc)
        while rest:
            part = rest.pop(0)
            below = child(here, part)
            if below is not None:
                found.append(part)
                here = below
            elif part == "layers" and isinstance(here, dict) and rest and rest[0] == 0:
                rest.pop(0)
            elif part in ("name", "list") and isinstance(here, str | list):
                continue
            else:
                found.append(part)
                here = None
        return tuple(found)

    def problem(self, loc: Loc, message: str, hint: str = "", *, at: Loc | None = None) -> Problem:
        """A problem at a place; `at` where the place to show is another than the one to name."""
        where = self.real(loc)
        shown = where if at is None else self.real(at)
        while shown and shown not in self.places:
            shown = shown[:-1]
        line, column = self.places[shown] if shown else (1, 1) if self.text else (0, 0)
        return Problem(self.path, line, column, _spelt(where), message, hint)


def child(here: Any, part: str | int) -> Any:
    """What stands under a key or an index; None where nothing does, which TOML has no value for."""
    if isinstance(here, dict):
        return here.get(part)
    return here[part] if isinstance(here, list) and isinstance(part, int) and part < len(here) else None


def _spelt(loc: Loc) -> str:
    """A place as it is spoken of: `states.thinking.pool[0]`."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else quoted(part)
            text += f".{name}" if text else name
    return text


def quoted(value: object) -> str:
    """A value as TOML writes it, cut short."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value) if isinstance(value, date | time) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
