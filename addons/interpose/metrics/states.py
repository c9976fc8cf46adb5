"""What an engine and its ledger show when they are looked at, as states of metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from interpose.attempts.breaker import State as Circuit
from interpose.attempts.lanes import RESTING
from interpose.engine.engine import Engine

from .sheet import State

_STATES = (*Circuit, RESTING)


class Keeps(Protocol):
    """What keeps records. Each number is of records of calls since its start."""

    @property
    def acknowledged(self) -> int: ...
    @property
    def lost(self) -> int: ...
    @property
    def pending(self) -> int: ...


def of_engine(engine: Engine) -> Iterator[State]:
    yield State("calls_in_flight", engine.in_flight)
    found: Counter[tuple[str, str]] = Counter()
    for lane, state in engine.inforce.lanes.states():
        found.update({(lane.provider, str(each)): 0 for each in _STATES})
        found[lane.provider, str(state)] += 1
    for labels, count in found.items():
        yield State("credentials", count, labels)


def of_ledger(ledger: Keeps) -> Iterator[State]:
    yield State("ledger_records", ledger.acknowledged)
    yield State("ledger_records_lost", ledger.lost)
    yield State("ledger_records_waiting", ledger.pending)
