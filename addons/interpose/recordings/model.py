"""What is known of one recorded call: what its client asked and got, what went upstream, and what the ledger says.

A recording knows what it knows: None stands for what it does not tell, which is another thing than an empty body.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from interpose.call import Entrance, Headers, Url, header
from interpose.ledger.record import Record
from interpose.wire.coding import decode

# What is true of a body on the wire, and not of what is kept of it without its coding.
OF_WIRE = frozenset((b"content-encoding", b"content-length", b"transfer-encoding"))
# So many different flaws are told one by one.
MOST_FLAWS = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `body` is as it was on the wire, `coding` undone by `content`; None if it was not recorded.

    `size` is that of the whole body where `body` is but its beginning; None where it is whole.
    """

    method: str
    url: Url
    headers: Headers
    body: bytes | None
    size: int | None = None

    @property
    def whole(self) -> bool:
        """Whether all of its body is there."""
        return self.body is not None and self.size is None

    def content(self) -> bytes | None:
        """The body without its content coding. Raises WireError where that cannot be undone."""
        return _content(self.headers, self.body)


@dataclass(frozen=True, slots=True)
class Answered:
    """A reply. Its times are seconds after the call's start: `began` with its head, `ended` with the end of its body.

    `chunks` are (when, how many bytes) of the body as it arrived, none where the recording does not tell; `error` is
    how it broke off. The rest is as in `Asked`.
    """

    status: int
    headers: Headers
    body: bytes | None
    reason: str = ""
    size: int | None = None
    began: float | None = None
    ended: float | None = None
    chunks: tuple[tuple[float, int], ...] = ()
    error: str | None = None

    @property
    def whole(self) -> bool:
        return self.body is not None and self.size is None and self.error is None

    def content(self) -> bytes | None:
        """The body without its content coding. Raises WireError where that cannot be undone."""
        return _content(self.headers, self.body)


@dataclass(frozen=True, slots=True)
class Sent:
    """One attempt: what went upstream, after conversion and edits, and what came back. `attempt` counts from 1."""

    attempt: int
    asked: Asked
    answered: Answered | None


@dataclass(frozen=True, slots=True)
class Spoken:
    """A message of a WebSocket: when (seconds after the call's start), by whom, and what."""

    at: float
    from_client: bool
    text: bool
    content: bytes


@dataclass(slots=True)
class Recorded:
    """One call. `place` says where it was found: the file, and which of its calls.

    `started_at` is Unix time in seconds; `answered` None where no answer was seen, and `error` why, if that is told.
    `masked` says that secrets in its headers are masked, hence that a key there is nobody's; `record` is what the
    ledger says of it.
    """

    id: str
    place: str
    started_at: float
    asked: Asked
    answered: Answered | None = None
    sent: tuple[Sent, ...] = ()
    record: Record | None = None
    entrance: Entrance = Entrance.INTERCEPT
    client: str | None = None
    app: str | None = None
    ip: str | None = None
    masked: bool = False
    websocket: bool = False
    spoken: tuple[Spoken, ...] = ()
    error: str | None = None

    @property
    def ended_at(self) -> float | None:
        """When its answer ended, Unix time."""
        ended = self.answered.ended if self.answered is not None else None
        return None if ended is None else self.started_at + ended


class Flaws:
    """What could not be read of recordings, or was left out, each kind once; bounded whatever the files hold."""

    def __init__(self) -> None:
        # {what: (how often, where first)}
        self._told: dict[str, tuple[int, str]] = {}
        self._more = 0

    def add(self, what: str, where: str = "") -> None:
        """`what` names the file and what is wrong, `where` the place in it."""
        if what in self._told or len(self._told) < MOST_FLAWS:
            count, first = self._told.get(what, (0, where))
            self._told[what] = count + 1, first
        else:
            self._more += 1

    def __iter__(self) -> Iterator[str]:
        for what, (count, where) in self._told.items():
            if not where:
                yield what if count == 1 else f"{what} ({count} times)"
            else:
                yield f"{what} ({where})" if count == 1 else f"{what} ({count} times, first {where})"
        if self._more:
            yield f"and {self._more} more"

    def __len__(self) -> int:
        return sum(count for count, _ in self._told.values()) + self._more


def _content(headers: Headers, body: bytes | None) -> bytes | None:
    coding = header(headers, b"content-encoding")
    if body is None or coding is None:
        return body
    return decode(body, coding.decode("latin-1"))
