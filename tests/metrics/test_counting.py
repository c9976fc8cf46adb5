"""What a record of a call adds to the metrics, and that no word of a client's makes them grow without bounds."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from tests.metrics.scrapes import Scrape, scraped

from interpose.ledger import Record
from interpose.metrics import Metrics
from interpose.metrics.counting import MOST_GROUPS, MOST_MODELS, Counting
from interpose.metrics.families import BUCKETS
from interpose.rules.load import parse


def record(**fields: Any) -> Record:
    usual: dict[str, Any] = {
        "id": "ip_1", "started_at": "", "finished_at": "", "entrance": "gateway", "method": "POST", "host": "h",
        "path": "/v1/chat/completions", "endpoint": "chat", "provider": "openai", "sent_model": "gpt-4o",
        "status": 200, "outcome": "ok", "duration_ms": 900.0,
    }  # fmt: skip
    return Record(**{**usual, **fields})


async def after(*records: Record, rules: str = "") -> Scrape:
    metrics = Metrics()
    if rules:
        metrics.adopt(parse(f"version: 1\n{rules}", "rules.yaml", Path.cwd()))
    for each in records:
        metrics.record(each)
    return await scraped(metrics)


OF_CALL = {"endpoint": "chat", "provider": "openai", "model": "gpt-4o"}


async def test_a_call_is_counted_with_all_that_it_used() -> None:
    """Each kind of token by a name of its own, the cost, and one call by how it ended."""
    used = {
        "input_tokens": 100, "cache_read_tokens": 60, "cache_write_tokens": 30, "output_tokens": 20,
        "reasoning_tokens": 5, "cost_usd": 0.25,
    }  # fmt: skip
    page = await after(record(**used), record(**used), record(status=500, outcome="error"))
    assert page("calls_total", **OF_CALL, outcome="ok", status="200") == 2
    assert page("calls_total", **OF_CALL, outcome="error", status="500") == 1
    assert [page(f"{name}_total", **OF_CALL) for name in used] == [200, 120, 60, 40, 10, 0.5]
    assert page("unpriced_calls_total") == 0


async def test_a_call_without_a_price_is_told_and_not_free() -> None:
    """Nobody knows what it cost: that is no zero in a sum, but a count of such calls."""
    page = await after(record(input_tokens=3, output_tokens=2), record(endpoint="models", sent_model=None))
    assert page("unpriced_calls_total", **OF_CALL) == 1
    assert page("cost_usd_total") == 0


@pytest.mark.parametrize(("ms", "bound"), [(50.0, "0.05"), (50.001, "0.1"), (300_000.0, "300.0"), (300_001.0, "+Inf")])
async def test_a_duration_is_in_the_bucket_that_holds_it(ms: float, bound: str) -> None:
    """A bound belongs to what is below it; what is longer than all is in the last."""
    page = await after(record(duration_ms=ms))
    bounds = [*map(str, BUCKETS), "+Inf"]
    counts = [page("call_duration_seconds_bucket", **OF_CALL, le=each) for each in bounds]
    assert counts == [0.0] * bounds.index(bound) + [1.0] * (len(bounds) - bounds.index(bound))
    assert page("call_duration_seconds_sum", **OF_CALL) == pytest.approx(ms / 1000)


async def test_only_a_stream_has_a_first_token() -> None:
    """The first piece of a whole reply comes with its last: in one histogram they would hide each other."""
    page = await after(record(ttft_ms=800.0), record(ttft_ms=120.0, stream=True))
    assert page("time_to_first_token_seconds_count") == 1
    assert page("time_to_first_token_seconds_sum") == pytest.approx(0.12)


def attempt(provider: str, status: int | None = 200, reason: str | None = None) -> dict[str, Any]:
    return {"provider": provider, "status": status, "reason": reason}


SENDINGS: list[tuple[list[dict[str, Any]], dict[str, float]]] = [
    ([attempt("a")], {}),
    ([attempt("a", 500, "error"), attempt("a")], {"retries_total": 1}),
    ([attempt("a", 500), attempt("a", None, "timeout"), attempt("b")], {"retries_total": 1, "failovers_total": 1}),
    ([attempt("a", None, "hedged: lost"), attempt("b")], {"hedges_total": 1}),
    ([attempt("a"), attempt("b", None, "hedged: lost")], {"hedges_total": 1}),
    ([attempt("a", 500), attempt("b", None, "hedged: lost"), attempt("c")], {"failovers_total": 1, "hedges_total": 1}),
    ([attempt("x", None, "left out: too large"), attempt("y", None, "circuit open"), attempt("a")], {}),
    ([attempt("x", 429, "limit"), attempt("a")], {}),
]


@pytest.mark.parametrize(("attempts", "more"), SENDINGS)
async def test_why_a_call_was_sent_again(attempts: list[dict[str, Any]], more: dict[str, float]) -> None:
    """To the same provider, to another, or beside one that was silent; what was not sent is no sending."""
    page = await after(record(attempts=json.dumps(attempts)))
    again = ("retries_total", "failovers_total", "hedges_total")
    assert {name: value for name in again if (value := page(name))} == more
    assert page("attempts_total") == 1 + sum(more.values())


async def test_a_failover_says_from_where_and_to_where() -> None:
    """Which provider had failed is half of the news."""
    page = await after(record(attempts=json.dumps([attempt("a", 503), attempt("b")])))
    assert page("failovers_total", provider="a", to="b") == 1
    assert page("attempts_total", provider="a", status="503") == page("attempts_total", provider="b") == 1


async def test_a_model_that_nobody_knows_has_no_series_of_its_own() -> None:
    """What clients ask for is theirs to choose, thousands of names if they like: all are one."""
    invented = [
        record(sent_model=f"made-up-{number}", status=404, outcome="error") for number in range(5 * MOST_MODELS)
    ]
    page = await after(*invented)
    assert page.models == {"other"}
    assert page("calls_total") == len(invented)


async def test_a_model_that_was_never_sent_is_no_label() -> None:
    """A call that was refused has asked for it, and that is all."""
    page = await after(record(provider=None, sent_model=None, asked_model="x", status=404, outcome="refused"))
    assert page("calls_total", provider="none", model="none", outcome="refused") == 1


async def test_a_name_with_half_a_character_is_no_label() -> None:
    """JSON can say one, and no text of ours can hold it; the call counts all the same."""
    attempts = json.dumps([{"provider": "openai", "model": "gpt-\udfff", "status": 200, "reason": None}])
    page = await after(record(sent_model="gpt-\udfff", attempts=attempts))
    assert page("calls_total", **{**OF_CALL, "model": "other"}, outcome="ok", status="200") == 1


async def test_a_model_is_known_once_its_provider_has_answered_to_it() -> None:
    """From then on its failures are its own, too; a name that no label can show stays nameless."""
    fails = {"status": 500, "outcome": "error"}
    page = await after(
        record(**fails), record(), record(**fails), record(sent_model="x\n"), record(sent_model="y" * 101)
    )
    assert page.models == {"other", "gpt-4o"}
    assert page("calls_total", model="gpt-4o") == 2


async def test_a_model_of_the_rules_is_known_from_the_start() -> None:
    """By a route's target or an alias, even if it has only failed so far."""
    rules = (
        "providers: {p: {format: openai, base_url: 'https://p.test/v1'}}\n"
        "routes: [{name: r, to: {provider: p, model: routed}}]\n"
        "models: [{id: alias, provider: p, model: listed}]\n"
    )
    fails = [record(sent_model=name, status=500, outcome="error") for name in ("routed", "listed", "alias")]
    assert (await after(*fails, rules=rules)).models == {"routed", "listed", "other"}


