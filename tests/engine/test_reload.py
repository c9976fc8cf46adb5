"""Rules that are swapped under an engine at work: a call keeps those that it began with."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

import orjson
import pytest
from tests.e2e.certificates import Authority
from tests.engine.test_engine import COMPLETION, JSON, OPENAI, SSE, Bench, ScriptedReply, ScriptedUpstream, body

from interpose.attempts.lanes import Lane
from interpose.call import Login, Origin, Peer, header
from interpose.engine.inforce import InForce, lasting
from interpose.prices import Overrides, Price
from interpose.rules.compiled import (
    Clients,
    HostPattern,
    Intercept,
    Limit,
    Provider,
    Retry,
    Route,
    Rules,
    Target,
)
from interpose.rules.compiled import Upstream as UpstreamRules
from interpose.rules.matching import Match
from interpose.rules.patterns import AnyOf
from interpose.rules.secrets import CredentialSource
from interpose.upstream.client import Outgoing, Upstream

KEY = CredentialSource("env", ("FAKE_KEY",))
OTHER = CredentialSource("env", ("OTHER_FAKE_KEY",))


class Swapped(ScriptedUpstream):
    """Remembers what it was swapped to; every set of rules has one of its own."""

    def __init__(self, answer: object, *, settings: UpstreamRules | None = None) -> None:
        super().__init__(answer)  # type: ignore[arg-type]
        self.settings = settings or UpstreamRules()
        self.followers: list[Swapped] = []

    def under(self, rules: UpstreamRules, cas: Iterable[Path | None]) -> "Swapped":
        self.followers.append(after := type(self)(self._answer, settings=rules))
        return after


def rules(version: str, **more: object) -> Rules:
    """Rules by which every chat goes to a model of that version's name."""
    provider = Provider("openai", "openai", None, OPENAI, "/v1", KEY)
    route = Route(f"route-{version}", Match(endpoint=AnyOf(("chat",))), None, (Target("openai", f"model-{version}"),))
    given: dict[str, object] = {
        "providers": MappingProxyType({"openai": provider}),
        "routes": (route,),
        **more,
    }
    return Rules(version, **given)  # type: ignore[arg-type]


def bench(first: Rules) -> Bench:
    return Bench(lambda: ScriptedReply([COMPLETION]), first, Swapped)


async def test_new_calls_go_by_the_new_rules() -> None:
    """Model, route and the version in the record are those of the rules in force when the call began."""
    proof = bench(rules("one"))
    await body(await proof.handle())
    await proof.engine.reload(rules("two"))
    reply = await proof.handle()
    await body(reply)
    assert [record.rules_version for record in proof.records] == ["one", "two"]
    assert [record.sent_model for record in proof.records] == ["model-one", "model-two"]
    assert header(reply.headers, b"x-interpose-route") == b"route-two"


async def test_a_stream_keeps_the_rules_that_it_began_with() -> None:
    """Its record names them, although others are in force when it ends."""
    proof = Bench(lambda: ScriptedReply([b"data: {}\n\n", b"data: [DONE]\n\n"], SSE), rules("one"), Swapped)
    reply = await proof.handle()
    chunks: AsyncIterator[bytes] = aiter(reply.body)
    await anext(chunks)
    await proof.engine.reload(rules("two"))
    assert [chunk async for chunk in chunks] == [b"data: [DONE]\n\n"]
    assert (proof.record.rules_version, proof.record.route) == ("one", "route-one")


async def test_a_call_is_sent_again_by_the_rules_that_it_began_with() -> None:
    """Its second attempt goes to the old model by the old way, while new calls have gone the new way already."""
    arrived, go_on = asyncio.Event(), asyncio.Event()

    class Failing(Swapped):
        async def send(self, request: Outgoing) -> ScriptedReply:
            reply = await super().send(request)
            if self.settings.proxy is None and len(self.sent) == 1:
                arrived.set()
                await go_on.wait()
                return ScriptedReply([b"{}"], status=503)
            return reply

    one = rules("one")
    one = replace(one, routes=(replace(one.routes[0], retry=Retry(attempts=2, low=0.0, high=0.0)),))
    proof = Bench(lambda: ScriptedReply([COMPLETION]), one, Failing)
    first = asyncio.create_task(proof.handle())
    await arrived.wait()
    await proof.engine.reload(rules("two", upstream=UpstreamRules(proxy=Origin("http", "proxy.test", 3128))))
    await body(await proof.handle())
    go_on.set()
    await body(await first)
    (follower,) = proof.upstream.followers  # type: ignore[attr-defined]
    assert [orjson.loads(sent.body)["model"] for sent in proof.upstream.sent if isinstance(sent.body, bytes)] == [
        "model-one",
        "model-one",
    ]
    assert len(follower.sent) == 1
    assert [record.rules_version for record in proof.records] == ["two", "one"]


