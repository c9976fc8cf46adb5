"""What Ollama's codec makes of other formats' conversations and answers, and of its own in every spelling."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from tests.formats.codecs import laws
from tests.formats.codecs.made import SIGNED, everything, growing

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs import CODECS, Asked, Client, Target
from interpose.formats.codecs.ollama import CODEC
from interpose.formats.surfaces import OLLAMA
from interpose.ir import (
    Answer,
    Block,
    BlockDelta,
    BlockEnd,
    BlockStart,
    CacheMark,
    Citation,
    Failed,
    Finished,
    Foreign,
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
    Told,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
    Used,
    events_of,
)

CLIENT = Client(Request("ollama", "m", []), "m", "call-1", 1_700_000_000)
WHEN = "2023-11-14T22:13:20Z"
THINKS = Capabilities(thinking="effort", media=frozenset(("image", "audio")))


def elsewhere(*messages: Message, **settings: Any) -> Request:
    return Request("elsewhere", "theirs", list(messages), **settings)


def written(request: Request, can: Capabilities = THINKS) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    losses = Losses()
    body = CODEC.write_request(request, Target("qwen3", can), losses).body
    return body, [(loss.severity.value, loss.path) for loss in losses]


def test_a_conversation_with_everything_says_what_is_lost() -> None:
    """Images go as base64, arguments as objects, results with their function's name; every loss has its path."""
    body, losses = written(everything())
    system, user, assistant, first, second, go, refused, inside, last = body["messages"]
    assert system == {"role": "system", "content": "Be kind.\n\nBe short."}
    assert user == {"role": "user", "content": "Look:", "images": ["iVBORw0KGgo="]}
    assert [call["function"]["arguments"] for call in assistant["tool_calls"]] == [{"x": 1}, {"input": "text"}]
    assert (first["content"], first["tool_name"], first["images"]) == ("Error: 1", "one", ["iVBORw0KGgo="])
    assert first["tool_call_id"] == assistant["tool_calls"][0]["id"]
    assert second == {"role": "tool", "content": "", "tool_name": "free"}
    assert [message["content"] for message in (go, refused, inside, last)] == [
        "Go on.",
        "No.",
        "In mid-conversation.",
        "And now?",
    ]
    assert inside["role"] == "system"
    assert body["options"] == {
        "temperature": 1.8,
        "top_p": 0.5,
        "top_k": 4,
        "seed": 7,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "num_predict": 100,
        "stop": ["a", "b"],
    }
    assert (body["stream"], body["think"], body["format"]["type"]) == (True, "low", "object")
    assert losses == [
        ("dropped", "system"),
        ("dropped", "picture"),
        ("dropped", "user.name"),
        ("dropped", "thinking"),
        ("dropped", "said"),
        ("dropped", "foreign"),
        ("approximated", "free"),
        ("approximated", "first"),
        ("approximated", "refused"),
        ("dropped", "parallel_tool_calls"),
        ("approximated", "tool_choice"),
        ("approximated", "tool_choice"),
        ("dropped", "one.strict"),
        ("approximated", "free"),
        ("dropped", "free"),
        ("approximated", "reasoning"),
        ("dropped", "logit_bias"),
        ("dropped", "user"),
        ("dropped", "metadata"),
        ("dropped", "service_tier"),
        ("dropped", "store"),
    ]


def test_results_find_the_names_of_their_functions() -> None:
    """Pitfalls 1 and 2: ids go as they are, calls without one keep their order, and a result is told with its name."""
    calls: list[Block] = [ToolCall("", "f", "{}"), ToolCall("call_1", "g", ""), ToolCall("", "f", "")]
    results: list[Block] = [ToolResult("call_1", [Text("g")]), ToolResult("", [Text("1")]), ToolResult("", [Text("2")])]
    body, losses = written(elsewhere(Message("assistant", calls), Message("user", results)))
    turn, *told = body["messages"]
    assert [call.get("id") for call in turn["tool_calls"]] == [None, "call_1", None]
    assert [(message["tool_name"], message.get("tool_call_id"), message["content"]) for message in told] == [
        ("g", "call_1", "g"),
        ("f", None, "1"),
        ("f", None, "2"),
    ]
    assert losses == []


