"""Rules as the rest of the program sees them: frozen, compiled, free of YAML and pydantic.

Everything here was checked when it was loaded; nothing here reads a file, a clock or the environment.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self

from interpose.call import Entrance, Origin
from interpose.formats.capabilities import Change
from interpose.prices import NO_OVERRIDES, Overrides, vendor

from .alerts import Alert
from .facts import Facts
from .index import Index
from .matching import Match
from .patterns import AnyOf
from .problem import Problem
from .secrets import CredentialSource
from .sinks import DEFAULT_LEDGER, SinkCollector, SinkDatabase, SinkFile, SinkRule
from .stores import IN_MEMORY, StateRules
from .telemetry import TelemetryRules
from .values import Budget, Rate

# A client's key with this prefix is virtual: ours alone, never forwarded.
VIRTUAL_PREFIX = "vk-"

Address = tuple[str, int]  # host (canonical, IPv6 without brackets) and port


def content_version(content: Mapping[str, object]) -> str:
    """The version of rules of that content: 16 hex digits of the SHA-256 of its canonical JSON."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect (DNS and TLS included), until the reply's first byte, and between two chunks of its body.

    The defaults are as patient as the official SDKs, which give up after ten minutes: an application that worked
    without us must not be cut off by us.
    """

    connect: float = 10.0
    first_byte: float = 600.0
    idle: float = 600.0


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider in the rules. Its URL is `origin` + `base_path` (no trailing slash; empty for a bare origin).

    `dialect` is the one that its host has, where the rules name none. `api_version` is Azure's. `responses` says
    whether a provider of OpenAI's format has Responses beside Chat Completions. `keyless` says that it needs no key:
    none of a client's goes there. `pool` are further credentials, each as good as `credential`.
    """

    name: str
    format: str
    dialect: str | None
    origin: Origin
    base_path: str
    credential: CredentialSource | None = None
    timeouts: Timeouts = Timeouts()
    ca: Path | None = None
    api_version: str | None = None
    responses: bool = True
    keyless: bool = False
    pool: tuple[CredentialSource, ...] = ()

    @property
    def credentials(self) -> tuple[CredentialSource, ...]:
        """Every credential of it, in the order of the file."""
        return () if self.credential is None else (self.credential, *self.pool)

    @property
    def vendor(self) -> str | None:
        """Who sells there, as genai-prices names them; None for a server that nobody knows to sell."""
        return None if self.keyless else vendor(self.origin.host, self.dialect)

    @property
    def prices(self) -> str | None:
        """Whose price list holds there: also for what may be a gateway in front of the maker of its format."""
        return None if self.keyless else vendor(self.origin.host, self.dialect, self.format)


@dataclass(frozen=True, slots=True)
class Target:
    """Where calls go. `provider` is a name in `Rules.providers`; `model` is what is sent, None for the one asked for.
    `weight` is its share among the targets of a route.
    """

    provider: str
    model: str | None = None
    weight: int = 1

    def __str__(self) -> str:
        return self.provider + (f" as {self.model}" if self.model else "")


@dataclass(frozen=True, slots=True)
class Retry:
    """When and how often a call is sent again. `attempts` counts all its sends: None means 3, and at least one for each
    place where it can go. `on` are statuses, classes of them and words for failures of the connection; pauses begin
    with up to `low` seconds and never exceed `high`.
    """

    attempts: int | None = None
    on: frozenset[int | str] = frozenset((408, 429, "5xx", "connect", "timeout", "reset"))
    low: float = 0.5
    high: float = 20.0


# What makes one target of a route better than another.
Preference = Literal["cheapest", "fastest", "least_busy"]


@dataclass(frozen=True, slots=True)
class Route:
    """One route: a call goes to one of `targets`, chosen by their weights (always the same for a client if `sticky`),
    and if that fails to `fallback`, in order. With `prefer` the targets are all tried, the best of them first. `hold`
    withholds a reply until its content begins; after `hedge` seconds of silence another attempt is started beside the
    first. `bodies` says whether those of its calls are kept; None leaves it to the ledger's rules. With `asks_usage`
    streams tell their usage also where the client has not asked for it.
    """

    name: str
    match: Match
    unless: Match | None
    targets: tuple[Target, ...]
    fallback: tuple[Target, ...] = ()
    retry: Retry | None = None
    sticky: bool = False
    prefer: Preference | None = None
    hold: bool = False
    hedge: float | None = None
    bodies: bool | None = None
    asks_usage: bool = False

    @property
    def everywhere(self) -> tuple[Target, ...]:
        """Every target that a call may get to see."""
        return (*self.targets, *self.fallback)

    def reason(self, facts: Facts) -> str | None:
        """None if the route takes the call, else the field of `match` that does not hold, or `except`."""
        if (reason := self.match.reason(facts)) is not None:
            return reason
        if self.unless is not None and self.unless.first_holding(facts) is not None:
            return "except"
        return None

    def covers(self, other: Route) -> bool:
        """Whether this route, standing first, surely takes every call that `other` would."""
        return (self.unless is None or self.unless == other.unless) and self.match.covers(other.match)


