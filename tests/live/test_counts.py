"""What is counted in memory, held against a count by hand of the same records."""

from __future__ import annotations

import json
import random
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from interpose.ledger.record import Record
from interpose.live import Counts, Question, QuestionError
from interpose.live.answer import answer
from interpose.live.counts import MOST_CALLS, MOST_GROUPS, MOST_TIMES, OTHERS

NOON = 1_700_049_600.0  # 2023-11-15, 12:00 UTC
_ids = count()


class Clock:
    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def record(**changed: Any) -> Record:
    """A call that ended well."""
    usual: dict[str, Any] = {
        "id": f"ip_{next(_ids)}",
        "started_at": "",
        "finished_at": "",
        "entrance": "intercept",
        "app": "python3",
        "client": "ci",
        "method": "POST",
        "host": "api.openai.com",
        "path": "/v1/chat/completions",
        "endpoint": "chat",
        "client_format": "openai",
        "asked_model": "gpt-4o",
        "provider": "openai",
        "provider_format": "openai",
        "status": 200,
        "outcome": "ok",
        "input_tokens": 100,
        "cache_read_tokens": 40,
        "output_tokens": 10,
        "usage_source": "provider",
        "cost_usd": 0.25,
        "duration_ms": 500.0,
    }
    return Record(**{**usual, **changed})


def told(counts: Counts, **query: str | list[str]) -> dict[str, Any]:
    """The answer as a client reads it."""
    asked = {name: [value] if isinstance(value, str) else value for name, value in query.items()}
    found: dict[str, Any] = json.loads(json.dumps(answer(counts, Question.parse(asked)), allow_nan=False))
    return found


# --- against brute force ----------------------------------------------------------------------------------------------

SPANS: dict[str, Callable[[float, float], bool]] = {
    "15m": lambda at, now: at // 60 > now // 60 - 15,
    "1h": lambda at, now: at // 60 > now // 60 - 60,
    "3h": lambda at, now: at // 60 > now // 60 - 180,
    "today": lambda at, now: at >= now // 86400 * 86400,
    "run": lambda at, now: True,
}


OF: dict[str, Callable[[Record], str | None]] = {
    "app": lambda each: each.app,
    "model": lambda each: each.sent_model or each.asked_model,
    "client": lambda each: each.client,
}


def by_hand(seen: list[tuple[float, Record]]) -> dict[str, object]:
    """The sums of these calls."""
    records = [each for _, each in seen]
    metered = [each for each in records if each.input_tokens is not None or each.output_tokens is not None]
    return {
        "calls": len(records),
        "failed": sum(each.outcome in ("error", "truncated") for each in records),
        "turned_away": sum(each.outcome in ("refused", "limited") for each in records),
        "aborted": sum(each.outcome == "aborted" for each in records),
        "input_tokens": sum(each.input_tokens or 0 for each in records),
        "cache_read_tokens": sum(each.cache_read_tokens or 0 for each in records),
        "output_tokens": sum(each.output_tokens or 0 for each in records),
        "cost_usd": pytest.approx(sum(each.cost_usd or 0.0 for each in records)),
        "unpriced": sum(each.cost_usd is None for each in metered),
    }


