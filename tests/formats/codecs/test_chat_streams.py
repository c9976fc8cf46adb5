"""Streams of Chat as servers send them: their dialects, their failures, and every framing of events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.formats.codecs import laws

from interpose.formats.codecs import Client
from interpose.formats.codecs.chat import CODEC
from interpose.ir import (
    Failed,
    Request,
    Stop,
    ToolCall,
    Usage,
)


def sse(*events: Any, done: bool = True) -> bytes:
    lines = [b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) for event in events]
    return b"\n\n".join([*lines, *([b"data: [DONE]"] if done else []), b""])


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": index, "delta": fields, "finish_reason": finish}]}


def read(data: bytes) -> Any:
    assembler = laws.collected(CODEC, laws.read_whole(CODEC, data))
    assert assembler.failure is None, assembler.failure
    return assembler.reply


def piece(index: int | None, arguments: str = "", **fields: Any) -> dict[str, Any]:
    found = {"function": {"arguments": arguments, **{key: fields.pop(key) for key in ("name",) if key in fields}}}
    return {**({} if index is None else {"index": index}), **found, **fields}


def calls(reply: Any) -> list[tuple[str, str, str]]:
    return [(block.id, block.name, block.arguments) for block in reply.answers[0].blocks if isinstance(block, ToolCall)]


INTERLEAVED: dict[str, list[dict[str, Any]]] = {
    "by index": [
        piece(0, id="a", name="f"),
        piece(1, id="b", name="g"),
        piece(0, '{"x":'),
        piece(1, "{}"),
        piece(0, "1}"),
    ],
    "by id alone": [piece(None, '{"x":1}', id="a", name="f"), piece(None, "{}", id="b", name="g")],
    "all at index 0": [piece(0, '{"x":1}', id="a", name="f"), piece(0, "{}", id="b", name="g")],
    "names repeated": [
        piece(0, '{"x":', id="a", name="f"),
        piece(0, "1}", id="a", name="f"),
        piece(1, "{}", id="b", name="g"),
    ],
    "empty ids": [
        piece(0, '{"x":', id="a", name="f"),
        piece(0, "1}", id="", name=None),
        piece(1, "{}", id="b", name="g"),
    ],
    "name last": [piece(0, '{"x":1}', id="a"), piece(1, "{}", id="b", name="g"), piece(0, name="f")],
}


@pytest.mark.parametrize("pieces", INTERLEAVED.values(), ids=INTERLEAVED.keys())
def test_calls_are_put_together(pieces: list[dict[str, Any]]) -> None:
    """Pitfall 6: whatever order and numbering a server sends its pieces in."""
    reply = read(sse(*(delta(tool_calls=[one]) for one in pieces), delta(finish="tool_calls")))
    assert sorted(calls(reply)) == [("a", "f", '{"x":1}'), ("b", "g", "{}")]


def test_an_answer_without_done_is_whole_if_it_is_finished() -> None:
    """Twenty hosts never send [DONE]: a finish reason of every answer says the same."""
    assert read(sse(delta(content="Hi"), delta(finish="stop"), done=False)).answers[0].stop.reason == "end"
    events = laws.read_whole(CODEC, sse(delta(0, content="a"), delta(1, content="b"), delta(0, "stop"), done=False))
    assert isinstance(events[-1], Failed)


@pytest.mark.parametrize(
    ("said", "reason"),
    [("stop", "end"), ("eos", "end"), ("length", "length"), ("content_filter", "content_filter"), ("odd", "other")],
)
def test_finish_reasons_of_dialects(said: str, reason: str) -> None:
    """Known words by their meaning, unknown ones as such; each is written back as it came."""
    reply = read(sse(delta(content="Hi"), delta(finish=said)))
    assert reply.answers[0].stop == Stop(reason, None, "openai-chat", said)  # type: ignore[arg-type]


def test_an_empty_finish_reason_is_none() -> None:
    """llama.cpp's "not yet"."""
    reply = read(sse(delta(content="Hi", finish=""), delta(content="!", finish=""), delta(finish="stop")))
    assert [block.text for block in reply.answers[0].blocks] == ["Hi!"]


def test_a_forced_call_that_stopped_is_a_call() -> None:
    """OpenAI says stop after a call that was forced by name; what counts for others are the calls."""
    reply = read(sse(delta(tool_calls=[piece(0, "{}", id="a", name="f")]), delta(finish="stop")))
    assert (reply.answers[0].stop.reason, reply.answers[0].stop.raw) == ("tool_calls", "stop")


FAILURES: dict[str, tuple[bytes, str, int]] = {
    "an error object": (sse({"error": {"message": "no", "code": 429}}), "no", 429),
    "after content": (sse(delta(content="a"), {"error": {"message": "no"}}), "no", 502),
    "Groq's": (sse({"id": "c", "x_groq": {"error": "no"}, "choices": []}), "no", 502),
    "an event's name": (b'event: error\ndata: {"message": "no"}\n\n', "no", 502),
    "a flat one": (sse({"object": "error", "message": "no", "type": "x"}), "no", 502),
    "OpenRouter's finish reason": (
        sse(
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": {"message": "no", "code": 503}}]}
        ),
        "no",
        503,
    ),
    "text in place of JSON": (sse(b"oops"), "an event of the provider's stream could not be read: b'oops'", 502),
    "a list": (sse(b"[1]"), "an event of the provider's stream could not be read: b'[1]'", 502),
    "no answer": (sse(), "the provider's stream held no answer", 502),
    "nothing": (b"", "the provider's stream broke off before its end", 502),
}


