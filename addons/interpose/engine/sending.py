"""Carries out the attempts of a plan, one after another, until one of them is the client's answer.

Nothing has gone to the client before `Sending.reply` returns, and nothing is sent again afterwards. What a failure
means and how long to wait is decided in `attempts`; here it is done, and told to the exchange. A call that the rules
give one way and no retry is sent once and passed through.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import orjson

from interpose.attempts import patience, verdicts
from interpose.attempts.course import Course, Step
from interpose.attempts.lanes import SPENT_REST, Condition, Lane, Lanes
from interpose.attempts.pace import Paces
from interpose.attempts.quotas import Quotas
from interpose.attempts.usefulness import Failure, place
from interpose.attempts.verdicts import Verdict
from interpose.call import Reply, upgrades
from interpose.errors import Refusal
from interpose.rules.compiled import Retry, Timeouts
from interpose.rules.secrets import SecretError
from interpose.stages import STAGES
from interpose.stages.draft import Attempt, Plan, Request, Resolve, Trip
from interpose.upstream.client import UPGRADE, Outgoing, Upstream, UpstreamFailure
from interpose.upstream.hops import onward

from . import replying
from .exchange import Exchange
from .held import Answer, Held, hold
from .journey import Clock
from .legs import Leg
from .preamble import Preamble, ended, failure_in, preamble
from .replying import phrase
from .unavailable import UNAVAILABLE

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

    leg: Leg
    failure: Failure
    held: Held | None = None
    error: Exception | None = None


@dataclass(slots=True, eq=False)
class Boarded:
    """An attempt that is about to be sent: limits, budget and breaker have let it pass."""

    index: int
    leg: Leg
    condition: Condition | None = None
    ticket: int | None = None

    def leave(self, *, good: bool | None) -> None:
        """The breaker learns how it went, once."""
        ticket, self.ticket = self.ticket, None
        if self.condition is not None and ticket is not None:
            self.condition.breaker.leave(ticket, good=good)


class Sending:
    """One call's attempts."""

    def __init__(self, means: Means, exchange: Exchange, plan: Plan) -> None:
        self._means = means
        self._exchange = exchange
        self._plan = plan
        self._upgrade = upgrades(exchange.call.headers)
        body_stays = isinstance(exchange.call.body, bytes)
        # A body that streams through is gone when it has been sent.
        self._course = Course(
            [attempt.lane for attempt in plan.attempts], plan.sends if self._upgrade or body_stays else 1
        )
        again = body_stays and not self._upgrade and plan.retry is not None
        self._hold = again and plan.hold
        self._hedge = plan.hedge if again else None
        self._lost: list[Lost] = []

    async def reply(self) -> Reply:
        """The client's answer. Raises Refusal, UpstreamFailure and SecretError where the best of it is an error."""
        while (step := self._course.next(self._now())) is not None:
            if step.pause:
                await asyncio.sleep(step.pause)
            boarded = await self._board(step)
            if boarded is None:
                continue
            ready = await (self._go(boarded) if self._hedge is None else self._race(boarded, self._hedge))
            if ready is not None and (answer := await self._answer(ready)) is not None:
                return answer
        return await self._best()

    async def _answer(self, ready: Boarded) -> Reply | None:
        """The client's answer by that attempt; None if it fails before there is any, and another may be tried."""
        try:
            return await replying.begin(self._exchange, ready.leg)
        except (UpstreamFailure, Refusal) as error:
            if self._plan.retry is None:
                raise
            self._fail(ready, error, self._plan.retry)
            return None

    async def _board(self, step: Step, beside: int | None = None) -> Boarded | None:
        """Whether that attempt may be sent; None if not. `beside` is the one that is silent, if it is a hedge: that
        one's calls pay for it, and where it may not be sent nothing has happened.
        """
        attempt = self._plan.attempts[step.index]
        trip = self._trip(attempt)
        try:
            granted = await self._exchange.gate.enter(attempt.demands, 0.0, trip.facts.format)
        except Refusal as full:
            if self._plan.retry is None:
                raise
            if beside is None:
                self._course.drop(step.index)
                leg = self._exchange.embark(trip)
                self._exchange.lose(leg, "limit")
                self._lost.append(Lost(leg, Failure(full.status, told=False), error=full))
            return None
        if self._plan.retry is None:
            return Boarded(step.index, self._exchange.embark(trip, granted))
        condition = self._condition(attempt)
        payer = condition if step.again else None
        if beside is not None:
            payer = self._condition(self._plan.attempts[beside])
        ticket = condition.breaker.enter() if condition is not None else None
        shut = condition is not None and ticket is None
        if shut or (payer is not None and not payer.budget.spend()):
            if granted is not None:
                self._exchange.gate.give_back(granted.reservation)
            if condition is not None and ticket is not None:
                condition.breaker.leave(ticket, good=None)
            if beside is None:
                self._course.drop(step.index)
                if condition is not None and shut:
                    self._shut(trip, attempt, condition.breaker.closed_for())
            return None
        self._course.sent()
        if condition is not None and payer is None:
            condition.budget.called()
        return Boarded(step.index, self._exchange.embark(trip, granted), condition, ticket)

    def _condition(self, attempt: Attempt) -> Condition | None:
        return self._means.lanes[attempt.lane] if attempt.lane is not None else None

    async def _race(self, first: Boarded, hedge: float) -> Boarded | None:
        """One attempt, and after `hedge` seconds of silence another beside it, two at a time at most. The first that
        answers wins; None if none does.
        """
        running = {asyncio.create_task(self._go(first)): first}
        winner: Boarded | None = None
        # Its limits may have to be asked elsewhere: meanwhile the first may answer.
        boarding: asyncio.Task[Boarded | None] | None = None
        try:
            while (running or boarding is not None) and winner is None:
                waited_for = [*running, *([boarding] if boarding is not None else ())]
                silent = hedge if len(waited_for) == 1 and boarding is None else None
                done, _ = await asyncio.wait(waited_for, timeout=silent, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    boarding = asyncio.create_task(self._beside(*(each.index for each in running.values())))
                    continue
                # In the order in which they began. What else is done is looked at no more.
                for task in [task for task in running if task in done]:
                    if winner is None:
                        winner = task.result()
                        del running[task]
                if boarding is not None and boarding in done and winner is None:
                    second, boarding = boarding.result(), None
                    if second is not None:
                        running[asyncio.create_task(self._go(second))] = second
        finally:
            await cancelled([*running, *([boarding] if boarding is not None else ())])
            spare = boarding if boarding is not None and not boarding.cancelled() else None
            if spare is not None and spare.exception() is None and (let_pass := spare.result()) is not None:
                # In the very moment in which nobody needed it any more.
                let_pass.leave(good=None)
            for given_up in running.values():
                # One that had not even begun has told its breaker nothing.
                given_up.leave(good=None)
        if winner is not None:
            for leg in self._exchange.under_way:
                if leg is not winner.leg:
                    self._exchange.beaten(leg)
        return winner

    async def _beside(self, silent: int) -> Boarded | None:
        """The attempt that is to be sent beside the one at `silent`, if any may be."""
        for step in self._course.beside(silent, self._now()):
            lane = self._plan.attempts[step.index].lane
            if lane is not None and self._means.lanes.resting(lane):
                continue
            if (boarded := await self._board(step, silent)) is not None:
                return boarded
        return None

    async def _go(self, boarded: Boarded) -> Boarded | None:
        """One sending: itself, if it has an answer for the client; None if there may be another."""
        retry, leg = self._plan.retry, boarded.leg
        if retry is None:
            await self._send(leg)
            return boarded
        try:
            found = await self._guarded(boarded)
            if found is not None and found.fault is not None:
                return self._judge_fault(boarded, found, retry)
            assert leg.reply is not None
            if leg.reply.status < 400:
                return boarded
            return await self._judge(boarded, retry)
        except (UpstreamFailure, SecretError) as error:
            self._fail(boarded, error, retry)
            return None

    async def _guarded(self, boarded: Boarded) -> Preamble | None:
        """The reply's head, and with `hold` what comes before its content; its breaker learns how it went."""
        good: bool | None = None
        found: Preamble | None = None
        leg = boarded.leg
        try:
            reply = await self._send(leg)
            if self._hold and reply.status < 400:
                found = await preamble(reply, leg.trip, self._timeouts(leg.trip).first_byte)
                leg.reply, leg.reading = found.held, found.reading
                if found.reading is not None:
                    leg.trip.gauge = None
            # What a withheld error means for the provider is as if it had been the status.
            status = reply.status if found is None or found.fault is None else failure_in(found, leg.trip).status
            good = status < 500
        except UpstreamFailure as failure:
            good = False if failure.kind in verdicts.WORDS else None
            raise
        finally:
            boarded.leave(good=good)
        return found

    def _trip(self, attempt: Attempt) -> Trip:
        assert self._plan.facts is not None
        return Trip(self._exchange.call, self._plan.facts, attempt, self._means.resolve)

    def _timeouts(self, trip: Trip) -> Timeouts:
        provider = trip.attempt.provider
        timeouts = provider.timeouts if provider is not None else DEFAULT_TIMEOUTS
        connect = trip.call.connect
        return timeouts if connect is None else replace(timeouts, connect=min(connect, timeouts.connect))

    async def _send(self, leg: Leg) -> Answer:
        """Sends it and waits for the reply's head, which is the exchange's from there on."""
        trip = leg.trip
        exchange, attempt, call = self._exchange, trip.attempt, trip.call
        self._means.warn(self._plan, attempt)
        headers = exchange.traced(onward(call), leg)
        headers = (*UPGRADE, *headers) if self._upgrade else headers
        request = Request(call.method, attempt.url, headers, b"" if self._upgrade else exchange.body())
        for stage in STAGES:
            request = await stage.send(request, trip)
        provider = attempt.provider
        leg.sent = True
        if trip.way is not None:
            trip.lap = self._means.paces.begin(trip.way)
        if (watch := exchange.watch) is not None:
            whole = request.body if isinstance(request.body, bytes) and not self._upgrade else None
            watch.sent(exchange.number(leg), request.url, request.headers, whole, trip.secret)
        reply: Answer = await self._means.upstream.send(
            Outgoing(
                request.method,
                request.url,
                request.headers,
                request.body,
                self._timeouts(trip),
                provider.ca if provider is not None else None,
            )
        )
        # From here on the reply is the exchange's: whatever fails, its connection is closed.
        leg.reply = reply = reply if watch is None else watch.seen(exchange.number(leg), reply)
        if trip.lap is not None:
            trip.lap.answered(reply.status)
        if attempt.lane is not None:
            self._means.quotas.learn(attempt.lane, attempt.model, reply.headers)
        if reply.status == 101 and not self._upgrade:
            raise UpstreamFailure(
                "protocol", f"{attempt.url.origin} switched to another protocol unasked", reached=True
            )
        return reply

    def _alone(self, leg: Leg) -> bool:
        """Whether an error of that attempt is all that there is for the client so far."""
        return not self._lost and self._exchange.under_way == [leg]

    async def _judge(self, boarded: Boarded, retry: Retry) -> Boarded | None:
        """What becomes of an error that a provider has answered."""
        leg = boarded.leg
        reply = leg.reply
        assert reply is not None
        if self._alone(leg) and not verdicts.may_be_spent(reply.status, retry.on):
            return boarded
        try:
            held = await hold(reply)
        except UpstreamFailure as error:
            # The status says enough; the text that would have explained it is gone.
            verdict = Verdict.AGAIN if verdicts.listed(reply.status, retry.on) else Verdict.FINAL
            if verdict is Verdict.FINAL and self._alone(leg):
                raise
            self._lose(boarded, Lost(leg, Failure(error.status, told=False), error=error), error.code, retry, verdict)
            return None
        if not held.whole and self._exchange.under_way == [leg]:
            leg.reply = held
            return boarded
        wish = patience.told(held.headers, held.body, self._means.clock.now())
        spent = verdicts.spent(held.body, held.headers)
        verdict = verdicts.of_reply(held.status, held.headers, held.body, retry.on)
        if verdict is Verdict.FINAL and self._alone(leg):
            leg.reply = held
            return boarded
        # One that is too long to be held is hung up on here: what has come of it is all that there will be.
        lost = Lost(leg, Failure(held.status, wish, spent), held=ended(held))
        reason = "quota used up" if spent else phrase(held.status) or "error"
        self._lose(boarded, lost, reason, retry, verdict)
        return None

    def _judge_fault(self, boarded: Boarded, found: Preamble, retry: Retry) -> Boarded | None:
        """What becomes of a reply that began well and said nothing, or an error, before any content."""
        leg = boarded.leg
        if found.fault == "empty":
            origin = leg.trip.attempt.url.origin
            raise UpstreamFailure("disconnected", f"{origin} ended its reply before it had said anything", reached=True)
        failed = failure_in(found, leg.trip)
        said = orjson.dumps({"error": {"message": failed.message, "type": failed.type, "code": failed.code}})
        spent = verdicts.spent(said)
        status = 429 if spent else failed.status
        verdict = verdicts.of_reply(status, (), said, retry.on)
        if verdict is Verdict.FINAL and self._alone(leg):
            return boarded
        wish = failed.retry_after
        if wish is None:
            wish = patience.told(found.held.headers, b"", self._means.clock.now())
        lost = Lost(leg, Failure(status, wish, spent), held=ended(found.held))
        reason = "quota used up" if spent else f"before any content: {failed.type or failed.code or phrase(status)}"
        self._lose(boarded, lost, reason, retry, verdict)
        return None

    def _fail(self, boarded: Boarded, error: UpstreamFailure | SecretError | Refusal, retry: Retry) -> None:
        """An attempt that came to nothing. Raises the error again if the client is to have that."""
        leg = boarded.leg
        match error:
            case SecretError():
                logger.error("no credential for an attempt of the call %s: %s", self._exchange.id, error)
                verdict, status, reason = Verdict.ELSEWHERE, 503, "credential_unavailable"
            case Refusal():
                # A reply that cannot be converted: as if the provider had answered so.
                verdict = Verdict.AGAIN if verdicts.listed(error.status, retry.on) else Verdict.FINAL
                status, reason = error.status, error.code
            case _:
                begun = leg.reply is not None
                verdict = verdicts.of_failure(error.kind, retry.on, begun=begun, withheld=self._hold)
                status, reason = error.status, error.code
        if verdict is Verdict.FINAL and self._alone(leg):
            raise error
        self._lose(boarded, Lost(leg, Failure(status, told=False), error=error), reason, retry, verdict)

    def _lose(self, boarded: Boarded, lost: Lost, reason: str, retry: Retry, verdict: Verdict = Verdict.AGAIN) -> None:
        """Remembers a failure, for the client and for the calls that come after."""
        failure, index = lost.failure, boarded.index
        pause = patience.pause(self._course.failures(index) + 1, failure.wish, retry.low, retry.high, self._means.rng)
        self._lost.append(lost)
        self._exchange.lose(lost.leg, reason)
        self._course.failed(index, verdict, pause, self._now())
        lane = lost.leg.trip.attempt.lane
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

    def _shut(self, trip: Trip, attempt: Attempt, seconds: float) -> None:
        """Not tried: it keeps failing, and is left alone for so long."""
        name = attempt.provider.name if attempt.provider is not None else str(attempt.url.origin)
        wait = max(1, math.ceil(seconds))
        refusal = Refusal(
            503,
            UNAVAILABLE if self._exchange.call.at_gateway else "provider_failing",
            f"{name} keeps failing, so it is left alone for a while. Try again in {wait} s.",
            outcome="error",
            headers=((b"retry-after", str(wait).encode()),),
        )
        leg = self._exchange.embark(trip)
        self._exchange.lose(leg, "circuit open")
        self._lost.append(Lost(leg, Failure(503, told=False), error=refusal))

    async def _best(self) -> Reply:
        """All have failed: the most useful error, as if it were the only one."""
        best = min(self._lost, key=lambda lost: place(lost.failure))
        if best.held is None:
            assert best.error is not None
            self._exchange.recall(best.leg)
            raise best.error
        self._exchange.recall(best.leg, best.held)
        return await replying.begin(self._exchange, best.leg)

    def _now(self) -> float:
        return self._means.clock.monotonic()


async def cancelled(tasks: Iterable[asyncio.Task[Boarded | None]]) -> None:
    """Waits until those tasks have ended that nobody waits for any more."""
    pending = list(tasks)
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending)
    for task in pending:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("an attempt failed that was given up already: %s: %s", type(error).__name__, error)
