"""What the README shows is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from soundscape import Scene
from soundscape.library import SceneClips

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.checkout


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)


def test_its_scene_can_be_played() -> None:
    (text,) = blocks("toml")
    assert SceneClips(Scene.from_toml(text)).problems() == []


def test_its_test_of_a_scene_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the project's folder, where its paths lead."""
    monkeypatch.chdir(ROOT)
    source = next(block for block in blocks("python") if "def test_" in block)
    names: dict[str, object] = {}
    exec(compile(source, "README.md", "exec"), names)
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    assert callable(test)
    test()


def test_what_it_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert links
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []
