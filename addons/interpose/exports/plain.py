"""An export as Markdown, to be pasted into an issue, and as JSON, for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from interpose.recordings import Answered, Asked, Recorded
from interpose.transcripts import Block, Call, Data, Media, Raw, Refusal, Result, Text, Thinking, Turn
from interpose.transcripts.text import arguments, clean

from . import facts
from .comparing import Kept, around, pieces
from .conversations import Step
from .room import MOST_TEXT
from .sent import content, differences, document
from .sheet import Heading, Outline

# What a reader of the JSON may rely on.
JSON_VERSION = 1


class MarkdownSheet:
    """An export as Markdown. What was said stands in it as it is, quoted, so that it can end no block of ours."""

    def __init__(self) -> None:
        self._outlines: dict[int, Outline] = {}
        self._steps: dict[int, list[str]] = {}

    def add(self, step: Step) -> None:
        number = step.conversation.number
        self._outlines.setdefault(number, Outline(number)).add(step)
        self._steps.setdefault(number, []).append("\n".join(_step(step)))

    def written(self, heading: Heading, notes: list[str]) -> Iterator[str]:
        yield f"# {_line(heading.title)}\n\nFrom {_line(heading.source)}, {facts.clock(heading.exported)}.\n"
        for note in notes:
            yield f"\n> {_line(note)}\n"
        for number, outline in self._outlines.items():
            told = (*outline.models, facts.tokens(outline.total), facts.money(outline.total.cost))
            yield f"\n## {_line(outline.title)}\n\n{_line(' · '.join(part for part in told if part))}\n"
            for step in self._steps[number]:
                yield f"\n{step}\n"


def _step(step: Step) -> Iterator[str]:
    call, transcript = step.call, step.transcript
    told = (
        facts.models(call, transcript),
        facts.tokens(facts.figures(call, transcript)),
        facts.money(call.record.cost_usd) if call.record is not None else "",
        facts.took(call),
        facts.outcome(call, transcript),
    )
    yield f"### Call {step.number} · {facts.hour(call.started_at)}"
    yield ""
    yield _line(" · ".join(part for part in told if part)) + f" · `{_line(call.id)}`"
    for note in (*transcript.notes, *(f"conversion: {each}" for each in facts.losses(call))):
        yield f"\n*{_line(note)}*"
    for each in around(step.earlier, transcript):
        yield f"\n*changed: {_line(each.what)}: {_line(each.before)[:200]} → {_line(each.now)[:200]}*"
    for piece in pieces(step.before if step.link != "reply id" else (), transcript.turns):
        if isinstance(piece, Kept):
            yield f"\n*{piece.count} {'turn' if piece.count == 1 else 'turns'} as before*"
        else:
            yield from _turn(piece.turn, piece.mark)
            if piece.diff:
                yield from _fenced("\n".join(piece.diff), "diff")
    for answer in transcript.answers:
        yield from _turn(answer.turn, answer.stop)
    if (failure := transcript.failure) is not None:
        yield f"\n**error {failure.status}** {_line(failure.type)}\n"
        yield from _quoted(failure.message)


def _turn(turn: Turn, mark: str) -> Iterator[str]:
    yield f"\n**{turn.role}**" + (f" {_line(turn.name)}" if turn.name else "") + (f" ({_line(mark)})" if mark else "")
    for block in turn.blocks:
        yield ""
        yield from _KIND[type(block)](block)


def _text(block: Text) -> Iterator[str]:
    yield from _quoted(block.text)
    for each in block.citations:
        yield f"> [source] {_line(' · '.join(part for part in (each.title, each.url) if part))}"


def _thinking(block: Thinking) -> Iterator[str]:
    hidden = f", {block.size:,} characters {block.hidden}" if block.hidden else ""
    yield f"*thinking{hidden}*"
    if block.text:
        yield ""
        yield from _quoted(block.text)


def _call(block: Call) -> Iterator[str]:
    yield f"→ `{_line(block.name)}`" + (f" #{block.number}" if block.number else "")
    yield from _fenced(arguments(block), "json")


def _result(block: Result) -> Iterator[str]:
    number = f" #{block.number}" if block.number else ""
    yield f"← `{_line(block.name)}`{number}" + (" **failed**" if block.error else "")
    for inside in block.blocks:
        if isinstance(inside, Text):
            yield from _fenced(inside.text)
        else:
            yield ""
            yield from _KIND[type(inside)](inside)


def _media(block: Media) -> Iterator[str]:
    size = "" if block.size is None else f"{block.size:,} bytes"
    told = (block.kind, block.media_type, block.name, block.place, size)
    yield f"`[{_line(' · '.join(part for part in told if part))}]`"


def _refusal(block: Refusal) -> Iterator[str]:
    yield "**refused**\n"
    yield from _quoted(block.text)


def _data(block: Data) -> Iterator[str]:
    if block.kind:
        yield f"`{_line(block.kind)}`"
    yield from _fenced(block.json, "json")


def _raw(block: Raw) -> Iterator[str]:
    yield f"*{_line(block.why)}*"
    yield from _fenced(block.text)


_KIND: Mapping[type, Callable[[Any], Iterator[str]]] = {
    Text: _text,
    Thinking: _thinking,
    Call: _call,
    Result: _result,
    Media: _media,
    Refusal: _refusal,
    Data: _data,
    Raw: _raw,
}


def _line(text: str) -> str:
    """Text of others in a line of ours: no line break, and nothing that begins HTML or ends code."""
    return clean(" ".join(text.split())).replace("`", "'").replace("<", "‹")


def _quoted(text: str) -> Iterator[str]:
    """As a quotation, in which Markdown of the text's own stays what it is."""
    for line in _cut(text).split("\n"):
        # What is no HTML to others is none here: a tag of somebody's prompt is to be read.
        yield "> " + clean(line).replace("<", "\\<")