async def test_counts_of_limits_are_kept() -> None:
    """What was used before the swap counts after it, also against a limit that has changed."""
    limit = Limit("all", Match(), None, concurrent=1)
    proof = bench(rules("one", limits=(limit,)))
    held = await proof.handle()
    await proof.engine.reload(rules("two", limits=(limit,)))
    assert (await proof.handle()).status == 429
    await proof.engine.reload(rules("three", limits=(replace(limit, concurrent=2),)))
    other = await proof.handle()
    assert other.status == 200
    for reply in (held, other):
        await body(reply)


async def test_a_call_that_has_begun_goes_by_the_prices_of_its_own_rules() -> None:
    """Which of two models is the cheaper one is not decided by rules that came later."""

    def priced(version: str, **dollars: int) -> Rules:
        targets = tuple(Target("openai", model) for model in dollars)
        route = Route("cheap", Match(), None, targets, prefer="cheapest")
        prices = {model: Price(input=Decimal(each), output=Decimal(each)) for model, each in dollars.items()}
        return rules(version, routes=(route,), prices=Overrides(prices))

    before = priced("one", cheap=1, dear=9)
    proof = bench(before)
    began_with = proof.engine.inforce
    await body(await proof.handle())
    await proof.engine.reload(priced("two", cheap=9, dear=1))
    await body(await proof.handle())
    assert [record.sent_model for record in proof.records] == ["cheap", "dear"]
    assert proof.engine.plan(proof.call(), by=began_with).attempts[0].model == "cheap"


def test_a_lane_lasts_while_it_leads_to_the_same_place() -> None:
    """Another key, another address or another proxy is another lane; other routes or models are not."""
    lane = Lane("openai", KEY)
    before = rules("one")
    provider = before.providers["openai"]
    assert lasting(before, rules("two"))(lane)
    for other in (replace(provider, credential=OTHER), replace(provider, origin=Origin("https", "a.test", 443))):
        assert not lasting(before, rules("two", providers=MappingProxyType({"openai": other})))(lane)
    dialled = UpstreamRules(connect_to=MappingProxyType({("api.openai.com", 443): ("10.0.0.1", 443)}))
    assert not lasting(before, rules("two", upstream=dialled))(lane)
    assert not lasting(before, Rules("none"))(lane)


async def test_what_is_remembered_of_a_credential_lasts_and_is_let_go_with_it() -> None:
    """A cooldown holds across a swap that keeps the credential; without it nothing is left."""
    proof = bench(rules("one"))
    lane = Lane("openai", KEY)
    proof.engine.inforce.lanes.rest(lane, 600)
    await proof.engine.reload(rules("two"))
    assert proof.engine.inforce.lanes.resting(lane) > 590
    await proof.engine.reload(Rules("none"))
    await proof.engine.reload(rules("two"))
    assert proof.engine.inforce.lanes.resting(lane) == 0


async def test_quotas_last_as_long_as_their_credential() -> None:
    """What a provider has told of a key that the rules no longer have is let go."""
    told = (*JSON, (b"x-ratelimit-limit-requests", b"100"), (b"x-ratelimit-remaining-requests", b"7"))
    told = (*told, (b"x-ratelimit-reset-requests", b"1h"))
    proof = Bench(lambda: ScriptedReply([COMPLETION], told), rules("one"), Swapped)

    def left() -> float | None:
        return proof.engine.quotas.left("openai", [KEY], "model-one")

    await body(await proof.handle())
    assert left() == 0.07
    await proof.engine.reload(rules("two"))
    assert left() == 0.07
    await proof.engine.reload(Rules("none"))
    await proof.engine.reload(rules("two"))
    assert left() is None


async def test_claimed_hosts_follow_the_rules() -> None:
    """A host that the new rules do not name is not decrypted; one that they name is."""
    proof = bench(rules("one"))
    assert proof.engine.claims("api.openai.com", 443)
    assert not proof.engine.claims("own.test", 443)
    await proof.engine.reload(Rules("two", intercept=Intercept((HostPattern(AnyOf(("own.test",))),))))
    assert not proof.engine.claims("api.openai.com", 443)
    assert proof.engine.claims("own.test", 443)


