"""What a recorded usage costs by one set of rules: their own prices, else those that come with us, of its time."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from interpose.ir import Reading, Usage
from interpose.prices import NO_OVERRIDES, Catalogue, Overrides

NOTHING_READ = Reading()


class Pricing:
    """Prices by one set of rules. `version` names them as the ledger does."""

    def __init__(self, prices: Catalogue, overrides: Overrides = NO_OVERRIDES) -> None:
        self._prices = prices
        self.overrides = overrides
        self.version = prices.version(overrides)

    def cost(
        self, vendor: str | None, models: Iterable[str | None], usage: Usage, at: float, told: Reading = NOTHING_READ
    ) -> Decimal | None:
        """Dollars at the Unix time `at`, by the first of `models` that has a price; None if none has."""
        if not usage:
            return None
        for model in models:
            tariff = self._prices.tariff(vendor, model, at, self.overrides, told.terms)
            if tariff is not None:
                return tariff.cost(usage, told.units)
        return None

    def estimate(self, vendor: str | None, model: str | None, at: float, asked: int, answered: int) -> Decimal | None:
        """The same for so many tokens."""
        tariff = self._prices.tariff(vendor, model, at, self.overrides)
        return tariff.cost(Usage(input_tokens=asked, output_tokens=answered)) if tariff is not None else None
