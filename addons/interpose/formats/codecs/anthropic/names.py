"""The words of Anthropic Messages, and how its nodes keep what is theirs alone. Tables, and no reading or writing.

https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interpose.formats.codecs.leftovers import NO_MARKS, Leftovers
from interpose.ir import CacheMark, Own, Stop
from interpose.ir.reply import Reason

Json = dict[str, Any]

# Whose the nodes are, whatever envelope they came in: what is Claude's is so on Bedrock and Vertex too, signatures
# included (https://platform.claude.com/docs/en/build-with-claude/thinking).
FORMAT = "anthropic"

VERSION_2023 = "2023-06-01"
VERSION_2026 = "2026-10-21"

# Marks: how a node was spelt.
TOP = "top"
TEXT = "content:text"
ABSENT = "content:absent"
EMPTY = "empty"
UNSIGNED = "signature:empty"
SIGNATURELESS = "signature:absent"
COUNTING = "count_tokens"

MAX_CACHE_MARKS = 4  # https://platform.claude.com/docs/en/build-with-claude/prompt-caching

# https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons; "compaction" with pause_after_compaction.
STOPS: Mapping[str, Reason] = {
    "end_turn": "end",
    "max_tokens": "length",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "refusal",
    "model_context_window_exceeded": "length",
    "compaction": "pause",
}
# "error" and "other" have no word: the nearest that no client takes for a good end is a refusal.
WORDS: Mapping[Reason, str] = {
    "end": "end_turn",
    "length": "max_tokens",
    "stop": "stop_sequence",
    "tool_calls": "tool_use",
    "pause": "pause_turn",
    "refusal": "refusal",
    "content_filter": "refusal",
    "error": "refusal",
    "other": "end_turn",
}

LEFTOVERS = Leftovers(FORMAT)
marked = LEFTOVERS.marked
silent = LEFTOVERS.silent


def own(left: Json, *marks: str, silent: Json | None = None) -> Own | None:
    """What was left over of a node, and how it was spelt; None if that is nothing."""
    if marks:
        return Own(FORMAT, left, frozenset(marks), silent or None)
    return Own(FORMAT, left, NO_MARKS, silent or None) if left or silent else None


def hush(node: Json, keys: frozenset[str]) -> Json | None:
    """Takes out of a node what says nothing to others."""
    return {key: node.pop(key) for key in keys.intersection(node)} or None


def lay_over(node: Json, of: Own | None) -> None:
    """Our own leftovers are laid over what was written; another format's are its own affair."""
    if of is not None and of.format == FORMAT:
        if of.fields:
            node.update(of.fields)
        if of.silent:
            node.update(of.silent)


def take_cache(node: Json) -> CacheMark | None:
    """https://platform.claude.com/docs/en/build-with-claude/prompt-caching"""
    mark = node.get("cache_control")
    if not isinstance(mark, dict) or mark.get("type") != "ephemeral":
        return None
    ttl = mark.get("ttl")
    if ttl is not None and not isinstance(ttl, str):
        return None
    if "ttl" in mark and ttl is None:
        return None
    del node["cache_control"]
    rest = {key: value for key, value in mark.items() if key not in ("type", "ttl")}
    return CacheMark(ttl, own(rest))


def take_stop(node: Json) -> Stop | None:
    """A message's or a delta's `stop_reason` and `stop_sequence`, if they are told and are text."""
    word = node.get("stop_reason")
    if not isinstance(word, str):
        return None
    del node["stop_reason"]
    sequence = node.get("stop_sequence")
    if sequence is None or isinstance(sequence, str):
        node.pop("stop_sequence", None)
    else:
        sequence = None
    return Stop(STOPS.get(word, "other"), sequence, FORMAT, word)
