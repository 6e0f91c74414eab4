"""Whatever becomes of a scene's text: it is read, or refused as a `SceneError`, and soon."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mutations import mutated

from soundscape.exceptions import SceneError
from soundscape.loader import Scene, inspect


def slowest(path: Path, seed: int, times: int) -> float:
    """Reads as many mutated scenes; seconds of the processor that the slowest took."""
    longest, refused = 0.0, 0
    for n in range(times):
        text = mutated(random.Random(f"{seed}.{n}"))
        path.write_bytes(text)
        began = time.process_time()
        try:
            Scene.from_file(path).checked()
        except SceneError as error:
            refused += 1
            in_lines = text.removeprefix(b"\xef\xbb\xbf").split(b"\n")
            for problem in error.problems:
                assert 1 <= problem.line <= len(in_lines), (seed, n)
                assert 1 <= problem.column <= len(in_lines[problem.line - 1]) + 1, (seed, n)
                assert "\n" not in str(problem), (seed, n)
                assert len(str(problem)) < 1_000 + len(str(path)), (seed, n)
        except Exception as error:
            raise AssertionError(f"mutation {n} of seed {seed}: {text!r}") from error
        longest = max(longest, time.process_time() - began)
    assert times * 0.5 < refused < times, "mutations that change too little or too much find nothing"
    return longest


def test_2_000_mutated_scenes_are_read_or_refused(tmp_path: Path) -> None:
    """Nothing but a `SceneError` comes out, and each problem has a place in the file."""
    assert slowest(tmp_path / "scene.toml", seed=1, times=2_000) < 30, "a guard against hanging, not a measurement"


@pytest.mark.slow
def test_100_000_mutated_scenes_are_read_or_refused_within_a_second_each(tmp_path: Path) -> None:
    assert slowest(tmp_path / "scene.toml", seed=2, times=100_000) < 1


def test_what_is_understood_of_a_broken_scene_can_be_looked_at(tmp_path: Path) -> None:
    """`soundscape check` goes on to the sounds, so every name in it has to name something."""
    path = tmp_path / "scene.toml"
    seen = 0
    for n in range(300):
        path.write_bytes(mutated(random.Random(f"3.{n}")))
        scene, _ = inspect(path)
        if scene is not None:
            seen += 1
            for _, layer in scene.all_layers:
                assert scene.pool(layer).entries
                scene.level_lufs(layer)
    assert seen > 100


# --- as large as a file may be ----------------------------------------------------------------------------------

LARGE = {
    "lists in lists": "'x = ' + '[' * 499_000 + ']' * 499_000",
    "lists never closed": "'x = ' + '[' * 990_000",
    "tables in tables": "'x = ' + '{a=' * 240_000 + '1' + '}' * 240_000",
    "one long header": "'[a' + '.a' * 490_000 + ']'",
    "many long keys": "''.join(f'a{n}{\".b\" * 60} = 1\\n' for n in range(7_500))",
    "layers": "'[base]\\nlayers = [' + '{},' * 100_000 + ']'",
    "layers by headers": "'[[base.layers]]\\n' * 60_000",
    "states": "'[states]\\n' + ''.join(f'a{n:x}={{}}\\n' for n in range(100_000))",
    "transitions": "'transitions = [' + '{},' * 100_000 + ']'",
    "ducks": "'ducks = [' + '{},' * 100_000 + ']'",
    "buses": "'[buses]\\n' + ''.join(f'a{n:x}={{level_lu=-1}}\\n' for n in range(45_000))",
    "clips": "'[clips]\\n' + ''.join(f'a{n:x}={{source=\"a\"}}\\n' for n in range(50_000))",
    "pools": "'[pools]\\n' + ''.join(f'a{n:x}={{entries=[{{source=\"a\"}}]}}\\n' for n in range(30_000))",
    "entries": "'[base]\\npool = [' + '{source=\"a\"},' * 70_000 + ']'",
    "entries in many pools": "''.join(f'[pools.p{n}]\\nentries=[{\"{},\" * 320}]\\n' for n in range(990))",
    "unknown keys": "''.join(f'[pools.p{n}]\\n' + ''.join(f'{m:x}=1\\n' for m in range(150)) for n in range(1_000))",
    "a long whole number": "'seed = ' + '9' * 990_000",
    "a long decimal": "'speech_lufs = -1.' + '9' * 990_000",
    "a large exponent": "'speech_lufs = -1e' + '9' * 990_000",
    "a long name": "'[states.' + 'a' * 990_000 + ']'",
    "long names alike": "'[base]\\npool=\"' + 'a' * 400_000 + '\"\\n[pools.' + 'a' * 400_000 + 'b]'",
    "names alike": "''.join(f'[pools.{\"k\" * 33}{n}]\\nentries=[{{source=\"a\"}}]\\n' for n in range(1_000))"
    " + ''.join(f'[[base.layers]]\\npool=\"{\"k\" * 33}x{n}\"\\n' for n in range(1_000))",
    "rules for many states": "'[states]\\n' + ''.join(f's{n}={{}}\\n' for n in range(900))"
    ' + f\'[[transitions]]\\nfrom={[f"s{n}" for n in range(900)]}\\nto={[f"s{n}" for n in range(900)]}\\n'
    "crossfade=1\\nsettle=1\\nurgent=true\\n' * 25",
    "rules alike": "'[[transitions]]\\ncrossfade = 1\\nsettle = 1\\nurgent = true\\n' * 1_000",
    "lines": "'\\n' * 999_999",
}
"""Texts of up to a megabyte, each made by an expression in the process that reads it."""

READ = """
import resource, sys, time

resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
import tree_sitter, tree_sitter_toml
from soundscape.exceptions import SceneError
from soundscape.loader import Scene

for name, expression in eval(sys.stdin.read()).items():
    text = eval(expression)
    assert len(text.encode()) <= 1_000_000, name
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        Scene.from_toml(text).checked()
        said = "read"
    except SceneError as error:
        assert all(problem.line for problem in error.problems)
        said = str(error.problems[0])
    took, grown = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{took:.2f} s, {grown // 1024} MB more: {name}: {said[:100]}")
"""


def read_apart(cases: dict[str, str]) -> list[str]:
    """Reads texts in a process of their own, within its limits of memory and time; a line about each."""
    done = subprocess.run([sys.executable, "-c", READ], input=repr(cases), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
def test_the_largest_texts_take_bounded_time_and_memory(name: str) -> None:
    """A minute of the processor and 3 GB at the very most; the figures are printed."""
    print(*read_apart({name: LARGE[name]}), sep="\n")


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
def test_some_of_the_largest_texts_take_bounded_time_and_memory() -> None:
    some = ("lists in lists", "layers", "a long whole number", "a long name", "names alike", "rules for many states")
    assert len(read_apart({name: LARGE[name] for name in some})) == len(some)
