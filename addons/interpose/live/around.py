"""What there is beside the calls that have ended: those under way, limits, quotas, the ledger, alerts, the rules.

Asked in the event loop, of an engine at work; what takes longer than a look is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from interpose.alerts import Keeper
from interpose.engine.engine import Engine
from interpose.engine.exchange import Exchange
from interpose.engine.settlement import masked
from interpose.ledger import Ledger
from interpose.limits.store import Standing
from interpose.stages.limits import KEY

from .counts import Counts
from .question import Question

# Of each the most pressing.
MOST_LIMITS = 24
MOST_QUOTAS = 24
MOST_UNDER_WAY = 20
MOST_ALERTS = 20

Told = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Around:
    """`stale` says why the rules in force are not those of their file, if they are not; `counts` knows how names and
    texts may be told.
    """

    engine: Engine
    ledger: Ledger
    alerts: Keeper
    stale: Callable[[], object | None]
    counts: Counts

    async def told(self, question: Question, now: float) -> Told:
        """Everything of this moment."""
        stale = self.stale()
        return {
            "under_way": self._under_way(question, now),
            "limits": await self._limits(question),
            "quotas": self._quotas(),
            "ledger": {
                "committed": self.ledger.acknowledged,
                "sinks": [
                    {
                        "name": sink.name,
                        "waiting": sink.pending,
                        "lost": sink.lost,
                        "away": sink.away,
                        "spooled": sink.spooled,
                    }
                    for sink in self.ledger.sinks()
                ],
            },
            "alerts": [
                {
                    "name": notice.alert,
                    "subject": notice.subject or None,
                    "since": notice.since,
                    "text": self.counts.clean(notice.text().removeprefix("[firing] ")),
                }
                for notice in self.alerts.firing()[:MOST_ALERTS]
            ],
            "rules": {
                "version": self.engine.rules.version,
                "stale": None if stale is None else self.counts.clean(str(stale)),
            },
        }

    def _under_way(self, question: Question, now: float) -> Told:
        wanted = [each for each in self.engine.under_way() if question.wants((*_names(each), None))]
        wanted.sort(key=lambda each: each.started)
        return {"calls": len(wanted), "oldest": [self._call(each, now) for each in wanted[:MOST_UNDER_WAY]]}

    def _call(self, exchange: Exchange, now: float) -> Told:
        plan, trip = exchange.plan, exchange.trip
        provider = trip.attempt.provider if trip is not None else None
        told = dict(zip(("app", "model", "client"), _names(exchange), strict=True))
        return {
            "id": exchange.id,
            "began": exchange.started,
            "seconds": max(0.0, now - exchange.started),
            **{name: None if value is None else self.counts.shown(value) for name, value in told.items()},
            "provider": provider.name if provider is not None else None,
            "route": plan.route if plan is not None else None,
            "attempts": exchange.sends,
            "answering": exchange.flows,
        }

    async def _limits(self, question: Question) -> list[Told]:
        """Those that are used at all, and whoever they count, if it is one of the clients that are asked for."""
        named = {limit.name for limit in self.engine.rules.limits} | {KEY}
        found = [
            told
            for standing in await self.engine.gate.pressure()
            if (told := self._limit(standing)) is not None and told["limit"] in named and _counts(told["of"], question)
        ]
        found.sort(key=lambda told: (-told["share"], told["limit"], told["of"]))
        return found[:MOST_LIMITS]

    def _limit(self, standing: Standing) -> Told | None:
        name, kind, whom = standing.key.split("/", 2)
        used = standing.limit - standing.remaining
        if not used:
            return None
        # Money is counted in millionths of a dollar.
        unit = 1_000_000 if kind == "budget" else 1
        return {
            "limit": name,
            "kind": kind,
            "of": self.counts.clean(whom),
            "used": used / unit if unit > 1 else used,
            "most": standing.limit / unit if unit > 1 else standing.limit,
            "share": used / standing.limit if standing.limit else 1.0,
            "resets_in": standing.reset,
        }

    def _quotas(self) -> list[Told]:
        found = sorted(self.engine.quotas.shares(), key=lambda quota: quota[1])
        return [{"of": self.counts.clean(name), "left": share} for name, share in found[:MOST_QUOTAS]]


def _names(exchange: Exchange) -> tuple[str | None, str | None, str | None]:
    """Program, model and client of a call, as far as they are known by now."""
    plan, trip = exchange.plan, exchange.trip
    sent = trip.attempt.model if trip is not None and trip.attempt.provider is not None else None
    asked = plan.facts.model if plan is not None and plan.facts is not None else None
    client = plan.client if plan is not None else None
    return masked(exchange, exchange.call.peer.app), masked(exchange, sent or asked), client


def _counts(whom: str, question: Question) -> bool:
    """Whether a bucket counts for the clients that are asked for: it counts one of them, or whoever comes."""
    clients = question.chosen[2]
    if clients is None:
        return True
    counted = [part.removeprefix("client=") for part in whom.split(",") if part.startswith("client=")]
    return not counted or any((name or None) in clients or (name == "-" and None in clients) for name in counted)
