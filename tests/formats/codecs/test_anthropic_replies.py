"""Replies for clients of Claude, whole and in streams, held to the SDK; streams from it, broken ones; errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import anthropic
import pytest
from tests.formats.codecs import anthropic_sdk, laws

from interpose.formats.codecs import CODECS, Asked, Client, Malformed
from interpose.formats.codecs.opaque import unpack
from interpose.ir import (
    Answer,
    Block,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Citation,
    Event,
    Failed,
    Finished,
    Foreign,
    Losses,
    Media,
    Opaque,
    Own,
    Ping,
    Refused,
    Reply,
    Request,
    Source,
    Started,
    Stop,
    Text,
    Thinking,
    Told,
    ToolCall,
    Usage,
    Used,
    events_of,
)
from interpose.wire.eventstream import EventStreamDecoder, encode_message

CODEC, BEDROCK = CODECS["anthropic"], CODECS["bedrock-anthropic"]
CLIENT = Client(Request("anthropic", "claude", []), "claude", "call-1", 0)


def reply(*blocks: Block, stop: Stop | None = None, usage: Usage | None = None, **more: Any) -> Reply:
    answer = Answer(list(blocks), stop or Stop("end"))
    return Reply("another", "id-1", "gpt", None, [answer], usage or Usage(10, None, None, 5), **more)


def whole(told: Reply) -> tuple[Any, list[tuple[str, str]]]:
    """As the SDK reads what was written, and the losses."""
    losses = Losses("reply")
    body = CODEC.write_reply(told, CLIENT, losses)
    return anthropic_sdk.message(json.dumps(body).encode()), [(loss.severity.value, loss.path) for loss in losses]


def streamed(events: Sequence[Event], losses: Losses | None = None) -> bytes:
    writer = CODEC.writer(CLIENT, Losses("reply") if losses is None else losses)
    return b"".join(writer.write([event]) for event in events) + writer.finish()


def events_in(data: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in data.split(b"\n") if line.startswith(b"data: ")]


def collected(data: bytes) -> Reply:
    return laws.collected(CODEC, laws.read_whole(CODEC, data)).reply


STATE = Opaque("gemini", "thought_signature", "sig")
REPLIES = [
    reply(Text("Hello")),
    reply(Text(""), ToolCall("c", "look", '{"a": 1}'), stop=Stop("tool_calls")),
    reply(Thinking("Hm", opaque=Opaque("anthropic", "signature", "c2ln")), Text("So")),
    reply(Thinking("", opaque=Opaque("anthropic", "redacted", "b3Bh")), Text("So")),
    reply(Thinking("Hm", opaque=Opaque("openai-responses", "encrypted", "e")), Text("So")),
    reply(Thinking("Hm"), Text("So")),
    reply(Text("a", opaque=STATE), ToolCall("", "look", "", opaque=STATE), stop=Stop("tool_calls")),
    reply(ToolCall("c", "sql", 'SELECT "x"', "custom"), stop=Stop("tool_calls")),
    reply(ToolCall("c", "look", "[1]"), ToolCall("d.e", "look", "no"), stop=Stop("tool_calls")),
    reply(Refused("I won't."), stop=Stop("refusal")),
    reply(Text("See", [Citation("https://a.test", "A", "quoted"), Citation(None, "B")])),
    reply(
        Foreign(
            "anthropic",
            "server_tool_use",
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}},
        )
    ),
    reply(Foreign("gemini", "executableCode", {}), Media("image", Source("base64", "AAAA")), Text("x")),
    reply(Text("cut"), stop=Stop("length"), usage=Usage(100, 60, 30, 7, 3)),
    reply(Text("x"), stop=Stop("stop", "END")),
    reply(Text("x"), stop=Stop("error", raw="MALFORMED_FUNCTION_CALL", format="gemini")),
    reply(Text("x"), stop=Stop("other", raw="odd", format="gemini"), own=Own("gemini", {"odd": 1})),
    Reply("another", answers=[Answer([Text("one")], Stop("end"), 0), Answer([Text("two")], Stop("end"), 1)]),
    Reply("another"),
]


@pytest.mark.parametrize("told", REPLIES)
def test_a_stream_says_what_the_whole_reply_says(told: Reply) -> None:
    """The SDK makes the same message of the stream as of the whole reply, and the same losses are told."""
    message, losses = whole(told)
    found = Losses("reply")
    data = streamed(list(events_of(told)), found)
    assert anthropic_sdk.accumulated(data) == message | {"stop_details": message.get("stop_details")}
    assert sorted((loss.severity.value, loss.path) for loss in found) == sorted(losses)
    read = CODEC.read_reply(CODEC.write_reply(told, CLIENT, Losses("reply")))
    again = collected(data)
    assert sum(len(answer.blocks) for answer in again.answers) == len(read.answers[0].blocks)
    assert again.usage == read.usage
    assert [answer.stop for answer in again.answers] == [answer.stop for answer in read.answers if told.answers]


def test_state_of_another_provider_travels_in_fields_that_clients_send_back() -> None:
    """Pitfall 15: as the signature of thinking, and in a redacted_thinking block behind any other; told as carried."""
    encrypted = Opaque("openai-responses", "encrypted", "e", "rs_1", "gpt")
    told = reply(Thinking("Hm", opaque=encrypted), ToolCall("a", "look", "{}", opaque=STATE))
    message, losses = whole(told)
    thinking, called, carrier = message["content"]
    assert unpack(thinking["signature"]) == encrypted
    assert called["type"] == "tool_use"
    assert unpack(carrier["data"]) == STATE
    assert losses == [("carried", "content[0].signature"), ("carried", "content[1]")]
    asked = {
        "model": "m",
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": message["content"]}],
    }
    blocks = CODEC.read_request(asked, Asked("/v1/messages")).messages[1].blocks
    assert [getattr(block, "opaque", None) for block in blocks] == [encrypted, STATE]


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        (Usage(100, 60, 30, 7), {"input_tokens": 10, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 30}),
        (Usage(50, 60, None, 7), {"input_tokens": 0, "cache_read_input_tokens": 60}),
        (Usage(50, None, None, 7), {"input_tokens": 50}),
        (Usage(0, 0, 0, 7), {"input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}),
    ],
)
def test_the_input_is_told_without_the_cache(usage: Usage, told: Any) -> None:
    """Pitfall 22: subtracted, never below 0; and added again when it is read."""
    body = CODEC.write_reply(reply(Text("x"), usage=usage), CLIENT, Losses())
    assert body["usage"] == {**told, "output_tokens": 7}
    again = CODEC.read_reply(body).usage
    assert again.input_tokens == max(usage.input_tokens or 0, usage.cache_read_tokens or 0)


def test_usage_that_comes_last_replaces_what_the_start_said() -> None:
    """Pitfalls 22 and 23: message_start has what is known, or 0; message_delta tells all of it, which replaces it."""
    data = streamed(
        [Started(), BlockStart(0, Text("x")), BlockEnd(0), Finished(Stop("end")), Used(Usage(9, 4, None, 2))]
    )
    start, *_, delta, _ = events_in(data)
    assert start["message"]["usage"] == {"input_tokens": 0, "output_tokens": 0}
    assert delta["usage"] == {"input_tokens": 5, "cache_read_input_tokens": 4, "output_tokens": 2}
    early = events_in(streamed([Started(usage=Usage(9)), Finished(Stop("end")), Used(Usage(None, None, None, 2))]))
    assert early[0]["message"]["usage"]["input_tokens"] == 9
    assert early[-2]["usage"] == {"input_tokens": 9, "output_tokens": 2}


def test_blocks_that_are_open_side_by_side_are_told_one_behind_the_other() -> None:
    """Pitfall 6: Chat's parallel calls; what is complete is sent at once, indexes leave no gap, an empty text none."""
    writer = CODEC.writer(CLIENT, Losses())
    writer.write([Started(), BlockStart(0, Text("")), BlockStart(1, ToolCall("a", "look", ""))])
    writer.write([BlockStart(2, ToolCall("b", "look", '{"x"')), BlockDelta(2, ":1}"), BlockDelta(1, '{"y"')])
    assert writer.write([BlockEnd(2)]) == b""
    first = events_in(writer.write([BlockEnd(0)]))
    assert [event["type"] for event in first] == ["content_block_start", "content_block_delta"]
    assert first[0]["index"] == 0
    assert events_in(writer.write([BlockDelta(1, ":2}")]))[0]["delta"]["partial_json"] == ":2}"
    rest = events_in(writer.write([BlockEnd(1)]))
    assert [event["index"] for event in rest] == [0, 1, 1, 1, 1]
    assert rest[-1]["type"] == "content_block_stop"
    assert writer.write([Finished(Stop("tool_calls"))]) + writer.finish() != b""


