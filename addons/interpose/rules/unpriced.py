"""Budgets that cannot hold what they are for: routes to what has no known price. Reads the price lists, if there is a
budget at all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from interpose.prices.catalogue import PRICES

from .compiled import Provider, Rules
from .problem import Path, printable


def unpriced(rules: Rules) -> Iterator[tuple[Path, str, str]]:
    """A path into the file, what is wrong there, and what to do; each target once."""
    held = [limit.name for limit in rules.limits if limit.budget is not None]
    held += [f"of the key {key.name}" for key in rules.clients.keys if key.budget is not None]
    if not held:
        return
    PRICES.wait()
    seen = set()
    for index, route in enumerate(rules.routes):
        for target in route.everywhere:
            provider = rules.providers[target.provider]
            if (target.provider, target.model) in seen or not _unknown(rules, provider, target.model):
                continue
            seen.add((target.provider, target.model))
            what = f"{target.model} at {target.provider}" if target.model else f"what {target.provider} serves"
            message = f"{printable(what)} has no known price, so no budget can hold it ({printable(held[0])})"
            yield ("routes", index), message, "say what it costs in prices:"


def _unknown(rules: Rules, provider: Provider, model: str | None) -> bool:
    """Whether no call to it can have a price. Of a provider whose models the calls name, nothing else is certain."""
    if model is None:
        return provider.prices is None and not rules.prices.prices
    return PRICES.tariff(provider.prices, model, time.time(), rules.prices) is None
