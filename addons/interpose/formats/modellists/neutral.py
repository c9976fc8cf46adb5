"""What every list of models tells, in no format's words, and pages of it.

A provider is asked for all that it tells at once (a thousand, where it has pages), whatever the client asks for: the
client's pages are cut here, for the marks by which one API goes on mean nothing in another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, unquote

from interpose.formats.codecs.codec import Asked, Client, Json, Malformed, Target, Written
from interpose.formats.codecs.leftovers import laid_over
from interpose.ir import Losses, Own

# The most that Anthropic, Gemini and Cohere tell in one page.
MOST = 1000
# What a query holds beside a request: keys and how the answer is to be spelt. Never sent on, and no loss.
UNSAID = frozenset(("key", "access_token", "alt", "$alt", "prettyPrint", "beta", "api-version"))


@dataclass(slots=True)
class Model:
    """One model. `created` is in seconds since 1970; limits are in tokens, `input_limit` is the whole context."""

    id: str
    title: str | None = None
    description: str | None = None
    created: int | None = None
    owner: str | None = None
    input_limit: int | None = None
    output_limit: int | None = None
    own: Own | None = None


@dataclass(slots=True)
class Request:
    """A request for one model, or with `model` "" for the list: at most `limit` of those after or before an id.

    `stream` is never true: it is what all kinds of requests have.
    """

    format: str
    model: str = ""
    limit: int | None = None
    after: str | None = None
    before: str | None = None
    stream: Literal[False] = False
    own: Own | None = None


@dataclass(slots=True)
class Reply:
    """Models in the provider's order; one, where one was asked for. `more` says that there are others."""

    format: str
    models: list[Model] = field(default_factory=list)
    single: bool = False
    more: bool = False
    own: Own | None = None


# Requests


def read_request(format_: str, asked: Asked, names: dict[str, str], *, lenient: bool = False) -> Request:
    """What a path and query ask for; `names` are those of the query for limit, after and before. `lenient` is an API
    that takes the usual number for 0, and the most that it gives for any larger one.
    """
    request = Request(format_, unquote(asked.path.partition("/models/")[2]))
    left: dict[str, Any] = {}
    for name, value in parse_qsl(asked.query, keep_blank_values=True):
        known = names.get(name)
        if known == "limit" and value.isascii() and value.isdigit() and (lenient or 0 < int(value[:9]) <= MOST):
            request.limit = min(int(value[:9]), MOST) or None
        elif known in ("after", "before") and value:
            setattr(request, known, value)
        elif known is not None and value:
            raise Malformed(name, f"it must be a whole number from 1 to {MOST}")
        elif name not in UNSAID:
            left[name] = value
    request.own = Own(format_, left)
    return request


def write_request(
    format_: str, path: str, request: Request, target: Target, losses: Losses, query: str = ""
) -> Written:
    """A GET of the list at that path, with the query that asks for all of it, or of one model below it."""
    losses.own(request.own, "", format_)
    if not request.model:
        return Written(path, {}, query, method="GET")
    if any(part in ("", ".", "..") for part in target.model.split("/")):
        losses.impossible("model", f"{target.model!r} cannot be a model's name in a URL")
    # Names of compatible servers hold slashes.
    return Written(f"{path}/{quote(target.model, safe='/')}", {}, method="GET")


# Replies


def entries(body: Json, key: str) -> list[Json]:
    """The objects of a list. Raises Malformed if it is none."""
    found = body.pop(key, None)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise Malformed(key, "it is no list of models")
    return found


def text(entry: Json, *names: str, marks: set[str] | None = None) -> str | None:
    """The first text among these keys, taken out of the entry; `marks` remembers which it was, if not the first."""
    found: str | None = _first(entry, names, marks, lambda value: type(value) is str)
    return found


def count(entry: Json, *names: str, marks: set[str] | None = None) -> int | None:
    """The first whole number among these keys, likewise."""
    found: int | None = _first(entry, names, marks, lambda value: type(value) is int and 0 <= value < 2**53)
    return found


