"""Opens recordings, whatever they are: what a file holds is told by its first bytes, never by its name.

Files are read one after the other, call by call; none is held whole.
"""

from __future__ import annotations

import gzip
import io
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from interpose.errors import InterposeError
from interpose.ledger.address import Readable
from interpose.recordings import Flaws, Recorded
from interpose.recordings.captures import of_place
from interpose.recordings.captures import read as of_ledger

STDIN = "-"
SQLITE = b"SQLite format 3\0"
GZIP = b"\x1f\x8b"
# As much is looked at to tell what a file is.
LOOKED_AT = 64
# What has been a path has lost a slash. C:/ is a drive.
_URL = re.compile(r"([a-z][a-z0-9+.-]+):/")

Reader = Callable[[BinaryIO, str, Flaws], Iterator[Recorded]]


class Recordings:
    """The calls of several files (`-` is stdin) and ledgers, in the order of these. `flaws` has what could not be read
    of them, once it was come to; `read` is how many bytes of `size` have been read, for those who wait.

    Raises InterposeError for what cannot be opened, or is no recording.
    """

    def __init__(self, paths: Sequence[str], ledgers: Sequence[Readable] = ()) -> None:
        self.flaws = Flaws()
        self._paths = paths
        self._ledgers = ledgers
        self._done = 0
        self._open: BinaryIO | None = None
        self.size = sum(_size(path) for path in paths)

    @property
    def read(self) -> int:
        """How many bytes of the files were read."""
        if self._open is None:
            return self._done
        try:
            return self._done + self._open.tell()
        except (OSError, ValueError):
            return self._done

    def __iter__(self) -> Iterator[Recorded]:
        for path in self._paths:
            if (url := _URL.match(path)) is not None:
                # It is not repeated: a password may stand in it.
                raise InterposeError(f"{url[1]}://… is no file; name a database by --ledger")
            name = "stdin" if path == STDIN else path
            try:
                with sys.stdin.buffer if path == STDIN else Path(path).open("rb") as file:
                    self._open = file
                    yield from self._calls(file, name)
            except OSError as error:
                raise InterposeError(f"{name}: {error.strerror or error}") from error
            finally:
                self._open = None
            self._done += _size(path)
        for place in self._ledgers:
            yield from of_place(place, str(place), self.flaws)

    def _calls(self, file: BinaryIO, name: str) -> Iterator[Recorded]:
        buffered = cast(io.BufferedReader, file)
        first = buffered.peek(LOOKED_AT)[:LOOKED_AT]
        if not first:
            self.flaws.add(f"{name}: is empty")
            return
        if first.startswith(GZIP):
            try:
                yield from self._calls(cast(BinaryIO, io.BufferedReader(gzip.GzipFile(fileobj=buffered))), name)
            except (EOFError, gzip.BadGzipFile) as error:
                self.flaws.add(f"{name}: its compression breaks off ({error}); what came before is used")
            return
        yield from _reader(first, name)(cast(BinaryIO, buffered), name, self.flaws)


def _reader(first: bytes, name: str) -> Reader:
    """What reads a file that begins so. Raises InterposeError for one that is no recording."""
    if first.startswith(SQLITE):
        return of_ledger
    bare = first.removeprefix(b"\xef\xbb\xbf").lstrip()
    if bare.startswith(b"{"):
        from interpose.recordings.har import read as of_har

        return of_har
    if first[:1].isdigit():
        # The import takes half a second, which nobody else should pay for.
        from .mitm.flowfile import read as of_flows

        return of_flows
    raise InterposeError(f"{name}: is no recording: there are ledgers (SQLite), flows of mitmproxy (-w), and HAR files")


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size if path != STDIN else 0
    except OSError:
        return 0
