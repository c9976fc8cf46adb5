"""Requests of other formats written for Gemini: messages, tools, media, and the pitfalls that concern them."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from tests.formats.codecs import laws
from tests.formats.codecs.gemini_samples import (
    PNG,
    SCHEMA,
    ask,
    user,
    written,
)

from interpose.formats.codecs import CODECS, Asked
from interpose.formats.codecs.gemini import CODEC
from interpose.formats.codecs.gemini.schemas import as_openapi, from_openapi, to_subset
from interpose.ir import (
    Losses,
    Media,
    Message,
    Opaque,
    Output,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)


def test_it_is_registered() -> None:
    """The codec is found by its name."""
    assert CODECS["gemini"] is CODEC


def test_a_conversation_of_everything() -> None:
    """Thinking, text, parallel calls, results with an image, system at the top: in their order, roles alternating."""
    request = ask(
        Message("system", [Text("be brief")], at="messages[0]"),
        user(Text("look"), Media("image", Source("base64", PNG), "image/png")),
        Message(
            "assistant",
            [
                Thinking("hm", opaque=Opaque("anthropic", "signature", "abc"), at="messages[2].content[0]"),
                Text("calling"),
                ToolCall("call_1", "weather", '{"city":"Rome"}'),
                ToolCall("call_2", "weather", ""),
            ],
        ),
        Message("tool", [ToolResult("call_1", [Text("sunny")])]),
        Message("tool", [ToolResult("call_2", [Text("no city")], error=True)]),
        user(Text("and now?")),
        tools=[Tool("weather", "tells the weather", SCHEMA)],
        stream=True,
    )
    found, losses = written(request)
    assert found.path == "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
    assert found.query == "alt=sse"
    laws.same(
        found.body,
        {
            "systemInstruction": {"parts": [{"text": "be brief"}]},
            "contents": [
                {
                    "role": "user",
                    "parts": [{"text": "look"}, {"inlineData": {"mimeType": "image/png", "data": PNG}}],
                },
                {
                    "role": "model",
                    "parts": [
                        {"text": "hm", "thought": True},
                        {"text": "calling"},
                        {"functionCall": {"id": "call_1", "name": "weather", "args": {"city": "Rome"}}},
                        {"functionCall": {"id": "call_2", "name": "weather", "args": {}}},
                    ],
                },
                {
                    "role": "user",
                    "parts": [
                        {"functionResponse": {"id": "call_1", "name": "weather", "response": {"output": "sunny"}}},
                        {"functionResponse": {"id": "call_2", "name": "weather", "response": {"error": "no city"}}},
                        {"text": "and now?"},
                    ],
                },
            ],
            "tools": [
                {
                    "functionDeclarations": [
                        {"name": "weather", "description": "tells the weather", "parametersJsonSchema": SCHEMA}
                    ]
                }
            ],
        },
    )
    assert losses == [("dropped", "messages[2].content[0]")]


def test_11_system_in_mid_conversation_keeps_its_place() -> None:
    """11: a later system message is said where it stands, by the user, and told."""
    request = ask(
        Message("developer", [Text("one")]),
        Message("system", [Text("two")]),
        user(Text("hi")),
        Message("system", [Text("three")], at="messages[3]"),
    )
    found, losses = written(request)
    assert found.body["systemInstruction"] == {"parts": [{"text": "one"}, {"text": "two"}]}
    assert found.body["contents"] == [{"role": "user", "parts": [{"text": "hi"}, {"text": "three"}]}]
    assert losses == [("approximated", "messages[3]")]


def test_2_ids_that_the_wire_leaves_out() -> None:
    """2: ids are made from content and position, found again for results by name and order, and not written."""
    call: dict[str, Any] = {"functionCall": {"name": "f", "args": {"x": 1}}}
    result: dict[str, Any] = {"functionResponse": {"name": "f", "response": {"output": "a"}}}
    body = {
        "contents": [
            {"role": "model", "parts": [copy.deepcopy(call), copy.deepcopy(call)]},
            {"role": "user", "parts": [copy.deepcopy(result), copy.deepcopy(result)]},
        ]
    }
    request = laws.request_returns(CODEC, body, Asked("/v1beta/models/m:generateContent"))
    calls = [block.id for block in request.messages[0].blocks if isinstance(block, ToolCall)]
    results = [block.id for block in request.messages[1].blocks if isinstance(block, ToolResult)]
    assert calls == results
    assert len(set(calls)) == 2
    again = CODEC.read_request(copy.deepcopy(body), Asked("/v1beta/models/m:generateContent"))
    assert [block.id for block in again.messages[0].blocks if isinstance(block, ToolCall)] == calls


def test_2_a_result_finds_its_name_by_its_id() -> None:
    """2: another format's results have ids alone; one that answers nothing gets a name, and that is told."""
    request = ask(
        Message("assistant", [ToolCall("a", "f", "{}"), ToolCall("b", "g", "{}")]),
        user(
            ToolResult("b", [Text("1")]), ToolResult("a", [Text("2")]), ToolResult("z", [Text("3")], at="messages[1]")
        ),
    )
    found, losses = written(request)
    names = [part["functionResponse"]["name"] for part in found.body["contents"][1]["parts"]]
    assert names == ["g", "f", "function"]
    assert losses == [("synthesised", "messages[1]")]


