"""How long to wait: what the provider asks for, else exponential backoff with full jitter.

https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3 (Retry-After: seconds or a date), `retry-after-ms` (OpenAI, Azure,
Anthropic), google.rpc.RetryInfo in Google's error bodies. https://aws.amazon.com/builders-library/
timeouts-retries-and-backoff-with-jitter/ for the jitter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from math import isfinite

from interpose.call import Headers, header
from interpose.formats.ratelimits import duration_seconds

from .verdicts import details, parsed

# A provider can ask for hours, or say nonsense; nobody's wish counts for more than this.
LONGEST = 3600.0


def told(headers: Headers, body: bytes, now: float) -> float | None:
    """The seconds that a reply asks to wait, at most LONGEST; None if it asks for none. `now` is Unix time.

    Of several wishes the finest counts: retry-after-ms, then Retry-After, then RetryInfo.
    """
    return next((min(seconds, LONGEST) for seconds in _wishes(headers, body, now) if seconds is not None), None)


def _wishes(headers: Headers, body: bytes, now: float) -> Iterator[float | None]:
    milliseconds = _number(_text(headers, b"retry-after-ms"))
    yield None if milliseconds is None else milliseconds / 1000
    said = _text(headers, b"retry-after")
    seconds = _number(said)
    yield _until(said, now) if seconds is None else seconds
    yield _retry_info(parsed(body, headers)) if body else None


def _text(headers: Headers, name: bytes) -> str:
    return (header(headers, name) or b"").decode("latin-1").strip()


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) and value >= 0 else None


def _until(text: str, now: float) -> float | None:
    """The seconds until an HTTP date; 0 for one that is past."""
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _retry_info(document: object) -> float | None:
    if isinstance(document, list) and document:
        document = document[0]
    error = document.get("error") if isinstance(document, dict) else None
    for detail in details(error) if isinstance(error, dict) else ():
        delay = detail.get("retryDelay")
        if str(detail.get("@type", "")).endswith("google.rpc.RetryInfo") and isinstance(delay, str):
            return duration_seconds(delay)
    return None


def backoff(failures: int, low: float, high: float, rng: Callable[[], float]) -> float:
    """A pause after so many failures (from 1): anything up to `low` doubled each time, at most `high`."""
    # Beyond 2**60 there is nothing to double that `high` would not have ended.
    return rng() * min(high, low * 2.0 ** min(failures - 1, 60))


def pause(failures: int, wish: float | None, low: float, high: float, rng: Callable[[], float]) -> float | None:
    """The seconds to wait before the same way is tried again; None if the provider asks for more than `high`.

    A wish is never undercut, and spread a little: everyone who waits has been told the same.
    """
    if wish is None:
        return backoff(failures, low, high, rng)
    return None if wish > high else min(high, wish + rng() * min(low, wish))
