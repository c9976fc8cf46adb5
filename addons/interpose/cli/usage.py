"""`interpose usage`: the ledger's report on stdout."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from interpose.errors import InterposeError
from interpose.ledger import LedgerError, traffic
from interpose.ledger.grouping import Selection, dimensions, since_moment, time_zone, until_moment
from interpose.ledger.report import to_csv, to_json
from interpose.ledger.sums import Usage, usage
from interpose.ledger.table import render
from interpose.state import state_path

from .ledgers import ledger_place, ledger_rules
from .terminal import console, refuse


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, and what was asked."""

    usage: Usage
    about: Mapping[str, object]


FORMATS: Mapping[str, Callable[[Report], None]] = {
    "table": lambda found: console(sys.stdout).print(render(found.usage)),
    "json": lambda found: print(to_json(found.usage, found.about)),
    "csv": lambda found: print(to_csv(found.usage), end=""),
}


CONNECTIONS: Mapping[str, Callable[[list[traffic.Destination]], None]] = {
    "table": lambda found: console(sys.stdout).print(
        traffic.render(found) if found else "No connections recorded yet in this span."
    ),
    "json": lambda found: print(traffic.to_json(found)),
    "csv": lambda found: print(traffic.to_csv(found), end=""),
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
            name: tuple(value.strip() for text in texts for value in text.split(","))
            for name, texts in self.only.items()
            if texts
        }
        return Selection(since, until, only=only, zone=zone)

    def about(self, selection: Selection) -> dict[str, object]:
        """What JSON tells of it."""
        return {
            "since": selection.since,
            "until": selection.until,
            "timezone": self.timezone,
            "only": selection.only,
        }


def report(
    asked: Asked,
    *,
    format_: str,
    connections: bool,
    rules: Path | None,
    state: Path | None,
    ledger: str | None = None,
) -> None:
    """Prints the report, of calls or of `connections`, from `ledger`, the first one of `rules`, or that of `state`.

    Raises LedgerError if there is no ledger that can be read, RulesError as `load` does, and InterposeError if there
    is no stdout.
    """
    if sys.stdout is None:
        raise InterposeError("cannot write the report: stdout is closed")
    write = FORMATS.get(format_)
    if write is None:
        refuse(f"--format {format_} is not supported in this version: there are {', '.join(FORMATS)}")
    try:
        names = dimensions(asked.by)
        selection = asked.selection(datetime.now(UTC))
    except LedgerError as error:
        refuse(str(error))
    if connections and (selection.until is not None or selection.only):
        refuse("--connections goes with --since alone: connections have neither models nor clients")
    place = asyncio.run(ledger_place(ledger_rules(ledger, rules), state_path(state, os.environ)))
    if connections:
        CONNECTIONS[format_](traffic.destinations(place, since=selection.since))
    else:
        write(Report(usage(place, by=names, selection=selection), asked.about(selection)))
    sys.stdout.flush()
