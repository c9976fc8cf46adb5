"""JSON as people can look at it: vectors, base64 and endless lists cut short, and a path's value found."""

from __future__ import annotations

import json
import re
from typing import Any

# A string of nothing but base64 from here on is bytes, and no text of anybody's.
BASE64_FROM = 512
NUMBERS_FROM = 16
DEEPEST = 64
_BASE64 = re.compile(r"(?:data:[\w.+-]+/[\w.+-]+;base64,)?[A-Za-z0-9+/_-]{512,}={0,2}")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
# What pictures and sounds begin with, in base64.
_MAGIC = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("JVBERi0", "application/pdf"),
    ("SUQz", "audio/mpeg"),
    ("T2dnUw", "audio/ogg"),
)
# One container of several things: RIFF, a size, then WEBP or WAVE.
# https://developers.google.com/speed/webp/docs/riff_container
_RIFF = re.compile(r"UklGR.{6}X(RUJQ|QVZF)")
_IN_RIFF = {"RUJQ": "image/webp", "QVZF": "audio/wav"}


def shortened(value: Any, depth: int = 0) -> Any:
    """The value with what nobody reads cut short: base64, lists of numbers, and what is nested too deeply."""
    if isinstance(value, str):
        if len(value) >= BASE64_FROM and _BASE64.fullmatch(value):
            return f"{value[:24]}… ({len(value):,} characters of base64)"
        return value
    if depth >= DEEPEST:
        return "…" if isinstance(value, (list, dict)) else value
    if isinstance(value, list):
        if len(value) >= NUMBERS_FROM and all(type(each) in (int, float) for each in value):
            return [*value[:4], f"… {len(value):,} numbers"]
        return [shortened(each, depth + 1) for each in value]
    if isinstance(value, dict):
        return {key: shortened(each, depth + 1) for key, each in value.items()}
    return value


def pretty(value: Any) -> str:
    """The value as JSON over several lines, cut short as above; keys as they stand."""
    return dumped(shortened(value), indent=2)


def compact(value: Any) -> str:
    """The same in one line."""
    return dumped(shortened(value))


def dumped(value: Any, indent: int | None = None) -> str:
    """JSON for people: letters as they are, but halves of characters, which no text holds."""
    try:
        text = json.dumps(value, ensure_ascii=False, indent=indent)
    except (ValueError, TypeError, RecursionError):
        text = repr(value)
    return text.encode("utf-8", "backslashreplace").decode()


def found(document: Any, path: str) -> Any:
    """What stands at a JSON path like `messages[3].content[0]`; None where there is nothing."""
    value = document
    for step in _STEP.finditer(path):
        key, index = step.groups()
        if key is not None and isinstance(value, dict):
            value = value.get(key)
        elif index is not None and isinstance(value, list) and int(index) < len(value):
            value = value[int(index)]
        else:
            return None
    return value


def root(path: str) -> str:
    """The key of the document in which a path begins."""
    step = _STEP.match(path)
    return step[1] or "" if step else ""


def media_type_of(data: str) -> str:
    """The type of what is in that base64, by how it begins; "" for what is none of the usual."""
    if riff := _RIFF.match(data):
        return _IN_RIFF[riff[1]]
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), "")
