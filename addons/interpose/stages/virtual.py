"""Which virtual key has a value: one that the rules list, or one that was issued. Whether it is good is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from interpose.rules.compiled import VIRTUAL_PREFIX, ClientKey, Rules


def found(key: str, rules: Rules, issued: Callable[[str], ClientKey | None]) -> ClientKey | None:
    """The virtual key of that value. One that the rules list is revoked if its revocation was issued. Only what looks
    like ours, or is listed, is looked for among those that were issued.
    """
    listed = rules.clients.find(key)
    if listed is None and not key.startswith(VIRTUAL_PREFIX):
        return None
    other = issued(key)
    if listed is None:
        return other
    return replace(listed, revoked=True) if other is not None and other.revoked else listed
