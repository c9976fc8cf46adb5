"""What a failure means for the call: over, worth another send, or worth one elsewhere only.

`on` is the rules' `retry.on`: statuses (429), their classes (5xx) and failures of the connection (`connect`, `timeout`,
`reset`, `truncated`). Whether there is time or budget for another send is not decided here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from enum import Enum, auto

import orjson

from interpose.call import Headers, header
from interpose.wire.coding import decoder
from interpose.wire.error import WireError

On = Collection[int | str]


class Verdict(Enum):
    """What may follow."""

    FINAL = auto()  # the client's answer
    AGAIN = auto()  # another send, after a pause where it goes the same way
    ELSEWHERE = auto()  # no use in asking there again: only with another credential or provider


# What rules call the failures of the upstream leg (`upstream.FailureKind`). What is not here is the call's own fault.
WORDS: Mapping[str, frozenset[str]] = {
    "connect": frozenset(("connect",)),
    "certificate": frozenset(("connect",)),
    "timeout": frozenset(("timeout",)),
    "disconnected": frozenset(("reset",)),
    "protocol": frozenset(("reset",)),
}
# They do not pass by themselves.
STANDING = frozenset(("certificate",))

# The words by which providers say that money or a plan is used up, which no wait of seconds mends.
# OpenAI: https://platform.openai.com/docs/guides/error-codes#api-errors; Moonshot has exceeded_current_quota_error.
SPENT_CODES = frozenset(
    (
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "exceeded_current_quota_error",
        "insufficient_balance",
        "billing_error",
        "budget_exceeded",
        "quota_exceeded",
        "access_terminated",
    )
)
# Anthropic says rate_limit_error for these too and tells the difference in prose alone:
# https://docs.claude.com/en/api/rate-limits#spend-limits. So do others.
SPENT_TEXTS = (
    "api usage limits",
    "spend limit",
    "spending limit",
    "spending cap",
    "monthly usage limit",
    "extra usage is required",
    "usage credits are required",
    "credit balance is too low",
    "insufficient balance",
)
# Where 429 is sent again, a used-up quota under another status is, too: DeepSeek and OpenRouter say 402, Anthropic 400
# for a credit balance (https://api-docs.deepseek.com/quick_start/error_codes, https://docs.claude.com/en/api/errors).
SPENT_STATUSES = frozenset((400, 402, 403))
# The same credential will be told the same.
OF_THE_CREDENTIAL = frozenset((401, 402, 403))
# Google names the quota that was used up. One of a day comes back with the day, whatever RetryInfo says; its prose is
# the same for those of a minute. https://ai.google.dev/gemini-api/docs/rate-limits, google.rpc.QuotaFailure, ErrorInfo
DAILY = ("perday", "per_day", "permonth")
# So much of an error's body is looked at when it is unpacked.
DECODED_LIMIT = 1 << 20


def of_reply(status: int, headers: Headers, body: bytes, on: On) -> Verdict:
    """The verdict on a reply's head and its body, as far as it is known."""
    if may_be_spent(status, on) and spent(body, headers):
        return Verdict.ELSEWHERE
    if status < 400 or not listed(status, on):
        return Verdict.FINAL
    if (header(headers, b"x-should-retry") or b"").strip().lower() == b"false":
        return Verdict.ELSEWHERE
    return Verdict.ELSEWHERE if status in OF_THE_CREDENTIAL else Verdict.AGAIN


def may_be_spent(status: int, on: On) -> bool:
    """Whether such a reply may be a used-up quota that another credential or provider is to be asked for."""
    return listed(status, on) or (status in SPENT_STATUSES and listed(429, on))


def of_failure(kind: str, on: On, *, begun: bool = False, withheld: bool = False) -> Verdict:
    """The verdict on an upstream's failure. `begun` says that a reply had come, and broke off; `withheld` that there
    was no content yet, so that it is as good as none.
    """
    words = WORDS.get(kind, frozenset())
    if begun and "reset" in words:
        words = frozenset(("truncated", "reset") if withheld else ("truncated",))
    if words.isdisjoint(on):
        return Verdict.FINAL
    return Verdict.ELSEWHERE if kind in STANDING else Verdict.AGAIN


def listed(status: int, on: On) -> bool:
    return status in on or f"{status // 100}xx" in on


def spent(body: bytes, headers: Headers = ()) -> bool:
    """Whether an error's body says that money or a plan is used up, not that calls come too fast."""
    document = parsed(body, headers)
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return False
    error = document.get("error", document)
    if not isinstance(error, dict):
        error = {"message": error}
    if any(isinstance(word := error.get(name), str) and word.lower() in SPENT_CODES for name in ("code", "type")):
        return True
    message = error.get("message")
    if isinstance(message, str) and any(text in message.lower() for text in SPENT_TEXTS):
        return True
    return any(day in quota.lower() for quota in quotas(error) for day in DAILY)


def quotas(error: Mapping[str, object]) -> Iterator[str]:
    """The names of the quotas that one of Google's errors speaks of."""
    for detail in details(error):
        metadata = detail.get("metadata")
        told = [metadata.get("quota_limit")] if isinstance(metadata, dict) else []
        told += [violation.get("quotaId") for violation in listed_objects(detail.get("violations"))]
        yield from (name for name in told if isinstance(name, str))


def parsed(body: bytes, headers: Headers = ()) -> object:
    """A reply's JSON, unpacked if need be; None if it is none."""
    coding = (header(headers, b"content-encoding") or b"").decode("latin-1")
    try:
        if coding:
            unpacker = decoder(coding, limit=DECODED_LIMIT)
            if unpacker is None:
                return None
            body = b"".join(unpacker.feed_pieces(body)) + unpacker.finish()
        return orjson.loads(body)
    except (orjson.JSONDecodeError, WireError):
        return None


def details(error: Mapping[str, object]) -> list[dict[str, object]]:
    """Google's `details`: https://google.aip.dev/193."""
    return listed_objects(error.get("details"))


def listed_objects(value: object) -> list[dict[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
