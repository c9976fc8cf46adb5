"""`plan`: who calls, where it goes, which key it gets — decided without a network, a clock or a proxy."""

import datetime
import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType

import pytest

from interpose.call import Call, Entrance, Login, Origin, Peer, Url, header
from interpose.errors import Refusal
from interpose.rules.compiled import (
    ClientKey,
    Clients,
    HostPattern,
    Intercept,
    Limit,
    LossPolicy,
    Match,
    Provider,
    Route,
    Rules,
    Target,
    key_digest,
)
from interpose.rules.facts import Facts
from interpose.rules.patterns import AnyOf
from interpose.rules.secrets import CredentialSource
from interpose.rules.values import Budget, Rate
from interpose.secret import Secret
from interpose.stages import STAGES, plan
from interpose.stages.claim import Territory
from interpose.stages.credentials import TABLE, Fate
from interpose.stages.draft import Attempt, KeyKind, Plan, Request, Trip, View
from interpose.stages.proxied import proxied

OPENAI = Origin("https", "api.openai.com", 443)
ELSEWHERE = Origin("https", "llm.example.test", 443)
NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC).timestamp()
SECRET = "sk-real-canary-0123456789"  # a fake
VIRTUAL = "vk-team-fake"
BODY = b'{"model": "gpt-4o",  "messages": [], "stream": true}'


def source(name: str = "OPENAI_API_KEY") -> CredentialSource:
    return CredentialSource("env", (name,))


def provider(name: str, origin: Origin, *, credential: bool = True) -> Provider:
    return Provider(name, "openai", None, origin, "/v1", source() if credential else None)


def rules(*providers: Provider, routes: tuple[Route, ...] = (), **others: object) -> Rules:
    key = ClientKey("team", hashlib.sha256(VIRTUAL.encode()).hexdigest())
    settings: dict[str, object] = {
        "clients": Clients(keys=(key,)),
        "intercept": Intercept(placeholders=frozenset({"sk-dummy"})),
    }
    return Rules(
        "test", providers=MappingProxyType({each.name: each for each in providers}), routes=routes, **settings | others
    )


def call(*headers: tuple[str, str], target: str = "/v1/chat/completions", body: bytes = BODY, **others: object) -> Call:
    pairs = (("Host", "api.openai.com"), ("Content-Type", "application/json"), *headers)
    if any(name == "Host" for name, _ in headers):
        pairs = pairs[1:]
    made = Call(
        "POST",
        Url(OPENAI, target),
        tuple((name.encode(), value.encode()) for name, value in pairs),
        body,
        Peer("127.0.0.1"),
        sni="api.openai.com",
    )
    for name, value in others.items():
        setattr(made, name, value)
    return made


def planned(a_call: Call, by: Rules, trace: list[str] | None = None) -> Plan:
    origin = a_call.url.origin
    return plan(a_call, Territory(by).row(origin.host, origin.port), by, View(NOW), trace)


