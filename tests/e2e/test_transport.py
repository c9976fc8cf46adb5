"""Clients whose calls go through an engine in the same program: `interpose.Transport` and `interpose.AsyncTransport`,
under unmodified SDKs, by both libraries that there are.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
import pytest_asyncio
from tests.e2e.attacks import Watch
from tests.e2e.certificates import Authority
from tests.e2e.hosting import both_providers, changed
from tests.e2e.replies import CHAT, providers
from tests.e2e.settings import (
    ANTHROPIC,
    ENVIRON,
    HOUSE,
    OPENAI,
    OWN,
    PLACEHOLDER,
    UNKNOWN,
    VIRTUAL,
    acting_rules,
    real,
)
from tests.e2e.upstream import Exchange, Upstream

from interpose import AsyncTransport, Transport
from interpose.errors import InterposeError
from interpose.ledger import Record
from interpose.rules.problem import RulesError

pytestmark = pytest.mark.asyncio(loop_scope="session")

HI: Any = [{"role": "user", "content": "Hi"}]
URL = f"https://{OPENAI}/v1/chat/completions"
KEYS = {"authorization": f"Bearer {PLACEHOLDER}"}
BODY = {"model": "gpt-4o", "messages": HI}
STREAM = {**BODY, "stream": True}
LIBRARIES: Any = pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
WORD = b'data: {"choices": [{"index": 0, "delta": {"content": "word"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
# Nobody waits so long unless something is wrong.
LONG = 60.0


@pytest.fixture
def rules(authority: Authority, upstream: Upstream) -> str:
    return both_providers(authority, upstream)


@pytest_asyncio.fixture(loop_scope="session")
async def transport(rules: str) -> AsyncIterator[AsyncTransport]:
    async with AsyncTransport(rules, environ=ENVIRON) as transport:
        yield transport


@pytest.fixture
def sync_transport(rules: str) -> Iterator[Transport]:
    with Transport(rules, environ=ENVIRON) as transport:
        yield transport


class Gate:
    """Lets an upstream go on, from whichever thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def open(self) -> None:
        self._loop.call_soon_threadsafe(self._event.set)

    async def passed(self) -> None:
        await self._event.wait()


def held(gate: Gate) -> Callable[[Exchange], Awaitable[None]]:
    """Answers with a word at once, and with the rest when the gate is open."""

    async def answer(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(WORD)
        await gate.passed()
        await exchange.chunk(DONE)
        await exchange.end()

    return answer


def endless(gone: asyncio.Event) -> Callable[[Exchange], Awaitable[None]]:
    """Answers with a word, and waits for its client to leave."""

    async def answer(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(WORD)
        await exchange.gone.wait()
        gone.set()

    return answer


async def silent(exchange: Exchange) -> None:
    await exchange.gone.wait()


def told(call: Record) -> tuple[object, ...]:
    return call.entrance, call.host, call.endpoint, call.outcome, call.stream


# --- SDKs -------------------------------------------------------------------------------------------------------------


@LIBRARIES
async def test_an_async_sdk_is_credentialed_streamed_and_recorded(
    library: Any, transport: AsyncTransport, upstream: Upstream
) -> None:
    """With its own base URL, and a key that is worth nothing."""
    client = library.AsyncClient(transport=transport)
    sdk = openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0, http_client=client)
    with upstream.answering(providers):
        whole = await sdk.chat.completions.create(model="gpt-4o-mini", messages=HI)
        stream = await sdk.chat.completions.create(model="gpt-4o-mini", messages=HI, stream=True)
        words = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices]
        vectors = await sdk.embeddings.create(model="text-embedding-3-small", input="Hi")
        async with await sdk.responses.create(model="gpt-4o-mini", input="Hi", stream=True) as events:
            kinds = [event.type async for event in events]
    assert whole.choices[0].message.content == "Good morning ☀"
    assert "".join(word or "" for word in words) == "Good morning ☀"
    assert len(vectors.data[0].embedding) == 3
    assert kinds[-1] == "response.completed"
    assert {request.values("authorization")[0] for request in upstream.requests} == {
        f"Bearer {real('openai')}".encode()
    }
    calls = await transport.calls()
    assert [told(call) for call in calls] == [
        ("embedded", OPENAI, "chat", "ok", False),
        ("embedded", OPENAI, "chat", "ok", True),
        ("embedded", OPENAI, "embeddings", "ok", False),
        ("embedded", OPENAI, "chat", "ok", True),
    ]
    assert {call.ip for call in calls} == {"127.0.0.1"}
    assert calls[0].input_tokens == 13


