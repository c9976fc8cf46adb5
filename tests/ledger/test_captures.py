"""The table of captures: the same in every kind of ledger, chained without its bodies, and read call by call."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from tests.ledger.conftest import START
from tests.postgres import PASSWORD, Postgres
from tests.sinks import KINDS, sink_of

from interpose.ledger import Ledger
from interpose.ledger.address import Database, Readable
from interpose.ledger.captures import Captured, captured
from interpose.ledger.jsonl import JsonlSink
from interpose.ledger.lane import HEAVY_BATCH, Pace
from interpose.ledger.packing import digest_of, stored
from interpose.ledger.postgres import schema
from interpose.ledger.postgres.sink import PostgresSink
from interpose.ledger.record import CALLS, CAPTURES, CONNECTIONS, Capture, genesis, storable, utc_text
from interpose.ledger.schema import APPLICATION_ID, open_for_writing
from interpose.ledger.sink import Placed, Sink, Writer
from interpose.ledger.spool import Spool
from interpose.ledger.sqlite import SqliteSink
from interpose.ledger.verify import Flaw, heads, verify
from interpose.ledger.writer import Way
from interpose.rules.sinks import SinkFile
from interpose.rules.sinks import database as parsed

LONG = b'{"messages": [{"role": "user", "content": "' + b"words and words " * 40 + b'"}]}'
BINARY = b"".join(sha256(bytes([number])).digest() for number in range(16))


def part(name: str, call: str, body: bytes | None, attempt: int = 0, **fields: object) -> Capture:
    """A part of that call; without a body it refers to another one's."""
    encoding, kept = stored(body) if body is not None else ("", None)
    known: dict[str, object] = {
        "id": call,
        "at": utc_text(START),
        "part": name,
        "attempt": attempt,
        "digest": digest_of(body or b""),
        "kept": len(body or b""),
        "size": len(body or b""),
        "encoding": encoding,
        "body": kept,
        **fields,
    }
    return Capture(**known)  # type: ignore[arg-type]


def tell(ledger: Ledger, record: Callable[..., object], number: int = 1) -> None:
    """A call with all its parts, of which the sent one is the same as the asked one."""
    call = f"call-{number}"
    ledger.capture(
        part(
            "asked", call, LONG, method="POST", url="https://a.test/v1/x?key=***", media_type="application/json",
            headers='[["Authorization","***"],["X-Ü","\\u00fc"]]', timing="[[0.5,10],[1.25,20]]",
        )
    )  # fmt: skip
    ledger.capture(part("sent", call, None, 1, digest=digest_of(LONG), kept=len(LONG)))
    ledger.capture(part("received", call, BINARY, 1, status=200, size=2**40, notes='["cut","secret"]'))
    ledger.capture(part("answered", call, b"", status=200))
    ledger.record(record(number))  # type: ignore[arg-type]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Sink, Readable]:
    """A sink of each kind, and how it is read."""
    return sink_of(request, tmp_path)


def opened(sink: Sink, writer: str = "w1") -> Ledger:
    return Ledger.start([Way(sink)], writer=writer, pace=Pace(clock=lambda: START))


def test_what_is_kept_is_read_as_it_was(kind: tuple[Sink, Readable], record) -> None:
    """In every kind of ledger: headers, times, notes and bodies; a body that two parts have is stored once."""
    sink, place = kind
    ledger = opened(sink)
    tell(ledger, record)
    assert ledger.close() == 0
    (call,) = captured(place)
    assert call.record is not None
    assert (call.id, call.record.host) == ("call-1", "api.openai.com")
    assert [(each.part, each.attempt, each.body) for each in call.parts] == [
        ("asked", 0, LONG), ("sent", 1, LONG), ("received", 1, BINARY), ("answered", 0, b""),
    ]  # fmt: skip
    asked, received = call.of("asked"), call.of("received", 1)
    assert asked is not None
    assert received is not None
    assert asked.headers == (("Authorization", "***"), ("X-Ü", "ü"))
    assert (asked.method, asked.url, asked.media_type) == ("POST", "https://a.test/v1/x?key=***", "application/json")
    assert asked.timing == ((0.5, 10), (1.25, 20))
    assert (received.size, received.notes, received.cut, asked.cut) == (2**40, ("cut", "secret"), True, False)
    assert verify(place) == []
    assert set(heads(place)) == {"w1", "w1:captures"}


