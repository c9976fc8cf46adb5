"""Replies to clients of the Responses API, and its own read. Numbers in docstrings are pitfalls'."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.formats.codecs import laws
from tests.formats.codecs.responses_made import (
    PICTURE,
    SIGNATURE,
    answered,
    client,
)

from interpose.formats.codecs import Asked, Malformed, Target
from interpose.formats.codecs.opaque import pack
from interpose.formats.codecs.responses import CODEC
from interpose.ir import (
    Answer,
    Citation,
    Losses,
    Media,
    Opaque,
    Own,
    Refused,
    Reply,
    Request,
    Severity,
    Stop,
    Text,
    Thinking,
    ToolCall,
    Usage,
)


def read(**body: Any) -> Request:
    return CODEC.read_request({"model": "gpt-5", **copy.deepcopy(body)}, Asked())


def replied(*blocks: Any, reason: Any = "end", request: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    reply = Reply("anthropic", "msg_1", "claude", None, [Answer(list(blocks), Stop(reason))], **more)
    return CODEC.write_reply(reply, client(request), Losses("reply"))


# Replies to a client of this format


def test_an_answer_from_elsewhere_is_a_response() -> None:
    """Thoughts with packed state, text and refusals as messages, calls with their own ids, usage summed."""
    body = replied(*answered(), reason="tool_calls", usage=Usage(10, 3, 2, 7, 4))
    assert body["status"] == "completed"
    first, second, said, bern, nothing, refused = body["output"]
    assert first["summary"] == [{"type": "summary_text", "text": "Let me see."}]
    assert first["encrypted_content"] == pack(SIGNATURE)
    assert (second["type"], second["summary"]) == ("reasoning", [])
    assert [part["text"] for part in said["content"]] == ["It rains, ", "I think."]
    assert said["content"][0]["annotations"][0]["end_index"] == len("It rains, ")
    assert (bern["call_id"], bern["arguments"]) == ("toolu_1", '{"city":"Bern"}')
    assert nothing["arguments"] == "{}"
    assert refused["content"] == [{"type": "refusal", "refusal": "I cannot say more."}]
    assert len({item["id"] for item in body["output"]}) == 6
    assert body["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 17,
    }


def test_losses_of_an_answer_are_told() -> None:
    """State is carried, another provider's server tool is dropped."""
    losses = Losses("reply")
    CODEC.write_reply(Reply("anthropic", answers=[Answer(answered(), Stop("end"))]), client(), losses)
    assert [(loss.severity.value, loss.path) for loss in losses] == [
        ("carried", "content[0]"),
        ("carried", "content[1]"),
        ("dropped", "content[7]"),
    ]
    assert {loss.direction for loss in losses} == {"reply"}


def test_packed_state_comes_back_to_its_origin() -> None:
    """15: what the client sends back is the thought with its signature again, and is sent to nobody else."""
    body = replied(*answered()[:3])
    request = read(input=[{"role": "user", "content": "Hi"}, *body["output"]])
    first, second, said = request.messages[1].blocks
    assert isinstance(first, Thinking)
    assert (first.text, first.opaque) == ("Let me see.", SIGNATURE)
    assert isinstance(second, Thinking)
    assert second.opaque is not None
    assert second.opaque.kind == "redacted"
    assert isinstance(said, Text)
    back = CODEC.write_request(request, Target("gpt-5"), losses := Losses()).body["input"]
    assert [item.get("type") for item in back] == [None, "message"]
    assert [loss.severity for loss in losses] == [Severity.DROPPED, Severity.DROPPED]


def test_state_on_a_call_comes_back_on_that_call() -> None:
    """15: a thought signature on a call travels in a reasoning item behind it."""
    signature = Opaque("gemini", "thought_signature", "c2ln-FAKE")
    body = replied(ToolCall("c1", "f", "{}", opaque=signature), ToolCall("c2", "f", "{}"), Text("Hi", opaque=signature))
    assert [item["type"] for item in body["output"]] == [
        "function_call",
        "reasoning",
        "function_call",
        "message",
        "reasoning",
    ]
    blocks = read(input=body["output"]).messages[0].blocks
    assert [getattr(block, "opaque", None) for block in blocks] == [signature, None, signature]


