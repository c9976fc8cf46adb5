"""Who is at work on a folder: interceptors that run with the CA in it, and whoever is about to change it.

All by flock: the kernel drops a lock with its process, however that ends, so that nothing can be stale and nothing
that a crash left behind blocks anybody. Several interceptors may run on one folder. Where there is no flock (Windows,
a network file system without it) nobody is seen and nobody is stopped.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from interpose.errors import InterposeError

GATE = "lock"
TENANT = "run-"
# Whoever holds the gate makes a key at most; a process that was stopped there should not stop us for ever.
PATIENCE = 20.0
PAUSE = 0.02


class BusyError(InterposeError):
    """Another process is at work on the folder, and does not get done."""


@contextmanager
def gate(folder: Path) -> Iterator[Path]:
    """Alone in `folder`, for a moment. Raises BusyError if another process does not leave, and OSError.

    The lock's own file, which is given, may be deleted inside: who waits for it notices.
    """
    path = folder / GATE
    deadline = time.monotonic() + PATIENCE
    while (descriptor := _enter(path)) is None:
        if time.monotonic() > deadline:
            raise BusyError(f"{path} is locked by another interpose, which does not get done: end it, then try again")
        time.sleep(PAUSE)
    try:
        yield path
    finally:
        os.close(descriptor)


def _enter(path: Path) -> int | None:
    """The descriptor that holds the lock; None while another process does, or has just deleted it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if _lock(descriptor) and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def move_in(folder: Path) -> AbstractContextManager[None]:
    """Makes this process known in `folder`, until the end of the context that is returned. Call it inside the gate."""
    path = folder / f"{TENANT}{os.getpid()}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    _lock(descriptor)
    return _living(path, descriptor)


@contextmanager
def _living(path: Path, descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def tenants(folder: Path) -> list[int]:
    """The pids of those who live in `folder`, sorted. What others left behind is tidied. Call it inside the gate."""
    found = []
    for path in folder.glob(f"{TENANT}*"):
        pid = path.name.removeprefix(TENANT)
        if not pid.isdecimal():
            continue
        descriptor = os.open(path, os.O_RDWR)
        try:
            if _lock(descriptor):
                path.unlink()
            else:
                found.append(int(pid))
        finally:
            os.close(descriptor)
    return sorted(found)


if sys.platform == "win32":

    def _lock(descriptor: int) -> bool:
        """There is no flock: everybody gets it."""
        return True

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        """Whether the file is ours now: nobody else has it, or its file system knows no locks."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True