@dataclass(frozen=True, slots=True)
class Model:
    """A name that clients may ask for: `provider` knows it as `model`. The rest is what is said of it in lists."""

    id: str
    provider: str
    model: str
    context_length: int | None = None
    capabilities: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.provider} as {self.model}"


# Whom a bucket of a limit counts, as `per` names it: what is known of the call, and what only of an attempt. A header
# of the call is HEADER_WORD and its lower-case name.
OF_CALL = ("client", "ip", "app", "endpoint", "model")
OF_ATTEMPT = ("provider", "route", "key")
HEADER_WORD = "header:"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit: every one that matches a call must admit it. Without `per`, one bucket counts all.

    `requests` and `tokens` are never more than so many in any so many seconds, `concurrent` calls at a time, `budget`
    so many dollars in a calendar period; `wait` is how many seconds a call may wait for its turn.
    """

    name: str
    match: Match
    unless: Match | None
    per: tuple[str, ...] = ()
    requests: Rate | None = None
    tokens: Rate | None = None
    concurrent: int | None = None
    wait: float | None = None
    budget: Budget | None = None

    @property
    def of_attempt(self) -> bool:
        """Whether it counts by what only an attempt has: a provider, a route, a key."""
        return any(word in OF_ATTEMPT for word in self.per)

    def takes(self, facts: Facts) -> bool:
        if self.match.reason(facts) is not None:
            return False
        return self.unless is None or self.unless.first_holding(facts) is None


def asks_model(rule: Route | Limit) -> bool:
    """Whether one of its conditions is about the model."""
    return rule.match.model is not None or (rule.unless is not None and rule.unless.model is not None)


@dataclass(frozen=True, slots=True)
class HostPattern:
    """A host to claim: a glob over canonical host names, and its port."""

    host: AnyOf
    port: int = 443


@dataclass(frozen=True, slots=True)
class Intercept:
    """What is intercepted. `hosts` None means the known hosts of all formats. The gateway answers at `virtual_host`:
    a canonical name, for which nothing is ever looked up or dialled.
    """

    hosts: tuple[HostPattern, ...] | None = None
    placeholders: frozenset[str] = frozenset()
    unmatched: Literal["passthrough", "reject"] = "passthrough"
    virtual_host: str | None = None

    def listed(self, host: str, port: int) -> bool | None:
        """Whether the rules claim that canonical host and port; None if they leave it to the known hosts."""
        if self.hosts is None:
            return None
        return any(pattern.port == port and pattern.host.accepts(host) for pattern in self.hosts)


def key_digest(key: str) -> str:
    """The SHA-256 by which a virtual key is known, in hex."""
    # A header can hold any bytes; surrogatepass keeps an undecodable one from raising.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A virtual key: the lower-case hex SHA-256 of its value, which is nowhere stored.

    What it is good for is None for everything. `providers` are names in the rules. `budget` is what its calls may cost.
    """

    name: str
    sha256: str
    models: AnyOf | None = None
    expires: datetime.date | None = None
    endpoints: AnyOf | None = None
    providers: AnyOf | None = None
    revoked: bool = False
    budget: Budget | None = None
    _ends: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ends = float("inf")
        if self.expires is not None:
            midnight = datetime.datetime.combine(self.expires, datetime.time(), datetime.UTC)
            ends = midnight.timestamp() + 86_400
        object.__setattr__(self, "_ends", ends)

    @property
    def judges_models(self) -> bool:
        """Whether it depends on the model that a call names: what it may use, or what that costs."""
        return self.models is not None or self.budget is not None

    def expired(self, now: float) -> bool:
        """Whether the key is past its date at `now` (Unix seconds). It is valid through the end of that day, UTC."""
        return now >= self._ends

    def may_use(self, model: str | None) -> bool:
        """Whether the key is good for that model. A model that is not known is refused to a key limited to some."""
        return self.models is None or self.models.accepts(model)

    def may_go_to(self, provider: str | None) -> bool:
        """Whether the key is good for that provider; a host without one is none of those that it is limited to."""
        return self.providers is None or self.providers.accepts(provider)


