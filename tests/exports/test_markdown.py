"""What models write, as HTML: it looks like what it is, and can do nothing."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from interpose.exports.markdown import MOST, rendered

# All that Markdown may become.
ELEMENTS = frozenset(
    (
        *("p", "em", "strong", "s", "code", "pre", "span", "a", "ul", "ol", "li", "blockquote", "hr", "br"),
        *("table", "thead", "tbody", "tr", "th", "td", "h4", "h5", "h6"),
    )
)
ATTRIBUTES = frozenset(("href", "rel", "class", "tabindex", "start", "title"))


class Reading(HTMLParser):
    """The elements and attributes of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_it_is_laid_out() -> None:
    """Headings below those of the page, lists, tables, code with its language."""
    html = rendered("# Title\n\n- one\n- **two**\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nprint('<b>')\n```\n")
    assert '<h4 class="said">Title</h4>' in html
    assert "<strong>two</strong>" in html
    assert "<td>1</td>" in html
    assert '<span class="language">python</span>' in html
    assert "print(&#39;&lt;b&gt;&#39;)" in html


def test_columns_stand_where_they_are_put() -> None:
    """Without a style of their own, which the page's policy would forbid, with a complaint in the console."""
    html = rendered("| a | b | c | d |\n|:--|:-:|--:|---|\n| 1 | 2 | 3 | 4 |\n")
    assert "style" not in html
    assert '<td class="to-left">1</td>' in html
    assert '<th class="to-center">b</th>' in html
    assert '<td class="to-right">3</td>' in html
    assert "<td>4</td>" in html


def test_lines_stay_lines_and_indents_are_no_code() -> None:
    """A prompt's layout is to be seen; a tag in it is text."""
    html = rendered("<rules>\n    Be brief.\n</rules>")
    assert html == "<p>&lt;rules&gt;<br />\nBe brief.<br />\n&lt;/rules&gt;</p>\n"


@pytest.mark.parametrize(
    "target",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java&#x73;cript:alert(1)",
        "vbscript:x",
        "data:text/html,<script>alert(1)</script>",
        "file:///etc/passwd",
        "//evil.example/x",
        "/local",
    ],
)
def test_a_link_that_is_none_to_a_page_is_dead(target: str) -> None:
    """It is text."""
    html = rendered(f"[here]({target}) <{target}> ![picture]({target})\n\n[ref]\n\n[ref]: {target}")
    assert not any(name in ("href", "src") for name, _ in Reading(html).attributes)


def test_a_link_tells_nobody_from_where() -> None:
    """And is not followed by those who count links."""
    html = rendered("[the docs](https://docs.example/?a=1&b=2 'title')")
    assert '<a href="https://docs.example/?a=1&amp;b=2" rel="noopener noreferrer nofollow">the docs</a>' in html


def test_a_picture_elsewhere_is_told_and_not_loaded() -> None:
    """Whoever opens the page tells nobody of it."""
    html = rendered("![a cat](https://tracker.example/cat.png)")
    assert "img" not in Reading(html).elements
    assert "[picture: a cat https://tracker.example/cat.png]" in html


def test_a_text_without_end_is_shown_as_it_is() -> None:
    """Laying it out would take longer than anybody waits."""
    assert rendered("*" * (MOST + 1)).startswith('<p class="plain">***')


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"{' ' * depth}- word{depth}\n" for depth in range(300)),
        "> " * 300 + "word0",
        "*a **b " * 200 + "word0",
        "[" * 300 + "word0" + "](x)" * 300,
    ],
)
def test_nothing_is_lost_in_the_depth(text: str) -> None:
    """What is nested deeper than anything is laid out is shown as it is."""
    shown = "".join(Reading(rendered(text)).words)
    assert all(word in shown for word in set(re.findall(r"word\d+", text)))


@pytest.mark.parametrize("text", ["![", "[", "[a][", "*a ", "a\n", "_a__b", "<", "`a"])
def test_nobody_waits_for_what_is_hard_to_read(text: str) -> None:
    """Seconds of work at most, whatever was written."""
    began = time.process_time()
    rendered((text * MOST)[:MOST])
    assert time.process_time() - began < 30


NASTY = st.sampled_from(
    (
        *(
            "<script>",
            "</script>",
            "<img src=x onerror=alert(1)>",
            "](javascript:x)",
            "[a](",
            "![",
            "```",
            "`",
            "<",
            ">",
        ),
        *("'", '"', "&lt;", "&#106;", "| a |\n|--|\n", "# ", "> ", "* ", "\n", "    ", "<!--", "https://x.example/"),
        *("\0", "http:"),
    )
)


@example("[a]()")
@given(st.lists(NASTY | st.text(max_size=8), max_size=20).map("".join))
def test_nothing_that_is_written_becomes_more_than_text(text: str) -> None:
    """No element, attribute or target but those that Markdown has."""
    found = Reading(rendered(text))
    assert found.elements <= ELEMENTS
    for name, value in found.attributes:
        assert name in ATTRIBUTES
        if name == "href":
            assert value is not None
            assert value.lower().startswith(("http:", "https:", "mailto:"))
        if name == "style":
            assert value in ("text-align:left", "text-align:right", "text-align:center")
