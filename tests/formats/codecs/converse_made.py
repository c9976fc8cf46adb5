"""Conversations made by hand, written for Bedrock and held to the service's own model."""

from __future__ import annotations

import copy
from typing import Any

from tests.formats.codecs import converse_sdk

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs import CODECS, Target
from interpose.ir import Block, Losses, Message, Request, Text, Tool, ToolCall, ToolResult
from interpose.ir.blocks import Role

CODEC = CODECS["bedrock-converse"]
ANY = Capabilities()
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
TOOLS = [Tool("look", "Looks it up", {"type": "object", "properties": {"at": {"type": "string"}}}, at="tools[0]")]
SPEC = {"toolSpec": {"name": "look", "description": "Looks it up", "inputSchema": {"json": TOOLS[0].parameters}}}


def says(role: Role, *blocks: Block, at: str = "", **more: Any) -> Message:
    return Message(role, list(blocks), at=at, **more)


def user(text: str = "Hi") -> Message:
    return says("user", Text(text))


def written(
    *messages: Message, capabilities: Capabilities = ANY, model: str = CLAUDE, **more: Any
) -> tuple[Any, list[tuple[str, str]]]:
    """The body, and the losses as pairs of severity and path. What can be sent is valid by the service's model."""
    request = Request("another", "asked", list(messages), **more)
    before = copy.deepcopy(request)
    losses = Losses()
    sent = CODEC.write_request(request, Target(model, capabilities), losses)
    assert request == before, "writing changed the request"
    if not losses.impossibilities:
        converse_sdk.validate(copy.deepcopy(sent.body), model, stream=request.stream)
    return sent.body, [(loss.severity.value, loss.path) for loss in losses]


def content(body: Any, place: int = 0) -> Any:
    return body["messages"][place]["content"]


def call(id_: str = "call_1", name: str = "look", arguments: str = '{"at": "x"}', **more: Any) -> ToolCall:
    return ToolCall(id_, name, arguments, **more)


def result(id_: str = "call_1", text: str = "found", **more: Any) -> ToolResult:
    return ToolResult(id_, [Text(text)], **more)
