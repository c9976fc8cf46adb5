"""What disks, locks, crashes and people do to a ledger: it is said, nothing waits, and what is missing is known."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.ledger.conftest import START, invented

from interpose.ledger import Ledger, LedgerError
from interpose.ledger.lane import Pace
from interpose.ledger.spool import Spool
from interpose.ledger.sqlite import SqliteSink
from interpose.ledger.sums import usage
from interpose.ledger.verify import verify
from interpose.ledger.writer import Way

ROOT = Path(__file__).parents[2]


def opened(path: Path, writer: str, spool: Path | None = None) -> Ledger:
    folder = spool or path.parent / "spool"
    way = Way(SqliteSink(path), lambda: Spool(folder, limit=1 << 30))
    return Ledger.start([way], writer=writer, pace=Pace(clock=lambda: START))


def ids(path: Path, writer: str) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM calls WHERE writer = ? ORDER BY seq", (writer,))]


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- disks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_a_full_disk_is_said_and_what_fits_nowhere_is_counted(kind: str, tmp_path: Path) -> None:
    """A real one, of a megabyte, with ledger and spool on it: what comes is kept or counted, in its place."""
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", sys.executable, "-m", "tests.ledger.small_disk", str(tmp_path), kind],
        check=False, timeout=120, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["problems"] == []
    assert told["ordered"]
    assert told["lost"] == told["gaps"] > 0
    assert told["there"] + told["gaps"] == told["recorded"]
    assert "cannot be written (" in done.stderr
    assert "traffic goes on, " in done.stderr
    assert "is written again" in done.stderr


@contextmanager
def as_nobody() -> Iterator[Path]:
    """A folder of nobody's, and nobody's rights: for root no file is read-only."""
    folder = Path(tempfile.mkdtemp())
    before = os.geteuid()
    if before == 0:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(before)
        for path in (folder, *(each for each in folder.rglob("*") if each.is_dir())):
            path.chmod(0o700)
        shutil.rmtree(folder)


def test_a_database_that_becomes_read_only_is_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    """Put back from a backup by somebody else: records wait on disk, and come when it can be written."""
    with as_nobody() as folder:
        ledger_of = folder / "ledger"
        ledger_of.mkdir()
        path = ledger_of / "usage.db"
        ledger = opened(path, "w1", folder / "spool")
        ledger.record(invented(1))
        assert ledger.wait(30)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(path, ledger_of / "backup")
        (ledger_of / "backup").chmod(0o444)
        (ledger_of / "backup").rename(path)
        for name in ("usage.db-wal", "usage.db-shm"):
            (ledger_of / name).unlink(missing_ok=True)
        ledger_of.chmod(0o555)
        for number in range(2, 6):
            ledger.record(invented(number))
        until(lambda: "cannot be written" in caplog.text)
        assert f"{path} cannot be opened for writing: Permission denied" in caplog.text
        assert "traffic goes on" in caplog.text
        assert [row.calls for row in usage(path)] == [1]  # it can be read all the same
        ledger_of.chmod(0o700)
        path.chmod(0o600)
        assert ledger.wait(30)
        assert ledger.close() == 0
        assert ids(path, "w1") == [f"call-{number}" for number in range(1, 6)]
        assert verify(path) == []


# --- locks ----------------------------------------------------------------------------------------------------------

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process holds the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate()
        assert process.returncode == 0


def test_a_database_that_is_locked_at_the_start_is_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The start is not refused: records wait on disk until whoever holds it is done."""
    path = tmp_path / "usage.db"
    first = opened(path, "w1")
    first.record(invented(1))
    assert first.close() == 0
    with held(path):
        ledger = opened(path, "w2")
        assert f"the ledger {path} is locked by another process: records wait until it is free" in caplog.text
        for number in range(2, 6):
            ledger.record(invented(number))
        until(lambda: list((tmp_path / "spool").glob("w2/*.jsonl")))
    assert ledger.wait(60)
    assert ledger.close() == 0
    assert ids(path, "w2") == [f"call-{number}" for number in range(2, 6)]
    assert verify(path) == []


# --- crashes --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A database and its log as a kill -9 has left them, with all records in the log."""
    folder = tmp_path_factory.mktemp("killed")
    path = folder / "usage.db"
    program = f"""
import os, signal, time
from pathlib import Path
from tests.ledger.conftest import invented
from interpose.ledger import Ledger
ledger = Ledger.open(Path({str(path)!r}), writer="w1", clock=time.time, batch=5)
for number in range(1, 41):
    ledger.record(invented(number))
    if number % 5 == 0:
        assert ledger.wait(30)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=60, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    return path.read_bytes(), Path(f"{path}-wal").read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(where=st.floats(0, 1), spoil=st.sampled_from(["cut", "garbled", "zeroed"]))
def test_a_torn_log_is_a_shorter_ledger(
    tmp_path_factory, killed: tuple[bytes, bytes], where: float, spoil: str
) -> None:
    """Wherever a crash has torn it: whole commits are there, in order, the next writer goes on, and all verifies."""
    database, log = killed
    at = int(where * len(log))
    tail = {"cut": b"", "garbled": b"\xa5" * (len(log) - at), "zeroed": bytes(len(log) - at)}[spoil]
    path = tmp_path_factory.mktemp("torn") / "usage.db"
    path.write_bytes(database)
    Path(f"{path}-wal").write_bytes(log[:at] + tail)
    ledger = opened(path, "w2")
    ledger.record(invented(99))
    assert ledger.close() == 0
    found = ids(path, "w1")
    assert found == [f"call-{number}" for number in range(1, len(found) + 1)]
    assert len(found) % 5 == 0
    assert ids(path, "w2") == ["call-99"]
    assert verify(path) == []


# --- a file that is spoiled -----------------------------------------------------------------------------------------

SPOILED = r"malformed: move it away, and a new one is begun; `sqlite3 FILE \.recover` saves what can be saved"


def spoil(path: Path) -> None:
    """All pages behind those of the schema, as a failing disk does it."""
    content = path.read_bytes()
    begin = 2 * 4096
    path.write_bytes(content[:begin] + b"\xff" * (len(content) - begin))


def test_a_corrupt_page_is_said_with_what_to_do(tmp_path: Path) -> None:
    """To whoever starts, reads or verifies; nothing is made of it."""
    path = tmp_path / "usage.db"
    ledger = opened(path, "w1")
    for number in range(200):
        ledger.record(invented(number))
    assert ledger.close() == 0
    spoil(path)
    before = path.read_bytes()
    for read in (usage, verify, lambda path: opened(path, "w2")):
        with pytest.raises(LedgerError, match=SPOILED):
            read(path)
    assert path.read_bytes() == before


def test_a_page_that_is_spoiled_meanwhile_is_an_outage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Records wait on disk; when the file is moved away they go into a new one, which shows what it lacks."""
    path = tmp_path / "usage.db"
    ledger = opened(path, "w1")
    for number in range(200):
        ledger.record(invented(number))
    assert ledger.wait(30)
    with caplog.at_level(logging.WARNING):
        with ledger.unopened():
            spoil(path)
        for number in range(200, 205):
            ledger.record(invented(number))
        until(lambda: "traffic goes on" in caplog.text)
        assert "saves what can be saved" in caplog.text
        path.rename(tmp_path / "spoiled.db")
        assert ledger.wait(60)
    assert ledger.close() == 0
    assert ids(path, "w1") == [f"call-{number}" for number in range(200, 205)]
    assert [(each.flaw.value, each.seq, each.last) for each in verify(path)] == [("deleted", 1, 200)]
