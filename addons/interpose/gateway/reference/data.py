"""The reference's data, read once: what is said of each operation, what is answered, what goes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from interpose.formats.requests import read, schemas


def file(name: str) -> Traversable:
    """A file beside this module."""
    return files(__package__).joinpath(name)


@cache
def operations() -> Mapping[str, Mapping[str, Any]]:
    """What is said of each operation, by its name."""
    found: Mapping[str, Mapping[str, Any]] = read(file("operations.yaml"))
    return found


@cache
def errors() -> Sequence[Mapping[str, Any]]:
    """Each status that the gateway answers by itself when something is wrong."""
    found: Sequence[Mapping[str, Any]] = read(file("errors.yaml"))
    return found


@cache
def components() -> Mapping[str, Any]:
    """The schemas of requests and replies, as OpenAPI has them refer to each other."""
    return {name: relocated(schema) for name, schema in {**schemas(), **read(file("replies.yaml"))}.items()}


def relocated(schema: Any) -> Any:
    """The same schema where references lead to an OpenAPI document's components."""
    if isinstance(schema, Mapping):
        return {
            key: value.replace("#/$defs/", "#/components/schemas/") if key == "$ref" else relocated(value)
            for key, value in schema.items()
        }
    return [relocated(each) for each in schema] if isinstance(schema, list) else schema
