"""The witness of one call of which the rules have told what was said: it holds on to what the client asks and gets, as
bytes, and looks at none of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from interpose.call import Call, Headers
from interpose.capturing.onlooker import SLACK
from interpose.capturing.pieces import Pieces, Room
from interpose.engine.witness import Witness
from interpose.ir.losses import Loss
from interpose.ledger.record import Record
from interpose.masking.whole import Known

# So much of a body is held on to; more of a request is not read by us either. Secrets at the cut have to be whole.
LARGEST = 8 << 20


class Heard(Witness):
    """`scrub` are the rules' patterns. Once `over` all is there: another thread may look at it after an `end`, and lets
    go of it, once. The call itself is not held on to: it has a body.
    """

    def __init__(self, call: Call, scrub: tuple[str, ...], room: Room) -> None:
        self.method, self.url, self.asking = call.method, call.url, call.headers
        self.scrub = scrub
        self.known: Known | None = None
        self.asked = Pieces(room, LARGEST + SLACK)
        self.answered_with = Pieces(room, LARGEST + SLACK)
        self.status: int | None = None
        self.headers: Headers = ()
        self.over = False
        if isinstance(call.body, bytes) and call.body:
            self.asked.add(call.body, 0.0)

    @property
    def crowded(self) -> bool:
        """Whether something is missing for want of room."""
        return self.asked.crowded or self.answered_with.crowded

    def begun(self, known: Known) -> None:
        self.known = known

    def uploaded(self, chunk: bytes) -> None:
        self.asked.add(chunk, 0.0)

    def answered(self, status: int, headers: Headers) -> None:
        self.status, self.headers = status, headers

    def told(self, chunk: bytes) -> None:
        # Of no interest here is when it came: all of it is one moment.
        self.answered_with.add(chunk, 0.0)

    def settled(self, record: Record, losses: Sequence[Loss]) -> None:
        self.end()

    def end(self) -> None:
        """Whatever comes later is no part of it."""
        self.asked.end()
        self.answered_with.end()
        self.over = True

    def let_go(self) -> None:
        self.end()
        self.asked.let_go()
        self.answered_with.let_go()
