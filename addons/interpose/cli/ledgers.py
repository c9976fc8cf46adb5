"""The ledger that a person means: a file, `jsonl:FILE`, `sqlite:FILE`, a database's URL, or what a rules file says."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

from interpose.hosts import recording
from interpose.ledger.address import Readable
from interpose.rules.compiled import LedgerRules
from interpose.rules.load import load, parse
from interpose.rules.problem import RulesError
from interpose.rules.secrets import SecretStore
from interpose.secret import Scrubber

from .terminal import refuse


def place_of(named: str | None, option: str, state: Path) -> Readable:
    """Where the ledger that `option` names is read; None is the one in the state folder. Raises RulesError for a
    password that is not to be had; a name that is none ends the command.
    """
    return asyncio.run(ledger_place(ledger_rules(named, None, option), state))


def ledger_rules(named: str | None, rules: Path | None, option: str = "--ledger") -> LedgerRules:
    """What the rules say of the ledger, or of the one that is named in their place."""
    if named is None:
        return load(rules).ledger if rules is not None else LedgerRules()
    if rules is not None:
        refuse(f"{option} and --rules both say which ledger: give one of them")
    # A file may be named by its path alone.
    text = named if ":" in named else f"sqlite:{named}"
    try:
        return parse(json.dumps({"version": 1, "ledger": {"to": [text]}}), option, Path.cwd()).ledger
    except RulesError as error:
        problem = error.problems[0]
        refuse(f"{option} {problem.message}" + (f"; {problem.hint}" if problem.hint else ""))


async def ledger_place(rules: LedgerRules, state: Path) -> Readable:
    """The ledger that is read. Raises RulesError for a password that is not to be had."""
    secrets = SecretStore(os.environ, clock=time.monotonic)
    if problems := await secrets.check_all(rules.credentials):
        raise RulesError(problems)
    return recording.first_readable(await recording.places(rules, state, secrets, Scrubber()))
