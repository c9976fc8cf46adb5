"""Content codings: streams in any chunks, stacks, bombs and broken data."""

from __future__ import annotations

import gzip
import hashlib
import time
import tracemalloc
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]  # it has no type information
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from interpose.wire.coding import decode, decoder
from interpose.wire.error import WireError

TEXT = b"".join(b'data: {"n": %d}\n\n' % number for number in range(300))


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def zstd_stream(data: bytes) -> bytes:
    """Without the content size in the header, as a stream has it."""
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(data) + compressor.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "DEFLATE": raw_deflate,
    "br": brotli.compress,
    "zstd": zstandard.compress,
    " ZSTD ": zstd_stream,
    "identity": bytes,
    "": bytes,
    "gzip, br": lambda data: brotli.compress(gzip.compress(data)),
    "br, identity, , gzip": lambda data: gzip.compress(brotli.compress(data)),
    "zstd,deflate,gzip,br": lambda data: brotli.compress(gzip.compress(zlib.compress(zstandard.compress(data)))),
}
CODINGS = pytest.mark.parametrize("coding", ENCODERS)
COMPRESSED = [name for name, encode in ENCODERS.items() if encode is not bytes]


def in_chunks(coding: str, raw: bytes, step: int) -> bytes:
    made = decoder(coding)
    assert made is not None
    return b"".join(made.feed(raw[at : at + step]) for at in range(0, len(raw), step)) + made.finish()


@CODINGS
@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000, 10**6])
def test_chunks_do_not_matter(coding: str, step: int) -> None:
    """Every coding is undone in chunks of any size."""
    assert in_chunks(coding, ENCODERS[coding](TEXT), step) == TEXT


@CODINGS
def test_one_shot(coding: str) -> None:
    """A whole body is decoded at once, an empty one too."""
    assert decode(ENCODERS[coding](TEXT), coding) == TEXT
    assert decode(ENCODERS[coding](b""), coding) == b""
    assert decode(b"", coding) == b""


@settings(deadline=None)
@given(st.sampled_from(list(ENCODERS)), st.binary(max_size=2000), st.integers(1, 50))
def test_decoding_undoes_encoding(coding: str, data: bytes, step: int) -> None:
    """Whatever the data and the chunks."""
    assert in_chunks(coding, ENCODERS[coding](data), step) == data


@pytest.mark.parametrize("coding", COMPRESSED)
def test_a_cut_body_is_an_error(coding: str) -> None:
    """What could be decoded is given; that the end is missing is told."""
    raw = ENCODERS[coding](TEXT)
    for cut in (1, len(raw) // 2, len(raw) - 1):
        made = decoder(coding)
        assert made is not None
        assert TEXT.startswith(made.feed(raw[:cut]))
        with pytest.raises(WireError, match="ends before"):
            made.finish()


@pytest.mark.parametrize("coding", COMPRESSED)
def test_broken_data_is_an_error(coding: str) -> None:
    """Bytes that are no such coding raise WireError and nothing else."""
    with pytest.raises(WireError):
        decode(b"\x07this is not compressed at all, not in any way" * 20, coding)


@settings(deadline=None)
@given(st.sampled_from(COMPRESSED), st.binary(max_size=300))
def test_any_bytes(coding: str, raw: bytes) -> None:
    """No input raises anything but WireError."""
    try:
        decode(raw, coding, 10_000)
    except WireError:
        pass  # the only exception that broken data may raise


BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: gzip.compress(bytes(50_000_000)),
    "deflate": lambda: zlib.compress(bytes(50_000_000)),
    "br": lambda: brotli.compress(bytes(50_000_000), quality=5),
    "zstd": lambda: zstd_stream(bytes(50_000_000)),
    "gzip, gzip": lambda: gzip.compress(gzip.compress(bytes(50_000_000))),
    # The outer stage is small, the inner one's output is what explodes.
    "gzip, zstd": lambda: zstd_stream(gzip.compress(bytes(50_000_000))),
}


