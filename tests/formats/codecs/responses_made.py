"""Conversations of another format, made by hand: what the Responses codec must be able to write, and what it is sent.

`elsewhere` is the whole of it: system text, mid-conversation too, thinking with state, text, parallel calls, results
with pictures, documents, sound, marks of a cache. No recordings are needed here.
"""

from __future__ import annotations

import copy
from typing import Any

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs import Asked, Client
from interpose.formats.codecs.responses import CODEC
from interpose.ir import (
    CacheMark,
    Citation,
    Foreign,
    Media,
    Message,
    Opaque,
    Own,
    Refused,
    Request,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

REASONS = Capabilities(thinking="effort")
PICTURE = Source("base64", "iVBORw0KGgo=")
WEATHER = Tool(
    "weather",
    "Tells the weather.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    at="tools[0]",
)
STATE = Opaque("openai-responses", "encrypted", "gAAAA-FAKE", "rs_1")
SIGNATURE = Opaque("anthropic", "signature", "EqoB-FAKE")


def asks(*messages: Message, format_: str = "anthropic", **more: Any) -> Request:
    return Request(format_, "a-model", list(messages), **more)


def user(*blocks: Any, at: str = "messages[0]") -> Message:
    return Message("user", list(blocks), at=at)


def assistant(*blocks: Any, at: str = "messages[1]") -> Message:
    return Message("assistant", list(blocks), at=at)


def text(said: str, at: str = "messages[0].content[0]", **more: Any) -> Text:
    return Text(said, at=at, **more)


def elsewhere() -> Request:
    """A long conversation, as Anthropic's codec would read it."""
    return asks(
        Message("system", [text("Be brief.", "system")], at="system", own=Own("anthropic", marks=frozenset(("top",)))),
        user(
            text("What is on these?", cache=CacheMark("1h")),
            Media("image", PICTURE, "image/png", at="messages[0].content[1]"),
            Media("image", Source("url", "https://example.org/a.png"), at="messages[0].content[2]"),
            Media("document", Source("base64", "JVBERi0="), "application/pdf", "a.pdf", at="messages[0].content[3]"),
        ),
        assistant(
            Thinking("The first is blank.", opaque=STATE, at="messages[1].content[0]"),
            text("I will look.", "messages[1].content[1]"),
            ToolCall("toolu_1", "weather", '{"city":"Bern"}', at="messages[1].content[2]"),
            ToolCall("toolu_2", "weather", "{}", at="messages[1].content[3]"),
        ),
        user(
            ToolResult("toolu_1", [text("rain"), Media("image", PICTURE, "image/png")], at="messages[2].content[0]"),
            ToolResult("toolu_2", [text("no city")], error=True, at="messages[2].content[1]"),
            text("Go on.", "messages[2].content[2]"),
            at="messages[2]",
        ),
        Message("system", [text("Be briefer.", "messages[3].content[0]")], at="messages[3]"),
        assistant(text("It rains.", "messages[4].content[0]", citations=[Citation("https://example.org", "Rain")])),
        user(text("Thanks.", "messages[5].content[0]"), at="messages[5]"),
        tools=[WEATHER],
        max_tokens=1000,
    )


def client(request: dict[str, Any] | None = None) -> Client:
    """One who has asked this of the Responses API."""
    asked = CODEC.read_request(copy.deepcopy(request) if request else {"model": "gpt-5", "input": "Hello"}, Asked())
    return Client(asked, "gpt-5", "call-1", 1_700_000_000)


def answered() -> list[Any]:
    """The blocks of an answer of Claude's."""
    return [
        Thinking("Let me see.", opaque=SIGNATURE, at="content[0]"),
        Thinking("", opaque=Opaque("anthropic", "redacted", "EmwK-FAKE"), at="content[1]"),
        Text("It rains, ", at="content[2]", citations=[Citation("https://example.org/rain", "Rain")]),
        Text("I think.", at="content[3]"),
        ToolCall("toolu_1", "weather", '{"city":"Bern"}', at="content[4]"),
        ToolCall("toolu_2", "weather", "", at="content[5]"),
        Refused("I cannot say more.", at="content[6]"),
        Foreign("anthropic", "server_tool_use", {"type": "server_tool_use"}, at="content[7]"),
    ]
