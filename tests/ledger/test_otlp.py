"""A ledger at an OpenTelemetry collector: a log record for each record, acknowledged once the collector has it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from tests.ledger.conftest import START, invented
from tests.telemetry.collector import Collector as Receiver
from tests.telemetry.collector import Log, collecting

from interpose.ledger import Connection, Ledger, LedgerError
from interpose.ledger.address import Collector
from interpose.ledger.lane import Pace
from interpose.ledger.otlp import OtlpSink
from interpose.ledger.record import CALLS, CAPTURES, CONNECTIONS, Capture, Table, genesis
from interpose.ledger.spool import Spool
from interpose.ledger.sqlite import SqliteSink
from interpose.ledger.writer import Way
from interpose.rules.sinks import CollectorUrl

TOKEN = "sk-FAKE-otlp-sink-0000000000"
Open = Callable[..., Ledger]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with collecting() as receiver:
        yield receiver


@pytest.fixture
def opened(receiver: Receiver, tmp_path: Path) -> Iterator[Open]:
    """Opens ledgers on it, as writers w1, w2 …, which share a spool."""
    ledgers: list[Ledger] = []

    def open_ledger(*others: Way, **pace: Any) -> Ledger:
        place = Collector(CollectorUrl(receiver.url), {"x-token": TOKEN})
        way = Way(OtlpSink(place), lambda: Spool(tmp_path / "spool", limit=1 << 30, whose="the collector"))
        number = len(ledgers) + 1
        ledgers.append(
            Ledger.start([way, *others], writer=f"w{number}", pace=Pace(clock=lambda: START + number, **pace))
        )
        return ledgers[-1]

    yield open_ledger
    for ledger in ledgers:
        ledger.close(timeout=1)


def got(receiver: Receiver, table: str = "calls") -> list[dict[str, Any]]:
    """The records that have come, by their columns."""
    assert not receiver.problems
    logs: list[Log] = [log for log in list(receiver.logs) if log.event == f"interpose.ledger.{table}"]
    return [{name.removeprefix("interpose."): value for name, value in log.attributes.items()} for log in logs]


def ids(receiver: Receiver) -> list[str]:
    return [told["id"] for told in got(receiver)]


def row(told: dict[str, Any], table: Table) -> tuple[Any, ...]:
    """What is null does not travel."""
    return tuple(told.get(name) for name in table.columns)


def busy(ledger: Ledger, *numbers: int) -> None:
    for number in numbers:
        ledger.record(invented(number))


def test_a_record_has_all_its_columns_and_its_place_in_the_chain(opened: Open, receiver: Receiver) -> None:
    """The chain can be checked from what the collector has, connections' as well; the writer is told first."""
    ledger = opened()
    ledger.record(invented(1, asked_model="gpt-4o", cost_usd=5.0, input_tokens=7, stream=True, attempts='[{"a": 1}]'))
    ledger.record(invented(2, outcome="error", status=None))
    ledger.connection(
        Connection(id="c", opened_at="2026-11-01T00:00:00.000000Z", closed_at="", kind="tunnel", host="h", port=443)
    )
    assert ledger.close() == 0
    (writer,) = got(receiver, "writers")
    assert (writer["writer"], receiver.logs[0].event) == ("w1", "interpose.ledger.writers")
    for table in (CALLS, CONNECTIONS):
        before = genesis(writer["heads"].encode())
        for number, told in enumerate(got(receiver, table.name), 1):
            sealed = row(told, table)
            assert (told["seq"], told["prev_hash"], told["hash"]) == (number, before, table.digest(sealed))
            before = told["hash"]
    first, second = got(receiver)
    assert (first["cost_usd"], first["input_tokens"], first["stream"], first["attempts"]) == (5.0, 7, 1, '[{"a": 1}]')
    assert "status" not in second
    assert {log.scope for log in receiver.logs} == {"interpose.ledger"}
    assert [log.severity for log in receiver.logs if log.event == "interpose.ledger.calls"] == ["INFO", "WARN"]
    assert receiver.logs[1].at == int((START + 1) * 1e9)
    assert {seen.headers["x-token"] for seen in receiver.seen} == {TOKEN}


def test_the_body_of_a_capture_stays_here(opened: Open, receiver: Receiver) -> None:
    """No chain holds it, so that the chain is as sound without."""
    ledger = opened()
    ledger.capture(
        Capture(id="c", at="2026-11-01T00:00:00.000000Z", part="asked", digest="d" * 64, kept=6, body=b"secret words")
    )
    assert ledger.close() == 0
    (told,) = got(receiver, "captures")
    assert (told["digest"], told["hash"]) == ("d" * 64, CAPTURES.digest(row(told, CAPTURES)))
    assert b"secret words" not in b"".join(seen.body for seen in receiver.seen)


