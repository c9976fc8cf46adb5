"""Requests of the Responses API read by its codec. Numbers in docstrings are pitfalls'."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from tests.formats.codecs import laws
from tests.formats.codecs.responses_made import (
    REASONS,
)

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs import Asked, Client, Target
from interpose.formats.codecs.responses import CODEC
from interpose.formats.codecs.responses.requests import VITAL
from interpose.ir import (
    Losses,
    Opaque,
    Request,
    Sampling,
    Severity,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)


def read(**body: Any) -> Request:
    return CODEC.read_request({"model": "gpt-5", **copy.deepcopy(body)}, Asked())


def written(request: Request, capabilities: Capabilities = REASONS) -> dict[str, Any]:
    return CODEC.write_request(request, Target("gpt-5", capabilities), Losses()).body


# A request of this format, read


def test_a_turn_of_the_assistants_is_one_message() -> None:
    """Reasoning, text and calls that stand together are one turn, and keep their order."""
    request = read(
        instructions="Be brief.",
        input=[
            {"role": "user", "content": "Weather?"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA-FAKE"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        ],
    )
    assert [message.role for message in request.messages] == ["system", "user", "assistant", "tool"]
    thought, said, call = request.messages[2].blocks
    assert isinstance(thought, Thinking)
    assert thought.opaque == Opaque("openai-responses", "encrypted", "gAAAA-FAKE", "rs_1")
    assert isinstance(said, Text)
    assert (said.text, said.at) == ("I look.", "input[2].content[0]")
    assert isinstance(call, ToolCall)
    assert (call.id, call.name, call.at) == ("c1", "weather", "input[3]")
    result = request.messages[3].blocks[0]
    assert isinstance(result, ToolResult)
    assert [type(block) for block in result.content] == [Text]


@pytest.mark.parametrize(
    "field",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"prompt": {"id": "pmpt_1"}},
        {"background": True},
    ],
)
def test_what_only_the_provider_keeps_is_impossible_elsewhere(field: dict[str, Any]) -> None:
    """21: without a store the request would be about something else."""
    request = read(input="Go on.", **field)
    losses = Losses()
    losses.own(request.own, "", "anthropic")
    assert [(loss.severity, loss.path) for loss in losses] == [(Severity.IMPOSSIBLE, next(iter(field)))]
    assert VITAL.issuperset(field)


def test_a_reference_to_an_item_is_impossible_elsewhere() -> None:
    """21: the item is in the provider's store."""
    request = read(input=[{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "Go on."}])
    losses = Losses()
    losses.own(request.messages[0].own, request.messages[0].at, "anthropic")
    assert [(loss.severity, loss.path) for loss in losses] == [(Severity.IMPOSSIBLE, "input[0].id")]


def test_what_says_nothing_to_others_is_no_loss() -> None:
    """Defaults spelt out, what is to be included, ids and states of items."""
    request = read(
        input=[
            {"id": "msg_1", "status": "completed", "type": "message", "role": "assistant", "content": "Hi."},
            {
                "id": "fc_1",
                "status": "completed",
                "type": "function_call",
                "call_id": "c",
                "name": "f",
                "arguments": "",
            },
        ],
        store=False,
        stream=False,
        background=False,
        truncation="disabled",
        include=["reasoning.encrypted_content"],
        previous_response_id=None,
    )
    losses = Losses()
    losses.own(request.own, "", "anthropic")
    for block in request.messages[0].blocks:
        losses.own(block.own, block.at, "anthropic")
    assert list(losses) == []


def test_settings_are_read_into_what_they_mean() -> None:
    """Each where every other format looks for it."""
    request = read(
        input="Hi",
        tools=[
            {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True},
            {"type": "custom", "name": "g", "format": {"type": "text"}},
            {"type": "web_search"},
        ],
        tool_choice={
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "g"}],
        },
        parallel_tool_calls=False,
        max_output_tokens=100,
        temperature=1,
        top_p=0.5,
        top_logprobs=2,
        include=["message.output_text.logprobs"],
        reasoning={"effort": "none", "summary": "auto"},
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
        user="u",
        metadata={"k": "v"},
        service_tier="flex",
        stream=True,
    )
    assert [(tool.name, tool.kind, tool.strict) for tool in request.tools] == [
        ("f", "function", True),
        ("g", "custom", None),
        ("web_search", "server", None),
    ]
    choice = request.tool_choice
    assert choice is not None
    assert (choice.mode, choice.names, choice.parallel) == ("any", ("f", "g"), False)
    assert request.sampling == Sampling(1, 0.5, logprobs=True, top_logprobs=2)
    reasoning, output = request.reasoning, request.output
    assert reasoning is not None
    assert output is not None
    assert (reasoning.effort, reasoning.enabled, reasoning.shown) == ("none", False, "auto")
    assert (output.kind, output.name, output.schema, output.strict) == ("schema", "n", {"type": "object"}, True)
    assert (request.max_tokens, request.user, request.metadata) == (100, "u", {"k": "v"})
    assert (request.service_tier, request.stream) == ("flex", True)
    assert request.own is not None
    assert request.own.fields == {}