def test_a_thousand_calls_at_once_are_told() -> None:
    """However many blocks have waited, the end of the first tells them all."""
    calls: list[Event] = [BlockStart(index, ToolCall(f"c{index}", "look", "{}")) for index in range(5000)]
    ends: list[Event] = [BlockEnd(index) for index in reversed(range(5000))]
    message = anthropic_sdk.accumulated(streamed([Started(), *calls, *ends, Finished(Stop("tool_calls"))]))
    assert len(message["content"]) == 5000


def test_arguments_are_wrapped_as_they_come() -> None:
    """Pitfalls 6 and 8: free text, and what is no object, become one while they stream, whatever they hold."""
    events: list[Event] = [
        Started(),
        BlockStart(0, ToolCall("a", "sql", "", "custom")),
        *(BlockDelta(0, piece) for piece in ("SELECT ", '"x"\n', "\\é")),
        BlockEnd(0),
        BlockStart(1, ToolCall("b", "look", " ")),
        *(BlockDelta(1, piece) for piece in (" ", "[1,", "2]")),
        BlockEnd(1),
        BlockStart(2, ToolCall("c", "look", "")),
        BlockEnd(2),
        Finished(Stop("tool_calls")),
    ]
    losses = Losses("reply")
    inputs = [block["input"] for block in anthropic_sdk.accumulated(streamed(events, losses))["content"]]
    assert inputs == [{"input": 'SELECT "x"\n\\é'}, {"arguments": "  [1,2]"}, {}]
    assert [loss.path for loss in losses] == ["content[1].input"]


