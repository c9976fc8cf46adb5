"""Recorded calls for the tests to export: an agent's, in Chat's format, and whatever a test says."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from interpose.call import DEFAULT_PORTS, Headers, Origin, Url
from interpose.exports.conversations import Conversations, Step
from interpose.exports.page import Page
from interpose.exports.plain import JsonSheet, MarkdownSheet
from interpose.exports.room import LIMIT, Room
from interpose.exports.sheet import Heading, Sheet
from interpose.exports.telling import transcript_of
from interpose.recordings import Answered, Asked, Recorded, Sent

CHAT = "https://api.openai.com/v1/chat/completions"
HEADING = Heading("A run", "the ledger usage.db", 1_795_000_000.0, "0.1.0")


def call(
    number: int,
    messages: list[dict[str, Any]],
    answer: dict[str, Any] | str | None,
    *,
    url: str = CHAT,
    status: int = 200,
    headers: Headers = (),
    **request: Any,
) -> Recorded:
    """A call to Chat. `answer` is the assistant's message, its text, or None where an error came."""
    message = {"role": "assistant", "content": answer} if isinstance(answer, str) else answer
    calls = message is not None and "tool_calls" in message
    reply: dict[str, Any] = {"error": {"message": "Overloaded.", "type": "server_error"}}
    if message is not None:
        reply = {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-4o-2024-08-06",
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }  # fmt: skip
    body = {"model": "gpt-4o", "messages": messages, **request}
    return recorded(f"call-{number}", url, json.dumps(body).encode(), status, json.dumps(reply).encode(), headers)


def recorded(
    identity: str, url: str, request: bytes, status: int, reply: bytes, headers: Headers = (), **more: Any
) -> Recorded:
    parts = urlsplit(url)
    origin = Origin(parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme])
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    kind = (b"content-type", b"application/json")
    return Recorded(
        identity,
        f"made#{identity}",
        1_795_000_000.0,
        Asked("POST", Url(origin, target), (*headers, kind), request),
        Answered(status, (kind,), reply, began=0.25, ended=1.5),
        **more,
    )


def sent(asked: Recorded, url: str, request: bytes, reply: bytes) -> Sent:
    """What was sent upstream for a call."""
    other = recorded(asked.id, url, request, 200, reply)
    return Sent(1, other.asked, other.answered)


def steps(*calls: Recorded) -> list[Step]:
    conversations = Conversations()
    return [conversations.add(each, transcript_of(each)) for each in calls]


SHEETS = {"html": Page, "md": lambda room: MarkdownSheet(), "json": lambda room: JsonSheet()}


def exported(*calls: Recorded, format_: str = "html", limit: int = LIMIT, notes: list[str] | None = None) -> str:
    sheet: Sheet = SHEETS[format_](Room(limit))
    for step in steps(*calls):
        sheet.add(step)
    return "".join(sheet.written(HEADING, notes or []))


SYSTEM = {"role": "system", "content": "You book trips. Be brief."}
QUESTION = {"role": "user", "content": "How is the weather in Paris?"}
ASKS = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "call_weather_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "call_weather_1", "content": '{"celsius": 15, "sky": "clear"}'}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather.", "parameters": {"type": "object"}},
}
SAYS = "It is **15 °C** and clear."


def agent() -> list[Recorded]:
    """An agent's loop: a question, a tool call, its result, an answer, and one more question."""
    history: list[dict[str, Any]] = [SYSTEM, QUESTION]
    return [
        call(1, history, ASKS, tools=[WEATHER]),
        call(2, [*history, ASKS, RESULT], SAYS, tools=[WEATHER]),
        call(
            3,
            [
                *history,
                ASKS,
                RESULT,
                {"role": "assistant", "content": SAYS},
                {"role": "user", "content": "Tomorrow?"},
            ],
            "Rain.",
            tools=[WEATHER],
        ),
    ]
