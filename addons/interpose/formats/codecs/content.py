"""What a message says, as Chat has it and as Mistral and Cohere took it over: a text, or a list of parts by their type.

https://platform.openai.com/docs/api-reference/chat/create#chat_create-messages. What parts there are, and what is in
them, each format knows; here is what they have in common, the URLs that hold the bytes themselves among it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from interpose.ir import Block, Foreign, Media, Source, Text

from .codec import Json

# None for what is not of the shape that the reader knows.
PartReader = Callable[[Json, str], Block | None]


@dataclass(frozen=True, slots=True)
class Content:
    """How one format says it: which parts there are, and by what they are read."""

    format: str
    readers: Mapping[str, PartReader]

    def read_content(self, message: Json, at: str, marks: list[str]) -> list[Block]:
        """The blocks of `content`; what it is (a string, parts, nothing) goes into `marks`."""
        content = message.get("content")
        if isinstance(content, str):
            del message["content"]
            if not content:
                marks.append("content:empty")
                return []
            marks.append("content:text")
            return [Text(content, at=f"{at}.content")]
        if isinstance(content, list) and content and all(isinstance(part, dict) for part in content):
            del message["content"]
            marks.append("content:parts")
            return [self.read_part(part, f"{at}.content[{place}]") for place, part in enumerate(content)]
        return []

    def read_part(self, part: Json, at: str) -> Block:
        """A part of an unknown type or shape is a `Foreign`, whole."""
        kind = part.get("type")
        reader = self.readers.get(kind) if isinstance(kind, str) else None
        block = None if reader is None else reader(part, at)
        if block is None:
            return Foreign(self.format, kind if isinstance(kind, str) else "part", part, at=at)
        return block


def read_url(url: str) -> tuple[Source, str]:
    """A URL's source and media type: bytes, where it is a data URL of base64."""
    if url.startswith("data:"):
        head, found, data = url.partition(";base64,")
        if found:
            return Source("base64", data), head[5:]
    return Source("url", url), ""


def write_url(media: Media) -> str:
    if media.source.kind == "base64":
        return f"data:{media.media_type};base64,{media.source.value}"
    return media.source.value
