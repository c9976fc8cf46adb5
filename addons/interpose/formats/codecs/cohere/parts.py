"""Content <-> blocks: a text, or a list of parts, and documents wherever they stand.

https://docs.cohere.com/v2/reference/chat: text, image_url, thinking, document. A part of an unknown type or shape is a
`Foreign`, whole. A document is an object of any keys, which a model is shown as they are; to other formats it is text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interpose.formats.codecs.codec import Json, dumps, loads
from interpose.formats.codecs.content import Content, PartReader, read_url, write_url
from interpose.formats.codecs.leftovers import STRING, prefixed, take
from interpose.formats.codecs.opaque import pack
from interpose.ir import Block, Foreign, Losses, Media, Refused, Source, Text, Thinking

from .facts import NAME, ORIGIN, SIGNATURE, carried, lay_over, leftover, marks_of

# https://docs.cohere.com/docs/image-inputs
DETAILS = frozenset(("low", "auto", "high"))
# The keys that are a document's text and its title to other formats; with any others, it is its JSON.
_PLAIN = frozenset(("text", "title"))

# Reading


def _text(part: Json, at: str) -> Block | None:
    text = take(part, "text", STRING)
    if text is None:
        return None
    del part["type"]
    return Text(text, opaque=carried(part), at=at, own=leftover(part))


def _thinking(part: Json, at: str) -> Block | None:
    text = take(part, "thinking", STRING)
    if text is None:
        return None
    del part["type"]
    return Thinking(text, opaque=carried(part) or ORIGIN, at=at, own=leftover(part))


def _image(part: Json, at: str) -> Block | None:
    inner = part.get("image_url")
    if not isinstance(inner, dict) or not isinstance(inner.get("url"), str):
        return None
    del part["type"], part["image_url"]
    source, media_type = read_url(inner.pop("url"))
    detail = take(inner, "detail", STRING)
    prefixed(inner, "image_url", part)
    return Media("image", source, media_type, detail=detail, at=at, own=leftover(part))


def _document(part: Json, at: str) -> Block | None:
    if part.keys() != {"type", "document"} or not is_document(part["document"]):
        return None
    return read_document(part["document"], at)


def is_document(document: Any) -> bool:
    return isinstance(document, str) or (isinstance(document, dict) and isinstance(document.get("data"), str | dict))


def read_document(document: Any, at: str) -> Media:
    """A document, of a request or of a tool's result."""
    if isinstance(document, str):
        return Media("document", Source("text", document), "text/plain", at=at, own=leftover({}, ("bare",)))
    data = document["data"]
    title: str | None = None
    mark: tuple[str, ...] = ()
    if isinstance(data, str):
        text, mark = data, ("data:string",)
    elif data.keys() <= _PLAIN and isinstance(data.get("text"), str) and isinstance(data.get("title", ""), str):
        text, title = data["text"], data.get("title")
    else:
        text, mark = dumps(data), ("data:json",)
    del document["data"]
    # By it a citation names the document; nobody else looks at it.
    silent = {"id": document.pop("id")} if isinstance(document.get("id"), str) else None
    own = leftover(document, mark, silent)
    return Media("document", Source("text", text), "text/plain", name=title, at=at, own=own)


_READERS: dict[str, PartReader] = {
    "text": _text,
    "thinking": _thinking,
    "image_url": _image,
    "document": _document,
}
_CONTENT = Content(NAME, _READERS)
read_content = _CONTENT.read_content
read_part = _CONTENT.read_part

# Writing


def write_document(block: Media) -> Json | str:
    """A text document as Cohere has it."""
    marks = marks_of(block.own)
    text = block.source.value
    if "bare" in marks:
        return text
    data: Any
    if "data:json" in marks:
        data = loads(text)
    elif "data:string" in marks:
        data = text
    else:
        data = {"text": text} if block.name is None else {"text": text, "title": block.name}
    written: Json = {"data": data}
    lay_over(written, block.own)
    return written


