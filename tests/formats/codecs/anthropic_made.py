"""Conversations made by hand, written for Claude and held to the SDK's own types."""

from __future__ import annotations

import copy
from typing import Any

from tests.formats.codecs.published import flaws

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs import CODECS, Target
from interpose.ir import (
    Block,
    Losses,
    Message,
    Request,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from interpose.ir.blocks import Role

CODEC = CODECS["anthropic"]
ANY = Capabilities()
TOOLS = [Tool("look", "Looks it up", {"type": "object", "properties": {"at": {"type": "string"}}}, at="tools[0]")]


def says(role: Role, *blocks: Block, at: str = "", **more: Any) -> Message:
    return Message(role, list(blocks), at=at, **more)


def user(text: str = "Hi") -> Message:
    return says("user", Text(text))


def written(
    *messages: Message, capabilities: Capabilities = ANY, version: str | None = None, to: str = "anthropic", **more: Any
) -> tuple[Any, list[tuple[str, str]]]:
    """The body, and the losses as pairs of severity and path. What can be sent is of the SDK's own type."""
    more.setdefault("max_tokens", 100)
    request = Request("another", "asked", list(messages), **more)
    before = copy.deepcopy(request)
    losses = Losses()
    sent = CODECS[to].write_request(request, Target("claude", capabilities, version), losses)
    assert request == before, "writing changed the request"
    if to == "anthropic" and not losses.impossibilities:
        assert flaws("anthropic", sent.body) == []
    return sent.body, [(loss.severity.value, loss.path) for loss in losses]


def call(id_: str = "call_1", name: str = "look", arguments: str = '{"at": "x"}', **more: Any) -> ToolCall:
    return ToolCall(id_, name, arguments, **more)


def result(id_: str = "call_1", text: str = "found", **more: Any) -> ToolResult:
    return ToolResult(id_, [Text(text)], **more)