def test_calls_are_asked_for_by_their_ids_or_by_time(tmp_path: Path, record) -> None:
    """In the order in which they began; one whose record is gone is read all the same, one without captures is not."""
    path = tmp_path / "usage.db"
    ledger = opened(SqliteSink(path))
    for number in (3, 1, 2):
        tell(ledger, record, number)
    ledger.record(record(4))
    ledger.capture(part("asked", "lone", b"?"))
    assert ledger.close() == 0

    def names(calls: list[Captured]) -> list[str]:
        return [call.id for call in calls]

    assert names(list(captured(path))) == ["call-1", "call-2", "call-3", "lone"]
    assert names(list(captured(path, since=utc_text(START + 2)))) == ["call-2", "call-3"]
    assert names(list(captured(path, ["call-2", "call-4", "none"]))) == ["call-2"]
    (lone,) = captured(path, ["lone"])
    assert lone.record is None


def test_bodies_may_go_and_the_chain_still_verifies(tmp_path: Path, record) -> None:
    """Its digest stands for a body; what is read then has none."""
    path = tmp_path / "usage.db"
    ledger = opened(SqliteSink(path))
    tell(ledger, record)
    assert ledger.close() == 0
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE captures SET body = NULL")
    assert verify(path) == []
    (call,) = captured(path)
    assert [(each.body, each.flaw) for each in call.parts] == [(None, None)] * 4


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ("UPDATE captures SET body = x'00' WHERE part = 'received'", "its body does not give its digest"),
        ("UPDATE captures SET body = x'00' WHERE part = 'asked'", "its body is corrupt: zstd cannot read it"),
        ("UPDATE captures SET body = 'text' WHERE part = 'asked'", "its body is corrupt: it is not what we ever wrote"),
        ("UPDATE captures SET url = 'https://evil.test' WHERE part = 'asked'", "its content does not give its hash"),
    ],
)
def test_a_body_that_was_changed_is_found_and_not_handed_out(tmp_path: Path, record, change: str, detail: str) -> None:
    """By the digest that the chain holds; which row it is, is said."""
    path = tmp_path / "usage.db"
    ledger = opened(SqliteSink(path))
    tell(ledger, record)
    assert ledger.close() == 0
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(change)
    (problem,) = verify(path)
    assert (problem.flaw, problem.table, problem.detail) == (Flaw.CHANGED, "captures", detail)
    (call,) = captured(path)
    spoiled = [each for each in call.parts if each.flaw is not None]
    assert {each.flaw for each in spoiled} == ({detail} if "body" in detail else set())
    assert all(each.body is None for each in spoiled)


def second_version(path: Path, record) -> None:
    """A ledger as the second version of the schema wrote it, with one call of the writer `old`."""
    connection = open_for_writing(path)
    row = CALLS.seal(storable(record(1)), writer="old", seq=1, prev_hash=genesis(b"{}"))
    connection.execute("INSERT INTO writers VALUES ('old', ?, '0', '{}')", (utc_text(START),))
    connection.execute(f"INSERT INTO calls VALUES ({', '.join('?' * len(row))})", row)
    for index in connection.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'captures_by_%'").fetchall():
        connection.execute(f"DROP INDEX {index[0]}")
    connection.execute("DROP TABLE captures")
    connection.execute("DROP TABLE cuts")
    connection.execute("PRAGMA user_version = 2")
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    connection.close()


def test_a_file_of_the_second_version_is_read_as_it_is_and_brought_up_by_its_next_writer(
    tmp_path: Path, record
) -> None:
    """It has no captures, and reading changes nothing; then its records stay, and it verifies with what is new."""
    path = tmp_path / "usage.db"
    second_version(path, record)
    before = path.read_bytes()
    assert (verify(path), list(captured(path)), set(heads(path))) == ([], [], {"old"})
    assert path.read_bytes() == before
    ledger = opened(SqliteSink(path))
    tell(ledger, record, 2)
    assert ledger.close() == 0
    assert verify(path) == []
    assert [call.id for call in captured(path)] == ["call-2"]
    assert set(heads(path)) == {"old", "w1", "w1:captures"}


