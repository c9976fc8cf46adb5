"""Whose key a request carries that is no call to a provider: a page that not everybody is to see.

What calls are asked is more, and is asked by the `clients` stage.
"""

from __future__ import annotations

from collections.abc import Callable

from interpose.call import Call
from interpose.errors import Refusal
from interpose.formats.keys import client_keys
from interpose.rules.compiled import ClientKey, Rules

from .virtual import found


def holder(call: Call, rules: Rules, issued: Callable[[str], ClientKey | None], now: float) -> ClientKey:
    """The owner of the request's key, wherever it shows it. Raises Refusal: 401, and whatever `issued` raises."""
    keys = {key.value for key in client_keys(call.headers, call.url)}
    if not keys:
        raise _refusal("A key issued here is required: send it as Authorization: Bearer KEY or X-API-Key: KEY.")
    if len(keys) > 1:
        raise _refusal("The request carries two different keys; send one, in one place.")
    known = found(keys.pop(), rules, issued)
    if known is None:
        raise _refusal("The API key is not known here. Ask for a valid one.")
    if known.revoked:
        raise _refusal(f"The API key of {known.name} has been revoked. Ask for a new one.")
    if known.expired(now):
        raise _refusal(f"The API key of {known.name} has expired. Ask for a new one.")
    return known


def _refusal(message: str) -> Refusal:
    return Refusal(401, "invalid_api_key", message)
