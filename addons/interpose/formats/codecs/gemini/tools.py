"""Tools and how they may be chosen: https://ai.google.dev/api/caching#Tool and #ToolConfig.

A wrapper in `tools` holds function declarations and Google's own tools side by side. A tool marked `new` begins the
second wrapper, or one after it.
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Json, Malformed
from interpose.formats.codecs.functions import CUSTOM_INPUT
from interpose.ir import Losses, Request, Tool, ToolChoice

from .schemas import as_openapi, from_openapi, to_subset
from .spelling import NAME, lay, leave, marked, marks_of, own_of, respell, snake, unify

TOOL_NAMES = snake(
    "functionDeclarations",
    "codeExecution",
    "googleSearch",
    "googleSearchRetrieval",
    "googleMaps",
    "urlContext",
    "computerUse",
    "fileSearch",
    "enterpriseWebSearch",
    "mcpServers",
)
DECLARATION_NAMES = snake("parametersJsonSchema", "responseJsonSchema")
CONFIG_NAMES = snake("functionCallingConfig", "retrievalConfig", "includeServerSideToolInvocations")
CALLING_NAMES = snake("allowedFunctionNames", "streamFunctionCallArguments")

# By number: https://github.com/googleapis/googleapis/blob/master/google/ai/generativelanguage/v1beta/content.proto
_NUMBERS = {1: "AUTO", 2: "ANY", 3: "NONE"}
_MODES: dict[str, Any] = {"AUTO": "auto", "ANY": "any", "NONE": "none"}
_WORDS = {mode: word for word, mode in _MODES.items()}


def read_tools(wrappers: list[Any]) -> list[Tool]:
    """Raises Malformed."""
    tools: list[Tool] = []
    for place, wrapper in enumerate(wrappers):
        at = f"tools[{place}]"
        if type(wrapper) is not dict:
            raise Malformed(at, "a tool must be an object")
        marks: set[str] = set()
        unify(wrapper, TOOL_NAMES, marks)
        found: list[Tool] = []
        declared = wrapper.get("functionDeclarations")
        if type(declared) is list and declared:
            del wrapper["functionDeclarations"]
            path = f"{at}.functionDeclarations"
            found += [_declaration(one, f"{path}[{number}]") for number, one in enumerate(declared)]
        for key, value in wrapper.items():
            if value is None:
                marks.add(f"null:{key}")
            else:
                found.append(Tool(key, kind="server", at=f"{at}.{key}", own=own_of({key: value}, set())))
        if not found:
            marks.add("wrapper")
            found.append(Tool("", kind="server", at=at))
        if tools:
            marks.add("new")
        if marks:
            first = found[0]
            own = first.own
            first.own = own_of(own.fields if own else {}, marks | own.marks if own else marks)
        tools += found
    return tools


def _declaration(one: Any, at: str) -> Tool:
    if type(one) is not dict:
        raise Malformed(at, "a function declaration must be an object")
    if type(name := one.get("name")) is not str:
        raise Malformed(f"{at}.name", "a function must have a name")
    del one["name"]
    marks: set[str] = set()
    unify(one, DECLARATION_NAMES, marks)
    description = one.get("description")
    if type(description) is str:
        del one["description"]
    else:
        description = None
    parameters = None
    if type(one.get("parametersJsonSchema")) is dict:
        parameters = one.pop("parametersJsonSchema")
    elif type(one.get("parameters")) is dict:
        marks.add("parameters")
        parameters = from_openapi(one.pop("parameters"), marks)
    return Tool(name, description, parameters, at=at, own=own_of(one, marks))


def write_tools(tools: list[Tool], model: str, losses: Losses) -> list[Json]:
    wrappers: list[Json] = []
    # The model that came before 2.0 knew no JSON Schema; 2.0 takes it.
    subset = model.startswith("gemini-1")
    for tool in tools:
        marks = marks_of(tool.own)
        if tool.own is not None and tool.own.format != NAME:
            losses.own(tool.own if tool.kind != "server" else None, tool.at, NAME)
        if tool.cache is not None:
            losses.dropped(tool.at, "Gemini caches prefixes by itself and takes no marks")
        if tool.kind == "server" and (tool.own is None or tool.own.format != NAME):
            losses.dropped(tool.at, f"Gemini has no {tool.name or 'such tool'}")
            continue
        if not wrappers or "new" in marks:
            wrappers.append({})
        wrapper = wrappers[-1]
        for mark in marks:
            if mark.startswith("null:"):
                wrapper[mark[5:]] = None
        if tool.kind == "server":
            lay(wrapper, tool.own)
        else:
            declared = wrapper.get("functionDeclarations")
            if declared is None:
                declared = wrapper["functionDeclarations"] = []
            declared.append(_declared(tool, marks, subset, losses))
    _respell(tools, wrappers)
    return wrappers


def _respell(tools: list[Tool], wrappers: list[Json]) -> None:
    """At last, for a wrapper is written by several tools."""
    place = -1
    for tool in tools:
        marks = marks_of(tool.own)
        if tool.kind == "server" and (tool.own is None or tool.own.format != NAME):
            continue
        if place < 0 or "new" in marks:
            place += 1
        if marks:
            respell(wrappers[place], TOOL_NAMES, marks)


def _declared(tool: Tool, marks: frozenset[str], subset: bool, losses: Losses) -> Json:
    declaration: Json = {"name": tool.name}
    if tool.description is not None:
        declaration["description"] = tool.description
    parameters = tool.parameters
    if tool.kind == "custom":
        parameters = CUSTOM_INPUT
        losses.approximated(tool.at, "a tool that takes free text takes an object with the text for Gemini")
        if tool.grammar:
            losses.dropped(tool.at, "Gemini's functions have no grammar")
    if parameters is not None:
        if "parameters" in marks:
            declaration["parameters"] = as_openapi(parameters, marks)
        elif subset:
            declaration["parameters"] = to_subset(parameters, losses, tool.at)
        else:
            declaration["parametersJsonSchema"] = parameters
    if tool.strict:
        losses.dropped(tool.at, "Gemini has no strict functions")
    lay(declaration, tool.own)
    respell(declaration, DECLARATION_NAMES, marks)
    return declaration


def read_choice(config: Json) -> ToolChoice:
    """Of a toolConfig that is not empty."""
    marks: set[str] = set()
    unify(config, CONFIG_NAMES, marks)
    choice = ToolChoice()
    calling = config.get("functionCallingConfig")
    if type(calling) is dict and calling:
        unify(calling, CALLING_NAMES, marks)
        mode = calling.get("mode")
        word = _NUMBERS.get(mode) if type(mode) is int else mode.upper() if type(mode) is str else None
        if word in _MODES:
            del calling["mode"]
            choice.mode = _MODES[word]
            if mode != word:
                marks.add(f"mode:{mode}" if type(mode) is str else "mode#")
        names = calling.get("allowedFunctionNames")
        if type(names) is list and names and all(type(name) is str for name in names):
            choice.names = tuple(calling.pop("allowedFunctionNames"))
        del config["functionCallingConfig"]
        leave(config, "functionCallingConfig", calling)
    choice.own = own_of(config, marks)
    return choice


def write_choice(request: Request, choice: ToolChoice, losses: Losses) -> Json:
    """The toolConfig; empty if there is nothing to say."""
    native = request.format == NAME
    functions = any(tool.kind != "server" for tool in request.tools)
    if not native:
        losses.own(choice.own, "tool_choice", NAME)
    if choice.parallel is False:
        losses.dropped("tool_choice", "Gemini cannot be told to call one function at a time")
    marks = marks_of(choice.own)
    calling: Json = {}
    if choice.mode is not None:
        word = _WORDS[choice.mode]
        spelled = marked(marks, "mode:")
        calling["mode"] = spelled or (_number(word) if "mode#" in marks else word)
    if choice.names:
        calling["allowedFunctionNames"] = list(choice.names)
        if choice.mode == "auto" and not native:
            # Names go with ANY and VALIDATED: https://ai.google.dev/api/caching#FunctionCallingConfig
            calling["mode"] = "VALIDATED"
            losses.approximated("tool_choice", "some of the tools, but none of necessity, is VALIDATED for Gemini")
    if calling and not functions and not native:
        # The API refuses a calling config without functions.
        if choice.mode == "any":
            losses.dropped("tool_choice", "there is no function that could be called")
        return {}
    config: Json = {"functionCallingConfig": calling} if calling else {}
    lay(config, choice.own)
    if marks:
        if isinstance(inner := config.get("functionCallingConfig"), dict):
            respell(inner, CALLING_NAMES, marks)
        respell(config, CONFIG_NAMES, marks)
    return config


def _number(word: str) -> int:
    return next(number for number, name in _NUMBERS.items() if name == word)
