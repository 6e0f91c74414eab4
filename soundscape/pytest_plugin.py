"""For pytest: the fixture `soundscape_replay`, a picture of every take with `--soundscape-plots=DIR`, and with each
failure the transcripts of what the test replayed.

pytest imports this module in every project that it is installed in: it imports nothing but pytest, and a project that
replays nothing never loads more.
"""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from collections.abc import Callable, Generator
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections import deque

    from soundscape.testing import Take

__all__ = [
    "pytest_addoption",
    "pytest_configure",
    "pytest_runtest_call",
    "pytest_runtest_protocol",
    "pytest_runtest_teardown",
    "soundscape_replay",
]

_TESTING = "soundscape.testing"
_OPTION = "--soundscape-plots"
_FOLDER = pytest.StashKey[Path]()
_TAKES: pytest.StashKey[deque[Take]] = pytest.StashKey()
_LONGEST_NAME = 150

_SHOWN_TAKES = 5
"""With a failure, the last ones: a property test makes thousands, and fails with its last."""

_SHOWN_LINES = 200
"""Of a transcript, from its beginning and its end."""


@pytest.fixture
def soundscape_replay(pytestconfig: pytest.Config) -> Callable[..., Take]:
    """`soundscape.testing.replay`, with paths of scenes and recordings from the project's root."""
    from soundscape.testing import replay

    return partial(replay, root=pytestconfig.rootpath)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--soundscape-plots`."""
    parser.getgroup("soundscape").addoption(
        _OPTION, metavar="DIR", help="keep a picture of every take in this folder, named after its test"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Makes the folder for the pictures."""
    name = config.getoption(_OPTION)
    if name is None:
        return
    folder = Path(config.invocation_params.dir, name)  # whole: tests may go elsewhere
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise pytest.UsageError(f"{_OPTION}={name}: cannot be made: {error.strerror}") from None
    config.stash[_FOLDER] = folder


# Wrappers of the old kind: an older pytest that finds the plugin installed shall not stumble over it.


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, None]:
    """Collects the takes of a test and of its fixtures, if anything has loaded what makes them, or is about to."""
    asked = _FOLDER in item.config.stash or soundscape_replay.__name__ in getattr(item, "fixturenames", ())
    testing = importlib.import_module(_TESTING) if asked else sys.modules.get(_TESTING)
    if testing is None:
        yield
        return
    with testing.watch(limit=None if _FOLDER in item.config.stash else _SHOWN_TAKES) as takes:
        item.stash[_TAKES] = takes
        yield
    del item.stash[_TAKES]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, None]:
    """Shows with a failure what was replayed."""
    outcome = yield
    if outcome.excinfo is not None:
        for take in list(item.stash.get(_TAKES, ()))[-_SHOWN_TAKES:]:
            item.add_report_section("call", "soundscape", f"{take!r}\n{_shortened(str(take))}")


def _shortened(transcript: str) -> str:
    lines, half = transcript.splitlines(), _SHOWN_LINES // 2
    if len(lines) > 2 * half:
        lines[half:-half] = [f"... {len(lines) - 2 * half:,} lines more ..."]
    return "\n".join(lines)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, None]:
    """Draws what was replayed, when it is known how many takes there are."""
    outcome = yield
    folder, takes = item.config.stash.get(_FOLDER, None), item.stash.get(_TAKES, ())
    if folder is None:
        return
    for number, take in enumerate(takes, 1):
        suffix = f"-{number}" if len(takes) > 1 else ""
        try:
            _draw(take, folder / f"{_file_name(item.nodeid)}{suffix}.png")
        except Exception as error:
            if outcome.excinfo is None:
                outcome.force_exception(error)


def _draw(take: Take, path: Path) -> None:
    from soundscape.exceptions import SceneError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font lacks shall not fail a test
        try:
            take.plot(path)
        except SceneError:  # a test of states and gains needs no sound files, nor does its picture
            take.plot(path, sounds={})


def _file_name(nodeid: str) -> str:
    """`tests/test_x.py::test_y[a-b]` as `tests.test_x.test_y-a-b`: letters, digits, `.`, `_` and `-`, not too long, and
    another one for each test."""
    plain = nodeid.replace(".py::", ".").replace("::", ".").replace("/", ".").replace("[", "-").removesuffix("]")
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).strip(".")
    if safe == plain and len(safe) <= _LONGEST_NAME:
        return safe
    return f"{safe[:_LONGEST_NAME]}-{blake2b(nodeid.encode('utf-8', 'replace'), digest_size=4).hexdigest()}"
