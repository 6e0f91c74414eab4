"""The scene: the tables of a scene file as frozen data. Pure data, no audio.

`SceneModel` says what is wanted in a state (`wanted`) and how to get from one state to the next (`rule`). What pydantic
cannot say of one table alone, `soundscape.scene.flaws` says of all of them together; `soundscape.loader` puts both into
the words of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, NamedTuple

from pydantic import Field, PrivateAttr

from soundscape.scene.tables import (
    ALL,
    Base,
    Bus,
    ClipTable,
    Defaults,
    Duck,
    Layer,
    Pool,
    State,
    Table,
    Transition,
)

__all__ = [
    "AGENT_STATES",
    "HOST_STATES",
    "MAIN",
    "NONE",
    "RESERVED",
    "STATE_NAME",
    "USER_STATES",
    "Loc",
    "Rule",
    "SceneModel",
]

AGENT_STATES = ("initializing", "idle", "listening", "thinking", "speaking")
"""LiveKit's agent states, in its spelling."""

USER_STATES = ("listening", "speaking", "away")
"""LiveKit's user states, in its spelling."""

HOST_STATES = (*AGENT_STATES, "tool", "away")
"""Every state that a session can be in without the application's doing."""

NONE = "none"
"""The state before the session and after it."""

MAIN = "main"
"""The bus of layers that name none."""

RESERVED = ("beat", "curve", "include", "parameter", "pitch")
"""Keys that may come to mean something one day."""

STATE_NAME = re.compile(r"[a-z][a-z0-9_]*")

Loc = tuple[str | int, ...]
"""A place as a path of keys and indices."""


class Rule(NamedTuple):
    """How one state becomes another: every value resolved, seconds."""

    fade_in: float
    fade_out: float
    settle: float
    urgent: bool
    origins: dict[str, str]
    """For each value the rule it came from, in the file's words."""


_TO_SPEAKING = Transition.model_validate({"to": "speaking", "fade_out": 0.25, "settle": 0.0, "urgent": True})
"""Built in, below the author's rules of its rank: speech never waits for a sound effect."""


def _names(side: str | tuple[str, ...]) -> bool:
    return side != ALL


def _matches(side: str | tuple[str, ...], state: str) -> bool:
    if side == ALL:
        return state != NONE
    return state == side if isinstance(side, str) else state in side


class SceneModel(Table):
    """Which sounds are wanted in which state, and how to get from one state to the next."""

    name: str = Field(default="scene", description="Shown in logs and pictures; the file's name unless said.")
    description: str = Field(default="", description="For people.")
    seed: int | None = Field(default=None, description="Makes every draw repeatable.")
    speech_lufs: Annotated[float, Field(ge=-70, le=0, allow_inf_nan=False)] = Field(
        default=-20.0, description="How loud the agent speaks, LUFS: what the buses' levels are relative to."
    )
    defaults: Defaults = Field(default=Defaults(), description="The lowest rule of all.")
    base: Base = Field(default=Base(), description="Sounds in every state.")
    states: dict[str, State] = Field(default={}, description="Sounds by state.")
    pools: dict[str, Pool] = Field(default={}, description="Pools by name.")
    clips: dict[str, ClipTable] = Field(default={}, description="Files with their own treatment, by name.")
    buses: dict[str, Bus] = Field(default={}, description="Loudness of groups of layers, by name.")
    ducks: tuple[Duck, ...] = Field(default=(), strict=False, description="Dips while somebody speaks.")
    transitions: tuple[Transition, ...] = Field(default=(), strict=False, description="How to get from state to state.")

    _not_defined: set[str] = PrivateAttr(default_factory=set)

    def first_told(self, state: str) -> bool:
        """Whether a state that the scene does not know is met for the first time, in any run of this scene."""
        known = len(self._not_defined)
        self._not_defined.add(state)
        return len(self._not_defined) > known

    @cached_property
    def known_states(self) -> tuple[str, ...]:
        """Every state a rule may name: LiveKit's, `tool`, `away`, `none` and the scene's own."""
        return tuple(dict.fromkeys((NONE, *HOST_STATES, *self.states)))

    def pool(self, layer: Layer) -> Pool:
        """What a layer draws from."""
        return self.pools[layer.pool] if isinstance(layer.pool, str) else layer.own_pool

    def key(self, layer: Layer) -> str:
        """A layer's key: what it says, else its source, its pool's name or the pool's sources."""
        if layer.key is not None:
            return layer.key
        named = isinstance(layer.pool, str)
        name = layer.pool if named else "+".join(entry.source for entry in self.pool(layer).entries)
        kind = "" if layer.kind == "loop" else f"{layer.kind} "
        bus = "" if layer.bus in (None, MAIN) else f" @{layer.bus}"
        return f"{kind}{name}{bus}"

    def wanted(self, state: str) -> dict[str, Layer]:
        """The layers wanted in a state by key: base's, each replaced by the state's own of the same key."""
        if state == NONE:
            return {}
        own = self.states[state].layers if state in self.states else ()
        return {self.key(layer): layer for layer in (*self.base.layers, *own)}

    def level_lufs(self, layer: Layer) -> float | None:
        """The loudness that a layer's bus brings its clips to; None on no bus, where a file plays as it is."""
        if layer.bus is None or layer.bus == MAIN:
            return None
        return self.speech_lufs + self.buses[layer.bus].level_lu

    @property
    def all_layers(self) -> Iterator[tuple[Loc, Layer]]:
        """Every layer with its place."""
        for i, layer in enumerate(self.base.layers):
            yield ("base", "layers", i), layer
        for name, state in self.states.items():
            for i, layer in enumerate(state.layers):
                yield ("states", name, "layers", i), layer

    @property
    def all_sources(self) -> Iterator[tuple[Loc, str]]:
        """Every source of a layer or a pool with its place, in pools that nothing uses too."""
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
        return sorted(rules, key=lambda named: -rank(named[1]))

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
        own = {
            "fade_in": lowest.crossfade if lowest.fade_in is None else lowest.fade_in,
            "fade_out": lowest.crossfade if lowest.fade_out is None else lowest.fade_out,
            "settle": lowest.settle,
        }
        for key, value in own.items():
            if key not in values:
                values[key], origins[key] = value, "defaults"
        if "urgent" not in values:
            values["urgent"], origins["urgent"] = False, "built in"
        return Rule(**values, origins=origins)


def rank(rule: Transition) -> int:
    """Both named, `to` named, `from` named, both `*`: the higher wins."""
    return 2 * _names(rule.to) + _names(rule.from_)
