"""What a sink has not taken yet, on disk: sealed rows, in order, until they are delivered.

    FOLDER/sink                   what the records are for, for people
    FOLDER/WRITER/lock            held by the process that writes it, dropped by the kernel when it dies
    FOLDER/WRITER/00000001.jsonl  first the writer as an object, then a row a line: ["calls", …]

What an earlier process has left is adopted by the next one that opens the folder. Delivering is idempotent: after a
crash, what was delivered may come again. Only rows that are whole count: a line that a crash has torn was never kept.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType

import orjson

from .record import TABLES, Row
from .sink import Placed, Writer, as_bytes, as_text

log = logging.getLogger(__name__)

SEGMENT = 4 << 20
LOCK = "lock"
WHOSE = "sink"
_TABLES = {table.name: table for table in TABLES}
# By the type of a column, what stands there in JSON.
_KINDS: dict[str, type | UnionType] = {
    "str": str,
    "str | None": str | None,
    "int": int,
    "int | None": int | None,
    "bool": int,
    "float | None": float | int | None,
    "bytes | None": bytes | None,
}
# Rows are delivered until they have so many bytes: bodies are large.
BYTES = 4 << 20


class SpoolFull(OSError):
    """The spool has as many bytes as it may have."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows to be delivered next, all of one writer; `own` if that is the process itself."""

    writer: Writer
    rows: tuple[Placed, ...]
    own: bool


