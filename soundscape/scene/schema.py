"""The JSON Schema of a scene file, for editors: what they complete, explain and underline.

Taplo, which VS Code's Even Better TOML runs, sets the terms: draft 7; nothing beside a `$ref`, which would hide it; no
`allOf`, which it does not complete in; no relative `$id`, which it refuses; keys of one table in one object, since it
shows a mistake in an alternative on the whole table.

What the schema lets through the loader may still refuse: names that nothing has, keys that clash, rules alike. What it
refuses the loader refuses as well.

    python -m soundscape.scene.schema > scenes/soundscape.schema.json
"""

from __future__ import annotations

import json
from typing import Any

from soundscape.scene import HOST_STATES, MAIN, NONE, STATE_NAME, SceneModel
from soundscape.scene.flaws import OF_KIND
from soundscape.scene.tables import ALL, MAX_DUCKS, MAX_ITEMS

__all__ = ["json_schema"]

Schema = dict[str, Any]

_UNSAID = ("title", "discriminator")
"""What pydantic makes up and nobody needs."""

_ONCE = ("Base", "Defaults", "Loop")
"""Tables that stand in one place, and are written out there."""


def json_schema() -> Schema:
    """The schema of a scene file, JSON Schema draft 7."""
    raw = SceneModel.model_json_schema(by_alias=True)
    definitions: Schema = raw.pop("$defs")
    tables = {name: _plain(definition, definitions) for name, definition in definitions.items()}
    scene: Schema = _plain(raw, definitions)
    _complete_layers(tables)
    _complete_names(scene["properties"], tables)
    for key in ("states", "pools", "clips", "buses"):
        scene["properties"][key]["maxProperties"] = MAX_ITEMS
    scene["properties"]["ducks"]["maxItems"] = MAX_DUCKS
    scene["properties"]["transitions"]["maxItems"] = MAX_ITEMS
    scene["properties"]["base"] = {**tables["Base"], "description": scene["properties"]["base"]["description"]}
    del scene["properties"]["name"]["default"]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A scene of soundscape",
        **scene,
        "definitions": {name: table for name, table in tables.items() if name not in _ONCE},
    }


def _plain(node: Any, definitions: Schema) -> Any:
    """A piece of pydantic's schema in terms of draft 7 and of TOML, which has no null."""
    if isinstance(node, list):
        return [_plain(element, definitions) for element in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        beside = {key: value for key, value in node.items() if key not in ("$ref", "default")}
        if name in _ONCE:
            return _plain({**definitions[name], **beside}, definitions)
        return {"$ref": f"#/definitions/{name}"}
    node = {key: value for key, value in node.items() if key not in _UNSAID or not isinstance(value, str)}
    if "anyOf" in node:
        forms = [form for form in node.pop("anyOf") if form != {"type": "null"}]
        if len(forms) > 1:
            node["anyOf"] = forms
        else:
            return _plain({**forms[0], **node}, definitions)
    if "prefixItems" in node:
        node["items"] = node.pop("prefixItems")[0]
    if node.get("default", 0) in (None, [], {}):
        del node["default"]
    return {key: _plain(value, definitions) for key, value in node.items()}


def _complete_layers(tables: Schema) -> None:
    """What keys of a layer have to do with each other, and a layer written in place of a state's layers."""
    layer = tables["Layer"]
    layer["dependencies"] = {
        "pool": {"not": {"anyOf": [{"required": ["source"]}, {"required": ["probability"]}]}},
        "gain_db": {"not": {"required": ["volume"]}},
        **{key: _of_kind(kind) for key, kind in OF_KIND.items()},
    }
    layer["anyOf"] = [{"required": ["source"]}, {"required": ["pool"]}]
    layer["if"] = _of_kind("scatter")
    layer["then"] = {"required": ["interval"]}
    for name in ("State", "Base"):
        layers = {**tables[name]["properties"]["layers"], "maxItems": MAX_ITEMS}
        tables[name] = {
            **layer,
            "description": tables[name]["description"],
            "properties": {**layer["properties"], "layers": layers},
            "dependencies": {**layer["dependencies"], "layers": {"maxProperties": 1}},
            "anyOf": [*layer["anyOf"], {"required": ["layers"]}, {"maxProperties": 0}],
        }


def _of_kind(kind: str) -> Schema:
    said: Schema = {"properties": {"kind": {"const": kind}}}
    return said if kind == "loop" else {**said, "required": ["kind"]}


def _complete_names(top: Schema, tables: Schema) -> None:
    """How tables may be called, and what names are known beforehand."""
    named = {"minLength": 1}
    top["states"]["propertyNames"] = {"pattern": f"^{STATE_NAME.pattern}$", "not": {"enum": [NONE, "close"]}}
    top["pools"]["propertyNames"] = named
    top["clips"]["propertyNames"] = {**named, "not": {"pattern": "^(soundscape|livekit):"}}
    top["buses"]["propertyNames"] = {**named, "not": {"enum": [MAIN, ALL]}}
    for key in ("from", "to"):
        side = tables["Transition"]["properties"][key]
        name, names = side.pop("oneOf")
        names["items"]["not"] = {"const": ALL}
        side["anyOf"] = [{"enum": [ALL, NONE, *HOST_STATES]}, name, names]
    buses = tables["Duck"]["properties"]["buses"]
    buses["anyOf"] = [{"maxItems": 1}, {"items": {"not": {"const": ALL}}}]


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
