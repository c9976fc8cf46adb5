"""Dialects: how a cloud spells what a format says plainly, as data around the formats.

A dialect has URLs of its own, and of Claude's API envelopes of its own (a codec each). Here is decided, too, what is
done to carry a call from one to another: nothing but its URL, or a conversion. Keys are in `keys`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from . import same_family
from .codecs import CODECS, OF_PROVIDER, Codec

# The conversations of Claude in clouds: (format, dialect) -> codec.
_ENVELOPES: Mapping[tuple[str, str | None], str] = {
    ("anthropic", "vertex"): "vertex-anthropic",
    ("anthropic", "bedrock"): "bedrock-anthropic",
}
# Servers of OpenAI's format that have Chat Completions and no Responses, by their own API references (Nov 2026):
# https://api-docs.deepseek.com, https://docs.mistral.ai/api, https://docs.together.ai/reference,
# https://inference-docs.cerebras.ai/api-reference, https://docs.ai21.com/reference, https://platform.moonshot.ai/docs,
# https://platform.minimax.io/docs, https://docs.z.ai/api-reference, https://docs.github.com/rest/models/inference
_CHAT_ALONE = "ai21 cerebras deepseek github hyperbolic minimax mistral moonshot sambanova together venice writer zai"
WITHOUT_RESPONSES = frozenset(_CHAT_ALONE.split())
# https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle: the last one that is generally available;
# the URLs below /openai/v1 need none.
AZURE_VERSION = "2024-10-21"
# What Azure serves below a deployment; the rest (files, responses, …) is the resource's.
_DEPLOYED = ("/chat/completions", "/completions", "/embeddings", "/images/", "/audio/")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a provider answers, as the rules say it: `base_path` is that of its base_url, without a final slash."""

    format: str
    dialect: str | None
    base_path: str
    api_version: str | None = None
    responses: bool = True


def codec_of_provider(format: str, dialect: str | None) -> str:  # noqa: A002  (the contract's name)
    """The name of the codec in which a provider's conversations are; it need not exist."""
    return _ENVELOPES.get((format, dialect)) or OF_PROVIDER[format]


def codec_of_client(wire: str, model_in_url: str | None) -> str:
    """The name of the codec in which a client speaks, by the wire of what it asked and the model that its URL names.

    Anthropic's own API names no model in its URLs; Vertex does. InvokeModel's body is as its model's maker likes it.
    """
    if wire == "anthropic":
        return "anthropic" if model_in_url is None else "vertex-anthropic"
    if wire == "bedrock-invoke" and model_in_url is not None and "claude" in model_in_url:
        return "bedrock-anthropic"
    return wire


def as_it_is(format: str, wire: str, endpoint: str, model_in_url: str | None, to: Address) -> bool:  # noqa: A002
    """Whether such a call goes to that provider with the body that it has."""
    if not same_family(format, to.format, endpoint):
        return False
    if format == "openai-responses" and not to.responses and to.format == "openai":
        return False
    if wire == "anthropic" or (format, to.dialect) in _ENVELOPES:
        # The same conversation in another envelope.
        return codec_of_client("anthropic", model_in_url) == codec_of_provider(to.format, to.dialect)
    return True


def between(wire: str, model_in_url: str | None, to: Address) -> tuple[Codec, Codec] | None:
    """The two codecs between which a conversation is converted; None if there is none for one of them."""
    client = CODECS.get(codec_of_client(wire, model_in_url))
    provider = CODECS.get(codec_of_provider(to.format, to.dialect))
    return None if client is None or provider is None else (client, provider)


@dataclass(frozen=True, slots=True)
class Place:
    """A target at a provider. `model_inside` says that the body, and not the URL, names the model there."""

    path: str
    query: str = ""
    model_inside: bool = True


def locate(to: Address, api_path: str, query: str, model: str | None, *, stream: bool = False) -> Place:
    """Where the provider answers what `api_path` (`Match.api_path`, or a codec's) is in the format's plain dialect.

    `model` is the one to be sent. Raises LookupError, with what to say of it, for what the dialect has not.
    """
    style = _STYLES.get((to.format, to.dialect))
    if style is None:
        return Place(to.base_path + api_path, _without(query, "api-version"))
    return style(to, api_path, query, model, stream)


def _azure(to: Address, api_path: str, query: str, model: str | None, stream: bool) -> Place:
    """https://learn.microsoft.com/azure/ai-foundry/openai/reference: below /openai/v1 all is OpenAI's; the older URLs
    name a deployment, and a version of the API.
    """
    rest = _without(query, "api-version")
    if to.base_path not in ("", "/openai"):
        return Place(to.base_path + api_path, _with(rest, to.api_version))
    version = to.api_version or AZURE_VERSION
    if not api_path.startswith(_DEPLOYED):
        return Place(f"/openai{api_path}", _with(rest, version))
    if not model:
        raise LookupError("Azure's URLs name the model's deployment, and the call names no model")
    return Place(f"/openai/deployments/{_segment(model)}{api_path}", _with(rest, version), model_inside=False)


def _vertex_gemini(to: Address, api_path: str, query: str, model: str | None, stream: bool) -> Place:
    """https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference; without a project it is the
    express mode: https://cloud.google.com/vertex-ai/generative-ai/docs/start/express-mode/overview
    """
    root = to.base_path or "/v1"
    _, _, below = api_path.lstrip("/").partition("/")
    if below.startswith("publishers/"):
        return Place(f"{root}/{below}", query, model_inside=False)
    if not below.startswith("models/"):
        raise LookupError(f"Vertex AI has no {api_path}")
    return Place(f"{root}/publishers/google/{below}", query, model_inside=False)


def _vertex_claude(to: Address, api_path: str, query: str, model: str | None, stream: bool) -> Place:
    """https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai"""
    root = to.base_path or "/v1"
    if api_path.startswith("/publishers/"):
        return Place(root + api_path, query, model_inside=False)
    if api_path == "/v1/messages/count_tokens":
        return Place(f"{root}/publishers/anthropic/models/count-tokens:rawPredict", query)
    if api_path != "/v1/messages" or not model:
        raise LookupError(f"Claude on Vertex AI has no {api_path}")
    verb = "streamRawPredict" if stream else "rawPredict"
    return Place(f"{root}/publishers/anthropic/models/{_segment(model)}:{verb}", query, model_inside=False)


_Style = Callable[[Address, str, str, str | None, bool], Place]
_STYLES: Mapping[tuple[str, str | None], _Style] = {
    ("openai", "azure"): _azure,
    ("openai-responses", "azure"): _azure,
    ("gemini", "vertex"): _vertex_gemini,
    ("anthropic", "vertex"): _vertex_claude,
}


def _segment(model: str) -> str:
    """A model's name as one segment of a path. Raises LookupError for one that would lead elsewhere."""
    if model in ("", ".", ".."):
        raise LookupError(f"{model!r} cannot be a model's name in a URL")
    return quote(model, safe="@:")


def _without(query: str, name: str) -> str:
    """The query without a parameter that is another dialect's; else as it came."""
    if name not in query:
        return query
    return "&".join(part for part in query.split("&") if part.partition("=")[0] != name)


def _with(query: str, version: str | None) -> str:
    return "&".join(part for part in (query, f"api-version={version}" if version else "") if part)
