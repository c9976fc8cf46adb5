"""Walking the ledger's chains: which records were changed, deleted, moved or put in.

Tamper-evident, not tamper-proof: whoever may write the file can cut off the end of the newest chain, or write a whole
new one. What a later writer has named as a head, or what was exported by `heads` and is passed as `expected`, cannot
be cut or rewritten unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .address import Readable
from .captures import body_of
from .record import Row, Table, genesis
from .schema import parse_heads
from .source import Source, open_source

# How many changed records of one writer are tried at each other's places, which takes the square of it.
_MOVES_TRIED = 200


class Flaw(StrEnum):
    """What happened to a record, as far as the chain tells."""

    CHANGED = "changed"  # its hash is not that of its content
    DELETED = "deleted"  # its number is missing
    MOVED = "moved"  # unchanged but for its number
    UNLINKED = "unlinked"  # its `prev_hash` is not the hash of the record before it: put in, or that one is replaced
    CUT = "cut"  # a later writer, or the caller, knows a record that is no longer there
    UNKNOWN_WRITER = "unknown writer"  # a chain without its row in `writers`


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a chain. `seq` is the first record concerned, `last` the last of a run of them;
    `table` is where they are.
    """

    flaw: Flaw
    writer: str
    seq: int
    last: int
    detail: str
    table: str = "calls"

    def __str__(self) -> str:
        which = f"record {self.seq}" if self.seq == self.last else f"records {self.seq} to {self.last}"
        of = "" if self.table == "calls" else f" of {self.table}"
        return f"writer {self.writer}, {which}{of}: {self.flaw.value}: {self.detail}"


def verify(place: Readable, *, expected: Mapping[str, str] | None = None) -> list[Problem]:
    """Every problem of every chain of the ledger at `place`, by writer and number; empty if all is well.

    `expected` is {chain: hash}, heads that were exported earlier. Raises LedgerError if the file cannot be read.
    """
    with open_source(place) as source:
        return list(_problems(source, dict(expected or {})))


def heads(place: Readable) -> dict[str, str]:
    """{chain: hash of its last record}: keep it elsewhere, and give it to `verify` later. Raises LedgerError."""
    found: dict[str, str] = {}
    with open_source(place) as source:
        for table in source.tables():
            rows = source.rows(
                f"SELECT writer, hash FROM {table.name} AS row WHERE seq ="  # noqa: S608 - our tables
                f" (SELECT max(seq) FROM {table.name} AS other WHERE other.writer = row.writer) ORDER BY writer"
            )
            found.update({table.chain(writer): last for writer, last in rows})
    return found


@dataclass(slots=True)
class _Chain:
    """What is known of one writer's chain while it is walked."""

    table: Table
    writer: str
    start: str | None  # the `prev_hash` that its first record must have
    due: int = 1  # the number that comes next
    previous: str | None = None  # the hash of the record before; None behind a hole or a changed record
    missing: list[tuple[int, int]] = field(default_factory=list)
    changed: list[Row] = field(default_factory=list)
    unlinked: list[int] = field(default_factory=list)
    # Records whose body, which no chain holds, is not the one of their digest, and why.
    spoiled: list[tuple[int, str]] = field(default_factory=list)

    def take(self, row: Row) -> None:
        seq = _whole(row[1])
        if seq > self.due:
            self.missing.append((self.due, seq - 1))
            self.previous = None
        elif seq < self.due:
            # Numbers begin at 1: a zero or negative one was put in.
            self.unlinked.append(seq)
            return
        link = self.start if seq == 1 else self.previous
        sound = _sound(self.table, row)
        if not sound:
            self.changed.append(row)
        elif link is not None and row[-2] != link:
            self.unlinked.append(seq)
        elif (why := _spoiled(self.table, row)) is not None:
            self.spoiled.append((seq, why))
        self.due = seq + 1
        # What follows a changed record is not to blame for it.
        self.previous = str(row[-1]) if sound else None

    def problems(self) -> Iterator[Problem]:
        moved = self._moved()
        holes = set(moved.values())
        for first, last in self.missing:
            if not (first == last and first in holes):
                yield self._problem(Flaw.DELETED, first, last, "missing")
        for row in self.changed:
            seq = _whole(row[1])
            if seq in moved:
                yield self._problem(Flaw.MOVED, seq, seq, f"was written as record {moved[seq]}")
            else:
                yield self._problem(Flaw.CHANGED, seq, seq, "its content does not give its hash")
        for seq, why in self.spoiled:
            yield self._problem(Flaw.CHANGED, seq, seq, why)
        for seq in self.unlinked:
            yield self._problem(
                Flaw.UNLINKED, seq, seq, "does not follow from the record before it: one of them was put in or replaced"
            )

    def _moved(self) -> dict[int, int]:
        """{number: the number it was written with} of changed records that are sound at another's place."""
        suspects = self.changed[:_MOVES_TRIED]
        places = [_whole(row[1]) for row in suspects]
        for first, last in self.missing:
            places.extend(range(first, min(last, first + _MOVES_TRIED) + 1))
        moved = {}
        for row in suspects:
            for place in places[: 2 * _MOVES_TRIED]:
                if place != row[1] and _sound(self.table, (row[0], place, *row[2:])):
                    moved[_whole(row[1])] = place
                    break
        return moved

    def _problem(self, flaw: Flaw, first: int, last: int, detail: str) -> Problem:
        return Problem(flaw, self.writer, first, last, detail, self.table.name)


def _problems(source: Source, expected: dict[str, str]) -> Iterator[Problem]:
    known: dict[str, str] = {
        str(writer): str(seen) for writer, seen in source.rows("SELECT writer, heads FROM writers")
    }
    # (chain, hash) that must be there, and who says so.
    due = dict.fromkeys(expected.items(), "the caller")
    for writer, seen in known.items():
        due.update(dict.fromkeys(parse_heads(seen).items(), f"writer {writer}"))
    ends: dict[str, _Chain] = {}
    for table in source.tables():
        chain: _Chain | None = None
        for raw in source.rows(f"SELECT {table.listed} FROM {table.name} ORDER BY writer, seq"):  # noqa: S608 - our column names
            writer = str(raw[0])
            if chain is None or writer != chain.writer:
                if chain is not None:
                    yield from chain.problems()
                start = genesis(known[writer].encode("utf-8", "surrogateescape")) if writer in known else None
                chain = ends[table.chain(writer)] = _Chain(table, writer, start)
                if start is None:
                    detail = "no row of `writers` says what it began from"
                    yield Problem(Flaw.UNKNOWN_WRITER, writer, 1, 1, detail, table.name)
            chain.take(raw)
            due.pop((table.chain(writer), str(raw[-1])), None)
        if chain is not None:
            yield from chain.problems()
    for (name, last), witness in due.items():
        end = ends[name].due - 1 if name in ends else 0
        writer, _, of = name.partition(":")
        detail = f"{witness} knows a record {last[:12]}… that is not there"
        yield Problem(Flaw.CUT, writer, end + 1, end + 1, detail, of or "calls")


def _sound(table: Table, row: Row) -> bool:
    try:
        return table.digest(row) == row[-1]
    except (TypeError, ValueError):  # a BLOB, an infinity or broken UTF-8: nothing that we ever wrote
        return False


def _spoiled(table: Table, row: Row) -> str | None:
    """What is wrong with the body of a row whose other columns are sound; one that was dropped is no flaw."""
    if table.body is None or row[table.body] is None:
        return None
    try:
        body_of(row)
    except ValueError as error:
        return str(error)
    return None


def _whole(value: Any) -> int:
    return value if type(value) is int else 0