@LIBRARIES
async def test_a_sync_sdk_is_credentialed_streamed_and_recorded(
    library: Any, sync_transport: Transport, upstream: Upstream
) -> None:
    """The same without a loop."""

    def program() -> list[Record]:
        with library.Client(transport=sync_transport) as client:
            sdk = openai.OpenAI(api_key=PLACEHOLDER, max_retries=0, http_client=client)
            whole = sdk.chat.completions.create(model="gpt-4o-mini", messages=HI)
            stream = sdk.chat.completions.create(model="gpt-4o-mini", messages=HI, stream=True)
            words = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
            vectors = sdk.embeddings.create(model="text-embedding-3-small", input="Hi")
            assert whole.choices[0].message.content == "".join(word or "" for word in words) == "Good morning ☀"
            assert len(vectors.data[0].embedding) == 3
            return sync_transport.calls()

    with upstream.answering(providers):
        calls = await asyncio.to_thread(program)
    assert all(request.anywhere(real("openai")) for request in upstream.requests)
    assert [told(call) for call in calls] == [
        ("embedded", OPENAI, "chat", "ok", False),
        ("embedded", OPENAI, "chat", "ok", True),
        ("embedded", OPENAI, "embeddings", "ok", False),
    ]


async def test_anthropics_sdk_goes_through_it_too(
    transport: AsyncTransport, sync_transport: Transport, upstream: Upstream
) -> None:
    """Both of its kinds, whole and streamed."""

    def program() -> str:
        http_client = httpx2.Client(transport=sync_transport)
        sdk = anthropic.Anthropic(api_key=PLACEHOLDER, max_retries=0, http_client=http_client)
        with sdk.messages.stream(model="claude-x", max_tokens=9, messages=HI) as stream:
            return "".join(stream.text_stream)

    http_client = httpx2.AsyncClient(transport=transport)
    sdk = anthropic.AsyncAnthropic(api_key=PLACEHOLDER, max_retries=0, http_client=http_client)
    with upstream.answering(providers):
        whole = await sdk.messages.create(model="claude-x", max_tokens=9, messages=HI)
        async with sdk.messages.stream(model="claude-x", max_tokens=9, messages=HI) as stream:
            text = "".join([piece async for piece in stream.text_stream])
        assert await asyncio.to_thread(program) == text
    assert whole.usage.output_tokens
    assert all(request.anywhere(real("anthropic")) for request in upstream.requests)
    assert [told(call) for call in await transport.calls()] == [
        ("embedded", ANTHROPIC, "chat", "ok", False),
        ("embedded", ANTHROPIC, "chat", "ok", True),
    ]


TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
USES = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
    "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Ulm"}}],
    "stop_reason": "tool_use", "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 2},
}  # fmt: skip


async def test_the_gateway_answers_by_its_own_name(transport: AsyncTransport, upstream: Upstream) -> None:
    """At `base_url` the model's name says where a call goes, in any format, with tools; no key is asked for: whoever
    calls is the program itself.
    """

    async def claude(exchange: Exchange) -> None:
        await exchange.json(json.dumps(USES).encode())

    http_client = httpx.AsyncClient(transport=transport)
    sdk = openai.AsyncOpenAI(
        base_url=AsyncTransport.base_url, api_key="sk-FAKE-any", max_retries=0, http_client=http_client
    )
    with upstream.answering(claude):
        reply = await sdk.chat.completions.create(model="fast", messages=HI, tools=[TOOL])
        with pytest.raises(openai.NotFoundError, match="nobodys") as unknown:
            await sdk.chat.completions.create(model="nobodys", messages=HI)
    (used,) = reply.choices[0].message.tool_calls or ()
    assert used.type == "function"
    assert (used.function.name, json.loads(used.function.arguments)) == ("weather", {"city": "Ulm"})
    assert upstream.request.values("host") == [ANTHROPIC.encode()]
    assert not upstream.request.anywhere("sk-FAKE-any")
    assert unknown.value.code == "model_not_found"
    assert (await http_client.get("http://interpose/healthz")).json() == {"status": "ok"}
    first, second = await transport.calls()
    assert (first.entrance, first.host, first.provider, first.outcome) == ("embedded", "interpose", "claude", "ok")
    assert (second.status, second.outcome) == (404, "refused")


