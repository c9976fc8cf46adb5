"""`interpose convert`: a request, a reply or a stream from one wire format into another, with what that loses.

What was converted is on stdout and nothing else; losses are on stderr. The exit status: 0 converted, 1 with losses that
`--strict` forbids, 2 for what is no message of the format, 3 for what cannot be converted.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson

from interpose.errors import InterposeError
from interpose.formats.capabilities import capabilities_of
from interpose.formats.codecs import CODECS, OF_PROVIDER, Asked, Client, Codec, Malformed, Target, owner
from interpose.formats.codecs.codec import encoded, parsed
from interpose.formats.codecs.endings import Endings
from interpose.ir import Failed, Losses, Message, Request, Text
from interpose.ir.losses import Loss, Severity
from interpose.rules.problem import printable
from interpose.stages.translation import written_for

from .terminal import refuse, say, say_plain

Kind = Literal["request", "reply", "stream"]
KINDS: tuple[Kind, ...] = ("request", "reply", "stream")
OK, LOSSY, MALFORMED, IMPOSSIBLE = 0, 1, 2, 3
# A stream is read in pieces, as it would come.
PIECE = 64 * 1024
# What is told of a loss, and no endless text of a stranger's.
LINE = 500
# Stands for the model of a format that names it in the URL, where --model does not.
SOME_MODEL = "model"


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was asked for on the command line. `file` None is stdin, `kind` None is to be seen from the text."""

    source: str
    target: str
    file: Path | None
    kind: str | None
    model: str | None
    stream: bool
    strict: bool


def convert(asked: Conversion) -> int:
    """Prints the conversion and its losses; returns the exit status. Raises InterposeError for a file or stdout."""
    if sys.stdout is None:
        raise InterposeError("cannot print the conversion: stdout is closed")
    source, target = _codec("--from", asked.source), _codec("--to", asked.target)
    data = _read(asked.file)
    name = str(asked.file) if asked.file is not None else "stdin"
    if asked.kind is not None and asked.kind not in KINDS:
        refuse(f"--kind {asked.kind} is not known: there are {', '.join(KINDS)}")
    kind = asked.kind or guess(data)
    losses = Losses("request" if kind == "request" else "reply")
    try:
        if kind == "stream":
            made, whole = _stream(data, source, target, asked, losses)
        else:
            made, whole = _document(data, kind, source, target, asked, losses), True
    except Malformed as error:
        say(f"{name}: this is no {kind} of {source.name}: {error}")
        return MALFORMED
    _tell(losses)
    if losses.impossibilities:
        say(f"{name} cannot be converted to {target.name}; nothing was printed")
        return IMPOSSIBLE
    sys.stdout.buffer.write(made)
    sys.stdout.flush()
    if not whole:
        say(f"{name}: the stream breaks off or reports an error, and so does what was made of it")
        return MALFORMED
    lossy = any(loss.severity is not Severity.CARRIED for loss in losses)
    return LOSSY if asked.strict and lossy else OK


def guess(data: bytes) -> Kind:
    """Whether that is a request, a reply or a stream: by what only requests have."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return "stream"
    if isinstance(document, list):
        return "stream"  # Gemini's, without alt=sse
    asking = ("messages", "input", "contents", "prompt")
    answering = ("choices", "output", "candidates", "stop_reason", "usage")
    if isinstance(document, dict) and any(key in document for key in answering):
        return "reply"
    return "request" if isinstance(document, dict) and any(key in document for key in asking) else "reply"


def _codec(option: str, name: str) -> Codec:
    codec = CODECS.get(OF_PROVIDER.get(name, name))
    if codec is None:
        known = sorted({*CODECS, *(short for short, full in OF_PROVIDER.items() if full in CODECS)})
        refuse(f"{option} {name} is not known: there are {', '.join(known)}")
    return codec


def _read(file: Path | None) -> bytes:
    try:
        if file is not None:
            return file.read_bytes()
        if sys.stdin is None:
            raise InterposeError("there is nothing to convert: stdin is closed, and no file was named")
        if sys.stdin.isatty():
            say("reading from the terminal; end with Ctrl-D")
        return sys.stdin.buffer.read()
    except OSError as error:
        raise InterposeError(f"{file}: {error.strerror or error}") from error


def _document(data: bytes, kind: str, source: Codec, target: Codec, asked: Conversion, losses: Losses) -> bytes:
    try:
        document = parsed(data)
    except ValueError as error:
        raise Malformed("", f"it is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Malformed("", "it is no JSON object")
    if kind == "request":
        request = source.read_request(document, _addressed(source, asked))
        model = asked.model or request.model
        written, _ = written_for(request, target, Target(model, capabilities_of(model)), losses)
        if not losses.impossibilities:
            # What a body alone does not say.
            say_plain(f"POST {printable(written.path, LINE)}{'?' + written.query if written.query else ''}")
            for name, value in written.headers.items():
                say_plain(f"{name}: {printable(value, LINE)}")
        return _json(written.body)
    reply = source.read_reply(document)
    return _json(target.write_reply(reply, _client(target, asked, reply.model), losses))


def _addressed(source: Codec, asked: Conversion) -> Asked:
    """Where such a request is sent in its own format: some say in the URL alone which model, and whether to stream."""
    model = asked.model or SOME_MODEL
    example = Request(source.name, model, [Message("user", [Text("Hello")])], stream=asked.stream)
    written = source.write_request(example, Target(model), Losses())
    return Asked(written.path, written.query)


def _stream(data: bytes, source: Codec, target: Codec, asked: Conversion, losses: Losses) -> tuple[bytes, bool]:
    reader, writer = source.reader(), target.writer(_client(target, asked, ""), losses)
    made, whole = [], True
    endings = Endings(owner(target), losses)
    pieces = [data[at : at + PIECE] for at in range(0, len(data), PIECE)]
    for events in (*(reader.feed(piece) for piece in pieces), reader.close()):
        whole = whole and not any(isinstance(event, Failed) for event in events)
        endings.hear(events)
        made.append(writer.write(events))
    made.append(writer.finish())
    return b"".join(made), whole


def _client(target: Codec, asked: Conversion, model: str) -> Client:
    model = asked.model or model
    request = Request(target.name, model, [], stream=asked.stream, include_usage=True)
    return Client(request, model, "convert", int(time.time()))


def _json(document: object) -> bytes:
    if os.isatty(sys.stdout.fileno()):
        return json.dumps(document, indent=2).encode() + b"\n"
    return encoded(document) + b"\n"


def _tell(losses: Iterable[Loss]) -> None:
    for loss in losses:
        say_plain(f"{loss.severity}: {printable(loss.path, LINE) or '(all of it)'}: {printable(loss.reason, LINE)}")
