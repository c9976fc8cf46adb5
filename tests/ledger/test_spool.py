"""The spool: what a sink has not taken survives the process, in order, and is handed on once it is delivered."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from tests.ledger.conftest import START
from tests.ledger.test_kill import until

from interpose.hosts import recording
from interpose.ledger import Ledger
from interpose.ledger.lane import Pace
from interpose.ledger.record import CALLS, CONNECTIONS, Connection, storable
from interpose.ledger.sink import Placed, Writer
from interpose.ledger.spool import Spool, SpoolFull, left_in
from interpose.ledger.sqlite import HELD_LONG, SqliteSink
from interpose.ledger.verify import Flaw, verify
from interpose.ledger.writer import SinkState, Way
from interpose.rules.sinks import SinkFile

MINE = Writer(writer="w1", opened_at="2026-11-01T00:00:00.000000Z", version="1", heads='{"w0":"abc"}')
OTHER = Writer(writer="w2", opened_at="2026-11-02T00:00:00.000000Z", version="1")


@pytest.fixture
def rows(record):
    """Sealed rows with these numbers."""

    def made(*numbers: int, writer: str = "w1") -> list[Placed]:
        return [
            (CALLS, CALLS.seal(storable(record(number)), writer=writer, seq=number, prev_hash="0" * 64))
            for number in numbers
        ]

    return made


def spool(path: Path, **options: int) -> Spool:
    return Spool(path / "s", whose="a place", **{"limit": 1 << 20, **options})


def drained(opened: Spool, most: int = 2) -> list[tuple[str, int]]:
    """All of it, delivered in steps of `most`."""
    found = []
    while (chunk := opened.next(most)) is not None:
        assert len(chunk.rows) <= most
        found += [(chunk.writer.writer, int(row[1])) for _, row in chunk.rows]
        opened.advance()
    return found


def test_rows_come_back_as_they_went(tmp_path: Path, record) -> None:
    """Every value of both tables, and the writer with its heads."""
    call = CALLS.seal(
        storable(
            record(1, asked_model="ü\x00\ud800", cost_usd=0.1 + 0.2, ttft_ms=5.0, stream=True, input_tokens=2**53 - 1)
        ),
        writer="w1", seq=1, prev_hash="a",
    )  # fmt: skip
    connection = CONNECTIONS.seal(
        storable(Connection(id="c", opened_at="x", closed_at="y", kind="ai", host="h", port=443)),
        writer="w1", seq=1, prev_hash="a",
    )  # fmt: skip
    opened = spool(tmp_path)
    opened.append(MINE, [(CALLS, call), (CONNECTIONS, connection)])
    chunk = opened.next(10)
    assert chunk is not None
    assert (chunk.writer, chunk.rows, chunk.own) == (MINE, ((CALLS, call), (CONNECTIONS, connection)), True)
    assert all(table.digest(row) == row[-1] for table, row in chunk.rows)
    opened.close()


def test_what_is_not_delivered_comes_again(tmp_path: Path, rows) -> None:
    """The same rows until `advance`; then those that follow; nothing is left of it when all are delivered."""
    opened = spool(tmp_path)
    opened.append(MINE, rows(1, 2, 3))
    assert opened.next(2) == opened.next(2)
    assert drained(opened) == [("w1", 1), ("w1", 2), ("w1", 3)]
    assert opened.empty
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["sink"]
    opened.append(MINE, rows(4))
    assert drained(opened) == [("w1", 4)]
    opened.close()


def test_the_next_process_takes_what_was_left(tmp_path: Path, rows) -> None:
    """Of a process that is no more, and ahead of its own; while that one lives it is left alone."""
    first = spool(tmp_path)
    first.append(MINE, rows(1, 2))
    beside = spool(tmp_path)
    assert beside.empty
    beside.close()
    assert left_in(tmp_path / "s") == "a place"
    first.close()
    second = spool(tmp_path)
    assert (second.empty, second.tips()) == (False, {"w1": rows(2)[0][1][-1]})
    second.append(OTHER, rows(1, writer="w2"))
    chunk = second.next(9)
    assert chunk is not None
    assert (chunk.writer, chunk.own) == (MINE, False)
    assert drained(second) == [("w1", 1), ("w1", 2), ("w2", 1)]
    second.close()
    assert left_in(tmp_path / "s") == ""


def test_an_empty_place_is_tidied(tmp_path: Path) -> None:
    """What a process leaves that dies before it has kept anything."""
    (tmp_path / "s" / "w0").mkdir(parents=True)
    (tmp_path / "s" / "w0" / "lock").touch()
    opened = spool(tmp_path)
    assert opened.empty
    assert not (tmp_path / "s" / "w0").exists()
    opened.close()


def test_a_torn_end_was_never_kept(tmp_path: Path, rows) -> None:
    """A line that a crash has cut is left out, wherever it was cut; all before it is there."""
    opened = spool(tmp_path)
    opened.append(MINE, rows(1, 2))
    opened.close()
    (segment,) = (tmp_path / "s" / "w1").glob("*.jsonl")
    whole = segment.read_bytes()
    begin = whole.rindex(b"\n", 0, -1) + 1
    for end in range(begin, len(whole)):
        segment.write_bytes(whole[:end])
        again = spool(tmp_path)
        chunk = again.next(9)
        assert chunk is not None
        assert [row[1] for _, row in chunk.rows] == [1]
        again.close()


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda line: b"[]\n",
        lambda line: b"\xff" + line,
        lambda line: line.replace(b'"w1",2,', b'"w1","2",'),
        lambda line: line.replace(b'"calls","w1",2,', b'"calls","w1",2,0,'),
    ],
    ids=["empty", "no UTF-8", "another type", "one too many"],
)
def test_a_line_that_somebody_has_spoiled_costs_that_line(
    tmp_path: Path, rows, caplog: pytest.LogCaptureFixture, spoiled: Callable[[bytes], bytes]
) -> None:
    """It is said aloud; the others are delivered: a database would refuse them all for its sake, again and again."""
    opened = spool(tmp_path)
    opened.append(MINE, rows(1, 2, 3))
    opened.close()
    (segment,) = (tmp_path / "s" / "w1").glob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join([*lines[:2], spoiled(lines[2]), lines[3]]))
    again = spool(tmp_path)
    assert drained(again) == [("w1", 1), ("w1", 3)]
    assert "cannot be read: its record is lost" in caplog.text
    again.close()


@pytest.mark.parametrize("what", ["s", "s/w1", "s/w1/*.jsonl"])
def test_a_spool_that_somebody_removes_is_a_gap(
    tmp_path: Path, record, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """What was in it is lost, and counted; what comes after that is kept again, and written."""
    path = tmp_path / "usage.db"
    way = Way(SqliteSink(path), lambda: spool(tmp_path))
    ledger = Ledger.start([way], writer="w1", pace=Pace(clock=lambda: START))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for number in range(1, 4):
            ledger.record(record(number))
        until(lambda: kept(tmp_path) == 3)
        for found in tmp_path.glob(what):
            shutil.rmtree(found, ignore_errors=True) if found.is_dir() else found.unlink()
        ledger.record(record(4))
        until(lambda: kept(tmp_path) > 0)
        connection.execute("ROLLBACK")
    assert ledger.wait(30)
    assert (ledger.close(), ledger.lost) == (0, 3)
    with closing(sqlite3.connect(path)) as connection:
        (lost,) = connection.execute("SELECT losses FROM calls WHERE id LIKE 'gap-%'").fetchone()
        assert connection.execute("SELECT id FROM calls WHERE id NOT LIKE 'gap-%'").fetchall() == [("call-4",)]
    assert '"count":3' in lost
    assert [(problem.flaw, problem.seq, problem.last) for problem in verify(path)] == [(Flaw.DELETED, 1, 3)]


def kept(folder: Path) -> int:
    """How many records are in the spool."""
    found = 0
    for segment in folder.glob("s/*/*.jsonl"):
        with suppress(FileNotFoundError):
            found += segment.read_bytes().count(b"\n") - 1
    return found


def test_a_lock_of_another_process_is_waited_for_no_longer_than_asked(tmp_path: Path, rows) -> None:
    """The batch has to come again, which is no error until the other one has had plenty of time."""
    path = tmp_path / "usage.db"
    sink = SqliteSink(path)
    writer = sink.open(MINE)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert sink.write(writer, rows(1), 0.01) is False
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sink.write(writer, rows(1), HELD_LONG)
        connection.execute("ROLLBACK")
    assert sink.write(writer, rows(1), 1.0) is True
    sink.close()


def test_a_spool_has_its_bounds(tmp_path: Path, rows) -> None:
    """What does not fit is refused as a whole; what is delivered makes room, segment by segment."""
    opened = spool(tmp_path, limit=4000, segment=1000)
    with suppress(SpoolFull):
        for number in range(1, 100):
            opened.append(MINE, rows(number))
    kept = sum(path.read_bytes().count(b"\n") - 1 for path in (tmp_path / "s" / "w1").glob("*.jsonl"))
    with pytest.raises(SpoolFull, match="wait there already"):
        opened.append(MINE, rows(kept + 1))
    assert 2 <= kept <= 8
    assert len(list((tmp_path / "s" / "w1").glob("*.jsonl"))) > 1
    opened.close()
    again = spool(tmp_path, limit=4000)
    with pytest.raises(SpoolFull):
        again.append(OTHER, rows(*range(1, 9), writer="w2"))
    assert drained(again, 1) == [("w1", number) for number in range(1, kept + 1)]
    again.append(OTHER, rows(1, writer="w2"))
    again.close()


def test_a_locked_file_is_no_loss_at_the_end(tmp_path: Path, record, caplog: pytest.LogCaptureFixture) -> None:
    """What another process's lock has kept out of an SQLite file waits on disk, and the next start writes it first."""
    path = tmp_path / "usage.db"

    def opened(writer: str) -> Ledger:
        way = Way(SqliteSink(path), lambda: spool(tmp_path))
        return Ledger.start([way], writer=writer, pace=Pace(clock=lambda: START))

    ledger = opened("w1")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for number in range(1, 6):
            ledger.record(record(number))
        assert ledger.close() == 5
        connection.execute("ROLLBACK")
    assert "has not got 5 records: they wait in" in caplog.text
    assert ledger.sinks() == [SinkState(str(path), 5, 0, away=True, spooled=True)]
    again = opened("w2")
    assert again.caught_up(30)
    again.record(record(6))
    assert again.close() == 0
    assert again.sinks() == [SinkState(str(path), 0, 0, away=False, spooled=False)]
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT writer, seq, id FROM calls ORDER BY writer, seq").fetchall()
    assert found == [*(("w1", number, f"call-{number}") for number in range(1, 6)), ("w2", 1, "call-6")]
    assert verify(path) == []


async def test_what_waits_for_a_place_that_is_named_no_more_is_told(
    tmp_path: Path, rows, caplog: pytest.LogCaptureFixture
) -> None:
    """With where it is, and what to do."""
    left = Spool(tmp_path / "spool" / "0123", limit=1 << 20, whose="postgresql://me:${PW}@old:5432/usage")
    left.append(MINE, rows(1))
    left.close()
    at = [SinkFile("sqlite", tmp_path / "usage.db")]
    ledger = await recording.opened(at, tmp_path, writer="w2", clock=lambda: START, scrub=str)
    assert ledger.close() == 0
    told = f"records for postgresql://me:${{PW}}@old:5432/usage wait in {tmp_path / 'spool' / '0123'}"
    assert told in caplog.text
