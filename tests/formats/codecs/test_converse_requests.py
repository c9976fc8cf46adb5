"""Requests of other formats written for Bedrock: what is written, what is told. Pitfalls go by their number."""

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.formats.codecs import laws
from tests.formats.codecs.converse_made import CODEC, SPEC, TOOLS, call, content, result, says, user, written

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs import CODECS, Asked, Malformed, Target
from interpose.formats.codecs.opaque import pack
from interpose.ir import (
    CacheMark,
    Citation,
    Foreign,
    Losses,
    Media,
    Message,
    Opaque,
    Reasoning,
    Refused,
    Request,
    Sampling,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

PNG = "iVBORw0KGgo="
PDF = "JVBERi0xLjQ="


def test_a_conversation_with_everything_is_written_as_bedrock_has_it() -> None:
    """System on top, reasoning of a model there, text, parallel calls, results with an image, in order."""
    image = Media("image", Source("base64", PNG), "image/png")
    signed = Thinking("Hm.", opaque=Opaque("bedrock-converse", "signature", "c2ln"))
    hidden = Thinking("", opaque=Opaque("bedrock-converse", "redacted", "b3Bh"))
    body, losses = written(
        says("system", Text("Be brief.")),
        says("developer", Text("Answer in French.")),
        user("Two things?"),
        says("assistant", signed, hidden, Text("I look."), call("a"), call("b")),
        says("tool", result("a")),
        says("tool", ToolResult("b", [Text("seen"), image], error=True)),
        user("And?"),
        tools=TOOLS,
        tool_choice=ToolChoice("auto"),
        max_tokens=100,
        stop=["END"],
        sampling=Sampling(temperature=0.5, top_k=3),
        service_tier="flex",
        metadata={"team": "a-1"},
        stream=True,
    )
    assert losses == []
    assert body == {
        "system": [{"text": "Be brief."}, {"text": "Answer in French."}],
        "messages": [
            {"role": "user", "content": [{"text": "Two things?"}]},
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
                    {"reasoningContent": {"redactedContent": "b3Bh"}},
                    {"text": "I look."},
                    {"toolUse": {"toolUseId": "a", "name": "look", "input": {"at": "x"}}},
                    {"toolUse": {"toolUseId": "b", "name": "look", "input": {"at": "x"}}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"toolResult": {"toolUseId": "a", "content": [{"text": "found"}]}},
                    {
                        "toolResult": {
                            "toolUseId": "b",
                            "content": [{"text": "seen"}, {"image": {"format": "png", "source": {"bytes": PNG}}}],
                            "status": "error",
                        }
                    },
                    {"text": "And?"},
                ],
            },
        ],
        "toolConfig": {"tools": [SPEC], "toolChoice": {"auto": {}}},
        "inferenceConfig": {"maxTokens": 100, "temperature": 0.5, "stopSequences": ["END"]},
        "additionalModelRequestFields": {"top_k": 3},
        "requestMetadata": {"team": "a-1"},
        "serviceTier": {"type": "flex"},
    }


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("amazon.nova-pro-v1:0", "/model/amazon.nova-pro-v1%3A0/converse"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/1arbu5hu2sjr",
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2F1arbu5hu2sjr/converse",
        ),
    ],
)
def test_the_model_stands_in_the_path(model: str, path: str) -> None:
    """As botocore escapes it, the slash of an ARN too; it is read there, escaped or not; so is whether to stream."""
    messages = [{"role": "user", "content": [{"text": "Hi"}]}]
    assert CODEC.write_request(Request("another", "asked", [user()]), Target(model), Losses()).path == path
    streamed = CODEC.write_request(Request("another", "asked", [user()], stream=True), Target(model), Losses())
    assert streamed.path == f"{path}-stream"
    for told in (path, f"/model/{model}/converse"):
        request = CODEC.read_request({"messages": copy.deepcopy(messages)}, Asked(told))
        assert (request.model, request.stream) == (model, False)
    assert CODEC.read_request({"messages": messages}, Asked(f"{path}-stream")).stream


