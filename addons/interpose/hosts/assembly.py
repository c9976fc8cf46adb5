"""Everything that an engine needs, put together: secrets, ledger, upstream connections. Whatever host is in front of
it (mitmproxy, a gateway, a program that embeds it) opens one assembly and closes it last.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from interpose.engine import Engine
from interpose.exchange import Clock
from interpose.issued import Keys
from interpose.ledger import Ledger
from interpose.rules.compiled import Rules
from interpose.rules.problem import RulesError
from interpose.rules.secrets import SecretStore
from interpose.secret import Scrubber
from interpose.upstream import Upstream

CLOCK = Clock(now=time.time, monotonic=time.monotonic)


@dataclass(frozen=True, slots=True)
class Assembly:
    """An engine at work and the ledger that it writes. `writer` is this run's name in the ledger."""

    engine: Engine
    ledger: Ledger
    ledger_path: Path
    writer: str


def new_id() -> str:
    """A call's id, or a connection's: 96 random bits."""
    return f"ip_{secrets.token_hex(12)}"


def ledger_path(rules: Rules, state: Path) -> Path:
    return rules.ledger.sqlite or state / "usage.db"


@asynccontextmanager
async def assemble(
    rules: Rules, *, state: Path, environ: Mapping[str, str], scrubber: Scrubber, writer: str
) -> AsyncIterator[Assembly]:
    """Raises RulesError for a credential that cannot be had, LedgerError for a ledger that cannot be opened."""
    async with AsyncExitStack() as stack:
        store = SecretStore(environ, clock=CLOCK.monotonic, learn=scrubber.learn)
        if problems := await store.check_all(list(rules.credentials)):
            raise RulesError(problems)
        path = ledger_path(rules, state)
        ledger = Ledger.open(path, writer=writer, clock=CLOCK.now, scrub=scrubber.scrub)
        stack.callback(ledger.close)
        keys = Keys(state, timer=CLOCK.monotonic)
        stack.callback(keys.close)
        engine = Engine(
            rules,
            upstream=Upstream(rules.upstream),
            resolve=store.resolve,
            record=ledger.record,
            clock=CLOCK,
            new_id=new_id,
            issued=keys.find,
        )
        stack.push_async_callback(engine.close)
        yield Assembly(engine, ledger, path, writer)
