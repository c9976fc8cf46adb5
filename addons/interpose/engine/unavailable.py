"""What a client of the gateway is told of a provider that cannot answer: in our words, whatever the provider's were.

It does not know which provider that was, so the pages and numbers of each would say nothing to it: down is a 503, too
slow a 504, and a key that a provider refuses is not the client's. Which attempts there were stands in the record. At
interception a client talks to its provider, and gets what that has said.
"""

from __future__ import annotations

import math

from interpose.attempts import patience
from interpose.call import Headers, Reply
from interpose.errors import Refusal
from interpose.stages.conversion import runs_a_model
from interpose.upstream.client import UpstreamFailure

from .exchange import Exchange

UNAVAILABLE = "provider_unavailable"
# What a failure of the upstream leg is called here. The others are the call's own fault, and keep their names.
CODES = {502: (503, UNAVAILABLE), 504: (504, "provider_timeout")}
# https://github.com/openai/openai-python/blob/main/src/openai/_base_client.py: no use in sending it again.
FINAL = (b"x-should-retry", b"false")


def of_failure(failure: UpstreamFailure, exchange: Exchange) -> Refusal:
    """The refusal of a call whose last attempt came to nothing."""
    status, code, said = failure.status, failure.code, str(failure)
    if exchange.call.at_gateway:
        status, code = CODES.get(status, (status, code))
        if exchange.trip is not None and (provider := exchange.trip.attempt.provider) is not None:
            # Where that is, is the operator's business.
            said = said.replace(str(provider.origin), provider.name)
    return Refusal(status, code, f"{said}{tried(exchange)}.", outcome="error")


def of_reply(reply: Reply, exchange: Exchange, now: float) -> Refusal | None:
    """The refusal that takes the place of a provider's answer; None if that is the client's. `now` is Unix time."""
    if not exchange.call.at_gateway or exchange.trip is None:
        return None
    attempt = exchange.trip.attempt
    name = attempt.provider.name if attempt.provider is not None else str(attempt.url.origin)
    if reply.status == 401 and attempt.injection is not None:
        return Refusal(
            503,
            UNAVAILABLE,
            f"{name} does not accept the credential that is configured for it. Your key is good: tell whoever runs "
            "this gateway.",
            outcome="error",
            headers=(FINAL,),
        )
    if 300 <= reply.status < 400 and runs_a_model(exchange.trip.facts):
        # A client that followed it would take its key to a stranger.
        return Refusal(
            503,
            UNAVAILABLE,
            f"{name} answers {reply.status} {reply.reason}".rstrip()
            + ": it wants to be called elsewhere, where nobody is sent. Tell whoever runs this gateway.",
            outcome="error",
            headers=(FINAL,),
        )
    if reply.status < 500:
        return None
    return Refusal(
        503,
        UNAVAILABLE,
        f"{name} answers {reply.status} {reply.reason}".rstrip() + f"{tried(exchange)}. Try again later.",
        outcome="error",
        headers=waiting(patience.told(reply.headers, b"", now)),
    )


def waiting(seconds: float | None) -> Headers:
    """When to come back, if that is known."""
    return () if seconds is None else ((b"retry-after", str(max(1, math.ceil(seconds))).encode()),)


def tried(exchange: Exchange) -> str:
    """How often it was tried, if more than once."""
    return f", after {exchange.sends} attempts" if exchange.sends > 1 else ""
