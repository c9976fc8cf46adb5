"""The connection pool's own promises; the rest of it is held by tests/e2e, against real servers."""

import asyncio
import errno
import os
import ssl
from collections.abc import AsyncIterator

import pytest
from aiohttp.abc import ResolveResult

from interpose.call import Origin, Url
from interpose.rules.compiled import Timeouts
from interpose.rules.compiled import Upstream as UpstreamRules
from interpose.upstream.client import Outgoing, Upstream, UpstreamFailure
from interpose.upstream.pool import GuardedResolver, client_context, metadata_address


@pytest.mark.parametrize(
    ("address", "forbidden"),
    [
        ("169.254.169.254", True),
        ("169.254.0.1", True),
        ("::ffff:169.254.169.254", True),
        ("fd00:ec2::254", True),
        ("fe80::1%eth0", True),
        ("10.0.0.1", False),
        ("127.0.0.1", False),
        ("203.0.113.1", False),
        ("metadata.google.internal", False),
    ],
)
def test_metadata_addresses(address: str, forbidden: bool) -> None:
    """An address is judged as an address; a name is judged when it has been resolved."""
    assert metadata_address(address) is forbidden


async def test_a_name_that_resolves_to_a_metadata_address_is_not_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was checked is the one that would be dialled, so a name cannot lead there."""

    class Rebinding:
        async def resolve(self, host: str, port: int, family: int) -> list[ResolveResult]:
            return [
                ResolveResult(hostname=host, host="169.254.169.254", port=port, family=2, proto=0, flags=0),
            ]

        async def close(self) -> None:
            pass

    monkeypatch.setattr("interpose.upstream.pool.ThreadedResolver", Rebinding)
    upstream = Upstream(UpstreamRules())
    request = Outgoing("GET", Url(Origin("http", "rebound.test", 80), "/"), (), b"", Timeouts())
    with pytest.raises(UpstreamFailure, match="metadata address") as failure:
        await upstream.send(request)
    await upstream.close()
    assert failure.value.status == 403
    assert isinstance(GuardedResolver()._inner, Rebinding)


async def test_an_upload_that_nobody_wants_any_more_is_hung_up_on() -> None:
    """At once, also where the provider takes it slowly: the rest of it is not sent."""
    begun, given_up = asyncio.Event(), asyncio.Event()
    taken: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = len(await reader.read(1))
        begun.set()
        await given_up.wait()
        try:
            while piece := await reader.read(1 << 20):
                size += len(piece)
        except ConnectionError:
            pass
        writer.transport.abort()
        taken.set_result(size)

    whole = 64 << 20
    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    url = Url(Origin("http", "127.0.0.1", server.sockets[0].getsockname()[1]), "/")
    upstream = Upstream(UpstreamRules())
    sending = asyncio.create_task(upstream.send(Outgoing("POST", url, (), pieces(bytes(whole)), Timeouts())))
    await begun.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    given_up.set()
    assert await taken < whole
    server.close()
    await upstream.close()


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    """All of it in one."""
    yield body


def test_verification_is_never_off() -> None:
    """Relaxing the strict flag leaves chain and host name verified."""
    context = client_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


async def test_a_refused_connection_is_told_in_the_systems_words(unused_tcp_port: int) -> None:
    """Not in asyncio's, which repeat the address that was dialled."""
    upstream = Upstream(UpstreamRules())
    url = Url(Origin("http", "127.0.0.1", unused_tcp_port), "/")
    with pytest.raises(UpstreamFailure) as caught:
        await upstream.send(Outgoing("GET", url, (), b"", Timeouts()))
    await upstream.close()
    assert (
        str(caught.value) == f"cannot connect to http://127.0.0.1:{unused_tcp_port}: {os.strerror(errno.ECONNREFUSED)}"
    )
