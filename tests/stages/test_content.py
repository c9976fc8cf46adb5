"""What rules may ask about a body: its size, its tokens, and what a conversation brings along, in every format."""

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from interpose.call import Call, Origin, Peer, Url
from interpose.formats.endpoints import Match, classify
from interpose.formats.hosts import lookup
from interpose.rules.facts import Content
from interpose.rules.matching import Match as Wanted
from interpose.rules.values import size
from interpose.stages.claim import read_facts
from interpose.stages.content import BEYOND, reader
from interpose.stages.metering import BASE64, estimated_input

IMAGE = "iVBORw0KGgo="
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def asked(host: str, path: str, body: object, **headers: str) -> tuple[Call, Match]:
    row = lookup(host, 443)
    assert row is not None
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    pairs = tuple((name.encode().replace(b"_", b"-"), value.encode()) for name, value in headers.items())
    call = Call(
        "POST", Url(Origin("https", host, 443), path), ((b"host", host.encode()), *pairs), data, Peer("127.0.0.1")
    )
    return call, classify(row, "POST", path)


def content(host: str, path: str, body: object, **headers: str) -> Content | None:
    return reader(*asked(host, path, body, **headers))()


BROUGHT = [
    ("api.openai.com", "/v1/chat/completions", CHAT, set()),
    (
        "api.openai.com",
        "/v1/chat/completions",
        {**CHAT, "tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tools"},
    ),
    (
        "api.openai.com",
        "/v1/chat/completions",
        {
            "model": "m",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}},
                        {"type": "input_audio", "input_audio": {"data": IMAGE, "format": "wav"}},
                        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{IMAGE}"}},
                    ],
                }
            ],
        },
        {"images", "audio", "documents"},
    ),
    (
        "api.anthropic.com",
        "/v1/messages",
        {
            "model": "m", "max_tokens": 9,
            "messages": [
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IMAGE}}]}]},
            ],
        },
        {"images"},
    ),
    (
        "generativelanguage.googleapis.com",
        "/v1beta/models/gemini-2.5-pro:generateContent",
        {"contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "application/pdf", "data": IMAGE}}]}]},
        {"documents"},
    ),
    (
        "bedrock-runtime.us-east-1.amazonaws.com",
        "/model/amazon.nova-pro-v1%3A0/converse",
        {"messages": [{"role": "user", "content": [{"image": {"format": "png", "source": {"bytes": IMAGE}}}]}]},
        {"images"},
    ),
    ("api.openai.com", "/v1/embeddings", {"model": "m", "input": "image"}, set()),
    ("api.openai.com", "/v1/chat/completions", {"model": "m", "messages": "no list"}, set()),
    ("api.openai.com", "/v1/chat/completions", b"no JSON", set()),
]  # fmt: skip


@pytest.mark.parametrize(("host", "path", "body", "brought"), BROUGHT)
def test_what_a_conversation_brings_along(host: str, path: str, body: object, brought: set[str]) -> None:
    """Read by the client's codec; what is no conversation, or malformed, brings nothing."""
    found = content(host, path, body)
    assert found is not None
    assert found.has == brought


def test_a_body_is_read_once_and_only_when_asked() -> None:
    """Facts are made for every call; a body costs something only where a rule asks for it."""
    call, match = asked("api.openai.com", "/v1/chat/completions", CHAT)
    facts = read_facts(call, match)
    assert facts.content() is facts.content()
    assert facts.app is None


def test_sizes_are_of_what_was_said() -> None:
    """Without its compression; media are bytes, but no tokens."""
    plain = json.dumps(CHAT).encode()
    packed = content("api.openai.com", "/v1/chat/completions", gzip.compress(plain), content_encoding="gzip")
    assert packed is not None
    assert packed.bytes == len(plain)
    heavy = {**CHAT, "picture": "A" * 100_000}
    found = content("api.openai.com", "/v1/chat/completions", heavy)
    assert found is not None
    assert found.bytes > 100_000
    assert found.tokens < 100


def test_a_body_that_streams_through_is_as_large_as_it_says() -> None:
    """Nothing else is known of it. Where it does not say, it is more than what does not stream."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b""

    call, match = asked("api.openai.com", "/v1/chat/completions", CHAT, content_length="9000000")
    call.body = pieces()
    found = reader(call, match)()
    assert found == Content(9_000_000, 2_250_000)
    call.headers = ()
    assert reader(call, match)() == BEYOND
    facts = read_facts(call, match)
    assert Wanted(larger_than=size("8MiB")).reason(facts) is None
    assert Wanted(larger_than=size("8.1MiB")).reason(facts) == "larger_than"
    assert Wanted(smaller_than=size("100MiB")).reason(facts) == "smaller_than"
    call.headers = ((b"upgrade", b"websocket"),)
    assert reader(call, match)() is None


def test_a_body_that_decodes_to_more_than_is_read_is_large() -> None:
    """However little of it there is to see."""
    packed = gzip.compress(json.dumps({**CHAT, "padding": "text " * 2_000_000}).encode())
    assert content("api.openai.com", "/v1/chat/completions", packed, content_encoding="gzip") == BEYOND


def test_conditions_on_the_body() -> None:
    """More than, less than, any of; what is not known is neither."""
    call, match = asked(
        "api.openai.com", "/v1/chat/completions", {**CHAT, "tools": [{"type": "function", "function": {"name": "f"}}]}
    )
    facts = read_facts(call, match)
    bytes_ = len(call.body) if isinstance(call.body, bytes) else 0
    assert Wanted(larger_than=size(f"{bytes_ - 1}B")).reason(facts) is None
    assert Wanted(larger_than=size(f"{bytes_}B")).reason(facts) == "larger_than"
    assert Wanted(smaller_than=size("1 tokens")).reason(facts) == "smaller_than"
    assert Wanted(has=frozenset(("images", "tools"))).reason(facts) is None
    assert Wanted(has=frozenset(("images",))).reason(facts) == "has"
    wide, narrow = Wanted(has=frozenset(("images", "tools"))), Wanted(has=frozenset(("tools",)))
    assert wide.covers(narrow)
    assert not narrow.covers(wide)


def test_runs_that_are_almost_media_are_looked_at_once() -> None:
    """A run of letters is tried where it begins and nowhere inside, which would cost a thousand times its length."""
    run = b"A" * 2000
    assert BASE64.match(run, 0)
    assert not any(BASE64.match(run, place) for place in range(1, 900))
    almost = b" ".join([b"A" * 1000] * 6000)
    assert estimated_input(almost) == -(-len(almost) // 4)
    assert estimated_input(b"{" + b"A" * 1024 + b"}" + b"B" * 1023) == -(-1025 // 4)
