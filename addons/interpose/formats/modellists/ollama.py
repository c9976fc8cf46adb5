"""Ollama's models: those that the server has (/api/tags), and one of them (/api/show, which does not say its name).

https://github.com/ollama/ollama/blob/main/docs/api.md#list-local-models
"""

from __future__ import annotations

from interpose.formats.codecs.codec import Asked, Client, Codec, Json, Malformed, Target, Written
from interpose.formats.codecs.errors import ERRORS
from interpose.formats.codecs.leftovers import laid_over
from interpose.ir import Losses, Own

from .neutral import (
    Model,
    Reply,
    Request,
    apart,
    entries,
    moment_text,
    one,
    read_request,
    tell,
    write_request,
)

NAME = "ollama"
DROPPED = frozenset(("owner", "title", "description", "input_limit", "output_limit"))


def _read_request(body: Json, asked: Asked) -> Request:
    return read_request(NAME, asked, {})


def _write_request(request: Request, target: Target, losses: Losses) -> Written:
    written = write_request(NAME, "/api/tags", request, target, losses)
    return Written("/api/show", {"model": target.model}) if request.model else written


def _read_model(entry: Json) -> Model:
    name = entry.get("model") or entry.get("name")
    if type(name) is not str:
        raise Malformed("model", "a model has no name")
    return Model(name, own=Own(NAME, entry, silent=apart(entry, "name", "model")))


def read_reply(body: Json) -> Reply:
    if "models" not in body and isinstance(body.get("details"), dict):
        return Reply(NAME, [Model("", own=Own(NAME, body))], single=True)
    found = [_read_model(each) for each in entries(body, "models")]
    return Reply(NAME, found, own=Own(NAME, body))


def write_reply(reply: Reply, client: Client[Request], losses: Losses) -> Json:
    tell(reply, NAME, losses, frozenset(), DROPPED)
    if one(reply, client):
        raise Malformed("", "one model is not told in this shape")
    models = []
    for model in reply.models:
        if model.own is not None and model.own.format == NAME:
            models.append(laid_over({}, model.own, NAME))
            continue
        entry: Json = {"name": model.id, "model": model.id}
        if model.created is not None:
            entry["modified_at"] = moment_text(model.created)
        models.append(entry)
    return laid_over({"models": models}, reply.own, NAME)


_errors = ERRORS["ollama"]
CODEC = Codec(
    name=NAME,
    read_request=_read_request,
    write_request=_write_request,
    read_reply=read_reply,
    write_reply=write_reply,
    read_error=_errors.read,
    write_error=_errors.write,
    status_for=_errors.status_for,
    wire="none",
)
