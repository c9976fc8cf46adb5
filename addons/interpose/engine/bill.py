"""What one call cost: the sum of its legs, those that failed and those that nobody waited for included.

Where no price is known by the name of the model that was sent (a deployment's, an alias), the one that the reply names
may have one. What was used and has no price costs an unknown amount.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from interpose.ir import Reading
from interpose.prices import Catalogue, Overrides, micro_dollars, vendor

from .legs import Leg


@dataclass(frozen=True, slots=True)
class Bill:
    """The prices that hold for one call: those of the moment at which it began."""

    prices: Catalogue
    overrides: Overrides
    at: float

    def cost(self, leg: Leg) -> Decimal | None:
        """Dollars; None where nothing was used, or nothing that has a known price."""
        if not leg.usage:
            return None
        attempt = leg.trip.attempt
        named = attempt.model if attempt.provider is not None else leg.trip.facts.model
        whose = attempt.provider.prices if attempt.provider is not None else vendor(attempt.url.origin.host)
        told = leg.reading or Reading()
        for model in (named, told.model):
            tariff = self.prices.tariff(whose, model, self.at, self.overrides, told.terms)
            if tariff is not None:
                return tariff.cost(leg.usage, told.units)
        return None

    def total(self, legs: Sequence[Leg]) -> Decimal | None:
        """What all of them cost; None if one of them has used something that has no known price, or none anything."""
        costs = [self.cost(leg) for leg in legs if leg.usage]
        known = [cost for cost in costs if cost is not None]
        return sum(known, Decimal(0)) if costs and len(known) == len(costs) else None

    def charged(self, legs: Sequence[Leg]) -> int | None:
        """The micro-dollars that a budget is charged with: all that has a price; None if nobody knows of any use."""
        costs = [self.cost(leg) for leg in legs if leg.usage]
        return micro_dollars(sum((cost for cost in costs if cost is not None), Decimal(0))) if costs else None

    @property
    def version(self) -> str:
        return self.prices.version(self.overrides)
