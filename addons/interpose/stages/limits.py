"""Which limits hold for a call, and what each of them is asked. Nothing is counted here: the engine asks the store.

Limits by what is known of a call (its client, address, program, endpoint, model) are asked once; those by what only an
attempt has (its provider, route, key) for each attempt. Tokens are reserved by an estimate: the input by its size, the
output by what the client allows, else by what the model has answered with so far. Money is reserved by the same
estimate, at the price of what is sent: of the first attempt for a budget of the call. A call whose price nobody knows
reserves nothing, and is told of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

from interpose.errors import Refusal
from interpose.formats.keys import KEY_HEADERS
from interpose.limits.periods import Period
from interpose.limits.store import Demand
from interpose.prices import micro_dollars, vendor
from interpose.rules.compiled import HEADER_WORD, Limit
from interpose.rules.facts import Facts
from interpose.rules.matching import Match
from interpose.rules.patterns import household
from interpose.rules.values import Budget

from .draft import Attempt, Draft, Stage, View
from .metering import ESTIMATED_ENDPOINTS

# A longer value (a model's name is the client's to choose) is known by its digest, and so is one that no store or log
# can write.
LONGEST = 64
_ANSWERED = frozenset(("chat", "completions"))
# What costs nothing is refused by no budget.
_FREE = frozenset(("models", "count_tokens", "files"))
# Who is counted by one of these is known by its digest: the name of a bucket goes into errors, and to a shared store.
_SECRET = frozenset(
    HEADER_WORD + name.decode()
    for name in (*KEY_HEADERS, b"cookie", b"proxy-authorization", b"x-amz-security-token", b"sec-websocket-protocol")
)
# The name of the budgets that clients' keys have: no limit can be called so.
KEY = "(key)"


class Limits(Stage):
    """The limits of the call itself."""

    name = "limits"

    def decide(self, draft: Draft) -> None:
        facts = draft.facts
        assert facts is not None
        draft.limited = True
        for limit in draft.rules.limits_on(facts):
            if limit.of_attempt:
                draft.attempt_limits.append(limit)
                continue
            if limit.budget is not None:
                draft.budgets.append(limit)
            draft.demands += demands(limit, facts, draft.view, {})
            draft.wait = max(draft.wait, limit.wait or 0.0)
            draft.note(f"limit {limit.name} holds")
        if draft.virtual is not None and draft.virtual.budget is not None:
            draft.budgets.append(of_key(draft.virtual.budget))
            draft.note(f"the key of {draft.virtual.name} has a budget")


def of_key(budget: Budget) -> Limit:
    """What a client's key may cost, as a limit."""
    return Limit(KEY, Match(), None, ("client",), budget=budget)


class AttemptLimits(Stage):
    """The limits of each attempt. They do not wait: another attempt may be free."""

    name = "attempt limits"

    def decide(self, draft: Draft) -> None:
        if draft.rules.limits_models or (draft.virtual is not None and draft.virtual.budget is not None):
            check_readable(draft)
        if draft.attempt_limits:
            draft.attempts = [with_demands(attempt, draft) for attempt in draft.attempts]
        if draft.budgets and draft.attempts:
            assert draft.facts is not None
            for limit in draft.budgets:
                draft.demands += spending(limit, draft.attempts[0], draft, {})


def check_readable(draft: Draft) -> None:
    """Refuses a call that has to name a model and whose body cannot be read, though a provider might read it: limits
    that depend on the model would be walked around. Asked last, for others say better what is wrong with it.
    """
    call, match = draft.call, draft.match
    assert match is not None
    if match.model is not None or match.endpoint not in ESTIMATED_ENDPOINTS or draft.body_read:
        return
    if call.method == "POST" and isinstance(call.body, bytes) and call.body:
        raise Refusal(
            400,
            "unreadable_model",
            "The limits here depend on the model that a call names, and none can be read in this body. Send a JSON "
            "object in UTF-8, as it is or compressed (gzip, deflate, br, zstd).",
            param="model",
        )


def with_demands(attempt: Attempt, draft: Draft) -> Attempt:
    assert draft.facts is not None
    named = {
        "provider": attempt.provider.name if attempt.provider is not None else attempt.url.origin.host,
        "route": draft.route.name if draft.route is not None else None,
        "key": attempt.injection.source.name if attempt.injection is not None else None,
    }
    found: list[Demand] = []
    for limit in draft.attempt_limits:
        found += demands(limit, draft.facts, draft.view, named)
        found += spending(limit, attempt, draft, named)
    return replace(attempt, demands=tuple(found))


