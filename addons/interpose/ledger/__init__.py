"""Usage records: what a call was, who made it, what it used. One hash-chained record per call (law 7)."""

from .record import Connection, LedgerError, Record, utc_text
from .writer import Ledger

__all__ = ["Connection", "Ledger", "LedgerError", "Record", "utc_text"]
