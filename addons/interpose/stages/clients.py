"""Second stage: who is calling?

Sorts the key that the client sent into virtual, placeholder and own, and refuses one that is unknown, expired or
sent twice in two versions. What then happens to it is decided by the credentials stage.
"""

from __future__ import annotations

from dataclasses import replace

from interpose.errors import Refusal
from interpose.formats.keys import client_keys
from interpose.rules.compiled import VIRTUAL_PREFIX

from .draft import Draft, KeyKind, Stage


class Clients(Stage):
    """Identifies the client by its key."""

    name = "clients"

    def decide(self, draft: Draft) -> None:
        keys = client_keys(draft.call.headers, draft.call.url)
        if len({key.value for key in keys}) > 1:
            raise Refusal(
                401,
                "conflicting_keys",
                "The request carries two different keys; send one, in one place.",
            )
        draft.key = key = keys[0] if keys else None
        rules = draft.rules
        if key is None:
            draft.key_kind = KeyKind.NONE
        elif (known := rules.clients.find(key.value)) is not None or key.value.startswith(VIRTUAL_PREFIX):
            if known is None:
                raise Refusal(401, "invalid_api_key", "The API key is not known here. Ask for a valid one.")
            if known.expired(draft.view.now):
                raise Refusal(401, "expired_api_key", f"The API key of {known.name} has expired. Ask for a new one.")
            draft.key_kind = KeyKind.VIRTUAL
            draft.client = known.name
            assert draft.facts is not None
            if not known.may_use(draft.facts.model) and asks_for_a_model(draft.facts.endpoint):
                raise Refusal(
                    403,
                    "model_not_permitted",
                    f"The key of {known.name} may not use the model {draft.facts.model or '(none named)'}.",
                    param="model",
                )
            draft.facts = replace(draft.facts, client=known.name)
        elif key.value in rules.intercept.placeholders:
            draft.key_kind = KeyKind.PLACEHOLDER
        else:
            draft.key_kind = KeyKind.OWN
        draft.note(f"the client's key is {draft.key_kind}" + (f" ({draft.client})" if draft.client else ""))
        if rules.clients.required and draft.key_kind is not KeyKind.VIRTUAL:
            raise Refusal(
                401,
                "missing_api_key" if key is None else "invalid_api_key",
                "A key issued here is required (clients.required). Send it where the provider's key would go.",
            )


def asks_for_a_model(endpoint: str) -> bool:
    """Whether calls of that endpoint run a model: only those can be held to a key's list of models."""
    return endpoint not in ("models", "files", "batches", "other")
