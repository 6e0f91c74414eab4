"""Scenes that are right, and scenes that are wrong with what is said about them beside each, word for word.

    tests/scenes/valid/*.toml               read, and all of their sounds are there
    tests/scenes/invalid/text/*.toml        no TOML, or beyond its limits here
    tests/scenes/invalid/structure/*.toml   a table, a key or a value that cannot be: an editor sees it by the schema
    tests/scenes/invalid/meaning/*.toml     what does not go together: only the loader sees it
    tests/scenes/invalid/sounds/*.toml      sounds that cannot be played: only who looks for them sees it

After a change of words, `python tests/test_golden.py [NAME...]` writes the expected messages anew, of all scenes or of
the named ones. Read the difference as a scene's author would: it is the text that decides, not the program.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from soundscape.cli import main
from soundscape.exceptions import Problem, SceneError
from soundscape.loader import Scene, inspect

SCENES = Path(__file__).parent / "scenes"
VALID = sorted(SCENES.glob("valid/*.toml"))
INVALID = sorted(SCENES.glob("invalid/*/*.toml"))
WRONG_IN_TEXT = [path for path in INVALID if path.parent.name != "sounds"]


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def expected(path: Path) -> str:
    return path.with_suffix(".txt").read_text(encoding="utf-8")


def printed(path: Path, problems: Iterable[Problem]) -> str:
    """Problems a line each, with the bare name of their file."""
    return "".join(f"{problem}\n".replace(str(path), path.name, 1) for problem in problems)


def checked(paths: Iterable[Path], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and words of `soundscape check`."""
    with pytest.raises(SystemExit) as ended:
        main(["check", *map(str, paths)])
    captured = capsys.readouterr()
    assert captured.err == ""
    return int(ended.value.code or 0), captured.out


def test_there_are_enough_of_them() -> None:
    """An empty folder would pass for a good one."""
    assert len(VALID) >= 30
    assert len(INVALID) >= 80
    assert {path.stem for path in SCENES.rglob("*.txt")} == {path.stem for path in INVALID}


@pytest.mark.parametrize("path", VALID, ids=name)
def test_a_right_scene_is_read(path: Path) -> None:
    scene, problems = inspect(path)
    assert problems == []
    assert scene is not None
    assert Scene.from_file(path).checked().model_dump() == scene.model_dump()


def test_every_sound_of_the_right_scenes_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    status, words = checked(VALID, capsys)
    assert words == "".join(f"{path}: ok\n" for path in VALID)
    assert status == 0


@pytest.mark.parametrize("path", WRONG_IN_TEXT, ids=name)
def test_a_wrong_scene_is_refused_in_these_words(path: Path) -> None:
    with pytest.raises(SceneError) as caught:
        Scene.from_file(path)
    assert printed(path, caught.value.problems) == expected(path)
    assert printed(path, SceneError(inspect(path)[1]).problems) == expected(path)


@pytest.mark.parametrize("path", INVALID, ids=name)
def test_check_says_it_in_the_same_words(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1; sounds that cannot be played are among them."""
    status, words = checked([path], capsys)
    assert words.replace(str(path), path.name) == expected(path)
    assert status == 1


@pytest.mark.parametrize("path", [path for path in INVALID if path.parent.name == "sounds"], ids=name)
def test_reading_a_scene_does_not_look_for_its_sounds(path: Path) -> None:
    said = printed(path, inspect(path)[1])
    assert set(said.splitlines()) < set(expected(path).splitlines())


@pytest.mark.parametrize("path", INVALID, ids=name)
def test_each_message_has_a_place_and_says_what_to_do(path: Path) -> None:
    """What to do stands behind a semicolon, unless what must be there says it."""
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    for said in expected(path).splitlines():
        _, line, column, message = said.split(":", 3)
        assert 1 <= int(line) <= len(lines)
        assert 1 <= int(column) <= len(lines[int(line) - 1]) + 1
        assert ";" in message or "must be" in message


def write(names: Iterable[str]) -> None:
    """Writes what is expected of wrong scenes anew."""
    from soundscape.library import SceneClips

    wanted = set(names)
    for path in INVALID:
        if wanted and path.stem not in wanted:
            continue
        scene, problems = inspect(path)
        known = {(problem.line, problem.column) for problem in problems}
        if scene is not None:
            found = SceneClips(scene).problems()
            problems += [problem for problem in found if (problem.line, problem.column) not in known]
        path.with_suffix(".txt").write_text(printed(path, SceneError(problems).problems), encoding="utf-8")


if __name__ == "__main__":
    write(sys.argv[1:])