def test_a_custom_tool_of_the_clients_gets_its_text_back() -> None:
    """8: elsewhere it was a function with one text; here it is custom again."""
    asked = {"model": "gpt-5", "input": "x", "tools": [{"type": "custom", "name": "shell"}]}
    body = replied(ToolCall("c1", "shell", '{"input":"ls -l"}'), ToolCall("c2", "shell", "ls"), request=asked)
    assert [(item["type"], item["input"]) for item in body["output"]] == [
        ("custom_tool_call", "ls -l"),
        ("custom_tool_call", "ls"),
    ]


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        ("end", "completed", None),
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
        ("refusal", "incomplete", {"reason": "content_filter"}),
        ("error", "failed", None),
    ],
)
def test_ends_are_told_in_this_formats_words(reason: Any, status: str, details: Any) -> None:
    """24: a refusal without words of its own is a filter's."""
    body = replied(Text("Hi"), reason=reason)
    assert (body["status"], body["incomplete_details"]) == (status, details)
    assert (body["error"] is None) is (reason != "error")


def test_a_refusal_with_words_is_complete() -> None:
    """24: the words are a part of the message."""
    assert replied(Refused("No."), reason="refusal")["status"] == "completed"


def test_the_response_echoes_the_request() -> None:
    """30: the client's name of the model, its tools and settings; but nothing is stored."""
    asked = {
        "model": "gpt-5",
        "instructions": "Be brief.",
        "input": "Hi",
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}, {"type": "web_search"}],
        "tool_choice": "required",
        "temperature": 0.2,
        "max_output_tokens": 50,
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_object"}},
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "store": True,
        "service_tier": "auto",
    }
    body = replied(Text("Hi"), request=asked)
    assert body["model"] == "gpt-5"
    assert body["created_at"] == 1_700_000_000
    assert body["tools"] == [
        {"type": "function", "name": "f", "description": None, "parameters": {"type": "object"}, "strict": None},
        {"type": "web_search"},
    ]
    for key in ("instructions", "tool_choice", "temperature", "max_output_tokens", "metadata", "parallel_tool_calls"):
        assert body[key] == asked[key], key
    assert body["reasoning"] == {"effort": "low", "summary": None}
    assert body["text"]["format"] == {"type": "json_object"}
    assert body["store"] is False
    assert body["service_tier"] == "default"


def test_ids_of_a_reply_are_made_from_the_calls_alone() -> None:
    """30: the same call gives the same ids, another gives others."""
    reply = Reply("anthropic", answers=[Answer([Text("Hi"), ToolCall("", "f", "{}"), ToolCall("", "f", "{}")])])
    one = CODEC.write_reply(copy.deepcopy(reply), client(), Losses("reply"))
    assert one == CODEC.write_reply(copy.deepcopy(reply), client(), Losses("reply"))
    first, second = (item["call_id"] for item in one["output"][1:])
    assert first != second
    assert one["id"].startswith("resp_")


def test_a_second_answer_is_told() -> None:
    """19: a response is one answer."""
    losses = Losses("reply")
    reply = Reply("openai-chat", answers=[Answer([Text("a")]), Answer([Text("b")], index=1)])
    body = CODEC.write_reply(reply, client(), losses)
    assert [part["text"] for part in body["output"][0]["content"]] == ["a"]
    assert [loss.path for loss in losses] == ["answers[1]"]


def test_a_picture_of_the_models_is_an_item() -> None:
    """Gemini answers with pictures; the nearest here is what the tool for that brings."""
    (item,) = replied(Media("image", PICTURE, "image/png"))["output"]
    assert (item["type"], item["result"]) == ("image_generation_call", "iVBORw0KGgo=")