def test_a_signature_that_comes_late_is_told_at_the_end_of_its_block() -> None:
    """Clients keep one signature, the last; thinking without any has an empty one, which the SDK's type demands."""
    late = [
        Started(),
        BlockStart(0, Thinking()),
        BlockDelta(0, "Hm"),
        BlockDelta(0, opaque=Opaque("anthropic", "signature", "c2ln")),
        BlockEnd(0),
        BlockStart(1, Thinking("So")),
        BlockEnd(1),
        Finished(Stop("end")),
    ]
    content = anthropic_sdk.accumulated(streamed(late))["content"]
    assert content[0] == {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
    assert content[1] == {"type": "thinking", "thinking": "So", "signature": ""}


def test_a_failure_is_an_error_event_and_the_last() -> None:
    """Pitfall 25: no message_stop follows, whatever is written; the SDK raises."""
    writer = CODEC.writer(CLIENT, Losses())
    head = writer.write([Started(), BlockStart(0, Text("Hel"))])
    tail = writer.write([Failed("gone", 529, "overloaded_error"), BlockEnd(0), Finished(Stop("end"))])
    assert events_in(tail) == [
        {"type": "error", "error": {"type": "overloaded_error", "message": "gone"}, "request_id": None}
    ]
    assert writer.write([BlockDelta(0, "lo")]) + writer.finish() == b""
    with pytest.raises(anthropic.APIStatusError, match="gone"):
        anthropic_sdk.accumulated(head + tail)
    assert isinstance(laws.read_whole(CODEC, head + tail)[-1], Failed)


def test_pings_are_pings() -> None:
    """Pitfall 26: as Anthropic's own, and the SDK passes them by."""
    data = streamed([Started(), Ping(), BlockStart(0, Text("x")), BlockEnd(0), Finished(Stop("end"))])
    assert {"type": "ping"} in events_in(data)
    assert anthropic_sdk.accumulated(data)["content"][0]["text"] == "x"
    assert any(isinstance(event, Ping) for event in laws.read_whole(CODEC, data))


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", "end"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("stop_sequence", "stop"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "pause"),
        ("refusal", "refusal"),
        ("compaction", "pause"),
        ("brand_new", "other"),
    ],
)
def test_every_stop_reason_has_a_meaning_and_comes_back(word: str, reason: str) -> None:
    """Pitfall 24: by its reason for others, by its own word for itself."""
    body = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "stop_reason": word,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    told = laws.reply_returns(CODEC, body, CLIENT)
    assert told.answers[0].stop == Stop(reason, None, "anthropic", word)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stop", "word"),
    [
        (Stop("end"), "end_turn"),
        (Stop("stop"), "end_turn"),
        (Stop("stop", "END"), "stop_sequence"),
        (Stop("content_filter"), "refusal"),
        (Stop("error", raw="BAD"), "refusal"),
        (None, None),
    ],
)
def test_every_reason_has_a_word(stop: Stop | None, word: str | None) -> None:
    """Pitfall 24: a filter is a refusal; what went wrong is never a good end; what nobody told is not made up."""
    told = Reply("another", answers=[Answer([Text("x")], stop)])
    assert CODEC.write_reply(told, CLIENT, Losses())["stop_reason"] == word
    *_, delta, _ = events_in(streamed(list(events_of(told))))
    assert delta["delta"]["stop_reason"] == word


