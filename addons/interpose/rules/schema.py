"""The rules file, version 1: every section and field, whether or not this version carries it out.

Types and single values only. What relates two fields is in `relations`, what is not carried out yet in `support`.
`python -m interpose.rules.schema` prints the JSON Schema for editors, which `rules/schema.json` holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

from . import support
from .fieldtypes import (
    Abilities,
    Addresses,
    Age,
    BodyLimit,
    BudgetText,
    ClaimedHosts,
    CollectorUrl,
    ConditionText,
    Count,
    Counted,
    Day,
    Dollars,
    Duration,
    DurationRange,
    Endpoints,
    Glob,
    Globs,
    HeaderGlobs,
    HeaderName,
    HostGlobs,
    HostPort,
    Keyring,
    Line,
    Lines,
    Methods,
    Name,
    OneOrMany,
    OrWord,
    Paths,
    Placeholders,
    ProxyUrl,
    QuotaBelow,
    RateText,
    Retryable,
    Scrubs,
    Sha256,
    Sinks,
    SizeText,
    Store,
    Url,
    Variable,
    VirtualHost,
)

# A provider that asks for no key, as most do that run on this machine.
NO_CREDENTIAL = "none"


class Section(BaseModel):
    """One mapping of the file. Unknown keys are errors, types are never coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())


class CredentialSpec(Section):
    """Where a credential comes from: exactly one of env, file, keyring, exec, aws, google."""

    env: Variable | None = Field(default=None, description="an environment variable's name")
    file: Line | None = Field(default=None, description="a file that holds the credential, relative to the rules file")
    keyring: Keyring | None = Field(default=None, description='"service/user" in the system keyring')
    exec: Annotated[list[Line], Field(min_length=1)] | None = Field(
        default=None, description="a command as a list (no shell) that prints the credential"
    )
    aws: Line | None = Field(
        default=None, description='sign for Bedrock: "default" (environment, role, …) or the name of a profile'
    )
    region: Line | None = Field(default=None, description="aws: the region, where the host does not name it")
    google: Line | None = Field(
        default=None, description='"default" (Application Default Credentials) or a service account\'s file'
    )
    timeout: Duration | None = Field(default=None, description="exec: how long the command may take (10s)")
    ttl: Duration | None = Field(default=None, description="exec: how long its output is good for (5m)")


class TimeoutsSpec(Section):
    connect: Duration | None = Field(default=None, description="to connect, TLS included (10s)")
    first_byte: Duration | None = Field(default=None, description="from the request to the reply's first byte (10m)")
    idle: Duration | None = Field(default=None, description="between two chunks of the reply (10m)")


class TlsSpec(Section):
    ca: Line | None = Field(default=None, description="PEM file of further certificate authorities")


class ProviderSpec(Section):
    format: Literal["openai", "openai-responses", "anthropic", "gemini", "bedrock", "cohere", "mistral", "ollama"]
    dialect: Line | None = Field(
        default=None, description="URL, auth and envelope around the format: azure, vertex, groq, …"
    )
    base_url: Url = Field(
        description="openai formats: up to and including /v1; every other: what stands before the API's own version"
    )
    api_version: Line | None = Field(
        default=None, description="azure: what its URLs say as api-version; below /openai/v1 none is needed"
    )
    responses: bool | None = Field(
        default=None, description="openai: whether it has /responses, too; default: what is known of its dialect"
    )
    credential: Annotated[list[CredentialSpec], OneOrMany(), Field(min_length=1), OrWord(NO_CREDENTIAL)] | None = Field(
        default=None,
        description="where its credential comes from; a list is a pool; none: it needs none, and no client's key "
        "goes there",
    )
    timeouts: TimeoutsSpec = TimeoutsSpec()
    tls: TlsSpec = TlsSpec()


class InterceptSpec(Section):
    hosts: ClaimedHosts | None = Field(
        default=None, description="hosts to decrypt: host or host:port; default: the known AI hosts"
    )
    virtual_host: VirtualHost | None = Field(
        default=None, description="a host name that nobody has, at which the gateway answers, for example ai.internal"
    )
    placeholders: Placeholders = Field(default=[], description="client keys that stand for a provider's credential")
    unmatched: Literal["passthrough", "reject"] = Field(
        default="passthrough", description="a call that no route matches"
    )


