"""What was asked and answered, in the events of calls: by the conventions, masked, bounded, where the rules want it."""

from __future__ import annotations

import base64
import gc
import gzip
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.e2e.replies import STREAMS, Script, frame
from tests.engine.test_engine import JSON, OPENAI, SECRET, SSE, Bench, ScriptedReply, body, with_provider
from tests.engine.test_sending import rules as rules_with
from tests.telemetry.collector import Collector, collecting
from tests.telemetry.conventional import check

from interpose.call import Headers, Origin, Reply, Url
from interpose.engine.engine import Engine
from interpose.engine.exchange import Clock
from interpose.rules.compiled import LedgerRules, Rules, Target
from interpose.telemetry import messages, outbox, parts, telling
from interpose.telemetry.settings import Endpoint, Settings
from interpose.telemetry.telling import Telling

OWN = "sk-FAKE-of-the-client"
HEADERS = ((b"Host", b"api.openai.com"), (b"Authorization", f"Bearer {OWN}".encode()))
DETAILS = "gen_ai.client.inference.operation.details"
ATTRIBUTES = (
    "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.tool.definitions",
    "gen_ai.response.finish_reasons", "interpose.content.notes", "interpose.error.message",
)  # fmt: skip
# One pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Teller(Bench):
    """A bench whose calls a collector is told of, with what is said in them unless `content` is off."""

    def __init__(self, collector: Collector, by: Rules, *answers: ScriptedReply, content: bool = True) -> None:
        left = iter(answers)
        super().__init__(lambda: next(left), by)
        endpoints = (Endpoint(f"{collector.url}/v1/{kind}", timeout=5) for kind in ("traces", "metrics", "logs"))
        self.collector = collector
        self.telling = Telling(
            Settings(*endpoints, content=content), by,
            writer="w", scrub=lambda text: text.replace(SECRET, "***"), credentials=lambda: (SECRET,), every=0.01,
        )  # fmt: skip
        self.engine = Engine(
            by, upstream=self.upstream, resolve=self.resolve, record=self.records.append,
            clock=Clock(time.time, time.monotonic), new_id=self.engine.new_id, tracer=self.telling,
        )  # type: ignore[arg-type]  # fmt: skip

    async def said(self, request: object, headers: Headers = HEADERS, **more: object) -> dict[str, Any]:
        """One call, to its end; what its event tells."""
        data = request if isinstance(request, bytes) else json.dumps(request).encode()
        await body(await self.handle(headers=headers, body=data, **more))
        return self.details()

    def details(self) -> dict[str, Any]:
        """The attributes of the only call's event, with all that was told of it."""
        self.telling.close(20)
        assert not self.collector.problems
        (event,) = (log for log in self.collector.logs if log.event == DETAILS)
        check(event.attributes)
        return event.attributes

    @property
    def everything(self) -> bytes:
        return b"".join(seen.body for seen in self.collector.seen)


Opening = Callable[..., Teller]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def opened(collector: Collector) -> Iterator[Opening]:
    """Opens benches, by default with a provider."""
    known: list[Teller] = []

    def open_bench(*answers: ScriptedReply, rules: Rules | None = None, **more: Any) -> Teller:
        scrub = more.pop("scrub", ())
        by = replace(rules or with_provider(), ledger=LedgerRules(scrub=scrub))
        known.append(Teller(collector, by, *answers, **more))
        return known[-1]

    yield open_bench
    for each in known:
        each.telling.close(0.1)


def completion(*messages_: dict[str, Any], reasons: tuple[str, ...] = ("stop",)) -> bytes:
    choices = [
        {"index": place, "message": {"role": "assistant", **message}, "finish_reason": reason}
        for place, (message, reason) in enumerate(zip(messages_, reasons, strict=True))
    ]
    return json.dumps({"id": "c1", "object": "chat.completion", "model": "gpt-4o", "choices": choices}).encode()


def asked(*texts: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text} for text in texts], **more}


def streamed(*pieces: str) -> list[bytes | Exception]:
    """A stream of those pieces of text, an event each."""
    events = [{"index": 0, "delta": {"content": piece}, "finish_reason": None} for piece in pieces]
    events.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    chunks = ({"id": "c", "object": "chat.completion.chunk", "model": "gpt-4o", "choices": [each]} for each in events)
    return [*(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks), b"data: [DONE]\n\n"]


