"""Recorded calls, decided by other rules: routing, cost, refusals and losses, without anything being sent."""

import hashlib
import json
from decimal import Decimal

import pytest

from interpose.recordings import Asked
from interpose.rules.compiled import ClientKey

from .made import PROVIDERS, TO_CLAUDE, chat, of_record, replayed


def told(one: object) -> list[str]:
    return [f"{change.aspect}: {change}" for change in one.changes]  # type: ignore[attr-defined]


def test_a_call_that_goes_elsewhere_costs_what_it_costs_there() -> None:
    """Its tokens are those of the model that has answered, which is said; nothing of a credential is asked for."""
    [one], summary = replayed(TO_CLAUDE, chat())
    assert told(one) == ["routing: api.openai.com gpt-4o → claude claude-sonnet-4-5"]
    assert (one.before.cost, one.after.cost) == (Decimal("0.003"), Decimal("0.0045"))
    assert (one.before.approximate, one.after.approximate) == (False, True)
    assert (one.after.outcome, one.after.key) == ("ok", "exec:no-such-program")
    assert (summary.calls, summary.changed) == (1, 1)
    assert summary.after.approximate == 1


def test_what_a_conversion_loses_is_that_of_the_recorded_body() -> None:
    """One call loses something, the other nothing."""
    (one, other), summary = replayed(TO_CLAUDE, chat(0, temperature=1.5), chat(1))
    assert ("approximated", "temperature") in one.after.losses
    assert ("approximated", "temperature") not in other.after.losses
    assert summary.after.lossy == 2  # max_tokens is ours to say
    assert summary.before.lossy == 0


def test_a_call_that_cannot_be_converted_is_refused() -> None:
    """With the status and the code that its client would have got."""
    [one], summary = replayed(TO_CLAUDE, chat(n=2))
    assert told(one) == ["outcome: ok → refused 400 conversion_impossible"]
    assert (summary.before.sent, summary.after.sent, summary.after.outcomes["refused"]) == (1, 0, 1)
    assert one.after.cost is None


def test_calls_that_nothing_changes_are_no_change() -> None:
    """Neither for a stranger's recording nor for our own record."""
    for call in (chat(), of_record()):
        [one], summary = replayed(PROVIDERS, call)
        assert told(one) == []
        assert summary.changed == 0
        assert one.after.cost == one.before.cost == Decimal("0.003")


def test_a_record_alone_is_routed_by_what_it_tells() -> None:
    """The model, the client, the path; its losses are not known."""
    [one], summary = replayed(TO_CLAUDE, of_record())
    assert told(one)[:3] == [
        "routing: openai gpt-4o → claude claude-sonnet-4-5",
        "route: no route → gpt-to-claude",
        "key: env:OPENAI_API_KEY → exec:no-such-program",
    ]
    assert "losses" not in one.after.knows
    assert summary.bodiless == 1


@pytest.mark.parametrize(
    ("match", "why"),
    [
        ("has: images", "route r asks for has"),
        ("larger_than: 10kB", "route r asks for larger_than"),
        ("header: {x-team: a}", "route r asks for header"),
    ],
)
def test_what_a_record_cannot_tell_is_not_decided(match: str, why: str) -> None:
    """Such a call is counted aside, with the reason, and is no change."""
    text = (
        PROVIDERS
        + f"routes:\n  - {{name: r, match: {{endpoint: chat, {match}}}, to: {{provider: claude, model: m}}}}\n"
    )
    [one], summary = replayed(text, of_record())
    assert one.after.outcome == "undecided"
    assert dict(summary.undecided) == {why: 1}
    assert summary.changed == 0


def test_a_route_that_asks_for_a_body_and_cannot_match_leaves_the_call_decided() -> None:
    """Its endpoint is another one, whatever the body holds."""
    text = (
        PROVIDERS + "routes:\n  - {name: r, match: {endpoint: embeddings, larger_than: 10kB}, to: {provider: openai}}\n"
    )
    [one], _ = replayed(text, of_record())
    assert one.after.outcome == "ok"


