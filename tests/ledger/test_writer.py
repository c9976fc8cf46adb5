"""The writer: batches, acknowledgement, outages, gaps; traffic never waits for it and never sees it fail."""

import asyncio
import json
import logging
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from interpose import __version__
from interpose.ledger import Ledger, LedgerError
from interpose.ledger.schema import VERSION
from interpose.ledger.verify import Flaw, verify


def rows(path: Path, columns: str = "seq, id") -> list[tuple]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {columns} FROM calls ORDER BY writer, seq").fetchall()


def gaps(path: Path) -> list[int]:
    """The counts of all gap records."""
    found = rows(path, "losses, entrance")
    return [loss["count"] for text, entrance in found if entrance == "ledger" for loss in json.loads(text)]


@contextmanager
def locked(path: Path):
    """Another process holds the write lock."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


class Outage:
    """A `connect` for Ledger.open whose connections fail to begin, or after having committed, while told to."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.after_commit: Exception | None = None
        self.opened = 0

    def connect(self, path: Path, **options) -> sqlite3.Connection:
        outage = self
        outage.opened += 1

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *arguments):
                if outage.error is not None and sql.startswith("BEGIN"):
                    raise outage.error
                cursor = super().execute(sql, *arguments)
                if outage.after_commit is not None and sql == "COMMIT":
                    error, outage.after_commit = outage.after_commit, None
                    raise error
                return cursor

        return sqlite3.connect(path, factory=Connection, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "usage.db"


# --- recording ------------------------------------------------------------------------------------------------------


async def test_a_flushed_record_is_in_the_file(path: Path, ledger_at, record) -> None:
    """flush() waits for the commit; the writer sets writer, seq and the chain."""
    ledger = ledger_at(path)
    ledger.record(record(1))
    ledger.record(record(2, stream=True, writer="somebody else", seq=77))
    assert await ledger.flush() is True
    assert rows(path, "writer, seq, id, stream") == [("w1", 1, "call-1", 0), ("w1", 2, "call-2", 1)]
    assert (ledger.acknowledged, ledger.pending, ledger.lost) == (2, 0, 0)
    assert verify(path) == []


async def test_flush_of_an_empty_ledger_is_true_at_once(path: Path, ledger_at) -> None:
    """Everything of nothing is committed."""
    assert await ledger_at(path).flush(0.0001) is True


def test_wait_is_flush_without_an_event_loop(path: Path, ledger_at, record) -> None:
    """True when committed, False when not in time."""
    ledger = ledger_at(path)
    ledger.record(record())
    assert ledger.wait(10) is True
    with locked(path):
        ledger.record(record())
        assert ledger.wait(0.01) is False
    assert ledger.wait(10) is True


def test_a_record_is_taken_as_it_is_now(path: Path, ledger_at, record) -> None:
    """Who changes it afterwards changes nothing in the ledger."""
    ledger = ledger_at(path)
    known = record(1)
    with locked(path):
        ledger.record(known)
        known.id = "changed"
    ledger.close()
    assert rows(path) == [(1, "call-1")]


def test_threads_may_record_together(path: Path, ledger_at, record) -> None:
    """Eight threads, one chain, nothing lost, each thread's records in its order."""
    ledger = ledger_at(path, batch=64)

    def work(thread: int) -> None:
        for number in range(250):
            ledger.record(record(number, client=str(thread)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.close() == 0
    found = rows(path, "client, id")
    assert len(found) == 2000
    for number in range(8):
        assert [name for client, name in found if client == str(number)] == [f"call-{turn}" for turn in range(250)]
    assert verify(path) == []


def test_commits_are_batched(path: Path, ledger_at, record) -> None:
    """Many records, few commits: one at once, one when a batch is full, one after the interval or a flush."""
    commits: list[int] = []
    ledger = ledger_at(path, batch=100, interval=30, on_commit=commits.append)
    ledger.record(record())
    assert ledger.wait(10)
    for number in range(100):
        ledger.record(record(number))
    deadline = time.monotonic() + 10
    while ledger.acknowledged < 101 and time.monotonic() < deadline:
        time.sleep(0.005)
    for number in range(5):
        ledger.record(record(number))
    assert ledger.acknowledged == 101
    assert ledger.wait(10)
    assert commits[0] == 1
    assert commits[-1] == ledger.acknowledged == 106
    assert len(commits) <= 5


def test_the_interval_is_kept_without_a_flush(path: Path, ledger_at, record) -> None:
    """A record alone is committed soon, without anybody asking."""
    ledger = ledger_at(path)
    for number in range(3):
        ledger.record(record(number))
        time.sleep(0.01)
    deadline = time.monotonic() + 10
    while ledger.acknowledged < 3:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_fault_of_on_commit_ends_nothing(path: Path, ledger_at, record, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next record is committed."""

    def fail(seq: int) -> None:
        raise RuntimeError("not yours")

    ledger = ledger_at(path, on_commit=fail)
    for number in range(2):
        ledger.record(record(number))
        assert ledger.wait(10)
    assert len(rows(path)) == 2
    assert "on_commit failed" in caplog.text


def test_what_is_no_record_is_counted(path: Path, ledger_at, record, caplog: pytest.LogCaptureFixture) -> None:
    """record() never raises: a fault costs the record, and a gap says so in its place."""
    ledger = ledger_at(path)
    ledger.record(record(1))
    ledger.record(None)
    ledger.record(record(2))
    assert ledger.close() == 0
    assert [name for _, name in rows(path)] == ["call-1", "gap-w1-2", "call-2"]
    assert gaps(path) == [1]
    assert ledger.lost == 1
    assert "could not be taken" in caplog.text


def test_a_secret_does_not_reach_the_file(path: Path, ledger_at, record) -> None:
    """`scrub` stands before the queue: neither the database nor its log has the value."""
    ledger = ledger_at(path, scrub=lambda text: text.replace("sk-fake-not-a-key", "***"))
    ledger.record(record(attempts='[{"reason":"bad key sk-fake-not-a-key"}]', asked_model="sk-fake-not-a-key"))
    assert ledger.wait(10)
    for file in path.parent.iterdir():
        assert b"sk-fake" not in file.read_bytes()


# --- ending ---------------------------------------------------------------------------------------------------------


def test_close_drains(path: Path, ledger_at, record) -> None:
    """All that was recorded is committed, in many batches, and a second close is harmless."""
    ledger = ledger_at(path, batch=10)
    for number in range(1000):
        ledger.record(record(number))
    assert ledger.close() == 0
    assert ledger.close() == 0
    assert len(rows(path)) == 1000


def test_close_says_what_it_could_not_write(path: Path, ledger_at, record, caplog: pytest.LogCaptureFixture) -> None:
    """With the file locked to the end, close returns in time, with the number."""
    ledger = ledger_at(path)
    with locked(path):
        for number in range(7):
            ledger.record(record(number))
        begin = time.monotonic()
        assert ledger.close(timeout=0.2) == 7
        assert time.monotonic() - begin < 4
    assert "closed with 7 records that could not be written" in caplog.text
    assert ledger.wait(0.1) is False


def test_a_record_after_close_is_refused_aloud(path: Path, ledger_at, record, caplog: pytest.LogCaptureFixture) -> None:
    """Not raised, but logged and counted."""
    ledger = ledger_at(path)
    ledger.close()
    ledger.record(record())
    assert ledger.lost == 1
    assert "after the ledger" in caplog.text


async def test_a_cancelled_flush_leaves_the_ledger_well(path: Path, ledger_at, record) -> None:
    """Who stops waiting disturbs nobody else."""
    ledger = ledger_at(path)
    with locked(path):
        ledger.record(record(1))
        waiting = asyncio.create_task(ledger.flush())
        assert await ledger.flush(0.02) is False
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
    assert await ledger.flush(10) is True


def test_an_exit_without_close_drains_too(path: Path) -> None:
    """A program that forgets close() ends, and has its records."""
    program = f"""
import time
from pathlib import Path
from interpose.ledger import Ledger, Record
ledger = Ledger.open(Path({str(path)!r}), writer="w", clock=time.time, interval=30)
for number in range(100):
    ledger.record(Record(id=str(number), started_at="", finished_at="", entrance="embedded", method="POST", host="h",
                         path="/", endpoint="chat", outcome="ok"))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert len(rows(path)) == 100


# --- outages --------------------------------------------------------------------------------------------------------


def test_a_locked_file_delays_records_and_nobody_else(path: Path, ledger_at, record) -> None:
    """While another process holds the lock, recording stays quick; afterwards all is there."""
    ledger = ledger_at(path)
    with locked(path):
        begin = time.monotonic()
        for number in range(2000):
            ledger.record(record(number))
        assert time.monotonic() - begin < 1
        assert ledger.wait(1.3) is False  # longer than SQLite's own wait: at least one attempt has failed
    assert ledger.wait(10)
    assert [name for _, name in rows(path)] == [f"call-{number}" for number in range(2000)]
    assert verify(path) == []


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.OperationalError("database or disk is full"),
        sqlite3.OperationalError("attempt to write a readonly database"),
        sqlite3.OperationalError("disk I/O error"),
        sqlite3.DatabaseError("database disk image is malformed"),
        OSError("stale file handle"),
        RuntimeError("a fault of ours"),
    ],
    ids=str,
)
def test_an_outage_is_outlived(path: Path, ledger_at, record, error: Exception, caplog) -> None:
    """Whatever fails: it is said aloud, records wait, and are written when it is over."""
    outage = Outage()
    ledger = ledger_at(path, connect=outage.connect)
    outage.error = error
    for number in range(20):
        ledger.record(record(number))
    assert ledger.wait(0.3) is False
    assert ledger.pending == 20
    outage.error = None
    assert ledger.wait(10) is True
    assert [name for _, name in rows(path)] == [f"call-{number}" for number in range(20)]
    assert verify(path) == []
    assert f"cannot be written ({error}): traffic goes on" in caplog.text
    assert "is written again" in caplog.text


def test_an_outage_is_logged_once_a_minute(path: Path, ledger_at, record, caplog: pytest.LogCaptureFixture) -> None:
    """However often it is tried, and however often it comes and goes."""
    seconds = [0.0]
    outage = Outage()
    ledger = ledger_at(path, connect=outage.connect, timer=lambda: seconds[0])

    def fail() -> int:
        """One more outage with at least two attempts; how many complaints there are in all."""
        outage.error, tries = sqlite3.OperationalError("disk is full"), outage.opened
        ledger.record(record())
        while outage.opened < tries + 2:
            time.sleep(0.005)
        outage.error = None
        assert ledger.wait(10)
        return sum(entry.levelno == logging.ERROR for entry in caplog.records)

    assert fail() == 1
    seconds[0] = 59.0
    assert fail() == 1
    seconds[0] = 61.0
    assert fail() == 2


def test_what_does_not_fit_into_memory_becomes_a_gap(path: Path, ledger_at, record, caplog) -> None:
    """Records beyond the capacity are counted, and the count stands in the chain where they were lost."""
    outage = Outage()
    ledger = ledger_at(path, connect=outage.connect, capacity=10, batch=5)
    outage.error = sqlite3.OperationalError("disk is full")
    for number in range(40):
        ledger.record(record(number))
    assert ledger.wait(0.05) is False
    lost = ledger.lost
    assert 25 <= lost <= 30  # up to one batch has left the queue
    outage.error = None
    assert ledger.wait(10)
    ledger.record(record(99))
    assert ledger.close() == 0
    names = [name for _, name in rows(path)]
    kept = 40 - lost
    assert names[:kept] == [f"call-{number}" for number in range(kept)]
    assert names[kept:] == [f"gap-w1-{kept + 1}", "call-99"]
    assert gaps(path) == [lost]
    assert verify(path) == []


def test_records_and_gaps_add_up(path: Path, ledger_at, record) -> None:
    """Threads that record through outages that come and go: what is not in the file is in a gap's count."""
    outage = Outage()
    ledger = ledger_at(path, connect=outage.connect, capacity=20, batch=7, interval=0.001)
    stop = threading.Event()

    def flicker() -> None:
        while not stop.is_set():
            outage.error = sqlite3.OperationalError("disk I/O error")
            time.sleep(0.03)
            outage.error = None
            time.sleep(0.01)

    def work() -> None:
        for number in range(500):
            ledger.record(record(number))
            time.sleep(0.0002)

    threads = [threading.Thread(target=work) for _ in range(4)]
    weather = threading.Thread(target=flicker)
    weather.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    weather.join()
    assert ledger.close() == 0
    calls = sum(entrance == "intercept" for (entrance,) in rows(path, "entrance"))
    assert calls + sum(gaps(path)) == 2000
    assert sum(gaps(path)) == ledger.lost > 0
    assert verify(path) == []


def test_a_commit_that_fails_after_the_fact_is_not_repeated(path: Path, ledger_at, record) -> None:
    """The file had it although the commit raised: the retry finds its own records."""
    outage = Outage()
    ledger = ledger_at(path, connect=outage.connect)
    outage.after_commit = sqlite3.OperationalError("disk I/O error")
    for number in range(3):
        ledger.record(record(number))
    assert ledger.wait(10)
    assert [name for _, name in rows(path)] == ["call-0", "call-1", "call-2"]
    assert ledger.acknowledged == 3


def test_a_file_that_was_removed_is_made_anew(path: Path, ledger_at, record) -> None:
    """Nothing is written into a file without a name; the new one shows what it lacks."""
    ledger = ledger_at(path)
    for number in range(2):
        ledger.record(record(number))
    assert ledger.wait(10)
    shutil.rmtree(path.parent)
    ledger.record(record(2))
    assert ledger.wait(10)
    assert rows(path) == [(3, "call-2")]
    (problem,) = verify(path)
    assert (problem.flaw, problem.seq, problem.last) == (Flaw.DELETED, 1, 2)


def test_a_full_disk_and_its_end(path: Path) -> None:
    """A real one: the kernel refuses to let the file grow, then lets it."""
    program = f"""
import resource, sys, time
from pathlib import Path
from interpose.ledger import Ledger, Record
def call(number):
    return Record(id=str(number), started_at="", finished_at="", entrance="embedded", method="POST", host="h",
                  path="/", endpoint="chat", outcome="ok", app="x" * 1000)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
ledger = Ledger.open(Path({str(path)!r}), writer="w", clock=time.time)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
for number in range(1000):
    ledger.record(call(number))
assert ledger.wait(1.5) is False
assert ledger.pending > 0
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert ledger.wait(30) is True
assert ledger.close() == 0
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "cannot be written" in done.stderr
    assert [int(name) for _, name in rows(path)] == list(range(1000))
    assert verify(path) == []


def test_a_full_database_and_its_end(path: Path, ledger_at, record) -> None:
    """SQLite's own "database or disk is full", in the middle of a transaction."""
    pages = [16]

    def connect(path: Path, **options) -> sqlite3.Connection:
        connection = sqlite3.connect(path, **options)
        connection.execute(f"PRAGMA max_page_count = {pages[0]}")
        return connection

    ledger = ledger_at(path, connect=connect, batch=10)
    for number in range(300):
        ledger.record(record(number))
    assert ledger.wait(0.5) is False
    pages[0] = 100_000
    assert ledger.wait(10)
    assert len(rows(path)) == 300
    assert verify(path) == []


# --- opening --------------------------------------------------------------------------------------------------------


def test_only_the_owner_reads_it(path: Path, ledger_at, record) -> None:
    """Mode 0600 for the database and its log, 0700 for a folder that we made."""
    ledger = ledger_at(path)
    ledger.record(record())
    assert ledger.wait(10)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"usage.db": 0o600, "usage.db-wal": 0o600, "usage.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_that_others_can_read_is_pointed_out(path: Path, ledger_at, caplog: pytest.LogCaptureFixture) -> None:
    """It may be meant; it is not changed."""
    ledger_at(path).close()
    path.chmod(0o644)
    ledger_at(path)
    assert "can be read by other users" in caplog.text
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_each_opening_is_a_writer_that_names_the_heads(path: Path, ledger_at, record) -> None:
    """A restart begins from what it found: seq 1 again, prev_hash from the heads."""
    for turn in range(3):
        ledger = ledger_at(path)
        ledger.record(record(turn))
        assert ledger.close() == 0
    assert rows(path, "writer, seq") == [("w1", 1), ("w2", 1), ("w3", 1)]
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT writer, opened_at, version, heads FROM writers").fetchall()
        last = dict(connection.execute("SELECT writer, hash FROM calls"))
    assert [json.loads(seen) for *_, seen in found] == [{}, {"w1": last["w1"]}, {"w2": last["w2"]}]
    assert {(opened_at, version) for _, opened_at, version, _ in found} == {
        ("2026-11-01T00:00:00.000000Z", __version__)
    }
    assert verify(path) == []


def not_a_folder(path: Path) -> None:
    path.parent.write_text("a file")


def a_folder(path: Path) -> None:
    path.mkdir(parents=True)


def not_a_database(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("dear diary, " * 100)


def a_strangers_database(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (name)")


def a_newer_ledger(path: Path) -> None:
    Ledger.open(path, writer="old", clock=time.time).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")


def a_known_writer(path: Path) -> None:
    Ledger.open(path, writer="w", clock=time.time).close()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (not_a_folder, "cannot be opened for writing"),
        (a_folder, "cannot be opened for writing: Is a directory"),
        (not_a_database, "file is not a database"),
        (a_strangers_database, "is an SQLite database of something else"),
        (
            a_newer_ledger,
            rf"was written by a newer interpose \(schema {VERSION + 1}, this one knows {VERSION}\): upgrade",
        ),
        (a_known_writer, "knows the writer w already"),
    ],
)
def test_what_cannot_be_opened_is_said_clearly(path: Path, prepare, message: str) -> None:
    """A LedgerError that names the file and the reason, and leaves what is there as it was."""
    prepare(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(LedgerError, match=message) as raised:
        Ledger.open(path, writer="w", clock=time.time)
    assert str(path) in str(raised.value)
    assert (path.read_bytes() if path.is_file() else None) == before


@contextmanager
def unprivileged():
    """As an ordinary user, for whom modes hold; root's tests must not pass for being root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("existing", [False, True], ids=["new file", "existing file"])
def test_a_read_only_place_is_said_clearly(existing: bool) -> None:
    """A folder without write permission, with a ledger in it or none."""
    # Not tmp_path: its parents are root's alone if root runs the tests.
    folder = Path(tempfile.mkdtemp())
    path = folder / "usage.db"
    try:
        if existing:
            a_known_writer(path)
            path.chmod(0o444)
        folder.chmod(0o555)
        with unprivileged(), pytest.raises(LedgerError, match="cannot be opened for writing: Permission denied"):
            Ledger.open(path, writer="w2", clock=time.time)
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)
