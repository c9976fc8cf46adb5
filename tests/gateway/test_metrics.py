"""Who may see what was spent."""

from __future__ import annotations

import datetime
import hashlib
import json
from pathlib import Path

import pytest
from tests.gateway.test_front import Engine

from interpose.call import Call, Entrance, Headers, Origin, Peer, Url, header
from interpose.errors import Refusal
from interpose.gateway import Front, metrics
from interpose.metrics import Metrics
from interpose.rules.compiled import ClientKey, Rules
from interpose.rules.load import parse
from interpose.stages.holder import holder

GOOD, OLD, GONE = "vk-FAKE-good", "vk-FAKE-old", "vk-FAKE-gone"
NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC).timestamp()
ISSUED = {
    GOOD: ClientKey("ops", ""),
    OLD: ClientKey("old", "", expires=datetime.date(2026, 1, 1)),
    GONE: ClientKey("gone", "", revoked=True),
}


async def asked(
    ip: str, host: str = "gateway.example.com", headers: Headers = (), rules: Rules | None = None
) -> tuple[int, str]:
    """The status, and the code of the error or the first line of the page."""

    def owner(call: Call) -> ClientKey:
        return holder(call, rules or Rules.default(), ISSUED.get, NOW)

    page = metrics.page(Metrics(), owner, lambda: "virtual.example.com")
    front = Front(Engine(), {"/metrics": page})
    url = Url(Origin("http", host, 80), "/metrics")
    reply = await front.handle(Call("GET", url, headers, b"", Peer(ip), Entrance.GATEWAY))
    body = b"".join([piece async for piece in reply.body])
    assert (header(reply.headers, b"www-authenticate") is not None) == (reply.status == 401)
    if reply.status == 200:
        return 200, body.decode().partition("\n")[0]
    error = json.loads(body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return reply.status, error["code"]


REFUSED = (401, "invalid_api_key")
SHOWN = (200, "# HELP interpose_calls_total Calls that have ended: one for each record.")
HERE = ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"]
ELSEWHERE = ["10.0.0.7", "203.0.113.9", "2001:db8::1", "::ffff:10.0.0.7", "", "localhost"]
AUTHORIZED = [(b"authorization", f"Bearer {GOOD}".encode()), (b"x-api-key", GOOD.encode())]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "localhost", "api.localhost", "gateway", "ai.internal", "virtual.example.com"]
)
@pytest.mark.parametrize("ip", HERE)
async def test_this_machine_needs_no_key(ip: str, host: str) -> None:
    """By whatever name it knows us that is no name of the public DNS."""
    assert await asked(ip, host) == SHOWN


@pytest.mark.parametrize("ip", ELSEWHERE)
async def test_others_need_a_key(ip: str) -> None:
    """A good one, where a client would show it."""
    assert await asked(ip, "127.0.0.1") == REFUSED
    for name, value in AUTHORIZED:
        assert await asked(ip, headers=((name, value),)) == SHOWN


@pytest.mark.parametrize("key", ["vk-FAKE-unknown", "sk-FAKE-own", OLD, GONE])
async def test_a_key_that_is_not_good_shows_nothing(key: str) -> None:
    """One that is unknown, expired or revoked; nor does it beside one that is good."""
    bearer = (b"authorization", f"Bearer {key}".encode())
    assert await asked("10.0.0.7", headers=(bearer,)) == REFUSED
    assert await asked("10.0.0.7", headers=(bearer, (b"x-api-key", GOOD.encode()))) == REFUSED


async def test_a_key_of_the_rules_is_as_good_as_one_that_was_issued() -> None:
    """Its digest stands there."""
    listed = "FAKE-listed-key"
    digest = hashlib.sha256(listed.encode()).hexdigest()
    text = f"version: 1\nclients: {{keys: [{{name: ci, sha256: '{digest}'}}]}}\n"
    rules = parse(text, "rules.yaml", Path.cwd())
    assert await asked("10.0.0.7", headers=((b"x-api-key", listed.encode()),), rules=rules) == SHOWN


@pytest.mark.parametrize("name", metrics.PASSED_ON)
async def test_what_a_proxy_here_passes_on_is_from_elsewhere(name: bytes) -> None:
    """It connects from this machine, whoever has asked it."""
    assert await asked("127.0.0.1", "127.0.0.1", ((name, b"203.0.113.9"),)) == REFUSED
    assert await asked("127.0.0.1", "127.0.0.1", ((name, b"203.0.113.9"), AUTHORIZED[1])) == SHOWN


@pytest.mark.parametrize("host", ["evil.example.com", "localhost.evil.com", "evil.com.", "gateway.invalid"])
async def test_a_page_whose_name_points_here_sees_nothing(host: str) -> None:
    """A browser on this machine may be told that its name is 127.0.0.1: DNS rebinding."""
    assert await asked("127.0.0.1", host) == REFUSED


async def test_where_keys_cannot_be_looked_up_nothing_is_shown() -> None:
    """That is no matter of the key: a 503."""

    def owner(call: Call) -> ClientKey:
        raise Refusal(503, "keys_unavailable", "The key cannot be checked just now.")

    page = metrics.page(Metrics(), owner)
    reply = await page(Call("GET", Url(Origin("http", "x.com", 80), "/metrics"), (), b"", Peer("10.0.0.1")))
    assert reply.status == 503
