"""When a rule takes a call: the conditions of its `match` and its `except`, compiled to be asked quickly."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .facts import HEADER, Brought, Facts
from .patterns import AnyOf, Networks
from .values import Shares, Size

Test = Callable[[Facts], bool]


@dataclass(frozen=True, slots=True)
class Match:
    """The conditions of a `match` (all must hold) or of an `except` (none may). A field left None asks nothing."""

    endpoint: AnyOf | None = None
    host: AnyOf | None = None
    model: AnyOf | None = None
    client: AnyOf | None = None
    ip: Networks | None = None
    header: tuple[tuple[str, AnyOf], ...] = ()
    method: AnyOf | None = None
    path: AnyOf | None = None
    stream: bool | None = None
    app: AnyOf | None = None
    has: frozenset[Brought] | None = None
    larger_than: Size | None = None
    smaller_than: Size | None = None
    quota_below: Shares | None = None
    _tests: tuple[tuple[str, Test], ...] = field(init=False, repr=False, compare=False)

    def patterns(self) -> Iterator[tuple[str, AnyOf | Networks]]:
        """The conditions that compare a text, by the name that `Facts.value` knows: the most telling first."""
        named: tuple[tuple[str, AnyOf | Networks | None], ...] = (
            *(("client", self.client), ("model", self.model), ("app", self.app)),
            *((HEADER + name, pattern) for name, pattern in self.header),
            *(("path", self.path), ("ip", self.ip), ("host", self.host)),
            *(("endpoint", self.endpoint), ("method", self.method)),
        )
        return ((name, pattern) for name, pattern in named if pattern is not None)

    def __post_init__(self) -> None:
        # The order in which conditions are asked, and so which one `reason` names: the cheap and telling ones first.
        asked: tuple[tuple[str, Test | None], ...] = (
            ("endpoint", _asks(self.endpoint, lambda facts: facts.endpoint)),
            ("host", _asks(self.host, lambda facts: facts.host)),
            ("model", _asks(self.model, lambda facts: facts.model)),
            ("client", _asks(self.client, lambda facts: facts.client)),
            ("method", _asks(self.method, lambda facts: facts.method)),
            ("path", _asks(self.path, lambda facts: facts.path)),
            ("stream", _asks_stream(self.stream)),
            ("header", _asks_headers(self.header)),
            ("ip", _asks_ip(self.ip)),
            ("app", _asks(self.app, lambda facts: facts.app)),
            ("quota_below", _asks_quota(self.quota_below)),
            # These have to read the body.
            ("larger_than", _asks_size(self.larger_than, operator.gt)),
            ("smaller_than", _asks_size(self.smaller_than, operator.lt)),
            ("has", _asks_has(self.has)),
        )
        tests = tuple((name, test) for name, test in asked if test is not None)
        object.__setattr__(self, "_tests", tests)

    def reason(self, facts: Facts) -> str | None:
        """None if every condition holds, else the name of the first field that does not."""
        for name, holds in self._tests:
            if not holds(facts):
                return name
        return None

    def first_holding(self, facts: Facts) -> str | None:
        """The name of the first field that holds, or None: the reading of an `except`."""
        for name, holds in self._tests:
            if holds(facts):
                return name
        return None

    def covers(self, other: Match) -> bool:
        """Whether every call that `other` matches is surely matched here. May say False where it cannot tell."""
        return (
            _covers(self.endpoint, other.endpoint)
            and _covers(self.host, other.host)
            and _covers(self.model, other.model)
            and _covers(self.client, other.client)
            and _covers(self.method, other.method)
            and _covers(self.path, other.path)
            and self.stream in (None, other.stream)
            and _covers(self.app, other.app)
            and (self.has is None or (other.has is not None and other.has <= self.has))
            and self.larger_than in (None, other.larger_than)
            and self.smaller_than in (None, other.smaller_than)
            and (
                self.quota_below is None
                or (other.quota_below is not None and self.quota_below.covers(other.quota_below))
            )
            and (self.ip is None or (other.ip is not None and self.ip.covers(other.ip)))
            and all(_covers(pattern, dict(other.header).get(name)) for name, pattern in self.header)
        )


def _asks(pattern: AnyOf | None, value: Callable[[Facts], str | None]) -> Test | None:
    if pattern is None:
        return None
    accepts = pattern.accepts
    return lambda facts: accepts(value(facts))


def _asks_stream(wanted: bool | None) -> Test | None:
    return None if wanted is None else lambda facts: facts.stream is wanted


def _asks_headers(wanted: tuple[tuple[str, AnyOf], ...]) -> Test | None:
    if not wanted:
        return None
    return lambda facts: all(pattern.accepts(facts.header(name)) for name, pattern in wanted)


def _asks_ip(networks: Networks | None) -> Test | None:
    return None if networks is None else lambda facts: networks.accepts(facts.ip)


def _asks_size(limit: Size | None, compare: Callable[[int, int], bool]) -> Test | None:
    if limit is None:
        return None

    def holds(facts: Facts) -> bool:
        content = facts.content()
        if content is None or (content.at_least and compare is operator.lt):
            return False
        return compare(content.tokens if limit.unit == "tokens" else content.bytes, limit.count)

    return holds


def _asks_has(wanted: frozenset[Brought] | None) -> Test | None:
    if wanted is None:
        return None
    return lambda facts: (content := facts.content()) is not None and not wanted.isdisjoint(content.has)


def _asks_quota(wanted: Shares | None) -> Test | None:
    if wanted is None:
        return None
    return lambda facts: all((left := facts.quota(name)) is not None and left < share for name, share in wanted.of)


def _covers(wide: AnyOf | None, narrow: AnyOf | None) -> bool:
    return wide is None or (narrow is not None and wide.covers(narrow))
