"""What an operator watches: counts, durations and states of the calls, in the formats of Prometheus and OpenMetrics.

Counted where a call is settled, from its one record, and never in its way: nothing here raises into a call, and
counting one takes some microseconds. Several workers count in files that each of them can read (`sheet`), so that
whichever is asked answers for all. Who may ask is the page's business (`gateway.metrics`).
"""

from .worker import Metrics

__all__ = ["Metrics"]
