"""Records and ledgers for the tests of this floor: obviously invented ones."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from interpose.ledger import Ledger, Record, utc_text

START = 1_793_491_200.0  # 2026-11-01T00:00:00Z


def invented(number: int = 0, **fields: object) -> Record:
    """A plausible record of a call, `number` seconds after the 1st of November 2026."""
    known: dict[str, object] = {
        "id": f"call-{number}",
        "started_at": utc_text(START + number),
        "finished_at": utc_text(START + number + 1.5),
        "entrance": "intercept",
        "ip": "192.0.2.1",
        "method": "POST",
        "host": "api.openai.com",
        "path": "/v1/chat/completions",
        "endpoint": "chat",
        "status": 200,
        "outcome": "ok",
    }
    return Record(**{**known, **fields})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def record() -> Callable[..., Record]:
    return invented


@pytest.fixture
def ledger_at():
    """Opens ledgers with a fixed clock and writer ids w1, w2 …, and closes them at the end of the test."""
    opened: list[Ledger] = []
    numbers = count(1)

    def open_at(path: Path, **options: object) -> Ledger:
        settings = {"writer": f"w{next(numbers)}", "clock": lambda: START, **options}
        ledger = Ledger.open(path, **settings)
        opened.append(ledger)
        return ledger

    yield open_at
    for ledger in opened:
        ledger.close(timeout=1)
