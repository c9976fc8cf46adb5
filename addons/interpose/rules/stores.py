"""Where shared state lives, as rules write it: the URL of a Redis or Valkey server, read strictly. Nothing is opened
here, and no variable read.

    redis://user:${REDIS_PASSWORD}@host:6379/0?prefix=team-a

`redis` and `valkey` are plain, `rediss` and `valkeys` go by TLS, `unix:///path` is a socket on this machine. The
password is best the name of an environment variable: what stands in a file is read by many.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from interpose.call import bracketed
from interpose.secret import MASK

from . import urls
from .problem import BadValue, did_you_mean, printable
from .secrets import CredentialSource
from .servers import Options, host_of, options_of, parted, password_of
from .values import duration

MEMORY = "memory"
PORT = 6379
# scheme -> whether TLS is spoken there
SCHEMES: Mapping[str, bool] = {"redis": False, "rediss": True, "valkey": False, "valkeys": True, "unix": False}
EXAMPLE = 'write "memory" or for example redis://host:6379/0'

LEASE = 30.0
PATIENCE = 0.05

OnError = Literal["local_share", "deny", "allow"]


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A server and how it is used. `host` is None for a Unix socket, which is at `socket`.

    `prefix` keeps several deployments on one server apart. What a dead process held is free again after `lease`
    seconds; a decision waits for the server for `patience` seconds.
    """

    scheme: str
    host: str | None
    port: int
    socket: str | None
    db: int
    user: str | None = None
    variable: str | None = None
    password: str | None = field(default=None, repr=False)
    prefix: str = "interpose"
    lease: float = LEASE
    patience: float = PATIENCE
    ca: str | None = None

    def __str__(self) -> str:
        """What may be said of it: the password is its variable's name."""
        secret = f"${{{self.variable}}}" if self.variable else MASK if self.password else None
        login = f"{self.user or ''}{'' if secret is None else f':{secret}'}@" if self.user or secret else ""
        if self.socket is not None:
            return f"unix://{login}{self.socket}"
        host = bracketed(self.host or "")
        return f"{self.scheme}://{login}{host}:{self.port}/{self.db}"

    @property
    def tls(self) -> bool:
        return SCHEMES[self.scheme]

    @property
    def near(self) -> bool:
        """Whether it is on this machine."""
        return self.host is None or urls.nearness(self.host) == "loopback"


@dataclass(frozen=True, slots=True)
class StateRules:
    """Where limits are counted and what is known is shared; `store` None is this process's memory.

    `password` is where the store's password comes from, if not from its URL; `ca` the file that `ca=` names.
    """

    store: StoreUrl | None = None
    on_store_error: OnError = "local_share"
    password: CredentialSource | None = None
    ca: Path | None = None

    @property
    def credentials(self) -> tuple[CredentialSource, ...]:
        return () if self.password is None else (self.password,)


IN_MEMORY = StateRules()


def store(text: str) -> StoreUrl | None:
    """Parses state.store; None for memory. Raises BadValue, which repeats nothing that may be a password."""
    if text == MEMORY:
        return None
    scheme, separator, _ = text.partition("://")
    if not separator or scheme not in SCHEMES:
        raise BadValue("is no store", (did_you_mean(scheme, SCHEMES) if separator else "") or EXAMPLE)
    parts = parted(text, EXAMPLE)
    socket = parts.path if scheme == "unix" else None
    if (not parts.hostname) != (socket is not None) or socket in ("", "/"):
        raise BadValue("names no server" if socket is None else "names no socket", _example(scheme))
    if parts.port == 0:
        raise BadValue("has the port 0", _example(scheme))
    options = options_of(parts.query, _OPTIONS)
    if "ca" in options and not SCHEMES[scheme]:
        raise BadValue("names certificates by ca=, and does not go by TLS", "write rediss:// or valkeys://")
    if socket is None:
        options["db"] = _db(parts.path.removeprefix("/"), options)
    password, variable = password_of(parts.password)
    return StoreUrl(
        scheme,
        None if parts.hostname is None else host_of(parts.hostname),
        parts.port or PORT,
        socket,
        **{"db": 0, **options},
        user=unquote(parts.username) if parts.username else None,
        variable=variable,
        password=password,
    )


def _example(scheme: str) -> str:
    return (
        "write for example unix:///run/valkey.sock"
        if scheme == "unix"
        else f"write for example {scheme}://host:{PORT}/0"
    )


def _db(path: str, options: Mapping[str, object]) -> int:
    if "db" in options:
        raise BadValue("names its database by db=", "write it as the path: redis://host/1")
    return _number(path or "0")


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise BadValue("has a database that is no number", "write for example redis://host:6379/0")
    return int(text)


def _prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise BadValue("has a prefix that cannot be used", "write letters, digits, dots and dashes: prefix=team-a")
    return text


def _within(low: float, high: float, word: str) -> Callable[[str], float]:
    def parsed(text: str) -> float:
        seconds = duration(text)
        if not low <= seconds <= high:
            raise BadValue(f"has a {word} of {printable(text)}", f"it is from {low:g}s to {high:g}s")
        return seconds

    return parsed


_OPTIONS: Options = {
    "prefix": _prefix,
    "db": _number,
    "lease": _within(1, 3600, "lease"),
    "patience": _within(0.001, 60, "patience"),
    "ca": str,
}


def dangers(url: StoreUrl) -> Iterator[tuple[str, str]]:
    """What is unwise about a store: the message and what to do."""
    if url.password is not None:
        yield "holds a password, which everybody sees who sees this file", "write ${NAME} for it, and set that variable"
    if not url.near and url.password is None and url.variable is None:
        yield (
            "has no password: whoever reaches it can lift limits and make keys for clients",
            f"write for example {url.scheme}://:${{REDIS_PASSWORD}}@{url.host}",
        )
