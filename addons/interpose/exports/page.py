"""The HTML file: one page that needs nothing else, no script, and asks no host for anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files

from jinja2 import DictLoader, Template
from markupsafe import Markup

from interpose.call import Headers
from interpose.pages import Frame, templates
from interpose.recordings import Recorded
from interpose.transcripts import Answer

from . import facts
from .comparing import Kept, around, pieces
from .conversations import Step
from .parts import NOTHING, Writer
from .room import Room
from .sent import differences
from .sheet import Heading, Outline

# How a page says that it is one of ours: such a file may be written anew.
GENERATOR = "interpose export"


@dataclass(slots=True)
class _Section:
    """One conversation, as far as it is written."""

    outline: Outline
    writer: Writer
    steps: list[Markup] = field(default_factory=list)


class Page:
    """An export as HTML."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._sections: dict[int, _Section] = {}

    def add(self, step: Step) -> None:
        number = step.conversation.number
        section = self._sections.get(number)
        if section is None:
            section = self._sections[number] = _Section(Outline(number), Writer(self._room, f"c{number}"))
        section.outline.add(step)
        if self._room.call():
            section.steps.append(self._step(step, section.writer))

    def written(self, heading: Heading, notes: list[str]) -> Iterator[str]:
        outlines = [section.outline for section in self._sections.values()]
        if left_out := self._room.told():
            notes = [
                *notes,
                f"Left out, for the file to stay below {self._room.limit // 2**20} MiB: {'; '.join(left_out)}. A call "
                "by itself (interpose export ID), a higher --limit or --format json has them.",
            ]
        yield from _template("export.html").generate(
            page=Frame(heading.title, _file("export.css")),
            generator=GENERATOR,
            heading=heading,
            notes=notes,
            outlines=outlines,
            sections=list(self._sections.values()),
            all=facts.total(figure for outline in outlines for figure in outline.figures),
            facts=facts,
        )

    def _step(self, step: Step, writer: Writer) -> Markup:
        call, transcript = step.call, step.transcript
        body: list[Markup] = []
        for piece in pieces(step.before if step.link != "reply id" else (), transcript.turns):
            if isinstance(piece, Kept):
                body.append(_kept(piece.count))
            else:
                body.append(writer.turn(piece.turn, piece.mark, piece.diff))
        several = len(transcript.answers) > 1
        beneath = "JSON, put together" if transcript.streamed else "JSON"
        for place, answer in enumerate(transcript.answers, 1):
            said = " · ".join(part for part in (f"answer {place}" if several else "", _why(answer)) if part)
            # The reply stands beneath the last of its answers.
            turn = replace(answer.turn, raw=transcript.whole) if place == len(transcript.answers) else answer.turn
            body.append(writer.turn(turn, stop=said, beneath=beneath))
        known = outlined(call, step)
        made = Markup(  # noqa: S704 - a template's, which escapes
            _template("step.html").render(
                facts=facts,
                outcome=facts.outcome(call, transcript),
                step=step,
                call=call,
                transcript=transcript,
                known=known,
                rows=list(facts.rows(call, transcript)),
                around=around(step.earlier, transcript),
                before=_before(step),
                asked=_headers(call.asked.headers),
                answered=_headers(call.answered.headers) if call.answered is not None else [],
                body=NOTHING.join(body),
                tools=NOTHING.join(writer.offer(tool) for tool in transcript.tools) if _new_tools(step) else "",
                spoken=[_spoken(call, place) for place in range(min(len(call.spoken), 500))],
                losses=facts.losses(call),
                whole=""
                if transcript.answers or transcript.whole is None
                else writer.json("The reply as JSON", transcript.whole),
                sent=[(each, _sent(each.diff, writer)) for each in differences(call)],
                writer=writer,
            )
        )
        self._room.take(" " * 2000)  # what stands around it all
        return made


def outlined(call: Recorded, step: Step) -> list[str]:
    """The call in a line."""
    transcript = step.transcript
    first = facts.first_token(call)
    told = (
        facts.tokens(facts.figures(call, transcript)),
        facts.money(call.record.cost_usd) if call.record is not None else "",
        f"first token {first}" if first else "",
        f"took {facts.took(call)}" if facts.took(call) else "",
        call.record.route or "" if call.record is not None else "",
    )
    return [part for part in told if part]


def _sent(diff: tuple[str, ...], writer: Writer) -> Markup:
    return writer.diff(diff) if diff else NOTHING


def _kept(count: int) -> Markup:
    return Markup('<p class="kept">{} as before</p>\n').format(f"{count} turn" if count == 1 else f"{count:,} turns")


_LINKS = {
    "again": "the same request once more",
    "tools": "recognised by its tool calls: the history before them is another one",
    "text": "recognised by what the model had said: the history before that is another one",
    "summary": "the history was put into a summary that the model had written",
    "reply id": "goes on with the reply before it, whose turns the provider keeps",
}


def _before(step: Step) -> str:
    return _LINKS.get(step.link, "")


def _why(answer: Answer) -> str:
    return " · ".join(dict.fromkeys(part for part in (answer.stop, answer.word) if part))


def _new_tools(step: Step) -> bool:
    return bool(step.transcript.tools) and (step.earlier is None or step.earlier.tools != step.transcript.tools)


def _headers(headers: Headers) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("utf-8", "replace")[:2000]) for name, value in headers]


def _spoken(call: Recorded, place: int) -> tuple[str, str]:
    message = call.spoken[place]
    who = "client" if message.from_client else "provider"
    text = message.content[:20000].decode("utf-8", "replace") if message.text else f"{len(message.content):,} bytes"
    return f"{who} · {facts.span(message.at * 1000)}", text


@cache
def _file(name: str) -> str:
    return files(__package__ or "").joinpath(name).read_text("utf-8")


@cache
def _template(name: str) -> Template:
    loader = DictLoader({each: _file(each) for each in ("export.html", "step.html")})
    return templates(loader).get_template(name)
