"""Cohere's codec by hand-made conversations: what is written of another format's, and what is told of it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from tests.formats.codecs import laws
from tests.formats.codecs.made import LONG_ID, SIGNED, everything, growing

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs import CODECS, Asked, Client, Target
from interpose.formats.codecs.cohere import CODEC
from interpose.formats.surfaces import COHERE_GENERATION
from interpose.ir import (
    Answer,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Citation,
    Failed,
    Finished,
    Losses,
    Media,
    Message,
    Opaque,
    Output,
    Own,
    Ping,
    Reasoning,
    Refused,
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
)

CLIENT = Client(Request("cohere", "m", []), "m", "call-1", 1_700_000_000)
TOOL = Tool("one", "First.", {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}, at="one")
PNG = "data:image/png;base64,iVBORw0KGgo="


def told(losses: Losses) -> set[tuple[str, str]]:
    return {(loss.severity.value, loss.path) for loss in losses}


def write(request: Request, capabilities: Capabilities | None = None) -> tuple[Any, set[tuple[str, str]]]:
    losses = Losses()
    body = CODEC.write_request(request, Target("m", capabilities or Capabilities()), losses).body
    return body, told(losses)


def asked(*messages: Message, **settings: Any) -> Request:
    return Request("elsewhere", "m", list(messages) or [Message("user", [Text("Hi")])], **settings)


def read(**body: Any) -> Request:
    return CODEC.read_request({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **body}, Asked())


def test_the_codec_is_found_by_the_wire_of_its_path() -> None:
    """The name under which a client's calls look for it."""
    (chat,) = [path for path in COHERE_GENERATION if path.pattern == "/v2/chat"]
    assert CODECS[chat.wire] is CODEC


# Requests written


def test_everything_is_written_or_told() -> None:
    """A conversation with all that formats have: what Cohere gets, and a loss for each thing that it does not."""
    body, losses = write(everything())
    assert body["messages"] == [
        {"role": "system", "content": [{"type": "text", "text": "Be kind."}, {"type": "text", "text": "Be short."}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "tool_plan": "Let me see.",
            "tool_calls": [
                {"id": LONG_ID, "type": "function", "function": {"name": "one", "arguments": '{"x":1}'}},
                {
                    "id": body["messages"][2]["tool_calls"][1]["id"],
                    "type": "function",
                    "function": {"name": "free", "arguments": '{"input":"text"}'},
                },
            ],
        },
        {
            "role": "tool",
            "tool_call_id": LONG_ID,
            "content": [
                {"type": "text", "text": "Error:"},
                {"type": "text", "text": "1"},
                {"type": "text", "text": "[image 1: see the message that follows]"},
            ],
        },
        {"role": "tool", "tool_call_id": body["messages"][2]["tool_calls"][1]["id"], "content": ""},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": f"Returned by the tool call {LONG_ID}:"},
                {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
            ],
        },
        {"role": "user", "content": "Go on."},
        {"role": "assistant", "content": "No."},
        {"role": "system", "content": "In mid-conversation."},
        {"role": "user", "content": "And now?"},
    ]
    assert [tool["function"]["name"] for tool in body["tools"]] == ["one", "free"]
    settings = {key: value for key, value in body.items() if key not in ("messages", "tools")}
    assert settings == {
        "model": "m",
        "tool_choice": "REQUIRED",
        "max_tokens": 100,
        "temperature": 1,
        "p": 0.5,
        "k": 4,
        "seed": 7,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "logprobs": True,
        "stop_sequences": ["a", "b"],
        "thinking": {"type": "enabled", "token_budget": 4000},
        "stream": True,
    }
    assert losses == {
        ("dropped", "system"),  # the mark of a cache
        ("dropped", "user.name"),
        ("dropped", "thinking"),
        ("dropped", "said"),  # citations
        ("approximated", "free"),
        ("dropped", "free"),  # the grammar
        ("dropped", "foreign"),
        ("approximated", "picture"),
        ("approximated", "first"),  # that it is an error
        ("approximated", "refused"),
        ("approximated", "tool_choice"),
        ("dropped", "one.strict"),
        ("dropped", "parallel_tool_calls"),
        ("approximated", "temperature"),
        ("dropped", "response_format"),
        ("dropped", "logit_bias"),
        ("dropped", "top_logprobs"),
        ("dropped", "user"),
        ("dropped", "metadata"),
        ("dropped", "service_tier"),
        ("dropped", "store"),
    }


