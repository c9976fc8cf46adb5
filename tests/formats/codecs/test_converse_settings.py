"""Settings of other formats written for Bedrock: limits, sampling, thinking, the form of the answer."""

from __future__ import annotations

from typing import Any

import pytest
from tests.formats.codecs import laws
from tests.formats.codecs.converse_made import CLAUDE, CODEC, TOOLS, user, written

from interpose.formats.capabilities import Capabilities, capabilities_of
from interpose.formats.codecs import CODECS, Asked, Target
from interpose.ir import Losses, Output, Reasoning, Sampling, ToolChoice

NOVA, NOVA_2, LLAMA = (
    "us.amazon.nova-pro-v1:0",
    "us.amazon.nova-2-lite-v1:0",
    "us.meta.llama4-maverick-17b-instruct-v1:0",
)
GPT, QWEN = "openai.gpt-oss-120b-1:0", "qwen.qwen3-32b-v1:0"
MORE = "additionalModelRequestFields"


def asked(model: str = CLAUDE, **more: Any) -> tuple[Any, list[tuple[str, str]]]:
    """What is written beside the messages, and the losses."""
    body, losses = written(user(), model=model, **more)
    del body["messages"]
    return body, losses


def test_a_limit_is_not_demanded() -> None:
    """Pitfall 18: Bedrock has a default; what is more than the model writes is cut down, told."""
    assert asked() == ({}, [])
    assert asked(max_tokens=5) == ({"inferenceConfig": {"maxTokens": 5}}, [])
    most = Capabilities(max_output=100)
    assert asked(max_tokens=500, capabilities=most) == (
        {"inferenceConfig": {"maxTokens": 100}},
        [("approximated", "max_tokens")],
    )


