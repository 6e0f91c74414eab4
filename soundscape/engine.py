"""The engine: the one door to driver and mixer. Facts go in, sound and a log come out; frames are its clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt

from soundscape.clip import Clip
from soundscape.driver import Driver, Entry
from soundscape.driver.states import Fact, FactKind
from soundscape.mixer import Mixer
from soundscape.scene import SceneModel

__all__ = ["Engine", "Entry", "Fact", "FactKind"]


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
        self._driver = Driver(scene, clips, seed=self.seed, sample_rate=sample_rate)
        self._mixer = Mixer(clips)
        self._posted: deque[tuple[int | None, Fact]] = deque()
        self._pending: list[tuple[int, int, Fact]] = []
        self.facts: list[tuple[int, Fact]] = []
        """The facts taken so far, each with its frame: what a replay of this run needs."""
        self._position = 0
        self._count = 0

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
        return self._driver.finished and self._mixer.silent and not self._posted

    def gain(self, key: str, frame: int | None = None) -> float:
        """Layer gain times layer envelope of a key, linear; 0 where nothing of it sounds.

        Args:
            key: the layer's key.
            frame: the last one rendered unless given; no fact or timer may lie between the two.
        """
        return self._driver.gain(key, max(0, self._position - 1) if frame is None else frame)

    def post(self, fact: Fact, at: int | None = None) -> None:
        """Something became true of the session.

        Args:
            fact: what.
            at: the frame; the next one rendered unless given, or if it has passed.
        """
        self._posted.append((at, fact))

    def render(self, frames: int) -> npt.NDArray[np.float32]:
        """The next frames: float32 `(frames, 1)`, full scale 1, not clipped."""
        end = self._position + frames
        blocks = []
        while self._position < end:
            stop = self._step(end)
            blocks.append(self._mixer.render(self._position, stop))
            self._position = stop
        block = blocks[0] if len(blocks) == 1 else np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
        return block.reshape(-1, 1)

    def skip(self, frames: int) -> None:
        """Goes on as `render` does, without the sound: no clip is asked for but for its length."""
        end = self._position + frames
        while self._position < end:
            self._position = self._step(end)

    def _step(self, end: int) -> int:
        """Takes what is due at the present frame.

        Returns:
            The frame up to which nothing else is due, `end` at most.
        """
        here = self._position
        while self._posted:
            at, fact = self._posted.popleft()
            self._count += 1
            heappush(self._pending, (here if at is None else max(at, here), self._count, fact))
        facts: list[Fact] = []
        while self._pending and self._pending[0][0] <= here:
            facts.append(heappop(self._pending)[2])
            self.facts.append((here, facts[-1]))
        if facts or self._driver.due <= here:
            self._mixer.apply(self._driver.step(here, facts))
        if self._pending:
            end = min(end, self._pending[0][0])
        return end if end <= self._driver.due else int(self._driver.due)
