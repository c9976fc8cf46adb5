"""Rules that change while calls are under way: through the real command, with real connections."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from tests.e2e.certificates import Authority
from tests.e2e.clients import Client, Response, client_tls, request_bytes
from tests.e2e.conftest import Farm
from tests.e2e.h2client import H2Client
from tests.e2e.proxy import Proxy
from tests.e2e.settings import HOUSE, OPENAI, OWN, PLACEHOLDER, connect_to, real, rules_text
from tests.e2e.upstream import Exchange, Upstream

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

KEYS = {f"FAKE_{name.upper()}_KEY": real(name) for name in ("openai", "house")}
PATH = "/v1/chat/completions"
PATIENCE = 60.0
AUTH = ("Authorization", f"Bearer {PLACEHOLDER}")


def asks(*, stream: bool = False) -> bytes:
    return json.dumps({"model": "gpt-4o", "stream": stream, "messages": []}).encode()


async def answer(exchange: Exchange) -> None:
    """The model that was asked for, whole or in pieces that take a moment."""
    asked = json.loads(exchange.request.body)
    if not asked["stream"]:
        reply = {"model": asked["model"], "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
        await exchange.json(json.dumps(reply).encode())
        return
    await exchange.stream("text/event-stream")
    for _ in range(5):
        await exchange.chunk(b"data: " + json.dumps({"model": asked["model"], "choices": []}).encode() + b"\n\n")
        await asyncio.sleep(0.02)  # the pace of a model, waited for by nobody
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end()


class File:
    """The rules file of a running proxy, and what this says of it."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.path = proxy.folder / "rules.yaml"
        self._good = self._bad = 0

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def rename(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)

    def hang_up(self, text: str) -> None:
        self.path.write_text(text)
        os.kill(self.proxy.pid, signal.SIGHUP)

    async def _said(self, words: str, count: int) -> str:
        """The line that says it for that time."""
        async with asyncio.timeout(PATIENCE):
            while len(lines := [line for line in self.proxy.stderr if words in line]) < count:
                await asyncio.sleep(0.01)
        return lines[count - 1]

    async def in_force(self) -> str:
        """Waits until the rules of the last change are; their version."""
        self._good += 1
        line = await self._said(" reloaded, version ", self._good)
        return line.partition(" reloaded, version ")[2].split()[0]

    async def refused(self) -> None:
        """Waits until it is said that the last change cannot be used."""
        self._bad += 1
        await self._said(" cannot be used; ", self._bad)


@dataclass
class Setting:
    authority: Authority
    upstream: Upstream

    def rules(self, number: int = 0, **more: object) -> str:
        """Rules by which every chat gets a model `model-NUMBER` by a route `route-NUMBER`."""
        provider = {
            "format": "openai",
            "base_url": f"https://{OPENAI}/v1",
            "credential": {"env": ("FAKE_OPENAI_KEY", "FAKE_HOUSE_KEY")[number % 2]},
        }
        to = {"provider": "openai", "model": f"model-{number}"}
        return rules_text(
            **{
                "providers": {"openai": provider},
                "intercept": {"placeholders": [PLACEHOLDER]},
                "routes": [{"name": f"route-{number}", "match": {"endpoint": "chat"}, "to": to}],
                "upstream": {"ca": str(self.authority.pem), "connect_to": connect_to(self.upstream)},
                **more,
            }
        )

    def audit(self, **more: object) -> str:
        dial = connect_to(self.upstream)
        return rules_text(upstream={"ca": str(self.authority.pem), "connect_to": dial}, **more)


@pytest_asyncio.fixture(loop_scope="session")
async def setting(authority: Authority, upstream: Upstream) -> AsyncIterator[Setting]:
    with upstream.answering(answer):
        yield Setting(authority, upstream)


async def connect(proxy: Proxy, *alpn: str, host: str = OPENAI, ca: Path | None = None) -> Client:
    return await Client.tunnel(proxy.address, f"{host}:443", tls=client_tls(ca or proxy.ca, *alpn))


async def ask(client: Client, *, stream: bool = False, key: str = PLACEHOLDER) -> Response:
    auth = ("Authorization", f"Bearer {key}")
    return await client.request("POST", PATH, OPENAI, auth, body=asks(stream=stream))


def route_of(response: Response) -> bytes | None:
    return response.value("x-interpose-route")


# --- a hundred reloads under load -----------------------------------------------------------------------------------


