"""Meters against recorded traffic: usage equals what a naive reading of the same recording finds, however it is cut.

The naive side is written without a look at the meters: it takes the last counters found in the parsed recording and
applies the accounting of `interpose.ir.Usage` in one expression per family.
"""

from __future__ import annotations

import base64
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import pytest
from tests.corpus import Line, lines

from interpose.formats.meters import Meter, meter_for
from interpose.ir import Reading, Usage
from interpose.wire.eventstream import EventStreamDecoder, encode_message

# By recorded endpoint, else by family without its `responseonly_`.
WIRE_BY_ENDPOINT = {
    "cohere.v1.tokenize": "none",
    "models": "none",
    "messages.count_tokens": "none",
    "messages.batches": "none",
    "files": "openai-other",
    "interactions": "gemini-interactions",
    "complete": "none",
    "embedContent": "gemini",
    "batchEmbedContents": "gemini",
    "responses.compact": "openai-responses",
    "ollama.show": "none",
    "ollama.pull": "none",
    "threads": "openai-other",
    "images": "openai-other",
    "audio": "openai-other",
    "moderations": "openai-other",
    "assistants": "openai-other",
}
WIRE_BY_FAMILY = {
    "openai_chat": "openai-chat",
    "chat_compat": "openai-chat",
    "openai_responses": "openai-responses",
    "anthropic_messages": "anthropic",
    "gemini_generate": "gemini",
    "mistral_chat": "mistral",
    "bedrock_converse": "bedrock-converse",
    "bedrock_invoke": "bedrock-invoke",
    "cohere_chat": "cohere",
    "cohere_other": "cohere",
    "ollama": "ollama",
    "completions_legacy": "openai-completions",
    "embeddings": "openai-embeddings",
}
# How many successful replies, and how many of them streams, must at least be compared: losing lines is a failure.
LEAST = {
    "openai-chat": (2600, 630),
    "openai-responses": (1300, 440),
    "openai-completions": (80, 20),
    "openai-embeddings": (150, 0),
    "openai-other": (200, 5),
    "anthropic": (1200, 340),
    "gemini": (1050, 200),
    "gemini-interactions": (16, 5),
    "mistral": (220, 80),
    "bedrock-converse": (270, 40),
    "bedrock-invoke": (150, 50),
    "cohere": (140, 30),
    "ollama": (60, 28),
}


class Recording(NamedTuple):
    line: Line
    wire: str
    body: bytes
    content_type: str | None

    @property
    def streaming(self) -> bool:
        """Whether the reply, not the request, is a stream."""
        return (self.line.reply_json is None and self.line.streaming) or isinstance(self.line.reply_json, list)


def family(line: Line) -> str:
    return line.family.removeprefix("responseonly_")


def wire_of(line: Line) -> str:
    return WIRE_BY_ENDPOINT.get(line.endpoint) or WIRE_BY_FAMILY.get(family(line), "none")


def framed(line: Line) -> bytes:
    """The reply's bytes; seven recordings hold an event stream's payloads as lines, and are framed again."""
    body = line.reply_bytes()
    if "decoded_eventstream_jsonl" not in line.flags:
        return body
    return b"".join(
        encode_message({":message-type": "event", ":event-type": name}, json.dumps(payload).encode())
        for row in body.splitlines()
        if row.strip()
        for name, payload in json.loads(row).items()
    )


@cache
def recordings() -> tuple[Recording, ...]:
    found = []
    for line in lines():
        if not line.ok or (wire := wire_of(line)) == "none":
            continue
        reframed = "decoded_eventstream_jsonl" in line.flags
        content_type = "application/vnd.amazon.eventstream" if reframed else line.content_type
        found.append(Recording(line, wire, framed(line), content_type))
    return tuple(found)


def of(wire: str) -> list[Recording]:
    return [recording for recording in recordings() if recording.wire == wire]


def fed(recording: Recording, *cuts: int, end: int | None = None) -> Reading:
    meter: Meter = meter_for(recording.wire, recording.content_type)
    body = recording.body[:end]
    at = 0
    for cut in (*sorted(cuts), len(body)):
        meter.feed(body[at:cut])
        at = cut
    return meter.finish()


