"""How JSON is taken apart, and what is left over when its codec has taken what it understands: a node's `Own`.

Each codec binds `Leftovers` to its own format, and takes its methods for functions: `lay_over = LEFTOVERS.lay_over`.
What is another format's stays out of what is written, and is told as losses (`Losses.own`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from interpose.ir import Own

from .codec import Json

NO_MARKS: frozenset[str] = frozenset()
# For `take`.
STRING = (str,)
NUMBER = (int, float)
INTEGER = (int,)
BOOLEAN = (bool,)
OBJECT = (dict,)


def take(node: Json, key: str, types: tuple[type, ...]) -> Any:
    """A value of one of `types` (exactly: a bool is no number), taken out; None leaves whatever there is."""
    value = node.get(key)
    if type(value) in types:
        del node[key]
        return value
    return None


def prefixed(node: Json, prefix: str, into: Json) -> None:
    """What was not taken of an inner object, put into the leftovers of the outer one under `prefix.key`."""
    for key, value in node.items():
        into[f"{prefix}.{key}"] = value


def laid_over(written: Json, own: Own | None, format_: str) -> Json:
    """What was written, and over it what the format itself had left over."""
    if own is None or own.format != format_:
        return written
    return {**written, **own.fields, **(own.silent or {})}


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What is left over in one format, kept and put back."""

    format: str

    def leftover(self, node: Json, marks: Iterable[str] = (), silent: Json | None = None) -> Own | None:
        """What was not taken of a node, as its Own; None if that is nothing."""
        if node or marks or silent:
            return Own(self.format, node, frozenset(marks), silent)
        return None

    def lay_over(self, written: Json, own: Own | None, *inner: str) -> None:
        """Puts the format's own leftovers back beside what is written; those under `inner.key` into that object."""
        if own is None or own.format != self.format:
            return
        for key, value in (own.fields if not own.silent else {**own.fields, **own.silent}).items():
            name, dot, rest = key.partition(".")
            if dot and name in inner:
                nested = written.setdefault(name, {})
                if isinstance(nested, dict):
                    nested.setdefault(rest, value)
            else:
                written.setdefault(key, value)

    def marks_of(self, own: Own | None) -> frozenset[str]:
        """How the format wrote this; no marks for another format's."""
        return own.marks if own is not None and own.format == self.format else NO_MARKS

    def marked(self, own: Own | None, mark: str) -> bool:
        """Whether the format wrote this in the way for which the mark stands."""
        return own is not None and own.format == self.format and mark in own.marks

    def silent(self, own: Own | None, key: str) -> Any:
        """What says nothing to anybody but the format, under that key."""
        return own.silent.get(key) if own is not None and own.format == self.format and own.silent else None
