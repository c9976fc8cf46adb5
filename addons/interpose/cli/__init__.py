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

        try:
            app(prog_name="interpose")
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, and not at exit, where nobody could tell of a failure
    except KeyboardInterrupt:
        # Ctrl-C while modules are still being imported.
        raise SystemExit(128 + signal.SIGINT) from None
    except BrokenPipeError:
        # `interpose usage | head`: the reader has what it wanted.
        discard_stdout()
        raise SystemExit(128 + signal.SIGPIPE) from None
    except OSError as error:
        if stdout_can_be_written():
            raise
        discard_stdout()
        from .terminal import say

        say(f"cannot write to stdout: {error.strerror or error}")
        raise SystemExit(1) from None


def stdout_can_be_written() -> bool:
    """Whether a failure was none of stdout's. Unbuffered streams forget what they could not write: so try a line."""
    try:
        print(flush=True)
    except OSError:
        return False
    return True


def discard_stdout() -> None:
    """Lets what stdout still holds go nowhere. Python would complain at exit, when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fill_standard_streams() -> None:
    """Puts /dev/null where a standard stream is closed, so that no file of ours becomes the program's stderr."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
