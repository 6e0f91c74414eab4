"""What happens in a real `AgentSession`, and the states and facts that it becomes, in order."""

from __future__ import annotations

import asyncio

import pytest
from desk import SCENE, Call, Deaf, Desk, Each, Ear
from livekit.agents import AgentSession, AgentTask, APIConnectionError, CloseEvent, function_tool
from livekit.agents.vad import VADEventType
from livekit.agents.voice.agent_session import SessionConnectOptions

from soundscape import Scene, Soundscape
from soundscape.demo.scripted import ScriptedTTS

BEGIN, ANSWER = ["initializing", "listening"], ["thinking", "speaking", "listening"]


async def test_an_answer() -> None:
    async with Call(Desk("Yes.")) as call:
        await call.asks()
    assert call.states == [*BEGIN, *ANSWER, "none"]
    assert call.told("agent") == [*BEGIN, *ANSWER]
    assert call.told("close") == [None]


async def test_a_tool() -> None:
    """It is a state of its own, and told by its name, from its start to its end."""
    desk = Desk(["orders"], "Sent.")
    async with Call(desk) as call:
        turn = call.asks()
        await call.reaches("tool")
        desk.gates["orders"].set()
        await turn
    assert call.states == [*BEGIN, "thinking", "tool", *ANSWER, "none"]
    assert call.told("tool") == ["orders", None]


async def test_a_tool_that_fails() -> None:
    """It ends as any other."""
    desk = Desk(["failing"], "Sorry.")
    async with Call(desk) as call:
        turn = call.asks()
        await call.reaches("tool")
        desk.gates["failing"].set()
        await turn
    assert call.states == [*BEGIN, "thinking", "tool", *ANSWER, "none"]
    assert call.told("tool") == ["failing", None]


async def test_a_tool_that_goes_on_in_the_background() -> None:
    """With `ctx.update()` it is still the tool while the agent listens, not while it speaks; its report, and the
    answer at its end, tell nothing new of it."""
    desk = Desk(["search"], "Wait.", "Found.")
    async with Call(desk) as call:
        turn = call.asks()
        await call.reaches("thinking", "tool")
        desk.gates["search"].set()
        await call.reaches("speaking", "tool")
        assert call.session.agent_state == "listening"
        desk.gates["found"].set()
        await turn
        await call.reaches(*ANSWER)
    assert call.states == [*BEGIN, "thinking", "tool", "speaking", "tool", "listening", *ANSWER, "none"]
    assert call.told("tool") == ["search", None]


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("orders", "stock", ["orders", "stock", None]),
        ("stock", "orders", ["orders", None]),
    ],
)
async def test_two_tools_at_once(first: str, second: str, told: list[str | None]) -> None:
    """They are one stretch of the state; the one that runs the longest gives the name, until it ends."""
    desk = Desk(["orders", "stock"], "Three, sent.")
    async with Call(desk) as call:
        ended = asyncio.Event()
        call.session.on(
            "tool_execution_updated", lambda ev: ended.set() if ev.update.type == "tool_call_ended" else None
        )
        turn = call.asks()
        await call.reaches("tool")
        desk.gates[first].set()
        await ended.wait()
        assert call.background.state == "tool"
        desk.gates[second].set()
        await turn
    assert call.states == [*BEGIN, "thinking", "tool", *ANSWER, "none"]
    assert call.told("tool") == told


async def test_one_tool_twice_at_once() -> None:
    """Two calls of one name are told apart: the first to end leaves the other."""
    desk = Desk(["orders", "orders"], "Sent.")
    async with Call(desk) as call:
        turn = call.asks()
        await call.reaches("tool")
        desk.gates["orders"].set()
        await turn
    assert call.states == [*BEGIN, "thinking", "tool", *ANSWER, "none"]
    assert call.told("tool") == ["orders", None]


async def test_a_tool_that_is_cancelled_by_a_hand_over() -> None:
    desk, other = Desk(["errand"], "Wait."), Desk("Hello.")
    async with Call(desk) as call:
        await call.asks()
        await call.reaches("speaking", "tool")
        call.session.update_agent(other)
        await other.entered.wait()
        await call.asks()
    assert call.states == [*BEGIN, "thinking", "tool", "speaking", "tool", "listening", *ANSWER, "none"]
    assert call.told("tool") == ["errand", None]


async def test_a_tool_that_is_cancelled_by_the_close() -> None:
    async with Call(Desk(["errand"], "Wait.")) as call:
        await call.asks()
        await call.reaches("speaking", "tool")
    assert call.states == [*BEGIN, "thinking", "tool", "speaking", "tool", "listening", "none"]
    assert call.told("tool") == ["errand", None]


