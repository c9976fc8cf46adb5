"""The ledger that a person means: a file, `jsonl:FILE`, `sqlite:FILE`, a database's URL, or what a rules file says."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from interpose.ledger.address import Readable
from interpose.rules import sinks
from interpose.rules.problem import BadValue, RulesError

from .terminal import refuse

if TYPE_CHECKING:
    from interpose.rules.compiled import LedgerRules


def place_of(named: str | None, rules: Path | None, state: Path, option: str = "--ledger") -> Readable:
    """Where the ledger that `option` names is read, else the first of the rules, else the one in the state folder.
    Raises RulesError for a password that is not to be had; a name that is none ends the command.
    """
    if rules is None and (file := _file(named, state)) is not None:
        return file
    return asyncio.run(ledger_place(ledger_rules(named, rules, option), state))


def _file(named: str | None, state: Path) -> sinks.SinkFile | None:
    """The file that is meant. None if it is no file: then the rules' own reader says what it is, or what is wrong with
    it, and that takes three times as long to be loaded as a small report takes altogether.
    """
    if named is None:
        return sinks.SinkFile("sqlite", state / sinks.DEFAULT_LEDGER)
    text = _whole(named)
    try:
        sinks.check(text)
    except BadValue:
        return None
    file = sinks.file_named(text)
    return sinks.SinkFile(file[0], Path.cwd() / os.path.expanduser(file[1])) if file is not None else None


def _whole(named: str) -> str:
    """A file may be named by its path alone."""
    return named if ":" in named else f"sqlite:{named}"


def ledger_rules(named: str | None, rules: Path | None, option: str = "--ledger") -> LedgerRules:
    """What the rules say of the ledger, or of the one that is named in their place."""
    # Here, not above: whoever names a file does not wait for it.
    from interpose.rules.compiled import LedgerRules
    from interpose.rules.load import load, parse

    if named is None:
        return load(rules).ledger if rules is not None else LedgerRules()
    if rules is not None:
        refuse(f"{option} and --rules both say which ledger: give one of them")
    try:
        return parse(json.dumps({"version": 1, "ledger": {"to": [_whole(named)]}}), option, Path.cwd()).ledger
    except RulesError as error:
        problem = error.problems[0]
        refuse(f"{option} {problem.message}" + (f"; {problem.hint}" if problem.hint else ""))


async def ledger_place(rules: LedgerRules, state: Path) -> Readable:
    """The ledger that is read. Raises RulesError for a password that is not to be had."""
    from interpose.hosts import recording
    from interpose.rules.secrets import SecretStore
    from interpose.secret import Scrubber

    secrets = SecretStore(os.environ, clock=time.monotonic)
    if problems := await secrets.check_all(rules.credentials):
        raise RulesError(problems)
    return recording.first_readable(await recording.places(rules, state, secrets, Scrubber()))
