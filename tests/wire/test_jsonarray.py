"""One JSON array in pieces: its elements, and whether it was closed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpose.wire.error import WireError
from interpose.wire.jsonarray import JsonArrayDecoder

CASES = {
    b'[{"a":1},{"b":[1,2,{"c":"],["}]}]': ([b'{"a":1}', b'{"b":[1,2,{"c":"],["}]}'], True),
    b' \n[ {"a":1}\n,\r\n {"b":2}\n]\n': ([b'{"a":1}', b'{"b":2}'], True),
    b'["a\\"],","\\\\",[],1 , null]': ([b'"a\\"],"', b'"\\\\"', b"[]", b"1", b"null"], True),
    b"[]": ([], True),
    b"[ ]trailing, [1]": ([], True),
    b'[{"a":1},{"b"': ([b'{"a":1}'], False),
    b'[{"a":1}': ([], False),
    b'[{"a":1},': ([b'{"a":1}'], False),
    b"[": ([], False),
    b"": ([], False),
}


def decoded(*chunks: bytes) -> tuple[list[bytes], bool]:
    decoder = JsonArrayDecoder()
    elements = [element for chunk in chunks for element in decoder.feed(chunk)]
    return elements + decoder.finish(), decoder.closed


@pytest.mark.parametrize(("raw", "expected"), CASES.items(), ids=repr)
def test_every_split(raw: bytes, expected: tuple[list[bytes], bool]) -> None:
    """Elements are the same whole, in two pieces cut anywhere, and byte by byte."""
    assert decoded(raw) == expected
    for cut in range(len(raw) + 1):
        assert decoded(raw[:cut], raw[cut:]) == expected
    assert decoded(*(bytes((byte,)) for byte in raw)) == expected


JSON = st.recursive(st.none() | st.integers() | st.text(), lambda i: st.lists(i) | st.dictionaries(st.text(), i))


@settings(deadline=None)
@given(st.lists(JSON), st.integers(1, 6), st.booleans())
def test_elements_of_any_array(elements: list[Any], step: int, ascii_only: bool) -> None:
    """Every array comes apart into its elements."""
    raw = json.dumps(elements, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    found, closed = decoded(*(raw[at : at + step] for at in range(0, len(raw), step)))
    assert ([json.loads(element) for element in found], closed) == (elements, True)


@settings(deadline=None)
@given(st.binary(), st.integers(1, 5))
def test_any_bytes_read_the_same_in_any_chunks(raw: bytes, step: int) -> None:
    """Inside an array no input raises, and chunks never matter."""
    raw = b"[" + raw
    assert decoded(*(raw[at : at + step] for at in range(0, len(raw), step))) == decoded(raw)


def test_what_is_no_array_is_refused() -> None:
    """So is an element over the limit."""
    with pytest.raises(WireError, match="no JSON array"):
        decoded(b' {"a":1}')
    decoder = JsonArrayDecoder(limit=10)
    assert decoder.feed(b'[1,"') == [b"1"]
    with pytest.raises(WireError, match="larger than 10"):
        decoder.feed(b"x" * 20)
