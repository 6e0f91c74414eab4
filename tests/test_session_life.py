"""A session's life, as awkward as it may be: attached and closed early, late, twice, from elsewhere."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from desk import SCENE, Call, Desk, Each
from livekit import rtc
from livekit.agents import AgentSession

from soundscape import MemoryOutput, OutputError, Scene, Soundscape, UsageError
from soundscape.outputs import Source

QUIET = Scene.from_toml(SCENE)


def committed(background: Soundscape) -> list[str]:
    return [entry.key for entry in background.engine.log if entry.action == "commit"]


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "soundscape"]


def test_it_may_be_attached_before_the_loop_runs() -> None:
    """The first state starts it then."""
    with asyncio.Runner() as runner:
        runner.get_loop()  # the host asks for one
        output = Each()
        session: AgentSession[None] = AgentSession()
        background = Soundscape(QUIET, output=output).attach(session)

        async def call() -> None:
            await session.start(Desk())
            while background.state != "listening":
                await output.change()
            await session.aclose()
            await background.aclose()

        runner.run(call())
    assert committed(background) == ["listening", "none"]


async def test_a_session_that_was_closed_is_followed_when_it_is_started_again() -> None:
    session: AgentSession[None] = AgentSession()
    await session.start(Desk())
    await session.aclose()
    output = Each()
    background = Soundscape(QUIET, output=output).attach(session)
    await output.change()
    assert committed(background) == ["initializing"]
    await session.start(Desk())
    await session.aclose()
    await background.aclose()
    assert committed(background) == ["initializing", "listening", "none"]


async def test_two_backgrounds_in_one_session() -> None:
    """Each follows it for itself: one may go, and the other goes on."""
    async with Call(Desk("Yes.", "Yes.")) as call:
        other = Soundscape(QUIET, output=Each()).attach(call.session)
        await call.asks()
        await other.aclose()
        await call.asks()
    turn = ["thinking", "speaking", "listening"]
    assert committed(other) == ["listening", *turn, "none"]
    assert call.states == ["initializing", "listening", *turn, *turn, "none"]


async def test_nothing_is_told_after_the_close() -> None:
    async with Call(Desk()) as call:
        await call.session.aclose()
        call.background.set_state("on_hold")
        facts = list(call.background.engine.facts)
        call.output.changed()
        assert call.background.engine.facts == facts
    assert call.states == ["initializing", "listening", "none"]


class Gated(Each):
    """Starts, and closes, when it is let; or cannot be had, which it says then."""

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__()
        self.starts, self.closes = asyncio.Event(), asyncio.Event()
        self.begun = asyncio.Event()
        self.closed = False
        self._broken = broken

    async def start(self, source: Source) -> None:
        self.begun.set()
        await self.starts.wait()
        if self._broken:
            raise OutputError("the device is gone")
        await super().start(source)

    async def aclose(self, *, timeout: float = 0.0) -> None:
        await self.closes.wait()
        await super().aclose(timeout=timeout)
        self.closed = True


async def closing(session: AgentSession[None]) -> asyncio.Task[None]:
    """A close, when the session itself is closed."""
    closed = asyncio.Event()
    session.once("close", lambda _: closed.set())
    task = asyncio.create_task(session.aclose())
    await closed.wait()
    return task


@pytest.mark.parametrize("broken", [False, True])
async def test_a_session_that_closes_while_the_output_starts(broken: bool, caplog: pytest.LogCaptureFixture) -> None:
    """What starts after all is let go of, and no task is left."""
    tasks = asyncio.all_tasks()
    output = Gated(broken=broken)
    session: AgentSession[None] = AgentSession()
    background = Soundscape(QUIET, output=output).attach(session)
    await session.start(Desk())
    await output.begun.wait()
    ends = await closing(session)
    output.starts.set()
    output.closes.set()
    await ends
    await background.aclose()
    assert output.closed is not broken
    assert complaints(caplog) == (["no background in this session: the device is gone"] if broken else [])
    assert {task for task in asyncio.all_tasks() - tasks if task.get_name().startswith("soundscape")} == set()


async def test_the_close_waits_for_an_earlier_run_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session may be started again while its first background still fades; both are gone after the close."""
    outputs = [Gated(), Gated()]
    left = iter(outputs)
    monkeypatch.setattr("soundscape.plugin.output_of", lambda _: next(left))  # there is no room without a server
    session: AgentSession[None] = AgentSession()
    background = Soundscape(QUIET).attach(session)
    ends = []
    for output in outputs:
        output.starts.set()
        await session.start(Desk())
        await output.begun.wait()
        ends.append(await closing(session))
    ends.append(asyncio.create_task(background.aclose()))
    outputs[1].closes.set()
    while not outputs[1].closed:
        await asyncio.sleep(0)
    done, _ = await asyncio.wait(ends, timeout=0.05)
    assert not done
    outputs[0].closes.set()
    await asyncio.gather(*ends)
    assert outputs[0].closed