# The naive side ------------------------------------------------------------------------------------------------------


def documents(recording: Recording) -> Iterator[dict[str, Any]]:
    """Every JSON object of a reply, in order."""
    line = recording.line
    if isinstance(line.reply_json, dict):
        yield line.reply_json
    elif isinstance(line.reply_json, list):
        yield from line.reply_json
    elif recording.body[:1] == b"\0":
        for message in EventStreamDecoder(2**31).feed(recording.body):
            payload = json.loads(message.payload or b"{}")
            yield json.loads(base64.b64decode(payload["bytes"])) if "bytes" in payload else payload
    elif line.reply_text is not None:
        if line.reply_text.startswith("{\n"):  # one document, pretty-printed; a few recordings are cut short
            try:
                yield json.loads(line.reply_text)
            except ValueError:
                return
        else:
            for row in re.split("\r\n|\r|\n", line.reply_text):
                data = row.removeprefix("data:").strip()
                if data.startswith("{"):
                    yield json.loads(data)


def at(document: Any, *path: str) -> Any:
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def plus(*values: int | None) -> int | None:
    known = [value for value in values if value is not None]
    return int(sum(known)) if known else None


def first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def last_of(found: list[Any]) -> dict[str, Any]:
    usable = [usage for usage in found if isinstance(usage, dict) and usage]
    return usable[-1] if usable else {}


def naive_openai(rows: list[dict[str, Any]]) -> Usage:
    found = [first(at(r, "usage"), at(r, "x_groq", "usage"), at(r, "response", "usage")) for r in rows]
    u = last_of(found)
    prompt = first(u.get("prompt_tokens"), u.get("input_tokens"))
    output = first(u.get("completion_tokens"), u.get("output_tokens"))
    details = u.get("prompt_tokens_details") or u.get("input_tokens_details") or u.get("prompt_token_details") or {}
    thought = first(
        at(u, "completion_tokens_details", "reasoning_tokens"),
        at(u, "output_tokens_details", "reasoning_tokens"),
        u.get("reasoning_tokens"),
    )
    if thought and prompt + output + thought == u.get("total_tokens"):
        output += thought
    audio = details.get("audio_tokens")
    if audio and prompt + output + audio == u.get("total_tokens"):
        prompt += audio
    cached = first(
        details.get("cached_tokens"),
        u.get("prompt_cache_hit_tokens"),
        u.get("num_cached_tokens"),
        u.get("cached_tokens"),
    )
    written = first(details.get("cache_write_tokens"), details.get("cache_creation_tokens"))
    return Usage(
        prompt,
        first(cached, u.get("cache_read_input_tokens")),
        first(written, u.get("cache_creation_input_tokens")),
        output,
        thought,
    )


def naive_embeddings(rows: list[dict[str, Any]]) -> Usage:
    u = last_of([row.get("usage") for row in rows])
    return Usage(
        input_tokens=first(u.get("prompt_tokens"), u.get("total_tokens")), output_tokens=u.get("completion_tokens")
    )


def naive_other(rows: list[dict[str, Any]]) -> Usage:
    usage = naive_openai([{"usage": row.get("usage")} for row in rows])
    total = at(rows[-1], "usage", "total_tokens") if rows else None
    return usage or (Usage(input_tokens=total) if total is not None else usage)


def naive_anthropic(rows: list[dict[str, Any]]) -> Usage:
    merged: dict[str, Any] = {}
    for row in rows:
        for usage in (at(row, "message", "usage"), at(row, "usage")):
            merged |= {key: value for key, value in (usage or {}).items() if value is not None}
    parts = merged.get("iterations") or [merged]

    def sums(key: str) -> int | None:
        return plus(*(part.get(key) for part in parts))

    read, write = sums("cache_read_input_tokens"), sums("cache_creation_input_tokens")
    thinking = at(merged, "output_tokens_details", "thinking_tokens")
    return Usage(plus(sums("input_tokens"), read, write), read, write, sums("output_tokens"), thinking)


