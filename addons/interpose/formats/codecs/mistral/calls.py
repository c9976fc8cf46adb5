"""Tool calls <-> blocks: arguments as text, or as the object that Mistral takes as well.

https://docs.mistral.ai/capabilities/function_calling. Ids have nine characters of a-z, A-Z and 0-9.
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Json, dumps, loads
from interpose.formats.codecs.ids import MISTRAL, fit, make
from interpose.formats.codecs.leftovers import INTEGER, STRING, prefixed, take
from interpose.ir import Block, Losses, ToolCall

from .facts import NAME, lay_over, leftover, marks_of


def read_calls(message: Json, at: str, blocks: list[Block]) -> None:
    """The calls of a message, behind what it says."""
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls and all(_is_call(call) for call in calls):
        del message["tool_calls"]
        blocks += [read_call(call, f"{at}.tool_calls[{place}]") for place, call in enumerate(calls)]


def _is_call(call: Any) -> bool:
    return (
        isinstance(call, dict)
        and isinstance(inner := call.get("function"), dict)
        and isinstance(inner.get("name"), str)
        and isinstance(inner.get("arguments"), str | dict)
    )


def read_call(call: Json, at: str) -> ToolCall:
    marks: list[str] = []
    inner = call.pop("function")
    name, arguments = inner.pop("name"), inner.pop("arguments")
    if isinstance(arguments, dict):
        arguments = dumps(arguments)
        marks.append("arguments:object")
    if call.get("type") == "function":
        del call["type"]
    else:
        marks.append("type:other")
    id_ = take(call, "id", STRING)
    if id_ is None:
        marks.append("id:absent")
    if (index := take(call, "index", INTEGER)) is not None:
        marks.append(f"index:{index}")
    prefixed(inner, "function", call)
    return ToolCall(id_ or "", name, arguments, at=at, own=leftover(call, marks))


def write_call(block: ToolCall, id_: str, losses: Losses, *, native: bool) -> Json:
    marks = marks_of(block.own)
    arguments: Any = block.arguments
    if block.kind == "custom":
        # Of a tool that takes free text Mistral sees a function with one parameter.
        arguments = dumps({"input": arguments})
        losses.approximated(block.at, "a call of a custom tool is one of a function with the parameter `input`")
    elif "arguments:object" in marks:
        arguments = loads(arguments)
    elif not arguments.strip() and not native:
        arguments = "{}"
    written: Json = {"id": id_, "type": "function", "function": {"name": block.name, "arguments": arguments}}
    if "type:other" in marks:
        del written["type"]
    if "id:absent" in marks:
        del written["id"]
    for mark in marks:
        if mark.startswith("index:"):
            written["index"] = int(mark[6:])
    if block.opaque is not None:
        losses.bound(block.opaque, block.at, NAME)
    if block.cache is not None:
        losses.dropped(block.at, "a call takes no mark of a prompt cache")
    losses.own(block.own, block.at, NAME)
    lay_over(written, block.own, "function")
    return written


def call_id(id_: str, seed: str, *, native: bool) -> str:
    """An id that Mistral takes, made of `seed` where there is none."""
    if native:
        return id_
    return fit(id_, MISTRAL) if id_ else make(seed, MISTRAL)