class PartWriter:
    """Blocks written as content, for one request or reply. `kinds` are the media that the model takes, None for all."""

    __slots__ = ("_kinds", "_native", "losses")

    def __init__(self, losses: Losses, *, native: bool, kinds: frozenset[str] | None = None) -> None:
        self.losses = losses
        self._native = native
        self._kinds = kinds

    def content(self, blocks: list[Block], marks: frozenset[str] = frozenset()) -> str | list[Json] | None:
        """One text is a string, anything else a list of parts; None if nothing is said."""
        if len(blocks) == 1 and isinstance(text := blocks[0], Text) and "content:parts" not in marks:
            self.around(text, {})
            return text.text
        parts = [part for block in blocks if (part := self.part(block)) is not None]
        if parts:
            return parts
        return "" if "content:empty" in marks else None

    def part(self, block: Block) -> Json | None:
        """None for what is left out, which is told."""
        writer = _WRITERS.get(type(block))
        if writer is None:
            self.losses.dropped(block.at, "it has no place in a message's content")
            return None
        return writer(self, block)

    def around(self, block: Any, written: Json, *inner: str, carries: bool = False) -> None:
        """What a part has beside what it shows; `carries` says that another's state may travel on it."""
        losses = self.losses
        if block.cache is not None:
            losses.dropped(block.at, "Cohere takes no marks of a prompt cache")
        opaque = block.opaque
        if opaque is not None and opaque.format != NAME:
            if self._native or carries:
                written[SIGNATURE] = pack(opaque)
                if not self._native:
                    losses.carried(block.at, opaque.kind)
            else:
                losses.bound(opaque, block.at, NAME)
        if block.own is not None:
            losses.own(block.own, block.at, NAME)
            lay_over(written, block.own, *inner)

    def text(self, block: Text) -> Json:
        written: Json = {"type": "text", "text": block.text}
        self.around(block, written)
        return written

    def refused(self, block: Refused) -> Json:
        self.losses.approximated(block.at, "a refusal is said as text")
        self.losses.own(block.own, block.at, NAME)
        return {"type": "text", "text": block.text}

    def thinking(self, block: Thinking) -> Json:
        written: Json = {"type": "thinking", "thinking": block.text}
        self.around(block, written, carries=True)
        return written

    def foreign(self, block: Foreign) -> Json | None:
        if block.format == NAME:
            return block.value  # type: ignore[no-any-return]
        self.losses.dropped(block.at, f"only {block.format} has {block.kind}")
        return None

    def media(self, block: Media) -> Json | None:
        if block.kind == "document" and block.source.kind == "text":
            return self._document(block)
        if block.kind != "image":
            self.losses.impossible(block.at, f"Cohere takes no {block.kind}")
            return None
        source = block.source
        if not self._native:
            if self._kinds is not None and "image" not in self._kinds:
                self.losses.impossible(block.at, "the model is not known to take images")
                return None
            if source.kind == "file":
                self.losses.impossible(block.at, "a file that another provider keeps cannot be sent")
                return None
            if source.kind == "url" and not source.value.startswith(("http://", "https://", "data:")):
                self.losses.impossible(block.at, "Cohere takes images as bytes or at an HTTP URL")
                return None
        inner: Json = {"url": write_url(block)}
        if block.detail is not None:
            if self._native or block.detail in DETAILS:
                inner["detail"] = block.detail
            else:
                self.losses.dropped(block.at, f"Cohere looks at no image with detail {block.detail}")
        written: Json = {"type": "image_url", "image_url": inner}
        self.around(block, written, "image_url")
        return written

    def _document(self, block: Media) -> Json:
        if self._native:
            return {"type": "document", "document": write_document(block)}
        # Only a tool's result has parts that are documents.
        self.losses.approximated(block.at, "a text document is sent as text")
        self.around(block, {})
        title = f"{block.name}\n\n" if block.name else ""
        return {"type": "text", "text": title + block.source.value}


_WRITERS: dict[type, Callable[[PartWriter, Any], Json | None]] = {
    Text: PartWriter.text,
    Refused: PartWriter.refused,
    Thinking: PartWriter.thinking,
    Foreign: PartWriter.foreign,
    Media: PartWriter.media,
}
