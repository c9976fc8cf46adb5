"""Dialects that tell their usage or their failure in an odd way, and Gemini's Interactions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from interpose.formats.meters import meter_for
from interpose.ir import Reading, Usage


def read(wire: str, document: Any) -> Reading:
    made = meter_for(wire, "application/json")
    made.feed(json.dumps(document).encode())
    return made.finish()


def stream(wire: str, *events: Any) -> Reading:
    made = meter_for(wire, "text/event-stream")
    for event in events:
        name, data = event if isinstance(event, tuple) else ("", event)
        head = f"event: {name}\n" if name else ""
        made.feed(f"{head}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode())
    return made.finish()


# Anthropic: what message_start tells, what message_delta tells, and what holds.
DELTAS = {
    "zeros where the start had more": (
        {"input_tokens": 10, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 5, "output_tokens": 1},
        {"input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0, "output_tokens": 7},
        Usage(105, 90, 5, 7),
    ),
    "later values": (
        {"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 1},
        {"input_tokens": 4, "cache_read_input_tokens": 96, "output_tokens": 7},
        Usage(100, 96, None, 7),
    ),
    "zeros at the start, the values behind": (
        {"input_tokens": 0, "output_tokens": 0},
        {"input_tokens": 12, "output_tokens": 7},
        Usage(12, None, None, 7),
    ),
    "zeros throughout": (
        {"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0},
        {"input_tokens": 0, "output_tokens": 0},
        Usage(0, 0, None, 0),
    ),
    "zeros that nothing preceded": ({}, {"input_tokens": 0, "output_tokens": 7}, Usage(0, None, None, 7)),
}


@pytest.mark.parametrize(("start", "delta", "usage"), DELTAS.values(), ids=DELTAS)
def test_an_input_does_not_vanish(start: Any, delta: Any, usage: Usage) -> None:
    """Zeros at a stream's end never take back the input that its beginning told; other values do replace it."""
    events = (
        {"type": "message_start", "message": {"model": "m", "usage": start}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": delta},
        {"type": "message_stop"},
    )
    reading = stream("anthropic", *events)
    assert (reading.usage, reading.complete) == (usage, True)


# Anthropic: counters on top, iterations, and what holds.
ITERATIONS = {
    "all told": (
        {"input_tokens": 5, "output_tokens": 3},
        [{"input_tokens": 20, "output_tokens": 4}, {"input_tokens": 5, "output_tokens": 3}],
        Usage(25, None, None, 7),
    ),
    "one counter in none of them": (
        {"input_tokens": 5, "cache_read_input_tokens": 9, "output_tokens": 3},
        [{"input_tokens": 20, "output_tokens": 4}, {"input_tokens": 5, "output_tokens": 3}],
        Usage(34, 9, None, 7),
    ),
    "one counter in some, which is less than the top": (
        {"input_tokens": 50, "output_tokens": 3},
        [{"input_tokens": 20, "output_tokens": 4}, {"output_tokens": 3}],
        Usage(50, None, None, 7),
    ),
    "one counter in some, which is more than the top": (
        {"input_tokens": 5, "output_tokens": 3},
        [{"input_tokens": 20, "output_tokens": 4}, {"output_tokens": 3}],
        Usage(20, None, None, 7),
    ),
    "an entry that tells nothing": (
        {"input_tokens": 5, "output_tokens": 3},
        [{"type": "message"}, {"input_tokens": 20, "output_tokens": 4}],
        Usage(20, None, None, 4),
    ),
    "nothing told in any": ({"input_tokens": 5, "output_tokens": 3}, [{}, {"type": "x"}], Usage(5, None, None, 3)),
    "nothing on top": ({}, [{"input_tokens": 20, "output_tokens": 4}], Usage(20, None, None, 4)),
}


@pytest.mark.parametrize(("top", "iterations", "usage"), ITERATIONS.values(), ids=ITERATIONS)
def test_iterations_add_up_counter_by_counter(top: Any, iterations: Any, usage: Usage) -> None:
    """What an iteration leaves out is never less than what was told on top."""
    document = {"type": "message", "model": "m", "content": [], "usage": {**top, "iterations": iterations}}
    assert read("anthropic", document).usage == usage


def chat(reason: str, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {}, "message": {}, "finish_reason": reason, **more}]}


@pytest.mark.parametrize("wire", ["openai-chat", "mistral", "openai-completions"])
def test_a_finish_reason_can_be_an_error(wire: str) -> None:
    """`finish_reason: "error"` is one, with the message that the choice has or without; no other reason is."""
    for more, error in (({}, "the finish reason is error"), ({"error": {"message": "overloaded"}}, "overloaded")):
        assert read(wire, chat("error", **more)).error == error
        reading = stream(wire, chat("error", **more), "[DONE]")
        assert (reading.error, reading.complete) == (error, True)
    assert read(wire, chat("stop")).error is None
    assert stream(wire, chat("length"), "[DONE]").error is None


