"""The pump: keeps a native queue filled from a source, deep enough to bridge what a busy process does to it, and takes
back what is not heard yet when something changes.

**The queue.** LiveKit's native source takes 10 ms out of its queue at each tick of a clock of its own, and sends
silence where there is less. It does not say where it is. But a capture that leaves more than the queue's size in it
completes at the tick that brings it down to that: then a tick has just been, and what has gone is known to the frame.
From there the clock goes on by itself (`Ticks`). Each answer, and a top-up every other second, exceeds the size by a
tick, and is another look.

**Answering.** On a change the source is taken back to the frame that a tick to come will begin with, and rendered again
from there; just after the tick before it the queue is cleared and the new sound captured. Between these two nothing may
come, and a tick least of all: so all is rendered before, and it is only done with most of the 10 ms left. The
interpreter's lock may still be in other hands: giving it away and asking for it back says how long that takes now. What
comes too late is tried again a tick further on.

**Falling back.** Where that does not succeed, nothing is taken back for a while, the change comes with what is rendered
next, and the queue is kept only as deep as the delays that were seen ask for. Never a gap for the sake of promptness.

**Silence.** While the source knows of nothing but silence ahead nothing is captured: the clock goes on.

**Gaps.** A tick that found less than it takes sent silence in our stead; the clock shows it when the pump was late, the
next look shows it in any case. What follows is heard whole, later by as much.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import time
from collections import deque
from typing import Protocol

import numpy as np
import numpy.typing as npt

from soundscape.outputs import SafeSource, Stats, to_int16
from soundscape.outputs.ticks import TICK, Ticks

__all__ = ["DEEP_MS", "Pump", "Queue"]

logger = logging.getLogger("soundscape")

DEEP_MS = 600
"""The queue's size: as deep as LiveKit's player keeps its own, at the least. What a change costs grows with it: 0.4 ms
for each answer."""

_LOW = 0.4  # seconds in the queue at which it is topped up: 5 captures a second
_IDLE = 0.5  # seconds of silence ahead that are worth to stop for
_LEAD = 0.1  # seconds before the end of such silence

_FROM, _TO = 0.002, 0.008
"""When to clear and capture, from the tick on: it comes late now and then, and both take 0.6 ms (*measured*)."""

_PROBE, _HELD = 0.0001, 0.0007
"""A sleep so short, and how late it ends at least where others have the interpreter's lock, which they keep for 5 ms
(`sys.getswitchinterval()`), or the processor."""

_LOOK, _LOOK_TO = 0.002, 0.005
"""A look begins so long after a tick: late enough for a tick that is late, early enough to tell the next one from an
answer at once."""

_LOOK_EVERY = 2.0
"""Seconds between looks. A capture that waits is woken by all that happens to any track of the process: where a hundred
wait, each costs a hundred times as much."""

_AGREED = 0.0025  # how far a look's tick may be from where it was believed to be
_QUICK = 0.002  # seconds to render an answer, until it is known better

_TARDY = 0.002
_WAKINGS, _FEW = 32, 2
"""Who wakes up so late, more than a few times of so many, is not to clear anything: between that and the capture it may
not be its turn either."""

_AGREEMENTS = 2
"""Looks that must agree on a clock that was found anew: one may agree by chance where all comes late."""

_ATTEMPTS = 8
_SHALLOW = (0.35, _LOW)
"""Seconds kept in the queue while nothing is taken back: who is late now will be later, and LiveKit's own player has
no more."""

_TRY_AGAIN = (1.0, 20.0)
_SPARE = 0.2  # seconds that are left in the queue when an answer is given up
_OFTEN = 60.0  # seconds from one gap to the next that are no mere hiccups of the machine
_RETRY = (0.05, 1.0)  # the first wait after a failed capture, doubled up to the second

_Samples = npt.NDArray[np.int16]


class Queue(Protocol):
    """The native queue."""

    async def capture(self, samples: npt.NDArray[np.int16]) -> None:
        """Appends int16 `(frames, channels)`; complete once no more than the queue's size is in it."""
        ...

    def clear(self) -> None:
        """Drops what is in it."""
        ...


