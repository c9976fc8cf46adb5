"""What limits ask of which buckets, decided and not counted."""

from __future__ import annotations

import json
from decimal import Decimal
from types import MappingProxyType

import pytest

from interpose.call import Call, Origin, Peer, Url
from interpose.formats.endpoints import classify
from interpose.rules import compiling
from interpose.rules.compiled import ClientKey, Limit, Provider, Route, Rules, Target
from interpose.rules.matching import Match
from interpose.rules.patterns import AnyOf
from interpose.rules.schema import LimitSpec, MatchSpec
from interpose.rules.secrets import CredentialSource
from interpose.rules.values import Budget, Rate
from interpose.stages import plan
from interpose.stages.claim import Territory, read_facts
from interpose.stages.draft import EXPECTED_OUTPUT, Plan, View
from interpose.stages.limits import LONGEST

ORIGIN = Origin("https", "api.openai.com", 443)
ANYWHERE = Match()


def decided(
    *limits: Limit, body: bytes = b'{"model": "gpt-4o", "messages": []}', path: str = "/v1/chat/completions",
    method: str = "POST", headers: tuple[tuple[bytes, bytes], ...] = (), view: View | None = None,
    ip: str = "10.1.2.3",
) -> Plan:  # fmt: skip
    """The plan of a call under those limits: by the route `main` to the provider `far`, then to `near`."""
    source = CredentialSource("env", ("FAR_KEY",))
    providers = {
        "far": Provider("far", "openai", None, Origin("https", "far.test", 443), "/v1", source),
        "near": Provider("near", "openai", None, Origin("https", "near.test", 443), "/v1", keyless=True),
    }
    route = Route("main", Match(endpoint=AnyOf(("*",))), None, (Target("far"),), (Target("near"),))
    rules = Rules("v", providers=MappingProxyType(providers), routes=(route,), limits=limits)
    call = Call(
        method=method,
        url=Url(ORIGIN, path),
        headers=((b"host", b"api.openai.com"), (b"content-type", b"application/json"), *headers),
        body=body,
        peer=Peer(ip, app="mini"),
        entrance="intercept",
    )
    return plan(call, Territory(rules).row("api.openai.com", 443), rules, view or View(0.0))


def test_a_bucket_is_named_by_limit_kind_and_whom_it_counts() -> None:
    """One demand a kind; who is not known is counted with all who are not."""
    limit = Limit("all", ANYWHERE, None, ("client", "ip", "app", "model"), Rate(9, 60), Rate(99, 60), 3)
    found = decided(limit)
    whom = "client=-,ip=10.1.2.3,app=mini,model=gpt-4o"
    assert [(each.key, each.kind, each.limit, each.seconds) for each in found.demands] == [
        (f"all/requests/{whom}", "requests", 9, 60),
        (f"all/tokens/{whom}", "tokens", 99, 60),
        (f"all/concurrent/{whom}", "concurrent", 3, None),
    ]
    assert [each.demands for each in found.attempts] == [(), ()]


def test_without_per_there_is_one_bucket() -> None:
    """A limit that counts nobody in particular counts all together."""
    (demand,) = decided(Limit("all", ANYWHERE, None, requests=Rate(9, 60))).demands
    assert demand.key == "all/requests/"


def test_a_header_counts_by_its_value() -> None:
    """`header:NAME` is a bucket per value; a call without it is counted with the others that lack it."""
    limit = Limit("team", ANYWHERE, None, ("header:x-team",), Rate(9, 60))
    (demand,) = decided(limit, headers=((b"X-Team", b"red"),)).demands
    assert demand.key == "team/requests/header:x-team=red"
    (demand,) = decided(limit).demands
    assert demand.key == "team/requests/header:x-team=-"


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "Cookie", "X-Goog-Api-Key", "api-key"])
def test_a_key_is_counted_by_its_digest(name: str) -> None:
    """The name of a bucket stands in the 429 and in a shared store, where no key belongs."""
    limit = Limit("each", ANYWHERE, None, (f"header:{name.lower()}",), Rate(9, 60))
    keys = set()
    for value in (b"sk-FAKE-one", b"sk-FAKE-two", b"sk-FAKE-two"):
        (demand,) = decided(limit, headers=((name.encode(), value),)).demands
        assert "FAKE" not in demand.key
        keys.add(demand.key)
    assert len(keys) == 2
    assert decided(limit).demands[0].key == f"each/requests/header:{name.lower()}=-"


