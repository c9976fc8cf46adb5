"""Requests of other formats written by the Responses codec, made by hand. Numbers in docstrings are pitfalls'."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.formats.codecs.responses_made import (
    PICTURE,
    REASONS,
    SIGNATURE,
    STATE,
    WEATHER,
    asks,
    assistant,
    elsewhere,
    text,
    user,
)

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs import Target
from interpose.formats.codecs.responses import CODEC
from interpose.ir import (
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
    Request,
    Sampling,
    Source,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

NO_REASONING = Capabilities(thinking="none")


def written(request: Request, capabilities: Capabilities = REASONS) -> dict[str, Any]:
    return CODEC.write_request(request, Target("gpt-5", capabilities), Losses()).body


def told(request: Request, capabilities: Capabilities = REASONS) -> list[tuple[str, str]]:
    losses = Losses()
    CODEC.write_request(request, Target("gpt-5", capabilities), losses)
    return [(loss.severity.value, loss.path) for loss in losses]


# A request of another format, written


def test_a_conversation_from_elsewhere_is_written_as_items() -> None:
    """Each block is an item or a part of one, in its order; what is lost is told with its path."""
    assert written(elsewhere()) == {
        "model": "gpt-5",
        "instructions": "Be brief.",
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is on these?"},
                    {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "auto"},
                    {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "auto"},
                    {"type": "input_file", "file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"},
                ],
            },
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "The first is blank."}],
                "encrypted_content": "gAAAA-FAKE",
            },
            {"type": "message", "role": "assistant", "content": "I will look."},
            {"type": "function_call", "call_id": "toolu_1", "name": "weather", "arguments": '{"city":"Bern"}'},
            {"type": "function_call", "call_id": "toolu_2", "name": "weather", "arguments": "{}"},
            {
                "type": "function_call_output",
                "call_id": "toolu_1",
                "output": [
                    {"type": "input_text", "text": "rain"},
                    {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "auto"},
                ],
            },
            {"type": "function_call_output", "call_id": "toolu_2", "output": "no city"},
            {"type": "message", "role": "user", "content": "Go on."},
            {"type": "message", "role": "system", "content": "Be briefer."},
            {"type": "message", "role": "assistant", "content": "It rains."},
            {"type": "message", "role": "user", "content": "Thanks."},
        ],
        "tools": [
            {
                "type": "function",
                "name": "weather",
                "description": "Tells the weather.",
                "parameters": WEATHER.parameters,
                "strict": False,
            }
        ],
        "max_output_tokens": 1000,
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    assert told(elsewhere()) == [
        ("approximated", "messages[0].content[0]"),  # the mark of a cache
        ("approximated", "messages[2].content[1]"),  # that the result is an error
        ("dropped", "messages[4].content[0]"),  # the citation
    ]


def test_what_was_answered_before_goes_back_as_texts() -> None:
    """Each by itself: parts of an answer would need the id and the status that OpenAI gave it, and these have none."""
    request = asks(assistant(text("One."), text("Two."), Refused("No.", at="messages[0].content[2]")))
    assert written(request)["input"] == [
        {"type": "message", "role": "assistant", "content": content} for content in ("One.", "Two.", "No.")
    ]
    assert told(request) == [("approximated", "messages[0].content[2]")]


def test_ids_are_fitted_the_same_on_call_and_result() -> None:
    """1: a call_id has 64 characters at most; a longer one is hashed, never cut off."""
    long = "call_" + "x" * 100
    body = written(
        asks(assistant(ToolCall(long, "weather", "{}")), user(ToolResult(long, [text("rain")])), tools=[WEATHER])
    )
    call, result = body["input"]
    assert call["call_id"] == result["call_id"] != long[:64]
    assert len(call["call_id"]) <= 64


def test_calls_without_ids_get_them_and_their_results_find_them() -> None:
    """2: Gemini gives no ids; they are made from what is said and where, and each result answers the call before it."""
    request = asks(
        assistant(
            ToolCall("", "weather", '{"city":"Bern"}', at="contents[1].parts[0]"),
            ToolCall("", "time", "{}", at="contents[1].parts[1]"),
            ToolCall("", "weather", '{"city":"Rome"}', at="contents[1].parts[2]"),
        ),
        user(
            ToolResult("", [text("rain")], "weather"),
            ToolResult("", [text("sun")], "weather"),
            ToolResult("", [text("noon")], "time"),
        ),
        format_="gemini",
    )
    bern, time, rome, rain, sun, noon = written(request)["input"]
    assert [rain["call_id"], sun["call_id"], noon["call_id"]] == [bern["call_id"], rome["call_id"], time["call_id"]]
    assert len({bern["call_id"], rome["call_id"], time["call_id"]}) == 3
    assert written(request) == written(copy.deepcopy(request))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice("any"), "required"),
        (ToolChoice("none"), "none"),
        (ToolChoice("auto"), "auto"),
        (ToolChoice("any", ("weather",)), {"type": "function", "name": "weather"}),
        (ToolChoice("any", ("shell",)), {"type": "custom", "name": "shell"}),
        (
            ToolChoice("auto", ("weather", "shell")),
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "weather"}, {"type": "custom", "name": "shell"}],
            },
        ),
    ],
)
def test_the_choice_of_tools_is_told(choice: ToolChoice, expected: Any) -> None:
    """5: any is required, one is named, several are allowed_tools."""
    request = asks(user(text("Hi")), tools=[WEATHER, Tool("shell", kind="custom")], tool_choice=choice)
    assert written(request)["tool_choice"] == expected
    assert told(request) == []


def test_no_parallel_calls_is_a_field_of_its_own() -> None:
    """5: parallel_tool_calls, with or without a choice."""
    body = written(asks(user(text("Hi")), tools=[WEATHER], tool_choice=ToolChoice(parallel=False)))
    assert body["parallel_tool_calls"] is False
    assert "tool_choice" not in body


def test_arguments_that_are_broken_stay_text_and_none_are_an_object() -> None:
    """6: arguments are text here, as the model wrote them; nothing is {}."""
    body = written(asks(assistant(ToolCall("a", "f", '{"x":'), ToolCall("b", "f", "")), user(text("?"))))
    assert [item["arguments"] for item in body["input"][:2]] == ['{"x":', "{}"]


@pytest.mark.parametrize(("strict", "expected"), [(None, False), (False, False), (True, True)])
def test_strict_is_said_always(strict: bool | None, expected: bool) -> None:
    """7: left out, a function is strict here and not so in Chat."""
    tool = Tool("f", parameters={"type": "object"}, strict=strict)
    assert written(asks(user(text("Hi")), format_="openai-chat", tools=[tool]))["tools"][0]["strict"] is expected


def test_a_function_without_parameters_gets_an_empty_schema() -> None:
    """Chat allows to leave parameters out; here they are required."""
    (tool,) = written(asks(user(text("Hi")), format_="openai-chat", tools=[Tool("f")]))["tools"]
    assert tool["parameters"] == {"type": "object", "properties": {}}


def test_custom_tools_stay_custom() -> None:
    """8: the format has them itself, grammar included; Chat spells a grammar in one more object."""
    flat = {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}
    nested = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}}
    request = asks(
        assistant(ToolCall("c1", "shell", "ls", "custom")),
        user(ToolResult("c1", [text("a.txt")], kind="custom")),
        format_="openai-chat",
        tools=[Tool("shell", "Runs it.", kind="custom", grammar=nested)],
    )
    body = written(request)
    assert body["tools"] == [{"type": "custom", "name": "shell", "description": "Runs it.", "format": flat}]
    assert body["input"] == [
        {"type": "custom_tool_call", "call_id": "c1", "name": "shell", "input": "ls"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "a.txt"},
    ]


def test_another_providers_server_tool_is_dropped_and_told() -> None:
    """A tool that the provider runs has no counterpart."""
    tool = Tool("web_search", kind="server", at="tools[0]", own=Own("anthropic", {"type": "web_search_20250305"}))
    request = asks(
        user(text("Hi")),
        assistant(Foreign("anthropic", "server_tool_use", {}, at="messages[1].content[0]"), text("Found.")),
        tools=[tool],
    )
    body = written(request)
    assert "tools" not in body
    assert body["input"][1] == {"type": "message", "role": "assistant", "content": "Found."}
    assert told(request) == [("dropped", "tools[0]"), ("dropped", "messages[1].content[0]")]


def test_system_text_keeps_its_place_and_its_parts() -> None:
    """11: one text on top is the instructions; several are a message of parts; in mid-conversation it stays there."""
    top = Own("anthropic", marks=frozenset(("top",)))
    request = asks(
        Message("system", [text("One."), text("Two.")], own=top),
        user(text("Hi")),
        Message("developer", [text("Three.")]),
    )
    body = written(request)
    assert "instructions" not in body
    assert [(item["role"], item["content"]) for item in body["input"]] == [
        ("system", [{"type": "input_text", "text": "One."}, {"type": "input_text", "text": "Two."}]),
        ("user", "Hi"),
        ("developer", "Three."),
    ]


MEDIA = [
    (Media("image", Source("url", "https://e.org/a.png"), detail="low"), None),
    (Media("document", Source("url", "https://e.org/a.pdf"), "application/pdf"), None),
    (Media("document", Source("base64", "JVBERi0="), "application/pdf"), "synthesised"),
    (Media("document", Source("text", "Lorem."), "text/plain", "a.txt"), "approximated"),
    (Media("image", Source("file", "file_1")), "impossible"),
    (Media("audio", Source("base64", "UklGRg=="), "audio/wav"), "impossible"),
    (Media("video", Source("url", "https://e.org/a.mp4"), "video/mp4"), "impossible"),
]


@pytest.mark.parametrize(("media", "severity"), MEDIA)
def test_media_are_taken_or_told(media: Media, severity: str | None) -> None:
    """13, 14: URLs go as they are, bytes as data URLs, files of another's store not at all."""
    media.at = "messages[0].content[1]"
    request = asks(user(text("See."), media))
    assert told(request) == ([] if severity is None else [(severity, "messages[0].content[1]")])
    content = written(request)["input"][0]["content"]
    assert (content == "See.") is (severity == "impossible")


