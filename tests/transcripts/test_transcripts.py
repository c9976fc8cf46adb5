"""Calls as transcripts: what was asked and answered, in turns, whatever the format; and nothing ever raises."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.transcripts import (
    Call,
    Data,
    Material,
    Media,
    Result,
    Text,
    Thinking,
    Transcript,
    read,
    render,
    render_answers,
)

ASKS = {"messages": [{"role": "user", "content": "Hi"}]}
CHAT = "https://api.openai.com/v1/chat/completions"
MESSAGES = "https://api.anthropic.com/v1/messages"
URLS = (
    CHAT,
    MESSAGES,
    "https://api.openai.com/v1/responses",
    "https://api.openai.com/v1/embeddings",
    "https://api.openai.com/v1/images/generations",
    "https://api.openai.com/v1/completions",
    "https://api.anthropic.com/v1/messages/count_tokens",
    "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-lite-v1:0/converse-stream",
    "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-x/invoke-with-response-stream",
    "https://api.cohere.com/v2/chat",
    "https://api.mistral.ai/v1/chat/completions",
    "http://localhost:11434/api/chat",
    "https://unknown.example/what?ever=1",
    "not a URL at all [",
    "",
)


def made(request: Any, reply: Any, url: str = CHAT, status: int = 200, **more: Any) -> Transcript:
    bodies = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in (request, reply)]
    return read(Material(url=url, request=bodies[0], reply=bodies[1], status=status, **more))


def sse(*events: Any) -> bytes:
    return b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events)


WEATHER = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 100,
    "system": "Be brief.",
    "tools": [{"name": "weather", "description": "The weather.", "input_schema": {"type": "object"}}],
    "messages": [
        {"role": "user", "content": "How is it in Paris?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I must ask.", "signature": "c2ln"},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "15 °C"}]},
    ],
}
SUNNY = sse(
    {
        "type": "message_start",
        "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 30, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "It is "}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "15 °C."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
)  # fmt: skip


def test_a_call_is_its_turns() -> None:
    """System, user, thinking, tool calls with their results, and the streamed answer as one message."""
    found = made(WEATHER, SUNNY, MESSAGES)
    assert (found.format, found.endpoint, found.model) == ("anthropic", "chat", "claude-sonnet-4-5")
    assert [turn.role for turn in found.turns] == ["system", "user", "assistant", "user"]
    assert found.turns[2].blocks == (
        Thinking("I must ask.", hidden="signature", size=4),
        Call("toolu_1", "weather", '{"city":"Paris"}'),
    )
    assert found.turns[3].blocks == (Result("toolu_1", "weather", (Text("15 °C"),)),)
    (answer,) = found.answers
    assert answer.turn.blocks == (Text("It is 15 °C."),)
    assert (answer.stop, answer.word) == ("end", "end_turn")
    assert found.streamed
    assert found.whole["content"] == [{"type": "text", "text": "It is 15 °C."}]
    assert (found.usage.input_tokens, found.usage.output_tokens) == (30, 9)
    assert [tool.name for tool in found.tools] == ["weather"]
    assert found.parameters == (("max_tokens", "100"),)
    assert found.turns[2].raw == WEATHER["messages"][1]  # type: ignore[index]
    assert found.notes == ()


def test_a_call_and_its_result_have_one_number() -> None:
    """Also where the format gives no ids: by name, in order."""
    request = {
        "model": "llama3.2",
        "messages": [
            {"role": "assistant", "tool_calls": [
                {"function": {"name": "add", "arguments": {"a": 1}}},
                {"function": {"name": "add", "arguments": {"a": 2}}},
            ]},
            {"role": "tool", "tool_name": "add", "content": "2"},
            {"role": "tool", "tool_name": "add", "content": "3"},
        ],
    }  # fmt: skip
    found = made(request, {}, "http://localhost:11434/api/chat")
    calls = [block for block in found.turns[0].blocks if isinstance(block, Call)]
    results = [block for turn in found.turns for block in turn.blocks if isinstance(block, Result)]
    assert [(call.number, call.answered) for call in calls] == [(1, True), (2, True)]
    assert [(result.number, result.name) for result in results] == [(1, "add"), (2, "add")]


def test_text_is_read_by_people() -> None:
    """As it stands there."""
    assert (
        render(made(WEATHER, SUNNY, MESSAGES), 60)
        == """\
