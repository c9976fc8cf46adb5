"""What an application sends and what it gets back, independent of who carries it.

A `Call` is one HTTP request as it arrived; a `Reply` is one response, its body still flowing. Headers are pairs of
bytes in their original order, case and multiplicity: law 1 (same format in and out: bytes untouched) begins here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, Self

from .errors import Refusal

Header = tuple[bytes, bytes]
Headers = tuple[Header, ...]

DEFAULT_PORTS = {"http": 80, "https": 443}


class Entrance(StrEnum):
    """How a call came to us."""

    INTERCEPT = "intercept"
    GATEWAY = "gateway"
    EMBEDDED = "embedded"


def bracketed(host: str) -> str:
    """A host as URLs have it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


@dataclass(frozen=True, slots=True)
class Origin:
    """The unit that a credential is bound to: scheme, lower-case host (IPv6 without brackets) and port."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = bracketed(self.host)
        return (
            f"{self.scheme}://{host}"
            if DEFAULT_PORTS.get(self.scheme) == self.port
            else f"{self.scheme}://{host}:{self.port}"
        )


# Where the gateway is for a program that has it inside: a name that is looked up nowhere.
INSIDE = Origin("http", "interpose", 80)


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute URL whose request target (path and query) is kept exactly as it came, escapes and all."""

    origin: Origin
    target: str

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"


@dataclass(frozen=True, slots=True)
class Login:
    """What a client has told its proxy: a key, and a user beside it if there was one."""

    user: str | None
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of the client's connection. `app` names the calling process where that is known, `login` is what
    was told to us as a proxy.
    """

    ip: str
    port: int = 0
    app: str | None = None
    login: Login | None = None


@dataclass(slots=True)
class Call:
    """One request.

    `body` is bytes up to the entrance's limit (8 MiB), beyond it an async stream, which can be forwarded but neither
    read, edited nor sent twice. For a call that upgrades to WebSocket it is what the client sends after the upgrade.
    """

    method: str
    url: Url
    headers: Headers
    body: bytes | AsyncIterator[bytes]
    peer: Peer
    entrance: Entrance = Entrance.INTERCEPT
    # The name that the client's TLS handshake asked for; None on plain HTTP and for clients that send none.
    sni: str | None = None
    # Where the client's connection led, if somebody on the way has rewritten `url` since; None where that is not known.
    addressed: Origin | None = None
    # Whether a call of the program's own (embedded) names the gateway, and no host of a provider.
    names_gateway: bool = False
    # How long its client waits for a connection upstream, in seconds, if it says so; the rules may say less.
    connect: float | None = None
    # Given by a host that tells calls of one connection apart; otherwise the engine chooses one.
    id: str = ""
    # The path at which the gateway is mounted, escaped, as its clients write it before that of `url`.
    mount: str = ""
    # Why it is not served, if whoever took it knows already: its body never came, a web page sent it. It is the call's
    # answer, once it is known who calls.
    barred: Refusal | None = None

    @property
    def at_gateway(self) -> bool:
        """Whether it is addressed to the gateway: no provider's host says what it is and where it goes."""
        return self.entrance is Entrance.GATEWAY or self.names_gateway


class Body(Protocol):
    """A reply's body: chunks as they arrive. `aclose` may come at any time, and says that the client has gone."""

    def __aiter__(self) -> Self: ...
    async def __anext__(self) -> bytes: ...
    async def aclose(self) -> None: ...


@dataclass(slots=True)
class Reply:
    """One response. Whoever got it must either exhaust `body` or close it: that is what settles the call.

    `stream` says that its format is one of events, each to be passed on as it comes.
    """

    status: int
    reason: str
    headers: Headers
    body: Body
    stream: bool = False


def header(headers: Iterable[Header], name: bytes) -> bytes | None:
    """The value of the first header of that (lower-case) name."""
    for key, value in headers:
        if key.lower() == name:
            return value
    return None


def header_values(headers: Iterable[Header], name: bytes) -> list[bytes]:
    """Every value of that (lower-case) name, in order."""
    return [value for key, value in headers if key.lower() == name]


def without(headers: Iterable[Header], names: frozenset[bytes]) -> Headers:
    """The headers whose lower-case name is not among `names`."""
    return tuple(pair for pair in headers if pair[0].lower() not in names)


def upgrades(headers: Iterable[Header]) -> bool:
    """Whether a request with these headers asks for a WebSocket: RFC 6455, 4.1."""
    value = header(headers, b"upgrade")
    return value is not None and any(token.strip() == b"websocket" for token in value.lower().split(b","))