def bearer(key: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {key}")


async def sent(made: Call, attempt: Attempt) -> Request:
    """What the stages put on the wire."""

    async def resolve(asked: CredentialSource) -> Secret:
        return Secret(SECRET, asked.name)

    facts = planned(made, Rules.default()).facts
    assert facts is not None
    trip = Trip(made, facts, attempt, resolve)
    request = Request(made.method, attempt.url, made.headers, made.body)
    for stage in STAGES:
        request = await stage.send(request, trip)
    return request


EVERYTHING = Match()
KEYS = {KeyKind.VIRTUAL: VIRTUAL, KeyKind.PLACEHOLDER: "sk-dummy", KeyKind.OWN: "sk-own-fake", KeyKind.NONE: None}


@pytest.mark.parametrize(("kind", "credential", "addressed"), list(TABLE))
async def test_which_key_goes_where(kind: KeyKind, credential: bool, addressed: bool) -> None:
    """Each row of the design's table, in what is really put on the wire."""
    target = provider("target", OPENAI if addressed else ELSEWHERE, credential=credential)
    route = Route("all", EVERYTHING, None, (Target("target"),))
    key = KEYS[kind]
    made = call(*(() if key is None else (bearer(key),)))
    chosen = planned(made, rules(target, routes=(route,)))
    fate = TABLE[kind, credential, addressed]
    if fate is Fate.REFUSE:
        assert chosen.refusal is not None
        assert chosen.refusal.status == 500
        assert "target" in chosen.refusal.message
        assert chosen.attempts == ()
        return
    assert chosen.refusal is None
    (attempt,) = chosen.attempts
    request = await sent(made, attempt)
    if fate is Fate.INJECT:
        assert header(request.headers, b"authorization") == f"Bearer {SECRET}".encode()
        assert request.url.origin == target.origin
    else:
        assert request.headers == made.headers
    if key is not None and fate is Fate.INJECT:
        assert key.encode() not in b"".join(value for _, value in request.headers)


@pytest.mark.parametrize("kind", list(KeyKind))
@pytest.mark.parametrize("addressed", [True, False])
async def test_a_provider_that_needs_no_key_gets_none(kind: KeyKind, addressed: bool) -> None:
    """`credential: none`: whatever the client holds stays here, and the call goes."""
    target = replace(provider("target", OPENAI if addressed else ELSEWHERE, credential=False), keyless=True)
    key = KEYS[kind]
    made = call(
        *(() if key is None else (bearer(key), ("X-Api-Key", key))), target="/v1/chat/completions?key=" + (key or "")
    )
    chosen = planned(made, rules(target, routes=(Route("all", EVERYTHING, None, (Target("target"),)),)))
    assert chosen.refusal is None
    request = await sent(made, chosen.attempts[0])
    assert request.url.target == "/v1/chat/completions"
    assert header(request.headers, b"authorization") is None
    assert header(request.headers, b"x-api-key") is None
    assert request.body == BODY
    assert chosen.acts


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"messages": []', 400, "invalid_json"),
        (b'{"messages": []}', 400, "missing_model"),
        (b'{"model": 7}', 400, "missing_model"),
        (None, 413, "body_not_readable"),
    ],
)
def test_a_body_without_a_model_is_the_clients_fault(body: bytes | None, status: int, code: str) -> None:
    """Routes that ask for a model did not take it; without one at the host itself it is no 500, which SDKs repeat."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b""

    made = call(bearer("sk-dummy"))
    made.body = pieces() if body is None else body
    route = Route("gpt", Match(model=AnyOf(("gpt-*",))), None, (Target("target"),))
    refusal = planned(made, rules(provider("target", ELSEWHERE), routes=(route,))).refusal
    assert refusal is not None
    assert (refusal.status, refusal.code) == (status, code)
    named = planned(
        call(bearer("sk-dummy"), body=b'{"model": "o3"}'), rules(provider("target", ELSEWHERE), routes=(route,))
    )
    assert named.refusal is not None
    assert named.refusal.status == 500


def test_the_table_has_every_row() -> None:
    """No combination of key, credential and destination is left to chance."""
    assert len(TABLE) == len(KeyKind) * 2 * 2


@pytest.mark.parametrize("kind", [KeyKind.PLACEHOLDER, KeyKind.OWN, KeyKind.NONE])
@pytest.mark.parametrize("entrance", list(Entrance))
def test_required_clients_need_a_virtual_key(kind: KeyKind, entrance: Entrance) -> None:
    """With clients.required no other key, and none, gets through."""
    key = KEYS[kind]
    made = call(*(() if key is None else (bearer(key),)), entrance=entrance)
    by = rules(provider("openai", OPENAI))
    by = replace(by, clients=replace(by.clients, required=True))
    refusal = planned(made, by).refusal
    assert refusal is not None
    assert refusal.status == 401


@pytest.mark.parametrize(("key", "why"), [("vk-unknown-fake", "is not known here"), ("vk-expired-fake", "has expired")])
@pytest.mark.parametrize("credential", [True, False])
def test_an_invalid_virtual_key_is_a_401(key: str, why: str, credential: bool) -> None:
    """An unknown or expired virtual key is refused, whatever the provider has."""
    expired = ClientKey("old", hashlib.sha256(b"vk-expired-fake").hexdigest(), expires=datetime.date(2026, 11, 21))
    refusal = planned(
        call(bearer(key)), rules(provider("openai", OPENAI, credential=credential), clients=Clients(keys=(expired,)))
    ).refusal
    assert refusal is not None
    assert (refusal.status, refusal.code, why in refusal.message) == (401, "invalid_api_key", True)


def test_a_virtual_key_needs_no_prefix() -> None:
    """A key is virtual if its SHA-256 is listed, whatever it looks like."""
    listed = ClientKey("plain", hashlib.sha256(b"sk-looks-own-fake").hexdigest())
    chosen = planned(
        call(bearer("sk-looks-own-fake")), rules(provider("openai", OPENAI), clients=Clients(keys=(listed,)))
    )
    assert chosen.client == "plain"
    assert chosen.attempts[0].injection is not None


@pytest.mark.parametrize(("revoked", "code"), [(True, "invalid_api_key"), (False, None)])
def test_a_key_that_the_rules_list_may_have_been_revoked(revoked: bool, code: str | None) -> None:
    """Whatever its form. What else is known of its hash does not widen what the rules say of it."""
    for key in (VIRTUAL, "sk-FAKE-listed"):
        listed = ClientKey("team", hashlib.sha256(key.encode()).hexdigest(), AnyOf(("gpt-*",)))
        by = rules(provider("openai", OPENAI), clients=Clients(keys=(listed,)))
        view = View(NOW, lambda _, sha256=listed.sha256: ClientKey("other", sha256, revoked=revoked))
        made = call(bearer(key))
        plan_ = plan(made, Territory(by).row("api.openai.com", 443), by, view)
        assert (plan_.refusal.code if plan_.refusal else None) == code
        assert revoked or plan_.client == "team"


def test_two_different_keys_are_a_401_and_two_equal_ones_are_not() -> None:
    """Which of two keys is meant is not for us to guess."""
    by = rules(provider("openai", OPENAI))
    refusal = planned(call(bearer("sk-a-fake"), ("x-api-key", "sk-b-fake")), by).refusal
    assert refusal is not None
    assert refusal.status == 401
    assert planned(call(bearer("sk-a-fake"), ("x-api-key", "sk-a-fake")), by).refusal is None


async def test_every_key_header_of_the_client_is_stripped_on_injection() -> None:
    """One credential goes out, in one place."""
    made = call(bearer("sk-dummy"), ("X-Api-Key", "sk-dummy"), ("api-key", "sk-dummy"), ("Proxy-Authorization", "x"))
    (attempt,) = planned(made, rules(provider("openai", OPENAI))).attempts
    request = await sent(made, attempt)
    assert b"sk-dummy" not in b"".join(value for _, value in request.headers)
    assert [value for _, value in request.headers].count(f"Bearer {SECRET}".encode()) == 1


async def test_a_credential_does_not_leave_for_another_origin() -> None:
    """Whatever stands in the plan, the last step checks the binding again."""
    (attempt,) = planned(call(bearer("sk-dummy")), rules(provider("openai", OPENAI))).attempts

    with pytest.raises(Refusal, match="another origin"):
        await sent(call(), replace(attempt, url=Url(ELSEWHERE, "/v1")))


@pytest.mark.parametrize("kind", [KeyKind.VIRTUAL, KeyKind.PLACEHOLDER])
def test_without_a_provider_ours_and_placeholders_are_never_forwarded(kind: KeyKind) -> None:
    """A key that only we understand does not go to the host itself either."""
    refusal = planned(call(bearer(KEYS[kind] or "")), rules()).refusal
    assert refusal is not None
    assert refusal.status == 500


def test_an_unknown_endpoint_gets_no_credential_without_a_route() -> None:
    """What nobody has heard of passes through with the client's own key, never with ours."""
    target = "/v1/brand-new"
    by = rules(provider("openai", OPENAI))
    own = planned(call(bearer("sk-own-fake"), target=target), by)
    assert own.attempts[0].injection is None
    placeholder = planned(call(bearer("sk-dummy"), target=target), by)
    assert placeholder.refusal is not None
    assert placeholder.refusal.status == 403
    routed = planned(
        call(bearer("sk-own-fake"), target=target),
        rules(provider("openai", OPENAI), routes=(Route("say-so", EVERYTHING, None, (Target("openai"),)),)),
    )
    assert routed.attempts[0].injection is not None


