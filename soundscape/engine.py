"""The engine: the one door to driver and mixer. Facts go in, sound and a log come out; frames are its clock.

What is given out lags behind what is mixed by the look-ahead of the ceiling (1.3 ms): a fact that is posted now counts
from the frame that is mixed next.

**Going back.** Between the frames at which something is decided, everything is a closed form of the frame. So copies of
what driver and mixer know are kept of such frames, some of the last second that was rendered, and all facts; any frame
can be come back to, from the copy before it, and what is rendered from there is the same to the last bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from soundscape.ceiling import Ceiling, Tail
from soundscape.clip import Clip
from soundscape.driver import Driver, Entry
from soundscape.driver.states import FACT_KINDS, Fact, FactKind
from soundscape.exceptions import UsageError
from soundscape.mixer import Mixer
from soundscape.scene import SceneModel

__all__ = ["Engine", "Entry", "Fact", "FactKind"]

HISTORY_SECONDS = 1.0
"""How far back copies are kept, and with them quick to come back to."""

COPY_SECONDS = 0.05
"""How far apart they are, at least."""


class _Copy(NamedTuple):
    frame: int
    facts: int  # how many were taken before it
    driver: Any
    mixer: Any


class Engine:
    """Plays a scene.

    `post` may be called from any thread; everything else belongs to the one thread that renders.

    Args:
        scene: a scene without flaws.
        clips: a clip, at the sample rate, for each of the scene's sources.
        seed: of every draw; the scene's own, else 0, unless given.
        sample_rate: frames per second.
    """

    num_channels = 1

    def __init__(
        self, scene: SceneModel, clips: Mapping[str, Clip], *, seed: int | None = None, sample_rate: int = 48_000
    ) -> None:
        self.sample_rate = sample_rate
        self.seed = (scene.seed or 0) if seed is None else seed
        self.facts: list[tuple[int, Fact]] = []
        """The facts taken so far, each with its frame: what a replay of this run needs."""
        self._driver = Driver(scene, clips, seed=self.seed, sample_rate=sample_rate)
        self._mixer = Mixer(clips)
        self._ceiling = Ceiling(sample_rate)
        self._tail: Tail | None = self._ceiling.start()
        self._posted: deque[tuple[int | None, Fact]] = deque()
        self._pending: list[tuple[int, int, Fact]] = []
        self._count = 0
        self._orders: list[int] = []  # of `facts`, by which those of one frame are told apart
        self._position = 0
        self._mixed = 0
        self._deaf = False  # frames were skipped, of which the mixer knows nothing
        self._copies = deque([self._copy()])
        self._beginning = self._copies[0]

    @property
    def position(self) -> int:
        """The next frame to be rendered."""
        return self._position

    @property
    def log(self) -> list[Entry]:
        """What was decided so far, in order."""
        return self._driver.log

    @property
    def state(self) -> str:
        """The committed state."""
        return self._driver.state

    @property
    def finished(self) -> bool:
        """Whether the scene was closed, its fade is over, and everything that follows is exact silence."""
        over = self._driver.finished and (self._deaf or self._mixer.silent) and not self._posted
        return over and (self._tail is None or not self._tail.mix.any())

    def gain(self, key: str, frame: int | None = None) -> float:
        """Layer gain times layer envelope of a key, linear; 0 where nothing of it sounds.

        Args:
            key: the layer's key.
            frame: the last one mixed unless given; no fact or timer may lie between the two.
        """
        return self._driver.gain(key, max(0, self._mixed - 1) if frame is None else frame)

    def bus_gain(self, bus: str, frame: int | None = None) -> float:
        """The ducks on a bus, multiplied, linear; 1 where none acts.

        Args:
            bus: the bus's name, or `main`.
            frame: as for `gain`.
        """
        return self._driver.bus_gain(bus, max(0, self._mixed - 1) if frame is None else frame)

    def post(self, fact: Fact, at: int | None = None) -> None:
        """Something became true of the session.

        Args:
            fact: what.
            at: the frame; the next one mixed unless given, or if it has passed.

        Raises:
            UsageError: there is no such fact.
        """
        if fact.kind not in FACT_KINDS or (fact.kind == "agent" and not fact.value):
            raise UsageError(f"{fact!r} is no fact: its kind is one of {', '.join(FACT_KINDS)}; an agent has a state")
        self._posted.append((at, fact))

    def render(self, frames: int) -> npt.NDArray[np.float32]:
        """The next frames: float32 `(frames, 1)`, full scale 1; true peak at most -1 dBTP."""
        self._drain()
        tail = self._rebuilt() if self._tail is None else self._tail
        self._tail = None  # should something fail from here on, the next block begins anew
        skipped, ahead = self._position - tail.frame, self._ceiling.ahead
        self._position += frames
        joined = np.zeros(self._position + ahead - self._mixed + ahead, np.float32)
        joined[:ahead] = tail.mix
        self._mix(joined[ahead:])
        self._tail, out = self._ceiling.take(tail, joined)
        return (out[skipped:] if skipped else out).reshape(-1, 1)

    def skip(self, frames: int) -> None:
        """Goes on as `render` does, without the sound: no clip is asked for but for its length."""
        self._drain()
        if frames:
            self._tail, self._deaf = None, True
        self._position += frames
        while self._mixed < self._position:
            self._mixed = self._step(self._position, mixing=False)

    def rewind(self, frame: int) -> None:
        """Goes back: the frames from this one on are rendered again, and what is posted next counts from it on.

        The facts that were taken from there on will be taken again.

        Args:
            frame: one that was rendered or skipped already, or the next.

        Raises:
            UsageError: it was not.
        """
        if not 0 <= frame <= self._position:
            raise UsageError(f"frame {frame} was not rendered yet; the next one is {self._position}")
        self._restore(frame)
        self._position = frame
        self._tail = self._ceiling.start() if frame == 0 else None

    # --- the course of frames -------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Takes what was posted, possibly by other threads, meanwhile."""
        while self._posted:
            at, fact = self._posted.popleft()
            self._count += 1
            heappush(self._pending, (self._mixed if at is None else max(at, self._mixed), self._count, fact))

    def _mix(self, out: npt.NDArray[np.float32]) -> None:
        """Adds the next frames of the mix to float32 `(frames,)`."""
        first = self._mixed
        end = first + len(out)
        while self._mixed < end:
            here = self._mixed
            self._mixed = stop = self._step(end)
            self._mixer.render(here, stop, out if stop - here == len(out) else out[here - first : stop - first])

    def _step(self, end: int, *, mixing: bool = True) -> int:
        """Takes what is due at the present frame.

        Args:
            end: a frame after it.
            mixing: whether the mixer is told, and a copy of what is known before is kept now and then.

        Returns:
            The frame up to which nothing else is due, `end` at most.
        """
        here, pending, driver = self._mixed, self._pending, self._driver
        if driver.due <= here or (pending and pending[0][0] <= here):
            if mixing and here - self._copies[-1].frame >= COPY_SECONDS * self.sample_rate:
                self._keep()
            facts: list[Fact] = []
            while pending and pending[0][0] <= here:
                _, order, fact = heappop(pending)
                facts.append(fact)
                self.facts.append((here, fact))
                self._orders.append(order)
            cues = driver.step(here, facts)
            if mixing:
                self._mixer.apply(cues)
        if pending:
            end = min(end, pending[0][0])
        return end if end <= driver.due else int(driver.due)

    # --- the way back ---------------------------------------------------------------------------------------------

    def _copy(self) -> _Copy:
        return _Copy(self._mixed, len(self.facts), self._driver.snapshot(), self._mixer.snapshot())

    def _keep(self) -> None:
        horizon = self._mixed - HISTORY_SECONDS * self.sample_rate
        while len(self._copies) > 1 and self._copies[1].frame <= horizon:
            self._copies.popleft()
        self._copies.append(self._copy())

    def _restore(self, frame: int) -> None:
        """Makes a frame, before or at the one that is mixed next, the one that is mixed next."""
        while len(self._copies) > 1 and self._copies[-1].frame > frame:
            self._copies.pop()
        copy = self._copies[-1] if self._copies[-1].frame <= frame else self._beginning
        self._copies = deque([copy]) if copy is self._beginning else self._copies
        for (at, fact), order in zip(self.facts[copy.facts :], self._orders[copy.facts :], strict=True):
            heappush(self._pending, (at, order, fact))
        del self.facts[copy.facts :], self._orders[copy.facts :]
        self._driver.restore(copy.driver)
        self._mixer.restore(copy.mixer)
        self._mixed, self._deaf = copy.frame, False
        while self._mixed < frame:
            self._mixed = self._step(frame)

    def _rebuilt(self) -> Tail:
        """What the ceiling knows at the present frame, of frames that were not mixed on the way here: as many of them
        are mixed now as it looks back on."""
        begin = max(0, self._position - self._ceiling.behind)
        if self._deaf or begin < self._mixed:
            self._restore(begin)
        mix = np.zeros(self._position - begin, np.float32)
        self._mix(mix)
        return self._ceiling.push(self._ceiling.start(begin), mix)[0]
