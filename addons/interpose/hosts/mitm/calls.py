"""A flow of mitmproxy's as the engine's `Call`: where it leads, what it says, and where its client meant it to go."""

from __future__ import annotations

from collections.abc import AsyncIterator

from mitmproxy import flow as mitm_flow
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ReverseMode

from interpose.call import Call, Entrance, Headers, Login, Origin, Peer, Url, header
from interpose.formats.hosts import canonical_host
from interpose.rules.compiled import Rules
from interpose.stages.claim import is_address

# Metadata of a flow whose request was not kept whole: so many bytes were.
CUT = "interpose_request_kept"


def as_call(
    flow: http.HTTPFlow,
    rules: Rules,
    upload: AsyncIterator[bytes] | None = None,
    *,
    app: str | None = None,
    login: Login | None = None,
) -> Call:
    """A flow as a `Call`, its headers and target as they came; at the rules' virtual host it is one to the gateway."""
    request = flow.request
    headers: Headers = request.headers.fields
    if request.is_http2:
        # A Host beside an :authority that says otherwise makes two, which the engine refuses.
        if request.data.authority and header(headers, b"host") != request.data.authority:
            headers = ((b"Host", request.data.authority), *headers)
        headers = one_cookie_header(headers)
    # A flow that was read from a file of another tool's may not know its client.
    host, port = (flow.client_conn.peername or ("", 0))[:2]  # type: ignore[unreachable]  # mitmproxy says never
    return Call(
        method=request.method,
        url=Url(Origin(request.scheme, canonical(request.host), request.port), request.path),
        headers=headers,
        body=upload if upload is not None else request.raw_content or b"",
        peer=Peer(host, port, app, login),
        entrance=entrance(request.host, rules),
        # Who asks a reverse proxy means the proxy, by whatever name; its operator has named the destination.
        sni=None if isinstance(flow.client_conn.proxy_mode, ReverseMode) else flow.client_conn.sni,
        addressed=addressed(flow),
    )


def entrance(host: str, rules: Rules) -> Entrance:
    """Where calls to that host come in."""
    return Entrance.GATEWAY if canonical(host) == rules.intercept.virtual_host else Entrance.INTERCEPT


def addressed(flow: http.HTTPFlow) -> Origin | None:
    """Where the client's connection led, whatever has become of the flow since.

    None where that is not told: for a plain HTTP proxy's, and for flows of other tools, which note an IP address.
    """
    address = flow.server_conn.address
    if address is None or is_address(address[0]):
        return None
    return Origin("https" if flow.server_conn.tls else "http", canonical(address[0]), address[1])


def killed(flow: mitm_flow.Flow) -> bool:
    """Whether somebody has ended the flow, by mitmweb's button, a command or an addon."""
    return flow.error is not None and flow.error.msg == flow.error.KILLED_MESSAGE


def bare_call(flow: http.HTTPFlow, rules: Rules) -> Call:
    """As much of a call as can be said of any flow: for the apology when the whole could not be put together."""
    request = flow.request
    target = request.path.partition("?")[0] if request.path.startswith("/") else "/"
    origin = Origin(request.scheme or "https", request.host, request.port)
    return Call(request.method, Url(origin, target), (), b"", Peer(""), entrance(request.host, rules))


def canonical(host: str) -> str:
    """The host as rules and bindings compare it; what is none stays as it is, and the engine refuses it."""
    try:
        return canonical_host(host)
    except ValueError:
        return host


def one_cookie_header(headers: Headers) -> Headers:
    """HTTP/2 may split Cookie into several headers, HTTP/1 must not: RFC 9113, 8.2.3."""
    cookies = [value for name, value in headers if name.lower() == b"cookie"]
    if len(cookies) < 2:
        return headers
    rest = tuple(pair for pair in headers if pair[0].lower() != b"cookie")
    return (*rest, (b"Cookie", b"; ".join(cookies)))