def naive_gemini(rows: list[dict[str, Any]]) -> Usage:
    u: dict[str, Any] = {}
    for row in rows:
        u |= row.get("usageMetadata") or {}
    thoughts = u.get("thoughtsTokenCount")
    return Usage(
        plus(u.get("promptTokenCount"), u.get("toolUsePromptTokenCount")),
        u.get("cachedContentTokenCount"),
        None,
        plus(u.get("candidatesTokenCount"), thoughts),
        thoughts,
    )


def naive_interactions(rows: list[dict[str, Any]]) -> Usage:
    u = last_of([first(row.get("usage"), at(row, "interaction", "usage")) for row in rows])
    thoughts = u.get("total_thought_tokens")
    return Usage(
        plus(u.get("total_input_tokens"), u.get("total_tool_use_tokens")),
        u.get("total_cached_tokens"),
        None,
        plus(u.get("total_output_tokens"), thoughts),
        thoughts,
    )


def naive_converse(rows: list[dict[str, Any]]) -> Usage:
    u = last_of([row.get("usage") for row in rows])
    read = first(u.get("cacheReadInputTokens"), u.get("cacheReadInputTokenCount"))
    write = first(u.get("cacheWriteInputTokens"), u.get("cacheWriteInputTokenCount"))
    return Usage(plus(u.get("inputTokens"), read, write), read, write, u.get("outputTokens"))


def naive_invoke(rows: list[dict[str, Any]]) -> Usage:
    """Per family by the shape of its keys; where a stream's family tells nothing, the invocation metrics."""
    metrics = last_of([row.get("amazon-bedrock-invocationMetrics") for row in rows])
    read, write = metrics.get("cacheReadInputTokenCount"), metrics.get("cacheWriteInputTokenCount")
    told = Usage(plus(metrics.get("inputTokenCount"), read, write), read, write, metrics.get("outputTokenCount"))
    nova = [at(row, "metadata", "usage") or at(row, "usage") for row in rows]
    if any("inputTokens" in (usage or {}) for usage in nova):
        return naive_converse([{"usage": last_of(nova)}])
    if any(at(row, "usage", "prompt_tokens") is not None for row in rows):
        return naive_openai(rows)
    if any(at(row, "message", "usage") or at(row, "usage") for row in rows):
        return naive_anthropic(rows)
    if metrics:
        return told
    row = rows[-1] if rows else {}
    results = row.get("results") or []
    completions = row.get("completions")
    return Usage(
        first(
            row.get("prompt_token_count"),
            row.get("inputTextTokenCount"),
            len(row["prompt"]["tokens"]) if completions else None,
        ),
        output_tokens=first(
            row.get("generation_token_count"),
            plus(*(result.get("tokenCount") for result in results)),
            plus(*(len(completion["data"]["tokens"]) for completion in completions)) if completions else None,
        ),
    )


def naive_cohere(rows: list[dict[str, Any]]) -> Usage:
    u = last_of(
        [first(at(r, "usage"), at(r, "delta", "usage"), at(r, "meta"), at(r, "response", "meta")) for r in rows]
    )
    billed = u.get("billed_units") or {}
    tokens = u.get("tokens") or {}
    return Usage(
        first(*(plus(each.get("input_tokens"), each.get("image_tokens")) for each in (tokens, billed))),
        u.get("cached_tokens"),
        None,
        first(tokens.get("output_tokens"), billed.get("output_tokens")),
        tokens.get("reasoning_tokens"),
    )


def naive_ollama(rows: list[dict[str, Any]]) -> Usage:
    return Usage(
        input_tokens=first(*(row.get("prompt_eval_count") for row in reversed(rows))),
        output_tokens=first(*(row.get("eval_count") for row in reversed(rows))),
    )


NAIVE = {
    "openai-chat": naive_openai,
    "openai-responses": naive_openai,
    "openai-completions": naive_openai,
    "openai-embeddings": naive_embeddings,
    "openai-other": naive_other,
    "anthropic": naive_anthropic,
    "gemini": naive_gemini,
    "gemini-interactions": naive_interactions,
    "mistral": naive_openai,
    "bedrock-converse": naive_converse,
    "bedrock-invoke": naive_invoke,
    "cohere": naive_cohere,
    "ollama": naive_ollama,
}
WIRES = pytest.mark.parametrize("wire", list(NAIVE))

