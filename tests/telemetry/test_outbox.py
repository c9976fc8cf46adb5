"""What waits for a collector that is away, slow, or says no: against a real one, by a clock of the test's own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)
from tests.e2e.certificates import Authority
from tests.telemetry.collector import Collector, collecting

from interpose.telemetry import logs, outbox
from interpose.telemetry.outbox import Outbox, Parcel
from interpose.telemetry.post import Post, Undelivered
from interpose.telemetry.settings import Endpoint

RESOURCE = {"service.name": "test", "service.instance.id": "1"}


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def parcel(name: str) -> Parcel:
    return Parcel(logs.request(RESOURCE, "interpose", [logs.log_record(name, 1, 1, {})]), 1)


def box(collector: Collector, timer: Time, **more: bool) -> Outbox:
    return Outbox(Post(Endpoint(f"{collector.url}/v1/logs")), "events", logs.refused, timer=timer, **more)


def arrived(collector: Collector) -> list[str]:
    assert not collector.problems
    return [log.event for log in collector.logs]


def test_what_is_put_arrives_in_order(collector: Collector) -> None:
    """By one connection."""
    sending = box(collector, Time())
    for name in ("a", "b", "c"):
        sending.put(parcel(name))
    sending.deliver()
    assert (arrived(collector), sending.waiting) == (["a", "b", "c"], False)
    sending.close()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_passes_is_tried_again_later(collector: Collector, status: int) -> None:
    """After a pause that grows, or when the collector wants it; in order, each once."""
    timer = Time()
    sending = box(collector, timer)
    collector.answer = lambda _, number: (status, {"retry-after": "7"} if number else {}, b"") if number < 2 else None
    sending.put(parcel("a"))
    sending.put(parcel("b"))
    sending.deliver()
    assert (len(collector.seen), sending.again - timer.now) == (1, outbox.FIRST_BACKOFF)
    timer.now += outbox.FIRST_BACKOFF
    sending.deliver()
    assert (len(collector.seen), sending.again - timer.now) == (2, 7.0)
    timer.now += 7
    sending.deliver()
    assert arrived(collector) == ["a", "b"]
    sending.close()


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500])
def test_what_does_not_pass_is_lost_and_said(
    collector: Collector, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a minute, with the number; what comes after it is sent."""
    timer = Time()
    sending = box(collector, timer)
    collector.answer = lambda _, number: (status, {}, b"") if number < 3 else None
    for name in ("a", "b", "c", "d"):
        sending.put(parcel(name))
    with caplog.at_level(logging.WARNING):
        sending.deliver()
    assert arrived(collector) == ["d"]
    assert [record.levelname for record in caplog.records].count("WARNING") == 2
    assert f"it answers {status}" in caplog.text
    assert "arrive" in caplog.messages[-1]
    sending.close()


def test_a_part_that_is_refused_is_said_and_not_sent_again(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """As the protocol has it for a partial success."""
    said = ExportLogsServiceResponse(
        partial_success=ExportLogsPartialSuccess(rejected_log_records=3, error_message="too old")
    )
    collector.answer = lambda *_: (200, {}, said.SerializeToString())
    sending = box(collector, Time())
    sending.put(parcel("a"))
    sending.deliver()
    assert (len(collector.seen), sending.waiting) == (1, False)
    assert "refuses some: too old" in caplog.text
    assert "3 are lost" in caplog.text
    sending.close()


def test_a_collector_that_is_away_gets_all_when_it_is_back(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has one line of each, whatever is tried meanwhile."""
    timer = Time()
    collector.stop()
    sending = box(collector, timer)
    sending.put(parcel("a"))
    for _ in range(5):
        sending.deliver()
        timer.now += 5
    collector.start()
    sending.put(parcel("b"))
    timer.now += outbox.LONGEST_BACKOFF
    sending.deliver()
    assert arrived(collector) == ["a", "b"]
    assert [message.partition(" at http")[0] for message in caplog.messages] == [
        "telemetry: events do not arrive", "telemetry: events arrive",
    ]  # fmt: skip
    sending.close()


def test_what_waits_is_bounded(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The oldest is lost, and counted; at the end it is said how much there was."""
    timer = Time()
    one = len(parcel("0").body)
    monkeypatch.setattr(outbox, "LARGEST", 3 * one)
    collector.stop()
    sending = box(collector, timer)
    for number in range(8):
        sending.put(parcel(str(number)))
    collector.start()
    sending.deliver()
    assert arrived(collector) == ["5", "6", "7"]
    sending.close()
    assert "5 events have not arrived" in caplog.text


def test_what_replaces_what_was_before_is_sent_alone(collector: Collector) -> None:
    """Sums that only grow: the last ones have it all."""
    sending = box(collector, Time(), only_last=True)
    sending.put(parcel("old"))
    sending.put(parcel("new"))
    sending.deliver()
    assert arrived(collector) == ["new"]
    sending.close()


def test_a_kept_connection_that_was_closed_costs_nothing(collector: Collector) -> None:
    """A collector that was started again is not away."""
    timer = Time()
    sending = box(collector, timer)
    sending.put(parcel("a"))
    sending.deliver()
    sending._post._connection.sock.shutdown(2)  # type: ignore[union-attr]
    sending.put(parcel("b"))
    sending.deliver()
    assert arrived(collector) == ["a", "b"]
    sending.close()


def test_https_is_verified(tmp_path: Path) -> None:
    """By the file that the rules name; without it nothing is sent, and the reason is told."""
    authority = Authority(tmp_path)
    context = authority.server_context(["127.0.0.1"])
    with collecting(tls=context) as collector:
        post = Post(Endpoint(f"{collector.url}/v1/logs", ca=authority.pem, gzip=True))
        post.send(parcel("a").body)
        post.close()
        with pytest.raises(Undelivered, match="certificate is not trusted"):
            Post(Endpoint(f"{collector.url}/v1/logs")).send(parcel("b").body)
        assert arrived(collector) == ["a"]
        assert collector.seen[0].headers["content-encoding"] == "gzip"
