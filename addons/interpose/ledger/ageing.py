"""What of a ledger of JSON lines is old: line by line, which stays, which goes, and which loses its body.

The records of a chain go from its beginning up to the first that is young, or that does not hold, which stays as
evidence with all that is behind it. Nothing is read or written here (`rotation.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from .chains import Chain, Cut, sound, whole
from .cuts import Cuts
from .jsonl import ENTRY, begins_as_ours, start_of, values_of
from .record import CAPTURES, TABLES, Row, Table, genesis
from .schema import parse_heads

log = logging.getLogger(__name__)

# Behind so many bytes in a row that are young, nothing is old.
QUIET = 8 << 20
_TABLES = {table.name: table for table in TABLES}
_CAPTURES = start_of(CAPTURES.name)


@dataclass(slots=True)
class _State:
    """A chain on its way through the parts. `digests` are of what was dropped, eight bytes each, from `first` on."""

    chain: Chain
    first: int
    stuck: bool = False  # nothing behind is dropped
    digests: bytearray = field(default_factory=bytearray)

    def dropped(self, row: Row) -> None:
        self.digests += bytes.fromhex(str(row[-1])[:16])

    def knows(self, row: Row) -> bool:
        """Whether it is what was dropped with its number: a batch may have been written twice."""
        place = 8 * (whole(row[1]) - self.first)
        known = self.digests[place : place + 8].hex() if place >= 0 else ""
        return bool(known) and str(row[-1]).startswith(known) and sound(self.chain.table, row)


@dataclass(slots=True)
class Gone:
    """What goes of one part."""

    records: dict[str, int] = field(default_factory=dict)
    bodies: int = 0
    bytes: int = 0
    cut: dict[str, Cut] = field(default_factory=dict)
    met: dict[str, list[str]] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)  # up to where bodies are, by chain
    records_left: bool = False
    bodies_left: bool = False

    def __bool__(self) -> bool:
        return bool(self.bytes)


class Ageing:
    """What is older than `records`, and whose body is older than `bodies`, both as `utc_text`; without a wish nothing
    is older than "". Lines come in the order in which they were written. `kept` says what stays as evidence.
    """

    def __init__(self, cuts: Cuts, *, records: str, bodies: str) -> None:
        self._cuts = cuts
        self._records = records
        self._bodies = bodies
        # Of the writers whose rows came by: the heads that they have found, and all of these by chain.
        self._starts: dict[str, str] = {}
        self._named: dict[str, set[str]] = {}
        self._states: dict[str, _State] = {}
        # Bytes of young records in a row, and of captures with young bodies.
        self._quiet = self._quiet_bodies = 0
        self._learn: Callable[[], None] | None = None
        # Of the record that came last in this part: whether it goes, and when it was.
        self._went = False
        self._moment: str | None = None
        self.kept: list[str] = []

    @property
    def records_due(self) -> bool:
        """Whether there may be old records further on."""
        return self._quiet < QUIET

    @property
    def bodies_due(self) -> bool:
        return bool(self._bodies) and self._quiet_bodies < QUIET

    def part(self, learn: Callable[[], None] | None) -> None:
        """A part begins. `learn` brings the rows of all writers who may have named one of its records (by `enter`), and
        is asked before the first one goes.
        """
        self._learn = learn
        self._went, self._moment = False, None

    def later(self) -> None:
        """No more records in this run."""
        self._quiet = QUIET

    def is_old(self, text: bytes) -> bool:
        """Whether a line is, for itself."""
        if (found := placed(text)) is None:
            return False
        table, row = found
        moment = str(row[table.moment])
        body = row[table.body] if table.body is not None else None
        return moment < self._records or (body is not None and moment < self._bodies)

    def left(self, text: bytes, gone: Gone) -> bytes:
        """The line itself, one without its body, or nothing."""
        records = self.records_due
        if text.startswith(ENTRY):
            self.enter(text)
            return text
        if not (records or text.startswith(_CAPTURES)):
            gone.records_left = True
            return text
        if (found := placed(text)) is None:
            return self._left_of_no_record(text, gone)
        table, row = found
        body = row[table.body] if table.body is not None else None
        self._moment = str(row[table.moment])
        old = body is not None and self._moment < self._bodies
        self._went = records and self._goes(table, row, gone, len(text))
        if self._went:
            gone.bodies += old
            return b""
        gone.records_left = True
        if body is None:
            return text
        if not old or not sound(table, row):
            gone.bodies_left = True
            self._quiet_bodies = self._quiet_bodies + len(text) if not old else 0
            return text
        self._quiet_bodies = 0
        gone.bodies += 1
        gone.dropped[table.chain(str(row[0]))] = whole(row[1])
        return orjson.dumps({**orjson.loads(text), "body": None}) + b"\n"

    def _left_of_no_record(self, text: bytes, gone: Gone) -> bytes:
        """What a crash has torn was written behind the record before it, and goes with that one or with its body; all
        else that is no record of ours stays as evidence.
        """
        if not _is_torn(text):
            gone.records_left |= bool(text.strip())
            return text
        capture = text.startswith(_CAPTURES)
        if self._went or (capture and self._moment is not None and self._moment < self._bodies):
            return b""
        gone.bodies_left |= capture
        return text

    def _goes(self, table: Table, row: Row, gone: Gone, size: int) -> bool:
        """Whether a record is deleted; `size` is that of its line."""
        state = self._state(table, str(row[0]))
        chain = state.chain
        if 0 < whole(row[1]) < chain.due:
            return state.knows(row)
        young = str(row[table.moment]) >= self._records
        if young:
            state.stuck = True
            self._quiet += size
            return False
        if state.stuck:
            return False
        chain.take(_light(table, row))
        if chain.flawed or chain.start is None:
            state.stuck = True
            self._leave(chain)
            return False
        self._quiet = 0
        state.dropped(row)
        if self._learn is not None:
            self._learn()
            self._learn = None
        name, last = chain.name, str(row[-1])
        gone.cut[name] = Cut(whole(row[1]), last, chain.start)
        if last in self._named.get(name, ()):
            gone.met.setdefault(name, []).append(last)
        gone.records[table.name] = gone.records.get(table.name, 0) + 1
        return True

    def _state(self, table: Table, writer: str) -> _State:
        name = table.chain(writer)
        if (state := self._states.get(name)) is None:
            known = self._cuts.by_chain.get(name)
            heads = self._starts.get(writer)
            start = genesis(heads.encode("utf-8", "surrogateescape")) if heads is not None else None
            chain = Chain(table, writer, known.start if known is not None else start, known)
            state = self._states[name] = _State(chain, chain.due)
        return state

    def _leave(self, chain: Chain) -> None:
        problem = str(next(chain.problems(), f"writer {chain.writer}: no row of `writers` says what it began from"))
        log.error("retention deletes nothing from here on, so that it stays as evidence: %s", problem)
        self.kept.append(problem)

    def enter(self, text: bytes) -> None:
        try:
            told = orjson.loads(text)
            writer, heads = str(told["writer"]), str(told["heads"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return
        if writer not in self._starts:
            self._starts[writer] = heads
            for chain, last in parse_heads(heads).items():
                self._named.setdefault(chain, set()).add(last)


def _light(table: Table, row: Row) -> Row:
    """Without its body, which no chain holds."""
    return row if table.body is None else (*row[: table.body], None, *row[table.body + 1 :])


def _is_torn(text: bytes) -> bool:
    if not begins_as_ours(text):
        return False
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return bool(text.strip())
    return False


def placed(text: bytes) -> tuple[Table, Row] | None:
    """The record that a line holds; None if it is none."""
    try:
        told = orjson.loads(text)
        table = _TABLES[told["table"]]
        row = tuple(values_of(table, told))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
    return (table, row) if len(told) == len(row) + 1 else None
