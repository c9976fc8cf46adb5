"""Retention: what is old goes, what is left verifies, and any other deletion is still found."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.ledger.conftest import START, invented
from tests.postgres import PASSWORD, Postgres

from interpose.ledger import Connection, Ledger, LedgerError, utc_text
from interpose.ledger.address import Database, Readable
from interpose.ledger.checkpoints import append, named, state
from interpose.ledger.jsonl import JsonlSink, read
from interpose.ledger.lane import Pace
from interpose.ledger.packing import digest_of, stored
from interpose.ledger.postgres.retention import LOCK
from interpose.ledger.postgres.sink import PostgresSink
from interpose.ledger.pruning import Keep, Pruned, Taken
from interpose.ledger.record import Capture
from interpose.ledger.retention import prune, would_go
from interpose.ledger.sink import Sink
from interpose.ledger.sqlite import SqliteSink
from interpose.ledger.sums import usage
from interpose.ledger.verify import Verification, examine, verify
from interpose.ledger.writer import Way
from interpose.rules.sinks import SinkFile
from interpose.rules.sinks import database as parsed

DAY = 86_400
DAYS = 10


@dataclass(frozen=True)
class Place:
    """A ledger, and a way to do to it what retention did not."""

    at: Readable
    sink: Callable[[], Sink]
    run: Callable[..., Any]

    def grow(self, writer: str, *, days: range = range(DAYS), body: bytes = b"") -> None:
        """A call and a connection a day; with a body, a capture too."""
        ledger = Ledger.start([Way(self.sink())], writer=writer, pace=Pace(clock=lambda: START))
        for day in days:
            moment = utc_text(START + day * DAY)
            ledger.record(invented(day * DAY, id=f"{writer}-{day}"))
            ledger.connection(
                Connection(id=f"c{day}", opened_at=moment, closed_at=moment, kind="ai", host="h", port=443)
            )
            if body:
                encoding, kept = stored(body)
                ledger.capture(
                    Capture(
                        id=f"{writer}-{day}", at=moment, part="asked", digest=digest_of(body), kept=len(body),
                        size=len(body), encoding=encoding, body=kept,
                    )
                )  # fmt: skip
        assert ledger.close() == 0

    def prune(self, day: float, *, bodies: float | None = None, **options: Any) -> Pruned:
        """Keeps what is not older than that day."""
        now = START + DAYS * DAY
        keep = Keep(now - START - day * DAY, None if bodies is None else now - START - bodies * DAY)
        return prune(self.at, keep, clock=lambda: now, **{"pause": lambda: False, **options})

    def ids(self) -> list[str]:
        return [row[0] for row in self.run("SELECT id FROM calls ORDER BY writer, seq")]


def in_file(path: Path) -> Place:
    def run(sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(path)) as connection, connection:
            return connection.execute(sql).fetchall()

    return Place(path, lambda: SqliteSink(path), run)


def in_database(server: Postgres) -> Place:
    at = Database(parsed(server.url(server.database())), PASSWORD)
    return Place(at, lambda: PostgresSink(at), lambda sql: server.run(sql, database=at.url.database))


def in_lines(path: Path) -> Place:
    def run(sql: str) -> list[tuple[Any, ...]]:
        with closing(read(path)) as connection:
            return connection.execute(sql).fetchall()

    return Place(SinkFile("jsonl", path), lambda: JsonlSink(path), run)


@pytest.fixture(params=["sqlite", "postgres", "jsonl"])
def any_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Of files of JSON lines `run` only reads."""
    return in_lines(tmp_path / "calls.jsonl") if request.param == "jsonl" else of_kind(request, tmp_path)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return of_kind(request, tmp_path)


