"""Headers of a reply that mean the same in two formats: rate limits, retry hints, the request's id.

Read in the provider's dialect, written in the client's; what has no source is left out. Times are moments in one
(RFC 3339) and durations in the other, hence the clock that is passed in.
https://platform.openai.com/docs/guides/rate-limits, https://docs.claude.com/en/api/rate-limits#response-headers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from interpose.call import Header, Headers

KINDS = ("requests", "tokens")
FIELDS = ("limit", "remaining", "reset")
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS = (86400.0, 3600.0, 60.0, 1.0, 0.001)
# The same in every format.
PLAIN = (b"retry-after", b"retry-after-ms", b"x-should-retry")
REQUEST_IDS = (b"x-request-id", b"request-id", b"x-amzn-requestid", b"x-goog-request-id")


@dataclass(frozen=True, slots=True)
class Dialect:
    """`name` makes a header's name of a kind and a field; `reads` and `writes` turn a reset into seconds and back."""

    name: Callable[[str, str], bytes]
    reads: Callable[[str, float], float | None]
    writes: Callable[[float, float], str]
    request_id: bytes


def duration_seconds(text: str, now: float = 0.0) -> float | None:
    """The seconds of `6m0s`, `1.5s`, `20ms` or a bare number; None for anything else."""
    text = text.strip()
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        try:
            seconds = float(text)
        except ValueError:
            return None
        return seconds if 0 <= seconds < 1e9 else None
    return sum(float(part) * unit for part, unit in zip(found.groups(), _UNITS, strict=True) if part)


def duration_text(seconds: float, now: float = 0.0) -> str:
    """As OpenAI writes it: `1h2m3s`, `34s`, `120ms`."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest}s"


def moment_seconds(text: str, now: float) -> float | None:
    """The seconds from `now` until an RFC 3339 time; 0 for one that is past."""
    try:
        return max(0.0, datetime.fromisoformat(text.strip()).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def moment_text(seconds: float, now: float) -> str:
    return datetime.fromtimestamp(now + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


OPENAI = Dialect(
    lambda kind, field: f"x-ratelimit-{field}-{kind}".encode(), duration_seconds, duration_text, b"x-request-id"
)
ANTHROPIC = Dialect(
    lambda kind, field: f"anthropic-ratelimit-{kind}-{field}".encode(), moment_seconds, moment_text, b"request-id"
)
# Bedrock tells no limits; the ids of requests its clients show:
# https://docs.aws.amazon.com/boto3/latest/guide/error-handling.html
BEDROCK = replace(OPENAI, request_id=b"x-amzn-requestid")
# By codec; the others' clients know no such headers, and their providers send none or OpenAI's.
DIALECTS: Mapping[str, Dialect] = {
    "anthropic": ANTHROPIC,
    "bedrock-anthropic": ANTHROPIC,
    "bedrock-converse": BEDROCK,
    "vertex-anthropic": ANTHROPIC,
}


def translate(headers: Headers, provider: str, client: str, now: float) -> Iterator[Header]:
    """The client's headers for what a reply's `headers` say in the provider's dialect; codecs are named."""
    told: dict[bytes, str] = {}
    for name, value in headers:
        told.setdefault(name.lower(), value.decode("latin-1"))
    for name in PLAIN:
        if name in told:
            yield name, told[name].encode("latin-1")
    there, here = DIALECTS.get(provider, OPENAI), DIALECTS.get(client, OPENAI)
    for name in REQUEST_IDS:
        if name in told:
            yield here.request_id, told[name].encode("latin-1")
            break
    for kind in KINDS:
        for field in FIELDS:
            said = told.get(there.name(kind, field))
            if said is None:
                continue
            if field != "reset":
                yield here.name(kind, field), said.encode("latin-1")
            elif (seconds := there.reads(said, now)) is not None:
                yield here.name(kind, field), here.writes(seconds, now).encode()
