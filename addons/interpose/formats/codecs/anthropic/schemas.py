"""JSON Schemas of other formats, as Claude keeps strictly to them: in an answer's form, and a strict tool's input.

https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations. What Claude does not
enforce is told in the description, where the model reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from interpose.formats.codecs.codec import dumps
from interpose.ir import Losses

from .names import Json

UNENFORCED = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
)
DEEPEST = 100  # far beyond what Claude compiles; what lies deeper is left to it as it is


def fit_schema(schema: Json, losses: Losses, at: str) -> Json:
    """A copy that Claude takes; what it approximates is told once for the whole schema."""
    notes: dict[str, None] = {}
    fitted: Json = _fit(schema, notes, 0)
    for note in notes:
        losses.approximated(at, note)
    return fitted


def _fit(schema: Any, notes: dict[str, None], depth: int) -> Any:
    if not isinstance(schema, dict) or depth > DEEPEST:
        return schema
    fitted = {key: _WALK[key](value, notes, depth + 1) if key in _WALK else value for key, value in schema.items()}
    if "oneOf" in fitted and "anyOf" not in fitted:
        fitted["anyOf"] = fitted.pop("oneOf")
        notes["oneOf is anyOf to Claude"] = None
    if (fitted.get("type") == "object" or "properties" in fitted) and fitted.get("additionalProperties") is not False:
        fitted["additionalProperties"] = False
        notes["an object has the properties that are named, and no others"] = None
    loose = {key: fitted.pop(key) for key in UNENFORCED if key in fitted}
    if fitted.get("minItems") not in (None, 0, 1):
        loose["minItems"] = fitted.pop("minItems")
    if loose:
        words = ", ".join(f"{key}: {dumps(value)}" for key, value in loose.items())
        described = fitted.get("description")
        fitted["description"] = f"{described}\n\n{{{words}}}" if isinstance(described, str) else f"{{{words}}}"
        notes["limits of numbers, lengths and sizes are told to the model, and not enforced"] = None
    return fitted


def _each_value(value: Any, notes: dict[str, None], depth: int) -> Any:
    return {key: _fit(one, notes, depth) for key, one in value.items()} if isinstance(value, dict) else value


def _each_item(value: Any, notes: dict[str, None], depth: int) -> Any:
    return [_fit(one, notes, depth) for one in value] if isinstance(value, list) else value


_WALK: Mapping[str, Callable[[Any, dict[str, None], int], Any]] = {
    "properties": _each_value,
    "$defs": _each_value,
    "definitions": _each_value,
    "items": _fit,
    "anyOf": _each_item,
    "oneOf": _each_item,
    "allOf": _each_item,
}
