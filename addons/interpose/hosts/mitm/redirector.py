"""The helper process that brings connections here in `--mode local`: what it says, and its end.

On Linux it is an eBPF program's keeper that runs by sudo, fails after it has started, and tells why in a hundred lines
of log. Nothing would come here then, and nobody would know: so its end is ours, with the reason in one line.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections import deque
from contextlib import suppress

from mitmproxy.proxy.mode_servers import LocalRedirectorInstance

from interpose.errors import InterposeError

LOGGERS = ("mitmproxy.packet_sources.linux", "mitmproxy.shutdown")
# What it says last. `LocalRedirector.wait_closed` goes on waiting (mitmproxy_rs 0.12).
LAST = "[linux-redirector] exited"
# What it says when connections begin to come here, and what makes it say so.
READY = "Updating ebpf intercept conf"
TALKATIVE = "mitmproxy_linux_redirector=debug,warn"
NEEDS = {
    "linux": "it needs root (or sudo), a kernel from 6.8 on, and cgroup v2 at /sys/fs/cgroup",
    "darwin": "it needs the Mitmproxy Redirector app to be allowed in the system's settings",
    "win32": "it needs an administrator's consent",
}
# A reason is told in fewer lines.
KEPT = 400
# Seconds that its end may take.
GRACE = 2.0
# And its start; sudo may ask for a password.
PATIENCE = 30.0


class Redirector(logging.Handler):
    """Listens to what the helper process says instead of passing it on."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._ready = asyncio.Event()
        self._said: deque[str] = deque(maxlen=KEPT)
        os.environ.setdefault("RUST_LOG", TALKATIVE)
        for name in LOGGERS:
            # For good: its threads go on complaining while it ends.
            logger = logging.getLogger(name)
            logger.handlers = [self]
            logger.setLevel(logging.DEBUG)
            logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        self._said.append(said)
        if READY in said:
            self._loop.call_soon_threadsafe(self._ready.set)
        if said.startswith(LAST):
            self._loop.call_soon_threadsafe(self._ended.set)

    async def dismiss(self) -> None:
        """Ends the helper. mitmproxy keeps it for a next time, and its thread would outlive the interpreter."""
        server, LocalRedirectorInstance._server = LocalRedirectorInstance._server, None
        if server is None:
            return
        server.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), GRACE)

    async def ready(self) -> None:
        """Waits until connections come here. Raises InterposeError if the helper has ended instead."""
        if sys.platform != "linux":
            return
        ready, ended = asyncio.create_task(self._ready.wait()), asyncio.create_task(self._ended.wait())
        await asyncio.wait((ready, ended), timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        for task in (ready, ended):
            task.cancel()
        if self._ended.is_set():
            raise await self.ended()

    async def ended(self) -> InterposeError:
        """Waits for the helper's end, which nobody has asked for, and says why it came."""
        await self._ended.wait()
        return InterposeError(told("\n".join(self._said).rpartition("Error:")[2]))


def told(text: str) -> str:
    """One line of how a Rust program tells an error: it and its causes, without the trace."""
    lines = [line.strip() for line in text.partition("Stack backtrace")[0].splitlines()]
    parts = [line.rstrip(".").lstrip("0123456789: ") for line in lines if line and line != "Caused by:"]
    why = ": ".join(parts)[:400] or "its helper process has ended"
    return f"--mode local cannot go on: {why}; {NEEDS.get(sys.platform, 'this system has no such mode')}"
