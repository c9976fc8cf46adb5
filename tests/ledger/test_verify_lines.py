"""A file of JSON lines, verified: what an editor or a crash can do to one that it cannot do to a database."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ledger.conftest import START, invented

from interpose.ledger import Ledger, parts
from interpose.ledger.jsonl import JsonlSink, Line, lines
from interpose.ledger.lane import Pace
from interpose.ledger.pruning import Keep
from interpose.ledger.retention import prune
from interpose.ledger.sums import usage
from interpose.ledger.verify import Verification, examine
from interpose.ledger.writer import Way
from interpose.rules.sinks import SinkFile

LENGTH = 6
Lines = list[bytes]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Lines:
    """The lines of two writers: a's row, its records, b's row, its records."""
    path = tmp_path_factory.mktemp("lines") / "calls.jsonl"
    for writer in "ab":
        ledger = Ledger.start([Way(JsonlSink(path))], writer=writer, pace=Pace(clock=lambda: START))
        for number in range(LENGTH):
            ledger.record(invented(number))
        assert ledger.close() == 0
    return path.read_bytes().splitlines(keepends=True)


def found(folder: Path, lines: Lines) -> Verification:
    path = folder / "calls.jsonl"
    path.write_bytes(b"".join(lines))
    return examine(SinkFile("jsonl", path))


def flaws(folder: Path, lines: Lines) -> list[tuple[str, str, int, int]]:
    return [(each.flaw.value, each.writer, each.seq, each.last) for each in found(folder, lines).problems]


def test_an_untouched_file_is_sound(written: Lines, tmp_path: Path) -> None:
    """Two chains, told apart though they stand in one file."""
    told = found(tmp_path, written)
    assert (told.problems, told.notes, told.records) == ([], [], 2 * LENGTH)
    assert [(chain.writer, chain.first, chain.last) for chain in told.chains] == [("a", 1, LENGTH), ("b", 1, LENGTH)]


@settings(deadline=None, max_examples=30)
@given(one=st.integers(1, LENGTH), two=st.integers(1, LENGTH))
def test_lines_that_change_places_are_named(written: Lines, tmp_path_factory, one: int, two: int) -> None:
    """Nothing is wrong with any of them, but each stands where it was not written."""
    lines = list(written)
    lines[one], lines[two] = lines[two], lines[one]
    behind = [("reordered", "a", seq, seq) for seq in range(min(one, two), max(one, two))]
    assert flaws(tmp_path_factory.mktemp("swapped"), lines) == behind


def test_another_record_of_a_number_is_found(written: Lines, tmp_path: Path) -> None:
    """One that was put in behind; the very same, which a batch that came again leaves, is none."""
    assert flaws(tmp_path, [*written, written[3]]) == []
    forged = orjson.loads(written[3])
    forged["cost_usd"] = 0.0
    put_in = orjson.dumps(forged) + b"\n"
    assert flaws(tmp_path, [*written, put_in]) == [("put in or replaced", "a", 3, 3)]
    from interpose.ledger.record import CALLS

    sealed = CALLS.digest([forged[name] for name in CALLS.columns])
    told = found(tmp_path, [*written, orjson.dumps({**forged, "hash": sealed}) + b"\n"])
    assert [problem.detail for problem in told.problems] == [
        f"line {2 * LENGTH + 3} of {tmp_path / 'calls.jsonl'} has its number, and is another record"
    ]


@pytest.mark.parametrize(
    "edit",
    [
        lambda told: {**told, "note": "put in"},
        lambda told: {name: value for name, value in told.items() if name != "client"},
        lambda told: {**told, "stream": False},
        lambda told: {**told, "prev_hash": None},
    ],
    ids=["a name more", "a name less", "a boolean", "no link"],
)
def test_a_line_of_other_make_is_changed(written: Lines, tmp_path: Path, edit: Callable[[dict], dict]) -> None:
    """Be it only how a value is written: it is not what we wrote."""
    lines = [*written[:2], orjson.dumps(edit(orjson.loads(written[2]))) + b"\n", *written[3:]]
    assert flaws(tmp_path, lines) == [("changed", "a", 2, 2)]


@pytest.mark.parametrize(
    "garbage",
    [
        *(b"garbage\n", b"\xff\xfe\n", b"[]\n", b'"calls"\n', b'{"table":"other"}\n', b"{}\n"),
        *(b'{"table":"writers"}\n', b'{"table":"calls","seq":1}\n'),
    ],
)
def test_garbage_in_the_middle_is_named_by_its_line(written: Lines, tmp_path: Path, garbage: bytes) -> None:
    """And spoils nothing else; who reads a report is told."""
    told = found(tmp_path, [*written[:4], garbage, *written[4:]])
    (problem,) = told.problems
    assert str(problem) == f"not a record: line 5 of {tmp_path / 'calls.jsonl'} is no record of ours"


def test_reports_tell_of_lines_that_they_cannot_read(
    written: Lines, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They count the others, and are not silent about it."""
    path = tmp_path / "calls.jsonl"
    path.write_bytes(b"".join([*written[:4], b"garbage\n", *written[4:]]))
    with caplog.at_level(logging.WARNING):
        (row,) = usage(SinkFile("jsonl", path))
    assert row.calls == 2 * LENGTH
    assert f"{path}: a line cannot be read (line 5); `interpose usage verify` says what is missing" in caplog.text


