"""The environment of a program that runs under `interpose run`: a pure function from one environment to another.

Three things change: where HTTP goes (proxy variables), whom TLS trusts (CA variables), and that the keys which the
rules inject do not enter the program at all. Nothing here reads the process's own environment or a file.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from .options import Way, java_tool_options, node_options

Claim = tuple[str, int]
"""A host that is intercepted: a glob over canonical host names, and a port."""

# Both cases: curl reads only the lower-case http_proxy (https://everything.curl.dev/usingcurl/proxies/env.html), other
# programs only the upper-case names.
PROXY_VARIABLES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")

# Replaced where the user has set them, since they would lead past us; never added: they also govern protocols that
# an HTTP proxy does not speak. gRPC: https://grpc.github.io/grpc/core/md_doc_environment_variables.html
FALLBACK_PROXY_VARIABLES = ("ALL_PROXY", "all_proxy", "grpc_proxy")

NO_PROXY_VARIABLES = ("NO_PROXY", "no_proxy")
FALLBACK_NO_PROXY_VARIABLES = ("no_grpc_proxy",)

# What stands in a child for a key that stays with us, where the rules list no placeholder of their own.
PLACEHOLDER = "sk-placeholder"


@dataclass(frozen=True, slots=True)
class TrustVariable:
    """A variable that names a PEM file of CAs.

    `adds` is True if the file is added to what the program trusts anyway, False if it takes its place.
    """

    name: str
    source: str
    adds: bool = False


TRUST_VARIABLES = (
    # OpenSSL, and with it Python, Ruby, PHP; Go on Linux; rustls-native-certs
    TrustVariable("SSL_CERT_FILE", "https://docs.openssl.org/3.0/man3/SSL_CTX_load_verify_locations/"),
    TrustVariable("REQUESTS_CA_BUNDLE", "https://requests.readthedocs.io/en/latest/user/advanced/"),
    TrustVariable("CURL_CA_BUNDLE", "https://curl.se/docs/sslcerts.html"),
    TrustVariable("NODE_EXTRA_CA_CERTS", "https://nodejs.org/api/cli.html#node_extra_ca_certsfile", adds=True),
    TrustVariable("DENO_CERT", "https://docs.deno.com/runtime/reference/env_variables/", adds=True),
    TrustVariable("AWS_CA_BUNDLE", "https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-envvars.html"),
    TrustVariable(
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "https://grpc.github.io/grpc/core/md_doc_environment_variables.html"
    ),
    TrustVariable("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", "https://cloud.google.com/sdk/docs/properties"),
    TrustVariable("HTTPLIB2_CA_CERTS", "https://github.com/httplib2/httplib2/blob/master/python3/httplib2/certs.py"),
    TrustVariable("WEBSOCKET_CLIENT_CA_BUNDLE", "https://websocket-client.readthedocs.io/en/latest/faq.html"),
    TrustVariable("PIP_CERT", "https://pip.pypa.io/en/stable/topics/https-certificates/"),
    TrustVariable("GIT_SSL_CAINFO", "https://git-scm.com/docs/git-config#Documentation/git-config.txt-httpsslCAInfo"),
    TrustVariable("CARGO_HTTP_CAINFO", "https://doc.rust-lang.org/cargo/reference/config.html#httpcainfo"),
    TrustVariable("NIX_SSL_CERT_FILE", "https://nix.dev/manual/nix/latest/installation/env-variables"),
)


@dataclass(frozen=True, slots=True)
class Switch:
    """A variable with one value that makes a runtime heed the others."""

    name: str
    value: str
    source: str


SWITCHES = (
    # Node reads the proxy variables only when asked: fetch since 24.0 and 22.21, http and https since 24.5 and 22.21.
    Switch("NODE_USE_ENV_PROXY", "1", "https://nodejs.org/api/cli.html#node_use_env_proxy1"),
)


@dataclass(frozen=True, slots=True)
class OptionVariable:
    """A variable that holds options of a runtime; `made` adds ours to the user's."""

    name: str
    source: str
    made: Callable[[str, Way], str]


OPTION_VARIABLES = (
    OptionVariable("NODE_OPTIONS", "https://nodejs.org/api/cli.html#node_optionsoptions", node_options),
    # Read by every JVM; JDK_JAVA_OPTIONS by the command `java` since 9 alone, no build daemon or application's own
    # launcher. Both are told of on stderr by each JVM that starts.
    OptionVariable(
        "JAVA_TOOL_OPTIONS",
        "https://docs.oracle.com/en/java/javase/21/docs/specs/jvmti.html#tooloptions",
        java_tool_options,
    ),
)


@dataclass(frozen=True, slots=True)
class ChildEnvironment:
    """`values` is the whole environment; `notes` are the things that its owner should be told, one line each."""

    values: dict[str, str]
    notes: tuple[str, ...] = ()


