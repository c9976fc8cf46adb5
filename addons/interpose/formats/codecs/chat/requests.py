"""Chat requests -> the neutral conversation: messages, tools and settings, those of compatible servers included.

https://platform.openai.com/docs/api-reference/chat/create. Legacy functions are read as tools, and marked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeIs

from interpose.formats.codecs.codec import Asked, Json, Malformed
from interpose.formats.codecs.leftovers import BOOLEAN, INTEGER, NUMBER, OBJECT, STRING, prefixed, take
from interpose.ir import (
    Message,
    Output,
    Own,
    Reasoning,
    Request,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from interpose.ir.blocks import Role

from .facts import NAME, leftover, read_cache
from .parts import read_content
from .turns import legacy_id, read_turn


def read_request(body: Any, asked: Asked) -> Request:
    if not isinstance(body, dict):
        raise Malformed("", "the body must be a JSON object")
    messages = body.pop("messages", None)
    if not isinstance(messages, list):
        raise Malformed("messages", "a list of messages must be given")
    model = body.pop("model", "")
    if not isinstance(model, str):
        raise Malformed("model", "the model's name must be a string")
    marks: list[str] = []
    request = Request(NAME, model, [read_message(message, place) for place, message in enumerate(messages)])
    if any(message.own is not None and "function" in message.own.marks for message in request.messages):
        _tell_apart(request.messages)
    request.tools = _read_tools(body, marks)
    request.tool_choice = _read_choice(body)
    request.max_tokens = _read_limit(body, marks)
    request.sampling = read_sampling(body)
    request.stop = read_stop(body, marks)
    request.reasoning = _read_reasoning(body)
    if type(form := body.get("response_format")) is dict:
        request.output = _read_output(form, body)
    read_rest(body, request, marks)
    request.own = leftover(body, marks)
    return request


def read_rest(body: Json, request: Request, marks: list[str]) -> None:
    """The settings that Chat and its predecessor share."""
    if (answers := take(body, "n", INTEGER)) is not None:
        request.answers = answers
    if (stream := take(body, "stream", BOOLEAN)) is not None:
        request.stream = stream
        if not stream:
            marks.append("stream:false")
    options = body.get("stream_options")
    if isinstance(options, dict) and (usage := take(options, "include_usage", BOOLEAN)) is not None:
        request.include_usage = usage
        if not options:
            del body["stream_options"]
    request.user = take(body, "user", STRING)
    request.metadata = take(body, "metadata", OBJECT)
    request.service_tier = take(body, "service_tier", STRING)


# Messages


def read_message(message: Any, place: int) -> Message:
    at = f"messages[{place}]"
    if not isinstance(message, dict):
        raise Malformed(at, "a message must be an object")
    role = message.pop("role", None)
    reader = _ROLES.get(role) if isinstance(role, str) else None
    if reader is None:
        raise Malformed(f"{at}.role", f"there is no role {role!r}"[:200])
    marks: list[str] = []
    read = reader(message, at, marks)
    blocks = read.blocks
    if message and blocks:
        last = blocks[-1]
        if isinstance(last, ToolResult) or (isinstance(last, Text) and "content:text" in marks):
            # OpenRouter takes it on a message too: it is the end of the message that it marks.
            last.cache = read_cache(message)
            if last.cache is not None:
                marks.append("cache:message")
    read.own = leftover(message, marks)
    if read.own is not None and message.get("content"):
        # Of a shape that is unknown here: without what was said, the answer would be to something else.
        read.own.vital = VITAL
    return read


VITAL = frozenset(("content",))
# https://platform.openai.com/docs/guides/tools-web-search?api-mode=chat
SEARCH = "web_search_options"


def _said(role: Role) -> Callable[[Json, str, list[str]], Message]:
    def read(message: Json, at: str, marks: list[str]) -> Message:
        blocks = read_content(message, at, marks)
        return Message(role, blocks, take(message, "name", STRING) if message else None, at)

    return read


def _assistant(message: Json, at: str, marks: list[str]) -> Message:
    blocks = read_turn(message, at, marks)
    return Message("assistant", blocks, take(message, "name", STRING) if message else None, at)


def _tool(message: Json, at: str, marks: list[str]) -> Message:
    id_ = take(message, "tool_call_id", STRING)
    if id_ is None:
        marks.append("id:absent")
    content = read_content(message, at, marks)
    return Message("tool", [ToolResult(id_ or "", content, take(message, "name", STRING), at=at)], at=at)


def _tell_apart(messages: list[Message]) -> None:
    """Calls of one legacy function get different ids, and each result that of the call before it."""
    called: dict[str, int] = {}
    for message in messages:
        for block in message.blocks:
            if isinstance(block, ToolCall) and block.own is not None and "function_call" in block.own.marks:
                number = called[block.name] = called.get(block.name, 0) + 1
                block.id = legacy_id(block.name, number)
            elif isinstance(block, ToolResult) and message.own is not None and "function" in message.own.marks:
                block.id = legacy_id(block.name or "", called.get(block.name or "", 1))


def _function(message: Json, at: str, marks: list[str]) -> Message:
    """What a legacy function returned; its name says which call is meant."""
    name = take(message, "name", STRING) or ""
    content = read_content(message, at, marks)
    marks.append("function")
    return Message("tool", [ToolResult(legacy_id(name), content, name, at=at)], at=at)


_ROLES: dict[str, Callable[[Json, str, list[str]], Message]] = {
    "system": _said("system"),
    "developer": _said("developer"),
    "user": _said("user"),
    "assistant": _assistant,
    "tool": _tool,
    "function": _function,
}

# Tools


def _read_tools(body: Json, marks: list[str]) -> list[Tool]:
    found: list[Tool] = []
    tools = body.get("tools")
    if isinstance(tools, list) and tools and all(isinstance(tool, dict) for tool in tools):
        del body["tools"]
        found = [read_tool(tool, f"tools[{place}]") for place, tool in enumerate(tools)]
    if isinstance(search := body.get(SEARCH), dict):
        # Even an empty one has the model search.
        del body[SEARCH]
        found.append(
            Tool("web_search", kind="server", at=SEARCH, own=Own(NAME, {SEARCH: search}, frozenset(("beside",))))
        )
    functions = body.get("functions")
    if isinstance(functions, list) and functions and all(_is_named(function) for function in functions):
        del body["functions"]
        for place, function in enumerate(functions):
            tool = Tool("", at=f"functions[{place}]")
            _read_function(tool, function, function, "")
            tool.own = Own(NAME, function, frozenset(("functions",)))
            found.append(tool)
    return found


def _is_named(node: Any) -> TypeIs[Json]:
    return isinstance(node, dict) and isinstance(node.get("name"), str)


def read_tool(tool: Json, at: str) -> Tool:
    kind = tool.get("type")
    inner = tool.get("function")
    if (kind == "function" or "type" not in tool) and _is_named(inner):
        del tool["function"]
        marks = () if tool.pop("type", None) else ("type:absent",)
        read = Tool("", at=at)
        _read_function(read, inner, tool, "function")
        if tool:
            read.cache = read_cache(tool)
        read.own = leftover(tool, marks)
        return read
    inner = tool.get("custom")
    if kind == "custom" and _is_named(inner):
        del tool["type"], tool["custom"]
        name, description = inner.pop("name"), take(inner, "description", STRING)
        grammar = take(inner, "format", OBJECT)
        prefixed(inner, "custom", tool)
        return Tool(name, description, kind="custom", grammar=grammar, at=at, own=leftover(tool))
    return Tool(kind if isinstance(kind, str) else "", kind="server", at=at, own=Own(NAME, tool))


def _read_function(tool: Tool, inner: Json, outer: Json, prefix: str) -> None:
    tool.name = inner.pop("name")
    tool.description = take(inner, "description", STRING)
    tool.parameters = take(inner, "parameters", OBJECT)
    tool.strict = take(inner, "strict", BOOLEAN)
    if prefix and inner:
        prefixed(inner, prefix, outer)


_MODES: dict[str, Any] = {"auto": "auto", "none": "none", "required": "any", "any": "any"}


def _read_choice(body: Json) -> ToolChoice | None:
    parallel = take(body, "parallel_tool_calls", BOOLEAN)
    choice = body.get("tool_choice")
    found: ToolChoice | None = None
    if isinstance(choice, str):
        if choice in _MODES:
            del body["tool_choice"]
            found = ToolChoice(_MODES[choice], own=_spelled(choice) if choice == "any" else None)
    elif isinstance(choice, dict):
        found = _read_named(choice) or _read_allowed(choice)
        if found is not None:
            del body["tool_choice"]
    legacy = body.get("function_call")
    if found is None and legacy in ("auto", "none"):
        del body["function_call"]
        found = ToolChoice(legacy, own=_spelled("function_call"))
    elif found is None and isinstance(legacy, dict) and len(legacy) == 1 and _is_named(legacy):
        del body["function_call"]
        found = ToolChoice("any", (legacy["name"],), own=_spelled("function_call"))
    if parallel is None:
        return found
    if found is None:
        found = ToolChoice()
    found.parallel = parallel
    return found


def _spelled(*marks: str) -> Own:
    return Own(NAME, {}, frozenset(marks))


def _read_named(choice: Json) -> ToolChoice | None:
    kind = choice.get("type", "function")
    inner = choice.get(kind) if kind in ("function", "custom") else None
    if not _is_named(inner) or len(inner) != 1 or len(choice) != (2 if "type" in choice else 1):
        return None
    marks = ["named"] if "type" in choice else ["named", "type:absent"]
    if kind == "custom":
        marks.append("custom")
    return ToolChoice("any", (inner["name"],), own=_spelled(*marks))


def _read_allowed(choice: Json) -> ToolChoice | None:
    """https://platform.openai.com/docs/guides/function-calling#allowed-tools"""
    inner = choice.get("allowed_tools")
    if choice.get("type") != "allowed_tools" or len(choice) != 2 or not isinstance(inner, dict) or len(inner) != 2:
        return None
    tools, mode = inner.get("tools"), inner.get("mode")
    if mode not in ("auto", "required") or not isinstance(tools, list) or not tools:
        return None
    names, marks = [], {"allowed_tools"}
    for place, tool in enumerate(tools):
        kind = tool.get("type") if isinstance(tool, dict) else None
        named = tool.get(kind) if kind in ("function", "custom") else None
        if not _is_named(named) or len(named) != 1 or len(tool) != 2:
            return None
        names.append(named["name"])
        if kind == "custom":
            marks.add(f"custom:{place}")
    return ToolChoice(_MODES[mode], tuple(names), own=_spelled(*marks))


