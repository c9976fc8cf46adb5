"""Replies and streams of the Gemini codec, and the pitfalls that concern them; google-genai reads what it writes."""

from __future__ import annotations

import copy
import json
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types
from tests.formats.codecs import laws
from tests.formats.codecs.gemini_samples import (
    chunk,
    client,
    events,
    read,
    write,
)

from interpose.formats.codecs import Asked
from interpose.formats.codecs.gemini import CODEC
from interpose.ir import (
    Answer,
    Failed,
    Foreign,
    Losses,
    Opaque,
    Ping,
    Reply,
    Started,
    Stop,
    Text,
    Thinking,
    ToolCall,
    Usage,
    Used,
    events_of,
)


def test_22_usage() -> None:
    """22: output is candidates and thoughts, input what tools added too; both ways, never below zero."""
    told = {
        "promptTokenCount": 10,
        "toolUsePromptTokenCount": 5,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 7,
        "totalTokenCount": 25,
    }
    body = {"candidates": [], "usageMetadata": told, "modelVersion": "m", "responseId": "r"}
    reply = laws.reply_returns(CODEC, body, client(model="m"))
    assert reply.usage == Usage(15, 4, None, 10, 7)
    odd = Reply("anthropic", usage=Usage(20, 5, 3, 4, 9))
    assert CODEC.write_reply(odd, client(), Losses())["usageMetadata"] == {
        "promptTokenCount": 20,
        "cachedContentTokenCount": 5,
        "candidatesTokenCount": 0,
        "thoughtsTokenCount": 9,
        "totalTokenCount": 24,
    }