def test_text_beside_calls_is_their_plan() -> None:
    """Cohere refuses content with text beside calls; without calls, text is content."""
    call = ToolCall("a", "one", "")
    body, losses = write(asked(Message("assistant", [Text("First. "), Text("Second."), call])))
    assert body["messages"][0] == {
        "role": "assistant",
        "tool_plan": "First. Second.",
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "one", "arguments": "{}"}}],
    }
    assert losses == set()
    _, losses = write(asked(Message("assistant", [call, Text("Behind.", at="behind")])))
    assert losses == {("approximated", "behind")}


def test_that_an_answer_is_not_gone_on_with_is_told() -> None:
    """Pitfall 14: Cohere takes an answer that has begun, and answers anew."""
    body, losses = write(asked(Message("user", [Text("Hi")]), Message("assistant", [Text("The")], at="last")))
    assert body["messages"][-1] == {"role": "assistant", "content": "The"}
    assert losses == {("approximated", "last")}


def test_its_own_thinking_goes_back_and_another_s_does_not() -> None:
    """Pitfall 15: opaque state is replayed to its origin alone."""
    own = CODEC.read_reply(
        {"message": {"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hi"}]}}
    )
    thinking = own.answers[0].blocks[0]
    foreign = [Thinking("No.", opaque=SIGNED, at="signed"), Thinking("Plain.", at="plain")]
    body, losses = write(asked(Message("assistant", [thinking, *foreign, Text("Hi")]), Message("user", [Text("So?")])))
    assert body["messages"][0]["content"] == [
        {"type": "thinking", "thinking": "Hm."},
        {"type": "text", "text": "Hi"},
    ]
    assert losses == {("dropped", "signed"), ("dropped", "plain")}


@pytest.mark.parametrize(
    ("media", "reason"),
    [
        (Media("document", Source("base64", "JVBERi0="), "application/pdf", at="at"), "no document"),
        (Media("audio", Source("base64", "UklGRg=="), "audio/wav", at="at"), "no audio"),
        (Media("image", Source("file", "file-1"), at="at"), "another provider keeps"),
        (Media("image", Source("url", "gs://bucket/a.png"), at="at"), "HTTP URL"),
    ],
)
def test_media_that_cohere_cannot_have_are_impossible(media: Media, reason: str) -> None:
    """Pitfalls 13 and 14: nothing is sent, and the path is named."""
    losses = Losses()
    CODEC.write_request(asked(Message("user", [Text("Look"), media])), Target("m"), losses)
    (loss,) = losses.impossibilities
    assert loss.path == "at"
    assert reason in loss.reason


def test_a_model_that_sees_nothing_gets_no_image() -> None:
    """By the table of capabilities."""
    image = Media("image", Source("url", "https://example.com/a.png"), at="at")
    _, losses = write(asked(Message("user", [image])), Capabilities(media=frozenset()))
    assert losses == {("impossible", "at")}


def test_text_documents_are_documents_in_results_and_text_elsewhere() -> None:
    """Only a tool's message has parts that are documents."""
    document = Media("document", Source("text", "Snow."), "text/plain", name="Weather", at="at")
    body, losses = write(asked(Message("user", [document])))
    assert body["messages"][0]["content"] == [{"type": "text", "text": "Weather\n\nSnow."}]
    assert losses == {("approximated", "at")}
    body, losses = write(asked(Message("user", [ToolResult("a", [document])])))
    assert body["messages"][0]["content"] == [
        {"type": "document", "document": {"data": {"text": "Snow.", "title": "Weather"}}}
    ]
    assert losses == set()


@pytest.mark.parametrize(
    ("choice", "written", "tools", "losses"),
    [
        (ToolChoice("any"), "REQUIRED", 2, set()),
        (ToolChoice("none"), "NONE", 2, set()),
        (ToolChoice("auto"), None, 2, set()),
        (ToolChoice("any", ("two",)), "REQUIRED", 1, {("approximated", "tool_choice")}),
        (ToolChoice("auto", ("one",)), None, 1, {("approximated", "tool_choice")}),
        (ToolChoice("auto", parallel=False), None, 2, {("dropped", "parallel_tool_calls")}),
    ],
)
def test_tool_choice(choice: ToolChoice, written: str | None, tools: int, losses: set[Any]) -> None:
    """Pitfall 5: Cohere names no tools; those that may not be called are left out."""
    two = Tool("two", parameters=TOOL.parameters)
    body, found = write(asked(tools=[TOOL, two], tool_choice=choice))
    assert body.get("tool_choice") == written
    assert len(body["tools"]) == tools
    assert found == losses


