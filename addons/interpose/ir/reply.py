"""What a model answers: whole, as `Reply`, or piece by piece, as a stream of events.

A whole reply is told in the same events as a stream (`assembly.events_of`), so that collecting a stream gives what the
whole reply would have been. A stream keeps to this order:

    Started (BlockStart BlockDelta* BlockEnd)* Finished* Used?     then the codec's `finish` or `fail`

Blocks of one answer may be open side by side (Chat's parallel tool calls); `Used`, `Told` and `Ping` may come anywhere
after `Started`. There is no event for success: it is the codec's `close()` that says whether the format's own end was
seen, and a stream that was cut off ends in `Failed`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from .blocks import Block, Citation, Opaque, Own
from .usage import Usage

NOT_TOLD = Usage()

Reason = Literal["end", "length", "stop", "tool_calls", "content_filter", "refusal", "pause", "error", "other"]


@dataclass(slots=True)
class Stop:
    """Why an answer ended. `sequence` is the stop sequence that did it, where told. `raw` is the format's own word with
    `format`'s name, for what several of its words have one reason.
    """

    reason: Reason
    sequence: str | None = None
    format: str = ""
    raw: str | None = None


@dataclass(slots=True)
class Answer:
    """One of a reply's answers (most often the only one). `stop` is None while a stream has not told it."""

    blocks: list[Block] = field(default_factory=list)
    stop: Stop | None = None
    index: int = 0
    own: Own | None = None


@dataclass(slots=True)
class Reply:
    """A whole reply. `created` is in seconds since 1970, where told."""

    format: str
    id: str = ""
    model: str = ""
    created: int | None = None
    answers: list[Answer] = field(default_factory=list)
    usage: Usage = NOT_TOLD
    own: Own | None = None


# The events of a stream


@dataclass(slots=True)
class Started:
    """The stream has begun. What is not known yet is empty."""

    id: str = ""
    model: str = ""
    created: int | None = None
    usage: Usage = NOT_TOLD
    own: Own | None = None


@dataclass(slots=True)
class BlockStart:
    """A block begins: `index` is its place in that answer's order. `block` is what is known of it now: a Text, Thinking
    or Refused with what text has come with it (most often ""), a ToolCall with id, name and the beginning of its
    arguments; what comes whole (Media, Foreign, ToolResult) has no deltas.
    """

    index: int
    block: Block
    answer: int = 0


@dataclass(slots=True)
class BlockDelta:
    """More of a block: text to append (thinking's, refusal's and arguments' too), a citation, or opaque state that
    replaces what there was.
    """

    index: int
    text: str = ""
    citation: Citation | None = None
    opaque: Opaque | None = None
    answer: int = 0


@dataclass(slots=True)
class BlockEnd:
    """A block is complete. `own` replaces that of its start, where a format tells it last."""

    index: int
    answer: int = 0
    own: Own | None = None


@dataclass(slots=True)
class Finished:
    """An answer has ended."""

    stop: Stop
    answer: int = 0
    own: Own | None = None


@dataclass(slots=True)
class Used:
    """Usage so far; a value that is told replaces the one before, it is never added."""

    usage: Usage


@dataclass(slots=True)
class Told:
    """Something of the format's own on the whole reply (a fingerprint, a rate): `fields` are laid over those of
    `Reply.own`, `silent` over what is silent there, and `marks` are added to its marks.
    """

    format: str
    fields: dict[str, Any]
    marks: frozenset[str] = frozenset()
    silent: dict[str, Any] | None = None


@dataclass(slots=True)
class Ping:
    """Nothing, but the provider is there."""


@dataclass(slots=True)
class Failed:
    """The provider has failed in mid-stream, or the stream was cut off. Nothing follows.

    `type` and `code` are the provider's own words, `status` is what it would have been as an HTTP status. `retry_after`
    is in seconds.
    """

    message: str
    status: int = 502
    type: str | None = None
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None


Event = Started | BlockStart | BlockDelta | BlockEnd | Finished | Used | Told | Ping | Failed