def test_a_hundred_thousand_calls_find_their_results() -> None:
    """In no order, with and without ids. A search among all of them for each would not end before the test is."""
    many = range(100_000)
    calls: list[Block] = [ToolCall(f"c{n}" if n % 2 else "", f"f{n}", "") for n in many]
    results: list[Block] = [ToolResult(f"c{n}", []) if n % 2 else ToolResult("", [], f"f{n}") for n in reversed(many)]
    request = elsewhere(Message("assistant", calls), Message("user", results))
    told = written(request)[0]["messages"][1:]
    assert [message["tool_name"] for message in told] == [f"f{n}" for n in reversed(many)]
    sent = CODECS["mistral"].write_request(request, Target("m"), Losses()).body["messages"]
    ids = [call["id"] for call in sent[0]["tool_calls"]]
    assert [message["tool_call_id"] for message in sent[1:]] == ids[::-1]


def test_nesting_ends_in_a_failure_or_comes_back() -> None:
    """Arguments that are nested deeply are kept, and those that nothing can read fail."""
    for depth, ends in ((3_000, Told), (200_000, Failed)):
        nested = '{"a":' * depth + "1" + "}" * depth
        call = '{"function":{"name":"f","arguments":' + nested + "}}"
        data = ('{"message":{"content":"","tool_calls":[' + call + ']},"done":true}').encode()
        events = laws.read_whole(CODEC, data)
        assert isinstance(events[-1], ends)
        writer = CODEC.writer(CLIENT, Losses("reply"))
        assert (nested.encode() in writer.write(events)) == (ends is Told)


def test_arguments_that_are_no_object_are_told() -> None:
    """Pitfall 6: malformed JSON never becomes anything but an object."""
    body, losses = written(elsewhere(Message("assistant", [ToolCall("1", "f", "{broken", at="c")])))
    assert body["messages"][0]["tool_calls"][0]["function"]["arguments"] == {"arguments": "{broken"}
    assert losses == [("approximated", "c")]


def test_media_go_as_bytes_alone() -> None:
    """Pitfalls 13 and 14: an image at a URL, a PDF, and sound to a model that does not hear are impossible."""
    sound = Media("audio", Source("base64", "SUQz"), "audio/mpeg", at="sound")
    blocks: list[Block] = [
        Media("image", Source("url", "https://example.org/a.png"), at="url"),
        Media("document", Source("base64", "JVBERi0="), "application/pdf", at="pdf"),
        Media("document", Source("text", "words"), "text/plain", "a.txt", at="text"),
        sound,
    ]
    body, losses = written(elsewhere(Message("user", blocks)))
    assert body["messages"] == [{"role": "user", "content": "a.txt\n\nwords", "images": ["SUQz"]}]
    assert losses == [("impossible", "url"), ("impossible", "pdf"), ("approximated", "text")]
    assert written(elsewhere(Message("user", [sound])), Capabilities())[1] == [("impossible", "sound")]


def test_images_before_their_text_are_told() -> None:
    """What stood first is not said, where text follows an image."""
    image = Media("image", Source("base64", "/9j/AA"), "image/jpeg")
    assert written(elsewhere(Message("user", [Text("a"), image])))[1] == []
    assert written(elsewhere(Message("user", [image, Text("a", at="t")])))[1] == [("approximated", "t")]


@pytest.mark.parametrize(
    ("reasoning", "can", "think", "losses"),
    [
        (Reasoning(enabled=False), Capabilities(), False, []),
        (Reasoning(effort="none"), Capabilities(thinking="none"), False, []),
        (Reasoning(effort="high"), THINKS, "high", []),
        (Reasoning(effort="minimal"), THINKS, "low", ["approximated"]),
        (Reasoning(effort="max"), THINKS, "max", []),
        (Reasoning(budget=30_000), THINKS, "high", ["approximated"]),
        (Reasoning(effort="high"), Capabilities(), None, ["approximated"]),
        (Reasoning(enabled=True), THINKS, None, ["approximated"]),
        (Reasoning(adaptive=True), Capabilities(), None, ["approximated"]),
        (Reasoning(), THINKS, None, []),
    ],
)
def test_thinking_is_asked_for_of_models_that_are_known_to_do_it(
    reasoning: Reasoning, can: Capabilities, think: object, losses: list[str]
) -> None:
    """Pitfall 17: a level where the model takes one; told to think, a model that cannot is refused by its server."""
    body, told = written(elsewhere(Message("user", [Text("a")]), reasoning=reasoning), can)
    assert body.get("think") == think
    assert told == [(severity, "reasoning") for severity in losses]


