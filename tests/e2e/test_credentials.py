"""Which key goes where: the design's table, row by row, through the real proxy to a real upstream.

Each row is tried with the client's key in every place where a client can put one. What is asserted is what the upstream
received: the provider's credential and nothing of the client's, the client's own untouched, or nothing at all.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Literal

import pytest
from tests.e2e.clients import Client, Response, client_tls
from tests.e2e.h2client import H2Client
from tests.e2e.proxy import Proxy
from tests.e2e.settings import (
    ANTHROPIC,
    AZURE,
    BEDROCK,
    ENVIRON,
    EXPIRED,
    GEMINI,
    HOUSE,
    KEYLESS,
    NARROW,
    OPENAI,
    OWN,
    PLACEHOLDER,
    UNKNOWN,
    VIRTUAL,
    real,
)
from tests.e2e.upstream import Exchange, Request, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT = "/v1/chat/completions"
JSON = ("Content-Type", "application/json")
Sent = Literal["the provider's", "the client's own", "nothing: 401", "nothing: 403", "nothing: 500", "no key"]


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table: the client's key, where the call goes (host addressed, model asked), what is sent."""

    name: str
    key: str | None
    host: str
    model: str
    sent: Sent
    provider: str | None = None


# "Goes to: any provider of the plan" is tried twice: at the addressed origin, and rerouted to another one.
TABLE = (
    Case("virtual, credential, addressed", VIRTUAL, OPENAI, "gpt-4o", "the provider's", "openai"),
    Case("virtual, credential, rerouted", VIRTUAL, OPENAI, "house-1", "the provider's", "house"),
    Case("virtual, no credential, addressed", VIRTUAL, KEYLESS, "m", "nothing: 500", "keyless"),
    Case("virtual, no credential, rerouted", VIRTUAL, OPENAI, "keyless-1", "nothing: 500", "keyless"),
    Case("virtual, no provider at all", VIRTUAL, "house-less", "m", "nothing: 500"),
    Case("virtual, unknown", UNKNOWN, OPENAI, "gpt-4o", "nothing: 401"),
    Case("virtual, expired", EXPIRED, OPENAI, "gpt-4o", "nothing: 401"),
    Case("virtual, unknown, rerouted", UNKNOWN, OPENAI, "house-1", "nothing: 401"),
    Case("virtual, for another model", NARROW, OPENAI, "o3", "nothing: 403"),
    Case("virtual, for this model", NARROW, OPENAI, "gpt-4o-mini", "the provider's", "openai"),
    Case("placeholder, credential, addressed", PLACEHOLDER, OPENAI, "gpt-4o", "the provider's", "openai"),
    Case("placeholder, credential, rerouted", PLACEHOLDER, OPENAI, "house-1", "the provider's", "house"),
    Case("placeholder, no credential, addressed", PLACEHOLDER, KEYLESS, "m", "nothing: 500", "keyless"),
    Case("placeholder, no credential, rerouted", PLACEHOLDER, OPENAI, "keyless-1", "nothing: 500", "keyless"),
    Case("placeholder, no provider at all", PLACEHOLDER, "house-less", "m", "nothing: 500"),
    Case("own, credential, addressed", OWN, OPENAI, "gpt-4o", "the provider's", "openai"),
    Case("own, credential, rerouted", OWN, OPENAI, "house-1", "the provider's", "house"),
    Case("own, no credential, addressed", OWN, KEYLESS, "m", "the client's own"),
    Case("own, no provider, addressed", OWN, "house-less", "m", "the client's own"),
    Case("own, no credential, rerouted", OWN, OPENAI, "keyless-1", "nothing: 500", "keyless"),
    Case("none, credential, addressed", None, OPENAI, "gpt-4o", "the provider's", "openai"),
    Case("none, credential, rerouted", None, OPENAI, "house-1", "the provider's", "house"),
    Case("none, no credential, addressed", None, KEYLESS, "m", "no key"),
)
# A claimed host for which no provider is configured.
HOUSE_LESS = {"house-less": BEDROCK}

Place = Literal["Bearer", "lower-case bearer", "x-api-key", "x-goog-api-key", "api-key", "?key=", "Basic"]
PLACES: tuple[Place, ...] = ("Bearer", "lower-case bearer", "x-api-key", "x-goog-api-key", "api-key", "?key=", "Basic")


