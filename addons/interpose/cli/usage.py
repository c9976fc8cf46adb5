"""`interpose usage`: the ledger's report on stdout."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from interpose.errors import InterposeError
from interpose.hosts import recording
from interpose.ledger import LedgerError, traffic
from interpose.ledger import report as ledger_report
from interpose.ledger.address import Readable
from interpose.rules.compiled import LedgerRules
from interpose.rules.load import load, parse
from interpose.rules.problem import RulesError
from interpose.rules.secrets import SecretStore
from interpose.secret import Scrubber
from interpose.state import state_path

from .terminal import console, refuse


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
    *,
    by: str,
    since: str | None,
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
        names = ledger_report.dimensions(by)
        moment = ledger_report.since_moment(since, datetime.now(UTC)) if since is not None else None
    except LedgerError as error:
        refuse(str(error))
    place = asyncio.run(ledger_place(ledger_rules(ledger, rules), state_path(state, os.environ)))
    if connections:
        CONNECTIONS[format_](traffic.destinations(place, since=moment))
    else:
        write(ledger_report.usage(place, by=names, since=moment))
    sys.stdout.flush()


def ledger_rules(named: str | None, rules: Path | None) -> LedgerRules:
    if named is None:
        return load(rules).ledger if rules is not None else LedgerRules()
    if rules is not None:
        refuse("--ledger and --rules both say which ledger: give one of them")
    # A file may be named by its path alone.
    text = named if ":" in named else f"sqlite:{named}"
    try:
        return parse(json.dumps({"version": 1, "ledger": {"to": [text]}}), "--ledger", Path.cwd()).ledger
    except RulesError as error:
        problem = error.problems[0]
        refuse(f"--ledger {problem.message}" + (f"; {problem.hint}" if problem.hint else ""))


async def ledger_place(rules: LedgerRules, state: Path) -> Readable:
    """The ledger that is read. Raises RulesError for a password that is not to be had."""
    secrets = SecretStore(os.environ, clock=time.monotonic)
    if problems := await secrets.check_all(rules.credentials):
        raise RulesError(problems)
    return (await recording.places(rules, state, secrets, Scrubber()))[0]
