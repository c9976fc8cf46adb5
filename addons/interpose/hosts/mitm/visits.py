"""One client's connection as the ledger tells it: whose it was, where it led, how many bytes went each way.

Everything that leaves through us is a visit, decrypted or not. What is said in the calls of a visit is the engine's
to record; their ids begin with the visit's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from interpose.call import Login
from interpose.engine.journey import Clock
from interpose.hosts.process import Process
from interpose.ledger import Connection
from interpose.ledger.record import utc_text

Kind = Literal["ai", "tunnel", "http"]
Outcome = Literal["ok", "error", "refused", "tls_refused", "tls_dropped"]

# A call waits so long for the name of its process, and is recorded without it then.
PATIENCE = 0.25
# Said of a client that goes without a word once TLS is up: curl, OkHttp and others compare a pinned key only then.
DROPPED = "the client left after the TLS handshake without a request: it may pin its certificates"


class Visit:
    """A connection from its beginning to its end, or to its next destination (plain HTTP through a proxy may name
    one after another). Recorded when it ends, if it led anywhere.
    """

    def __init__(
        self,
        peer: tuple[str, int],
        *,
        process: asyncio.Task[Process | None] | None,
        clock: Clock,
        new_id: Callable[[], str],
        record: Callable[[Connection], None],
    ) -> None:
        self.peer = peer
        # What the client has told us as its proxy: for the whole tunnel, or with each request where there is none.
        self.login: Login | None = None
        self.tunnelled = False
        self._process = process
        self._clock = clock
        self._new_id = new_id
        self._record = record
        self._counting: object = None
        self._begin()

    def _begin(self) -> None:
        self.id = self._new_id()
        self._opened = self._clock.now()
        self._began = self._clock.monotonic()
        self._calls = 0
        self._kind: Kind | None = None
        self._host = ""
        self._port = 0
        self._up = self._down = 0
        self._decrypted = False
        self._outcome: Outcome = "ok"
        self._reason: str | None = None

    def call_id(self) -> str:
        """The id of the connection's next call."""
        self._calls += 1
        return f"{self.id}_{self._calls}"

    async def app(self) -> str | None:
        """The name of the process at the other end, where it is one of this machine and still to be found.

        To be asked while the client is still waiting for us: one that has gone cannot be told.
        """
        if self._process is not None:
            await asyncio.wait((self._process,), timeout=PATIENCE)
        process = self._found()
        return process.name if process is not None else None

    def _found(self) -> Process | None:
        """The process, if it has been found by now. That it was not, for whatever reason, is no call's concern."""
        looked = self._process
        if looked is None or not looked.done() or looked.cancelled() or looked.exception() is not None:
            return None
        return looked.result()

    def passes(self, layer: object) -> None:
        """From here on, what passes that layer is the visit's traffic. What was said before to get there was said
        to us.
        """
        self._up = self._down = 0
        self._counting = layer

    def decrypts(self) -> None:
        """The client has taken our certificate; what it says from here on is what counts."""
        self._decrypted = True
        self._up = self._down = 0
        self._counting = None

    def leads_to(self, kind: Kind, host: str, port: int) -> None:
        """The visit's destination is known; another one than before begins another visit."""
        if self._kind is not None and (self._host, self._port) != (host, port):
            self.end()
            self._begin()
        self._kind, self._host, self._port = kind, host, port

    def sent(self, layer: object, size: int) -> None:
        """The client has sent so much, as that layer sees it."""
        if layer is self._counting:
            self._up += size

    def received(self, layer: object, size: int) -> None:
        """The client was sent so much, as that layer sees it."""
        if layer is self._counting:
            self._down += size

    def fails(self, outcome: Outcome, reason: str) -> None:
        """The first thing that goes wrong is told."""
        if self._outcome == "ok":
            self._outcome, self._reason = outcome, reason

    def over(self) -> None:
        """The client has gone: its last visit ends, and nobody needs to go on looking for its program."""
        self.end()
        if self._process is not None:
            self._process.cancel()

    def end(self) -> None:
        """Records the visit, unless nothing was asked for. Only the first end counts."""
        if self._kind is None:
            return
        if self._kind == "ai" and self._decrypted and self._up == 0:
            self.fails("tls_dropped", DROPPED)
        process = self._found()
        self._record(
            Connection(
                id=self.id,
                opened_at=utc_text(self._opened),
                closed_at=utc_text(self._opened + (self._clock.monotonic() - self._began)),
                ip=self.peer[0],
                app=process.name if process else None,
                pid=process.pid if process else None,
                user=process.user if process else None,
                command=process.command if process else None,
                kind=self._kind,
                host=self._host,
                port=self._port,
                bytes_up=self._up,
                bytes_down=self._down,
                outcome=self._outcome,
                reason=self._reason,
            )
        )
        self._kind = None
