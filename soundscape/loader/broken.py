"""What is left of a scene once all that is wrong in it is taken out, so that the rest can be looked at as well.

One mistake is to be one problem: what is taken out leaves something in its place, and what may only look wrong because
of it is not said.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, TypeVar

from soundscape.loader.origin import Origin, child
from soundscape.loader.text import Loc
from soundscape.loader.words import meant
from soundscape.scene import MAIN, SceneModel
from soundscape.scene.flaws import Flaw
from soundscape.scene.tables import AudioConfig, Layer, State

__all__ = ["Broken", "playable", "without"]


class Broken:
    """The places of a scene in which pydantic found something wrong."""

    def __init__(self, origin: Origin, wrong: Sequence[Any]) -> None:
        self._origin = origin
        self._places = {_place(origin, detail) for detail in wrong}
        self._above = {place[:n] for place in self._places for n in range(len(place) + 1)}

    def explain(self, flaw: Flaw) -> bool:
        """Whether a flaw may only be there because something else was taken out."""
        if not self._places:
            return False
        own, *others = (self._origin.real(place) for place in (flaw.loc, *flaw.rests_on))
        if any(place[:n] in self._places for place in (own, *others) for n in range(len(place) + 1)):
            return True
        return any(place in self._above for place in others)


def _place(origin: Origin, detail: Any) -> Loc:
    """What cannot be told for sure because of something that is wrong."""
    return meant(origin, detail["loc"]) if detail["type"] == "extra_forbidden" else origin.real(detail["loc"])


_SOUND = "soundscape:hang-up"
"""In place of a source: one that ships, lest it seems to be missing."""

_TABLES: dict[str | int, dict[str, Any]] = {
    "states": {},
    "pools": {"entries": [{"source": _SOUND}]},
    "clips": {"source": _SOUND},
    "buses": {"level_lu": -1.0},
}
"""In place of named tables, lest what names them seems to name nothing."""

_ELEMENTS: dict[str | int, dict[str, Any]] = {
    "pool": {"source": _SOUND},
    "entries": {"source": _SOUND},
    "layers": {"source": _SOUND},
    "transitions": {},
    "ducks": {"while": "agent_speaking", "by_db": -1.0},
}
"""In place of elements of lists, lest those behind them move up."""

_KEYS: dict[str, Any] = {
    "source": _SOUND,
    "entries": [{"source": _SOUND}],
    "level_lu": -1.0,
    "while": "agent_speaking",
    "by_db": -1.0,
    "from": "none",
    "to": "none",
}
"""In place of keys: of those that a table cannot do without, and of those without which a rule says more."""


def without(data: dict[str, Any], wrong: Sequence[Any], origin: Origin) -> dict[str, Any]:
    """A scene's data with what pydantic found wrong taken out."""
    data = deepcopy(data)
    for detail in wrong:
        loc = origin.real(detail["loc"])
        while isinstance(loc[-1], int) and loc[-2] not in _ELEMENTS:
            loc = loc[:-1]
        here: Any = data
        for part in loc[:-1]:
            here = child(here, part)
        last = loc[-1]
        if isinstance(here, list) and isinstance(last, int):
            here[last] = deepcopy(_ELEMENTS[loc[-2]])
        elif isinstance(here, dict):
            here.pop(str(last), None)
            if not here and last != "layers" and (loc[:-1] == ("base",) or (loc[0] == "states" and len(loc) == 3)):
                here["layers"] = [{}]  # an empty table would be no layer at all
            if len(loc) == 2 and loc[0] in _TABLES:
                here[str(last)] = deepcopy(_TABLES[loc[0]])
            elif last in _KEYS and detail["type"] != "extra_forbidden":
                here[str(last)] = deepcopy(_KEYS[str(last)])
    return data


_S = TypeVar("_S", bound=SceneModel)
_T = TypeVar("_T", bound=State)


def playable(scene: _S) -> _S:
    """A scene whose layers each name a sound and a bus that are there, whatever else is wrong with it."""

    def mended(layer: Layer) -> Layer:
        changes: dict[str, Any] = {}
        if layer.bus not in (None, MAIN, *scene.buses):
            changes["bus"] = None
        if isinstance(layer.pool, str) and layer.pool not in scene.pools:
            changes["pool"] = (AudioConfig(source=_SOUND),)
        elif layer.pool is None and layer.source is None:
            changes["source"] = _SOUND
        return layer.model_copy(update=changes) if changes else layer

    def of(state: _T) -> _T:
        return state.model_copy(update={"layers": tuple(map(mended, state.layers))})

    states = {name: of(state) for name, state in scene.states.items()}
    return scene.model_copy(update={"base": of(scene.base), "states": states})
