"""Last stage before the wire: which key goes where.

`TABLE` is the design's table, row by row, and parametrises the tests. A credential is bound to the exact origin of
its provider's base_url; where it is injected, every key header of the client's is stripped. So they are for a provider
that needs no key (`credential: none`), whatever the client sent: the table is of all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum, auto

import orjson

from interpose.call import Headers, Url, header
from interpose.errors import Refusal
from interpose.formats.aws import signed
from interpose.formats.hosts import lookup
from interpose.formats.keys import ClientKey, Placement, place, placement, strip
from interpose.rules.compiled import Provider
from interpose.rules.secrets import CredentialSource
from interpose.secret import AwsKeys
from interpose.wire.error import WireError

from .content import plain_body
from .draft import Attempt, Draft, Head, Injection, KeyKind, Request, Stage, Trip


class Fate(Enum):
    """What becomes of the client's key on an attempt."""

    INJECT = auto()  # the provider's credential in its place
    KEEP = auto()  # the client's own, untouched
    REFUSE = auto()  # answered locally: the key must not leave, and there is nothing to send in its stead


# (kind of key, the provider has a credential, the attempt goes to the addressed origin) -> fate.
# Invalid virtual keys and `clients.required` were refused by the clients stage.
TABLE: dict[tuple[KeyKind, bool, bool], Fate] = {
    (KeyKind.VIRTUAL, True, True): Fate.INJECT,
    (KeyKind.VIRTUAL, True, False): Fate.INJECT,
    (KeyKind.VIRTUAL, False, True): Fate.REFUSE,
    (KeyKind.VIRTUAL, False, False): Fate.REFUSE,
    (KeyKind.PLACEHOLDER, True, True): Fate.INJECT,
    (KeyKind.PLACEHOLDER, True, False): Fate.INJECT,
    (KeyKind.PLACEHOLDER, False, True): Fate.REFUSE,
    (KeyKind.PLACEHOLDER, False, False): Fate.REFUSE,
    (KeyKind.OWN, True, True): Fate.INJECT,
    (KeyKind.OWN, True, False): Fate.INJECT,
    (KeyKind.OWN, False, True): Fate.KEEP,
    (KeyKind.OWN, False, False): Fate.REFUSE,
    (KeyKind.NONE, True, True): Fate.INJECT,
    (KeyKind.NONE, True, False): Fate.INJECT,
    (KeyKind.NONE, False, True): Fate.KEEP,
    (KeyKind.NONE, False, False): Fate.KEEP,
}


class Credentials(Stage):
    """Decides the fate of the client's key for each attempt; puts the credential in at the last moment."""

    name = "credentials"

    def decide(self, draft: Draft) -> None:
        found: list[Attempt] = []
        for attempt in draft.attempts:
            try:
                found += self._keyed(draft, attempt)
            except Refusal as refusal:
                draft.leave_out(attempt.provider, attempt.model, refusal)
        # Whoever rests comes last, in the same order.
        draft.attempts = sorted(found, key=lambda attempt: _rests(draft, attempt))
        draft.any_left()

    def _keyed(self, draft: Draft, attempt: Attempt) -> list[Attempt]:
        """The attempt with what becomes of the client's key: one for each credential of a pool."""
        assert draft.match is not None
        provider = attempt.provider
        name = provider.name if provider is not None else None
        if draft.virtual is not None and not draft.virtual.may_go_to(name):
            raise Refusal(
                403,
                "provider_not_permitted",
                f"The key of {draft.virtual.name} is not good for {name or draft.call.url.origin.host}.",
            )
        if provider is not None and provider.keyless:
            draft.note(f"{provider.name} needs no key: the client's are left out")
            return [replace(attempt, stripped=True)]
        sources = provider.credentials if provider is not None else ()
        if sources and not draft.match.known and draft.route is None:
            # An endpoint that nobody has heard of gets no credential unless a route says so.
            draft.note("unknown endpoint: no credential is injected without a route")
            sources = ()
        addressed = draft.call.addressed or draft.call.url.origin
        fate = TABLE[draft.key_kind, bool(sources), attempt.url.origin == addressed]
        if fate is Fate.REFUSE:
            raise nothing_to_send(draft, provider)
        if fate is Fate.KEEP:
            draft.note("the client's headers stay as they are")
            return [attempt]
        assert provider is not None
        if len(sources) > 1:
            # Each call begins with another one.
            first = int(draft.view.rng() * len(sources))
            sources = (*sources[first:], *sources[:first])
        draft.note(f"the client's keys are replaced by {', then '.join(source.name for source in sources)}")
        # How a client of another format sends its key says nothing of how this provider wants it.
        found = draft.key if attempt.translation is None else None
        return [replace(attempt, injection=Injection(source, placed(source, provider, found))) for source in sources]

    async def send(self, request: Request, trip: Trip) -> Request:
        """The request with its credential.

        Raises SecretError if that cannot be had, Refusal if the request's origin is not the one that it is bound to.
        """
        attempt = trip.attempt
        if attempt.stripped:
            headers, url = strip(request.headers, request.url)
            return Request(request.method, url, headers, request.body)
        if attempt.injection is None:
            return request
        provider = attempt.provider
        if provider is None or request.url.origin != provider.origin:
            raise Refusal(
                500, "credential_not_bound", "A credential was about to leave for another origin than its own."
            )
        trip.secret = secret = await trip.resolve(attempt.injection.source)
        if isinstance(secret, AwsKeys):
            headers, url = signature(request, secret, attempt.injection.source)
        else:
            headers, url = place(request.headers, request.url, secret.reveal(), attempt.injection.placement)
        return Request(request.method, url, headers, request.body)

    def receive(self, head: Head, trip: Trip) -> Head:
        """The head without a credential that it echoes, in its reason phrase or its headers."""
        if trip.secret is None:
            return head
        masked = trip.secret.masked_bytes
        kept = tuple((masked(name), masked(content)) for name, content in head.headers)
        return Head(head.status, trip.secret.masked(head.reason), kept)


