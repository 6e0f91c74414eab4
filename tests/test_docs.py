"""What the pages under `docs` and the README show is true.

A page is one sitting in one folder, from top to bottom. What its blocks are is written after the three backticks:

    toml          a whole scene, which loads with all its sounds. If it begins with `# NAME.toml` it is saved as that.
    toml wrong    a scene that does not.
    python        is run, and its test functions are called, once for each of their parameters.
    diff          Python before and after: both are run.
    sh            lines of a shell. `soundscape ...` is run in the folder; of others, `OTHERS` says which there may be.
    text          exactly what the block before it printed.

A source that is a file is made when a scene names it. `session`, `agent` and `ctx` are a host that needs no models.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import shlex
import shutil
import threading
import tomllib
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from livekit.agents import AgentSession

from soundscape import Scene
from soundscape.cli import main
from soundscape.library import SceneClips
from soundscape.loader import inspect as inspect_scene
from soundscape.loader import shipped_scenes
from soundscape.scene import SceneModel
from soundscape.scene.tables import (
    AudioConfig,
    Bus,
    ClipTable,
    Defaults,
    Duck,
    Layer,
    Loop,
    Pool,
    State,
    Table,
    Transition,
)
from soundscape.testing import replay

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
REFERENCE = ROOT / "docs" / "scene-format.md"
pytestmark = pytest.mark.checkout

OTHERS = ("python agent.py ", "pip install ", "pytest", "git diff ")
"""Lines of a shell that are shown and not run here."""

NEVER_ENDING = ("soundscape demo", "soundscape play")
"""Commands that take real time: the tests of the command line are about them."""


class Block(NamedTuple):
    """A block of a page: its language, its text and its first line's number."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    found = re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(m[1], m[2], text.count("\n", 0, m.start()) + 2) for m in found]


# --- every example ------------------------------------------------------------------------------------------------


