"""Schemas: Google's subset of OpenAPI (`parameters`, `responseSchema`) to JSON Schema and back.

https://ai.google.dev/api/caching#Schema: types in capitals (as an enum, by number too), `nullable`, and lengths as
texts (int64 in protobuf's JSON). Where a request takes real JSON Schema (`parametersJsonSchema`, `responseJsonSchema`)
nothing of this is needed. No function here recurses: a schema may be as deep as its sender likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from interpose.formats.codecs.codec import Json
from interpose.ir import Losses

# By number: https://github.com/googleapis/googleapis/blob/master/google/ai/generativelanguage/v1beta/content.proto
TYPES = ("TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL")
_LOWER = {name: name.lower() for name in TYPES}
_NAMED = frozenset(_LOWER.values())
_NUMBER = {name.lower(): number for number, name in enumerate(TYPES)}
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_MAPS = ("properties", "defs", "$defs", "definitions", "patternProperties")
_LISTS = ("anyOf", "any_of", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not")

_MOST = 10_000
"""Schemas within one schema, once references are in their places."""

# What Google's Schema has: https://ai.google.dev/api/caching#Schema
_SUBSET = frozenset(
    (
        "type",
        "format",
        "title",
        "description",
        "nullable",
        "enum",
        "maxItems",
        "minItems",
        "properties",
        "required",
        "minProperties",
        "maxProperties",
        "minLength",
        "maxLength",
        "pattern",
        "example",
        "anyOf",
        "propertyOrdering",
        "default",
        "items",
        "minimum",
        "maximum",
    )
)


def _nodes(schema: Json) -> Iterator[tuple[str, Json]]:
    """Every schema in a schema, with its path."""
    stack: list[tuple[str, Any]] = [("", schema)]
    while stack:
        path, node = stack.pop()
        if not isinstance(node, dict):
            continue
        yield path, node
        for key in _MAPS:
            if isinstance(inner := node.get(key), dict):
                stack += [(f"{path}/{key}/{name}", value) for name, value in inner.items()]
        for key in _LISTS:
            if isinstance(inner := node.get(key), list):
                stack += [(f"{path}/{key}/{place}", value) for place, value in enumerate(inner)]
        stack += [(f"{path}/{key}", node[key]) for key in _SINGLE if key in node]


def from_openapi(schema: Json, marks: set[str]) -> Json:
    """The schema as JSON Schema, changed in place. `marks` get what `as_openapi` needs to give the same back: the
    spelling of most types as `types:STYLE`, of others and of texts for numbers by their path.
    """
    style = None
    for path, node in _nodes(schema):
        found = _unspell(node)
        if found is not None:
            if style is None:
                style = found
                if style != "lower":
                    marks.add(f"types:{style}")
            elif found != style:
                marks.add(f"type:{found}:{path}")
        elif isinstance(node.get("type"), list):
            marks.add(f"list:{path}")
        if node.get("nullable") is True and found is not None:
            del node["nullable"]
            node["type"] = [node["type"], "null"]
        for key in _COUNTS:
            value = node.get(key)
            if isinstance(value, str) and value.isascii() and value.isdecimal() and str(int(value[:9])) == value:
                node[key] = int(value)
                marks.add(f"text:{path}/{key}")
    return schema


def _unspell(node: Json) -> str | None:
    """Makes the type JSON Schema's; says how it was spelled."""
    kind = node.get("type")
    if isinstance(kind, str):
        if kind in _LOWER:
            node["type"] = _LOWER[kind]
            return "upper"
        return "lower" if kind in _NAMED else None
    if type(kind) is int and 0 <= kind < len(TYPES):
        node["type"] = _LOWER[TYPES[kind]]
        return "number"
    return None


_SPELL: dict[str, Callable[[str], Any]] = {"upper": str.upper, "number": _NUMBER.__getitem__, "lower": str}


