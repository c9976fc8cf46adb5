"""Every other format's recordings through the Anthropic codec: what is sent is of the SDK's types, and the SDK reads
what is answered; and Anthropic's own recordings through every other codec.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import pytest
from tests import corpus
from tests.formats.codecs import anthropic_sdk, laws
from tests.formats.codecs.published import flaws

from interpose.formats.codecs import CODECS, Asked, Client, Malformed, Target
from interpose.ir import Failed, Losses, Request

CODEC = CODECS["anthropic"]
CLIENT = Client(Request("anthropic", "claude", []), "claude", "call-1", 0)
# By family: its codec, and how many requests, whole replies and streams are recorded at least.
OTHERS = {
    "openai_chat": ("openai-chat", 1600, 1290, 320),
    "chat_compat": ("openai-chat", 1000, 670, 300),
    "openai_responses": ("openai-responses", 1240, 840, 420),
    "gemini_generate": ("gemini", 980, 820, 185),
}


@pytest.mark.parametrize("family", OTHERS)
def test_requests_are_sent_as_the_sdk_would_send_them(family: str) -> None:
    """Each is of the SDK's type, or impossible and told; roles alternate; the turn that follows answers the calls."""
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
        body = CODEC.write_request(request, Target("claude"), losses).body
        found["written"] += 1
        if losses.impossibilities:
            found["impossible"] += 1
            continue
        assert flaws("anthropic", body) == [], line.id
        turns = body["messages"]
        assert all(one["role"] != other["role"] for one, other in pairwise(turns)), line.id
        for one, other in pairwise(turns):
            called = {block["id"] for block in one["content"] if block["type"] == "tool_use"}
            kinds = [block["type"] for block in other["content"]]
            answered = {block.get("tool_use_id") for block in other["content"]}
            found["answered"] += bool(called) and called <= answered
            assert kinds == sorted(kinds, key=lambda kind: kind != "tool_result") or other["role"] == "assistant"
            found["unanswered"] += not called <= answered
    assert found["written"] >= most
    assert found["impossible"] < found["written"] / 10
    assert found["unanswered"] <= 1  # one recording's second call was never answered
    assert found["answered"] >= 100


@pytest.mark.parametrize("family", OTHERS)
def test_replies_are_read_by_the_sdk(family: str) -> None:
    """Whole replies and streams, told to a client of Claude: the SDK takes them, and what failed it does not."""
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
            message = anthropic_sdk.message(json.dumps(CODEC.write_reply(reply, CLIENT, losses)).encode())
            found["whole"] += 1
        elif line.reply_text:
            events = laws.read_whole(CODECS[name], line.reply_bytes())
            writer = CODEC.writer(CLIENT, losses)
            data = b"".join(writer.write([event]) for event in events) + writer.finish()
            if isinstance(events[-1], Failed):
                assert b"message_stop" not in data
                continue
            message = anthropic_sdk.accumulated(data)
            found["stream"] += 1
        else:
            continue
        assert message["stop_reason"] is not None, line.id
        called = any(block["type"] == "tool_use" for block in message["content"])
        assert called or message["stop_reason"] != "tool_use", line.id
    assert found["whole"] >= whole
    assert found["stream"] >= streams


@pytest.mark.parametrize("name", ["openai-chat", "openai-responses", "gemini"])
def test_anthropics_recordings_are_written_by_every_other_codec(name: str) -> None:
    """Requests and replies, whole and in streams: no exception, and a plain reply tells no loss."""
    found: Counter[str] = Counter()
    for line in corpus.lines("anthropic_messages"):
        try:
            request = CODEC.read_request(line.request, Asked("/v1/messages", "", line.request_headers))
        except Malformed:
            continue
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
        found["lossless"] += not list(losses)
    assert found["request"] >= 1180
    assert found["reply"] >= 1145
    assert found["lossless"] >= 800
