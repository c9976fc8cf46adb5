"""Alerts: what the records of calls, budgets, quotas and the ledger say that somebody should hear of now.

`window` counts, `watch` decides when an alert begins and ends, `notices` says it in words, `senders` tells it, and
`keeper` does all of it beside an engine. Nothing of it is on a call's way: records are put into a queue.
"""

from .keeper import Keeper, Surroundings
from .notices import Notice
from .senders import Senders, Undelivered

__all__ = ["Keeper", "Notice", "Senders", "Surroundings", "Undelivered"]
