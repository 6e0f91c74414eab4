"""Sources for outputs that do not know of silence to come, and never go back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class OneWay:
    """What an output asks of a source besides rendering."""

    sample_rate = 48_000
    num_channels = 1
    position = 0

    @property
    def finished(self) -> bool:
        return False

    @property
    def silent_until(self) -> float:
        return self.position

    def render(self, frames: int) -> npt.NDArray[np.float32]:
        raise NotImplementedError

    def rest(self, frame: int) -> None:
        raise NotImplementedError

    def keep(self) -> None:
        pass

    def take_back(self, frame: int) -> None:
        raise NotImplementedError
