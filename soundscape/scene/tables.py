"""The tables of a scene file, one model each: keys, types, ranges, defaults, and what each is for."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from soundscape.gain import db_to_linear

__all__ = [
    "ALL",
    "MAX_DUCKS",
    "MAX_ITEMS",
    "AudioConfig",
    "Base",
    "Bus",
    "ClipTable",
    "Defaults",
    "Duck",
    "Layer",
    "Loop",
    "Pool",
    "State",
    "Table",
    "Transition",
]

ALL = "*"
"""In place of a name: every state but `none`, or every bus."""

MAX_ITEMS = 1_000
"""What one table or one list may hold: far more than anybody writes, and little enough to be looked through at once."""

MAX_DUCKS = 16
"""There are two conditions; each duck costs work in every block of every call."""

Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Volume = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
GainDb = Annotated[float, Field(le=40, allow_inf_nan=False)]
NegativeDb = Annotated[float, Field(lt=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]


def _pair(value: Any) -> Any:
    if isinstance(value, list | tuple) and len(value) == 2:
        return value
    raise PydanticCustomError("pair", "must be a list of two numbers")


Range = Annotated[tuple[Seconds, Seconds], Field(strict=False), BeforeValidator(_pair)]
GainRange = Annotated[tuple[GainDb, GainDb], Field(strict=False), BeforeValidator(_pair)]


def _form(value: Any) -> str | None:
    """Which form a value has that may be a name or a list."""
    return "name" if isinstance(value, str) else "list" if isinstance(value, list | tuple) else None


class Table(BaseModel):
    """A table of the file: nothing unknown, nothing converted, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AudioConfig(Table):
    """A source with LiveKit's AudioConfig fields and their meaning."""

    source: Name = Field(
        description="`soundscape:NAME`, `livekit:NAME`, a name from `[clips]`, or a file from the scene's folder.",
        examples=["soundscape:office-ambience", "livekit:keyboard-typing", "sounds/rain.ogg"],
    )
    volume: Volume = Field(default=1.0, description="Linear factor, 0 to 100.")
    probability: Probability = Field(
        default=1.0, description="Share of the draws, 0 to 1; what is left of 1 is silence."
    )
    fade_in: Seconds | None = Field(default=None, description="Seconds, in place of the transition's.")
    fade_out: Seconds | None = Field(default=None, description="Seconds, in place of the transition's.")


Entries = Annotated[tuple[AudioConfig, ...], Field(min_length=1, max_length=MAX_ITEMS, strict=False)]
PoolOrName = Annotated[Annotated[Name, Tag("name")] | Annotated[Entries, Tag("list")], Discriminator(_form)]


class Pool(Table):
    """Sounds of which one is drawn each time."""

    entries: Entries = Field(description="What is drawn from.")
    mode: Literal["random", "shuffle", "sequence"] = Field(
        default="random",
        description="Each draw on its own; all of them once in a random order, and again; in the file's order.",
    )
    avoid_repeat: Annotated[int, Field(ge=0, le=1_000)] = Field(
        default=0, description="How many of the last picks are not drawn again."
    )
    gain_jitter_db: GainRange | None = Field(
        default=None,
        description="From and to, dB: each pick's gain is changed by a drawn amount.",
        examples=[[-3, 0]],
    )

    @cached_property
    def playable(self) -> tuple[int, ...]:
        """The places of the entries that can be drawn."""
        return tuple(i for i, entry in enumerate(self.entries) if entry.probability > 0)

    @cached_property
    def share(self) -> float:
        """The sum of the probabilities: what is left to 1 is silence's."""
        return sum(entry.probability for entry in self.entries)

    @property
    def avoided(self) -> int:
        """How many of the last picks are not drawn again, as far as something is left to draw."""
        return min(self.avoid_repeat, len(self.playable) - 1)