def _fenced(text: str, language: str = "") -> Iterator[str]:
    """As code, in a fence that is longer than any in it."""
    longest = max((len(run) for run in text.split() if set(run) == {"`"}), default=0)
    longest = max([longest, *(len(line) - len(line.lstrip("`")) for line in map(str.strip, text.split("\n")))])
    fence = "`" * max(3, longest + 1)
    yield f"{fence}{language}"
    yield from map(clean, _cut(text).split("\n"))
    yield fence


def _cut(text: str) -> str:
    if len(text) <= MOST_TEXT:
        return text
    return f"{text[:MOST_TEXT]}\n… ({len(text) - MOST_TEXT:,} more characters are left out)"


class JsonSheet:
    """An export as JSON: all of it, nothing is cut short."""

    def __init__(self) -> None:
        self._calls: dict[int, list[str]] = {}
        self._outlines: dict[int, Outline] = {}

    def add(self, step: Step) -> None:
        number = step.conversation.number
        self._outlines.setdefault(number, Outline(number)).add(step)
        self._calls.setdefault(number, []).append(_dumped(_told(step)))

    def written(self, heading: Heading, notes: list[str]) -> Iterator[str]:
        head = {"version": JSON_VERSION, "title": heading.title, "source": heading.source, "notes": notes}
        yield _dumped({**head, "exported_at": facts.clock(heading.exported)})[:-1] + ', "conversations": ['
        for place, (number, outline) in enumerate(self._outlines.items()):
            yield (",\n" if place else "\n") + _dumped({"number": number, "title": outline.title})[:-1] + ', "calls": ['
            for at, call in enumerate(self._calls[number]):
                yield (",\n" if at else "\n") + call
            yield "]}"
        yield "\n]}\n"


def _told(step: Step) -> dict[str, Any]:
    call, transcript = step.call, step.transcript
    return {
        "id": call.id,
        "number": step.number,
        "recognised_by": step.link,
        "facts": dict(facts.rows(call, transcript)),
        "request": _message(call.asked),
        "reply": None if call.answered is None else _message(call.answered),
        "sent": [
            {"attempt": sent.attempt, "request": _message(sent.asked), "reply": _maybe(sent.answered)}
            for sent in call.sent
            if not _same(call, sent.attempt)
        ],
        "usage": asdict(transcript.usage),
        "failure": None if transcript.failure is None else asdict(transcript.failure),
        "notes": list(transcript.notes),
        "turns": [
            {"as_before": piece.count}
            if isinstance(piece, Kept)
            else {**_spoken(piece.turn), "mark": piece.mark, "diff": list(piece.diff)}
            for piece in pieces(step.before if step.link != "reply id" else (), transcript.turns)
        ],
        "answers": [
            {**_spoken(answer.turn), "stop": answer.stop, "word": answer.word} for answer in transcript.answers
        ],
        "reassembled": transcript.whole if transcript.streamed else None,
    }


def _same(call: Recorded, attempt: int) -> bool:
    return any(each.attempt == attempt and each.same and each.reply is None for each in differences(call))


def _maybe(answered: Answered | None) -> dict[str, Any] | None:
    return None if answered is None else _message(answered)


def _message(message: Asked | Answered) -> dict[str, Any]:
    body = content(message)
    told: dict[str, Any] = {"headers": [[_word(name), _word(value)] for name, value in message.headers]}
    if isinstance(message, Asked):
        told = {"method": message.method, "url": str(message.url), **told}
    else:
        told = {"status": message.status, **told}
    return {**told, "whole": message.whole, "body": None if body is None else document(body)}


def _word(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _spoken(turn: Turn) -> dict[str, Any]:
    return {"role": turn.role, "name": turn.name, "blocks": [_block(block) for block in turn.blocks]}


def _block(block: Block) -> dict[str, Any]:
    told = asdict(block)
    if isinstance(block, Result):
        told["blocks"] = [_block(each) for each in block.blocks]
    if isinstance(block, Media):
        told["data"] = ""  # it stands in the body
    return {"type": type(block).__name__.lower(), **told}


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace").decode()
