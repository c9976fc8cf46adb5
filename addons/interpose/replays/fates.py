"""What became of a call, or would: the shape in which a recording and rules are held against each other.

A fate is small, since many of them wait for their turn; a recording does not know all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from interpose.ir import Usage

# What ends in one of these was answered by us, and nothing was sent; `unclaimed` passes through undecrypted, and of
# `undecided` the recording does not tell enough.
Ending = Literal["ok", "error", "refused", "limited", "aborted", "truncated", "unclaimed", "undecided"]
UNSENT = frozenset(("refused", "limited", "unclaimed", "undecided"))
# A cost that differs by less is the same, summed up in another order.
SAME_COST = Decimal("0.000000001")
# What only some recordings know.
Known = Literal["client", "route", "key", "losses"]
ALL_KNOWN: frozenset[Known] = frozenset(("client", "route", "key", "losses"))
OWN_KEY = "the client's own"


@dataclass(frozen=True, slots=True)
class Fate:
    """`code` is why we refused, or how it failed. `provider` None with an `origin` is that host itself; `model` is what
    is sent. `key` names a credential, "" is the client's own.

    `cost` None is not known, `approximate` that it is computed from tokens that another model has counted, or that
    nobody has. `losses` are (severity, where) of the request's conversion; `waited` is in seconds.
    """

    outcome: Ending
    status: int | None = None
    code: str | None = None
    client: str | None = None
    route: str | None = None
    provider: str | None = None
    origin: str | None = None
    model: str | None = None
    key: str = ""
    sends: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: Decimal | None = None
    approximate: bool = False
    losses: frozenset[tuple[str, str]] = frozenset()
    waited: float = 0.0
    knows: frozenset[Known] = ALL_KNOWN

    @property
    def sent(self) -> bool:
        return self.outcome not in UNSENT

    @property
    def place(self) -> str:
        """Where it goes, for people."""
        where = self.provider or (self.origin or "").partition("://")[2] or "answered here"
        return f"{where} {self.model}" if self.model else where

    @property
    def ending(self) -> str:
        """How it ends, for people."""
        words = [self.outcome, *([str(self.status)] if self.status and self.outcome != "ok" else [])]
        return " ".join([*words, *([self.code] if self.code else [])])


@dataclass(frozen=True, slots=True)
class Change:
    """One aspect in which two fates differ, in words."""

    aspect: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.before} → {self.after}"


def changes(before: Fate, after: Fate) -> tuple[Change, ...]:
    """What differs, as far as both know of it. Of a call that is not sent, only how it ends is compared; a cost that
    differs with where the call goes is no change of its own.
    """
    found = []
    if ends_otherwise(before, after):
        # Who was turned away goes somewhere now.
        told = after.ending if before.sent or not after.sent else after.place
        found.append(Change("outcome", before.ending, told))
    found += [
        Change(aspect, told_of(before), told_of(after))
        for aspect, differs, told_of in _ASPECTS
        if differs(before, after)
    ]
    if not found and costs_otherwise(before, after):
        found.append(Change("cost", _priced(before), _priced(after)))
    return tuple(found)


def ends_otherwise(before: Fate, after: Fate) -> bool:
    """Whether one is answered and the other is not, or both are, and not alike."""
    return before.outcome != after.outcome or (not before.sent and before.status != after.status)


def goes_elsewhere(before: Fate, after: Fate) -> bool:
    if not (before.sent and after.sent):
        return False
    if before.model != after.model:
        return True
    if before.origin is not None and after.origin is not None:
        return before.origin != after.origin
    return before.provider != after.provider


def both_know(known: Known, before: Fate, after: Fate) -> bool:
    return known in before.knows and known in after.knows


def costs_otherwise(before: Fate, after: Fate) -> bool:
    """A call that is not sent has no cost: its outcome says so."""
    if not (before.sent and after.sent):
        return False
    if before.cost is None or after.cost is None:
        return before.cost is not after.cost
    return abs(before.cost - after.cost) > SAME_COST


def _losses(fate: Fate) -> str:
    counts: dict[str, int] = {}
    for severity, _ in fate.losses:
        counts[severity] = counts.get(severity, 0) + 1
    return " ".join(f"{severity}={counts[severity]}" for severity in sorted(counts)) or "none"


def _priced(fate: Fate) -> str:
    """Each call has a cost of its own; what a group of them has in common is whether it is known."""
    return "no known price" if fate.cost is None else "priced"


def both_sent_and_know(known: Known, before: Fate, after: Fate) -> bool:
    return before.sent and after.sent and both_know(known, before, after)


_ASPECTS: tuple[tuple[str, Callable[[Fate, Fate], bool], Callable[[Fate], str]], ...] = (
    ("routing", goes_elsewhere, lambda fate: fate.place),
    (
        "route",
        lambda before, after: both_sent_and_know("route", before, after) and before.route != after.route,
        lambda fate: fate.route or "no route",
    ),
    (
        "client",
        lambda before, after: both_know("client", before, after) and before.client != after.client,
        lambda fate: fate.client or "nobody known",
    ),
    (
        "key",
        lambda before, after: both_sent_and_know("key", before, after) and before.key != after.key,
        lambda fate: fate.key or OWN_KEY,
    ),
    (
        "losses",
        lambda before, after: both_sent_and_know("losses", before, after) and before.losses != after.losses,
        _losses,
    ),
)