def test_23_usage_early_and_late() -> None:
    """23: what the first chunk tells of the input is told at the start; later counters overwrite it, never add."""

    def counted(candidates: int, **more: Any) -> bytes:
        one = json.loads(chunk({"text": "a"}, **more)[6:])
        one["usageMetadata"] = {"promptTokenCount": 9, "candidatesTokenCount": candidates}
        return b"data: " + json.dumps(one).encode() + b"\n\n"

    found = laws.every_split(CODEC, counted(1) + counted(3, finishReason="STOP"))
    assert isinstance(found[0], Started)
    assert found[0].usage.input_tokens == 9
    assert [event.usage for event in found if isinstance(event, Used)] == [Usage(9, None, None, 3, None)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_27_framing(end: bytes) -> None:
    """27: any line end, comments, U+2028 in a text, data over several lines, no last blank line."""
    one = json.dumps(json.loads(chunk({"text": "a\u2028ü"})[6:]), ensure_ascii=False).encode()
    last = json.dumps(json.loads(chunk({"text": "b"}, finishReason="STOP")[6:]), indent=1).encode()
    lines = [b": hello", b"data:" + one, b"", *[b"data: " + line for line in last.split(b"\n")]]
    reply = read(end.join(lines))
    assert [block.text for block in reply.answers[0].blocks if isinstance(block, Text)] == ["a\u2028üb"]


def test_24_stop_with_calls() -> None:
    """24: STOP is tool_calls where functions are called, whole and in a stream."""
    call = {"functionCall": {"name": "f", "args": {"b": 1.0, "a": 1}}}
    candidate = {"content": {"parts": [copy.deepcopy(call)], "role": "model"}, "finishReason": "STOP", "index": 0}
    reply = CODEC.read_reply({"candidates": [candidate], "modelVersion": "m", "responseId": "r"})
    assert reply.answers[0].stop == Stop("tool_calls", format="gemini", raw="STOP")
    streamed = read(chunk(call) + chunk({"text": ""}, finishReason="STOP"))
    assert streamed.answers[0].stop == reply.answers[0].stop
    assert streamed.answers[0].blocks == reply.answers[0].blocks


def test_24_a_blocked_prompt() -> None:
    """24: no candidates but promptFeedback is an empty answer, filtered; and it returns."""
    body = {
        "promptFeedback": {"blockReason": "JAILBREAK", "blockReasonMessage": "no", "safetyRatings": []},
        "modelVersion": "m",
        "responseId": "r",
    }
    reply = laws.reply_returns(CODEC, body, client(model="m"))
    stop = reply.answers[0].stop
    assert stop is not None
    assert (stop.reason, stop.raw) == ("content_filter", "JAILBREAK")
    streamed = read(b"data: " + json.dumps(body).encode() + b"\n\n")
    assert streamed.answers == reply.answers
    writer = CODEC.writer(client(model="m"), Losses("reply"))
    again = read(writer.write(events_of(reply)) + writer.finish())
    assert again.answers == reply.answers


def test_25_nothing_but_a_finish_reason_is_an_end() -> None:
    """25: a stream that is cut off, empty, ended by [DONE] alone, or left within its array is Failed."""
    text = chunk({"text": "hi"})
    whole = text + chunk({"text": "!"}, finishReason="STOP")
    array = b"[" + text[6:-4] + b",\r\n" + chunk({"text": "!"}, finishReason="STOP")[6:-4]
    for data in (b"", b"  ", text, text + b"data: [DONE]\n\n", whole[:-20], array, b"[]", b"data: {}\n\n"):
        assert isinstance(laws.read_whole(CODEC, data)[-1], Failed), data
    assert read(whole).answers[0].blocks == read(array + b"]").answers[0].blocks
    read(whole + b"data: [DONE]\n\n")
    read(whole[:-4])


def test_25_parts_behind_a_finish_reason() -> None:
    """25: more may follow the first STOP; then the stream has to end anew."""
    first = chunk({"executableCode": {"code": "1", "language": "PYTHON"}}, finishReason="STOP")
    more = chunk({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}) + chunk({"text": "one"})
    assert isinstance(laws.read_whole(CODEC, first + more)[-1], Failed)
    reply = read(first + more + chunk({"text": "!"}, finishReason="STOP"))
    assert [type(block) for block in reply.answers[0].blocks] == [Foreign, Foreign, Text]
    bare = {"index": 0, "groundingMetadata": {}}
    read(first + b"data: " + json.dumps({"candidates": [bare]}).encode() + b"\n\n")


@pytest.mark.parametrize("wrap", [lambda error: error, lambda error: [error]])
def test_25_errors_in_a_stream(wrap: Any) -> None:
    """25, 28: an error object ends a stream in Failed with its words, SSE or array, alone or in a list."""
    error = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    for data in (
        chunk({"text": "a"}) + b"data: " + json.dumps(wrap(error)).encode() + b"\n\n" + chunk(finishReason="STOP"),
        json.dumps([wrap(error)]).encode(),
    ):
        failed = laws.read_whole(CODEC, data)[-1]
        assert failed == Failed("overloaded", 503, "UNAVAILABLE")


def test_signed_and_unsigned_text_stay_apart() -> None:
    """A signature belongs to the text before it; what follows is a block of its own, also when it is written again."""
    data = (
        chunk({"text": "th", "thought": True})
        + chunk({"text": "ink", "thought": True})
        + chunk({"text": "a"})
        + chunk({"text": "b"})
        + chunk({"text": "", "thoughtSignature": "c2ln"})
        + chunk({"text": "c"})
        + chunk({"text": "d"}, {"text": "e"}, finishReason="STOP")
    )
    reply = read(data)
    signature = Opaque("gemini", "thought_signature", "c2ln", model="m")
    at = "candidates[0].content.parts"
    expected = [
        Thinking("think", summary=True, at=f"{at}[0]"),
        Text("ab", opaque=signature, at=f"{at}[1]"),
        Text("cd", at=f"{at}[2]"),
        Text("e", at=f"{at}[3]"),
    ]
    assert reply.answers[0].blocks == expected
    writer = CODEC.writer(client(model="m"), Losses("reply"))
    assert read(writer.write(events_of(reply)) + writer.finish()).answers[0].blocks == expected


def test_arguments_that_come_in_pieces() -> None:
    """Arguments streamed as values at paths are put together; a missing last piece is no harm once the answer ends."""

    def piece(path: str, **value: Any) -> dict[str, Any]:
        return {"functionCall": {"partialArgs": [{"jsonPath": path, **value}], "willContinue": True}}

    data = (
        chunk({"functionCall": {"name": "f", "willContinue": True}, "thoughtSignature": "c2ln"})
        + chunk(piece("$.list[0].name", stringValue="ap", willContinue=True))
        + chunk(piece("$.list[0].name", stringValue="ple"))
        + chunk(piece("$.list[1]['a b']", numberValue=0.5), piece("$.yes", boolValue=True))
        + chunk(piece("$.none", nullValue="NULL_VALUE"))
    )
    for end in (chunk({"functionCall": {}}), b""):
        reply = read(data + end + chunk({"text": ""}, finishReason="STOP"))
        (call,) = reply.answers[0].blocks
        assert isinstance(call, ToolCall)
        assert json.loads(call.arguments) == {"list": [{"name": "apple"}, {"a b": 0.5}], "yes": True, "none": None}
        assert call.opaque is not None
    hostile = chunk({"functionCall": {"name": "f", "willContinue": True}}) + chunk(
        piece("$.a[999999999]", numberValue=1)
    )
    assert isinstance(laws.read_whole(CODEC, hostile)[-1], Failed)


def test_a_stream_for_the_client() -> None:
    """Blocks come out whole and in order; collected, they are what a whole reply is; the losses are told once."""
    data, losses = write(events())
    reply = read(data)
    assembled = laws.collected(CODEC, events()).reply
    assembled.format = "anthropic"
    whole = CODEC.read_reply(CODEC.write_reply(assembled, client(), Losses("reply")))
    assert [[type(b) for b in a.blocks] for a in reply.answers] == [[Thinking, Text, ToolCall, ToolCall]]
    assert reply.answers[0].blocks == whole.answers[0].blocks
    assert reply.answers[0].stop == whole.answers[0].stop
    assert (reply.usage, reply.id, reply.model) == (whole.usage, whole.id, whole.model)
    assert {(loss.severity.value, loss.path) for loss in losses} >= {("dropped", "fingerprint")}


def test_26_pings_are_nothing() -> None:
    """26: nothing is written for a ping, no comment, no [DONE]."""
    writer = CODEC.writer(client(), Losses("reply"))
    assert writer.write([Started("a", "m"), Ping(), Ping()]) == b""
    data, _ = write(events())
    assert all(line == b"" or line.startswith(b"data: {") for line in data.split(b"\r\n"))


def test_25_failure_is_the_last_word() -> None:
    """25: after Failed nothing follows, and no finish reason has been sent before, in either framing."""
    array = CODEC.read_request({"contents": []}, Asked("/v1beta/models/m:streamGenerateContent"))
    for request in (None, array):
        data, _ = write([*events(), Failed("overloaded", 529, "overloaded_error"), Ping()], request)
        assert b"finishReason" not in data
        failed = laws.read_whole(CODEC, data)[-1]
        assert isinstance(failed, Failed)
        assert (failed.status, failed.message, failed.type) == (503, "overloaded", "UNAVAILABLE")
        assert b"overloaded_error" in data


def through_sdk(data: bytes, status: int = 200) -> genai.Client:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"content-type": "text/event-stream"}, content=data)

    transport = httpx.Client(transport=httpx.MockTransport(answer))
    return genai.Client(api_key="sk-FAKE-key", http_options=types.HttpOptions(httpx_client=transport))


