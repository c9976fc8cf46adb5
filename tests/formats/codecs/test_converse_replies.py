"""Replies for clients of Bedrock, whole and in streams, held to botocore; streams from it, broken ones; errors."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

import pytest
from tests.formats.codecs import converse_sdk, laws

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
    ToolResult,
    Usage,
    Used,
    events_of,
)
from interpose.wire.eventstream import EventStreamDecoder, encode_message

CODEC = CODECS["bedrock-converse"]
CLIENT = Client(Request("bedrock-converse", "claude", []), "claude", "call-1", 0)
CONTENT = "output.message.content"


def reply(*blocks: Block, stop: Stop | None = None, usage: Usage | None = None, **more: Any) -> Reply:
    answer = Answer(list(blocks), stop or Stop("end"))
    return Reply("another", "id-1", "gpt", None, [answer], usage or Usage(10, None, None, 5), **more)


def whole(told: Reply) -> tuple[Any, list[tuple[str, str]]]:
    """As botocore reads what was written, and the losses."""
    losses = Losses("reply")
    body = CODEC.write_reply(told, CLIENT, losses)
    return converse_sdk.parsed(body), [(loss.severity.value, loss.path) for loss in losses]


def streamed(events: Sequence[Event], losses: Losses | None = None) -> bytes:
    writer = CODEC.writer(CLIENT, Losses("reply") if losses is None else losses)
    return b"".join(writer.write([event]) for event in events) + writer.finish()


def frames(*events: tuple[str, Any]) -> bytes:
    return b"".join(
        encode_message({":event-type": name, ":message-type": "event"}, json.dumps(node).encode())
        for name, node in events
    )


def collected(data: bytes) -> Reply:
    return laws.collected(CODEC, laws.read_whole(CODEC, data)).reply


STATE = Opaque("gemini", "thought_signature", "sig")
REPLIES = [
    reply(Text("Hello")),
    reply(Text(""), ToolCall("c", "look", '{"a": 1}'), stop=Stop("tool_calls")),
    reply(Thinking("Hm", opaque=Opaque("bedrock-converse", "signature", "c2ln")), Text("So")),
    reply(Thinking("", opaque=Opaque("bedrock-converse", "redacted", "b3Bh")), Text("So")),
    reply(Thinking("Hm", opaque=Opaque("openai-responses", "encrypted", "e")), Text("So")),
    reply(Thinking("", opaque=Opaque("openai-responses", "encrypted", "e")), Text("So")),
    reply(Thinking("Hm"), Text("So")),
    reply(Text("a", opaque=STATE), ToolCall("", "look", "", opaque=STATE), stop=Stop("tool_calls")),
    reply(ToolCall("c", "sql", 'SELECT "x"', "custom"), stop=Stop("tool_calls")),
    reply(ToolCall("c", "look", "[1]"), ToolCall("d|e", "look", "no"), stop=Stop("tool_calls")),
    reply(Refused("I won't."), stop=Stop("refusal")),
    reply(Text("See", [Citation("https://a.test", "A", "quoted"), Citation(None, "B")])),
    reply(
        Foreign(
            "bedrock-converse",
            "toolUse",
            {"toolUse": {"toolUseId": "s", "name": "grounding", "input": {"q": 1}, "type": "server_tool_use"}},
        ),
        Foreign(
            "bedrock-converse",
            "toolResult",
            {"toolResult": {"toolUseId": "s", "content": [{"text": "a"}], "type": "grounding_result"}},
        ),
    ),
    reply(Media("image", Source("base64", "AAAA"), "image/png"), Text("x")),
    reply(Foreign("gemini", "executableCode", {}), Media("audio", Source("base64", "AAAA")), Text("x")),
    reply(ToolResult("a", [Text("x")]), Text("x")),
    reply(Text("cut"), stop=Stop("length"), usage=Usage(100, 60, 30, 7, 3)),
    reply(Text("x"), stop=Stop("stop", "END")),
    reply(Text("x"), stop=Stop("error", raw="MALFORMED_FUNCTION_CALL", format="gemini")),
    reply(Text("x"), stop=Stop("other", raw="odd", format="gemini"), own=Own("gemini", {"odd": 1})),
    Reply("another", answers=[Answer([Text("one")], Stop("end"), 0), Answer([Text("two")], Stop("end"), 1)]),
    Reply("another"),
]


@pytest.mark.parametrize("told", REPLIES)
def test_a_stream_says_what_the_whole_reply_says(told: Reply) -> None:
    """botocore reads the same in the stream as in the whole reply, and the same losses are told."""
    message, losses = whole(told)
    found = Losses("reply")
    data = streamed(list(events_of(told)), found)
    # Text and what it cites are one block in a stream, in whatever order they come.
    laws.same(converse_sdk.accumulated(data), json.loads(json.dumps(message, default=wire)))
    assert sorted((loss.severity.value, loss.path) for loss in found) == sorted(losses)
    read = CODEC.read_reply(CODEC.write_reply(told, CLIENT, Losses("reply")))
    again = collected(data)
    assert [type(block) for answer in again.answers for block in answer.blocks] == [
        type(block) for block in read.answers[0].blocks
    ]
    assert again.usage == read.usage
    assert again.answers[0].stop == read.answers[0].stop


def wire(value: bytes) -> str:
    return str(converse_sdk.wire(value))


def test_state_of_another_provider_travels_in_fields_that_clients_send_back() -> None:
    """Pitfall 15: as the signature of reasoning, and as redacted reasoning behind any other; told as carried."""
    encrypted = Opaque("openai-responses", "encrypted", "e", "rs_1", "gpt")
    told = reply(Thinking("", opaque=encrypted), Text("a"), ToolCall("a", "look", "{}", opaque=STATE))
    message, losses = whole(told)
    content = message["output"]["message"]["content"]
    assert unpack(content[0]["reasoningContent"]["reasoningText"]["signature"]) == encrypted
    assert unpack(content[3]["reasoningContent"]["redactedContent"].decode()) == STATE
    assert losses == [("carried", f"{CONTENT}[0]"), ("carried", f"{CONTENT}[2]")]
    said = json.loads(json.dumps(content, default=wire))
    asked = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}, {"role": "assistant", "content": said}]}
    converse_sdk.validate(asked)
    blocks = CODEC.read_request(asked, Asked("/model/m/converse")).messages[1].blocks
    assert [getattr(block, "opaque", None) for block in blocks] == [encrypted, None, STATE]


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        (
            Usage(100, 60, 30, 7),
            {"inputTokens": 10, "cacheReadInputTokens": 60, "cacheWriteInputTokens": 30, "totalTokens": 107},
        ),
        (Usage(50, 60, None, 7), {"inputTokens": 0, "cacheReadInputTokens": 60, "totalTokens": 67}),
        (Usage(50, None, None, 7), {"inputTokens": 50, "totalTokens": 57}),
        (
            Usage(0, 0, 0, 7),
            {"inputTokens": 0, "cacheReadInputTokens": 0, "cacheWriteInputTokens": 0, "totalTokens": 7},
        ),
    ],
)
def test_the_input_is_told_without_the_cache(usage: Usage, told: Any) -> None:
    """Pitfall 22: subtracted, never below 0; and added again when it is read; the total is all of it."""
    body = CODEC.write_reply(reply(Text("x"), usage=usage), CLIENT, Losses())
    assert body["usage"] == {**told, "outputTokens": 7}
    again = CODEC.read_reply(body).usage
    assert again.input_tokens == max(usage.input_tokens or 0, usage.cache_read_tokens or 0)


def test_usage_stands_behind_the_stop() -> None:
    """Pitfalls 22 and 23: Converse tells it last, so that what came last is told, and nothing is estimated."""
    data = streamed(
        [
            Started(usage=Usage(3)),
            BlockStart(0, Text("x")),
            Used(Usage(8)),
            BlockEnd(0),
            Finished(Stop("end")),
            Used(Usage(9, 4, None, 2)),
        ]
    )
    *_, stop, metadata = converse_sdk.events(data)
    assert stop == {"messageStop": {"stopReason": "end_turn"}}
    usage = {"inputTokens": 5, "cacheReadInputTokens": 4, "outputTokens": 2, "totalTokens": 11}
    assert metadata == {"metadata": {"usage": usage, "metrics": {"latencyMs": 0}}}


def test_blocks_that_are_open_side_by_side_are_told_one_behind_the_other() -> None:
    """Pitfall 6: Chat's parallel calls; what is complete is sent at once, indexes leave no gap, an empty text none."""
    writer = CODEC.writer(CLIENT, Losses())
    writer.write([Started(), BlockStart(0, Text("")), BlockStart(1, ToolCall("a", "look", ""))])
    writer.write([BlockStart(2, ToolCall("b", "look", '{"x"')), BlockDelta(2, ":1}"), BlockDelta(1, '{"y"')])
    assert writer.write([BlockEnd(2)]) == b""
    first = EventStreamDecoder().feed(writer.write([BlockEnd(0)]))
    assert [message.headers[":event-type"] for message in first] == ["contentBlockStart", "contentBlockDelta"]
    assert b'":2}"' in writer.write([BlockDelta(1, ":2}")])
    rest = [json.loads(message.payload) for message in EventStreamDecoder().feed(writer.write([BlockEnd(1)]))]
    assert [event["contentBlockIndex"] for event in rest] == [0, 1, 1, 1, 1]
    assert writer.write([Finished(Stop("tool_calls"))]) + writer.finish() != b""


