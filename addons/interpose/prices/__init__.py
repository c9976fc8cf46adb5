"""What calls cost: prices by provider and model, as data. Floor 2.

`tariff` is a model's price and the arithmetic, `vendors` whose price list holds for a host, `catalogue` where prices
come from: genai-prices' data, which come with its package, and those that the rules set in their place. Nothing here
ever asks the network. Money is in US dollars as `Decimal`; where a whole number is needed it is micro-dollars.
"""

from __future__ import annotations

from .catalogue import NO_OVERRIDES, Catalogue, Overrides
from .tariff import Price, Tariff, micro_dollars
from .vendors import vendor

__all__ = ["NO_OVERRIDES", "Catalogue", "Overrides", "Price", "Tariff", "micro_dollars", "vendor"]
