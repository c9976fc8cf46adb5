"""Content blocks read, of requests and of replies: one function by member of the union, and `Foreign` for all others.

Each takes the keys that it understands out of the block; what is left over is the block's `Own`. A reader that gives
None has taken nothing. https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Literal

from interpose.formats.codecs.codec import Malformed, dumps
from interpose.formats.codecs.opaque import PREFIX, unpack
from interpose.ir import Block, Citation, Foreign, Media, Opaque, Own, Source, Text, Thinking, ToolCall, ToolResult

from .names import (
    CITED,
    CONTENTLESS,
    EMPTY,
    FORMAT,
    FORMATS,
    GUARDED,
    INPUT_TEXT,
    INPUT_VALUE,
    JSON,
    TEXTLESS,
    TYPES,
    Json,
    hush,
    own,
    read_point,
    take_text,
)

# What we have packed begins so in base64: PREFIX has as many bytes as make whole groups.
_PACKED = base64.b64encode(PREFIX.encode()).decode()
# Beside a block's only member, gateways have been seen to say its type.
_TYPE = frozenset(("type",))
# Where a citation points, in units and to documents of its own.
PLACES = frozenset(("source", "sourceContent", "location"))

Reader = Callable[[Any, str], Block | None]


def read_blocks(content: Any, at: str, readers: Mapping[str, Reader], *, sent_back: bool = False) -> list[Block]:
    """The blocks of a list. A cache point marks the block before it. Where a client sends a reply back, state of
    another provider's that stood behind a block is that block's again.
    """
    if not isinstance(content, list):
        raise Malformed(at, "is a list of content blocks")
    blocks: list[Block] = []
    for place, node in enumerate(content):
        path = f"{at}[{place}]"
        if not isinstance(node, dict) or not node:
            raise Malformed(path, "a content block is an object with one member")
        kind = next(iter(node))
        if kind == "cachePoint" and _mark(blocks, node):
            continue
        if len(node) == 1:
            read = readers.get(kind)
            block = None if read is None else read(node[kind], path)
        else:
            kind, block = _beside(node, path, readers)
        if block is None:
            block = Foreign(FORMAT, kind, node, None, path)
        if isinstance(block, Thinking) and not block.at:
            if sent_back and _behind(block, blocks):
                continue
            block.at = path
        blocks.append(block)
    return blocks


def _mark(blocks: list[Block], node: Json) -> bool:
    before = blocks[-1] if blocks and len(node) == 1 else None
    if before is None or isinstance(before, Foreign) or getattr(before, "cache", before) is not None:
        return False
    mark = read_point(node["cachePoint"])
    if mark is not None:
        before.cache = mark  # type: ignore[union-attr]  # only Refused has none, and nothing here is one
    return mark is not None


def _beside(node: Json, at: str, readers: Mapping[str, Reader]) -> tuple[str, Block | None]:
    """A block that says more than its one member: of a text it is left over, anything else stays as it is."""
    kind = next((name for name in node if name in readers), next(iter(node)))
    if kind != "text" or "text" not in readers or any(name in readers for name in node if name != "text"):
        return kind, None
    text = take_text(node, "text")
    if text is None:
        raise Malformed(f"{at}.text", "is text")
    quiet = hush(node, _TYPE)
    return kind, Text(text, [], None, None, at, own(node, *(() if text else (EMPTY,)), silent=quiet))


def _behind(carrier: Thinking, blocks: list[Block]) -> bool:
    """Whether a redacted block carries the state of the block before it; if so, that has it back."""
    before = blocks[-1] if blocks else None
    if not isinstance(before, ToolCall | Text | Media) or before.opaque is not None:
        return False
    before.opaque = carrier.opaque
    return True


def read_text(value: Any, at: str) -> Text:
    if not isinstance(value, str):
        raise Malformed(f"{at}.text", "is text")
    return Text(value, [], None, None, at, None if value else own({}, EMPTY))


def read_json(value: Any, at: str) -> Text:
    try:
        return Text(dumps(value), [], None, None, at, own({}, JSON))
    except (RecursionError, ValueError):
        raise Malformed(f"{at}.json", "is nested too deeply") from None


def read_guarded(value: Any, at: str) -> Block | None:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_GuardrailConverseContentBlock.html"""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    inner = value.get("text")
    if isinstance(inner, dict) and isinstance(inner.get("text"), str):
        text = inner.pop("text")
        return Text(text, [], None, None, at, own(inner, GUARDED))
    block = _read_media("image", value.get("image"), at)
    if block is not None:
        before = block.own or Own(FORMAT)
        block.own = Own(FORMAT, before.fields, before.marks | {GUARDED}, before.silent)
    return block


def read_cited(value: Any, at: str) -> Text | None:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CitationsContentBlock.html"""
    if not isinstance(value, dict):
        return None
    content, told = value.get("content"), value.get("citations")
    marks = [CITED]
    if content is None:
        marks.append(CONTENTLESS)
        texts: list[str] = []
    else:
        texts = _texts(content)
        if len(texts) != 1:
            return None
    if not isinstance(told, list) or not all(isinstance(one, dict) for one in told):
        return None
    value.pop("content", None)
    del value["citations"]
    return Text("".join(texts), [read_citation(one) for one in told], None, None, at, own(value, *marks))


def _texts(content: Any) -> list[str]:
    """The texts of a list that has nothing but texts; none if it has more."""
    if not isinstance(content, list):
        return []
    texts = [one["text"] for one in content if isinstance(one, dict) and isinstance(one.get("text"), str)]
    return texts if len(texts) == len(content) and all(len(one) == 1 for one in content) else []


def read_citation(node: Json) -> Citation:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Citation.html"""
    title, quoted, url = take_text(node, "title"), None, None
    texts = _texts(node.get("sourceContent"))
    if len(texts) == 1:
        del node["sourceContent"]
        [quoted] = texts
    location = node.get("location")
    web = location.get("web") if isinstance(location, dict) else None
    if isinstance(location, dict) and isinstance(web, dict) and (url := take_text(web, "url")) is not None and not web:
        del location["web"]
        if not location:
            del node["location"]
    # Also of one that says nothing else: only what is Bedrock's own is given back to it.
    return Citation(url, title, quoted, own(node, silent=hush(node, PLACES)) or Own(FORMAT))


