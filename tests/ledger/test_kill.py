"""Several processes on one file, and processes that are killed: what was acknowledged is there."""

import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.postgres import Postgres

from interpose.ledger.verify import heads, verify

from .kills import judged, kill

SCRIPT = Path(__file__).with_name("load_writer.py")


def start(path: Path, log: Path, writer: str, *, rate: int, total: int = 0, interval: float = 0.1) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), f"sqlite:{path}", "-", str(log), writer, str(rate), str(total), str(interval)]
    )


def lines(log: Path, word: str) -> list[list[str]]:
    """The fields of the log's lines that begin with that word."""
    if not log.exists():
        return []
    return [line.split()[1:] for line in log.read_text().splitlines() if line.startswith(word)]


def until(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def stored(path: Path, writer: str) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT id FROM calls WHERE writer = ? ORDER BY seq", (writer,))]


@pytest.mark.parametrize("kind", ["sqlite", "jsonl", "postgresql"])
def test_ten_kills_on_one_ledger(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Whatever the sink: nothing that was acknowledged is lost, what is missing is the last of each, chains hold.

    (`scripts/bench ledger --kills 100` is the same with more, and says how old what is missing was.)
    """
    place = f"{kind}:{tmp_path / 'calls'}"
    if kind == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        place = server.socket_url(server.database())
    dice = random.Random(kind)
    done = [kill(place, tmp_path, f"w{turn}", rate=2000, most=500, dice=dice) for turn in range(10)]
    found = judged(place, tmp_path, done)
    assert (found.lost, found.problems, found.chains) == (0, [], 10)
    assert found.acknowledged <= found.recorded - found.missing
    # A commit takes as long as it takes on a machine that does other things, too; not the length of a run, though.
    assert found.oldest_ms < 2000


@pytest.mark.parametrize("after", [1, 600])
def test_kill_9_loses_nothing_acknowledged(tmp_path: Path, after: int) -> None:
    """Killed under load after so many records: those acknowledged are there, and those older than 200 ms."""
    path, log = tmp_path / "usage.db", tmp_path / "log"
    process = start(path, log, "w", rate=1000)
    until(lambda: lines(log, "acknowledged") and len(lines(log, "recorded")) >= after)
    killed = time.time()
    process.kill()
    assert process.wait() == -signal.SIGKILL
    names = stored(path, "w")
    acknowledged = int(lines(log, "acknowledged")[-1][0])
    assert len(names) >= acknowledged
    assert names == [f"w-{number}" for number in range(1, len(names) + 1)]
    old = [int(number) for number, at in lines(log, "recorded") if float(at) < killed - 0.2]
    assert len(names) >= max(old, default=0)
    assert verify(path) == []


def test_the_next_writer_goes_on_after_a_kill(tmp_path: Path) -> None:
    """Killed over and over on one file: every writer's chain holds, and names the heads it found."""
    path = tmp_path / "usage.db"
    for turn in range(5):
        log = tmp_path / f"log{turn}"
        process = start(path, log, f"w{turn}", rate=2000, interval=0.01)
        until(lambda log=log, turn=turn: len(lines(log, "acknowledged")) > 3 * turn)
        process.kill()
        process.wait()
    assert verify(path) == []
    assert list(heads(path)) == ["w0", "w1", "w2", "w3", "w4"]


def test_three_processes_share_one_file(tmp_path: Path) -> None:
    """Created and written by three processes at once: every record of each is there, in its own chain."""
    path = tmp_path / "new" / "usage.db"
    writers = ["a", "b", "c"]
    processes = [start(path, tmp_path / name, name, rate=3000, total=1500, interval=0.001) for name in writers]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    for name in writers:
        assert stored(path, name) == [f"{name}-{number}" for number in range(1, 1501)]
    assert verify(path) == []
