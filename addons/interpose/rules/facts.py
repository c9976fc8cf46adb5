"""What rules may ask about a call. The engine fills one `Facts` per call; matching reads it and nothing else.

Nothing here knows where the values come from: classification is the formats' work, identification the clients stage's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from interpose.formats.paths import EndpointName

# What a conversation may bring along, as `match.has` names it.
Brought = Literal["tools", "images", "documents", "audio"]


@dataclass(frozen=True, slots=True)
class Content:
    """What rules may ask about a body: its size, an estimate of its tokens, what it brings along, and the most tokens
    that it lets the answer have. `at_least` says that it may be larger than its size.
    """

    bytes: int
    tokens: int
    has: frozenset[Brought] = frozenset()
    max_output: int | None = None
    at_least: bool = False


# How `Facts.value` names a header: this, and its lower-case name.
HEADER = "header "

_COLON = re.compile("%3a", re.IGNORECASE)

ENDPOINTS: tuple[str, ...] = get_args(EndpointName)


def bare_path(path: str) -> str:
    """A path, or a pattern of paths, as rules compare it: in one spelling of those that lead to the same endpoint, so
    that no condition is walked around. A final slash makes no other one, nor does an escaped colon, as some of Google's
    and Amazon's clients send it.
    """
    path = _COLON.sub(":", path)
    return path[:-1] if len(path) > 1 and path.endswith("/") else path


@dataclass(frozen=True, slots=True)
class Facts:
    """One call as rules see it. None means "not known" and never matches a pattern, `*` included.

    `host` is canonical (lower case, no trailing dot, IPv6 without brackets), `path` is a `bare_path` without its query,
    `endpoint` one of ENDPOINTS, `format` the client's format (a provider format's contract name), `wire` the exact
    body shape, `ip` the client's address as text, `entrance` intercept, gateway or embedded. `stream` says whether the
    call asks for a stream. `header` looks a request header up by its lower-case name: its first value, or None. `app`
    is the calling program, where that is known. `content` reads the body, once somebody asks; it gives None for the
    messages of a WebSocket. `quota` gives the share that a provider has left of its quota,
    None for the one where the call goes without a route; it gives None where nobody knows.
    """

    method: str
    scheme: str
    host: str
    port: int
    path: str
    endpoint: str
    format: str
    wire: str
    model: str | None
    client: str | None
    ip: str
    entrance: str
    stream: bool | None
    header: Callable[[str], str | None]
    app: str | None = None
    content: Callable[[], Content | None] = lambda: None
    quota: Callable[[str | None], float | None] = lambda _: None

    def value(self, name: str) -> str | None:
        """What the call has in the field of that name, as the patterns of the field are written."""
        if name.startswith(HEADER):
            return self.header(name.removeprefix(HEADER))
        value: str | None = getattr(self, name)
        # Methods are compared without case, hosts come in lower case.
        return value.lower() if name == "method" and value is not None else value
