"""The engine: the one door to driver and mixer. Facts go in, sound and a log come out; frames are its clock.

What is given out lags behind what is mixed by the look-ahead of the ceiling (1.3 ms): a fact that is posted now counts
from the frame that is mixed next.

**Going back.** Between the frames at which something is decided, everything is a closed form of the frame. So copies of
what driver and mixer know are kept of such frames, some of the last second that was rendered, and all facts; any frame
can be come back to, from the copy before it, and what is rendered from there is the same to the last bit.

An output that has rendered ahead of what is heard goes back to answer a fact at once (`take_back`): facts that were
posted for no frame in particular are then taken as early as what was heard allows, wherever they were taken before.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from soundscape.ceiling import Ceiling, Tail
from soundscape.clip import Clip
from soundscape.driver import Driver, Entry
from soundscape.driver.facts import Fact, FactKind, Moment, Piece, SetGain, Switch, flaw
from soundscape.driver.scenery import Scenery
from soundscape.exceptions import UsageError
from soundscape.mixer import Mixer
from soundscape.scene import SceneModel

__all__ = ["Engine", "Entry", "Fact", "FactKind", "Moment", "Piece", "Scenery", "SetGain", "Switch"]

HISTORY_SECONDS = 1.0
"""How far back copies are kept, and with them quick to come back to."""

COPY_SECONDS = 0.05
"""How far apart they are, at least."""


class _Taken(NamedTuple):
    """How a fact came to be taken where it was."""

    order: int  # by which facts of one frame are told apart
    now: bool  # it was posted for no frame in particular
    kept: int | None = None  # the frame at which it was taken in what will be heard


class _Copy(NamedTuple):
    frame: int
    facts: int  # how many were taken before it, ever
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
        history: seconds for which facts and log are kept at least, 1 or more; all of them unless given. What is older
            goes now and then, and with it the way back there: a call that lasts for days needs no more than an hour's.
    """

    num_channels = 1

    def __init__(
        self,
        scene: SceneModel,
        clips: Mapping[str, Clip],
        *,
        seed: int | None = None,
        sample_rate: int = 48_000,
        history: float = math.inf,
    ) -> None:
        self.sample_rate = sample_rate
        self.seed = (scene.seed or 0) if seed is None else seed
        self.facts: list[tuple[int, Fact]] = []
        """The facts taken so far, each with its frame: what a replay of this run needs."""
        self._history = history
        self._forgotten = 0  # how many facts were taken before these
        self._kept_from = 0  # the frame since which they are
        self._driver = Driver(scene, clips, seed=self.seed, sample_rate=sample_rate)
        self._mixer = Mixer()
        self._ceiling = Ceiling(sample_rate)
        self._tail: Tail | None = self._ceiling.start()
        self._posted: deque[tuple[int | None, Fact]] = deque()
        self._pending: list[tuple[int, _Taken, Fact]] = []
        self._count = 0
        self._taken: list[_Taken] = []  # of `facts`
        self._position = 0
        self._mixed = 0
        self._earliest = 0  # the frame from which on a fact can still be heard
        self._unkept = 0  # facts before it stay where they were taken
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

    def moment_ends(self, number: int) -> float | None:
        """The frame at which a sound of the moment is over, infinite where it goes on; None before it has begun. From
        any thread: while the engine goes back it may seem not to have begun."""
        return self._driver.moments.get(number)

    def moment_fed(self, number: int) -> tuple[float, int] | None:
        """The frame up to which a sound of the moment was fed, and with how many; None where it does not sound. From
        any thread: while the engine goes back it may be another."""
        return self._driver.fed(number)

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
        """Something became true of the session, or was asked for.

        Args:
            fact: what.
            at: the frame; the next one mixed unless given, or if it has passed.

        Raises:
            UsageError: there is no such fact.
        """
        if wrong := flaw(fact):
            raise UsageError(f"{fact!r} is no fact: {wrong}")
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

    @property
    def silent_until(self) -> float:
        """Up to which frame everything is exact silence, unless something is posted; infinite where for ever.

        The present position where that is not known.
        """
        tail = self._tail
        if tail is None or not self._mixer.silent or tail.mix.any() or (tail.needs is not None and tail.needs.any()):
            return self._position
        due = min(self._driver.due, self._pending[0][0] if self._pending else math.inf)
        return max(self._position, due - self._ceiling.ahead)

    def rest(self, frame: int) -> None:
        """Goes on to a frame through silence, which costs nothing. What was posted meanwhile counts from there on.

        Raises:
            UsageError: not all that is before it is known to be silent, or it lies behind.
        """
        if not self._position <= frame <= self.silent_until:
            raise UsageError(f"no silence is known of between frame {self._position} and {frame}")
        if frame > self._position:
            self._position, self._mixed = frame, frame + self._ceiling.ahead
            self._tail = self._ceiling.start(self._mixed)

    def skip(self, frames: int) -> None:
        """Goes on as `render` does, without the sound: no clip is asked for but for its length."""
        self._drain()
        if frames:
            self._tail, self._deaf = None, True
        self._position += frames
        while self._mixed < self._position:
            self._mixed = self._step(self._position, mixing=False)

    def rewind(self, frame: int) -> None:
        """Goes back: the frames from this one on are rendered again. The facts that were taken from there on will be
        taken again, where they were; what is posted next counts from the first frame at which it can without a change
        to what was given out before.

        Args:
            frame: one that was rendered or skipped already, or the next.

        Raises:
            UsageError: it was not.
        """
        self._check(frame)
        self._unkept = min(self._unkept, frame)
        self._back(frame)
        self._go_on(frame)

    def keep(self) -> None:
        """What was rendered so far will be heard, but for what is taken back: see `take_back`."""
        for i in range(len(self.facts) - 1, -1, -1):
            frame = self.facts[i][0]
            if frame < self._unkept:
                break
            self._taken[i] = self._taken[i]._replace(kept=frame)
        self._unkept = self._mixed

    def take_back(self, frame: int) -> None:
        """Goes back, as `rewind` does, to answer what was posted: nobody has heard the frames from this one on, or ever
        will.

        Of the facts that were posted for no frame in particular, those that what is heard tells of stay where they
        were kept; all others are as if they were posted now. So it may be tried again, further on, when what was
        rendered comes too late to be heard; and given up, by taking back what follows all that was kept.

        Args:
            frame: as for `rewind`.

        Raises:
            UsageError: it was not rendered yet.
        """
        self._check(frame)
        audible = self._audible(frame)

        def placed(at: int, taken: _Taken) -> int:
            if not taken.now:
                return at
            return audible if taken.kept is None else min(taken.kept, audible)

        first = frame
        for (at, _), taken in zip(reversed(self.facts), reversed(self._taken), strict=True):
            if at < min(frame, self._unkept):
                break
            if (place := placed(at, taken)) != at:
                first = min(first, at, place)
        self._unkept = min(self._unkept, first)
        self._back(first)
        self._pending = [(placed(at, taken), taken, fact) for at, taken, fact in self._pending]
        heapify(self._pending)
        self._go_on(frame)

    def _check(self, frame: int) -> None:
        if not 0 <= frame <= self._position:
            raise UsageError(f"frame {frame} was not rendered yet; the next one is {self._position}")
        if frame < self._beginning.frame:
            raise UsageError(f"frame {frame} is forgotten; what is known begins with {self._beginning.frame}")

    def _go_on(self, frame: int) -> None:
        """From where the present is to a frame, the next to be rendered."""
        self._forward(frame)
        self._position, self._earliest = frame, self._audible(frame)
        self._tail = self._ceiling.start() if frame == 0 else None

    # --- the course of frames -------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Takes what was posted, possibly by other threads, meanwhile."""
        while self._posted:
            at, fact = self._posted.popleft()
            self._count += 1
            frame = max(self._mixed, self._earliest) if at is None else max(at, self._mixed)
            heappush(self._pending, (frame, _Taken(self._count, at is None), fact))

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
                _, taken, fact = heappop(pending)
                facts.append(fact)
                self.facts.append((here, fact))
                self._taken.append(taken)
            cues = driver.step(here, facts)
            if mixing:
                self._mixer.apply(cues)
        if pending:
            end = min(end, pending[0][0])
        return end if end <= driver.due else int(driver.due)

    # --- the way back ---------------------------------------------------------------------------------------------

    def _copy(self) -> _Copy:
        facts = self._forgotten + len(self.facts)
        return _Copy(self._mixed, facts, self._driver.snapshot(), self._mixer.snapshot())

    def _keep(self) -> None:
        horizon = self._mixed - HISTORY_SECONDS * self.sample_rate
        while len(self._copies) > 1 and self._copies[1].frame <= horizon:
            self._copies.popleft()
        self._copies.append(self._copy())
        history = self._history * self.sample_rate
        if self._mixed - self._kept_from > 2 * history:
            self._forget(min(self._mixed - int(history), self._copies[0].frame))

    def _forget(self, frame: int) -> None:
        """Lets go of facts and log entries before a frame that none of the copies is behind."""
        self._kept_from, self._beginning = frame, self._copies[0]
        count = min(bisect_left(self.facts, frame, key=itemgetter(0)), self._beginning.facts - self._forgotten)
        self._forgotten += count
        del self.facts[:count], self._taken[:count]
        self._driver.forget(frame)

    def _audible(self, frame: int) -> int:
        """The first frame at which a fact leaves alone all that is given out before a frame."""
        return frame + self._ceiling.ahead if frame else 0

    def _restore(self, frame: int) -> None:
        """Makes a frame, before or at the one that is mixed next, the one that is mixed next."""
        self._back(frame)
        self._forward(frame)

    def _back(self, frame: int) -> None:
        """To the copy before a frame: what was taken since is pending again."""
        while len(self._copies) > 1 and self._copies[-1].frame > frame:
            self._copies.pop()
        copy = self._copies[-1] if self._copies[-1].frame <= frame else self._beginning
        self._copies = deque([copy]) if copy is self._beginning else self._copies
        count = copy.facts - self._forgotten
        for (at, fact), taken in zip(self.facts[count:], self._taken[count:], strict=True):
            heappush(self._pending, (at, taken, fact))
        del self.facts[count:], self._taken[count:]
        self._driver.restore(copy.driver)
        self._mixer.restore(copy.mixer)
        self._mixed, self._deaf = copy.frame, False

    def _forward(self, frame: int) -> None:
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
