"""What we say to people: on stderr, since stdout belongs to the program that runs under us or to a report.

Plain text where stderr is no terminal, where NO_COLOR is set, and where the terminal is a dumb one.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

import typer

from interpose.errors import InterposeError

if TYPE_CHECKING:
    from rich.console import Console

# Where nobody can see the width, a table should not be cut to that of a terminal.
PLAIN_WIDTH = 120


def say(message: str) -> None:
    """One line (or more) on stderr, under our name."""
    _print(f"interpose: {message}")


def say_plain(message: str) -> None:
    """Lines on stderr that explain the one before."""
    _print(message)


def _print(text: str) -> None:
    if sys.stderr is None:  # closed before we began; print would take stdout instead
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass  # the terminal has hung up, or stderr is closed: nobody is there to be told


def console(stream: IO[str]) -> Console:
    """A rich console on that stream that says nothing in colour, bold or dim unless a person wants to see it."""
    from rich.console import Console

    width = None if stream.isatty() or "COLUMNS" in os.environ else PLAIN_WIDTH
    # rich itself takes NO_COLOR for the colours alone, and leaves the escapes for bold and dim.
    return Console(file=stream, highlight=False, width=width, color_system="auto" if colour_wanted() else None)


def colour_wanted() -> bool:
    """https://no-color.org: set to anything but nothing, it means no."""
    return not os.environ.get("NO_COLOR")


def own_command() -> str:
    """How a person can call us again: by name where the shell finds us, else by the path that we were called by."""
    if shutil.which("interpose") is not None:
        return "interpose"
    called = Path(sys.argv[0])
    return shlex.quote(str(called)) if called.name == "interpose" else f"{shlex.quote(sys.executable)} -m interpose"


@contextmanager
def told(status: int = 1) -> Iterator[None]:
    """Turns what a person did wrong into a message and an exit status, and leaves our own faults as they are.

    Rules that cannot be used are 2, whatever else does not work is `status`.
    """
    from interpose.rules.problem import RulesError

    try:
        yield
    except RulesError as error:
        # Each begins with file:line:column, which editors and CI systems recognise at the start of a line.
        for problem in error.problems:
            say_plain(str(problem))
        raise typer.Exit(2) from error
    except InterposeError as error:
        say(str(error))
        raise typer.Exit(status) from error


def refuse(message: str) -> NoReturn:
    """Ends with status 2: what was asked for is not something we do."""
    say(message)
    raise typer.Exit(2)
