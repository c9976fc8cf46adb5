"""Values of JSON Schemas, made by chance from a seed: the same in every run.

Each free text begins with a word that no other one has, so that it can be looked for. Alternatives are taken in turn,
so that all of them come up, and not only those which chance likes.
"""

from __future__ import annotations

import base64
import random
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Schema = dict[str, Any]

MARK = re.compile(r"zq\d{5}x")
DEEPEST = 9
# Of what may be left out, so much is there.
THERE = 0.6
MOST = 5000


@dataclass
class Values:
    """Makes values. `named` are the schemas that references end in; `around` is what texts have behind their word;
    `marks` is {word: where it stands, as keys}.
    """

    named: Mapping[str, Schema]
    seed: int
    around: str = ""
    marks: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self._turns: Counter[str] = Counter()

    def of(self, schema: Any, path: str = "", depth: int = 0) -> Any:
        """A value of that schema; `path` is where it stands."""
        if not isinstance(schema, dict) or not schema:
            return self._text(path)
        if "$ref" in schema:
            return self.of(self.named[schema["$ref"].rpartition("/")[2]], path, depth + 1)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.chance.choice([each for each in schema["enum"] if each is not None])
        if schema.get("allOf"):
            return self._merged(schema, path, depth)
        options = [each for key in ("oneOf", "anyOf") for each in schema.get(key) or ()]
        return self._one(schema, options, path, depth) if options else self._plain(schema, path, depth)

    def _merged(self, schema: Schema, path: str, depth: int) -> Any:
        beside = {key: value for key, value in schema.items() if key != "allOf"}
        made = [self.of(each, path, depth + 1) for each in (*schema["allOf"], *([beside] if "type" in beside else []))]
        if all(isinstance(each, dict) for each in made):
            return {key: value for each in made for key, value in each.items()}
        return made[0]

    def _one(self, schema: Schema, options: list[Schema], path: str, depth: int) -> Any:
        options = [each for each in options if each.get("type") != "null"] or options
        if depth > DEEPEST:
            # The simplest: a schema may hold itself.
            options = sorted(
                options, key=lambda each: 2 * ("$ref" in each) + ("properties" in each or "items" in each)
            )[:1]
        turn = self._turns[path]
        self._turns[path] += 1
        made = self.of(options[turn % len(options)], path, depth + 1)
        return {**self._object(schema, path, depth), **made} if isinstance(made, dict) else made

    def _plain(self, schema: Schema, path: str, depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((each for each in kind if each != "null"), "null")
        if kind == "object" or (kind is None and ("properties" in schema or "additionalProperties" in schema)):
            return self._object(schema, path, depth)
        if kind == "array" or (kind is None and "items" in schema):
            least, most = schema.get("minItems", 0), schema.get("maxItems", 3)
            many = 0 if depth > DEEPEST else min(self.chance.choice((1, 1, 2, 3)), most)
            return [self.of(schema.get("items"), path, depth + 1) for _ in range(max(many, least))]
        # A number of tokens is a whole one, whatever a schema says of it.
        if kind == "integer" or (kind == "number" and path.endswith("tokens")):
            return self.chance.randint(int(schema.get("minimum", 0)), int(min(schema.get("maximum", MOST), MOST)))
        if kind == "number":
            return round(self.chance.uniform(schema.get("minimum", 0), min(schema.get("maximum", 2), MOST)), 3)
        if kind in ("boolean", "null"):
            return self.chance.random() < 0.5 if kind == "boolean" else None
        return self._string(schema, path)

    def _object(self, schema: Schema, path: str, depth: int) -> Schema:
        made = {
            name: self.of(each, f"{path}.{name}", depth + 1)
            for name, each in schema.get("properties", {}).items()
            if name in schema.get("required", ()) or (depth < DEEPEST and self.chance.random() < THERE)
        }
        more = schema.get("additionalProperties")
        if isinstance(more, dict) and depth < DEEPEST:
            made["some_key"] = self.of(more, f"{path}.*", depth + 1)
        return made

    def _string(self, schema: Schema, path: str) -> str:
        how = schema.get("format") or schema.get("contentEncoding")
        if how in ("byte", "binary", "base64"):
            return base64.b64encode(self.chance.randbytes(90)).decode()
        if how == "date-time":
            return "2026-11-26T10:00:00Z"
        return f"https://example.test/{self._word(path)}" if how == "uri" else self._text(path)

    def _text(self, path: str) -> str:
        return self._word(path) + self.around

    def _word(self, path: str) -> str:
        word = f"zq{len(self.marks):05}x"
        self.marks[word] = path
        return word


def _weight(schema: Schema) -> int:
    return 2 * ("$ref" in schema) + ("properties" in schema or "items" in schema)
