"""The scene: the tables of a scene file as frozen data, and the rules that hold across them. Pure data, no audio.

`SceneModel` says what is wanted in a state (`wanted`) and how to get from one state to the next (`rule`). What pydantic
cannot say of one table alone, `flaws` says of all of them together; `soundscape.loader` puts both into the words of
the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cached_property
from itertools import islice, product
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from soundscape.gain import db_to_linear

__all__ = [
    "AGENT_STATES",
    "NONE",
    "RESERVED",
    "STATE_NAME",
    "AudioConfig",
    "Base",
    "Defaults",
    "Flaw",
    "Layer",
    "Pool",
    "Rule",
    "SceneModel",
    "State",
    "Transition",
    "nearest",
]

AGENT_STATES = ("initializing", "idle", "listening", "thinking", "speaking")
"""LiveKit's agent states, in its spelling."""

NONE = "none"
"""The state before the session and after it."""

RESERVED = ("beat", "curve", "include", "parameter", "pitch")
"""Keys that may come to mean something one day."""

HOST_STATES = (*AGENT_STATES, "tool", "away")
MAX_WAYS = 10_000
"""Ways from state to state that one rule may name one by one; it keeps the search for ambiguous rules short."""

STATE_NAME = re.compile(r"[a-z][a-z0-9_]*")

Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Volume = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
GainDb = Annotated[float, Field(le=40, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]


def _form(value: Any) -> str | None:
    """Which form a value has that may be a name or a list."""
    return "name" if isinstance(value, str) else "list" if isinstance(value, list | tuple) else None


class _Table(BaseModel):
    """A table of the file: nothing unknown, nothing converted, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AudioConfig(_Table):
    """A source with LiveKit's AudioConfig fields and their meaning."""

    source: Name = Field(description="`soundscape:NAME`, `livekit:NAME`, or a file relative to the scene's folder.")
    volume: Volume = Field(default=1.0, description="Linear factor, 0 to 100.")
    probability: Probability = Field(
        default=1.0, description="Share of the draws, 0 to 1; what is left of 1 is silence."
    )
    fade_in: Seconds | None = Field(default=None, description="Seconds, in place of the transition's.")
    fade_out: Seconds | None = Field(default=None, description="Seconds, in place of the transition's.")


Entries = Annotated[tuple[AudioConfig, ...], Field(min_length=1, strict=False)]
PoolOrName = Annotated[Annotated[Name, Tag("name")] | Annotated[Entries, Tag("list")], Discriminator(_form)]


class Pool(_Table):
    """Sounds of which one is drawn each time."""

    entries: Entries = Field(description="What is drawn from.")
    mode: Literal["random"] = Field(default="random", description="Each draw on its own, by the probabilities.")


class Layer(_Table):
    """One sound, or one pool of sounds, that is wanted in a state."""

    key: Name | None = Field(
        default=None, description="What makes it the same sound in two states; the source unless said."
    )
    kind: Literal["loop", "once"] = Field(
        default="loop", description="Goes on while it is wanted, or is heard once on entry."
    )
    pool: PoolOrName | None = Field(default=None, description="A pool's name, or a list of AudioConfigs.")
    source: Name | None = Field(default=None, description="One sound in place of a pool.")
    probability: Probability | None = Field(
        default=None, description="Of the source in place: how often it sounds at all."
    )
    volume: Volume | None = Field(default=None, description="The layer's gain as a linear factor.")
    gain_db: GainDb | None = Field(default=None, description="The layer's gain in dB.")
    start: Literal["beginning", "random", "resume", "elapsed"] | None = Field(
        default=None, description="Where in its clip a loop begins."
    )
    on_exit: Literal["fade", "finish"] | None = Field(
        default=None, description="What becomes of it in a state that does not want it."
    )
    fade_in: Seconds | None = Field(default=None, description="Seconds, in place of the transition's.")
    fade_out: Seconds | None = Field(default=None, description="Seconds, in place of the transition's.")

    @property
    def gain(self) -> float:
        """The layer's linear gain."""
        if self.gain_db is not None:
            return db_to_linear(self.gain_db)
        return 1.0 if self.volume is None else self.volume

    @property
    def finishes(self) -> bool:
        """Whether it plays out on leaving: a shot does, a loop fades, unless said."""
        return self.on_exit == "finish" or (self.on_exit is None and self.kind != "loop")


class State(_Table):
    """The layers of one state, base layers apart."""

    layers: tuple[Layer, ...] = Field(default=(), strict=False, description="What sounds in this state.")

    @model_validator(mode="before")
    @classmethod
    def _in_place(cls, table: Any) -> Any:
        """One layer written in place is a list of one."""
        if isinstance(table, dict) and table and "layers" not in table:
            return {"layers": [table]}
        return table


class Base(State):
    """The layers of every state but `none`."""


class Defaults(_Table):
    """The lowest rule of all."""

    crossfade: Seconds = Field(default=0.8, description="Seconds of a fade that no rule sets.")
    fade_in: Seconds | None = Field(default=None, description="Seconds of a fade-in that no rule sets.")
    fade_out: Seconds | None = Field(default=None, description="Seconds of a fade-out that no rule sets.")
    declick: Seconds = Field(default=0.005, description="Seconds of the shortest fade there is.")


Names = Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]
NameOrNames = Annotated[Annotated[Name, Tag("name")] | Annotated[Names, Tag("list")], Discriminator(_form)]


