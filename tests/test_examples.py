"""The agents under `examples`, in real sessions with scripted models; the tests there are collected as they are."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from desk import Each
from livekit.agents import AgentSession

from soundscape import Soundscape
from soundscape.demo.scripted import Completion, PacedVoice, ScriptedLLM, ScriptedTTS, ToolCall

EXAMPLES = Path(__file__).parent.parent / "examples"
pytestmark = pytest.mark.checkout


def talking(*answers: Completion) -> AgentSession[None]:
    """A session with a scripted model and voice in place of the example's."""
    session: AgentSession[None] = AgentSession(
        llm=ScriptedLLM(answers), tts=ScriptedTTS(delay=0.0), turn_handling={"turn_detection": "manual"}
    )
    session.output.audio = PacedVoice()
    return session


async def test_music_is_heard_while_a_colleague_is_asked() -> None:
    """From after "hold the line" until there is an answer; the office goes, and comes back."""
    example = runpy.run_path(str(EXAMPLES / "hold_music.py"))
    ask = ToolCall("ask_a_colleague", {"question": "When?"})
    session = talking(Completion("Please hold.", call=ask), Completion("Thursday."))
    background = Soundscape.from_file("on-hold", output=Each()).attach(session)
    await session.start(example["Receptionist"](background))
    await session.run(user_input="When can I have the lamp?")
    await session.aclose()
    await background.aclose()
    heard = [(entry.action, entry.key) for entry in background.engine.log]
    hold = heard.index(("commit", "on_hold"))
    back = heard.index(("commit", "thinking"), hold)
    assert ("commit", "speaking") in heard[:hold]
    assert hold < heard.index(("start", "music")) < back < heard.index(("release", "music"))
    assert [key for action, key in heard[back:] if action == "commit"] == ["thinking", "speaking", "listening", "none"]


async def test_whom_one_is_handed_over_to_is_heard_in_another_place() -> None:
    example = runpy.run_path(str(EXAMPLES / "scenes_by_agent.py"))
    answers = [Completion("Hello."), Completion(call=ToolCall("hand_over_to_the_order_desk")), Completion("Orders.")]
    session = talking(*answers)
    background = Soundscape.from_file("office", output=Each()).attach(session)
    await session.start(example["Receptionist"](background))
    await session.wait_for_idle()
    assert background.scene.name == "office"
    await session.run(user_input="Where is my lamp?")
    await session.aclose()
    await background.aclose()
    assert isinstance(session.current_agent, example["OrderDesk"])
    assert background.scene.name == "call-center"
    heard = [(entry.action, entry.key) for entry in background.engine.log]
    floor = heard.index(("start", "floor"))
    assert ("start", "room") in heard[:floor]
    assert ("release", "room") in heard[floor:]
    assert ("commit", "speaking") in heard[floor:]
