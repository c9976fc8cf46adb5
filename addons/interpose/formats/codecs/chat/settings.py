"""What a Chat request says beside its messages, written from any format's: tools, choice, limits, sampling, output.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from typing import Any

from interpose.formats.capabilities import Capabilities, nearest
from interpose.formats.codecs.codec import Json, Target
from interpose.formats.codecs.ids import USER, fit
from interpose.ir import Losses, Output, Own, Reasoning, Request, Tool, ToolChoice

from .facts import NAME, lay_over, marks_of, write_cache

SAMPLING = ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty")
LOGPROBS = ("logit_bias", "logprobs", "top_logprobs")
RANDOM = ("temperature", "top_p", "top_k")
MAX_STOPS = 4
RESPONSES = "openai-responses"
SHARED = frozenset(("store", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "safety_identifier"))
# What other formats call them: https://docs.claude.com/en/api/service-tiers
TIERS = frozenset(("auto", "default", "flex", "scale", "priority", "fast"))
# Budgets of thinking tokens as OpenRouter buckets efforts: https://openrouter.ai/docs/use-cases/reasoning-tokens
# Objects of which a part is understood.
MERGED = ("stream_options", "reasoning", "thinking")
BUCKETS = ((1024, "minimal"), (4096, "low"), (16384, "medium"))


def write_settings(request: Request, body: Json, target: Target, losses: Losses) -> None:
    native = request.format == NAME
    capabilities = target.capabilities
    if request.tools:
        if not capabilities.tools:
            losses.impossible("tools", "the model is not known to call tools")
        _write_tools(request.tools, body, capabilities.cache_field, losses)
    if request.tool_choice is not None:
        _write_choice(request.tool_choice, request.tools, body, losses)
    if request.max_tokens is not None:
        field = "max_tokens"
        if "max_completion_tokens" in marks_of(request.own) or (not native and capabilities.thinking == "effort"):
            # OpenAI's reasoning models refuse the older name; many a compatible server knows only that.
            field = "max_completion_tokens"
        body[field] = request.max_tokens
        if not native and capabilities.max_output is not None and request.max_tokens > capabilities.max_output:
            # More than a model writes is refused.
            body[field] = capabilities.max_output
            losses.approximated("max_tokens", f"the model writes {capabilities.max_output} tokens at most")
    if request.reasoning is not None:
        _write_reasoning(request.reasoning, body, capabilities, losses)
    _write_sampling(request, body, target, losses)
    write_stop(request, body, losses)
    if request.output is not None:
        body["response_format"] = _write_output(request.output, losses, native=native)
    write_rest(request, body, losses)


def write_rest(request: Request, body: Json, losses: Losses) -> None:
    """The settings that Chat and its predecessor share, and what was left over."""
    native = request.format == NAME
    if request.answers is not None:
        body["n"] = request.answers
    if request.stream:
        body["stream"] = True
        usage = request.include_usage
        if usage is None and not native:
            # For our own records; the chunk is kept from clients who did not ask for it.
            usage = True
        if usage is not None:
            body["stream_options"] = {"include_usage": usage}
    elif "stream:false" in marks_of(request.own):
        body["stream"] = False
    if not request.stream and request.include_usage is not None and native:
        body["stream_options"] = {"include_usage": request.include_usage}
    if request.user is not None:
        body["user"] = request.user if native else fit(request.user, USER)
        if body["user"] != request.user:
            losses.approximated("user", "an end user's name has 64 characters at most; one made from it stands for it")
    if request.metadata is not None:
        if native:
            body["metadata"] = request.metadata
        else:
            losses.dropped("metadata", "Chat takes it with stored replies alone")
    if request.service_tier is not None:
        if native or request.service_tier in TIERS:
            body["service_tier"] = request.service_tier
        else:
            losses.dropped("service_tier", f"Chat has no tier {request.service_tier!r}")
    if request.own is not None:
        losses.own(request.own, "", NAME, _write_shared(request.own, body))
        for field in MERGED:
            if native and field in body and isinstance(rest := request.own.fields.get(field), dict):
                body[field] = {**rest, **body[field]}
        lay_over(body, request.own)


def _write_shared(own: Own, body: Json) -> frozenset[str]:
    """What Responses has by the same name and meaning; gives the fields that are wholly said with it.

    https://platform.openai.com/docs/api-reference/responses/create
    """
    if own.format != RESPONSES:
        return frozenset()
    body.update({key: value for key in SHARED if (value := own.fields.get(key)) is not None})
    text = own.fields.get("text")
    if isinstance(text, dict) and isinstance(verbosity := text.get("verbosity"), str):
        body["verbosity"] = verbosity
        if len(text) == 1:
            return SHARED | {"text"}
    return SHARED


# Tools


def _write_tools(tools: list[Tool], body: Json, cache: str | None, losses: Losses) -> None:
    written: list[Any] = []
    functions: list[Any] = []
    for tool in tools:
        own = marks_of(tool.own)
        if "beside" in own and tool.own is not None:
            body.update(tool.own.fields)
            continue
        if tool.kind == "server":
            if tool.own is not None and tool.own.format == NAME:
                written.append(tool.own.fields)
            else:
                losses.dropped(tool.at, f"{tool.name}: a tool that its own provider runs")
            continue
        described = _write_custom(tool, losses) if tool.kind == "custom" else _write_function(tool)
        if "functions" in own:
            lay_over(described, tool.own)
            functions.append(described)
            continue
        field = tool.kind
        wrapped: Json = {"type": field, field: described}
        if "type:absent" in own:
            del wrapped["type"]
        if tool.cache is not None and not write_cache(tool.cache, wrapped, cache if cache == "cache_control" else None):
            losses.dropped(tool.at, "the model's server is not known to take marks of a prompt cache on tools")
        if tool.own is not None:
            losses.own(tool.own, tool.at, NAME)
            lay_over(wrapped, tool.own, field)
        written.append(wrapped)
    if written:
        body["tools"] = written
    if functions:
        body["functions"] = functions


def _write_function(tool: Tool) -> Json:
    written: Json = {"name": tool.name}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.parameters is not None:
        written["parameters"] = tool.parameters
    if tool.strict is not None:
        written["strict"] = tool.strict
    return written


def _write_custom(tool: Tool, losses: Losses) -> Json:
    written: Json = {"name": tool.name}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.grammar is not None:
        written["format"] = tool.grammar
        if tool.grammar.get("type") == "grammar" and "grammar" not in tool.grammar and "definition" in tool.grammar:
            # Responses has the same grammar one level higher:
            # https://platform.openai.com/docs/guides/function-calling#context-free-grammars
            inner = {key: value for key, value in tool.grammar.items() if key != "type"}
            written["format"] = {"type": "grammar", "grammar": inner}
    return written


_WORDS = {"auto": "auto", "none": "none", "any": "required"}


def _write_choice(choice: ToolChoice, tools: list[Tool], body: Json, losses: Losses) -> None:
    marks = marks_of(choice.own)
    losses.own(choice.own, "tool_choice", NAME)
    if choice.parallel is not None:
        body["parallel_tool_calls"] = choice.parallel
    names = choice.names
    if choice.mode is None and not names:
        return
    custom = {tool.name for tool in tools if tool.kind == "custom"}
    if "function_call" in marks:
        body["function_call"] = {"name": names[0]} if names else choice.mode
    elif not names or choice.mode == "none":
        body["tool_choice"] = "any" if "any" in marks else _WORDS[choice.mode or "auto"]
    elif "named" in marks or (len(names) == 1 and choice.mode == "any" and "allowed_tools" not in marks):
        named = _named(names[0], is_custom="custom" in marks if marks else names[0] in custom)
        if "type:absent" in marks:
            del named["type"]
        body["tool_choice"] = named
    else:
        allowed = [
            _named(name, is_custom=f"custom:{place}" in marks if marks else name in custom)
            for place, name in enumerate(names)
        ]
        mode = _WORDS[choice.mode or "auto"]
        body["tool_choice"] = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": allowed}}


def _named(name: str, *, is_custom: bool) -> Json:
    kind = "custom" if is_custom else "function"
    return {"type": kind, kind: {"name": name}}


# Limits, sampling, output


def _write_sampling(request: Request, body: Json, target: Target, losses: Losses) -> None:
    sampling = request.sampling
    native = request.format == NAME
    for key in SAMPLING:
        value = getattr(sampling, key)
        if value is not None:
            body[key] = value
    for key in LOGPROBS:
        value = getattr(sampling, key)
        if value is not None:
            body[key] = value
    if sampling.top_k is not None:
        if native:
            body["top_k"] = sampling.top_k
        else:
            losses.dropped("top_k", "Chat has no field for it")
    if not native and sampling.top_logprobs is not None and sampling.logprobs is None:
        body["logprobs"] = True
    refused = ""
    if not target.capabilities.sampling:
        refused = "the model takes no sampling settings"
    elif not target.capabilities.sampling_thinking and body.get("reasoning_effort") not in (None, "none"):
        refused = "the model takes no sampling settings while it thinks"
    if refused:
        for key in RANDOM:
            if body.pop(key, None) is not None:
                losses.dropped(key, refused)


def write_stop(request: Request, body: Json, losses: Losses) -> None:
    stop = request.stop
    if not stop:
        return
    if request.format == NAME:
        body["stop"] = stop[0] if "stop:text" in marks_of(request.own) else stop
        return
    body["stop"] = stop[:MAX_STOPS]
    for place in range(MAX_STOPS, len(stop)):
        losses.dropped(f"stop[{place}]", f"Chat takes at most {MAX_STOPS} stop sequences")


def _write_reasoning(reasoning: Reasoning, body: Json, can: Capabilities, losses: Losses) -> None:
    marks = marks_of(reasoning.own)
    if marks:
        _write_own_reasoning(reasoning, body, marks)
        return
    losses.own(reasoning.own, "reasoning", NAME)
    if can.thinking == "none":
        if reasoning.enabled is not False:
            losses.dropped("reasoning", "the model is not known to think on demand")
        return
    effort = reasoning.effort
    if reasoning.enabled is False:
        effort = "none"
    elif effort is None and reasoning.budget is not None:
        effort = next((word for limit, word in BUCKETS if reasoning.budget <= limit), "high")
        losses.approximated(
            "reasoning.budget", f"a budget of {reasoning.budget} tokens is asked for as effort {effort}"
        )
    elif reasoning.budget is not None:
        losses.dropped("reasoning.budget", "Chat takes an effort, not a budget")
    if reasoning.adaptive and effort is None:
        losses.approximated("reasoning.adaptive", "the model thinks as much as it does by default")
    if reasoning.shown not in (None, "omitted"):
        losses.dropped("reasoning.shown", "Chat shows no thoughts on demand")
    if effort is not None:
        near = nearest(effort, can.efforts)
        if near != effort:
            losses.approximated("reasoning", f"the model takes no effort {effort}; {near} is the nearest")
        body["reasoning_effort"] = near


def _write_own_reasoning(reasoning: Reasoning, body: Json, marks: frozenset[str]) -> None:
    if "reasoning_effort" in marks:
        body["reasoning_effort"] = reasoning.effort
    enabled = None if "enabled:effort" in marks else reasoning.enabled
    if "thinking" in marks:
        body["thinking"] = {"type": "enabled" if enabled else "disabled"}
    elif "enable_thinking" in marks:
        body["enable_thinking"] = enabled
    if "reasoning" in marks:
        whole: Json = {}
        if reasoning.effort is not None:
            whole["effort"] = reasoning.effort
        if reasoning.budget is not None:
            whole["max_tokens"] = reasoning.budget
        if enabled is not None and "thinking" not in marks and "enable_thinking" not in marks:
            whole["enabled"] = enabled
        if reasoning.shown == "omitted":
            whole["exclude"] = True
        body["reasoning"] = whole


def _write_output(output: Output, losses: Losses, *, native: bool) -> Json:
    if output.own is not None:
        losses.own(output.own, "response_format", NAME)
    if output.kind != "schema":
        written: Json = {"type": "text" if output.kind == "text" else "json_object"}
        lay_over(written, output.own)
        return written
    inner: Json = {}
    name = output.name
    if name is None and not native:
        # The field is required: https://platform.openai.com/docs/guides/structured-outputs
        name = "answer"
        losses.synthesised("response_format.json_schema.name", "a schema must have a name")
    if name is not None:
        inner["name"] = name
    if output.description is not None:
        inner["description"] = output.description
    if output.schema is not None:
        inner["schema"] = output.schema
    if output.strict is not None:
        inner["strict"] = output.strict
    written = {"type": "json_schema", "json_schema": inner}
    lay_over(written, output.own, "json_schema")
    return written
