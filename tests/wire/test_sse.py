"""Server-sent events: line ends, chunking, limits and the encoder."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpose.wire.error import WireError
from interpose.wire.sse import RawEvents, SseDecoder, SseEvent, encode_event


class Case(NamedTuple):
    raw: bytes
    events: list[SseEvent]
    comments: int = 0


E = SseEvent
CASES = {
    "one": Case(b"data: a\n\n", [E(b"a")]),
    "two": Case(b"data: a\n\ndata: b\n\n", [E(b"a"), E(b"b")]),
    "crlf": Case(b"data: a\r\n\r\ndata: b\r\n\r\n", [E(b"a"), E(b"b")]),
    "cr": Case(b"data: a\r\rdata: b\r\r", [E(b"a"), E(b"b")]),
    "mixed line ends": Case(b"event: x\rdata: a\r\n\ndata: b\n\r\n", [E(b"a", b"x"), E(b"b")]),
    "no space": Case(b"data:a\n\n", [E(b"a")]),
    "two spaces": Case(b"data:  a\n\n", [E(b" a")]),
    "colons in the value": Case(b'data: {"a": 1}\n\n', [E(b'{"a": 1}')]),
    "several data lines": Case(b"data: a\ndata:\ndata: b\n\n", [E(b"a\n\nb")]),
    "an empty data line": Case(b"data:\n\n", [E(b"")]),
    "a data line without colon": Case(b"data\n\n", [E(b"")]),
    "an event without data": Case(b"event: ping\n\ndata: a\n\n", [E(b"a")]),
    "event and id": Case(b"id: 7\nevent: delta\ndata: a\n\n", [E(b"a", b"delta", b"7")]),
    "an id with NUL": Case(b"id: 7\0\ndata: a\n\n", [E(b"a")]),
    "an empty id": Case(b"id\ndata: a\n\n", [E(b"a", b"", b"")]),
    "the last event name counts": Case(b"event: x\nevent: y\ndata: a\n\n", [E(b"a", b"y")]),
    "unknown fields and retry": Case(b"retry: 10\nfoo: bar\n data: x\ndata: a\n\n", [E(b"a")]),
    "comments": Case(b": hello\n\n:\n: OPENROUTER PROCESSING\n\ndata: a\n: in between\n\n", [E(b"a")], 4),
    "blank lines": Case(b"\n\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n", [E(b"a"), E(b"b")]),
    "a byte order mark": Case(b"\xef\xbb\xbfdata: a\n\n", [E(b"a")]),
    "a byte order mark alone": Case(b"\xef\xbb\xbf\n\ndata: a\n\n", [E(b"a")]),
    "a later byte order mark": Case(b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [E(b"a")]),
    "no last blank line": Case(b"data: a\n\ndata: b\n", [E(b"a"), E(b"b", terminated=False)]),
    "no last line end": Case(b"data: a\n\nevent: x\ndata: b", [E(b"a"), E(b"b", b"x", terminated=False)]),
    "only a byte order mark and an open event": Case(b"\xef\xbb\xbfdata: a", [E(b"a", terminated=False)]),
    "line separators of other alphabets": Case(
        "data: a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\n\n".encode(), [E("a\u2028b\u2029c\x85d\x0be\x0cf\x1cg".encode())]
    ),
    "multi-byte characters": Case("data: é漢🙂\n\n".encode(), [E("é漢🙂".encode())]),
    "nothing": Case(b"", []),
    "only a cut field name": Case(b"dat", []),
}
TABLE = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def decoded(*chunks: bytes) -> tuple[list[SseEvent], int]:
    decoder = SseDecoder()
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events + decoder.finish(), decoder.comments


@TABLE
def test_whole(case: Case) -> None:
    """A stream in one piece gives its events."""
    assert decoded(case.raw) == (case.events, case.comments)


@TABLE
def test_every_split(case: Case) -> None:
    """Cut into two or three pieces anywhere, or into single bytes with empty chunks between, it gives the same."""
    raw = case.raw
    expected = (case.events, case.comments)
    for a, b in combinations(range(len(raw) + 1), 2):
        assert decoded(raw[:a], raw[a:b], raw[b:]) == expected
    assert decoded(*(chunk for byte in raw for chunk in (bytes((byte,)), b""))) == expected


@pytest.mark.parametrize("end", [b"\r", b"\r\n"])
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if b"\r" not in case.raw])
def test_other_line_ends(name: str, end: bytes) -> None:
    """LF, CR and CRLF make no difference, at every split."""
    case = CASES[name]
    raw = case.raw.replace(b"\n", end)
    for cut in range(len(raw) + 1):
        assert decoded(raw[:cut], raw[cut:]) == (case.events, case.comments)


def test_an_event_is_given_with_its_blank_line() -> None:
    """A CR ends the line at once: the decoder does not wait to see whether an LF follows."""
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\r\n\r") == [SseEvent(b"a")]
    assert decoder.feed(b"\ndata: b\r\r") == [SseEvent(b"b")]
    assert decoder.feed(b"\n") == []
    assert decoder.finish() == []


def test_an_event_over_the_limit_is_refused_after_those_before_it() -> None:
    """Whether it ended or not; the events in front of it are given first."""
    decoder = SseDecoder(limit=10)
    assert decoder.feed(b"data: a\n\ndata: 0123456789") == [SseEvent(b"a")]
    with pytest.raises(WireError, match="larger than 10"):
        decoder.feed(b"\n\n")
    with pytest.raises(WireError, match="larger than 10"):
        decoder.finish()
    with pytest.raises(WireError, match="larger than 10"):
        SseDecoder(limit=10).feed(b"data: 0123456789\n\n")


def test_a_large_event_in_small_chunks_takes_linear_time() -> None:
    """8 MiB in chunks of 64 bytes is searched once, not once a chunk."""
    decoder = SseDecoder()
    chunk = b"x" * 64
    assert decoder.feed(b"data: ") == []
    for _ in range(2**17):
        assert not decoder.feed(chunk)
    assert [len(event.data) for event in decoder.feed(b"\n\n")] == [2**23]


NAMES = st.binary(max_size=8).filter(lambda name: not set(name) & set(b"\r\n") and not name.startswith(b" "))
DATA = st.lists(st.binary(max_size=12).filter(lambda line: not set(line) & set(b"\r\n")), min_size=1).map(b"\n".join)


@settings(deadline=None)
@given(st.lists(st.tuples(DATA, NAMES, st.none() | NAMES.filter(lambda i: b"\0" not in i))), st.integers(1, 9))
def test_what_is_encoded_is_decoded(events: list[tuple[bytes, bytes, bytes | None]], step: int) -> None:
    """Decoding undoes encoding, in chunks of any size."""
    raw = b"".join(encode_event(data, name, id=identity) for data, name, identity in events)
    found, _ = decoded(*(raw[at : at + step] for at in range(0, len(raw), step)))
    assert found == [SseEvent(*event) for event in events]


@settings(deadline=None)
@given(st.binary(), st.integers(1, 5))
def test_any_bytes_read_the_same_in_any_chunks(raw: bytes, step: int) -> None:
    """No input raises, and chunks never matter."""
    assert decoded(*(raw[at : at + step] for at in range(0, len(raw), step))) == decoded(raw)


def test_encoding_line_ends() -> None:
    """A CR in data is a line end, since every reader takes it for one; in a name nothing can be."""
    assert encode_event(b"a\r\nb\rc") == b"data: a\ndata: b\ndata: c\n\n"
    assert encode_event(b"", b"ping", id=b"") == b"event: ping\nid: \ndata: \n\n"
    for name, identity in ((b"a\nb", None), (b"a\rb", None), (b"", b"1\n")):
        with pytest.raises(WireError, match="line end"):
            encode_event(b"x", name, id=identity)


@given(st.lists(st.sampled_from([b"data: a", b"\n", b"\r", b"\r\n", b"\n\n", b": x", b""]), max_size=12), st.data())
def test_raw_events_are_the_stream_whatever_the_pieces(parts: list[bytes], data: st.DataObject) -> None:
    """No byte is lost, changed or moved, and where the pieces end makes no difference to the events."""
    stream = b"".join(parts)
    whole = RawEvents()
    events = [*whole.feed(stream), whole.rest()]
    assert b"".join(events) == stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    cut = RawEvents()
    pieces = [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]
    assert [*(event for piece in pieces for event in cut.feed(piece)), cut.rest()] == events


def test_an_endless_event_is_passed_on() -> None:
    """What never ends is not held for ever."""
    raw = RawEvents(limit=4)
    assert raw.feed(b"12345") == [b"12345"]
    assert raw.feed(b"\n\n") == [b"\n\n"]
