"""`/metrics` of a real gateway, read as Prometheus reads it: its figures are the ledger's."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import pytest_asyncio
from tests.e2e.certificates import Authority
from tests.e2e.proxy import Gateway
from tests.e2e.replies import CHAT_JSON
from tests.e2e.settings import ENVIRON, VIRTUAL, gateway_rules
from tests.e2e.test_gateway import CLAUDE, HI
from tests.e2e.upstream import Exchange, Upstream
from tests.metrics.scrapes import Scrape

pytestmark = pytest.mark.asyncio(loop_scope="session")

RULES: dict[str, Any] = {
    "routes": [
        {"name": "shaky", "match": {"model": "shaky"}, "to": {"provider": "openai", "model": "shaky-1"},
         "fallback": [{"provider": "claude", "model": "claude-x"}], "retry": {"attempts": 3, "backoff": "1ms..1ms"}},
    ],
    "limits": [{"name": "rare", "match": {"model": "rare"}, "requests": "1/day"}],
    "models": [
        {"id": "fast", "provider": "claude", "model": "claude-x"},
        {"id": "rare", "provider": "openai", "model": "gpt-4o-mini"},
    ],
}  # fmt: skip
STREAM = [
    b'data: {"choices": [{"index": 0, "delta": {"content": "one"}}]}\n\n',
    b'data: {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, '
    b'"prompt_tokens_details": {"cached_tokens": 5}, "completion_tokens_details": {"reasoning_tokens": 2}}}\n\n',
    b"data: [DONE]\n\n",
]


def rules_of(authority: Authority, upstream: Upstream) -> str:
    return json.dumps({**json.loads(gateway_rules(authority, upstream)), **RULES})


async def answer(exchange: Exchange) -> None:
    """By the model that is asked for."""
    asked = json.loads(exchange.request.body)
    if exchange.request.path == "/v1/messages":
        await exchange.json(json.dumps(CLAUDE).encode())
    elif asked["model"] in ("shaky-1", "gpt-5"):
        await exchange.json(b'{"error": {"message": "no"}}', 503)
    elif asked.get("stream"):
        await exchange.stream("text/event-stream")
        for piece in STREAM:
            await exchange.chunk(piece)
            if asked["model"] == "gpt-4o-endless":
                await exchange.gone.wait()
        await exchange.end()
    else:
        await exchange.json(CHAT_JSON)


async def scrape(gateway: Gateway, accept: str = "") -> Scrape:
    async with httpx.AsyncClient(headers={"accept": accept}) as client:
        reply = await client.get(f"{gateway.url}/metrics")
    assert reply.status_code == 200, reply.text
    return Scrape.read(reply.content, reply.headers["content-type"])


async def until(gateway: Gateway, **wanted: float) -> Scrape:
    """The first scrape that says so."""
    async with asyncio.timeout(60):
        while True:
            try:
                page = await scrape(gateway)
            except httpx.TransportError:
                # A connection to the worker that has just been killed.
                continue
            if all(page(name) == value for name, value in wanted.items()):
                return page
            await asyncio.sleep(0.05)


async def call(client: httpx.AsyncClient, model: str, status: int = 200, **more: Any) -> None:
    reply = await client.post("chat/completions", json={"model": model, "messages": HI, **more})
    assert reply.status_code == status, reply.text


def client_of(gateway: Gateway, key: str = VIRTUAL) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=gateway.base_url, headers={"x-api-key": key}, timeout=60)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def busy(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, upstream: Upstream
) -> AsyncIterator[Gateway]:
    """A gateway that has had calls of each kind of end, all of them recorded."""
    gateway = Gateway(tmp_path_factory.mktemp("measured"))
    await gateway.start(rules_of(authority, upstream), ENVIRON)
    try:
        with upstream.answering(answer):
            await mixed_calls(gateway)
            # The provider goes on until its client is known to have left: who breaks off first is what is recorded.
            await gateway.ledger.rows("", 16)
        yield gateway
    finally:
        assert await gateway.stop() == 0, gateway.errors


async def mixed_calls(gateway: Gateway) -> None:
    """Sixteen of them, each end that a call can have among them."""
    async with client_of(gateway) as client, client_of(gateway, "vk-FAKE-unknown") as stranger:
        for _ in range(3):
            await call(client, "gpt-4o")
            await call(client, "gpt-4o", stream=True)
            await call(client, "fast")
        await call(client, "shaky")
        await call(client, "gpt-5", 503)
        await call(client, "rare")
        await call(client, "rare", 429)
        await call(client, "nobodys", 404)
        await call(stranger, "gpt-4o", 401)
        body = {"model": "gpt-4o-endless", "messages": HI, "stream": True}
        async with client.stream("POST", "chat/completions", json=body) as reply:
            # Kept: an iterator that is let go of closes the connection.
            pieces = reply.aiter_bytes()
            await anext(pieces)
            assert (await scrape(gateway))("calls_in_flight") == 1


def summed(gateway: Gateway, what: str, where: str = "1") -> float:
    with sqlite3.connect(f"file:{gateway.ledger.path}?mode=ro", uri=True) as connection:
        (value,) = connection.execute(f"SELECT {what} FROM calls WHERE {where}").fetchone()
    connection.close()
    return float(value or 0)


SUMS = [
    ("calls_total", {}, "COUNT(*)", "1"),
    *(("calls_total", {"outcome": each}, "COUNT(*)", f"outcome = '{each}'") for each in ("ok", "refused", "limited",
                                                                                        "aborted", "error")),
    ("calls_total", {"status": "200"}, "COUNT(*)", "status = 200"),
    ("calls_total", {"provider": "claude", "model": "claude-x"}, "COUNT(*)", "sent_model = 'claude-x'"),
    ("calls_total", {"model": "gpt-4o"}, "COUNT(*)", "sent_model = 'gpt-4o'"),
    *((f"{name}_total", {}, f"SUM({name})", "1") for name in (
        "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "cost_usd")),
    ("output_tokens_total", {"provider": "openai"}, "SUM(output_tokens)", "provider = 'openai'"),
    ("unpriced_calls_total", {}, "COUNT(*)", "cost_usd IS NULL AND input_tokens IS NOT NULL"),
    ("call_duration_seconds_count", {}, "COUNT(*)", "1"),
    ("call_duration_seconds_sum", {}, "SUM(duration_ms) / 1000", "1"),
    ("time_to_first_token_seconds_count", {}, "COUNT(ttft_ms)", "stream"),
    ("time_to_first_token_seconds_sum", {}, "SUM(ttft_ms) / 1000", "stream"),
    ("ledger_records_total", {}, "COUNT(*)", "1"),
    ("refusals_total", {"outcome": "refused"}, "COUNT(*)", "outcome = 'refused'"),
    ("refusals_total", {"outcome": "limited"}, "COUNT(*)", "outcome = 'limited'"),
]  # fmt: skip


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
async def test_the_figures_are_the_ledgers(busy: Gateway, accept: str) -> None:
    """After calls that went well, were refused, limited, left by their client, and failed: each sum is the same."""
    page = await scrape(busy, accept)
    found = {(name, *labels.items()): page(name, **labels) for name, labels, _, _ in SUMS}
    wanted = {(name, *labels.items()): summed(busy, what, where) for name, labels, what, where in SUMS}
    assert found == pytest.approx(wanted)
    # None of them is true because nothing is there.
    assert [key for key, value in wanted.items() if not value and "cache_write" not in key[0]] == []


async def test_what_no_record_says_is_there_as_well(busy: Gateway) -> None:
    """Which codes, which limit, how often a call was sent again, the rules, the version, the ledger's queue."""
    page = await scrape(busy)
    assert page("refusals_total", code="rate_limit_exceeded") == page("limits_hit_total", limit="rare") == 1
    assert page("refusals_total", code="invalid_api_key") == page("refusals_total", code="model_not_found") == 1
    assert page("failovers_total", provider="openai", to="claude") == 1
    assert page("attempts_total", provider="openai") > page("attempts_total", provider="claude") == 4
    assert page("attempts_total", provider="openai", status="503") >= 2
    assert page("credentials", provider="openai") == page("credentials", provider="claude", state="closed") == 1
    assert [page(name) for name in ("calls_in_flight", "ledger_records_waiting", "rules_stale")] == [0, 0, 0]
    assert page("workers") == page("build_info") == page("rules_info") == 1
    assert not page.labels("calls_total", "model") & {"nobodys", "rare", "shaky", "fast"}