def _first(entry: Json, names: tuple[str, ...], marks: set[str] | None, fits: Any) -> Any:
    for name in names:
        if fits(entry.get(name)):
            if marks is not None:
                marks.add(f"{names[0]}:{name}")
            return entry.pop(name)
    return None


def named(own: Own | None, name: str) -> str:
    """Under which of its synonyms a value was told."""
    marks = own.marks if own is not None else frozenset[str]()
    return next((mark.partition(":")[2] for mark in marks if mark.startswith(f"{name}:")), name)


def moment(entry: Json, name: str) -> int | None:
    """The seconds of an RFC 3339 time that is written as we write it; any other is left over."""
    value = entry.get(name)
    if type(value) is not str:
        return None
    try:
        seconds = int(datetime.fromisoformat(value).timestamp())
    except (ValueError, OverflowError):
        return None
    if moment_text(seconds) != value:
        return None
    del entry[name]
    return seconds


def moment_text(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "1970-01-01T00:00:00Z"


def id_of(model: Model, reply: Reply, client: Client[Request]) -> str:
    """What a client calls the model: one that it asked for keeps the name by which it asked."""
    return client.model or model.id if reply.single else model.id


def one(reply: Reply, client: Client[Request]) -> bool:
    """Whether the client is told of one model. Raises Malformed where a list came in its stead, or none."""
    if bool(client.request.model) != reply.single or (reply.single and len(reply.models) != 1):
        raise Malformed("", "it is not what was asked: one model, or a list of them")
    return reply.single


@dataclass(frozen=True, slots=True)
class Page:
    """What a client is told at once, and whether there is more in the direction in which it reads."""

    models: list[Model]
    more: bool


def page(reply: Reply, request: Request, usual: int) -> Page:
    """The client's page of the provider's list: `usual` models where it did not say how many.

    An id that is not in the list (any more) ends it, lest a client that goes on from page to page begins anew.
    """
    limit = min(request.limit or usual, MOST)
    places = {model.id: place for place, model in enumerate(reply.models)}
    if request.before is not None:
        end = places.get(request.before, 0)
        return Page(reply.models[max(0, end - limit) : end], end > limit)
    start = 0 if request.after is None else places.get(request.after, len(reply.models)) + 1
    return Page(reply.models[start : start + limit], start + limit < len(reply.models))


def write_pages(
    reply: Reply, client: Client[Request], format_: str, usual: int, mark: str, write: Callable[[Model, str], Json]
) -> Json:
    """A page under `models`, with the name of its last model under `mark` where there is more; or the one model."""
    if one(reply, client):
        return write(reply.models[0], id_of(reply.models[0], reply, client))
    if reply.format == format_:
        # Its own page, as it is.
        return laid_over({"models": [write(model, model.id) for model in reply.models]}, reply.own, format_)
    found = page(reply, client.request, usual)
    body: Json = {"models": [write(model, model.id) for model in found.models]}
    if found.more:
        body[mark] = found.models[-1].id
    return body


def tell(reply: Reply, target: str, losses: Losses, carried: frozenset[str], dropped: frozenset[str]) -> None:
    """What a list cannot keep, each kind once: leftovers, the fields that are only carried, those that are dropped."""
    if reply.format == target:
        return
    losses.own(reply.own, "", target)
    if reply.more:
        losses.dropped("models", f"the provider has more models than the {MOST} that it tells at once")
    for model in reply.models:
        losses.own(model.own, "models[]", target)
        for name in _said(model):
            if name in carried:
                losses.carried(f"models[].{name}", f"in {target} it is nothing that clients know of")
            elif name in dropped:
                losses.dropped(f"models[].{name}", f"{target} has nothing like it")


def _said(model: Model) -> Iterator[str]:
    for name in ("title", "description", "created", "owner", "input_limit", "output_limit"):
        if getattr(model, name) not in (None, ""):
            yield name


def apart(body: Json, *keys: str) -> Json:
    """Those of the keys that are there, taken out of the body."""
    return {key: body.pop(key) for key in keys if key in body}