# Settings


def _read_limit(body: Json, marks: list[str]) -> int | None:
    limit = take(body, "max_completion_tokens", INTEGER)
    if limit is not None:
        marks.append("max_completion_tokens")
        return limit  # type: ignore[no-any-return]
    return take(body, "max_tokens", INTEGER)  # type: ignore[no-any-return]


_SAMPLING = {
    "temperature": NUMBER,
    "top_p": NUMBER,
    "top_k": INTEGER,
    "seed": INTEGER,
    "frequency_penalty": NUMBER,
    "presence_penalty": NUMBER,
    "logprobs": BOOLEAN,
    "top_logprobs": INTEGER,
}


def read_sampling(body: Json) -> Sampling:
    sampling = Sampling()
    for key, types in _SAMPLING.items():
        if key in body and (value := take(body, key, types)) is not None:
            setattr(sampling, key, value)
    bias = body.get("logit_bias")
    if isinstance(bias, dict) and bias and all(type(value) in NUMBER for value in bias.values()):
        sampling.logit_bias = body.pop("logit_bias")
    return sampling


def read_stop(body: Json, marks: list[str]) -> list[str]:
    stop = body.get("stop")
    if isinstance(stop, str):
        del body["stop"]
        marks.append("stop:text")
        return [stop]
    if isinstance(stop, list) and stop and all(isinstance(one, str) for one in stop):
        del body["stop"]
        return stop
    return []


