"""Every other format's recordings through the Converse codec: what is sent is valid by the service's own model, and
botocore reads what is answered; and Converse's own recordings through every other codec.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from tests import corpus
from tests.formats.codecs import converse_sdk, laws

from interpose.formats.codecs import CODECS, Asked, Client, Malformed, Target
from interpose.ir import Failed, Losses, Request

CODEC = CODECS["bedrock-converse"]
CLIENT = Client(Request(CODEC.name, "model", []), "model", "call-1", 0)
# By family: its codec, and how many requests, whole replies and streams are recorded at least.
OTHERS = {
    "openai_chat": ("openai-chat", 1600, 1290, 320),
    "chat_compat": ("openai-chat", 1000, 670, 300),
    "openai_responses": ("openai-responses", 1240, 840, 420),
    "anthropic_messages": ("anthropic", 1180, 820, 320),
    "gemini_generate": ("gemini", 980, 820, 185),
    "mistral_chat": ("mistral", 220, 140, 75),
    "ollama": ("ollama", 50, 25, 22),
    "cohere_chat": ("cohere", 95, 70, 24),
}


@pytest.mark.parametrize("family", OTHERS)
def test_requests_are_sent_as_the_service_describes_them(family: str) -> None:
    """Each is valid, or impossible and told; roles alternate; the turn that follows answers the calls."""
    name, most, _, _ = OTHERS[family]
    found: Counter[str] = Counter()
    for line in corpus.lines(family):
        if not isinstance(line.request, dict):
            continue
        try:
            request = CODECS[name].read_request(line.request, Asked(line.path, line.query, line.request_headers))
        except Malformed:
            continue
        losses = Losses()
        body = CODEC.write_request(request, Target("us.anthropic.claude-test-v1:0"), losses).body
        found["written"] += 1
        if losses.impossibilities:
            found["impossible"] += 1
            continue
        converse_sdk.validate(body, stream=request.stream)
        turns = body["messages"]
        assert turns[0]["role"] == "user", line.id
        assert all(one["role"] != other["role"] for one, other in pairwise(turns)), line.id
        for one, other in pairwise(turns):
            called = {block["toolUse"]["toolUseId"] for block in one["content"] if "toolUse" in block}
            kinds = ["toolResult" in block for block in other["content"]]
            answered = {block["toolResult"]["toolUseId"] for block in other["content"] if "toolResult" in block}
            found["answered"] += bool(called) and called <= answered
            found["unanswered"] += not called <= answered
            assert kinds == sorted(kinds, reverse=True), line.id
            assert not called or "toolConfig" in body, line.id
    assert found["written"] >= most
    assert found["impossible"] < found["written"] / 7
    assert found["unanswered"] <= 1, found  # one recording's second call was never answered
    assert found["answered"] >= most / 30


@pytest.mark.parametrize("family", OTHERS)
def test_replies_are_read_by_botocore(family: str) -> None:
    """Whole replies and streams, told to a client of Converse: botocore reads them; what failed raises there."""
    name, _, whole, streams = OTHERS[family]
    found: Counter[str] = Counter()
    for line in corpus.lines(family):
        if not line.ok:
            continue
        losses = Losses("reply")
        if isinstance(line.reply_json, dict):
            try:
                reply = CODECS[name].read_reply(line.reply_json)
            except Malformed:
                continue
            told = converse_sdk.parsed(CODEC.write_reply(reply, CLIENT, losses))
            found["whole"] += 1
        elif line.reply_text:
            events = laws.read_whole(CODECS[name], line.reply_bytes())
            writer = CODEC.writer(CLIENT, losses)
            data = b"".join(writer.write([event]) for event in events) + writer.finish()
            if isinstance(events[-1], Failed):
                assert b"messageStop" not in data
                with pytest.raises(converse_sdk.EventStreamError):
                    converse_sdk.events(data)
                found["failed"] += 1
                continue
            told = converse_sdk.accumulated(data)
            found["stream"] += 1
        else:
            continue
        assert not list(converse_sdk.flaws(converse_sdk.operation("Converse").output_shape, told, "$")), line.id
        called = any("toolUse" in block for block in told["output"]["message"]["content"])
        assert called or told["stopReason"] != "tool_use", line.id
        usage = told["usage"]
        cached = usage.get("cacheReadInputTokens", 0) + usage.get("cacheWriteInputTokens", 0)
        assert usage["totalTokens"] == usage["inputTokens"] + cached + usage["outputTokens"], line.id
    assert found["whole"] >= whole
    assert found["stream"] >= streams


@pytest.mark.parametrize(
    "name", ["openai-chat", "openai-responses", "anthropic", "gemini", "mistral", "ollama", "cohere"]
)
def test_converses_recordings_are_written_by_every_other_codec(name: str) -> None:
    """Requests and replies, whole and in streams: no exception, and a plain reply tells no loss."""
    found: Counter[str] = Counter()
    for line in corpus.lines("bedrock_converse"):
        if line.request_kind != "json":
            continue
        request = CODEC.read_request(line.request, Asked(line.path))
        CODECS[name].write_request(request, Target("model"), Losses())
        found["request"] += 1
        if not line.ok:
            continue
        losses = Losses("reply")
        client = Client(Request(name, "model", []), "model", "call-1", 0)
        if line.reply_json is None:
            writer = CODECS[name].writer(client, losses)
            assert writer.write(laws.read_whole(CODEC, line.reply_bytes())) + writer.finish()
        else:
            CODECS[name].write_reply(CODEC.read_reply(line.reply_json), client, losses)
        found["reply"] += 1
        found["lossless"] += not [loss for loss in losses if loss.severity != "carried"]
    assert found["request"] >= 278
    assert found["reply"] >= 266
    assert found["lossless"] >= 235, found
