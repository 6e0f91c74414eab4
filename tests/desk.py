"""A real session without a server: an agent whose tools go on when they are told to, a model that answers what it was
told to, an ear that hears what it is told, and an output that takes each fact as it comes.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from livekit.agents import (
    Agent,
    AgentSession,
    APIConnectOptions,
    NotGivenOr,
    RunContext,
    ToolError,
    function_tool,
    llm,
    stt,
    vad,
)
from livekit.agents.llm import ToolFlag
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN
from livekit.agents.voice.run_result import RunResult

from soundscape import MemoryOutput, Scene, Soundscape
from soundscape.demo.scripted import PacedVoice, ScriptedTTS
from soundscape.outputs import Source

Answer = str | list[str] | Exception
"""What the model says; the tools that it calls; or how it fails."""

SCENE = "[states.tool]\n[states.away]\n"
"""A scene that knows the states that are there only where they are defined. Nothing sounds."""


class Model(llm.LLM[Any]):
    """Answers at once, each request as it was told beforehand."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__()
        self._answers = list(answers)
        self._calls = 0

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[llm.ToolChoice] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
    ) -> llm.LLMStream:
        answer = self._answers.pop(0)
        said: str | list[llm.FunctionToolCall] | Exception
        if isinstance(answer, list):
            said = [llm.FunctionToolCall(name=name, arguments="{}", call_id=self._call_id()) for name in answer]
        else:
            said = answer
        return _Answered(self, said, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)

    def _call_id(self) -> str:
        self._calls += 1
        return f"call-{self._calls}"


class _Answered(llm.LLMStream):
    def __init__(self, model: Model, answer: str | list[llm.FunctionToolCall] | Exception, **options: Any) -> None:
        self._answer = answer  # before the base class starts the task that asks for it
        super().__init__(model, **options)

    async def _run(self) -> None:
        if isinstance(self._answer, Exception):
            raise self._answer
        said, calls = (self._answer, []) if isinstance(self._answer, str) else (None, self._answer)
        delta = llm.ChoiceDelta(role="assistant", content=said, tool_calls=calls)
        self._event_ch.send_nowait(llm.ChatChunk(id="answer", delta=delta))


class Ear(vad.VAD):
    """Hears what it is told to."""

    def __init__(self) -> None:
        super().__init__(capabilities=vad.VADCapabilities(update_interval=0.1))
        self._streams: list[_Hearing] = []

    def stream(self) -> vad.VADStream:
        self._streams.append(_Hearing(self))
        return self._streams[-1]

    def hears(self, kind: vad.VADEventType, *, speech: float = 0.0) -> None:
        event = vad.VADEvent(kind, 0, 0.0, speech_duration=speech, silence_duration=0.0, speaking=speech > 0)
        self._streams[-1].tell(event)


class _Hearing(vad.VADStream):
    async def _main_task(self) -> None:
        async for _ in self._input_ch:
            pass

    def tell(self, event: vad.VADEvent) -> None:
        self._event_ch.send_nowait(event)


class Deaf(stt.STT[Any]):
    """Writes nothing down: who was heard has not said a word."""

    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))

    async def _recognize_impl(self, *_: Any, **__: Any) -> stt.SpeechEvent:
        raise NotImplementedError

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> stt.RecognizeStream:
        return _Unwritten(stt=self, conn_options=conn_options)


class _Unwritten(stt.RecognizeStream):
    async def _run(self) -> None:
        async for _ in self._input_ch:
            pass


class Each(MemoryOutput):
    """Renders at each change, and not otherwise: no two facts are taken together."""

    def __init__(self) -> None:
        super().__init__(paced=False)
        self._news = asyncio.Event()

    async def start(self, source: Source) -> None:
        await super().start(source)
        self.changed()

    def changed(self) -> None:
        self.pull(480)
        self._news.set()

    async def change(self) -> None:
        """Waits for the next change."""
        self._news.clear()
        async with asyncio.timeout(20):
            await self._news.wait()


class Desk(Agent):
    """An agent whose tools go on when they are told to, by `gates`.

    Args:
        answers: the model's, one for each request.
        next_agent: whom `hand_over` returns.
    """

    def __init__(self, *answers: Answer, next_agent: Agent | None = None) -> None:
        super().__init__(instructions="", llm=Model(*answers), tts=ScriptedTTS(delay=0.0))
        self.gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.entered = asyncio.Event()
        self._next_agent = next_agent

    async def on_enter(self) -> None:
        self.entered.set()

    @function_tool
    async def orders(self) -> str:
        """Looks up an order."""
        await self.gates["orders"].wait()
        return "sent"

    @function_tool
    async def stock(self) -> str:
        """Looks up what there is."""
        await self.gates["stock"].wait()
        return "three"

    @function_tool
    async def failing(self) -> str:
        """Fails."""
        await self.gates["failing"].wait()
        raise ToolError("no such order")

    @function_tool
    async def search(self, ctx: RunContext[None]) -> str:
        """Goes on in the background."""
        await self.gates["search"].wait()
        await ctx.update("It takes a while.")
        await self.gates["found"].wait()
        return "found"

    @function_tool(flags=ToolFlag.CANCELLABLE)
    async def errand(self, ctx: RunContext[None]) -> str:
        """Goes on in the background, until it is cancelled."""
        await ctx.update("On my way.")
        await asyncio.Event().wait()
        return "never"

    @function_tool
    async def hand_over(self) -> Agent:
        """Hands over to a colleague."""
        await self.gates["hand_over"].wait()
        assert self._next_agent is not None
        return self._next_agent


class Call:
    """A session that has begun, and the background that follows it.

    Args:
        agent: the first one.
        options: of the session.
    """

    def __init__(self, agent: Agent, **options: Any) -> None:
        options.setdefault("turn_handling", {"turn_detection": "manual"})
        options.setdefault("session_close_transcript_timeout", 0.0)  # nobody writes down what the user says
        self.agent = agent
        self.session: AgentSession[None] = AgentSession(**options)
        self.output = Each()
        self.background = Soundscape(Scene.from_toml(SCENE), output=self.output)

    async def __aenter__(self) -> Call:
        self.background.attach(self.session)
        self.session.output.audio = PacedVoice()
        await self.session.start(self.agent)
        await self.reaches("listening")
        return self

    async def __aexit__(self, *_: object) -> None:
        if isinstance(self.agent, Desk):  # a test that failed may have left a tool waiting, and the close with it
            for gate in self.agent.gates.values():
                gate.set()
        await self.session.aclose()
        await self.background.aclose()

    def asks(self) -> RunResult[None]:
        """The caller says something; to be awaited until all that follows is over."""
        return self.session.run(user_input="?")

    async def reaches(self, *states: str) -> None:
        """Waits until the last states that were committed are these."""
        while tuple(self.states[-len(states) :]) != states:
            await self.output.change()

    async def is_told(self, kind: str, value: str) -> None:
        """Waits until this is the last of its kind that was told."""
        while self.told(kind)[-1] != value:
            await self.output.change()

    @property
    def states(self) -> list[str]:
        """The states that were committed."""
        return [entry.key for entry in self.background.engine.log if entry.action == "commit"]

    def told(self, kind: str) -> list[Any]:
        """What was told of one kind, in order."""
        return [fact.value for _, fact in self.background.engine.facts if fact.kind == kind]
