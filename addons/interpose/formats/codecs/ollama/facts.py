"""Ollama's words, and how what is left over of its JSON is kept and put back.

https://github.com/ollama/ollama/blob/main/docs/api.md, and its types in api/types.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from interpose.formats.codecs.codec import Json
from interpose.ir import Opaque, Own
from interpose.ir.reply import Reason

NAME: Final = "ollama"
CHAT_PATH = "/api/chat"
GENERATE_PATH = "/api/generate"
# Marks requests and replies of /api/generate, where a prompt is gone on with.
GENERATE = "generate"
NO_MARKS: frozenset[str] = frozenset()

# Why it is done; load and unload answer a request without messages. It has no other words.
REASONS: dict[str, Reason] = {"stop": "end", "length": "length"}
WORDS: dict[Reason, str] = {"length": "length"}
UNSAID: frozenset[Reason] = frozenset(("content_filter", "refusal", "pause", "error", "other"))

# Whose thinking it was: models take their own back, in plain words and unsigned.
ORIGIN = Opaque(NAME, "signature", "thinking")


def leftover(node: Json, marks: Iterable[str] = (), silent: Json | None = None) -> Own | None:
    """What was not taken of a node, as its Own; None if that is nothing."""
    if node or marks or silent:
        return Own(NAME, node, frozenset(marks), silent)
    return None


def lay_over(written: Json, own: Own | None, *inner: str) -> None:
    """Puts Ollama's own leftovers back; those under `inner.key` into that inner object."""
    if own is None or own.format != NAME:
        return
    for key, value in (own.fields if not own.silent else {**own.fields, **own.silent}).items():
        name, dot, rest = key.partition(".")
        if dot and name in inner:
            nested = written.setdefault(name, {})
            if isinstance(nested, dict):
                nested.setdefault(rest, value)
        else:
            written.setdefault(key, value)


def marks_of(own: Own | None) -> frozenset[str]:
    """How Ollama wrote this; no marks for another format's."""
    return own.marks if own is not None and own.format == NAME else NO_MARKS
