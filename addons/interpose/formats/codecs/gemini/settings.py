"""generationConfig: https://ai.google.dev/api/generate-content#GenerationConfig, thinking and the output's form."""

from __future__ import annotations

from typing import Any

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs.codec import Json
from interpose.ir import Losses, Output, Reasoning, Request, Sampling

from .schemas import as_openapi, from_openapi, to_subset
from .spelling import NAME, lay, marked, marks_of, own_of, respell, snake, unify

CONFIG = "generationConfig"
CONFIG_NAMES = snake(
    "stopSequences",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseModalities",
    "candidateCount",
    "maxOutputTokens",
    "topP",
    "topK",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "speechConfig",
    "thinkingConfig",
    "mediaResolution",
    "audioTimestamp",
    "imageConfig",
)
THINKING_NAMES = snake("includeThoughts", "thinkingBudget", "thinkingLevel")

_NUMBER = (int, float)
_SAMPLING: tuple[tuple[str, str, tuple[type, ...]], ...] = (
    ("temperature", "temperature", _NUMBER),
    ("topP", "top_p", _NUMBER),
    ("seed", "seed", (int,)),
    ("frequencyPenalty", "frequency_penalty", _NUMBER),
    ("presencePenalty", "presence_penalty", _NUMBER),
    ("responseLogprobs", "logprobs", (bool,)),
    ("logprobs", "top_logprobs", (int,)),
)

# By number: https://github.com/googleapis/googleapis/blob/master/google/ai/generativelanguage/v1beta/generative_service.proto
_LEVELS = {1: "LOW", 2: "MEDIUM", 3: "HIGH", 4: "MINIMAL"}
_EFFORTS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH"}
# https://ai.google.dev/gemini-api/docs/openai#thinking: what an effort is in tokens, and what levels there are.
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 32768}
_MOST_STOPS = 5
"""https://ai.google.dev/api/generate-content#GenerationConfig: "up to 5"."""


def read_settings(config: Json, request: Request, marks: set[str]) -> Json:
    """Takes out of generationConfig what it understands; gives what is left over."""
    unify(config, CONFIG_NAMES, marks)
    sampling = request.sampling
    for key, name, types in _SAMPLING:
        if key in config and type(config[key]) in types:
            setattr(sampling, name, config.pop(key))
    _read_top_k(config, sampling, marks)
    if type(config.get("maxOutputTokens")) is int:
        request.max_tokens = config.pop("maxOutputTokens")
    if type(config.get("candidateCount")) is int:
        request.answers = config.pop("candidateCount")
    stop = config.get("stopSequences")
    if type(stop) is list and stop and all(type(one) is str for one in stop):
        request.stop = config.pop("stopSequences")
    if config.get("responseModalities") == ["TEXT"]:  # what is answered anyway
        del config["responseModalities"]
        marks.add("modalities:TEXT")
    if type(thinking := config.get("thinkingConfig")) is dict and thinking:
        request.reasoning = _read_thinking(config.pop("thinkingConfig"))
    request.output = _read_output(config)
    return config


def _read_top_k(config: Json, sampling: Sampling, marks: set[str]) -> None:
    """A number in the API's own description, whole everywhere else."""
    top_k = config.get("topK")
    if type(top_k) is float and top_k.is_integer():
        marks.add("topK:float")
        sampling.top_k = int(config.pop("topK"))
    elif type(top_k) is int:
        sampling.top_k = config.pop("topK")


def _read_thinking(thinking: Json) -> Reasoning:
    marks: set[str] = set()
    unify(thinking, THINKING_NAMES, marks)
    reasoning = Reasoning()
    budget = thinking.get("thinkingBudget")
    if type(budget) is int:
        del thinking["thinkingBudget"]
        reasoning.budget = budget
        # https://ai.google.dev/gemini-api/docs/thinking#set-budget: 0 is off, -1 leaves it to the model
        reasoning.enabled = budget != 0
        if budget == -1:
            reasoning.budget, reasoning.adaptive = None, True
    level = thinking.get("thinkingLevel")
    word = _LEVELS.get(level) if type(level) is int else level.upper() if type(level) is str else None
    if word is not None and word.lower() in _EFFORTS:
        del thinking["thinkingLevel"]
        reasoning.effort = word.lower()
        if level != word:
            marks.add(f"level:{level}" if type(level) is str else "level#")
    shown = thinking.get("includeThoughts")
    if type(shown) is bool:
        del thinking["includeThoughts"]
        reasoning.shown = "summary" if shown else "omitted"
    reasoning.own = own_of(thinking, marks)
    return reasoning


def _read_output(config: Json) -> Output | None:
    mime = config.get("responseMimeType")
    output = Output("json")
    marks: set[str] = set()
    if type(config.get("responseJsonSchema")) is dict:
        output.kind, output.schema = "schema", config.pop("responseJsonSchema")
    elif type(config.get("responseSchema")) is dict:
        marks.add("responseSchema")
        output.kind, output.schema = "schema", from_openapi(config.pop("responseSchema"), marks)
    elif mime == "text/plain":
        output.kind = "text"
    elif mime != "application/json":
        return None
    if output.kind != "schema" or mime == "application/json":
        del config["responseMimeType"]
    else:
        marks.add("mime:other")
    output.own = own_of({}, marks)
    return output


