"""The upstream leg: one pool of warm, verified connections shared by every client.

Sends one HTTP request as it is and hands back the reply's raw bytes as they arrive. Adds no header, decodes nothing,
follows no redirect, reads no proxy from the environment. Deciding what to send where, with which key, is done above;
retrying too. HTTP/1.1 over TCP or TLS, by aiohttp.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Literal

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from interpose.call import Headers, Origin, Url
from interpose.errors import InterposeError
from interpose.rules.compiled import Timeouts
from interpose.rules.compiled import Upstream as UpstreamRules

from .hops import end_to_end
from .pool import ForbiddenAddress, client_context, metadata_address, session
from .upgraded import Session

# Above this size a body is written in slices: one huge write would hold the event loop.
SLICE = 256 * 1024
# How long a reply that is complete for its reader may take to end for HTTP too.
LINGER = 0.2

FailureKind = Literal["connect", "certificate", "timeout", "disconnected", "protocol", "forbidden", "request"]
STATUS: dict[FailureKind, int] = {"timeout": 504, "forbidden": 403, "request": 400}
CODES: dict[FailureKind, str] = {
    "connect": "upstream_unreachable",
    "certificate": "upstream_certificate_invalid",
    "timeout": "upstream_timeout",
    "disconnected": "upstream_disconnected",
    "protocol": "upstream_protocol_error",
    "forbidden": "destination_forbidden",
    "request": "invalid_request",
}
REASONS: dict[type[BaseException], str] = {
    aiohttp.ServerDisconnectedError: "the connection was closed",
    aiohttp.ClientConnectionResetError: "the connection was reset",
    HttpProcessingError: "what came next was no valid HTTP",
}


UPGRADE: Headers = ((b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"))


class UpstreamFailure(InterposeError):
    """No reply, or no more of it. `kind` says why; `reached` that the upstream may have acted on the request.

    The message names the origin and never the target, whose query may carry a key.
    """

    def __init__(self, kind: FailureKind, message: str, *, reached: bool) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind
        self.reached = reached

    @property
    def status(self) -> int:
        return STATUS.get(self.kind, 502)

    @property
    def code(self) -> str:
        """The stable word that errors and records have for it."""
        return CODES[self.kind]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One request, ready for the wire: `url` and `headers` hold the credential already."""

    method: str
    url: Url
    headers: Headers
    body: bytes | AsyncIterator[bytes]
    timeouts: Timeouts
    ca: Path | None = None


class UpstreamReply:
    """A reply's head, and its body as an async iterator of raw chunks.

    The iterator raises UpstreamFailure when the body breaks off. `cut` before the end closes the connection at once, so
    that a provider stops generating for a client that has gone.
    """

    __slots__ = ("_idle", "_lingering", "_origin", "_response", "headers", "reason", "session", "status")

    def __init__(self, response: aiohttp.ClientResponse, origin: Origin, idle: float) -> None:
        self._response = response
        self._origin = origin
        self._idle = idle
        self._lingering: asyncio.Task[None] | None = None
        self.status = response.status
        self.reason = response.reason or ""
        self.headers: Headers = end_to_end(response.raw_headers)
        self.session: Session | None = None
        if self.status == 101:
            # Two hop-by-hop headers that the client, one hop away, is to have all the same.
            self.headers = (*UPGRADE, *self.headers)
            self.session = Session(response)

    def __aiter__(self) -> UpstreamReply:
        return self

    async def __anext__(self) -> bytes:
        if self.session is not None:
            # A session may be silent for as long as it likes.
            if data := await self.session.read():
                return data
            raise StopAsyncIteration
        try:
            async with asyncio.timeout(self._idle):
                chunk = await self._response.content.readany()
        except TimeoutError:
            self.cut()
            raise UpstreamFailure(
                "timeout", f"{self._origin} sent nothing for {self._idle:g} s", reached=True
            ) from None
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            self.cut()
            raise UpstreamFailure(
                "disconnected", f"{self._origin} broke off the reply: {plain(error)}", reached=True
            ) from error
        if not chunk:
            raise StopAsyncIteration
        return chunk

    def linger(self) -> None:
        """Reads to the end in the background, if that comes at once, so that the connection can be used again."""
        if self.session is not None:
            self.session.cut()
            return
        if self._response.connection is not None and self._lingering is None:
            self._lingering = asyncio.get_running_loop().create_task(self._linger())

    async def _linger(self) -> None:
        try:
            async with asyncio.timeout(LINGER):
                while await self._response.content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError, HttpProcessingError, OSError):
            self.cut()

    def cut(self) -> None:
        """Closes the connection if the reply has not ended. Aborted: a TLS farewell would wait for a busy peer."""
        if self.session is not None:
            self.session.cut()
            return
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        self._response.close()


