"""The laws of the Gemini codec on every recorded call of generateContent and streamGenerateContent."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpus import Line, lines
from tests.formats.codecs import laws

from interpose.formats.codecs import Asked, Client, Malformed
from interpose.formats.codecs.gemini import CODEC
from interpose.formats.codecs.gemini.stops import NUMBERS
from interpose.ir import Failed, Losses, Own, Reply, Request, Text, Thinking, ToolCall, events_of

FAMILIES = ("gemini_generate", "responseonly_gemini_generate")


def recorded() -> Iterator[Line]:
    for family in FAMILIES:
        yield from lines(family)


def asked(line: Line) -> Asked:
    return Asked(line.path, line.query)


def client(reply: Reply, request: Request | None = None) -> Client:
    return Client(request or Request("gemini", reply.model, []), reply.model, "call-1", 1_700_000_000)


REQUESTS = [line for line in recorded() if line.request_kind == "json"]
REPLIES = [line for line in recorded() if line.ok and isinstance(line.reply_json, dict)]
STREAMS = [line for line in recorded() if line.ok and not isinstance(line.reply_json, dict)]
ERRORS = [line for line in recorded() if not line.ok]
LIVE = "google-live-speech-translation"  # another API's stream, recorded among these


def chunks(line: Line) -> list[dict[str, Any]]:
    if line.reply_json is not None:
        return list(line.reply_json)
    blocks = line.reply_bytes().replace(b"\r\n", b"\n").split(b"\n\n")
    return [json.loads(block.removeprefix(b"data: ")) for block in blocks if block.strip()]


def test_every_request_returns() -> None:
    """Every recorded request is read and written as it was, at its path, with no loss."""
    counted = 0
    for line in REQUESTS:
        request = laws.request_returns(CODEC, line.request, asked(line))
        assert request.model
        assert request.model in line.path
        assert request.stream == line.path.endswith("streamGenerateContent")
        counted += 1
    assert counted >= 1051


def test_the_path_returns() -> None:
    """Requests to Google AI go to the path that they came from."""
    counted = 0
    for line in REQUESTS:
        if line.host == "generativelanguage.googleapis.com" and line.path.startswith("/v1beta/models/"):
            request = CODEC.read_request(copy.deepcopy(line.request), asked(line))
            written = CODEC.write_request(request, laws.Target(request.model), Losses())
            assert written.path == line.path
            assert written.query == ("alt=sse" if request.stream else "")
            counted += 1
    assert counted >= 840


def test_every_reply_returns() -> None:
    """Every recorded reply is read and written as it was; what is a cached content's description is no reply."""
    counted = 0
    others = 0
    for line in REPLIES:
        try:
            reply = CODEC.read_reply(copy.deepcopy(line.reply_json))
        except Malformed:
            assert str(line.reply_json.get("name")).startswith("cachedContents/")
            others += 1
            continue
        laws.reply_returns(CODEC, line.reply_json, client(reply))
        if all(answer.stop is not None for answer in reply.answers):
            laws.collecting_returns(CODEC, reply)
        counted += 1
    assert counted >= 842
    assert others == 2


def test_a_whole_reply_is_a_stream_of_one_chunk() -> None:
    """A reply that comes as the only chunk of a stream has the same blocks, stops and usage."""
    counted = 0
    for line in REPLIES:
        if "name" in line.reply_json:
            continue
        reply = CODEC.read_reply(copy.deepcopy(line.reply_json))
        if any(answer.stop is None for answer in reply.answers):
            continue
        for answer in reply.answers:  # an empty part of a stream says nothing
            answer.blocks = [b for b in answer.blocks if not isinstance(b, Text) or b.text or b.opaque is not None]
        data = b"data: " + json.dumps(line.reply_json).encode() + b"\r\n\r\n"
        found = laws.collected(CODEC, laws.read_whole(CODEC, data)).reply
        assert [(a.index, a.blocks, a.stop) for a in found.answers] == [
            (a.index, a.blocks, a.stop) for a in reply.answers
        ]
        assert (found.usage, found.id, found.model) == (reply.usage, reply.id, reply.model)
        counted += 1
    assert counted >= 841


def left_over(own: Own | None, names: Counter[str]) -> None:
    if own is not None:
        names.update(name for name, value in own.fields.items() if value not in (None, [], {}))


def test_what_is_left_over() -> None:
    """What no neutral field stands for is exactly this."""
    names: Counter[str] = Counter()
    for line in REQUESTS:
        request = CODEC.read_request(copy.deepcopy(line.request), asked(line))
        left_over(request.own, names)
        for node in (request.reasoning, request.output, request.tool_choice):
            left_over(node.own if node is not None else None, names)
        for message in request.messages:
            left_over(message.own, names)
            for block in message.blocks:
                left_over(block.own, names)
        for tool in request.tools:
            if tool.kind == "function":
                left_over(tool.own, names)
    assert set(names) == {
        "cachedContent",
        "functionCallingConfig.mode",  # VALIDATED
        "generationConfig.responseModalities",
        "generationConfig.speechConfig",
        "includeServerSideToolInvocations",
        "modelArmorConfig",
        "responseJsonSchema",  # what a function returns
        "role",  # an invalid one
        "safetySettings",
    }


