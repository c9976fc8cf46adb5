"""What a person sees while a command works for longer than a moment: a bar on stderr, which is gone when it ends."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .terminal import console

# What is over sooner is not worth a bar that comes and goes.
_MOMENT = 0.7


@contextmanager
def progress(what: str) -> Iterator[Callable[[float], None] | None]:
    """Where to tell which part (of 1) is done; None where nobody looks."""
    if sys.stderr is None or not sys.stderr.isatty() or not (terminal := console(sys.stderr)).is_interactive:
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=terminal, transient=True)
    task = bar.add_task(what, total=None)
    later = threading.Timer(_MOMENT, bar.start)
    later.daemon = True
    later.start()
    try:
        yield lambda done: bar.update(task, completed=done, total=1.0)
    finally:
        later.cancel()
        later.join()
        bar.stop()
