"""Requests of other formats written for Claude: what is written, what is told. Pitfalls go by their number."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.formats.codecs import laws
from tests.formats.codecs.anthropic_made import CODEC, TOOLS, call, result, says, user, written

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs import Asked, Malformed, Target
from interpose.formats.codecs.opaque import pack
from interpose.ir import (
    CacheMark,
    Citation,
    Foreign,
    Losses,
    Media,
    Message,
    Opaque,
    Refused,
    Request,
    Sampling,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolResult,
)


def test_a_conversation_with_everything_is_written_as_claude_has_it() -> None:
    """System on top, thinking that Claude signed, text, parallel calls, results with an image, in order."""
    image = Media("image", Source("base64", "iVBORw0KGgo="), "image/png")
    signed = Thinking("Hm.", opaque=Opaque("anthropic", "signature", "c2ln"))
    hidden = Thinking("", opaque=Opaque("anthropic", "redacted", "b3Bh"))
    body, losses = written(
        says("system", Text("Be brief.")),
        says("developer", Text("Answer in French.")),
        user("Two things?"),
        says("assistant", signed, hidden, Text("I look."), call("a"), call("b")),
        says("tool", result("a")),
        says("tool", ToolResult("b", [Text("seen"), image], error=True)),
        user("And?"),
        tools=TOOLS,
        tool_choice=ToolChoice("auto", parallel=False),
        stop=["END"],
        user="u-1",
        sampling=Sampling(temperature=0.5, top_k=3),
        service_tier="default",
        stream=True,
    )
    assert losses == []
    assert body == {
        "model": "claude",
        "max_tokens": 100,
        "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Answer in French."}],
        "tools": [{"name": "look", "description": "Looks it up", "input_schema": TOOLS[0].parameters}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Two things?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                    {"type": "redacted_thinking", "data": "b3Bh"},
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "a", "name": "look", "input": {"at": "x"}},
                    {"type": "tool_use", "id": "b", "name": "look", "input": {"at": "x"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "found"}]},
                    {
                        "type": "tool_result",
                        "tool_use_id": "b",
                        "content": [
                            {"type": "text", "text": "seen"},
                            {
                                "type": "image",
                                "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
                            },
                        ],
                        "is_error": True,
                    },
                    {"type": "text", "text": "And?"},
                ],
            },
        ],
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
        "temperature": 0.5,
        "top_k": 3,
        "service_tier": "standard_only",
        "stream": True,
    }


def test_ids_that_claude_refuses_are_mapped_alike_on_call_and_result() -> None:
    """Pitfall 1: by a stable hash, never cut off; what Claude takes stays."""
    odd, long = "functions.look:0", "x" * 200
    body, losses = written(
        user(), says("assistant", call(odd), call(long)), says("tool", result(odd), result(long)), tools=TOOLS
    )
    calls = [block["id"] for block in body["messages"][1]["content"]]
    assert [block["tool_use_id"] for block in body["messages"][2]["content"]] == calls
    assert calls[0].startswith("toolu_")
    assert calls[1] == long
    assert losses == []


def test_calls_without_ids_get_them_from_content_and_position() -> None:
    """Pitfall 2: equal calls differ, each result finds its call by name and order, and a longer conversation agrees."""
    turns = [
        user(),
        says("assistant", call(""), call("", "other"), call("")),
        says("tool", result("", name="look"), result("", name="look"), result("", name="other")),
    ]
    body, losses = written(*turns, tools=TOOLS)
    first, other, second = (block["id"] for block in body["messages"][1]["content"])
    assert len({first, other, second}) == 3
    assert [block["tool_use_id"] for block in body["messages"][2]["content"]] == [first, second, other]
    longer, _ = written(*turns, says("assistant", call("")), says("tool", result("")), tools=TOOLS)
    assert laws.is_prefix(body["messages"], longer["messages"])
    assert losses == []


def test_results_come_first_and_none_is_invented() -> None:
    """Pitfall 3: in the turn that answers the calls, results stand before text; a missing one stays missing."""
    body, losses = written(
        user(), says("assistant", call("a"), call("b")), user("Wait."), says("tool", result("a")), tools=TOOLS
    )
    assert [block["type"] for block in body["messages"][2]["content"]] == ["tool_result", "text"]
    assert len(body["messages"]) == 3
    assert losses == []


def test_arguments_are_always_an_object() -> None:
    """Pitfall 6: none are {}, broken JSON is passed as text under a key, and told; big numbers come back."""
    body, losses = written(
        user(),
        says(
            "assistant", call("a", arguments=""), call("b", arguments='{"at": ', at="m[1]"), call("c", arguments="[1]")
        ),
        tools=TOOLS,
    )
    assert [block["input"] for block in body["messages"][1]["content"]] == [
        {},
        {"arguments": '{"at": '},
        {"arguments": "[1]"},
    ]
    assert [severity for severity, _ in losses] == ["approximated", "approximated"]


def test_a_system_message_amid_the_conversation_keeps_its_place() -> None:
    """Pitfall 11: in the user's words where the model takes no other, told; never hoisted."""
    turns = [user("One"), says("assistant", Text("1")), user("Two"), says("system", Text("Be kind."), at="messages[3]")]
    body, losses = written(*turns)
    assert "system" not in body
    assert body["messages"][2]["content"][1] == {"type": "text", "text": "<system>\nBe kind.\n</system>"}
    assert losses == [("approximated", "messages[3]")]


