"""The interceptor inside a program: `async with intercept(rules) as proxy`, or `with intercept_sync(rules)`.

It runs in a thread with an event loop of its own. So the program's loop keeps its task factory, its handlers and its
signals, whichever loop it is; and a client that blocks the program's loop does not block the proxy that it waits for.
One at a time in a process: mitmproxy keeps its options in globals.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from .errors import InterposeError
from .ledger import Record
from .ledger.record import CALLS, from_row
from .ledger.schema import open_for_reading
from .rules.compiled import Rules
from .rules.load import load, parse
from .secret import Scrubber
from .state import make_state_folder, state_path

if TYPE_CHECKING:
    from .hosts.mitm import Interceptor

log = logging.getLogger(__name__)

RulesLike = Rules | Path | str | Mapping[str, object] | None
"""Rules, a path to a rules file, the text of one (a str of several lines), what one holds (a mapping); None: no rules,
hence record everything and change nothing.
"""

# Stands for the rules that were named last.
AGAIN: Final = Rules.default()
# How long `calls` waits for calls that are still in flight.
PATIENCE = 5.0
# Whose log lines are ours.
LOGGERS = ("interpose", "mitmproxy")


def intercept(
    rules: RulesLike = None, *, state: Path | str | None = None, environ: Mapping[str, str] | None = None
) -> Interception:
    """The interceptor as an async context manager, on a free port of 127.0.0.1.

    `state` is the folder of its CA and its ledger; without one both are gone at the end. `environ` (default: the
    process's) is where the rules find their credentials.

    The start raises RulesError, AuthorityError or LedgerError for what is wrong with those, InterposeError if another
    interceptor runs in this process.
    """
    return Interception(rules, state=state, environ=environ)


def intercept_sync(
    rules: RulesLike = None, *, state: Path | str | None = None, environ: Mapping[str, str] | None = None
) -> SyncInterception:
    """`intercept` for programs without an event loop: a plain context manager."""
    return SyncInterception(rules, state=state, environ=environ)


def read_rules(rules: RulesLike) -> Rules:
    """Raises RulesError. Relative paths in text or a mapping start from the current folder."""
    match rules:
        case None:
            return Rules.default()
        case Rules():
            return rules
        case str() if "\n" in rules:
            return parse(rules, "rules", Path.cwd())
        case str() | Path():
            return load(rules)
        case _:
            # JSON is YAML.
            return parse(json.dumps(rules, indent=1, default=str), "rules", Path.cwd())


class Embedded:
    """What both kinds have in common: the thread, and what can be said without waiting for it."""

    def __init__(
        self, rules: RulesLike = None, *, state: Path | str | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._asked = rules
        self._state = state
        self._environ = environ
        self._rules = Rules.default()
        self._stack = ExitStack()
        self._running: tuple[Interceptor, asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._over: Future[None] = Future()

    @property
    def _interceptor(self) -> Interceptor:
        if self._running is None:
            raise InterposeError("the interceptor does not run: use it inside of its `with`")
        return self._running[0]

    @property
    def url(self) -> str:
        """The proxy's URL, as in http://127.0.0.1:41234."""
        host, port = self._interceptor.address
        return f"http://{host}:{port}"

    @property
    def ca_certificate(self) -> Path:
        """The PEM file of the CA that clients must trust."""
        return self._interceptor.ca_certificate

    @property
    def ledger_path(self) -> Path:
        return self._interceptor.ledger_path

    def environ(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment in which a program's AI calls come here: `base`, or else the process's, with proxy and CA
        variables set and placeholders for the keys that the rules inject. Whole, as subprocess.run wants it.
        """
        from .cli.leading import leading_environment

        base = dict(os.environ if base is None else base)
        return leading_environment(self._rules, base, proxy=self.url, authority=self.ca_certificate).values

    def ssl_context(self) -> ssl.SSLContext:
        """A client's TLS context: it trusts what the system trusts, and our CA."""
        from .cli.trust import write_bundles

        bundles = write_bundles(self.ca_certificate.parent, self.ca_certificate, os.environ)
        return ssl.create_default_context(cafile=str(bundles["SSL_CERT_FILE"]))

    # --- the thread -------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """What takes a moment and can fail, before the thread. Raises InterposeErrors."""
        if self._running is not None:
            raise InterposeError("this interceptor runs already: make another one when it has ended")
        self._rules = read_rules(self._asked)
        for warning in self._rules.warnings:
            log.warning("%s", warning)
        with warnings.catch_warnings(action="ignore"):
            # mitmproxy's dependencies deprecate each other; a program that makes warnings errors should not see that.
            from .hosts import mitm  # noqa: F401

    def _folder(self) -> Path:
        if self._state is not None:
            return make_state_folder(state_path(Path(self._state), os.environ))
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="interpose-")))

    def _start(self) -> Future[None]:
        """Starts the thread; the future is done when the interceptor listens, or has failed to."""
        ready: Future[None] = Future()
        self._over = Future()
        threading.Thread(target=self._run, args=(ready,), name="interpose", daemon=True).start()
        return ready

    def _run(self, ready: Future[None]) -> None:
        try:
            with self._stack:
                asyncio.run(self._hold(ready))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the other thread is to see it
            self._over.set_exception(error)
            if not ready.done():
                ready.set_exception(error)
        else:
            self._over.set_result(None)

    async def _hold(self, ready: Future[None]) -> None:
        from .hosts.mitm import Interceptor

        environ = dict(os.environ if self._environ is None else self._environ)
        stop = asyncio.Event()
        scrubber = Scrubber()
        with scrubbed(scrubber):
            async with Interceptor(
                self._rules, state=self._folder(), environ=environ, scrubber=scrubber
            ) as interceptor:
                self._running = interceptor, asyncio.get_running_loop(), stop
                ready.set_result(None)
                try:
                    await stop.wait()
                finally:
                    self._running = None

    def _stop(self) -> Future[None]:
        """Has the interceptor end; the future is done when nothing of it is left."""
        if self._running is not None:
            _, loop, stop = self._running
            loop.call_soon_threadsafe(stop.set)
        return self._over

    def _reload(self, rules: RulesLike) -> Future[None]:
        """Reads rules in this thread, and has the other one put them in force."""
        read = read_rules(rules)
        for warning in read.warnings:
            log.warning("%s", warning)
        interceptor = self._interceptor
        assert self._running is not None
        return asyncio.run_coroutine_threadsafe(self._adopt(interceptor, rules, read), self._running[1])

    async def _adopt(self, interceptor: Interceptor, asked: RulesLike, rules: Rules) -> None:
        await interceptor.reload(rules)
        self._asked, self._rules = asked, rules

    def _calls(self, since: str, seconds: float) -> Future[list[Record]]:
        interceptor = self._interceptor
        assert self._running is not None
        return asyncio.run_coroutine_threadsafe(_recorded(interceptor, since, seconds), self._running[1])


