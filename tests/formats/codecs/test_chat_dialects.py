"""Chat requests of every dialect: what compatible servers add is understood as far as can be, and comes back equal."""

from __future__ import annotations

from typing import Any

import pytest
from tests.formats.codecs import laws

from interpose.formats.codecs import Asked
from interpose.formats.codecs.chat import CODEC
from interpose.ir import (
    Losses,
    ToolCall,
    ToolResult,
)


def test_legacy_functions_are_tools() -> None:
    """functions, function_call and the role function are read as tools, with ids that pair, and written back."""
    body = {
        "model": "gpt-3.5-turbo",
        "messages": [
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": None, "function_call": {"name": "one", "arguments": "{}"}},
            {"role": "function", "name": "one", "content": "1"},
        ],
        "functions": [{"name": "one", "parameters": {}}],
        "function_call": {"name": "one"},
    }
    request = laws.request_returns(CODEC, body, Asked())
    call, result = request.messages[1].blocks[0], request.messages[2].blocks[0]
    assert isinstance(call, ToolCall)
    assert isinstance(result, ToolResult)
    assert call.id == result.id != ""
    assert request.tools[0].name == "one"
    assert request.tool_choice is not None
    assert (request.tool_choice.mode, request.tool_choice.names) == ("any", ("one",))


DIALECTS: list[dict[str, Any]] = [
    {"reasoning": {"effort": "high", "exclude": True, "summary": "auto"}},
    {"reasoning": {"max_tokens": 2000, "enabled": True}},
    {"thinking": {"type": "enabled", "clear_thinking": False}},
    {"thinking": {"type": "disabled"}, "reasoning_effort": "low"},
    {"enable_thinking": False},
    {"reasoning_effort": "none"},
    {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}},
    {"stream": True, "stream_options": {"include_obfuscation": False}},
    {"max_tokens": 5, "max_completion_tokens": 6},
    {"tool_choice": "any", "top_k": 4},
    {"tool_choice": {"function": {"name": "one"}}},
    {"response_format": {"type": "json_object", "schema": {"type": "object"}}},
    {"response_format": {"type": "json_schema", "json_schema": {"schema": {}, "x": 1}, "y": 2}},
    {"stop": "x", "n": 1, "logit_bias": {"50256": -100}, "metadata": {"a": "b"}, "store": True},
]


@pytest.mark.parametrize("extra", DIALECTS)
def test_dialects_come_back_equal(extra: dict[str, Any]) -> None:
    """What compatible servers add is understood as far as it can be, and written back in their words."""
    laws.request_returns(CODEC, {"model": "m", "messages": [{"role": "user", "content": "?"}], **extra}, Asked())


def test_thinking_is_understood_in_every_dialect() -> None:
    """OpenRouter's object, DeepSeek's and GLM's, Qwen's and OpenAI's switches mean the same."""
    for extra in ({"thinking": {"type": "disabled"}}, {"enable_thinking": False}, {"reasoning_effort": "none"}):
        request = CODEC.read_request({"messages": [], **laws.copy.deepcopy(extra)}, Asked())
        assert request.reasoning is not None
        assert request.reasoning.enabled is False, extra


PARTS: list[dict[str, Any]] = [
    {"type": "text", "text": ""},
    {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
    {"type": "text", "text": "a", "cache_control": {"type": "other", "x": 1}},
    {"type": "image_url", "image_url": {"url": "data:image/png;charset=x;base64,AA==", "detail": "high", "x": 1}},
    {"type": "image_url", "image_url": "https://example.com/a.png"},
    {"type": "image_url", "image_url": {"url": "data:,plain"}},
    {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mpeg"}},
    {"type": "input_audio", "input_audio": {"data": "AA==", "format": "flac"}, "x": 1},
    {"type": "file", "file": {"file_id": "file-1"}},
    {"type": "file", "file": {"file_data": "AA==", "filename": "a.pdf"}},
    {"type": "file", "file": {"file_data": "https://example.com/a.pdf"}},
    {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}},
    {"type": "unheard_of", "x": [1, 2]},
    {"type": "text", "text": None},
    {"type": "image_url", "image_url": None},
]


@pytest.mark.parametrize("part", PARTS)
def test_parts_come_back_equal(part: dict[str, Any]) -> None:
    """Each part, and one of a type or shape that is not known, whole."""
    body = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, part]}]}
    laws.request_returns(CODEC, body, Asked())


CALLS: list[dict[str, Any]] = [
    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{broken"}},
    {"id": "a", "type": "custom", "custom": {"name": "f", "input": "free text"}},
    {"id": "a", "function": {"name": "f", "arguments": "{}"}, "index": 3},
    {"type": "function", "function": {"name": "f"}},
    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}", "x": 1}, "y": 2},
    {
        "id": "a",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
        "extra_content": {"google": {"thought_signature": "sig", "x": 1}, "other": 2},
    },
    {"id": "a", "type": "unheard_of", "unheard_of": {}},
]


@pytest.mark.parametrize("call", CALLS)
def test_calls_come_back_equal(call: dict[str, Any]) -> None:
    """Broken arguments stay as the model wrote them (pitfall 6); Gemini's signature is opaque state."""
    laws.request_returns(
        CODEC, {"model": "m", "messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}, Asked()
    )


REFUSED: list[tuple[Any, str]] = [
    ([], ""),
    ({}, "messages"),
    ({"messages": {}}, "messages"),
    ({"messages": [], "model": 5}, "model"),
    ({"messages": ["hello"]}, "messages[0]"),
    ({"messages": [{"role": "user"}, {"content": "?"}]}, "messages[1].role"),
    ({"messages": [{"role": "oracle", "content": "?"}]}, "messages[0].role"),
]


@pytest.mark.parametrize(("body", "path"), REFUSED)
def test_what_is_no_request_is_refused_by_path(body: Any, path: str) -> None:
    """Malformed says where."""
    laws.refuses(CODEC, body, path)


@pytest.mark.parametrize("content", [{"text": "?"}, ["?"], [None], 5])
def test_content_that_cannot_be_read_is_impossible_elsewhere(content: Any) -> None:
    """It goes back to Chat as it came; to another format, the answer would be to something else."""
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    request = laws.request_returns(CODEC, body, Asked())
    losses = Losses()
    losses.own(request.messages[0].own, request.messages[0].at, "elsewhere")
    assert [(str(loss.severity), loss.path) for loss in losses] == [("impossible", "messages[0].content")]
