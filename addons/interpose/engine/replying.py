"""What a client is answered: the provider's reply with our headers, one that is converted, or one of our own."""

from __future__ import annotations

from http import HTTPStatus

from interpose.call import Headers, Reply, without
from interpose.errors import Refusal
from interpose.formats import FORMATS
from interpose.formats.codecs import Client
from interpose.stages import STAGES
from interpose.stages.claim import matched
from interpose.stages.draft import Attempt, Head, Plan
from interpose.stages.translation import WHOLE_LIMIT, Return, Translation, summary
from interpose.upstream.hops import homeward

from .bodies import Flowing, Local, Translated, WithoutUsage
from .exchange import Exchange
from .gate import headers as limit_headers
from .held import Answer
from .legs import Leg


async def begin(exchange: Exchange, leg: Leg) -> Reply:
    """The upstream's head has come: its reply, with our headers where the rules had a hand in the call."""
    assert exchange.plan is not None
    assert leg.reply is not None
    exchange.leg, upstream, trip = leg, leg.reply, leg.trip
    exchange.status = upstream.status
    head = Head(upstream.status, upstream.reason, homeward(exchange.call, upstream.headers))
    for stage in reversed(STAGES):
        head = stage.receive(head, trip)
    gauge = trip.gauge
    if upstream.session is not None:
        upstream.session.carry(exchange.spoken(gauge))
    if trip.attempt.translation is not None:
        return await _converted(exchange, upstream, head, trip.attempt.translation)
    headers = _limited(exchange, head.headers)
    if exchange.plan.acts:
        headers = (*headers, *_marks(exchange, exchange.plan, trip.attempt))
    streams = gauge is not None and gauge.streaming
    body = Flowing(exchange, upstream)
    if streams and trip.attempt.asks_usage:
        # Its length is no longer what it was.
        headers = without(headers, frozenset((b"content-length",)))
        return Reply(head.status, head.reason, headers, WithoutUsage(body), streams)
    return Reply(head.status, head.reason, headers, body, streams)


async def _converted(exchange: Exchange, upstream: Answer, head: Head, translation: Translation) -> Reply:
    """The reply in the client's format: as it comes if it streams, else whole.

    Raises UpstreamFailure and Refusal while the client has had nothing of it.
    """
    assert exchange.plan is not None
    assert exchange.trip is not None
    assert exchange.plan.facts is not None
    client = Client(
        translation.request, exchange.plan.facts.model or translation.model, exchange.id, int(exchange.clock.now())
    )
    back = Return(translation, head.status, head.headers, client=client)
    if back.streams:
        headers = (*_limited(exchange, back.headers()), *_marks(exchange, exchange.plan, exchange.trip.attempt))
        secret = exchange.trip.secret
        masked = secret.masked_bytes if secret is not None else bytes
        body = Translated(Flowing(exchange, upstream), back, masked)
        return Reply(back.status, phrase(back.status), headers, body, stream=True)
    pieces, size = [], 0
    async for chunk in upstream:
        exchange.arrived(chunk)
        pieces.append(chunk)
        size += len(chunk)
        if size > WHOLE_LIMIT:
            raise Refusal(502, "upstream_reply_too_large", "The reply is too large to convert.", outcome="error")
    data = back.whole(b"".join(pieces))
    if exchange.trip.secret is not None:
        # These bytes are ours, not the provider's: a key that it echoes goes no further.
        data = exchange.trip.secret.masked_bytes(data)
    headers = (
        *_limited(exchange, back.headers()),
        (b"content-length", str(len(data)).encode()),
        *_marks(exchange, exchange.plan, exchange.trip.attempt),
    )
    return Reply(back.status, phrase(back.status), headers, Local(exchange, data, "ok"))


def refuse(exchange: Exchange, refusal: Refusal) -> Reply:
    """Our own answer, in the client's format; an upstream that has answered already is hung up on."""
    exchange.hang_up()
    exchange.refused(refusal)
    if exchange.trip is not None and exchange.trip.secret is not None:
        # No text of ours quotes an upstream; this is the second lock on an echoed credential.
        refusal.message = exchange.trip.secret.masked(refusal.message)
    error = FORMATS[_format(exchange)].error(refusal)
    headers: Headers = (
        *error.headers,
        *refusal.headers,
        *without(_limited(exchange, ()), frozenset(name for name, _ in refusal.headers)),
        (b"content-length", str(len(error.body)).encode()),
        (b"x-interpose-id", exchange.id.encode()),
    )
    # To a HEAD, whose length alone is told: its connection goes on.
    body = b"" if exchange.call.method == "HEAD" else error.body
    return Reply(refusal.status, HTTPStatus(refusal.status).phrase, headers, Local(exchange, body, refusal.outcome))


def answer(exchange: Exchange, data: bytes, headers: Headers) -> Reply:
    """An answer of our own that is no refusal: JSON. A HEAD is told its length alone."""
    exchange.status = 200
    told: Headers = (
        *_limited(exchange, ((b"content-type", b"application/json"),)),
        (b"content-length", str(len(data)).encode()),
        (b"x-interpose-id", exchange.id.encode()),
        *headers,
    )
    return Reply(200, phrase(200), told, Local(exchange, b"" if exchange.call.method == "HEAD" else data, "ok"))


def _limited(exchange: Exchange, headers: Headers) -> Headers:
    """With our limits in the place of the provider's, where there are any: they are the client's to mind."""
    standings = [*exchange.minded, *(standing for granted in exchange.granted() for standing in granted.standings)]
    if not standings or exchange.plan is None or exchange.plan.facts is None:
        return headers
    ours = limit_headers(standings, exchange.plan.facts.format, exchange.clock.now())
    return (*without(headers, frozenset(name for name, _ in ours)), *ours)


def _format(exchange: Exchange) -> str:
    """The client's format: what the plan found, else what is spoken at that host and path, planned or not."""
    if exchange.plan is not None and exchange.plan.facts is not None:
        return exchange.plan.facts.format
    row = exchange.inforce.territory.row_of(exchange.call)
    return matched(exchange.call, row).format if row is not None else "openai"


def _marks(exchange: Exchange, plan: Plan, attempt: Attempt) -> Headers:
    """The headers that say what was done: contract, "Headers we add to replies"."""
    said = {
        b"x-interpose-id": exchange.id,
        b"x-interpose-route": plan.route,
        b"x-interpose-provider": attempt.provider.name if attempt.provider else None,
        b"x-interpose-model": attempt.model,
        b"x-interpose-losses": summary(attempt.translation.all_losses()) if attempt.translation else None,
    }
    return tuple((name, printable(value)) for name, value in said.items() if value)


def phrase(status: int) -> str:
    """The reason phrase of a status; Anthropic's 529 is in no register."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def printable(text: str) -> bytes:
    """A header value of visible ASCII: a model name comes from the client and must not be able to end the line."""
    return "".join(character if " " <= character <= "~" else "?" for character in text).encode("ascii")[:256]