def child_environment(
    environ: Mapping[str, str],
    *,
    proxy: str,
    bundles: Mapping[str, Path],
    claims: Sequence[Claim] = (),
    withheld: Iterable[str] = (),
    placeholder: str = PLACEHOLDER,
    truststore: Path | None = None,
) -> ChildEnvironment:
    """The environment in which a program's AI calls come to us.

    `proxy` is our URL. `bundles` names the CA file for each of TRUST_VARIABLES. `claims` are the hosts that no entry
    of NO_PROXY may hide. `withheld` are the variables whose values the rules inject as credentials: where they are
    set, the program sees `placeholder` instead. `truststore` is Java's, None where there is no Java.
    """
    values = dict(environ)
    notes = []
    for name in PROXY_VARIABLES:
        values[name] = proxy
    for name in FALLBACK_PROXY_VARIABLES:
        if values.get(name):
            values[name] = proxy
    kept, hiding = _no_proxy(environ, claims)
    for name in NO_PROXY_VARIABLES:
        values[name] = ",".join(kept)
    for name in FALLBACK_NO_PROXY_VARIABLES:
        if name in values:
            values[name] = ",".join(kept)
    if hiding:
        notes.append(f"NO_PROXY: left out {', '.join(hiding)}, which would have hidden AI calls")
    for variable in TRUST_VARIABLES:
        values[variable.name] = str(bundles[variable.name])
    # A bundle made from it has its certificates; some clients would read it instead of SSL_CERT_FILE.
    values.pop("SSL_CERT_DIR", None)
    for switch in SWITCHES:
        values[switch.name] = switch.value
    way = Way(proxy, tuple(kept), lambda entry: any(hides(entry, claim) for claim in claims), truststore)
    for option in OPTION_VARIABLES:
        if made := option.made(values.get(option.name, ""), way):
            values[option.name] = made
    for name in withheld:
        if values.get(name):
            values[name] = placeholder
    return ChildEnvironment(values, tuple(notes))


def own_proxy(environ: Mapping[str, str]) -> str | None:
    """The name of the variable by which the user's own environment sends HTTPS through a proxy, if it does."""
    names = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
    return next((name for name in names if environ.get(name)), None)


def _no_proxy(environ: Mapping[str, str], claims: Sequence[Claim]) -> tuple[list[str], list[str]]:
    """The entries of NO_PROXY to keep, and those that would hide a claimed host."""
    names = (*NO_PROXY_VARIABLES, *FALLBACK_NO_PROXY_VARIABLES)
    # Some programs separate by spaces: https://about.gitlab.com/blog/we-need-to-talk-no-proxy/
    entries = dict.fromkeys(entry for name in names for entry in environ.get(name, "").replace(",", " ").split())
    hiding = [entry for entry in entries if any(hides(entry, claim) for claim in claims)]
    return [entry for entry in entries if entry not in hiding], hiding


def hides(entry: str, claim: Claim) -> bool:
    """Whether an entry of NO_PROXY would keep some client from sending that claimed host's traffic to a proxy.

    There is no standard; an entry is read in the widest way that any client reads it: a name covers its subdomains
    (with or without a leading dot or `*.`), a star everything, an address or network the addresses in it, and a port
    narrows it. An entry written as a URL counts by its host.
    """
    host, port = _host_and_port(entry.rpartition("://")[2].lower().rstrip("."))
    claimed, claimed_port = claim
    if port is not None and port != claimed_port:
        return False
    if not host:
        return False
    try:
        network = ipaddress.ip_network(host, strict=False)
    except ValueError:
        name = host.removeprefix("*.").removeprefix(".")
        return overlap(name, claimed) or overlap(f"*.{name}", claimed)
    try:
        return ipaddress.ip_address(claimed) in network
    except ValueError:
        # The claim is a name or a glob, and clients look no name up for NO_PROXY: only a glob can stand for addresses.
        return not claimed.strip("*?.0123456789") if network.num_addresses > 1 else fnmatchcase(host, claimed)


def _host_and_port(entry: str) -> tuple[str, int | None]:
    """`entry` taken apart; IPv6 addresses and networks may stand bare or in brackets."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, int(rest[1:]) if rest[:1] == ":" and rest[1:].isdecimal() else None
    host, colon, port = entry.rpartition(":")
    if colon and ":" not in host and port.isdecimal():
        return host, int(port)
    return entry, None


def overlap(one: str, other: str) -> bool:
    """Whether some text matches both globs, in which only `*` (any text, dots too) and `?` (one character) are magic.

    Reads `[…]` of a glob as `?`, which can only make it find more.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [(0, 0)]
    left, right = _symbols(one), _symbols(other)
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        i, j = at
        if i == len(left) and j == len(right):
            return True
        a, b = (left[i] if i < len(left) else ""), (right[j] if j < len(right) else "")
        if a == "*":
            waiting.append((i + 1, j))
            if b:
                waiting.append((i, j + 1))
        if b == "*":
            waiting.append((i, j + 1))
            if a:
                waiting.append((i + 1, j))
        if a and b and "*" not in (a, b) and (a == b or "?" in (a, b)):
            waiting.append((i + 1, j + 1))
    return False


def _symbols(glob: str) -> list[Literal["*", "?"] | str]:
    symbols = []
    rest = glob
    while rest:
        end = rest.find("]", 2) if rest[0] == "[" else -1
        symbols.append("?" if end > 0 else rest[0])
        rest = rest[end + 1 :] if end > 0 else rest[1:]
    return symbols
