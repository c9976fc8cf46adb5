"""Usage counted one call at a time, in Python, and calls to count: what every ledger's sums are held against."""

import math
from collections import defaultdict
from datetime import UTC, datetime

import pytest
from hypothesis import strategies as st

from interpose.ledger import Record
from interpose.ledger.sums import OUTCOMES, Row

DAY = datetime(2026, 11, 1, tzinfo=UTC)
BY_HAND = {
    "provider": lambda call: call.provider or ("" if call.entrance == "gateway" else call.host),
    "model": lambda call: call.sent_model or call.asked_model or "",
    "client": lambda call: call.client or "",
    "app": lambda call: call.app or "",
    "host": lambda call: call.host,
    "month": lambda call: call.started_at[:7],
    "week": lambda call: f"{datetime.fromisoformat(call.started_at):%G-W%V}",
    "day": lambda call: call.started_at[:10],
    "hour": lambda call: f"{call.started_at[:13]}:00Z",
    "endpoint": lambda call: call.endpoint,
    "route": lambda call: call.route or "",
    "credential": lambda call: call.credential or "",
    "ip": lambda call: call.ip or "",
    "outcome": lambda call: call.outcome,
}


def nearest_rank(numbers: list[float | None], percent: int) -> float | None:
    known = sorted(number for number in numbers if number is not None)
    return known[math.ceil(len(known) * percent / 100) - 1] if known else None


def by_hand(records: list[Record], by: tuple[str, ...]) -> dict[tuple[str, ...], Row]:
    groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for call in records:
        groups[key_of(call, by)].append(call)
    rows = {}
    for key, calls in groups.items():
        costs = [call.cost_usd for call in calls if call.cost_usd is not None]
        rows[key] = Row(
            key=dict(zip(by, key, strict=True)),
            calls=len(calls),
            outcomes={outcome: sum(call.outcome == outcome for call in calls) for outcome in OUTCOMES},
            input_tokens=sum(call.input_tokens or 0 for call in calls),
            cache_read_tokens=sum(call.cache_read_tokens or 0 for call in calls),
            cache_write_tokens=sum(call.cache_write_tokens or 0 for call in calls),
            output_tokens=sum(call.output_tokens or 0 for call in calls),
            reasoning_tokens=sum(call.reasoning_tokens or 0 for call in calls),
            metered=sum(call.usage_source != "none" for call in calls),
            estimated=sum(call.usage_source == "estimated" for call in calls),
            unmetered=sum(
                call.usage_source == "none"
                and call.endpoint in ("chat", "completions", "embeddings")
                and call.status in (200, 299)
                for call in calls
            ),
            cost_usd=pytest.approx(sum(costs), abs=1e-9) if costs else None,
            unpriced=sum(
                call.cost_usd is None and (call.input_tokens, call.output_tokens) != (None, None) for call in calls
            ),
            **{
                f"{name}_p{percent}": nearest_rank(
                    [getattr(call, name) for call in calls if call.outcome == "ok"], percent
                )
                for name in ("ttft_ms", "duration_ms")
                for percent in (50, 95, 99)
            },
        )
    return rows


def maybe(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(st.none(), strategy)


tokens = maybe(st.integers(0, 10**7))
# As the engine writes them: microseconds.
times = maybe(st.integers(0, 10**9).map(lambda count: count / 1000))
calls = st.fixed_dictionaries(
    {
        "number": st.integers(0, 3 * 86400),
        "provider": maybe(st.sampled_from(["openai", "claude", ""])),
        "host": st.sampled_from(["api.openai.com", "openai"]),
        "asked_model": maybe(st.sampled_from(["gpt-4o", "gpt-4o-mini"])),
        "sent_model": maybe(st.sampled_from(["claude-sonnet-4-5", "gpt-4o", ""])),
        "client": maybe(st.sampled_from(["ci", "o'hara; DROP TABLE calls"])),
        "app": maybe(st.sampled_from(["python", "ci"])),
        "route": maybe(st.just("canary")),
        "credential": maybe(st.just("env:OPENAI_API_KEY")),
        "endpoint": st.sampled_from(["chat", "completions", "embeddings", "models"]),
        "status": maybe(st.sampled_from([199, 200, 299, 300, 403, 502])),
        "outcome": st.sampled_from(OUTCOMES),
        "usage_source": st.sampled_from(["provider", "estimated", "none"]),
        "cost_usd": maybe(st.floats(0, 100)),
        "input_tokens": tokens,
        "cache_read_tokens": tokens,
        "cache_write_tokens": tokens,
        "output_tokens": tokens,
        "reasoning_tokens": tokens,
        "ttft_ms": times,
        "duration_ms": times,
    }
)


groupings = st.lists(st.sampled_from(sorted(BY_HAND)), unique=True, max_size=4).map(tuple)
# What is typed, and what it takes.
FILTERS = {
    "provider": {"openai": {"openai"}, "*ai": {"openai"}, "": {""}, "api.*.com": {"api.openai.com"}},
    "model": {"gpt-4o": {"gpt-4o"}, "gpt-4?": {"gpt-4o"}, "gpt-4o*": {"gpt-4o", "gpt-4o-mini"}, "GPT*": set()},
    "client": {"": {""}, "o'hara*": {"o'hara; DROP TABLE calls"}, "c_": set(), "c%": set(), "[c]i": set()},
    "app": {"*": {"python", "ci", ""}},
    "route": {"canary": {"canary"}, "*nar*": {"canary"}},
}
filters = st.fixed_dictionaries(
    {}, optional={name: st.lists(st.sampled_from(sorted(words)), min_size=1) for name, words in FILTERS.items()}
)


def key_of(call: Record, by: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(BY_HAND[name](call) for name in by)


def taken(call: Record, only: dict[str, list[str]]) -> bool:
    return all(
        BY_HAND[name](call) in set().union(*(FILTERS[name][each] for each in some)) for name, some in only.items()
    )
