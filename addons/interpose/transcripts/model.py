"""What a transcript is: the turns of one call, made of typed blocks, and what was said around them.

Blocks compare equal when they say the same, wherever they stand: that is how the calls of one conversation find each
other. Values of JSON are kept as its text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from interpose.ir import Usage
from interpose.ir.reply import NOT_TOLD

Role = Literal["system", "developer", "user", "assistant", "tool", "input", "output"]
"""`input` and `output` are those of calls that are no conversation."""


@dataclass(frozen=True, slots=True)
class Citation:
    """What a text rests on."""

    url: str = ""
    title: str = ""
    quoted: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    citations: tuple[Citation, ...] = ()


@dataclass(frozen=True, slots=True)
class Thinking:
    """Reasoning, in words as far as they were shown. `hidden` says what of it nobody but the provider can read
    ("signature", "redacted", "encrypted", "thought_signature"), `size` how many characters that has.
    """

    text: str
    summary: bool = False
    hidden: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call. `arguments` is as the model wrote it, broken JSON included; `number` counts the calls of a
    transcript from 1, and its result has the same one. `answered` says that there is one.
    """

    id: str
    name: str
    arguments: str
    custom: bool = False
    number: int = field(default=0, compare=False)
    answered: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool returned. `number` is that of its call, 0 where none is known; `name` is the call's, too."""

    id: str
    name: str
    blocks: tuple[Block, ...]
    error: bool = False
    number: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Media:
    """An image, a document, sound or moving pictures. `data` is base64, "" where the bytes are elsewhere: then `place`
    is their URL or the provider's name for the file. `size` is in bytes, None where it is not known.
    """

    kind: Literal["image", "document", "audio", "video"]
    media_type: str
    data: str = ""
    place: str = ""
    name: str = ""
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Words by which the model declines."""

    text: str


@dataclass(frozen=True, slots=True)
class Data:
    """What one format alone has: `kind` is its name there, `json` its JSON, with vectors and base64 cut short."""

    kind: str
    json: str


@dataclass(frozen=True, slots=True)
class Raw:
    """What could not be read, as text; `why` says what is wrong with it."""

    text: str
    why: str


Block = Text | Thinking | Call | Result | Media | Refusal | Data | Raw


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said. `at` is the JSON path of it in the body, `raw` the JSON that stands there, parsed."""

    role: Role
    blocks: tuple[Block, ...]
    name: str = ""
    at: str = field(default="", compare=False)
    raw: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """One of a reply's answers, most often the only one. `stop` is why it ended, in neutral words ("" where that was
    not told), `word` the provider's own.
    """

    turn: Turn
    stop: str = ""
    word: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool that the model may call. `json` is its JSON, as the client wrote it."""

    name: str
    description: str = ""
    json: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error in place of an answer, or at the end of one. `status` is that of HTTP, or what it would have been."""

    status: int
    message: str
    type: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Transcript:
    """One call. `format` is the contract's name of the client's format ("" for one that nobody knows), `endpoint` that
    of the kind of call; `model` is the one that was asked for, `answered` the one that the reply names. `streamed` says
    that the reply came in pieces, which are put together here; then `whole` is the reply as it would have come at once.

    `parameters` are what else the request says, as (name, JSON). `notes` say what of the call could not be read, and
    what was left out.
    """

    format: str
    endpoint: str
    model: str = ""
    answered: str = ""
    streamed: bool = False
    turns: tuple[Turn, ...] = ()
    answers: tuple[Answer, ...] = ()
    tools: tuple[Offer, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    usage: Usage = NOT_TOLD
    failure: Failure | None = None
    notes: tuple[str, ...] = ()
    whole: Any = field(default=None, compare=False, repr=False)
