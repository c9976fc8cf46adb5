"""Gemini's list of models, in pages: https://ai.google.dev/api/models.

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
    text,
    write_pages,
    write_request,
)

NAME = "gemini"
PATH = "/v1beta/models"
PREFIX = "models/"
USUAL = 50
QUERY = {"pageSize": "limit", "page_size": "limit", "pageToken": "after", "page_token": "after"}
DROPPED = frozenset(("created", "owner"))


def _read_request(body: Json, asked: Asked) -> Request:
    # https://ai.google.dev/api/models#query-parameters: at most 1000, "even if you pass a larger pageSize".
    return read_request(NAME, asked, QUERY, lenient=True)


def _write_request(request: Request, target: Target, losses: Losses) -> Written:
    return write_request(NAME, PATH, request, target, losses, f"pageSize={MOST}")


def _read_model(entry: Json) -> Model:
    if type(entry.get("name")) is not str or not entry["name"].startswith(PREFIX):
        raise Malformed("name", "a model has no name")
    model = Model(
        entry.pop("name").removeprefix(PREFIX),
        title=text(entry, "displayName"),
        description=text(entry, "description"),
        input_limit=count(entry, "inputTokenLimit"),
        output_limit=count(entry, "outputTokenLimit"),
    )
    model.own = Own(NAME, entry)
    return model


def read_reply(body: Json) -> Reply:
    if "name" in body:
        return Reply(NAME, [_read_model(body)], single=True)
    # A page without models has no list either.
    found = entries(body, "models") if "models" in body or body else []
    silent = apart(body, "nextPageToken")
    more = bool(silent.get("nextPageToken"))
    return Reply(NAME, [_read_model(each) for each in found], more=more, own=Own(NAME, body, silent=silent))


def _write_model(model: Model, id_: str) -> Json:
    told = {
        "name": PREFIX + id_,
        "displayName": model.title,
        "description": model.description,
        "inputTokenLimit": model.input_limit,
        "outputTokenLimit": model.output_limit,
    }
    return laid_over({name: value for name, value in told.items() if value is not None}, model.own, NAME)


def write_reply(reply: Reply, client: Client[Request], losses: Losses) -> Json:
    tell(reply, NAME, losses, frozenset(), DROPPED)
    return write_pages(reply, client, NAME, USUAL, "nextPageToken", _write_model)


_errors = ERRORS["gemini"]
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
