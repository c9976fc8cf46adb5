"""interpose: a transparent interceptor for LLM API traffic.

The floors, each of which imports only from those below it (tests/test_floors.py holds them to it):

0. `wire`       bytes <-> events
1. `call`, `ir`, `errors`, `secret`   what a call, a usage, a refusal and a secret are
2. `formats`    one module per wire format, and the table of known AI hosts
3. `rules`      YAML -> frozen rules
4. `stages`     who calls, where it goes, which key it gets, what it used: decided here, done by the engine
5. `engine`, `exchange`, `bodies`, `upstream`, `pool`, `ledger`   one call's life, its connections, its record
6. `hosts`      what carries calls to the engine; mitmproxy is imported under `hosts/mitm` alone
7. `cli`, `embedded`, `pytest_plugin`   the `interpose` command; the interceptor inside a program, or a test suite

`from interpose import intercept` brings the embedded one, `Transport` and `AsyncTransport` are for httpx, `Gateway` and
`GatewayMiddleware` for ASGI; `import interpose` alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .embedded import intercept, intercept_sync
    from .hosts.application import Gateway, GatewayMiddleware
    from .hosts.httpx import AsyncTransport, Transport

__all__ = ["AsyncTransport", "Gateway", "GatewayMiddleware", "Transport", "__version__", "intercept", "intercept_sync"]
__version__ = "0.1.0"

# Where each name is, for when it is asked for.
_PLACES = {
    "AsyncTransport": "hosts.httpx",
    "Gateway": "hosts.application",
    "GatewayMiddleware": "hosts.application",
    "Transport": "hosts.httpx",
    "intercept": "embedded",
    "intercept_sync": "embedded",
}


def __getattr__(name: str) -> Any:
    if (place := _PLACES.get(name)) is not None:
        return getattr(import_module(f".{place}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
