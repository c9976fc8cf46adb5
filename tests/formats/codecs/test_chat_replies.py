"""Replies and streams for Chat's clients, written from other formats' answers.

The official SDK reads what is written, and what it has read goes back into the next request.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import httpx
import openai
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from tests.formats.codecs import laws

from interpose.formats.codecs import Asked, Client, Target
from interpose.formats.codecs.chat import CODEC
from interpose.ir import (
    Answer,
    Block,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Citation,
    Event,
    Failed,
    Finished,
    Foreign,
    Losses,
    Media,
    Message,
    Opaque,
    Own,
    Ping,
    Refused,
    Reply,
    Request,
    Source,
    Started,
    Stop,
    Text,
    Thinking,
    Tool,
    ToolCall,
    Usage,
    Used,
    events_of,
)

NOW = 1_700_000_000
USAGE = Usage(100, 40, 10, 30, 20)


def client(*, include_usage: bool | None = None, legacy: bool = False) -> Client:
    tools = [Tool("f", own=Own("openai-chat", {}, frozenset(("functions",))))] if legacy else []
    request = Request("openai-chat", "gpt", [], tools, stream=True, include_usage=include_usage)
    return Client(request, "gpt", "0123", NOW)


def answered(*blocks: Block, stop: Stop | None = None, **settings: Any) -> Reply:
    return Reply(
        "anthropic",
        "msg_1",
        "claude",
        None,
        [Answer(list(blocks), stop or Stop("end", None, "anthropic", "end_turn"))],
        USAGE,
        **settings,
    )


def write(reply: Reply, to: Client | None = None) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    losses = Losses("reply")
    body = CODEC.write_reply(reply, to or client(), losses)
    return body, [(str(loss.severity), loss.path) for loss in losses]


def stream(events: Iterable[Event], to: Client | None = None) -> bytes:
    writer = CODEC.writer(to or client(), Losses("reply"))
    return b"".join(writer.write([event]) for event in events) + writer.finish()


def chunks(data: bytes) -> list[dict[str, Any]]:
    found = [line.removeprefix(b"data: ") for line in data.split(b"\n\n") if line.startswith(b"data: {")]
    return [json.loads(line) for line in found]


def sdk(data: bytes) -> Any:
    """The message that the official SDK collects from a stream."""
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, headers={"content-type": "text/event-stream"}, content=data)
    )
    http = httpx.Client(transport=transport)
    state = ChatCompletionStreamState()
    with openai.OpenAI(api_key="sk-FAKE-1", http_client=http, max_retries=0).chat.completions.create(
        model="m", messages=[], stream=True
    ) as found:
        for chunk in found:
            state.handle_chunk(chunk)
    return state.current_completion_snapshot


def streamed(reply: Reply, size: int = 3) -> list[Event]:
    """The events of a reply with its texts in pieces and its opaque state at the end, as providers send them."""
    events: list[Event] = []
    for event in events_of(reply):
        if not isinstance(event, BlockStart):
            events.append(event)
            continue
        block = laws.copy.copy(event.block)
        pieces: list[str] = []
        if isinstance(block, Text | Thinking | Refused):
            pieces, block.text = [block.text[at : at + size] for at in range(0, len(block.text), size)], ""
        elif isinstance(block, ToolCall):
            pieces = [block.arguments[at : at + size] for at in range(0, len(block.arguments), size)]
            block.arguments = ""
        opaque = None
        if isinstance(block, Text | Thinking):
            opaque, block.opaque = block.opaque, None
        events.append(BlockStart(event.index, block, event.answer))
        events += [BlockDelta(event.index, piece, answer=event.answer) for piece in pieces]
        if opaque is not None:
            events.append(BlockDelta(event.index, opaque=opaque, answer=event.answer))
    return events


SIGNED = Opaque("anthropic", "signature", "c2lnbmF0dXJl", model="claude")
REPLIES: dict[str, list[Block]] = {
    "text": [Text("Hello ☃ there")],
    "nothing": [],
    "refusal": [Refused("I cannot.")],
    "thinking and calls": [
        Thinking("Hm.", opaque=SIGNED),
        Text("Let me see."),
        ToolCall("toolu_1", "one", '{"a": 1}'),
        ToolCall("toolu_2", "two", "{}"),
    ],
    "interleaved": [
        Thinking("First.", opaque=SIGNED),
        Text("One. "),
        Thinking("", opaque=Opaque("anthropic", "redacted", "cmVkYWN0ZWQ=")),
        Text("Two."),
        Thinking("Third.", opaque=SIGNED),
        ToolCall("toolu_1", "one", "{}"),
    ],
    "signed parts": [
        Text("One. ", opaque=Opaque("gemini", "thought_signature", "dGV4dA==")),
        ToolCall("", "one", "{}", opaque=Opaque("gemini", "thought_signature", "Y2FsbA==")),
        ToolCall("", "two", "{}"),
    ],
    "custom tool": [ToolCall("ctc_1", "free", "some text", kind="custom")],
}


@pytest.mark.parametrize("blocks", REPLIES.values(), ids=REPLIES.keys())
def test_a_stream_says_what_the_whole_reply_says(blocks: list[Block]) -> None:
    """What the SDK collects from the stream is the message of the whole reply, usage and finish reason included."""
    reply = answered(*blocks)
    whole, _ = write(reply)
    data = stream(streamed(reply), client(include_usage=True))
    read = laws.collected(CODEC, laws.read_whole(CODEC, data))
    assert read.failure is None
    again, _ = write(read.reply, client())
    assert stripped(again["choices"][0]["message"]) == stripped(whole["choices"][0]["message"])
    assert again["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    if not any(isinstance(block, ToolCall) and block.kind == "custom" for block in blocks):
        # Of custom tools the SDK's accumulator knows nothing.
        found = sdk(data)
        message = found.choices[0].message.model_dump(exclude={"parsed"})
        for call in message["tool_calls"] or ():
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
        assert stripped(message) == stripped(whole["choices"][0]["message"])
        assert found.choices[0].finish_reason == whole["choices"][0]["finish_reason"]
        assert found.usage.model_dump(exclude_none=True) == whole["usage"]
        assert found.model == "gpt"


def stripped(message: dict[str, Any]) -> dict[str, Any]:
    """Without nulls and empty texts: a stream has no way to tell one from the other."""
    return {key: value for key, value in message.items() if value not in (None, "", [])}


@pytest.mark.parametrize("through", ["whole", "stream"])
@pytest.mark.parametrize("name", ["thinking and calls", "interleaved", "signed parts"])
def test_opaque_state_comes_back_through_a_chat_client(name: str, through: str) -> None:
    """Pitfall 15: order, signatures and redacted thinking survive a client that sends back what it was given."""
    reply = answered(*REPLIES[name])
    if through == "whole":
        message = openai.types.chat.ChatCompletion.model_validate(write(reply)[0]).choices[0].message
    else:
        message = sdk(stream(streamed(reply))).choices[0].message
    body = {"model": "gpt", "messages": [message.model_dump(exclude_none=True, exclude={"parsed"})]}
    found = CODEC.read_request(body, Asked()).messages[0].blocks
    told = [
        (type(block).__name__, getattr(block, "text", getattr(block, "name", None)), getattr(block, "opaque", None))
        for block in found
    ]
    assert told == [
        (type(block).__name__, getattr(block, "text", getattr(block, "name", None)), getattr(block, "opaque", None))
        for block in REPLIES[name]
    ]


def test_a_client_that_changes_the_texts_loses_the_layout() -> None:
    """What does not fit is not used: the message is read as any other, without opaque state."""
    message = write(answered(*REPLIES["interleaved"]))[0]["choices"][0]["message"]
    message["content"] += " Edited."
    found = CODEC.read_request({"messages": [message]}, Asked()).messages[0].blocks
    assert [type(block).__name__ for block in found] == ["Thinking", "Text", "ToolCall"]
    assert found[1] == Text("One. Two. Edited.", at="messages[0].content")


@pytest.mark.parametrize("layout", [[], "x", ["text"], ["text 99"], ["text -1"], ["call", "call"], [5], ["text 9x"]])
def test_a_damaged_layout_is_not_used(layout: Any) -> None:
    """Whatever a client sends under our name: no other exception, and the message as it stands."""
    body = {"messages": [{"role": "assistant", "content": "Hello", "extra_content": {"interpose": layout}}]}
    assert CODEC.read_request(body, Asked()).messages[0].blocks == [Text("Hello", at="messages[0].content")]


def test_another_formats_state_does_not_go_to_a_server_of_chat() -> None:
    """Pitfall 15: carried by the client, dropped for a provider that did not give it out, and told."""
    message = write(answered(*REPLIES["thinking and calls"]))[0]["choices"][0]["message"]
    request = CODEC.read_request({"messages": [message]}, Asked())
    losses = Losses()
    body = CODEC.write_request(request, Target("gpt"), losses).body
    assert "extra_content" not in body["messages"][0]
    assert "reasoning_content" not in body["messages"][0]
    assert [(str(loss.severity), "bound to its origin" in loss.reason) for loss in losses] == [("dropped", True)]


def test_what_is_told_of_a_reply() -> None:
    """Reasoning and state are carried where OpenAI's clients do not look; what has no place is dropped."""
    reply = answered(
        Thinking("Hm.", opaque=SIGNED, at="content[0]"),
        Foreign("anthropic", "server_tool_use", {}, at="content[1]"),
        Text("Yes.", [Citation("https://e.com", "E", own=Own("anthropic", {"encrypted_index": "x"}))], at="content[2]"),
        Media("image", Source("base64", "AA=="), "image/png", at="content[3]"),
        own=Own("anthropic", {"container": "c"}),
    )
    body, losses = write(reply)
    message = body["choices"][0]["message"]
    assert message["reasoning_content"] == "Hm."
    assert message["annotations"] == [
        {
            "type": "url_citation",
            "url_citation": {"url": "https://e.com", "title": "E", "start_index": 0, "end_index": 4},
        }
    ]
    assert message["images"] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    assert losses == [
        ("dropped", "content[1]"),
        ("carried", "content[3]"),
        ("approximated", "content[2]"),
        ("carried", "content[0]"),
        ("carried", "choices[0].message"),
        ("dropped", "container"),
    ]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    """Pitfall 6: applications parse them, and the empty text is no JSON; streamed, whole, and when it comes back."""
    reply = answered(ToolCall("call_1", "now", ""))
    called = write(reply)[0]["choices"][0]["message"]["tool_calls"]
    assert called == [{"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}]
    assert sdk(stream(events_of(reply))).choices[0].message.tool_calls[0].function.arguments == "{}"
    history = Request("cohere", "m", [Message("assistant", [ToolCall("call_1", "now", "")])])
    body = CODEC.write_request(history, Target("m"), Losses()).body
    assert body["messages"][0]["tool_calls"] == called


def test_the_envelope_is_the_clients() -> None:
    """Pitfall 30: the model that the client asked for, one clock, one id through the whole stream."""
    whole, _ = write(answered(Text("Yes.")))
    assert (whole["id"], whole["object"], whole["created"], whole["model"]) == ("msg_1", "chat.completion", NOW, "gpt")
    found = chunks(stream(events_of(Reply("gemini", answers=[Answer([Text("Yes.")])]))))
    assert {(chunk["id"], chunk["object"], chunk["created"], chunk["model"]) for chunk in found} == {
        ("chatcmpl-0123", "chat.completion.chunk", NOW, "gpt")
    }


def test_usage_is_summed_as_openai_counts() -> None:
    """Pitfall 22: the prompt includes what was read from and written to the cache, the completion the reasoning."""
    assert write(answered(Text("Yes.")))[0]["usage"] == {
        "prompt_tokens": 100,
        "completion_tokens": 30,
        "total_tokens": 130,
        "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 10},
        "completion_tokens_details": {"reasoning_tokens": 20},
    }


@pytest.mark.parametrize(("include_usage", "expected"), [(True, 1), (False, 0), (None, 0)])
def test_the_usage_chunk_comes_if_it_was_asked_for(include_usage: bool | None, expected: int) -> None:
    """Pitfall 23: we ask upstream for our own sake; a client that did not ask gets no chunk without choices."""
    data = stream(events_of(answered(Text("Yes."))), client(include_usage=include_usage))
    assert len([chunk for chunk in chunks(data) if not chunk["choices"]]) == expected
    assert data.endswith(b"data: [DONE]\n\n")


REASONS: list[tuple[Stop, bool, str]] = [
    (Stop("end", None, "anthropic", "end_turn"), False, "stop"),
    (Stop("stop", "\n\n", "anthropic", "stop_sequence"), False, "stop"),
    (Stop("length", None, "anthropic", "max_tokens"), False, "length"),
    (Stop("tool_calls", None, "anthropic", "tool_use"), True, "tool_calls"),
    (Stop("end", None, "gemini", "STOP"), True, "tool_calls"),
    (Stop("refusal", None, "anthropic", "refusal"), False, "content_filter"),
    (Stop("content_filter", None, "gemini", "SAFETY"), False, "content_filter"),
    (Stop("pause", None, "anthropic", "pause_turn"), False, "stop"),
    (Stop("length", None, "gemini", "MAX_TOKENS"), True, "length"),
    (Stop("error", None, "gemini", "MALFORMED_FUNCTION_CALL"), False, "error"),
]


@pytest.mark.parametrize(("stop", "called", "expected"), REASONS)
def test_why_an_answer_ended(stop: Stop, called: bool, expected: str) -> None:
    """Pitfall 24: Gemini says STOP with calls; a refusal is content_filter. The same whole and streamed."""
    blocks: list[Block] = [ToolCall("a", "f", "{}")] if called else [Text("Yes.")]
    reply = answered(*blocks, stop=stop)
    assert write(reply)[0]["choices"][0]["finish_reason"] == expected
    found = [chunk["choices"][0]["finish_reason"] for chunk in chunks(stream(events_of(reply)))]
    assert found[-1] == expected
    assert set(found[:-1]) == {None}


def test_a_failure_is_the_end_of_a_stream() -> None:
    """Pitfall 25: an error object, and neither a finish reason nor [DONE] after it; the SDK raises it."""
    events: list[Event] = [Started("a"), BlockStart(0, Text("")), BlockDelta(0, "Hel")]
    failed = Failed("Overloaded", 529, "overloaded_error", retry_after=3.0)
    data = stream([*events, failed, BlockDelta(0, "lo"), Finished(Stop("end"))])
    assert b"[DONE]" not in data
    assert data.count(b"data: ") == 4 - 1
    assert chunks(data)[-1] == {
        "error": {"message": "Overloaded", "type": "overloaded_error", "param": None, "code": None}
    }
    with pytest.raises(openai.APIError, match="Overloaded"):
        sdk(data)
    assert isinstance(laws.read_whole(CODEC, data)[-1], Failed)


def test_pings_are_comments() -> None:
    """Pitfall 26: the SDK does not see them, the connection does."""
    data = stream([Started("a"), Ping(), BlockStart(0, Text("Yes.")), BlockEnd(0), Ping(), Finished(Stop("end"))])
    assert data.count(b"\n\n: ping\n\n") == 1
    assert data.startswith(b": ping\n\n")
    assert sdk(data).choices[0].message.content == "Yes."


def test_several_answers_are_several_choices() -> None:
    """n answers keep their numbers, whole and streamed."""
    reply = Reply("gemini", "r", answers=[Answer([Text(f"{n}")], Stop("end"), n) for n in range(3)])
    assert [choice["index"] for choice in write(reply)[0]["choices"]] == [0, 1, 2]
    found = sdk(stream(events_of(reply)))
    assert [choice.message.content for choice in found.choices] == ["0", "1", "2"]


def test_a_client_of_functions_is_answered_in_its_words() -> None:
    """A client that sent functions knows no tool_calls."""
    reply = answered(ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", "{}", at="second"))
    body, losses = write(reply, client(legacy=True))
    assert body["choices"][0]["message"]["function_call"] == {"name": "f", "arguments": '{"x":1}'}
    assert body["choices"][0]["finish_reason"] == "function_call"
    assert losses == [("dropped", "second")]
    data = stream(streamed(reply), client(legacy=True))
    assert b"tool_calls" not in data
    read = laws.collected(CODEC, laws.read_whole(CODEC, data)).reply
    assert [(block.name, block.arguments) for block in read.answers[0].blocks if isinstance(block, ToolCall)] == [
        ("f", '{"x":1}')
    ]


def test_text_that_utf8_cannot_hold_is_escaped() -> None:
    """Half of a surrogate pair, which a provider may cut in two, goes through as JSON can say it."""
    reply = answered(Text("\ud83d"))
    found = chunks(stream(events_of(reply)))
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in found) == "\ud83d"


def test_used_before_the_end_counts() -> None:
    """Providers that tell usage at the start and at the end: the last that is told is written."""
    events: list[Event] = [
        Started("a", usage=Usage(input_tokens=7)),
        BlockStart(0, Text("Yes.")),
        BlockEnd(0),
        Finished(Stop("end")),
        Used(Usage(output_tokens=3)),
    ]
    usage = chunks(stream(events, client(include_usage=True)))[-1]["usage"]
    assert usage == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
