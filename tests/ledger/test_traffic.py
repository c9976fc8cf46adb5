"""Connections in the ledger: chained as calls are, migrated to, summed up and told."""

import csv
import json
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from interpose.ledger import Connection, Ledger, Record, utc_text
from interpose.ledger.record import CALLS, CONNECTIONS, canonical_heads, genesis, storable
from interpose.ledger.schema import APPLICATION_ID, open_for_reading
from interpose.ledger.traffic import Destination, destinations, human_bytes, render, to_csv, to_json, untrusting
from interpose.ledger.verify import heads, verify

NOON = 1_793_491_200.0


def connection(number: int, **more: object) -> Connection:
    facts: dict[str, object] = {
        "id": f"c{number}",
        "opened_at": utc_text(NOON + number),
        "closed_at": utc_text(NOON + number + 1),
        "kind": "tunnel",
        "host": "example.org",
        "port": 443,
        "app": "curl",
        "bytes_up": 10,
        "bytes_down": 1000,
    }
    return Connection(**{**facts, **more})  # type: ignore[arg-type]  # a test's own facts


def write(path: Path, *connections: Connection, writer: str = "w", calls: int = 0) -> Path:
    ledger = Ledger.open(path, writer=writer, clock=time.time)
    for number in range(calls):
        moment = utc_text(NOON + number)
        ledger.record(
            Record(
                id=f"call-{number}",
                started_at=moment,
                finished_at=moment,
                entrance="intercept",
                method="POST",
                host="api.openai.com",
                path="/v1/chat/completions",
                endpoint="chat",
                outcome="ok",
            )
        )
    for each in connections:
        ledger.connection(each)
    assert ledger.close() == 0
    return path


def test_calls_and_connections_have_a_chain_each(tmp_path: Path) -> None:
    """Both begin from the same heads, number from 1, and verify."""
    path = write(tmp_path / "usage.db", *map(connection, range(3)), calls=2)
    assert verify(path) == []
    assert set(heads(path)) == {"w", "w:connections"}
    with closing(sqlite3.connect(path)) as reader:
        for table, count in ((CALLS, 2), (CONNECTIONS, 3)):
            rows = reader.execute(f"SELECT * FROM {table.name} ORDER BY seq").fetchall()
            assert [row[1] for row in rows] == list(range(1, count + 1))
            assert rows[0][-2] == genesis(canonical_heads({}))
            assert rows[-1][-1] == table.digest(rows[-1])


def test_a_later_writer_names_the_heads_of_both_chains(tmp_path: Path) -> None:
    """So that either chain, cut off as a whole, is missed."""
    path = write(tmp_path / "usage.db", *map(connection, range(2)), calls=1)
    write(path, connection(9), writer="x", calls=1)
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("DELETE FROM connections WHERE writer = 'w'")
    (problem,) = verify(path)
    assert (problem.flaw, problem.table, problem.writer, problem.seq) == ("cut", "connections", "w", 1)
    assert "of connections" in str(problem)


@pytest.mark.parametrize(
    ("tamper", "flaw"),
    [
        ("UPDATE connections SET bytes_up = 0 WHERE seq = 2", "changed"),
        ("UPDATE connections SET host = 'innocent.test' WHERE seq = 2", "changed"),
        ("DELETE FROM connections WHERE seq = 2", "deleted"),
    ],
)
def test_a_tampered_connection_is_named(tmp_path: Path, tamper: str, flaw: str) -> None:
    """With its table and its number; the calls beside it are sound."""
    path = write(tmp_path / "usage.db", *map(connection, range(3)), calls=3)
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(tamper)
    (problem,) = verify(path)
    assert (problem.flaw, problem.table, problem.seq) == (flaw, "connections", 2)


def first_version(path: Path) -> None:
    """A ledger as the first version of the schema wrote it, with one call of the writer `old`."""
    types = {
        "seq": "INTEGER NOT NULL",
        "status": "INTEGER",
        "stream": "INTEGER NOT NULL",
        **dict.fromkeys(("cost_usd", "ttft_ms", "duration_ms"), "REAL"),
        **{f"{name}_tokens": "INTEGER" for name in ("input", "cache_read", "cache_write", "output", "reasoning")},
    }
    columns = ", ".join(f"{name} {types.get(name, 'TEXT')}" for name in CALLS.columns)
    moment = utc_text(NOON)
    call = Record(
        id="call-old",
        started_at=moment,
        finished_at=moment,
        entrance="intercept",
        method="POST",
        host="api.openai.com",
        path="/v1/chat/completions",
        endpoint="chat",
        outcome="ok",
    )
    row = CALLS.seal(storable(call), writer="old", seq=1, prev_hash=genesis(b"{}"))
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(f"CREATE TABLE calls ({columns}, PRIMARY KEY (writer, seq))")
        raw.execute("CREATE INDEX calls_by_start ON calls (started_at)")
        raw.execute(
            "CREATE TABLE writers (writer TEXT PRIMARY KEY, opened_at TEXT NOT NULL, version TEXT NOT NULL,"
            " heads TEXT NOT NULL)"
        )
        raw.execute("INSERT INTO writers VALUES ('old', ?, '0', '{}')", (moment,))
        raw.execute(f"INSERT INTO calls VALUES ({', '.join('?' * len(row))})", row)
        raw.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        raw.execute("PRAGMA user_version = 1")


def test_a_ledger_of_the_first_version_is_read_as_it_is(tmp_path: Path) -> None:
    """It knows of no connections; reading changes nothing."""
    path = tmp_path / "usage.db"
    first_version(path)
    before = path.read_bytes()
    assert verify(path) == []
    assert destinations(path) == []
    assert set(heads(path)) == {"old"}
    assert path.read_bytes() == before


