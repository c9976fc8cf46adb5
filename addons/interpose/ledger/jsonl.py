"""The sink that is a file of JSON lines, one record a line, and how such a file is read.

    {"table":"calls","writer":…,"seq":…,…,"hash":…}

A body is base64 there. A line of `writers` comes before the first record of each. Every batch is one write(2) at the
end of the file (O_APPEND), so that several processes may share it. Programs that rotate files may take it away: the
next batch begins a new one.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from .record import TABLES, LedgerError, Table, canonical_heads
from .schema import ENTER, INSERT, bring_up_to_date, parse_heads, transaction
from .sink import Placed, Writer, as_bytes, as_text, identity

log = logging.getLogger(__name__)

WRITERS = "writers"
_TABLES: dict[str, Table] = {table.name: table for table in TABLES}
ENTRY = b'{"table":"writers"'


def _start(name: str) -> bytes:
    """How a line of that table begins."""
    return b'{"table":"%s",' % name.encode()


_STARTS = tuple(map(_start, (*(table.name for table in TABLES), WRITERS)))
# How much of the end of a file is searched for what a writer has written last: a batch with bodies, as base64.
_TAIL = 16 << 20


class JsonlSink:
    """The file at `path`, made with mode 0600 if there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._out: int | None = None
        self._file: tuple[int, int] | None = None
        self._entered: set[str] = set()
        # {(writer, table): seq} of what stands in the file, or did.
        self._last: dict[tuple[str, str], int] = {}

    @property
    def name(self) -> str:
        return str(self.path)

    def open(self, writer: Writer) -> Writer:
        try:
            out = self._opened()
            self._entered.add(writer.writer)
            self._last.update({(writer.writer, table.name): 0 for table in TABLES})
            known = replace(writer, heads=canonical_heads(_heads(self.path)).decode())
            self._append(out, [_line(WRITERS, known.told())])
        except OSError as error:
            self.close()
            raise LedgerError(
                f"the ledger {self.path} cannot be opened for writing: {error.strerror or error}"
            ) from error
        return known

    def write(self, writer: Writer, rows: Sequence[Placed], patience: float) -> bool:
        """Raises OSError."""
        out = self._opened()
        lines: list[bytes] = []
        places: list[tuple[tuple[str, str], int] | None] = []
        if writer.writer not in self._entered:
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
        if lines:
            done = 0
            try:
                done = self._append(out, lines)
            finally:
                for place_of in places[:done]:
                    if place_of is not None:
                        self._last[place_of[0]] = place_of[1]
                if done:
                    self._entered.add(writer.writer)
            if done < len(lines):
                raise OSError("the disk is full")
        os.fsync(out)
        return True

    def _append(self, out: int, lines: Sequence[bytes]) -> int:
        """How many of the lines are in the file, as a whole. A torn one is ended by the next write."""
        data = b"".join(lines)
        written = os.write(out, data)
        if written == len(data):
            return len(lines)
        os.close(out)  # the next one begins anew, with a line of its own
        self._out = None
        done = 0
        for line in lines:
            if written < len(line):
                break
            written -= len(line)
            done += 1
        return done

    def _opened(self) -> int:
        """The file as its path names it now."""
        if self._out is not None and self._file == identity(self.path):
            return self._out
        self.close()
        self._entered.clear()
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        out = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        size = os.fstat(out).st_size
        try:
            if size and os.pread(out, 1, size - 1) != b"\n":
                os.write(out, b"\n")  # behind a line that was torn
        except OSError:
            os.close(out)
            raise
        self._out, self._file = out, identity(self.path)
        return out

    def close(self) -> None:
        out, self._out = self._out, None
        if out is not None:
            os.close(out)


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
    `total` bytes. It is `torn` if it begins as ours do: a crash or a full disk has cut it.
    """

    number: int
    end: int
    total: int
    told: dict[str, Any] | None
    torn: bool = False


def lines(
    path: Path, begin: int = 0, *, start: bytes = b"", skip: tuple[bytes, ...] = (), until: int | None = None
) -> Iterator[Line]:
    """Every line that is not empty, and begins with `start` and with none of `skip`; not one that is being written,
    nor what stands behind `until`, the size that the file had when somebody began to read. Raises LedgerError.
    """
    try:
        with path.open("rb") as file:
            end, total = begin, until if until is not None else os.fstat(file.fileno()).st_size
            file.seek(begin)
            for number, text in enumerate(file, 1):
                end += len(text)
                if end > total:
                    return  # somebody goes on writing
                if (start and not text.startswith(start)) or text.startswith(skip):
                    continue
                try:
                    told = orjson.loads(text)
                except orjson.JSONDecodeError:
                    told = None
                if isinstance(told, dict):
                    yield Line(number, end, total, told)
                elif text.strip():
                    yield Line(number, end, total, None, torn=told is None and _begins_as_ours(text))
    except FileNotFoundError:
        raise LedgerError(
            f"there is no ledger at {path}: nothing has been recorded there yet, or it is elsewhere"
        ) from None
    except OSError as error:
        raise LedgerError(f"the ledger {path} cannot be read: {error.strerror or error}") from error


def size(path: Path) -> int | None:
    """How long the file is now; None where it cannot be told, which `lines` says."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def _begins_as_ours(text: bytes) -> bool:
    text = text.rstrip(b"\n")
    return any(text.startswith(start[: len(text)]) for start in _STARTS)


def _said(path: Path, begin: int = 0) -> Iterator[dict[str, Any]]:
    """What the lines say that are whole."""
    return (line.told for line in lines(path, begin) if line.told is not None)


def _last_of(path: Path, writer: str, table: str) -> int:
    begin = max(0, path.stat().st_size - _TAIL)
    numbers = [
        told.get("seq") for told in _said(path, begin) if told.get("table") == table and told.get("writer") == writer
    ]
    return max((number for number in numbers if isinstance(number, int)), default=0)


def _heads(path: Path) -> dict[str, str]:
    return {chain: last for chain, (_, last) in ends(path).items()}


def ends(path: Path) -> dict[str, tuple[int, str]]:
    """{chain: number and hash of its last record} of the chains whose ends stand near the end of the file, and that no
    later writer has named. Raises LedgerError.
    """
    begin = max(0, path.stat().st_size - _TAIL)
    named: dict[str, str] = {}
    found: dict[str, tuple[int, str]] = {}
    for told in _said(path, begin):
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
    skip = tuple(_start(table.name) for table in TABLES if table not in tables)
    try:
        bring_up_to_date(connection)
        with transaction(connection):
            unreadable = [line.number for line in lines(path, skip=skip) if not _put(connection, line.told)]
    except BaseException:
        connection.close()
        raise
    if unreadable:
        which = "a line" if len(unreadable) == 1 else f"{len(unreadable)} lines"
        log.warning(
            "%s: %s cannot be read (line %d); `interpose usage verify` says what is missing", path, which, unreadable[0]
        )
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