# Terminal events, by naive patterns over one event's bytes ------------------------------------------------------------

TERMINAL = {
    "openai-responses": rb'"type": ?"response\.(completed|incomplete|failed)"',
    "openai-other": rb'"type": ?"[a-z_]+\.([a-z_]+\.)?(completed|done)"|\[DONE\]',
    "anthropic": rb'"type": ?"message_stop"',
    "gemini-interactions": rb"interaction\.completed",
    "bedrock-converse": rb":event-type\x07\x00\x08metadata",
    "cohere": rb'message-end|"is_finished": ?true',
    "ollama": rb'"done": ?true',
}
# The formats that end with a finish reason: (list of alternatives, reason).
REASONS = {
    "openai-chat": ("choices", "finish_reason"),
    "openai-completions": ("choices", "finish_reason"),
    "mistral": ("choices", "finish_reason"),
    "gemini": ("candidates", "finishReason"),
}
# Streams whose recording has no end, by a piece of their id: the reason why they are honestly incomplete.
ENDLESS = {
    "openai-completions": {"test_writer_async_streaming_completions_legacy": "another format: {value} events, no end"},
    "gemini": {"google-live-speech-translation": "messages of the Live API, which have no finish reason"},
    "bedrock-converse": {"__fixtures__/amazon-bedrock-": "fixtures cut after messageStop, without metadata"},
}
ENDLESS_COUNT = {"openai-completions": 1, "gemini": 1, "bedrock-converse": 5}
# Documents that the recorder cut short, or that are no JSON at all.
BROKEN_COUNT = {"openai-chat": 6, "openai-completions": 1, "openai-embeddings": 2}


def pieces(recording: Recording) -> list[bytes]:
    """A stream's bytes, event by event, in the framing it has."""
    body = recording.body
    if body[:1] == b"\0":
        found, start = [], 0
        while start < len(body):
            size = int.from_bytes(body[start : start + 4])
            found.append(body[start : start + size])
            start += size
        return found
    end = rb".*?(?:\r\n\r\n|\n\n|\r\r|\Z)" if body[:1] not in b"{[" else rb"[^\n]*(?:\n|\Z)"
    return [piece for piece in re.findall(end, body, re.DOTALL) if piece]


def terminal(recording: Recording) -> int | None:
    """Where the last event begins that ends the stream; None if none does."""
    parts = pieces(recording)
    if isinstance(recording.line.reply_json, list):
        return len(recording.body) - 1  # the array's own end
    if recording.wire == "bedrock-invoke":
        return sum(map(len, parts[:-1]))  # the last chunk has the metrics
    if recording.wire in REASONS:
        end = last_finish(parts, *REASONS[recording.wire])
    else:
        pattern = re.compile(TERMINAL[recording.wire])
        end = next((index for index, part in enumerate(parts) if pattern.search(part)), None)
    return None if end is None else sum(map(len, parts[:end]))


def last_finish(parts: list[bytes], alternatives: str, reason: str) -> int | None:
    """The event with which every alternative has finished once; some hosts repeat the reason with the usage."""
    finished: dict[int, int] = {}
    for index, part in enumerate(parts):
        data = part.strip().removeprefix(b"data:").strip()
        if not data.startswith(b"{"):
            if data == b"[DONE]" and not finished:
                return index
            continue
        document = json.loads(data)
        if at(document, "promptFeedback", "blockReason"):
            return index
        for choice in document.get(alternatives) or []:
            if choice.get(reason):
                finished.setdefault(choice.get("index", 0), index)
    return max(finished.values(), default=None)


@WIRES
def test_enough_recordings_are_compared(wire: str) -> None:
    """No family loses its lines silently."""
    found = of(wire)
    replies, streams = len(found), sum(recording.streaming for recording in found)
    told = sum(bool(NAIVE[wire](list(documents(recording)))) for recording in found)
    print(f"{wire}: {replies} replies, {streams} streams, {told} with usage")
    assert (replies, streams) >= LEAST[wire]
    assert streams >= LEAST[wire][1]
    assert told >= 0.65 * replies or wire == "openai-other"


