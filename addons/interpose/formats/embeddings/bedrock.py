"""Embeddings on Bedrock, by InvokeModel: Amazon's Titan, and Cohere's bodies around the same model names.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html. Titan takes one text a
call: several would be as many calls, of which some could fail, and the client has asked for one answer.
The family is told by the model's name in a request, and by the keys of a reply.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

from interpose.formats.codecs.codec import Asked, Client, Codec, Json, Malformed, Target, Written
from interpose.formats.codecs.errors import ERRORS
from interpose.formats.codecs.leftovers import laid_over
from interpose.ir import Losses, Own, Text

from . import cohere
from .neutral import (
    Input,
    Reply,
    Request,
    Vector,
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

NAME = "bedrock-invoke"
TITAN = "Titan"
COHERE = "cohere."
# https://docs.aws.amazon.com/bedrock/latest/userguide/titan-embedding-models.html: v1 has this size and no other.
TITAN_V1, V1_SIZE = "titan-embed-text-v1", 1536
IMAGES = "titan-embed-image"
FAMILIES = (COHERE, "amazon.titan-embed")


def read_request(body: Json, asked: Asked) -> Request:
    model = unquote(asked.path.removeprefix("/model/").removesuffix("/invoke"))
    if COHERE in model:
        # Bedrock's Cohere answers as v1 does.
        return cohere.read_body(body, model, NAME, {"v1", "cohere"})
    if type(body.get("inputText")) is not str:
        raise Malformed("inputText", "it must be a text")
    part = Text(body.pop("inputText"), at="inputText")
    vital = frozenset(("inputImage",)) & body.keys()
    dimensions = take(body, "dimensions", int)
    # Titan normalises unless it is told not to, and everybody else does, too.
    silent = {"normalize": body.pop("normalize")} if body.get("normalize") is True else None
    types = body.get("embeddingTypes")
    encodings: tuple[str, ...] = ()
    if isinstance(types, list) and types and all(isinstance(each, str) for each in types):
        encodings = tuple(body.pop("embeddingTypes"))
    own = Own(NAME, body, silent=silent, vital=vital)
    return Request(NAME, model, [Input([part], dimensions=dimensions, at="inputText")], encodings, own=own)


def write_request(request: Request, target: Target, losses: Losses) -> Written:
    path = f"/model/{quote(target.model, safe='')}/invoke"
    if COHERE in target.model:
        return Written(path, laid_over(cohere.write_body(request, NAME, losses), request.own, NAME))
    if not any(family in target.model for family in FAMILIES):
        losses.impossible("model", f"{target.model} is no model for embeddings whose bodies are known here")
    ours = request.format == NAME
    found = texts(request, TITAN, losses, more="Titan takes one text a call: send them one by one")
    body: Json = {"inputText": found[0] if found else ""}
    dimensions = dimensions_of(request, losses)
    if dimensions is not None and TITAN_V1 in target.model and not ours:
        if dimensions != V1_SIZE:
            losses.impossible("dimensions", f"this Titan's vectors have {V1_SIZE} dimensions")
    elif dimensions is not None and IMAGES in target.model and not ours:
        body["embeddingConfig"] = {"outputEmbeddingLength": dimensions}
    elif dimensions is not None:
        body["dimensions"] = dimensions
    if ours and request.encodings:
        body["embeddingTypes"] = list(request.encodings)
    if not ours:
        only_recoded(request, TITAN, losses)
        if any(each.task is not None for each in request.inputs):
            losses.dropped("task", "Titan is not told what a vector is for")
        if request.truncate is not None:
            losses.dropped("truncate", "Titan refuses a text that is too long")
        if request.user is not None:
            losses.dropped("user", "Titan is not told who asks")
        tell_own(request, NAME, losses)
    return Written(path, laid_over(body, request.own, NAME))


def read_reply(body: Json) -> Reply:
    if "response_type" in body:
        return cohere.read_vectors(body, NAME)
    values: dict[str, Any] = {}
    by_type = body.get("embeddingsByType")
    marks = set[str]()
    if is_numbers(body.get("embedding")):
        values["float"] = body.pop("embedding")
        marks.add("plain")
    if isinstance(by_type, dict) and is_numbers(by_type.get("float")) and by_type["float"] == values.get("float"):
        # The same again.
        del by_type["float"]
        marks.add("by-type")
    if isinstance(by_type, dict) and all(map(is_numbers, by_type.values())):
        values |= body.pop("embeddingsByType")
        marks.add("types")
    if not values:
        raise Malformed("embedding", "it is no vector")
    reply = Reply(NAME, [Vector(values, "embedding")])
    if is_count(body.get("inputTextTokenCount")):
        reply.input_tokens = body.pop("inputTextTokenCount")
    reply.own = Own(NAME, body, frozenset(marks))
    return reply


def write_reply(reply: Reply, client: Client[Request], losses: Losses) -> Json:
    marks = client.request.own.marks if client.request.own is not None else frozenset[str]()
    if "cohere" in marks:
        return cohere.write_vectors(reply, client, losses, NAME)
    if reply.format == NAME:
        return _own_reply(reply, reply.vectors[0])
    tell_reply(reply, NAME, losses)
    types = client.request.encodings or ("float",)
    by_type = {name: recoded(reply, client.request, name)[0] for name in types}
    body: Json = {}
    if "float" in by_type:
        body["embedding"] = by_type["float"]
    if TITAN_V1 not in client.request.model:
        body["embeddingsByType"] = by_type
    if reply.tokens is not None:
        body["inputTextTokenCount"] = reply.tokens
    return body


def _own_reply(reply: Reply, vector: Vector) -> Json:
    marks = reply.own.marks if reply.own is not None else frozenset[str]()
    body: Json = {}
    if "plain" in marks:
        body["embedding"] = vector.values["float"]
    if "types" in marks:
        hidden = {"float"} if "plain" in marks and "by-type" not in marks else set[str]()
        body["embeddingsByType"] = {name: value for name, value in vector.values.items() if name not in hidden}
    if reply.input_tokens is not None:
        body["inputTextTokenCount"] = reply.input_tokens
    return laid_over(body, reply.own, NAME)


_errors = ERRORS["bedrock"]
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
