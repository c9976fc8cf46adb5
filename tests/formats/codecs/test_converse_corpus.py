"""The Converse codec over the recordings: what is read is written back equal, streams are what botocore reads."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests import corpus
from tests.formats.codecs import converse_sdk, laws

from interpose.formats.codecs import CODECS, Asked, Client, Target
from interpose.formats.codecs.codec import loads
from interpose.formats.codecs.converse.names import FORMAT
from interpose.formats.endpoints import classify
from interpose.formats.hosts import lookup
from interpose.ir import (
    Failed,
    Finished,
    Foreign,
    Losses,
    Media,
    Own,
    Reply,
    Request,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    events_of,
)
from interpose.ir.losses import says

CODEC = CODECS["bedrock-converse"]
FAMILIES = ("bedrock_converse", "responseonly_bedrock_converse")
CLIENT = Client(Request(FORMAT, "model", []), "model", "call-1", 0)
# Hypothesis draws the seed alone: what is drawn for all recordings is too much for it to hold.
SEEDS = st.integers(0, 2**32)
UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)  # a seed that fails is as good as any smaller one


@cache
def recorded() -> list[corpus.Line]:
    return [line for family in FAMILIES for line in corpus.lines(family)]


def requests() -> Iterator[tuple[corpus.Line, Request]]:
    for line in recorded():
        if line.request_kind == "json":
            yield line, CODEC.read_request(copy.deepcopy(line.request), Asked(line.path, line.query))


def replies() -> Iterator[tuple[corpus.Line, Reply]]:
    for line in recorded():
        if line.ok and line.reply_json is not None:
            yield line, CODEC.read_reply(copy.deepcopy(line.reply_json))


@cache
def streams() -> list[tuple[corpus.Line, bytes]]:
    """Those with frames: the other seven are fixtures of a program's tests, in lines of JSON."""
    found = [(line, line.reply_bytes()) for line in recorded() if line.ok and line.reply_b64 is not None]
    assert len(found) >= 37
    return found


def ends_of(data: bytes) -> list[int]:
    """Where each frame ends."""
    ends, at = [], 0
    while at < len(data):
        at += int.from_bytes(data[at : at + 4])
        ends.append(at)
    return ends


def test_every_request_is_written_back_equal() -> None:
    """A -> neutral -> A of every recorded request, without a loss, to the path that it came by."""
    counted: Counter[bool] = Counter()
    for line, _ in requests():
        request = laws.request_returns(CODEC, line.request, Asked(line.path, line.query))
        written = CODEC.write_request(request, Target(request.model), Losses())
        assert written.path == line.path.replace(":", "%3A"), line.id
        counted[request.stream] += 1
    assert counted[False] >= 230
    assert counted[True] >= 38


def test_every_recorded_path_has_this_codec() -> None:
    """The wire by which the table of endpoints names a call, whole or streamed, is this codec's."""
    counted = 0
    row = lookup("bedrock-runtime.us-east-1.amazonaws.com", 443)
    assert row is not None
    for line, request in requests():
        match = classify(row, line.method, line.path)
        assert CODECS[match.wire] is CODEC, line.path
        assert (match.model, match.stream) == (request.model, request.stream)
        counted += 1
    assert counted >= 278


# The service took a MIME type as a video's format once, which its model does not say.
UNTOLD = "test_video_url_input.yaml#1"


def test_every_request_that_was_answered_is_valid_to_the_oracle() -> None:
    """The service's model takes what the service took: so what it says of our own requests counts."""
    counted = 0
    for line, request in requests():
        if line.ok and not line.id.endswith(UNTOLD):
            converse_sdk.validate(line.request, request.model, stream=request.stream)
            counted += 1
    assert counted >= 265


def test_every_reply_is_written_back_equal() -> None:
    """A -> neutral -> A of every recorded whole reply; telling it in events loses nothing either."""
    counted = 0
    for line, _ in replies():
        laws.collecting_returns(CODEC, laws.reply_returns(CODEC, line.reply_json, CLIENT))
        counted += 1
    assert counted >= 235