def of_kind(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return (
        in_file(tmp_path / "usage.db")
        if request.param == "sqlite"
        else in_database(request.getfixturevalue("postgres"))
    )


@pytest.fixture
def file(tmp_path: Path) -> Place:
    return in_file(tmp_path / "usage.db")


def told(found: Verification) -> list[tuple[str, str, int, int]]:
    return [(each.flaw.value, each.writer, each.seq, each.last) for each in found.problems]


def test_what_is_old_goes_and_the_rest_verifies(any_place: Place) -> None:
    """Of calls and of connections, however often it runs; the chains go on behind it."""
    any_place.grow("a")
    any_place.grow("b")
    done = any_place.prune(4)
    assert done.records == {"calls": 8, "connections": 8}
    assert any_place.ids() == [f"{writer}-{day}" for writer in "ab" for day in range(4, DAYS)]
    assert verify(any_place.at) == []
    assert [(each.writer, each.first, each.cut) for each in examine(any_place.at).chains] == [
        ("a", 5, 4), ("b", 5, 4), ("a", 5, 4), ("b", 5, 4),
    ]  # fmt: skip
    assert any_place.prune(4).records == {}
    any_place.grow("c")
    assert any_place.prune(6.5, batch=1).records == {"calls": 3 + 3 + 7, "connections": 3 + 3 + 7}
    assert verify(any_place.at) == []
    assert sum(row.calls for row in usage(any_place.at)) == 9


def test_what_would_go_is_told_beforehand(any_place: Place) -> None:
    """And is what goes."""
    any_place.grow("a", body=b"words " * 50)
    any_place.grow("b")
    now = START + DAYS * DAY
    keep = Keep(now - START - 3 * DAY, now - START - 5 * DAY)
    found = would_go(any_place.at, keep, now=now)
    assert (found.records, found.bodies) == ({"calls": 6, "connections": 6, "captures": 3}, 5)
    assert len(any_place.ids()) == 2 * DAYS
    done = prune(any_place.at, keep, clock=lambda: now, pause=lambda: False)
    assert (done.records, done.bodies) == (found.records, found.bodies)


def test_a_chain_that_is_gone_is_not_missed(any_place: Place) -> None:
    """Though later writers name its head; and neither is its middle, which another writer has named."""
    any_place.grow("a", days=range(2))
    any_place.grow("b", days=range(1, 3))
    any_place.grow("c", days=range(8, DAYS))
    assert any_place.prune(5).records == {"calls": 4, "connections": 4}
    assert verify(any_place.at) == []
    assert [each.writer for each in examine(any_place.at).chains] == ["c", "c"]
    any_place.grow("d")
    assert verify(any_place.at) == []


def test_a_head_in_the_middle_is_not_missed(file: Place) -> None:
    """A writer that lives on is named by one that comes; then retention deletes the named record."""
    first = Ledger.open(Path(str(file.at)), writer="a", clock=lambda: START)
    for day in range(3):
        first.record(invented(day * DAY, id=f"a-{day}"))
    assert first.wait(30)
    file.grow("b", days=range(3))
    for day in range(3, DAYS):
        first.record(invented(day * DAY, id=f"a-{day}"))
    assert first.close() == 0
    file.prune(5)
    assert file.ids() == [f"a-{day}" for day in range(5, DAYS)]
    assert verify(file.at) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(writer=st.sampled_from("ab"), begin=st.integers(5, 10), length=st.integers(1, 6))
def test_any_other_deletion_is_found(tmp_path_factory, writer: str, begin: int, length: int) -> None:
    """Right behind what retention has deleted, further on, or at the end."""
    folder = tmp_path_factory.mktemp("deleted")
    place, kept = in_file(folder / "usage.db"), folder / "checkpoints"
    place.grow("a")
    place.grow("b")
    place.prune(4)
    append(kept, at=utc_text(START), ledger=named(place.at), state=state(place.at))
    last = min(begin + length - 1, DAYS)
    place.run(f"DELETE FROM calls WHERE writer = '{writer}' AND seq BETWEEN {begin} AND {last}")
    found = told(examine(place.at, files=[kept]))
    if last < DAYS:
        assert found == [("deleted", writer, begin, last)]
    else:
        assert found[0][:3] == ("cut", writer, begin)


@pytest.mark.parametrize(
    ("statement", "flaw"),
    [
        ("UPDATE cuts SET cut = replace(cut, '[4,', '[5,') WHERE number = 1", "checkpoint"),
        ("DELETE FROM cuts WHERE number = 1", "checkpoint"),
        ("DELETE FROM cuts", "deleted"),
        ("UPDATE cuts SET cut = 'nonsense' WHERE number = 2", "checkpoint"),
        ("UPDATE writers SET heads = '{}' WHERE writer = 'b'", "put in or replaced"),
        ("DELETE FROM writers WHERE writer = 'a'", "unknown writer"),
        ("UPDATE calls SET seq = 4 WHERE writer = 'a' AND seq = 5", "put in or replaced"),
    ],
)
def test_who_alters_what_it_says_is_found(place: Place, statement: str, flaw: str) -> None:
    """Its rows are a chain, and the records that are left must follow from them."""
    place.grow("a")
    place.grow("b")
    place.prune(4)
    place.run(statement)
    assert flaw in [each.flaw.value for each in examine(place.at).problems]


def test_a_deletion_that_retention_did_not_do_is_found_by_a_checkpoint(file: Place, tmp_path: Path) -> None:
    """Who may write the ledger can write such a row as well, but not into a checkpoint that lies elsewhere."""
    kept = tmp_path / "checkpoints"
    file.grow("a")
    file.prune(2)
    append(kept, at=utc_text(START + DAYS * DAY), ledger=named(file.at), state=state(file.at))
    assert examine(file.at, files=[kept]).problems == []
    # As an attacker would: by our own means, and dated back.
    prune(
        file.at, Keep(DAY), clock=lambda: START + 6 * DAY, pause=lambda: False
    )  # fmt: skip
    assert verify(file.at) == []
    found = examine(file.at, files=[kept])
    assert [each.flaw.value for each in found.problems] == ["checkpoint", "checkpoint"]
    assert found.problems[0].detail.startswith("row 3 of `cuts`, of 2026-11-07T00:00:00.000000Z, is unknown to a later")


def test_what_retention_did_since_the_last_checkpoint_is_told(file: Place, tmp_path: Path) -> None:
    """It is no problem, but nobody outside knows of it yet; the next checkpoint does."""
    kept = tmp_path / "checkpoints"
    file.grow("a")
    append(kept, at=utc_text(START + DAYS * DAY - 60), ledger=named(file.at), state=state(file.at))
    file.prune(4)
    found = examine(file.at, files=[kept])
    assert found.problems == []
    assert found.notes[0].startswith("retention has deleted records since the last checkpoint")
    append(kept, at=utc_text(START + DAYS * DAY), ledger=named(file.at), state=state(file.at))
    found = examine(file.at, files=[kept])
    assert (found.problems, found.notes) == ([], [])
    file.run("DELETE FROM cuts WHERE number = 2")
    assert "row 2 of `cuts` is gone: a checkpoint knows it" in [
        each.detail for each in examine(file.at, files=[kept]).problems
    ]


def test_what_was_tampered_with_stays(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """As evidence, with all behind it; other chains are not concerned."""
    place.grow("a")
    place.grow("b")
    place.run("UPDATE calls SET cost_usd = 0 WHERE writer = 'a' AND seq = 3")
    with caplog.at_level(logging.ERROR):
        done = place.prune(6)
    assert done.records == {"calls": 2 + 6, "connections": 12}
    assert done.left == ["writer a, record 3: changed: its content does not give its hash"]
    assert "retention deletes nothing from here on, so that it stays as evidence: writer a, record 3" in caplog.text
    assert told(examine(place.at)) == [("changed", "a", 3, 3)]
    place.run("DELETE FROM cuts WHERE number = 1")
    with pytest.raises(LedgerError, match=r"nothing is deleted: row 2 of `cuts` does not follow .* usage verify"):
        place.prune(7)


def test_bodies_go_before_their_rows(place: Place) -> None:
    """The rows stay and verify: what was said is gone, that it was said is not."""
    body = b"words and words " * 100
    place.grow("a", body=body)
    done = place.prune(2, bodies=6, batch=3)
    assert (done.records, done.bodies) == ({"calls": 2, "connections": 2, "captures": 2}, 6)
    assert [bool(row[0]) for row in place.run("SELECT body IS NOT NULL FROM captures ORDER BY seq")] == [
        day >= 6 for day in range(2, DAYS)
    ]
    assert verify(place.at) == []
    assert place.prune(2, bodies=6).bodies == 0
    place.run("UPDATE captures SET digest = 'x' WHERE seq = 4")
    assert [(each[0], each[2]) for each in told(examine(place.at))] == [("changed", 4)]


def test_it_stops_between_two_batches(place: Place) -> None:
    """When the program ends: what is done is done, and the next run goes on."""
    place.grow("a")
    assert place.prune(6, batch=2, pause=lambda: True).records == {"calls": 2}
    assert verify(place.at) == []
    assert place.prune(6, batch=2).records == {"calls": 4, "connections": 6}
    assert verify(place.at) == []


def test_who_writes_meanwhile_is_not_disturbed(any_place: Place) -> None:
    """Records come and go at once, and all of it verifies."""
    any_place.grow("a", days=range(DAYS))
    ledger = Ledger.start([Way(any_place.sink())], writer="live", pace=Pace(clock=lambda: START, interval=0.001))
    ended = threading.Event()

    def write() -> None:
        for number in range(600):
            ledger.record(invented(number, id=f"live-{number}"))
            if number % 20 == 0:
                assert ledger.wait(30)
        ended.set()

    writing = threading.Thread(target=write)
    writing.start()
    while not ended.is_set():
        any_place.prune(5, batch=50)
    writing.join()
    assert ledger.close() == 0
    any_place.prune(5, batch=50)
    assert verify(any_place.at) == []
    assert any_place.ids() == [f"a-{day}" for day in range(5, DAYS)]


def test_it_drops_no_lock_of_who_writes(file: Place) -> None:
    """In one process as it is; another one that comes and goes does not take the log for its own, and see nothing."""
    path = Path(str(file.at))
    ledger = Ledger.open(path, writer="live", clock=lambda: START)
    ledger.record(invented(9 * DAY))
    assert ledger.wait(30)
    file.prune(5)
    program = f"import sqlite3; print(*sqlite3.connect({str(path)!r}).execute('SELECT count(*) FROM calls').fetchone())"

    def seen() -> str:
        return subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout

    assert seen() == "1\n"
    ledger.record(invented(9 * DAY + 1))
    assert ledger.wait(30)
    assert seen() == "2\n"
    assert ledger.close() == 0


def test_of_two_at_once_one_goes_on(file: Place) -> None:
    """The other one finds the next row taken, and has deleted nothing."""
    file.grow("a")
    turns = []

    def meanwhile() -> bool:
        if not turns:
            turns.append(file.prune(6, batch=2, pause=lambda: True))
        return False

    with pytest.raises(Taken):
        file.prune(6, batch=2, pause=meanwhile)
    assert turns[0].records == {"calls": 2}
    assert file.prune(6, batch=2).records == {"calls": 2, "connections": 6}
    assert verify(file.at) == []


def test_of_all_machines_one_at_a_time(postgres: Postgres) -> None:
    """By a lock in the database, which ends with whoever holds it."""
    place = in_database(postgres)
    place.grow("a")
    assert isinstance(place.at, Database)
    name = place.at.url.database

    async def hold() -> None:
        other = await asyncpg.connect(**postgres.at, database=name)
        try:
            assert await other.fetchval("SELECT pg_try_advisory_lock($1)", LOCK)
            with pytest.raises(Taken):
                await asyncio.to_thread(place.prune, 5)
        finally:
            await other.close()

    asyncio.run(hold())
    assert place.prune(5).records == {"calls": 5, "connections": 5}


def test_a_role_that_may_not_delete_is_told_so(postgres: Postgres) -> None:
    """With the rights that it needs; nothing is half done."""
    place = in_database(postgres)
    place.grow("a")
    assert isinstance(place.at, Database)
    name = place.at.url.database
    postgres.run(f"CREATE ROLE keeper_{name} LOGIN PASSWORD '{PASSWORD}'")
    postgres.run(f"GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO keeper_{name}", database=name)
    meek = Database(replace(place.at.url, user=f"keeper_{name}"), PASSWORD)
    with pytest.raises(LedgerError, match=r"retention may not delete in the ledger .*needs DELETE on calls") as raised:
        prune(meek, Keep(DAY), clock=lambda: START + DAYS * DAY, pause=lambda: False)
    assert PASSWORD not in str(raised.value)
    assert postgres.run("SELECT count(*) FROM cuts", database=name) == [(0,)]
    assert verify(place.at) == []


def test_a_file_gives_back_what_is_free(file: Place) -> None:
    """It was made so that it can; what is kept for the next records is little."""
    path = Path(str(file.at))
    ledger = Ledger.open(path, writer="a", clock=lambda: START)
    for number in range(3000):
        ledger.record(invented(number, losses='["' + "x" * 3000 + '"]'))
    ledger.record(invented(9 * DAY))
    assert ledger.close() == 0
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.stat().st_size
    file.prune(5)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.stat().st_size < before / 2
    assert verify(path) == []