def test_what_is_left_over_of_replies() -> None:
    """What no neutral field stands for in a reply is exactly this; what says nothing to others, that."""
    silent: set[str] = set()
    names: Counter[str] = Counter()
    for line in REPLIES:
        if "name" in line.reply_json:
            continue
        reply = CODEC.read_reply(copy.deepcopy(line.reply_json))
        left_over(reply.own, names)
        silent.update((reply.own.silent or {}) if reply.own else {})
        for answer in reply.answers:
            left_over(answer.own, names)
            silent.update((answer.own.silent or {}) if answer.own else {})
            for block in answer.blocks:
                left_over(block.own, names)
    assert set(names) == {
        "avgLogprobs",
        "blockReasonMessage",
        "citationMetadata",
        "finishMessage",
        "groundingMetadata",
        "logprobsResult",
        "safetyRatings",
        "usageMetadata.cacheTokensDetails",
        "usageMetadata.candidatesTokensDetails",
        "usageMetadata.promptTokensDetails",
        "usageMetadata.pydantic_ai_gateway",
        "usageMetadata.trafficType",
    }
    assert silent == {
        "finishMessage",
        "usageMetadata.cacheTokensDetails",
        "usageMetadata.candidatesTokensDetails",
        "usageMetadata.promptTokensDetails",
        "usageMetadata.serviceTier",
        "usageMetadata.toolUsePromptTokenCount",
        "usageMetadata.toolUsePromptTokensDetails",
        "usageMetadata.totalTokenCount",  # where it is no sum
        "usageMetadata.trafficType",
    }


def named(chunk: dict[str, Any]) -> None:
    """Enums as numbers are more than the SDK's types take."""
    for key in [key for key in chunk.get("usageMetadata", {}) if key.endswith("Details") or key == "trafficType"]:
        del chunk["usageMetadata"][key]
    for candidate in chunk.get("candidates", []):
        candidate.pop("safetyRatings", None)
        if isinstance(candidate.get("finishReason"), int):
            candidate["finishReason"] = NUMBERS[candidate["finishReason"]]


def reference(line: Line) -> dict[str, Any]:
    """What a stream amounts to, by the SDK's own types: texts and thoughts joined, calls, signatures, the last of each
    counter and finish reason.
    """
    texts: dict[int, str] = {}
    thoughts: dict[int, str] = {}
    calls: list[tuple[str, str]] = []
    signatures: list[str] = []
    reasons: dict[int, str] = {}
    usage: dict[str, Any] = {}
    for chunk in chunks(line):
        named(chunk)
        parsed = types.GenerateContentResponse._from_response(response=chunk, kwargs={})
        if parsed.usage_metadata is not None:
            usage |= parsed.usage_metadata.model_dump(exclude_none=True)
        for candidate in parsed.candidates or []:
            number = candidate.index or 0
            if candidate.finish_reason is not None:
                reasons[number] = candidate.finish_reason.value
            for part in (candidate.content and candidate.content.parts) or []:
                if part.text and part.thought:
                    thoughts[number] = thoughts.get(number, "") + part.text
                elif part.text:
                    texts[number] = texts.get(number, "") + part.text
                if part.function_call is not None and part.function_call.name:
                    calls.append((part.function_call.name, json.dumps(part.function_call.args or {}, sort_keys=True)))
                if part.thought_signature is not None:
                    signatures.append("s")
    return {
        "texts": texts,
        "thoughts": thoughts,
        "calls": [name for name, _ in calls],
        "signatures": len(signatures),
        "reasons": reasons,
        "output": (usage.get("candidates_token_count") or 0) + (usage.get("thoughts_token_count") or 0),
        "input": (usage.get("prompt_token_count") or 0) + (usage.get("tool_use_prompt_token_count") or 0),
    }


def test_every_stream_collects() -> None:
    """A stream, collected, is what the SDK's own types make of its chunks; written again, it collects to the same."""
    counted = 0
    arrays = 0
    for line in STREAMS:
        if LIVE in line.id:
            continue
        found = laws.collected(CODEC, laws.read_whole(CODEC, line.reply_bytes()))
        assert found.failure is None, line.id
        reply = found.reply
        expected = reference(line)
        texts: dict[int, str] = {}
        thoughts: dict[int, str] = {}
        calls: list[str] = []
        signatures = 0
        for answer in reply.answers:
            for block in answer.blocks:
                if isinstance(block, Text) and block.text:
                    texts[answer.index] = texts.get(answer.index, "") + block.text
                elif isinstance(block, Thinking) and block.text:
                    thoughts[answer.index] = thoughts.get(answer.index, "") + block.text
                elif isinstance(block, ToolCall):
                    calls.append(block.name)
                    assert isinstance(json.loads(block.arguments), dict)
                value = getattr(block, "value", {})
                signatures += getattr(block, "opaque", None) is not None or "thoughtSignature" in value
        assert texts == expected["texts"]
        assert thoughts == expected["thoughts"]
        assert calls == expected["calls"]
        assert signatures == expected["signatures"]
        assert {a.index: a.stop.raw for a in reply.answers if a.stop is not None} == expected["reasons"]
        assert (reply.usage.output_tokens or 0) == expected["output"]
        assert (reply.usage.input_tokens or 0) == expected["input"]
        arrays += line.reply_json is not None
        counted += 1
    assert counted >= 204
    assert arrays >= 10


