"""An alert in words, and as the JSON that webhooks and commands get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from interpose.ledger.record import utc_text
from interpose.ledger.wording import human_cost
from interpose.rules.values import Condition

from .watch import Change, State
from .window import Measured


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told. Times are Unix seconds; `host` is the machine that tells it. `test`: nothing has happened."""

    alert: str
    state: State
    condition: Condition
    window: float
    subject: str
    value: Measured | None
    since: float
    at: float
    host: str
    test: bool = False

    @classmethod
    def of(cls, change: Change, host: str) -> Notice:
        alert = change.alert
        return cls(
            alert.name,
            change.state,
            alert.when,
            alert.window,
            change.subject,
            change.value,
            change.since,
            change.at,
            host,
        )

    def text(self) -> str:
        """One line for people."""
        about = f" ({self.subject})" if self.subject else ""
        if self.test:
            return f"[test] {self.alert}: this is a test of an alert; nothing has happened"
        asked = f"{self.condition.metric} {self.condition.operator} {written(self.condition.threshold, self.condition)}"
        now = f" is {written(self.value.value, self.condition)}" if self.value is not None else ""
        if self.state == "resolved":
            lasted = span(self.at - self.since)
            return f"[resolved] {self.alert}{about}: {self.condition.metric}{now}; it was {asked} for {lasted}"
        of = self.value.of if self.value is not None else 0
        calls = f", of {of:,} calls in {span(self.window)}" if of else ""
        return f"[firing] {self.alert}{about}: {self.condition.metric}{now}{calls} ({asked})"

    def content(self) -> dict[str, Any]:
        """The JSON object. `text` is where Slack, Mattermost and Teams' workflows look for words, `content` Discord."""
        return {
            "text": f"interpose on {self.host}: {self.text()}",
            "content": f"interpose on {self.host}: {self.text()}",
            "alert": self.alert,
            "state": self.state,
            "test": self.test,
            "metric": self.condition.metric,
            "operator": self.condition.operator,
            "threshold": self.condition.threshold,
            "unit": self.condition.unit,
            "value": None if self.value is None else self.value.value,
            "requests": None if self.value is None else self.value.of,
            "window_seconds": self.window,
            "subject": self.subject or None,
            "since": utc_text(self.since),
            "at": utc_text(self.at),
            "host": self.host,
        }


def written(value: float, condition: Condition) -> str:
    """A value in its metric's unit, as rules write it."""
    match condition.unit:
        case "%":
            return f"{value * 100:.3g}%"
        case "s":
            return f"{value * 1000:.0f}ms" if value < 1 else f"{value:.3g}s"
        case "$":
            return human_cost(value)
    return f"{value:,.0f}"


def span(seconds: float) -> str:
    """A duration for people: 45s, 5m, 1h 30m."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (0 if hours else left, "s"))
    return " ".join(f"{count}{unit}" for count, unit in parts if count) or "0s"
