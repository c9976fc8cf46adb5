"""Streams of the Responses codec: read, written, and as OpenAI's own client takes them. Numbers are pitfalls'."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from tests.formats.codecs import laws
from tests.formats.codecs.responses_made import SIGNATURE, answered, client

from interpose.formats.codecs.responses import CODEC
from interpose.ir import (
    Answer,
    Assembler,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Citation,
    Event,
    Failed,
    Finished,
    Losses,
    Opaque,
    Ping,
    Refused,
    Reply,
    Started,
    Stop,
    Text,
    Thinking,
    ToolCall,
    Usage,
    Used,
    events_of,
)

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
CUSTOM = {"model": "gpt-5", "input": "x", "tools": [{"type": "custom", "name": "shell"}]}


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def told(data: bytes) -> list[dict[str, Any]]:
    """The events of a stream, each of which is named by its type."""
    found = []
    for block in data.decode("utf-8", "surrogatepass").removesuffix("\n\n").split("\n\n"):
        if block.startswith(":"):
            continue
        name, _, rest = block.partition("\n")
        event = json.loads(rest.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


def stream(events: Iterable[Event], request: dict[str, Any] | None = None, *, finish: bool = True) -> bytes:
    writer = CODEC.writer(client(request), Losses("reply"))
    written = b"".join(writer.write([event]) for event in events)
    return written + (writer.finish() if finish else b"")


def pieces(reply: Reply, size: int = 3) -> Iterator[Event]:
    """The events of a reply with each text told in deltas."""
    yield Started(reply.id, reply.model, reply.created)
    for answer in reply.answers:
        for index, block in enumerate(answer.blocks):
            key = {Text: "text", Refused: "text", Thinking: "text", ToolCall: "arguments"}.get(type(block))
            if key is None:
                yield BlockStart(index, block)
                yield BlockEnd(index)
                continue
            begun, said = copy.deepcopy(block), getattr(block, key)
            setattr(begun, key, "")
            opaque, citations = getattr(block, "opaque", None), getattr(block, "citations", [])
            if opaque is not None and isinstance(begun, Thinking):
                begun.opaque = None
            if citations and isinstance(begun, Text):
                begun.citations = []
            yield BlockStart(index, begun)
            for at in range(0, len(said), size):
                yield BlockDelta(index, said[at : at + size])
            for citation in citations:
                yield BlockDelta(index, citation=citation)
            if opaque is not None and isinstance(begun, Thinking):
                yield BlockDelta(index, opaque=opaque)
            yield BlockEnd(index)
        if answer.stop is not None:
            yield Finished(answer.stop)
    yield Used(reply.usage)


def reply_of(*blocks: Any, reason: Any = "end") -> Reply:
    answer = Answer(list(blocks), Stop(reason))
    return Reply("anthropic", "msg_1", "claude", None, [answer], Usage(10, 2, 1, 5, 3))


def sdk_events(data: bytes) -> list[Any]:
    """What OpenAI's client makes of the bytes, with its helper that accumulates, and what it has accumulated."""
    transport = httpx.MockTransport(
        lambda request: httpx.Response(200, headers={"content-type": "text/event-stream"}, content=data)
    )
    with (
        openai.OpenAI(api_key="sk-FAKE", http_client=httpx.Client(transport=transport), max_retries=0) as sdk,
        sdk.responses.stream(model="gpt-5", input="x") as helper,
    ):
        return [*helper, helper.get_final_response()]


