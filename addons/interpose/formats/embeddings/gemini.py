"""Gemini's embedContent and batchEmbedContents: https://ai.google.dev/api/embeddings.

Each input has its own settings: beside its content on Google AI, in an object of their own on Vertex AI, where `vertex`
has the bodies of the models that are older.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

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
    is_count,
    is_numbers,
    only_recoded,
    recoded,
    refuse_part,
    take,
    tell_own,
    tell_reply,
)

NAME = "gemini"
TITLE = "Gemini"
# https://ai.google.dev/api/embeddings#v1beta.TaskType
TASKS: dict[str, Task] = {
    "RETRIEVAL_QUERY": "query",
    "RETRIEVAL_DOCUMENT": "document",
    "SEMANTIC_SIMILARITY": "similarity",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
    "QUESTION_ANSWERING": "answering",
    "FACT_VERIFICATION": "verification",
    "CODE_RETRIEVAL_QUERY": "code",
}
WORDS = {task: word for word, task in TASKS.items()}
CONFIG = "embedContentConfig"
KINDS = {"image": "image", "audio": "audio", "video": "video", "application": "document", "text": "document"}


def read_request(body: Json, asked: Asked) -> Request:
    model = model_in(asked.path)
    if asked.path.endswith("batchEmbedContents"):
        entries = body.pop("requests", None)
        if not isinstance(entries, list) or not entries:
            raise Malformed("requests", "it must be a list of requests, and not be empty")
        inputs = [_read_input(each, f"requests[{place}]", model) for place, each in enumerate(entries)]
        silent = {"model": body.pop("model")} if body.get("model") == f"models/{model}" else None
        return Request(NAME, model, inputs, own=Own(NAME, body, silent=silent))
    return Request(NAME, model, [_read_input(body, "", model)], own=Own(NAME, marks=frozenset(("single",))))


def model_in(path: str) -> str:
    return unquote(path.rpartition("/")[2].replace("%3A", ":").replace("%3a", ":").partition(":")[0])


def _either(body: Json, camel: str, kind: type[Any], marks: set[str]) -> Any:
    """A value under its name in camelCase or in snake_case: protobuf's JSON takes both."""
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in camel)
    if (found := take(body, camel, kind)) is not None:
        return found
    if (found := take(body, snake, kind)) is not None:
        marks.add(f"snake:{camel}")
    return found


def _read_input(entry: Any, at: str, model: str) -> Input:
    inside = f"{at}.content" if at else "content"
    content = entry.pop("content", None) if isinstance(entry, dict) else None
    if not isinstance(content, dict):
        raise Malformed(inside, "it must be an object")
    parts = content.pop("parts", None)
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        raise Malformed(inside, "it must have parts")
    marks: set[str] = set()
    found = Input([_read_part(part, f"{inside}.parts[{place}]") for place, part in enumerate(parts)], at=at or inside)
    # A role says nothing about what is one person's text.
    found.around = Own(NAME, content, silent=apart(content, "role"))
    settings = entry
    if isinstance(entry.get(CONFIG), dict):
        settings = entry.pop(CONFIG)
        marks.add(CONFIG)
    found.dimensions = _either(settings, "outputDimensionality", int, marks)
    word = _either(settings, "taskType", str, marks)
    if word in TASKS:
        found.task = TASKS[word]
    elif word is not None:
        settings["task_type" if "snake:taskType" in marks else "taskType"] = word
    if settings is not entry and settings:
        entry[CONFIG] = settings
    silent = {"model": entry.pop("model")} if entry.get("model") == f"models/{model}" else None
    if entry.get("taskType") == "TASK_TYPE_UNSPECIFIED":
        silent = {**(silent or {}), "taskType": entry.pop("taskType")}
    found.own = Own(NAME, entry, frozenset(marks), silent)
    return found


def _read_part(part: Json, at: str) -> Part:
    if type(part.get("text")) is str:
        return Text(part.pop("text"), at=at, own=Own(NAME, part))
    name = "inline_data" if "inline_data" in part else "inlineData"
    data = part.get(name)
    if isinstance(data, dict) and set(data) <= {"mimeType", "mime_type", "data"} and type(data.get("data")) is str:
        media = data.get("mimeType") or data.get("mime_type")
        kind = KINDS.get(str(media).partition("/")[0])
        if isinstance(media, str) and kind is not None:
            marks = frozenset(f"snake:{each}" for each in (name, *data) if "_" in each)
            del part[name]
            source = Source("base64", data["data"])
            return Media(kind, source, media, at=at, own=Own(NAME, part, marks))  # type: ignore[arg-type]
    return Foreign(NAME, next(iter(part), "empty part"), part, at=at)


