"""What of the rules is settled when a program starts, and stays as it was when the file is read again.

One row a field. Everything that is not here follows the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from .compiled import Rules


@dataclass(frozen=True, slots=True)
class Settled:
    """A field of the file: how its value is taken from the rules, and how these are given the one of before."""

    field: str
    value: Callable[[Rules], object]
    with_that_of: Callable[[Rules, Rules], Rules]


def _ledger_to(new: Rules, old: Rules) -> Rules:
    """What is kept of calls follows the file; where it goes does not."""
    return replace(new, ledger=replace(new.ledger, to=old.ledger.to))


SETTLED = (
    Settled("ledger.to", lambda rules: rules.ledger.to, _ledger_to),
    Settled("telemetry", lambda rules: rules.telemetry, lambda new, old: replace(new, telemetry=old.telemetry)),
    Settled("state", lambda rules: rules.state, lambda new, old: replace(new, state=old.state)),
)


def as_settled(new: Rules, old: Rules) -> tuple[Rules, list[str]]:
    """The new rules with the settled values of the old ones, and the fields in which they wanted others."""
    fields = []
    for row in SETTLED:
        if row.value(new) != row.value(old):
            fields.append(row.field)
            new = row.with_that_of(new, old)
    return new, fields
