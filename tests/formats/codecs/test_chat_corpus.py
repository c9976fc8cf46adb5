"""Chat Completions against every recording of it: nothing is lost, nothing is smuggled, no cut stream succeeds.

OpenAI's own and those of the servers compatible with it, replies without their request included.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import openai
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from tests.corpus import Line, lines
from tests.formats.codecs import laws
from tests.formats.codecs.drawn import parted

from interpose.formats.codecs import Asked, Client, Malformed, Target
from interpose.formats.codecs.chat import CODEC
from interpose.ir import Assembler, Failed, Finished, Losses, Reply, Request, Text, Thinking, ToolCall

FAMILIES = ("openai_chat", "chat_compat", "responseonly_openai_chat", "responseonly_chat_compat")

# Recorded under a streaming request, but no streams: JSON, and a log line of the recorder.
NO_STREAM = (b"{", b"method=")


@cache
def recorded() -> list[Line]:
    return [line for family in FAMILIES for line in lines(family)]


@cache
def streams() -> list[tuple[Line, bytes]]:
    return [
        (line, line.reply_bytes())
        for line in recorded()
        if line.ok and line.reply_text is not None and not line.reply_bytes().startswith(NO_STREAM)
    ]


def client_for(model: str, request: Request | None = None) -> Client:
    return Client(request or Request("openai-chat", model, []), model, "call-1", 1_700_000_000)


def test_every_recorded_request_comes_back_equal() -> None:
    """Reading a request and writing it again gives an equal one, whatever server it was for."""
    counted = 0
    for line in recorded():
        if line.request_kind != "json":
            continue
        laws.request_returns(CODEC, line.request, Asked(line.path))
        counted += 1
    assert counted >= 2670


def test_every_recorded_reply_comes_back_equal() -> None:
    """Reading a whole reply and writing it again gives an equal one, and its events collected are the reply."""
    counted, refused = 0, []
    for line in recorded():
        if not line.ok or not isinstance(line.reply_json, dict):
            continue
        try:
            reply = laws.reply_returns(CODEC, line.reply_json, client_for(line.reply_json.get("model", "")))
        except Malformed as error:
            refused.append((error.path, line.reply_json.get("object")))
            continue
        laws.collecting_returns(CODEC, reply)
        counted += 1
    assert counted >= 2000
    # A log line of the recorder.
    assert refused == [("choices", None)]


def collected(data: bytes) -> Assembler:
    return laws.collected(CODEC, laws.read_whole(CODEC, data))


def test_every_recorded_stream_ends_well() -> None:
    """A stream is read to its end, with `[DONE]` or without, and holds an answer with a stop."""
    for line, data in streams():
        assembler = collected(data)
        assert assembler.failure is None, (line.id, assembler.failure)
        assert assembler.reply.answers, line.id
        assert all(answer.stop is not None for answer in assembler.reply.answers), line.id
    assert len(streams()) >= 660


# What OpenAI's own accumulator collects, which is compared; the rest it leaves as it came last.
COMPARED = ("content", "refusal", "reasoning", "reasoning_content")


def sdk_snapshot(data: bytes) -> dict[str, Any]:
    """What the official SDK's accumulator makes of these bytes."""
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, headers={"content-type": "text/event-stream"}, content=data)
    )
    client = openai.OpenAI(api_key="sk-FAKE-1", http_client=httpx.Client(transport=transport), max_retries=0)
    state = ChatCompletionStreamState()
    with client.chat.completions.create(model="m", messages=[], stream=True) as stream:
        for chunk in stream:
            state.handle_chunk(chunk)
    return state.current_completion_snapshot.model_dump()


def test_a_collected_stream_equals_what_the_sdk_collects() -> None:
    """Text, refusal, reasoning, calls, finish reason and log probabilities are those of the SDK's accumulator."""
    counted: Counter[str] = Counter()
    for line, data in streams():
        try:
            expected = sdk_snapshot(data)
        except (TypeError, ValueError, AssertionError, RuntimeError, AttributeError) as error:
            counted[f"sdk: {type(error).__name__}"] += 1
            continue
        reply = collected(data).reply
        written = CODEC.write_reply(reply, client_for(reply.model), Losses("reply"))
        for choice, theirs in zip(written["choices"], expected["choices"], strict=True):
            message, other = choice["message"], theirs["message"]
            for field in COMPARED:
                assert (message.get(field) or "") == (other.get(field) or ""), (line.id, field)
            assert calls_of(message) == calls_of(other), line.id
            assert choice.get("finish_reason") == theirs["finish_reason"], line.id
            if (theirs.get("logprobs") or {}).get("content"):
                assert choice["logprobs"]["content"] == theirs["logprobs"]["content"], line.id
                counted["logprobs"] += 1
            counted["calls"] += bool(message.get("tool_calls"))
            counted["reasoning"] += bool(message.get("reasoning") or message.get("reasoning_content"))
        if expected["usage"] is not None and "usage" in written:
            assert written["usage"]["completion_tokens"] == expected["usage"]["completion_tokens"], line.id
            counted["usage"] += 1
        counted["streams"] += 1
    print(counted)
    assert counted["streams"] >= 600