def _rests(draft: Draft, attempt: Attempt) -> bool:
    lane = attempt.lane
    seconds = draft.view.resting(lane) if lane is not None else 0.0
    if seconds and lane is not None:
        what = lane.source.name if lane.source is not None else "the client's own key"
        draft.note(f"{lane.provider} with {what} rests for {seconds:.0f} s more: it comes last")
    return seconds > 0


# A cloud's credential goes where the cloud takes it, whatever the provider's keys do.
_CLOUDS: Mapping[str, Placement] = {"aws": "sigv4", "google": "bearer"}


def placed(source: CredentialSource, provider: Provider, key: ClientKey | None) -> Placement:
    there = lookup(provider.origin.host, provider.origin.port)
    return _CLOUDS.get(source.kind) or placement(provider.format, provider.dialect, there, key)


def signature(request: Request, keys: AwsKeys, source: CredentialSource) -> tuple[Headers, Url]:
    """Signs what is sent, after everything that changes it. Raises Refusal for a body that streams through: its hash
    would have to go before it.
    """
    if not isinstance(request.body, bytes):
        raise Refusal(
            413, "body_not_signable", "The body is larger than 8 MiB: it streams through, and cannot be signed for AWS."
        )
    _, region = source.args
    return signed(request.method, request.url, request.headers, request.body, keys, region)


def nothing_to_send(draft: Draft, provider: Provider | None) -> Refusal:
    """The 500 of the table: which provider lacks a credential, and what to write.

    Unless the client is at fault: a call that names no model went past the routes that ask for one, and SDKs try a 500
    again.
    """
    if provider is None:
        if (fault := nameless(draft)) is not None:
            return fault
        return Refusal(
            500,
            "provider_without_credential",
            f"The client sent a {draft.key_kind} key for {draft.call.url.origin.host}, and the rules configure no "
            "provider there. Add one with a credential; the client's key was not forwarded.",
        )
    if provider.credential is not None:
        return Refusal(
            403,
            "unknown_endpoint",
            f"{draft.call.url.path} is no known endpoint of {provider.name}, so no credential is sent there unless a "
            f"route matches it; the client's {draft.key_kind} key was not forwarded.",
        )
    return Refusal(
        500,
        "provider_without_credential",
        f"The provider {provider.name} has no credential (providers.{provider.name}.credential), and the client's "
        f"{draft.key_kind} key may not be sent to it.",
    )


def nameless(draft: Draft) -> Refusal | None:
    """What is wrong with a body by whose model the rules would have routed the call; None if it names one."""
    facts, call = draft.facts, draft.call
    assert facts is not None
    judged = bool(draft.rules.models) or any(route.match.model for route in draft.rules.routes)
    if facts.model is not None or facts.wire == "none" or not judged:
        return None
    if not isinstance(call.body, bytes):
        return Refusal(
            413,
            "body_not_readable",
            "The rules route this call by its model, which stands in a body that is larger than 8 MiB and streams "
            "through. Send a smaller body.",
        )
    kind = header(call.headers, b"content-type") or b""
    if kind.lower().lstrip().startswith(b"multipart/"):
        return Refusal(400, "missing_model", "The form names no model, or several.", param="model")
    try:
        orjson.loads(plain_body(call))
    except WireError as error:
        return Refusal(400, "body_not_readable", f"The body cannot be read: {error}.")
    except orjson.JSONDecodeError as error:
        return Refusal(400, "invalid_json", f"The body is not JSON: {error}.")
    return Refusal(400, "missing_model", "The body names no model: send one.", param="model")
