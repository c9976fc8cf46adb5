"""What Mistral's codec makes of other formats' conversations and answers, pitfall by pitfall."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from tests.formats.codecs import laws
from tests.formats.codecs.made import growing

from interpose.formats.capabilities import capabilities_of
from interpose.formats.codecs import CODECS, Asked, Client, Target
from interpose.formats.codecs.mistral import CODEC
from interpose.formats.surfaces import MISTRAL
from interpose.ir import (
    Answer,
    Block,
    BlockDelta,
    BlockEnd,
    BlockStart,
    CacheMark,
    Failed,
    Finished,
    Losses,
    Media,
    Message,
    Opaque,
    Output,
    Own,
    Reasoning,
    Reply,
    Request,
    Sampling,
    Source,
    Started,
    Stop,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
    Used,
    events_of,
)

ID = re.compile(r"[a-zA-Z0-9]{9}")
CLIENT = Client(Request("mistral", "m", []), "m", "call-1", 1_700_000_000)


def elsewhere(*messages: Message, **settings: Any) -> Request:
    return Request("elsewhere", "theirs", list(messages), **settings)


def written(request: Request) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    losses = Losses()
    body = CODEC.write_request(request, Target("mistral-small-latest"), losses).body
    return body, [(loss.severity.value, loss.path) for loss in losses]


def test_ids_are_hashed_to_nine_characters_the_same_on_call_and_result() -> None:
    """Pitfall 1: parallel calls and their results keep together under ids that Mistral takes."""
    body, losses = written(
        elsewhere(
            Message("user", [Text("go")]),
            Message("assistant", [ToolCall("toolu_01ABC", "f", "{}"), ToolCall("toolu_02ABC", "g", "")]),
            Message(
                "user",
                [ToolResult("toolu_02ABC", [Text("two")]), ToolResult("toolu_01ABC", [Text("one")]), Text("now?")],
            ),
        )
    )
    _, turn, second, first, said = body["messages"]
    ids = [call["id"] for call in turn["tool_calls"]]
    assert all(ID.fullmatch(id_) for id_ in ids)
    assert [second["tool_call_id"], first["tool_call_id"]] == ids[::-1]
    assert turn["tool_calls"][1]["function"]["arguments"] == "{}"
    assert said == {"role": "user", "content": "now?"}
    assert losses == []


def test_calls_without_ids_get_one_and_results_find_it_by_name() -> None:
    """Pitfall 2: an id is made from content and position."""
    call, result = ToolCall("", "f", "{}"), ToolResult("", [Text("1")], "f")
    body, _ = written(elsewhere(Message("assistant", [call]), Message("tool", [result])))
    assert ID.fullmatch(body["messages"][0]["tool_calls"][0]["id"])
    assert body["messages"][1]["tool_call_id"] == body["messages"][0]["tool_calls"][0]["id"]


def test_thinking_goes_back_to_mistral_alone() -> None:
    """Pitfall 15: its own thinking is replayed in its place; another's, signed or not, is told as dropped."""
    mine = Thinking("hm", opaque=Opaque("mistral", "signature", ""), at="a")
    signed = Thinking("so", opaque=Opaque("anthropic", "signature", "x"), at="b")
    body, losses = written(elsewhere(Message("assistant", [mine, signed, Thinking("eh", at="c"), Text("yes")])))
    assert body["messages"][0]["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "yes"},
    ]
    assert losses == [("dropped", "b"), ("dropped", "c")]


