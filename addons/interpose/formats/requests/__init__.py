"""What a request's body must be: JSON Schemas (2020-12) as data, and what is wrong with a body that is not.

The schemas refuse what every provider of the format refuses, and nothing else; the same ones stand in the gateway's
`/openapi.json`. Nothing here knows a path or a call. Judging costs about a microsecond: the validator walks the parsed
body where it lies. https://json-schema.org/draft/2020-12
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import jsonschema_rs
import yaml

from .flaws import Flaw, flaw_of

__all__ = ["Flaw", "flaw_in", "read", "schemas"]

FILES = ("openai.yaml", "anthropic.yaml", "gemini.yaml")
DEPTH = 16


@cache
def schemas() -> Mapping[str, Any]:
    """Every schema by its name; they refer to each other as `#/$defs/NAME`."""
    found: dict[str, Any] = {}
    for name in FILES:
        found |= read(files(__package__).joinpath(name))
    return found


def read(file: Traversable) -> Any:
    """What stands in a YAML file of ours, by the parser in C where it is there: that takes 5 ms in the place of 100."""
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)(file.read_text("utf-8")).get_single_data()


@cache
def _validator(name: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schemas()})


def flaw_in(name: str, document: object) -> Flaw | None:
    """The first thing that is wrong with a parsed body by the schema of that name; None if nothing is."""
    validator = _validator(name)
    if validator.is_valid(document):
        return None
    return flaw_of(next(validator.iter_errors(_tellable(document))), schemas())


def _tellable(value: Any, depth: int = DEPTH) -> Any:
    """The same where no text holds half of a pair of surrogates, and no deeper than any schema looks: no error can be
    told of what is otherwise.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_tellable(key): _tellable(each, depth - 1) for key, each in value.items()} if depth else {}
    if isinstance(value, list):
        return [_tellable(each, depth - 1) for each in value] if depth else []
    return value