def test_attempts_are_asked_by_what_they_alone_have() -> None:
    """Provider, route and key are those of each attempt, a provider without a key has none."""
    limit = Limit("lane", ANYWHERE, None, ("provider", "route", "key"), concurrent=2)
    found = decided(limit)
    assert found.demands == ()
    assert [demand.key for each in found.attempts for demand in each.demands] == [
        "lane/concurrent/provider=far,route=main,key=env:FAR_KEY",
        "lane/concurrent/provider=near,route=main,key=-",
    ]


def test_only_limits_that_match_ask() -> None:
    """All of `match` and none of `except`."""
    chat, embeddings = Match(endpoint=AnyOf(("chat",))), Match(endpoint=AnyOf(("embeddings",)))
    found = decided(
        Limit("no", embeddings, None, requests=Rate(1, 60)),
        Limit("nor", ANYWHERE, chat, requests=Rate(1, 60)),
        Limit("yes", chat, embeddings, requests=Rate(1, 60)),
    )
    assert [each.key for each in found.demands] == ["yes/requests/"]


@pytest.mark.parametrize("written", ["/v1/chat/completions", "/v1/chat/completions/", "/v1/chat/*"])
def test_a_final_slash_is_no_way_around_a_path(written: str) -> None:
    """The same endpoint answers, so the same limit holds, however the rules spell it."""
    limit = compiling.limit(LimitSpec.model_validate({"name": "p", "match": {"path": written}, "requests": "9/minute"}))
    for path in ("/v1/chat/completions", "/v1/chat/completions/", "/v1/chat/completions/?a=b"):
        assert [each.key for each in decided(limit, path=path).demands] == ["p/requests/"]


def test_an_escaped_colon_is_no_way_around_a_path() -> None:
    """Google takes both, and so do rules."""
    for written in ("/v1beta/models/g:generateContent", "*%3agenerateContent"):
        match = compiling.match(MatchSpec.model_validate({"path": written}))
        for path in ("/v1beta/models/g:generateContent", "/v1beta/models/g%3AgenerateContent?key=k"):
            call = Call("POST", Url(ORIGIN, path), (), b"{}", Peer("10.1.2.3"))
            row = Territory(Rules.default()).row("generativelanguage.googleapis.com", 443)
            assert row is not None
            assert match.reason(read_facts(call, classify(row, "POST", path))) is None


def test_a_long_name_does_not_make_a_long_key() -> None:
    """A model's name is the client's to choose: keys stay short, and different."""
    limit = Limit("m", ANYWHERE, None, ("model",), Rate(9, 60))
    keys = set()
    for ending in "ab":
        body = json.dumps({"model": "x" * 1_000 + ending, "messages": []}).encode()
        (demand,) = decided(limit, body=body).demands
        assert len(demand.key) < LONGEST + 30
        keys.add(demand.key)
    assert len(keys) == 2


def test_a_name_that_cannot_be_written_is_known_by_its_digest() -> None:
    """A lone surrogate reaches no store, which could not take it; two of them are two buckets."""
    limit = Limit("m", ANYWHERE, None, ("model",), Rate(9, 60))
    bodies = [f'{{"model": "\\ud80{digit}", "messages": []}}'.encode() for digit in "01"]
    keys = {decided(limit, body=body).demands[0].key for body in bodies}
    assert len(keys) == 2
    assert all(key.isascii() for key in keys)


def test_tokens_are_estimated_by_size_and_by_what_may_be_answered() -> None:
    """A token for four bytes of input, and the client's limit of output, else what the model is expected to say."""
    limit = Limit("t", ANYWHERE, None, tokens=Rate(10_000, 60))
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "word " * 800}], "max_tokens": 77})
    (demand,) = decided(limit, body=body.encode()).demands
    assert 1_000 + 77 <= demand.cost < 1_050 + 77
    (other,) = decided(limit, body=body.replace(', "max_tokens": 77', "").encode()).demands
    assert 1_000 + EXPECTED_OUTPUT <= other.cost < 1_050 + EXPECTED_OUTPUT
    view = View(0.0, expected_output=lambda model: 3 if model == "m" else 0)
    (learned,) = decided(limit, body=body.replace(', "max_tokens": 77', "").encode(), view=view).demands
    assert learned.cost == other.cost - EXPECTED_OUTPUT + 3


