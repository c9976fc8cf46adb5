"""The laws of every codec, as functions that a format's tests call with recordings or with made conversations.

Each raises AssertionError with what differs. JSON is compared strictly: 1 is not 1.0, and true is not 1.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Iterable
from typing import Any

from interpose.formats.codecs import Asked, Client, Codec, Malformed, Target
from interpose.ir import (
    Assembler,
    Event,
    Failed,
    Losses,
    Own,
    Reply,
    Request,
    Text,
    Thinking,
    ToolCall,
    events_of,
)


def canonical(value: Any) -> str:
    """JSON text that is equal for equal JSON."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True)


def same(found: Any, expected: Any, what: str = "") -> None:
    """Fails with the first place at which two JSON values differ."""
    if canonical(found) == canonical(expected):
        return
    raise AssertionError(f"{what}: {difference(found, expected)}")


def difference(found: Any, expected: Any, path: str = "$") -> str:
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted({*found, *expected}):
            if key not in found:
                return f"{path}.{key} is missing: {canonical(expected[key])[:300]}"
            if key not in expected:
                return f"{path}.{key} is too much: {canonical(found[key])[:300]}"
            if canonical(found[key]) != canonical(expected[key]):
                return difference(found[key], expected[key], f"{path}.{key}")
    if isinstance(found, list) and isinstance(expected, list):
        for place, (one, other) in enumerate(zip(found, expected, strict=False)):
            if canonical(one) != canonical(other):
                return difference(one, other, f"{path}[{place}]")
        return f"{path} has {len(found)} items, not {len(expected)}"
    return f"{path} is {canonical(found)[:300]}, not {canonical(expected)[:300]}"


def request_returns(codec: Codec, body: Any, asked: Asked, version: str | None = None) -> Request:
    """A -> neutral -> A: an equal request at the same path, and no loss."""
    request = codec.read_request(copy.deepcopy(body), asked)
    losses = Losses()
    written = codec.write_request(request, Target(request.model, version=version), losses)
    same(written.body, body, "request")
    assert not list(losses), list(losses)
    return request


def reply_returns(codec: Codec, body: Any, client: Any) -> Reply:
    """A -> neutral -> A of a whole reply, whose model is echoed by its own name."""
    reply = codec.read_reply(copy.deepcopy(body))
    losses = Losses("reply")
    same(codec.write_reply(reply, client, losses), body, "reply")
    assert not list(losses), list(losses)
    return reply


def collected(codec: Codec, events: Iterable[Event]) -> Assembler:
    assembler = Assembler(codec.name)
    for event in events:
        assembler.add(event)
    assembler.finish()
    return assembler


def read_whole(codec: Codec, data: bytes) -> list[Event]:
    reader = codec.reader()
    return [*reader.feed(data), *reader.close()]


def read_in_pieces(codec: Codec, pieces: Iterable[bytes]) -> list[Event]:
    reader = codec.reader()
    events: list[Event] = []
    for piece in pieces:
        events += reader.feed(piece)
    return events + reader.close()


def every_split(codec: Codec, data: bytes) -> list[Event]:
    """Whole, byte by byte, and parted in two at every byte: the same events. For streams of a few kilobytes."""
    whole = read_whole(codec, data)
    assert read_in_pieces(codec, (data[at : at + 1] for at in range(len(data)))) == whole
    for at in range(1, len(data)):
        assert read_in_pieces(codec, (data[:at], data[at:])) == whole, at
    return whole


def never_succeeds_cut(codec: Codec, data: bytes, ends: Iterable[int]) -> None:
    """Cut at any of `ends`, the stream ends in Failed, and in nothing else."""
    for end in ends:
        events = read_whole(codec, data[:end])
        assert isinstance(events[-1], Failed), (end, data[max(0, end - 80) : end], events[-3:])


def collecting_returns(codec: Codec, reply: Reply) -> None:
    """The events of a whole reply, collected, are that reply."""
    assert collected(codec, events_of(reply)).reply == reply


def is_prefix(shorter: list[Any], longer: list[Any]) -> bool:
    """Law 2: serialised blocks of turn n are a prefix of those of turn n + 1."""
    return [canonical(block) for block in shorter] == [canonical(block) for block in longer[: len(shorter)]]


def as_from_elsewhere(codec: Codec, messages: list[Any]) -> list[Any]:
    """Messages of the codec's own format, written as another format's: so that they are not merely written back."""
    request = codec.read_request({"model": "m", "messages": copy.deepcopy(messages)}, Asked())
    request.format = "elsewhere"
    return list(codec.write_request(request, Target("m"), Losses()).body["messages"])


def reaches(codec: Codec, data: bytes, other: Codec, bare: Callable[[Any], Any], what: str) -> None:
    """A stream through another format's writer and reader: blocks that are equal as far as `bare` looks, and the same
    usage; and no success, if it is cut.
    """
    events = read_whole(codec, data)
    first = collected(codec, events).reply
    client = Client(Request(other.name, "m", [], stream=True, include_usage=True), "m", "call-1", 1_700_000_000)
    writer = other.writer(client, Losses("reply"))
    again = collected(other, read_whole(other, writer.write(events) + writer.finish()))
    assert again.failure is None, (what, other.name, again.failure)
    found = [block for block in again.reply.answers[0].blocks if isinstance(block, Text | Thinking | ToolCall)]
    told = [block for block in first.answers[0].blocks if isinstance(block, Text | Thinking | ToolCall)]
    assert sorted(map(bare, found), key=repr) == sorted(map(bare, told), key=repr), (what, other.name)
    assert again.reply.usage.output_tokens == first.usage.output_tokens, (what, other.name)
    cut = other.writer(client, Losses("reply"))
    broken = cut.write([*events[: len(events) // 2], Failed("gone")]) + cut.finish()
    assert isinstance(read_whole(other, broken)[-1], Failed), (what, other.name)


def left_over(node: Any, into: dict[str, set[str]]) -> None:
    """The names of what no neutral field stands for, by the type of node that has it."""
    if not dataclasses.is_dataclass(node):
        for inner in node if isinstance(node, list | tuple) else ():
            left_over(inner, into)
        return
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if not isinstance(value, Own):
            left_over(value, into)
        elif getattr(node, "kind", None) != "server":  # a server's tool is all its own
            said = {name for name, left in value.fields.items() if left not in (None, [], {})}
            into.setdefault(type(node).__name__, set()).update(said)


def refuses(codec: Codec, body: Any, path: str) -> None:
    """Malformed, naming the path."""
    try:
        codec.read_request(body, Asked())
    except Malformed as error:
        assert error.path == path, (error.path, error.message)  # noqa: PT017 - the path is what is stated
        return
    raise AssertionError(f"was taken: {canonical(body)[:200]}")