def write_settings(request: Request, capabilities: Capabilities, model: str, losses: Losses) -> Json:
    native = request.format == NAME
    marks = marks_of(request.own)
    config: Json = {}
    _write_sampling(config, request.sampling, capabilities, marks, losses)
    if request.max_tokens is not None:
        config["maxOutputTokens"] = request.max_tokens
        if not native and capabilities.max_output is not None and request.max_tokens > capabilities.max_output:
            config["maxOutputTokens"] = capabilities.max_output
            losses.approximated("max_tokens", f"the model writes at most {capabilities.max_output} tokens")
    if request.answers is not None:
        config["candidateCount"] = request.answers
    if request.stop:
        config["stopSequences"] = request.stop if native else request.stop[:_MOST_STOPS]
        for place in range(len(config["stopSequences"]), len(request.stop)):
            losses.dropped(f"stop[{place}]", f"Gemini takes {_MOST_STOPS} stop sequences")
    if "modalities:TEXT" in marks:
        config["responseModalities"] = ["TEXT"]
    if request.output is not None:
        _write_output(config, request.output, model, losses)
    if request.reasoning is not None:
        asked = request.reasoning
        thinking = _write_thinking(asked) if native else _ask_to_think(asked, capabilities, losses)
        if thinking:
            config["thinkingConfig"] = thinking
    return config


def _write_sampling(
    config: Json, sampling: Sampling, capabilities: Capabilities, marks: frozenset[str], losses: Losses
) -> None:
    for key, name, _ in _SAMPLING:
        if (value := getattr(sampling, name)) is not None:
            config[key] = value
    if sampling.top_k is not None:
        config["topK"] = float(sampling.top_k) if "topK:float" in marks else sampling.top_k
    if not capabilities.sampling:
        for key, name in (("temperature", "temperature"), ("topP", "top_p"), ("topK", "top_k")):
            if config.pop(key, None) is not None:
                losses.dropped(name, "this model takes no sampling parameters")
    if sampling.logit_bias:
        losses.dropped("logit_bias", "Gemini has nothing like it")


def _write_output(config: Json, output: Output, model: str, losses: Losses) -> None:
    marks = marks_of(output.own)
    losses.own(output.own, "output", NAME)
    if "mime:other" not in marks:
        config["responseMimeType"] = "text/plain" if output.kind == "text" else "application/json"
    if output.schema is None:
        return
    schema = output.schema
    titles = {"title": output.name, "description": output.description}
    added = {key: value for key, value in titles.items() if value is not None and key not in schema}
    if added:
        schema = {**added, **schema}
    if "responseSchema" in marks:
        config["responseSchema"] = as_openapi(schema, marks)
    elif model.startswith("gemini-1"):
        config["responseSchema"] = to_subset(schema, losses, "output")
    else:
        config["responseJsonSchema"] = schema


def _write_thinking(reasoning: Reasoning) -> Json:
    """Gemini's own."""
    marks = marks_of(reasoning.own)
    thinking: Json = {}
    if reasoning.budget is not None:
        thinking["thinkingBudget"] = reasoning.budget
    elif reasoning.adaptive:
        thinking["thinkingBudget"] = -1
    if reasoning.effort is not None:
        word = reasoning.effort.upper()
        if "level#" in marks:
            thinking["thinkingLevel"] = next(number for number, name in _LEVELS.items() if name == word)
        else:
            thinking["thinkingLevel"] = marked(marks, "level:") or word
    if reasoning.shown is not None:
        thinking["includeThoughts"] = reasoning.shown == "summary"
    lay(thinking, reasoning.own)
    respell(thinking, THINKING_NAMES, marks)
    return thinking


def _ask_to_think(reasoning: Reasoning, capabilities: Capabilities, losses: Losses) -> Json:
    """Another format's, by level where the model takes levels, else by a budget of tokens."""
    losses.own(reasoning.own, "reasoning", NAME)
    effort, budget = reasoning.effort, reasoning.budget
    off = reasoning.enabled is False or effort == "none" or budget == 0
    thinks = not off and bool(reasoning.enabled or effort or budget or reasoning.adaptive)
    if capabilities.thinking == "none":
        if thinks:
            losses.dropped("reasoning", "this model does not think")
        return {}
    thinking: Json = {}
    levels = capabilities.thinking == "effort"
    if off:
        thinking["thinkingBudget"] = 0
        if levels:
            thinking = {"thinkingLevel": "MINIMAL"}
            losses.approximated("reasoning", "this model thinks always; it is told to think least")
    elif budget is not None:
        thinking["thinkingBudget"] = budget
        if levels:
            level = "LOW" if budget <= _BUDGETS["low"] else "MEDIUM" if budget <= _BUDGETS["medium"] else "HIGH"
            thinking = {"thinkingLevel": level}
            losses.approximated("reasoning", "a budget of tokens is a level for this model")
        if effort is not None:
            losses.dropped("reasoning.effort", "Gemini takes a budget or an effort")
    elif effort is not None:
        if not levels:
            thinking["thinkingBudget"] = _BUDGETS.get(effort, -1)
            losses.approximated("reasoning.effort", "an effort is a budget of tokens for this model")
        else:
            thinking["thinkingLevel"] = effort.upper() if effort in ("minimal", "low", "medium") else "HIGH"
            if effort not in ("minimal", "low", "medium", "high"):
                losses.approximated("reasoning.effort", "HIGH is the most that Gemini takes")
    elif thinks and not levels:
        thinking["thinkingBudget"] = -1
    if capabilities.budgets is not None and (asked := thinking.get("thinkingBudget", -1)) >= 0:
        least, most = capabilities.budgets
        thinking["thinkingBudget"] = min(max(asked, least), most)
        if thinking["thinkingBudget"] != asked:
            losses.approximated("reasoning", f"this model thinks with {least} to {most} tokens")
    if reasoning.shown is not None:
        thinking["includeThoughts"] = reasoning.shown not in ("omitted", "none")
    elif reasoning.enabled or reasoning.adaptive:
        thinking["includeThoughts"] = True
    return thinking


def respell_settings(config: Any, marks: frozenset[str]) -> None:
    if isinstance(config, dict):
        respell(config, CONFIG_NAMES, marks)