def test_a_system_message_is_one_where_the_model_takes_it() -> None:
    """Pitfall 11: at the end of the user's turn, the only place where Claude does; else in the user's words."""
    inside = Capabilities(system_inside=True)
    turns = [user("One"), says("system", Text("Be kind."), at="a"), says("developer", Text("Be brief."), at="b")]
    body, losses = written(*turns, capabilities=inside)
    assert [message["role"] for message in body["messages"]] == ["user", "system"]
    assert [block["text"] for block in body["messages"][1]["content"]] == ["Be kind.", "Be brief."]
    assert losses == []
    longer, _ = written(*turns, says("assistant", Text("1")), user(), capabilities=inside)
    assert laws.is_prefix(body["messages"], longer["messages"])
    amid, losses = written(*turns, user("Two"), capabilities=inside)
    assert [message["role"] for message in amid["messages"]] == ["user"]
    assert losses == [("approximated", "a"), ("approximated", "b")]


def test_empty_text_is_left_out_and_signed_empty_thinking_is_not() -> None:
    """Pitfall 12: Claude refuses empty text; a signature without text is state that it wants back."""
    body, losses = written(
        says("user", Text(""), Text("Hi")),
        says("assistant", Thinking("", opaque=Opaque("anthropic", "signature", "c2ln")), Text("")),
        user(),
    )
    assert [block["text"] for block in body["messages"][0]["content"]] == ["Hi"]
    assert body["messages"][1]["content"] == [{"type": "thinking", "thinking": "", "signature": "c2ln"}]
    assert losses == []
    assert written(says("user", Text(" \n", at="m"), Text("Hi")))[1] == [("dropped", "m")]


PDF = "JVBERi0xLjQ="


@pytest.mark.parametrize(
    ("medium", "node"),
    [
        (
            Media("document", Source("base64", PDF), "application/pdf", "a.pdf"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                "title": "a.pdf",
            },
        ),
        (
            Media("document", Source("base64", PDF)),
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
        ),
        (
            Media("document", Source("base64", "SGk="), "text/plain"),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hi"}},
        ),
        (
            Media("document", Source("text", "Hi")),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hi"}},
        ),
        (
            Media("document", Source("url", "https://a.test/b.pdf"), "application/pdf"),
            {"type": "document", "source": {"type": "url", "url": "https://a.test/b.pdf"}},
        ),
        (
            Media("image", Source("url", "https://a.test/b.png")),
            {"type": "image", "source": {"type": "url", "url": "https://a.test/b.png"}},
        ),
        (
            Media("image", Source("base64", "/9j/4AAQ")),
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/4AAQ"}},
        ),
        (
            Media("image", Source("base64", "AAAA"), "image/jpg", detail="auto"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}},
        ),
    ],
)
def test_media_that_claude_takes(medium: Media, node: Any) -> None:
    """Pitfall 13: PDFs and plain text are documents, images are images, whatever named them."""
    body, losses = written(says("user", medium))
    assert body["messages"][0]["content"] == [node]
    assert losses == []


@pytest.mark.parametrize(
    "medium",
    [
        Media("audio", Source("base64", "AAAA"), "audio/wav", at="m"),
        Media("video", Source("url", "https://a.test/b.mp4"), "video/mp4", at="m"),
        Media("image", Source("file", "file-1"), "image/png", at="m"),
        Media("image", Source("base64", "AAAA"), "image/heic", at="m"),
        Media("image", Source("base64", "AAAA"), at="m"),
        Media("image", Source("url", "gs://bucket/b.png"), at="m"),
        Media("document", Source("base64", "AAAA"), "application/msword", at="m"),
        Media("document", Source("base64", "!"), "text/plain", at="m"),
    ],
)
def test_media_that_claude_does_not_take_are_impossible(medium: Media) -> None:
    """Pitfalls 13 and 14: sound, moving pictures, files of another's store and unknown types, told by their path."""
    _, losses = written(says("user", Text("See"), medium))
    assert losses == [("impossible", "m")]


