"""The schema that editors complete and check scenes by: it refuses nothing that is right."""

from __future__ import annotations

import json
import math
import random
import tomllib
from collections.abc import Iterator
from datetime import date, time
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from mutations import mutated

from soundscape.cli.start import SCHEMA_NAME, begin
from soundscape.exceptions import SceneError
from soundscape.loader import Scene, data_dir, find_scene, shipped_scenes
from soundscape.scene import RESERVED, SceneModel
from soundscape.scene.schema import json_schema
from soundscape.scene.tables import AudioConfig, Bus, ClipTable, Defaults, Duck, Layer, Loop, Pool, Transition

SCENES = Path(__file__).parent / "scenes"
SCHEMA = json_schema()
VALIDATOR = jsonschema_rs.Draft7Validator(SCHEMA)


def data(path: Path) -> Any:
    """A scene as an editor sees it: what JSON has no word for is null, or a text."""
    return as_json(tomllib.loads(path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")))


def as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_json(child) for key, child in value.items()}
    if isinstance(value, list):
        return [as_json(child) for child in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, date | time) else value


def of(folder: str) -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in sorted((SCENES / folder).glob("*.toml"))]


@pytest.mark.parametrize("path", of("valid"))
def test_a_right_scene_passes(path: Path) -> None:
    VALIDATOR.validate(data(path))


@pytest.mark.parametrize("name", shipped_scenes())
def test_a_scene_that_ships_passes(name: str) -> None:
    VALIDATOR.validate(data(find_scene(name)))


@pytest.mark.parametrize("path", of("invalid/structure"))
def test_a_wrong_structure_does_not_pass(path: Path) -> None:
    assert not VALIDATOR.is_valid(data(path))


@pytest.mark.parametrize("path", of("invalid/meaning"))
def test_what_only_the_loader_sees_passes(path: Path) -> None:
    """If one of these fails, the schema has learnt something: move it to the structures."""
    VALIDATOR.validate(data(path))


def test_the_file_that_ships_is_the_schema() -> None:
    """If not: `python -m soundscape.scene.schema > scenes/soundscape.schema.json`."""
    shipped = (data_dir("scenes") / SCHEMA_NAME).read_text(encoding="utf-8")
    assert json.loads(shipped) == SCHEMA


def test_a_scene_that_ships_names_the_schema_as_one_that_init_writes_does(tmp_path: Path) -> None:
    """It lies beside both, so that an editor finds it where the scene is opened, and where it is copied to."""
    begun, _ = begin(str(tmp_path / "scene"))
    first = begun.read_text("utf-8").split("\n")[0]
    assert first == f"#:schema ./{SCHEMA_NAME}"
    for path in (begun, *map(find_scene, shipped_scenes())):
        assert path.read_text("utf-8").split("\n")[0] == first, path
        assert json.loads(path.with_name(SCHEMA_NAME).read_text("utf-8")) == SCHEMA


def test_it_is_a_schema_of_draft_7() -> None:
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema_rs.meta.validate(SCHEMA)


def tables(schema: Any) -> Iterator[dict[str, Any]]:
    """Every table that the schema describes."""
    if isinstance(schema, list):
        for child in schema:
            yield from tables(child)
    elif isinstance(schema, dict):
        if "additionalProperties" in schema and "properties" in schema:
            yield schema
        for child in schema.values():
            yield from tables(child)


def test_it_has_every_key_of_every_table_and_no_other() -> None:
    models = (SceneModel, Defaults, AudioConfig, Pool, ClipTable, Loop, Bus, Duck, Transition, Layer)
    keys = [{field.alias or name for name, field in model.model_fields.items()} for model in models]
    in_place = keys[-1] | {"layers"}
    found = [set(table["properties"]) for table in tables(SCHEMA)]
    assert all(own in found for own in keys)
    assert all(own in keys or own == in_place for own in found)
    assert found.count(in_place) == 2


def test_every_table_is_closed_and_every_key_explained() -> None:
    for table in tables(SCHEMA):
        if table["additionalProperties"] is False:
            assert table["description"]
            assert not set(RESERVED) & set(table["properties"])
            for name, key in table["properties"].items():
                assert key.get("description"), name


def test_editors_that_hide_what_stands_beside_a_reference_hide_nothing() -> None:
    """Taplo, too, does not complete in `allOf`, and takes no `$id` that is relative."""
    text = json.dumps(SCHEMA)
    assert text.count('{"$ref":') == text.count('"$ref"')
    assert not any(f'"{word}"' in text for word in ("allOf", "$id", "$defs", "prefixItems", "null"))
    assert not [piece for piece in text.split('{"$ref": "')[1:] if not piece.split('"', 1)[1].startswith("}")]


def test_it_refuses_nothing_that_the_loader_takes() -> None:
    """Of mutated scenes about one in a dozen is still a scene."""
    taken = 0
    for n in range(1_500):
        text = mutated(random.Random(f"4.{n}"))
        try:
            Scene.from_toml(text.decode("utf-8-sig"))
        except (SceneError, UnicodeDecodeError):
            continue
        taken += 1
        VALIDATOR.validate(as_json(tomllib.loads(text.decode("utf-8-sig"))))
    assert taken > 80
