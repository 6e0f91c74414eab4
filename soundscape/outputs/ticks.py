"""The clock of a native queue: which frames have gone when.

LiveKit's native source takes 10 ms out of its queue at each tick of a clock of its own, without drift, and sends
silence where there is less. What is known of it are single ticks that were seen, and how many frames had gone then; in
between the clock goes on by itself.
"""

from __future__ import annotations

import math
from collections import deque

__all__ = ["TICK", "Ticks"]

TICK = 0.01
"""Seconds."""


class Ticks:
    """The clock of a native queue, by which frames go.

    Args:
        frames: how many go at a tick.
    """

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.begun = False  # whether one was ever seen
        self.known = False  # whether it is sure which frames go
        self._origin = 0.0  # the time of tick 0
        self._base = 0  # what has gone after it
        self._seen: deque[float] = deque(maxlen=32)
        self._confirmed: tuple[float, int] | None = None

    def number(self, at: float) -> int:
        """The last tick at a time."""
        return math.floor((at - self._origin) / TICK)

    def time(self, number: int) -> float:
        """When a tick is."""
        return self._origin + number * TICK

    def gone(self, number: int) -> int:
        """How many frames have gone once a tick has been: the next one takes that frame and those that follow."""
        return self._base + number * self.frames

    def after(self, frame: float) -> int:
        """The first tick once it has been all frames before this one have gone."""
        return math.ceil((frame - self._base) / self.frames)

    def begin(self, at: float, gone: int) -> None:
        """A tick was seen for the first time."""
        self.begun, self.known, self._origin, self._base = True, True, at, gone
        self._seen.clear()
        self._seen.append(at)

    def seen(self, at: float, gone: int) -> None:
        """A tick was seen where it was believed to be. Whoever sees it is late now and then, never early."""
        self._seen.append(at - (gone - self._base) // self.frames * TICK)
        self._origin = min(self._seen)

    def confirm(self) -> int:
        """The clock is right.

        Returns:
            How many ticks took nothing since the last time that this was known; fewer than none: so many took frames
            that others had been put in the place of.
        """
        origin, base = self._confirmed or (self._origin, self._base)
        self._confirmed = self._origin, self._base
        later = (self._origin - origin) / TICK * self.frames
        return round((base - self._base + later) / self.frames)

    def move(self, frames: int) -> None:
        """What goes is other frames than it was believed, by so many."""
        self._base += frames
        if self._confirmed is not None:
            self._confirmed = self._confirmed[0], self._confirmed[1] + frames
