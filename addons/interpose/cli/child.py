"""The program that runs under `interpose run`: started, signalled and waited for as if we were not there.

It keeps the terminal, our process group and its standard streams. A signal that we get is passed on, unless the
terminal has sent it to the whole foreground group, the program included.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from interpose.errors import InterposeError

NOT_FOUND = 127
NOT_EXECUTABLE = 126

# What the terminal's driver sends to the foreground group by itself: https://man7.org/linux/man-pages/man3/termios.3.html
FROM_TERMINAL = frozenset((signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH))
FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGWINCH,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
# A person's end of an interceptor on its own: nothing has failed.
ENDS_SERVICE = frozenset((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
ENDS_START = ENDS_SERVICE | {signal.SIGQUIT}


class CommandError(InterposeError):
    """A command that cannot be run. `status` is what a shell would exit with: 127 not found, 126 not executable."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def find_command(name: str, environ: Mapping[str, str]) -> None:
    """Raises CommandError if `name` is nothing that could be run: a look before anything is started for it."""
    path = environ.get("PATH", os.defpath)
    if shutil.which(name, path=path) is not None:
        return
    places = [Path(name)] if "/" in name else [Path(folder) / name for folder in path.split(os.pathsep) if folder]
    if any(place.exists() for place in places):
        raise _not_executable(name, "it is not an executable file")
    raise _not_found(name)


def _not_found(name: str) -> CommandError:
    return CommandError(NOT_FOUND, f"{name}: command not found")


def _not_executable(name: str, reason: str) -> CommandError:
    return CommandError(NOT_EXECUTABLE, f"{name}: cannot be run: {reason}")


class Child:
    """A running program. `wait` gives the status that a shell would: 128 + n for one that signal n has ended."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, command: Sequence[str], environ: Mapping[str, str]) -> Child:
        """Raises CommandError if the system will not run it."""
        # Were SIGCHLD ignored, as some parents leave it, the system would throw the exit status away.
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            return cls(await asyncio.create_subprocess_exec(*command, env=environ))
        except FileNotFoundError as error:
            if shutil.which(command[0], path=environ.get("PATH", os.defpath)) is not None:
                # The file is there: what is missing is the interpreter that its first line names.
                raise _not_executable(command[0], "the interpreter that it names is missing") from error
            raise _not_found(command[0]) from error
        except OSError as error:
            reason = "it is no program" if error.errno == errno.ENOEXEC else error.strerror or str(error)
            raise _not_executable(command[0], reason) from error

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        status = await self._process.wait()
        return 128 - status if status < 0 else status

    def forward(self, number: signal.Signals) -> None:
        """Passes a signal on that was sent to us, once."""
        pid = self._process.pid
        if self._process.returncode is not None:
            return
        try:
            if number in FROM_TERMINAL and os.getpgid(pid) == os.getpgrp() and _in_foreground():
                return
            self._process.send_signal(number)
        except ProcessLookupError:
            pass  # it has ended, and the loop is about to tell us


def _in_foreground() -> bool:
    """Whether we stand in the foreground of a terminal, so that its Ctrl-C reaches our whole process group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def has_terminal() -> bool:
    """Whether there is a terminal whose hang-up would end us. One that has hung up is there no more."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


class SignalDesk:
    """Where signals arrive while we run. What becomes of one is decided by the receiver of the moment."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.receiver: Callable[[signal.Signals], None] = lambda _: None
        self._loop = loop
        self._taken: list[signal.Signals] = []

    def _arrived(self, number: signal.Signals) -> None:
        self.receiver(number)

    def __enter__(self) -> SignalDesk:
        for number in FORWARDED:
            # One that our parent had us ignore (nohup, a background job) stays ignored, here and in the program.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._loop.add_signal_handler(number, self._arrived, number)
                self._taken.append(number)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._taken:
            self._loop.remove_signal_handler(number)
