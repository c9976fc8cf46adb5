"""Meters on hand-made replies: the accounting of each provider, odd framings, hostile values."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpose.formats.meters import WIRES, meter, meter_for, stream_kind, usage_from_headers
from interpose.formats.meters.framing import JSON_LIMIT
from interpose.ir import Reading, Terms, Usage
from interpose.wire.eventstream import encode_message

SSE = "text/event-stream; charset=utf-8"
AWS = "application/vnd.amazon.eventstream"
JSON = "application/json"


def read(wire: str, body: bytes, content_type: str | None) -> Reading:
    made = meter_for(wire, content_type)
    made.feed(body)
    return made.finish()


def read_json(wire: str, document: Any) -> Reading:
    return read(wire, json.dumps(document).encode(), JSON)


def sse(*events: Any) -> bytes:
    """Events as SSE; a string stands for itself, as in `[DONE]`; a document's `type` names its event."""
    raw = b""
    for event in events:
        name = event.get("type") if isinstance(event, dict) else None
        raw += f"event: {name}\n".encode() if isinstance(name, str) else b""
        raw += b"data: " + (event if isinstance(event, str) else json.dumps(event)).encode() + b"\n\n"
    return raw


def frame(name: str, payload: Any) -> bytes:
    return encode_message({":message-type": "event", ":event-type": name}, json.dumps(payload).encode())


def chunk(document: Any) -> bytes:
    """InvokeModel's frame around one event."""
    return frame("chunk", {"bytes": base64.b64encode(json.dumps(document).encode()).decode(), "p": "abc"})


def read_sse(wire: str, *events: Any) -> Reading:
    return read(wire, sse(*events), SSE)


class Case(NamedTuple):
    wire: str
    document: Any
    usage: Usage


