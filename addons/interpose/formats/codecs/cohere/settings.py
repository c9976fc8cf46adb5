"""What a request to Cohere says beside its messages, written from any format's.

https://docs.cohere.com/v2/reference/chat
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Json, Target
from interpose.formats.codecs.functions import allowed, write_functions
from interpose.ir import Losses, Output, Reasoning, Request, Tool, ToolChoice

from .facts import LEFTOVERS, NAME, lay_over, marks_of
from .requests import SAMPLING

# The least and the most that Cohere takes of each: https://docs.cohere.com/v2/reference/chat, and for the temperature
# https://docs.cohere.com/docs/temperature.
RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 1),
    "p": (0.01, 0.99),
    "k": (0, 500),
    "frequency_penalty": (0, 1),
    "presence_penalty": (0, 1),
}
MOST_STOPS = 5
# Tokens for the efforts that other formats know; from "high" on, it may think as long as it likes.
# https://docs.cohere.com/v2/docs/reasoning
BUDGETS = {"minimal": 500, "low": 2000, "medium": 8000}
_UNKNOWN = ("user", "metadata", "service_tier")


def write_settings(request: Request, body: Json, target: Target, losses: Losses) -> None:
    native = request.format == NAME
    if request.tools:
        if not target.capabilities.tools:
            losses.impossible("tools", "the model is not known to call tools")
        # Cohere demands a call, or forbids it, but names none.
        tools = request.tools if native else allowed(request, losses)
        if written := list(write_functions(tools, losses, LEFTOVERS, "Cohere", native=native, strict=False)):
            body["tools"] = written
            _write_strict(request, tools, body, losses)
    if request.tool_choice is not None:
        _write_choice(request.tool_choice, body, losses, native=native)
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    _write_sampling(request, body, target, losses)
    if request.stop:
        body["stop_sequences"] = request.stop if native else request.stop[:MOST_STOPS]
        if not native and len(request.stop) > MOST_STOPS:
            losses.dropped(f"stop[{MOST_STOPS}]", f"Cohere takes at most {MOST_STOPS} sequences")
    if request.reasoning is not None:
        _write_thinking(request.reasoning, body, target, losses, native=native)
    if request.output is not None:
        _write_output(request.output, body, losses, native=native)
    if not native or "stream" in marks_of(request.own):
        body["stream"] = request.stream
    if not native:
        _tell_unknown(request, losses)
    losses.own(request.own, "", NAME)
    lay_over(body, request.own)


def _tell_unknown(request: Request, losses: Losses) -> None:
    if request.answers is not None and request.answers != 1:
        losses.impossible("n", "Cohere gives one answer")
    for name in ("logit_bias", "top_logprobs"):
        if getattr(request.sampling, name) not in (None, 0):
            losses.dropped(name, "Cohere has no field for it")
    for name in _UNKNOWN:
        if getattr(request, name) is not None:
            losses.dropped(name, "Cohere has no field for it")


# Tools


def _write_strict(request: Request, tools: list[Tool], body: Json, losses: Losses) -> None:
    """https://docs.cohere.com/v2/docs/parameter-types-in-tool-use: of all tools or of none, and only if each has a
    parameter that must be given.
    """
    marks = marks_of(request.own)
    if marks & {"strict:true", "strict:false"}:
        body["strict_tools"] = "strict:true" in marks
        return
    strict = [tool for tool in tools if tool.strict]
    if not strict or request.format == NAME:
        return
    functions = [tool for tool in tools if tool.kind == "function"]
    if len(strict) == len(functions) and all((tool.parameters or {}).get("required") for tool in functions):
        body["strict_tools"] = True
        return
    reason = "Cohere holds calls to their schemas of all tools or of none, and of none without required parameters"
    for tool in strict:
        losses.dropped(f"{tool.at}.strict", reason)


def _write_choice(choice: ToolChoice, body: Json, losses: Losses, *, native: bool) -> None:
    losses.own(choice.own, "tool_choice", NAME)
    if choice.parallel is False:
        losses.dropped("parallel_tool_calls", "Cohere cannot hold a model to one call at once")
    if not native and "tools" not in body:
        if choice.mode == "any":
            losses.dropped("tool_choice", "there is no tool to call")
        return
    if choice.mode == "any":
        body["tool_choice"] = "REQUIRED"
    elif choice.mode == "none":
        body["tool_choice"] = "NONE"


# Sampling, thinking, output


def _write_sampling(request: Request, body: Json, target: Target, losses: Losses) -> None:
    sampling, native = request.sampling, request.format == NAME
    for key, name, _ in SAMPLING:
        value: Any = getattr(sampling, name)
        if value is None:
            continue
        if not native:
            if key in ("temperature", "p", "k") and not target.capabilities.sampling:
                losses.dropped(name, "the model takes no sampling settings")
                continue
            if key == "seed" and value < 0:
                losses.dropped(name, "Cohere takes no negative seeds")
                continue
            value = _within(key, name, value, losses)
        body[key] = value


def _within(key: str, name: str, value: Any, losses: Losses) -> Any:
    if key not in RANGES:
        return value
    least, most = RANGES[key]
    fitted = min(max(value, least), most)
    if fitted != value:
        losses.approximated(name, f"Cohere takes {least} to {most}")
    return fitted


def _write_thinking(reasoning: Reasoning, body: Json, target: Target, losses: Losses, *, native: bool) -> None:
    losses.own(reasoning.own, "reasoning", NAME)
    if native:
        written: Json = {"type": "enabled" if reasoning.enabled else "disabled"}
        if reasoning.budget is not None:
            written["token_budget"] = reasoning.budget
        lay_over(written, reasoning.own)
        body["thinking"] = written
        return
    off = reasoning.enabled is False or reasoning.effort == "none" or reasoning.budget == 0
    effort, budget = reasoning.effort, reasoning.budget
    if not (off or effort is not None or budget is not None or reasoning.enabled or reasoning.adaptive):
        return
    if target.capabilities.thinking == "none":
        if not off:
            losses.dropped("reasoning", "the model is not known to think")
        return
    if off:
        body["thinking"] = {"type": "disabled"}
        return
    if reasoning.shown not in (None, "summary"):
        losses.dropped("reasoning.shown", "Cohere shows all thinking")
    if budget is None and effort is not None:
        budget = BUDGETS.get(effort)
        told = "without limit" if budget is None else f"a budget of {budget} tokens"
        losses.approximated("reasoning", f"the effort {effort} is {told} to Cohere")
    elif budget is not None and budget < 0:
        budget = None
    body["thinking"] = {"type": "enabled"} if budget is None else {"type": "enabled", "token_budget": budget}


def _write_output(output: Output, body: Json, losses: Losses, *, native: bool) -> None:
    losses.own(output.own, "response_format", NAME)
    written: Json = {"type": "text" if output.kind == "text" else "json_object"}
    if output.kind != "text" and "tools" in body and not native:
        # https://docs.cohere.com/v2/docs/structured-outputs: not together with tools.
        losses.dropped("response_format", "Cohere gives JSON by a schema only where there are no tools")
        return
    if output.kind == "schema":
        if output.schema is not None:
            written["json_schema"] = output.schema
        else:
            losses.approximated("response_format", "without a schema, any JSON object is asked for")
    lay_over(written, output.own)
    body["response_format"] = written
