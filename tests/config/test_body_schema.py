from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from strangler.config.body_schema import read_body_schema
from strangler.config.files import Reading


def read(folder: Path, schema: Any) -> Any:
    (folder / "body.json").write_text(schema if isinstance(schema, str) else json.dumps(schema))
    return read_body_schema("body.json", str(folder / "policy.yaml"), Reading())


def test_a_schema_is_read_from_beside_the_policy_file(tmp_path: Path) -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.org/claim",
        "properties": {"a": {"$ref": "#/$defs/a"}, "b": {"$ref": "inner"}, "c": {"$ref": "#anchored"}},
        "$defs": {"a": {"pattern": "^[a-z]+$"}, "b": {"$id": "inner"}, "c": {"$anchor": "anchored"}},
    }
    assert read(tmp_path, schema) == schema


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ([], "expected a JSON Schema, which is an object"),
        ({"type": "strin"}, "not a JSON Schema, at #/type"),
        ({"properties": {"a": {"minLength": -1}}}, "not a JSON Schema, at #/properties/a/minLength"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "expected a schema of https://json-schema.org/draft/"),
        ({"$schema": 2020}, "expected a schema of https://json-schema.org/draft/2020-12/schema, found 2020"),
        ('{"not":' * 500 + "{}" + "}" * 500, "nested too deep"),
        ({"$ref": "#"}, "leads back to where it stands without going deeper into the document"),
        ({"anyOf": [{"type": "null"}, {"$ref": "#"}]}, "leads back to where it stands"),
        (
            {
                "items": {"$ref": "#/$defs/a"},
                "$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"$ref": "#/$defs/a"}},
            },
            "leads back to where it stands",
        ),
        ({"$ref": "https://example.org/other"}, "$ref https://example.org/other leads out of the file, or nowhere"),
        ({"items": {"$ref": "other.json"}}, "$ref other.json leads out of the file"),
        ({"items": {"$ref": "file:///etc/passwd"}}, "leads out of the file"),
        ({"allOf": [{"$ref": "#/$defs/nowhere"}]}, "$ref #/$defs/nowhere leads out of the file, or nowhere"),
        ({"$dynamicRef": "#nowhere"}, "$dynamicRef #nowhere leads out"),
        ({"$defs": {"x": {"pattern": "(a+)+$"}}}, "the pattern (a+)+$ is not taken: a repeat within a repeat"),
        ({"patternProperties": {"(a|a)*": {}}}, "the pattern (a|a)* is not taken"),
        ({"if": {"not": {"pattern": "(a)\\1"}}}, "a back reference"),
    ],
)
def test_what_is_refused_is_said(tmp_path: Path, schema: Any, said: str) -> None:
    with pytest.raises(ValueError) as raised:
        read(tmp_path, schema)
    assert said in str(raised.value)


def test_a_schema_may_lead_back_to_itself_deeper_in_the_document(tmp_path: Path) -> None:
    node = {"anyOf": [{"type": "null"}, {"properties": {"next": {"$ref": "#/$defs/node"}}}]}
    schema = {"$ref": "#/$defs/node", "properties": {"all": {"items": {"$ref": "#"}}}, "$defs": {"node": node}}
    assert read(tmp_path, schema) == schema


def test_words_of_a_schema_in_other_places_are_no_references(tmp_path: Path) -> None:
    schema = {"const": {"$ref": "https://example.org/x", "pattern": "(a+)+"}, "properties": {"pattern": {}, "$ref": {}}}
    assert read(tmp_path, schema) == schema
