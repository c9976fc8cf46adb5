"""The environment that leads a program's AI calls to an interceptor: what the rules, the CA and the program's own
environment make of the table in `environment`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from interpose.call import DEFAULT_PORTS
from interpose.rules.compiled import Rules

from . import trust
from .environment import PLACEHOLDER, ChildEnvironment, Claim, child_environment


def leading_environment(rules: Rules, environ: Mapping[str, str], *, proxy: str, authority: Path) -> ChildEnvironment:
    """`environ` changed so that a program with it comes to `proxy`, a URL, and trusts `authority`, the PEM file of our
    CA. Bundles and truststores are written beside that. Raises InterposeError if they cannot be.
    """
    return child_environment(
        environ,
        proxy=proxy,
        bundles=trust.write_bundles(authority.parent, authority, environ),
        claims=(*claims(rules), *virtual(rules)),
        withheld=sorted(set(withheld(rules))),
        placeholder=min(rules.intercept.placeholders, default=PLACEHOLDER),
        truststore=_java(authority.parent, authority, environ),
    )


def _java(folder: Path, authority: Path, environ: Mapping[str, str]) -> Path | None:
    from .javastore import truststore_for_java  # here: it brings the whole of `cryptography`

    return truststore_for_java(folder, authority, environ)


def withheld(rules: Rules) -> Iterator[str]:
    """The environment variables that hold credentials: a program whose calls we credential has no need of them."""
    for source in rules.secrets:
        if source.kind == "env":
            yield source.args[0]


def changed_environment(before: Rules, after: Rules, environ: Mapping[str, str]) -> Iterator[str]:
    """What a program that was started by the rules of before should have seen in its `environ`, and cannot any more."""
    old, new = set(withheld(before)), set(withheld(after))
    for name in sorted(new - old):
        if environ.get(name):
            yield f"the rules take {name} now; the program was given its value, and keeps it until it is started again"
    for name in sorted(old - new):
        if environ.get(name):
            yield f"the rules take {name} no more; the program has a placeholder in it until it is started again"


def virtual(rules: Rules) -> Iterator[Claim]:
    """The host at which the gateway answers, if there is one."""
    if (host := rules.intercept.virtual_host) is not None:
        yield from ((host, port) for port in DEFAULT_PORTS.values())


def claims(rules: Rules) -> Iterator[Claim]:
    """The hosts that are intercepted: those of the rules, else the known ones."""
    from interpose.formats.known_hosts import KNOWN_HOSTS

    if rules.intercept.hosts is not None:
        for pattern in rules.intercept.hosts:
            for text in pattern.host.texts:
                yield text, pattern.port
        return
    for row in KNOWN_HOSTS:
        if row.claimed:
            for port in row.ports:
                yield row.pattern, port
