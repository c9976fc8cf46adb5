"""Unmodified official SDKs and curl through the proxy, against an upstream which plays the provider hosts.

The clients are told nothing but HTTPS_PROXY and a CA file in the environment, as by a user's shell; base URLs are
the SDKs' own. Each call is made streamed and not, and each is in the ledger with the provider's own token counts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from google import genai
from tests.e2e import replies
from tests.e2e.proxy import Proxy
from tests.e2e.replies import providers
from tests.e2e.settings import OPENAI, PLACEHOLDER, canary, real
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Valid for no one; the SDKs want some key.
DUMMY = canary("own-of-sdks")
HI: list[Any] = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Callable[[Proxy], dict[str, str]]:
    """Sets the environment that `interpose run` gives to a program, and returns it."""

    def export(proxy: Proxy) -> dict[str, str]:
        variables = {"HTTPS_PROXY": proxy.url, "HTTP_PROXY": proxy.url, "NO_PROXY": "", "SSL_CERT_FILE": str(proxy.ca)}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
            monkeypatch.setenv(name.lower(), value)
        for name in (
            "ALL_PROXY",
            "all_proxy",
            "OPENAI_BASE_URL",
            "ANTHROPIC_BASE_URL",
            "GOOGLE_API_KEY",
            "SSL_CERT_DIR",
        ):
            monkeypatch.delenv(name, raising=False)
        return variables

    return export


Shell = Callable[[Proxy], dict[str, str]]


def ask_openai(client: openai.OpenAI) -> dict[str, Any]:
    """Every kind of call that the tests play, by the synchronous client."""
    said: dict[str, Any] = {}
    chat = client.chat.completions.create(model="gpt-4o-mini", messages=HI)
    said["chat"] = chat.choices[0].message.content
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o-mini", messages=HI, stream=True, stream_options={"include_usage": True}
        )
    )
    said["chat streamed"] = "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)
    said["chat usage"] = chunks[-1].usage.total_tokens if chunks[-1].usage else None
    said["responses"] = client.responses.create(model="gpt-4o-mini", input="Hi").output_text
    with client.responses.stream(model="gpt-4o-mini", input="Hi") as stream:
        said["responses streamed"] = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
        said["responses final"] = stream.get_final_response().output_text
    said["embedding"] = client.embeddings.create(model="text-embedding-3-small", input="Hi").data[0].embedding
    said["models"] = [model.id for model in client.models.list()]
    return said


OPENAI_SAID = {
    "chat": "Good morning ☀",
    "chat streamed": "Good morning ☀",
    "chat usage": 18,
    "responses": "Good evening",
    "responses streamed": "Good evening",
    "responses final": "Good evening",
    "embedding": list(replies.VECTOR),
    "models": ["gpt-4o-mini"],
}
OPENAI_USED = [
    ("chat", 0, 13, 5),
    ("chat", 1, 11, 7),
    ("chat", 0, 17, 3),
    ("chat", 1, 17, 3),
    ("embeddings", 0, 19, None),
    ("models", 0, None, None),
]


def used(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["endpoint"], row["stream"], row["input_tokens"], row["output_tokens"]) for row in rows]


async def test_openai(audit: Proxy, upstream: Upstream, shell: Shell) -> None:
    """openai: chat, responses, embeddings and models, streamed and not, with the client's own key going through."""
    shell(audit)
    mark = audit.ledger.mark()
    with upstream.answering(providers):
        with openai.OpenAI(api_key=DUMMY, max_retries=0) as client:
            assert await asyncio.to_thread(ask_openai, client) == OPENAI_SAID
        assert {request.values("authorization")[0].decode() for request in upstream.requests} == {f"Bearer {DUMMY}"}
    rows = await audit.ledger.rows(mark, 6)
    assert used(rows) == OPENAI_USED
    assert {row["outcome"] for row in rows} == {"ok"}


async def test_openai_over_http2(audit: Proxy, upstream: Upstream, shell: Shell) -> None:
    """openai over HTTP/2 (httpx with http2): the same calls, the same answers."""
    shell(audit)
    with (
        upstream.answering(providers),
        openai.OpenAI(api_key=DUMMY, max_retries=0, http_client=openai.DefaultHttpxClient(http2=True)) as client,
    ):
        assert await asyncio.to_thread(ask_openai, client) == OPENAI_SAID