class Pool:
    """The connections, whatever rules they were made by. The session is made at the first call: aiohttp wants a running
    loop.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = session()
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


@dataclass(frozen=True, slots=True)
class Trusted:
    """A TLS context, and what the files of CAs held that it was made of."""

    held: tuple[bytes, ...]
    context: ssl.SSLContext

    @classmethod
    def by(cls, files: Sequence[Path], known: Mapping[tuple[bytes, ...], Trusted]) -> Trusted:
        """The known one of the same content, else a new one. Raises OSError for a file that cannot be used."""
        held = tuple(sha256(path.read_bytes()).digest() for path in files)
        return known.get(held) or cls(held, client_context(*files))


class Upstream:
    """The pool, by one set of rules. One pool per engine; `close` when done.

    The rules' `ca` is trusted for every origin, a provider's own for its origin, both besides the system's store,
    SSL_CERT_FILE and SSL_CERT_DIR. A proxy is one that the rules name; that of the environment may be ourselves.
    """

    def __init__(self, rules: UpstreamRules, *, pool: Pool | None = None) -> None:
        self._rules = rules
        self._proxy = URL(str(rules.proxy)) if rules.proxy else None
        self._trusted: dict[Path | None, Trusted] = {}
        self._pool = pool or Pool()

    def under(self, rules: UpstreamRules, cas: Iterable[Path | None]) -> Upstream:
        """The same pool by other rules, whose providers have those `cas`; what is under way goes on as it began.

        Reads files, so it is for a thread; raises OSError for one that cannot be used. A warm connection is used again
        where nothing has changed: it is known by what was dialled, by which proxy, and by the very context that has
        verified it.
        """
        after = Upstream(rules, pool=self._pool)
        known = {trusted.held: trusted for trusted in tuple(self._trusted.values())}
        after._trusted = {ca: Trusted.by(after._files(ca), known) for ca in {None, *cas}}
        return after

    def _files(self, ca: Path | None) -> list[Path]:
        return [path for path in (self._rules.ca, ca) if path is not None]

    def _context(self, ca: Path | None) -> ssl.SSLContext:
        trusted = self._trusted.get(ca)
        if trusted is None:
            trusted = self._trusted[ca] = Trusted.by(self._files(ca), {})
        return trusted.context

    async def send(self, request: Outgoing) -> UpstreamReply:
        """Sends the request and waits for the reply's head.

        Raises UpstreamFailure; cancelling it closes the connection.
        """
        origin = request.url.origin
        if metadata_address(origin.host):
            raise UpstreamFailure("forbidden", f"{origin.host} is a metadata address", reached=False)
        host, port = self._rules.connect_to.get((origin.host, origin.port), (origin.host, origin.port))
        tls = origin.scheme == "https"
        # The whole target goes in as the path: parsed as a URL, a bare "?" or a "#" would be lost.
        url = URL.build(scheme=origin.scheme, host=host, port=port, path=request.url.target, encoded=True)
        timeouts = request.timeouts
        try:
            async with FirstByte(timeouts.connect + timeouts.first_byte, timeouts.first_byte) as deadline:
                response = await self._pool.session.request(
                    request.method,
                    url,
                    headers=header_map(request),
                    data=payload(request.body, deadline),
                    allow_redirects=False,
                    proxy=self._proxy,
                    ssl=self._context(request.ca) if tls else True,
                    server_hostname=origin.host if tls and host != origin.host else None,
                    timeout=aiohttp.ClientTimeout(total=None, connect=timeouts.connect, sock_connect=timeouts.connect),
                )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, ForbiddenAddress) as error:
            raise failure(error, origin, timeouts) from error
        try:
            return UpstreamReply(response, origin, timeouts.idle)
        except aiohttp.ClientError as error:
            raise failure(error, origin, timeouts) from error

    async def close(self) -> None:
        await self._pool.close()


def failure(error: Exception, origin: Origin, timeouts: Timeouts) -> UpstreamFailure:
    """The one map from the client library's exceptions to ours."""
    match error:
        case ForbiddenAddress():
            return UpstreamFailure("forbidden", str(error), reached=False)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return UpstreamFailure(
                "certificate", f"the certificate of {origin} cannot be verified: {plain(error)}", reached=False
            )
        case aiohttp.ConnectionTimeoutError():
            return UpstreamFailure(
                "timeout", f"{origin} did not accept a connection within {timeouts.connect:g} s", reached=False
            )
        case aiohttp.ClientConnectorError() | aiohttp.ClientProxyConnectionError():
            return UpstreamFailure("connect", f"cannot connect to {origin}: {plain(error)}", reached=False)
        case aiohttp.ClientHttpProxyError():
            return UpstreamFailure(
                "connect", f"the upstream proxy refused {origin} with status {error.status}", reached=False
            )
        case TimeoutError():
            return UpstreamFailure(
                "timeout", f"{origin} did not begin to answer within {timeouts.first_byte:g} s", reached=True
            )
        case aiohttp.ServerDisconnectedError() | OSError():
            return UpstreamFailure("disconnected", f"{origin} closed the connection without answering", reached=True)
        case ValueError():
            return UpstreamFailure(
                "request",
                f"the request cannot be sent to {origin}: a header or the target is not valid HTTP",
                reached=False,
            )
    return UpstreamFailure("protocol", f"{origin} did not answer in valid HTTP", reached=True)