@pytest.mark.parametrize("to", ["bedrock-anthropic", "vertex-anthropic"])
def test_a_url_is_impossible_where_the_cloud_fetches_none(to: str) -> None:
    """Pitfall 13: Bedrock and Vertex take bytes alone."""
    _, losses = written(says("user", Text("See"), Media("image", Source("url", "https://a.test/b.png"), at="m")), to=to)
    assert losses == [("impossible", "m")]


def test_media_that_the_model_made_are_left_out() -> None:
    """Claude takes no image in the assistant's messages; the conversation goes on without it, told."""
    image = Media("image", Source("base64", "iVBORw0KGgo="), "image/png", at="m")
    body, losses = written(user(), says("assistant", Text("Look"), image), user("More"))
    assert [block["type"] for block in body["messages"][1]["content"]] == ["text"]
    assert losses == [("dropped", "m")]


def test_prefill_is_impossible_where_the_model_refuses_it() -> None:
    """Pitfall 14: a last message of the assistant's; kept where the model takes it."""
    turns = [user(), says("assistant", Text("It"), at="messages[1]")]
    assert written(*turns)[1] == []
    assert written(*turns, capabilities=Capabilities(prefill=False))[1] == [("impossible", "messages[1]")]


def test_state_goes_back_to_its_origin_alone() -> None:
    """Pitfall 15: another's signatures, and thinking that nobody signed, are left out and told."""
    encrypted = Opaque("openai-responses", "encrypted", "e")
    body, losses = written(
        user(),
        says(
            "assistant",
            Thinking("Hm", opaque=encrypted, at="a"),
            Thinking("So", at="b"),
            Text("Hi", opaque=Opaque("gemini", "thought_signature", "s"), at="c"),
            call(opaque=Opaque("gemini", "thought_signature", "s"), at="d"),
        ),
        tools=TOOLS,
    )
    assert [block["type"] for block in body["messages"][1]["content"]] == ["text", "tool_use"]
    assert losses == [("dropped", "a"), ("dropped", "b"), ("dropped", "c"), ("dropped", "d")]


def test_state_that_travelled_through_a_client_of_claude_comes_back() -> None:
    """Pitfall 15: packed in a signature it is that thinking's; in a redacted_thinking behind a block, that block's."""
    state = Opaque("gemini", "thought_signature", "sig", None, "gemini-3")
    content = [
        {"type": "thinking", "thinking": "Hm", "signature": pack(state)},
        {"type": "tool_use", "id": "a", "name": "look", "input": {}},
        {"type": "redacted_thinking", "data": pack(state)},
        {"type": "redacted_thinking", "data": pack(state)},
    ]
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": content}]
    request = CODEC.read_request({"model": "m", "max_tokens": 1, "messages": messages}, Asked("/v1/messages"))
    thinking, called, left = request.messages[1].blocks
    assert isinstance(thinking, Thinking)
    assert isinstance(called, ToolCall)
    assert isinstance(left, Thinking)
    assert thinking.opaque == called.opaque == left.opaque == state
    losses = Losses()
    body = CODEC.write_request(request, Target("claude"), losses).body
    assert [block["type"] for block in body["messages"][1]["content"]] == ["tool_use"]
    assert {loss.reason for loss in losses} == {"state of gemini's is bound to its origin"}


def test_the_first_four_cache_marks_are_kept() -> None:
    """Pitfall 21: Claude takes four; which are kept does not change as the conversation grows (law 2)."""
    texts = [Text(str(place), cache=CacheMark("1h" if place else None), at=f"b[{place}]") for place in range(6)]
    body, losses = written(says("user", *texts))
    marks = [block.get("cache_control") for block in body["messages"][0]["content"]]
    hour = {"type": "ephemeral", "ttl": "1h"}
    assert marks == [{"type": "ephemeral"}, hour, hour, hour, None, None]
    assert losses == [("dropped", "b[4].cache_control"), ("dropped", "b[5].cache_control")]
    body, losses = written(says("user", Text("a", cache=CacheMark("24h"), at="a")))
    assert body["messages"][0]["content"][0]["cache_control"] == hour
    assert losses == [("approximated", "a.cache_control")]


def test_a_conversation_without_a_users_message_is_impossible() -> None:
    """All of it would be on top, and Claude answers messages."""
    assert written(says("system", Text("Hi")))[1] == [("impossible", "messages")]