def as_openapi(schema: Json, marks: frozenset[str]) -> Json:
    """Undoes `from_openapi`, in a new schema."""
    written: Json = _copy(schema)
    style = next((mark[6:] for mark in marks if mark.startswith("types:")), "lower")
    others = {path: found for kind, found, path in (m.split(":", 2) for m in marks if m.startswith("type:"))}
    for path, node in _nodes(written):
        kind = node.get("type")
        if isinstance(kind, list) and len(kind) == 2 and kind[1] == "null" and f"list:{path}" not in marks:
            node["nullable"] = True
            kind = kind[0]
        if isinstance(kind, str) and kind in _NAMED:
            node["type"] = _SPELL[others.get(path, style)](kind)
        for key in _COUNTS:
            if key in node and f"text:{path}/{key}" in marks:
                node[key] = str(node[key])
    return written


def _copy(value: Any) -> Any:
    """A copy of JSON, level by level."""
    root: list[Any] = [value]
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        for key, inner in list(node.items() if isinstance(node, dict) else enumerate(node)):
            if isinstance(inner, dict | list):
                node[key] = inner.copy()
                stack.append(node[key])
    return root[0]


def to_subset(schema: Json, losses: Losses, at: str) -> Json:
    """Any JSON Schema in Google's subset of OpenAPI: references put in their place, constants as enums, types with
    null as nullable. What the subset has not is left out, and told.
    """
    root: Json = {}
    stack: list[tuple[Json, Json, tuple[str, ...]]] = [(schema, root, ())]
    left = _MOST
    while stack:
        node, written, followed = stack.pop()
        left -= 1
        if left < 0:  # references that double at every level
            losses.approximated(at, "the schema is too large once its references are in their places")
            written["type"] = "OBJECT"
            continue
        node, followed = _follow(schema, node, followed, losses, at)
        for key, value in node.items():
            if key == "const":
                written["enum"] = [value if isinstance(value, str) else str(value)]
            elif key in ("oneOf", "anyOf") and isinstance(value, list):
                written["anyOf"] = [{} for _ in value]
                both = zip(value, written["anyOf"], strict=True)
                stack += [(inner, new, followed) for inner, new in both if isinstance(inner, dict)]
            elif key == "properties" and isinstance(value, dict):
                written[key] = {name: {} for name in value}
                pairs = ((inner, written[key][name]) for name, inner in value.items())
                stack += [(inner, new, followed) for inner, new in pairs if isinstance(inner, dict)]
            elif key == "items" and isinstance(value, dict):
                written[key] = {}
                stack.append((value, written[key], followed))
            elif key == "type":
                _put_type(written, value)
            elif key in _SUBSET:
                written[key] = value
            elif key not in ("$defs", "definitions", "$schema", "$id"):
                losses.dropped(at, f"Gemini's subset of OpenAPI has no {key}")
    return root


def _put_type(written: Json, kind: Any) -> None:
    kinds = [one for one in (kind if isinstance(kind, list) else [kind]) if isinstance(one, str)]
    named = [one.upper() for one in kinds if one != "null"]
    if len(named) < len(kinds) and named:
        written["nullable"] = True
    if len(named) == 1:
        written["type"] = named[0]
    elif named:
        written["anyOf"] = [{"type": one} for one in named]
    elif kinds:
        written["type"] = "NULL"


def _follow(
    schema: Json, node: Json, followed: tuple[str, ...], losses: Losses, at: str
) -> tuple[Json, tuple[str, ...]]:
    """The node with its `$ref` followed; one that comes back to itself becomes any object."""
    while isinstance(reference := node.get("$ref"), str):
        rest = {key: value for key, value in node.items() if key != "$ref"}
        if reference in followed or not isinstance(found := _resolve(schema, reference), dict):
            losses.approximated(at, f"{reference} cannot be put in its place; any object is taken there")
            return {"type": "object", **rest}, followed
        node, followed = {**found, **rest}, (*followed, reference)
    return node, followed


def _resolve(schema: Json, reference: str) -> Any:
    """https://www.rfc-editor.org/rfc/rfc6901, within the schema."""
    found: Any = schema
    for name in reference.removeprefix("#").split("/")[1:]:
        if not isinstance(found, dict):
            return None
        found = found.get(name.replace("~1", "/").replace("~0", "~"))
    return found
