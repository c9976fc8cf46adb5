"""Bodies in the ledger: what unmodified SDKs asked and got, and what went to providers of any format and came back, at
every entrance and in every kind of ledger; no key is among it.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from google import genai
from google.genai import types
from tests.e2e import replies
from tests.e2e.certificates import Authority
from tests.e2e.conftest import Farm
from tests.e2e.hosting import both_providers
from tests.e2e.proxy import Gateway
from tests.e2e.replies import Script
from tests.e2e.settings import (
    ANTHROPIC,
    ENVIRON,
    GEMINI,
    OPENAI,
    PLACEHOLDER,
    VIRTUAL,
    connect_to,
    digest,
    gateway_rules,
    real,
    rules_text,
)
from tests.e2e.test_sdks import Shell, shell
from tests.e2e.test_websocket import event, goodbye, session, upgrade
from tests.e2e.upstream import Exchange, Upstream
from tests.postgres import PASSWORD, Postgres

from interpose import AsyncTransport
from interpose.ledger.address import Database, Readable
from interpose.ledger.captures import Captured, Part, captured
from interpose.ledger.verify import verify
from interpose.rules.sinks import SinkFile
from interpose.rules.sinks import database as parsed

__all__ = ["shell"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="session")

HI = "Good evening to everybody"
# What the played providers say, in a stream and whole.
SAYS: dict[str, tuple[Script, bytes]] = {
    "openai": (replies.CHAT, replies.CHAT_JSON),
    "responses": (replies.RESPONSES, replies.RESPONSES_JSON),
    "claude": (replies.MESSAGES, replies.MESSAGES_JSON),
    "gemini": (replies.GENERATE, replies.GENERATE_JSON),
}
WRITTEN = 20.0


def rules(authority: Authority, upstream: Upstream, **ledger: object) -> str:
    def provider(form: str, url: str, name: str) -> dict[str, object]:
        return {"format": form, "base_url": url, "credential": {"env": f"FAKE_{name.upper()}_KEY"}}

    return rules_text(
        providers={
            "openai": provider("openai", f"https://{OPENAI}/v1", "openai"),
            "responses": provider("openai-responses", f"https://{OPENAI}/v1", "openai"),
            "claude": provider("anthropic", f"https://{ANTHROPIC}", "anthropic"),
            "gemini": provider("gemini", f"https://{GEMINI}", "gemini"),
        },
        intercept={"placeholders": [PLACEHOLDER]},
        routes=[
            {"name": "private", "match": {"model": "private*"}, "to": {"provider": "openai"}, "capture": "metadata"},
            *(
                {"name": f"to-{name}", "match": {"model": f"*to-{name}"}, "to": {"provider": name, "model": "real-one"}}
                for name in SAYS
            ),
        ],
        ledger={"capture": "bodies", "scrub": ["(?i)patient [0-9]+"], **ledger},
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream)},
    )


async def ask(client: str, model: str, *, stream: bool) -> None:
    """One question by an SDK, its answer read to the end."""
    messages: Any = [{"role": "user", "content": HI}]
    if client == "openai":
        async with openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0) as sdk:
            told: Any = await sdk.chat.completions.create(model=model, messages=messages, stream=stream)
            if stream:
                assert [chunk async for chunk in told]
    elif client == "responses":
        async with openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0) as sdk:
            told = await sdk.responses.create(model=model, input=HI, stream=stream)
            if stream:
                assert [event async for event in told]
    elif client == "claude":
        async with anthropic.AsyncAnthropic(api_key=PLACEHOLDER, max_retries=0) as claude:
            told = await claude.messages.create(model=model, max_tokens=99, messages=messages, stream=stream)
            if stream:
                assert [event async for event in told]
    else:
        await asyncio.to_thread(ask_gemini, model, stream)


def ask_gemini(model: str, stream: bool) -> None:
    options = types.HttpOptions(retry_options=types.HttpRetryOptions(attempts=1))
    with genai.Client(api_key=PLACEHOLDER, http_options=options) as sdk:
        if stream:
            assert list(sdk.models.generate_content_stream(model=model, contents=HI))
        else:
            assert sdk.models.generate_content(model=model, contents=HI)


async def kept(place: Readable, number: str) -> Captured:
    """The parts of that call, waiting until all are there."""
    async with asyncio.timeout(WRITTEN):
        while True:
            for call in captured(place, [number]):
                if call.of("answered") is not None and call.record is not None:
                    return call
            await asyncio.sleep(0.02)


def part(call: Captured, name: str, attempt: int = 0) -> Part:
    found = call.of(name, attempt)
    assert found is not None, [each.part for each in call.parts]
    assert found.flaw is None
    return found


@pytest.fixture
def keeping(authority: Authority, upstream: Upstream) -> str:
    return rules(authority, upstream)


CROSSED = [
    ("openai", "claude"),
    ("openai", "gemini"),
    ("responses", "claude"),
    ("claude", "openai"),
    ("gemini", "claude"),
]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(("client", "provider"), [*((each, each) for each in SAYS), *CROSSED])
async def test_what_an_sdk_asked_and_got_is_kept_on_both_sides(
    farm: Farm, keeping: str, upstream: Upstream, shell: Shell, client: str, provider: str, stream: bool
) -> None:
    """Byte for byte: the provider's side is what it has got and said; the client's the same, or in its own format."""
    proxy = await farm.get("capture", keeping, ENVIRON)
    shell(proxy)
    script, whole = SAYS[provider]

    async def answer(exchange: Exchange) -> None:
        await (script.play(exchange) if stream else exchange.json(whole))

    mark = proxy.ledger.mark()
    with upstream.answering(answer):
        # Claude's SDK has its own ideas of what a model may be asked for.
        await ask(client, f"{'claude-' if client == 'claude' else ''}to-{provider}", stream=stream)
        got = bytes(upstream.request.body)
    row = await proxy.ledger.row(mark)
    call = await kept(proxy.ledger.path, row["id"])
    asked, sent = part(call, "asked"), part(call, "sent", 1)
    received, answered = part(call, "received", 1), part(call, "answered")
    assert asked.body is not None
    assert answered.body is not None
    assert HI in json.dumps(json.loads(asked.body))
    assert sent.body == got
    assert received.body == (script.body if stream else whole)
    if client == provider:
        assert answered.body == received.body
    else:
        assert answered.body != received.body
        assert asked.body != sent.body
    assert (received.status, answered.status, asked.cut, answered.cut) == (200, 200, False, False)
    assert sum(count for _, count in answered.timing) == len(answered.body)
    assert "content-type" in {name.lower() for name, _ in asked.headers}
    assert "***" in {value for _, value in asked.headers}
    assert "***" in {value for _, value in sent.headers}
    told = repr(call)
    assert not [key for key in (*ENVIRON.values(), PLACEHOLDER) if key in told]


async def test_echoes_and_patterns_are_scrubbed_and_routes_may_keep_nothing(
    farm: Farm, keeping: str, upstream: Upstream, shell: Shell
) -> None:
    """The client has the bytes as they came; the ledger has neither the key, packed or not, nor what a pattern says."""
    proxy = await farm.get("capture", keeping, ENVIRON)
    key = real("openai")
    event_of = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n'
    said = b"".join((event_of % key[:9].encode(), event_of % key[9:].encode(), event_of % b"Patient 1234 and 5"))
    packed = gzip.compress(said)

    async def echo(exchange: Exchange) -> None:
        await exchange.start(200, [
            (b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip"), (b"transfer-encoding", b"chunked"),
            (b"x-echo", key.encode()), (b"set-cookie", b"session=FAKE-cookie-0123456789; Path=/"),
        ])  # fmt: skip
        for start in range(0, len(packed), 7):
            await exchange.chunk(packed[start : start + 7])
        await exchange.end()

    mark = proxy.ledger.mark()
    async with httpx.AsyncClient(proxy=proxy.url, verify=ssl.create_default_context(cafile=str(proxy.ca))) as sdk:
        headers = {"authorization": f"Bearer {PLACEHOLDER}", "cookie": "a=FAKE-cookie-of-mine"}
        url = f"https://{OPENAI}/v1/chat/completions?key={PLACEHOLDER}"
        with upstream.answering(echo):
            reply = await sdk.post(url, json={"model": "to-openai", "stream": True}, headers=headers)
            assert reply.content == said
            await sdk.post(url, json={"model": "private-one"}, headers=headers)
    first, second = await proxy.ledger.rows(mark, 2)
    call = await kept(proxy.ledger.path, first["id"])
    assert part(call, "received", 1).body == event_of % b"***" + event_of % b"***" + event_of % b"*** and 5"
    assert set(part(call, "received", 1).notes) == {"credential", "pattern"}
    assert json.loads(first["attempts"])[0]["echoed_credential"] is True
    assert part(call, "asked").url == f"https://{OPENAI}/v1/chat/completions?key=***"
    told = repr(call)
    for secret in (key, "FAKE-cookie", PLACEHOLDER, "Patient 1234"):
        assert secret not in told
    assert list(captured(proxy.ledger.path, [second["id"]])) == []
    assert "echoed_credential" not in second["attempts"]
    assert not [content for content in proxy.left_behind().values() if key.encode() in content]


async def test_a_websocket_is_kept_message_by_message(farm: Farm, keeping: str, upstream: Upstream) -> None:
    """What each side has said, with its moment, unmasked; a key that is echoed is not among it."""
    proxy = await farm.get("capture", keeping, ENVIRON)

    async def talk(exchange: Exchange) -> None:
        await exchange.connection.read_frame()
        said = event(type="session.created", key=real("openai"))
        await exchange.send(
            b"\x81\x7e" + len(said).to_bytes(2) + said if len(said) > 125 else b"\x81" + bytes([len(said)]) + said
        )
        await goodbye(exchange)

    mark = proxy.ledger.mark()
    async with session(proxy, upstream, talk, upgrade(key=PLACEHOLDER)) as client:
        await client.send(event(type="session.update"))
        await client.read()
        await client.send(b"\x03\xe8", opcode=8)
        await client.read()
        row = await proxy.ledger.row(mark)
    call = await kept(proxy.ledger.path, row["id"])
    up, down = part(call, "asked"), part(call, "answered")
    assert up.body is not None
    assert down.body is not None
    spoken = [json.loads(line) for line in up.body.splitlines()]
    assert [each.get("text", each.get("close")) for each in spoken] == [event(type="session.update").decode(), 1000]
    heard = [json.loads(line) for line in down.body.splitlines()]
    assert json.loads(heard[0]["text"]) == {"type": "session.created", "key": "***"}
    assert spoken[0]["ms"] <= heard[0]["ms"]
    assert "websocket" in up.notes
    assert real("openai").encode() not in proxy.ledger.path.read_bytes()


async def test_workers_of_the_gateway_keep_bodies_in_all_their_ledgers(
    farm: Farm, authority: Authority, upstream: Upstream, postgres: Postgres, tmp_path: Path
) -> None:
    """In SQLite, PostgreSQL and JSON lines the same; a client's virtual key is in none; refused calls are kept."""
    name = postgres.database()
    text = gateway_rules(
        authority, upstream,
        ledger={"to": ["sqlite:own.db", postgres.url(name), "jsonl:calls.jsonl"], "capture": "bodies"},
    )  # fmt: skip
    gateway = Gateway(tmp_path / "capture-gateway")
    await gateway.start(text, {**ENVIRON, "FAKE_PG_PASSWORD": PASSWORD}, "--workers", "2")
    headers = {"authorization": f"Bearer {VIRTUAL}"}
    body = {"model": "fast", "messages": [{"role": "user", "content": f"My key is {VIRTUAL}"}]}

    async def answer(exchange: Exchange) -> None:
        await exchange.json(replies.MESSAGES_JSON)

    with upstream.answering(answer):
        async with httpx.AsyncClient() as client:
            good = await client.post(f"{gateway.base_url}/chat/completions", json=body, headers=headers)
            refused = await client.post(f"{gateway.base_url}/chat/completions", json=body)
    assert (good.status_code, refused.status_code) == (200, 401)
    assert await gateway.stop() == 0
    places: list[Readable] = [
        gateway.folder / "own.db",
        Database(parsed(postgres.url(name)), PASSWORD),
        SinkFile("jsonl", gateway.folder / "calls.jsonl"),
    ]
    found = [list(captured(place)) for place in places]
    assert found[0] == found[1] == found[2]
    assert sorted(part(call, "answered").status or 0 for call in found[0]) == [200, 401]
    told = next(call for call in found[0] if part(call, "answered").status == 200)
    assert part(told, "received", 1).body == replies.MESSAGES_JSON
    assert part(told, "answered").body == good.content
    assert VIRTUAL not in repr(found)
    assert "My key is ***" in str(part(told, "sent", 1).body)
    assert [verify(place) for place in places] == [[], [], []]


async def test_an_engine_inside_a_program_keeps_bodies(
    authority: Authority, upstream: Upstream, tmp_path: Path
) -> None:
    """They are in the ledger when the transport is closed."""
    keys = [{"name": "ci", "sha256": digest(VIRTUAL)}]
    text = both_providers(
        authority, upstream, clients={"keys": keys},
        ledger={"to": f"sqlite:{tmp_path / 'inside.db'}", "capture": "bodies"},
    )  # fmt: skip

    async def answer(exchange: Exchange) -> None:
        await replies.CHAT.play(exchange)

    with upstream.answering(answer):
        transport = AsyncTransport(text, environ=ENVIRON)
        async with transport, httpx.AsyncClient(transport=transport) as client:
            reply = await client.post(
                f"https://{OPENAI}/v1/chat/completions",
                json={"model": "gpt-4o", "messages": [], "stream": True},
                headers={"authorization": f"Bearer {PLACEHOLDER}"},
            )
            assert reply.status_code == 200
    (call,) = captured(tmp_path / "inside.db")
    assert part(call, "answered").body == replies.CHAT.body == reply.content
    assert real("openai") not in repr(call)
