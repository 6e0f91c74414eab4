"""The pytest plugin, in real runs of pytest: what it gives to tests, what it keeps of them, what it costs others."""

from __future__ import annotations

from importlib.metadata import entry_points
from textwrap import dedent

import numpy as np
import pytest

from soundscape.outputs.file import write_audio

pytest_plugins = ["pytester"]

SCENE = """
[base]
key = "room"
source = "room.wav"

[states.thinking]
key = "typing"
source = "typing.wav"
"""

RECORDING = """\
{"soundscape": 1, "scene": "mine", "seed": 7, "sample_rate": 16000}
{"at": 0.5, "agent": "thinking"}
{"at": 1.5, "end": true}
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with a scene, its sounds, and a recording; tests are run from elsewhere, and warnings are errors."""
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\ntestpaths = ["tests"]\nfilterwarnings = ["error"]\n')
    folder = pytester.mkdir("scenes")
    (folder / "mine.toml").write_text(SCENE)
    (folder / "call.jsonl").write_text(RECORDING)
    tone = 0.2 * np.sin(2 * np.pi * 300 * np.arange(4_800) / 48_000)
    for name in ("room", "typing"):
        write_audio(folder / f"{name}.wav", [tone.astype(np.float32)[:, np.newaxis]], 48_000)
    return pytester


OTHERS = ("asyncio", "hypothesispytest", "anyio", "pytest_cov", "xdist")
"""Plugins that may be installed and have no part in this."""


def run(project: pytest.Pytester, test: str, *args: str) -> pytest.RunResult:
    """Runs a test file in a process of its own, in which the plugin is found as every plugin is."""
    folder = project.path / "tests"
    folder.mkdir(exist_ok=True)
    (folder / "test_scene.py").write_text(dedent(test))
    others = (option for name in OTHERS for option in ("-p", f"no:{name}"))
    return project.runpytest_subprocess(*others, *args, timeout=60)


