"""Fixtures of the outside proof: one local upstream and one proxy process per set of rules, for the whole session.

All end-to-end tests share one event loop (`loop_scope="session"`), in which the upstream and the clients live.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from tests.e2e import pages
from tests.e2e.attacks import Watch, ok
from tests.e2e.certificates import Authority
from tests.e2e.converted import converting_rules
from tests.e2e.matrix.clients import Sdks
from tests.e2e.matrix.table import Cell, table
from tests.e2e.mitmtools import make_bare
from tests.e2e.proxy import Gateway, Proxy
from tests.e2e.settings import (
    BAD,
    CANARIES,
    ENVIRON,
    HOSTS,
    IDN,
    NAMES,
    OLLAMA,
    OPENAI,
    acting_rules,
    audit_rules,
    connect_to,
    real,
)
from tests.e2e.upstream import Upstream

# What the matrix of clients and providers has shown in this run.
CELLS = pytest.StashKey[dict[Cell, Counter[str]]]()


@pytest.fixture(scope="session")
def cells(pytestconfig: pytest.Config) -> dict[Cell, Counter[str]]:
    """Where each pair of the matrix counts what has come through."""
    return pytestconfig.stash.setdefault(CELLS, defaultdict(Counter))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if found := config.stash.get(CELLS, None):
        terminalreporter.section("recorded replies + loops of tools, from any client to any provider")
        terminalreporter.write(table(found))


class Farm:
    """Proxy processes by their rules. One that has died fails the test that finds it so, and is started anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, Proxy] = {}
        self._started: list[Proxy] = []

    async def get(self, name: str, rules: str | None, environ: Mapping[str, str] | None = None, *more: str) -> Proxy:
        """The proxy of that name, started with `rules` and `more` when it is first asked for."""
        proxy = self._running.get(name)
        if proxy is not None and not proxy.alive:
            del self._running[name]
            raise AssertionError(f"the proxy {name} has died:\n{proxy.errors}")
        if proxy is None:
            proxy = await self.launch(name, rules, environ, *more)
            self._running[name] = proxy
        return proxy

    async def launch(self, name: str, rules: str | None, environ: Mapping[str, str] | None = None, *more: str) -> Proxy:
        """A proxy of the caller's own, with `more` on its command line."""
        proxy = Proxy(self._folder / f"{len(self._started)}-{name}")
        self._started.append(proxy)
        return await proxy.start(rules, environ, *more)

    async def close(self) -> list[str]:
        """Stops all and says what is wrong with what they leave behind."""
        problems = []
        for proxy in self._started:
            if proxy.alive and (status := await proxy.stop()) != 0:
                problems.append(f"{proxy.folder.name} ended with status {status}:\n{proxy.errors}")
            calls = [row["id"] for row in proxy.ledger.after()]
            if len(set(calls)) != len(calls):
                problems.append(f"{proxy.folder.name} has recorded calls twice: {len(calls) - len(set(calls))}")
            # asyncio itself now and then tells a closed socket twice that it is lost (seen on Python 3.13.0): it costs
            # no call, and is told apart by the callback that it names.
            known = proxy.errors.count("Exception in callback _SelectorSocketTransport._call_connection_lost()") * 2
            if proxy.errors.count("Traceback (most recent call last)") > known:
                problems.append(f"{proxy.folder.name} has printed a traceback:\n{proxy.errors}")
            for name, content in proxy.left_behind().items():
                problems += [f"{proxy.folder.name}: {name} holds {key}" for key in CANARIES if key.encode() in content]
        return problems


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The test CA which the proxies' rules trust for the upstream."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python in which mitmproxy is installed and interpose is not."""
    return make_bare(tmp_path_factory.mktemp("bare") / "venv")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def upstream(authority: Authority) -> AsyncIterator[Upstream]:
    """The upstream which plays the provider hosts over TLS."""
    async with Upstream(authority.server_context(NAMES)) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def plain_upstream() -> AsyncIterator[Upstream]:
    """The upstream which plays hosts spoken to in plain HTTP."""
    async with Upstream() as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def farm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Farm]:
    """Starts proxies; at the end of the session each must stop with status 0 and have written no secret anywhere."""
    proxies = Farm(tmp_path_factory.mktemp("proxies"))
    yield proxies
    problems = await proxies.close()
    assert not problems, "\n".join(problems)


