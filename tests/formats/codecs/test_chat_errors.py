"""Errors of Chat's servers read, and written so that the official SDK raises what it would for OpenAI."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from interpose.formats.codecs import Malformed
from interpose.formats.codecs.chat import CODEC
from interpose.ir import (
    Failed,
)

ERRORS: list[tuple[Any, str, str | None, str | None]] = [
    ({"error": {"message": "no", "type": "t", "param": "p", "code": "c"}}, "no", "t", "c"),
    ({"error": {"message": "no", "code": 429}}, "no", None, "429"),
    ({"error": "no"}, "no", None, None),
    ([{"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}], "no", "INVALID_ARGUMENT", "400"),
    ({"message": "no", "type": "Bad Request", "code": 400}, "no", "Bad Request", "400"),
    ({"detail": [{"loc": ["body"], "msg": "no", "type": "missing"}]}, "no", None, None),
    ({"detail": "no"}, "no", None, None),
    ({"object": "error", "message": "no", "type": "t", "code": 404}, "no", "t", "404"),
    (5, "5", None, None),
]


@pytest.mark.parametrize(("document", "message", "kind", "code"), ERRORS)
def test_error_bodies_of_every_server(document: Any, message: str, kind: str | None, code: str | None) -> None:
    """OpenAI's, and what compatible servers make of it."""
    failed = CODEC.read_error(400, {}, json.dumps(document).encode())
    assert (failed.message, failed.type, failed.code) == (message, kind, code)


def test_an_error_body_that_is_no_json_is_its_message() -> None:
    """Shortened; and one that is empty is told by its status."""
    assert CODEC.read_error(502, {}, b"<html>" + b"x" * 10_000).message == "<html>" + "x" * 494
    assert "status 503" in CODEC.read_error(503, {}, b"").message
    assert CODEC.read_error(500, {}, b"[" * 100_000).status == 500


def test_retry_hints() -> None:
    """Pitfall 28: retry-after-ms first; 529 is 503 for OpenAI's clients, and the type is kept."""
    headers = {"retry-after": "7", "retry-after-ms": "1500"}
    assert CODEC.read_error(429, headers, b"{}").retry_after == 1.5
    assert CODEC.read_error(429, {"retry-after": "7"}, b"{}").retry_after == 7.0
    assert CODEC.read_error(429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"{}").retry_after is None
    assert CODEC.status_for(529) == 503
    assert CODEC.write_error(Failed("no", 529, "overloaded_error"))["error"]["type"] == "overloaded_error"


def test_the_sdk_raises_what_it_would_for_openai() -> None:
    """An error that is written is the exception of its status in the official SDK."""
    failed = Failed("Slow down.", 429, "rate_limit_error", "rate_limited")
    transport = httpx.MockTransport(lambda _: httpx.Response(429, json=CODEC.write_error(failed)))
    http = httpx.Client(transport=transport)
    with pytest.raises(openai.RateLimitError, match=r"Slow down\.") as caught:
        openai.OpenAI(api_key="sk-FAKE-1", http_client=http, max_retries=0).chat.completions.create(
            model="m", messages=[]
        )
    assert (caught.value.type, caught.value.code) == ("rate_limit_error", "rate_limited")


@pytest.mark.parametrize("body", [[], {}, {"error": {"message": "no"}}, {"choices": {}}, {"choices": [1]}])
def test_what_is_no_reply_is_malformed(body: Any) -> None:
    """An error object in a 200 among them."""
    with pytest.raises(Malformed):
        CODEC.read_reply(body)
