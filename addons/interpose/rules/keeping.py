"""What is unwise about how long a ledger is kept: found in the file alone."""

from __future__ import annotations

from collections.abc import Iterator

from interpose.limits.periods import Unit

from .document import Document
from .problem import BadValue, Path
from .schema import RulesSpec
from .values import age

# The longest that a period of a budget takes, in days.
_DAYS: dict[Unit, float] = {"hour": 1 / 24, "day": 1, "week": 7, "month": 31, "year": 366}


def check(document: Document) -> None:
    """Reports bodies that are to be kept longer than their records."""
    ledger = document.data.get("ledger") if isinstance(document.data, dict) else None
    keep = ledger.get("keep") if isinstance(ledger, dict) else None
    if not isinstance(keep, dict):
        return
    try:
        records, bodies = age(keep["records"]), age(keep["bodies"])
    except (KeyError, BadValue):
        return
    if bodies > records:
        message = "is longer than records are kept, and bodies go with their records"
        document.report(("ledger", "keep", "bodies"), message, "make it shorter, or remove it")


def dangers(spec: RulesSpec) -> Iterator[tuple[Path, str, str]]:
    """Where it stands, what is unwise and what to do."""
    assert spec.ledger.keep is not None
    records = spec.ledger.keep.records
    budgets = [limit.budget for limit in spec.limits if limit.budget is not None]
    budgets += [key.budget for key in spec.clients.keys if key.budget is not None]
    if records is None or not budgets:
        return
    longest = max((budget.period for budget in budgets), key=_DAYS.__getitem__)
    if records < _DAYS[longest] * 86_400:
        yield (
            ("ledger", "keep", "records"),
            f"is shorter than the {longest} of a budget, whose spending is read from the ledger at a start",
            f"keep records for {_DAYS[longest]:.0f}d or more",
        )
