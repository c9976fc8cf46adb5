"""What takes a ledger that can be read, in rules that have none: all that `ledger.to` names are collectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .document import Document
from .problem import Path
from .support import at

_HINT = "name sqlite:usage.db beside it"
_NEED: Mapping[str, str] = {
    "keep": "concerns ledgers that can be read, and ledger.to names collectors alone",
    "checkpoints": "are of a ledger that can be read, and ledger.to names collectors alone",
}
_BODIES = "keeps bodies, and ledger.to names collectors alone, which get none"
_BUDGET = "begins anew at each start: what was spent is read from the ledger, and ledger.to names collectors alone"
_BUDGETS = (("limits", "budget"), ("clients", "keys", "budget"))


def _only_collectors(data: object) -> bool:
    ledger = data.get("ledger") if isinstance(data, dict) else None
    to = ledger.get("to") if isinstance(ledger, dict) else None
    named = to if isinstance(to, list) else [to]
    return bool(named) and all(isinstance(each, str) and each.startswith("otlp:") for each in named)


def check(document: Document) -> None:
    """Reports what would have nothing to work on."""
    data = document.data
    if not _only_collectors(data):
        return
    for name, message in _NEED.items():
        for path, _ in at(data, ("ledger", name)):
            document.report(path, message, _HINT, key=True)
    for pattern in (("ledger", "capture"), ("routes", "capture")):
        for path, value in at(data, pattern):
            if value == "bodies":
                document.report(path, _BODIES, _HINT)


def dangers(document: Document) -> Iterator[tuple[Path, str, str]]:
    """Where it stands, what is unwise and what to do."""
    if _only_collectors(document.data):
        for pattern in _BUDGETS:
            for path, _ in at(document.data, pattern):
                yield path, _BUDGET, _HINT