@pytest.mark.parametrize("allowed", [-1, -1_000_000])
def test_an_output_of_less_than_nothing_is_as_good_as_none_said(allowed: int) -> None:
    """Nobody makes room for himself by it, and some servers take it for as much as there is."""
    body = json.dumps({"model": "gpt-4o", "messages": [], "max_tokens": allowed}).encode()
    (demand,) = decided(Limit("all", ANYWHERE, None, tokens=Rate(9999, 60)), body=body).demands
    assert demand.cost == -(-len(body) // 4) + EXPECTED_OUTPUT


def test_what_uses_no_tokens_asks_for_none() -> None:
    """Listing models is a request, and nothing else."""
    limit = Limit("t", ANYWHERE, None, requests=Rate(9, 60), tokens=Rate(9, 60))
    found = decided(limit, body=b"", method="GET", path="/v1/models")
    assert [each.kind for each in found.demands] == ["requests"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/realtime?model=m"), ("POST", "/v1/images/generations"), ("POST", "/v1/audio/speech")],
)
def test_what_tells_its_tokens_afterwards_waits_its_turn(method: str, path: str) -> None:
    """One token is reserved where nobody can estimate: what it used is settled, and those after it feel that."""
    limit = Limit("t", ANYWHERE, None, tokens=Rate(9, 60))
    upgrade = ((b"upgrade", b"websocket"), (b"connection", b"upgrade")) if method == "GET" else ()
    (demand,) = decided(limit, method=method, path=path, headers=upgrade).demands
    assert (demand.kind, demand.cost) == ("tokens", 1)


def test_a_call_waits_as_long_as_the_most_patient_of_its_limits() -> None:
    """Each limit says how long; one without a word does not make the others impatient."""
    limits = [Limit(name, ANYWHERE, None, concurrent=1, wait=wait) for name, wait in (("a", 2.0), ("b", None))]
    assert decided(*limits).wait == 2.0


def test_addresses_of_one_machine_share_a_bucket() -> None:
    """IPv6 is counted by the /64, which a machine has whole; an IPv4 address in IPv6's clothes is itself."""
    limit = Limit("each", ANYWHERE, None, ("ip",), Rate(9, 60))
    keys = [
        decided(limit, ip=ip).demands[0].key
        for ip in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "::ffff:10.1.2.3", "10.1.2.3")
    ]
    assert keys[0] == keys[1] == "each/requests/ip=2001:db8::/64"
    assert keys[2] != keys[0]
    assert keys[3] == keys[4] == "each/requests/ip=10.1.2.3"


@pytest.mark.parametrize(
    "limit",
    [
        Limit("asks", Match(model=AnyOf(("gpt-4o",))), None, requests=Rate(9, 60)),
        Limit("excepts", ANYWHERE, Match(model=AnyOf(("gpt-4o",))), requests=Rate(9, 60)),
        Limit("counts", ANYWHERE, None, ("model",), Rate(9, 60)),
        Limit("prices", ANYWHERE, None, budget=Budget(Decimal(1), "day")),
    ],
    ids=lambda limit: limit.name,
)
def test_a_limit_that_goes_by_the_model_wants_one_model(limit: Limit) -> None:
    """A body that names two is refused, lest one is counted and the other one runs."""
    refusal = decided(limit, body=b'{"model": "gpt-4o", "model": "other", "messages": []}').refusal
    assert refusal is not None
    assert refusal.code == "ambiguous_model"


CALLS = Limit("calls", ANYWHERE, None, ("client",), Rate(9, 60))
SPEND = Limit("spend", ANYWHERE, None, ("client",), budget=Budget(Decimal(1), "day"))
TWO_MODELS = b'{"model": "gpt-4o", "model": "other", "messages": []}'


@pytest.mark.parametrize(
    ("key", "body", "status"),
    [
        (ClientKey("ci", "", endpoints=AnyOf(("embeddings",))), b'{"model": "gpt-4o", "messages": []}', 403),
        (ClientKey("ci", "", models=AnyOf(("o3",))), b'{"model": "gpt-4o", "messages": []}', 403),
        (ClientKey("ci", ""), TWO_MODELS, 400),
    ],
    ids=["endpoint", "model", "malformed"],
)
def test_a_known_client_that_is_refused_is_told_its_limits(key: ClientKey, body: bytes, status: int) -> None:
    """Whatever is wrong with the call, its plan names the limits to be looked at, and none to be reserved from."""
    found = decided(CALLS, SPEND, view=View(0.0, client=key), body=body)
    assert found.refusal is not None
    assert found.refusal.status == status
    assert [demand.key for demand in found.demands] == ["calls/requests/client=ci"]


def test_who_is_not_known_is_told_no_limits() -> None:
    """A key that is not good belongs to nobody."""
    found = decided(CALLS, headers=((b"authorization", b"Bearer vk-FAKE-unknown"),))
    assert found.refusal is not None
    assert (found.refusal.status, found.demands) == (401, ())