def plain(error: BaseException) -> str:
    """An exception's reason in words of our own and the system's.

    Never the library's text: it quotes what the upstream sent, which may echo a credential, and sometimes the URL.
    """
    inner = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    if isinstance(inner, ssl.SSLCertVerificationError):
        return inner.verify_message.rstrip(".")
    if isinstance(inner, aiohttp.ClientPayloadError):
        return "it ended before its end"
    if isinstance(inner, OSError) and inner.errno and not isinstance(inner, socket.gaierror):
        # asyncio has put its own words, and addresses, in the place of the system's.
        return os.strerror(inner.errno)
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return REASONS.get(type(inner), "the connection failed")


def header_map(request: Outgoing) -> CIMultiDict[str]:
    """The headers that go out, as they are, the body's framing set by us; for `ExactRequest`.

    Raises ValueError for a header that is not UTF-8, which the client library would silently change.
    """
    pairs: CIMultiDict[str] = CIMultiDict()
    for name, value in request.headers:
        pairs.add(name.decode("ascii"), value.decode("utf-8"))
    # A request body that came chunked goes out with its length; a GET without a body stays without.
    if isinstance(request.body, bytes) and (request.body or "Content-Length" in pairs):
        pairs["Content-Length"] = str(len(request.body))
    # The Host of the origin that is meant, also where another address is dialled.
    if request.url.origin != host_origin(pairs.get("Host"), request.url.origin.scheme):
        pairs["Host"] = str(request.url.origin).partition("://")[2]
    return CIMultiDict((f"{place}:{name}", value) for place, (name, value) in enumerate(pairs.items()))


def host_origin(value: str | None, scheme: str) -> Origin | None:
    """The origin that a Host header names, None if there is none or it is malformed."""
    if not value:
        return None
    try:
        url = URL(f"{scheme}://{value}")
        return Origin(scheme, (url.host or "").lower().rstrip("."), url.port or 0)
    except ValueError:
        return None


class FirstByte:
    """The deadline of a reply's head. A long upload is no slow reply: each piece that is sent puts it off.

    The upload may go on after the head has come; it then has no deadline to put off any more.
    """

    def __init__(self, seconds: float, after_piece: float) -> None:
        self._timeout = asyncio.timeout(seconds)
        self._after_piece = after_piece
        self._waiting = True

    async def __aenter__(self) -> FirstByte:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting = False
        await self._timeout.__aexit__(kind, error, trace)

    def put_off(self) -> None:
        if self._waiting and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time() + self._after_piece)


def payload(body: bytes | AsyncIterator[bytes], deadline: FirstByte) -> bytes | AsyncIterator[bytes] | None:
    """The body as the client library takes it: a large one in slices."""
    if not body:
        return None
    if isinstance(body, bytes) and len(body) <= SLICE:
        return body
    return timed(slices(body) if isinstance(body, bytes) else body, deadline)


async def timed(body: AsyncIterator[bytes], deadline: FirstByte) -> AsyncIterator[bytes]:
    async for piece in body:
        yield piece
        deadline.put_off()


async def slices(body: bytes) -> AsyncIterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(body), SLICE):
        yield bytes(view[start : start + SLICE])