anthropic · chat · claude-sonnet-4-5
tools: weather
max_tokens: 100

── system ──────────────────────────────────────────────────
Be brief.

── user ────────────────────────────────────────────────────
How is it in Paris?

── assistant ───────────────────────────────────────────────
(thinking, 4 characters signature)
  I must ask.

→ weather  #1  toolu_1
  {
    "city": "Paris"
  }

── user ────────────────────────────────────────────────────
← weather  #1  toolu_1
  15 °C

── assistant · end (end_turn) ──────────────────────────────
It is 15 °C.

tokens: 30 in · 9 out
"""
    )


def test_the_answer_alone_is_the_stream_put_together() -> None:
    """For whoever wants that and nothing else."""
    shown = render_answers(made(WEATHER, SUNNY, MESSAGES), 60)
    assert "It is 15 °C." in shown
    assert "Paris" not in shown


def test_a_terminal_obeys_nothing_of_it() -> None:
    """Control characters and turns of the writing's direction are written out, wherever they stand."""
    evil = "\x1b]0;owned\x07 \u202e\x00\r"
    request = {"model": evil, "messages": [{"role": "user", "content": evil, "name": evil}]}
    reply = {"error": {"message": evil, "type": evil}}
    for status in (200, 400):
        shown = render(made(request, reply, status=status))
        assert not set(shown) & set("\x1b\x07\u202e\x00\r")
        assert "\\x1b]0;owned\\x07 \\u202e\\x00" in shown


def test_a_text_has_an_end() -> None:
    """And says that there is more."""
    request = {"model": "gpt-4o", "messages": [{"role": "user", "content": "word " * 100_000}]}
    shown = render(made(request, {}), 80, most=10_000)
    assert len(shown) < 11_000
    assert "the rest is not shown" in shown


def test_long_lines_are_broken_and_code_is_not() -> None:
    """Between words, at the width that is asked for."""
    code = "```\n" + "x" * 90 + " = 1\n```"
    request = {"model": "gpt-4o", "messages": [{"role": "user", "content": "word " * 30 + "\n" + code}]}
    lines = render(made(request, {}), 40).splitlines()
    assert max(len(line) for line in lines if "word" in line) <= 40
    assert "x" * 90 + " = 1" in lines


def test_media_are_told_by_their_kind_and_size() -> None:
    """Those that are there in base64, in a data: URL, and those that are elsewhere."""
    pixel = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 100).decode()
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{pixel}"}},
        {"type": "image_url", "image_url": {"url": "https://pictures.example/cat.png"}},
    ]
    found = made({"model": "gpt-4o", "messages": [{"role": "user", "content": parts}]}, {})
    inline, elsewhere = found.turns[0].blocks
    assert inline == Media("image", "image/png", pixel, size=108)
    assert isinstance(elsewhere, Media)
    assert (elsewhere.data, elsewhere.place) == ("", "https://pictures.example/cat.png")
    assert "[image · image/png · 108 bytes]" in render(found)


def test_an_error_is_told_with_its_type() -> None:
    """In the words of the provider."""
    reply = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    failure = made(WEATHER, reply, MESSAGES, 529).failure
    assert failure is not None
    assert (failure.status, failure.type, failure.message) == (529, "overloaded_error", "Overloaded")