# A document of each provider: its counters, and ours.
DOCUMENTS = {
    "chat": Case(
        "openai-chat",
        {
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {"cached_tokens": 80},
                "completion_tokens_details": {"reasoning_tokens": 40},
            }
        },
        Usage(100, 80, None, 50, 40),
    ),
    "zeros stay zero": Case(
        "openai-chat",
        {"usage": {"prompt_tokens": 0, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 0}}},
        Usage(0, 0, None, 0, None),
    ),
    "null is missing": Case(
        "openai-chat", {"usage": {"prompt_tokens": 5, "completion_tokens": None}}, Usage(input_tokens=5)
    ),
    "usage null": Case("openai-chat", {"usage": None}, Usage()),
    "xAI counts reasoning apart": Case(
        "openai-chat",
        {
            "usage": {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 115,
                "completion_tokens_details": {"reasoning_tokens": 100},
            }
        },
        Usage(10, None, None, 105, 100),
    ),
    "a total that is merely odd adds nothing": Case(
        "openai-chat",
        {
            "usage": {
                "prompt_tokens": 10,
                "completion_tokens": 120,
                "total_tokens": 131,
                "completion_tokens_details": {"reasoning_tokens": 100},
            }
        },
        Usage(10, None, None, 120, 100),
    ),
    "DeepSeek": Case(
        "openai-chat",
        {"usage": {"prompt_tokens": 30, "completion_tokens": 2, "prompt_cache_hit_tokens": 20}},
        Usage(30, 20, None, 2),
    ),
    "OpenRouter": Case(
        "openai-chat",
        {
            "usage": {
                "prompt_tokens": 30,
                "completion_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 6},
            }
        },
        Usage(30, 4, 6, 2),
    ),
    "cached tokens under two names": Case(
        "openai-chat",
        {
            "usage": {
                "prompt_tokens": 30,
                "completion_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 20},
                "prompt_cache_hit_tokens": 20,
            }
        },
        Usage(30, 20, None, 2),
    ),
    "Mistral": Case(
        "mistral",
        {"usage": {"prompt_tokens": 30, "completion_tokens": 2, "num_cached_tokens": 16}},
        Usage(30, 16, None, 2),
    ),
    "responses": Case(
        "openai-responses",
        {
            "usage": {
                "input_tokens": 100,
                "output_tokens": 50,
                "input_tokens_details": {"cached_tokens": 80, "cache_write_tokens": 3},
                "output_tokens_details": {"reasoning_tokens": 40},
            }
        },
        Usage(100, 80, 3, 50, 40),
    ),
    "legacy completions": Case(
        "openai-completions", {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}, Usage(3, output_tokens=4)
    ),
    "embeddings": Case("openai-embeddings", {"usage": {"prompt_tokens": 8, "total_tokens": 8}}, Usage(8)),
    "Voyage": Case("openai-embeddings", {"usage": {"total_tokens": 8}}, Usage(8)),
    "images": Case(
        "openai-other",
        {"usage": {"input_tokens": 8, "output_tokens": 1000, "total_tokens": 1008}},
        Usage(8, output_tokens=1000),
    ),
    "a transcript billed by duration": Case("openai-other", {"usage": {"type": "duration", "seconds": 4}}, Usage()),
    "Anthropic excludes the cache": Case(
        "anthropic",
        {
            "usage": {
                "input_tokens": 10,
                "cache_creation_input_tokens": 200,
                "cache_read_input_tokens": 3000,
                "output_tokens": 7,
                "cache_creation": {"ephemeral_5m_input_tokens": 150, "ephemeral_1h_input_tokens": 50},
                "output_tokens_details": {"thinking_tokens": 3},
            }
        },
        Usage(3210, 3000, 200, 7, 3),
    ),
    "Anthropic's cache creation by duration alone": Case(
        "anthropic",
        {
            "usage": {
                "input_tokens": 10,
                "output_tokens": 7,
                "cache_creation": {"ephemeral_5m_input_tokens": 150, "ephemeral_1h_input_tokens": 50},
            }
        },
        Usage(210, None, 200, 7),
    ),
    "Anthropic's compaction is billed beside the totals": Case(
        "anthropic",
        {
            "usage": {
                "input_tokens": 220,
                "output_tokens": 8,
                "iterations": [
                    {"type": "compaction", "input_tokens": 100, "cache_read_input_tokens": 55000, "output_tokens": 80},
                    {"type": "message", "input_tokens": 220, "cache_read_input_tokens": 0, "output_tokens": 8},
                ],
            }
        },
        Usage(55320, 55000, None, 88),
    ),
    "Anthropic's iterations without counters": Case(
        "anthropic",
        {"usage": {"input_tokens": 220, "output_tokens": 8, "iterations": [{"type": "message"}, 3]}},
        Usage(220, output_tokens=8),
    ),
    "Gemini": Case(
        "gemini",
        {
            "usageMetadata": {
                "promptTokenCount": 100,
                "cachedContentTokenCount": 60,
                "toolUsePromptTokenCount": 11,
                "candidatesTokenCount": 20,
                "thoughtsTokenCount": 30,
                "totalTokenCount": 161,
            }
        },
        Usage(111, 60, None, 50, 30),
    ),
    "Gemini that only thought": Case(
        "gemini", {"usageMetadata": {"promptTokenCount": 100, "thoughtsTokenCount": 30}}, Usage(100, None, None, 30, 30)
    ),
    "a blocked prompt of Gemini": Case(
        "gemini",
        {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 9}},
        Usage(input_tokens=9),
    ),
    "Converse, each cache counter twice": Case(
        "bedrock-converse",
        {
            "usage": {
                "inputTokens": 10,
                "outputTokens": 5,
                "totalTokens": 65,
                "cacheReadInputTokens": 30,
                "cacheReadInputTokenCount": 30,
                "cacheWriteInputTokens": 20,
                "cacheWriteInputTokenCount": 20,
            }
        },
        Usage(60, 30, 20, 5),
    ),
    "Claude by InvokeModel": Case(
        "bedrock-invoke",
        {
            "type": "message",
            "model": "c",
            "usage": {"input_tokens": 1, "cache_read_input_tokens": 2, "output_tokens": 3},
        },
        Usage(3, 2, None, 3),
    ),
    "Nova by InvokeModel": Case(
        "bedrock-invoke",
        {
            "output": {"message": {"content": [{"text": "hi"}]}},
            "usage": {"inputTokens": 4, "outputTokens": 2, "cacheReadInputTokenCount": 1},
        },
        Usage(5, 1, None, 2),
    ),
    "Llama by InvokeModel": Case(
        "bedrock-invoke",
        {"generation": "hi", "prompt_token_count": 4, "generation_token_count": 2, "stop_reason": "stop"},
        Usage(4, output_tokens=2),
    ),
    "Titan by InvokeModel": Case(
        "bedrock-invoke",
        {"inputTextTokenCount": 4, "results": [{"tokenCount": 2, "outputText": "hi"}, {"tokenCount": 3}]},
        Usage(4, output_tokens=5),
    ),
    "Titan's embeddings": Case("bedrock-invoke", {"embedding": [0.1], "inputTextTokenCount": 4}, Usage(4)),
    "Jamba by InvokeModel": Case(
        "bedrock-invoke",
        {"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": 4, "completion_tokens": 2}},
        Usage(4, output_tokens=2),
    ),
    "Jurassic by InvokeModel": Case(
        "bedrock-invoke",
        {"prompt": {"tokens": [{}, {}]}, "completions": [{"data": {"text": "hi", "tokens": [{}, {}, {}]}}]},
        Usage(2, output_tokens=3),
    ),
    "Mistral's agents, whose tools have read the web": Case(
        "openai-other",
        {"usage": {"prompt_tokens": 188, "completion_tokens": 55, "total_tokens": 7355, "connector_tokens": 7112}},
        Usage(7300, output_tokens=55),
    ),
    "Mistral's agents, with a total of something else": Case(
        "openai-other",
        {"usage": {"prompt_tokens": 10, "completion_tokens": 8, "total_tokens": 18, "connector_tokens": 4}},
        Usage(10, output_tokens=8),
    ),
    "Mistral by InvokeModel": Case("bedrock-invoke", {"outputs": [{"text": "hi", "stop_reason": "stop"}]}, Usage()),
    "Cohere v2": Case(
        "cohere",
        {
            "usage": {
                "billed_units": {"input_tokens": 5, "output_tokens": 6},
                "tokens": {"input_tokens": 71, "output_tokens": 8, "reasoning_tokens": 2},
                "cached_tokens": 16,
            }
        },
        Usage(71, 16, None, 8, 2),
    ),
    "Cohere v1 with floats": Case(
        "cohere", {"meta": {"billed_units": {"input_tokens": 5.0, "output_tokens": 6.0}}}, Usage(5, output_tokens=6)
    ),
    "Cohere counts what pictures took beside the text": Case(
        "cohere",
        {
            "usage": {
                "billed_units": {"input_tokens": 267, "output_tokens": 66},
                "tokens": {"input_tokens": 34, "output_tokens": 70, "image_tokens": 259},
            }
        },
        Usage(293, output_tokens=70),
    ),
    "Cohere's embeddings of texts and images": Case(
        "cohere", {"meta": {"billed_units": {"input_tokens": 5, "image_tokens": 7}}}, Usage(12)
    ),
    "Cohere's rerank": Case("cohere", {"meta": {"billed_units": {"search_units": 1}}}, Usage()),
    "Ollama": Case("ollama", {"done": True, "prompt_eval_count": 5, "eval_count": 6}, Usage(5, output_tokens=6)),
    "Ollama with a cached prompt": Case("ollama", {"done": True, "eval_count": 6}, Usage(output_tokens=6)),
    "Ollama's embeddings": Case("ollama", {"embeddings": [[1]], "prompt_eval_count": 5}, Usage(5)),
}


