"""Machines that write one PostgreSQL ledger: all calls of all of them, whatever happens to them or to the database."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from tests.e2e.certificates import Authority
from tests.e2e.conftest import Farm
from tests.e2e.proxy import Gateway, Proxy
from tests.e2e.settings import OPENAI, OWN, VIRTUAL, connect_to, digest, rules_text
from tests.e2e.test_gateway_workers import listening
from tests.e2e.test_gateway_workers import until as eventually
from tests.e2e.upstream import Exchange, Upstream
from tests.postgres import PASSWORD, Postgres

from interpose.ledger.address import Database
from interpose.ledger.verify import verify
from interpose.rules.sinks import database as parsed

pytestmark = pytest.mark.asyncio(loop_scope="session")

ENVIRON = {"FAKE_PG_PASSWORD": PASSWORD, "FAKE_OPENAI_KEY": "sk-FAKE-openai-of-databases"}
ACROSS = 60.0


async def answer(exchange: Exchange) -> None:
    await exchange.json(b'{"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 1000}}')


def rules(authority: Authority, upstream: Upstream, *sinks: str, **sections: Any) -> str:
    return rules_text(
        ledger={"to": list(sinks)},
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream)},
        **sections,
    )


async def ask(proxy: Proxy, ca: Path | None = None) -> int:
    """One call through the interceptor; its status. `ca` is given where that is in the state folder of another."""
    trusted = ssl.create_default_context(cafile=str(ca or proxy.ca))
    async with httpx.AsyncClient(proxy=proxy.url, verify=trusted, timeout=ACROSS) as sdk:
        reply = await sdk.post(
            f"https://{OPENAI}/v1/chat/completions",
            json={"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]},
            headers={"authorization": f"Bearer {OWN}"},
        )
        return reply.status_code


async def until(postgres: Postgres, name: str, count: int) -> list[tuple[str, str]]:
    """The calls in the database, writer and id, when there are so many; no more of them may come."""
    found: list[tuple[Any, ...]] = []
    async with asyncio.timeout(ACROSS):
        while len(found) < count:
            await asyncio.sleep(0.05)
            with suppress(asyncpg.UndefinedTableError):  # yet to come
                found = postgres.run("SELECT writer, id FROM calls", database=name)
    assert len({each for _, each in found}) == len(found) == count
    return [(str(writer), str(each)) for writer, each in found]


async def usage(*arguments: str | Path, **environ: str) -> list[dict[str, Any]]:
    """The rows that `interpose usage` reports."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "interpose", "usage", "--format", "json", "--by", "provider", *map(str, arguments),
        stdout=asyncio.subprocess.PIPE, env={**os.environ, **environ},
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    rows: list[dict[str, Any]] = json.loads(out)["rows"]
    return rows


def without_secrets(postgres: Postgres, name: str, *proxies: Proxy) -> None:
    """No password and no key stands in what is stored or was said."""
    secrets = [PASSWORD, OWN, ENVIRON["FAKE_OPENAI_KEY"]]
    for table in ("calls", "connections", "writers"):
        stored = str(postgres.run(f"SELECT * FROM {table}", database=name))
        assert not [secret for secret in secrets if secret in stored]
    for proxy in proxies:
        for place, content in proxy.left_behind().items():
            assert not [secret for secret in secrets if secret.encode() in content], place


async def test_machines_write_one_ledger_whatever_happens(
    farm: Farm, authority: Authority, upstream: Upstream, postgres: Postgres
) -> None:
    """Two of them; one is killed while the database hangs, and brings what it had when it starts again."""
    name = postgres.database()
    at = Database(parsed(postgres.url(name)), PASSWORD)
    text = rules(authority, upstream, postgres.url(name), "sqlite:own.db", "jsonl:calls.jsonl")
    first, second = [await farm.launch(f"databases-{number}", text, ENVIRON) for number in range(2)]
    with upstream.answering(answer):
        assert [await ask(proxy) for proxy in (first, second) for _ in range(3)] == [200] * 6
        found = await until(postgres, name, 6)
        assert len({writer for writer, _ in found}) == 2
        reported = await usage("--rules", first.folder / "rules.yaml", FAKE_PG_PASSWORD=PASSWORD)
        assert [row["calls"] for row in reported] == [6]
        assert await usage("--ledger", postgres.url(name), FAKE_PG_PASSWORD=PASSWORD) == reported
        for own in (first.folder / "own.db", f"jsonl:{first.folder / 'calls.jsonl'}"):
            assert [row["calls"] for row in await usage("--ledger", own)] == [3]

        postgres.signal(signal.SIGSTOP)
        assert [await ask(first) for _ in range(4)] == [200] * 4
        async with asyncio.timeout(ACROSS):
            while sum(path.read_bytes().count(b'["calls"') for path in first.state.glob("spool/*/*/*.jsonl")) < 4:
                await asyncio.sleep(0.05)
        os.kill(first.pid, signal.SIGKILL)
        await first.ended()
        postgres.signal(signal.SIGCONT)
        again = await farm.launch("databases-again", text, ENVIRON, "--state", str(first.state))
        assert await ask(again, first.ca) == 200
    await until(postgres, name, 11)
    assert [await proxy.stop() for proxy in (again, second)] == [0, 0]
    assert verify(at) == []
    without_secrets(postgres, name, first, second, again)


