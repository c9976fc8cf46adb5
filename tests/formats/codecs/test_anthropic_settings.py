"""Settings, tools and envelopes of requests written for Claude: what is written, what is told."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.formats.codecs import laws
from tests.formats.codecs.anthropic_made import CODEC, TOOLS, call, result, says, user, written

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs import CODECS, Asked, Target
from interpose.ir import (
    Losses,
    Output,
    Own,
    Reasoning,
    Request,
    Sampling,
    Text,
    Tool,
    ToolChoice,
)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice("any"), {"type": "any"}),
        (ToolChoice("auto"), {"type": "auto"}),
        (ToolChoice("none"), {"type": "none"}),
        (ToolChoice("none", parallel=False), {"type": "none"}),
        (ToolChoice("any", ("look",)), {"type": "tool", "name": "look"}),
        (ToolChoice("any", parallel=False), {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice(parallel=False), {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("auto", parallel=True), {"type": "auto"}),
    ],
)
def test_every_choice_of_tools_has_its_words(choice: ToolChoice, expected: Any) -> None:
    """Pitfall 5: required is any, a name is tool, and parallel calls are switched off beside any of them."""
    body, losses = written(user(), tools=TOOLS, tool_choice=choice)
    assert body["tool_choice"] == expected
    assert losses == []


def test_several_allowed_tools_leave_the_others_out() -> None:
    """Pitfall 5: Claude has no list of allowed tools, so the others are not shown; told."""
    tools = [*TOOLS, Tool("other", at="tools[1]"), Tool("third", at="tools[2]")]
    body, losses = written(user(), tools=tools, tool_choice=ToolChoice("any", ("look", "third")))
    assert [tool["name"] for tool in body["tools"]] == ["look", "third"]
    assert body["tool_choice"] == {"type": "any"}
    assert losses == [("approximated", "tools[1]")]


def test_a_choice_without_tools_is_left_out() -> None:
    """Claude refuses a choice where nothing is to choose from; to force a call that cannot be is told."""
    assert written(user(), tool_choice=ToolChoice("auto")) == (written(user())[0], [])
    body, losses = written(user(), tool_choice=ToolChoice("any"))
    assert "tool_choice" not in body
    assert losses == [("dropped", "tool_choice")]


@pytest.mark.parametrize("style", ["budget", "adaptive"])
def test_a_forced_tool_goes_before_thinking(style: Any) -> None:
    """Pitfall 5: Claude refuses both together; the call is kept, and that it does not think is told."""
    body, losses = written(
        user(),
        tools=TOOLS,
        tool_choice=ToolChoice("any"),
        reasoning=Reasoning(effort="high"),
        max_tokens=9000,
        capabilities=Capabilities(thinking=style),
    )
    assert body["tool_choice"] == {"type": "any"}
    assert "thinking" not in body
    assert losses == [("dropped", "reasoning")]


def test_a_custom_tool_is_a_function_with_one_argument() -> None:
    """Pitfall 8: declared, called and answered alike; the lost grammar is told."""
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: A"}
    tool = Tool("sql", "Runs SQL", kind="custom", grammar=grammar, at="tools[0]")
    body, losses = written(
        user(),
        says("assistant", call("c", "sql", "SELECT 1", kind="custom")),
        says("tool", result("c", kind="custom")),
        tools=[tool],
    )
    assert body["tools"][0]["input_schema"]["required"] == ["input"]
    assert body["messages"][1]["content"][0]["input"] == {"input": "SELECT 1"}
    assert losses == [("approximated", "tools[0]"), ("dropped", "tools[0].format")]


def test_tools_of_another_provider_are_left_out_and_names_are_held_to_the_rule() -> None:
    """A server's tool of another's is dropped; a name that Claude refuses is impossible, for it would not come back."""
    tools = [
        Tool("search", kind="server", at="tools[0]", own=Own("openai-responses", {"type": "web_search"})),
        Tool("a.b:c", at="tools[1]"),
    ]
    body, losses = written(user(), tools=tools)
    assert losses == [("dropped", "tools[0]"), ("impossible", "tools[1].name")]
    assert [tool["name"] for tool in body["tools"]] == ["a.b:c"]


@pytest.mark.parametrize(
    ("style", "reasoning", "thinking", "effort", "told"),
    [
        ("budget", Reasoning(effort="low"), {"type": "enabled", "budget_tokens": 4096}, None, True),
        ("budget", Reasoning(effort="max"), {"type": "enabled", "budget_tokens": 10_000}, None, True),
        ("budget", Reasoning(budget=2000), {"type": "enabled", "budget_tokens": 2000}, None, False),
        ("budget", Reasoning(budget=10), {"type": "enabled", "budget_tokens": 1024}, None, True),
        ("budget", Reasoning(budget=90_000), {"type": "enabled", "budget_tokens": 10_000}, None, True),
        ("budget", Reasoning(effort="none"), None, None, False),
        ("budget", Reasoning(budget=0), None, None, False),
        ("adaptive", Reasoning(effort="xhigh"), {"type": "adaptive"}, "xhigh", False),
        ("adaptive", Reasoning(effort="minimal"), {"type": "adaptive"}, "low", True),
        ("adaptive", Reasoning(budget=9000), {"type": "adaptive"}, "medium", True),
        (
            "adaptive",
            Reasoning(adaptive=True, shown="auto"),
            {"type": "adaptive", "display": "summarized"},
            None,
            False,
        ),
        ("adaptive", Reasoning(enabled=False), {"type": "disabled"}, None, False),
        ("effort", Reasoning(effort="high"), None, "high", False),
        ("effort", Reasoning(effort="none"), None, "low", True),
        ("effort", Reasoning(effort="odd"), None, None, True),
        ("none", Reasoning(effort="high"), None, None, True),
        ("none", Reasoning(effort="none"), None, None, False),
    ],
)
def test_thinking_is_asked_for_as_the_model_takes_it(
    style: Any, reasoning: Reasoning, thinking: Any, effort: str | None, told: bool
) -> None:
    """Pitfall 17: an effort, a budget or adaptive, each from each; a budget leaves half of the limit for the answer."""
    body, losses = written(user(), max_tokens=20_000, reasoning=reasoning, capabilities=Capabilities(thinking=style))
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert bool(losses) is told


def test_thinking_without_room_is_dropped() -> None:
    """A budget has 1024 tokens at least, and lies below max_tokens."""
    body, losses = written(user(), max_tokens=1024, reasoning=Reasoning(effort="low"))
    assert "thinking" not in body
    assert losses == [("dropped", "reasoning")]


def test_a_missing_limit_is_synthesised() -> None:
    """Pitfall 18: the model's most, told; 4096 where that is not known; more than the model writes is cut down."""
    body, losses = written(user(), max_tokens=None, capabilities=Capabilities(max_output=64_000))
    assert (body["max_tokens"], losses) == (64_000, [("synthesised", "max_tokens")])
    assert written(user(), max_tokens=None)[0]["max_tokens"] == 4096
    body, losses = written(user(), max_tokens=9999, capabilities=Capabilities(max_output=8192))
    assert (body["max_tokens"], losses) == (8192, [("approximated", "max_tokens")])


