"""Rate limits, retry hints and request ids of one format in the words of another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.formats.ratelimits import duration_seconds, duration_text, moment_seconds, moment_text, translate

NOW = 1_795_000_000.0
CLAUDE = (
    (b"Retry-After", b"7"),
    (b"request-id", b"req_1"),
    (b"anthropic-ratelimit-requests-limit", b"50"),
    (b"anthropic-ratelimit-requests-remaining", b"49"),
    (b"anthropic-ratelimit-requests-reset", moment_text(90, NOW).encode()),
    (b"anthropic-ratelimit-tokens-limit", b"8000"),
    (b"content-type", b"application/json"),
)
OPENAI = (
    (b"x-request-id", b"req_1"),
    (b"x-ratelimit-limit-tokens", b"8000"),
    (b"x-ratelimit-reset-tokens", b"1m30s"),
    (b"retry-after-ms", b"120"),
    (b"x-should-retry", b"true"),
)


def test_claudes_limits_for_an_openai_client() -> None:
    """Moments become durations; nothing else comes along."""
    assert dict(translate(CLAUDE, "anthropic", "openai-chat", NOW)) == {
        b"retry-after": b"7",
        b"x-request-id": b"req_1",
        b"x-ratelimit-limit-requests": b"50",
        b"x-ratelimit-remaining-requests": b"49",
        b"x-ratelimit-reset-requests": b"1m30s",
        b"x-ratelimit-limit-tokens": b"8000",
    }


def test_openais_limits_for_a_claude_client() -> None:
    """Durations become moments."""
    assert dict(translate(OPENAI, "openai-responses", "anthropic", NOW)) == {
        b"request-id": b"req_1",
        b"anthropic-ratelimit-tokens-limit": b"8000",
        b"anthropic-ratelimit-tokens-reset": moment_text(90, NOW).encode(),
        b"retry-after-ms": b"120",
        b"x-should-retry": b"true",
    }


def test_bedrocks_clients_show_the_id_of_a_request() -> None:
    """By AWS's name for it, whoever gave it out; and the other way."""
    assert dict(translate(OPENAI[:1], "openai-chat", "bedrock-converse", NOW)) == {b"x-amzn-requestid": b"req_1"}
    amazon = ((b"x-amzn-RequestId", b"r-1"),)
    assert dict(translate(amazon, "bedrock-converse", "anthropic", NOW)) == {b"request-id": b"r-1"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("1h2m3s", 3723),
        ("120ms", 0.12),
        ("1.5s", 1.5),
        ("2d", 172800),
        ("34", 34),
        ("7.66s", 7.66),
    ],
)
def test_durations_as_openai_writes_them(text: str, seconds: float) -> None:
    """https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers"""
    assert duration_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1", "1s2h", "nan", "inf", "1e99"])
def test_what_is_no_time_is_left_out(text: str) -> None:
    """A header without a meaning is not passed on as one with another."""
    assert duration_seconds(text) is None
    assert moment_seconds(text, NOW) is None
    assert dict(translate(((b"x-ratelimit-reset-tokens", text.encode()),), "openai-chat", "anthropic", NOW)) == {}


@given(st.floats(0, 1e6))
def test_a_duration_is_read_as_it_was_written(seconds: float) -> None:
    """To the second, or to the millisecond below one."""
    found = duration_seconds(duration_text(seconds))
    assert found is not None
    assert abs(found - seconds) <= (0.5 if seconds >= 1 else 0.0006)


def test_a_moment_that_is_past_is_now() -> None:
    """No negative duration reaches a client."""
    assert moment_seconds("2001-01-01T00:00:00Z", NOW) == 0
