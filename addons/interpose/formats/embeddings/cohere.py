"""Cohere's embed, v2 and v1, and the same bodies on Bedrock: https://docs.cohere.com/reference/embed.

v1 has the paths and a plain list of vectors where no types were asked for; else they are alike. On Bedrock the model
is in the URL: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html.
"""

from __future__ import annotations

from typing import Any

from interpose.formats.codecs.codec import Asked, Client, Codec, Json, Malformed, Target, Written
from interpose.formats.codecs.errors import ERRORS
from interpose.formats.codecs.leftovers import laid_over
from interpose.ir import Foreign, Losses, Media, Own, Source, Text

from .neutral import (
    Input,
    Part,
    Reply,
    Request,
    Task,
    Tokens,
    Vector,
    apart,
    dimensions_of,
    is_count,
    is_numbers,
    recoded,
    refuse_part,
    take,
    taken,
    task_of,
    tell_own,
    tell_reply,
)

NAME = "cohere"
TITLE = "Cohere"
V1 = "/v1/embed"
TASKS: dict[str, Task] = {
    "search_query": "query",
    "search_document": "document",
    "classification": "classification",
    "clustering": "clustering",
    "image": "image",
}
WORDS = {task: word for word, task in TASKS.items()}
# What Cohere has no word for: whether its vectors look for others, are looked for, or are compared with their like.
NEAR = {"answering": "search_query", "verification": "search_query", "code": "search_query", "similarity": "clustering"}
CUTS = {"NONE": "none", "START": "start", "END": "end"}
TYPES = frozenset(("float", "base64", "int8", "uint8", "binary", "ubinary"))
DATA = "data:"


def read_request(body: Json, asked: Asked) -> Request:
    model = taken(body, "model", str, "the model's name")
    return read_body(body, model, NAME, {"v1"} if asked.path == V1 else set())


def read_body(body: Json, model: str, format_: str, marks: set[str]) -> Request:
    """The request in that body, of Cohere itself or on Bedrock; `marks` say which."""
    dimensions = take(body, "output_dimension", int)
    task = TASKS.get(word) if isinstance(word := body.get("input_type"), str) else None
    if task is not None:
        del body["input_type"]
    given = [name for name in ("texts", "images", "inputs") if body.get(name)]
    if len(given) != 1:
        raise Malformed(given[1] if given else "texts", "there must be one of texts, images and inputs")
    values, parts = body.pop(given[0]), {"texts": _read_text, "images": _read_image, "inputs": _read_mixed}[given[0]]
    if not isinstance(values, list):
        raise Malformed(given[0], "it must be a list")
    inputs = []
    for place, value in enumerate(values):
        each = parts(value, f"{given[0]}[{place}]", format_)
        each.task, each.dimensions = task, dimensions
        inputs.append(each)
    types = body.get("embedding_types")
    encodings: tuple[str, ...] = ()
    if isinstance(types, list) and types and all(isinstance(each, str) for each in types):
        encodings = tuple(body.pop("embedding_types"))
    truncate = CUTS.get(cut) if isinstance(cut := body.get("truncate"), str) else None
    if truncate is not None:
        del body["truncate"]
    own = Own(format_, body, frozenset((*marks, given[0])))
    return Request(format_, model, inputs, encodings, truncate, own=own)  # type: ignore[arg-type]


def _read_text(value: Any, at: str, format_: str) -> Input:
    if not isinstance(value, str):
        raise Malformed(at, "it must be a text")
    return Input([Text(value, at=at)], at=at)


def _read_image(value: Any, at: str, format_: str) -> Input:
    if not isinstance(value, str):
        raise Malformed(at, "it must be the URL of an image's data")
    return Input([_image(value, at)], at=at)


def _image(url: str, at: str, own: Own | None = None) -> Media:
    kind, _, data = url.removeprefix(DATA).partition(";base64,")
    if url.startswith(DATA) and data:
        return Media("image", Source("base64", data), kind, at=at, own=own)
    return Media("image", Source("url", url), at=at, own=own)


