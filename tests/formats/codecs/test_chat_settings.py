"""Reasoning, tools and settings of other formats' requests as Chat has them, and what is told where it has not."""

from __future__ import annotations

from typing import Any

import pytest
from tests.formats.codecs import laws

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs import Asked, Target
from interpose.formats.codecs.chat import CODEC
from interpose.ir import (
    Block,
    CacheMark,
    Losses,
    Message,
    Opaque,
    Output,
    Own,
    Reasoning,
    Request,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolChoice,
)

SEEN = Capabilities(media=frozenset(("image", "document", "audio")), thinking="effort")


def asked(*messages: Message, **settings: Any) -> Request:
    return Request("anthropic", "claude", list(messages), **settings)


def user(*blocks: Block) -> Message:
    return Message("user", list(blocks), at="messages[0]")


def assistant(*blocks: Block) -> Message:
    return Message("assistant", list(blocks), at="messages[1]")


def write(request: Request, capabilities: Capabilities = SEEN) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The body, and the losses as (severity, path)."""
    losses = Losses()
    body = CODEC.write_request(request, Target("gpt", capabilities), losses).body
    return body, [(str(loss.severity), loss.path) for loss in losses]


def messages(*given: Message, capabilities: Capabilities = SEEN) -> Any:
    return write(asked(*given), capabilities)[0]["messages"]


# Reasoning


def test_another_formats_thinking_is_not_shown_to_chat() -> None:
    """Pitfall 15: opaque state goes to its origin alone; OpenAI's Chat takes no reasoning in plain words either."""
    signed = Thinking("Hm.", opaque=Opaque("anthropic", "signature", "sig"), at="s")
    body, losses = write(asked(assistant(signed, Thinking("Plain.", at="p"), Text("Yes."))))
    assert body["messages"] == [{"role": "assistant", "content": "Yes."}]
    assert losses == [("dropped", "s"), ("dropped", "p")]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_goes_back_to_the_server_that_showed_it(field: str) -> None:
    """Pitfall 17: DeepSeek wants reasoning_content echoed; through a client of another format it finds its field."""
    reply = CODEC.read_reply(
        {"choices": [{"index": 0, "message": {field: "Hm.", "content": "Yes."}, "finish_reason": "stop"}]}
    )
    thinking, text = reply.answers[0].blocks
    body, losses = write(asked(user(Text("?")), assistant(thinking, text)))
    assert body["messages"][1] == {"role": "assistant", "content": "Yes.", field: "Hm."}
    assert losses == []