@pytest.mark.parametrize("case", DOCUMENTS.values(), ids=DOCUMENTS)
def test_usage_of_documents(case: Case) -> None:
    """Each provider's counters become ours; a document is complete and has no flaw."""
    reading = read_json(case.wire, case.document)
    assert reading.usage == case.usage
    assert (reading.complete, reading.flaw, reading.error) == (True, None, None)


FLEX, PRIORITY, BATCH = (("service_tier", "flex"),), (("service_tier", "priority"),), (("processing", "batch"),)


@pytest.mark.parametrize(
    ("wire", "document", "terms"),
    [
        ("openai-chat", {"service_tier": "flex", "usage": {"prompt_tokens": 1}}, FLEX),
        ("openai-chat", {"service_tier": "default", "usage": {"prompt_tokens": 1}}, ()),
        ("openai-chat", {"service_tier": ["flex"], "usage": {"prompt_tokens": 1}}, ()),
        ("openai-responses", {"service_tier": "priority", "usage": {"input_tokens": 1}}, PRIORITY),
        ("anthropic", {"usage": {"input_tokens": 1, "service_tier": "batch"}}, BATCH),
        (
            "anthropic",
            {"usage": {"input_tokens": 1, "service_tier": "standard", "speed": "fast"}},
            (("speed", "fast"),),
        ),
        ("gemini", {"usageMetadata": {"promptTokenCount": 1, "trafficType": "ON_DEMAND_FLEX"}}, FLEX),
        ("gemini", {"usageMetadata": {"promptTokenCount": 1, "serviceTier": "standard"}}, ()),
    ],
)
def test_a_tier_with_a_price_of_its_own_is_told(wire: str, document: Any, terms: Terms) -> None:
    """As the reply says that the call was served, which need not be as it was asked for."""
    assert read_json(wire, document).terms == terms


def test_the_last_word_on_a_tier_holds() -> None:
    """A stream begins with the tier that was asked for, and ends with the one that it got."""
    asked, got = {"service_tier": "flex"}, {"service_tier": "default", "usage": {"input_tokens": 1}}
    reading = read_sse(
        "openai-responses",
        {"type": "response.created", "response": asked},
        {"type": "response.completed", "response": got},
    )
    assert reading.terms == ()


def test_chat_stream() -> None:
    """Usage comes in a last chunk without choices; text, reasoning and tool arguments are counted in UTF-8 bytes."""
    reading = read_sse(
        "openai-chat",
        {"model": "", "choices": [], "prompt_filter_results": []},
        {
            "model": "m-1",
            "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
        },
        {"model": "m-1", "choices": [{"index": 0, "delta": {"content": "é🙂"}}]},
        {"choices": [{"index": 0, "delta": {"reasoning_content": "abc", "reasoning": "abc"}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], "usage": None},
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}},
        "[DONE]",
    )
    assert reading == Reading(Usage(9, output_tokens=4), "m-1", complete=True, text_bytes=6 + 3 + 5)


def test_chat_stream_with_several_choices() -> None:
    """Complete once every choice seen has finished, or with [DONE]; an empty reason is none."""

    def chat(*events: Any) -> bool:
        return read_sse("openai-chat", *events).complete

    def choice(index: int, reason: str | None) -> dict[str, Any]:
        return {"choices": [{"index": index, "delta": {"content": "x"}, "finish_reason": reason}]}

    assert not chat(choice(0, None))
    assert not chat(choice(0, ""))
    assert chat(choice(0, None), choice(0, "stop"))
    assert not chat(choice(0, None), choice(1, None), choice(0, "stop"))
    assert not chat(choice(0, "stop"), choice(1, None))
    assert chat(choice(0, None), choice(1, None), choice(1, "stop"), choice(0, "length"))
    assert chat(choice(0, None), "[DONE]")
    assert not chat()


def test_cumulative_usage_in_every_chunk() -> None:
    """Later values overwrite earlier ones and never add up; Groq's stands in x_groq."""
    usage = [{"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": n}} for n in (1, 2, 3)]
    assert read_sse("openai-chat", *usage).usage == Usage(9, output_tokens=3)
    groq = {"choices": [], "x_groq": {"id": "r", "usage": {"prompt_tokens": 7, "completion_tokens": 1}}}
    assert read_sse("openai-chat", groq).usage == Usage(7, output_tokens=1)


