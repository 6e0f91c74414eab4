"""The pump: keeps a native queue filled from a source, deep enough to bridge what a busy process does to it, and takes
back what is not heard yet when something changes.

**Filling.** Now and then the queue is topped up (`Feed`), every other second with a look at its clock (`Watch`): so it
is known to the frame what has gone, and nothing is captured, and nothing waits, when a change comes.

**Answering.** On a change the source is taken back to the frame that a tick to come will begin with, and rendered again
from there; just after the tick before it the queue is cleared and the new sound captured. Between these two nothing may
come, and a tick least of all: so all is rendered before, and it is only done with most of the 10 ms left, by a thread
that is not kept from going on. What comes too late is tried again a tick further on.

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
from collections.abc import Callable

from soundscape.outputs import SafeSource, Stats
from soundscape.outputs.feed import Feed, Queue, Samples
from soundscape.outputs.ticks import TICK, Ticks
from soundscape.outputs.watch import LOOK, LOOK_TO, Watch

__all__ = ["Pump"]

logger = logging.getLogger("soundscape")

_LOW = 0.4  # seconds in the queue at which it is topped up: 5 captures a second
_IDLE = 0.5  # seconds of silence ahead that are worth to stop for
_LEAD = 0.1  # seconds before the end of such silence

_FROM, _TO = 0.002, 0.007
"""When to clear and capture, from the tick on: it comes late now and then, the next one up to 2.5 ms early where the
clock was just found, and both take 0.6 ms (*measured*)."""

_QUICK = 0.002  # seconds to render an answer, until it is known better

_ATTEMPTS = 8
_SHALLOW = (0.35, _LOW)
"""Seconds kept in the queue while nothing is taken back: who is late now will be later, and LiveKit's own player has
no more."""

_TRY_AGAIN = (1.0, 20.0)
_SPARE = 0.2  # seconds that are left in the queue when an answer is given up


class Pump:
    """Pumps one source into one native queue, on one event loop.

    Args:
        source: what is rendered.
        queue: the native queue, empty, of `DEEP_MS`.
        stats: where it is counted.
        pause: gives the interpreter's lock away and comes back after so many seconds.
    """

    def __init__(
        self, source: SafeSource, queue: Queue, stats: Stats, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        rate = source.sample_rate
        self._source = source
        self._stats = stats
        self._rate = rate
        self._ticks = Ticks(rate // 100)
        self._feed = Feed(source, queue, stats, self._ticks)
        self._watch = Watch(self._feed, self._ticks, stats, self._fall_back, pause)
        self._told: float | None = None  # when the first change was that is not answered yet
        self._waking: asyncio.Future[None] | None = None
        self._deep = True
        self._idle = False
        self._owing = False  # whether a change is to come with what is rendered next
        self._takes = _QUICK  # how long an answer takes to render
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
        return gone if self._idle else min(gone, self._feed.pushed)

    async def run(self) -> None:
        """Pumps until the source has finished and its last sound has gone."""
        began = self._loop.time()
        await self._watch.find()
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
        await asyncio.sleep(self._ticks.time(self._ticks.after(self._feed.sounded) + 1) - self._loop.time())

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
            self._watch.woken(self._loop.time() - due)

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
        due = ticks.time(ticks.after(self._feed.pushed - self._level * self._rate)) + LOOK
        return min(due, self._watch.soon) if self._watch.doubts and self._deep else due

    @property
    def _level(self) -> float:
        """Seconds that are kept in the queue."""
        return _LOW if self._deep else min(max(3 * self._watch.lag + 0.04, _SHALLOW[0]), _SHALLOW[1])

    @property
    def _wanted(self) -> int:
        """Frames that the queue is to hold after a top-up."""
        return self._feed.size if self._deep else math.ceil(1.5 * self._level / TICK) * self._ticks.frames

    def _account(self) -> None:
        """Counts the ticks that found nothing because the pump was late."""
        if not self._idle and self._ticks.known:
            gone = self._ticks.gone(self._ticks.number(self._loop.time()))
            over = -(-(gone - self._feed.pushed) // self._ticks.frames)
            if over > 0:
                self._gap(over)
                self._ticks.known = not self._deep  # what is captured now may still meet the next tick, or not

    def _gap(self, ticks: int) -> None:
        self._ticks.move(-ticks * self._ticks.frames)
        self._stats.missed(ticks * TICK)

    async def _top_up(self) -> None:
        if not self._ticks.known:
            await self._watch.find()
        elif not self._owing and self._source.silent_until - self._feed.pushed >= _IDLE * self._rate:
            self._idle = True
        elif self._deep and self._watch.due:
            await self._watch.look()
        elif not self._deep and not self._watch.busy and self._loop.time() >= self._again_at:
            await self._try_again()
        elif (frames := self._wanted - self._feed.queued) > 0:
            began, self._owing = self._loop.time(), False
            await self._feed.push(frames)
            self._watch.late(self._loop.time() - began)

    async def _sure(self, attempts: int = _ATTEMPTS // 2) -> bool:
        """Looks until it is known where the queue is; whether that can be done."""
        for _ in range(attempts):
            if self._watch.sure:
                return True
            self._account()
            await (self._watch.look() if self._ticks.known else self._watch.find())
            if not self._deep:
                return False
        return self._watch.sure

    # --- answers --------------------------------------------------------------------------------------------------

    async def _answer(self, told: float | None) -> None:
        """Plays what the source makes of a change, or of the end of a silence, as soon as can be."""
        if self._idle:
            self._oversleep()
        elif not self._deep or self._watch.busy:
            self._owe(told)
            if self._deep:
                self._fall_back("the process is too busy")
            return
        for _ in range(_ATTEMPTS):
            if not self._idle and not await self._sure():
                break
            number = self._next(self._loop.time() + self._takes)
            frame = self._ticks.gone(number)
            if not self._idle and self._feed.pushed - frame < _SPARE * self._rate:
                break  # what is left is for the time until this can be told
            began = self._loop.time()
            if not self._go(frame):
                break
            samples = self._feed.render(self._wanted + self._ticks.frames)
            self._takes = min(max(self._loop.time() - began + 0.0005, 0.9 * self._takes), _LEAD)
            heard = self._ticks.time(number + 1)  # a look may find another clock
            if await self._swap(samples, frame, number):
                self._answered(told, heard)
                return
        if self._idle:
            self._idle = False
            self._feed.pushed = self._ticks.gone(self._ticks.number(self._loop.time()))
            self._ticks.known = False
        self._go(self._feed.pushed)
        self._owe(told)
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

    async def _swap(self, samples: Samples, frame: int, number: int) -> bool:
        """Puts other samples in place of what the queue holds after a tick.

        Returns:
            Whether there was time for it.
        """
        tick, loop = self._ticks.time(number), self._loop
        if (early := tick + _FROM - loop.time()) > 0:
            await asyncio.sleep(early)
            self._watch.woken(loop.time() - tick - _FROM)
        self._hold_garbage()
        held, now = self._watch.held(), loop.time()
        if held or now - tick > _TO:
            return False
        if not self._feed.clear(frame):
            return False
        self._idle = self._owing = False
        if now - tick > LOOK_TO:
            self._watch.doubt(agreed=1)
        if self._deep:
            await self._watch.see(samples, number)
        else:
            await self._feed.deliver(samples)
        return True

    def _hold_garbage(self) -> None:
        """Nothing is collected until this thread waits next: a collection of all takes 50 ms (*measured*, with the
        host's modules), whoever sets it off, and one that comes between the two would be heard."""
        if gc.isenabled():
            gc.disable()
            self._loop.call_soon(gc.enable)

    def _owe(self, told: float | None) -> None:
        """A change comes with what is rendered next, as soon as what the queue holds has gone. Until then what the
        source knows of silence may be over."""
        self._owing = True
        self._answered(told, self._ticks.time(self._ticks.after(self._feed.pushed) + 1))

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
            logger.warning("the background answers late for a while, said once: %s", why, extra={"reason": why})

    async def _try_again(self) -> None:
        """Whether the clock can be relied on again."""
        self._deep = True
        if not await self._watch.find() or not await self._sure(2 * _ATTEMPTS):
            self._deep = False
            self._fall_back("")
