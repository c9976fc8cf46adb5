"""What a process has to mind that is one of several workers on one address, whatever it serves: the gateway
(`hosts.serving`) or the interceptor (`cli.worker`).

Who has started it tells it by signals: SIGHUP to read the rules again, SIGTERM to end, CUT to end what is in flight.
What becomes of the processes is that one's, too (`cli.crew`).
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

logger = logging.getLogger(__name__)

# Which of the workers a process is, from 1; one that takes another's place has its number.
NUMBER = "INTERPOSE_WORKER"
MOST_FILES = 1 << 16
# Ends what is in flight: a server that is to end waits for it as long as it takes. Windows has no such signals.
CUT = signal.SIGTERM if sys.platform == "win32" else signal.SIGUSR1
# What a terminal tells all of us: when a worker ends is said by the process that has started it.
TERMINALS = (signal.SIGINT,) if sys.platform == "win32" else (signal.SIGINT, signal.SIGQUIT)
# By themselves these would end a process that does not listen to them yet: who starts one keeps them back.
KEPT_BACK = () if sys.platform == "win32" else (signal.SIGHUP, CUT)


class SharingLoop(asyncio.SelectorEventLoop):
    """The loop of a worker that listens by asyncio: each of its servers shares its address with other workers."""

    async def create_server(self, *given: Any, **named: Any) -> asyncio.Server:
        return await super().create_server(*given, **{**named, "reuse_port": True})


def begin(number: int) -> None:
    """The first that a worker's process does."""
    for each in TERMINALS:
        signal.signal(each, signal.SIG_IGN)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINALS)
    os.environ[NUMBER] = str(number)
    open_all_files()


def first(environ: Mapping[str, str]) -> bool:
    """Whether it is the one that tells what all workers find alike."""
    return environ.get(NUMBER, "1") == "1"


def listen(ask: Callable[[], None], cut: Callable[[], None]) -> None:
    """From now on SIGHUP calls `ask`, CUT calls `cut`, and the end of the process that has started us is as SIGTERM:
    nobody could tell us to end any more, and the address would stay taken.
    """
    if sys.platform == "win32":
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, ask)
    loop.add_signal_handler(CUT, cut)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, KEPT_BACK)
    if (parent := multiprocessing.parent_process()) is not None:
        loop.add_reader(parent.sentinel, _orphaned, parent.sentinel)


def _orphaned(sentinel: int) -> None:
    asyncio.get_running_loop().remove_reader(sentinel)
    logger.error("the process that has started this worker is gone: it answers what it has taken, and ends")
    signal.raise_signal(signal.SIGTERM)


def open_all_files() -> None:
    """Has this process open as many files as it may: a call takes two, and what is usual without asking is 1024."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
