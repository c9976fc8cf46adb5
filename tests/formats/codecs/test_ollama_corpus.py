"""Ollama's codec against every recording of it: nothing is lost, nothing is smuggled, no cut stream succeeds."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.formats.codecs import laws
from tests.formats.codecs.drawn import WRONG, broken, parted, places
from tests.formats.codecs.recordings import Recordings

from interpose.formats.codecs import CODECS, Asked, Client, Malformed, Target
from interpose.formats.codecs.ollama import CODEC
from interpose.ir import Assembler, Failed, Losses, Request, ToolCall

RECORDED = Recordings(("ollama", "responseonly_ollama"), ("", "/api/chat", "/api/generate"))
OTHERS = ("openai-chat", "openai-responses", "anthropic", "gemini", "mistral")


def client_for(model: str) -> Client:
    return Client(Request("ollama", model, []), model, "call-1", 1_700_000_000)


def collected(data: bytes) -> Assembler:
    return laws.collected(CODEC, laws.read_whole(CODEC, data))


def test_every_recorded_request_comes_back_equal() -> None:
    """Reading a request and writing it again gives an equal one at the same path, without a loss."""
    counted = 0
    for line in RECORDED.requests:
        request = laws.request_returns(CODEC, line.request, Asked(line.path))
        assert CODEC.write_request(request, Target(request.model), Losses()).path == line.path
        counted += 1
    assert counted >= 50


def test_every_recorded_reply_comes_back_equal() -> None:
    """Reading a whole reply and writing it again gives an equal one, and its events collected are the reply."""
    counted = 0
    for line in RECORDED.replies:
        reply = laws.reply_returns(CODEC, line.reply_json, client_for(line.reply_json["model"]))
        laws.collecting_returns(CODEC, reply)
        counted += 1
    assert counted >= 34


def joined(data: bytes) -> dict[str, Any]:
    """The reply that a stream amounts to, joined by hand: the last line, with what all of them say."""
    parts = [json.loads(line) for line in data.splitlines() if line.strip()]
    whole: dict[str, Any] = copy.deepcopy(parts[-1])
    if "response" in whole:
        whole["response"] = "".join(part["response"] for part in parts)
        return whole
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    for part in parts:
        for key, value in part["message"].items():
            message[key] = value if key == "role" else message.get(key, type(value)()) + value
    return {**whole, "message": message}


def test_a_collected_stream_is_the_reply_that_its_lines_amount_to() -> None:
    """Every field of it, usage, durations and all."""
    counted = 0
    for line, data in RECORDED.streams:
        assembler = collected(data)
        assert assembler.failure is None, (line.id, assembler.failure)
        expected = joined(data)
        losses = Losses("reply")
        laws.same(CODEC.write_reply(assembler.reply, client_for(expected["model"]), losses), expected, line.id)
        assert not list(losses), line.id
        counted += 1
    assert counted >= 28


def test_a_stream_written_from_a_stream_says_the_same() -> None:
    """Events written as a stream amount to the same reply, but for when each line was written, without a loss."""
    counted = 0
    for line, data in RECORDED.streams:
        events = laws.read_whole(CODEC, data)
        expected = joined(data)
        losses = Losses("reply")
        writer = CODEC.writer(client_for(expected["model"]), losses)
        again = joined(writer.write(events) + writer.finish())
        del again["created_at"], expected["created_at"]
        laws.same(again, expected, line.id)
        assert not list(losses), (line.id, list(losses))
        counted += 1
    assert counted >= 28


def bare(block: Any) -> tuple[Any, ...]:
    name = type(block).__name__
    return (name, block.name, json.loads(block.arguments)) if isinstance(block, ToolCall) else (name, block.text)


def test_streams_reach_clients_of_other_formats() -> None:
    """Through each other format's writer and reader: the same blocks, reason and usage, and no success of a cut one."""
    counted = 0
    for line, data in RECORDED.streams:
        for name in OTHERS:
            laws.reaches(CODEC, data, CODECS[name], bare, line.id)
            counted += 1
    assert counted >= 140


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


def test_a_stream_cut_before_its_last_line_never_succeeds() -> None:
    """Cut after any line but the last, a stream ends in Failed; in the middle of the last, too."""
    counted = 0
    for _, data in RECORDED.streams:
        ends = [0]
        while (end := data.find(b"\n", ends[-1]) + 1) and b'"done":true' not in data[ends[-1] : end]:
            ends.append(end)
        chosen = ends if len(ends) <= 60 else [*ends[:: len(ends) // 30], ends[-1]]
        laws.never_succeeds_cut(CODEC, data, [*chosen, ends[-1] + 20])
        counted += len(chosen)
    assert counted >= 600


# An option that the server does not know, and ignores.
LEFT_OVER = {"Request": {"options.think"}}


def test_what_is_left_over_is_a_stated_list() -> None:
    """Nothing that the neutral conversation has a place for rides along as Ollama's own."""
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
    assert counted >= 39


def test_every_recorded_error_is_read() -> None:
    """A message is all that it says."""
    counted = 0
    for line in RECORDED.lines:
        if line.ok:
            continue
        failed = CODEC.read_error(line.status, {}, line.reply_bytes())
        assert (failed.message, failed.status) == (line.reply_json["error"], line.status)
        counted += 1
    assert counted >= 1


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


@given(st.data(), WRONG)
def test_a_reply_with_wrong_types_is_malformed_or_comes_back(data: st.DataObject, value: Any) -> None:
    """A reply with anything at any place in it, too; and as a line of a stream it raises nothing."""
    whole = data.draw(
        st.sampled_from([line.reply_json for line in RECORDED.replies if len(line.reply_bytes()) < 4_000])
    )
    body = broken(whole, data.draw(st.sampled_from(list(places(whole)))), value)
    events = laws.read_whole(CODEC, json.dumps(body).encode() + b"\n")
    for name in ("ollama", *OTHERS):
        writer = CODECS[name].writer(Client(Request(name, "m", []), "m", "call-1", 5), Losses("reply"))
        writer.write(events)
        assert writer.finish() == b"" or not isinstance(events[-1], Failed)
    try:
        laws.reply_returns(CODEC, body, client_for(model if isinstance(model := body.get("model"), str) else ""))
    except Malformed:
        return


@given(st.binary(max_size=200))
def test_no_bytes_raise(data: bytes) -> None:
    """Whatever comes, a stream ends: in a line that is done, or in Failed."""
    events = laws.read_whole(CODEC, b'{"message":{"content":"a"},"done":false}\n' + data)
    assert isinstance(events[-1], Failed)