async def test_openai_async(audit: Proxy, upstream: Upstream, shell: Shell) -> None:
    """openai's asynchronous client streams sixteen chats side by side."""
    shell(audit)

    async def one(client: openai.AsyncOpenAI) -> str:
        stream = await client.chat.completions.create(model="gpt-4o-mini", messages=HI, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

    with upstream.answering(providers):
        async with openai.AsyncOpenAI(api_key=DUMMY, max_retries=0) as client:
            said = await asyncio.gather(*(one(client) for _ in range(16)))
    assert said == ["Good morning ☀"] * 16


async def test_openai_streams_as_it_comes(audit: Proxy, upstream: Upstream, shell: Shell) -> None:
    """The SDK yields the first words while the provider still holds the rest back."""
    shell(audit)
    gate = asyncio.Event()

    async def gated(exchange: Exchange) -> None:
        await exchange.stream(replies.CHAT.content_type)
        await exchange.chunk(b"".join(replies.CHAT.pieces[:2]))
        await gate.wait()
        await exchange.chunk(b"".join(replies.CHAT.pieces[2:]))
        await exchange.end()

    said = ""
    with upstream.answering(gated):
        async with openai.AsyncOpenAI(api_key=DUMMY, max_retries=0) as client:
            stream = await client.chat.completions.create(model="gpt-4o-mini", messages=HI, stream=True)
            async for chunk in stream:
                said += (chunk.choices[0].delta.content or "") if chunk.choices else ""
                if said == "Good":
                    gate.set()
    assert said == "Good morning ☀"


async def test_openai_sees_an_error_as_its_own(acting: Proxy, upstream: Upstream, shell: Shell) -> None:
    """A refusal of ours is raised as the SDK's own exception, with our message; the provider's 429 likewise."""
    shell(acting)

    async def busy(exchange: Exchange) -> None:
        await exchange.reply(
            b'{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}',
            429,
            [(b"Content-Type", b"application/json"), (b"Retry-After", b"1")],
        )

    with upstream.answering(busy):
        async with openai.AsyncOpenAI(api_key="vk-nobody-knows-this-key", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError, match="not known"):
                await client.chat.completions.create(model="gpt-4o-mini", messages=HI)
        async with openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
            with pytest.raises(openai.RateLimitError, match="Rate limit reached"):
                await client.chat.completions.create(model="gpt-4o-mini", messages=HI)


async def test_openai_sees_a_cut_as_an_error(audit: Proxy, upstream: Upstream, shell: Shell) -> None:
    """A stream that the provider breaks off raises in the SDK instead of ending quietly."""
    shell(audit)
    seen = asyncio.Event()

    async def cut(exchange: Exchange) -> None:
        await exchange.stream(replies.CHAT.content_type)
        await exchange.chunk(b"".join(replies.CHAT.pieces[:2]))
        await seen.wait()
        exchange.reset()

    async def read(client: openai.AsyncOpenAI) -> None:
        stream = await client.chat.completions.create(model="gpt-4o-mini", messages=HI, stream=True)
        async for _ in stream:
            seen.set()

    with upstream.answering(cut):
        async with openai.AsyncOpenAI(api_key=DUMMY, max_retries=0) as client:
            with pytest.raises((openai.APIError, httpx.HTTPError)):
                await read(client)


async def test_anthropic(audit: Proxy, upstream: Upstream, shell: Shell) -> None:
    """anthropic: messages, streamed and not, cache tokens counted into the input."""
    shell(audit)
    mark = audit.ledger.mark()

    def ask() -> list[str]:
        with anthropic.Anthropic(api_key=DUMMY, max_retries=0) as client:
            whole = client.messages.create(model="claude-simulated", max_tokens=64, messages=HI)
            with client.messages.stream(model="claude-simulated", max_tokens=64, messages=HI) as stream:
                text = "".join(stream.text_stream)
                final = stream.get_final_message()
            return [whole.content[0].text, text, final.stop_reason or ""]  # type: ignore[union-attr]

    with upstream.answering(providers):
        assert await asyncio.to_thread(ask) == ["Bonjour", "Bonjour", "end_turn"]
        assert all(request.anywhere(DUMMY) for request in upstream.requests)
    rows = await audit.ledger.rows(mark, 2)
    assert used(rows) == [("chat", 0, 29, 6), ("chat", 1, *replies.MESSAGES.tokens)]
    assert (rows[1]["cache_read_tokens"], rows[1]["cache_write_tokens"]) == (17, 2)


async def test_google_genai(audit: Proxy, upstream: Upstream, shell: Shell) -> None:
    """google-genai: generate_content, streamed and not."""
    shell(audit)
    mark = audit.ledger.mark()

    def ask() -> list[str | None]:
        with genai.Client(api_key=DUMMY) as client:
            whole = client.models.generate_content(model="gemini-2.5-flash", contents="Hi")
            stream = client.models.generate_content_stream(model="gemini-2.5-flash", contents="Hi")
            return [whole.text, "".join(chunk.text or "" for chunk in stream)]

    with upstream.answering(providers):
        assert await asyncio.to_thread(ask) == ["Ciao bella", "Ciao bella"]
        assert all(request.anywhere(DUMMY) for request in upstream.requests)
    rows = await audit.ledger.rows(mark, 2)
    assert used(rows) == [("chat", 0, 31, 8), ("chat", 1, 31, 8)]


# The SDK itself inherits from a class of aiohttp's that warns of it.
@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
async def test_google_genai_async(audit: Proxy, upstream: Upstream, shell: Shell) -> None:
    """google-genai's asynchronous client, streamed."""
    shell(audit)
    with upstream.answering(providers):
        client = genai.Client(api_key=DUMMY)
        stream = await client.aio.models.generate_content_stream(model="gemini-2.5-flash", contents="Hi")
        assert "".join([chunk.text or "" async for chunk in stream]) == "Ciao bella"
        await client.aio.aclose()
        client.close()


async def test_the_sdks_with_a_placeholder(acting: Proxy, upstream: Upstream, shell: Shell) -> None:
    """With rules, three SDKs with a placeholder for a key reach their providers with the right credential each."""
    shell(acting)

    def ask() -> None:
        with openai.OpenAI(api_key=PLACEHOLDER, max_retries=0) as first:
            first.chat.completions.create(model="gpt-4o-mini", messages=HI)
        with anthropic.Anthropic(api_key=PLACEHOLDER, max_retries=0) as second:
            second.messages.create(model="claude-simulated", max_tokens=64, messages=HI)
        with genai.Client(api_key=PLACEHOLDER) as third:
            third.models.generate_content(model="gemini-2.5-flash", contents="Hi")

    with upstream.answering(providers):
        await asyncio.to_thread(ask)
        for request, provider in zip(upstream.requests, ("openai", "anthropic", "gemini"), strict=True):
            assert request.anywhere(real(provider))
            assert not request.anywhere(PLACEHOLDER)


async def curl(variables: dict[str, str], *arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        "curl",
        "--silent",
        "--show-error",
        "--fail-with-body",
        "--max-time",
        "60",
        *arguments,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", **variables, "https_proxy": variables["HTTPS_PROXY"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    return out


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
async def test_curl(audit: Proxy, upstream: Upstream, shell: Shell, tmp_path: Path, version: str) -> None:
    """curl over HTTP/1.1 and HTTP/2: a chat, the same streamed, and a binary file to the byte."""
    variables = shell(audit) | {"CURL_CA_BUNDLE": str(audit.ca)}
    content = bytes(range(256)) * 5000
    (tmp_path / "upload.bin").write_bytes(content)

    async def file(exchange: Exchange) -> None:
        await exchange.reply(bytes(exchange.request.body), 200, [(b"Content-Type", b"application/octet-stream")])

    key = ("-H", f"Authorization: Bearer {DUMMY}", "-H", "Content-Type: application/json")
    with upstream.answering(providers):
        body = json.dumps({"model": "gpt-4o-mini", "messages": HI})
        url = f"https://{OPENAI}/v1/chat/completions"
        assert await curl(variables, version, *key, "-d", body, url) == replies.CHAT_JSON
        body = json.dumps({"model": "gpt-4o-mini", "messages": HI, "stream": True})
        assert await curl(variables, version, "--no-buffer", *key, "-d", body, url) == replies.CHAT.body
    with upstream.answering(file):
        upload = f"@{tmp_path / 'upload.bin'}"
        url = f"https://{OPENAI}/v1/files"
        assert await curl(variables, version, *key, "--data-binary", upload, url) == content
        assert bytes(upstream.request.body) == content
