"""Content blocks read, of requests and of replies: one function by type, and `Foreign` for all that have none.

Each takes the keys that it understands out of the block; what is left over is the block's `Own`.
https://platform.claude.com/docs/en/api/messages (ContentBlockParam, ContentBlock)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from interpose.formats.codecs.codec import Malformed, dumps
from interpose.formats.codecs.opaque import unpack
from interpose.ir import Block, Citation, Foreign, Media, Opaque, Own, Source, Text, Thinking, ToolCall, ToolResult

from .names import ABSENT, EMPTY, FORMAT, SIGNATURELESS, TEXT, UNSIGNED, Json, hush, own, take_cache


def read_blocks(
    content: list[Any], at: str, readers: Mapping[str, Callable[[Json, str], Block]], *, sent_back: bool = False
) -> list[Block]:
    """The blocks of a list. Where a client sends a reply back, state of another provider's that stood behind a block is
    that block's again.
    """
    blocks: list[Block] = []
    for place, node in enumerate(content):
        path = f"{at}[{place}]"
        if not isinstance(node, dict):
            raise Malformed(path, "a content block is an object")
        kind = node.get("type")
        if not isinstance(kind, str):
            raise Malformed(f"{path}.type", "a content block says its type as text")
        read = readers.get(kind)
        block = Foreign(FORMAT, kind, node, None, path) if read is None else read(node, path)
        if isinstance(block, Thinking) and not block.at:
            if sent_back and _behind(block, blocks):
                continue
            block.at = path
        blocks.append(block)
    return blocks


def _behind(carrier: Thinking, blocks: list[Block]) -> bool:
    """Whether a redacted_thinking block carries the state of the block before it; if so, that has it back."""
    before = blocks[-1] if blocks else None
    if carrier.own is not None or not isinstance(before, ToolCall | Text | Media) or before.opaque is not None:
        return False
    before.opaque = carrier.opaque
    return True


def read_text(node: Json, at: str) -> Text:
    text = node.pop("text", None)
    if not isinstance(text, str):
        raise Malformed(f"{at}.text", "a text block has text")
    del node["type"]
    cited = _citations(node, at) if "citations" in node else []
    cache = take_cache(node) if "cache_control" in node else None
    # An empty text block is only written again where one was read.
    return Text(text, cited, cache, None, at, own(node) if text or cited else own(node, EMPTY))


def _citations(node: Json, at: str) -> list[Citation]:
    """https://platform.claude.com/docs/en/build-with-claude/citations. An empty list or null is left where it is."""
    told = node["citations"]
    if not isinstance(told, list) or not told or not all(isinstance(one, dict) for one in told):
        return []
    del node["citations"]
    return [read_citation(one) for one in told]


# Where a citation points, in units and to documents that are Claude's, and the state with which it is sent back.
PLACES = frozenset(
    (
        "type",
        "encrypted_index",
        "document_index",
        "document_title",
        "file_id",
        "start_char_index",
        "end_char_index",
        "start_page_number",
        "end_page_number",
        "start_block_index",
        "end_block_index",
        "search_result_index",
        "source",
    )
)


def read_citation(node: Json) -> Citation:
    texts = (node.get("url"), node.get("title"), node.get("cited_text"))
    url, title, quoted = (text if isinstance(text, str) else None for text in texts)
    for key, value in (("url", url), ("title", title), ("cited_text", quoted)):
        if value is not None:
            del node[key]
    # Also of one that says nothing else: only what is Claude's own is given back to it.
    return Citation(url, title, quoted, own(node, silent=hush(node, PLACES)) or Own(FORMAT))


def read_thinking(node: Json, at: str) -> Block:
    """https://platform.claude.com/docs/en/build-with-claude/thinking"""
    text = node.pop("thinking", None)
    if not isinstance(text, str):
        raise Malformed(f"{at}.thinking", "a thinking block has thinking")
    del node["type"]
    cache = take_cache(node) if "cache_control" in node else None
    signature = node.get("signature")
    if not isinstance(signature, str):
        return Thinking(text, False, None, cache, at, own(node, SIGNATURELESS))
    del node["signature"]
    if not signature:
        return Thinking(text, False, None, cache, at, own(node, UNSIGNED))
    opaque = unpack(signature) or Opaque(FORMAT, "signature", signature)
    return Thinking(text, False, opaque, cache, at, own(node))


