"""Retention of a ledger of JSON lines: what is written is set aside as a part, and parts lose what is old.

Files and locks are in `parts.py`. A part is replaced by one without the records and bodies that are old, or removed:

 1. what is left is written beside it, and is on the disk;
 2. the row of `cuts` that says what is gone is on the disk;
 3. what is left takes the part's name.

Before 2 nothing has happened, behind it the next run does 3: what a crash leaves verifies at any moment. As in a
database, a record that does not hold stays as evidence, with all that is behind it in its chain.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from . import cuts
from .ageing import Ageing, Gone, placed
from .cuts import CutRow, Cuts
from .jsonl import ENTRY, texts
from .parts import BARE, File, cut_rows, cuts_path, locked, part_path, parts, snapshot, there, true
from .pruning import Keep, Pause, Pruned, Taken
from .record import LedgerError, utc_text

log = logging.getLogger(__name__)

# A file is set aside when it is so large, in bytes, or its first record so old, in seconds: a part is what is written
# anew for what has become old in it.
SIZE = 256 << 20
SPAN = 86_400.0
# A larger part is not written anew for less than an eighth of it.
SMALL = 64 << 20
# So much of the file that is written is looked at for something old.
LOOKED_AT = 8 << 20
# Whoever writes lets go of the file in less.
_PATIENCE = 1.0
_NEW = ".new"


def prune(path: Path, keep: Keep, *, clock: Callable[[], float], pause: Pause, batch: int) -> Pruned:
    """As `retention.prune`; a pause comes behind `batch` lines. Raises LedgerError; Taken."""
    path = true(path)
    if not there(path):
        raise LedgerError(f"there is no ledger at {path}: nothing has been recorded there yet, or it is elsewhere")
    try:
        with _alone(path) as out:
            run = _Run(path, keep, clock=clock, pause=pause, batch=batch, out=out)
            run.tidy()
            run.all()
    except OSError as error:
        raise LedgerError(f"retention cannot work on the ledger {path}: {error.strerror or error}") from error
    return run.done


def would_go(path: Path, keep: Keep, *, now: float) -> Pruned:
    """What `prune` would delete. Raises LedgerError."""
    run = _Run(path, keep, clock=lambda: now, pause=lambda: False, batch=1000)
    with snapshot(path) as files:
        for each in files:
            run.look(each)
    return run.done


@contextmanager
def _alone(path: Path) -> Iterator[int]:
    """The file of `cuts`, while no other process prunes. Raises OSError, LedgerError, Taken."""
    existing = next((each for each in (path, *parts(path).values()) if each.exists()), path)
    out = os.open(cuts_path(path), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        try:
            if not locked(out, alone=True, patience=0):
                raise Taken
        except OSError as error:
            raise LedgerError(
                f"retention cannot work on the ledger {path}: where it lies, files cannot be locked"
            ) from error
        if os.fstat(out).st_size == 0:
            _own_alike(out, existing.stat())
        yield out
    finally:
        os.close(out)


def _own_alike(descriptor: int, like: os.stat_result) -> None:
    """For whoever wrote and read the other one: an administrator may be at it."""
    os.fchmod(descriptor, like.st_mode & 0o777)
    if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(PermissionError):
            os.fchown(descriptor, like.st_uid, like.st_gid)


class _Run:
    """One run through a ledger; `out` is its file of cuts, locked, or None for one that only looks."""

    def __init__(
        self, path: Path, keep: Keep, *, clock: Callable[[], float], pause: Pause, batch: int, out: int | None = None
    ) -> None:
        self._path = path
        self._clock = clock
        self._pause = pause
        self._batch = batch
        self._out = out
        now = clock()
        self._aside = utc_text(now - SPAN)
        self.done = Pruned()
        problems: list[Any] = []
        self._cuts: Cuts = cuts.read(cut_rows(path), problems)
        if problems:
            raise LedgerError(f"nothing is deleted: {problems[0].detail}; `interpose usage verify` says more")
        # Without a wish nothing is older than that.
        records = utc_text(now - keep.records) if keep.records is not None else ""
        self._bodies = utc_text(now - keep.bodies) if keep.bodies is not None else ""
        self._age = Ageing(self._cuts, records=records, bodies=self._bodies)
        self.done.left = self._age.kept
        self._lines = 0
        self._stopped = False

    # --- the files ------------------------------------------------------------------------------------------------

    def tidy(self) -> None:
        """What a crash has left behind: a part that should have taken its place does, another is nothing."""
        assert self._out is not None
        data = os.pread(self._out, os.fstat(self._out).st_size, 0)
        os.ftruncate(self._out, data.rfind(b"\n") + 1)
        for each in sorted(self._path.parent.glob(f"{escape(self._path.name)}.part-*{_NEW}*")):
            if each.name.endswith(f"{_NEW}-{self._cuts.hash[:16]}"):
                self._place(each)
            else:
                each.unlink()
        for number, each in parts(self._path).items():
            if (other := part_path(self._path, number)) != each:
                other.unlink(missing_ok=True)
            if each.stat().st_size == 0:
                each.unlink()

    def all(self) -> None:
        for number, each in parts(self._path).items():
            if self._age.records_due or (self._age.bodies_due and not each.name.endswith(BARE)):
                self._part(number, each)
            if self._stopped:
                return
        if (aside := self._set_aside()) is not None:
            self._part(*aside)

    def _set_aside(self) -> tuple[int, Path] | None:
        """Takes the file away from those who write it, if anything in it is old; they begin another one."""
        try:
            old = os.open(self._path, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(old)
            if not self._due(status.st_size):
                return None
            if not locked(old, alone=True, patience=_PATIENCE):
                log.info("the ledger %s is written all the time: it is set aside later", self._path)
                return None
            if not os.path.samestat(status, self._path.stat()):
                return None  # somebody else has rotated it
            number = max(parts(self._path), default=0) + 1
            part = part_path(self._path, number)
            self._path.rename(part)
            new = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                _own_alike(new, status)
            finally:
                os.close(new)
        finally:
            os.close(old)
        self._sync()
        return number, part

    def _due(self, size: int) -> bool:
        if size >= SIZE:
            return True
        first = True
        with self._path.open("rb") as file:
            for _, end, text in texts(File(self._path, file, size)):
                if self._age.is_old(text):
                    return True
                if first and (found := placed(text)) is not None:
                    table, row = found
                    if str(row[table.moment]) < self._aside:
                        return True
                    first = False
                if end >= LOOKED_AT:
                    break
        return False

    def _part(self, number: int, path: Path) -> None:
        with path.open("rb") as file:
            whole_file = File(path, file, os.fstat(file.fileno()).st_size)
            gone = Gone()
            writing = _Rewritten(path.with_name(part_path(self._path, number).name + _NEW), whole_file)
            try:
                through = self._walk(whole_file, gone, writing)
                if self._stopped:
                    return
                bare = bool(self._bodies) and through and not gone.bodies_left
                final = part_path(self._path, number, bare=bare or path.name.endswith(BARE))
                if not gone:
                    if final != path:
                        path.rename(final)
                elif whole_file.size <= SMALL or gone.bytes * 8 >= whole_file.size:
                    writing.end(keep=gone.records_left or not through)
                    self._commit(writing.path, final, gone)
                else:
                    self._age.later()
            finally:
                writing.close()

    def _commit(self, new: Path, final: Path, gone: Gone) -> None:
        assert self._out is not None
        row = self._cuts.next(
            utc_text(self._clock()),
            cut=gone.cut,
            met={name: hashes for name, hashes in gone.met.items() if hashes},
            bodies=gone.dropped,
        )
        tagged = final.with_name(f"{final.name}{_NEW}-{row[-1][:16]}")
        new.rename(tagged)
        self._sync()
        self._tell(row, tagged)
        self._place(tagged)
        for table, count in gone.records.items():
            self.done.records[table] = self.done.records.get(table, 0) + count
        self.done.bodies += gone.bodies

    def _tell(self, row: CutRow, new: Path) -> None:
        """Says so on the disk; without room for that, the `new` part is nothing."""
        assert self._out is not None
        line = orjson.dumps(cuts.as_told(row)) + b"\n"
        begin = os.fstat(self._out).st_size
        try:
            if os.write(self._out, line) != len(line):
                raise OSError("the disk is full")
        except OSError:
            os.ftruncate(self._out, begin)
            new.unlink()  # which takes room while there is none
            raise
        os.fsync(self._out)
        self._cuts.add(row)

    def _place(self, tagged: Path) -> None:
        """What is left takes the part's place; if nothing is, the part goes."""
        final = tagged.with_name(tagged.name.partition(_NEW)[0])
        bare = final.name.endswith(BARE)
        empty = tagged.stat().st_size == 0
        tagged.rename(final)
        if bare:
            final.with_name(final.name.removesuffix(BARE)).unlink(missing_ok=True)
        if empty:
            final.unlink()
        self._sync()

    def _sync(self) -> None:
        """The names are on the disk."""
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    # --- the lines ------------------------------------------------------------------------------------------------

    def look(self, file: File) -> None:
        """Counts what would go."""
        gone = Gone()
        self._walk(file, gone, None)
        for table, count in gone.records.items():
            self.done.records[table] = self.done.records.get(table, 0) + count
        self.done.bodies += gone.bodies

    def _walk(self, file: File, gone: Gone, writing: _Rewritten | None) -> bool:
        """Writes what is left; whether it went through all of it."""
        self._age.part(partial(self._learn_names, file) if writing is not None else None)
        for _, end, text in texts(file):
            left = self._age.left(text, gone)
            if left is not text:
                gone.bytes += len(text) - len(left)
                if writing is not None:
                    writing.put(end - len(text), left, end)
            self._lines += 1
            if self._lines % self._batch == 0 and self._pause():
                self._stopped = True
                return False
            if not self._age.records_due and not self._age.bodies_due:
                return False
        return True

    def _learn_names(self, part: File) -> None:
        """Which of its records writers have named as heads. One that came while it was written stands in it; for one
        that came later the last record of each chain was a head, and that one `cuts` name by themselves.
        """
        with part.path.open("rb") as file:
            for _, _, text in texts(File(part.path, file, part.size)):
                if text.startswith(ENTRY):
                    self._age.enter(text)


