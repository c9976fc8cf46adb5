"""The engine among other addons: asked when all of them have had their say, in one process with a real upstream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
import pytest_asyncio
from mitmproxy import ctx, http
from mitmproxy.proxy import server_hooks
from mitmproxy.test import tflow
from tests.e2e.certificates import Authority
from tests.e2e.clients import Client, Response, client_tls, request_bytes
from tests.e2e.proxy import Ledger
from tests.e2e.upstream import Exchange, Upstream

from interpose.hosts.mitm import Interceptor, addon
from interpose.hosts.mitm.visits import Visit
from interpose.hosts.process import Processes
from interpose.rules.compiled import Rules
from interpose.rules.compiled import Upstream as UpstreamRules

HOST = "api.openai.com"


@pytest_asyncio.fixture
async def upstream(tmp_path: Path) -> AsyncIterator[Upstream]:
    """Plays api.openai.com."""
    async with Upstream(Authority(tmp_path / "authority").server_context([HOST])) as server:
        yield server


@pytest_asyncio.fixture
async def interceptor(tmp_path: Path, upstream: Upstream) -> AsyncIterator[Interceptor]:
    """An audit-only interceptor whose upstream is ours."""
    host, _, port = upstream.address.rpartition(":")
    dial = UpstreamRules(
        connect_to=MappingProxyType({(HOST, 443): (host, int(port))}), ca=tmp_path / "authority" / "test-ca.pem"
    )
    async with Interceptor(replace(Rules.default(), upstream=dial), state=tmp_path / "state", environ={}) as running:
        yield running


async def ask(interceptor: Interceptor) -> Response:
    trust = client_tls(interceptor.ca_certificate)
    async with await Client.tunnel(interceptor.address, f"{HOST}:443", tls=trust) as client:
        return await client.request("POST", "/v1/chat/completions", HOST, body=b"{}")


async def ok(exchange: Exchange) -> None:
    await exchange.json(b"{}")


async def test_the_engine_is_asked_after_all_request_hooks(interceptor: Interceptor, upstream: Upstream) -> None:
    """What an addon behind ours changes, however long it takes, is what goes upstream."""

    class Late:
        async def request(self, flow: http.HTTPFlow) -> None:
            await asyncio.sleep(0)
            flow.request.headers["x-added"] = "by another addon"
            flow.request.content = b'{"edited": true}'

    ctx.master.addons.add(Late())
    with upstream.answering(ok):
        assert (await ask(interceptor)).status == 200
    assert upstream.request.values("x-added") == [b"by another addon"]
    assert bytes(upstream.request.body) == b'{"edited": true}'


async def test_a_response_set_by_another_addon_wins(interceptor: Interceptor, upstream: Upstream) -> None:
    """The call is then nobody's but that addon's: nothing is sent."""

    class Answers:
        def request(self, flow: http.HTTPFlow) -> None:
            flow.response = http.Response.make(418, b"from the addon")

    ctx.master.addons.add(Answers())
    with upstream.answering(ok):
        response = await ask(interceptor)
    assert (response.status, bytes(response.body)) == (418, b"from the addon")
    assert upstream.requests == []


async def test_a_flow_that_another_addon_kills_goes_nowhere(interceptor: Interceptor, upstream: Upstream) -> None:
    """Killed is killed."""

    class Kills:
        def request(self, flow: http.HTTPFlow) -> None:
            flow.kill()

    ctx.master.addons.add(Kills())
    with upstream.answering(ok), pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await ask(interceptor)
    assert upstream.requests == []


async def test_response_hooks_see_and_may_edit_the_head(interceptor: Interceptor, upstream: Upstream) -> None:
    """A header that an addon adds to the reply reaches the client."""

    class Marks:
        def responseheaders(self, flow: http.HTTPFlow) -> None:
            assert flow.response is not None
            flow.response.headers["x-marked"] = "yes"

    ctx.master.addons.add(Marks())
    with upstream.answering(ok):
        assert (await ask(interceptor)).value("x-marked") == b"yes"


def broken(*args: object) -> None:
    raise RuntimeError("a bug")


@pytest.mark.parametrize("hook", ["carriage"])
async def test_a_failure_in_carrying_a_call_lets_nothing_through(
    interceptor: Interceptor, upstream: Upstream, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mitmproxy goes on after an exception; the call must not: a 500 in the client's format, and one record."""
    monkeypatch.setattr(ctx.master.addons.get("engineaddon"), hook, broken)
    with upstream.answering(ok):
        response = await ask(interceptor)
    assert response.status == 500
    assert json.loads(bytes(response.body))["error"]["code"] == "internal_error"
    assert upstream.requests == []
    (row,) = await Ledger(interceptor.ledger_path).rows("", 1)
    assert (row["outcome"], row["status"], row["path"]) == ("error", 500, "/v1/chat/completions")