class Pump:
    """Pumps one source into one native queue, on one event loop.

    Args:
        source: what is rendered.
        queue: the native queue, empty, of `DEEP_MS`.
        stats: where it is counted.
    """

    def __init__(self, source: SafeSource, queue: Queue, stats: Stats) -> None:
        rate = source.sample_rate
        self._source = source
        self._queue = queue
        self._stats = stats
        self._rate = rate
        self._ticks = Ticks(rate // 100)
        self._size = rate * DEEP_MS // 1000
        self._pushed = source.position  # the frame that follows all that was captured
        self._sounded = self._pushed  # the frame after the last one that was not silent
        self._told: float | None = None  # when the first change was that is not answered yet
        self._waking: asyncio.Future[None] | None = None
        self._deep = True
        self._idle = False
        self._agreed = 0  # how many looks in a row have found it right
        self._looked = 0.0  # when the clock was last known to be right
        self._doubts = 0  # how often the clock was looked at, since it was last known to be right
        self._lag = 0.0  # the latest delays, the largest of them
        self._wakings: deque[bool] = deque(maxlen=_WAKINGS)  # the last ones, whether they were late
        self._takes = _QUICK  # how long an answer takes to render
        self._gap_at = -math.inf
        self._again_at, self._again = 0.0, _TRY_AGAIN[0]
        self._loop = asyncio.get_running_loop()

    def changed(self, at: float) -> None:
        """Something was posted to the source at a time of the loop's clock. On the loop."""
        if self._told is None:
            self._told = at
        if self._waking is not None and not self._waking.done():
            self._waking.set_result(None)

    @property
    def heard(self) -> int:
        """The frame that goes next. From any thread: while the clock is set it may be late."""
        ticks = self._ticks
        if not ticks.begun:
            return 0
        gone = ticks.gone(ticks.number(self._loop.time()))
        return gone if self._idle else min(gone, self._pushed)

    async def run(self) -> None:
        """Pumps until the source has finished and its last sound has gone."""
        began = self._loop.time()
        await self._find()
        while not self._source.finished:
            self._account()
            if self._told is not None or self._idle:
                told, self._told = self._told, None
                await self._answer(told)
            else:
                await self._top_up()
            self._stats.seconds = self._loop.time() - began
            if not self._source.finished:
                await self._wait()
        await asyncio.sleep(self._ticks.time(self._ticks.after(self._sounded) + 1) - self._loop.time())

    # --- filling --------------------------------------------------------------------------------------------------

    async def _wait(self) -> None:
        """Until there is something to do."""
        if self._told is not None:
            return
        due = self._due()
        if due is not None and due <= self._loop.time():
            return
        self._waking = self._loop.create_future()
        timer = None if due is None else self._loop.call_at(due, self._wake, self._waking)
        try:
            await self._waking
        finally:
            self._waking = None
            if timer is not None:
                timer.cancel()
        if due is not None and self._told is None:
            self._woken(self._loop.time() - due)

    @staticmethod
    def _wake(waking: asyncio.Future[None]) -> None:
        if not waking.done():
            waking.set_result(None)

    def _due(self) -> float | None:
        """When the queue is to be topped up, or what is silent ends; None for never."""
        ticks = self._ticks
        if self._idle:
            silent = self._source.silent_until
            return None if silent == math.inf else ticks.time(ticks.after(silent)) - _LEAD
        due = ticks.time(ticks.after(self._pushed - self._level * self._rate)) + _LOOK
        if not self._doubts or not self._deep:
            return due
        # Another look soon, but less and less so: a process that is too busy to look is not to be kept busy by it.
        soon = ticks.number(self._loop.time()) + 2 ** min(self._doubts, 10) // 2
        return min(due, ticks.time(soon) + _LOOK)

    @property
    def _level(self) -> float:
        """Seconds that are kept in the queue."""
        return _LOW if self._deep else min(max(3 * self._lag + 0.04, _SHALLOW[0]), _SHALLOW[1])

    @property
    def _wanted(self) -> int:
        """Frames that the queue is to hold after a top-up."""
        return self._size if self._deep else math.ceil(1.5 * self._level / TICK) * self._ticks.frames

    @property
    def _queued(self) -> int:
        """Frames that the queue holds, by the clock."""
        ticks = self._ticks
        return max(self._pushed - ticks.gone(ticks.number(self._loop.time())), 0) if ticks.begun else 0

    def _late(self, seconds: float) -> None:
        self._lag = max(seconds, 0.9 * self._lag)

    def _woken(self, late: float) -> None:
        self._wakings.append(late > _TARDY)
        self._late(late)

    @property
    def _busy(self) -> bool:
        """Whether others have what this thread needs, again and again."""
        return sum(self._wakings) > _FEW

    def _account(self) -> None:
        """Counts the ticks that found nothing because the pump was late."""
        if not self._idle and self._ticks.known:
            gone = self._ticks.gone(self._ticks.number(self._loop.time()))
            over = -(-(gone - self._pushed) // self._ticks.frames)
            if over > 0:
                self._gap(over)
                self._ticks.known = not self._deep  # what is captured now may still meet the next tick, or not

    def _gap(self, ticks: int) -> None:
        self._ticks.move(-ticks * self._ticks.frames)
        self._count(ticks)

    def _count(self, ticks: int) -> None:
        self._stats.gaps += 1
        self._stats.gap_seconds += ticks * TICK

    async def _top_up(self) -> None:
        if self._source.silent_until - self._pushed >= _IDLE * self._rate:
            self._idle = True
        elif not self._ticks.known:
            await self._find()
        elif self._deep and (self._doubts or self._loop.time() - self._looked >= _LOOK_EVERY):
            await self._look()
        elif not self._deep and not self._busy and self._loop.time() >= self._again_at:
            await self._try_again()
        elif (frames := self._wanted - self._queued) > 0:
            began = self._loop.time()
            await self._push(frames)
            self._late(self._loop.time() - began)

    async def _push(self, frames: int) -> float:
        """Renders and captures what follows.

        Returns:
            When it was captured.
        """
        if off := self._source.position - self._pushed:  # the source has failed to go where it should
            self._pushed += off
            self._ticks.move(off)
        samples = self._render(frames)
        at = self._loop.time()
        await self._deliver(samples)
        return at

    def _render(self, frames: int) -> _Samples:
        began = time.perf_counter()
        samples = to_int16(self._source.render(frames))
        self._stats.render_seconds += time.perf_counter() - began
        return samples

    async def _deliver(self, samples: _Samples) -> None:
        """Captures a block, again and again until it is taken: what follows is heard whole."""
        wait, most = _RETRY
        failed = False
        while True:
            try:
                await self._queue.capture(samples)
                break
            except Exception as error:
                failed = True
                self._stats.failures += 1
                if self._stats.failures == 1:
                    logger.warning("the room does not take the background; trying again, said once", exc_info=error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, most)
        if failed:
            self._ticks.known = False
            if not self._stats.recoveries:
                logger.warning("the room takes the background again; said once")
            self._stats.recoveries += 1
        sounding = np.flatnonzero(samples)
        if len(sounding):
            self._sounded = self._pushed + int(sounding[-1]) // samples.shape[1] + 1
        self._pushed += len(samples)
        self._stats.captured += len(samples)
        self._source.keep()

    # --- looks at the native clock --------------------------------------------------------------------------------

    async def _find(self) -> bool:
        """Finds out where the queue is, from nothing but a guess at what is in it.

        Returns:
            Whether it could be: a source that was closed takes everything at once.
        """
        ticks = self._ticks
        more = 2 * ticks.frames
        frames = min(max(self._size + more - self._queued, more), self._size + more)
        while more < 2 * self._size:  # more than it holds, all in all
            began = await self._push(frames)
            if self._loop.time() - began > TICK / 2:
                ticks.begin(self._loop.time(), self._pushed - self._size)
                self._doubts, self._agreed = 1, 0
                return True
            frames, more = more, 2 * more
        ticks.begin(self._loop.time(), self._pushed - self._size)
        self._fall_back("the native queue does not keep its time")
        return False

    async def _look(self) -> None:
        """Tops the queue up by a tick more than it is to hold, and sees when that tick is."""
        ticks = self._ticks
        number = ticks.number(self._loop.time())
        frames = self._size + ticks.frames - (self._pushed - ticks.gone(number))
        if frames <= 0:  # one look is still under way
            await asyncio.sleep(ticks.time(number + 1) + _LOOK - self._loop.time())
            return
        samples = self._render(frames)
        await self._see(samples, number, held=self._held())

    async def _see(self, samples: _Samples, number: int, *, held: bool = False) -> None:
        """Captures what makes the queue a tick too large, some time after a tick, and sees whether the next one is
        where it should be; unless the interpreter's lock is held."""
        ticks, loop = self._ticks, self._loop
        began, expected = loop.time(), ticks.time(number + 1)
        # We may be late ourselves: what comes at a time of our own choice tells.
        rung: list[float] = []
        bell = loop.call_at(expected, lambda: rung.append(loop.time()))
        await self._deliver(samples)
        bell.cancel()
        done = loop.time()
        late = done - expected
        own = (rung[0] if rung else done) - expected
        self._late(late)
        self._woken(own)
        held = held or self._held()
        if not ticks.known:
            return
        if held or not ticks.time(number) <= began <= ticks.time(number) + _LOOK_TO or own > _AGREED / 2:
            self._doubts += bool(self._doubts)  # it tells nothing
        elif late < -_AGREED:
            ticks.known, self._doubts, self._agreed = False, 1, 0
        elif late <= _AGREED:
            ticks.seen(done, self._pushed - self._size)
            self._agreed += 1
            if not self._doubts or self._agreed >= _AGREEMENTS:
                self._doubts, self._looked = 0, done
                self._confirm()
        elif round(late / TICK):
            ticks.begin(done, self._pushed - self._size)
            self._doubts, self._agreed = 1, 0

    def _confirm(self) -> None:
        """The clock is known to be right: what has become of the frames since it was last is known as well."""
        silent = self._ticks.confirm()
        if not silent:
            return
        if silent > 0:
            self._count(silent)
        else:
            self._stats.disagreements += 1
        before, self._gap_at = self._gap_at, self._loop.time()
        if self._gap_at - before < _OFTEN:
            self._fall_back("the process is too busy")

    async def _sure(self, attempts: int = _ATTEMPTS // 2) -> bool:
        """Looks until it is known where the queue is; whether that can be done."""
        for _ in range(attempts):
            if self._ticks.known and not self._doubts:
                return True
            await (self._look() if self._ticks.known else self._find())
            if not self._deep:
                return False
        return self._ticks.known and not self._doubts

    # --- answers --------------------------------------------------------------------------------------------------

    async def _answer(self, told: float | None) -> None:
        """Plays what the source makes of a change, or of the end of a silence, as soon as can be."""
        if self._idle:
            self._oversleep()
        elif not self._deep or self._busy:
            self._answered(told, self._ends())
            if self._deep:
                self._fall_back("the process is too busy")
            return
        for _ in range(_ATTEMPTS):
            if not self._idle and not await self._sure():
                break
            number = self._next(self._loop.time() + self._takes)
            frame = self._ticks.gone(number)
            if not self._idle and self._pushed - frame < _SPARE * self._rate:
                break  # what is left is for the time until this can be told
            began = self._loop.time()
            if not self._go(frame):
                break
            samples = self._render(self._wanted + self._ticks.frames)
            self._takes = min(max(self._loop.time() - began + 0.0005, 0.9 * self._takes), _LEAD)
            heard = self._ticks.time(number + 1)  # a look may find another clock
            if await self._swap(samples, frame, number):
                self._answered(told, heard)
                return
        if self._idle:
            self._idle = False
            self._pushed = self._ticks.gone(self._ticks.number(self._loop.time()))
            self._ticks.known = False
        self._go(self._pushed)
        self._answered(told, self._ends())
        self._fall_back("the process is too busy")

    def _next(self, ready: float) -> int:
        """The first tick after which what is ready at a time comes soon enough."""
        ticks = self._ticks
        return max(ticks.number(self._loop.time()), ticks.number(ready - _TO) + 1)

    def _oversleep(self) -> None:
        """Where a silence was to be over already, it is longer by as much."""
        silent = self._source.silent_until
        gone = self._ticks.gone(self._next(self._loop.time() + self._takes))
        if gone > silent:
            self._gap(math.ceil((gone - silent) / self._ticks.frames))

    def _go(self, frame: int) -> bool:
        """Makes a frame the next to be rendered."""
        if frame > self._source.position:
            return self._source.rest(frame)
        return self._source.take_back(frame)

    async def _swap(self, samples: _Samples, frame: int, number: int) -> bool:
        """Puts other samples in place of what the queue holds after a tick.

        Returns:
            Whether there was time for it.
        """
        tick, loop = self._ticks.time(number), self._loop
        if (early := tick + _FROM - loop.time()) > 0:
            await asyncio.sleep(early)
            self._woken(loop.time() - tick - _FROM)
        self._hold_garbage()
        held, now = self._held(), loop.time()
        if held or now - tick > _TO:
            return False
        try:
            self._queue.clear()
        except Exception as error:
            logger.debug("the queue could not be cleared: %r", error)
            return False
        self._pushed = frame
        self._idle = False
        if now - tick > _LOOK_TO:
            self._doubts, self._agreed = 1, 1
        if self._deep:
            await self._see(samples, number)
        else:
            await self._deliver(samples)
        return True

    def _held(self) -> bool:
        """Whether others keep this thread from going on: nothing that is done now is done when it seems to be."""
        asked = self._loop.time()
        time.sleep(_PROBE)
        late = self._loop.time() - asked - _PROBE
        self._woken(late)
        return late > _HELD

    def _hold_garbage(self) -> None:
        """Nothing is collected until this thread waits next: a collection of all takes 50 ms (*measured*, with the
        host's modules), whoever sets it off, and one that comes between the two would be heard."""
        if gc.isenabled():
            gc.disable()
            self._loop.call_soon(gc.enable)

    def _ends(self) -> float:
        """When what the queue holds has gone, and what is rendered next goes."""
        return self._ticks.time(self._ticks.after(self._pushed) + 1)

    def _answered(self, told: float | None, heard: float) -> None:
        """A change is heard from a time on."""
        if told is not None:
            self._stats.answered(heard - told)

    # --- the way back ---------------------------------------------------------------------------------------------

    def _fall_back(self, why: str) -> None:
        now, self._takes = self._loop.time(), _QUICK
        if now - self._again_at > _TRY_AGAIN[1]:
            self._again = _TRY_AGAIN[0]
        self._again_at = now + self._again
        self._again = min(2 * self._again, _TRY_AGAIN[1])
        if not self._deep:
            return
        self._deep = False
        self._stats.fallbacks += 1
        if self._stats.fallbacks == 1:
            logger.warning("the background answers late for a while, said once: %s", why)

    async def _try_again(self) -> None:
        """Whether the clock can be relied on again."""
        self._deep = True
        if not await self._find() or not await self._sure(2 * _ATTEMPTS):
            self._deep = False
            self._fall_back("")
