"""The sink that is a file of JSON lines, one record a line, and how such a file is read.

    {"table":"calls","writer":…,"seq":…,…,"hash":…}

A body is base64 there. A line of `writers` comes before the first record of each. Every batch is one write(2) at the
end of the file (O_APPEND), so that several processes may share it. Programs that rotate files may take it away, and so
does retention: the next batch begins a new one. Between two batches it is not open, so that what is removed is gone.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from .parts import File, locked, snapshot, unlock
from .record import TABLES, LedgerError, Table, canonical_heads
from .schema import ENTER, INSERT, bring_up_to_date, parse_heads, transaction
from .sink import Placed, Writer, as_bytes, as_text, identity

log = logging.getLogger(__name__)

WRITERS = "writers"
_TABLES: dict[str, Table] = {table.name: table for table in TABLES}
ENTRY = b'{"table":"writers"'


def start_of(name: str) -> bytes:
    """How a line of that table begins."""
    return b'{"table":"%s",' % name.encode()


_STARTS = tuple(map(start_of, (*(table.name for table in TABLES), WRITERS)))
# How much of the end of a file is searched for what a writer has written last: a batch with bodies, as base64.
_TAIL = 16 << 20
# A start waits so long for whoever takes the file away, which is a matter of milliseconds.
_START = 1.0
# And who takes longer is worth a word.
HELD_LONG = 1.0


class JsonlSink:
    """The file at `path`, made with mode 0600 if there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # The rows of writers that stand in the file, and where: in another one they do not.
        self._entered: dict[str, tuple[int, bytes]] = {}
        # {(writer, table): seq} of what stands in the file, or did.
        self._last: dict[tuple[str, str], int] = {}
        # Since when another process takes it away, by the monotonic clock.
        self._busy: float | None = None

    @property
    def name(self) -> str:
        return str(self.path)

    def open(self, writer: Writer) -> Writer | None:
        try:
            out = self._opened(_START)
            if out is None:
                return None
            try:
                self._last.update({(writer.writer, table.name): 0 for table in TABLES})
                known = replace(writer, heads=canonical_heads(_heads(self.path)).decode())
                if self._append(out, [entry := _line(WRITERS, known.told())]):
                    self._enter(out, writer.writer, entry, len(entry))
            finally:
                os.close(out)
        except OSError as error:
            raise LedgerError(
                f"the ledger {self.path} cannot be opened for writing: {error.strerror or error}"
            ) from error
        return known

    def write(self, writer: Writer, rows: Sequence[Placed], patience: float) -> bool:
        """Raises OSError, LedgerError."""
        out = self._opened(patience)
        if out is None:
            self._busy = self._busy or time.monotonic()
            if time.monotonic() - self._busy < HELD_LONG:
                return False
            raise OSError("another process holds its lock")
        self._busy = None
        try:
            self._write(out, writer, rows)
            # Whoever takes the file away now has all of the batch.
            unlock(out)
            os.fsync(out)
        finally:
            os.close(out)
        return True

    def _write(self, out: int, writer: Writer, rows: Sequence[Placed]) -> None:
        lines: list[bytes] = []
        places: list[tuple[tuple[str, str], int] | None] = []
        if not self._knows(out, writer.writer):
            lines.append(_line(WRITERS, writer.told()))
            places.append(None)
        for table, row in rows:
            place = (writer.writer, table.name)
            if place not in self._last:
                # Of an earlier process: its last batch may have come into the file before it died.
                self._last[place] = _last_of(self.path, *place)
            seq = int(row[1] or 0)
            if seq > self._last[place]:
                lines.append(_line(table.name, dict(zip(table.columns, row, strict=True))))
                places.append((place, seq))
        if not lines:
            return
        done = self._append(out, lines)
        for place_of in places[:done]:
            if place_of is not None:
                self._last[place_of[0]] = place_of[1]
        if done < len(lines):
            raise OSError("the disk is full")
        if places[0] is None:
            self._enter(out, writer.writer, lines[0], sum(map(len, lines)))

    def _append(self, out: int, lines: Sequence[bytes]) -> int:
        """How many of the lines are in the file, as a whole. A torn one is ended by the next write."""
        data = b"".join(lines)
        written = os.write(out, data)
        if written == len(data):
            return len(lines)
        self._entered.clear()  # the next one begins with a line of its own
        done = 0
        for line in lines:
            if written < len(line):
                break
            written -= len(line)
            done += 1
        return done

    def _enter(self, out: int, writer: str, line: bytes, written: int) -> None:
        """The line is the first of what was just `written`."""
        self._entered[writer] = os.lseek(out, 0, os.SEEK_CUR) - written, line

    def _knows(self, out: int, writer: str) -> bool:
        """Whether its row stands in this file: it may be another one than last time."""
        if (entered := self._entered.get(writer)) is None:
            return False
        begin, line = entered
        return os.pread(out, len(line), begin) == line

    def _opened(self, patience: float) -> int | None:
        """The file as its path names it now, which nobody takes away while it is open; None while somebody does."""
        deadline = time.monotonic() + patience
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            out = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                if locked(out, alone=False, patience=0) and self._ready(out):
                    return out
            except BaseException:
                os.close(out)
                raise
            os.close(out)
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.001)

    def _ready(self, out: int) -> bool:
        """Whether the file still has its name, and ends with a line: one that was torn is not gone on with."""
        if not self._named(out):
            return False
        if not _torn(out):
            return True
        try:
            # Or one that another process is just writing.
            if not locked(out, alone=True, patience=0) or not self._named(out):
                return False
        except OSError:
            pass  # there are no locks: at worst there is an empty line
        if _torn(out):
            os.write(out, b"\n")
        return True

    def _named(self, out: int) -> bool:
        status = os.fstat(out)
        return identity(self.path) == (status.st_dev, status.st_ino)

    def close(self) -> None:
        """It is open while it is written to."""