def test_a_ledger_of_the_first_version_is_brought_up_to_date_by_its_next_writer(tmp_path: Path) -> None:
    """What was there is still there, and still verifies; the new writer names it."""
    path = tmp_path / "usage.db"
    first_version(path)
    write(path, connection(1), writer="new", calls=1)
    assert verify(path) == []
    assert [each.host for each in destinations(path)] == ["example.org"]
    with closing(open_for_reading(path)) as reader:
        assert reader.execute("SELECT count(*) FROM calls").fetchone() == (2,)
        (seen,) = reader.execute("SELECT heads FROM writers WHERE writer = 'new'").fetchone()
    assert set(json.loads(seen)) == {"old"}


def test_secrets_are_scrubbed_from_connections_too(tmp_path: Path) -> None:
    """A command line is the likeliest place for one."""
    path = tmp_path / "usage.db"
    ledger = Ledger.open(path, writer="w", clock=time.time, scrub=lambda text: text.replace("fake-secret", "***"))
    ledger.connection(connection(1, command="app --say fake-secret", reason="fake-secret"))
    ledger.close()
    assert b"fake-secret" not in path.read_bytes()


def test_destinations_are_summed_by_host_and_program(tmp_path: Path) -> None:
    """The most bytes first; failures are counted by their kind."""
    path = write(
        tmp_path / "usage.db",
        connection(1),
        connection(2, bytes_down=5000),
        connection(3, host="big.test", bytes_down=10_000, outcome="error", reason="reset"),
        connection(4, host="api.x.ai", kind="ai", app="node", outcome="tls_refused", bytes_down=0),
        connection(5, app=None),
    )
    found = destinations(path)
    assert [(each.host, each.app, each.connections, each.bytes_up, each.bytes_down) for each in found] == [
        ("big.test", "curl", 1, 10, 10_000),
        ("example.org", "curl", 2, 20, 6000),
        ("example.org", "", 1, 10, 1000),
        ("api.x.ai", "node", 1, 10, 0),
    ]
    assert (found[0].errors, found[0].reason, found[3].tls_refused) == (1, "reset", 1)
    assert destinations(path, writer="nobody") == []
    assert destinations(path, writer="") == found
    after = destinations(path, since=datetime.fromtimestamp(NOON + 3, UTC))
    assert {each.host for each in after} == {"big.test", "api.x.ai", "example.org"}
    assert sum(each.connections for each in after) == 3


def text_of(*found: Destination, limit: int | None = None) -> str:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115 - closed with the test
    console.print(render(found, limit=limit))
    console.file.close()
    return console.export_text()


def destination(**more: object) -> Destination:
    facts: dict[str, object] = dict.fromkeys(Destination.__dataclass_fields__, 0)
    facts |= {"kind": "tunnel", "host": "example.org", "port": 443, "app": "curl", "connections": 1, "reason": None}
    return Destination(**{**facts, **more})  # type: ignore[arg-type]  # a test's own facts


def test_the_table_is_cut_where_asked_and_says_so() -> None:
    """The rest is counted, with the command that shows it."""
    text = text_of(*(destination(host=f"h{number}.test") for number in range(12)), limit=10)
    assert "h9.test" in text
    assert "h10.test" not in text
    assert "and 2 more: interpose usage --connections" in text


def test_hostile_names_cannot_steer_a_terminal_or_a_spreadsheet() -> None:
    """Neither a host that a client made up nor a process that calls itself a formula."""
    hostile = destination(host="\x1b[2Jevil.test", app="=cmd()")
    assert "\x1b" not in text_of(hostile)
    (row,) = csv.DictReader(to_csv([hostile]).splitlines())
    assert row["app"] == "'=cmd()"
    assert json.loads(to_json([hostile]))[0]["app"] == "=cmd()"


def test_who_did_not_take_our_certificate_is_told_what_to_do() -> None:
    """By the runtime, where it is known."""
    lines = untrusting(
        [
            destination(kind="ai", host="api.x.ai", app="node", tls_refused=3),
            destination(kind="ai", host="api.openai.com", app="", tls_refused=1),
            destination(),
        ]
    )
    assert lines[0].startswith("3 TLS handshakes refused our certificate: api.x.ai from node: set NODE_EXTRA_CA_CERTS")
    assert lines[1].startswith("1 TLS handshake refused our certificate: api.openai.com: it must trust the CA")
    assert len(lines) == 2


def test_who_was_told_to_trust_us_is_not_told_so_again() -> None:
    """Under `interpose run` the variables are set: such a program brings its own CAs."""
    (line,) = untrusting([destination(kind="ai", host="api.x.ai", app="node", tls_refused=1)], prepared=True)
    assert "reads none of the CA variables that were set" in line
    assert "set NODE_EXTRA_CA_CERTS" not in line


def test_who_pins_is_told_apart() -> None:
    """It has taken our certificate, and left without a word."""
    found = destination(kind="ai", host="api.x.ai", app="curl", tls_dropped=2)
    (line,) = untrusting([found])
    assert line.startswith("2 connections closed right after the TLS handshake, without a request: api.x.ai from curl")
    assert "pins" in line
    (row,) = [shown for shown in text_of(found).splitlines() if "api.x.ai" in shown]
    assert row.split()[-1] == "2"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_600, "1.0 MB"),
        (12_300_000, "12.3 MB"),
        (5 * 10**12, "5.0 TB"),
    ],
)
def test_bytes_are_shown_in_three_digits(count: int, text: str) -> None:
    """In powers of 1000."""
    assert human_bytes(count) == text
