"""The document as a page for people: one HTML file, without a script, that asks no other host for anything.

What it may load is said by its Content-Security-Policy: the one style sheet that stands in it, by its hash.
https://www.w3.org/TR/CSP3/
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from .data import file

_STYLE = file("page.css").read_text("utf-8")
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    (
        b"content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'".encode(),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
# Fields of fields of fields are for those who read the document itself.
DEEPEST = 2
_CODE = re.compile(r"`([^`]+)`")
_BOUNDS = {"minimum": "≥ {}", "maximum": "≤ {}", "minItems": "at least {}"}


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a table of fields. `name` is its path from the body, `depth` how far in it lies."""

    name: str
    kind: str
    required: bool
    about: str
    depth: int


def page(document: Mapping[str, Any]) -> str:
    """The page."""
    return _template().render(api=document, style=Markup(_STYLE))  # noqa: S704 - it is a file of ours


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"rich": _rich, "pretty": _pretty}
    environment.globals |= {"fields": _fields, "resolved": _resolved, "groups": _groups, "limits": _limits}
    return environment.from_string(file("page.html").read_text("utf-8"))


def _rich(written: str) -> Markup:
    """Code between backticks, paragraphs between empty lines."""
    paragraphs = [_CODE.sub(r"<code>\1</code>", str(escape(part))) for part in written.split("\n\n")]
    return Markup("</p><p>".join(paragraphs))  # noqa: S704 - it is escaped above


def _pretty(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _groups(api: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], list[tuple[str, str, Mapping[str, Any]]]]]:
    """Each tag, with its operations: method, path, operation."""
    return [
        (
            tag,
            [
                (method, path, operation)
                for path, methods in api["paths"].items()
                for method, operation in methods.items()
                if tag["name"] in operation["tags"]
            ],
        )
        for tag in api["tags"]
    ]


def _limits(api: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = api["x-default-limits"]
    return found


def _resolved(api: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference leads to."""
    while "$ref" in node:
        found: Any = api
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        node = found
    return node


def _fields(api: Mapping[str, Any], schema: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[Field]:
    """The fields of an object, and those of its objects and lists of objects."""
    schema = _resolved(api, schema)
    required = schema.get("required") or schema.get("anyOf", [{}])[0].get("required", ())
    for name, written in schema.get("properties", {}).items():
        described = _resolved(api, written)
        about = written.get("description") or described.get("description", "")
        yield Field(prefix + name, _kind(api, described), name in required, about, depth)
        inside = described
        path = f"{prefix}{name}."
        if "items" in described:
            inside, path = _resolved(api, described["items"]), f"{prefix}{name}[]."
        if depth < DEEPEST and "properties" in inside:
            yield from _fields(api, inside, path, depth + 1)


def _kind(api: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """`string or array`, `number, ≥ 0, ≤ 2`, `"float" or "base64"`"""
    if "const" in schema or "enum" in schema:
        return " or ".join(f'"{each}"' for each in schema.get("enum", [schema.get("const")]) if each is not None)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(api, _resolved(api, each)) for each in schema["anyOf"]))
    types = schema.get("type", "any")
    names = [each for each in ([types] if isinstance(types, str) else types) if each != "null"]
    bounds = [wording.format(schema[bound]) for bound, wording in _BOUNDS.items() if bound in schema]
    if "items" in schema and "array" in names:
        inside = _kind(api, {**_resolved(api, schema["items"]), "minItems": 0} | {"minItems": 0})
        names[names.index("array")] = f"array of {inside.removesuffix(', at least 0')}"
    return ", ".join([" or ".join(names), *bounds])
