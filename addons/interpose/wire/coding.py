"""Content codings (https://www.rfc-editor.org/rfc/rfc9110#section-8.4): the decoding of a copy that is looked at.

Decoding is incremental and its output is bounded at every stage, so that a few bytes never become gigabytes.
Nothing is encoded here: what passes through keeps the coding it came with.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import brotli  # type: ignore[import-untyped]  # it has no type information
import zstandard

from .error import TooLarge, WireError

DEFAULT_LIMIT = 256 * 1024 * 1024
PIECE = 64 * 1024
# zlib copies what it has not taken yet for every piece: a large body is given to it in slices, lest that be quadratic.
SLICE = 16 * 1024
# No text compresses a thousandfold, nor does any stream of events that is flushed as it comes; a bomb does.
ABSURD_RATIO = 1000
ABSURD_FROM = 8 * 1024 * 1024
# A zstd block holds at most 128 KiB and takes at least 4 bytes: that bounds what one slice of input can become.
ZSTD_SLICE = 128
# https://www.rfc-editor.org/rfc/rfc9659: a zstd content coding uses windows up to 8 MiB.
ZSTD_WINDOW = 8 * 1024 * 1024
# Each layer costs memory; no sender stacks more than two.
MOST_CODINGS = 4


class _Stage(Protocol):
    """One coding. `pieces` gives output in bounded pieces; `whole` says whether the coding's own end was seen."""

    def pieces(self, data: bytes) -> Iterator[bytes]: ...
    def whole(self) -> bool: ...


class _Zlib:
    """gzip, and deflate in both of its readings: zlib as specified, raw as once sent by others."""

    __slots__ = ("_begin", "_decompressor", "_held", "_members")

    def __init__(self, wbits: int | None) -> None:
        """`wbits` as zlib.decompressobj takes it; None for deflate, whose first two bytes tell."""
        self._members = wbits == zlib.MAX_WBITS | 16
        self._begin: Callable[[], zlib._Decompress] = lambda: zlib.decompressobj(wbits or 0)
        self._decompressor = None if wbits is None else self._begin()
        self._held = b""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if self._decompressor is None:
            data = self._held + data
            if len(data) < 2:
                self._held = data
                return
            # https://www.rfc-editor.org/rfc/rfc1950#section-2.2: method 8 and a check value.
            zlib_header = data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
            self._decompressor = zlib.decompressobj(zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS)
        while data:
            if self._decompressor.eof:
                # gzip allows several members in a row; anything else behind the end is padding.
                data = self._held + data
                self._held = b""
                if not self._members or not b"\x1f\x8b".startswith(data[:2]):
                    return
                if len(data) < 2:
                    self._held = data
                    return
                self._decompressor = self._begin()
            piece = self._decompressor.decompress(data, PIECE)
            if piece:
                yield piece
            data = self._decompressor.unused_data if self._decompressor.eof else self._decompressor.unconsumed_tail
            if not data and len(piece) == PIECE and not self._decompressor.eof:
                # All input is taken, but more output may wait inside.
                while piece := self._decompressor.decompress(b"", PIECE):
                    yield piece

    def whole(self) -> bool:
        return self._decompressor is not None and self._decompressor.eof


class _Brotli:
    __slots__ = ("_decompressor",)

    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if self._decompressor.is_finished():
            return
        piece = self._decompressor.process(data, output_buffer_limit=PIECE)
        while True:
            if piece:
                yield piece
            # It accepts data again once it has taken all of the last; output may wait inside even then.
            if not piece and self._decompressor.can_accept_more_data():
                return
            if self._decompressor.is_finished():
                return
            piece = self._decompressor.process(b"", output_buffer_limit=PIECE)

    def whole(self) -> bool:
        return bool(self._decompressor.is_finished())


