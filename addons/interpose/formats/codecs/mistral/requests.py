"""Mistral's requests -> the neutral conversation.

https://docs.mistral.ai/api/endpoint/chat
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interpose.formats.codecs.chat.requests import read_rest, read_stop
from interpose.formats.codecs.codec import Asked, Json, Malformed
from interpose.formats.codecs.functions import read_function
from interpose.formats.codecs.leftovers import BOOLEAN, INTEGER, NUMBER, OBJECT, STRING, prefixed, take
from interpose.ir import Message, Output, Own, Reasoning, Request, Sampling, Text, ToolChoice, ToolResult
from interpose.ir.blocks import Role

from .calls import read_calls
from .chunks import read_content
from .facts import FIM, LEFTOVERS, NAME, leftover

# Without what was said, the answer would be to something else; an agent is a model, a prompt and tools in one.
VITAL = frozenset(("content",))
VITAL_SETTINGS = frozenset(("agent_id", "suffix"))
# Saying these spells out what holds anyway.
DEFAULTS: tuple[tuple[str, Any], ...] = (("safe_prompt", False), ("suffix", ""))


def read_request(body: Any, asked: Asked) -> Request:
    if not isinstance(body, dict):
        raise Malformed("", "the body must be a JSON object")
    model = body.pop("model", "")
    if not isinstance(model, str):
        raise Malformed("model", "the model's name must be a string")
    marks: list[str] = []
    request = Request(NAME, model, _read_messages(body, marks))
    tools = body.get("tools")
    if isinstance(tools, list) and tools and all(isinstance(tool, dict) for tool in tools):
        del body["tools"]
        request.tools = [
            read_function(tool, f"tools[{place}]", LEFTOVERS, strict=True) for place, tool in enumerate(tools)
        ]
    request.tool_choice = _read_choice(body)
    request.max_tokens = take(body, "max_tokens", INTEGER)
    request.sampling = _read_sampling(body)
    request.stop = read_stop(body, marks)
    if (effort := take(body, "reasoning_effort", STRING)) is not None:
        request.reasoning = Reasoning(False if effort == "none" else None, effort)
    if type(form := body.get("response_format")) is dict:
        request.output = _read_output(form, body)
    read_rest(body, request, marks)
    silent = {key: body.pop(key) for key, default in DEFAULTS if key in body and is_json(body[key], default)}
    request.own = leftover(body, marks, silent or None)
    if request.own is not None:
        request.own.vital = VITAL_SETTINGS
    return request


def is_json(value: Any, expected: Any) -> bool:
    """Equal, and not as 0 and false are."""
    return type(value) is type(expected) and value == expected


# Messages


def _read_messages(body: Json, marks: list[str]) -> list[Message]:
    messages = body.get("messages")
    if isinstance(messages, list):
        del body["messages"]
        return [_read_message(message, place) for place, message in enumerate(messages)]
    prompt = body.get("prompt")
    if "messages" not in body and isinstance(prompt, str):
        # Fill-in-the-middle, where a text alone is to be gone on with.
        del body["prompt"]
        marks.append(FIM)
        return [Message("user", [Text(prompt, at="prompt")], at="prompt")]
    raise Malformed("messages", "a list of messages must be given")


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
    if read.own is not None and message.get("content"):
        read.own.vital = VITAL
    return read


def _said(role: Role) -> Callable[[Json, str, list[str]], Message]:
    def read(message: Json, at: str, marks: list[str]) -> Message:
        return Message(role, read_content(message, at, marks), take(message, "name", STRING), at)

    return read


def _assistant(message: Json, at: str, marks: list[str]) -> Message:
    blocks = read_content(message, at, marks)
    read_calls(message, at, blocks)
    # That the answer goes on from this message, which other formats take from its being the last.
    prefix = take(message, "prefix", BOOLEAN)
    if prefix is not None:
        marks.append("prefix:true" if prefix else "prefix:false")
    return Message("assistant", blocks, take(message, "name", STRING), at)


def _tool(message: Json, at: str, marks: list[str]) -> Message:
    id_ = take(message, "tool_call_id", STRING)
    if id_ is None:
        marks.append("id:absent")
    content = read_content(message, at, marks)
    return Message("tool", [ToolResult(id_ or "", content, take(message, "name", STRING), at=at)], at=at)


_ROLES: dict[str, Callable[[Json, str, list[str]], Message]] = {
    "system": _said("system"),
    "user": _said("user"),
    "assistant": _assistant,
    "tool": _tool,
}

# Tools


_MODES: dict[str, Any] = {"auto": "auto", "none": "none", "any": "any", "required": "any"}


def _read_choice(body: Json) -> ToolChoice | None:
    parallel = take(body, "parallel_tool_calls", BOOLEAN)
    choice = body.get("tool_choice")
    found: ToolChoice | None = None
    if isinstance(choice, str) and choice in _MODES:
        del body["tool_choice"]
        own = Own(NAME, {}, frozenset(("required",))) if choice == "required" else None
        found = ToolChoice(_MODES[choice], own=own)
    elif isinstance(choice, dict) and choice.get("type", "function") == "function":
        inner = choice.get("function")
        if isinstance(inner, dict) and len(inner) == 1 and isinstance(name := inner.get("name"), str):
            marks = frozenset(() if "type" in choice else ("type:absent",))
            if len(choice) == (2 if "type" in choice else 1):
                del body["tool_choice"]
                found = ToolChoice("any", (name,), own=Own(NAME, {}, marks))
    if parallel is not None:
        found = found or ToolChoice()
        found.parallel = parallel
    return found


# Settings

_SAMPLING = (
    ("temperature", "temperature", NUMBER),
    ("top_p", "top_p", NUMBER),
    ("random_seed", "seed", INTEGER),
    ("frequency_penalty", "frequency_penalty", NUMBER),
    ("presence_penalty", "presence_penalty", NUMBER),
    ("logprobs", "logprobs", BOOLEAN),
    ("top_logprobs", "top_logprobs", INTEGER),
)


def _read_sampling(body: Json) -> Sampling:
    sampling = Sampling()
    for key, name, types in _SAMPLING:
        if key in body and (value := take(body, key, types)) is not None:
            setattr(sampling, name, value)
    return sampling


def _read_output(form: Json, body: Json) -> Output | None:
    kind, inner = form.get("type"), form.get("json_schema")
    if kind == "json_schema" and isinstance(inner, dict):
        found = Output("schema", take(inner, "schema", OBJECT), take(inner, "name", STRING))
        found.description, found.strict = take(inner, "description", STRING), take(inner, "strict", BOOLEAN)
        del form["type"], form["json_schema"], body["response_format"]
        prefixed(inner, "json_schema", form)
        found.own = leftover(form)
        return found
    if kind in ("json_object", "text"):
        del form["type"], body["response_format"]
        return Output("json" if kind == "json_object" else "text", own=leftover(form))
    return None