def test_strict_is_for_all_tools_or_none() -> None:
    """And only for tools of which each has a parameter that must be given."""
    strict = Tool("one", parameters=TOOL.parameters, strict=True, at="one")
    assert write(asked(tools=[strict]))[0]["strict_tools"] is True
    body, losses = write(asked(tools=[strict, TOOL]))
    assert "strict_tools" not in body
    assert losses == {("dropped", "one.strict")}
    free = Tool("free", parameters={"type": "object", "properties": {}}, strict=True, at="free")
    assert write(asked(tools=[free]))[1] == {("dropped", "free.strict")}
    assert "strict_tools" not in write(asked(tools=[Tool("one", parameters=TOOL.parameters, strict=False)]))[0]


@pytest.mark.parametrize(
    ("sampling", "written", "losses"),
    [
        (Sampling(temperature=1.5), {"temperature": 1}, {("approximated", "temperature")}),
        (Sampling(temperature=0.3), {"temperature": 0.3}, set()),
        (Sampling(top_p=1.0), {"p": 0.99}, {("approximated", "top_p")}),
        (Sampling(top_k=1000), {"k": 500}, {("approximated", "top_k")}),
        (Sampling(frequency_penalty=-1.0), {"frequency_penalty": 0}, {("approximated", "frequency_penalty")}),
        (Sampling(presence_penalty=2), {"presence_penalty": 1}, {("approximated", "presence_penalty")}),
        (Sampling(seed=-1), {}, {("dropped", "seed")}),
        (Sampling(logit_bias={"1": 1.0}, top_logprobs=3), {}, {("dropped", "logit_bias"), ("dropped", "top_logprobs")}),
    ],
)
def test_sampling_is_kept_in_range(sampling: Sampling, written: Any, losses: set[Any]) -> None:
    """Pitfall 18: what is out of Cohere's range is brought into it, and told."""
    body, found = write(asked(sampling=sampling))
    assert {key: value for key, value in body.items() if key not in ("model", "messages", "stream")} == written
    assert found == losses


@pytest.mark.parametrize(
    ("reasoning", "written", "losses"),
    [
        (Reasoning(effort="low"), {"type": "enabled", "token_budget": 2000}, {("approximated", "reasoning")}),
        (Reasoning(effort="high"), {"type": "enabled"}, {("approximated", "reasoning")}),
        (Reasoning(effort="none"), {"type": "disabled"}, set()),
        (Reasoning(enabled=False), {"type": "disabled"}, set()),
        (Reasoning(enabled=True, budget=300), {"type": "enabled", "token_budget": 300}, set()),
        (Reasoning(adaptive=True), {"type": "enabled"}, set()),
        (Reasoning(budget=-1), {"type": "enabled"}, set()),
        (Reasoning(), None, set()),
    ],
)
def test_thinking_is_asked_for_by_budget(reasoning: Reasoning, written: Any, losses: set[Any]) -> None:
    """Pitfall 17: an effort is a budget; a model that does not think is not asked to."""
    body, found = write(asked(reasoning=reasoning))
    assert body.get("thinking") == written
    assert found == losses
    body, found = write(asked(reasoning=reasoning), Capabilities(thinking="none"))
    assert "thinking" not in body
    wanted = written is not None and written["type"] == "enabled"
    assert found == ({("dropped", "reasoning")} if wanted else set())


def test_json_by_a_schema_is_not_asked_for_beside_tools() -> None:
    """Pitfall 20, and Cohere's own limit: the tools stay, and what is lost is told."""
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    body, losses = write(asked(output=Output("schema", schema, "name")))
    assert body["response_format"] == {"type": "json_object", "json_schema": schema}
    assert losses == set()
    body, losses = write(asked(output=Output("json"), tools=[TOOL]))
    assert "response_format" not in body
    assert losses == {("dropped", "response_format")}


def test_several_answers_are_impossible() -> None:
    """Pitfall 19."""
    assert write(asked(answers=2))[1] == {("impossible", "n")}


def test_more_sequences_than_five_are_told() -> None:
    """Cohere takes five."""
    body, losses = write(asked(stop=list("abcdefg")))
    assert body["stop_sequences"] == list("abcde")
    assert losses == {("dropped", "stop[5]")}


