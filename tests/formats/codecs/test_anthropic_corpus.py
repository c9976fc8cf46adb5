"""The Anthropic codec over the recordings: what is read is written back equal, streams are what the SDK makes."""

from __future__ import annotations

import base64
import copy
import random
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import jiter
import orjson
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests import corpus
from tests.formats.codecs import anthropic_sdk, laws

from interpose.formats.codecs import CODECS, Asked, Client, Codec, Target
from interpose.formats.codecs.anthropic.names import FORMAT
from interpose.ir import (
    Failed,
    Finished,
    Foreign,
    Losses,
    Media,
    Message,
    Own,
    Reply,
    Request,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from interpose.ir.losses import says
from interpose.wire.eventstream import EventStreamDecoder

FAMILIES = ("anthropic_messages", "responseonly_anthropic_messages", "anthropic_count_tokens", "bedrock_invoke")
# Hypothesis draws the seed alone: what is drawn for a thousand recordings is too much for it to hold.
SEEDS = st.integers(0, 2**32)
UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)  # a seed that fails is as good as any smaller one
HI = Request(FORMAT, "claude-test", [])


def is_claude(line: corpus.Line) -> bool:
    return line.family != "bedrock_invoke" or (isinstance(line.request, dict) and "anthropic_version" in line.request)


@cache
def recorded() -> list[corpus.Line]:
    return [line for family in FAMILIES for line in corpus.lines(family) if is_claude(line)]


def codec_of(line: corpus.Line) -> Codec:
    if line.family == "bedrock_invoke":
        return CODECS["bedrock-anthropic"]
    return CODECS["vertex-anthropic" if "publishers/anthropic" in line.path else "anthropic"]


def asked_of(line: corpus.Line) -> Asked:
    return Asked(line.path, line.query, line.request_headers)


def requests() -> Iterator[tuple[corpus.Line, Request]]:
    for line in recorded():
        if line.request_kind == "json" and not line.id.endswith("anthropic_completion_error.yaml#0"):
            yield line, codec_of(line).read_request(copy.deepcopy(line.request), asked_of(line))


def replies() -> Iterator[tuple[corpus.Line, Reply]]:
    for line in recorded():
        if line.ok and line.reply_json is not None and line.reply_json.get("type") == "message":
            yield line, codec_of(line).read_reply(copy.deepcopy(line.reply_json))


# One recording is of two messages spliced into each other, which no client of Anthropic's can read.
SPLICED = "spliced-message-start"


@cache
def streams() -> list[tuple[corpus.Line, bytes]]:
    found = [
        (line, line.reply_bytes())
        for line in recorded()
        if line.ok and line.reply_json is None and SPLICED not in line.id
    ]
    assert len(found) >= 372
    return found


def client_of(model: str) -> Client:
    return Client(HI, model, "call-1", 0)


def test_every_request_is_written_back_equal() -> None:
    """A -> neutral -> A of every recorded request, in each of the three envelopes, without a loss."""
    counted: Counter[str] = Counter()
    for line, _ in requests():
        laws.request_returns(codec_of(line), line.request, asked_of(line))
        counted[codec_of(line).stream_type] += 1
        counted["counting"] += line.path.endswith("count_tokens")
    assert counted["text/event-stream"] >= 1195
    assert counted["application/vnd.amazon.eventstream"] >= 61
    assert counted["counting"] == 8


def test_a_request_that_anthropic_refused_for_its_shape_is_malformed() -> None:
    """The one recorded request whose message is a text, as Anthropic says with a 400."""
    [line] = [line for line in recorded() if line.id.endswith("anthropic_completion_error.yaml#0")]
    assert line.status == 400
    laws.refuses(CODECS["anthropic"], copy.deepcopy(line.request), "messages[0]")


