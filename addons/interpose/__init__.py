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

`from interpose import intercept` brings the embedded one; `import interpose` alone costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .embedded import intercept, intercept_sync

__all__ = ["__version__", "intercept", "intercept_sync"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("intercept", "intercept_sync"):
        from . import embedded

        return getattr(embedded, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
