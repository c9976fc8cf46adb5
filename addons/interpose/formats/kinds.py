"""How a kind of call that is no conversation finds its codecs: rows that others fill.

`embeddings`, `modellists` and `counting` fill them; `conversions` is the table of all kinds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from interpose.formats.codecs import Codec


@dataclass(frozen=True, slots=True)
class Entry:
    """What a client of that format asks at such a path (a regular expression over all of it) is read by that codec."""

    format: str
    path: str
    codec: Codec[Any, Any]
    method: str = "POST"
    _regex: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_regex", re.compile(self.path))

    def takes(self, format_: str, method: str, path: str) -> bool:
        if self.format != format_:
            return False
        return not path or (self.method == method and self._regex.fullmatch(path) is not None)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of call: what clients ask, and the codec of each provider format, or of "format/dialect"."""

    clients: tuple[Entry, ...]
    providers: Mapping[str, Codec[Any, Any]]

    def client(self, format_: str, method: str, path: str) -> Codec[Any, Any] | None:
        """The codec of what a client asks; with no path, of anything that its format has."""
        return next((each.codec for each in self.clients if each.takes(format_, method, path)), None)

    def provider(self, format_: str, dialect: str | None) -> Codec[Any, Any] | None:
        """The codec of a provider: of its dialect, where that has one of its own."""
        return self.providers.get(f"{format_}/{dialect}") or self.providers.get(format_)
