"""The shapes that deciding works on: what may be looked at, what has been found so far, and the finished plan.

A `Draft` is filled by the stages in their order; a `Plan` is what comes of it, and all that the engine executes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from interpose.attempts.lanes import Lane
from interpose.attempts.pace import Lap, Standing, Way
from interpose.call import Call, Headers, Url
from interpose.errors import Refusal
from interpose.formats.codecs import Codec
from interpose.formats.endpoints import Match
from interpose.formats.hosts import HostRow
from interpose.formats.keys import ClientKey, Placement
from interpose.formats.modellists.neutral import Reply
from interpose.formats.modellists.neutral import Request as Question
from interpose.ir.losses import Loss
from interpose.limits.store import Demand
from interpose.rules.compiled import ClientKey as Virtual
from interpose.rules.compiled import Limit, Provider, Retry, Route, Rules
from interpose.rules.facts import Facts
from interpose.rules.secrets import CredentialSource
from interpose.secret import Secret

from .gauge import Gauge
from .session import SessionGauge
from .translation import Translation

# What an answer is expected to have, in tokens, before anything is known of its model.
EXPECTED_OUTPUT = 500


class KeyKind(StrEnum):
    """What a key that a client sends is to us; design: "Which key goes where"."""

    VIRTUAL = "virtual"
    PLACEHOLDER = "placeholder"
    OWN = "own"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class View:
    """What a decision may look at besides the call and the rules. `now` is Unix time in seconds.

    `issued` finds a virtual key that was issued, or revoked, by its value. `client` is the key that the caller is taken
    to have, whatever it shows: for `explain`, which knows no keys' values. `rng` gives numbers from 0 up to 1, for what
    is chosen by chance. `resting` says for how many seconds a lane had better be left alone, `expected_output` how many
    tokens a model is expected to answer with, where the client sets no limit. `standing` says how fast and busy a
    way is, `quota` which share of its quota a provider has left for a model. `price` gives the
    dollars that so many tokens of input and output cost at a vendor (`Provider.prices`), by its model's name; None if
    nobody knows.
    """

    now: float
    issued: Callable[[str], Virtual | None] = lambda _: None
    client: Virtual | None = None
    rng: Callable[[], float] = lambda: 0.0
    resting: Callable[[Lane], float] = lambda _: 0.0
    expected_output: Callable[[str | None], int] = lambda _: EXPECTED_OUTPUT
    standing: Callable[[Way], Standing] = lambda _: Standing()
    quota: Callable[[Provider, str | None], float | None] = lambda provider, model: None
    price: Callable[[str | None, str | None, int, int], Decimal | None] = lambda *_: None


@dataclass(frozen=True, slots=True)
class Injection:
    """A credential to be put in the place of the client's own keys, by reference: a plan holds no secret."""

    source: CredentialSource
    placement: Placement


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sending of the call. `provider` None means exactly the origin that the client addressed.

    `edits` are the fields of the body that are replaced in place, and `body` is the outcome; None leaves the body as it
    came, `injection` None the client's headers; `stripped` says that the client's keys are taken out of these.
    `demands` are what the limits of its provider, route or key ask.
    With `asks_usage` the rules have a stream tell its usage, which the client did not ask for and does not get.
    `translation` is there where the provider speaks another format than the client: `body` is then what was made of the
    client's.
    """

    url: Url
    provider: Provider | None = None
    model: str | None = None
    edits: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    body: bytes | None = field(default=None, repr=False)
    translation: Translation | None = field(default=None, repr=False)
    injection: Injection | None = None
    stripped: bool = False
    demands: tuple[Demand, ...] = ()
    asks_usage: bool = False

    @property
    def lane(self) -> Lane | None:
        """What is limited and what breaks as one; None where the rules configure nothing."""
        if self.provider is None:
            return None
        return Lane(self.provider.name, self.injection.source if self.injection is not None else None)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A target that cannot take the call, and the code of the refusal that says why."""

    provider: str
    model: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done with a call. With a `refusal` there are no attempts. `alias` is the id of `models` that has
    decided where it goes, where no route has.

    `attempts` are the ways in which it can be sent, in order: the next one is taken where one fails, as far as `retry`
    goes; without that the call is sent once. `left_out` are targets that cannot take this call. `losses` are what the
    first attempt's conversion cannot keep of the request, those that led to a refusal included. `demands` are what
    the limits of the call ask, for which it waits up to `wait` seconds; of a call that is refused they are not asked,
    but its client is told where they stand. `unpriced` names the
    budgets that hold for the call and cannot be held: what it costs is not known. `hold` and `hedge` are the route's.
    `bodies` says that they are kept in the ledger; `private`, that its route wants them kept nowhere. `keys` are those
    that the client showed, so that what is told of the call is told without them; None of a call that was refused
    before anybody looked.
    With a `listing` there are no attempts: the gateway answers the call itself, by what providers tell of their models.
    """

    facts: Facts | None
    route: str | None = None
    client: str | None = None
    attempts: tuple[Attempt, ...] = ()
    refusal: Refusal | None = None
    losses: tuple[Loss, ...] = ()
    retry: Retry | None = None
    left_out: tuple[LeftOut, ...] = ()
    demands: tuple[Demand, ...] = ()
    wait: float = 0.0
    unpriced: tuple[str, ...] = ()
    alias: str | None = None
    hold: bool = False
    hedge: float | None = None
    listing: Listing | None = None
    bodies: bool = False
    private: bool = False
    keys: tuple[str, ...] | None = field(default=None, repr=False)

    @property
    def sends(self) -> int:
        """How often the call is sent at most."""
        if self.retry is None:
            return min(1, len(self.attempts))
        return self.retry.attempts or max(3, len(self.attempts))

    @property
    def acts(self) -> bool:
        """Whether the rules have a hand in this call; if not, its reply gets no header of ours either."""
        return bool(self.attempts) and (
            self.route is not None
            or self.alias is not None
            or self.attempts[0].injection is not None
            or self.attempts[0].stripped
        )


@dataclass(frozen=True, slots=True)
class Ask:
    """A provider that is asked for its models, or for one of that name: with each of its keys, until one is taken."""

    provider: Provider
    model: str
    codec: Codec[Question, Reply]
    headers: Headers
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """What the call asks for in which format, and of whom. `asks` are made together; `then` is asked where they do not
    answer the question for a single model.
    """

    draft: Draft = field(repr=False)
    lead: Callable[[Draft], None] = field(repr=False)
    format: str
    codec: Codec[Question, Reply] = field(repr=False)
    request: Question
    asks: tuple[Ask, ...] = ()
    then: Ask | None = None

    @property
    def model(self) -> str:
        """The one that is asked for; "" for all."""
        return self.request.model


@dataclass(frozen=True, slots=True)
class Aim:
    """Where a call is to go, before it is known whether it can. `provider` None is the origin that the client
    addressed; `model` is what the route wants sent, None for the one asked for.
    """

    provider: Provider | None
    model: str | None = None


@dataclass(slots=True)
class Draft:
    """A plan in the making. Each stage reads what those before it have found and adds its own; none does I/O."""

    call: Call
    rules: Rules
    view: View
    # Reasons in the order in which they arose, for people; None when nobody asks.
    trace: list[str] | None = None
    # claim
    host: HostRow | None = None
    match: Match | None = None
    # whether what the body asks for could be read
    body_read: bool = False
    # the body's members, where it is JSON and has been parsed already
    document: Mapping[str, object] | None = None
    facts: Facts | None = None
    # clients
    key: ClientKey | None = None
    # the values of all that it sent
    keys: tuple[str, ...] | None = None
    key_kind: KeyKind = KeyKind.NONE
    client: str | None = None
    # the client's virtual key, if it is one
    virtual: Virtual | None = None
    # routing
    route: Route | None = None
    alias: str | None = None
    aims: list[Aim] = field(default_factory=list)
    listing: Listing | None = None
    # conversion and credentials
    attempts: list[Attempt] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    # why the first target that was left out was
    first_refusal: Refusal | None = None
    # limits, and whether it has been found out which of them hold
    limited: bool = False
    demands: list[Demand] = field(default_factory=list)
    wait: float = 0.0
    # those that hold for the call and say what it may cost
    budgets: list[Limit] = field(default_factory=list)
    # those of them that cannot be held, for nobody knows what the call costs
    unpriced: list[str] = field(default_factory=list)
    # those that hold for the call and count by what only an attempt has
    attempt_limits: list[Limit] = field(default_factory=list)

    def note(self, reason: str) -> None:
        if self.trace is not None:
            self.trace.append(reason)

    def leave_out(self, provider: Provider | None, model: str | None, refusal: Refusal) -> None:
        """One target less; the reason is the call's refusal if no other can take it."""
        if self.first_refusal is None:
            self.first_refusal = refusal
        if provider is not None:
            self.left_out.append(LeftOut(provider.name, model, refusal.code))
            if len(self.aims) > 1:
                self.note(f"left out: {refusal.message}")

    def any_left(self) -> None:
        """Raises the first reason for leaving out a target if there is no other."""
        if not self.attempts and self.first_refusal is not None:
            raise self.first_refusal