# Routing and edits


def models(*names: str) -> Match:
    return Match(model=AnyOf(names))


def test_the_first_matching_route_wins_and_the_trace_says_why() -> None:
    """Routes are asked in order; the reasons of those that do not match are kept for people."""
    routes = (
        Route("no", models("claude-*"), None, (Target("b"),)),
        Route("yes", models("gpt-*"), None, (Target("a"),)),
    )
    trace: list[str] = []
    by = rules(provider("a", ELSEWHERE), provider("b", ELSEWHERE), routes=routes)
    chosen = planned(call(bearer("sk-dummy")), by, trace)
    assert chosen.route == "yes"
    assert chosen.attempts[0].url == Url(ELSEWHERE, "/v1/chat/completions")
    assert "route no does not match: model" in trace


async def test_a_route_that_renames_the_model_edits_the_body_in_place() -> None:
    """Every byte but the model's value stays."""
    route = Route("cheap", models("gpt-4o"), None, (Target("openai", "gpt-4o-mini"),))
    made = call(bearer("sk-dummy"))
    (attempt,) = planned(made, rules(provider("openai", OPENAI), routes=(route,))).attempts
    request = await sent(made, attempt)
    assert request.body == b'{"model": "gpt-4o-mini",  "messages": [], "stream": true}'
    assert attempt.model == "gpt-4o-mini"


