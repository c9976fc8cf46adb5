"""Sections of the schema -> what the rest of the program sees of them, one by one. Pure: `load` puts them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from interpose.prices import Overrides, Price

from . import aliases
from .alerts import MIN_REQUESTS, WINDOW, Alert, Notify, metric_named, variables
from .compiled import LedgerRules, Limit, LossPolicy, Model, Retry, Route, Target
from .facts import bare_path
from .matching import Match
from .patterns import AnyOf, Networks, parsed_network
from .problem import Place
from .schema import (
    AlertSpec,
    LedgerSpec,
    LimitSpec,
    LossesSpec,
    MatchSpec,
    ModelSpec,
    NotifySpec,
    PriceSpec,
    RetrySpec,
    RouteSpec,
)
from .secrets import CredentialSource
from .sinks import SinkRule


def loss_policy(spec: LossesSpec) -> LossPolicy:
    said = {name: value for name, value in spec.model_dump().items() if value is not None}
    default = LossPolicy()
    return LossPolicy(
        frozenset(name for name, value in said.items() if value == "error") | default.forbidden,
        frozenset(name for name, value in said.items() if value == "warn") | (default.warned - said.keys()),
    )


def route(spec: RouteSpec) -> Route:
    return Route(
        spec.name,
        match(spec.match),
        match(spec.except_) if spec.except_ is not None else None,
        tuple(
            Target(target.provider, target.model, 1 if target.weight is None else target.weight) for target in spec.to
        ),
        tuple(Target(target.provider, target.model) for target in spec.fallback),
        retry(spec.retry) if spec.retry is not None else None,
        sticky=spec.sticky == "client",
        prefer=spec.prefer,
        hold=spec.hold == "content",
        hedge=spec.hedge,
        asks_usage=spec.usage == "request",
        bodies=None if spec.capture is None else spec.capture == "bodies",
    )


def ledger(spec: LedgerSpec, to: tuple[SinkRule, ...]) -> LedgerRules:
    return LedgerRules(to, spec.capture == "bodies", spec.body_limit, tuple(spec.scrub or ()))


def alert(spec: AlertSpec, place: Place | None = None) -> Alert:
    """`place` is where the file has it, for what is wrong with a webhook's variables."""
    fewest = MIN_REQUESTS if spec.min_requests is None else spec.min_requests
    return Alert(
        spec.name,
        spec.when,
        spec.window or WINDOW,
        fewest if metric_named(spec.when.metric).of_calls else 0,
        tuple(notify(each, place) for each in spec.notify),
    )


def notify(spec: NotifySpec | str, place: Place | None) -> Notify:
    if isinstance(spec, str):
        return Notify("log")
    if spec.command is not None:
        return Notify("command", argv=tuple(spec.command))
    assert spec.webhook is not None
    sources = tuple(CredentialSource("env", (name,), place=place) for name in variables(spec.webhook))
    return Notify("webhook", spec.webhook, sources)


def retry(spec: RetrySpec) -> Retry:
    default = Retry()
    low, high = (spec.backoff.low, spec.backoff.high) if spec.backoff is not None else (default.low, default.high)
    return Retry(spec.attempts, frozenset(spec.on) if spec.on is not None else default.on, low, high)


def limit(spec: LimitSpec) -> Limit:
    unless = match(spec.except_) if spec.except_ is not None else None
    return Limit(
        spec.name,
        match(spec.match),
        unless,
        tuple(spec.per),
        spec.requests,
        spec.tokens,
        spec.concurrent,
        spec.wait,
        spec.budget,
    )


def models(specs: Sequence[ModelSpec]) -> tuple[Model, ...]:
    """Each with the name that its provider knows it by, through however many aliases."""
    said = {(spec.provider, spec.id): spec.model for spec in specs if spec.model is not None}
    return tuple(
        Model(
            spec.id,
            spec.provider,
            aliases.chain(said, spec.provider, spec.id)[-1],
            spec.context_length,
            tuple(spec.capabilities),
        )
        for spec in specs
    )


def prices(specs: Mapping[str, PriceSpec]) -> Overrides:
    def price(spec: PriceSpec) -> Price:
        def exact(dollars: float | None) -> Decimal | None:
            return None if dollars is None else Decimal(repr(dollars))

        return Price(exact(spec.input), exact(spec.cache_read), exact(spec.cache_write), exact(spec.output))

    return Overrides({model: price(spec) for model, spec in specs.items()})


def match(spec: MatchSpec) -> Match:
    def any_of(texts: list[str] | None, *, fold: bool = False) -> AnyOf | None:
        return AnyOf(tuple(texts), fold) if texts is not None else None

    headers: Mapping[str, Any] = spec.header or {}
    return Match(
        endpoint=any_of(spec.endpoint),
        host=any_of(spec.host, fold=True),
        model=any_of(spec.model),
        client=any_of(spec.client),
        ip=Networks(tuple(map(parsed_network, spec.ip))) if spec.ip is not None else None,
        header=tuple((name.lower(), AnyOf(tuple(texts))) for name, texts in headers.items()),
        method=any_of(spec.method, fold=True),
        path=any_of([bare_path(text) for text in spec.path]) if spec.path is not None else None,
        stream=spec.stream,
        app=any_of(spec.app),
        has=frozenset(spec.has) if spec.has is not None else None,
        larger_than=spec.larger_than,
        smaller_than=spec.smaller_than,
        quota_below=spec.quota_below,
    )


def any_of(texts: list[str] | None) -> AnyOf | None:
    return AnyOf(tuple(texts)) if texts else None
