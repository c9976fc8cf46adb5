"""The gateway, as unmodified SDKs meet it: a base URL and a key of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
import pytest_asyncio
from tests.e2e.certificates import Authority
from tests.e2e.proxy import Gateway
from tests.e2e.replies import CHAT_JSON
from tests.e2e.settings import ANTHROPIC, ENVIRON, OPENAI, UNKNOWN, VIRTUAL, gateway_rules, real
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

HI: Any = [{"role": "user", "content": "Hi"}]
CLAUDE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
    "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 2},
}  # fmt: skip


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, upstream: Upstream
) -> AsyncIterator[Gateway]:
    """OpenAI and Claude behind one address, for whoever holds the virtual key."""
    gateway = Gateway(tmp_path_factory.mktemp("gateway"))
    await gateway.start(gateway_rules(authority, upstream), ENVIRON)
    yield gateway
    assert await gateway.stop() == 0, gateway.errors


async def answer(exchange: Exchange) -> None:
    claude = exchange.request.path == "/v1/messages"
    await exchange.json(json.dumps(CLAUDE).encode() if claude else CHAT_JSON)


MODELS = [("gpt-4o", OPENAI), ("claude-x", ANTHROPIC), ("fast", ANTHROPIC), ("claude/claude-x", ANTHROPIC)]


@pytest.mark.parametrize(("model", "host"), MODELS)
async def test_an_openai_client_gets_any_model(gateway: Gateway, upstream: Upstream, model: str, host: str) -> None:
    """By the name of its maker, by an alias, by its provider: each with the provider's own key, and never with ours."""
    async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key=VIRTUAL, max_retries=0) as sdk:
        with upstream.answering(answer):
            reply = await sdk.chat.completions.create(model=model, messages=HI)
    assert reply.choices[0].message.content
    assert upstream.request.values("host") == [host.encode()]
    assert upstream.request.anywhere(real("openai" if host == OPENAI else "anthropic"))
    assert not upstream.request.anywhere(VIRTUAL)


async def test_sessions_end_at_the_gateway(gateway: Gateway, upstream: Upstream) -> None:
    """No cookie and no page of a client's reaches a provider, and no cookie of a provider's a client."""

    async def opens_a_session(exchange: Exchange) -> None:
        await exchange.reply(CHAT_JSON, 200, [(b"content-type", b"application/json"), (b"set-cookie", b"session=p")])

    headers = {"authorization": f"Bearer {VIRTUAL}", "cookie": "session=c", "referer": "https://app.test/page"}
    with upstream.answering(opens_a_session):
        async with httpx.AsyncClient(headers=headers, timeout=60) as client:
            reply = await client.post(f"{gateway.base_url}/chat/completions", json={"model": "gpt-4o", "messages": HI})
    assert reply.status_code == 200
    assert "set-cookie" not in reply.headers
    assert not upstream.request.anywhere("session=c")
    assert not upstream.request.anywhere("app.test")


async def test_an_anthropic_client_gets_gpt(gateway: Gateway, upstream: Upstream) -> None:
    """In its own format, by x-api-key."""
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key=VIRTUAL, max_retries=0) as sdk:
        with upstream.answering(answer):
            reply = await sdk.messages.create(model="gpt-4o", max_tokens=9, messages=HI)
    assert reply.content[0].type == "text"
    assert upstream.request.path == "/v1/chat/completions"


async def test_a_stream_comes_as_it_is_written(gateway: Gateway, upstream: Upstream) -> None:
    """Each piece when it is there, and not when the next one is."""
    told = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(b'data: {"choices": [{"index": 0, "delta": {"content": "one"}}]}\n\n')
        await told.wait()
        await exchange.chunk(b"data: [DONE]\n\n")
        await exchange.end()

    async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key=VIRTUAL, max_retries=0) as sdk:
        with upstream.answering(slow):
            stream = await sdk.chat.completions.create(model="gpt-4o", messages=HI, stream=True)
            first = await anext(aiter(stream))
            assert first.choices[0].delta.content == "one"
            told.set()
            assert [chunk async for chunk in stream] == []


