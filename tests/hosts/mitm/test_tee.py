"""What is shown of a body: bounded, and without a credential in it."""

from __future__ import annotations

import gzip
import json
import re

import pytest
from mitmproxy import http

from interpose.hosts.mitm.tee import DECODED, Tee, masked, show
from interpose.secret import Scrubber, Secret

KEY = b"sk-FAKE-0123456789"


@pytest.fixture
def scrubber() -> Scrubber:
    made = Scrubber()
    made.learn(Secret(KEY.decode(), "env:FAKE"))
    return made


def response(data: bytes, scrubber: Scrubber, *, limit: int = 1 << 20, coding: str | None = None) -> http.Response:
    copy = Tee(limit)
    for at in range(0, len(data), 7):
        copy.add(data[at : at + 7])
    made = http.Response.make(200, b"", {"content-encoding": coding} if coding else {})
    show(made, copy, scrubber)
    return made


def test_a_body_without_a_secret_is_shown_as_it_came(scrubber: Scrubber) -> None:
    """Compressed or not, to the byte."""
    packed = gzip.compress(b"hello" * 100)
    assert response(b"hello", scrubber).raw_content == b"hello"
    shown = response(packed, scrubber, coding="gzip")
    assert (shown.raw_content, shown.headers["content-encoding"]) == (packed, "gzip")


@pytest.mark.parametrize("coding", [None, "gzip"])
def test_a_secret_is_masked_wherever_it_stands(scrubber: Scrubber, coding: str | None) -> None:
    """Decoded, so that the page does not decode it either."""
    plain = b"a" + KEY + KEY + b"b"
    shown = response(gzip.compress(plain) if coding else plain, scrubber, coding=coding)
    assert shown.content == b"a******b"
    assert "content-encoding" not in shown.headers


@pytest.mark.parametrize("size", [1, 4, 11])
@pytest.mark.parametrize("coding", [None, "gzip"])
def test_a_secret_that_a_stream_tells_in_pieces_is_masked(scrubber: Scrubber, size: int, coding: str | None) -> None:
    """A few letters in each event, as models say all they say: a view puts them together."""
    said = f"Your key is {KEY.decode()}, keep it."
    pieces = [said[at : at + size] for at in range(0, len(said), size)]
    events = [b"data: " + json.dumps({"delta": {"content": piece}}).encode() + b"\n\n" for piece in pieces]
    body = b"".join(events)
    head = {"content-type": "text/event-stream", **({"content-encoding": coding} if coding else {})}
    made = http.Response.make(200, b"", head)
    copy = Tee(1 << 20)
    copy.add(gzip.compress(body) if coding else body)
    show(made, copy, scrubber)
    shown = made.get_content() or b""
    told = "".join(json.loads(line[6:])["delta"]["content"] for line in shown.split(b"\n\n") if line)
    assert re.sub(r"\*+", "***", told) == "Your key is ***, keep it."
    made = http.Response.make(200, b"", head)
    copy = Tee(1 << 20)
    copy.add(plain := b"".join(events[: len(events) // 3]))
    made.headers.pop("content-encoding", None)
    show(made, copy, scrubber)
    assert made.raw_content == plain


def test_where_a_copy_is_cut_no_beginning_of_a_secret_is_left(scrubber: Scrubber) -> None:
    """Of every length but a few characters, which tell nothing."""
    for kept in range(len(KEY)):
        shown = response(b"text " + KEY, scrubber, limit=5 + kept)
        assert shown.content in (b"text ", b"text " + KEY[:3][:kept])


def test_what_cannot_be_read_to_its_end_is_shown_as_far_as_it_was(scrubber: Scrubber) -> None:
    """A compressed body that is broken, or that becomes too large, hides nothing behind that."""
    packed = gzip.compress(b"x" * 100_000)
    broken = packed[:-40] + b"nonsense" * 5
    assert masked(broken, http.Headers(content_encoding="gzip"), scrubber) is not None
    bomb = gzip.compress(bytes(DECODED + 1))
    clean = masked(bomb, http.Headers(content_encoding="gzip"), scrubber)
    assert clean is not None
    assert len(clean) <= DECODED
