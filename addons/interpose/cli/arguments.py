"""Options that several commands have: said once, so that they mean and say the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LedgerOption = Annotated[
    str | None,
    typer.Option("--ledger", metavar="L", help="The ledger itself: a file, jsonl:FILE or postgresql://…."),
]
LedgerRulesOption = Annotated[
    Path | None, typer.Option("--rules", metavar="F", help="The rules file, if it names another ledger.")
]
