"""What a person is told of a run: how to come to it, by which rules it goes, and at its end what was used."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from interpose.hosts import recording

from . import summary, trust
from .listen import DEFAULT_HOST, DEFAULT_PORT, Listen
from .terminal import own_command, say, say_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interpose.ledger.address import Readable

    from .asked import Asked


def say_how_to_use(asked: Asked, url: str, authority: Path) -> None:
    """For whoever starts an application that is to come to that URL and to trust that PEM file."""
    mode, name = asked.ways.mode, rules_in_short(asked)
    bundle = shlex.quote(str(trust.write_bundles(asked.state / "ca", authority, asked.environ)["SSL_CERT_FILE"]))
    variables = f"  export SSL_CERT_FILE={bundle} REQUESTS_CA_BUNDLE={bundle} NODE_EXTRA_CA_CERTS={bundle}"
    match mode.name:
        case "regular" | "upstream":
            say_plain(f"  {name}. In the shell of your application:")
            say_plain(f'  eval "$({_env_command(asked, url)})"')
        case "socks5":
            say_plain(f"  {name}. In the shell of your application:")
            say_plain(f"  export ALL_PROXY={url.replace('http://', 'socks5h://')}")
            say_plain(variables)
        case "reverse":
            say_plain(f"  {name}. {url} stands for {mode.data}: use it as the base URL")
        case _:
            say_plain(f"  {name}. Applications whose connections are led here must trust the CA:")
            say_plain(variables)


def _env_command(asked: Asked, url: str) -> str:
    """What prints all that a shell must set to come here."""
    command = f"{own_command()} env"
    if url != Listen(DEFAULT_HOST, DEFAULT_PORT).url:
        command += f" --proxy {url}"
    for name, path in (("--rules", asked.options.rules), ("--state", asked.options.state)):
        if path is not None:
            command += f" {name} {shlex.quote(str(path.absolute()))}"
    return command


def rules_in_short(asked: Asked) -> str:
    rules = asked.rules
    if rules.source is None:
        return "audit only: every AI call is recorded, none is changed"
    gateway = rules.intercept.virtual_host
    more = f", gateway at https://{gateway}/v1" if gateway else " (audit only)" if rules.audit_only else ""
    return f"rules {rules.source.name}{more}"


def say_waiting(asked: Asked) -> None:
    """Why it takes a moment to end."""
    from interpose.hosts.mitm import DRAIN

    if not asked.options.quiet:
        say(f"waiting up to {DRAIN:g} s for calls in flight; interrupt to stop now")


def sum_up(asked: Asked, places: Sequence[Readable], writer: str) -> None:
    """What was used, by the ledger: the calls of the writers whose names begin so."""
    if sys.stderr is None:
        return
    if places:
        again = _usage_command(asked)
        command = bool(asked.options.command)
        waiting = recording.has_waiting(places[0], asked.state)
        summary.show(places[0], writer, sys.stderr, command=command, again=again, waiting=waiting)
    else:
        say_plain(f"interpose: the records went to {', '.join(map(str, asked.rules.ledger.to))}")


def _usage_command(asked: Asked) -> str | None:
    """What shows the same ledger later."""
    options = asked.options
    if not options.hint:
        return None
    if asked.rules.ledger.to:
        return f"{own_command()} usage --rules {shlex.quote(str(options.rules))}"
    if options.state is not None:
        return f"{own_command()} usage --state {shlex.quote(str(options.state))}"
    return f"{own_command()} usage"