def test_ids_that_bedrock_refuses_are_mapped_alike_on_call_and_result() -> None:
    """Pitfall 1: by a stable hash, never cut off; what Bedrock takes stays."""
    odd, long, fine = "call|1", "x" * 65, "functions.look:0"
    body, losses = written(
        user(),
        says("assistant", call(odd), call(long), call(fine)),
        says("tool", result(odd), result(long), result(fine)),
        tools=TOOLS,
    )
    calls = [block["toolUse"]["toolUseId"] for block in content(body, 1)]
    assert [block["toolResult"]["toolUseId"] for block in content(body, 2)] == calls
    assert calls[0].startswith("tooluse_")
    assert calls[1].startswith("tooluse_")
    assert calls[2] == fine
    assert losses == []


def test_calls_without_ids_get_them_from_content_and_position() -> None:
    """Pitfall 2: equal calls differ, each result finds its call by name and order, and a longer conversation agrees."""
    turns = [
        user(),
        says("assistant", call(""), call("", "other"), call("")),
        says("tool", result("", name="look"), result("", name="look"), result("", name="other")),
    ]
    body, losses = written(*turns, tools=TOOLS)
    first, other, second = (block["toolUse"]["toolUseId"] for block in content(body, 1))
    assert len({first, other, second}) == 3
    assert [block["toolResult"]["toolUseId"] for block in content(body, 2)] == [first, second, other]
    longer, _ = written(*turns, says("assistant", call("")), says("tool", result("")), tools=TOOLS)
    assert laws.is_prefix(body["messages"], longer["messages"])
    assert losses == []
    assert written(user(), says("tool", result("", at="r")))[1][0] == ("impossible", "r")


def test_results_come_first_and_none_is_invented() -> None:
    """Pitfall 3: in the turn that answers the calls, results stand before text, each with its cache point."""
    body, losses = written(
        user(),
        says("assistant", call("a"), call("b")),
        user("Wait."),
        says("tool", result("a", cache=CacheMark())),
        tools=TOOLS,
    )
    assert [next(iter(block)) for block in content(body, 2)] == ["toolResult", "cachePoint", "text"]
    assert len(body["messages"]) == 3
    assert losses == []


def test_a_history_with_tools_has_a_tool_config() -> None:
    """Pitfall 4: Bedrock refuses calls without one. It is always the same, so that the beginning stays as it was."""
    turns = [user(), says("assistant", call("a")), says("tool", result("a"))]
    body, losses = written(*turns)
    [tool] = body["toolConfig"]["tools"]
    assert "Never call" in tool["toolSpec"]["description"]
    assert losses == [("synthesised", "tools")]
    longer, _ = written(*turns, says("assistant", call("b", "other")), says("tool", result("b")))
    assert longer["toolConfig"] == body["toolConfig"]
    assert "toolConfig" not in written(user())[0]


def test_tool_choices() -> None:
    """Pitfall 5: auto, any and one by name; of several the others are left out; side by side cannot be forbidden."""
    tools = [*TOOLS, Tool("find", at="tools[1]")]

    def chosen(choice: ToolChoice, *messages: Message) -> tuple[Any, Any]:
        body, losses = written(*(messages or (user(),)), tools=tools, tool_choice=choice)
        return body.get("toolConfig"), losses

    assert chosen(ToolChoice("auto"))[0]["toolChoice"] == {"auto": {}}
    assert chosen(ToolChoice("any"))[0]["toolChoice"] == {"any": {}}
    assert chosen(ToolChoice("any", ("find",)))[0]["toolChoice"] == {"tool": {"name": "find"}}
    config, losses = chosen(ToolChoice("any", ("look", "nothing")))
    assert config == {"tools": [SPEC], "toolChoice": {"any": {}}}
    assert losses == [("approximated", "tools[1]")]
    assert chosen(ToolChoice("auto", parallel=False))[1] == [("dropped", "parallel_tool_calls")]


def test_what_the_model_is_known_to_refuse_is_not_asked_of_it() -> None:
    """A forced call becomes a free one, an effort that it lacks the nearest; both are told."""
    can = Capabilities(forced=False, thinking="effort", efforts=("low", "high"))
    body, losses = written(
        user("Hi"), tools=TOOLS, tool_choice=ToolChoice("any"), reasoning=Reasoning(effort="max"),
        model="anthropic.claude-opus-5-5-v1:0", capabilities=can,
    )  # fmt: skip
    assert body["toolConfig"]["toolChoice"] == {"auto": {}}
    assert body["outputConfig"] == {"effort": "high"}
    assert losses == [("approximated", "tool_choice"), ("approximated", "reasoning")]


