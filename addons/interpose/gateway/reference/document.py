"""The OpenAPI 3.1 document: https://spec.openapis.org/oas/v3.1.1.html

What is common to all operations (errors, headers, keys) is written here once; what is each one's own is data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from interpose import __version__
from interpose.formats.operations import OPERATIONS, Operation

from .data import components, errors, operations
from .samples import samples

type Json = dict[str, Any]

# Which error a client of a format gets, and the prefix of that error's responses.
_ERRORS = {
    "openai": ("Error", ""),
    "openai-responses": ("Error", ""),
    "anthropic": ("AnthropicError", "Anthropic"),
    "gemini": ("GoogleError", "Google"),
}
_KEYS: Json = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "`Authorization: Bearer KEY`, as OpenAI's clients send it.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "As Anthropic's clients send it."},
    "googleKey": {
        "type": "apiKey",
        "in": "header",
        "name": "x-goog-api-key",
        "description": "As Google's clients send it.",
    },
}
_HEADERS: Json = {
    "x-interpose-id": ("string", "The call's id, in the ledger and in the log."),
    "x-interpose-provider": ("string", "The provider that has answered."),
    "x-interpose-model": ("string", "The model that has answered, by the provider's own name."),
    "x-interpose-route": ("string", "The route of the rules that the call took."),
    "x-interpose-losses": ("string", "What a conversion between formats could not keep."),
    "x-ratelimit-limit-requests": ("integer", "How many requests the nearest limit allows."),
    "x-ratelimit-remaining-requests": ("integer", "How many of them are left."),
    "x-ratelimit-reset-requests": ("string", "When all of them are there again, as a duration: `1m30s`."),
    "x-ratelimit-limit-tokens": ("integer", "How many tokens the nearest limit allows."),
    "x-ratelimit-remaining-tokens": ("integer", "How many of them are left."),
    "x-ratelimit-reset-tokens": ("string", "When all of them are there again."),
    "anthropic-ratelimit-requests-limit": (
        "integer",
        "The same for Anthropic's clients: how many requests a limit allows.",
    ),
    "anthropic-ratelimit-requests-remaining": ("integer", "How many of them are left."),
    "anthropic-ratelimit-requests-reset": ("string", "When all of them are there again, as a moment (RFC 3339)."),
    "Retry-After": ("integer", "After how many seconds to send it again."),
    "Allow": ("string", "The methods that the path takes."),
}
_OPENAI_LIMITS = tuple(name for name in _HEADERS if name.startswith("x-ratelimit-"))
_LIMITS = {"anthropic": tuple(name for name in _HEADERS if name.startswith("anthropic-"))}
_MARKS = tuple(name for name in _HEADERS if name.startswith("x-interpose-"))
_BESIDE = {405: ("Allow",), 429: ("Retry-After",), 503: ("Retry-After",)}
# The limits of rules/gateway.yaml, per API key and IP address.
LIMITS = (
    {"name": "chat", "endpoints": "generation: chat completions, responses, messages, Gemini", "requests": 20},
    {"name": "embeddings", "endpoints": "embeddings", "requests": 100},
    {"name": "standard", "endpoints": "everything else", "requests": 60},
)
TAGS = (
    ("OpenAI", "For clients of OpenAI's: any model, in OpenAI's formats."),
    ("Models", "What can be asked for."),
    ("Anthropic", "For clients of Anthropic's: any model, in Anthropic's format."),
    ("Gemini", "For clients of Google's: any model, in Gemini's format."),
    ("Operation", "For balancers, monitoring and people. No key is needed, but for figures from elsewhere."),
)
INTRODUCTION = """\
One API for the models of many providers. A client keeps its SDK, and is given this address and a key of this gateway;
the request goes to the provider that has the model, converted if need be, and the answer comes back in the client's own
format.

Models go by their names (`gpt-4`, `claude-3-opus`), by an alias of the rules, or as `PROVIDER/MODEL`. Every other path
under `/v1/` that a provider's API has (files, batches, images, audio …) leads to the provider that the rules name."""


@dataclass(frozen=True, slots=True)
class _About:
    """What is said of a page: by which name, in which content type, by which schema."""

    name: str
    summary: str
    content_type: str
    schema: Json
    # Not everybody may see it: who may not is told so.
    guarded: bool = False
    # What else it may be asked for as.
    also: tuple[str, ...] = ()


_STRING: Json = {"type": "string"}
_PAGES = {
    "/healthz": _About(
        "getHealth", "Is the process alive?", "application/json", {"$ref": "#/components/schemas/Health"}
    ),
    "/readyz": _About("getReadiness", "Can it serve?", "application/json", {"$ref": "#/components/schemas/Readiness"}),
    "/metrics": _About(
        *("getMetrics", "Figures for Prometheus", "text/plain", _STRING),
        guarded=True,
        also=("application/openmetrics-text",),
    ),
    "/openapi.json": _About(
        "getDescription", "This API as an OpenAPI document", "application/json", {"type": "object"}
    ),
    "/docs": _About("getReference", "The same as a page for people", "text/html", _STRING),
}


