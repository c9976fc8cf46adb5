"""Files of checkpoints: what they know is missed when it is gone, and who alters them is seen."""

import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.ledger.conftest import START, invented

from interpose.ledger import Ledger, LedgerError
from interpose.ledger.checkpoints import State, append, named, state
from interpose.ledger.record import CALLS
from interpose.ledger.schema import INSERT
from interpose.ledger.verify import examine
from interpose.rules.sinks import SinkFile

LENGTH = 6


def grow(path: Path, writer: str, length: int = LENGTH) -> None:
    ledger = Ledger.open(path, writer=writer, clock=lambda: START)
    for number in range(length):
        ledger.record(invented(number))
    assert ledger.close() == 0


def checkpoint(path: Path, to: Path, at: str = "2026-11-01T00:00:00Z") -> None:
    append(to, at=at, ledger=named(path), state=state(path))


def told(path: Path, *files: Path) -> list[str]:
    return [str(problem) for problem in examine(path, files=files).problems]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.db"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints.jsonl"


def test_a_ledger_that_goes_on_is_sound(path: Path, kept: Path) -> None:
    """Checkpoints on the way stay true; the same twice is one line."""
    for turn, writer in enumerate("abc"):
        grow(path, writer)
        checkpoint(path, kept, f"2026-11-0{turn + 1}T00:00:00Z")
        checkpoint(path, kept, "2026-12-01T00:00:00Z")
    assert [list(json.loads(line)["heads"]) for line in kept.read_text().splitlines()] == [["a"], ["b"], ["c"]]
    assert told(path, kept) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
@given(left=st.integers(0, LENGTH - 1), writer=st.sampled_from("ab"))
def test_a_cut_end_is_named_with_its_records(tmp_path_factory, left: int, writer: str) -> None:
    """Which are gone of which writer, and which checkpoint knows them."""
    folder = tmp_path_factory.mktemp("cut")
    path, kept = folder / "usage.db", folder / "checkpoints.jsonl"
    for each in "ab":
        grow(path, each)
        checkpoint(path, kept, f"2026-11-0{1 + 'ab'.index(each)}T00:00:00Z")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM calls WHERE writer = ? AND seq > ?", (writer, left))
    at = f"2026-11-0{1 + 'ab'.index(writer)}T00:00:00Z"
    which = f"record {LENGTH}" if left == LENGTH - 1 else f"records {left + 1} to {LENGTH}"
    (first, *_) = told(path, kept)
    assert first.startswith(f"writer {writer}, {which}: cut: ")
    assert f"a checkpoint of {at} knows" in first


def test_a_chain_that_was_written_anew_is_found(path: Path, kept: Path) -> None:
    """Flawless in itself, and the last one: only a checkpoint knows that it was another."""
    grow(path, "a")
    checkpoint(path, kept)
    with closing(sqlite3.connect(path)) as connection, connection:
        rows = connection.execute("SELECT * FROM calls ORDER BY seq").fetchall()
        connection.execute("DELETE FROM calls")
        head, host = rows[0][-2], CALLS.columns.index("host")
        for row in rows:
            forged = CALLS.seal((*row[:host], "forged", *row[host + 1 :]), writer="a", seq=row[1], prev_hash=head)
            head = forged[-1]
            connection.execute(INSERT["calls"], forged)
    assert told(path) == []
    (problem,) = told(path, kept)
    assert problem == (
        f"writer a, record {LENGTH}: put in or replaced: a checkpoint of 2026-11-01T00:00:00Z knows another record"
        " there: it was rewritten, with what follows"
    )


def test_a_chain_that_is_gone_is_missed(path: Path, kept: Path) -> None:
    """With its writer's row and all."""
    grow(path, "a")
    checkpoint(path, kept)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM calls")
        connection.execute("DELETE FROM writers")
    assert told(path, kept) == [
        f"writer a, records 1 to {LENGTH}: cut: the whole chain is gone: a checkpoint of 2026-11-01T00:00:00Z knows it"
    ]


def change(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1].replace(b"2026-11-02", b"2026-11-03"), lines[2]]


def forge(lines: list[bytes]) -> list[bytes]:
    return [lines[0], b'{"number":2}\n', lines[2]]


def put(lines: list[bytes], old: bytes, new: bytes) -> list[bytes]:
    assert old in lines[1]
    return [lines[0], lines[1].replace(old, new), lines[2]]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (change, "line 2 of {} was changed: its content does not give its hash"),
        (
            lambda lines: lines[:1] + lines[2:],
            "line 2 of {} does not follow from the one before it: lines were deleted",
        ),
        (lambda lines: lines[1:], "line 1 of {} does not follow from the one before it: lines were deleted or put in"),
        (lambda lines: [lines[1], lines[0], lines[2]], "line 1 of {} does not follow from the one before it"),
        (lambda lines: [*lines[:2], lines[1], lines[2]], "line 3 of {} does not follow from the one before it"),
        (forge, "lines were deleted or put in, and line 2 of {} is no checkpoint"),
        (lambda lines: [*lines, b"nonsense\n"], "line 4 of {} is no checkpoint, and nothing follows"),
        (lambda lines: [*lines, b"nonsense"], "line 4 of {} is no checkpoint, and nothing follows"),
        (
            lambda lines: put(lines, b'{"number":2', b'{"number":99999999999999999999'),
            "and line 2 of {} is no checkpoint",
        ),
        (lambda lines: put(lines, b'"w2":[1,', b'"w2":[1e30,'), "and line 2 of {} is no checkpoint"),
        (lambda lines: put(lines, b'"cuts":[]', b'"cuts":[1]'), "and line 2 of {} is no checkpoint"),
        (lambda lines: put(lines, b'"cuts":[]', b'"cuts":"x"'), "and line 2 of {} is no checkpoint"),
        (lambda lines: put(lines, b'{"number"', b'{"note":1,"number"'), "and line 2 of {} is no checkpoint"),
    ],
    ids=[
        *("changed", "deleted", "beginning cut", "reordered", "doubled", "replaced", "garbage", "garbage at the end"),
        *("a number", "a head", "a cut", "cuts", "a member more"),
    ],
)
def test_who_alters_the_file_is_seen(
    path: Path, kept: Path, edit: Callable[[list[bytes]], list[bytes]], said: str
) -> None:
    """Its lines are a chain of their own."""
    for turn in (1, 2, 3):
        grow(path, f"w{turn}", 1)
        checkpoint(path, kept, f"2026-11-0{turn}T00:00:00Z")
    lines = kept.read_bytes().splitlines(keepends=True)
    assert told(path, kept) == []
    kept.write_bytes(b"".join(edit(lines)))
    first = told(path, kept)[0]
    assert first.startswith("checkpoint: ")
    assert said.format(kept) in first


