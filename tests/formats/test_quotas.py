"""What is left of a quota, in each provider's words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.formats.quotas import LONGEST, UNTOLD, Quota, told

NOW = 1_800_000_000.0


def said(**headers: str) -> tuple[Quota, ...]:
    return told(tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()), NOW)


TOLD = [
    # OpenAI, Groq, xAI …
    (
        {
            "x_ratelimit_limit_requests": "10000", "X_RateLimit_Remaining_Requests": "9000",
            "x_ratelimit_reset_requests": "6m0s",
            "x_ratelimit_limit_tokens": "200000", "x_ratelimit_remaining_tokens": "20000",
            "x_ratelimit_reset_tokens": "120ms",
        },
        [(0.9, 360), (0.1, 0.12)],
    ),
    # Azure
    ({"x_ratelimit_remaining_requests": "8", "x_ratelimit_limit_requests": "10"}, [(0.8, UNTOLD)]),
    # Azure, as it was: without a limit nobody knows the share.
    ({"x_ratelimit_remaining_requests": "8", "x_ratelimit_remaining_tokens": "100"}, []),
    # Anthropic
    (
        {
            "anthropic_ratelimit_input_tokens_limit": "1000", "anthropic_ratelimit_input_tokens_remaining": "250",
            "anthropic_ratelimit_input_tokens_reset": "2027-01-15T08:00:30Z",
            "anthropic_ratelimit_requests_limit": "50", "anthropic_ratelimit_requests_remaining": "0",
            "anthropic_ratelimit_requests_reset": "2027-01-15T07:59:00Z",
        },
        [(0.25, 30), (0.0, 0)],
    ),
    # Anthropic, by subscription
    (
        {
            "anthropic_ratelimit_unified_status": "allowed",
            "anthropic_ratelimit_unified_reset": "1800003600",
            "anthropic_ratelimit_unified_5h_utilization": "0.42",
            "anthropic_ratelimit_unified_5h_reset": "1800003600",
            "anthropic_ratelimit_unified_7d_utilization": "1.02",
            "anthropic_ratelimit_unified_7d_reset": "1800086400",
            "anthropic_ratelimit_unified_overage_utilization": "0.99",
        },
        [(0.58, 3600), (0.0, 86_400)],
    ),
    # Mistral
    (
        {
            "x_ratelimit_limit_tokens_minute": "500000", "x_ratelimit_remaining_tokens_minute": "100000",
            "x_ratelimit_limit_req_minute": "60", "x_ratelimit_remaining_req_minute": "59",
            "x_ratelimit_tokens_query_cost": "50",
        },
        [(0.2, UNTOLD), (59 / 60, UNTOLD)],
    ),
    # Cerebras
    (
        {
            "x_ratelimit_limit_requests_day": "1000", "x_ratelimit_remaining_requests_day": "10",
            "x_ratelimit_reset_requests_day": "33011.382",
        },
        [(0.01, 33_011.382)],
    ),
    # OpenRouter: milliseconds of Unix time
    (
        {"x_ratelimit_limit": "50", "x_ratelimit_remaining": "5", "x_ratelimit_reset": "1800000060000"},
        [(0.1, 60)],
    ),
    # A bucket that is fuller than full, and one for what no conversation takes.
    ({"x_ratelimit_limit_tokens": "100", "x_ratelimit_remaining_tokens": "150"}, [(1.0, UNTOLD)]),
    ({"x_ratelimit_limit_images": "5", "x_ratelimit_remaining_images": "0"}, []),
    # Nonsense
    ({"x_ratelimit_limit_tokens": "0", "x_ratelimit_remaining_tokens": "0"}, []),
    ({"x_ratelimit_limit_tokens": "many", "x_ratelimit_remaining_tokens": "5"}, []),
    ({"x_ratelimit_limit_tokens": "10", "x_ratelimit_remaining_tokens": "-5"}, []),
    ({"x_ratelimit_limit_tokens": "nan", "x_ratelimit_remaining_tokens": "inf"}, []),
    (
        {
            "x_ratelimit_limit_tokens": "10", "x_ratelimit_remaining_tokens": "5",
            "x_ratelimit_reset_tokens": "next year",
        },
        [(0.5, UNTOLD)],
    ),
    (
        {
            "x_ratelimit_limit_tokens": "10", "x_ratelimit_remaining_tokens": "5",
            "x_ratelimit_reset_tokens": "99999999",
        },
        [(0.5, LONGEST)],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "expected"), TOLD)
def test_each_provider_says_it_in_its_own_way(headers: dict[str, str], expected: list[tuple[float, float]]) -> None:
    """A share, and for how many seconds it is true."""
    found = said(**headers)
    assert [quota.left for quota in found] == pytest.approx([left for left, _ in expected])
    assert [quota.until - NOW for quota in found] == pytest.approx([seconds for _, seconds in expected])


NAMES = st.sampled_from(
    [
        f"{prefix}{field}{suffix}"
        for prefix in ("x-ratelimit-", "anthropic-ratelimit-", "anthropic-ratelimit-unified-5h-")
        for field in ("limit", "remaining", "reset", "utilization")
        for suffix in ("", "-tokens", "-requests")
    ]
)


@given(st.lists(st.tuples(NAMES.map(str.encode), st.binary(max_size=12) | st.integers().map(lambda n: b"%d" % n))))
def test_whatever_a_reply_says_is_a_share_or_nothing(headers: list[tuple[bytes, bytes]]) -> None:
    """Headers are the provider's to write; none makes us fail."""
    for quota in told(tuple(headers), NOW):
        assert 0 <= quota.left <= 1
        assert NOW <= quota.until <= NOW + LONGEST