# Everything that may be left over, by node; anything else is understood, or a recording of something new.
LEFT_OVER: dict[str, set[str]] = {
    "request": {"guardrailConfig"},
    "message": set(),
    "Text": {"qualifiers"},
    "ToolCall": set(),
    "ToolResult": set(),
    "Media": {"citations", "context"},
    "Thinking": set(),
    "Citation": set(),
    "tool": set(),
    "choice": set(),
    "reasoning": set(),
    "output": set(),
    "reply": {"trace", "additionalModelResponseFields"},
    # What is silent: totals and second names of counters, the call's own, how a schema is spaced.
    "usage": {
        "cacheReadInputTokenCount",
        "cacheWriteInputTokenCount",
        "serverToolUsage",
        "totalTokens",
    },
    "quiet reply": {"metrics", "serviceTier", "usage"},
    "quiet request": {"inferenceConfig"},
    "quiet Citation": {"location", "source"},
    "quiet ToolCall": {"type"},
    "quiet Media": {"format"},
    "quiet Text": {"type"},
    "quiet output": set(),
}
FOREIGN = {"searchResult", "toolResult", "toolUse"}


def test_what_is_left_over_is_a_stated_list() -> None:
    """Nothing that has a neutral place hides among a node's own fields, and no block but these is foreign."""
    found: dict[str, set[str]] = {}
    foreign: set[str] = set()

    def note(node: str, own: Own | None) -> None:
        if own is not None:
            assert own.format == FORMAT
            found.setdefault(node, set()).update(name for name, value in own.fields.items() if says(value))
            found.setdefault(f"quiet {node}", set()).update(own.silent or {})

    def note_blocks(blocks: list[Any]) -> None:
        for block in blocks:
            if isinstance(block, Foreign):
                foreign.add(block.kind)
                continue
            note(type(block).__name__, block.own)
            if isinstance(block, ToolResult):
                note_blocks(block.content)
            for citation in getattr(block, "citations", ()):
                note("Citation", citation.own)

    def note_reply(reply: Reply) -> None:
        note("reply", reply.own)
        if reply.own is not None:
            found.setdefault("usage", set()).update((reply.own.silent or {}).get("usage", {}))
        for answer in reply.answers:
            assert answer.own is None
            note_blocks(answer.blocks)

    for _, request in requests():
        note("request", request.own)
        for message in request.messages:
            note("message", message.own)
            note_blocks(message.blocks)
        for tool in request.tools:
            if tool.kind != "server":
                note("tool", tool.own)
        note("choice", request.tool_choice.own if request.tool_choice is not None else None)
        note("reasoning", request.reasoning.own if request.reasoning is not None else None)
        note("output", request.output.own if request.output is not None else None)
    for _, reply in replies():
        note_reply(reply)
    for _, data in streams():
        note_reply(laws.collected(CODEC, laws.read_whole(CODEC, data)).reply)
    for node, names in found.items():
        assert names <= LEFT_OVER.get(node, set()), (node, names)
    assert foreign == FOREIGN


