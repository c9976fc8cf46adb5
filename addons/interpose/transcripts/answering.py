"""What was answered: whole or streamed, by the format's codec; an error; or whatever else it is, as JSON or text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from interpose import ir
from interpose.formats.codecs import Client, Codec, Malformed
from interpose.formats.codecs.codec import no_stream
from interpose.formats.meters import NONE, meter_for, stream_kind
from interpose.ir import Assembler, Losses, Usage

from . import generic
from .blocks import blocks_of
from .documents import compact, dumped, pretty
from .material import Material, as_text, document_in
from .model import Answer, Block, Data, Failure, Turn
from .recognising import Recognised
from .text import turn_lines

PIECE = 64 * 1024
# So long is a text that somebody may have written.
WORDS = 40
# What replies repeat of their requests, what they say twice, and what is told as a failure.
ECHOED = frozenset(("instructions", "output_text", "metadata", "error"))
# Words in pieces, and a search engine's page for a browser.
UNSAID = frozenset(("logprobs", "logprobsResult", "tokens", "renderedContent"))
# Calls that the codec does not take for some: names and arguments need not be words.
CALLS = frozenset(("message.tool_calls", "message.function_call", "tool_calls"))
DEEPEST = 32
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
            # As the ledger counts, which knows what a format leaves out of its totals.
            said.usage = _metered(body, known, kind) or said.usage
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
            return replace(_of(reply), failure=_error_inside(document), whole=document)
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
            _more(Turn("assistant", blocks_of(answer.blocks)), answer.own),
            answer.stop.reason if answer.stop is not None else "",
            (answer.stop.raw or "") if answer.stop is not None else "",
        )
        for answer in reply.answers
    ]
    last = answers[-1] if answers else Answer(Turn("assistant", ()))
    last = replace(last, turn=_more(last.turn, reply.own))
    return Answering((*answers[:-1], *((last,) if answers or last.turn.blocks else ())), reply.model, reply.usage)


def _more(turn: Turn, own: ir.Own | None) -> Turn:
    """With what its format says beside it."""
    more = tuple(_left_over(own, turn)) if own is not None else ()
    return replace(turn, blocks=(*turn.blocks, *more)) if more else turn


def _left_over(own: ir.Own, turn: Turn) -> Iterator[Block]:
    """Words where no block has a place for them: why the model declined, what it searched for, some server's own field
    for its thoughts. What the turn says already is not said again.
    """
    told: str | None = None
    for key, value in own.fields.items():
        if key in CALLS and value:
            yield Data(key, pretty(value))
            continue
        words = [*_words(value)] if key not in ECHOED and key not in UNSAID else []
        if words and told is None:
            told = "\n".join(turn_lines(turn))
        if fresh := [text for text in words if text not in (told or "")]:
            yield Data(key, generic.dumped_text("\n".join(dict.fromkeys(fresh))))
    for key, value in (own.silent or {}).items():
        if isinstance(value, str) and len(value) >= WORDS and " " in value and key not in ECHOED:
            yield Data(key, generic.dumped_text(value))


def _words(value: Any, depth: int = 0) -> Iterator[str]:
    """The texts in it that somebody may have written: words with blanks between them, and what is listed with them."""
    if isinstance(value, str):
        if " " in value.strip():
            yield value
    elif isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        if any(" " in each.strip() for each in value):
            yield "\n".join(value)
    elif isinstance(value, (list, dict)) and depth < DEEPEST:
        inside = value if isinstance(value, list) else [each for key, each in value.items() if key not in UNSAID]
        for each in inside:
            yield from _words(each, depth + 1)


def _metered(body: bytes, known: Recognised, kind: str) -> Usage:
    """What a meter reads of it, where no codec has told."""
    if known.wire == NONE or not body:
        return Usage()
    meter = meter_for(known.wire, kind)
    meter.feed(body)
    return meter.finish().usage
