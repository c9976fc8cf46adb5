"""Images, documents, sound and moving pictures as Converse takes them: bytes and a short word for their type.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html, ImageBlock, VideoBlock,
AudioBlock.
"""

from __future__ import annotations

import binascii

from interpose.ir import Losses, Media

from .names import ALIASES, FORMATS, MAX_DOCUMENT_NAME, SIGNATURES, Json


class DocumentNames:
    """A document has a name, of letters, digits, single spaces, hyphens and brackets alone; no two have the same."""

    def __init__(self) -> None:
        # Each name that was given, and how often it was asked for.
        self._taken: dict[str, int] = {}

    def of(self, name: str | None) -> str:
        kept = "".join(one if (one.isascii() and one.isalnum()) or one in "-()[]" else " " for one in name or "")
        plain = " ".join(kept.split())[:MAX_DOCUMENT_NAME].strip() or "document"
        given = plain
        while given in self._taken:
            self._taken[plain] = count = self._taken.get(plain, 0) + 1
            ending = f" ({count})"
            given = plain[: MAX_DOCUMENT_NAME - len(ending)] + ending
        self._taken[given] = 1
        return given


def native_media(block: Media) -> Json:
    node: Json = {}
    if block.media_type:
        node["format"] = FORMATS[block.kind].get(block.media_type, block.media_type)
    source = block.source
    if source.kind == "file":
        node["source"] = {"s3Location": {"uri": source.value}}
    else:
        node["source"] = {"text" if source.kind == "text" else "bytes": source.value}
    if block.name is not None:
        node["name"] = block.name
    return node


def fitted_media(block: Media, losses: Losses) -> Json | None:
    """Format and source of a medium from another format, or None where it cannot be: told."""
    source, media_type = block.source, block.media_type.partition(";")[0].strip().lower()
    media_type = media_type or SIGNATURES.get(source.value[:4], "")
    media_type = ALIASES.get(media_type, media_type)
    known = FORMATS[block.kind]
    if source.kind == "text" and block.kind == "document":
        return {"format": known.get(media_type, "txt"), "source": {"text": source.value}}
    stored = source.kind == "url" and source.value.startswith("s3://")
    if source.kind != "base64" and not stored:
        losses.impossible(block.at, "Bedrock takes bytes; it fetches no URL, and reads no file of another provider's")
        return None
    if block.kind == "document" and media_type.startswith("text/") and media_type not in known:
        losses.approximated(block.at, f"{media_type} is plain text to Bedrock")
        media_type = "text/plain"
    word = known.get(media_type)
    if word is None:
        losses.impossible(block.at, f"Bedrock takes no {block.kind} of type {media_type or 'unknown'}")
        return None
    if stored:
        return {"format": word, "source": {"s3Location": {"uri": source.value}}}
    data = _plain_base64(source.value)
    if not data:
        losses.impossible(block.at, f"the {block.kind} is no base64")
        return None
    return {"format": word, "source": {"bytes": data}}


def _plain_base64(value: str) -> str | None:
    """As Bedrock reads it: in the common alphabet, in one line, with its padding; None for what is no base64."""
    try:
        binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        value = "".join(value.translate(_COMMON).split()).rstrip("=")
        value += "=" * (-len(value) % 4)
        try:
            binascii.a2b_base64(value, strict_mode=True)
        except ValueError:
            return None
    return value


_COMMON = str.maketrans("-_", "+/")
