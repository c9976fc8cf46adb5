"""Content blocks written into a request: ours as they were, those of any other format as Claude takes them.

One function by type. What Claude cannot hold is told. https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

from interpose.formats.codecs.codec import Target, arguments_object
from interpose.formats.codecs.ids import CLAUDE, fit, make
from interpose.formats.codecs.waiting import Waiting
from interpose.ir import (
    Block,
    CacheMark,
    Citation,
    Foreign,
    Losses,
    Media,
    Refused,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

from .envelopes import Envelope
from .names import (
    ABSENT,
    EMPTY,
    FORMAT,
    MAX_CACHE_MARKS,
    TEXT,
    UNSIGNED,
    VERSION_2026,
    Json,
    lay_over,
    marked,
)

# https://platform.claude.com/docs/en/build-with-claude/vision, by the first characters of their base64.
IMAGE_TYPES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))
SIGNATURES = {"/9j/": "image/jpeg", "iVBO": "image/png", "R0lG": "image/gif", "UklG": "image/webp"}
PDF = "application/pdf"


class BlockWriter:
    """Writes the blocks of one request, in their order: it counts cache marks, and remembers calls without an id.

    `native` says that the request was written for this format: then it is kept as its client wrote it, and where it is
    wrong, Claude says so.
    """

    def __init__(self, target: Target, losses: Losses, envelope: Envelope, version: str, *, native: bool) -> None:
        self.losses = losses
        self.native = native
        self.forced = target.capabilities.forced
        self._envelope = envelope
        self._media = target.capabilities.media
        self._strict = version == VERSION_2026
        self._marks_left = MAX_CACHE_MARKS
        self._role = "user"
        self._calls = 0
        self._unnamed = Waiting()

    def blocks(self, blocks: list[Block], role: str) -> list[Json]:
        self._role = role
        written: list[Json] = []
        for block in blocks:
            node = WRITERS[type(block)](self, block)
            if node is not None:
                written.append(node)
        return written

    def cache(self, node: Json, mark: CacheMark | None, at: str) -> None:
        """Not more than four: the first stay, so that no later one changes what was written before it."""
        if mark is None:
            return
        if self._marks_left == 0 and not self.native:
            self.losses.dropped(f"{at}.cache_control", f"Claude takes {MAX_CACHE_MARKS} cache marks at most")
            return
        self._marks_left -= 1
        written: Json = {"type": "ephemeral"}
        if mark.ttl in ("5m", "1h") or (mark.ttl is not None and self.native):
            written["ttl"] = mark.ttl
        elif mark.ttl is not None:
            written["ttl"] = "1h"
            self.losses.approximated(f"{at}.cache_control", "Claude keeps a prompt for 5 minutes or an hour")
        lay_over(written, mark.own)
        self.losses.own(mark.own, f"{at}.cache_control", FORMAT)
        node["cache_control"] = written

    def _finish(self, node: Json, block: Any) -> Json:
        if block.cache is not None:
            self.cache(node, block.cache, block.at)
        if block.own is not None:
            lay_over(node, block.own)
            self.losses.own(block.own, block.at, FORMAT)
        return node

    def _bound(self, opaque: Any, at: str) -> None:
        if opaque is not None:
            self.losses.dropped(at, f"state of {opaque.format}'s is bound to its origin")

    def _text(self, block: Text) -> Json | None:
        text = block.text
        self._bound(block.opaque, block.at)
        if not text.strip() and not self.native and not marked(block.own, EMPTY):
            if text:
                self.losses.dropped(block.at, "Claude takes no text of white space alone")
            return None
        node: Json = {"type": "text", "text": text}
        if block.citations:
            self._cite(node, block)
        return self._finish(node, block)

    def _cite(self, node: Json, block: Text) -> None:
        """Citations of other formats lack the state with which Claude takes back its own."""
        if self._strict and self._role != "assistant":
            self.losses.dropped(f"{block.at}.citations", f"version {VERSION_2026} refuses citations in a user's text")
            return
        kept = [write_citation(one) for one in block.citations if one.own is not None and one.own.format == FORMAT]
        if len(kept) < len(block.citations):
            self.losses.dropped(f"{block.at}.citations", "Claude takes back only citations of its own")
        if kept:
            node["citations"] = kept

    def _refused(self, block: Refused) -> Json | None:
        self.losses.own(block.own, block.at, FORMAT)
        if not block.text.strip():
            return None
        self.losses.approximated(block.at, "a refusal is text to Claude")
        return {"type": "text", "text": block.text}

    def _thinking(self, block: Thinking) -> Json | None:
        opaque = block.opaque
        if opaque is not None and opaque.format == FORMAT:
            if opaque.kind == "redacted":
                return self._finish({"type": "redacted_thinking", "data": opaque.payload}, block)
            return self._finish({"type": "thinking", "thinking": block.text, "signature": opaque.payload}, block)
        if opaque is None and self.native:
            node: Json = {"type": "thinking", "thinking": block.text}
            if marked(block.own, UNSIGNED):
                node["signature"] = ""
            return self._finish(node, block)
        self._bound(opaque, block.at)
        if block.text and opaque is None:
            self.losses.dropped(block.at, "Claude takes back only the thinking that it signed")
        return None

    def _tool_call(self, block: ToolCall) -> Json:
        self._bound(block.opaque, block.at)
        if block.kind == "custom":
            given: Json = {"input": block.arguments}
        else:
            given = arguments_object(block.arguments, self.losses, block.at)
        node = {"type": "tool_use", "id": self._id_of(block), "name": block.name, "input": given}
        return self._finish(node, block)

    def _id_of(self, call: ToolCall) -> str:
        self._calls += 1
        if self.native:
            return call.id
        if call.id:
            return fit(call.id, CLAUDE)
        made = make(f"{self._calls} {call.name} {call.arguments}", CLAUDE)
        self._unnamed.add(call, made)
        return made

    def _answered(self, result: ToolResult) -> str:
        """The id of the call that is answered: where none is told, the first open one of that name."""
        if self.native:
            return result.id
        if result.id:
            return fit(result.id, CLAUDE)
        if (made := self._unnamed.close(result)) is not None:
            return made
        self.losses.impossible(result.at, "the result answers no call, and has no id")
        return make(result.at, CLAUDE)

    def _tool_result(self, block: ToolResult) -> Json:
        node: Json = {"type": "tool_result", "tool_use_id": self._answered(block)}
        if marked(block.own, TEXT) and len(block.content) == 1 and isinstance(only := block.content[0], Text):
            node["content"] = only.text
        elif not marked(block.own, ABSENT):
            role, self._role = self._role, "tool"
            node["content"] = self._contents(block.content)
            self._role = role
        if block.error is not None:
            node["is_error"] = block.error
        return self._finish(node, block)

    def _contents(self, blocks: list[Block]) -> list[Json]:
        written = []
        for block in blocks:
            node = WRITERS[type(block)](self, block)
            if node is not None:
                written.append(node)
        return written

    def _foreign(self, block: Foreign) -> Json | None:
        if block.format == FORMAT:
            if isinstance(block.value, dict):
                if block.value.get("cache_control"):
                    self._marks_left = max(0, self._marks_left - 1)
                return block.value
            return None
        self.losses.dropped(block.at, f"Claude has no {block.kind} of {block.format}'s")
        return None

    def _medium(self, block: Media) -> Json | None:
        self._bound(block.opaque, block.at)
        if self._strict and block.kind == "document" and self._role == "assistant":
            self.losses.dropped(block.at, f"version {VERSION_2026} refuses documents in the assistant's messages")
            return None
        if self.native and block.source.kind in _FORMS and block.kind in ("image", "document"):
            source: Json | None = _source(block, block.media_type)
        else:
            source = self._fitted(block)
        if source is None:
            return None
        node: Json = {"type": block.kind, "source": source}
        if block.name is not None and block.kind == "document":
            node["title"] = block.name
        elif block.name is not None:
            self.losses.dropped(block.at, "an image has no name")
        if block.detail not in (None, "auto"):
            self.losses.dropped(f"{block.at}.detail", "Claude looks at every image in one way")
        return self._finish(node, block)

    def _fitted(self, block: Media) -> Json | None:
        """The source of a medium from another format, or None where it cannot be: told."""
        if block.kind not in ("image", "document") or block.kind not in self._media:
            self.losses.impossible(block.at, f"the model takes no {block.kind}")
            return None
        if self._role == "assistant":
            self.losses.dropped(block.at, f"Claude takes no {block.kind} in the assistant's messages")
            return None
        source = block.source
        if source.kind == "file":
            self.losses.impossible(block.at, "a file that another provider keeps cannot be read by Claude")
            return None
        if source.kind == "url":
            if not source.value.startswith(("https://", "http://")) or not self._envelope.urls:
                self.losses.impossible(block.at, "the provider does not fetch this URL")
                return None
            return _source(block)
        return self._fitted_image(block) if block.kind == "image" else self._fitted_document(block)

    def _fitted_image(self, block: Media) -> Json | None:
        data = block.source.value
        media_type = block.media_type or SIGNATURES.get(data[:4], "")
        if media_type == "image/jpg":
            media_type = "image/jpeg"
        if block.source.kind != "base64" or media_type not in IMAGE_TYPES:
            self.losses.impossible(block.at, "Claude takes JPEG, PNG, GIF and WebP images")
            return None
        return {"type": "base64", "media_type": media_type, "data": data}

    def _fitted_document(self, block: Media) -> Json | None:
        source, media_type = block.source, block.media_type
        if source.kind == "text":
            return {"type": "text", "media_type": "text/plain", "data": source.value}
        if media_type in (PDF, "") and source.value.startswith("JVBER"):
            return {"type": "base64", "media_type": PDF, "data": source.value}
        if media_type == PDF:
            return {"type": "base64", "media_type": PDF, "data": source.value}
        if media_type.startswith("text/"):
            try:
                text = base64.b64decode(source.value, validate=True).decode()
            except (binascii.Error, ValueError):
                self.losses.impossible(block.at, "the document is no text in base64")
                return None
            if media_type != "text/plain":
                self.losses.approximated(block.at, f"{media_type} is plain text to Claude")
            return {"type": "text", "media_type": "text/plain", "data": text}
        self.losses.impossible(block.at, "Claude takes documents of PDF and of plain text")
        return None


_FORMS: Mapping[str, str] = {"base64": "data", "url": "url", "file": "file_id", "text": "data"}


def _source(block: Media, media_type: str = "") -> Json:
    source: Json = {"type": block.source.kind}
    if media_type:
        source["media_type"] = media_type
    source[_FORMS[block.source.kind]] = block.source.value
    return source


def write_citation(citation: Citation) -> Json:
    node: Json = {}
    for key, value in (("url", citation.url), ("title", citation.title), ("cited_text", citation.quoted)):
        if value is not None:
            node[key] = value
    lay_over(node, citation.own)
    return node


WRITERS: Mapping[type, Callable[[BlockWriter, Any], Json | None]] = {
    Text: BlockWriter._text,
    Refused: BlockWriter._refused,
    Thinking: BlockWriter._thinking,
    ToolCall: BlockWriter._tool_call,
    ToolResult: BlockWriter._tool_result,
    Media: BlockWriter._medium,
    Foreign: BlockWriter._foreign,
}