def test_the_fixture_replays_from_the_projects_root(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenes, their sounds and recordings, wherever the tests are run from; and all else that `replay` takes."""
    test = """
        import pytest
        from soundscape import SceneError, UsageError

        def test_paths(soundscape_replay, tmp_path, monkeypatch):
            monkeypatch.chdir(tmp_path)
            take = soundscape_replay("scenes/mine.toml", "listening@0 thinking@1", until=3, seed=7)
            assert (take.gain("typing", at=0.9), take.gain("typing", at=3), take.seed) == (0, 1, 7)
            assert take.audio().any()
            take = soundscape_replay("scenes/mine.toml", "scenes/call.jsonl")
            assert take.states() == [(0.0, 0.5, "none"), (0.5, 1.5, "thinking")]
            assert soundscape_replay("[base]\\nsource = 'scenes/room.wav'", "listening@0", until=1).audio().any()
            assert soundscape_replay("office", "listening@0").scene.name == "office"
            with pytest.raises(SceneError, match="scenes/none.toml: no such file"):
                soundscape_replay("scenes/none.toml", "listening@0")
            with pytest.raises(UsageError, match="scenes/none.jsonl: the recording cannot be read"):
                soundscape_replay("office", "scenes/none.jsonl")
    """
    run(project, test).assert_outcomes(passed=1)
    monkeypatch.chdir(project.mkdir("elsewhere"))
    run(project, test, "../tests").assert_outcomes(passed=1)


def test_a_picture_of_every_take_is_kept(project: pytest.Pytester) -> None:
    """Named after the test, numbered where there are several, of takes by the fixture or not, of failed tests too."""
    test = """
        import os
        import pytest
        from soundscape.testing import replay

        @pytest.fixture
        def take(soundscape_replay):
            return soundscape_replay("scenes/mine.toml", "listening@0", until=1)

        def test_one(take):
            os.chdir("..")

        class TestGroup:
            def test_two(self, take):
                replay("office", "thinking@0", until=1)

        @pytest.mark.parametrize("name", ["a/b: c?", "a/b: c!", "x" * 300, "plain"])
        def test_named(name):
            replay("[base]\\nsource = 'no-such-sound.wav'", "listening@0", until=1)

        def test_odd():
            replay('[base]\\nkey = "a $^ b$ \u97f3"\\nsource = "no-such-sound.wav"', "listening@0", until=0)

        def test_none(): ...

        def test_failed(take):
            assert False
    """
    result = run(project, test, "--soundscape-plots=out/pictures")
    result.assert_outcomes(passed=8, failed=1)
    pictures = sorted((project.path / "out" / "pictures").iterdir())
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    names = [picture.name for picture in pictures]
    begin = "tests.test_scene."
    assert {f"{begin}test_one.png", f"{begin}test_failed.png", f"{begin}test_named-plain.png"} <= set(names)
    assert {f"{begin}TestGroup.test_two-1.png", f"{begin}TestGroup.test_two-2.png"} <= set(names)
    assert len(names) == 9
    assert sum(name.startswith(f"{begin}test_named-a.b_c_-") for name in names) == 2
    assert max(map(len, names)) < 180


def test_a_folder_that_cannot_be_had_is_said_before_the_first_test(project: pytest.Pytester) -> None:
    (project.path / "file").touch()
    result = run(project, "def test(): ...", "--soundscape-plots=file/pictures")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --soundscape-plots=file/pictures: cannot be made: Not a directory"])


def test_a_failure_shows_what_was_replayed(project: pytest.Pytester) -> None:
    test = """
        from soundscape.testing import replay

        def test_typing(soundscape_replay):
            replay("[base]", "speaking@0")
            take = soundscape_replay("scenes/mine.toml", "listening@0 thinking@1", until=3)
            assert take.gain("typing", at=0.9) > 0

        def test_fine():
            replay("[base]", "speaking@7")
    """
    result = run(project, test)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*where 0.0 = *gain('typing', at=0.9)",
            "*<Take of 'mine', seed 0, 3 s: listening@0 thinking@1>.gain",
            "*Captured soundscape call*",
            "<Take of 'scene', seed 0, 5 s: speaking@0>",
            "    0.000  speaking",
            "*Captured soundscape call*",
            "<Take of 'mine', seed 0, 3 s: listening@0 thinking@1>",
            "    0.000  listening",
            "    0.000      start   room    0.000 -> 1.000 in 0.800 s  (room.wav)",
            "    1.000  thinking",
            "    1.000      start   typing  0.000 -> 1.000 in 0.800 s  (typing.wav)",
        ]
    )
    assert "speaking@7" not in result.stdout.str()


def test_a_failure_is_not_buried_under_what_was_replayed(project: pytest.Pytester) -> None:
    """The last five takes, and of a long one its beginning and its end."""
    test = """
        from soundscape.testing import replay

        def test_much():
            for i in range(12):
                replay("", [(0, f"take_{i}"), *((n, f"state_{n}") for n in range(400))])
            assert False
    """
    result = run(project, test)
    shown = result.stdout.str()
    assert [f": take_{i}@0" in shown for i in range(12)] == [False] * 7 + [True] * 5
    assert [f" state_{n}\n" in shown for n in (0, 99, 100, 299, 300, 399)] == [True, True, False, False, True, True]
    result.stdout.fnmatch_lines(["... 200 lines more ..."])


def test_a_picture_that_cannot_be_kept_is_an_error_of_its_test(project: pytest.Pytester) -> None:
    test = """
        import os
        import shutil

        def test_one(soundscape_replay):
            soundscape_replay("", "listening@0")
            shutil.rmtree("out")

        def test_two(): ...
    """
    result = run(project, test, "--soundscape-plots=out")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["E *OutputError: *test_one.png: the picture cannot be written: *"])


def test_a_project_that_does_not_use_it_loads_nothing(project: pytest.Pytester) -> None:
    """Of its own no more than the plugin, and none of what it stands on."""
    test = """
        import sys

        def test_loaded():
            assert sorted(name for name in sys.modules if name.startswith("soundscape")) == [
                "soundscape",
                "soundscape.pytest_plugin",
            ]
            heavy = {"numpy", "pydantic", "livekit", "av", "matplotlib", "transitions", "typer", "rich", "asyncio"}
            assert heavy & set(sys.modules) == set()
    """
    run(project, test).assert_outcomes(passed=1)


def test_it_is_offered_to_pytest_by_the_installed_package() -> None:
    (offered,) = (point for point in entry_points(group="pytest11") if point.name == "soundscape")
    assert offered.value == "soundscape.pytest_plugin"
    assert offered.load().soundscape_replay
