"""Content parts <-> blocks: text, images, sound, files, and video where a compatible server takes it.

https://platform.openai.com/docs/api-reference/chat/create#chat_create-messages. A part of an unknown type or shape is a
`Foreign`, whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interpose.formats.codecs.codec import Json
from interpose.formats.codecs.content import Content, PartReader, read_url, write_url
from interpose.formats.codecs.leftovers import STRING, prefixed, take
from interpose.ir import Block, Foreign, Losses, Media, Refused, Source, Text

from .facts import (
    AUDIO_FORMATS,
    AUDIO_TYPES,
    NAME,
    lay_over,
    leftover,
    marks_of,
    read_cache,
    write_cache,
)

# Reading


def _text(part: Json, at: str) -> Block | None:
    text = take(part, "text", STRING)
    if text is None:
        return None
    del part["type"]
    cache = read_cache(part) if part else None
    return Text(text, cache=cache, at=at, own=leftover(part))


def _refusal(part: Json, at: str) -> Block | None:
    text = take(part, "refusal", STRING)
    if text is None:
        return None
    del part["type"]
    return Refused(text, at=at, own=leftover(part))


def _picture(field: str, kind: Any) -> PartReader:
    def read(part: Json, at: str) -> Block | None:
        inner = part.get(field)
        marks: tuple[str, ...] = ()
        if isinstance(inner, str):
            # Some servers take the URL itself.
            inner, marks = {"url": inner}, (f"{field}:text",)
        if not isinstance(inner, dict) or not isinstance(inner.get("url"), str):
            return None
        del part["type"], part[field]
        source, media_type = read_url(inner.pop("url"))
        detail = take(inner, "detail", STRING)
        cache = read_cache(part) if part else None
        prefixed(inner, field, part)
        return Media(kind, source, media_type, detail=detail, cache=cache, at=at, own=leftover(part, marks))

    return read


def _audio(part: Json, at: str) -> Block | None:
    inner = part.get("input_audio")
    if not isinstance(inner, dict) or not isinstance(inner.get("data"), str):
        return None
    form = inner.get("format")
    if not isinstance(form, str):
        return None
    del part["type"], part["input_audio"], inner["format"]
    source = Source("base64", inner.pop("data"))
    kind = AUDIO_TYPES.get(form, f"audio/{form}")
    marks = () if _audio_format(kind) == form else (f"format:{form}",)
    cache = read_cache(part) if part else None
    prefixed(inner, "input_audio", part)
    return Media("audio", source, kind, cache=cache, at=at, own=leftover(part, marks))


def _audio_format(media_type: str) -> str:
    return AUDIO_FORMATS.get(media_type) or media_type.removeprefix("audio/")


def _file(part: Json, at: str) -> Block | None:
    inner = part.get("file")
    if not isinstance(inner, dict):
        return None
    data, id_ = inner.get("file_data"), inner.get("file_id")
    marks: tuple[str, ...] = ()
    if isinstance(data, str):
        del inner["file_data"]
        source, media_type = read_url(data)
        if source.kind == "url" and not data.startswith(("http:", "https:")):
            source, marks = Source("base64", data), ("file_data:bare",)
    elif isinstance(id_, str):
        del inner["file_id"]
        source, media_type = Source("file", id_), ""
    else:
        return None
    del part["type"], part["file"]
    name = take(inner, "filename", STRING)
    cache = read_cache(part) if part else None
    prefixed(inner, "file", part)
    return Media("document", source, media_type, name=name, cache=cache, at=at, own=leftover(part, marks))


_READERS: dict[str, PartReader] = {
    "text": _text,
    "refusal": _refusal,
    "image_url": _picture("image_url", "image"),
    "video_url": _picture("video_url", "video"),
    "input_audio": _audio,
    "file": _file,
}
_CONTENT = Content(NAME, _READERS)
read_content = _CONTENT.read_content
read_part = _CONTENT.read_part

# Writing


class PartWriter:
    """Writes blocks as parts, for one request: what cannot be is told in `losses`.

    `native` says that they are Chat's own, which are written as they were; `files` whether the file ids in them mean
    something here, `kinds` which media the model takes, `cache` under which field a cache mark goes.
    """

    __slots__ = ("_cache", "_files", "_kinds", "losses", "native")

    def __init__(self, losses: Losses, *, native: bool, files: bool, kinds: frozenset[str], cache: str | None) -> None:
        self.losses = losses
        self.native = native
        self._files = files
        self._kinds = kinds
        self._cache = cache

    @property
    def marks_cache(self) -> bool:
        return self._cache is not None

    def part(self, block: Block) -> Json | None:
        """None for what is left out, which is told."""
        writer = _WRITERS.get(type(block))
        if writer is None:
            self.losses.dropped(block.at, "it has no place in a message's content")
            return None
        return writer(self, block)

    def text(self, block: Text) -> Json:
        written: Json = {"type": "text", "text": block.text}
        self.around(block, written)
        return written

    def refused(self, block: Refused) -> Json:
        written: Json = {"type": "refusal", "refusal": block.text}
        self.losses.own(block.own, block.at, NAME)
        lay_over(written, block.own)
        return written

    def foreign(self, block: Foreign) -> Json | None:
        if block.format == NAME:
            return block.value  # type: ignore[no-any-return]
        self.losses.dropped(block.at, f"only {block.format} has {block.kind}")
        return None

    def media(self, block: Media) -> Json | None:
        if not self.native and block.kind not in self._kinds:
            self.losses.impossible(block.at, f"the model is not known to take {block.kind}")
            return None
        if block.source.kind == "file" and not self._files:
            self.losses.impossible(block.at, "a file that another provider keeps cannot be sent")
            return None
        written = _MEDIA[block.kind](self, block)
        if written is not None:
            self.around(block, written)
        return written

    def around(self, block: Text | Media, written: Json) -> None:
        """What goes on top of any part: the cache mark, and what only Chat has."""
        if block.cache is not None and not write_cache(block.cache, written, self._cache):
            self.losses.dropped(block.at, "the model's server is not known to take marks of a prompt cache")
        if block.own is not None:
            self.losses.own(block.own, block.at, NAME)
            lay_over(written, block.own, "image_url", "video_url", "input_audio", "file")

    def picture(self, block: Media, field: str) -> Json | None:
        if block.source.kind == "file" or (block.source.kind == "url" and not self.fetchable(block)):
            self.losses.impossible(block.at, f"Chat takes {block.kind}s as bytes or at an HTTP URL")
            return None
        url = write_url(block)
        if f"{field}:text" in marks_of(block.own):
            return {"type": field, field: url}
        inner: Json = {"url": url}
        if block.detail is not None:
            inner["detail"] = block.detail
        return {"type": field, field: inner}

    def document(self, block: Media) -> Json | None:
        source = block.source
        if source.kind == "text":
            self.losses.approximated(block.at, "a text document is sent as text")
            title = f"{block.name}\n\n" if block.name else ""
            return {"type": "text", "text": title + source.value}
        if source.kind == "url" and not self.native:
            self.losses.impossible(block.at, "Chat takes documents as bytes or as file ids, not at a URL")
            return None
        inner: Json = {}
        if source.kind == "file":
            inner["file_id"] = source.value
        else:
            inner["file_data"] = source.value if "file_data:bare" in marks_of(block.own) else write_url(block)
        if block.name is not None:
            inner["filename"] = block.name
        elif source.kind == "base64" and not self.native:
            # OpenAI tells by the name what the bytes are.
            inner["filename"] = f"document.{block.media_type.rpartition('/')[2]}"
        return {"type": "file", "file": inner}

    def audio(self, block: Media) -> Json | None:
        if block.source.kind != "base64":
            self.losses.impossible(block.at, "Chat takes sound as bytes alone")
            return None
        form = _audio_format(block.media_type)
        for mark in marks_of(block.own):
            form = mark.removeprefix("format:")
        return {"type": "input_audio", "input_audio": {"data": block.source.value, "format": form}}

    def fetchable(self, block: Media) -> bool:
        return self.native or block.source.value.startswith(("http://", "https://", "data:"))


_WRITERS: dict[type, Callable[[PartWriter, Any], Json | None]] = {
    Text: PartWriter.text,
    Refused: PartWriter.refused,
    Foreign: PartWriter.foreign,
    Media: PartWriter.media,
}
_MEDIA: dict[str, Callable[[PartWriter, Media], Json | None]] = {
    "image": lambda writer, block: writer.picture(block, "image_url"),
    "video": lambda writer, block: writer.picture(block, "video_url"),
    "document": PartWriter.document,
    "audio": PartWriter.audio,
}
