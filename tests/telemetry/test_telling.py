"""Telemetry in a thread of its own: it holds up nobody, whatever a collector does, and what it loses it counts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ledger.conftest import invented
from tests.telemetry.collector import Collector, collecting

from interpose.call import Call, Headers, Origin, Peer, Url
from interpose.engine.tracing import Tried
from interpose.rules.load import parse
from interpose.secret import Scrubber, Secret
from interpose.telemetry import telling
from interpose.telemetry.settings import Endpoint, Settings
from interpose.telemetry.telling import Telling

RULES = parse(
    "version: 1\nproviders: {house: {format: openai, base_url: 'https://house.test/v1', credential: {env: K}}}\n"
    "routes: [{name: r, to: {provider: house, model: named-in-rules}}]\n",
    "r.yaml",
    Path(),
)
SECRET = Secret("sk-FAKE-echoed-0000000000", "env:K")
PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
Open = Callable[..., Telling]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def opened(collector: Collector) -> Iterator[Open]:
    """Opens what tells that collector."""
    known: list[Telling] = []
    scrubber = Scrubber()
    scrubber.learn(SECRET)

    def open_telling(**more: Any) -> Telling:
        endpoints = (Endpoint(f"{collector.url}/v1/{kind}", timeout=5) for kind in ("traces", "metrics", "logs"))
        settings = Settings(*endpoints, **more)
        known.append(
            Telling(settings, RULES, writer="w1", scrub=scrubber.scrub, credentials=lambda: scrubber.values, every=0.01)
        )
        return known[-1]

    yield open_telling
    for each in known:
        each.close(0.1)


def call(*headers: tuple[bytes, bytes]) -> Call:
    url = Url(Origin("https", "api.openai.com", 443), "/v1/chat/completions")
    return Call("POST", url, headers, b"{}", Peer("192.0.2.1"))


def attempt(**more: Any) -> dict[str, Any]:
    return {
        "provider": "house", "origin": "https://house.test", "model": "m", "credential": "env:K", "status": 200,
        "reason": None, "at_ms": 1.0, "took_ms": 5.0, "usage": {"input_tokens": 3, "output_tokens": 2},
        "cost_usd": None, **more,
    }  # fmt: skip


def ended(by: Telling, number: int = 0, headers: Headers = (), **fields: Any) -> None:
    """One call, from its beginning to its end."""
    trace = by.begin(call(*headers), alters=True)
    assert trace is not None
    attempts = fields.pop("attempts", [attempt()])
    known = {
        "client_format": "openai", "provider": "house", "provider_format": "openai", "asked_model": "m",
        "sent_model": "m", "input_tokens": 3, "output_tokens": 2, "usage_source": "provider", "duration_ms": 10.0,
        "attempts": json.dumps(attempts), **fields,
    }  # fmt: skip
    trace.settled(invented(number, **known), [Tried(sent=True, model="m-1") for _ in attempts], None)


def test_what_has_ended_is_told(opened: Open, collector: Collector) -> None:
    """At the latest when it is closed: spans, events, and metrics with the last of it."""
    by = opened(service_name="mine", resource={"team": "a"})
    for number in range(3):
        ended(by, number)
    by.close()
    assert not collector.problems
    assert len(collector.calls()) == 3
    assert len(collector.spans) == 6
    assert collector.value("gen_ai.client.token.usage") == 15
    resource = collector.spans[0].resource
    assert (resource["service.name"], resource["team"], resource["service.instance.id"]) == ("mine", "a", "w1")


def test_a_collector_that_hangs_holds_up_nobody(opened: Open, collector: Collector) -> None:
    """Neither a call nor the end, which waits as long as it says and no longer."""
    go = threading.Event()
    collector.answer = lambda *_: None if go.wait(30) else (500, {}, b"")
    by = opened()
    try:
        ended(by)
        collector_busy = time.monotonic()
        while not by._thread.is_alive() or by._queue:
            assert time.monotonic() - collector_busy < 30
        began = time.monotonic()
        for number in range(100):
            ended(by, number)
        by.close(0.2)
        assert time.monotonic() - began < 5
    finally:
        go.set()


def test_what_finds_no_room_is_counted(
    opened: Open, collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A queue has an end; the log says how many calls are missing."""
    monkeypatch.setattr(telling, "MOST_CALLS", 10)
    monkeypatch.setattr(telling, "BATCH", 1000)
    by = opened()
    by._every = 3600.0
    for number in range(25):
        ended(by, number)
    by.close()
    assert len(collector.calls()) == 10
    assert "15 spans have not arrived" in caplog.text
    assert "there were too many at once" in caplog.text