@pytest.mark.parametrize(
    ("sampling", "model", "config", "losses"),
    [
        (Sampling(temperature=1.7), NOVA, {"temperature": 1}, [("approximated", "temperature")]),
        (Sampling(temperature=0.2, top_p=0.9), NOVA, {"temperature": 0.2, "topP": 0.9}, []),
        (Sampling(temperature=0.2, top_p=0.9), CLAUDE, {"temperature": 0.2}, [("dropped", "top_p")]),
        (Sampling(temperature=0.2, top_p=1), CLAUDE, {"temperature": 0.2}, []),
        (Sampling(top_p=0.9), CLAUDE, {"topP": 0.9}, []),
        (
            Sampling(seed=1, frequency_penalty=0.1, presence_penalty=0.1, logit_bias={"1": 1}, logprobs=True),
            CLAUDE,
            None,
            [("dropped", name) for name in ("seed", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs")],
        ),
        (Sampling(frequency_penalty=0, logprobs=False), CLAUDE, None, []),
    ],
)
def test_sampling(sampling: Sampling, model: str, config: Any, losses: Any) -> None:
    """Pitfalls 18 and 19: ends at 1; Claude takes one of temperature and top_p; the rest is told."""
    body, told = asked(model, sampling=sampling)
    assert body.get("inferenceConfig") == config
    assert told == losses


@pytest.mark.parametrize(
    ("model", "more"),
    [
        (CLAUDE, {"top_k": 5}),
        (NOVA, {"inferenceConfig": {"topK": 5}}),
        (NOVA_2, {"inferenceConfig": {"topK": 5}}),
        (LLAMA, None),
    ],
)
def test_top_k_has_a_word_of_each_family(model: str, more: Any) -> None:
    """Pitfall 19: it stands among the model's own fields; where no word is known it is dropped, told."""
    body, losses = asked(model, sampling=Sampling(top_k=5))
    assert body.get(MORE) == more
    assert losses == ([] if more else [("dropped", "top_k")])


def test_a_model_that_refuses_sampling() -> None:
    """Pitfall 18: nothing of it is sent, and each is told."""
    body, losses = asked(sampling=Sampling(0.5, 0.5, 5), capabilities=Capabilities(sampling=False))
    assert body == {}
    assert losses == [("dropped", "temperature"), ("dropped", "top_p"), ("dropped", "top_k")]


def test_stop_sequences() -> None:
    """None is empty, and Claude's are not of white space alone."""
    assert asked(stop=["END", ""], model=NOVA)[0] == {"inferenceConfig": {"stopSequences": ["END"]}}
    body, losses = asked(stop=["END", "\n"])
    assert body == {"inferenceConfig": {"stopSequences": ["END"]}}
    assert losses == [("dropped", "stop")]


def test_what_bedrock_has_no_place_for() -> None:
    """Pitfall 19: several answers are impossible; the end user and an unknown tier are dropped."""
    assert asked(answers=2)[1] == [("impossible", "n")]
    assert asked(answers=1)[1] == []
    assert asked(user="u-1")[1] == [("dropped", "user")]
    assert asked(service_tier="scale")[1] == [("dropped", "service_tier")]
    assert asked(service_tier="auto") == ({}, [])
    assert asked(service_tier="priority") == ({"serviceTier": {"type": "priority"}}, [])


def test_metadata() -> None:
    """Up to sixteen short plain texts, for the invocation log; what is none of these is dropped, told."""
    assert asked(metadata={"a": "b c", "d": ""}) == ({"requestMetadata": {"a": "b c", "d": ""}}, [])
    assert asked(metadata={"a": "b", "c": 1}) == ({"requestMetadata": {"a": "b"}}, [("dropped", "metadata")])
    assert asked(metadata={"ä": "b"}) == ({}, [("dropped", "metadata")])
    assert asked(metadata={str(n): "" for n in range(17)}) == ({}, [("dropped", "metadata")])
    assert asked(metadata={}) == ({}, [])


ADAPTIVE, EFFORT = Capabilities(thinking="adaptive"), Capabilities(thinking="effort")


@pytest.mark.parametrize(
    ("reasoning", "capabilities", "body", "severities"),
    [
        (Reasoning(budget=2000), Capabilities(), {MORE: {"thinking": {"type": "enabled", "budget_tokens": 2000}}}, []),
        (
            Reasoning(effort="low"),
            Capabilities(),
            {MORE: {"thinking": {"type": "enabled", "budget_tokens": 4096}}},
            ["approximated"],
        ),
        (
            Reasoning(budget=100),
            Capabilities(),
            {MORE: {"thinking": {"type": "enabled", "budget_tokens": 1024}}},
            ["approximated"],
        ),
        (Reasoning(enabled=False), Capabilities(), {}, []),
        (
            Reasoning(effort="high", shown="detailed"),
            ADAPTIVE,
            {
                MORE: {"thinking": {"type": "adaptive", "display": "summarized"}},
                "outputConfig": {"effort": "high"},
            },
            [],
        ),
        (Reasoning(enabled=True), ADAPTIVE, {MORE: {"thinking": {"type": "adaptive"}}}, []),
        (Reasoning(effort="none"), ADAPTIVE, {MORE: {"thinking": {"type": "disabled"}}}, []),
        (Reasoning(budget=5000), EFFORT, {"outputConfig": {"effort": "medium"}}, ["approximated"]),
        (Reasoning(effort="minimal"), EFFORT, {"outputConfig": {"effort": "low"}}, ["approximated"]),
        (Reasoning(enabled=False), EFFORT, {"outputConfig": {"effort": "low"}}, ["approximated"]),
        (Reasoning(effort="high"), Capabilities(thinking="none"), {}, ["dropped"]),
        (Reasoning(effort="none"), Capabilities(thinking="none"), {}, []),
    ],
)
def test_thinking_of_claude(reasoning: Reasoning, capabilities: Capabilities, body: Any, severities: Any) -> None:
    """Pitfall 17: by a budget, adaptively or by effort, as the model has it; what becomes another thing is told."""
    found, losses = asked(reasoning=reasoning, capabilities=capabilities)
    assert found == body
    assert losses == [(severity, "reasoning") for severity in severities]


@pytest.mark.parametrize(
    ("model", "reasoning", "more", "severities"),
    [
        (GPT, Reasoning(effort="high"), {"reasoning_effort": "high"}, []),
        (GPT, Reasoning(effort="xhigh"), {"reasoning_effort": "high"}, ["approximated"]),
        (GPT, Reasoning(enabled=False), {"reasoning_effort": "low"}, ["approximated"]),
        (QWEN, Reasoning(effort="low"), {"reasoning_config": "low"}, []),
        (NOVA_2, Reasoning(effort="low"), {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}, []),
        (
            NOVA_2,
            Reasoning(budget=30_000),
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}},
            ["approximated"],
        ),
        (NOVA_2, Reasoning(enabled=False), None, []),
        ("moonshot.kimi-k2-thinking", Reasoning(effort="low"), None, ["dropped"]),
    ],
)
def test_thinking_of_other_families(model: str, reasoning: Reasoning, more: Any, severities: Any) -> None:
    """Pitfall 17: each has a word of its own among the model's fields; where none is known, it is told."""
    found, losses = asked(model, reasoning=reasoning)
    assert found.get(MORE) == more
    assert losses == [(severity, "reasoning") for severity in severities]


def test_thinking_fits_into_the_limit() -> None:
    """Pitfall 17: half of the limit is left for the answer; where there is no room, nothing is thought, told."""
    body, _ = asked(reasoning=Reasoning(effort="high"), max_tokens=8000)
    assert body[MORE]["thinking"]["budget_tokens"] == 4000
    body, losses = asked(reasoning=Reasoning(budget=9000), max_tokens=8000)
    assert body[MORE]["thinking"]["budget_tokens"] == 4000
    assert losses == [("approximated", "reasoning")]
    body, losses = asked(reasoning=Reasoning(budget=2000), max_tokens=1000)
    assert MORE not in body
    assert losses == [("dropped", "reasoning")]


