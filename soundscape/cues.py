"""Cues: what the driver tells the mixer, each at an absolute frame. They are all that the two have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from soundscape.clip import Clip
from soundscape.gain import Envelope, db_to_linear

__all__ = ["DUCK_FLOOR", "Cue", "Duck", "Fade", "Gain", "Play", "Stop", "to_frames"]

DUCK_FLOOR = db_to_linear(-24.0)
"""The least that dips on one bus make of it together: their linear gains multiply down to this."""


def to_frames(seconds: float, sample_rate: int) -> int:
    """Seconds as the nearest whole number of frames, halves up."""
    return int(seconds * sample_rate + 0.5)


@dataclass(frozen=True, slots=True)
class Play:
    """A pick begins in a playback: the playback's first, or the next one of a pool that plays on.

    Attributes:
        at: absolute frame.
        playback: the playback's number; a playback is made by its first `Play`.
        key: the layer's.
        source: the clip, as the scene writes it.
        clips: where it is looked up, once it is to be heard.
        offset: the clip's frame to begin at.
        loop: whether the clip repeats until the playback ends.
        gain: the pick's own linear gain.
        bus: the bus it plays on.
        lufs: the loudness that the bus brings the clip to; None where it plays as loud as it is.
        envelope: the playback's envelope, for its first pick.
        crossfade: frames over which the pick before goes and this one comes; 0 for the first.
    """

    at: int
    playback: int
    key: str
    source: str
    clips: Mapping[str, Clip] = field(compare=False, repr=False)
    offset: int
    loop: bool
    gain: float
    bus: str
    lufs: float | None
    envelope: Envelope
    crossfade: int = 0


@dataclass(frozen=True, slots=True)
class Fade:
    """A playback's envelope moves from its present value.

    Attributes:
        at: absolute frame.
        playback: the playback's number.
        gain: the linear gain to reach.
        duration: frames to reach it in.
    """

    at: int
    playback: int
    gain: float
    duration: int


@dataclass(frozen=True, slots=True)
class Stop:
    """A playback is over.

    Attributes:
        at: absolute frame.
        playback: the playback's number.
    """

    at: int
    playback: int


@dataclass(frozen=True, slots=True)
class Duck:
    """A dip of some buses moves from its present gain; before its first cue it is at 1.

    Attributes:
        at: absolute frame.
        number: which dip.
        buses: those it acts on; None for all.
        gain: the linear gain to reach.
        duration: frames to reach it in.
    """

    at: int
    number: int
    buses: frozenset[str] | None
    gain: float
    duration: int


@dataclass(frozen=True, slots=True)
class Gain:
    """The gain that was set of a bus or of a layer moves from its present value; before its first cue it is at 1.

    Attributes:
        at: absolute frame.
        of: what it is set of.
        name: the bus's name, or the layer's key.
        gain: the linear gain to reach.
        duration: frames to reach it in.
    """

    at: int
    of: Literal["bus", "layer"]
    name: str
    gain: float
    duration: int


Cue = Play | Fade | Stop | Duck | Gain
