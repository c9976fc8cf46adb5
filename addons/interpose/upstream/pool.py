"""aiohttp, bent to our laws: what a connection pool must do for bytes to stay bytes and replies to stay their own.

`session` makes the pool that `upstream` sends through. Nothing here knows what is sent or why.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import socket
import ssl
from pathlib import Path
from typing import cast

import aiohttp
import certifi
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.helpers import set_exception
from aiohttp.resolver import ThreadedResolver
from aiohttp.tracing import Trace
from aiohttp.typedefs import LooseHeaders
from multidict import CIMultiDict

from interpose.errors import InterposeError

# aiohttp adds these unless told not to.
AUTO_HEADERS = frozenset(("Accept", "Accept-Encoding", "User-Agent", "Content-Type"))
# Providers close idle connections after 60 s and more; leaving first avoids the race with their close.
KEEPALIVE = 30.0
MAX_HEADER = 64 * 1024

# Cloud metadata services, which hand out credentials to whoever asks:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
METADATA = (
    ipaddress.ip_network("169.254.0.0/16"),
    ipaddress.ip_network("fd00:ec2::254/128"),
    ipaddress.ip_network("fe80::/10"),
)


class ForbiddenAddress(InterposeError):
    """A name resolves to where nobody may go through us."""


def metadata_address(address: str) -> bool:
    """True for an address at which a cloud hands out credentials; v4-mapped IPv6 is looked through."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        ip = embedded(ip) or ip
    return any(ip in network for network in METADATA if network.version == ip.version)


NAT64 = ipaddress.ip_network("64:ff9b::/96")
COMPATIBLE = ipaddress.ip_network("::/96")


def embedded(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for: mapped, 6to4, NAT64 (RFC 6052) or v4-compatible."""
    if ip in NAT64 or (ip in COMPATIBLE and int(ip) > 0xFFFF):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


class GuardedResolver(AbstractResolver):
    """Resolves by the system and refuses a metadata address, so that the address checked is the one dialled."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for result in found:
            if metadata_address(result["host"]):
                raise ForbiddenAddress(f"{host} resolves to {result['host']}, a metadata address")
        return found

    async def close(self) -> None:
        await self._inner.close()


class ExactRequest(aiohttp.ClientRequest):
    """A request whose headers go out in the order and spelling of `header_map`.

    The session would take a second spelling of a name for a replacement of the first, and drop it; so each name comes
    with its place in front.
    """

    # Without a body these go out without a Content-Length, as RFC 9110, 8.6, has it; aiohttp leaves out DELETE.
    GET_METHODS = aiohttp.ClientRequest.GET_METHODS | {"DELETE"}

    def update_headers(self, headers: LooseHeaders | None) -> None:
        self.headers: CIMultiDict[str] = CIMultiDict()
        for name, value in CIMultiDict(headers or {}).items():
            self.headers.add(name.partition(":")[2], value)


class LoudProtocol(ResponseHandler):
    """Says it to the reader of a body when what follows in it is no valid HTTP; aiohttp leaves him waiting.

    A connection that is not used again is hung up on: it would else be sent the rest of a request that nobody wants any
    more, and TLS would wait for a busy peer's farewell, which may come when the loop has ended.
    """

    def close(self) -> None:
        transport = self.transport
        super().close()
        if transport is not None:
            transport.abort()

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        super().set_exception(exc, exc_cause or exc)
        if self._payload is not None and not self._payload.is_eof():
            set_exception(self._payload, exc)


class CleanPool(aiohttp.TCPConnector):
    """Gives out idle connections that are really idle.

    A server that sends more than its Content-Length leaves bytes behind. aiohttp knows then that the connection should
    close, but where they came in after the reply's end it would still give it to the next call, perhaps of another
    client, whose reply they would become (request smuggling's counterpart).
    """

    def __init__(self) -> None:
        super().__init__(limit=0, resolver=GuardedResolver(), keepalive_timeout=KEEPALIVE, ttl_dns_cache=30)
        self._factory = cast("functools.partial[ResponseHandler]", functools.partial(LoudProtocol, loop=self._loop))

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        while (connection := await super()._get(key, traces)) is not None:
            if connection.protocol is not None and not connection.protocol.should_close:
                return connection
            connection.close()
        return None


def session() -> aiohttp.ClientSession:
    """A pool without limits, which follows nothing, keeps no cookies, decodes nothing and reads no environment."""
    made = aiohttp.ClientSession(
        connector=CleanPool(),
        cookie_jar=aiohttp.DummyCookieJar(),
        request_class=ExactRequest,
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=AUTO_HEADERS,
        max_line_size=MAX_HEADER,
        max_field_size=MAX_HEADER,
        timeout=aiohttp.ClientTimeout(total=None),
    )
    # What is sent twice is for the rules to say, and for the record to show.
    made._retry_connection = False
    return made


def client_context(*extra: Path) -> ssl.SSLContext:
    """Verifies against the system's store (SSL_CERT_FILE and SSL_CERT_DIR included) and the given CA files."""
    context = ssl.create_default_context()
    # Python 3.13 refuses CAs without an authority key identifier, which many company CAs lack; every other client
    # takes them. The chain and the host name stay verified.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    if not context.cert_store_stats()["x509_ca"] and not os.environ.get("SSL_CERT_DIR"):
        context.load_verify_locations(cafile=certifi.where())
    for path in extra:
        context.load_verify_locations(cafile=str(path))
    return context
