"""The words of Bedrock's Converse, and how its nodes keep what is theirs alone. Tables, and no reading or writing.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from interpose.formats.codecs.codec import dumps
from interpose.formats.codecs.leftovers import NO_MARKS, Leftovers
from interpose.ir import CacheMark, Own
from interpose.ir.losses import says
from interpose.ir.reply import Reason

Json = dict[str, Any]

FORMAT = "bedrock-converse"

# Marks: how a node was spelt.
TOP = "top"
NO_MESSAGES = "messages:absent"
EMPTY = "empty"
JSON = "json"
GUARDED = "guardContent"
CITED = "citationsContent"
CONTENTLESS = "content:absent"
TEXTLESS = "text:absent"
INPUT_TEXT = "input:text"  # of a call whose input is no object
INPUT_VALUE = "input:value"

# How the text of a JSON schema is spelt, by mark.
SPELLINGS: Mapping[str, Callable[[Any], str]] = {"": dumps, "schema:spaced": json.dumps}

# Where the fields of the models themselves stand, and those of them that are understood.
MORE = "additionalModelRequestFields"
CLAUDE_THINKING = "thinking"
OLD_THINKING = "reasoning_config"
NOVA_THINKING = "reasoningConfig"
REASONING_EFFORT = "reasoning_effort"
OUTPUT_CONFIG = "output_config"
NOVA_TOP_K = "topK"

MAX_CACHE_MARKS = 4  # https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
MAX_DOCUMENT_NAME = 200

# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseResponse.html (stopReason)
STOPS: Mapping[str, Reason] = {
    "end_turn": "end",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "stop_sequence": "stop",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
    "model_context_window_exceeded": "length",
}
WORDS: Mapping[Reason, str] = {
    "end": "end_turn",
    "length": "max_tokens",
    "stop": "stop_sequence",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
    "refusal": "content_filtered",
    "error": "malformed_model_output",
    "pause": "end_turn",
    "other": "end_turn",
}

# MIME types by Converse's word, by kind of medium: ImageBlock, DocumentBlock, VideoBlock, AudioBlock.
TYPES: Mapping[str, Mapping[str, str]] = {
    "image": {"png": "image/png", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"},
    "document": {
        "pdf": "application/pdf",
        "csv": "text/csv",
        "doc": "application/msword",
        "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xls": "application/vnd.ms-excel",
        "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "html": "text/html",
        "txt": "text/plain",
        "md": "text/markdown",
    },
    "video": {
        "mkv": "video/x-matroska",
        "mov": "video/quicktime",
        "mp4": "video/mp4",
        "webm": "video/webm",
        "flv": "video/x-flv",
        "mpeg": "video/mpeg",
        "mpg": "video/mpg",
        "wmv": "video/x-ms-wmv",
        "three_gp": "video/3gpp",
    },
    "audio": {
        "mp3": "audio/mpeg",
        "opus": "audio/opus",
        "wav": "audio/wav",
        "aac": "audio/aac",
        "flac": "audio/flac",
        "mp4": "audio/mp4",
        "ogg": "audio/ogg",
        "mkv": "audio/x-matroska",
        "mka": "audio/x-mka",
        "x-aac": "audio/x-aac",
        "m4a": "audio/x-m4a",
        "mpeg": "audio/x-mpeg",
        "mpga": "audio/mpga",
        "pcm": "audio/pcm",
        "webm": "audio/webm",
    },
}
FORMATS: Mapping[str, Mapping[str, str]] = {
    kind: {media_type: word for word, media_type in types.items()} for kind, types in TYPES.items()
}
# What else these types are called.
ALIASES: Mapping[str, str] = {
    "image/jpg": "image/jpeg",
    "audio/mp3": "audio/mpeg",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/m4a": "audio/x-m4a",
    "audio/l16": "audio/pcm",
    "audio/pcm16": "audio/pcm",
    "application/csv": "text/csv",
    "application/x-pdf": "application/pdf",
    "text/x-markdown": "text/markdown",
}
# By the first characters of their base64.
SIGNATURES: Mapping[str, str] = {
    "/9j/": "image/jpeg",
    "iVBO": "image/png",
    "R0lG": "image/gif",
    "UklG": "image/webp",
    "JVBE": "application/pdf",
}

LEFTOVERS = Leftovers(FORMAT)
marked = LEFTOVERS.marked
silent = LEFTOVERS.silent


def own(left: Json, *marks: str, silent: Json | None = None) -> Own | None:
    """What was left over of a node, and how it was spelt; None if that is nothing."""
    if marks:
        return Own(FORMAT, left, frozenset(marks), silent or None)
    return Own(FORMAT, left, NO_MARKS, silent or None) if left or silent else None


def is_ours(of: Own | None) -> bool:
    return of is not None and of.format == FORMAT


def lay_over(node: Json, of: Own | None) -> None:
    """Our own leftovers are laid over what was written, objects into objects; another format's are its own affair."""
    if of is not None and of.format == FORMAT:
        merge(node, of.fields)
        if of.silent:
            merge(node, of.silent)


def merge(node: Json, over: Json) -> None:
    for key, value in over.items():
        written = node.get(key)
        if isinstance(written, dict) and isinstance(value, dict):
            merge(written, value)
        else:
            node[key] = value


def hush(node: Json, keys: frozenset[str]) -> Json:
    """Takes out of a node what says nothing to others."""
    return {key: node.pop(key) for key in keys.intersection(node)}


def speaks(value: Any) -> bool:
    """Whether anything below is said at all: objects within objects may have been emptied of what is understood."""
    return any(map(speaks, value.values())) if isinstance(value, dict) else says(value)


def take_text(node: Json, key: str) -> str | None:
    value = node.get(key)
    if not isinstance(value, str):
        return None
    del node[key]
    return value


def take_integer(node: Json, key: str) -> int | None:
    value = node.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    del node[key]
    return value


def take_number(node: Json, key: str) -> float | None:
    value = node.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    del node[key]
    return value


def read_point(node: Any) -> CacheMark | None:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CachePointBlock.html"""
    if not isinstance(node, dict) or node.get("type") != "default":
        return None
    rest = dict(node)
    del rest["type"]
    return CacheMark(take_text(rest, "ttl"), own(rest))
