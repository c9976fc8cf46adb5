"""Hosts, addresses and base URLs as rules write them, parsed strictly: a credential is bound to what is parsed here.

Nothing here resolves a name or opens a connection.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from interpose.call import DEFAULT_PORTS, Origin, bracketed
from interpose.formats.hostnames import canonical_host

from . import regexlike
from .patterns import checked_glob, is_glob, parsed_address
from .problem import BadValue

Nearness = Literal["loopback", "private", "public"]

CGNAT = ipaddress.ip_network("100.64.0.0/10")

# Where clouds serve a machine's own credentials: never a provider, whatever a rules file says.
METADATA = frozenset({"169.254.169.254", "fd00:ec2::254", "metadata.google.internal", "metadata.goog"})

# Names that no public registry hands out: RFC 6761, RFC 6762, RFC 8375, and ICANN's .internal.
# Not every resolver keeps x.localhost on this machine, so that it is private and no more.
PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test", ".intranet", ".corp", ".home")


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """`path` is without its trailing slash, "" for a bare origin."""

    origin: Origin
    path: str


def host(text: str) -> str:
    """The canonical form of a host name or address. Raises BadValue on what is neither, or is dialled by no one."""
    try:
        name = canonical_host(text)
    except ValueError:
        raise BadValue("is no host name and no IP address", "write for example api.openai.com or 10.0.0.7") from None
    address = parsed_address(name)
    if address is None and re.fullmatch(r"[0-9]+|0x[0-9a-f]*", name.rpartition(".")[2]):
        raise BadValue("is no host name and no IP address", "write IPv4 addresses as four plain decimal numbers")
    if name in METADATA or (
        address is not None and (address.is_link_local or address.is_multicast or address.is_unspecified)
    ):
        raise BadValue("is an address that no provider has (link-local, metadata, multicast or unspecified)")
    return name


def virtual_host(text: str) -> str:
    """The canonical form of a name that is to stand for the gateway. Raises BadValue on what clients could not ask
    their proxy for by that name.
    """
    example = "write for example ai.internal"
    if "/" in text:
        raise BadValue("is a URL or path where a host belongs", _only_host(text))
    if re.fullmatch(r"[^:]+:[0-9]+", text):
        raise BadValue("has a port, which does not belong here", "write the host alone: it answers on every port")
    try:
        name = canonical_host(text)
    except ValueError:
        raise BadValue("is no host name", example) from None
    if parsed_address(name) is not None:
        raise BadValue("is an address, where a name belongs", example)
    # Clients take no other for one, nor do they accept a certificate for it: RFC 1123, 2.1.
    if not all(re.fullmatch(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", label) for label in name.split(".")):
        raise BadValue("is no host name", example)
    host(name)
    if name == "localhost" or name.endswith(".localhost"):
        raise BadValue("is this machine, which clients ask no proxy for", example)
    return name


def nearness(name: str) -> Nearness:
    """Whether a canonical host is this machine, surely inside a private network, or possibly anywhere."""
    if name == "localhost":
        return "loopback"
    address = parsed_address(name)
    if address is None:
        return "private" if "." not in name or name.endswith(PRIVATE_SUFFIXES) else "public"
    if address.is_loopback:
        return "loopback"
    shared = isinstance(address, ipaddress.IPv4Address) and address in CGNAT
    return "private" if address.is_private or shared else "public"


def base_url(text: str) -> BaseUrl:
    """Parses a provider's base_url. Raises BadValue naming what does not belong there."""
    if not text.isascii() or re.search(r"[\s\\\x00-\x1f\x7f]", text):
        raise BadValue("contains a space, a backslash or another character that no URL has")
    origin, path = _split(text, ("https", "http"), "write for example https://api.openai.com/v1")
    path = path.rstrip("/")
    if "%" in path or "//" in path or {".", ".."} & set(path.split("/")):
        raise BadValue("has a path with escapes, dots or empty segments", "write the plain path")
    return BaseUrl(origin, path)


def proxy(text: str) -> Origin:
    """Parses upstream.proxy: `http://host:port`."""
    example = "write for example http://proxy.lan:3128"
    origin, path = _split(text, ("http",), example)
    if path.strip("/"):
        raise BadValue("is the URL of a proxy, which has no path", example)
    if urlsplit(text).port is None:
        raise BadValue("has no port", f"write for example http://{urlsplit(text).hostname}:3128")
    return origin