def _torn(out: int) -> bool:
    size = os.fstat(out).st_size
    return size > 0 and os.pread(out, 1, size - 1) != b"\n"


def _line(table: str, told: dict[str, Any]) -> bytes:
    return orjson.dumps({"table": table, **told}, default=as_text) + b"\n"


def values_of(table: Table, told: dict[str, Any]) -> list[Any]:
    """A record's values as other places hold them. Raises KeyError for a column that is missing, ValueError."""
    values = [told[name] for name in table.columns]
    if table.body is not None:
        values[table.body] = as_bytes(values[table.body])
    return values


@dataclass(frozen=True, slots=True)
class Line:
    """A line of such a file, by its number: what it says, None if that cannot be read. `end` is where it ends, of
    `total` bytes of all files. It is `torn` if it begins as ours do: a crash or a full disk has cut it.
    """

    path: Path
    number: int
    end: int
    total: int
    told: dict[str, Any] | None
    torn: bool = False


def lines(
    files: Sequence[File], *, tail: int | None = None, start: bytes = b"", skip: tuple[bytes, ...] = ()
) -> Iterator[Line]:
    """Every line of these files that is not empty, and begins with `start` and with none of `skip`; of the last `tail`
    bytes alone. Not one that is being written, nor what came behind since they were opened. Raises LedgerError.
    """
    total = sum(each.size for each in files)
    before, left_out = 0, max(0, total - tail) if tail is not None else 0
    for each in files:
        if left_out < before + each.size:
            for number, end, text in texts(each, max(0, left_out - before)):
                if (start and not text.startswith(start)) or text.startswith(skip):
                    continue
                try:
                    told = orjson.loads(text)
                except orjson.JSONDecodeError:
                    told = None
                if isinstance(told, dict):
                    yield Line(each.path, number, before + end, total, told)
                elif text.strip():
                    torn = told is None and begins_as_ours(text)
                    yield Line(each.path, number, before + end, total, None, torn=torn)
        before += each.size


def texts(each: File, begin: int = 0) -> Iterator[tuple[int, int, bytes]]:
    """The lines of a file as they are, with their numbers from there on, and where they end. Raises LedgerError."""
    end = begin
    try:
        each.file.seek(begin)
        for number, text in enumerate(each.file, 1):
            end += len(text)
            if end > each.size:
                return  # somebody goes on writing
            yield number, end, text
    except OSError as error:
        raise LedgerError(f"the ledger {each.path} cannot be read: {error.strerror or error}") from error


def begins_as_ours(text: bytes) -> bool:
    """Whether that is what is left of a line of ours, if it is no JSON."""
    text = text.rstrip(b"\n")
    return any(text.startswith(start[: len(text)]) for start in _STARTS)


def _said(path: Path) -> Iterator[dict[str, Any]]:
    """What the lines near the end say that are whole."""
    with snapshot(path, _TAIL) as files:
        yield from (line.told for line in lines(files, tail=_TAIL) if line.told is not None)


def _last_of(path: Path, writer: str, table: str) -> int:
    numbers = [told.get("seq") for told in _said(path) if told.get("table") == table and told.get("writer") == writer]
    return max((number for number in numbers if isinstance(number, int)), default=0)


def _heads(path: Path) -> dict[str, str]:
    return {chain: last for chain, (_, last) in ends(path).items()}


def ends(path: Path) -> dict[str, tuple[int, str]]:
    """{chain: number and hash of its last record} of the chains whose ends stand near the end of the file, and that no
    later writer has named. Raises LedgerError.
    """
    named: dict[str, str] = {}
    found: dict[str, tuple[int, str]] = {}
    for told in _said(path):
        if (table := _TABLES.get(str(told.get("table")))) is not None:
            seq = told.get("seq")
            found[table.chain(str(told.get("writer")))] = (seq if isinstance(seq, int) else 0, str(told.get("hash")))
        elif told.get("table") == WRITERS:
            named.update(parse_heads(str(told.get("heads"))))
    return {chain: last for chain, last in found.items() if named.get(chain) != last[1]}


def read(path: Path, tables: Sequence[Table] = TABLES) -> sqlite3.Connection:
    """The file's records, those of some tables alone if they are named, in a database of their own, which is nowhere to
    be seen and gone when it is closed. Raises LedgerError.
    """
    # Without a name it is in memory as far as that is little, and on disk beyond.
    connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    # Captures are large: who does not need them need not read them either.
    skip = tuple(start_of(table.name) for table in TABLES if table not in tables)
    try:
        bring_up_to_date(connection)
        with snapshot(path) as files, transaction(connection):
            unreadable = [line for line in lines(files, skip=skip) if not _put(connection, line.told)]
    except BaseException:
        connection.close()
        raise
    if unreadable:
        which = "a line" if len(unreadable) == 1 else f"{len(unreadable)} lines"
        log.warning(
            "%s: %s cannot be read (line %d); `interpose usage verify` says what is missing",
            unreadable[0].path, which, unreadable[0].number,
        )  # fmt: skip
    return connection


def _put(connection: sqlite3.Connection, told: dict[str, Any] | None) -> bool:
    """Whether that is a line of ours."""
    if told is None:
        return False
    try:
        if (table := _TABLES.get(told.get("table", ""))) is not None:
            connection.execute(INSERT[table.name], values_of(table, told))
        elif told.get("table") == WRITERS:
            connection.execute(ENTER, [told[name] for name in ("writer", "opened_at", "version", "heads")])
    except (KeyError, TypeError, ValueError, sqlite3.Error):
        return False
    return True
