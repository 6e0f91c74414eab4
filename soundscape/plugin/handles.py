"""Sounds of the moment: what `play` is asked for, and the handle of each until it was heard.

An output renders ahead of what is heard, and may take it back: a sound's end is what the engine says at the time, and
it is over when the output has come that far.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterable, Callable, Generator
from functools import partial
from typing import Any, NamedTuple

from livekit.agents.voice.background_audio import AudioConfig, BuiltinAudioClip

from soundscape.clip import Clip
from soundscape.engine import Engine, Fact, Moment
from soundscape.exceptions import SoundscapeError, UsageError
from soundscape.plugin.checks import seconds, within

__all__ = ["Moments", "PlayHandle", "Wish", "silence", "wish_of"]

logger = logging.getLogger("soundscape")

LOOK_SECONDS = 0.05
"""How often it is looked how far a sound is, at most; its end is waited for to 5 ms."""

_NEAR_SECONDS = 0.005


# --- what is asked for ----------------------------------------------------------------------------------------------


class Wish(NamedTuple):
    """A sound as it is to be played."""

    source: str
    volume: float = 1.0
    fade_in: float = 0.0
    fade_out: float = 0.0


def wish_of(source: Any, number: Callable[[], float]) -> Wish | None:
    """What `play` is asked for; None where silence was drawn.

    Args:
        source: as `Soundscape.play` takes it.
        number: draws a number in [0, 1), where one is needed.

    Raises:
        UsageError: it is nothing that can be played.
    """
    if isinstance(source, list):
        source = _drawn([_checked(config) for config in source], number)
        if source is None:
            return None
    if not isinstance(source, AudioConfig):
        return Wish(_name(source))
    _checked(source)
    return Wish(_name(source.source), source.volume, source.fade_in, source.fade_out)


def _name(source: Any) -> str:
    if isinstance(source, BuiltinAudioClip):
        return f"livekit:{os.path.splitext(source.value)[0]}"
    if isinstance(source, AsyncIterable):
        raise UsageError("sound that is made as it goes cannot be played yet: give a name or a path")
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    if not isinstance(source, str) or not source:
        raise UsageError(f"{source!r} cannot be played: give a name, a path, an AudioConfig or a list of AudioConfigs")
    return source


def _checked(config: Any) -> AudioConfig:
    if not isinstance(config, AudioConfig):
        raise UsageError(f"a list to draw from has AudioConfigs in it, not {config!r}")
    _name(config.source)
    within("a volume", config.volume, 0.0, 100.0)
    within("a probability", config.probability, 0.0, 1.0)
    seconds("a fade_in", config.fade_in)
    seconds("a fade_out", config.fade_out)
    return config


def _drawn(configs: list[AudioConfig], number: Callable[[], float]) -> AudioConfig | None:
    """Shares of all that is drawn; a sum below 1 leaves the rest to silence, above 1 they are shares of the sum."""
    total = sum(config.probability for config in configs)
    u, summed = number() * max(total, 1.0), 0.0
    for config in configs:
        summed += config.probability
        if u < summed:
            return config
    # A sum of 1 may have been rounded below it.
    return [config for config in configs if config.probability > 0][-1] if total >= 1 else None


# --- handles --------------------------------------------------------------------------------------------------------


class PlayHandle:
    """A sound of the moment, from `Soundscape.play` until it was heard: LiveKit's handle."""

    def __init__(self) -> None:
        self._over = asyncio.get_running_loop().create_future()
        self._error: SoundscapeError | None = None
        self._stop: Callable[[], None] | None = None

    def done(self) -> bool:
        """Whether its last frame was heard, it was stopped without a fade-out, or the session is over."""
        return self._over.done()

    def stop(self) -> None:
        """Fades out, in the config's `fade_out`, and is done when that was heard. Without one it ends at once, by
        a declick. What is not heard yet will not be."""
        if not self.done() and self._stop is not None:
            self._stop()

    async def wait_for_playout(self) -> None:
        """Waits until it is done.

        Raises:
            DecodeError: it is no sound.
        """
        await asyncio.shield(self._over)
        if self._error is not None:
            raise self._error

    def __await__(self) -> Generator[Any, None, PlayHandle]:
        return self._waited().__await__()

    async def _waited(self) -> PlayHandle:
        await self.wait_for_playout()
        return self

    def _finish(self, error: SoundscapeError | None = None) -> None:
        if not self.done():
            self._error = error
            self._over.set_result(None)


def silence() -> PlayHandle:
    """The handle of a silence: it is done."""
    handle = PlayHandle()
    handle._finish()
    return handle


class Moments:
    """The sounds of the moment of one run of a session.

    Args:
        engine: what plays them.
        heard: the frame that is heard next.
        post: tells the engine a fact.
    """

    def __init__(self, engine: Engine, heard: Callable[[], int], post: Callable[[Fact], None]) -> None:
        self._engine = engine
        self._heard = heard
        self._post = post
        self._tasks: set[asyncio.Task[None]] = set()

    def play(self, number: int, wish: Wish, found: Clip | Callable[[], Clip], *, loop: bool) -> PlayHandle:
        """Plays a sound, or what gives it once it is decoded."""
        handle = PlayHandle()
        moment = partial(Moment, number, wish.source, volume=wish.volume, loop=loop)
        playing = self._play(handle, found, partial(moment, fade_in=wish.fade_in, fade_out=wish.fade_out))
        task = asyncio.get_running_loop().create_task(playing, name="soundscape-play")

        def stop() -> None:
            """Nothing is heard yet."""
            handle._finish()
            task.cancel()

        handle._stop = stop
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda task: handle._finish(_error_of(task)))
        return handle

    async def _play(
        self, handle: PlayHandle, found: Clip | Callable[[], Clip], moment_of: Callable[[Clip], Moment]
    ) -> None:
        moment = moment_of(found if isinstance(found, Clip) else await asyncio.to_thread(found))
        number = moment.number

        def stop() -> None:
            self._post(Fact("stop", number))
            if not moment.fade_out:
                handle._finish()

        handle._stop = stop
        self._post(Fact("play", moment))
        end: float | None = None
        while not handle.done():
            known = self._engine.moment_ends(number)
            end = end if known is None else known
            left = LOOK_SECONDS if end is None else (end - self._heard()) / self._engine.sample_rate
            if left <= 0:
                return
            await asyncio.sleep(min(max(left, _NEAR_SECONDS), LOOK_SECONDS))

    async def let_go(self) -> None:
        """Nothing more will be heard: every handle is done."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _error_of(task: asyncio.Task[None]) -> SoundscapeError | None:
    """What went wrong with a sound. It is logged as well: a handle need not be waited for."""
    if task.cancelled() or (error := task.exception()) is None:
        return None
    if isinstance(error, SoundscapeError):
        logger.warning("not played: %s", error)
        return error
    logger.error("a sound of the moment failed", exc_info=error)
    return None
