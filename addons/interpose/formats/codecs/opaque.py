"""Opaque state on its way through a client of another format: packed into the opaque field that the format has.

What is packed says whose it is, so that it goes back to its origin alone. A client sees text that it may not read, and
which it sends back as it would send back its own provider's.
"""

from __future__ import annotations

import base64
import binascii

from interpose.ir import Opaque

from .codec import encoded, loads

# Tells ours from a provider's own: no provider's state begins so.
PREFIX = "interpose.1."


def pack(opaque: Opaque) -> str:
    """As text of base64's URL alphabet behind PREFIX."""
    told = [opaque.format, opaque.kind, opaque.payload, opaque.id, opaque.model]
    return PREFIX + base64.urlsafe_b64encode(encoded(told)).decode().rstrip("=")


def unpack(text: str) -> Opaque | None:
    """What was packed; None for what is not ours, or was damaged on the way."""
    if not text.startswith(PREFIX):
        return None
    packed = text[len(PREFIX) :]
    try:
        told = loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)).decode())
        format_, kind, payload, id_, model = told
    except (binascii.Error, ValueError, TypeError):
        return None
    if not all(isinstance(text, str) for text in (format_, kind, payload)):
        return None
    if not all(text is None or isinstance(text, str) for text in (id_, model)):
        return None
    return Opaque(format_, kind, payload, id_, model)