def test_every_request_goes_to_the_path_that_it_came_by() -> None:
    """The path is written as it was read, up to what belongs to the provider's address and to escaping."""
    counted = 0
    for line, request in requests():
        written = codec_of(line).write_request(request, Target(request.model), Losses())
        path = line.path.replace("%3A", ":")
        if line.path != "/api/v1/messages":  # another host's
            assert path.endswith(written.path), (path, written.path)
            counted += 1
    assert counted >= 1255


def test_every_reply_is_written_back_equal() -> None:
    """A -> neutral -> A of every recorded whole reply, without a loss; telling it in events loses nothing either."""
    counted = 0
    for line, _ in replies():
        reply = laws.reply_returns(codec_of(line), line.reply_json, client_of(line.reply_json["model"]))
        laws.collecting_returns(codec_of(line), reply)
        counted += 1
    assert counted >= 904


# Everything that may be left over, by node; anything else is understood, or a recording of something new.
LEFT_OVER = {
    "request": {
        "cache_control",  # asks for automatic breakpoints
        "container",
        "context_management",
        "mcp_servers",
        "output_config",
        "tools",
        "tool_choice",
        "temperature",
        "top_p",
        "top_k",
    },
    "message": set(),
    "Text": {"citations", "cache_control"},
    "ToolCall": {"caller", "cache_control"},
    "ToolResult": {"cache_control"},
    "Media": {"citations", "context", "cache_control"},
    "Thinking": set(),
    "Citation": set(),
    "tool": {"allowed_callers", "defer_loading", "eager_input_streaming"},
    "reply": {
        "provider",  # a gateway's
        "stop_details",
    },
    "usage": {
        "cache_creation",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "cost",
        "cost_details",
        "inference_geo",
        "is_byok",
        "iterations",
        "server_tool_use",
        "service_tier",
        "speed",
    },
}
FOREIGN = {
    "advisor_tool_result",
    "bash_code_execution_tool_result",
    "code_execution_tool_result",
    "compaction",
    "container_upload",
    "document",
    "fallback",
    "mcp_tool_result",
    "mcp_tool_use",
    "search_result",
    "server_tool_use",
    "text_editor_code_execution_tool_result",
    "tool_addition",
    "tool_reference",
    "tool_search_tool_result",
    "web_fetch_tool_result",
    "web_search_tool_result",
}


def test_what_is_left_over_is_a_stated_list() -> None:
    """Nothing that has a neutral place hides among a node's own fields, and no block but these is foreign."""
    found: dict[str, set[str]] = {name: set() for name in LEFT_OVER}
    foreign: set[str] = set()

    def note(node: str, own: Own | None) -> None:
        if own is not None:
            assert own.format == FORMAT
            found[node] |= own.fields.keys()

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
            found["usage"] |= (reply.own.silent or {}).get("usage", {}).keys()
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
    for _, reply in replies():
        note_reply(reply)
    for line, data in streams():
        note_reply(laws.collected(codec_of(line), laws.read_whole(codec_of(line), data)).reply)
    for node, names in found.items():
        assert names <= LEFT_OVER[node], (node, names - LEFT_OVER[node])
    assert foreign == FOREIGN


def sse_of(line: corpus.Line, data: bytes) -> bytes:
    """The bytes as the SDK takes them: Bedrock's frames taken off, and a gateway's [DONE]."""
    if line.family != "bedrock_invoke":
        return data.replace(b"data: [DONE]\n\n", b"")
    told = b""
    for message in EventStreamDecoder().feed(data):
        event = orjson.loads(base64.b64decode(orjson.loads(message.payload)["bytes"]))
        told += b"event: " + event["type"].encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"
    return told


