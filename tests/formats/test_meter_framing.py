"""How meters find a body's framing and say so, and how leniently they read the JSON in it."""

from __future__ import annotations

import json
import time

import pytest

from interpose.formats.meters import WIRES, meter, meter_for
from interpose.formats.meters.reader import LENIENT_LIMIT, MODEL_LENGTH, MOST_CHOICES, Choices
from interpose.ir import Reading, Usage
from interpose.wire.eventstream import encode_message

SSE = "text/event-stream"
JSON = "application/json"
NDJSON = "application/x-ndjson"
AWS = "application/vnd.amazon.eventstream"
TYPES = (None, JSON, SSE, NDJSON, AWS, "text/plain")
BOM = b"\xef\xbb\xbf"

CHUNK = {"choices": [{"index": 0, "delta": {"content": "ab"}, "finish_reason": None}]}
LAST = {
    "model": "m",
    "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}
EVENTS = b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in (CHUNK, LAST))
DOCUMENT = json.dumps({"model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}).encode()


def read(wire: str, body: bytes, content_type: str | None, step: int = 10**9) -> Reading:
    made = meter_for(wire, content_type)
    for at in range(0, len(body), step):
        made.feed(body[at : at + step])
    return made.finish()


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize("step", [1, 7, 10**6])
def test_a_stream_says_so_whatever_its_content_type(content_type: str | None, step: int) -> None:
    """Server-sent events are a stream as soon as they are seen to be, under JSON's type, an odd one or none."""
    made = meter_for("openai-chat", content_type)
    assert not made.streaming
    cut = EVENTS[: len(EVENTS) - 60]
    for at in range(0, len(cut), step):
        made.feed(cut[at : at + step])
    assert made.streaming
    reading = made.finish()
    assert made.streaming
    assert not reading.complete
    assert reading.text_bytes == 2


@pytest.mark.parametrize("content_type", [None, JSON, SSE])
def test_a_document_is_no_stream(content_type: str | None) -> None:
    """One JSON document is none, not even under the type of a stream, and cut it is incomplete."""
    for body, complete in ((DOCUMENT, True), (DOCUMENT[:-5], False)):
        made = meter_for("openai-chat", content_type)
        made.feed(body)
        assert not made.streaming
        assert made.finish().complete is complete
        assert not made.streaming


def test_the_other_streams_say_so() -> None:
    """Lines, event streams and Gemini's array are streams; what nobody reads is none."""
    line = b'{"model":"m","done":false}\n'
    aws = encode_message({":message-type": "event", ":event-type": "messageStart"}, b"{}")
    for wire, content_type, body in (
        ("ollama", NDJSON, line),
        ("bedrock-converse", AWS, aws),
        ("bedrock-converse", JSON, aws),
        ("gemini", JSON, b'[{"candidates":[]}'),
        ("gemini", None, b"\n [{}"),
    ):
        made = meter_for(wire, content_type)
        made.feed(body)
        assert made.streaming, wire
        assert not made.finish().complete
    for made in (meter_for("none", SSE), meter("none", stream=True), meter_for("openai-other", "audio/mpeg")):
        made.feed(b"data: {}\n\n")
        assert not made.streaming


def test_lines_under_a_documents_type_show_at_the_end() -> None:
    """Ollama's lines as application/json look like a document until there is a second one."""
    for body, complete in ((b'{"done":false}\n{"done":true}\n', True), (b'{"done":false}\n{"done":fal', False)):
        made = meter_for("ollama", JSON)
        made.feed(body)
        assert made.finish().complete is complete
        assert made.streaming


@pytest.mark.parametrize("wire", WIRES)
def test_leading_blanks_cost_no_more_than_their_number(wire: str) -> None:
    """Four megabytes of blanks, byte by byte in part, neither pile up nor hide what follows."""
    made = meter_for(wire, None)
    began = time.perf_counter()
    for _ in range(60):
        made.feed(b" \r\n" * 20_000)
    for _ in range(100_000):
        made.feed(b"\n")
    assert time.perf_counter() - began < 5
    made.feed(b'{"error": {"message": "no"}}')
    assert made.finish().error == "no"


@pytest.mark.parametrize("step", [1, 2, 5, 10**6])
@pytest.mark.parametrize("lead", [b"", b"\n", b" \r\n\t\n", BOM, BOM + b"\n\n", BOM + b" \n"])
def test_what_stands_in_front_changes_nothing(lead: bytes, step: int) -> None:
    """Blank lines and a byte order mark before a document, a stream of events or an array are passed over."""
    array = b'[{"modelVersion": "m", "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2}}]'
    for wire, body in (("openai-chat", EVENTS), ("openai-chat", DOCUMENT), ("gemini", array)):
        reading = read(wire, lead + body, None, step)
        assert (reading.usage, reading.model, reading.flaw) == (Usage(3, output_tokens=2), "m", None)


@pytest.mark.parametrize("step", [1, 3, 10**6])
def test_a_blank_before_a_field_makes_it_no_field(step: int) -> None:
    """As the specification of server-sent events has it, also where the blank is the first byte."""
    first, rest = EVENTS[: EVENTS.index(b"\n\n") + 2], EVENTS[EVENTS.index(b"\n\n") + 2 :]
    reading = read("openai-chat", b"\n\n  " + first + rest, SSE, step)
    assert reading.text_bytes == 0
    assert reading.usage == Usage(3, output_tokens=2)


# What orjson refuses and providers send, inside of a document that is fine otherwise.
ODD = {
    "NaN": '"logprob": NaN',
    "infinities": '"x": [Infinity, -Infinity]',
    "half an emoji": '"x": "\\ud83d"',
    "half an emoji in the text": '"choices": [{"delta": {"content": "\\ud83d"}, "finish_reason": "stop"}]',
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_json_is_read(odd: str) -> None:
    """Documents and single events that a strict parser refuses still tell their usage, without a flaw."""
    text = "{" + odd + ', "model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}'
    event = text.replace('"model"', '"object": "chat.completion.chunk", "model"')
    for body, content_type in ((text, JSON), (f"data: {event}\n\ndata: [DONE]\n\n", SSE), (event + "\n", NDJSON)):
        reading = read("openai-chat", body.encode(), content_type)
        assert (reading.usage, reading.model, reading.flaw) == (Usage(3, output_tokens=2), "m", None)


def test_broken_utf_8_is_read() -> None:
    """A character cut in half does not hide the counters behind it."""
    body = b'{"choices": [{"text": "\xe2\x82"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}'
    assert read("openai-completions", body, JSON).usage == Usage(3, output_tokens=2)


def test_odd_json_in_every_other_framing() -> None:
    """Lines, arrays, event streams and what these carry in base64 are read as leniently."""
    gemini = b'[{"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2}, "avgLogprobs": NaN}]'
    assert read("gemini", gemini, JSON).usage == Usage(3, output_tokens=2)
    ollama = b'{"x": NaN, "done": true, "prompt_eval_count": 3, "eval_count": 2}'
    assert read("ollama", ollama + b"\n", NDJSON).usage == Usage(3, output_tokens=2)
    assert read("ollama", ollama, NDJSON).usage == Usage(3, output_tokens=2)
    metadata = b'{"usage": {"inputTokens": 3, "outputTokens": 2}, "x": NaN}'
    frame = encode_message({":message-type": "event", ":event-type": "metadata"}, metadata)
    assert read("bedrock-converse", frame, AWS).usage == Usage(3, output_tokens=2)


def test_counters_that_are_not_finite_are_a_flaw() -> None:
    """NaN counts nothing."""
    reading = read("openai-chat", b'{"usage": {"prompt_tokens": NaN, "completion_tokens": Infinity}}', JSON)
    assert reading.usage == Usage()
    assert reading.flaw is not None


def test_what_is_read_can_be_written_down() -> None:
    """No lone surrogate gets into a reading: a ledger could not encode it."""
    for body in (
        b'{"model": "m\\ud83d", "error": {"message": "e\\ud83d"}}',
        b'{"usage": {"prompt_tokens": "\\ud83d"}}',
    ):
        reading = read("openai-chat", body, JSON)
        for text in (reading.model, reading.error, reading.flaw):
            (text or "").encode()
        assert reading.flaw or (reading.model, reading.error) == ("m?", "e?")
    assert read("openai-chat", b'{"model": "%s"}' % (b"m" * 10_000), JSON).model == "m" * MODEL_LENGTH


def test_arguments_with_half_an_emoji_are_counted() -> None:
    """Tool arguments as an object are measured as they would be written."""
    body = b'{"message": {"tool_calls": [{"function": {"arguments": {"a": "\\ud83d"}}}]}, "done": true}'
    assert read("ollama", body, JSON).text_bytes == len('{"a":"___"}')


def test_the_lenient_parser_is_bounded() -> None:
    """What a strict parser refuses is not tried again beyond 4 MiB: it is a flaw."""
    body = b'{"x": NaN, "y": "%s", "usage": {"prompt_tokens": 3}}'
    assert read("openai-chat", body % (b"y" * 1000), JSON).usage == Usage(3)
    reading = read("openai-chat", body % (b"y" * LENIENT_LIMIT), JSON)
    assert reading.usage == Usage()
    assert reading.flaw is not None


@pytest.mark.parametrize("wire", ["openai-chat", "gemini"])
def test_alternatives_are_bounded(wire: str) -> None:
    """A stream with ever new indexes keeps some, and is never taken for finished but by its terminator."""
    names = {"openai-chat": ("choices", "finish_reason"), "gemini": ("candidates", "finishReason")}[wire]
    made = meter_for(wire, SSE)
    for start in range(0, 20_000, 500):
        event = {names[0]: [{"index": index} for index in range(start, start + 500)]}
        made.feed(b"data: %s\n\n" % json.dumps(event).encode())
    for start in range(0, 20_000, 500):
        event = {names[0]: [{"index": index, names[1]: "stop"} for index in range(start, start + 500)]}
        made.feed(b"data: %s\n\n" % json.dumps(event).encode())
    assert not made.finish().complete


def test_choices() -> None:
    """All that were seen have to finish; whoever has finished stays so, unless it is said to go on again."""
    choices = Choices()
    assert not choices.done
    choices.go_on(0)
    choices.finish(1)
    assert not choices.done
    choices.finish("0")  # no number: the first
    assert choices.done
    choices.go_on(1)
    assert choices.done
    choices.go_on(1, again=True)
    assert not choices.done
    choices.finish(1)
    assert choices.done
    for index in range(MOST_CHOICES):
        choices.finish(index)
    assert choices.done
    choices.finish(MOST_CHOICES)
    assert not choices.done
    choices.finish(0)
    assert not choices.done
