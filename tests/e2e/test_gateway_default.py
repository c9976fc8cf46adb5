"""`interpose serve` without a rules file of one's own, and the contract that its rules keep: who may call, how often,
and what the official SDKs are told otherwise.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
import pytest_asyncio
import yaml
from tests.e2e.certificates import Authority
from tests.e2e.proxy import Gateway
from tests.e2e.replies import CHAT_JSON
from tests.e2e.runtimes import CLIENTS as CLIENTS_FOLDER
from tests.e2e.runtimes import launch, runtime
from tests.e2e.settings import ANTHROPIC, GEMINI, OPENAI, UNKNOWN, canary, connect_to, digest, real
from tests.e2e.test_gateway import CLAUDE, HI
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

NODE = CLIENTS_FOLDER / "node" / "gateway_errors.mjs"
EXAMPLE = Path(__file__).parents[2] / "rules" / "gateway.yaml"
PATIENT = 60.0  # s that anything may take on a busy machine
ENVIRON = {
    "OPENAI_API_KEY": real("openai"),
    "ANTHROPIC_API_KEY": real("anthropic"),
    "GEMINI_API_KEY": real("gemini"),
    "MISTRAL_API_KEY": real("house"),
    "CO_API_KEY": real("house"),
}
# A client for each subject, so that none uses up another's limits.
CLIENTS: dict[str, dict[str, Any]] = {
    "asks": {},
    "chats": {},
    "embeds": {},
    "lists": {},
    "errs": {"models": ["gpt-*"], "endpoints": ["chat", "embeddings"]},
    "fails": {},
    "node": {"models": ["gpt-*"]},
    "gone": {"expires": "2020-01-01"},
}
KEYS = {name: canary(f"default-{name}", "vk-") for name in CLIENTS}
EMBEDDING = {
    "object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, upstream: Upstream
) -> AsyncIterator[Gateway]:
    """The example itself, and besides it only where its providers are and who has a key."""
    rules = yaml.safe_load(EXAMPLE.read_text())
    rules["clients"]["keys"] = [{"name": name, "sha256": digest(KEYS[name]), **CLIENTS[name]} for name in CLIENTS]
    rules["upstream"] = {"ca": str(authority.pem), "connect_to": connect_to(upstream, (OPENAI, ANTHROPIC, GEMINI))}
    gateway = Gateway(tmp_path_factory.mktemp("default"))
    await gateway.start(json.dumps(rules), ENVIRON)
    yield gateway
    assert await gateway.stop() == 0, gateway.errors


async def answer(exchange: Exchange) -> None:
    replies = {"/v1/messages": CLAUDE, "/v1/embeddings": EMBEDDING}
    reply = replies.get(exchange.request.path)
    await exchange.json(CHAT_JSON if reply is None else json.dumps(reply).encode())


def client(gateway: Gateway, key: str | None, **headers: str) -> httpx.AsyncClient:
    bearer = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=gateway.url, headers=bearer | headers, timeout=PATIENT)


def sdk(gateway: Gateway, key: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=gateway.base_url, api_key=key, max_retries=0, timeout=PATIENT)


CHAT = {"model": "gpt-4o", "messages": HI}


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEYS['asks']}"},
        {"X-API-Key": KEYS["asks"]},
        {"Authorization": f"Bearer {KEYS['asks']}", "X-API-Key": KEYS["asks"]},
        {"authorization": f"bearer {KEYS['asks']}"},
    ],
    ids=["bearer", "x-api-key", "both", "lower case"],
)
async def test_a_key_is_shown_in_either_header(gateway: Gateway, upstream: Upstream, headers: dict[str, str]) -> None:
    """Or in both of them, if it is the same one; the provider never sees it."""
    async with client(gateway, None, **headers) as http:
        with upstream.answering(answer):
            reply = await http.post("/v1/chat/completions", json=CHAT)
    assert reply.status_code == 200
    assert not upstream.request.anywhere(KEYS["asks"])


NOBODY: list[tuple[str, dict[str, str]]] = [
    ("none", {}),
    ("empty", {"Authorization": "Bearer"}),
    ("a provider's own", {"Authorization": "Bearer sk-FAKE-own-000000000000"}),
    ("unknown", {"X-API-Key": UNKNOWN}),
    ("expired", {"Authorization": f"Bearer {KEYS['gone']}"}),
    ("two", {"Authorization": f"Bearer {KEYS['asks']}", "X-API-Key": KEYS["chats"]}),
    ("not a bearer", {"Authorization": KEYS["asks"] + "x"}),
]


@pytest.mark.parametrize("headers", [headers for _, headers in NOBODY], ids=[name for name, _ in NOBODY])
@pytest.mark.parametrize("path", ["chat/completions", "embeddings", "models", "moderations", "nothing/like/it"])
async def test_who_has_no_good_key_gets_nothing(
    gateway: Gateway, upstream: Upstream, headers: dict[str, str], path: str
) -> None:
    """A 401 in OpenAI's shape, before the body is looked at; nothing is sent, and no limit is told."""
    with upstream.answering(answer):
        async with client(gateway, None, **headers) as http:
            reply = await http.request("GET" if path == "models" else "POST", f"/v1/{path}", content=b"{no json")
        assert upstream.requests == []
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["type"]) == (401, "invalid_api_key", "authentication_error")
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    assert not any(name.startswith("x-ratelimit") for name in reply.headers)


