"""Tools as functions, in the shape that OpenAI's Chat began and that Mistral, Ollama and Cohere took over from it.

https://platform.openai.com/docs/guides/function-calling. What each of them refuses or adds stands in its own settings.
"""

from __future__ import annotations

from collections.abc import Iterator

from interpose.ir import Losses, Own, Request, Tool

from .codec import Json
from .leftovers import BOOLEAN, OBJECT, STRING, Leftovers, prefixed, take

# What a custom tool, which takes free text, takes as a function; and a function of which nothing is known.
CUSTOM_INPUT: Json = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
ANY_INPUT: Json = {"type": "object", "properties": {}}


def read_function(tool: Json, at: str, left: Leftovers, *, strict: bool) -> Tool:
    """`strict` says whether the format has it of each function; what is no function is a server's tool, whole."""
    kind, inner = tool.get("type"), tool.get("function")
    name = inner.get("name") if isinstance(inner, dict) else None
    known = kind == "function" or "type" not in tool
    if not known or not isinstance(inner, dict) or not isinstance(name, str):
        return Tool(kind if isinstance(kind, str) else "", kind="server", at=at, own=Own(left.format, tool))
    del tool["function"], inner["name"]
    marks = () if tool.pop("type", None) else ("type:absent",)
    description, parameters = take(inner, "description", STRING), take(inner, "parameters", OBJECT)
    held = take(inner, "strict", BOOLEAN) if strict else None
    prefixed(inner, "function", tool)
    return Tool(name, description, parameters, held, at=at, own=left.leftover(tool, marks))


def allowed(request: Request, losses: Losses) -> list[Tool]:
    """The tools that may be called, for formats that cannot name several: the others are left out."""
    choice = request.tool_choice
    if choice is None or not choice.names:
        return request.tools
    names = frozenset(choice.names)
    chosen = [tool for tool in request.tools if tool.name in names]
    if len(chosen) < len(request.tools):
        only = ", ".join(choice.names)
        losses.approximated("tool_choice", f"only {only} may be called: the other tools are left out")
    return chosen


def write_functions(
    tools: list[Tool], losses: Losses, left: Leftovers, provider: str, *, native: bool, strict: bool
) -> Iterator[Json]:
    """`provider` is what the format is called to people; `strict` says whether that is written."""
    for tool in tools:
        if tool.kind != "server":
            yield _function(tool, losses, left, provider, native=native, strict=strict)
        elif tool.own is not None and tool.own.format == left.format:
            yield tool.own.fields
        else:
            losses.dropped(tool.at, f"{tool.name}: a tool that its own provider runs")


def _function(tool: Tool, losses: Losses, left: Leftovers, provider: str, *, native: bool, strict: bool) -> Json:
    inner: Json = {"name": tool.name}
    if tool.description is not None:
        inner["description"] = tool.description
    parameters = tool.parameters
    if tool.kind == "custom":
        losses.approximated(tool.at, "a custom tool is a function with the parameter `input`")
        if tool.grammar is not None:
            losses.dropped(tool.at, "the grammar of what it takes")
        parameters = CUSTOM_INPUT
    elif parameters is None and not native:
        # The field is required; a function without parameters is meant.
        parameters = ANY_INPUT
    if parameters is not None:
        inner["parameters"] = parameters
    if tool.strict is not None and strict:
        inner["strict"] = tool.strict
    written: Json = {"type": "function", "function": inner}
    if "type:absent" in left.marks_of(tool.own):
        del written["type"]
    if tool.cache is not None:
        losses.dropped(tool.at, f"{provider} takes no marks of a prompt cache")
    losses.own(tool.own, tool.at, left.format)
    left.lay_over(written, tool.own, "function")
    return written