def put(key: str | None, place: Place) -> tuple[list[tuple[str, str]], str]:
    """(headers, query) with the key in that place."""
    if key is None:
        return [], ""
    match place:
        case "Bearer":
            return [("Authorization", f"Bearer {key}")], ""
        case "lower-case bearer":
            return [("authorization", f"bearer {key}")], ""
        case "?key=":
            return [], f"?a=1&key={key}&b=2"
        case "Basic":
            return [("Authorization", "Basic " + base64.b64encode(f"user:{key}".encode()).decode())], ""
        case _:
            return [(place, key)], ""


def credentials_in(request: Request) -> list[str]:
    """The providers' credentials that stand in a request, as often as they do."""
    return [key for key in ENVIRON.values() for _ in range(request.head.decode("latin-1").count(key))]


def assert_sent(case: Case, place: Place, upstream: Upstream, response: Response) -> None:
    if case.sent.startswith("nothing"):
        assert not upstream.requests, f"the upstream got {upstream.requests[0].head!r}"
        assert response.status == int(case.sent[-3:])
        error = json.loads(response.body)
        assert "message" in json.dumps(error)
        if case.provider:
            assert case.provider in response.body.decode()
        return
    assert response.status == 200
    request = upstream.request
    if case.sent == "the provider's":
        assert case.provider is not None
        assert credentials_in(request) == [real(case.provider)]
        assert request.values("authorization") == [f"Bearer {real(case.provider)}".encode()]
        if case.key is not None:
            assert not request.anywhere(case.key)
            assert base64.b64encode(f"user:{case.key}".encode()) not in request.head
        if place == "?key=" and case.key is not None:
            assert request.target.endswith(b"?a=1&b=2")
        for name in ("x-api-key", "x-goog-api-key", "api-key"):
            assert not request.values(name)
    else:
        headers, query = put(case.key, place)
        assert credentials_in(request) == []
        assert request.target.endswith((CHAT + query).encode())
        for name, value in headers:
            assert request.values(name) == [value.encode()]


async def ok(exchange: Exchange) -> None:
    await exchange.json(b'{"object":"chat.completion","choices":[]}')


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name)
async def test_the_credential_table(acting: Proxy, upstream: Upstream, case: Case, place: Place) -> None:
    """Each row of the design's table, with the client's key in each place where it can stand; one record each."""
    host = HOUSE_LESS.get(case.host, case.host)
    headers, query = put(case.key, place)
    mark = acting.ledger.mark()
    with upstream.answering(ok):
        async with await Client.tunnel(acting.address, f"{host}:443", tls=client_tls(acting.ca)) as client:
            body = json.dumps({"model": case.model, "messages": []}).encode()
            response = await client.request("POST", CHAT + query, host, *headers, JSON, body=body)
            assert response.complete
        assert_sent(case, place, upstream, response)
        if case.sent == "the provider's" and upstream.requests:
            assert upstream.request.values("host") == [{"house": HOUSE}.get(case.provider or "", host).encode()]
    row = await acting.ledger.row(mark)
    if case.sent.startswith("nothing"):
        assert (row["outcome"], row["credential"]) == ("refused", None)
    elif case.sent == "the provider's":
        assert row["provider"] == case.provider
        assert row["credential"] == f"env:FAKE_{(case.provider or '').upper()}_KEY"
    else:
        assert row["credential"] is None


STRICT_TABLE = (
    Case("virtual", VIRTUAL, OPENAI, "gpt-4o", "the provider's", "openai"),
    Case("virtual, unknown", UNKNOWN, OPENAI, "gpt-4o", "nothing: 401"),
    Case("placeholder", PLACEHOLDER, OPENAI, "gpt-4o", "nothing: 401"),
    Case("wrong placeholder", "sk-placeholder-for-any-kez", OPENAI, "gpt-4o", "nothing: 401"),
    Case("own", OWN, OPENAI, "gpt-4o", "nothing: 401"),
    Case("own, no credential, addressed", OWN, KEYLESS, "m", "nothing: 401"),
    Case("none", None, OPENAI, "gpt-4o", "nothing: 401"),
)


