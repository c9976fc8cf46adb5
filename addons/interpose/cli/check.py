"""`interpose check`: everything that is wrong, dangerous or odd about a rules file."""

from __future__ import annotations

from pathlib import Path

from interpose.rules.check import check as problems_of
from interpose.rules.load import load
from interpose.rules.problem import RulesError

from .terminal import say_plain


def check(path: Path) -> int:
    """Prints what there is to say about the file; returns the exit status: 0, or 2 if it cannot be used.

    Problems go to stderr as `file:line:column: …`; the good news to stdout.
    """
    problems = problems_of(path)
    for problem in problems:
        say_plain(str(problem))
    if any(problem.severity == "error" for problem in problems):
        return 2
    try:
        rules = load(path)
    except RulesError as error:  # the file has changed between two readings
        say_plain(str(error))
        return 2
    counts = (
        _count(len(rules.providers), "provider"),
        _count(len(rules.routes), "route"),
        _count(len(rules.clients.keys), "client key"),
    )
    ending = "; audit only" if rules.audit_only else ""
    print(f"{path}: ok ({', '.join(counts)}{ending})")
    return 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