def test_a_citation_without_a_url_is_told() -> None:
    """14: annotations are of URLs, or of the provider's own files."""
    losses = Losses("reply")
    block = Text("Hi", citations=[Citation(quoted="a document's words")], at="content[0]")
    body = CODEC.write_reply(Reply("anthropic", answers=[Answer([block])]), client(), losses)
    assert body["output"][0]["content"][0]["annotations"] == []
    assert [(loss.severity.value, loss.path) for loss in losses] == [("dropped", "content[0]")]


# Replies of this format


RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "gpt-5",
    "output": [{"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}],
}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "end"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ({"status": "incomplete", "incomplete_details": {"reason": "steered"}}, "other"),
        ({"status": "incomplete", "incomplete_details": None}, "other"),
        ({"status": "failed", "error": {"code": "server_error", "message": "x"}}, "error"),
        ({"status": "cancelled"}, "other"),
        ({"status": None}, "end"),
        ({"status": 5}, "other"),
        ({"output": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]}, "tool_calls"),
        ({"output": [{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}]}, "refusal"),
        ({"output": [{"type": "message", "role": "assistant", "content": []}, {"type": "new", "x": 1}]}, "end"),
        ({"created_at": 1.5, "usage": None}, "end"),
        ({"usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}}, "end"),
        ({"usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 9, "cost": 0.1}}, "end"),
        ({"usage": {"input_tokens": 1, "output_tokens": 2, "input_tokens_details": {}}}, "end"),
        ({"usage": {"input_tokens": "x", "output_tokens_details": {"reasoning_tokens": 1, "z": 2}}}, "end"),
        ({"usage": {}}, "end"),
    ],
)
def test_a_reply_comes_back_equal(changes: dict[str, Any], reason: str) -> None:
    """24: how it ended is derived from the status and from what it holds."""
    body = {**RESPONSE, **changes}
    reply = laws.reply_returns(CODEC, body, client({"model": "gpt-5", "input": "x"}))
    stop = reply.answers[0].stop
    assert stop is not None
    assert stop.reason == reason
    laws.collecting_returns(CODEC, reply)


def test_what_a_reply_repeats_is_no_loss() -> None:
    """The echo of the request says nothing new; what the provider adds is told."""
    echo = {"tools": [{"type": "web_search"}], "temperature": 1.0, "instructions": "x", "metadata": {"a": "b"}}
    reply = CODEC.read_reply({**copy.deepcopy(RESPONSE), **echo, "error": None, "cost": 5})
    losses = Losses("reply")
    losses.own(reply.own, "", "openai-chat")
    losses.own(reply.answers[0].own, "", "openai-chat")
    assert [loss.path for loss in losses] == ["cost"]


@pytest.mark.parametrize(
    ("used", "lost"), [({"web_search": {"num_requests": 0}}, []), ({"x": 1}, ["tool_usage"]), ({}, [])]
)
def test_tools_that_used_nothing_are_no_loss(used: dict[str, Any], lost: list[str]) -> None:
    """Most responses say at length that no tool of the server's was used."""
    body = {**RESPONSE, "tool_usage": used}
    reply = laws.reply_returns(CODEC, body, client())
    losses = Losses("reply")
    losses.own(reply.answers[0].own, "", "anthropic")
    assert [loss.path for loss in losses] == lost


def test_the_tier_that_answered_is_kept() -> None:
    """Chat tells it by the same name."""
    own = Own("openai-chat", {"service_tier": "flex", "system_fingerprint": "fp_1"})
    losses = Losses("reply")
    reply = Reply("openai-chat", answers=[Answer([Text("Hi")])], own=own)
    assert CODEC.write_reply(reply, client(), losses)["service_tier"] == "flex"
    assert [loss.path for loss in losses] == ["system_fingerprint"]


@pytest.mark.parametrize("body", [{}, {"error": {"message": "x"}}, {"output": {}}, [], {"output": [1]}])
def test_what_is_no_reply_is_malformed(body: Any) -> None:
    """An error object, say."""
    with pytest.raises(Malformed):
        CODEC.read_reply(body)
