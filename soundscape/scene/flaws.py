"""What is wrong with a scene across its tables, and in a table across its keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from heapq import nlargest
from itertools import islice
from typing import NamedTuple

from soundscape.scene import MAIN, NONE, STATE_NAME, Loc, SceneModel, rank
from soundscape.scene.tables import ALL, AudioConfig, ClipTable, Layer, Transition

__all__ = ["OF_KIND", "Flaw", "flaws", "nearest", "nearest_word"]

OF_KIND = {
    "min_play": "loop",
    "start": "loop",
    "interval": "scatter",
    "first": "scatter",
    "max_playbacks": "scatter",
    "cooldown": "once",
}
"""Keys that one kind of layer has and the others do not."""

_SHIPS = ("soundscape:", "livekit:")
"""How the sources begin that are no files."""

_LONGEST_WORD = 40
"""Characters of a word for which another one is suggested: difflib's time grows with the square of it."""


class Flaw(NamedTuple):
    """Something wrong: where as a path of keys and indices, what, and what to do."""

    loc: Loc
    message: str
    hint: str = ""
    rests_on: tuple[Loc, ...] = ()
    """What else it was seen in: with one of these places broken, it may be no flaw at all."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known word, or nothing."""
    found = nearest_word(word, known)
    return f"did you mean {found!r}?" if found else ""


