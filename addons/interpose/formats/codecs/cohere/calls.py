"""Tool calls <-> blocks, and the plan that Cohere's models make of them beside what they answer.

https://docs.cohere.com/v2/docs/tool-use-overview
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Json, dumps
from interpose.formats.codecs.ids import fit, make
from interpose.formats.codecs.leftovers import STRING, prefixed, take
from interpose.formats.codecs.opaque import pack
from interpose.ir import Block, Losses, Own, Text, Thinking, ToolCall

from .facts import IDS, NAME, PLAN, SIGNATURE, carried, lay_over, leftover, marks_of

PLANNED = frozenset((PLAN,))


def planned(text: str, at: str) -> Text:
    """A text block that is a plan."""
    return Text(text, at=at, own=Own(NAME, {}, PLANNED))


def is_planned(block: Block) -> bool:
    return isinstance(block, Text) and PLAN in marks_of(block.own)


def split_plan(blocks: list[Block]) -> tuple[list[Text], list[Block]]:
    """The plan, and what is content."""
    plan = [block for block in blocks if isinstance(block, Text) and is_planned(block)]
    return plan, [block for block in blocks if not is_planned(block)]


def read_plan(message: Json, at: str, blocks: list[Block], marks: list[str]) -> None:
    """The plan, between what the model thought and what it says."""
    plan = take(message, "tool_plan", STRING)
    if plan:
        thought = next((place for place, block in enumerate(blocks) if not isinstance(block, Thinking)), len(blocks))
        blocks.insert(thought, planned(plan, f"{at}.tool_plan"))
    elif plan is not None:
        marks.append("plan:empty")


def read_calls(message: Json, at: str, blocks: list[Block]) -> None:
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls and all(_is_call(call) for call in calls):
        del message["tool_calls"]
        blocks += [read_call(call, f"{at}.tool_calls[{place}]") for place, call in enumerate(calls)]


def _is_call(call: Any) -> bool:
    return (
        isinstance(call, dict)
        and isinstance(inner := call.get("function"), dict)
        and isinstance(inner.get("name"), str)
        and isinstance(inner.get("arguments"), str)
    )


def read_call(call: Json, at: str) -> ToolCall:
    marks: list[str] = []
    inner = call.pop("function")
    name, arguments = inner.pop("name"), inner.pop("arguments")
    if call.get("type") == "function":
        del call["type"]
    else:
        marks.append("type:other")
    id_ = take(call, "id", STRING)
    if id_ is None:
        marks.append("id:absent")
    opaque = carried(call)
    prefixed(inner, "function", call)
    return ToolCall(id_ or "", name, arguments, opaque=opaque, at=at, own=leftover(call, marks))


def call_id(id_: str, seed: str, *, native: bool) -> str:
    """An id that Cohere takes, made of `seed` where there is none."""
    if native:
        return id_
    return fit(id_, IDS) if id_ else make(seed, IDS)


def write_call(block: ToolCall, id_: str, losses: Losses, *, native: bool, carries: bool) -> Json:
    """`carries` says that another's state may travel on it: to a client, not to Cohere."""
    marks = marks_of(block.own)
    arguments = block.arguments
    if block.kind == "custom":
        # Of a tool that takes free text Cohere sees a function with one parameter.
        arguments = dumps({"input": arguments})
        losses.approximated(block.at, "a call of a custom tool is one of a function with the parameter `input`")
    elif not native and not arguments.strip():
        arguments = "{}"
    written: Json = {"id": id_, "type": "function", "function": {"name": block.name, "arguments": arguments}}
    if "type:other" in marks:
        del written["type"]
    if "id:absent" in marks:
        del written["id"]
    write_state(block, written, losses, native=native, carries=carries)
    losses.own(block.own, block.at, NAME)
    lay_over(written, block.own, "function")
    return written


def write_state(block: ToolCall, written: Json, losses: Losses, *, native: bool, carries: bool) -> None:
    """What a call has beside what it asks for."""
    opaque = block.opaque
    if opaque is not None and opaque.format != NAME:
        if native or carries:
            written[SIGNATURE] = pack(opaque)
        if not carries and not native:
            losses.bound(opaque, block.at, NAME)
        elif not native:
            losses.carried(block.at, opaque.kind)
    if block.cache is not None:
        losses.dropped(block.at, "a call takes no mark of a prompt cache")
