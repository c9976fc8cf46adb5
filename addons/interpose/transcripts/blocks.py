"""Blocks of the neutral conversation as blocks of a transcript."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from interpose import ir

from .documents import compact, media_type_of, pretty
from .model import Block, Call, Citation, Data, Media, Raw, Refusal, Result, Text, Thinking

MOST_NESTED = 8
_DATA_URL = re.compile(r"data:([\w.+/-]*)((?:;[^,;]*)*),", re.IGNORECASE)
_KINDS: Mapping[str, Literal["image", "document", "audio", "video"]] = {
    "image": "image",
    "audio": "audio",
    "video": "video",
}


def blocks_of(blocks: Iterable[ir.Block], depth: int = 0) -> tuple[Block, ...]:
    return tuple(shown for block in blocks for shown in _shown(block, depth))


def _shown(block: ir.Block, depth: int) -> tuple[Block, ...]:
    found = _KIND[type(block)](block, depth)
    return found if isinstance(found, tuple) else (found,)


def _text(block: ir.Text, depth: int) -> Block:
    cited = tuple(Citation(_word(each.url), _word(each.title), _word(each.quoted)) for each in block.citations)
    return Text(_word(block.text), cited)


def _refused(block: ir.Refused, depth: int) -> Block:
    return Refusal(_word(block.text))


def _thinking(block: ir.Thinking, depth: int) -> Block:
    opaque = block.opaque
    if opaque is None:
        return Thinking(_word(block.text), block.summary)
    return Thinking(_word(block.text), block.summary, opaque.kind, len(opaque.payload))


def _call(block: ir.ToolCall, depth: int) -> Block:
    return Call(_word(block.id), _word(block.name), _word(block.arguments), block.kind == "custom")


def _result(block: ir.ToolResult, depth: int) -> Block:
    inside: tuple[Block, ...] = (Raw("", "nested too deeply to be shown"),)
    if depth < MOST_NESTED:
        inside = blocks_of(block.content, depth + 1)
    return Result(_word(block.id), _word(block.name), inside, bool(block.error))


def _media(block: ir.Media, depth: int) -> Block | tuple[Block, ...]:
    source = block.source
    if source.kind == "text":
        name, said = _word(block.name), Text(_word(source.value))
        return (Media("document", block.media_type, name=name), said) if name else said
    if source.kind == "base64":
        shown = medium(block.media_type, source.value, _word(block.name), block.kind)
        # What a model speaks comes with what it says: https://platform.openai.com/docs/guides/audio
        heard = block.own.fields.get("transcript") if block.own is not None else None
        return (shown, Text(_word(heard))) if heard and isinstance(heard, str) else shown
    if source.kind == "url" and (inline := from_data_url(source.value, _word(block.name), block.kind)) is not None:
        return inline
    return Media(block.kind, block.media_type, place=_word(source.value), name=_word(block.name))


def _foreign(block: ir.Foreign, depth: int) -> tuple[Block, ...]:
    return foreign(_word(block.kind), block.value)


_KIND: Mapping[type, Callable[[Any, int], Block | tuple[Block, ...]]] = {
    ir.Text: _text,
    ir.Refused: _refused,
    ir.Thinking: _thinking,
    ir.ToolCall: _call,
    ir.ToolResult: _result,
    ir.Media: _media,
    ir.Foreign: _foreign,
}


def _word(value: object) -> str:
    """Text that any encoding holds; nothing for None."""
    text = value if isinstance(value, str) else "" if value is None else compact(value)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def foreign(kind: str, value: Any) -> tuple[Block, ...]:
    """Something that one format alone has: its pictures and sounds, and its JSON."""
    return (*media_in(value), Data(kind, pretty(value)))


def media_in(value: Any, depth: int = 0) -> tuple[Media, ...]:
    """The pictures, sounds and documents that stand in base64 anywhere in a value."""
    if isinstance(value, str):
        if value[:5].lower() == "data:":
            inline = from_data_url(value, "", "")
            return () if inline is None else (inline,)
        kind = media_type_of(value) if len(value) >= 64 else ""
        return (medium(kind, value),) if kind else ()
    if depth > MOST_NESTED:
        return ()
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return tuple(each for member in inside for each in media_in(member, depth + 1))


def medium(
    media_type: str, data: str, name: str = "", kind: Literal["image", "document", "audio", "video", ""] = ""
) -> Media:
    """A medium whose bytes are there, in base64."""
    media_type = media_type or media_type_of(data)
    kind = kind or _KINDS.get(media_type.partition("/")[0].lower(), "document")
    return Media(kind, media_type, data, name=name, size=len(data.rstrip("=\r\n ")) * 3 // 4)


def from_data_url(url: str, name: str, kind: Literal["image", "document", "audio", "video", ""]) -> Media | None:
    """What stands in a data: URL (RFC 2397); None for any other URL."""
    head = _DATA_URL.match(url)
    if head is None:
        return None
    data = url[head.end() :]
    if "base64" not in head[2].lower():
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return medium(head[1], data, name, kind)
