"""Who answers in `examples/agent.py`: LiveKit's models where they can be reached, else a script that needs no key."""

from __future__ import annotations

import itertools
import logging
import os
from typing import Any
from urllib.parse import urlsplit

from soundscape.demo.scripted import Completion, ScriptedLLM, ScriptedTTS

__all__ = ["models"]

GREETING = Completion("Hello, this is the order desk. What can I do for you?", think=1.0)
ANSWERS = (
    Completion("Let me see. Your parcel left our warehouse this morning.", think=2.5),
    Completion("It will be with you on Thursday.", think=2.5),
    Completion("You are welcome. Is there anything else?", think=2.5),
)


def models(**wanted: str) -> dict[str, Any]:
    """What an `AgentSession` is made with.

    LiveKit's inference service takes keys of LiveKit Cloud, or its own (`LIVEKIT_INFERENCE_API_KEY` and `_SECRET`).
    With any other server a model answers by a script, in a synthetic voice, to what the caller types: nobody is
    listened to, which is logged.

    Args:
        wanted: `stt`, `llm` and `tts`, as LiveKit names them.
    """
    own_keys = all(os.environ.get(f"LIVEKIT_INFERENCE_API_{part}") for part in ("KEY", "SECRET"))
    host = urlsplit(os.environ.get("LIVEKIT_URL", "")).hostname or ""
    if own_keys or host.endswith((".livekit.cloud", ".livekit.run")):
        return dict(wanted)
    logging.getLogger("soundscape").warning(
        "a script answers what the caller types, nobody is listened to: LIVEKIT_URL is not LiveKit Cloud's"
    )
    script = itertools.chain([GREETING], itertools.cycle(ANSWERS))
    return {
        "stt": None,
        "llm": ScriptedLLM(script),
        "tts": ScriptedTTS(),
        "vad": None,
        "turn_handling": {"turn_detection": "manual"},
    }
