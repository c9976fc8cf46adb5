"""The interceptor inside a program: `async with intercept(rules) as proxy`, or `with intercept_sync(rules)`.

It runs in a thread with an event loop of its own. So the program's loop keeps its task factory, its handlers and its
signals, whichever loop it is; and a client that blocks the program's loop does not block the proxy that it waits for.
One at a time in a process: mitmproxy keeps its options in globals.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import warnings
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .errors import InterposeError
from .hosts.aside import Aside
from .hosts.embedding import AGAIN, PATIENCE, Given, RulesLike, recorded, scrubbed
from .ledger import Record
from .secret import Scrubber

if TYPE_CHECKING:
    from .hosts.mitm import Interceptor


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


class Embedded:
    """What both kinds have in common: the thread, and what can be said without waiting for it."""

    def __init__(
        self, rules: RulesLike = None, *, state: Path | str | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._given = Given(rules, state, environ)
        self._aside = Aside(self._opening)

    @property
    def _interceptor(self) -> Interceptor:
        if (interceptor := self._aside.held) is None:
            raise InterposeError("the interceptor does not run: use it inside of its `with`")
        return interceptor

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
    def ledger_path(self) -> Path | None:
        """The first file of the ledger; None if it is databases alone."""
        return self._interceptor.ledger_path

    def environ(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment in which a program's AI calls come here: `base`, or else the process's, with proxy and CA
        variables set and placeholders for the keys that the rules inject. Whole, as subprocess.run wants it.
        """
        from .cli.leading import leading_environment

        base = dict(os.environ if base is None else base)
        return leading_environment(self._given.rules, base, proxy=self.url, authority=self.ca_certificate).values

    def ssl_context(self) -> ssl.SSLContext:
        """A client's TLS context: it trusts what the system trusts, and our CA."""
        from .cli.trust import write_bundles

        bundles = write_bundles(self.ca_certificate.parent, self.ca_certificate, os.environ)
        return ssl.create_default_context(cafile=str(bundles["SSL_CERT_FILE"]))

    # --- the thread -------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """What takes a moment and can fail, before the thread. Raises InterposeErrors."""
        if self._aside.held is not None:
            raise InterposeError("this interceptor runs already: make another one when it has ended")
        self._given.read()
        with warnings.catch_warnings(action="ignore"):
            # mitmproxy's dependencies deprecate each other; a program that makes warnings errors should not see that.
            from .hosts.mitm import proxy  # noqa: F401

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[Interceptor]:
        from .hosts.mitm import Interceptor

        scrubber = Scrubber()
        with self._given.folder() as state, scrubbed(scrubber):
            async with Interceptor(
                self._given.rules, state=state, environ=self._given.environ(), scrubber=scrubber
            ) as interceptor:
                yield interceptor

    def _reload(self, rules: RulesLike) -> Future[None]:
        return self._aside.submit(self._given.reload(self._interceptor, rules))

    def _calls(self, since: str, seconds: float) -> Future[list[Record]]:
        return self._aside.submit(recorded(self._interceptor, since, seconds))


class Interception(Embedded):
    """The interceptor in a program with an event loop; see `intercept`."""

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._prepare)
        ready = self._aside.start()
        try:
            await asyncio.shield(asyncio.wrap_future(ready))
        except asyncio.CancelledError:
            # What has begun to start ends first: the next one in this process would be refused.
            ready.add_done_callback(lambda _: self._aside.stop())
            over = asyncio.wrap_future(self._aside.stop())
            await asyncio.wait([over])
            over.exception()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.shield(asyncio.wrap_future(self._aside.stop()))

    async def reload(self, rules: RulesLike = AGAIN) -> None:
        """Calls that begin from now on go by these rules; by those that it was started with, read again, if none are
        given. Those in flight keep theirs.

        Raises RulesError for rules that cannot be used: then those of before stay in force.
        """
        await asyncio.shield(asyncio.wrap_future(self._reload(rules)))

    async def calls(self, *, since: str = "", wait: float = PATIENCE) -> list[Record]:
        """The calls so far, in the order in which they began, once those in flight have ended: for at most `wait`
        seconds, after which they are not among them. `since` is a time as records have it (`utc_text`).
        """
        return await asyncio.wrap_future(self._calls(since, wait))


class SyncInterception(Embedded):
    """The interceptor in a program without an event loop, or beside one; see `intercept_sync`."""

    def __enter__(self) -> Self:
        self._prepare()
        ready = self._aside.start()
        try:
            ready.result()
        except BaseException:
            # A signal, or its failure: either way, nothing of it is to run on.
            ready.add_done_callback(lambda _: self._aside.stop())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._aside.stop().result()

    def reload(self, rules: RulesLike = AGAIN) -> None:
        """As `Interception.reload`."""
        self._reload(rules).result()

    def calls(self, *, since: str = "", wait: float = PATIENCE) -> list[Record]:
        """As `Interception.calls`."""
        return self._calls(since, wait).result()
