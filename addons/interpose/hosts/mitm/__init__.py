"""The mitmproxy host: calls that arrive through an intercepting proxy. The only importer of mitmproxy.

What takes a second to import is fetched when it is asked for: who only reads `mode` needs none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interpose.hosts.authority import AuthorityError

if TYPE_CHECKING:
    from .proxy import Interceptor, ListenError

__all__ = ["DRAIN", "AuthorityError", "Interceptor", "ListenError"]

# Calls in flight get so long to end when an interceptor stops.
DRAIN = 5.0


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import proxy

        return getattr(proxy, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
