"""Where we listen: reading `--listen`, and refusing what would let strangers in."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from interpose.call import bracketed
from interpose.errors import InterposeError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080


@dataclass(frozen=True, slots=True)
class Listen:
    """A host (IPv6 without brackets) and a port; port 0 is any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `HOST:PORT`, `[IPV6]:PORT`, `:PORT` or `PORT`. Raises ValueError saying what is wrong."""
        host, colon, port = text.strip().rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            if not _is_ipv6(host):
                raise ValueError(f"{text!r}: {host!r} is not an IPv6 address")
        elif ":" in host:
            raise ValueError(f"{text!r}: write an IPv6 address in brackets, as in [::1]:8080")
        if not (port.isascii() and port.isdecimal() and int(port) <= 65535):
            raise ValueError(f"{text!r}: expected HOST:PORT with a port from 0 to 65535, as in 127.0.0.1:8080")
        if not colon or not host:
            host = DEFAULT_HOST
        if any(character in host for character in "/@ ") or not host.isprintable():
            raise ValueError(f"{text!r}: expected HOST:PORT, as in 127.0.0.1:8080")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self}"

    def reachable(self) -> Listen:
        """The address by which a program on this machine reaches it: a wildcard stands for loopback, too."""
        wildcards = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound
        return Listen(wildcards.get(self.host, self.host), self.port)

    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. Raises InterposeError for a name that does not resolve."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            pass
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise InterposeError(f"--listen {self}: {self.host} is no address of this machine") from error
        return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def check_exposure(listen: Listen, *, clients_required: bool) -> None:
    """Raises InterposeError if strangers could use our keys: an open address without authenticated clients."""
    if clients_required or listen.is_loopback():
        return
    raise InterposeError(
        f"--listen {listen} can be reached from other machines, and whoever reaches it could use your keys. "
        "Listen on 127.0.0.1, or let the rules ask every client for a key: clients: {required: true, keys: …}"
    )


@contextmanager
def reserved(listen: Listen) -> Iterator[Listen]:
    """That address as numbers, with a free port in the place of 0, kept from others while several processes of ours
    listen there. Raises InterposeError where that cannot be.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)[0]
        dual = listen.host == "::" and socket.has_dualstack_ipv6()
        with socket.create_server(address[:2], family=family, dualstack_ipv6=dual) as probe:
            # Nobody else listens there: those who share a port would not be told of each other.
            place = Listen(str(address[0]), probe.getsockname()[1])
    except OSError as error:
        hint = "" if listen.port == 0 else "; name another with --listen"
        raise InterposeError(f"cannot listen on {listen}: {_reason(error)}{hint}") from error
    with socket.socket(family, socket.SOCK_STREAM) as holder:
        if sys.platform == "linux":
            # The workers' sockets have that option, too. One that does not listen gets no connections.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
            try:
                holder.bind((place.host, place.port))
            except OSError:
                # Connections of a program that was there before are not quite over.
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                holder.bind((place.host, place.port))
        yield place


def _reason(error: OSError) -> str:
    # What Python says of an address that is taken names it once more; a name that nobody knows has no number.
    known = error.errno is not None and not isinstance(error, socket.gaierror)
    return (os.strerror(error.errno or 0) if known else error.strerror or str(error)).lower()
