"""A transcript as plain text: for a terminal, mitmproxy's views, a mail.

Nothing in it moves a cursor or turns the direction of writing: control characters are written out.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .model import Answer, Call, Data, Media, Raw, Refusal, Result, Text, Thinking, Transcript, Turn

# As much as anybody reads there.
MOST = 512 * 1024
INDENT = "  "
# Control characters but tab and line feed, and what turns the direction of text.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def render(transcript: Transcript, width: int = 100, most: int = MOST) -> str:
    """All of it: what was asked, and what was answered. `width` 0 wraps nothing."""
    return _cut(_all(transcript, width), most)


def render_answers(transcript: Transcript, width: int = 100, most: int = MOST) -> str:
    """What was answered: a stream as the one message that it amounts to."""
    return _cut(_end(transcript, width), most)


def _cut(lines: Iterable[str], most: int) -> str:
    made: list[str] = []
    room = most
    for line in lines:
        if room <= 0:
            made.append("… (the rest is not shown)")
            break
        made.append(line[:room])
        room -= len(line) + 1
    return "\n".join(made).rstrip() + "\n"


def _all(transcript: Transcript, width: int) -> Iterator[str]:
    yield from _heading(transcript)
    for turn in transcript.turns:
        yield from _turn(turn, width)
    yield from _end(transcript, width)


def _heading(transcript: Transcript) -> Iterator[str]:
    told = [transcript.format, transcript.endpoint, transcript.model]
    yield clean(" · ".join(part for part in told if part) or "unknown")
    if transcript.tools:
        yield clean("tools: " + ", ".join(tool.name or "?" for tool in transcript.tools))
    for name, value in transcript.parameters:
        yield clean(f"{name}: {value if len(value) <= 200 else value[:199] + '…'}")
    for note in transcript.notes:
        yield clean(f"note: {note}")
    yield ""


def _end(transcript: Transcript, width: int) -> Iterator[str]:
    several = len(transcript.answers) > 1
    for number, answer in enumerate(transcript.answers, 1):
        yield from _turn(answer.turn, width, _why(answer), f"answer {number}" if several else "")
    if (failure := transcript.failure) is not None:
        kind = " ".join(part for part in (str(failure.status), failure.type, failure.code) if part)
        yield _rule(f"error {kind}", width)
        yield from wrapped(failure.message, width)
        yield ""
    if used := _usage(transcript):
        yield used


def _why(answer: Answer) -> str:
    if answer.word and answer.word != answer.stop:
        return f"{answer.stop} ({answer.word})" if answer.stop else answer.word
    return answer.stop


def _usage(transcript: Transcript) -> str:
    usage = transcript.usage
    told = (
        ("in", usage.input_tokens),
        ("cached", usage.cache_read_tokens),
        ("cache written", usage.cache_write_tokens),
        ("out", usage.output_tokens),
        ("reasoning", usage.reasoning_tokens),
    )
    parts = [f"{count:,} {name}" for name, count in told if count is not None and (count or name in ("in", "out"))]
    return "tokens: " + " · ".join(parts) if parts else ""


def turn_lines(turn: Turn) -> Iterator[str]:
    """What a turn says, line by line, for whoever compares two."""
    yield from _blocks(turn, 0)


def _turn(turn: Turn, width: int, stop: str = "", which: str = "") -> Iterator[str]:
    yield _rule(" · ".join(part for part in (turn.role, turn.name, which, stop) if part), width)
    yield from _blocks(turn, width)
    yield ""


def _blocks(turn: Turn, width: int) -> Iterator[str]:
    for place, block in enumerate(turn.blocks):
        if place:
            yield ""
        yield from _KIND[type(block)](block, width)


def _rule(title: str, width: int) -> str:
    line = f"── {clean(title)} "
    return line + "─" * max((width or 60) - len(line), 3)


def _indented(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield INDENT + line if line else line


def _text(block: Text, width: int) -> Iterator[str]:
    yield from wrapped(block.text, width)
    for cited in block.citations:
        told = [part for part in (cited.title, cited.url, cited.quoted) if part]
        yield from _indented(wrapped("[source] " + " · ".join(told), _narrower(width)))


def _thinking(block: Thinking, width: int) -> Iterator[str]:
    kind = "thinking, summarised" if block.summary else "thinking"
    hidden = f", {block.size:,} characters {block.hidden.replace('_', ' ')}" if block.hidden else ""
    yield f"({kind}{hidden})"
    yield from _indented(wrapped(block.text, _narrower(width)))


def _call(block: Call, width: int) -> Iterator[str]:
    yield clean("  ".join(part for part in (f"→ {block.name}", _numbered(block.number), block.id) if part))
    yield from _indented(_lines(arguments(block)))


def _result(block: Result, width: int) -> Iterator[str]:
    failed = "failed" if block.error else ""
    yield clean("  ".join(part for part in (f"← {block.name}", _numbered(block.number), failed, block.id) if part))
    for inside in block.blocks:
        yield from _indented(_KIND[type(inside)](inside, _narrower(width)))


def _numbered(number: int) -> str:
    return f"#{number}" if number else ""


def _media(block: Media, width: int) -> Iterator[str]:
    told = [block.kind, block.media_type, block.name, block.place]
    size = [] if block.size is None else [f"{block.size:,} bytes"]
    yield clean("[" + " · ".join([part for part in told if part] + size) + "]")


def _refusal(block: Refusal, width: int) -> Iterator[str]:
    yield "(refusal)"
    yield from wrapped(block.text, width)


def _data(block: Data, width: int) -> Iterator[str]:
    if block.kind:
        yield clean(f"{{{block.kind}}}")
    yield from _lines(block.json)


def _raw(block: Raw, width: int) -> Iterator[str]:
    if block.why:
        yield clean(f"({block.why})")
    yield from _lines(block.text)


_KIND: Mapping[type, Callable[[Any, int], Iterator[str]]] = {
    Text: _text,
    Thinking: _thinking,
    Call: _call,
    Result: _result,
    Media: _media,
    Refusal: _refusal,
    Data: _data,
    Raw: _raw,
}


def arguments(call: Call) -> str:
    """The arguments over several lines, where they are JSON; else as they are."""
    try:
        return json.dumps(json.loads(call.arguments), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return call.arguments


def _narrower(width: int) -> int:
    return max(width - len(INDENT), 20) if width else 0


def _lines(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        yield clean(line)


def wrapped(text: str, width: int) -> Iterator[str]:
    """The text with its long lines broken between words; code (fenced or indented) stays as it is."""
    fenced = False
    for line in map(clean, text.split("\n")):
        fence = line.lstrip().startswith("```")
        if not width or len(line) <= width or fenced or fence or line[:1] in (" ", "\t", "|"):
            yield line
        else:
            yield from textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
        fenced ^= fence


def clean(text: str) -> str:
    """One line without what a terminal would obey."""
    return _CONTROL.sub(_written_out, text.removesuffix("\r"))


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
