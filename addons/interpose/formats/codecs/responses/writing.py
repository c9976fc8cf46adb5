"""A request written: settings, then the conversation as items. https://platform.openai.com/docs/api-reference/responses/create

From another format it is stateless: nothing is stored, and reasoning comes encrypted so that the client can bring it
back (https://platform.openai.com/docs/guides/reasoning#encrypted-reasoning-items).
"""

from __future__ import annotations

from interpose.formats.capabilities import nearest
from interpose.formats.codecs.codec import Json, Target, Written
from interpose.formats.codecs.ids import USER, fit
from interpose.ir import (
    Foreign,
    Losses,
    Media,
    Message,
    Output,
    Own,
    Reasoning,
    Refused,
    Request,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
)

from .names import ALLOWED, CHAT, EASY, NAME, PART, STRING, Out, foreign, is_ours, marked, top
from .parts import write_part
from .requests import MODES, TEXT_FORMATS
from .turns import Turn, result_item

PATH = "/responses"

_MODES = {mode: word for word, mode in MODES.items()}
_FORMATS = {kind: word for word, kind in TEXT_FORMATS.items()}
# Fields that Chat has by the same name and meaning: https://platform.openai.com/docs/api-reference/chat/create
SHARED = ("store", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "safety_identifier")
UNDERSTOOD = frozenset((*SHARED, "verbosity"))
# https://platform.openai.com/docs/api-reference/responses/create#responses-create-service_tier and Anthropic's words
# for it, https://docs.claude.com/en/api/service-tiers
TIERS = {tier: tier for tier in ("auto", "default", "flex", "scale", "priority")} | {"standard_only": "default"}
EFFORTS = frozenset(("none", "minimal", "low", "medium", "high", "xhigh", "max"))
# A budget in tokens as an effort: up to so many are that much. Not every model has less than low, or more than high.
BUDGETS = ((4096, "low"), (16384, "medium"))
HIDDEN = frozenset(("omitted", "hidden", "none"))
LEAST_OUTPUT = 16  # the API refuses less: "integer below minimum value. Expected a value >= 16"


def write_request(request: Request, target: Target, losses: Losses) -> Written:
    out = Out(losses, request.format, target.capabilities)
    body = settings(request, target, losses)
    messages = request.messages
    if messages and (text := _instructions(messages[0], out)) is not None:
        body["instructions"] = text
        messages = messages[1:]
    if marked(request.own, "input:string") and len(messages) == 1:
        said = messages[0].blocks[0]
        assert isinstance(said, Text)
        body["input"] = said.text
    elif not marked(request.own, "input:none") and not (is_ours(request.own) and "input" in body):
        items: list[Json] = []
        for message in messages:
            write_message(message, items, out)
        body["input"] = items
    return Written(PATH, body)


def _instructions(message: Message, out: Out) -> str | None:
    """The system text on top of the request, if it is one text; more, and marked ones, keep their parts as an item."""
    if not top(message) or len(message.blocks) != 1:
        return None
    block = message.blocks[0]
    if not isinstance(block, Text) or (block.cache is not None and out.marks):
        return None
    if block.cache is not None:
        out.breakpoint(block.cache, block.at, {})
    out.losses.own(message.own, message.at, NAME)
    out.losses.own(block.own, block.at, NAME)
    return block.text


def write_message(message: Message, items: list[Json], out: Out) -> None:
    own = message.own
    if message.role == "assistant":
        turn = Turn(out, items)
        for block in message.blocks:
            turn.add(block)
        turn.close()
    elif own is not None and own.format == NAME and not top(message):
        items.append(_exact(message, own, out))
        return
    else:
        _spoken(message, items, out)
    if message.name is not None:
        out.losses.dropped(f"{message.at}.name" if message.at else "name", "messages have no names")
    out.losses.own(own, message.at, NAME)


def _exact(message: Message, own: Own, out: Out) -> Json:
    """An item of this format, as it came."""
    if own.vital:
        reference = message.blocks[0]
        assert isinstance(reference, Foreign)
        value: Json = reference.value
        return value
    parts = [part for block in message.blocks if (part := write_part(block, "input_text", out)) is not None]
    item: Json = {"role": message.role, "content": parts}
    if STRING in own.marks and message.blocks and isinstance(said := message.blocks[0], Text):
        item["content"] = said.text
    if EASY not in own.marks:
        item["type"] = "message"
    item.update(own.silent or {})
    item.update(own.fields)
    return item