def _read_mixed(value: Any, at: str, format_: str) -> Input:
    content = value.pop("content", None) if isinstance(value, dict) else None
    if not isinstance(content, list) or not content or not all(isinstance(part, dict) for part in content):
        raise Malformed(f"{at}.content", "it must be a list of parts, and not be empty")
    parts = [_read_part(part, f"{at}.content[{place}]", format_) for place, part in enumerate(content)]
    return Input(parts, at=at, around=Own(format_, value))


def _read_part(part: Json, at: str, format_: str) -> Part:
    kind = part.get("type")
    if kind == "text" and type(part.get("text")) is str:
        del part["type"]
        return Text(part.pop("text"), at=at, own=Own(format_, part))
    image = part.get("image_url")
    if kind == "image_url" and isinstance(image, dict) and set(image) == {"url"} and type(image["url"]) is str:
        del part["type"], part["image_url"]
        return _image(image["url"], at, Own(format_, part))
    return Foreign(format_, str(kind), part, at=at)


# Writing


def write_request(request: Request, target: Target, losses: Losses) -> Written:
    ours = request.format == NAME
    body = {"model": target.model, **write_body(request, NAME, losses)}
    v1 = ours and request.own is not None and "v1" in request.own.marks
    return Written(V1 if v1 else "/v2/embed", laid_over(body, request.own, NAME))


def write_body(request: Request, format_: str, losses: Losses) -> Json:
    """All but the model."""
    ours = request.format == format_
    body: Json = {}
    kind = _kind(request, format_)
    written = [_write_input(each, kind, format_, losses) for each in request.inputs]
    body[kind] = written
    task = task_of(request, losses)
    if task is not None:
        body["input_type"] = WORDS.get(task) or NEAR[task]
        if task not in WORDS:
            losses.approximated("task", f"Cohere knows no vectors for {task}; {NEAR[task]} is the nearest")
    elif not ours:
        body["input_type"] = "image" if kind == "images" else "search_document"
        if kind != "images":
            losses.synthesised("input_type", "Cohere demands to be told what a vector is for: search_document")
    if (dimensions := dimensions_of(request, losses)) is not None:
        body["output_dimension"] = dimensions
    if request.truncate is not None:
        body["truncate"] = request.truncate.upper()
    if ours:
        if request.encodings:
            body["embedding_types"] = list(request.encodings)
        return body
    types = [each for each in request.encodings if each not in ("float", "base64")]
    for each in types:
        if each not in TYPES:
            losses.impossible("encodings", f"Cohere gives no vectors as {each}")
    # Base64 is made here, of the same floats.
    wanted = ["float", *types] if len(types) < len(request.encodings) or not types else types
    body["embedding_types"] = wanted
    if request.user is not None:
        losses.dropped("user", "Cohere is not told who asks")
    tell_own(request, format_, losses)
    return body


def _kind(request: Request, format_: str) -> str:
    """In which of its three lists the inputs stand."""
    if request.own is not None and request.format == format_:
        return next(name for name in ("texts", "images", "inputs") if name in request.own.marks)
    if all(each.text is not None for each in request.inputs):
        return "texts"
    alone = all(len(each.parts) == 1 for each in request.inputs)
    if alone and not any(isinstance(part, Text) for each in request.inputs for part in each.parts[:1]):
        return "images" if any(isinstance(each.parts[0], Media) for each in request.inputs) else "texts"
    return "inputs"


def _write_input(each: Input, kind: str, format_: str, losses: Losses) -> Any:
    if kind == "inputs":
        content = [_write_part(part, format_, losses) for part in each.parts]
        return laid_over({"content": content}, each.around, format_)
    part = each.parts[0]
    if isinstance(part, Text):
        return part.text
    return _write_part(part, format_, losses).get("image_url", {}).get("url", "")


def _write_part(part: Part, format_: str, losses: Losses) -> Json:
    if isinstance(part, Text):
        return laid_over({"type": "text", "text": part.text}, part.own, format_)
    if isinstance(part, Media) and part.kind == "image":
        data = part.source.kind == "base64"
        url = f"{DATA}{part.media_type};base64,{part.source.value}" if data else part.source.value
        return laid_over({"type": "image_url", "image_url": {"url": url}}, part.own, format_)
    if isinstance(part, Foreign) and part.format == format_:
        return dict(part.value)
    if isinstance(part, Media | Tokens | Foreign):
        refuse_part(part, TITLE, losses)
    return {}


