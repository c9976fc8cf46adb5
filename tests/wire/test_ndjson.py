"""Newline-delimited JSON: lines, chunking and limits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpose.wire.error import WireError
from interpose.wire.ndjson import NdjsonDecoder

CASES = {
    b'{"a":1}\n{"b":2}\n': [b'{"a":1}', b'{"b":2}'],
    b'{"a":1}\r\n\r\n{"b":2}\r\n': [b'{"a":1}', b'{"b":2}'],
    b"\n\n 1 \n\t2\n": [b"1", b"2"],
    b"\xef\xbb\xbf1\n2\n": [b"1", b"2"],
    b"1\n2": [b"1", b"2"],
    b"": [],
    b"\xef\xbb\xbf": [],
    '"a\u2028b\x85"\n'.encode(): ['"a\u2028b\x85"'.encode()],
    b"1\r2\n": [b"1\r2"],
}


def decoded(*chunks: bytes) -> list[bytes]:
    decoder = NdjsonDecoder()
    return [line for chunk in chunks for line in decoder.feed(chunk)] + decoder.finish()


@pytest.mark.parametrize(("raw", "lines"), CASES.items(), ids=repr)
def test_every_split(raw: bytes, lines: list[bytes]) -> None:
    """Lines are the same whole, in two pieces cut anywhere, and byte by byte."""
    assert decoded(raw) == lines
    for cut in range(len(raw) + 1):
        assert decoded(raw[:cut], raw[cut:]) == lines
    assert decoded(*(bytes((byte,)) for byte in raw)) == lines


def test_a_line_without_an_end_is_told() -> None:
    """`terminated` says whether the end of the stream cut a line off."""
    decoder = NdjsonDecoder()
    assert decoder.feed(b"1\n") == [b"1"]
    assert (decoder.finish(), decoder.terminated) == ([], True)
    decoder = NdjsonDecoder()
    assert decoder.feed(b"1\n2") == [b"1"]
    assert (decoder.finish(), decoder.terminated) == ([b"2"], False)


def test_a_line_over_the_limit_is_refused_after_those_before_it() -> None:
    """Whether it ended or not."""
    decoder = NdjsonDecoder(limit=4)
    assert decoder.feed(b"1\n2345678") == [b"1"]
    with pytest.raises(WireError, match="larger than 4"):
        decoder.feed(b"\n")
    with pytest.raises(WireError, match="larger than 4"):
        decoder.finish()
    with pytest.raises(WireError, match="larger than 4"):
        NdjsonDecoder(limit=4).feed(b"12345\n")


@settings(deadline=None)
@given(st.binary(), st.integers(1, 5))
def test_any_bytes_read_the_same_in_any_chunks(raw: bytes, step: int) -> None:
    """No input raises, and chunks never matter."""
    assert decoded(*(raw[at : at + step] for at in range(0, len(raw), step))) == decoded(raw)
