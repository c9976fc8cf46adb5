"""Retention of JSON lines: killed, read or written beside at any moment, it loses nothing else, and all verifies."""

from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.ledger.conftest import START, invented
from tests.ledger.test_retention import DAY, DAYS, Place, in_lines, told

from interpose.ledger import Ledger, LedgerError, ageing, rotation, utc_text
from interpose.ledger.checkpoints import append, named, state
from interpose.ledger.jsonl import JsonlSink, read
from interpose.ledger.lane import Pace
from interpose.ledger.parts import cuts_path, locked, parts
from interpose.ledger.pruning import Keep, Taken
from interpose.ledger.record import CALLS, storable
from interpose.ledger.retention import prune
from interpose.ledger.sink import Placed, Writer
from interpose.ledger.sums import usage
from interpose.ledger.verify import examine, verify
from interpose.ledger.writer import Way
from interpose.rules.sinks import SinkFile

BODY = b"words and words " * 100
KILLED = Path(__file__).with_name("killed_pruning.py")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return in_lines(tmp_path / "logs" / "calls.jsonl")


def path_of(place: Place) -> Path:
    assert isinstance(place.at, SinkFile)
    return place.at.path


def names(place: Place) -> list[str]:
    """What lies there, beside the file of cuts."""
    return sorted(each.name for each in path_of(place).parent.iterdir() if not each.name.endswith(".cuts"))


def test_what_is_old_is_taken_from_parts_and_the_file_is_begun_anew(place: Place) -> None:
    """A part is set aside by the first run that finds something old, and is gone when all of it is."""
    place.grow("a")
    inode = path_of(place).stat().st_ino
    assert place.prune(4).records == {"calls": 4, "connections": 4}
    assert names(place) == ["calls.jsonl", "calls.jsonl.part-00000001"]
    assert path_of(place).stat().st_size == 0
    assert path_of(place).stat().st_ino != inode
    place.grow("b", days=range(8, DAYS))
    assert place.prune(9).records == {"calls": 5 + 1, "connections": 5 + 1}
    assert names(place) == ["calls.jsonl", "calls.jsonl.part-00000001", "calls.jsonl.part-00000002"]
    assert place.prune(DAYS).records == {"calls": 2, "connections": 2}
    assert names(place) == ["calls.jsonl"]
    place.grow("c", days=range(9, DAYS))
    assert place.ids() == ["c-9"]
    assert verify(place.at) == []


def test_bodies_go_before_their_lines(place: Place) -> None:
    """What was said is gone from the disk, that it was said is not; a part without bodies is not looked into again."""
    place.grow("a", body=BODY)
    done = place.prune(2, bodies=6)
    assert (done.records, done.bodies) == ({"calls": 2, "connections": 2, "captures": 2}, 6)
    assert [row[0] for row in place.run("SELECT body IS NOT NULL FROM captures ORDER BY seq")] == [
        day >= 6 for day in range(2, DAYS)
    ]
    assert verify(place.at) == []
    assert place.prune(2, bodies=6).bodies == 0
    assert place.prune(2, bodies=DAYS).bodies == 4
    assert names(place) == ["calls.jsonl", "calls.jsonl.part-00000001-bare"]
    assert all(b'"body":null' in line for line in lines(place, "captures"))
    bare = path_of(place).with_name("calls.jsonl.part-00000001-bare")
    inode = bare.stat().st_ino
    assert place.prune(2, bodies=DAYS).bodies == 0
    assert bare.stat().st_ino == inode
    assert verify(place.at) == []


def lines(place: Place, table: str) -> list[bytes]:
    """Of all files."""
    files = [*parts(path_of(place)).values(), path_of(place)]
    return [
        line
        for file in files
        for line in file.read_bytes().splitlines(keepends=True)
        if line.startswith(b'{"table":"%s"' % table.encode())
    ]