@dataclass
class Load:
    """Clients that call without a pause, and what became of each call.

    `confirmed` is the number of the rules that are said to be in force, `written` that of the last good ones in the
    file: a call that began in between may have met either. `exact` are the numbers that a call can only have met.
    """

    proxy: Proxy
    confirmed: int = 0
    written: int = 0
    over: bool = False
    exact: set[int] = field(default_factory=set)
    swapped_meanwhile: int = 0
    failures: list[str] = field(default_factory=list)
    by_id: dict[str, int] = field(default_factory=dict)

    async def one(self, client: Client, *, stream: bool) -> None:
        low = self.confirmed
        await client.send(request_bytes("POST", PATH, OPENAI, AUTH, body=asks(stream=stream)))
        response = await client.head("POST")
        high = self.written
        await client.body(response)
        self.judge(response.status, response.value("x-interpose-route"), response.value("x-interpose-id"), low, high)
        route, ended = route_of(response) or b"", response.complete
        # The model that the upstream was sent, and whose name it answers with, is that of the route.
        count = bytes(response.body).count(b'"model": "%b"' % route.replace(b"route", b"model"))
        if not ended or count != (5 if stream else 1):
            self.failures.append(f"{response.ending} {response.status} {bytes(response.body[:300])!r}")

    async def one_by_http2(self, client: H2Client) -> None:
        low = self.confirmed
        stream = await client.post(PATH, OPENAI, ("authorization", AUTH[1]), body=asks())
        await client.head(stream)
        high = self.written
        await client.response(stream)
        self.judge(stream.status, stream.value("x-interpose-route"), stream.value("x-interpose-id"), low, high)

    def judge(self, status: int, route: bytes | None, call: bytes | None, low: int, high: int) -> None:
        if status != 200 or route is None or call is None:
            self.failures.append(f"status {status}, route {route!r}")
            return
        number = int(route.decode().removeprefix("route-"))
        self.by_id[call.decode()] = number
        if not low <= number <= high:
            self.failures.append(f"decided by {number}, while {low} to {high} were in force")
        if low == number == high:
            self.exact.add(number)
        self.swapped_meanwhile += self.confirmed > number

    async def keeps(self, *, stream: bool) -> None:
        async with await connect(self.proxy) as client:
            while not self.over:
                await self.one(client, stream=stream)

    async def connects(self) -> None:
        while not self.over:
            async with await connect(self.proxy) as client:
                await self.one(client, stream=False)

    async def multiplexes(self) -> None:
        async with await connect(self.proxy, "h2") as client, await H2Client.over(client) as both:
            while not self.over:
                await self.one_by_http2(both)


BROKEN = (
    "version: 1\nroutess: []\n",
    '{"version": 1, "providers": {"openai": {"format"',
    "version: 2\n",
    "version: 1\nproviders: {a: {format: openai, base_url: 'https://a.test/v1', credential: {env: FAKE_UNSET}}}\n",
    "",
)


async def test_a_hundred_reloads_under_load_fail_no_call(farm: Farm, setting: Setting) -> None:
    """Half of them are invalid. Every call is answered by rules that were in force when it began, which its record
    names; streams too, which see others come and go.
    """
    proxy = await farm.launch("hundred-reloads", setting.rules(0), KEYS)
    file, load, versions = File(proxy), Load(proxy), {}
    ways = itertools.cycle((file.write, file.rename, file.hang_up))
    tasks = [
        *(asyncio.create_task(load.keeps(stream=True)) for _ in range(8)),
        *(asyncio.create_task(load.keeps(stream=False)) for _ in range(6)),
        *(asyncio.create_task(load.multiplexes()) for _ in range(4)),
        *(asyncio.create_task(load.connects()) for _ in range(2)),
    ]
    try:
        for number in range(1, 51):
            next(ways)(BROKEN[number % len(BROKEN)])
            await file.refused()
            load.written = number
            next(ways)(setting.rules(number))
            versions[number] = await file.in_force()
            load.confirmed = number
            async with asyncio.timeout(PATIENCE):
                while number not in load.exact:
                    await asyncio.sleep(0.005)
            assert all(not task.done() for task in tasks), load.failures
    finally:
        load.over = True
        await asyncio.wait(tasks, timeout=PATIENCE)
    for task in tasks:
        task.result()
    assert load.failures == []
    rows = await proxy.ledger.rows("", len(load.by_id))
    assert {row["outcome"] for row in rows} == {"ok"}
    assert len(set(versions.values())) == 50
    for row in rows:
        number = load.by_id[row["id"]]
        assert row["route"] == f"route-{number}"
        assert number == 0 or row["rules_version"] == versions[number]
    # The proof is one only if there were calls that others have overtaken.
    assert load.swapped_meanwhile > 0
    assert await proxy.stop() == 0


