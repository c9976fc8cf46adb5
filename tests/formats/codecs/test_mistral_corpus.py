"""Mistral's codec against every recording of it: nothing is lost, nothing is smuggled, no cut stream succeeds."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.formats.codecs import laws
from tests.formats.codecs.drawn import WRONG, broken, parted, places
from tests.formats.codecs.recordings import Recordings

from interpose.formats.codecs import Asked, Client, Malformed
from interpose.formats.codecs.mistral import CODEC
from interpose.ir import Assembler, Failed, Losses, Request, Text, Thinking, ToolCall

RECORDED = Recordings(("mistral_chat", "responseonly_mistral_chat"))


def client_for(model: str) -> Client:
    return Client(Request("mistral", model, []), model, "call-1", 1_700_000_000)


def collected(data: bytes) -> Assembler:
    return laws.collected(CODEC, laws.read_whole(CODEC, data))


def test_every_recorded_request_comes_back_equal() -> None:
    """Reading a request and writing it again gives an equal one, without a loss."""
    counted = 0
    for line in RECORDED.requests:
        laws.request_returns(CODEC, line.request, Asked(line.path))
        counted += 1
    assert counted >= 221


def test_every_recorded_reply_comes_back_equal() -> None:
    """Reading a whole reply and writing it again gives an equal one, and its events collected are the reply."""
    counted = 0
    for line in RECORDED.replies:
        reply = laws.reply_returns(CODEC, line.reply_json, client_for(line.reply_json["model"]))
        laws.collecting_returns(CODEC, reply)
        counted += 1
    assert counted >= 146


@dataclasses.dataclass
class Said:
    """One answer of a stream, joined by hand from its chunks as recorded."""

    text: str = ""
    thought: str = ""
    calls: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    reason: str | None = None


def said_in(data: bytes) -> tuple[dict[int, Said], Any]:
    """What each answer says, and the usage that is told."""
    answers: dict[int, Said] = {}
    usage = None
    for raw in data.split(b"\n"):
        if not raw.startswith(b"data: {"):
            continue
        chunk = json.loads(raw[6:])
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            said = answers.setdefault(choice["index"], Said())
            delta = choice["delta"]
            content = delta.get("content") or ""
            for piece in [{"type": "text", "text": content}] if isinstance(content, str) else content:
                if piece["type"] == "text":
                    said.text += piece["text"]
                else:
                    said.thought += "".join(inner["text"] for inner in piece["thinking"])
            said.calls += [
                (call["id"], call["function"]["name"], call["function"]["arguments"])
                for call in delta.get("tool_calls") or ()
            ]
            said.reason = choice.get("finish_reason") or said.reason
    return answers, usage


def test_a_collected_stream_holds_what_its_chunks_say() -> None:
    """Text, thinking, calls, finish reason and usage are those of the chunks joined by hand."""
    counted = 0
    for line, data in RECORDED.streams:
        assembler = collected(data)
        assert assembler.failure is None, (line.id, assembler.failure)
        answers, usage = said_in(data)
        assert [answer.index for answer in assembler.reply.answers] == sorted(answers), line.id
        for answer in assembler.reply.answers:
            expected, blocks = answers[answer.index], answer.blocks
            assert "".join(block.text for block in blocks if isinstance(block, Text)) == expected.text, line.id
            assert "".join(block.text for block in blocks if isinstance(block, Thinking)) == expected.thought, line.id
            found = [(call.id, call.name, call.arguments) for call in blocks if isinstance(call, ToolCall)]
            assert found == expected.calls, line.id
            assert answer.stop is not None
            assert answer.stop.raw == expected.reason, line.id
        if usage is not None:
            assert assembler.reply.usage.input_tokens == usage["prompt_tokens"]
            assert assembler.reply.usage.output_tokens == usage["completion_tokens"]
        counted += 1
    assert counted >= 81


def test_a_stream_written_from_a_stream_reads_the_same() -> None:
    """Events written as a stream and read again give the same blocks, stops and usage, without a loss."""
    counted = 0
    for line, data in RECORDED.streams:
        events = laws.read_whole(CODEC, data)
        first = laws.collected(CODEC, events).reply
        losses = Losses("reply")
        writer = CODEC.writer(client_for(first.model), losses)
        again = collected(writer.write(events) + writer.finish())
        assert again.failure is None, line.id
        for one, other in zip(again.reply.answers, first.answers, strict=True):
            assert [bare(block) for block in one.blocks] == [bare(block) for block in other.blocks], line.id
            assert one.stop == other.stop, line.id
        if first.usage:
            assert again.reply.usage == first.usage, line.id
        assert not list(losses), (line.id, list(losses))
        counted += 1
    assert counted >= 81


def bare(block: Any) -> tuple[Any, ...]:
    name = type(block).__name__
    return (name, block.id, block.name, block.arguments) if isinstance(block, ToolCall) else (name, block.text)


def test_every_byte_split_of_small_streams_gives_the_same_events() -> None:
    """Whole, byte by byte, and parted at every byte: the same events."""
    small = sorted((data for _, data in RECORDED.streams if len(data) <= 4_000), key=len)[-6:]
    for data in small:
        laws.every_split(CODEC, data)
    assert len(small) == 6


@given(st.data())
def test_any_split_of_any_stream_gives_the_same_events(data: st.DataObject) -> None:
    """Wherever the bytes are parted."""
    stream = RECORDED.streams[data.draw(st.integers(0, len(RECORDED.streams) - 1))][1]
    assert laws.read_in_pieces(CODEC, parted(data, stream)) == laws.read_whole(CODEC, stream)


def test_a_stream_cut_before_its_finish_reason_never_succeeds() -> None:
    """Cut after any event before the one with the finish reason, a stream ends in Failed."""
    counted = 0
    for _, recording in RECORDED.streams:
        data = recording.replace(b"\r\n", b"\n")
        ends, position = [0], 0
        for event in data.split(b"\n\n"):
            if b'"finish_reason":"' in event:
                break
            position += len(event) + 2
            ends.append(position)
        chosen = ends if len(ends) <= 40 else [*ends[:: len(ends) // 20], ends[-1]]
        laws.never_succeeds_cut(CODEC, data, chosen)
        counted += len(chosen)
    assert counted >= 520


def test_what_is_left_over_is_a_stated_list() -> None:
    """Nothing that the neutral conversation has a place for rides along as Mistral's own."""
    found: dict[str, set[str]] = {}
    for line in RECORDED.requests:
        laws.left_over(CODEC.read_request(copy.deepcopy(line.request), Asked()), found)
    for line in RECORDED.replies:
        laws.left_over(CODEC.read_reply(copy.deepcopy(line.reply_json)), found)
    for _, data in RECORDED.streams:
        laws.left_over(collected(data).reply, found)
    assert {node: names for node, names in found.items() if names} == LEFT_OVER