def test_mistral_chunks() -> None:
    """Content may be a list of chunks, thinking inside."""
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "abc"}]}
    content = [thinking, {"type": "text", "text": "de"}]
    reading = read_sse("mistral", {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": "stop"}]})
    assert (reading.text_bytes, reading.complete) == (5, True)


RESPONSE = {"id": "r", "model": "m", "usage": {"input_tokens": 3, "output_tokens": 4}}


@pytest.mark.parametrize("end", ["completed", "incomplete", "failed"])
def test_responses_stream(end: str) -> None:
    """Every terminal event has the usage; deltas of text, reasoning and arguments count, of audio not."""
    error = {"error": {"code": "server_error", "message": "broke"}} if end == "failed" else {"error": None}
    reading = read_sse(
        "openai-responses",
        {"type": "response.created", "response": {"id": "r", "model": "m", "usage": None}},
        {"type": "response.output_text.delta", "delta": "ab"},
        {"type": "response.reasoning_summary_text.delta", "delta": "c"},
        {"type": "response.function_call_arguments.delta", "delta": "{}"},
        {"type": "response.output_audio.delta", "delta": "AAAA"},
        {"type": "response.output_text.done", "text": "ab"},
        {"type": f"response.{end}", "response": RESPONSE | error},
    )
    message = "broke" if end == "failed" else None
    assert reading == Reading(Usage(3, output_tokens=4), "m", complete=True, error=message, text_bytes=5)


def test_responses_without_deltas() -> None:
    """A document's text is counted from its output; `[DONE]` alone completes nothing."""
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "ab"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "é"}, {"type": "refusal", "refusal": "x"}]},
        {"type": "function_call", "arguments": "{}"},
    ]
    assert read_json("openai-responses", RESPONSE | {"output": output}).text_bytes == 7
    assert not read_sse("openai-responses", {"type": "response.created", "response": {}}, "[DONE]").complete


START = {
    "type": "message_start",
    "message": {"model": "c", "content": [], "usage": {"input_tokens": 5, "output_tokens": 1}},
}


def test_anthropic_stream() -> None:
    """message_delta replaces what message_start told, counter by counter; only message_stop completes."""
    events: Sequence[Any] = (
        START,
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "input": {}}},
        {"type": "ping"},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "ab"}},
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "c"}},
        {"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "zzzz"}},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
        {
            "type": "message_delta",
            "usage": {
                "output_tokens": 12,
                "input_tokens": 6,
                "cache_read_input_tokens": 4,
                "cache_creation_input_tokens": None,
            },
        },
        {"type": "message_stop"},
    )
    whole = Reading(Usage(10, 4, None, 12), "c", complete=True, text_bytes=5)
    assert read_sse("anthropic", *events) == whole
    assert read_sse("anthropic", *events[:-1]) == Reading(whole.usage, "c", complete=False, text_bytes=5)
    assert read_sse("anthropic", *events[:-2]).usage == Usage(5, output_tokens=9)
    assert not read_sse("anthropic", START, "[DONE]").complete


def test_gemini_stream() -> None:
    """Counters overwrite one by one; the last finish reason counts, by name or by number."""

    def candidate(reason: Any, text: str = "x", **more: int) -> dict[str, Any]:
        content = {"content": {"parts": [{"text": text}]}} if text else {}
        return {
            "candidates": [content | {"finishReason": reason, "index": 0}],
            "modelVersion": "g",
            "usageMetadata": more,
        }

    first = candidate(None, promptTokenCount=5, thoughtsTokenCount=2)
    last = candidate("STOP", promptTokenCount=6, candidatesTokenCount=3)
    assert read_sse("gemini", first, last) == Reading(Usage(6, None, None, 5, 2), "g", complete=True, text_bytes=2)
    assert not read_sse("gemini", first).complete
    assert not read_sse("gemini", candidate("FINISH_REASON_UNSPECIFIED")).complete
    assert not read_sse("gemini", candidate(0)).complete
    assert read_sse("gemini", candidate(1)).complete
    # Code execution goes on behind a finish reason; a chunk of nothing but metadata does not.
    assert not read_sse("gemini", last, first).complete
    assert read_sse("gemini", last, candidate(None, "")).complete
    assert read_sse("gemini", {"promptFeedback": {"blockReason": "SAFETY"}}).complete


def test_gemini_array() -> None:
    """Without alt=sse a stream is one JSON array, complete when it is closed."""
    rows = [
        {"candidates": [{"content": {"parts": [{"text": "a]"}]}}], "usageMetadata": {"promptTokenCount": 4}},
        {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 2}},
    ]
    body = json.dumps(rows, indent=1).encode()
    for content_type in (JSON, None, SSE):
        for stream in (body, b"\n " + body + b"\n"):
            made = meter_for("gemini", content_type)
            for byte in stream:
                made.feed(bytes((byte,)))
            assert made.finish() == Reading(Usage(4, output_tokens=2), complete=True, text_bytes=2)
    cut = read("gemini", body[:-2], JSON)
    assert (cut.usage, cut.complete, cut.flaw) == (Usage(4), False, None)
    error = read_json("gemini", [{"error": {"code": 429, "message": "quota"}}])
    assert (error.error, error.complete) == ("quota", True)


CONVERSE = (
    frame("messageStart", {"role": "assistant"}),
    frame("contentBlockDelta", {"delta": {"text": "ab"}}),
    frame("contentBlockDelta", {"delta": {"toolUse": {"input": "{}"}}}),
    frame("contentBlockDelta", {"delta": {"reasoningContent": {"text": "c"}}}),
    frame("messageStop", {"stopReason": "end_turn"}),
    frame("metadata", {"usage": {"inputTokens": 3, "outputTokens": 4, "cacheReadInputTokens": 2}}),
)


def test_converse_stream() -> None:
    """The usage follows the stop, and both are needed."""
    whole = Reading(Usage(5, 2, None, 4), complete=True, text_bytes=5)
    assert read("bedrock-converse", b"".join(CONVERSE), AWS) == whole
    assert read("bedrock-converse", b"".join(CONVERSE), None) == whole
    for frames in range(len(CONVERSE)):
        assert not read("bedrock-converse", b"".join(CONVERSE[:frames]), AWS).complete
    half = read("bedrock-converse", b"".join(CONVERSE)[:-3], AWS)
    assert (half.complete, half.flaw, half.text_bytes) == (False, None, 5)


