"""PostgreSQL as a ledger that many machines write: its sink and how it is read. asyncpg is imported here alone."""

from interpose.ledger.record import LedgerError

try:
    import asyncpg  # noqa: F401
except ImportError:
    raise LedgerError(
        "asyncpg is not installed, which a ledger at postgresql:// needs: pip install 'interpose[postgres]'"
    ) from None