LIMITED = PROVIDERS + "limits:\n  - {name: few, match: {endpoint: chat}, requests: 2/minute}\n"


def test_limits_count_in_recorded_time() -> None:
    """The third call within a minute would have been a 429, the one after it would not."""
    calls = [chat(number, at=at) for number, at in enumerate((0, 1, 2, 70))]
    found, summary = replayed(LIMITED, *calls)
    assert [one.after.outcome for one in found] == ["ok", "ok", "limited", "ok"]
    assert told(found[2]) == ["outcome: ok → limited 429 rate_limit_exceeded by few"]
    assert summary.after.outcomes["limited"] == 1


def test_calls_are_put_in_order_of_their_times() -> None:
    """A file of flows has the long ones last."""
    calls = [chat(0, at=2), chat(1, at=1), chat(2, at=0)]
    found, summary = replayed(LIMITED, *calls)
    assert [one.after.outcome for one in found] == ["limited", "ok", "ok"]
    assert summary.late == 0


def test_a_call_waits_for_its_turn_in_recorded_time() -> None:
    """Nobody waits here: it is told how long it would have waited, and who would have given up."""
    text = LIMITED.replace("requests: 2/minute", "requests: 2/second, wait: 3s")
    found, summary = replayed(text, *(chat(number, at=0.01 * number) for number in range(5)))
    assert [one.after.outcome for one in found] == ["ok"] * 5
    assert found[1].after.waited == 0
    assert 0 < found[2].after.waited <= found[4].after.waited <= 3
    assert summary.after.waited == 3


def test_slots_are_free_when_recorded_answers_end() -> None:
    """A call that took five seconds holds its slot as long."""
    text = PROVIDERS + "limits:\n  - {name: one, concurrent: 1}\n"
    found, _ = replayed(text, chat(0, at=0, took=5), chat(1, at=1), chat(2, at=6), chat(3, at=7.9), chat(4, at=8.1))
    assert [one.after.outcome for one in found] == ["ok", "limited", "ok", "limited", "ok"]
    waiting, _ = replayed(
        text.replace("concurrent: 1", "concurrent: 1, wait: 10s"), chat(0, at=0, took=5), chat(1, at=1), chat(2, at=1.5)
    )
    assert [one.after.waited for one in waiting] == pytest.approx([0, 4, 5.5])


def test_who_waits_longer_than_it_may_is_turned_away() -> None:
    """After exactly so long, and the next one in the queue is let in when the slot is free."""
    text = PROVIDERS + "limits:\n  - {name: one, concurrent: 1, wait: 2s}\n"
    found, _ = replayed(text, chat(0, took=5), chat(1, at=1), chat(2, at=4))
    assert [(one.after.outcome, one.after.waited) for one in found] == [("ok", 0), ("limited", 2), ("ok", 1)]


def test_token_limits_are_settled_with_what_was_used() -> None:
    """A call is let in by its estimate; what it has really used counts for the next one."""
    text = PROVIDERS + "limits:\n  - {name: words, match: {endpoint: chat}, tokens: 3000/minute}\n"
    found, _ = replayed(text, *(chat(number, at=10 * number, max_tokens=10) for number in range(4)))
    assert [one.after.outcome for one in found] == ["ok", "ok", "ok", "limited"]


def test_a_budget_is_spent_at_the_new_prices() -> None:
    """At $0.0045 a call, a cent is gone with the third."""
    text = TO_CLAUDE + "limits:\n  - {name: purse, budget: $0.01/day}\n"
    found, _ = replayed(text, *(chat(number, at=10 * number, max_tokens=10) for number in range(4)))
    assert [one.after.outcome for one in found] == ["ok", "ok", "ok", "limited"]
    assert found[3].after.code == "insufficient_quota by purse"


FALLBACK = (
    PROVIDERS
    + "routes:\n  - {name: r, match: {endpoint: chat}, to: {provider: openai}, "
    + "fallback: [{provider: claude, model: m}]}\n"
)