@pytest.mark.parametrize("coding", BOMBS)
def test_a_bomb_is_stopped(coding: str) -> None:
    """The limit stops the decoding before memory is used: 50 MB that came in kilobytes never exist."""
    bomb = BOMBS[coding]()
    made = decoder(coding, limit=1_000_000)
    assert made is not None
    tracemalloc.start()
    try:
        with pytest.raises(WireError, match="larger than 1000000"):
            made.feed(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12_000_000


def test_the_limit_counts_identity_too_and_is_inclusive() -> None:
    """A body of exactly the limit is fine."""
    assert decode(b"x" * 10, None, 10) == b"x" * 10
    assert decode(gzip.compress(b"x" * 10), "gzip", 10) == b"x" * 10
    for coding, raw in (("identity", b"x" * 11), ("gzip", gzip.compress(b"x" * 11))):
        with pytest.raises(WireError, match="larger than 10"):
            decode(raw, coding, 10)


@pytest.mark.parametrize("coding", ["compress", "gzip, foo", "aws-chunked", "gzip;q=1", "gzip,gzip,gzip,gzip,gzip"])
def test_unknown_codings(coding: str) -> None:
    """An unknown coding, or an absurd pile of them, has no decoder, and a body in it cannot be decoded."""
    assert decoder(coding) is None
    with pytest.raises(WireError, match="not known"):
        decode(b"", coding)


@pytest.mark.parametrize("step", [1, 5, 10**6])
def test_several_members_and_padding(step: int) -> None:
    """gzip members and zstd frames may follow each other; padding behind a gzip member is ignored."""
    assert in_chunks("gzip", gzip.compress(b"a") + gzip.compress(b"b") + b"\0" * 9, step) == b"ab"
    assert in_chunks("zstd", zstandard.compress(b"a") + zstandard.compress(b"b"), step) == b"ab"


def test_a_flushed_stream_is_decoded_as_it_comes() -> None:
    """An event that the sender flushed is there at once, not when the stream ends."""
    compressor = zlib.compressobj(wbits=31)
    made = decoder("gzip")
    assert made is not None
    for event in (b"data: a\n\n", b"data: b\n\n"):
        assert made.feed(compressor.compress(event) + compressor.flush(zlib.Z_SYNC_FLUSH)) == event
    frames = zstandard.ZstdCompressor().compressobj()
    made = decoder("zstd")
    assert made is not None
    for event in (b"data: a\n\n", b"data: b\n\n"):
        data = frames.compress(event) + frames.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        assert made.feed(data) == event


@pytest.mark.parametrize("coding", [*COMPRESSED, "identity"])
def test_pieces_are_small_and_join_to_the_whole(coding: str) -> None:
    """However much a few bytes become, it comes in pieces of at most 64 KiB, and none is lost."""
    text = b"".join(b'data: {"n": %d}\n\n' % number for number in range(100_000))
    raw = ENCODERS.get(coding, bytes)(text)
    made = decoder(coding)
    assert made is not None
    pieces = list(made.feed_pieces(raw))
    assert b"".join(pieces) == text
    assert min(map(len, pieces)) > 0
    assert max(map(len, pieces)) <= 64 * 1024
    assert made.finish() == b""


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_pieces_are_decoded_when_they_are_asked_for(coding: str) -> None:
    """A caller that stops after one piece of 200 MB has paid for hardly more than that piece."""
    raw = ENCODERS[coding](bytes(100_000_000))
    made = decoder(coding)
    assert made is not None
    tracemalloc.start()
    try:
        assert 0 < len(next(made.feed_pieces(raw))) <= 64 * 1024
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12_000_000


@pytest.mark.parametrize("step", [50, 10**6])
@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip"])
def test_an_absurd_ratio_is_stopped(coding: str, step: int) -> None:
    """Beyond 8 MiB, more than a thousand times what came is a bomb, whatever the limit; what came before is given."""
    encode = ENCODERS.get(coding) or (lambda data: gzip.compress(gzip.compress(data)))
    raw = encode(bytes(100_000_000))
    made = decoder(coding)
    assert made is not None
    sizes: list[int] = []

    def feed_all() -> None:
        for at in range(0, len(raw), step):
            sizes.extend(map(len, made.feed_pieces(raw[at : at + step])))

    with pytest.raises(WireError, match="1000 times"):
        feed_all()
    assert 1_000_000 < sum(sizes) <= 9 * 1024 * 1024


def test_good_compression_is_no_bomb() -> None:
    """Up to 8 MiB any ratio is fine, and beyond it what honest text has."""
    assert decode(brotli.compress(bytes(8 * 1024 * 1024), quality=5), "br") == bytes(8 * 1024 * 1024)
    text = b"".join(b'data: {"delta": "", "n": %d}\n\n' % number for number in range(1_000_000))
    assert decode(brotli.compress(text, quality=5), "br") == text


def test_a_large_body_costs_no_more_than_its_length() -> None:
    """8 MiB that become 128 MiB in one feed are not copied for every piece."""
    noise = hashlib.shake_128(b"x").digest(5 * 1024 * 1024)
    raw = b"".join(gzip.compress(noise[at : at + 1024] + bytes(24 * 1024), 1) for at in range(0, len(noise), 1024))
    made = decoder("gzip")
    assert made is not None
    began = time.perf_counter()
    assert sum(map(len, made.feed_pieces(raw))) == 25 * len(noise)
    assert time.perf_counter() - began < 5