def test_exceptions_in_event_streams() -> None:
    """An exception frame is an error and no end; so is an error frame, which has only headers."""
    exception = encode_message(
        {":message-type": "exception", ":exception-type": "throttlingException"}, b'{"message":"slow down"}'
    )
    bare = encode_message({":message-type": "exception", ":exception-type": "throttlingException"}, b"")
    error = encode_message({":message-type": "error", ":error-code": "500", ":error-message": "broke"})
    for wire in ("bedrock-converse", "bedrock-invoke"):
        for raw, message in ((exception, "slow down"), (bare, "throttlingException"), (error, "broke")):
            reading = read(wire, CONVERSE[0] + raw, AWS)
            assert (reading.error, reading.complete) == (message, False)


METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 8, "outputTokenCount": 6}}
INVOKE: dict[str, tuple[list[Any], Usage]] = {
    "Claude": (
        [START, {"type": "message_delta", "usage": {"output_tokens": 9}}, {"type": "message_stop"} | METRICS],
        Usage(5, output_tokens=9),
    ),
    "Nova": (
        [
            {"messageStart": {"role": "assistant"}},
            {"contentBlockDelta": {"delta": {"text": "ab"}}},
            {"messageStop": {"stopReason": "end_turn"}},
            {"metadata": {"usage": {"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokenCount": 3}}} | METRICS,
        ],
        Usage(4, 3, None, 2),
    ),
    "Llama": (
        [
            {"generation": "ab", "prompt_token_count": 7, "generation_token_count": 1, "stop_reason": None},
            {"generation": "", "prompt_token_count": None, "generation_token_count": 2, "stop_reason": "stop"}
            | METRICS,
        ],
        Usage(7, output_tokens=2),
    ),
    "Mistral": (
        [{"outputs": [{"text": "ab", "stop_reason": None}]}, {"outputs": []} | METRICS],
        Usage(8, output_tokens=6),
    ),
    "older Claude": (
        [{"completion": "ab"}, {"completion": "", "stop_reason": "stop"} | METRICS],
        Usage(8, output_tokens=6),
    ),
    "Jamba": (
        [{"choices": [{"delta": {"content": "ab"}, "finish_reason": "stop"}]}, METRICS],
        Usage(8, output_tokens=6),
    ),
    "Cohere": (
        [
            {"event_type": "text-generation", "text": "ab"},
            {"event_type": "stream-end", "is_finished": True, "response": {"meta": {"tokens": {"input_tokens": 70}}}}
            | METRICS,
        ],
        Usage(8, output_tokens=6),
    ),
    "metrics with cache": (
        [
            {"x": 1}
            | {
                "amazon-bedrock-invocationMetrics": METRICS["amazon-bedrock-invocationMetrics"]
                | {"cacheReadInputTokenCount": 2}
            }
        ],
        Usage(10, 2, None, 6),
    ),
}


@pytest.mark.parametrize(("events", "usage"), INVOKE.values(), ids=INVOKE)
def test_invoke_streams(events: list[Any], usage: Usage) -> None:
    """Every family's chunks come in base64; the family's counters come first, the metrics fill what they lack."""
    reading = read("bedrock-invoke", b"".join(map(chunk, events)), AWS)
    assert (reading.usage, reading.complete, reading.flaw) == (usage, True, None)
    cut = read("bedrock-invoke", b"".join(map(chunk, events[:-1])), AWS)
    assert not cut.complete


def test_cohere_streams() -> None:
    """v2 by SSE, v1 by lines, under whatever content type."""
    usage = {"tokens": {"input_tokens": 7, "output_tokens": 2}}
    v2 = (
        {"type": "message-start", "delta": {"message": {"role": "assistant"}}},
        {"type": "content-delta", "delta": {"message": {"content": {"text": "ab"}}}},
        {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "c"}}},
        {"type": "tool-call-delta", "delta": {"message": {"tool_calls": {"function": {"arguments": "{}"}}}}},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}},
    )
    assert read_sse("cohere", *v2, "[DONE]") == Reading(Usage(7, output_tokens=2), complete=True, text_bytes=5)
    assert not read_sse("cohere", *v2[:-1], "[DONE]").complete
    v1 = (
        {"event_type": "stream-start", "is_finished": False},
        {"event_type": "text-generation", "text": "ab", "is_finished": False},
        {"event_type": "stream-end", "is_finished": True, "response": {"text": "ab", "meta": usage}},
    )
    for content_type in ("application/stream+json", JSON, None):
        rows = [json.dumps(row).encode() + b"\n" for row in v1]
        whole = Reading(Usage(7, output_tokens=2), complete=True, text_bytes=2)
        assert read("cohere", b"".join(rows), content_type) == whole
        assert not read("cohere", b"".join(rows[:-1]), content_type).complete


def test_ollama_stream() -> None:
    """The line with `done` completes; arguments are objects; an error may come as a line."""
    rows = [
        {"model": "l", "message": {"content": "ab", "thinking": "c"}, "done": False},
        {"model": "l", "message": {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}, "done": False},
        {"model": "l", "done": True, "done_reason": "stop", "prompt_eval_count": 4, "eval_count": 2},
    ]
    body = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    whole = Reading(Usage(4, output_tokens=2), "l", complete=True, text_bytes=3 + len('{"a":1}'))
    for content_type in ("application/x-ndjson", JSON, SSE, None):
        assert read("ollama", body, content_type) == whole
        assert read("ollama", body[:-1], content_type) == whole
        assert not read("ollama", b"\n".join(body.splitlines()[:2]), content_type).complete
        assert not read("ollama", body.splitlines()[0], content_type).complete
    cut = read("ollama", body[:-9], "application/x-ndjson")
    assert (cut.complete, cut.flaw, cut.usage) == (False, None, Usage())
    failed = read("ollama", body.splitlines()[0] + b'\n{"error":"out of memory"}\n', "application/x-ndjson")
    assert (failed.error, failed.complete) == ("out of memory", False)


