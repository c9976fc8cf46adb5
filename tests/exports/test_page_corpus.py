"""Recorded calls as pages: each word that was said is on them, and nothing else than text has come of it."""

from __future__ import annotations

import re
from itertools import islice

import pytest
from tests.corpus import Line, lines
from tests.exports.made import exported, recorded
from tests.exports.test_markdown import Reading
from tests.exports.test_page import ELEMENTS
from tests.transcripts.said import streamed, texts
from tests.transcripts.test_transcripts_corpus import CONVERSATIONS

from interpose.exports.hiding import hidden
from interpose.recordings import Recorded

# Every so many of a family's recordings: a page takes longer than a transcript.
EACH = 8
WORD = re.compile(r"[^\W_]{4,40}")
# What is cut short, and says so: bytes in base64.
BYTES = re.compile(r"[A-Za-z0-9+/_=-]{60,}")


def call_of(line: Line) -> Recorded:
    headers = tuple((name.encode(), value.encode()) for name, value in line.request_headers.items())
    url = line.url.replace("<", "").replace(">", "") or "https://api.openai.com/v1/x"
    made = recorded(line.id, url, line.request_bytes(), line.status, line.reply_bytes(), headers)
    assert made.answered is not None
    kind = tuple((name.encode(), value.encode()) for name, value in line.reply_headers.items())
    made.answered = type(made.answered)(line.status, kind, line.reply_bytes())
    return made


@pytest.mark.parametrize("family", CONVERSATIONS)
def test_each_word_is_on_the_page(family: str) -> None:
    """Of the request and of the answer, as an independent reading has them."""
    lost = []
    for line in islice(lines(family), 0, None, EACH):
        html = exported(hidden(call_of(line)))
        found = Reading(html)
        assert found.elements <= ELEMENTS, line.id
        shown = set(WORD.findall(" ".join(found.words)))
        said = [*texts(line.request), *(streamed(line) if line.ok else ())]
        words = {word for text in said for word in WORD.findall(BYTES.sub(" ", text))}
        if missing := sorted(word for word in words if word not in shown and word not in html):
            lost.append((line.id, missing[:5]))
    assert lost == []
