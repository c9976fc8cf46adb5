"""The retry budget: never more retries than the calls pay for."""

from hypothesis import given
from hypothesis import strategies as st

from interpose.attempts.budget import Budget

# A call, a retry that is asked for, or seconds that pass (a negative number is a clock that goes back).
STEPS = st.lists(st.sampled_from(["call", "retry"]) | st.floats(-5, 20), max_size=300)


@given(steps=STEPS, share=st.floats(0, 1), trickle=st.floats(0, 5), most=st.floats(1, 20))
def test_retries_never_exceed_what_was_paid_in(
    steps: list[str | float], share: float, trickle: float, most: float
) -> None:
    """In any stretch of time: retries <= most + share * calls + trickle * seconds."""
    now = 0.0
    budget = Budget(lambda: now, share=share, trickle=trickle, most=most)
    # (calls, retries, seconds that passed) after each step.
    seen = [(0, 0, 0.0)]
    for step in steps:
        calls, retries, seconds = seen[-1]
        if step == "call":
            budget.called()
            calls += 1
        elif step == "retry":
            retries += budget.spend()
        elif isinstance(step, float):
            now += step
            seconds += max(0.0, step)
        seen.append((calls, retries, seconds))
    calls, retries, seconds = seen[-1]
    for earlier in seen:
        paid = most + share * (calls - earlier[0]) + trickle * (seconds - earlier[2])
        assert retries - earlier[1] <= paid + 1e-6


def test_a_quiet_service_may_retry_and_a_storm_is_damped() -> None:
    """A thousand calls of which every one fails cause a fifth of retries, not a thousand."""
    budget = Budget(lambda: 0.0)
    retries = 0
    for _ in range(1000):
        budget.called()
        retries += budget.spend()
    assert 200 <= retries <= 210


def test_the_trickle_fills_an_empty_budget() -> None:
    """After a while without calls a retry is possible again."""
    now = 0.0
    budget = Budget(lambda: now, most=1)
    assert budget.spend()
    assert not budget.spend()
    now = 1.5
    assert budget.spend()
