"""A model's tariff, and what so many tokens cost by it.

The accounting is `ir.Usage`'s: the input includes cache reads and writes, the output includes reasoning. A tariff names
a price for some units; what a unit has no price of its own for costs what the wider unit does: a cache read without a
price is input. So nothing is charged twice, and nothing is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from types import MappingProxyType

from interpose.ir import Usage

MICRO = 1_000_000
NOTHING = Decimal(0)
NO_UNITS: Mapping[str, int] = MappingProxyType({})

_OF_USAGE = {
    "input_tokens": "input_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "output_tokens": "output_tokens",
    "output_reasoning_tokens": "reasoning_tokens",
}


@dataclass(frozen=True, slots=True)
class Rate:
    """Dollars for one of a unit. `tiers` are (whole input of the call above which it holds, rate), the highest first:
    the one that holds is that of all the call's tokens, not only of those above.
    """

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()

    def at(self, whole_input: int) -> Decimal:
        for above, rate in self.tiers:
            if whole_input > above:
                return rate
        return self.base


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a tariff. `within` are the places of the lines whose units are part of this one's, directly or not:
    these come before it.
    """

    unit: str
    rate: Rate
    within: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Tariff:
    """What one model costs at one vendor. `free` is said of a model that is known to cost nothing."""

    lines: tuple[Line, ...]
    free: bool = False

    def cost(self, usage: Usage, units: Mapping[str, int] = NO_UNITS) -> Decimal | None:
        """Dollars; None where something was used that has no price here. A usage that tells nothing has no cost.

        `units` are `Reading.units`: parts of the usage that may have a price of their own.
        """
        if not usage:
            return None
        return self.cost_of({**counts(usage), **units})

    def cost_of(self, counted: Mapping[str, int]) -> Decimal | None:
        """Dollars for so many of each unit, by the units' names; None as above."""
        if self.free:
            return NOTHING
        whole_input = counted.get("input_tokens", 0)
        rests: list[int] = []
        total = NOTHING
        priced = set()
        for line in self.lines:
            # A provider that tells of more cache reads than input has miscounted; nothing costs less than nothing.
            rest = max(counted.get(line.unit, 0) - sum(rests[place] for place in line.within), 0)
            rests.append(rest)
            priced.add(line.unit)
            if rest:
                total += line.rate.at(whole_input) * rest
        unpriced = any(counted.get(side) and side not in priced for side in ("input_tokens", "output_tokens"))
        return None if unpriced else total


def counts(usage: Usage) -> dict[str, int]:
    """What a usage tells, by the units' names; it is one request's."""
    told = {unit: count for unit, name in _OF_USAGE.items() if (count := getattr(usage, name)) is not None}
    return {"requests": 1, **told}


@dataclass(frozen=True, slots=True)
class Price:
    """A model's price as the rules set it: dollars per million tokens. What has none of its own is part of the input
    or the output; a side without a price is not sold.
    """

    input: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    output: Decimal | None = None

    def tariff(self) -> Tariff:
        lines: list[Line] = []

        def line(unit: str, price: Decimal | None, within: tuple[int, ...] = ()) -> None:
            if price is not None:
                lines.append(Line(unit, Rate(price / MICRO), within))

        line("cache_read_tokens", self.cache_read)
        line("cache_write_tokens", self.cache_write)
        line("input_tokens", self.input, tuple(range(len(lines))))
        line("output_tokens", self.output)
        return Tariff(tuple(lines))


def micro_dollars(cost: Decimal) -> int:
    """The whole micro-dollars that a cost is counted as: what is begun is counted."""
    return int((cost * MICRO).to_integral_value(ROUND_CEILING))
