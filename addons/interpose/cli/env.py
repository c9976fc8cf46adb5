"""`interpose env`: what a shell must set so that its programs come to an interceptor that runs elsewhere.

On stdout stand commands of that shell and nothing else, so that it can be evaluated; what a person should know is
on stderr.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from interpose.errors import InterposeError
from interpose.hosts import authority
from interpose.rules.compiled import Rules
from interpose.rules.load import load
from interpose.state import make_state_folder, state_path

from .leading import leading_environment
from .listen import DEFAULT_HOST, DEFAULT_PORT, Listen
from .terminal import own_command, refuse, say


def _posix(name: str, value: str | None) -> str:
    return f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}"


def _fish(name: str, value: str | None) -> str:
    # Inside of single quotes, fish knows these two escapes: https://fishshell.com/docs/current/language.html#quotes
    return f"set -e {name}" if value is None else "set -gx {} '{}'".format(name, _escaped(value, "\\'"))


def _powershell(name: str, value: str | None) -> str:
    # https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_quoting_rules
    if value is None:
        return f"Remove-Item Env:{name} -ErrorAction SilentlyContinue"
    return "$env:{} = '{}'".format(name, value.replace("'", "''"))


def _escaped(text: str, special: str) -> str:
    return "".join(f"\\{character}" if character in special else character for character in text)


SHELLS: Mapping[str, Callable[[str, str | None], str]] = {"sh": _posix, "fish": _fish, "powershell": _powershell}
# How a person has these evaluated.
EVALUATE = {
    "sh": 'eval "$({})"',
    "fish": "{} | source",
    "powershell": "{} | Out-String | Invoke-Expression",
}


def show(*, shell: str | None, proxy: str | None, rules: Path | None, state: Path | None) -> None:
    """Prints the commands for `shell` (default: the one that we are called from) that lead to `proxy`.

    Raises RulesError for the rules, InterposeError for a state folder or CA that cannot be used.
    """
    environ = dict(os.environ)
    chosen = shell or own_shell(environ)
    if chosen not in SHELLS:
        refuse(f"--shell {chosen} is not known: there are {', '.join(SHELLS)} (bash and zsh are sh)")
    if sys.stdout is None:
        raise InterposeError("cannot print the exports: stdout is closed")
    listen = _listen(proxy)
    loaded = load(rules) if rules is not None else Rules.default()
    # The CA is made if this comes before the first run.
    certificate = authority.prepare(make_state_folder(state_path(state, environ)) / "ca")
    made = leading_environment(loaded, environ, proxy=listen.url, authority=certificate)
    for line in changes(environ, made.values, SHELLS[chosen]):
        print(line)
    sys.stdout.flush()
    for note in made.notes:
        say(note)
    if sys.stdout.isatty():
        say(f"to have it done: {EVALUATE[chosen].format(f'{own_command()} env')}")
    if not answers(listen):
        say(f"nothing listens on {listen} yet: start `{own_command()} run` in another terminal")


def changes(before: Mapping[str, str], after: Mapping[str, str], render: Callable[[str, str | None], str]) -> list[str]:
    """A line for each variable that `after` has otherwise than `before`, in the order of their names."""
    names = sorted({*before, *after})
    return [render(name, after.get(name)) for name in names if before.get(name) != after.get(name)]


def own_shell(environ: Mapping[str, str]) -> str:
    """The kind of shell that we were called from, as its login shell or PowerShell's own variable tell it."""
    login = os.path.basename(environ.get("SHELL", ""))
    if login == "fish":
        return "fish"
    return "powershell" if not login and environ.get("PSModulePath") else "sh"


def answers(listen: Listen) -> bool:
    """Whether somebody listens there."""
    try:
        with socket.create_connection((listen.host, listen.port), timeout=1):
            return True
    except OSError:
        return False


def _listen(proxy: str | None) -> Listen:
    if proxy is None:
        return Listen(DEFAULT_HOST, DEFAULT_PORT)
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.scheme != "http" or parts.path.strip("/") or parts.query or parts.username:
            raise ValueError(f"{proxy!r}: expected the URL that `interpose run` prints, as in http://127.0.0.1:8080")
        return Listen.parse(parts.netloc).reachable()
    except ValueError as error:
        refuse(f"--proxy {error}")