def test_a_model_in_the_url_is_renamed_there() -> None:
    """Gemini names its model in the path."""
    google = Origin("https", "generativelanguage.googleapis.com", 443)
    made = call(
        ("Host", google.host),
        target="/v1beta/models/gemini-2.5-pro:generateContent?alt=x",
        body=b"{}",
        url=Url(google, "/v1beta/models/gemini-2.5-pro:generateContent?alt=x"),
        sni=google.host,
    )
    route = Route("cheap", EVERYTHING, None, (Target("google", "gemini-2.5-flash"),))
    by = rules(Provider("google", "gemini", None, google, "", source()), routes=(route,))
    (attempt,) = planned(made, by).attempts
    assert attempt.url.target == "/v1beta/models/gemini-2.5-flash:generateContent?alt=x"
    assert attempt.edits == {}


def test_a_malformed_body_passes_through_to_the_provider() -> None:
    """Its answer is the provider's to give."""
    chosen = planned(call(bearer("sk-dummy"), body=b'{"model": '), rules(provider("openai", OPENAI)))
    assert chosen.refusal is None
    assert chosen.attempts[0].edits == {}


CHEAP = (Route("cheap", EVERYTHING, None, (Target("openai", "gpt-4o-mini"),)),)
FORM = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nname="model"\r\n\r\nno\r\n'
FORM += b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("headers", "target", "body", "expected"),
    [
        (("Content-Type", "text/plain"), "/v1/chat/completions", BODY, BODY.replace(b"gpt-4o", b"gpt-4o-mini")),
        (("Content-Type", "application/json"), "/v1/chat/completions", b'{"a": 1}', b"gpt-4o-mini"),
        (
            ("Content-Type", "multipart/form-data; boundary=x"),
            "/v1/audio/transcriptions",
            FORM,
            FORM.replace(b"whisper-1", b"gpt-4o-mini"),
        ),
    ],
)
async def test_a_routes_model_is_put_in_wherever_a_model_runs(
    headers: tuple[str, str], target: str, body: bytes, expected: bytes
) -> None:
    """Neither an odd content type nor a form gets around it."""
    made = call(bearer("sk-dummy"), headers, target=target, body=body)
    made.headers = tuple(pair for pair in made.headers if pair != (b"Content-Type", b"application/json"))
    if headers[1] == "application/json":
        made.headers = (*made.headers, (b"Content-Type", b"application/json"))
    (attempt,) = planned(made, rules(provider("openai", OPENAI), routes=CHEAP)).attempts
    request = await sent(made, attempt)
    assert isinstance(request.body, bytes)
    assert request.body == expected or (expected in request.body and b'"a": 1' in request.body)
    assert attempt.model == "gpt-4o-mini"


@pytest.mark.parametrize(
    ("body", "status"), [(b'{"model": ', 400), (BODY.decode().encode("utf-16"), 400), (None, 413), (b"", 400)]
)
def test_what_cannot_be_edited_is_refused_where_rules_replace_the_model(body: bytes | None, status: int) -> None:
    """A body that hides its model does not get around a route, and the record does not say that it was replaced."""

    async def pieces() -> AsyncIterator[bytes]:
        yield BODY

    made = call(bearer("sk-dummy"), body=body or b"")
    if body is None:
        made.body = pieces()
    refusal = planned(made, rules(provider("openai", OPENAI), routes=CHEAP)).refusal
    assert refusal is not None
    assert (refusal.status, refusal.code) == (status, "body_not_editable")


def test_reading_calls_are_left_alone_by_a_routes_model() -> None:
    """A list of models runs none."""
    made = call(bearer("sk-dummy"), target="/v1/models", body=b"", method="GET")
    chosen = planned(made, rules(provider("openai", OPENAI), routes=CHEAP))
    assert chosen.refusal is None
    assert chosen.attempts[0].model is None