def once_again(reply: Reply, request: Request | None = None) -> bytes:
    writer = CODEC.writer(client(reply, request), Losses("reply"))
    return writer.write(events_of(reply)) + writer.finish()


def test_what_is_written_is_read() -> None:
    """Every reply and every collected stream, written as a stream (of events, or as an array), is read as the same."""
    counted = 0
    array = Request("gemini", "m", [], stream=True, own=Own("gemini", marks=frozenset({"alt:array"})))
    for line in [*REPLIES, *STREAMS]:
        if LIVE in line.id or "name" in (line.reply_json or {}):
            continue
        if isinstance(line.reply_json, dict):
            reply = CODEC.read_reply(copy.deepcopy(line.reply_json))
            for answer in reply.answers:
                answer.blocks = [b for b in answer.blocks if not isinstance(b, Text) or b.text or b.opaque is not None]
        else:
            reply = laws.collected(CODEC, laws.read_whole(CODEC, line.reply_bytes())).reply
        if any(answer.stop is None for answer in reply.answers):
            continue
        for request in (None, array):
            again = laws.collected(CODEC, laws.read_whole(CODEC, once_again(reply, request)))
            assert again.failure is None
            for answer, other in zip(reply.answers, again.reply.answers, strict=True):
                assert [bare(block) for block in other.blocks] == [bare(block) for block in answer.blocks], line.id
                assert other.stop is not None
                assert answer.stop is not None
                assert other.stop.raw == answer.stop.raw
            assert again.reply.usage == reply.usage
        counted += 1
    assert counted >= 1045


def bare(block: Any) -> Any:
    """Without what says where it was read, and ids that were made from there."""
    found = copy.copy(block)
    found.at = ""
    found.own = None
    if isinstance(found, ToolCall) and found.id.startswith("call_"):
        found.id = ""
    return found


def ends(data: bytes) -> list[int]:
    """Where the events of a stream end."""
    found = []
    at = 0
    while (at := data.find(b"\n\r\n", at)) >= 0:
        at += 3
        found.append(at)
    return found or [place + 1 for place, byte in enumerate(data) if byte == 0x7D]


def test_cut_streams_fail() -> None:
    """Cut at any event before the one that brings the last finish reason, no stream succeeds."""
    counted = 0
    for line in STREAMS:
        if LIVE in line.id:
            continue
        data = line.reply_bytes()
        places = ends(data)
        if line.reply_json is None:
            first = next(n for n, chunk in enumerate(chunks(line)) if "finishReason" in json.dumps(chunk))
            places = places[:first]
        else:
            places = [place for place in places if place < len(data)][-40:]
        laws.never_succeeds_cut(CODEC, data, [0, *places])
        counted += len(places)
    assert counted >= 600


def test_every_byte_split_of_small_streams() -> None:
    """Streams up to 3 kB give the same events whole, byte by byte, and parted at every byte."""
    counted = 0
    for line in STREAMS:
        data = line.reply_bytes()
        if len(data) <= 3000 and counted < 30:
            laws.every_split(CODEC, data)
            counted += 1
    assert counted == 30


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_any_split_of_any_stream(data: st.DataObject) -> None:
    """Any stream, parted anywhere, gives the same events."""
    line = data.draw(st.sampled_from(STREAMS))
    whole = line.reply_bytes()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[one:other] for one, other in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert laws.read_in_pieces(CODEC, pieces) == laws.read_whole(CODEC, whole)


def test_another_api_is_no_success() -> None:
    """The Live API's messages are no chunks of a stream: they end in Failed."""
    line = next(line for line in STREAMS if LIVE in line.id)
    assert isinstance(laws.read_whole(CODEC, line.reply_bytes())[-1], Failed)


def test_errors_return() -> None:
    """Recorded errors keep their code, message and status on the way through."""
    counted = 0
    for line in ERRORS:
        failed = CODEC.read_error(line.status, line.reply_headers, line.reply_bytes())
        told = line.reply_json[0] if isinstance(line.reply_json, list) else line.reply_json
        written = CODEC.write_error(failed)["error"]
        assert {key: written[key] for key in ("code", "message", "status")} == {
            key: told["error"][key] for key in ("code", "message", "status")
        }
        assert CODEC.status_for(failed.status) == line.status
        counted += 1
    assert counted >= 27


@pytest.mark.parametrize("line", [line for line in ERRORS if "RetryInfo" in json.dumps(line.reply_json)][:1])
def test_retry_info(line: Line) -> None:
    """28: Google's RetryInfo is read, and written."""
    failed = CODEC.read_error(line.status, {}, line.reply_bytes())
    assert failed.retry_after == 34.4
    assert {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"} in CODEC.write_error(failed)[
        "error"
    ]["details"]
