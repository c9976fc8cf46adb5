"""Where telemetry goes and how, from the rules and from OpenTelemetry's standard variables. Nothing is sent here.

The rules come first. Where they name a collector, the headers and certificates of the environment are those of another
one and stay out: a credential goes where it belongs (law 6).

https://opentelemetry.io/docs/specs/otel/protocol/exporter/
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from interpose.errors import InterposeError
from interpose.rules.secrets import CredentialSource
from interpose.rules.telemetry import INTERVAL, SIGNALS, TelemetryRules
from interpose.secret import Secret

logger = logging.getLogger(__name__)

DEFAULT = "http://localhost:4318"
TIMEOUT = 10.0
_PREFIX = "OTEL_EXPORTER_OTLP_"
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

Temporality = Literal["cumulative", "delta"]
_TEMPORALITIES: Mapping[str, Temporality] = {"cumulative": "cumulative", "delta": "delta", "lowmemory": "delta"}


class TelemetryError(InterposeError):
    """Telemetry cannot be set up: the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one kind of telemetry is posted. `headers` may hold a secret."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca: Path | None = None
    certificate: tuple[str, str | None] | None = None
    gzip: bool = False
    timeout: float = TIMEOUT

    def __str__(self) -> str:
        """What may be said of it: a path may be a secret."""
        return urlsplit(self.url)._replace(path="", query="", fragment="").geturl()


@dataclass(frozen=True, slots=True)
class Settings:
    """`traces`, `metrics` and `events` are None where they are not sent. With `content` events tell what was said."""

    traces: Endpoint | None
    metrics: Endpoint | None
    events: Endpoint | None
    service_name: str | None = None
    resource: Mapping[str, str] = field(default_factory=dict)
    interval: float = INTERVAL
    temporality: Temporality = "cumulative"
    content: bool = False


async def settings_of(
    rules: TelemetryRules,
    environ: Mapping[str, str],
    resolve: Callable[[CredentialSource], Awaitable[Secret]],
    learn: Callable[[Secret], None],
) -> Settings | None:
    """None where the environment turns it off. `learn` hears of secrets. Raises SecretError and TelemetryError."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    own = {header.name: await header.value(resolve) for header in rules.headers}

    def endpoint(signal: str, wanted: bool, exporter: str) -> Endpoint | None:
        if not wanted or environ.get(exporter, "").strip().lower() == "none":
            return None
        return _endpoint(rules, signal, environ, own, learn)

    found = Settings(
        endpoint("traces", rules.traces, "OTEL_TRACES_EXPORTER"),
        endpoint("metrics", rules.metrics, "OTEL_METRICS_EXPORTER"),
        endpoint("logs", rules.events, "OTEL_LOGS_EXPORTER"),
        rules.service_name,
        dict(rules.resource),
        rules.interval or _milliseconds(environ, ("OTEL_METRIC_EXPORT_INTERVAL",)) or INTERVAL,
        _TEMPORALITIES.get(
            environ.get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "").strip().lower(), "cumulative"
        ),
        rules.content,
    )
    return found if found.traces or found.metrics or found.events else None


def _endpoint(
    rules: TelemetryRules,
    signal: str,
    environ: Mapping[str, str],
    own: Mapping[str, str],
    learn: Callable[[Secret], None],
) -> Endpoint:
    def told(what: str) -> str:
        return environ.get(f"{_PREFIX}{signal.upper()}_{what}", "").strip() or environ.get(_PREFIX + what, "").strip()

    gzip = told("COMPRESSION").lower() == "gzip"
    timeout = _milliseconds(environ, (f"{_PREFIX}{signal.upper()}_TIMEOUT", f"{_PREFIX}TIMEOUT")) or TIMEOUT
    if rules.otlp is not None:
        return Endpoint(rules.otlp + SIGNALS[signal], own, rules.ca, gzip=gzip, timeout=timeout)
    protocol = told("PROTOCOL")
    if protocol not in ("", "http/protobuf"):
        raise TelemetryError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol[:40]}, and telemetry is sent by http/protobuf: "
            "name the collector's HTTP port by telemetry.otlp, most often 4318"
        )
    url = environ.get(f"{_PREFIX}{signal.upper()}_ENDPOINT", "").strip()
    url = url or (environ.get(f"{_PREFIX}ENDPOINT", "").strip().rstrip("/") or DEFAULT) + SIGNALS[signal]
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        raise TelemetryError(
            f"the OTLP endpoint of the environment for {signal} is no URL of http or https: "
            f"write for example OTEL_EXPORTER_OTLP_ENDPOINT={DEFAULT}"
        )
    certificate = told("CLIENT_CERTIFICATE")
    return Endpoint(
        url,
        {**_headers(told("HEADERS"), learn), **own},
        rules.ca or (Path(told("CERTIFICATE")) if told("CERTIFICATE") else None),
        (certificate, told("CLIENT_KEY") or None) if certificate else None,
        gzip,
        timeout,
    )


def _headers(text: str, learn: Callable[[Secret], None]) -> dict[str, str]:
    """`name=value,name=value`, escaped as in W3C baggage; what is no header is left out."""
    found: dict[str, str] = {}
    for item in text.split(","):
        name, separator, value = item.partition("=")
        name, value = unquote(name.strip()).lower(), unquote(value.strip())
        if separator and _HEADER.fullmatch(name) and value.isprintable() and value:
            found[name] = value
            learn(Secret(value, "OTEL_EXPORTER_OTLP_HEADERS"))
        elif item.strip():
            logger.warning("OTEL_EXPORTER_OTLP_HEADERS has something that is no name=value: it is left out")
    return found


def _milliseconds(environ: Mapping[str, str], names: tuple[str, ...]) -> float | None:
    for name in names:
        try:
            if (value := float(environ.get(name, "").strip() or 0)) > 0:
                return value / 1000
        except ValueError:
            logger.warning("%s is no number of milliseconds: it is ignored", name)
    return None
