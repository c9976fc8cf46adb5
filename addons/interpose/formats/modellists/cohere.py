"""Cohere's list of models, in pages: https://docs.cohere.com/reference/list-models.

The mark of our next page is the name of the last model of this one.
"""

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
    read_request,
    tell,
    write_pages,
    write_request,
)

NAME = "cohere"
PATH = "/v1/models"
USUAL = 20
QUERY = {"page_size": "limit", "page_token": "after"}
DROPPED = frozenset(("created", "owner", "title", "description", "output_limit"))


def _read_request(body: Json, asked: Asked) -> Request:
    return read_request(NAME, asked, QUERY)


def _write_request(request: Request, target: Target, losses: Losses) -> Written:
    return write_request(NAME, PATH, request, target, losses, f"page_size={MOST}")


def _read_model(entry: Json) -> Model:
    if type(entry.get("name")) is not str:
        raise Malformed("name", "a model has no name")
    model = Model(entry.pop("name"), input_limit=count(entry, "context_length"))
    model.own = Own(NAME, entry)
    return model


def read_reply(body: Json) -> Reply:
    if type(body.get("name")) is str:
        return Reply(NAME, [_read_model(body)], single=True)
    found = [_read_model(each) for each in entries(body, "models")]
    silent = apart(body, "next_page_token")
    return Reply(NAME, found, more=bool(silent.get("next_page_token")), own=Own(NAME, body, silent=silent))


def _write_model(model: Model, id_: str) -> Json:
    body: Json = {"name": id_}
    if model.input_limit is not None:
        body["context_length"] = model.input_limit
    return laid_over(body, model.own, NAME)


def write_reply(reply: Reply, client: Client[Request], losses: Losses) -> Json:
    tell(reply, NAME, losses, frozenset(), DROPPED)
    return write_pages(reply, client, NAME, USUAL, "next_page_token", _write_model)


_errors = ERRORS["cohere"]
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