class Interception(Embedded):
    """The interceptor in a program with an event loop; see `intercept`."""

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._prepare)
        ready = self._start()
        try:
            await asyncio.shield(asyncio.wrap_future(ready))
        except asyncio.CancelledError:
            # What has begun to start ends first: the next one in this process would be refused.
            ready.add_done_callback(lambda _: self._stop())
            over = asyncio.wrap_future(self._over)
            await asyncio.wait([over])
            over.exception()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.shield(asyncio.wrap_future(self._stop()))

    async def reload(self, rules: RulesLike = AGAIN) -> None:
        """Calls that begin from now on go by these rules; by those that it was started with, read again, if none are
        given. Those in flight keep theirs.

        Raises RulesError for rules that cannot be used: then those of before stay in force.
        """
        future = await asyncio.to_thread(self._reload, self._asked if rules is AGAIN else rules)
        await asyncio.shield(asyncio.wrap_future(future))

    async def calls(self, *, since: str = "", wait: float = PATIENCE) -> list[Record]:
        """The calls so far, in the order in which they began, once those in flight have ended: for at most `wait`
        seconds, after which they are not among them. `since` is a time as records have it (`utc_text`).
        """
        return await asyncio.wrap_future(self._calls(since, wait))


class SyncInterception(Embedded):
    """The interceptor in a program without an event loop, or beside one; see `intercept_sync`."""

    def __enter__(self) -> Self:
        self._prepare()
        ready = self._start()
        try:
            ready.result()
        except BaseException:
            # A signal, or its failure: either way, nothing of it is to run on.
            ready.add_done_callback(lambda _: self._stop())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop().result()

    def reload(self, rules: RulesLike = AGAIN) -> None:
        """As `Interception.reload`."""
        self._reload(self._asked if rules is AGAIN else rules).result()

    def calls(self, *, since: str = "", wait: float = PATIENCE) -> list[Record]:
        """As `Interception.calls`."""
        return self._calls(since, wait).result()


@contextmanager
def scrubbed(scrubber: Scrubber) -> Iterator[None]:
    """No secret that `scrubber` knows is in what we log, whoever handles it."""
    # A filter sees its own logger's records alone, not those of the loggers below.
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in LOGGERS]
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(scrubber)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(scrubber)


async def _recorded(interceptor: Interceptor, since: str, seconds: float) -> list[Record]:
    await interceptor.committed(seconds)
    return await asyncio.to_thread(_read, interceptor.ledger_path, interceptor.writer, since)


def _read(path: Path, writer: str, since: str) -> list[Record]:
    connection = open_for_reading(path)
    try:
        rows = connection.execute(
            f"SELECT {', '.join(CALLS.columns)} FROM calls"  # noqa: S608 - our columns
            " WHERE writer = ? AND started_at >= ? AND entrance != 'ledger' ORDER BY started_at, seq",
            (writer, since),
        ).fetchall()
    finally:
        connection.close()
    return [from_row(row) for row in rows]