def test_a_forced_tool_goes_before_thinking() -> None:
    """Pitfall 5: Claude refuses both."""
    body, losses = asked(reasoning=Reasoning(budget=2000), tools=TOOLS, tool_choice=ToolChoice("any"))
    assert MORE not in body
    assert losses == [("dropped", "reasoning")]


def test_thinking_leaves_no_choice_of_sampling() -> None:
    """Claude refuses a temperature, top_p and top_k while it thinks."""
    body, losses = asked(reasoning=Reasoning(budget=2000), sampling=Sampling(0.5, None, 5))
    assert body == {MORE: {"thinking": {"type": "enabled", "budget_tokens": 2000}}}
    assert losses == [("dropped", "temperature"), ("dropped", "top_k")]


def test_the_form_of_the_answer() -> None:
    """Pitfall 20: a schema is the text of one; what Claude does not enforce is told; JSON without a schema is none."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    body, losses = asked(output=Output("schema", schema, "number", "A number", strict=True))
    told = body["outputConfig"]["textFormat"]
    assert told == {
        "type": "json_schema",
        "structure": {
            "jsonSchema": {
                "schema": '{"type":"object","properties":{"n":{"type":"integer"}},"additionalProperties":false}',
                "name": "number",
                "description": "A number",
            }
        },
    }
    assert losses == []
    loose = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
    assert {path for _, path in asked(output=Output("schema", loose))[1]} == {"response_format.schema"}
    assert asked(output=Output("json")) == ({}, [("approximated", "response_format")])
    assert asked(output=Output("text")) == ({}, [])


@pytest.mark.parametrize(
    "fields",
    [
        {MORE: {"thinking": {"type": "enabled", "budget_tokens": 1024}, "top_k": 3}},
        {MORE: {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "max"}}},
        {MORE: {"thinking": {"type": "disabled"}}, "outputConfig": {"effort": "low"}},
        {MORE: {"reasoning_config": {"type": "enabled", "budget_tokens": 1024}}},
        {MORE: {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low", "new": 1}}},
        {MORE: {"reasoning_config": "high", "inferenceConfig": {"topK": 1}}},
        {MORE: {"reasoning_effort": "low"}},
        {MORE: {"reasoning_effort": "low", "output_config": {"effort": "high", "format": {}}}},
        {MORE: {"top_k": 1, "inferenceConfig": {"topK": 2}, "anthropic_beta": ["a"]}},
        {MORE: {"thinking": {"type": "sometimes"}}, "outputConfig": {"effort": 3}},
        {MORE: {}, "outputConfig": {}, "inferenceConfig": {"stopSequences": []}, "toolConfig": {}},
        {"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": '{ "a":1}'}}}}},
        {"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "[]"}}}}},
        {"requestMetadata": {"a": "b"}, "serviceTier": {"type": "flex"}, "performanceConfig": {"latency": "optimized"}},
        {"requestMetadata": {}, "serviceTier": {"type": 1}, "projectIdentifier": "p"},
        {"toolConfig": {"tools": [{"systemTool": {"name": "nova_grounding"}}], "toolChoice": {"tool": {"name": "a"}}}},
        {"toolConfig": {"tools": [*[{"cachePoint": {"type": "default"}}] * 3, {"toolSpec": {"name": "a"}}]}},
        {"toolConfig": {"tools": [{"toolSpec": {"name": "a", "inputSchema": {}}}], "toolChoice": {"auto": {"x": 1}}}},
    ],
)
def test_settings_are_written_back_equal(fields: Any) -> None:
    """A -> neutral -> A of what the recordings lack."""
    body = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}], **fields}
    laws.request_returns(CODEC, body, Asked("/model/m/converse"))


def test_settings_are_understood() -> None:
    """What has a neutral place reaches another format: Claude's thinking, top_k, the schema, the limits."""
    body = {
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "inferenceConfig": {"maxTokens": 5000, "stopSequences": ["END"]},
        MORE: {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        "outputConfig": {
            "textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": '{"type":"object"}'}}}
        },
        "toolConfig": {"tools": [{"toolSpec": {"name": "a", "inputSchema": {"json": {"type": "object"}}}}]},
    }
    request = CODEC.read_request(body, Asked("/model/m/converse-stream"))
    losses = Losses()
    name = "claude-sonnet-4-5"
    sent = CODECS["anthropic"].write_request(request, Target(name, capabilities_of(name)), losses).body
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 1024}
    assert (sent["max_tokens"], sent["stop_sequences"], sent["stream"]) == (5000, ["END"], True)
    assert sent["output_config"]["format"]["type"] == "json_schema"
    assert sent["tools"] == [{"name": "a", "input_schema": {"type": "object"}}]
    assert {loss.path for loss in losses} == {"response_format.schema"}
