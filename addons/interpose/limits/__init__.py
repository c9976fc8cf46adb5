"""Limits: how much may be taken of a bucket, decided for all limits of a call at once.

Nothing here knows rules or calls. A call becomes a tuple of `Demand`s; a `Store` grants or refuses all of them together
(`memory`, `valkey`, or the latter `guarded` against its failures), and `queue` waits where waiting is wanted.
"""

from .periods import Period
from .store import Demand, Granted, Kind, Refused, Reservation, Standing, Store, StoreError

__all__ = ["Demand", "Granted", "Kind", "Period", "Refused", "Reservation", "Standing", "Store", "StoreError"]
