"""What of the schema this version carries out, as one table. The rest is read, understood and refused by name: no
field is ever silently ignored. A field that stands in neither table fails the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .problem import Path

Pattern = tuple[str, ...]


def _p(text: str) -> Pattern:
    return tuple(text.split("."))


_MATCH = (
    *("endpoint", "host", "model", "client", "ip", "app", "header.*", "method", "path", "stream"),
    *("has", "larger_than", "smaller_than", "quota_below"),
)

CARRIED_OUT: frozenset[Pattern] = frozenset(
    _p(path)
    for path in (
        "version",
        "providers.*.format",
        "providers.*.dialect",
        "providers.*.base_url",
        "providers.*.api_version",
        "providers.*.responses",
        "providers.*.credential.env",
        "providers.*.credential.file",
        "providers.*.credential.keyring",
        "providers.*.credential.exec",
        "providers.*.credential.aws",
        "providers.*.credential.region",
        "providers.*.credential.google",
        "providers.*.credential.timeout",
        "providers.*.credential.ttl",
        "providers.*.timeouts.connect",
        "providers.*.timeouts.first_byte",
        "providers.*.timeouts.idle",
        "providers.*.tls.ca",
        "intercept.hosts",
        "intercept.placeholders",
        "intercept.unmatched",
        "intercept.virtual_host",
        "clients.required",
        "clients.keys.name",
        "clients.keys.sha256",
        "clients.keys.models",
        "clients.keys.endpoints",
        "clients.keys.providers",
        "clients.keys.expires",
        "clients.keys.budget",
        "limits.name",
        *(f"limits.match.{name}" for name in _MATCH),
        *(f"limits.except.{name}" for name in _MATCH),
        "limits.per",
        "limits.trust_headers",
        "limits.requests",
        "limits.tokens",
        "limits.concurrent",
        "limits.wait",
        "limits.budget",
        "routes.name",
        *(f"routes.match.{name}" for name in _MATCH),
        *(f"routes.except.{name}" for name in _MATCH),
        "routes.to.provider",
        "routes.to.model",
        "routes.to.weight",
        "routes.fallback.provider",
        "routes.fallback.model",
        "routes.retry.attempts",
        "routes.retry.on",
        "routes.retry.backoff",
        "routes.sticky",
        "routes.prefer",
        *(f"models.{name}" for name in ("id", "provider", "model", "context_length", "capabilities")),
        "routes.hold",
        "routes.hedge",
        "routes.usage",
        "routes.capture",
        "state.store",
        "state.on_store_error",
        "ledger.to",
        "ledger.capture",
        "ledger.body_limit",
        "ledger.scrub",
        "ledger.keep.records",
        "ledger.keep.bodies",
        "ledger.checkpoints.to",
        "ledger.checkpoints.every",
        *(f"losses.{name}" for name in ("exact", "carried", "approximated", "dropped", "synthesised", "impossible")),
        *(f"prices.*.{name}" for name in ("input", "cache_read", "cache_write", "output")),
        "capabilities.*",
        "alerts.name",
        "alerts.when",
        "alerts.window",
        "alerts.min_requests",
        "alerts.notify.webhook",
        "alerts.notify.command",
        "telemetry.otlp",
        "telemetry.headers.*",
        "telemetry.tls.ca",
        "telemetry.traces",
        "telemetry.metrics",
        "telemetry.events",
        "telemetry.content",
        "telemetry.service_name",
        "telemetry.resource.*",
        "telemetry.interval",
        "upstream.proxy",
        "upstream.connect_to.*",
        "upstream.ca",
    )
)


def _given(value: object) -> bool:
    return value not in (None, [], {})


@dataclass(frozen=True, slots=True)
class Unsupported:
    """`path` (list indexes left out, `*` for any name) is refused where `when` holds of its value.

    `what` names what is refused, if that is not the field itself. `hint` says what to do instead.
    """

    path: Pattern
    when: Callable[[object], bool] = _given
    what: str = ""
    hint: str = ""

    @property
    def always(self) -> bool:
        """Whether the field is refused whatever it says (an empty one says nothing)."""
        return self.when is _given


# None at present: all of the schema is carried out.
UNSUPPORTED: tuple[Unsupported, ...] = ()


def found(data: object) -> Iterator[tuple[Path, Unsupported]]:
    """Each unsupported thing in a file's data, with its path."""
    for row in UNSUPPORTED:
        for path, value in at(data, row.path):
            if row.when(value):
                yield path, row


def at(data: object, pattern: Pattern, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """Every value at `pattern` in the data, with its path; lists are walked through on the way, not at the end."""
    if not pattern:
        yield path, data
    elif isinstance(data, list):
        for index, item in enumerate(data):
            yield from at(item, pattern, (*path, index))
    elif isinstance(data, dict):
        first, *rest = pattern
        for name in data if first == "*" else (first,):
            if name in data:
                yield from at(data[name], tuple(rest), (*path, name))


def matches(pattern: Pattern, path: Pattern) -> bool:
    return len(pattern) == len(path) and all(p in ("*", step) for p, step in zip(pattern, path, strict=True))
