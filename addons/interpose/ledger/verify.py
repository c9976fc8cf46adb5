"""Walking the ledger's chains: which records were changed, deleted, reordered, put in or cut off.

Tamper-evident, not tamper-proof: whoever may write the file can cut off the end of the newest chain, or write a whole
new one. What a later writer has named as a head, or what was exported (`checkpoints.py`, or `heads` passed as
`expected`), cannot be cut or rewritten unnoticed. What a chain by itself tells is in `chains.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from interpose.rules.sinks import SinkFile

from . import cuts
from .address import Readable
from .chains import Chain, Flaw, Problem, sound, whole
from .checkpoints import Kept, kept
from .cuts import CutRow
from .jsonl import ENTRY, WRITERS, Line, lines, values_of
from .parts import File, with_cuts
from .record import TABLES, Row, Table, genesis
from .schema import parse_heads
from .source import Source, cuts_in, open_source

__all__ = ["Flaw", "Problem", "Seen", "Verification", "examine", "heads", "verify"]

# Two machines may differ by so much, and a checkpoint and a deletion at the same moment.
_CLOCKS = timedelta(minutes=5)
# So often somebody is told how far it is.
_STEP = 2000
# So many digits of a hash tell it from others.
_KNOWN = 16

Progress = Callable[[int, int], None]
"""Is told how much is done, and of how much: records, or bytes of a file."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A chain as it was found. `first` and `last` are numbers, `begin` and `end` the times of those records; `cut` is
    up to which number retention has deleted it.
    """

    writer: str
    table: str
    version: str
    records: int
    first: int
    last: int
    begin: str
    end: str
    cut: int
    problems: int


@dataclass(slots=True)
class Verification:
    """What a walk has found. `notes` are about what is no tampering: a line that a crash has torn."""

    chains: list[Seen] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def records(self) -> int:
        return sum(chain.records for chain in self.chains)


@dataclass(slots=True)
class _Left:
    """Records whose numbers retention has deleted: the first and the last one, whether each follows from the one
    before it, and the beginnings of their hashes.
    """

    first: int
    last: int
    hash: str
    follows: bool
    known: bytearray = field(default_factory=bytearray)

    def knows(self, seq: int, last: str) -> bool:
        """Whether it is the record of that number: a batch may have been written twice."""
        place = _KNOWN * (seq - self.first)
        return 0 <= place < len(self.known) and self.known[place : place + _KNOWN] == _beginning(last)


def _beginning(last: str) -> bytes:
    return last[:_KNOWN].encode("ascii", "replace").ljust(_KNOWN)


@dataclass(slots=True)
class _Known:
    """A row of `writers`."""

    version: str
    heads: str


def verify(place: Readable, *, expected: Mapping[str, str] | None = None) -> list[Problem]:
    """Every problem of every chain of the ledger at `place`, by writer and number; empty if all is well.

    `expected` is {chain: hash}, heads that were exported earlier. Raises LedgerError if the file cannot be read.
    """
    return examine(place, expected=expected).problems


def examine(
    place: Readable,
    *,
    expected: Mapping[str, str] | None = None,
    files: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Verification:
    """Walks every chain, and holds it against `files` of checkpoints. Raises LedgerError for what cannot be read."""
    told = kept(files, place)
    walk = _Walk(dict(expected or {}), told, progress or _nobody)
    if isinstance(place, SinkFile) and place.kind == "jsonl":
        walk.file(place.path)
    else:
        with open_source(place) as source:
            walk.source(source)
    found = walk.done()
    found.problems.extend(told.problems)
    found.notes.extend(told.notes)
    return found


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


def _nobody(done: int, total: int) -> None:
    """Nobody wants to know how far it is."""


class _Walk:
    """The chains of one ledger, while its records come."""

    def __init__(self, expected: Mapping[str, str], kept: Kept, progress: Progress) -> None:
        self._kept = kept
        self._marks = kept.marks
        self._progress = progress
        self._known: dict[str, _Known] = {}
        self._cuts = cuts.Cuts()
        self._chains: dict[str, Chain] = {}
        # The hashes that must be there: {chain: {hash: who says so}}; and all of them.
        self._wanted: dict[str, dict[str, str]] = {}
        self._hashes: set[str] = set()
        # Of a file: records whose number was there before, {(chain, number): [(line, hash)]}.
        self._again: dict[tuple[str, int], list[tuple[Line, str]]] = {}
        # And records that retention has deleted, {chain: them}.
        self._left: dict[str, _Left] = {}
        self._of_files = False
        self._found = Verification()
        for name, last in expected.items():
            self._want(name, last, "the caller")

    def _want(self, name: str, last: str, witness: str) -> None:
        self._wanted.setdefault(name, {})[last] = witness
        self._hashes.add(last)

    def _enter(self, writer: str, known: _Known) -> None:
        self._known[writer] = known
        for name, last in parse_heads(known.heads).items():
            self._want(name, last, f"writer {writer}")

    def _chain(self, table: Table, writer: str) -> Chain:
        name = table.chain(writer)
        if (chain := self._chains.get(name)) is None:
            known = self._known.get(writer)
            start = genesis(known.heads.encode("utf-8", "surrogateescape")) if known is not None else None
            chain = self._chains[name] = Chain(
                table, writer, start, self._cuts.by_chain.get(name), marks=self._marks.get(name, {})
            )
        return chain

    def _meet(self, name: str, found: str) -> None:
        self._wanted.get(name, {}).pop(found, None)

    # --- a database -------------------------------------------------------------------------------------------------

    def source(self, source: Source) -> None:
        for writer, version, seen in source.rows("SELECT writer, version, heads FROM writers"):
            self._enter(str(writer), _Known(str(version), str(seen)))
        self._retention(cuts_in(source))
        tables = source.tables()
        total = sum(count for table in tables for (count,) in source.rows(f"SELECT count(*) FROM {table.name}"))  # noqa: S608 - our tables
        done = 0
        hashes = self._hashes
        for table in tables:
            chain: Chain | None = None
            for row in source.rows(f"SELECT {table.listed} FROM {table.name} ORDER BY writer, seq"):  # noqa: S608 - our column names
                if chain is None or row[0] != chain.writer:
                    chain = self._chain(table, str(row[0]))
                chain.take(row)
                if row[-1] in hashes:
                    self._meet(chain.name, row[-1])
                done += 1
                if done % _STEP == 0:
                    self._progress(done, total)
        self._progress(total, total)

    def _retention(self, rows: Sequence[CutRow]) -> None:
        """What was deleted by rule is not missed; what was told of it elsewhere has to be the same."""
        self._cuts = cuts.read(rows, self._found.problems)
        for name, met in self._cuts.met.items():
            for last in met:
                self._meet(name, last)
        tables = {table.name: table for table in TABLES}
        for name, cut in self._cuts.by_chain.items():
            writer, _, of = name.partition(":")
            self._meet(name, cut.hash)
            if (table := tables.get(of or "calls")) is not None:
                self._chain(table, writer)
        self._found.problems.extend(_otherwise_told(rows, self._kept))
        if self._kept.last and (alone := [row for row in rows if row[0] not in self._kept.cuts]):
            self._found.notes.append(
                f"retention has deleted records since the last checkpoint (of {self._kept.last}), the last time at"
                f" {alone[-1][1]}: nothing but the ledger itself says so yet"
            )

    # --- a file of JSON lines ---------------------------------------------------------------------------------------

    def file(self, path: Path) -> None:
        self._of_files = True
        # Others go on writing: what comes between the walks has no part in any.
        with with_cuts(path) as (files, rows):
            self._files(files, rows)

    def _files(self, files: Sequence[File], rows: Sequence[CutRow]) -> None:
        # A writer stands behind those whose heads it names.
        for line in lines(files, start=ENTRY):
            self._enter_line(line)
        self._retention(rows)
        tables = {table.name: table for table in TABLES}
        total = 1
        for line in lines(files):
            total = line.total
            if line.number % _STEP == 0:
                self._progress(line.end, total)
            if line.told is None:
                self._unreadable(line)
            elif (table := tables.get(str(line.told.get("table")))) is not None and "writer" in line.told:
                self._take_line(table, line)
            elif table is not None or line.told.get("table") != WRITERS:
                self._garbage(line)
        if self._again:
            self._hold_against_first(files, tables)
        self._progress(total, total)

    def _enter_line(self, line: Line) -> None:
        if line.told is None:
            return  # the other walk comes by
        try:
            writer, known = str(line.told["writer"]), _Known(str(line.told["version"]), str(line.told["heads"]))
        except KeyError:
            self._garbage(line)
            return
        if writer not in self._known:
            self._enter(writer, known)
        elif self._known[writer] != known:
            self._garbage(line, f"enters the writer {writer} again, with other heads")

    def _take_line(self, table: Table, line: Line) -> None:
        told = line.told or {}
        try:
            row = tuple(values_of(table, told))
            strange = len(told) != len(row) + 1
        except (KeyError, TypeError, ValueError):
            row, strange = tuple(told.get(name) for name in table.columns), True
        if strange:
            row = (*row[:-1], "")  # more or less than a record of ours: its hash is none
        chain = self._chain(table, str(row[0]))
        seq = whole(row[1])
        if chain.cut is not None and 1 <= seq <= chain.cut.seq:
            self._left_over(chain, row)
        elif seq >= chain.due or seq < 1:
            chain.take(row)
        elif not chain.take_late(row):
            # A batch whose commit was not heard of is written again, and is what it was.
            found = str(row[-1]) if sound(table, row) else ""
            self._again.setdefault((chain.name, seq), []).append((line, found))
        if row[-1] in self._hashes:
            self._meet(chain.name, str(row[-1]))

    def _left_over(self, chain: Chain, row: Row) -> None:
        """What retention has deleted is there once more, in a row and up to the last, until it is done: a kill or a
        reader was quicker.
        """
        seq, is_sound = whole(row[1]), sound(chain.table, row)
        left = self._left.get(chain.name)
        if left is None:
            left = self._left[chain.name] = _Left(seq, seq, str(row[-1]), is_sound)
        elif is_sound and left.knows(seq, str(row[-1])):
            return
        else:
            left.follows = left.follows and is_sound and seq == left.last + 1 and row[-2] == left.hash
            left.last, left.hash = seq, str(row[-1])
        left.known += _beginning(left.hash)

    def _hold_against_first(self, files: Sequence[File], tables: Mapping[str, Table]) -> None:
        """Walks the files again, for the records whose numbers came more than once."""
        for line in lines(files):
            if line.told is None or (table := tables.get(str(line.told.get("table")))) is None:
                continue
            name, seq = table.chain(str(line.told.get("writer"))), whole(line.told.get("seq"))
            for again, found in self._again.pop((name, seq), ()):
                if found != line.told.get("hash"):
                    self._found.problems.append(
                        Problem(
                            Flaw.UNLINKED, str(line.told.get("writer")), seq, seq,
                            f"line {again.number} of {again.path} has its number, and is another record", table.name,
                        )
                    )  # fmt: skip

    def _unreadable(self, line: Line) -> None:
        """What a crash has torn begins as ours do; the record that it was to be is missing, or was written again."""
        if line.torn:
            self._found.notes.append(
                f"line {line.number} of {line.path} is torn: a crash or a full disk has cut it, or somebody else; what"
                " is missing for it is said above"
            )
        else:
            self._garbage(line)

    def _garbage(self, line: Line, what: str = "is no record of ours") -> None:
        self._found.problems.append(
            Problem(Flaw.GARBAGE, "", line.number, line.number, f"line {line.number} of {line.path} {what}")
        )

    # --- the end ----------------------------------------------------------------------------------------------------

    def done(self) -> Verification:
        found = self._found
        order = {table.name: place for place, table in enumerate(TABLES)}
        for name, chain in sorted(self._chains.items(), key=lambda item: (order[item[1].table.name], item[1].writer)):
            problems = list(chain.problems())
            known = self._known.get(chain.writer)
            if known is None and not chain.records and chain.cut is not None and self._of_files:
                pass  # it went with the last of its records
            elif known is None:
                detail = "no row of `writers` says what it began from"
                problems.insert(0, Problem(Flaw.UNKNOWN_WRITER, chain.writer, 1, 1, detail, chain.table.name))
            elif chain.cut is not None and chain.start != chain.cut.start:
                detail = "its writer began from other heads than those that its row of `writers` has"
                problems.append(Problem(Flaw.UNLINKED, chain.writer, 1, 1, detail, chain.table.name))
            problems.extend(self._left_wrongly(name, chain))
            problems.extend(self._missed(name, chain))
            found.problems.extend(problems)
            if chain.records or problems:  # of most that retention has deleted nothing is left to tell
                found.chains.append(_seen(chain, known, len(problems)))
        for name in sorted({*self._wanted, *self._marks} - set(self._chains)):
            found.problems.extend(self._missed(name, None))
        return found

    def _left_wrongly(self, name: str, chain: Chain) -> Iterator[Problem]:
        if (left := self._left.get(name)) is None or chain.cut is None:
            return
        if not left.follows or (left.last, left.hash) != (chain.cut.seq, chain.cut.hash):
            detail = "retention has deleted what had these numbers, and it was something else"
            yield Problem(Flaw.UNLINKED, chain.writer, left.first, left.last, detail, chain.table.name)

    def _missed(self, name: str, chain: Chain | None) -> Iterator[Problem]:
        """What others know of a chain, and is not there."""
        writer, _, of = name.partition(":")
        if chain is None and (marks := self._marks.get(name)):
            last = max(marks)
            detail = f"the whole chain is gone: a checkpoint of {marks[last][1]} knows it"
            yield Problem(Flaw.CUT, writer, 1, last, detail, of or "calls")
            return
        end = chain.due if chain is not None else 1
        for last_hash, witness in self._wanted.get(name, {}).items():
            detail = f"{witness} knows a record {last_hash[:12]}… that is not there"
            yield Problem(Flaw.CUT, writer, end, end, detail, of or "calls")


def _otherwise_told(rows: Sequence[CutRow], kept: Kept) -> Iterator[Problem]:
    """What checkpoints tell of retention and the ledger does not, or the other way round."""
    here = {row[0]: row for row in rows}
    for number, last in kept.cuts.items():
        if number not in here:
            yield Problem(Flaw.CHECKPOINT, "", number, number, f"row {number} of `cuts` is gone: a checkpoint knows it")
        elif here[number][-1] != last:
            detail = f"row {number} of `cuts` is another one than a checkpoint knows"
            yield Problem(Flaw.CHECKPOINT, "", number, number, detail)
    for number, row in here.items():
        if number not in kept.cuts and _well_before(row[1], kept.last):
            detail = f"row {number} of `cuts`, of {row[1]}, is unknown to a later checkpoint, of {kept.last}"
            yield Problem(Flaw.CHECKPOINT, "", number, number, detail)


def _well_before(one: str, other: str) -> bool:
    """By more than clocks differ; moments as `utc_text` writes them."""
    try:
        return datetime.fromisoformat(other) - datetime.fromisoformat(one) > _CLOCKS
    except ValueError:
        return False


def _seen(chain: Chain, known: _Known | None, problems: int) -> Seen:
    return Seen(
        chain.writer,
        chain.table.name,
        known.version if known is not None else "",
        chain.records,
        chain.first,
        chain.due - 1,
        chain.begin,
        chain.end,
        chain.cut.seq if chain.cut is not None else 0,
        problems,
    )