async def test_openais_sdk_raises_what_it_would_for_openai(gateway: Gateway, upstream: Upstream) -> None:
    """Its own exceptions, by what is wrong; a known client is told its limits with each of them."""
    chat: Any = {"model": "gpt-4o", "messages": HI}
    async with sdk(gateway, UNKNOWN) as stranger:
        with pytest.raises(openai.AuthenticationError) as unknown:
            await stranger.chat.completions.create(**chat)
    assert (unknown.value.code, unknown.value.type) == ("invalid_api_key", "authentication_error")
    async with sdk(gateway, KEYS["errs"]) as known:
        with pytest.raises(openai.PermissionDeniedError) as model:
            await known.chat.completions.create(**chat | {"model": "o3"})
        with pytest.raises(openai.PermissionDeniedError) as endpoint:
            await known.moderations.create(input="Hi")
        with pytest.raises(openai.NotFoundError) as nowhere:
            await known.chat.completions.create(**chat | {"model": "gpt-nobodys/x"})
        with upstream.answering(bad_request), pytest.raises(openai.BadRequestError) as bad:
            await known.chat.completions.create(**chat)
    told = [(each.value.code, each.value.type, each.value.param) for each in (model, endpoint, nowhere)]
    assert told == [
        ("model_not_permitted", "permission_error", "model"),
        ("endpoint_not_permitted", "permission_error", None),
        ("model_not_found", "invalid_request_error", "model"),
    ]
    limits = [each.value.response.headers.get("x-ratelimit-limit-requests") for each in (model, endpoint, nowhere, bad)]
    assert limits == ["20", "60", "20", "20"]
    left = [each.value.response.headers["x-ratelimit-remaining-requests"] for each in (model, nowhere, bad)]
    # What is refused here is not counted.
    assert left == ["20", "20", "19"]


async def bad_request(exchange: Exchange) -> None:
    error = {"message": "no", "type": "invalid_request_error", "param": "messages", "code": None}
    await exchange.json(json.dumps({"error": error}).encode(), status=400)


