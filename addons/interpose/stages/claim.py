"""First stage: is this call ours, is it what it says it is, and what does it ask for?

Holds the binding of law 6: the host that the connection was opened to, the name in the TLS handshake and the single
Host or :authority of each request are the same, or the call is refused. Matching is on canonical host names alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from cachetools import LRUCache

from interpose.call import DEFAULT_PORTS, Call, header, header_values, upgrades
from interpose.errors import Refusal
from interpose.formats.endpoints import Match, classify, judged_path
from interpose.formats.hosts import GATEWAY, HostRow, canonical_host, generic_row, lookup, row_for_provider
from interpose.formats.modellists.ours import spoken
from interpose.formats.operations import format_at
from interpose.rules.compiled import Rules
from interpose.rules.facts import Facts, bare_path
from interpose.wire.error import WireError
from interpose.wire.jsonedit import parse, spelled
from interpose.wire.multipart import field_spans

from .content import plain_body, reader
from .draft import Draft, Stage
from .unrouted import quota_left

# The longest ARNs of Amazon's are half of that; a model's name in a URL is no longer than its path.
MOST_NAME = 4096
# What a reader might take for the name of the member that names a model.
_NAMED = re.compile(rb'"model"', re.IGNORECASE)
_BLANK = b" \t\r\n\xef\xbb\xbf"


class Territory:
    """Which hosts the rules claim. Asked once per connection and once per call, so its answers are kept."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._rows: LRUCache[tuple[str, int], HostRow | None] = LRUCache(4096)

    def row_of(self, call: Call) -> HostRow | None:
        """The row by which a call is judged: the gateway's own for what came to that."""
        if call.at_gateway:
            return GATEWAY
        return self.row(call.url.origin.host, call.url.origin.port)

    def row(self, host: str, port: int) -> HostRow | None:
        """The row of the host table that says what is spoken there; None if that host and port are not ours."""
        key = (host, port)
        if key in self._rows:
            return self._rows[key]
        try:
            found = self._find(canonical_host(host), port)
        except ValueError:
            found = None
        self._rows[key] = found
        return found

    def seen(self) -> dict[tuple[str, int], HostRow]:
        """The hosts of ours that have been asked for lately."""
        return {place: row for place, row in self._rows.items() if row is not None}

    def _find(self, host: str, port: int) -> HostRow | None:
        listed = self._rules.intercept.listed(host, port)
        if host == self._rules.intercept.virtual_host:
            return GATEWAY
        if listed is False:
            return None
        for provider in self._rules.providers.values():
            if (provider.origin.host, provider.origin.port) == (host, port):
                return lookup(host, port) or row_for_provider(
                    provider.format, provider.dialect, provider.base_path, provider.origin
                )
        if listed:
            return lookup(host, port) or generic_row(host, port)
        return lookup(host, port)


class Claim(Stage):
    """Checks the binding and establishes the facts that everything after it decides by."""

    name = "claim"

    def decide(self, draft: Draft) -> None:
        call = draft.call
        check_target(call)
        row = draft.host
        if row is None:
            raise Refusal(403, "host_not_claimed", f"{call.url.origin.host} is not a host that the rules intercept.")
        if row.scheme is not None and row.scheme != call.url.origin.scheme:
            raise Refusal(
                400,
                "plaintext_on_tls_port",
                f"{call.url.origin.host}:{call.url.origin.port} speaks {row.scheme}, the request came by "
                f"{call.url.origin.scheme}. Use a {row.scheme}:// URL.",
            )
        if not call.at_gateway or call.url.origin.host == draft.rules.intercept.virtual_host:
            check_binding(call)
        draft.match = match = matched(call, row)
        found = asked_of(call, match)
        draft.body_read, draft.document = found.read, found.document
        draft.facts = read_facts(call, match, partial(quota_left, draft), found)
        draft.note(f"{call.method} {call.url.path} on {call.url.origin.host} is {match.format} {match.endpoint}")
        if call.at_gateway and upgrades(call.headers):
            raise without_websockets()


def matched(call: Call, row: HostRow) -> Match:
    """What the call's path is. At the gateway one path may be several formats', and what is none of its operations is
    refused in the format of the others at that path.
    """
    match = classify(row, call.method, call.url.target)
    if not call.at_gateway:
        return match
    if not match.known:
        return replace(match, format=format_at(call.url.path) or match.format)
    return spoken(match, call.headers)


def without_websockets() -> Refusal:
    """What a WebSocket is told at the gateway, whichever way it has come."""
    return Refusal(
        404,
        "no_websockets",
        "The gateway has no WebSockets: ask for an HTTP stream, or open the session with the provider's own host "
        "through the interceptor (interpose run).",
    )


def check_target(call: Call) -> None:
    """Refuses what a request line must not hold."""
    try:
        canonical_host(call.url.origin.host)
    except ValueError as error:
        raise Refusal(400, "invalid_host", f"The host of the request is invalid: {error}.") from None
    if not call.url.target.startswith("/") or any(
        character <= " " or character == "\x7f" for character in call.url.target
    ):
        raise Refusal(400, "invalid_target", "The request target must be an absolute path without blanks and controls.")