# Replies


def read_reply(body: Json) -> Reply:
    return read_vectors(body, NAME)


def read_vectors(body: Json, format_: str) -> Reply:
    reply, marks = Reply(format_), set[str]()
    found = body.pop("embeddings", None)
    if isinstance(found, list):
        marks.add("floats")
        found = {"float": found}
    if not isinstance(found, dict) or not found or not all(isinstance(each, list) for each in found.values()):
        raise Malformed("embeddings", "it is no list of vectors, nor lists by type")
    sizes = {len(each) for each in found.values()}
    if len(sizes) != 1:
        raise Malformed("embeddings", "its lists are not of one length")
    for place in range(sizes.pop()):
        values = {name: each[place] for name, each in found.items()}
        for name, value in values.items():
            if not (isinstance(value, str) if name == "base64" else is_numbers(value)):
                raise Malformed(f"embeddings.{name}[{place}]", "it is no vector")
        reply.vectors.append(Vector(values, f"embeddings[{place}]"))
    reply.id = take(body, "id", str) or ""
    # What was asked, again; and the version of the API that answered.
    silent = apart(body, "texts", "images", "response_type")
    meta = body.pop("meta", None)
    billed = meta.pop("billed_units", None) if isinstance(meta, dict) else None
    if isinstance(billed, dict):
        if is_count(billed.get("input_tokens")):
            reply.input_tokens = billed.pop("input_tokens")
        if is_count(billed.get("image_tokens")):
            reply.image_tokens = billed.pop("image_tokens")
        reply.counted = Own(format_, billed)
    elif billed is not None:
        meta["billed_units"] = billed
    if isinstance(meta, dict):
        silent["meta"] = apart(meta, "api_version")
        if meta:
            body["meta"] = meta
    elif meta is not None:
        body["meta"] = meta
    reply.own = Own(format_, body, frozenset(marks), silent)
    return reply


def write_reply(reply: Reply, client: Client[Request], losses: Losses) -> Json:
    return write_vectors(reply, client, losses, NAME)


def write_vectors(reply: Reply, client: Client[Request], losses: Losses, format_: str) -> Json:
    if reply.format == format_:
        return _own_reply(reply, format_)
    request = client.request
    plain = not request.encodings and request.own is not None and "v1" in request.own.marks
    types = request.encodings or ("float",)
    by_type = {name: recoded(reply, request, name) for name in types}
    texts = [each.text for each in request.inputs if each.text is not None]
    tell_reply(reply, format_, losses)
    body: Json = {
        "id": reply.id or client.id,
        "texts": texts,
        "embeddings": by_type["float"] if plain else by_type,
        "response_type": "embeddings_floats" if plain else "embeddings_by_type",
    }
    if format_ == NAME:
        version = "1" if request.own is not None and "v1" in request.own.marks else "2"
        body["meta"] = {"api_version": {"version": version}}
        if reply.tokens is not None:
            body["meta"]["billed_units"] = _billed(reply)
    return body


def _billed(reply: Reply) -> Json:
    told = {"input_tokens": reply.input_tokens, "image_tokens": reply.image_tokens}
    return {name: count for name, count in told.items() if count is not None}


def _own_reply(reply: Reply, format_: str) -> Json:
    assert reply.own is not None
    by_type = {
        name: [vector.values[name] for vector in reply.vectors]
        for name in (reply.vectors[0].values if reply.vectors else ())
    }
    body: Json = {"embeddings": by_type.get("float", []) if "floats" in reply.own.marks else by_type}
    if reply.id:
        body["id"] = reply.id
    fields, silent = dict(reply.own.fields), dict(reply.own.silent or {})
    meta: Json | None = silent.pop("meta", None)
    if meta is not None:
        rest = fields.pop("meta", {})
        counted = {} if reply.counted is None else {"billed_units": laid_over(_billed(reply), reply.counted, format_)}
        body["meta"] = {**meta, **counted, **rest}
    return {**body, **fields, **silent}


_errors = ERRORS["cohere"]
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
