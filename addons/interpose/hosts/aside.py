"""Something that stays open for as long as a program needs it: in a thread with an event loop of its own (`Aside`), or
in the loop that the program has (`Within`).

It is opened and closed by one and the same task, whoever asks for that and when. What it is does not matter here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any

from interpose.errors import InterposeError

type Opening[T] = Callable[[], AbstractAsyncContextManager[T]]


class Aside[T]:
    """Open in a daemon thread, from `start` until `stop`; for programs without a loop, or with one that may be blocked.

    Any thread may call anything here.
    """

    def __init__(self, opening: Opening[T]) -> None:
        self._opening = opening
        self._running: tuple[T, asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._over: Future[None] = Future()
        self._pending: set[Future[Any]] = set()

    @property
    def held(self) -> T | None:
        """What is open; None before the start has been successful, and after the stop."""
        return self._running[0] if self._running is not None else None

    def start(self) -> Future[None]:
        """Starts the thread; the future is done when it is open, or has failed to be."""
        ready: Future[None] = Future()
        self._over = Future()
        threading.Thread(target=self._run, args=(ready,), name="interpose", daemon=True).start()
        return ready

    def stop(self) -> Future[None]:
        """Has it end; the future is done when nothing of it is left."""
        if (running := self._running) is not None:
            running[1].call_soon_threadsafe(running[2].set)
        return self._over

    def submit[R](self, work: Coroutine[Any, Any, R]) -> Future[R]:
        """Has that done in the thread. Raises InterposeError if there is none."""
        running = self._running
        try:
            if running is None:
                raise RuntimeError
            future = asyncio.run_coroutine_threadsafe(work, running[1])
        except RuntimeError:
            work.close()
            raise InterposeError("nothing is open that could do this") from None
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        if self._over.done():
            # Too late: the loop has ended before it looked.
            future.cancel()
        return future

    def _run(self, ready: Future[None]) -> None:
        try:
            asyncio.run(self._hold(ready))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the other thread is to see it
            self._over.set_exception(error)
            if not ready.done():
                ready.set_exception(error)
        else:
            self._over.set_result(None)
        for future in list(self._pending):
            # Nobody is there any more to do it.
            future.cancel()

    async def _hold(self, ready: Future[None]) -> None:
        stop = asyncio.Event()
        async with self._opening() as held:
            self._running = held, asyncio.get_running_loop(), stop
            ready.set_result(None)
            try:
                await stop.wait()
            finally:
                self._running = None


class Within[T]:
    """Open in the loop that runs when it is first needed, held by a task of its own: it is closed in good order where
    that is forgotten, too, since a loop cancels its tasks when it ends. After that, or after `close`, it may be opened
    again, in another loop as well. `what` names it in errors.
    """

    def __init__(self, opening: Opening[T], what: str) -> None:
        self._opening = opening
        self._what = what
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[T] | None = None
        self._stop = asyncio.Event()

    @property
    def held(self) -> T | None:
        """What is open, if it is."""
        ready = self._ready
        if not self._alive() or ready is None or not ready.done() or ready.cancelled() or ready.exception():
            return None
        return ready.result()

    @property
    def here(self) -> T | None:
        """What is open in the loop that runs, if it is."""
        return self.held if self._loop is asyncio.get_running_loop() else None

    def _alive(self) -> bool:
        return self._keeper is not None and self._loop is not None and not self._loop.is_closed()

    async def open(self) -> T:
        """What is open; opens it if it is not. Raises what the opening raises, and InterposeError in another loop."""
        loop = self._mine()
        while self._alive() and self._stop.is_set():
            await self._ended()
        if not self._alive() or self._ready is None:
            self._loop, self._stop, self._ready = loop, asyncio.Event(), loop.create_future()
            self._keeper = loop.create_task(self._keep(self._ready, self._stop), name="interpose")
        # Whoever gives up waiting gives up for himself.
        return await asyncio.shield(self._ready)

    async def close(self) -> None:
        """Closes it, if it is open, and comes back when nothing of it is left."""
        if self._alive():
            self._mine()
            self._stop.set()
            await self._ended()

    def _mine(self) -> asyncio.AbstractEventLoop:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise InterposeError(f"{self._what} runs on asyncio alone, and no loop of asyncio runs here") from None
        if self._alive() and self._loop is not loop:
            raise InterposeError(
                f"{self._what} belongs to another event loop, in which it is open: make one for each loop"
            )
        return loop

    async def _ended(self) -> None:
        if (keeper := self._keeper) is not None:
            await asyncio.wait([keeper])
            if not keeper.cancelled() and (error := keeper.exception()) is not None:
                raise error

    async def _keep(self, ready: asyncio.Future[T], stop: asyncio.Event) -> None:
        try:
            async with self._opening() as held:
                ready.set_result(held)
                await stop.wait()
        except asyncio.CancelledError:
            ready.cancel()
            raise
        except Exception as error:
            if ready.done():
                raise
            ready.set_exception(error)
            # It may be that nobody waits any more.
            ready.exception()
        finally:
            self._keeper = None
