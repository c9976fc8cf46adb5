"""What a run used, shown when it ends: the ledger's own table, and where to look further."""

from __future__ import annotations

from typing import IO

from interpose.ledger import LedgerError, report, traffic
from interpose.ledger.address import Readable
from interpose.rules.sinks import SinkFile

from .terminal import console, say

NOTHING_CAUGHT = """\
no AI call was caught. If there should have been one:
  - does the program honour HTTPS_PROXY? (aiohttp without trust_env and urllib3 do not)
  - does it talk to a known AI host? name others in the rules: intercept: {hosts: […]}
  - did it trust our CA? a TLS error in its output says that it pins or brings its own CAs"""


def show(ledger: Readable, writer: str, stream: IO[str], *, command: bool, again: str | None, waiting: bool) -> None:
    """The summary of the calls that `writer` recorded in that ledger; `again` is the command that shows it later, if
    it can be shown later. Whether records are `waiting` elsewhere until that ledger takes them.

    Never raises for an unreadable ledger.
    """
    try:
        rows = report.usage(ledger, writer=writer)
        passed = traffic.destinations(ledger, writer=writer)
    except LedgerError as error:
        say(f"no summary: {error}")
        return
    refused = traffic.untrusting(passed, prepared=command)
    if rows or rows.lost:
        _show_calls(rows, ledger, stream, again, whole=not waiting)
    elif waiting:
        say("no summary: the ledger has not got the records of this run yet")
    else:
        # Why is known where a certificate was refused.
        say(NOTHING_CAUGHT if command and not refused else "no AI call was caught")
    for line in refused:
        say(line)
    if others := [each for each in passed if each.kind != "ai"]:
        _show_others(others, stream)


def _show_others(others: list[traffic.Destination], stream: IO[str]) -> None:
    """What else went through us, of which we know no more than this."""
    say("also passed, undecrypted:")
    try:
        console(stream).print(traffic.render(others, limit=traffic.SHOWN))
    except (OSError, ValueError):
        pass  # as below


def _show_calls(rows: report.Usage, ledger: Readable, stream: IO[str], again: str | None, *, whole: bool) -> None:
    total = rows.total
    calls, tokens, failed = (total.calls, total.tokens, total.not_ok) if total is not None else (0, 0, 0)
    ending = f", {report.human_count(failed)} not ok" if failed else ""
    paid = ""
    if total is not None and total.cost_usd is not None:
        paid = f", {'at least ' * bool(total.unpriced)}{report.human_cost(total.cost_usd)}"
    caught = f"caught {'' if whole else 'at least '}{report.human_count(calls)} AI call{'s' * (calls != 1)}"
    say(f"{caught}, {report.human_count(tokens)} tokens{paid}{ending}")
    try:
        terminal = console(stream)
        terminal.print()
        terminal.print(report.render(rows))
        if again is not None:
            terminal.print(f"ledger: {_named(ledger)} · {again}", style="dim", markup=False, soft_wrap=True)
    except (OSError, ValueError):
        pass  # stderr has gone: the record is in the ledger all the same


def _named(ledger: Readable) -> str:
    """What a person looks for."""
    return str(ledger.path if isinstance(ledger, SinkFile) else ledger)
