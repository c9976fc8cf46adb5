"""The ledger's records: their columns, their canonical JSON and their place in a hash chain.

One `Record` stands for one call (law 7), one `Connection` for one connection of a client, one `Capture` for a part of a
call whose bodies are kept. Nothing here knows where they are kept; `schema.py` knows SQLite, `writer.py` the batching.
What enters a record is made storable here, whatever a hostile provider put into it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter, itemgetter

import orjson

from interpose.errors import InterposeError

Value = str | int | float | bytes | None
Row = tuple[Value, ...]
"""A record's values in the order of `COLUMNS`; `stream` is 0 or 1."""

# The integers that every JSON reader takes exactly: https://www.rfc-editor.org/rfc/rfc8785#section-3.2.2.3
MAX_INTEGER = 2**53 - 1
# A model name is the client's to choose; eight megabytes of it are not for the ledger.
TEXT_LIMIT = 2048
JSON_LIMIT = 65536
# From here on Python writes a number without an exponent.
_PLAIN = 0.0001
JSON_COLUMNS = frozenset(("attempts", "losses", "headers", "timing", "notes"))
# What a chain does not hold itself: a capture's `digest` stands for its `body`, which may be dropped before its row.
APART = frozenset(("hash", "body"))
# Behind an even number of backslashes: one more, and it is a backslash and five letters.
_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")

_MOMENTS = ("started_at", "opened_at", "at")

# So many letters the names of all writers of one run have in common (`run --workers`), and those of two runs have not.
RUN = 10
GAP_ENTRANCE = "ledger"
"""The entrance of the ledger's own records, which say how many records of calls were lost."""


class LedgerError(InterposeError):
    """The ledger cannot be opened or read: the message says which file, why and what to do."""


@dataclass(slots=True, kw_only=True)
class Record:
    """One call. The engine fills all but `writer`, `seq`, `prev_hash` and `hash`, which the ledger's writer sets.

    Times are `utc_text`; `path` is without its query; `credential` is a name, never a value; `attempts` and `losses`
    are JSON lists as text. `input_tokens` is the whole input, cache included; `output_tokens` includes reasoning.
    """

    writer: str = ""
    seq: int = 0
    id: str
    started_at: str
    finished_at: str
    entrance: str
    client: str | None = None
    ip: str | None = None
    app: str | None = None
    method: str
    host: str
    path: str
    endpoint: str
    client_format: str | None = None
    asked_model: str | None = None
    route: str | None = None
    provider: str | None = None
    provider_format: str | None = None
    sent_model: str | None = None
    credential: str | None = None
    attempts: str = "[]"
    status: int | None = None
    outcome: str
    stream: bool = False
    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    usage_source: str = "none"
    cost_usd: float | None = None
    price_version: str | None = None
    ttft_ms: float | None = None
    duration_ms: float | None = None
    losses: str = "[]"
    rules_version: str | None = None
    prev_hash: str = ""
    hash: str = ""


@dataclass(slots=True, kw_only=True)
class Connection:
    """One connection of a client, decrypted or not; with the calls it is all that has left through us.

    The ids of its calls begin with its `id`. `kind` is ai (a host of ours), tunnel (passed undecrypted) or http (plain
    HTTP of a host that is not ours). `app`, `pid`, `user` and `command` tell the process, where it is one of this
    machine; `command` is without secrets. Bytes are the client's: sent by it, and sent to it; inside TLS for what we
    decrypt. `outcome` is ok, error, refused, tls_refused (the client did not take our certificate) or tls_dropped (it
    did, and left without a word).
    """

    writer: str = ""
    seq: int = 0
    id: str
    opened_at: str
    closed_at: str
    ip: str | None = None
    app: str | None = None
    pid: int | None = None
    user: str | None = None
    command: str | None = None
    kind: str
    host: str
    port: int
    bytes_up: int = 0
    bytes_down: int = 0
    outcome: str = "ok"
    reason: str | None = None
    prev_hash: str = ""
    hash: str = ""


@dataclass(slots=True, kw_only=True)
class Capture:
    """One part of one call whose bodies are kept: what the client `asked`, what was `sent` in an attempt and what was
    `received` for it, what the client was `answered`. All of it is without secrets.

    `id` is the call's, `attempt` the place among its record's `attempts` from 1, 0 for the client's own parts; `at` is
    when it began. `headers` is a JSON list of pairs, as they were. `body` is decoded (no content coding), scrubbed and
    cut to the limit, and stored by `encoding`, zstd or as it is; None where another part of the call has the same
    (equal digests), or where it was dropped. `digest` is the hex SHA-256 of those `kept` bytes before `encoding`,
    `size` the bytes of the whole body as it came. `timing` is a JSON list of [milliseconds since the call began, bytes
    of the kept body]; `notes` a JSON list of words: see docs/ledger.md.
    """

    writer: str = ""
    seq: int = 0
    id: str
    at: str
    part: str
    attempt: int = 0
    method: str | None = None
    url: str | None = None
    status: int | None = None
    headers: str = "[]"
    media_type: str | None = None
    size: int = 0
    kept: int = 0
    digest: str
    encoding: str = ""
    timing: str = "[]"
    notes: str = "[]"
    body: bytes | None = None
    prev_hash: str = ""
    hash: str = ""


