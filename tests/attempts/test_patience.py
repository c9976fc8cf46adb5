"""How long to wait: what providers ask for, and backoff with full jitter."""

import json
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.attempts.patience import LONGEST, backoff, pause, told
from interpose.call import Headers

NOW = 1_800_000_000.0
DICE = st.floats(0, 1, exclude_max=True)
SECONDS = st.floats(0.001, 10_000)


def retry_info(delay: object) -> bytes:
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    return json.dumps({"error": {"code": 429, "details": [{"@type": "other"}, detail]}}).encode()


DATE = format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True).encode()
WISHES: list[tuple[Headers, bytes, float | None]] = [
    ((), b"", None),
    (((b"retry-after", b"7"),), b"", 7),
    (((b"Retry-After", b"1.5"),), b"", 1.5),
    (((b"retry-after", b"7"), (b"retry-after-ms", b"250")), b"", 0.25),
    (((b"retry-after", DATE),), b"", 90),
    (((b"retry-after", b"Thu, 01 Jan 1970 00:00:00 GMT"),), b"", 0),
    (((b"retry-after", b"86400"),), b"", LONGEST),
    (((b"retry-after", b"-1"),), b"", None),
    (((b"retry-after", b"nan"),), b"", None),
    (((b"retry-after", b"inf"),), b"", None),
    (((b"retry-after", b"soon"),), retry_info("3s"), 3),
    ((), retry_info("26.5s"), 26.5),
    ((), retry_info(5), None),
    ((), b"[" + retry_info("1s") + b"]", 1),
    (((b"retry-after", b"2"),), retry_info("9s"), 2),
]


@pytest.mark.parametrize(("headers", "body", "seconds"), WISHES)
def test_what_a_reply_asks_for(headers: Headers, body: bytes, seconds: float | None) -> None:
    """Milliseconds, seconds, dates and RetryInfo are understood; nonsense is no wish."""
    assert told(headers, body, NOW) == (None if seconds is None else pytest.approx(seconds))


@given(value=st.binary(max_size=60), name=st.sampled_from([b"retry-after", b"retry-after-ms"]), body=st.binary())
def test_a_wish_is_never_more_than_an_hour_nor_negative(value: bytes, name: bytes, body: bytes) -> None:
    """Whatever a provider sends, it costs nobody a day, and fails no call."""
    wish = told(((name, value),), body, NOW)
    assert wish is None or 0 <= wish <= LONGEST


@given(failures=st.integers(1, 10_000), low=SECONDS, more=SECONDS, dice=DICE)
def test_backoff_is_jittered_fully_and_bounded(failures: int, low: float, more: float, dice: float) -> None:
    """From nothing up to `low` doubled for each failure, and never above `high`."""
    high = low + more
    seconds = backoff(failures, low, high, lambda: dice)
    assert 0 <= seconds <= high
    assert seconds == pytest.approx(dice * min(high, low * 2 ** min(failures - 1, 60)))
    assert seconds <= backoff(failures + 1, low, high, lambda: dice)


@given(wish=st.floats(0, LONGEST), low=SECONDS, more=SECONDS, dice=DICE)
def test_a_wish_is_never_undercut(wish: float, low: float, more: float, dice: float) -> None:
    """Who is told to wait does, or gives up where it is longer than the rules wait."""
    high = low + more
    seconds = pause(1, wish, low, high, lambda: dice)
    if wish > high:
        assert seconds is None
    else:
        assert seconds is not None
        assert wish <= seconds <= high