@pytest.mark.parametrize(("data", "message", "status"), FAILURES.values(), ids=FAILURES.keys())
def test_what_fails_in_a_stream(data: bytes, message: str, status: int) -> None:
    """Pitfall 25: an error in a 200 is a failure, whatever its shape; so is what is no chunk."""
    failed = laws.every_split(CODEC, data)[-1] if data else laws.read_whole(CODEC, data)[-1]
    assert isinstance(failed, Failed)
    assert (failed.message, failed.status) == (message, status)


def test_any_line_end_will_do() -> None:
    """Pitfall 27: CR, LF and CRLF, a byte order mark, a last event without its blank line; U+2028 is text."""
    plain = sse(delta(content="a\u2028b☃"), delta(finish="stop"), done=False)
    expected = read(plain)
    assert expected.answers[0].blocks[0].text == "a\u2028b☃"
    for data in (plain.replace(b"\n", b"\r\n"), plain.replace(b"\n", b"\r"), b"\xef\xbb\xbf" + plain, plain[:-2]):
        laws.every_split(CODEC, data)
        assert read(data) == expected


def test_comments_are_pings_in_their_place() -> None:
    """A comment between two chunks is a ping between their events, however the bytes are split."""
    first, second = sse(delta(content="a"), done=False), sse(delta(content="b"), delta(finish="stop"))
    events = laws.every_split(CODEC, first + b": OPENROUTER PROCESSING\n\n" + second)
    assert [type(event).__name__ for event in events[2:5]] == ["BlockDelta", "Ping", "BlockDelta"]


def test_a_message_in_place_of_a_delta() -> None:
    """Servers that do not stream for a model send the whole message in one chunk; Perplexity sends both."""
    whole = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}
    assert read(sse(whole)).answers[0].blocks[0].text == "Hi"
    both = {"choices": [{"index": 0, "delta": {"content": "i"}, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
    assert read(sse(delta(content="H"), both)).answers[0].blocks[0].text == "Hi"


def test_content_in_chunks() -> None:
    """A list of typed chunks, thinking among them, as Mistral's servers send."""
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    reply = read(
        sse(delta(content=[thinking]), delta(content=[{"type": "text", "text": "Yes."}]), delta(finish="stop"))
    )
    assert [(type(block).__name__, block.text) for block in reply.answers[0].blocks] == [
        ("Thinking", "Hm."),
        ("Text", "Yes."),
    ]


def test_what_a_choice_says_beside_its_delta_is_kept() -> None:
    """Log probabilities grow, of the rest the last counts, whatever else the choice has or lacks."""
    first = {"choices": [{"delta": {"content": "a"}, "logprobs": {"content": [1], "refusal": None}}]}
    second = {"choices": [{"delta": {"content": "b"}, "logprobs": {"content": [2]}, "finish_reason": None, "seed": 5}]}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "\n", "logprobs": None}]}
    answer = read(sse(first, second, last)).answers[0]
    assert answer.own.fields == {
        "logprobs": {"content": [1, 2], "refusal": None},
        "seed": 5,
        "stop_reason": "\n",
    }
    assert answer.stop == Stop("stop", "\n", "openai-chat", "stop")


def test_sound_is_told_when_it_is_whole() -> None:
    """Pieces of base64 make one medium only together; its transcript rides along."""
    reply = read(
        sse(
            delta(audio={"id": "audio_1", "transcript": "Hel"}),
            delta(audio={"data": "AAAA", "transcript": "lo"}),
            delta(audio={"data": "BBBB", "expires_at": 5}),
            delta(finish="stop"),
        )
    )
    sound = reply.answers[0].blocks[0]
    assert (sound.source.value, sound.own.fields) == (
        "AAAABBBB",
        {"id": "audio_1", "transcript": "Hello", "expires_at": 5},
    )


def test_usage_is_laid_over_never_added() -> None:
    """Pitfall 22: cumulative counters replace each other; Groq's are where Groq has them."""
    usages = [{"prompt_tokens": 5, "completion_tokens": n, "total_tokens": 5 + n} for n in (1, 2, 3)]
    reply = read(sse(*({**delta(content="a"), "usage": usage} for usage in usages), delta(finish="stop")))
    assert reply.usage == Usage(5, None, None, 3, None)
    groq = {**delta(finish="stop"), "x_groq": {"id": "r", "usage": usages[2]}}
    assert read(sse(delta(content="a"), groq)).usage == Usage(5, None, None, 3, None)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 2, "prompt_cache_hit_tokens": 4}, Usage(10, 4, None, 2, None)),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 2,
                "total_tokens": 20,
                "completion_tokens_details": {"reasoning_tokens": 8},
            },
            Usage(10, None, None, 10, 8),
        ),
    ],
)
def test_usage_of_dialects(usage: dict[str, Any], expected: Usage) -> None:
    """DeepSeek's cache hits; xAI, which counts reasoning beside the completion."""
    body = {"choices": [], "usage": usage}
    assert CODEC.read_reply(laws.copy.deepcopy(body)).usage == expected
    laws.reply_returns(CODEC, body, Client(Request("openai-chat", "m", []), "m", "1", 0))
