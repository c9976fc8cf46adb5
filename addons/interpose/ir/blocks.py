"""What a message is made of: blocks, in the order in which they were said.

Blocks, and not Chat's message with its fields beside each other, because only these keep the order of thinking, text
and tool calls, and have a place for the signatures that bind them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "developer", "user", "assistant", "tool"]


@dataclass(slots=True)
class Own:
    """What a node has that no neutral field stands for, in its own format's words.

    `fields` are the keys that the format's codec left over when it had taken what it understands, with their values as
    they came. `marks` are how the format wrote what it can write in several ways (`"stop:text"` for a stop that was a
    text and not a list), so that it is written in the same way again. To another format, marks are nothing and each of
    the fields is a loss; a value of None, of an empty list or an empty object says nothing and is none.

    `silent` are keys, with their values, that say nothing to anybody but the format itself: ids that are handles to
    what its provider keeps, defaults spelt out, a reply's echo of its request. They are written back, and are no loss.
    `vital` names those of the fields without which the request would be about something else (a previous reply that the
    provider keeps): for another format they are impossible, where other fields are dropped.
    """

    format: str
    fields: dict[str, Any] = field(default_factory=dict)
    marks: frozenset[str] = frozenset()
    silent: dict[str, Any] | None = None
    vital: frozenset[str] = frozenset()


@dataclass(slots=True)
class Opaque:
    """State that a model gave out to get it back unread: a signature, encrypted reasoning, redacted thinking.

    `format` is whose it is (a codec's name) and `kind` what it is there; it is replayed to that format alone, and to
    nobody who could not have made it. Through a client of another format it travels packed (`formats.codecs.opaque`).
    `model` is the model that gave it out, if known.
    """

    format: str
    kind: Literal["signature", "redacted", "encrypted", "thought_signature"]
    payload: str
    id: str | None = None
    model: str | None = None


@dataclass(slots=True)
class CacheMark:
    """A prompt cache ends its prefix here (Anthropic's cache_control, Bedrock's cachePoint …). `ttl`: "5m", "1h"."""

    ttl: str | None = None
    own: Own | None = None


@dataclass(slots=True)
class Citation:
    """What a piece of text rests on. Offsets differ in unit and base between formats, hence they are in `own` alone."""

    url: str | None = None
    title: str | None = None
    quoted: str | None = None
    own: Own | None = None


@dataclass(slots=True)
class Source:
    """Where a medium's bytes are: in base64, at a URL, in a file that the provider keeps, or plain text."""

    kind: Literal["base64", "url", "file", "text"]
    value: str


@dataclass(slots=True)
class Text:
    text: str
    citations: list[Citation] = field(default_factory=list)
    cache: CacheMark | None = None
    opaque: Opaque | None = None
    at: str = ""
    own: Own | None = None


@dataclass(slots=True)
class Refused:
    """Words by which the model declines, where a format tells them from text."""

    text: str
    at: str = ""
    own: Own | None = None


@dataclass(slots=True)
class Thinking:
    """Reasoning: in plain words, as a summary of them, or hidden in `opaque` altogether (then `text` is empty)."""

    text: str = ""
    summary: bool = False
    opaque: Opaque | None = None
    cache: CacheMark | None = None
    at: str = ""
    own: Own | None = None


@dataclass(slots=True)
class ToolCall:
    """A call of a function of the client's. `arguments` is text: JSON as the model wrote it, broken JSON included; for
    a `custom` tool it is whatever the model wrote. An `id` of "" stands for a format that gave none.
    """

    id: str
    name: str
    arguments: str
    kind: Literal["function", "custom"] = "function"
    opaque: Opaque | None = None
    cache: CacheMark | None = None
    at: str = ""
    own: Own | None = None


@dataclass(slots=True)
class ToolResult:
    """What the client's function returned. `name` where the format tells it; `error` None where it is not told."""

    id: str
    content: list[Block]
    name: str | None = None
    error: bool | None = None
    kind: Literal["function", "custom"] = "function"
    cache: CacheMark | None = None
    at: str = ""
    own: Own | None = None


@dataclass(slots=True)
class Media:
    """An image, a document, sound or moving pictures. `media_type` is a MIME type, "" if not told."""

    kind: Literal["image", "document", "audio", "video"]
    source: Source
    media_type: str = ""
    name: str | None = None
    detail: str | None = None
    """How closely an image is to be looked at: low, high, auto."""
    cache: CacheMark | None = None
    opaque: Opaque | None = None
    at: str = ""
    own: Own | None = None


@dataclass(slots=True)
class Foreign:
    """A block that one format alone has (a server tool's call, a computer's screen), whole, in that format's JSON.

    `kind` is its name there, for messages to people.
    """

    format: str
    kind: str
    value: Any
    cache: CacheMark | None = None
    at: str = ""
    own: Own | None = None


Block = Text | Refused | Thinking | ToolCall | ToolResult | Media | Foreign


@dataclass(slots=True)
class Message:
    """One turn, or a part of one: neighbours of the same role may be joined by a format that wants roles to alternate.

    `at` is the JSON path in the client's request, for messages to people, here as in blocks: `messages[3].content[0]`.
    """

    role: Role
    blocks: list[Block]
    name: str | None = None
    at: str = ""
    own: Own | None = None