@pytest.mark.parametrize("reason", ["ERROR", "ERROR_TOXIC", "ERROR_LIMIT", "TIMEOUT"])
def test_coheres_finish_reasons_can_be_errors(reason: str) -> None:
    """In documents and at the end of streams of both versions, and in what it generates."""
    said = f"the finish reason is {reason}"
    end = {"event_type": "stream-end", "is_finished": True}
    message_end = {"type": "message-end", "delta": {"finish_reason": reason}}
    assert read("cohere", {"id": "x", "finish_reason": reason}).error == said
    assert read("cohere", {"generations": [{"text": "", "finish_reason": reason}]}).error == said
    assert stream("cohere", message_end).error == said
    assert stream("cohere", {**message_end, "delta": {"finish_reason": reason, "error": "why"}}).error == "why"
    assert stream("cohere", {**end, "finish_reason": reason}).error == said
    assert stream("cohere", {**end, "response": {"finish_reason": reason}}).error == said


def test_coheres_other_finish_reasons_are_none() -> None:
    """A reply that stopped, or was cut at its limit, is no failure."""
    for reason in ("COMPLETE", "MAX_TOKENS", "TOOL_CALL", "STOP_SEQUENCE", None, 3):
        assert read("cohere", {"finish_reason": reason}).error is None
        assert stream("cohere", {"type": "message-end", "delta": {"finish_reason": reason}}).error is None


def test_a_run_that_failed() -> None:
    """OpenAI's assistants say so in an event's name and in a field of their own; the usage beside it is read."""
    run = {"id": "r", "object": "thread.run", "status": "failed", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    error = {"code": "server_error", "message": "it broke"}
    reading = stream("openai-other", ("thread.run.failed", {**run, "last_error": error}), ("done", "[DONE]"))
    assert (reading.error, reading.complete, reading.usage) == ("it broke", True, Usage(3, output_tokens=2))
    assert stream("openai-other", ("thread.run.failed", run)).error == "the event thread.run.failed"
    assert stream("openai-other", ("thread.run.completed", run)).error is None


# Mistral: https://docs.mistral.ai/capabilities/audio
AUDIO = {
    "beside the prompt": (11, 15, 375, 401, 386),
    "in the prompt": (386, 15, 375, 401, 386),
    "a total that says neither": (11, 15, 375, 400, 11),
    "no total": (11, 15, 375, None, 11),
    "no audio": (11, 15, 0, 26, 11),
}


@pytest.mark.parametrize(("prompt", "completion", "audio", "total", "whole"), AUDIO.values(), ids=AUDIO)
@pytest.mark.parametrize("wire", ["mistral", "openai-chat", "openai-other"])
def test_audio_beside_the_prompt(
    wire: str, prompt: int, completion: int, audio: int, total: int | None, whole: int
) -> None:
    """Audio is added to the prompt only where the total says that it is not in it."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
    document = {"usage": {**usage, "prompt_tokens_details": {"audio_tokens": audio}}}
    assert read(wire, document).usage == Usage(whole, None, None, completion)


def test_audio_and_reasoning_beside_their_counters() -> None:
    """Each goes where it belongs, if the total is the sum of all four."""
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 415}
    details = {
        "prompt_tokens_details": {"audio_tokens": 300},
        "completion_tokens_details": {"reasoning_tokens": 100},
    }
    assert read("openai-chat", {"usage": usage | details}).usage == Usage(310, None, None, 105, 100)


def test_decisions_of_openai() -> None:
    """https://platform.openai.com/docs/api-reference: no text, but a usage."""
    usage = {"input_tokens": 30, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 5}}
    usage |= {"output_tokens": 6, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 36}
    reading = read("openai-other", {"model": "m", "answers": [], "usage": usage})
    assert (reading.usage, reading.model) == (Usage(30, 4, 5, 6, 2), "m")


def test_conversations_of_mistral() -> None:
    """Their replies and streams tell usage, text, end and failure."""
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    outputs = [{"type": "message.output", "content": "abc"}, {"content": [{"type": "text", "text": "de"}]}]
    reading = read("openai-other", {"conversation_id": "c", "outputs": outputs, "usage": usage})
    assert (reading.usage, reading.text_bytes, reading.complete) == (Usage(3, output_tokens=2), 5, True)
    events = (
        {"type": "conversation.response.started"},
        {"type": "message.output.delta", "content": "abc"},
        {"type": "message.output.delta", "content": {"type": "text", "text": "de"}},
        {"type": "function.call.delta", "arguments": "{}"},
    )
    reading = stream("openai-other", *events, {"type": "conversation.response.done", "usage": usage})
    assert (reading.usage, reading.text_bytes, reading.complete) == (Usage(3, output_tokens=2), 7, True)
    reading = stream("openai-other", *events, {"type": "conversation.response.error", "message": "no", "code": 1})
    assert (reading.error, reading.complete) == ("no", False)


