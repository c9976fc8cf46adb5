"""PostgreSQL as a ledger: what comes there, its migrations, and its outages, on a real server."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.ledger.conftest import START
from tests.postgres import PASSWORD, Postgres

from interpose.ledger import Connection, Ledger, LedgerError
from interpose.ledger.address import Database
from interpose.ledger.lane import Pace
from interpose.ledger.postgres import schema
from interpose.ledger.postgres.connecting import connect
from interpose.ledger.postgres.sink import PostgresSink
from interpose.ledger.record import CALLS, storable
from interpose.ledger.sink import Writer
from interpose.ledger.spending import spending
from interpose.ledger.spool import Spool
from interpose.ledger.sums import DIMENSIONS, usage
from interpose.ledger.traffic import destinations
from interpose.ledger.verify import Flaw, heads, verify
from interpose.ledger.writer import Way
from interpose.rules.sinks import database as parsed

SCRIPT = Path(__file__).with_name("load_writer.py")

Opening = Callable[..., Ledger]


@pytest.fixture
def database(postgres: Postgres) -> Database:
    """A new one, reached by TCP and a password."""
    return Database(parsed(postgres.url(postgres.database())), PASSWORD)


@pytest.fixture
def opened(database: Database, tmp_path: Path):
    """Opens ledgers on it as writers w1, w2 …, each with a machine's spool; what is open at the end is closed."""
    ledgers: list[Ledger] = []

    def open_ledger(at: Database = database, *, limit: int = 1 << 30, machine: str = "spool", **pace) -> Ledger:
        ledger = Ledger.start(
            [Way(PostgresSink(at), lambda: Spool(tmp_path / machine, limit=limit, whose=str(at)))],
            writer=f"w{len(ledgers) + 1}",
            pace=Pace(**{"clock": lambda: START, **pace}),
        )
        ledgers.append(ledger)
        return ledger

    yield open_ledger
    for ledger in ledgers:
        ledger.close(timeout=1)


def ids(postgres: Postgres, at: Database, writer: str = "w1") -> list[str]:
    rows = postgres.run("SELECT id FROM calls WHERE writer = $1 ORDER BY seq", writer, database=at.url.database)
    return [name for (name,) in rows]


def calls(count: int, begin: int = 0) -> list[str]:
    return [f"call-{number}" for number in range(begin, begin + count)]


def connection(number: int, **fields: object) -> Connection:
    return Connection(
        **{
            "id": f"c{number}", "opened_at": "2026-11-01T00:00:00.000000Z", "closed_at": "2026-11-01T00:00:01.000000Z",
            "kind": "tunnel", "host": f"host{number % 3}.example", "port": 443, "bytes_up": 10, "bytes_down": number,
            "user": "me", **fields,
        }
    )  # fmt: skip


# --- what comes there -----------------------------------------------------------------------------------------------


def test_records_come_as_they_are_and_their_chain_holds(
    postgres: Postgres, database: Database, opened: Opening, record
) -> None:
    """Every value in its column, whatever a provider made of it; the columns are those of SQLite."""
    ledger = opened()
    odd = record(
        1, asked_model="ü\0\ud800", attempts='[{"reason":"a\\u0000"}]', cost_usd=0.1 + 0.2, ttft_ms=5.0, stream=True,
        input_tokens=2**53 - 1,
    )  # fmt: skip
    ledger.record(odd)
    ledger.connection(connection(1))
    assert ledger.wait(30)
    assert (ledger.acknowledged, ledger.pending, ledger.lost) == (1, 0, 0)
    (row,) = postgres.run(f"SELECT {CALLS.listed} FROM calls", database=database.url.database)
    assert row[2:-2] == storable(odd)[2:-2]
    assert postgres.run('SELECT seq, "user", bytes_down FROM connections', database=database.url.database) == [
        (1, "me", 1)
    ]
    assert verify(database) == []
    assert set(heads(database)) == {"w1", "w1:connections"}


