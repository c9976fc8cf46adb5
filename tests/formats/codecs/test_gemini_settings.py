"""State, parameters and spellings of the Gemini codec: what is carried, told, and written back as it was."""

from __future__ import annotations

from typing import Any

import pytest
from google.genai import types
from tests.formats.codecs import laws
from tests.formats.codecs.gemini_samples import (
    SCHEMA,
    STREAM,
    ask,
    client,
    user,
    written,
)

from interpose.formats.codecs import Asked, Target
from interpose.formats.codecs.gemini import CODEC
from interpose.ir import (
    Answer,
    CacheMark,
    Foreign,
    Losses,
    Media,
    Message,
    Opaque,
    Output,
    Own,
    Reasoning,
    Refused,
    Reply,
    Sampling,
    Severity,
    Stop,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)


def test_15_state_goes_home_alone() -> None:
    """15: Gemini's own state goes back where it was, another's is dropped and told."""
    ours, theirs = Opaque("gemini", "thought_signature", "c2ln"), Opaque("openai-responses", "encrypted", "zzz")
    request = ask(
        Message(
            "assistant",
            [Text("a", opaque=ours), Thinking("b", opaque=theirs, at="b1"), ToolCall("i", "f", "{}", opaque=ours)],
        )
    )
    found, losses = written(request)
    assert [part.get("thoughtSignature") for part in found.body["contents"][0]["parts"]] == ["c2ln", None, "c2ln"]
    assert losses == [("dropped", "b1")]


def test_15_gemini_3_is_told_of_calls_without_signature() -> None:
    """15: the first call of a turn made by another model gets what Google documents for that; an own one keeps its."""
    signed = Opaque("gemini", "thought_signature", "c2ln")
    request = ask(
        Message("assistant", [ToolCall("a", "f", "{}", at="m0"), ToolCall("b", "f", "{}")]),
        Message("tool", [ToolResult("a", [Text("1")]), ToolResult("b", [Text("1")])]),
        Message("assistant", [ToolCall("c", "f", "{}", opaque=signed)]),
    )
    found, losses = written(request, "gemini-3-flash-preview")
    signatures = [
        part.get("thoughtSignature")
        for content in found.body["contents"]
        for part in content["parts"]
        if "functionCall" in part
    ]
    assert signatures == ["skip_thought_signature_validator", None, "c2ln"]
    assert losses == [("synthesised", "m0")]
    assert written(request, "gemini-2.5-flash")[1] == []


def test_15_state_of_others_travels_through_the_client() -> None:
    """15: another's state rides in thoughtSignature, as base64 that the SDK can read, and comes back as it was."""
    state = Opaque("anthropic", "signature", "Eq0B/+=", None, "claude")
    reply = Reply(
        "anthropic", "msg_1", "claude", answers=[Answer([Thinking("hm", opaque=state), Text("x")], Stop("end"))]
    )
    losses = Losses("reply")
    body = CODEC.write_reply(reply, client(), losses)
    assert [loss.severity for loss in losses] == [Severity.CARRIED]
    parsed = types.GenerateContentResponse.model_validate(body)
    assert parsed.candidates is not None
    content = parsed.candidates[0].content
    assert content is not None
    sent = content.model_dump(mode="json", by_alias=True, exclude_none=True)
    request = CODEC.read_request({"contents": [sent]}, Asked("/v1beta/models/m:generateContent"))
    block = request.messages[0].blocks[0]
    assert isinstance(block, Thinking)
    assert block.opaque == state


