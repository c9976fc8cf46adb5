"""Chat requests written from other formats' conversations, and what is told where Chat has no field.

The conversations are made by hand, as another format's reader would give them. What Chat itself says is in
`test_chat_corpus.py`; the pitfalls are those of the conversion between formats, by their number.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.formats.codecs import laws

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs import Asked, Malformed, Target
from interpose.formats.codecs.chat import CODEC
from interpose.ir import (
    Block,
    Citation,
    Foreign,
    Losses,
    Media,
    Message,
    Opaque,
    Refused,
    Request,
    Severity,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

PNG = "iVBORw0KGgo="
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


# Conversations


def test_texts_of_a_message_are_one_string() -> None:
    """Many a compatible server takes no list of parts; what the assistant said in pieces was one text."""
    found = messages(
        Message("system", [Text("Be kind."), Text("Be short.")]),
        user(Text("Hello"), Text("there")),
        assistant(Text("Hel"), Text("lo")),
    )
    assert found == [
        {"role": "system", "content": "Be kind.\n\nBe short."},
        {"role": "user", "content": "Hello\n\nthere"},
        {"role": "assistant", "content": "Hello"},
    ]


def test_system_and_developer_keep_their_place() -> None:
    """Pitfall 11: a message in mid-conversation is not hoisted; hoisting would break prefix and cache."""
    found = messages(user(Text("a")), Message("system", [Text("b")]), Message("developer", [Text("c")]))
    assert [message["role"] for message in found] == ["user", "system", "developer"]


def test_parallel_results_follow_their_calls() -> None:
    """Pitfall 3: each result is a message of its own, in front of what the user says in the same turn."""
    found = messages(
        assistant(Text("Let me see."), ToolCall("a", "one", '{"x":1}'), ToolCall("b", "two", "{}")),
        user(ToolResult("a", [Text("1")]), ToolResult("b", [Text("2")]), Text("Go on.")),
    )
    assert found == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "one", "arguments": '{"x":1}'}},
                {"id": "b", "type": "function", "function": {"name": "two", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
        {"role": "user", "content": "Go on."},
    ]


def test_a_turn_of_calls_alone_has_null_content() -> None:
    """Older servers demand the key."""
    assert messages(assistant(ToolCall("a", "one", "{}")))[0]["content"] is None


def test_ids_are_at_most_forty_characters() -> None:
    """Pitfall 1: a longer id is mapped by a stable hash, the same on call and result, never cut."""
    long = "toolu_" + "x" * 60
    found = messages(assistant(ToolCall(long, "one", "{}")), user(ToolResult(long, [Text("1")])))
    id_ = found[0]["tool_calls"][0]["id"]
    assert id_ == found[1]["tool_call_id"]
    assert len(id_) <= 40
    assert not long.startswith(id_)
    assert id_ == messages(assistant(ToolCall(long, "one", "{}")))[0]["tool_calls"][0]["id"]


def test_calls_without_ids_get_them() -> None:
    """Pitfall 2: where a format gave no ids, calls and results are paired by name and order."""
    found = messages(
        assistant(ToolCall("", "one", "{}"), ToolCall("", "two", "{}"), ToolCall("", "one", "{}")),
        user(
            ToolResult("", [Text("2")], "two"), ToolResult("", [Text("1a")], "one"), ToolResult("", [Text("1b")], "one")
        ),
    )
    ids = [call["id"] for call in found[0]["tool_calls"]]
    assert len(set(ids)) == 3
    assert [message["tool_call_id"] for message in found[1:]] == [ids[1], ids[0], ids[2]]


def test_pictures_of_results_follow_in_a_users_message() -> None:
    """Pitfall 9: a tool's message takes text alone; the picture comes after the last result."""
    picture = Media("image", Source("base64", PNG), "image/png", at="messages[2].content[0].content[0]")
    request = asked(
        assistant(ToolCall("a", "shot", "{}"), ToolCall("b", "two", "{}")),
        user(ToolResult("a", [Text("Here:"), picture]), ToolResult("b", [Text("2")], error=True, at="messages[2].x")),
    )
    body, losses = write(request)
    assert body["messages"][1:] == [
        {"role": "tool", "tool_call_id": "a", "content": "Here:\n\n[image 1: see the message that follows]"},
        {"role": "tool", "tool_call_id": "b", "content": "Error: 2"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Returned by the tool call a:"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            ],
        },
    ]
    assert losses == [("approximated", picture.at), ("approximated", "messages[2].x")]


def test_what_the_user_shows_becomes_parts() -> None:
    """Pitfalls 13 and 14: pictures, documents and sound as Chat has them."""
    found = messages(
        user(
            Text("Look:"),
            Media("image", Source("url", "https://example.com/a.png"), detail="low"),
            Media("document", Source("base64", "JVBERi0="), "application/pdf", name="a.pdf"),
            Media("document", Source("base64", "JVBERi0="), "application/pdf"),
            Media("audio", Source("base64", "SUQz"), "audio/mpeg"),
        )
    )
    assert found[0]["content"] == [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "document.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "SUQz", "format": "mp3"}},
    ]


IMPOSSIBLE_MEDIA = {
    "a document at a URL": Media("document", Source("url", "https://example.com/a.pdf"), at="here"),
    "a file of another provider": Media("document", Source("file", "file_1"), at="here"),
    "a picture in a bucket": Media("image", Source("url", "gs://bucket/a.png"), at="here"),
    "sound at a URL": Media("audio", Source("url", "https://example.com/a.mp3"), at="here"),
    "video": Media("video", Source("base64", "AAAA"), "video/mp4", at="here"),
}


