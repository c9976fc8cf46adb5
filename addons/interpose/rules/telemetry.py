"""What of calls is told to an OpenTelemetry collector, as rules write it. Nothing is sent here, and no variable read.

    telemetry: {otlp: "https://otlp.example.com", headers: {authorization: "Bearer ${OTLP_TOKEN}"}}

The section turns it on; what it leaves out is taken from the standard variables (OTEL_EXPORTER_OTLP_ENDPOINT and so
on), which turn on nothing by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from interpose.secret import Secret

from . import urls
from .document import Document
from .problem import BadValue, printable
from .problem import Path as Where
from .secrets import CredentialSource
from .support import at

EXAMPLE = "write for example http://localhost:4318"
# What OTLP over HTTP puts behind a base URL. https://opentelemetry.io/docs/specs/otlp/#otlphttp-request
SIGNALS: Mapping[str, str] = {"traces": "/v1/traces", "metrics": "/v1/metrics", "logs": "/v1/logs"}
# gRPC's port, which is not spoken.
GRPC = 4317
# Metrics are sent so often: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
INTERVAL = 60.0

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# What the protocol says itself.
_RESERVED = frozenset(("content-type", "content-length", "content-encoding", "host", "transfer-encoding", "connection"))
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SECRET = re.compile(r"auth|key|token|secret|password", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Header:
    """A header for the collector. `text` has `${NAME}` where the values of `sources` belong; it is shown nowhere."""

    name: str
    text: str = field(repr=False)
    sources: tuple[CredentialSource, ...] = ()

    async def value(self, resolve: Callable[[CredentialSource], Awaitable[Secret]]) -> str:
        """Raises SecretError."""
        text = self.text
        for source in self.sources:
            text = text.replace(f"${{{source.args[0]}}}", (await resolve(source)).reveal())
        return text


@dataclass(frozen=True, slots=True)
class TelemetryRules:
    """`otlp` is the base URL of a collector, None for the one that the environment names; `resource` are attributes of
    all that is sent, `interval` the seconds between two sendings of metrics, None for what the environment says. With
    `content` events tell what was asked and answered.
    """

    otlp: str | None = None
    headers: tuple[Header, ...] = ()
    ca: Path | None = None
    traces: bool = True
    metrics: bool = True
    events: bool = True
    service_name: str | None = None
    resource: tuple[tuple[str, str], ...] = ()
    interval: float | None = None
    content: bool = False

    @property
    def sources(self) -> tuple[CredentialSource, ...]:
        return tuple(source for header in self.headers for source in header.sources)


def base(text: str) -> str:
    """A collector's base URL. Raises BadValue."""
    url = urls.base_url(text)
    for path in SIGNALS.values():
        if url.path.endswith(path):
            raise BadValue(f"names one kind of telemetry ({path})", "leave that out: it is put behind by itself")
    if url.origin.port == GRPC:
        raise BadValue(f"has gRPC's port {GRPC}", "OTLP is sent over HTTP, whose port is 4318")
    return f"{url.origin}{url.path}"


def variables(text: str) -> list[str]:
    """The variables that a header's value names. Raises BadValue for a $ that names none."""
    if "$" in _VARIABLE.sub("", text):
        raise BadValue("has a $ that begins no ${NAME}", 'write for example "Bearer ${OTLP_TOKEN}"')
    return list(dict.fromkeys(_VARIABLE.findall(text)))


def dangers(header: str, text: str) -> Iterator[tuple[str, str]]:
    """What is unwise about a header: the message and what to do."""
    if _SECRET.search(header) and not _VARIABLE.search(text):
        yield (
            "may hold a secret, which everybody sees who sees this file",
            "write ${NAME} for it, and set the variable",
        )


def exposed(url: str | None) -> Iterator[tuple[str, str]]:
    """What is unwise about telling that collector what was asked and answered: the message and what to do."""
    if url is None:
        yield (
            "goes to whatever collector the environment names, or to localhost:4318",
            "name by telemetry.otlp the one that may read what is asked and answered",
        )
    elif url.startswith("http:") and not near(url):
        yield "goes to another machine without TLS: who listens on the way reads it", "write https:// in telemetry.otlp"


def is_header(name: str) -> bool:
    """Whether that is the name of a header that a collector may be sent."""
    return _NAME.fullmatch(name) is not None and name.lower() not in _RESERVED


def check(document: Document) -> None:
    """Reports what the schema cannot see. No message repeats a header's value."""
    for path, headers in at(document.data, ("telemetry", "headers")):
        for name, text in headers.items() if isinstance(headers, dict) else ():
            _header(document, (*path, name), name, text)
    for path, value in at(document.data, ("telemetry",)):
        if not isinstance(value, dict):
            continue
        if all(value.get(name) is False for name in ("traces", "metrics", "events")):
            document.report(path, "sends nothing: traces, metrics and events are all off", "leave the section out")
        if value.get("content") is True and value.get("events") is False:
            document.report((*path, "content"), "is told in events, and they are off", "leave one out", key=True)
        if value.get("interval") is not None and value.get("metrics") is False:
            document.report((*path, "interval"), "is that of metrics, and they are off", "leave it out", key=True)
        if isinstance(value.get("tls"), dict) and str(value.get("otlp") or "").startswith("http:"):
            document.report((*path, "tls"), "concerns https, and otlp is http", "leave it out", key=True)


def _header(document: Document, path: Where, name: str, text: object) -> None:
    if name.lower() in _RESERVED:
        document.report(path, f"{printable(name)} is set by OTLP itself", "leave it out", key=True)
    if isinstance(text, str):
        try:
            variables(text)
        except BadValue as bad:
            document.report(path, str(bad), bad.hint)


def near(url: str) -> bool:
    """Whether that is on this machine."""
    host = urlsplit(url).hostname
    return host is not None and urls.nearness(host) == "loopback"


def headers(told: Sequence[tuple[str, str]], source: Callable[[str], CredentialSource]) -> tuple[Header, ...]:
    """`source` makes the reference to a variable."""
    return tuple(Header(name.lower(), text, tuple(map(source, variables(text)))) for name, text in told)
