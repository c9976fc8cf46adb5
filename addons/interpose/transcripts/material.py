"""What is known of a call before it is read: its bodies, as bytes, as JSON or as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from interpose.formats.codecs.codec import parsed
from interpose.wire.coding import decode
from interpose.wire.error import WireError

from .model import Block, Raw

# A larger body is told by its size alone.
LARGEST = 64 * 1024 * 1024
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What is known of one call. Headers are by lower-case name; bodies are as they went over the wire, or without
    their content coding; `status` None is a call that has no answer. `format` and `endpoint` are what a ledger's record
    says of it, if there is one. A body that is `cut` is not all of what there was.
    """

    method: str = "POST"
    url: str = ""
    format: str = ""
    endpoint: str = ""
    request: bytes = b""
    request_headers: Mapping[str, str] = field(default=NO_HEADERS)
    request_cut: bool = False
    status: int | None = None
    reply: bytes = b""
    reply_headers: Mapping[str, str] = field(default=NO_HEADERS)
    reply_cut: bool = False


def plain(body: bytes, headers: Mapping[str, str], what: str, notes: list[str]) -> bytes:
    """The body without its content coding, where it still has it."""
    if len(body) > LARGEST:
        notes.append(f"the {what} has {len(body):,} bytes, which is too much to be shown")
        return b""
    coding = headers.get("content-encoding", "")
    if not coding or not body:
        return body
    try:
        return decode(body, coding, LARGEST)
    except WireError:
        return body


def document_in(body: bytes) -> tuple[Any, str]:
    """The document, None if there is none; and what is wrong with a body that looks like one."""
    start = body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start not in (b"{", b"["):
        return None, ""
    try:
        return parsed(body.removeprefix(b"\xef\xbb\xbf")), ""
    except (ValueError, RecursionError) as error:
        return None, str(error)


def as_text(body: bytes, why: str) -> Block:
    return Raw(body.decode("utf-8", "replace"), why)