async def test_the_sessions_own_close_returns_when_the_last_fade_is_over() -> None:
    """A job leaves its room then. Who does not wait for it leaves the fade alone."""
    for patient in (True, False):
        output = Gated()
        output.starts.set()
        session: AgentSession[None] = AgentSession()
        background = Soundscape(QUIET, output=output).attach(session)
        await session.start(Desk())
        ends = await closing(session)
        done, _ = await asyncio.wait([ends], timeout=0.05)
        assert not done
        if not patient:
            ends.cancel()
            with pytest.raises(asyncio.CancelledError):
                await ends
        output.closes.set()
        await (ends if patient else background.aclose())
        assert output.closed
        await background.aclose()


async def test_a_session_that_fails_to_close_is_waited_for_as_well_and_says_so() -> None:
    class Failing(AgentSession[None]):
        async def aclose(self) -> None:
            await super().aclose()
            raise RuntimeError("boom")

    output = Gated()
    output.starts.set()
    session = Failing()
    background = Soundscape(QUIET, output=output).attach(session)
    await session.start(Desk())
    ends = await closing(session)
    output.closes.set()
    with pytest.raises(RuntimeError, match="boom"):
        await ends
    assert output.closed
    await background.aclose()


@pytest.mark.parametrize("given_up", [False, True])
async def test_a_session_whose_close_fails_or_is_given_up_has_no_background_any_more(given_up: bool) -> None:
    """It is closed all the same, and there is no event that says so."""

    class Failing(AgentSession[None]):
        async def _teardown_activity(self, **_: Any) -> None:
            if given_up:
                await asyncio.sleep(3600)
            raise RuntimeError("a plugin's own")

    session = Failing()
    background = Soundscape(QUIET, output=(output := Gated())).attach(session)
    output.starts.set()
    output.closes.set()
    await session.start(Desk())
    with pytest.raises(TimeoutError if given_up else RuntimeError):
        async with asyncio.timeout(0.05):
            await session.aclose()
    async with asyncio.timeout(5):
        while not output.closed:
            await asyncio.sleep(0)
    assert committed(background)[-1] == "none"


async def test_a_close_before_the_start_is_none() -> None:
    """As after a start that failed, before it is tried again."""
    session: AgentSession[None] = AgentSession()
    background = Soundscape(QUIET, output=Each()).attach(session)
    await asyncio.sleep(0)
    await session.aclose()
    await session.start(Desk())
    await session.aclose()
    assert committed(background) == ["initializing", "listening", "none"]


async def test_a_background_that_is_being_closed_is_waited_for_as_well() -> None:
    """An application may do it as soon as the session is closed, and the job closes the session once more."""
    session: AgentSession[None] = AgentSession()
    background = Soundscape(QUIET, output=(output := Gated())).attach(session)
    output.starts.set()
    await session.start(Desk())
    async with asyncio.TaskGroup() as group:
        session.once("close", lambda _: group.create_task(background.aclose()))
        await closing(session)
        await asyncio.sleep(0)
        ends = asyncio.create_task(session.aclose())
        done, _ = await asyncio.wait([ends], timeout=0.05)
        assert not done
        output.closes.set()
    await ends
    assert "aclose" not in vars(session)


async def test_a_close_that_is_given_up_waits_for_no_fade() -> None:
    class Slow(AgentSession[None]):
        async def aclose(self) -> None:
            await super().aclose()
            await asyncio.sleep(3600)

    session = Slow()
    background = Soundscape(QUIET, output=(output := Gated())).attach(session)
    output.starts.set()
    await session.start(Desk())
    ends = await closing(session)
    ends.cancel()
    done, _ = await asyncio.wait([ends], timeout=1)
    assert done
    output.closes.set()
    await background.aclose()


async def test_the_sessions_close_takes_and_returns_what_its_own_does() -> None:
    class Own(AgentSession[None]):
        async def aclose(self, *, why: str = "") -> str:  # type: ignore[override]
            await super().aclose()
            return why

    session = Own()
    Soundscape(QUIET, output=Each()).attach(session)
    await session.start(Desk())
    assert await session.aclose(why="over") == "over"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_the_sessions_close_is_its_own_again_without_a_background(order: tuple[int, ...]) -> None:
    session: AgentSession[None] = AgentSession()
    backgrounds = [Soundscape(QUIET, output=Each()).attach(session) for _ in order]
    await session.start(Desk())
    for number in order:
        assert "aclose" in vars(session)
        await backgrounds[number].aclose()
    assert "aclose" not in vars(session)
    await session.aclose()


async def test_what_another_made_of_the_sessions_close_stays() -> None:
    called: list[str] = []
    session: AgentSession[None] = AgentSession()
    own = session.aclose

    async def another() -> None:
        called.append("another")
        await own()

    session.aclose = another  # type: ignore[method-assign]
    background = Soundscape(QUIET, output=Each()).attach(session)
    await session.start(Desk())
    await background.aclose()
    assert session.aclose is another
    await session.aclose()
    assert called == ["another"]


async def test_a_close_on_another_loop_does_not_wait_for_what_never_comes_there() -> None:
    session: AgentSession[None] = AgentSession()
    background = Soundscape(QUIET, output=(output := Gated())).attach(session)
    output.starts.set()
    await session.start(Desk())
    ends = await closing(session)
    async with asyncio.timeout(5):
        await asyncio.to_thread(asyncio.run, session.aclose())
    assert not ends.done()
    output.closes.set()
    await ends
    await background.aclose()