class Layer(Table):
    """One sound, or one pool of sounds, that is wanted in a state."""

    key: Name | None = Field(
        default=None, description="What makes it the same sound in two states; the source unless said."
    )
    kind: Literal["loop", "scatter", "once"] = Field(
        default="loop",
        description="Goes on while it is wanted; is heard now and then; or is heard once on entry.",
    )
    bus: Name | None = Field(
        default=None, description="A name from `[buses]`; without one (bus `main`) the file plays as loud as it is."
    )
    pool: PoolOrName | None = Field(default=None, description="A pool's name, or a list of AudioConfigs.")
    source: Name | None = Field(
        default=None,
        description="One sound in place of a pool: `soundscape:NAME`, `livekit:NAME`, a name from `[clips]`, or a file "
        "from the scene's folder.",
        examples=["soundscape:office-ambience", "livekit:keyboard-typing", "sounds/rain.ogg"],
    )
    probability: Probability | None = Field(
        default=None, description="Of the source in place: how often it sounds at all."
    )
    volume: Volume | None = Field(default=None, description="The layer's gain as a linear factor.")
    gain_db: GainDb | None = Field(default=None, description="The layer's gain in dB.")
    after: Seconds = Field(default=0.0, description="Seconds that it must be wanted before it starts.")
    min_play: Seconds | None = Field(
        default=None, description="Seconds that a loop sounds at least, unless speech or another urgent change comes."
    )
    start: Literal["beginning", "random", "resume", "elapsed"] | None = Field(
        default=None,
        description="Where in its clip a loop begins: there, anywhere, where it fell silent, or as if it had never "
        "stopped.",
    )
    on_exit: Literal["fade", "finish"] | None = Field(
        default=None,
        description="What becomes of it in a state that does not want it: a loop fades, a shot finishes, unless said.",
    )
    fade_in: Seconds | None = Field(default=None, description="Seconds, in place of the transition's.")
    fade_out: Seconds | None = Field(default=None, description="Seconds, in place of the transition's.")
    interval: Range | None = Field(
        default=None,
        description="Of a scatter: from and to, seconds from one shot's end to the next one's start.",
        examples=[[10, 30]],
    )
    first: Range | None = Field(
        default=None, description="Of a scatter: from and to, seconds to the first shot; `interval` unless said."
    )
    max_playbacks: Annotated[int, Field(ge=1, le=64)] | None = Field(
        default=None, description="Of a scatter: how many of its shots may sound at once; 1 unless said."
    )
    cooldown: Seconds | None = Field(
        default=None, description="Of a once: seconds from a shot's start in which no other starts."
    )

    @cached_property
    def own_pool(self) -> Pool:
        """What it draws from where it names no pool. A source in place is a pool of one."""
        assert not isinstance(self.pool, str)
        if self.pool is not None:
            return Pool(entries=self.pool)
        assert self.source is not None, "the flaws were not looked at"
        share = 1.0 if self.probability is None else self.probability
        return Pool(entries=(AudioConfig(source=self.source, probability=share),))

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


class State(Table):
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


class Loop(Table):
    """Which part of a clip goes round."""

    start: Seconds = Field(default=0.0, description="Seconds; what is before it is heard once.")
    end: Seconds | None = Field(default=None, description="Seconds; the clip's end unless said.")
    crossfade: Seconds | None = Field(
        default=None, description="Seconds in which the end crosses into the start; found by itself unless said."
    )


class ClipTable(Table):
    """A name for a file with its own treatment."""

    source: Name = Field(description="`soundscape:NAME`, `livekit:NAME`, or a file from the scene's folder.")
    gain_db: GainDb = Field(default=0.0, description="dB, wherever the clip plays.")
    loop: Loop | None = Field(default=None, description="Which part of it goes round.")
    normalize: bool = Field(default=True, description="Whether a bus brings it to its level.")


class Bus(Table):
    """Layers that share a loudness."""

    level_lu: NegativeDb = Field(
        description="Loudness of each clip, LU relative to the agent's speech; negative.", examples=[-15]
    )


class Duck(Table):
    """A dip of some buses while somebody speaks."""

    while_: Literal["agent_speaking", "user_speaking"] = Field(alias="while", description="What it waits for.")
    by_db: NegativeDb = Field(description="How deep, dB; negative.", examples=[-9])
    buses: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_ITEMS, strict=False)] = Field(
        default=(ALL,), description="Names from `[buses]`, or `main`, or `*` for all."
    )
    fade_out: Seconds = Field(default=0.2, description="Seconds to go down.")
    recovery: Seconds = Field(default=0.5, description="Seconds to wait after the end of it.")
    fade_in: Seconds = Field(default=0.6, description="Seconds to come up again.")


class Defaults(Table):
    """The lowest rule of all."""

    crossfade: Seconds = Field(default=0.8, description="Seconds of a fade that no rule sets.")
    fade_in: Seconds | None = Field(default=None, description="Seconds of a fade-in that no rule sets.")
    fade_out: Seconds | None = Field(default=None, description="Seconds of a fade-out that no rule sets.")
    settle: Seconds = Field(default=0.0, description="Seconds that a change must last, where no rule says.")
    declick: Seconds = Field(default=0.005, description="Seconds of the shortest fade there is.")


Names = Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_ITEMS, strict=False)]
NameOrNames = Annotated[Annotated[Name, Tag("name")] | Annotated[Names, Tag("list")], Discriminator(_form)]


class Transition(Table):
    """A rule about the way from some states to some others."""

    from_: NameOrNames = Field(default=ALL, alias="from", description="A state, a list of states, `*` or `none`.")
    to: NameOrNames = Field(default=ALL, description="A state, a list of states, `*` or `none`.")
    crossfade: Seconds | None = Field(default=None, description="Seconds of both fades.")
    fade_in: Seconds | None = Field(default=None, description="Seconds in which what comes rises.")
    fade_out: Seconds | None = Field(default=None, description="Seconds in which what goes falls.")
    settle: Seconds | None = Field(
        default=None, description="Seconds that the change must last before anything is done about it."
    )
    urgent: bool | None = Field(default=None, description="Nothing that leaves may hold on.")

    def values(self) -> dict[str, Any]:
        """What the rule sets, `crossfade` spelt out as the fades it stands for."""
        fade_in = self.crossfade if self.fade_in is None else self.fade_in
        fade_out = self.crossfade if self.fade_out is None else self.fade_out
        found = {"fade_in": fade_in, "fade_out": fade_out, "settle": self.settle, "urgent": self.urgent}
        return {key: value for key, value in found.items() if value is not None}
