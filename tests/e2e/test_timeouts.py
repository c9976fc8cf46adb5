"""Upstreams that keep us waiting: connect, first byte and the silence between two chunks have their limits.

Errors of ours are in the client's own format, and each call has exactly one ledger record that says how it ended.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator

import pytest
import pytest_asyncio
from tests.e2e.certificates import Authority
from tests.e2e.clients import Client, client_tls, request_bytes
from tests.e2e.conftest import Farm
from tests.e2e.h2client import H2Client
from tests.e2e.proxy import Proxy
from tests.e2e.replies import CHAT, MESSAGES, Script
from tests.e2e.settings import ANTHROPIC, HOUSE, OPENAI, canary, connect_to, rules_text
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON = ("Content-Type", "application/json")
MUTE = "mute.test"
CLOSED = "closed.test"


@pytest.fixture(scope="session")
def dead_ends() -> Iterator[dict[str, str]]:
    """Where MUTE and CLOSED are dialled: a socket that the system accepts on and nobody reads, a port that is shut."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            ports = {MUTE: mute.getsockname()[1], CLOSED: closed.getsockname()[1]}
        yield {f"{host}:443": f"127.0.0.1:{port}" for host, port in ports.items()}


@pytest_asyncio.fixture(loop_scope="session")
async def impatient(farm: Farm, authority: Authority, upstream: Upstream, dead_ends: dict[str, str]) -> Proxy:
    """A proxy whose providers have short timeouts; one origin accepts and says nothing, one does not accept."""
    names = {"openai": OPENAI, "house": HOUSE, "mute": MUTE, "closed": CLOSED}
    rules = rules_text(
        providers={
            name: {
                "format": "openai",
                "base_url": f"https://{host}/v1",
                "credential": {"env": "FAKE_IMPATIENT_KEY"},
                "timeouts": {"connect": "1s", "first_byte": "1s", "idle": "1s"},
            }
            for name, host in names.items()
        }
        | {
            "claude": {
                "format": "anthropic",
                "base_url": f"https://{ANTHROPIC}",
                "credential": {"env": "FAKE_IMPATIENT_KEY"},
                "timeouts": {"connect": "1s", "first_byte": "1s", "idle": "1s"},
            }
        },
        upstream={
            "ca": str(authority.pem),
            "connect_to": connect_to(upstream) | dead_ends,
        },
    )
    return await farm.get("impatient", rules, {"FAKE_IMPATIENT_KEY": canary("impatient")})


async def tunnel(proxy: Proxy, host: str = OPENAI, *alpn: str) -> Client:
    return await Client.tunnel(proxy.address, f"{host}:443", tls=client_tls(proxy.ca, *alpn))


async def start_http1(client: Client, script: Script) -> None:
    await client.send(request_bytes("POST", script.path, script.host, JSON, body=script.request))


async def test_the_first_byte_times_out(impatient: Proxy, upstream: Upstream) -> None:
    """An upstream that does not begin to answer within `first_byte` gives a 504, is left, and an error is recorded."""
    mark, gone = impatient.ledger.mark(), asyncio.Event()

    async def silent(exchange: Exchange) -> None:
        await exchange.gone.wait()
        gone.set()

    with upstream.answering(silent):
        async with await tunnel(impatient) as client:
            await start_http1(client, CHAT)
            response = await client.response()
        async with asyncio.timeout(10):
            await gone.wait()
    assert response.status == 504
    assert json.loads(response.body)["error"]["code"] == "upstream_timeout"
    row = await impatient.ledger.row(mark)
    assert (row["outcome"], row["status"]) == ("error", 504)


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
async def test_an_idle_stream_times_out(impatient: Proxy, upstream: Upstream, alpn: str) -> None:
    """A stream that stalls longer than `idle` is cut for the client, left upstream, and recorded as truncated."""
    mark, gone = impatient.ledger.mark(), asyncio.Event()

    async def stall(exchange: Exchange) -> None:
        await exchange.stream(CHAT.content_type)
        await exchange.chunk(CHAT.pieces[0])
        await exchange.gone.wait()
        gone.set()

    with upstream.answering(stall):
        connection = await tunnel(impatient, OPENAI, alpn)
        if alpn == "h2":
            async with await H2Client.over(connection) as client:
                stream = await client.response(await client.post(CHAT.path, OPENAI, body=CHAT.request))
                body, complete = bytes(stream.body), stream.complete
        else:
            async with connection as plain:
                await start_http1(plain, CHAT)
                response = await plain.response()
                body, complete = bytes(response.body), response.complete
        async with asyncio.timeout(10):
            await gone.wait()
    assert (body, complete) == (CHAT.pieces[0], False)
    row = await impatient.ledger.row(mark)
    assert (row["outcome"], row["status"]) == ("truncated", 200)


async def test_a_steady_stream_outlives_its_timeouts(impatient: Proxy, upstream: Upstream) -> None:
    """`idle` counts between chunks, not over the stream: a stream longer than every timeout ends well."""

    async def steady(exchange: Exchange) -> None:
        await exchange.stream(CHAT.content_type)
        for piece in CHAT.pieces:
            await exchange.chunk(piece)
            await asyncio.sleep(0.4)
        await exchange.end()

    with upstream.answering(steady):
        async with await tunnel(impatient) as client:
            await start_http1(client, CHAT)
            response = await client.response()
    assert (response.complete, bytes(response.body)) == (True, CHAT.body)


async def test_a_connect_times_out(impatient: Proxy) -> None:
    """An origin that accepts and never shakes hands gives a 504 after `connect`."""
    mark = impatient.ledger.mark()
    async with await tunnel(impatient, MUTE) as client:
        response = await client.request("POST", CHAT.path, MUTE, JSON, body=CHAT.request)
    assert response.status == 504
    row = await impatient.ledger.row(mark)
    assert (row["outcome"], row["status"]) == ("error", 504)


async def test_a_refused_connection_is_a_502(impatient: Proxy) -> None:
    """An origin that does not accept gives a 502 that names it, in the client's format."""
    mark = impatient.ledger.mark()
    async with await tunnel(impatient, CLOSED) as client:
        response = await client.request("POST", CHAT.path, CLOSED, JSON, body=CHAT.request)
    assert response.status == 502
    assert CLOSED in json.loads(response.body)["error"]["message"]
    row = await impatient.ledger.row(mark)
    assert (row["outcome"], row["status"], row["provider"]) == ("error", 502, "closed")


async def test_errors_are_in_the_clients_own_format(impatient: Proxy, upstream: Upstream) -> None:
    """A client of Anthropic's format gets Anthropic's error shape for a failure of ours."""

    async def hang_up(exchange: Exchange) -> None:
        exchange.reset()

    with upstream.answering(hang_up):
        async with await tunnel(impatient, ANTHROPIC) as client:
            await start_http1(client, MESSAGES)
            response = await client.response()
    body = json.loads(response.body)
    assert (response.status, body["type"], set(body["error"]) >= {"type", "message"}) == (502, "error", True)
