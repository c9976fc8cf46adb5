"""Checkpoints: how far the chains of a ledger were at a moment, written down where the ledger is not.

    {"number":1,"at":…,"ledger":…,"heads":{chain:[number, hash]},"cuts":[…],"prev_hash":…,"hash":…}

A file of them is itself a chain: `hash` is the SHA-256 of `prev_hash` and the canonical JSON of all but `hash`. What is
kept of it elsewhere shows what was cut off or rewritten since (`verify.py`). `heads` are the tips: of the chains whose
ends no later writer has named. `cuts` are what retention has deleted since the line before (`retention.py`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson

from interpose.rules.sinks import SinkFile

from .address import Database, Readable
from .chains import Flaw, Problem
from .cuts import FIRST, as_told
from .jsonl import ends
from .parts import cut_rows
from .record import LedgerError
from .schema import parse_heads, unnamed
from .source import Source, cuts_in, open_source

_MEMBERS = frozenset(("number", "at", "ledger", "heads", "cuts", "prev_hash", "hash"))
_BEGINNING = b'{"number":'


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One line of a file of checkpoints."""

    number: int
    at: str
    ledger: str
    heads: Mapping[str, tuple[int, str]]
    cuts: Sequence[Mapping[str, Any]] = ()
    prev_hash: str = FIRST
    hash: str = ""

    def told(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "at": self.at,
            "ledger": self.ledger,
            "heads": {chain: list(head) for chain, head in self.heads.items()},
            "cuts": list(self.cuts),
            "prev_hash": self.prev_hash,
        }

    def line(self) -> bytes:
        told = self.told()
        return orjson.dumps({**told, "hash": sealed(told)}) + b"\n"

    @classmethod
    def read(cls, told: Any) -> Self | None:
        """None for what is none: no other has been written."""
        try:
            if told.keys() != _MEMBERS:
                return None
            heads = {str(chain): (int(seq), str(last)) for chain, (seq, last) in told["heads"].items()}
            number, at, ledger = int(told["number"]), str(told["at"]), str(told["ledger"])
            cuts = [dict(cut.items()) for cut in told["cuts"]]
            found = cls(number, at, ledger, heads, cuts, str(told["prev_hash"]), str(told["hash"]))
            sealed(found.told())  # whatever stands there, it can be held against its hash
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            return None
        return found


def sealed(told: Mapping[str, Any]) -> str:
    """The hash of what is told, `prev_hash` ahead."""
    canonical = orjson.dumps(
        {name: value for name, value in told.items() if name != "hash"}, option=orjson.OPT_SORT_KEYS
    )
    return hashlib.sha256(str(told["prev_hash"]).encode() + canonical).hexdigest()


def named(place: Readable) -> str:
    """How a file of checkpoints names a ledger: the same whoever logs in."""
    return place.url.place if isinstance(place, Database) else str(place)


@dataclass(frozen=True, slots=True)
class State:
    """How a ledger is: {chain: number and hash of its last record} of the chains that no later writer has named, and
    what retention has deleted.
    """

    heads: Mapping[str, tuple[int, str]]
    cuts: Sequence[Mapping[str, Any]] = ()


def state(place: Readable) -> State:
    """Raises LedgerError."""
    if isinstance(place, SinkFile) and place.kind == "jsonl":
        return State(ends(place.path), [as_told(row) for row in cut_rows(place.path)])
    with open_source(place) as source:
        return State(_tips(source), [as_told(row) for row in cuts_in(source)])


def _tips(source: Source) -> dict[str, tuple[int, str]]:
    numbers: dict[str, int] = {}
    lasts: dict[str, dict[str, str]] = {}
    for table in source.tables():
        for writer, seq, last in source.rows(
            f"SELECT w.writer, t.seq, t.hash FROM writers AS w JOIN {table.name} AS t ON t.writer = w.writer"  # noqa: S608 - our tables
            f" AND t.seq = (SELECT max(seq) FROM {table.name} AS other WHERE other.writer = w.writer)"
        ):
            lasts.setdefault(writer, {})[table.chain(writer)] = last
            numbers[table.chain(writer)] = seq
    seen = {writer: parse_heads(heads) for writer, heads in source.rows("SELECT writer, heads FROM writers")}
    return {
        chain: (numbers[chain], last)
        for chain, last in unnamed((found, seen[writer]) for writer, found in lasts.items()).items()
    }


# --- the file -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Kept:
    """What files of checkpoints say of one ledger. `marks` are {chain: {number: (hash, when)}}; `cuts` the hashes of
    what retention has told, by number; `last` is when the last checkpoint was made.
    """

    marks: dict[str, dict[int, tuple[str, str]]] = field(default_factory=dict)
    cuts: dict[int, str] = field(default_factory=dict)
    last: str = ""
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def kept(files: Sequence[Path], place: Readable) -> Kept:
    """Raises LedgerError for a file that cannot be read, or has nothing of that ledger."""
    found = Kept()
    for path in files:
        known = list(_read(path, found))
        ledgers = {checkpoint.ledger for checkpoint in known}
        name = _name_in(ledgers, place)
        if known and name not in ledgers:
            raise LedgerError(
                f"{path} has no checkpoint of {name}: it knows {', '.join(sorted(ledgers))}. Name the ledger as it did"
            )
        if not known and not found.problems:
            raise LedgerError(f"{path} has no checkpoint yet")
        for checkpoint in known:
            if checkpoint.ledger == name:
                _add(found, checkpoint)
    return found


