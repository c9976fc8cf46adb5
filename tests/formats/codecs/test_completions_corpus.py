"""Legacy completions against every recording: what comes back equal, what is left over, how streams end."""

from __future__ import annotations

from functools import cache

import httpx
import openai
from tests.corpus import Line, lines
from tests.formats.codecs import laws

from interpose.formats.codecs import Asked, Client, Malformed
from interpose.formats.codecs.completions import CODEC
from interpose.ir import Failed, Losses, Request


@cache
def recorded() -> list[Line]:
    return list(lines("completions_legacy"))


def client_for(model: str, request: Request | None = None) -> Client:
    return Client(request or Request("openai-completions", model, []), model, "call-1", 1_700_000_000)


def test_every_recorded_request_comes_back_equal() -> None:
    """Prompts as text, as lists and as tokens; two name a prompt that their server keeps, and are refused."""
    counted = 0
    for line in recorded():
        if line.request_kind != "json":
            continue
        if "prompt" not in line.request:
            assert "variables" in line.request
            laws.refuses(CODEC, laws.copy.deepcopy(line.request), "prompt")
            continue
        laws.request_returns(CODEC, line.request, Asked(line.path))
        counted += 1
    assert counted >= 88


def test_every_recorded_reply_comes_back_equal() -> None:
    """But for two chats and a report of usage."""
    counted, refused = 0, []
    for line in recorded():
        if not line.ok or not isinstance(line.reply_json, dict):
            continue
        try:
            reply = laws.reply_returns(CODEC, line.reply_json, client_for(line.reply_json.get("model", "")))
        except Malformed:
            refused.append(line.reply_json["object"])
            continue
        laws.collecting_returns(CODEC, reply)
        counted += 1
    assert counted >= 62
    assert refused == ["chat.completion", "chat.completion", "page"]


def streams() -> list[bytes]:
    return [
        line.reply_bytes()
        for line in recorded()
        if line.ok and line.reply_text is not None and line.reply_text.startswith('data: {"id"')
    ]


def test_every_recorded_stream_is_read() -> None:
    """Text as it is parted, the same by every split; cut anywhere before its finish reason it is a failure."""
    for data in streams():
        reply = laws.collected(CODEC, laws.read_whole(CODEC, data)).reply
        assert "".join(block.text for block in reply.answers[0].blocks) == sdk_text(data)  # type: ignore[union-attr]
        assert reply.answers[0].stop is not None
        if len(data) < 6_000:
            laws.every_split(CODEC, data)
        cut = data[: data.rindex(b'"finish_reason":') - 200]
        assert isinstance(laws.read_whole(CODEC, cut)[-1], Failed)
    assert len(streams()) >= 18


def sdk_text(data: bytes) -> str:
    """What the official SDK reads."""
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, headers={"content-type": "text/event-stream"}, content=data)
    )
    sdk = openai.OpenAI(api_key="sk-FAKE-1", http_client=httpx.Client(transport=transport), max_retries=0)
    with sdk.completions.create(model="m", prompt="p", stream=True) as stream:
        return "".join(choice.text or "" for chunk in stream for choice in chunk.choices)


def test_a_stream_written_from_a_stream_reads_the_same() -> None:
    """Written for a client of completions and read again: the same text, stop and usage."""
    for data in streams():
        events = laws.read_whole(CODEC, data)
        first = laws.collected(CODEC, events).reply
        request = Request("openai-completions", first.model, [], stream=True, include_usage=True)
        losses = Losses("reply")
        writer = CODEC.writer(client_for(first.model, request), losses)
        again = laws.collected(CODEC, laws.read_whole(CODEC, writer.write(events) + writer.finish())).reply
        assert [answer.blocks for answer in again.answers] == [answer.blocks for answer in first.answers]
        assert [answer.stop for answer in again.answers] == [answer.stop for answer in first.answers]
        assert not list(losses)