def answer(found: dict[str, Any], place: int = 0) -> str:
    """The text of an answer."""
    return str(found["gen_ai.output.messages"][place]["parts"][0]["content"])


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "How it is there",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALLED = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome", "n": 1}'}}


async def test_a_conversation_with_tools_is_told_by_the_conventions(opened: Opening) -> None:
    """Each side's words, calls with arguments as values, results, tools with their schemas, and why it ended."""
    bench = opened(ScriptedReply([completion({"content": None, "tool_calls": [CALLED]}, reasons=("tool_calls",))]))
    found = await bench.said(
        {
            "model": "gpt-4o",
            "tools": [WEATHER, {"type": "custom", "custom": {"name": "free", "description": "Any text"}}],
            "messages": [
                {"role": "system", "content": "Be brief"},
                {"role": "user", "content": "And in Rome?", "name": "ann"},
                {"role": "assistant", "content": "I look", "tool_calls": [{**CALLED, "id": "call_0"}]},
                {"role": "tool", "tool_call_id": "call_0", "content": "sunny, 21°C"},
            ],
        }
    )
    call = {"type": "tool_call", "id": "call_0", "name": "weather", "arguments": {"city": "Rome", "n": 1}}
    assert found["gen_ai.input.messages"] == [
        # What is a message of the conversation is told there.
        {"role": "system", "parts": [{"type": "text", "content": "Be brief"}]},
        {"role": "user", "parts": [{"type": "text", "content": "And in Rome?"}], "name": "ann"},
        {"role": "assistant", "parts": [{"type": "text", "content": "I look"}, call]},
        {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": "call_0", "name": "weather", "response": "sunny, 21°C"}],
        },
    ]
    assert found["gen_ai.output.messages"] == [
        {"role": "assistant", "parts": [{**call, "id": "call_1"}], "finish_reason": "tool_call"}
    ]
    assert found["gen_ai.tool.definitions"] == [
        {"type": "function", "name": "weather", "description": "How it is there",
         "parameters": WEATHER["function"]["parameters"]},
        {"type": "custom", "name": "free", "description": "Any text"},
    ]  # fmt: skip
    assert found["gen_ai.response.finish_reasons"] == ["tool_call"]
    assert "interpose.content.notes" not in found
    # Spans have none of it.
    assert not any(name in ATTRIBUTES for span in bench.collector.spans for name in span.attributes)


async def test_instructions_that_stand_apart_are_told_apart(opened: Opening) -> None:
    """Where the format has a place of their own for them. Of what is thought, what is hidden is named."""
    message = {
        "id": "m", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "max_tokens",
        "content": [
            {"type": "thinking", "thinking": "Hm", "signature": "c2lnbmF0dXJl"},
            {"type": "text", "text": "Good"},
        ],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }  # fmt: skip
    bench = opened(ScriptedReply([json.dumps(message).encode()]))
    found = await bench.said(
        {"model": "claude", "max_tokens": 9, "system": "Be brief", "messages": [{"role": "user", "content": "Hi"}]},
        url=Url(Origin("https", "api.anthropic.com", 443), "/v1/messages"),
        headers=((b"Host", b"api.anthropic.com"), (b"x-api-key", OWN.encode())),
    )
    assert found["gen_ai.system_instructions"] == [{"type": "text", "content": "Be brief"}]
    assert found["gen_ai.input.messages"] == [{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]
    assert found["gen_ai.output.messages"] == [
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "Hm", "interpose.hidden": "signature"},
                {"type": "text", "content": "Good"},
            ],
            "finish_reason": "length",
        }
    ]
    assert b"c2lnbmF0dXJl" not in bench.everything


