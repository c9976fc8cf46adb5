"""Where records go, as rules write it: files, the URL of a PostgreSQL database, or that of an OpenTelemetry collector,
read strictly. Nothing is opened
here, and no variable read.

    sqlite:usage.db   jsonl:calls.jsonl   postgresql://user:${PG_PASSWORD}@host:5432/database?sslmode=verify-full
    otlp:https://collector:4318?header=authorization:Bearer+${OTLP_TOKEN}

The password is best the name of an environment variable: what stands in a file is read by many.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlencode

from interpose.call import bracketed
from interpose.secret import MASK

from . import telemetry, urls
from .problem import BadValue, did_you_mean, printable
from .secrets import CredentialSource
from .servers import Options, host_of, options_of, parted, password_of
from .values import size

PORT = 5432
COLLECTOR = "write for example otlp:http://localhost:4318"
COLLECTOR_HEADER = "write for example otlp:https://host?header=authorization:Bearer+${OTLP_TOKEN}"
EXAMPLE = "write for example postgresql://user:${PG_PASSWORD}@host:5432/database"
SCHEMES = ("sqlite", "jsonl", "postgresql", "postgres", "otlp")
# In the state folder, where the rules name no place.
DEFAULT_LEDGER = "usage.db"
# What a sink that is away may take of the disk.
SPOOL = 1 << 30

FileKind = Literal["sqlite", "jsonl"]
_FILES: Mapping[str, FileKind] = {"sqlite": "sqlite", "jsonl": "jsonl"}
# What libpq means by these words: https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION
SslMode = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]
SSL_MODES: tuple[SslMode, ...] = ("disable", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class SinkFile:
    """A file that records go to."""

    kind: FileKind
    path: Path

    def __str__(self) -> str:
        return f"{self.kind}:{self.path}"

    @property
    def place(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A PostgreSQL database. `host` is None for a Unix socket, which is in the folder `socket`."""

    host: str | None
    port: int
    socket: str | None
    database: str
    user: str | None = None
    variable: str | None = None
    password: str | None = field(default=None, repr=False)
    sslmode: SslMode | None = None
    ca: str | None = None
    spool: int = SPOOL

    def __str__(self) -> str:
        """What may be said of it: the password is its variable's name."""
        secret = f"${{{self.variable}}}" if self.variable else MASK if self.password else None
        login = f"{self.user or ''}{'' if secret is None else f':{secret}'}@" if self.user or secret else ""
        if self.socket is not None:
            port = "" if self.port == PORT else f":{self.port}"
            return f"postgresql://{login}{port}/{self.database}?host={self.socket}"
        host = bracketed(self.host or "")
        return f"postgresql://{login}{host}:{self.port}/{self.database}"

    @property
    def place(self) -> str:
        """Which database it is, whoever logs in."""
        return f"{self.host or self.socket}:{self.port}/{self.database}"

    @property
    def near(self) -> bool:
        """Whether it is on this machine."""
        return self.host is None or urls.nearness(self.host) == "loopback"


@dataclass(frozen=True, slots=True)
class SinkDatabase:
    """A database that records go to. `password` is where it comes from, if not from the URL; `ca` the file that `ca=`
    names.
    """

    url: DatabaseUrl
    password: CredentialSource | None = None
    ca: Path | None = None

    def __str__(self) -> str:
        return str(self.url)

    @property
    def place(self) -> str:
        return self.url.place


@dataclass(frozen=True, slots=True)
class CollectorUrl:
    """An OpenTelemetry collector, by its base URL. `headers` are names and values, with `${NAME}` for variables."""

    base: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    ca: str | None = None
    spool: int = SPOOL

    def __str__(self) -> str:
        """What may be said of it."""
        return f"otlp:{self.base}"

    @property
    def place(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True)
class SinkCollector:
    """A collector that records go to. `ca` is the file that `ca=` names."""

    url: CollectorUrl
    headers: tuple[telemetry.Header, ...] = ()
    ca: Path | None = None

    def __str__(self) -> str:
        return str(self.url)

    @property
    def place(self) -> str:
        return self.url.place


SinkRule = SinkFile | SinkDatabase | SinkCollector


def file_named(text: str) -> tuple[FileKind, str] | None:
    """The kind and the path of a file; None if the text names none."""
    kind, _, path = text.partition(":")
    return (_FILES[kind], path) if kind in _FILES else None


