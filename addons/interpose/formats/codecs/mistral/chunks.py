"""Content <-> blocks: a text, or a list of typed chunks, in which thinking and text keep their order.

https://docs.mistral.ai/api/endpoint/chat: text, thinking, image_url, document_url, input_audio, file, reference. A
chunk of an unknown type or shape is a `Foreign`, whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interpose.formats.codecs.chat.facts import AUDIO_FORMATS, AUDIO_TYPES
from interpose.formats.codecs.codec import Json
from interpose.formats.codecs.content import Content, PartReader, read_url, write_url
from interpose.formats.codecs.leftovers import BOOLEAN, STRING, prefixed, take
from interpose.formats.codecs.opaque import pack, unpack
from interpose.ir import Block, Foreign, Losses, Media, Opaque, Refused, Source, Text, Thinking

from .facts import NAME, lay_over, leftover, marks_of

# How closely an image may be looked at: https://docs.mistral.ai/api/endpoint/chat
DETAILS = frozenset(("low", "auto", "high"))

# Reading


def _text(chunk: Json, at: str) -> Block | None:
    text = take(chunk, "text", STRING)
    if text is None:
        return None
    del chunk["type"]
    return Text(text, at=at, own=leftover(chunk))


def plain_thoughts(thoughts: Any) -> list[str] | None:
    """The texts of a thinking chunk; None if there is something else in it (a reference to what a tool found)."""
    if not isinstance(thoughts, list):
        return None
    texts = []
    for thought in thoughts:
        if not isinstance(thought, dict) or len(thought) != 2 or thought.get("type") != "text":
            return None
        text = thought.get("text")
        if not isinstance(text, str):
            return None
        texts.append(text)
    return texts


def _thinking(chunk: Json, at: str) -> Block | None:
    texts = plain_thoughts(chunk.get("thinking"))
    if texts is None:
        return None
    del chunk["type"], chunk["thinking"]
    # Every chunk is closed that is not still to be gone on with; nobody else has it.
    silent = {"closed": chunk.pop("closed")} if type(chunk.get("closed")) in BOOLEAN else None
    marks = () if len(texts) == 1 else ("thoughts:" + ",".join(str(len(text)) for text in texts),)
    opaque = origin(chunk.pop("signature")) if is_signed(chunk) else origin()
    return Thinking("".join(texts), opaque=opaque, at=at, own=leftover(chunk, marks, silent))


def is_signed(chunk: Json) -> bool:
    return type(signature := chunk.get("signature")) is str and bool(signature)


def origin(signature: str = "") -> Opaque:
    """Whose thinking it was. Mistral's models take their own back, signed or, as most are, in plain words alone.

    In a signature to a client of Mistral's rides what signed another's thinking.
    """
    foreign = unpack(signature) if signature else None
    if foreign is not None and foreign.format != NAME and pack(foreign) == signature:
        return foreign
    return Opaque(NAME, "signature", signature)


def signature_of(opaque: Opaque) -> str:
    """What `origin` reads it from; "" for thinking that is not signed."""
    return opaque.payload if opaque.format == NAME else pack(opaque)


def _image(chunk: Json, at: str) -> Block | None:
    inner = chunk.get("image_url")
    marks: tuple[str, ...] = ()
    if isinstance(inner, str):
        inner, marks = {"url": inner}, ("image_url:text",)
    if not isinstance(inner, dict) or not isinstance(inner.get("url"), str):
        return None
    del chunk["type"], chunk["image_url"]
    source, media_type = read_url(inner.pop("url"))
    detail = take(inner, "detail", STRING)
    prefixed(inner, "image_url", chunk)
    return Media("image", source, media_type, detail=detail, at=at, own=leftover(chunk, marks))


def _document(chunk: Json, at: str) -> Block | None:
    url = take(chunk, "document_url", STRING)
    if url is None:
        return None
    del chunk["type"]
    source, media_type = read_url(url)
    return Media("document", source, media_type, name=take(chunk, "document_name", STRING), at=at, own=leftover(chunk))


def _file(chunk: Json, at: str) -> Block | None:
    id_ = take(chunk, "file_id", STRING)
    if id_ is None:
        return None
    del chunk["type"]
    return Media("document", Source("file", id_), at=at, own=leftover(chunk))


def _audio(chunk: Json, at: str) -> Block | None:
    """Base64 or a URL, or OpenAI's object, which it takes as well: https://docs.mistral.ai/capabilities/audio"""
    inner = chunk.get("input_audio")
    if isinstance(inner, str):
        del chunk["type"], chunk["input_audio"]
        if inner.startswith(("http:", "https:", "data:")):
            source, media_type = read_url(inner)
            return Media("audio", source, media_type, at=at, own=leftover(chunk, ("audio:url",)))
        return Media("audio", Source("base64", inner), at=at, own=leftover(chunk))
    if not isinstance(inner, dict) or not isinstance(inner.get("data"), str):
        return None
    form = inner.get("format")
    if not isinstance(form, str):
        return None
    del chunk["type"], chunk["input_audio"], inner["format"]
    source = Source("base64", inner.pop("data"))
    prefixed(inner, "input_audio", chunk)
    kind = AUDIO_TYPES.get(form, f"audio/{form}")
    return Media("audio", source, kind, at=at, own=leftover(chunk, (f"format:{form}",)))