def read_reasoning(value: Any, at: str) -> Block | None:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ReasoningContentBlock.html"""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    hidden, told = value.get("redactedContent"), value.get("reasoningText")
    if isinstance(hidden, str):
        return read_redacted(hidden, at)
    if not isinstance(told, dict):
        return None
    text, signature = told.get("text"), told.get("signature")
    if not isinstance(text, str) and (text is not None or not isinstance(signature, str)):
        return None
    marks = (TEXTLESS,) if text is None else ()
    if text is not None:
        del told["text"]
    opaque = None
    if isinstance(signature, str) and signature:
        del told["signature"]
        opaque = unpack(signature) or Opaque(FORMAT, "signature", signature)
    quiet = hush(told, frozenset(("signature",))) if signature == "" else None
    return Thinking(text or "", False, opaque, None, at, own(told, *marks, silent=quiet))


def read_redacted(data: str, at: str) -> Thinking:
    """Ours is without `at`: it stands for no block of the client's, but for the state of the one before it."""
    if data.startswith(_PACKED):
        try:
            state = unpack(binascii.a2b_base64(data).decode())
        except (binascii.Error, ValueError):
            state = None
        if state is not None:
            return Thinking("", False, state)
    return Thinking("", False, Opaque(FORMAT, "redacted", data), None, at)


def read_call(value: Any, at: str) -> Block | None:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolUseBlock.html"""
    if not isinstance(value, dict):
        raise Malformed(f"{at}.toolUse", "is an object")
    if value.get("type", "tool_use") != "tool_use":
        return None  # a server's
    id_, name = value.get("toolUseId"), value.get("name")
    if not isinstance(id_, str) or not isinstance(name, str):
        raise Malformed(f"{at}.toolUse", "has a toolUseId and a name")
    if "input" not in value:
        raise Malformed(f"{at}.toolUse.input", "is missing")
    given = value.pop("input")
    del value["toolUseId"], value["name"]
    marks = () if isinstance(given, dict) else (INPUT_TEXT,) if isinstance(given, str) else (INPUT_VALUE,)
    try:
        arguments = given if isinstance(given, str) else dumps(given)
    except (RecursionError, ValueError):
        raise Malformed(f"{at}.toolUse.input", "is nested too deeply") from None
    quiet = hush(value, _TYPE)
    return ToolCall(id_, name, arguments, "function", None, None, at, own(value, *marks, silent=quiet))


def read_result(value: Any, at: str) -> Block | None:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolResultBlock.html"""
    if not isinstance(value, dict):
        raise Malformed(f"{at}.toolResult", "is an object")
    if "type" in value:
        return None  # a server's
    id_ = value.get("toolUseId")
    if not isinstance(id_, str):
        raise Malformed(f"{at}.toolResult.toolUseId", "is text")
    content = read_blocks(value.get("content"), f"{at}.toolResult.content", RESULT_READERS)
    del value["toolUseId"], value["content"]
    status = value.get("status")
    error = {"success": False, "error": True}.get(status) if isinstance(status, str) else None
    if error is not None:
        del value["status"]
    return ToolResult(id_, content, None, error, "function", None, at, own(value))


def _media(kind: Literal["image", "document", "audio", "video"]) -> Reader:
    return lambda value, at: _read_media(kind, value, at)


def _read_media(kind: Literal["image", "document", "audio", "video"], value: Any, at: str) -> Media | None:
    """Bytes, plain text, or an object in S3, which Bedrock alone reads. A document made of pieces stays Foreign."""
    told = value.get("source") if isinstance(value, dict) else None
    if not isinstance(told, dict) or len(told) != 1:
        return None
    stored = told.get("s3Location")
    if isinstance(stored, dict) and (uri := take_text(stored, "uri")) is not None:
        source = Source("file", uri)
        if stored:  # whose bucket it is, is left over
            value["source"] = {"s3Location": stored}
        else:
            del value["source"]
    elif isinstance(data := told.get("bytes"), str):
        source = Source("base64", data)
        del value["source"]
    elif kind == "document" and isinstance(text := told.get("text"), str):
        source = Source("text", text)
        del value["source"]
    else:
        return None
    word, media_type, quiet = value.get("format"), "", None
    if isinstance(word, str):
        media_type = TYPES[kind].get(word, "")
        if word in FORMATS[kind]:  # the service has been seen to take a MIME type, too
            media_type, quiet = word, {"format": word}
        if media_type:
            del value["format"]
    name = take_text(value, "name")
    return Media(kind, source, media_type, name, None, None, None, at, own(value, silent=quiet))


RESULT_READERS: Mapping[str, Reader] = {
    "text": read_text,
    "json": read_json,
    "image": _media("image"),
    "document": _media("document"),
    "video": _media("video"),
}
READERS: Mapping[str, Reader] = {
    "text": read_text,
    "image": _media("image"),
    "document": _media("document"),
    "video": _media("video"),
    "audio": _media("audio"),
    "toolUse": read_call,
    "toolResult": read_result,
    "guardContent": read_guarded,
    "reasoningContent": read_reasoning,
    "citationsContent": read_cited,
}
