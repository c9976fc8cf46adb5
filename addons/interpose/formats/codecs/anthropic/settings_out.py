"""Settings of a request written: limits, sampling, thinking, tools and the form of the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping

from interpose.formats.capabilities import Capabilities, nearest
from interpose.formats.codecs.codec import Target
from interpose.formats.codecs.functions import ANY_INPUT, CUSTOM_INPUT
from interpose.ir import Losses, Output, Reasoning, Request, Tool, ToolChoice

from .blocks_out import BlockWriter
from .names import COUNTING, FORMAT, VERSION_2026, Json, lay_over, marked
from .requests_in import CUSTOM, OLD_OUTPUT
from .schemas import fit_schema

# What every Claude writes at least: https://platform.claude.com/docs/en/about-claude/models/overview
LEAST_MAX_OUTPUT = 4096
# https://platform.claude.com/docs/en/build-with-claude/extended-thinking: at least 1024, and less than max_tokens.
LEAST_BUDGET = 1024
BUDGETS: Mapping[str, int] = {
    "minimal": 1024,
    "low": 4096,
    "medium": 10_000,
    "high": 24_000,
    "xhigh": 32_000,
    "max": 32_000,
}
# https://platform.claude.com/docs/en/build-with-claude/effort
EFFORTS = frozenset(("low", "medium", "high", "xhigh", "max"))
# https://platform.claude.com/docs/en/api/service-tiers, and OpenAI's word for it.
TIERS: Mapping[str, str] = {"auto": "auto", "standard_only": "standard_only", "default": "standard_only"}
# https://platform.claude.com/docs/en/agents-and-tools/tool-use/define-tools
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def write_limit(body: Json, request: Request, target: Target, losses: Losses) -> None:
    most, asked = target.capabilities.max_output, request.max_tokens
    if asked is None:
        if marked(request.own, COUNTING):
            return
        asked = most or LEAST_MAX_OUTPUT
        reason = "the most that the model writes" if most else "since the model's own is not known"
        losses.synthesised("max_tokens", f"Claude demands a limit: {asked}, {reason}")
    elif most is not None and asked > most:
        losses.approximated("max_tokens", f"the model writes {most} tokens at most")
        asked = most
    body["max_tokens"] = asked


def write_sampling(body: Json, request: Request, target: Target, version: str, losses: Losses) -> None:
    """After `write_thinking`: thinking leaves no choice of the temperature."""
    sampling, native = request.sampling, request.format == FORMAT
    told = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
    refused = ""
    if version == VERSION_2026:
        refused = f"version {VERSION_2026} refuses sampling parameters"
    elif not target.capabilities.sampling:
        refused = "the model refuses sampling parameters"
    elif not native and body.get("thinking", {}).get("type") in ("enabled", "adaptive"):
        refused = "sampling cannot be set while the model thinks"
    for name, value in told.items():
        if value is None:
            continue
        if refused:
            losses.dropped(name, refused)
        elif native:
            body[name] = value
        elif name == "temperature" and value > 1:
            losses.approximated(name, "Claude's temperature ends at 1")
            body[name] = 1.0
        elif name == "top_p" and "temperature" in body:
            # https://platform.claude.com/docs/en/about-claude/models/migration-guide: only one of them
            if value != 1:
                losses.dropped(name, "Claude takes temperature or top_p, not both")
        else:
            body[name] = value
    for name in ("seed", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs"):
        if getattr(sampling, name):
            losses.dropped(name, "Claude has nothing like it")


def write_stop(body: Json, request: Request, losses: Losses) -> None:
    stops = request.stop
    if request.format != FORMAT:
        stops = [stop for stop in request.stop if stop.strip()]
        if len(stops) < len(request.stop):
            losses.dropped("stop", "Claude takes no stop sequence of white space alone")
    if stops:
        body["stop_sequences"] = stops


def write_rest(body: Json, request: Request, losses: Losses) -> None:
    """The end user, the tier, and what Claude has no word for."""
    if request.user is not None:
        body["metadata"] = {"user_id": request.user}
    if request.metadata:
        losses.dropped("metadata", "Claude keeps no metadata but the user's id")
    tier = request.service_tier
    if tier is not None:
        known = tier if request.format == FORMAT else TIERS.get(tier)
        if known is None:
            losses.dropped("service_tier", f"Claude has no tier {tier!r}")
        else:
            body["service_tier"] = known
    if request.answers is not None and request.answers != 1:
        losses.impossible("n", "Claude gives one answer to a request")


def write_thinking(body: Json, request: Request, target: Target, losses: Losses) -> None:
    """`thinking` and `output_config.effort`. A choice that forces a tool goes before thinking, for Claude refuses both:
    https://platform.claude.com/docs/en/build-with-claude/extended-thinking#extended-thinking-with-tool-use
    """
    reasoning = request.reasoning
    if reasoning is None:
        return
    style, native = target.capabilities.thinking, request.format == FORMAT
    if native and (style == "budget" or (style != "none" and reasoning.budget is None)):
        _write_native(body, reasoning)
        return
    losses.own(reasoning.own, "thinking", FORMAT)
    off = reasoning.enabled is False or reasoning.effort == "none" or reasoning.budget == 0
    choice = request.tool_choice
    if style == "none":
        if not off:
            losses.dropped("reasoning", "the model does not think")
    elif off:
        _write_off(body, style, losses)
    elif choice is not None and choice.mode == "any" and target.capabilities.forced and style != "effort":
        losses.dropped("reasoning", "Claude does not think where a tool is forced")
    elif style == "budget":
        _write_budget(body, reasoning, losses)
    else:
        _write_effort(body, reasoning, target.capabilities, losses)


def _write_native(body: Json, reasoning: Reasoning) -> None:
    if reasoning.enabled is not None:
        kind = "adaptive" if reasoning.adaptive else "enabled" if reasoning.enabled else "disabled"
        node: Json = {"type": kind}
        if reasoning.budget is not None:
            node["budget_tokens"] = reasoning.budget
        if reasoning.shown is not None:
            node["display"] = reasoning.shown
        lay_over(node, reasoning.own)
        body["thinking"] = node
    if reasoning.effort is not None:
        body["output_config"] = {"effort": reasoning.effort}


def _write_off(body: Json, style: str, losses: Losses) -> None:
    """Where thinking is asked for by a budget, it is off unless asked for."""
    if style == "adaptive":
        body["thinking"] = {"type": "disabled"}
    elif style == "effort":
        body["output_config"] = {"effort": "low"}
        losses.approximated("reasoning", "the model always thinks; with low effort it does so least")


def _write_budget(body: Json, reasoning: Reasoning, losses: Losses) -> None:
    """Thinking counts towards max_tokens: half of these are left for the answer, unless the client says otherwise."""
    limit = body.get("max_tokens", LEAST_MAX_OUTPUT)
    if limit <= LEAST_BUDGET:
        losses.dropped("reasoning", f"max_tokens leaves no room for {LEAST_BUDGET} tokens of thinking")
        return
    half = max(LEAST_BUDGET, limit // 2)
    budget = reasoning.budget
    if budget is None:
        budget = min(half, BUDGETS.get(reasoning.effort or "medium", BUDGETS["medium"]))
        losses.approximated("reasoning", f"the effort is a budget of {budget} tokens to this model")
    elif not LEAST_BUDGET <= budget < limit:
        budget = max(LEAST_BUDGET, min(half, budget))
        losses.approximated("reasoning", f"the budget is {budget}, for it lies between {LEAST_BUDGET} and max_tokens")
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _write_effort(body: Json, reasoning: Reasoning, can: Capabilities, losses: Losses) -> None:
    effort = reasoning.effort
    if effort is None and reasoning.budget is not None:
        effort = next((name for name in ("low", "medium", "high") if reasoning.budget <= BUDGETS[name]), "max")
        losses.approximated("reasoning", f"the budget is {effort} effort to this model")
    elif effort == "minimal":
        effort = "low"
        losses.approximated("reasoning", "Claude's least effort is low")
    elif effort is not None and effort not in EFFORTS:
        losses.dropped("reasoning", f"Claude has no effort {effort!r}")
        effort = None
    elif effort is not None and (near := nearest(effort, can.efforts)) != effort:
        losses.approximated("reasoning", f"the model takes no effort {effort}; {near} is the nearest")
        effort = near
    if can.thinking == "adaptive":
        body["thinking"] = {"type": "adaptive"}
        if reasoning.shown is not None:
            # https://platform.claude.com/docs/en/build-with-claude/thinking#controlling-thinking-display
            body["thinking"]["display"] = "omitted" if reasoning.shown == "omitted" else "summarized"
    if effort is not None:
        body["output_config"] = {"effort": effort}


def write_output(body: Json, request: Request, losses: Losses) -> None:
    """https://platform.claude.com/docs/en/build-with-claude/structured-outputs"""
    output = request.output
    if output is None or output.kind == "text":
        return
    if output.kind == "json" or output.schema is None:
        losses.approximated("response_format", "Claude has no JSON without a schema; the prompt alone asks for it")
        return
    _told_output(output, losses)
    native = request.format == FORMAT
    schema = output.schema if native else fit_schema(output.schema, losses, "response_format.schema")
    node: Json = {"type": "json_schema", "schema": schema}
    lay_over(node, output.own)
    if marked(request.own, OLD_OUTPUT):
        body["output_format"] = node
    else:
        body.setdefault("output_config", {})["format"] = node


