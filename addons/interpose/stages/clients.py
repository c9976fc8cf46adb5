"""Second stage: who is calling?

Sorts the key that the client sent into virtual, placeholder and own, and refuses one that is unknown, expired or
sent twice in two versions. Where the request has no virtual key, one that the client has told its proxy says who it is.
What a virtual key is good for is a stage of its own. What then happens to the key is decided by the credentials stage.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import orjson

from interpose.call import Call, Headers
from interpose.errors import Refusal
from interpose.formats.keys import KEY_HEADERS, client_keys
from interpose.formats.keys import ClientKey as SentKey
from interpose.rules.compiled import VIRTUAL_PREFIX, ClientKey
from interpose.rules.facts import Facts
from interpose.wire.error import WireError
from interpose.wire.jsonedit import spelled

from .claim import check_model
from .content import plain_body
from .draft import Draft, KeyKind, Stage
from .proxied import proxied
from .virtual import found

# The code of every key that is missing or not good, as OpenAI has it: what is wrong with it is said in words.
INVALID = "invalid_api_key"


class Clients(Stage):
    """Identifies the client by its key."""

    name = "clients"

    def decide(self, draft: Draft) -> None:
        keys = client_keys(draft.call.headers, draft.call.url)
        draft.keys = values = tuple([key.value for key in keys])
        if len(set(values)) > 1:
            raise Refusal(
                401,
                INVALID,
                "The request carries two different keys; send one, in one place.",
            )
        draft.key = key = keys[0] if keys else None
        if disguised(draft.call.headers, keys):
            raise Refusal(401, INVALID, "A key of ours stands in a header in a form that no client sends.")
        rules = draft.rules
        told = by_proxy(draft)
        if draft.view.client is not None:
            self._admit(draft, draft.view.client)
        elif key is None:
            draft.key_kind = KeyKind.NONE
        elif (known := found(key.value, rules, draft.view.issued)) is not None or key.value.startswith(VIRTUAL_PREFIX):
            if known is None:
                raise Refusal(401, INVALID, "The API key is not known here. Ask for a valid one.")
            self._admit(draft, known)
        elif key.value in rules.intercept.placeholders:
            draft.key_kind = KeyKind.PLACEHOLDER
        else:
            draft.key_kind = KeyKind.OWN
        draft.note(f"the client's key is {draft.key_kind}" + (f" ({draft.client})" if draft.client else ""))
        if told is not None and draft.virtual is None:
            self._identify(draft, told)
            draft.note(f"the client is {told.name}, by the key in its proxy's URL")
        if rules.clients.asked_at(draft.call.entrance) and draft.virtual is None:
            raise Refusal(
                401,
                INVALID,
                f"{'No API key came with the call' if key is None else 'The API key is not known here'}. A key issued "
                "here is required (clients.required): send it where the provider's key would go, or as Authorization: "
                "Bearer KEY or X-API-Key: KEY.",
            )
        if rules.judges_models or draft.call.at_gateway:
            # Not before: who has no key is told of that, and who has one how much it has left.
            check_model(draft)

    def _admit(self, draft: Draft, known: ClientKey) -> None:
        """The client is the one of that virtual key, if it is still good."""
        if known.revoked:
            raise Refusal(401, INVALID, f"The API key of {known.name} has been revoked. Ask for a new one.")
        if known.expired(draft.view.now):
            raise Refusal(401, INVALID, f"The API key of {known.name} has expired. Ask for a new one.")
        draft.key_kind = KeyKind.VIRTUAL
        self._identify(draft, known)

    def _identify(self, draft: Draft, known: ClientKey) -> None:
        """That is the client."""
        draft.client, draft.virtual = known.name, known
        assert draft.facts is not None
        draft.facts = replace(draft.facts, client=known.name)


class Permission(Stage):
    """Holds a virtual key against what it is good for: whatever is wrong with the request itself was said before."""

    name = "permission"

    def decide(self, draft: Draft) -> None:
        known = draft.virtual
        if known is None:
            return
        assert draft.facts is not None
        if known.judges_models:
            # A key that was issued stands in no rules, of which this was asked before.
            check_model(draft)
        if known.endpoints is not None and not known.endpoints.accepts(draft.facts.endpoint):
            raise Refusal(
                403, "endpoint_not_permitted", f"The key of {known.name} is not good for {draft.facts.endpoint} calls."
            )
        asked = [("model", draft.facts.model)]
        if known.models is not None:
            asked += [("models", each) for each in alternatives(draft.call)]
        for param, model in asked:
            if not permitted(known, replace(draft.facts, model=model)):
                raise Refusal(
                    403,
                    "model_not_permitted",
                    f"The key of {known.name} is good for some models only, and not for this call of "
                    f"{model or 'none that could be read'}.",
                    param=param,
                )


# Cheap to look for, and seldom there.
_ALTERNATIVES = re.compile(rb'"models"\s*:|\\u00', re.IGNORECASE)


def alternatives(call: Call) -> list[str | None]:
    """The models that a body names beside its own, for the provider to fall back to; None for what is no name:
    https://openrouter.ai/docs/guides/routing/model-fallbacks
    """
    if not isinstance(call.body, bytes):
        return []
    try:
        body = plain_body(call)
        values = [orjson.loads(value) for _, value in spelled(body, "models")] if _ALTERNATIVES.search(body) else []
    except (WireError, orjson.JSONDecodeError):
        return []
    named = [each for value in values if value is not None for each in (value if isinstance(value, list) else [value])]
    return [each if isinstance(each, str) else None for each in named]


def by_proxy(draft: Draft) -> ClientKey | None:
    """Who the client is by what it has told its proxy."""
    try:
        return proxied(draft.call.peer.login, draft.rules, draft.view.issued, draft.view.now)
    except Refusal as refusal:
        if draft.call.url.origin.scheme == "http":
            raise
        # Inside of a tunnel nobody expects to hear from a proxy.
        raise Refusal(401, refusal.code, refusal.message) from None


def disguised(headers: Headers, keys: Sequence[SentKey]) -> bool:
    """Whether a virtual key hides where it was not read as one: `Bearer Bearer vk-…` must not leave as an own key."""
    return any(
        VIRTUAL_PREFIX.encode() in value.lower() for name, value in headers if name.lower() in KEY_HEADERS
    ) and not all(key.value.startswith(VIRTUAL_PREFIX) for key in keys)


def permitted(key: ClientKey, facts: Facts) -> bool:
    """Whether a key that may be limited to some models is good for a call.

    A named model decides, where it is the one that runs. Without one, a limited key may read and list, but not post to
    what may run any model: an unknown endpoint, a batch, a body that hides its model, a session whose messages name it.
    """
    if key.models is None:
        return True
    if facts.model is not None and not (facts.method == "POST" and names_models_within(facts)):
        return key.may_use(facts.model)
    if facts.endpoint == "realtime":
        return False
    return facts.method in ("GET", "HEAD", "DELETE") or facts.endpoint in ("models", "files")


def names_models_within(facts: Facts) -> bool:
    """Whether such bodies name their models further inside, or in a file, so that a `model` on top says nothing."""
    if facts.endpoint == "batches":
        # Mistral's batches are of one model; Google's and Amazon's have it in the URL.
        return facts.format in ("openai", "openai-responses", "anthropic", "cohere")
    if facts.endpoint == "other":
        return "/evals/" in f"{facts.path}/"
    return facts.endpoint == "realtime" and facts.path.endswith("/client_secrets")