async def test_a_tool_that_the_provider_runs_is_told_as_one(opened: Opening) -> None:
    """With what it was called with and what it returned, in one answer; and an answer may not say why it ended."""
    message = {
        "id": "m", "type": "message", "role": "assistant", "model": "claude", "stop_reason": None,
        "content": [
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "sky"}},
            {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"title": "Blue", "url": "http://a.b"}]},
            {"type": "compaction", "content": "All of it"},
        ],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }  # fmt: skip
    found = await opened(ScriptedReply([json.dumps(message).encode()])).said(
        {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
        url=Url(Origin("https", "api.anthropic.com", 443), "/v1/messages"),
        headers=((b"Host", b"api.anthropic.com"),),
    )
    (said,) = found["gen_ai.output.messages"]
    call, result, other = said["parts"]
    assert (call["type"], call["id"], call["name"]) == ("server_tool_call", "s1", "web_search")
    assert call["server_tool_call"] == {"type": "server_tool_use", "input": {"query": "sky"}}
    assert (result["type"], result["id"]) == ("server_tool_call_response", "s1")
    assert result["server_tool_call_response"]["content"] == [{"title": "Blue", "url": "http://a.b"}]
    assert other["type"] == "compaction"
    assert "All of it" in other["content"]
    assert said["finish_reason"] == "unknown"


SAID = {
    "openai-chat": "Good morning ☀", "openai-responses": "Good evening", "anthropic": "Bonjour", "gemini": "Ciao bella",
    "ollama": "Hallo Welt", "bedrock-converse": "Hola mundo",
}  # fmt: skip


@pytest.mark.parametrize("script", STREAMS, ids=lambda script: script.name)
async def test_a_stream_is_told_as_the_message_that_it_amounts_to(opened: Opening, script: Script) -> None:
    """In every format, in however many pieces it comes."""
    whole = script.body
    pieces: list[bytes | Exception] = [whole[at : at + 7] for at in range(0, len(whole), 7)]
    headers = ((b"content-type", script.content_type.encode()),)
    bench = opened(ScriptedReply(pieces, headers))
    scheme, host, port = ("http", "localhost", 11434) if script.name == "ollama" else ("https", script.host, 443)
    found = await bench.said(
        script.request,
        url=Url(Origin(scheme, host, port), script.path),
        headers=((b"Host", script.host.encode()), (b"content-type", b"application/json")),
    )
    assert answer(found) == SAID[script.name]
    (asked_,) = found["gen_ai.input.messages"]
    assert asked_["role"] == "user"
    assert asked_["parts"][0]["content"] in ("Hi", "Hi é")
    assert found["gen_ai.response.finish_reasons"] == ["stop"]


async def test_what_the_client_asked_and_got_is_told_of_a_converted_call(opened: Opening) -> None:
    """In its own format, whatever the provider speaks, and whoever has failed before."""
    message = {
        "id": "m", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Bonjour"}], "usage": {"input_tokens": 1, "output_tokens": 1},
    }  # fmt: skip
    failed = ScriptedReply([b'{"error": {"message": "no"}}'], status=503)
    by = rules_with(Target("claude", "claude-x"))
    bench = opened(failed, ScriptedReply([json.dumps(message).encode()]), rules=by)
    found = await bench.said(asked("Hi"))
    assert found["interpose.provider_format"] == "anthropic"
    assert answer(found) == "Bonjour"
    assert found["gen_ai.input.messages"] == [{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]


async def test_a_body_in_a_coding_is_read(opened: Opening) -> None:
    """As every client may ask for."""
    reply = ScriptedReply([gzip.compress(completion({"content": "Salve"}))], (*JSON, (b"content-encoding", b"gzip")))
    assert answer(await opened(reply).said(asked("Hi"))) == "Salve"


async def test_several_answers_are_a_message_each(opened: Opening) -> None:
    """With the reason of each; a refusal is a part of its own kind."""
    reply = completion({"content": "a"}, {"content": None, "refusal": "No"}, reasons=("stop", "content_filter"))
    found = await opened(ScriptedReply([reply])).said(asked("Hi", n=2))
    assert [each["finish_reason"] for each in found["gen_ai.output.messages"]] == ["stop", "content_filter"]
    assert found["gen_ai.output.messages"][1]["parts"] == [{"type": "refusal", "content": "No"}]


async def test_an_error_is_told_in_its_own_words(opened: Opening) -> None:
    """Nothing is an answer that is none; what was asked is told, and what the provider has to say."""
    error = b'{"error": {"message": "There is no model like that", "type": "invalid_request_error", "code": null}}'
    found = await opened(ScriptedReply([error], status=404)).said(asked("Who?"))
    assert "gen_ai.output.messages" not in found
    assert found["gen_ai.input.messages"][0]["parts"] == [{"type": "text", "content": "Who?"}]
    assert (found["error.type"], found["interpose.error.message"]) == ("404", "There is no model like that")


async def test_a_stream_that_breaks_off_has_ended_in_an_error(opened: Opening) -> None:
    """What was said until then is told: success is never invented."""
    found = await opened(ScriptedReply(streamed("Good", " mor")[:2], SSE)).said(asked("Hi", stream=True))
    assert answer(found) == "Good mor"
    assert found["gen_ai.response.finish_reasons"] == ["error"]
    assert found["interpose.outcome"] == "truncated"


def test_a_run_of_digits_is_looked_through_once() -> None:
    """Not from each of its digits on: megabytes of lines that are almost blobs would hold up the whole process."""
    runs = "aB3d" * 200
    assert parts.BASE64.match(runs) is not None
    assert all(parts.BASE64.match(runs, at) is None for at in range(1, len(runs)))


async def test_a_client_that_leaves_has_heard_what_is_told(opened: Opening) -> None:
    """No more of the answer than it got, and no reason to end that nobody gave."""
    bench = opened(ScriptedReply(streamed("Good", " mor", "ning"), SSE))
    reply = await bench.handle(headers=HEADERS, body=json.dumps(asked("Hi", stream=True)).encode())
    chunks: AsyncIterator[bytes] = reply.body
    assert b"Good" in await anext(chunks)
    await reply.body.aclose()
    found = bench.details()
    assert (answer(found), found["gen_ai.response.finish_reasons"]) == ("Good", ["aborted"])


async def test_no_credential_is_told_whoever_repeats_it(opened: Opening) -> None:
    """The client's and ours: in a text, a call's arguments, a name, a schema, an error, in base64, torn over events."""
    coded = base64.b64encode(SECRET.encode()).decode()
    arguments = json.dumps({SECRET: "as a key", "auth": SECRET, "b64": coded})
    call = {"id": OWN, "type": "function", "function": {"name": "weather", "arguments": arguments}}
    tool = {"type": "function", "function": {"name": "t", "description": SECRET, "parameters": {"title": OWN}}}
    bench = opened(ScriptedReply(streamed("It is ", *SECRET, " and ", OWN[:9], OWN[9:]), SSE))
    found = await bench.said(
        {
            "model": "gpt-4o", "stream": True, "tools": [tool],
            "messages": [
                {"role": "user", "content": f"{OWN} or {coded}", "name": SECRET},
                {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": OWN, "content": f"Authorization: Bearer {SECRET}"},
            ],
        }
    )  # fmt: skip
    everything = bench.everything
    for secret in (SECRET, OWN, coded):
        assert secret.encode() not in everything
    assert answer(found).startswith("It is *")
    assert "sk-real" not in answer(found)
    assert len(found["gen_ai.input.messages"]) == 3


async def test_a_credential_that_is_torn_over_frames_is_found(opened: Opening) -> None:
    """Where a body cannot be scrubbed as it is, its texts are, put together."""
    text = [*(f"{one}" for one in SECRET)]
    frames: list[bytes | Exception] = [
        frame("messageStart", {"role": "assistant"}),
        *(frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}}) for piece in text),
        frame("messageStop", {"stopReason": "end_turn"}),
    ]
    bench = opened(ScriptedReply(frames, ((b"content-type", b"application/vnd.amazon.eventstream"),)))
    found = await bench.said(
        {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]},
        url=Url(Origin("https", "bedrock-runtime.us-east-1.amazonaws.com", 443), "/model/m/converse-stream"),
        headers=((b"Host", b"bedrock-runtime.us-east-1.amazonaws.com"),),
    )
    assert answer(found) == "***"