def test_a_record_that_garbage_replaced_is_missing(written: Lines, tmp_path: Path) -> None:
    """The line and the record are both named."""
    assert flaws(tmp_path, [*written[:3], b"garbage\n", *written[4:]]) == [
        ("not a record", "", 4, 4),
        ("deleted", "a", 3, 3),
    ]


@pytest.mark.parametrize("kept", [1, 9, 60, 300])
def test_a_torn_line_is_told_and_is_no_tampering(written: Lines, tmp_path: Path, kept: int) -> None:
    """A kill -9 or a full disk has cut it; the next start went on behind it. One in the middle has left a hole."""
    torn = written[LENGTH][:kept] + b"\n"
    told = found(tmp_path, [*written[:LENGTH], torn, *written[LENGTH:]])
    assert told.problems == []
    assert told.notes[0].startswith(f"line {LENGTH + 1} of {tmp_path / 'calls.jsonl'} is torn")
    last = found(tmp_path, [*written[:-1], written[-1][:kept]])
    assert (last.problems, last.records) == ([], 2 * LENGTH - 1)
    assert flaws(tmp_path, [*written[:2], written[2][:kept] + b"\n", *written[3:]]) == [("deleted", "a", 2, 2)]


def test_a_writer_that_is_entered_otherwise_is_found(written: Lines, tmp_path: Path) -> None:
    """Its row may come again, as after a rotation, but not with other heads."""
    assert flaws(tmp_path, [*written, written[0]]) == []
    other = orjson.dumps({**orjson.loads(written[0]), "heads": '{"x":"y"}'}) + b"\n"
    (problem,) = found(tmp_path, [*written, other]).problems
    assert problem.detail.endswith(
        f"line {2 * LENGTH + 3} of {tmp_path / 'calls.jsonl'} enters the writer a again, with other heads"
    )


def test_what_comes_and_goes_while_it_is_opened_is_no_tampering(
    written: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention is quicker than who looks: between opening the files and reading what was deleted, more was."""
    path = tmp_path / "calls.jsonl"
    path.write_bytes(b"".join(written[:3]))
    opened = parts.snapshot
    turns: list[Path] = []

    @contextmanager
    def slow(path: Path) -> Iterator[list[parts.File]]:
        with opened(path) as files:
            if not turns:
                turns.append(path)
                with path.open("ab") as file:
                    file.write(b"".join(written[3:6]))
                prune(SinkFile("jsonl", path), Keep(0.0), clock=lambda: START + 3600, pause=lambda: False)
            yield files

    monkeypatch.setattr(parts, "snapshot", slow)
    assert examine(SinkFile("jsonl", path)).problems == []
    assert turns == [path]


def test_a_writer_that_comes_while_it_is_read_is_no_stranger(
    written: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written between two walks through the file has no part in either; the next time it has."""
    path = tmp_path / "calls.jsonl"
    path.write_bytes(b"".join(written))
    walks: list[dict[str, Any]] = []

    def interrupted(*arguments: Any, **options: Any) -> Iterator[Line]:
        if walks:
            ledger = Ledger.start([Way(JsonlSink(path))], writer=f"late{len(walks)}", pace=Pace(clock=lambda: START))
            ledger.record(invented(99))
            assert ledger.close() == 0
        walks.append(options)
        return lines(*arguments, **options)

    monkeypatch.setattr("interpose.ledger.verify.lines", interrupted)
    assert examine(SinkFile("jsonl", path)).problems == []
    assert len(walks) > 1
    monkeypatch.undo()
    after = examine(SinkFile("jsonl", path))
    assert "late1" in {chain.writer for chain in after.chains}
    assert after.problems == []
