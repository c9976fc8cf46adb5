"""The ledger's tables in PostgreSQL, their version, and the heads of the chains.

The columns are those of the SQLite file, and so are the versions. Text is of collation "C": it sorts as it counts.
"""

from __future__ import annotations

import asyncpg

from interpose.ledger.record import TABLES, LedgerError, Table, canonical_heads
from interpose.ledger.schema import VERSION, parse_heads, unnamed
from interpose.ledger.sink import Writer

# "intp": who makes tables or enters a writer holds this advisory lock for the transaction.
LOCK = 0x696E7470
VERSIONS = "ledger_versions"

SQL_TYPES = {
    "str": "text",
    "str | None": "text",
    "int": "bigint",
    "int | None": "bigint",
    "bool": "smallint",
    "float | None": "double precision",
    "bytes | None": "bytea",
}


def _column(table: Table, name: str) -> str:
    kind = SQL_TYPES[table.types[name]]
    return f'"{name}" {kind}' + ' COLLATE "C"' * (kind == "text")


def _table_ddl(table: Table) -> str:
    columns = ", ".join(
        _column(table, name) + " NOT NULL" * (not table.types[name].endswith("None")) for name in table.columns
    )
    return f"CREATE TABLE {table.name} ({columns}, PRIMARY KEY (writer, seq))"


_CALLS, _CONNECTIONS, _CAPTURES = TABLES
# What brings a database to each version from the one before it; 0 is an empty one.
STEPS: dict[int, tuple[str, ...]] = {
    1: (
        _table_ddl(_CALLS),
        "CREATE INDEX calls_by_start ON calls (started_at)",
        'CREATE TABLE writers (writer text COLLATE "C" PRIMARY KEY, opened_at text COLLATE "C" NOT NULL,'
        ' version text COLLATE "C" NOT NULL, heads text COLLATE "C" NOT NULL)',
        f"CREATE TABLE {VERSIONS} (version integer PRIMARY KEY, since timestamptz NOT NULL DEFAULT now())",
    ),
    2: (_table_ddl(_CONNECTIONS), "CREATE INDEX connections_by_opening ON connections (opened_at)"),
    3: (
        _table_ddl(_CAPTURES),
        "CREATE INDEX captures_by_call ON captures (id)",
        # What is compressed already is not to be compressed again.
        "ALTER TABLE captures ALTER COLUMN body SET STORAGE EXTERNAL",
    ),
    4: (
        'CREATE TABLE cuts (number bigint PRIMARY KEY, at text COLLATE "C" NOT NULL, cut text COLLATE "C" NOT NULL,'
        ' met text COLLATE "C" NOT NULL, bodies text COLLATE "C" NOT NULL, prev_hash text COLLATE "C" NOT NULL,'
        ' hash text COLLATE "C" NOT NULL)',
    ),
}


async def prepare(connection: asyncpg.Connection, name: str) -> None:
    """Brings the database to our version. Raises LedgerError for a newer one or a stranger's tables."""
    if await check_version(connection, name) == VERSION:
        return  # so that a role which may do no more than write is enough from then on
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        for version in range(await check_version(connection, name) + 1, VERSION + 1):
            for statement in STEPS[version]:
                await connection.execute(statement)
            await connection.execute(f"INSERT INTO {VERSIONS} (version) VALUES ($1)", version)  # noqa: S608 - our name


async def check_version(connection: asyncpg.Connection, name: str) -> int:
    """The version of the tables, 0 where there are none."""
    # Not by to_regclass: what it has not found once, it may not find behind the lock either, from its cache.
    found = await connection.fetch(
        "SELECT relname FROM pg_catalog.pg_class WHERE relname = ANY($1::name[]) AND pg_table_is_visible(oid)",
        [VERSIONS, "calls"],
    )
    tables = {row[0] for row in found}
    if VERSIONS not in tables:
        if tables:
            raise LedgerError(
                f"the database {name} has a table `calls` of something else: give the ledger a database of its own, or "
                "its user a schema of its own"
            )
        return 0
    version = await connection.fetchval(f"SELECT max(version) FROM {VERSIONS}")  # noqa: S608 - our name
    if version > VERSION:
        raise LedgerError(
            f"the ledger {name} was written by a newer interpose (schema {version}, this one knows {VERSION}): "
            "upgrade interpose, or give the ledger another database"
        )
    return int(version)


async def enter(connection: asyncpg.Connection, new: Writer) -> str:
    """Enters a writer and gives the JSON of the heads that it found. Raises asyncpg.UniqueViolationError."""
    lasts = ", ".join(
        f"(SELECT hash FROM {table.name} AS t WHERE t.writer = w.writer ORDER BY seq DESC LIMIT 1)"  # noqa: S608 - our tables
        for table in TABLES
    )
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        found = await connection.fetch(f"SELECT writer, heads, {lasts} FROM writers AS w")  # noqa: S608 - our tables
        heads = canonical_heads(
            unnamed(
                (
                    {table.chain(row[0]): last for table, last in zip(TABLES, row[2:], strict=True) if last},
                    parse_heads(row[1]),
                )
                for row in map(tuple, found)
            )
        ).decode()
        await connection.execute(
            "INSERT INTO writers VALUES ($1, $2, $3, $4)", new.writer, new.opened_at, new.version, heads
        )
    return heads
