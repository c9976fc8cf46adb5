"""The recordings of the Responses API, as its codec's tests take them."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from typing import Any

from tests.corpus import Line, lines
from tests.formats.codecs.responses_made import (
    Client,
    client,
)

from interpose.ir import Foreign, Reply, Request

FAMILIES = ("openai_responses", "responseonly_openai_responses")


@cache
def recorded() -> tuple[Line, ...]:
    return tuple(line for family in FAMILIES for line in lines(family))


def requests() -> list[Line]:
    return [line for line in recorded() if isinstance(line.request, dict)]


def replies() -> list[Line]:
    return [line for line in recorded() if line.ok and isinstance(line.reply_json, dict)]


def streams() -> list[Line]:
    return [line for line in recorded() if line.reply_text is not None and line.streaming]


def told(data: bytes) -> list[dict[str, Any]]:
    """The events of a recorded stream."""
    text = data.decode("utf-8", "surrogatepass").replace("\r\n", "\n")
    return [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: {")]


def echoing(reply: Reply) -> Client:
    """A client whose name of the model is the recorded one."""
    return dataclasses.replace(client(), model=reply.model)


def bare(request: Request) -> Request:
    """The same request as if another format had read it: nothing is of this format's own."""

    def strip(node: Any) -> None:
        if isinstance(node, list):
            for one in node:
                strip(one)
        elif dataclasses.is_dataclass(node):
            if isinstance(node, Foreign):
                node.format = "anthropic"
            if hasattr(node, "own"):
                node.own = None  # type: ignore[attr-defined]
            for field in dataclasses.fields(node):
                strip(getattr(node, field.name))

    strip(request)
    request.format = "anthropic"
    return request
