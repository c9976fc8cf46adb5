"""Host names and the shape of a host table: canonicalising a name, and finding its row. The rows are in `known_hosts`.

A table is asked for every connection and call, so it costs a dict access and, at most, a handful of patterns. Names
are compared whole, label by label, after canonicalising: never by substring or suffix.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import idna

from .paths import Surface, pattern_regex

MAX_HOST = 253
# Underscores are no hostname, but people's DNS has them.
_PLAIN = re.compile(r"(?!.{254})(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")


def canonical_host(host: str) -> str:
    """A host as it is compared: lower-case, without one trailing dot, IDN as punycode, IPv6 without brackets.

    Raises ValueError on what no host can be: empty labels, NUL, spaces, control characters, userinfo, a port, a zone
    id, labels above 63 or names above 253 characters.
    """
    if _PLAIN.fullmatch(host):
        return host
    if host.startswith("[") and host.endswith("]"):
        return str(ipaddress.IPv6Address(_without_zone(host[1:-1])))
    if host.count(":") > 1:
        return str(ipaddress.IPv6Address(_without_zone(host)))
    if len(host) > 4 * MAX_HOST:
        # IDNA is slower than linear; nothing of this length can come out as a host.
        raise ValueError("a host name is longer than 253 characters")
    name = host.lower() if host.isascii() else _punycode(host)
    name = name.removesuffix(".")
    if not _PLAIN.fullmatch(name):
        raise ValueError(f"not a host name: {host!r}")
    return name


def _without_zone(address: str) -> str:
    if "%" in address:
        raise ValueError("an IPv6 address with a zone names no host elsewhere")
    return address


def _punycode(host: str) -> str:
    try:
        # UTS 46 maps full-width letters and dots as browsers do: https://www.unicode.org/reports/tr46/
        return idna.encode(host, uts46=True).decode("ascii").lower()
    except UnicodeError as error:
        raise ValueError(f"not an internationalised host name: {host!r}") from error


@dataclass(frozen=True, slots=True)
class Mount:
    """A surface below a path prefix, a pattern of `paths` in which `{model}` and `*` stand for a segment."""

    prefix: str
    surface: Surface
    regex: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "regex", re.compile(pattern_regex(self.prefix)))


@dataclass(frozen=True, slots=True)
class HostRow:
    """One host or family of hosts.

    `pattern` is a host name whose `*` stands for one label or a part of one, never for a dot. `claimed` is False for
    hosts that mostly serve other things: they are known, but intercepted only when the rules name them. Mounts are
    tried in order. `scheme` is None where the rules, which name the host, leave it open. `source` is the URL of the
    documentation that says so.
    """

    pattern: str
    format: str
    mounts: tuple[Mount, ...]
    source: str
    dialect: str | None = None
    scheme: str | None = "https"
    ports: tuple[int, ...] = (443,)
    claimed: bool = True


class HostTable:
    """Rows by host and port. Exact names are one dict access; globs are indexed by their last two labels."""

    __slots__ = ("_exact", "_globs")

    def __init__(self, rows: Iterable[HostRow]) -> None:
        """Raises ValueError for a glob in one of the last two labels: it would match names of other owners."""
        self._exact: dict[str, list[HostRow]] = {}
        self._globs: dict[str, list[tuple[re.Pattern[str], HostRow]]] = {}
        for row in rows:
            if "*" not in row.pattern:
                self._exact.setdefault(row.pattern, []).append(row)
                continue
            if "*" in (owner := _last_two_labels(row.pattern)):
                raise ValueError(f"{row.pattern}: a glob may not stand in the last two labels")
            regex = re.compile(r"[a-z0-9_-]+".join(map(re.escape, row.pattern.split("*"))))
            self._globs.setdefault(owner, []).append((regex, row))

    def find(self, host: str, port: int | None = None) -> HostRow | None:
        """The row of a host in any spelling, on that port or on any; None if there is none or the host is malformed."""
        try:
            name = canonical_host(host)
        except ValueError:
            return None
        for row in self._exact.get(name, ()):
            if port is None or port in row.ports:
                return row
        for regex, row in self._globs.get(_last_two_labels(name), ()):
            if (port is None or port in row.ports) and regex.fullmatch(name):
                return row
        return None


def _last_two_labels(host: str) -> str:
    return ".".join(host.rsplit(".", 2)[-2:])
