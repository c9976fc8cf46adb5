"""What is said of a budget that is spent."""

import pytest

from interpose.engine.gate import spent
from interpose.limits.periods import Period
from interpose.limits.store import Demand, Refused


@pytest.mark.parametrize(
    ("limit", "cost", "said"),
    [
        (200, 7710, "$0.0002 a day (spend, client=ci) is less … $0.00771."),
        (1_250_500_000, 2_000_000_000, "$1,250.50 a day (spend, client=ci) is less … $2,000.00."),
        (20_000, 30_000, "$0.02 a day (spend, client=ci) is less … $0.03."),
    ],
)
def test_a_budget_is_told_as_the_rules_have_it(limit: int, cost: int, said: str) -> None:
    """Of one below a cent the digits are there, and nobody reads $0.00."""
    day = Period("day")
    demand = Demand("spend/budget/client=ci", "budget", limit, cost, period=day)
    refusal = spent(Refused(demand, None, ()), day, (), 1_800_000_000.0)
    alone = "is less than what this call alone needs: this call may cost"
    assert said.replace("is less …", alone) in refusal.message