def test_tools_that_may_not_be_called_are_left_out() -> None:
    """Pitfall 5: Bedrock has no `none`. What is not there is not called, unless the history calls; both are told."""
    none = ToolChoice("none")
    body, losses = written(user(), tools=TOOLS, tool_choice=none)
    assert "toolConfig" not in body
    assert losses == [("approximated", "tool_choice")]
    body, losses = written(
        user(), says("assistant", call("a")), says("tool", result("a")), tools=TOOLS, tool_choice=none
    )
    assert body["toolConfig"] == {"tools": [SPEC]}
    assert losses == [("approximated", "tool_choice")]


def test_arguments_are_always_an_object() -> None:
    """Pitfall 6: none are {}, broken JSON is passed as text under a key, and told."""
    body, losses = written(
        user(),
        says("assistant", call("a", arguments=""), call("b", arguments='{"at": ', at="m"), call("c", arguments="[1]")),
        tools=TOOLS,
    )
    given = [block["toolUse"]["input"] for block in content(body, 1)]
    assert given == [{}, {"arguments": '{"at": '}, {"arguments": "[1]"}]
    assert [severity for severity, _ in losses] == ["approximated", "approximated"]


def test_a_tool_of_free_text_takes_it_as_an_argument() -> None:
    """Pitfall 8: wrapped as {input: text}; the grammar is lost, and told."""
    tool = Tool("run", "Runs", kind="custom", grammar={"type": "grammar"}, at="tools[0]")
    body, losses = written(
        user(), says("assistant", call("a", "run", "ls -l", kind="custom")), says("tool", result("a")), tools=[tool]
    )
    schema = body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]
    assert schema["required"] == ["input"]
    assert content(body, 1)[0]["toolUse"]["input"] == {"input": "ls -l"}
    assert losses == [("approximated", "tools[0]"), ("dropped", "tools[0].format")]


def test_tools_that_bedrock_does_not_take() -> None:
    """A name that its pattern refuses is impossible; a tool that another provider runs is dropped; strict is kept."""
    tools = [
        Tool("a.b", at="tools[0]"),
        Tool("search", kind="server", at="tools[1]"),
        Tool("c", "", {"properties": {}}, strict=True, at="tools[2]"),
        Tool("d", strict=False, at="tools[3]"),
    ]
    body, losses = written(user(), tools=tools)
    assert losses == [
        ("impossible", "tools[0].name"),
        ("dropped", "tools[1]"),
        ("approximated", "tools[2].parameters"),
    ]
    assert body["toolConfig"]["tools"][1] == {
        "toolSpec": {
            "name": "c",
            "inputSchema": {"json": {"type": "object", "properties": {}, "additionalProperties": False}},
            "strict": True,
        }
    }
    assert "strict" not in body["toolConfig"]["tools"][2]["toolSpec"]


def test_a_system_message_amid_the_conversation_keeps_its_place() -> None:
    """Pitfall 11: in the user's words where the model takes no other, told; never hoisted."""
    turns = [user("One"), says("assistant", Text("1")), user("Two"), says("system", Text("Be kind."), at="messages[3]")]
    body, losses = written(*turns)
    assert "system" not in body
    assert content(body, 2)[1] == {"text": "<system>\nBe kind.\n</system>"}
    assert losses == [("approximated", "messages[3]")]


def test_a_system_message_is_one_where_the_model_takes_it() -> None:
    """Pitfall 11: a Claude that knows them, at the end of the user's turn; other makers' models are told in words."""
    inside = Capabilities(system_inside=True)
    turns = [user("One"), says("system", Text("Be kind."), at="a"), says("developer", Text("Be brief."), at="b")]
    body, losses = written(*turns, capabilities=inside)
    assert [message["role"] for message in body["messages"]] == ["user", "system"]
    assert [block["text"] for block in content(body, 1)] == ["Be kind.", "Be brief."]
    assert losses == []
    longer, _ = written(*turns, says("assistant", Text("1")), user(), capabilities=inside)
    assert laws.is_prefix(body["messages"], longer["messages"])
    other, losses = written(*turns, capabilities=inside, model="openai.gpt-oss-120b-1:0")
    assert [message["role"] for message in other["messages"]] == ["user"]
    assert losses == [("approximated", "a"), ("approximated", "b")]


