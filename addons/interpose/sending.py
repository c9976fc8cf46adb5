"""Carries out the attempts of a plan, one after another, until one of them is the client's answer.

Nothing has gone to the client before `Sending.reply` returns, and nothing is sent again afterwards. What a failure
means and how long to wait is decided in `attempts`; here it is done, and told to the exchange. A call that the rules
give one way and no retry is sent once and passed through.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from .attempts import patience, verdicts
from .attempts.course import Course, Step
from .attempts.lanes import SPENT_REST, Condition, Lane, Lanes
from .attempts.pace import Paces
from .attempts.quotas import Quotas
from .attempts.usefulness import Failure, place
from .attempts.verdicts import Verdict
from .call import Reply, upgrades
from .errors import Refusal
from .exchange import Clock, Exchange, phrase
from .held import Held, hold
from .rules.compiled import Retry, Timeouts
from .rules.secrets import SecretError
from .stages import STAGES
from .stages.draft import Attempt, Plan, Request, Resolve, Trip
from .upstream import UPGRADE, Outgoing, Upstream, UpstreamFailure, UpstreamReply, end_to_end

logger = logging.getLogger(__name__)

# A call on a host that nobody configured is as patient as the SDKs are.
DEFAULT_TIMEOUTS = Timeouts()


@dataclass(frozen=True, slots=True)
class Means:
    """What the engine lends to each call. `warn` tells in the log what an attempt's conversion loses."""

    upstream: Upstream
    resolve: Resolve
    lanes: Lanes
    clock: Clock
    rng: Callable[[], float]
    warn: Callable[[Plan, Attempt], None]
    paces: Paces
    quotas: Quotas


@dataclass(frozen=True, slots=True)
class Lost:
    """An attempt that has failed: the provider's reply, or what was raised in its place."""

    trip: Trip
    failure: Failure
    held: Held | None = None
    error: Exception | None = None


