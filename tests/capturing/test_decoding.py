"""Bodies as they are kept: without their content coding, as messages of a WebSocket; never more than is asked for."""

from __future__ import annotations

import gzip
import json
import time
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, TextMessage

from interpose.capturing.decoding import plain, spoken
from interpose.capturing.pieces import MOST_MOMENTS, PORTION, Pieces, Room

TEXT = b"All that is said, and said again. " * 100
CODED = {
    "": TEXT,
    "identity": TEXT,
    "gzip": gzip.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    "br": brotli.compress(TEXT),
    "zstd": zstandard.ZstdCompressor().compress(TEXT),
    "gzip, br": brotli.compress(gzip.compress(TEXT)),
}


@pytest.mark.parametrize("coding", CODED)
def test_a_coding_is_undone_and_each_byte_keeps_its_moment(coding: str) -> None:
    """Of every coding that is known, and of several; the last moment ends where the body does."""
    wire = CODED[coding]
    half = len(wire) // 2
    body = plain([wire[:half], wire[half:]], [(1.0, half), (2.0, len(wire) - half)], len(wire), coding, 1 << 20)
    assert (body.data, body.whole, body.undecodable) == (TEXT, True, False)
    assert [ms for ms, _ in body.moments] == [1.0, 2.0]
    assert body.moments[-1][1] == len(TEXT)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_bomb_becomes_no_more_than_is_asked_for(coding: str) -> None:
    """However little it is on the wire."""
    many = bytes(16 << 20)
    pack = {
        "gzip": gzip.compress, "deflate": zlib.compress, "br": lambda data: brotli.compress(data, quality=1),
        "zstd": zstandard.ZstdCompressor().compress,
    }  # fmt: skip
    wire = pack[coding](many)
    began = time.process_time()
    body = plain([wire], [(0.0, len(wire))], len(wire), coding, 50_000)
    assert len(body.data) == 50_000
    assert not body.whole
    assert time.process_time() - began < 5


def test_what_cannot_be_decoded_is_kept_as_far_as_it_could_be() -> None:
    """Broken in the middle: the beginning; of a coding that nobody knows: nothing, for nobody could look into it."""
    wire = bytearray(gzip.compress(bytes(range(256)) * 400, compresslevel=0))
    wire[40_000:] = b"\xff" * (len(wire) - 40_000)
    body = plain([bytes(wire)], [(0.0, len(wire))], len(wire), "gzip", 1 << 20)
    assert body.undecodable
    assert 10_000 < len(body.data) < 102_400
    assert plain([b"abc"], [(0.0, 3)], 3, "secret-coding", 1 << 20).data == b""
    assert plain([], [], 0, "secret-coding", 1 << 20).undecodable is False


@given(st.binary(max_size=400), st.sampled_from(["gzip", "deflate", "br", "zstd", "gzip, gzip"]))
def test_no_bytes_make_decoding_fail(wire: bytes, coding: str) -> None:
    """Whatever comes: there is a body, or there is none."""
    assert len(plain([wire], [(0.0, len(wire))], len(wire), coding, 1000).data) <= 1000


def frames(*messages: str | bytes | int) -> bytes:
    """As a client sends them, masked."""
    client = Connection(ConnectionType.CLIENT)
    return b"".join(
        client.send(
            TextMessage(message) if isinstance(message, str)
            else BytesMessage(message) if isinstance(message, bytes)
            else CloseConnection(message)
        )
        for message in messages
    )  # fmt: skip


def test_what_is_said_in_a_websocket_is_a_line_a_message() -> None:
    """With its moment: text as text, bytes as base64, and how it was closed."""
    first, second = frames('{"type": "hello"}', "ü"), frames(b"\x00\xff", 1000)
    came = [(1.5, len(first)), (2.5, len(second))]
    said = spoken([first, second], came, len(first + second), b"", 1 << 20, client=True)
    assert [json.loads(line) for line in said.data.splitlines()] == [
        {"ms": 1.5, "text": '{"type": "hello"}'},
        {"ms": 1.5, "text": "ü"},
        {"ms": 2.5, "binary": "AP8="},
        {"ms": 2.5, "close": 1000},
    ]
    assert said.whole
    assert said.moments[-1][1] == len(said.data)


def test_what_is_no_websocket_is_kept_as_far_as_it_was_one() -> None:
    """And says so."""
    good = frames("hello")
    said = spoken([good + b"\xff" * 40], [(0.0, len(good) + 40)], len(good) + 40, b"", 1 << 20, client=True)
    assert json.loads(said.data) == {"ms": 0.0, "text": "hello"}
    assert said.undecodable


# --- pieces ----------------------------------------------------------------------------------------------------------


def test_pieces_are_held_up_to_the_limit_and_counted_beyond() -> None:
    """What is held is given back once."""
    room = Room(1 << 20)
    held = Pieces(room, 10)
    for number in range(5):
        held.add(b"abcd", float(number * 10))
    assert (held.size, held.chunks, held.crowded) == (20, [b"abcd"] * 3, False)
    assert room.taken == PORTION
    held.let_go()
    held.let_go()
    assert room.taken == 0


def test_what_others_hold_too_takes_no_room_again() -> None:
    """And what comes after the end is no part of it."""
    room = Room(1 << 20)
    held = Pieces(room, 1 << 20)
    held.add(bytes(100_000), 0.0, shared=True)
    assert room.taken == PORTION
    held.end()
    held.add(b"late", 1.0)
    assert (held.size, held.moments) == (100_000, [(0.0, 100_000)])


def test_where_there_is_no_room_the_rest_is_counted() -> None:
    """And it is said: bodies of other calls have taken it."""
    room = Room(2 * PORTION)
    first, second = Pieces(room, 1 << 20), Pieces(room, 1 << 20)
    first.add(bytes(PORTION + 1), 0.0)
    second.add(bytes(PORTION), 0.0)
    assert (second.crowded, second.chunks, second.size) == (True, [], PORTION)
    first.let_go()
    second.add(bytes(20), 1.0)
    assert second.chunks == []


def test_the_moments_of_a_long_stream_are_bounded() -> None:
    """Two become one: no byte is lost of them, and they stay in order."""
    held = Pieces(Room(1 << 24), 1 << 20)
    for number in range(3 * MOST_MOMENTS):
        held.add(b"x", number * 2.0)
    assert len(held.moments) <= MOST_MOMENTS
    assert sum(count for _, count in held.moments) == 3 * MOST_MOMENTS
    assert [ms for ms, _ in held.moments] == sorted(ms for ms, _ in held.moments)
