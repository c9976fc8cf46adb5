"""Legacy completion requests <-> the neutral conversation: the prompt is a user's message.

https://platform.openai.com/docs/api-reference/completions/create. Prompts in tokens, several prompts at once, a suffix,
an echo and the best of several are nothing that a chat can do: they are left over as vital, so that they are told as
impossible and not as dropped.
"""

from __future__ import annotations

from typing import Any, Final

from interpose.formats.codecs.codec import Asked, Json, Malformed, Target, Written
from interpose.formats.codecs.leftovers import BOOLEAN, INTEGER, NUMBER, OBJECT, STRING, take
from interpose.ir import Losses, Message, Own, Request, Sampling, Text

NAME: Final = "openai-completions"
PATH = "/completions"

VITAL = frozenset(("prompt", "suffix", "echo", "best_of"))
_SAMPLING = {
    "temperature": NUMBER,
    "top_p": NUMBER,
    "top_k": INTEGER,
    "seed": INTEGER,
    "frequency_penalty": NUMBER,
    "presence_penalty": NUMBER,
}
# What says the same as nothing does, which is its default.
_DEFAULTS: tuple[tuple[str, Any], ...] = (("echo", False), ("suffix", ""))


def read_request(body: Any, asked: Asked) -> Request:
    if not isinstance(body, dict):
        raise Malformed("", "the body must be a JSON object")
    model = body.pop("model", "")
    if not isinstance(model, str):
        raise Malformed("model", "the model's name must be a string")
    marks: set[str] = set()
    request = Request(NAME, model, _read_prompt(body, marks))
    request.max_tokens = take(body, "max_tokens", INTEGER)
    request.sampling = _read_sampling(body)
    request.stop = _read_stop(body, marks)
    request.answers = take(body, "n", INTEGER)
    if (stream := take(body, "stream", BOOLEAN)) is not None:
        request.stream = stream
        if not stream:
            marks.add("stream:false")
    options = body.get("stream_options")
    if isinstance(options, dict) and len(options) == 1:
        request.include_usage = take(options, "include_usage", BOOLEAN)
        if not options:
            del body["stream_options"]
    request.user = take(body, "user", STRING)
    for key, default in _DEFAULTS:
        if key in body and body[key] == default and type(body[key]) is type(default):
            del body[key]
            marks.add(f"{key}:default")
    if type(body.get("best_of")) is int and body["best_of"] == (request.answers or 1):
        del body["best_of"]
        marks.add("best_of:n")
    if body or marks:
        request.own = Own(NAME, body, frozenset(marks), vital=VITAL)
    return request


def _read_prompt(body: Json, marks: set[str]) -> list[Message]:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        marks.add("prompt:list")
        prompt = prompt[0]
    if isinstance(prompt, str):
        del body["prompt"]
        blocks = [Text(prompt, at="prompt")] if prompt else []
        return [Message("user", list(blocks), at="prompt")]
    if not isinstance(prompt, list) or not prompt:
        raise Malformed("prompt", "a prompt must be given, as text or as tokens")
    return []


def _read_sampling(body: Json) -> Sampling:
    sampling = Sampling()
    for key, types in _SAMPLING.items():
        if (value := take(body, key, types)) is not None:
            setattr(sampling, key, value)
    bias = body.get("logit_bias")
    if isinstance(bias, dict) and bias and all(type(value) in NUMBER for value in bias.values()):
        sampling.logit_bias = take(body, "logit_bias", OBJECT)
    if (most := take(body, "logprobs", INTEGER)) is not None:
        sampling.logprobs, sampling.top_logprobs = True, most
    return sampling


def _read_stop(body: Json, marks: set[str]) -> list[str]:
    stop = body.get("stop")
    if isinstance(stop, str):
        del body["stop"]
        marks.add("stop:text")
        return [stop]
    if isinstance(stop, list) and stop and all(isinstance(one, str) for one in stop):
        del body["stop"]
        return stop
    return []


def write_request(request: Request, target: Target, losses: Losses) -> Written:
    """Another format's request fits only if it is one text; a conversation is told as impossible."""
    marks = request.own.marks if request.own is not None and request.own.format == NAME else frozenset()
    body: Json = {}
    if target.model:
        body["model"] = target.model
    _write_prompt(request, body, marks, losses)
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    sampling = request.sampling
    for key in (*_SAMPLING, "logit_bias"):
        if (value := getattr(sampling, key)) is not None:
            body[key] = value
    if sampling.logprobs:
        body["logprobs"] = sampling.top_logprobs or 0
    if request.stop:
        body["stop"] = request.stop[0] if "stop:text" in marks else request.stop
    if request.answers is not None:
        body["n"] = request.answers
    if request.stream or "stream:false" in marks:
        body["stream"] = request.stream
    usage = request.include_usage
    if usage is None and request.stream and request.format != NAME:
        usage = True
    if usage is not None:
        body["stream_options"] = {"include_usage": usage}
    if request.user is not None:
        body["user"] = request.user
    for key, default in _DEFAULTS:
        if f"{key}:default" in marks:
            body[key] = default
    if "best_of:n" in marks:
        body["best_of"] = request.answers or 1
    if request.own is not None:
        losses.own(request.own, "", NAME)
        if request.own.format == NAME:
            body.update(request.own.fields)
    return Written(PATH, body)


def _write_prompt(request: Request, body: Json, marks: frozenset[str], losses: Losses) -> None:
    messages = request.messages
    if request.format == NAME and not messages:
        return
    blocks = messages[0].blocks if len(messages) == 1 and messages[0].role == "user" else None
    if blocks is None or not all(isinstance(block, Text) for block in blocks):
        losses.impossible("messages", "a completion continues one text; it holds no conversation")
        return
    if request.tools:
        losses.impossible("tools", "a completion calls no tools")
    for name in ("reasoning", "output", "metadata", "service_tier"):
        if getattr(request, name) is not None:
            losses.dropped(name, "a completion has nothing like it")
    text = "".join([block.text for block in blocks if isinstance(block, Text)])
    body["prompt"] = [text] if "prompt:list" in marks else text
