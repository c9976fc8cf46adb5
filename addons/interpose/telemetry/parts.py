"""What one side said, as parts of a message by the GenAI conventions. Pure.

Texts are masked, and no more of them is told than a message has room for; pictures, sounds and documents are told by
their type and size alone. What is cut says so where it stands.

https://github.com/open-telemetry/semantic-conventions/blob/v1.41.0/docs/gen-ai/gen-ai-input-messages.json
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from interpose.transcripts import Block, Call, Citation, Data, Media, Raw, Refusal, Result, Text, Thinking
from interpose.transcripts.documents import dumped

type Part = dict[str, Any]

# So many bytes of texts has a message.
LARGEST = 64 << 10
MOST_PARTS = 200
# JSON is told as a structure down to here, and below as text: who reads protobuf stops at a hundred levels, of which a
# level of JSON takes three.
DEEPEST = 12
SHORTEST = 64
# What a provider's own tools are called by: Anthropic's blocks, and items of OpenAI's Responses.
_SERVER_CALLS = frozenset(
    (
        *("server_tool_use", "mcp_tool_use", "web_search_call", "file_search_call", "code_interpreter_call"),
        *("image_generation_call", "mcp_call", "tool_search_call"),
    )
)
# Begun only where a run of digits begins, and never gone back in: a text takes the time of its length.
BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{512,}+={0,2}")
_DIGITS = tuple(map(re.compile, ("[A-Z]", "[a-z]", "[0-9]")))


@dataclass(slots=True)
class Scribe:
    """Writes one message. `clean` masks a text, `link` a URL; `left` bytes are what there is room for, and `cut` says
    that they were not enough.
    """

    clean: Callable[[str], str]
    link: Callable[[str], str]
    left: int = LARGEST
    cut: bool = False

    def text(self, text: str) -> str:
        return self._fitting(without_blobs(self.clean(text)))

    def json(self, text: str, deepest: int = DEEPEST) -> Any:
        """JSON as a structure; as text where it is none, or too much."""
        told = without_blobs(self.clean(text))
        size = _size(told)
        if size > self.left:
            return self._fitting(told)
        self.left -= size
        try:
            value = orjson.loads(told)
        except ValueError:
            return told
        # What was escaped is seen only now.
        return shallow(value, self.clean if "\\" in told else str, deepest)

    def parts(self, blocks: Sequence[Block]) -> list[Part]:
        told = [self._part(block) for block in blocks[:MOST_PARTS]]
        if len(blocks) > MOST_PARTS:
            self.cut = True
            told.append({"type": "text", "content": f"… ({len(blocks) - MOST_PARTS:,} parts more)"})
        return told

    def _part(self, block: Block) -> Part:
        return _PART[type(block)](self, block)

    def _fitting(self, text: str) -> str:
        size = _size(text)
        if size <= self.left:
            self.left -= size
            return text
        self.cut = True
        kept = text.encode()[: self.left].decode("utf-8", "ignore") if self.left >= SHORTEST else ""
        self.left -= len(kept.encode())
        return f"{kept}… ({len(text) - len(kept):,} characters more)"


def without_blobs(text: str) -> str:
    """The text with a word in place of what is bytes in base64."""
    return BASE64.sub(_told, text) if len(text) >= 512 else text


def _told(found: re.Match[str]) -> str:
    head = found[0][:512]
    if not all(digit.search(head) for digit in _DIGITS):
        return found[0]
    return f"… ({len(found[0]):,} characters of base64)"


def shallow(value: Any, clean: Callable[[str], str], deepest: int) -> Any:
    """The value with what is nested too deeply as JSON's text, and its texts clean."""
    match value:
        case str():
            return clean(value)
        case dict() | list() if deepest <= 0:
            return clean(dumped(value))
        case dict():
            return {clean(key): shallow(each, clean, deepest - 1) for key, each in value.items()}
        case list():
            return [shallow(each, clean, deepest - 1) for each in value]
    return value


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _text(scribe: Scribe, block: Text) -> Part:
    part: Part = {"type": "text", "content": scribe.text(block.text)}
    if block.citations:
        part["citations"] = [_cited(scribe, each) for each in block.citations[:MOST_PARTS]]
    return part