async def test_a_client_that_leaves_ends_its_call(gateway: Gateway, upstream: Upstream) -> None:
    """The provider is hung up on, and the record says so."""
    began = asyncio.Event()

    async def endless(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        began.set()
        while True:
            await exchange.chunk(b'data: {"choices": [{"index": 0, "delta": {"content": "x"}}]}\n\n')
            await asyncio.sleep(0.01)

    mark = gateway.ledger.mark()
    with upstream.answering(endless):
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {VIRTUAL}"}, timeout=60) as client:
            body = {"model": "gpt-4o", "messages": HI, "stream": True}
            async with client.stream("POST", f"{gateway.base_url}/chat/completions", json=body) as reply:
                assert reply.status_code == 200
                await began.wait()
        row = await gateway.ledger.row(mark)
    assert (row["outcome"], row["entrance"], row["client"]) == ("aborted", "gateway", "ci")


async def test_a_stream_that_breaks_off_is_not_taken_for_whole(gateway: Gateway, upstream: Upstream) -> None:
    """Where the provider's connection breaks, so does the client's."""

    async def breaks(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(b'data: {"choices": [{"index": 0, "delta": {"content": "x"}}]}\n\n')
        exchange.reset()

    with upstream.answering(breaks):
        async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key=VIRTUAL, max_retries=0) as sdk:
            stream = await sdk.chat.completions.create(model="gpt-4o", messages=HI, stream=True)
            with pytest.raises((openai.APIError, httpx.HTTPError)):
                async for _ in stream:
                    pass


REFUSED: list[tuple[dict[str, str], dict[str, Any], int, str]] = [
    ({}, {"model": "gpt-4o"}, 401, "invalid_api_key"),
    ({"authorization": "Bearer sk-other"}, {"model": "gpt-4o"}, 401, "invalid_api_key"),
    ({"authorization": f"Bearer {UNKNOWN}"}, {"model": "gpt-4o"}, 401, "invalid_api_key"),
    ({"authorization": f"Bearer {VIRTUAL}", "x-api-key": UNKNOWN}, {"model": "gpt-4o"}, 401, "invalid_api_key"),
    ({"x-api-key": VIRTUAL}, {"model": "nobodys"}, 404, "model_not_found"),
    ({"x-api-key": VIRTUAL}, {}, 400, "missing_required_parameter"),
]


@pytest.mark.parametrize(("headers", "more", "status", "code"), REFUSED)
async def test_what_is_refused_is_an_error_of_openais_shape(
    gateway: Gateway, headers: dict[str, str], more: dict[str, Any], status: int, code: str
) -> None:
    """Before anything is sent."""
    async with httpx.AsyncClient() as client:
        reply = await client.post(
            f"{gateway.base_url}/chat/completions", headers=headers, json={"messages": HI, **more}
        )
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (status, code)
    assert error.keys() == {"message", "type", "param", "code"}


async def test_probes_need_no_key(gateway: Gateway) -> None:
    """A balancer has none."""
    async with httpx.AsyncClient() as client:
        health, ready = [await client.get(f"{gateway.url}/{probe}") for probe in ("healthz", "readyz")]
    assert (health.status_code, ready.json()) == (200, {"status": "ok", "stale": None})


async def test_a_stop_lets_streams_end(tmp_path: Path, authority: Authority, upstream: Upstream) -> None:
    """On SIGTERM what is in flight goes on to its end, and is recorded; nothing new is taken."""
    gateway = Gateway(tmp_path)
    await gateway.start(gateway_rules(authority, upstream), ENVIRON)
    stopping = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(b'data: {"choices": [{"index": 0, "delta": {"content": "one"}}]}\n\n')
        await stopping.wait()
        await asyncio.sleep(1)
        await exchange.chunk(b"data: [DONE]\n\n")
        await exchange.end()

    mark = gateway.ledger.mark()
    async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key=VIRTUAL, max_retries=0) as sdk:
        with upstream.answering(slow):
            stream = await sdk.chat.completions.create(model="gpt-4o", messages=HI, stream=True)
            await anext(aiter(stream))
            ending = asyncio.create_task(gateway.stop())
            stopping.set()
            assert [chunk async for chunk in stream] == []
            assert await ending == 0, gateway.errors
    assert (await gateway.ledger.row(mark))["outcome"] == "ok"


async def test_an_open_address_asks_for_keys(tmp_path: Path, authority: Authority, upstream: Upstream) -> None:
    """Rules that ask for none are served to this machine alone."""
    text = gateway_rules(authority, upstream)
    rules = json.loads(text)
    rules["clients"] = {"required": False}
    gateway = Gateway(tmp_path)
    await gateway.launch(json.dumps(rules), ENVIRON, "--listen", "0.0.0.0:0")
    assert await gateway.ended() == 1
    assert "can be reached from other machines" in gateway.errors
