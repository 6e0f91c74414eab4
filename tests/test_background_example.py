"""`examples/background_audio.py`, in a real session with a scripted model."""

from __future__ import annotations

import asyncio
import runpy
from pathlib import Path

import numpy as np
import pytest
from livekit.agents import AgentSession
from rooms import Room, output_threads, tapped

from soundscape import RoomOutput
from soundscape.demo.scripted import Completion, PacedVoice, ScriptedLLM, ScriptedTTS, ToolCall

EXAMPLE = Path(__file__).parent.parent / "examples" / "background_audio.py"


@pytest.mark.checkout
async def test_the_example_plays_its_room_its_typing_and_its_music() -> None:
    example = runpy.run_path(str(EXAMPLE))
    background, room = example["office"](), Room()
    answers = [
        Completion("One moment.", think=0.3, call=ToolCall("look_up_order", {"order_number": "4713"})),
        Completion("It is on its way.", think=0.3),
        *(Completion("Yes.", think=0.3) for _ in range(12)),
    ]
    session: AgentSession[None] = AgentSession(
        llm=ScriptedLLM(answers), tts=ScriptedTTS(delay=0.02), turn_handling={"turn_detection": "manual"}
    )
    session.output.audio = PacedVoice()
    await session.start(example["Assistant"](background))
    await background.start(room=room.room, agent_session=session)
    output = background._run.output
    assert isinstance(output, RoomOutput)
    log = background._run.engine.log
    async with tapped(output) as tap:
        await session.run(user_input="Where is my order, 4713?")
        for _ in range(12):  # once in 4^13 nobody types
            if any(entry.key == "thinking" and entry.clip for entry in log):
                break
            await session.run(user_input="Really?")
        await asyncio.sleep(0.2)
        await session.aclose()
    assert np.concatenate(tap.blocks).any()
    done = [(entry.action, entry.key) for entry in log if entry.action != "commit"]
    music = "play soundscape:hold-music"
    assert done[0] == ("start", "ambient")
    assert ("start", "thinking") in done
    assert done.index(("start", music)) < done.index(("release", music))
    assert [clip for clip in (entry.clip for entry in log) if clip and "keyboard" in clip]
    await background.aclose()
    assert room.track_publications == {}
    assert not output_threads()
