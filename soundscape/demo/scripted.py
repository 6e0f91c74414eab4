"""The parts of an agent that stand in for services: a scripted model, a voice, and an ear.

They are ordinary implementations of LiveKit's `llm.LLM`, `tts.TTS` and `io.AudioOutput`, so that an
`AgentSession` built on them goes through its real states in real time, with no keys, no server and
no sound card:

    voice = PacedVoice()
    session.output.audio = voice
    await session.start(Agent(instructions="", llm=ScriptedLLM([...]), tts=ScriptedTTS()))
    ...
    heard = voice.heard(20.0, sample_rate=48_000)
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from livekit.agents import APIConnectOptions, llm, tts, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, NotGivenOr

from soundscape.demo.paced import PacedVoice
from soundscape.demo.voice import speak

__all__ = ["SAMPLE_RATE", "Completion", "PacedVoice", "ScriptedLLM", "ScriptedTTS", "ToolCall"]

SAMPLE_RATE = 24_000
"""Hz, of the scripted voice and of what hears it."""


@dataclass(frozen=True)
class ToolCall:
    """A function tool the model asks for.

    Attributes:
        name: The tool's name.
        arguments: What it is called with, by parameter.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Completion:
    """One answer of the model. What follows a tool's result is a completion of its own.

    Attributes:
        text: What the agent says; may be empty when there is a tool to call.
        think: Seconds from the request to the first token.
        call: A tool to call once the text is out.
        between: Seconds between two tokens (words).
    """

    text: str = ""
    think: float = 0.0
    call: ToolCall | None = None
    between: float = 0.03


class ScriptedLLM(llm.LLM[Any]):
    """A model that knows beforehand what it will say.

    Args:
        completions: Played one for each request, in order; may be endless.
    """

    def __init__(self, completions: Iterable[Completion]) -> None:
        super().__init__()
        self._completions = iter(completions)
        self._requests = 0

    @property
    def model(self) -> str:
        return "scripted"

    @property
    def provider(self) -> str:
        return "soundscape"

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
        """Plays the next completion.

        Raises:
            IndexError: The script has no further completion.
        """
        completion = next(self._completions, None)
        if completion is None:
            raise IndexError(f"the script ends after {self._requests} completions")
        self._requests += 1
        return _ScriptedAnswer(
            self,
            f"answer-{self._requests}",
            completion,
            chat_ctx=chat_ctx,
            tools=tools or [],
            conn_options=conn_options,
        )


class _ScriptedAnswer(llm.LLMStream):
    def __init__(
        self,
        model: ScriptedLLM,
        name: str,
        completion: Completion,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool],
        conn_options: APIConnectOptions,
    ) -> None:
        # The base class starts the task that calls `_run`, so these have to be there before.
        self._name = name
        self._completion = completion
        super().__init__(model, chat_ctx=chat_ctx, tools=tools, conn_options=conn_options)

    async def _run(self) -> None:
        await asyncio.sleep(self._completion.think)
        for word in re.findall(r"\S+\s*", self._completion.text):
            self._send(llm.ChoiceDelta(role="assistant", content=word))
            await asyncio.sleep(self._completion.between)
        call = self._completion.call
        if call is not None:
            wanted = llm.FunctionToolCall(
                name=call.name,
                arguments=json.dumps(dict(call.arguments)),
                call_id=f"{self._name}-{call.name}",
            )
            self._send(llm.ChoiceDelta(role="assistant", tool_calls=[wanted]))

    def _send(self, delta: llm.ChoiceDelta) -> None:
        self._event_ch.send_nowait(llm.ChatChunk(id=self._name, delta=delta))


class ScriptedTTS(tts.TTS[Any]):
    """The formant synthesiser as a streaming TTS: mono, 24 kHz, a hundred times real time.

    A sentence is spoken as soon as it is complete; between two of a turn there is a pause.

    Args:
        seed: The melody of the voice (`voice.speak`).
        delay: Seconds from a sentence to its sound, as a service would take.
        pause: Seconds of silence between two sentences.
    """

    def __init__(self, *, seed: int = 0, delay: float = 0.15, pause: float = 0.35) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=True),
            sample_rate=SAMPLE_RATE,
            num_channels=1,
        )
        self._seed = seed
        self._delay = delay
        self._pause = pause

    @property
    def model(self) -> str:
        return "scripted"

    @property
    def provider(self) -> str:
        return "soundscape"

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        """Speaks a whole text."""
        return _SpokenText(self, text, conn_options)

    def stream(self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS) -> tts.SynthesizeStream:
        """Speaks what is pushed, sentence by sentence."""
        return _SpokenStream(self, conn_options)

    async def pcm(self, sentence: str, *, first: bool) -> bytes:
        """A sentence as 16-bit PCM, with the pause before it unless it is the first."""
        if first:
            await asyncio.sleep(self._delay)
        # Off the loop: a long sentence takes 50 ms, and somebody may be mixing on this loop.
        sound = await asyncio.to_thread(speak, sentence, sample_rate=self.sample_rate, seed=self._seed)
        before = 0 if first else round(self._pause * self.sample_rate)
        return bytes(2 * before) + (sound * 32767.0).round().astype("<i2").tobytes()


class _SpokenText(tts.ChunkedStream):
    def __init__(self, voice: ScriptedTTS, text: str, conn_options: APIConnectOptions) -> None:
        self._voice = voice
        super().__init__(tts=voice, input_text=text, conn_options=conn_options)

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        _initialize(output_emitter, stream=False)
        output_emitter.push(await self._voice.pcm(self._input_text, first=True))
        output_emitter.flush()


class _SpokenStream(tts.SynthesizeStream):
    def __init__(self, voice: ScriptedTTS, conn_options: APIConnectOptions) -> None:
        self._voice = voice
        super().__init__(tts=voice, conn_options=conn_options)

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        _initialize(output_emitter, stream=True)
        output_emitter.start_segment(segment_id=utils.shortuuid())
        first = True
        async for sentence in self._sentences():
            self._mark_started()
            output_emitter.push(await self._voice.pcm(sentence, first=first))
            first = False
        output_emitter.end_segment()

    async def _sentences(self) -> AsyncIterator[str]:
        text = ""
        async for pushed in self._input_ch:
            if isinstance(pushed, self._FlushSentinel):
                complete, text = [text], ""
            else:
                *complete, text = re.split(r"(?<=[.!?])\s+", text + pushed)
            for sentence in complete:
                if sentence.strip():
                    yield sentence
        if text.strip():
            yield text


def _initialize(emitter: tts.AudioEmitter, *, stream: bool) -> None:
    emitter.initialize(
        request_id=utils.shortuuid(),
        sample_rate=SAMPLE_RATE,
        num_channels=1,
        mime_type="audio/pcm",
        stream=stream,
    )