@WIRES
def test_usage_equals_a_naive_reading(wire: str) -> None:
    """For every recorded success, the meter's usage is what its JSON says."""
    wrong = [
        (recording.line.id, expected, found)
        for recording in of(wire)
        if (expected := NAIVE[wire](list(documents(recording)))) != (found := fed(recording).usage)
    ]
    assert not wrong


@WIRES
def test_chunks_do_not_matter(wire: str) -> None:
    """Cut at random places, a body reads the same as whole."""
    rng = random.Random(wire)
    for recording in of(wire):
        cuts = [rng.randrange(len(recording.body) + 1) for _ in range(7)]
        assert fed(recording, *cuts) == fed(recording), recording.line.id


@WIRES
def test_bytes_one_by_one_do_not_matter(wire: str) -> None:
    """Fed byte by byte, a body reads the same as whole."""
    small = sorted((r for r in of(wire) if r.streaming or wire == "openai-embeddings"), key=lambda r: len(r.body))
    assert small
    for recording in small[:: max(1, len(small) // 12)]:
        whole = recording.body[:20_000]
        assert fed(recording, *range(len(whole)), end=len(whole)) == fed(recording, end=len(whole)), recording.line.id


@WIRES
def test_what_was_recorded_whole_is_complete(wire: str) -> None:
    """Every recorded reply is complete, apart from those that are known to have no end."""
    incomplete = [recording for recording in of(wire) if not fed(recording).complete]
    broken = [recording for recording in incomplete if fed(recording).flaw]
    endless = [recording for recording in incomplete if not fed(recording).flaw]
    assert len(broken) == BROKEN_COUNT.get(wire, 0)
    assert not any(recording.streaming for recording in broken)
    for recording in endless:
        assert any(piece in recording.line.id for piece in ENDLESS.get(wire, {})), recording.line.id
    assert len(endless) == ENDLESS_COUNT.get(wire, 0)


@WIRES
def test_nothing_recorded_has_another_flaw(wire: str) -> None:
    """Recorded counters and events are all readable; only the bodies that are cut short are flawed."""
    assert sum(fed(recording).flaw is not None for recording in of(wire)) == BROKEN_COUNT.get(wire, 0)


@WIRES
def test_a_stream_cut_before_its_end_is_never_complete(wire: str) -> None:
    """All streams, cut right before the terminal event and at random places before that."""
    rng = random.Random(wire)
    cut = Counter[str]()
    early = []
    for recording in of(wire):
        if not recording.streaming or (end := terminal(recording)) is None:
            continue
        cut[wire] += 1
        for place in {end, *(rng.randrange(end + 1) for _ in range(4))}:
            reading = fed(recording, end=place)
            if reading.complete or reading.flaw:
                early.append((recording.line.id, place, end, reading.flaw))
    assert not early
    assert cut[wire] >= LEAST[wire][1] - ENDLESS_COUNT.get(wire, 0)


@WIRES
def test_a_stream_cut_at_any_event_boundary_before_its_end_is_never_complete(wire: str) -> None:
    """A sample of streams, cut at every single boundary."""
    streams = [r for r in of(wire) if r.streaming and terminal(r) is not None and len(pieces(r)) < 150]
    for recording in streams[:: max(1, len(streams) // 15)]:
        end, place = terminal(recording), 0
        assert end is not None
        for piece in pieces(recording):
            if place > end:
                break
            reading = fed(recording, end=place)
            assert not reading.complete, (recording.line.id, place)
            place += len(piece)


def test_errors_answering_streaming_requests_are_read() -> None:
    """Every recorded failure with a JSON body gives its message, whatever the wire."""
    messages = Counter[bool]()
    for line in lines():
        if line.status < 400 or not isinstance(line.reply_json, dict) or (wire := wire_of(line)) == "none":
            continue
        meter = meter_for(wire, line.content_type)
        meter.feed(line.reply_bytes())
        messages[meter.finish().error is not None] += 1
    assert messages[True] >= 200
    assert messages[False] == 0
