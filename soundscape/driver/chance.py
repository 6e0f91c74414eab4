"""Chance: which entry of a pool comes next, at what gain, after what gap.

Every number is a function of the seed, the layer's key, what it is for, and how many were drawn for that before
(`soundscape.gain.draw`): one layer's draws never change another's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from soundscape.gain import db_to_linear, draw
from soundscape.scene.tables import AudioConfig, Pool

__all__ = ["Chance", "Pick"]


class Pick(NamedTuple):
    """What was drawn: an entry, and the linear gain it plays at, the pool's jitter included."""

    entry: AudioConfig
    gain: float


class _Foreseen(NamedTuple):
    """A pick that was looked ahead at, and what it changes."""

    pool: Pool
    before: tuple[Any, ...]
    pick: Pick
    after: tuple[Any, ...]


class Chance:
    """Draws for the layers of one run of a scene.

    Args:
        seed: of every draw.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        # Dictionaries of immutable values: a copy of them is a copy of this.
        self.draws: dict[tuple[str, str], int] = {}
        self.last: dict[str, tuple[int, ...]] = {}
        """By key, the last picks of its pool as places in the list of entries, the latest last."""
        self.bags: dict[str, tuple[int, ...]] = {}
        """By key, what is left in the bag of a pool that is shuffled."""
        self._foreseen: dict[str, _Foreseen] = {}  # saves drawing twice; holds nothing that could not be drawn again

    def number(self, key: str, purpose: str) -> float:
        """The next number in [0, 1) of a stream."""
        n = self.draws.get((key, purpose), 0)
        self.draws[key, purpose] = n + 1
        return draw(self._seed, key, purpose, n)

    def between(self, key: str, purpose: str, span: tuple[float, float]) -> float:
        """The next number of a stream, in a range."""
        low, high = span
        return low + (high - low) * self.number(key, purpose)

    def silence(self, key: str, pool: Pool) -> bool:
        """Draws whether a pool is silent this time, and no entry of it."""
        return pool.mode != "sequence" and self.number(key, "pick") >= pool.share

    def pick(self, key: str, pool: Pool, *, silence: bool) -> Pick | None:
        """The next entry of a pool, or None for silence.

        The first entry in the file's order whose summed share exceeds the draw. Silence keeps its share whatever is
        to be avoided; the allowed entries divide the rest by weight.

        Args:
            key: the layer's.
            pool: the layer's.
            silence: whether silence takes part in the draw.
        """
        before = self._state(key)
        foreseen = self._foreseen.get(key)
        if not silence and foreseen is not None and foreseen.pool is pool and foreseen.before == before:
            self._go(key, foreseen.after)
            return foreseen.pick
        index = self._index(key, pool, silence=silence)
        if index is None:
            return None
        kept = max(1, pool.avoided)
        self.last[key] = (*self.last.get(key, ()), index)[-kept:]
        entry = pool.entries[index]
        if pool.gain_jitter_db is None:
            return Pick(entry, entry.volume)
        return Pick(entry, entry.volume * db_to_linear(self.between(key, "gain", pool.gain_jitter_db)))

    def foreseen(self, key: str, pool: Pool) -> Pick:
        """What `pick` will give next, silence left aside; nothing is drawn."""
        before = self._state(key)
        pick = self.pick(key, pool, silence=False)
        assert pick is not None
        self._foreseen[key] = _Foreseen(pool, before, pick, self._state(key))
        self._go(key, before)
        return pick

    def forget(self, key: str) -> None:
        """Another pool is drawn from for a key: what was picked before says nothing any more."""
        self.last.pop(key, None)
        self.bags.pop(key, None)

    def _streams(self, key: str) -> tuple[tuple[dict[Any, Any], Any], ...]:
        """All that a pick of a key changes."""
        return (self.draws, (key, "pick")), (self.draws, (key, "gain")), (self.last, key), (self.bags, key)

    def _state(self, key: str) -> tuple[Any, ...]:
        return tuple(values.get(of) for values, of in self._streams(key))

    def _go(self, key: str, state: tuple[Any, ...]) -> None:
        for (values, of), value in zip(self._streams(key), state, strict=True):
            if value is None:
                values.pop(of, None)
            else:
                values[of] = value

    def _index(self, key: str, pool: Pool, *, silence: bool) -> int | None:
        playable = pool.playable
        last = self.last.get(key, ())
        if pool.mode == "sequence":
            return next((i for i in playable if last and i > last[-1]), playable[0])
        if pool.mode == "shuffle":
            bag: Sequence[int] = self.bags.get(key) or playable
            avoided = last[-max(1, pool.avoided) :] if len(playable) > 1 else ()
        else:
            bag, avoided = playable, last[-pool.avoided :] if pool.avoided else ()
        left_out = frozenset(avoided)
        allowed = [i for i in bag if i not in left_out]
        total = pool.share
        share = min(total, 1.0) if silence else 1.0
        weights = sum(pool.entries[i].probability for i in allowed)
        # In the entries' own weights, so that a sum of 1 is exactly 1.
        u = self.number(key, "pick") * (weights / share)
        summed = 0.0
        index = None
        for i in allowed:
            summed += pool.entries[i].probability
            if summed > u:
                index = i
                break
        if index is None and (not silence or total >= 1.0):
            index = allowed[-1]  # a sum rounded below 1
        if index is not None and pool.mode == "shuffle":
            self.bags[key] = tuple(i for i in bag if i != index)
        return index