def test_empty_text_is_left_out_and_signed_empty_reasoning_is_not() -> None:
    """Pitfall 12: Bedrock refuses blank text; a signature without text is state that it wants back."""
    body, losses = written(
        says("user", Text(""), Text("Hi")),
        says("assistant", Thinking("", opaque=Opaque("bedrock-converse", "signature", "c2ln")), Text("")),
        user(),
    )
    assert content(body) == [{"text": "Hi"}]
    assert content(body, 1) == [{"reasoningContent": {"reasoningText": {"text": "", "signature": "c2ln"}}}]
    assert losses == []
    assert written(says("user", Text(" \n", at="m"), Text("Hi")))[1] == [("dropped", "m")]


EVERYTHING = Capabilities(media=frozenset(("image", "document", "audio", "video")))


@pytest.mark.parametrize(
    ("medium", "node"),
    [
        (
            Media("document", Source("base64", PDF), "application/pdf", "a_b.pdf"),
            {"document": {"format": "pdf", "source": {"bytes": PDF}, "name": "a b pdf"}},
        ),
        (
            Media("document", Source("base64", PDF)),
            {"document": {"format": "pdf", "source": {"bytes": PDF}, "name": "document"}},
        ),
        (
            Media("document", Source("base64", "SGk="), "text/csv; charset=utf-8"),
            {"document": {"format": "csv", "source": {"bytes": "SGk="}, "name": "document"}},
        ),
        (
            Media("document", Source("text", "Hi"), "text/plain", "notes (1)"),
            {"document": {"format": "txt", "source": {"text": "Hi"}, "name": "notes (1)"}},
        ),
        (
            Media("image", Source("base64", "/9j/4AAQ")),
            {"image": {"format": "jpeg", "source": {"bytes": "/9j/4AAQ"}}},
        ),
        (
            Media("image", Source("base64", "_9j_4A\n"), "image/jpg", detail="auto"),
            {"image": {"format": "jpeg", "source": {"bytes": "/9j/4A=="}}},
        ),
        (
            Media("image", Source("url", "s3://a-bucket/b.png"), "image/png"),
            {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://a-bucket/b.png"}}}},
        ),
        (
            Media("audio", Source("base64", "AAAA"), "audio/x-wav"),
            {"audio": {"format": "wav", "source": {"bytes": "AAAA"}}},
        ),
        (
            Media("video", Source("base64", "AAAA"), "video/3gpp"),
            {"video": {"format": "three_gp", "source": {"bytes": "AAAA"}}},
        ),
    ],
)
def test_media_that_bedrock_takes(medium: Media, node: Any) -> None:
    """Pitfall 13: bytes with a short word for their type; documents have names of plain letters."""
    body, losses = written(says("user", Text("See"), medium), capabilities=EVERYTHING)
    assert content(body) == [{"text": "See"}, node]
    assert losses == []


@pytest.mark.parametrize(
    "medium",
    [
        Media("image", Source("url", "https://a.test/b.png"), "image/png", at="m"),
        Media("document", Source("file", "file-1"), "application/pdf", at="m"),
        Media("image", Source("base64", "AAAA"), "image/heic", at="m"),
        Media("image", Source("base64", "AAAA"), at="m"),
        Media("image", Source("base64", "no base64!"), "image/png", at="m"),
        Media("image", Source("base64", ""), "image/png", at="m"),
        Media("image", Source("text", "an image"), "image/png", at="m"),
        Media("document", Source("base64", "AAAA"), "application/zip", at="m"),
    ],
)
def test_media_that_bedrock_does_not_take_are_impossible(medium: Media) -> None:
    """Pitfall 13: URLs, files of another's store, unknown types and what is no base64, told by their path."""
    assert written(says("user", Text("See"), medium), capabilities=EVERYTHING)[1] == [("impossible", "m")]


def test_media_that_the_model_does_not_take_are_impossible() -> None:
    """Pitfall 14: sound to a model that reads; inside of a tool's result Bedrock has no sound at all."""
    sound = Media("audio", Source("base64", "AAAA"), "audio/wav", at="m")
    assert written(says("user", Text("Hear"), sound))[1] == [("impossible", "m")]
    called = [user(), says("assistant", call("a"))]
    inside = says("tool", ToolResult("a", [sound]))
    assert written(*called, inside, tools=TOOLS, capabilities=EVERYTHING)[1] == [("impossible", "m")]


def test_media_that_the_model_made_are_left_out() -> None:
    """Bedrock takes no image in the assistant's messages; the conversation goes on without it, told."""
    image = Media("image", Source("base64", PNG), "image/png", at="m")
    body, losses = written(user(), says("assistant", Text("Look"), image), user("More"))
    assert content(body, 1) == [{"text": "Look"}]
    assert losses == [("dropped", "m")]


def test_documents_have_words_beside_them_and_names_of_their_own() -> None:
    """Pitfall 13: Bedrock refuses a document without text, and two of one name."""
    pdf = Media("document", Source("base64", PDF), "application/pdf", "a")
    body, losses = written(says("user", pdf, copy.deepcopy(pdf), at="messages[0]"))
    assert [block["document"]["name"] for block in content(body)[:2]] == ["a", "a (2)"]
    assert "text" in content(body)[2]
    assert losses == [("synthesised", "messages[0]")]
    _, losses = written(says("user", Text("Read"), pdf))
    assert losses == []


def test_a_huge_request_takes_no_more_than_its_size() -> None:
    """Tens of thousands of calls without ids, of documents of one name, of system messages behind each other."""
    many = range(50_000)
    pdf = Media("document", Source("base64", PDF), "application/pdf", "a")
    request = Request(
        "another",
        "m",
        [
            says("user", *(copy.copy(pdf) for _ in many)),
            says("assistant", *(call("", f"look{place}") for place in many)),
            says("tool", *(result("", name=f"look{place}") for place in reversed(many))),
            *(says("system", Text("Mind.")) for _ in many),
        ],
    )
    body = CODEC.write_request(request, Target("anthropic.claude", Capabilities(system_inside=True)), Losses()).body
    names = {block["document"]["name"] for block in content(body) if "document" in block}
    assert len(names) == len(many)
    called = [block["toolUse"]["toolUseId"] for block in content(body, 1)]
    assert [block["toolResult"]["toolUseId"] for block in content(body, 2)] == called[::-1]
    assert len(content(body, 3)) == len(many)


def test_prefill_is_impossible_where_the_model_refuses_it() -> None:
    """Pitfall 14: a last message of the assistant's; kept where the model takes it."""
    turns = [user(), says("assistant", Text("It"), at="messages[1]")]
    assert written(*turns)[1] == []
    assert written(*turns, capabilities=Capabilities(prefill=False))[1] == [("impossible", "messages[1]")]


def test_state_goes_back_to_its_origin_alone() -> None:
    """Pitfall 15: another's signatures, and thinking of no model there, are left out and told."""
    body, losses = written(
        user(),
        says(
            "assistant",
            Thinking("Hm", opaque=Opaque("openai-responses", "encrypted", "e"), at="a"),
            Thinking("So", at="b"),
            Text("Hi", opaque=Opaque("gemini", "thought_signature", "s"), at="c"),
            call(opaque=Opaque("gemini", "thought_signature", "s"), at="d"),
        ),
        tools=TOOLS,
    )
    assert [next(iter(block)) for block in content(body, 1)] == ["text", "toolUse"]
    assert losses == [("dropped", "a"), ("dropped", "b"), ("dropped", "c"), ("dropped", "d")]


def test_state_that_travelled_through_a_client_of_bedrock_comes_back() -> None:
    """Pitfall 15: packed in a signature it is that reasoning's; as redacted reasoning behind a block, that block's."""
    state = Opaque("gemini", "thought_signature", "sig", None, "gemini-3")
    hidden = {"reasoningContent": {"redactedContent": base64.b64encode(pack(state).encode()).decode()}}
    said = [
        {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": pack(state)}}},
        {"toolUse": {"toolUseId": "a", "name": "look", "input": {}}},
        hidden,
        hidden,
        {"reasoningContent": {"redactedContent": "b3Bh"}},
    ]
    messages = [{"role": "user", "content": [{"text": "Hi"}]}, {"role": "assistant", "content": said}]
    request = CODEC.read_request({"messages": messages}, Asked("/model/m/converse"))
    thinking, called, left, own = request.messages[1].blocks
    assert isinstance(thinking, Thinking)
    assert isinstance(called, ToolCall)
    assert isinstance(left, Thinking)
    assert isinstance(own, Thinking)
    assert thinking.opaque == called.opaque == left.opaque == state
    assert own.opaque == Opaque("bedrock-converse", "redacted", "b3Bh")
    body = CODECS["gemini"].write_request(request, Target("gemini-3"), Losses()).body
    assert [part.get("thoughtSignature") for part in body["contents"][1]["parts"] if "functionCall" in part] == ["sig"]


def test_the_first_four_cache_points_are_kept() -> None:
    """Pitfall 21: Bedrock takes four; which are kept does not change as the conversation grows (law 2)."""
    texts = [Text(str(place), cache=CacheMark("1h" if place else None), at=f"b[{place}]") for place in range(6)]
    body, losses = written(says("user", *texts))
    points = [block["cachePoint"] for block in content(body) if "cachePoint" in block]
    hour = {"type": "default", "ttl": "1h"}
    assert points == [{"type": "default"}, hour, hour, hour]
    assert losses == [("dropped", "b[4]"), ("dropped", "b[5]")]
    body, losses = written(says("user", Text("a", cache=CacheMark("24h"), at="a")))
    assert content(body)[1] == {"cachePoint": hour}
    assert losses == [("approximated", "a")]


def test_cache_points_stand_in_tools_and_system_too() -> None:
    """Pitfall 21: and are dropped, told, for a model that keeps none, and inside of a tool's result."""
    tools = [Tool("look", cache=CacheMark(), at="tools[0]")]
    turns = [
        says("system", Text("Be kind.", cache=CacheMark(), at="s")),
        user(),
        says("assistant", call("a")),
        says("tool", ToolResult("a", [Text("b", cache=CacheMark(), at="r")])),
    ]
    body, losses = written(*turns, tools=tools)
    assert body["system"] == [{"text": "Be kind."}, {"cachePoint": {"type": "default"}}]
    assert body["toolConfig"]["tools"][1] == {"cachePoint": {"type": "default"}}
    assert losses == [("dropped", "r")]
    body, losses = written(*turns, tools=tools, model="meta.llama4-maverick-17b-instruct-v1:0")
    assert "cachePoint" not in str(body)
    assert losses == [("dropped", "tools[0]"), ("dropped", "s"), ("dropped", "r")]
    profile = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/1arbu5hu2sjr"
    assert "cachePoint" in str(written(*turns, tools=tools, model=profile)[0])


def test_a_conversation_begins_with_the_user() -> None:
    """Bedrock answers a user; what would begin otherwise is impossible."""
    assert written(says("system", Text("Hi")))[1] == [("impossible", "messages")]
    assert written(says("assistant", Text("Hi")), user())[1] == [("impossible", "messages")]


def test_what_is_text_to_bedrock_and_what_is_foreign() -> None:
    """A refusal is text, told; a block that only another format has is dropped, told; names and citations too."""
    body, losses = written(
        says("user", Text("Hi"), name="ann", at="messages[0]"),
        says(
            "assistant",
            Refused("No.", at="a"),
            Foreign("openai-responses", "web_search_call", {}, at="b"),
            Text("Yes", [Citation("https://a.test")], at="c"),
        ),
        user(),
    )
    assert content(body, 1) == [{"text": "No."}, {"text": "Yes"}]
    assert losses == [
        ("dropped", "messages[0].name"),
        ("approximated", "a"),
        ("dropped", "b"),
        ("dropped", "c.citations"),
    ]


# Reading


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"messages": None}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": []}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "Hi"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [1]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"text": 1}]}]}, "messages[0].content[0].text"),
        (
            {"messages": [{"role": "assistant", "content": [{"toolUse": {"name": "a"}}]}]},
            "messages[0].content[0].toolUse",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"toolUse": {"name": "a", "toolUseId": "b"}}]}]},
            "messages[0].content[0].toolUse.input",
        ),
        (
            {"messages": [{"role": "user", "content": [{"toolResult": {"content": []}}]}]},
            "messages[0].content[0].toolResult.toolUseId",
        ),
        (
            {"messages": [{"role": "user", "content": [{"toolResult": {"toolUseId": "a"}}]}]},
            "messages[0].content[0].toolResult.content",
        ),
        ({"system": "Hi"}, "system"),
        ({"toolConfig": []}, "toolConfig"),
        ({"toolConfig": {"tools": {}}}, "toolConfig.tools"),
        ({"toolConfig": {"tools": [{"toolSpec": {}}]}}, "toolConfig.tools[0].toolSpec.name"),
    ],
)
def test_a_malformed_request_names_its_path(change: Any, path: str) -> None:
    """What must be there and is not, or cannot be read at all."""
    body = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}], **change}
    with pytest.raises(Malformed) as refused:
        CODEC.read_request(body, Asked("/model/m/converse"))
    assert refused.value.path == path


