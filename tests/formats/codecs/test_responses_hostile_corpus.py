"""Recorded bodies and streams of the Responses API with something wrong in them: nothing raises, nothing is lost."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.corpus import Line
from tests.formats.codecs import laws
from tests.formats.codecs.responses_made import (
    client,
)
from tests.formats.codecs.responses_recorded import bare, echoing, replies, requests, streams, told

from interpose.formats.codecs import Asked, Malformed, Target
from interpose.formats.codecs.responses import CODEC
from interpose.ir import Losses

# Hostile input

ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    10**400,
    1.5,
    "",
    "\ud800",
    "x" * 1000,
    [],
    [1],
    {},
    {"type": 1},
    {"type": "message"},
]


def mutated(node: Any, rng: random.Random) -> Any:
    """The same JSON with one thing in it wrong."""
    node = copy.deepcopy(node)
    place = node
    for _ in range(rng.randint(1, 5)):
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = rng.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.8:
            place = place[key]
            continue
        what = rng.random()
        if what < 0.2:
            del place[key]
        elif what < 0.3 and isinstance(place, list):
            place.insert(key, copy.deepcopy(place[key]))
        elif what < 0.4 and isinstance(place, dict):
            place[rng.choice(["type", "item.id", "\ud800", "content", "summary"])] = rng.choice(ODD)
        else:
            place[key] = rng.choice(ODD)
        break
    return node


def hostile(line: Line, what: Any) -> Iterator[Any]:
    rng = random.Random(line.id)
    for _ in range(4):
        yield mutated(what, rng)


def test_mutated_requests_come_back_equal_or_are_malformed() -> None:
    """What is wrong is Malformed, or is left over and comes back as it was: nothing is lost, nothing raises."""
    returned = refused = 0
    for line in requests():
        for body in hostile(line, line.request):
            try:
                request = CODEC.read_request(copy.deepcopy(body), Asked())
            except Malformed:
                refused += 1
                continue
            losses = Losses()
            laws.same(CODEC.write_request(request, Target(request.model), losses).body, body, line.id)
            CODEC.write_request(bare(request), Target("gpt-5"), losses)
            returned += 1
    assert returned >= 3000
    assert refused >= 300


def test_mutated_replies_come_back_equal_or_are_malformed() -> None:
    """The same of replies; what is read can be written for a client of another provider's as well."""
    returned = refused = 0
    for line in replies():
        for body in hostile(line, line.reply_json):
            try:
                reply = CODEC.read_reply(copy.deepcopy(body))
            except Malformed:
                refused += 1
                continue
            laws.same(CODEC.write_reply(copy.deepcopy(reply), echoing(reply), Losses("reply")), body, line.id)
            returned += 1
    assert returned >= 3000
    assert refused >= 20


def test_mutated_streams_never_raise() -> None:
    """Events with something wrong in them: read, in pieces alike, and written on."""
    rng = random.Random(3)
    ended: Counter[type] = Counter()
    for line in streams():
        events = told(line.reply_bytes())[:80] + told(line.reply_bytes())[-3:]
        for _ in range(2):
            for place in rng.sample(range(len(events)), min(4, len(events))):
                events[place] = mutated(events[place], rng)
            data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
            read = laws.read_whole(CODEC, data)
            writer = CODEC.writer(client(), Losses("reply"))
            writer.write(read)
            writer.finish()
            laws.collected(CODEC, read)
            ended[type(read[-1])] += 1
    assert ended.total() >= 900
    assert len(ended) == 2
