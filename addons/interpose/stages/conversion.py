"""Fourth stage: what has to change so that the chosen provider understands the call?

Same format: nothing but the model's name, spliced into the bytes where it stands, and the URL. Between formats: a
`Translation`, which does the way back, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from interpose.call import Call, Url, header, upgrades, without
from interpose.errors import Refusal
from interpose.formats.capabilities import capabilities_of
from interpose.formats.codecs import Target
from interpose.formats.conversions import Asked, between
from interpose.formats.dialects import Address, as_it_is, locate
from interpose.formats.endpoints import Match, judged_path, replace_model, suspicious
from interpose.formats.hosts import below_root
from interpose.ir.losses import Loss
from interpose.rules.compiled import Provider
from interpose.rules.facts import Facts
from interpose.wire.error import WireError
from interpose.wire.jsonedit import parse
from interpose.wire.jsonedit import replace as replace_in_json
from interpose.wire.multipart import replace_field

from .content import plain_body
from .draft import Aim, Attempt, Draft, Request, Stage, Trip
from .translation import convert_request, judge, summary


class Conversion(Stage):
    """Turns each aim into the URL and the edits of an attempt; carries out the edits."""

    name = "conversion"

    def decide(self, draft: Draft) -> None:
        for aim in draft.aims:
            losses: list[Loss] = []
            try:
                attempt = asking(draft, self._attempt(draft, aim, losses))
            except Refusal as refusal:
                if not draft.attempts and draft.first_refusal is None:
                    draft.losses = losses
                draft.leave_out(aim.provider, aim.model, refusal)
            else:
                if not draft.attempts:
                    draft.losses = losses
                draft.attempts.append(attempt)
        draft.any_left()

    def _attempt(self, draft: Draft, aim: Aim, losses: list[Loss]) -> Attempt:
        """The call as it goes there; `losses` gets what that loses. Raises Refusal."""
        call, provider = draft.call, aim.provider
        if provider is None:
            return Attempt(call.url)
        assert draft.facts is not None
        assert draft.match is not None
        if (flaw := suspicious(call.url.target)) is not None:
            raise Refusal(403, "suspicious_path", f"The path contains {flaw}, which rules cannot judge: send it plain.")
        match, facts = draft.match, draft.facts
        if provider.origin == call.url.origin:
            return self._stay(draft, provider, facts, aim.model)
        if not match.known:
            if call.at_gateway and draft.route is not None:
                return self._pass_on(draft, provider, aim.model)
            raise Refusal(
                403, "unknown_endpoint", f"{call.url.path} is no known endpoint; it can only go to the host it names."
            )
        model_in_url = match.model if match.model_span is not None else None
        if as_it_is(match.format, match.wire, match.endpoint, model_in_url, address(provider)):
            return self._move(draft, provider, facts, aim.model)
        return translated(draft, provider, aim.model, losses)

    def _stay(self, draft: Draft, provider: Provider, facts: Facts, wanted: str | None) -> Attempt:
        """The call goes where it was addressed, perhaps with another model."""
        call, match = draft.call, draft.match
        assert match is not None
        asked = facts.model
        if wanted is None or wanted == asked or not (runs_a_model(facts) or upgrades(call.headers)):
            return Attempt(call.url, provider, asked)
        if match.model_span is not None:
            draft.note(f"model {asked} becomes {wanted}, in the URL")
            return Attempt(model_in_path(call.url, call.url, match, wanted), provider, wanted)
        return with_model(draft, provider, call.url, wanted)

    def _move(self, draft: Draft, provider: Provider, facts: Facts, wanted: str | None) -> Attempt:
        """The call goes to another host of its format, in the URLs of that."""
        call, match = draft.call, draft.match
        assert match is not None
        asked = facts.model
        replaced = wanted is not None and wanted != asked and (runs_a_model(facts) or upgrades(call.headers))
        model = wanted if replaced else asked
        to = address(provider)
        try:
            place = locate(to, match.api_path, call.url.query, model, stream=facts.stream is True)
        except LookupError as error:
            raise Refusal(
                400, "endpoint_not_there", f"{provider.name} cannot take this call: {error.args[0]}."
            ) from None
        url = Url(provider.origin, place.path + (f"?{place.query}" if place.query else ""))
        if match.model_span is not None and match.model_kept:
            if replaced and wanted is not None:
                draft.note(f"model {asked} becomes {wanted}, in the URL")
                url = model_in_path(url, call.url, match, wanted)
            return Attempt(url, provider, model)
        if model is not None and place.model_inside and (replaced or match.model_span is not None):
            # Also where the client's URL named the model and the provider's does not.
            return with_model(draft, provider, url, model)
        return Attempt(url, provider, model)

    def _pass_on(self, draft: Draft, provider: Provider, wanted: str | None) -> Attempt:
        """A call to the gateway of which nothing is known but that a route names a provider for it."""
        call, facts = draft.call, draft.facts
        assert facts is not None
        path = judged_path(call.url.target)
        if provider.format in ("openai", "openai-responses"):
            # Their base URLs end with the version.
            path = below_root(path)
        try:
            place = locate(address(provider), path, call.url.query, facts.model)
        except LookupError as error:
            raise Refusal(
                400, "endpoint_not_there", f"{provider.name} cannot take this call: {error.args[0]}."
            ) from None
        url = Url(provider.origin, place.path + (f"?{place.query}" if place.query else ""))
        if wanted is not None and wanted != facts.model:
            return with_model(draft, provider, url, wanted)
        return Attempt(url, provider, facts.model)

    async def send(self, request: Request, trip: Trip) -> Request:
        """The request with the body that the plan has edited; without edits, every byte as it came."""
        if trip.attempt.body is None:
            return request
        if trip.attempt.translation is not None:
            headers = trip.attempt.translation.headers(request.headers)
            return Request(trip.attempt.translation.written.method, request.url, headers, trip.attempt.body)
        headers = request.headers
        if header(headers, b"content-encoding") is not None:
            headers = without(headers, frozenset((b"content-encoding",)))
        if trip.attempt.asks_usage:
            # What the client did not ask for is taken out of the reply again, which has to be readable for that.
            headers = (*without(headers, frozenset((b"accept-encoding",))), (b"accept-encoding", b"identity"))
        return Request(request.method, request.url, headers, trip.attempt.body)


def asking(draft: Draft, attempt: Attempt) -> Attempt:
    """The attempt with the option that has a stream of OpenAI's tell its usage, where the route wants it and the client
    has not asked. https://platform.openai.com/docs/api-reference/chat/create#chat_create-stream_options
    """
    call, facts, match = draft.call, draft.facts, draft.match
    wanted = draft.route is not None and draft.route.asks_usage and attempt.translation is None
    if not wanted or facts is None or match is None or match.wire != "openai-chat" or facts.stream is not True:
        return attempt
    try:
        if attempt.provider is None or not isinstance(call.body, bytes):
            raise WireError("its body streams through")
        body = plain_body(call)
        given = (draft.document if draft.document is not None else parse(body)).get("stream_options")
        options = given if isinstance(given, dict) else {}
        if options.get("include_usage") is True:
            return attempt
        edits = {**attempt.edits, "stream_options": {**options, "include_usage": True}}
        edited_body = replace_in_json(body, edits)
    except WireError as error:
        draft.note(f"its usage is not asked for: {error}")
        return attempt
    draft.note("the stream is asked for its usage, which the client does not get")
    return replace(attempt, edits=edits, body=edited_body, asks_usage=True)


def with_model(draft: Draft, provider: Provider, url: Url, model: str) -> Attempt:
    """The call with that model in its body, spliced in where another stands. Raises Refusal where it cannot be."""
    call = draft.call
    if upgrades(call.headers):
        raise Refusal(
            400,
            "model_in_messages",
            "The rules replace the model of this call, but a WebSocket names its model in its messages, which are "
            "not changed. Match it by a route that leaves the model alone.",
            param="model",
        )
    if not isinstance(call.body, bytes):
        raise Refusal(
            413,
            "body_not_editable",
            "The rules replace the model of this call, but its body is larger than 8 MiB and streams through. "
            "Send a smaller body, or match it by a route that leaves the model alone.",
            param="model",
        )
    edits: dict[str, object] = {"model": model}
    assert draft.facts is not None
    draft.note(f"model {draft.facts.model} becomes {model}, in place")
    return Attempt(url, provider, model, edits, edited(call, edits))


def translated(draft: Draft, provider: Provider, wanted: str | None, losses: list[Loss]) -> Attempt:
    """The call in the provider's format; `losses` gets what that cannot keep.

    Raises Refusal where there is no conversion, where the body cannot be converted, and for losses that the rules
    forbid: all of it is a 400, for SDKs try a 500 again, and this one will not get better.
    """
    call, match, facts = draft.call, draft.match, draft.facts
    assert match is not None
    assert facts is not None
    model_in_url = match.model if match.model_span is not None else None
    to = address(provider)
    asked = Asked(match.format, match.wire, model_in_url)
    codecs = None if upgrades(call.headers) else between(match.endpoint, asked, call.method, match.api_path, to)
    if codecs is None:
        spoken = f"{provider.format} as {provider.dialect} has it" if provider.dialect else provider.format
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
    # A list of models is of no model, whatever the route sends calls to.
    model = (wanted if runs_a_model(facts) or facts.model else None) or facts.model or ""
    translation = convert_request(
        call,
        body,
        # The clouds' URLs of Claude say what its own API has in the body.
        match.api_path if match.model_kept or model_in_url is None else call.url.path,
        codecs,
        Target(model, capabilities_of(model, draft.rules.capabilities)),
    )
    losses += translation.losses
    judge(losses, draft.rules.losses, provider.name)
    written = translation.written
    draft.note(
        f"converted from {codecs.client.name} to {codecs.provider.name}: {summary(translation.losses) or 'no losses'}"
    )
    try:
        place = locate(to, written.path, written.query, translation.model, stream=translation.request.stream)
    except LookupError as error:
        raise Refusal(400, "endpoint_not_there", f"{provider.name} cannot take this call: {error.args[0]}.") from None
    url = Url(provider.origin, place.path + (f"?{place.query}" if place.query else ""))
    return Attempt(url, provider, translation.model or None, {}, translation.body, translation)


def runs_a_model(facts: Facts) -> bool:
    """Whether a call makes a provider run the model that it names, or count for it: only there a route's model is put
    in.
    """
    return facts.method == "POST" and (facts.wire != "none" or facts.endpoint == "count_tokens")


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


def address(provider: Provider) -> Address:
    return Address(
        provider.format, provider.dialect, provider.base_path, provider.api_version, responses=provider.responses
    )


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
