"""The sums of every kind of ledger, against a count by hand."""

import itertools
import json
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.ledger.by_hand import BY_HAND, DAY, FILTERS, by_hand, calls, filters, groupings, maybe, taken
from tests.postgres import Postgres

from interpose.ledger import Record
from interpose.ledger.address import Database, Readable
from interpose.ledger.grouping import DIMENSIONS, Selection
from interpose.ledger.postgres import schema
from interpose.ledger.record import CALLS, storable
from interpose.ledger.schema import INSERT, open_for_writing
from interpose.ledger.sums import usages
from interpose.rules.sinks import SinkFile
from interpose.rules.sinks import database as parsed


@pytest.fixture(params=["sqlite", "jsonl", "postgres"])
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """Keeps rows in an empty ledger of each kind."""
    if request.param == "postgres":
        return in_postgres(request.getfixturevalue("postgres"))
    return lambda rows: {"sqlite": in_sqlite, "jsonl": in_jsonl}[request.param](tmp_path_factory.mktemp("sums"), rows)


def in_sqlite(folder: Path, rows: list[tuple]) -> Readable:
    with closing(open_for_writing(folder / "usage.db")) as connection:
        connection.executemany(INSERT["calls"], rows)
    return folder / "usage.db"


def in_jsonl(folder: Path, rows: list[tuple]) -> Readable:
    """With captures among the records, one record twice, and a line that was torn."""
    lines = [json.dumps({"table": "calls", **dict(zip(CALLS.columns, row, strict=True))}) + "\n" for row in rows]
    (folder / "usage.jsonl").write_text('{"table":"captures","body":"…"}\n'.join([*lines, *lines[:1]]) + '{"table":"ca')
    return SinkFile("jsonl", folder / "usage.jsonl")


def in_postgres(server: Postgres):
    name = server.database()
    for statement in itertools.chain.from_iterable(schema.STEPS.values()):
        server.run(statement, database=name)
    server.run(f"INSERT INTO {schema.VERSIONS} (version) VALUES ({schema.VERSION})", database=name)
    kinds = [schema.SQL_TYPES[CALLS.types[column]] for column in CALLS.columns]
    places = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(kinds, 1))

    def keep(rows: list[tuple]) -> Readable:
        server.run("TRUNCATE calls", database=name)
        if rows:
            server.run(f"INSERT INTO calls SELECT * FROM unnest({places})", *zip(*rows, strict=True), database=name)
        return Database(parsed(server.socket_url(name)))

    return keep


def rows_of(facts: list[dict], record) -> tuple[list[Record], list[tuple]]:
    records = [record(**fact) for fact in facts]
    return records, [
        CALLS.seal(storable(known), writer="w", seq=seq, prev_hash="") for seq, known in enumerate(records, 1)
    ]


questions = {
    "facts": st.lists(calls, max_size=40),
    "several": st.lists(groupings, min_size=1, max_size=3),
    "span": st.tuples(maybe(st.integers(-1, 3 * 86400)), maybe(st.integers(-1, 3 * 86400))),
    "only": filters,
}


def counted_alike(place: Readable, records: list[Record], facts, several, span, only) -> None:
    """Any calls, grouped by anything, several times over, within any span, confined to any names."""
    since, until = (None if each is None else DAY + timedelta(seconds=each) for each in span)
    chosen = [
        call
        for call, fact in zip(records, facts, strict=True)
        if (span[0] is None or fact["number"] >= span[0])
        and (span[1] is None or fact["number"] < span[1])
        and taken(call, only)
    ]
    found = usages(place, several, Selection(since, until, only=only))
    total = by_hand(chosen, ()).get(())
    for by, report in zip(several, found, strict=True):
        assert report.by == by
        assert {tuple(row.key.values()): row for row in report} == by_hand(chosen, by)
        assert report.total == total


def test_every_ledger_counts_as_a_hand_does(kept, record) -> None:
    """SQLite, JSON lines and PostgreSQL: what is added up in SQL is what is added up call by call."""

    @settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
    @given(**questions)
    def hold(facts, several, span, only) -> None:
        records, rows = rows_of(facts, record)
        counted_alike(kept(rows), records, facts, several, span, only)

    hold()


def test_names_are_chosen_alike(kept, record) -> None:
    """Patterns mean the same in every ledger: `*` and `?` and no other character, in upper or in lower case."""
    words = {
        "provider": ["openai", "", "claude"],
        "sent_model": ["gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5"],
        "client": ["ci", "o'hara; DROP TABLE calls", None],
        "app": ["python", "ci", None],
        "route": ["canary", None],
    }
    facts = [{"number": 0, name: value} for name, values in words.items() for value in values]
    records, rows = rows_of(facts, record)
    place = kept(rows)
    for name, patterns in FILTERS.items():
        for pattern in patterns:
            counted_alike(place, records, facts, [(name,)], (None, None), {name: [pattern]})


def test_every_dimension_is_counted_by_hand() -> None:
    """The property above covers all that `--by` may name."""
    assert set(BY_HAND) == set(DIMENSIONS)
