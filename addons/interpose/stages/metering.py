"""Reads along what a reply used; changes nothing.

Puts a `Gauge` to each reply on its way back, and turns what that read into the ledger's usage: the provider's own
word, or an estimate that is marked as one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from interpose.ir import Reading, Usage, UsageSource

from .draft import Head, Stage, Trip
from .gauge import Gauge
from .session import SessionGauge

# Offline there is no tokenizer: one token is taken for four bytes.
BYTES_PER_TOKEN = 4
# A run of characters that no text has: an image, a document, a sound.
# Tried where a run begins, and nowhere inside of one: shorter ones would cost a thousand times their length.
BASE64 = re.compile(rb"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_=-]{1024,}+")
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
        if head.status == 101:
            trip.gauge = SessionGauge(trip.facts.format, head.headers)
            return head
        trip.gauge = Gauge(wire_of(trip), head.headers)
        return head


def wire_of(trip: Trip) -> str:
    """What the reply to an attempt is to `formats.meters`."""
    translation = trip.attempt.translation
    return translation.provider.wire or translation.provider.name if translation else trip.facts.wire


def measure(reading: Reading, *, endpoint: str, status: int, request: bytes | int, cut: bool) -> Measured:
    """The usage as the provider told it; estimated where it told none and the call surely used something.

    `request` is the request's body, or its size where it streamed through. `cut` says that the reply is not whole: a
    count of the output that came with its beginning is then a placeholder, and the text that was seen may say more.
    """
    usage = reading.usage
    source = UsageSource.PROVIDER if usage else UsageSource.NONE
    if status != 200 or endpoint not in ESTIMATED_ENDPOINTS:
        return Measured(usage, source)
    if endpoint == "embeddings":
        if usage or reading.flaw is not None or not reading.complete:
            return Measured(usage, source)
        return Measured(replace(usage, input_tokens=estimated_input(request)), UsageSource.ESTIMATED)
    seen = tokens(reading.text_bytes)
    if usage.input_tokens is not None and usage.output_tokens is not None:
        if not cut or seen <= usage.output_tokens:
            return Measured(usage, source)
        return Measured(replace(usage, output_tokens=seen), UsageSource.ESTIMATED)
    if usage and not cut:
        # Told in part, and all of the reply was there: the provider's word stands as it is.
        return Measured(usage, source)
    if not usage and not seen and (reading.error is not None or reading.flaw is not None):
        # An error, or something that is no answer of a model at all: nothing says that anything was used.
        return Measured(usage, source)
    told = usage.input_tokens
    estimate = replace(
        usage,
        input_tokens=estimated_input(request) if told is None else told,
        output_tokens=seen if usage.output_tokens is None else max(seen, usage.output_tokens),
    )
    return Measured(estimate, UsageSource.ESTIMATED)


def estimated_input(request: bytes | int) -> int:
    """The tokens of a request body: media in it (long base64) are not text, and not counted."""
    return tokens(len(BASE64.sub(b"", request)) if isinstance(request, bytes) else request)


def tokens(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)
