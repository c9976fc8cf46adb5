"""Budgets after a start: what the ledger says was spent is told to the limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from interpose.hosts.budgets import budgets_of, spent
from interpose.ledger import Ledger, Record, utc_text
from interpose.rules.compiled import Limit, Rules
from interpose.rules.load import parse
from interpose.rules.values import Budget

NOW = datetime(2026, 11, 11, 12, tzinfo=UTC).timestamp()  # a Wednesday
HOUR, DAY = 3600, 86_400
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A ledger of calls that each cost a dollar, unless they say else."""

    def written(*calls: dict[str, object]) -> Path:
        path = tmp_path / "usage.db"
        ledger = Ledger.open(path, writer="w1", clock=lambda: NOW)
        for number, call in enumerate(calls):
            at = NOW - float(call.pop("ago", 60.0))  # type: ignore[arg-type]
            plain = {
                "id": f"call-{number}", "started_at": utc_text(at), "finished_at": utc_text(at + 1),
                "entrance": "intercept", "ip": "192.0.2.1", "method": "POST", "host": "api.openai.com",
                "path": "/v1/chat/completions", "endpoint": "chat", "status": 200, "outcome": "ok",
                "input_tokens": 1, "cost_usd": 1.0,
            }  # fmt: skip
            ledger.record(Record(**{**plain, **call}))  # type: ignore[arg-type]
        assert ledger.close() == 0
        return path

    return written


def limits(tmp_path: Path, *entries: str) -> list[Limit]:
    text = "".join(f"- {{name: l{number}, {entry}}}\n" for number, entry in enumerate(entries))
    return budgets_of(parse(f"version: 1\nlimits:\n{text}", "r.yaml", tmp_path), ())


def seeded(limits: list[Limit], ledger: Path) -> dict[str, int]:
    return {demand.key: micro for demand, micro in spent(limits, [ledger], NOW)}


def test_each_period_has_what_was_spent_in_it(write: Write, tmp_path: Path) -> None:
    """An hour, a day, a week from Monday, a month: of each, the calls that began in it."""
    ledger = write(*({"ago": ago} for ago in (60, 2 * HOUR, DAY, 3 * DAY, 9 * DAY, 20 * DAY)))
    units = ("hour", "day", "week", "month", "year")
    found = seeded(limits(tmp_path, *(f"budget: $9/{unit}" for unit in units)), ledger)
    # Noon itself begins an hour: the call of a minute ago was in the one before.
    assert found == {
        "l1/budget/": 2_000_000, "l2/budget/": 3_000_000, "l3/budget/": 5_000_000, "l4/budget/": 6_000_000,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ("per: client", {"client=ci": 3, "client=-": 1}),
        ("per: [client, model]", {"client=ci,model=gpt-4o": 2, "client=ci,model=gpt-5": 1, "client=-,model=gpt-4o": 1}),
        ("per: ip", {"ip=192.0.2.1": 4}),
        ("match: {client: ci, model: gpt-4o}", {"": 2}),
        ("except: {client: ci}", {"": 1}),
        ("match: {path: '/v1/*', host: api.openai.com, method: POST, endpoint: chat, stream: false}", {"": 4}),
        ("match: {stream: true}", {}),
        ("match: {ip: 10.0.0.0/8}", {}),
        # No record tells of these: they are taken to have held.
        ("match: {has: tools, client: ci}", {"": 3}),
        ("except: {larger_than: 8MiB}", {"": 4}),
        ("trust_headers: true, match: {header: {x-team: a}}", {"": 4}),
        # Nor whom a header named.
        ("trust_headers: true, per: 'header:x-team'", {}),
    ],
)
def test_a_budget_counts_the_calls_that_it_is_of(
    write: Write, tmp_path: Path, entry: str, found: dict[str, int]
) -> None:
    """Conditions and buckets are those of the running limit, as far as a record tells."""
    ledger = write(
        {"client": "ci", "asked_model": "gpt-4o"},
        {"client": "ci", "asked_model": "gpt-4o"},
        {"client": "ci", "asked_model": "gpt-5"},
        {"asked_model": "gpt-4o"},
        {"client": "ci", "asked_model": "gpt-4o", "cost_usd": None},
    )
    expected = {f"l0/budget/{whom}": dollars * 1_000_000 for whom, dollars in found.items()}
    assert seeded(limits(tmp_path, f"budget: $9/day, {entry}"), ledger) == expected


def test_what_an_attempt_has_cost_is_its_providers(write: Write, tmp_path: Path) -> None:
    """A call that failed at one provider and went on at another has cost money at both."""
    attempts = [
        {"provider": "a", "credential": "env:A", "cost_usd": 0.25},
        {"provider": "b", "credential": "env:B", "cost_usd": 0.75},
        {"provider": "c", "credential": None, "cost_usd": None},
    ]
    straight = [{"provider": None, "credential": None, "cost_usd": 1.0}]
    ledger = write({"route": "r", "attempts": json.dumps(attempts)}, {"attempts": json.dumps(straight)})
    found = seeded(limits(tmp_path, "budget: $9/day, per: provider", "budget: $9/day, per: [route, key]"), ledger)
    assert found == {
        "l0/budget/provider=a": 250_000,
        "l0/budget/provider=b": 750_000,
        "l0/budget/provider=api.openai.com": 1_000_000,
        "l1/budget/route=r,key=env:A": 250_000,
        "l1/budget/route=r,key=env:B": 750_000,
        "l1/budget/route=-,key=-": 1_000_000,
    }


def test_the_budgets_of_keys_are_restored_by_their_clients(write: Write) -> None:
    """Whatever period a key's budget has, in the rules or issued, its client's calls are counted in it."""
    ledger = write({"client": "ci"}, {"client": "ci", "ago": 2 * DAY})
    issued = [Budget(Decimal(1), "day"), Budget(Decimal(7), "week"), Budget(Decimal(2), "day")]
    found = [
        (demand.period, demand.key, micro)
        for demand, micro in spent(budgets_of(Rules.default(), issued), [ledger], NOW)
    ]
    assert sorted((period.unit, key, micro) for period, key, micro in found if period is not None) == [
        ("day", "(key)/budget/client=ci", 1_000_000),
        ("week", "(key)/budget/client=ci", 2_000_000),
    ]


def test_no_ledger_is_nothing_spent(tmp_path: Path) -> None:
    """A first start has nothing to restore."""
    assert seeded(limits(tmp_path, "budget: $9/day"), tmp_path / "usage.db") == {}


def test_a_ledger_that_cannot_be_read_costs_the_budgets_and_not_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says which budget begins anew, and why."""
    (tmp_path / "usage.db").write_text("no ledger")
    assert seeded(limits(tmp_path, "budget: $9/day"), tmp_path / "usage.db") == {}
    assert "the budget l0 begins anew" in caplog.text


def test_the_first_ledger_that_can_answer_tells(write: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One that cannot be read is passed over, and that is said."""
    (tmp_path / "first.db").write_text("no ledger")
    ledger = write({"client": "a", "cost_usd": 2.0})
    found = spent(limits(tmp_path, "budget: $9/day, per: client"), [tmp_path / "first.db", ledger], NOW)
    assert [micro for _, micro in found] == [2_000_000]
    assert "budgets are restored from another ledger" in caplog.text
    assert "begins anew" not in caplog.text