def test_the_client_sees_the_model_that_it_asked_for_and_one_id() -> None:
    """Pitfall 30: the client's name for the model, the provider's id, or one made of the call's, always the same."""
    body = CODEC.write_reply(reply(Text("x")), CLIENT, Losses())
    assert (body["model"], body["id"]) == ("claude", "id-1")
    made = CODEC.write_reply(Reply("another"), CLIENT, Losses())["id"]
    assert made.startswith("msg_")
    assert events_in(streamed([]))[0]["message"]["id"] == made


START = {
    "type": "message_start",
    "message": {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "c"},
}
TEXT = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
END = {"type": "content_block_stop", "index": 0}
LAST = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
STOP = {"type": "message_stop"}


def sse(*events: Any, newline: bytes = b"\n") -> bytes:
    lines = []
    for event in events:
        name = [b"event: " + event["type"].encode()] if "type" in event else []
        lines += [*name, b"data: " + json.dumps(event).encode(), b""]
    return newline.join([*lines, b""])


@pytest.mark.parametrize(
    "events",
    [
        [],
        [START],
        [START, TEXT, DELTA, END, LAST],
        [START, TEXT, DELTA, {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}],
        [{"type": "error", "error": {"type": "api_error", "message": "no"}}],
        [TEXT, DELTA, END, LAST, STOP],
        [STOP],
        [START, DELTA, STOP],
        [START, END, STOP],
        [START, TEXT, TEXT, STOP],
        [START, {**TEXT, "index": "0"}, STOP],
        [START, {**TEXT, "content_block": {"type": "tool_use", "id": 1, "name": "n"}}, STOP],
        [START, {**TEXT, "content_block": None}, STOP],
        [START, TEXT, {**DELTA, "delta": None}, STOP],
        [START, {"error": {"message": "busy"}}, STOP],
        [START, {"odd": 1}, STOP],
        [{"type": "message_start", "message": 1}, STOP],
    ],
)
def test_a_broken_stream_fails(events: list[Any]) -> None:
    """Pitfall 25: without a message_stop, out of order, or with an error inside, a stream ends in one Failed."""
    read = laws.every_split(CODEC, sse(*events))
    assert isinstance(read[-1], Failed)
    assert sum(isinstance(event, Failed) for event in read) == 1
    assert not any(isinstance(event, Finished) for event in read)


def test_an_error_in_mid_stream_keeps_its_type_and_status() -> None:
    """Pitfall 28: overloaded_error is 529, as it would have been before the stream began."""
    [*_, failed] = laws.read_whole(
        CODEC, sse(START, {"type": "error", "error": {"type": "overloaded_error", "message": "b"}})
    )
    assert failed == Failed("b", 529, "overloaded_error")


@pytest.mark.parametrize(
    "data",
    [
        b'data: {"type": "message_start"',
        b"data: not json\n\n",
        b"data: [1]\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'event: error\ndata: {"error": "plain"}\n\n',
        b'{"type": "error", "error": {"message": "a plain body"}}',
        b"\xff\xfe\n\n",
    ],
)
def test_what_is_no_stream_fails(data: bytes) -> None:
    """Hostile bytes: Failed, and no exception."""
    assert isinstance(laws.read_whole(CODEC, data)[-1], Failed)
    assert isinstance(laws.read_whole(BEDROCK, data)[-1], Failed)