def test_a_thousand_calls_at_once_are_told() -> None:
    """However many blocks have waited, the end of the first tells them all."""
    calls: list[Event] = [BlockStart(index, ToolCall(f"c{index}", "look", "{}")) for index in range(5000)]
    ends: list[Event] = [BlockEnd(index) for index in reversed(range(5000))]
    told = converse_sdk.accumulated(streamed([Started(), *calls, *ends, Finished(Stop("tool_calls"))]))
    assert len(told["output"]["message"]["content"]) == 5000


def test_a_block_left_open_is_ended() -> None:
    """The end of the stream ends the block that is open, and those that have waited."""
    data = streamed(
        [Started(), BlockStart(0, Text("a")), BlockStart(1, ToolCall("c", "look", "")), Finished(Stop("end"))]
    )
    names = [next(iter(event)) for event in converse_sdk.events(data)]
    assert names.count("contentBlockStop") == 2


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
    content = converse_sdk.accumulated(streamed(events, losses))["output"]["message"]["content"]
    inputs = [block["toolUse"]["input"] for block in content]
    assert inputs == [{"input": 'SELECT "x"\n\\é'}, {"arguments": "  [1,2]"}, {}]
    assert [loss.path for loss in losses] == [f"{CONTENT}[1]"]


def test_a_failure_is_an_exception_and_the_last() -> None:
    """Pitfall 25: nothing follows, whatever is written; botocore raises; 529 is what its clients know (pitfall 28)."""
    writer = CODEC.writer(CLIENT, Losses())
    head = writer.write([Started(), BlockStart(0, Text("Hel"))])
    tail = writer.write([Failed("gone", 529, "overloaded_error"), BlockEnd(0), Finished(Stop("end"))])
    assert writer.write([BlockDelta(0, "lo")]) + writer.finish() == b""
    with pytest.raises(converse_sdk.EventStreamError, match=r"serviceUnavailableException.*gone"):
        converse_sdk.events(head + tail)
    assert laws.read_whole(CODEC, head + tail)[-1] == Failed("gone", 503, "serviceUnavailableException")


