"""The mitmproxy host: calls that arrive through an intercepting proxy. The only importer of mitmproxy."""

from interpose.hosts.authority import AuthorityError

from .proxy import Interceptor, ListenError

__all__ = ["AuthorityError", "Interceptor", "ListenError"]
