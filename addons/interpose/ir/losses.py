"""What a conversion could not keep, and how bad that is. Nothing vanishes: what is left out is told here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from .blocks import Opaque, Own

Direction = Literal["request", "reply"]


class Severity(StrEnum):
    """From best to worst. `exact` is never written down.

    CARRIED: kept, where the other side does not look (a packed signature). APPROXIMATED: something near it was said.
    DROPPED: left out. SYNTHESISED: we said what nobody had said (a required limit). IMPOSSIBLE: nothing is sent.
    """

    EXACT = "exact"
    CARRIED = "carried"
    APPROXIMATED = "approximated"
    DROPPED = "dropped"
    SYNTHESISED = "synthesised"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True)
class Loss:
    """`path` is a JSON path into the request as the client wrote it, or the reply as the provider did."""

    severity: Severity
    path: str
    reason: str
    direction: Direction = "request"


class Losses:
    """Collects the losses of one conversion, each once."""

    __slots__ = ("_direction", "_found")

    def __init__(self, direction: Direction = "request") -> None:
        self._direction: Direction = direction
        self._found: dict[Loss, None] = {}

    def __iter__(self) -> Iterator[Loss]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def add(self, severity: Severity, path: str, reason: str) -> None:
        self._found[Loss(severity, path, reason, self._direction)] = None

    def carried(self, path: str, reason: str) -> None:
        self.add(Severity.CARRIED, path, reason)

    def approximated(self, path: str, reason: str) -> None:
        self.add(Severity.APPROXIMATED, path, reason)

    def dropped(self, path: str, reason: str) -> None:
        self.add(Severity.DROPPED, path, reason)

    def synthesised(self, path: str, reason: str) -> None:
        self.add(Severity.SYNTHESISED, path, reason)

    def impossible(self, path: str, reason: str) -> None:
        self.add(Severity.IMPOSSIBLE, path, reason)

    def own(self, own: Own | None, at: str, target: str, understood: frozenset[str] = frozenset()) -> None:
        """Each field that only `own.format` has, unless it is the `target`, says nothing, or is `understood` there.

        What is vital in its own format is impossible, the rest is dropped.
        """
        if own is None or own.format == target or not own.fields:
            return
        for name, value in own.fields.items():
            if name not in understood and says(value):
                path = f"{at}.{name}" if at else name
                if name in own.vital:
                    self.add(Severity.IMPOSSIBLE, path, f"{own.format} alone keeps what it stands for")
                else:
                    self.add(Severity.DROPPED, path, f"{target} has nothing like it")

    def bound(self, opaque: Opaque | None, at: str, target: str) -> None:
        """State that nobody but its origin can read, unless the `target` is that."""
        if opaque is not None and opaque.format != target:
            self.dropped(at, f"{opaque.kind}: bound to its origin, {opaque.format}")

    def relocate(self, located: Callable[[Loss], Loss]) -> None:
        """Each loss as `located` gives it back."""
        self._found = {located(loss): None for loss in self._found}

    @property
    def impossibilities(self) -> list[Loss]:
        """What makes the conversion impossible, if anything does."""
        return [loss for loss in self._found if loss.severity is Severity.IMPOSSIBLE]


def says(value: Any) -> bool:
    """Whether a leftover value means anything: null and empty containers do not."""
    return value is not None and value != [] and value != {}