@dataclass(frozen=True, slots=True)
class Clients:
    """Who may call. Keys are found by digest, so that neither a value nor a timing tells anything about others."""

    # None: the rules do not say; see `asked_at`.
    required: bool | None = None
    keys: tuple[ClientKey, ...] = ()
    _by_digest: Mapping[str, ClientKey] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_digest", {key.sha256: key for key in self.keys})

    def find(self, key: str) -> ClientKey | None:
        """The listed key of that value, expired or not (ask `ClientKey.expired`), else None."""
        return self._by_digest.get(key_digest(key))

    def asked_at(self, entrance: Entrance) -> bool:
        """Whether a call that comes that way needs a key. Where the rules do not say, only the gateway asks for one."""
        return entrance is Entrance.GATEWAY if self.required is None else self.required


@dataclass(frozen=True, slots=True)
class Upstream:
    """How upstreams are reached: an HTTP proxy, other addresses to dial for an origin (TLS still verifies the
    origin's own name), and a CA file for origins that no provider names.
    """

    proxy: Origin | None = None
    connect_to: Mapping[Address, Address] = field(default_factory=lambda: MappingProxyType({}))
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class KeepRules:
    """How many seconds records and captured bodies are kept; None is for ever."""

    records: float | None = None
    bodies: float | None = None


@dataclass(frozen=True, slots=True)
class CheckpointRules:
    """The file that says how far the ledger's chains were, and after how many seconds a line is added."""

    to: Path
    every: float


@dataclass(frozen=True, slots=True)
class LedgerRules:
    """Where records go: none named is the SQLite file in the state folder. Reports and budgets read the first that can
    answer. With `bodies` those of a call are kept, too, where its route says nothing else: `body_limit` bytes of each,
    without what the regular expressions `scrub` match.
    """

    to: tuple[SinkRule, ...] = ()
    bodies: bool = False
    body_limit: int = 2**20
    scrub: tuple[str, ...] = ()
    keep: KeepRules = KeepRules()
    checkpoints: CheckpointRules | None = None

    @property
    def credentials(self) -> tuple[CredentialSource, ...]:
        """The passwords of the databases, and what the headers of collectors hold."""
        passwords = (sink.password for sink in self.to if isinstance(sink, SinkDatabase) and sink.password is not None)
        headers = (header for sink in self.to if isinstance(sink, SinkCollector) for header in sink.headers)
        return (*passwords, *(source for header in headers for source in header.sources))

    def sinks(self, state: Path) -> tuple[SinkRule, ...]:
        """All of them, the default included."""
        return self.to or (SinkFile("sqlite", state / DEFAULT_LEDGER),)


