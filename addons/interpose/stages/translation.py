"""A call between two formats: the request as the provider takes it, and the way back, whole or piece by piece.

Deciding makes a `Translation`, which is pure; the exchange uses it on the reply. What the codecs say of losses is
judged here by the rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from interpose.call import Call, Header, Headers, header
from interpose.errors import Refusal
from interpose.formats import ratelimits, toolnames
from interpose.formats.codecs import Asked, Client, Codec, Malformed, StreamReader, StreamWriter, Target, owner
from interpose.formats.codecs.codec import Json, Written, encoded, parsed
from interpose.formats.codecs.endings import Endings
from interpose.formats.conversions import Pair
from interpose.formats.meters import stream_kind
from interpose.formats.settings import located
from interpose.formats.toolnames import Names, restore, restored
from interpose.ir import Assembler, Failed, Losses, Own, Reply, events_of
from interpose.ir import Request as Conversation
from interpose.ir.losses import Loss, Severity
from interpose.rules.compiled import LossPolicy
from interpose.wire.coding import decoder
from interpose.wire.error import WireError

# What of a client's headers means the same to any provider; the rest is its own format's, or says how its body came.
KEPT = frozenset((b"user-agent", b"traceparent", b"tracestate", b"baggage", b"host"))
# A whole reply is held to be converted; none is near this.
WHOLE_LIMIT = 64 * 1024 * 1024
# How codecs mark requests for streams of another type than their format's: Gemini's without alt=sse in its URL is one
# JSON array, that of the first version of Cohere's chat consists of lines.
OTHER_STREAMS = {"alt:array": "application/json", "cohere:v1": "application/stream+json"}
# What a reply may be when it is decompressed.
DECODED_LIMIT = 256 * 1024 * 1024
LONGEST_WAIT = 86_400


class Wanted(Protocol):
    """What every request tells, whatever it asks for: a conversation, vectors, a list of models."""

    model: str
    stream: bool
    own: Own | None


@dataclass(slots=True)
class Translation:
    """One call's conversion. `written` is what goes to the provider, `losses` what that could not keep.

    The two codecs are of the same kind of call: `request` is what the client's has read, and the provider's writes.
    """

    client: Codec[Any, Any]
    provider: Codec[Any, Any]
    request: Wanted
    written: Written
    model: str
    losses: Losses
    returned: Losses = field(default_factory=lambda: Losses("reply"))
    names: Names = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return b"" if self.written.method == "GET" else encoded(self.written.body)

    def headers(self, asked: Headers) -> Headers:
        """The request's headers: what of the client's means the same anywhere, and what the format demands."""
        accept = self.provider.stream_type if self.request.stream else "application/json"
        sent = () if self.written.method == "GET" else ((b"content-type", b"application/json"),)
        return (
            *(pair for pair in asked if pair[0].lower() in KEPT),
            *sent,
            (b"accept", accept.encode()),
            # Nothing is to be decoded on the way back.
            (b"accept-encoding", b"identity"),
            *((name.encode(), value.encode()) for name, value in self.written.headers.items()),
        )

    def all_losses(self) -> list[Loss]:
        return [*self.losses, *self.returned]


def read(call: Call, body: bytes, client: Codec[Any, Any], path: str) -> Wanted:
    """What the client asks. Raises Refusal for a body that its own format would not take."""
    try:
        document = {} if call.method == "GET" else parsed(body)
    except ValueError as error:
        raise Refusal(400, "invalid_json", f"The body is not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise Refusal(400, "invalid_json", "The body must be a JSON object.")
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in call.headers}
    try:
        request: Wanted = client.read_request(document, Asked(path, call.url.query, headers))
    except Malformed as error:
        raise Refusal(400, "invalid_request", f"{error}.", param=error.path or None) from None
    return request


def judge(losses: Iterable[Loss], policy: LossPolicy, provider: str) -> None:
    """Raises Refusal for losses that the rules do not allow; an impossible one is never allowed."""
    bad = [loss for loss in losses if policy.forbids(loss.severity)]
    if not bad:
        return
    told = "; ".join(f"{loss.path}: {loss.reason}" for loss in bad[:5])
    more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
    impossible = any(loss.severity is Severity.IMPOSSIBLE for loss in bad)
    raise Refusal(
        400,
        "conversion_impossible" if impossible else "conversion_lossy",
        f"This call cannot be converted for {provider}{'' if impossible else ' without loss, which the rules forbid'}: "
        f"{told}{more}.",
        param=bad[0].path or None,
    )


def summary(losses: Iterable[Loss]) -> str:
    """The short form for a header: `approximated=1 dropped=2`, or "" if nothing was lost."""
    counts: dict[Severity, int] = {}
    for loss in losses:
        counts[loss.severity] = counts.get(loss.severity, 0) + 1
    return " ".join(f"{severity}={counts[severity]}" for severity in Severity if severity in counts)


def convert_request(call: Call, body: bytes, path: str, between: Pair, target: Target) -> Translation:
    """Raises Refusal for a malformed body; what is lost is for `judge`."""
    client, other = between
    request = read(call, body, client, path)
    losses = Losses()
    target = Target(target.model or request.model, target.capabilities, target.version)
    written, names = written_for(request, other, target, losses)
    return Translation(client, other, request, written, target.model, losses, names=names)


def written_for(request: Wanted, provider: Codec[Any, Any], target: Target, losses: Losses) -> tuple[Written, Names]:
    """The request as that codec writes it, and {name of a tool there: the client's}."""
    if not isinstance(request, Conversation):
        return provider.write_request(request, target, losses), {}
    names = toolnames.fit(request, provider.name, losses)
    written = provider.write_request(request, target, losses)
    toolnames.give_back(request, names)
    losses.relocate(lambda loss: located(loss, request.format))
    return written, names


class Return:
    """The way back of one call: what the provider answers, for the client. `status` and `headers` are those of its
    answer; `streams` says whether it is given piece by piece; `failed` is what failed of it, as far as it was read.
    """

    def __init__(self, translation: Translation, status: int, headers: Headers, *, client: Client[Any]) -> None:
        self._translation = translation
        self._status = status
        self._client = client
        content_type = (header(headers, b"content-type") or b"").decode("latin-1")
        self.streams = status < 400 and translation.request.stream and stream_kind(content_type) is not None
        self.status = translation.client.status_for(status) if status >= 400 else status
        self._headers = headers
        coding = (header(headers, b"content-encoding") or b"").decode("latin-1")
        # Asked for as it is; a provider that compresses all the same is read all the same.
        self._decoder = decoder(coding, limit=DECODED_LIMIT) if coding else None
        if coding and self._decoder is None:
            raise Refusal(
                502, "upstream_reply_malformed", "The reply's content-encoding is not known.", outcome="error"
            )
        self._reader: StreamReader | None = translation.provider.reader() if self.streams else None
        self._writer: StreamWriter | None = None
        # How the provider failed, once it is known: with an error, or in the middle of a stream.
        self.failed: Failed | None = None
        if status < 400 and translation.request.stream:
            self._writer = translation.client.writer(client, translation.returned)
        self._endings = Endings(owner(translation.client), translation.returned)

    def headers(self) -> Headers:
        """The client's headers: rate limits and retry hints in its dialect, the provider's request id, a content type
        of its format. After `whole`, for the body may say when to try again.
        """
        request = self._translation.request
        kind = "application/json"
        if self._writer is not None:
            marks = request.own.marks if request.own is not None else ()
            kind = next(
                (OTHER_STREAMS[mark] for mark in marks if mark in OTHER_STREAMS), self._translation.client.stream_type
            )
        found: list[Header] = [(b"content-type", kind.encode())]
        if self._writer is not None:
            found.append((b"cache-control", b"no-cache"))
        found += ratelimits.translate(
            self._headers, self._translation.provider.name, self._translation.client.name, self._client.now
        )
        hint = self.failed.retry_after if self.failed is not None else None
        if hint is not None and not any(name.startswith(b"retry-after") for name, _ in found):
            # Google's RetryInfo: https://google.aip.dev/193. No client waits for more than some minutes.
            found.append((b"retry-after", str(math.ceil(min(hint, LONGEST_WAIT))).encode()))
        return tuple(found)

    # Piece by piece

    def feed(self, data: bytes) -> bytes:
        assert self._reader is not None
        assert self._writer is not None
        events = self._reader.feed(self._plain(data))
        if events and isinstance(events[-1], Failed):
            self.failed = events[-1]
        self._endings.hear(events)
        return self._writer.write(restored(events, self._translation.names))

    def close(self) -> bytes:
        """The last bytes, once the provider has said all: its format's own end, or an error where it broke off."""
        assert self._reader is not None
        assert self._writer is not None
        events = self._reader.close()
        self._endings.hear(events)
        return self._writer.write(restored(events, self._translation.names)) + self._writer.finish()

    def _plain(self, data: bytes) -> bytes:
        return data if self._decoder is None else b"".join(self._decoder.feed_pieces(data))

    def fail(self, message: str) -> bytes:
        """The last bytes of a stream that broke off: an error in the client's grammar."""
        assert self._writer is not None
        return self._writer.write([Failed(message)])

    # Whole

    def whole(self, body: bytes) -> bytes:
        """A whole body. Raises Refusal for a success that is none of the provider's format."""
        translation = self._translation
        try:
            body = self._plain(body)
        except WireError as error:
            raise Refusal(
                502, "upstream_reply_malformed", f"The provider's reply cannot be read: {error}.", outcome="error"
            ) from None
        if self._status >= 400:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self._headers}
            self.failed = translation.provider.read_error(self._status, headers, body)
            return encoded(translation.client.write_error(self.failed))
        try:
            document: Json = parsed(body)
            if not isinstance(document, dict):
                raise Malformed("", "it is no JSON object")
            reply = translation.provider.read_reply(document)
            if translation.names and isinstance(reply, Reply):
                reply = restore(reply, translation.names)
            if self._writer is None:
                return encoded(translation.client.write_reply(reply, self._client, translation.returned))
            # Asked for a stream, and answered at once: told in its events.
            return self._writer.write(events_of(reply)) + self._writer.finish()
        except (ValueError, Malformed) as error:
            raise Refusal(
                502, "upstream_reply_malformed", f"The provider's reply cannot be read: {error}.", outcome="error"
            ) from None


def collected(provider: Codec, data: bytes) -> Assembler:
    """A whole stream as a reply: for `interpose convert`, and for a client that asked for none."""
    reader = provider.reader()
    assembler = Assembler(provider.name)
    for event in [*reader.feed(data), *reader.close()]:
        assembler.add(event)
    assembler.finish()
    return assembler