def test_the_sdk_takes_the_stream() -> None:
    """google-genai reads what is written: thoughts, text, calls with arguments, usage, one finish reason."""
    data, _ = write(events())
    found = list(through_sdk(data).models.generate_content_stream(model="gemini-2.5-flash", contents="x"))
    parts = [part for one in found for part in one.parts or []]
    assert "".join(part.text or "" for part in parts if part.thought) == "hm"
    assert "".join(part.text or "" for part in parts if not part.thought) == "hello"
    calls = [(part.function_call.name, part.function_call.args) for part in parts if part.function_call]
    assert calls == [("f", {"a": 1}), ("g", {"b": 2})]
    reasons = [one.candidates[0].finish_reason for one in found if one.candidates and one.candidates[0].finish_reason]
    assert reasons == [types.FinishReason.STOP]
    usage = found[-1].usage_metadata
    assert usage is not None
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count) == (5, 9, 14)
    metadata = found[-1].candidates[0].grounding_metadata if found[-1].candidates else None
    assert metadata is not None
    assert metadata.grounding_chunks
    assert metadata.grounding_chunks[0].web is not None
    assert metadata.grounding_chunks[0].web.uri == "https://example.com"


def test_the_sdk_raises_for_a_failure() -> None:
    """google-genai raises ServerError for an error in mid-stream, and for an error status."""
    data, _ = write([*events(end=False), Failed("overloaded", 529, "overloaded_error", retry_after=3)])
    with pytest.raises(errors.ServerError, match="overloaded"):
        list(through_sdk(data).models.generate_content_stream(model="gemini-2.5-flash", contents="x"))
    body = json.dumps(CODEC.write_error(Failed("no key", 401, "authentication_error"))).encode()
    with pytest.raises(errors.ClientError, match="no key"):
        through_sdk(body, 401).models.generate_content(model="gemini-2.5-flash", contents="x")


def test_28_errors() -> None:
    """28: 529 becomes 503, the provider's word is kept, retry hints go both ways; what is no JSON is a message."""
    body = CODEC.write_error(Failed("wait", 529, "overloaded_error", "c", "messages", 1.5))
    assert body["error"]["code"] == 503
    assert body["error"]["status"] == "UNAVAILABLE"
    assert {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.5s"} in body["error"]["details"]
    again = CODEC.read_error(503, {}, json.dumps([body]).encode())
    assert (again.message, again.retry_after, again.param) == ("wait", 1.5, "messages")
    assert CODEC.read_error(502, {"retry-after": "7", "retry-after-ms": "500"}, b"<html>").retry_after == 0.5
    assert CODEC.read_error(500, {}, b"<html>no</html>" * 1000).message.startswith("<html>no")
    assert CODEC.read_error(500, {}, b"").message == "the provider answered with status 500"
    for status in (0, 200, 529, 600):
        assert CODEC.status_for(status) in (502, 503)


def test_30_names_and_ids() -> None:
    """30: the client's own name of the model, and ids that stay through a stream."""
    data, _ = write(events())
    told = [json.loads(line[6:]) for line in data.split(b"\r\n") if line]
    assert {(one["modelVersion"], one["responseId"]) for one in told} == {("gemini-2.5-flash", "msg_1")}
    nameless = CODEC.write_reply(Reply("ollama", answers=[Answer([Text("x")], Stop("end"))]), client(), Losses())
    assert nameless["responseId"] == "id-1"
