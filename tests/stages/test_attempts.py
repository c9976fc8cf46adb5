"""The attempts of a plan: which targets in which order, with which credential, and which are left out."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from types import MappingProxyType

import pytest

from interpose.attempts.lanes import Lane
from interpose.call import Call, Origin, Peer, Url
from interpose.rules.compiled import Provider, Retry, Route, Rules, Target
from interpose.rules.matching import Match
from interpose.rules.secrets import CredentialSource
from interpose.stages import plan
from interpose.stages.claim import Territory
from interpose.stages.draft import LeftOut, Plan, View

OPENAI = Origin("https", "api.openai.com", 443)
PLAIN = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}'
TWO_ANSWERS = b'{"model": "gpt-4o", "n": 2, "messages": [{"role": "user", "content": "Hi"}]}'
POOL = tuple(CredentialSource("env", (name,)) for name in ("KEY_A", "KEY_B", "KEY_C"))


def rules(*, fallback: tuple[Target, ...] = (), retry: Retry | None = None, **route: object) -> Rules:
    providers = {
        "openai": Provider("openai", "openai", None, OPENAI, "/v1", POOL[0]),
        "groq": Provider("groq", "openai", "groq", Origin("https", "api.groq.com", 443), "/openai/v1", POOL[0]),
        "claude": Provider("claude", "anthropic", None, Origin("https", "api.anthropic.com", 443), "", POOL[0]),
        "pool": Provider("pool", "openai", None, Origin("https", "p.test", 443), "/v1", POOL[0], pool=POOL[1:]),
        "bare": Provider("bare", "openai", None, Origin("https", "b.test", 443), "/v1"),
    }
    said: dict[str, object] = {"targets": (Target("openai"),), "fallback": fallback, "retry": retry}
    routes = (Route("r", Match(), None, **(said | route)),)  # type: ignore[arg-type]
    return Rules("test", providers=MappingProxyType(providers), routes=routes)


def planned(
    by: Rules,
    body: bytes = PLAIN,
    *,
    rng: Callable[[], float] = lambda: 0.0,
    resting: Callable[[Lane], float] = lambda _: 0.0,
    ip: str = "127.0.0.1",
    key: bytes = b"",
    trace: list[str] | None = None,
) -> Plan:
    headers = ((b"Host", b"api.openai.com"), (b"Content-Type", b"application/json"))
    if key:
        headers = (*headers, (b"Authorization", b"Bearer " + key))
    call = Call("POST", Url(OPENAI, "/v1/chat/completions"), headers, body, Peer(ip), sni="api.openai.com")
    view = View(1_800_000_000.0, rng=rng, resting=resting)
    return plan(call, Territory(by).row("api.openai.com", 443), by, view, trace)


def ways(chosen: Plan) -> list[tuple[str, str | None]]:
    return [(attempt.provider.name, attempt.model) for attempt in chosen.attempts if attempt.provider is not None]


def keys(chosen: Plan) -> list[str]:
    return [attempt.injection.source.args[0] for attempt in chosen.attempts if attempt.injection is not None]


def test_fallbacks_follow_in_order_each_in_its_own_format() -> None:
    """The model, the URL and the body are those of each provider."""
    chosen = planned(rules(fallback=(Target("claude", "claude-x"), Target("groq", "llama"))))
    assert ways(chosen) == [("openai", "gpt-4o"), ("claude", "claude-x"), ("groq", "llama")]
    first, second, third = chosen.attempts
    assert (first.body, first.translation) == (None, None)
    assert second.translation is not None
    assert second.url.target == "/v1/messages"
    assert third.body == PLAIN.replace(b"gpt-4o", b"llama")
    assert chosen.sends == 3
    assert chosen.losses == ()


def test_a_call_is_sent_once_unless_the_rules_say_more() -> None:
    """No retry and no second way: as ever."""
    chosen = planned(rules())
    assert (chosen.retry, chosen.sends, len(chosen.attempts)) == (None, 1, 1)


@pytest.mark.parametrize(
    ("retry", "fallbacks", "sends"),
    [(Retry(), 0, 3), (Retry(), 4, 5), (Retry(2), 4, 2), (Retry(7), 0, 7), (None, 1, 2)],
)
def test_how_often_a_call_is_sent_at_most(retry: Retry | None, fallbacks: int, sends: int) -> None:
    """`attempts` is the total; left out, 3 and at least one for each place."""
    targets = tuple(Target("groq", f"m{number}") for number in range(fallbacks))
    assert planned(rules(retry=retry, fallback=targets)).sends == sends


def test_a_target_that_cannot_take_the_call_is_left_out_with_its_reason() -> None:
    """The others take it; the losses told are those of what is sent first."""
    trace: list[str] = []
    by = rules(targets=(Target("claude", "claude-x"),), fallback=(Target("openai"),))
    chosen = planned(by, TWO_ANSWERS, trace=trace)
    assert ways(chosen) == [("openai", "gpt-4o")]
    assert chosen.left_out == (LeftOut("claude", "claude-x", "conversion_impossible"),)
    assert (chosen.refusal, chosen.losses) == (None, ())
    assert any("left out: This call cannot be converted for claude: n:" in reason for reason in trace)


def test_only_if_no_target_is_left_the_call_is_refused() -> None:
    """With the reason of the first, and its losses."""
    chosen = planned(rules(targets=(Target("claude", "x"),), fallback=(Target("claude", "y"),)), TWO_ANSWERS)
    assert chosen.refusal is not None
    assert (chosen.refusal.code, chosen.refusal.param) == ("conversion_impossible", "n")
    assert [loss.path for loss in chosen.losses if loss.severity == "impossible"] == ["n"]
    assert (chosen.attempts, chosen.left_out) == ((), ())


def test_a_clients_own_key_leaves_for_no_fallback() -> None:
    """A target that has no credential is left out; the key goes where the client sent it or nowhere."""
    by = rules(targets=(Target("bare"),), fallback=(Target("openai"),))
    chosen = planned(by, key=b"sk-own-fake")
    assert ways(chosen) == [("openai", "gpt-4o")]
    assert chosen.left_out == (LeftOut("bare", "gpt-4o", "provider_without_credential"),)
    only = planned(rules(targets=(Target("bare"),)), key=b"sk-own-fake")
    assert only.refusal is not None
    assert only.refusal.code == "provider_without_credential"


def test_a_pool_gives_one_attempt_for_each_key_and_each_call_begins_with_another() -> None:
    """All keys of a provider come before the next provider."""
    by = rules(targets=(Target("pool"),), fallback=(Target("openai"),))
    assert keys(planned(by)) == ["KEY_A", "KEY_B", "KEY_C", "KEY_A"]
    assert keys(planned(by, rng=lambda: 0.4)) == ["KEY_B", "KEY_C", "KEY_A", "KEY_A"]
    assert keys(planned(by, rng=lambda: 0.999)) == ["KEY_C", "KEY_A", "KEY_B", "KEY_A"]


def test_what_rests_comes_last() -> None:
    """A key in its cooldown, or a provider whose circuit is open, is still there if all else fails."""
    by = rules(targets=(Target("pool"),), fallback=(Target("openai"),))
    tired = {Lane("pool", POOL[0]), Lane("pool", POOL[2])}
    trace: list[str] = []
    chosen = planned(by, resting=lambda lane: 30.0 if lane in tired else 0.0, trace=trace)
    assert [(attempt.lane.provider, attempt.lane.source) for attempt in chosen.attempts if attempt.lane] == [
        ("pool", POOL[1]), ("openai", POOL[0]), ("pool", POOL[0]), ("pool", POOL[2])
    ]  # fmt: skip
    assert "pool with env:KEY_A rests for 30 s more: it comes last" in trace


WEIGHED = (Target("openai", weight=70), Target("groq", "llama", weight=0), Target("claude", "claude-x", weight=30))


def test_targets_are_chosen_by_their_weights() -> None:
    """Each in its share, one without weight never."""
    numbers = itertools.count()
    by = rules(targets=WEIGHED)
    counts = Counter(ways(planned(by, rng=lambda: next(numbers) / 100))[0][0] for _ in range(100))
    assert counts == {"openai": 70, "claude": 30}
    assert ways(planned(by, rng=lambda: 1 - 2**-53)) == [("claude", "claude-x")]


def test_a_sticky_route_sends_a_client_to_the_same_target() -> None:
    """Whatever the dice say; and the clients are spread by the weights, too."""
    by = rules(targets=WEIGHED, sticky=True)
    clients = [f"10.0.{number // 250}.{number % 250}" for number in range(1000)]
    chosen = {ip: ways(planned(by, ip=ip, rng=lambda: 0.99))[0][0] for ip in clients}
    assert chosen == {ip: ways(planned(by, ip=ip, rng=lambda: 0.01))[0][0] for ip in clients}
    assert 620 < Counter(chosen.values())["openai"] < 780
    assert set(chosen.values()) == {"openai", "claude"}
    # With another weight, clients move to the heavier target alone.
    heavier = (Target("openai", weight=90), *WEIGHED[1:])
    after = {ip: ways(planned(rules(targets=heavier, sticky=True), ip=ip))[0][0] for ip in clients}
    assert {after[ip] for ip in clients if chosen[ip] != after[ip]} == {"openai"}