def test_thinking_goes_back_to_ollama_alone() -> None:
    """Pitfall 15: its own thinking is replayed, through a client of another format too; another's is dropped."""
    reply = CODEC.read_reply({"model": "m", "message": {"role": "assistant", "content": "yes", "thinking": "hm"}})
    through = CODECS["anthropic"].write_reply(reply, CLIENT, Losses("reply"))
    asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "assistant", "content": through["content"]}]}
    body, losses = written(CODECS["anthropic"].read_request(asked, Asked()))
    assert body["messages"][0] == {"role": "assistant", "content": "yes", "thinking": "hm"}
    assert losses == []
    theirs = Message("assistant", [Thinking("so", opaque=SIGNED, at="a"), Thinking("eh", at="b"), Text("yes")])
    body, losses = written(elsewhere(theirs))
    assert body["messages"] == [{"role": "assistant", "content": "yes"}]
    assert losses == [("dropped", "a"), ("dropped", "b")]


def test_choices_are_made_by_what_is_offered() -> None:
    """Pitfall 5: Ollama knows no choice, so that tools that may not be called are left out."""
    tools = [Tool("f"), Tool("g")]
    said = Message("user", [Text("a")])
    body, losses = written(elsewhere(said, tools=tools, tool_choice=ToolChoice("none")))
    assert "tools" not in body
    assert losses == [("approximated", "tool_choice")]
    body, losses = written(elsewhere(said, tools=tools, tool_choice=ToolChoice("auto", ("g",))))
    assert [tool["function"]["name"] for tool in body["tools"]] == ["g"]
    assert losses == [("approximated", "tool_choice")]
    assert body["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert written(elsewhere(said, tools=tools, tool_choice=ToolChoice("auto")))[1] == []
    assert written(elsewhere(said, tools=tools), Capabilities(tools=False))[1] == [("impossible", "tools")]


def test_output_and_answers() -> None:
    """Pitfalls 19 and 20: JSON with and without a schema; more than one answer is impossible."""
    said = Message("user", [Text("a")])
    assert written(elsewhere(said, output=Output("json")))[0]["format"] == "json"
    assert "format" not in written(elsewhere(said, output=Output("text")))[0]
    body, losses = written(elsewhere(said, output=Output("schema"), answers=2))
    assert body["format"] == "json"
    assert losses == [("approximated", "response_format"), ("impossible", "n")]


def test_marks_and_citations_are_told() -> None:
    """Pitfalls 14 and 21."""
    said = Text("a", [Citation("https://example.org")], CacheMark("5m"), at="t")
    assert written(elsewhere(Message("assistant", [said])))[1] == [("dropped", "t"), ("dropped", "t")]


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "messages": []},
        {"model": "m", "messages": [{"role": "User", "content": "a"}], "stream": True},
        {"messages": [{"role": "tool", "content": "", "tool_call_id": "c", "tool_name": "f", "images": ["AA"]}]},
        {"messages": [{"role": "assistant", "content": "", "thinking": "", "tool_calls": []}], "options": {}},
        {"messages": [{"role": "user", "content": None, "images": []}], "options": {"seed": None, "stop": []}},
        {"messages": [{"role": "user", "content": [{"type": "text"}]}], "think": "", "format": "xml"},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": "a",
                    "tool_calls": [
                        {
                            "id": "c",
                            "type": "function",
                            "function": {"index": 0, "name": "f", "arguments": {"n": 2**70}},
                        }
                    ],
                }
            ]
        },
        {"messages": [], "options": {"num_predict": -1, "stop": "x", "min_p": 0.1, "num_ctx": 9}, "keep_alive": 0},
        {"messages": [], "tools": [{"function": {"name": "f"}}, {"type": "web"}, {"type": "function"}]},
        {"messages": [], "think": False, "logprobs": True, "top_logprobs": 3, "format": {"type": "object"}},
        {"model": "m", "prompt": ""},
        {"model": "m", "prompt": "a", "system": "b", "images": ["AA"], "raw": True, "template": "c", "context": [1]},
        {"model": "m", "prompt": "a", "system": "", "suffix": "b", "template": "", "context": [], "format": ""},
        {"model": "m", "prompt": None, "images": [1], "system": 5},
    ],
)
def test_every_spelling_returns(body: dict[str, Any]) -> None:
    """A -> neutral -> A of what the recordings do not have."""
    laws.request_returns(CODEC, body, Asked("/api/generate" if "prompt" in body else "/api/chat"))