async def test_a_rules_file_with_a_mistake_is_seen(busy: Gateway) -> None:
    """That calls go by older rules, and when that is over."""
    file = busy.folder / "rules.yaml"
    good = file.read_text()
    try:
        for text, stale, result in ((good.replace("shaky-1", "shaky-1\\q"), 1, "failure"), (good + "\n", 0, "success")):
            file.write_text(text)
            async with asyncio.timeout(30):
                while (page := await scrape(busy))("rules_stale") != stale:
                    await asyncio.sleep(0.05)
            if result == "failure":
                assert page("rules_reloads_total", result=result) >= 1
    finally:
        file.write_text(good)


async def test_whichever_worker_is_asked_answers_for_all(
    tmp_path: Path, authority: Authority, upstream: Upstream
) -> None:
    """Each scrape, by a connection of its own, says how many calls both have had, and goes on to when one of them is
    killed; what they leave behind is nothing.
    """
    gateway = Gateway(tmp_path)
    await gateway.start(gateway_rules(authority, upstream), ENVIRON, "--workers", "2")
    calls, writers = 0, set()
    try:
        with upstream.answering(answer):
            while len(writers) < 2:
                async with client_of(gateway) as client:
                    await call(client, "gpt-4o")
                calls += 1
                writers = {row["writer"] for row in await gateway.ledger.rows("", calls)}
        for _ in range(10):
            page = await scrape(gateway)
            assert page("calls_total") == calls
            assert page("input_tokens_total") == summed(gateway, "SUM(input_tokens)")
        await until(gateway, ledger_records_total=calls, workers=2)
        workers = psutil.Process(gateway.pid).children(recursive=True)
        victim = next(each for each in workers if "spawn_main" in " ".join(each.cmdline()))
        victim.kill()
        # Its place is taken by another one, which goes on where it was.
        await until(gateway, ledger_records_total=calls, workers=1)
        page = await until(gateway, ledger_records_total=calls, workers=2)
        assert page("calls_total") == calls
        assert len(list((gateway.state / "metrics").rglob("*.counts"))) == 2
    finally:
        assert await gateway.stop() == 0, gateway.errors
    assert [path for path in (gateway.state / "metrics").rglob("*") if path.is_dir() or path.suffix] == []