async def test_the_gateway_answers_at_the_rules_virtual_host_too(rules: str, upstream: Upstream) -> None:
    """By whichever scheme, in place of a name that is looked up nowhere: its models, its calls, its pages."""
    text = changed(rules, intercept={"virtual_host": "ai.internal"})

    async def models(exchange: Exchange) -> None:
        await exchange.json(b'{"object": "list", "data": []}', 404)

    async with httpx.AsyncClient(transport=AsyncTransport(text, environ=ENVIRON)) as client:
        for base in (AsyncTransport.base_url, "https://ai.internal/v1"):
            with upstream.answering(models):
                listed = await client.get(f"{base}/models")
            assert "fast" in [model["id"] for model in listed.json()["data"]]
            with upstream.answering(providers):
                reply = await client.post(f"{base}/chat/completions", json={**BODY, "model": "fast"})
            assert reply.json()["choices"][0]["message"]["content"]
        assert (await client.get("https://ai.internal/healthz")).json() == {"status": "ok"}
        with upstream.answering(providers), pytest.raises(httpx.UnsupportedProtocol):
            await client.get("https://ai.internal/v1/realtime", headers={"upgrade": "websocket"})


async def test_a_page_of_the_gateways_is_no_page_of_a_providers(transport: AsyncTransport, upstream: Upstream) -> None:
    """What is asked of a provider's host goes there."""

    async def teapot(exchange: Exchange) -> None:
        await exchange.json(b"{}", 418)

    with upstream.answering(teapot):
        reply = await httpx.AsyncClient(transport=transport).get(f"https://{OPENAI}/healthz")
    assert reply.status_code == 418


async def test_rules_that_require_keys_ask_the_program_for_one(rules: str, upstream: Upstream) -> None:
    """Everywhere, and by the virtual key the client is known."""
    clients = {**json.loads(rules)["clients"], "required": True}
    async with AsyncTransport(changed(rules, clients=clients), environ=ENVIRON) as transport:
        client = httpx.AsyncClient(transport=transport)
        with upstream.answering(providers):
            for url in (URL, f"{AsyncTransport.base_url}/chat/completions"):
                refused = await client.post(url, json=BODY, headers=KEYS)
                assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
                good = await client.post(url, json=BODY, headers={"x-api-key": VIRTUAL})
                assert good.status_code == 200
        assert [call.client for call in await transport.calls()] == [None, "ci", None, "ci"]


# --- which key goes where ---------------------------------------------------------------------------------------------

FATES = [
    ("gpt-4o", OWN, OPENAI, 200, "openai"),
    ("gpt-4o", PLACEHOLDER, OPENAI, 200, "openai"),
    ("gpt-4o", VIRTUAL, OPENAI, 200, "openai"),
    ("gpt-4o", UNKNOWN, OPENAI, 401, None),
    ("house-1", OWN, OPENAI, 200, "house"),
    ("keyless-1", OWN, OPENAI, 500, None),
    ("keyless-1", PLACEHOLDER, OPENAI, 500, None),
    ("llama", OWN, "keyless.test", 200, OWN),
    ("llama", PLACEHOLDER, "keyless.test", 500, None),
    ("llama", VIRTUAL, "keyless.test", 500, None),
    ("gpt-4o", OWN, "expired.test", 502, None),
]


@pytest.mark.parametrize(("model", "key", "host", "status", "sent"), FATES)
async def test_a_key_goes_where_the_table_says(
    authority: Authority, dial: dict[str, str], watch: Watch, upstream: Upstream,
    model: str, key: str, host: str, status: int, sent: str | None,
) -> None:  # fmt: skip
    """The engine's laws are the transport's: a client's own key leaves for the addressed origin alone."""
    async with AsyncTransport(acting_rules(authority, dial), environ=ENVIRON) as transport:
        client = httpx.AsyncClient(transport=transport)
        url = f"https://{host}/v1/chat/completions"
        reply = await client.post(url, json={**BODY, "model": model}, headers={"authorization": f"Bearer {key}"})
    assert reply.status_code == status, reply.text
    assert watch.requests == (sent is not None)
    if sent is not None:
        value = sent if sent == OWN else real(sent)
        assert upstream.request.values("authorization") == [f"Bearer {value}".encode()]
        assert upstream.request.values("host") == [(HOUSE if sent == "house" else host).encode()]
        assert sent == OWN or not upstream.request.anywhere(key)


