"""Recordings with something strange inside, through the Anthropic codec: Malformed or told, never another exception."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given, settings
from tests.formats.codecs import laws
from tests.formats.codecs.test_anthropic_corpus import (
    SEEDS,
    UNSHRUNK,
    asked_of,
    client_of,
    codec_of,
    recorded,
    replies,
    streams,
)

from interpose.formats.codecs import CODECS, Malformed, Target
from interpose.ir import (
    Failed,
    Losses,
)


def mutated(value: Any, drawn: random.Random) -> Any:
    """JSON with one node somewhere replaced by something of another type, left out, or doubled."""
    if isinstance(value, dict) and value and drawn.random() < 0.85:
        key = drawn.choice(sorted(value))
        copied = dict(value)
        if drawn.random() < 0.1:
            del copied[key]
        else:
            copied[key] = mutated(value[key], drawn)
        return copied
    if isinstance(value, list) and value and drawn.random() < 0.9:
        place = drawn.randrange(len(value))
        return [
            *value[:place],
            mutated(value[place], drawn),
            *value[place:] * (drawn.random() < 0.1),
            *value[place + 1 :],
        ]
    return drawn.choice(STRANGE)


def fresh(value: Any) -> Any:
    """A copy in which nothing is in two places: what reads it takes it apart."""
    return json.loads(json.dumps(value))


STRANGE: list[Any] = [
    None,
    True,
    0,
    -1,
    10**30,
    1.5,
    "",
    "\ud800",
    "x",
    [],
    [[]],
    {},
    {"type": "x"},
    [{}],
    [None],
    "tool",
]


@settings(max_examples=4, deadline=None, phases=UNSHRUNK)
@given(SEEDS)
def test_a_request_with_something_strange_inside_is_malformed_or_told(seed: int) -> None:
    """Each recorded request with a node replaced: Malformed, or it is read, written for its own format and another."""
    drawn = random.Random(seed)
    counted = refused = 0
    for line in recorded():
        if line.request_kind != "json":
            continue
        codec = codec_of(line)
        body = fresh(mutated(line.request, drawn))
        if not isinstance(body, dict):
            continue
        counted += 1
        try:
            request = codec.read_request(fresh(body), asked_of(line))
        except Malformed:
            refused += 1
            continue
        written = codec.write_request(request, Target(request.model), Losses())
        versioned = codec is CODECS["anthropic"] or "anthropic_version" in body
        if versioned and request.model == body.get("model", request.model):
            laws.same(written.body, body, line.id)
        request.format = "another"
        codec.write_request(request, Target(request.model), Losses())
    assert counted >= 900
    assert counted - refused >= 200


@settings(max_examples=4, deadline=None, phases=UNSHRUNK)
@given(SEEDS)
def test_a_reply_with_something_strange_inside_is_malformed_or_written(seed: int) -> None:
    """Each recorded reply with a node replaced: Malformed, or written without another exception."""
    drawn = random.Random(seed)
    counted = 0
    for line, _ in replies():
        body = fresh(mutated(line.reply_json, drawn))
        if not isinstance(body, dict):
            continue
        counted += 1
        try:
            reply = codec_of(line).read_reply(body)
        except Malformed:
            continue
        json.dumps(codec_of(line).write_reply(reply, client_of("m"), Losses("reply")))
    assert counted >= 600


@settings(max_examples=4, deadline=None, phases=UNSHRUNK)
@given(SEEDS)
def test_a_stream_with_something_strange_inside_ends(seed: int) -> None:
    """Each recorded stream with an event changed, left out or doubled: it is read to an end, and what is read can be
    written, and what failed never ends well.
    """
    drawn = random.Random(seed)
    counted = 0
    for line, data in streams():
        if line.family == "bedrock_invoke":
            continue
        events = data.split(b"\n\n")
        place = drawn.randrange(len(events))
        head, _, told = events[place].partition(b"data: ")
        try:
            changed = json.dumps(mutated(json.loads(told), drawn)).encode()
        except ValueError:
            changed = told[: len(told) // 2]
        events[place : place + 1] = drawn.choice([[], [events[place]] * 2, [head + b"data: " + changed]])
        codec = codec_of(line)
        read = laws.read_whole(codec, b"\n\n".join(events))
        writer = codec.writer(client_of("m"), Losses("reply"))
        written = writer.write(read) + writer.finish()
        failed = isinstance(read[-1], Failed)
        assert (b"event: message_stop" in written) is not failed, line.id
        laws.collected(codec, read)
        counted += 1
    assert counted >= 340