async def test_a_call_on_a_connection_that_was_decrypted_by_earlier_rules_passes_through() -> None:
    """Its host is no longer ours, so nothing is changed: no model, no credential, no header; but it is recorded."""
    own_only = Intercept((HostPattern(AnyOf(("own.test",))),))
    proof = bench(rules("one"))
    assert proof.engine.claims("api.openai.com", 443)
    await proof.engine.reload(rules("two", intercept=own_only))
    reply = await proof.handle()
    assert await body(reply) == COMPLETION
    assert header(reply.headers, b"x-interpose-id") is None
    (follower,) = proof.upstream.followers  # type: ignore[attr-defined]
    (sent,) = follower.sent
    assert header(sent.headers, b"authorization") == b"Bearer sk-own-fake"
    assert orjson.loads(sent.body)["model"] == "gpt-4o"
    assert (proof.record.outcome, proof.record.route, proof.record.rules_version) == ("ok", None, "two")


async def test_a_key_in_the_proxys_url_is_no_matter_of_a_host_that_is_let_go() -> None:
    """The tunnel was opened by it; what passes through as if nobody looked is not refused for it."""
    proof = bench(rules("one"))
    assert proof.engine.claims("api.openai.com", 443)
    await proof.engine.reload(rules("two", intercept=Intercept((HostPattern(AnyOf(("own.test",))),))))
    reply = await proof.handle(peer=Peer("127.0.0.1", login=Login("team", "vk-fake-listed")))
    assert (reply.status, await body(reply)) == (200, COMPLETION)


async def test_rules_that_want_a_key_of_everybody_let_nothing_through_on_old_connections() -> None:
    """Where a new connection to a host that is not named would be refused, so is a call on an old one."""
    proof = bench(rules("one"))
    assert proof.engine.claims("api.openai.com", 443)
    wanted = Intercept((HostPattern(AnyOf(("own.test",))),))
    await proof.engine.reload(rules("two", intercept=wanted, clients=Clients(required=True)))
    assert (await proof.handle()).status == 403


async def test_a_host_that_was_never_ours_is_refused_as_ever() -> None:
    """Only what an earlier set has really decrypted passes through."""
    proof = bench(Rules("one", intercept=Intercept((HostPattern(AnyOf(("own.test",))),))))
    await proof.engine.reload(Rules("two", intercept=Intercept(())))
    assert (await proof.handle()).status == 403


async def test_old_rules_are_let_go_once_no_call_holds_them() -> None:
    """Whatever number of swaps: the memory is that of the rules in force and of those that calls began with."""
    proof = Bench(lambda: ScriptedReply([b"data: {}\n\n", b"data: [DONE]\n\n"], SSE), rules("first"), Swapped)
    reply = await proof.handle()
    held = weakref.ref(proof.engine.inforce)
    passing: list[weakref.ref[InForce | Rules]] = []
    for number in range(50):
        await proof.engine.reload(rules(str(number)))
        await body(await proof.handle())
        if number < 49:
            passing += [weakref.ref(proof.engine.inforce), weakref.ref(proof.engine.rules)]
    gc.collect()
    assert held() is not None
    assert [each for each in passing if each() is not None] == []
    await body(reply)
    await reply.body.aclose()
    del reply
    gc.collect()
    assert held() is None


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "one")


def test_a_context_is_kept_while_its_authorities_are_the_same(authority: Authority, tmp_path: Path) -> None:
    """The warm connections that it has verified are used again then; by another CA they are not, even of one name."""
    file = tmp_path / "ca.pem"
    file.write_bytes(authority.pem.read_bytes())
    first = Upstream(UpstreamRules(ca=file))
    context, plain = first._context(None), Upstream(UpstreamRules())._context(None)
    same = first.under(UpstreamRules(ca=file), [])
    assert same._context(None) is context
    file.write_bytes(Authority(tmp_path / "two", "Another").pem.read_bytes())
    other = same.under(UpstreamRules(ca=file), [])
    assert other._context(None) is not context
    assert first._context(None) is context
    assert other.under(UpstreamRules(), [])._context(None) not in (context, plain)


async def test_a_ca_that_has_gone_changes_nothing(authority: Authority, tmp_path: Path) -> None:
    """The swap fails as a whole."""
    proof = Bench(lambda: ScriptedReply([COMPLETION]), rules("one"), lambda _: Upstream(UpstreamRules()))  # type: ignore[arg-type]
    with pytest.raises(OSError, match="No such file"):
        await proof.engine.reload(rules("two", upstream=UpstreamRules(ca=tmp_path / "none.pem")))
    assert proof.engine.rules.version == "one"