def test_chat_and_responses_share_one_store_of_files() -> None:
    """13: a file of the same provider's is the same file."""
    request = asks(user(Media("document", Source("file", "file-1"))), format_="openai-chat")
    assert written(request)["input"][0]["content"] == [{"type": "input_file", "file_id": "file-1"}]


def test_sound_is_taken_where_the_model_hears() -> None:
    """14: MP3 and WAV, as bytes."""
    hears = Capabilities(thinking="effort", media=frozenset(("image", "document", "audio")))
    body = written(asks(user(Media("audio", Source("base64", "UklGRg=="), "audio/wav"))), hears)
    assert body["input"][0]["content"] == [
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    ]


def test_an_assistants_picture_is_impossible() -> None:
    """The assistant's messages hold text alone: the answer would be about something else."""
    request = asks(assistant(Media("image", PICTURE, "image/png", at="messages[1].content[0]")))
    assert told(request) == [("impossible", "messages[1].content[0]")]


def test_state_of_another_format_is_not_sent() -> None:
    """15: a signature of Claude's, and a thought signature on a call, are dropped and told."""
    request = asks(
        assistant(
            Thinking("Hm.", opaque=SIGNATURE, at="a"),
            Thinking("Without state.", at="b"),
            ToolCall("c1", "f", "{}", opaque=Opaque("gemini", "thought_signature", "x"), at="c"),
        )
    )
    assert written(request)["input"] == [{"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}]
    assert told(request) == [("dropped", "a"), ("dropped", "b"), ("dropped", "c")]


def test_reasoning_goes_back_to_its_origin_in_one_item() -> None:
    """15: the parts of a summary, which a client keeps as several thoughts, are one item again: state ends it."""
    request = asks(
        assistant(Thinking("One."), Thinking("Two.", opaque=STATE), Thinking("", opaque=STATE), text("Done."))
    )
    first, second, said = written(request)["input"]
    assert first["summary"] == [{"type": "summary_text", "text": "One."}, {"type": "summary_text", "text": "Two."}]
    assert second["summary"] == []
    assert said["content"] == "Done."


def test_reasoning_that_nothing_follows_is_left_out() -> None:
    """16: a reasoning item stays followed by its item; an answer that was cut in its thoughts has none."""
    request = asks(user(text("Hi")), assistant(Thinking("Hm.", opaque=STATE, at="x")), user(text("And?")))
    assert [item["type"] for item in written(request)["input"]] == ["message", "message"]
    assert told(request) == [("dropped", "x")]


def test_a_request_from_elsewhere_is_stateless() -> None:
    """16: nothing is stored, and reasoning comes encrypted, where the model reasons at all."""
    body = written(asks(user(text("Hi"))))
    assert (body["store"], body["include"]) == (False, ["reasoning.encrypted_content"])
    body = written(asks(user(text("Hi"))), NO_REASONING)
    assert body["store"] is False
    assert "include" not in body


@pytest.mark.parametrize(
    ("reasoning", "expected", "losses"),
    [
        (Reasoning(effort="high"), {"effort": "high"}, []),
        (Reasoning(True, budget=1024), {"effort": "low"}, [("approximated", "reasoning")]),
        (Reasoning(True, budget=10_000), {"effort": "medium"}, [("approximated", "reasoning")]),
        (Reasoning(True, budget=64_000), {"effort": "high"}, [("approximated", "reasoning")]),
        (Reasoning(True, adaptive=True, shown="summarized"), {"summary": "auto"}, []),
        (Reasoning(True, adaptive=True, shown="omitted"), None, []),
        (Reasoning(False), {"effort": "none"}, []),
        (Reasoning(effort="frantic"), None, [("dropped", "reasoning")]),
    ],
)
def test_efforts_are_told_in_this_formats_words(
    reasoning: Reasoning, expected: Any, losses: list[tuple[str, str]]
) -> None:
    """17: a budget in tokens becomes an effort, and is told."""
    request = asks(user(text("Hi")), reasoning=reasoning)
    assert written(request).get("reasoning") == expected
    assert told(request) == losses


def test_no_reasoning_is_asked_of_a_model_that_has_none() -> None:
    """17: it would refuse the field."""
    request = asks(user(text("Hi")), reasoning=Reasoning(effort="high"))
    assert "reasoning" not in written(request, NO_REASONING)
    assert told(request, NO_REASONING) == [("dropped", "reasoning")]


def test_a_limit_is_not_invented_and_not_too_low() -> None:
    """18: no limit needs to be given; less than 16 is refused."""
    assert "max_output_tokens" not in written(asks(user(text("Hi"))))
    request = asks(user(text("Hi")), max_tokens=1)
    assert written(request)["max_output_tokens"] == 16
    assert told(request) == [("approximated", "max_tokens")]


def test_settings_without_a_field_are_told() -> None:
    """19: what has no field here is dropped; several answers are impossible."""
    sampling = Sampling(0.5, 0.9, 40, 7, 0.1, 0.2, {"50256": -100}, True, 3)
    request = asks(user(text("Hi")), format_="openai-chat", sampling=sampling, stop=["END"], answers=2)
    body = written(request)
    assert (body["temperature"], body["top_p"], body["top_logprobs"]) == (0.5, 0.9, 3)
    assert body["include"] == ["reasoning.encrypted_content", "message.output_text.logprobs"]
    dropped = ["top_k", "seed", "frequency_penalty", "presence_penalty", "logit_bias", "stop"]
    assert told(request) == [*(("dropped", name) for name in dropped), ("impossible", "n")]


def test_sampling_is_left_out_where_the_model_refuses_it() -> None:
    """18: a temperature is a 400 for a reasoning model."""
    refuses = Capabilities(sampling=False)
    request = asks(user(text("Hi")), sampling=Sampling(temperature=0.2))
    assert "temperature" not in written(request, refuses)
    assert told(request, refuses) == [("dropped", "temperature")]


def test_a_schema_of_the_answer_is_told() -> None:
    """20: json_schema is text.format, whose name is required and whose strictness is said."""
    schema = {"type": "object", "properties": {}}
    request = asks(user(text("Hi")), output=Output("schema", schema))
    assert written(request)["text"] == {
        "format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": False}
    }
    assert written(asks(user(text("Hi")), output=Output("json")))["text"] == {"format": {"type": "json_object"}}


def test_marks_of_a_cache_are_kept_where_the_model_takes_them() -> None:
    """21: four at most, as prompt_cache_breakpoint."""
    takes = Capabilities(cache_field="prompt_cache_breakpoint")
    request = asks(*(user(text(f"{n}", f"m[{n}]", cache=CacheMark())) for n in range(5)))
    parts = [item["content"] for item in written(request, takes)["input"]]
    assert parts[:4] == [
        [{"type": "input_text", "text": f"{n}", "prompt_cache_breakpoint": {"mode": "explicit"}}] for n in range(4)
    ]
    assert parts[4] == "4"
    assert told(request, takes) == [("dropped", "m[4]")]


def test_chats_own_fields_of_the_same_meaning_are_kept() -> None:
    """What Chat has under the same name goes along; the rest of its own is told."""
    own = Own(
        "openai-chat", {"store": True, "prompt_cache_key": "k", "verbosity": "low", "prediction": {"type": "content"}}
    )
    request = asks(user(text("Hi")), format_="openai-chat", own=own)
    body = written(request)
    assert (body["store"], body["prompt_cache_key"], body["text"]) == (True, "k", {"verbosity": "low"})
    assert told(request) == [("dropped", "prediction")]


@pytest.mark.parametrize(("tier", "expected"), [("flex", "flex"), ("standard_only", "default"), ("reserved", None)])
def test_tiers_are_told_in_this_formats_words(tier: str, expected: str | None) -> None:
    """A tier that is not offered is dropped."""
    request = asks(user(text("Hi")), service_tier=tier)
    assert written(request).get("service_tier") == expected
    assert told(request) == ([] if expected else [("dropped", "service_tier")])