def test_what_failed_there_fails_there_again() -> None:
    """A place that has answered 503 does so again, and the call goes on; nobody knows that the other one would fail."""
    [one], _ = replayed(FALLBACK, chat(status=503))
    assert (one.after.provider, one.after.outcome, one.after.sends) == ("claude", "ok", 2)
    attempts = [
        {
            "provider": "openai",
            "origin": "https://api.openai.com",
            "model": "gpt-4o",
            "credential": "env:OPENAI_API_KEY",
            "status": 503,
            "reason": "Service Unavailable",
        }
    ]
    failed = of_record(
        status=503, outcome="error", attempts=json.dumps(attempts), input_tokens=None, output_tokens=None
    )
    [one], _ = replayed(PROVIDERS, failed)
    assert told(one) == []


def test_what_is_wrong_with_the_request_is_wrong_everywhere() -> None:
    """A 400 stays a 400 at another provider; a 401 is that place's own."""
    [one], _ = replayed(TO_CLAUDE, chat(status=400))
    assert (one.after.outcome, one.after.status) == ("error", 400)
    [one], _ = replayed(TO_CLAUDE, chat(status=401))
    assert (one.after.outcome, one.after.status) == ("ok", 200)


def test_a_call_that_was_refused_and_is_sent_now_has_its_tokens_estimated() -> None:
    """And the report says so."""
    refused = chat(status=429, reply_headers=((b"x-interpose-id", b"ip_1"),), tokens=(0, 0))
    [one], _ = replayed(PROVIDERS, refused)
    assert told(one) == ["outcome: limited 429 → openai gpt-4o"]
    assert one.after.approximate
    assert one.after.usage.output_tokens == 500
    assert one.after.cost


def test_hosts_that_are_not_claimed_are_left_out_and_counted() -> None:
    """What a browser did beside is no AI call."""
    found, summary = replayed(TO_CLAUDE, chat(0, host="example.com"), chat(1))
    assert len(found) == 1
    assert dict(summary.left_out) == {"example.com": 1}


def test_a_recorded_call_that_would_not_be_intercepted_any_more_is_a_change() -> None:
    """Its host is none of those that the rules name."""
    [one], _ = replayed("version: 1\nintercept: {hosts: [api.anthropic.com]}\n", of_record())
    assert told(one) == ["outcome: ok → unclaimed"]


def key(value: str, name: str = "ci") -> ClientKey:
    return ClientKey(name, hashlib.sha256(value.encode()).hexdigest())


def test_virtual_keys_that_the_rules_do_not_know_are_told() -> None:
    """They are a 401, as they would be; a key that was issued is known."""
    call = chat(headers=((b"authorization", b"Bearer vk-FAKE-1"),))
    [one], summary = replayed(PROVIDERS, call)
    assert (one.after.status, one.after.code) == (401, "invalid_api_key")
    assert dict(summary.strangers) == {"a virtual key": 1}
    [one], summary = replayed(PROVIDERS, call, issued=(key("vk-FAKE-1"),))
    assert (one.after.outcome, one.after.client, dict(summary.strangers)) == ("ok", "ci", {})


def test_a_client_whose_key_is_masked_is_known_by_its_name() -> None:
    """As a ledger tells it; one that nobody knows is a 401."""
    [one], summary = replayed(PROVIDERS, of_record(client="ci"))
    assert (one.after.outcome, dict(summary.strangers)) == ("refused", {"the client ci": 1})
    [one], _ = replayed(PROVIDERS, of_record(client="ci"), issued=(key("vk-FAKE-1"),))
    assert (one.after.outcome, one.after.client, told(one)) == ("ok", "ci", [])


def test_other_rules_are_compared_with_rules() -> None:
    """What was recorded is then no matter: both sides are played."""
    [one], _ = replayed(TO_CLAUDE, chat(), against=PROVIDERS)
    assert told(one)[:2] == ["routing: openai gpt-4o → claude claude-sonnet-4-5", "route: no route → gpt-to-claude"]
    assert replayed(TO_CLAUDE, chat(n=2), chat(1), against=TO_CLAUDE)[1].changed == 0


