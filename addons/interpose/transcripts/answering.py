"""What was answered: whole or streamed, by the format's codec; an error; or whatever else it is, as JSON or text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from interpose import ir
from interpose.formats.codecs import Client, Codec, Malformed
from interpose.formats.codecs.codec import no_stream
from interpose.formats.meters import NONE, meter_for, stream_kind
from interpose.ir import Assembler, Losses, Usage

from . import generic
from .blocks import blocks_of
from .documents import compact, dumped
from .material import Material, as_text, document_in
from .model import Answer, Block, Data, Failure, Turn
from .recognising import Recognised

PIECE = 64 * 1024
# So long is a text that somebody may have written.
WORDS = 40
# What Responses repeats of its request, and what it says twice.
ECHOED = frozenset(("instructions", "output_text"))
# A stream without this has not failed, it is of another kind.
_TELLS_AN_ERROR = re.compile(rb'"error"|event: ?error|:exception-type|:error-code')


@dataclass(slots=True)
class Answering:
    answers: tuple[Answer, ...] = ()
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    failure: Failure | None = None
    streamed: bool = False
    whole: Any = None


def answered(
    body: bytes, known: Recognised, material: Material, asked: ir.Request | None, notes: list[str]
) -> Answering:
    status = material.status
    if status is None and not body:
        return Answering()
    kind = material.reply_headers.get("content-type", "")
    document, broken = document_in(body)
    if status is not None and status >= 400:
        return _refused(status, body, document, known, material)
    codec = known.codec
    if codec is not None and codec.reader is not no_stream and body:
        said = _document(body, document, codec, known, notes) if document is not None else None
        if said is None and not isinstance(document, dict):
            said = _stream(body, codec, known, asked, material, notes)
        if said is not None:
            said.usage = said.usage or _metered(body, known, kind)
            return said
    said = Answering(usage=_metered(body, known, kind), whole=document)
    blocks: tuple[Block, ...]
    if document is not None:
        blocks = generic.answered(document)
        model = document.get("model") if isinstance(document, dict) else None
        said.model = model if isinstance(model, str) else ""
    elif broken and stream_kind(kind) is None:
        if not material.reply_cut:
            notes.append(f"the reply is not JSON: {broken}")
        blocks = (as_text(body, "not JSON"),)
    else:
        blocks = generic.other(body, kind)
        said.streamed = bool(blocks) and isinstance(blocks[0], Data)
    said.answers = (Answer(Turn("output", blocks)),) if blocks else ()
    return said


def _refused(status: int, body: bytes, document: Any, known: Recognised, material: Material) -> Answering:
    message, type_, code = "", "", ""
    if known.codec is not None:
        try:
            failed = known.codec.read_error(status, material.reply_headers, body)
            message, type_, code = failed.message, failed.type or "", failed.code or ""
        except Exception:  # noqa: BLE001 - as above: what cannot be read is shown as it is
            message = ""
    if not message:
        message = dumped(document)[:2000] if document is not None else body[:2000].decode("utf-8", "replace")
    return Answering(failure=Failure(status, generic.dumped_text(message), type_, code), whole=document)


def _document(
    body: bytes, document: Any, codec: Codec[Any, Any], known: Recognised, notes: list[str]
) -> Answering | None:
    """A reply that came whole; None for a list of pieces (Gemini's), which is a stream."""
    if isinstance(document, list) and known.wire == "gemini" and not _is_error(document):
        return None
    again, _ = document_in(body)  # what a codec reads, it takes apart
    try:
        reply = codec.read_reply(again)
    except Malformed as error:
        failure = _error_inside(document)
        if failure is None:
            notes.append(f"the reply is none of {known.format}: {error}")
    except Exception as error:  # noqa: BLE001 - as above
        notes.append(f"the reply could not be read as one of {known.format} ({type(error).__name__})")
        failure = None
    else:
        if isinstance(reply, ir.Reply):
            return replace(_of(reply), whole=document)
        failure = None
    blocks = () if failure is not None else generic.answered(document)
    answers = (Answer(Turn("output", blocks)),) if blocks else ()
    return Answering(answers, failure=failure, whole=document)


def _is_error(document: list[Any]) -> bool:
    return len(document) == 1 and isinstance(document[0], dict) and "error" in document[0]


def _error_inside(document: Any) -> Failure | None:
    """An error object in a reply whose status says that all is well."""
    if isinstance(document, list) and document:
        document = document[0]
    error = document.get("error") if isinstance(document, dict) else None
    if not error:
        return None
    message = error.get("message") if isinstance(error, dict) else error
    return Failure(200, message if isinstance(message, str) else compact(error))


def _stream(
    body: bytes,
    codec: Codec[Any, Any],
    known: Recognised,
    asked: ir.Request | None,
    material: Material,
    notes: list[str],
) -> Answering | None:
    assembler = Assembler(codec.name)
    try:
        for event in _events(codec, body):
            assembler.add(event)
    except Exception as error:  # noqa: BLE001 - as above: what was read so far stands
        notes.append(f"the stream could not be read to its end ({type(error).__name__})")
    reply = assembler.finish()
    failed = assembler.failure
    if not reply.answers and failed is not None and not reply.id and not reply.model:
        failure = None
        if _TELLS_AN_ERROR.search(body):
            failure = Failure(failed.status, failed.message, failed.type or "", failed.code or "")
        else:
            notes.append(f"the reply is no stream of {known.format}: {failed.message}")
        blocks = generic.other(body, material.reply_headers.get("content-type", ""))
        answers = (Answer(Turn("output", blocks)),) if blocks else ()
        return Answering(answers, failure=failure, streamed=True)
    said = _of(reply)
    said.streamed = True
    if failed is not None and not material.reply_cut:
        said.failure = Failure(failed.status, failed.message, failed.type or "", failed.code or "")
        if "malformed" in failed.message:
            rest = generic.other(body, material.reply_headers.get("content-type", ""))
            said.answers = (*said.answers, Answer(Turn("output", rest)))
    said.whole = _whole(reply, codec, asked)
    return said


def _events(codec: Codec[Any, Any], body: bytes) -> Iterable[ir.Event]:
    reader = codec.reader()
    for at in range(0, len(body), PIECE):
        yield from reader.feed(body[at : at + PIECE])
    yield from reader.close()


def _whole(reply: ir.Reply, codec: Codec[Any, Any], asked: ir.Request | None) -> Any:
    """The stream as the JSON that would have come at once; None if that cannot be told."""
    request = asked or ir.Request(codec.name, reply.model, [])
    try:
        client: Client[Any] = Client(request, reply.model, reply.id, reply.created or 0)
        return codec.write_reply(reply, client, Losses("reply"))
    except Exception:  # noqa: BLE001 - it is but another view of what is shown anyway
        return None


def _of(reply: ir.Reply) -> Answering:
    answers = [
        Answer(
            Turn("assistant", (*blocks_of(answer.blocks), *_left_over(answer.own))),
            answer.stop.reason if answer.stop is not None else "",
            (answer.stop.raw or "") if answer.stop is not None else "",
        )
        for answer in reply.answers
    ]
    if (more := _left_over(reply.own)) and answers:
        last = answers[-1]
        answers[-1] = replace(last, turn=replace(last.turn, blocks=(*last.turn.blocks, *more)))
    return Answering(tuple(answers), reply.model, reply.usage)


def _left_over(own: ir.Own | None) -> tuple[Block, ...]:
    """Words where the format has none: some server's own field for what the model thought."""
    fields = {**own.fields, **(own.silent or {})} if own is not None else {}
    return tuple(
        Data(key, generic.dumped_text(value))
        for key, value in fields.items()
        if isinstance(value, str) and len(value) >= WORDS and " " in value and key not in ECHOED
    )


def _metered(body: bytes, known: Recognised, kind: str) -> Usage:
    """What a meter reads of it, where no codec has told."""
    if known.wire == NONE or not body:
        return Usage()
    meter = meter_for(known.wire, kind)
    meter.feed(body)
    return meter.finish().usage
