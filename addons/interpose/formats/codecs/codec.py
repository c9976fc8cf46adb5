"""What a codec is, and the conventions by which any codec's reading can be written by any other.

Reading a request
- The reader consumes the JSON that it is given: it takes each key that it understands, and what is left over becomes
  the node's `Own`. It copies nothing. A key whose value has a type that the format does not know stays left over. What
  must be there and is not, or cannot be read at all (messages that are no list), raises `Malformed` with its path.
- A null is left over, so that it is written back as null; to another format it says nothing.
- How the format spells what it can spell in several ways goes into `Own.marks` (`"content:text"`).
- System text on top of the request becomes leading messages of role system, marked "top".
- Every block, message and tool has its JSON path in `at`.
- A block, item or part that the codec does not know is a `Foreign`, whole. So is a server tool's call or result.
- `ToolCall.arguments` is text. A format that has an object there reads it by `dumps` (below) and writes it by
  `arguments_object`. Law: the object comes back equal.

Writing a request
- A pure function of its arguments (no clock, no random, no state), and append-only: for a longer conversation the
  blocks written for its beginning stay the same, in the same order. So no decision about a message may look at a later
  one, except that neighbours may be joined into one turn.
- `Own` of the codec's own format is laid over what is written, marks honoured. `Own` of another is told as losses,
  field by field (`Losses.own`), unless the writer understands the field.
- A block that the target cannot hold is told as `dropped` (it says nothing without it), `approximated` (put into words)
  or `impossible` (the answer would be about something else: an image, a sound, a document that only the provider's file
  store has). Impossible ends the conversion; go on all the same, so that all of them are told at once.
- Ids of tool calls that the target refuses are mapped by `ids.fit`: a stable hash, the same on call and result.
- Opaque state of the target's own format goes back where it was; of another it is dropped, told as such
  (`Losses.bound`), unless the target has a field to carry it (reply direction, see `opaque`).
- Consecutive messages of one role are joined where the format wants roles to alternate. Tool results come first in the
  user turn that answers a turn of calls. No missing results are invented.

Replies and streams
- A whole reply and a stream of it give the same blocks: `Assembler` over a reader's events equals `read_reply`.
- A reader's `close` says how the stream ended: nothing more if the format's own end was seen, else `Failed`.
- A writer never ends in success after `Failed`, and never without `finish`.
- Streams are written as they come: what can be sent now is not held back; a format whose blocks must be whole and in
  order gets them so.
- `Stop` maps by reason; the format's own word (`raw`) counts where `format` is the writer's own.
- Usage is `ir.Usage`: the whole input and the whole output. Each codec adds and subtracts as its format counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NoReturn, Protocol

import orjson

from interpose.errors import InterposeError
from interpose.formats.capabilities import Capabilities
from interpose.ir import Event, Failed, Losses, Reply, Request

Json = dict[str, Any]
ANY_MODEL = Capabilities()
_LONG_NUMBER = re.compile(r"\d{19}")
# A body is searched for one on its way in: so, that takes less than orjson does, and a tenth of what `re` takes. Ids
# are long, too, and stand in quotes.
_KINDS = bytes(ord("0") if byte in b"0123456789" else ord(":") if byte in b" \t\r\n:,[-" else 0 for byte in range(256))
_LONG_DIGITS = b":" + b"0" * 19


class Malformed(InterposeError):
    """A body that its own format would not take: `path` says where, the message what is wrong."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


@dataclass(frozen=True, slots=True)
class Asked:
    """What stands outside a request's body: the path within the format's API as it came (`Match.api_path`:
    `/chat/completions` and `/responses` below OpenAI's base URL, for every other format the whole,
    `/v1beta/models/gemini-2.5-flash:streamGenerateContent`), the query without its `?`, headers by lower-case name.
    """

    path: str = ""
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Target:
    """For whom a request is written: the model's name there, what it can do, and the version of the API (Anthropic's
    `anthropic-version`) where the provider has several.
    """

    model: str
    capabilities: Capabilities = ANY_MODEL
    version: str | None = None


@dataclass(slots=True)
class Written:
    """A request to send. `path` and `query` are within the format's API, as in `Asked`; `headers` are those that the
    format itself demands (never a credential, never content-type). A GET has no body.
    """

    path: str
    body: Json
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    method: Literal["GET", "POST"] = "POST"


