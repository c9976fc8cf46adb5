"""`interpose usage`: the ledger's report on stdout or in a file."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from interpose.errors import InterposeError
from interpose.ledger import LedgerError, traffic
from interpose.ledger.address import Readable
from interpose.ledger.grouping import Selection, dimensions, since_moment, time_zone, until_moment
from interpose.ledger.report import to_csv, to_json
from interpose.ledger.sums import Usage, usage
from interpose.ledger.table import render
from interpose.ledger.tally import Progress
from interpose.rules.sinks import SinkFile
from interpose.state import state_path

from .ledgers import place_of
from .terminal import console, refuse
from .waiting import progress


def _connections(found: list[traffic.Destination], out: IO[str]) -> None:
    console(out).print(traffic.render(found) if found else "No connections recorded yet in this span.")


CONNECTIONS: Mapping[str, Callable[[list[traffic.Destination], IO[str]], object]] = {
    "table": _connections,
    "json": lambda found, out: out.write(traffic.to_json(found) + "\n"),
    "csv": lambda found, out: out.write(traffic.to_csv(found)),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be reported, as it was typed."""

    by: str
    since: str | None = None
    until: str | None = None
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)
    timezone: str = "UTC"

    def selection(self, now: datetime) -> Selection:
        """Raises LedgerError."""
        zone = time_zone(self.timezone)
        since = since_moment(self.since, now, zone) if self.since is not None else None
        until = until_moment(self.until, now, zone) if self.until is not None else None
        if since is not None and until is not None and since >= until:
            raise LedgerError(f"--since {self.since} is not before --until {self.until}: there is nothing between")
        only = {
            name: tuple(_text(value) for text in texts for value in text.split(","))
            for name, texts in self.only.items()
            if texts
        }
        return Selection(since, until, only=only, zone=zone)


def _text(argument: str) -> str:
    """What was typed, if it was UTF-8."""
    return argument.strip().encode("utf-8", "surrogateescape").decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Asking:
    """A report that is wanted: of which ledger, of which calls, and grouped how."""

    asked: Asked
    names: tuple[str, ...]
    selection: Selection
    place: Readable

    def usage(self, progress: Progress | None) -> Usage:
        return usage(self.place, by=self.names, selection=self.selection, progress=progress)


def _table(asking: Asking, progress: Progress | None) -> Usage:
    return asking.usage(progress)


def _json(asking: Asking, progress: Progress | None) -> str:
    selection = asking.selection
    about = {
        "since": selection.since,
        "until": selection.until,
        "timezone": asking.asked.timezone,
        "only": selection.only,
    }
    return to_json(asking.usage(progress), about) + "\n"


def _csv(asking: Asking, progress: Progress | None) -> str:
    return to_csv(asking.usage(progress))


def _html(asking: Asking, progress: Progress | None) -> str:
    from interpose.reports.usage import Heading, usage_page

    place = asking.place
    named = str(place.path if isinstance(place, SinkFile) else place)
    heading = Heading(named, datetime.now(UTC), asking.asked.timezone, asking.selection.only, asking.names)
    return usage_page(place, asking.selection, heading, progress)


# What makes a report: its text, or what a terminal has to lay out.
FORMATS: Mapping[str, Callable[[Asking, Progress | None], str | Usage]] = {
    "table": _table,
    "json": _json,
    "csv": _csv,
    "html": _html,
}


def report(
    asked: Asked,
    *,
    format_: str,
    connections: bool,
    rules: Path | None,
    state: Path | None,
    ledger: str | None = None,
    output: Path | None = None,
) -> None:
    """Prints the report, of calls or of `connections`, from `ledger`, the first one of `rules`, or that of `state`; or
    writes it to `output`.

    Raises LedgerError if there is no ledger that can be read, RulesError as `load` does, and InterposeError if there
    is no stdout or if the file cannot be written.
    """
    if output is None and sys.stdout is None:
        raise InterposeError("cannot write the report: stdout is closed")
    make = FORMATS.get(format_)
    if make is None:
        refuse(f"--format {format_} is not supported in this version: there are {', '.join(FORMATS)}")
    try:
        names = dimensions(asked.by)
        selection = asked.selection(datetime.now(UTC))
    except LedgerError as error:
        refuse(str(error))
    if connections and (selection.until is not None or selection.only or format_ not in CONNECTIONS):
        refuse("--connections goes with --since, as a table, JSON or CSV: connections have neither models nor clients")
    if format_ == "html" and output is None and sys.stdout.isatty():
        refuse("--format html is a page for a browser, not for a terminal: add --output usage.html")
    place = place_of(ledger, rules, state_path(state, os.environ))
    if connections:
        with _written(output) as out:
            CONNECTIONS[format_](traffic.destinations(place, since=selection.since), out)
        return
    with progress("reading the ledger") as told:
        made = make(Asking(asked, names, selection, place), told)
    with _written(output) as out:
        if isinstance(made, str):
            out.write(made)
        else:
            console(out).print(render(made))


@contextmanager
def _written(output: Path | None) -> Iterator[IO[str]]:
    """Where the report goes."""
    if output is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # as JSON is, and as the page says that it is
        yield sys.stdout
        sys.stdout.flush()
        return
    try:
        with output.open("w", encoding="utf-8", newline="") as out:
            yield out
    except OSError as error:
        raise InterposeError(f"cannot write {output}: {error.strerror or error}") from error