@dataclass(frozen=True, slots=True)
class Request:
    """What an attempt puts on the wire, as the stages shape it."""

    method: str
    url: Url
    headers: Headers
    body: bytes | AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Head:
    """What comes back, before its body."""

    status: int
    reason: str
    headers: Headers


Resolve = Callable[[CredentialSource], Awaitable[Secret]]


@dataclass(slots=True)
class Trip:
    """One attempt under way: the plan being executed, and what stages leave there for the way back."""

    call: Call
    facts: Facts
    attempt: Attempt
    resolve: Resolve
    # credentials: what was sent, so that an echo of it can be taken out
    secret: Secret | None = None
    # metering: what watches the reply's body
    gauge: Gauge | SessionGauge | None = None
    # what takes its time, once it is sent
    lap: Lap | None = None

    @property
    def way(self) -> Way | None:
        """Which way it goes, as far as the rules know it."""
        if self.attempt.provider is None:
            return None
        return Way(self.attempt.provider.name, self.attempt.model, self.facts.endpoint, self.facts.stream is True)

    @property
    def says_something(self) -> bool:
        """Whether of its reply there is more than what a stream begins with before the model has said a word."""
        return not isinstance(self.gauge, Gauge) or not self.gauge.streaming or self.gauge.begun


class Stage:
    """One feature. Deciding is pure; sending and receiving carry out what was decided, and by default do nothing."""

    name = ""

    def decide(self, draft: Draft) -> None:
        """Adds to the draft, or raises a Refusal. Reads no clock and touches no network."""

    async def send(self, request: Request, trip: Trip) -> Request:
        """The request as it goes on to the next stage. May raise a Refusal."""
        return request

    def receive(self, head: Head, trip: Trip) -> Head:
        """The reply's head as it goes on to the stage before this one."""
        return head