LIMITED = Clients(
    keys=(ClientKey("team", hashlib.sha256(VIRTUAL.encode()).hexdigest(), models=AnyOf(("gpt-4o", "whisper-*"))),)
)


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("POST", "/v1/chat/completions", b'{"model": "gpt-4o"}', None),
        ("POST", "/v1/chat/completions", b'{"model": "gpt-5-pro"}', 403),
        ("POST", "/v1/chat/completions", b'{"model": "gpt-5-pro", "model": "gpt-4o"}', 400),
        ("POST", "/v1/chat/completions", b'{"mod\\u0065l": "gpt-5-pro", "model": "gpt-4o"}', 400),
        ("POST", "/v1/chat/completions", b'{"model": "gpt-4o", "model": "gpt-4o"}', None),
        ("POST", "/v1/chat/completions", b'{"messages": [{"model": "x"}], "model": "gpt-4o"}', None),
        # OpenRouter's: which models to try when the first fails.
        ("POST", "/v1/chat/completions", b'{"model": "gpt-4o", "models": ["gpt-4o", "whisper-1"]}', None),
        ("POST", "/v1/chat/completions", b'{"model": "gpt-4o", "models": null}', None),
        ("POST", "/v1/chat/completions", b'{"model": "gpt-4o", "models": ["gpt-5-pro"]}', 403),
        ("POST", "/v1/chat/completions", b'{"model": "gpt-4o", "mod\\u0065ls": ["gpt-5-pro"]}', 403),
        ("POST", "/v1/chat/completions", b'{"model": "gpt-4o", "models": [{"id": "gpt-5-pro"}]}', 403),
        ("POST", "/v1/chat/completions", b"{}", 403),
        ("POST", "/v1/batches", b'{"input_file_id": "f"}', 403),
        ("POST", "/v1/batches", b'{"input_file_id": "f", "model": "gpt-4o"}', 403),
        ("POST", "/v1/realtime/client_secrets", b'{"session": {"model": "gpt-5-pro"}, "model": "gpt-4o"}', 403),
        ("POST", "/v1/evals/e/runs", b'{"data_source": {"model": "gpt-5-pro"}, "model": "gpt-4o"}', 403),
        ("POST", "/v1/threads/runs", b'{"model": "gpt-5-pro"}', 403),
        ("POST", "/v1/brand-new", b"{}", 403),
        ("GET", "/v1/models", b"", None),
        ("GET", "/v1/files", b"", None),
    ],
)
def test_a_key_limited_to_models(method: str, target: str, body: bytes, status: int | None) -> None:
    """It runs what it may and nothing else, however the model is named or hidden."""
    by = rules(
        provider("openai", OPENAI), clients=LIMITED, routes=(Route("all", EVERYTHING, None, (Target("openai"),)),)
    )
    refusal = planned(call(bearer(VIRTUAL), target=target, body=body, method=method), by).refusal
    assert (refusal.status if refusal is not None else None) == status


def test_a_key_limited_to_models_may_send_forms() -> None:
    """The model of a multipart form is read where it stands."""
    made = call(bearer(VIRTUAL), target="/v1/audio/transcriptions", body=FORM)
    made.headers = (
        *(pair for pair in made.headers if pair[0] != b"Content-Type"),
        (b"Content-Type", b"multipart/form-data; boundary=x"),
    )
    by = rules(provider("openai", OPENAI), clients=LIMITED)
    assert planned(made, by).refusal is None


@pytest.mark.parametrize(
    ("body", "stream"), [(b'{"model": "m"}', False), (b'{"model": "m", "stream": true}', True), (b"{", None)]
)
def test_stream_left_out_is_false(body: bytes, stream: bool | None) -> None:
    """`match: {stream: false}` is to match what nearly every call without a stream looks like."""
    facts = planned(call(bearer("sk-own-fake"), body=body), Rules.default()).facts
    assert facts is not None
    assert facts.stream is stream


TO_CLAUDE = rules(
    Provider("claude", "anthropic", None, ELSEWHERE, "", source()),
    routes=(Route("r", EVERYTHING, None, (Target("claude", "claude-x"),)),),
)
ASKS = b'{"model": "gpt-4o", "temperature": 1.5, "messages": [{"role": "user", "content": "Hi"}]}'


def test_a_conversation_is_converted_for_its_provider() -> None:
    """The plan has the provider's URL and body; what was lost is told."""
    chosen = planned(call(bearer("sk-dummy"), body=ASKS), TO_CLAUDE)
    assert chosen.refusal is None
    (attempt,) = chosen.attempts
    assert attempt.url == Url(ELSEWHERE, "/v1/messages")
    assert attempt.model == "claude-x"
    assert attempt.translation is not None
    assert json.loads(attempt.body or b"") == {
        "model": "claude-x",
        "max_tokens": attempt.translation.written.body["max_tokens"],
        "temperature": 1.0,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }
    assert {(loss.severity, loss.path) for loss in attempt.translation.losses} == {
        ("synthesised", "max_tokens"),
        ("approximated", "temperature"),
    }


