"""Errors of the Responses API, read and written. Numbers in docstrings are pitfalls'."""

from __future__ import annotations

import json
from typing import Any

import pytest

from interpose.formats.codecs.responses import CODEC
from interpose.ir import (
    Failed,
)

# Errors


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"error": {"message": "m", "type": "t", "param": "p", "code": "c"}},
            Failed("m", 400, "t", "c", "p"),
        ),
        ({"code": "invalid-argument", "error": "m"}, Failed("m", 400, code="invalid-argument")),
        ({"detail": "m"}, Failed("m", 400)),
        ({"error": {"message": None, "code": 5}}, Failed("an error without a message", 400, code="5")),
        ("<html>no</html>", Failed("<html>no</html>", 400)),
        (None, Failed("the provider answered with status 400", 400)),
        ([1], Failed("[1]", 400)),
    ],
)
def test_errors_are_read_in_every_shape(body: Any, expected: Failed) -> None:
    """OpenAI's, xAI's, a gateway's, and what is no JSON at all."""
    data = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    assert CODEC.read_error(400, {}, data) == expected


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "9"}, 9.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_when_to_try_again_is_read(headers: dict[str, str], seconds: float | None) -> None:
    """28: milliseconds first."""
    assert CODEC.read_error(429, headers, b"{}").retry_after == seconds


def test_an_error_is_written_with_what_its_status_means() -> None:
    """28: 529 is 503 for this client, the type is kept."""
    assert CODEC.status_for(529) == 503
    assert CODEC.status_for(429) == 429
    assert CODEC.write_error(Failed("m", 529, "overloaded_error")) == {
        "error": {"message": "m", "type": "overloaded_error", "param": None, "code": None}
    }
    assert CODEC.write_error(Failed("m", 429))["error"]["code"] == "rate_limit_exceeded"
    assert CODEC.write_error(Failed("m", 400))["error"]["type"] == "invalid_request_error"
