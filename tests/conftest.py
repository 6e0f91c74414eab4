"""For all tests: decoded sound is kept in a folder of the run's own, not in the user's.

And which player of background audio is tested: ours, or with `--livekit-player` LiveKit's own, which shows what the
tests of it (`test_livekits_*.py`) say: all of its faults fail, all of its choices pass.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from types import ModuleType

import pytest

OURS, LIVEKITS = "soundscape.background_audio", "livekit.agents.voice.background_audio"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--livekit-player", action="store_true", help="test LiveKit's own player in place of soundscape's")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--livekit-player"):
        # A file that it is opening when it is closed stays open, which is said in whatever test comes next.
        config.addinivalue_line("filterwarnings", "ignore::pytest.PytestUnraisableExceptionWarning")


_status = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_status] = exitstatus


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """LiveKit's decoder may be left with a thread that never ends, and then no process that has used it does."""
    left = any(thread.name.startswith("AudioDecoder") for thread in threading.enumerate())
    if left and config.getoption("--livekit-player"):
        sys.stdout.flush()
        os._exit(config.stash[_status])


@pytest.fixture
def api(pytestconfig: pytest.Config) -> ModuleType:
    """The module whose player is tested."""
    return importlib.import_module(LIVEKITS if pytestconfig.getoption("--livekit-player") else OURS)


@pytest.fixture(autouse=True)
def _every_output_is_closed() -> Iterator[None]:
    """One that a test leaves open is its fault, and not that of all that look for its thread afterwards."""
    yield
    if (room := sys.modules.get("soundscape.outputs.room")) is None:
        return
    ends = time.monotonic() + 2
    while (left := room._thread._users) and time.monotonic() < ends:
        time.sleep(0.01)
    if left:
        for _ in range(left):
            room._thread.release()
        room._thread.join(2)
        pytest.fail(f"it left {left} outputs of a room open")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOUNDSCAPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
