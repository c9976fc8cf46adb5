"""Chat's codec under hostile input: recorded bodies and streams, mutated. Malformed or a told loss, nothing else."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.corpus import lines
from tests.formats.codecs import laws

from interpose.formats.codecs import CODECS, Asked, Client, Codec, Malformed, Target
from interpose.ir import Failed, Losses, Request

NAMES = {"openai-chat": ("openai_chat", "chat_compat"), "openai-completions": ("completions_legacy",)}

# As JSON text, so that each is a fresh value.
ODD = st.sampled_from(
    [
        "null",
        "true",
        "0",
        "-1",
        "1" + "0" * 40,
        "1e300",
        '""',
        '"\\ud800"',
        '"\\u0000"',
        '"' + "x" * 1000 + '"',
        "[]",
        "[null]",
        "{}",
        '{"type": "text"}',
        '{"type": "function", "function": null}',
        '{"interpose": ["thinking 1 interpose.1.!!"]}',
        "[" * 200 + "]" * 200,
    ]
).map(json.loads)


@cache
def bodies(name: str, what: str) -> list[Any]:
    """Recorded requests and replies that are not too large."""
    found = []
    for family in NAMES[name]:
        for line in lines(family):
            body = line.request if what == "request" else line.reply_json
            if isinstance(body, dict) and len(json.dumps(body)) < 20_000:
                found.append(body)
    return found


@cache
def streams(name: str) -> list[bytes]:
    return [
        line.reply_bytes()
        for family in NAMES[name]
        for line in lines(family)
        if line.reply_text is not None and len(line.reply_text) < 20_000
    ]


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path into a JSON value, its own not."""
    if len(path) > 20:
        return []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    found: list[tuple[Any, ...]] = []
    for key, value in items:
        found.append((*path, key))
        found += places(value, (*path, key))
    return found


@st.composite
def mutated(draw: st.DrawFn, name: str, what: str) -> Any:
    body = laws.copy.deepcopy(draw(st.sampled_from(bodies(name, what))))
    for _ in range(draw(st.integers(1, 4))):
        found = places(body)
        if not found:
            break
        *path, last = draw(st.sampled_from(found))
        node = body
        for key in path:
            node = node[key]
        if draw(st.booleans()):
            node[last] = draw(ODD)
        elif isinstance(node, dict):
            node[draw(st.sampled_from(["unknown", "content", "tool_calls", "extra_content", "reasoning_details"]))] = (
                node.pop(last)
            )
        else:
            del node[last]
    return body


many = settings(
    max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None
)


def client(codec: Codec) -> Client:
    return Client(Request(codec.name, "m", []), "m", "1", 1)


@many
@given(st.data(), st.sampled_from(sorted(NAMES)))
def test_mutated_requests(data: st.DataObject, name: str) -> None:
    """A request of wrong types everywhere is Malformed, or it is written: as it came, and as another format's."""
    codec = CODECS[name]
    body = data.draw(mutated(name, "request"))
    original = laws.copy.deepcopy(body)
    try:
        request = codec.read_request(body, Asked())
    except Malformed:
        return
    losses = Losses()
    written = codec.write_request(request, Target(request.model), losses)
    assert not list(losses)
    if isinstance(original.get("model"), str) and original["model"]:
        laws.same(written.body, original)
    request.format = "elsewhere"
    for other in CODECS.values():
        other.write_request(request, Target("m"), Losses())


@many
@given(st.data(), st.sampled_from(sorted(NAMES)))
def test_mutated_replies(data: st.DataObject, name: str) -> None:
    """A reply of wrong types everywhere is Malformed, or it is written for clients of every codec."""
    codec = CODECS[name]
    body = data.draw(mutated(name, "reply"))
    try:
        reply = codec.read_reply(body)
    except Malformed:
        return
    for other in CODECS.values():
        other.write_reply(reply, client(other), Losses("reply"))


@many
@given(st.data(), st.sampled_from(sorted(NAMES)))
def test_mutated_streams(data: st.DataObject, name: str) -> None:
    """Bytes changed, events mutated, repeated or left out: events, or a Failed that is the last, for every client."""
    codec = CODECS[name]
    events = data.draw(st.sampled_from(streams(name))).replace(b"\r\n", b"\n").split(b"\n\n")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(events) - 1))
        how = data.draw(st.sampled_from(["drop", "repeat", "mutate", "cut", "insert"]))
        if how == "drop" and len(events) > 1:
            del events[at]
        elif how == "repeat":
            events.insert(at, events[at])
        elif how == "cut":
            events[at] = events[at][: data.draw(st.integers(0, len(events[at])))]
        elif how == "insert":
            events.insert(at, b"data: " + data.draw(st.sampled_from(JUNK)))
        elif events[at].startswith(b"data: {"):
            events[at] = b"data: " + changed(data, events[at][6:])
    found = laws.read_whole(codec, b"\n\n".join(events))
    assert not [event for event in found[:-1] if isinstance(event, Failed)]
    laws.collected(codec, found)
    for other in CODECS.values():
        writer = other.writer(client(other), Losses("reply"))
        told = writer.write(found) + writer.finish()
        assert other.name not in NAMES or (b"[DONE]" in told[-20:]) != isinstance(found[-1], Failed)


def changed(data: st.DataObject, event: bytes) -> bytes:
    try:
        chunk = json.loads(event)
    except (ValueError, RecursionError):
        return event
    found = places(chunk)
    if not found:
        return event
    *path, last = data.draw(st.sampled_from(found))
    node = chunk
    for key in path:
        node = node[key]
    node[last] = data.draw(ODD)
    return json.dumps(chunk).encode()


JUNK = [
    b"{}",
    b"null",
    b"[]",
    b"{",
    b"\xff\xfe",
    b'{"choices": null}',
    b'{"choices": [{}]}',
    b'{"choices": [{"delta": {"tool_calls": [{}]}}]}',
    b'{"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "x"}}]}}]}',
    b'{"choices": [{"index": 10000000000000000000000, "delta": {"content": "x"}}]}',
    b'{"choices": [{"delta": {"content": "a", "content": "b"}}]}',
    b'{"choices": [{"delta": {"content": "\\ud83d"}}]}',
    b'{"usage": {"prompt_tokens": -5, "completion_tokens": 1e99}}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"NaN",
]


def test_deep_and_large_events_are_refused() -> None:
    """Nesting beyond any parser, and an event beyond the limit of the framing, end in Failed; memory stays bounded."""
    codec = CODECS["openai-chat"]
    for junk in (b"[" * 100_000, b'{"a":' * 100_000):
        assert isinstance(laws.read_whole(codec, b"data: " + junk + b"\n\n")[-1], Failed)
    reader = codec.reader()
    found = [event for _ in range(40) for event in reader.feed(b"x" * 1_000_000)]
    assert [type(event) for event in found] == [Failed]
    assert reader.feed(b"x" * 1_000_000) == []
    assert reader.close() == []