def test_openrouters_details_go_back_whole() -> None:
    """Pitfall 15: signatures and encrypted state come back in reasoning_details as they were."""
    details = [
        {"type": "reasoning.text", "text": "Hm.", "signature": "sig", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "gAAAA", "id": "rs_1", "format": "openai-responses-v1", "index": 1},
    ]
    message = {"content": "Yes.", "reasoning": "Hm.", "reasoning_details": laws.copy.deepcopy(details)}
    reply = CODEC.read_reply({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    blocks = reply.answers[0].blocks
    assert [type(block) for block in blocks] == [Thinking, Thinking, Text]
    found = messages(assistant(*blocks))
    assert found == [{"role": "assistant", "content": "Yes.", "reasoning_details": details}]


REASONING: list[tuple[Reasoning, dict[str, Any], list[tuple[str, str]]]] = [
    (Reasoning(effort="high"), {"reasoning_effort": "high"}, []),
    (Reasoning(enabled=False), {"reasoning_effort": "none"}, []),
    (Reasoning(budget=1024), {"reasoning_effort": "minimal"}, [("approximated", "reasoning.budget")]),
    (Reasoning(budget=8000), {"reasoning_effort": "medium"}, [("approximated", "reasoning.budget")]),
    (Reasoning(budget=64000), {"reasoning_effort": "high"}, [("approximated", "reasoning.budget")]),
    (Reasoning(effort="low", budget=64000), {"reasoning_effort": "low"}, [("dropped", "reasoning.budget")]),
    (Reasoning(adaptive=True), {}, [("approximated", "reasoning.adaptive")]),
    (Reasoning(effort="low", shown="summary"), {"reasoning_effort": "low"}, [("dropped", "reasoning.shown")]),
]


@pytest.mark.parametrize(("reasoning", "expected", "told"), REASONING)
def test_how_much_is_thought(reasoning: Reasoning, expected: dict[str, Any], told: list[tuple[str, str]]) -> None:
    """Pitfall 17: an effort is kept, a budget is put into one of Chat's efforts and told."""
    body, losses = write(asked(user(Text("?")), reasoning=reasoning))
    assert {key: value for key, value in body.items() if key == "reasoning_effort"} == expected
    assert losses == told


def test_a_model_that_does_not_think_is_not_asked_to() -> None:
    """An effort would be a 400 for it."""
    body, losses = write(asked(user(Text("?")), reasoning=Reasoning(effort="high")), Capabilities(thinking="none"))
    assert "reasoning_effort" not in body
    assert losses == [("dropped", "reasoning")]


# Tools and choices


def test_tools_are_described() -> None:
    """Pitfalls 7 and 8: strict is as the client said, a grammar stays with its tool, a provider's tool is told."""
    schema = {"type": "object", "properties": {}}
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}
    request = asked(
        user(Text("?")),
        tools=[
            Tool("one", "First.", schema, at="tools[0]"),
            Tool("two", parameters=schema, strict=True, at="tools[1]"),
            Tool("free", "Free text.", kind="custom", grammar=grammar, at="tools[2]"),
            Tool("web_search", kind="server", at="tools[3]", own=Own("anthropic", {"type": "web_search_20250305"})),
        ],
    )
    body, losses = write(request)
    inner = {"syntax": "lark", "definition": "start: /x/"}
    assert body["tools"] == [
        {"type": "function", "function": {"name": "one", "description": "First.", "parameters": schema}},
        {"type": "function", "function": {"name": "two", "parameters": schema, "strict": True}},
        {
            "type": "custom",
            "custom": {
                "name": "free",
                "description": "Free text.",
                "format": {"type": "grammar", "grammar": inner},
            },
        },
    ]
    assert losses == [("dropped", "tools[3]")]


CHOICES: list[tuple[ToolChoice, dict[str, Any]]] = [
    (ToolChoice("auto"), {"tool_choice": "auto"}),
    (ToolChoice("none"), {"tool_choice": "none"}),
    (ToolChoice("any"), {"tool_choice": "required"}),
    (ToolChoice("any", ("one",)), {"tool_choice": {"type": "function", "function": {"name": "one"}}}),
    (ToolChoice("any", ("free",)), {"tool_choice": {"type": "custom", "custom": {"name": "free"}}}),
    (ToolChoice(parallel=False), {"parallel_tool_calls": False}),
    (ToolChoice("any", parallel=False), {"tool_choice": "required", "parallel_tool_calls": False}),
    (
        ToolChoice("any", ("one", "free")),
        {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [
                        {"type": "function", "function": {"name": "one"}},
                        {"type": "custom", "custom": {"name": "free"}},
                    ],
                },
            }
        },
    ),
]


@pytest.mark.parametrize(("choice", "expected"), CHOICES)
def test_which_tools_may_be_called(choice: ToolChoice, expected: dict[str, Any]) -> None:
    """Pitfall 5: written, and read back as the same choice."""
    tools = [Tool("one", parameters={}), Tool("free", kind="custom")]
    body, losses = write(asked(user(Text("?")), tools=tools, tool_choice=choice))
    assert {key: body[key] for key in body if key in ("tool_choice", "parallel_tool_calls")} == expected
    assert losses == []
    again = CODEC.read_request(body, Asked()).tool_choice
    assert again is not None
    assert (again.mode, again.names, again.parallel) == (choice.mode, choice.names, choice.parallel)