@dataclass(frozen=True, slots=True)
class LossPolicy:
    """Which losses of a conversion are no reason to refuse it: those below are; `warned` are told in the log, too.

    What is impossible is always refused.
    """

    forbidden: frozenset[str] = frozenset(("impossible",))
    warned: frozenset[str] = frozenset(("approximated", "dropped"))

    def forbids(self, severity: str) -> bool:
        return severity == "impossible" or severity in self.forbidden


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Rules:
    """One rules file, compiled. Swapped as a whole on reload; a call keeps the one that it began with.

    `version` depends on the content alone, not on comments, layout or the order of providers. `source` is the file,
    None for the built-in default. Rules of the same content are equal wherever they come from. `capabilities` are what
    `formats.capabilities.capabilities_of` takes as overrides, `prices` what `prices.Catalogue` does.
    """

    version: str
    source: Path | None = field(default=None, compare=False)
    providers: Mapping[str, Provider] = field(default_factory=lambda: MappingProxyType({}))
    routes: tuple[Route, ...] = ()
    limits: tuple[Limit, ...] = ()
    models: tuple[Model, ...] = ()
    intercept: Intercept = Intercept()
    clients: Clients = Clients()
    upstream: Upstream = Upstream()
    ledger: LedgerRules = LedgerRules()
    losses: LossPolicy = LossPolicy()
    state: StateRules = IN_MEMORY
    alerts: tuple[Alert, ...] = ()
    telemetry: TelemetryRules | None = None
    capabilities: Mapping[str, Change] = field(default_factory=lambda: MappingProxyType({}))
    prices: Overrides = NO_OVERRIDES
    warnings: tuple[Problem, ...] = field(default=(), compare=False)
    _by_origin: Mapping[Origin, tuple[Provider, ...]] = field(init=False, repr=False, compare=False)
    _routes: Index = field(init=False, repr=False, compare=False)
    _limits: Index = field(init=False, repr=False, compare=False)
    # whether anything here depends on the model that a call names
    judges_models: bool = field(init=False, repr=False, compare=False)
    # the same of the limits alone
    limits_models: bool = field(init=False, repr=False, compare=False)
    _by_id: Mapping[str, tuple[Model, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_routes", Index([route.match for route in self.routes]))
        object.__setattr__(self, "_limits", Index([limit.match for limit in self.limits]))
        object.__setattr__(self, "limits_models", self._limits_models())
        object.__setattr__(self, "judges_models", self._judges_models())
        by_origin: dict[Origin, tuple[Provider, ...]] = {}
        for provider in self.providers.values():
            by_origin[provider.origin] = (*by_origin.get(provider.origin, ()), provider)
        object.__setattr__(self, "_by_origin", by_origin)
        by_id: dict[str, tuple[Model, ...]] = {}
        for model in self.models:
            by_id[model.id] = (*by_id.get(model.id, ()), model)
        object.__setattr__(self, "_by_id", by_id)

    def _limits_models(self) -> bool:
        return any(asks_model(limit) or "model" in limit.per or limit.budget is not None for limit in self.limits)

    def _judges_models(self) -> bool:
        return (
            self.limits_models
            or bool(self.models)
            or any(key.judges_models for key in self.clients.keys)
            or any(asks_model(route) or any(target.model for target in route.everywhere) for route in self.routes)
        )

    @classmethod
    def default(cls) -> Self:
        """The rules without a file: observe the known hosts, change nothing, keep a ledger."""
        return cls(version=content_version({"version": 1}))

    @property
    def audit_only(self) -> bool:
        """Whether nothing here acts on a call: no providers, no routes, no clients, nothing replaced or rejected."""
        return not (
            self.providers
            or self.routes
            or self.limits
            or self.models
            or self.clients.required
            or self.clients.keys
            or self.intercept.placeholders
            or self.intercept.virtual_host
            or self.intercept.unmatched != "passthrough"
        )

    @property
    def secrets(self) -> tuple[CredentialSource, ...]:
        """Every secret that must be there before these rules are in force."""
        hooks = (source for alert in self.alerts for notify in alert.notify for source in notify.sources)
        told = self.telemetry.sources if self.telemetry is not None else ()
        return (*self.credentials, *self.state.credentials, *self.ledger.credentials, *hooks, *told)

    @property
    def credentials(self) -> tuple[CredentialSource, ...]:
        """Every credential source that the providers refer to."""
        return tuple(source for provider in self.providers.values() for source in provider.credentials)

    def routes_for(self, facts: Facts) -> Iterator[Route]:
        """The routes that may take a call, in order: each is still to be asked."""
        return (self.routes[number] for number in self._routes.candidates(facts))

    def routes_above(self, number: int) -> Iterator[Route]:
        """The routes ahead of that one which may take all its calls, in order."""
        wider = self._routes.wider(self.routes[number].match)
        return (self.routes[other] for other in takewhile(number.__gt__, wider))

    def limits_on(self, facts: Facts) -> Iterator[Limit]:
        """The limits that hold for a call, in order."""
        limits = (self.limits[number] for number in self._limits.candidates(facts))
        return (limit for limit in limits if limit.takes(facts))

    def providers_at(self, origin: Origin) -> tuple[Provider, ...]:
        """The configured providers of that origin, in the order of the file."""
        return self._by_origin.get(origin, ())

    def models_named(self, name: str | None) -> tuple[Model, ...]:
        """What `models` has under that id, in the order of the file."""
        return self._by_id.get(name, ()) if name is not None else ()

    def name_at(self, provider: str, name: str | None) -> str | None:
        """What that provider calls a model: its own name for an id that `models` has of it, else the name itself."""
        return next((model.model for model in self.models_named(name) if model.provider == provider), name)
