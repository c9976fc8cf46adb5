"""Cohere's requests -> the neutral conversation.

https://docs.cohere.com/v2/reference/chat. The documents beside the messages become a message of the user's, behind the
system's first ones, so that models of other formats see them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interpose.formats.codecs.codec import Json, Malformed
from interpose.formats.codecs.functions import read_function
from interpose.formats.codecs.leftovers import BOOLEAN, INTEGER, NUMBER, OBJECT, STRING, take
from interpose.ir import Block, Message, Output, Own, Reasoning, Request, Sampling, ToolChoice, ToolResult
from interpose.ir.blocks import Role

from .calls import read_calls, read_plan, split_plan
from .citations import read_citations
from .facts import DOCUMENTS, LEFTOVERS, NAME, leftover
from .parts import is_document, read_content, read_document

# Without what was said, the answer would be to something else.
VITAL = frozenset(("content", "tool_calls"))
VITAL_SETTINGS = frozenset(("documents", "raw_prompting"))
# Saying these spells out what holds anyway, or asks for nothing that others would do.
_OFF = ({"mode": "OFF"}, {"mode": "DISABLED"}, {"mode": "off"}, {"mode": "disabled"})
DEFAULTS: dict[str, tuple[Any, ...]] = {"citation_options": _OFF, "raw_prompting": (False,), "priority": (0,)}


def read_request(body: Json, model: str) -> Request:
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise Malformed("messages", "a list of messages must be given")
    del body["messages"]
    marks: list[str] = []
    request = Request(NAME, model, [_read_message(message, place) for place, message in enumerate(messages)])
    _read_documents(body, request)
    tools = body.get("tools")
    if isinstance(tools, list) and tools and all(isinstance(tool, dict) for tool in tools):
        del body["tools"]
        request.tools = [
            read_function(tool, f"tools[{place}]", LEFTOVERS, strict=False) for place, tool in enumerate(tools)
        ]
    _read_strict(body, request, marks)
    if isinstance(choice := body.get("tool_choice"), str) and choice in _MODES:
        del body["tool_choice"]
        request.tool_choice = ToolChoice(_MODES[choice])
    read_common(body, request, marks)
    if request.own is not None:
        request.own.vital = VITAL_SETTINGS
    return request


def read_common(body: Json, request: Request, marks: list[str]) -> None:
    """What both versions of its chat have beside messages and tools; the rest of the body is left over."""
    request.max_tokens = take(body, "max_tokens", INTEGER)
    request.sampling = _read_sampling(body)
    stop = body.get("stop_sequences")
    if isinstance(stop, list) and stop and all(isinstance(one, str) for one in stop):
        request.stop = body.pop("stop_sequences")
    request.reasoning = _read_thinking(body)
    request.output = request.output or _read_output(body)
    if (stream := take(body, "stream", BOOLEAN)) is not None:
        request.stream = stream
        marks.append("stream")
    silent = {
        key: body.pop(key)
        for key, defaults in DEFAULTS.items()
        if key in body and any(type(body[key]) is type(default) and body[key] == default for default in defaults)
    }
    request.own = leftover(body, marks, silent or None)


# Messages


def _read_message(message: Any, place: int) -> Message:
    at = f"messages[{place}]"
    if not isinstance(message, dict):
        raise Malformed(at, "a message must be an object")
    role = message.pop("role", None)
    reader = _ROLES.get(role) if isinstance(role, str) else None
    if reader is None:
        raise Malformed(f"{at}.role", f"there is no role {role!r}"[:200])
    marks: list[str] = []
    read = reader(message, at, marks)
    read.own = leftover(message, marks)
    if read.own is not None and message:
        read.own.vital = VITAL
    return read


def _said(role: Role) -> Callable[[Json, str, list[str]], Message]:
    def read(message: Json, at: str, marks: list[str]) -> Message:
        return Message(role, read_content(message, at, marks), at=at)

    return read


def _assistant(message: Json, at: str, marks: list[str]) -> Message:
    return Message("assistant", read_said(message, at, marks), at=at)


def read_said(message: Json, at: str, marks: list[str]) -> list[Block]:
    """What an assistant's message says, of a request or a reply: thinking, plan, text and calls."""
    content = read_content(message, at, marks)
    blocks = list(content)
    read_plan(message, at, blocks, marks)
    plan, _ = split_plan(blocks)
    read_citations(message, content, plan[0] if plan else None)
    read_calls(message, at, blocks)
    return blocks


def _tool(message: Json, at: str, marks: list[str]) -> Message:
    id_ = take(message, "tool_call_id", STRING)
    if id_ is None:
        marks.append("id:absent")
    return Message("tool", [ToolResult(id_ or "", read_content(message, at, marks), at=at)], at=at)


_ROLES: dict[str, Callable[[Json, str, list[str]], Message]] = {
    "system": _said("system"),
    "user": _said("user"),
    "assistant": _assistant,
    "tool": _tool,
}


def _read_documents(body: Json, request: Request) -> None:
    documents = body.get("documents")
    if not isinstance(documents, list) or not documents:
        return
    if not all(is_document(document) for document in documents):
        return
    read: list[Block] = [read_document(document, f"documents[{place}]") for place, document in enumerate(documents)]
    del body["documents"]
    behind = next((place for place, message in enumerate(request.messages) if message.role != "system"), None)
    message = Message("user", read, at="documents", own=Own(NAME, {}, frozenset((DOCUMENTS,))))
    request.messages.insert(len(request.messages) if behind is None else behind, message)


# Tools


def _read_strict(body: Json, request: Request, marks: list[str]) -> None:
    """Cohere holds all calls to their schemas, or none."""
    if not request.tools or (strict := take(body, "strict_tools", BOOLEAN)) is None:
        return
    marks.append("strict:true" if strict else "strict:false")
    for tool in request.tools:
        if tool.kind == "function":
            tool.strict = strict


_MODES: dict[str, Any] = {"REQUIRED": "any", "NONE": "none"}


# Settings

SAMPLING = (
    ("temperature", "temperature", NUMBER),
    ("p", "top_p", NUMBER),
    ("k", "top_k", INTEGER),
    ("seed", "seed", INTEGER),
    ("frequency_penalty", "frequency_penalty", NUMBER),
    ("presence_penalty", "presence_penalty", NUMBER),
    ("logprobs", "logprobs", BOOLEAN),
)


def _read_sampling(body: Json) -> Sampling:
    sampling = Sampling()
    for key, name, types in SAMPLING:
        if key in body and (value := take(body, key, types)) is not None:
            setattr(sampling, name, value)
    return sampling


def _read_thinking(body: Json) -> Reasoning | None:
    """https://docs.cohere.com/v2/docs/reasoning"""
    thinking = body.get("thinking")
    if not isinstance(thinking, dict) or thinking.get("type") not in ("enabled", "disabled"):
        return None
    del body["thinking"]
    enabled = thinking.pop("type") == "enabled"
    budget = take(thinking, "token_budget", INTEGER)
    return Reasoning(enabled, budget=budget, own=leftover(thinking))


def _read_output(body: Json) -> Output | None:
    """https://docs.cohere.com/v2/docs/structured-outputs"""
    form = body.get("response_format")
    if not isinstance(form, dict) or form.get("type") not in ("text", "json_object"):
        return None
    del body["response_format"]
    kind = form.pop("type")
    schema = take(form, "json_schema", OBJECT) if kind == "json_object" else None
    own = leftover(form)
    if schema is not None:
        return Output("schema", schema, own=own)
    return Output("json" if kind == "json_object" else "text", own=own)
