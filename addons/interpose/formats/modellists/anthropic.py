"""Anthropic's list of models, in pages: https://docs.claude.com/en/api/models-list."""

from __future__ import annotations

from interpose.formats.codecs.codec import Asked, Client, Codec, Json, Malformed, Target, Written
from interpose.formats.codecs.errors import ERRORS
from interpose.formats.codecs.leftovers import laid_over
from interpose.ir import Losses, Own

from .neutral import (
    MOST,
    Model,
    Reply,
    Request,
    apart,
    count,
    entries,
    id_of,
    moment,
    moment_text,
    one,
    page,
    read_request,
    tell,
    text,
    write_request,
)

NAME = "anthropic"
PATH = "/v1/models"
USUAL = 20
QUERY = {"limit": "limit", "after_id": "after", "before_id": "before"}
HEADERS = {"anthropic-version": "2023-06-01"}
DROPPED = frozenset(("description", "owner"))


def _read_request(body: Json, asked: Asked) -> Request:
    return read_request(NAME, asked, QUERY)


def _write_request(request: Request, target: Target, losses: Losses) -> Written:
    written = write_request(NAME, PATH, request, target, losses, f"limit={MOST}")
    written.headers = dict(HEADERS)
    return written


def _read_model(entry: Json) -> Model:
    if type(entry.get("id")) is not str:
        raise Malformed("id", "a model has no name")
    model = Model(
        entry.pop("id"),
        title=text(entry, "display_name"),
        created=moment(entry, "created_at"),
        input_limit=count(entry, "max_input_tokens"),
        output_limit=count(entry, "max_tokens"),
    )
    model.own = Own(NAME, entry, silent=apart(entry, "type"))
    return model


def read_reply(body: Json) -> Reply:
    if body.get("type") == "model":
        return Reply(NAME, [_read_model(body)], single=True)
    reply = Reply(NAME, [_read_model(each) for each in entries(body, "data")], more=body.pop("has_more", None) is True)
    # The first and the last of the page are in it.
    reply.own = Own(NAME, body, silent=apart(body, "first_id", "last_id"))
    return reply


def _write_model(model: Model, id_: str, losses: Losses) -> Json:
    if model.own is not None and model.own.format == NAME:
        created = None if model.created is None else moment_text(model.created)
        told = {
            "id": id_,
            "display_name": model.title,
            "created_at": created,
            "max_input_tokens": model.input_limit,
            "max_tokens": model.output_limit,
        }
        return laid_over({name: value for name, value in told.items() if value is not None}, model.own, NAME)
    losses.synthesised("models[].lifecycle", "Anthropic's models have one; a provider lists what it serves")
    if model.created is None:
        losses.synthesised("models[].created", "Anthropic's models have a time: 1970 stands for an unknown one")
    return {
        "type": "model",
        "id": id_,
        "display_name": model.title or id_,
        "created_at": moment_text(model.created or 0),
        "lifecycle": "active",
        "max_input_tokens": model.input_limit,
        "max_tokens": model.output_limit,
    }


def write_reply(reply: Reply, client: Client[Request], losses: Losses) -> Json:
    tell(reply, NAME, losses, frozenset(), DROPPED)
    if one(reply, client):
        return _write_model(reply.models[0], id_of(reply.models[0], reply, client), losses)
    if reply.format == NAME:
        # Its own page, as it is.
        data = [_write_model(model, model.id, losses) for model in reply.models]
        return laid_over({"data": data, "has_more": reply.more}, reply.own, NAME)
    found = page(reply, client.request, USUAL)
    data = [_write_model(model, model.id, losses) for model in found.models]
    ends = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": found.more, "first_id": ends[0], "last_id": ends[1]}


_errors = ERRORS["anthropic"]
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
