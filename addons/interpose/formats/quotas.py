"""What a provider says is left of its quota, in the headers of each reply: as shares, with when they are whole again.

Names differ by provider, their shape does not: a limit and what remains of it, with a suffix or in the middle for what
is counted; or the share that is used up. https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers,
https://docs.claude.com/en/api/rate-limits#response-headers, https://console.groq.com/docs/rate-limits#rate-limit-headers,
https://inference-docs.cerebras.ai/support/rate-limits, https://openrouter.ai/docs/api-reference/limits
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from interpose.call import Headers

from .ratelimits import duration_seconds, moment_seconds

# Who says no reset counts by the minute (Azure, Mistral).
UNTOLD = 60.0
# Nothing that a header says is believed for longer: the longest windows are those of a month.
LONGEST = 32 * 86_400.0

_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-")
# x-ratelimit-remaining-tokens, x-ratelimit-limit-req-minute, X-RateLimit-Reset
_PLAIN = re.compile(r"x-ratelimit-(limit|remaining|reset)(?:-(.+))?")
# anthropic-ratelimit-input-tokens-remaining, anthropic-ratelimit-unified-5h-utilization
_ANTHROPIC = re.compile(r"anthropic-ratelimit-(.+)-(limit|remaining|reset|utilization)")
# Of what else is counted (images, minutes of audio, extra usage that is paid for), no conversation takes any.
_COUNTED = re.compile(r"|.*(?:req|token).*|unified-(?!overage).*")
# Times as numbers are durations below this, moments of Unix time above, in milliseconds from there on.
_MOMENT, _MILLISECONDS = 1e9, 1e11


@dataclass(frozen=True, slots=True)
class Quota:
    """`left` is a share from 0 to 1, true until `until` (Unix seconds)."""

    left: float
    until: float


def told(headers: Headers, now: float) -> tuple[Quota, ...]:
    """Every quota that a reply tells of; what makes no sense is none. `now` is Unix time in seconds."""
    said: dict[str, dict[str, str]] = {}
    for name, value in headers:
        lower = name.lower()
        if lower.startswith(_PREFIXES) and (found := _named(lower.decode("latin-1"))) is not None:
            counted, field = found
            said.setdefault(counted, {}).setdefault(field, value.decode("latin-1").strip())
    return tuple(_quotas(said, now))


def _named(name: str) -> tuple[str, str] | None:
    """What is counted, and which field of it the header gives."""
    if (plain := _PLAIN.fullmatch(name)) is not None:
        counted, field = plain[2] or "", plain[1]
    elif (found := _ANTHROPIC.fullmatch(name)) is not None:
        counted, field = found[1], found[2]
    else:
        return None
    return (counted, field) if _COUNTED.fullmatch(counted) else None


def _quotas(said: dict[str, dict[str, str]], now: float) -> Iterator[Quota]:
    for fields in said.values():
        left = _left(fields)
        if left is not None:
            seconds = _seconds(fields.get("reset", ""), now)
            yield Quota(left, now + min(UNTOLD if seconds is None else seconds, LONGEST))


def _left(fields: dict[str, str]) -> float | None:
    used = _number(fields.get("utilization", ""))
    if used is not None:
        return max(0.0, 1.0 - used)
    limit, remaining = _number(fields.get("limit", "")), _number(fields.get("remaining", ""))
    if not limit or remaining is None:
        return None
    return min(1.0, remaining / limit)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _seconds(text: str, now: float) -> float | None:
    """The seconds until a reset: a duration, a moment in numbers, or one in words."""
    number = _number(text)
    if number is not None and number >= _MOMENT:
        return max(0.0, (number / 1000 if number >= _MILLISECONDS else number) - now)
    seconds = duration_seconds(text)
    return moment_seconds(text, now) if seconds is None else seconds
