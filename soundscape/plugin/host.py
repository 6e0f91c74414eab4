"""What the host is asked for, and what it is told of this package."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol, TypeVar

from livekit.agents import AgentSession, Plugin

from soundscape.exceptions import OutputError, UsageError
from soundscape.outputs import Output, Source

__all__ = ["VERSION", "hold_close", "hold_switch_interval", "output_of", "player_output", "use", "when_left"]

try:
    VERSION = version("livekit-plugins-soundscape")
except PackageNotFoundError:  # run from a folder, not installed
    VERSION = "0"


def output_of(session: AgentSession[Any]) -> Output:
    """The output that a session has by itself: in console mode the speakers, else its room.

    Raises:
        UsageError: it has neither.
    """
    # Both need more than the plugin itself: PortAudio, an audio source.
    from livekit.agents.cli import AgentsConsole

    console = AgentsConsole.get_instance()
    if console.enabled and console.io_acquired and console.io_session is session:
        from soundscape.outputs.speakers import SpeakersOutput

        return SpeakersOutput()
    from soundscape.outputs.room import RoomOutput

    try:
        return RoomOutput(session.room_io.room)
    except RuntimeError:
        raise UsageError(
            "the session runs without a room: start it with room=..., or give the Soundscape an output"
        ) from None


async def player_output(source: Source, room: Any, options: Any) -> Output:
    """Starts the output of a player in a room: in console mode the speakers, else a track.

    Raises:
        OutputError: the track cannot be published.
    """
    from livekit.agents.cli import AgentsConsole

    from soundscape.outputs.room import RoomOutput

    if AgentsConsole.get_instance().enabled:
        from soundscape.outputs.speakers import SpeakersOutput

        try:
            speakers = SpeakersOutput()
            await speakers.start(source)
            return speakers
        except OutputError as error:
            logging.getLogger("soundscape").warning("the console has no background: %s", error)
            room = None  # nobody hears it, and who waits for a sound waits no longer than for one that is heard
    output = RoomOutput(room, options=options)
    await output.start(source)
    return output


def when_left(room: Any, left: Callable[[], None]) -> Callable[[], None]:
    """Calls `left` when a room is disconnected for good, at once if it is. Reconnects are none of it.

    Returns:
        What hears of it no more.
    """
    from livekit import rtc

    def changed(state: Any) -> None:
        if state == rtc.ConnectionState.CONN_DISCONNECTED:
            left()

    # Not "disconnected": where the application leaves by itself, the SDK may forget it (*measured*: 7 times in 25).
    event = "connection_state_changed"
    if not hasattr(room, "on"):  # a stand-in for a room may tell nothing
        return lambda: None
    room.on(event, changed)
    if not room.isconnected():
        left()
    return lambda: room.off(event, changed)


_Last = Callable[[], Iterable["asyncio.Task[None]"]]


class _HeldClose:
    """A session's own `aclose`, and what it waits for after that."""

    def __init__(self, own: Callable[..., Awaitable[Any]], before: Any) -> None:
        self.own = own
        self.before = before  # of the session's instance: another's, who does the same
        self.lasts: list[_Last] = []

    async def aclose(self, *args: Any, **kwargs: Any) -> Any:
        """As the session's own; cancelled within that, it waits for nothing more."""
        try:
            result = await self.own(*args, **kwargs)
        except asyncio.CancelledError:
            self._lasting()
            raise
        except Exception:
            await self._wait()
            raise
        await self._wait()
        return result

    def _lasting(self) -> list[asyncio.Task[None]]:
        return [task for last in [*self.lasts] for task in last()]

    async def _wait(self) -> None:
        # Another loop's would be waited for in vain.
        if mine := [task for task in self._lasting() if task.get_loop() is asyncio.get_running_loop()]:
            await asyncio.wait(mine)


def hold_close(session: AgentSession[Any], last: _Last) -> Callable[[], None]:
    """Makes `session.aclose()` wait for something more. A job leaves its room as soon as that returns, 20 ms after the
    session's `close` (*measured*): nobody would hear the last fade. The host has nothing public to be awaited there.

    Args:
        session: of this one only. A stand-in, which has no `aclose` or one that is no function, is left alone.
        last: called when the session's own close is over, whether it succeeded, failed or was cancelled; returns the
            tasks that are waited for then unless it was cancelled, each of them bounded.

    Returns:
        What lets go of it.
    """
    attributes, own = getattr(session, "__dict__", None), getattr(session, "aclose", None)
    if attributes is None or not inspect.isroutine(own):
        return lambda: None

    def holder() -> Any:
        return getattr(attributes.get("aclose"), "__self__", None)

    held = holder()
    if not isinstance(held, _HeldClose):  # one for all: around each other they would be a chain that only grows
        held = _HeldClose(own, attributes.get("aclose"))
        attributes["aclose"] = held.aclose
    held.lasts.append(last)

    def let_go() -> None:
        if last in held.lasts:
            held.lasts.remove(last)
        if held.lasts or holder() is not held:  # or another's is around it, which goes on
            return
        if held.before is None:
            del attributes["aclose"]
        else:
            attributes["aclose"] = held.before

    return let_go


_held: dict[object, float] = {}
_own_interval = sys.getswitchinterval()


def hold_switch_interval(seconds: float) -> Callable[[], None]:
    """Makes the interpreter hand its lock over this soon, or sooner if another call of the process asks for that.

    Returns:
        What lets go of it: after the last one the interval is what it was before the first.
    """
    global _own_interval
    if not _held:
        _own_interval = sys.getswitchinterval()
    token = object()
    _held[token] = seconds
    sys.setswitchinterval(min(_held.values()))

    def let_go() -> None:
        if _held.pop(token, None) is not None:
            sys.setswitchinterval(min(_held.values(), default=_own_interval))

    return let_go


class _Attachable(Protocol):
    def attach(self, session: AgentSession[Any]) -> Any: ...


_P = TypeVar("_P", bound=_Attachable)


def use(session: AgentSession[Any], plugin: _P) -> _P:
    """Attaches a plugin to a session and returns it: `session.use(plugin)` for those who type-check."""
    plugin.attach(session)
    return plugin


if not hasattr(AgentSession, "use"):
    AgentSession.use = use  # type: ignore[attr-defined]


class _LiveKitPlugin(Plugin):
    """Makes the package known to the host's command line."""

    def __init__(self) -> None:
        super().__init__("soundscape", VERSION, "soundscape.plugin", logging.getLogger("soundscape"))


if threading.current_thread() is threading.main_thread():  # the host refuses any other
    Plugin.register_plugin(_LiveKitPlugin())
