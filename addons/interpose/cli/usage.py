"""`interpose usage`: the ledger's report on stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from interpose.errors import InterposeError
from interpose.ledger import LedgerError, traffic
from interpose.ledger import report as ledger_report
from interpose.rules.load import load
from interpose.state import state_path

from .terminal import console, refuse

LEDGER = "usage.db"


def _table(rows: ledger_report.Usage) -> None:
    console(sys.stdout).print(ledger_report.render(rows))


def _json(rows: ledger_report.Usage) -> None:
    print(ledger_report.to_json(rows))


def _csv(rows: ledger_report.Usage) -> None:
    sys.stdout.write(ledger_report.to_csv(rows))


FORMATS: Mapping[str, Callable[[ledger_report.Usage], None]] = {"table": _table, "json": _json, "csv": _csv}


CONNECTIONS: Mapping[str, Callable[[list[traffic.Destination]], None]] = {
    "table": lambda found: console(sys.stdout).print(
        traffic.render(found) if found else "No connections recorded yet in this span."
    ),
    "json": lambda found: print(traffic.to_json(found)),
    "csv": lambda found: print(traffic.to_csv(found), end=""),
}


def report(
    *, by: str, since: str | None, format_: str, connections: bool, rules: Path | None, state: Path | None
) -> None:
    """Prints the report, of calls or of `connections`.

    Raises LedgerError if there is no ledger that can be read, RulesError as `load` does, and InterposeError if there
    is no stdout.
    """
    if sys.stdout is None:
        raise InterposeError("cannot write the report: stdout is closed")
    write = FORMATS.get(format_)
    if write is None:
        refuse(f"--format {format_} is not supported in this version: there are {', '.join(FORMATS)}")
    try:
        names = ledger_report.dimensions(by)
        moment = ledger_report.since_moment(since, datetime.now(UTC)) if since is not None else None
    except LedgerError as error:
        refuse(str(error))
    named = load(rules).ledger.sqlite if rules is not None else None
    ledger = named or state_path(state, os.environ) / LEDGER
    if connections:
        CONNECTIONS[format_](traffic.destinations(ledger, since=moment))
    else:
        write(ledger_report.usage(ledger, by=names, since=moment))
    sys.stdout.flush()