def test_reports_are_the_same_as_from_a_file(tmp_path: Path, database: Database, opened: Opening, record) -> None:
    """By every dimension, of calls and of connections, and what budgets are restored from."""
    in_file = Ledger.open(tmp_path / "usage.db", writer="w1", clock=lambda: START)
    ledger = opened()
    for number in range(60):
        call = record(
            number, provider=("a", "b", None)[number % 3], sent_model=f"m{number % 4}", client=f"c{number % 2}",
            outcome=("ok", "error", "aborted")[number % 3], input_tokens=number or None,
            output_tokens=2**40 + number,
            cost_usd=number / 8 if number % 5 else None, duration_ms=float(number), ttft_ms=None if number % 4 else 1.5,
            usage_source=("provider", "estimated", "none")[number % 3],
            attempts=f'[{{"provider":"p{number % 2}","cost_usd":{number / 4}}},{{"provider":"q","cost_usd":null}}]',
        )  # fmt: skip
        for each in (in_file, ledger):
            each.record(call)
            each.connection(connection(number, outcome=("ok", "error", "tls_refused")[number % 3]))
    assert in_file.close() == ledger.close() == 0
    for by in ([name] for name in DIMENSIONS):
        assert usage(database, by=by) == usage(tmp_path / "usage.db", by=by)
    assert usage(database, by=(), writer="w1") == usage(tmp_path / "usage.db", by=(), writer="w1")
    assert usage(database, by=(), writer="w") == usage(database, by=(), writer="w1")
    assert usage(database, writer="other") == []
    assert destinations(database) == destinations(tmp_path / "usage.db")
    for words in (["client"], ["provider", "model"], []):
        of_database, of_file = (
            sorted((str(each.words), each.usd) for each in spending(place, words, START + 9))
            for place in (database, tmp_path / "usage.db")
        )
        assert of_database == of_file
        assert of_file


def test_batches_are_few_commits(postgres: Postgres, database: Database, opened: Opening, record) -> None:
    """Many records, few transactions."""
    ledger = opened()
    for number in range(1500):
        ledger.record(record(number))
    assert ledger.wait(60)
    assert ids(postgres, database) == calls(1500)
    ((commits,),) = postgres.run("SELECT count(DISTINCT xmin::text) FROM calls", database=database.url.database)
    assert commits <= 10


def test_each_start_is_a_writer_that_names_the_heads(database: Database, opened: Opening, record) -> None:
    """Of all machines: what another one has written last cannot be cut off unnoticed."""
    for turn in range(3):
        ledger = opened(machine=f"spool{turn}")
        ledger.record(record(turn))
        assert ledger.close() == 0
    assert list(heads(database)) == ["w1", "w2", "w3"]
    assert verify(database) == []
    assert verify(database, expected=heads(database)) == []


def test_verify_names_what_was_changed_and_what_was_cut(
    postgres: Postgres, database: Database, opened: Opening, record
) -> None:
    """As in a file."""
    for turn in range(2):
        ledger = opened()
        for number in range(3):
            ledger.record(record(number + turn))
        assert ledger.close() == 0
    name = database.url.database
    postgres.run("UPDATE calls SET output_tokens = 1 WHERE writer = 'w2' AND seq = 2", database=name)
    postgres.run("DELETE FROM calls WHERE writer = 'w1' AND seq = 3", database=name)
    found = {(problem.flaw, problem.writer, problem.seq) for problem in verify(database)}
    assert found == {(Flaw.CHANGED, "w2", 2), (Flaw.CUT, "w1", 3)}


def test_what_stands_in_the_place_of_ours_is_told(
    postgres: Postgres, database: Database, opened: Opening, record, caplog: pytest.LogCaptureFixture
) -> None:
    """A row that somebody has put there under our number stays, and is no silence."""
    ledger = opened()
    ledger.record(record(1))
    assert ledger.wait(30)
    postgres.run("UPDATE calls SET seq = 2, hash = 'x'", database=database.url.database)
    ledger.record(record(2))
    assert ledger.wait(30)
    assert "holds other records in the place of 1 of ours" in caplog.text


