"""What so many tokens cost by a tariff."""

from __future__ import annotations

from decimal import Decimal

import pytest

from interpose.ir import Usage
from interpose.prices import Price, Tariff, micro_dollars
from interpose.prices.tariff import Line, Rate

SONNET = Price(Decimal(3), Decimal("0.3"), Decimal("3.75"), Decimal(15))


def test_cache_tokens_are_part_of_the_input_and_charged_once() -> None:
    """The whole input holds what was read from and written to the cache: each token has one price."""
    usage = Usage(input_tokens=10_000, cache_read_tokens=8_000, cache_write_tokens=1_500, output_tokens=200)
    by_hand = (500 * Decimal(3) + 8_000 * Decimal("0.3") + 1_500 * Decimal("3.75") + 200 * Decimal(15)) / 1_000_000
    assert SONNET.tariff().cost(usage) == by_hand == Decimal("0.012525")


def test_reasoning_is_part_of_the_output_and_charged_once() -> None:
    """Reasoning tokens without a price of their own cost what output costs, and not twice."""
    usage = Usage(input_tokens=0, output_tokens=1_000, reasoning_tokens=900)
    assert SONNET.tariff().cost(usage) == Decimal("0.015")


def test_what_has_no_price_of_its_own_costs_what_the_input_costs() -> None:
    """A price that names only input and output holds for cache reads and writes, too."""
    price = Price(input=Decimal(2), output=Decimal(8))
    usage = Usage(input_tokens=1_000_000, cache_read_tokens=999_999, cache_write_tokens=1, output_tokens=0)
    assert price.tariff().cost(usage) == 2


@pytest.mark.parametrize(
    ("price", "usage"),
    [
        (Price(input=Decimal(1)), Usage(input_tokens=5, output_tokens=1)),
        (Price(output=Decimal(1)), Usage(input_tokens=1, output_tokens=5)),
        (SONNET, Usage()),
    ],
    ids=["output without a price", "input without a price", "nothing is known"],
)
def test_what_is_not_known_has_no_cost(price: Price, usage: Usage) -> None:
    """Tokens without a price, and a call of which nothing is told, cost an unknown amount: not zero."""
    assert price.tariff().cost(usage) is None


def test_an_embedding_has_no_output_to_be_priced() -> None:
    """A model that answers with no tokens needs no price for them."""
    assert Price(input=Decimal("0.02")).tariff().cost(Usage(input_tokens=4)) == Decimal("0.00000008")


@pytest.mark.parametrize(
    ("whole", "rate"), [(200_000, "0.000003"), (200_001, "0.000006"), (1_000_000, "0.000006"), (1_000_001, "0.000009")]
)
def test_a_long_context_raises_the_price_of_every_token(whole: int, rate: str) -> None:
    """The tier goes by the whole input of a call, cache included, and holds for all of its tokens."""
    tiers = ((1_000_000, Decimal("0.000009")), (200_000, Decimal("0.000006")))
    cached = Line("cache_read_tokens", Rate(Decimal(0)))
    tariff = Tariff((cached, Line("input_tokens", Rate(Decimal("0.000003"), tiers), (0,))))
    usage = Usage(input_tokens=whole, cache_read_tokens=whole - 100)
    assert tariff.cost(usage) == 100 * Decimal(rate)


def test_a_miscounted_cache_takes_nothing_off() -> None:
    """A provider that tells of more cached tokens than input makes nothing cheaper than those."""
    assert SONNET.tariff().cost(Usage(input_tokens=10, cache_read_tokens=1_000_000)) == Decimal("0.3")


@pytest.mark.parametrize(("cost", "counted"), [("0", 0), ("0.000001", 1), ("0.00000008", 1), ("1.0000011", 1_000_002)])
def test_begun_micro_dollars_are_counted(cost: str, counted: int) -> None:
    """A budget is charged in whole micro-dollars, rounded up: many small calls are not free."""
    assert micro_dollars(Decimal(cost)) == counted