class Transition(_Table):
    """A rule about the way from some states to some others."""

    from_: NameOrNames = Field(default="*", alias="from", description="A state, a list of states, `*` or `none`.")
    to: NameOrNames = Field(default="*", description="A state, a list of states, `*` or `none`.")
    crossfade: Seconds | None = Field(default=None, description="Seconds of both fades.")
    fade_in: Seconds | None = Field(default=None, description="Seconds in which what comes rises.")
    fade_out: Seconds | None = Field(default=None, description="Seconds in which what goes falls.")
    urgent: bool | None = Field(default=None, description="Nothing that leaves may hold on.")

    def values(self) -> dict[str, Any]:
        """What the rule sets, `crossfade` spelt out as the fades it stands for."""
        fade_in = self.crossfade if self.fade_in is None else self.fade_in
        fade_out = self.crossfade if self.fade_out is None else self.fade_out
        found = {"fade_in": fade_in, "fade_out": fade_out, "urgent": self.urgent}
        return {key: value for key, value in found.items() if value is not None}


class Rule(NamedTuple):
    """How one state becomes another: every value resolved, seconds."""

    fade_in: float
    fade_out: float
    urgent: bool
    origins: dict[str, str]
    """For each value the rule it came from, in the file's words."""


class Flaw(NamedTuple):
    """Something wrong across tables: where as a path of keys and indices, what, and what to do."""

    loc: tuple[str | int, ...]
    message: str
    hint: str = ""


_TO_SPEAKING = Transition.model_validate({"to": "speaking", "fade_out": 0.25, "urgent": True})
"""Built in, below the author's rules of its rank: speech never waits for a sound effect."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known word, or nothing."""
    found = get_close_matches(word, list(islice(known, 200)), n=1, cutoff=0.6)  # enough to choose from, and quick
    return f"did you mean {found[0]!r}?" if found else ""


def _names(side: str | tuple[str, ...]) -> bool:
    return side != "*"


def _matches(side: str | tuple[str, ...], state: str) -> bool:
    if side == "*":
        return state != NONE
    return state == side if isinstance(side, str) else state in side


def _written(side: str | tuple[str, ...]) -> list[str]:
    return [side] if isinstance(side, str) else list(dict.fromkeys(side))


def _rank(rule: Transition) -> int:
    """Both named, `to` named, `from` named, both `*`: the higher wins."""
    return 2 * _names(rule.to) + _names(rule.from_)