def test_a_stream_that_broke_off_is_shown_as_far_as_it_came() -> None:
    """And it is no success."""
    found = made(WEATHER, SUNNY[: SUNNY.index(b"event: content_block_stop")], MESSAGES)
    assert found.answers[0].turn.blocks == (Text("It is 15 °C."),)
    assert found.failure is not None
    assert "error" in render(found)


def test_a_body_in_the_wrong_format_is_shown_as_json() -> None:
    """With what its own format says is wrong with it."""
    found = made({"model": "gpt-4o", "messages": "no list", "more": 1}, {"what": "is this"})
    assert found.turns[0].blocks == (Text("no list"),)
    assert any("messages" in note for note in found.notes)
    assert found.answers[0].turn.blocks == (Data("", '{\n  "what": "is this"\n}'),)


@pytest.mark.parametrize(
    ("request_", "reply", "format_"),
    [
        ({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}, {"candidates": []}, "gemini"),
        ({"model": "m", **ASKS}, {"choices": []}, "openai"),
        ({"model": "m", "input": "Hi"}, {"object": "response", "output": []}, "openai-responses"),
        ({"model": "m", "max_tokens": 1, "system": "s", **ASKS}, {}, "anthropic"),
        ({"messages": [{"role": "user", "content": [{"text": "Hi"}]}], "inferenceConfig": {}}, {}, "bedrock"),
    ],
)  # fmt: skip
def test_what_no_url_tells_the_bodies_do(request_: Any, reply: Any, format_: str) -> None:
    """A gateway's own paths are known to nobody."""
    found = made(request_, reply, "https://llm.corp.example/generate")
    assert found.format == format_
    assert [turn.blocks for turn in found.turns if turn.role == "user"] == [(Text("Hi"),)]


def test_a_compressed_body_is_read() -> None:
    """As it went over the wire; and as it is, where somebody has undone the coding and left the header."""
    headers = {"content-encoding": "gzip"}
    for reply in (gzip.compress(SUNNY), SUNNY):
        found = made(WEATHER, reply, MESSAGES, reply_headers=headers)
        assert found.answers[0].turn.blocks == (Text("It is 15 °C."),)


def test_vectors_are_told_by_their_length() -> None:
    """The texts that they were made of stand there whole."""
    request = {"model": "text-embedding-3-small", "input": ["one", "two"]}
    reply = {"object": "list", "data": [{"index": 0, "embedding": [0.1] * 1536}], "model": "text-embedding-3-small"}
    found = made(request, reply, "https://api.openai.com/v1/embeddings")
    assert [turn.blocks for turn in found.turns] == [(Text("one"),), (Text("two"),)]
    shown = render(found)
    assert "1,536 numbers" in shown
    assert len(shown) < 2000


def test_a_form_is_its_fields_and_files() -> None:
    """A transcription: what is said beside the sound, and how large that is."""
    body = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\nContent-Type: audio/mpeg\r\n\r\n'
        + b"ID3 and so on" + b"\r\n--b--\r\n"
    )  # fmt: skip
    headers = {"content-type": "multipart/form-data; boundary=b"}
    found = made(body, {"text": "Hello."}, "https://api.openai.com/v1/audio/transcriptions", request_headers=headers)
    model, sound = found.turns[0].blocks
    assert model == Data("model", "whisper-1")
    assert isinstance(sound, Media)
    assert (sound.kind, sound.media_type, sound.name, sound.size) == ("audio", "audio/mpeg", "a.mp3", 13)
    assert found.answers[0].turn.blocks[0] == Text("Hello.")


