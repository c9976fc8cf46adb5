"""Where connections led, and what became of them: everything that left, decrypted or not."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import orjson
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .address import Readable
from .record import CONNECTIONS, utc_text
from .source import named_from, open_source
from .wording import human_count, printable, spreadsheet_safe

_QUERY = """
SELECT kind, host, port, coalesce(app, ''), count(*) AS times, sum(bytes_up), sum(bytes_down),
       count(CASE WHEN outcome = 'error' THEN 1 END), count(CASE WHEN outcome = 'refused' THEN 1 END),
       count(CASE WHEN outcome = 'tls_refused' THEN 1 END), count(CASE WHEN outcome = 'tls_dropped' THEN 1 END),
       max(reason)
FROM connections WHERE opened_at >= ? AND writer >= ? AND writer < ?
GROUP BY 1, 2, 3, 4 ORDER BY sum(bytes_up + bytes_down) DESC, times DESC, host, coalesce(app, '')
"""
SHOWN = 10

# What makes a program trust our CA, by how its process is called; the first prefix that fits.
REMEDIES = (
    ("node", "set NODE_EXTRA_CA_CERTS"),
    ("bun", "set NODE_EXTRA_CA_CERTS"),
    ("deno", "set DENO_CERT"),
    ("python", "set SSL_CERT_FILE and REQUESTS_CA_BUNDLE"),
    ("java", "give it a truststore: JAVA_TOOL_OPTIONS"),
    ("curl", "set CURL_CA_BUNDLE"),
    ("ruby", "set SSL_CERT_FILE"),
    ("go", "set SSL_CERT_FILE"),
)
REMEDY = "it must trust the CA (`interpose ca show`), unless it pins its certificates"

# The same where all those variables were set.
BRINGS_ITS_OWN = (
    "it reads none of the CA variables that were set for it, or it pins; add the CA (`interpose ca show`) to what it "
    "trusts; `interpose doctor` tries its runtime"
)
PINS = (
    "it probably pins its certificates; turn that off there, or tunnel the host undecrypted by leaving it out of "
    "intercept: {hosts: […]}"
)


@dataclass(frozen=True, slots=True)
class Destination:
    """The connections of one program with one host and port. Bytes are as the client sent and got them."""

    kind: str
    host: str
    port: int
    app: str
    connections: int
    bytes_up: int
    bytes_down: int
    errors: int
    refused: int
    tls_refused: int
    tls_dropped: int
    reason: str | None

    @property
    def place(self) -> str:
        return self.host if self.port == 443 else f"{self.host}:{self.port}"


def destinations(place: Readable, *, since: datetime | None = None, writer: str | None = None) -> list[Destination]:
    """What went where, the most bytes first; of the writers whose names begin with `writer`, and opened since a moment.

    Raises LedgerError if the file cannot be read. A ledger of an older version knows of no connections.
    """
    with open_source(place) as source:
        if CONNECTIONS not in source.tables():
            return []
        rows = source.rows(_QUERY, utc_text(since.timestamp()) if since else "", *named_from(writer or ""))
        return [Destination(*row) for row in rows]


def render(found: Sequence[Destination], *, limit: int | None = None) -> RenderableType:
    """A table for people: where it went, how often, how much, from which program."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("host", overflow="fold")
    table.add_column("seen as")
    table.add_column("from", overflow="ellipsis", no_wrap=True)
    for title in ("connections", "sent", "received", "failed"):
        table.add_column(title, justify="right")
    shown = found[:limit] if limit is not None else found
    for each in shown:
        failed = each.errors + each.refused + each.tls_refused + each.tls_dropped
        table.add_row(
            Text(printable(each.place)),
            SEEN_AS.get(each.kind, each.kind),
            Text(printable(each.app) or "–"),
            human_count(each.connections),
            human_bytes(each.bytes_up),
            human_bytes(each.bytes_down),
            human_count(failed) if failed else "–",
        )
    if len(shown) < len(found):
        return Group(table, Text(f"and {len(found) - len(shown)} more: interpose usage --connections", style="dim"))
    return table


SEEN_AS = {"ai": "AI calls", "tunnel": "undecrypted", "http": "plain HTTP"}


def untrusting(found: Sequence[Destination], *, prepared: bool = False) -> list[str]:
    """A line for each program that did not take our certificate, with what to do about it.

    `prepared` says that the program ran in the environment that we made for it, where every variable is set.
    """
    lines = []
    for each in found:
        where = f"{printable(each.place)}{' from ' + printable(each.app) if each.app else ''}"
        if count := each.tls_refused:
            remedy = next((text for name, text in REMEDIES if each.app.startswith(name)), REMEDY)
            advice = BRINGS_ITS_OWN if prepared else f"{remedy}; `interpose doctor` tries it"
            lines.append(f"{count} TLS handshake{'s' * (count != 1)} refused our certificate: {where}: {advice}")
        if count := each.tls_dropped:
            lines.append(
                f"{count} connection{'s' * (count != 1)} closed right after the TLS handshake, without a request: "
                f"{where}: {PINS}"
            )
    return lines


def to_json(found: Sequence[Destination]) -> str:
    return orjson.dumps([asdict(each) for each in found], option=orjson.OPT_INDENT_2).decode()


def to_csv(found: Sequence[Destination]) -> str:
    """With a header line; what a spreadsheet would take for a formula is text."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(Destination.__dataclass_fields__)
    for each in found:
        lines.writerow(
            [spreadsheet_safe(value) if isinstance(value, str) else value for value in asdict(each).values()]
        )
    return out.getvalue()


def human_bytes(count: int) -> str:
    """In powers of 1000, three digits at most: 999 B, 1.2 kB, 45 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