async def test_anthropics_sdk_raises_what_it_would_for_anthropic(gateway: Gateway, upstream: Upstream) -> None:
    """In its own words, with its own headers."""
    asked: Any = {"model": "claude-x", "max_tokens": 9, "messages": HI}
    options: Any = {"base_url": gateway.url, "max_retries": 0, "timeout": PATIENT}
    async with anthropic.AsyncAnthropic(api_key=UNKNOWN, **options) as stranger:
        with pytest.raises(anthropic.AuthenticationError) as unknown:
            await stranger.messages.create(**asked)
    async with anthropic.AsyncAnthropic(api_key=KEYS["errs"], **options) as known:
        with pytest.raises(anthropic.PermissionDeniedError) as forbidden:
            await known.messages.create(**asked)
        with pytest.raises(anthropic.NotFoundError) as nowhere:
            await known.messages.create(**asked | {"model": "gpt-nobodys/x"})
    kinds = [each.value.body["error"]["type"] for each in (unknown, forbidden, nowhere)]  # type: ignore[index]
    assert kinds == ["authentication_error", "permission_error", "not_found_error"]
    assert "anthropic-ratelimit-requests-remaining" in nowhere.value.response.headers


LIMITS = [
    ("chats", "chat/completions", CHAT, 20),
    ("embeds", "embeddings", {"model": "text-embedding-3-small", "input": "Hi"}, 100),
    ("lists", "moderations", {"input": "Hi"}, 60),
]


@pytest.mark.parametrize(("name", "path", "body", "limit"), LIMITS)
async def test_so_many_a_minute_and_no_more(
    gateway: Gateway, upstream: Upstream, name: str, path: str, body: dict[str, Any], limit: int
) -> None:
    """The one limit of its endpoint holds: embeddings reach their hundred. Each reply says what is left, and the 429
    when to come back.
    """
    async with client(gateway, KEYS[name]) as http:
        with upstream.answering(answer):
            replies = await asyncio.gather(*(http.post(f"/v1/{path}", json=body) for _ in range(limit + 3)))
            assert len(upstream.requests) == limit
    assert Counter(reply.status_code for reply in replies) == {200: limit, 429: 3}
    assert {reply.headers["x-ratelimit-limit-requests"] for reply in replies} == {str(limit)}
    left = sorted(int(reply.headers["x-ratelimit-remaining-requests"]) for reply in replies)
    assert left == [0, 0, 0, *range(limit)]
    for refused in (reply for reply in replies if reply.status_code == 429):
        error = refused.json()["error"]
        assert (error["code"], error["type"]) == ("rate_limit_exceeded", "rate_limit_error")
        assert 0 < int(refused.headers["retry-after"]) <= 66


async def test_a_list_says_what_is_left(gateway: Gateway) -> None:
    """Of the standard limit, which it counts in."""
    async with client(gateway, KEYS["asks"]) as http:
        left = [(await http.get("/v1/models")).headers["x-ratelimit-remaining-requests"] for _ in range(2)]
    assert left == ["59", "58"]


async def test_openais_sdk_knows_a_429(gateway: Gateway, upstream: Upstream) -> None:
    """Its RateLimitError, and one limit's end is none of another: the same client may still embed."""
    async with sdk(gateway, KEYS["chats"]) as known:
        with upstream.answering(answer):
            calls = [known.chat.completions.create(model="gpt-4o", messages=HI) for _ in range(21)]
            told = await asyncio.gather(*calls, return_exceptions=True)
            assert any(isinstance(each, openai.RateLimitError) for each in told)
            assert (await known.embeddings.create(model="text-embedding-3-small", input="Hi")).data


async def test_a_forwarded_address_makes_nobody_another(gateway: Gateway, upstream: Upstream) -> None:
    """What a client says of its address is not believed: its limit is that of where it calls from."""
    async with client(
        gateway, KEYS["embeds"], **{"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7"}
    ) as http:
        mark = gateway.ledger.mark()
        with upstream.answering(answer):
            await http.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": "Hi"})
    assert (await gateway.ledger.row(mark))["ip"] == "127.0.0.1"


