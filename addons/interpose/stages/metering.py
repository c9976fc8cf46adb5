"""Reads along what a reply used; changes nothing.

Puts a `Gauge` to each reply on its way back, and turns what that read into the ledger's usage: the provider's own
word, or an estimate that is marked as one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from interpose.ir import Reading, Usage, UsageSource

from .draft import Head, Stage, Trip
from .gauge import Gauge

# Offline there is no tokenizer: one token is taken for four bytes.
BYTES_PER_TOKEN = 4
ESTIMATED_ENDPOINTS = frozenset(("chat", "completions", "embeddings"))


@dataclass(frozen=True, slots=True)
class Measured:
    """What the ledger says of a reply's usage."""

    usage: Usage
    source: UsageSource


class Metering(Stage):
    """Watches the reply."""

    name = "metering"

    def receive(self, head: Head, trip: Trip) -> Head:
        trip.gauge = Gauge(trip.facts.wire, head.headers)
        return head


def measure(reading: Reading, *, endpoint: str, status: int, request_bytes: int, cut: bool) -> Measured:
    """The usage as the provider told it; estimated where it told none and the call surely used something."""
    if status >= 400 or endpoint not in ESTIMATED_ENDPOINTS:
        source = UsageSource.PROVIDER if reading.usage else UsageSource.NONE
        return Measured(reading.usage, source)
    usage = reading.usage
    generates = endpoint != "embeddings"
    lacks_output = generates and usage.output_tokens is None
    if usage.input_tokens is not None and not lacks_output:
        return Measured(usage, UsageSource.PROVIDER)
    if not usage and reading.error is not None and not reading.text_bytes:
        return Measured(usage, UsageSource.NONE)
    if usage and not cut:
        # Told in part, and all of the reply was there: the provider's word stands as it is.
        return Measured(usage, UsageSource.PROVIDER)
    estimate = replace(
        usage,
        input_tokens=tokens(request_bytes) if usage.input_tokens is None else usage.input_tokens,
        output_tokens=tokens(reading.text_bytes) if lacks_output else usage.output_tokens,
    )
    return Measured(estimate, UsageSource.ESTIMATED)


def tokens(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)
