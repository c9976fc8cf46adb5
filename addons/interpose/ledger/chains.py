"""One chain as it is walked, record by record: what is wrong with it, and with which record. Nothing is read here.

A chain is a writer's records of one table, by their numbers. What each record must have as its `prev_hash` is the hash
of the record before it; the first one follows from the heads that its writer found, or, behind what retention has
deleted, from the last record that was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .packing import body_of
from .record import Row, Table

# How many changed records of one writer are tried at each other's places, which takes the square of it.
_MOVES_TRIED = 200
# Of a chain that was spoiled from end to end, so many problems of a kind are told one by one.
TOLD = 1000


class Flaw(StrEnum):
    """What happened to a record, as far as the chain tells."""

    CHANGED = "changed"  # its hash is not that of its content
    DELETED = "deleted"  # its number is missing
    MOVED = "reordered"  # unchanged but for its number, or for its place in a file
    UNLINKED = "put in or replaced"  # its `prev_hash` is not the hash of the record before it
    CUT = "cut"  # a later writer, a checkpoint or the caller knows a record that is no longer there
    UNKNOWN_WRITER = "unknown writer"  # a chain without its row in `writers`
    GARBAGE = "not a record"  # a line of a file that nobody of us has written
    CHECKPOINT = "checkpoint"  # what vouches for the rest was itself tampered with


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a chain. `seq` is the first record concerned, `last` the last of a run of them;
    `table` is where they are. `writer` is empty, and `seq` the number of a line, where it belongs to no chain.
    """

    flaw: Flaw
    writer: str
    seq: int
    last: int
    detail: str
    table: str = "calls"

    def __str__(self) -> str:
        if not self.writer:
            return f"{self.flaw.value}: {self.detail}"
        which = f"record {self.seq}" if self.seq == self.last else f"records {self.seq} to {self.last}"
        of = "" if self.table == "calls" else f" of {self.table}"
        return f"writer {self.writer}, {which}{of}: {self.flaw.value}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Cut:
    """What retention has deleted of a chain: all up to the record `seq`, whose hash was `hash`, with that one itself;
    what the first one of all had as `prev_hash` is `start`.
    """

    seq: int
    hash: str
    start: str


