"""The desk: each call's bodies before its record, bounded, and whatever does not fit is said."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from interpose.call import Call, Origin, Peer, Url
from interpose.capturing import desk as desk_module
from interpose.capturing.desk import Desk
from interpose.capturing.onlooker import Onlooker
from interpose.capturing.pieces import PORTION
from interpose.ledger.record import Capture, Record
from interpose.masking.whole import Known
from interpose.rules.compiled import LedgerRules

RULES = LedgerRules(bodies=True)
SECRET = "sk-FAKE-of-the-provider"


class Book:
    """What has come into the ledger, in order; it waits while `held`."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.rows: list[Capture] = []
        self.records: list[Record] = []
        self.came = threading.Condition()

    def _add(self, entry: str) -> None:
        with self.came:
            self.entries.append(entry)
            self.came.notify_all()

    def record(self, record: Record) -> None:
        self.records.append(record)
        self._add(f"record {record.id}")

    def capture(self, part: Capture) -> None:
        self.rows.append(part)
        self._add(f"{part.part} {part.id}")

    def gap(self) -> None:
        self._add("gap")

    def wait_for(self, entry: str) -> None:
        with self.came:
            assert self.came.wait_for(lambda: entry in self.entries, 30)


def call(body: bytes = b'{"model": "m"}') -> Call:
    return Call("POST", Url(Origin("https", "a.test", 443), "/v1/x"), (), body, Peer("127.0.0.1"))


def record(number: str) -> Record:
    moment = "2026-11-01T00:00:00.000000Z"
    return Record(
        id=number, started_at=moment, finished_at=moment, entrance="intercept", method="POST", host="a.test",
        path="/v1/x", endpoint="chat", outcome="ok", attempts='[{"provider":"p","status":200}]',
    )  # fmt: skip


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def opened(book: Book) -> Iterator[Callable[..., Desk]]:
    """Opens desks that are closed at the end."""
    desks: list[Desk] = []

    def open_desk(**options: object) -> Desk:
        settings = {"credentials": lambda: (SECRET,), "now": lambda: 0.0, **options}
        desks.append(Desk(book, **settings))  # type: ignore[arg-type]
        return desks[-1]

    yield open_desk
    for desk in desks:
        desk.close(1)


def looked_at(desk: Desk, number: str, body: bytes = b'{"model": "m"}') -> Onlooker:
    onlooker = desk.look_at(number, call(body), RULES, 0.0)
    onlooker.begun(Known(call(body)))
    return onlooker


def run(desk: Desk, number: str, answer: bytes = b"{}") -> None:
    """A call from its beginning to its record, as an exchange tells it."""
    onlooker = looked_at(desk, number)
    onlooker.sent(1, "POST", "https://a.test/v1/x", (), b'{"model": "m"}')
    onlooker.received(1, 200, ())
    onlooker.arrived(1, answer)
    onlooker.answered(200, ())
    onlooker.told(answer)
    onlooker.settled(record(number), ())
    desk.record(record(number))


def test_a_calls_rows_come_before_its_record(opened: Callable[..., Desk], book: Book) -> None:
    """Part after part, then the record; equal bodies once."""
    desk = opened()
    run(desk, "one")
    assert desk.flush(30)
    assert book.entries == ["asked one", "sent one", "received one", "answered one", "record one"]
    assert [row.body for row in book.rows] == [b'{"model": "m"}', None, b"{}", None]
    assert book.rows[0].digest == book.rows[1].digest


def test_a_record_of_a_call_that_is_not_kept_goes_straight_on(opened: Callable[..., Desk], book: Book) -> None:
    """In the same moment, in the caller's thread; there is no thread for nothing."""
    before = threading.active_count()
    desk = opened()
    desk.record(record("plain"))
    assert book.entries == ["record plain"]
    assert threading.active_count() == before


def test_an_echo_is_told_by_the_record(opened: Callable[..., Desk], book: Book) -> None:
    """In the entry of its attempt, and by the notes of the part; the stored copies are without it."""
    desk = opened()
    run(desk, "echo", f'{{"you sent": "{SECRET}"}}'.encode())
    run(desk, "clean")
    assert desk.flush(30)
    assert [json.loads(each.attempts)[0].get("echoed_credential") for each in book.records] == [True, None]
    received = next(row for row in book.rows if row.part == "received")
    assert received.body == b'{"you sent": "***"}'
    assert json.loads(received.notes) == ["credential"]


