"""A request read: https://platform.openai.com/docs/api-reference/responses/create

Neighbouring items of the assistant's (reasoning, text, calls) are one message, as they were one turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interpose.formats.codecs.codec import Asked, Json, Malformed
from interpose.ir import Block, Foreign, Message, Output, Own, Reasoning, Request, Sampling, Tool, ToolChoice

from .items import RESULTS, assistant_blocks, attach, handles, message_blocks, result_block, unpacked
from .names import ALLOWED, EASY, NAME, STRING
from .parts import plain, read_content

# What only the provider keeps, or does: without it, the request would be about something else.
VITAL = frozenset(("previous_response_id", "conversation", "background", "prompt"))
# Values that say what is so anyway, wherever no state is kept.
DEFAULTS: dict[str, Any] = {"stream": False, "store": False, "background": False, "truncation": "disabled"}
# What may be asked to be included that has a place of its own, or that is asked for wherever there is such a thing.
INCLUDED = frozenset(("reasoning.encrypted_content", "message.output_text.logprobs"))
MODES = {"auto": "auto", "required": "any", "none": "none"}
TEXT_FORMATS = {"text": "text", "json_object": "json", "json_schema": "schema"}
# Items that are no part of what the assistant said: the client's own answers, and settings in mid-conversation.
ASIDE = {"mcp_approval_response": "user", "additional_tools": "developer", "configuration_update": "developer"}


def read_request(body: Json, asked: Asked) -> Request:
    if not isinstance(body, dict):
        raise Malformed("", "the body is no JSON object")
    request = Request(NAME, _model(body), [])
    own = request.own = Own(NAME, body)
    silent = {key: body.pop(key) for key, value in DEFAULTS.items() if key in body and _is(body[key], value)}
    marks: set[str] = set()
    instructions = _take(body, "instructions", str)
    if instructions is not None:
        said = plain(instructions, "instructions")
        request.messages.append(Message("system", [said], at="instructions", own=Own(NAME, marks=frozenset(("top",)))))
    _input(body, request, marks)
    request.tools = _tools(body)
    request.tool_choice = _tool_choice(body)
    request.max_tokens = _take(body, "max_output_tokens", int)
    request.sampling = Sampling(
        temperature=_number(body, "temperature"),
        top_p=_number(body, "top_p"),
        top_logprobs=_take(body, "top_logprobs", int),
    )
    _include(body, request, marks)
    request.reasoning = _reasoning(body)
    request.output = _output(body)
    request.stream = _take(body, "stream", bool) or False
    request.user = _take(body, "user", str)
    request.metadata = _take(body, "metadata", dict)
    request.service_tier = _take(body, "service_tier", str)
    if "stream_options" in body and isinstance(body["stream_options"], dict):
        # Nothing but include_obfuscation: padding that is dropped wherever a stream is read.
        silent["stream_options"] = body.pop("stream_options")
    own.silent = silent or None
    own.marks = frozenset(marks)
    own.vital = VITAL.intersection(body)
    return request


def _is(value: object, other: object) -> bool:
    """Equal, and of one type: 0 is not False."""
    return type(value) is type(other) and value == other


def _take(body: Json, key: str, kind: type) -> Any:
    """The value of that key, taken, if it has that very type (True is no int here)."""
    return body.pop(key) if type(body.get(key)) is kind else None


def _number(body: Json, key: str) -> float | None:
    if type(body.get(key)) not in (int, float):
        return None
    number: float = body.pop(key)
    return number


def _model(body: Json) -> str:
    """A prompt that the provider keeps may name the model itself."""
    model = _take(body, "model", str)
    if not model:
        if model == "" or body.get("prompt") is None or body.get("model") is not None:
            raise Malformed("model", "the name of a model is missing")
        return ""
    name: str = model
    return name


def _input(body: Json, request: Request, marks: set[str]) -> None:
    given = body.get("input")
    if type(given) is str:
        marks.add("input:string")
        request.messages.append(Message("user", [plain(given, "input")], at="input"))
    elif isinstance(given, list):
        turns = _Turns(request.messages)
        for place, item in enumerate(given):
            if not isinstance(item, dict):
                raise Malformed(f"input[{place}]", "an item must be an object")
            turns.add(item, f"input[{place}]")
    elif given is not None or VITAL.isdisjoint(body):
        raise Malformed("input", "the input must be a text or a list of items")
    else:
        if "input" not in body:
            marks.add("input:none")
        return
    del body["input"]


class _Turns:
    """Items to messages."""

    def __init__(self, messages: list[Message]) -> None:
        self._messages = messages
        self._blocks: list[Block] | None = None  # of the assistant's turn, while it lasts

    def add(self, item: Json, at: str) -> None:
        kind = item.get("type")
        read = ITEMS.get(kind) if isinstance(kind, str) else _Turns.message if kind is None else None
        if read is None or not read(self, item, at):
            self.other(item, at)

    def message(self, item: Json, at: str) -> bool:
        role, content = item.get("role"), item.get("content")
        if role == "assistant":
            blocks = message_blocks(item, at)
            return blocks is not None and self.assistant(blocks, at)
        if type(role) is not str or role not in ("user", "system", "developer"):
            return False
        if type(content) is str:
            said: list[Block] = [plain(content, f"{at}.content")]
            marks = {STRING}
        elif isinstance(content, list):
            said, marks = read_content(content, "input_text", f"{at}.content"), set()
        else:
            return False
        del item["content"], item["role"]
        if item.get("type") is None:
            marks.add(EASY)
        else:
            del item["type"]
        own = Own(NAME, item, frozenset(marks), handles(item))
        self.say(Message(role, said, at=at, own=own))  # type: ignore[arg-type]  # one of three roles
        return True

    def result(self, item: Json, at: str) -> bool:
        block = result_block(item, at)
        if block is not None:
            self.say(Message("tool", [block], at=at))
        return block is not None

    def reference(self, item: Json, at: str) -> bool:
        """An item that the provider keeps: the block writes it back, what is vital says that nobody else can."""
        own = Own(NAME, {"id": item.get("id")}, vital=frozenset(("id",)))
        self.say(Message("user", [Foreign(NAME, "item_reference", item, at=at)], at=at, own=own))
        return True

    def own(self, item: Json, at: str) -> bool:
        if self._blocks is not None and attach(item, self._blocks):
            return True
        return self.assistant(unpacked(assistant_blocks(item, at)), at)

    def other(self, item: Json, at: str) -> None:
        kind = item.get("type")
        name = kind if isinstance(kind, str) else "item"
        role = ASIDE.get(name, "tool" if name.endswith("_output") else "")
        block = Foreign(NAME, name, item, at=at)
        if role:
            self.say(Message(role, [block], at=at))  # type: ignore[arg-type]  # roles of the table
        else:
            self.assistant([block], at)

    def assistant(self, blocks: list[Block], at: str) -> bool:
        if self._blocks is None:
            self._blocks = []
            self._messages.append(Message("assistant", self._blocks, at=at))
        self._blocks += blocks
        return True

    def say(self, message: Message) -> None:
        self._blocks = None
        self._messages.append(message)


ITEMS: dict[str, Callable[[_Turns, Json, str], bool]] = {
    "message": _Turns.message,
    "reasoning": _Turns.own,
    "function_call": _Turns.own,
    "custom_tool_call": _Turns.own,
    **dict.fromkeys(RESULTS, _Turns.result),
    "item_reference": _Turns.reference,
}


def _tools(body: Json) -> list[Tool]:
    given = body.get("tools")
    if not isinstance(given, list) or not given or not all(isinstance(tool, dict) for tool in given):
        return []
    del body["tools"]
    return [_tool(tool, f"tools[{place}]") for place, tool in enumerate(given)]


def _tool(tool: Json, at: str) -> Tool:
    kind, name = tool.get("type"), tool.get("name")
    if kind not in ("function", "custom") or type(name) is not str:
        return Tool(kind if isinstance(kind, str) else "tool", kind="server", at=at, own=Own(NAME, tool))
    del tool["type"], tool["name"]
    own = Own(NAME, tool)
    description = _take(tool, "description", str)
    if kind == "custom":
        return Tool(name, description, kind="custom", grammar=_take(tool, "format", dict), at=at, own=own)
    parameters, strict = _take(tool, "parameters", dict), _take(tool, "strict", bool)
    return Tool(name, description, parameters, strict, at=at, own=own)


def _tool_choice(body: Json) -> ToolChoice | None:
    """What is chosen among functions and custom tools; a choice of a server's tool is left over."""
    given = body.get("tool_choice")
    parallel = _take(body, "parallel_tool_calls", bool)
    choice = None
    if type(given) is str and given in MODES:
        choice = ToolChoice(MODES[given])  # type: ignore[arg-type]  # modes of the table
    elif isinstance(given, dict):
        if given.get("type") in ("function", "custom") and given.keys() == {"type", "name"}:
            if type(name := given["name"]) is str:
                choice = ToolChoice("any", (name,), own=Own(NAME, marks=frozenset((f"type:{given['type']}",))))
        elif given.get("type") == "allowed_tools" and given.keys() == {"type", "mode", "tools"}:
            choice = _allowed(given["mode"], given["tools"])
    if choice is not None:
        del body["tool_choice"]
        choice.parallel = parallel
        return choice
    return None if parallel is None else ToolChoice(parallel=parallel)


