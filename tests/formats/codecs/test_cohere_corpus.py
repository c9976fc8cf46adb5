"""Cohere's codec against every recording of it: nothing is lost, nothing is smuggled, no cut stream succeeds."""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.corpus import lines
from tests.formats.codecs import laws
from tests.formats.codecs.drawn import WRONG, broken, parted, places
from tests.formats.codecs.recordings import Recordings

from interpose.formats.codecs import CODECS, Asked, Client, Malformed, Target
from interpose.formats.codecs.cohere import CODEC
from interpose.ir import Assembler, Failed, Losses, Request, ToolCall

FAMILIES = ("cohere_chat", "responseonly_cohere_chat")
RECORDED = Recordings(FAMILIES, ("", "/v2/chat"))
OTHERS = ("openai-chat", "openai-responses", "anthropic", "gemini", "mistral", "ollama")


def client_for(model: str) -> Client:
    return Client(Request("cohere", model, []), model, "call-1", 1_700_000_000)


def collected(data: bytes) -> Assembler:
    return laws.collected(CODEC, laws.read_whole(CODEC, data))


def test_every_recorded_request_comes_back_equal() -> None:
    """Reading a request and writing it again gives an equal one at the same path, without a loss."""
    counted = 0
    for line in RECORDED.requests:
        request = laws.request_returns(CODEC, line.request, Asked(line.path))
        assert CODEC.write_request(request, Target(request.model), Losses()).path == line.path
        counted += 1
    assert counted >= 97


def test_requests_of_the_first_version_come_back_equal() -> None:
    """By their path or by their shape; what was only a history of texts can be asked of any format."""
    counted = elsewhere = 0
    for line in (line for family in FAMILIES for line in lines(family) if line.path == "/v1/chat"):
        request = laws.request_returns(CODEC, line.request, Asked(line.path))
        laws.request_returns(CODEC, line.request, Asked())
        losses = Losses()
        CODECS["openai-chat"].write_request(request, Target("m"), losses)
        elsewhere += not losses.impossibilities
        counted += 1
    assert counted >= 20
    # Raw prompts, and connectors.
    assert elsewhere >= 16


def test_every_recorded_reply_comes_back_equal() -> None:
    """Reading a whole reply and writing it again gives an equal one, and its events collected are the reply."""
    counted = 0
    for line in RECORDED.replies:
        reply = laws.reply_returns(CODEC, line.reply_json, client_for("m"))
        laws.collecting_returns(CODEC, reply)
        counted += 1
    assert counted >= 75


def joined(data: bytes) -> dict[str, Any]:
    """The reply that a stream amounts to, joined by hand as the SDK's types have it: events, each named."""
    reply: dict[str, Any] = {}
    message: dict[str, Any] = {}
    contents: dict[int, dict[str, Any]] = {}
    calls: dict[int, dict[str, Any]] = {}
    for line in data.split(b"\n"):
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        told, kind = event.get("delta", {}).get("message", {}), event["type"]
        if kind == "message-start":
            reply["id"], message["role"] = event["id"], told["role"]
        elif kind == "content-start":
            contents[event["index"]] = told["content"]
        elif kind == "content-delta":
            for key, text in told["content"].items():
                contents[event["index"]][key] += text
        elif kind == "tool-plan-delta":
            message["tool_plan"] = message.get("tool_plan", "") + told["tool_plan"]
        elif kind == "tool-call-start":
            calls[event["index"]] = told["tool_calls"]
        elif kind == "tool-call-delta":
            calls[event["index"]]["function"]["arguments"] += told["tool_calls"]["function"]["arguments"]
        elif kind == "citation-start":
            message.setdefault("citations", []).append(told["citations"])
        elif kind == "message-end":
            reply.update(event["delta"])
    if contents:
        message["content"] = list(contents.values())
    if calls:
        message["tool_calls"] = list(calls.values())
    return {**reply, "message": message}