def test_what_is_text_to_claude_and_what_is_foreign() -> None:
    """A refusal is text, told; a block that only another format has is dropped, told; its citations too."""
    body, losses = written(
        user(),
        says(
            "assistant",
            Refused("No.", at="a"),
            Foreign("openai-responses", "web_search_call", {}, at="b"),
            Text("Yes", [Citation("https://a.test")], at="c"),
        ),
        user(),
    )
    assert [block["text"] for block in body["messages"][1]["content"]] == ["No.", "Yes"]
    assert losses == [("approximated", "a"), ("dropped", "b"), ("dropped", "c.citations")]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"messages": None}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [1]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": "c"}]}
                ]
            },
            "messages[0].content[0].input",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages[0].content[0].tool_use_id"),
        ({"max_tokens": "1"}, "max_tokens"),
        ({"model": None}, "model"),
        ({"system": 1}, "system"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"name": 1}]}, "tools[0].name"),
    ],
)
def test_a_malformed_request_names_its_path(change: Any, path: str) -> None:
    """What must be there and is not, or cannot be read at all."""
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}], **change}
    laws.refuses(CODEC, body, path)


def test_input_nested_beyond_reading_is_malformed() -> None:
    """A call's input of a hundred thousand levels."""
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    content = [{"type": "tool_use", "id": "a", "name": "b", "input": deep}]
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "assistant", "content": content}]}
    with pytest.raises(Malformed, match="nested too deeply"):
        CODEC.read_request(body, Asked("/v1/messages"))


def test_results_within_results_are_not_followed() -> None:
    """Only text and media are read inside a result, so nothing nests; the rest is kept whole."""
    deep: Any = {"type": "text", "text": "x"}
    for _ in range(5000):
        deep = {"type": "tool_result", "tool_use_id": "a", "content": [deep]}
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [deep]}]}
    [block] = CODEC.read_request(body, Asked("/v1/messages")).messages[0].blocks
    assert isinstance(block, ToolResult)
    assert isinstance(block.content[0], Foreign)


def test_lone_surrogates_and_big_numbers_come_back() -> None:
    """Text that is no Unicode and integers beyond 64 bits survive a request's way."""
    given = {"text": "\ud800", "number": 3}
    content = [{"type": "tool_use", "id": "a", "name": "b", "input": given}, {"type": "text", "text": "\udfff"}]
    body = {"model": "m", "max_tokens": 10**30, "messages": [{"role": "assistant", "content": content}]}
    request = CODEC.read_request(copy.deepcopy(body), Asked("/v1/messages"))
    [called, _] = request.messages[0].blocks
    assert isinstance(called, ToolCall)
    assert "\\ud800" in called.arguments
    assert request.max_tokens == 10**30
    assert CODEC.write_request(request, Target("m"), Losses()).body == body


# Law 2, on conversations that Hypothesis makes, cut off where an application asks: before the assistant speaks.
IDS = st.sampled_from(["", "a", "b.c:d", "e" * 70])
WORDS = st.sampled_from(["", " ", "Hi", "line\nline", "é\u2028"])
MARKS = st.none() | st.builds(CacheMark, st.sampled_from([None, "5m", "1h", "30m"]))
OPAQUE = st.none() | st.builds(
    Opaque, st.sampled_from(["anthropic", "gemini"]), st.sampled_from(["signature", "redacted"]), st.just("c2ln")
)
TEXTS = st.builds(Text, WORDS, cache=MARKS, opaque=OPAQUE)
IMAGES = st.builds(
    Media, st.just("image"), st.just(Source("base64", "iVBORw0KGgo=")), st.just("image/png"), cache=MARKS
)
CALLS = st.builds(ToolCall, IDS, st.sampled_from(["look", "find"]), st.sampled_from(["", "{}", '{"a": 1}', "oops"]))
SAID = st.lists(st.one_of(TEXTS, CALLS, st.builds(Thinking, WORDS, opaque=OPAQUE)), max_size=4)
ASKED = st.lists(st.one_of(TEXTS, IMAGES), max_size=3)


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
    """Law 2: turn n's blocks are a prefix of turn n + 1's, and the system prompt stays equal."""
    capabilities = Capabilities(system_inside=inside)
    before: Any = None
    spoken: list[Message] = [user("Hello")]
    for messages in made:
        spoken += messages[:-1]
        request = Request("another", "m", copy.deepcopy(spoken), list(TOOLS), max_tokens=9)
        body = CODEC.write_request(request, Target("claude", capabilities), Losses()).body
        blocks = [block for message in body["messages"] for block in message["content"]]
        if before is not None:
            assert laws.is_prefix(before[0], blocks)
            assert before[1] == body.get("system")
        before = (blocks, body.get("system"))
        spoken.append(messages[-1])