def comparable(value: Any) -> Any:
    """A reply as JSON, less what says nothing: how a call's arguments are spaced, an Own without anything."""
    if isinstance(value, ToolCall):
        return {"call": value.name, "id": value.id, "input": loads(value.arguments), "own": comparable(value.own)}
    if isinstance(value, Own):
        told = [comparable(value.fields), sorted(value.marks), comparable(value.silent or {})]
        return told if any(told) else None
    if isinstance(value, dict):
        return {key: comparable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [comparable(one) for one in value]
    if hasattr(value, "__slots__"):
        return comparable({name: getattr(value, name) for name in value.__slots__})
    return value


def test_a_stream_collected_is_what_botocore_reads() -> None:
    """The reader's events, assembled, are the whole reply that botocore's events of the same bytes amount to."""
    counted = 0
    for line, data in streams():
        mine = laws.collected(CODEC, laws.read_whole(CODEC, data))
        assert mine.failure is None, line.id
        theirs = converse_sdk.accumulated(data)
        # A member that the service's model does not know is one that botocore leaves out.
        if mine.reply.own is not None and mine.reply.own.silent:
            mine.reply.own.silent["usage"].pop("serverToolUsage", None)
        laws.same(comparable(mine.reply), comparable(CODEC.read_reply(theirs)), line.id)
        counted += 1
    assert counted >= 37


def test_small_streams_give_the_same_events_under_every_split() -> None:
    """Byte by byte, and parted in two at every byte."""
    small = sorted((data for _, data in streams() if len(data) < 4000), key=len)
    assert len(small) >= 5
    for data in [*small[:4], small[-1]]:
        laws.every_split(CODEC, data)


@settings(max_examples=5, deadline=None, phases=UNSHRUNK)
@given(SEEDS)
def test_every_stream_gives_the_same_events_under_any_split(seed: int) -> None:
    """Every recorded stream, parted at places drawn by Hypothesis."""
    drawn = random.Random(seed)
    for line, data in streams():
        cuts = sorted(drawn.randrange(len(data) + 1) for _ in range(drawn.randrange(12)))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        assert laws.read_in_pieces(CODEC, pieces) == laws.read_whole(CODEC, data), (line.id, cuts)


def test_a_stream_cut_at_any_frame_never_succeeds() -> None:
    """Cut anywhere before the end of metadata, which comes after messageStop, a stream ends in Failed, and nobody heard
    of a good end before.
    """
    counted = 0
    for line, data in streams():
        reader, read = CODEC.reader(), 0
        for end in [0, *ends_of(data)[:-1], len(data) - 1]:
            events = reader.feed(data[read:end])
            read = end
            assert not any(isinstance(event, Failed | Finished) for event in events), (line.id, end)
            assert isinstance(copy.deepcopy(reader).close()[-1], Failed), (line.id, end)
            counted += 1
    assert counted >= 1700


def test_a_stream_written_is_what_was_read() -> None:
    """Reader -> writer -> reader: the same reply; botocore reads the same of what is written; and a whole reply,
    written, says the same as the stream of it.
    """
    counted = 0
    for line, data in streams():
        events = laws.read_whole(CODEC, data)
        reply = laws.collected(CODEC, copy.deepcopy(events)).reply
        losses = Losses("reply")
        writer = CODEC.writer(CLIENT, losses)
        written = b"".join(writer.write([event]) for event in events) + writer.finish()
        assert not list(losses), list(losses)
        again = laws.collected(CODEC, laws.read_whole(CODEC, written)).reply
        laws.same(comparable(again), comparable(reply), line.id)
        laws.same(converse_sdk.accumulated(written), converse_sdk.accumulated(data), line.id)
        whole = CODEC.write_reply(reply, CLIENT, Losses("reply"))
        laws.same(comparable(CODEC.read_reply(copy.deepcopy(whole))), comparable(reply), line.id)
        counted += 1
    assert counted >= 37


def test_a_whole_reply_told_as_a_stream_is_the_same_reply() -> None:
    """What was answered at once, written as a stream, is read by us and by botocore as what it was."""
    counted: Counter[str] = Counter()
    for line, reply in replies():
        losses = Losses("reply")
        writer = CODEC.writer(CLIENT, losses)
        written = writer.write(events_of(reply)) + writer.finish()
        again = laws.collected(CODEC, laws.read_whole(CODEC, written)).reply
        # A stream always counts; where nothing was told, nothing was used.
        assert (again.usage.input_tokens or 0) == (reply.usage.input_tokens or 0)
        assert (again.usage.output_tokens or 0) == (reply.usage.output_tokens or 0)
        assert again.answers[0].stop == reply.answers[0].stop
        if any(one.own is not None and "type" in (one.own.silent or {}) for one in reply.answers[0].blocks):
            counted["typed"] += 1  # the type of a call goes with its start; that of a text has no place in a stream
        laws.same(
            [shown(one) for one in again.answers[0].blocks], [shown(one) for one in reply.answers[0].blocks], line.id
        )
        told = converse_sdk.accumulated(written)["output"]["message"]["content"]
        assert len(told) == len(reply.answers[0].blocks), line.id
        assert not list(losses), list(losses)
        counted["all"] += 1
    assert counted["all"] >= 235
    assert counted["typed"] >= 40


def shown(block: Any) -> Any:
    """What a block says, without how it was spelt."""
    if isinstance(block, ToolCall):
        return [block.id, block.name, loads(block.arguments)]
    return [type(block).__name__, getattr(block, "text", None), comparable(getattr(block, "opaque", None))]


def test_every_recorded_error_is_read_and_written() -> None:
    """Status, type and message of every recorded error, as botocore raises them for what is written."""
    counted = 0
    for line in recorded():
        if line.ok:
            continue
        failed = CODEC.read_error(line.status, line.reply_headers, line.reply_bytes())
        assert (failed.status, failed.message) == (line.status, line.reply_json["message"])
        told = line.reply_headers.get("x-amzn-errortype")
        assert failed.type == (told and told.partition(":")[0])
        written = CODEC.write_error(failed)
        assert written["message"] == line.reply_json["message"]
        with pytest.raises(converse_sdk.ClientError) as error:
            converse_sdk.parsed(written, line.status)
        raised = error.value.response["Error"]
        assert raised["Message"] == line.reply_json["message"]
        assert raised["Code"] == (failed.type or "ValidationException")
        counted += 1
    assert counted >= 12


def blocks_of(body: Any) -> list[Any]:
    return [block for message in body["messages"] for block in message["content"]]


def test_conversations_that_extend_each_other_stay_extensions() -> None:
    """Law 2: as a request of another format, for which nothing is kept as it was spelt, each recorded conversation that
    begins another is written as the beginning of that other, system and tools equal.
    """
    by_start: dict[str, list[tuple[int, corpus.Line]]] = {}
    for line, _ in requests():
        start = laws.canonical([line.path, line.request.get("system"), line.request.get("toolConfig")])
        start += laws.canonical(line.request["messages"][:1])
        by_start.setdefault(start, []).append((len(line.request["messages"]), line))
    counted = 0
    for group in by_start.values():
        group.sort(key=lambda row: row[0])
        for (_, shorter), (_, longer) in pairwise(group):
            said = shorter.request["messages"]
            if len(said) < len(longer.request["messages"]) and laws.is_prefix(said, longer.request["messages"]):
                one, other = (as_if_foreign(line) for line in (shorter, longer))
                assert laws.is_prefix(blocks_of(one), blocks_of(other)), (shorter.id, longer.id)
                for name in ("system", "toolConfig"):
                    laws.same(one.get(name), other.get(name), name)
                counted += 1
    assert counted >= 35


def as_if_foreign(line: corpus.Line) -> Any:
    request = CODEC.read_request(copy.deepcopy(line.request), Asked(line.path))
    request.format = "another"
    return CODEC.write_request(request, Target(request.model), Losses()).body


def test_the_kinds_of_blocks_are_all_there() -> None:
    """The recordings hold the neutral blocks that Converse has, so that the laws above say something of each."""
    kinds: Counter[str] = Counter()

    def count(blocks: list[Any]) -> None:
        for block in blocks:
            kinds[type(block).__name__] += 1
            if isinstance(block, Media):
                kinds[block.kind] += 1
                kinds[block.source.kind] += 1
            if isinstance(block, Text) and block.citations:
                kinds["cited"] += 1
            if isinstance(block, Thinking) and block.opaque is not None:
                kinds[block.opaque.kind] += 1
            if getattr(block, "cache", None) is not None:
                kinds["cache"] += 1
            if isinstance(block, ToolResult):
                count(block.content)

    for _, request in requests():
        for message in request.messages:
            count(message.blocks)
    for _, reply in replies():
        count(reply.answers[0].blocks)
    assert kinds["Text"] >= 400
    for name in ("ToolCall", "ToolResult", "Thinking"):
        assert kinds[name] >= 20, (name, kinds)
    for name in ("image", "document", "cache", "cited", "signature"):
        assert kinds[name] >= 9, (name, kinds)
    for name in ("video", "redacted", "Foreign", "file", "text"):
        assert kinds[name] >= 2, (name, kinds)


@pytest.mark.parametrize("kind", ["system", "toolConfig"])
def test_what_is_empty_stays_as_it_was(kind: str) -> None:
    """Clients send empty lists and objects: they say nothing to others, and are written back."""
    empty: Any = {"system": [], "toolConfig": {"tools": []}}[kind]
    body = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}], kind: empty, "inferenceConfig": {}}
    request = laws.request_returns(CODEC, body, Asked("/model/m/converse"))
    losses = Losses()
    CODECS["openai-chat"].write_request(request, Target("model"), losses)
    assert not list(losses), list(losses)
