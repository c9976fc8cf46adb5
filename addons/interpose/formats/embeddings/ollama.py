"""Ollama's /api/embed, and /api/embeddings, which came before it and takes one text.

https://github.com/ollama/ollama/blob/main/docs/api.md#generate-embeddings
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Asked, Client, Codec, Json, Malformed, Target, Written
from interpose.formats.codecs.errors import ERRORS
from interpose.formats.codecs.leftovers import laid_over
from interpose.ir import Losses, Own, Text

from .neutral import (
    Input,
    Reply,
    Request,
    Vector,
    apart,
    dimensions_of,
    is_count,
    is_numbers,
    only_recoded,
    recoded,
    take,
    taken,
    tell_own,
    tell_reply,
    texts,
)

NAME = "ollama"
TITLE = "Ollama"
LEGACY = "/api/embeddings"


def read_request(body: Json, asked: Asked) -> Request:
    model = taken(body, "model", str, "the model's name")
    if asked.path == LEGACY:
        inputs = [Input([Text(taken(body, "prompt", str, "a text"), at="prompt")], at="prompt")]
        return Request(NAME, model, inputs, own=Own(NAME, body, frozenset(("legacy",))))
    dimensions = take(body, "dimensions", int)
    truncate = take(body, "truncate", bool)
    value, marks = body.pop("input", None), frozenset[str]()
    if isinstance(value, str):
        value, marks = [value], frozenset(("input:one",))
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise Malformed("input", "it must be a text or a list of texts, and not be empty")
    places = ["input"] if marks else [f"input[{place}]" for place in range(len(value))]
    inputs = [Input([Text(text, at=at)], dimensions=dimensions, at=at) for text, at in zip(value, places, strict=True)]
    end = None if truncate is None else "end" if truncate else "none"
    return Request(NAME, model, inputs, truncate=end, own=Own(NAME, body, marks))  # type: ignore[arg-type]


def write_request(request: Request, target: Target, losses: Losses) -> Written:
    ours = request.format == NAME
    marks = request.own.marks if ours and request.own is not None else frozenset[str]()
    found = texts(request, TITLE, losses)
    body: Json = {"model": target.model}
    if "legacy" in marks:
        return Written(LEGACY, laid_over({**body, "prompt": found[0]}, request.own, NAME))
    body["input"] = found[0] if "input:one" in marks else found
    if (dimensions := dimensions_of(request, losses)) is not None:
        body["dimensions"] = dimensions
    if request.truncate is not None:
        body["truncate"] = request.truncate != "none"
    if not ours:
        only_recoded(request, TITLE, losses)
        if request.truncate == "start":
            losses.approximated("truncate", "Ollama cuts a text that is too long at its end")
        if request.user is not None:
            losses.dropped("user", "Ollama is not told who asks")
        if any(each.task is not None for each in request.inputs):
            losses.dropped("task", "Ollama is not told what a vector is for")
        tell_own(request, NAME, losses)
    return Written("/api/embed", laid_over(body, request.own, NAME))


def read_reply(body: Json) -> Reply:
    reply, marks = Reply(NAME), frozenset[str]()
    value: Any = body.pop("embeddings", None)
    if value is None and "embedding" in body:
        value, marks = [body.pop("embedding")], frozenset(("legacy",))
    if not isinstance(value, list) or not all(map(is_numbers, value)):
        raise Malformed("embeddings", "it is no list of vectors")
    reply.vectors = [Vector({"float": each}, f"embeddings[{place}]") for place, each in enumerate(value)]
    reply.model = take(body, "model", str) or ""
    if is_count(body.get("prompt_eval_count")):
        reply.input_tokens = body.pop("prompt_eval_count")
    # How long it took is of no use to anybody who did not ask Ollama.
    silent = apart(body, "total_duration", "load_duration")
    reply.own = Own(NAME, body, marks, silent)
    return reply


def write_reply(reply: Reply, client: Client[Request], losses: Losses) -> Json:
    vectors = recoded(reply, client.request, "float")
    tell_reply(reply, NAME, losses)
    if client.request.own is not None and "legacy" in client.request.own.marks:
        if reply.tokens is not None and reply.format != NAME:
            losses.dropped("usage", f"{LEGACY} tells no tokens")
        return laid_over({"embedding": vectors[0]}, reply.own, NAME)
    body: Json = {"embeddings": vectors}
    if reply.model or reply.format != NAME:
        body["model"] = client.model
    if reply.tokens is not None:
        body["prompt_eval_count"] = reply.tokens
    return laid_over(body, reply.own, NAME)


_errors = ERRORS["ollama"]
CODEC = Codec(
    name=NAME,
    read_request=read_request,
    write_request=write_request,
    read_reply=read_reply,
    write_reply=write_reply,
    read_error=_errors.read,
    write_error=_errors.write,
    status_for=_errors.status_for,
)