def nearest_word(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The nearest known word, or nothing; `cutoff` is difflib's, 1 for none but the same."""
    if not 0 < len(word) <= _LONGEST_WORD:
        return ""
    word = word.lower()
    by_lower = {name.lower(): name for name in islice(known, 300) if len(name) <= _LONGEST_WORD}
    # difflib is slow, and a slip leaves most of a word's two ends as they are.
    likely = nlargest(8, by_lower, key=lambda name: _common(word, name) + _common(word[::-1], name[::-1]))
    found = get_close_matches(word, likely, n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else ""


def _common(one: str, other: str) -> int:
    """How many characters two words begin with alike."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _quoted(name: str) -> str:
    """A name in quotes, cut short."""
    text = repr(name[:100])
    return text if len(text) <= 60 else f"{text[:57]}..."


def flaws(scene: SceneModel) -> Iterator[Flaw]:
    """What is wrong across tables, in no order. A scene without flaws can be played as far as its text goes."""
    yield from _of_states(scene)
    yield from _of_pools(scene)
    yield from _of_clips(scene)
    yield from _of_buses(scene)
    for loc, layer in scene.all_layers:
        yield from _of_sounds(scene, loc, layer)
        yield from _of_kind(loc, layer)
    yield from _of_keys(scene)
    yield from _of_rules(scene)


def _under(loc: Loc, *keys: str) -> tuple[Loc, ...]:
    return tuple((*loc, key) for key in keys)


def _of_states(scene: SceneModel) -> Iterator[Flaw]:
    for name in scene.states:
        if name in (NONE, "close"):
            hint = (
                "it is before the session and after it, nothing sounds in it" if name == NONE else "call it otherwise"
            )
            yield Flaw(("states", name), f"{_quoted(name)} is not a state that can be defined", hint)
        elif not STATE_NAME.fullmatch(name):
            rule = "lower-case letters, digits and _ only, a letter first"
            fixed = re.sub("[ ._-]+", "_", name.lower()).strip("_")
            hint = f"write {fixed}: {rule}" if STATE_NAME.fullmatch(fixed) and len(fixed) <= 60 else rule
            yield Flaw(("states", name), f"{_quoted(name)} is not a state's name", hint)


def _of_pools(scene: SceneModel) -> Iterator[Flaw]:
    for name, pool in scene.pools.items():
        if not name:
            yield _unnamed("pools", "pool")
        yield from _never_sounds(("pools", name, "entries"), pool.entries)
        if pool.gain_jitter_db is not None:
            yield from _reversed(("pools", name, "gain_jitter_db"), pool.gain_jitter_db)
    for loc, layer in scene.all_layers:
        if isinstance(layer.pool, tuple):
            yield from _never_sounds((*loc, "pool"), layer.pool)


def _unnamed(table: str, what: str) -> Flaw:
    return Flaw((table, ""), f"a {what} without a name can never be used", "give it one")


def _never_sounds(loc: Loc, entries: tuple[AudioConfig, ...]) -> Iterator[Flaw]:
    if all(entry.probability == 0 for entry in entries):
        yield Flaw(loc, "every probability is 0, nothing would ever sound", "give one of them a share", (loc,))


def _reversed(loc: Loc, values: tuple[float, float]) -> Iterator[Flaw]:
    low, high = values
    if low > high:
        hint = f"write the smaller number first: [{high:g}, {low:g}]"
        yield Flaw(loc, f"goes from {low:g} down to {high:g}", hint)


def _of_clips(scene: SceneModel) -> Iterator[Flaw]:
    for name, clip in scene.clips.items():
        loc: Loc = ("clips", name)
        if not name:
            yield _unnamed("clips", "clip")
        if name.startswith(_SHIPS):
            yield Flaw(loc, f"{_quoted(name)} already means a clip that ships", "give it another name")
        if clip.source in scene.clips and clip.source != name and not clip.source.startswith(_SHIPS):
            hint = f"write the source of {_header('clips', clip.source)} here as well"
            yield Flaw((*loc, "source"), f"{_quoted(clip.source)} is itself a name from [clips]", hint)
        yield from _of_loop(loc, clip)


def _of_loop(loc: Loc, clip: ClipTable) -> Iterator[Flaw]:
    loop, loc = clip.loop, (*loc, "loop")
    if loop is None or loop.end is None:
        return
    length = loop.end - loop.start
    rests_on = _under(loc, "start", "end")
    if length <= 0:
        yield Flaw(loc, f"starts at {loop.start:g} and ends at {loop.end:g}", "end it after its start", rests_on)
    elif loop.crossfade is not None and loop.crossfade > length:
        message = f"its crossfade of {loop.crossfade:g} s is longer than the loop, which lasts {length:g} s"
        yield Flaw(loc, message, f"write crossfade = {length:g} at most", rests_on)


def _of_buses(scene: SceneModel) -> Iterator[Flaw]:
    for name in scene.buses:
        if not name:
            yield _unnamed("buses", "bus")
        elif name == MAIN:
            message = "'main' is the bus of layers that name none, and has no level"
            yield Flaw(("buses", name), message, "give it another name")
        elif name == ALL:
            yield Flaw(("buses", name), "'*' means every bus", "give it another name")
    for i, duck in enumerate(scene.ducks):
        for j, name in enumerate(duck.buses):
            loc = ("ducks", i, "buses", j)
            if name == ALL:
                if len(duck.buses) > 1:
                    yield Flaw(loc, "'*' is every bus already", 'write buses = ["*"], or leave it out')
            elif name != MAIN and name not in scene.buses:
                yield _no_bus(scene, loc, name)


def _no_bus(scene: SceneModel, loc: Loc, name: str) -> Flaw:
    hint = nearest(name, (*scene.buses, MAIN)) or f"define it as {_header('buses', name)}"
    return Flaw(loc, f"no bus is called {_quoted(name)}", hint, (("buses", name),))


def _header(table: str, name: str) -> str:
    """The line that begins a named table."""
    return f"[{table}.{name if re.fullmatch(r'[A-Za-z0-9_-]{1,57}', name) else _quoted(name)}]"


def _of_sounds(scene: SceneModel, loc: Loc, layer: Layer) -> Iterator[Flaw]:
    if layer.pool is None and layer.source is None:
        hint = 'write source = "..." or pool = ...'
        yield Flaw(loc, "a layer needs a source or a pool", hint, _under(loc, "source", "pool"))
    if layer.pool is not None and layer.source is not None:
        yield Flaw((*loc, "source"), "a layer has a source or a pool, not both", "leave one of them out")
    if layer.pool is not None and layer.probability is not None:
        hint = "give the pool's entries probabilities"
        yield Flaw((*loc, "probability"), "beside a pool it has no meaning", hint)
    if layer.source is not None and layer.pool is None and layer.probability == 0:
        yield Flaw((*loc, "probability"), "at 0 it would never sound", "leave the layer out")
    if layer.volume is not None and layer.gain_db is not None:
        yield Flaw((*loc, "gain_db"), "a layer has a volume or a gain_db, not both", "leave one of them out")
    if isinstance(layer.pool, str) and layer.pool not in scene.pools:
        single = re.search(r"[.:/\\]", layer.pool)
        define = "one sound is written as source" if single else f"define it as {_header('pools', layer.pool)}"
        hint = nearest(layer.pool, scene.pools) or define
        yield Flaw((*loc, "pool"), f"no pool is called {_quoted(layer.pool)}", hint, (("pools", layer.pool),))
    if layer.bus is not None and layer.bus != MAIN and layer.bus not in scene.buses:
        yield _no_bus(scene, (*loc, "bus"), layer.bus)


def _of_kind(loc: Loc, layer: Layer) -> Iterator[Flaw]:
    rests_on = _under(loc, "kind")
    for key, kind in OF_KIND.items():
        if layer.kind != kind and getattr(layer, key) is not None:
            message = f"only a {kind!r} layer has it, and this one is a {layer.kind!r}"
            yield Flaw((*loc, key), message, f'leave it out, or write kind = "{kind}"', rests_on)
    if layer.kind != "scatter":
        return
    if layer.interval is None:
        hint = "write interval = [10, 30] for a gap of 10 to 30 s"
        yield Flaw(loc, "a scatter needs an interval", hint, (*rests_on, *_under(loc, "interval")))
    else:
        yield from _reversed((*loc, "interval"), layer.interval)
        if layer.interval == (0, 0):
            yield Flaw((*loc, "interval"), "its shots would have no gap at all", "write a larger second number")
    if layer.first is not None:
        yield from _reversed((*loc, "first"), layer.first)


def _nameable(scene: SceneModel, layer: Layer) -> bool:
    """Whether a layer says well enough what it plays to have a key."""
    if isinstance(layer.pool, str):
        return layer.pool in scene.pools
    return layer.pool is not None or layer.source is not None


def _of_keys(scene: SceneModel) -> Iterator[Flaw]:
    seen: dict[str, tuple[Loc, Layer]] = {}
    tables: dict[tuple[Loc, str], tuple[Loc, Layer]] = {}
    apart = 'tell them apart with key = "..."'
    for loc, layer in scene.all_layers:
        if not _nameable(scene, layer):
            continue
        key = scene.key(layer)
        twin_loc, twin = tables.setdefault((loc[:-2], key), (loc, layer))
        if twin is not layer:
            rests_on = _identity(twin_loc, twin) + _identity(loc, layer)
            yield Flaw(loc, f"the key {_quoted(key)} is there twice in one state", apart, rests_on)
            continue
        first_loc, first = seen.setdefault(key, (loc, layer))
        other = None if first is layer else _difference(scene, first, layer)
        if other is not None:
            place = "base" if first_loc[0] == "base" else f"states.{first_loc[1]}"
            rests_on = _identity(first_loc, first) + _identity(loc, layer)
            yield Flaw(loc, f"the key {_quoted(key)} has another {other} in {place}", apart, rests_on)


def _identity(loc: Loc, layer: Layer) -> tuple[Loc, ...]:
    """Where it stands what a layer is."""
    own = _under(loc, "key", "kind", "bus", "source", "pool", "probability")
    return (*own, ("pools", layer.pool)) if isinstance(layer.pool, str) else own


def _difference(scene: SceneModel, one: Layer, other: Layer) -> str | None:
    """What keeps two layers from being one sound at two levels."""
    if one.kind != other.kind:
        return "kind"
    if (one.bus or MAIN) != (other.bus or MAIN):
        return "bus"
    first, second = scene.pool(one), scene.pool(other)
    return None if first is second or first == second else "pool"


def _of_rules(scene: SceneModel) -> Iterator[Flaw]:
    known = set(scene.known_states)
    for i, rule in enumerate(scene.transitions):
        for key, side in (("from", rule.from_), ("to", rule.to)):
            for j, name in enumerate((side,) if isinstance(side, str) else side):
                loc: Loc = ("transitions", i, key) if isinstance(side, str) else ("transitions", i, key, j)
                if name == ALL and not isinstance(side, str):
                    yield Flaw(loc, "a list may not hold '*'", f'write {key} = "*"')
                elif name != ALL and name not in known:
                    yield _no_state(scene, loc, name)
    yield from _ambiguous(scene)


def _no_state(scene: SceneModel, loc: Loc, name: str) -> Flaw:
    hint = nearest(name, (known for known in scene.known_states if STATE_NAME.fullmatch(known) and known != "close"))
    if name == "close":
        hint = 'the end of the session is the way to "none"'
    elif not hint:
        fits = STATE_NAME.fullmatch(name)
        hint = (
            f"define it as {_header('states', name)}"
            if fits
            else "lower-case letters, digits and _ only, a letter first"
        )
    return Flaw(loc, f"no state is called {_quoted(name)}", hint, (("states", name),))


class _Owners:
    """Which rule set a key for which ways: for each rank, key and `from`, the `to` as bits.

    Whatever the rules say, the work is that of their text; way by way, it would be the product of two lists of names.
    """

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}
        self._taken: dict[tuple[int, str, str], int] = {}
        self._shares: dict[tuple[int, str, str], list[tuple[int, int]]] = {}

    def mask(self, targets: Iterable[str]) -> int:
        mask = 0
        for name in targets:
            mask |= 1 << self._bits.setdefault(name, len(self._bits))
        return mask

    def take(self, place: tuple[int, str, str], mask: int, rule: int) -> tuple[int, str] | None:
        """Notes whose these ways are; what another rule has already stays its own.

        Returns:
            That rule and the `to` of one such way, if there is one.
        """
        source = place[2]
        if source != ALL:
            mask &= ~(1 << self._bits.setdefault(source, len(self._bits)))  # to itself is no way
        taken = self._taken.get(place, 0)
        shares = self._shares.setdefault(place, [])
        clash = (
            next(((mask & theirs, other) for theirs, other in shares if mask & theirs), None) if mask & taken else None
        )
        self._taken[place] = taken | mask
        if mask & ~taken:
            shares.append((mask & ~taken, rule))
        if clash is None:
            return None
        first = (clash[0] & -clash[0]).bit_length() - 1
        return clash[1], next(islice(self._bits, first, None))


def _ambiguous(scene: SceneModel) -> Iterator[Flaw]:
    """Rules of one rank that set one key for one way between two states. Rules of one rank name the same sides, so
    ways can be compared by what is written."""
    owners = _Owners()
    for j, rule in enumerate(scene.transitions):
        targets = owners.mask(_written(rule.to))
        found: tuple[int, str, str, str] | None = None
        for key in rule.values():
            for source in dict.fromkeys(_written(rule.from_)):
                clash = owners.take((rank(rule), key, source), targets, j)
                if clash and found is None:
                    found = (clash[0], key, source, clash[1])
        if found:
            i, key, source, target = found
            if all(_short(key, other) for other in (rule, scene.transitions[i])):
                key = "crossfade"
            yield Flaw(
                ("transitions", j),
                f"sets {key} for {_for_example(scene, source, target)}, and so does transitions[{i}]",
                "name the states of one of them more closely",
                tuple(("transitions", n, side) for n in (i, j) for side in ("from", "to")),
            )


def _short(key: str, rule: Transition) -> bool:
    """Whether a rule sets a fade by its `crossfade`."""
    return key in ("fade_in", "fade_out") and getattr(rule, key) is None


def _written(side: str | tuple[str, ...]) -> tuple[str, ...]:
    return (side,) if isinstance(side, str) else side


def _for_example(scene: SceneModel, source: str, target: str) -> str:
    """A way between two states, one for each `*`."""
    known = [name for name in scene.known_states if name != NONE]
    if source == ALL:
        source = next(name for name in known if name != target)
    if target == ALL:
        target = next(name for name in known if name != source)
    return f"{source} -> {target}"