def test_a_collected_stream_is_the_reply_that_its_events_amount_to() -> None:
    """Every field of it, usage, plan, citations and all."""
    counted = 0
    for line, data in RECORDED.streams:
        assembler = collected(data)
        assert assembler.failure is None, (line.id, assembler.failure)
        losses = Losses("reply")
        laws.same(CODEC.write_reply(assembler.reply, client_for("m"), losses), joined(data), line.id)
        assert not list(losses), line.id
        counted += 1
    assert counted >= 28


def test_a_stream_written_from_a_stream_says_the_same() -> None:
    """Events written as a stream amount to the same reply, and are read as the same events, without a loss."""
    counted = 0
    for line, data in RECORDED.streams:
        events = laws.read_whole(CODEC, data)
        losses = Losses("reply")
        writer = CODEC.writer(client_for("m"), losses)
        again = writer.write(events) + writer.finish()
        laws.same(joined(again), joined(data), line.id)
        assert laws.read_whole(CODEC, again) == events
        assert not list(losses), (line.id, list(losses))
        counted += 1
    assert counted >= 28


def bare(block: Any) -> tuple[Any, ...]:
    name = type(block).__name__
    if isinstance(block, ToolCall):
        return (name, block.name, json.loads(block.arguments or "{}"))
    return (name, block.text)


def test_streams_reach_clients_of_other_formats() -> None:
    """Through each other format's writer and reader: the same blocks, reason and usage, and no success of a cut one."""
    counted = 0
    for line, data in RECORDED.streams:
        for name in OTHERS:
            laws.reaches(CODEC, data, CODECS[name], bare, line.id)
            counted += 1
    assert counted >= 168


def test_every_byte_split_of_small_streams_gives_the_same_events() -> None:
    """Whole, byte by byte, and parted at every byte: the same events."""
    small = sorted((data for _, data in RECORDED.streams), key=len)[:6]
    for data in small:
        laws.every_split(CODEC, data[-3_000:])
    assert len(small) == 6


@given(st.data())
def test_any_split_of_any_stream_gives_the_same_events(data: st.DataObject) -> None:
    """Wherever the bytes are parted."""
    stream = RECORDED.streams[data.draw(st.integers(0, len(RECORDED.streams) - 1))][1]
    assert laws.read_in_pieces(CODEC, parted(data, stream)) == laws.read_whole(CODEC, stream)


def test_a_stream_cut_before_its_last_event_never_succeeds() -> None:
    """Cut after any event but `message-end`, a stream ends in Failed; in the middle of that one, too."""
    counted = 0
    for _, data in RECORDED.streams:
        ends = [0]
        last = data.index(b"event: message-end")
        while (end := data.find(b"\n\n", ends[-1]) + 2) <= last:
            ends.append(end)
        laws.never_succeeds_cut(CODEC, data, [*ends, last + 60])
        counted += len(ends)
    assert counted >= 1500


def test_done_alone_is_no_end() -> None:
    """A stream whose `message-end` is missing was cut off, whatever its transport says."""
    counted = 0
    for _, data in RECORDED.streams:
        last = data.index(b"event: message-end")
        assert isinstance(laws.read_whole(CODEC, data[:last] + b"data: [DONE]\n\n")[-1], Failed)
        counted += 1
    assert counted >= 28


# A citation is where in Cohere's words it stands, and on what it rests; nobody else counts so.
LEFT_OVER = {"Citation": {"content_index", "end", "sources", "start", "text", "type"}}


def test_what_is_left_over_is_a_stated_list() -> None:
    """Nothing that the neutral conversation has a place for rides along as Cohere's own."""
    found: dict[str, set[str]] = {}
    for line in RECORDED.requests:
        laws.left_over(CODEC.read_request(copy.deepcopy(line.request), Asked(line.path)), found)
    for line in RECORDED.replies:
        laws.left_over(CODEC.read_reply(copy.deepcopy(line.reply_json)), found)
    for _, data in RECORDED.streams:
        laws.left_over(collected(data).reply, found)
    assert {node: names for node, names in found.items() if names} == LEFT_OVER