REPLIES = {
    "text": reply_of(Text("Hello, world.")),
    "nothing": reply_of(),
    "empty text": reply_of(Text("")),
    "everything": reply_of(*answered(), reason="tool_calls"),
    "cut": reply_of(Text("Hello"), reason="length"),
    "filtered": reply_of(Text("Hello"), reason="content_filter"),
    "refused": reply_of(Refused("I cannot."), reason="refusal"),
    "calls": reply_of(ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", ""), reason="tool_calls"),
    "custom": reply_of(ToolCall("a", "shell", '{"input":"ls"}'), ToolCall("b", "shell", "pwd", "custom")),
    "thoughts": reply_of(Thinking("Hm."), Thinking("Well.", opaque=SIGNATURE), Text("Yes.")),
    "state": reply_of(Text("A", opaque=Opaque("gemini", "thought_signature", "x")), Text("B"), ToolCall("", "f", "")),
    "cited": reply_of(Text("Rain.", citations=[Citation("https://e.org", "E"), Citation(quoted="q")]), Text("Sun.")),
    "odd": reply_of(Text("\u2028\r\n\ud800"), ToolCall("c", "f", "\ud800")),
}


@pytest.mark.parametrize("name", REPLIES)
@pytest.mark.parametrize("size", [0, 1, 4])
def test_a_stream_written_ends_in_what_the_whole_reply_is(name: str, size: int) -> None:
    """The last event brings the response that `write_reply` writes, whether told whole or in pieces."""
    reply = REPLIES[name]
    request = CUSTOM if name == "custom" else None
    events = pieces(copy.deepcopy(reply), size) if size else events_of(copy.deepcopy(reply))
    written = told(stream(events, request))
    whole = CODEC.write_reply(copy.deepcopy(reply), client(request), Losses("reply"))
    # A lone surrogate is escaped in the one and not in the other.
    laws.same(written[-1]["response"], json.loads(json.dumps(whole)))
    done = [event["item"] for event in written if event["type"] == "response.output_item.done"]
    assert done == written[-1]["response"]["output"]


@pytest.mark.parametrize("name", REPLIES)
def test_a_stream_keeps_the_order_of_its_events(name: str) -> None:
    """Created first, numbers without a gap, parts within their items, and the deltas are the text."""
    written = told(stream(pieces(copy.deepcopy(REPLIES[name])), CUSTOM if name == "custom" else None))
    assert [event["sequence_number"] for event in written] == list(range(len(written)))
    assert [event["type"] for event in written[:2]] == ["response.created", "response.in_progress"]
    assert written[-1]["type"] in ("response.completed", "response.incomplete")
    assert len({event["response"]["id"] for event in written if "response" in event}) == 1
    open_: dict[int, str] = {}
    said: dict[tuple[Any, ...], str] = {}
    for event in written[2:-1]:
        index = event["output_index"]
        if event["type"] == "response.output_item.added":
            assert index == len({*open_, *said}) or index not in open_
            open_[index] = event["item"]["id"]
        elif event["type"] == "response.output_item.done":
            assert open_.pop(index) == event["item"]["id"]
        else:
            assert event["item_id"] == open_[index]
            key = (index, event.get("content_index"), event.get("summary_index"))
            if event["type"].endswith(".delta"):
                said[key] = said.get(key, "") + event["delta"]
            elif event["type"].endswith("_text.done"):
                assert event["text"] == said.get(key, "")
            elif event["type"] == "response.function_call_arguments.done":
                assert event["arguments"] == said.get(key, "")
    assert not open_


@pytest.mark.parametrize("name", REPLIES)
def test_openais_types_hold_for_every_event(name: str) -> None:
    """Strictly: a stream, its responses and a whole reply are what the client's types say."""
    request = CUSTOM if name == "custom" else None
    for event in told(stream(pieces(copy.deepcopy(REPLIES[name])), request)):
        EVENT.validate_python(event, strict=True)
    whole = CODEC.write_reply(copy.deepcopy(REPLIES[name]), client(request), Losses("reply"))
    Response.model_validate(whole, strict=True)


@pytest.mark.parametrize("name", sorted({*REPLIES} - {"cut", "filtered"}))
def test_openais_client_accumulates_the_same(name: str) -> None:
    """Its helper, which raises at a changed id or a missing first or last event, ends in the same response."""
    data = stream(pieces(copy.deepcopy(REPLIES[name])), CUSTOM if name == "custom" else None)
    *events, final = sdk_events(data)
    assert [event.type for event in events] == [event["type"] for event in told(data)]
    expected = told(data)[-1]["response"]
    assert final.id == expected["id"]
    assert [item.id for item in final.output] == [item["id"] for item in expected["output"]]
    assert final.output_text == "".join(
        part["text"]
        for item in expected["output"]
        if item["type"] == "message"
        for part in item["content"]
        if part["type"] == "output_text"
    )
    assert final.usage.model_dump(exclude_none=True) == expected["usage"]


@pytest.mark.parametrize("name", REPLIES)
def test_what_was_written_is_read_again(name: str) -> None:
    """Written and read: the same blocks, stop and usage as the whole reply written and read."""
    request = CUSTOM if name == "custom" else None
    whole = CODEC.write_reply(copy.deepcopy(REPLIES[name]), client(request), Losses("reply"))
    found = laws.collected(CODEC, laws.read_whole(CODEC, stream(pieces(copy.deepcopy(REPLIES[name])), request)))
    assert found.failure is None
    assert found.reply == CODEC.read_reply(json.loads(json.dumps(whole)))


@pytest.mark.parametrize("name", sorted({*REPLIES} - {"nothing"}))
def test_every_split_gives_the_same_events(name: str) -> None:
    """27: whole, byte by byte, and parted at every byte."""
    data = stream(pieces(copy.deepcopy(REPLIES[name])), CUSTOM if name == "custom" else None)
    # The first and the last event are long and all alike.
    middle = data[data.index(b"event: response.output_item") : data.rindex(b"event: ")]
    if name in ("text", "calls", "odd"):
        laws.every_split(CODEC, middle)
    whole = laws.read_whole(CODEC, data)
    assert isinstance(whole[0], Started)
    for size in (1, 2, 3, 7, 64, 1000):
        assert laws.read_in_pieces(CODEC, (data[n : n + size] for n in range(0, len(data), size))) == whole


@pytest.mark.parametrize("name", REPLIES)
def test_a_stream_that_is_cut_never_succeeds(name: str) -> None:
    """25: at the end of every event but the last, and inside of that."""
    data = stream(pieces(copy.deepcopy(REPLIES[name])), CUSTOM if name == "custom" else None)
    ends = [at + 2 for at in range(len(data) - 2) if data[at : at + 2] == b"\n\n"]
    assert len(ends) >= 2
    laws.never_succeeds_cut(CODEC, data, [0, *ends[:-1], len(data) - 10])


def test_parallel_calls_may_be_open_side_by_side() -> None:
    """6: items are told as they come, each with its own place and id."""
    data = stream(
        [
            Started(),
            BlockStart(0, Text("")),
            BlockDelta(0, "I "),
            BlockStart(1, ToolCall("a", "f", "")),
            BlockStart(2, ToolCall("b", "g", "")),
            BlockDelta(2, '{"y"'),
            BlockDelta(1, '{"x"'),
            BlockDelta(0, "look."),
            BlockDelta(2, ":2}"),
            BlockDelta(1, ":1}"),
            BlockEnd(0),
            BlockEnd(2),
            BlockEnd(1),
            Finished(Stop("tool_calls")),
        ]
    )
    *_, final = sdk_events(data)
    assert final.output_text == "I look."
    assert [item.arguments for item in final.output[1:]] == ['{"x":1}', '{"y":2}']


def test_what_was_left_open_is_closed_at_the_end() -> None:
    """A provider that forgets its ends gets them."""
    *_, final = sdk_events(stream([Started(), BlockStart(0, Text("a")), BlockStart(1, ToolCall("c", "f", ""))]))
    assert [item.type for item in final.output] == ["message", "function_call"]


def test_a_failure_in_mid_stream_fails_the_response() -> None:
    """25: response.failed is the last event, with a code of the list that a strict client knows."""
    events = [Started(), BlockStart(0, Text("Hel")), Failed("gone", 529, "overloaded_error"), BlockDelta(0, "lo")]
    written = told(stream(events))
    assert written[-1]["type"] == "response.failed"
    response = written[-1]["response"]
    assert (response["status"], response["output"]) == ("failed", [])
    assert response["error"] == {"code": "server_error", "message": "gone"}
    for event in written:
        EVENT.validate_python(event, strict=True)
    (*_, last) = laws.read_whole(CODEC, stream(events))
    assert isinstance(last, Failed)
    assert last.message == "gone"


CODES = [(429, "rate_limit_exceeded"), (400, "invalid_prompt"), (502, "server_error")]


@pytest.mark.parametrize(("status", "code"), CODES)
def test_a_failures_status_chooses_its_code(status: int, code: str) -> None:
    """28: nothing but the list of codes is said."""
    written = told(stream([Started(), Failed("x", status, code="odd")]))
    assert written[-1]["response"]["error"]["code"] == code


def test_a_failure_before_anything_is_an_error_at_which_the_client_raises() -> None:
    """25: flat, as documented, and nested, for which the client looks."""
    data = stream([Failed("gone", 529, "overloaded_error")])
    (error,) = told(data)
    assert error["message"] == error["error"]["message"] == "gone"
    assert error["error"]["type"] == "overloaded_error"
    EVENT.validate_python(error, strict=True)
    with pytest.raises(openai.APIError, match="gone"):
        sdk_events(data)


def test_a_ping_is_a_comment() -> None:
    """26: OpenAI's client does not see it."""
    data = stream([Started(), Ping(), BlockStart(0, Text("Hi")), Ping(), BlockEnd(0)])
    assert data.count(b": ping\n\n") == 2
    *_, final = sdk_events(data)
    assert final.output_text == "Hi"


def test_usage_that_comes_early_and_late_is_overlaid() -> None:
    """22, 23: later values replace, they are never added."""
    events = [Started(usage=Usage(10, 4, 1)), Used(Usage(output_tokens=3)), Used(Usage(output_tokens=7))]
    usage = told(stream(events))[-1]["response"]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (10, 7, 17)
    assert usage["input_tokens_details"] == {"cached_tokens": 4, "cache_write_tokens": 1}


def test_a_second_answer_is_not_told() -> None:
    """19: a response is one answer."""
    writer = CODEC.writer(client(), losses := Losses("reply"))
    data = writer.write([Started(), BlockStart(0, Text("b"), 1), BlockDelta(0, "c", answer=1), BlockEnd(0, 1)])
    data += writer.finish()
    assert told(data)[-1]["response"]["output"] == []
    assert [loss.path for loss in losses] == ["answers[1]"]


# Streams of other servers, read


CREATED = {"type": "response.created", "response": {"id": "resp_1", "model": "gpt-5", "created_at": 1, "output": []}}
MESSAGE = {"type": "message", "id": "m", "status": "completed", "role": "assistant"}


def completed(*output: Any, **more: Any) -> dict[str, Any]:
    response = {"id": "resp_1", "status": "completed", "output": [*output], **more}
    return {"type": "response.completed", "response": response}


def message(said: str, **more: Any) -> dict[str, Any]:
    return {**MESSAGE, "content": [{"type": "output_text", "text": said, "annotations": [], **more}]}


def collected(*events: dict[str, Any]) -> Assembler:
    return laws.collected(CODEC, laws.read_whole(CODEC, sse(*events)))


def test_a_final_done_is_taken_and_completes_nothing() -> None:
    """27: Open Responses ends in [DONE]; without the terminal event before it, the stream was cut."""
    done = b"data: [DONE]\n\n"
    assert laws.collected(CODEC, laws.read_whole(CODEC, sse(CREATED, completed(message("Hi"))) + done)).failure is None
    assert laws.collected(CODEC, laws.read_whole(CODEC, sse(CREATED) + done)).failure is not None


@pytest.mark.parametrize(
    "events",
    [
        (completed(message("Hi")),),
        (CREATED, completed(message("Hi"))),
        (CREATED, {"type": "response.output_item.done", "output_index": 0, "item": message("Hi")}, completed()),
        (
            CREATED,
            {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "m", "delta": "H"},
            completed(message("Hi")),
        ),
        (
            CREATED,
            {"type": "response.output_item.added", "output_index": 0, "item": {**MESSAGE, "content": []}},
            {"type": "response.output_text.delta", "output_index": 0, "content_index": 1, "delta": "Hi"},
            {"type": "response.output_text.delta", "output_index": 0, "content_index": 1, "delta": ""},
            {"type": "keepalive"},
            {"type": "response.new_thing.delta", "delta": "x"},
            completed(message("Hi")),
        ),
    ],
)
def test_a_server_that_leaves_events_out_is_understood(events: tuple[dict[str, Any], ...]) -> None:
    """What deltas did not bring, the done events bring, or the response at the end."""
    found = collected(*events)
    assert found.failure is None
    expected = CODEC.read_reply({"output": [message("Hi")], "status": "completed"})
    assert found.reply.answers[0].blocks == expected.answers[0].blocks


def test_annotations_come_as_they_are_told_and_once() -> None:
    """A citation of an event of its own is not told again by what the part is at last."""
    note = {"type": "url_citation", "url": "https://e.org", "title": "E", "start_index": 0, "end_index": 2}
    part = {"type": "output_text", "text": "Hi", "annotations": [note, {**note, "title": "F"}]}
    where = {"output_index": 0, "content_index": 0, "item_id": "m"}
    found = collected(
        CREATED,
        {"type": "response.output_item.added", "output_index": 0, "item": {**MESSAGE, "content": []}},
        {"type": "response.output_text.delta", **where, "delta": "Hi"},
        {"type": "response.output_text.annotation.added", **where, "annotation_index": 0, "annotation": note},
        {"type": "response.content_part.done", **where, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": {**MESSAGE, "content": [part]}},
        completed({**MESSAGE, "content": [part]}),
    )
    (block,) = found.reply.answers[0].blocks
    assert isinstance(block, Text)
    assert [(citation.url, citation.title) for citation in block.citations] == [
        ("https://e.org", "E"),
        ("https://e.org", "F"),
    ]


def test_padding_is_dropped() -> None:
    """`obfuscation` only hides lengths on the wire."""
    delta = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "m", "delta": "Hi"}
    plain, padded = (sse(CREATED, {**delta, **more}) for more in ({}, {"obfuscation": "xyz"}))
    assert laws.read_whole(CODEC, plain) == laws.read_whole(CODEC, padded)


@pytest.mark.parametrize(
    ("events", "message", "status"),
    [
        ([{"type": "error", "code": "rate_limit_exceeded", "message": "slow", "param": None}], "slow", 429),
        ([{"type": "error", "error": {"code": "x", "message": "nested"}}], "nested", 502),
        ([{"type": "error"}], "the response failed, and no reason was given", 502),
        ([{"type": "error", "error": 5}], "the response failed, and no reason was given", 502),
        (
            [{"type": "response.failed", "response": {"error": {"code": "server_error", "message": "m"}}}],
            "m",
            500,
        ),
        ([{"type": "response.failed", "response": None}], "the response failed, and no reason was given", 502),
        ([{"type": "response.failed", "response": {"error": {"code": "invalid_image", "message": "m"}}}], "m", 400),
        ([{"type": "response.cancelled", "response": {}}], "the response was cancelled", 499),
        ([{"type": "response.completed"}], "response.completed came without its response", 502),
        ([{"type": "keepalive", "error": {"message": "odd"}}], "odd", 502),
    ],
)
def test_failures_are_read_in_every_shape(events: list[dict[str, Any]], message: str, status: int) -> None:
    """25: flat and nested error events, a failed and a cancelled response; nothing follows them."""
    found = laws.read_whole(CODEC, sse(CREATED, *events, completed()))
    last = found[-1]
    assert isinstance(last, Failed)
    assert (last.message, last.status) == (message, status)


def test_what_is_not_json_ends_the_stream() -> None:
    """It is said to be so."""
    (*_, last) = laws.read_whole(CODEC, sse(CREATED) + b"data: {broken\n\n" + sse(completed()))
    assert isinstance(last, Failed)
    assert "not JSON" in last.message


def test_framing_of_every_kind_is_read() -> None:
    """27: CR, CRLF, comments, a separator of lines within text, no last blank line."""
    data = sse(CREATED, completed(message("a\u2028b")))
    expected = laws.read_whole(CODEC, data)
    for other in (data.replace(b"\n", b"\r\n"), data.replace(b"\n", b"\r"), b": hello\n\n" + data, data[:-2]):
        assert laws.read_whole(CODEC, other) == expected


ODD = st.sampled_from([None, True, 0, -1, 10**30, 1.5, "", "x", [], [1], {}, {"type": 1}, {"type": "message"}, [{}]])
KEYS = st.sampled_from(
    ["item", "part", "delta", "output_index", "content_index", "summary_index", "response", "annotation", "item_id"]
)
KINDS = st.sampled_from(
    [
        "response.created",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.added",
        "response.content_part.done",
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.output_text.annotation.added",
        "response.failed",
        "response.incomplete",
        "error",
        "",
    ]
)
SOUND = st.sampled_from(
    [
        {"output_index": 0, "content_index": 0, "delta": "x"},
        {"output_index": 0, "summary_index": 0, "delta": "x"},
        {"output_index": 1, "item": {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}},
        {"output_index": 0, "item": {"type": "reasoning", "summary": [], "encrypted_content": "x"}},
        {"output_index": 0, "item": {"type": "message", "role": "assistant", "content": []}},
        {"output_index": 0, "content_index": 0, "part": {"type": "output_text", "text": "xy", "annotations": [{}]}},
        {"output_index": 0, "content_index": 0, "annotation": {"type": "url_citation", "url": 5}},
    ]
)


@given(st.lists(st.tuples(KINDS, SOUND, st.dictionaries(KEYS, ODD, max_size=2)), max_size=8))
def test_hostile_events_never_raise(drawn: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> None:
    """Wrong types everywhere, in any order: events, and at last Failed unless a terminal event came."""
    data = b"".join(f"data: {json.dumps({'type': kind, **sound, **odd})}\n\n".encode() for kind, sound, odd in drawn)
    events = laws.read_whole(CODEC, data)
    assert isinstance(events[-1], Failed | Finished)
    assert laws.read_in_pieces(CODEC, (data[at : at + 5] for at in range(0, len(data), 5))) == events
    writer = CODEC.writer(client(), Losses("reply"))
    writer.write(events)
    assert (writer.finish() == b"") is isinstance(events[-1], Failed)


def test_a_huge_event_ends_the_stream() -> None:
    """Memory is bounded: an event has a largest size, beyond which the stream has failed."""
    reader = CODEC.reader()
    chunk = b"x" * (1 << 20)
    events: list[Event] = reader.feed(b"data: ")
    for _ in range(40):
        events += reader.feed(chunk)
    assert [type(event) for event in events] == [Failed]
    assert reader.close() == []
