"""A ledger of JSON lines: one record a line, for other programs to read, to ship and to rotate."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.ledger.conftest import START

from interpose.ledger import Connection, Ledger, LedgerError
from interpose.ledger.jsonl import JsonlSink
from interpose.ledger.lane import Pace
from interpose.ledger.record import CALLS, storable
from interpose.ledger.sink import Writer
from interpose.ledger.sums import usage
from interpose.ledger.traffic import destinations
from interpose.ledger.verify import Flaw, heads, verify
from interpose.ledger.writer import Way
from interpose.rules.sinks import SinkFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "calls.jsonl"


def opened(path: Path, writer: str = "w1") -> Ledger:
    return Ledger.start([Way(JsonlSink(path))], writer=writer, pace=Pace(clock=lambda: START))


def lines(path: Path, table: str = "calls") -> list[dict[str, object]]:
    return [told for told in map(json.loads, path.read_text().splitlines()) if told["table"] == table]


def connection() -> Connection:
    return Connection(
        id="c", opened_at="2026-11-01T00:00:00.000000Z", closed_at="", kind="tunnel", host="h", port=443, bytes_up=7
    )


def test_a_line_has_all_of_a_record(path: Path, record) -> None:
    """By the names of the columns, and chained; only the owner reads the file."""
    ledger = opened(path)
    call = record(1, asked_model="line\nbreak", cost_usd=0.25)
    ledger.record(call)
    ledger.connection(connection())
    assert ledger.close() == 0
    (line,) = lines(path)
    assert list(line) == ["table", *CALLS.columns]
    assert list(line.values())[3:-2] == list(storable(call))[2:-2]
    (line,) = lines(path, "connections")
    assert (line["host"], line["bytes_up"], line["seq"]) == ("h", 7, 1)
    assert verify(SinkFile("jsonl", path)) == []
    assert path.stat().st_mode & 0o777 == 0o600


def test_reports_read_it(path: Path, tmp_path: Path, record) -> None:
    """As they read the SQLite file; one that is not there is said to be none."""
    place = SinkFile("jsonl", path)
    with pytest.raises(LedgerError, match="there is no ledger at"):
        usage(place)
    both = [opened(path), Ledger.open(tmp_path / "usage.db", writer="w1", clock=lambda: START)]
    for ledger in both:
        for number in range(20):
            ledger.record(record(number, sent_model=f"m{number % 3}", input_tokens=number, cost_usd=number / 8))
        ledger.connection(connection())
        assert ledger.close() == 0
    assert usage(place) == usage(tmp_path / "usage.db")
    assert destinations(place) == destinations(tmp_path / "usage.db")


def test_a_file_that_is_rotated_is_begun_anew(path: Path, record) -> None:
    """By whoever renames it, without a signal: nothing is lost, and together the files are one sound chain."""
    ledger = opened(path)
    for number in range(3):
        ledger.record(record(number))
        assert ledger.wait(30)
        path.rename(path.with_suffix(f".{number}"))
    ledger.record(record(3))
    assert ledger.close() == 0
    parts = [*(path.with_suffix(f".{number}") for number in range(3)), path]
    assert [[line["id"] for line in lines(part)] for part in parts] == [[f"call-{number}"] for number in range(4)]
    (problem,) = verify(SinkFile("jsonl", path))
    assert (problem.flaw, problem.seq, problem.last) == (Flaw.DELETED, 1, 3)
    whole = path.with_name("whole.jsonl")
    whole.write_text("".join(part.read_text() for part in parts))
    assert verify(SinkFile("jsonl", whole)) == []


def test_a_torn_line_spoils_no_other(path: Path, record) -> None:
    """What a crash has cut off in the middle: the next process begins a line of its own."""
    ledger = opened(path)
    for number in range(2):
        ledger.record(record(number))
    assert ledger.close() == 0
    path.write_bytes(path.read_bytes()[:-40])
    ledger = opened(path, "w2")
    ledger.record(record(2))
    assert ledger.close() == 0
    assert [row.calls for row in usage(SinkFile("jsonl", path))] == [2]
    assert verify(SinkFile("jsonl", path)) == []


def test_a_start_names_the_heads(path: Path, record) -> None:
    """So that a line which is cut off later is missed."""
    for turn in range(2):
        ledger = opened(path, f"w{turn}")
        ledger.record(record(turn))
        assert ledger.close() == 0
    assert json.loads(str(lines(path, "writers")[1]["heads"])) == {"w0": heads(SinkFile("jsonl", path))["w0"]}
    kept = [line for line in path.read_text().splitlines(keepends=True) if '"call-0"' not in line]
    path.write_text("".join(kept))
    (problem,) = verify(SinkFile("jsonl", path))
    assert (problem.flaw, problem.writer) == (Flaw.CUT, "w0")


def test_what_comes_again_is_there_once(path: Path, record) -> None:
    """A batch whose commit was not heard of, in the same process or of one that has died since."""
    first = Writer(writer="w1", opened_at="", version="0")
    rows = []
    before = first.start
    for number in range(1, 4):
        rows.append((CALLS, CALLS.seal(storable(record(number)), writer="w1", seq=number, prev_hash=before)))
        before = str(rows[-1][1][-1])
    sink = JsonlSink(path)
    assert sink.open(first) == first
    for _ in range(2):
        assert sink.write(first, rows[:2], 1)
    sink.close()
    later = JsonlSink(path)
    assert later.open(Writer(writer="w2", opened_at="", version="0")) is not None
    assert later.write(first, rows, 1)
    later.close()
    assert [line["seq"] for line in lines(path)] == [1, 2, 3]
    assert verify(SinkFile("jsonl", path)) == []


def test_processes_share_a_file(path: Path, record) -> None:
    """Two writers at once: no line is mixed into another."""
    both = [opened(path, name) for name in ("w1", "w2")]

    def work(ledger: Ledger) -> None:
        for number in range(500):
            ledger.record(record(number))

    threads = [threading.Thread(target=work, args=(ledger,)) for ledger in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ledger.close(30) for ledger in both] == [0, 0]
    assert len(lines(path)) == 1000
    assert verify(SinkFile("jsonl", path)) == []


def test_a_full_disk_and_its_end(path: Path) -> None:
    """The kernel refuses to let the file grow in the middle of a line, then lets it."""
    program = f"""
import resource, time
from pathlib import Path
from interpose.ledger import Ledger, Record
from interpose.ledger.jsonl import JsonlSink
from interpose.ledger.lane import Pace
from interpose.ledger.writer import Way
def call(number):
    return Record(id=str(number), started_at="", finished_at="", entrance="embedded", method="POST", host="h",
                  path="/", endpoint="chat", outcome="ok", app="x" * 1000)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
ledger = Ledger.start([Way(JsonlSink(Path({str(path)!r})))], writer="w", pace=Pace(clock=time.time))
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
    told = []
    for line in path.read_text().splitlines():
        try:
            told.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # the one that was cut off
    assert [int(each["id"]) for each in told if each["table"] == "calls"] == list(range(1000))
    assert verify(SinkFile("jsonl", path)) == []


def test_a_place_that_cannot_be_written_is_said_clearly(path: Path) -> None:
    """At the start, with its name and the reason."""
    path.mkdir(parents=True)
    with pytest.raises(LedgerError, match=r"calls\.jsonl cannot be opened for writing: Is a directory"):
        opened(path)