def test_line_ends_separators_and_a_missing_last_line_are_read() -> None:
    """Pitfall 27: CRLF and CR, U+2028 within text, no blank line at the end, a gateway's [DONE]."""
    odd = {**DELTA, "delta": {"type": "text_delta", "text": "a\u2028b\U0001f600"}}
    events = [START, TEXT, odd, END, LAST, STOP]
    expected = laws.every_split(CODEC, sse(*events))
    assert collected(sse(*events)).answers[0].blocks == [Text("a\u2028b\U0001f600", at="content[0]")]
    for newline in (b"\r\n", b"\r"):
        assert laws.every_split(CODEC, sse(*events, newline=newline)) == expected
    assert laws.read_whole(CODEC, sse(*events).rstrip(b"\n")) == expected
    assert laws.read_whole(CODEC, sse(*events) + b"data: [DONE]\n\n") == expected


def test_a_gateways_slips_are_understood() -> None:
    """message_start said twice, a content_block_stop left out, the event's name alone, zeros for the input."""
    started = {**START, "message": {**START["message"], "usage": {"input_tokens": 9, "output_tokens": 1}}}  # type: ignore[dict-item]
    last = {**LAST, "usage": {"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 3}}
    told = collected(sse(started, started, TEXT, DELTA, last, STOP))
    assert told.answers[0].blocks == [Text("Hi", at="content[0]")]
    assert told.usage == Usage(9, None, None, 3)
    nameless = sse(started, TEXT, DELTA, END, LAST) + b"event: message_stop\ndata: {}\n\n"
    assert not isinstance(laws.read_whole(CODEC, nameless)[-1], Failed)


def test_what_is_not_known_is_told_and_comes_back() -> None:
    """An unknown event, block and delta: carried for Anthropic's own clients, a told loss for all others."""
    odd_block = {"type": "content_block_start", "index": 1, "content_block": {"type": "brand_new", "x": 1}}
    odd_delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "brand_delta", "y": 2}}
    odd_event = {"type": "brand_event", "z": 3}
    events = laws.read_whole(
        CODEC, sse(START, TEXT, DELTA, odd_delta, END, odd_block, {**END, "index": 1}, odd_event, LAST, STOP)
    )
    data = streamed(events)
    assert odd_event in events_in(data)
    assert {"type": "brand_new", "x": 1} in [event.get("content_block") for event in events_in(data)]
    losses = Losses("reply")
    told = laws.collected(CODEC, events).reply
    assert told.answers[0].blocks[0] == Text("Hi", at="content[0]", own=Own("anthropic", {"brand_delta": {"y": 2}}))
    losses.own(told.own, "", "openai-chat")
    assert [loss.path for loss in losses] == ["event:brand_event"]


def test_a_lone_surrogate_passes_through() -> None:
    """JSON may hold one, and so may an answer: it is written as it was read."""
    data = sse(START, TEXT, {**DELTA, "delta": {"type": "text_delta", "text": "\ud83d"}}, END, LAST, STOP)
    assert collected(streamed(laws.read_whole(CODEC, data))).answers[0].blocks == [Text("\ud83d", at="content[0]")]


def test_bedrocks_frames_carry_the_same_events() -> None:
    """Written for a client of InvokeModel: frames of base64, read back equal; an exception is a frame of its kind."""
    told = reply(Text("Hello"), ToolCall("a", "look", '{"x":1}'), stop=Stop("tool_calls"))
    writer = BEDROCK.writer(CLIENT, Losses())
    data = writer.write(events_of(told)) + writer.finish()
    assert laws.every_split(BEDROCK, data) == laws.read_whole(CODEC, streamed(list(events_of(told))))
    writer = BEDROCK.writer(CLIENT, Losses())
    broken = writer.write([Started(), Failed("slow down", 429, "rate_limit_error")]) + writer.finish()
    last = EventStreamDecoder().feed(broken)[-1]
    assert last.headers[":exception-type"] == "throttlingException"
    assert laws.read_whole(BEDROCK, broken)[-1] == Failed("slow down", 429, "throttlingException")
    unmodelled = encode_message({":message-type": "error", ":error-code": "Oops", ":error-message": "m"})
    assert laws.read_whole(BEDROCK, unmodelled)[-1] == Failed("m", 502, "Oops")