def test_what_was_closed_for_a_fork_goes_on(postgres: Postgres, database: Database, opened: Opening, record) -> None:
    """By a new connection, with the chain of before."""
    ledger = opened()
    for number in range(3):
        ledger.record(record(number))
        assert ledger.wait(30)
        with ledger.unopened():
            ((connections,),) = postgres.run(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'interpose' AND datname = $1",
                database.url.database,
            )
            assert connections == 0
    assert ledger.close() == 0
    assert ids(postgres, database) == calls(3)
    assert verify(database) == []


def test_two_machines_write_one_ledger(database: Database, opened: Opening, record) -> None:
    """At once, each its own chain, nothing lost, and one report of both."""
    both = [opened(machine=f"m{number}") for number in range(2)]

    def work(ledger: Ledger) -> None:
        for number in range(1000):
            ledger.record(record(number))

    threads = [threading.Thread(target=work, args=(ledger,)) for ledger in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ledger.close(timeout=60) for ledger in both] == [0, 0]
    assert verify(database) == []
    assert sum(row.calls for row in usage(database)) == 2000


# --- opening --------------------------------------------------------------------------------------------------------


def versions(postgres: Postgres, at: Database) -> list[int]:
    rows = postgres.run(f"SELECT version FROM {schema.VERSIONS} ORDER BY 1", database=at.url.database)
    return [version for (version,) in rows]


def test_a_database_of_the_first_version_is_brought_up(
    postgres: Postgres, database: Database, opened: Opening, record
) -> None:
    """Its records stay and their chain holds; before that it is read as it is."""
    name = database.url.database
    for statement in schema.STEPS[1]:
        postgres.run(statement, database=name)
    postgres.run(f"INSERT INTO {schema.VERSIONS} (version) VALUES (1)", database=name)
    old = Writer(writer="old", opened_at="2026-10-01T00:00:00.000000Z", version="0")
    postgres.run("INSERT INTO writers VALUES ($1, $2, $3, $4)", *old.told().values(), database=name)
    row = CALLS.seal(storable(record(1)), writer="old", seq=1, prev_hash=old.start)
    places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
    postgres.run(f"INSERT INTO calls VALUES ({places})", *row, database=name)
    assert (destinations(database), verify(database), len(usage(database))) == ([], [], 1)
    ledger = opened()
    ledger.record(record(2))
    ledger.connection(connection(1))
    assert ledger.close() == 0
    assert versions(postgres, database) == list(schema.STEPS)
    assert verify(database) == []
    assert sorted(heads(database)) == ["old", "w1", "w1:connections"]