@pytest_asyncio.fixture(loop_scope="session")
async def audit(farm: Farm, authority: Authority, upstream: Upstream, plain_upstream: Upstream) -> Proxy:
    """A proxy without providers and routes: it observes, and the client's own key goes through."""
    return await farm.get("audit", audit_rules(authority, upstream, plain_upstream))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stray(authority: Authority) -> AsyncIterator[Upstream]:
    """Where no call may arrive with a credential: odd ports of good hosts, and bad hosts, are dialled here."""
    async with Upstream(authority.server_context(["evil.test", "127.0.0.1"])) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def plain_stray() -> AsyncIterator[Upstream]:
    """The same in plain HTTP."""
    async with Upstream() as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bad_upstreams(authority: Authority) -> AsyncIterator[dict[str, Upstream]]:
    """Upstreams whose certificates are expired, for another name, and of an authority that nobody trusts."""
    contexts = {
        "expired": authority.server_context(["expired.test"], expired=True),
        "misnamed": authority.server_context(["other.test"]),
        "stranger": Authority(authority.pem.parent / "stranger", "A stranger").server_context(["stranger.test"]),
    }
    async with AsyncExitStack() as stack:
        yield {bad: await stack.enter_async_context(Upstream(contexts[bad])) for bad in BAD}


@pytest.fixture(scope="session")
def dial(
    upstream: Upstream,
    plain_upstream: Upstream,
    stray: Upstream,
    plain_stray: Upstream,
    bad_upstreams: dict[str, Upstream],
) -> dict[str, str]:
    """Where the acting proxies dial each origin."""
    return {
        **connect_to(upstream, (*HOSTS, IDN)),
        OLLAMA: plain_upstream.address,
        f"{OPENAI}:8443": stray.address,
        f"{OPENAI}:80": plain_stray.address,
        "evil.test:443": stray.address,
        "evil.test:80": plain_stray.address,
        **{f"{bad}.test:443": server.address for bad, server in bad_upstreams.items()},
    }


@pytest_asyncio.fixture(loop_scope="session")
async def acting(farm: Farm, authority: Authority, dial: dict[str, str]) -> Proxy:
    """A proxy with credentials, routes, virtual keys and a placeholder; clients need no key."""
    return await farm.get("acting", acting_rules(authority, dial), ENVIRON)


@pytest_asyncio.fixture(loop_scope="session")
async def strict(farm: Farm, authority: Authority, dial: dict[str, str]) -> Proxy:
    """The same rules with `clients.required`."""
    return await farm.get("strict", acting_rules(authority, dial, required=True), ENVIRON)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def converting(farm: Farm, authority: Authority, upstream: Upstream) -> Proxy:
    """A proxy whose rules send a model `to-…` to the provider of that name, of whatever format."""
    return await farm.get("converting", converting_rules(authority, upstream), {"FAKE_HOUSE_KEY": real("house")})


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sdks(converting: Proxy, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sdks]:
    """The matrix's clients, led to that proxy; at the end they have nothing to say and end in good order."""
    found = await Sdks.under(converting, tmp_path_factory.mktemp("sdks"))
    yield found
    said = await found.close()
    assert not said, "\n".join(said)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def quickstart(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, upstream: Upstream
) -> AsyncIterator[Gateway]:
    """The gateway of docs/quickstart.md, by the rules of that page."""
    gateway = Gateway(tmp_path_factory.mktemp("quickstart"))
    real_keys = {"ANTHROPIC_API_KEY": real("anthropic"), "OPENAI_API_KEY": real("openai")}
    await gateway.start(pages.rules("docs/quickstart.md", authority, upstream), real_keys)
    yield gateway
    assert await gateway.stop() == 0, gateway.errors
    left = gateway.left_behind()
    assert not [name for name, content in left.items() for key in CANARIES if key.encode() in content]


@pytest.fixture
def watch(upstream: Upstream, plain_upstream: Upstream, stray: Upstream, plain_stray: Upstream) -> Iterator[Watch]:
    """Everything answers 200, so that nothing is safe by accident."""
    with upstream.answering(ok), plain_upstream.answering(ok), stray.answering(ok), plain_stray.answering(ok):
        yield Watch([upstream, plain_upstream, stray, plain_stray])