@pytest.mark.parametrize(
    ("reasoning", "thinking", "config", "losses"),
    [
        (Reasoning(enabled=True, budget=2000), "budget", {"thinkingBudget": 2000, "includeThoughts": True}, []),
        (Reasoning(effort="medium"), "budget", {"thinkingBudget": 8192}, [("approximated", "reasoning.effort")]),
        (Reasoning(effort="none"), "budget", {"thinkingBudget": 0}, []),
        (Reasoning(enabled=False), "budget", {"thinkingBudget": 0}, []),
        (Reasoning(enabled=False), "effort", {"thinkingLevel": "MINIMAL"}, [("approximated", "reasoning")]),
        (Reasoning(adaptive=True), "budget", {"thinkingBudget": -1, "includeThoughts": True}, []),
        (Reasoning(effort="high", shown="auto"), "effort", {"thinkingLevel": "HIGH", "includeThoughts": True}, []),
        (Reasoning(effort="max"), "effort", {"thinkingLevel": "HIGH"}, [("approximated", "reasoning.effort")]),
        (Reasoning(budget=1024), "effort", {"thinkingLevel": "LOW"}, [("approximated", "reasoning")]),
        (Reasoning(effort="high"), "none", None, [("dropped", "reasoning")]),
        (Reasoning(enabled=False), "none", None, []),
    ],
)
def test_17_thinking(reasoning: Reasoning, thinking: Any, config: Any, losses: list[Any]) -> None:
    """17: efforts and budgets in the model's own way of being asked; what is not the same is told."""
    found, told = written(ask(user(Text("x")), reasoning=reasoning), thinking=thinking)
    assert found.body.get("generationConfig", {}).get("thinkingConfig") == config
    assert told == losses


def test_18_and_19_parameters() -> None:
    """18, 19: every parameter that Gemini has is written, the others are told."""
    sampling = Sampling(0.5, 0.9, 40, 7, 0.1, 0.2, {"50256": -100}, logprobs=True, top_logprobs=2)
    request = ask(
        user(Text("x")),
        sampling=sampling,
        max_tokens=10,
        answers=2,
        stop=list("abcdef"),
        user="u",
        metadata={"a": "b"},
        service_tier="flex",
        output=Output("json"),
    )
    found, losses = written(request)
    assert found.body["generationConfig"] == {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "seed": 7,
        "frequencyPenalty": 0.1,
        "presencePenalty": 0.2,
        "responseLogprobs": True,
        "logprobs": 2,
        "maxOutputTokens": 10,
        "candidateCount": 2,
        "stopSequences": list("abcde"),
        "responseMimeType": "application/json",
    }
    assert losses == [
        ("dropped", "logit_bias"),
        ("dropped", "stop[5]"),
        ("dropped", "metadata"),
        ("dropped", "service_tier"),
        ("dropped", "user"),
    ]
    found, losses = written(ask(user(Text("x")), sampling=Sampling(1.0), max_tokens=99), sampling=False, max_output=50)
    assert found.body["generationConfig"] == {"maxOutputTokens": 50}
    assert losses == [("dropped", "temperature"), ("approximated", "max_tokens")]


def test_20_a_schema_keeps_its_name() -> None:
    """20: what Gemini has no field for stands in the schema's own words."""
    output = Output("schema", {"type": "object"}, "person", "a person", strict=True)
    found, losses = written(ask(user(Text("x")), output=output))
    schema = found.body["generationConfig"]["responseJsonSchema"]
    assert schema == {"title": "person", "description": "a person", "type": "object"}
    assert losses == []


def test_21_cache_marks_and_what_others_alone_have() -> None:
    """21: cache marks, own fields, names, server tools, foreign blocks and refusals are told one by one."""
    request = ask(
        Message("user", [Text("x", cache=CacheMark("1h"), at="b0")], name="Ann", at="m0"),
        Message("assistant", [Refused("no", at="b1"), Foreign("openai", "screen", {}, at="b2")]),
        tools=[Tool("web_search", kind="server", own=Own("openai", {"type": "web_search"}), at="tools[0]")],
        own=Own("openai", {"store": True, "nothing": None}),
    )
    found, losses = written(request)
    assert found.body["contents"][1]["parts"] == [{"text": "no"}]
    assert "tools" not in found.body
    assert losses == [
        ("dropped", "store"),
        ("dropped", "b0"),
        ("dropped", "m0"),
        ("approximated", "b1"),
        ("dropped", "b2"),
        ("dropped", "tools[0]"),
    ]