def test_a_request_without_its_model_is_malformed() -> None:
    """The URL has it; a body alone is not enough."""
    laws.refuses(CODEC, {"messages": []}, "modelId")


def test_a_stored_prompt_is_impossible_for_others() -> None:
    """A prompt that the provider keeps is filled with variables: without it the request is about something else."""
    body = {"promptVariables": {"topic": {"text": "tea"}}}
    request = laws.request_returns(CODEC, body, Asked("/model/arn:aws:bedrock:us-east-1:1:prompt%2FABC/converse"))
    losses = Losses()
    CODECS["anthropic"].write_request(request, Target("claude"), losses)
    assert ("impossible", "promptVariables") in {(loss.severity.value, loss.path) for loss in losses}


def test_blocks_of_every_kind_are_written_back_equal() -> None:
    """What the recordings lack: guarded content, several sources of documents, pieces, states without text."""
    blocks: list[Any] = [
        {"guardContent": {"text": {"text": "a", "qualifiers": ["query"]}}},
        {"guardContent": {"image": {"format": "png", "source": {"bytes": PNG}}}},
        {"guardContent": {"other": {}}},
        {"document": {"format": "txt", "name": "a", "source": {"content": [{"text": "a"}, {"text": "b"}]}}},
        {"document": {"name": "a", "source": {"text": "a"}, "citations": {"enabled": True}, "context": "c"}},
        {
            "image": {
                "format": "png",
                "source": {"s3Location": {"uri": "s3://a-bucket/b", "bucketOwner": "123456789012"}},
            }
        },
        {"audio": {"format": "x-aac", "source": {"bytes": "AAAA"}}},
        {"audio": {"format": "mpeg", "source": {"bytes": "AAAA"}}},
        {"video": {"format": "mpg", "source": {"bytes": "AAAA"}}},
        {"cachePoint": {"type": "default", "ttl": "5m"}},
        {"cachePoint": {"type": "default"}},
        {"text": "", "type": "text"},
        {"text": "a", "more": 1},
        {"reasoningContent": {"reasoningText": {"text": "a", "signature": ""}}},
        {"reasoningContent": {"reasoningText": {"signature": "c2ln"}}},
        {"reasoningContent": {"reasoningText": {"text": None, "signature": "c2ln"}}},
        {"reasoningContent": {"reasoningText": {"text": "a"}}},
        {"reasoningContent": {"redactedContent": "b3Bh"}},
        {"citationsContent": {"citations": []}},
        {"citationsContent": {"content": [{"text": "a"}, {"text": "b"}], "citations": []}},
        {
            "citationsContent": {
                "content": [{"text": "a"}],
                "citations": [
                    {
                        "title": "t",
                        "source": "s",
                        "sourceContent": [{"text": "a"}, {"text": "b"}],
                        "location": {"web": {"url": "https://a.test", "domain": "a.test"}},
                    },
                    {"location": {"web": {"url": "https://a.test"}}, "sourceContent": [{"text": "q"}]},
                    {},
                ],
            }
        },
        {"toolUse": {"toolUseId": "a", "name": "b", "input": {"n": 1}, "type": "tool_use"}},
        {"toolUse": {"toolUseId": "a", "name": "b", "input": "text"}},
        {"toolUse": {"toolUseId": "a", "name": "b", "input": [1, None]}},
        {"toolUse": {"toolUseId": "a", "name": "b", "input": {}, "type": "server_tool_use"}},
        {
            "toolResult": {
                "toolUseId": "a",
                "content": [
                    {"json": {"a": [10**30, "\ud800"]}},
                    {"json": "text"},
                    {"text": ""},
                    {"searchResult": {"source": "s", "title": "t", "content": []}},
                ],
                "status": "unknown",
            }
        },
        {"toolResult": {"toolUseId": "a", "content": [], "status": "success"}},
        {"toolAddition": {"tool": {"name": "a"}}},
        {"text": "a", "image": {}},
    ]
    body = {"messages": [{"role": "user", "content": blocks}], "system": [{"cachePoint": {"type": "default"}}]}
    laws.request_returns(CODEC, body, Asked("/model/m/converse"))