def test_what_the_collector_has_not_answered_waits_in_the_spool(
    opened: Open, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Down: nothing is acknowledged. Back: in order, each once, and the log says both once."""
    ledger = opened()
    busy(ledger, 1)
    assert ledger.wait(30)
    receiver.stop()
    busy(ledger, 2, 3)
    assert not ledger.wait(0.5)
    assert (ledger.acknowledged, ledger.pending) == (1, 2)
    receiver.start()
    assert ledger.wait(30)
    busy(ledger, 4)
    assert ledger.close() == 0
    assert ids(receiver) == [f"call-{number}" for number in (1, 2, 3, 4)]
    assert sum("cannot be written" in message for message in caplog.messages) == 1
    assert sum("written again" in message for message in caplog.messages) == 1
    assert TOKEN not in caplog.text


def test_a_collector_that_is_away_at_the_start_gets_the_writer_later(opened: Open, receiver: Receiver) -> None:
    """What an end finds in the spool is for the next start."""
    receiver.stop()
    ledger = opened()
    busy(ledger, 1, 2)
    ledger.close(timeout=1)
    receiver.start()
    again = opened()
    assert again.caught_up(30)
    busy(again, 3)
    assert again.close() == 0
    assert [told["writer"] for told in got(receiver)] == ["w1", "w1", "w2"]
    assert {told["writer"] for told in got(receiver, "writers")} == {"w1", "w2"}


def test_a_slow_collector_gets_nothing_twice(opened: Open, receiver: Receiver) -> None:
    """Slower than a lane waits: the batch is kept, and what comes of it is the answer to that same post."""
    go = threading.Event()
    ledger = opened()
    receiver.answer = lambda *_: None if go.wait(30) else (500, {}, b"")
    busy(ledger, 1, 2)
    assert not ledger.wait(0.5)
    busy(ledger, 3)
    go.set()
    assert ledger.wait(30)
    assert ledger.close() == 0
    assert sorted(ids(receiver)) == ["call-1", "call-2", "call-3"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_collector_is_left_alone_as_long_as_it_wants(opened: Open, receiver: Receiver, status: int) -> None:
    """Retry-After."""
    ledger = opened()
    receiver.answer = lambda _, number: (status, {"retry-after": "1"}, b"") if number == 1 else None
    busy(ledger, 1)
    assert ledger.wait(30)
    assert [seen.status for seen in receiver.seen] == [200, status, 200]
    assert ids(receiver) == ["call-1"]


def test_what_is_refused_in_part_is_a_gap(opened: Open, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """Not sent again, as the protocol has it: counted, and the number stands in the chain as a record of its own."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
        ExportLogsPartialSuccess,
        ExportLogsServiceResponse,
    )

    said = ExportLogsServiceResponse(
        partial_success=ExportLogsPartialSuccess(rejected_log_records=2, error_message="too old")
    )
    ledger = opened()
    receiver.answer = lambda _, number: (200, {}, said.SerializeToString()) if number == 1 else None
    busy(ledger, 1, 2, 3)
    assert ledger.wait(30)
    assert ledger.close() == 0
    gap = got(receiver)[-1]
    assert (gap["entrance"], gap["seq"], ledger.lost) == ("ledger", 4, 2)
    assert '"count":2' in gap["losses"]
    assert "has refused 2 of 3 records: too old" in caplog.text


@pytest.mark.parametrize("status", [400, 413])
def test_one_record_that_is_refused_holds_up_no_other(opened: Open, receiver: Receiver, status: int) -> None:
    """What a collector cannot take as a whole is sent in halves, down to the one that it does not want."""

    def answer(_: str, number: int) -> tuple[int, dict[str, str], bytes] | None:
        body = pending[-1]
        request = ExportLogsServiceRequest.FromString(body)
        told = {
            pair.value.string_value
            for record in request.resource_logs[0].scope_logs[0].log_records
            for pair in record.attributes
            if pair.key == "interpose.id"
        }
        return (status, {}, b"") if "call-5" in told else None

    pending: list[bytes] = []
    take = receiver.take

    def remembered(path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        pending.append(body)
        return take(path, headers, body)

    receiver.take = remembered  # type: ignore[method-assign]
    ledger = opened(batch=10)
    receiver.answer = answer
    busy(ledger, *range(10))
    assert ledger.wait(30)
    assert ledger.close() == 0
    gap = got(receiver)[-1]
    assert [name for name in ids(receiver) if name.startswith("call-")] == [
        f"call-{number}" for number in range(10) if number != 5
    ]
    assert (gap["entrance"], ledger.lost) == ("ledger", 1)


def test_a_gap_that_is_refused_makes_no_other(opened: Open, receiver: Receiver) -> None:
    """A collector that refuses everything does not keep a ledger busy for ever."""
    ledger = opened()
    receiver.answer = lambda *_: (400, {}, b"")
    busy(ledger, 1)
    assert ledger.wait(30)
    assert ledger.close() == 0
    # The record, the gap that stands for it, and nothing more.
    assert [seen.status for seen in receiver.seen] == [200, 400, 400]
    assert ledger.lost == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_waiting_does_not_repair_is_said_at_the_start(opened: Open, receiver: Receiver, status: int) -> None:
    """A wrong token, a wrong path; without the token itself."""
    receiver.answer = lambda *_: (status, {}, b"")
    with pytest.raises(LedgerError, match=f"otlp:{receiver.url} cannot be opened: it answers {status}"):
        opened()


def test_a_token_that_is_wrong_for_a_while_loses_nothing(opened: Open, receiver: Receiver) -> None:
    """Whoever mends it finds everything there."""
    ledger = opened()
    wrong = threading.Event()
    receiver.answer = lambda *_: None if wrong.is_set() else (401, {}, b"")
    busy(ledger, 1)
    assert not ledger.wait(0.5)
    wrong.set()
    assert ledger.wait(30)
    assert (ids(receiver), ledger.lost) == (["call-1"], 0)


def test_other_sinks_do_not_wait_for_it(opened: Open, receiver: Receiver, tmp_path: Path) -> None:
    """A file beside it has everything meanwhile."""
    receiver.stop()
    ledger = opened(Way(SqliteSink(tmp_path / "usage.db")))
    busy(ledger, 1)
    assert not ledger.wait(0.5)
    states = {state.name: state for state in ledger.sinks()}
    assert states[str(tmp_path / "usage.db")].pending == 0
    assert states[f"otlp:{receiver.url}"].spooled
    assert asdict(states[f"otlp:{receiver.url}"])["away"]
