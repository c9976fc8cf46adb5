"""Everything that an engine needs, put together: secrets, ledger, upstream connections. Whatever host is in front of
it (mitmproxy, a gateway, a program that embeds it) opens one assembly and closes it last.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from interpose.alerts import Keeper, Senders, Surroundings
from interpose.attempts.lanes import News
from interpose.capturing import Desk
from interpose.engine.engine import Engine
from interpose.engine.exchange import Exchange
from interpose.engine.journey import Clock
from interpose.engine.witness import Witness
from interpose.hosts.budgets import budgets_of, spent
from interpose.issued import Keys, KeysError
from interpose.ledger import Ledger, Record
from interpose.ledger.address import Readable
from interpose.metrics import Metrics
from interpose.metrics.states import of_engine, of_ledger
from interpose.prices.catalogue import PRICES
from interpose.rules.compiled import Rules
from interpose.rules.problem import Problem, RulesError
from interpose.rules.restart import as_settled
from interpose.rules.secrets import SecretStore
from interpose.secret import Scrubber
from interpose.upstream.client import Upstream

from . import recording, sharing, telling
from .keeping import Keeping

if TYPE_CHECKING:
    from interpose.telemetry.telling import Telling

logger = logging.getLogger(__name__)

# What earlier runs have left for a ledger that was away gets so long to come there, before budgets are read from it.
LEFT_OVER = 2.0

CLOCK = Clock(now=time.time, monotonic=time.monotonic)


@dataclass(frozen=True, slots=True)
class Assembly:
    """An engine at work and the ledger that it writes. `writer` is this run's name in the ledger, `places` where that
    is read, the first one ahead.
    """

    engine: Engine
    ledger: Ledger
    places: tuple[Readable, ...]
    writer: str
    credentials: SecretStore
    keys: Keys
    metrics: Metrics
    alerts: Keeper
    desk: Desk
    keeping: Keeping
    # Who else is told each record: whoever it is must neither raise nor wait. Records may come from a thread.
    listeners: list[Callable[[Record], None]] = field(default_factory=list)
    traces: Telling | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    async def reload(self, rules: Rules) -> None:
        """Calls that begin from now on go by these rules.

        Raises RulesError for what cannot be had (a credential, a CA): then those of before stay in force.
        """
        async with self._turn:
            rules, settled = as_settled(rules, self.engine.rules)
            if problems := await self.credentials.check_all(rules.secrets):
                raise RulesError(problems)
            await restore_budgets(self.engine, rules, self.keys, self.places)
            try:
                await self.engine.reload(rules)
            except OSError as error:
                raise RulesError(
                    [unusable(rules, f"a file of CAs cannot be used: {error.strerror or error}")]
                ) from error
            self.metrics.adopt(rules)
            self.alerts.adopt(rules.alerts)
            self.keeping.adopt(rules.ledger)
            if self.traces is not None:
                self.traces.adopt(rules)
            self.credentials.keep(list(rules.secrets))
        for name in settled:
            logger.warning("%s has changed in the rules: it stays as it was until interpose is started again", name)

    async def committed(self, seconds: float) -> bool:
        """Waits until the calls in flight have ended and all records are in the ledger; False if that takes longer."""
        ended = await self.engine.idle(seconds)
        # Records of the first moments wait for the prices.
        await asyncio.to_thread(PRICES.settle)
        written = await asyncio.to_thread(self.desk.flush, seconds)
        return await self.ledger.flush(seconds) and written and ended


def unusable(rules: Rules, message: str, path: str = "") -> Problem:
    """What is wrong with rules that are good by themselves."""
    return Problem(str(rules.source or "rules"), 1, 1, path, message)


async def restore_budgets(engine: Engine, rules: Rules, keys: Keys, places: Sequence[Readable]) -> None:
    """Tells the limits what the ledger says was spent. The prices are there when it returns, if there is a budget:
    what has no price yet would be held by none.
    """
    try:
        issued = keys.budgets()
    except KeysError as error:
        logger.error("the budgets of issued keys begin anew: %s", error)
        issued = set()
    if limits := budgets_of(rules, issued):
        await asyncio.to_thread(PRICES.wait)
        for demand, micro in await asyncio.to_thread(spent, limits, places, CLOCK.now()):
            await engine.gate.seed(demand, micro)


def new_id() -> str:
    """A call's id, or a connection's: 96 random bits."""
    return f"ip_{secrets.token_hex(12)}"


@asynccontextmanager
async def assemble(
    rules: Rules,
    *,
    state: Path,
    environ: Mapping[str, str],
    scrubber: Scrubber,
    writer: str,
    metrics: Path | None = None,
) -> AsyncIterator[Assembly]:
    """Raises RulesError for a credential that cannot be had, LedgerError for a ledger that cannot be opened.

    `metrics` is the folder in which several workers count together.
    """
    async with AsyncExitStack() as stack:
        secret_store = SecretStore(environ, clock=CLOCK.monotonic, learn=scrubber.learn)
        if problems := await secret_store.check_all(rules.secrets):
            raise RulesError(problems)
        PRICES.start()
        measured = Metrics(metrics, now=CLOCK.now)
        stack.callback(measured.close)
        measured.adopt(rules)
        at = await recording.places(rules.ledger, state, secret_store, scrubber)
        ledger = await recording.opened(at, state, writer=writer, clock=CLOCK.now, scrub=scrubber.scrub)
        places = recording.readable(at)
        # It ends behind the ledger: the last checkpoint has what that has written.
        keeping = Keeping(places, now=CLOCK.now)
        stack.push_async_callback(keeping.aclose)
        stack.callback(ledger.close)
        desk = Desk(ledger, credentials=lambda: scrubber.values, now=CLOCK.monotonic)
        stack.callback(desk.close)
        # Records that wait for the prices come before the ledger's end.
        stack.callback(PRICES.settle)

        alerts = Keeper(
            rules.alerts, Senders(secret_store.resolve), now=CLOCK.now, timer=CLOCK.monotonic, host=socket.gethostname()
        )
        stack.push_async_callback(alerts.aclose)

        listeners: list[Callable[[Record], None]] = []

        def record(record: Record) -> None:
            measured.record(record)
            # It goes to the ledger from there, behind the bodies of its call, if these are kept.
            desk.record(record)
            alerts.saw(record)
            for tell in listeners:
                tell(record)

        def keep(exchange: Exchange) -> Witness:
            return desk.look_at(exchange.id, exchange.call, exchange.inforce.rules.ledger, exchange.began)

        traces = await telling.opened(rules, environ, secret_store, scrubber, writer)
        if traces is not None:
            stack.push_async_callback(telling.ended, traces)
        keys = Keys(state, timer=CLOCK.monotonic)
        stack.callback(keys.close)
        login = await sharing.login(rules.state, secret_store, scrubber)
        board = sharing.board(rules.state, login, keys, CLOCK.monotonic)
        engine = Engine(
            rules,
            upstream=Upstream(rules.upstream),
            resolve=secret_store.resolve,
            record=record,
            clock=CLOCK,
            new_id=new_id,
            issued=keys.find,
            prices=PRICES,
            store=await sharing.opened(rules.state, login, CLOCK.now),
            news=News(board.tell) if board is not None else None,
            observer=measured,
            keep=keep,
            tracer=traces,
        )
        stack.push_async_callback(engine.close)
        if board is not None:
            stack.push_async_callback(board.aclose)
            await board.open(engine.hear, sharing.START)
        if not ledger.caught_up(0):
            await asyncio.to_thread(ledger.caught_up, LEFT_OVER)
        await restore_budgets(engine, rules, keys, places)
        measured.watch(partial(of_engine, engine))
        measured.watch(partial(of_ledger, ledger))
        showing = asyncio.create_task(measured.show())
        stack.callback(showing.cancel)
        alerts.watch(
            Surroundings(
                budgets=engine.gate.budgets, quotas=engine.quotas.shares, lost=lambda: ledger.lost + desk.crowded
            )
        )
        stack.callback(asyncio.create_task(alerts.keep()).cancel)
        keeping.adopt(rules.ledger)
        yield Assembly(
            engine,
            ledger,
            places,
            writer,
            secret_store,
            keys,
            measured,
            alerts,
            desk,
            keeping,
            listeners=listeners,
            traces=traces,
        )