async def test_the_patterns_of_the_rules_hold_here_too(opened: Opening) -> None:
    """In what is asked and in a stream that says a digit at a time."""
    bench = opened(ScriptedReply(streamed("Number ", *"123-45-6789", " it is"), SSE), scrub=(r"\d{3}-\d{2}-\d{4}",))
    found = await bench.said(asked("Mine is 987-65-4321.", stream=True))
    assert found["gen_ai.input.messages"][0]["parts"][0]["content"] == "Mine is ***."
    assert answer(found).startswith("Number *")
    assert not any(digit in answer(found) for digit in "123456789")


async def test_a_pattern_may_be_one_of_the_body_as_it_is(opened: Opening) -> None:
    """As for what the ledger keeps, across its JSON: the rest can be read as a text alone, and has no word of it."""
    bench = opened(ScriptedReply([completion({"content": "a"})]), scrub=(r'"user", "content": "[^"]*"',))
    found = await bench.said(asked("What nobody is to read"))
    assert b"nobody is to read" not in bench.everything
    assert '"role": ***' in found["gen_ai.input.messages"][0]["parts"][0]["content"]
    assert any(note.startswith("the request is not JSON") for note in found["interpose.content.notes"])


async def test_a_link_keeps_its_signature_to_itself(opened: Opening) -> None:
    """Whoever has it may fetch what it leads to."""
    link = "https://files.test/a.png?X-Amz-Signature=0123456789abcdef&n=1"
    content = [
        {"type": "image_url", "image_url": {"url": link}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]
    bench = opened(ScriptedReply([completion({"content": "a"})]))
    found = await bench.said({"model": "gpt-4o", "messages": [{"role": "user", "content": content}]})
    first, second = found["gen_ai.input.messages"][0]["parts"]
    assert (first["type"], first["modality"]) == ("uri", "image")
    assert first["uri"] == "https://files.test/a.png?X-Amz-Signature=***&n=1"
    assert (second["type"], second["file_id"]) == ("file", "file-1")


async def test_a_picture_is_told_by_its_type_and_size(opened: Opening) -> None:
    """Its bytes stay here; so do those that a tool returns as text."""
    coded = base64.b64encode(PNG).decode()
    blob = base64.b64encode(bytes(range(256)) * 4).decode()
    content = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{coded}"}},
    ]
    called = {"id": "c", "type": "function", "function": {"name": "shot", "arguments": "{}"}}
    bench = opened(ScriptedReply([completion({"content": "A dot"})]))
    found = await bench.said(
        {
            "model": "gpt-4o",
            "messages": [
                {"role": "user", "content": content},
                {"role": "assistant", "tool_calls": [called]},
                {"role": "tool", "tool_call_id": "c", "content": json.dumps({"shot": blob})},
            ],
        }
    )
    _, picture = found["gen_ai.input.messages"][0]["parts"]
    assert picture == {
        "type": "blob", "mime_type": "image/png", "modality": "image", "content": "", "interpose.size": len(PNG),
    }  # fmt: skip
    (result,) = found["gen_ai.input.messages"][2]["parts"]
    assert json.loads(result["response"]) == {"shot": f"… ({len(blob):,} characters of base64)"}
    assert coded.encode() not in bench.everything
    assert blob[:60].encode() not in bench.everything