async def test_workers_of_a_gateway_start_without_the_database(
    tmp_path: Path, authority: Authority, upstream: Upstream, postgres: Postgres
) -> None:
    """Calls are answered; at the end it is said what waits; the next start brings it, and no budget is forgotten."""
    name = postgres.database()
    text = rules(
        authority, upstream, postgres.url(name),
        providers={
            "openai": {"format": "openai", "base_url": f"https://{OPENAI}/v1", "credential": {"env": "FAKE_OPENAI_KEY"}}
        },
        clients={"keys": [{"name": "ci", "sha256": digest(VIRTUAL)}]},
        prices={"m": {"input": 1000, "output": 1000}},
        limits=[{"name": "month", "budget": "$9/month", "per": "client"}],
    )  # fmt: skip
    gateway = Gateway(tmp_path / "gateway")
    later = Gateway(tmp_path / "gateway")

    async def call(gateway: Gateway) -> int:
        async with httpx.AsyncClient(base_url=gateway.base_url, timeout=ACROSS) as sdk:
            body = {"model": "openai/m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1000}
            reply = await sdk.post("/chat/completions", json=body, headers={"authorization": f"Bearer {VIRTUAL}"})
            return reply.status_code

    postgres.signal(signal.SIGKILL)
    with upstream.answering(answer):
        await gateway.start(text, ENVIRON, "--workers", "2")
        assert [await call(gateway) for _ in range(3)] == [200] * 3
        assert await gateway.stop() == 0
        assert "is away" in gateway.errors
        assert "they wait in" in gateway.errors
        postgres.start()
        await later.start(text, ENVIRON)
        await until(postgres, name, 3)
        # $2 a call: another one costs more than is left, as the database says, if not this process.
        assert await call(later) == 200
        assert await call(later) == 429
        assert await later.stop() == 0
    assert verify(Database(parsed(postgres.url(name)), PASSWORD)) == []
    without_secrets(postgres, name, gateway, later)


async def test_what_a_killed_worker_has_left_is_brought_by_the_one_that_replaces_it(
    tmp_path: Path, authority: Authority, upstream: Upstream, postgres: Postgres
) -> None:
    """As soon as the database answers, without a restart, and each call once: nobody else brings it too."""
    name = postgres.database()
    gateway = Gateway(tmp_path / "gateway")
    text = rules(
        authority, upstream, postgres.url(name),
        providers={
            "openai": {"format": "openai", "base_url": f"https://{OPENAI}/v1", "credential": {"env": "FAKE_OPENAI_KEY"}}
        },
        clients={"keys": [{"name": "ci", "sha256": digest(VIRTUAL)}]},
    )  # fmt: skip

    def waiting() -> list[Path]:
        return sorted(gateway.state.glob("spool/*/*/*.jsonl"))

    async def call() -> int:
        async with httpx.AsyncClient(base_url=gateway.base_url, timeout=ACROSS) as sdk:
            body = {"model": "openai/m", "messages": [{"role": "user", "content": "Hi"}]}
            reply = await sdk.post("/chat/completions", json=body, headers={"authorization": f"Bearer {VIRTUAL}"})
            return reply.status_code

    with upstream.answering(answer):
        await gateway.start(text, ENVIRON, "--workers", "2")
        await eventually(lambda: len(listening(gateway)) == 2)
        postgres.signal(signal.SIGKILL)
        calls = 0
        async with asyncio.timeout(ACROSS):
            while len({path.parent for path in waiting()}) < 2:  # both have something to bring
                assert await call() == 200
                calls += 1
        await eventually(lambda: sum(path.read_bytes().count(b'["calls"') for path in waiting()) == calls)
        before = listening(gateway)
        os.kill(min(before), signal.SIGKILL)
        await eventually(lambda: len(after := listening(gateway)) == 2 and after != before)
        postgres.start()
        assert len({writer for writer, _ in await until(postgres, name, calls)}) == 2
        await eventually(lambda: not waiting())
        assert await gateway.stop() == 0
    assert "Unexpected exit from worker" in gateway.errors
    assert "they wait in" not in gateway.errors
    assert verify(Database(parsed(postgres.url(name)), PASSWORD)) == []