async def test_a_close_in_mid_tool() -> None:
    """The session lets a tool that cannot be cancelled end; it is the tool until then."""
    desk = Desk(["orders"])
    async with Call(desk) as call:
        call.session.generate_reply(user_input="?")
        await call.reaches("tool")
        closing = asyncio.create_task(call.session.aclose())
        desk.gates["orders"].set()
        await closing
    assert call.states == [*BEGIN, "thinking", "tool", "thinking", "listening", "none"]
    assert call.told("tool") == ["orders", None]


async def test_a_tool_that_hands_over() -> None:
    """The next agent's answers are heard as the first one's."""
    desk = Desk(["hand_over"], next_agent=(other := Desk("Hello.")))
    async with Call(desk) as call:
        turn = call.asks()
        await call.reaches("tool")
        desk.gates["hand_over"].set()
        await turn
        assert call.session.current_agent is other
        await call.asks()
    assert call.states == [*BEGIN, "thinking", "tool", "thinking", "listening", *ANSWER, "none"]
    assert call.told("tool") == ["hand_over", None]


async def test_a_hand_over_in_mid_tool() -> None:
    """The session lets the tool end, and its answer be said, before the next agent enters."""
    desk, other = Desk(["orders"], "Sent."), Desk("Hello.")
    async with Call(desk) as call:
        turn = call.asks()
        await call.reaches("tool")
        call.session.update_agent(other)
        desk.gates["orders"].set()
        await turn
        await other.entered.wait()
        await call.asks()
    assert call.states == [*BEGIN, "thinking", "tool", *ANSWER, *ANSWER, "none"]
    assert call.told("tool") == ["orders", None]


class Question(AgentTask[str]):
    """A conversation within a tool."""

    def __init__(self) -> None:
        super().__init__(instructions="", tts=ScriptedTTS(delay=0.0))
        self.asked = asyncio.Event()

    async def on_enter(self) -> None:
        await self.session.say("Which one?")
        self.asked.set()


class Asking(Desk):
    """An agent that asks back while it looks something up."""

    question: Question

    @function_tool
    async def ask(self) -> str:
        """Asks the caller."""
        self.question = Question()
        return await self.question


async def test_a_tool_in_which_the_caller_is_asked() -> None:
    """An `AgentTask` is a part of the tool that waits for it: also while the agent listens in it, a tool runs."""
    desk = Asking(["ask"], "Sent.")
    async with Call(desk) as call:
        turn = call.asks()
        await call.reaches("speaking", "tool")
        await desk.question.asked.wait()
        assert call.session.agent_state == "listening"
        desk.question.complete("the lamp")
        await turn
        await call.reaches("speaking", "listening")
    assert call.states[:6] == [*BEGIN, "thinking", "tool", "speaking", "tool"]
    assert call.states[-4:] == [*ANSWER, "none"]
    assert call.told("tool") == ["ask", None]


async def test_the_user_speaks() -> None:
    """A fact of its own, for ducks; no state."""
    ear = Ear()
    async with Call(Desk(), vad=ear, stt=Deaf(), turn_handling={"turn_detection": "vad"}) as call:
        ear.hears(VADEventType.START_OF_SPEECH)
        await call.is_told("user", "speaking")
        ear.hears(VADEventType.END_OF_SPEECH)
        await call.is_told("user", "listening")
    assert call.told("user") == ["listening", "speaking", "listening"]
    assert call.states == [*BEGIN, "none"]


async def test_the_user_is_away() -> None:
    """A state while the agent neither thinks nor speaks."""
    async with Call(Desk("Are you there?"), user_away_timeout=0.05) as call:
        await call.reaches("away")
        assert call.session.user_state == "away"
        await call.asks()
        await call.reaches("speaking", "away")
    assert call.states == [*BEGIN, "away", "thinking", "speaking", "away", "none"]
    assert call.told("user") == ["listening", "away"]


async def test_the_user_comes_back() -> None:
    ear = Ear()
    options = {"turn_handling": {"turn_detection": "vad"}, "user_away_timeout": 0.05}
    async with Call(Desk(), vad=ear, stt=Deaf(), **options) as call:
        await call.reaches("away")
        ear.hears(VADEventType.START_OF_SPEECH)
        await call.reaches("listening")
        ear.hears(VADEventType.END_OF_SPEECH)
        await call.reaches("away")
    assert call.states == [*BEGIN, "away", "listening", "away", "none"]
    assert call.told("user") == ["listening", "away", "speaking", "listening", "away"]


