"""The Converse codec over the recordings: what is read is written back equal, and a stream cut anywhere fails."""

from __future__ import annotations

from tests import corpus
from tests.formats.codecs import laws

from interpose.formats.codecs import CODECS, Asked, Client
from interpose.ir import Failed, Losses, Request
from interpose.wire.eventstream import EventStreamDecoder, encode_message

CODEC = CODECS["bedrock-converse"]
FAMILIES = ("bedrock_converse", "responseonly_bedrock_converse")
CLIENT = Client(Request(CODEC.name, "model", []), "model", "call-1", 0)


def recorded() -> list[corpus.Line]:
    return [line for family in FAMILIES for line in corpus.lines(family)]


def streams() -> list[tuple[corpus.Line, bytes]]:
    return [(line, line.reply_bytes()) for line in recorded() if line.ok and line.reply_json is None]


def test_every_request_is_written_back_equal() -> None:
    """A -> neutral -> A of every recorded request, without a loss, to the path that it came by."""
    counted = 0
    for line in recorded():
        if line.request_kind == "json":
            request = laws.request_returns(CODEC, line.request, Asked(line.path, line.query))
            assert request.model
            assert request.stream == line.path.endswith("converse-stream")
            counted += 1
    assert counted >= 278


def test_every_reply_is_written_back_equal() -> None:
    """A -> neutral -> A of every recorded whole reply; telling it in events loses nothing either."""
    counted = 0
    for line in recorded():
        if line.ok and line.reply_json is not None:
            laws.collecting_returns(CODEC, laws.reply_returns(CODEC, line.reply_json, CLIENT))
            counted += 1
    assert counted >= 235


def test_no_stream_succeeds_cut() -> None:
    """Every recorded stream ends well whole and in Failed when cut between any two frames; any split reads the same."""
    counted = 0
    for line, data in streams():
        whole = laws.read_whole(CODEC, data)
        if isinstance(whole[-1], Failed):
            continue
        pieces = (data[at : at + 7] for at in range(0, len(data), 7))
        assert laws.read_in_pieces(CODEC, pieces) == whole, line.id
        ends, at = [0], 0
        for message in EventStreamDecoder().feed(data)[:-1]:
            at += len(encode_message(message.headers, message.payload))
            ends.append(at)
        laws.never_succeeds_cut(CODEC, data, ends)
        counted += 1
    assert counted >= 37


def test_what_is_written_as_a_stream_is_read_as_the_same_reply() -> None:
    """Recorded streams, written and read again, are the same blocks, stop and usage; so is the whole reply's."""
    counted = 0
    for line, data in streams():
        events = laws.read_whole(CODEC, data)
        if isinstance(events[-1], Failed):
            continue
        losses = Losses("reply")
        writer = CODEC.writer(CLIENT, losses)
        written = b"".join(writer.write([event]) for event in events) + writer.finish()
        first, again = laws.collected(CODEC, events).reply, laws.collected(CODEC, laws.read_whole(CODEC, written)).reply
        assert again == first, line.id
        assert not list(losses), list(losses)
        body = CODEC.write_reply(first, CLIENT, losses)
        assert CODEC.read_reply(body).answers[0].stop == first.answers[0].stop
        counted += 1
    assert counted >= 37
