"""Where one worker counts: numbers by name, in memory, and where there are several workers in a file that all can read.

The file is prometheus-client's own for several processes (`MmapedDict`): a number is changed in place, so that it is
there for others at once and stays when its worker is killed. Two things are added. The file is written in full length
before it is mapped: a disk that fills up later cannot take a worker down (a page that finds no block is a SIGBUS). And
its owner holds a lock on it, which the kernel drops with the process: a worker that comes later takes the file of one
that has died and goes on counting in it, so that there are never more files than there were workers at a time, and no
sum ever falls.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from prometheus_client.mmap_dict import MmapedDict

logger = logging.getLogger(__name__)

# So many bytes, and so many numbers, have room for some four hundred models.
SIZE = 4 * 1024 * 1024
MOST = 30_000
# A worker that is asked for the page holds the lock of a dead one's file for a moment, to see that it can.
LOOKS, LOOK_AGAIN = 4, 0.01
# What the file has beside a name, at most: its length, padding, a number and a time.
_BESIDE = 4 + 8 + 16
_ENDING, _STATES = ".counts", ".states"

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class State:
    """What a gauge shows now."""

    name: str
    value: float
    labels: Labels = ()


def key(name: str, *labels: str | int) -> str:
    """How a number is called: its metric and its labels; of a histogram with the place of its bucket, or "sum"."""
    return orjson.dumps([name, *labels]).decode()


class Sheet:
    """Numbers that only grow, by name. Any thread may add; what finds no room is counted under `dropped`."""

    def __init__(self, dropped: str, *, most: int = MOST) -> None:
        self._values: dict[str, float] = {dropped: 0.0}
        self._dropped = dropped
        self._most = most
        self._lock = threading.Lock()

    def add(self, amounts: Sequence[tuple[str, float]]) -> None:
        """Each name with what is added to it."""
        with self._lock:
            values = self._values
            for name, amount in amounts:
                if name in values:
                    values[name] += amount
                elif self._has_room(name):
                    values[name] = amount
                else:
                    values[self._dropped] += 1
                    self._write([(self._dropped, 0.0)])
            self._write(amounts)

    def mine(self) -> Mapping[str, float]:
        """The numbers of this worker, and of those whose place it has taken."""
        with self._lock:
            return dict(self._values)

    def all(self) -> list[Mapping[str, float]]:
        """The numbers of every worker."""
        return [self.mine()]

    def show(self, states: Sequence[State]) -> None:
        """For the others to see, what this worker's gauges show."""

    def others(self) -> list[list[State]]:
        """What the gauges of the other workers show that are alive."""
        return []

    def close(self) -> None:
        """What was counted stays for as long as there are other workers."""

    def _has_room(self, name: str) -> bool:
        return len(self._values) < self._most

    def _write(self, amounts: Sequence[tuple[str, float]]) -> None:
        """The numbers of those names have changed."""


class SharedSheet(Sheet):
    """The same in a file of `folder`, which is for the workers of one service alone. Raises OSError."""

    def __init__(self, folder: Path, dropped: str, *, size: int = SIZE, most: int = MOST) -> None:
        from prometheus_client.mmap_dict import MmapedDict

        super().__init__(dropped, most=most)
        self._folder = folder
        self._path, self._descriptor = _taken(folder) or _made(folder, size)
        self._states = self._path.with_suffix(_STATES)
        self._shown = b""
        self._size = size
        self._file: MmapedDict | None = MmapedDict(str(self._path))
        self._values |= {name: value for name, value, _ in self._file.read_all_values()}
        self._used = sum(len(name.encode()) + _BESIDE for name in self._values) + 8
        self._write(list(self._values.items()))

    def all(self) -> list[Mapping[str, float]]:
        found = super().all()
        for path in self._others():
            values = _read(path)
            if values is not None:
                found.append(values)
        return found

    def show(self, states: Sequence[State]) -> None:
        data = orjson.dumps([[state.name, state.value, *state.labels] for state in states])
        if data == self._shown:
            return
        try:
            draft = self._states.with_suffix(".draft")
            draft.write_bytes(data)
            draft.replace(self._states)
            self._shown = data
        except OSError as error:
            # A full disk: the others see what was shown last.
            logger.debug("the metrics' states cannot be written: %s", error)

    def others(self) -> list[list[State]]:
        found: list[list[State]] = []
        for path in self._others():
            if not _owned(path):
                continue
            try:
                told = orjson.loads(path.with_suffix(_STATES).read_bytes())
            except (OSError, orjson.JSONDecodeError):
                continue
            found.append([State(name, value, tuple(labels)) for name, value, *labels in told])
        return found

    def close(self) -> None:
        with self._lock:
            if self._file is None:
                return
            self._file.close()
            self._file = None
            self._states.unlink(missing_ok=True)
            os.close(self._descriptor)

    def _others(self) -> Iterator[Path]:
        return (path for path in self._folder.glob(f"*{_ENDING}") if path != self._path)

    def _has_room(self, name: str) -> bool:
        needed = len(name.encode()) + _BESIDE
        if self._used + needed > self._size or not super()._has_room(name):
            return False
        self._used += needed
        return True

    def _write(self, amounts: Sequence[tuple[str, float]]) -> None:
        if self._file is not None:
            values = self._values
            write: Callable[[str, float, float], None] = self._file.write_value
            for name, _ in amounts:
                if name in values:
                    write(name, values[name], 0.0)


def _taken(folder: Path) -> tuple[Path, int] | None:
    """A file whose worker has died, and the descriptor that now holds its lock."""
    for again in range(LOOKS):
        if again:
            time.sleep(LOOK_AGAIN)
        for path in sorted(folder.glob(f"*{_ENDING}")):
            descriptor = os.open(path, os.O_RDWR)
            if _lock(descriptor, shared=False) and _read(path) is not None:
                return path, descriptor
            os.close(descriptor)
    return None


def _made(folder: Path, size: int) -> tuple[Path, int]:
    """A new file, under its name only when it is whole and locked."""
    path = folder / f"{secrets.token_hex(8)}{_ENDING}"
    draft = path.with_suffix(".draft")
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        written = 0
        while written < size:
            written += os.write(descriptor, bytes(size - written))
        _lock(descriptor, shared=False)
        draft.replace(path)
    except BaseException:
        os.close(descriptor)
        draft.unlink(missing_ok=True)
        raise
    return path, descriptor


def _owned(path: Path) -> bool:
    """Whether the worker that counts in that file is alive."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _lock(descriptor, shared=True)
    finally:
        os.close(descriptor)


def _read(path: Path) -> dict[str, float] | None:
    """The numbers of a file; None of one that cannot be read."""
    from prometheus_client.mmap_dict import MmapedDict

    try:
        return {name: value for name, value, _, _ in MmapedDict.read_all_values_from_file(str(path))}
    except Exception as error:  # noqa: BLE001 - whatever a broken file does: the others' numbers are still good
        logger.warning("the metrics of another worker cannot be read (%s): %s", path.name, error)
        return None


if sys.platform == "win32":

    def _lock(descriptor: int, *, shared: bool) -> bool:
        """There is no flock: shared, nobody is seen dead; alone, nobody takes what another began."""
        return False

else:
    import fcntl

    def _lock(descriptor: int, *, shared: bool) -> bool:
        """Whether nobody else holds the file."""
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
