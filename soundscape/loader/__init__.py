"""From TOML to a `Scene`: every problem of a file at once, in the file's words, with line and column.

text --read--> tables --pydantic--> Scene --flaws--> what is wrong across tables
       where each thing stands, in its author's words
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import PrivateAttr, ValidationError

from soundscape.exceptions import Problem, SceneError
from soundscape.loader.origin import Origin, child
from soundscape.loader.text import Loc, TextError, read
from soundscape.loader.words import told
from soundscape.scene import SceneModel, nearest

__all__ = ["Scene", "data_dir", "find_scene", "inspect", "shipped_scenes"]

MAX_LAYERS = 1_000
MAX_PROBLEMS = 1_000


def data_dir(name: str) -> Path:
    """The folder of the data that ship, such as `scenes` or `resources/clips`: beside the modules in a wheel, at the
    project's top level in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def shipped_scenes() -> list[str]:
    """The names of the scenes that ship."""
    return sorted(path.stem for path in data_dir("scenes").glob("*.toml"))


def find_scene(scene: str | os.PathLike[str]) -> Path:
    """The file that is meant by a path, or by the name of a scene that ships. A file of that name comes first."""
    path = Path(scene)
    if not path.exists() and isinstance(scene, str) and scene in shipped_scenes():
        return data_dir("scenes") / f"{scene}.toml"
    return path


class Scene(SceneModel):
    """A scene as its author wrote it. Reading one opens no audio and looks at no file but its own."""

    _origin: Origin | None = PrivateAttr(None)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a scene file.

        Raises:
            SceneError: with all that is wrong in the text. Whether its sounds are there is looked at by `Soundscape`
                and by `soundscape check`.
        """
        return cls._from(_origin(path))

    @classmethod
    def from_toml(cls, text: str, base_dir: str | os.PathLike[str] = ".") -> Self:
        """Reads a scene from its text; files are relative to `base_dir`.

        Raises:
            SceneError: with all that is wrong in it.
        """
        return cls._from(Origin(text.removeprefix("\ufeff"), "<scene>", Path(base_dir)))

    @classmethod
    def _from(cls, origin: Origin) -> Self:
        scene, problems = _check(cls, origin)
        if problems or scene is None:
            raise SceneError(problems)
        return scene

    @property
    def base_dir(self) -> Path:
        """The folder that sources are relative to."""
        return self._origin.base_dir if self._origin else Path()

    def problem(self, loc: Loc, message: str, hint: str = "") -> Problem:
        """A problem at a place of this scene, with line and column where it came from a text."""
        origin = self._origin or Origin("", "<scene>", Path())
        return origin.problem(loc, message, hint)

    def checked(self) -> Self:
        """This scene, if it has no flaws; a scene built in code has not been looked at across its tables yet.

        Raises:
            SceneError: it has.
        """
        problems = [self.problem(*flaw) for flaw in self.flaws()]
        if problems:
            raise SceneError(problems)
        return self


def _origin(path: str | os.PathLike[str]) -> Origin:
    shipped = shipped_scenes()
    missing = nearest(os.fspath(path), shipped) or f"scenes that ship: {', '.join(shipped)}"
    return Origin.from_file(path, missing=missing)


def inspect(path: str | os.PathLike[str]) -> tuple[Scene | None, list[Problem]]:
    """A scene file as far as it can be understood, and all that is wrong in its text. What is returned is for looking
    at further, not for playing, unless there is no problem."""
    try:
        return _check(Scene, _origin(path))
    except SceneError as error:
        return None, list(error.problems)


_S = TypeVar("_S", bound=Scene)


def _check(cls: type[_S], origin: Origin) -> tuple[_S | None, list[Problem]]:
    try:
        origin.data = read(origin.text)
    except TextError as error:
        return None, [Problem(origin.path, *error.place, "", error.message, error.hint)]
    problems: list[Problem] = []
    data = {"name": Path(origin.path).stem if origin.path != "<scene>" else "scene", **origin.data}
    if too_many := _too_many_layers(origin):
        return None, [too_many]
    broken: list[Loc] = []
    try:
        scene = cls.model_validate(data)
    except ValidationError as error:
        # Of a list whose elements are wrong, pydantic also says that it is too short.
        wrong = [d for d in error.errors(include_url=False) if not (d["type"] == "too_short" and d["input"])]
        broken = [origin.real(detail["loc"]) for detail in wrong]
        problems = [told(origin, detail) for detail in wrong[:MAX_PROBLEMS]]
        if len(wrong) > MAX_PROBLEMS:
            more = f"{len(wrong) - MAX_PROBLEMS:,} more problems are not listed"
            return None, [*problems, replace(told(origin, wrong[MAX_PROBLEMS]), where="", message=more, hint="")]
        data = _without(data, wrong, origin)
        try:
            scene = cls.model_validate(data)
        except ValidationError:
            return None, problems
    scene._origin = origin
    for flaw in scene.flaws():
        if not any(_hangs_on(origin.real(flaw.loc), loc) for loc in broken):
            problems.append(origin.problem(*flaw))
    return scene, problems


def _too_many_layers(origin: Origin) -> Problem | None:
    count = 0
    tables = [("base", origin.data.get("base"))]
    states = origin.data.get("states")
    if isinstance(states, dict):
        tables += [(f"states.{name}", table) for name, table in states.items()]
    for name, table in tables:
        if not isinstance(table, dict) or not table:
            continue
        layers = table.get("layers")
        size = len(layers) if isinstance(layers, list) else 1
        if count + size > MAX_LAYERS:
            loc: Loc = tuple(name.split(".", 1))
            loc = (*loc, "layers", MAX_LAYERS - count) if isinstance(layers, list) else loc
            return origin.problem(loc, f"more than {MAX_LAYERS:,} layers in one scene", "split it into several scenes")
        count += size
    return None


def _hangs_on(flaw: Loc, broken: Loc) -> bool:
    """Whether a flaw may only be there because something else was broken and left out."""
    above = len(flaw) < len(broken) and broken[: len(flaw)] == flaw and (flaw[-1:] and flaw[0] != "states")
    layer = flaw[:1] == ("states",) and len(flaw) >= 2 and broken[: len(flaw)] == flaw
    return bool(above or layer or flaw[: len(broken)] == broken)


def _without(data: dict[str, Any], wrong: Sequence[Any], origin: Origin) -> dict[str, Any]:
    """The data with what is wrong taken out, so that the rest can be looked at as well."""
    data = deepcopy(data)
    for detail in wrong:
        loc = origin.real(detail["loc"])
        if loc[:1] == ("transitions",) and loc[2:3] in (("from",), ("to",)):
            data["transitions"][loc[1]][loc[2]] = "none"
            continue
        here: Any = data
        for part in loc[:-1]:
            here = child(here, part)
        if isinstance(here, dict) and detail["type"] == "missing":
            here[str(loc[-1])] = [{"source": "?"}] if loc[-1] == "entries" else "?"
        elif isinstance(here, dict):
            here.pop(str(loc[-1]), None)
        elif isinstance(here, list):
            here[int(loc[-1])] = {} if loc[-2] == "transitions" else {"source": "?"}
    return data