@pytest.mark.parametrize("media", IMPOSSIBLE_MEDIA.values(), ids=IMPOSSIBLE_MEDIA.keys())
def test_media_that_cannot_be_sent_are_impossible(media: Media) -> None:
    """Pitfall 13: the answer would be about something else, hence nothing is sent, and the path is named."""
    assert write(asked(user(Text("Look:"), media)))[1] == [("impossible", "here")]


def test_sound_for_a_model_that_hears_nothing_is_impossible() -> None:
    """Pitfall 14: a model that is not known to take a medium does not get it."""
    sound = Media("audio", Source("base64", "SUQz"), "audio/mpeg", at="here")
    assert write(asked(user(sound)), Capabilities())[1] == [("impossible", "here")]


def test_a_text_document_is_put_into_words() -> None:
    """Claude's plain-text documents are read as text, under their title."""
    body, losses = write(asked(user(Media("document", Source("text", "All of it."), name="Minutes", at="here"))))
    assert body["messages"][0]["content"] == [{"type": "text", "text": "Minutes\n\nAll of it."}]
    assert losses == [("approximated", "here")]


def test_empty_messages_stay() -> None:
    """A turn in which nothing was said is a turn."""
    assert messages(user(), assistant()) == [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]


def test_what_an_assistant_cannot_say_in_chat_is_told() -> None:
    """Citations, server tools and pictures of an assistant's turn are dropped, each told with its path."""
    cited = Text("Water is wet.", [Citation("https://example.com")], at="t")
    body, losses = write(asked(assistant(cited, Foreign("anthropic", "server_tool_use", {}, at="f"), Refused("No."))))
    assert body["messages"] == [{"role": "assistant", "content": "Water is wet.", "refusal": "No."}]
    assert losses == [("dropped", "t"), ("dropped", "f")]


# Law 2

BLOCKS: list[st.SearchStrategy[Block]] = [
    st.builds(Text, st.text(max_size=5)),
    st.builds(Thinking, st.text(max_size=5), st.booleans(), st.just(Opaque("anthropic", "signature", "s"))),
    st.builds(Media, st.just("image"), st.just(Source("base64", PNG)), st.just("image/png")),
]


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """Turns of a user and an assistant, with calls and as many results, some of which show pictures."""
    found: list[Message] = []
    for _ in range(draw(st.integers(1, 4))):
        found.append(Message("user", draw(st.lists(st.one_of(BLOCKS[0], BLOCKS[2]), max_size=3))))
        ids = [f"{len(found)}-{number}" for number in range(draw(st.integers(0, 3)))]
        calls = [ToolCall(id_, "f", "{}") for id_ in ids]
        found.append(Message("assistant", [*draw(st.lists(st.one_of(BLOCKS[0], BLOCKS[1]), max_size=3)), *calls]))
        results = [ToolResult(id_, draw(st.lists(st.one_of(BLOCKS[0], BLOCKS[2]), max_size=2))) for id_ in ids]
        if draw(st.booleans()):
            found += [Message("tool", [result]) for result in results]
        elif results:
            found.append(Message("user", list(results)))
    return found


def turns(found: list[Message]) -> list[int]:
    """Where a conversation may be continued: not between the results of one turn."""
    return [end for end in range(1, len(found) + 1) if end == len(found) or found[end].role != "tool"]


@given(conversations())
def test_a_longer_conversation_begins_as_the_shorter(given_: list[Message]) -> None:
    """Law 2: what is written for a conversation is the beginning of what is written for its continuation."""
    whole = messages(*given_)
    for end in turns(given_):
        assert laws.is_prefix(messages(*given_[:end]), whole), end


def test_a_message_of_which_nothing_is_left_is_left_out() -> None:
    """OpenAI takes no empty list of parts; what was in it is told."""
    known = Message("system", [Foreign("anthropic", "tool_addition", {"type": "tool_addition"}, at="messages[0]")])
    body, losses = write(asked(known, user(Text("Hello"))))
    assert body["messages"] == [{"role": "user", "content": "Hello"}]
    assert losses == [("dropped", "messages[0]")]


@given(conversations())
def test_no_call_goes_without_its_id(given_: list[Message]) -> None:
    """Every result names a call in front of it, with nothing but results between them."""
    open_: list[str] = []
    for message in messages(*given_):
        if message["role"] == "tool":
            open_.remove(message["tool_call_id"])
        else:
            assert not open_
            open_ = [call["id"] for call in message.get("tool_calls", ())]


def test_a_conversation_read_by_chat_is_malformed_only_as_told() -> None:
    """The severity of what is impossible is what the engine asks for."""
    losses = Losses()
    CODEC.write_request(asked(user(IMPOSSIBLE_MEDIA["video"])), Target("m", SEEN), losses)
    assert [loss.severity for loss in losses.impossibilities] == [Severity.IMPOSSIBLE]
    with pytest.raises(Malformed, match="messages"):
        CODEC.read_request({}, Asked())


def test_a_call_without_arguments_is_one_with_none() -> None:
    """Some servers leave them out of their calls; a request of another format's that repeats such a call has them."""
    call: dict[str, Any] = {"id": "c", "type": "function", "function": {"name": "f"}}
    body = {"model": "m", "messages": [{"role": "assistant", "tool_calls": [call]}]}
    request = CODEC.read_request(body, Asked())
    request.format = "elsewhere"
    (message,) = CODEC.write_request(request, Target("m"), Losses()).body["messages"]
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
