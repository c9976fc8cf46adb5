"""From a call's record to the numbers that it changes.

What clients choose is never a label as it comes. A model has a label of its own if the rules name it, or once a
provider has answered to that name, for the first so many of them; any other is `other`. Clients, addresses and programs
are no labels at all: the ledger knows them.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from interpose.ledger.record import Record
from interpose.rules.compiled import Rules

from .families import BUCKETS, NONE, OTHER
from .sheet import key

# So many names are learnt from providers' answers, and so long may one be.
MOST_MODELS = 200
LONGEST = 100
# So many combinations of endpoint, provider and model have numbers of their own.
MOST_GROUPS = 400

Amounts = list[tuple[str, float]]
# What the ledger says of attempts that were not sent, and of those that another one has overtaken.
_UNSENT = frozenset(("limit", "circuit open"))
_LEFT_OUT, _HEDGED = "left out:", "hedged:"
_TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
_UNMEASURED = frozenset(("refused", "limited"))


def named_in(rules: Rules) -> frozenset[str]:
    """Every model that the rules name as one to be sent."""
    targets = (target.model for route in rules.routes for target in route.everywhere)
    listed = (model.model for model in rules.models)
    return frozenset(name for name in (*targets, *listed, *rules.prices.prices) if name)


@dataclass(slots=True)
class Group:
    """The names of the numbers of one endpoint, provider and model."""

    labels: tuple[str, str, str]
    tokens: tuple[str, ...] = field(init=False)
    cost: str = field(init=False)
    unpriced: str = field(init=False)
    duration: tuple[str, ...] = field(init=False)
    first: tuple[str, ...] = field(init=False)
    calls: dict[tuple[str, int | None], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tokens = tuple(key(name, *self.labels) for name in _TOKENS)
        self.cost = key("cost_usd", *self.labels)
        self.unpriced = key("unpriced_calls", *self.labels)
        self.duration = _histogram("call_duration_seconds", self.labels)
        self.first = _histogram("time_to_first_token_seconds", self.labels)

    def call(self, outcome: str, status: int | None) -> str:
        found = self.calls.get((outcome, status))
        if found is None:
            found = self.calls[outcome, status] = key("calls", *self.labels, outcome, written(status))
        return found


def _histogram(name: str, labels: tuple[str, ...]) -> tuple[str, ...]:
    """The names of its buckets, of what is above them all, and of its sum."""
    return (*(key(name, *labels, place) for place in range(len(BUCKETS) + 1)), key(name, *labels, "sum"))


def written(status: object) -> str:
    """A status as a label: a provider may answer with any number."""
    if status is None:
        return NONE
    return str(status) if isinstance(status, int) and 100 <= status <= 599 else OTHER


class Models:
    """Which models have labels of their own: those that are named, and the first that providers have answered to. One
    thread at a time.
    """

    def __init__(self) -> None:
        self._named: frozenset[str] = frozenset()
        self._learnt: set[str] = set()

    def name(self, models: frozenset[str]) -> None:
        """Those that have labels whoever asks for them."""
        self._named = models
        self._learnt -= models

    def learn(self, model: str) -> None:
        self._learnt.add(model)

    def of(self, record: Record) -> str:
        """The model that was sent, as a label."""
        sent = record.sent_model
        if sent is None:
            # Where it went as it came, it was sent as it was asked for; a call that was refused was not sent at all.
            sent = record.asked_model if record.outcome not in _UNMEASURED else None
        if sent is None:
            return NONE
        return self.label(sent, answered=record.status is not None and 200 <= record.status < 300)

    def label(self, model: str, *, answered: bool) -> str:
        """The label of a model; `answered` says that a provider has answered to the name."""
        if model in self._learnt or model in self._named:
            return model
        if answered and len(self._learnt) < MOST_MODELS and len(model) <= LONGEST and model.isprintable():
            self._learnt.add(model)
            return model
        return OTHER


class Counting:
    """What each record adds. One thread at a time."""

    def __init__(self) -> None:
        self._models = Models()
        self._groups: dict[tuple[str, str, str], Group] = {}

    def name(self, models: frozenset[str]) -> None:
        """The models that have labels of their own, whoever asks for them."""
        self._models.name(models)

    def remember(self, numbers: Iterable[str]) -> None:
        """The models of numbers that there are already: who takes another's place is not to learn as many again."""
        for number in numbers:
            try:
                name, endpoint, provider, model, *_ = orjson.loads(number)
            except ValueError:
                continue  # of fewer labels
            if name == "calls":
                self._groups.setdefault((endpoint, provider, model), Group((endpoint, provider, model)))
                if model not in (NONE, OTHER):
                    self._models.learn(model)

    def amounts(self, record: Record) -> Amounts:
        """The numbers that it changes, each with what is added to it."""
        group = self._group(record)
        found: Amounts = [(group.call(record.outcome, record.status), 1.0)]
        if record.input_tokens is not None or record.output_tokens is not None:
            counts = (
                record.input_tokens,
                record.cache_read_tokens,
                record.cache_write_tokens,
                record.output_tokens,
                record.reasoning_tokens,
            )
            found += [(name, float(count)) for name, count in zip(group.tokens, counts, strict=True) if count]
            if record.cost_usd is None:
                found.append((group.unpriced, 1.0))
        if record.cost_usd:
            found.append((group.cost, record.cost_usd))
        if record.duration_ms is not None:
            found += _observed(group.duration, record.duration_ms / 1000)
        if record.stream and record.ttft_ms is not None and record.outcome not in _UNMEASURED:
            found += _observed(group.first, record.ttft_ms / 1000)
        if record.attempts != "[]":
            # Not orjson: a client may have put half a character into its model's name.
            found += sendings(json.loads(record.attempts))
        return found

    def _group(self, record: Record) -> Group:
        labels = record.endpoint, record.provider or NONE, self._models.of(record)
        group = self._groups.get(labels)
        if group is None:
            if len(self._groups) >= MOST_GROUPS and labels[2] != OTHER:
                labels = labels[0], labels[1], OTHER
            group = self._groups.get(labels) or self._groups.setdefault(labels, Group(labels))
        return group


def _observed(names: tuple[str, ...], seconds: float) -> Amounts:
    return [(names[bisect_left(BUCKETS, seconds)], 1.0), (names[-1], seconds)]


def sendings(attempts: Iterable[dict[str, Any]]) -> Amounts:
    """The attempts that were sent: each by its answer, and why there was another."""
    found: Amounts = []
    failed: str | None = None
    for attempt in attempts:
        reason = attempt.get("reason") or ""
        if reason in _UNSENT or reason.startswith(_LEFT_OUT):
            continue
        provider = attempt.get("provider") or NONE
        found.append((key("attempts", provider, written(attempt.get("status"))), 1.0))
        if reason.startswith(_HEDGED):
            found.append((key("hedges", provider), 1.0))
            continue
        if failed is not None:
            name = key("retries", provider) if failed == provider else key("failovers", failed, provider)
            found.append((name, 1.0))
        failed = provider
    return found
