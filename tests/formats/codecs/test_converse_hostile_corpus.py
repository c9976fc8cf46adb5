"""Recordings with something strange inside, through the Converse codec: Malformed or told, never another exception."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from tests.formats.codecs import laws
from tests.formats.codecs.test_anthropic_hostile_corpus import fresh, mutated
from tests.formats.codecs.test_converse_corpus import (
    CLIENT,
    CODEC,
    SEEDS,
    UNSHRUNK,
    recorded,
    replies,
    streams,
)

from interpose.formats.codecs import CODECS, Asked, Client, Malformed, Target
from interpose.formats.codecs.ids import BEDROCK
from interpose.ir import Failed, Losses, Request, ToolCall
from interpose.wire.eventstream import EventStreamDecoder, encode_message

OTHERS = ("openai-chat", "openai-responses", "anthropic", "gemini", "mistral", "ollama", "cohere")


@settings(max_examples=15, deadline=None, phases=UNSHRUNK)
@given(SEEDS)
def test_a_request_with_something_strange_inside_is_malformed_or_told(seed: int) -> None:
    """Each recorded request with a node replaced: Malformed, or it is written back equal, and for other formats."""
    drawn = random.Random(seed)
    counted = refused = 0
    for line in recorded():
        if line.request_kind != "json":
            continue
        body = fresh(mutated(line.request, drawn))
        if not isinstance(body, dict):
            continue
        counted += 1
        try:
            request = CODEC.read_request(fresh(body), Asked(line.path))
        except Malformed:
            refused += 1
            continue
        laws.same(CODEC.write_request(request, Target(request.model), Losses()).body, body, line.id)
        for name in OTHERS:
            CODECS[name].write_request(request, Target(request.model), Losses())
        request.format = "another"
        CODEC.write_request(request, Target(request.model), Losses())
    assert counted >= 200
    assert counted - refused >= 60


@settings(max_examples=15, deadline=None, phases=UNSHRUNK)
@given(SEEDS)
def test_a_reply_with_something_strange_inside_is_malformed_or_written(seed: int) -> None:
    """Each recorded reply with a node replaced: Malformed, or written back equal, and for other formats."""
    drawn = random.Random(seed)
    counted = read = 0
    for line, _ in replies():
        body = fresh(mutated(line.reply_json, drawn))
        if not isinstance(body, dict):
            continue
        counted += 1
        try:
            reply = CODEC.read_reply(fresh(body))
        except Malformed:
            continue
        read += 1
        ids = [block.id for block in reply.answers[0].blocks if isinstance(block, ToolCall)]
        if all(BEDROCK.pattern.fullmatch(one) for one in ids):  # any other is mapped to one that clients may send back
            laws.same(CODEC.write_reply(reply, CLIENT, Losses("reply")), body, line.id)
        for name in OTHERS:
            client = Client(Request(name, "model", []), "model", "call-1", 0)
            json.dumps(CODECS[name].write_reply(reply, client, Losses("reply")))
    assert counted >= 180
    assert read >= 60


@settings(max_examples=15, deadline=None, phases=UNSHRUNK)
@given(SEEDS)
def test_a_stream_with_something_strange_inside_ends(seed: int) -> None:
    """Each recorded stream with a frame changed, left out or doubled: it is read to an end, what is read can be
    written, and what failed never ends well.
    """
    drawn = random.Random(seed)
    counted = 0
    for line, data in streams():
        messages = EventStreamDecoder().feed(data)
        place = drawn.randrange(len(messages))
        changed: Any = mutated(json.loads(messages[place].payload), drawn)
        strange = messages[place]._replace(payload=json.dumps(changed).encode())
        messages[place : place + 1] = drawn.choice([[], [messages[place]] * 2, [strange]])
        read = laws.read_whole(CODEC, b"".join(encode_message(*message) for message in messages))
        failed = isinstance(read[-1], Failed)
        for name in ("bedrock-converse", *OTHERS):
            client = Client(Request(name, "model", []), "model", "call-1", 0)
            writer = CODECS[name].writer(client, Losses("reply"))
            written = writer.write(read) + writer.finish()
            if name == "bedrock-converse":
                assert isinstance(laws.read_whole(CODEC, written)[-1], Failed) is failed, line.id
        laws.collected(CODEC, read)
        counted += 1
    assert counted >= 37


@pytest.mark.parametrize("place", [4, 9, 20, -2])
def test_a_damaged_frame_is_a_failure(place: int) -> None:
    """A byte changed in the prelude, the headers or the checksum: no event after it is believed."""
    _, data = streams()[0]
    broken = bytearray(data)
    broken[place] ^= 0x10
    assert isinstance(laws.read_whole(CODEC, bytes(broken))[-1], Failed)