def test_a_line_that_a_crash_has_torn_is_no_tampering(path: Path, kept: Path) -> None:
    """The next one begins behind it, in its place in the chain."""
    grow(path, "a")
    checkpoint(path, kept)
    whole = kept.read_bytes()
    grow(path, "b")
    checkpoint(path, kept)
    kept.write_bytes(whole + kept.read_bytes()[len(whole) : -30])
    checkpoint(path, kept)
    found = examine(path, files=[kept])
    assert found.problems == []
    assert found.notes == [f"line 2 of {kept} is torn: a crash or a full disk has cut it, and it was written again"]


@pytest.mark.parametrize("left", [3, 30, 60])
def test_a_last_line_that_a_crash_has_torn_is_told(path: Path, kept: Path, left: int) -> None:
    """It is no tampering: who had cut it would have taken all of it. The next one goes on behind it."""
    grow(path, "a")
    checkpoint(path, kept)
    whole = kept.read_bytes()
    grow(path, "b")
    checkpoint(path, kept)
    kept.write_bytes(kept.read_bytes()[: len(whole) + left])
    found = examine(path, files=[kept])
    assert found.problems == []
    assert "line 2" in found.notes[0]
    assert "torn" in found.notes[0]
    checkpoint(path, kept)
    assert told(path, kept) == []


def test_one_file_has_several_ledgers(path: Path, kept: Path, tmp_path: Path) -> None:
    """Each is held against its own; one that the file does not know is an error, not a sound ledger."""
    other = tmp_path / "other.db"
    for each in (path, other):
        grow(each, "a")
        checkpoint(each, kept)
    assert told(path, kept) == told(other, kept) == []
    copy = path.rename(tmp_path / "copy.db")
    with pytest.raises(LedgerError, match=r"has no checkpoint of .*copy\.db: it knows .*other\.db, .*usage\.db"):
        told(copy, kept)


def test_lines_have_tips_as_a_database_has(tmp_path: Path, kept: Path) -> None:
    """Of a file of JSON lines, whose end is cut off."""
    from interpose.ledger.jsonl import JsonlSink
    from interpose.ledger.lane import Pace
    from interpose.ledger.writer import Way

    place = SinkFile("jsonl", tmp_path / "calls.jsonl")
    for writer in "ab":
        ledger = Ledger.start([Way(JsonlSink(place.path))], writer=writer, pace=Pace(clock=lambda: START))
        for number in range(LENGTH):
            ledger.record(invented(number))
        assert ledger.close() == 0
    append(kept, at="2026-11-01T00:00:00Z", ledger=named(place), state=state(place))
    assert {chain: seq for chain, (seq, _) in state(place).heads.items()} == {"b": LENGTH}
    assert examine(place, files=[kept]).problems == []
    place.path.write_bytes(b"".join(place.path.read_bytes().splitlines(keepends=True)[:-2]))
    (problem,) = examine(place, files=[kept]).problems
    assert (problem.flaw, problem.writer, problem.seq, problem.last) == ("cut", "b", LENGTH - 1, LENGTH)


def test_a_copy_is_the_only_ledger_of_its_kind_that_the_file_knows(path: Path, kept: Path, tmp_path: Path) -> None:
    """Of two sinks with one file of checkpoints, what was copied as evidence is held against its own lines."""
    grow(path, "a")
    checkpoint(path, kept)
    append(kept, at="2026-11-01T00:00:00Z", ledger="jsonl:/var/log/calls.jsonl", state=State({"x": (9, "f" * 64)}))
    copy = path.rename(tmp_path / "copy.db")
    assert told(copy, kept) == []
    with sqlite3.connect(copy) as connection:
        connection.execute("DELETE FROM calls WHERE seq = ?", (LENGTH,))
    connection.close()
    (problem,) = examine(copy, files=[kept]).problems
    assert problem.flaw == "cut"


def _append_many(kept: Path, begin: int) -> None:
    for number in range(begin, begin + 20):
        append(kept, at="2026-11-01T00:00:00Z", ledger="sqlite:usage.db", state=State({"a": (number, "f" * 64)}))


def test_several_processes_write_one_file(kept: Path) -> None:
    """Workers of a machine: one chain, no line lost."""
    with ProcessPoolExecutor(3) as pool:
        for done in [pool.submit(_append_many, kept, begin) for begin in (100, 200, 300)]:
            done.result()
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [line["number"] for line in lines] == list(range(1, 61))
    assert all(line["prev_hash"] == before["hash"] for before, line in pairwise(lines))


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """With its name and why."""
    with pytest.raises(LedgerError, match=r"the checkpoint cannot be written to .*: Is a directory"):
        append(tmp_path, at="", ledger="", state=State({}))
