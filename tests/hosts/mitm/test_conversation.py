"""The views of what was said: what they show first, what they show of whom, and how much they read."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from mitmproxy import contentviews, http
from mitmproxy.test import tflow

from interpose.hosts.mitm import remarks
from interpose.hosts.mitm.views.bounds import (
    MOST_LINES,
    MOST_PARTS,
    MOST_READ,
    MOST_VALUES,
    is_json,
    readable,
    too_much,
)
from interpose.hosts.mitm.views.conversation import Conversation, Reassembled

ASKED = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 100,
    "system": "Be brief.",
    "tools": [{"name": "weather", "description": "The weather.", "input_schema": {"type": "object"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo" * 100}},
                {"type": "text", "text": "Where is that, and how is the weather?"},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "It looks like Lima.", "signature": "c2ln"},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Lima"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "Grey."}]},
    ],
}
EVENTS: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5",
            "content": [],
            "usage": {"input_tokens": 5, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    *(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        for text in ("Lima, ", "and it is grey.")
    ),
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
]


def sse(events: list[dict[str, Any]]) -> bytes:
    return b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events)


def flow(asked: bytes | None = None, said: bytes | None = None, *, path: str = "/v1/messages") -> http.HTTPFlow:
    made = tflow.tflow(resp=True)
    body = json.dumps(ASKED).encode() if asked is None else asked
    made.request = http.Request.make(
        "POST", f"https://api.anthropic.com{path}", body, {"content-type": "application/json"}
    )
    made.response = http.Response.make(
        200, sse(EVENTS) if said is None else said, {"content-type": "text/event-stream"}
    )
    return made


def shown(view: contentviews.Contentview, of: http.HTTPFlow, *, reply: bool = False) -> str:
    message = of.response if reply else of.request
    assert message is not None
    metadata = contentviews.Metadata(flow=of, http_message=message)
    return view.prettify(message.content or b"", metadata)


def chosen(of: http.HTTPFlow, *, reply: bool = False) -> str:
    """The view that is shown first."""
    message = of.response if reply else of.request
    assert message is not None
    registry = contentviews.ContentviewRegistry()
    for view in (*contentviews.registry.values(), Conversation(), Reassembled()):
        registry.register(view)
    kind = message.headers["content-type"]
    metadata = contentviews.Metadata(flow=of, http_message=message, content_type=kind)
    return registry.get_view(message.content or b"", metadata).name


def test_a_request_is_shown_as_who_said_what() -> None:
    """The system's words, tools, pictures by type and size, thoughts, tool calls and their results, in order."""
    text = shown(Conversation(), flow())
    places = [
        text.index(expected)
        for expected in (
            "anthropic · chat · claude-sonnet-4-5",
            "tools: weather",
            "── system",
            "Be brief.",
            "── user",
            "image/png",
            "Where is that",
            "── assistant",
            "It looks like Lima.",
            "weather",
            '"city": "Lima"',
            "Grey.",
        )
        if expected != "weather"
    ]
    assert places == sorted(places), text
    assert "iVBORw0KGgoiVBORw0KGgo" not in text


def test_a_streamed_reply_is_shown_as_what_was_said() -> None:
    """And as the message that it amounts to, in its own format's JSON."""
    text = shown(Conversation(), flow(), reply=True)
    assert "── assistant · end" in text
    assert "Lima, and it is grey." in text
    assert "Be brief." not in text
    whole = shown(Reassembled(), flow(), reply=True)
    assert "Lima, and it is grey." in whole
    message = json.loads(whole[whole.index("\n{") :])
    assert message["type"] == "message"
    assert message["content"] == [{"type": "text", "text": "Lima, and it is grey."}]
    assert message["usage"]["output_tokens"] == 9


def test_long_lines_are_broken_where_that_is_soon_done() -> None:
    """mitmweb does not; those of a text of megabytes stay as they are."""
    words = "Because they must not be late. " * 50
    for view in (Conversation(), Reassembled()):
        text = shown(
            view,
            flow(said=sse([*EVENTS[:2], {**EVENTS[2], "delta": {"type": "text_delta", "text": words}}])),
            reply=True,
        )
        assert max(len(line) for line in text.split("\n{")[0].splitlines()) <= 80
    long = json.dumps({"messages": [{"role": "user", "content": words * 1000}]}).encode()
    assert words * 10 in shown(Conversation(), flow(asked=long))


