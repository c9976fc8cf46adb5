"""What may follow a failure, told from statuses, words and the bodies that providers really send."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.attempts.verdicts import WORDS, Verdict, of_failure, of_reply, spent

ON: frozenset[int | str] = frozenset((429, "5xx", "connect", "timeout"))

# In the shapes of the errors in the providers' documents and in reports of their users.
SPENT = {
    "openai": {
        "error": {
            "message": "You exceeded your current quota, please check your plan and billing details.",
            "type": "insufficient_quota",
            "param": None,
            "code": "insufficient_quota",
        }
    },
    "openai-hard-limit": {"error": {"message": "Billing hard limit", "code": "billing_hard_limit_reached"}},
    "anthropic-spend": {
        "type": "error",
        "error": {
            "type": "rate_limit_error",
            "message": "This request would exceed your account's monthly spend limit. Please try again later.",
        },
    },
    "anthropic-usage": {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": "You have reached your specified API usage limits. You will regain access on 2026-02-01.",
        },
    },
    "anthropic-long-context": {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "Extra usage is required for long context requests."},
    },
    "google-day": {
        "error": {
            "code": 429,
            "message": "You exceeded your current quota, please check your plan and billing details.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                    "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
                },
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "26s"},
            ],
        }
    },
    "google-limit-of-a-day": [
        {
            "error": {
                "code": 429,
                "details": [
                    {
                        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                        "metadata": {"quota_limit": "Gemini25ProRequestsPerDay"},
                    }
                ],
            }
        }
    ],
    "moonshot": {"error": {"type": "exceeded_current_quota_error", "message": "suspended"}},
    "plain": {"error": "Insufficient Balance"},
}
BUSY = {
    "openai": {"error": {"message": "Rate limit reached for gpt-4o", "type": "tokens", "code": "rate_limit_exceeded"}},
    "anthropic": {"type": "error", "error": {"type": "rate_limit_error", "message": "Number of requests exceeded"}},
    "anthropic-account": {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "This request would exceed your account's rate limit."},
    },
    "google-minute": {
        "error": {
            "code": 429,
            "message": "You exceeded your current quota, please check your plan and billing details.",
            "details": [{"violations": [{"quotaId": "GenerateContentInputTokensPerModelPerMinute-FreeTier"}]}],
        }
    },
    "cohere": {"message": "trial token rate limit exceeded"},
    "nothing": None,
}


@pytest.mark.parametrize("body", SPENT.values(), ids=SPENT)
@pytest.mark.parametrize("coding", ["", "gzip"])
def test_what_no_wait_mends_is_not_asked_for_again(body: object, coding: str) -> None:
    """A quota that is used up is worth another credential or provider, never the same one."""
    data = json.dumps(body).encode()
    headers = ((b"Content-Encoding", b"gzip"),) if coding else ()
    assert of_reply(429, headers, gzip.compress(data) if coding else data, ON) is Verdict.ELSEWHERE


@pytest.mark.parametrize("body", BUSY.values(), ids=BUSY)
def test_a_limit_of_speed_is_worth_another_send(body: object) -> None:
    """A 429 that passes by itself is retried, though its prose may speak of plans and billing."""
    assert of_reply(429, (), json.dumps(body).encode(), ON) is Verdict.AGAIN


@given(status=st.integers(100, 399), body=st.binary(), on=st.frozensets(st.integers(100, 599)))
def test_a_success_is_final(status: int, body: bytes, on: frozenset[int | str]) -> None:
    """Whatever is listed: a reply that is no error is the client's."""
    assert of_reply(status, (), body, on | ON) is Verdict.FINAL


@given(status=st.integers(400, 599), on=st.frozensets(st.sampled_from((*range(400, 600), "4xx", "5xx"))))
def test_what_the_rules_do_not_list_is_final(status: int, on: frozenset[int | str]) -> None:
    """A status counts by itself or by its class."""
    asked = status in on or f"{status // 100}xx" in on
    assert of_reply(status, (), b"", on) is (Verdict.AGAIN if asked else Verdict.FINAL)


@given(body=st.binary(max_size=200), document=st.recursive(st.none() | st.text(), st.lists))
def test_bodies_of_any_kind_are_judged(body: bytes, document: object) -> None:
    """No body is so odd that judging it fails; none that says nothing is taken for a spent quota."""
    assert spent(body) is False
    for odd in (document, {"error": document}, {"error": {"details": document}}, {"error": {"details": [{"a": 1}]}}):
        assert spent(json.dumps(odd).encode()) in (False, True)


def test_a_provider_can_forbid_the_retry() -> None:
    """`x-should-retry: false` is heeded; `true` makes nothing retryable that is not listed."""
    assert of_reply(500, ((b"X-Should-Retry", b"false"),), b"", ON) is Verdict.ELSEWHERE
    assert of_reply(400, ((b"x-should-retry", b"true"),), b"", ON) is Verdict.FINAL


FAILURES = [
    ("connect", False, ON, Verdict.AGAIN),
    ("timeout", False, ON, Verdict.AGAIN),
    ("timeout", True, ON, Verdict.AGAIN),
    ("disconnected", False, ON, Verdict.FINAL),
    ("disconnected", False, {"reset"}, Verdict.AGAIN),
    ("disconnected", True, {"reset"}, Verdict.FINAL),
    ("disconnected", True, {"truncated"}, Verdict.AGAIN),
    ("protocol", False, {"reset"}, Verdict.AGAIN),
    ("certificate", False, ON, Verdict.ELSEWHERE),
    ("forbidden", False, {*ON, *WORDS}, Verdict.FINAL),
    ("request", False, {*ON, *WORDS}, Verdict.FINAL),
]


@pytest.mark.parametrize(("kind", "begun", "on", "verdict"), FAILURES)
def test_failures_go_by_the_words_of_the_rules(kind: str, begun: bool, on: set[int | str], verdict: Verdict) -> None:
    """A bad certificate does not pass, and a call that is at fault itself is not sent anywhere else."""
    assert of_failure(kind, on, begun=begun) is verdict


def test_what_broke_off_without_content_is_as_good_as_no_reply() -> None:
    """Either word of the rules is enough for it; neither is for another kind of failure."""
    for on in ({"reset"}, {"truncated"}):
        assert of_failure("disconnected", on, begun=True, withheld=True) is Verdict.AGAIN
    assert of_failure("disconnected", {"reset"}, begun=True) is Verdict.FINAL
    assert of_failure("timeout", {"reset", "truncated"}, begun=True, withheld=True) is Verdict.FINAL