def read_redacted(node: Json, at: str) -> Block:
    data = node.get("data")
    if not isinstance(data, str):
        raise Malformed(f"{at}.data", "a redacted_thinking block has data")
    del node["data"], node["type"]
    cache = take_cache(node) if "cache_control" in node else None
    state = unpack(data)
    if state is None:
        return Thinking("", False, Opaque(FORMAT, "redacted", data), cache, at, own(node))
    # Without `at`: it stands for no block of the client's, but for the state of the one before it.
    return Thinking("", False, state, cache, "" if cache is None else at, own(node))


CALLER = frozenset(("caller",))


def read_tool_use(node: Json, at: str) -> ToolCall:
    id_, name, given = node.get("id"), node.get("name"), node.get("input")
    if not isinstance(id_, str):
        raise Malformed(f"{at}.id", "a tool_use block has an id")
    if not isinstance(name, str):
        raise Malformed(f"{at}.name", "a tool_use block has a name")
    if not isinstance(given, dict):
        raise Malformed(f"{at}.input", "the input of a tool_use block is an object")
    del node["id"], node["name"], node["input"], node["type"]
    try:
        arguments = dumps(given)
    except (RecursionError, ValueError):
        raise Malformed(f"{at}.input", "the input is nested too deeply") from None
    cache = take_cache(node) if "cache_control" in node else None
    # That the model itself calls is what every other format means by a call.
    direct = hush(node, CALLER) if node.get("caller") == {"type": "direct"} else None
    return ToolCall(id_, name, arguments, "function", None, cache, at, own(node, silent=direct))


def read_tool_result(node: Json, at: str) -> ToolResult:
    id_ = node.get("tool_use_id")
    if not isinstance(id_, str):
        raise Malformed(f"{at}.tool_use_id", "a tool_result block has a tool_use_id")
    del node["tool_use_id"], node["type"]
    cache = take_cache(node) if "cache_control" in node else None
    error = node.get("is_error")
    if isinstance(error, bool):
        del node["is_error"]
    else:
        error = None
    content = node.get("content")
    if isinstance(content, str):
        del node["content"]
        blocks: list[Block] = [Text(content, [], None, None, f"{at}.content")]
        return ToolResult(id_, blocks, None, error, "function", cache, at, own(node, TEXT))
    if isinstance(content, list):
        del node["content"]
        blocks = read_blocks(content, f"{at}.content", RESULT_READERS)
        return ToolResult(id_, blocks, None, error, "function", cache, at, own(node))
    if content is not None:
        raise Malformed(f"{at}.content", "the content of a tool_result block is text or a list of blocks")
    return ToolResult(id_, [], None, error, "function", cache, at, own(node, ABSENT))


def read_image(node: Json, at: str) -> Block:
    """https://platform.claude.com/docs/en/build-with-claude/vision"""
    return _media("image", node, at)


def read_document(node: Json, at: str) -> Block:
    """https://platform.claude.com/docs/en/build-with-claude/pdf-support. A document made of blocks stays Foreign."""
    return _media("document", node, at)


# By the source's type: the key of its value, and our word for it.
_SOURCES: Mapping[str, tuple[str, Any]] = {
    "base64": ("data", "base64"),
    "url": ("url", "url"),
    "file": ("file_id", "file"),
    "text": ("data", "text"),
}


def _media(kind: Any, node: Json, at: str) -> Block:
    source = node.get("source")
    form = source.get("type") if isinstance(source, dict) else None
    row = _SOURCES.get(form) if isinstance(form, str) else None
    if not isinstance(source, dict) or row is None:
        return Foreign(FORMAT, kind, node, None, at)
    key, word = row
    value, media_type = source.get(key), source.get("media_type", "")
    if not isinstance(value, str) or not isinstance(media_type, str) or (not media_type and "media_type" in source):
        return Foreign(FORMAT, kind, node, None, at)
    if len(source) != 2 + bool(media_type):
        return Foreign(FORMAT, kind, node, None, at)
    del node["source"], node["type"]
    name = node.get("title")
    if isinstance(name, str):
        del node["title"]
    else:
        name = None
    cache = take_cache(node) if "cache_control" in node else None
    return Media(kind, Source(word, value), media_type, name, None, cache, None, at, own(node))


RESULT_READERS: Mapping[str, Callable[[Json, str], Block]] = {
    "text": read_text,
    "image": read_image,
    "document": read_document,
}
READERS: Mapping[str, Callable[[Json, str], Block]] = {
    **RESULT_READERS,
    "thinking": read_thinking,
    "redacted_thinking": read_redacted,
    "tool_use": read_tool_use,
    "tool_result": read_tool_result,
}
