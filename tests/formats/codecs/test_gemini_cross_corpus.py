"""Recorded calls through Gemini's codec and another's: what one reads the other writes, and state comes home."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from google.genai import types
from tests.corpus import Line, lines
from tests.formats.codecs import laws

from interpose.formats.codecs import CODECS, Asked, Client, Codec, Malformed, Target
from interpose.formats.codecs.gemini import CODEC
from interpose.formats.codecs.gemini.requests import UNSIGNED
from interpose.ir import Foreign, Losses, Media, Refused, Reply, Request, Text, Thinking, ToolCall

OTHERS = (
    ("openai-chat", "openai_chat", 1600, 1500),
    ("openai-responses", "openai_responses", 1200, 1200),
    ("anthropic", "anthropic_messages", 1100, 1100),
)
GEMINI = Client(Request("gemini", "m", []), "m", "id-1", 1)
VERSION = {"anthropic-version": "2023-06-01"}


def reply_of(codec: Codec, line: Line) -> Reply | None:
    """What was answered, streamed or not; None if it failed."""
    if not line.ok:
        return None
    if isinstance(line.reply_json, dict):
        try:
            return codec.read_reply(copy.deepcopy(line.reply_json))
        except Malformed:
            return None
    found = laws.collected(codec, laws.read_whole(codec, line.reply_bytes()))
    return None if found.failure is not None else found.reply


def gist(reply: Reply) -> list[list[tuple[str, str]]]:
    """Thoughts, texts and calls in order; what has no words, or that Gemini has no place for, is left out."""
    found = []
    for answer in reply.answers:
        blocks = []
        for block in answer.blocks:
            if isinstance(block, Text | Refused | Thinking) and block.text:
                blocks.append(("thought" if isinstance(block, Thinking) else "text", block.text))
            elif isinstance(block, ToolCall):
                blocks.append(("call", block.name))
        found.append(blocks)
    return found


@pytest.mark.parametrize(("name", "family", "requests", "replies"), OTHERS)
def test_others_written_for_gemini(name: str, family: str, requests: int, replies: int) -> None:
    """Every recorded request and reply of another format is written in what google-genai's types take."""
    codec = CODECS[name]
    asked_for = answered = 0
    for line in lines(family):
        if line.request_kind == "json" and line.ok and "model" in line.request:  # else another envelope's
            request = codec.read_request(
                copy.deepcopy(line.request), Asked(line.path, line.query, line.request_headers)
            )
            body = CODEC.write_request(request, Target("gemini-3-pro"), Losses()).body
            for content in body["contents"]:
                types.Content.model_validate(content)
            for tool in body.get("tools", ()):
                types.Tool.model_validate(tool)
            types.GenerationConfig.model_validate(body.get("generationConfig", {}))
            asked_for += 1
        reply = reply_of(codec, line)
        if reply is None:
            continue
        written = CODEC.write_reply(reply, GEMINI, Losses("reply"))
        types.GenerateContentResponse.model_validate(written)
        assert gist(CODEC.read_reply(written)) == gist(reply), line.id
        if not isinstance(line.reply_json, dict):
            writer = CODEC.writer(GEMINI, Losses("reply"))
            data = writer.write(laws.read_whole(codec, line.reply_bytes())) + writer.finish()
            again = laws.collected(CODEC, laws.read_whole(CODEC, data))
            assert again.failure is None
            assert gist(again.reply) == gist(reply), line.id
            assert again.reply.usage.output_tokens == reply.usage.output_tokens
        answered += 1
    assert asked_for >= requests
    assert answered >= replies


def next_turn(name: str, written: Any) -> dict[str, Any]:
    """What a client sends when it goes on: the reply as it came."""
    if name == "openai-chat":
        return {"model": "m", "messages": [{"role": "user", "content": "x"}, written["choices"][0]["message"]]}
    if name == "anthropic":
        turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": written["content"]}]
        return {"model": "m", "max_tokens": 5, "messages": turns}
    return {"model": "m", "input": [{"role": "user", "content": "x"}, *written["output"]]}


def signed(parts: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    """Each call and signature, in order."""
    found = [(part.get("functionCall", {}).get("name"), part.get("thoughtSignature")) for part in parts]
    return [(call, None if state == UNSIGNED else state) for call, state in found if call or state]


@pytest.mark.parametrize("name", [name for name, *_ in OTHERS])
def test_signatures_come_home(name: str) -> None:
    """Every thoughtSignature, through a client of another format and back, stands where Gemini had put it."""
    codec = CODECS[name]
    client = Client(
        codec.read_request({"model": "m", "messages": [], "input": [], "max_tokens": 5}, Asked()), "m", "i", 1
    )
    counted = 0
    for line in lines("gemini_generate"):
        reply = reply_of(CODEC, line)
        if reply is None or len(reply.answers) != 1 or not reply.answers[0].blocks:
            continue
        if any(isinstance(block, Foreign | Media) for block in reply.answers[0].blocks):
            continue
        expected = signed(CODEC.write_reply(reply, GEMINI, Losses("reply"))["candidates"][0]["content"]["parts"])
        body = next_turn(name, codec.write_reply(reply, client, Losses("reply")))
        request = codec.read_request(body, Asked("/v1/x", headers=VERSION))
        contents = CODEC.write_request(request, Target("gemini-3-pro"), Losses()).body["contents"]
        found = signed([part for content in contents if content["role"] == "model" for part in content["parts"]])
        assert found == expected, line.id
        counted += 1
    assert counted >= 980