@pytest.mark.parametrize(
    ("failed", "kind"),
    [
        (Failed("m", 400), "validationException"),
        (Failed("m", 401), "validationException"),
        (Failed("m", 408), "internalServerException"),
        (Failed("m", 424, "modelStreamErrorException"), "modelStreamErrorException"),
        (Failed("m", 429, "rate_limit_error"), "throttlingException"),
        (Failed("m", 500), "internalServerException"),
        (Failed("m", 502), "serviceUnavailableException"),
        (Failed("m", 504), "serviceUnavailableException"),
        (Failed("m", 500, "modelTimeoutException"), "internalServerException"),
    ],
)
def test_exceptions_in_a_stream_are_those_that_the_service_has(failed: Failed, kind: str) -> None:
    """Pitfall 28: ConverseStream has five kinds, and no modelTimeoutException; its own word is kept."""
    members = converse_sdk.operation("ConverseStream").output_shape.members["stream"].members
    assert kind in members
    with pytest.raises(converse_sdk.EventStreamError) as raised:
        converse_sdk.events(streamed([failed]))
    assert raised.value.response["Error"] == {"Code": kind, "Message": "m"}


def test_pings_are_nothing() -> None:
    """Pitfall 26: an event stream of Bedrock's has none."""
    told: list[Event] = [Started(), BlockStart(0, Text("x")), BlockEnd(0), Finished(Stop("end"))]
    assert streamed([*told[:1], Ping(), *told[1:]]) == streamed(told)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", "end"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("stop_sequence", "stop"),
        ("tool_use", "tool_calls"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("malformed_model_output", "error"),
        ("malformed_tool_use", "error"),
        ("brand_new", "other"),
    ],
)
def test_every_stop_reason_has_a_meaning_and_comes_back(word: str, reason: str) -> None:
    """Pitfall 24: by its reason for others, by its own word for itself; those of the service's model are all known."""
    body = {"output": {"message": {"role": "assistant", "content": []}}, "stopReason": word}
    told = laws.reply_returns(CODEC, body, CLIENT)
    assert told.answers[0].stop == Stop(reason, None, "bedrock-converse", word)  # type: ignore[arg-type]
    known = converse_sdk.operation("Converse").output_shape.members["stopReason"].enum
    assert (word in known) is (reason != "other")


