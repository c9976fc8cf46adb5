"""A gateway that asks for no key, and web pages that would use it."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from interpose import Gateway
from interpose.call import Call, Entrance, Headers, Origin, Peer, Url
from interpose.gateway.browsers import barred
from interpose.rules.compiled import Clients, Intercept, Rules

OPEN = Rules("test", clients=Clients(required=False), intercept=Intercept(virtual_host="ai.internal"))


def call(host: str, *headers: tuple[bytes, bytes], entrance: Entrance = Entrance.GATEWAY) -> Call:
    return Call("POST", Url(Origin("http", host, 8080), "/v1/chat/completions"), headers, b"{}", Peer("::1"), entrance)


OWN = ["localhost", "api.localhost", "127.0.0.1", "::1", "192.0.2.7", "ai.internal"]


@pytest.mark.parametrize("host", OWN)
@pytest.mark.parametrize("site", [b"same-origin", b"none", None])
def test_programs_and_its_own_pages_are_served(host: str, site: bytes | None) -> None:
    """By whichever name is surely this machine's."""
    origin = f"http://[{host}]:8080" if ":" in host else f"http://{host}:8080"
    headers: Headers = () if site is None else ((b"Sec-Fetch-Site", site), (b"Origin", origin.encode()))
    assert barred(call(host, *headers), OPEN) is None


FOREIGN = [
    (b"sec-fetch-site", b"cross-site"),
    (b"Sec-Fetch-Site", b"Same-Site"),
    (b"origin", b"https://evil.example"),
    (b"origin", b"http://localhost:3000"),
    (b"origin", b"null"),
]


@pytest.mark.parametrize("header", FOREIGN)
def test_a_page_of_another_site_is_not(header: tuple[bytes, bytes]) -> None:
    """Whichever of the two it is that the browser says."""
    refusal = barred(call("localhost", header), OPEN)
    assert refusal is not None
    assert (refusal.status, refusal.code) == (403, "foreign_page")


def test_a_name_that_may_be_anybodys_is_not() -> None:
    """It may point here for a moment, so that its page can read what we answer."""
    refusal = barred(call("rebound.example"), OPEN)
    assert refusal is not None
    assert (refusal.status, refusal.code) == (403, "foreign_name")


@pytest.mark.parametrize("rules", [Rules("test"), Rules("test", clients=Clients(required=True))])
def test_where_keys_are_asked_for_nothing_is_looked_at(rules: Rules) -> None:
    """Applications in browsers that have a key are served."""
    assert barred(call("rebound.example", *FOREIGN), rules) is None


def test_what_is_intercepted_is_no_matter_of_this() -> None:
    """It is addressed to a provider."""
    assert barred(call("api.openai.com", *FOREIGN, entrance=Entrance.INTERCEPT), OPEN) is None


@pytest.mark.parametrize(("path", "status"), [("/v1/models", 403), ("/docs", 403), ("/healthz", 403)])
async def test_neither_calls_nor_pages_are_for_them(tmp_path: Path, path: str, status: int) -> None:
    """And what was refused is recorded."""
    rules = {
        "version": 1,
        "providers": {"local": {"format": "openai", "base_url": "http://127.0.0.1:9/v1", "credential": "none"}},
        "clients": {"required": False},
    }
    async with (
        Gateway(json.dumps(rules, indent=1), state=tmp_path / "state", alone=True) as gateway,
        httpx.AsyncClient(transport=httpx.ASGITransport(gateway), base_url="http://rebound.example") as client,
    ):
        reply = await client.get(path)
        assert (reply.status_code, reply.json()["error"]["code"]) == (status, "foreign_name")
        (record,) = await gateway.calls()
        assert (record.outcome, record.path) == ("refused", path)