def refusal_of(body: bytes, by: Rules = TO_CLAUDE, target: str = "/v1/chat/completions") -> Refusal:
    found = planned(call(bearer("sk-dummy"), body=body, target=target), by).refusal
    assert found is not None
    return found


def test_what_cannot_be_converted_is_a_400_that_names_it() -> None:
    """Before anything is sent: the body's flaw, or what the other format cannot hold, by its path."""
    malformed = refusal_of(b'{"model": "m", "messages": 7}')
    assert (malformed.status, malformed.param, malformed.code) == (400, "messages", "invalid_request")
    broken = refusal_of(b'{"model": "m", ')
    assert (broken.status, broken.code) == (400, "invalid_json")
    impossible = refusal_of(ASKS.replace(b'"temperature"', b'"n": 2, "temperature"'))
    assert (impossible.status, impossible.param, impossible.code) == (400, "n", "conversion_impossible")
    other = refusal_of(b'{"model": "m", "input": "Hi"}', target="/v1/embeddings")
    assert (other.status, other.code) == (400, "conversion_not_supported")


def test_losses_that_the_rules_forbid_are_a_400() -> None:
    """losses: {approximated: error}."""
    strict = replace(TO_CLAUDE, losses=LossPolicy(frozenset(("approximated",))))
    found = refusal_of(ASKS, strict)
    assert (found.status, found.param, found.code) == (400, "temperature", "conversion_lossy")


def test_reject_answers_calls_without_a_route() -> None:
    """intercept.unmatched: reject."""
    refusal = planned(call(bearer("sk-own-fake")), rules(intercept=Intercept(unmatched="reject"))).refusal
    assert refusal is not None
    assert refusal.status == 403


def test_audit_only_changes_nothing() -> None:
    """The default rules: to the addressed origin, headers and body as they came, no header of ours."""
    chosen = planned(call(bearer("sk-own-fake")), Rules.default())
    (attempt,) = chosen.attempts
    assert attempt.provider is None
    assert attempt.injection is None
    assert attempt.edits == {}
    assert not chosen.acts


# Binding: the attack cases of one request


def refused(made: Call) -> int | None:
    refusal = planned(made, rules(provider("openai", OPENAI))).refusal
    return refusal.status if refusal is not None else None


@pytest.mark.parametrize(
    ("made", "status"),
    [
        (call(bearer("sk-dummy")), None),
        (call(bearer("sk-dummy"), ("Host", "api.openai.com:443")), None),
        (call(bearer("sk-dummy"), ("Host", "API.OpenAI.com.")), None),
        (call(bearer("sk-dummy"), ("Host", "evil.test")), 403),
        (call(bearer("sk-dummy"), ("Host", "api.openai.com:8443")), 403),
        (call(bearer("sk-dummy"), ("Host", "api.openai.com:http")), 403),
        (call(bearer("sk-dummy"), ("Host", "api.openai.com.evil.test")), 403),
        (call(bearer("sk-dummy"), ("Host", "api.openai.com\0.evil.test")), 403),
        (call(bearer("sk-dummy"), ("Host", "")), 403),
        (call(bearer("sk-dummy"), ("Host", "me:pw@api.openai.com")), 400),
        (call(bearer("sk-dummy"), ("Host", "api.openai.com"), ("Host", "api.openai.com")), 400),
        (call(bearer("sk-dummy"), sni="evil.test"), 403),
        (call(bearer("sk-dummy"), sni="API.openai.com"), None),
        (call(bearer("sk-dummy"), sni=None), None),
        (call(bearer("sk-dummy"), url=Url(Origin("http", "api.openai.com", 443), "/v1/chat/completions")), 400),
        (call(bearer("sk-dummy"), target="/v1/%2e%2e/v1/chat/completions"), 403),
        (call(bearer("sk-dummy"), target="//v1/chat/completions"), 403),
        (call(bearer("sk-dummy"), target="/v1/%252e/chat/completions"), 403),
        (call(bearer("sk-dummy"), target="/v1%5cchat/completions"), 403),
        (call(bearer("sk-dummy"), target="*"), 400),
    ],
)
def test_binding(made: Call, status: int | None) -> None:
    """One destination, named alike by connection, handshake and request, or no credential."""
    assert refused(made) == status