class Sending:
    """One call's attempts."""

    def __init__(self, means: Means, exchange: Exchange, plan: Plan) -> None:
        self._means = means
        self._exchange = exchange
        self._plan = plan
        self._upgrade = upgrades(exchange.call.headers)
        # A body that streams through is gone when it has been sent.
        repeatable = self._upgrade or isinstance(exchange.call.body, bytes)
        self._course = Course([attempt.lane for attempt in plan.attempts], plan.sends if repeatable else 1)
        self._lost: list[Lost] = []

    async def reply(self) -> Reply:
        """The client's answer. Raises Refusal, UpstreamFailure and SecretError where the best of it is an error."""
        while (step := self._course.next(self._now())) is not None:
            if step.pause:
                await asyncio.sleep(step.pause)
            attempt = self._plan.attempts[step.index]
            if (answer := await self._try(step, attempt)) is not None:
                return answer
        return await self._best()

    async def _try(self, step: Step, attempt: Attempt) -> Reply | None:
        """One sending; None if there may be another."""
        retry = self._plan.retry
        trip = self._trip(attempt)
        try:
            granted = await self._exchange.gate.enter(attempt.demands, 0.0, trip.facts.format)
        except Refusal as full:
            if retry is None:
                raise
            self._course.drop(step.index)
            self._exchange.embark(trip)
            self._exchange.lose("limit")
            self._lost.append(Lost(trip, Failure(429, told=False), error=full))
            return None
        self._exchange.hold(granted, of_attempt=True)
        if retry is None:
            return await self._exchange.begin(await self._send(trip))
        condition = self._means.lanes[attempt.lane] if attempt.lane is not None else None
        if condition is not None and step.again and not condition.budget.spend():
            self._course.drop(step.index)
            return None
        ticket = condition.breaker.enter() if condition is not None else None
        if condition is not None and ticket is None:
            self._course.drop(step.index)
            self._shut(trip, attempt)
            return None
        self._course.sent()
        if condition is not None and not step.again:
            condition.budget.called()
        try:
            reply = await self._guarded(trip, condition, ticket)
            if reply.status < 400:
                return await self._exchange.begin(reply)
            return await self._judge(step.index, trip, reply, retry)
        except (UpstreamFailure, SecretError) as error:
            self._fail(step.index, trip, error, retry)
            return None

    async def _guarded(self, trip: Trip, condition: Condition | None, ticket: int | None) -> UpstreamReply:
        """The reply's head; its breaker learns how it went."""
        good: bool | None = None
        try:
            reply = await self._send(trip)
            good = reply.status < 500
        except UpstreamFailure as failure:
            good = False if failure.kind in verdicts.WORDS else None
            raise
        finally:
            if condition is not None and ticket is not None:
                condition.breaker.leave(ticket, good=good)
        return reply

    def _trip(self, attempt: Attempt) -> Trip:
        assert self._plan.facts is not None
        return Trip(self._exchange.call, self._plan.facts, attempt, self._means.resolve)

    async def _send(self, trip: Trip) -> UpstreamReply:
        """Sends it and waits for the reply's head, which is the exchange's from there on."""
        exchange, attempt, call = self._exchange, trip.attempt, trip.call
        exchange.embark(trip)
        self._means.warn(self._plan, attempt)
        headers = (*UPGRADE, *end_to_end(call.headers)) if self._upgrade else end_to_end(call.headers)
        request = Request(call.method, attempt.url, headers, b"" if self._upgrade else exchange.body())
        for stage in STAGES:
            request = await stage.send(request, trip)
        provider = attempt.provider
        if trip.way is not None:
            trip.lap = self._means.paces.begin(trip.way)
        reply = await self._means.upstream.send(
            Outgoing(
                request.method,
                request.url,
                request.headers,
                request.body,
                provider.timeouts if provider is not None else DEFAULT_TIMEOUTS,
                provider.ca if provider is not None else None,
            )
        )
        # From here on the reply is the exchange's: whatever fails, its connection is closed.
        exchange.attach(reply)
        if attempt.lane is not None:
            self._means.quotas.learn(attempt.lane, attempt.model, reply.headers)
        if reply.status == 101 and not self._upgrade:
            raise UpstreamFailure(
                "protocol", f"{attempt.url.origin} switched to another protocol unasked", reached=True
            )
        return reply

    async def _judge(self, index: int, trip: Trip, reply: UpstreamReply, retry: Retry) -> Reply | None:
        """What becomes of an error that a provider has answered."""
        if not self._lost and not verdicts.listed(reply.status, retry.on):
            return await self._exchange.begin(reply)
        try:
            held = await hold(reply)
        except UpstreamFailure as error:
            # The status says enough; the text that would have explained it is gone.
            self._lose(index, Lost(trip, Failure(error.status, told=False), error=error), error.code, retry)
            return None
        if not held.whole:
            return await self._exchange.begin(held)
        wish = patience.told(held.headers, held.body, self._means.clock.now())
        spent = verdicts.spent(held.body, held.headers)
        verdict = verdicts.of_reply(held.status, held.headers, held.body, retry.on)
        lost = Lost(trip, Failure(held.status, wish, spent), held=held)
        reason = "quota used up" if spent else phrase(held.status) or "error"
        self._lose(index, lost, reason, retry, verdict)
        return None

    def _fail(self, index: int, trip: Trip, error: UpstreamFailure | SecretError, retry: Retry) -> None:
        """An attempt that came to nothing. Raises the error again if the client is to have that."""
        if isinstance(error, SecretError):
            logger.error("no credential for an attempt of the call %s: %s", self._exchange.id, error)
            verdict, status, reason = Verdict.ELSEWHERE, 503, "credential_unavailable"
        else:
            verdict = verdicts.of_failure(error.kind, retry.on, begun=self._exchange.attached)
            status, reason = error.status, error.code
        if verdict is Verdict.FINAL and not self._lost:
            raise error
        self._lose(index, Lost(trip, Failure(status, told=False), error=error), reason, retry, verdict)

    def _lose(self, index: int, lost: Lost, reason: str, retry: Retry, verdict: Verdict = Verdict.AGAIN) -> None:
        """Remembers a failure, for the client and for the calls that come after."""
        failure = lost.failure
        pause = patience.pause(self._course.failures(index) + 1, failure.wish, retry.low, retry.high, self._means.rng)
        self._lost.append(lost)
        self._exchange.lose(reason)
        self._course.failed(index, verdict, pause, self._now())
        lane = lost.trip.attempt.lane
        if lane is not None and failure.told:
            self._rest(lane, failure, pause)

    def _rest(self, lane: Lane, failure: Failure, pause: float | None) -> None:
        """The cooldown of a credential that is limited."""
        if failure.spent:
            self._means.lanes.rest(lane, SPENT_REST)
        elif failure.wish is not None:
            self._means.lanes.rest(lane, failure.wish)
        elif failure.status == 429 and pause is not None:
            self._means.lanes.rest(lane, pause)

    def _shut(self, trip: Trip, attempt: Attempt) -> None:
        """Not tried: it keeps failing."""
        name = attempt.provider.name if attempt.provider is not None else str(attempt.url.origin)
        refusal = Refusal(
            503,
            "provider_failing",
            f"{name} keeps failing, so it is left alone for a while. Try again in a minute.",
            outcome="error",
        )
        self._exchange.embark(trip)
        self._exchange.lose("circuit open")
        self._lost.append(Lost(trip, Failure(503, told=False), error=refusal))

    async def _best(self) -> Reply:
        """All have failed: the most useful error, as if it were the only one."""
        best = min(self._lost, key=lambda lost: place(lost.failure))
        if best.held is None:
            assert best.error is not None
            self._exchange.recall(best.trip)
            raise best.error
        self._exchange.recall(best.trip, best.held)
        return await self._exchange.begin(best.held)

    def _now(self) -> float:
        return self._means.clock.monotonic()
