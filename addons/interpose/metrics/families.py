"""Every metric that there is, as one table: its name, what it says, its labels, and how those of workers are joined.

Names by Prometheus' conventions: base units, `_total` for what only grows; what is no part of a sum (cached tokens are
input tokens already) has a name of its own rather than a label.
https://prometheus.io/docs/practices/naming/ · https://prometheus.io/docs/instrumenting/writing_exporters/#naming
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PREFIX = "interpose_"
# Upper bounds in seconds, from a cached embedding to the longest of thoughts.
BUCKETS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)

# What stands for a label that a call has not, and for one that is not to have a series of its own.
NONE, OTHER = "none", "other"


@dataclass(frozen=True, slots=True)
class Family:
    """`name` is without the prefix and, of a counter, without `_total`. `joined` says how a gauge of several workers is
    made one; what is no gauge is added up.
    """

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    help: str
    labels: tuple[str, ...] = ()
    joined: Literal["sum", "max", "min"] = "sum"

    @property
    def shown(self) -> str:
        """Its name on the page, but for what a histogram adds."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


CALL = ("endpoint", "provider", "model")

FAMILIES = {
    family.name: family
    for family in (
        Family("calls", "counter", "Calls that have ended: one for each record.", (*CALL, "outcome", "status")),
        Family("input_tokens", "counter", "Tokens of input, read from and written to caches included.", CALL),
        Family("cache_read_tokens", "counter", "Tokens of input that came from a provider's cache.", CALL),
        Family("cache_write_tokens", "counter", "Tokens of input that were written to a provider's cache.", CALL),
        Family("output_tokens", "counter", "Tokens of output, reasoning included.", CALL),
        Family("reasoning_tokens", "counter", "Tokens of output that were thoughts.", CALL),
        Family("cost_usd", "counter", "US dollars that calls have cost, by the price list.", CALL),
        Family("unpriced_calls", "counter", "Calls that used tokens and whose price nobody knows.", CALL),
        Family("call_duration_seconds", "histogram", "From a call's arrival to the end of its reply.", CALL),
        Family(
            "time_to_first_token_seconds", "histogram", "From a call's arrival to the first piece of a stream.", CALL
        ),
        Family("calls_in_flight", "gauge", "Calls that have begun and not ended."),
        Family(
            "attempts",
            "counter",
            "Sendings to a provider, by the status of its answer (none: there was no answer).",
            ("provider", "status"),
        ),
        Family("retries", "counter", "Sendings of a call to the provider that had just failed on it.", ("provider",)),
        Family("failovers", "counter", "Sendings of a call elsewhere after a provider had failed.", ("provider", "to")),
        Family("hedges", "counter", "Sendings given up since another of the same call had answered.", ("provider",)),
        Family("refusals", "counter", "Answers of our own in place of a provider's.", ("code", "outcome")),
        Family("limits_hit", "counter", "Refusals by a limit, of a call or of one attempt.", ("limit", "kind")),
        Family(
            "credentials",
            "gauge",
            "Credentials in use, by how their circuit stands: closed (calls go through), open (the provider keeps "
            "failing), half-open (a call is trying), resting (the provider has asked for that). By worker.",
            ("provider", "state"),
        ),
        Family("ledger_records", "counter", "Records of calls that the ledger has committed."),
        Family("ledger_records_lost", "counter", "Records that the ledger could not keep."),
        Family("ledger_records_waiting", "gauge", "Records that are not committed yet."),
        Family("rules_info", "gauge", "1 for the version of the rules that is in force.", ("version",), "max"),
        Family(
            "rules_stale", "gauge", "1 while the rules file cannot be used and older rules are in force.", (), "max"
        ),
        Family("rules_reloads", "counter", "Readings of a changed rules file, by worker.", ("result",)),
        Family(
            "rules_loaded_timestamp_seconds", "gauge", "When the rules in force were loaded, in Unix time.", (), "min"
        ),
        Family("workers", "gauge", "Processes that answer calls."),
        Family("start_timestamp_seconds", "gauge", "When the first of the workers began, in Unix time.", (), "min"),
        Family("build_info", "gauge", "1 for this version.", ("version", "python"), "max"),
        Family("metrics_dropped", "counter", "Counts that found no room among the metrics."),
    )
}