def test_an_address_with_a_good_name_in_the_handshake_is_a_502() -> None:
    """A tunnel to an address cannot be checked against the name that was asked for."""
    address = Origin("https", "203.0.113.7", 443)
    by = rules(provider("openai", OPENAI), intercept=Intercept(hosts=(HostPattern(AnyOf(("203.0.113.7",))),)))
    made = call(bearer("sk-dummy"), url=Url(address, "/v1/chat/completions"))
    refusal = planned(made, by).refusal
    assert refusal is not None
    assert refusal.status == 502


@pytest.mark.parametrize(
    ("host", "port", "ours"),
    [
        ("api.openai.com", 443, True),
        ("API.OPENAI.COM.", 443, True),
        ("api.openai.com", 8443, False),
        ("api.openai.com.evil.test", 443, False),
        ("evilapi.openai.com", 443, False),
        ("openai.com", 443, False),
        ("api.openai.com\0", 443, False),
    ],
)
def test_territory(host: str, port: int, ours: bool) -> None:
    """Claimed is what the table or the rules name, compared whole and canonical."""
    assert (Territory(Rules.default()).row(host, port) is not None) is ours


def test_facts_come_from_url_and_body() -> None:
    """What rules match on."""
    facts = planned(call(bearer("sk-dummy")), Rules.default()).facts or pytest.fail("no facts")
    assert isinstance(facts, Facts)
    assert (facts.endpoint, facts.format, facts.model, facts.stream) == ("chat", "openai", "gpt-4o", True)
    assert facts.header("content-type") == "application/json"


@pytest.mark.parametrize(
    ("key", "kind", "credential", "status"),
    [
        (None, KeyKind.NONE, True, None),
        ("sk-dummy", KeyKind.PLACEHOLDER, True, None),
        ("sk-own-fake", KeyKind.OWN, True, None),
        ("sk-own-fake", KeyKind.OWN, False, None),
        # Nothing to send: as without a proxy's key.
        ("sk-dummy", KeyKind.PLACEHOLDER, False, 500),
    ],
)
def test_a_proxys_key_says_who_calls_and_changes_no_keys_fate(
    key: str | None, kind: KeyKind, credential: bool, status: int | None
) -> None:
    """`clients.required` is satisfied by it; what becomes of the request's own key is the table's matter."""
    team = ClientKey("team", hashlib.sha256(VIRTUAL.encode()).hexdigest())
    by = rules(provider("p", OPENAI, credential=credential), clients=Clients(required=True, keys=(team,)))
    peer = Peer("127.0.0.1", login=Login("team", VIRTUAL))
    trace: list[str] = []
    chosen = planned(call(*(() if key is None else (bearer(key),)), peer=peer), by, trace)
    assert (chosen.refusal.status if chosen.refusal else None) == status
    assert chosen.client == "team"
    assert chosen.facts is not None
    assert chosen.facts.client == "team"
    assert f"the client's key is {kind}" in trace
    if chosen.attempts:
        assert (chosen.attempts[0].injection is not None) == credential


@pytest.mark.parametrize(
    ("login", "code"),
    [
        (Login("team", VIRTUAL), None),
        (Login(None, VIRTUAL), None),
        (Login("other", VIRTUAL), "wrong_proxy_user"),
        (Login("team", "secret"), "invalid_proxy_key"),
        (Login(None, "vk-unknown-fake"), "invalid_proxy_key"),
        (Login(None, "VK-unknown-fake"), "invalid_proxy_key"),
        (Login("past", "vk-past-fake"), "expired_proxy_key"),
        (Login(None, "vk-gone-fake"), "revoked_proxy_key"),
        # Another proxy's.
        (Login("user", "secret"), None),
    ],
)
def test_which_keys_of_a_proxy_are_good(login: Login, code: str | None) -> None:
    """A bad one is refused even where none is needed: who shows a key means to be known by it."""
    listed = (
        ClientKey("team", key_digest(VIRTUAL)),
        ClientKey("past", key_digest("vk-past-fake"), expires=datetime.date(2026, 1, 1)),
        ClientKey("gone", key_digest("vk-gone-fake"), revoked=True),
    )
    by = rules(provider("p", OPENAI), clients=Clients(keys=listed))
    chosen = planned(call(bearer("sk-dummy"), peer=Peer("127.0.0.1", login=login)), by)
    assert (chosen.refusal.code if chosen.refusal else None) == code
    if chosen.refusal is not None:
        # Within TLS to the provider, a client expects no answer of a proxy's.
        assert (chosen.refusal.status, chosen.refusal.headers) == (401, ())