class _Rewritten:
    """The new file beside a part: nothing before the first line that changes, and what lies between as it is."""

    def __init__(self, path: Path, part: File) -> None:
        self.path = path
        self._part = part
        self._copied = 0
        self._out: BinaryIO | None = None

    def put(self, begin: int, left: bytes, end: int) -> None:
        """The line from `begin` to `end` of the part is what is `left` here."""
        out = self._opened()
        self._copy(begin)
        out.write(left)
        self._copied = end

    def _opened(self) -> BinaryIO:
        if self._out is None:
            self._out = self.path.open("xb")
            _own_alike(self._out.fileno(), os.fstat(self._part.file.fileno()))
        return self._out

    def _copy(self, end: int) -> None:
        out = self._opened()
        while self._copied < end:
            some = os.pread(self._part.file.fileno(), min(1 << 20, end - self._copied), self._copied)
            if not some:
                raise OSError("it became shorter")
            out.write(some)
            self._copied += len(some)

    def end(self, *, keep: bool) -> None:
        """All of it is on the disk; or nothing, if only rows of writers would be left."""
        out = self._opened()
        if keep:
            self._copy(self._part.size)
        out.flush()
        if not keep:
            out.truncate(0)
        os.fsync(out.fileno())

    def close(self) -> None:
        """What did not take the part's place is gone."""
        if self._out is not None:
            self.path.unlink(missing_ok=True)
            with suppress(OSError):  # what a full disk has not taken, it does not take now
                self._out.close()
