"""What pydantic finds wrong in a table, in the words of the file."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel

from soundscape.exceptions import Problem
from soundscape.loader.origin import Origin, child, quoted
from soundscape.loader.text import Loc
from soundscape.scene import RESERVED, AudioConfig, Defaults, Layer, Pool, SceneModel, Transition, nearest

__all__ = ["told"]

_TYPES = {
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "a text in quotes",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


def told(origin: Origin, detail: Any) -> Problem:
    """A problem that pydantic found, in the words of the file."""
    kind, loc, value = detail["type"], detail["loc"], detail["input"]
    context = detail.get("ctx", {})
    if kind == "extra_forbidden":
        parent, key = origin.real(loc[:-1]), str(loc[-1])
        model, keys = _keys_at(parent)
        both = (
            key in Layer.model_fields and model is Layer and parent[-1:] != ("layers",) and _has_layers(origin, parent)
        )
        if both:
            hint = "put it into one of the layers"
            return origin.problem(loc[:-1], f"{key!r} beside 'layers'", hint, at=loc)
        if key in RESERVED:
            return origin.problem(loc[:-1], f"the key {key!r} is reserved for later", "leave it out", at=loc)
        hint = nearest(key, keys) or f"keys here: {', '.join(keys)}"
        return origin.problem(loc[:-1], f"unknown key {quoted(key)}", hint, at=loc)
    if kind == "missing":
        return origin.problem(loc[:-1], f"the key {loc[-1]!r} is missing", "")
    if kind in _TYPES:
        hint = ""
        if isinstance(value, str) and "number" in _TYPES[kind]:
            hint = "numbers are written without quotes and units"
        elif isinstance(value, str) and _keys_at(origin.real(loc))[0] is AudioConfig:
            hint = f"write {{ source = {quoted(value)} }}"
        return origin.problem(loc, f"must be {_TYPES[kind]}, not {quoted(value)}", hint)
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        what = "a pool's name or a list of sounds" if "pool" in loc else "a state's name or a list of names"
        return origin.problem(loc, f"must be {what}, not {quoted(value)}", "")
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        hint = nearest(str(value), allowed)
        return origin.problem(loc, f"must be {context['expected']}, not {quoted(value)}", hint)
    if kind == "finite_number":
        return origin.problem(loc, f"must be finite, not {quoted(value)}", "")
    if kind == "greater_than_equal":
        return origin.problem(loc, f"must be at least {context['ge']:g}, not {quoted(value)}", "")
    if kind == "less_than_equal":
        return origin.problem(loc, f"must be at most {context['le']:g}, not {quoted(value)}", "")
    if kind in ("too_short", "string_too_short"):
        return origin.problem(loc, "must not be empty", "")
    message = str(detail["msg"])
    return origin.problem(loc, f"{message[:1].lower()}{message[1:]}", "")


def _has_layers(origin: Origin, loc: Loc) -> bool:
    here: Any = origin.data
    for part in loc:
        here = child(here, part)
    return "layers" in here


def _keys_at(loc: Loc) -> tuple[type[BaseModel], list[str]]:
    """The table that stands at a place, and the keys it may have."""
    models: list[tuple[bool, type[BaseModel]]] = [
        (not loc, SceneModel),
        (loc[:1] == ("defaults",), Defaults),
        (loc[:1] == ("transitions",), Transition),
        (loc[-2:-1] in (("pool",), ("entries",)) and isinstance(loc[-1], int), AudioConfig),
        (loc[:1] == ("pools",), Pool),
    ]
    model = next((model for holds, model in models if holds), Layer)
    keys = [field.alias or name for name, field in model.model_fields.items()]
    in_place = model is Layer and "layers" not in loc
    return model, [*keys, "layers"] if in_place else keys
