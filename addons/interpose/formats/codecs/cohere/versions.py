"""In which version of Cohere's chat a client asks, and is answered."""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Asked, Client, Json, Malformed, StreamWriter, Target, Written
from interpose.ir import Losses, Reply, Request

from . import first, replies, requests, settings, writing
from .facts import FIRST, NAME, marks_of
from .writer import Writer


def read_request(body: Any, asked: Asked) -> Request:
    if not isinstance(body, dict):
        raise Malformed("", "the body must be a JSON object")
    model = body.pop("model", "")
    if not isinstance(model, str):
        raise Malformed("model", "the model's name must be a string")
    if asked.path == first.PATH or ("message" in body and "messages" not in body):
        return first.read_request(body, model)
    return requests.read_request(body, model)


def write_request(request: Request, target: Target, losses: Losses) -> Written:
    if request.format == NAME and FIRST in marks_of(request.own):
        body: Json = {}
        settings.write_settings(request, body, target, losses)
        return first.write_request(request, target.model, body)
    return writing.write_request(request, target, losses)


def write_reply(reply: Reply, client: Client, losses: Losses) -> Json:
    if first.is_first(client):
        return first.write_reply(reply, client, losses)
    return replies.write_reply(reply, client, losses)


def writer(client: Client, losses: Losses) -> StreamWriter:
    return first.FirstWriter(client, losses) if first.is_first(client) else Writer(client, losses)