def test_sampling_is_held_to_what_claude_takes() -> None:
    """Pitfall 18: the temperature ends at 1, top_p does not stand beside it, and a refusing model gets neither."""
    body, losses = written(user(), sampling=Sampling(temperature=1.6, top_p=0.9))
    assert (body["temperature"], "top_p" in body) == (1.0, False)
    assert losses == [("approximated", "temperature"), ("dropped", "top_p")]
    assert written(user(), sampling=Sampling(temperature=1, top_p=1))[1] == []
    assert written(user(), sampling=Sampling(top_p=0.5))[0]["top_p"] == 0.5
    body, losses = written(user(), sampling=Sampling(temperature=0.1), capabilities=Capabilities(sampling=False))
    assert losses == [("dropped", "temperature")]
    body, losses = written(
        user(), sampling=Sampling(temperature=0.1), reasoning=Reasoning(budget=2000), max_tokens=4000
    )
    assert "temperature" not in body


def test_what_claude_has_no_word_for_is_told() -> None:
    """Pitfall 19: several answers are impossible; logprobs, seed, bias, penalties and metadata are dropped."""
    sampling = Sampling(
        seed=1, frequency_penalty=0.1, presence_penalty=0.1, logit_bias={"1": 1}, logprobs=True, top_logprobs=2
    )
    _, losses = written(
        says("user", Text("Hi"), name="Ann", at="messages[0]"),
        sampling=sampling,
        answers=2,
        metadata={"a": "b"},
        service_tier="flex",
        stop=["  "],
        own=Own("another", {"odd": 1, "nothing": None}),
    )
    assert ("impossible", "n") in losses
    dropped = {path for severity, path in losses if severity == "dropped"}
    assert dropped == {
        "messages[0].name",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "metadata",
        "service_tier",
        "stop",
        "odd",
    }