def test_chance_falls_as_it_fell() -> None:
    """A canary that was recorded goes the same way again, and one that was not always the same way."""
    text = (
        PROVIDERS
        + "routes:\n  - {name: r, match: {endpoint: chat}, "
        + "to: [{provider: openai, weight: 50}, {provider: claude, model: m, weight: 50}]}\n"
    )
    marks = ((b"x-interpose-id", b"ip_1"), (b"x-interpose-provider", b"claude"), (b"x-interpose-model", b"m"))
    calls = [chat(number, reply_headers=marks) for number in range(20)]
    assert {one.after.provider for one in replayed(text, *calls)[0]} == {"claude"}
    unknown = [chat(number) for number in range(20)]
    first, second = (
        [one.after.provider for one in replayed(text, *unknown)[0]],
        [one.after.provider for one in replayed(text, *unknown)[0]],
    )
    assert first == second
    assert set(first) == {"openai", "claude"}


def test_a_reply_in_another_name_costs_what_has_answered() -> None:
    """A converted reply names the model that the client had asked for, whose price is not that of our header's."""
    marks = ((b"x-interpose-id", b"ip_1"), (b"x-interpose-provider", b"claude"))
    call = chat(reply_headers=(*marks, (b"x-interpose-model", b"claude-haiku-4-5")), tokens=(1000, 100))
    priced = "  claude-haiku-4-5: {input: 1, output: 5}\n"
    [unknown], _ = replayed(TO_CLAUDE, call)
    [known], _ = replayed(TO_CLAUDE.replace("providers:\n", f"{priced}providers:\n", 1), call)
    assert (unknown.before.cost, known.before.cost) == (None, Decimal("0.0015"))


def test_a_gateways_calls_are_known_by_our_header() -> None:
    """Its host is any name; its clients need keys."""
    call = chat(
        host="ai.lan",
        headers=((b"authorization", b"Bearer vk-FAKE-1"), (b"content-type", b"application/json")),
        reply_headers=(
            (b"x-interpose-id", b"ip_1"),
            (b"x-interpose-provider", b"openai"),
            (b"x-interpose-model", b"gpt-4o"),
        ),
    )
    [one], summary = replayed(TO_CLAUDE, call, issued=(key("vk-FAKE-1"),))
    assert told(one)[0] == "routing: openai gpt-4o → claude claude-sonnet-4-5"
    assert not summary.left_out


def test_a_body_that_was_not_kept_whole_is_decided_by_the_model_that_it_begins_with() -> None:
    """As far as that goes."""
    call = chat()
    call.asked = Asked("POST", call.asked.url, call.asked.headers, (call.asked.body or b"")[:30], 5000)
    [one], summary = replayed(TO_CLAUDE, call)
    assert one.after.provider == "claude"
    assert summary.bodiless == 1
    call.asked = Asked("POST", call.asked.url, call.asked.headers, (call.asked.body or b"")[:30], 9_000_000)
    [one], _ = replayed(TO_CLAUDE, call)
    assert one.after.provider == "openai"  # it streams through, and its model is not read


def test_records_that_tell_the_same_are_decided_once_and_each_by_its_own_tokens() -> None:
    """The limits count what each has used; whoever differs in what a record tells is decided for itself."""
    text = PROVIDERS + "limits:\n  - {name: words, match: {endpoint: chat}, tokens: 3000/minute}\n"
    calls = [of_record(number, at=number, input_tokens=number * 1000) for number in range(4)]
    found, _ = replayed(text, *calls, of_record(4, at=90, asked_model="o1", sent_model="o1"))
    assert [one.after.outcome for one in found] == ["ok", "ok", "limited", "limited", "ok"]
    assert [one.after.usage.input_tokens for one in found if one.after.sent] == [0, 1000, 1000]
    assert found[4].after.model == "o1"
