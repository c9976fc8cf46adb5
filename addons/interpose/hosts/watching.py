"""Notices that a file has changed: by looking at it now and then, and by no notices of the system.

A look costs microseconds, works on every file system (network, overlay and FUSE ones send no notices for what others
write) and follows symbolic links, so that an editor's rename, a file that is written in place and Kubernetes' swapped
links are all the same to it: another inode, time or size at the end of the path. What is half written has not settled:
a change counts once two looks in a row have seen the same.

What the system calls a change: https://man7.org/linux/man-pages/man3/stat.3type.html (st_ctim also changes where a
program sets the time of modification back, as `cp -p` and `rsync -t` do).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

# Seconds between two looks, and between those that see whether a change has settled.
EVERY = 0.5
SETTLING = 0.1

Looks = tuple[int, ...] | None
"""What a file looks like from outside; None where there is none to be seen."""


def looks(path: Path) -> Looks:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode


def can_be_read_again(path: Path) -> bool:
    """Whether there is a file with content of its own, unlike a pipe (`--rules <(…)`), which is empty after once."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


class Watch:
    """One file. `seen` is what it looked like when it was last read; `look` is to be asked again after `pause`."""

    def __init__(self, path: Path, seen: Looks, look: Callable[[Path], Looks] = looks) -> None:
        self._path = path
        self._look = look
        self._read = self._lately = seen

    @property
    def pause(self) -> float:
        return EVERY if self._lately == self._read else SETTLING

    def changed(self) -> bool:
        """One look. True, once, when the file has changed since it was last read, and has settled."""
        before, self._lately = self._lately, self._look(self._path)
        if self._lately == self._read or self._lately != before:
            return False
        self._read = self._lately
        return True

    def reads(self) -> None:
        """It is about to be read whatever it looks like: what is written from here on is a change again."""
        self._read = self._lately = self._look(self._path)