def test_21_a_stored_prefix_is_impossible_elsewhere() -> None:
    """21: without cachedContent the answer would be about something else."""
    body = {"contents": [], "cachedContent": "cachedContents/1", "safetySettings": [{"category": "x"}]}
    request = CODEC.read_request(body, STREAM)
    losses = Losses()
    losses.own(request.own, "", "openai")
    assert {(loss.severity, loss.path) for loss in losses} == {
        (Severity.IMPOSSIBLE, "cachedContent"),
        (Severity.DROPPED, "safetySettings"),
    }


def test_snake_case_returns() -> None:
    """Keys in snake_case, mixed with camelCase, are understood and written as they were."""
    body = {
        "system_instruction": {"parts": {"text": "s"}},
        "contents": [
            {
                "parts": [
                    {"inline_data": {"mime_type": "image/png", "data": "_-8="}},
                    {"text": "t", "thought_signature": "c2ln"},
                ]
            },
            {"role": "model", "parts": [{"function_call": {"id": "1", "name": "f", "args": {"snake_key": 1}}}]},
            {"role": "function", "parts": [{"functionResponse": {"name": "f", "response": {"result": 7}}}]},
        ],
        "generation_config": {
            "max_output_tokens": 5,
            "thinking_config": {"thinking_budget": -1, "includeThoughts": True},
            "top_k": 40.0,
        },
        "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": SCHEMA}]}, {"google_search": {}}],
        "tool_config": {"function_calling_config": {"mode": 2, "allowed_function_names": ["f"]}},
        "safety_settings": [{"category": 7, "threshold": 3}],
    }
    request = laws.request_returns(CODEC, body, Asked("/v1/models/gemini-2.5-flash:generateContent"))
    image = request.messages[1].blocks[0]
    assert isinstance(image, Media)
    assert image.source.value == "/+8="
    assert request.max_tokens == 5
    assert request.reasoning == Reasoning(
        enabled=True, adaptive=True, shown="summary", own=Own("gemini", marks=frozenset({"thinking_budget"}))
    )
    assert request.tool_choice is not None
    assert (request.tool_choice.mode, request.tool_choice.names) == ("any", ("f",))
    assert [tool.kind for tool in request.tools] == ["function", "server"]


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        ("/v1beta/models/gemini-2.5-flash:generateContent", "gemini-2.5-flash", False),
        (
            "/v1/projects/p/locations/l/publishers/google/models/gemini-3-pro:streamGenerateContent",
            "gemini-3-pro",
            True,
        ),
        ("/v1beta/tunedModels/mine:generateContent", "tunedModels/mine", False),
        ("/v1/models/a%20b:generateContent", "a b", False),
    ],
)
def test_the_path_says_model_and_streaming(path: str, model: str, stream: bool) -> None:
    """Model and streaming are in the path, and are put there again."""
    request = CODEC.read_request({"contents": []}, Asked(path))
    assert (request.model, request.stream) == (model, stream)


@pytest.mark.parametrize(
    "model", ["../../v1/files", "a?key=x", "a#b", "models/../x", "publishers/../../x", "tunedModels/a?b"]
)
def test_a_model_leads_nowhere_else(model: str) -> None:
    """Whatever a model is called, the path stays below the models."""
    path = CODEC.write_request(ask(), Target(model), Losses()).path
    assert path.startswith(("/v1beta/models/", "/v1beta/tunedModels/"))
    assert not {"?", "#"} & set(path)
    assert "/../" not in path


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ([], ""),
        ({}, "contents"),
        ({"contents": "hi"}, "contents"),
        ({"contents": [1]}, "contents[0]"),
        ({"contents": [{"parts": [1]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"functionCall": {}}]}]}, "contents[0].parts[0].functionCall.name"),
        ({"contents": [], "tools": [1]}, "tools[0]"),
        ({"contents": [], "tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
    ],
)
def test_what_cannot_be_read(body: Any, path: str) -> None:
    """A body that the format would not take names the place."""
    laws.refuses(CODEC, body, path)