def _name_in(ledgers: Set[str], place: Readable) -> str:
    """A ledger that was moved, or is looked at in a copy, has another name: then the only one of its kind is it."""
    name = named(place)
    alike = [each for each in ledgers if _kind(each) == _kind(name)]
    return alike[0] if name not in ledgers and len(alike) == 1 else name


def _kind(name: str) -> str:
    """Of a ledger, by its name: SQLite's may be a mere path."""
    scheme = name.partition(":")[0]
    return scheme if scheme in ("jsonl", "postgresql") else "sqlite"


def _add(found: Kept, checkpoint: Checkpoint) -> None:
    found.last = max(found.last, checkpoint.at)
    for chain, (seq, last) in checkpoint.heads.items():
        found.marks.setdefault(chain, {}).setdefault(seq, (last, checkpoint.at))
    for cut in checkpoint.cuts:
        if isinstance(cut.get("number"), int):
            found.cuts[cut["number"]] = str(cut.get("hash"))


def _read(path: Path, found: Kept) -> Iterator[Checkpoint]:
    """The checkpoints of a file; what is wrong with it is added to the problems."""
    last, due = FIRST, 1
    torn = ""
    text = b""
    for number, text in enumerate(_lines(path), 1):
        try:
            told = orjson.loads(text)
        except orjson.JSONDecodeError:
            told = None
        checkpoint = Checkpoint.read(told)
        where = f"line {number} of {path}"
        if checkpoint is None:
            if text.strip():
                torn = where
            continue
        if sealed(checkpoint.told()) != checkpoint.hash:
            found.problems.append(_wrong(number, f"{where} was changed: its content does not give its hash"))
        elif checkpoint.prev_hash != last or checkpoint.number != due:
            behind = f", and {torn} is no checkpoint" if torn else ""
            found.problems.append(
                _wrong(number, f"{where} does not follow from the one before it: lines were deleted or put in{behind}")
            )
        elif torn:
            found.notes.append(f"{torn} is torn: a crash or a full disk has cut it, and it was written again")
        torn = ""
        last, due = checkpoint.hash, checkpoint.number + 1
        yield checkpoint
    if torn and not text.endswith(b"\n") and text.startswith(_BEGINNING[: len(text)]):
        # Who had cut it off would have cut off all of it, which nothing shows.
        found.notes.append(f"{torn}, the last one, is torn: a crash or a full disk has cut it, or somebody else")
    elif torn:
        found.problems.append(_wrong(0, f"{torn} is no checkpoint, and nothing follows"))


def _wrong(line: int, detail: str) -> Problem:
    return Problem(Flaw.CHECKPOINT, "", line, line, detail)


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise LedgerError(f"the checkpoints {path} cannot be read: {error.strerror or error}") from error


def last_of(path: Path, ledger: str) -> Checkpoint | None:
    """The last one of that ledger; None if there is none. Raises LedgerError."""
    if not path.exists():
        return None
    return next((found for found in _backwards(path) if found.ledger == ledger), None)


def _backwards(path: Path) -> Iterator[Checkpoint]:
    for text in reversed(_lines(path)):
        with suppress(orjson.JSONDecodeError):
            if (checkpoint := Checkpoint.read(orjson.loads(text))) is not None:
                yield checkpoint


def append(path: Path, *, at: str, ledger: str, state: State) -> Checkpoint:
    """Adds a line, on the disk when this returns; the file is made with mode 0600 if there is none. Several processes
    of one machine may write one file. Cuts that it has already are left out, and so is a line that would say nothing
    new. Raises LedgerError.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        out = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            with _alone(out):
                return _append(path, out, at, ledger, state)
        finally:
            os.close(out)
    except OSError as error:
        raise LedgerError(f"the checkpoint cannot be written to {path}: {error.strerror or error}") from error


def _append(path: Path, out: int, at: str, ledger: str, state: State) -> Checkpoint:
    last, before = None, None
    told: set[object] = set()
    for each in _backwards(path):
        last = last or each
        if each.ledger != ledger:
            continue
        before = before or each
        if not state.cuts:
            break
        told.update(cut.get("hash") for cut in each.cuts)
    new = [cut for cut in state.cuts if cut["hash"] not in told]
    if before is not None and not new and dict(before.heads) == dict(state.heads):
        return before  # nothing has happened since
    made = Checkpoint(
        last.number + 1 if last is not None else 1,
        at,
        ledger,
        state.heads,
        new,
        last.hash if last is not None else FIRST,
    )
    line = made.line()
    size = os.fstat(out).st_size
    if size and os.pread(out, 1, size - 1) != b"\n":
        line = b"\n" + line  # behind one that was torn
    if os.write(out, line) != len(line):
        raise OSError("the disk is full")
    os.fsync(out)
    return made


@contextmanager
def _alone(out: int) -> Iterator[None]:
    """Meanwhile no other process appends, where there are such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    fcntl.flock(out, fcntl.LOCK_EX)  # dropped when the file is closed
    yield