def comparable(reply: Reply) -> Any:
    """A reply as JSON, less what says nothing: a null that the SDK adds, how a call's arguments are spaced."""

    def plain(value: Any) -> Any:
        if isinstance(value, ToolCall):
            given = jiter.from_json(value.arguments.encode(), partial_mode=True)
            return {"call": value.name, "id": value.id, "input": plain(given), "own": plain(value.own)}
        if isinstance(value, Own):
            told = {key: plain(one) for key, one in value.fields.items() if says(one)}
            hushed = plain({key: one for key, one in (value.silent or {}).items() if says(one)})
            return [told, sorted(value.marks), hushed] if told or value.marks or hushed else None
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items() if one is not None}
        if isinstance(value, list | frozenset):
            return [plain(one) for one in value]
        if hasattr(value, "__slots__"):
            return plain({name: getattr(value, name) for name in value.__slots__})
        return value

    return plain(plain(reply))


def test_a_stream_collected_is_what_the_sdk_collects() -> None:
    """The reader's events, assembled, are the message that the SDK's own accumulator makes of the same bytes."""
    counted = 0
    for line, data in streams():
        codec = codec_of(line)
        mine = laws.collected(codec, laws.read_whole(codec, data)).reply
        theirs = codec.read_reply(anthropic_sdk.accumulated(sse_of(line, data)))
        if "anthropic-fallback" in line.id:
            theirs.model = mine.model  # the SDK names the model that a fallback block names
        if mine.own is not None and mine.own.silent:
            mine.own.silent.pop("amazon-bedrock-invocationMetrics", None)
            if "gateway_message_delta_metadata" in line.id and theirs.own is not None:
                mine.own.silent = theirs.own.silent  # the SDK does not know the price that it tells last
        laws.same(comparable(mine), comparable(theirs), line.id)
        counted += 1
    assert counted >= 372


def test_two_messages_spliced_into_one_stream_are_a_failure() -> None:
    """A second message_start amid the first message ends it: what came before belongs to no answer."""
    [line] = [line for line in recorded() if SPLICED in line.id]
    assert isinstance(laws.read_whole(CODECS["anthropic"], line.reply_bytes())[-1], Failed)


def test_small_streams_give_the_same_events_under_every_split() -> None:
    """Byte by byte, and parted in two at every byte; both framings."""
    for framing in (False, True):
        small = sorted(
            (data for line, data in streams() if (line.family == "bedrock_invoke") is framing and len(data) < 4000),
            key=len,
        )
        assert len(small) >= 5
        for data in [*small[:4], small[-1]]:
            laws.every_split(CODECS["bedrock-anthropic" if framing else "anthropic"], data)


@settings(max_examples=5, deadline=None, phases=UNSHRUNK)
@given(SEEDS)
def test_every_stream_gives_the_same_events_under_any_split(seed: int) -> None:
    """Every recorded stream, parted at places drawn by Hypothesis."""
    drawn = random.Random(seed)
    for line, data in streams():
        cuts = sorted(drawn.randrange(len(data) + 1) for _ in range(drawn.randrange(12)))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        codec = codec_of(line)
        assert laws.read_in_pieces(codec, pieces) == laws.read_whole(codec, data), (line.id, cuts)


def boundaries(line: corpus.Line, data: bytes) -> list[int]:
    """The ends of all events but the last, which is message_stop."""
    if line.family == "bedrock_invoke":
        ends, at = [], 0
        while at < len(data):
            at += int.from_bytes(data[at : at + 4])
            ends.append(at)
        return [0, *ends[:-1]]
    stop = data.rindex(b"message_stop", 0, data.rindex(b"message_stop"))
    ends = [0]
    while (end := data.find(b"\n\n", ends[-1], stop)) >= 0:
        ends.append(end + 2)
    return ends


def test_a_stream_cut_at_any_event_never_succeeds() -> None:
    """Cut anywhere before message_stop, a stream ends in Failed, and nobody heard of a good end before."""
    counted = 0
    for line, data in streams():
        reader, read = codec_of(line).reader(), 0
        for end in boundaries(line, data):
            events = reader.feed(data[read:end])
            read = end
            assert not any(isinstance(event, Failed | Finished) for event in events), (line.id, end)
            assert isinstance(copy.deepcopy(reader).close()[-1], Failed), (line.id, end)
            counted += 1
    assert counted >= 9500


