"""From TOML to a `Scene`: every problem of a file at once, in the file's words, with line and column.

Values come from the standard library's parser. Where something is wrong, tree-sitter's TOML grammar says where it
stands; it is not asked otherwise, so a good scene pays nothing for it.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, PrivateAttr, ValidationError

from soundscape.exceptions import Problem, SceneError
from soundscape.scene import AudioConfig, Defaults, Layer, Pool, SceneModel, Transition, nearest

__all__ = ["Scene", "data_dir", "find_scene", "inspect", "shipped_scenes"]

MAX_BYTES = 1_000_000
MAX_LAYERS = 1_000
MAX_NESTING = 16

Loc = tuple[str | int, ...]
Place = tuple[int, int]


def data_dir(name: str) -> Path:
    """The folder of the data that ship, such as `scenes` or `resources/clips`: beside the modules in a wheel, at the
    project's top level in a checkout."""
    package = Path(__file__).parent
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
        return cls._from(Origin.from_file(path))

    @classmethod
    def from_toml(cls, text: str, base_dir: str | os.PathLike[str] = ".") -> Self:
        """Reads a scene from its text; files are relative to `base_dir`.

        Raises:
            SceneError: with all that is wrong in it.
        """
        return cls._from(Origin(text, "<scene>", Path(base_dir)))

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


def inspect(path: str | os.PathLike[str]) -> tuple[Scene | None, list[Problem]]:
    """A scene file as far as it can be understood, and all that is wrong in its text. What is returned is for looking
    at further, not for playing, unless there is no problem."""
    try:
        return _check(Scene, Origin.from_file(path))
    except SceneError as error:
        return None, list(error.problems)


class Origin:
    """The text a scene came from, and where things stand in it."""

    def __init__(self, text: str, path: str, base_dir: Path) -> None:
        self.text = text
        self.path = path
        self.base_dir = base_dir

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        name = os.fspath(path)
        try:
            info = os.stat(name)
            if not stat.S_ISREG(info.st_mode):
                raise SceneError([Problem(name, 0, 0, "", "not a regular file", "name a scene's TOML file")])
            if info.st_size > MAX_BYTES:
                raise SceneError([_too_large(name)])
            with open(name, "rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            hint = nearest(name, shipped_scenes()) or f"scenes that ship: {', '.join(shipped_scenes())}"
            raise SceneError([Problem(name, 0, 0, "", "no such file", hint)]) from None
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
    def places(self) -> dict[Loc, Place]:
        """Line and column, from 1, of each key and list element."""
        return dict(_places(self.text))

    @cached_property
    def data(self) -> dict[str, Any]:
        """The tables as the standard library reads them; empty for a text that is no TOML."""
        try:
            return tomllib.loads(self.text)
        except (ValueError, RecursionError):
            return {}

    def real(self, loc: Loc) -> Loc:
        """A place in the file's own terms: without what stands in the models only (the list around a layer written
        in place, the tags of unions)."""
        found: list[str | int] = []
        here: Any = self.data
        rest = list(loc)
        while rest:
            part = rest.pop(0)
            child = _child(here, part)
            if child is not None:
                found.append(part)
                here = child
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
        line, column = self.places.get(shown, (1, 1)) if self.text else (0, 0)
        return Problem(self.path, line, column, _spelt(where), message, hint)


def _child(here: Any, part: str | int) -> Any:
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
            name = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else _quoted(part)
            text += f".{name}" if text else name
    return text


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _too_large(path: str) -> Problem:
    return Problem(path, 1, 1, "", f"larger than {MAX_BYTES:,} bytes", "split it into several scenes")


# --- the text ---------------------------------------------------------------------------------------------------


def _parse(origin: Origin) -> list[Problem]:
    """What keeps the text from being read as TOML, bounded in time whatever the text."""
    text, path = origin.text, origin.path
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        return [_too_large(path)]
    # tomllib's time grows with the square of a key's dots, and it nests as deep as Python's stack allows.
    if any(line.count(".") > 64 for line in text.split("\n")) and (deep := _too_deep(text)):
        return [_nested(path, deep)]
    try:
        data = tomllib.loads(text)
    except RecursionError:
        return [_nested(path, _too_deep(text) or (1, 1))]
    except tomllib.TOMLDecodeError as error:
        return [_syntax(path, text, str(error))]
    except ValueError:
        # An integer of more digits than Python converts.
        digits = re.search(r"[0-9_]{4300,}", text)
        start = digits.start() if digits else 0
        place = (text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start))
        return [Problem(path, *place, "", "a number of too many digits", "write a smaller one")]
    if _depth(data) > MAX_NESTING:
        return [_nested(path, _too_deep(text) or (1, 1))]
    origin.data = data
    return []