async def test_what_is_too_long_is_cut_and_says_so(opened: Opening) -> None:
    """A message to its limit, the event to its own: the answer and the newest messages stay."""
    long = "word " * 40_000
    bench = opened(ScriptedReply([completion({"content": long})]))
    found = await bench.said(asked(*(f"{number} {long}" for number in range(10))))
    text = answer(found)
    assert text.startswith("word word")
    assert text.endswith(f"… ({len(long) - parts.LARGEST:,} characters more)")
    told = found["gen_ai.input.messages"]
    assert [each["parts"][0]["content"][:2] for each in told] == ["8 ", "9 "]
    notes = found["interpose.content.notes"]
    assert "gen_ai.output.messages[0] is cut" in notes
    assert "gen_ai.input.messages: the oldest 8 are left out: there was no room" in notes
    (post,) = (seen for seen in bench.collector.seen if seen.path == "/v1/logs")
    assert len(post.body) < messages.LARGEST + 20_000


async def test_arguments_may_be_anything(opened: Opening) -> None:
    """Broken JSON, numbers that no machine has, a thousand levels: told as text, and the call is told."""
    deep = "[" * 300 + "]" * 300
    cases = ("{broken", '{"n": 99999999999999999999999999}', f'{{"deep": {deep}}}', '"\\ud800"', "", "7")
    calls = [
        {"id": f"c{number}", "type": "function", "function": {"name": "f", "arguments": arguments}}
        for number, arguments in enumerate(cases)
    ]
    bench = opened(ScriptedReply([completion({"content": None, "tool_calls": calls}, reasons=("tool_calls",))]))
    found = await bench.said(asked("Go"))
    told = [part["arguments"] for part in found["gen_ai.output.messages"][0]["parts"]]
    assert told[0] == "{broken"
    assert isinstance(told[2]["deep"], list)
    assert told[4:] == [{}, 7]