def test_many_that_start_at_once_make_the_tables_once(postgres: Postgres, database: Database, opened: Opening) -> None:
    """By a lock in the database: none of them fails, and none does it twice."""
    errors: list[BaseException] = []
    sinks = [PostgresSink(database) for _ in range(8)]

    def start(sink: PostgresSink, name: str) -> None:
        try:
            assert sink.open(Writer(writer=name, opened_at="", version="0")) is not None
        except BaseException as error:  # noqa: BLE001 - the test is to see it
            errors.append(error)

    threads = [threading.Thread(target=start, args=(sink, f"s{number}")) for number, sink in enumerate(sinks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for sink in sinks:
        sink.close()
    assert errors == []
    assert versions(postgres, database) == list(schema.STEPS)


def test_a_role_that_may_only_write_is_enough(postgres: Postgres, database: Database, opened: Opening, record) -> None:
    """Once the tables are there. Who may make none, and finds none, is told so."""
    name = database.url.database
    postgres.run(f"CREATE ROLE {name}_writer LOGIN PASSWORD '{PASSWORD}'")
    meek = Database(parsed(postgres.url(name, login=f"{name}_writer:${{FAKE}}")), PASSWORD)
    with pytest.raises(LedgerError, match=r"cannot be opened: permission denied for schema public"):
        opened(meek)
    assert opened().close() == 0
    postgres.run(f"GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {name}_writer", database=name)
    ledger = opened(meek)
    ledger.record(record(1))
    assert ledger.close() == 0


def a_newer_ledger(postgres: Postgres, at: Database) -> Database:
    postgres.run(f"CREATE TABLE {schema.VERSIONS} AS SELECT {schema.VERSION + 1} AS version", database=at.url.database)
    return at


def a_strangers_table(postgres: Postgres, at: Database) -> Database:
    postgres.run("CREATE TABLE calls (number text)", database=at.url.database)
    return at


def a_wrong_password(postgres: Postgres, at: Database) -> Database:
    return replace(at, password=f"{PASSWORD}-wrong")


def no_such_database(postgres: Postgres, at: Database) -> Database:
    return replace(at, url=replace(at.url, database="none"))


def tls_that_is_not_there(postgres: Postgres, at: Database) -> Database:
    return replace(at, url=replace(at.url, sslmode="require"))


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (a_newer_ledger, rf"was written by a newer interpose \(schema \d+, this one knows {schema.VERSION}\): upgrade"),
        (a_strangers_table, "has a table `calls` of something else: give the ledger a database of its own"),
        (a_wrong_password, 'cannot be opened: password authentication failed for user "postgres"'),
        (no_such_database, 'cannot be opened: database "none" does not exist'),
        (tls_that_is_not_there, "cannot be opened: PostgreSQL server at .* rejected SSL upgrade"),
    ],
)
def test_what_time_does_not_repair_keeps_from_starting(
    postgres: Postgres, database: Database, opened: Opening, prepare, message: str
) -> None:
    """A LedgerError that names the database and the reason, to writers and to readers, without the password."""
    bad = prepare(postgres, database)
    with pytest.raises(LedgerError, match=message) as raised:
        opened(bad)
    assert str(bad) in str(raised.value) or bad.url.database in str(raised.value)
    with pytest.raises(LedgerError, match=message.replace("opened", "read")) as read:
        usage(bad)
    assert PASSWORD not in f"{raised.value!r} {raised.value.__cause__!r} {read.value!r} {bad!r}"


def test_a_writer_is_entered_once(database: Database, opened: Opening) -> None:
    """As in a file: the second is refused."""
    sinks = [PostgresSink(database) for _ in range(2)]
    same = Writer(writer="same", opened_at="", version="0")
    assert sinks[0].open(same) is not None
    with pytest.raises(LedgerError, match="knows the writer same already"):
        sinks[1].open(same)
    sinks[0].close()


def test_an_empty_database_has_nothing_to_read(database: Database) -> None:
    """It is said, as of a file that is not there."""
    with pytest.raises(LedgerError, match="has no tables yet: nothing has been recorded there"):
        usage(database)


def test_a_database_that_acknowledges_too_early_is_told_not_to(postgres: Postgres, database: Database) -> None:
    """With synchronous_commit off, a crash of it would lose what it has acknowledged."""
    postgres.run(f"ALTER DATABASE {database.url.database} SET synchronous_commit = off")

    async def asked() -> str:
        made = await connect(database)
        try:
            return str(await made.fetchval("SHOW synchronous_commit"))
        finally:
            await made.close()

    assert asyncio.run(asked()) == "on"


def test_what_is_not_installed_is_named() -> None:
    """With what installs it."""
    program = """
import sys
sys.modules["asyncpg"] = None
from interpose.ledger import LedgerError
try:
    import interpose.ledger.postgres
except LedgerError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "asyncpg is not installed" in done.stdout
    assert "pip install 'interpose[postgres]'" in done.stdout


# --- outages --------------------------------------------------------------------------------------------------------


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def waiting(tmp_path: Path) -> int:
    """The records in the spool."""
    return sum(path.read_bytes().count(b"\n") - 1 for path in (tmp_path / "spool").glob("*/*.jsonl"))


def test_a_database_that_is_away_at_the_start_gets_all_later(
    postgres: Postgres, database: Database, opened: Opening, record, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The start is not held up; records are on disk meanwhile; the tables are made when it comes."""
    postgres.signal(signal.SIGKILL)
    ledger = opened()
    for number in range(300):
        ledger.record(record(number))
    until(lambda: waiting(tmp_path) == 300)
    assert ledger.pending == 300
    assert "is away" in caplog.text
    postgres.start()
    ledger.record(record(300))
    assert ledger.wait(60)
    assert ids(postgres, database) == calls(301)
    assert verify(database) == []
    assert waiting(tmp_path) == 0
    assert "is written again" in caplog.text
    assert PASSWORD not in caplog.text