def _nested(path: str, place: Place) -> Problem:
    return Problem(path, *place, "", f"nested more than {MAX_NESTING} levels deep", "a scene needs no more than five")


def _syntax(path: str, text: str, message: str) -> Problem:
    """The standard library's message, its place taken out of the words."""
    found = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if found:
        place = (int(found[1]), int(found[2]))
        message = message[: found.start()]
    else:
        last = text.rstrip("\n")
        place = (last.count("\n") + 1, len(last) - last.rfind("\n"))
        message = message.removesuffix(" (at end of document)") + " at the end of the file"
    return Problem(path, *place, "", f"not valid TOML: {message[:1].lower()}{message[1:]}", "")


def _depth(data: object) -> int:
    deepest = 0
    stack = [(data, 0)]
    while stack:
        value, depth = stack.pop()
        deepest = max(deepest, depth)
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        stack.extend((child, depth + 1) for child in children)
    return deepest


def _tree(text: str) -> Any:
    # Imported on the first problem: most scenes have none.
    import tree_sitter_toml
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_toml.language())).parse(text.encode("utf-8", "surrogatepass"))


def _too_deep(text: str) -> Place | None:
    """The first place nested more deeply than allowed."""
    tree = _tree(text)
    stack = [(tree.root_node, 0)]
    while stack:
        node, depth = stack.pop()
        depth += node.type in ("array", "inline_table", "dotted_key", "bare_key", "quoted_key")
        if depth > MAX_NESTING + 1:
            return _place(text.split("\n"), node)
        stack.extend((child, depth) for child in reversed(node.children))
    return None


def _place(lines: Sequence[str], node: Any) -> Place:
    row, column = node.start_point
    return row + 1, len(lines[row].encode()[:column].decode("utf-8", "replace")) + 1


def _places(text: str) -> Iterator[tuple[Loc, Place]]:
    """The place of each key and each list element, later ones of the same name first come, first kept."""
    lines = text.split("\n")
    counts: dict[Loc, int] = {}

    def keys(node: Any) -> Iterator[Any]:
        if node.type == "dotted_key":
            for child in node.named_children:
                yield from keys(child)
        else:
            yield node

    def name(node: Any) -> str:
        raw = node.text.decode("utf-8", "replace")
        return str(next(iter(tomllib.loads(f"{raw} = 0")))) if node.type == "quoted_key" else str(raw)

    def value(node: Any, loc: Loc) -> Iterator[tuple[Loc, Place]]:
        if node.type == "array":
            for i, child in enumerate(c for c in node.named_children if c.type != "comment"):
                yield (*loc, i), _place(lines, child)
                yield from value(child, (*loc, i))
        elif node.type == "inline_table":
            for child in node.named_children:
                yield from pair(child, loc)

    def pair(node: Any, loc: Loc) -> Iterator[tuple[Loc, Place]]:
        if node.type == "pair":
            for key in keys(node.named_children[0]):
                loc = (*loc, name(key))
                yield loc, _place(lines, key)
            yield from value(node.named_children[-1], loc)

    def table(node: Any) -> Iterator[tuple[Loc, Place]]:
        loc: Loc = ()
        parts = list(keys(node.named_children[0]))
        for i, key in enumerate(parts):
            loc = (*loc, name(key))
            yield loc, _place(lines, key)
            if i == len(parts) - 1 and node.type == "table_array_element":
                counts[loc] = counts.get(loc, -1) + 1
            if loc in counts:
                loc = (*loc, counts[loc])
                yield loc, _place(lines, key)
        for child in node.named_children[1:]:
            yield from pair(child, loc)

    found: dict[Loc, Place] = {}
    for node in _tree(text).root_node.named_children:
        step = table(node) if node.type in ("table", "table_array_element") else pair(node, ())
        for loc, place in step:
            found.setdefault(loc, place)
    yield from found.items()


# --- the tables -------------------------------------------------------------------------------------------------


_S = TypeVar("_S", bound=Scene)