class Bare(rtc.EventEmitter[str]):
    """A session of somebody's tests."""

    agent_state, user_state = "listening", "listening"


def mocked() -> MagicMock:
    return MagicMock(spec=AgentSession, agent_state="listening", user_state="listening")


@pytest.mark.parametrize("stand_in", [Bare, mocked])
async def test_a_session_of_a_test_need_not_be_one_that_closes(stand_in: Callable[[], Any]) -> None:
    session = stand_in()
    background = Soundscape(QUIET, output=(output := Each())).attach(session)
    await output.change()
    if isinstance(session, MagicMock):
        await session.aclose()
        session.aclose.assert_awaited_once()
    await background.aclose()
    assert committed(background) == ["listening", "none"]


EAGER = pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks can be eager from Python 3.12 on")


@pytest.mark.parametrize("eager", [False, pytest.param(True, marks=EAGER)])
async def test_a_start_that_fails_is_tried_again_with_the_next_state(eager: bool) -> None:
    """Also where it has failed before its task is known."""

    class Second(Each):
        tried = 0

        async def start(self, source: Source) -> None:
            self.tried += 1
            if self.tried == 1:
                raise OutputError("not yet")
            await super().start(source)

    if sys.version_info >= (3, 12) and eager:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    session: AgentSession[None] = AgentSession()
    background = Soundscape(QUIET, output=(output := Second())).attach(session)
    await asyncio.sleep(0)
    await session.start(Desk())
    await asyncio.sleep(0)
    assert output.tried == 2
    handle = background.play("soundscape:cafe")
    await session.aclose()
    await handle
    assert committed(background) == ["listening", "none"]


async def test_it_may_be_closed_within_an_event_of_the_session(caplog: pytest.LogCaptureFixture) -> None:
    """Also where its task runs at once, as an eager one does (Python 3.12): the event it was closed in, which is given
    to it all the same, starts nothing."""
    session: AgentSession[None] = AgentSession()
    background = Soundscape(QUIET, output=Each())
    closing: list[Any] = []

    def close(_: object) -> None:
        if not closing:
            closing.append(background.aclose())
            closing[0].send(None)

    session.on("agent_state_changed", close)
    background.attach(session)
    await asyncio.sleep(0)
    with caplog.at_level(logging.WARNING, "soundscape"):
        await session.start(Desk())
        closing[0].close()
        await background.aclose()
        await session.aclose()
    assert committed(background) == ["initializing", "none"]
    assert complaints(caplog) == []


async def test_it_is_closed_on_the_sessions_loop_only() -> None:
    """On another one it would wait for what never comes there; that is said at once, and nothing has happened."""
    async with Call(Desk("Yes.")) as call:
        with pytest.raises(UsageError, match="on the session's event loop"):
            await asyncio.to_thread(asyncio.run, call.background.aclose())
        await call.asks()
    assert call.states[-4:] == ["thinking", "speaking", "listening", "none"]


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
async def test_what_a_thread_says_while_it_starts_is_not_lost() -> None:
    """The more there is to be told at the start, the longer that takes: here the levels of a thousand buses."""
    scene = Scene.from_toml("".join(f"[buses.bus{number}]\nlevel_lu = -20\n" for number in range(1_000)))
    for turn in range(30):
        background = Soundscape(scene, output=(output := MemoryOutput(paced=False)))
        for number in range(1_000):
            background.set_gain(f"bus{number}", -6)
        thread = threading.Timer(turn / 10_000, background.set_state, ("on_hold",))
        background.attach(AgentSession())
        thread.start()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        thread.join()
        output.pull(480)
        assert background.state == "on_hold"
        await background.aclose()


class Wrong(MemoryOutput):
    """Raises what the session would let through: a `TypeError` in a handler makes its start fail."""

    def changed(self) -> None:
        raise TypeError("boom")


async def test_a_type_error_does_not_reach_the_session(caplog: pytest.LogCaptureFixture) -> None:
    session: AgentSession[None] = AgentSession()
    background = Soundscape(QUIET, output=Wrong()).attach(session)
    await asyncio.sleep(0)
    await session.start(Desk())
    assert session.agent_state == "listening"
    await session.aclose()
    await background.aclose()
    assert complaints(caplog) == ["the background's output could not be told of a change"]


async def test_an_event_that_is_not_understood_is_logged_and_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    """As another version of the host may send one: what it stumbles over is a `TypeError`."""
    async with Call(Desk("Yes.")) as call:
        tool = SimpleNamespace(call_id=["call", 1], name="orders")
        strange: Any = SimpleNamespace(update=SimpleNamespace(type="tool_call_started", function_call=tool))
        call.session.emit("tool_execution_updated", strange)
        await call.asks()
    assert complaints(caplog) == ["the background could not take 'tool_execution_updated'"]
    assert call.states[-4:] == ["thinking", "speaking", "listening", "none"]