def test_a_call_that_cannot_be_told_costs_no_other(
    opened: Open, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of ours is said once."""
    by = opened()
    ended(by, 1, started_at="no time at all")
    ended(by, 2, started_at="no time at all")
    ended(by, 3)
    by.close()
    assert [span.attributes["interpose.id"] for span in collector.calls()] == ["call-3"]
    assert caplog.text.count("a call is missing in the telemetry") == 1


def test_a_secret_that_was_echoed_is_masked(opened: Open, collector: Collector) -> None:
    """In a model's name, in a reason: wherever a provider may put it."""
    by = opened()
    ended(
        by,
        asked_model=f"m {SECRET.reveal()}",
        outcome="error",
        attempts=[attempt(status=None, reason=f"it said {SECRET.reveal()}", model=SECRET.reveal())],
    )
    by.close()
    assert collector.calls()
    assert SECRET.reveal().encode() not in b"".join(seen.body for seen in collector.seen)


def test_models_that_clients_make_up_are_no_series(opened: Open, collector: Collector) -> None:
    """Neither those that nobody has answered to, nor more than so many of those that somebody has."""
    by = opened()
    for number in range(300):
        ended(
            by, number, sent_model=f"made-up-{number}", status=404, attempts=[attempt(status=404, model=f"x{number}")]
        )
        ended(by, number, sent_model=f"real-{number}", attempts=[attempt(model=f"real-{number}")])
    ended(by, sent_model="named-in-rules", attempts=[attempt(model="named-in-rules")])
    by.close(20)
    for metric, name in (
        ("interpose.calls", "interpose.model"),
        ("gen_ai.client.operation.duration", "gen_ai.request.model"),
    ):
        models = {point.attributes[name] for point in collector.points if point.metric == metric}
        assert "other" in models
        assert "named-in-rules" in models
        assert not any(model.startswith(("made-up", "x")) for model in models)
        assert len(models) <= 210
    assert collector.value("interpose.calls") == 601


def test_estimates_are_no_usage(opened: Open, collector: Collector) -> None:
    """The conventions count what a provider has reported; the call itself says what was estimated."""
    by = opened()
    ended(by, usage_source="estimated")
    by.close()
    (span,) = collector.calls()
    (sent,) = collector.attempts(span)
    assert (span.attributes["interpose.input_tokens"], span.attributes["interpose.usage_source"]) == (3, "estimated")
    assert "gen_ai.usage.input_tokens" not in sent.attributes
    assert collector.value("gen_ai.client.token.usage") == 0


def test_what_was_not_sent_is_an_event_of_the_call(opened: Open, collector: Collector) -> None:
    """A target that was left out, or whose limit was full, has no span of its own."""
    by = opened()
    trace = by.begin(call(), alters=True)
    assert trace is not None
    left_out = {"provider": "other", "model": "o", "status": None, "reason": "left out: impossible"}
    attempts = [left_out, attempt(status=None, reason="limit"), attempt()]
    record = invented(1, attempts=json.dumps(attempts), duration_ms=10.0)
    trace.settled(record, [Tried(sent=False), Tried(sent=True)], None)
    by.close()
    (span,) = collector.calls()
    assert [name for name, _ in span.events] == ["interpose.attempt.unsent"] * 2
    assert [told["interpose.reason"] for _, told in span.events] == ["left out: impossible", "limit"]
    assert [sent.attributes["interpose.attempt"] for sent in collector.attempts(span)] == [1]


@pytest.mark.parametrize(
    ("sampler", "parent", "told"),
    [
        (None, None, True),
        (None, PARENT, True),
        (None, PARENT[:-1] + b"0", False),
        ("always_off", PARENT, False),
        ("always_on", PARENT[:-1] + b"0", True),
        ("parentbased_always_off", None, False),
        ("parentbased_always_off", PARENT, True),
    ],
)
def test_the_sampler_of_the_environment_holds(
    opened: Open,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    sampler: str | None,
    parent: bytes | None,
    told: bool,
) -> None:
    """By default as the client has it, and everything of those that say nothing. All are counted."""
    if sampler is not None:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    by = opened()
    headers = ((b"traceparent", parent),) if parent is not None else ()
    trace = by.begin(call(*headers), alters=True)
    assert trace is not None
    ((_, sent),) = trace.onward(headers, 0) or ((b"", b""),)
    ended(by, headers=headers)
    by.close()
    assert bool(collector.calls()) is told
    assert (sent != (parent or b"")) is (told and parent is not None)
    assert collector.value("interpose.calls") == 1


def test_the_temporality_is_the_one_that_is_wanted(opened: Open, collector: Collector) -> None:
    """Sums from the start, or from sending to sending."""
    by = opened(temporality="delta", interval=0.05)
    ended(by, 1)
    collector.until(lambda here: here.value("interpose.calls") == 1)
    assert {point.temporality for point in collector.points} == {1}
    ended(by, 2)
    collector.until(lambda here: sum(seen.path == "/v1/metrics" for seen in here.seen) > 1)
    assert collector.value("interpose.calls") == 1


def test_without_traces_no_header_is_touched(opened: Open, collector: Collector) -> None:
    """There is no span that it could name."""
    endpoint = Endpoint(f"{collector.url}/v1/logs")
    by = Telling(Settings(None, None, endpoint), RULES, writer="w", scrub=str, credentials=tuple)
    headers = ((b"traceparent", PARENT),)
    trace = by.begin(call(*headers), alters=True)
    assert trace is not None
    assert trace.onward(headers, 0) is headers
    ended(by, headers=headers)
    by.close()
    assert not collector.spans
    (event,) = collector.logs
    # The client's trace is known all the same.
    assert event.event == "gen_ai.client.inference.operation.details"
