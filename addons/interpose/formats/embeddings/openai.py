"""OpenAI's embeddings, and those of the many servers that take the same bodies; Mistral's differ in one name.

https://platform.openai.com/docs/api-reference/embeddings/create, https://docs.mistral.ai/api/endpoint/embeddings.
A server that is asked on behalf of another format's client is always asked for floats: compatible servers pack others'
precisions into base64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from interpose.formats.codecs.codec import Asked, Client, Codec, Json, Malformed, Target, Written
from interpose.formats.codecs.errors import ERRORS
from interpose.formats.codecs.leftovers import laid_over
from interpose.ir import Foreign, Losses, Own, Text

from .neutral import (
    Input,
    Part,
    Reply,
    Request,
    Tokens,
    Vector,
    apart,
    dimensions_of,
    is_count,
    is_numbers,
    only_recoded,
    recoded,
    refuse_part,
    take,
    taken,
    tell_own,
    tell_reply,
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """`wire` is whose leftovers it reads, `name` how the API is called for people, `path` where it is, `dimensions` how
    their number is asked for.
    """

    wire: str
    name: str
    path: str
    dimensions: str
    user: bool


OPENAI = Dialect("openai-embeddings", "OpenAI", "/embeddings", "dimensions", user=True)
MISTRAL = Dialect("mistral", "Mistral", "/v1/embeddings", "output_dimension", user=False)


def read_request(dialect: Dialect, body: Json, asked: Asked) -> Request:
    # Azure's URLs name the model, and its clients' bodies need not.
    model = taken(body, "model", str, "the model's name") if "model" in body else ""
    dimensions = take(body, dialect.dimensions, int)
    if "input" not in body:
        raise Malformed("input", "it must be a text, a list of token numbers, or a list of these")
    parts, marks = _read_input(body.pop("input"), dialect.wire)
    inputs = [Input([part], dimensions=dimensions, at=part.at) for part in parts]
    encoding = take(body, "encoding_format", str)
    user = take(body, "user", str) if dialect.user else None
    own = Own(dialect.wire, body, marks)
    return Request(dialect.wire, model, inputs, (encoding,) if encoding else (), user=user, own=own)


def write_request(dialect: Dialect, request: Request, target: Target, losses: Losses) -> Written:
    body: Json = {"model": target.model, "input": _write_input(request, dialect, losses)}
    if (dimensions := dimensions_of(request, losses)) is not None:
        body[dialect.dimensions] = dimensions
    if request.user is not None and dialect.user:
        body["user"] = request.user
    elif request.user is not None:
        losses.dropped("user", f"{dialect.name} is not told who asks")
    if request.format == dialect.wire:
        body |= {"encoding_format": request.encodings[0]} if request.encodings else {}
        return Written(dialect.path, laid_over(body, request.own, dialect.wire))
    body["encoding_format"] = "float"
    only_recoded(request, dialect.name, losses)
    if any(each.task is not None for each in request.inputs):
        losses.dropped("task", f"{dialect.name} is not told what a vector is for")
    if request.truncate in ("start", "end"):
        losses.dropped("truncate", f"{dialect.name} refuses a text that is too long")
    tell_own(request, dialect.wire, losses)
    return Written(dialect.path, body)


def _read_input(value: Any, wire: str) -> tuple[list[Part], frozenset[str]]:
    """The inputs, and how they were written. Servers take texts and token numbers in one list, too."""
    if isinstance(value, str):
        return [Text(value, at="input")], frozenset(("input:one",))
    if not isinstance(value, list) or not value:
        raise Malformed("input", "it must be a text, a list of token numbers, or a list of these, and not be empty")
    if all(is_count(each) for each in value):
        return [Tokens(value, "input")], frozenset(("input:one",))
    parts: list[Part] = []
    for index, each in enumerate(value):
        at = f"input[{index}]"
        if isinstance(each, str):
            parts.append(Text(each, at=at))
        elif isinstance(each, list) and each and all(is_count(number) for number in each):
            parts.append(Tokens(each, at))
        elif isinstance(each, dict):
            # OpenRouter's and others' inputs of text and images.
            parts.append(Foreign(wire, "structured input", each, at=at))
        else:
            raise Malformed(at, "it is neither a text nor a list of token numbers")
    return parts, frozenset()


def _write_input(request: Request, dialect: Dialect, losses: Losses) -> Any:
    written: list[Any] = []
    for each in request.inputs:
        part = each.parts[0] if len(each.parts) == 1 else None
        if isinstance(part, Text):
            written.append(part.text)
        elif request.format == dialect.wire and isinstance(part, Tokens | Foreign):
            written.append(part.numbers if isinstance(part, Tokens) else part.value)
        elif part is not None:
            refuse_part(part, dialect.name, losses)
        else:
            losses.impossible(each.at, f"{dialect.name} makes a vector of one text, and not of several parts")
    one = request.own is not None and request.own.format == dialect.wire and "input:one" in request.own.marks
    return written[0] if one and written else written


# Replies


def read_reply(dialect: Dialect, body: Json) -> Reply:
    data = body.pop("data", None)
    if not isinstance(data, list) or not all(isinstance(each, dict) for each in data):
        raise Malformed("data", "it is no list of embeddings")
    if all(is_count(each.get("index")) for each in data):
        data = sorted(data, key=lambda each: each["index"])
        if [each["index"] for each in data] != list(range(len(data))):
            raise Malformed("data", "its indexes are not those of the inputs")
    reply = Reply(dialect.wire, [_read_vector(each, f"data[{place}]", dialect.wire) for place, each in enumerate(data)])
    reply.model = take(body, "model", str) or ""
    reply.id = take(body, "id", str) or ""
    marks = {"total"} if isinstance(usage := body.get("usage"), dict) and "total_tokens" in usage else set()
    if isinstance(usage, dict):
        _read_usage(body.pop("usage"), reply, marks)
    silent = apart(body, "object", "created")
    reply.own = Own(dialect.wire, body, frozenset(marks), silent)
    return reply


def _read_usage(usage: Json, reply: Reply, marks: set[str]) -> None:
    """`prompt_tokens`; Voyage tells `total_tokens` alone. What else there is, is left over."""
    prompt, total = usage.get("prompt_tokens"), usage.get("total_tokens")
    if is_count(prompt):
        reply.input_tokens = usage.pop("prompt_tokens")
        if total == prompt and type(total) is int:
            del usage["total_tokens"]
        else:
            marks.discard("total")
    elif is_count(total):
        reply.input_tokens = usage.pop("total_tokens")
        marks.add("total-alone")
    reply.counted = Own(reply.format, usage)


def _read_vector(entry: Json, at: str, wire: str) -> Vector:
    value = entry.pop("embedding", None)
    if isinstance(value, str):
        values: dict[str, Any] = {"base64": value}
    elif is_numbers(value):
        values = {"float": value}
    else:
        raise Malformed(f"{at}.embedding", "it is no vector")
    # The index and the kind are how OpenAI counts, and say nothing that the order does not.
    silent = apart(entry, "object", "index")
    return Vector(values, at, Own(wire, entry, silent=silent))


def write_reply(dialect: Dialect, reply: Reply, client: Client[Request], losses: Losses) -> Json:
    asked = client.request.encodings[0] if client.request.encodings else "float"
    if reply.format == dialect.wire:
        return laid_over(_own_reply(reply, client), reply.own, reply.format)
    values = recoded(reply, client.request, asked)
    data = [{"object": "embedding", "index": index, "embedding": value} for index, value in enumerate(values)]
    told = reply.tokens
    if told is None:
        losses.synthesised(
            "usage", f"the provider tells no tokens, and {dialect.name}'s clients want a number: 0 stands for it"
        )
    usage = {"prompt_tokens": told or 0, "total_tokens": told or 0}
    tell_reply(reply, dialect.wire, losses)
    return {"object": "list", "data": data, "model": client.model, "usage": usage}


def _own_reply(reply: Reply, client: Client[Request]) -> Json:
    """One of this format, with what it had beside the vectors."""
    marks = reply.own.marks if reply.own is not None else frozenset()
    # What a server of this format sent is what it takes an encoding to be.
    data = [
        laid_over({"embedding": next(iter(each.values.values()))}, each.own, reply.format) for each in reply.vectors
    ]
    body: Json = {"data": data}
    if reply.model:
        body["model"] = client.model
    if reply.id:
        body["id"] = reply.id
    if reply.counted is not None:
        usage: Json = {}
        if reply.input_tokens is not None and "total-alone" not in marks:
            usage["prompt_tokens"] = reply.input_tokens
        if reply.input_tokens is not None and marks & {"total", "total-alone"}:
            usage["total_tokens"] = reply.input_tokens
        body["usage"] = laid_over(usage, reply.counted, reply.format)
    return body


def codec_of(dialect: Dialect, format_: str) -> Codec[Request, Reply]:
    errors = ERRORS[format_]
    return Codec(
        name=dialect.wire,
        read_request=partial(read_request, dialect),
        write_request=partial(write_request, dialect),
        read_reply=partial(read_reply, dialect),
        write_reply=partial(write_reply, dialect),
        read_error=errors.read,
        write_error=errors.write,
        status_for=errors.status_for,
        wire="openai-embeddings",
    )


CODEC = codec_of(OPENAI, "openai")
MISTRAL_CODEC = codec_of(MISTRAL, "mistral")