def test_they_come_first_for_calls_that_are_known() -> None:
    """For others, and for what else there is at an AI host, mitmproxy's own views do; so does the console's."""
    assert chosen(flow()) == "Conversation"
    assert chosen(flow(), reply=True) == "Conversation"
    assert chosen(flow(path="/v1/files")) == "JSON"
    other = flow()
    other.request.host = "example.com"
    other.request.path = "/v1/weather"
    assert chosen(other) == "JSON"


def test_a_host_of_the_rules_is_known_by_the_record() -> None:
    """Whatever its name and path; without it, what is spoken there shows in the path's end alone."""
    made = flow()
    made.request.host, made.request.path = "house.test", "/llm/v1/messages"
    assert chosen(made) == "Conversation"
    made.request.path = "/ask"
    assert chosen(made) == "JSON"
    remarks.ours(made)["record"] = {"client_format": "anthropic", "endpoint": "chat"}
    assert chosen(made) == "Conversation"
    assert "Be brief." in shown(Conversation(), made)


def test_what_is_cut_or_broken_is_shown_as_far_as_it_goes() -> None:
    """With a note; a stream that ended early is no success."""
    text = shown(Conversation(), flow(said=sse(EVENTS[:3])), reply=True)
    assert "Lima, " in text
    assert "error" in text
    made = flow(said=sse(EVENTS[:3]))
    remarks.ours(made)["reply_cut"] = True
    text = shown(Conversation(), made, reply=True)
    assert "kept in part only" in text
    assert "── error" not in text
    assert "not JSON" in shown(Conversation(), flow(asked=b'{"messages": ['))


def test_an_answer_that_is_an_error_says_so() -> None:
    """In its own words."""
    made = flow(said=b'{"type": "error", "error": {"type": "overloaded_error", "message": "Too busy."}}')
    made.response.status_code = 529
    text = shown(Conversation(), made, reply=True)
    assert "529" in text
    assert "Too busy." in text


def test_a_long_stream_is_read_up_to_a_limit() -> None:
    """100,000 events: what is beyond is not read, and that is said."""
    body = sse(EVENTS[:2]) + sse([EVENTS[2]]) * 100_000
    for view in (Conversation(), Reassembled()):
        text = shown(view, flow(said=body), reply=True)
        assert "Lima, Lima, " in text
        assert f"read up to here, {len(readable(body)):,} of {len(body):,} bytes" in text


@pytest.mark.parametrize("reply", [False, True])
def test_a_body_of_too_much_is_not_read(reply: bool) -> None:
    """Of too many parts, too many values, too many bytes; a picture of 20 MB is."""
    many = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}] * MOST_PARTS}).encode()
    values = json.dumps([0.5] * MOST_VALUES * 2).encode()
    huge = b'{"a": "' + b"x" * (40 << 20) + b'"}'
    for body, why in ((many, "parts"), (values, "values"), (huge, "bytes"), (b"[" * MOST_PARTS * 2, "parts")):
        text = shown(Conversation(), flow(asked=body, said=body), reply=reply)
        assert re.fullmatch(rf"A body of [0-9,]+ {why} is too large to be read here; see it as .*Raw\.", text)
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgoA" * (20 << 20 >> 4)}
    picture = json.dumps({"messages": [{"role": "user", "content": [{"type": "image", "source": source}]}]}).encode()
    assert "image/png" in shown(Conversation(), flow(asked=picture))


@pytest.mark.parametrize("letter", [b"\n", b"data: {}\n\n", b"x", b"{", b"[1,", b"\xff\n"])
@pytest.mark.parametrize("size", [0, 1, 20 << 20])
def test_what_is_read_is_bounded(letter: bytes, size: int) -> None:
    """By bytes and by lines, wherever the body begins; of JSON all is read, or nothing."""
    body = (letter * (size // len(letter) + 1))[:size]
    read = readable(body)
    assert body.startswith(read)
    if is_json(body):
        assert read == body
        assert too_much(body) is not None or size < 2
    else:
        assert too_much(body) is None
        assert len(read) <= MOST_READ
        assert read.count(b"\n") <= MOST_LINES
        assert len(read) == size or len(read) == MOST_READ or read.count(b"\n") == MOST_LINES


def test_messages_of_a_session_are_left_to_other_views() -> None:
    """A WebSocket's messages are pieces of a conversation, and none by themselves."""
    session = tflow.twebsocketflow()
    metadata = contentviews.Metadata(flow=session, websocket_message=session.websocket.messages[0])
    for view in (Conversation(), Reassembled()):
        assert view.render_priority(b"{}", metadata) <= 0.01
        assert "no " in view.prettify(b"{}", metadata)
