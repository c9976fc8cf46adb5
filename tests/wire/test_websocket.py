"""Reading a WebSocket session along: the same messages however the bytes are cut, compressed or not."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameProtocol

from interpose.wire.error import WireError
from interpose.wire.websocket import Messages, Received

Sent = list[str | bytes]


def deflate(header: bytes) -> list[PerMessageDeflate]:
    extension = PerMessageDeflate()
    extension.finalize(header.decode())
    return [extension] if header else []


def spoken(messages: Sent, *, from_client: bool, extensions: bytes = b"", fragments: int = 1) -> bytes:
    """What a side sends: the messages, each in so many fragments with a ping between them, and a Close."""
    side = FrameProtocol(from_client, list(deflate(extensions)) if extensions else [])
    out = bytearray()
    for message in messages:
        size = max(1, -(-len(message) // fragments))
        parts = [message[start : start + size] for start in range(0, len(message), size)] or [message]
        for place, part in enumerate(parts):
            out += side.send_data(part, fin=place == len(parts) - 1)
            out += side.ping(b"still there?")
    return bytes(out + side.close(CloseReason.GOING_AWAY, "bye"))


def read(data: bytes, cuts: list[int], **how: object) -> tuple[list[Received], int | None]:
    messages = Messages(**how)  # type: ignore[arg-type]  # as Messages takes them
    places = [0, *sorted(cuts), len(data)]
    found = [each for start, end in pairwise(places) for each in messages.feed(data[start:end])]
    return found, messages.close_code


def as_received(messages: Sent) -> list[Received]:
    return [Received(each.encode() if isinstance(each, str) else each, isinstance(each, str)) for each in messages]


SAID: Sent = ["Grüße", b"\x00\xff", "", '{"type": "response.done"}']
EXTENSIONS = [
    b"",
    b"permessage-deflate",
    b"permessage-deflate; client_no_context_takeover; server_no_context_takeover",
    b"permessage-deflate; server_max_window_bits=10; client_max_window_bits=10",
]


@pytest.mark.parametrize("from_client", [True, False])
@pytest.mark.parametrize("extensions", EXTENSIONS)
def test_every_byte_split_gives_the_same_messages(*, from_client: bool, extensions: bytes) -> None:
    """Whole, cut in two at every place, and byte by byte; pings between fragments are no part of a message."""
    data = spoken(SAID, from_client=from_client, extensions=extensions, fragments=3)
    wanted = (as_received(SAID), 1001)
    for cuts in ([], *([place] for place in range(1, len(data))), list(range(1, len(data)))):
        assert read(data, cuts, from_client=from_client, agreed=extensions) == wanted


@given(
    messages=st.lists(st.one_of(st.text(max_size=200), st.binary(max_size=200)), max_size=5),
    fragments=st.integers(1, 4),
    extensions=st.sampled_from(EXTENSIONS),
    from_client=st.booleans(),
    data=st.data(),
)
def test_what_is_said_is_read(
    *, messages: Sent, fragments: int, extensions: bytes, from_client: bool, data: st.DataObject
) -> None:
    """Any messages, in any fragments, cut anywhere."""
    raw = spoken(messages, from_client=from_client, extensions=extensions, fragments=fragments)
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=8))
    assert read(raw, cuts, from_client=from_client, agreed=extensions) == (as_received(messages), 1001)


@given(st.binary(min_size=1, max_size=300), st.booleans())
def test_garbage_is_a_wire_error_at_worst(data: bytes, from_client: bool) -> None:
    """Nothing else is ever raised, whatever a peer sends."""
    with suppress(WireError):
        found, _ = read(data, [], from_client=from_client, agreed=b"permessage-deflate")
        assert all(each.data is not None for each in found)


def test_a_message_beyond_the_limit_is_counted_and_not_kept() -> None:
    """And the one behind it is read again."""
    data = spoken(["x" * 3000, "small"], from_client=True, fragments=5)
    found, _ = read(data, [], from_client=True, limit=1000)
    assert found == [Received(None, True), Received(b"small", True)]


def test_a_compression_bomb_is_not_kept() -> None:
    """Sixty-four megabytes out of sixty-four kilobytes."""
    data = spoken([b"\x00" * (64 * 1024 * 1024)], from_client=False, extensions=b"permessage-deflate")
    assert len(data) < 100_000
    found, _ = read(data, [], from_client=False, agreed=b"permessage-deflate")
    assert found == [Received(None, False)]


def test_nothing_is_read_behind_a_close() -> None:
    """It is no part of the session."""
    data = spoken(["last"], from_client=False) + b"\xff\xff\xff"
    assert read(data, [], from_client=False) == (as_received(["last"]), 1001)


def test_a_session_without_a_close_has_no_code() -> None:
    """Whoever asks can tell a goodbye from a break."""
    assert read(FrameProtocol(True, []).send_data("hi", fin=True), [], from_client=True)[1] is None


def test_a_close_without_a_code_has_the_reserved_one() -> None:
    """RFC 6455, 7.1.5."""
    assert read(b"\x88\x80\x00\x00\x00\x00", [], from_client=True)[1] == 1005
