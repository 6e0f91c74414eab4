"""Who imports whom: the table of the architecture, held by walking the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import soundscape

ROOT = Path(soundscape.__file__).parent

LEVELS: list[list[str]] = [
    ["exceptions", "gain"],
    ["scene", "clip", "cues", "ceiling"],
    ["driver", "mixer"],
    ["engine"],
    # --- the I/O line ---
    ["sequence", "recording", "loader", "library", "plot", "outputs"],
    ["plugin", "background_audio", "testing"],
    ["demo", "cli", "pytest_plugin"],
]
"""From the bottom up. A module may import what is below it."""

ORDERED = (LEVELS[1], LEVELS[4], LEVELS[5], LEVELS[6])
"""Where siblings may import each other as well, to the left."""

BELOW_THE_LINE = {name for level in LEVELS[:4] for name in level}

OUTSIDE = {"time", "asyncio", "threading", "os", "pathlib", "random", "livekit", "sounddevice", "av"}
"""What the architecture names: nothing below the line may know the world. The next are the same by other names."""

OUTSIDE_TOO = {
    *("concurrent", "datetime", "io", "multiprocessing", "secrets", "selectors", "shutil", "signal", "socket"),
    *("subprocess", "tempfile", "tomllib", "urllib"),
}

OWNERS = {
    "livekit": {"plugin", "background_audio", "outputs.room", "demo"},
    "transitions": {"driver"},
    "pydantic": {"scene", "loader"},
    "av": {"library", "outputs.file"},
    "typer": {"cli", "demo"},
    "rich": {"cli", "demo"},
    "matplotlib": {"plot"},
    "sounddevice": {"outputs.speakers", "demo"},
    "pytest": {"pytest_plugin"},
    "opentelemetry": {"plugin.metrics"},
}
"""Which modules (or packages, with all that is in them) may import a library."""


def modules() -> dict[str, ast.Module]:
    """Every module by its dotted name within the package; the package itself is ``."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = modules()
INSIDE = sorted(name for name in MODULES if name)


def imports(tree: ast.AST) -> Iterator[str]:
    """The dotted names that a module imports anywhere in it, for types alone too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inner(name: str) -> Iterator[str]:
    """The modules of this package that a module imports, by their dotted names within it."""
    for imported in imports(MODULES[name]):
        if imported == "soundscape" or imported.startswith("soundscape."):
            within = imported.removeprefix("soundscape").removeprefix(".")
            if within in MODULES and within != name:
                yield within


def outer(name: str) -> set[str]:
    """The other packages that a module imports."""
    return {imported.split(".")[0] for imported in imports(MODULES[name])} - {"soundscape"}


def place(name: str) -> tuple[int, int]:
    """Level, and position in it."""
    head = name.split(".")[0]
    return next((n, level.index(head)) for n, level in enumerate(LEVELS) if head in level)


def test_every_module_has_its_place_in_the_table() -> None:
    placed = {name for level in LEVELS for name in level}
    assert {name.split(".")[0] for name in INSIDE} <= placed


@pytest.mark.parametrize("name", INSIDE)
def test_imports_lead_downwards(name: str) -> None:
    """Or to the left, where that is allowed, or within one package; never to the package itself, which knows all."""
    level, position = place(name)
    wrong = []
    for imported in inner(name):
        if imported and imported.split(".")[0] == name.split(".")[0]:
            continue
        there = place(imported) if imported else (len(LEVELS), 0)
        left = there[0] == level and LEVELS[level] in ORDERED and there[1] < position
        if there[0] >= level and not left:
            wrong.append(imported or "soundscape")
    assert wrong == []


@pytest.mark.parametrize("name", sorted(BELOW_THE_LINE))
def test_below_the_io_line_nothing_knows_the_world(name: str) -> None:
    assert outer(name) & (OUTSIDE | OUTSIDE_TOO) == set()


@pytest.mark.parametrize("name", sorted(BELOW_THE_LINE))
def test_below_the_io_line_nothing_is_opened_printed_or_drawn_from_a_library(name: str) -> None:
    """`open()`, `print()`, `input()`, `np.random`: chance is a function of the seed."""
    called = {node.id for node in ast.walk(MODULES[name]) if isinstance(node, ast.Name)}
    assert called & {"open", "print", "input", "__import__", "eval", "exec"} == set()
    attributes = {node.attr for node in ast.walk(MODULES[name]) if isinstance(node, ast.Attribute)}
    assert "random" not in attributes


def test_driver_and_mixer_meet_in_cues_alone() -> None:
    """Neither knows the other, and the driver hears nothing: it does without numpy."""
    assert "mixer" not in set(inner("driver"))
    assert set(inner("mixer")) & {"driver", "scene"} == set()
    assert "numpy" not in outer("driver")


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_each_library_has_its_owners(library: str) -> None:
    users = {name for name in INSIDE if library in outer(name)}
    strangers = {name for name in users if name not in OWNERS[library] and name.split(".")[0] not in OWNERS[library]}
    assert strangers == set()


@pytest.mark.parametrize("name", [name for name in sorted(MODULES) if len(MODULES[name].body) > 1])
def test_all_is_there_and_sorted(name: str) -> None:
    """As ruff sorts it: constants, then classes, then the rest, each by the alphabet. A docstring alone needs none."""
    lists = [
        node.value
        for node in MODULES[name].body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
    ]
    assert len(lists) == 1
    names: list[str] = ast.literal_eval(lists[0])

    def kind(public: str) -> int:
        return 0 if public.isupper() and len(public) > 1 else 1 if public[:1].isupper() else 2

    assert names == sorted(set(names), key=lambda public: (kind(public), natural(public)))


def natural(name: str) -> list[tuple[int, int, str]]:
    """`a2` before `a10`."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after a statement and had not before."""
    script = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT.parent, check=True, capture_output=True, text=True, timeout=60
    )
    return set(done.stdout.split())


HEAVY = {*OWNERS, "numpy", "tree_sitter", "tree_sitter_toml"}


def test_import_soundscape_is_light() -> None:
    """None of what it stands on, and none of its own modules, until a name is asked for."""
    loaded = loaded_by("import soundscape")
    assert {name.split(".")[0] for name in loaded} & HEAVY == set()
    assert {name for name in loaded if name.startswith("soundscape.")} == set()


def test_an_error_can_be_named_without_loading_the_rest() -> None:
    loaded = loaded_by("from soundscape import SceneError, UsageError")
    assert {name.split(".")[0] for name in loaded} & HEAVY == set()


def test_a_good_scene_is_read_without_the_parser_for_bad_ones_and_without_sound() -> None:
    loaded = loaded_by("from soundscape import Scene; Scene.from_toml('')")
    assert {name.split(".")[0] for name in loaded} & (HEAVY - {"numpy", "pydantic"}) == set()
    assert "pydantic" in loaded


def test_public_names_are_those_of_all() -> None:
    assert dir(soundscape) == sorted(soundscape.__all__)
    with pytest.raises(AttributeError, match="module 'soundscape' has no attribute 'Soundscpe'"):
        _ = soundscape.Soundscpe