@pytest.mark.parametrize("case", STRICT_TABLE, ids=lambda case: case.name)
async def test_with_required_clients_only_virtual_keys_pass(strict: Proxy, upstream: Upstream, case: Case) -> None:
    """With `clients.required`, whoever has no valid virtual key is refused before anything is sent."""
    headers, _ = put(case.key, "Bearer")
    with upstream.answering(ok):
        async with await Client.tunnel(strict.address, f"{case.host}:443", tls=client_tls(strict.ca)) as client:
            body = json.dumps({"model": case.model}).encode()
            response = await client.request("POST", CHAT, case.host, *headers, JSON, body=body)
        assert_sent(case, "Bearer", upstream, response)


@dataclass(frozen=True, slots=True)
class Placed:
    """How a format takes its key: what the client sends, and the header and value which the upstream must get."""

    name: str
    host: str
    path: str
    sent: tuple[str, str] | None
    header: str
    value: str
    query: str = ""
    arrives: str | None = None


MESSAGES = "/v1/messages"
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
PLACED = (
    Placed("anthropic by x-api-key", ANTHROPIC, MESSAGES, ("X-Api-Key", PLACEHOLDER), "x-api-key", real("anthropic")),
    Placed(
        "anthropic keeps Bearer",
        ANTHROPIC,
        MESSAGES,
        ("Authorization", f"Bearer {PLACEHOLDER}"),
        "authorization",
        f"Bearer {real('anthropic')}",
    ),
    Placed("anthropic without a key", ANTHROPIC, MESSAGES, None, "x-api-key", real("anthropic")),
    Placed("gemini by header", GEMINI, GENERATE, ("x-goog-api-key", PLACEHOLDER), "x-goog-api-key", real("gemini")),
    Placed(
        "gemini by query",
        GEMINI,
        GENERATE,
        None,
        "x-goog-api-key",
        real("gemini"),
        f"?key={PLACEHOLDER}&alt=sse",
        GENERATE + "?alt=sse",
    ),
    Placed("gemini by query alone", GEMINI, GENERATE, None, "x-goog-api-key", real("gemini"), f"?key={OWN}", GENERATE),
    Placed(
        "azure by api-key",
        AZURE,
        "/openai/deployments/d/chat/completions?api-version=2024-10-21",
        ("api-key", PLACEHOLDER),
        "api-key",
        real("azure"),
    ),
    Placed("openai by Bearer", OPENAI, CHAT, ("api-key", PLACEHOLDER), "authorization", f"Bearer {real('openai')}"),
)


@pytest.mark.parametrize("case", PLACED, ids=lambda case: case.name)
async def test_each_format_takes_its_key_in_its_own_place(acting: Proxy, upstream: Upstream, case: Placed) -> None:
    """The credential stands where the provider looks for it, once, and no other key header is left."""
    with upstream.answering(ok):
        async with await Client.tunnel(acting.address, f"{case.host}:443", tls=client_tls(acting.ca)) as client:
            headers = [case.sent] if case.sent else []
            response = await client.request("POST", case.path + case.query, case.host, *headers, JSON, body=b"{}")
    assert response.status == 200
    request = upstream.request
    assert request.values(case.header) == [case.value.encode()]
    assert len(credentials_in(request)) == 1
    assert not request.anywhere(PLACEHOLDER)
    assert not request.anywhere(OWN)
    assert request.target == (case.arrives or case.path).encode()
    others = {"authorization", "x-api-key", "x-goog-api-key", "api-key"} - {case.header}
    assert not [name for name in others if request.values(name)]


async def test_over_http2_the_same_holds(acting: Proxy, upstream: Upstream) -> None:
    """An HTTP/2 client's placeholder is replaced, and a second stream's own key is not mixed up with it."""
    with upstream.answering(ok):
        tunnel = await Client.tunnel(acting.address, f"{OPENAI}:443", tls=client_tls(acting.ca, "h2"))
        async with await H2Client.over(tunnel) as client:
            for key in (PLACEHOLDER, OWN, VIRTUAL):
                header = ("authorization", f"Bearer {key}")
                stream = await client.response(await client.post(CHAT, OPENAI, header, body=b'{"model":"gpt-4o"}'))
                assert stream.status == 200
            bad = ("authorization", f"Bearer {UNKNOWN}")
            assert (await client.response(await client.post(CHAT, OPENAI, bad))).status == 401
    assert [credentials_in(request) for request in upstream.requests] == [[real("openai")]] * 3
    assert not [request for request in upstream.requests if any(request.anywhere(k) for k in (PLACEHOLDER, OWN))]