class Table:
    """A kind of record: its name in the ledger, since which version of that it is there, its columns in their order,
    and each column's annotation, which SQL types and coercions follow from. Every kind begins with `writer, seq` and
    ends with `prev_hash, hash`. `body` is the place of a column that no chain holds, if there is one.
    """

    def __init__(self, name: str, kind: type[Record] | type[Connection] | type[Capture], since: int) -> None:
        self.name = name
        self.kind = kind
        self.since = since
        self.columns = tuple(field.name for field in fields(kind))
        # For SQL: `user` is a word of its own there.
        self.listed = ", ".join(f'"{name}"' for name in self.columns)
        self.types = {field.name: str(field.type) for field in fields(kind)}
        self._sorted = tuple(sorted(name for name in self.columns if name not in APART))
        self._in_order = itemgetter(*map(self.columns.index, self._sorted))
        self.values: Callable[[object], Row] = attrgetter(*self.columns)
        # When it was: the column that retention goes by.
        self.moment = next(place for place, name in enumerate(self.columns) if name in _MOMENTS)
        self.losses = self.columns.index("losses") if "losses" in self.columns else None
        self.body = self.columns.index("body") if "body" in self.columns else None
        self.plan = tuple(
            (
                name,
                JSON_LIMIT if name in JSON_COLUMNS else TEXT_LIMIT,
                *_COERCIONS["json" if name in JSON_COLUMNS else "path" if name == "path" else self.types[name]],
            )
            for name in self.columns
        )

    def chain(self, writer: str) -> str:
        """The name of a writer's chain of such records, among the heads: calls have the writer's own."""
        return writer if self.name == "calls" else f"{writer}:{self.name}"

    def canonical(self, row: Sequence[Value]) -> bytes:
        """The canonical JSON of a row, all columns but `hash` and `body`: RFC 8785 (JCS).

        Keys sorted, no whitespace, UTF-8, only `"`, `\\` and control characters escaped, numbers as ECMAScript writes
        them, booleans as the 0 or 1 that is stored. Raises TypeError or ValueError if a value is none of `Value` or no
        JSON number, which only a tampered file holds. Source: https://www.rfc-editor.org/rfc/rfc8785
        """
        members = dict(zip(self._sorted, self._in_order(row), strict=True))
        for name, value in members.items():
            if type(value) is float:
                members[name] = orjson.Fragment(number(value))
        return orjson.dumps(members)

    def digest(self, row: Sequence[Value]) -> str:
        """The `hash` of a row: hex SHA-256 over the 64 hex digits of its `prev_hash`, then its canonical JSON."""
        return hashlib.sha256(str(row[-2]).encode() + self.canonical(row)).hexdigest()

    def weight(self, row: Row) -> int:
        """How many bytes a row has beside a few hundred: those of its body."""
        body = row[self.body] if self.body is not None else None
        return len(body) if type(body) is bytes else 0

    def seal(self, row: Row, *, writer: str, seq: int, prev_hash: str) -> Row:
        """The row in its place in the chain of `writer`."""
        placed = (writer, seq, *row[2:-2], prev_hash, "")
        return (*placed[:-1], self.digest(placed))


def utc_text(seconds: float) -> str:
    """Unix time as ISO-8601 UTC text with microseconds, which sorts as it counts: 2026-11-22T21:19:00.000001Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_row(row: Sequence[Value]) -> Record:
    """The record that a row of `COLUMNS` holds."""
    named = dict(zip(CALLS.columns, row, strict=True))
    named["stream"] = bool(named["stream"])
    return Record(**named)  # type: ignore[arg-type]  # the columns have the types of the fields, by construction


# --- canonical JSON and the chain ------------------------------------------------------------------------------------


def number(value: float) -> str:
    """A finite number as ECMAScript writes it, hence 5.0 and 5 alike as `5`. Raises ValueError on NaN and infinity.

    Source: https://www.rfc-editor.org/rfc/rfc8785#section-3.2.2.3 (Number::toString of ECMA-262).
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a JSON number")
    if value.is_integer() and abs(value) <= MAX_INTEGER:
        return str(int(value))
    if _PLAIN <= abs(value) < MAX_INTEGER:
        return repr(value)  # Python writes these as ECMAScript does
    shortest = Decimal(repr(value))
    sign = "-" if shortest.is_signed() else ""
    whole = "".join(map(str, shortest.as_tuple().digits))
    point = shortest.adjusted() + 1  # where the decimal point stands, counted from the first digit
    digits = whole.rstrip("0")
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{point - 1:+d}"