INTERACTION_USAGE = {
    "total_input_tokens": 50,
    "total_cached_tokens": 20,
    "total_output_tokens": 3,
    "total_thought_tokens": 56,
    "total_tool_use_tokens": 7,
    "total_tokens": 116,
}
STEPS = [
    {"type": "user_input", "content": [{"type": "text", "text": "not generated"}]},
    {"type": "thought", "signature": "c2ln", "summary": [{"type": "text", "text": "hm"}]},
    {"type": "function_call", "id": "f", "name": "add", "arguments": {"x": 7}},
    {"type": "model_output", "content": [{"type": "text", "text": "done"}, {"type": "image", "data": "AAAA"}]},
]


def test_an_interaction() -> None:
    """Usage with tools and thoughts added, the model, and the text that was generated; the input is not counted."""
    document = {"id": "i", "model": "m", "status": "completed", "steps": STEPS, "usage": INTERACTION_USAGE}
    reading = read("gemini-interactions", document)
    assert reading == Reading(Usage(57, 20, None, 59, 56), "m", complete=True, text_bytes=len('hm{"x":7}done'))
    assert sum((reading.usage.input_tokens or 0, reading.usage.output_tokens or 0)) == INTERACTION_USAGE["total_tokens"]


EVENTS = (
    {"event_type": "interaction.created", "interaction": {"id": "i", "model": "m", "status": "in_progress"}},
    {"event_type": "interaction.status_update", "interaction_id": "i", "status": "in_progress"},
    {"event_type": "step.start", "index": 0, "step": {"type": "thought"}},
    {
        "event_type": "step.delta",
        "index": 0,
        "delta": {"type": "thought_summary", "content": {"type": "text", "text": "hm"}},
    },
    {"event_type": "step.delta", "index": 0, "delta": {"type": "thought_signature", "signature": "c2ln"}},
    {"event_type": "step.stop", "index": 0},
    {"event_type": "step.start", "index": 1, "step": {"type": "function_call", "name": "add", "arguments": {}}},
    {"event_type": "step.delta", "index": 1, "delta": {"type": "arguments_delta", "arguments": '{"x":7}'}},
    {"event_type": "step.start", "index": 2, "step": {"type": "model_output"}},
    {"event_type": "step.delta", "index": 2, "delta": {"type": "text", "text": "do"}},
    {
        "event_type": "step.delta",
        "index": 2,
        "delta": {"type": "text", "text": "ne"},
        "metadata": {"total_usage": {"total_input_tokens": 50, "total_output_tokens": 2}},
    },
)
COMPLETED = {
    "event_type": "interaction.completed",
    "interaction": {"id": "i", "model": "m", "status": "completed", "steps": STEPS, "usage": INTERACTION_USAGE},
}
DONE = ("done", "[DONE]")


def test_a_stream_of_an_interaction() -> None:
    """Complete with its own last event alone, which has the usage; deltas and the steps at the end count once."""
    reading = stream("gemini-interactions", *EVENTS, COMPLETED, DONE)
    assert reading == Reading(Usage(57, 20, None, 59, 56), "m", complete=True, text_bytes=len('hm{"x":7}done'))
    cut = stream("gemini-interactions", *EVENTS, DONE)
    assert (cut.complete, cut.usage) == (False, Usage(50, output_tokens=2))


@pytest.mark.parametrize("cut", range(len(EVENTS) + 1))
def test_a_stream_of_an_interaction_cut_anywhere_is_incomplete(cut: int) -> None:
    """Whichever event was the last."""
    assert not stream("gemini-interactions", *EVENTS[:cut]).complete


def test_interactions_that_failed() -> None:
    """An error event, an error object, and a status that is one; a call that wants its tool's result is none."""
    wire = "gemini-interactions"
    assert stream(wire, *EVENTS, {"event_type": "error", "error": {"code": "x", "message": "no"}}).error == "no"
    assert stream(wire, *EVENTS, {"event_type": "error"}).error == "an error event"
    assert read(wire, {"error": {"code": 400, "message": "no"}}).error == "no"
    assert read(wire, {"status": "failed", "errors": [{"code": "x", "message": "no"}]}).error == "no"
    update = {"event_type": "interaction.status_update", "status": "budget_exceeded"}
    assert stream(wire, *EVENTS, update).error == "the interaction's status is budget_exceeded"
    for status in ("requires_action", "incomplete", "queued"):
        assert read(wire, {"status": status}).error is None


def test_decisions_of_gemini() -> None:
    """They have an interaction's usage and nothing else of it."""
    reading = read("gemini-interactions", {"answers": {"q": {}}, "usage": INTERACTION_USAGE})
    assert (reading.usage, reading.complete, reading.error) == (Usage(57, 20, None, 59, 56), True, None)
