"""What pydantic finds wrong in a table, in the words of the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from soundscape.exceptions import Problem
from soundscape.loader.origin import Origin, child, quoted, spelt
from soundscape.loader.text import Loc
from soundscape.scene import HOST_STATES, RESERVED, SceneModel
from soundscape.scene.flaws import nearest_word
from soundscape.scene.tables import AudioConfig, Bus, ClipTable, Defaults, Duck, Layer, Loop, Pool, Transition

__all__ = ["meant", "told"]

_TYPES = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "a text in quotes",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "pair": "a list of two numbers, from and to",
}

_MISSING = {
    "source": 'write source = "soundscape:NAME", or a file beside the scene',
    "entries": 'write entries = [{ source = "..." }]',
    "level_lu": "write level_lu = -15: LU below the agent's speech",
    "while": 'write while = "agent_speaking" or while = "user_speaking"',
    "by_db": "write by_db = -9: dB down",
}
"""What to do where a key is missing."""

_EMPTY = {
    "pool": 'write pool = [{ source = "..." }]',
    "entries": 'write entries = [{ source = "..." }]',
    "from": 'write from = "*" for every state',
    "to": 'write to = "*" for every state',
    "buses": "leave it out for every bus",
    "source": 'write "soundscape:NAME", or a file beside the scene',
}
"""What to do where nothing stands in the quotes or brackets."""

_OTHER_WORDS = {
    "source": ("file", "filename", "path", "src", "clip", "sound", "audio", "url"),
    "entries": ("sounds", "clips", "sources", "files", "pool"),
    "pool": ("sounds", "clips", "sources", "files", "entries"),
    "probability": ("weight", "chance", "share"),
    "gain_db": ("gain", "db", "level", "level_db"),
    "volume": ("loudness",),
    "after": ("delay", "wait"),
    "kind": ("type", "loop", "once", "scatter"),
    "interval": ("every", "gap", "gaps"),
    "crossfade": ("fade", "duration"),
    "level_lu": ("level", "lufs", "level_lufs", "gain_db", "level_db"),
    "by_db": ("by", "depth", "amount", "gain_db", "level_db"),
    "while": ("when", "on", "trigger", "condition"),
    "settle": ("delay", "debounce", "hold"),
    "recovery": ("release", "hold"),
    "cooldown": ("every", "pause"),
}
"""What a key is called elsewhere, where difflib would not find it."""

_TABLES: dict[type[BaseModel], str] = {
    SceneModel: "the top of the file",
    Defaults: "[defaults]",
    Layer: "a layer",
    AudioConfig: "a pool's entry",
    Pool: "[pools.NAME]",
    ClipTable: "[clips.NAME]",
    Loop: "[clips.NAME.loop]",
    Bus: "[buses.NAME]",
    Duck: "[[ducks]]",
    Transition: "[[transitions]]",
}


def told(origin: Origin, detail: Any) -> Problem:
    """A problem that pydantic found, in the words of the file."""
    kind, loc, value = detail["type"], detail["loc"], detail["input"]
    if kind == "extra_forbidden":
        return _unknown(origin, loc, value)
    if kind == "missing":
        return origin.problem(loc[:-1], f"the key {loc[-1]!r} is missing", _MISSING.get(str(loc[-1]), ""))
    place = origin.real(loc)
    if kind in _TYPES:
        return origin.problem(loc, f"must be {_TYPES[kind]}, not {quoted(value)}", _of_type(place, kind, value))
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        of_pool = place[-1] == "pool"
        what = "a pool's name or a list of sounds" if of_pool else "a state's name or a list of names"
        hint = 'write pool = "NAME" or pool = [{ source = "..." }]' if of_pool else f'write {place[-1]} = "NAME"'
        if of_pool and isinstance(value, dict) and "source" in value:
            hint = "put it in brackets: [{ ... }]"
        return origin.problem(loc, f"must be {what}, not {quoted(value)}", hint)
    if kind in ("too_short", "string_too_short"):
        return origin.problem(loc, "must not be empty", _EMPTY.get(str(place[-1]), "leave it out"))
    return origin.problem(loc, *_of_range(place, kind, value, detail))


def _of_range(place: Loc, kind: str, value: Any, detail: Any) -> tuple[str, str]:
    """What is wrong with a value of the right type, and what to do."""
    context, key = detail.get("ctx", {}), str(place[-1])
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        hint = nearest_word(str(value), allowed) if isinstance(value, str) else ""
        return f"must be {context['expected']}, not {quoted(value)}", f"did you mean {hint!r}?" if hint else ""
    if kind == "finite_number":
        silent = key in ("gain_db", "volume") and value < 0
        return f"must be finite, not {quoted(value)}", "for silence write volume = 0" if silent else "write a number"
    if kind == "greater_than_equal":
        return f"must be at least {context['ge']:g}, not {quoted(value)}", ""
    if kind == "less_than_equal":
        most = context["le"]
        hint = ""
        if most == 86_400:
            hint = "a time is in seconds, a day at most"
        elif key == "probability" and 2 <= value <= 100:
            hint = f"{value:g} in a hundred is {value / 100:g}"
        return f"must be at most {most:g}, not {quoted(value)}", hint
    if kind == "less_than":
        hint = f"write {-value:g} for {value:g} below" if value > 0 else "write how far below, such as -9"
        return f"must be below {context['lt']:g}, not {quoted(value)}", hint
    message = str(detail["msg"])
    return f"{message[:1].lower()}{message[1:]}", ""


def _of_type(place: Loc, kind: str, value: Any) -> str:
    """What to do about a value of another type."""
    parent, key = place[:-1], place[-1]
    if kind in ("float_type", "int_type") and isinstance(value, str):
        return _as_number(value, whole=kind == "int_type")
    if kind in ("float_type", "string_type") and isinstance(value, list) and len(value) == 1:
        return "write it without brackets"
    if kind == "string_type" and key == "source" and isinstance(value, list):
        return "several sounds are a pool: write pool = [{ source = ... }, ...]"
    if kind == "bool_type":
        word = str(value).lower()
        yes, no = word in ("true", "yes", "on", "1"), word in ("false", "no", "off", "0")
        return f"write {str(yes).lower()}" if yes or no else ""
    if kind == "pair":
        fixed = isinstance(value, int | float) and not isinstance(value, bool)
        if fixed:
            return f"write [{value:g}, {value:g}] for always the same"
        return "write [-3, 3]" if key == "gain_jitter_db" else "write [10, 30]"
    if kind == "tuple_type":
        if place in (("transitions",), ("ducks",)) and isinstance(value, dict):
            return f"write [[{key}]], two brackets on each side"
        if key == "buses" and isinstance(value, str):
            return f'write buses = ["{value[:60]}"]'
        if isinstance(value, dict):
            return f"write [{{ ... }}], or [[{spelt(place)}]]" if key == "layers" else "write [{ ... }]"
        return ""
    if kind.startswith(("dict", "model")):
        if _keys_at(place)[0] is AudioConfig:
            return f"write {{ source = {quoted(value) if isinstance(value, str) else '...'} }}"
        if isinstance(value, list) and (place == ("base",) or parent == ("states",)):
            return f"write [{spelt(place)}], or [[{spelt(place)}.layers]] for several layers"
        if isinstance(value, list):
            return f"write [{spelt(place)}], one bracket on each side"
        if parent in (("states",), ("clips",)) and isinstance(value, str):
            return f"write {spelt(place)}.source = {quoted(value)}"
        return f"write [{spelt(place)}]" if all(isinstance(part, str) for part in place) else "write { ... }"
    return ""


def _as_number(text: str, *, whole: bool) -> str:
    """What to write for a number in quotes."""
    found = re.fullmatch(r"\s*([+-]?)(\d{1,9})(?:[.,](\d{1,9}))?\s*(ms|s|sec|seconds|min|dB|LU|LUFS|%)?\s*", text, re.I)
    if not found:
        return "numbers are written without quotes and units"
    number = float(f"{found[1]}{found[2]}.{found[3] or 0}")
    number *= {"ms": 0.001, "min": 60, "%": 0.01}.get((found[4] or "").lower(), 1)
    if whole and not number.is_integer():
        return "numbers are written without quotes and units"
    return f"write {number:g}: numbers stand without quotes and units"


def _unknown(origin: Origin, loc: Loc, value: Any) -> Problem:
    parent, key = origin.real(loc[:-1]), str(loc[-1])
    model, keys = _keys_at(parent)
    if key in RESERVED:
        return origin.problem(loc[:-1], f"the key {key!r} is reserved for later", "leave it out", at=loc)
    if key in Layer.model_fields and model is Layer and _has_layers(origin, parent):
        return origin.problem(loc[:-1], f"{key!r} beside 'layers'", "put it into one of the layers", at=loc)
    guess = _guess(model, keys, key)
    if guess:
        hint = f"did you mean {guess!r}?"
    elif model is SceneModel and isinstance(value, dict | list) and key in HOST_STATES:
        hint = f"did you mean [states.{key}]?"
    else:
        hint = f"{_belongs(key)}keys here: {', '.join(keys)}"
    return origin.problem(loc[:-1], f"unknown key {quoted(key)}", hint, at=loc)


def meant(origin: Origin, loc: Loc) -> Loc:
    """The place that an unknown key was most likely meant to be; its own where that is open."""
    parent, key = origin.real(loc[:-1]), str(loc[-1])
    guess = _guess(*_keys_at(parent), key)
    if not parent and not guess and key in HOST_STATES:
        return ("states", key)
    return (*parent, guess or key)


def _guess(model: type[BaseModel], keys: Sequence[str], key: str) -> str:
    """The known key that is most likely meant by an unknown one, or nothing."""
    known = next((word for word in keys if key.lower() in _OTHER_WORDS.get(word, ())), "")
    return known or nearest_word(key, keys, cutoff=0.85 if _belongs(key) and model is not SceneModel else 0.6)


def _belongs(key: str) -> str:
    """Where a key belongs that is unknown only here."""
    tables = [name for model, name in _TABLES.items() if key in _names(model)]
    return f"it belongs to {', '.join(tables[:-1])}{' or ' if tables[:-1] else ''}{tables[-1]}; " if tables else ""


def _names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _keys_at(loc: Loc) -> tuple[type[BaseModel], list[str]]:
    """The table that stands at a place, and the keys it may have."""
    models: list[tuple[bool, type[BaseModel]]] = [
        (not loc, SceneModel),
        (loc[:1] == ("defaults",), Defaults),
        (loc[:1] == ("transitions",), Transition),
        (loc[-2:-1] in (("pool",), ("entries",)) and isinstance(loc[-1], int), AudioConfig),
        (loc[:1] == ("pools",), Pool),
        (loc[:1] == ("clips",) and loc[2:3] == ("loop",), Loop),
        (loc[:1] == ("clips",), ClipTable),
        (loc[:1] == ("buses",), Bus),
        (loc[:1] == ("ducks",), Duck),
    ]
    model = next((model for holds, model in models if holds), Layer)
    in_place = loc == ("base",) or (loc[:1] == ("states",) and len(loc) == 2)
    return model, [*_names(model), "layers"] if in_place else _names(model)


def _has_layers(origin: Origin, place: Loc) -> bool:
    here: Any = origin.data
    for part in place:
        here = child(here, part)
    return "layers" in here
