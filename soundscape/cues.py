"""Cues: what the driver tells the mixer, each at an absolute frame. They are all that the two have in common."""

from __future__ import annotations

from dataclasses import dataclass

from soundscape.gain import Envelope

__all__ = ["Cue", "Fade", "Finish", "Play", "Stop", "to_frames"]


def to_frames(seconds: float, sample_rate: int) -> int:
    """Seconds as the nearest whole number of frames, halves up."""
    return int(seconds * sample_rate + 0.5)


@dataclass(frozen=True, slots=True)
class Play:
    """A pick begins in a playback: the playback's first, or the next one of a pool that plays on.

    Attributes:
        at: absolute frame.
        playback: the playback's number; a playback is made by its first `Play`.
        source: the clip, as the scene writes it.
        offset: the clip's frame to begin at.
        loop: whether the clip repeats until the playback ends.
        gain: the pick's own linear gain.
        envelope: the playback's envelope, for a playback that the mixer does not have (yet, or any more, because the
            pick before ended at this frame).
        crossfade: frames over which the pick before goes and this one comes; 0 for the first.
    """

    at: int
    playback: int
    source: str
    offset: int
    loop: bool
    gain: float
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
class Finish:
    """A loop's last pass is over: what its clip has beyond the loop rings out, and no pass follows.

    Attributes:
        at: absolute frame, at which the next pass would begin.
        playback: the playback's number.
    """

    at: int
    playback: int


Cue = Play | Fade | Stop | Finish
