"""One call's life: planned, sent, streamed back, settled.

`Engine.handle` is the heart: hosts are thin adapters around it. It decides nothing (`stages.plan` does) and knows no
connection (`upstream` does). Whatever happens to a call, it is settled exactly once and leaves exactly one record.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial

from cachetools import LRUCache

from interpose.attempts.lanes import News
from interpose.attempts.pace import Paces
from interpose.attempts.quotas import Quotas
from interpose.call import Call, Login, Reply
from interpose.errors import Refusal
from interpose.ir import Usage
from interpose.issued import KeysError
from interpose.ledger.record import Record
from interpose.limits.memory import MemoryStore
from interpose.limits.queue import WaitingStore
from interpose.limits.store import Store
from interpose.prices import Catalogue
from interpose.rules.compiled import ClientKey, Rules
from interpose.rules.problem import printable
from interpose.rules.secrets import SecretError
from interpose.stages import plan
from interpose.stages.draft import Attempt, Listing, Plan, Resolve, View
from interpose.stages.holder import holder
from interpose.stages.listing import in_full, missing
from interpose.stages.proxied import proxied
from interpose.upstream.client import Upstream, UpstreamFailure

from . import replying, unavailable
from .exchange import Exchange
from .gate import Gate
from .inforce import InForce, lasting
from .journey import Clock
from .lists import Gathered, Lists, ask_for_models
from .observer import NOBODY, Observer
from .sending import Means, Sending
from .tracing import Tracer
from .witness import Witness

logger = logging.getLogger(__name__)

MOST_SHOWN = 100
_INDEX = re.compile(r"\[\d+\]")


class Engine:
    """Handles calls, each by the rules that are in force when it begins.

    `resolve` gives the secret behind a credential's reference, `issued` finds a virtual key that the rules do not list
    (it raises KeysError if it cannot say), `store` counts limits (None: in memory; it is closed with the engine),
    `news` tells those who share a store what is left alone here, `record` takes a finished record and never blocks,
    `new_id` gives a call its id, `prices` what a call costs, `rng` numbers from 0 up to 1, `observer` is told what no
    record says, `keep` gives a witness for a call whose bodies the rules keep, `tracer` puts calls into traces. `close`
    when done.
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
        prices: Catalogue | None = None,
        store: Store | None = None,
        news: News | None = None,
        rng: Callable[[], float] = random.random,
        observer: Observer = NOBODY,
        keep: Callable[[Exchange], Witness] | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.inforce = InForce.first(rules, upstream, clock.monotonic, news)
        self.clock = clock
        self.record = record
        self.new_id = new_id
        self.prices = prices if prices is not None else Catalogue.empty()
        self._issued = issued
        self._rng = rng
        self._paces = Paces(clock.monotonic)
        self.quotas = Quotas(clock.now)
        self.observer = observer
        self._keep = keep
        self.tracer = tracer
        self.gate = Gate(WaitingStore(store or MemoryStore(), clock.now, clock.monotonic), clock.now, observer)
        self._resolve = resolve
        self._lists = Lists(clock.monotonic)
        self._single = Lists(clock.monotonic)
        self._live: set[Exchange] = set()
        self._warned: LRUCache[tuple[str | None, str, str], None] = LRUCache(4096)
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def rules(self) -> Rules:
        """The rules that the next call begins with."""
        return self.inforce.rules

    @property
    def in_flight(self) -> int:
        """How many calls have begun and are not settled."""
        return len(self._live)

    def under_way(self) -> tuple[Exchange, ...]:
        """The calls that have begun and are not settled, in no order."""
        return tuple(self._live)

    async def reload(self, rules: Rules) -> None:
        """Calls that begin from now on go by these rules; those that have begun, by those that they began with.

        Raises OSError for a file of CAs that cannot be used: nothing has changed then. One at a time.
        """
        before = self.inforce
        upstream = await asyncio.to_thread(before.upstream_by, rules)
        self.inforce = before.followed_by(rules, upstream)
        self.quotas.keep(lasting(before.rules, rules))

    def claims(self, host: str, port: int) -> bool:
        """Whether calls to that host and port are ours to carry."""
        return self.inforce.territory.row(host, port) is not None

    def turned_away(self, login: Login) -> Refusal | None:
        """Why a client that tells this to its proxy is not served, if it is not."""
        try:
            proxied(login, self.rules, self._issued, self.clock.now())
        except Refusal as refusal:
            return refusal
        except KeysError as error:
            logger.error("the key of a proxy's client cannot be looked up: %s", error)
            return Refusal(503, "keys_unavailable", "The key cannot be checked just now.")
        return None

    def holder(self, call: Call) -> ClientKey:
        """Whose key a request carries that is no call to a provider. Raises Refusal: 401, or 503 if nobody can say."""
        try:
            return holder(call, self.rules, self._issued, self.clock.now())
        except KeysError as error:
            logger.error("a key cannot be looked up: %s", error)
            raise Refusal(503, "keys_unavailable", "The key cannot be checked just now.") from error

    def plan(self, call: Call, trace: list[str] | None = None, by: InForce | None = None) -> Plan:
        """What is done with a call, `by` the rules that it began with, else by those of this moment."""
        by = by or self.inforce
        origin = call.url.origin
        rules, row = by.rules, by.territory.row_of(call)
        released = None
        if row is None and call.addressed in (None, origin):
            released = by.let_go(origin.host, origin.port)
        if released is not None:
            row, rules = released, by.observing()
            # Which keys are good is no matter of rules that only observe.
            call = replace(call, peer=replace(call.peer, login=None))
        view = View(
            self.clock.now(),
            self._issued,
            rng=self._rng,
            resting=by.lanes.resting,
            expected_output=self.gate.expected,
            standing=self._paces.standing,
            quota=lambda provider, model: self.quotas.left(provider.name, provider.credentials, model),
            price=partial(self._price, by.rules),
        )
        return plan(call, row, rules, view, trace)

    def _price(self, rules: Rules, vendor: str | None, model: str | None, asked: int, answered: int) -> Decimal | None:
        tariff = self.prices.tariff(vendor, model, self.clock.now(), rules.prices)
        return tariff.cost(Usage(input_tokens=asked, output_tokens=answered)) if tariff is not None else None

    async def handle(self, call: Call, witnesses: Sequence[Witness] = ()) -> Reply:
        """The reply to `call`; refusals and failures are replies too, in the client's own format. `witnesses` look on.

        Raises nothing but CancelledError, upon which the upstream is closed and the call settled.
        """
        exchange = Exchange(self, call, witnesses)
        self._live.add(exchange)
        self._idle.clear()
        try:
            reply = await self._carry(exchange)
        except asyncio.CancelledError:
            exchange.abort()
            raise
        except Exception as error:  # noqa: BLE001 - each is answered, see below
            reply = self._excuse(exchange, error)
        return reply if exchange.watch is None else exchange.watch.answered(reply)

    def _excuse(self, exchange: Exchange, error: Exception) -> Reply:
        """The reply to a call that cannot be carried out."""
        match error:
            case Refusal():
                return replying.refuse(exchange, error)
            case UpstreamFailure():
                return replying.refuse(exchange, unavailable.of_failure(error, exchange))
            case SecretError():
                logger.error("no credential for the call %s: %s", exchange.id, error)
                status, code, said = 503, "credential_unavailable", "The provider's credential cannot be had just now."
            case KeysError():
                logger.error("the key of the call %s cannot be looked up: %s", exchange.id, error)
                status, code, said = 503, "keys_unavailable", "The API key cannot be checked just now."
            case _:
                logger.error("the call %s failed inside interpose", exchange.id, exc_info=error)
                status, code = 500, "internal_error"
                said = f"interpose failed on this call. Its log tells more ({exchange.id})."
        return replying.refuse(exchange, Refusal(status, code, said, outcome="error"))

    def apologise(self, call: Call) -> Reply:
        """A local 500 and its record, for a host that failed before it could hand the call over."""
        exchange = Exchange(self, call)
        self._live.add(exchange)
        return replying.refuse(
            exchange,
            Refusal(
                500,
                "internal_error",
                f"interpose failed on this call. Its log tells more ({exchange.id}).",
                outcome="error",
            ),
        )

    def abandon(self, call: Call) -> None:
        """The record of a call whose client had left before it could be handed over."""
        exchange = Exchange(self, call)
        self._live.add(exchange)
        try:
            self._decide(exchange)
        except Exception:
            logger.exception("the call %s failed inside interpose", exchange.id)
        exchange.settle("aborted")

    def _decide(self, exchange: Exchange) -> Plan:
        exchange.plan = chosen = self.plan(exchange.call, by=exchange.inforce)
        if chosen.bodies and self._keep is not None:
            exchange.witnessed_by(self._keep(exchange))
        if chosen.facts is not None and chosen.attempts and not chosen.private:
            exchange.traced_as(chosen.facts.endpoint)
        return chosen

    async def _carry(self, exchange: Exchange) -> Reply:
        by = exchange.inforce
        chosen = self._decide(exchange)
        if chosen.refusal is not None:
            exchange.remind(await self.gate.standings(chosen.demands))
            raise chosen.refusal
        assert chosen.facts is not None
        self._tell_unpriced(chosen)
        exchange.hold(await self.gate.enter(chosen.demands, chosen.wait, chosen.facts.format))
        if chosen.listing is not None:
            return await self._list(exchange, chosen.listing)
        warn = partial(self._warn, by.rules)
        means = Means(by.upstream, self._resolve, by.lanes, self.clock, self._rng, warn, self._paces, self.quotas)
        reply = await Sending(means, exchange, chosen).reply()
        if (refusal := unavailable.of_reply(reply, exchange, self.clock.now())) is not None:
            self._tell_refused(exchange, reply)
            raise refusal
        return reply

    def _tell_refused(self, exchange: Exchange, reply: Reply) -> None:
        """Says in the log whose credential a provider refuses, once a credential: its clients cannot mend it."""
        attempt = exchange.trip.attempt if exchange.trip is not None else None
        if reply.status != 401 or attempt is None or attempt.provider is None or attempt.injection is None:
            return
        kind = (attempt.provider.name, "credential", attempt.injection.source.name)
        if kind not in self._warned:
            self._warned[kind] = None
            logger.error("the provider %s refuses the credential %s (401)", attempt.provider.name, kind[2])

    async def _list(self, exchange: Exchange, listing: Listing) -> Reply:
        """The gateway's own list of models, or its word of one. Raises Refusal."""
        assert exchange.plan is not None
        assert exchange.plan.facts is not None
        fetch = partial(
            ask_for_models,
            call=exchange.call,
            facts=exchange.plan.facts,
            upstream=exchange.inforce.upstream,
            resolve=self._resolve,
        )
        gathered = await self._lists.gather(listing.asks, fetch)
        body = await asyncio.to_thread(self._listed, listing, gathered)
        if body is None and listing.then is not None and not gathered.missing:
            gathered = gathered.with_more(await self._single.gather((listing.then,), fetch))
            body = await asyncio.to_thread(self._listed, listing, gathered)
        if body is None:
            raise missing(listing, bool(gathered.missing))
        return replying.answer(exchange, body, gathered.headers())

    def _listed(self, listing: Listing, gathered: Gathered) -> bytes | None:
        """In a thread, for the prices know how long contexts are, and may still be read."""
        self.prices.wait()
        return in_full(listing, gathered.told, self.prices.window)

    def _tell_unpriced(self, chosen: Plan) -> None:
        """Says in the log which budgets cannot hold what has no price, once a model."""
        for name in dict.fromkeys(chosen.unpriced):
            asked = chosen.facts.model if chosen.facts is not None else None
            # The client's word: it is neither to end a line of the log nor to fill it.
            model = printable((chosen.attempts[0].model or asked or "of no name")[:MOST_SHOWN])
            kind = (name, "unpriced", model)
            if kind not in self._warned:
                self._warned[kind] = None
                logger.warning(
                    "the budget %s cannot hold calls of the model %s: it has no known price (prices: in the rules)",
                    name,
                    model,
                )

    def _warn(self, rules: Rules, chosen: Plan, attempt: Attempt) -> None:
        """Says in the log what a conversion loses, as far as the rules want it said: each kind of loss once a route."""
        for loss in attempt.translation.losses if attempt.translation is not None else ():
            kind = (chosen.route, loss.severity, _INDEX.sub("[]", loss.path))
            if loss.severity in rules.losses.warned and kind not in self._warned:
                self._warned[kind] = None
                where = "no route" if chosen.route is None else f"route {chosen.route}"
                logger.warning("%s: %s of a call: %s (%s)", where, loss.path, loss.reason, loss.severity)

    def forget(self, exchange: Exchange) -> None:
        self._live.discard(exchange)
        if not self._live:
            self._idle.set()

    def hear(self, lane: str, seconds: float) -> None:
        """Another process leaves that lane (by its digest) alone for so long."""
        self.inforce.lanes.hear(lane, seconds)

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
        await self._lists.close()
        await self._single.close()
        await self.gate.close()
        await self.inforce.upstream.close()
