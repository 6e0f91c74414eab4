"""What a type checker would say, and more, at the call: before anything sounds."""

from __future__ import annotations

import math
from typing import Any

from soundscape.engine import SetGain
from soundscape.exceptions import UsageError
from soundscape.outputs import Output
from soundscape.scene import MAIN, STATE_NAME, SceneModel
from soundscape.scene.flaws import nearest

__all__ = ["check_options", "check_state", "seconds", "set_gain_of", "within"]

_MOST_DB = 40.0
_LONGEST_SECONDS = 86_400.0


def check_options(seed: object, output: object, sample_rate: object, on_error: object, switch_interval: Any) -> None:
    """The options of a `Soundscape`."""
    if on_error not in ("raise", "skip"):
        raise UsageError(f"on_error must be 'raise' or 'skip', not {on_error!r}")
    if seed is not None and not (type(seed) is int and seed.bit_length() <= 64):
        raise UsageError("a seed is a whole number of 64 bits at most")
    if output is not None and (isinstance(output, type) or not isinstance(output, Output)):
        raise UsageError(f"{output!r} is no output: an output has heard, start, changed and aclose")
    if type(sample_rate) is not int or not 8_000 <= sample_rate <= 192_000:
        raise UsageError(f"a sample rate is a whole number from 8,000 to 192,000, not {sample_rate!r}")
    if output is None and sample_rate % 100:
        raise UsageError(f"a room takes 10 ms at a time: {sample_rate} frames a second cannot be divided so")
    if switch_interval is not None:
        within("a switch interval", switch_interval, 0.00001, 0.1)


def check_state(state: Any) -> None:
    """An application's own state, or None."""
    if state in ("none", "close"):
        raise UsageError(f"{state!r} is what is before and after the session; None clears the application's state")
    if state is not None and not (isinstance(state, str) and STATE_NAME.fullmatch(state)):
        raise UsageError(f"{state!r} is not a state's name: lower-case letters, digits and _, a letter first")


def within(what: str, value: Any, low: float, high: float) -> float:
    """A finite number between two others, these included."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UsageError(f"{what} is a number from {low:g} to {high:,g}, not {value!r}")
    return float(value)


def seconds(what: str, value: Any) -> float:
    """The length of a fade."""
    return within(what, value, 0.0, _LONGEST_SECONDS)


def set_gain_of(scene: SceneModel, name: Any, gain_db: Any, fade: Any) -> SetGain:
    """What `set_gain` asks for, in a scene: a bus of that name, else a layer of that key."""
    buses = [MAIN, *scene.buses]
    keys = [scene.key(layer) for _, layer in scene.all_layers]
    if name not in buses and name not in keys:
        known = dict.fromkeys([*buses, *keys])
        hint = nearest(name, known) if isinstance(name, str) else ""
        raise UsageError(f"no bus and no key is called {name!r}; {hint or f'there are {_listed(known)}'}")
    if isinstance(gain_db, bool) or not isinstance(gain_db, int | float) or not -math.inf < gain_db <= _MOST_DB:
        raise UsageError(f"a gain is a number of dB, {_MOST_DB:g} at most, not {gain_db!r}")
    return SetGain("bus" if name in buses else "layer", name, float(gain_db), seconds("a fade", fade))


def _listed(names: Any) -> str:
    shown = [repr(name) for name in names]
    return ", ".join(shown[:12] + ["..."] * (len(shown) > 12))
