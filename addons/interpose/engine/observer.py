"""Who is told what an engine does, and what becomes of its rules, that no record of a call says: metrics."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Told in passing: whoever it is must neither raise nor wait."""

    def refused(self, code: str, outcome: str) -> None:
        """A call was answered by us, with an error of that code, and is recorded with that outcome."""

    def limited(self, limit: str, kind: str) -> None:
        """That limit (of requests, tokens, concurrent or budget) has refused a call, or one of its attempts."""

    def reloaded(self, good: bool) -> None:
        """A changed rules file was read, and could be used, or not."""


class Nobody:
    """Nobody looks."""

    def refused(self, code: str, outcome: str) -> None:
        pass

    def limited(self, limit: str, kind: str) -> None:
        pass

    def reloaded(self, good: bool) -> None:
        pass


NOBODY = Nobody()