def test_what_is_no_request_is_malformed() -> None:
    """With the path of what is wrong."""
    laws.refuses(CODEC, {"model": "m"}, "messages")
    laws.refuses(CODEC, {"messages": None, "prompt": "a"}, "messages")
    laws.refuses(CODEC, {"messages": [5]}, "messages[0]")
    laws.refuses(CODEC, {"messages": [{"role": "judge"}]}, "messages[0].role")
    laws.refuses(CODEC, {"messages": [{"role": None}]}, "messages[0].role")
    laws.refuses(CODEC, {"model": 5, "messages": []}, "model")


def test_what_only_ollama_has_is_told_or_says_nothing() -> None:
    """Law 3: how the server runs is no loss, options that change the answer are, and a context is impossible."""
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "a"}],
        "keep_alive": "5m",
        "options": {"num_ctx": 9, "num_gpu": 1, "min_p": 0.1, "repeat_penalty": 1.1, "num_predict": -1},
        "think": True,
    }
    losses = Losses()
    request = CODEC.read_request(body, Asked())
    assert request.stream
    sent = CODECS["openai-chat"].write_request(request, Target("gpt-5", THINKS), losses).body
    assert sent["stream"]
    assert [(loss.severity.value, loss.path) for loss in losses] == [
        ("dropped", "options.min_p"),
        ("dropped", "options.repeat_penalty"),
    ]
    prompt = {"prompt": "a", "system": "b", "context": [1, 2], "raw": True, "suffix": "c", "stream": False}
    losses = Losses()
    request = CODEC.read_request(prompt, Asked("/api/generate"))
    sent = CODECS["openai-chat"].write_request(request, Target("gpt"), losses).body
    assert sent["messages"] == [{"role": "system", "content": "b"}, {"role": "user", "content": "a"}]
    assert sorted(loss.path for loss in losses.impossibilities) == ["context", "raw", "suffix"]


def test_images_are_told_with_their_type() -> None:
    """Other formats want to be told what the bytes begin with."""
    starts = {"iVBORw0KGgoAAA": "image/png", "/9j/4AAQ": "image/jpeg", "R0lGODlh": "image/gif", "UklGRg": "image/webp"}
    body = {"messages": [{"role": "user", "content": "a", "images": [*starts, "AAAA"]}]}
    blocks = CODEC.read_request(body, Asked()).messages[0].blocks[1:]
    assert [block.media_type for block in blocks if isinstance(block, Media)] == [*starts.values(), ""]


def test_the_client_is_named_by_its_wire() -> None:
    """Both paths on which Ollama talks are in the format of this codec, and each is answered in its own shape."""
    for path in ("/api/chat", "/api/generate"):
        found = OLLAMA.find("POST", path, 0)
        assert found is not None
        assert CODECS[found[0].wire] is CODEC


# Answers


def answer_of_another() -> Reply:
    blocks: list[Block] = [
        Thinking("hm", opaque=SIGNED, at="t"),
        Text("yes"),
        ToolCall("toolu_01", "f", '{"a":1}'),
        ToolCall("", "g", ""),
    ]
    return Reply("elsewhere", "r-1", "theirs", 5, [Answer(blocks, Stop("tool_calls"))], Usage(3, output_tokens=4))


def test_a_whole_answer_and_its_stream_say_the_same() -> None:
    """Thinking, text and calls in their fields; the stream's lines, joined, are the reply but for who calls it done."""
    losses = Losses("reply")
    whole = CODEC.write_reply(answer_of_another(), CLIENT, losses)
    assert whole == {
        "model": "m",
        "created_at": "1970-01-01T00:00:05Z",
        "message": {
            "role": "assistant",
            "content": "yes",
            "thinking": "hm",
            "tool_calls": [
                {"id": "toolu_01", "function": {"name": "f", "arguments": {"a": 1}}},
                {"function": {"name": "g", "arguments": {}}},
            ],
        },
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 3,
        "eval_count": 4,
    }
    assert [(loss.severity.value, loss.path) for loss in losses] == [("dropped", "t")]
    writer = CODEC.writer(CLIENT, Losses("reply"))
    data = writer.write(events_of(answer_of_another())) + writer.finish()
    again = laws.collected(CODEC, laws.read_whole(CODEC, data))
    assert again.failure is None
    laws.same(CODEC.write_reply(again.reply, CLIENT, Losses("reply")), whole)