def test_a_schema_is_the_output_format() -> None:
    """Pitfall 20: json_schema is output_config.format; JSON without a schema is left to the prompt, told."""
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    body, losses = written(user(), output=Output("schema", schema, "answer", strict=True))
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    assert losses == []
    body, losses = written(user(), output=Output("json"))
    assert "output_config" not in body
    assert losses == [("approximated", "response_format")]
    body, _ = written(
        user(),
        output=Output("schema", schema),
        reasoning=Reasoning(effort="low"),
        capabilities=Capabilities(thinking="effort"),
    )
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": schema}}


def test_a_schema_is_fitted_to_what_claude_enforces() -> None:
    """Pitfall 10: closed objects, anyOf, limits in words, through every part of a schema; a strict tool's alike."""
    schema = {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "minimum": 0, "description": "In years"},
            "pets": {"type": "array", "items": {"$ref": "#/$defs/pet"}, "minItems": 2},
            "at": {"oneOf": [{"type": "string", "maxLength": 5}, {"type": "null"}]},
        },
        "$defs": {"pet": {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}}},
    }
    fitted = {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "description": "In years\n\n{minimum: 0}"},
            "pets": {"type": "array", "items": {"$ref": "#/$defs/pet"}, "description": "{minItems: 2}"},
            "at": {"anyOf": [{"type": "string", "description": "{maxLength: 5}"}, {"type": "null"}]},
        },
        "$defs": {"pet": {"type": "object", "properties": {}, "additionalProperties": False}},
        "additionalProperties": False,
    }
    body, losses = written(user(), output=Output("schema", schema))
    assert body["output_config"]["format"]["schema"] == fitted
    assert losses == [("approximated", "response_format.schema")] * 3
    body, losses = written(user(), tools=[Tool("look", None, schema, strict=True, at="t")])
    assert body["tools"][0]["input_schema"] == fitted
    assert losses == [("approximated", "t.parameters")] * 3
    loose, losses = written(user(), tools=[Tool("look", None, schema, at="t"), Tool("find", None, {}, strict=False)])
    assert [tool["input_schema"] for tool in loose["tools"]] == [schema, {"type": "object", "properties": {}}]
    assert losses == []


def test_a_schema_nested_without_end_is_no_danger() -> None:
    """What lies deeper than Claude compiles is left as it is."""
    deep: Any = {"type": "string"}
    for _ in range(50_000):
        deep = {"type": "array", "items": deep}
    request = Request("another", "m", [user()], output=Output("schema", deep), max_tokens=1)
    assert CODEC.write_request(request, Target("m"), Losses()).body["output_config"]


def test_what_a_provider_alone_keeps_is_impossible() -> None:
    """Pitfall 21: a previous response is not there for Claude."""
    own = Own("openai-responses", {"previous_response_id": "r"}, vital=frozenset(("previous_response_id",)))
    assert written(user(), own=own)[1] == [("impossible", "previous_response_id")]


