"""What is around the choices of a reply, whole or in chunks: Chat's, which Mistral and legacy completions share.

https://platform.openai.com/docs/api-reference/chat/object and /chat-streaming. `kind` is what such a reply is called in
its `object`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interpose.formats.codecs.codec import Client, Json, Malformed, encoded
from interpose.formats.codecs.leftovers import INTEGER, NO_MARKS, STRING, take
from interpose.ir import Answer, Losses, Reply, Started

from .counts import write_own_usage, write_usage

# Of a stream, as server-sent events.
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"


def read_envelope(
    body: Any, format_: str, kind: str, marks: list[str], read_choice: Callable[[Any, int], Answer]
) -> Reply:
    """All but usage and what is left over; which of it was there goes into `marks`. Raises Malformed."""
    if not isinstance(body, dict):
        raise Malformed("", "the body must be a JSON object")
    choices = body.get("choices")
    if not isinstance(choices, list):
        raise Malformed("choices", "the reply holds no list of choices")
    del body["choices"]
    reply = Reply(format_)
    reply.answers = [read_choice(choice, place) for place, choice in enumerate(choices)]
    if (id_ := take(body, "id", STRING)) is not None:
        reply.id = id_
        marks.append("id")
    if (model := take(body, "model", STRING)) is not None:
        reply.model = model
        marks.append("model")
    reply.created = take(body, "created", INTEGER)
    if body.get("object") == kind:
        del body["object"]
        marks.append("object")
    return reply


def write_envelope(
    choices: list[Json], reply: Reply, id_: str, format_: str, kind: str, client: Client, losses: Losses
) -> Json:
    """`id_` is for clients of another format's; the format's own reply is written as it was."""
    native = reply.format == format_
    marks = reply.own.marks if native and reply.own is not None else NO_MARKS
    written: Json = {}
    if not native or "id" in marks:
        written["id"] = reply.id if native else id_
    if not native or "object" in marks:
        written["object"] = kind
    if reply.created is not None or not native:
        written["created"] = client.now if reply.created is None else reply.created
    if not native or "model" in marks:
        written["model"] = client.model
    written["choices"] = choices
    if not native:
        written["usage"] = write_usage(reply.usage)
        losses.own(reply.own, "", format_)
        return written
    fields = {**reply.own.fields, **(reply.own.silent or {})} if reply.own is not None else {}
    if "usage" in marks:
        written["usage"] = write_own_usage(reply.usage, fields, marks)
        fields = {key: value for key, value in fields.items() if key != "usage" and not key.startswith("usage.")}
    written.update(fields)
    return written


def head_of(event: Started, id_: str, format_: str, kind: str, client: Client, losses: Losses) -> bytes:
    """How every chunk of a stream begins, up to its choices."""
    envelope: Json = {
        "id": id_,
        "object": kind,
        "created": client.now if event.created is None else event.created,
        "model": client.model,
    }
    if event.own is not None:
        losses.own(event.own, "", format_)
        if event.own.format == format_:
            told = {**event.own.fields, **(event.own.silent or {})}
            envelope |= {key: value for key, value in told.items() if key not in envelope}
    return b"data: " + encoded(envelope)[:-1] + b',"choices":['
