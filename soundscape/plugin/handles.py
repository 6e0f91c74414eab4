"""Sounds of the moment: the handle of each, until it was heard.

An output renders ahead of what is heard, and may take it back: a sound's end is what the engine says at the time, and
it is over when the output has come that far.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from itertools import count
from typing import Any

from soundscape.clip import Clip
from soundscape.engine import Engine, Fact, Moment
from soundscape.exceptions import SoundscapeError, UsageError
from soundscape.gain import draw
from soundscape.library import SceneClips
from soundscape.library.moments import find_moment
from soundscape.plugin.configs import AudioConfig, configs_of, drawn
from soundscape.plugin.streams import Feeder

__all__ = ["Moments", "PlayHandle"]

logger = logging.getLogger("soundscape")

LOOK_SECONDS = 0.05
"""How often it is looked how far a sound is, at most; its end is waited for to 5 ms."""

_NEAR_SECONDS = 0.005

STREAM_SECONDS = 0.2
"""How long a sound that is made as it goes is waited for, unless the caller says."""


class PlayHandle:
    """A sound of the moment, until it was heard: LiveKit's handle.

    Args:
        fade_out: seconds that it fades when it is stopped.
    """

    def __init__(self, fade_out: float = 0.0) -> None:
        self._over = asyncio.get_running_loop().create_future()
        self._error: SoundscapeError | None = None
        self._fade_out = fade_out
        self._stop: Callable[[], None] | None = None  # while it sounds

    def done(self) -> bool:
        """Whether its last frame was heard, it was stopped without a fade-out, or the session is over."""
        return self._over.done()

    def stop(self) -> None:
        """Fades out, in the config's `fade_out`, and is done when that was heard. Without one it ends at once, by
        a declick. What is not heard yet will not be."""
        if not self.done():
            if self._stop is not None:
                self._stop()
            if self._stop is None or not self._fade_out:
                self._finish()

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


class Moments:
    """The sounds of the moment of one run of a session. On the session's loop.

    Args:
        engine: what plays them.
        heard: the frame that is heard next.
        changed: tells the output that facts were posted.
    """

    def __init__(self, engine: Engine, heard: Callable[[], int], changed: Callable[[], None]) -> None:
        self._engine = engine
        self._heard = heard
        self._changed = changed
        self._numbers, self._draws = count(1), count()
        self._tasks: set[asyncio.Task[None]] = set()

    def play(
        self, audio: Any, clips: SceneClips | None = None, *, loop: bool | None, stream_timeout: float = STREAM_SECONDS
    ) -> PlayHandle:
        """Plays a sound, once it is decoded.

        Args:
            audio: as `Soundscape.play` takes it.
            clips: the scene's, which may be named.
            loop: whether it goes round; None for what can.
            stream_timeout: seconds that what is made as it goes is waited for.

        Raises:
            UsageError: it is nothing that can be played, or this is another thread.
            DecodeError: there is no such sound.
        """
        try:
            event_loop = asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError("play is called on the session's event loop, from no other thread") from None
        config = drawn(configs_of(audio), self._draw)
        if config is None:
            handle = PlayHandle()
            handle._finish()
            return handle
        playing: Any
        handle, number = PlayHandle(config.fade_out), next(self._numbers)
        if isinstance(config.source, str):
            found = find_moment(config.source, clips, self._engine.sample_rate)
            playing = self._play(handle, found, number, config, loop is not False)
        elif loop:
            raise UsageError("sound that is made as it goes cannot be looped: give an iterator without an end")
        else:
            feeder = Feeder(self._engine, self._heard, self._changed, number, config, stream_timeout)
            handle._stop = feeder.stop
            playing = feeder.run(handle.done)
        task = event_loop.create_task(playing, name="soundscape-play")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda task: handle._finish(_error_of(task)))
        return handle

    def _draw(self) -> float:
        return draw(self._engine.seed, "", "play", next(self._draws))

    async def _play(
        self, handle: PlayHandle, found: Clip | Callable[[], Clip], number: int, config: AudioConfig, loop: bool
    ) -> None:
        clip = found if isinstance(found, Clip) else await asyncio.to_thread(found)
        if handle.done():
            return

        def stop() -> None:
            self._engine.post(Fact("stop", number))
            self._changed()

        source, volume, _, fade_in, fade_out = config
        handle._stop = stop
        self._engine.post(Fact("play", Moment(number, str(source), clip, volume, loop, fade_in, fade_out)))
        self._changed()
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
