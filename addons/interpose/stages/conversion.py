"""Fourth stage: what has to change so that the chosen provider understands the call?

Same format: nothing but the model's name, spliced into the bytes where it stands, and the URL. Between formats: a
`Translation`, which does the way back, too.
"""

from __future__ import annotations

from collections.abc import Mapping

from interpose.call import Call, Url, header, upgrades, without
from interpose.errors import Refusal
from interpose.formats import same_family
from interpose.formats.capabilities import capabilities_of
from interpose.formats.codecs import Target, between
from interpose.formats.endpoints import Match, replace_model, suspicious
from interpose.rules.compiled import Provider
from interpose.rules.conversions import OTHER_URLS
from interpose.rules.facts import Facts
from interpose.wire.error import WireError
from interpose.wire.jsonedit import replace as replace_in_json
from interpose.wire.multipart import replace_field

from .claim import plain_body
from .draft import Attempt, Draft, Request, Stage, Trip
from .translation import convert_request, summary

# The endpoints whose calls are conversations.
CONVERTED = frozenset(("chat",))


class Conversion(Stage):
    """Turns a route into the URL and the edits of an attempt; carries out the edits."""

    name = "conversion"

    def decide(self, draft: Draft) -> None:
        call, provider = draft.call, draft.provider
        if provider is None:
            draft.attempts.append(Attempt(call.url))
            return
        assert draft.facts is not None
        assert draft.match is not None
        if (flaw := suspicious(call.url.target)) is not None:
            raise Refusal(403, "suspicious_path", f"The path contains {flaw}, which rules cannot judge: send it plain.")
        elsewhere = provider.origin != call.url.origin
        if elsewhere and not draft.match.known:
            raise Refusal(
                403, "unknown_endpoint", f"{call.url.path} is no known endpoint; it can only go to the host it names."
            )
        if elsewhere and not same_family(draft.match.format, provider.format, draft.match.endpoint):
            draft.attempts.append(translated(draft, provider))
            return
        url = provider_url(draft, provider) if elsewhere else call.url
        asked, wanted = draft.facts.model, draft.route.model if draft.route else None
        edits: dict[str, object] = {}
        body: bytes | None = None
        if wanted is None or wanted == asked or not (runs_a_model(draft.facts) or upgrades(call.headers)):
            draft.attempts.append(Attempt(url, provider, asked))
            return
        if draft.match.model_span is not None:
            url = model_in_path(url, call.url, draft.match, wanted)
        elif upgrades(call.headers):
            raise Refusal(
                400,
                "model_in_messages",
                "The rules replace the model of this call, but a WebSocket names its model in its messages, which are "
                "not changed. Match it by a route that leaves the model alone.",
                param="model",
            )
        elif isinstance(call.body, bytes):
            edits["model"] = wanted
            body = edited(call, edits)
        else:
            raise Refusal(
                413,
                "body_not_editable",
                "The rules replace the model of this call, but its body is larger than 8 MiB and streams through. "
                "Send a smaller body, or match it by a route that leaves the model alone.",
                param="model",
            )
        draft.note(f"model {asked} becomes {wanted}, in place")
        draft.attempts.append(Attempt(url, provider, wanted, edits, body))

    async def send(self, request: Request, trip: Trip) -> Request:
        """The request with the body that the plan has edited; without edits, every byte as it came."""
        if trip.attempt.body is None:
            return request
        if trip.attempt.translation is not None:
            headers = trip.attempt.translation.headers(trip.call)
            return Request(request.method, request.url, headers, trip.attempt.body)
        headers = request.headers
        if header(headers, b"content-encoding") is not None:
            headers = without(headers, frozenset((b"content-encoding",)))
        return Request(request.method, request.url, headers, trip.attempt.body)


