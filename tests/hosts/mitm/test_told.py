"""How a streamed reply is shown to people."""

from __future__ import annotations

import json

import pytest
from mitmproxy import contentviews

from interpose.hosts.mitm.told import RULE, Stream

EVENTS = contentviews.Metadata(content_type="text/event-stream; charset=utf-8")


def body(*events: object) -> bytes:
    return b"".join(b"data: " + json.dumps(each, ensure_ascii=False).encode() + b"\n\n" for each in events)


@pytest.mark.parametrize(
    "events",
    [
        [{"choices": [{"delta": {"content": each}}]} for each in ("Guten", " Tag, Wörld")],
        [{"type": "response.output_text.delta", "delta": each} for each in ("Guten", " Tag, Wörld")],
        [{"type": "content_block_delta", "delta": {"type": "text_delta", "text": e}} for e in ("Guten", " Tag, Wörld")],
        [{"candidates": [{"content": {"parts": [{"text": each}]}}]} for each in ("Guten", " Tag, Wörld")],
        [{"delta": {"message": {"content": {"text": each}}}} for each in ("Guten", " Tag, Wörld")],
    ],
    ids=["openai chat", "openai responses", "anthropic", "gemini", "cohere"],
)
def test_what_was_said_stands_first(events: list[object]) -> None:
    """In one piece; then comes the body as it is."""
    data = body(*events) + b": a comment\n\ndata: [DONE]\n\n"
    assert Stream().prettify(data, EVENTS) == f"Guten Tag, Wörld\n{RULE}\n{data.decode()}"


def test_events_that_say_nothing_are_shown_all_the_same() -> None:
    """Also what is no JSON, is cut off, or is no text."""
    data = b'event: ping\ndata: {"x": [1]}\n\ndata: nonsense\n\ndata: \xff{"delta": {"text": 5}}'
    assert Stream().prettify(data, EVENTS) == data.decode(errors="replace")


@pytest.mark.parametrize("data", [b"", b"\x00\x01", b": comment\n\n"])
def test_what_is_no_stream_is_left_to_other_views(data: bytes) -> None:
    """mitmproxy falls back to the body as it is."""
    with pytest.raises(ValueError, match="no events"):
        Stream().prettify(data, EVENTS)


def test_it_is_for_event_streams_alone() -> None:
    """Other bodies have views of their own."""
    assert Stream().render_priority(b"", EVENTS) > 1
    assert Stream().render_priority(b"{}", contentviews.Metadata(content_type="application/json")) < 0
    assert Stream().render_priority(b"{}", contentviews.Metadata()) < 0