# Requests read


def test_settings_are_read() -> None:
    """Each in its neutral place; what only Cohere has stays its own."""
    request = read(
        k=3,
        p=0.5,
        seed=1,
        temperature=0.1,
        stop_sequences=["x"],
        max_tokens=9,
        stream=True,
        tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        strict_tools=True,
        tool_choice="REQUIRED",
        thinking={"type": "enabled", "token_budget": 50},
        response_format={"type": "json_object", "json_schema": {"type": "object"}},
        safety_mode="STRICT",
        citation_options={"mode": "FAST"},
    )
    assert request.sampling == Sampling(temperature=0.1, top_p=0.5, top_k=3, seed=1)
    assert (request.stop, request.max_tokens, request.stream) == (["x"], 9, True)
    assert request.tools[0].strict is True
    assert request.tool_choice == ToolChoice("any")
    assert request.reasoning == Reasoning(enabled=True, budget=50)
    assert request.output == Output("schema", {"type": "object"})
    assert request.own is not None
    assert request.own.fields == {"safety_mode": "STRICT", "citation_options": {"mode": "FAST"}}


DOCUMENTS = [
    "Plain.",
    {"data": {"text": "Snow.", "title": "Weather"}, "id": "d1"},
    {"data": {"text": "Sun.", "source": {"page": 3}}, "id": "d2"},
    {"data": "As text."},
]


def test_documents_are_seen_by_other_formats() -> None:
    """They stand behind the system's first words, and come back where they were."""
    body = {
        "model": "m",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Rain?"}],
        "documents": DOCUMENTS,
    }
    request = laws.request_returns(CODEC, body, Asked("/v2/chat"))
    assert [message.role for message in request.messages] == ["system", "user", "user"]
    shown = [block for block in request.messages[1].blocks if isinstance(block, Media)]
    assert [block.source.value for block in shown] == [
        "Plain.",
        "Snow.",
        '{"text":"Sun.","source":{"page":3}}',
        "As text.",
    ]
    losses = Losses()
    written = CODECS["anthropic"].write_request(request, Target("claude"), losses).body
    content = written["messages"][0]["content"]
    assert [part["source"]["data"] for part in content if part["type"] == "document"] == [
        block.source.value for block in shown
    ]
    assert not losses.impossibilities


def test_documents_of_no_known_shape_are_impossible_elsewhere() -> None:
    """Without them the answer would be about something else."""
    body = {"model": "m", "messages": [], "documents": [*DOCUMENTS, {"data": 7}]}
    request = laws.request_returns(CODEC, body, Asked())
    losses = Losses()
    CODECS["openai-chat"].write_request(request, Target("m"), losses)
    assert ("impossible", "documents") in told(losses)


def test_what_says_nothing_to_others_is_no_loss() -> None:
    """No citations are wanted, no raw prompt is: no other format does either."""
    request = read(citation_options={"mode": "OFF"}, raw_prompting=False, documents=[], tools=None)
    losses = Losses()
    CODECS["openai-chat"].write_request(request, Target("m"), losses)
    assert told(losses) == set()


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ([], ""),
        ({"model": 1, "messages": []}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": {}}, "messages"),
        ({"model": "m", "messages": ["Hi"]}, "messages[0]"),
        ({"model": "m", "messages": [{"role": "chief"}]}, "messages[0].role"),
    ],
)
def test_what_is_no_request_is_refused_by_its_path(body: Any, path: str) -> None:
    """Malformed names where."""
    laws.refuses(CODEC, body, path)


@given(growing())
def test_what_is_written_grows_at_its_end(turns: list[list[Message]]) -> None:
    """Law 2, for any conversation of another format's."""
    messages = [message for turn in turns for message in turn]
    whole = write(asked(*messages))[0]["messages"]
    size = 0
    for turn in turns[:-1]:
        size += len(turn)
        assert laws.is_prefix(write(asked(*messages[:size]))[0]["messages"], whole)


def test_a_hundred_thousand_calls_and_results_take_no_age() -> None:
    """A hostile request costs no more than its size."""
    calls = [ToolCall(f"c{n}", "f", "{}") for n in range(100_000)]
    results = [ToolResult(f"c{n}", [Text("1")]) for n in range(100_000)]
    began = time.process_time()
    body, _ = write(asked(Message("assistant", list(calls)), Message("user", list(results))))
    assert len(body["messages"]) == 100_001
    assert time.process_time() - began < 20


