"""Embeddings on Vertex AI: of Gemini's newer models as `gemini` has them, of all others by `:predict`.

https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from interpose.formats.codecs.codec import Asked, Client, Codec, Json, Malformed, Target, Written
from interpose.formats.codecs.errors import ERRORS
from interpose.formats.codecs.leftovers import laid_over
from interpose.ir import Losses, Own, Text

from . import gemini
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
    tell_own,
    tell_reply,
    texts,
)

NAME = "vertex-predict"
TITLE = "Vertex AI"
# Gemini's own, but for the first of them, whose text is predicted as the older models' is.
NEWER, FIRST = "gemini-embedding-", "gemini-embedding-001"
TASK = ("task_type", "taskType")


def read_request(body: Json, asked: Asked) -> Request:
    """What is predicted; embedContent's bodies are `gemini`'s."""
    instances = body.pop("instances", None)
    if not isinstance(instances, list) or not instances:
        raise Malformed("instances", "it must be a list of texts' objects, and not be empty")
    parameters = body.get("parameters")
    dimensions = take(parameters, "outputDimensionality", int) if isinstance(parameters, dict) else None
    marks = {"parameters"} if isinstance(parameters, dict) else set()
    if parameters == {}:
        del body["parameters"]
    inputs = [_read_instance(each, f"instances[{place}]") for place, each in enumerate(instances)]
    for each in inputs:
        each.dimensions = dimensions
    return Request(NAME, gemini.model_in(asked.path), inputs, own=Own(NAME, body, frozenset(marks)))


def _read_instance(entry: Any, at: str) -> Input:
    if not isinstance(entry, dict) or type(entry.get("content")) is not str:
        raise Malformed(f"{at}.content", "it must be a text")
    found = Input([Text(entry.pop("content"), at=f"{at}.content")], at=at)
    marks = set()
    for name in TASK:
        if isinstance(word := entry.get(name), str) and word in gemini.TASKS:
            found.task = gemini.TASKS[word]
            del entry[name]
            marks.add(name)
            break
    found.own = Own(NAME, entry, frozenset(marks))
    return found


def write_request(request: Request, target: Target, losses: Losses) -> Written:
    if request.format != NAME and NEWER in target.model and FIRST not in target.model:
        return gemini.write_request(request, target, losses, nested=True)
    ours = request.format == NAME
    instances = []
    for each, content in zip(request.inputs, texts(request, TITLE, losses), strict=False):
        entry: Json = {"content": content}
        if each.task in gemini.WORDS:
            marks = each.own.marks if each.own is not None else frozenset[str]()
            entry[TASK[1] if TASK[1] in marks else TASK[0]] = gemini.WORDS[each.task]
        instances.append(laid_over(entry, each.own, NAME))
    body: Json = {"instances": instances}
    parameters: Json = {}
    if (dimensions := dimensions_of(request, losses)) is not None:
        parameters["outputDimensionality"] = dimensions
    if request.truncate is not None and not ours:
        parameters["autoTruncate"] = request.truncate != "none"
        if request.truncate == "start":
            losses.approximated("truncate", f"{TITLE} cuts a text that is too long at its end")
    body = laid_over(body, request.own, NAME)
    given = body.get("parameters")
    if parameters or given or (ours and request.own is not None and "parameters" in request.own.marks):
        body["parameters"] = {**parameters, **given} if isinstance(given, dict | None) and given else parameters
    if not ours:
        only_recoded(request, TITLE, losses)
        if request.user is not None:
            losses.dropped("user", f"{TITLE} is not told who asks")
        tell_own(request, NAME, losses)
    return Written(f"/v1beta/models/{quote(target.model, safe='')}:predict", body)


def read_reply(body: Json) -> Reply:
    if "predictions" not in body:
        return gemini.read_reply(body)
    entries = body.pop("predictions")
    if not isinstance(entries, list):
        raise Malformed("predictions", "it is no list")
    reply, counts = Reply(NAME), []
    for place, entry in enumerate(entries):
        inside = entry.pop("embeddings", None) if isinstance(entry, dict) else None
        if not isinstance(inside, dict) or not is_numbers(inside.get("values")):
            raise Malformed(f"predictions[{place}].embeddings", "it is no vector")
        statistics = inside.get("statistics")
        count = statistics.get("token_count") if isinstance(statistics, dict) else None
        counts.append(count if is_count(count) else None)
        vector = Vector({"float": inside.pop("values")}, f"predictions[{place}]")
        vector.own = Own(NAME, entry, silent={"embeddings": inside})
        reply.vectors.append(vector)
    if counts and None not in counts:
        reply.input_tokens = sum(each for each in counts if each is not None)
    # What it bills by, where it bills by characters.
    reply.own = Own(NAME, body, silent=apart(body, "metadata"))
    return reply


def write_reply(reply: Reply, client: Client[Request], losses: Losses) -> Json:
    values = recoded(reply, client.request, "float")
    if reply.format == NAME:
        predictions = []
        for each, of in zip(values, reply.vectors, strict=True):
            assert of.own is not None
            inside = {"values": each, **(of.own.silent or {}).get("embeddings", {})}
            predictions.append({**of.own.fields, "embeddings": inside})
        return laid_over({"predictions": predictions}, reply.own, NAME)
    tell_reply(reply, NAME, losses)
    entries: list[Json] = [{"embeddings": {"values": each}} for each in values]
    if reply.tokens is not None and len(entries) == 1:
        entries[0]["embeddings"]["statistics"] = {"token_count": reply.tokens, "truncated": False}
    elif reply.tokens is not None:
        losses.dropped("usage", f"{TITLE} counts the tokens of each text, and the provider those of all")
    return {"predictions": entries}


_errors = ERRORS["gemini"]
CODEC = Codec(
    name=NAME,
    read_request=read_request,
    write_request=write_request,
    read_reply=read_reply,
    write_reply=write_reply,
    read_error=_errors.read,
    write_error=_errors.write,
    status_for=_errors.status_for,
    wire="gemini",
)