def test_a_client_that_had_a_prompt_gone_on_with_is_answered_so() -> None:
    """`response` and `thinking` on top, whole and streamed."""
    asked = CODEC.read_request({"model": "m", "prompt": "a"}, Asked("/api/generate"))
    client = Client(asked, "m", "call-1", 1_700_000_000)
    reply = Reply("elsewhere", answers=[Answer([Thinking("hm"), Text("yes")], Stop("length"))])
    whole = CODEC.write_reply(reply, client, Losses("reply"))
    assert whole == {
        "model": "m",
        "created_at": WHEN,
        "response": "yes",
        "thinking": "hm",
        "done": True,
        "done_reason": "length",
        "prompt_eval_count": 0,
        "eval_count": 0,
    }
    writer = CODEC.writer(client, Losses("reply"))
    lines = [json.loads(line) for line in (writer.write(events_of(reply)) + writer.finish()).splitlines()]
    head = {"model": "m", "created_at": WHEN}
    assert lines == [
        {**head, "response": "", "thinking": "hm", "done": False},
        {**head, "response": "yes", "done": False},
        {**head, "response": "", "done": True, "done_reason": "length", "prompt_eval_count": 0, "eval_count": 0},
    ]


def test_calls_in_pieces_reach_the_client_whole() -> None:
    """Pitfall 6: interleaved pieces of two calls are two whole calls, and text goes out as it comes."""
    writer = CODEC.writer(CLIENT, Losses("reply"))
    first = writer.write([Started("r"), BlockStart(0, Text("")), BlockDelta(0, "a")])
    assert json.loads(first)["message"] == {"role": "assistant", "content": "a"}
    data = writer.write(
        [
            BlockEnd(0),
            BlockStart(1, ToolCall("a", "f", "")),
            BlockStart(2, ToolCall("b", "g", "")),
            BlockDelta(1, '{"x"'),
            BlockDelta(2, "{}"),
            BlockDelta(1, ":1}"),
            BlockEnd(1),
            BlockEnd(2),
            Ping(),
            Finished(Stop("tool_calls")),
        ]
    )
    calls = [call for line in data.splitlines() for call in json.loads(line)["message"]["tool_calls"]]
    assert [(call["id"], call["function"]["arguments"]) for call in calls] == [("a", {"x": 1}), ("b", {})]
    last = json.loads(writer.finish())
    assert (last["done"], last["done_reason"]) == (True, "stop")


def test_a_failure_is_the_last_that_a_client_hears() -> None:
    """Pitfalls 25, 26 and 28: one line with an error, no `done`; pings are nothing; 529 is 503."""
    writer = CODEC.writer(CLIENT, Losses("reply"))
    assert writer.write([Started("r"), Ping()]) == b""
    assert writer.write([Failed("busy", 529), Finished(Stop("end"))]) == b'{"error":"busy"}\n'
    assert writer.finish() == b""
    assert CODEC.status_for(529) == 503
    assert CODEC.read_error(404, {}, b'{"error":"model \\"m\\" not found"}') == Failed('model "m" not found', 404)
    assert CODEC.write_error(Failed("no")) == {"error": "no"}
    assert CODEC.write_error(Failed(""))["error"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "broke off"),
        (b'{"model":"m","message":{"content":"a"},"done":false}\n', "broke off"),
        (b'{"message":{"content":"a"},"done":false}\n{"error":"out of memory"}\n', "out of memory"),
        (b'{"message":{"content":"a"},"done":false}\n{"error":{"message":"odd"}}\n', "odd"),
        (b'{"message":{"content":"a"},"done":fal', "could not be read"),
        (b"[1]\n", "could not be read"),
    ],
)
def test_what_does_not_end_well_fails(data: bytes, message: str) -> None:
    """Pitfall 25: only a line that is done is an end."""
    last = laws.every_split(CODEC, data)[-1]
    assert isinstance(last, Failed)
    assert message in last.message


def test_lines_are_lines_to_every_client() -> None:
    """Pitfall 27: what JSON may hold and some readers take for the end of a line is escaped."""
    writer = CODEC.writer(CLIENT, Losses("reply"))
    text = "a\u2028b\u2029c\x85d\né😀\ud800"
    data = writer.write([Started("r"), BlockStart(0, Text(text)), BlockEnd(0), Finished(Stop("end"))]) + writer.finish()
    assert len(data.decode().splitlines()) == 2
    assert CODEC.read_reply(json.loads(data.splitlines()[0])).answers[0].blocks == [Text(text, at="message.content")]
    found = laws.collected(CODEC, laws.read_whole(CODEC, data)).reply.answers[0].blocks[0]
    assert isinstance(found, Text)
    assert found.text == text


