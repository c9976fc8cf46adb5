"""What retention has deleted, as a ledger remembers it: the rows of its table `cuts`, a chain of their own.

    number, at                 from 1, and when
    cut     {chain: [number, hash, start]}   all up to that record is gone; what the first of all followed from
    met     {chain: [hash, …]}               of what is gone: those records that a writer has named as heads
    bodies  {chain: number}                  up to that record bodies were dropped
    prev_hash, hash            SHA-256 of `prev_hash` and the canonical JSON of all but `hash`

The first record that is left must follow from the last one that is gone, so that a record more or less is found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from .chains import Cut, Flaw, Problem

FIRST = hashlib.sha256(b"").hexdigest()
"""The `prev_hash` of the first one."""
SINCE = 4
"""The version of the tables that has them."""
COLUMNS = ("number", "at", "cut", "met", "bodies", "prev_hash", "hash")
SELECT = f"SELECT {', '.join(COLUMNS)} FROM cuts"  # noqa: S608 - our columns

CutRow = tuple[int, str, str, str, str, str, str]


@dataclass(slots=True)
class Cuts:
    """All of them together, as far as they hold."""

    number: int = 0
    hash: str = FIRST
    by_chain: dict[str, Cut] = field(default_factory=dict)
    met: dict[str, set[str]] = field(default_factory=dict)
    bodies: dict[str, int] = field(default_factory=dict)

    def add(self, row: CutRow) -> None:
        """Raises ValueError, TypeError or AttributeError for one that was never ours."""
        number, _, cut, met, bodies, _, last = row
        for chain, (seq, last_hash, start) in orjson.loads(cut).items():
            self.by_chain[chain] = Cut(int(seq), str(last_hash), str(start))
            # A writer that came while it was deleted has named it, perhaps.
            self.met.setdefault(chain, set()).add(str(last_hash))
        for chain, hashes in orjson.loads(met).items():
            self.met.setdefault(chain, set()).update(hashes)
        self.bodies.update({chain: int(seq) for chain, seq in orjson.loads(bodies).items()})
        self.number, self.hash = number, last

    def next(
        self,
        at: str,
        *,
        cut: Mapping[str, Cut] | None = None,
        met: Mapping[str, Iterable[str]] | None = None,
        bodies: Mapping[str, int] | None = None,
    ) -> CutRow:
        """The row that says what is deleted now."""
        told = (
            self.number + 1,
            at,
            _json({chain: [each.seq, each.hash, each.start] for chain, each in (cut or {}).items()}),
            _json({chain: sorted(hashes) for chain, hashes in (met or {}).items()}),
            _json(bodies or {}),
            self.hash,
        )
        return (*told, digest((*told, "")))


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def digest(row: CutRow) -> str:
    """The `hash` of a row."""
    told = {name: value for name, value in as_told(row).items() if name != "hash"}
    return hashlib.sha256(row[5].encode() + orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()


def as_told(row: CutRow) -> dict[str, Any]:
    """As a file of checkpoints repeats it."""
    return dict(zip(COLUMNS, row, strict=True))


def read(rows: Iterable[CutRow], problems: list[Problem]) -> Cuts:
    """What all rows say; what is wrong with them is added to `problems`."""
    found = Cuts()
    for row in rows:
        wrong = _wrong(found, row)
        try:
            found.add(row)
        except (ValueError, TypeError, AttributeError):
            wrong = wrong or "cannot be read"
        if wrong:
            problems.append(Problem(Flaw.CHECKPOINT, "", row[0], row[0], f"row {row[0]} of `cuts` {wrong}"))
    return found


def _wrong(before: Cuts, row: CutRow) -> str:
    try:
        if digest(row) != row[-1]:
            return "was changed: its content does not give its hash"
    except (TypeError, ValueError, AttributeError):
        return "was changed: it is nothing that we ever wrote"
    if row[0] != before.number + 1 or row[5] != before.hash:
        return "does not follow from the one before it: rows were deleted or put in"
    return ""