READ_BACK: list[dict[str, Any]] = [
    {"input": [{"type": "item_reference", "id": "msg_1"}]},
    {"input": "Hi", "tool_choice": {"type": "web_search_preview"}, "parallel_tool_calls": True},
    {"input": "Hi", "tool_choice": {"type": "custom", "name": "g"}},
    {"input": "Hi", "tool_choice": None, "tools": None, "text": None, "reasoning": None, "include": None},
    {"input": "Hi", "tools": [], "include": [], "text": {}, "reasoning": {}, "metadata": {}},
    {"input": "Hi", "include": ["code_interpreter_call.outputs", "reasoning.encrypted_content", "x"]},
    {"input": "Hi", "store": 0, "background": 0, "stream": None, "truncation": "auto"},
    {"input": "Hi", "text": {"format": {"type": "text"}, "verbosity": "low"}},
    {"input": "Hi", "text": {"format": {"type": "grammar", "definition": "x"}}},
    {"input": "Hi", "stream": True, "stream_options": {"include_obfuscation": False}},
    {"input": None, "previous_response_id": "resp_1"},
    {"prompt": {"id": "pmpt_1", "variables": {"a": {"type": "input_text", "text": "b"}}}},
    {"input": [], "instructions": None},
    {"input": [], "instructions": [{"role": "system", "content": "x"}]},
    {"input": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA", "format": "mp3"}}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA", "format": "ogg"}}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "AAAA", "filename": "a.pdf"}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/svg+xml,<svg/>"}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_text", "text": "x", "item.id": "y"}]}]},
    {"input": [{"role": "user", "content": []}, {"role": "assistant", "content": []}]},
    {"input": [{"role": "tool", "content": "x"}, {"role": 1}, {}, {"type": None}, {"type": 3}]},
    {"input": [{"role": "assistant", "content": [{"type": "new"}, {"type": "refusal", "refusal": "No."}]}]},
    {"input": [{"role": "assistant", "content": [{"type": "output_text", "text": "x"}, {"type": "new"}], "id": "m"}]},
    {"input": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": ""}], "content": []}]},
    {
        "input": [
            {
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}],
                "content": [{"type": "reasoning_text", "text": "c"}, {"type": "reasoning_text", "text": "d"}],
                "encrypted_content": "gAAAA-FAKE",
                "status": "completed",
            }
        ]
    },
    {"input": [{"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "a", "x": 1}]}]},
    {"input": [{"type": "custom_tool_call", "id": "ctc", "call_id": "c", "name": "g", "input": "ls"}]},
    {"input": [{"type": "custom_tool_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]}]},
    {"input": [{"type": "function_call_output", "call_id": "c", "output": {"an": "object"}}]},
    {"input": [{"type": "function_call_output", "call_id": "c", "output": []}]},
    {"input": [{"type": "mcp_approval_response", "approve": True, "approval_request_id": "a"}]},
]


@pytest.mark.parametrize("body", READ_BACK, ids=lambda body: json.dumps(body)[:60])
def test_a_request_comes_back_equal(body: dict[str, Any]) -> None:
    """Oddities that no recording has."""
    body = {"model": "gpt-5", **body}
    if "prompt" in body:
        del body["model"]
    laws.request_returns(CODEC, body, Asked("/v1/responses"))


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ([], ""),
        ({}, "model"),
        ({"model": 1, "input": "x"}, "model"),
        ({"model": "m"}, "input"),
        ({"model": "m", "input": 5}, "input"),
        ({"model": "m", "input": [{}, "x"]}, "input[1]"),
    ],
)
def test_what_cannot_be_read_is_malformed(body: Any, path: str) -> None:
    """With the path of what is wrong."""
    laws.refuses(CODEC, body, path)


def test_depth_is_no_harm() -> None:
    """As deep as JSON is parsed, wherever it may stand: read, written back, and echoed in a stream."""
    deep = json.loads('{"a":' * 900 + "1" + "}" * 900)
    said = {"type": "input_text", "text": "x", "more": deep}
    body = {
        "model": "gpt-5",
        "input": [{"role": "user", "content": [said]}, deep],
        "tools": [{"type": "function", "name": "f", "parameters": deep}],
        "metadata": deep,
        "text": {"format": deep},
    }
    request = CODEC.read_request(json.loads(json.dumps(body)), Asked())
    laws.same(written(request), body)
    writer = CODEC.writer(Client(request, "gpt-5", "call-1", 1), Losses("reply"))
    assert b"response.completed" in writer.finish()