async def test_who_takes_anothers_place_learns_no_more_names_than_that_one_might_have(tmp_path: Path) -> None:
    """However often workers are replaced, and whatever clients ask each of them for, the page has its bounds."""
    for turn in range(3):
        metrics = Metrics(tmp_path)
        for number in range(MOST_MODELS + 1):
            metrics.record(record(sent_model=f"m{turn}-{number}"))
        page = await scraped(metrics)
        metrics.close()
    assert page.models == {*(f"m0-{number}" for number in range(MOST_MODELS)), "other"}
    assert page("calls_total") == 3 * (MOST_MODELS + 1)


async def test_even_a_provider_that_answers_to_every_name_fills_nothing() -> None:
    """So many names are learnt, and no more; of statuses, those that HTTP has."""
    many = [record(sent_model=f"m{number}", endpoint=f"e{number % 7}") for number in range(3 * MOST_MODELS)]
    page = await after(*many, *(record(status=status) for status in (7, 1000, 10**30)))
    assert len(page.models) == MOST_MODELS + 1
    assert page("calls_total") == len(many) + 3
    assert page("calls_total", status="other") == 3


async def test_combinations_are_bounded_as_well() -> None:
    """Models by endpoints by providers: beyond so many, a model is one of the others."""
    counting = Counting()
    named = frozenset(map(str, range(50)))
    counting.name(named)
    seen = {
        counting.amounts(record(endpoint=str(endpoint), sent_model=model))[0][0]
        for endpoint in range(20)
        for model in named
    }
    assert len(seen) <= MOST_GROUPS + 20


async def test_a_record_that_cannot_be_counted_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The call goes on, and the log says once that the figures are not whole."""
    metrics = Metrics()
    with caplog.at_level(logging.ERROR):
        metrics.record(record(attempts="no json"))
        metrics.record(record(attempts="no json"))
        metrics.record(record())
    assert len(caplog.records) == 1
    assert (await scraped(metrics))("calls_total") == 1
