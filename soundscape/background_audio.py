"""LiveKit's `BackgroundAudioPlayer`, on this engine: change the import and keep the program.

    from soundscape.background_audio import AudioConfig, BackgroundAudioPlayer, BuiltinAudioClip

The bed and the thinking sound are a scene of one base layer and one layer in `thinking`, made in code; what `play`
plays is a sound of the moment beside it. Where this differs from LiveKit's is told in `docs/migrating.md`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Any

from livekit import rtc
from livekit.agents import NOT_GIVEN, AgentSession, NotGivenOr

from soundscape.clip import Clip
from soundscape.engine import Engine, Fact
from soundscape.exceptions import UsageError
from soundscape.gain import draw
from soundscape.library.moments import find_moment
from soundscape.loader import Scene
from soundscape.plugin import HISTORY_SECONDS
from soundscape.plugin.checks import within
from soundscape.plugin.configs import Audio, AudioConfig, AudioSource, BuiltinAudioClip, configs_of, drawn
from soundscape.plugin.handles import PlayHandle
from soundscape.plugin.host import player_output
from soundscape.plugin.run import Run
from soundscape.plugin.streams import Kept

__all__ = ["AudioConfig", "AudioSource", "BackgroundAudioPlayer", "BuiltinAudioClip", "PlayHandle"]

logger = logging.getLogger("soundscape")

SAMPLE_RATE = 48_000


class NotStartedError(UsageError, RuntimeError):
    """There is nothing to play on."""


class BackgroundAudioPlayer:
    """Publishes a track of its own into a room, with a bed, a sound while the agent thinks, and what `play` is asked
    for.

    Args:
        ambient_sound: the bed, which goes round; of a list one is drawn at the start.
        thinking_sound: goes round while the agent thinks; of a list one is drawn each time that it begins to.
        stream_timeout_ms: how long the frames of an iterator are gathered before it sounds, or goes on after it came
            too late: what it may be late by from then on. None are needed where as much of it is there at once.

    Raises:
        UsageError: one of them cannot be played, or a number is none.
    """

    def __init__(
        self,
        *,
        ambient_sound: NotGivenOr[Audio | None] = NOT_GIVEN,
        thinking_sound: NotGivenOr[Audio | None] = NOT_GIVEN,
        stream_timeout_ms: int = 200,
    ) -> None:
        self._ambient = configs_of(ambient_sound) if _given(ambient_sound) else []
        thinking = configs_of(thinking_sound) if _given(thinking_sound) else []
        self._thinking = [config._replace(source=_kept(config.source)) for config in thinking]
        self._stream_timeout = within("stream_timeout_ms", stream_timeout_ms, 0, 60_000) / 1000
        self._lock = asyncio.Lock()
        self._run: Run | None = None
        self._leave: Callable[[], None] = _nothing  # takes the handlers off
        self._place: tuple[Any, Any] = (None, None)
        self._made: PlayHandle | None = None  # of a thinking sound that is made as it goes
        self._closing: asyncio.Task[None] | None = None  # a task that nobody holds may vanish
        self._leaving: asyncio.Task[None] | None = None
        self._said: set[str] = set()

    @property
    def publication(self) -> rtc.LocalTrackPublication | None:
        """The published track, from the start to the end."""
        return getattr(self._run.output, "publication", None) if self._run else None

    async def start(
        self,
        *,
        room: rtc.Room,
        agent_session: NotGivenOr[AgentSession[Any]] = NOT_GIVEN,
        track_publish_options: NotGivenOr[rtc.TrackPublishOptions] = NOT_GIVEN,
    ) -> None:
        """Loads the sounds, publishes the track and begins with the bed. Once more for the same room and session
        nothing happens; after `aclose`, or after a failure, it starts anew. In console mode the speakers take the
        place of the room.

        Args:
            room: where the track is published.
            agent_session: whose states the thinking sound follows, from the next one on.
            track_publish_options: how. Unless given: no DTX, which chops a quiet bed into pieces, and a bit rate for
                music.

        Raises:
            DecodeError: a sound is not there, or is none.
            OutputError: the track cannot be published.
            UsageError: it plays in another room or for another session.
        """
        session, options = agent_session or None, track_publish_options or None
        async with self._lock:
            if self._run is not None:
                if self._place != (room, session):
                    raise UsageError("this player was started for another room or session; make another one")
                return
            seed = random.SystemRandom().getrandbits(32)
            bed = drawn(self._ambient, partial(draw, seed, "", "ambient", 0)) if self._ambient else None
            scene = _scene([bed._replace(probability=1.0)] if bed else [], self._thinking)  # it was drawn already
            clips = await asyncio.to_thread(_load, [*self._ambient, *self._thinking])
            run = Run(Engine(scene, clips, seed=seed, history=HISTORY_SECONDS), self._said)
            run.engine.post(Fact("agent", "initializing"))  # whatever its state is: only changes count
            output = await player_output(run.engine, room, options)
            run.play_moments()
            self._run, self._place = run, (room, session)
            self._follow(session)
            run.started(output, scene.name, self._left)
            logger.info("background audio plays", extra={"seed": seed})
            if bed is not None and not isinstance(bed.source, str):
                self._play(run, bed, loop=None)

    def play(self, audio: Audio, *, loop: bool = False) -> PlayHandle:
        """Plays a sound. A file is read afresh and decoded in a thread first.

        Args:
            audio: a path, relative to the working directory, `soundscape:NAME` or `livekit:NAME`; a `BuiltinAudioClip`;
                an `AsyncIterator` of `rtc.AudioFrame`, which is asked on the running loop, some 0.7 s ahead of what is
                heard; an `AudioConfig` of one of these; or a list of `AudioConfig`, of which one is drawn by their
                probabilities, or none.
            loop: whether it goes round until it is stopped; an iterator cannot.

        Returns:
            By which it is stopped, or waited for until its last frame was heard. A `DecodeError` is raised there if
            what was found is no sound.

        Raises:
            UsageError: it cannot be played, which is a `ValueError`; or the player is not started, which is a
                `RuntimeError` as well.
            DecodeError: there is no such file.
        """
        if self._run is None:
            raise NotStartedError("BackgroundAudioPlayer is not started: await its start(room=...) first")
        return self._play(self._run, audio, loop=bool(loop))

    async def aclose(self) -> None:
        """Ends all sounds by a declick and takes the track back. Before the start, and twice, nothing happens."""
        async with self._lock:
            run, self._run = self._run, None
            if run is None:
                return
            self._leave()
            self._closing = asyncio.create_task(self._close(run), name="soundscape-close")
            # Cancelled, it goes on by itself.
            await asyncio.wait([self._closing])

    async def _close(self, run: Run) -> None:
        assert run.moments is not None
        run.tell(Fact("close"))
        await run.let_go()
        await run.moments.let_go()
        for config in self._thinking:
            if isinstance(config.source, Kept):
                await config.source.aclose()

    def _play(self, run: Run, audio: Any, *, loop: bool | None) -> PlayHandle:
        assert run.moments is not None
        return run.moments.play(audio, loop=loop, stream_timeout=self._stream_timeout)

    def _follow(self, session: AgentSession[Any] | None) -> None:
        """Hears of changes of state."""
        self._leave = _nothing
        if session is not None:
            session.on("agent_state_changed", self._changed)
            self._leave = partial(session.off, "agent_state_changed", self._changed)

    def _changed(self, event: Any) -> None:
        try:
            if self._run is not None:
                self._tell(self._run, event.new_state)
        except Exception:
            logger.exception("the background could not take a change of state")

    def _tell(self, run: Run, state: str) -> None:
        run.tell(Fact("agent", "thinking" if state == "thinking" else "listening"))
        if all(isinstance(config.source, str) for config in self._thinking):
            return
        made, self._made = self._made, None
        if state != "thinking":
            if made is not None:
                made.stop()
        elif made is not None and not made.done():
            self._made = made
        else:
            self._made = self._play(run, self._thinking, loop=None)

    def _left(self) -> None:
        self._leaving = asyncio.get_running_loop().create_task(self.aclose(), name="soundscape-close")


def _nothing() -> None:
    return None


def _given(audio: Any) -> bool:
    return audio is not None and audio is not NOT_GIVEN


def _kept(source: Any) -> Any:
    return source if isinstance(source, str) else Kept(source)


def _scene(ambient: list[AudioConfig], thinking: list[AudioConfig]) -> Scene:
    """The bed and the thinking sound, as far as they are files: an iterator is played beside it."""

    def layers(key: str, configs: list[AudioConfig]) -> list[dict[str, Any]]:
        if not configs or not all(isinstance(config.source, str) for config in configs):
            return []
        return [{"key": key, "pool": [config._asdict() for config in configs]}]

    tables = {
        "name": "background audio",
        "defaults": {"crossfade": 0.05},  # from one pick of a list to the next; fades are the configs' own
        "base": {"layers": layers("ambient", ambient)},
        "states": {"thinking": {"layers": layers("thinking", thinking)}},
    }
    return Scene.model_validate(tables)


def _load(configs: list[AudioConfig]) -> dict[str, Clip]:
    """The clips of those that are files; also of those that were not drawn: what is wrong with one shall be known.

    Raises:
        DecodeError: one is not there, or is no sound.
    """
    sources = [config.source for config in configs if isinstance(config.source, str)]
    found = {source: find_moment(source, None, SAMPLE_RATE) for source in sources}
    return {source: clip if isinstance(clip, Clip) else clip() for source, clip in found.items()}