# Replies


def reply(*blocks: Any, stop: Stop | None = None, usage: Usage | None = None) -> Reply:
    return Reply("elsewhere", "r1", "theirs", 5, [Answer(list(blocks), stop)], usage or Usage(10, 3, 0, 7, 2))


def whole(answered: Reply) -> tuple[Any, set[tuple[str, str]]]:
    losses = Losses("reply")
    return CODEC.write_reply(answered, CLIENT, losses), told(losses)


def test_a_reply_of_another_format() -> None:
    """Thinking with its signature, text, and calls; usage in Cohere's counting, nothing billed (pitfall 22)."""
    signed = Opaque("gemini", "thought_signature", "c2ln")
    body, losses = whole(
        reply(
            Thinking("Hm.", opaque=SIGNED, at="thinking"),
            Text("Hi"),
            ToolCall("a", "one", "", opaque=signed, at="call"),
            stop=Stop("end"),
        )
    )
    thought, text = body["message"]["content"]
    (call,) = body["message"]["tool_calls"]
    assert (thought["thinking"], text) == ("Hm.", {"type": "text", "text": "Hi"})
    assert call["function"] == {"name": "one", "arguments": "{}"}
    assert body["finish_reason"] == "TOOL_CALL"
    assert body["usage"] == {
        "tokens": {"input_tokens": 10, "output_tokens": 7, "reasoning_tokens": 2},
        "cached_tokens": 3,
    }
    assert losses == {("carried", "thinking"), ("carried", "call")}
    # What the client sends back still knows whose it is.
    message = {**body["message"]}
    request = CODEC.read_request({"model": "m", "messages": [message]}, Asked())
    thinking, said, again = request.messages[0].blocks
    assert isinstance(thinking, Thinking)
    assert isinstance(again, ToolCall)
    assert (thinking.opaque, again.opaque) == (SIGNED, signed)
    assert said == Text("Hi", at="messages[0].content[1]")


@pytest.mark.parametrize(
    ("stop", "word", "losses"),
    [
        (Stop("end"), "COMPLETE", set()),
        (Stop("length"), "MAX_TOKENS", set()),
        (Stop("stop"), "STOP_SEQUENCE", set()),
        (Stop("stop", "END"), "STOP_SEQUENCE", {("dropped", "finish_reason")}),
        (Stop("content_filter"), "COMPLETE", {("approximated", "finish_reason")}),
        (Stop("refusal"), "COMPLETE", {("approximated", "finish_reason")}),
        (Stop("error"), "ERROR", set()),
        (None, "COMPLETE", set()),
    ],
)
def test_finish_reasons_are_written(stop: Stop | None, word: str, losses: set[Any]) -> None:
    """Pitfall 24: what Cohere has no word for is told."""
    body, found = whole(reply(Text("Hi"), stop=stop))
    assert body["finish_reason"] == word
    assert found == losses


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("COMPLETE", "end"),
        ("STOP_SEQUENCE", "stop"),
        ("MAX_TOKENS", "length"),
        ("TOOL_CALL", "tool_calls"),
        ("ERROR", "error"),
        ("TIMEOUT", "error"),
        ("SOMETHING", "other"),
    ],
)
def test_finish_reasons_are_read(word: str, reason: str) -> None:
    """A word that is not known is a reason of its own, and comes back."""
    body = {"id": "1", "finish_reason": word, "message": {"role": "assistant"}}
    found = laws.reply_returns(CODEC, body, CLIENT)
    assert found.answers[0].stop == Stop(reason, None, "cohere", word)  # type: ignore[arg-type]


def test_tokens_of_images_are_input() -> None:
    """Cohere counts them apart; what is billed is nobody's business."""
    usage = {
        "billed_units": {"input_tokens": 267},
        "tokens": {"input_tokens": 34, "output_tokens": 5, "image_tokens": 259, "reasoning_tokens": 0},
        "cached_tokens": 16,
    }
    body = {"id": "1", "message": {"role": "assistant"}, "usage": usage}
    found = laws.reply_returns(CODEC, body, CLIENT)
    assert found.usage == Usage(293, 16, None, 5, 0)
    losses = Losses("reply")
    CODECS["openai-chat"].write_reply(found, Client(Request("openai-chat", "m", []), "m", "c", 5), losses)
    assert told(losses) == set()


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"tokens": {"input_tokens": 5.0, "output_tokens": 2.0}}, Usage(5, output_tokens=2)),
        ({"billed_units": {"input_tokens": 5, "output_tokens": 2}}, Usage(5, output_tokens=2)),
        ({"tokens": {"input_tokens": -1, "output_tokens": "2"}}, Usage()),
        ({"tokens": None}, Usage()),
        ({}, Usage()),
    ],
)
def test_usage_of_other_shapes_is_read_and_comes_back(usage: Any, expected: Usage) -> None:
    """Whole floats, and what is billed where nothing else is told."""
    body = {"id": "1", "message": {"role": "assistant"}, "usage": usage}
    assert laws.reply_returns(CODEC, body, CLIENT).usage == expected


