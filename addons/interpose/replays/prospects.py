"""What a set of rules would do with a recorded call, before its limits are asked: the plan, and what came of each way.

Chance falls as it fell then: where the rules pick one of several targets or keys, the recorded one is picked if it is
among them, else one that depends on the call alone. What the rules ask and a recording cannot tell (the size of a body
that was not kept, a header) leaves the call undecided, and says so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from cachetools import LRUCache

from interpose.attempts.pace import Standing, Way
from interpose.call import INSIDE, Call, Entrance, Headers, Peer, header, without
from interpose.errors import Refusal
from interpose.formats.endpoints import Match
from interpose.formats.examples import example
from interpose.formats.hosts import HostRow
from interpose.ir.losses import Loss
from interpose.limits.store import Demand
from interpose.masking.whole import Known as Secrets
from interpose.masking.whole import reveals
from interpose.prices.catalogue import QUARTER
from interpose.recordings import Recorded
from interpose.rules.compiled import ClientKey, Provider, Retry, Route, Rules
from interpose.rules.facts import Facts
from interpose.rules.matching import Match as Conditions
from interpose.stages import plan
from interpose.stages.claim import Territory, asked_of, matched
from interpose.stages.content import GATEWAY_LIMIT, PEEK_LIMIT
from interpose.stages.draft import EXPECTED_OUTPUT, Attempt, Plan, View

from .fates import Fate, Known
from .past import OURS, Past, generic
from .pricing import Pricing

MASKED = "***"
# So many records that tell the same are known by what they tell.
REMEMBERED = 65_536
_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]{1,200})"')
# How much the last answer counts in what the next one is expected to have, as in the engine.
_WEIGHT = 0.2
# What a rule may ask that stands in a body, and what in a header.
_OF_BODY = frozenset(("has", "larger_than", "smaller_than"))
_OF_HEADERS = frozenset(("header",))
NOBODY = ClientKey("", "")


@dataclass(frozen=True, slots=True)
class Passage:
    """One way that the call may be sent, as far as that matters here. `losses` are those of its conversion."""

    provider: Provider | None
    origin: str
    host: str
    model: str | None
    key: str
    demands: tuple[Demand, ...]
    losses: frozenset[tuple[str, str]] = frozenset()

    @property
    def name(self) -> str | None:
        return self.provider.name if self.provider is not None else None


@dataclass(frozen=True, slots=True)
class Prospect:
    """`fate` is there where nothing is left to be asked: refused, unclaimed, undecided, or answered by us. Else the
    call asks for `demands`, waits up to `wait` for them, and goes by `passages`, `sends` times at most. It holds no
    body: many wait for their turn. `model` is the one that is asked for, `guess` its likely tokens of input and output.
    """

    at: float
    past: Past
    format: str
    fate: Fate | None = None
    model: str | None = None
    client: str | None = None
    route: str | None = None
    passages: tuple[Passage, ...] = ()
    sends: int = 0
    retry: Retry | None = None
    demands: tuple[Demand, ...] = ()
    wait: float = 0.0
    losses: frozenset[tuple[str, str]] = frozenset()
    guess: tuple[int, int] = (0, 0)
    unpriced: tuple[str, ...] = ()
    knows: frozenset[Known] = frozenset(("client", "route", "key", "losses"))


class Prospects:
    """Decides recorded calls by one set of rules.

    `issued` finds a virtual key that was issued, by its value, `named` by its client's name.
    """

    def __init__(
        self,
        rules: Rules,
        pricing: Pricing,
        *,
        issued: Callable[[str], ClientKey | None] = lambda _: None,
        named: Callable[[str], ClientKey | None] = lambda _: None,
    ) -> None:
        self.rules = rules
        self.pricing = pricing
        self._territory = Territory(rules)
        self._issued = issued
        self._named = named
        self._listed = {key.name: key for key in rules.clients.keys}
        self._outputs: dict[str | None, float] = {}
        self._by_quota = frozenset(route.name for route in rules.routes if route.match.quota_below is not None)
        self._routes = {route.name: route for route in rules.routes}
        # Where nothing is left to chance, records that tell the same have the same prospects.
        self._chancy = any(len(route.targets) > 1 and route.prefer is None for route in rules.routes) or any(
            len(provider.credentials) > 1 for provider in rules.providers.values()
        )
        self._alike: LRUCache[tuple[object, ...], Prospect] = LRUCache(REMEMBERED)

    def asked(self, call: Recorded) -> tuple[Match, str | None] | None:
        """What its path is, and the model that it asks for; None if its host is not claimed, and passes undecrypted."""
        made = self._bare(call)
        row = self._territory.row_of(made)
        if row is None:
            return None
        match = matched(made, row)
        if call.asked.body is not None and call.asked.whole:
            made.body = call.asked.body
        return match, match.model if match.model is not None else asked_of(made, match).model

    def prospect(self, call: Recorded, past: Past) -> Prospect:
        """What becomes of it, as far as that depends on no other call."""
        key = self._told(call, past)
        if key is None:
            return self._found(call, past)
        known = self._alike.get(key)
        if known is not None:
            demands = tuple(as_used(known.demands, past))
            return replace(known, at=call.started_at, past=past, demands=demands)
        found = self._found(call, past)
        if found.fate is None or not found.fate.sent:
            self._alike[key] = found
        return found

    def _told(self, call: Recorded, past: Past) -> tuple[object, ...] | None:
        """All that a call's prospect depends on, if that is no more than what its record tells."""
        record, asked = call.record, call.asked
        if record is None or asked.body is not None or asked.headers or self._chancy:
            return None
        tried = tuple((each.provider, each.model, each.key) for each in past.tried)
        # Prices, and the dates of keys, change with time.
        then = int(call.started_at // QUARTER)
        who = (call.entrance, call.client, call.ip, call.app)
        return (asked.method, asked.url, *who, record.asked_model, record.stream, past.fate.route, tried, then)

    def _found(self, call: Recorded, past: Past) -> Prospect:
        made = self._bare(call)
        row = self._territory.row_of(made)
        if row is None:
            return Prospect(call.started_at, past, "openai", Fate("unclaimed"))
        match = matched(made, row)
        lacking = self._embody(made, call, match, past)
        client = self._client(call)
        number = _number(call.id)
        chosen = self._plan(made, row, call, past, client, number)
        if (better := self._recorded_chance(chosen, past)) is not None:
            chosen = self._plan(made, row, call, past, client, better)
        return _shown(self._judged(call, past, chosen, match, lacking), made, chosen.keys or ())

    def learn(self, model: str | None, output: int) -> None:
        """What a model has answered with, as the engine remembers it."""
        before = self._outputs.get(model, output)
        self._outputs[model] = before + _WEIGHT * (output - before)

    # The call

    def _bare(self, call: Recorded) -> Call:
        """The call without its body."""
        entrance = call.entrance
        url = call.asked.url
        if entrance is Entrance.INTERCEPT:
            host = url.origin.host
            claimed = self._territory.row(host, url.origin.port) is not None
            answered = call.answered
            by_us = answered is not None and header(answered.headers, OURS) is not None
            if host == self.rules.intercept.virtual_host or (not claimed and by_us):
                # A gateway's clients know it by any name.
                entrance = Entrance.GATEWAY
        host_header = str(url.origin).partition("://")[2].encode()
        headers: Headers = ((b"host", host_header), *without(call.asked.headers, frozenset((b"host",))))
        return Call(
            call.asked.method,
            url,
            headers,
            b"",
            Peer(call.ip or "", 0, call.app),
            entrance,
            names_gateway=entrance is Entrance.EMBEDDED and url.origin.host == INSIDE.host,
        )

    def _embody(self, made: Call, call: Recorded, match: Match, past: Past) -> frozenset[str]:
        """Gives the call its body, or what stands for it; says which conditions of rules cannot be judged by that."""
        asked = call.asked
        lacking: frozenset[str] = frozenset()
        if call.record is not None and not asked.headers:
            lacking = _OF_HEADERS
            if call.client is None:
                # A record without a client's name is of a call with its own key, if it had one.
                made.headers = (*made.headers, (b"authorization", f"Bearer {MASKED}".encode()))
        if asked.body is not None and asked.whole:
            made.body = asked.body
            return lacking
        if made.method in ("GET", "HEAD", "DELETE"):
            return lacking
        limit = GATEWAY_LIMIT if made.at_gateway else PEEK_LIMIT
        if asked.size is not None and asked.size > limit:
            made.body = _Unread()
            return lacking
        model, stream = past.fate.model, match.stream
        if call.record is not None:
            model, stream = call.record.asked_model, call.record.stream
        elif asked.body and (found := _MODEL.search(asked.body)) is not None:
            model = found[1].decode("utf-8", "replace")
        made.body = example(match, model, stream=bool(stream))
        kept = without(made.headers, frozenset((b"content-type", b"content-encoding", b"content-length")))
        made.headers = (*kept, (b"content-type", b"application/json"))
        return lacking | _OF_BODY

    def _client(self, call: Recorded) -> ClientKey | None:
        """Whose key the call had, where the recording masks it."""
        if not call.masked or call.client is None:
            return None
        return self._listed.get(call.client) or self._named(call.client) or NOBODY

    # The plan

    def _plan(
        self, made: Call, row: HostRow, call: Recorded, past: Past, client: ClientKey | None, number: float
    ) -> Plan:
        if client is NOBODY:
            refusal = Refusal(401, "invalid_api_key", f"{call.client} is no client of these rules.")
            return Plan(None, client=call.client, refusal=refusal)
        turns = [(each.provider, each.model) for each in past.tried]

        def standing(way: Way) -> Standing:
            # Those that were the best then are so again.
            there = (way.provider, way.model)
            turn = turns.index(there) if there in turns else len(turns)
            return Standing(expected=float(turn), busy=turn)

        def quota(provider: Provider, model: str | None) -> float | None:
            return 0.0 if past.fate.route in self._by_quota else None

        view = View(
            call.started_at,
            self._issued,
            client,
            rng=lambda: number,
            expected_output=lambda model: round(self._outputs.get(model, EXPECTED_OUTPUT)),
            standing=standing,
            quota=quota,
            price=lambda vendor, model, asked, answered: self.pricing.estimate(
                vendor, model, call.started_at, asked, answered
            ),
        )
        return plan(made, row, self.rules, view)

    def _recorded_chance(self, chosen: Plan, past: Past) -> float | None:
        """The number by which the route picks the recorded target, if it has picked another one by chance."""
        first, route = past.first, self._routes.get(chosen.route or "")
        if first is None or first.provider is None or route is None or not chosen.attempts:
            return None
        if len(route.targets) < 2 or route.sticky or route.prefer is not None:
            return None
        head = chosen.attempts[0]
        if head.provider is not None and (head.provider.name, head.model) == (first.provider, first.model):
            return None
        return _number_of(route, first.provider, first.model, chosen.facts, self.rules)

    def _judged(self, call: Recorded, past: Past, chosen: Plan, match: Match, lacking: frozenset[str]) -> Prospect:
        facts = chosen.facts
        without_body = bool(lacking & _OF_BODY)
        knows: frozenset[Known] = frozenset(("client", "route", "key"))
        if not without_body or not any(attempt.translation is not None for attempt in chosen.attempts):
            knows |= {"losses"}
        losses = _losses(() if without_body else chosen.losses)
        base = Prospect(
            call.started_at,
            past,
            match.format,
            model=facts.model if facts is not None else None,
            client=chosen.client,
            route=chosen.route,
            knows=knows,
        )
        if lacking and facts is not None and (why := undecidable(self.rules, facts, chosen.route, lacking)) is not None:
            return replace(base, fate=Fate("undecided", code=why, client=chosen.client))
        if chosen.refusal is not None:
            refusal = chosen.refusal
            return replace(base, fate=_refused(refusal, chosen, losses, knows))
        if chosen.listing is not None:
            fate = replace(past.fate, outcome="ok", status=200, client=chosen.client, route=None, provider=None)
            return replace(base, fate=replace(fate, origin=None, key="", cost=None, losses=losses, knows=knows))
        demands = chosen.demands if not without_body else tuple(as_used(chosen.demands, past))
        content = facts.content() if facts is not None and not without_body else None
        return replace(
            base,
            passages=tuple(
                _passage(attempt, with_losses=not without_body) for attempt in _recorded_keys_first(chosen, past)
            ),
            sends=chosen.sends,
            retry=chosen.retry,
            demands=demands,
            wait=chosen.wait,
            losses=losses,
            guess=(content.tokens if content is not None else 0, self._expected(facts)),
            unpriced=chosen.unpriced,
        )

    def _expected(self, facts: Facts | None) -> int:
        model = facts.model if facts is not None else None
        return round(self._outputs.get(model, EXPECTED_OUTPUT)) if facts and facts.endpoint == "chat" else 0


def _shown(found: Prospect, made: Call, keys: tuple[str, ...]) -> Prospect:
    """Without a key that the client has put where a model's name belongs: its record is without it, too."""
    names = (found.model, *(passage.model for passage in found.passages))
    if not any(name and reveals(name, keys) for name in names):
        return found
    secrets = Secrets(made)

    def shown(name: str | None) -> str | None:
        return name and secrets.text(name)

    passages = tuple(replace(passage, model=shown(passage.model)) for passage in found.passages)
    return replace(found, model=shown(found.model), passages=passages)


def _refused(refusal: Refusal, chosen: Plan, losses: frozenset[tuple[str, str]], knows: frozenset[Known]) -> Fate:
    limited = refusal.outcome == "limited"
    return Fate(
        "limited" if limited else "refused",
        refusal.status,
        refusal.code,
        client=chosen.client,
        route=chosen.route,
        losses=losses,
        knows=knows,
    )


def _losses(losses: Iterable[Loss]) -> frozenset[tuple[str, str]]:
    return frozenset((str(loss.severity), generic(loss.path)) for loss in losses)


def _passage(attempt: Attempt, *, with_losses: bool) -> Passage:
    converted = attempt.translation if with_losses else None
    return Passage(
        attempt.provider,
        str(attempt.url.origin),
        attempt.url.origin.host,
        attempt.model,
        _key(attempt),
        attempt.demands,
        _losses(converted.losses if converted is not None else ()),
    )


def _recorded_keys_first(chosen: Plan, past: Past) -> list[Attempt]:
    """The attempts, the keys of each pool in the order in which they were taken then, and the others after them."""
    turns: dict[tuple[str | None, str | None, str], int] = {}
    for turn, each in enumerate(past.tried):
        turns.setdefault((each.provider, each.model, each.key), turn)
    attempts = list(chosen.attempts)
    if len(attempts) < 2 or not turns:
        return attempts
    for pool in {_way(attempt) for attempt in attempts}:
        places = [place for place, each in enumerate(attempts) if _way(each) == pool]
        ordered = sorted(
            places, key=lambda place: turns.get((*_way(attempts[place]), _key(attempts[place])), len(turns))
        )
        for place, taken in zip(places, [attempts[place] for place in ordered], strict=True):
            attempts[place] = taken
    return attempts


def _way(attempt: Attempt) -> tuple[str | None, str | None]:
    return attempt.provider.name if attempt.provider is not None else None, attempt.model


def _key(attempt: Attempt) -> str:
    return attempt.injection.source.name if attempt.injection is not None else ""


def _number(id_: str) -> float:
    """From 0 up to 1, the same for a call whenever it is asked."""
    return int.from_bytes(hashlib.sha256(id_.encode("utf-8", "surrogatepass")).digest()[:6]) / 2**48


def _number_of(route: Route, provider: str, model: str | None, facts: Facts | None, rules: Rules) -> float | None:
    """The middle of the numbers by which the route picks that target; None if it has no such."""
    total = sum(target.weight for target in route.targets)
    below = 0
    for target in route.targets:
        asked = target.model or (facts.model if facts is not None else None)
        if target.weight and target.provider == provider and model in (asked, rules.name_at(provider, asked)):
            return (below + target.weight / 2) / total
        below += target.weight
    return None


class _Unread:
    """The body of a call that streams through: nobody reads it here, either."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


def undecidable(rules: Rules, facts: Facts, chosen: str | None, lacking: frozenset[str]) -> str | None:
    """Which condition would have to be known to tell where the call goes; None if it needs none that is `lacking`."""
    for route in rules.routes:
        asked = [*_asked(route.match, lacking), *(_asked(route.unless, lacking) if route.unless is not None else ())]
        taken = route.name == chosen
        if asked and (taken or route.reason(facts) in (*lacking, "except")):
            return f"route {route.name} asks for {asked[0]}"
        if taken:
            return None
    return None


def _asked(conditions: Conditions, lacking: frozenset[str]) -> Iterator[str]:
    """Which of the lacking conditions are set."""
    return (name for name in sorted(lacking) if getattr(conditions, name) not in (None, ()))


def as_used(demands: Iterable[Demand], past: Past) -> Iterator[Demand]:
    """Without a body there is nothing to estimate tokens by: what was used is asked for."""
    usage = past.fate.usage
    used = (usage.input_tokens or 0) + (usage.output_tokens or 0)
    for demand in demands:
        yield replace(demand, cost=used) if demand.kind == "tokens" and usage else demand
