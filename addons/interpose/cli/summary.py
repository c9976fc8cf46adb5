"""What a run used, shown when it ends: the ledger's own table, and where to look further."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from interpose.ledger import LedgerError, report

from .terminal import console, say

NOTHING_CAUGHT = """\
no AI call was caught. If there should have been one:
  - does the program honour HTTPS_PROXY? (Node before 22.21, some gRPC and Java clients do not)
  - does it talk to a known AI host? name others in the rules: intercept: {hosts: […]}
  - did it trust our CA? a TLS error in its output says that it pins or brings its own CAs"""


def show(ledger: Path, writer: str, stream: IO[str], *, command: bool, again: str | None) -> None:
    """The summary of the calls that `writer` recorded in that ledger; `again` is the command that shows it later, if
    it can be shown later.

    Never raises for an unreadable ledger.
    """
    try:
        rows = report.usage(ledger, writer=writer)
    except LedgerError as error:
        say(f"no summary: {error}")
        return
    if not rows and not rows.lost:
        say(NOTHING_CAUGHT if command else "no AI call was caught")
        return
    calls = sum(row.calls for row in rows)
    failed = sum(row.errors for row in rows)
    tokens = sum(row.tokens for row in rows)
    ending = f", {report.human_count(failed)} not ok" if failed else ""
    say(f"caught {report.human_count(calls)} AI call{'s' * (calls != 1)}, {report.human_count(tokens)} tokens{ending}")
    try:
        terminal = console(stream)
        terminal.print()
        terminal.print(report.render(rows))
        if again is not None:
            terminal.print(f"ledger: {ledger} · {again}", style="dim", markup=False, soft_wrap=True)
    except (OSError, ValueError):
        pass  # stderr has gone: the record is in the ledger all the same
