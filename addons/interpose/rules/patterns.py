"""What `match` compares with: globs for text and networks for addresses, compiled once when rules are loaded.

A `*` matches any run of characters, `/` and `.` included; there are no escapes and no regular expressions.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from dataclasses import dataclass, field

from . import regexlike
from .problem import BadValue

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAGIC = re.compile(r"[*?\[]")


def is_glob(text: str) -> bool:
    return _MAGIC.search(text) is not None


def checked_glob(text: str) -> str:
    """`text` itself. Raises BadValue on what cannot be meant as a glob."""
    if not text:
        raise BadValue("an empty pattern matches nothing", 'write "*" for anything')
    if not text.isprintable():
        raise BadValue("a pattern cannot contain control characters")
    if regexlike.certainly(text):
        raise BadValue("this looks like a regular expression", regexlike.advice(text))
    rest = re.sub(r"\[!?(?:\][^\]]*|[^\]]+)\]", "", text)
    if "[" in rest:
        raise BadValue("the [ of this glob is never closed", "write [[] for the character itself")
    return text


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Any of several globs. One without magic characters is compared as it stands; `fold` ignores case."""

    texts: tuple[str, ...]
    fold: bool = False
    _exact: frozenset[str] = field(init=False, repr=False, compare=False)
    _globs: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        texts = tuple(text.lower() for text in self.texts) if self.fold else self.texts
        globs = [text for text in texts if is_glob(text)]
        pattern = re.compile("|".join(map(fnmatch.translate, globs))) if globs else None
        object.__setattr__(self, "texts", texts)
        object.__setattr__(self, "_exact", frozenset(text for text in texts if not is_glob(text)))
        object.__setattr__(self, "_globs", pattern)

    def accepts(self, value: str | None) -> bool:
        if value is None:
            return False
        if self.fold:
            value = value.lower()
        return value in self._exact or (self._globs is not None and self._globs.match(value) is not None)

    def covers(self, other: AnyOf) -> bool:
        """Whether all that `other` accepts is surely accepted here. May say False where it cannot tell."""
        if other.fold and not self.fold:
            return False
        return all(text in self.texts or (not is_glob(text) and self.accepts(text)) for text in other.texts)


@dataclass(frozen=True, slots=True)
class Networks:
    """Any of several networks, written as addresses or CIDR. IPv4 addresses mapped into IPv6 count as IPv4."""

    networks: tuple[Network, ...]

    def accepts(self, value: str) -> bool:
        address = parsed_address(value)
        return address is not None and any(address in network for network in self.networks)

    def covers(self, other: Networks) -> bool:
        return all(any(_within(inner, outer) for outer in self.networks) for inner in other.networks)


def parsed_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An IP address, an IPv4-mapped one as IPv4, a scope id (`%eth0`) dropped; None for anything else."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def household(text: str) -> str:
    """Whom an address stands for where clients are counted: IPv4 itself, of IPv6 the /64 out of which a single machine
    takes as many addresses as it likes (RFC 8981). What is no address stands for itself.
    """
    address = parsed_address(text)
    if not isinstance(address, ipaddress.IPv6Address) or address.is_loopback:
        return text if address is None else str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))


def parsed_network(text: str) -> Network:
    """Raises BadValue on what is neither an address nor CIDR."""
    try:
        return _unmapped(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise BadValue(
            "is neither an IP address nor a network", "write 10.1.2.3, 10.0.0.0/8, fd00::/8, or a list of such"
        ) from None
    raise BadValue("has host bits set beyond its prefix", f"did you mean {network}?")


def _unmapped(network: Network) -> Network:
    """An IPv4 network that is written as IPv6 (`::ffff:10.0.0.0/104`) as what calls are compared with."""
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.ip_network((mapped, network.prefixlen - 96))
    return network


def _within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False