def _spoken(message: Message, items: list[Json], out: Out) -> None:
    """What is no assistant's: results of tools each an item, the rest between them messages."""
    role = "user" if message.role == "tool" else message.role
    parts: list[Json] = []

    def flush() -> None:
        if parts:
            alone = parts[0] if len(parts) == 1 else {}
            content = alone["text"] if alone.keys() == {"type", "text"} else parts.copy()
            items.append({"type": "message", "role": role, "content": content})
            parts.clear()

    for block in message.blocks:
        if isinstance(block, ToolResult):
            flush()
            items.append(result_item(block, out))
        elif isinstance(block, Foreign) and not marked(block.own, PART):
            flush()
            _foreign_item(block, items, out)
        elif (part := write_part(block, "input_text", out)) is not None:
            parts.append(part)
        elif not isinstance(block, Text | Refused | Media | Foreign):
            out.losses.dropped(block.at, f"a message of the {role}'s holds no {type(block).__name__}")
    flush()


def _foreign_item(block: Foreign, items: list[Json], out: Out) -> None:
    if block.format == NAME:
        items.append(block.value)
    else:
        foreign(block, out)


# Settings


def settings(request: Request, target: Target, losses: Losses) -> Json:
    """All of the body but the conversation."""
    own = request.own
    ours = own if own is not None and own.format == NAME else None
    body: Json = {"model": target.model} if target.model else {}
    if tools := [written for tool in request.tools if (written := _tool(tool, losses)) is not None]:
        body["tools"] = tools
    if request.tool_choice is not None:
        _tool_choice(request.tool_choice, request.tools, body, losses)
    if request.output is not None:
        body["text"] = {"format": _format(request.output, losses)}
    for key, value in (
        ("user", request.user),
        ("metadata", request.metadata),
        ("temperature", request.sampling.temperature),
        ("top_p", request.sampling.top_p),
        ("top_logprobs", request.sampling.top_logprobs),
        ("max_output_tokens", request.max_tokens),
        ("service_tier", request.service_tier),
    ):
        if value is not None:
            body[key] = value
    if request.stream:
        body["stream"] = True
    if request.reasoning is not None and (reasoning := _reasoning(request.reasoning, target, ours, losses)):
        body["reasoning"] = reasoning
    if ours is not None:
        _lay(ours, body)
    else:
        _stateless(request, target, body, losses)
    return body


def _lay(own: Own, body: Json) -> None:
    """What is this format's own, over what was written."""
    for key, value in (own.silent or {}).items():
        body[key] = value
    included = sorted((int(place), name) for place, name in _included(own))
    for key, value in own.fields.items():
        if key == "text" and "text" in body and isinstance(value, dict):
            body["text"] = {**value, **body["text"]}
        else:
            body[key] = value
    if included:
        names = list(own.fields.get("include") or ())
        for place, name in included:
            names.insert(place, name)
        body["include"] = names


def _included(own: Own) -> list[list[str]]:
    return [mark.split(":", 2)[1:] for mark in own.marks if mark.startswith("include:")]


def _stateless(request: Request, target: Target, body: Json, losses: Losses) -> None:
    """What another format's request is told to be, and what of it has no place."""
    own, sampling = request.own, request.sampling
    losses.own(own, "", NAME, UNDERSTOOD if own is not None and own.format == CHAT else frozenset())
    body["store"] = False
    include = []
    if target.capabilities.thinking != "none":
        include.append("reasoning.encrypted_content")
    if sampling.logprobs:
        include.append("message.output_text.logprobs")
    if include:
        body["include"] = include
    if own is not None and own.format == CHAT:
        for key in SHARED:
            if own.fields.get(key) is not None:
                body[key] = own.fields[key]
        if own.fields.get("verbosity") is not None:
            body.setdefault("text", {})["verbosity"] = own.fields["verbosity"]
    can = target.capabilities
    thinks = body.get("reasoning", {}).get("effort") not in (None, "none")
    if not can.sampling or (thinks and not can.sampling_thinking):
        for key in ("temperature", "top_p", "top_logprobs"):
            if body.pop(key, None) is not None:
                losses.dropped(key, "the model refuses it while it thinks" if can.sampling else "the model refuses it")
    if request.max_tokens is not None and can.max_output is not None and request.max_tokens > can.max_output:
        body["max_output_tokens"] = can.max_output
        losses.approximated("max_tokens", f"the model writes {can.max_output} tokens at most")
    if request.max_tokens is not None and request.max_tokens < LEAST_OUTPUT:
        body["max_output_tokens"] = LEAST_OUTPUT
        losses.approximated("max_tokens", f"at least {LEAST_OUTPUT} tokens must be allowed")
    if request.user is not None and (user := fit(request.user, USER)) != request.user:
        body["user"] = user
        losses.approximated("user", "an end user's name has 64 characters at most; one made from it stands for it")
    if request.service_tier is not None:
        tier = TIERS.get(request.service_tier)
        if tier is None:
            del body["service_tier"]
            losses.dropped("service_tier", f"there is no tier {request.service_tier}")
        else:
            body["service_tier"] = tier
    for key, value in (
        ("top_k", sampling.top_k),
        ("seed", sampling.seed),
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
        ("logit_bias", sampling.logit_bias),
        ("stop", request.stop or None),
    ):
        if value is not None:
            losses.dropped(key, f"{NAME} has nothing like it")
    if request.answers is not None and request.answers > 1:
        losses.impossible("n", "a response is one answer")


