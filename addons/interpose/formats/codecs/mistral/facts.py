"""Mistral's words, and how what is left over of its JSON is kept and put back.

https://docs.mistral.ai/api/endpoint/chat
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from interpose.formats.codecs.codec import Json
from interpose.ir import Own
from interpose.ir.reply import Reason

NAME: Final = "mistral"
PATH = "/v1/chat/completions"
# https://docs.mistral.ai/api/endpoint/agents and https://docs.mistral.ai/api/endpoint/fim
AGENTS_PATH = "/v1/agents/completions"
FIM_PATH = "/v1/fim/completions"
FIM = "fim"
NO_MARKS: frozenset[str] = frozenset()

# Its finish reasons are stop, length, model_length, error and tool_calls; it has none for an answer that was withheld.
WORDS: dict[Reason, str] = {
    "end": "stop",
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "stop",
    "refusal": "stop",
    "pause": "stop",
    "error": "error",
    "other": "stop",
}
# Those that the word above does not say.
UNSAID: frozenset[Reason] = frozenset(("content_filter", "refusal", "pause", "other"))


def leftover(node: Json, marks: Iterable[str] = (), silent: Json | None = None) -> Own | None:
    """What was not taken of a node, as its Own; None if that is nothing."""
    if node or marks or silent:
        return Own(NAME, node, frozenset(marks), silent)
    return None


def lay_over(written: Json, own: Own | None, *inner: str) -> None:
    """Puts Mistral's own leftovers back; those under `inner.key` into that inner object."""
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
    """How Mistral wrote this; no marks for another format's."""
    return own.marks if own is not None and own.format == NAME else NO_MARKS
