"""Attacks as bytes: sent raw through the proxy, and a watch over every upstream for credentials that leaked.

What each attack must come to is said in test_binding.py and test_surface.py.
"""

from __future__ import annotations

import asyncio
import ssl

from .clients import Client, ConnectRefused, Response, client_tls
from .proxy import Proxy
from .settings import ENVIRON, PLACEHOLDER
from .upstream import Exchange, Upstream


async def ok(exchange: Exchange) -> None:
    await exchange.json(b"{}")


class Watch:
    """Every upstream at once: where a credential arrived that should not have."""

    def __init__(self, servers: list[Upstream]) -> None:
        self._servers = servers

    @property
    def requests(self) -> int:
        return sum(len(server.requests) for server in self._servers)

    @property
    def leaks(self) -> list[str]:
        return [
            f"{key} in {request.head!r}"
            for server in self._servers
            for request in server.requests
            for key in ENVIRON.values()
            if request.anywhere(key)
        ]


async def attack(
    proxy: Proxy, connect: str, raw: bytes, *, sni: str | None = None, tls: bool = True, verify: bool = True
) -> int | None:
    """The status that `raw` is answered with inside a tunnel to `connect`; None if the connection ends instead."""
    context = client_tls(proxy.ca if verify else None) if tls else None
    try:
        async with await Client.tunnel(proxy.address, connect, tls=context, sni=sni) as client:
            await client.send(raw)
            return (await client.response()).status
    except ConnectRefused as refused:
        return refused.response.status
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        return None


async def direct(proxy: Proxy, raw: bytes) -> Response | None:
    """The response to `raw` sent to the proxy itself; None if the connection ends instead."""
    try:
        async with await Client.direct(proxy.address) as client:
            await client.send(raw)
            return await client.response()
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def get(target: str, *hosts: str) -> bytes:
    """A GET with a placeholder and these Host headers, which makes an injection as likely as it gets."""
    lines = [f"GET {target} HTTP/1.1", *(f"Host: {host}" for host in hosts), f"Authorization: Bearer {PLACEHOLDER}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"