def _check(cls: type[_S], origin: Origin) -> tuple[_S | None, list[Problem]]:
    problems = _parse(origin)
    if problems:
        return None, problems
    data = {"name": Path(origin.path).stem if origin.path != "<scene>" else "scene", **origin.data}
    if too_many := _too_many_layers(origin):
        return None, [too_many]
    broken: list[Loc] = []
    try:
        scene = cls.model_validate(data)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            if detail["type"] == "too_short" and detail["input"]:
                continue  # said of a list whose elements are wrong as well
            broken.append(origin.real(detail["loc"]))
            problems.append(_told(origin, detail))
        data = _without(data, error, origin)
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


def _without(data: dict[str, Any], error: ValidationError, origin: Origin) -> dict[str, Any]:
    """The data with what is wrong taken out, so that the rest can be looked at as well."""
    data = deepcopy(data)
    for detail in error.errors(include_url=False):
        loc = origin.real(detail["loc"])
        if detail["type"] == "too_short" and detail["input"]:
            continue
        if loc[:1] == ("transitions",) and loc[2:3] in (("from",), ("to",)):
            data["transitions"][loc[1]][loc[2]] = "none"
            continue
        here: Any = data
        for part in loc[:-1]:
            here = _child(here, part)
        if isinstance(here, dict) and detail["type"] == "missing":
            here[str(loc[-1])] = [{"source": "?"}] if loc[-1] == "entries" else "?"
        elif isinstance(here, dict):
            here.pop(str(loc[-1]), None)
        elif isinstance(here, list):
            here[int(loc[-1])] = {} if loc[-2] == "transitions" else {"source": "?"}
    return data


def _keys_at(loc: Loc) -> tuple[type[BaseModel], list[str]]:
    """The table that stands at a place, and the keys it may have."""
    models: list[tuple[bool, type[BaseModel]]] = [
        (not loc, SceneModel),
        (loc[:1] == ("defaults",), Defaults),
        (loc[:1] == ("transitions",), Transition),
        (loc[-2:-1] in (("pool",), ("entries",)) and isinstance(loc[-1], int), AudioConfig),
        (loc[:1] == ("pools",), Pool),
    ]
    model = next((model for holds, model in models if holds), Layer)
    keys = [field.alias or name for name, field in model.model_fields.items()]
    in_place = model is Layer and "layers" not in loc
    return model, [*keys, "layers"] if in_place else keys


_TYPES = {
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "a text in quotes",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


def _told(origin: Origin, detail: Any) -> Problem:
    """A problem that pydantic found, in the words of the file."""
    kind, loc, value = detail["type"], detail["loc"], detail["input"]
    context = detail.get("ctx", {})
    if kind == "extra_forbidden":
        parent, key = origin.real(loc[:-1]), str(loc[-1])
        model, keys = _keys_at(parent)
        both = (
            key in Layer.model_fields and model is Layer and parent[-1:] != ("layers",) and _has_layers(origin, parent)
        )
        if both:
            hint = "put it into one of the layers"
            return origin.problem(loc[:-1], f"{key!r} beside 'layers'", hint, at=loc)
        hint = nearest(key, keys) or f"keys here: {', '.join(keys)}"
        return origin.problem(loc[:-1], f"unknown key {_quoted(key)}", hint, at=loc)
    if kind == "missing":
        return origin.problem(loc[:-1], f"the key {loc[-1]!r} is missing", "")
    if kind in _TYPES:
        hint = (
            "numbers are written without quotes and units"
            if isinstance(value, str) and "number" in _TYPES[kind]
            else ""
        )
        return origin.problem(loc, f"must be {_TYPES[kind]}, not {_quoted(value)}", hint)
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        what = "a pool's name or a list of sounds" if "pool" in loc else "a state's name or a list of names"
        return origin.problem(loc, f"must be {what}, not {_quoted(value)}", "")
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        hint = nearest(str(value), allowed)
        return origin.problem(loc, f"must be {context['expected']}, not {_quoted(value)}", hint)
    if kind == "finite_number":
        return origin.problem(loc, f"must be finite, not {_quoted(value)}", "")
    if kind == "greater_than_equal":
        return origin.problem(loc, f"must be at least {context['ge']:g}, not {_quoted(value)}", "")
    if kind == "less_than_equal":
        return origin.problem(loc, f"must be at most {context['le']:g}, not {_quoted(value)}", "")
    if kind in ("too_short", "string_too_short"):
        return origin.problem(loc, "must not be empty", "")
    message = str(detail["msg"])
    return origin.problem(loc, f"{message[:1].lower()}{message[1:]}", "")


def _has_layers(origin: Origin, loc: Loc) -> bool:
    here: Any = origin.data
    for part in loc:
        here = _child(here, part)
    return "layers" in here
