"""The watch on a native queue's clock, and on the thread that keeps it.

**The clock.** LiveKit's native source takes 10 ms out of its queue at each tick of a clock of its own, and sends
silence where there is less. It does not say where it is. But a capture that leaves more than the queue's size in it
completes at the tick that brings it down to that: then a tick has just been, and what has gone is known to the frame.
From there the clock goes on by itself (`Ticks`). Each answer, and a top-up every other second, exceeds the size by a
tick, and is another look. A tick that found less than it takes sent silence in our stead: the next look shows it.

**The thread.** A look that is late itself tells nothing, and who wakes up late again and again can keep no clock at
all. The interpreter's lock may be in other hands at any moment: giving it away and asking for it back says how long
that takes now.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from itertools import zip_longest

from soundscape.outputs import Stats
from soundscape.outputs.feed import Feed, Samples
from soundscape.outputs.ticks import TICK, Ticks

__all__ = ["LOOK", "LOOK_TO", "Watch"]

LOOK, LOOK_TO = 0.002, 0.005
"""A look begins so long after a tick: late enough for a tick that is late, early enough to tell the next one from an
answer at once."""

_LOOK_EVERY = 2.0
"""Seconds between looks. A capture that waits is woken by all that happens to any track of the process: where a hundred
wait, each costs a hundred times as much."""

_AGREED = 0.0025  # how far a look's tick may be from where it was believed to be

_AGREEMENTS = 2
"""Looks that must agree on a clock that was found anew: one may agree by chance where all comes late."""

_PROBE, _HELD = 0.0001, 0.0007
"""A sleep so short, and how late it ends at least where others have the interpreter's lock, which they keep for 5 ms
(`sys.getswitchinterval()`), or the processor."""

_TARDY = 0.003
_WAKINGS, _FEW = 32, 2
"""Who wakes up so late, more than a few times of so many, is not to clear anything: between that and the capture it may
not be its turn either."""

_BEGINNING = 1.0  # seconds in which a call is set up, and all is late: they tell nothing about what follows

_OFTEN = 60.0  # seconds from one gap to the next that are no mere hiccups of the machine


class Watch:
    """Keeps the clock of one native queue right.

    Args:
        feed: what fills the queue.
        ticks: the queue's clock.
        stats: where it is counted.
        give_up: called, with the reason, where the clock cannot be relied on.
        pause: gives the interpreter's lock away and comes back after so many seconds.

    Attributes:
        doubts: how often the clock was looked at, since it was last known to be right; 0 while it is.
        lag: the latest delays, seconds, the largest of them.
    """

    def __init__(
        self,
        feed: Feed,
        ticks: Ticks,
        stats: Stats,
        give_up: Callable[[str], None],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.doubts = 0
        self.lag = 0.0
        self._feed = feed
        self._ticks = ticks
        self._stats = stats
        self._give_up = give_up
        self._pause = pause
        self._agreed = 0  # how many looks in a row have found it right
        self._looked = 0.0  # when it was last known to be right
        self._gap_at = -math.inf
        self._wakings: deque[bool] = deque(maxlen=_WAKINGS)  # the last ones, whether they were late
        self._loop = asyncio.get_running_loop()
        self._began, self._beginning = self._loop.time(), True

    # --- the clock ------------------------------------------------------------------------------------------------

    @property
    def sure(self) -> bool:
        """Whether it is known where the queue is."""
        return self._ticks.known and not self.doubts

    @property
    def due(self) -> bool:
        """Whether it is time for another look."""
        return bool(self.doubts) or self._loop.time() - self._looked >= _LOOK_EVERY

    @property
    def soon(self) -> float:
        """When to look again while in doubt. Soon, but less and less so: a process that is too busy to look is not to
        be kept busy by it."""
        ticks = self._ticks
        return ticks.time(ticks.number(self._loop.time()) + 2 ** min(self.doubts, 10) // 2) + LOOK

    def doubt(self, *, agreed: int = 0) -> None:
        """The clock may not be right: so many looks have agreed on it, and others have to."""
        self.doubts, self._agreed = 1, agreed

    async def find(self) -> bool:
        """Finds out where the queue is, from nothing but a guess at what is in it.

        Returns:
            Whether it could be: a source that was closed takes everything at once.
        """
        ticks, feed = self._ticks, self._feed
        more = 2 * ticks.frames
        frames = min(max(feed.size + more - feed.queued, more), feed.size + more)
        while more < 2 * feed.size:  # more than it holds, all in all
            asked = self._loop.time()
            began = await feed.push(frames)
            if self._loop.time() - began > TICK / 2:
                ticks.begin(self._loop.time(), feed.pushed - feed.size)
                self.doubt()
                return True
            # Slow to render, it would run dry by and by.
            frames, more = more + int((self._loop.time() - asked) / TICK) * ticks.frames, 2 * more
        ticks.begin(self._loop.time(), feed.pushed - feed.size)
        self._give_up("the native queue does not keep its time")
        return False

    async def look(self) -> None:
        """Tops the queue up by a tick more than it is to hold, and sees when that tick is."""
        ticks, feed = self._ticks, self._feed
        number = ticks.number(self._loop.time())
        frames = feed.size + ticks.frames - (feed.pushed - ticks.gone(number))
        if frames <= 0:  # one look is still under way
            await asyncio.sleep(ticks.time(number + 1) + LOOK - self._loop.time())
            return
        samples = feed.render(frames)
        await self.see(samples, number, held=self.held())

    async def see(self, samples: Samples, number: int, *, held: bool = False) -> None:
        """Captures what makes the queue a tick too large, some time after a tick, and sees whether the next one is
        where it should be; unless the interpreter's lock is held."""
        ticks, loop = self._ticks, self._loop
        began, expected = loop.time(), ticks.time(number + 1)
        # We may be late ourselves: what comes at a time of our own choice tells. In doubt there is another, so early
        # that it does not pass for punctual where one late wake-up brings it and the tick alike.
        dues = (expected - 2 * _AGREED, expected) if self.doubts else (expected,)
        rung: list[float] = []
        bells = [loop.call_at(due, lambda: rung.append(loop.time())) for due in dues]
        await self._feed.deliver(samples)
        for bell in bells:
            bell.cancel()
        done = loop.time()
        late = done - expected
        own = max(at - due for at, due in zip_longest(rung, dues, fillvalue=done))
        self.late(late)
        self.woken(own)
        held = held or self.held()
        if not ticks.known:
            return
        if held or not ticks.time(number) <= began <= ticks.time(number) + LOOK_TO or own > _AGREED / 2:
            self.doubts += bool(self.doubts)  # it tells nothing
        elif late < -_AGREED:
            ticks.known = False
            self.doubt()
        elif late <= _AGREED:
            ticks.seen(done, self._feed.pushed - self._feed.size)
            self._agreed += 1
            if not self.doubts or self._agreed >= _AGREEMENTS:
                self.doubts, self._looked = 0, done
                self._confirm()
        elif round(late / TICK):
            ticks.begin(done, self._feed.pushed - self._feed.size)
            self.doubt()

    def _confirm(self) -> None:
        """The clock is known to be right: what has become of the frames since it was last is known as well."""
        silent = self._ticks.confirm()
        if not silent:
            return
        if silent > 0:
            self._stats.missed(silent * TICK)
        else:
            self._stats.disagreements += 1
        before, self._gap_at = self._gap_at, self._loop.time()
        if self._gap_at - before < _OFTEN:
            self._give_up("the process is too busy")

    # --- the thread -----------------------------------------------------------------------------------------------

    def late(self, seconds: float) -> None:
        """Something was done so late."""
        self.lag = max(seconds, 0.9 * self.lag)

    def woken(self, late: float) -> None:
        """This thread woke up so many seconds late."""
        if self._beginning and self._loop.time() - self._began > _BEGINNING:
            self._beginning = False
            self._wakings.clear()
        self._wakings.append(late > _TARDY)
        self.late(late)

    @property
    def busy(self) -> bool:
        """Whether others have what this thread needs, again and again."""
        return sum(self._wakings) > _FEW

    def held(self) -> bool:
        """Whether others keep this thread from going on: nothing that is done now is done when it seems to be."""
        asked = self._loop.time()
        self._pause(_PROBE)
        late = self._loop.time() - asked - _PROBE
        self.woken(late)
        return late > _HELD
