"""What OpenAI's published description (OpenAPI 3.1) says of a value: as much of JSON Schema as that document uses."""

from __future__ import annotations

import gzip
import json
from functools import cache
from typing import Any

from tests.corpus import CORPUS

DOCUMENT = CORPUS.parent / "specs" / "openai-openapi.json.gz"
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


@cache
def schemas() -> dict[str, Any]:
    with gzip.open(DOCUMENT) as file:
        return dict(json.load(file)["components"]["schemas"])


def flaws(value: Any, name: str) -> list[str]:
    """Where a value is not what the schema of that name says; empty if it is."""
    return _flaws(value, schemas()[name], "$")


def properties(name: str) -> set[str]:
    """All keys that a schema knows, those of its parts included."""
    return _properties(schemas()[name])


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = schemas()[schema["$ref"].rpartition("/")[2]]
    return schema


def _properties(schema: dict[str, Any]) -> set[str]:
    schema = _resolved(schema)
    found = set(schema.get("properties", ()))
    for part in schema.get("allOf", ()):
        found |= _properties(part)
    return found


def _flaws(value: Any, schema: dict[str, Any], path: str) -> list[str]:
    schema = _resolved(schema)
    if value is None and schema.get("nullable"):
        return []
    found: list[str] = []
    for part in schema.get("allOf", ()):
        found += _flaws(value, part, path)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            each = [_flaws(value, part, path) for part in schema[key]]
            found += min(each, key=len)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return [*found, f"{path} is no {' or '.join(kinds)}"]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{path} is {value!r}, none of its enum")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < schema.get("minimum", value):
            found.append(f"{path} is below {schema['minimum']}")
        if value > schema.get("maximum", value):
            found.append(f"{path} is above {schema['maximum']}")
    if isinstance(value, str) and len(value) > schema.get("maxLength", len(value)):
        found.append(f"{path} is longer than {schema['maxLength']}")
    if isinstance(value, list) and "items" in schema:
        for place, item in enumerate(value):
            found += _flaws(item, schema["items"], f"{path}[{place}]")
    if isinstance(value, dict):
        found += [f"{path}.{key} is missing" for key in schema.get("required", ()) if key not in value]
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                found += _flaws(value[key], inner, f"{path}.{key}")
    return found


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