def test_a_record_waits_for_its_bodies_no_longer_than_a_moment(opened: Callable[..., Desk], book: Book) -> None:
    """Of a call whose client takes its time with the last of the answer the record comes first, and once."""
    desk = opened()
    onlooker = looked_at(desk, "slow")
    desk.record(record("slow"))
    book.wait_for("record slow")
    assert book.entries == ["record slow"]
    onlooker.settled(record("slow"), ())
    book.wait_for("asked slow")
    assert desk.flush(30)
    assert book.entries == ["record slow", "asked slow"]


def test_a_record_may_come_after_its_rows(opened: Callable[..., Desk], book: Book) -> None:
    """The thread may be faster than whoever tells."""
    desk = opened()
    looked_at(desk, "fast").settled(record("fast"), ())
    book.wait_for("asked fast")
    assert desk.flush(30)
    desk.record(record("fast"))
    assert book.entries == ["asked fast", "record fast"]


def test_what_has_no_room_is_cut_and_said(
    opened: Callable[..., Desk], book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    """By the notes of the part, by the record, in the log, and in what alerts are told."""
    desk = opened(room=4 * PORTION)
    with caplog.at_level(logging.ERROR):
        run(desk, "large", b"x" * 20_000)
        assert desk.flush(30)
    notes = {row.part: json.loads(row.notes) for row in book.rows}
    assert notes == {"asked": [], "sent": [], "received": ["gap"], "answered": ["gap"]}
    assert [row.size for row in book.rows] == [14, 14, 20_000, 20_000]
    (told,) = book.records
    assert json.loads(told.losses) == [
        {"class": "dropped", "path": "ledger.captures", "reason": "gap: there was no room for its bodies"}
    ]
    assert desk.crowded == 1
    assert "faster than they can be kept" in caplog.text
    run(desk, "small")
    assert desk.flush(30)
    assert json.loads(book.records[-1].losses) == []


def test_more_calls_than_may_wait_are_gaps(
    opened: Callable[..., Desk], book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their records are there all the same, and say so; the ledger has a gap for each."""
    goes_on = threading.Event()
    really = desk_module.written

    def slowly(*arguments: object) -> object:
        goes_on.wait(30)
        return really(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(desk_module, "written", slowly)
    desk = opened(waiting=2)
    for number in range(10):
        run(desk, str(number))
    lost = book.entries.count("gap")
    assert 7 <= lost <= 8
    goes_on.set()
    assert desk.flush(30)
    for number in range(10):
        book.wait_for(f"record {number}")
    assert sum("gap" in each.losses for each in book.records) == lost
    assert sum(entry.startswith("asked") for entry in book.entries) == 10 - lost
    assert len(book.records) == 10


def test_a_fault_of_ours_costs_the_bodies_and_not_the_record(
    opened: Callable[..., Desk], book: Book, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A gap stands in their place, and the next call is kept again."""
    really = desk_module.written
    faults = iter([RuntimeError("a fault")])

    def faulty(*arguments: object) -> object:
        if (fault := next(faults, None)) is not None:
            raise fault
        return really(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(desk_module, "written", faulty)
    desk = opened()
    run(desk, "bad")
    assert desk.flush(30)
    assert book.entries == ["gap", "record bad"]
    assert "could not be kept" in caplog.text
    run(desk, "good")
    assert desk.flush(30)
    assert book.entries[2:] == ["asked good", "sent good", "received good", "answered good", "record good"]


def test_all_is_written_before_the_end(opened: Callable[..., Desk], book: Book) -> None:
    """Closing waits for what waits; what comes later goes on without bodies."""
    desk = opened()
    for number in range(20):
        run(desk, str(number))
    desk.close()
    assert sum(entry.startswith("record") for entry in book.entries) == 20
    assert sum(entry.startswith("asked") for entry in book.entries) == 20
    run(desk, "late")
    assert book.entries[-1] == "record late"


def test_an_end_waits_for_the_last_that_a_client_is_told(opened: Callable[..., Desk], book: Book) -> None:
    """A record that has come says that the rest is about to."""
    desk = opened()
    onlooker = looked_at(desk, "ending")
    desk.record(record("ending"))
    assert not desk.flush(0.01)
    book.wait_for("record ending")
    onlooker.settled(record("ending"), ())
    assert desk.flush(30)
    assert book.entries == ["record ending", "asked ending"]


def test_what_was_held_is_let_go(opened: Callable[..., Desk], book: Book) -> None:
    """When all is written there is as much room as at the beginning, also behind a call that found none."""
    desk = opened(room=8 * PORTION)
    for number in range(30):
        run(desk, str(number), b"x" * 4000)
        assert desk.flush(30)
    assert desk.held == 0
    assert sum("gap" in each.losses for each in book.records) == 0
