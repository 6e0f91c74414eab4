"""Facts: what the driver is told, and how a recording writes it down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

from soundscape.clip import Clip
from soundscape.driver.scenery import Scenery

__all__ = ["FACT_KINDS", "Fact", "FactKind", "Moment", "Piece", "SetGain", "Switch", "flaw", "from_plain", "to_plain"]

FactKind = Literal["agent", "user", "tool", "app", "close", "cut", "gain", "play", "feed", "stop", "scene"]
FACT_KINDS: tuple[FactKind, ...] = get_args(FactKind)


class SetGain(NamedTuple):
    """A gain of one's own for a bus or a layer, beside all that the scene says.

    Attributes:
        of: what it is set of.
        name: the bus's name, or the layer's key.
        gain_db: the gain to reach, dB.
        fade: seconds to reach it in.
    """

    of: Literal["bus", "layer"]
    name: str
    gain_db: float
    fade: float


class Moment(NamedTuple):
    """A sound of the moment.

    Attributes:
        number: by which it is stopped; no other of the session has it.
        source: as the caller wrote it.
        clip: what it is; None where it is fed piece by piece.
        volume: linear gain.
        loop: whether it goes round until it is stopped.
        fade_in: seconds; 0 begins at full level.
        fade_out: seconds, when it is stopped.
    """

    number: int
    source: str
    clip: Clip | None
    volume: float = 1.0
    loop: bool = False
    fade_in: float = 0.0
    fade_out: float = 0.0


class Piece(NamedTuple):
    """What follows of a sound of the moment that is fed.

    Attributes:
        number: the moment's.
        source: under what the piece is among the clips.
        clips: where it is looked up once it is to be heard.
        frames: how long it is; 0 for no more: the sound is over where the piece before ends.
    """

    number: int
    source: str
    clips: Mapping[str, Clip]
    frames: int


class Switch(NamedTuple):
    """Another scene.

    Attributes:
        reference: the scene as the caller named it.
        scenery: what it is.
        crossfade: seconds, in place of what the scene says.
    """

    reference: str
    scenery: Scenery
    crossfade: float | None = None


class Fact(NamedTuple):
    """Something that became true of the session, or was asked for.

    Attributes:
        kind: `agent` and `user` (their states), `tool` (a name while any runs), `app` (the application's own state),
            `close`, and `cut` where the end of the close's fade cannot be waited for; and what was asked for: `gain`,
            `play`, `feed`, `stop`, `scene`.
        value: the state or the name, None where there is none any more; of a `gain` a `SetGain`, of a `play` a
            `Moment`, of a `feed` a `Piece`, of a `stop` the moment's number, of a `scene` a `Switch`.
    """

    kind: FactKind
    value: Any = None


_VALUES: dict[str, type] = {"gain": SetGain, "play": Moment, "feed": Piece, "stop": int, "scene": Switch}


def flaw(fact: Fact) -> str:
    """What makes this no fact; empty where nothing does."""
    if fact.kind not in FACT_KINDS:
        return f"its kind is one of {', '.join(FACT_KINDS)}"
    if fact.kind == "agent" and not fact.value:
        return "an agent has a state"
    if (kind := _VALUES.get(fact.kind)) is not None and not isinstance(fact.value, kind):
        return f"the value of {fact.kind} is of the type {kind.__name__}"
    return ""


def to_plain(fact: Fact) -> Any:
    """A fact's value as JSON has it; `from_plain` makes the fact of it again."""
    value = fact.value
    if not isinstance(value, SetGain | Moment | Switch):
        return value
    return {name: part for name, part in value._asdict().items() if name not in ("clip", "scenery")}


def from_plain(kind: FactKind, value: Any, *, clip: Callable[[str], Clip], scenery: Callable[[str], Scenery]) -> Fact:
    """The fact that `to_plain` gave this value for.

    Args:
        kind: the fact's.
        value: what `to_plain` gave.
        clip: the clip of a moment's source; a name from `[clips]` is of the scene that plays then.
        scenery: the scene of a reference.

    Raises:
        ValueError: it is none.
    """
    try:
        if kind == "gain":
            value = SetGain(**value)
        elif kind == "play":
            value = Moment(**value, clip=clip(value["source"]))
        elif kind == "scene":
            value = Switch(**value, scenery=scenery(value["reference"]))
    except (TypeError, KeyError):
        raise ValueError(f"{value!r} is no value of {kind}") from None
    if wrong := flaw(fact := Fact(kind, value)):
        raise ValueError(wrong)
    return fact
