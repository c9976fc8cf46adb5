"""What all codecs share: JSON as text inside of JSON, and as bytes."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from interpose.formats.codecs.codec import arguments_object, dumps, encoded, loads, parsed
from interpose.formats.codecs.opaque import pack, unpack
from interpose.ir import Losses, Opaque

# Every text that JSON can hold, lone surrogates too, and numbers beyond 64 bits.
TEXTS = st.text(st.characters(exclude_categories=[]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_an_object_comes_back_equal_through_text(value: dict[str, Any]) -> None:
    """The law of tool arguments, whatever is in them; the text is fit for any encoder."""
    text = dumps(value)
    text.encode()
    losses = Losses()
    assert arguments_object(text, losses, "at") == value
    assert not list(losses)
    assert json.loads(encoded(value)) == value


@given(VALUES)
def test_a_body_comes_back_equal(value: Any) -> None:
    """As bytes, too: numbers beyond 64 bits are no floats. Half of a surrogate pair is no JSON in a body."""
    data = encoded([value])
    try:
        assert parsed(data) == [value]
    except ValueError:
        assert b"\\ud" in data


@pytest.mark.parametrize(
    "text", ["[%s]", "[-%s]", '{"a":%s}', '{"a": -%s}', '["00000000000000000000", %s]', "[1,\n%s]"]
)
@pytest.mark.parametrize("number", ["18446744073709551616", "123456789012345678901234567890"])
def test_a_long_number_is_found_wherever_it_stands(text: str, number: str) -> None:
    """Also behind an id that consists of as many digits."""
    assert json.dumps(parsed((text % number).encode())) == json.dumps(json.loads(text % number))


def test_the_deepest_body_and_the_longest_number_are_read() -> None:
    """What the quick parser takes, the exact one takes, too."""
    assert encoded(parsed(b"[" * 1000 + b"9" * 300 + b"]" * 1000)) == b"[" * 1000 + b"9" * 300 + b"]" * 1000


DEEP = "[" * 100_000 + "1" * 30 + "]" * 100_000


@pytest.mark.parametrize(("text", "why"), [(DEEP, "depth limit"), ("1" * 5000, "infinity"), ('{"a": NaN}', "expected")])
def test_a_body_that_cannot_be_read_is_no_crash(text: str, why: str) -> None:
    """Brackets without end, a number without end, and one that is none."""
    with pytest.raises(ValueError, match=why):
        parsed(text.encode())


@pytest.mark.parametrize("text", ["{", "7", "[1]", '"x"', "NaN", '{"a": NaN}', '{"a": Infinity}', "nonsense"])
def test_what_is_no_object_is_kept_as_text_and_told(text: str) -> None:
    """Never a non-object input, never an exception (pitfall 6)."""
    losses = Losses()
    assert arguments_object(text, losses, "messages[1]") == {"arguments": text}
    (loss,) = losses
    assert (loss.severity, loss.path) == ("approximated", "messages[1]")


@pytest.mark.parametrize("text", ["", "  \n"])
def test_no_arguments_are_an_empty_object(text: str) -> None:
    """As every format has it."""
    assert arguments_object(text, Losses(), "at") == {}


def test_deep_nesting_is_no_crash() -> None:
    """A hundred thousand brackets, with a number that only the slower parser keeps."""
    with pytest.raises(ValueError, match="nested"):
        loads("[" * 100_000 + "1" * 30 + "]" * 100_000)


@example("\ud800", "gemini", None)
@given(TEXTS, TEXTS, st.none() | TEXTS)
def test_opaque_state_comes_back_equal(payload: str, model: str, id_: str | None) -> None:
    """Whatever a provider gave out, lone surrogates too; packed, it is fit for any encoder."""
    opaque = Opaque("gemini", "thought_signature", payload, id_, model)
    text = pack(opaque)
    text.encode()
    assert unpack(text) == opaque
