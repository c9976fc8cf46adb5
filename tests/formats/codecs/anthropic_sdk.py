"""The official SDK as an oracle: a stream's bytes through its real client, parser and accumulator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import httpx2

ASKED: dict[str, Any] = {"model": "claude-test", "max_tokens": 16, "messages": [{"role": "user", "content": "Hi"}]}


@contextmanager
def client(body: bytes, status: int = 200, content_type: str = "text/event-stream") -> Iterator[anthropic.Anthropic]:
    """The SDK's client, whose every request is answered with `body`."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, content=body, headers={"content-type": content_type})

    transport = httpx2.Client(transport=httpx2.MockTransport(answer))
    with anthropic.Anthropic(api_key="sk-FAKE-key", max_retries=0, http_client=transport) as sdk:
        yield sdk


def accumulated(body: bytes) -> Any:
    """The message that the SDK makes of a stream, as JSON. Of the beta's types, for these know more blocks."""
    with client(body) as sdk, sdk.beta.messages.stream(**ASKED) as stream:
        return stream.get_final_message().to_dict(mode="json")


def message(body: bytes) -> Any:
    """The message that the SDK makes of a whole reply, as JSON."""
    with client(body, content_type="application/json") as sdk:
        return sdk.beta.messages.create(**ASKED).to_dict(mode="json")