CITED = {
    "role": "assistant",
    "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Snow."}],
    "tool_plan": "I will look.",
    "citations": [
        {"start": 0, "end": 1, "text": "S", "sources": [], "type": "TEXT_CONTENT", "content_index": 1},
        {"start": 0, "end": 1, "text": "I", "sources": [], "type": "PLAN"},
        {"start": 0, "end": 1, "text": "H", "sources": [], "type": "THINKING_CONTENT", "content_index": 0},
        {"text": "Snow", "sources": [{"type": "document", "id": "d", "document": {"url": "https://x", "title": "X"}}]},
    ],
}


def test_citations_come_back_in_their_order() -> None:
    """Those of texts and of the plan stand on these; what is cited in thinking has no place, and is told."""
    found = laws.reply_returns(CODEC, {"id": "1", "finish_reason": "COMPLETE", "message": CITED}, CLIENT)
    thinking, plan, text = found.answers[0].blocks
    assert isinstance(plan, Text)
    assert isinstance(text, Text)
    assert isinstance(thinking, Thinking)
    assert [len(plan.citations), len(text.citations)] == [1, 2]
    assert (text.citations[1].url, text.citations[1].title) == ("https://x", "X")
    assert found.answers[0].own is not None
    assert len(found.answers[0].own.fields["message.citations"]) == 1


def test_another_format_s_citations_are_sources() -> None:
    """Whole and streamed alike; where they stood in that format is told as lost."""
    citation = Citation("https://x", "X", "Snow", Own("anthropic", {"start": 3}))
    body, losses = whole(reply(Thinking("Hm."), Text("Snow.", [citation], at="text")))
    assert body["message"]["citations"] == [
        {
            "sources": [{"type": "document", "document": {"url": "https://x", "title": "X", "text": "Snow"}}],
            "type": "TEXT_CONTENT",
            "content_index": 1,
        }
    ]
    assert losses == {("dropped", "text.start")}


def test_what_a_reply_cannot_hold_is_told() -> None:
    """Refusals are text; media are left out; of several answers there is one."""
    answers = [Answer([Refused("No.", at="refused"), Media("audio", Source("base64", "AA=="), at="sound")])]
    body, losses = whole(Reply("elsewhere", answers=[*answers, Answer([], index=1)]))
    assert body["message"]["content"] == [{"type": "text", "text": "No."}]
    assert body["id"] == "call-1"
    assert losses == {("approximated", "refused"), ("dropped", "sound"), ("dropped", "choices[1]")}


# Streams


def written(*events: Any, finish: bool = True) -> bytes:
    writer = CODEC.writer(CLIENT, Losses("reply"))
    return writer.write(events) + (writer.finish() if finish else b"")


def names(stream: bytes) -> list[str]:
    return [line[7:].decode() for line in stream.split(b"\n") if line.startswith(b"event: ")]


def test_a_stream_is_written_as_it_comes() -> None:
    """Nothing that can be sent is held back; calls side by side keep apart by their numbers (pitfall 6)."""
    writer = CODEC.writer(CLIENT, Losses("reply"))
    assert names(writer.write([Started("r")])) == ["message-start"]
    assert names(writer.write([BlockStart(0, Text(""))])) == ["content-start"]
    assert b'{"text":"Hi"}' in writer.write([BlockDelta(0, "Hi")])
    assert names(writer.write([BlockEnd(0), BlockStart(1, ToolCall("a", "f", ""))])) == [
        "content-end",
        "tool-call-start",
    ]
    assert names(writer.write([BlockStart(2, ToolCall("b", "g", ""))])) == ["tool-call-start"]
    assert b'"index":0' in writer.write([BlockDelta(1, '{"x":')])
    assert b'"index":1' in writer.write([BlockDelta(2, "{}")])
    writer.write([BlockDelta(1, "1}"), BlockEnd(1), BlockEnd(2)])
    last = writer.write([Finished(Stop("tool_calls")), Used(Usage(1, output_tokens=2))]) + writer.finish()
    assert names(last) == ["message-end"]
    assert last.endswith(b"data: [DONE]\n\n")