def _tool(tool: Tool, losses: Losses) -> Json | None:
    own = tool.own if is_ours(tool.own) else None
    if tool.kind == "server":
        if own is None:
            losses.dropped(tool.at, f"{tool.name} is run by another provider")
        return None if own is None else own.fields
    written: Json = {"type": tool.kind, "name": tool.name}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.kind == "custom":
        if tool.grammar is not None:
            # Chat has the definition and the syntax in an object of their own.
            inner = tool.grammar.get("grammar")
            nested = own is None and isinstance(inner, dict)
            written["format"] = {"type": "grammar", **inner} if nested and inner else tool.grammar
    elif own is None:
        # Omitted, strict may be taken for true here, and nowhere else; a function without parameters must say so.
        written["parameters"] = tool.parameters or {"type": "object", "properties": {}}
        written["strict"] = tool.strict or False
    else:
        if tool.parameters is not None:
            written["parameters"] = tool.parameters
        if tool.strict is not None:
            written["strict"] = tool.strict
    if own is not None:
        written.update(own.fields)
        return written
    losses.own(tool.own, tool.at, NAME)
    if tool.cache is not None:
        losses.approximated(tool.at, "tools are cached by themselves, without marks")
    return written


def _tool_choice(choice: ToolChoice, tools: list[Tool], body: Json, losses: Losses) -> None:
    own = choice.own
    custom = {tool.name for tool in tools if tool.kind == "custom"}
    if choice.names:
        if len(choice.names) == 1 and choice.mode == "any" and not marked(own, ALLOWED):
            name = choice.names[0]
            kind = "custom" if marked(own, "type:custom") or (not is_ours(own) and name in custom) else "function"
            body["tool_choice"] = {"type": kind, "name": name}
        else:
            body["tool_choice"] = {
                "type": "allowed_tools",
                "mode": "auto" if choice.mode == "auto" else "required",
                "tools": [
                    {"type": _kind(name, place, own, custom), "name": name} for place, name in enumerate(choice.names)
                ],
            }
    elif choice.mode is not None:
        body["tool_choice"] = _MODES[choice.mode]
    if choice.parallel is not None:
        body["parallel_tool_calls"] = choice.parallel
    losses.own(own, "tool_choice", NAME)


def _kind(name: str, place: int, own: Own | None, custom: set[str]) -> str:
    if is_ours(own):
        return "custom" if marked(own, f"custom:{place}") else "function"
    return "custom" if name in custom else "function"


def _format(output: Output, losses: Losses) -> Json:
    """https://platform.openai.com/docs/guides/structured-outputs"""
    written: Json = {"type": _FORMATS[output.kind]}
    own = output.own
    exact = is_ours(own)
    if output.kind == "schema":
        written["schema"] = output.schema
        if not exact:
            written["name"] = output.name or "answer"  # required here
        elif output.name is not None:
            written["name"] = output.name
        if output.description is not None:
            written["description"] = output.description
        if output.strict is not None:
            written["strict"] = output.strict
        elif not exact:
            written["strict"] = False
    if own is not None and exact:
        written.update(own.fields)
    else:
        losses.own(own, "output", NAME)
    return written


def _reasoning(reasoning: Reasoning, target: Target, ours: Own | None, losses: Losses) -> Json:
    own = reasoning.own
    if ours is not None and own is not None and own.format == NAME:
        written: Json = {}
        if reasoning.effort is not None:
            written["effort"] = reasoning.effort
        if reasoning.shown is not None:
            written["summary"] = reasoning.shown
        written.update(own.fields)
        return written
    losses.own(own, "reasoning", NAME)
    effort = reasoning.effort
    if effort is None and reasoning.enabled is False:
        effort = "none"
    if target.capabilities.thinking == "none":
        if effort not in (None, "none") or reasoning.enabled or reasoning.budget:
            losses.dropped("reasoning", "the model does not reason")
        return {}
    written = {}
    if effort is None and reasoning.budget is not None:
        effort = next((word for most, word in BUDGETS if reasoning.budget <= most), "high")
        losses.approximated("reasoning", f"a budget of {reasoning.budget} tokens is told as the effort {effort}")
    if effort is not None:
        if effort in EFFORTS:
            near = written["effort"] = nearest(effort, target.capabilities.efforts)
            if near != effort:
                losses.approximated("reasoning", f"the model takes no effort {effort}; {near} is the nearest")
        else:
            losses.dropped("reasoning", f"there is no effort {effort}")
    if reasoning.shown is not None and reasoning.shown not in HIDDEN:
        written["summary"] = reasoning.shown if reasoning.shown in ("concise", "detailed") else "auto"
    return written
