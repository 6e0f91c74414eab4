"""The mixer: cues in, sound out. It decides nothing and knows no state.

A playback has one envelope, which belongs to the layer, and one or more picks: the clip that sounds now and, while a
pool crosses over to its next clip, the one before. Everything is a closed form of the absolute frame: the gain of a
playback at a frame, and the clip's frame that sounds there. A block is cut where such a form changes; what is rendered
therefore does not depend on the blocks in which it is asked for, to the last bit.

    frame of a playback = clip x (layer envelope x pick envelope x pick gain x the dips on its bus x what was set of it)

summed in the order in which the playbacks began, in float32. The pick's gain holds all that never moves while it
sounds: the pick's own, the clip's, and what brings the clip to the loudness of its bus. Records are frozen and kept in
three dictionaries: a copy of those is a copy of the mixer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from soundscape.clip import Clip
from soundscape.cues import DUCK_FLOOR, Cue, Duck, Fade, Gain, Play
from soundscape.gain import Envelope, db_to_linear

__all__ = ["Mixer"]


MOST_GAIN = 1e3
"""+60 dB: the most that a pick is raised by all of its own gains together. What is beyond is the ceiling's in any case,
and is not to look like a fault to it."""


class _Pick(NamedTuple):
    """A clip that sounds in a playback."""

    source: str
    clips: Mapping[str, Clip]  # where it is looked up
    began: int  # the frame at which the clip's first frame sounded, or would have
    loop: bool
    gain: float
    lufs: float | None  # what its bus brings the clip to
    envelope: Envelope  # of the crossing from pick to pick
    clip: Clip | None = None  # once it is to be heard; then `gain` has all that never moves


class _Playback(NamedTuple):
    bus: str
    key: str
    envelope: Envelope
    picks: tuple[_Pick, ...]


class _Dip(NamedTuple):
    """A duck that has acted."""

    buses: frozenset[str] | None
    envelope: Envelope


class _Resting(NamedTuple):
    """A playback of which nothing moves."""

    clip: Clip
    began: int
    gain: npt.NDArray[np.float32]  # ()


_Gain = float | npt.NDArray[np.float64]

_Snapshot = tuple[dict[int, _Playback], dict[int, _Dip], dict[tuple[str, str], Envelope]]


class Mixer:
    """Mixes playbacks to mono."""

    def __init__(self) -> None:
        self._playbacks: dict[int, _Playback] = {}
        self._dips: dict[int, _Dip] = {}
        self._set: dict[tuple[str, str], Envelope] = {}  # by what it is set of, and its name
        self._scratch = np.empty(0, np.float32)
        self._loaded = True  # whether every pick has its clip: a run without sound does without them
        self._resting: list[_Resting] | None = None
        self._rests_at: float = math.inf  # the frame from which on nothing moves until the next cue

    @property
    def silent(self) -> bool:
        """Whether there is no playback, so that nothing sounds until the next cue."""
        return not self._playbacks

    def snapshot(self) -> _Snapshot:
        """Everything there is to know about the present, for `restore`."""
        return self._playbacks.copy(), self._dips.copy(), self._set.copy()

    def restore(self, snapshot: _Snapshot) -> None:
        """Goes back to a snapshot, which stays as it is."""
        playbacks, dips, gains = snapshot
        self._playbacks, self._dips, self._set = playbacks.copy(), dips.copy(), gains.copy()
        self._loaded = False
        self._resting = None

    def apply(self, cues: Iterable[Cue]) -> None:
        """Takes the cues of the frame that is rendered next."""
        for cue in cues:
            self._loaded, self._resting = False, None
            if isinstance(cue, Play):
                self._play(cue)
            elif isinstance(cue, Fade):
                if playback := self._playbacks.get(cue.playback):
                    envelope = playback.envelope.towards(cue.gain, cue.at, cue.duration)
                    self._playbacks[cue.playback] = playback._replace(envelope=envelope)
            elif isinstance(cue, Duck):
                before = self._dips[cue.number].envelope if cue.number in self._dips else Envelope.at_rest(1.0)
                dips = {n: d for n, d in self._dips.items() if d.envelope.g1 != 1.0 or d.envelope.moving(cue.at)}
                self._dips = dips | {cue.number: _Dip(cue.buses, before.towards(cue.gain, cue.at, cue.duration))}
            elif isinstance(cue, Gain):
                before = self._set.get((cue.of, cue.name), Envelope.at_rest(1.0))
                self._set[cue.of, cue.name] = before.towards(cue.gain, cue.at, cue.duration)
            else:
                self._playbacks.pop(cue.playback, None)

    def render(self, first: int, last: int, out: npt.NDArray[np.float32]) -> None:
        """Adds the sound of the frames `first` to `last - 1`, between which no cue falls, to float32
        `(last - first,)`."""
        if len(self._scratch) != len(out):
            self._scratch = np.empty(len(out), np.float32)
        if not self._loaded:
            self._load()
        if first >= self._rests_at and self._rest(first, out):
            return
        if not self._dips and not self._set:
            self._render(out, first, last)
            return
        # An envelope that has come to rest is a number: the block is cut where one does.
        moves = [*(dip.envelope for dip in self._dips.values()), *self._set.values()]
        ends = {envelope.end for envelope in moves if first < envelope.end < last}
        for begin, end in pairwise([first, *sorted(ends), last]):
            self._render(out[begin - first : end - first], begin, end)

    def _rest(self, first: int, out: npt.NDArray[np.float32]) -> bool:
        """Renders frames in which nothing moves and each loop's are in one piece: most blocks are such, and most of
        what there is to do is saved.

        Returns:
            Whether these are; if not, nothing was done.
        """
        if self._resting is None:
            self._resting = [self._at_rest(playback, first) for playback in self._playbacks.values()]
        size, scratch, runs = len(out), self._scratch, []
        for clip, began, gain in self._resting:
            run = clip.run(first - began, size)
            if run is None:
                return False
            runs.append((run, gain))
        for run, gain in runs:
            np.add(out, np.multiply(run, gain, scratch), out)
        return True

    def _at_rest(self, playback: _Playback, frame: int) -> _Resting:
        bus, key, envelope, (pick,) = playback
        assert pick.clip is not None
        dips = self._bus(bus, frame, frame + 1, {}) if self._dips else 1.0
        own = self._own(bus, key, frame, frame + 1, dips) if self._set else dips
        assert isinstance(own, float)
        gain = pick.gain * own
        # With an array of no dimension a multiplication takes two thirds of the time that it takes with a number.
        return _Resting(pick.clip, pick.began, np.array(gain * (envelope.g1 * pick.envelope.g1), np.float32))

    def _render(self, out: npt.NDArray[np.float32], first: int, last: int) -> None:
        gains: dict[str, _Gain] = {}
        gain: _Gain = 1.0
        for bus, key, envelope, picks in self._playbacks.values():
            if self._dips:
                gain = gains[bus] if bus in gains else self._bus(bus, first, last, gains)
            own = self._own(bus, key, first, last, gain) if self._set else gain
            for pick in picks:
                self._add(out, first, last, envelope, pick, own)

    def _own(self, bus: str, key: str, first: int, last: int, gain: _Gain) -> _Gain:
        """A gain times what was set of a bus and of a layer, over a span in which none of it comes to rest."""
        for what in (("bus", bus), ("layer", key)):
            if (envelope := self._set.get(what)) is not None:
                gain = gain * (envelope.g1 if envelope.end <= first else envelope.between(first, last))
        return gain

    def _bus(self, bus: str, first: int, last: int, gains: dict[str, _Gain]) -> _Gain:
        """The gain of a bus under its dips over a span in which none comes to rest, kept in `gains`."""
        product: _Gain = 1.0
        for buses, envelope in self._dips.values():
            if buses is None or bus in buses:
                product = product * (envelope.g1 if envelope.end <= first else envelope.between(first, last))
        if isinstance(product, float):
            gains[bus] = product = max(product, DUCK_FLOOR)
        else:
            gains[bus] = product = np.maximum(product, DUCK_FLOOR, out=product)
        return product

    def _play(self, cue: Play) -> None:
        began = cue.at - cue.offset
        before = self._playbacks.get(cue.playback)
        if before is None:
            pick = _Pick(cue.source, cue.clips, began, cue.loop, cue.gain, cue.lufs, Envelope.at_rest(1.0))
            self._playbacks[cue.playback] = _Playback(cue.bus, cue.key, cue.envelope, (pick,))
            return
        going = tuple(
            pick._replace(envelope=pick.envelope.towards(0.0, cue.at, cue.crossfade))
            for pick in before.picks
            if pick.envelope.at(cue.at) > 0
        )
        envelope = Envelope(cue.at, cue.crossfade, 0.0, 1.0)
        coming = _Pick(cue.source, cue.clips, began, cue.loop, cue.gain, cue.lufs, envelope)
        self._playbacks[cue.playback] = before._replace(picks=(*going, coming))

    def _load(self) -> None:
        for number, playback in self._playbacks.items():
            picks = tuple(pick if pick.clip else self._with_clip(pick) for pick in playback.picks)
            self._playbacks[number] = playback._replace(picks=picks)
        self._loaded = True
        moving: list[float] = [dip.envelope.end for dip in self._dips.values()]
        moving += [envelope.end for envelope in self._set.values()]
        for playback in self._playbacks.values():
            (pick, *others) = playback.picks
            moving += (playback.envelope.end, pick.envelope.end if pick.loop and not others else math.inf)
        self._rests_at = max(moving, default=math.inf)

    def _with_clip(self, pick: _Pick) -> _Pick:
        """A pick with its clip, whose own gain counts, and what brings it to the loudness of its bus."""
        clip = pick.clips[pick.source]
        norm = 1.0 if pick.lufs is None or clip.lufs is None else db_to_linear(pick.lufs - clip.lufs)
        return pick._replace(clip=clip, gain=min(pick.gain * clip.gain * norm, MOST_GAIN))

    def _add(
        self, out: npt.NDArray[np.float32], first: int, last: int, envelope: Envelope, pick: _Pick, dip: _Gain
    ) -> None:
        """Adds a pick's sound to a block. One that is over stays, silent, until a cue ends its playback."""
        clip, gain = pick.clip, pick.gain
        assert clip is not None
        if not pick.loop:
            last = min(last, pick.began + clip.length)
            if last <= first:
                return
        dips = None
        if isinstance(dip, float):
            gain *= dip
        else:
            dips = dip
        scratch, at = self._scratch, 0
        if dips is None and envelope.end <= first and pick.envelope.end <= first:  # at rest: most blocks are
            gain *= envelope.g1 * pick.envelope.g1
            for run in clip.runs(first - pick.began, last - first, loop=pick.loop):
                size = len(run)
                if size == len(out) == len(scratch):  # slices of a whole cost a tenth of all there is to do
                    np.add(out, np.multiply(run, gain, scratch), out)
                    return
                target = out[at : at + size]
                np.add(target, np.multiply(run, gain, scratch[:size]), target)
                at += size
            return
        for begin, end in _spans(first, last, envelope, pick.envelope):
            factor = _gain(begin, end, envelope, pick.envelope, gain)
            if dips is not None:
                factor = factor * dips[begin - first : end - first]
            each = None if isinstance(factor, float) else factor.astype(np.float32)
            for run in clip.runs(begin - pick.began, end - begin, loop=pick.loop):
                size = len(run)
                target = out[at : at + size]
                if each is None:
                    target += np.multiply(run, factor, scratch[:size])
                else:
                    target += np.multiply(run, each[:size], scratch[:size])
                    each = each[size:]
                at += size


def _spans(first: int, last: int, layer: Envelope, pick: Envelope) -> Iterable[tuple[int, int]]:
    """The span cut where an envelope comes to rest."""
    cuts = {end for end in (layer.end, pick.end) if first < end < last}
    return pairwise(sorted({first, last, *cuts})) if cuts else ((first, last),)


def _gain(first: int, last: int, layer: Envelope, pick: Envelope, gain: float) -> _Gain:
    """The product of the gains over a span in which none comes to rest: one number, or one for each frame."""
    if pick.end <= first:
        rest = pick.g1 * gain
        return layer.g1 * rest if layer.end <= first else layer.between(first, last, rest)
    crossing = pick.between(first, last, gain)
    crossing *= layer.g1 if layer.end <= first else layer.between(first, last)
    return crossing