async def test_a_provider_that_is_down_is_a_503_to_the_sdk(gateway: Gateway, upstream: Upstream) -> None:
    """After three attempts, in either SDK's words."""

    async def down(exchange: Exchange) -> None:
        await exchange.json(b'{"error": {"message": "down"}}', status=500)

    with upstream.answering(down):
        async with sdk(gateway, KEYS["fails"]) as known:
            with pytest.raises(openai.InternalServerError) as caught:
                await known.chat.completions.create(model="gpt-4o", messages=HI)
            assert len(upstream.requests) == 3
        options: Any = {"base_url": gateway.url, "max_retries": 0, "timeout": PATIENT}
        async with anthropic.AsyncAnthropic(api_key=KEYS["fails"], **options) as other:
            with pytest.raises(anthropic.APIStatusError) as claudes:
                await other.messages.create(model="claude-x", max_tokens=9, messages=HI)
    assert (caught.value.status_code, caught.value.code) == (503, "provider_unavailable")
    assert claudes.value.status_code == 503
    assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "19"


NODE_SEES = """\
AuthenticationError 401 invalid_api_key
PermissionDeniedError 403 model_not_permitted
NotFoundError 404 model_not_found
InternalServerError 503 provider_unavailable
AuthenticationError 401 authentication_error
PermissionDeniedError 403 permission_error
NotFoundError 404 not_found_error
RateLimitError 429 rate_limit_exceeded
"""


async def test_nodes_sdks_raise_what_they_would_for_their_providers(
    gateway: Gateway, upstream: Upstream, tmp_path: Path
) -> None:
    """OpenAI's and Anthropic's, with a base URL and a key."""

    async def model(exchange: Exchange) -> None:
        down = json.loads(exchange.request.body)["model"] == "gpt-down"
        await exchange.json(b"{}" if down else CHAT_JSON, status=500 if down else 200)

    command = [runtime("node"), str(NODE), gateway.url, KEYS["node"], UNKNOWN]
    with upstream.answering(model):
        program = await launch(command, gateway.environ({}), tmp_path)
        assert await program.ended() == 0, await program.errors()
    assert program.out.decode() == NODE_SEES


async def test_a_newcomer_is_told_what_is_missing(tmp_path: Path) -> None:
    """First a provider's key, then one of a client; and it answers by TLS, at IPv6 and IPv4, to nobody without one."""
    gateway = Gateway(tmp_path / "first")
    await gateway.launch(None, {})
    assert await gateway.ended() == 1
    assert gateway.errors.startswith("interpose: no provider has a key: set one of OPENAI_API_KEY, ANTHROPIC_API_KEY")

    authority = Authority(tmp_path / "authority")
    leaf = str(authority.leaf(["localhost", "127.0.0.1", "::1"]))
    tls = ("--tls-cert", leaf, "--tls-key", leaf)
    gateway = Secure(tmp_path / "second")
    await gateway.start(None, {"OPENAI_API_KEY": real("openai")}, "--listen", "[::]:0", *tls)
    try:
        trust = authority.client_context()
        for host in ("127.0.0.1", "[::1]", "localhost"):
            mark = gateway.ledger.mark()
            async with httpx.AsyncClient(verify=trust, timeout=PATIENT) as http:
                reply = await http.post(f"https://{host}:{gateway.port}/v1/chat/completions", json=CHAT)
                assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
            assert (await gateway.ledger.row(mark))["ip"] in ("127.0.0.1", "::1")
        old = authority.client_context()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        async with httpx.AsyncClient(verify=old, timeout=PATIENT) as http:
            assert (await http.get(f"https://localhost:{gateway.port}/healthz")).status_code == 200
    finally:
        assert await gateway.stop() == 0, gateway.errors
    assert "providers: openai\n" in gateway.errors
    left_out = "left out, since their variable is not set: anthropic (ANTHROPIC_API_KEY), gemini (GEMINI_API_KEY), "
    assert left_out in gateway.errors
    assert f"keys add NAME --state {gateway.state}\n" in gateway.errors


class Secure(Gateway):
    """A gateway that speaks TLS."""

    listening = "interpose: answering at https://"
