"""Facts: what the driver is told, and how a recording writes it down."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

__all__ = ["FACT_KINDS", "Fact", "FactKind", "SetGain", "flaw", "from_plain", "to_plain"]

FactKind = Literal["agent", "user", "tool", "app", "close", "cut", "gain"]
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


class Fact(NamedTuple):
    """Something that became true of the session, or was asked for.

    Attributes:
        kind: `agent` and `user` (their states), `tool` (a name while any runs), `app` (the application's own state),
            `close`, and `cut` where the end of the close's fade cannot be waited for; `gain`.
        value: the state or the name, None where there is none any more; of a `gain` a `SetGain`.
    """

    kind: FactKind
    value: Any = None


_VALUES: dict[str, type] = {"gain": SetGain}


def flaw(fact: Fact) -> str:
    """What makes this no fact; empty where nothing does."""
    if fact.kind not in FACT_KINDS:
        return f"its kind is one of {', '.join(FACT_KINDS)}"
    if fact.kind == "agent" and not fact.value:
        return "an agent has a state"
    if (kind := _VALUES.get(fact.kind)) is not None and not isinstance(fact.value, kind):
        return f"the value of {fact.kind} is a {kind.__name__}"
    return ""


def to_plain(fact: Fact) -> Any:
    """A fact's value as JSON has it; `from_plain` makes the fact of it again."""
    value = fact.value
    return value._asdict() if isinstance(value, SetGain) else value


def from_plain(kind: FactKind, value: Any) -> Fact:
    """The fact that `to_plain` gave this value for.

    Raises:
        ValueError: it is none.
    """
    try:
        fact = Fact(kind, SetGain(**value) if kind == "gain" else value)
    except TypeError:
        raise ValueError(f"{value!r} is no value of {kind}") from None
    if wrong := flaw(fact):
        raise ValueError(wrong)
    return fact