def test_tools_for_a_model_without_them_are_impossible() -> None:
    """Without its tools the model would answer another question."""
    request = asked(user(Text("?")), tools=[Tool("one", at="tools[0]")])
    assert ("impossible", "tools") in write(request, Capabilities(tools=False))[1]


# Settings


def test_settings_that_chat_has() -> None:
    """Pitfalls 18 to 20: what has a field is written, a schema by its name."""
    schema = {"type": "object"}
    body, losses = write(
        asked(
            user(Text("?")),
            max_tokens=100,
            sampling=Sampling(0.5, 0.9, seed=7, frequency_penalty=0.1, presence_penalty=0.2, top_logprobs=3),
            stop=["a", "b"],
            output=Output("schema", schema, "answer", "An answer.", strict=True),
            answers=2,
            user="someone",
            service_tier="auto",
        )
    )
    del body["messages"]
    assert body == {
        "model": "gpt",
        "max_completion_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "logprobs": True,
        "top_logprobs": 3,
        "stop": ["a", "b"],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "description": "An answer.", "schema": schema, "strict": True},
        },
        "n": 2,
        "user": "someone",
        "service_tier": "auto",
    }
    assert losses == []


def test_a_limit_is_called_what_the_model_knows() -> None:
    """OpenAI's reasoning models refuse max_tokens, many a compatible server knows nothing else."""
    request = asked(user(Text("?")), max_tokens=100)
    assert write(request, Capabilities(thinking="effort"))[0]["max_completion_tokens"] == 100
    assert write(request, Capabilities(thinking="none"))[0]["max_tokens"] == 100


def test_settings_that_chat_has_not_are_told() -> None:
    """Pitfall 19: top_k, a fifth stop sequence, another format's tier, metadata, and what only it has."""
    body, losses = write(
        asked(
            user(Text("?")),
            sampling=Sampling(top_k=5),
            stop=list("abcde"),
            service_tier="standard_only",
            metadata={"a": "b"},
            output=Output("schema", {}),
            own=Own("anthropic", {"container": "c", "nothing": None, "previous": "r"}, vital=frozenset(("previous",))),
        )
    )
    assert body["stop"] == list("abcd")
    assert losses == [
        ("dropped", "top_k"),
        ("dropped", "stop[4]"),
        ("synthesised", "response_format.json_schema.name"),
        ("dropped", "metadata"),
        ("dropped", "service_tier"),
        ("dropped", "container"),
        ("impossible", "previous"),
    ]


def test_sampling_is_left_out_where_it_is_refused() -> None:
    """Pitfall 18: the model would answer with a 400."""
    request = asked(user(Text("?")), sampling=Sampling(temperature=0.0, top_p=0.5, seed=1))
    body, losses = write(request, Capabilities(sampling=False))
    assert "temperature" not in body
    assert "top_p" not in body
    assert body["seed"] == 1
    assert losses == [("dropped", "temperature"), ("dropped", "top_p")]


def test_usage_of_streams_is_asked_for() -> None:
    """Pitfall 23: for our own records, unless a client of Chat said no."""
    assert write(asked(user(Text("?")), stream=True))[0]["stream_options"] == {"include_usage": True}
    assert write(asked(user(Text("?")), stream=True, include_usage=False))[0]["stream_options"] == {
        "include_usage": False
    }
    assert "stream_options" not in write(asked(user(Text("?"))))[0]


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("cache_control", {"cache_control": {"type": "ephemeral", "ttl": "1h"}}),
        ("prompt_cache_breakpoint", {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}),
    ],
)
def test_cache_marks_go_where_the_server_takes_them(field: Any, written: dict[str, Any]) -> None:
    """Pitfall 21: cache_control is prompt_cache_breakpoint; a server with neither gets neither, and it is told."""
    request = asked(user(Text("Long.", cache=CacheMark("1h"), at="here")))
    body, losses = write(request, Capabilities(cache_field=field))
    assert body["messages"][0]["content"] == [{"type": "text", "text": "Long.", **written}]
    assert losses == []
    body, losses = write(request)
    assert body["messages"][0]["content"] == "Long."
    assert losses == [("dropped", "here")]