UNREADABLE = "could not be read ("
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=8), inside, max_size=4),
    max_leaves=12,
)
# Keys that codecs look at, with anything as their value.
KEYS = (
    *("messages", "content", "role", "input", "contents", "parts", "system", "tools", "choices", "output", "error"),
    *("model", "stream", "type", "candidates", "message", "prompt", "usage", "toolConfig", "anthropic_version"),
)
PARTS = st.dictionaries(st.sampled_from(["role", "content", "type", "text", "parts", "id"]), JSON)
BODIES = st.dictionaries(st.sampled_from(KEYS), JSON | st.lists(PARTS))
ANY = st.one_of(
    st.binary(max_size=200),
    BODIES.map(lambda body: json.dumps(body).encode()),
    JSON.map(lambda body: b"data: " + json.dumps(body).encode() + b"\n\n"),
)
TYPES = st.sampled_from(
    (
        *("", "application/json", "text/event-stream", "application/x-ndjson", "application/vnd.amazon.eventstream"),
        *("multipart/form-data", "multipart/form-data; boundary=x", "image/png", "gzip, \x00"),
    )
)


@given(
    url=st.sampled_from(URLS), method=st.sampled_from(["POST", "GET", "X"]), request=ANY, reply=ANY,
    kind=TYPES, status=st.none() | st.sampled_from([200, 400, 529]), coding=st.sampled_from(["", "gzip", "br", "x"]),
)  # fmt: skip
def test_nothing_raises(
    url: str, method: str, request: bytes, reply: bytes, kind: str, status: int | None, coding: str
) -> None:
    """Whatever the bodies hold, there is a transcript, and its text is one."""
    headers = {"content-type": kind, "content-encoding": coding}
    found = read(
        Material(
            method=method, url=url, request=request, request_headers=headers,
            reply=reply, reply_headers=headers, status=status,
        )
    )  # fmt: skip
    assert not any(UNREADABLE in note for note in found.notes), found.notes
    for width in (0, 1, 80):
        render(found, width).encode()
        render_answers(found, width).encode()


def test_what_is_nested_without_end_is_cut() -> None:
    """A thousand lists in lists are shown to some depth."""
    deep = b'{"model": "m", "messages": ' + b"[" * 900 + b"]" * 900 + b"}"
    assert render(made(deep, deep))
    result: Any = "end"
    for _ in range(100):
        result = [{"type": "tool_result", "tool_use_id": "t", "content": result}]
    assert render(made({**WEATHER, "messages": [{"role": "user", "content": result}]}, {}, MESSAGES))


MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn"}
BEGUN = {"type": "message_start", "message": {**MESSAGE, "content": [], "usage": {"input_tokens": 5}}}


@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_that_failed_says_why(streamed: bool) -> None:
    """Also one that comes whole, with a status of 200."""
    error = {"code": "server_error", "message": "The model has stopped working."}
    response = {"id": "resp_1", "object": "response", "status": "failed", "output": [], "error": error}
    reply = sse({"type": "response.failed", "response": response}) if streamed else json.dumps(response).encode()
    found = made({"model": "gpt-5", "input": "Hi"}, reply, "https://api.openai.com/v1/responses")
    assert found.failure is not None
    assert found.failure.message == "The model has stopped working."


@pytest.mark.parametrize("streamed", [False, True])
def test_what_is_heard_is_read(streamed: bool) -> None:
    """The transcript of what a model speaks is shown beside its sound."""
    data = base64.b64encode(b"RIFF\x24\0\0\0WAVEfmt ").decode()
    sound = {"id": "audio_1", "expires_at": 1, "data": data, "transcript": "Good morning to you."}
    choice = {"index": 0, "finish_reason": "stop", "delta" if streamed else "message": {"audio": sound}}
    kind = "chat.completion.chunk" if streamed else "chat.completion"
    document = {"id": "x", "object": kind, "created": 1, "model": "gpt-audio", "choices": [choice]}
    reply = b"data: " + json.dumps(document).encode() + b"\n\ndata: [DONE]\n\n" if streamed else document
    assert made(ASKS, reply).answers[0].turn.blocks == (
        Media("audio", "audio/wav", data, size=16),
        Text("Good morning to you."),
    )