def test_streams_of_other_endpoints() -> None:
    """Images, transcripts and speech end with their own events; assistants with [DONE]."""
    usage = {"input_tokens": 3, "output_tokens": 9}
    assert read_sse("openai-other", {"type": "image_generation.completed", "usage": usage}).complete
    reading = read_sse(
        "openai-other",
        {"type": "transcript.text.delta", "delta": "ab"},
        {"type": "transcript.text.done", "text": "ab", "usage": {"type": "tokens"} | usage},
    )
    assert reading == Reading(Usage(3, output_tokens=9), complete=True, text_bytes=2)
    run = b'event: thread.run.completed\ndata: {"usage": {"prompt_tokens": 3, "completion_tokens": 9}}\n\n'
    assert not read("openai-other", run, SSE).complete
    assert read("openai-other", run + b"event: done\ndata: [DONE]\n\n", SSE).usage == Usage(3, output_tokens=9)


@pytest.mark.parametrize("content_type", ["audio/mpeg", "application/octet-stream", "text/plain", "image/png", None])
def test_bodies_that_are_no_json_are_fine_where_they_are_usual(content_type: str | None) -> None:
    """Audio and files are complete and tell nothing; for a chat they are a flaw."""
    for body in (b"ID3\x04\0\0\xff\xfb", b"\x89PNG\r\n", b"", b"1\n00:00:00,000 --> 00:00:01,000\nhi\n"):
        assert read("openai-other", body, content_type) == Reading(complete=True)
        assert not read("openai-chat", body, content_type).complete
    assert read("none", b"anything", content_type) == Reading(complete=True)
    assert read("openai-chat", b"<html>", "text/html").flaw