def calls_of(message: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (call["id"], call["function"]["name"], call["function"]["arguments"] or "")
        for call in message.get("tool_calls") or ()
    ]


def small_streams(limit: int) -> list[bytes]:
    return [data for _, data in streams() if len(data) <= limit]


def test_every_byte_split_of_small_streams_gives_the_same_events() -> None:
    """Whole, byte by byte, and parted at every byte: the same events, on a stream of each provider and each size."""
    chosen: dict[tuple[str, int], bytes] = {}
    for line, data in streams():
        if len(data) <= 4_000:
            chosen.setdefault((line.provider, len(data) // 1_000), data)
    for data in chosen.values():
        laws.every_split(CODEC, data)
    assert len(chosen) >= 12


@given(st.data())
def test_any_split_of_any_stream_gives_the_same_events(data: st.DataObject) -> None:
    """Pings keep their place, characters cut in two are joined, wherever the bytes are parted."""
    _, stream = data.draw(st.sampled_from(streams()))
    assert laws.read_in_pieces(CODEC, parted(data, stream)) == laws.read_whole(CODEC, stream)


def event_ends(data: bytes) -> Iterator[int]:
    """Where an event ends, up to the one in which the last answer finishes."""
    position = 0
    for event in data.replace(b"\r\n", b"\n").split(b"\n\n"):
        position += len(event) + 2
        yield position


def test_a_stream_cut_before_its_end_never_succeeds() -> None:
    """Cut after an event before the last answer's finish reason, a stream ends in Failed.

    After every one of them in streams of up to forty events, after twelve in longer ones. Once every answer has its
    finish reason the stream is whole, with `[DONE]` or without.
    """
    counted = 0
    for _, recording in streams():
        data = recording.replace(b"\r\n", b"\n")
        ends = [end for end in event_ends(data) if end < len(data)]
        before = ends_before_finish(data, ends)
        chosen = before if len(before) <= 40 else [*random.Random(1).sample(before, 11), before[-1]]
        laws.never_succeeds_cut(CODEC, data, chosen)
        counted += len(chosen)
    assert counted >= 7_000


def ends_before_finish(data: bytes, ends: list[int]) -> list[int]:
    """None for servers that send all of an answer in one event."""
    reader = CODEC.reader()
    for place, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        reader.feed(data[start:end])
        choices = reader._choices.values()  # type: ignore[attr-defined] - the law is about what it has seen
        if choices and all(choice.finished for choice in choices):
            return ends[:place]
    return ends


def words(text: str) -> set[str]:
    return set(text.split())


# All that is left over of what Chat and its dialects say, by the neutral node which it belongs to. Everything else is
# understood. What says nothing (null, []) is not listed.
LEFT_OVER: dict[str, set[str]] = {
    "Message": {"images"},
    "ToolCall": set(),
    "Tool": {"eager_input_streaming"},
    "Media": {"id", "expires_at", "transcript"},
    "Citation": {"url_citation.start_index", "url_citation.end_index"},
    "Request": words("""
        audio clear_thinking grammar include_reasoning json_schema modalities models moderation options preset
        provider reasoning_format search_context_size search_settings store temperature thinking transforms
        usage venice_parameters
    """),
    "Answer": words("""
        content_filter_result content_filter_results delta logprobs matched_stop native_finish_reason seed
        stop_reason message.annotations message.audio message.content message.executed_tools
        message.extra_content message.name message.function_call message.padding message.parsed
        message.provider_metadata message.reasoning_encrypted message.thought_signature message.token_id
    """),
    "Reply": words("""
        citations copilot_usage cost generationId latency_checkpoint metadata moderation prompt_filter_results
        provider request_id search_results service_tier sla_metrics system_fingerprint time_info timings
        usage_breakdown venice_parameters x_groq
    """),
}
# Counters and prices of a `usage` object that no neutral one stands for.
LEFT_OF_USAGE = words("""
        avg_compl_tok_per_sec avg_prompt_tok_per_sec avg_tok_per_sec completion_time
        completion_tokens_details.audio_tokens completion_tokens_details.text_tokens cost cost.input_tokens_cost
        cost.output_tokens_cost cost.request_cost cost.total_cost
        cost_details.upstream_inference_completions_cost cost_details.upstream_inference_cost
        cost_details.upstream_inference_prompt_cost cost_in_usd_ticks draft_tokens_acceptance is_byok
        latency_checkpoint.engine_tbt_ms latency_checkpoint.engine_ttft_ms latency_checkpoint.engine_ttlt_ms
        latency_checkpoint.pre_inference_ms latency_checkpoint.service_tbt_ms latency_checkpoint.service_ttft_ms
        latency_checkpoint.service_ttlt_ms latency_checkpoint.total_duration_ms
        latency_checkpoint.user_visible_ttft_ms market_cost prompt_time prompt_tokens_details.audio_tokens
        prompt_tokens_details.image_tokens prompt_tokens_details.text_tokens prompt_tokens_per_second
        pydantic_ai_gateway.cost_estimate queue_time search_context_size
        server_tool_use_details.tool_calls_executed server_tool_use_details.tool_calls_requested
        server_tool_use_details.web_search_requests time_per_output_token_ms time_to_first_token_ms
        tokens_per_second total_completion_time_sec total_prompt_time_sec total_time total_time_sec total_tokens
    """)


def test_what_is_left_over_is_a_stated_list() -> None:
    """Nothing that the neutral conversation has a place for rides along as Chat's own."""
    found: dict[str, set[str]] = {}
    for line in recorded():
        if line.request_kind == "json":
            laws.left_over(CODEC.read_request(laws.copy.deepcopy(line.request), Asked()), found)
        if line.ok and isinstance(line.reply_json, dict) and "choices" in line.reply_json:
            laws.left_over(CODEC.read_reply(laws.copy.deepcopy(line.reply_json)), found)
    for _, data in streams():
        laws.left_over(collected(data).reply, found)
    usage = {name.removeprefix("usage.") for name in found["Reply"] if name.startswith("usage.")}
    found["Reply"] = {name for name in found["Reply"] if not name.startswith("usage.")}
    assert usage == LEFT_OF_USAGE, usage ^ LEFT_OF_USAGE
    for node in {*found, *LEFT_OVER}:
        names, stated = found.get(node, set()), LEFT_OVER.get(node, set())
        assert names == stated, (node, names ^ stated)


def reasons(reply: Reply) -> list[Any]:
    return [None if answer.stop is None else (answer.stop.reason, answer.stop.sequence) for answer in reply.answers]


def texts(reply: Reply) -> list[Any]:
    """The blocks of a reply, as far as one Chat stream can bring them to another."""
    kept = [block for answer in reply.answers for block in answer.blocks]
    return [
        (type(block).__name__, block.text if isinstance(block, Text | Thinking) else getattr(block, "name", ""))
        for block in kept
    ]


def test_a_stream_written_from_a_stream_reads_the_same() -> None:
    """Chat's events written as a stream and read again give the same blocks, stops and usage."""
    counted = 0
    for line, data in streams():
        events = laws.read_whole(CODEC, data)
        first = laws.collected(CODEC, events).reply
        request = Request("openai-chat", first.model, [], stream=True, include_usage=True)
        losses = Losses("reply")
        writer = CODEC.writer(client_for(first.model, request), losses)
        again = collected(writer.write(events) + writer.finish())
        assert again.failure is None, line.id
        assert texts(again.reply) == texts(first), line.id
        assert reasons(again.reply) == reasons(first), line.id
        if first.usage:
            assert again.reply.usage == first.usage, line.id
        calls = [block for answer in first.answers for block in answer.blocks if isinstance(block, ToolCall)]
        others = [block for answer in again.reply.answers for block in answer.blocks if isinstance(block, ToolCall)]
        assert [(one.id, one.name, one.arguments) for one in calls] == [
            (one.id, one.name, one.arguments) for one in others
        ], line.id
        assert not list(losses), (line.id, list(losses))
        counted += 1
    assert counted >= 660


def test_longer_conversations_are_written_as_continuations() -> None:
    """Law 2: where one recorded conversation extends another, what is written for it begins with the other's."""
    conversations = [
        (line.id, line.request["messages"])
        for line in recorded()
        if line.request_kind == "json" and len(line.request.get("messages") or ()) > 1
    ]
    by_start: dict[str, list[Any]] = {}
    for _, messages in conversations:
        by_start.setdefault(laws.canonical(messages[:2]), []).append(messages)
    counted = 0
    for group in by_start.values():
        for shorter in group:
            for longer in group:
                if len(shorter) < len(longer) and laws.is_prefix(shorter, longer):
                    assert laws.is_prefix(written(shorter), written(longer))
                    counted += 1
    assert counted >= 100


def written(messages: list[Any]) -> list[Any]:
    body = {"model": "m", "messages": laws.copy.deepcopy(messages)}
    request = CODEC.read_request(body, Asked())
    # As another format's, so that it is not merely written back.
    request.format = "elsewhere"
    found: list[Any] = CODEC.write_request(request, Target("m"), Losses()).body["messages"]
    return found


def test_a_failed_stream_is_the_last_that_is_heard() -> None:
    """After an error object in mid-stream nothing else is read, whatever follows."""
    counted = 0
    for _, data in small_streams_with_ids(6_000):
        head, _, rest = data.partition(b"\n\n")
        broken = head + b'\n\ndata: {"error": {"message": "overloaded", "code": 503}}\n\n' + rest
        events = laws.read_whole(CODEC, broken)
        assert isinstance(events[-1], Failed)
        assert not [event for event in events if isinstance(event, Finished)]
        counted += 1
    assert counted >= 200


def small_streams_with_ids(limit: int) -> list[tuple[str, bytes]]:
    return [(line.id, data) for line, data in streams() if len(data) <= limit]