def spending(limit: Limit, attempt: Attempt, draft: Draft, named: Mapping[str, str | None]) -> Iterator[Demand]:
    """What that budget is asked for, in micro-dollars."""
    facts, budget = draft.facts, limit.budget
    assert facts is not None
    if budget is None or facts.endpoint in _FREE:
        return
    # Of what is not estimated, nothing is reserved: what it costs is known when it has ended.
    estimated = facts.endpoint in ESTIMATED_ENDPOINTS
    cost = reserved(attempt, facts, draft.view) if estimated else Decimal(0)
    if cost is None:
        draft.unpriced.append(limit.name)
        model = attempt.model or facts.model or "its model"
        draft.note(f"the budget {limit.name} of {budget} cannot hold this call: {model} has no known price")
    else:
        draft.note(f"the budget {limit.name} of {budget} reserves ${cost:.6f}")
    yield Demand(
        f"{limit.name}/budget/{whom(limit, facts, named)}",
        "budget",
        budget.micro,
        micro_dollars(cost) if cost is not None else 0,
        period=Period(budget.period),
    )


def reserved(attempt: Attempt, facts: Facts, view: View) -> Decimal | None:
    """The most dollars that an attempt is likely to cost; None if nobody knows."""
    provider = attempt.provider
    seller = provider.prices if provider is not None else vendor(attempt.url.origin.host)
    tokens = likely(facts, view)
    return view.price(seller, attempt.model if provider is not None else facts.model, tokens.asked, tokens.answered)


_OF_CALL: Mapping[str, Callable[[Facts], str | None]] = {
    "client": lambda facts: facts.client,
    "ip": lambda facts: household(facts.ip),
    "app": lambda facts: facts.app,
    "endpoint": lambda facts: facts.endpoint,
    "model": lambda facts: facts.model,
}


def demands(limit: Limit, facts: Facts, view: View, named: Mapping[str, str | None]) -> Iterator[Demand]:
    """What that limit asks of its buckets for the call. Who is not known shares a bucket with all who are not."""
    whose = whom(limit, facts, named)
    if limit.requests is not None:
        rate = limit.requests
        yield Demand(f"{limit.name}/requests/{whose}", "requests", rate.count, 1, rate.seconds)
    if limit.tokens is not None and uses_tokens(facts):
        rate = limit.tokens
        # Of what is not estimated one is reserved, so that it waits for what was used before; the rest is settled.
        cost = estimate(facts, view) if facts.endpoint in ESTIMATED_ENDPOINTS else 1
        yield Demand(f"{limit.name}/tokens/{whose}", "tokens", rate.count, cost, rate.seconds)
    if limit.concurrent is not None:
        yield Demand(f"{limit.name}/concurrent/{whose}", "concurrent", limit.concurrent)


def uses_tokens(facts: Facts) -> bool:
    """Whether the reply to a call may tell of tokens: sessions, images and sounds do, lists and files do not."""
    return facts.endpoint not in _FREE and (facts.wire != "none" or facts.endpoint == "realtime")


def whom(limit: Limit, facts: Facts, named: Mapping[str, str | None]) -> str:
    """Which bucket of the limit counts the call."""
    counted = [(word, named[word] if word in named else known(facts, word)) for word in limit.per]
    return ",".join(
        f"{word}={_digest(value) if value and word in _SECRET else _short(value)}" for word, value in counted
    )


def known(facts: Facts, word: str) -> str | None:
    """Who that is, of this call."""
    if word.startswith(HEADER_WORD):
        return facts.header(word.removeprefix(HEADER_WORD))
    return _OF_CALL[word](facts)


def estimate(facts: Facts, view: View) -> int:
    """The most tokens that a call is likely to use, before it is known: whole input and whole output."""
    tokens = likely(facts, view)
    return tokens.asked + tokens.answered


def likely(facts: Facts, view: View) -> Tokens:
    """The most of each that a call is likely to use."""
    content = facts.content()
    allowed = content.max_output if content is not None and facts.endpoint in _ANSWERED else None
    tokens = expected(facts, view)
    return tokens if allowed is None else Tokens(tokens.asked, allowed)


class Tokens(NamedTuple):
    """Of a call's input and of its output."""

    asked: int
    answered: int


def expected(facts: Facts, view: View) -> Tokens:
    """What a call of that model uses on the average; its output is never more than the client allows."""
    content = facts.content()
    asked = content.tokens if content is not None else 0
    if facts.endpoint not in _ANSWERED:
        return Tokens(asked, 0)
    usual = view.expected_output(facts.model)
    allowed = content.max_output if content is not None else None
    return Tokens(asked, usual if allowed is None else min(usual, allowed))


def _short(value: str | None) -> str:
    if value is None:
        return "-"
    if len(value) <= LONGEST and value.isprintable():
        return value
    return _digest(value)


def _digest(value: str) -> str:
    return blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
