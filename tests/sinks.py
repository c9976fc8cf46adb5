"""A sink of each kind that can be read again, for tests that hold for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.postgres import PASSWORD, Postgres

from interpose.ledger.address import Database, Readable
from interpose.ledger.jsonl import JsonlSink
from interpose.ledger.postgres.sink import PostgresSink
from interpose.ledger.sink import Sink
from interpose.ledger.sqlite import SqliteSink
from interpose.rules.sinks import SinkFile
from interpose.rules.sinks import database as parsed

KINDS = ("sqlite", "jsonl", "postgres")


def sink_of(request: pytest.FixtureRequest, folder: Path) -> tuple[Sink, Readable]:
    """The sink that the parameter of a fixture names, and how it is read."""
    if request.param == "sqlite":
        return SqliteSink(folder / "usage.db"), folder / "usage.db"
    if request.param == "jsonl":
        return JsonlSink(folder / "calls.jsonl"), SinkFile("jsonl", folder / "calls.jsonl")
    server: Postgres = request.getfixturevalue("postgres")
    database = Database(parsed(server.url(server.database())), PASSWORD)
    return PostgresSink(database), database
