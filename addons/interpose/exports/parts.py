"""Turns and blocks as HTML: everything is escaped, what models write is Markdown, media stand in the page itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup

from interpose.transcripts import (
    Block,
    Call,
    Data,
    Media,
    Offer,
    Raw,
    Refusal,
    Result,
    Text,
    Thinking,
    Turn,
)
from interpose.transcripts.documents import pretty
from interpose.transcripts.text import arguments

from .comparing import Mark
from .markdown import rendered
from .room import Room

# What a browser shows as a picture and runs nothing of.
PICTURES = frozenset(("image/png", "image/jpeg", "image/gif", "image/webp"))
# What may be saved from the page, as what it is.
FILES = frozenset(("application/pdf", "text/plain", "text/csv", "audio/mpeg", "audio/wav", "audio/ogg", "video/mp4"))
NOTHING = Markup()


class Writer:
    """Writes the turns of one conversation. `anchor` begins the ids of its tool calls in the page."""

    def __init__(self, room: Room, anchor: str) -> None:
        self._room = room
        self._anchor = anchor
        self._used: set[str] = set()

    def turn(
        self, turn: Turn, mark: Mark = "", diff: tuple[str, ...] = (), stop: str = "", *, beneath: str = "JSON"
    ) -> Markup:
        said = NOTHING.join(self.block(block) for block in turn.blocks) or Markup('<p class="soft">(nothing)</p>')
        if mark == "removed":
            said = Markup("<details><summary>What stood here</summary>{}</details>").format(said)
        return Markup(
            '<section class="turn {role}{gone}"><h4>{role}{name}{mark}{stop}</h4>{diff}{said}{raw}</section>\n'
        ).format(
            role=turn.role,
            gone=" gone" if mark == "removed" else "",
            name=Markup(" <span>{}</span>").format(turn.name) if turn.name else "",
            mark=Markup(' <span class="mark">{}</span>').format(mark) if mark else "",
            stop=Markup(' <span class="stop">{}</span>').format(stop) if stop else "",
            diff=self.diff(diff) if diff else "",
            said=said,
            raw=self.json(beneath, turn.raw) if turn.raw is not None and mark != "removed" else "",
        )

    def block(self, block: Block) -> Markup:
        return _KIND[type(block)](self, block)

    def diff(self, lines: tuple[str, ...]) -> Markup:
        kinds = {"+": "added", "-": "taken", "@": "where"}
        shown = NOTHING.join(
            Markup('<span class="{}">{}</span>').format(kinds.get(line[:1], "same"), line or " ")
            for line in self._room.text("\n".join(lines)).split("\n")
        )
        self._room.take(shown)
        return Markup('<pre class="diff" tabindex="0">{}</pre>').format(shown)

    def json(self, title: str, value: Any) -> Markup:
        """A value beneath what is shown of it, folded."""
        text = self._room.json(value if isinstance(value, str) else pretty(value))
        if text is None:
            return NOTHING
        return self._counted(
            Markup('<details class="raw"><summary>{}</summary><pre tabindex="0">{}</pre></details>').format(title, text)
        )

    def offer(self, tool: Offer) -> Markup:
        return Markup('<details class="raw"><summary><code>{}</code> {}</summary>{}</details>').format(
            tool.name, tool.description[:200], self._pre(tool.json)
        )

    def _counted(self, made: Markup) -> Markup:
        self._room.take(made)
        return made

    def _pre(self, text: str) -> Markup:
        return self._counted(Markup('<pre tabindex="0">{}</pre>').format(self._room.text(text)))

    def _anchored(self, what: str, number: int) -> Markup:
        """An id, of which a page has each once."""
        name = f"{self._anchor}-{what}-{number}"
        if not number or name in self._used:
            return NOTHING
        self._used.add(name)
        return Markup(' id="{}"').format(name)

    def _linked(self, what: str, number: int, text: str) -> Markup:
        return Markup('<a href="#{}-{}-{}">{}</a>').format(self._anchor, what, number, text)

    # --- the kinds of blocks ------------------------------------------------------------------------------------------

    def text(self, block: Text) -> Markup:
        sources = NOTHING.join(
            Markup("<li>{}{}</li>").format(_link(each.url, each.title), f" “{each.quoted}”" if each.quoted else "")
            for each in block.citations
        )
        shown = self._counted(rendered(self._room.text(block.text)))
        return Markup('<div class="text">{}{}</div>').format(
            shown, Markup('<ol class="sources">{}</ol>').format(sources) if sources else ""
        )

    def thinking(self, block: Thinking) -> Markup:
        told = ["thinking, summarised" if block.summary else "thinking"]
        if block.hidden:
            told.append(f"{block.size:,} characters {block.hidden.replace('_', ' ')}")
        if not block.text:
            return Markup('<p class="thinking soft">({})</p>').format(", ".join(told))
        shown = self._counted(rendered(self._room.text(block.text)))
        return Markup('<details class="thinking"><summary>{}</summary>{}</details>').format(", ".join(told), shown)

    def call(self, block: Call) -> Markup:
        return Markup('<div class="tool"{}><p><b>→ {}</b>{}{} {}</p>{}</div>').format(
            self._anchored("call", block.number),
            block.name,
            _number(block.number),
            _identity(block.id),
            self._linked("result", block.number, "result") if block.answered else "",
            self._pre(arguments(block)),
        )

    def result(self, block: Result) -> Markup:
        inside = NOTHING.join(
            self._pre(_indented(each.text)) if isinstance(each, Text) else self.block(each) for each in block.blocks
        )
        return Markup('<div class="tool result"{}><p><b>← {}</b>{}{} {}{}</p>{}</div>').format(
            self._anchored("result", block.number),
            block.name or "result",
            _number(block.number),
            _identity(block.id),
            self._linked("call", block.number, "call") if block.number else "",
            Markup(' <span class="bad">failed</span>') if block.error else "",
            inside,
        )

    def media(self, block: Media) -> Markup:
        size = "" if block.size is None else f"{block.size:,} bytes"
        told = " · ".join(part for part in (block.kind, block.media_type, block.name, block.place, size) if part)
        kind = block.media_type.lower()
        if block.data and (kind in PICTURES or kind in FILES) and self._room.medium(block.data):
            self._room.take(block.data)
            data = f"data:{kind};base64,{''.join(block.data.split())}"
            if kind in PICTURES:
                return Markup('<figure><img src="{}" alt="{}"><figcaption>{}</figcaption></figure>').format(
                    data, told, told
                )
            return Markup('<p class="medium">[{}] <a href="{}" download="{}">save</a></p>').format(
                told, data, block.name or f"{block.kind}.{kind.partition('/')[2]}"
            )
        return Markup('<p class="medium">[{}]</p>').format(told)

    def refusal(self, block: Refusal) -> Markup:
        return Markup('<div class="refusal"><p><b>refused</b></p>{}</div>').format(
            self._counted(rendered(self._room.text(block.text)))
        )

    def data(self, block: Data) -> Markup:
        shown = self._pre(block.json)
        return Markup('<div class="tool"><p><b>{}</b></p>{}</div>').format(block.kind, shown) if block.kind else shown

    def raw(self, block: Raw) -> Markup:
        return Markup('<div class="unread"><p class="warn">{}</p>{}</div>').format(block.why, self._pre(block.text))


_KIND: Mapping[type, Callable[[Writer, Any], Markup]] = {
    Text: Writer.text,
    Thinking: Writer.thinking,
    Call: Writer.call,
    Result: Writer.result,
    Media: Writer.media,
    Refusal: Writer.refusal,
    Data: Writer.data,
    Raw: Writer.raw,
}


def _link(url: str, title: str) -> Markup:
    if url.lower().startswith(("http://", "https://")):
        return Markup('<a href="{}" rel="noopener noreferrer nofollow">{}</a>').format(url, title or url)
    return Markup("{}").format(" ".join(part for part in (title, url) if part))


def _number(number: int) -> Markup:
    return Markup(' <span class="soft">#{}</span>').format(number) if number else NOTHING


def _identity(identity: str) -> Markup:
    return Markup(' <code class="soft">{}</code>').format(identity) if identity else NOTHING


def _indented(text: str) -> str:
    """A tool's result, over several lines where it is JSON."""
    if text[:1] not in ("{", "["):
        return text
    try:
        return pretty(json.loads(text))
    except (ValueError, RecursionError):
        return text