def test_the_version_of_2026_refuses_what_it_refuses() -> None:
    """2026-10-21 is a dialect: no sampling, no documents in the assistant's messages, no citations in a user's text."""
    body = {
        "model": "m",
        "max_tokens": 1,
        "temperature": 1.0,
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a", "citations": [{"type": "char_location"}]}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "b", "citations": [{"type": "char_location"}]},
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
                ],
            },
        ],
    }
    laws.request_returns(CODEC, body, Asked("/v1/messages", headers={"anthropic-version": "2023-06-01"}))
    request = CODEC.read_request(copy.deepcopy(body), Asked("/v1/messages"))
    losses = Losses()
    sent = CODEC.write_request(request, Target("m", version="2026-10-21"), losses)
    assert sent.headers == {"anthropic-version": "2026-10-21"}
    assert [loss.path for loss in losses] == [
        "messages[0].content[0].citations",
        "messages[1].content[1]",
        "temperature",
    ]
    assert "temperature" not in sent.body
    assert [block["type"] for block in sent.body["messages"][1]["content"]] == ["text"]
    assert "citations" in sent.body["messages"][1]["content"][0]


def test_a_clients_version_and_features_go_along() -> None:
    """The version and the beta features are headers for Anthropic and Vertex, the features a field for Bedrock."""
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"anthropic-version": "2026-10-21", "anthropic-beta": "a-1, b-2"}
    request = CODEC.read_request(copy.deepcopy(body), Asked("/v1/messages", headers=headers))
    sent = CODEC.write_request(request, Target("m"), Losses())
    assert sent.headers == {"anthropic-version": "2026-10-21", "anthropic-beta": "a-1,b-2"}
    assert sent.body == body
    request.own = Own("anthropic", silent={"anthropic_beta": ["a-1", "b-2"]})
    bedrock = CODECS["bedrock-anthropic"].write_request(request, Target("us.anthropic.m-v1:0"), Losses())
    assert bedrock.headers == {}
    assert bedrock.path == "/model/us.anthropic.m-v1:0/invoke"
    assert bedrock.body == {
        "anthropic_version": "bedrock-2023-05-31",
        "anthropic_beta": ["a-1", "b-2"],
        "max_tokens": 1,
        "messages": body["messages"],
    }


def test_the_envelopes_name_the_model_where_they_do() -> None:
    """Bedrock and Vertex have model and stream in the URL; an inference profile's slashes are escaped."""
    asked = {"max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}
    arn = "arn:aws:bedrock:us-east-1:1:inference-profile/p"
    path = f"/model/{arn.replace('/', '%2F')}/invoke-with-response-stream"
    bedrock, vertex = CODECS["bedrock-anthropic"], CODECS["vertex-anthropic"]
    request = bedrock.read_request({"anthropic_version": "bedrock-2023-05-31", **copy.deepcopy(asked)}, Asked(path))
    assert (request.model, request.stream) == (arn, True)
    assert bedrock.write_request(request, Target(arn), Losses()).path == path
    path = "/publishers/anthropic/models/claude@20250219:streamRawPredict"
    sent = vertex.write_request(request, Target("claude@20250219"), Losses())
    assert sent.path == path
    assert sent.body["stream"] is True
    assert sent.body["anthropic_version"] == "vertex-2023-10-16"
    again = vertex.read_request(sent.body, Asked(f"/v1/projects/p/locations/l{path}"))
    assert (again.model, again.stream) == ("claude@20250219", True)
    silent = vertex.read_request({**copy.deepcopy(asked), "anthropic_version": "vertex-2023-10-16"}, Asked(path))
    assert "stream" not in vertex.write_request(silent, Target("claude@20250219"), Losses()).body
    assert CODEC.write_request(silent, Target("claude"), Losses()).body["stream"] is True
    count = CODEC.read_request({"model": "m", **copy.deepcopy(asked)}, Asked("/v1/messages/count_tokens"))
    assert vertex.write_request(count, Target("m"), Losses()).path.endswith("/count-tokens:rawPredict")