def _split(text: str, schemes: tuple[str, ...], example: str) -> tuple[Origin, str]:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadValue("is not a URL", example) from None
    if "//" not in text:
        raise BadValue(
            f"does not begin with {' or '.join(f'{scheme}://' for scheme in schemes)}", _schemed(text, schemes)
        )
    if parts.scheme not in schemes or not parts.netloc or not parts.hostname:
        raise BadValue(f"is not an {schemes[0]} URL" if schemes[0] == "https" else "is not an http URL", example)
    if parts.username is not None or parts.password is not None:
        raise BadValue("contains a user or password", "credentials do not belong in URLs: use credential")
    if "?" in text or "#" in text:
        raise BadValue("has a query or fragment", "leave out what follows the path")
    if port == 0:
        raise BadValue("has the port 0", example)
    name = host(bracketed(parts.hostname))
    return Origin(parts.scheme, name, port or DEFAULT_PORTS[parts.scheme]), parts.path


# What may be repeated in a hint: surely a host, where a pasted key could stand as well, with a path that hides nothing.
_SURELY_HOST = re.compile(
    r"(localhost|[a-z0-9.-]{1,64}\.[a-z]{2,16}|[a-z0-9.-]{1,64}(?=:)|[0-9.]+|\[[0-9a-f:.]+\])"
    r"(:[0-9]{1,5})?(/[a-z0-9._~/-]*)?"
)


def _schemed(text: str, schemes: tuple[str, ...]) -> str:
    """What to write for a URL that lacks its scheme."""
    try:
        found = _SURELY_HOST.fullmatch(text.lower())
        near = nearness(host(found[1])) if found is not None else None
    except BadValue:
        near = None
    if near is None:
        return f"write {schemes[0]}:// before the host"
    return f"write {'https' if near == 'public' and 'https' in schemes else 'http'}://{text}"


def address(text: str) -> tuple[str, int]:
    """Parses `host:port` or `[ipv6]:port`. Raises BadValue, also when the port is missing."""
    match = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]/]+):([0-9]{1,5})", text)
    if match is None:
        if ":" not in text:
            raise BadValue("has no port", f"write for example {text}:443" if text.isprintable() else "")
        raise BadValue("is not host:port", "write for example api.openai.com:443 or [::1]:8443")
    return host(match[1]), _port(match[2])


def _port(text: str) -> int:
    if not 0 < int(text) < 65536:
        raise BadValue("has a port outside 1 to 65535")
    return int(text)


def host_glob(text: str) -> str:
    """A host, or a glob over hosts, in canonical form and without a port."""
    if regexlike.certainly(text):
        raise BadValue("this looks like a regular expression", regexlike.advice(text))
    if "/" in text:
        raise BadValue("is a URL or path where a host belongs", _only_host(text))
    if re.fullmatch(r"[^:]+:[0-9]+|\[[^\]]*:[^\]]*\]:[0-9]+", text):
        raise BadValue("has a port, which does not belong here", "write the host alone")
    if not is_glob(text) or re.fullmatch(r"\[[0-9a-fA-F:.]*:[0-9a-fA-F:.]*\]", text):
        return host(text)
    pattern = checked_glob(text).lower().removesuffix(".")
    if re.fullmatch(r"[a-z0-9._*?\[\]!-]+", pattern) is None:
        meant = regexlike.advice(text) if regexlike.likely(text, host=True) else "write for example *.openai.azure.com"
        raise BadValue("is no pattern over host names", meant)
    return pattern


def claimed_host(text: str) -> tuple[str, int]:
    """An entry of intercept.hosts: a host or glob, and its port (443 where none is given)."""
    name, port = text, 443
    if match := re.fullmatch(r"([^:]+|\[[^\]]*:[^\]]*\]):([0-9]{1,5})", text):
        name, port = match[1], _port(match[2])
    name = host_glob(name)
    *_, second, last = ("", *name.split("."))
    # A glob must not reach what other people can register: api.openai.com* matches api.openai.com.evil.test.
    if is_glob(name) and name != "*" and (is_glob(last) or (is_glob(second) and second != "*")):
        raise BadValue("also matches domains of other people", "use * for whole labels: *.openai.com")
    return name, port


def _only_host(text: str) -> str:
    try:
        name = urlsplit(text if "//" in text else f"//{text}").hostname
    except ValueError:
        name = None
    return f"write {name}" if name and name.isprintable() else "write the host alone"