@pytest.mark.parametrize(
    ("stop", "word", "severities"),
    [
        (Stop("end"), "end_turn", []),
        (Stop("stop"), "end_turn", []),
        (Stop("stop", "END"), "stop_sequence", []),
        (Stop("content_filter"), "content_filtered", []),
        (Stop("refusal"), "content_filtered", ["approximated"]),
        (Stop("error", raw="BAD"), "malformed_model_output", ["approximated"]),
        (None, "end_turn", ["synthesised"]),
    ],
)
def test_every_reason_has_a_word(stop: Stop | None, word: str, severities: list[str]) -> None:
    """Pitfall 24: what went wrong is never a good end; where nobody told a reason, that is told."""
    told = Reply("another", answers=[Answer([Text("x")], stop)])
    losses = Losses("reply")
    assert CODEC.write_reply(told, CLIENT, losses)["stopReason"] == word
    assert [loss.severity for loss in losses] == severities
    assert converse_sdk.accumulated(streamed(list(events_of(told))))["stopReason"] == word


BEGIN = ("messageStart", {"role": "assistant", "p": "abcd"})
TEXT = ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi"}, "p": "ab"})
END = ("contentBlockStop", {"contentBlockIndex": 0, "p": "abcdefg"})
STOP = ("messageStop", {"stopReason": "end_turn", "p": "a"})
METADATA = (
    "metadata",
    {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}, "metrics": {"latencyMs": 4}, "p": "abc"},
)
CALL = ("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "a", "name": "b"}}})


def delta(value: Any, index: Any = 0) -> tuple[str, Any]:
    return ("contentBlockDelta", {"contentBlockIndex": index, "delta": value})


def test_a_stream_is_read_as_the_whole_reply() -> None:
    """Without its padding, under every split; text begins without a start."""
    data = frames(BEGIN, TEXT, END, STOP, METADATA)
    laws.every_split(CODEC, data)
    assert collected(data) == CODEC.read_reply(
        {
            "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3},
            "metrics": {"latencyMs": 4},
        }
    )


@pytest.mark.parametrize(
    "events",
    [
        [],
        [BEGIN],
        [BEGIN, TEXT, END, STOP],
        [BEGIN, TEXT, END, METADATA],
        [TEXT, END, STOP, METADATA],
        [STOP, METADATA],
        [BEGIN, BEGIN, STOP, METADATA],
        [BEGIN, TEXT, END, TEXT, STOP, METADATA],
        [BEGIN, TEXT, END, END, STOP, METADATA],
        [BEGIN, TEXT, END, STOP, STOP, METADATA],
        [BEGIN, STOP, TEXT, METADATA],
        [BEGIN, CALL, CALL, STOP, METADATA],
        [BEGIN, TEXT, CALL, STOP, METADATA],
        [BEGIN, delta({"text": 1}), STOP, METADATA],
        [BEGIN, delta({"text": "a"}, "0"), STOP, METADATA],
        [BEGIN, delta({"text": "a"}, True), STOP, METADATA],
        [BEGIN, delta({}), STOP, METADATA],
        [BEGIN, delta(None), STOP, METADATA],
        [BEGIN, delta({"citation": 1}), STOP, METADATA],
        [BEGIN, delta({"reasoningContent": 1}), STOP, METADATA],
        [BEGIN, delta({"reasoningContent": {"odd": 1}}), STOP, METADATA],
        [BEGIN, CALL, delta({"toolUse": {"input": {}}}), STOP, METADATA],
        [BEGIN, delta({"toolUse": {"input": "{}"}}), STOP, METADATA],
        [BEGIN, ("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"name": "b"}}}), STOP, METADATA],
        [BEGIN, ("contentBlockStart", {"contentBlockIndex": 0}), STOP, METADATA],
        [BEGIN, ("messageStop", {}), METADATA],
        [("messageStart", {"role": "user"}), STOP, METADATA],
    ],
)
def test_a_broken_stream_fails(events: list[Any]) -> None:
    """Pitfall 25: without metadata behind messageStop, out of order, or wrong inside, a stream ends in one Failed."""
    read = laws.every_split(CODEC, frames(*events))
    assert isinstance(read[-1], Failed)
    assert sum(isinstance(event, Failed) for event in read) == 1
    assert not any(isinstance(event, Finished) for event in read)


def test_an_exception_in_mid_stream_keeps_its_type_and_status() -> None:
    """Pitfall 28: with the status that it would have had before the stream began; what no model describes is told."""
    exception = {":message-type": "exception", ":exception-type": "throttlingException"}
    broken = frames(BEGIN, TEXT) + encode_message(exception, b'{"message":"slow down"}')
    assert laws.every_split(CODEC, broken)[-1] == Failed("slow down", 429, "throttlingException")
    upstream = {":message-type": "exception", ":exception-type": "brandNewException"}
    data = encode_message(upstream, b'{"message":"no","originalStatusCode":418}')
    assert laws.read_whole(CODEC, data) == [Failed("no", 418, "brandNewException")]
    assert laws.read_whole(CODEC, encode_message(upstream, b"no json")) == [
        Failed("brandNewException", 502, "brandNewException")
    ]
    unmodelled = encode_message({":message-type": "error", ":error-code": "Oops", ":error-message": "m"})
    assert laws.read_whole(CODEC, unmodelled)[-1] == Failed("m", 502, "Oops")


@pytest.mark.parametrize(
    "data",
    [
        b"data: {}\n\n",
        b'{"message": "a plain body"}',
        b"\x00" * 64,
        frames(BEGIN)[:-1] + b"\x00",
        encode_message({":event-type": "messageStart", ":message-type": "event"}, b"[1]"),
        encode_message({":event-type": "messageStart", ":message-type": "event"}, b"[" * 100_000),
        encode_message({}, b"{}"),
    ],
)
def test_what_is_no_stream_fails(data: bytes) -> None:
    """Hostile bytes: Failed, and no exception."""
    assert isinstance(laws.read_whole(CODEC, data)[-1], Failed)


def test_slips_of_the_stream_are_understood() -> None:
    """A contentBlockStop left out, a block of nothing, arguments of nothing, redacted reasoning in pieces."""
    told = collected(
        frames(
            BEGIN,
            CALL,
            ("contentBlockStop", {"contentBlockIndex": 1}),
            delta({"reasoningContent": {"redactedContent": "b3Bh"}}, 2),
            delta({"reasoningContent": {"redactedContent": "cXU="}}, 2),
            delta({"reasoningContent": {"signature": "c2ln"}}, 3),
            delta({"reasoningContent": {"text": "Hm"}}, 4),
            delta({"reasoningContent": {"signature": ""}}, 4),
            STOP,
            METADATA,
        )
    )
    ours = Opaque("bedrock-converse", "redacted", "b3BhcXU=")
    signed = Opaque("bedrock-converse", "signature", "c2ln")
    blocks = told.answers[0].blocks
    shown = [(type(one), getattr(one, "text", None), getattr(one, "opaque", None)) for one in blocks]
    assert sorted(shown, key=str) == sorted(
        [
            (ToolCall, None, None),
            (Text, "", None),
            (Thinking, "", ours),
            (Thinking, "", signed),
            (Thinking, "Hm", None),
        ],
        key=str,
    )
    assert next(block.arguments for block in blocks if isinstance(block, ToolCall)) == "{}"


def test_reasoning_and_text_under_one_index_are_two_blocks() -> None:
    """The service's examples give each its own; nothing is lost where a model does not."""
    data = frames(
        BEGIN,
        delta({"reasoningContent": {"text": "Hm"}}),
        delta({"reasoningContent": {"redactedContent": "b3Bh"}}),
        TEXT,
        END,
        delta({"text": "!"}, 1),
        STOP,
        METADATA,
    )
    laws.every_split(CODEC, data)
    thinking, hidden, text, last = collected(data).answers[0].blocks
    assert (thinking, text) == (Thinking("Hm", at=f"{CONTENT}[0]"), Text("Hi", at=f"{CONTENT}[2]"))
    assert isinstance(hidden, Thinking)
    assert hidden.opaque == Opaque("bedrock-converse", "redacted", "b3Bh")
    assert last == Text("!", at=f"{CONTENT}[3]")


def test_an_image_in_a_stream_is_the_image_of_the_whole_reply() -> None:
    """It begins with its format, and its bytes come in a delta."""
    start = ("contentBlockStart", {"contentBlockIndex": 0, "start": {"image": {"format": "png"}}})
    data = frames(BEGIN, start, delta({"image": {"source": {"bytes": "AAAA"}}}), END, STOP, METADATA)
    [block] = collected(data).answers[0].blocks
    assert block == Media("image", Source("base64", "AAAA"), "image/png", at=f"{CONTENT}[0]")
    assert collected(streamed(laws.read_whole(CODEC, data))).answers[0].blocks == [block]


def test_what_is_not_known_is_told_and_comes_back() -> None:
    """An unknown event, block and delta: carried for Bedrock's own clients, a told loss for all others."""
    odd_start = ("contentBlockStart", {"contentBlockIndex": 1, "start": {"brandNew": {"x": 1}}})
    odd_delta = delta({"brandDelta": {"y": 2}})
    odd_event = ("brandEvent", {"z": 3})
    data = frames(
        BEGIN,
        TEXT,
        odd_delta,
        END,
        odd_start,
        ("contentBlockStop", {"contentBlockIndex": 1}),
        odd_event,
        STOP,
        METADATA,
    )
    events = laws.read_whole(CODEC, data)
    written = streamed(copy.deepcopy(events))
    sent = [(m.headers[":event-type"], json.loads(m.payload)) for m in EventStreamDecoder().feed(written)]
    assert odd_event in sent
    assert odd_delta in sent
    losses = Losses("reply")
    told = laws.collected(CODEC, events).reply
    assert Foreign("bedrock-converse", "brandNew", {"brandNew": {"x": 1}}, at=f"{CONTENT}[1]") in told.answers[0].blocks
    losses.own(told.own, "", "openai-chat")
    assert [loss.path for loss in losses] == ["event:contentBlockDelta", "event:brandEvent"]


def test_a_lone_surrogate_passes_through() -> None:
    """JSON may hold one, and so may an answer: it is written as it was read."""
    data = frames(BEGIN, delta({"text": "\ud83d"}), END, STOP, METADATA)
    assert collected(streamed(laws.read_whole(CODEC, data))).answers[0].blocks == [Text("\ud83d", at=f"{CONTENT}[0]")]


@pytest.mark.parametrize("body", [{}, {"message": "no"}, {"output": {}}, {"output": {"message": {}}}, {"output": 1}])
def test_what_is_no_reply_is_malformed(body: Any) -> None:
    """An error object with status 200, say."""
    with pytest.raises(Malformed):
        CODEC.read_reply(body)


def test_errors_are_read_whatever_their_shape() -> None:
    """By the header, by the body's own word, and what is no JSON; retry-after is read."""
    typed = {"x-amzn-errortype": "ThrottlingException:http://internal.amazon.com/", "retry-after": "7"}
    failed = CODEC.read_error(429, typed, b'{"message":"slow"}')
    assert failed == Failed("slow", 429, "ThrottlingException", retry_after=7)
    body = b'{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"no"}'
    assert CODEC.read_error(403, {}, body) == Failed("no", 403, "AccessDeniedException")
    assert CODEC.read_error(502, {}, b"<html>bad</html>") == Failed("<html>bad</html>", 502)
    assert CODEC.read_error(502, {}, b"[]").type is None
    assert len(CODEC.read_error(500, {}, b"x" * 10_000).message) == 1000


@pytest.mark.parametrize(
    ("failed", "kind"),
    [
        (Failed("m", 400, "invalid_request_error"), "ValidationException"),
        (Failed("m", 401), "UnrecognizedClientException"),
        (Failed("m", 403), "AccessDeniedException"),
        (Failed("m", 404, "model_not_found"), "ResourceNotFoundException"),
        (Failed("m", 413), "ValidationException"),
        (Failed("m", 429, "insufficient_quota"), "ThrottlingException"),
        (Failed("m", 429, "ModelNotReadyException"), "ModelNotReadyException"),
        (Failed("m", 500), "InternalServerException"),
        (Failed("m", 501), "InternalServerException"),
        (Failed("m", 504), "ModelTimeoutException"),
        (Failed("m", 529, "overloaded_error"), "ServiceUnavailableException"),
    ],
)
def test_errors_raise_in_botocore_what_they_would_raise(failed: Failed, kind: str) -> None:
    """Pitfall 28: Bedrock's own word is kept, any other's is told by the status; 529 is 503 to its clients."""
    status = CODEC.status_for(failed.status)
    assert status == (503 if failed.status == 529 else failed.status)
    with pytest.raises(converse_sdk.ClientError) as raised:
        converse_sdk.parsed(CODEC.write_error(failed), status)
    assert raised.value.response["Error"] == {"Code": kind, "Message": "m"}
    modelled = getattr(converse_sdk.client().exceptions, kind, None) if kind in MODELLED else None
    assert modelled is None or isinstance(raised.value, modelled)


MODELLED = frozenset(shape.name for shape in converse_sdk.operation("Converse").error_shapes)


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