def test_why_a_model_declines_is_told() -> None:
    """Wherever a format says it, beside the turn."""
    details = {"type": "refusal", "category": "cyber", "explanation": "This is about weapons."}
    reply = {**MESSAGE, "content": [], "stop_reason": "refusal", "stop_details": details}
    assert "This is about weapons." in render(made(ASKS, reply, MESSAGES))
    blocked = {"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "It is not safe."}, "candidates": []}
    url = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent"
    assert "It is not safe." in render(made({"contents": []}, blocked, url))


def test_what_a_model_has_searched_for_is_told_and_nothing_twice() -> None:
    """The searches that an answer rests on are shown, but not what its text and its sources say already."""
    said = "It rains in Paris today."
    grounding = {
        "webSearchQueries": ["weather", "paris rain radar"],
        "searchEntryPoint": {"renderedContent": "<div class='chip'> paris </div>"},
        "groundingChunks": [{"web": {"uri": "https://weather.example/", "title": "The weather today"}}],
        "groundingSupports": [{"segment": {"endIndex": 24, "text": said}, "groundingChunkIndices": [0]}],
    }
    content = {"role": "model", "parts": [{"text": said}]}
    reply = {"candidates": [{"content": content, "finishReason": "STOP", "groundingMetadata": grounding}]}
    url = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent"
    shown = render(made({"contents": []}, reply, url))
    assert shown.endswith("{groundingMetadata}\nweather\nparis rain radar\n")
    assert shown.count("The weather today") == 1


def test_a_call_in_no_shape_of_its_format_is_shown() -> None:
    """A call of a tool that the codec does not take for one is there all the same."""
    message = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "delete the house"}}]}
    shown = render(made(ASKS, {"model": "x", "message": message, "done": True}, "http://localhost:11434/api/chat"))
    assert "delete the house" in shown


@pytest.mark.parametrize("streamed", [False, True])
def test_tokens_are_those_that_the_ledger_counts(streamed: bool) -> None:
    """Compactions included, which Anthropic leaves out of its totals."""
    step = {"input_tokens": 100, "output_tokens": 10, "cache_creation": {"ephemeral_5m_input_tokens": 7}}
    usage = {"input_tokens": 100, "output_tokens": 10, "iterations": [{"type": "compaction", **step}, step]}
    reply: Any = {**MESSAGE, "content": [], "usage": usage}
    if streamed:
        end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}
        reply = sse(BEGUN, end, {"type": "message_stop"})
    used = made(ASKS, reply, MESSAGES).usage
    assert (used.input_tokens, used.cache_write_tokens, used.output_tokens) == (214, 14, 20)


def test_thoughts_of_a_generation_are_shown() -> None:
    """Ollama's /api/generate streams them in lines of their own."""
    lines = [{"thinking": "I wonder"}, {"thinking": " why."}, {"response": "Because."}, {"done": True}]
    reply = b"".join(json.dumps({"model": "x", "done": False, **line}).encode() + b"\n" for line in lines)
    blocks = made({"model": "x", "prompt": "Why?"}, reply, "http://localhost:11434/api/generate").answers[0].turn.blocks
    assert [block.text for block in blocks if isinstance(block, Text | Thinking)] == ["I wonder why.", "Because."]


def test_half_a_character_is_written_out() -> None:
    """Wherever it stands: what is shown can always be written."""
    choice = {"index": 0, "finish_reason": "c\ud800", "message": {"role": "assistant", "content": "a\ud800"}}
    shown = render(made({**ASKS, "model": "d\ud800"}, {"model": "e", "choices": [choice]}))
    assert [word for word in ("a\\ud800", "c\\ud800", "d\\ud800") if word not in shown] == []
    delta = {"audio": {"id": "i", "data": "b\ud800"}}
    reply = sse({"type": "chunk", "choices": [{"index": 0, "delta": delta}]}) + b"data: [DONE]\n\n"
    (block,) = made(ASKS, reply).answers[0].turn.blocks
    assert isinstance(block, Media)
    assert block.data == "b\\ud800"