def barge_in(**interruption: object) -> dict[str, object]:
    """Options with which the caller's voice alone, a tenth of a second of it, stops the agent's."""
    interruption = {"mode": "vad", "min_duration": 0.1, **interruption}
    return {"turn_handling": {"turn_detection": "vad", "interruption": interruption}, "aec_warmup_duration": None}


async def test_an_interruption() -> None:
    ear = Ear()
    options = barge_in(resume_false_interruption=False)
    async with Call(Desk("Your order was sent this morning."), vad=ear, stt=Deaf(), **options) as call:
        answer = call.session.generate_reply(user_input="?")
        await call.reaches("speaking")
        ear.hears(VADEventType.START_OF_SPEECH)
        ear.hears(VADEventType.INFERENCE_DONE, speech=0.2)
        await answer
        ear.hears(VADEventType.END_OF_SPEECH)
        await call.is_told("user", "listening")
        assert answer.interrupted
    assert call.states == [*BEGIN, *ANSWER, "none"]
    assert call.told("user") == ["listening", "speaking", "listening"]


async def test_an_interruption_that_was_none() -> None:
    """The agent stops for a cough, and goes on: between them it listens."""
    ear = Ear()
    options = barge_in(false_interruption_timeout=0.05)
    async with Call(Desk("Sent."), vad=ear, stt=Deaf(), **options) as call:
        answer = call.session.generate_reply(user_input="?")
        await call.reaches("speaking")
        ear.hears(VADEventType.START_OF_SPEECH)
        ear.hears(VADEventType.INFERENCE_DONE, speech=0.2)
        await call.reaches("listening")
        ear.hears(VADEventType.END_OF_SPEECH)
        await call.reaches("speaking")
        await answer
        assert not answer.interrupted
    assert call.states == [*BEGIN, *ANSWER, "speaking", "listening", "none"]


async def test_two_sayings() -> None:
    """Queued, there is a moment of listening between them, which a scene may settle."""
    async with Call(Desk()) as call:
        call.session.say("One.")
        await call.session.say("Two.")
    assert call.states == [*BEGIN, "speaking", "listening", "speaking", "listening", "none"]


async def test_an_error_that_ends_the_session() -> None:
    """It is a close as any other; the reply that failed was never thought about."""
    closed: asyncio.Future[CloseEvent] = asyncio.get_running_loop().create_future()
    desk = Desk(APIConnectionError("gone", retryable=False))
    async with Call(desk, conn_options=SessionConnectOptions(max_unrecoverable_errors=0)) as call:
        call.session.on("close", closed.set_result)
        call.session.generate_reply(user_input="?")
        assert (await closed).reason == "error"
        await call.reaches("none")
    assert call.states[:2] == BEGIN
    assert call.states[-1] == "none"
    assert call.told("close") == [None]


async def test_a_session_that_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first run knew of tools and of the user is over; what the application said is not."""
    outputs: list[Each] = []

    def output_of(_: object) -> Each:
        outputs.append(Each())
        return outputs[-1]

    async def outputs_are(number: int) -> None:
        async with asyncio.timeout(20):
            while len(outputs) < number or not outputs[-1].heard:
                await asyncio.sleep(0)

    monkeypatch.setattr("soundscape.plugin.output_of", output_of)  # there is no room without a server
    session: AgentSession[None] = AgentSession(user_away_timeout=0.05)
    background = Soundscape(Scene.from_toml(SCENE)).attach(session)
    await session.start(Desk())
    await outputs_are(1)
    while background.state != "away":
        await outputs[0].change()
    first = background.engine
    background.set_state("on_hold")
    await session.aclose()
    await session.start(Desk())
    await outputs_are(2)
    second = background.engine
    background.set_state(None)
    await session.aclose()
    await background.aclose()
    assert [entry.key for entry in first.log] == ["listening", "away", "on_hold", "none"]
    assert [entry.key for entry in second.log] == ["on_hold", "listening", "none"]
    began = {fact.kind: fact.value for frame, fact in second.facts if frame == 0}
    assert began == {"user": "listening", "tool": None, "app": "on_hold", "agent": "listening"}


async def test_the_same_again_is_no_news() -> None:
    """An application that sets its state over and over is told of once: each fact counts as a change to be answered."""
    async with Call(Desk()) as call:
        for state in ("on_hold", "on_hold", None, None):
            call.background.set_state(state)
    assert call.told("app") == ["on_hold", None]
    assert call.states == [*BEGIN, "on_hold", "listening", "none"]