@dataclass(slots=True)
class _Shelf:
    """The rows of one writer: segments in order, and what of the first one is read and delivered."""

    folder: Path
    lock: int
    segments: list[Path]
    writer: Writer | None = None
    read: int = 0
    delivered: int = 0
    written: int = 0
    out: int | None = field(default=None)

    def close(self) -> None:
        if self.out is not None:
            os.close(self.out)
            self.out = None

    def gone(self) -> None:
        """All is delivered: nothing is left of it."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self.lock)


class Spool:
    """The spool of one sink, as one process has it. `limit` is in bytes, of all that lies there; `whose` is what may be
    said of the sink.
    """

    def __init__(self, folder: Path, *, limit: int, whose: str = "", segment: int = SEGMENT) -> None:
        self.folder = folder
        self._whose = whose
        self._limit = limit
        self._segment = segment
        self._size = 0
        self._own: _Shelf | None = None
        self._shelves: list[_Shelf] = []
        self._last: tuple[_Shelf, int] | None = None
        if folder.is_dir():
            self._adopt()

    @property
    def empty(self) -> bool:
        return not self._shelves

    def tips(self) -> dict[str, str]:
        """{chain: hash of its last record} of what was adopted: all that is known of a sink that is away."""
        found: dict[str, str] = {}
        for shelf in self._shelves:
            for segment in shelf.segments:
                writer, rows, _ = _read(segment, 0, None)
                if writer is not None:
                    found.update({table.chain(writer.writer): str(row[-1]) for table, row in rows})
        return found

    def append(self, writer: Writer, rows: Sequence[Placed]) -> None:
        """Keeps rows of this process; when it returns they survive a crash. Raises SpoolFull, OSError."""
        data = b"".join(orjson.dumps([table.name, *row], default=as_text) + b"\n" for table, row in rows)
        if self._size + len(data) > self._limit:
            raise SpoolFull(f"{self._limit >> 20} MiB wait there already")
        if (shelf := self._own) is not None and not shelf.folder.is_dir():
            self._drop(shelf)  # somebody has removed it, and all that was in there
            shelf = None
        shelf = shelf or self._make(writer)
        if shelf.out is None or shelf.written >= self._segment or not os.fstat(shelf.out).st_nlink:
            self._begin(shelf, writer)
        assert shelf.out is not None
        begin = os.fstat(shelf.out).st_size
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(shelf.out, left) :]
            os.fsync(shelf.out)
        except OSError:
            # Half a batch would stand before what comes next.
            os.ftruncate(shelf.out, begin)
            raise
        shelf.written += len(data)
        self._size += len(data)

    def next(self, most: int) -> Chunk | None:
        """What is to be delivered next: the same until `advance` says that it was."""
        while self._shelves:
            shelf = self._shelves[0]
            try:
                writer, rows, end = _read(shelf.segments[0], shelf.delivered, most) if shelf.segments else (None, (), 0)
            except FileNotFoundError:
                log.error("somebody has removed %s: records are lost", shelf.segments[0])
                self._next_segment(shelf)
                continue
            if writer is not None:
                shelf.writer = writer
            if rows and shelf.writer is not None:
                self._last = shelf, end
                return Chunk(shelf.writer, tuple(rows), shelf is self._own)
            if shelf is self._own and len(shelf.segments) <= 1 and not rows:
                self._drop(shelf)
                return None
            self._next_segment(shelf)
        return None

    def advance(self) -> None:
        """What `next` has given is delivered."""
        assert self._last is not None
        (shelf, end), self._last = self._last, None
        shelf.delivered = end

    def close(self) -> None:
        """Lets go of it: what lies there is for the next process."""
        for shelf in self._shelves:
            shelf.close()
            os.close(shelf.lock)
        self._shelves, self._own = [], None

    # --- on disk ----------------------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        """Takes what processes have left that are no more."""
        for folder in sorted(self.folder.iterdir()):
            if not folder.is_dir() or folder.name.startswith("."):
                continue
            try:
                lock = os.open(folder / LOCK, os.O_RDWR)
            except OSError:
                continue  # just delivered by another process
            if not _locked(lock):
                os.close(lock)
                continue
            segments = sorted(path for path in folder.glob("*.jsonl") if path.is_file())
            if not segments:  # of a process that died before it had kept anything
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
                continue
            self._shelves.append(_Shelf(folder, lock, segments))
            self._size += sum(segment.stat().st_size for segment in segments)
        self._shelves.sort(key=lambda shelf: shelf.segments[0].stat().st_mtime_ns)

    def _make(self, writer: Writer) -> _Shelf:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (note := self.folder / WHOSE).exists():
            note.write_text(f"{self._whose}\n")
        # Nobody sees it before it is locked.
        hidden = self.folder / f".{writer.writer}"
        hidden.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(hidden / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _locked(lock)
            shown = self.folder / writer.writer
            hidden.rename(shown)
        except OSError:
            os.close(lock)
            raise
        shelf = self._own = _Shelf(shown, lock, [], writer)
        self._shelves.append(shelf)
        return shelf

    def _begin(self, shelf: _Shelf, writer: Writer) -> None:
        number = int(shelf.segments[-1].stem) + 1 if shelf.segments else 1
        path = shelf.folder / f"{number:08d}.jsonl"
        out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
        try:
            header = orjson.dumps(writer.told()) + b"\n"
            if os.write(out, header) != len(header):
                raise OSError("the disk is full")
        except OSError:
            os.close(out)
            path.unlink()
            raise
        shelf.close()
        shelf.out, shelf.written = out, len(header)
        shelf.segments.append(path)
        self._size += len(header)

    def _next_segment(self, shelf: _Shelf) -> None:
        """The first one is delivered."""
        if shelf.segments:
            path = shelf.segments.pop(0)
            self._size -= _bytes(path)
            path.unlink(missing_ok=True)
        shelf.delivered = 0
        if not shelf.segments:
            self._drop(shelf)

    def _drop(self, shelf: _Shelf) -> None:
        self._size -= sum(_bytes(path) for path in shelf.segments)
        self._shelves.remove(shelf)
        if not self._shelves:
            self._size = 0  # what was removed had a size, too
        if shelf is self._own:
            self._own = None
        shelf.gone()


def left_in(folder: Path) -> str:
    """What the records in a spool's folder are for; empty if there are none."""
    if not any(folder.glob("*/*.jsonl")):
        return ""
    try:
        return (folder / WHOSE).read_text().strip()
    except OSError:
        return "an unknown place"


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read(path: Path, begin: int, most: int | None) -> tuple[Writer | None, list[Placed], int]:
    """The writer if `begin` is 0, at most `most` rows that follow, and where they end."""
    writer: Writer | None = None
    rows: list[Placed] = []
    taken = 0
    with path.open("rb") as file:
        file.seek(begin)
        for line in file:
            if not line.endswith(b"\n"):
                break  # torn by a crash, or being written
            end = begin + len(line)
            if begin == 0:
                writer = _header(line, path)
                if writer is None:
                    return None, [], end
            else:
                rows.extend(_row(line, path))
            taken += len(line)
            begin = end
            if len(rows) == most or (most is not None and taken >= BYTES):
                break
    return writer, rows, begin


def _header(line: bytes, path: Path) -> Writer | None:
    try:
        writer = Writer.read(orjson.loads(line))
        if not all(isinstance(value, str) for value in writer.told().values()):
            raise TypeError
    except (ValueError, TypeError):
        log.error("%s cannot be read: its records are lost, as a verification will tell", path)
        return None
    return writer


def _row(line: bytes, path: Path) -> Iterator[Placed]:
    try:
        name, *values = orjson.loads(line)
        table = _TABLES[name]
        if table.body is not None:
            values[table.body] = as_bytes(values[table.body])
        row: Row = tuple(values)
        kinds = (_KINDS[table.types[column]] for column in table.columns)
        # Zipped strictly: ValueError. A database would refuse the whole batch, and all that waits behind it.
        if not all(isinstance(value, kind) for value, kind in zip(row, kinds, strict=True)):
            raise TypeError
    except (ValueError, TypeError, KeyError, IndexError):
        log.error("a line of %s cannot be read: its record is lost, as a verification will tell", path)
        return
    yield table, row


if sys.platform == "win32":

    def _locked(descriptor: int) -> bool:
        """There is no flock: everybody gets it, and delivering twice does no harm."""
        return True

else:
    import fcntl

    def _locked(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # its file system knows no locks
        return True
