"""`/metrics`, and who may see it: programs of this machine, and whoever has a client's key that is good.

What was spent on which models is nobody else's business. A connection from this machine is no proof by itself: a
reverse proxy here brings strangers' requests (it says so in a header), and a page in a browser here may have its own
name point to 127.0.0.1 (DNS rebinding; the request then names a host that somebody can own in the public DNS).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from interpose.call import Call, Reply, header
from interpose.errors import Refusal
from interpose.formats import FORMATS
from interpose.metrics import Metrics
from interpose.rules.compiled import ClientKey

from .front import Page, said

# What a proxy adds to a request that it passes on.
PASSED_ON = (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via")
# Nobody can register a name under these: https://www.iana.org/assignments/special-use-domain-names and, of `internal`,
# https://www.icann.org/en/board-activities-and-meetings/materials/approved-resolutions-special-meeting-of-the-icann-board-29-07-2024-en
PRIVATE = frozenset(("localhost", "internal", "local", "test", "example"))


def page(
    metrics: Metrics, holder: Callable[[Call], ClientKey], virtual_host: Callable[[], str | None] = lambda: None
) -> Page:
    """The page. `holder` gives the owner of the key that a request carries, and raises Refusal if that is none;
    `virtual_host` is the name that is ours by the rules, wherever it would lead without us.
    """

    async def answer(call: Call) -> Reply:
        if not local(call, virtual_host()):
            try:
                holder(call)
            except Refusal as refusal:
                error = FORMATS["openai"].error(refusal)
                challenge = ((b"www-authenticate", b'Bearer realm="interpose"'),) if refusal.status == 401 else ()
                return said(refusal.status, error.body, "application/json", *challenge)
        accept = header(call.headers, b"accept") or b""
        body, content_type = await metrics.page(accept.decode("latin-1"))
        return said(200, body, content_type, (b"vary", b"accept"))

    return answer


def local(call: Call, virtual_host: str | None = None) -> bool:
    """Whether a program of this machine asks, for itself."""
    try:
        peer = ipaddress.ip_address(call.peer.ip.partition("%")[0])
    except ValueError:
        return False
    mapped = peer.ipv4_mapped if isinstance(peer, ipaddress.IPv6Address) else None
    if not (mapped or peer).is_loopback:
        return False
    host = call.url.origin.host
    named = host == virtual_host or ours_alone(host)
    return named and all(header(call.headers, name) is None for name in PASSED_ON)


def ours_alone(host: str) -> bool:
    """Whether a host is an address, or a name that the public DNS cannot know."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        _, dot, top = host.rstrip(".").rpartition(".")
        return not dot or top in PRIVATE
    return True
