"""A caller asks the order desk about a lamp: half a minute of a real agent session.

The agent waits, thinks, speaks, looks something up with a function tool, and waits again, so that
everything a background can follow happens once:

    initializing, listening, thinking, speaking, listening,
    thinking, speaking, thinking (the tool at work), speaking, listening, closed
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.voice import io

from soundscape.demo.scripted import Completion, PacedVoice, ScriptedLLM, ScriptedTTS, ToolCall

__all__ = ["OnLine", "OrderDesk", "Timing", "Turn", "converse", "script"]

OnLine = Callable[[str, str], None]
"""Called with who speaks ("caller" or "agent") and the line."""


@dataclass(frozen=True)
class Timing:
    """How long things take, in seconds. What the agent says takes as long as its text.

    Attributes:
        pause: Silence before a caller's turn; the background of `listening` is alone.
        caller: A caller's turn. Nobody is heard, the line is shown.
        think: From the end of a caller's turn to the model's first token.
        tool: What the lookup takes, from before the agent says that it will do it.
        answer: From the lookup's result to the model's first token.
        between: Between two tokens.
        voice: From a sentence's text to its sound.
        tail: From the last answer to the end of the call.
    """

    pause: float = 1.2
    caller: float = 1.8
    think: float = 2.6
    tool: float = 3.5
    answer: float = 0.7
    between: float = 0.03
    voice: float = 0.15
    tail: float = 2.0


@dataclass(frozen=True)
class Turn:
    """One turn of the caller and what the model answers to it.

    Attributes:
        caller: What the caller says.
        answers: The model's completions: one, or two when the first calls a tool.
    """

    caller: str
    answers: tuple[Completion, ...]


def script(timing: Timing) -> tuple[Turn, ...]:
    """The demo's conversation, its completions timed."""
    look_up = ToolCall("look_up_order", {"order_number": "4713"})
    return (
        Turn(
            "Hello, I ordered a lamp last week, and it is not here yet.",
            (
                Completion(
                    "I am sorry to hear that. May I have your order number?",
                    think=timing.think,
                    between=timing.between,
                ),
            ),
        ),
        Turn(
            "Yes, it is four, seven, one, three.",
            (
                Completion(
                    "One moment, please.",
                    think=timing.think,
                    call=look_up,
                    between=timing.between,
                ),
                Completion(
                    "Your lamp left our warehouse this morning. You will have it on Thursday.",
                    think=timing.answer,
                    between=timing.between,
                ),
            ),
        ),
    )


class OrderDesk(Agent):
    """An agent with one function tool, played from a script.

    Args:
        completions: What its model answers, one for each request.
        timing: What `look_up_order` and the voice take.
    """

    def __init__(self, completions: Sequence[Completion], timing: Timing) -> None:
        super().__init__(
            instructions="You help callers with their orders.",
            llm=ScriptedLLM(completions),
            tts=ScriptedTTS(delay=timing.voice),
            # Nobody is listened to: turns are handed over as text.
            stt=None,
            vad=None,
            turn_handling={"turn_detection": "manual"},
        )
        self._tool_seconds = timing.tool

    @function_tool
    async def look_up_order(self, order_number: str) -> str:
        """Look up where an order is.

        Args:
            order_number: The number of the order.
        """
        await asyncio.sleep(self._tool_seconds)
        return f"Order {order_number} left the warehouse this morning."


class _Lines(io.TextOutput):
    """Hands over what the agent says, whole, when it begins to say it."""

    def __init__(self, on_line: OnLine) -> None:
        super().__init__(label="Lines", next_in_chain=None)
        self._on_line = on_line
        self._text = ""

    async def capture_text(self, text: str) -> None:
        self._text += text

    def flush(self) -> None:
        text, self._text = self._text.strip(), ""
        if text:
            self._on_line("agent", text)


async def converse(
    session: AgentSession[Any],
    *,
    timing: Timing | None = None,
    turns: Sequence[Turn] | None = None,
    on_line: OnLine | None = None,
) -> None:
    """Starts a session, holds a conversation with it, and closes it.

    The session keeps the audio output it has; one without gets a `PacedVoice`, since there is no
    speech, and so no `speaking`, without something to play it.

    Args:
        session: Not started. Its own model and voice are not used.
        timing: The demo's by default.
        turns: The demo's by default (`script`).
        on_line: Called with each line as it is spoken.
    """
    timing = timing or Timing()
    turns = script(timing) if turns is None else turns
    if session.output.audio is None:
        session.output.audio = PacedVoice()
    if on_line is not None:
        session.output.transcription = _Lines(on_line)
    completions = [answer for turn in turns for answer in turn.answers]
    try:
        await session.start(OrderDesk(completions, timing))
        for turn in turns:
            await asyncio.sleep(timing.pause)
            if on_line is not None:
                on_line("caller", turn.caller)
            await asyncio.sleep(timing.caller)
            await session.run(user_input=turn.caller)
        await asyncio.sleep(timing.tail)
    finally:
        await session.aclose()