@pytest.mark.parametrize("body", [{}, {"type": "error", "error": {}}, {"type": "message"}, {"content": []}])
def test_what_is_no_reply_is_malformed(body: Any) -> None:
    """An error object with status 200, say."""
    with pytest.raises(Malformed):
        CODEC.read_reply(body)


def test_errors_are_read_whatever_their_shape() -> None:
    """Anthropic's, Bedrock's by its header, Google's in a list, and what is no JSON; retry-after-ms goes first."""
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"slow"},"request_id":"r"}'
    headers = {"retry-after": "7", "retry-after-ms": "1500"}
    assert CODEC.read_error(429, headers, body) == Failed("slow", 429, "rate_limit_error", retry_after=1.5)
    assert CODEC.read_error(429, {"retry-after": "7"}, body).retry_after == 7
    assert CODEC.read_error(429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, body).retry_after is None
    typed = {"x-amzn-errortype": "ThrottlingException:http://internal.amazon.com/"}
    assert BEDROCK.read_error(429, typed, b'{"message":"slow"}') == Failed("slow", 429, "ThrottlingException")
    google = b'[{"error":{"code":404,"message":"no model","status":"NOT_FOUND"}}]'
    assert CODECS["vertex-anthropic"].read_error(404, {}, google) == Failed("no model", 404, "NOT_FOUND")
    assert CODEC.read_error(502, {}, b"<html>bad</html>").message == "<html>bad</html>"
    assert CODEC.read_error(502, {}, b"").message == "The provider answered with status 502."
    assert len(CODEC.read_error(500, {}, b"x" * 10_000).message) == 1000


@pytest.mark.parametrize(
    ("failed", "kind", "raised"),
    [
        (Failed("m", 400), "invalid_request_error", anthropic.BadRequestError),
        (Failed("m", 401, "invalid_api_key"), "authentication_error", anthropic.AuthenticationError),
        (Failed("m", 404), "not_found_error", anthropic.NotFoundError),
        (Failed("m", 429, "insufficient_quota"), "rate_limit_error", anthropic.RateLimitError),
        (Failed("m", 500), "api_error", anthropic.InternalServerError),
        (Failed("m", 529, "overloaded_error"), "overloaded_error", anthropic.InternalServerError),
    ],
)
def test_errors_raise_in_the_sdk_what_they_would_raise(failed: Failed, kind: str, raised: type[Exception]) -> None:
    """Pitfall 28: Anthropic's own type is kept, any other's is told by the status, which its clients know as it is."""
    body = CODEC.write_error(failed)
    assert body["error"] == {"type": kind, "message": "m"}
    status = CODEC.status_for(failed.status)
    assert status == failed.status
    with (
        anthropic_sdk.client(json.dumps(body).encode(), status, "application/json") as sdk,
        pytest.raises(raised, match="m"),
    ):
        sdk.messages.create(**anthropic_sdk.ASKED)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "ValidationException"),
        (422, "ValidationException"),
        (429, "ThrottlingException"),
        (500, "InternalServerException"),
        (529, "ServiceUnavailableException"),
    ],
)
def test_errors_of_invoke_model_name_its_exception(status: int, kind: str) -> None:
    """In the body, where AWS' SDKs look when no header has it: else boto3 raises a ClientError of no kind."""
    assert BEDROCK.write_error(Failed("m", status, "some_error")) == {"message": "m", "__type": kind}
    assert BEDROCK.status_for(529) == 503


def test_what_another_format_tells_of_the_whole_is_a_loss() -> None:
    """At the start, on the way, and with the end of an answer."""
    losses = Losses("reply")
    streamed(
        [
            Started(own=Own("openai-chat", {"a": 1})),
            Told("openai-chat", {"b": 2}, silent={"c": 3}),
            Finished(Stop("end"), own=Own("openai-chat", {"d": 4})),
            BlockStart(0, Text("x"), 1),
            BlockDelta(0, "y", answer=1),
            BlockEnd(0, 1),
        ],
        losses,
    )
    assert [(loss.severity.value, loss.path) for loss in losses] == [
        ("dropped", "a"),
        ("dropped", "b"),
        ("dropped", "d"),
        ("dropped", "answers[1]"),
    ]
