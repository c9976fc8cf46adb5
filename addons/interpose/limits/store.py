"""The interface of a store of limits: what is asked, what is answered. What decides is in `memory` and `valkey`.

The life of a reservation: `reserve`, then exactly one of `settle` (the call was sent) and `release` (it was not).
Both may be called again, in any order: only the first counts. Costs are whole numbers: requests, tokens, slots or
micro-dollars. Tokens and money are reserved by an estimate and settled by what was really used, be it more or less.

- A refund goes to where the reservation was charged. What was used beyond the reservation is charged when it is
  settled, without asking: a bucket may then stand above its limit, by the errors of the estimates that were in flight,
  and grants nothing until it is below again.
- A refusal charges nothing, neither does `peek`.
- An owner that dies: its concurrency slots and reserved money are free again when their lease ends. What it charged to
  a window stays there, since it may well have been used, and slides out like any other charge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from .periods import Period

Kind = Literal["requests", "tokens", "concurrent", "budget"]

SLOT_RETRY = 1.0  # s until a slot may be free: nobody knows when a call ends


class StoreError(Exception):
    """The store cannot be asked, or did not answer in time. Whether the decision was carried out is not known."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a call asks of one bucket.

    `key` names the bucket: the limit, its kind and whom it counts, such as `chat/tokens/client=ci`. Demands of one call
    have different keys. `requests` and `tokens` need `seconds` (never more than `limit` in any so many), `budget` needs
    `period`; `concurrent` needs neither.
    """

    key: str
    kind: Kind
    limit: int
    cost: int = 1
    seconds: int | None = None
    period: Period | None = None

    def __post_init__(self) -> None:
        if self.cost < 0 or self.limit < 0:
            raise ValueError(f"{self.key}: limit and cost must not be negative")
        if (self.seconds is not None) != (self.kind in ("requests", "tokens")) or self.seconds == 0:
            raise ValueError(f"{self.key}: requests and tokens, and they alone, are limited in so many seconds")
        if (self.period is not None) != (self.kind == "budget"):
            raise ValueError(f"{self.key}: a budget, and it alone, is of a calendar period")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a bucket stands: what can still be had, and in how many seconds all of `limit` surely can be again.

    `remaining` is never negative. `reset` of `concurrent` is 0: nobody knows when calls end.
    """

    key: str
    kind: Kind
    limit: int
    remaining: int
    reset: float


@dataclass(frozen=True, slots=True)
class Charge:
    """What a reservation took of one bucket, and where: the store's own business. `place` is the sub-bucket of a
    window or the start of a calendar period; `bucket` is the name under which the store knows the bucket.
    """

    demand: Demand
    bucket: str
    place: int


@dataclass(slots=True, eq=False)
class Reservation:
    """A granted reservation. `closed` once it is settled or released."""

    id: str
    charges: tuple[Charge, ...]
    closed: bool = field(default=False)


@dataclass(frozen=True, slots=True)
class Granted:
    """All demands are charged. `standings` has one of each, in their order, after the charge."""

    reservation: Reservation
    standings: tuple[Standing, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is charged. `demand` is the one that must be waited for longest; `standings` has one of each.

    After `retry_after` seconds the demand surely fits unless others come first; None means that it never does, because
    its cost alone is above the limit. For `concurrent` it is a guess. `unavailable`: no limit is reached that we know
    of, but there is no store that could tell.
    """

    demand: Demand
    retry_after: float | None
    standings: tuple[Standing, ...]
    unavailable: bool = False


class Store(Protocol):
    """Decides. `now` is the current Unix time in seconds; a shared store goes by its server's clock instead."""

    async def reserve(self, demands: Sequence[Demand], now: float) -> Granted | Refused:
        """Charge every demand, or none. Raises StoreError if the store cannot tell."""
        ...

    async def settle(self, reservation: Reservation, actual: Mapping[str, int], now: float) -> None:
        """Replace what was reserved by what was used, by a demand's key; what is not named was used as reserved.

        Concurrency slots are free again. Counts once, whatever comes later.
        """
        ...

    async def release(self, reservation: Reservation, now: float) -> None:
        """Give everything back, as if it had never been asked for. Counts once, whatever comes later."""
        ...

    async def peek(self, demands: Sequence[Demand], now: float) -> Granted | Refused:
        """What `reserve` would answer, its standings before any charge. Nothing is charged: the reservation is void."""
        ...

    async def seed(self, demand: Demand, spent: int, now: float) -> None:
        """At least `spent` of the budget is spent in the period of `now`. Said twice, it is the same as said once."""
        ...

    async def aclose(self) -> None:
        """Let go of connections and tasks."""
        ...