def check(text: str) -> None:
    """Raises BadValue, which repeats nothing that may be a password."""
    scheme, separator, rest = text.partition(":")
    if not separator or scheme not in SCHEMES:
        hint = did_you_mean(scheme, SCHEMES) if separator and re.fullmatch("[a-z]+", scheme) else ""
        example = "write sqlite:FILE, jsonl:FILE, postgresql://… or otlp:http://…"
        raise BadValue("is no place for a ledger", hint or example)
    if scheme in ("postgresql", "postgres"):
        database(text)
    elif scheme == "otlp":
        collector(text)
    elif not rest or not rest.isprintable():
        raise BadValue(
            "names no file" if not rest else "contains control characters", f"write for example {scheme}:calls"
        )
    elif rest.startswith("//"):
        raise BadValue("is written like a URL", f"write {scheme}:FILE, or {scheme}:/FILE from the root")


def database(text: str) -> DatabaseUrl:
    """Parses the URL of a database. Raises BadValue, which repeats nothing that may be a password."""
    scheme = text.partition(":")[0]
    if not text.startswith(f"{scheme}://"):
        raise BadValue("is not a URL", EXAMPLE)
    if "," in text.partition("?")[0].rpartition("@")[2]:
        raise BadValue("names several hosts", "name one that stands for all: a balancer, or a service's name")
    parts = parted(text, EXAMPLE)
    if parts.port == 0:
        raise BadValue("has the port 0", EXAMPLE)
    options = options_of(parts.query, _OPTIONS)
    socket = options.pop("host", None)
    if (not parts.hostname) != (socket is not None):
        problem = "names no server" if socket is None else "names a host and the folder of a socket"
        raise BadValue(problem, EXAMPLE if socket is None else "leave out one of them")
    name = unquote(parts.path.removeprefix("/"))
    if not name or "/" in name or not name.isprintable():
        raise BadValue("names no database", EXAMPLE)
    if "ca" in options and options.get("sslmode") not in ("verify-ca", "verify-full"):
        raise BadValue("names certificates by ca=, and verifies none", "write sslmode=verify-full beside it")
    password, variable = password_of(parts.password)
    return DatabaseUrl(
        None if parts.hostname is None else host_of(parts.hostname),
        parts.port or PORT,
        socket,
        name,
        user=unquote(parts.username) if parts.username else None,
        variable=variable,
        password=password,
        **options,
    )


def collector(text: str) -> CollectorUrl:
    """Parses otlp:URL. Raises BadValue, which repeats nothing that may be a secret."""
    url = text.removeprefix("otlp:")
    if url.startswith("//") or not url:
        raise BadValue("names no collector" if not url else "leaves out http or https", COLLECTOR)
    parts = parted(url, COLLECTOR)
    if parts.username is not None or parts.password is not None:
        raise BadValue("has a user or a password", COLLECTOR_HEADER)
    headers, others = [], []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "header":
            headers.append(_header(value))
        else:
            others.append((name, value))
    if len({name for name, _ in headers}) < len(headers):
        raise BadValue("names a header twice", "leave one of them out")
    options = options_of(urlencode(others), _OF_COLLECTOR)
    base = telemetry.base(url.partition("?")[0])
    if "ca" in options and not base.startswith("https:"):
        raise BadValue("names certificates by ca=, and is http", "write https, or leave ca out")
    return CollectorUrl(base, tuple(headers), **options)


def _header(text: str) -> tuple[str, str]:
    name, separator, value = text.partition(":")
    if not separator or not telemetry.is_header(name) or not value.strip() or not value.isprintable():
        raise BadValue("has a header= that is none", COLLECTOR_HEADER)
    telemetry.variables(value)
    return name.lower(), value.strip()


def _ssl_mode(text: str) -> SslMode:
    for mode in SSL_MODES:
        if mode == text:
            return mode
    hint = did_you_mean(text, SSL_MODES) or f"known are {', '.join(SSL_MODES)}"
    raise BadValue(f'has an sslmode of "{printable(text)}"', hint)


def _spool(text: str) -> int:
    limit = size(text)
    if limit.unit != "bytes" or limit.count < 1 << 20:
        raise BadValue(f"has a spool of {printable(text)}", "it is 1MiB or more: spool=1GiB")
    return limit.count


def _folder(text: str) -> str:
    if not text.startswith("/"):
        raise BadValue("has a host= that is no folder", "write the socket's folder: ?host=/run/postgresql")
    return text


_OPTIONS: Options = {
    "sslmode": _ssl_mode,
    "ca": str,
    "host": _folder,
    "spool": _spool,
}


# Headers, which may be several, are read apart.
_OF_COLLECTOR: Options = {"header": str, "ca": str, "spool": _spool}


def dangers(url: DatabaseUrl) -> Iterator[tuple[str, str]]:
    """What is unwise about a database: the message and what to do."""
    if url.password is not None:
        yield "holds a password, which everybody sees who sees this file", "write ${NAME} for it, and set that variable"
    if url.sslmode == "disable" and not url.near and (url.password or url.variable):
        yield (
            "goes to another machine without TLS: who listens on the way sees every record",
            "write sslmode=verify-full, or leave sslmode out for TLS where the server has it",
        )