class SceneModel(_Table):
    """Which sounds are wanted in which state, and how to get from one state to the next."""

    name: str = Field(default="scene", description="Shown in logs and pictures; the file's name unless said.")
    description: str = Field(default="", description="For people.")
    seed: int | None = Field(default=None, description="Makes every draw repeatable.")
    defaults: Defaults = Field(default=Defaults(), description="The lowest rule of all.")
    base: Base = Field(default=Base(), description="Sounds in every state.")
    states: dict[str, State] = Field(default={}, description="Sounds by state.")
    pools: dict[str, Pool] = Field(default={}, description="Pools by name.")
    transitions: tuple[Transition, ...] = Field(default=(), strict=False, description="How to get from state to state.")

    @cached_property
    def known_states(self) -> tuple[str, ...]:
        """Every state a rule may name: LiveKit's, `tool`, `away`, `none` and the scene's own."""
        return tuple(dict.fromkeys((NONE, *HOST_STATES, *self.states)))

    def entries(self, layer: Layer) -> tuple[AudioConfig, ...]:
        """What a layer draws from, in the file's order. A source in place is a list of one."""
        if isinstance(layer.pool, str):
            return self.pools[layer.pool].entries
        if layer.pool is not None:
            return layer.pool
        assert layer.source is not None, "flaws() were not looked at"
        return (AudioConfig(source=layer.source, probability=1.0 if layer.probability is None else layer.probability),)

    def key(self, layer: Layer) -> str:
        """A layer's key: what it says, else its source, its pool's name or the pool's sources."""
        if layer.key is not None:
            return layer.key
        name = layer.pool if isinstance(layer.pool, str) else "+".join(e.source for e in self.entries(layer))
        return name if layer.kind == "loop" else f"{layer.kind} {name}"

    def wanted(self, state: str) -> dict[str, Layer]:
        """The layers wanted in a state by key: base's, each replaced by the state's own of the same key."""
        if state == NONE:
            return {}
        own = self.states[state].layers if state in self.states else ()
        return {self.key(layer): layer for layer in (*self.base.layers, *own)}

    @property
    def all_layers(self) -> Iterator[tuple[tuple[str | int, ...], Layer]]:
        """Every layer with its place."""
        for i, layer in enumerate(self.base.layers):
            yield ("base", "layers", i), layer
        for name, state in self.states.items():
            for i, layer in enumerate(state.layers):
                yield ("states", name, "layers", i), layer

    @property
    def all_sources(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Every source with its place, in pools that nothing uses too."""
        for name, pool in self.pools.items():
            for i, entry in enumerate(pool.entries):
                yield ("pools", name, "entries", i, "source"), entry.source
        for loc, layer in self.all_layers:
            if layer.source is not None:
                yield (*loc, "source"), layer.source
            if isinstance(layer.pool, tuple):
                for i, entry in enumerate(layer.pool):
                    yield (*loc, "pool", i, "source"), entry.source

    @cached_property
    def _ranked(self) -> list[tuple[str, Transition]]:
        rules = [(f"transitions[{i}]", rule) for i, rule in enumerate(self.transitions)]
        rules.append(("built in", _TO_SPEAKING))
        return sorted(rules, key=lambda named: -_rank(named[1]))

    def rule(self, source: str, target: str) -> Rule:
        """How a state becomes another one: each value from the highest rule that sets it."""
        values: dict[str, Any] = {}
        origins: dict[str, str] = {}
        for name, rule in self._ranked:
            if _matches(rule.from_, source) and _matches(rule.to, target):
                for key, value in rule.values().items():
                    if key not in values:
                        values[key], origins[key] = value, name
        lowest = self.defaults
        for key, own in (("fade_in", lowest.fade_in), ("fade_out", lowest.fade_out)):
            if key not in values:
                values[key], origins[key] = lowest.crossfade if own is None else own, "defaults"
        if "urgent" not in values:
            values["urgent"], origins["urgent"] = False, "built in"
        return Rule(**values, origins=origins)

    def flaws(self) -> Iterator[Flaw]:
        """What is wrong across tables, in no order. A scene without flaws can be played as far as its text goes."""
        yield from self._state_flaws()
        yield from self._pool_flaws()
        yield from self._layer_flaws()
        yield from self._key_flaws()
        yield from self._rule_flaws()

    def _state_flaws(self) -> Iterator[Flaw]:
        for name in self.states:
            if name in (NONE, "close"):
                hint = "it is before the session and after it, nothing sounds in it" if name == NONE else ""
                yield Flaw(("states", name), f"{name!r} is not a state that can be defined", hint)
            elif not STATE_NAME.fullmatch(name):
                yield Flaw(
                    ("states", name),
                    f"{name!r} is not a state's name",
                    "lower-case letters, digits and _ only, a letter first",
                )

    def _pool_flaws(self) -> Iterator[Flaw]:
        for name, pool in self.pools.items():
            yield from self._silent_flaws(("pools", name, "entries"), pool.entries)
        for loc, layer in self.all_layers:
            if isinstance(layer.pool, tuple):
                yield from self._silent_flaws((*loc, "pool"), layer.pool)

    @staticmethod
    def _silent_flaws(loc: tuple[str | int, ...], entries: tuple[AudioConfig, ...]) -> Iterator[Flaw]:
        if all(entry.probability == 0 for entry in entries):
            yield Flaw(loc, "every probability is 0, nothing would ever sound", "give one of them a share")

    def _layer_flaws(self) -> Iterator[Flaw]:
        for loc, layer in self.all_layers:
            if layer.pool is None and layer.source is None:
                yield Flaw(loc, "a layer needs a source or a pool", 'write source = "..." or pool = ...')
            if layer.pool is not None and layer.source is not None:
                yield Flaw((*loc, "source"), "a layer has a source or a pool, not both", "leave one of them out")
            if layer.pool is not None and layer.probability is not None:
                yield Flaw(
                    (*loc, "probability"), "beside a pool it has no meaning", "give the pool's entries probabilities"
                )
            if layer.source is not None and layer.pool is None and layer.probability == 0:
                yield Flaw((*loc, "probability"), "at 0 it would never sound", "leave the layer out")
            if layer.volume is not None and layer.gain_db is not None:
                yield Flaw((*loc, "gain_db"), "a layer has a volume or a gain_db, not both", "leave one of them out")
            if layer.start is not None and layer.kind != "loop":
                yield Flaw((*loc, "start"), f"only a loop has it, and this layer is {layer.kind!r}", "leave it out")
            if isinstance(layer.pool, str) and layer.pool not in self.pools:
                yield Flaw(
                    (*loc, "pool"),
                    f"no pool is called {layer.pool!r}",
                    nearest(layer.pool, self.pools) or f"define it as [pools.{layer.pool}]",
                )

    def _sound(self, layer: Layer) -> bool:
        """Whether a layer says well enough what it plays to have a key."""
        if isinstance(layer.pool, str):
            return layer.pool in self.pools
        return layer.pool is not None or layer.source is not None

    def _key_flaws(self) -> Iterator[Flaw]:
        seen: dict[str, tuple[tuple[str | int, ...], Layer]] = {}
        tables: set[tuple[tuple[str | int, ...], str]] = set()
        for loc, layer in self.all_layers:
            if not self._sound(layer):
                continue
            key = self.key(layer)
            if (loc[:-2], key) in tables:
                yield Flaw(loc, f"the key {key!r} is there twice in one state", 'tell them apart with key = "..."')
                continue
            tables.add((loc[:-2], key))
            first_loc, first = seen.setdefault(key, (loc, layer))
            what = "kind" if first.kind != layer.kind else "pool"
            if first.kind != layer.kind or self.entries(first) != self.entries(layer):
                place = "base" if first_loc[0] == "base" else f"states.{first_loc[1]}"
                yield Flaw(loc, f"the key {key!r} has another {what} in {place}", 'tell them apart with key = "..."')

    def _rule_flaws(self) -> Iterator[Flaw]:
        known = set(self.known_states)
        for i, rule in enumerate(self.transitions):
            for key, side in (("from", rule.from_), ("to", rule.to)):
                for j, name in enumerate((side,) if isinstance(side, str) else side):
                    loc = ("transitions", i, key) if isinstance(side, str) else ("transitions", i, key, j)
                    if name == "*" and not isinstance(side, str):
                        yield Flaw(loc, "a list may not hold '*'", f'write {key} = "*"')
                    elif name != "*" and name not in known:
                        hint = nearest(name, self.known_states) or f"define it as [states.{name}]"
                        yield Flaw(loc, f"no state is called {name!r}", hint)
        yield from self._ambiguous()

    def _ambiguous(self) -> Iterator[Flaw]:
        """Two rules of one rank that set the same value for the same way: neither can be meant to win.

        Rules of one rank name the same sides, so ways can be compared by what is written.
        """
        seen: dict[tuple[int, str, str, str], int] = {}
        for j, rule in enumerate(self.transitions):
            sources, targets = _written(rule.from_), _written(rule.to)
            if len(sources) * len(targets) > MAX_WAYS:
                yield Flaw(("transitions", j), f"a rule for more than {MAX_WAYS:,} ways", 'write "*" for one side')
                continue
            ways = [(s, t) for s, t in product(sources, targets) if s != t or s == "*"]
            clash = None
            for key in rule.values():
                for source, target in ways:
                    i = seen.setdefault((_rank(rule), key, source, target), j)
                    clash = clash or (None if i == j else (i, key, source, target))
            if clash:
                i, key, source, target = clash
                yield Flaw(
                    ("transitions", j),
                    f"sets {key} for {self._for_example(source, target)}, and so does transitions[{i}]",
                    "name the states of one of them more closely",
                )

    def _for_example(self, source: str, target: str) -> str:
        """A way between two states, one for each `*`."""
        known = [name for name in self.known_states if name != NONE]
        sources = known if source == "*" else [source]
        targets = known if target == "*" else [target]
        return next(f"{s} -> {t}" for s, t in product(sources, targets) if s != t)