def test_a_database_of_the_second_version_is_brought_up(postgres: Postgres, record) -> None:
    """Its records stay, and captures come beside them, as bytes."""
    name = postgres.database()
    for version in (1, 2):
        for statement in schema.STEPS[version]:
            postgres.run(statement, database=name)
        postgres.run(f"INSERT INTO {schema.VERSIONS} (version) VALUES ($1)", version, database=name)
    database = Database(parsed(postgres.url(name)), PASSWORD)
    assert list(captured(database)) == []
    ledger = opened(PostgresSink(database))
    tell(ledger, record)
    assert ledger.close() == 0
    (call,) = captured(database)
    assert call.parts[2].body == BINARY
    sql = "SELECT pg_typeof(body)::text, body FROM captures WHERE part = 'received'"
    assert postgres.run(sql, database=name) == [("bytea", stored(BINARY)[1])]


def test_a_line_of_json_has_a_body_as_base64(tmp_path: Path, record) -> None:
    """And a line that somebody has spoiled is missed by the verification, and costs no other."""
    path = tmp_path / "calls.jsonl"
    ledger = opened(JsonlSink(path))
    tell(ledger, record)
    assert ledger.close() == 0
    lines = path.read_text().splitlines()
    told = [json.loads(line) for line in lines]
    (empty,) = [each for each in told if each.get("part") == "answered"]
    assert empty["body"] == ""
    at = next(place for place, each in enumerate(told) if each.get("part") == "received")
    lines[at] = json.dumps({**told[at], "body": "no base64!"})
    path.write_text("\n".join(lines) + "\n")
    place = SinkFile("jsonl", path)
    (problem,) = verify(place)
    assert (problem.flaw, problem.table, problem.seq) == (Flaw.CHANGED, "captures", 3)
    (call,) = captured(place)
    assert [each.part for each in call.parts] == ["asked", "sent", "answered"]


def test_bodies_wait_in_the_spool_and_come_out_as_they_were(tmp_path: Path) -> None:
    """As bytes; large ones a few at a time, whatever number of rows is asked for."""
    rows: list[Placed] = [
        (
            CAPTURES,
            CAPTURES.seal(storable(part("asked", f"c{seq}", bytes([seq]) * 10)), writer="w", seq=seq, prev_hash=""),
        )
        for seq in (1, 2)
    ]
    large = replace(part("received", "c3", None), body=b"\xff" * (3 << 20))
    rows += [(CAPTURES, CAPTURES.seal(storable(large), writer="w", seq=seq, prev_hash="")) for seq in (3, 4)]
    spool = Spool(tmp_path / "s", limit=1 << 30)
    spool.append(Writer(writer="w", opened_at="", version="1"), rows)
    first = spool.next(100)
    assert first is not None
    assert list(first.rows) == rows[:3]
    spool.advance()
    second = spool.next(100)
    assert second is not None
    assert list(second.rows) == rows[3:]
    spool.close()


def test_more_bodies_than_fit_are_counted_as_lost(tmp_path: Path, record) -> None:
    """While a sink hangs, bodies wait up to a bound in bytes; a gap tells how many records were beyond it."""

    class Away:
        name = "away"

        def open(self, writer: Writer) -> Writer:
            return writer

        def write(self, writer: Writer, rows: list[Placed], patience: float) -> bool:
            return False

        def close(self) -> None:
            pass

    ledger = Ledger.start([Way(Away())], writer="w1", pace=Pace(clock=lambda: START))  # type: ignore[arg-type]
    large = replace(part("received", "c", None), body=b"\xff" * HEAVY_BATCH)
    for _ in range(40):
        ledger.capture(large)
    ledger.record(record(1))
    assert 15 < ledger.lost < 40
    ledger.close(timeout=0)


def test_every_table_tells_since_when_it_is_there() -> None:
    """So that a ledger of an older version is read for what it has."""
    assert [(table.name, table.since) for table in (CALLS, CONNECTIONS, CAPTURES)] == [
        ("calls", 1), ("connections", 2), ("captures", 3),
    ]  # fmt: skip
