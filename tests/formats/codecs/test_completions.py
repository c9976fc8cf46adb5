"""Legacy completions on their way to a chat and back: a prompt is a user's message, an answer is its text."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from tests.formats.codecs import laws

from interpose.formats.codecs import Asked, Client, Target
from interpose.formats.codecs.chat import CODEC as CHAT
from interpose.formats.codecs.completions import CODEC
from interpose.ir import (
    Answer,
    Failed,
    Losses,
    Message,
    Opaque,
    Refused,
    Reply,
    Request,
    Started,
    Stop,
    Text,
    Thinking,
    ToolCall,
    Usage,
    events_of,
)


def as_chat(body: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The chat request that a completion request becomes, and what is told."""
    losses = Losses()
    request = CODEC.read_request(laws.copy.deepcopy(body), Asked("/v1/completions"))
    written = CHAT.write_request(request, Target("gpt"), losses)
    return written.body, [(str(loss.severity), loss.path) for loss in losses]


@pytest.mark.parametrize("prompt", ["Once upon", ["Once upon"]])
def test_a_prompt_is_a_users_message(prompt: Any) -> None:
    """With the settings that both have."""
    body = {"model": "m", "prompt": prompt, "max_tokens": 5, "temperature": 0, "stop": "\n", "n": 2, "logprobs": 3}
    written, losses = as_chat({**body, "user": "u", "seed": 1, "echo": False, "best_of": 2, "suffix": None})
    assert written == {
        "model": "gpt",
        "messages": [{"role": "user", "content": "Once upon"}],
        "max_tokens": 5,
        "temperature": 0,
        "stop": ["\n"],
        "n": 2,
        "logprobs": True,
        "top_logprobs": 3,
        "user": "u",
        "seed": 1,
    }
    assert losses == []


@pytest.mark.parametrize(
    ("extra", "path"),
    [
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": [[1, 2], [3]]}, "prompt"),
        ({"prompt": ["one", "two"]}, "prompt"),
        ({"suffix": "the end"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"best_of": 3}, "best_of"),
    ],
)
def test_what_no_chat_can_do_is_impossible(extra: dict[str, Any], path: str) -> None:
    """Tokens, several prompts, a suffix, an echo, the best of several: told by path; to a completion as they came."""
    body = {"model": "m", "prompt": "Once upon", **extra}
    assert as_chat(body)[1] == [("impossible", path)]
    laws.request_returns(CODEC, body, Asked())


@pytest.mark.parametrize("body", [[], {}, {"prompt": None}, {"prompt": []}, {"prompt": 5}])
def test_a_request_without_a_prompt_is_malformed(body: Any) -> None:
    """There is nothing to go on from."""
    laws.refuses(CODEC, body, "" if body == [] else "prompt")


def test_one_text_of_another_format_is_a_prompt() -> None:
    """A conversation is told as impossible."""
    one = Request("anthropic", "claude", [Message("user", [Text("Once"), Text(" upon")])], max_tokens=5)
    losses = Losses()
    assert CODEC.write_request(one, Target("m"), losses).body == {"model": "m", "prompt": "Once upon", "max_tokens": 5}
    assert not list(losses)
    two = Request("anthropic", "claude", [*one.messages, Message("assistant", [Text("a")])])
    CODEC.write_request(two, Target("m"), losses)
    assert [loss.path for loss in losses.impossibilities] == ["messages"]


REPLY = Reply(
    "anthropic",
    "msg_1",
    "claude",
    None,
    [
        Answer(
            [
                Thinking("Hm.", opaque=Opaque("anthropic", "signature", "s"), at="content[0]"),
                Text("Yes. ", at="content[1]"),
                ToolCall("a", "f", "{}", at="content[2]"),
                Refused("No.", at="content[3]"),
            ],
            Stop("tool_calls", None, "anthropic", "tool_use"),
        )
    ],
    Usage(7, None, None, 3, None),
)
TOLD = [
    ("dropped", "content[0]"),
    ("dropped", "content[2]"),
    ("approximated", "content[3]"),
    ("approximated", "choices[0].finish_reason"),
]


def client(*, include_usage: bool | None = None) -> Client:
    return Client(Request("openai-completions", "m", [], include_usage=include_usage), "m", "0123", 1_700_000_000)


def test_an_answer_is_its_text() -> None:
    """What is no text is told."""
    losses = Losses("reply")
    assert CODEC.write_reply(REPLY, client(), losses) == {
        "id": "msg_1",
        "object": "text_completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [{"text": "Yes. No.", "index": 0, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }
    assert sorted((str(loss.severity), loss.path) for loss in losses) == sorted(TOLD)


@pytest.mark.parametrize("include_usage", [True, None])
def test_a_stream_says_what_the_whole_reply_says(include_usage: bool | None) -> None:
    """Read by the official SDK; the usage chunk comes if it was asked for (pitfall 23)."""
    losses = Losses("reply")
    writer = CODEC.writer(client(include_usage=include_usage), losses)
    data = writer.write(events_of(REPLY)) + writer.finish()
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, headers={"content-type": "text/event-stream"}, content=data)
    )
    sdk = openai.OpenAI(api_key="sk-FAKE-1", http_client=httpx.Client(transport=transport), max_retries=0)
    with sdk.completions.create(model="m", prompt="p", stream=True) as stream:
        chunks = list(stream)
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "Yes. No."
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == ([10] if include_usage else [])
    assert sorted((str(loss.severity), loss.path) for loss in losses) == sorted(TOLD)


def test_a_failure_is_the_end_of_a_stream() -> None:
    """Pitfall 25: an error object, and no [DONE]."""
    writer = CODEC.writer(client(), Losses("reply"))
    data = writer.write([Started("a"), Failed("no", 500)]) + writer.finish()
    assert b"[DONE]" not in data
    assert json.loads(data.removeprefix(b"data: "))["error"]["message"] == "no"
    assert isinstance(laws.read_whole(CODEC, data)[-1], Failed)


def test_chats_log_probabilities_are_completions() -> None:
    """Lists beside each other, with offsets in characters."""
    token = {"token": "Yes", "logprob": -0.1, "bytes": None, "top_logprobs": [{"token": "Yes", "logprob": -0.1}]}
    body = {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Yes."},
                "logprobs": {"content": [token, {**token, "token": "."}], "refusal": None},
                "finish_reason": "stop",
            }
        ]
    }
    losses = Losses("reply")
    written = CODEC.write_reply(CHAT.read_reply(body), client(), losses)
    assert written["choices"][0]["logprobs"] == {
        "tokens": ["Yes", "."],
        "token_logprobs": [-0.1, -0.1],
        "top_logprobs": [{"Yes": -0.1}, {"Yes": -0.1}],
        "text_offset": [0, 3],
    }
    assert not list(losses)