class ClientKeySpec(Section):
    name: Name
    sha256: Sha256 = Field(description="SHA-256 of the key, in hex")
    models: Globs | None = Field(default=None, description="models that the key is good for")
    endpoints: Endpoints | None = Field(default=None, description="endpoints that it is good for")
    providers: Annotated[list[Name], OneOrMany(), Field(min_length=1)] | None = Field(
        default=None, description="providers that it is good for"
    )
    budget: BudgetText | None = None
    expires: Day | None = Field(default=None, description="the last day on which the key is valid, UTC")


class ClientsSpec(Section):
    required: bool | None = Field(
        default=None, description="refuse calls without a valid key; default: `serve` does, `run` does not"
    )
    keys: list[ClientKeySpec] = []


class MatchSpec(Section):
    """Conditions on a call. A list means any of; globs, not regular expressions."""

    endpoint: Endpoints | None = None
    host: HostGlobs | None = None
    model: Globs | None = Field(default=None, description="the model that the call asks for")
    client: Globs | None = None
    ip: Addresses | None = Field(default=None, description="the client's address: addresses or CIDR networks")
    app: Globs | None = None
    header: Annotated[dict[HeaderName, HeaderGlobs], Field(min_length=1)] | None = None
    method: Methods | None = None
    path: Paths | None = Field(default=None, description="the URL's path, without its query")
    stream: bool | None = Field(default=None, description="whether the call asks for a stream")
    has: Annotated[list[Literal["tools", "images", "documents", "audio"]], OneOrMany(), Field(min_length=1)] | None = (
        None
    )
    larger_than: SizeText | None = None
    smaller_than: SizeText | None = None
    quota_below: QuotaBelow | None = Field(
        default=None,
        description="the provider has less than that left of its quota, as it has told itself: the provider where the "
        "call goes without a route, or the named one",
    )


class LimitSpec(Section):
    name: Name
    match: MatchSpec = MatchSpec()
    except_: MatchSpec | None = Field(default=None, alias="except")
    per: Annotated[list[Counted], OneOrMany()] = Field(
        default=[], description="whom a bucket counts: a list is one per combination, none one for all"
    )
    trust_headers: bool = Field(
        default=False,
        description="the headers that match, except and per name are set by something that you trust: a client can "
        "make up any header, or leave it out",
    )
    requests: RateText | None = None
    tokens: RateText | None = None
    concurrent: Count | None = None
    wait: Duration | None = None
    budget: BudgetText | None = None


class TargetSpec(Section):
    provider: Name
    model: Line | None = Field(default=None, description="what is sent; default: the model that was asked for")


class WeightedSpec(TargetSpec):
    weight: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="its share among several targets (1); 0: none"
    )


class RetrySpec(Section):
    attempts: Annotated[int, Field(ge=1, le=20)] | None = Field(
        default=None, description="total sends of the call (3, and one for each place where it can go)"
    )
    on: Annotated[list[Retryable], OneOrMany(), Field(min_length=1)] | None = Field(
        default=None, description="what is worth another send (408, 429, 5xx, connect, timeout, reset)"
    )
    backoff: DurationRange | None = Field(
        default=None, description="the first pause and the longest (0.5s..20s); longer ones are not waited for"
    )


class RouteSpec(Section):
    name: Name
    match: MatchSpec = MatchSpec()
    except_: MatchSpec | None = Field(default=None, alias="except")
    to: Annotated[list[WeightedSpec], OneOrMany(), Field(min_length=1)] = Field(
        description="one target, or several of which each call goes to one, by weight"
    )
    fallback: Annotated[list[TargetSpec], OneOrMany()] = Field(
        default=[], description="where a call goes that has failed, in this order"
    )
    retry: RetrySpec | None = None
    hedge: Duration | None = Field(default=None, description="start a second attempt after that silence")
    hold: Literal["content"] | None = Field(
        default=None, description="withhold a reply until its content begins: what fails before is sent elsewhere"
    )
    usage: Literal["request"] | None = Field(
        default=None, description="have streams of OpenAI's format tell their usage, also if the client has not asked"
    )
    capture: Literal["metadata", "bodies"] | None = Field(
        default=None, description="what the ledger keeps of its calls; default: ledger.capture"
    )
    sticky: Literal["client"] | None = Field(
        default=None, description="a client's calls all go to the same one of several targets"
    )
    prefer: Literal["cheapest", "fastest", "least_busy"] | None = Field(
        default=None, description="of several targets the best one comes first, then the others, then the fallbacks"
    )