def test_input_nested_beyond_reading_is_malformed() -> None:
    """A call's input of a hundred thousand levels."""
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    said = [{"toolUse": {"toolUseId": "a", "name": "b", "input": deep}}]
    with pytest.raises(Malformed, match="nested too deeply"):
        CODEC.read_request({"messages": [{"role": "assistant", "content": said}]}, Asked("/model/m/converse"))


def test_results_within_results_are_not_followed() -> None:
    """Only text and media are read inside a result, so nothing nests; the rest is kept whole."""
    deep: Any = {"text": "x"}
    for _ in range(5000):
        deep = {"toolResult": {"toolUseId": "a", "content": [deep]}}
    body = {"messages": [{"role": "user", "content": [deep]}]}
    [block] = CODEC.read_request(body, Asked("/model/m/converse")).messages[0].blocks
    assert isinstance(block, ToolResult)
    assert isinstance(block.content[0], Foreign)


# Law 2, on conversations that Hypothesis makes, cut off where an application asks: before the assistant speaks.
IDS = st.sampled_from(["", "a", "b|c", "e" * 70])
WORDS = st.sampled_from(["", " ", "Hi", "line\nline", "é\u2028"])
MARKS = st.none() | st.builds(CacheMark, st.sampled_from([None, "5m", "1h", "30m"]))
OPAQUE = st.none() | st.builds(
    Opaque, st.sampled_from(["bedrock-converse", "gemini"]), st.sampled_from(["signature", "redacted"]), st.just("c2ln")
)
TEXTS = st.builds(Text, WORDS, cache=MARKS, opaque=OPAQUE)
MEDIA = st.one_of(
    st.builds(Media, st.just("image"), st.just(Source("base64", PNG)), st.just("image/png"), cache=MARKS),
    st.builds(
        Media,
        st.just("document"),
        st.just(Source("base64", PDF)),
        name=st.sampled_from([None, "a", "a (2)"]),
        cache=MARKS,
    ),
)
CALLS = st.builds(ToolCall, IDS, st.sampled_from(["look", "find"]), st.sampled_from(["", "{}", '{"a": 1}', "oops"]))
SAID = st.lists(st.one_of(TEXTS, CALLS, st.builds(Thinking, WORDS, opaque=OPAQUE)), max_size=4)
ASKED = st.lists(st.one_of(TEXTS, MEDIA), max_size=3)