def nearest(durations: list[float | None], percent: int) -> float | None:
    ordered = sorted(each for each in durations if each is not None)
    return ordered[-(-len(ordered) * percent // 100) - 1] if ordered else None


def some_records(rng: random.Random, clock: Clock, counts: Counts) -> Iterator[tuple[float, Record]]:
    for _ in range(1000):
        # Mostly seconds apart, now and then an hour.
        clock.now += rng.choice((0.0, 1.5, 20.0, 20.0, 300.0 * (rng.random() < 0.1), 4000.0 * (rng.random() < 0.02)))
        metered = rng.random() < 0.8
        made = record(
            app=rng.choice(("python3", "node", None)),
            client=rng.choice(("ci", "web", None)),
            asked_model=rng.choice(("gpt-4o", "claude", None)),
            sent_model=rng.choice((None, "small")),
            outcome=rng.choice(("ok", "ok", "ok", "error", "truncated", "refused", "limited", "aborted")),
            input_tokens=rng.randrange(1000) if metered else None,
            cache_read_tokens=rng.choice((None, 0, 50)) if metered else None,
            output_tokens=rng.randrange(1000) if metered else None,
            cost_usd=rng.choice((None, 0.0, 0.001, 1 / 3)) if metered else None,
            stream=rng.random() < 0.5,
            ttft_ms=rng.choice((None, 12.5, rng.random() * 1000)),
            duration_ms=rng.random() * 10_000,
        )
        counts.record(made)
        yield clock.now, made


@pytest.mark.parametrize("seed", range(3))
def test_every_number_is_that_of_a_count_by_hand(seed: int) -> None:
    """Whatever is asked for: any span, any filter, sums, steps of time, lines and percentiles."""
    clock = Clock()
    counts = Counts(now=clock)
    rng = random.Random(seed)
    seen: list[tuple[float, Record]] = []
    for number, each in enumerate(some_records(rng, clock, counts)):
        seen.append(each)
        if number % 250 != 249:
            continue
        for span, within in SPANS.items():
            for query in ({}, {"app": "node"}, {"model": ["small", ""], "client": "ci"}, {"client": ""}):
                found = told(counts, span=span, **query)
                wanted = [(at, each) for at, each in seen if fits(each, query)]
                in_span = [(at, each) for at, each in wanted if within(at, clock.now)]
                assert found["total"] == by_hand(in_span), (span, query)
                assert found["run"] == by_hand(wanted)
                assert found["today"] == by_hand([one for one in wanted if SPANS["today"](one[0], clock.now)])
                assert sum(found["steps"]["calls"]) == len(steps_of(in_span, span, clock.now))
                assert sum(found["steps"]["cost_usd"]) == pytest.approx(
                    sum(each.cost_usd or 0 for each in steps_of(in_span, span, clock.now))
                )
                for name, of in OF.items():
                    by_name = {line.pop("name"): line for line in found["by"][name]["lines"]}
                    keys = {of(each) for _, each in in_span}
                    assert by_name == {key: by_hand([one for one in in_span if of(one[1]) == key]) for key in keys}
                well = [each for _, each in in_span if each.outcome == "ok"]
                assert found["times"]["of"] == len(well)
                durations = [each.duration_ms for each in well]
                firsts = [each.ttft_ms for each in well if each.stream]
                for percent in (50, 95):
                    assert found["times"]["duration_ms"][f"p{percent}"] == nearest(durations, percent)
                    assert found["times"]["ttft_ms"][f"p{percent}"] == nearest(firsts, percent)


def fits(each: Record, query: dict[str, Any]) -> bool:
    chosen = {name: [value] if isinstance(value, str) else value for name, value in query.items()}
    return all((OF[name](each) or "") in some for name, some in chosen.items())


def steps_of(seen: list[tuple[float, Record]], span: str, now: float) -> list[Record]:
    """Those of the whole run reach back 25 hours at most."""
    oldest = 0.0 if span != "run" else (now // 900 - 99) * 900
    return [each for at, each in seen if at >= oldest]


# --- time -------------------------------------------------------------------------------------------------------------


def test_each_minute_has_its_place() -> None:
    """The last step is that of now; what was nothing is zero."""
    clock = Clock()
    counts = Counts(now=clock)
    counts.record(record())
    clock.now += 120
    counts.record(record())
    steps = told(counts, span="15m")["steps"]
    assert (steps["from"], steps["step"]) == (NOON - 12 * 60, 60)
    assert steps["calls"] == [0] * 12 + [1, 0, 1]


@pytest.mark.parametrize(
    ("hours", "step", "steps"), [(0.05, 60, 15), (1.0, 60, 61), (2.9, 60, 175), (5.0, 900, 21), (50.0, 900, 100)]
)
def test_a_run_is_shown_from_its_beginning(hours: float, step: int, steps: int) -> None:
    """By the minute as long as these are known, then by the quarter; of a long one, the last 25 hours."""
    clock = Clock()
    counts = Counts(now=clock)
    counts.record(record())
    clock.now += hours * 3600
    found = told(counts, span="run")["steps"]
    assert (found["step"], len(found["calls"])) == (step, steps)
    assert sum(found["calls"]) == (hours < 25)


def test_what_is_old_is_let_go() -> None:
    """After a long silence nothing is left of it but the sums of the run."""
    clock = Clock()
    counts = Counts(now=clock)
    counts.record(record())
    clock.now += 30 * 3600
    for span in ("15m", "1h", "3h", "today"):
        assert told(counts, span=span)["total"]["calls"] == 0, span
    assert told(counts, span="run")["total"]["calls"] == 1
    counts.record(record())
    assert told(counts, span="today")["total"]["calls"] == 1


@pytest.mark.parametrize("back", [90.0, 5 * 3600.0, 40 * 3600.0])
def test_a_clock_that_is_set_back_breaks_nothing(back: float) -> None:
    """What comes then is counted at its own time, and the sums of the run stay."""
    clock = Clock()
    counts = Counts(now=clock)
    counts.record(record())
    clock.now -= back
    counts.record(record())
    found = told(counts, span="15m")
    assert found["total"]["calls"] == 1
    assert found["run"]["calls"] == 2


def test_today_begins_where_the_reader_is() -> None:
    """At his midnight, whatever his time zone; what makes no sense is UTC's day."""
    clock = Clock(NOON - 11.5 * 3600)  # 00:30 UTC
    counts = Counts(now=clock)
    counts.record(record())
    clock.now = NOON
    counts.record(record())
    midnights = {"kathmandu": NOON - 17.75 * 3600, "honolulu": NOON - 2 * 3600}
    assert told(counts, midnight=str(int(midnights["kathmandu"])))["today"]["calls"] == 2
    assert told(counts, midnight=str(int(midnights["honolulu"])))["today"]["calls"] == 1
    for nonsense in ("0", str(int(NOON) + 1), "999999999999"):
        assert told(counts, midnight=nonsense)["today"]["calls"] == 2


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_whoever_makes_up_models_makes_up_no_more_than_so_many() -> None:
    """10^5 calls of 10^4 models: a bounded number of groups, every call counted, other clients still told apart."""
    clock = Clock()
    counts = Counts(now=clock)
    for number in range(100_000):
        clock.now += 0.05
        counts.record(record(asked_model=f"model-{number % 10_000}"))
    counts.record(record(app="late", client="late", asked_model="sensible"))
    assert len(counts.groups) <= MOST_GROUPS
    assert len(counts.calls) == MOST_CALLS
    assert memory(counts) < 12_000_000
    found = told(counts, span="run", calls="500")
    assert found["total"]["calls"] == 100_001
    assert found["total"]["input_tokens"] == 10_000_100
    assert (len(found["by"]["model"]["lines"]), found["by"]["model"]["lines"][0]["name"]) == (20, OTHERS)
    assert told(counts, span="run", client="late")["by"]["model"]["lines"][0]["name"] == OTHERS
    assert told(counts, span="run", app="late")["total"]["calls"] == 1
    assert len(json.dumps(found)) < 400_000
    # Whose model is not told apart has its name in the list of calls.
    assert found["calls"][0]["model"] == "sensible"


def memory(counts: Counts) -> int:
    """The bytes that are held, as far as they grow with what is recorded."""
    groups = sum(
        sys.getsizeof(each.run) + sys.getsizeof(each.minutes.cells) + sys.getsizeof(each.quarters.cells)
        for each in counts.groups
    )
    times = sum(sys.getsizeof(part) for part in (counts.times.at, counts.times.whose, counts.times.first))
    calls = sum(sum(map(sys.getsizeof, (each.names, *each.names, each.asked))) for each in counts.calls)
    return groups + 2 * times + calls


def test_whoever_makes_up_everything_is_counted_with_the_others() -> None:
    """There is an end of groups, and no call is missing in the sums."""
    counts = Counts(now=Clock())
    for number in range(3 * MOST_GROUPS):
        counts.record(record(app=f"app-{number}", client=f"client-{number}"))
    assert len(counts.groups) == MOST_GROUPS
    assert told(counts)["total"]["calls"] == 3 * MOST_GROUPS
    assert told(counts, app=OTHERS)["total"]["calls"] > MOST_GROUPS


def test_percentiles_are_of_the_latest_calls() -> None:
    """So many of them; the answer says of how many."""
    clock = Clock()
    counts = Counts(now=clock)
    for duration in (9999.0, 1.0):
        for _ in range(MOST_TIMES):
            counts.record(record(duration_ms=duration))
    times = told(counts, span="run")["times"]
    assert (times["of"], times["duration_ms"]["p95"]) == (MOST_TIMES, 1.0)


@pytest.mark.parametrize(
    "odd",
    [
        {"asked_model": "m" * 9_000_000},
        {"asked_model": "half \ud800 a character"},
        {"asked_model": "nul \0 and \x1b[31m"},
        {"app": "</script><script>alert(1)</script>"},
        {"input_tokens": 10**400, "output_tokens": -(10**30)},
        {"cost_usd": float("inf")},
        {"cost_usd": float("nan")},
        {"outcome": "unheard of"},
        {"client": ""},
    ],
)
def test_whatever_a_record_holds_is_counted_and_told(odd: dict[str, Any]) -> None:
    """As JSON, in few letters, and what no sum can hold is left out of it."""
    counts = Counts(now=Clock())
    counts.record(record(**odd))
    found = told(counts)
    assert found["total"]["calls"] == found["run"]["calls"] == 1
    assert len(found["calls"]) == 1
    assert len(json.dumps(found)) < 6000
    json.dumps(found, ensure_ascii=False).encode()


def test_no_secret_is_told() -> None:
    """Whatever a client has put it into, and however long the name is that it is hidden in."""
    counts = Counts(now=Clock(), scrub=lambda text: text.replace("sk-FAKE-secret", "***"))
    counts.record(record(asked_model="my sk-FAKE-secret", app="sk-FAKE-secret"))
    counts.record(record(asked_model="x" * 92 + "sk-FAKE-secret" + "y" * 92, client="sk-FAKE-secret"))
    assert "sk-FAKE" not in json.dumps(told(counts))
    assert told(counts)["calls"][1]["model"] == "my ***"
    assert counts.clean("long " * 100 + "sk-FAKE-secret") == "long " * 100 + "***"


def test_threads_count_together() -> None:
    """The first records come from the thread of the prices, others from the event loop, while somebody asks."""
    counts = Counts(now=Clock())

    def some() -> None:
        for _ in range(2000):
            counts.record(record())

    threads = [threading.Thread(target=some) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        found = told(counts, span="1h")
        assert sum(found["steps"]["calls"]) == found["total"]["calls"]
    for thread in threads:
        thread.join()
    assert told(counts)["total"]["input_tokens"] == 800_000


# --- calls and questions ----------------------------------------------------------------------------------------------


def test_the_last_calls_come_first() -> None:
    """As many as are asked for, of those that are asked for."""
    counts = Counts(now=Clock())
    for number in range(10):
        counts.record(record(id=f"ip_{number}", app="node" if number % 2 else "python3"))
    assert [call["id"] for call in told(counts, calls="3")["calls"]] == ["ip_9", "ip_8", "ip_7"]
    assert [call["id"] for call in told(counts, app="python3", calls="2")["calls"]] == ["ip_8", "ip_6"]
    assert told(counts, calls="0")["calls"] == []


def test_a_call_is_told_as_it_was_asked_and_as_it_was_sent() -> None:
    """With what it took, and whether it was converted."""
    counts = Counts(now=Clock())
    counts.record(
        record(sent_model="claude-x", provider="claude", provider_format="anthropic", route="to-claude", ttft_ms=9.0)
    )
    (call,) = told(counts)["calls"]
    assert (call["asked_model"], call["model"], call["provider"]) == ("gpt-4o", "claude-x", "claude")
    assert (call["route"], call["converted"], call["ttft_ms"], call["duration_ms"]) == ("to-claude", True, None, 500.0)


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"span": ["2h"]}, "span"),
        ({"midnight": ["tomorrow"]}, "midnight"),
        ({"calls": ["-1"]}, "calls"),
        ({"calls": ["1e3"]}, "calls"),
        ({"aap": ["x"]}, "aap"),
    ],
)
def test_a_question_that_makes_no_sense_is_told_why(query: dict[str, list[str]], word: str) -> None:
    """Not answered as if it were another one."""
    with pytest.raises(QuestionError, match=word):
        Question.parse(query)
