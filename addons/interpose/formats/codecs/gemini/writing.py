"""Parts written: blocks of any format as Gemini's parts (https://ai.google.dev/api/caching#Part)."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from interpose.formats.codecs.codec import Json, arguments_object
from interpose.ir import Block, Foreign, Losses, Media, Opaque, Refused, Text, Thinking, ToolCall, ToolResult

from .parts import CALL_NAMES, DATA_NAMES, PART_NAMES, STORES, packed
from .spelling import NAME, exactly, lay, marked, marks_of, respell

# Which media types base64 begins like.
_MAGIC = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
    "JVBERi": "application/pdf",
}
_FALLBACK = {"image": "image/jpeg", "document": "application/pdf", "audio": "audio/wav", "video": "video/mp4"}


@dataclass(slots=True)
class Pen:
    """Writes the parts of one request or reply. `carry` says whether state of other formats is packed for the way
    through the client (in replies), `nested` whether a function's result may hold media (Gemini 3), `native` that the
    blocks were read from Gemini's format, and are written as they were, `signed` that calls must have signatures.
    """

    losses: Losses
    native: bool = False
    carry: bool = False
    nested: bool = True
    signed: bool = False
    names: dict[str, str] = field(default_factory=dict)
    """The functions called so far, by the calls' ids."""

    def parts(self, blocks: list[Block]) -> list[Json]:
        parts: list[Json] = []
        for block in blocks:
            parts += _WRITERS[type(block)](self, block)
        return parts

    def finish(self, part: Json, block: Text | Thinking | Refused | ToolCall | ToolResult | Media) -> Json:
        """Own fields laid over, spelled as they were; of others, what is lost is told."""
        own = block.own
        if own is not None:
            if own.format != NAME:
                self.losses.own(own, block.at, NAME)
            elif own.fields or own.marks:
                if "thought:false" in own.marks:
                    part["thought"] = False
                lay(part, own)
                respell(part, PART_NAMES, own.marks)
        if not isinstance(block, Refused) and block.cache is not None:
            self.losses.dropped(block.at, "Gemini caches prefixes by itself and takes no marks")
        return part

    def sign(self, part: Json, state: Opaque | None, at: str) -> None:
        if state is None:
            return
        if state.format == NAME:
            part["thoughtSignature"] = state.payload
        elif self.carry:
            part["thoughtSignature"] = packed(state)
            self.losses.carried(at, f"{state.format}'s state is packed into thoughtSignature")
        else:
            self.losses.dropped(at, f"{state.format}'s state is bound to its origin")


def _text(pen: Pen, block: Text) -> list[Json]:
    part: Json = {"text": block.text}
    marks = marks_of(block.own)
    if "text:none" in marks:
        del part["text"]
    pen.sign(part, block.opaque, block.at)
    if not block.text and "thoughtSignature" not in part and not pen.native:
        return []  # the API takes no empty text, and it says nothing
    if not pen.carry and block.citations and any(one.own is None or one.own.format != NAME for one in block.citations):
        pen.losses.dropped(block.at, "a citation in the history cannot be told to Gemini")
    return [pen.finish(part, block)]


def _thinking(pen: Pen, block: Thinking) -> list[Json]:
    part: Json = {"text": block.text, "thought": True}
    if "text:none" in marks_of(block.own):
        del part["text"]
    pen.sign(part, block.opaque, block.at)
    if not block.text and "thoughtSignature" not in part and not pen.native:
        return []
    return [pen.finish(part, block)]


def _refused(pen: Pen, block: Refused) -> list[Json]:
    pen.losses.approximated(block.at, "a refusal is plain text for Gemini")
    return [pen.finish({"text": block.text}, block)]


def _call(pen: Pen, block: ToolCall) -> list[Json]:
    marks = marks_of(block.own)
    pen.names[block.id] = block.name
    call: Json = {}
    if block.id and "id:none" not in marks:
        call["id"] = block.id
    call["name"] = block.name
    if block.kind == "custom":
        call["args"] = {"input": block.arguments}
    elif "args:none" not in marks:
        call["args"] = _arguments(pen, block)
    part: Json = {"functionCall": call}
    pen.sign(part, block.opaque, block.at)
    pen.finish(part, block)
    if marks:
        respell(call, CALL_NAMES, marks)
    return [part]


def _arguments(pen: Pen, block: ToolCall) -> Json:
    if pen.native:
        # Read from an object: it is one again, whatever Python's JSON takes and orjson does not.
        try:
            value = exactly(block.arguments)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            return value
    return arguments_object(block.arguments, pen.losses, block.at)