@st.composite
def rounds(draw: st.DrawFn) -> list[list[Message]]:
    """Each round is what the user's side says, and then what the assistant does."""
    made: list[list[Message]] = []
    open_calls: list[ToolCall] = []
    for _ in range(draw(st.integers(1, 4))):
        said = [says("tool", ToolResult(one.id, [draw(TEXTS)], one.name)) for one in open_calls]
        said.append(says("user", *draw(ASKED)))
        if draw(st.booleans()):
            said.insert(draw(st.integers(0, len(said))), says("system", Text("Mind.")))
        answer = says("assistant", *draw(SAID))
        open_calls = [block for block in answer.blocks if isinstance(block, ToolCall)]
        made.append([*said, answer])
    return made


@given(rounds(), st.booleans())
def test_what_was_written_stays_as_the_conversation_grows(made: list[list[Message]], inside: bool) -> None:
    """Law 2: turn n's blocks are a prefix of turn n + 1's, and system and tools stay equal; each is valid."""
    capabilities = Capabilities(system_inside=inside)
    before: Any = None
    spoken: list[Message] = [user("Hello")]
    for messages in made:
        spoken += messages[:-1]
        body, _ = written(*copy.deepcopy(spoken), capabilities=capabilities, tools=list(TOOLS))
        blocks = [block for message in body["messages"] for block in message["content"]]
        kept = [body.get("system"), body["toolConfig"]]
        if before is not None:
            assert laws.is_prefix(before[0], blocks)
            assert before[1] == kept
        before = (blocks, kept)
        spoken.append(messages[-1])
