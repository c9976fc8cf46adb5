"""The files of a ledger of JSON lines: the one that is written, and what retention has made of earlier ones.

    calls.jsonl                      the one that is written, by any number of processes (`jsonl.py`)
    calls.jsonl.part-00000001        earlier ones, the oldest first: nobody writes them any more
    calls.jsonl.part-00000002-bare   one in which no body is left
    calls.jsonl.cuts                 what retention has deleted (`cuts.py`), a row a line; who prunes holds its lock

A process that writes holds a shared lock on the file while it does, and looks whether it still has that name; who gives
it another name holds the lock alone. So a part is never written again. What has been opened stays as it is for whoever
reads it: parts are replaced by others and removed, never written over.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from .cuts import COLUMNS, CutRow
from .record import LedgerError
from .sink import identity

BARE = "-bare"
_PART = re.compile(rf"\.part-(\d{{8}})({BARE})?")
# Between two looks at a directory retention may have been there; more often than that in a row it has not.
_TRIES = 100
_USUAL = 512
LOCKS = sys.platform != "win32"


@dataclass(frozen=True, slots=True)
class File:
    """One of the files, open for reading; `size` is how long it was when it was opened."""

    path: Path
    file: BinaryIO
    size: int


def true(path: Path) -> Path:
    """Where the file lies, if the path is a link to it: there it stays, with its parts beside it."""
    return path.resolve() if path.is_symlink() else path


def part_path(path: Path, number: int, *, bare: bool = False) -> Path:
    return path.with_name(f"{path.name}.part-{number:08d}{BARE * bare}")


def cuts_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.cuts")


def parts(path: Path) -> dict[int, Path]:
    """The parts by their numbers, in their order. Of two with one number a crash has left the one with bodies.

    Raises OSError.
    """
    found: dict[int, Path] = {}
    begin = len(path.name)
    with os.scandir(path.parent) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(f"{path.name}.part-")]
    for name in sorted(names):  # the bare one comes behind the other
        if (match := _PART.fullmatch(name, begin)) is not None:
            found[int(match[1])] = path.with_name(name)
    return found


def there(path: Path) -> bool:
    """Whether there is such a ledger."""
    try:
        # Between the two names that a file has it has neither.
        return path.exists() or bool(parts(true(path))) or path.exists()
    except OSError:
        return False


@contextmanager
def snapshot(path: Path, tail: int | None = None) -> Iterator[list[File]]:
    """All files in the order in which they were written, as they are at one moment; or as many of the last ones as it
    takes to have the last `tail` bytes. Raises LedgerError.
    """
    with ExitStack() as stack:
        try:
            files = _opened(true(path), tail, stack)
        except FileNotFoundError:
            raise LedgerError(
                f"there is no ledger at {path}: nothing has been recorded there yet, or it is elsewhere"
            ) from None
        except OSError as error:
            raise LedgerError(f"the ledger {path} cannot be read: {error.strerror or error}") from error
        yield files


def _opened(path: Path, tail: int | None, stack: ExitStack) -> list[File]:
    for left in reversed(range(_TRIES)):
        with ExitStack() as trying:
            names = [*parts(path).values(), path]
            _may_open(len(names))
            try:
                files = _open(names, tail, trying)
                # What came between: a file that is written no more, or one that took another's place.
                if [*parts(path).values(), path] == names and all(_same(each) for each in files):
                    stack.push(trying.pop_all())
                    return files
            except FileNotFoundError:
                if left == 0 or not there(path):
                    raise
    raise OSError("it is changed all the time")


def _open(names: Sequence[Path], tail: int | None, stack: ExitStack) -> list[File]:
    files: list[File] = []
    wanted = tail
    for name in reversed(names):
        if wanted is not None and wanted <= 0:
            break
        try:
            file = stack.enter_context(name.open("rb"))
        except FileNotFoundError:
            if name is names[-1] and len(names) > 1:
                continue  # retention has just taken it away, and nobody has written since
            raise
        size = os.fstat(file.fileno()).st_size
        files.append(File(name, file, size))
        if wanted is not None:
            wanted -= size
    return files[::-1]


def _may_open(count: int) -> None:
    """What a process may open is often 1024 files, without asking for more."""
    if sys.platform != "win32" and count > _USUAL:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = count + _USUAL if hard == resource.RLIM_INFINITY else min(hard, count + _USUAL)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _same(each: File) -> bool:
    status = os.fstat(each.file.fileno())
    return identity(each.path) == (status.st_dev, status.st_ino)


# --- what retention has deleted --------------------------------------------------------------------------------------


def cut_rows(path: Path) -> list[CutRow]:
    """The rows of `cuts`, in their order; one that a crash has torn was never any. Raises LedgerError."""
    cuts = cuts_path(true(path))
    try:
        data = cuts.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LedgerError(f"{cuts} cannot be read: {error.strerror or error}") from error
    return [_cut_row(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


@contextmanager
def with_cuts(path: Path) -> Iterator[tuple[list[File], list[CutRow]]]:
    """All files, and what had been deleted of them at that moment. Raises LedgerError."""
    for left in reversed(range(_TRIES)):
        rows = cut_rows(path)
        with snapshot(path) as files:
            # Else something may be gone that has come since the files were opened.
            if left == 0 or cut_rows(path) == rows:
                yield files, rows
                return


def _cut_row(line: bytes) -> CutRow:
    """What is none is a row that does not hold."""
    try:
        told: Any = orjson.loads(line)
        number, *texts = (told[name] for name in COLUMNS)
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        number, texts = 0, [""] * (len(COLUMNS) - 1)
    at, cut, met, bodies, prev_hash, last = map(str, texts)
    return number if type(number) is int else 0, at, cut, met, bodies, prev_hash, last


# --- locks -----------------------------------------------------------------------------------------------------------


def locked(descriptor: int, *, alone: bool, patience: float) -> bool:
    """Takes the lock of an open file, alone or with others, until it is closed or `unlock`ed; False if that takes
    longer than `patience` seconds. Raises OSError where there are no locks.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            _lock(descriptor, alone=alone)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.001)
        else:
            return True


if sys.platform == "win32":

    def _lock(descriptor: int, *, alone: bool) -> None:
        if alone:
            raise OSError("there are no such locks")

    def unlock(descriptor: int) -> None:
        """There is none."""

else:
    import fcntl

    def _lock(descriptor: int, *, alone: bool) -> None:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            # Its file system knows no locks: whoever writes can do without, and who would prune must not.
            if alone:
                raise

    def unlock(descriptor: int) -> None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
