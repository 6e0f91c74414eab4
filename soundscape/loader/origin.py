"""Where a scene came from, and where things stand in it, in its author's words."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from datetime import date, time
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Self

from soundscape.exceptions import Problem, SceneError
from soundscape.loader.text import MAX_BYTES, TOO_LARGE, Loc, Place, Places

__all__ = ["Origin", "child", "quoted", "spelt"]


class Origin:
    """The text a scene came from, and where things stand in it."""

    def __init__(self, text: str, path: str, base_dir: Path) -> None:
        self.text = text
        self.path = path
        self.base_dir = base_dir
        self.data: dict[str, Any] = {}
        """The tables, once they were read."""

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, missing: Callable[[], str] = str) -> Self:
        """The text of a scene file.

        Args:
            path: the file.
            missing: says what to do where there is none.

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
            raise SceneError([Problem(name, 0, 0, "", "no such file", missing())]) from None
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
        return Problem(self.path, *self.place(where if at is None else self.real(at)), spelt(where), message, hint)

    def place(self, loc: Loc) -> Place:
        """Line and column of a place in the file's own terms, or of what it would stand in."""
        while loc and loc not in self.places:
            loc = loc[:-1]
        return self.places[loc] if loc else (1, 1) if self.text else (0, 0)


def child(here: Any, part: str | int) -> Any:
    """What stands under a key or an index; None where nothing does, which TOML has no value for."""
    if isinstance(here, dict):
        return here.get(part)
    return here[part] if isinstance(here, list) and isinstance(part, int) and part < len(here) else None


def spelt(loc: Loc) -> str:
    """A place as it is spoken of: `states.thinking.pool[0]`."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if re.fullmatch(r"[A-Za-z0-9_-]{1,57}", part) else quoted(part)
            text += f".{name}" if text else name
    return text


def quoted(value: object) -> str:
    """A value as TOML writes it, cut short."""
    text = _toml(value, 0)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _toml(value: object, depth: int) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date | time):
        return str(value)
    if isinstance(value, dict | list) and depth > 3:
        return "..."
    if isinstance(value, list):
        return f"[{', '.join(_toml(element, depth + 1) for element in value[:20])}]"
    if isinstance(value, dict):
        pairs = [f"{spelt((key,))} = {_toml(child, depth + 1)}" for key, child in islice(value.items(), 20)]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    return repr(value[:100] if isinstance(value, str) else value)