def test_what_an_answer_has_and_ollama_has_not_is_told() -> None:
    """Whole and streamed: other answers, order, refusals, images at URLs, citations, sequences, what is foreign."""
    blocks: list[Block] = [
        ToolCall("a", "f", "{}", opaque=Opaque("gemini", "thought_signature", "x"), at="call"),
        Text("yes", [Citation("https://example.org")], at="text"),
        Refused("no", at="refused"),
        Media("image", Source("url", "https://example.org/a.png"), at="image"),
        Media("image", Source("base64", "AAAA"), "image/png", at="shown"),
        Foreign("anthropic", "web_search", {}, at="foreign"),
    ]
    stop = Stop("stop", "END", "elsewhere", "stop_sequence")
    reply = Reply("elsewhere", answers=[Answer(blocks, stop), Answer([Text("or")], Stop("end"), 1)])
    reply.own = Own("elsewhere", {"extra": 1})
    whole, streamed = Losses("reply"), Losses("reply")
    message = CODEC.write_reply(reply, CLIENT, whole)["message"]
    assert (message["content"], message["images"]) == ("yesno", ["AAAA"])
    writer = CODEC.writer(CLIENT, streamed)
    data = writer.write(events_of(reply)) + writer.finish()
    again = laws.collected(CODEC, laws.read_whole(CODEC, data)).reply
    laws.same(CODEC.write_reply(again, CLIENT, Losses("reply"))["message"], message)
    told = {(loss.severity.value, loss.path) for loss in whole}
    assert told == {
        ("dropped", "choices[1]"),
        ("dropped", "call"),
        ("dropped", "text"),
        ("approximated", "text"),
        ("approximated", "refused"),
        ("dropped", "image"),
        ("dropped", "foreign"),
        ("dropped", "done_reason"),
        ("dropped", "extra"),
    }
    # A stream keeps the order.
    assert {(loss.severity.value, loss.path) for loss in streamed} == told - {("approximated", "text")}


def test_usage_is_what_is_told() -> None:
    """Pitfall 22: two counters; one that the server leaves out is not told, and nothing is made of it."""
    line = b'{"model":"m","message":{"content":"a"},"done":true,"done_reason":"stop","eval_count":4}\n'
    assert laws.collected(CODEC, laws.read_whole(CODEC, line)).reply.usage == Usage(output_tokens=4)
    writer = CODEC.writer(CLIENT, Losses("reply"))
    writer.write([Started("r", usage=Usage(9, 5)), BlockStart(0, Text("a")), BlockEnd(0), Finished(Stop("end"))])
    writer.write([Used(Usage(None, None, None, 7, 3))])
    last = json.loads(writer.finish())
    assert (last["prompt_eval_count"], last["eval_count"]) == (9, 7)


def test_old_and_odd_ends_are_read() -> None:
    """Older servers say no reason; `load` answers a request without messages; a time that is none is left over."""
    old = {"model": "m", "created_at": "2024-05-24T21:02:00.76482123Z", "message": {"content": "a"}, "done": True}
    reply = laws.reply_returns(CODEC, dict(old), CLIENT)
    assert reply.created == 1_716_584_520
    assert reply.answers[0].stop == Stop("end", None, "ollama", None)
    loaded = {**old, "created_at": 5, "done_reason": "load", "message": {"role": "assistant", "content": ""}}
    reply = laws.reply_returns(CODEC, loaded, CLIENT)
    assert (reply.created, reply.answers[0].stop) == (None, Stop("other", None, "ollama", "load"))
    far = Reply("elsewhere", created=10**30, answers=[Answer([Text("a")], Stop("end"))])
    assert CODEC.write_reply(far, CLIENT, Losses("reply"))["created_at"] == WHEN


def test_samplings_that_a_model_refuses_are_left_out() -> None:
    """Pitfall 18, where the rules or the tables say that the model takes none."""
    request = elsewhere(Message("user", [Text("a")]), sampling=Sampling(0.5, seed=1))
    body, losses = written(request, Capabilities(sampling=False))
    assert body["options"] == {"seed": 1}
    assert losses == [("dropped", "temperature")]


@given(growing())
def test_what_was_written_stays_when_the_conversation_grows(turns: list[list[Message]]) -> None:
    """Law 2, on conversations that are made: a beginning's messages are the beginning of the whole's."""
    before: list[Any] = []
    for count in range(1, len(turns) + 1):
        request = elsewhere(Message("user", [Text("Hi")]), *(message for turn in turns[:count] for message in turn))
        messages = written(request)[0]["messages"]
        assert laws.is_prefix(before, messages)
        before = messages
