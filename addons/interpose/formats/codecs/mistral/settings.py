"""What a request to Mistral says beside its messages, written from any format's.

https://docs.mistral.ai/api/endpoint/chat: it refuses fields that it does not know.
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Json, Target
from interpose.formats.codecs.functions import allowed, write_functions
from interpose.ir import Losses, Output, Reasoning, Request, Tool, ToolChoice

from .facts import LEFTOVERS, NAME, lay_over, marks_of

HOTTEST = 1.5
# What other formats have, by the name of the neutral field.
_UNKNOWN = ("top_k", "logit_bias", "logprobs", "top_logprobs")


def write_settings(request: Request, body: Json, target: Target, losses: Losses) -> None:
    native = request.format == NAME
    if request.tools:
        if not target.capabilities.tools:
            losses.impossible("tools", "the model is not known to call tools")
        tools = _chosen(request, losses)
        if written := list(write_functions(tools, losses, LEFTOVERS, "Mistral", native=native, strict=True)):
            body["tools"] = written
    if request.tool_choice is not None:
        _write_choice(request.tool_choice, body, losses)
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    _write_sampling(request, body, target, losses)
    if request.stop:
        body["stop"] = request.stop[0] if "stop:text" in marks_of(request.own) else request.stop
    if request.reasoning is not None:
        _write_reasoning(request.reasoning, body, target, losses, native=native)
    if request.output is not None:
        body["response_format"] = _write_output(request.output, losses, native=native)
    if request.answers is not None:
        body["n"] = request.answers
    if request.stream or "stream:false" in marks_of(request.own):
        body["stream"] = request.stream
    _write_rest(request, body, losses, native=native)


def _write_rest(request: Request, body: Json, losses: Losses, *, native: bool) -> None:
    if request.include_usage is not None and native:
        # Usage comes with every stream; who asked for it in OpenAI's words is written so.
        body["stream_options"] = {"include_usage": request.include_usage}
    if request.metadata is not None:
        body["metadata"] = request.metadata
    for name in ("user", "service_tier"):
        if (value := getattr(request, name)) is not None:
            if native:
                body[name] = value
            else:
                losses.dropped(name, "Mistral has no field for it")
    if request.own is not None:
        losses.own(request.own, "", NAME)
        options = request.own.fields.get("stream_options") if native else None
        if isinstance(options, dict) and "stream_options" in body:
            body["stream_options"] = {**options, **body["stream_options"]}
        lay_over(body, request.own)


# Tools


def _chosen(request: Request, losses: Losses) -> list[Tool]:
    """Mistral can be told of one tool or of all: of several that may be called, the others are left out."""
    choice = request.tool_choice
    if choice is not None and len(choice.names) == 1 and choice.mode == "any":
        return request.tools
    return allowed(request, losses)


def _write_choice(choice: ToolChoice, body: Json, losses: Losses) -> None:
    losses.own(choice.own, "tool_choice", NAME)
    marks = marks_of(choice.own)
    if choice.parallel is not None:
        body["parallel_tool_calls"] = choice.parallel
    if len(choice.names) == 1 and choice.mode == "any":
        named: Json = {"type": "function", "function": {"name": choice.names[0]}}
        if "type:absent" in marks:
            del named["type"]
        body["tool_choice"] = named
    elif choice.mode is not None or choice.names:
        body["tool_choice"] = "required" if "required" in marks else choice.mode or "auto"


# Sampling, reasoning, output


def _write_sampling(request: Request, body: Json, target: Target, losses: Losses) -> None:
    sampling, native = request.sampling, request.format == NAME
    settings: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "random_seed": sampling.seed,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
    }
    if native:
        settings |= {"logprobs": sampling.logprobs, "top_logprobs": sampling.top_logprobs}
    else:
        for name in _UNKNOWN:
            if getattr(sampling, name) not in (None, False):
                losses.dropped(name, "Mistral has no field for it")
        if sampling.temperature is not None and sampling.temperature > HOTTEST:
            losses.approximated("temperature", f"Mistral takes at most {HOTTEST}")
            settings["temperature"] = HOTTEST
        if sampling.seed is not None and sampling.seed < 0:
            losses.dropped("seed", "Mistral takes no negative seeds")
            settings["random_seed"] = None
        if not target.capabilities.sampling:
            for key in ("temperature", "top_p"):
                if settings[key] is not None:
                    losses.dropped(key, "the model takes no sampling settings")
                    settings[key] = None
    body.update({key: value for key, value in settings.items() if value is not None})


def _write_reasoning(reasoning: Reasoning, body: Json, target: Target, losses: Losses, *, native: bool) -> None:
    """Mistral knows high and none: https://docs.mistral.ai/capabilities/reasoning"""
    if native:
        body["reasoning_effort"] = reasoning.effort
        return
    losses.own(reasoning.own, "reasoning", NAME)
    off = reasoning.enabled is False or reasoning.effort == "none"
    asked = reasoning.effort is not None or reasoning.budget is not None or reasoning.enabled or reasoning.adaptive
    if target.capabilities.thinking != "effort":
        if asked and not off:
            losses.dropped("reasoning", "the model is not known to take an effort of reasoning")
        return
    if off:
        body["reasoning_effort"] = "none"
    elif asked:
        body["reasoning_effort"] = "high"
        if reasoning.effort != "high" or reasoning.budget is not None:
            losses.approximated("reasoning", "Mistral reasons with effort high or not at all")
    if reasoning.shown not in (None, "summary"):
        losses.dropped("reasoning.shown", "Mistral shows what it shows of its thinking")


def _write_output(output: Output, losses: Losses, *, native: bool) -> Json:
    losses.own(output.own, "response_format", NAME)
    if output.kind == "schema" and output.schema is None and not native:
        losses.approximated("response_format", "Mistral wants a schema with it: any JSON object is asked for")
        return {"type": "json_object"}
    if output.kind != "schema":
        written: Json = {"type": "text" if output.kind == "text" else "json_object"}
        lay_over(written, output.own)
        return written
    inner: Json = {}
    name = output.name
    if name is None and not native:
        name = "answer"
        losses.synthesised("response_format.json_schema.name", "a schema must have a name")
    for key, value in (
        ("name", name),
        ("description", output.description),
        ("schema", output.schema),
        ("strict", output.strict),
    ):
        if value is not None:
            inner[key] = value
    written = {"type": "json_schema", "json_schema": inner}
    lay_over(written, output.own, "json_schema")
    return written
