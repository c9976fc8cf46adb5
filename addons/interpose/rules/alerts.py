"""Alerts as rules write them: which metrics there are, in which unit, and who is told. Nothing is opened here.

A webhook's URL is a secret with Slack and its like: what of it should not stand in a file is the name of a variable,
`https://hooks.slack.com/services/${SLACK_HOOK}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from .document import Document
from .problem import BadValue, Path, did_you_mean
from .secrets import CredentialSource
from .support import at
from .values import Condition, condition

Unit = Literal["", "%", "$", "s"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What an alert can be about. `of_calls` says that it is measured of the calls of a window."""

    unit: Unit
    of_calls: bool = True
    example: str = ""


METRICS: Mapping[str, Metric] = {
    "error_rate": Metric("%", example="error_rate > 5%"),
    "limited_rate": Metric("%", example="limited_rate > 20%"),
    "estimated_share": Metric("%", example="estimated_share > 50%"),
    "requests": Metric("", example="requests > 1000"),
    "tokens": Metric("", example="tokens > 1000000"),
    "cost": Metric("$", example="cost > $10"),
    **{f"latency_p{part}": Metric("s", example=f"latency_p{part} > 30s") for part in (50, 95, 99)},
    **{f"ttft_p{part}": Metric("s", example=f"ttft_p{part} > 5s") for part in (50, 95, 99)},
    "budget": Metric("%", of_calls=False, example="budget >= 80%"),
    "quota": Metric("%", of_calls=False, example="quota < 10%"),
    "ledger_gap": Metric("", of_calls=False, example="ledger_gap > 0"),
}
UNITS: Mapping[str, str] = {"%": "a percentage", "s": "a duration", "$": "an amount of dollars", "": "a plain number"}

# Of so long a time an alert's metric is measured, of so many calls at least.
WINDOW = 300.0
MIN_REQUESTS = 1

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Notify:
    """Who is told. Of a webhook, `url` has `${NAME}` where the values of `sources` belong; it is shown nowhere."""

    kind: Literal["log", "webhook", "command"]
    url: str = field(default="", repr=False)
    sources: tuple[CredentialSource, ...] = ()
    argv: tuple[str, ...] = ()

    def __str__(self) -> str:
        """What may be said of it: the host of a webhook, a command's program."""
        match self.kind:
            case "webhook":
                return f"webhook {urlsplit(self.url).hostname or _VARIABLE.sub('…', self.url)}"
            case "command":
                return f"command {self.argv[0]}"
        return self.kind


@dataclass(frozen=True, slots=True)
class Alert:
    """Whoever is named in `notify` hears of it when `when` begins to hold, and when it holds no more.

    The metric is measured of the last `window` seconds and of `min_requests` calls at least; of what is no matter of
    calls, `min_requests` is 0.
    """

    name: str
    when: Condition
    window: float = WINDOW
    min_requests: int = MIN_REQUESTS
    notify: tuple[Notify, ...] = (Notify("log"),)


def unit_of(condition: Condition) -> None:
    """Raises BadValue for a condition that is about another unit than its metric's."""
    metric = METRICS[condition.metric]
    if condition.unit != metric.unit:
        raise BadValue(
            f"compares {condition.metric} with {UNITS[condition.unit]}",
            f"it is {UNITS[metric.unit]}: write for example {metric.example}",
        )


def metric_named(name: str) -> Metric:
    """Raises BadValue."""
    if name not in METRICS:
        raise BadValue(f'"{name}" is not a metric', did_you_mean(name, METRICS) or f"known are {', '.join(METRICS)}")
    return METRICS[name]


def variables(url: str) -> list[str]:
    """The variables that a webhook's URL names."""
    return list(dict.fromkeys(_VARIABLE.findall(url)))


def check_webhook(url: str) -> None:
    """Raises BadValue for what is no http or https URL once its variables are put in. Says nothing of what it holds."""
    example = "write for example https://hooks.example.com/${HOOK}"
    plain = _VARIABLE.sub("x", url)
    if "$" in plain:
        raise BadValue("has a $ that begins no ${NAME}", example)
    if plain == "x":
        return
    try:
        parts = urlsplit(plain)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise BadValue("is not a URL", example) from None
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\\\x00-\x1f\x7f]", plain):
        raise BadValue("is not a URL of http or https", example)


def check(document: Document) -> None:
    """Reports what the fields of an alert mean for one another."""
    for path, listed in at(document.data, ("alerts",)):
        for number, alert in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(alert, dict):
                _condition(document, (*path, number), alert)
                _listeners(document, (*path, number, "notify"), alert.get("notify"))


def _condition(document: Document, path: Path, alert: dict[str, object]) -> None:
    try:
        when = condition(alert.get("when"))
    except BadValue:
        # The schema says so.
        return
    try:
        metric = metric_named(when.metric)
        unit_of(when)
    except BadValue as bad:
        document.report((*path, "when"), str(bad), bad.hint)
        return
    if not metric.of_calls and alert.get("min_requests") is not None:
        message = f"counts calls, and {when.metric} is not measured of those"
        document.report((*path, "min_requests"), message, "leave it out", key=True)


def _listeners(document: Document, path: Path, told: object) -> None:
    for number, each in enumerate(told) if isinstance(told, list) else [(None, told)]:
        where = path if number is None else (*path, number)
        if not isinstance(each, dict):
            continue
        if len([name for name in ("webhook", "command") if each.get(name) is not None]) != 1:
            document.report(where, "must name one of webhook, command", "write for example {webhook: https://…}")
        if isinstance(url := each.get("webhook"), str):
            try:
                check_webhook(url)
            except BadValue as bad:
                document.report((*where, "webhook"), str(bad), bad.hint)
