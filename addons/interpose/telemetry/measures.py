"""The instruments, and what a call's record changes of them. The SDK adds up; nothing here sends.

Of GenAI's client metrics each attempt that was sent is one operation, as its span is. No word of a client's is an
attribute as it comes: models as `metrics.counting` has them, hosts of the rules or known ones alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opentelemetry.metrics import Meter

from interpose.metrics.counting import Models
from interpose.metrics.families import BUCKETS, NONE, OTHER

from . import conventions as names
from .spans import Sent, Told

# https://github.com/open-telemetry/semantic-conventions/blob/v1.41.0/docs/gen-ai/gen-ai-metrics.md
TOKENS = tuple(4**power for power in range(14))
SECONDS = tuple(round(0.01 * 2**power, 2) for power in range(14))
FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
CHUNKS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
# So many combinations of attributes an instrument has; what is beyond is `other`.
MOST = 400

Attributes = dict[str, str | int]


class Measures:
    """One worker's instruments. One thread at a time."""

    def __init__(self, meter: Meter, models: Models) -> None:
        self._models = models
        self._seen: dict[str, set[tuple[object, ...]]] = {"call": set(), "attempt": set()}
        histogram, counter = meter.create_histogram, meter.create_counter
        self._tokens = histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )
        self._duration = histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self._first = histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "Time to receive the first chunk of a stream.",
            explicit_bucket_boundaries_advisory=FIRST,
        )
        self._chunk = histogram(
            "gen_ai.client.operation.time_per_output_chunk",
            "s",
            "Time between two chunks of a stream.",
            explicit_bucket_boundaries_advisory=CHUNKS,
        )
        self._used = {
            ours: counter(f"gen_ai.client.inference.usage.{name}", "{token}", told)
            for ours, name, told in (
                ("input_tokens", "input_tokens", "Input tokens, cached ones included."),
                ("output_tokens", "output_tokens", "Output tokens, reasoning included."),
                ("cache_read_tokens", "cache_read.input_tokens", "Input tokens read from a provider's cache."),
                ("cache_write_tokens", "cache_write.input_tokens", "Input tokens written to a provider's cache."),
                ("reasoning_tokens", "reasoning.output_tokens", "Output tokens used for reasoning."),
            )
        }
        # As /metrics has them: what makes Prometheus' names of these makes the same.
        self._calls = counter("interpose.calls", "{call}", "Calls that have ended: one for each record.")
        self._took = histogram(
            "interpose.call.duration",
            "s",
            "From a call's arrival to the end of its reply.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._cost = counter("interpose.cost_usd", "{USD}", "US dollars that calls have cost, by the price list.")
        self._unpriced = counter(
            "interpose.unpriced_calls", "{call}", "Calls that used tokens and whose price nobody knows."
        )

    def record(self, call: Told, chunks: Iterable[float] = ()) -> None:
        """`chunks` are the seconds between two pieces of the reply, from the second on."""
        record = call.record
        of_call: Attributes = {
            "interpose.endpoint": record.endpoint,
            "interpose.provider": record.provider or NONE,
            "interpose.model": self._models.of(record),
        }
        of_call = self._bounded("call", of_call, "interpose.model")
        ended: Attributes = {**of_call, "interpose.outcome": record.outcome}
        if record.status is not None and 100 <= record.status <= 599:
            ended[names.STATUS] = record.status
        self._calls.add(1, ended)
        if record.duration_ms is not None:
            self._took.record(record.duration_ms / 1000, of_call)
        if record.cost_usd:
            self._cost.add(record.cost_usd, of_call)
        elif record.cost_usd is None and (record.input_tokens is not None or record.output_tokens is not None):
            self._unpriced.add(1, of_call)
        for sent in call.attempts:
            self._attempt(call, sent, chunks if sent.last else ())

    def _attempt(self, call: Told, sent: Sent, chunks: Iterable[float]) -> None:
        answered = sent.status is not None and 200 <= sent.status < 300
        attributes: Attributes = {names.OPERATION: call.operation, names.PROVIDER: sent.provider}
        if sent.model is not None:
            attributes[names.REQUEST_MODEL] = self._models.label(sent.model, answered=answered)
        if sent.answered_model is not None:
            attributes[names.RESPONSE_MODEL] = self._models.label(sent.answered_model, answered=answered)
        attributes[names.SERVER_ADDRESS] = sent.host
        if sent.port is not None:
            attributes[names.SERVER_PORT] = sent.port
        open_ended = (names.REQUEST_MODEL, names.RESPONSE_MODEL, names.SERVER_ADDRESS)
        attributes = self._bounded("attempt", attributes, *open_ended)
        failed: Attributes = {**attributes, names.ERROR_TYPE: sent.error} if sent.error is not None else attributes
        self._duration.record(sent.took, failed)
        record = call.record
        if sent.last and record.stream and record.ttft_ms is not None and answered:
            self._first.record(max(0.0, record.ttft_ms / 1000 - sent.began), attributes)
            record_chunk: Callable[[float, Attributes], None] = self._chunk.record
            for seconds in chunks:
                record_chunk(seconds, attributes)
        if sent.usage_source == "provider":
            self._usage(sent, attributes)

    def _usage(self, sent: Sent, attributes: Attributes) -> None:
        for ours, kind in (("input_tokens", "input"), ("output_tokens", "output")):
            if (count := sent.usage.get(ours)) is not None:
                self._tokens.record(count, {**attributes, names.TOKEN_TYPE: kind})
        of_modality: Attributes = {**attributes, names.TOKEN_MODALITY: "unknown"}
        for ours, counter in self._used.items():
            if count := sent.usage.get(ours):
                counter.add(count, of_modality)

    def _bounded(self, what: str, attributes: Attributes, *open_ended: str) -> Attributes:
        """The attributes, those that are open-ended as `other` once there are too many of them."""
        seen, key = self._seen[what], tuple(attributes.values())
        if key in seen:
            return attributes
        if len(seen) < MOST:
            seen.add(key)
            return attributes
        return {name: OTHER if name in open_ended else value for name, value in attributes.items()}
