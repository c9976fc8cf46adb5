"""One call's life: planned, sent, streamed back, settled.

`Engine.handle` is the heart: hosts are thin adapters around it. It decides nothing (`stages.plan` does) and knows no
connection (`upstream` does). Whatever happens to a call, it is settled exactly once and leaves exactly one record.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Callable

from cachetools import LRUCache

from .attempts.lanes import Lanes
from .call import Call, Reply
from .errors import Refusal
from .exchange import Clock, Exchange
from .formats.endpoints import classify
from .gate import Gate
from .issued import KeysError
from .ledger.record import Record
from .limits.memory import MemoryStore
from .limits.queue import WaitingStore
from .rules.compiled import ClientKey, Rules
from .rules.secrets import SecretError
from .sending import Means, Sending
from .stages import plan
from .stages.claim import Territory
from .stages.draft import Attempt, Plan, Resolve, View
from .upstream import Upstream, UpstreamFailure

logger = logging.getLogger(__name__)

_INDEX = re.compile(r"\[\d+\]")


class Engine:
    """Handles calls by one set of rules.

    `resolve` gives the secret behind a credential's reference, `issued` finds a virtual key that the rules do not list
    (it raises KeysError if it cannot say), `record` takes a finished record and never blocks,
    `new_id` gives a call its id, `rng` numbers from 0 up to 1. `close` when done.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        upstream: Upstream,
        resolve: Resolve,
        record: Callable[[Record], None],
        clock: Clock,
        new_id: Callable[[], str],
        issued: Callable[[str], ClientKey | None] = lambda _: None,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.rules = rules
        self.clock = clock
        self.record = record
        self.new_id = new_id
        self._territory = Territory(rules)
        self._upstream = upstream
        self._issued = issued
        self._rng = rng
        self._lanes = Lanes(clock.monotonic)
        self.gate = Gate(WaitingStore(MemoryStore(), clock.now, clock.monotonic), clock.now)
        self._resolve = resolve
        self._live: set[Exchange] = set()
        self._warned: LRUCache[tuple[str | None, str, str], None] = LRUCache(4096)
        self._idle = asyncio.Event()
        self._idle.set()

    def claims(self, host: str, port: int) -> bool:
        """Whether calls to that host and port are ours to carry."""
        return self._territory.row(host, port) is not None

    def plan(self, call: Call, trace: list[str] | None = None) -> Plan:
        origin = call.url.origin
        host = self._territory.row(origin.host, origin.port)
        view = View(
            self.clock.now(),
            self._issued,
            rng=self._rng,
            resting=self._lanes.resting,
            expected_output=self.gate.expected,
        )
        return plan(call, host, self.rules, view, trace)

    def format_of(self, call: Call, plan: Plan | None) -> str:
        """The client's format: what the plan found, else what is spoken at that host and path, planned or not."""
        if plan is not None and plan.facts is not None:
            return plan.facts.format
        origin = call.url.origin
        host = self._territory.row(origin.host, origin.port)
        return classify(host, call.method, call.url.target).format if host is not None else "openai"

    async def handle(self, call: Call) -> Reply:
        """The reply to `call`; refusals and failures are replies too, in the client's own format.

        Raises nothing but CancelledError, upon which the upstream is closed and the call settled.
        """
        exchange = Exchange(self, call)
        self._live.add(exchange)
        self._idle.clear()
        try:
            return await self._carry(exchange)
        except Refusal as refusal:
            return exchange.refuse(refusal)
        except UpstreamFailure as failure:
            return exchange.refuse(Refusal(failure.status, failure.code, f"{failure}.", outcome="error"))
        except SecretError as error:
            logger.error("no credential for the call %s: %s", exchange.id, error)
            return exchange.refuse(
                Refusal(
                    503, "credential_unavailable", "The provider's credential cannot be had just now.", outcome="error"
                )
            )
        except KeysError as error:
            logger.error("the key of the call %s cannot be looked up: %s", exchange.id, error)
            return exchange.refuse(
                Refusal(503, "keys_unavailable", "The API key cannot be checked just now.", outcome="error")
            )
        except asyncio.CancelledError:
            exchange.abort()
            raise
        except Exception:
            logger.exception("the call %s failed inside interpose", exchange.id)
            return exchange.refuse(
                Refusal(
                    500,
                    "internal_error",
                    f"interpose failed on this call. Its log tells more ({exchange.id}).",
                    outcome="error",
                )
            )

    def apologise(self, call: Call) -> Reply:
        """A local 500 and its record, for a host that failed before it could hand the call over."""
        exchange = Exchange(self, call)
        self._live.add(exchange)
        return exchange.refuse(
            Refusal(
                500,
                "internal_error",
                f"interpose failed on this call. Its log tells more ({exchange.id}).",
                outcome="error",
            )
        )

    def abandon(self, call: Call) -> None:
        """The record of a call whose client had left before it could be handed over."""
        exchange = Exchange(self, call)
        self._live.add(exchange)
        try:
            exchange.plan = self.plan(call)
        except Exception:
            logger.exception("the call %s failed inside interpose", exchange.id)
        exchange.settle("aborted")

    async def _carry(self, exchange: Exchange) -> Reply:
        exchange.plan = chosen = self.plan(exchange.call)
        if chosen.refusal is not None:
            raise chosen.refusal
        assert chosen.facts is not None
        exchange.hold(await self.gate.enter(chosen.demands, chosen.wait, chosen.facts.format))
        means = Means(self._upstream, self._resolve, self._lanes, self.clock, self._rng, self._warn)
        return await Sending(means, exchange, chosen).reply()

    def _warn(self, chosen: Plan, attempt: Attempt) -> None:
        """Says in the log what a conversion loses, as far as the rules want it said: each kind of loss once a route."""
        for loss in attempt.translation.losses if attempt.translation is not None else ():
            kind = (chosen.route, loss.severity, _INDEX.sub("[]", loss.path))
            if loss.severity in self.rules.losses.warned and kind not in self._warned:
                self._warned[kind] = None
                logger.warning("route %s: %s of a call: %s (%s)", chosen.route, loss.path, loss.reason, loss.severity)

    def forget(self, exchange: Exchange) -> None:
        self._live.discard(exchange)
        if not self._live:
            self._idle.set()

    async def idle(self, seconds: float) -> bool:
        """Waits up to that long for the calls in flight to end by themselves; whether they have."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def drain(self, seconds: float) -> None:
        """The same before an end, which cuts off the rest."""
        if not await self.idle(seconds):
            logger.warning("calls still in flight after %g s, and cut off: %d", seconds, len(self._live))

    async def close(self) -> None:
        """Settles whatever is still in flight as aborted and closes the connections."""
        for exchange in list(self._live):
            exchange.abort()
        await self.gate.close()
        await self._upstream.close()
