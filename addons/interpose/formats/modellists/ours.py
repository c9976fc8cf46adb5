"""The gateway's own list of models, written for a client of any format: models of several providers, under the names by
which the gateway knows them.

What a client of OpenAI's format finds of each: id, object, created, owned_by, permission, root, parent
(https://github.com/openai/openai-openapi, as OpenAI's own list had them), and context_length and capabilities, null
where nobody knows. Which models these are is decided in `stages.listing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from interpose.call import Headers, header
from interpose.formats.codecs import Client, Codec
from interpose.formats.codecs.codec import Json
from interpose.formats.endpoints import Match
from interpose.ir import Losses

from . import CLIENTS
from .neutral import Model, Reply, Request

# No provider's format: pages are cut from it, and nothing of it is laid over what is written.
NAME = "interpose"
# By which header, and how it begins, clients of other formats are known at a path that OpenAI's have, too. Each is sent
# with every request: https://docs.claude.com/en/api/versioning, https://ai.google.dev/gemini-api/docs/api-key. Cohere's
# and Mistral's have none that means anything, but their SDKs say who they are.
_SIGNS: tuple[tuple[bytes, bytes, str], ...] = (
    (b"anthropic-version", b"", "anthropic"),
    (b"x-goog-api-key", b"", "gemini"),
    (b"x-fern-sdk-name", b"cohere", "cohere"),
    (b"user-agent", b"mistral-client-", "mistral"),
)
# Google's methods for our words: https://ai.google.dev/api/models
_METHODS: Mapping[str, tuple[str, ...]] = {
    "chat": ("generateContent", "countTokens"),
    "embeddings": ("embedContent",),
    "images": ("predict",),
    "video": ("predictLongRunning",),
    "realtime": ("bidiGenerateContent",),
}
# https://docs.cohere.com/reference/list-models
_ENDPOINTS: Mapping[str, str] = {"chat": "chat", "embeddings": "embed", "rerank": "rerank", "completion": "generate"}
# https://docs.mistral.ai/api/endpoint/models
_FLAGS: Mapping[str, str] = {
    "chat": "completion_chat",
    "completion": "completion_fim",
    "tools": "function_calling",
    "vision": "vision",
    "reasoning": "reasoning",
    "moderations": "moderation",
    "audio": "audio",
}
# Where a provider's own words go on to clients of its format: they do not hold the model's name once more.
_OWN_WORDS = frozenset(("anthropic", "gemini"))


@dataclass(frozen=True, slots=True)
class Listed:
    """One model as the gateway has it: `id` is what clients ask for, `root` what its provider calls it.

    `told` is what the provider's own list says of it. `created` is in seconds since 1970, 0 where nobody knows;
    `context_length` in tokens.
    """

    id: str
    root: str
    owner: str
    told: Model | None = None
    context_length: int | None = None
    capabilities: tuple[str, ...] | None = None

    @property
    def created(self) -> int:
        return (self.told.created or 0) if self.told is not None else 0


def spoken(match: Match, headers: Headers) -> Match:
    """The same, in whose format a client of the gateway asks for models at a path that is several APIs'."""
    if match.endpoint != "models" or match.format != "openai":
        return match
    for name, beginning, format_ in _SIGNS:
        value = header(headers, name)
        if value is not None and value.startswith(beginning):
            return replace(match, format=format_, api_path=f"/v1{match.api_path}")
    return match


def codec_for(format_: str) -> Codec[Request, Reply] | None:
    """The codec in which clients of that format read lists of models."""
    return next((each.codec for each in CLIENTS if each.format == format_), None)


def written(format_: str, codec: Codec[Request, Reply], request: Request, models: Sequence[Listed]) -> Json:
    """The client's page of these models, or the one that it asked for, in its format."""
    single = bool(request.model)
    reply = Reply(NAME, [_neutral(each, codec.name) for each in models], single=single)
    body = codec.write_reply(reply, Client(request, request.model, "", 0), Losses("reply"))
    by_id = {each.id: each for each in models}
    more = _MORE.get(format_, _nothing_more)
    if single:
        return more(body, by_id)
    key = "data" if "data" in body else "models"
    return {**body, key: [more(entry, by_id) for entry in body[key]]}


def _neutral(listed: Listed, format_: str) -> Model:
    told = listed.told
    if told is None:
        return Model(listed.id, owner=listed.owner, input_limit=listed.context_length)
    own = told.own if format_ in _OWN_WORDS and told.own is not None and told.own.format == format_ else None
    return replace(
        told,
        id=listed.id,
        created=told.created if format_ != "openai-models" else listed.created,
        owner=listed.owner,
        input_limit=listed.context_length,
        own=own,
    )


def _openai(entry: Json, by_id: Mapping[str, Listed]) -> Json:
    listed = by_id[entry["id"]]
    fields = listed.told.own.fields if listed.told is not None and listed.told.own is not None else {}
    permission, parent = fields.get("permission"), fields.get("parent")
    return {
        **entry,
        "permission": permission if isinstance(permission, list) else [],
        "root": listed.root,
        "parent": parent if isinstance(parent, str) else None,
        "context_length": listed.context_length,
        "capabilities": None if listed.capabilities is None else list(listed.capabilities),
    }


def _gemini(entry: Json, by_id: Mapping[str, Listed]) -> Json:
    words = by_id[entry["name"].removeprefix("models/")].capabilities
    if words is None or "supportedGenerationMethods" in entry:
        return entry
    return {**entry, "supportedGenerationMethods": [name for word in words for name in _METHODS.get(word, ())]}


def _cohere(entry: Json, by_id: Mapping[str, Listed]) -> Json:
    words = by_id[entry["name"]].capabilities or ()
    return {**entry, "endpoints": [_ENDPOINTS[word] for word in words if word in _ENDPOINTS]}


def _mistral(entry: Json, by_id: Mapping[str, Listed]) -> Json:
    """A kind and an object of capabilities are what its clients tell models by."""
    listed = by_id[entry["id"]]
    flags = {_FLAGS[word]: True for word in listed.capabilities or () if word in _FLAGS}
    length = {} if listed.context_length is None else {"max_context_length": listed.context_length}
    return {**entry, **length, "aliases": [], "capabilities": flags, "type": "base"}


def _nothing_more(entry: Json, by_id: Mapping[str, Listed]) -> Json:
    return entry


_MORE: Mapping[str, Callable[[Json, Mapping[str, Listed]], Json]] = {
    "openai": _openai,
    "gemini": _gemini,
    "cohere": _cohere,
    "mistral": _mistral,
}