async def test_what_the_engine_does_not_claim_goes_on_as_it_was(rules: str, plain_upstream: Upstream) -> None:
    """By the library's own transport, with its own headers; nothing of it is recorded."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(b"plain")

    url = f"http://{plain_upstream.address}/x?y"

    def program(library: Any) -> list[Record]:
        with library.Client(transport=Transport(rules, environ=ENVIRON)) as client:
            assert client.get(url, headers=KEYS).text == "plain"
            calls: list[Record] = client._transport.calls()
            return calls

    with plain_upstream.answering(answer):
        for library in (httpx, httpx2):
            assert await asyncio.to_thread(program, library) == []
            async with library.AsyncClient(transport=AsyncTransport(rules, environ=ENVIRON)) as client:
                assert (await client.get(url, headers=KEYS)).text == "plain"
    assert len(plain_upstream.requests) == 4
    for request in plain_upstream.requests:
        assert (request.target, request.values("authorization")) == (b"/x?y", [KEYS["authorization"].encode()])


async def test_another_transport_may_stand_behind_it(rules: str) -> None:
    """For all that is not the engine's, and it is closed with it."""

    class Inner(httpx.MockTransport):
        closed = 0

        async def aclose(self) -> None:
            self.closed += 1

        def close(self) -> None:
            self.closed += 1

    inner = Inner(lambda request: httpx.Response(203, text=str(request.url)))
    async with httpx.AsyncClient(transport=AsyncTransport(rules, environ=ENVIRON, inner=inner)) as client:
        assert (await client.get("https://api.openai.com.evil.test/v1/models")).status_code == 203
        assert (await client.get("http://interpose:8080/v1/models")).text == "http://interpose:8080/v1/models"
    with httpx.Client(transport=Transport(rules, environ=ENVIRON, inner=inner)) as sync:
        assert sync.get("https://example.test/").status_code == 203
    assert inner.closed == 2


@LIBRARIES
async def test_websockets_are_refused(library: Any, transport: AsyncTransport) -> None:
    """Where they would go to a host of ours: they would go past the rules."""
    client = library.AsyncClient(transport=transport)
    for url in (f"wss://{OPENAI}/v1/realtime", f"https://{OPENAI}/v1/realtime"):
        with pytest.raises(library.UnsupportedProtocol, match="intercept"):
            await client.get(url, headers={"connection": "upgrade", "upgrade": "websocket"})


# --- bytes, as they come ----------------------------------------------------------------------------------------------


async def test_bytes_go_through_untouched(
    transport: AsyncTransport, sync_transport: Transport, upstream: Upstream
) -> None:
    """Of the same format, both ways, whatever is in them."""

    def program() -> bytes:
        with httpx.Client(transport=sync_transport) as client:
            return client.post(f"https://{CHAT.host}{CHAT.path}", content=CHAT.request, headers=KEYS).content

    async with httpx2.AsyncClient() as client:
        client._transport = transport
        with upstream.answering(providers):
            reply = await client.post(f"https://{CHAT.host}{CHAT.path}", content=CHAT.request, headers=KEYS)
            assert reply.content == await asyncio.to_thread(program) == CHAT.body
    assert {bytes(request.body) for request in upstream.requests} == {CHAT.request}
    assert (reply.http_version, reply.reason_phrase) == ("HTTP/1.1", "OK")


@LIBRARIES
async def test_a_stream_comes_as_it_is_written(
    library: Any, transport: AsyncTransport, sync_transport: Transport, upstream: Upstream
) -> None:
    """Each piece when it is there, and not when the next one is."""
    gates = [Gate(), Gate()]

    def program() -> list[bytes]:
        client = library.Client(transport=sync_transport, timeout=LONG)
        with client.stream("POST", URL, json=STREAM, headers=KEYS) as reply:
            pieces = reply.iter_raw()
            first = next(pieces)
            gates[0].open()
            return [first, *pieces]

    with upstream.answering(held(gates[0])):
        assert await asyncio.to_thread(program) == [WORD, DONE]
    client = library.AsyncClient(transport=transport, timeout=LONG)
    with upstream.answering(held(gates[1])):
        async with client.stream("POST", URL, json=STREAM, headers=KEYS) as reply:
            pieces = reply.aiter_raw()
            assert await anext(pieces) == WORD
            gates[1].open()
            assert [piece async for piece in pieces] == [DONE]


