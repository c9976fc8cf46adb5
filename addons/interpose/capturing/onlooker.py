"""The witness of one call whose bodies are kept: it holds on to what it is told, and gives it to the desk last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from interpose.call import Call, Headers
from interpose.engine.witness import Witness
from interpose.ir.losses import Loss
from interpose.ledger.record import Record
from interpose.masking.whole import Known
from interpose.rules.compiled import LedgerRules

from .pieces import Pieces, Room

# So much more of a body is held on to than is kept: a secret that stands at the cut has to be whole to be found.
SLACK = 16 * 1024


@dataclass(slots=True)
class Side:
    """One part of a call, as far as it is known; `began` in milliseconds since the call did."""

    part: str
    attempt: int
    began: float
    pieces: Pieces
    method: str | None = None
    url: str | None = None
    status: int | None = None
    headers: Headers = ()


@dataclass(slots=True)
class Seen:
    """All that was seen of a call. `uploaded` is what the client said in a body that streams through; the bytes of a
    WebSocket if `session`.
    """

    id: str
    call: Call
    rules: LedgerRules
    asked: Side
    known: Known | None = None
    legs: dict[int, tuple[Side, Side | None]] = field(default_factory=dict)
    answered: Side | None = None
    session: bool = False

    def sides(self) -> list[Side]:
        """In the order in which they are written."""
        found = [self.asked]
        for number in sorted(self.legs):
            found += [side for side in self.legs[number] if side is not None]
        return [*found, *([self.answered] if self.answered is not None else ())]

    def end(self) -> None:
        for side in self.sides():
            side.pieces.end()

    def let_go(self) -> None:
        for side in self.sides():
            side.pieces.let_go()


class Onlooker(Witness):
    """`now` gives seconds by the clock by which the call `began`."""

    def __init__(
        self,
        number: str,
        call: Call,
        rules: LedgerRules,
        *,
        room: Room,
        now: Callable[[], float],
        began: float,
        settle: Callable[[Seen, Record], None],
    ) -> None:
        self._now = now
        self._began = began
        self._room = room
        self._limit = rules.body_limit + SLACK
        self._settle = settle
        # What came last: the client is told the very same, where nothing is converted.
        self._last = b""
        asked = Side("asked", 0, 0.0, self._pieces(), method=call.method)
        self._seen = Seen(number, call, rules, asked)
        if isinstance(call.body, bytes) and call.body:
            asked.pieces.add(call.body, 0.0)

    def _pieces(self) -> Pieces:
        return Pieces(self._room, self._limit)

    def _ms(self) -> float:
        return (self._now() - self._began) * 1000

    def begun(self, known: Known) -> None:
        self._seen.known = known

    def uploaded(self, chunk: bytes) -> None:
        self._seen.asked.pieces.add(chunk, self._ms())

    def sent(self, attempt: int, method: str, url: str, headers: Headers, body: bytes | None) -> None:
        ms = self._ms()
        # What streams through is the client's own.
        pieces = self._seen.asked.pieces if body is None else self._pieces()
        if body:
            pieces.add(body, ms)
        self._seen.legs[attempt] = Side("sent", attempt, ms, pieces, method, url, headers=headers), None

    def received(self, attempt: int, status: int, headers: Headers) -> None:
        reply = Side("received", attempt, self._ms(), self._pieces(), status=status, headers=headers)
        self._seen.legs[attempt] = self._seen.legs[attempt][0], reply
        self._seen.session |= status == 101

    def arrived(self, attempt: int, chunk: bytes) -> None:
        reply = self._seen.legs[attempt][1]
        assert reply is not None
        reply.pieces.add(chunk, self._ms())
        self._last = chunk if not reply.pieces.crowded else b""

    def answered(self, status: int, headers: Headers) -> None:
        self._seen.answered = Side("answered", 0, self._ms(), self._pieces(), status=status, headers=headers)

    def told(self, chunk: bytes) -> None:
        assert self._seen.answered is not None
        self._seen.answered.pieces.add(chunk, self._ms(), shared=chunk is self._last)

    def settled(self, record: Record, losses: Sequence[Loss]) -> None:
        self._seen.end()
        self._settle(self._seen, record)
