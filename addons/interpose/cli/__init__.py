"""The `interpose` command. Here is only its entry; `commands` has the options, and one module each what they do."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """The console script."""
    fill_standard_streams()
    try:
        from .commands import app

        app(prog_name="interpose")
    except KeyboardInterrupt:
        # Ctrl-C while modules are still being imported.
        raise SystemExit(128 + signal.SIGINT) from None
    except BrokenPipeError:
        # `interpose usage | head`: the reader has what it wanted. Python would complain at exit, when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None


def fill_standard_streams() -> None:
    """Puts /dev/null where a standard stream is closed, so that no file of ours becomes the program's stderr."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