class Sitting:
    """A page's examples, run one after the other."""

    def __init__(self, page: Path, folder: Path, request: pytest.FixtureRequest) -> None:
        self.page = page
        self.folder = folder
        self.request = request
        self.names: dict[str, Any] = {"AgentSession": Host, "agent": None, "ctx": SimpleNamespace(room=None)}

    def toml(self, text: str) -> str:
        named = re.match(r"# (\S+\.toml)\b", text)
        path = self.folder / (named[1] if named else "unnamed.toml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        scene = Scene.from_toml(text, base_dir=path.parent)
        for source in {source for _, source in scene.all_sources} | {clip.source for clip in scene.clips.values()}:
            if ":" not in source and source not in scene.clips:
                noise(path.parent / source)
        assert SceneClips(scene).problems() == []
        return ""

    def toml_wrong(self, text: str) -> str:
        named = re.match(r"# (\S+\.toml)\b", text)
        assert named
        (self.folder / named[1]).write_text(text, "utf-8")
        scene, problems = inspect_scene(self.folder / named[1])
        assert problems or (scene is not None and SceneClips(scene).problems())
        return ""

    def python(self, text: str, filename: str, line: int) -> None:
        tree = compile("\n" * (line - 1) + text, filename, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        before = set(self.names)
        asyncio.run(self.executed(tree))
        for name in self.names.keys() - before:
            if name.startswith("test_"):
                self.called(self.names[name])

    def diff(self, text: str, filename: str, line: int) -> None:
        lines = text.splitlines()
        for side in "-+":
            self.python("\n".join(found[1:] if found[0] in (side, " ") else "" for found in lines), filename, line)

    async def executed(self, code: CodeType) -> None:
        if "session" in code.co_names:
            self.names.setdefault("session", Host())
        result = eval(code, self.names)
        if inspect.isawaitable(result):
            await result

    def called(self, test: Callable[..., object]) -> None:
        marks = getattr(test, "pytestmark", [])
        cases: list[dict[str, Any]] = [{}]
        for mark in marks:
            assert mark.name == "parametrize"
            names = [name.strip() for name in mark.args[0].split(",")]
            cases = [dict(zip(names, value if len(names) > 1 else [value], strict=True)) for value in mark.args[1]]
        for case in cases:
            if "soundscape_replay" in inspect.signature(test).parameters:
                case["soundscape_replay"] = replay  # from the folder, which is the sitting's root
            test(**case)

    def sh(self, text: str) -> None:
        for line in text.replace("\\\n", " ").splitlines():
            if not line.startswith("soundscape "):
                assert line.startswith(OTHERS), line
            elif not line.startswith(NEVER_ENDING):
                self.command(shlex.split(line, comments=True)[1:])

    def command(self, words: list[str]) -> None:
        words = [found for word in words for found in (self.globbed(word) if "*" in word else [word])]
        if ">" in words:
            words, (_, target) = words[:-2], words[-2:]
            before = self.output()
            status = called(words)
            (self.folder / target).write_text(self.output(), "utf-8")
            print(before, end="")
        else:
            status = called(words)
        self.names["status"] = status

    def globbed(self, word: str) -> list[str]:
        found = sorted(str(path.relative_to(self.folder)) for path in self.folder.glob(word))
        assert found, word
        return found

    def output(self) -> str:
        capture: pytest.CaptureFixture[str] = self.request.getfixturevalue("capsys")
        return capture.readouterr().out


class Host(AgentSession[None]):
    """A session without models, which starts at once."""

    def __init__(self, **models: object) -> None:
        super().__init__()

    async def start(self, *args: object, **options: object) -> None:  # type: ignore[override]
        pass


def called(words: list[str]) -> int:
    """The exit status of a command line."""
    try:
        main(words)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def noise(path: Path) -> None:
    """Three seconds of it, as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = (np.random.default_rng(0).normal(0, 2_000, 144_000)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From top to bottom, with every printed result as the page has it."""
    folder = tmp_path / "sitting"
    folder.mkdir()
    shutil.copytree(ROOT / "scenes", folder / "scenes")
    monkeypatch.chdir(folder)
    sitting = Sitting(page, folder, request)
    printed: str | None = None
    found = blocks(page)
    assert found
    for i, block in enumerate(found):
        place = f"{page.name}:{block.line}"
        sitting.names["status"] = 0
        capsys.readouterr()
        match block.language:
            case "toml":
                sitting.toml(block.text)
            case "toml wrong":
                sitting.toml_wrong(block.text)
            case "python":
                sitting.python(block.text, str(page), block.line)
            case "diff":
                sitting.diff(block.text, str(page), block.line)
            case "sh" | "":
                sitting.sh(block.text)
            case "text":
                assert printed is not None, place
                assert tidy(printed) == tidy(block.text), place
            case other:
                pytest.fail(f"{place}: no block is of the kind {other!r}")
        shown = i + 1 < len(found) and found[i + 1].language == "text"
        printed = capsys.readouterr().out
        # A command that goes wrong is on the page only where what it says is, too.
        assert sitting.names["status"] == 0 or shown, place
    assert "soundscape-output" not in [thread.name for thread in threading.enumerate()], "what is started is closed"


def tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


# --- links ---------------------------------------------------------------------------------------------------------


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    wrong = []
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE) if target.suffix == ".md" else []
        if not target.exists() or (anchor and anchor not in map(slug, headings)):
            wrong.append(link)
    assert wrong == []


def test_the_readme_lists_every_scene() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert sorted(re.findall(r"\(scenes/(.+)\.toml\) \|", text)) == shipped_scenes()


# --- the reference --------------------------------------------------------------------------------------------------

SECTIONS: dict[str, type[Table]] = {
    "The file": SceneModel,
    "`[base]` and `[states.NAME]`": State,
    "A layer": Layer,
    "A sound": AudioConfig,
    "`[pools.NAME]`": Pool,
    "`[clips.NAME]`": ClipTable,
    "The loop of a clip": Loop,
    "`[buses.NAME]`": Bus,
    "`[[ducks]]`": Duck,
    "`[defaults]`": Defaults,
    "`[[transitions]]`": Transition,
}
"""Where the page lists the keys of which table."""

HEADER = "| key | default | allowed | meaning |"


class Row(NamedTuple):
    """What the page says of a key."""

    default: str
    allowed: str
    meaning: str


def reference() -> dict[str, dict[str, Row]]:
    """The page's rows by section and key."""
    found: dict[str, dict[str, Row]] = {}
    section, inside = "", False
    for line in REFERENCE.read_text("utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        inside = line == HEADER or (inside and line.startswith("|"))
        if inside and line != HEADER and not line.startswith("|---"):
            key, default, allowed, meaning = (cell.strip() for cell in line.strip("|").split("|"))
            assert key.strip("`") not in found.setdefault(section, {}), key
            found[section][key.strip("`")] = Row(default, allowed, meaning)
    return found


def properties(table: type[Table]) -> Iterator[tuple[str, Any, dict[str, Any], Any]]:
    """For each key of a table its name in the file, field, schema and all definitions."""
    schema = table.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    own = definitions[schema["$ref"].split("/")[-1]] if "$ref" in schema else schema
    for name, field in table.model_fields.items():
        key = field.alias or name
        yield key, field, own["properties"][key], definitions


def allowed(schema: dict[str, Any]) -> str:
    """What the page says that a value may be."""
    if "anyOf" in schema:
        return allowed(next(form for form in schema["anyOf"] if form != {"type": "null"}))
    if "oneOf" in schema:
        return f"a name, or {allowed(next(form for form in schema['oneOf'] if form['type'] == 'array'))}"
    if "$ref" in schema or schema["type"] == "object":
        return "tables" if "additionalProperties" in schema else "a table"
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    if "prefixItems" in schema:
        return f"two numbers, {allowed(schema['prefixItems'][0])}"
    match schema["type"]:
        case "string":
            return "text"
        case "boolean":
            return "`true`, `false`"
        case "array":
            return "a list of text" if schema["items"].get("type") == "string" else "a list of tables"
    low, high = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMaximum" in schema:
        return f"below {schema['exclusiveMaximum']:,}"
    if low is None and high is None:
        return "a whole number"
    return f"at most {high:,}" if low is None else f"{low:,} to {high:,}"


@pytest.mark.parametrize("section", SECTIONS)
def test_the_reference_has_every_key(section: str) -> None:
    """With its default and its range, and no key that there is not."""
    rows = reference()[section]
    table = SECTIONS[section]
    assert list(rows) == [key for key, *_ in properties(table)] or sorted(rows) == sorted(
        key for key, *_ in properties(table)
    )
    for key, field, schema, _ in properties(table):
        row = rows[key]
        assert row.meaning, key
        words = row.allowed.removesuffix(" by name").removesuffix(" by state")
        assert words == allowed(schema), key
        if field.is_required():
            assert row.default == "required", key
        elif "default" not in schema or schema["default"] is None or key == "name":
            assert row.default == ("the file's name" if key == "name" else "none"), key
        elif isinstance(schema["default"], dict):
            assert row.default == "`{}`", key  # an empty table, whose own section has its defaults
        else:
            said = tomllib.loads(f"x = {row.default.strip('`')}")["x"]
            assert json.dumps(said) == json.dumps(schema["default"]), key


def test_the_reference_has_no_other_section() -> None:
    assert reference().keys() == SECTIONS.keys()


UNLESS_SAID = {
    "loop": {
        "volume": "1",
        "gain_db": "0",
        "probability": "1",
        "min_play": "0",
        "start": '"beginning"',
        "on_exit": '"fade"',
    },
    "scatter": {"first": "[2, 3]", "max_playbacks": "1", "on_exit": '"finish"'},
    "once": {"cooldown": "0", "on_exit": '"finish"'},
}
"""What keys without a default of the format come to, by kind: the reference says each of it in words."""


@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind, keys in UNLESS_SAID.items() for key in keys])
def test_what_holds_unless_said(kind: str, key: str) -> None:
    """Written out, it changes nothing."""
    scene = f"""
        [states.thinking]
        source = "soundscape:chime"
        kind = "{kind}"
        {"interval = [2, 3]" if kind == "scatter" else ""}
    """
    sequence = "listening@0 thinking@1 listening@1.4 thinking@2 speaking@9 thinking@11 listening@20"
    written = f"{scene}\n{key} = {UNLESS_SAID[kind][key]}\n"
    assert str(replay(written, sequence)) == str(replay(scene, sequence))
    value = UNLESS_SAID[kind][key].strip('"')
    meaning = reference()["A layer"][key].meaning
    assert "unless said" in meaning
    assert value in {"[2, 3]", "fade", "finish", "beginning"} or f"{value} unless said" in meaning
