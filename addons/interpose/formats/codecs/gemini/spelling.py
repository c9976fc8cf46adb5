"""How Gemini spells: camelCase and snake_case keys, enums by name or number, and what is left over in nested objects.

The API is protobuf in JSON, which takes both spellings of a key and both of an enum
(https://protobuf.dev/programming-guides/json/); SDKs mix them in one request. What was written is kept in `Own.marks`:
a mark with the snake_case name of a key means that the key was spelled so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from interpose.formats.codecs.codec import Json, parsed
from interpose.formats.codecs.leftovers import Leftovers
from interpose.ir import Own

NAME = "gemini"

# What is left over in these objects is kept beside them under a dotted name ("generationConfig.speechConfig"), so that
# a loss of it names the very key.
NESTED = frozenset(
    (
        "generationConfig",
        "functionCallingConfig",
        "functionCall",
        "functionResponse",
        "inlineData",
        "fileData",
        "content",
        "promptFeedback",
        "usageMetadata",
    )
)

LEFTOVERS = Leftovers(NAME)
marks_of = LEFTOVERS.marks_of


def snake(*names: str) -> dict[str, str]:
    """camelCase names by their snake_case spelling."""
    return {"".join("_" + char.lower() if char.isupper() else char for char in name): name for name in names}


def unify(node: Json, names: Mapping[str, str], marks: set[str]) -> None:
    """Renames what is spelled in snake_case, unless the same key is there in camelCase too."""
    for key in node:
        if "_" in key:
            break
    else:
        return
    for key in [key for key in node if key in names]:
        if (name := names[key]) not in node:
            node[name] = node.pop(key)
            marks.add(key)


def respell(node: Json, names: Mapping[str, str], marks: Iterable[str]) -> None:
    """Undoes `unify`."""
    for mark in marks:
        name = names.get(mark)
        if name is not None and name in node:
            node[mark] = node.pop(name)


def own_of(fields: Json, marks: set[str], silent: Json | None = None) -> Own | None:
    return Own(NAME, fields, frozenset(marks), silent or None) if fields or marks or silent else None


def leave(fields: Json, key: str, rest: Json) -> None:
    """Puts what is left over in the object under `key` beside it."""
    for name, value in rest.items():
        fields[f"{key}.{name}"] = value


def lay(node: Json, own: Own | None) -> None:
    """Lays Gemini's own leftovers over what was written."""
    if own is None or own.format != NAME:
        return
    for key, value in (own.fields if own.silent is None else {**own.fields, **own.silent}).items():
        head, dot, tail = key.partition(".")
        if dot and head in NESTED:
            inner = node.get(head)
            if not isinstance(inner, dict):
                inner = node[head] = {}
            inner[tail] = value
        else:
            node[key] = value


def marked(marks: Iterable[str], prefix: str) -> str | None:
    """What stands behind `prefix` in the mark that begins with it."""
    for mark in marks:
        if mark.startswith(prefix):
            return mark[len(prefix) :]
    return None


_LONG = re.compile(r"\d{19}")


def exactly(text: str) -> Any:
    """JSON text that `dumps` made, equal to what it was made of: whole numbers beyond 64 bits stay whole."""
    if len(text) > 18 and _LONG.search(text):
        return json.loads(text)
    return loads(text)


def loads(data: bytes | str) -> Any:
    """JSON, also what orjson refuses and Python takes: lone surrogates. Raises ValueError, RecursionError."""
    try:
        return parsed(data) if isinstance(data, bytes) else orjson.loads(data)
    except ValueError:
        return json.loads(data.decode("utf-8", "surrogatepass") if isinstance(data, bytes) else data)