def write_request(request: Request, target: Target, losses: Losses, *, nested: bool = False) -> Written:
    """`nested` says that settings stand in an object of their own, as on Vertex AI."""
    ours = request.format == NAME
    single = "single" in request.own.marks if ours and request.own else len(request.inputs) == 1
    entries = [_write_input(each, losses, nested=nested) for each in request.inputs]
    if not ours:
        if not single:
            entries = [{**entry, "model": f"models/{target.model}"} for entry in entries]
        only_recoded(request, TITLE, losses)
        if request.user is not None:
            losses.dropped("user", "Gemini is not told who asks")
        if request.truncate is not None:
            losses.dropped("truncate", "Gemini is not told at which end to cut a text that is too long")
        tell_own(request, NAME, losses)
    verb = "embedContent" if single else "batchEmbedContents"
    path = f"/v1beta/models/{quote(target.model, safe='')}:{verb}"
    return Written(path, entries[0] if single else laid_over({"requests": entries}, request.own, NAME))


def _write_input(each: Input, losses: Losses, *, nested: bool) -> Json:
    parts = [_write_part(part, losses) for part in each.parts]
    entry: Json = {"content": laid_over({"parts": parts}, each.around, NAME)}
    marks = each.own.marks if each.own is not None else frozenset[str]()
    settings: Json = {}
    for name, value in (
        ("taskType", WORDS.get(each.task) if each.task else None),
        ("outputDimensionality", each.dimensions),
    ):
        if value is not None:
            snake = "task_type" if name == "taskType" else "output_dimensionality"
            settings[snake if f"snake:{name}" in marks else name] = value
    written = laid_over(entry, each.own, NAME)
    if CONFIG in marks or (nested and settings):
        rest = written.get(CONFIG)
        return {**written, CONFIG: {**settings, **(rest if isinstance(rest, dict) else {})}}
    return {**settings, **written}


def _write_part(part: Part, losses: Losses) -> Json:
    if isinstance(part, Text):
        return laid_over({"text": part.text}, part.own, NAME)
    if isinstance(part, Media) and part.source.kind == "base64":
        marks = part.own.marks if part.own is not None and part.own.format == NAME else frozenset()
        kind = "mime_type" if "snake:mime_type" in marks else "mimeType"
        name = "inline_data" if "snake:inline_data" in marks else "inlineData"
        return laid_over({name: {kind: part.media_type, "data": part.source.value}}, part.own, NAME)
    if isinstance(part, Foreign) and part.format == NAME:
        return dict(part.value)
    if isinstance(part, Media):
        losses.impossible(part.at, "Gemini takes the bytes of a medium, and no address of them")
    elif isinstance(part, Tokens | Foreign):
        refuse_part(part, TITLE, losses)
    return {}


# Replies


def read_reply(body: Json) -> Reply:
    reply, marks = Reply(NAME), set[str]()
    if isinstance(body.get("embedding"), dict):
        marks.add("single")
        entries, at = [body.pop("embedding")], "embedding"
    else:
        entries, at = body.pop("embeddings", None), "embeddings"
    if not isinstance(entries, list):
        raise Malformed("embeddings", "it is no list of embeddings")
    for place, entry in enumerate(entries):
        here = at if "single" in marks else f"{at}[{place}]"
        if not isinstance(entry, dict) or not is_numbers(entry.get("values")):
            raise Malformed(f"{here}.values", "it is no vector")
        # The shape is the length of the values.
        silent = {"shape": entry.pop("shape")} if "shape" in entry else None
        reply.vectors.append(Vector({"float": entry.pop("values")}, here, Own(NAME, entry, silent=silent)))
    usage = body.get("usageMetadata")
    if isinstance(usage, dict):
        if is_count(usage.get("promptTokenCount")):
            reply.input_tokens = usage.pop("promptTokenCount")
        # The same count in parts and in sum.
        names = ("promptTokensDetails", "promptTokenDetails", "totalTokenCount")
        silent = apart(usage, *names)
        reply.counted = Own(NAME, usage, silent=silent)
        del body["usageMetadata"]
    reply.own = Own(NAME, body, frozenset(marks))
    return reply


def write_reply(reply: Reply, client: Client[Request], losses: Losses) -> Json:
    values = recoded(reply, client.request, "float")
    entries = [laid_over({"values": each}, of.own, NAME) for each, of in zip(values, reply.vectors, strict=True)]
    single = client.request.own is not None and "single" in client.request.own.marks
    body: Json = {"embedding": entries[0]} if single else {"embeddings": entries}
    if reply.format == NAME:
        if reply.counted is not None:
            usage = {} if reply.input_tokens is None else {"promptTokenCount": reply.input_tokens}
            body["usageMetadata"] = laid_over(usage, reply.counted, NAME)
        return laid_over(body, reply.own, NAME)
    tell_reply(reply, NAME, losses)
    if reply.tokens is not None:
        body["usageMetadata"] = {"promptTokenCount": reply.tokens, "totalTokenCount": reply.tokens}
    return body


_errors = ERRORS["gemini"]
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
