"""What comes of sending a recorded call by the ways that rules give it: what a place answered then, it answers again.

A place that was not asked then is taken to answer well, unless what was wrong was the request itself. What was not sent
then has used nothing: its tokens are estimated.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from interpose.attempts.usefulness import Failure, place
from interpose.attempts.verdicts import listed
from interpose.ir import Usage
from interpose.prices import micro_dollars, vendor

from .fates import Ending, Fate
from .past import Answer
from .pricing import Pricing
from .prospects import Passage, Prospect

# What a provider says of the request itself: it would be told so anywhere.
FAULTS = frozenset((400, 413, 415, 422))


class Outcomes:
    """By one set of prices."""

    def __init__(self, pricing: Pricing) -> None:
        self.pricing = pricing

    def course(self, prospect: Prospect) -> Course:
        return Course(prospect, self.pricing)


class Course:
    """One call's way through its passages, each in its turn and then again from the first."""

    def __init__(self, prospect: Prospect, pricing: Pricing) -> None:
        self.sends = 0
        self._prospect = prospect
        self._pricing = pricing
        self._open = list(prospect.passages)
        self._turn = 0
        self._heard: Counter[int] = Counter()
        self._over = False
        self._last: tuple[Passage, Answer | None] | None = None
        self._lost: list[tuple[Passage, Answer]] = []

    def next(self) -> Passage | None:
        """Where it is sent next; None if there is nothing more to try."""
        if self._over or not self._open or self.sends >= self._prospect.sends:
            return None
        self._turn %= len(self._open)
        return self._open[self._turn]

    def drop(self) -> None:
        """The one that was next has no room."""
        del self._open[self._turn]
        self._over = self._prospect.retry is None

    def fails(self) -> bool:
        """Sends it there: whether it comes to nothing, and another attempt may follow."""
        passage = self._open[self._turn]
        answer = self._answer(passage)
        self.sends += 1
        self._turn += 1
        self._last = passage, answer
        if answer is None or not failed(answer):
            self._over = True
            return False
        self._over = not self._again(answer)
        if self._over and not self._lost and len(self._open) == len(self._prospect.passages):
            # It is all that there is for the client.
            return False
        self._lost.append((passage, answer))
        return True

    def best(self, *, full: bool) -> bool:
        """All have failed: the most useful error is the call's, as in the engine. Whether it is none of these, but that
        there was no room for another one (`full`).
        """
        best = min(self._lost, key=lambda lost: place(failure_of(lost[1])), default=None)
        if best is not None:
            self._last = best
        return full and (best is None or place(Failure(429, told=False)) < place(failure_of(best[1])))

    def _answer(self, passage: Passage) -> Answer | None:
        """What that place answered then: one after the other, then the last one again; None if it was not asked."""
        answers, model = self._prospect.past.answers, self._model(passage)
        there = [(number, answer) for number, answer in enumerate(answers) if same(passage, answer, model)]
        if not there:
            return None
        keyed = [pair for pair in there if pair[1].key == passage.key] or there
        number, answer = min(keyed, key=lambda pair: (self._heard[pair[0]], pair[0]))
        self._heard[number] += 1
        return answer

    def _again(self, answer: Answer) -> bool:
        """Whether what failed there is tried again, or elsewhere."""
        retry = self._prospect.retry
        if retry is None:
            return False
        if answer.status is None or (answer.reason or "").startswith("hedged"):
            return True
        return listed(answer.status, retry.on)

    def _model(self, passage: Passage) -> str | None:
        return passage.model if passage.model is not None else self._prospect.model

    def fate(self, waited: float) -> Fate:
        """What has come of the last one that was sent."""
        assert self._last is not None
        passage, answer = self._last
        prospect = self._prospect
        before = prospect.past.fate
        model = self._model(passage)
        outcome, status, code = self._ending(answer)
        usage, guessed = before.usage, False
        if not usage and not before.sent:
            asked, answered = prospect.guess
            usage, guessed = Usage(input_tokens=asked, output_tokens=answered), True
        if outcome == "error" and before.outcome != "error":
            usage = Usage()
        as_it_was = answer is not None and answer.won and model == before.model
        cost = self._cost(passage, model, usage, as_it_was=as_it_was)
        return Fate(
            outcome,
            status,
            code,
            client=prospect.client,
            route=prospect.route,
            provider=passage.name,
            origin=passage.origin,
            model=model,
            key=passage.key,
            sends=self.sends,
            usage=usage,
            cost=cost,
            approximate=cost is not None and (guessed or model != before.model),
            losses=passage.losses,
            waited=waited,
            knows=prospect.knows,
        )

    def _ending(self, answer: Answer | None) -> tuple[Ending, int | None, str | None]:
        before = self._prospect.past.fate
        if answer is not None and answer.won:
            return before.outcome, before.status, before.code
        if answer is not None:
            return "error", answer.status, answer.reason
        if before.outcome == "error" and before.status in FAULTS:
            return "error", before.status, before.code
        return ("aborted" if before.outcome == "aborted" else "ok"), 200, None

    def _cost(self, passage: Passage, model: str | None, usage: Usage, *, as_it_was: bool) -> Decimal | None:
        """As it was recorded, unless the price may be another one now."""
        past, pricing = self._prospect.past, self._pricing
        if as_it_was and past.fate.cost is not None and not self._repriced(model):
            return past.fate.cost
        provider = passage.provider
        seller = provider.prices if provider is not None else vendor(passage.host)
        told = past.reading
        # What the reply names is no model of another provider's.
        models = (model, told.model) if as_it_was else (model,)
        return pricing.cost(seller, models, usage, self._prospect.at, told)

    def _repriced(self, model: str | None) -> bool:
        """Whether the rules' own prices have a hand in it, on either side. Those that come with us may have got newer:
        that is no change of the rules.
        """
        before, now = self._prospect.past.price_version, self._pricing
        if before == now.version:
            return False
        own = model is not None and now.overrides.tariff(model) is not None
        return own or "+" in (before or "")


def same(passage: Passage, answer: Answer, model: str | None) -> bool:
    """Whether that is the place which answered then, and the model."""
    if model != answer.model:
        return False
    if answer.origin is not None:
        return passage.origin == answer.origin
    return passage.name == answer.provider


def failed(answer: Answer) -> bool:
    """Whether the client would have had nothing of it but an error."""
    if answer.status is None:
        return not answer.won
    return answer.status >= 400 or (answer.reason or "").startswith("hedged")


def failure_of(answer: Answer) -> Failure:
    return Failure(answer.status or 502, told=answer.status is not None)


def micro(cost: Decimal | None) -> int | None:
    """Micro-dollars, rounded as budgets are."""
    return None if cost is None else micro_dollars(cost)
