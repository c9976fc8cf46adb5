"""Which headers end here: those of one hop, which go no further in either direction, and at the gateway what belongs to
its own address: what a balancer says of a client, cookies, the page that a browser is on. Nothing here knows a rule or
a credential.
"""

from __future__ import annotations

from interpose.call import Call, Header, Headers, header_values, without

# RFC 9110, 7.6.1: these end at each hop. Expect is answered by the host; Proxy-* is ours alone.
HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"proxy-authenticate",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"expect",
    )
)
# Who the client is, as a balancer tells us: for our rules, and no business of a provider's. RFC 7239, and before it.
FORWARDED = frozenset(
    (
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-forwarded-server",
        b"x-real-ip",
    )
)
# What a client of the gateway has told the gateway's address, or an application's that it is mounted into: a session
# there is no business of a provider's.
AT_HOME = FORWARDED | {b"cookie", b"cookie2", b"origin", b"referer", b"via"}
# What a provider says to browsers of its own address, and would be taken for the gateway's.
OF_ADDRESS = frozenset((b"set-cookie", b"set-cookie2", b"strict-transport-security", b"alt-svc", b"clear-site-data"))
OURS = b"x-interpose-"


def end_to_end(headers: tuple[Header, ...]) -> Headers:
    """Without the hop-by-hop headers, those that Connection names included.

    For what the other side has sent, and so before a credential is put in: a client must not name it away.
    """
    drop = HOP_BY_HOP
    for value in header_values(headers, b"connection"):
        drop |= {token.strip().lower() for token in value.split(b",")} - {b"content-length", b"host"}
    return without(headers, drop)


def onward(call: Call) -> Headers:
    """A call's headers as they go on to a provider, before any rule has its say. An intercepted program's own are left
    as they are: it was its wish that the provider has them.
    """
    headers = end_to_end(call.headers)
    if not call.at_gateway:
        return headers
    return tuple(pair for pair in without(headers, AT_HOME) if not pair[0].lower().startswith(OURS))


def homeward(call: Call, headers: Headers) -> Headers:
    """A provider's headers as they come back to a client. At the gateway it opens no session with the address, says
    nothing of it to browsers, and nothing in our name.
    """
    if not call.at_gateway:
        return headers
    return tuple(pair for pair in without(headers, OF_ADDRESS) if not pair[0].lower().startswith(OURS))