def test_a_kill_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    """Before each step that changes a file: what is left verifies, has all that is young, and the next run ends it."""
    folder = tmp_path / "logs"
    place = in_lines(folder / "calls.jsonl")
    place.grow("a", body=BODY)
    place.prune(2)
    place.grow("b", body=BODY)
    place.prune(3)
    place.grow("c", days=range(4, DAYS), body=BODY)
    done = subprocess.run(
        [sys.executable, str(KILLED), str(folder), str(tmp_path / "copy")], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 30  # steps


def test_many_write_and_read_meanwhile(place: Place) -> None:
    """Writers who come and go while parts are set aside, written anew and removed: each young record is there once, and
    whoever verifies or reports at any moment finds nothing wrong.
    """
    place.grow("old", body=BODY)
    writers, each = 3, 300
    going = threading.Event()
    wrong: list[object] = []

    def write(number: int) -> None:
        for turn in range(3):
            ledger = Ledger.start(
                [Way(JsonlSink(path_of(place)))],
                writer=f"w{number}-{turn}",
                pace=Pace(clock=lambda: START, interval=0.001),
            )
            for count in range(each):
                ledger.record(invented((count % DAYS) * DAY, id=f"w{number}-{turn}-{count}"))
                if count % 10 == 0:
                    assert ledger.wait(60)
            if ledger.close(60):
                wrong.append("not all was written")

    def look() -> None:
        while not going.is_set():
            wrong.extend(verify(place.at))
            usage(place.at)
            state(place.at)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    reading = threading.Thread(target=look)
    for thread in (*threads, reading):
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            # Records come in any order of time: of a chain those go that are behind nothing young.
            place.prune(5, bodies=8, batch=50)
    finally:
        for thread in threads:
            thread.join()
        going.set()
        reading.join()
    assert wrong == []
    place.prune(5)
    assert verify(place.at) == []
    found = place.ids()
    assert len(set(found)) == len(found)
    young = {
        f"w{number}-{turn}-{count}"
        for number in range(writers) for turn in range(3) for count in range(each)
        if count % DAYS >= 5
    }  # fmt: skip
    assert young <= set(found)
    assert not {f"old-{day}" for day in range(5)} & set(found)


def test_what_is_removed_takes_no_space(place: Place) -> None:
    """Though a process that wrote it is still there, idle: it holds no file open."""
    ledger = Ledger.start([Way(JsonlSink(path_of(place)))], writer="a", pace=Pace(clock=lambda: START))
    ledger.record(invented(0))
    assert ledger.wait(30)
    assert place.prune(5).records == {"calls": 1}
    held = [os.readlink(each) for each in Path("/proc/self/fd").iterdir() if each.exists() or each.is_symlink()]
    assert not [each for each in held if "calls.jsonl" in each]
    ledger.record(invented(9 * DAY))
    assert ledger.close() == 0
    assert place.ids() == [f"call-{9 * DAY}"]
    assert verify(place.at) == []


def test_a_chain_that_goes_on_in_another_file_follows(place: Place) -> None:
    """What was before in the same process, and what a later one brings of one that is dead, also again."""
    sink, first = JsonlSink(path_of(place)), Writer(writer="w1", opened_at="", version="0")
    rows: list[Placed] = []
    before = first.start
    for number in range(6):
        row = CALLS.seal(storable(invented(number * DAY)), writer="w1", seq=number + 1, prev_hash=before)
        rows.append((CALLS, row))
        before = str(row[-1])
    assert sink.open(first) == first
    assert sink.write(first, rows[:3], 1)
    assert place.prune(2).records == {"calls": 2}
    assert sink.write(first, rows[3:4], 1)
    later = JsonlSink(path_of(place))
    assert later.open(Writer(writer="w2", opened_at="", version="0")) is not None
    assert later.write(first, rows, 1)
    assert [json.loads(line)["seq"] for line in lines(place, "calls")] == [3, 4, 5, 6]
    assert verify(place.at) == []
    assert json.loads(lines(place, "writers")[-2])["heads"] == json.dumps({"w1": rows[3][1][-1]}, separators=(",", ":"))


def test_who_writes_waits_for_the_file_and_keeps_its_records(place: Place) -> None:
    """While another process takes the file away, it is as one that is locked: nothing comes into what is set aside."""
    sink, writer = JsonlSink(path_of(place)), Writer(writer="w1", opened_at="", version="0")
    row = CALLS.seal(storable(invented(0)), writer="w1", seq=1, prev_hash=writer.start)
    assert sink.open(writer) == writer
    with path_of(place).open("r+b") as file:
        assert locked(file.fileno(), alone=True, patience=0)
        assert sink.write(writer, [(CALLS, row)], 0) is False
        path_of(place).rename(path_of(place).with_name("calls.jsonl.part-00000001"))
    assert sink.write(writer, [(CALLS, row)], 0) is True
    assert [json.loads(line)["table"] for line in path_of(place).read_text().splitlines()] == ["writers", "calls"]
    assert verify(place.at) == []


def test_a_lock_that_is_held_for_long_is_told(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """By somebody who was stopped in the middle, say; what waits is written when it is free."""
    place.grow("a", days=range(1))
    ledger = Ledger.start([Way(JsonlSink(path_of(place)))], writer="w1", pace=Pace(clock=lambda: START))
    with path_of(place).open("r+b") as file, caplog.at_level(logging.ERROR):
        assert locked(file.fileno(), alone=True, patience=30)
        ledger.record(invented(1))
        deadline = time.monotonic() + 60
        while "cannot be written (another process holds its lock)" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert ledger.close(30) == 0
    assert place.ids() == ["a-0", "call-1"]


def test_of_two_processes_one_prunes(place: Place) -> None:
    """By the lock of the file of cuts."""
    place.grow("a")
    place.prune(1)
    with cuts_path(path_of(place)).open("r+b") as file:
        assert locked(file.fileno(), alone=True, patience=0)
        with pytest.raises(Taken):
            place.prune(5)
    assert place.prune(5).records == {"calls": 4, "connections": 4}


def test_what_was_tampered_with_stays(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """As evidence, with all behind it in its chain; the rest goes, and the part with the evidence stays."""
    place.grow("a")
    place.grow("b")
    file = path_of(place)
    edited = file.read_bytes().splitlines(keepends=True)
    forged = next(at for at, line in enumerate(edited) if b'"id":"a-2"' in line)
    edited[forged] = edited[forged].replace(b'"status":200', b'"status":201')
    file.write_bytes(b"".join(edited))
    with caplog.at_level(logging.ERROR):
        done = place.prune(6)
    assert done.records == {"calls": 2 + 6, "connections": 12}
    assert done.left == ["writer a, record 3: changed: its content does not give its hash"]
    assert "retention deletes nothing from here on, so that it stays as evidence: writer a, record 3" in caplog.text
    assert told(examine(place.at)) == [("changed", "a", 3, 3)]
    assert place.prune(DAYS).records == {"calls": 4, "connections": 8}
    assert place.ids() == [f"a-{day}" for day in range(2, DAYS)]


@pytest.mark.parametrize("flaw", ["deleted", "forged", "unlinked", "torn"])
def test_who_alters_what_it_says_is_found(place: Place, flaw: str) -> None:
    """Its rows are a chain; a row that a crash has torn was never one."""
    place.grow("a")
    place.prune(2)
    place.prune(4)
    file = cuts_path(path_of(place))
    first, second = file.read_bytes().splitlines(keepends=True)
    file.write_bytes({
        "deleted": b"", "forged": first + second.replace(b"[4,", b"[5,"), "unlinked": second,
        "torn": first + second + first[:40],
    }[flaw])  # fmt: skip
    found = [each.flaw.value for each in examine(place.at).problems]
    if flaw == "torn":
        assert found == []
        assert place.prune(6).records == {"calls": 2, "connections": 2}
        assert verify(place.at) == []
        return
    assert found[0] == ("deleted" if flaw == "deleted" else "checkpoint")
    if flaw != "deleted":
        with pytest.raises(LedgerError, match="nothing is deleted: row"):
            place.prune(6)


def test_a_record_with_a_number_that_is_gone_is_found(place: Place) -> None:
    """Nobody writes it again: what was deleted ended with another hash."""
    place.grow("a")
    kept = lines(place, "calls")[1]
    place.prune(4)
    assert verify(place.at) == []
    with path_of(place).open("ab") as file:
        file.write(kept)
    assert told(examine(place.at)) == [("put in or replaced", "a", 2, 2)]


def test_a_batch_that_was_written_twice_goes_twice(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also behind younger records. Nobody is accused of it, either, while it is there still because a kill came before
    the last step.
    """
    place.grow("a")
    file = path_of(place)
    file.write_bytes(file.read_bytes() + b"".join(lines(place, "calls")[1:6]))
    assert verify(place.at) == []
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", _failing_behind(2))
        with pytest.raises(LedgerError, match="killed"):
            place.prune(6)
    assert len(lines(place, "calls")) == DAYS + 5
    assert verify(place.at) == []
    place.prune(6)
    assert len(lines(place, "calls")) == DAYS - 6
    assert verify(place.at) == []


def _failing_behind(count: int) -> Callable[[Path, Path], Path]:
    """So many files take another name."""
    rename, left = Path.rename, [True] * count

    def renamed(path: Path, target: Path) -> Path:
        if not left:
            raise OSError("killed")
        left.pop()
        return rename(path, target)

    return renamed


def test_a_deletion_that_retention_did_not_do_is_found(place: Place, tmp_path: Path) -> None:
    """At the beginning, behind it, at the end, a whole part; by a checkpoint also what was dated back."""
    kept = tmp_path / "checkpoints"
    place.grow("a")
    place.prune(2)
    place.grow("b")
    append(kept, at=utc_text(START + DAYS * DAY), ledger=named(place.at), state=state(place.at))
    assert examine(place.at, files=[kept]).problems == []
    part = parts(path_of(place))[1]
    whole = part.read_bytes()
    for seq in (3, 5, DAYS):
        part.write_bytes(
            b"".join(line for line in whole.splitlines(keepends=True) if b'"id":"a-%d"' % (seq - 1) not in line)
        )
        flaw = "cut" if seq == DAYS else "deleted"
        assert (flaw, "a", seq) in [each[:3] for each in told(examine(place.at))]
    part.unlink()
    assert ("cut", "a", 3) in [each[:3] for each in told(examine(place.at, files=[kept]))]
    part.write_bytes(whole)
    prune(place.at, Keep(DAY), clock=lambda: START + 6 * DAY, pause=lambda: False)
    assert verify(place.at) == []
    assert "is unknown to a later checkpoint" in examine(place.at, files=[kept]).problems[0].detail


def test_a_head_in_the_middle_is_not_missed(place: Place) -> None:
    """A writer that lives on is named by one that comes, also in a later file; then the named record goes."""
    first = Ledger.start([Way(JsonlSink(path_of(place)))], writer="a", pace=Pace(clock=lambda: START))
    for day in range(3):
        first.record(invented(day * DAY, id=f"a-{day}"))
    assert first.wait(30)
    place.prune(1)
    place.grow("b", days=range(3))
    for day in range(3, DAYS):
        first.record(invented(day * DAY, id=f"a-{day}"))
    assert first.close() == 0
    place.prune(5)
    assert place.ids() == [f"a-{day}" for day in range(5, DAYS)]
    assert verify(place.at) == []


def test_a_head_that_is_named_while_it_goes_is_not_missed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process starts when it is settled what is deleted, and names its last record; the chain goes on, and on goes
    retention.
    """
    first = Ledger.start([Way(JsonlSink(path_of(place)))], writer="a", pace=Pace(clock=lambda: START))
    for day in range(3):
        first.record(invented(day * DAY, id=f"a-{day}"))
    assert first.wait(30)
    place.prune(1)
    commit = rotation._Run._commit
    late = Writer(writer="late", opened_at="", version="0")

    def interrupted(run: rotation._Run, new: Path, final: Path, gone: ageing.Gone) -> None:
        named = JsonlSink(path_of(place)).open(late)
        assert named is not None
        assert '"a":' in named.heads
        commit(run, new, final, gone)

    with monkeypatch.context() as patched:
        patched.setattr(rotation._Run, "_commit", interrupted)
        assert place.prune(3).records == {"calls": 2}
    for day in range(3, DAYS):
        first.record(invented(day * DAY, id=f"a-{day}"))
    assert first.close() == 0
    assert verify(place.at) == []
    assert place.prune(5).records == {"calls": 2}
    assert verify(place.at) == []


def test_large_parts_are_not_written_anew_for_little(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor read to their ends each time: an eighth has to be old."""
    monkeypatch.setattr(rotation, "SMALL", 1000)
    monkeypatch.setattr(ageing, "QUIET", 2000)
    place.grow("a", days=range(20), body=BODY)
    assert place.prune(1).records == {}
    (part,) = parts(path_of(place)).values()
    size, inode = part.stat().st_size, part.stat().st_ino
    assert place.prune(2).records == {}
    assert part.stat().st_ino == inode
    assert place.prune(5).records == {"calls": 5, "connections": 5, "captures": 5}
    assert part.stat().st_size < size
    assert place.ids() == [f"a-{day}" for day in range(5, 20)]
    assert verify(place.at) == []


def test_a_file_of_a_day_or_of_its_size_is_set_aside(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nothing in it is too old yet: parts should be small when it is."""
    place.grow("a", days=range(DAYS - 1, DAYS))
    assert prune(place.at, Keep(30 * DAY), clock=lambda: START + DAYS * DAY - 1, pause=lambda: False).records == {}
    assert names(place) == ["calls.jsonl"]
    prune(place.at, Keep(30 * DAY), clock=lambda: START + DAYS * DAY + 1, pause=lambda: False)
    assert names(place) == ["calls.jsonl", "calls.jsonl.part-00000001"]
    place.grow("b", days=range(DAYS - 1, DAYS))
    monkeypatch.setattr(rotation, "SIZE", 100)
    prune(place.at, Keep(30 * DAY), clock=lambda: START + DAYS * DAY - 1, pause=lambda: False)
    assert names(place) == ["calls.jsonl", "calls.jsonl.part-00000001", "calls.jsonl.part-00000002"]
    assert place.ids() == ["a-9", "b-9"]
    assert verify(place.at) == []


def test_a_run_that_is_ended_changes_nothing(place: Place) -> None:
    """The next one does all of it."""
    place.grow("a")
    assert place.prune(6, batch=2, pause=lambda: True).records == {}
    assert len(place.ids()) == DAYS
    assert [name for name in names(place) if ".new" in name] == []
    assert place.prune(6).records == {"calls": 6, "connections": 6}
    assert verify(place.at) == []


def test_a_disk_that_is_full_gets_back_what_was_written_in_vain(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """At whatever is written: nothing is deleted, nothing lies there that was not before."""
    place.grow("a")
    place.prune(2)
    before = {each: each.read_bytes() for each in path_of(place).parent.iterdir()}
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        write(descriptor, data[:20])
        return 20

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(LedgerError, match="the disk is full"):
            place.prune(6)
    assert {each: each.read_bytes() for each in path_of(place).parent.iterdir()} == before
    assert place.prune(6).records == {"calls": 4, "connections": 4}
    assert verify(place.at) == []


def test_what_could_not_be_written_to_its_end_is_removed(place: Place) -> None:
    """Though its last bytes find no room when it is closed."""
    place.grow("a", days=range(7))
    place.grow("b", days=range(7))
    place.prune(2)
    before = names(place)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with pytest.raises(LedgerError, match="File too large"):
            place.prune(6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(place) == before
    assert place.prune(6).records == {"calls": 8, "connections": 8}
    assert verify(place.at) == []


def test_files_belong_to_whom_they_belonged(place: Place) -> None:
    """Who may read the ledger may read what retention makes of it, whoever prunes."""
    place.grow("a")
    path_of(place).chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path_of(place), 65534, 65534)
    place.prune(4)
    for each in path_of(place).parent.iterdir():
        status = each.stat()
        assert (each.name, status.st_mode & 0o777) == (each.name, 0o640)
        assert (status.st_uid, status.st_gid) == ((65534, 65534) if os.geteuid() == 0 else (os.geteuid(), os.getegid()))


def test_a_link_stays_one(place: Place) -> None:
    """What it leads to is set aside where it lies, on that disk, and nothing old is left there."""
    folder = path_of(place).parent
    there = folder.with_name("disk")
    folder.mkdir()
    there.mkdir()
    path_of(place).symlink_to(there / "calls.jsonl")
    place.grow("a")
    assert place.prune(4).records == {"calls": 4, "connections": 4}
    assert [each.name for each in folder.iterdir()] == ["calls.jsonl"]
    assert path_of(place).is_symlink()
    assert b"a-3" not in b"".join(each.read_bytes() for each in there.iterdir())
    place.grow("b")
    assert place.ids() == [*(f"a-{day}" for day in range(4, DAYS)), *(f"b-{day}" for day in range(DAYS))]
    assert verify(place.at) == []
    assert [row["number"] for row in state(place.at).cuts] == [1]
    assert place.prune(DAYS).records == {"calls": 6 + DAYS, "connections": 6 + DAYS}
    assert sorted(each.name for each in there.iterdir()) == ["calls.jsonl", "calls.jsonl.cuts"]
    assert verify(place.at) == []


def test_a_torn_line_is_gone_on_behind(place: Place) -> None:
    """Also one that another process has torn since. It stays where it is as long as the record before it does: what it
    holds of somebody's words is no younger.
    """
    sink, writer = JsonlSink(path_of(place)), Writer(writer="w1", opened_at="", version="0")
    rows, before = [], writer.start
    for number in range(2):
        rows.append((CALLS, CALLS.seal(storable(invented(number)), writer="w1", seq=number + 1, prev_hash=before)))
        before = str(rows[-1][1][-1])
    assert sink.open(writer) == writer
    assert sink.write(writer, rows[:1], 1)
    with path_of(place).open("ab") as file:
        file.write(b'{"table":"calls","writer":"w0"')
    assert sink.write(writer, rows[1:], 1)
    assert place.ids() == ["call-0", "call-1"]
    with closing(read(path_of(place))) as found:
        assert found.execute("SELECT count(*) FROM calls").fetchone() == (2,)
    assert verify(place.at) == []
    assert place.prune(1 / DAY).records == {"calls": 1}
    assert [line for line in lines(place, "calls") if b'"w0"' in line] == []
    assert verify(place.at) == []


def test_a_torn_line_holds_nothing_up(place: Place) -> None:
    """Neither a part of which nothing else is left, nor the end of what bodies said."""
    place.grow("a", body=BODY)
    torn = lines(place, "captures")[0][:-40]
    path_of(place).write_bytes(torn + b"\n" + path_of(place).read_bytes() + torn + b"\n")
    kept = b'{"table":"calls","writer":"a","an": "invention"}\n'
    assert place.prune(2, bodies=6).bodies == 6
    assert sum(line.endswith(torn[-20:] + b"\n") for line in lines(place, "captures")) == 2
    assert place.prune(2, bodies=DAYS).bodies == 4
    assert lines(place, "captures")[-1].startswith(b'{"table":"captures","writer":"a","seq":10,')
    assert verify(place.at) == []
    assert place.prune(DAYS).records == {"calls": 8, "connections": 8, "captures": 8}
    assert names(place) == ["calls.jsonl"]
    assert verify(place.at) == []
    # What nobody of us has written is no such line.
    place.grow("b")
    with path_of(place).open("ab") as file:
        file.write(kept)
    assert place.prune(DAYS).records == {"calls": DAYS, "connections": DAYS}
    assert lines(place, "calls") == [kept]
