"""Content blocks written into a request: ours as they were, those of any other format as Converse takes them.

One function by type. What Converse cannot hold is told.
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from interpose.formats.codecs.codec import Target, arguments_object, loads
from interpose.formats.codecs.ids import BEDROCK, fit, make
from interpose.formats.codecs.waiting import Waiting
from interpose.ir import (
    Block,
    CacheMark,
    Citation,
    Foreign,
    Losses,
    Media,
    Opaque,
    Refused,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

from .families import family_of
from .media import DocumentNames, fitted_media, native_media
from .names import (
    CITED,
    CONTENTLESS,
    EMPTY,
    FORMAT,
    GUARDED,
    INPUT_TEXT,
    INPUT_VALUE,
    JSON,
    MAX_CACHE_MARKS,
    TEXTLESS,
    Json,
    is_ours,
    lay_over,
    marked,
)


class BlockWriter:
    """Writes the blocks of one request, in their order: it counts cache points, names documents, and remembers calls
    without an id.

    `native` says that the request was written for this format: then it is kept as its client wrote it, and where it is
    wrong, Bedrock says so.
    """

    def __init__(self, target: Target, losses: Losses, *, native: bool) -> None:
        self.losses = losses
        self.native = native
        self.has_tools = False
        self.documents = 0  # that stand in a message, not in a tool's result
        self._media = target.capabilities.media
        self._caches = native or family_of(target.model).caches
        self._marks_left = MAX_CACHE_MARKS
        self._role = "user"
        self._inside = False
        self._calls = 0
        self._names = DocumentNames()
        self._nameless = Waiting()

    def blocks(self, blocks: list[Block], role: str) -> list[Json]:
        self._role = role
        return self._written(blocks)

    def _written(self, blocks: list[Block]) -> list[Json]:
        written: list[Json] = []
        for block in blocks:
            node = WRITERS[type(block)](self, block)
            if node is not None:
                written.append(node)
            if not isinstance(block, Refused) and block.cache is not None:
                self.mark(written, block.cache, block.at)
        return written

    def mark(self, written: list[Json], mark: CacheMark, at: str) -> None:
        """Behind nothing at all there is nothing to keep; behind a block that was left out, what stood before it."""
        if written and "cachePoint" not in written[-1] and (point := self._point(mark, at)) is not None:
            written.append(point)

    def _point(self, mark: CacheMark, at: str) -> Json | None:
        """Not more than four: the first stay, so that no later one changes what was written before it."""
        if not self._caches or (self._inside and not self.native):
            where = "inside of a tool's result" if self._caches else "for this model"
            self.losses.dropped(at, f"Bedrock keeps no cache point {where}")
            return None
        if self._marks_left == 0 and not self.native:
            self.losses.dropped(at, f"Bedrock takes {MAX_CACHE_MARKS} cache points at most")
            return None
        self._marks_left -= 1
        point: Json = {"type": "default"}
        if mark.ttl in ("5m", "1h") or (mark.ttl is not None and self.native):
            point["ttl"] = mark.ttl
        elif mark.ttl is not None:
            point["ttl"] = "1h"
            self.losses.approximated(at, "Bedrock keeps a prompt for 5 minutes or an hour")
        lay_over(point, mark.own)
        self.losses.own(mark.own, at, FORMAT)
        return {"cachePoint": point}

    def _finish(self, node: Json, block: Any) -> Json:
        if block.own is not None:
            lay_over(node, block.own)
            self.losses.own(block.own, block.at, FORMAT)
        return node

    def _bound(self, opaque: Opaque | None, at: str) -> None:
        if opaque is not None:
            self.losses.dropped(at, f"state of {opaque.format}'s is bound to its origin")

    def _text(self, block: Text) -> Json | None:
        text, own = block.text, block.own
        if block.opaque is not None:
            self._bound(block.opaque, block.at)
        if own is not None and is_ours(own) and (spelt := native_text(block)) is not None:
            return spelt
        if not self.native and (not text or text.isspace()) and not marked(own, EMPTY):
            if text:
                self.losses.dropped(block.at, "Bedrock takes no text of white space alone")
            return None
        if block.citations:
            self.losses.dropped(f"{block.at}.citations", "Bedrock takes back only citations of its own")
        node = {"text": text}
        return node if own is None else self._finish(node, block)

    def _refused(self, block: Refused) -> Json | None:
        self.losses.own(block.own, block.at, FORMAT)
        if not block.text.strip():
            return None
        self.losses.approximated(block.at, "a refusal is text to Bedrock")
        return {"text": block.text}

    def _thinking(self, block: Thinking) -> Json | None:
        opaque = block.opaque
        if opaque.format == FORMAT if opaque is not None else self.native:
            return self._finish_reasoning(block)
        self._bound(opaque, block.at)
        if block.text and opaque is None:
            self.losses.dropped(block.at, "Bedrock takes back only the reasoning of its own models")
        return None

    def _finish_reasoning(self, block: Thinking) -> Json:
        self.losses.own(block.own, block.at, FORMAT)
        return write_reasoning(block)

    def _tool_call(self, block: ToolCall) -> Json:
        self._bound(block.opaque, block.at)
        self.has_tools = True
        node = {"toolUseId": self._id_of(block), "name": block.name, "input": self._input(block)}
        return {"toolUse": self._finish(node, block)}

    def _input(self, block: ToolCall) -> Any:
        if block.kind == "custom":
            return {"input": block.arguments}
        return input_of(block, self.losses, block.at)

    def _id_of(self, call: ToolCall) -> str:
        self._calls += 1
        if self.native:
            return call.id
        if call.id:
            return fit(call.id, BEDROCK)
        made = make(f"{self._calls} {call.name} {call.arguments}", BEDROCK)
        self._nameless.add(call, made)
        return made

    def _answered(self, result: ToolResult) -> str:
        """The id of the call that is answered: where none is told, the first open one of that name."""
        if self.native:
            return result.id
        if result.id:
            return fit(result.id, BEDROCK)
        made = self._nameless.close(result)
        if made is not None:
            return made
        self.losses.impossible(result.at, "the result answers no call, and has no id")
        return make(result.at, BEDROCK)

    def _tool_result(self, block: ToolResult) -> Json:
        self.has_tools = True
        before, self._inside, self._role = (self._inside, self._role), True, "tool"
        node: Json = {"toolUseId": self._answered(block), "content": self._written(block.content)}
        self._inside, self._role = before
        if block.error is not None and (self.native or block.error):
            # Not every model takes a status: a success goes without saying.
            node["status"] = "error" if block.error else "success"
        return {"toolResult": self._finish(node, block)}

    def _foreign(self, block: Foreign) -> Json | None:
        if block.format != FORMAT:
            self.losses.dropped(block.at, f"Bedrock has no {block.kind} of {block.format}'s")
            return None
        if not isinstance(block.value, dict):
            return None
        if "cachePoint" in block.value:
            self._marks_left = max(0, self._marks_left - 1)
        return block.value

    def _medium(self, block: Media) -> Json | None:
        self._bound(block.opaque, block.at)
        if self.native:
            node = native_media(block)
            lay_over(node, block.own)
            return {"guardContent": {block.kind: node}} if marked(block.own, GUARDED) else {block.kind: node}
        if block.kind not in self._media or (self._inside and block.kind == "audio"):
            self.losses.impossible(block.at, f"the model takes no {block.kind}")
            return None
        if self._role == "assistant":
            self.losses.dropped(block.at, f"Bedrock takes no {block.kind} in the assistant's messages")
            return None
        fitted = fitted_media(block, self.losses)
        if fitted is None:
            return None
        if block.kind == "document":
            fitted["name"] = self._names.of(block.name)
            self.documents += not self._inside
        elif block.name is not None:
            self.losses.dropped(block.at, f"Bedrock has no name for the {block.kind}")
        if block.detail not in (None, "auto"):
            self.losses.dropped(f"{block.at}.detail", "Bedrock looks at every image in one way")
        return {block.kind: self._finish(fitted, block)}


def native_text(block: Text) -> Json | None:
    """A text of ours that was not spelt `text`."""
    if marked(block.own, JSON):
        return {"json": loads(block.text)}
    if marked(block.own, GUARDED):
        node: Json = {"text": block.text}
        lay_over(node, block.own)
        return {"guardContent": {"text": node}}
    return {"citationsContent": cited(block)} if marked(block.own, CITED) else None


def input_of(block: ToolCall, losses: Losses, at: str) -> Any:
    """Always an object, but for what Bedrock itself had told as something else."""
    if marked(block.own, INPUT_TEXT):
        return block.arguments
    if marked(block.own, INPUT_VALUE):
        return loads(block.arguments)
    return arguments_object(block.arguments, losses, at)


def write_reasoning(block: Thinking) -> Json:
    """Reasoning whose state is ours, or that has none."""
    opaque = block.opaque
    if opaque is not None and opaque.kind == "redacted":
        return {"reasoningContent": {"redactedContent": opaque.payload}}
    told: Json = {} if marked(block.own, TEXTLESS) and not block.text else {"text": block.text}
    if opaque is not None:
        told["signature"] = opaque.payload
    lay_over(told, block.own)
    return {"reasoningContent": {"reasoningText": told}}


def write_citation(citation: Citation) -> Json:
    node: Json = {}
    if citation.title is not None:
        node["title"] = citation.title
    if citation.quoted is not None:
        node["sourceContent"] = [{"text": citation.quoted}]
    if citation.url is not None:
        node["location"] = {"web": {"url": citation.url}}
    lay_over(node, citation.own)
    return node


def cited(block: Text) -> Json:
    node: Json = {} if marked(block.own, CONTENTLESS) and not block.text else {"content": [{"text": block.text}]}
    node["citations"] = [write_citation(one) for one in block.citations]
    lay_over(node, block.own)
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
