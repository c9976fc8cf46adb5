"""Variables that hold options of a runtime, which is how Node and Java are told what others read from a variable.

Pure functions from what the user has in such a variable to what a program under `interpose run` gets. The user's own
options stay, and ours come last; done twice, they stand there once, as when one `interpose run` starts another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

# Node ignores proxy variables, before 22.21 and 24.5 altogether: this leads its TLS connections through the proxy.
NODE_PRELOAD = Path(__file__).with_name("preload") / "node.cjs"

# What Java never sends to a proxy, unless http.nonProxyHosts is given and empty:
# https://github.com/openjdk/jdk/blob/master/src/java.base/share/classes/sun/net/spi/DefaultProxySelector.java
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

# Protects nothing, and Java wants one: a truststore holds public certificates.
TRUSTSTORE_PASSWORD = "changeit"  # noqa: S105 - the one that every Java has


@dataclass(frozen=True, slots=True)
class Way:
    """How a program comes to us: our URL, the entries of NO_PROXY that it keeps, and what is added for runtimes.

    `hides` says of a host pattern whether it would keep an AI call from us; `truststore` is Java's, None where there
    is no Java.
    """

    proxy: str
    no_proxy: tuple[str, ...]
    hides: Callable[[str], bool]
    truststore: Path | None = None


def node_options(options: str, _way: Way) -> str:
    """NODE_OPTIONS with our preload. Node splits it at spaces, except in double quotes, where a backslash escapes."""
    path = str(NODE_PRELOAD).replace("\\", "\\\\").replace('"', '\\"')
    ours = f'--require "{path}"'
    return options if ours in options else f"{options} {ours}".strip()


# A word as the JVM reads it: blanks part words, except in quotes of either kind, which may begin and end within one.
_WORD = re.compile(r"""(?:[^\s"']|"[^"]*"|'[^']*')+|["']""")
_QUOTES = re.compile(r""""([^"]*)"|'([^']*)'""")


def java_tool_options(options: str, way: Way) -> str:
    """JAVA_TOOL_OPTIONS with proxy and truststore as system properties; what the user has of these makes room.

    The user's http.nonProxyHosts stay direct, as the hosts of NO_PROXY do, unless they would hide an AI host.
    """
    if way.truststore is None:
        return options
    parts = urlsplit(way.proxy)
    own = java_properties(options).get("http.nonProxyHosts", "").split("|")
    direct = [*_java_hosts(way.no_proxy), *(entry for entry in own if entry and not way.hides(entry))]
    host, port = parts.hostname or "127.0.0.1", str(parts.port or 80)
    properties = {
        "http.proxyHost": host,
        "http.proxyPort": port,
        "https.proxyHost": host,
        "https.proxyPort": port,
        # Where it is unset or names any host, the loopback ones are direct, too: with an AI among them, none is.
        "http.nonProxyHosts": "" if any(map(way.hides, LOOPBACK)) else "|".join(dict.fromkeys(direct)),
        "javax.net.ssl.trustStore": str(way.truststore),
        "javax.net.ssl.trustStoreType": "PKCS12",
        "javax.net.ssl.trustStorePassword": TRUSTSTORE_PASSWORD,
    }
    kept = [word for word in _WORD.findall(options) if _property(word)[0] not in properties]
    return " ".join((*kept, *(f"-D{name}={_quoted(value)}" for name, value in properties.items())))


def java_properties(options: str) -> dict[str, str]:
    """The system properties that options of Java set."""
    return {name: value for name, value in map(_property, _WORD.findall(options)) if name}


def _property(word: str) -> tuple[str, str]:
    plain = _QUOTES.sub(lambda match: match[1] or match[2] or "", word)
    name, _, value = plain.removeprefix("-D").partition("=")
    return (name, value) if plain.startswith("-D") else ("", "")


def _java_hosts(no_proxy: Iterable[str]) -> Iterable[str]:
    """In Java's own syntax, where a name is that name alone and a star stands at the beginning or the end.

    https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/net/doc-files/net-properties.html
    It knows neither ports nor networks: such hosts come to us, and are tunnelled.
    """
    for entry in no_proxy:
        name = entry.removeprefix("*").removeprefix(".")
        if not name or set(name) & set("/:|"):
            continue
        if name == entry:
            yield name
        yield f"*.{name}"


def _quoted(value: str) -> str:
    """A value as part of one word: quotes of one kind stand in quotes of the other."""
    if not set(value) & set(" \t\n'\""):
        return value
    return '"' + value.replace('"', """"'"'\"""") + '"'
