"""Sound that an application makes as it goes: asked for no earlier than needed, given to the engine piece by piece.

The iterator is asked on the application's own loop, until what it gave lasts `AHEAD` seconds beyond what is heard. A
piece that joins the one before it changes nothing of what was rendered and is given without a word; one that comes when
the output has rendered silence in its place is heard as soon as a change of state would be. While a sound is silent for
want of frames, what comes is gathered for as long as the caller says: a source that is as fast as its sound, no more,
then has so much to be late by.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from livekit import rtc

from soundscape.clip import Clip
from soundscape.engine import Engine, Fact, Moment, Piece
from soundscape.library.stream import StreamConverter
from soundscape.plugin.configs import AudioConfig

__all__ = ["AHEAD", "Feeder", "Kept"]

logger = logging.getLogger("soundscape")

AHEAD = 0.7
"""Seconds: as many as the room's queue is deep, and what comes while that is filled."""

_PIECE = 0.1
"""Seconds of a piece: 10 a second, whatever the blocks that come."""

_NEAR = 0.06
"""Seconds before the end of what was given at which what there is is given."""

_POLL = 0.02
_KEPT = 2.0  # seconds for which what was heard is kept: an output goes back by less
_CLOSE_SECONDS = 1.0


class _Pieces(dict[str, Clip]):
    """What was given and may still be asked for."""

    def __missing__(self, name: str) -> Clip:
        return Clip(np.zeros(1, np.float32), 1, 1, np.empty(0, np.float32))