def test_a_crash_of_the_database_loses_nothing(
    postgres: Postgres, database: Database, opened: Opening, record, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed under load, twice: what was acknowledged is there, and all else comes, once and in order."""
    ledger = opened(batch=20, interval=0.005)
    sent = 0
    for _ in range(2):
        before = ledger.acknowledged
        while ledger.acknowledged < before + 60:
            ledger.record(record(sent))
            sent += 1
            time.sleep(0.0005)
        postgres.signal(signal.SIGKILL)
        acknowledged = ledger.acknowledged
        for _ in range(50):
            ledger.record(record(sent))
            sent += 1
        postgres.start()
        assert len(ids(postgres, database)) >= acknowledged
    assert ledger.wait(60)
    assert ids(postgres, database) == calls(sent)
    assert verify(database) == []
    assert ledger.lost == 0


def test_a_frozen_database_holds_nobody_up(
    postgres: Postgres, database: Database, opened: Opening, record, tmp_path: Path
) -> None:
    """Recording stays quick, records go to disk while a commit hangs, and come once when it does not any more."""
    ledger = opened()
    ledger.record(record(0))
    assert ledger.wait(30)
    postgres.signal(signal.SIGSTOP)
    begin = time.monotonic()
    for number in range(1, 1000):
        ledger.record(record(number))
    assert time.monotonic() - begin < 2
    until(lambda: waiting(tmp_path) == 999)
    postgres.signal(signal.SIGCONT)
    assert ledger.wait(60)
    assert ids(postgres, database) == calls(1000)
    assert verify(database) == []


def test_what_could_not_be_written_waits_for_the_next_start(
    postgres: Postgres, database: Database, opened: Opening, record, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The end is not held up, and says how many wait where; the next start brings them before its own."""
    ledger = opened()
    ledger.record(record(0))
    assert ledger.wait(30)
    postgres.signal(signal.SIGKILL)
    for number in range(1, 40):
        ledger.record(record(number))
    begin = time.monotonic()
    assert ledger.close(timeout=60) == 39
    assert time.monotonic() - begin < 30
    assert f"has not got 39 records: they wait in {tmp_path / 'spool'}" in caplog.text
    assert waiting(tmp_path) == 39
    postgres.start()
    again = opened()
    assert again.caught_up(60)
    again.record(record(40))
    assert again.close() == 0
    assert ids(postgres, database) == calls(40)
    assert ids(postgres, database, "w2") == ["call-40"]
    assert verify(database) == []
    assert not list((tmp_path / "spool").glob("w*"))


def test_the_end_waits_no_longer_than_it_is_told_to(
    postgres: Postgres, database: Database, opened: Opening, record, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Though a commit hangs, what is not written is said, and is there for the next start."""
    ledger = opened()
    ledger.record(record(0))
    assert ledger.wait(30)
    postgres.signal(signal.SIGSTOP)
    for number in range(1, 6):
        ledger.record(record(number))
    assert ledger.close(timeout=0.5) == 5
    assert "has not got 5 records" in caplog.text
    assert waiting(tmp_path) == 5
    postgres.signal(signal.SIGCONT)
    until(lambda: not any(thread.name == "ledger-w1" for thread in threading.enumerate()))
    assert opened().caught_up(60)
    assert ids(postgres, database) == calls(6)
    assert verify(database) == []


def test_two_starts_without_the_database_and_one_with_it(
    postgres: Postgres, database: Database, opened: Opening, record
) -> None:
    """Each names as its heads what it found in the spool, and all of it verifies."""
    postgres.signal(signal.SIGKILL)
    for turn in range(2):
        ledger = opened()
        ledger.record(record(turn))
        assert ledger.close() == 1
    postgres.start()
    last = opened()
    assert last.caught_up(60)
    last.record(record(2))
    assert last.close() == 0
    rows = postgres.run("SELECT writer, heads FROM writers", database=database.url.database)
    ends = heads(database)
    assert dict(rows)["w2"] == f'{{"w1":"{ends["w1"]}"}}'
    assert verify(database) == []


def test_a_full_spool_counts_what_it_cannot_keep(
    postgres: Postgres, database: Database, opened: Opening, record, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is dropped in silence: memory is used next, then a gap stands in the chain, with the number."""
    postgres.signal(signal.SIGKILL)
    ledger = opened(limit=60_000, capacity=100, batch=50)
    for number in range(50):
        ledger.record(record(number))
    until(lambda: waiting(tmp_path) == 50)
    for number in range(50, 1000):
        ledger.record(record(number))
    assert ledger.lost > 700
    until(lambda: re.search(r"cannot be written .* [1-9][0-9]* are lost", caplog.text))
    postgres.start()
    assert ledger.wait(60)
    ledger.record(record(1000))
    assert ledger.close() == 0
    names = ids(postgres, database)
    report = usage(database)
    kept = sum(row.calls for row in report)
    assert (kept + report.lost, report.lost) == (1001, ledger.lost)
    assert names[:50] == calls(50)
    assert names[-1] == "call-1000"
    assert verify(database) == []


@pytest.mark.parametrize("frozen", [False, True], ids=["while it answers", "while it hangs"])
def test_kill_9_loses_nothing_acknowledged(
    postgres: Postgres, database: Database, opened: Opening, tmp_path: Path, frozen: bool
) -> None:
    """Killed under load: what was acknowledged is there, and what was recorded a moment before is in the spool."""
    log = tmp_path / "log"
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), postgres.socket_url(database.url.database), str(tmp_path / "spool"), str(log),
         "w", "1000", "0", "0.1"]
    )  # fmt: skip

    def lines(word: str) -> list[list[str]]:
        return [line.split()[1:] for line in log.read_text().splitlines() if line.startswith(word)]

    until(lambda: log.exists() and len(lines("acknowledged")) > 3)
    if frozen:
        postgres.signal(signal.SIGSTOP)
        until(lambda: waiting(tmp_path) > 300)
    killed = time.time()
    process.kill()
    assert process.wait() == -signal.SIGKILL
    postgres.revive()
    next_one = opened()
    assert next_one.caught_up(60)
    assert next_one.close() == 0
    names = ids(postgres, database, "w")
    assert len(names) >= int(lines("acknowledged")[-1][0])
    assert names == [f"w-{number}" for number in range(1, len(names) + 1)]
    old = [int(number) for number, at in lines("recorded") if float(at) < killed - 1]
    assert len(names) >= max(old, default=0)
    assert verify(database) == []


