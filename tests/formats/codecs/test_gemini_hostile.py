"""Hostile input to the Gemini codec, and law 2 on made conversations."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.formats.codecs import laws
from tests.formats.codecs.gemini_samples import (
    MESSAGES,
    STREAM,
    ask,
    client,
    read,
)

from interpose.formats.codecs import Malformed, Target
from interpose.formats.codecs.gemini import CODEC
from interpose.ir import (
    Failed,
    Losses,
    Message,
    Opaque,
    Text,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SAMPLE: dict[str, Any] = {
    "systemInstruction": {"parts": [{"text": "s"}], "role": "user"},
    "contents": [
        {
            "role": "user",
            "parts": [{"text": "a", "thought": False}, {"inlineData": {"mimeType": "a/b", "data": "AA=="}}],
        },
        {
            "role": "model",
            "parts": [{"functionCall": {"id": "1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}],
        },
        {
            "role": "user",
            "parts": [{"functionResponse": {"id": "1", "name": "f", "response": {"output": 1}, "parts": []}}],
        },
        {"role": "user", "parts": [{"fileData": {"fileUri": "gs://a", "mimeType": "a/b"}}]},
    ],
    "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "minItems": "1"}}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "generationConfig": {
        "temperature": 1,
        "stopSequences": ["a"],
        "responseMimeType": "application/json",
        "responseSchema": {"type": "STRING"},
        "thinkingConfig": {"thinkingBudget": 1, "thinkingLevel": "low"},
    },
    "labels": {"a": "b"},
}
REPLY: dict[str, Any] = {
    "candidates": [
        {
            "content": {"parts": [{"text": "a"}, {"functionCall": {"name": "f", "args": {}}}], "role": "model"},
            "finishReason": "STOP",
            "index": 0,
            "groundingMetadata": {
                "groundingChunks": [{"web": {"uri": "u", "title": "t"}}],
                "groundingSupports": [{"segment": {"endIndex": 1, "text": "a"}, "groundingChunkIndices": [0]}],
            },
            "citationMetadata": {"citations": [{"uri": "u"}]},
        }
    ],
    "promptFeedback": {"blockReason": "SAFETY"},
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2, "thoughtsTokenCount": 3},
    "createTime": "2026-05-04T20:01:02.264968Z",
    "modelVersion": "m",
    "responseId": "r",
}


def places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += places(inner)
    return found


def mutated(data: st.DataObject, body: dict[str, Any]) -> dict[str, Any]:
    body = copy.deepcopy(body)
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(places(body) or [(body, "x")]))
        if data.draw(st.booleans()):
            holder[key] = data.draw(JSON_VALUES)
        else:
            holder.pop(key) if isinstance(holder, list) and holder else holder.pop(key, None)
    return body


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_mutated_requests(data: st.DataObject) -> None:
    """Whatever is wrong in a request is Malformed with a path, or is read, and then written as it was."""
    body = mutated(data, SAMPLE)
    losses = Losses()
    try:
        request = CODEC.read_request(copy.deepcopy(body), STREAM)
    except Malformed:
        return
    laws.same(CODEC.write_request(request, Target("gemini-2.5-flash"), losses).body, body)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_mutated_replies(data: st.DataObject) -> None:
    """Whatever is wrong in a reply is Malformed, or is read and written as it was; in a stream it never raises."""
    body = mutated(data, REPLY)
    laws.read_whole(CODEC, b"data: " + json.dumps(body).encode() + b"\n\n")
    try:
        reply = CODEC.read_reply(copy.deepcopy(body))
    except Malformed:
        return
    laws.same(CODEC.write_reply(reply, client(model=reply.model), Losses()), body)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes(one: bytes, other: bytes) -> None:
    """Any bytes at all are read without an exception, and never as success."""
    for start in (b"", b"data: ", b"[", b"{", b'data: {"candidates": [{"content": '):
        found = laws.read_in_pieces(CODEC, (start + one, other))
        assert isinstance(found[-1], Failed)
    CODEC.read_error(500, {}, one)


def test_odd_json() -> None:
    """Deep nesting, huge numbers, lone surrogates and doubled keys are read, and what can be is written as it was."""
    deep: Any = {}
    for _ in range(900):
        deep = {"a": deep}
    args = {"deep": deep, "huge": 10**40, "lone": "\ud800", "big": 1e300}
    body = {"contents": [{"role": "model", "parts": [{"functionCall": {"id": "1", "name": "f", "args": args}}]}]}
    tools = [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": deep}}]}]
    request = CODEC.read_request(json.loads(json.dumps({**body, "tools": tools})), STREAM)
    found = CODEC.write_request(request, Target("m"), Losses()).body
    laws.same(found, {**body, "tools": tools})
    lone = b'data: {"candidates":[{"content":{"parts":[{"text":"\\ud800"}]},"finishReason":"STOP"}]}\n\n'
    assert read(lone).answers[0].blocks == [Text("\ud800", at="candidates[0].content.parts[0]")]
    nested = b'data: {"candidates":' + b"[" * 100_000 + b"\n\n"
    assert isinstance(laws.read_whole(CODEC, nested)[-1], Failed)
    twice = b'data: {"candidates":[],"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}]}\n\n'
    assert len(read(twice).answers) == 1


def test_a_huge_event_is_bounded() -> None:
    """An event without an end is given up at the framing's limit, in pieces of a megabyte."""
    reader = CODEC.reader()
    found = reader.feed(b"data: ")
    for _ in range(40):
        found += reader.feed(b"x" * 1_000_000)
    found += reader.close()
    assert [type(event) for event in found] == [Failed]


@settings(max_examples=300, deadline=None)
@given(MESSAGES, MESSAGES, st.sampled_from(["gemini-2.5-flash", "gemini-3-pro-preview"]))
def test_law_2(before: list[Message], after: list[Message], model: str) -> None:
    """What is written for the beginning of a conversation stays the same when it goes on."""

    def parts(messages: list[Message]) -> tuple[list[Any], list[Any]]:
        request = ask(*copy.deepcopy(messages))
        body = CODEC.write_request(request, Target(model), Losses()).body
        assert body == CODEC.write_request(request, Target(model), Losses()).body
        system = body.get("systemInstruction", {}).get("parts", [])
        return system, [[content["role"], part] for content in body["contents"] for part in content["parts"]]

    (system, found), (longer_system, longer) = parts(before), parts([*before, *after])
    assert laws.is_prefix(system, longer_system)
    assert laws.is_prefix(found, longer)


def test_packed_state_that_was_damaged_is_nobodys() -> None:
    """What looks packed but is not stays a signature of Gemini's."""
    looks = base64.b64encode(b"interpose.1.zz").decode()
    body = {"contents": [{"role": "model", "parts": [{"text": "x", "thoughtSignature": looks}]}]}
    request = laws.request_returns(CODEC, body, STREAM)
    block = request.messages[0].blocks[0]
    assert isinstance(block, Text)
    assert block.opaque == Opaque("gemini", "thought_signature", looks)