def test_media_are_chunks_and_what_cannot_be_sent_is_impossible() -> None:
    """Pitfalls 9 and 13: images of results follow in a user's message; a file of another's store is impossible."""
    image = Media("image", Source("base64", "AAAA"), "image/png", detail="original", at="i")
    pdf = Media("document", Source("url", "https://example.org/a.pdf"), "application/pdf", "a.pdf")
    theirs = Media("document", Source("file", "file-1"), at="messages[0].content[1]")
    body, losses = written(
        elsewhere(Message("user", [ToolResult("123456789", [image], error=True, at="r"), pdf, theirs]))
    )
    result, shown, said = body["messages"]
    assert [chunk["text"] for chunk in result["content"]] == ["Error:", "[image 1: see the message that follows]"]
    assert [shown["role"], *shown["content"]] == [
        "user",
        {"type": "text", "text": "Returned by the tool call 123456789:"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    assert said["content"] == [
        {"type": "document_url", "document_url": "https://example.org/a.pdf", "document_name": "a.pdf"}
    ]
    assert losses == [
        ("dropped", "i"),
        ("approximated", "i"),
        ("approximated", "r"),
        ("impossible", "messages[0].content[1]"),
    ]


def test_sound_goes_to_models_that_hear_alone() -> None:
    """Pitfall 14: to a model that is not known to take sound it is impossible."""
    sound = Media("audio", Source("base64", "SUQz"), "audio/mpeg", at="a")
    request = elsewhere(Message("user", [sound]))
    losses = Losses()
    body = CODEC.write_request(
        request, Target("voxtral-small-2507", capabilities_of("voxtral-small-2507")), losses
    ).body
    assert body["messages"][0]["content"] == [{"type": "input_audio", "input_audio": "SUQz"}]
    assert not list(losses)
    assert written(request)[1] == [("impossible", "a")]


def test_signatures_go_back_to_their_origin() -> None:
    """Pitfall 15: Mistral's own signature returns to its chunk, and another's rides there through Mistral's client."""
    chunk = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "signature": "c2ln"}
    body = {"model": "m", "messages": [{"role": "assistant", "content": [chunk]}]}
    read = laws.request_returns(CODEC, body, Asked()).messages[0].blocks[0]
    assert isinstance(read, Thinking)
    assert read.opaque == Opaque("mistral", "signature", "c2ln")

    signed = Thinking("so", opaque=Opaque("anthropic", "signature", "x"), at="b")
    reply = Reply("anthropic", "r", "claude", 1, [Answer([signed, Text("yes")], Stop("end"))])
    losses = Losses("reply")
    message = CODEC.write_reply(reply, CLIENT, losses)["choices"][0]["message"]
    assert [(loss.severity.value, loss.path) for loss in losses] == [("carried", "b")]
    again = CODEC.read_request({"model": "m", "messages": [message]}, Asked())
    told = Losses()
    sent = CODECS["anthropic"].write_request(again, Target("claude"), told).body
    assert sent["messages"][0]["content"][0] == {"type": "thinking", "thinking": "so", "signature": "x"}
    assert not [loss for loss in told if loss.path.startswith("messages")]


def test_signatures_are_streamed() -> None:
    """A signature that comes behind its thinking is kept, and another's is told to the client at the block's end."""
    writer = CODEC.writer(CLIENT, Losses("reply"))
    foreign = Opaque("anthropic", "signature", "x")
    events = [Started("r"), BlockStart(0, Thinking("so")), BlockDelta(0, opaque=foreign), BlockEnd(0)]
    data = writer.write([*events, BlockStart(1, Text("yes")), BlockEnd(1), Finished(Stop("end"))]) + writer.finish()
    found = laws.collected(CODEC, laws.read_whole(CODEC, data)).reply.answers[0].blocks[0]
    assert isinstance(found, Thinking)
    assert (found.text, found.opaque) == ("so", foreign)


def test_system_messages_keep_their_place() -> None:
    """Pitfall 11: as the system's behind a user's message, else in the user's words, for Mistral refuses them there."""
    body, losses = written(
        elsewhere(
            Message("user", [Text("a")]),
            Message("system", [Text("b")]),
            Message("assistant", [Text("c")]),
            Message("developer", [Text("d")], at="d"),
            Message("system", [], at="e"),
        )
    )
    assert [(message["role"], message["content"]) for message in body["messages"]] == [
        ("user", "a"),
        ("system", "b"),
        ("assistant", "c"),
        ("user", "<system>\nd\n</system>"),
    ]
    assert losses == [("approximated", "d")]


def test_a_turn_of_which_nothing_is_left_is_left_out() -> None:
    """Mistral refuses an assistant's message without content and calls."""
    thought = Thinking("hm", at="t")
    body, losses = written(elsewhere(Message("assistant", [thought]), Message("user", [Text("a")])))
    assert body["messages"] == [{"role": "user", "content": "a"}]
    assert losses == [("dropped", "t")]


def test_agents_and_fill_in_the_middle_are_requests_of_mistrals() -> None:
    """Each returns at its own path; what is an agent's, and what stands behind the gap, no other format can have."""
    agent = {"agent_id": "ag:1", "messages": [{"role": "user", "content": "a"}]}
    gap = {"model": "codestral", "prompt": "def f(", "suffix": "return 1", "max_tokens": 9}
    for body, path, lost in ((agent, "/v1/agents/completions", "agent_id"), (gap, "/v1/fim/completions", "suffix")):
        request = laws.request_returns(CODEC, body, Asked(path))
        assert CODEC.write_request(request, Target(request.model), Losses()).path == path
        losses = Losses()
        sent = CODECS["openai-chat"].write_request(request, Target("gpt"), losses).body
        assert [loss.path for loss in losses.impossibilities] == [lost]
        assert sent["messages"][0]["role"] == "user"
    plain = CODEC.read_request({"model": "codestral", "prompt": "def f(", "suffix": ""}, Asked())
    losses = Losses()
    CODECS["openai-chat"].write_request(plain, Target("gpt"), losses)
    assert not list(losses)


def test_the_client_is_named_by_its_wire() -> None:
    """Every path of Mistral's API where it talks is in the format of this codec."""
    for path in ("/v1/chat/completions", "/v1/agents/completions", "/v1/fim/completions"):
        found = MISTRAL.find("POST", path, 0)
        assert found is not None
        assert CODECS[found[0].wire] is CODEC


@given(growing())
def test_what_was_written_stays_when_the_conversation_grows(turns: list[list[Message]]) -> None:
    """Law 2, on conversations that are made: a beginning's messages are the beginning of the whole's."""
    before: list[Any] = []
    for count in range(1, len(turns) + 1):
        request = elsewhere(Message("user", [Text("Hi")]), *(message for turn in turns[:count] for message in turn))
        body, _ = written(request)
        messages = [{key: value for key, value in message.items() if key != "prefix"} for message in body["messages"]]
        assert laws.is_prefix(before, messages)
        before = messages


def test_settings_are_fitted_and_told() -> None:
    """Pitfalls 5, 8, 18, 19, 20, 21, 23: what Mistral has no field for is never sent; it refuses unknown fields."""
    request = elsewhere(
        Message("developer", [Text("be brief", cache=CacheMark("5m"), at="s")]),
        tools=[Tool("f"), Tool("g", kind="custom", grammar={"type": "grammar"}, at="g"), Tool("h")],
        tool_choice=ToolChoice("any", ("f", "g"), parallel=False),
        sampling=Sampling(2.0, top_k=5, seed=7, logit_bias={"1": 1.0}),
        reasoning=Reasoning(effort="medium"),
        output=Output("schema", {"type": "object"}),
        stream=True,
        include_usage=True,
        user="u",
        own=Own("elsewhere", {"store": True}),
    )
    body, losses = written(request)
    assert body["messages"] == [{"role": "system", "content": "be brief"}]
    assert [tool["function"]["name"] for tool in body["tools"]] == ["f", "g"]
    assert body["tools"][1]["function"]["parameters"]["required"] == ["input"]
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("any", False)
    assert (body["temperature"], body["random_seed"], body["stream"]) == (1.5, 7, True)
    assert body["response_format"]["json_schema"] == {"name": "answer", "schema": {"type": "object"}}
    assert not body.keys() & {"stream_options", "top_k", "logit_bias", "user", "store", "reasoning_effort", "seed"}
    assert losses == [
        ("dropped", "s"),
        ("approximated", "tool_choice"),
        ("approximated", "g"),
        ("dropped", "g"),
        ("dropped", "top_k"),
        ("dropped", "logit_bias"),
        ("approximated", "temperature"),
        ("dropped", "reasoning"),
        ("synthesised", "response_format.json_schema.name"),
        ("dropped", "user"),
        ("dropped", "store"),
    ]


def test_a_last_turn_of_the_assistants_is_gone_on_with() -> None:
    """Pitfall 14: Mistral wants to be told by `prefix`, which other formats say by the turn's being the last."""
    body, _ = written(elsewhere(Message("user", [Text("a")]), Message("assistant", [Text("b")])))
    assert body["messages"][-1] == {"role": "assistant", "content": "b", "prefix": True}


def test_what_only_mistral_has_does_not_reach_another() -> None:
    """`safe_prompt` is told as lost to OpenAI, and is not sent there; `prefix` and its thinking neither."""
    body = {
        "model": "m",
        "safe_prompt": True,
        "random_seed": 3,
        "messages": [{"role": "assistant", "content": [{"type": "reference", "reference_ids": [1]}], "prefix": True}],
    }
    losses = Losses()
    request = CODEC.read_request(body, Asked())
    sent = CODECS["openai-chat"].write_request(request, Target("gpt"), losses).body
    assert sent["seed"] == 3
    assert not json.dumps(sent).count("safe_prompt") + json.dumps(sent).count("prefix")
    assert "safe_prompt" in [loss.path for loss in losses]


def answer_of_another() -> Reply:
    blocks: list[Block] = [
        Thinking("hm"),
        Text("yes"),
        ToolCall("toolu_01", "f", '{"a":1}'),
        ToolCall("toolu_02", "g", ""),
    ]
    return Reply("elsewhere", "r-1", "theirs", 5, [Answer(blocks, Stop("tool_calls"))], Usage(3, output_tokens=4))


def test_a_whole_answer_and_its_stream_say_the_same() -> None:
    """Thinking before text, calls whole with ids of nine characters, the finish reason, and usage without asking."""
    whole = CODEC.write_reply(answer_of_another(), CLIENT, Losses("reply"))
    message = whole["choices"][0]["message"]
    assert [chunk["type"] for chunk in message["content"]] == ["thinking", "text"]
    assert all(ID.fullmatch(call["id"]) for call in message["tool_calls"])
    assert message["tool_calls"][1]["function"]["arguments"] == "{}"
    assert whole["choices"][0]["finish_reason"] == "tool_calls"
    assert (whole["model"], whole["usage"]["total_tokens"]) == ("m", 7)
    writer = CODEC.writer(CLIENT, Losses("reply"))
    data = writer.write(events_of(answer_of_another())) + writer.finish()
    assert data.endswith(b"data: [DONE]\n\n")
    again = laws.collected(CODEC, laws.read_whole(CODEC, data))
    assert again.failure is None
    streamed = CODEC.write_reply(again.reply, CLIENT, Losses("reply"))["choices"][0]
    for place, call in enumerate(streamed["message"]["tool_calls"]):
        assert call.pop("index", place) == place
    assert streamed["message"] == message
    assert again.reply.usage == Usage(3, output_tokens=4)


def test_a_call_in_pieces_reaches_the_client_whole() -> None:
    """Pitfall 6: interleaved pieces of two calls are two whole calls: Mistral's clients take no pieces."""
    writer = CODEC.writer(CLIENT, Losses("reply"))
    data = writer.write(
        [
            Started("r"),
            BlockStart(0, ToolCall("a", "f", "")),
            BlockStart(1, ToolCall("b", "g", "")),
            BlockDelta(0, '{"x"'),
            BlockDelta(1, "{}"),
            BlockDelta(0, ":1}"),
            BlockEnd(0),
            BlockEnd(1),
            Finished(Stop("tool_calls")),
            Used(Usage(1, output_tokens=2)),
        ]
    )
    calls = [
        call
        for line in data.split(b"\n")
        if line
        for call in json.loads(line[6:])["choices"][0]["delta"].get("tool_calls", ())
    ]
    assert [call["function"] for call in calls] == [
        {"name": "f", "arguments": '{"x":1}'},
        {"name": "g", "arguments": "{}"},
    ]
    assert writer.finish().endswith(b"data: [DONE]\n\n")


def test_a_failure_is_the_last_that_a_client_hears() -> None:
    """Pitfalls 25 and 28: an error object without [DONE], whose status Mistral's clients know."""
    writer = CODEC.writer(CLIENT, Losses("reply"))
    data = writer.write([Started("r"), Failed("busy", 529, "overloaded_error"), Finished(Stop("end"))])
    assert json.loads(data.removeprefix(b"data: "))["raw_status_code"] == 503
    assert writer.finish() == b""
    assert isinstance(laws.read_whole(CODEC, data)[-1], Failed)
    assert CODEC.status_for(529) == 503


def test_errors_that_list_what_is_wrong_name_the_place() -> None:
    """`detail[]` on top, and inside of `message`."""
    detail = [{"loc": ["body", "messages", 0, "role"], "msg": "Field required", "type": "missing"}]
    for body in ({"detail": detail}, {"object": "error", "message": {"detail": detail}, "type": "missing"}):
        failed = CODEC.read_error(422, {}, json.dumps(body).encode())
        assert (failed.message, failed.param, failed.type) == ("Field required", "messages.0.role", "missing")
    assert CODEC.read_error(502, {}, b"<html>").message == "<html>"


def test_sound_is_part_of_the_prompt() -> None:
    """Mistral counts it beside the prompt; the whole input is told elsewhere, and its own clients get it as it was."""
    usage = {
        "prompt_tokens": 9,
        "total_tokens": 585,
        "completion_tokens": 201,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 375},
    }
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    reply = CODEC.read_reply(json.loads(json.dumps(body)))
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (384, 201)
    assert CODEC.write_reply(reply, CLIENT, Losses("reply"))["usage"] == usage