@dataclass(frozen=True, slots=True)
class Client[Q = Request]:
    """For whom a reply is written: `request` is what it asked, as its own codec read it. `model` is echoed as the
    reply's model. `id` is the call's, from which ids are made where the provider gave none; `now` is when the reply
    began, in seconds since 1970, for formats that tell it.
    """

    request: Q
    model: str
    id: str
    now: int


class StreamReader(Protocol):
    """A provider's stream, bytes to events. Any split of the bytes gives the same events."""

    def feed(self, data: bytes) -> list[Event]:
        """Never raises: what cannot be read ends the stream in `Failed`, and nothing follows."""

    def close(self) -> list[Event]:
        """The end of the bytes: `Failed` unless the format's own end had been seen."""


class StreamWriter(Protocol):
    """Events to a client's stream."""

    def write(self, events: Iterable[Event]) -> bytes:
        """The bytes that tell these; `Failed` is told in the format's own grammar and is the last."""

    def finish(self) -> bytes:
        """The format's own end; b"" after `Failed`."""


def no_stream(*_: object) -> NoReturn:
    raise AssertionError("this kind of call has no streams")


@dataclass(frozen=True, slots=True)
class Codec[Q = Request, R = Reply]:
    """One wire format: a row of pure functions. `stream_type` is the content type of its streams.

    `name` is whose `Own` it reads: envelopes around one format share it. `wire` is what its replies are to
    `formats.meters`; it has the same name, if none is given.
    `read_request` raises Malformed. `write_request` never raises: what cannot be is told in its losses as impossible.
    `read_reply` raises Malformed for a body that is no reply of this format (an error object, say), `write_reply` for
    one that cannot be what was asked.
    `read_error` is what a reply with an error status says, and never raises: a body that is no JSON is its message,
    shortened. `write_error` is the body that says so in this format, with the status `status_for`: the one that its
    clients understand (529 is 503 for all but Anthropic's).

    What is asked and answered is a conversation, where nothing else is said: `embeddings`, `modellists` and `counting`
    have codecs of other things, none of which is streamed.
    """

    name: str
    read_request: Callable[[Json, Asked], Q]
    write_request: Callable[[Q, Target, Losses], Written]
    read_reply: Callable[[Json], R]
    write_reply: Callable[[R, Client[Q], Losses], Json]
    read_error: Callable[[int, Mapping[str, str], bytes], Failed]
    write_error: Callable[[Failed], Json]
    status_for: Callable[[int], int]
    stream_type: str = "application/json"
    reader: Callable[[], StreamReader] = no_stream
    writer: Callable[[Client[Q], Losses], StreamWriter] = no_stream
    wire: str = ""


def dumps(value: Any) -> str:
    """JSON text of a parsed value: compact, keys as they stand. A lone surrogate, which JSON may hold, is escaped."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # integers beyond 64 bits, lone surrogates, keys that are no text
        return json.dumps(value, separators=(",", ":"))


def encoded(value: Any) -> bytes:
    """JSON bytes of a parsed value, of one that holds what UTF-8 or 64 bits do not, too."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


def loads(text: str) -> Any:
    """The value of JSON text. Lone surrogates, and integers beyond 64 bits, which orjson refuses or makes floats of,
    stay what they are. Raises ValueError.
    """
    if _LONG_NUMBER.search(text) is None:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass  # it may be but a surrogate
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parsed(data: bytes) -> Any:
    """The value of a JSON body, an object or a list. Integers beyond 64 bits, of which orjson makes floats, stay what
    they are. Raises ValueError.
    """
    value = orjson.loads(data)
    if data.translate(_KINDS).find(_LONG_DIGITS) >= 0:
        return json.loads(data)  # no deeper, and no number longer, than orjson allows
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def arguments_object(text: str, losses: Losses, at: str) -> Json:
    """A tool call's arguments as the object that most formats want. Nothing is `{}`; what is no JSON object is kept as
    text under the key `arguments`, and told.
    """
    if not text.strip():
        return {}
    try:
        value = loads(text)
    except ValueError:
        value = None
    if isinstance(value, dict):
        return value
    losses.approximated(at, "the arguments are no JSON object; they are passed as text")
    return {"arguments": text}