def check_binding(call: Call) -> None:
    """Law 6: one destination, named alike by the connection, the TLS handshake and the request.

    Where somebody beside us has rewritten the request, the handshake is held against what the client addressed.
    """
    origin = call.url.origin
    addressed = call.addressed or origin
    if call.sni is not None and same_host(call.sni) != addressed.host:
        if is_address(addressed.host):
            raise Refusal(
                502,
                "destination_unverifiable",
                f"The tunnel was opened to the address {addressed.host}, the handshake asked for {call.sni}: connect "
                "by name, so that both can be checked.",
            )
        raise Refusal(
            403,
            "sni_mismatch",
            f"The tunnel was opened to {addressed.host}, but the TLS handshake asked for {call.sni}.",
        )
    hosts = header_values(call.headers, b"host")
    if len(hosts) != 1:
        raise Refusal(400, "host_header_count", f"A request needs exactly one Host header, this one has {len(hosts)}.")
    value = hosts[0].decode("latin-1").strip()
    if "@" in value:
        raise Refusal(400, "userinfo_in_host", "The Host header must not carry a user or password.", param="Host")
    name, port = split_authority(value)
    expected = DEFAULT_PORTS.get(origin.scheme)
    if same_host(name) != origin.host or (expected if port is None else port) != origin.port:
        raise Refusal(
            403,
            "host_mismatch",
            f"The request came for {origin.host}:{origin.port}, but its Host header names another destination.",
            param="Host",
        )


def split_authority(value: str) -> tuple[str, int | None]:
    """`host[:port]` in its two parts, IPv6 without brackets; the port None if absent, 0 if it is none."""
    host, separator, port = value.rpartition(":")
    if not separator or port.endswith("]"):
        host, port = value, ""
    host = host.removeprefix("[").removesuffix("]")
    if not port:
        return host, None
    return host, int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0


def same_host(name: str) -> str:
    """The canonical form for comparing; what has none compares unequal to every host."""
    try:
        return canonical_host(name)
    except ValueError:
        return ""


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def read_facts(
    call: Call,
    match: Match,
    quota: Callable[[str | None], float | None] = lambda _: None,
    found: Asked | None = None,
) -> Facts:
    """The facts that rules match on, the asked model and `stream` from the URL or else from the body."""
    found = found if found is not None else asked_of(call, match)
    stream = match.stream if match.stream is not None else found.stream
    if stream is None and found.read and match.endpoint in ("chat", "completions"):
        # Left out, it is the format's default: Ollama streams unless told not to, everyone else does not.
        stream = match.wire == "ollama"
    headers = call.headers

    def look_up(name: str) -> str | None:
        value = header(headers, name.encode("latin-1", "replace"))
        return None if value is None else value.decode("latin-1")

    return Facts(
        method=call.method,
        scheme=call.url.origin.scheme,
        host=call.url.origin.host,
        port=call.url.origin.port,
        path=bare_path(judged_path(call.url.target)),
        endpoint=match.endpoint,
        format=match.format,
        wire=match.wire,
        model=match.model if match.model is not None else found.model,
        client=None,
        ip=call.peer.ip,
        entrance=call.entrance,
        stream=stream,
        header=look_up,
        app=call.peer.app,
        content=reader(call, match),
        quota=quota,
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """What a body asks for. `read` says that it could be read at all: a malformed one is the provider's to answer.
    `document` is all of it, where it is a JSON object that has been parsed for that.
    """

    model: str | None = None
    stream: bool | None = None
    read: bool = False
    document: Mapping[str, object] | None = None


def asked_of(call: Call, match: Match) -> Asked:
    """What the body asks for, as far as the URL does not say it."""
    return Asked() if match.model is not None and match.stream is not None else asked_in_body(call)


def asked_in_body(call: Call) -> Asked:
    """`model` and `stream` of a JSON object, whatever its content type says, or of a multipart form."""
    if not isinstance(call.body, bytes) or not call.body:
        return Asked()
    try:
        body = plain_body(call)
        kind = header(call.headers, b"content-type") or b""
        if body.lstrip(_BLANK)[:1] == b"{":
            found = parse(body)
            model, stream = found.get("model"), found.get("stream")
            named = model if isinstance(model, str) else None
            return asked(named, stream if isinstance(stream, bool) else None, found)
    except WireError:
        return Asked()
    names = {body[start:end] for start, end in field_spans(body, kind, b"model")}
    if len(names) == 1:
        return asked(names.pop().decode("utf-8", "replace").strip())
    return Asked()


def asked(model: str | None, stream: bool | None = None, document: Mapping[str, object] | None = None) -> Asked:
    """What a body asks for that was read. A name longer than any model has is none: patterns would be held against all
    of it, and it would be remembered wherever models are.
    """
    if model is not None and len(model) > MOST_NAME:
        return Asked(None, stream, document=document)
    return Asked(model, stream, read=True, document=document)


def check_model(draft: Draft) -> None:
    """Refuses a body that names several models, or one by another spelling: which of them a provider takes is not for
    rules to guess.
    """
    call = draft.call
    if not isinstance(call.body, bytes):
        return
    try:
        named = models_named(plain_body(call), header(call.headers, b"content-type") or b"")
    except WireError:
        return
    if any(name != "model" for name, _ in named) or len({value for _, value in named}) > 1:
        raise Refusal(400, "ambiguous_model", "The body names more than one model; send one.", param="model")


def models_named(body: bytes, content_type: bytes) -> Sequence[tuple[str, bytes]]:
    """Each name and value by which a body may name a model. One that stands there plainly and alone is not told."""
    if body.lstrip(_BLANK)[:1] != b"{":
        return [("model", body[start:end].strip()) for start, end in field_spans(body, content_type, b"model")]
    found = _NAMED.findall(body)
    if found in ([], [b'"model"']) and b"\\u00" not in body:
        return ()
    return spelled(body, "model")
