"""When an alert begins and when it ends. Pure: values come in with their time, changes come out.

An alert begins as soon as its condition holds. It ends when the condition has not held for a fifth of its window, so
that a value which wavers about the threshold does not tell itself over and over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from interpose.rules.alerts import Alert

from .window import Measured

State = Literal["firing", "resolved"]

COMPARE = {
    ">": lambda value, threshold: value > threshold,
    ">=": lambda value, threshold: value >= threshold,
    "<": lambda value, threshold: value < threshold,
    "<=": lambda value, threshold: value <= threshold,
}
# An alert is quiet for so large a part of its window before it ends.
QUIET = 0.2


@dataclass(slots=True)
class Firing:
    """An alert that has begun, for one subject."""

    since: float
    # the last value for which the condition held
    value: Measured
    # since when it does not hold
    quiet_since: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """An alert begins or ends for a subject ("" where there is one only). `since` is when it began."""

    alert: Alert
    subject: str
    state: State
    value: Measured
    since: float
    at: float


@dataclass(slots=True)
class Watch:
    """One alert's memory."""

    alert: Alert
    _firing: dict[str, Firing] = field(default_factory=dict)

    def look(self, values: Mapping[str, Measured], now: float) -> list[Change]:
        """What changes with these values by subject. A subject that is missing has no value: its condition does not
        hold.
        """
        changes = []
        for subject, value in values.items():
            if not self._holds(value):
                continue
            firing = self._firing.get(subject)
            if firing is None:
                self._firing[subject] = Firing(now, value)
                changes.append(Change(self.alert, subject, "firing", value, now, now))
            else:
                firing.value, firing.quiet_since = value, None
        for subject, firing in list(self._firing.items()):
            latest = values.get(subject)
            if latest is not None and self._holds(latest):
                continue
            if firing.quiet_since is None:
                firing.quiet_since = now
            if now - firing.quiet_since >= QUIET * self.alert.window:
                del self._firing[subject]
                changes.append(Change(self.alert, subject, "resolved", latest or firing.value, firing.since, now))
        return changes

    def firing(self) -> list[Change]:
        """What has begun and has not ended, each as it was when its condition held last."""
        return [
            Change(self.alert, subject, "firing", firing.value, firing.since, firing.since)
            for subject, firing in self._firing.items()
        ]

    def _holds(self, value: Measured) -> bool:
        condition = self.alert.when
        return value.of >= self.alert.min_requests and COMPARE[condition.operator](value.value, condition.threshold)
