"""`interpose convert`: what is on stdout, what on stderr, and the status."""

import json
from pathlib import Path

import pytest

from interpose.wire.eventstream import encode_message

from .conftest import Command

ASKS = json.dumps({"model": "gpt-4o", "temperature": 1.5, "messages": [{"role": "user", "content": "Hi"}]})
SAYS = json.dumps(
    {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_sequence": None,
        "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
)  # fmt: skip
CHUNKS = (
    'data: {"id":"x","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
    'data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)


def test_a_request_from_a_file(interpose: Command, tmp_path: Path) -> None:
    """JSON alone on stdout; where it would be sent, and each loss with its path, on stderr."""
    file = tmp_path / "request.json"
    file.write_text(ASKS)
    done = interpose("convert", "--from", "openai", "--to", "anthropic", "--model", "claude-x", str(file))
    assert done.returncode == 0, done
    made = json.loads(done.stdout)
    assert (made["model"], made["temperature"]) == ("claude-x", 1.0)
    assert made["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert done.stderr.startswith("POST /v1/messages\nanthropic-version: ")
    assert "\napproximated: temperature: " in done.stderr


def test_what_64_bits_and_utf_8_do_not_hold(interpose: Command) -> None:
    """A number of thirty digits and half of a surrogate pair in a call's arguments arrive as they were, both ways."""
    arguments = {"id": 123456789012345678901234567890, "half": "\ud800"}
    function = {"name": "f", "arguments": json.dumps(arguments)}
    calls = [{"id": "call_1", "type": "function", "function": function}]
    asks = {"model": "gpt-4o", "messages": [{"role": "assistant", "tool_calls": calls}]}
    made = interpose("convert", "--from", "openai", "--to", "anthropic", stdin=json.dumps(asks))
    assert made.returncode == 0, made
    assert json.loads(made.stdout)["messages"][-1]["content"][-1]["input"] == arguments
    del arguments["half"]  # outside of texts it is no JSON to the parser of bodies
    content = [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": arguments}]
    says = {**json.loads(SAYS), "content": content}
    made = interpose("convert", "--from", "anthropic", "--to", "openai", stdin=json.dumps(says))
    assert made.returncode == 0, made
    (call,) = json.loads(made.stdout)["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == arguments


@pytest.mark.parametrize("target", ["openai", "openai-responses", "gemini", "cohere", "mistral", "ollama"])
def test_a_key_of_a_block_that_is_not_known_is_told(interpose: Command, target: str) -> None:
    """Of a whole reply, too, whatever the block is."""
    blocks = ({"type": "text", "text": "Hi", "mood": "fine"}, {"type": "thinking", "thinking": "Hm", "mood": "fine"})
    says = {**json.loads(SAYS), "content": blocks}
    made = interpose("convert", "--from", "anthropic", "--to", target, stdin=json.dumps(says))
    assert made.returncode == 0, made
    assert "dropped: content[0].mood: " in made.stderr
    assert "dropped: content[1].mood: " in made.stderr


@pytest.mark.parametrize("target", ["openai", "openai-responses", "gemini", "cohere", "mistral", "ollama"])
def test_a_kind_of_delta_that_is_not_known_is_told(interpose: Command, target: str) -> None:
    """What a newer Claude says in the middle of a block does not disappear without a word."""
    events: tuple[dict[str, object], ...] = (
        {"type": "message_start", "message": {**json.loads(SAYS), "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "mood_delta", "mood": "fine"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    )
    stream = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    made = interpose("convert", "--from", "anthropic", "--to", target, stdin=stream)
    assert made.returncode == 0, made
    assert "dropped: content[0].mood_delta: " in made.stderr


def test_bedrock_has_its_model_in_the_path(interpose: Command, tmp_path: Path) -> None:
    """Both ways: it is told where a request goes, and --model stands in for the URL of what was read; a stream's
    binary frames are read from a file.
    """
    file = tmp_path / "request.json"
    file.write_text(ASKS)
    sent = interpose("convert", "--from", "openai", "--to", "bedrock", "--model", "amazon.nova-pro-v1:0", str(file))
    assert sent.returncode == 0, sent
    assert json.loads(sent.stdout)["inferenceConfig"] == {"temperature": 1}
    assert sent.stderr.startswith("POST /model/amazon.nova-pro-v1%3A0/converse\n")
    file.write_text(json.dumps({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}))
    read = interpose("convert", "--from", "bedrock", "--to", "openai", "--model", "gpt-4o", "--stream", str(file))
    assert (json.loads(read.stdout)["model"], json.loads(read.stdout)["stream"]) == ("gpt-4o", True), read
    frames = tmp_path / "frames"
    told = [
        ("messageStart", {"role": "assistant"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hello"}}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}, "metrics": {"latencyMs": 1}}),
    ]
    frames.write_bytes(
        b"".join(
            encode_message({":event-type": name, ":message-type": "event"}, json.dumps(node).encode())
            for name, node in told
        )
    )
    stream = interpose("convert", "--from", "bedrock", "--to", "openai", str(frames))
    assert stream.returncode == 0, stream
    assert '"content":"Hello"' in stream.stdout
    assert stream.stdout.endswith("data: [DONE]\n\n")


def test_strict_says_that_something_was_lost(interpose: Command) -> None:
    """With status 1, and the conversion all the same; where nothing was, with 0."""
    clean = interpose("convert", "--from", "openai-chat", "--to", "gemini", "--strict", stdin=ASKS)
    lossy = interpose("convert", "--from", "openai", "--to", "anthropic", "--strict", stdin=ASKS)
    assert (clean.returncode, lossy.returncode) == (0, 1)
    assert json.loads(clean.stdout)["generationConfig"]["temperature"] == 1.5
    assert json.loads(lossy.stdout)["temperature"] == 1.0


def test_a_reply_and_a_stream(interpose: Command) -> None:
    """Seen from the text itself."""
    reply = interpose("convert", "--from", "anthropic", "--to", "openai", stdin=SAYS)
    assert json.loads(reply.stdout)["choices"][0]["message"]["content"] == "Hello"
    stream = interpose("convert", "--from", "openai", "--to", "anthropic", stdin=CHUNKS)
    assert stream.returncode == 0
    assert stream.stdout.startswith("event: message_start\n")
    assert stream.stdout.endswith('data: {"type":"message_stop"}\n\n')


def test_a_stream_that_breaks_off_is_no_success(interpose: Command) -> None:
    """What there was is printed, and ends in an error."""
    done = interpose("convert", "--from", "openai", "--to", "anthropic", stdin=CHUNKS[: CHUNKS.index("\n\n") + 2])
    assert done.returncode == 2
    assert "event: error\n" in done.stdout
    assert "message_stop" not in done.stdout
    assert "breaks off" in done.stderr


def test_what_is_impossible_prints_nothing(interpose: Command) -> None:
    """And names the path."""
    body = ASKS.replace('"temperature"', '"n": 2, "temperature"')
    done = interpose("convert", "--from", "openai", "--to", "anthropic", stdin=body)
    assert (done.returncode, done.stdout) == (3, "")
    assert "\nimpossible: n: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        (
            ("--from", "openai", "--to", "gemini"),
            '{"messages": 7}',
            "stdin: this is no request of openai-chat: messages",
        ),
        (("--from", "openai", "--to", "gemini", "--kind", "reply"), "{", "it is not JSON"),
        (("--from", "cobol", "--to", "gemini"), "{}", "--from cobol is not known: there are anthropic, "),
        (("--from", "openai", "--to", "gemini", "--kind", "song"), "{}", "--kind song is not known"),
    ],
)
def test_bad_input_is_named(interpose: Command, arguments: tuple[str, ...], stdin: str, told: str) -> None:
    """With status 2 and an empty stdout."""
    done = interpose("convert", *arguments, stdin=stdin)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_a_file_that_is_not_there(interpose: Command) -> None:
    """One clear error."""
    done = interpose("convert", "--from", "openai", "--to", "gemini", "/nowhere.json")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "interpose: /nowhere.json: No such file or directory\n"


@pytest.mark.parametrize(
    ("source", "body"),
    [
        ("gemini", {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}),
        ("bedrock", {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}),
        (
            "vertex-anthropic",
            {
                "anthropic_version": "vertex-2023-10-16",
                "max_tokens": 9,
                "messages": [{"role": "user", "content": "Hi"}],
            },
        ),
    ],
)
def test_what_a_format_says_in_its_url_is_told_by_options(interpose: Command, source: str, body: object) -> None:
    """The model, and whether to stream."""
    done = interpose(
        "convert", "--from", source, "--to", "openai", "--model", "gpt-4o", "--stream", stdin=json.dumps(body)
    )
    made = json.loads(done.stdout)
    assert (made["model"], made["stream"], made["messages"]) == ("gpt-4o", True, [{"role": "user", "content": "Hi"}])