def test_a_stream_and_a_whole_reply_say_the_same() -> None:
    """Thinking, text, custom and plain calls, without ids and arguments, and what signs them."""
    blocks = [
        Thinking("Hm.", opaque=SIGNED),
        Text("Hi", [Citation("https://x")]),
        ToolCall("", "one", ""),
        ToolCall("b", "free", "text", kind="custom"),
    ]
    stream = written(
        Started("r1"),
        *[event for place, block in enumerate(blocks) for event in (BlockStart(place, block), BlockEnd(place))],
        Finished(Stop("tool_calls")),
        Used(Usage(10, 3, 0, 7, 2)),
    )
    body, _ = whole(reply(*blocks, stop=Stop("tool_calls")))
    again = laws.collected(CODEC, laws.read_whole(CODEC, stream)).reply
    laws.same(CODEC.write_reply(again, CLIENT, Losses("reply")), body)


def test_a_failure_is_the_last_event_and_no_success() -> None:
    """Pitfall 25: its last event says the error, without `[DONE]` behind it; nothing follows."""
    stream = written(Started("r"), BlockStart(0, Text("Hi")), Failed("gone"), BlockDelta(0, "more"))
    assert b"[DONE]" not in stream
    assert b"more" not in stream
    last = json.loads(stream.strip().rpartition(b"data: ")[2])
    assert last == {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "gone"}}
    assert laws.read_whole(CODEC, stream)[-1] == Failed("gone", 502, type="ERROR")


def test_a_timeout_is_a_failure() -> None:
    """As it is for Cohere's clients, and with the status that it would have had."""
    stream = b'data: {"type":"message-end","delta":{"finish_reason":"TIMEOUT"}}\n\n'
    failed = laws.read_whole(CODEC, stream)[-1]
    assert isinstance(failed, Failed)
    assert failed.status == 504


def test_an_error_without_a_name_ends_a_stream() -> None:
    """A body of an error where an event is awaited."""
    stream = b'data: {"message":"too many tokens","error_type":"TOO_MANY_TOKENS"}\n\n'
    assert laws.read_whole(CODEC, stream) == [Failed("too many tokens", type="TOO_MANY_TOKENS")]


def test_pings_are_comments() -> None:
    """Pitfall 26."""
    assert written(Started("r"), Ping(), finish=False).endswith(b"\n\n: ping\n\n")


def test_line_ends_of_other_kinds_are_escaped() -> None:
    """Pitfall 27: clients that read line by line take U+2028 for an end."""
    stream = written(Started("r"), BlockStart(0, Text("a\u2028b\x85c")), BlockEnd(0), Finished(Stop("end")))
    assert "\u2028" not in stream.decode()
    assert "\x85" not in stream.decode()
    assert laws.collected(CODEC, laws.read_whole(CODEC, stream)).reply.answers[0].blocks[0] == Text(
        "a\u2028b\x85c", at="message.content[0]"
    )


