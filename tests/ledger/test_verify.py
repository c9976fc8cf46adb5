"""The chain's law: whatever is done to a record that was written is found and named."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interpose.ledger import LedgerError
from interpose.ledger.record import CALLS, canonical_heads, genesis, storable
from interpose.ledger.schema import INSERT, open_for_writing, register, tips
from interpose.ledger.verify import Flaw, heads, verify

LENGTH = 8

shared_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


def grow(path: Path, record, writer: str, length: int = LENGTH) -> None:
    """Write a chain the way the writer does, without its thread."""
    with closing(open_for_writing(path)) as connection:
        head = genesis(register(connection, writer, opened_at="2026", version="0").encode())
        for seq in range(1, length + 1):
            row = CALLS.seal(storable(record(seq, ttft_ms=seq / 3)), writer=writer, seq=seq, prev_hash=head)
            connection.execute(INSERT["calls"], row)
            head = str(row[-1])


def tamper(path: Path, *statements: str | tuple[str, tuple]) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(*((statement,) if isinstance(statement, str) else statement))


@pytest.fixture
def chain(tmp_path: Path, record):
    """A function that gives a fresh copy of a ledger with the chains a, then b."""
    grow(tmp_path / "original.db", record, "a")
    grow(tmp_path / "original.db", record, "b")
    original = (tmp_path / "original.db").read_bytes()

    def fresh() -> Path:
        path = tmp_path / f"{os.urandom(6).hex()}.db"
        path.write_bytes(original)
        return path

    return fresh


def flaws(path: Path, **options) -> list[tuple[str, str, int, int]]:
    return [(problem.flaw.value, problem.writer, problem.seq, problem.last) for problem in verify(path, **options)]


def test_an_untouched_ledger_has_no_problems(chain) -> None:
    """Two writers, one after the other."""
    assert verify(chain()) == []


@shared_folder
@given(
    column=st.sampled_from(CALLS.columns),
    seq=st.integers(1, LENGTH),
    writer=st.sampled_from("ab"),
    value=st.one_of(
        st.none(),
        st.text(max_size=4),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.binary(max_size=3),
    ),
)
def test_any_edit_is_found(chain, column: str, seq: int, writer: str, value: object) -> None:
    """Any value in any column of any record, the chain's own columns included."""
    path = chain()
    with closing(sqlite3.connect(path)) as connection, connection:
        where = (writer, seq)
        before = connection.execute(f"SELECT {column} FROM calls WHERE writer = ? AND seq = ?", where).fetchone()
        try:
            connection.execute(f"UPDATE calls SET {column} = ? WHERE writer = ? AND seq = ?", (value, *where))
        except (sqlite3.IntegrityError, UnicodeEncodeError):
            return  # SQLite itself refused it
        changed = connection.execute(
            f"SELECT count(*) FROM calls WHERE writer = ? AND seq = ? AND {column} IS ?", (*where, before[0])
        ).fetchone() == (0,)
    assert bool(verify(path)) == changed


@shared_folder
@given(first=st.integers(1, LENGTH), length=st.integers(1, LENGTH), writer=st.sampled_from("ab"))
def test_any_deletion_is_found(chain, first: int, length: int, writer: str) -> None:
    """Any run of records: inside by the numbers, at the end by what later writers or the caller know."""
    path = chain()
    known = heads(path)
    last = min(first + length - 1, LENGTH)
    tamper(path, ("DELETE FROM calls WHERE writer = ? AND seq BETWEEN ? AND ?", (writer, first, last)))
    expected = ("deleted", writer, first, last) if last < LENGTH else ("cut", writer, first, first)
    assert flaws(path, expected=known) == [expected]


@shared_folder
@given(pair=st.sets(st.integers(1, LENGTH), min_size=2, max_size=2), writer=st.sampled_from("ab"))
def test_any_reordering_is_found(chain, pair: set[int], writer: str) -> None:
    """Two records that change places are both named, with the places they had."""
    one, two = sorted(pair)
    path = chain()
    move = "UPDATE calls SET seq = ? WHERE writer = ? AND seq = ?"
    tamper(path, (move, (99, writer, one)), (move, (one, writer, two)), (move, (two, writer, 99)))
    assert flaws(path) == [("reordered", writer, one, one), ("reordered", writer, two, two)]
    assert f"was written as record {two}" in str(verify(path)[0])


@shared_folder
@given(seq=st.integers(1, LENGTH), writer=st.sampled_from("ab"))
def test_any_insertion_is_found(chain, record, seq: int, writer: str) -> None:
    """A well-made record put in between, those behind it renumbered and their own hashes made anew."""
    path = chain()
    with closing(sqlite3.connect(path)) as connection, connection:
        rows = connection.execute("SELECT * FROM calls WHERE writer = ? ORDER BY seq", (writer,)).fetchall()
        connection.execute("DELETE FROM calls WHERE writer = ?", (writer,))
        forged = CALLS.seal(storable(record(77)), writer=writer, seq=seq, prev_hash=rows[seq - 1][-2])
        behind = [CALLS.seal(row, writer=writer, seq=row[1] + 1, prev_hash=row[-2]) for row in rows[seq - 1 :]]
        connection.executemany(INSERT["calls"], [*rows[: seq - 1], forged, *behind])
    assert ("put in or replaced", writer, seq + 1, seq + 1) in flaws(path)


