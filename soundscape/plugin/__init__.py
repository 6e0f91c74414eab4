"""`Soundscape`: a session's facts to the engine, the engine's sound to an output.

Nothing here decides what sounds. Handlers of session events are synchronous and never raise: an error in one could end
the call. They post a fact and return; the output's own thread or task does the rest.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

from livekit import rtc
from livekit.agents import AgentSession

from soundscape.engine import Engine, Fact
from soundscape.exceptions import OutputError, UsageError
from soundscape.library import SceneClips
from soundscape.loader import Scene, find_scene
from soundscape.outputs import Output, Stats
from soundscape.plugin.checks import check_options, check_state
from soundscape.plugin.host import hold_close, hold_switch_interval, output_of
from soundscape.plugin.live import Live
from soundscape.plugin.metrics import start_failed
from soundscape.plugin.run import CLOSE_SECONDS, Run, from_the_start, slot
from soundscape.recording import Recorder, unloadable

__all__ = ["Soundscape"]

logger = logging.getLogger("soundscape")

_STATES = ("agent", "user", "tool", "app")

HISTORY_SECONDS = 3600.0
"""For how long a call's log is kept: a megabyte of a busy call. A recording needs all of it."""


class Soundscape(Live):
    """A background that follows one session, until it closes or its room is disconnected for good.

    The session's `aclose` returns when the last fade is over, so that a job that ends leaves its room no sooner. What
    gives that up, by a timeout or cancelled, does not wait for it.

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
        record: a file to record the session to, for `soundscape.testing.replay` (`soundscape.recording`): states, names
            of tools, and times; nothing that was said. What is there is kept: the next call, or a session that is
            started again, goes to the first of `NAME-2.jsonl`, `NAME-3.jsonl`... that is free. The log names the file.

        switch_interval: seconds after which Python hands its lock to another thread that waits for it
            (`sys.setswitchinterval`), for the whole process and as long as the sound plays. Python's own 5 ms keep the
            sound's thread from answering while others compute without a pause; with 0.0002 it answers.

    Raises:
        SceneError: with all that is wrong in the scene and its sounds.
        OutputError: `record` cannot be written.
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
        record: str | os.PathLike[str] | None = None,
        switch_interval: float | None = None,
    ) -> None:
        check_options(seed, output, sample_rate, on_error, switch_interval)
        self._switch_interval = switch_interval
        self._sample_rate = sample_rate
        self._allow_outside = allow_outside
        self._skip_errors = on_error == "skip"
        clips = SceneClips(scene.checked(), sample_rate=sample_rate, allow_outside=allow_outside)
        skipped = [] if record is None else unloadable(clips)
        clips.load_all(skip_errors=self._skip_errors)
        self.scene = scene
        self.seed = next((s for s in (seed, scene.seed) if s is not None), random.SystemRandom().getrandbits(32))
        self.clips = clips
        self._first = scene, clips
        self._recorder: Recorder | None = None
        if record is not None:
            self._recorder = Recorder(
                record, scene=scene.name, seed=self.seed, sample_rate=sample_rate, skipped=skipped
            )
        self._given_output = output
        self._given_started = False
        self._session: AgentSession[Any] | None = None
        self._handlers: list[tuple[Any, Callable[[Any], None]]] = []
        self._let_go_of_close: Callable[[], None] = lambda: None
        self._tools: dict[str, str] = {}
        self._facts: dict[tuple[str, ...], Fact] = {}
        self._said: set[str] = set()
        self._posting = threading.RLock()  # a handler of signals may post as well
        self._closed = False
        self._closings: set[asyncio.Task[None]] = set()  # of each run that has not let go of everything
        self._run = self._new_run()

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

    def _new_run(self) -> Run:
        """Each begins with the first scene, as recordings do, and is told of the present one."""
        history = math.inf if self._recorder else HISTORY_SECONDS
        return Run(Engine(*self._first, seed=self.seed, sample_rate=self._sample_rate, history=history), self._said)

    def _load(self, scene: Scene) -> SceneClips:
        clips = SceneClips(scene.checked(), sample_rate=self._sample_rate, allow_outside=self._allow_outside)
        clips.load_all(skip_errors=self._skip_errors)
        return clips

    @property
    def engine(self) -> Engine:
        """What plays the scene: its log, and the facts that a replay needs; of a call that is not recorded of the last
        hour."""
        return self._run.engine

    @property
    def state(self) -> str:
        """The committed state."""
        return self.engine.state

    @property
    def publication(self) -> rtc.LocalTrackPublication | None:
        """The published track, in a room."""
        return getattr(self._run.output, "publication", None)

    @property
    def recording(self) -> Path | None:
        """The file that the session, if it was started again its last run, is recorded to; None without `record`."""
        return self._recorder.path if self._recorder else None

    @property
    def stats(self) -> Stats:
        """What the output has seen so far: changes and how late they were answered, gaps, fall-backs. Only a room's
        output counts all of it."""
        return getattr(self._run.output, "stats", None) or Stats()

    def set_state(self, state: str | None) -> None:
        """Sets the application's own state, which comes before what the session says, or with None clears it.

        Raises:
            UsageError: it cannot be a state's name.
        """
        check_state(state)
        self._post(Fact("app", state))

    # --- the session ----------------------------------------------------------------------------------------------

    def attach(self, session: AgentSession[Any]) -> Self:
        """Follows a session from now on, started or not, until it closes. Twice, nothing more happens.

        Raises:
            UsageError: it follows another session already, was closed, or the session runs without a room and no
                output was given.
        """
        if self._closed:
            raise UsageError("this Soundscape was closed; make another one")
        if self._session is session:
            return self
        if self._session is not None:
            raise UsageError("one Soundscape follows one session; make another one for another session")
        started = session.agent_state != "initializing"
        if started and self._given_output is None:
            output_of(session)
        self._let_go_of_close = hold_close(session, self._last)
        self._session = session
        self._on("agent_state_changed", self._agent_state_changed)
        self._on("user_state_changed", self._user_state_changed)
        self._on("tool_execution_updated", self._tool_execution_updated)
        self._on("close", self._session_closed)
        logger.info("scene %r follows the session", self.scene.name, extra=self._description())
        self._post(Fact("user", session.user_state))
        self._post(Fact("agent", session.agent_state))
        if started or self._given_output is not None:
            self._start()
        return self

    def _description(self) -> dict[str, Any]:
        """What plays, for who reads the log of many calls; the loudness in LUFS, of what has a level."""
        loudness = {source: round(clip.lufs, 1) for source, clip in self.clips.items() if clip.lufs is not None}
        return {"scene": self.scene.name, "seed": self.seed, "clips": len(self.clips), "loudness": loudness}

    def _on(self, event: Any, handler: Callable[[Any], None]) -> None:
        def guarded(ev: Any) -> None:
            if self._closed:  # within this very event, which is given to all that it had when it began
                return
            try:
                handler(ev)
            except Exception:
                # What was said may be in the event: it is not logged.
                logger.exception("the background could not take %r", event)

        assert self._session is not None
        self._handlers.append((event, guarded))
        self._session.on(event, guarded)

    def _agent_state_changed(self, ev: Any) -> None:
        if self._run.closing is not None and ev.old_state == "initializing":
            # A session that is started again gets its background again; one that goes on without its room does not.
            self._run = self._new_run()
            self._tools.clear()
            assert self._session is not None
            for fact in (Fact("tool"), Fact("user", self._session.user_state)):  # it was reset without an event
                self._facts[slot(fact)] = fact
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
        self._begin_close(self._run)

    def _post(self, fact: Fact) -> None:
        """Keeps a fact, and tells the engine once there is an output that pulls from it. A state that is known already
        is no news: told, it would be answered, and counted, as a change."""
        with self._posting:  # threads may post, and none of it may fall between what a start posts and what comes then
            run = self._run
            if fact.kind in _STATES and self._facts.get(slot(fact)) == fact:
                return
            self._facts[slot(fact)] = fact
            telling = run.posting and run.closing is None
            if telling:
                run.engine.post(fact)
        if telling:
            run.changed()

    # --- the output -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        run = self._run
        if not run.starts and run.closing is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                return  # attached before the loop runs; the first state starts it
            run.starts = True
            run.play_moments()
            run.starting = loop.create_task(self._start_output(run), name="soundscape-start")

    async def _start_output(self, run: Run) -> None:
        """Starts the output. Whatever goes wrong, the call goes on without a background; the next change of state
        tries again."""
        assert self._session is not None
        try:
            if self._given_started:
                raise UsageError(
                    "the output it was given ended with the session's first run; give it none, or a new one"
                )
            output = self._given_output or output_of(self._session)
            with self._posting:
                for fact in sorted(self._facts.values(), key=lambda fact: fact.kind == "agent"):
                    run.engine.post(from_the_start(fact))
                run.posting = True
            if self._switch_interval is not None:
                run.let_go_of_lock = hold_switch_interval(self._switch_interval)
            await output.start(run.engine)
        except Exception as error:
            known = isinstance(error, OutputError | UsageError)
            start_failed(self.scene.name)
            run.say_once(f"no background in this session{f': {error}' if known else ''}", trace=not known)
            run.let_go_of_lock()
            moments, run.moments = run.moments, None
            run.posting, run.starts = False, False
            run.engine = self._new_run().engine
            if moments is not None:
                await moments.let_go()
            return
        self._given_started = self._given_output is not None
        run.started(output, self.scene.name, lambda: self._room_left(run))
        run.recording = self._recorder.follow(run.engine) if self._recorder else None
        if run.ended:
            await run.let_go()

    # --- the close ------------------------------------------------------------------------------------------------

    def _room_left(self, run: Run) -> None:
        """Nobody hears the fade: it ends at once, also one that began before."""
        self._begin_close(run)
        run.tell(Fact("cut"))

    def _begin_close(self, run: Run) -> None:
        if run.closing is None:
            run.tell(Fact("close"))
            run.closing = asyncio.get_running_loop().create_task(self._close(run), name="soundscape-close")
            run.closing.add_done_callback(self._run_closed)
            self._closings.add(run.closing)

    def _run_closed(self, closing: asyncio.Task[None]) -> None:
        self._closings.discard(closing)
        if not closing.cancelled():
            closing.exception()  # seen
        self._let_go_if_closed()

    def _let_go_if_closed(self) -> None:
        """The session's close is its own again when nothing fades any more: it may come while this one's does."""
        if self._closed and not self._closings:
            self._let_go_of_close()

    async def _close(self, run: Run) -> None:
        in_time = False
        try:
            if run.starting is not None:
                await asyncio.wait([run.starting], timeout=CLOSE_SECONDS)
            in_time = True
        finally:
            run.ended = True
            if run.starting is not None:
                run.starting.cancel()
            try:
                if run.output is not None:
                    await run.let_go(CLOSE_SECONDS if in_time else 0.0)
                else:
                    run.let_go_of_lock()
            finally:  # also of a close that was cancelled
                if run.moments is not None:
                    await run.moments.let_go()

    def _last(self) -> set[asyncio.Task[None]]:
        """What the session's own close waits for: each fade that goes on."""
        assert self._session is not None
        ran = self._facts.get(("agent",)) != Fact("agent", "initializing")
        if ran and self._session.agent_state == "initializing":  # it is closed; no event told of it where that failed
            self._begin_close(self._run)
        return self._closings

    async def aclose(self) -> None:
        """Fades out and lets go of everything; the end of the session does the same. Twice, nothing more happens.

        It waits for the fade, 10 s at most; cancelled, it declicks and lets go in the background.

        Raises:
            UsageError: this is not the loop that the background was started on.
        """
        run = self._run
        if run.starting is not None and run.starting.get_loop() is not asyncio.get_running_loop():
            raise UsageError("aclose is awaited on the session's event loop, on no other")
        self._closed = True
        for event, handler in self._handlers:
            assert self._session is not None
            self._session.off(event, handler)
        self._handlers.clear()
        self._begin_close(run)
        self._let_go_if_closed()
        try:
            if self._closings:
                await asyncio.wait(self._closings)
        except asyncio.CancelledError:
            for closing in self._closings:
                closing.cancel()
            raise