class ModelSpec(Section):
    id: Line = Field(description="what clients ask for; of several entries of one id the others are fallbacks")
    provider: Name = Field(description="where calls go that ask for it and that no route takes")
    model: Line | None = Field(default=None, description="the provider's name for it; default: the id")
    context_length: Count | None = None
    capabilities: Lines = []


Loss = Literal["allow", "warn", "error"]


class LossesSpec(Section):
    exact: Loss | None = None
    carried: Loss | None = None
    approximated: Loss | None = None
    dropped: Loss | None = None
    synthesised: Loss | None = None
    impossible: Literal["error"] | None = Field(default=None, description="nothing is sent then, ever")


class StateSpec(Section):
    store: Store = Field(default="memory", description="memory, or redis://user:${VARIABLE}@host:6379/0?prefix=NAME")
    on_store_error: Literal["local_share", "deny", "allow"] | None = Field(
        default=None,
        description="while the store does not answer: a share of each limit (the default), 503, or no limits",
    )


class KeepSpec(Section):
    """How long is kept what; without it for ever. Files of JSON lines are not concerned."""

    records: Age | None = Field(default=None, description="records, from their beginning (400d)")
    bodies: Age | None = Field(default=None, description="captured bodies, which may go before their records (30d)")


class CheckpointsSpec(Section):
    to: Line = Field(description="a file, best where the ledger is not; a line is added: how far the chains are")
    every: Duration = Field(default=3600, description="how often; and at the end (1h)")


class LedgerSpec(Section):
    to: Sinks | None = Field(
        default=None,
        description="sqlite:FILE, jsonl:FILE (relative to the rules file), postgresql://user:${VARIABLE}@host/database,"
        " otlp:http://host:4318; reports read the first; default: usage.db in the state folder",
    )
    capture: Literal["metadata", "bodies"] = Field(
        default="metadata", description="what is kept of calls whose route does not say: their records, or bodies, too"
    )
    body_limit: BodyLimit = Field(default=2**20, description="so much of each body is kept (1MiB)")
    scrub: Scrubs | None = Field(
        default=None, description="regular expressions (RE2) of what is *** in what is kept, beside keys and cookies"
    )
    keep: KeepSpec | None = None
    checkpoints: CheckpointsSpec | None = None


class NotifySpec(Section):
    """Who is told of an alert: exactly one of webhook, command."""

    webhook: Line | None = Field(
        default=None, description="a URL that gets JSON; ${NAME} in it is an environment variable's value"
    )
    command: Annotated[list[Line], Field(min_length=1)] | None = Field(
        default=None, description="a program and its arguments, run without a shell; gets JSON on its standard input"
    )


class AlertSpec(Section):
    name: Name
    when: ConditionText
    window: Duration | None = Field(default=None, description="of how long a time it is measured (5m)")
    min_requests: Count | None = Field(default=None, description="of fewer calls nothing is said (1)")
    notify: Annotated[list[Annotated[NotifySpec, OrWord("log")]], OneOrMany(), Field(min_length=1)]


class TelemetrySpec(Section):
    """OpenTelemetry over OTLP/HTTP; what is left out is taken from the OTEL_… variables."""

    otlp: CollectorUrl | None = Field(
        default=None,
        description="the base URL of a collector; default: OTEL_EXPORTER_OTLP_ENDPOINT, or http://localhost:4318",
    )
    headers: dict[HeaderName, Line] = Field(
        default={}, description="for the collector; ${NAME} in a value is an environment variable's value"
    )
    tls: TlsSpec = TlsSpec()
    traces: bool = Field(default=True, description="a span for each call and for each attempt")
    metrics: bool = Field(default=True, description="tokens, durations, calls, dollars")
    events: bool = Field(default=True, description="an event for each call, and for what is refused or lost")
    content: bool = Field(default=False, description="what was asked and answered, in events; never a key")
    service_name: Line | None = Field(default=None, description="default: OTEL_SERVICE_NAME, or interpose")
    resource: dict[Line, Line] = Field(default={}, description="attributes of all that is sent")
    interval: Duration | None = Field(default=None, description="between two sendings of metrics (60s)")