def _result(pen: Pen, block: ToolResult) -> list[Json]:
    marks = marks_of(block.own)
    result: Json = {}
    if block.id and "id:none" not in marks:
        result["id"] = block.id
    if "name:none" not in marks:
        result["name"] = block.name or pen.names.get(block.id) or _nameless(pen, block)
    texts: list[str] = []
    media: list[Block] = []
    for inner in block.content:
        if isinstance(inner, Text | Refused | Thinking):
            texts.append(inner.text)
            if inner.own is not None:
                pen.losses.own(inner.own, inner.at, NAME)
        elif isinstance(inner, Media) or (isinstance(inner, Foreign) and inner.format == NAME):
            media.append(inner)
        else:
            pen.losses.dropped(inner.at, f"a function's result cannot hold a {_kind(inner)} for Gemini")
    response = marked(marks, "response:")
    if response is None:
        if len(texts) > 1:
            pen.losses.approximated(block.at, "the texts of a result are joined by line ends")
        # https://ai.google.dev/api/caching#FunctionResponse: "output" and "error" are the keys it knows
        result["response"] = {"error" if block.error else "output": "\n".join(texts)}
    elif response != "none":
        result["response"] = _response(response, texts)
    after: list[Json] = []
    if media:
        parts = pen.parts(media)
        if pen.nested or pen.native:
            # https://ai.google.dev/gemini-api/docs/function-calling#multimodal
            result["parts"] = parts
        else:
            pen.losses.approximated(block.at, "this model takes no media in a result; they follow it")
            after = parts
    part = pen.finish({"functionResponse": result}, block)
    if marks:
        respell(result, CALL_NAMES, marks)
    return [part, *after]


def _response(mark: str, texts: list[str]) -> Json:
    """The response as it was, by the mark that its reader made."""
    if mark in ("empty", "") or not texts:
        return {}
    key, _, how = mark.partition(":")
    if mark == "json":
        value: Any = exactly(texts[0])
        return value if isinstance(value, dict) else {"output": value}
    return {key: exactly(texts[0]) if how else texts[0]}


def _nameless(pen: Pen, block: ToolResult) -> str:
    pen.losses.synthesised(block.at, "no call has this id, and Gemini wants the function's name")
    return "function"


def _media(pen: Pen, block: Media) -> list[Json]:
    marks = marks_of(block.own)
    source = block.source
    if source.kind == "file" and not source.value.startswith(STORES) and not pen.native:
        pen.losses.impossible(block.at, "the file is in another provider's store")
        return []
    data: Json = {}
    part: Json = {}
    if source.kind == "base64":
        part["inlineData"] = data
        data["mimeType"] = block.media_type or _sniffed(pen, block)
        value = source.value
        if "data:unpadded" in marks:
            value = value.rstrip("=")
        if "data:url" in marks:
            value = value.replace("+", "-").replace("/", "_")
        data["data"] = value
    elif source.kind == "text":
        part["inlineData"] = data
        data["mimeType"] = block.media_type or "text/plain"
        data["data"] = base64.b64encode(source.value.encode("utf-8", "replace")).decode()
    else:
        part["fileData"] = data
        data["mimeType"] = block.media_type or _guessed(pen, block)
        data["fileUri"] = source.value
    if "mimeType:none" in marks:
        data.pop("mimeType", None)
    if block.name is not None:
        if pen.native:
            data["displayName"] = block.name
        else:
            # Vertex alone takes it: https://ai.google.dev/api/caching#Blob has none.
            pen.losses.dropped(block.at, "Gemini takes no name of a file")
    if block.detail not in (None, "auto"):
        pen.losses.dropped(block.at, "how closely to look at an image cannot be told")
    pen.sign(part, block.opaque, block.at)
    pen.finish(part, block)
    if marks:
        respell(data, DATA_NAMES, marks)
    return [part]


def _sniffed(pen: Pen, block: Media) -> str:
    if pen.native:
        return ""
    found = next((kind for magic, kind in _MAGIC.items() if block.source.value.startswith(magic)), None)
    found = found or _FALLBACK[block.kind]
    pen.losses.synthesised(block.at, f"no media type is told; {found} is supposed")
    return found


def _guessed(pen: Pen, block: Media) -> str:
    """A file's media type has to be told: https://ai.google.dev/api/caching#FileData"""
    if pen.native:
        return ""
    path = block.source.value.partition("?")[0].partition("#")[0]
    found = mimetypes.guess_type(path)[0] or _FALLBACK[block.kind]
    pen.losses.synthesised(block.at, f"no media type is told; {found} is supposed")
    return found


def _foreign(pen: Pen, block: Foreign) -> list[Json]:
    if block.format == NAME and isinstance(block.value, dict):
        return [block.value]
    pen.losses.dropped(block.at, f"Gemini has no {block.kind}")
    return []


def _kind(block: Block) -> str:
    return block.kind if isinstance(block, Foreign) else type(block).__name__


_WRITERS: dict[type[Any], Callable[[Pen, Any], list[Json]]] = {
    Text: _text,
    Thinking: _thinking,
    Refused: _refused,
    ToolCall: _call,
    ToolResult: _result,
    Media: _media,
    Foreign: _foreign,
}