def test_3_results_that_come_apart_are_one_turn() -> None:
    """3: N results are N responses in one turn; none is invented for a call without one."""
    request = ask(
        Message("assistant", [ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}"), ToolCall("c", "f", "{}")]),
        Message("tool", [ToolResult("a", [Text("1")])]),
        Message("tool", [ToolResult("b", [Text("2")])]),
    )
    found, losses = written(request)
    assert [content["role"] for content in found.body["contents"]] == ["model", "user"]
    assert len(found.body["contents"][1]["parts"]) == 2
    assert losses == []


@pytest.mark.parametrize(
    ("choice", "config", "losses"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}, []),
        (ToolChoice("any"), {"mode": "ANY"}, []),
        (ToolChoice("none"), {"mode": "NONE"}, []),
        (ToolChoice("any", ("f",)), {"mode": "ANY", "allowedFunctionNames": ["f"]}, []),
        (
            ToolChoice("auto", ("f",)),
            {"mode": "VALIDATED", "allowedFunctionNames": ["f"]},
            [("approximated", "tool_choice")],
        ),
        (ToolChoice("auto", parallel=False), {"mode": "AUTO"}, [("dropped", "tool_choice")]),
        (ToolChoice("auto", parallel=True), {"mode": "AUTO"}, []),
    ],
)
def test_5_tool_choice(choice: ToolChoice, config: dict[str, Any], losses: list[Any]) -> None:
    """5: required is ANY, some of the tools are allowedFunctionNames; one call at a time cannot be asked for."""
    found, told = written(ask(user(Text("x")), tools=[Tool("f", parameters=SCHEMA)], tool_choice=choice))
    assert found.body["toolConfig"] == {"functionCallingConfig": config}
    assert told == losses


def test_5_a_choice_without_functions() -> None:
    """5: the API refuses a choice where there is no function: none is written, and a forced one is told."""
    found, losses = written(ask(user(Text("x")), tool_choice=ToolChoice("any")))
    assert "toolConfig" not in found.body
    assert losses == [("dropped", "tool_choice")]


def test_6_broken_arguments_stay_an_object() -> None:
    """6: arguments that are no JSON object are passed as text in one, and told."""
    found, losses = written(ask(Message("assistant", [ToolCall("a", "f", '{"x":', at="messages[0]")])))
    assert found.body["contents"][0]["parts"][0]["functionCall"]["args"] == {"arguments": '{"x":'}
    assert losses == [("approximated", "messages[0]")]


def test_7_strict_functions() -> None:
    """7: a function that is to be strict is told; one that is not says nothing."""
    tools = [Tool("f", parameters=SCHEMA, strict=True, at="tools[0]"), Tool("g", parameters=SCHEMA, strict=False)]
    assert written(ask(user(Text("x")), tools=tools))[1] == [("dropped", "tools[0]")]


def test_8_custom_tools_are_wrapped() -> None:
    """8: free text travels as {input}, on the declaration and on calls; the grammar is told as lost."""
    request = ask(
        user(Text("x")),
        Message("assistant", [ToolCall("a", "sql", "select 1", kind="custom")]),
        Message("tool", [ToolResult("a", [Text("1")], kind="custom")]),
        tools=[Tool("sql", kind="custom", grammar={"type": "grammar"}, at="tools[0]")],
    )
    found, losses = written(request)
    declared = found.body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"]
    assert declared["required"] == ["input"]
    assert found.body["contents"][1]["parts"][0]["functionCall"]["args"] == {"input": "select 1"}
    assert losses == [("approximated", "tools[0]"), ("dropped", "tools[0]")]


def test_9_images_in_results() -> None:
    """9: Gemini 3 takes media within a function's result; before it they follow the result, and that is told."""
    request = ask(
        Message("assistant", [ToolCall("a", "f", "{}", opaque=Opaque("gemini", "thought_signature", "c2ln"))]),
        Message(
            "tool",
            [ToolResult("a", [Text("see"), Media("image", Source("base64", PNG), "image/png")], at="messages[1]")],
        ),
    )
    image = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    newer, losses = written(request, "gemini-3-pro-preview")
    assert newer.body["contents"][1]["parts"] == [
        {"functionResponse": {"id": "a", "name": "f", "response": {"output": "see"}, "parts": [image]}}
    ]
    assert losses == []
    older, losses = written(request, "gemini-2.5-pro")
    assert older.body["contents"][1]["parts"][1] == image
    assert losses == [("approximated", "messages[1]")]


