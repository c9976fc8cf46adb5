"""How a body is stored in the ledger, and read again: never one that does not give its digest."""

from __future__ import annotations

import hashlib

import zstandard

from .record import CAPTURES, Row

ZSTD = "zstd"
# A shorter body is larger for being compressed.
LEAST = 200
LEVEL = 3
# No capture is larger, whatever a tampered row says.
MOST = 1 << 30

_PLACE = {name: place for place, name in enumerate(CAPTURES.columns)}


def stored(body: bytes) -> tuple[str, bytes]:
    """The encoding of a body, and what is stored by it: the shorter one of zstd and itself."""
    if len(body) < LEAST:
        return "", body
    packed = zstandard.ZstdCompressor(level=LEVEL).compress(body)
    return (ZSTD, packed) if len(packed) < len(body) else ("", body)


def digest_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def body_of(row: Row) -> bytes:
    """The body that a row of `captures` holds. Raises ValueError, saying why, if it is not the one that was recorded;
    there has to be one.
    """
    encoding, kept, digest, body = (row[_PLACE[name]] for name in ("encoding", "kept", "digest", "body"))
    if type(kept) is not int or not 0 <= kept <= MOST or type(body) is not bytes:
        raise ValueError("its body is corrupt: it is not what we ever wrote")
    if encoding == ZSTD:
        body = _unpacked(body, kept)
    elif encoding:
        raise ValueError(f"its body is stored in a way that is not known here: {str(encoding)[:40]!r}")
    if len(body) != kept or digest_of(body) != digest:
        raise ValueError("its body does not give its digest")
    return body


def _unpacked(body: bytes, size: int) -> bytes:
    """Never more than `size`, whatever the frame says of itself."""
    try:
        if zstandard.frame_content_size(body) != size:
            raise ValueError("its body is corrupt: its length is another one")
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=size)
    except zstandard.ZstdError:
        raise ValueError("its body is corrupt: zstd cannot read it") from None
