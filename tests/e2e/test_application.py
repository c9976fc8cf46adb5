"""The gateway in a web application: mounted (`interpose.Gateway`), or in front of it (`interpose.GatewayMiddleware`),
under a real server and in the same process, with real SDKs.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import fastapi
import httpx
import openai
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.e2e.certificates import Authority
from tests.e2e.hosting import both_providers, changed, hosted
from tests.e2e.replies import CHAT, providers
from tests.e2e.settings import ENVIRON, OPENAI, VIRTUAL, real
from tests.e2e.test_transport import DONE, LONG, WORD, Gate, endless, held
from tests.e2e.upstream import Upstream
from wsproto import ConnectionType, WSConnection
from wsproto.events import Message, RejectConnection, RejectData, Request, TextMessage

from interpose import Gateway, GatewayMiddleware
from interpose.errors import InterposeError
from interpose.rules.problem import RulesError

pytestmark = pytest.mark.asyncio(loop_scope="session")

HI: Any = [{"role": "user", "content": "Hi"}]
BODY = {"model": "gpt-4o", "messages": HI}
STREAM = {**BODY, "stream": True}
KEY = {"x-api-key": VIRTUAL}


@pytest.fixture
def rules(authority: Authority, upstream: Upstream) -> str:
    return both_providers(authority, upstream)


@pytest.fixture
def gateway(rules: str) -> Gateway:
    return Gateway(rules, environ=ENVIRON)


async def answered(base_url: str) -> str | None:
    """What a client of OpenAI's is told there."""
    async with asked(base_url) as sdk:
        reply = await sdk.chat.completions.create(model="gpt-4o", messages=HI)
    return reply.choices[0].message.content


def asked(base_url: str, client: httpx.AsyncClient | None = None) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=base_url, api_key=VIRTUAL, max_retries=0, http_client=client)


# --- mounted ----------------------------------------------------------------------------------------------------------


async def test_sdks_call_a_gateway_that_is_mounted(gateway: Gateway, upstream: Upstream) -> None:
    """Below the place where it is mounted, whole and streamed; the application's own routes are as they were."""
    app = fastapi.FastAPI(lifespan=gateway.lifespan)
    app.mount("/ai", gateway)
    app.get("/mine")(lambda: "mine")
    async with hosted(app, "on") as url:
        async with (
            asked(f"{url}/ai/v1") as sdk,
            anthropic.AsyncAnthropic(base_url=f"{url}/ai", api_key=VIRTUAL) as claude,
        ):
            with upstream.answering(providers):
                whole = await sdk.chat.completions.create(model="gpt-4o-mini", messages=HI)
                stream = await sdk.chat.completions.create(model="gpt-4o-mini", messages=HI, stream=True)
                words = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices]
                message = await claude.messages.create(model="claude-x", max_tokens=9, messages=HI)
                vectors = await sdk.embeddings.create(model="text-embedding-3-small", input="Hi")
        assert whole.choices[0].message.content == "".join(word or "" for word in words) == "Good morning ☀"
        assert message.usage.output_tokens
        assert len(vectors.data[0].embedding) == 3
        assert all(request.anywhere(real("openai")) for request in upstream.requests[:2])
        async with httpx.AsyncClient(base_url=url) as client:
            assert (await client.get("/mine")).json() == "mine"
            assert (await client.get("/ai/healthz")).json() == {"status": "ok"}
            assert (await client.get("/v1/models")).status_code == 404
        calls = await gateway.calls()
    assert [(call.entrance, call.path, call.client) for call in calls[:3]] == [
        ("gateway", "/v1/chat/completions", "ci"),
        ("gateway", "/v1/chat/completions", "ci"),
        ("gateway", "/v1/messages", "ci"),
    ]
    with pytest.raises(InterposeError, match="not open"):
        await gateway.calls()


async def test_one_that_nobody_opens_opens_itself(gateway: Gateway, upstream: Upstream) -> None:
    """Starlette tells what is mounted of no lifespan; the first requests open it, several at once, too."""
    async with hosted(Starlette(routes=[Mount("/ai", gateway)])) as url:
        with upstream.answering(providers):
            async with asked(f"{url}/ai/v1") as sdk:
                await asyncio.gather(*(sdk.chat.completions.create(model="gpt-4o", messages=HI) for _ in range(5)))
        assert [call.outcome for call in await gateway.calls()] == ["ok"] * 5
    await gateway.aclose()