def _cited(scribe: Scribe, citation: Citation) -> dict[str, str]:
    told = {"url": scribe.link(citation.url), "title": citation.title, "quoted": citation.quoted}
    return {name: scribe.text(text) for name, text in told.items() if text}


def _thinking(scribe: Scribe, block: Thinking) -> Part:
    part: Part = {"type": "reasoning", "content": scribe.text(block.text)}
    return {**part, "interpose.hidden": block.hidden} if block.hidden else part


def _call(scribe: Scribe, block: Call) -> Part:
    return {
        "type": "tool_call",
        "id": scribe.text(block.id) or None,
        "name": scribe.text(block.name),
        "arguments": scribe.text(block.arguments) if block.custom else scribe.json(block.arguments or "{}"),
    }


def _result(scribe: Scribe, block: Result) -> Part:
    response: Any = scribe.parts(block.blocks)
    if len(response) == 1 and response[0].keys() == {"type", "content"} and response[0]["type"] == "text":
        response = response[0]["content"]
    part = {
        "type": "tool_call_response",
        "id": scribe.text(block.id) or None,
        **({"name": scribe.text(block.name)} if block.name else {}),
        "response": response if response != [] else "",
    }
    return {**part, "interpose.error": True} if block.error else part


def _media(scribe: Scribe, block: Media) -> Part:
    part: Part = {"mime_type": scribe.text(block.media_type) or None, "modality": block.kind}
    if block.name:
        part["name"] = scribe.text(block.name)
    if block.data or block.place[:5].lower() == "data:" or not block.place:
        # Its bytes stay here. A later version of the conventions asks for none, this one for a text.
        return {"type": "blob", **part, "content": "", "interpose.size": block.size}
    if "://" in block.place:
        return {"type": "uri", **part, "uri": scribe.text(scribe.link(block.place))}
    return {"type": "file", **part, "file_id": scribe.text(block.place)}


def _refusal(scribe: Scribe, block: Refusal) -> Part:
    return {"type": "refusal", "content": scribe.text(block.text)}


def _data(scribe: Scribe, block: Data) -> Part:
    value = scribe.json(block.json)
    if isinstance(value, dict) and value.get("type") == block.kind:
        if block.kind in _SERVER_CALLS:
            return _called_there(block.kind, value)
        if block.kind.endswith("_tool_result"):
            return _returned_there(value)
    text = value if isinstance(value, str) else without_blobs(scribe.clean(block.json))
    return {"type": scribe.text(block.kind) or "data", "content": text}


def _called_there(kind: str, value: dict[str, Any]) -> Part:
    """A tool that the provider runs: what it is called with, and in OpenAI's items what it returned."""
    name = value.pop("name", None)
    id_ = value.pop("id", None)
    return {
        "type": "server_tool_call",
        "id": id_ if isinstance(id_, str) else None,
        "name": name if isinstance(name, str) and name else kind.removesuffix("_call"),
        "server_tool_call": value,
    }


def _returned_there(value: dict[str, Any]) -> Part:
    id_ = value.pop("tool_use_id", None)
    return {
        "type": "server_tool_call_response",
        "id": id_ if isinstance(id_, str) else None,
        "server_tool_call_response": value,
    }


def _raw(scribe: Scribe, block: Raw) -> Part:
    return {"type": "text", "content": scribe.text(block.text), "interpose.unread": block.why}


_PART: Mapping[type, Callable[[Scribe, Any], Part]] = {
    Text: _text,
    Thinking: _thinking,
    Call: _call,
    Result: _result,
    Media: _media,
    Refusal: _refusal,
    Data: _data,
    Raw: _raw,
}