def test_10_real_schemas_are_preferred() -> None:
    """10: JSON Schema goes as it is; for models that know OpenAPI alone, references and constants are put in place."""
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"const": "x"}, "c": {"type": ["integer", "null"]}},
        "$defs": {"A": {"type": "string", "description": "an A"}},
        "additionalProperties": False,
    }
    called = ask(user(Text("x")), tools=[Tool("f", parameters=schema, at="tools[0]")])
    formed = ask(user(Text("x")), output=Output("schema", schema))
    found, losses = written(called)
    assert found.body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"] == schema
    assert losses == []
    found, losses = written(formed)
    assert found.body["generationConfig"] == {"responseMimeType": "application/json", "responseJsonSchema": schema}
    assert losses == []
    found, losses = written(called, "gemini-1.5-pro")
    expected = {
        "type": "OBJECT",
        "properties": {
            "a": {"type": "STRING", "description": "an A"},
            "b": {"enum": ["x"]},
            "c": {"type": "INTEGER", "nullable": True},
        },
    }
    assert found.body["tools"][0]["functionDeclarations"][0]["parameters"] == expected
    assert losses == [("dropped", "tools[0]")]
    found, losses = written(formed, "gemini-1.5-pro")
    assert found.body["generationConfig"]["responseSchema"] == expected
    assert losses == [("dropped", "output")]


def test_10_references_that_never_end() -> None:
    """10: a schema that holds itself, and one whose references double at every level, stay finite, and are told."""
    losses = Losses()
    itself = {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}}}
    assert to_subset(itself, losses, "x")["properties"]["a"] == {"type": "OBJECT"}
    levels: dict[str, Any] = {
        str(n): {"type": "object", "properties": {k: {"$ref": f"#/$defs/{n + 1}"} for k in "ab"}} for n in range(40)
    }
    doubled = {"$ref": "#/$defs/0", "$defs": {**levels, "40": {"type": "string"}}}
    assert len(json.dumps(to_subset(doubled, losses, "y"))) < 2_000_000
    assert {loss.path for loss in losses} == {"x", "y"}


SCHEMAS: list[dict[str, Any]] = [
    {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}},
    {"type": 6, "properties": {"a": {"type": 1}}},
    {"type": "object", "properties": {"a": {"type": "STRING"}, "b": {"type": 3}}},
    {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": "1", "maxItems": 3},
    {"type": ["string", "null"], "nullable": True},
    {"anyOf": [{"type": "STRING"}, {"type": "NULL"}], "nullable": True},
    {"type": "nonsense", "minItems": "01"},
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_openapi_returns(schema: dict[str, Any]) -> None:
    """Google's OpenAPI becomes JSON Schema and comes back as it was written, however its types were spelled."""
    marks: set[str] = set()
    found = from_openapi(copy.deepcopy(schema), marks)
    assert "OBJECT" not in json.dumps(found)
    laws.same(as_openapi(found, frozenset(marks)), schema)


def test_12_empty_texts_are_left_out() -> None:
    """12: the API takes no empty text; an empty thought with a signature of Gemini's stays."""
    signed = Thinking("", opaque=Opaque("gemini", "thought_signature", "c2ln"))
    found, losses = written(ask(user(Text(""), Text("x")), Message("assistant", [signed, Text("")])))
    assert found.body["contents"] == [
        {"role": "user", "parts": [{"text": "x"}]},
        {"role": "model", "parts": [{"text": "", "thought": True, "thoughtSignature": "c2ln"}]},
    ]
    assert losses == []


def test_13_and_14_media() -> None:
    """13, 14: documents, sound and URLs have their place; another provider's file is impossible."""
    request = ask(
        user(
            Media("document", Source("base64", "JVBERi0xLjQ="), "application/pdf", name="a.pdf", at="b0"),
            Media("document", Source("text", "plain")),
            Media("audio", Source("base64", "UklGRg=="), "audio/wav"),
            Media("image", Source("url", "https://example.com/a.png?x=1"), at="b3"),
            Media("video", Source("file", "gs://bucket/a.mp4"), "video/mp4"),
            Media("image", Source("base64", PNG), at="b5"),
            Media("image", Source("file", "file-abc"), at="b6"),
        )
    )
    found, losses = written(request)
    assert found.body["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0xLjQ="}},
        {"inlineData": {"mimeType": "text/plain", "data": "cGxhaW4="}},
        {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/a.png?x=1"}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://bucket/a.mp4"}},
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
    ]
    assert losses == [("dropped", "b0"), ("synthesised", "b3"), ("synthesised", "b5"), ("impossible", "b6")]
