"""Gains: decibels and factors, the one law by which gains change, and the one way chance is drawn.

**The envelope law.** A fade interpolates power, not gain:

    g(u)^2 = g0^2 + (g1^2 - g0^2) * sin^2(pi * u / 2),    u from 0 to 1

Two playbacks that cross on one clock then keep the sum of their powers, wherever either of them started. There is no
other curve. An envelope is a closed form of the frame index, so rendering in other blocks, or once more, gives the
same numbers.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

__all__ = ["Envelope", "db_to_linear", "draw", "linear_to_db"]

_CHUNK = 4096
"""Frames of a fade's shape computed at a time. Chunks lie on a fixed grid, so a shape does not depend on the blocks
it is asked for in: vectorised sines may differ in the last bit with the length of the array they are called on."""


def db_to_linear(db: float) -> float:
    """The linear factor of a level in dB (20 log10)."""
    return float(10.0 ** (db / 20.0))


def linear_to_db(gain: float) -> float:
    """The level in dB of a linear factor of 0 or more; `-inf` for 0."""
    return 20.0 * math.log10(gain) if gain > 0 else -math.inf


def draw(seed: int, key: str, purpose: str, n: int) -> float:
    """The n-th random number in [0, 1) of a key's stream for one purpose.

    Streams are independent of each other and the same on every machine and version, which no library's generator
    promises (scene format, T15).

    Args:
        seed: the scene's or the session's seed.
        key: the layer's key.
        purpose: `pick`, `gain`, `start`, `first` or `interval`.
        n: counts from 0 per key and purpose.
    """
    digest = blake2b(f"{_stream(seed, key, purpose)}, {n}]".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64


@lru_cache(maxsize=1024)
def _stream(seed: int, key: str, purpose: str) -> str:
    """What the JSON of all numbers of a stream begins with."""
    return json.dumps([seed, key, purpose])[:-1]


@lru_cache(maxsize=512)
def _shape(duration: int, chunk: int) -> npt.NDArray[np.float64]:
    frames = np.arange(chunk * _CHUNK, (chunk + 1) * _CHUNK, dtype=np.float64)
    shape = np.sin(frames * (0.5 * math.pi / duration))
    np.square(shape, out=shape)
    shape.setflags(write=False)
    return shape


def _shape_between(duration: int, first: int, last: int) -> npt.NDArray[np.float64]:
    """sin^2(pi u / 2) for the frames first to last - 1 of a fade of `duration` frames."""
    chunk, offset = divmod(first, _CHUNK)
    if offset + last - first <= _CHUNK:
        return _shape(duration, chunk)[offset : offset + last - first]
    parts = []
    while first < last:
        chunk, offset = divmod(first, _CHUNK)
        part = _shape(duration, chunk)[offset : offset + last - first]
        parts.append(part)
        first += len(part)
    return np.concatenate(parts)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A gain that moves once, from `g0` at frame `start` to `g1` at `start + duration`, by the envelope law.

    Attributes:
        start: the frame at which the move begins.
        duration: frames it takes; with 0 the gain is `g1` from `start` on.
        g0: linear gain up to `start`.
        g1: linear gain from the end on: the target.
        end: the first frame at the target.
    """

    start: int
    duration: int
    g0: float
    g1: float
    end: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "end", self.start + self.duration)  # asked for several times a block

    @classmethod
    def at_rest(cls, gain: float, frame: int = 0) -> Envelope:
        """An envelope that stays at a linear gain."""
        return cls(frame, 0, gain, gain)

    def moving(self, frame: int) -> bool:
        """Whether the target has not been reached yet at a frame."""
        return frame < self.end

    def at(self, frame: int) -> float:
        """The linear gain at a frame."""
        if frame >= self.end:
            return self.g1
        if frame <= self.start:
            return self.g0
        shape = float(_shape(self.duration, (frame - self.start) // _CHUNK)[(frame - self.start) % _CHUNK])
        return math.sqrt(self.g0**2 + (self.g1**2 - self.g0**2) * shape)

    def between(self, first: int, last: int, factor: float = 1.0) -> npt.NDArray[np.float64]:
        """The linear gains of the frames `first` to `last - 1`, from `start` on and before `end`, times a factor:
        float64 `(last - first,)`."""
        square = factor * factor
        power0 = self.g0 * self.g0
        gains = _shape_between(self.duration, first - self.start, last - self.start) * (
            (self.g1 * self.g1 - power0) * square
        )
        gains += power0 * square
        return np.sqrt(gains, out=gains)

    def towards(self, gain: float, frame: int, duration: int) -> Envelope:
        """The move to another target that begins at a frame, from the gain that this one has there."""
        return Envelope(frame, duration, self.at(frame), gain)