# Sound is counted in seconds, too, and how much of the prompt is sound has no place elsewhere.
LEFT_OVER = {"Reply": {"usage.prompt_audio_seconds", "usage.prompt_tokens_details.audio_tokens"}}


def test_longer_conversations_are_written_as_continuations() -> None:
    """Law 2: the messages written for a conversation's beginning stay the same when it goes on."""
    counted = 0
    for line in RECORDED.requests:
        messages = line.request["messages"]
        for size in range(1, len(messages)):
            assert laws.is_prefix(written(messages[:size]), written(messages)), (line.id, size)
            counted += 1
    assert counted >= 200


def written(messages: list[Any]) -> list[Any]:
    """Without the one field that is no content."""
    told = laws.as_from_elsewhere(CODEC, messages)
    return [{key: value for key, value in message.items() if key != "prefix"} for message in told]


def test_every_recorded_error_is_read() -> None:
    """The message, type and code of Mistral's flat error."""
    counted = 0
    for line in RECORDED.lines:
        if line.ok:
            continue
        failed = CODEC.read_error(line.status, {}, line.reply_bytes())
        told = (line.reply_json["message"], line.reply_json["type"], line.reply_json["code"])
        assert (failed.message, failed.type, failed.code) == told
        counted += 1
    assert counted >= 5


@given(st.data(), WRONG)
def test_wrong_types_anywhere_come_back_or_are_malformed(data: st.DataObject, value: Any) -> None:
    """A request with anything at any place in it is written back equal, or refused by its path."""
    whole = data.draw(
        st.sampled_from([line.request for line in RECORDED.requests if len(line.request_bytes()) < 4_000])
    )
    # The model that is written is the target's: an empty name is written by nobody.
    body = broken(whole, data.draw(st.sampled_from([at for at in places(whole) if at != ("model",)])), value)
    try:
        laws.request_returns(CODEC, body, Asked())
    except Malformed:
        return


@given(st.data(), WRONG)
def test_a_reply_with_wrong_types_is_malformed_or_comes_back(data: st.DataObject, value: Any) -> None:
    """A reply with anything at any place in it, too; and as a chunk of a stream it raises nothing."""
    whole = data.draw(
        st.sampled_from([line.reply_json for line in RECORDED.replies if len(line.reply_bytes()) < 4_000])
    )
    body = broken(whole, data.draw(st.sampled_from(list(places(whole)))), value)
    events = laws.read_whole(CODEC, b"data: " + json.dumps(body).encode() + b"\n\n")
    writer = CODEC.writer(client_for("m"), Losses("reply"))
    writer.write(events)
    assert writer.finish() == b"" or not isinstance(events[-1], Failed)
    try:
        laws.reply_returns(CODEC, body, client_for(model if isinstance(model := body.get("model"), str) else ""))
    except Malformed:
        return
