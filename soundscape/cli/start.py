"""A scene to begin with: a file that can be heard as it is, and says what to change."""

from __future__ import annotations

import json
from pathlib import Path

from soundscape.exceptions import OutputError, UsageError
from soundscape.scene.schema import json_schema

__all__ = ["SCHEMA_NAME", "begin", "schema_text"]

SCHEMA_NAME = "soundscape.schema.json"

_SCENE = f"""\
#:schema ./{SCHEMA_NAME}
# What is heard behind the agent, state by state. Everything here may be changed or left out; after each change:
#
#     soundscape check NAME.toml           what is wrong, and where
#     soundscape show NAME.toml            what plays when, and how loud
#
# Seconds and dB are plain numbers.

description = "Quiet air in every state; a keyboard while the agent thinks."

# Loudness. A layer on a bus is brought to the bus's level, against the agent's speech, whatever the file is like.
[buses.room]
level_lu = -24                           # LU, negative: softer than speech

[buses.desk]
level_lu = -18

# [[ducks]]                              # softer still while somebody speaks
# while = "agent_speaking"               # or "user_speaking"
# by_db = -4

# Sounds in every state. `soundscape clips` lists those that ship; anything else is a file beside this one.
[base]
key = "room"                             # what tests and the log call it
source = "soundscape:office-ambience"    # or "my-room.wav"
bus = "room"
start = "random"                         # no two calls begin alike

# Sounds in one state: initializing, idle, listening, thinking, speaking, tool, away, or one of your own.
[states.thinking]
key = "typing"
bus = "desk"
after = 0.7                              # a quick answer needs no typing
min_play = 1.0                           # and nobody types for half a second
start = "random"
pool = [                                 # each time one of these
  {{ source = "soundscape:keyboard-typing",   probability = 0.7 }},
  {{ source = "soundscape:keyboard-typing-2", probability = 0.3 }},
]

# [[states.tool.layers]]                 # several sounds in one state: several of these
# kind = "once"                          # one shot on entry; "scatter": now and then
# source = "soundscape:chime"
# bus = "desk"

# How one state becomes another. The rule that names its states most closely wins, wherever it stands;
# `soundscape show --matrix NAME.toml` prints what comes of it.
[[transitions]]
to = "speaking"                          # from = "*" unless said: from any state
crossfade = 0.2

[[transitions]]
from = "thinking"
to = "listening"
settle = 0.25                            # a change that does not last this long is none
fade_out = 1.2

[[transitions]]
from = "none"                            # the call begins
fade_in = 1.5

[[transitions]]
to = "none"                              # the call ends
fade_out = 1.0
"""


def schema_text() -> str:
    """The JSON Schema of scene files."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False)


def begin(name: str) -> tuple[Path, bool]:
    """Writes a scene, and the schema beside it unless there is one.

    Args:
        name: the file's path, with or without `.toml`.

    Returns:
        The scene's file, and whether the schema was written.

    Raises:
        UsageError: there is something of that name, or no folder for it.
        OutputError: it cannot be written.
    """
    path = Path(name if name.lower().endswith(".toml") else f"{name}.toml")
    if not path.name[: -len(".toml")].strip(".") or not name.isprintable():
        raise UsageError(f"{name!r} is no name for a scene; write one such as 'office'")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {str(path.parent)!r}")
    if not _written(path, _SCENE.replace("NAME.toml", path.name)):
        raise UsageError(f"{path} is there already, and was left as it is; give another name")
    return path, _written(path.with_name(SCHEMA_NAME), f"{schema_text()}\n")


def _written(path: Path, text: str) -> bool:
    """Whether the file was not there and now is."""
    try:
        with open(path, "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        return False
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from None
    return True
