"""What a rules file says and cannot mean: conditions that hold for no call, limits that no call ever feels.

Only what is certain is told. Each finding is a path into the file, what is wrong there, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from .compiled import Limit, Route, Rules
from .index import Index
from .matching import Match
from .patterns import is_glob
from .problem import Path

Finding = tuple[Path, str, str]


def contradictions(rules: Rules) -> Iterator[Finding]:
    yield from _vain(rules, "routes", rules.routes)
    yield from _vain(rules, "limits", rules.limits)
    yield from _unfelt(rules.limits)


def _vain(rules: Rules, section: str, entries: Sequence[Route | Limit]) -> Iterator[Finding]:
    """Routes and limits that take no call."""
    for index, entry in enumerate(entries):
        path = (section, index)
        match, unless = entry.match, entry.unless
        if match.larger_than is not None and match.smaller_than is not None:
            above, below = match.larger_than, match.smaller_than
            if above.unit == below.unit and above.count + 1 >= below.count:
                message = "takes no call: none is larger than larger_than and smaller than smaller_than"
                yield (*path, "match", "smaller_than"), message, ""
        if unless is not None and (name := _excepted(match, unless)) is not None:
            yield (*path, "except", name), "excepts every call that the match takes", "narrow it, or remove the rule"
        if match.host is not None and not any(is_glob(host) or _claimed(rules, host) for host in match.host.texts):
            message = "is a host that is not intercepted: no call to it is seen"
            yield (*path, "match", "host"), message, "add it to intercept.hosts"


def _claimed(rules: Rules, host: str) -> bool:
    hosts = rules.intercept.hosts
    return hosts is None or any(pattern.host.accepts(host) for pattern in hosts)


def _excepted(match: Match, unless: Match) -> str | None:
    """The field of `unless` that surely holds for all that `match` takes."""
    given = (each.name for each in fields(unless) if each.init and getattr(unless, each.name) not in (None, ()))
    return next((name for name in given if _alone(unless, name).covers(match)), None)


def _alone(match: Match, name: str) -> Match:
    only: dict[str, Any] = {name: getattr(match, name)}
    return Match(**only)


def _unfelt(limits: tuple[Limit, ...]) -> Iterator[Finding]:
    """Limits that another one, which counts at least the same calls, always reaches first."""
    index = Index([limit.match for limit in limits])
    for number, limit in enumerate(limits):
        others = [limits[other] for other in index.wider(limit.match) if other != number]
        for kind in ("requests", "tokens", "concurrent"):
            tighter = next((other for other in others if _ahead(other, limit, kind, limits)), None)
            if tighter is not None:
                message = f'is never reached: the limit "{tighter.name}" lets fewer through'
                yield ("limits", number, kind), message, "remove one of them, or give them different conditions"


def _ahead(other: Limit, limit: Limit, kind: str, limits: tuple[Limit, ...]) -> bool:
    """Whether `other` refuses whatever `limit` would, as far as that kind goes; of equals, the first one does."""
    tight, loose = _most(other, kind, limit), _most(limit, kind, limit)
    if tight is None or loose is None or not set(other.per) <= set(limit.per):
        return False
    if limit.of_attempt and not other.of_attempt:
        # That one counts a hedged call once, this one each of its attempts.
        return False
    if not other.match.covers(limit.match) or (other.unless is not None and other.unless != limit.unless):
        return False
    if tight != loose or getattr(other, kind) != getattr(limit, kind):
        return tight <= loose
    same = (other.match, other.unless, set(other.per)) == (limit.match, limit.unless, set(limit.per))
    return not same or limits.index(other) < limits.index(limit)


def _most(limit: Limit, kind: str, within: Limit) -> int | None:
    """The most that `limit` lets through in the time by which `within` counts."""
    if kind == "concurrent":
        return limit.concurrent
    rate, frame = getattr(limit, kind), getattr(within, kind)
    return None if rate is None or frame is None else -(-frame.seconds // rate.seconds) * rate.count