async def test_an_upload_of_any_size_streams_through(
    transport: AsyncTransport, sync_transport: Transport, upstream: Upstream
) -> None:
    """It is never whole in memory, and arrives as it was."""
    piece, count = bytes(range(256)) * 4096, 34
    wanted = hashlib.sha256(piece * count).digest()

    async def digest(exchange: Exchange) -> None:
        await exchange.json(json.dumps({"sha256": hashlib.sha256(exchange.request.body).hexdigest()}).encode())

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield piece

    def program() -> str:
        with httpx.Client(transport=sync_transport, timeout=LONG) as client:
            sent: str = client.post(files, content=(piece for _ in range(count)), headers=KEYS).json()["sha256"]
            return sent

    files = f"https://{OPENAI}/v1/files"
    client = httpx2.AsyncClient(transport=transport, timeout=LONG)
    with upstream.answering(digest):
        assert (await client.post(files, content=pieces(), headers=KEYS)).json()["sha256"] == wanted.hex()
        assert await asyncio.to_thread(program) == wanted.hex()
    assert [call.outcome for call in await transport.calls()] == ["ok"]


async def test_a_body_that_cannot_be_made_ends_its_call(sync_transport: Transport, upstream: Upstream) -> None:
    """The program gets its own exception, and the provider no whole request."""

    def pieces() -> Iterator[bytes]:
        for _ in range(33):
            yield bytes(1024 * 1024)
        raise KeyError("mine")

    def program() -> list[Record]:
        with httpx.Client(transport=sync_transport, timeout=LONG) as client:
            with pytest.raises(KeyError, match="mine"):
                client.post(f"https://{OPENAI}/v1/files", content=pieces(), headers=KEYS)
            return sync_transport.calls()

    async def taken(exchange: Exchange) -> None:
        await exchange.connection.read_body(exchange.request)

    with upstream.answering(taken, reads_itself=True):
        (call,) = await asyncio.to_thread(program)
    assert call.outcome == "aborted"


# --- ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "drop", "cancel"])
async def test_an_async_client_that_leaves_ends_its_call(
    how: str, transport: AsyncTransport, upstream: Upstream
) -> None:
    """The provider is hung up on, and the record says so."""
    gone = asyncio.Event()
    client = httpx.AsyncClient(transport=transport, timeout=LONG)

    async def read_on(began: asyncio.Event) -> None:
        async with client.stream("POST", URL, json=STREAM, headers=KEYS) as reply:
            async for _ in reply.aiter_raw():
                began.set()

    with upstream.answering(endless(gone)):
        if how == "cancel":
            began = asyncio.Event()
            task = asyncio.create_task(read_on(began))
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            reply = await client.send(client.build_request("POST", URL, json=STREAM, headers=KEYS), stream=True)
            if how == "close":
                await reply.aclose()
            del reply
            gc.collect()
        async with asyncio.timeout(LONG):
            await gone.wait()
    (call,) = await transport.calls()
    assert call.outcome == "aborted"


@pytest.mark.parametrize("how", ["close", "drop"])
async def test_a_sync_client_that_leaves_ends_its_call(how: str, sync_transport: Transport, upstream: Upstream) -> None:
    """The same, from a thread."""
    gone = asyncio.Event()
    client = httpx.Client(transport=sync_transport, timeout=LONG)

    def program() -> None:
        reply = client.send(client.build_request("POST", URL, json=STREAM, headers=KEYS), stream=True)
        assert next(reply.iter_raw()) == WORD
        if how == "close":
            reply.close()

    with upstream.answering(endless(gone)):
        await asyncio.to_thread(program)
        async with asyncio.timeout(LONG):
            await gone.wait()
    (call,) = await asyncio.to_thread(sync_transport.calls)
    assert call.outcome == "aborted"


