"""Sequences: what became true of a session and when, as tests and the command line write it.

listening@0 user=speaking@2.5 thinking@3 tool=lookup@4 tool=-@5 close@12
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence

from soundscape.engine import Fact
from soundscape.exceptions import UsageError
from soundscape.scene import NONE, STATE_NAME, USER_STATES
from soundscape.scene.flaws import nearest

__all__ = ["Sequenced", "parse_sequence", "write_seconds", "write_sequence"]

Sequenced = str | os.PathLike[str] | Sequence[tuple[float, str]]
"""What can be replayed: a sequence, written or as a list, or the path of a recording."""

_FACT = re.compile(r"(?:(?P<kind>user|tool|app)=)?(?P<value>[^@=\s]+)@(?P<at>\S+)")


def parse_sequence(sequence: str | Sequence[tuple[float, str]]) -> list[tuple[float, Fact]]:
    """The facts of a sequence with their times in seconds.

    Args:
        sequence: `NAME@SECONDS` for the agent's state, `user=NAME@SECONDS`, `tool=NAME@SECONDS`, `app=NAME@SECONDS`
            (`-` for none any more) and `close@SECONDS`, separated by white space; or a list of (seconds, what stands
            before the `@`).

    Raises:
        UsageError: it says what is wrong with which part.
    """
    try:
        words = sequence.split() if isinstance(sequence, str) else [f"{event}@{at}" for at, event in sequence]
    except (TypeError, ValueError):
        raise UsageError(f"a sequence is a string or a list of (seconds, event), not {sequence!r}") from None
    facts: list[tuple[float, Fact]] = []
    for word in words:
        found = _FACT.fullmatch(word)
        if found is None:
            how = "write thinking@3, user=speaking@3.5, tool=lookup@4, app=-@9 or close@12"
            raise UsageError(f"{word!r} is not a part of a sequence; {how}")
        at = _seconds(found["at"], word)
        if facts and facts[-1][1].kind == "close":
            raise UsageError(f"{word!r} comes after close; nothing does")
        if facts and at < facts[-1][0]:
            raise UsageError(f"{word!r} goes back in time; the one before is at {facts[-1][0]:g}")
        facts.append((at, _fact(found["kind"] or "agent", found["value"], word)))
    return facts


def _seconds(text: str, word: str) -> float:
    try:
        at = float(text)
    except ValueError:
        at = math.nan
    if not 0 <= at <= 86_400:
        raise UsageError(f"{word!r}: the time must be a number of seconds from 0 to 86,400")
    return at


def _fact(kind: str, value: str, word: str) -> Fact:
    if kind == "agent" and value == "close":
        return Fact("close")
    if kind != "agent" and value == "-":
        return Fact(kind)  # type: ignore[arg-type]
    if kind == "user" and value not in USER_STATES:
        hint = nearest(value, USER_STATES) or f"there are {', '.join(USER_STATES)}"
        raise UsageError(f"{word!r}: {value!r} is not a state of LiveKit's user; {hint}")
    if value in (NONE, "close") and kind != "tool":
        raise UsageError(f"{word!r}: {value!r} is before the session and after it; write close@12")
    if kind != "tool" and not STATE_NAME.fullmatch(value):
        raise UsageError(f"{word!r}: {value!r} is not a state's name: lower-case letters, digits and _, a letter first")
    return Fact(kind, value)  # type: ignore[arg-type]


def write_sequence(facts: Iterable[tuple[float, Fact]]) -> str:
    """A sequence of these facts, each with its time in seconds. The names of tools are as they are: in a recording they
    may be what no sequence can say."""
    return " ".join(_written(at, fact) for at, fact in facts)


def _written(at: float, fact: Fact) -> str:
    if fact.kind not in ("agent", "user", "tool", "app"):
        return f"{fact.kind}@{write_seconds(at)}"
    kind = "" if fact.kind == "agent" else f"{fact.kind}="
    value = "-" if fact.value is None else fact.value
    return f"{kind}{value}@{write_seconds(at)}"


def write_seconds(seconds: float) -> str:
    """Seconds to the thousandth, without zeros at the end: `3`, `2.5`."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")