class Feeder:
    """Plays one iterator.

    Args:
        engine: what plays it.
        heard: the frame that is heard next.
        changed: tells the output that facts were posted.
        number: the moment's.
        config: what is played, and how.
        timeout: seconds for which what comes is gathered before the sound begins or goes on; none are needed where as
            many seconds of sound are there.
    """

    def __init__(
        self,
        engine: Engine,
        heard: Callable[[], int],
        changed: Callable[[], None],
        number: int,
        config: AudioConfig,
        timeout: float,
    ) -> None:
        self._engine, self._heard, self._changed = engine, heard, changed
        self._number, self._config, self._timeout = number, config, timeout
        self._rate = engine.sample_rate
        self._converter = StreamConverter(self._rate)
        self._pieces = _Pieces()
        self._ends: dict[str, int] = {}  # of the pieces, the frames
        self._given = self._frames = 0  # pieces, and what is in them
        self._end = 0  # the frame at which what was given ends, as far as it is known
        self._settled = False  # whether the engine has said so since the last piece that came late
        self._gathered: list[npt.NDArray[np.float32]] = []
        self._since = 0.0  # when the first of it came
        self._ended = self._told_end = self._stopping = self._paused = False
        self._clock = asyncio.get_running_loop().time

    def stop(self) -> None:
        """Ends the sound, by its fade-out. Before its first piece there is none, and nothing is heard."""
        if not self._stopping:
            self._stopping = True
            if self._given:
                self._engine.post(Fact("stop", self._number))
                self._changed()

    async def run(self, dropped: Callable[[], bool]) -> None:
        """Asks and gives, until the last frame was heard.

        Args:
            dropped: whether nobody waits for that any more.
        """
        source: Any = self._config.source
        reader = asyncio.create_task(self._read(source), name="soundscape-stream")
        try:
            while not dropped() and not self._over():
                await asyncio.sleep(_POLL)
                self._look()
        finally:
            reader.cancel()
            await asyncio.wait([reader], timeout=_CLOSE_SECONDS)

    async def _read(self, source: AsyncIterator[Any]) -> None:
        """Asks for blocks, one at a time, until there are no more. Only generators are closed: others may be asked by
        somebody else afterwards."""
        iterator: Any = None
        try:
            try:
                iterator = aiter(source)
                while not self._stopping or self._given:
                    while self._ahead() >= AHEAD * self._rate:
                        await asyncio.sleep(_POLL)
                    self._take(await anext(iterator))
            except StopAsyncIteration:
                pass
            except Exception:
                logger.exception("a sound that was made as it went ends here")
            self._gather(self._converter.finish())
            self._ended = True
            self._look()
        finally:
            await _close(iterator)

    def _take(self, block: Any) -> None:
        if not isinstance(block, rtc.AudioFrame):
            raise TypeError(f"an iterator of sound gives rtc.AudioFrame, not {block!r}")
        samples = np.frombuffer(block.data, np.int16).reshape(-1, block.num_channels)
        self._gather(self._converter.convert(samples, block.sample_rate))
        self._look()

    def _gather(self, samples: npt.NDArray[np.float32]) -> None:
        if len(samples):
            self._since = self._since if self._gathered else self._clock()
            self._gathered.append(samples)

    def _ahead(self) -> int:
        """Frames that are there and not heard yet."""
        return max(self._end - self._heard(), 0) * bool(self._given) + sum(map(len, self._gathered))

    def _look(self) -> None:
        """Gives what there is, if it is time."""
        if (fed := self._engine.moment_fed(self._number)) is not None:
            coming = self._frames - fed[1]
            end = int(fed[0]) + coming
            if end > self._end:
                if self._settled:  # the piece came too late after all
                    self._changed()
                self._settled = True
            # It may be less as well: what was rendered too late may have been taken back since.
            self._end = max(end, self._heard() + coming) if coming else end
        self._forget()
        if self._gathered:
            if self._due():
                self._give()
        elif self._ended and self._given and not self._told_end:
            self._told_end = True
            self._engine.post(Fact("feed", Piece(self._number, "", self._pieces, 0)))
            self._changed()  # or who waits for the end would wait for the next block that is rendered
        if self._given and not self._ended and not self._paused and self._heard() > self._end:
            self._paused = True
            logger.warning("a sound that is made as it goes comes too slowly, and pauses now and then; said once")

    def _due(self) -> bool:
        gathered = sum(map(len, self._gathered))
        left = self._end - self._heard()
        if self._ended:
            return True
        if not self._given or left <= 0:
            return gathered >= self._timeout * self._rate or self._clock() - self._since >= self._timeout
        return gathered >= _PIECE * self._rate or left < _NEAR * self._rate

    def _give(self) -> None:
        samples = np.concatenate(self._gathered)
        self._gathered.clear()
        late = not self._given or self._engine.position >= self._end
        if not self._given:
            if self._stopping:
                return
            _, volume, _, fade_in, fade_out = self._config
            moment = Moment(self._number, "a stream", None, volume, False, fade_in, fade_out)
            self._engine.post(Fact("play", moment))
        self._given += 1
        self._frames += len(samples)
        name = f"a stream, piece {self._given}"
        self._pieces[name] = Clip(samples, self._rate, len(samples), np.empty(0, np.float32))
        self._engine.post(Fact("feed", Piece(self._number, name, self._pieces, len(samples))))
        self._end = max(self._end, self._heard()) + len(samples)
        self._ends[name] = self._end
        if late:
            self._settled = False
            self._changed()

    def _forget(self) -> None:
        before = self._heard() - _KEPT * self._rate
        for name in [name for name, end in self._ends.items() if end < before]:
            del self._ends[name], self._pieces[name]

    def _over(self) -> bool:
        if not self._given:
            return self._ended or self._stopping
        ends = self._engine.moment_ends(self._number)
        return ends is not None and self._heard() >= ends


class Kept:
    """An iterator that one sound after another goes on with. What is being asked for when one ends is the next one's;
    of two, the later one is given what comes.

    Args:
        source: the iterator.
    """

    def __init__(self, source: AsyncIterable[Any]) -> None:
        self._source = source
        self._iterator: AsyncIterator[Any] | None = None
        self._asked: asyncio.Task[Any] | None = None
        self._turn: object = None

    def __aiter__(self) -> AsyncIterator[Any]:
        self._iterator = self._iterator or aiter(self._source)
        self._turn = turn = object()
        return self._blocks(turn)

    async def _blocks(self, turn: object) -> AsyncIterator[Any]:
        while self._turn is turn:
            asked = self._asked = self._asked or asyncio.create_task(self._ask(), name="soundscape-stream")
            await asyncio.wait([asked])
            if self._turn is not turn:
                return
            self._asked = None
            try:
                block = asked.result()
            except StopAsyncIteration:
                return
            yield block

    async def _ask(self) -> Any:
        assert self._iterator is not None
        return await anext(self._iterator)

    async def aclose(self) -> None:
        """Asks no more, and closes a generator."""
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()
            await asyncio.wait([asked], timeout=_CLOSE_SECONDS)
        await _close(self._iterator)


async def _close(iterator: Any) -> None:
    if inspect.isasyncgen(iterator):
        try:
            await iterator.aclose()
        except Exception:
            logger.exception("a sound that was made as it went did not close in order")
