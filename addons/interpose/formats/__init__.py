"""The wire formats by their contract names: how each says no, and which providers take which client's bytes.

Endpoints and hosts are in `endpoints` and `hosts`, keys in `keys`, the reading of usage in `meters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .failures import FORMAT_ROWS
from .failures import ErrorBody as ErrorBody
from .failures import Format as Format

FORMATS: Mapping[str, Format] = MappingProxyType({row.name: row for row in FORMAT_ROWS})

# Client formats that a provider takes as they are, beside its own.
_TAKES = {
    "openai": frozenset({"openai", "openai-responses"}),
    "openai-responses": frozenset({"openai", "openai-responses"}),
}


def same_family(client_format: str, provider_format: str, endpoint: str) -> bool:
    """True when a request of `client_format` goes to a provider of `provider_format` without conversion.

    A provider `openai` has both Chat Completions and Responses; `openai-responses` says that conversations go to
    Responses alone, so that Chat Completions is converted there.
    """
    if client_format == provider_format:
        return True
    if provider_format == "openai-responses" and endpoint == "chat":
        return False
    return client_format in _TAKES.get(provider_format, ())