def document(base: str, paths: Iterable[str]) -> Json:
    """The document of a gateway that is called at `base` (scheme and authority), and has pages at those paths."""
    described: Json = {}
    for operation in OPERATIONS:
        described.setdefault(operation.path, {})[operation.method.lower()] = _operation(base, operation)
    for path, about in _PAGES.items():
        if path in paths:
            described[path] = {"get": _page(about)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "interpose gateway",
            "summary": "One /v1 for all providers.",
            "description": INTRODUCTION,
            "version": __version__,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": base}],
        "security": [{"bearer": []}, {"apiKey": []}],
        "tags": [{"name": name, "description": about} for name, about in TAGS],
        "paths": described,
        "components": {
            "schemas": components(),
            "securitySchemes": _KEYS,
            "headers": {
                name: {"description": about, "schema": {"type": kind}} for name, (kind, about) in _HEADERS.items()
            },
            "responses": {name: response for each in _ERRORS.values() for name, response in _refusals(*each).items()},
        },
        "x-errors": list(errors()),
        "x-default-limits": list(LIMITS),
    }


def _operation(base: str, operation: Operation) -> Json:
    told = operations()[operation.name]
    schema, prefix = _ERRORS[operation.format]
    made: Json = {
        "operationId": operation.name,
        "tags": [told["tag"]],
        "summary": told["summary"],
        "description": told["description"],
        "parameters": [*_parameters(operation), *told.get("query", ())],
        "responses": {
            "200": _answered(operation.format, told),
            **{str(each["status"]): _reference("responses", prefix + each["name"]) for each in errors()},
            # What a provider of the client's format says is not ours to change.
            "4XX": _refused("The provider's own refusal, as it came.", schema, ()),
        },
        "x-codeSamples": list(samples(base, operation, told)),
    }
    if operation.format == "gemini":
        made["security"] = [{"bearer": []}, {"apiKey": []}, {"googleKey": []}]
    if operation.body is not None:
        content = {"schema": _reference("schemas", operation.body), "examples": {"simple": {"value": told["example"]}}}
        made["requestBody"] = {"required": True, "content": {"application/json": content}}
    else:
        for status in ("408", "413", "415"):
            del made["responses"][status]
    return {key: value for key, value in made.items() if value != []}


def _parameters(operation: Operation) -> Iterable[Json]:
    if "{model}" in operation.path:
        about = "The model's name. One that holds slashes is taken with them, escaped or not."
        schema: Json = {"type": "string", "minLength": 1}
        if "{model}:" in operation.path:
            about, schema = "The model's name.", {**schema, "pattern": "^[^/:]+$"}
        yield {"name": "model", "in": "path", "required": True, "description": about, "schema": schema}


def _answered(format_: str, told: Mapping[str, Any]) -> Json:
    content: Json = {
        "application/json": {
            "schema": _reference("schemas", told["reply"]),
            "examples": {"simple": {"value": told["answer"]}},
        }
    }
    if "stream" in told:
        # Without a schema: tools do not agree on whether that is one of an event or of all of them.
        stream = {"description": told["stream"], "value": told["streamed"]}
        content["text/event-stream"] = {"examples": {"simple": stream}}
    limits = _LIMITS.get(format_, _OPENAI_LIMITS)
    return {"description": "The answer.", "headers": _headers((*_MARKS, *limits)), "content": content}


def _refusals(schema: str, prefix: str) -> Json:
    """What goes wrong, by the names of its responses, for clients of a format."""
    return {
        prefix + each["name"]: _refused(
            f"{each['meaning']} {each['remedy']}", schema, ("x-interpose-id", *_BESIDE.get(each["status"], ()))
        )
        for each in errors()
    }


def _refused(about: str, schema: str, headers: Iterable[str]) -> Json:
    content = {"application/json": {"schema": _reference("schemas", schema)}}
    made: Json = {"description": about, "content": content}
    return {**made, "headers": _headers(headers)} if headers else made


def _page(about: _About) -> Json:
    content = {content_type: {"schema": about.schema} for content_type in (about.content_type, *about.also)}
    wrong = {"description": "The page is only read.", "headers": _headers(("Allow",))}
    guarded = {"401": _reference("responses", "Unauthorized")} if about.guarded else {}
    return {
        "operationId": about.name,
        "tags": ["Operation"],
        "summary": about.summary,
        "security": [{}, {"bearer": []}, {"apiKey": []}] if about.guarded else [],
        "responses": {"200": {"description": "The page.", "content": content}, **guarded, "405": wrong},
    }


def _headers(names: Iterable[str]) -> Json:
    return {name: _reference("headers", name) for name in names}


def _reference(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}