async def test_a_stream_in_flight_ends_by_the_rules_that_it_began_with(farm: Farm, setting: Setting) -> None:
    """It is held at the upstream until other rules are in force: it then goes on, and is recorded under its own."""
    proxy = await farm.launch("stream-reload", setting.rules(1), KEYS)
    file, go_on = File(proxy), asyncio.Event()

    async def held(exchange: Exchange) -> None:
        if not json.loads(exchange.request.body)["stream"]:
            await answer(exchange)
            return
        await exchange.stream("text/event-stream")
        await exchange.chunk(b'data: {"choices": []}\n\n')
        await go_on.wait()
        await exchange.chunk(b"data: [DONE]\n\n")
        await exchange.end()

    with setting.upstream.answering(held):
        async with await connect(proxy) as client, await connect(proxy) as other:
            await client.send(request_bytes("POST", PATH, OPENAI, AUTH, body=asks(stream=True)))
            streaming = await client.head("POST")
            assert await client.piece(streaming)
            file.write(setting.rules(2))
            version = await file.in_force()
            assert route_of(await ask(other)) == b"route-2"
            go_on.set()
            await client.body(streaming)
    assert (streaming.complete, route_of(streaming)) == (True, b"route-1")
    first, second = await proxy.ledger.rows("", 2)
    assert (first["outcome"], first["route"], second["route"]) == ("ok", "route-1", "route-2")
    assert first["rules_version"] != second["rules_version"] == version


# --- hosts ----------------------------------------------------------------------------------------------------------


async def test_connections_go_on_and_their_calls_follow_the_rules(farm: Farm, setting: Setting) -> None:
    """From audit only to rules that act and back, on one connection of HTTP/1 and one of HTTP/2."""
    proxy = await farm.launch("acting-reload", setting.audit(), KEYS)
    file = File(proxy)
    async with await connect(proxy) as one, await connect(proxy, "h2") as tls, await H2Client.over(tls) as two:

        async def routes() -> list[bytes | None]:
            stream = await two.response(await two.post(PATH, OPENAI, ("authorization", AUTH[1]), body=asks()))
            response = await ask(one)
            assert (stream.status, response.status) == (200, 200)
            return [route_of(response), stream.value("x-interpose-route")]

        assert await routes() == [None, None]
        file.rename(setting.rules(7))
        await file.in_force()
        assert await routes() == [b"route-7", b"route-7"]
        assert setting.upstream.requests[-1].values("authorization") == [b"Bearer " + real("house").encode()]
        file.write(setting.audit())
        await file.in_force()
        assert await routes() == [None, None]
        assert setting.upstream.requests[-1].values("authorization") == [b"Bearer " + PLACEHOLDER.encode()]


async def test_hosts_are_decrypted_by_the_rules_of_the_moment(farm: Farm, setting: Setting) -> None:
    """A host that is no longer named is tunnelled when one connects anew; on the old connection, its calls pass
    through untouched. A tunnel stays one when its host is named again.
    """
    proxy = await farm.launch("hosts-reload", setting.rules(1), KEYS)
    file, mark = File(proxy), proxy.ledger.mark()
    # Undecrypted, it leads to the host itself, which is no host of this network.
    elsewhere = {"intercept": {"hosts": [HOUSE]}}
    async with await connect(proxy) as old:
        assert route_of(await ask(old)) == b"route-1"
        file.write(setting.rules(2, **elsewhere))
        await file.in_force()
        passed = await ask(old, key=OWN)
        assert (passed.status, route_of(passed)) == (200, None)
        assert json.loads(passed.body)["model"] == "gpt-4o"
        assert setting.upstream.requests[-1].values("authorization") == [b"Bearer " + OWN.encode()]
        file.write(setting.rules(3))
        await file.in_force()
        assert route_of(await ask(old)) == b"route-3"
    rows = await proxy.ledger.rows(mark, 3)
    assert [row["route"] for row in rows] == ["route-1", None, "route-3"]


async def test_what_was_a_tunnel_stays_one(farm: Farm, setting: Setting) -> None:
    """An undecrypted connection goes on when its host is claimed; the next one is decrypted."""
    port = setting.upstream.port
    name = f"localhost:{port}"
    dial = {**connect_to(setting.upstream), name: setting.upstream.address}
    upstream = {"ca": str(setting.authority.pem), "connect_to": dial}
    proxy = await farm.launch("tunnel-reload", setting.rules(1, upstream=upstream), KEYS)
    file = File(proxy)

    async def tunnel(ca: Path) -> Client:
        return await Client.tunnel(proxy.address, name, tls=client_tls(ca))

    async def tells(client: Client) -> Response:
        return await client.request("POST", PATH, name, ("Authorization", f"Bearer {OWN}"), body=asks())

    async with await tunnel(setting.authority.pem) as old:
        assert (await tells(old)).status == 200
        # Two that have been told that their tunnel stands, and begin TLS when the rules have changed.
        early = await Client.tunnel(proxy.address, name, tls=None)
        file.write(setting.rules(2, upstream=upstream, intercept={"hosts": [OPENAI, name]}))
        await file.in_force()
        assert (await tells(old)).status == 200
        await early.writer.start_tls(client_tls(proxy.ca), server_hostname="localhost")
        mark = proxy.ledger.mark()
        for decrypted in (early, await tunnel(proxy.ca)):
            async with decrypted:
                assert (await tells(decrypted)).status == 200
    assert [row["host"] for row in await proxy.ledger.rows(mark, 2)] == ["localhost", "localhost"]