_READERS: dict[str, PartReader] = {
    "text": _text,
    "thinking": _thinking,
    "image_url": _image,
    "document_url": _document,
    "file": _file,
    "input_audio": _audio,
}
_CONTENT = Content(NAME, _READERS)
read_content = _CONTENT.read_content
read_chunk = _CONTENT.read_part

# Writing


class ChunkWriter:
    """Blocks written as content, for one request or reply. `kinds` are the media that the model takes, None for all."""

    __slots__ = ("_kinds", "_native", "losses")

    def __init__(self, losses: Losses, *, native: bool, kinds: frozenset[str] | None = None) -> None:
        self.losses = losses
        self._native = native
        self._kinds = kinds

    def content(self, blocks: list[Block], marks: frozenset[str] = frozenset()) -> str | list[Json] | None:
        """One text is a string, anything else a list of chunks; None if nothing is said."""
        if len(blocks) == 1 and isinstance(text := blocks[0], Text) and "content:parts" not in marks:
            self.around(text, {})
            return text.text
        chunks = [chunk for block in blocks if (chunk := self.chunk(block)) is not None]
        if chunks:
            return chunks
        return "" if "content:empty" in marks or blocks else None

    def chunk(self, block: Block) -> Json | None:
        """None for what is left out, which is told."""
        writer = _WRITERS.get(type(block))
        if writer is None:
            self.losses.dropped(block.at, "it has no place in a message's content")
            return None
        return writer(self, block)

    def around(self, block: Text | Media, written: Json) -> None:
        """What a chunk has beside what it shows."""
        if block.cache is not None:
            self.losses.dropped(block.at, "Mistral takes no marks of a prompt cache")
        if block.opaque is not None:
            self.losses.bound(block.opaque, block.at, NAME)
        if isinstance(block, Text) and block.citations:
            self.losses.dropped(block.at, "Mistral takes no citations back")
        if block.own is not None:
            self.losses.own(block.own, block.at, NAME)
            lay_over(written, block.own, "image_url", "input_audio")

    def text(self, block: Text) -> Json:
        written: Json = {"type": "text", "text": block.text}
        self.around(block, written)
        return written

    def refused(self, block: Refused) -> Json:
        self.losses.approximated(block.at, "a refusal is said as text")
        self.losses.own(block.own, block.at, NAME)
        return {"type": "text", "text": block.text}

    def thinking(self, block: Thinking) -> Json:
        written: Json = {"type": "thinking", "thinking": thoughts_of(block)}
        if block.opaque is not None and (signature := signature_of(block.opaque)):
            written["signature"] = signature
            if block.opaque.format != NAME and not self._native:
                self.losses.carried(block.at, block.opaque.kind)
        if block.cache is not None:
            self.losses.dropped(block.at, "Mistral takes no marks of a prompt cache")
        self.losses.own(block.own, block.at, NAME)
        lay_over(written, block.own)
        return written

    def foreign(self, block: Foreign) -> Json | None:
        if block.format == NAME:
            return block.value  # type: ignore[no-any-return]
        self.losses.dropped(block.at, f"only {block.format} has {block.kind}")
        return None

    def media(self, block: Media) -> Json | None:
        source = block.source
        if not self._native:
            if self._kinds is not None and block.kind not in self._kinds:
                self.losses.impossible(block.at, f"the model is not known to take {block.kind}")
                return None
            if source.kind == "file":
                self.losses.impossible(block.at, "a file that another provider keeps cannot be sent")
                return None
            if source.kind == "url" and not source.value.startswith(("http://", "https://", "data:")):
                self.losses.impossible(block.at, "Mistral takes media as bytes or at an HTTP URL")
                return None
        writer = _MEDIA.get(block.kind)
        if writer is None:
            self.losses.impossible(block.at, f"Mistral takes no {block.kind}")
            return None
        written = writer(self, block)
        self.around(block, written)
        return written

    def image(self, block: Media) -> Json:
        url = write_url(block)
        if "image_url:text" in marks_of(block.own):
            return {"type": "image_url", "image_url": url}
        inner: Json = {"url": url}
        if block.detail is not None:
            if self._native or block.detail in DETAILS:
                inner["detail"] = block.detail
            else:
                self.losses.dropped(block.at, f"Mistral looks at no image with detail {block.detail}")
        return {"type": "image_url", "image_url": inner}

    def document(self, block: Media) -> Json:
        source = block.source
        if source.kind == "file":
            return {"type": "file", "file_id": source.value}
        if source.kind == "text":
            self.losses.approximated(block.at, "a text document is sent as text")
            title = f"{block.name}\n\n" if block.name else ""
            return {"type": "text", "text": title + source.value}
        written: Json = {"type": "document_url", "document_url": write_url(block)}
        if block.name is not None:
            written["document_name"] = block.name
        return written

    def audio(self, block: Media) -> Json:
        for mark in marks_of(block.own):
            if mark.startswith("format:"):
                return {"type": "input_audio", "input_audio": {"data": block.source.value, "format": mark[7:]}}
        if block.source.kind == "base64" and not self._native and block.media_type not in AUDIO_FORMATS:
            self.losses.approximated(block.at, f"that the sound is {block.media_type or 'of some type'} is not said")
        bare = block.source.kind == "base64" and "audio:url" not in marks_of(block.own)
        return {"type": "input_audio", "input_audio": block.source.value if bare else write_url(block)}


def thoughts_of(block: Thinking) -> list[Json]:
    """The texts that it came in, else one."""
    for mark in marks_of(block.own):
        if mark.startswith("thoughts:"):
            sizes = [int(size) for size in mark[9:].split(",") if size]
            if sum(sizes) == len(block.text):
                ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
                return [
                    {"type": "text", "text": block.text[start:end]}
                    for start, end in zip([0, *ends], ends, strict=False)
                ]
    return [{"type": "text", "text": block.text}]


_WRITERS: dict[type, Callable[[ChunkWriter, Any], Json | None]] = {
    Text: ChunkWriter.text,
    Refused: ChunkWriter.refused,
    Thinking: ChunkWriter.thinking,
    Foreign: ChunkWriter.foreign,
    Media: ChunkWriter.media,
}
_MEDIA: dict[str, Callable[[ChunkWriter, Media], Json]] = {
    "image": ChunkWriter.image,
    "document": ChunkWriter.document,
    "audio": ChunkWriter.audio,
}
