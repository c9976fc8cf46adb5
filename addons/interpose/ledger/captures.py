"""The calls whose bodies were kept, as their captures tell them, from any ledger.

Nothing is captured here (`capturing` does), and nothing is trusted: a body that does not give its digest is said to be
corrupt, and is not handed out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from .address import Readable
from .packing import body_of
from .record import CALLS, CAPTURES, GAP_ENTRANCE, Record, from_row, utc_text
from .source import Source, open_source

# Records are looked up so many at a time; a call waits no longer, in seconds, before a part of it is there.
_AT_ONCE = 500
_WAITED = 3600.0
_PARTIAL = frozenset(("cut", "gap", "undecodable"))
_PLACE = {name: place for place, name in enumerate(CAPTURES.columns)}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a call, as `record.Capture` describes it; `at` is `utc_text`, `timing` in milliseconds since the call
    began and bytes of `body`.

    `headers` are as they were on the wire but for secrets: `body` has no content coding any more, whatever they say.
    `body` None: it was not kept, was dropped since, or is corrupt, as `flaw` then says.
    """

    part: str
    attempt: int
    at: str
    method: str | None
    url: str | None
    status: int | None
    headers: tuple[tuple[str, str], ...]
    media_type: str | None
    size: int
    kept: int
    timing: tuple[tuple[float, int], ...]
    notes: tuple[str, ...]
    body: bytes | None = field(repr=False)
    flaw: str | None = None

    @property
    def cut(self) -> bool:
        """Whether there was more of the body than is kept: beyond the limit, for want of room, for its coding."""
        return not _PARTIAL.isdisjoint(self.notes)


@dataclass(frozen=True, slots=True)
class Captured:
    """A call and its parts, in the order in which they were written: asked, then sent and received of each attempt,
    then answered. `record` is None where the ledger has none (any more).
    """

    id: str
    record: Record | None
    parts: tuple[Part, ...]

    def of(self, part: str, attempt: int = 0) -> Part | None:
        """The part of that name: asked and answered are of attempt 0."""
        return next((each for each in self.parts if each.part == part and each.attempt == attempt), None)


def captured(place: Readable, ids: Sequence[str] | None = None, *, since: str | None = None) -> Iterator[Captured]:
    """The captured calls at `place` in the order in which they began; of `ids` alone, if any are given, or those that
    began at `since` (`utc_text`) or later. One call is in memory at a time. Raises LedgerError.
    """
    with open_source(place) as source:
        yield from captured_in(source, ids, since=since)


def captured_in(source: Source, ids: Sequence[str] | None = None, *, since: str | None = None) -> Iterator[Captured]:
    """The same of a source that is open already."""
    if CAPTURES not in source.tables():
        return
    if ids is not None:
        for begin in range(0, len(ids), _AT_ONCE):
            some = ids[begin : begin + _AT_ONCE]
            known = records_of(source, some)
            for number in some:
                if parts := parts_of(source, number):
                    yield Captured(number, known.get(number), parts)
        return
    began = [] if since is None else [since]
    for row in source.rows(
        f"SELECT {CALLS.listed} FROM calls WHERE id IN (SELECT id FROM captures)"  # noqa: S608 - our columns
        f"{' AND started_at >= ?' if began else ''} ORDER BY started_at, writer, seq",
        *began,
    ):
        record = from_row(row)
        yield Captured(record.id, record, parts_of(source, record.id))
    lone = "SELECT DISTINCT id FROM captures WHERE id NOT IN (SELECT id FROM calls)"
    for (number,) in source.rows(f"{lone}{' AND at >= ?' if began else ''} ORDER BY id", *began):
        yield Captured(str(number), None, parts_of(source, str(number)))


def records_of(source: Source, ids: Sequence[str]) -> dict[str, Record]:
    """The records of captured calls by their ids, as far as the ledger has them.

    No index knows a call by its id: it would cost each record more than half as much again. When a captured call was is
    known, and of that there is an index.
    """
    marks = ", ".join("?" * len(ids))
    select = f"SELECT {CALLS.listed} FROM calls WHERE id IN ({marks}) AND entrance <> ?"  # noqa: S608 - our columns
    found: dict[str, Record] = {}
    if (when := span_of(source, ids)) is not None:
        rows = source.rows(f"{select} AND started_at BETWEEN ? AND ?", *ids, GAP_ENTRANCE, *when)
        found = {record.id: record for record in map(from_row, rows)}
    if len(found) < len(set(ids)):
        # The record is gone, or the call has waited for longer.
        found.update((record.id, record) for record in map(from_row, source.rows(select, *ids, GAP_ENTRANCE)))
    return found


def span_of(source: Source, ids: Sequence[str]) -> tuple[str, str] | None:
    """When these calls began, if they were captured: not before the one and not behind the other (`utc_text`)."""
    marks = ", ".join("?" * len(ids))
    ((first, last),) = source.rows(f"SELECT min(at), max(at) FROM captures WHERE id IN ({marks})", *ids)  # noqa: S608 - marks
    try:
        return utc_text(datetime.fromisoformat(first).timestamp() - _WAITED), str(last)
    except (TypeError, ValueError, OverflowError):
        return None


def parts_of(source: Source, number: str) -> tuple[Part, ...]:
    """The parts of the call of that id, in the order in which they were written; none if nothing was kept of it."""
    rows = list(
        source.rows(
            f"SELECT {CAPTURES.listed} FROM captures WHERE id = ? ORDER BY writer, seq",  # noqa: S608 - our columns
            number,
        )
    )
    bodies: dict[str, bytes] = {}
    flaws: dict[str, str] = {}
    for row in rows:
        digest = str(row[_PLACE["digest"]])
        if row[_PLACE["body"]] is None:
            continue
        try:
            bodies[digest] = body_of(row)
        except ValueError as error:
            flaws[digest] = str(error)
    return tuple(_part(row, bodies, flaws) for row in rows)


def _part(row: tuple[Any, ...], bodies: dict[str, bytes], flaws: dict[str, str]) -> Part:
    told: dict[str, Any] = dict(zip(CAPTURES.columns, row, strict=True))
    digest = str(told["digest"])
    body = bodies.get(digest)
    return Part(
        part=told["part"],
        attempt=told["attempt"],
        at=told["at"],
        method=told["method"],
        url=told["url"],
        status=told["status"],
        headers=tuple((str(name), str(value)) for name, value in _pairs(told["headers"])),
        media_type=told["media_type"],
        size=told["size"],
        kept=told["kept"],
        timing=tuple((float(when), int(count)) for when, count in _pairs(told["timing"])),
        notes=tuple(map(str, _list(told["notes"]))),
        body=body,
        flaw=flaws.get(digest) if body is None else None,
    )


def _list(text: object) -> list[Any]:
    try:
        found = orjson.loads(str(text))
    except orjson.JSONDecodeError:
        return []
    return found if isinstance(found, list) else []


def _pairs(text: object) -> list[tuple[Any, Any]]:
    return [(each[0], each[1]) for each in _list(text) if isinstance(each, list) and len(each) == 2]