def _told_output(output: Output, losses: Losses) -> None:
    losses.own(output.own, "response_format", FORMAT)
    if output.description:
        losses.dropped("response_format.description", "Claude's schema has no description of its own")
    if output.strict is False:
        losses.approximated("response_format.strict", "Claude keeps strictly to every schema")


def write_tools(body: Json, request: Request, blocks: BlockWriter) -> None:
    losses, choice = blocks.losses, request.tool_choice
    names = frozenset(choice.names if choice is not None and len(choice.names) > 1 else ())
    written = []
    for tool in request.tools:
        if names and tool.name not in names:
            losses.approximated(tool.at, "left out, for only some of the tools may be called")
            continue
        node = _write_tool(tool, blocks)
        if node is not None:
            written.append(node)
    if written:
        body["tools"] = written
    if choice is not None:
        _write_choice(body, request, choice, blocks)


def _write_tool(tool: Tool, blocks: BlockWriter) -> Json | None:
    losses = blocks.losses
    if tool.kind == "server":
        if tool.own is None or tool.own.format != FORMAT:
            losses.dropped(tool.at, f"Claude has no tool like the provider's own {tool.name}")
            return None
        return tool.own.fields
    node: Json = {"name": tool.name}
    if not blocks.native and not TOOL_NAME.fullmatch(tool.name):
        losses.impossible(f"{tool.at}.name", "Claude's tools have names of letters, digits, _ and -, up to 128")
    if tool.description is not None:
        node["description"] = tool.description
    if tool.kind == "custom":
        node["input_schema"] = CUSTOM_INPUT
        losses.approximated(tool.at, "a tool that takes free text is a function with the one argument `input`")
        if tool.grammar:
            losses.dropped(f"{tool.at}.format", "Claude keeps to no grammar")
    elif tool.parameters is not None:
        node["input_schema"] = tool.parameters if blocks.native else _parameters(tool, losses)
    elif not blocks.native:
        node["input_schema"] = ANY_INPUT
    if tool.strict is not None and (blocks.native or tool.strict):
        node["strict"] = tool.strict
    if marked(tool.own, CUSTOM):
        node["type"] = "custom"
    blocks.cache(node, tool.cache, tool.at)
    lay_over(node, tool.own)
    losses.own(tool.own, tool.at, FORMAT)
    return node


