"""What becomes of engines in threads when the program ends without closing them, and when it forks.

At the end calls in flight are cut off and recorded. A fork takes no threads along, but all that they hold: so they
stand still for that moment, with no file of SQLite's open and no lock taken, and the child begins without any.
https://docs.python.org/3/library/os.html#os.register_at_fork
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final

from interpose.errors import InterposeError
from interpose.prices.catalogue import PRICES

from .aside import Aside
from .inside import Inside

logger = logging.getLogger(__name__)

# So long the end of one may take when the program ends.
FAREWELL: Final = 10.0
# So long a fork waits for a thread that is busy, and the thread for the fork.
PATIENCE: Final = 2.0

_OPEN: set[Aside[Inside]] = set()
_HOLDERS: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()
# What holds the threads still while the process forks.
_STILL = ExitStack()
# What a child has inherited and must not touch, not even by letting go of it: the parent goes on with it.
_INHERITED: list[object] = []


def on_fork(holder: object, renew: Callable[[Any], None]) -> None:
    """Has `renew(holder)` called in each child, for as long as there is such a holder."""
    _HOLDERS[holder] = renew


def remember(aside: Aside[Inside]) -> None:
    """It is open now."""
    _OPEN.add(aside)
    # What is registered last is done first: before its ledger's own end.
    atexit.unregister(_finish)
    atexit.register(_finish)


def forget(aside: Aside[Inside]) -> None:
    """It was closed in good order."""
    _OPEN.discard(aside)


def _finish() -> None:
    for over in [aside.stop() for aside in list(_OPEN) if aside.held is not None]:
        try:
            over.result(FAREWELL)
        except Exception:
            logger.exception("an engine did not end well")


def _before_fork() -> None:
    if any(aside.held is not None for aside in _OPEN):
        # Their thread would not be there in the child, which would wait for it.
        PRICES.wait()
    for aside in list(_OPEN):
        if (inside := aside.held) is not None and threading.current_thread().name != "interpose":
            going_on = threading.Event()
            try:
                aside.submit(_stand_still(inside, still := threading.Event(), going_on))
            except InterposeError:
                continue
            still.wait(PATIENCE)
            _STILL.callback(going_on.set)
            _STILL.enter_context(inside.assembly.keeping.unopened())
            _STILL.enter_context(inside.assembly.ledger.unopened())


async def _stand_still(inside: Inside, still: threading.Event, going_on: threading.Event) -> None:
    """In the engine's thread: blocks it, which is what is wanted."""
    inside.assembly.keys.close()
    still.set()
    going_on.wait(PATIENCE)


def _in_parent() -> None:
    _STILL.close()


def _in_child() -> None:
    _INHERITED.append(_STILL.pop_all())
    for aside in _OPEN:
        if (inside := aside.held) is not None:
            atexit.unregister(inside.assembly.ledger.close)
    _INHERITED.extend(_OPEN)
    _OPEN.clear()
    for holder, renew in list(_HOLDERS.items()):
        renew(holder)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
