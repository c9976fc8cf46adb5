"""Entries of HAR files as several tools write them, for the tests to put together."""

from __future__ import annotations

import json
from typing import Any

URL = "https://api.openai.com/v1/chat/completions"
ASKED = '{"model":"gpt-4o","messages":[{"role":"user","content":"héllo"}]}'
ANSWERED = (
    '{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"message":'
    '{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":2,'
    '"total_tokens":12}}'
)
JSON_TYPE = [{"name": "content-type", "value": "application/json"}]


def entry(**replaced: Any) -> dict[str, Any]:
    """A call as Chrome exports it, over HTTP/2, with what is replaced."""
    return {
        "_initiator": {"type": "script"},
        "_resourceType": "fetch",
        "startedDateTime": "2026-11-26T07:00:00.500Z",
        "time": 1250.0,
        "request": {
            "method": "POST",
            "url": URL,
            "httpVersion": "h2",
            "headers": [
                {"name": ":authority", "value": "api.openai.com"},
                {"name": ":method", "value": "POST"},
                {"name": "authorization", "value": "Bearer sk-FAKE-1"},
                {"name": "content-length", "value": "70"},
                *JSON_TYPE,
            ],
            "queryString": [],
            "cookies": [],
            "headersSize": -1,
            "bodySize": 70,
            "postData": {"mimeType": "application/json", "text": ASKED},
        },
        "response": {
            "status": 200,
            "statusText": "",
            "httpVersion": "h2",
            "headers": [*JSON_TYPE, {"name": "content-encoding", "value": "br"}],
            "content": {"size": 200, "mimeType": "application/json", "text": ANSWERED},
            "cookies": [],
            "redirectURL": "",
            "headersSize": -1,
            "bodySize": -1,
        },
        "cache": {},
        "timings": {
            "blocked": 10.0,
            "dns": -1,
            "connect": 40.0,
            "ssl": 30.0,
            "send": 0.5,
            "wait": 949.5,
            "receive": 250.0,
        },
        **replaced,
    }


def har(*entries: dict[str, Any]) -> bytes:
    """A file of these."""
    return json.dumps(
        {"log": {"version": "1.2", "creator": {"name": "test"}, "pages": [], "entries": entries}}
    ).encode()
