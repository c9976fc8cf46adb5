"""What a request of Ollama's says beside its messages, read and written.

https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx#valid-parameters-and-values (options), and
https://docs.ollama.com/capabilities/thinking, https://docs.ollama.com/capabilities/structured-outputs
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.chat.settings import BUCKETS
from interpose.formats.codecs.codec import Json, Target
from interpose.formats.codecs.functions import allowed, write_functions
from interpose.formats.codecs.leftovers import BOOLEAN, INTEGER, NUMBER, prefixed, take
from interpose.ir import Losses, Output, Reasoning, Request, Tool

from .facts import LEFTOVERS, NAME, lay_over, marks_of

# Of the neutral settings, those that are options, by Ollama's names.
OPTIONS = (
    ("temperature", "temperature", NUMBER),
    ("top_p", "top_p", NUMBER),
    ("top_k", "top_k", INTEGER),
    ("seed", "seed", INTEGER),
    ("frequency_penalty", "frequency_penalty", NUMBER),
    ("presence_penalty", "presence_penalty", NUMBER),
)
# How its server lays out memory and work: no business of anybody else's.
SERVERS = frozenset(
    ("num_ctx", "num_batch", "num_gpu", "main_gpu", "low_vram", "f16_kv", "use_mmap", "use_mlock", "num_thread", "numa")
)
# Saying these spells out what holds anyway.
DEFAULTS: tuple[tuple[str, Any], ...] = (("format", ""), ("template", ""), ("suffix", ""), ("raw", False))
LEVELS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "max",
}

# Reading


def read_settings(body: Json, request: Request, marks: list[str]) -> Json | None:
    """Fills `request`; what it returns says nothing to anybody but Ollama."""
    silent: Json = {}
    if type(options := body.get("options")) is dict:
        del body["options"]
        if not options:
            marks.append("options:empty")
        _read_options(options, request, marks, silent)
        prefixed(options, "options", body)
    stream = take(body, "stream", BOOLEAN)
    # It streams unless it is told not to.
    request.stream = stream is not False
    if stream is not None:
        marks.append("stream")
    think = body.get("think")
    if type(think) is bool:
        request.reasoning = Reasoning(enabled=body.pop("think"))
    elif type(think) is str and think:
        request.reasoning = Reasoning(effort=body.pop("think"))
    form = body.get("format")
    if form == "json":
        del body["format"]
        request.output = Output("json")
    elif type(form) is dict:
        request.output = Output("schema", body.pop("format"))
    request.sampling.logprobs = take(body, "logprobs", BOOLEAN)
    request.sampling.top_logprobs = take(body, "top_logprobs", INTEGER)
    for key, default in DEFAULTS:
        if key in body and type(body[key]) is type(default) and body[key] == default:
            silent[key] = body.pop(key)
    if body.get("keep_alive") is not None:
        # For how long the server keeps the model loaded.
        silent["keep_alive"] = body.pop("keep_alive")
    return silent or None


def _read_options(options: Json, request: Request, marks: list[str], silent: Json) -> None:
    for key, name, types in OPTIONS:
        if key in options and (value := take(options, key, types)) is not None:
            setattr(request.sampling, name, value)
    limit = options.get("num_predict")
    if type(limit) is int:
        del options["num_predict"]
        if limit > 0:
            request.max_tokens = limit
        else:
            # Without end, or until the context is full.
            silent["options.num_predict"] = limit
    stop = options.get("stop")
    if isinstance(stop, str):
        request.stop = [options.pop("stop")]
        marks.append("stop:text")
    elif isinstance(stop, list) and stop and all(isinstance(one, str) for one in stop):
        request.stop = options.pop("stop")
    for key in SERVERS & options.keys():
        silent[f"options.{key}"] = options.pop(key)


# Writing


def write_settings(request: Request, body: Json, target: Target, losses: Losses) -> None:
    native = request.format == NAME
    marks = marks_of(request.own)
    tools = request.tools if native else _chosen(request, losses)
    if tools and not target.capabilities.tools:
        losses.impossible("tools", "the model is not known to call tools")
    for tool in tools:
        if tool.strict and tool.kind != "server" and not native:
            losses.dropped(f"{tool.at}.strict", "Ollama holds no call to its schema")
    if written := list(write_functions(tools, losses, LEFTOVERS, "Ollama", native=native, strict=native)):
        body["tools"] = written
    options = _write_options(request, target, losses)
    if options or "options:empty" in marks:
        body["options"] = options
    if not native or "stream" in marks:
        body["stream"] = request.stream
    if request.reasoning is not None:
        _write_reasoning(request.reasoning, body, target, losses, native=native)
    if request.output is not None:
        _write_output(request.output, body, losses)
    for name in ("logprobs", "top_logprobs"):
        if (value := getattr(request.sampling, name)) is not None:
            body[name] = value
    if not native:
        _tell_unknown(request, losses)
    losses.own(request.own, "", NAME)
    lay_over(body, request.own, "options")


def _tell_unknown(request: Request, losses: Losses) -> None:
    if request.answers is not None and request.answers != 1:
        losses.impossible("n", "Ollama gives one answer")
    if request.sampling.logit_bias is not None:
        losses.dropped("logit_bias", "Ollama has no option for it")
    for name in ("user", "metadata", "service_tier"):
        if getattr(request, name) is not None:
            losses.dropped(name, "Ollama has no field for it")


def _write_options(request: Request, target: Target, losses: Losses) -> Json:
    native, options = request.format == NAME, Json()
    for key, name, _ in OPTIONS:
        if (value := getattr(request.sampling, name)) is not None:
            options[key] = value
    if not native and not target.capabilities.sampling:
        for key in ("temperature", "top_p", "top_k"):
            if options.pop(key, None) is not None:
                losses.dropped(key, "the model takes no sampling settings")
    if request.max_tokens is not None:
        options["num_predict"] = request.max_tokens
    if request.stop:
        options["stop"] = request.stop[0] if "stop:text" in marks_of(request.own) else request.stop
    return options


def _chosen(request: Request, losses: Losses) -> list[Tool]:
    """The tools that may be called: Ollama offers them to the model, and can neither forbid nor demand a call."""
    choice = request.tool_choice
    if choice is None:
        return request.tools
    losses.own(choice.own, "tool_choice", NAME)
    if choice.parallel is False:
        losses.dropped("parallel_tool_calls", "Ollama cannot hold a model to one call at once")
    if choice.mode == "none":
        if request.tools:
            losses.approximated("tool_choice", "no call is wanted: the tools are left out")
        return []
    if choice.mode == "any":
        losses.approximated("tool_choice", "Ollama cannot demand a call: the tools are offered")
    return allowed(request, losses)


def _write_reasoning(reasoning: Reasoning, body: Json, target: Target, losses: Losses, *, native: bool) -> None:
    """`think`: false to anybody, a level to models that are known to take one.

    A model that can think does so when nothing is said; one that cannot is refused if it is told to.
    """
    if native:
        body["think"] = reasoning.enabled if reasoning.effort is None else reasoning.effort
        return
    losses.own(reasoning.own, "reasoning", NAME)
    if reasoning.enabled is False or reasoning.effort == "none":
        body["think"] = False
        return
    if reasoning.shown not in (None, "summary"):
        losses.dropped("reasoning.shown", "Ollama shows all thinking")
    effort = reasoning.effort
    if effort is None and reasoning.budget is None:
        if not reasoning.enabled and not reasoning.adaptive:
            return
        losses.approximated("reasoning", "the model thinks as much as it does by default")
    elif target.capabilities.thinking != "effort":
        losses.approximated("reasoning", "the model is not known to think on demand: it does as it does by default")
    else:
        if effort is None:
            effort = next((word for limit, word in BUCKETS if (reasoning.budget or 0) <= limit), "high")
        level = LEVELS.get(effort, "high")
        if level != reasoning.effort or reasoning.budget is not None:
            losses.approximated("reasoning", f"Ollama is asked for the level {level}")
        body["think"] = level


def _write_output(output: Output, body: Json, losses: Losses) -> None:
    losses.own(output.own, "response_format", NAME)
    if output.kind == "schema" and output.schema is not None:
        body["format"] = output.schema
    elif output.kind != "text":
        body["format"] = "json"
        if output.kind == "schema":
            losses.approximated("response_format", "without a schema, any JSON is asked for")
