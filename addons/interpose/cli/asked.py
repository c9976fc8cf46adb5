"""What `interpose run` was asked for: the command line, and what is wrong with it before anything is started."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from interpose.hosts.watching import can_be_read_again
from interpose.rules.compiled import Rules

from .listen import DEFAULT_HOST, DEFAULT_PORT, Listen
from .terminal import refuse

if TYPE_CHECKING:
    from interpose.gateway import Answers
    from interpose.hosts.mitm.mode import Mode

# Ways by which the environment of a command leads its calls to us.
FOR_COMMANDS = ("regular", "upstream")


@dataclass(frozen=True, slots=True)
class Options:
    """What stands on the command line. An empty `command` is none."""

    command: tuple[str, ...]
    rules: Path | None
    listen: tuple[str, ...]
    state: Path | None
    quiet: bool
    mode: str = "regular"
    web: str | None = None
    workers: int = 1
    hint: bool = True
    """Whether to say where the ledger is: no use where it is about to be deleted."""
    front: Answers | None = None
    """What answers in the place of the engine, and of all that could be reached: nothing leaves then."""


@dataclass(frozen=True, slots=True)
class Ways:
    """How clients come to us, and where people look on."""

    listen: list[Listen]
    mode: Mode
    web: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class Asked:
    """All that is asked for, as it can be had: `rules` are those of the file, with what the mode says of the way
    upstream; `environ` is our own environment.
    """

    options: Options
    rules: Rules
    ways: Ways
    state: Path
    environ: dict[str, str]


def ways(options: Options) -> Ways:
    """Ends with what is wrong with them."""
    found = Ways(_listen(options), _mode(options), _web(options))
    if options.workers > 1:
        _refuse_for_workers(options, found)
    return found


def _listen(options: Options) -> list[Listen]:
    if not options.listen:
        return [Listen(DEFAULT_HOST, 0 if options.command else DEFAULT_PORT)]
    try:
        return [Listen.parse(text) for text in options.listen]
    except ValueError as error:
        refuse(f"--listen {error}")


def _web(options: Options) -> tuple[str, int] | None:
    """Where mitmweb is to answer. Only to this machine: its page shows what was said, and can say it again."""
    if options.web is None:
        return None
    try:
        web = Listen.parse(options.web)
    except ValueError as error:
        refuse(f"--web {error}")
    if not web.is_loopback():
        refuse(f"--web {web}: mitmweb is shown on this machine only; reach it from elsewhere by a tunnel of yours")
    return web.host, web.port


def _mode(options: Options) -> Mode:
    from interpose.hosts.mitm.mode import Mode

    try:
        mode = Mode.parse(options.mode)
    except ValueError as error:
        refuse(f"--mode {error}")
    if options.command and mode.name not in FOR_COMMANDS:
        refuse(f"--mode {mode} does not lead a command's calls here; with CMD it is {' or '.join(FOR_COMMANDS)}")
    return mode


def _refuse_for_workers(options: Options, ways: Ways) -> None:
    """What several processes cannot do together."""
    number = f"--workers {options.workers}"
    if sys.platform != "linux":
        refuse(f"{number}: only Linux shares the connections to one address out among processes; leave it out here")
    if ways.web is not None:
        refuse(f"{number} and --web do not go together: mitmweb is one process, and would show a part of the calls")
    if not ways.mode.listens:
        refuse(f"{number}: --mode {ways.mode} has no address that workers could share; leave --workers out")
    file = options.rules
    if file is not None and file.exists() and not file.is_dir() and not can_be_read_again(file):
        refuse(f"--rules {file} can be read once, and each worker has to read it: name a file")
