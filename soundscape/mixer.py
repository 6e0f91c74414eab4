"""The mixer: cues in, sound out. It decides nothing and knows no state.

A playback has one envelope, which belongs to the layer, and one or more picks: the clip that sounds now and, while a
pool crosses over to its next clip, the one before. Everything is a closed form of the absolute frame: the gain of a
playback at a frame, and the clip's frame that sounds there. A block is cut where such a form changes; what is rendered
therefore does not depend on the blocks in which it is asked for, to the last bit.

    frame of a playback = clip x (layer envelope x pick envelope x pick gain)

summed in the order in which the playbacks began, in float32. Records are frozen and kept in one dictionary: a copy of
it is a copy of the mixer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from soundscape.clip import Clip
from soundscape.cues import Cue, Fade, Finish, Play
from soundscape.gain import Envelope

__all__ = ["Mixer"]


class _Pick(NamedTuple):
    """A clip that sounds in a playback."""

    source: str
    began: int  # the frame at which the clip's first frame sounded, or would have
    loop: bool
    gain: float
    envelope: Envelope  # of the crossing from pick to pick


class _Playback(NamedTuple):
    envelope: Envelope
    picks: tuple[_Pick, ...]


class Mixer:
    """Mixes playbacks to mono.

    Args:
        clips: clips by source, at the sample rate of the frames that the cues count.
    """

    def __init__(self, clips: Mapping[str, Clip]) -> None:
        self._clips = clips
        self._loaded: dict[str, Clip] = {}  # `clips` may be slow to ask
        self._playbacks: dict[int, _Playback] = {}
        self._scratch = np.empty(0, np.float32)

    @property
    def silent(self) -> bool:
        """Whether nothing sounds until the next cue."""
        return not self._playbacks

    def apply(self, cues: Iterable[Cue]) -> None:
        """Takes the cues of the frame that is rendered next."""
        for cue in cues:
            if isinstance(cue, Play):
                self._play(cue)
            elif isinstance(cue, Fade):
                if playback := self._playbacks.get(cue.playback):
                    envelope = playback.envelope.towards(cue.gain, cue.at, cue.duration)
                    self._playbacks[cue.playback] = playback._replace(envelope=envelope)
            elif isinstance(cue, Finish):
                self._finish(cue)
            else:
                self._playbacks.pop(cue.playback, None)

    def render(self, first: int, last: int) -> npt.NDArray[np.float32]:
        """The sound of the frames `first` to `last - 1`, between which no cue falls: float32 `(last - first,)`."""
        out = np.zeros(last - first, np.float32)
        if len(self._scratch) < len(out):
            self._scratch = np.empty(len(out), np.float32)
        over = []
        for number, (envelope, picks) in self._playbacks.items():
            lasts = False
            for pick in picks:
                lasts |= self._add(out, first, last, envelope, pick)
            if not lasts:
                over.append(number)
        for number in over:
            del self._playbacks[number]
        return out

    def _play(self, cue: Play) -> None:
        began = cue.at - cue.offset
        before = self._playbacks.get(cue.playback)
        if before is None:
            pick = _Pick(cue.source, began, cue.loop, cue.gain, Envelope.at_rest(1.0))
            self._playbacks[cue.playback] = _Playback(cue.envelope, (pick,))
            return
        going = tuple(
            pick._replace(envelope=pick.envelope.towards(0.0, cue.at, cue.crossfade))
            for pick in before.picks
            if pick.envelope.at(cue.at) > 0
        )
        coming = _Pick(cue.source, began, cue.loop, cue.gain, Envelope(cue.at, cue.crossfade, 0.0, 1.0))
        self._playbacks[cue.playback] = before._replace(picks=(*going, coming))

    def _finish(self, cue: Finish) -> None:
        """The pick goes on into what its clip has beyond the loop, and ends there."""
        playback = self._playbacks.get(cue.playback)
        if playback is None:
            return
        pick = playback.picks[-1]
        rest = pick._replace(began=cue.at - self._clips[pick.source].period, loop=False)
        self._playbacks[cue.playback] = playback._replace(picks=(rest,))

    def _load(self, source: str) -> Clip:
        clip = self._loaded[source] = self._clips[source]
        return clip

    def _add(self, out: npt.NDArray[np.float32], first: int, last: int, envelope: Envelope, pick: _Pick) -> bool:
        """Adds a pick's sound to a block.

        Returns:
            Whether it goes on after the block.
        """
        clip = self._loaded.get(pick.source) or self._load(pick.source)
        lasts = True
        if not pick.loop:
            end = pick.began + clip.length
            lasts, last = end > last, max(first, min(end, last))
        scratch = self._scratch
        if envelope.end <= first and pick.envelope.end <= first:  # at rest: most blocks are
            level, at = envelope.g1 * pick.envelope.g1 * pick.gain, 0
            for run in clip.runs(first - pick.began, last - first, loop=pick.loop):
                target = out[at : at + len(run)]
                target += np.multiply(run, level, scratch[: len(run)])
                at += len(run)
            return lasts
        at = 0
        for begin, end in _spans(first, last, envelope, pick.envelope):
            gain = _gain(begin, end, envelope, pick.envelope, pick.gain)
            for run in clip.runs(begin - pick.began, end - begin, loop=pick.loop):
                size = len(run)
                factor = gain
                if not isinstance(gain, float):
                    factor, gain = gain[:size], gain[size:]
                target = out[at : at + size]
                target += np.multiply(run, factor, scratch[:size])
                at += size
        return lasts


def _spans(first: int, last: int, layer: Envelope, pick: Envelope) -> Iterable[tuple[int, int]]:
    """The span cut where an envelope comes to rest."""
    cuts = sorted({first, last, *(e.end for e in (layer, pick) if first < e.end < last)})
    return pairwise(cuts)


def _gain(first: int, last: int, layer: Envelope, pick: Envelope, gain: float) -> float | npt.NDArray[np.float32]:
    """The product of the gains over a span in which none comes to rest: one number, or one for each frame."""
    if pick.end <= first:
        rest = pick.g1 * gain
        return layer.g1 * rest if layer.end <= first else layer.between(first, last, rest).astype(np.float32)
    crossing = pick.between(first, last, gain)
    crossing *= layer.g1 if layer.end <= first else layer.between(first, last)
    return crossing.astype(np.float32)