def test_a_stream_written_is_what_was_read() -> None:
    """Reader -> writer -> reader: the same blocks, stop and usage; the SDK makes the same message of what is written;
    and a whole reply, written, says the same as the stream of it.
    """
    counted = 0
    for line, data in streams():
        codec = codec_of(line)
        events = laws.read_whole(codec, data)
        reply = laws.collected(codec, copy.deepcopy(events)).reply
        losses = Losses("reply")
        writer = codec.writer(client_of(reply.model), losses)
        written = b"".join(writer.write([event]) for event in events) + writer.finish()
        assert not list(losses)
        again = laws.collected(codec, laws.read_whole(codec, written)).reply
        laws.same(comparable(again), comparable(reply), line.id)
        laws.same(
            anthropic_sdk.accumulated(sse_of(line, written)), anthropic_sdk.accumulated(sse_of(line, data)), line.id
        )
        counted += 1
        if "incomplete_partial_json" in line.id:
            continue  # cut off in its arguments, which a whole reply must pass as text
        whole = codec.write_reply(reply, client_of(reply.model), Losses("reply"))
        laws.same(comparable(codec.read_reply(whole)), comparable(reply), line.id)
    assert counted >= 372


def test_every_recorded_error_is_read_and_written_back() -> None:
    """Status, type and message of every recorded error; Anthropic's own bodies are written back equal."""
    counted = 0
    for line in recorded():
        if line.ok:
            continue
        codec, body = codec_of(line), line.reply_json
        failed = codec.read_error(line.status, line.reply_headers, line.reply_bytes())
        assert failed.status == line.status
        written = codec.write_error(failed)
        if line.family == "bedrock_invoke":
            # What it had in a header stands in the body, where AWS' SDKs look for it, too.
            assert written == {**body, "__type": "ValidationException"}
            assert failed.type == "ValidationException"
        else:
            assert failed.message == body["error"]["message"]
            laws.same(written["error"], body["error"], line.id)
        counted += 1
    assert counted >= 37


def blocks_of(body: Any) -> list[Any]:
    return [block for message in body["messages"] for block in content_of(message)]


def content_of(message: Any) -> list[Any]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def test_conversations_that_extend_each_other_stay_extensions() -> None:
    """Law 2: as a request of another format, for which nothing is kept as it was spelt, each recorded conversation that
    begins another is written as the beginning of that other, system and tools equal.
    """
    by_start: dict[str, list[tuple[int, corpus.Line]]] = {}
    for line, _ in requests():
        start = laws.canonical([line.request.get(name) for name in ("model", "system", "tools")])
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
                for name in ("system", "tools"):
                    laws.same(one.get(name), other.get(name), name)
                counted += 1
    assert counted >= 100


def as_if_foreign(line: corpus.Line) -> Any:
    request = codec_of(line).read_request(copy.deepcopy(line.request), asked_of(line))
    request.format = "another"
    return CODECS["anthropic"].write_request(request, Target("claude-test"), Losses()).body


def test_the_kinds_of_blocks_are_all_there() -> None:
    """The recordings hold every neutral block that Anthropic has, so that the laws above say something of each."""
    kinds: Counter[str] = Counter()

    def count(message: Message) -> None:
        for block in message.blocks:
            kinds[type(block).__name__] += 1
            if isinstance(block, Media):
                kinds[block.kind] += 1
            if isinstance(block, Text) and block.citations:
                kinds["cited"] += 1
            if isinstance(block, Thinking) and block.opaque is not None:
                kinds[block.opaque.kind] += 1

    for _, request in requests():
        for message in request.messages:
            count(message)
    for name in ("Text", "Thinking", "ToolCall", "ToolResult", "Media", "Foreign", "image", "document", "cited"):
        assert kinds[name] >= 5, name
    assert kinds["signature"] >= 30
    assert kinds["redacted"] >= 3
