"""Who puts a call into a trace: what an engine has to know of it. Whoever it is must neither raise nor wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from interpose.call import Call, Headers
from interpose.ledger.record import Record

from .witness import Witness


@dataclass(frozen=True, slots=True)
class Tried:
    """What no record says of an attempt: whether its request was sent, and the model that its reply names."""

    sent: bool
    model: str | None = None


class Trace(Protocol):
    """One call's place in a trace."""

    def witness(self, endpoint: str, scrub: tuple[str, ...]) -> Witness | None:
        """Who is to look on at that call of that endpoint, if anybody; `scrub` are the rules' patterns of what must not
        be kept of bodies.
        """
        ...

    def onward(self, headers: Headers, attempt: int) -> Headers:
        """The headers with which that attempt goes on to the provider."""
        ...

    def arrived(self, at: float) -> None:
        """A piece of the reply has come, so many seconds after the call."""
        ...

    def settled(self, record: Record, tried: Sequence[Tried], reason: str | None) -> None:
        """The call has ended. `tried` are its attempts in order, `reason` is the code of our own refusal. From any
        thread.
        """
        ...


class Tracer(Protocol):
    """Begins traces."""

    def begin(self, call: Call, *, alters: bool) -> Trace | None:
        """None if nobody wants to know of this call. `alters` says that the rules may change what is sent on."""
        ...