def sse(*events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def test_events_that_are_not_known_are_told() -> None:
    """They are kept, and are a loss to others; a stream that begins without its start is read all the same."""
    stream = sse(
        {"type": "debug", "prompt": "<BOS>"},
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hi"}}}},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "extra": 1}},
    )
    found = laws.collected(CODEC, laws.read_whole(CODEC, stream))
    assert found.failure is None
    assert found.reply.answers[0].blocks == [Text("Hi", at="message.content[0]")]
    assert found.reply.own is not None
    assert found.reply.own.fields == {"extra": 1, "events": [{"type": "debug", "prompt": "<BOS>"}]}


def test_log_probabilities_are_joined() -> None:
    """One list, as a whole reply has it."""
    items = [{"text": text, "token_ids": [1], "logprobs": [-0.5]} for text in ("H", "i")]
    stream = sse(
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
        *[
            {
                "type": "content-delta",
                "index": 0,
                "delta": {"message": {"content": {"text": item["text"]}}},
                "logprobs": item,
            }
            for item in items
        ],
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
    )
    found = laws.collected(CODEC, laws.read_whole(CODEC, stream))
    assert found.reply.own is not None
    assert found.reply.own.fields == {"logprobs": items}


def test_citations_behind_their_text_still_belong_to_it() -> None:
    """Some come between a text's end and what follows on it."""
    stream = sse(
        {"type": "message-start", "id": "1", "delta": {"message": {"role": "assistant"}}},
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": "Snow."}}}},
        {"type": "content-end", "index": 0},
        {"type": "citation-start", "index": 0, "delta": {"message": {"citations": {"start": 0, "sources": []}}}},
        {"type": "citation-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
    )
    (text,) = laws.collected(CODEC, laws.read_whole(CODEC, stream)).reply.answers[0].blocks
    assert isinstance(text, Text)
    assert len(text.citations) == 1


# The first version


def first(**body: Any) -> Request:
    return CODEC.read_request({"model": "m", "message": "Hi", **body}, Asked("/v1/chat"))


def test_the_first_version_is_asked_of_other_formats() -> None:
    """A preamble, a history, documents and a schema: each where the other format has it."""
    body = {
        "model": "m",
        "message": "Rain?",
        "preamble": "Be kind.",
        "chat_history": [{"role": "User", "message": "Hi"}, {"role": "CHATBOT", "message": "Hello."}],
        "documents": [{"title": "Weather", "snippet": "Snow."}],
        "response_format": {"type": "json_object", "schema": {"type": "object"}},
        "p": 0.5,
    }
    request = laws.request_returns(CODEC, body, Asked("/v1/chat"))
    losses = Losses()
    written = CODECS["openai-chat"].write_request(request, Target("m"), losses).body
    assert [message["role"] for message in written["messages"]] == ["system", "user", "user", "assistant", "user"]
    assert "Snow." in json.dumps(written["messages"][1])
    assert written["messages"][-1]["content"] == "Rain?"
    assert (written["top_p"], written["response_format"]["type"]) == (0.5, "json_schema")
    assert not losses.impossibilities


@pytest.mark.parametrize("key", ["tools", "tool_results", "connectors", "conversation_id"])
def test_what_only_the_first_version_has_is_impossible_elsewhere(key: str) -> None:
    """Without it the answer would be about something else."""
    losses = Losses()
    CODECS["anthropic"].write_request(first(**{key: [{"name": "f"}]}), Target("m"), losses)
    assert [loss.path for loss in losses.impossibilities] == [key]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"message": 1}, "message"),
        ({"message": "Hi", "chat_history": ["Hi"]}, "chat_history[0]"),
        ({"message": "Hi", "chat_history": [{"role": "TOOL"}]}, "chat_history[0].role"),
    ],
)
def test_what_is_no_request_of_the_first_version_is_refused(body: Any, path: str) -> None:
    """By its path."""
    laws.refuses(CODEC, body, path)


def test_clients_of_the_first_version_are_told_of_losses_and_failures() -> None:
    """It shows text alone; a failure is its last line, and nothing follows."""
    client = Client(first(), "m", "call-1", 5)
    losses = Losses("reply")
    answered = reply(Thinking("Hm.", at="thinking"), Refused("No.", at="refused"), stop=Stop("content_filter"))
    body = CODEC.write_reply(answered, client, losses)
    assert (body["text"], body["finish_reason"]) == ("No.", "ERROR_TOXIC")
    assert told(losses) == {("dropped", "thinking"), ("approximated", "refused")}
    writer = CODEC.writer(client, Losses("reply"))
    lines = (writer.write([Started("r"), BlockStart(0, Text("Hi")), Failed("gone")]) + writer.finish()).splitlines()
    assert [json.loads(line)["event_type"] for line in lines] == ["stream-start", "text-generation", "stream-end"]
    assert json.loads(lines[-1])["finish_reason"] == "ERROR"


# Errors


def test_errors_are_read_and_written() -> None:
    """A message, and what it is where that is said; 529 is 503 to Cohere's clients (pitfall 28)."""
    body = b'{"id":"1","message":"too many tokens","error_type":"TOO_MANY_TOKENS"}'
    failed = CODEC.read_error(400, {"retry-after": "3"}, body)
    assert failed == Failed("too many tokens", 400, type="TOO_MANY_TOKENS", retry_after=3.0)
    assert CODEC.write_error(failed) == {"message": "too many tokens"}
    assert CODEC.read_error(502, {}, b"<html>gone</html>").message == "<html>gone</html>"
    assert CODEC.status_for(529) == 503