def _allowed(mode: object, tools: object) -> ToolChoice | None:
    if mode not in ("auto", "required") or not isinstance(tools, list) or not tools:
        return None
    marks = [ALLOWED]
    names = []
    for place, tool in enumerate(tools):
        if not isinstance(tool, dict) or tool.keys() != {"type", "name"} or type(tool["name"]) is not str:
            return None
        if tool["type"] not in ("function", "custom"):
            return None
        if tool["type"] == "custom":
            marks.append(f"custom:{place}")
        names.append(tool["name"])
    return ToolChoice("auto" if mode == "auto" else "any", tuple(names), own=Own(NAME, marks=frozenset(marks)))


def _include(body: Json, request: Request, marks: set[str]) -> None:
    """What is understood is marked with its place, the rest stays."""
    given = body.get("include")
    if not isinstance(given, list) or not given or not all(type(name) is str for name in given):
        return
    rest = []
    for place, name in enumerate(given):
        if name in INCLUDED:
            marks.add(f"include:{place}:{name}")
            if name == "message.output_text.logprobs":
                request.sampling.logprobs = True
        else:
            rest.append(name)
    if rest:
        body["include"] = rest
    else:
        del body["include"]


def _reasoning(body: Json) -> Reasoning | None:
    given = body.get("reasoning")
    if not isinstance(given, dict) or not given:
        return None
    del body["reasoning"]
    effort, shown = _take(given, "effort", str), _take(given, "summary", str)
    return Reasoning(False if effort == "none" else None, effort, shown=shown, own=Own(NAME, given))


def _output(body: Json) -> Output | None:
    text = body.get("text")
    if not isinstance(text, dict) or not isinstance(format_ := text.get("format"), dict):
        return None
    kind = TEXT_FORMATS.get(format_["type"]) if type(format_.get("type")) is str else None
    if kind is None or (kind == "schema" and type(format_.get("schema")) is not dict):
        return None
    del format_["type"], text["format"]
    if not text:
        del body["text"]
    own = Own(NAME, format_)
    if kind != "schema":
        return Output(kind, own=own)  # type: ignore[arg-type]  # kinds of the table
    return Output(
        "schema",
        _take(format_, "schema", dict),
        _take(format_, "name", str),
        _take(format_, "description", str),
        _take(format_, "strict", bool),
        own,
    )