@pytest.mark.parametrize("value", [VIRTUAL, "FAKE-listed-without-our-prefix"])
def test_a_listed_key_that_was_revoked_is_none_of_a_proxys_either(value: str) -> None:
    """`interpose keys revoke` holds for a key of the rules wherever it is shown."""
    listed = ClientKey("team", key_digest(value))
    by = rules(provider("p", OPENAI), clients=Clients(keys=(listed,)))
    with pytest.raises(Refusal) as raised:
        proxied(Login("team", value), by, lambda _: replace(listed, revoked=True), 0.0)
    assert (raised.value.status, raised.value.code) == (407, "revoked_proxy_key")


def limited_keys(*, models: tuple[str, ...] | None = None, budget: Budget | None = None) -> View:
    """A view in which every virtual key was issued, and is good for those models."""
    allowed = AnyOf(models) if models is not None else None
    return View(NOW, lambda key: ClientKey("ci", key_digest(key), allowed, budget=budget))


TWO_MODELS = (
    b'{"model": "gpt-5", "messages": [], "model": "gpt-4o"}',
    b'{"mod\\u0065l": "gpt-5", "messages": [], "model": "gpt-4o"}',
    b'{"Model": "gpt-5", "messages": [], "model": "gpt-4o"}',
    b'{"MODEL": "gpt-4o", "messages": []}',
    b'{"model": "gpt-4o", "messages": [], "M\\u006fdel": "gpt-5"}',
)
UNREADABLE = (
    BODY.replace(b"}", b', "temperature": NaN}'),
    BODY.decode().encode("utf-16"),
    BODY + b"x",
)


@pytest.mark.parametrize("view", [limited_keys(models=("gpt-4o*",)), limited_keys(budget=Budget(Decimal(5), "day"))])
@pytest.mark.parametrize("body", TWO_MODELS)
def test_a_key_that_was_issued_takes_no_body_with_two_models(body: bytes, view: View) -> None:
    """Which of them runs, or what it costs, is not for us to guess; Go's JSON reader ignores the case of names."""
    for coding, sent in ((b"identity", body), (b"gzip", gzip.compress(body))):
        made = call(bearer("vk-issued-fake"), body=sent)
        made.headers = (*made.headers, (b"Content-Encoding", coding))
        by = rules(provider("openai", OPENAI))
        chosen = plan(made, Territory(by).row("api.openai.com", 443), by, view)
        assert chosen.refusal is not None
        assert (chosen.refusal.status, chosen.refusal.code) == (400, "ambiguous_model")


ABOUT_MODELS = (
    Limit("m", Match(model=AnyOf(("gpt-5*",))), None, requests=Rate(1, 60)),
    Limit("m", Match(), Match(model=AnyOf(("gpt-4*",))), requests=Rate(1, 60)),
    Limit("m", Match(), None, ("model",), requests=Rate(1, 60)),
    Limit("m", Match(), None, budget=Budget(Decimal(5), "day")),
)


@pytest.mark.parametrize("limit", ABOUT_MODELS)
@pytest.mark.parametrize("body", [*TWO_MODELS, *UNREADABLE])
def test_a_limit_by_models_is_not_walked_around(body: bytes, limit: Limit) -> None:
    """Where a limit depends on the model, no provider gets a body that it might read otherwise than we do."""
    chosen = planned(call(bearer("sk-own-fake"), body=body), rules(provider("openai", OPENAI), limits=(limit,)))
    assert chosen.refusal is not None
    assert chosen.refusal.status == 400
    assert chosen.refusal.code in ("ambiguous_model", "unreadable_model")


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        b'{"messages": [{"content": "model, \\"Model\\": MODEL"}], "model": "gpt-5", "metadata": {"Model": "x"}}',
        b"",
    ],
)
def test_one_model_is_one_however_often_the_word_is_said(body: bytes) -> None:
    """Text and nested members name no model; an empty body is the provider's to answer."""
    by = rules(provider("openai", OPENAI), limits=ABOUT_MODELS[:1])
    assert planned(call(bearer("sk-own-fake"), body=body), by).refusal is None


def test_a_name_that_is_longer_than_any_models_is_none() -> None:
    """Nothing is compared with megabytes of it, and nothing remembers it; where limits go by models it is refused."""
    for name, known in (("m" * 4096, True), ("m" * 4097, False)):
        made = call(bearer("sk-own-fake"), body=json.dumps({"model": name, "messages": []}).encode())
        chosen = planned(made, rules(provider("openai", OPENAI)))
        assert chosen.facts is not None
        assert (chosen.facts.model is not None) is known
        assert chosen.refusal is None
        chosen = planned(made, rules(provider("openai", OPENAI), limits=ABOUT_MODELS[:1]))
        assert (chosen.refusal is None) is known