async def test_two_different_keys_are_refused(acting: Proxy, upstream: Upstream) -> None:
    """Two different keys in one request are a 401, in whichever places they stand, and nothing is sent."""
    pairs = [
        ([("Authorization", f"Bearer {PLACEHOLDER}"), ("x-api-key", OWN)], ""),
        ([("Authorization", f"Bearer {PLACEHOLDER}"), ("Authorization", f"Bearer {OWN}")], ""),
        ([("x-api-key", PLACEHOLDER)], f"?key={OWN}"),
        ([("api-key", VIRTUAL), ("x-goog-api-key", OWN)], ""),
        ([("Authorization", f"Bearer {VIRTUAL}"), ("X-API-Key", UNKNOWN)], ""),
    ]
    with upstream.answering(ok):
        async with await Client.tunnel(acting.address, f"{OPENAI}:443", tls=client_tls(acting.ca)) as client:
            for headers, query in pairs:
                response = await client.request(
                    "POST", CHAT + query, OPENAI, *headers, JSON, body=b'{"model":"gpt-4o"}'
                )
                assert response.status == 401
        assert not upstream.requests


@pytest.mark.parametrize("key", [PLACEHOLDER, VIRTUAL, OWN])
async def test_one_key_in_several_places_leaves_one_credential(acting: Proxy, upstream: Upstream, key: str) -> None:
    """The same key in two headers, or in one header twice, is taken out everywhere; one credential goes in."""
    both = [("Authorization", f"Bearer {key}"), ("x-api-key", key)]
    twice = [("Authorization", f"Bearer {key}"), ("authorization", f"Bearer {key}")]
    for headers in (both, twice):
        with upstream.answering(ok):
            async with await Client.tunnel(acting.address, f"{OPENAI}:443", tls=client_tls(acting.ca)) as client:
                response = await client.request("POST", CHAT, OPENAI, *headers, JSON, body=b'{"model":"gpt-4o"}')
        assert response.status == 200
        assert upstream.request.values("authorization") == [f"Bearer {real('openai')}".encode()]
        assert not upstream.request.values("x-api-key")
        assert not upstream.request.anywhere(key)


async def test_an_unknown_endpoint_gets_no_credential(acting: Proxy, upstream: Upstream) -> None:
    """On a claimed host, an endpoint that nobody knows passes with the client's own key; a placeholder is refused."""
    with upstream.answering(ok):
        async with await Client.tunnel(acting.address, f"{OPENAI}:443", tls=client_tls(acting.ca)) as client:
            own = ("Authorization", f"Bearer {OWN}")
            assert (await client.request("GET", "/v1/organization/users", OPENAI, own)).status == 200
            assert upstream.request.values("authorization") == [f"Bearer {OWN}".encode()]
            assert credentials_in(upstream.request) == []
            for key in (PLACEHOLDER, VIRTUAL):
                response = await client.request("GET", "/v1/organization/users", OPENAI, ("x-api-key", key))
                assert response.status in (403, 500)
            assert len(upstream.requests) == 1


async def test_the_marks_say_what_was_done(acting: Proxy, upstream: Upstream) -> None:
    """Replies to calls that the rules handled say id, route, provider and model; the record carries the same id."""
    mark = acting.ledger.mark()
    with upstream.answering(ok):
        async with await Client.tunnel(acting.address, f"{OPENAI}:443", tls=client_tls(acting.ca)) as client:
            response = await client.request("POST", CHAT, OPENAI, JSON, body=b'{"model":"house-1"}')
    row = await acting.ledger.row(mark)
    marks = [response.value(f"x-interpose-{name}") for name in ("id", "route", "provider", "model")]
    assert marks == [row["id"].encode(), b"to-house", b"house", b"house-1"]
    assert (row["route"], row["provider"], row["asked_model"]) == ("to-house", "house", "house-1")
