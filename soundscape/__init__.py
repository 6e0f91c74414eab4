"""A living background for LiveKit voice agents: sound that follows the agent's state.

    from soundscape import Soundscape

    background = session.use(Soundscape.from_file("scenes/office.toml"))

Names are loaded on first use: importing the package loads neither LiveKit nor an audio library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soundscape.engine import Entry, Fact
    from soundscape.exceptions import DecodeError, OutputError, Problem, SceneError, SoundscapeError, UsageError
    from soundscape.library import prewarm
    from soundscape.loader import Scene
    from soundscape.outputs import MemoryOutput, Output
    from soundscape.outputs.file import FileOutput
    from soundscape.outputs.room import RoomOutput
    from soundscape.outputs.speakers import SpeakersOutput
    from soundscape.plugin import Soundscape
    from soundscape.plugin.host import use

__all__ = [
    "DecodeError",
    "Entry",
    "Fact",
    "FileOutput",
    "MemoryOutput",
    "Output",
    "OutputError",
    "Problem",
    "RoomOutput",
    "Scene",
    "SceneError",
    "Soundscape",
    "SoundscapeError",
    "SpeakersOutput",
    "UsageError",
    "prewarm",
    "use",
]

_HOMES = {
    "DecodeError": "exceptions",
    "Entry": "engine",
    "Fact": "engine",
    "FileOutput": "outputs.file",
    "MemoryOutput": "outputs",
    "Output": "outputs",
    "OutputError": "exceptions",
    "Problem": "exceptions",
    "RoomOutput": "outputs.room",
    "Scene": "loader",
    "SceneError": "exceptions",
    "Soundscape": "plugin",
    "SoundscapeError": "exceptions",
    "SpeakersOutput": "outputs.speakers",
    "UsageError": "exceptions",
    "prewarm": "library",
    "use": "plugin.host",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