@shared_folder
@given(seq=st.integers(1, LENGTH))
def test_a_rewritten_past_is_found_by_the_next_writer(chain, seq: int) -> None:
    """All of chain a from some record on is forged, flawless in itself: b began from another head."""
    path = chain()
    with closing(sqlite3.connect(path)) as connection, connection:
        rows = connection.execute("SELECT * FROM calls WHERE writer = 'a' ORDER BY seq").fetchall()
        connection.execute("DELETE FROM calls WHERE writer = 'a'")
        head = rows[seq - 1][-2]
        host = CALLS.columns.index("host")
        connection.executemany(INSERT["calls"], rows[: seq - 1])
        for row in rows[seq - 1 :]:
            forged = CALLS.seal((*row[:host], "forged", *row[host + 1 :]), writer="a", seq=row[1], prev_hash=head)
            head = forged[-1]
            connection.execute(INSERT["calls"], forged)
    (problem,) = verify(path)
    assert (problem.flaw, problem.writer) == (Flaw.CUT, "a")
    assert "writer b knows" in problem.detail


def test_a_changed_record_with_a_new_hash_breaks_the_link(chain) -> None:
    """Who changes a record and its hash would have to change all that follow."""
    path = chain()
    with closing(sqlite3.connect(path)) as connection, connection:
        (row,) = connection.execute("SELECT * FROM calls WHERE writer = 'a' AND seq = 3").fetchall()
        forged = CALLS.seal((*row[:2], "forged", *row[3:]), writer="a", seq=3, prev_hash=row[-2])
        connection.execute("DELETE FROM calls WHERE writer = 'a' AND seq = 3")
        connection.execute(INSERT["calls"], forged)
    assert flaws(path) == [("put in or replaced", "a", 4, 4)]


def test_changed_heads_are_found_at_the_first_record(chain) -> None:
    """The first record's prev_hash fixes what its writer found."""
    path = chain()
    tamper(path, "UPDATE writers SET heads = '{}' WHERE writer = 'b'")
    assert flaws(path) == [("put in or replaced", "b", 1, 1)]


@pytest.mark.parametrize("heads_text", ["nonsense", "[]", '{"a": 1}', "", "null"])
def test_malformed_heads_are_found(chain, heads_text: str) -> None:
    """Whatever stands there, verify goes on."""
    path = chain()
    tamper(path, ("UPDATE writers SET heads = ? WHERE writer = 'b'", (heads_text,)))
    assert ("put in or replaced", "b", 1, 1) in flaws(path)


def test_a_chain_without_its_writer_is_named(chain) -> None:
    """Deleting the row of `writers` does not hide where a chain began."""
    path = chain()
    tamper(path, "DELETE FROM writers WHERE writer = 'b'")
    assert flaws(path) == [("unknown writer", "b", 1, 1)]


def test_a_whole_chain_that_is_gone_is_missed(chain) -> None:
    """b knows that there was an a, whatever happened to a's row."""
    path = chain()
    tamper(path, "DELETE FROM writers WHERE writer = 'a'", "DELETE FROM calls WHERE writer = 'a'")
    assert flaws(path) == [("cut", "a", 1, 1)]


def test_a_record_numbered_zero_is_found(chain) -> None:
    """Numbers begin at one."""
    path = chain()
    tamper(path, "UPDATE calls SET seq = 0 WHERE writer = 'a' AND seq = 1")
    assert ("put in or replaced", "a", 0, 0) in flaws(path)
    assert ("deleted", "a", 1, 1) in flaws(path)


def test_text_that_is_no_utf8_is_named(chain) -> None:
    """A file edited with a hex editor is read to the end."""
    path = chain()
    tamper(path, "UPDATE calls SET client = CAST(x'fffe' AS TEXT) WHERE writer = 'a' AND seq = 2")
    assert flaws(path) == [("changed", "a", 2, 2)]


def test_heads_are_tips(tmp_path: Path, record) -> None:
    """Each writer names the heads that nobody before it has fixed, as a merge does; one without records fixes none."""
    path = tmp_path / "usage.db"
    for writer, length in (("a", 2), ("b", 2), ("c", 0), ("d", 1)):
        grow(path, record, writer, length)
    with closing(sqlite3.connect(path)) as connection:
        named = dict(connection.execute("SELECT writer, heads FROM writers"))
        last = heads(path)
        assert named["a"] == "{}"
        assert named["b"] == canonical_heads({"a": last["a"]}).decode()
        assert named["c"] == named["d"] == canonical_heads({"b": last["b"]}).decode()
        assert tips(connection) == {"d": last["d"]}
    assert verify(path) == []


def test_no_ledger_is_a_clear_error(tmp_path: Path) -> None:
    """Nothing is created by looking."""
    with pytest.raises(LedgerError, match="there is no ledger at"):
        verify(tmp_path / "usage.db")
    assert list(tmp_path.iterdir()) == []


def test_a_torn_file_is_a_clear_error(chain) -> None:
    """A file that SQLite cannot walk is reported, not raised as SQLite's own."""
    path = chain()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(LedgerError, match="cannot be read"):
        verify(path)