async def test_one_that_cannot_be_opened_says_so(rules: str) -> None:
    """To a client in OpenAI's shape, in full in the log; and where it has a lifespan, the server does not start."""
    gateway = Gateway(rules, environ={})
    transport = httpx.ASGITransport(Starlette(routes=[Mount("/ai", gateway)]))
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        reply = await client.post("/ai/v1/chat/completions", json=BODY, headers=KEY)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "gateway_not_open")
    assert "FAKE_OPENAI_KEY" not in reply.text
    told: list[Any] = []

    async def send(message: Any) -> None:
        told.append(message)

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    for app in (gateway, GatewayMiddleware(Starlette(), gateway=gateway)):
        await app({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in told] == ["lifespan.startup.failed"] * 2
    assert "FAKE_OPENAI_KEY is not set" in told[0]["message"]
    with pytest.raises(RulesError, match="rutes"):
        Gateway({"version": 1, "rutes": []})


async def test_it_runs_alone_under_any_server(gateway: Gateway, upstream: Upstream) -> None:
    """It is an application of its own, opened and closed with the server."""
    async with hosted(gateway, "on") as url, asked(f"{url}/v1") as sdk:
        with upstream.answering(providers):
            await sdk.chat.completions.create(model="gpt-4o", messages=HI)
        assert len(await gateway.calls()) == 1
    with pytest.raises(InterposeError, match="not open"):
        await gateway.calls()


async def test_it_answers_in_the_same_process(gateway: Gateway, upstream: Upstream) -> None:
    """By httpx's transport for ASGI, without a server."""
    app = fastapi.FastAPI()
    app.mount("/ai", gateway)
    async with gateway, httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        with upstream.answering(providers):
            reply = await asked("http://app/ai/v1", client).chat.completions.create(model="gpt-4o", messages=HI)
            body = CHAT.request.replace(b"gpt-4o-mini", b"openai/gpt-4o-mini")
            streamed = await client.post("http://app/ai/v1/chat/completions", content=body, headers=KEY)
    assert reply.choices[0].message.content == "Good morning ☀"
    assert streamed.content == CHAT.body


async def test_a_stream_comes_as_it_is_written(gateway: Gateway, upstream: Upstream) -> None:
    """Through FastAPI and its server, piece by piece."""
    app = fastapi.FastAPI()
    app.mount("/ai", gateway)
    gate = Gate()
    async with gateway, hosted(app) as url, httpx.AsyncClient(timeout=LONG) as client:
        with upstream.answering(held(gate)):
            async with client.stream("POST", f"{url}/ai/v1/chat/completions", json=STREAM, headers=KEY) as reply:
                pieces = reply.aiter_raw()
                assert await anext(pieces) == WORD
                gate.open()
                assert b"".join([piece async for piece in pieces]) == DONE


@pytest.mark.parametrize("behind", [False, True], ids=["mounted", "middleware"])
async def test_a_client_that_leaves_ends_its_call(behind: bool, gateway: Gateway, upstream: Upstream) -> None:
    """The provider is hung up on, and the record says so."""
    app: Any = GatewayMiddleware(Starlette(), gateway=gateway) if behind else Starlette(routes=[Mount("", gateway)])
    gone = asyncio.Event()
    async with gateway, hosted(app) as url, httpx.AsyncClient(timeout=LONG) as client:
        with upstream.answering(endless(gone)):
            async with client.stream("POST", f"{url}/v1/chat/completions", json=STREAM, headers=KEY) as reply:
                assert await anext(reply.aiter_raw()) == WORD
            async with asyncio.timeout(LONG):
                await gone.wait()
        (call,) = await gateway.calls()
    assert call.outcome == "aborted"


async def test_keys_are_asked_for(gateway: Gateway) -> None:
    """Unless the rules say otherwise: whoever reaches the application reaches the gateway."""
    transport = httpx.ASGITransport(gateway)
    async with gateway, httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        reply = await client.post("/v1/chat/completions", json=BODY)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_without_rules_it_has_those_of_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its providers those whose keys are there; without any it says which it would take."""
    gateway = Gateway(environ={"OPENAI_API_KEY": "sk-FAKE-openai"})
    transport = httpx.ASGITransport(gateway)
    async with gateway, httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        assert (await client.get("/v1/models")).status_code == 401
    for name in [name for name in os.environ if name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    with pytest.raises(InterposeError, match="no provider has a key: set one of OPENAI_API_KEY"):
        GatewayMiddleware(Starlette())


async def test_rules_are_changed_while_it_is_open(rules: str, upstream: Upstream, tmp_path: Path) -> None:
    """As with every engine in a program."""
    file = tmp_path / "rules.yaml"
    file.write_text(rules)
    gateway = Gateway(file, environ=ENVIRON, state=tmp_path / "state")
    transport = httpx.ASGITransport(gateway)
    async with gateway, httpx.AsyncClient(transport=transport, base_url="http://app", headers=KEY) as client:
        with upstream.answering(providers):
            assert (await client.post("/v1/chat/completions", json=BODY)).status_code == 200
            file.write_text(changed(rules, clients={}))
            await gateway.reload()
            assert (await client.post("/v1/chat/completions", json=BODY)).status_code == 401
    assert (tmp_path / "state" / "usage.db").is_file()


# --- in front ---------------------------------------------------------------------------------------------------------


async def test_the_middleware_leaves_the_application_what_is_its_own(rules: str, upstream: Upstream) -> None:
    """Its routes, its pages (also of a name that the gateway has, too), its lifespan, its 404s."""
    lived: list[str] = []

    @asynccontextmanager
    async def lifespan(_: fastapi.FastAPI) -> AsyncIterator[None]:
        lived.append("began")
        yield
        lived.append("ended")

    app = fastapi.FastAPI(lifespan=lifespan, title="Mine")
    app.add_middleware(GatewayMiddleware, rules=rules, environ=ENVIRON)
    app.get("/mine")(lambda: "mine")
    app.get("/v1beta2/mine")(lambda: "mine, too")
    async with hosted(app, "on") as url, httpx.AsyncClient(base_url=url) as client:
        with upstream.answering(providers):
            assert await answered(f"{url}/v1") == "Good morning ☀"
        assert lived == ["began"]
        assert (await client.get("/mine")).json() == "mine"
        assert (await client.get("/v1beta2/mine")).json() == "mine, too"
        assert (await client.get("/openapi.json")).json()["info"]["title"] == "Mine"
        assert "Mine" in (await client.get("/docs")).text
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.head("/readyz")).status_code == 200
        assert (await client.post("/healthz")).json() == {"detail": "Not Found"}
        assert (await client.get("/nothing")).json() == {"detail": "Not Found"}
        assert (await client.get("/v1/chat/completions")).status_code == 401
    assert lived == ["began", "ended"]


async def test_a_prefix_keeps_the_gateway_to_itself(rules: str, upstream: Upstream) -> None:
    """All that is below it is the gateway's, and nothing else."""
    app = fastapi.FastAPI()
    app.add_middleware(GatewayMiddleware, rules=rules, environ=ENVIRON, prefix="/ai/")
    app.get("/v1/mine")(lambda: "mine")
    async with hosted(app) as url, httpx.AsyncClient(base_url=url) as client:
        with upstream.answering(providers):
            assert await answered(f"{url}/ai/v1") == "Good morning ☀"
        assert (await client.get("/ai/healthz")).json() == {"status": "ok"}
        assert (await client.get("/v1/mine")).json() == "mine"
        assert (await client.get("/healthz")).status_code == 404
        assert (await client.get("/air")).status_code == 404


async def test_an_application_without_a_lifespan_has_the_middleware_all_the_same(
    rules: str, upstream: Upstream
) -> None:
    """The first request opens the gateway then."""

    async def bare(scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        assert scope["type"] == "http"
        await PlainTextResponse("mine")(scope, receive, send)

    gateway = Gateway(rules, environ=ENVIRON)
    async with (
        hosted(GatewayMiddleware(bare, gateway=gateway), "auto") as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        assert (await client.get("/mine")).text == "mine"
        with upstream.answering(providers):
            assert await answered(f"{url}/v1") == "Good morning ☀"
    await gateway.aclose()


async def test_the_middleware_takes_rules_or_a_gateway(rules: str) -> None:
    """Not both."""
    with pytest.raises(ValueError, match="not both"):
        GatewayMiddleware(Starlette(), rules, gateway=Gateway(rules))


@pytest.mark.parametrize("prefix", ["", "/api"], ids=["taken-away", "kept"])
async def test_a_proxy_in_front_may_take_its_root_away(prefix: str, rules: str, upstream: Upstream) -> None:
    """The server is told of that root, whichever the proxy does."""
    mounted, behind = fastapi.FastAPI(), fastapi.FastAPI()
    gateway = Gateway(rules, environ=ENVIRON)
    mounted.mount("/ai", gateway)
    behind.add_middleware(GatewayMiddleware, gateway=gateway, prefix="/ai")
    async with gateway:
        for app in (mounted, behind):
            transport = httpx.ASGITransport(app, root_path="/api")
            async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
                with upstream.answering(providers):
                    url = f"{prefix}/ai/v1/chat/completions"
                    assert (await client.post(url, json=BODY, headers=KEY)).status_code == 200


@pytest.mark.parametrize("prefix", ["", "/api"], ids=["taken-away", "kept"])
async def test_the_reference_names_the_place_where_it_is_mounted(prefix: str, rules: str) -> None:
    """Its address is the whole one, by which a client came, whatever of that the application has been told."""
    mounted, behind = fastapi.FastAPI(), fastapi.FastAPI()
    gateway = Gateway(rules, environ=ENVIRON)
    mounted.mount("/my ai;", gateway)
    behind.add_middleware(GatewayMiddleware, gateway=gateway, prefix="/my ai;")
    async with gateway:
        for app in (mounted, behind):
            transport = httpx.ASGITransport(app, root_path="/api")
            async with httpx.AsyncClient(transport=transport, base_url="https://app.test") as client:
                reply = await client.get(f"{prefix}/my ai;/openapi.json")
                assert reply.json()["servers"] == [{"url": "https://app.test/api/my%20ai%3B"}]
                assert "https://app.test/api/my%20ai%3B/v1" in (await client.get(f"{prefix}/my ai;/docs")).text


# --- WebSockets -------------------------------------------------------------------------------------------------------


async def handshake(url: str, path: str) -> tuple[Any, ...]:
    """What a WebSocket client is told: the events of its connection until there is an end, or a message."""
    port = int(url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = WSConnection(ConnectionType.CLIENT)
    writer.write(client.send(Request(host=f"127.0.0.1:{port}", target=path)))
    found: list[Any] = []
    while not any(isinstance(event, (RejectData, Message)) for event in found):
        data = await reader.read(65536)
        client.receive_data(data or None)
        found.extend(client.events())
        if not data:
            break
    writer.close()
    return tuple(found)


async def test_websockets_are_turned_away_and_the_applications_own_are_not(gateway: Gateway) -> None:
    """By a 404 that says why, and where the server cannot say that, by closing before anything was accepted."""

    async def own(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("mine")
        await socket.close()

    app = Starlette(routes=[WebSocketRoute("/own", own), Mount("/ai", gateway)])
    async with gateway, hosted(GatewayMiddleware(app, gateway=gateway)) as url:
        _, accepted = (await handshake(url, "/own"))[:2]
        assert isinstance(accepted, TextMessage)
        assert accepted.data == "mine"
        for path in ("/v1/realtime", "/ai/v1/realtime"):
            rejected, data = (await handshake(url, path))[:2]
            assert isinstance(rejected, RejectConnection)
            assert rejected.status_code == 404
            assert json.loads(data.data)["error"]["code"] == "no_websockets"
    told: list[Any] = []

    async def send(message: Any) -> None:
        told.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    await gateway({"type": "websocket", "path": "/v1/realtime"}, receive, send)
    assert [(message["type"], message["code"]) for message in told] == [("websocket.close", 1008)]


# --- paths ------------------------------------------------------------------------------------------------------------


async def test_rules_see_the_path_below_the_mount(rules: str, upstream: Upstream) -> None:
    """As it came, with its escapes."""
    routes = [{"name": "files", "match": {"path": "/v1/files/a%2Fb"}, "to": {"provider": "openai"}}]
    gateway = Gateway(changed(rules, routes=routes), environ=ENVIRON)
    app = Starlette(
        routes=[Mount("/a i", Starlette(routes=[Mount("/x", gateway), Route("/y", PlainTextResponse("y"))]))]
    )
    async with gateway, hosted(app) as url, httpx.AsyncClient() as client:
        with upstream.answering(providers_or_files):
            reply = await client.get(f"{url}/a%20i/x/v1/files/a%2Fb?limit=1", headers=KEY)
        assert reply.json() == {"ok": True}
        (call,) = await gateway.calls()
    assert upstream.request.target == b"/v1/files/a%2Fb?limit=1"
    assert (call.route, call.provider) == ("files", "openai")
    assert upstream.request.values("host") == [OPENAI.encode()]


async def providers_or_files(exchange: Any) -> None:
    await exchange.json(b'{"ok": true}')
