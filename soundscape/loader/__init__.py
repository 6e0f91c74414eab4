"""From TOML to a `Scene`: every problem of a file at once, in the file's words, with line and column.

text --read--> tables --pydantic--> Scene --flaws--> what is wrong across tables
       where each thing stands, in its author's words
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import PrivateAttr, ValidationError

from soundscape.exceptions import Problem, SceneError, UsageError
from soundscape.loader.broken import Broken, playable, without
from soundscape.loader.origin import Origin, child
from soundscape.loader.text import Loc, TextError, read
from soundscape.loader.words import told
from soundscape.scene import SceneModel
from soundscape.scene.flaws import flaws, nearest
from soundscape.scene.tables import MAX_DUCKS, MAX_ITEMS

__all__ = ["Scene", "data_dir", "find_scene", "inspect", "shipped_scenes"]

MAX_LAYERS = 1_000
MAX_VALUES = 50_000
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
    """The file that is meant by a path, or by the name of a scene that ships. A file of that name comes first.

    Raises:
        UsageError: the name is empty.
    """
    if not os.fspath(scene):
        raise UsageError(f"an empty name is no scene's; name a file, or one that ships: {', '.join(shipped_scenes())}")
    path = Path(scene)
    if not path.is_file() and isinstance(scene, str) and scene in shipped_scenes():
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
        problems = [self.problem(*flaw[:3]) for flaw in flaws(self)]
        if problems:
            raise SceneError(problems)
        return self


def _origin(path: str | os.PathLike[str]) -> Origin:
    def missing() -> str:
        shipped = shipped_scenes()
        return nearest(os.fspath(path), shipped) or f"scenes that ship: {', '.join(shipped)}"

    return Origin.from_file(path, missing=missing)


def inspect(path: str | os.PathLike[str]) -> tuple[Scene | None, list[Problem]]:
    """A scene file as far as it can be understood, and all that is wrong in its text. What is returned is for looking
    at further, not for playing, unless there is no problem: what is wrong is left out of it, so every name in it names
    something."""
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
    if too_many := _too_many(origin):
        return None, [too_many]
    data = {"name": Path(origin.path).stem if origin.path != "<scene>" else "scene", **origin.data}
    problems: list[Problem] = []
    broken = Broken(origin, ())
    try:
        scene = cls.model_validate(data)
    except ValidationError as error:
        wrong = _of_the_author(error)
        broken = Broken(origin, wrong)
        problems = [told(origin, detail) for detail in wrong[:MAX_PROBLEMS]]
        if len(wrong) > MAX_PROBLEMS:
            more = told(origin, wrong[MAX_PROBLEMS])
            return None, [*problems, _not_listed(more, len(wrong) - MAX_PROBLEMS)]
        try:
            scene = cls.model_validate(without(data, wrong, origin))
        except ValidationError:
            return None, problems
    scene._origin = origin
    found = list(islice((flaw for flaw in flaws(scene) if not broken.explain(flaw)), MAX_PROBLEMS + 1))
    problems += [origin.problem(*flaw[:3]) for flaw in found]
    if len(problems) > MAX_PROBLEMS:
        problems[MAX_PROBLEMS:] = [_not_listed(problems[MAX_PROBLEMS])]
    return (playable(scene) if problems else scene), problems


def _of_the_author(error: ValidationError) -> list[Any]:
    """What the author did wrong: of a list whose elements are wrong, pydantic also says that it is too short."""
    return [
        detail for detail in error.errors(include_url=False) if not (detail["type"] == "too_short" and detail["input"])
    ]


def _not_listed(first: Problem, count: int | None = None) -> Problem:
    message = "more problems are not listed" if count is None else f"{count:,} more problems are not listed"
    return replace(first, where="", message=message, hint="mend these first")


def _too_many(origin: Origin) -> Problem | None:
    """The first layer or duck, or the first thing in a table or a list, that is one too many."""
    layers: list[Loc] = []
    for place, state in [(("base",), origin.data.get("base")), *_named(origin.data, "states")]:
        written = child(state, "layers")
        if isinstance(written, list):
            layers += [(*place, "layers", i) for i in range(min(len(written), MAX_LAYERS + 1))]
        elif state and isinstance(state, dict):
            layers.append(place)
    if len(layers) > MAX_LAYERS:
        message = f"more than {MAX_LAYERS:,} layers in one scene"
        first = sorted(layers, key=origin.place)[MAX_LAYERS]
        return origin.problem(first, message, "split it into several scenes")
    ducks = origin.data.get("ducks")
    if isinstance(ducks, list) and len(ducks) > MAX_DUCKS:
        message = f"more than {MAX_DUCKS} ducks in one scene"
        return origin.problem(("ducks", MAX_DUCKS), message, "one duck may name several buses")
    values = 0
    stack: list[tuple[Loc, Any]] = [((), origin.data)]
    while stack:
        loc, here = stack.pop()
        room = min(MAX_ITEMS, MAX_VALUES - values)
        if len(here) > room:
            message = f"more than {MAX_VALUES:,} values in one scene"
            if room == MAX_ITEMS:
                message = f"more than {MAX_ITEMS:,} entries in one {'list' if isinstance(here, list) else 'table'}"
            key = room if isinstance(here, list) else next(islice(here, room, None))
            return origin.problem((*loc, key), message, "split it into several scenes")
        values += len(here)
        inner = enumerate(here) if isinstance(here, list) else here.items()
        stack += reversed([((*loc, key), value) for key, value in inner if isinstance(value, dict | list)])
    return None


def _named(data: dict[str, Any], table: str) -> list[tuple[Loc, Any]]:
    tables = data.get(table)
    return [((table, name), value) for name, value in tables.items()] if isinstance(tables, dict) else []
