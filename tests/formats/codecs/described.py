"""What a published description (OpenAPI, in YAML) says of a value: as much of JSON Schema as these documents use.

The descriptions lie beside the recordings.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from typing import Any

import yaml
from tests.corpus import CORPUS

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


@dataclass
class Description:
    """One document; `flaws` says where a value is not what the schema of that name says."""

    file: str
    _schemas: dict[str, Any] = field(default_factory=dict)

    def flaws(self, value: Any, name: str) -> list[str]:
        if not self._schemas:
            path = CORPUS.parent / "specs" / self.file
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            self._schemas = yaml.load(data, yaml.CSafeLoader)["components"]["schemas"]
        return self._flaws(value, self._schemas[name], "$")

    def _flaws(self, value: Any, schema: dict[str, Any], path: str) -> list[str]:
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        found: list[str] = []
        for part in schema.get("allOf", ()):
            found += self._flaws(value, part, path)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                found += min((self._flaws(value, part, path) for part in schema[key]), key=len)
        kinds = schema.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if kinds and not any(_is(value, kind) for kind in kinds):
            return [*found, f"{path} is no {' or '.join(kinds)}"]
        if "enum" in schema and value not in schema["enum"]:
            found.append(f"{path} is {value!r}, none of its enum")
        if "const" in schema and value != schema["const"]:
            found.append(f"{path} is {value!r}, not {schema['const']!r}")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if value < schema.get("minimum", value):
                found.append(f"{path} is below {schema['minimum']}")
            if value > schema.get("maximum", value):
                found.append(f"{path} is above {schema['maximum']}")
        if isinstance(value, list) and "items" in schema:
            for place, item in enumerate(value):
                found += self._flaws(item, schema["items"], f"{path}[{place}]")
        if isinstance(value, dict):
            properties = schema.get("properties", {})
            found += [f"{path}.{key} is missing" for key in schema.get("required", ()) if key not in value]
            if schema.get("additionalProperties") is False:
                found += [f"{path}.{key} is not known" for key in value if key not in properties]
            for key, inner in properties.items():
                if key in value:
                    found += self._flaws(value[key], inner, f"{path}.{key}")
        return found


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


MISTRAL = Description("mistral-openapi.yaml.gz")
OLLAMA = Description("ollama-openapi.yaml")