async def test_without_the_word_nothing_is_told(opened: Opening) -> None:
    """It is off by default: no attribute, no text, and nobody who looks on."""
    bench = opened(ScriptedReply([completion({"content": "What nobody is to read"})]), content=False)
    found = await bench.said(asked("Nor this"))
    assert not any(name in found for name in ATTRIBUTES)
    assert b"nobody is to read" not in bench.everything
    assert b"Nor this" not in bench.everything
    trace = bench.telling.begin(bench.call(), alters=True)
    assert trace is not None
    assert trace.witness("chat", ()) is None
    assert not Settings(None, None, None).content


async def test_what_a_route_wants_kept_nowhere_is_told_nowhere(opened: Opening) -> None:
    """Its `capture: metadata` is said of what may be read elsewhere, too: the call is told, its words are not."""
    by = rules_with()
    private = replace(by, routes=(replace(by.routes[0], bodies=False),))
    bench = opened(ScriptedReply([completion({"content": "What nobody is to read"})]), rules=private)
    found = await bench.said(asked("Nor this"))
    assert found["interpose.route"] == "r"
    assert not any(name in found for name in ATTRIBUTES)
    assert b"nobody is to read" not in bench.everything
    assert b"Nor this" not in bench.everything


async def test_of_what_is_no_conversation_nothing_is_told(opened: Opening) -> None:
    """Embeddings have no messages by the conventions, and no such event."""
    reply = {"object": "list", "model": "e", "data": [], "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    bench = opened(ScriptedReply([json.dumps(reply).encode()]))
    data = json.dumps({"model": "e", "input": "A text of mine"}).encode()
    await body(await bench.handle(headers=HEADERS, body=data, url=Url(OPENAI, "/v1/embeddings")))
    bench.telling.close(20)
    assert bench.collector.calls()
    assert b"A text of mine" not in bench.everything


async def test_when_there_is_no_room_the_call_is_told_without(
    opened: Opening, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its event says so, and the log how many; spans are told all the same, and memory is given back."""
    monkeypatch.setattr(telling, "ROOM", 20_000)
    bench = opened(ScriptedReply([completion({"content": "a"})]), ScriptedReply([completion({"content": "b"})]))
    large = json.dumps(asked("x y " * 10_000)).encode()
    await body(await bench.handle(headers=HEADERS, body=large))
    await body(await bench.handle(headers=HEADERS, body=json.dumps(asked("small")).encode()))
    bench.telling.close(20)
    first, second = sorted(
        (log for log in bench.collector.logs if log.event == DETAILS), key=lambda log: log.attributes["interpose.id"]
    )
    assert first.attributes["interpose.content.notes"] == ["left out: there was no room"]
    assert "gen_ai.output.messages" not in first.attributes
    assert answer(second.attributes) == "b"
    assert len(bench.collector.calls()) == 2
    assert "it is left out of 1 events" in caplog.text
    assert bench.telling.room is not None
    assert bench.telling.room.taken == 0


async def test_what_has_no_room_is_not_held_on_to(opened: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by way of the call that it belongs to either, however long that waits to be told."""
    monkeypatch.setattr(telling, "ROOM", 20_000)
    bench = opened(ScriptedReply([completion({"content": "a"})]))
    bench.telling._every = 3600.0
    large = json.dumps(asked("x y " * 10_000)).encode()
    before = sys.getrefcount(large)
    await body(await bench.handle(headers=HEADERS, body=large))
    bench.upstream.sent.clear()
    gc.collect()
    assert sys.getrefcount(large) == before
    bench.telling.close(20)
    assert bench.collector.calls()


async def test_when_too_many_calls_wait_their_content_goes_first(
    opened: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the oldest, until no more wait than can be read; no span is lost by it."""
    monkeypatch.setattr(telling, "CROWD", 2)
    bench = opened(*(ScriptedReply([completion({"content": "said"})]) for _ in range(6)))
    bench.telling._every = 3600.0
    for _ in range(6):
        await body(await bench.handle(headers=HEADERS, body=json.dumps(asked("Hi")).encode()))
    bench.telling.close(20)
    logs = sorted((log for log in bench.collector.logs), key=lambda log: int(log.attributes["interpose.id"][3:]))
    assert ["gen_ai.output.messages" in log.attributes for log in logs] == [False] * 3 + [True] * 3
    assert len(bench.collector.calls()) == 6


async def test_what_is_left_at_the_end_is_sent_as_it_is_read(opened: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much more it is than may wait for a collector."""
    monkeypatch.setattr(outbox, "LARGEST", 100_000)
    count = 80
    bench = opened(*(ScriptedReply([completion({"content": "said"})]) for _ in range(count)))
    bench.telling._every = 3600.0
    for _ in range(count):
        await body(await bench.handle(headers=HEADERS, body=json.dumps(asked("Hi " * 1000)).encode()))
    bench.telling.close(60)
    assert len([log for log in bench.collector.logs if "gen_ai.output.messages" in log.attributes]) == count


async def test_what_finds_no_place_in_the_queue_gives_its_room_back(
    opened: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that cannot be told holds on to nothing."""
    monkeypatch.setattr(telling, "MOST_CALLS", 0)
    bench = opened(ScriptedReply([completion({"content": "said"})]))
    await body(await bench.handle(headers=HEADERS, body=json.dumps(asked("Hi")).encode()))
    assert bench.telling.room is not None
    assert bench.telling.room.taken == 0


async def test_a_fault_of_ours_costs_the_content_and_not_the_call(
    opened: Opening, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The event says so; the log quotes nothing of what was said."""

    def broken(*_: object) -> None:
        raise ValueError("it was: Hi there")

    monkeypatch.setattr("interpose.telemetry.said.content", broken)
    found = await opened(ScriptedReply([completion({"content": "said"})])).said(asked("Hi there"))
    assert found["interpose.content.notes"] == ["left out: it could not be read"]
    assert "what was said in a call cannot be told (ValueError)" in caplog.text
    assert "Hi there" not in caplog.text


def spoken() -> list[bytes | Exception]:
    """Claude's stream, for a client that speaks another format: its end is written when the provider's has come."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {
        "id": "m", "type": "message", "role": "assistant", "model": "claude-x", "content": [], "stop_reason": None,
        "usage": usage,
    }  # fmt: skip
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Good"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    ]
    return [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events]


async def until_recorded(bench: Teller, reply: Reply) -> int:
    """Takes pieces of it until its call has a record, and says how many they were."""
    taken = 0
    while not bench.records:
        await anext(reply.body)
        taken += 1
    return taken


def converting() -> Rules:
    by = rules_with()
    return replace(by, routes=(replace(by.routes[0], targets=(Target("claude", "claude-x"),)),))


@pytest.mark.parametrize("patience", [0.01, 3600.0])
async def test_a_client_that_takes_its_time_holds_up_nobody(
    opened: Opening, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    """Its call waits until it has come to the end, though not for ever; the others do not."""
    monkeypatch.setattr(telling, "PATIENCE", patience)
    bench = opened(ScriptedReply(spoken(), SSE), ScriptedReply(spoken(), SSE), rules=converting())
    slow = await bench.handle(headers=HEADERS, body=json.dumps(asked("Slow", stream=True)).encode())
    assert await until_recorded(bench, slow)
    await body(await bench.handle(headers=HEADERS, body=json.dumps(asked("Quick", stream=True)).encode()))
    bench.collector.until(lambda here: any("Quick" in str(log.attributes) for log in here.logs))
    if patience < 1:
        bench.collector.until(lambda here: any("Slow" in str(log.attributes) for log in here.logs))
    else:
        assert not any("Slow" in str(log.attributes) for log in bench.collector.logs)
    await body(slow)
    bench.collector.until(lambda here: len([log for log in here.logs if log.event == DETAILS]) == 2)
    bench.telling.close(20)
    for log in bench.collector.logs:
        if log.event == DETAILS:
            assert answer(log.attributes) == "Good"
    assert bench.telling.room is not None
    assert bench.telling.room.taken == 0