ERRORS: dict[str, tuple[Any, str]] = {
    "OpenAI": ({"error": {"message": "no", "type": "t", "param": None, "code": None}}, "no"),
    "Anthropic": ({"type": "error", "error": {"type": "overloaded_error", "message": "no"}, "request_id": "r"}, "no"),
    "Gemini": ({"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}, "no"),
    "Gemini in a list": ([{"error": {"code": 400, "message": "no"}}], "no"),
    "Ollama": ({"error": "no"}, "no"),
    "Mistral": ({"object": "error", "message": "no", "type": "t", "code": 1}, "no"),
    "FastAPI": ({"detail": [{"loc": ["body"], "msg": "no", "type": "t"}]}, "no"),
    "a detail": ({"detail": "no"}, "no"),
    "AWS": ({"message": "no"}, "no"),
    "AWS in capitals": ({"Message": "no"}, "no"),
    "a code alone": ({"error": {"code": 500, "message": None}}, "500"),
    "nothing at all": ({"error": {"message": {}}}, "an error without a message"),
}


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(("document", "message"), ERRORS.values(), ids=ERRORS)
def test_errors_in_documents(wire: str, document: Any, message: str) -> None:
    """An error object is found in any shape, under any wire and any content type, also with status 200."""
    for indent in (None, 2):
        body = json.dumps(document, indent=indent).encode()
        assert read(wire, body, JSON).error == message
        assert read(wire, body, None).error == message
        if WIRES[wire].framing == "sse" and isinstance(document, dict):
            assert read(wire, body, SSE).error == message
            for stream in (False, True):
                made = meter(wire, stream=stream)
                made.feed(body)
                assert made.finish().error == message


@pytest.mark.parametrize("wire", [wire for wire in WIRES if WIRES[wire].framing == "sse" or wire == "cohere"])
def test_errors_in_streams(wire: str) -> None:
    """An error as an event's data, named or not, JSON or not; it completes nothing."""
    for body, message in (
        (b'data: {"error": {"message": "no"}}\n\n', "no"),
        (b'event: error\ndata: {"type": "error", "error": {"type": "t", "message": "no"}}\n\n', "no"),
        (b'event: error\ndata: {"type": "error", "code": "c", "message": "no"}\n\n', "no"),
        (b'event: error\ndata: {"message": "no"}\n\n', "no"),
        (b'event: error\ndata: {"x": 1}\n\n', "an error event"),
        (b"event: error\ndata: no\n\n", "no"),
        (b'event: error\ndata: ["no"]\n\n', '["no"]'),
    ):
        reading = read(wire, body, SSE)
        assert (reading.error, reading.complete) == (message, False)


def test_an_error_after_text() -> None:
    """The text before it stays counted, its finish reason completes as the host meant it."""
    text = {"choices": [{"index": 0, "delta": {"content": "ab"}, "finish_reason": None}]}
    failed = {
        "error": {"code": 502, "message": "gone"},
        "choices": [{"index": 0, "delta": {}, "finish_reason": "error"}],
    }
    assert read_sse("openai-chat", text, failed) == Reading(complete=True, error="gone", text_bytes=2)


HOSTILE = [-1, 1.5, True, "12", [1], {"a": 1}, 2**53, 10**40, float("1e300")]


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_counters_that_are_no_counts(value: Any) -> None:
    """They are not told, noted as a flaw, and the other counters stand."""
    cases = {
        "openai-chat": ({"usage": {"prompt_tokens": value, "completion_tokens": 4}}, Usage(output_tokens=4)),
        "anthropic": ({"usage": {"input_tokens": value, "output_tokens": 4}}, Usage(output_tokens=4)),
        "gemini": ({"usageMetadata": {"promptTokenCount": value, "candidatesTokenCount": 4}}, Usage(output_tokens=4)),
        "ollama": ({"prompt_eval_count": value, "eval_count": 4}, Usage(output_tokens=4)),
        "bedrock-converse": ({"usage": {"inputTokens": value, "outputTokens": 4}}, Usage(output_tokens=4)),
        "bedrock-invoke": ({"prompt_token_count": value, "generation_token_count": 4}, Usage(output_tokens=4)),
        "cohere": ({"usage": {"tokens": {"input_tokens": value, "output_tokens": 4}}}, Usage(output_tokens=4)),
    }
    for wire, (document, usage) in cases.items():
        reading = read_json(wire, document)
        assert reading.usage == usage
        assert reading.flaw is not None
        assert "is no count" in reading.flaw


WORDS = st.sampled_from(
    sorted(
        set(
            """
            usage model choices delta message content text type error index finish_reason tool_calls function arguments
            prompt_tokens completion_tokens total_tokens input_tokens output_tokens iterations cache_creation x_groq
            prompt_tokens_details completion_tokens_details reasoning_tokens usageMetadata promptTokenCount candidates
            finishReason parts promptFeedback blockReason response output item inputTokens bytes metadata metrics meta
            billed_units tokens done eval_count thinking results completions data prompt outputs generations event_type
            is_finished amazon-bedrock-invocationMetrics message_start message_delta content_block_delta message_stop
            response.completed response.output_text.delta contentBlockDelta messageStop stream-end message-end
            """.split()  # noqa: SIM905 - eighty lines of one word each say no more
        )
    )
)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=20,
)


@settings(deadline=None)
@given(
    st.sampled_from(list(WIRES)), st.lists(ANYTHING, min_size=1, max_size=4), st.sampled_from([JSON, SSE, AWS, None])
)
def test_hostile_documents(wire: str, documents: list[Any], content_type: str | None) -> None:
    """Any JSON in any framing gives a reading, the same however it is cut, with no counter that is no count."""
    bodies = (
        json.dumps(documents[0]).encode(),
        json.dumps(documents).encode(),
        sse(*(json.dumps(document) for document in documents)),
        b"".join(json.dumps(document).encode() + b"\n" for document in documents),
        b"".join(frame(str(document)[:20] or "x", document) for document in documents),
        b"".join(frame(document["type"], document) for document in documents if names_itself(document)),
        b"".join(map(chunk, documents)),
    )
    for body in bodies:
        reading = read(wire, body, content_type)
        usage = reading.usage
        counters = (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.reasoning_tokens)
        assert all(counter is None or (type(counter) is int and counter >= 0) for counter in counters)
        assert reading.text_bytes >= 0
        made = meter_for(wire, content_type)
        for byte in body:
            made.feed(bytes((byte,)))
        assert made.finish() == reading


def names_itself(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("type"), str)


@settings(deadline=None)
@given(
    st.sampled_from(list(WIRES)),
    st.binary(max_size=200),
    st.sampled_from([JSON, SSE, AWS, "x", None]),
    st.integers(1, 9),
)
def test_any_bytes(wire: str, body: bytes, content_type: str | None, step: int) -> None:
    """No bytes raise, and chunks never matter."""
    made = meter_for(wire, content_type)
    for at in range(0, len(body), step):
        made.feed(body[at : at + step])
    assert made.finish() == read(wire, body, content_type)


def test_deep_nesting() -> None:
    """A hundred thousand levels are a flaw, whatever the framing; some hundreds are read and counted."""
    deep = b'{"usage":' + b"[" * 100_000
    for wire in WIRES:
        for body in (deep, b"data: " + deep + b"\n\n", deep[9:]):
            for content_type in (JSON, SSE, None):
                assert not read(wire, body, content_type).usage
    nested = {"choices": [{"message": {"content": "ab", "tool_calls": [{"function": {"arguments": nest(600)}}]}}]}
    assert read_json("openai-chat", nested).text_bytes == 2 + 600 * len('{"a":}') + len("{}")


def nest(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def test_bodies_over_the_limit() -> None:
    """A document beyond 32 MiB is a flaw and tells nothing; a long stream of small events has no limit."""
    made = meter_for("openai-chat", JSON)
    made.feed(b'{"usage": {"prompt_tokens": 1, "completion_tokens": 1}, "x": "')
    for _ in range(JSON_LIMIT // 2**20 + 1):
        made.feed(b"x" * 2**20)
    made.feed(b'"}')
    reading = made.finish()
    assert (reading.usage, reading.complete) == (Usage(), False)
    assert reading.flaw == f"the body is larger than {JSON_LIMIT} bytes"
    made = meter_for("openai-chat", SSE)
    events = sse({"choices": [{"index": 0, "delta": {"content": "x" * 1000}}]}) * 1000
    for _ in range(40):
        made.feed(events)
    assert made.finish() == Reading(text_bytes=40_000_000)


def test_broken_events_do_not_hide_the_others() -> None:
    """An event that is no JSON is a flaw; what comes after it is read."""
    body = b"data: {oops\n\n" + sse({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}, "[DONE]")
    reading = read("openai-chat", body, SSE)
    assert (reading.usage, reading.complete) == (Usage(1, output_tokens=2), True)
    assert reading.flaw is not None
    assert "not JSON" in reading.flaw


def test_a_broken_event_stream_keeps_what_came_before() -> None:
    """A wrong checksum is a flaw; the frames in front of it are read."""
    body = bytearray(b"".join(CONVERSE))
    body[-1] ^= 1
    reading = read("bedrock-converse", bytes(body), AWS)
    assert (reading.text_bytes, reading.complete, reading.usage) == (5, False, Usage())
    assert reading.flaw is not None


def test_framings_under_odd_content_types() -> None:
    """Bytes decide: SSE under JSON's type, with comments, a byte order mark or CRLF in front; JSON under SSE's."""
    body = sse({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}, "[DONE]")
    whole = Reading(Usage(1, output_tokens=2), complete=True)
    for prefix in (b"", b": OPENROUTER PROCESSING\n\n", b"\xef\xbb\xbf", b"\r\n\r\n", b"id: 1\n", b"retry: 5\n"):
        for content_type in (JSON, SSE, "text/plain", "application/octet-stream", "", None):
            assert read("openai-chat", prefix + body, content_type) == whole
    document = b'\xef\xbb\xbf \n{"usage": {"prompt_tokens": 1, "completion_tokens": 2}}'
    assert read("openai-chat", document, SSE) == whole


@pytest.mark.parametrize("wire", WIRES)
def test_nothing_at_all(wire: str) -> None:
    """A stream that broke off before its first byte is incomplete, without a flaw."""
    for content_type in (SSE, AWS, "application/x-ndjson"):
        assert read(wire, b"", content_type) == Reading(complete=False)
    assert meter(wire, stream=True).finish() == Reading(complete=False)
    # Deleting a file answers with nothing; no generation does.
    assert meter(wire, stream=False).finish() == Reading(complete=wire == "openai-other")


def test_stream_kind() -> None:
    """Parameters, case and space around a content type do not matter."""
    assert stream_kind("text/event-stream") == "sse"
    assert stream_kind(" Text/Event-Stream ;charset=utf-8") == "sse"
    assert stream_kind("application/x-ndjson") == "ndjson"
    assert stream_kind("application/stream+json") == "ndjson"
    assert stream_kind("application/vnd.amazon.eventstream") == "eventstream"
    for content_type in (None, "", "application/json", "text/event-streams", "application/x-jsonl"):
        assert stream_kind(content_type) is None


def test_unknown_wires() -> None:
    """A wire that nobody knows is our own mistake."""
    with pytest.raises(ValueError, match="openai-chat"):
        meter("chat", stream=False)
    with pytest.raises(ValueError, match="openai-chat"):
        meter_for("chat", None)
    assert meter("none", stream=True).finish() == Reading(complete=True)


def test_usage_from_headers() -> None:
    """Bedrock's headers, in any case, cache added to the input; what is no count is not told."""
    headers = [
        (b"Content-Type", b"application/json"),
        (b"X-Amzn-Bedrock-Input-Token-Count", b"10"),
        (b"x-amzn-bedrock-output-token-count", b"0"),
    ]
    assert usage_from_headers(headers) == Usage(10, output_tokens=0)
    cached = [*headers, (b"x-amzn-bedrock-cache-read-input-token-count", b"5")]
    assert usage_from_headers(cached) == Usage(15, 5, None, 0)
    for value in (b"", b"-1", b"1.5", b"abc", b"\xb2", b"9" * 5000, b" 1"):
        assert usage_from_headers([(b"x-amzn-bedrock-input-token-count", value)]) == Usage()
    assert usage_from_headers(()) == Usage()


def rows(**kinds: int) -> list[dict[str, object]]:
    return [{"modality": kind, "tokenCount": count} for kind, count in kinds.items()]


UNITS: dict[str, tuple[str, dict[str, object], dict[str, int]]] = {
    "pictures that were asked for with pictures": (
        "openai-other",
        {
            "data": [],
            "usage": {
                "input_tokens": 90,
                "input_tokens_details": {"image_tokens": 70, "text_tokens": 20},
                "output_tokens": 500,
                "output_tokens_details": {"image_tokens": 450, "text_tokens": 50},
            },
        },
        {"input_image_tokens": 70, "output_image_tokens": 450},
    ),
    "sound that was written down": (
        "openai-other",
        {
            "text": "Hello.",
            "usage": {
                "type": "tokens",
                "input_tokens": 30,
                "input_token_details": {"text_tokens": 2, "audio_tokens": 28},
                "output_tokens": 3,
            },
        },
        {"input_audio_tokens": 28},
    ),
    "what Gemini counts by kind": (
        "gemini",
        {
            "candidates": [],
            "usageMetadata": {
                "promptTokensDetails": rows(TEXT=1, AUDIO=2, IMAGE=3, DOCUMENT=4, VIDEO=5),
                "toolUsePromptTokensDetails": rows(TEXT=6, IMAGE=7),
                "cacheTokensDetails": rows(AUDIO=8, IMAGE=9),
                "candidatesTokensDetails": rows(TEXT=10, AUDIO=11, IMAGE=12, VIDEO=13),
            },
        },
        {
            "input_audio_tokens": 2,
            "input_image_tokens": 14,
            "input_video_tokens": 5,
            "cache_audio_read_tokens": 8,
            "cache_image_read_tokens": 9,
            "output_audio_tokens": 11,
            "output_image_tokens": 12,
            "output_video_tokens": 13,
        },
    ),
    "what Bedrock keeps for an hour": (
        "bedrock-converse",
        {
            "usage": {
                "inputTokens": 1,
                "outputTokens": 2,
                "cacheWriteInputTokens": 30,
                "cacheDetails": [{"ttl": "5m", "inputTokens": 10}, {"ttl": "1h", "inputTokens": 20}],
            }
        },
        {"cache_write_1h_tokens": 20},
    ),
}


@pytest.mark.parametrize(("wire", "document", "units"), UNITS.values(), ids=UNITS.keys())
def test_what_may_have_a_price_of_its_own_is_read(wire: str, document: object, units: dict[str, int]) -> None:
    """By the names that genai-prices has for it."""
    assert read_json(wire, document).units == units