@dataclass(slots=True)
class Chain:
    """What is known of one writer's chain while it is walked. `start` is the `prev_hash` that its first record must
    have, None if nobody knows.
    """

    table: Table
    writer: str
    start: str | None
    cut: Cut | None = None
    records: int = 0
    first: int = 0
    begin: str = ""  # when its first record and its last one were
    end: str = ""
    due: int = 1  # the number that comes next
    previous: str | None = None  # the hash of the record before; None behind a hole or a changed record
    hash: str = ""  # of the last record
    missing: list[tuple[int, int]] = field(default_factory=list)
    changed: list[Row] = field(default_factory=list)
    changed_too: list[int] = field(default_factory=list)  # the numbers of further ones
    unlinked: list[int] = field(default_factory=list)
    # Records whose body, which no chain holds, is not the one of their digest, and why.
    spoiled: list[tuple[int, str]] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    # What checkpoints know of it, and when they were made: {number: (hash, time)}.
    marks: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    mark: tuple[int, str] | None = None  # the first that another record stands at: its number and its time

    def __post_init__(self) -> None:
        if self.cut is not None:
            self.due, self.previous, self.hash = self.cut.seq + 1, self.cut.hash, self.cut.hash
        else:
            self.previous = self.start

    @property
    def name(self) -> str:
        return self.table.chain(self.writer)

    @property
    def flawed(self) -> bool:
        """Whether anything is wrong with what came so far."""
        return bool(self.missing or self.changed or self.unlinked)

    def take(self, row: Row) -> None:
        """The next record, by its number."""
        seq = whole(row[1])
        if seq > self.due:
            self.missing.append((self.due, seq - 1))
            self.previous = None
        elif seq < self.due:
            # Numbers begin at 1, or behind what was cut: another one was put in.
            self.unlinked.append(seq)
            return
        if not self.records:
            self.first, self.begin = seq, str(row[self.table.moment])
        self.records += 1
        self.end = str(row[self.table.moment])
        link = self.previous
        is_sound = sound(self.table, row)
        if not is_sound:
            self._found_changed(row)
        elif link is not None and row[-2] != link:
            self.unlinked.append(seq)
        elif (why := spoiled(self.table, row)) is not None:
            self.spoiled.append((seq, why))
        self.due = seq + 1
        # What follows a changed record is not to blame for it.
        self.previous = str(row[-1]) if is_sound else None
        self.hash = str(row[-1])
        self._hold_against_marks(seq, self.hash)

    def take_late(self, row: Row) -> bool:
        """A record that stands behind one with a higher number, in a file where they stand in order. False if there was
        one of its number before.
        """
        seq = whole(row[1])
        for place, (first, last) in enumerate(self.missing):
            if first <= seq <= last:
                self.missing[place : place + 1] = [
                    part for part in ((first, seq - 1), (seq + 1, last)) if part[0] <= part[1]
                ]
                self.records += 1
                if sound(self.table, row):
                    self.late.append(seq)
                else:
                    self._found_changed(row)
                self._hold_against_marks(seq, str(row[-1]))
                return True
        return False

    def _found_changed(self, row: Row) -> None:
        if len(self.changed) < TOLD:
            self.changed.append(row)
        else:
            self.changed_too.append(whole(row[1]))

    def _hold_against_marks(self, seq: int, found: str) -> None:
        if seq in self.marks and self.mark is None and self.marks[seq][0] != found:
            self.mark = seq, self.marks[seq][1]

    def problems(self) -> Iterator[Problem]:
        moved = self._moved()
        holes = set(moved.values())
        for first, last in self.missing:
            if not (first == last and first in holes):
                yield self._problem(Flaw.DELETED, first, last, "missing")
        for row in self.changed:
            seq = whole(row[1])
            if seq in moved:
                yield self._problem(Flaw.MOVED, seq, seq, f"was written as record {moved[seq]}")
            else:
                yield self._problem(Flaw.CHANGED, seq, seq, "its content does not give its hash")
        if more := self.changed_too:
            yield self._problem(Flaw.CHANGED, more[0], more[-1], f"{len(more)} of them do not give their hashes")
        for seq, why in self.spoiled[:TOLD]:
            yield self._problem(Flaw.CHANGED, seq, seq, why)
        for seq in sorted(self.late)[:TOLD]:
            yield self._problem(Flaw.MOVED, seq, seq, "stands behind a later one")
        for seq in self.unlinked[:TOLD]:
            yield self._problem(
                Flaw.UNLINKED, seq, seq, "does not follow from the record before it: one of them was put in or replaced"
            )
        yield from self._against_marks()

    def _against_marks(self) -> Iterator[Problem]:
        if self.cut is not None and self.cut.seq in self.marks and self.marks[self.cut.seq][0] != self.cut.hash:
            self.mark = self.cut.seq, self.marks[self.cut.seq][1]
        if self.mark is not None and not self.changed:
            seq, at = self.mark
            detail = f"a checkpoint of {at} knows another record there: it was rewritten, with what follows"
            yield self._problem(Flaw.UNLINKED, seq, seq, detail)
        last = max(self.marks, default=0)
        if last >= self.due:
            gone, them = ("it is gone", "it") if last == self.due else ("they are gone", "them")
            detail = f"{gone} from the end: a checkpoint of {self.marks[last][1]} knows {them}"
            yield self._problem(Flaw.CUT, self.due, last, detail)

    def _moved(self) -> dict[int, int]:
        """{number: the number it was written with} of changed records that are sound at another's place."""
        suspects = self.changed[:_MOVES_TRIED]
        places = [whole(row[1]) for row in suspects]
        for first, last in self.missing:
            places.extend(range(first, min(last, first + _MOVES_TRIED) + 1))
        moved = {}
        for row in suspects:
            for place in places[: 2 * _MOVES_TRIED]:
                if place != row[1] and sound(self.table, (row[0], place, *row[2:])):
                    moved[whole(row[1])] = place
                    break
        return moved

    def _problem(self, flaw: Flaw, first: int, last: int, detail: str) -> Problem:
        return Problem(flaw, self.writer, first, last, detail, self.table.name)


def sound(table: Table, row: Row) -> bool:
    """Whether a record's content gives its hash."""
    try:
        return table.digest(row) == row[-1]
    except (TypeError, ValueError):  # a BLOB, an infinity or broken UTF-8: nothing that we ever wrote
        return False


def spoiled(table: Table, row: Row) -> str | None:
    """What is wrong with the body of a row whose other columns are sound; one that was dropped is no flaw."""
    if table.body is None or row[table.body] is None:
        return None
    try:
        body_of(row)
    except ValueError as error:
        return str(error)
    return None


def whole(value: Any) -> int:
    return value if type(value) is int else 0
