"""What models and people write, as HTML: CommonMark and tables, by markdown-it-py.

HTML in it is text, pictures are told and not loaded, and links lead to web pages and mail alone, by a click and
without saying from where.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

# Of a longer text nobody sees the layout; it is shown as it is.
MOST = 32_000
# What is nested deeper, the parser would leave out.
DEEPEST = 40
# The headings of a page end above those of what is said in it.
LOWEST = 6
ABOVE = 3
SIDES = ("left", "center", "right")
_SAFE = re.compile(r"(?:https?|mailto):", re.IGNORECASE)


def rendered(text: str) -> Markup:
    """The text as HTML that can do nothing."""
    if len(text) > MOST or "\0" in text:
        return plain(text)
    parser = _parser()
    try:
        tokens = parser.parse(text)
        if max(map(_depth, tokens), default=0) >= DEEPEST - 1:
            return plain(text)
        made = parser.renderer.render(tokens, parser.options, {})
        return Markup(made)  # noqa: S704 - HTML in the text is escaped by the parser: html is off
    except (RecursionError, IndexError, ValueError):
        return plain(text)


def _depth(token: Token) -> int:
    return max((token.level, *(child.level for child in token.children or ())))


def plain(text: str) -> Markup:
    """The text as it is, its line breaks kept."""
    return Markup('<p class="plain">{}</p>').format(text)


class _Renderer(RendererHTML):
    """Links that tell nobody, headings below ours, and pictures as words."""

    def link_open(self, tokens: Sequence[Token], place: int, options: Any, env: MutableMapping[str, Any]) -> str:
        target = str(tokens[place].attrGet("href") or "")
        if not target:
            return "<a>"  # [text]() leads nowhere, and this page is not where it was written to lead
        return str(Markup('<a href="{}" rel="noopener noreferrer nofollow">').format(target))

    def image(self, tokens: Sequence[Token], place: int, options: Any, env: MutableMapping[str, Any]) -> str:
        target = str(tokens[place].attrGet("src") or "")
        return str(Markup('<span class="picture">[picture: {} {}]</span>').format(tokens[place].content, target))

    def heading_open(self, tokens: Sequence[Token], place: int, options: Any, env: MutableMapping[str, Any]) -> str:
        return f'<h{_level(tokens[place])} class="said">'

    def heading_close(self, tokens: Sequence[Token], place: int, options: Any, env: MutableMapping[str, Any]) -> str:
        return f"</h{_level(tokens[place])}>\n"

    def th_open(self, tokens: Sequence[Token], place: int, options: Any, env: MutableMapping[str, Any]) -> str:
        return _cell(tokens[place])

    def td_open(self, tokens: Sequence[Token], place: int, options: Any, env: MutableMapping[str, Any]) -> str:
        return _cell(tokens[place])

    def fence(self, tokens: Sequence[Token], place: int, options: Any, env: MutableMapping[str, Any]) -> str:
        token = tokens[place]
        language = token.info.split()[0][:40] if token.info.split() else ""
        label = Markup('<span class="language">{}</span>').format(language) if language else ""
        return f'<pre tabindex="0">{label}<code>{escape(token.content)}</code></pre>\n'


def _cell(token: Token) -> str:
    """By a class: the page's policy forbids the style that it would have."""
    side = str(token.attrGet("style") or "").removeprefix("text-align:")
    return f'<{token.tag} class="to-{side}">' if side in SIDES else f"<{token.tag}>"


def _level(token: Token) -> int:
    return min(int(token.tag[1:]) + ABOVE, LOWEST)


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt(
        "commonmark", {"html": False, "breaks": True, "linkify": False, "maxNesting": DEEPEST}, renderer_cls=_Renderer
    )
    # Indented lines are code in prose alone; in prompts they are mere indentation.
    parser.enable(["table", "strikethrough"]).disable("code")
    parser.validateLink = lambda url: _SAFE.match(url.strip()) is not None  # type: ignore[method-assign]
    return parser