async def test_a_call_that_is_cancelled_before_its_reply_is_recorded(
    transport: AsyncTransport, upstream: Upstream
) -> None:
    """It ends at the provider, too."""
    client = httpx.AsyncClient(transport=transport, timeout=LONG)
    with upstream.answering(silent):
        task = asyncio.create_task(client.post(URL, json=BODY, headers=KEYS))
        await upstream.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(LONG):
            await upstream.connections[0].gone.wait()
    (call,) = await transport.calls()
    assert call.outcome == "aborted"


@LIBRARIES
async def test_a_stream_that_breaks_off_is_not_taken_for_whole(
    library: Any, transport: AsyncTransport, sync_transport: Transport, upstream: Upstream
) -> None:
    """It ends in httpx's own exception."""

    async def breaks(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(WORD)
        exchange.reset()

    def program() -> None:
        library.Client(transport=sync_transport).post(URL, json=STREAM, headers=KEYS)

    with upstream.answering(breaks):
        with pytest.raises(library.ReadError, match="broke off"):
            await library.AsyncClient(transport=transport).post(URL, json=STREAM, headers=KEYS)
        with pytest.raises(library.ReadError, match="broke off"):
            await asyncio.to_thread(program)
    (call,) = await transport.calls()
    assert call.outcome == "truncated"


async def test_errors_are_what_the_sdk_expects(transport: AsyncTransport, upstream: Upstream) -> None:
    """Those of a provider as it says them."""

    async def limited(exchange: Exchange) -> None:
        await exchange.json(b'{"error": {"message": "Slow down", "type": "x", "param": null, "code": "y"}}', 429)

    http_client = httpx2.AsyncClient(transport=transport)
    sdk = openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0, http_client=http_client)
    with upstream.answering(limited), pytest.raises(openai.RateLimitError, match="Slow down") as error:
        await sdk.chat.completions.create(model="gpt-4o", messages=HI)
    assert error.value.code == "y"


async def test_a_provider_that_is_away_is_an_ordinary_reply(rules: str) -> None:
    """And no exception of the network: what to do about it is the SDK's and the rules' business."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    text = changed(rules, upstream={"connect_to": {f"{OPENAI}:443": f"127.0.0.1:{port}"}})
    async with AsyncTransport(text, environ=ENVIRON) as transport:
        reply = await httpx.AsyncClient(transport=transport).post(URL, json=BODY, headers=KEYS)
    assert reply.status_code in (502, 503)
    assert reply.json()["error"].keys() == {"message", "type", "param", "code"}


# --- how long ---------------------------------------------------------------------------------------------------------


@LIBRARIES
async def test_a_client_that_waits_too_long_gets_its_own_exception(
    library: Any, transport: AsyncTransport, sync_transport: Transport, upstream: Upstream
) -> None:
    """For the reply to begin, and for it to go on."""
    timeout = library.Timeout(0.05)
    gone = asyncio.Event()

    def program() -> None:
        with pytest.raises(library.ReadTimeout) as error:
            library.Client(transport=sync_transport, timeout=timeout).post(URL, json=STREAM, headers=KEYS)
        assert error.value.request.url == URL

    client = library.AsyncClient(transport=transport, timeout=timeout)
    for answer in (silent, endless(gone)):
        with upstream.answering(answer):
            with pytest.raises(library.ReadTimeout):
                await client.post(URL, json=STREAM, headers=KEYS)
            await asyncio.to_thread(program)
    assert [call.outcome for call in await transport.calls()] == ["aborted"] * 2
    http_client: Any = client
    sdk = openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0, http_client=http_client, timeout=0.05)
    with upstream.answering(silent), pytest.raises(openai.APITimeoutError):
        await sdk.chat.completions.create(model="gpt-4o", messages=HI)


async def test_a_client_says_how_long_a_connection_may_take(rules: str) -> None:
    """Where the rules would wait longer: then the call goes elsewhere, or is answered as too slow."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(closing(socket.socket()))
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        text = changed(rules, upstream={"connect_to": {f"{OPENAI}:443": f"127.0.0.1:{full.getsockname()[1]}"}})
        async with AsyncTransport(text, environ=ENVIRON) as transport:
            client = httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(LONG, connect=0.05))
            reply = await client.post(URL, json=BODY, headers=KEYS)
    assert reply.status_code == 504
    assert "within 0.05 s" in reply.json()["error"]["message"]


