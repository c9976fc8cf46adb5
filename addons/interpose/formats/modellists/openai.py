"""OpenAI's list of models, Mistral's and those of compatible servers: https://platform.openai.com/docs/api-reference/models.

It has no pages. Limits and titles are no part of it; compatible servers tell them under many names, which are read, and
they are carried so.
"""

from __future__ import annotations

from functools import partial

from interpose.formats.codecs.codec import Asked, Client, Codec, Json, Malformed, Target, Written
from interpose.formats.codecs.errors import ERRORS
from interpose.formats.codecs.leftovers import laid_over
from interpose.ir import Losses, Own

from .neutral import (
    Model,
    Reply,
    Request,
    apart,
    count,
    entries,
    id_of,
    named,
    one,
    read_request,
    tell,
    text,
    write_request,
)

NAME = "openai-models"
CARRIED = frozenset(("title", "description", "input_limit", "output_limit"))
TITLES = ("display_name", "name")
CONTEXTS = ("context_length", "context_window", "max_context_length", "max_model_len")
OUTPUTS = ("max_output_tokens", "max_completion_tokens", "max_output_length")


def _read_request(body: Json, asked: Asked) -> Request:
    return read_request(NAME, asked, {})


def _write_request(path: str, request: Request, target: Target, losses: Losses) -> Written:
    return write_request(NAME, path, request, target, losses)


def _read_model(entry: Json) -> Model:
    if type(entry.get("id")) is not str:
        raise Malformed("id", "a model has no name")
    marks: set[str] = set()
    model = Model(
        entry.pop("id"),
        title=text(entry, *TITLES, marks=marks),
        description=text(entry, "description"),
        created=count(entry, "created"),
        owner=text(entry, "owned_by"),
        input_limit=count(entry, *CONTEXTS, marks=marks),
        output_limit=count(entry, *OUTPUTS, marks=marks),
    )
    model.own = Own(NAME, entry, frozenset(marks), apart(entry, "object"))
    return model


def read_reply(body: Json) -> Reply:
    if type(body.get("id")) is str and "data" not in body:
        return Reply(NAME, [_read_model(body)], single=True)
    reply = Reply(NAME, [_read_model(each) for each in entries(body, "data")])
    reply.own = Own(NAME, body, silent=apart(body, "object"))
    return reply


def _write_model(model: Model, id_: str, losses: Losses) -> Json:
    ours = model.own is not None and model.own.format == NAME
    if not ours and (model.created is None or model.owner is None):
        losses.synthesised("models[]", "OpenAI's models have a time (0 stands for an unknown one) and an owner")
    told = {
        "id": id_,
        "object": None if ours else "model",
        "created": model.created if ours else model.created or 0,
        "owned_by": model.owner if ours else model.owner or "unknown",
        named(model.own, TITLES[0]) if ours else TITLES[0]: model.title,
        "description": model.description,
        named(model.own, CONTEXTS[0]) if ours else CONTEXTS[0]: model.input_limit,
        named(model.own, OUTPUTS[0]) if ours else OUTPUTS[0]: model.output_limit,
    }
    return laid_over({name: value for name, value in told.items() if value is not None}, model.own, NAME)


def write_reply(reply: Reply, client: Client[Request], losses: Losses) -> Json:
    tell(reply, NAME, losses, CARRIED, frozenset())
    if one(reply, client):
        return _write_model(reply.models[0], id_of(reply.models[0], reply, client), losses)
    data = [_write_model(model, model.id, losses) for model in reply.models]
    return laid_over({"data": data} if reply.format == NAME else {"object": "list", "data": data}, reply.own, NAME)


def codec_of(path: str, format_: str) -> Codec[Request, Reply]:
    errors = ERRORS[format_]
    return Codec(
        name=NAME,
        read_request=_read_request,
        write_request=partial(_write_request, path),
        read_reply=read_reply,
        write_reply=write_reply,
        read_error=errors.read,
        write_error=errors.write,
        status_for=errors.status_for,
        wire="none",
    )


CODEC = codec_of("/models", "openai")
MISTRAL_CODEC = codec_of("/v1/models", "mistral")
