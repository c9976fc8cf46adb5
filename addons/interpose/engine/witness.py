"""Who looks on at one call: the ledger's capture of bodies, a flow in mitmweb.

A `Witness` is told in order what is asked and answered on both sides. It decides nothing, and a call that nobody looks
at costs nothing here. `Watch` is the exchange's side of it: it masks headers and URLs, and drops a witness that fails.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from threading import Lock
from typing import Self

from interpose.call import Body, Call, Headers, Reply, Url
from interpose.ir.losses import Loss
from interpose.ledger.record import Record
from interpose.masking.whole import Known
from interpose.secret import Secret
from interpose.upstream.upgraded import Session

from .held import Answer

logger = logging.getLogger(__name__)

FAILED = "who looks on at a call has failed, and is told no more of it"


class Witness:
    """Told what happens to one call; by default it takes no notice. Must neither raise nor wait.

    Headers and URLs come without credentials, the client's keys and cookies. Pieces of bodies come as they are, and a
    provider may echo a credential in one: who shows or keeps any of them has it masked by what `begun` gave.
    """

    def begun(self, known: Known) -> None:
        """First of all. `known` grows with each attempt, so it is to be asked late."""

    def uploaded(self, chunk: bytes) -> None:
        """Of a request whose body streams through, or what the client of a WebSocket says, in frames."""

    def sent(self, attempt: int, method: str, url: str, headers: Headers, body: bytes | None) -> None:
        """What is about to go upstream, after conversion and edits. `attempt` is its place among the record's
        `attempts`, from 1; `body` None streams through (`uploaded`).
        """

    def received(self, attempt: int, status: int, headers: Headers) -> None:
        """The head of what a provider answers."""

    def arrived(self, attempt: int, chunk: bytes) -> None:
        """A piece of its body, as it came."""

    def answered(self, status: int, headers: Headers) -> None:
        """The head of what the client gets."""

    def told(self, chunk: bytes) -> None:
        """A piece of its body."""

    def settled(self, record: Record, losses: Sequence[Loss]) -> None:
        """The end, once: the record is written, and nothing more goes to the client. Not always in the thread of what
        came before.
        """


class Watch:
    """The witnesses of one call, as its exchange has them."""

    __slots__ = ("_call", "_ending", "_known", "_lock", "_open", "_witnesses")

    def __init__(self, call: Call, witnesses: Iterable[Witness], placeholders: Iterable[str] = ()) -> None:
        self._call = call
        self._known = Known(call, placeholders)
        self._witnesses: tuple[Witness, ...] = ()
        # A converted stream still has its end to tell when its record is made.
        self._lock = Lock()
        self._open = False
        self._ending: tuple[Record, Sequence[Loss]] | None = None
        for witness in witnesses:
            self.join(witness)

    def join(self, witness: Witness) -> None:
        self._witnesses = (*self._witnesses, witness)
        self._tell(lambda each: each.begun(self._known) if each is witness else None)

    def uploaded(self, chunk: bytes) -> None:
        self._tell(lambda witness: witness.uploaded(chunk))

    def sent(self, attempt: int, url: Url, headers: Headers, body: bytes | None, secret: Secret | None) -> None:
        if secret is not None:
            self._known.learn(secret)
        shown, masked = self._known.url(url), self._known.headers(headers)
        self._tell(lambda witness: witness.sent(attempt, self._call.method, shown, masked, body))

    def seen(self, attempt: int, reply: Answer) -> Answer:
        """A provider's reply whose body is told of on its way."""
        self._known.learn_cookies(reply.headers)
        masked = self._known.headers(reply.headers)
        self._tell(lambda witness: witness.received(attempt, reply.status, masked))
        return Seen(reply, self, attempt)

    def arrived(self, attempt: int, chunk: bytes) -> None:
        for witness in self._witnesses:
            try:
                witness.arrived(attempt, chunk)
            except Exception:
                logger.exception(FAILED)
                self._drop(witness)

    def answered(self, reply: Reply) -> Reply:
        """The client's reply, whose body is told of on its way."""
        with self._lock:
            self._open = True
        masked = self._known.headers(reply.headers)
        self._tell(lambda witness: witness.answered(reply.status, masked))
        return replace(reply, body=Told(self, reply.body))

    def told(self, chunk: bytes) -> None:
        for witness in self._witnesses:
            try:
                witness.told(chunk)
            except Exception:
                logger.exception(FAILED)
                self._drop(witness)

    def ended(self) -> None:
        """The client gets nothing more."""
        with self._lock:
            self._open = False
            ending, self._ending = self._ending, None
        if ending is not None:
            self._tell(lambda witness: witness.settled(*ending))

    def settled(self, record: Record, losses: Sequence[Loss]) -> None:
        with self._lock:
            if self._open:
                self._ending = record, losses
                return
        self._tell(lambda witness: witness.settled(record, losses))

    def _tell(self, tell: Callable[[Witness], None]) -> None:
        for witness in self._witnesses:
            try:
                tell(witness)
            except Exception:
                logger.exception(FAILED)
                self._drop(witness)

    def _drop(self, witness: Witness) -> None:
        self._witnesses = tuple(each for each in self._witnesses if each is not witness)


class Seen:
    """A provider's reply that is looked at while it is read."""

    __slots__ = ("_attempt", "_reply", "_watch", "headers", "reason", "session", "status")

    def __init__(self, reply: Answer, watch: Watch, attempt: int) -> None:
        self.status = reply.status
        self.reason = reply.reason
        self.headers = reply.headers
        self.session: Session | None = reply.session
        self._reply = reply
        self._watch = watch
        self._attempt = attempt

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._reply.__anext__()
        self._watch.arrived(self._attempt, chunk)
        return chunk

    def cut(self) -> None:
        self._reply.cut()

    def linger(self) -> None:
        self._reply.linger()


class Told:
    """The body that the client gets, looked at on its way."""

    __slots__ = ("_body", "_watch")

    def __init__(self, watch: Watch, body: Body) -> None:
        self._watch = watch
        self._body = body

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._body.__anext__()
        except BaseException:
            self._watch.ended()
            raise
        self._watch.told(chunk)
        return chunk

    async def aclose(self) -> None:
        try:
            await self._body.aclose()
        finally:
            self._watch.ended()