@pytest.mark.parametrize("hook", ["choose", "claims"])
async def test_a_failure_in_choosing_the_protocol_closes_the_connection(
    interceptor: Interceptor, upstream: Upstream, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mitmproxy's own choice would be to go on without us."""
    owner = addon if hook == "choose" else ctx.master.addons.get("engineaddon")
    monkeypatch.setattr(owner, hook, broken)
    with upstream.answering(ok), pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        async with asyncio.timeout(5):
            await ask(interceptor)
    assert upstream.requests == []


async def test_the_end_of_a_replays_connection_is_nobodys(interceptor: Interceptor) -> None:
    """A flow that mitmproxy replays dials from no client's connection: there is nothing to end, and nothing fails."""
    flow = tflow.tflow()
    data = server_hooks.ServerConnectionHookData(flow.server_conn, flow.client_conn)
    owner = next(each for each in ctx.master.addons.chain if isinstance(each, addon.EngineAddon))
    await owner.server_disconnected(data)


async def test_a_client_that_leaves_while_its_program_is_looked_for_is_recorded(
    interceptor: Interceptor, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the whole request and the engine nothing is lost: one record, aborted, and nothing sent upstream."""
    asked = asyncio.Event()
    looks = iter(("tunnel", "call"))

    async def app(_: Visit) -> str | None:
        if next(looks, None) == "call":
            asked.set()
            await asyncio.Event().wait()
        return None

    monkeypatch.setattr(Visit, "app", app)
    trust = client_tls(interceptor.ca_certificate)
    async with await Client.tunnel(interceptor.address, f"{HOST}:443", tls=trust) as client:
        await client.send(request_bytes("POST", "/v1/chat/completions", HOST, body=b"{}"))
        await asked.wait()
    row = await Ledger(interceptor.ledger_path).row("")
    assert (row["outcome"], row["path"]) == ("aborted", "/v1/chat/completions")
    assert not upstream.requests


@pytest.mark.parametrize("what", [KeyError, asyncio.CancelledError])
async def test_a_failure_in_looking_for_the_program_stops_no_call(
    interceptor: Interceptor, upstream: Upstream, what: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose a call is may stay unknown; the call goes on, and its connection is recorded."""

    async def find(*args: object, **options: object) -> None:
        raise what

    monkeypatch.setattr(Processes, "find", find)
    with upstream.answering(ok):
        assert (await ask(interceptor)).status == 200
    row = await Ledger(interceptor.ledger_path).row("")
    assert (row["outcome"], row["app"]) == ("ok", None)


async def test_a_failure_in_looking_for_the_program_opens_no_forbidden_destination(
    interceptor: Interceptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither lock on the way to a metadata service waits for it: mitmproxy goes on after an exception."""
    monkeypatch.setattr(Visit, "app", broken)
    with pytest.raises(ConnectionError, match="403"):
        await Client.tunnel(interceptor.address, "169.254.169.254:80", tls=None)
    flow = tflow.tflow()
    flow.server_conn.address = ("169.254.169.254", 80)
    owner = next(each for each in ctx.master.addons.chain if isinstance(each, addon.EngineAddon))
    monkeypatch.setattr(owner, "_processes_of", lambda *_: None)
    owner.client_connected(flow.client_conn)
    data = server_hooks.ServerConnectionHookData(flow.server_conn, flow.client_conn)
    with pytest.raises(RuntimeError, match="a bug"):
        await owner.server_connect(data)
    assert data.server.error == "a metadata address"


async def test_what_another_addon_will_not_have_dialled_is_not(interceptor: Interceptor) -> None:
    """It has said so ahead of us; that nothing speaks against it here does not change that."""
    flow = tflow.tflow()
    flow.server_conn.address = ("127.0.0.1", 9)
    flow.server_conn.error = "not today"
    owner = next(each for each in ctx.master.addons.chain if isinstance(each, addon.EngineAddon))
    data = server_hooks.ServerConnectionHookData(flow.server_conn, flow.client_conn)
    await owner.server_connect(data)
    assert data.server.error == "not today"


async def test_nobody_looks_for_the_program_of_a_client_that_has_gone(
    interceptor: Interceptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where looking takes long, connections that come and go would else queue up without end."""
    looks: list[asyncio.Future[None]] = []

    async def find(*args: object, **options: object) -> None:
        looks.append(asyncio.get_running_loop().create_future())
        await looks[-1]

    monkeypatch.setattr(Processes, "find", find)
    async with await Client.direct(interceptor.address):
        pass
    owner = next(each for each in ctx.master.addons.chain if isinstance(each, addon.EngineAddon))
    async with asyncio.timeout(10):
        while not looks or owner._visits:
            await asyncio.sleep(0)
        while not looks[0].done():
            await asyncio.sleep(0)
    assert looks[0].cancelled()


async def test_rules_that_follow_are_not_made_anew(interceptor: Interceptor) -> None:
    """They were put in order by whoever read them, in a thread: of thousands that would hold up all streams."""
    rules = replace(interceptor.rules, version="two")
    await interceptor.reload(rules)
    assert interceptor.rules is interceptor.engine.rules is rules