def test_longer_conversations_are_written_as_continuations() -> None:
    """Law 2: the messages written for a conversation's beginning stay the same when it goes on."""
    counted = 0
    for line in RECORDED.requests:
        messages = line.request.get("messages", [])
        for size in range(1, len(messages)):
            beginning, whole = (laws.as_from_elsewhere(CODEC, said) for said in (messages[:size], messages))
            assert laws.is_prefix(beginning, whole), (line.id, size)
            counted += 1
    assert counted >= 70


def test_every_recorded_error_is_read() -> None:
    """Its message, and what it is where that is said."""
    counted = 0
    for line in RECORDED.lines:
        if line.ok:
            continue
        failed = CODEC.read_error(line.status, {}, line.reply_bytes())
        assert (failed.message, failed.status) == (line.reply_json["message"], line.status)
        assert failed.type == line.reply_json.get("error_type")
        counted += 1
    assert counted >= 2


@given(st.data(), WRONG)
def test_wrong_types_anywhere_come_back_or_are_malformed(data: st.DataObject, value: Any) -> None:
    """A request with anything at any place in it is written back equal, or refused by its path."""
    small = [(line.path, line.request) for line in RECORDED.requests if len(line.request_bytes()) < 4_000]
    path, whole = data.draw(st.sampled_from(small))
    # The model that is written is the target's: an empty name is written by nobody.
    body = broken(whole, data.draw(st.sampled_from([at for at in places(whole) if at != ("model",)])), value)
    try:
        request = laws.request_returns(CODEC, body, Asked(path))
    except Malformed:
        return
    for name in OTHERS:
        CODECS[name].write_request(request, Target("m"), Losses())


def framed(event: Any) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"


@given(st.data(), WRONG)
def test_a_reply_with_wrong_types_is_malformed_or_comes_back(data: st.DataObject, value: Any) -> None:
    """A reply with anything at any place in it, too; and as a line of a stream it raises nothing."""
    whole = data.draw(
        st.sampled_from([line.reply_json for line in RECORDED.replies if len(line.reply_bytes()) < 4_000])
    )
    body = broken(whole, data.draw(st.sampled_from(list(places(whole)))), value)
    events = laws.read_whole(CODEC, framed(body))
    for name in ("cohere", *OTHERS):
        writer = CODECS[name].writer(Client(Request(name, "m", []), "m", "call-1", 5), Losses("reply"))
        writer.write(events)
        assert writer.finish() == b"" or not isinstance(events[-1], Failed)
    try:
        laws.reply_returns(CODEC, body, client_for("m"))
    except Malformed:
        return


@cache
def recorded_events() -> list[list[Any]]:
    """The events of small streams, parsed."""
    small = sorted((data for _, data in RECORDED.streams), key=len)[:12]
    return [[json.loads(line[6:]) for line in data.split(b"\n") if line.startswith(b"data: {")] for data in small]


@given(st.data(), WRONG)
def test_a_stream_with_wrong_types_never_raises(data: st.DataObject, value: Any) -> None:
    """An event with anything at any place in it is told in every format, or ends the stream in Failed."""
    whole = data.draw(st.sampled_from(recorded_events()))
    events = broken(whole, data.draw(st.sampled_from([path for path in places(whole) if len(path) > 1])), value)
    read = laws.read_whole(CODEC, b"".join(framed(event) for event in events))
    laws.collected(CODEC, read)
    for name in ("cohere", *OTHERS):
        writer = CODECS[name].writer(Client(Request(name, "m", []), "m", "call-1", 5), Losses("reply"))
        writer.write(read)
        assert writer.finish() == b"" or not isinstance(read[-1], Failed)


@given(st.binary(max_size=200))
def test_no_bytes_raise(data: bytes) -> None:
    """Whatever comes, a stream without `message-end` ends in Failed."""
    assert isinstance(laws.read_whole(CODEC, b"data: " + data)[-1], Failed)
