"""AWS event streams: types, checksums, truncation, limits."""

from __future__ import annotations

import struct
from uuid import UUID
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpose.wire.error import WireError
from interpose.wire.eventstream import EventStreamDecoder, HeaderValue, Message, Timestamp, encode_message


def raw_message(head: bytes, payload: bytes = b"", *, size: int | None = None, head_size: int | None = None) -> bytes:
    """A message around raw header bytes, checksums right, lengths as claimed."""
    prelude = struct.pack(
        ">II",
        len(head) + len(payload) + 16 if size is None else size,
        len(head) if head_size is None else head_size,
    )
    body = prelude + struct.pack(">I", crc32(prelude)) + head + payload
    return body + struct.pack(">I", crc32(body))


def decoded(*chunks: bytes, limit: int = 2**20) -> list[Message]:
    decoder = EventStreamDecoder(limit)
    return [message for chunk in chunks for message in decoder.feed(chunk)] + decoder.finish()


# The examples of the specification's test vectors: an empty message, a payload alone, one header of four bytes.
VECTORS = {
    "empty": ("000000100000000005c248eb7d98c8ff", Message({}, b"")),
    "payload": (
        "0000001d00000000fd528c5a7b27666f6f273a27626172277dc3653936",
        Message({}, b"{'foo':'bar'}"),
    ),
    "int32 header": (
        "0000002d00000010 41c424b8 0a6576656e742d74797065 04 0000a00c 7b27666f6f273a27626172277d 36f480a0",
        Message({"event-type": 40972}, b"{'foo':'bar'}"),
    ),
}
TYPES: dict[str, tuple[bytes, HeaderValue]] = {
    "true": (b"\x00", True),
    "false": (b"\x01", False),
    "byte": (b"\x02\xff", -1),
    "short": (b"\x03\x80\x00", -32768),
    "int": (b"\x04\x7f\xff\xff\xff", 2**31 - 1),
    "long": (b"\x05\x80" + b"\0" * 7, -(2**63)),
    "bytes": (b"\x06\x00\x02\xff\x00", b"\xff\0"),
    "string": (b"\x07\x00\x03\xe6\xbc\xa2", "漢"),
    "timestamp": (b"\x08\x7f" + b"\xff" * 7, Timestamp(2**63 - 1)),
    "uuid": (b"\x09" + bytes(range(16)), UUID(bytes=bytes(range(16)))),
}


@pytest.mark.parametrize(("raw", "message"), VECTORS.values(), ids=VECTORS)
def test_known_messages(raw: str, message: Message) -> None:
    """Published vectors decode, and encode to the same bytes."""
    data = bytes.fromhex(raw)
    assert decoded(data) == [message]
    assert encode_message(message.headers, message.payload) == data


@pytest.mark.parametrize(("raw", "value"), TYPES.values(), ids=TYPES)
def test_header_types(raw: bytes, value: HeaderValue) -> None:
    """Every type of header value is decoded to a Python value of its own type."""
    [message] = decoded(raw_message(b"\x01n" + raw + b"\x01z\x00", b"p"))
    assert message == Message({"n": value, "z": True}, b"p")
    assert type(message.headers["n"]) is type(value)


@pytest.mark.parametrize("raw", [raw for raw, _ in TYPES.values()], ids=TYPES)
def test_a_header_cut_at_any_byte_is_an_error(raw: bytes) -> None:
    """A header that reaches beyond the headers never reads the payload."""
    head = b"\x01n" + raw
    for cut in range(1, len(head)):
        with pytest.raises(WireError):
            decoded(raw_message(head[:cut], b"\0" * 40))


MALFORMED = {
    "unknown type": (raw_message(b"\x01n\x0a"), "unknown type 10"),
    "a name that is no UTF-8": (raw_message(b"\x01\xff\x00"), "malformed header"),
    "a string that is no UTF-8": (raw_message(b"\x01n\x07\x00\x01\xff"), "malformed header"),
    "a header twice": (raw_message(b"\x01n\x00\x01n\x01"), "twice"),
    "headers longer than the message": (raw_message(b"", b"abc", head_size=4), "cannot hold"),
    "a message shorter than its frame": (raw_message(b"", size=15), "cannot hold"),
    "headers over 128 KiB": (raw_message(b"", b"\0" * 2**18, head_size=2**17 + 1), "cannot hold"),
    "over the limit": (raw_message(b"", size=2**20 + 1), "larger than"),
}


@pytest.mark.parametrize(("raw", "says"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_messages(raw: bytes, says: str) -> None:
    """Each is an error that says what is wrong, as soon as it can be known."""
    with pytest.raises(WireError, match=says):
        decoded(raw)


def test_messages_with_the_same_headers_have_headers_of_their_own() -> None:
    """What is done to those of one message does not happen to the next; many different ones are all read."""
    same = encode_message({"a": "b"}, b"1")
    first, second = decoded(same, same)
    first.headers.clear()
    assert second.headers == {"a": "b"}
    many = [encode_message({f"name-{place}": place}) for place in range(100)]
    assert [message.headers for message in decoded(*many)] == [{f"name-{place}": place} for place in range(100)]


def test_any_flipped_bit_is_found() -> None:
    """No byte of a message can change unnoticed, and nothing is given after the error."""
    good = encode_message({":event-type": "chunk"}, b"{}")
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 1
        decoder = EventStreamDecoder()
        assert decoder.feed(good + bytes(bad) + good) == [Message({":event-type": "chunk"}, b"{}")]
        with pytest.raises(WireError):
            decoder.feed(b"")


def test_every_split_and_every_cut() -> None:
    """Two pieces cut anywhere give all messages; an end inside a message is told, one between messages is none."""
    messages = [Message({"a": "x", "b": 5}, b"one"), Message({}, b""), Message({"c": True}, b"3" * 50)]
    parts = [encode_message(*message) for message in messages]
    raw = b"".join(parts)
    ends = {0, len(parts[0]), len(parts[0] + parts[1]), len(raw)}
    for cut in range(len(raw) + 1):
        assert decoded(raw[:cut], raw[cut:]) == messages
        if cut in ends:
            decoded(raw[:cut])
        else:
            with pytest.raises(WireError, match="ends inside a message"):
                decoded(raw[:cut])
    assert decoded(*(bytes((byte,)) for byte in raw)) == messages


VALUES = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(-(2**63), 2**63 - 1).map(Timestamp)
    | st.text(max_size=30)
    | st.binary(max_size=30)
    | st.uuids()
)


@settings(deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=20), VALUES), st.binary())
def test_what_is_encoded_is_decoded(headers: dict[str, HeaderValue], payload: bytes) -> None:
    """Decoding undoes encoding, types included."""
    [message] = decoded(encode_message(headers, payload))
    assert message == Message(headers, payload)
    assert [type(value) for value in message.headers.values()] == [type(value) for value in headers.values()]


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(raw: bytes) -> None:
    """Nothing but WireError is ever raised, also behind right checksums."""
    for data in (raw, raw_message(raw), raw_message(raw[:20], raw[20:])):
        try:
            decoded(data)
        except WireError:
            pass  # the only exception that broken data may raise


@pytest.mark.parametrize(
    "headers",
    [{"": "x"}, {"n" * 256: "x"}, {"n": "x" * 65536}, {"n": 2**63}, {str(n): "x" * 60000 for n in range(3)}],
    ids=["no name", "long name", "long value", "large integer", "many headers"],
)
def test_what_cannot_be_encoded(headers: dict[str, HeaderValue]) -> None:
    """The format's bounds are errors."""
    with pytest.raises(WireError):
        encode_message(headers)