# --- what is said ---------------------------------------------------------------------------------------------------


async def test_bad_rules_are_said_as_check_says_them_and_when_the_run_ends(farm: Farm, setting: Setting) -> None:
    """Every problem, once; the rules of before decide meanwhile."""
    proxy = await farm.launch("stale-reload", setting.rules(1), KEYS)
    file = File(proxy)
    file.write("version: 1\nroutess: []\nlimits: 3\n")
    await file.refused()
    said = subprocess.run(
        [sys.executable, "-m", "interpose", "check", str(file.path)], capture_output=True, text=True, check=False
    ).stderr
    assert len(said.splitlines()) >= 2
    assert said in proxy.errors
    async with await connect(proxy) as client:
        assert route_of(await ask(client)) == b"route-1"
    assert await proxy.stop() == 0
    assert f"interpose: {file.path} cannot be used since " in proxy.errors.splitlines()[-1]


async def test_a_file_that_is_deleted_and_comes_back(farm: Farm, setting: Setting) -> None:
    """Nothing changes for calls; it is said that it is gone, and that it is good again."""
    proxy = await farm.launch("deleted-reload", setting.rules(1), KEYS)
    file = File(proxy)
    file.path.unlink()
    await file.refused()
    assert "there is no such file" in proxy.errors
    async with await connect(proxy) as client:
        assert route_of(await ask(client)) == b"route-1"
    file.write(setting.rules(1))
    await file._said("is good again: unchanged, version ", 1)
    os.kill(proxy.pid, signal.SIGHUP)
    await file._said("rules.yaml: unchanged, version ", 1)
    assert await proxy.stop() == 0
    assert "cannot be used since" not in proxy.errors


async def test_an_open_address_keeps_asking_for_keys(farm: Farm, setting: Setting) -> None:
    """Rules that would let strangers use our keys are refused as they are at the start."""
    required = {"clients": {"required": True}}
    proxy = await farm.launch("open-reload", setting.rules(1, **required), KEYS, "--listen", "0.0.0.0:0")
    file = File(proxy)
    file.write(setting.rules(2))
    await file.refused()
    assert "clients.required: must stay true while the interceptor listens on 0.0.0.0" in proxy.errors
    file.write(setting.rules(3, **required))
    await file.in_force()


async def test_what_stays_until_a_restart_is_named(farm: Farm, setting: Setting) -> None:
    """The ledger is the one that was opened; the rest of the new rules is in force."""
    proxy = await farm.launch("ledger-reload", setting.rules(1), KEYS)
    file = File(proxy)
    file.write(setting.rules(2, ledger={"to": "sqlite:other.db"}))
    await file.in_force()
    assert "interpose: ledger.to has changed in the rules: it stays as it was" in proxy.errors
    async with await connect(proxy) as client:
        assert route_of(await ask(client)) == b"route-2"
    await proxy.ledger.rows("", 1)
    assert not (proxy.folder / "other.db").exists()


# --- a program under it ---------------------------------------------------------------------------------------------

PROGRAM = """
import os, signal, sys
asked = []
signal.signal(signal.SIGHUP, lambda *_: asked.append(1))
real = os.environ["REAL"]
print(os.environ["FAKE_OPENAI_KEY"] == real, os.environ["FAKE_HOUSE_KEY"] == real, flush=True)
sys.stdin.readline()
print(len(asked), flush=True)
"""


async def test_a_program_is_told_of_keys_that_it_should_not_have_had(tmp_path: Path, setting: Setting) -> None:
    """Its environment is what it was started with; the signal reaches it as every other does."""
    path = tmp_path / "rules.yaml"
    path.write_text(setting.rules(0))
    environ = {
        **os.environ,
        "FAKE_OPENAI_KEY": "sk-FAKE-same",
        "FAKE_HOUSE_KEY": "sk-FAKE-same",
        "REAL": "sk-FAKE-same",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "interpose", "run", "--state", str(tmp_path / "state"), "--rules", str(path), "--"),
        *(sys.executable, "-c", PROGRAM),
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE):
            assert await process.stdout.readline() == b"False True\n"
            path.write_text(setting.rules(1))
            process.send_signal(signal.SIGHUP)
            said = ""
            while "reloaded, version" not in said:
                said += (await process.stderr.readline()).decode()
            process.stdin.write(b"\n")
            out, rest = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert (out, process.returncode) == (b"1\n", 0), rest
    assert "the rules take FAKE_HOUSE_KEY now; the program was given its value" in said
    assert "the rules take FAKE_OPENAI_KEY no more; the program has a placeholder in it" in said