def _parameters(tool: Tool, losses: Losses) -> Json:
    schema = tool.parameters or ANY_INPUT
    if "type" not in schema:
        schema = {"type": "object", **schema}
    return fit_schema(schema, losses, f"{tool.at}.parameters") if tool.strict else schema


def _write_choice(body: Json, request: Request, choice: ToolChoice, blocks: BlockWriter) -> None:
    """Claude refuses a choice where there are no tools."""
    native, losses = request.format == FORMAT, blocks.losses
    losses.own(choice.own, "tool_choice", FORMAT)
    if "tools" not in body and not native:
        if choice.mode == "any":
            losses.dropped("tool_choice", "there are no tools to choose from")
        return
    node: Json = {"type": choice.mode or "auto"}
    if choice.mode == "any" and len(choice.names) == 1:
        node = {"type": "tool", "name": choice.names[0]}
    if choice.mode == "any" and not blocks.forced and not native:
        node = {"type": "auto"}
        losses.approximated("tool_choice", "the model cannot be forced to call a tool; it is left to choose")
    if choice.parallel is not None and (native or (not choice.parallel and choice.mode != "none")):
        node["disable_parallel_tool_use"] = not choice.parallel
    lay_over(node, choice.own)
    if choice.mode is not None or len(node) > 1:
        body["tool_choice"] = node
