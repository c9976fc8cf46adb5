"""Ollama's requests -> the neutral conversation: chats, and prompts to be gone on with.

https://docs.ollama.com/api/chat and https://docs.ollama.com/api/generate
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Asked, Json, Malformed
from interpose.formats.codecs.functions import read_function
from interpose.formats.codecs.leftovers import STRING, take
from interpose.ir import Block, Message, Own, Request, Text, Thinking, ToolResult
from interpose.ir.blocks import Role

from .facts import GENERATE, LEFTOVERS, NAME, ORIGIN, leftover
from .parts import read_calls, read_images
from .settings import read_settings

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
# Without what was said, the answer would be to something else.
VITAL = frozenset(("content", "images", "tool_calls"))
# Of a prompt: what comes behind the gap, what was said before, in tokens, and that it is in the model's own grammar.
VITAL_SETTINGS = frozenset(("suffix", "context", "raw", "images", "prompt"))


def read_request(body: Any, asked: Asked) -> Request:
    if not isinstance(body, dict):
        raise Malformed("", "the body must be a JSON object")
    model = body.pop("model", "")
    if not isinstance(model, str):
        raise Malformed("model", "the model's name must be a string")
    marks: list[str] = []
    request = Request(NAME, model, _read_messages(body, marks, asked))
    tools = body.get("tools")
    if isinstance(tools, list) and tools and all(isinstance(tool, dict) for tool in tools):
        del body["tools"]
        request.tools = [
            read_function(tool, f"tools[{place}]", LEFTOVERS, strict=True) for place, tool in enumerate(tools)
        ]
    silent = read_settings(body, request, marks)
    request.own = leftover(body, marks, silent)
    if request.own is not None:
        request.own.vital = VITAL_SETTINGS
    return request


def _read_messages(body: Json, marks: list[str], asked: Asked) -> list[Message]:
    messages = body.get("messages")
    if isinstance(messages, list):
        del body["messages"]
        return [_read_message(message, place) for place, message in enumerate(messages)]
    if "messages" in body or not ("prompt" in body or asked.path.endswith("/generate")):
        raise Malformed("messages", "a list of messages must be given")
    marks.append(GENERATE)
    read: list[Message] = []
    if (system := take(body, "system", STRING)) is not None:
        if system:
            read.append(Message("system", [Text(system, at="system")], at="system", own=Own(NAME, marks=TOP)))
        else:
            marks.append("system:empty")
    blocks: list[Block] = []
    if (prompt := take(body, "prompt", STRING)) is not None:
        if prompt:
            blocks.append(Text(prompt, at="prompt"))
        else:
            marks.append("prompt:empty")
    _read_top_images(body, blocks)
    if blocks:
        read.append(Message("user", blocks, at="prompt"))
    return read


def _read_top_images(body: Json, blocks: list[Block]) -> None:
    read_images(body, "", blocks)
    for block in blocks:
        block.at = block.at.removeprefix(".")


TOP = frozenset(("top",))


def _read_message(message: Any, place: int) -> Message:
    at = f"messages[{place}]"
    if not isinstance(message, dict):
        raise Malformed(at, "a message must be an object")
    said = message.pop("role", None)
    # Servers take it in capitals, too.
    role = ROLES.get(said.lower()) if isinstance(said, str) else None
    if role is None:
        raise Malformed(f"{at}.role", f"there is no role {said!r}"[:200])
    marks: list[str] = []
    if said != role:
        marks.append(f"role:{said}")
    blocks = read_said(message, at, marks)
    if role == "tool":
        blocks = [_read_result(message, blocks, at, marks)]
    read = Message(role, blocks, at=at, own=leftover(message, marks))
    if read.own is not None and message:
        read.own.vital = VITAL
    return read


def read_said(message: Json, at: str, marks: list[str]) -> list[Block]:
    """Thinking, text, images and calls of a message, in the order in which models give them."""
    blocks: list[Block] = []
    if thinking := take(message, "thinking", STRING):
        blocks.append(Thinking(thinking, opaque=ORIGIN, at=f"{at}.thinking"))
    elif thinking is not None:
        marks.append("thinking:empty")
    content = take(message, "content", STRING)
    if content:
        blocks.append(Text(content, at=f"{at}.content"))
    elif content is not None:
        marks.append("content:empty")
    read_images(message, at, blocks)
    read_calls(message, at, blocks)
    return blocks


def _read_result(message: Json, content: list[Block], at: str, marks: list[str]) -> ToolResult:
    id_ = take(message, "tool_call_id", STRING)
    if id_ is not None:
        marks.append("id")
    return ToolResult(id_ or "", content, take(message, "tool_name", STRING), at=at)