async def test_a_provider_that_takes_no_more_of_an_upload_ends_it(
    transport: AsyncTransport, upstream: Upstream
) -> None:
    """In the client's own exception, too."""

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1024 * 1024)

    async def full(exchange: Exchange) -> None:
        await exchange.gone.wait()

    timeout = httpx.Timeout(LONG, write=0.2)
    client = httpx.AsyncClient(transport=transport, timeout=timeout)
    with upstream.answering(full, reads_itself=True), pytest.raises(httpx.WriteTimeout):
        await client.post(f"https://{OPENAI}/v1/files", content=pieces(), headers=KEYS)


# --- many -------------------------------------------------------------------------------------------------------------


async def test_fifty_calls_at_once(transport: AsyncTransport, sync_transport: Transport, upstream: Upstream) -> None:
    """Of one loop, and of fifty threads: each gets its own answer."""

    async def echo(exchange: Exchange) -> None:
        said = json.loads(exchange.request.body)["messages"][0]["content"]
        await exchange.stream("text/event-stream")
        for word in (said, "!"):
            await exchange.chunk(
                f'data: {{"choices": [{{"index": 0, "delta": {{"content": "{word}"}}}}]}}\n\n'.encode()
            )
            await asyncio.sleep(0)
        await exchange.chunk(DONE)
        await exchange.end()

    http_client = httpx2.AsyncClient(transport=transport, timeout=LONG)
    sdk = openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0, http_client=http_client)
    sync = openai.OpenAI(api_key=PLACEHOLDER, max_retries=0, http_client=httpx.Client(transport=sync_transport))

    async def ask(number: int) -> str:
        messages: Any = [{"role": "user", "content": str(number)}]
        stream = await sdk.chat.completions.create(model="gpt-4o", messages=messages, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    together = threading.Barrier(50)

    def ask_sync(number: int) -> str:
        messages: Any = [{"role": "user", "content": str(number)}]
        together.wait(LONG)
        stream = sync.chat.completions.create(model="gpt-4o", messages=messages, stream=True)
        return "".join([chunk.choices[0].delta.content or "" for chunk in stream])

    wanted = [f"{number}!" for number in range(50)]
    with upstream.answering(echo):
        assert await asyncio.gather(*map(ask, range(50))) == wanted
        with ThreadPoolExecutor(50) as threads:
            futures = [threads.submit(ask_sync, number) for number in range(50)]
            assert await asyncio.gather(*map(asyncio.wrap_future, futures)) == wanted
    for calls in (await transport.calls(), await asyncio.to_thread(sync_transport.calls)):
        assert [call.outcome for call in calls] == ["ok"] * 50


async def test_two_transports_know_nothing_of_each_other(rules: str, upstream: Upstream) -> None:
    """Each has its own rules, its own records and its own end."""
    other = changed(rules, intercept={}, providers={}, models=[])
    async with AsyncTransport(rules, environ=ENVIRON) as one:
        with upstream.answering(providers):
            async with AsyncTransport(other, environ={}) as two:
                for transport in (one, two):
                    await httpx.AsyncClient(transport=transport).post(URL, json=BODY, headers=KEYS)
                assert [len(await transport.calls()) for transport in (one, two)] == [1, 1]
            reply = await httpx.AsyncClient(transport=one).post(URL, json=BODY, headers=KEYS)
    assert reply.status_code == 200
    sent = [request.values("authorization")[0].decode() for request in upstream.requests]
    assert sent == [f"Bearer {key}" for key in (real("openai"), PLACEHOLDER, real("openai"))]


# --- opening, closing, changing ---------------------------------------------------------------------------------------


async def test_what_is_wrong_is_told_as_soon_as_it_is_known(tmp_path: Path, rules: str) -> None:
    """Rules where it is made; credentials and folders where it is opened, whether by `with` or by a request."""
    (tmp_path / "file").touch()
    for kind in (Transport, AsyncTransport):
        with pytest.raises(RulesError, match="rutes"):
            kind({"version": 1, "rutes": []})
        with pytest.raises(RulesError, match="no such file"):
            kind(tmp_path / "none.yaml")
    with pytest.raises(RulesError, match="FAKE_OPENAI_KEY"):
        await httpx.AsyncClient(transport=AsyncTransport(rules, environ={})).get(URL)
    with pytest.raises(InterposeError, match="not a folder"):
        await AsyncTransport(rules, environ=ENVIRON, state=tmp_path / "file").__aenter__()
    with pytest.raises(RulesError, match="FAKE_OPENAI_KEY"):
        httpx.Client(transport=Transport(rules, environ={})).get(URL)
    with pytest.raises(InterposeError, match="not a folder"), Transport(rules, state=tmp_path / "file"):
        pass


async def test_calls_are_told_while_it_is_open(rules: str, tmp_path: Path) -> None:
    """With a state folder their records stay."""
    transport = Transport(rules, environ=ENVIRON, state=tmp_path / "state")
    with pytest.raises(InterposeError, match="not open"):
        transport.calls()
    with transport:
        assert transport.calls() == []
    with pytest.raises(InterposeError, match="not open"):
        transport.calls()
    with pytest.raises(InterposeError, match="not open"):
        await AsyncTransport(rules).calls()
    assert (tmp_path / "state" / "usage.db").is_file()


async def test_rules_are_changed_while_it_is_open_and_before(rules: str, upstream: Upstream, tmp_path: Path) -> None:
    """Given anew, or read again from their file; what cannot be used changes nothing."""
    file = tmp_path / "rules.yaml"
    file.write_text(rules)
    own = changed(rules, intercept={}, providers={}, models=[])
    injected, kept = [f"Bearer {key}".encode() for key in (real("openai"), PLACEHOLDER)]

    async def sent(client: httpx.AsyncClient) -> bytes:
        await client.post(URL, json=BODY, headers=KEYS)
        return upstream.requests[-1].values("authorization")[0]

    def program() -> list[bytes]:
        found = []
        with httpx.Client(transport=sync) as client:
            for change in (lambda: None, lambda: sync.reload(own)):
                change()
                client.post(URL, json=BODY, headers=KEYS)
                found.append(upstream.requests[-1].values("authorization")[0])
        return found

    transport, sync = AsyncTransport(own, environ=ENVIRON), Transport(own, environ=ENVIRON)
    sync.reload(file)
    await transport.reload(file)
    with upstream.answering(providers):
        assert await asyncio.to_thread(program) == [injected, kept]
        async with httpx.AsyncClient(transport=transport) as client:
            assert await sent(client) == injected
            file.write_text(own)
            with pytest.raises(RulesError, match="rutes"):
                await transport.reload({"version": 1, "rutes": []})
            assert await sent(client) == injected
            await transport.reload()
            assert await sent(client) == kept


async def test_one_loop_at_a_time(rules: str, upstream: Upstream) -> None:
    """Another is told so while it is open, and may open it when the first has ended or has closed it."""
    transport = AsyncTransport(rules, environ=ENVIRON)

    async def ask() -> int:
        status: int = (await httpx.AsyncClient(transport=transport).post(URL, json=BODY, headers=KEYS)).status_code
        return status

    with upstream.answering(providers):
        assert await asyncio.to_thread(asyncio.run, ask()) == 200
        assert await ask() == 200
        with pytest.raises(InterposeError, match="belongs to another event loop"):
            await asyncio.to_thread(asyncio.run, ask())
        await transport.aclose()
        assert await asyncio.to_thread(asyncio.run, ask()) == 200


async def test_no_loop_of_asyncio_is_told(rules: str) -> None:
    """As under trio."""

    def program() -> None:
        work = AsyncTransport(rules, environ=ENVIRON).handle_async_request(httpx.Request("GET", URL))
        with pytest.raises(InterposeError, match="asyncio alone"):
            work.send(None)

    await asyncio.to_thread(program)


async def test_a_client_that_is_closed_under_a_stream_breaks_it_off(rules: str, upstream: Upstream) -> None:
    """Nobody waits for ever."""
    gone = asyncio.Event()
    transport = Transport(rules, environ=ENVIRON)
    client = httpx.Client(transport=transport, timeout=None)
    reading = threading.Event()

    def program() -> None:
        with client.stream("POST", URL, json=STREAM, headers=KEYS) as reply:
            for _ in reply.iter_raw():
                reading.set()

    with upstream.answering(endless(gone)):
        running = asyncio.create_task(asyncio.to_thread(program))
        await asyncio.to_thread(reading.wait, LONG)
        await asyncio.to_thread(client.close)
        with pytest.raises(httpx.ReadError):
            await running
        await gone.wait()