# --- several sinks --------------------------------------------------------------------------------------------------


def test_one_that_is_down_holds_up_no_other(
    postgres: Postgres, database: Database, record, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file beside the database has every record at once, and a sound chain of its own."""
    from interpose.ledger.sqlite import SqliteSink

    path = tmp_path / "usage.db"
    postgres.signal(signal.SIGKILL)
    caplog.set_level(logging.CRITICAL)
    ledger = Ledger.start(
        [Way(SqliteSink(path)), Way(PostgresSink(database), lambda: Spool(tmp_path / "spool", limit=1 << 30))],
        writer="w1", pace=Pace(clock=lambda: START),
    )  # fmt: skip
    for number in range(100):
        ledger.record(record(number))
    until(lambda: ledger.acknowledged == 100)
    assert ledger.pending == 100
    assert sum(row.calls for row in usage(path)) == 100
    postgres.start()
    assert ledger.close(timeout=60) == 0 or ledger.pending == 100
    again = Ledger.start(
        [Way(PostgresSink(database), lambda: Spool(tmp_path / "spool", limit=1 << 30))],
        writer="w2", pace=Pace(clock=lambda: START),
    )  # fmt: skip
    assert again.caught_up(60)
    assert again.close() == 0
    assert usage(database) == usage(path)
    assert verify(database) == verify(path) == []