def _read_reasoning(body: Json) -> Reasoning | None:
    """OpenAI's effort, OpenRouter's object, and the switches of DeepSeek and GLM, and of Qwen."""
    effort = take(body, "reasoning_effort", STRING)
    whole = body.get("reasoning")
    thinking, switch = body.get("thinking"), body.get("enable_thinking")
    marks: list[str] = []
    enabled: bool | None = None
    found = Reasoning(effort=effort)
    if effort is not None:
        marks.append("reasoning_effort")
    if isinstance(whole, dict) and whole and effort is None:
        # https://openrouter.ai/docs/use-cases/reasoning-tokens
        found.effort = take(whole, "effort", STRING)
        found.budget = take(whole, "max_tokens", INTEGER)
        enabled = take(whole, "enabled", BOOLEAN)
        if whole.get("exclude") is True:
            del whole["exclude"]
            found.shown = "omitted"
        marks.append("reasoning")
        if not body["reasoning"]:
            del body["reasoning"]
    if enabled is None and isinstance(thinking, dict) and thinking.get("type") in ("enabled", "disabled"):
        # https://api-docs.deepseek.com/guides/thinking_mode, https://docs.z.ai/guides/capabilities/thinking-mode
        enabled = thinking.pop("type") == "enabled"
        marks.append("thinking")
        if not thinking:
            del body["thinking"]
    elif enabled is None and isinstance(switch, bool):
        # https://www.alibabacloud.com/help/en/model-studio/deep-thinking
        enabled = body.pop("enable_thinking")
        marks.append("enable_thinking")
    if not marks:
        return None
    if effort == "none" and enabled is None:
        # OpenAI's way to switch it off.
        enabled = False
        marks.append("enabled:effort")
    found.enabled = enabled
    found.own = Own(NAME, {}, frozenset(marks))
    return found


def _read_output(form: Json, body: Json) -> Output | None:
    kind = form.get("type")
    if kind == "json_schema" and isinstance(inner := form.get("json_schema"), dict):
        schema = take(inner, "schema", OBJECT)
        found = Output("schema", schema, take(inner, "name", STRING), take(inner, "description", STRING))
        found.strict = take(inner, "strict", BOOLEAN)
        del form["type"], form["json_schema"], body["response_format"]
        prefixed(inner, "json_schema", form)
        found.own = leftover(form)
        return found
    if kind == "json_object" or kind == "text":
        del form["type"], body["response_format"]
        return Output("json" if kind == "json_object" else "text", own=leftover(form))
    return None