def canonical_heads(heads: dict[str, str]) -> bytes:
    """The canonical JSON of {chain: hash of its last record}; `{}` for a ledger's very first writer."""
    return orjson.dumps(heads, option=orjson.OPT_SORT_KEYS)


def genesis(heads: bytes) -> str:
    """What the first record of each chain of a writer has as its `prev_hash`: the hex SHA-256 of the heads' JSON as it
    is stored.
    """
    return hashlib.sha256(heads).hexdigest()


# --- what may enter -------------------------------------------------------------------------------------------------


def _text(value: object) -> Value:
    text = value if type(value) is str else str(value)
    if not text.isascii():
        # A lone surrogate (from JSON's \\ud800) is no UTF-8; it stays readable as what it was.
        text = text.encode("utf-8", "backslashreplace").decode()
    # Nor is a NUL anything that every sink can hold, be it itself or as JSON writes it: PostgreSQL's text has none.
    return text.replace("\0", "\\x00") if "\0" in text else text


def _json(value: object) -> Value:
    text = str(_text(value))
    return _ESCAPED_NUL.sub(r"\1\\\\x00", text) if "\\u0000" in text else text


def _path(value: object) -> Value:
    # A query may carry a key (Gemini's `?key=`). The engine passes the path alone; this is the second lock.
    return str(_text(value)).partition("?")[0].partition("#")[0]


def _integer(value: object) -> Value:
    if not isinstance(value, int) or abs(value) > MAX_INTEGER:
        raise ValueError("not an integer of at most 53 bits")
    return int(value)


def _real(value: object) -> Value:
    if not isinstance(value, (int, float)):
        raise ValueError("not a number")
    try:
        real = float(value)
    except OverflowError:
        raise ValueError("not a finite number") from None
    if not math.isfinite(real):
        raise ValueError("not a finite number")
    return real


def _bytes(value: object) -> Value:
    if not isinstance(value, bytes):
        raise ValueError("not bytes")
    return value


# By annotation, or what is special about a column: how a value becomes storable, and what stands where None may not.
_COERCIONS: dict[str, tuple[Callable[[object], Value], Value]] = {
    "str": (_text, ""),
    "json": (_json, "[]"),
    "path": (_path, ""),
    "str | None": (_text, None),
    "int": (_integer, 0),
    "int | None": (_integer, None),
    "bool": (lambda value: int(bool(value)), 0),
    "float | None": (_real, None),
    "bytes | None": (_bytes, None),
}
CALLS = Table("calls", Record, 1)
CONNECTIONS = Table("connections", Connection, 2)
CAPTURES = Table("captures", Capture, 3)
TABLES = (CALLS, CONNECTIONS, CAPTURES)
_BY_KIND: dict[type, Table] = {table.kind: table for table in TABLES}


def tables_of(version: int) -> list[Table]:
    """The tables of records that a ledger of that version has."""
    return [table for table in TABLES if table.since <= version]


def storable(record: Record | Connection | Capture, scrub: Callable[[str], str] | None = None) -> Row:
    """The record's values, each of a kind that SQLite and canonical JSON both carry unchanged.

    A value that cannot be kept (a token count of 10^30, NaN, a model name of a megabyte) is left out or clipped, and
    a call's `losses` says so. `scrub` is applied to every text: no credential enters the ledger (law 6).
    """
    table = _BY_KIND[type(record)]
    row: list[Value] = []
    lost: list[dict[str, str]] = []
    for (name, limit, coerce, absent), value in zip(table.plan, table.values(record), strict=True):
        if value is None:
            row.append(absent)
            continue
        try:
            kept = coerce(value)
        except ValueError as error:
            lost.append({"class": "dropped", "path": f"ledger.{name}", "reason": str(error)})
            row.append(absent)
            continue
        if type(kept) is str:
            if scrub is not None:
                kept = scrub(kept)
            if len(kept) > limit:
                lost.append({"class": "dropped", "path": f"ledger.{name}", "reason": f"{len(kept)} characters"})
                # Half a JSON list is none.
                kept = "[]" if name in JSON_COLUMNS else kept[: limit - 1] + "…"
        row.append(kept)
    if lost and table.losses is not None:
        row[table.losses] = _with_losses(str(row[table.losses]), lost)
    return tuple(row)


def _with_losses(text: str, lost: list[dict[str, str]]) -> str:
    """The JSON list `text` with `lost` at its end; what is no list stands as its first item."""
    try:
        known = orjson.loads(text)
    except orjson.JSONDecodeError:
        known = text
    return orjson.dumps([*(known if isinstance(known, list) else [known]), *lost]).decode()
