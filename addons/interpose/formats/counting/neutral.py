"""Counts of tokens: the conversation's codecs within the envelopes of the endpoints that count.

What is to be counted is a conversation, and is read and written by its codec. What bears on the answer alone (how
tokens are drawn, how many there may be, who asks) changes no count, and is left out without being a loss. The count is
the provider's, for its own model: none is ever estimated here, for who asks for a count means to rely on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from interpose.formats.codecs.codec import Asked, Client, Codec, Json, Malformed, Target, Written
from interpose.ir import Losses, Own, Request, Sampling

# Said by a codec because its provider demands it of an answer, which there is none of.
UNASKED = frozenset(("max_tokens", "max_output_tokens"))


@dataclass(slots=True)
class Count:
    """`tokens` are those of the whole input, `cached` those of them that a stored prefix has."""

    format: str
    tokens: int
    cached: int | None = None
    own: Own | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """What an endpoint that counts has around a conversation.

    `unwrap` gives the conversation's body and what its codec is to take for its path, and `wrap` does the contrary.
    `kept` are the fields of a conversation that count, of one that another format's client has asked; None is all.
    `tokens` is the reply's field for the count, `cached` that for what is stored, `said` what else it says, whatever
    the count, and `silent` what says the same once more.
    """

    unwrap: Callable[[Json, Asked], tuple[Json, Asked]]
    wrap: Callable[[Written, Request, Target], Written]
    tokens: str
    kept: frozenset[str] | None = None
    cached: str = ""
    said: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    silent: frozenset[str] = frozenset()


def codec_of(conversation: Codec, envelope: Envelope) -> Codec[Request, Count]:
    """The codec of the counts of what that codec says."""
    name = conversation.name

    def read_request(body: Json, asked: Asked) -> Request:
        return conversation.read_request(*envelope.unwrap(body, asked))

    def write_request(request: Request, target: Target, losses: Losses) -> Written:
        ours = request.own is not None and request.own.format == name
        found = Losses()
        written = conversation.write_request(request if ours else _counted(request), target, found)
        for loss in found:
            if loss.path not in UNASKED:
                losses.add(loss.severity, loss.path, loss.reason)
        if envelope.kept is not None:
            own = request.own if ours else None
            kept = envelope.kept.union(own.fields if own else (), (own.silent or ()) if own else ())
            written.body = {key: value for key, value in written.body.items() if key in kept}
        return envelope.wrap(written, request, target)

    def read_reply(body: Json) -> Count:
        tokens = body.pop(envelope.tokens, None)
        if type(tokens) is not int or tokens < 0:
            raise Malformed(envelope.tokens, "it is no count of tokens")
        cached = body.get(envelope.cached)
        if type(cached) is int:
            del body[envelope.cached]
        silent = {key: body.pop(key) for key in (*envelope.said, *envelope.silent) if key in body}
        return Count(name, tokens, cached if type(cached) is int else None, Own(name, body, silent=silent))

    def write_reply(count: Count, client: Client[Request], losses: Losses) -> Json:
        body: Json = {envelope.tokens: count.tokens}
        if count.cached is not None and envelope.cached:
            body[envelope.cached] = count.cached
        if count.own is not None and count.own.format == name:
            return {**body, **count.own.fields, **(count.own.silent or {})}
        losses.own(count.own, "", name)
        return {**envelope.said, **body}

    return Codec(
        name=name,
        read_request=read_request,
        write_request=write_request,
        read_reply=read_reply,
        write_reply=write_reply,
        read_error=conversation.read_error,
        write_error=conversation.write_error,
        status_for=conversation.status_for,
        wire="none",
    )


def _counted(request: Request) -> Request:
    """What of a request counts."""
    return replace(
        request,
        max_tokens=None,
        sampling=Sampling(),
        stop=[],
        answers=None,
        stream=False,
        include_usage=None,
        user=None,
        metadata=None,
        service_tier=None,
    )


def elsewhere(asked: Asked, path: str) -> Asked:
    """The same at another path, without the query of the endpoint that counts."""
    return Asked(path, "", asked.headers)
