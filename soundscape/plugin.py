"""`Soundscape`: a session's facts to the engine, the engine's sound to an output.

Nothing here decides what sounds. Handlers of session events are synchronous and never raise: an error in one could end
the call. They post a fact and return; the output's own thread or task does the rest.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, Protocol, Self, TypeVar

from livekit import rtc
from livekit.agents import AgentSession, Plugin

from soundscape.engine import Engine, Fact
from soundscape.exceptions import OutputError, UsageError
from soundscape.library import SceneClips
from soundscape.loader import Scene, find_scene
from soundscape.outputs import Output
from soundscape.scene import STATE_NAME

__all__ = ["Soundscape", "use"]

logger = logging.getLogger("soundscape")

CLOSE_SECONDS = 10.0
"""How long the close waits for the last fade, at most."""


class Soundscape:
    """A background that follows one session.

    Everything is checked and every clip is loaded before the constructor returns: afterwards nothing can fail for a
    reason that was in the file.

    Args:
        scene: the scene.
        seed: of every draw; the scene's unless given. Without either one is drawn and logged, so that a call can be
            replayed.
        output: where the sound goes; the session's room, or in console mode the speakers, unless given.
        sample_rate: frames per second.
        allow_outside: whether sources may leave the scene's folder.
        on_error: what a source that cannot be loaded is: `raise` an error, or `skip` it with a warning.

    Raises:
        SceneError: with all that is wrong in the scene and its sounds.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        seed: int | None = None,
        output: Output | None = None,
        sample_rate: int = 48_000,
        allow_outside: bool = False,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        if on_error not in ("raise", "skip"):
            raise UsageError(f"on_error must be 'raise' or 'skip', not {on_error!r}")
        clips = SceneClips(scene, sample_rate=sample_rate, allow_outside=allow_outside)
        clips.load_all(skip_errors=on_error == "skip")
        self.scene = scene
        self.seed = next((s for s in (seed, scene.seed) if s is not None), random.SystemRandom().getrandbits(32))
        self.clips = clips
        self._sample_rate = sample_rate
        self._given_output = output
        self._output: Output | None = None
        self._session: AgentSession[Any] | None = None
        self._handlers: list[tuple[Any, Callable[[Any], None]]] = []
        self._tools: dict[str, str] = {}
        self._starting: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._closed = False
        self._app: str | None = None
        self.engine = self._new_engine()

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        seed: int | None = None,
        allow_outside: bool = False,
        **options: Any,
    ) -> Self:
        """A soundscape from a scene file, or from the name of a scene that ships.

        Args:
            path: the file; `office` for the scene of that name that ships.
            seed: as for the class.
            allow_outside: as for the class.
            options: the other arguments of the class.

        Raises:
            SceneError: with all that is wrong in the file and its sounds.
        """
        return cls(Scene.from_file(find_scene(path)), seed=seed, allow_outside=allow_outside, **options)

    def _new_engine(self) -> Engine:
        return Engine(self.scene, self.clips, seed=self.seed, sample_rate=self._sample_rate)

    @property
    def state(self) -> str:
        """The committed state."""
        return self.engine.state

    @property
    def publication(self) -> rtc.LocalTrackPublication | None:
        """The published track, in a room."""
        return getattr(self._output, "publication", None)

    def set_state(self, state: str | None) -> None:
        """Sets the application's own state, which comes before what the session says, or with None clears it.

        Raises:
            UsageError: it cannot be a state's name.
        """
        if state is not None and (not STATE_NAME.fullmatch(state) or state in ("none", "close")):
            raise UsageError(f"{state!r} is not a state's name: lower-case letters, digits and _, a letter first")
        self._app = state
        self._post(Fact("app", state))

    # --- the session ----------------------------------------------------------------------------------------------

    def attach(self, session: AgentSession[Any]) -> Self:
        """Follows a session from now on, started or not, until it closes. Twice, nothing more happens.

        Raises:
            UsageError: it follows another session already, was closed, or the session runs without a room and no
                output was given.
        """
        if self._session is session:
            return self
        if self._session is not None:
            raise UsageError("one Soundscape follows one session; make another one for another session")
        if self._closed:
            raise UsageError("this Soundscape was closed; make another one")
        started = session.agent_state != "initializing"
        if started and self._given_output is None:
            _output_of(session)
        self._session = session
        self._on("agent_state_changed", self._agent_state_changed)
        self._on("user_state_changed", self._user_state_changed)
        self._on("tool_execution_updated", self._tool_execution_updated)
        self._on("close", self._session_closed)
        logger.info(
            "scene %r follows the session", self.scene.name, extra={"scene": self.scene.name, "seed": self.seed}
        )
        self._post(Fact("user", session.user_state))
        self._post(Fact("agent", session.agent_state))
        if started or self._given_output is not None:
            self._start()
        return self

    def _on(self, event: Any, handler: Callable[[Any], None]) -> None:
        def guarded(ev: Any) -> None:
            try:
                handler(ev)
            except Exception:
                # What was said may be in the event: it is not logged.
                logger.exception("the background could not take %r", event)

        assert self._session is not None
        self._handlers.append((event, guarded))
        self._session.on(event, guarded)

    def _agent_state_changed(self, ev: Any) -> None:
        if self._closed:
            self._reopen()
        self._post(Fact("agent", ev.new_state))
        self._start()

    def _user_state_changed(self, ev: Any) -> None:
        self._post(Fact("user", ev.new_state))

    def _tool_execution_updated(self, ev: Any) -> None:
        update = ev.update
        if update.type == "tool_call_ended":
            self._tools.pop(update.call_id, None)
        elif update.type == "tool_call_started":
            self._tools[update.function_call.call_id] = update.function_call.name
        self._post(Fact("tool", next(iter(self._tools.values()), None)))

    def _session_closed(self, _: Any) -> None:
        if self._closing is None:
            self._post(Fact("close"))
            self._closing = asyncio.ensure_future(self._close())
            self._closing.add_done_callback(_retrieve)

    def _post(self, fact: Fact) -> None:
        if not self._closed:
            self.engine.post(fact)
            if self._output is not None:
                self._output.changed()

    # --- the output -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._starting is None and not self._closed:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                return  # attached before the loop runs; the first state starts it
            self._starting = loop.create_task(self._start_output(), name="soundscape-start")

    async def _start_output(self) -> None:
        """Starts the output. Whatever goes wrong, the call goes on without a background."""
        try:
            assert self._session is not None
            output = self._given_output or _output_of(self._session)
            await output.start(self.engine)
        except (OutputError, UsageError) as error:
            logger.error("no background in this session: %s", error)
        except Exception:
            logger.exception("no background in this session")
        else:
            self._output = output

    def _reopen(self) -> None:
        """A session that is started again gets its background again."""
        self._closed, self._closing, self._starting, self._output = False, None, None, None
        self._tools.clear()
        self.engine = self._new_engine()
        if self._app is not None:
            self._post(Fact("app", self._app))

    async def _close(self) -> None:
        if self._starting is not None:
            await asyncio.wait([self._starting], timeout=CLOSE_SECONDS)
            self._starting.cancel()
        output = self._output
        self._closed = True
        if output is not None:
            try:
                await output.aclose(timeout=CLOSE_SECONDS)
            except Exception:
                logger.exception("the background's output did not close in order")

    async def aclose(self) -> None:
        """Fades out and lets go of everything; the end of the session does the same. Twice, nothing more happens.

        It waits for the fade, 10 s at most; cancelled, it lets go at once.
        """
        if self._closing is None:
            self._post(Fact("close"))
        for event, handler in self._handlers:
            assert self._session is not None
            self._session.off(event, handler)
        self._handlers.clear()
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            self._closing.cancel()
            raise


def _retrieve(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()


def _output_of(session: AgentSession[Any]) -> Output:
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
        try:
            number = version("livekit-plugins-soundscape")
        except PackageNotFoundError:  # run from a folder, not installed
            number = "0"
        super().__init__("soundscape", number, __package__, logger)


if threading.current_thread() is threading.main_thread():  # the host refuses any other
    Plugin.register_plugin(_LiveKitPlugin())
