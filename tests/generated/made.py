"""Calls that are made of schemas: such as went well, and such as nobody wants."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.corpus import serialise
from tests.generated.families import Family
from tests.generated.streams import STREAMS, well
from tests.generated.values import Values

JSON = "application/json"
# What no reader is to take for anything but text.
HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "\ud800",
    "\x00\x1b[31m\u202e\u2028",
    ' "><svg/onload=alert(1)>',
    "a\r\n\r\ndata: {}\n\nb",
    "[x](javascript:alert(1)) ![i](http://evil.test/x.png)",
    "`" * 20 + "\n<style>*{}</style>\n|a|\n|-|",
)
JUNK: tuple[Any, ...] = (
    None, True, -1, 2**63, 10**40, 1e308, float("nan"), float("-inf"), "", "x", [], {}, [None], {"": ""}, "9" * 400,
)  # fmt: skip
TYPES = (JSON, "text/event-stream", "", "text/html", "application/x-ndjson", "audio/mpeg", "multipart/form-data")


class Made(NamedTuple):
    request: bytes
    reply: bytes
    kind: str


def values(family: Family, seed: int, around: str = "") -> tuple[Values, Any, Any]:
    by = Values(family.named(), seed, around)
    return by, by.of({"$ref": family.request}), by.of({"$ref": family.reply})


def both(family: Family, seed: int, around: str = "") -> tuple[Values, Any, Any, list[Made]]:
    """A call that went well, its reply whole and, where it can be streamed, in pieces."""
    by, request, reply = values(family, seed, around)
    reply = well(reply)
    made = [Made(serialise(request), serialise(reply), JSON)]
    if stream := STREAMS.get(family.name):
        events = [*stream(copy.deepcopy(reply), random.Random(seed))]
        made.append(Made(serialise(request), family.framed(events), family.stream_type))
    return by, request, reply, made


def spoilt(family: Family, seed: int) -> Iterator[Made]:
    """What comes of a hostile call: broken, cut off, of the wrong kind, in the wrong order."""
    by, request, reply = values(family, seed, HOSTILE[seed % len(HOSTILE)])
    chance = by.chance
    asked, answered = serialise(request), serialise(reply)
    yield Made(asked, answered, JSON)
    yield Made(serialise(_altered(request, chance)), serialise(_altered(reply, chance)), JSON)
    yield Made(asked[: chance.randrange(len(asked))], answered[: chance.randrange(len(answered))], chance.choice(TYPES))
    yield Made(answered, asked, chance.choice(TYPES))
    yield Made(asked, answered[:-1] + b',"usage":7,"usage":{"prompt_tokens":1e400}}', JSON)
    events = [by.of({"$ref": family.event}) for _ in range(chance.randint(1, 8))] if family.event else []
    yield Made(asked, family.framed(events), family.stream_type)
    if stream := STREAMS.get(family.name):
        events = [*stream(copy.deepcopy(reply), chance)]
        framed = family.framed(events)
        yield Made(asked, framed, family.stream_type)
        yield Made(asked, framed[: chance.randrange(len(framed))], family.stream_type)
        yield Made(
            asked, family.framed(chance.sample(events, len(events))), chance.choice((*TYPES, family.stream_type))
        )
        yield Made(asked, family.framed([_altered(event, chance) for event in events]), family.stream_type)


def _altered(value: Any, chance: random.Random) -> Any:
    """With something in it replaced: by junk, by what is nested without end, or by nothing."""
    value = copy.deepcopy(value)
    inside = [
        (each, key) for each in _containers(value) for key in (each if isinstance(each, dict) else range(len(each)))
    ]
    if not inside:
        return chance.choice(JUNK)
    where, key = chance.choice(inside)
    if chance.random() < 0.2:
        for _ in range(chance.choice((50, 300))):
            where[key] = [where[key]]
    elif chance.random() < 0.2:
        del where[key]
    else:
        where[key] = chance.choice(JUNK)
    return value


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        yield value
        for each in value.values() if isinstance(value, dict) else value:
            yield from _containers(each)
