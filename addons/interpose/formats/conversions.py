"""What is converted: the kinds of calls, by endpoint, and for each the two codecs between a client and a provider.

A kind of call that stands not in the table is carried as it is, or refused. The clouds' envelopes around conversations
are `dialects`'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from . import counting, dialects, embeddings, modellists
from .codecs import Codec
from .dialects import Address, as_it_is
from .kinds import Kind

# Whose prompts are read; those of Anthropic and Cohere, which are older than their chats, are bodies of their own.
COMPLETIONS = frozenset(("openai-completions", "ollama", "mistral"))


class Asked(NamedTuple):
    """What tells a client's codec: its format, the wire of its reply, and the model in its URL, as in `Match`."""

    format: str
    wire: str
    model_in_url: str | None


class Pair(NamedTuple):
    """The codecs of a client and of a provider."""

    client: Codec[Any, Any]
    provider: Codec[Any, Any]


# For what was asked, by what method and at which path within the API ("" for any), and for that provider.
_Between = Callable[[Asked, str, str, Address], Pair | None]


def _conversation(asked: Asked, method: str, path: str, to: Address) -> Pair | None:
    found = dialects.between(asked.wire, asked.model_in_url, to)
    return None if found is None else Pair(*found)


def _completion(asked: Asked, method: str, path: str, to: Address) -> Pair | None:
    return _conversation(asked, method, path, to) if asked.wire in COMPLETIONS else None


def _of(kind: Kind) -> _Between:
    def between(asked: Asked, method: str, path: str, to: Address) -> Pair | None:
        client, provider = kind.client(asked.format, method, path), kind.provider(to.format, to.dialect)
        return None if client is None or provider is None else Pair(client, provider)

    return between


_counts = _of(Kind(counting.CLIENTS, counting.PROVIDERS))


def _count(asked: Asked, method: str, path: str, to: Address) -> Pair | None:
    """Servers of OpenAI's format without Responses have nothing that counts."""
    return _counts(asked, method, path, to) if to.format != "openai" or to.responses else None


CONVERSIONS: Mapping[str, _Between] = {
    "chat": _conversation,
    "completions": _completion,
    "count_tokens": _count,
    "embeddings": _of(Kind(embeddings.CLIENTS, embeddings.PROVIDERS)),
    "models": _of(Kind(modellists.CLIENTS, modellists.PROVIDERS)),
}


def between(endpoint: str, asked: Asked, method: str, path: str, to: Address) -> Pair | None:
    """The codecs between which such a call is converted; None if there is none for one of them."""
    found = CONVERSIONS.get(endpoint)
    return None if found is None else found(asked, method, path, to)


def carries(endpoint: str, asked: Asked, to: Address) -> bool:
    """Whether some such call can go to that provider: as it is, or converted."""
    if as_it_is(asked.format, asked.wire, endpoint, asked.model_in_url, to):
        return True
    return between(endpoint, asked, "", "", to) is not None
