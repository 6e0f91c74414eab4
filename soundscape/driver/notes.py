"""What the parts of the driver write down together: the present frame, the cues and log entries of it, and timers."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable
from typing import Literal, NamedTuple

from soundscape.cues import Cue, to_frames

__all__ = ["Action", "Entry", "Notes"]

Action = Literal[
    "commit", "settle", "cancel", "arm", "hold", "start", "level", "revive", "release", "shot", "skip"
]  # fmt: skip


class Entry(NamedTuple):
    """A line of the log: what the driver decided at a frame.

    Attributes:
        at: seconds.
        frame: the same in frames.
        action: what was done.
        key: the layer's key; of a commit, a settling and its cancellation the state.
        gain_from: linear layer gain before it.
        gain_to: linear layer gain it leads to.
        duration: seconds it takes; of arm, hold and settle the time that is left.
        clip: the source as written.
    """

    at: float
    frame: int
    action: Action
    key: str
    gain_from: float = 0.0
    gain_to: float = 0.0
    duration: float = 0.0
    clip: str = ""


class Notes:
    """The present frame, what is written down at it, and what is to be done later.

    A timer is known by its owner and by what it is for: a playback's number, a layer's key or the like, and a word.

    Args:
        sample_rate: frames per second.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.frame = 0
        self.cues: list[Cue] = []
        self.entries: list[Entry] = []
        self.timers: dict[tuple[Hashable, str], tuple[int, int]] = {}
        """Due frame and order of insertion."""
        self.count = 0

    def begin(self, frame: int) -> None:
        """Turns to a frame."""
        self.frame = frame
        self.cues, self.entries = [], []

    def frames(self, seconds: float) -> int:
        """Seconds as the nearest number of frames."""
        return to_frames(seconds, self.sample_rate)

    def log(
        self,
        action: Action,
        key: str,
        gain_from: float = 0.0,
        gain_to: float = 0.0,
        duration: int = 0,
        clip: str = "",
    ) -> None:
        """Writes down what was decided; the duration in frames."""
        at, seconds = self.frame / self.sample_rate, duration / self.sample_rate
        self.entries.append(Entry(at, self.frame, action, key, gain_from, gain_to, seconds, clip))

    def number(self) -> int:
        """A number that was not given before."""
        self.count += 1
        return self.count

    def set_timer(self, owner: Hashable, what: str, due: int) -> None:
        """Sets a timer, in place of the one of the same owner and purpose."""
        self.timers[owner, what] = (due, self.number())

    def drop_timer(self, owner: Hashable, *whats: str) -> bool:
        """Drops timers of an owner.

        Returns:
            Whether there was one.
        """
        return any([self.timers.pop((owner, what), None) is not None for what in whats])

    def ready(self, whats: Collection[str]) -> tuple[Hashable, str] | None:
        """Takes the first of the timers for these purposes that are due, in the order of frame and insertion."""
        first: tuple[tuple[int, int], tuple[Hashable, str]] | None = None
        for timer, at in self.timers.items():
            if at[0] <= self.frame and timer[1] in whats and (first is None or at < first[0]):
                first = at, timer
        if first is None:
            return None
        del self.timers[first[1]]
        return first[1]

    @property
    def due(self) -> float:
        """The frame of the next timer; infinite where there is none."""
        return min(self.timers.values())[0] if self.timers else math.inf