def translated(draft: Draft, provider: Provider) -> Attempt:
    """The call in the provider's format.

    Raises Refusal where there is no conversion, where the body cannot be converted, and for losses that the rules
    forbid: all of it is a 400, for SDKs try a 500 again, and this one will not get better.
    """
    call, match, facts = draft.call, draft.match, draft.facts
    assert match is not None
    assert facts is not None
    converted = match.endpoint in CONVERTED and not upgrades(call.headers)
    codecs = between(match.wire, provider.format) if converted else None
    if codecs is None or provider.dialect in OTHER_URLS:
        spoken = f"{provider.format} in the URL style of {provider.dialect}" if provider.dialect else provider.format
        raise Refusal(
            400,
            "conversion_not_supported",
            f"The rules send this {match.format} {match.endpoint} call to {provider.name}, which speaks {spoken}: this "
            "version of interpose has no such conversion.",
        )
    if not isinstance(call.body, bytes):
        raise Refusal(
            413, "body_not_convertible", "The body is larger than 8 MiB: it streams through, and cannot be converted."
        )
    try:
        body = plain_body(call)
    except WireError as error:
        raise Refusal(400, "body_not_readable", f"The body cannot be read: {error}.") from None
    wanted = draft.route.model if draft.route is not None else None
    model = wanted or facts.model or ""
    translation = convert_request(
        call,
        body,
        match.api_path,
        codecs,
        Target(model, capabilities_of(model, draft.rules.capabilities)),
        draft.rules.losses,
        provider.name,
    )
    written = translation.written
    draft.note(f"converted from {codecs[0].name} to {codecs[1].name}: {summary(translation.losses) or 'no losses'}")
    url = Url(provider.origin, provider.base_path + written.path + (f"?{written.query}" if written.query else ""))
    return Attempt(url, provider, translation.model, {}, translation.body, translation)


def runs_a_model(facts: Facts) -> bool:
    """Whether a call makes a provider run the model that it names: only there a route's model is put in."""
    return facts.method == "POST" and facts.wire != "none"


def edited(call: Call, edits: Mapping[str, object]) -> bytes:
    """The call's body with those top-level fields replaced: in a JSON object, or in a multipart form.

    Raises Refusal if the body is neither, so that no body is sent whose model the rules could not replace.
    """
    kind = header(call.headers, b"content-type") or b""
    try:
        body = plain_body(call)
        if kind.lower().lstrip().startswith(b"multipart/"):
            form: bytes | None = body
            for name, value in edits.items():
                form = replace_field(form or b"", kind, name.encode(), str(value).encode())
            if form is None:
                raise WireError("the form has no such field")
            return form
        return replace_in_json(body, edits)
    except WireError as error:
        raise Refusal(
            400,
            "body_not_editable",
            f"The rules replace the model of this call, which cannot be done in this body: {error}.",
            param="model",
        ) from None


def provider_url(draft: Draft, provider: Provider) -> Url:
    """The call's endpoint at the provider: its base, the path within the API, the query as it came."""
    call, match = draft.call, draft.match
    assert match is not None
    for dialect in (provider.dialect, draft.host.dialect if draft.host else None):
        if dialect in OTHER_URLS:
            raise Refusal(
                400,
                "dialect_not_supported",
                f"Sending a call of {call.url.origin.host} to {provider.name} needs the URL style of {dialect}, which "
                "is not supported in this version of interpose.",
            )
    query = call.url.query
    return Url(provider.origin, provider.base_path + match.api_path + (f"?{query}" if query else ""))


def model_in_path(url: Url, original: Url, match: Match, model: str) -> Url:
    """The URL with the model in its path replaced, whatever stands before and behind it."""
    assert match.model_span is not None
    start = match.model_span[0]
    tail = original.target[start:]
    if not url.target.endswith(tail):
        raise Refusal(500, "model_not_replaceable", "The model stands in a part of the path that the provider lacks.")
    try:
        swapped = replace_model(original.target, match, model)
    except ValueError as error:
        raise Refusal(500, "model_not_replaceable", f"{error}.") from None
    return Url(url.origin, url.target[: len(url.target) - len(tail)] + swapped[start:])