class PriceSpec(Section):
    """US dollars per million tokens."""

    input: Dollars | None = None
    cache_read: Dollars | None = None
    cache_write: Dollars | None = None
    output: Dollars | None = None


class UpstreamSpec(Section):
    proxy: ProxyUrl | None = Field(default=None, description="http://host:port of a proxy for upstream connections")
    connect_to: dict[HostPort, HostPort] = Field(
        default={}, description='"host:port" of an origin: the "host:port" to dial'
    )
    ca: Line | None = Field(default=None, description="PEM file of further certificate authorities")


class RulesSpec(Section):
    """Rules of interpose, version 1."""

    version: Literal[1]
    providers: dict[Name, ProviderSpec] = {}
    intercept: InterceptSpec = InterceptSpec()
    clients: ClientsSpec = ClientsSpec()
    limits: list[LimitSpec] = []
    routes: list[RouteSpec] = Field(default=[], description="the first match wins")
    models: list[ModelSpec] = []
    losses: LossesSpec = LossesSpec()
    state: StateSpec = StateSpec()
    ledger: LedgerSpec = LedgerSpec()
    alerts: list[AlertSpec] = []
    telemetry: TelemetrySpec | None = None
    prices: dict[Line, PriceSpec] = Field(
        default={}, description="by the exact name of the model that is sent, in place of the built-in prices"
    )
    capabilities: dict[Glob, Abilities] = Field(
        default={}, description="by model (name or glob, exact ones first), in place of the built-in data"
    )
    upstream: UpstreamSpec = UpstreamSpec()


def fields(model: type[Section] = RulesSpec, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every field of the schema as a path without list indexes, `*` for a name: ("providers", "*", "tls", "ca")."""
    for name, info in model.model_fields.items():
        path = (*above, info.alias or name)
        yield path
        yield from _inside(info.annotation, path)


def _inside(annotation: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield from fields(annotation, path)
        return
    inner = get_args(annotation)
    if get_origin(annotation) is dict:
        yield (*path, "*")
        yield from _inside(inner[1], (*path, "*"))
    elif get_origin(annotation) is Annotated:
        yield from _inside(inner[0], path)
    else:
        for part in inner:
            yield from _inside(part, path)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a rules file; fields that this version refuses say so."""
    schema = RulesSpec.model_json_schema(by_alias=True)
    refused = {row.path for row in support.UNSUPPORTED if row.always}
    definitions = schema["$defs"]
    for path in sorted(refused):
        here: Any = schema
        for step in path[:-1]:
            here = _resolve(here, definitions)
            here = here["additionalProperties"] if step == "*" else here["properties"][step]
        _mark(_resolve(here, definitions)["properties"][path[-1]])
    tidy: dict[str, Any] = _tidy(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **tidy, "title": "interpose rules"}


def _tidy(schema: Any) -> Any:
    """Without generated titles, and without null: a key that is given has a value."""
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: {name: _tidy(item) for name, item in value.items()} if key in ("properties", "$defs") else _tidy(value)
        for key, value in schema.items()
        if key != "title" and not (key == "default" and value is None)
    }
    if "anyOf" in kept:
        kept["anyOf"] = [item for item in kept["anyOf"] if item != {"type": "null"}]
        if len(kept["anyOf"]) == 1:
            kept.update(kept.pop("anyOf")[0])
    return kept


def _resolve(schema: Any, definitions: dict[str, Any]) -> Any:
    """The mapping's schema behind references, alternatives and lists."""
    while "properties" not in schema and "additionalProperties" not in schema:
        if "$ref" in schema:
            schema = definitions[schema["$ref"].rpartition("/")[2]]
        elif "anyOf" in schema:
            schema = schema["anyOf"][0]
        else:
            schema = schema["items"]
    return schema


def _mark(schema: dict[str, Any]) -> None:
    note = "not supported in this version"
    if note not in schema.get("description", ""):
        schema["description"] = ": ".join(filter(None, (note, schema.get("description"))))


def main() -> None:
    print(json.dumps(json_schema(), indent=2))


if __name__ == "__main__":
    main()