class _Zstd:
    __slots__ = ("_decompressor", "_used")

    def __init__(self) -> None:
        self._decompressor = self._new()
        self._used = False

    @staticmethod
    def _new() -> zstandard.ZstdDecompressionObj:
        return zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), ZSTD_SLICE):
            part = data[start : start + ZSTD_SLICE]
            while part:
                if self._decompressor.eof:
                    self._decompressor = self._new()
                self._used = True
                piece = self._decompressor.decompress(part)
                if piece:
                    yield piece
                part = self._decompressor.unused_data if self._decompressor.eof else b""

    def whole(self) -> bool:
        return self._used and self._decompressor.eof


_STAGES: dict[str, Callable[[], _Stage]] = {
    "gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "x-gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "deflate": lambda: _Zlib(None),
    "br": _Brotli,
    "zstd": _Zstd,
}


class ContentDecoder:
    """Undoes the codings in turn.

    Raises WireError on broken data, beyond `limit` bytes of output of any stage, and where more than 8 MiB have come
    out of a thousandth of their size.
    """

    __slots__ = ("_limit", "_produced", "_stages", "_taken")

    def __init__(self, stages: list[_Stage], limit: int) -> None:
        self._stages = stages
        self._limit = limit
        self._produced = [0] * max(len(stages), 1)
        self._taken = 0

    def feed(self, data: bytes) -> bytes:
        """What `data` completes, in one: as much as `limit` allows. See `feed_pieces`."""
        return b"".join(self.feed_pieces(data))

    def feed_pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data` completes, in pieces of at most 64 KiB; the next one is decoded when it is asked for.

        So a caller can look at each, and stop or let others run in between. What is not asked for is lost.
        """
        if not self._stages:
            self._taken += len(data)
            self._count(0, len(data))
            yield from _cut(data, PIECE)
            return
        try:
            for part in _cut(data, SLICE):
                self._taken += len(part)
                for piece in self._run(0, part):
                    yield from _cut(piece, PIECE)
        except (zlib.error, brotli.error, zstandard.ZstdError) as error:
            raise WireError(f"the content coding is broken: {error}") from None

    def finish(self) -> bytes:
        """Nothing is ever left. Raises WireError if a coding's own end was not seen; an empty body is whole."""
        if self._taken and not all(stage.whole() for stage in self._stages):
            raise WireError("the body ends before its content coding does")
        return b""

    def _run(self, index: int, data: bytes) -> Iterator[bytes]:
        last = index + 1 == len(self._stages)
        for piece in self._stages[index].pieces(data):
            self._count(index, len(piece))
            if last:
                yield piece
            else:
                yield from self._run(index + 1, piece)

    def _count(self, index: int, size: int) -> None:
        self._produced[index] += size
        produced = self._produced[index]
        if produced > self._limit:
            raise TooLarge(f"the decoded body is larger than {self._limit} bytes")
        if produced > ABSURD_FROM and produced > self._taken * ABSURD_RATIO:
            raise TooLarge(f"the decoded body is more than {ABSURD_RATIO} times as large as the coded one")


def _cut(data: bytes, size: int) -> Iterator[bytes]:
    if 0 < len(data) <= size:
        yield data
        return
    for at in range(0, len(data), size):
        yield data[at : at + size]


def decoder(content_encoding: str | None, *, limit: int = DEFAULT_LIMIT) -> ContentDecoder | None:
    """A decoder for the value of a Content-Encoding header; None if it names a coding that is not known here.

    Codings are listed in the order in which they were applied, so they are undone from the last to the first.
    """
    names = [name.strip().lower() for name in (content_encoding or "").split(",")]
    names = [name for name in names if name not in ("", "identity")]
    if len(names) > MOST_CODINGS or any(name not in _STAGES for name in names):
        return None
    return ContentDecoder([_STAGES[name]() for name in reversed(names)], limit)


def decode(body: bytes, content_encoding: str | None, limit: int = DEFAULT_LIMIT) -> bytes:
    """A whole body decoded. Raises WireError if the coding is unknown, the data broken or cut, the result too large."""
    made = decoder(content_encoding, limit=limit)
    if made is None:
        raise WireError(f"the content coding {(content_encoding or '')[:40]!r} is not known")
    return made.feed(body) + made.finish()
