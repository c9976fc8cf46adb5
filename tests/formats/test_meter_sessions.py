"""What WebSocket sessions used, from the messages that say so."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from interpose.formats.meters.sessions import SESSIONS, GeminiSession, OpenAISession, SessionReader
from interpose.ir import Usage


def told(reader: SessionReader, *messages: object, from_client: bool = False) -> SessionReader:
    for message in messages:
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        reader.message(data, from_client=from_client)
    return reader


def done(kind: str, given_: int, made: int, reasoning: int = 0) -> dict[str, object]:
    usage = {
        "input_tokens": given_,
        "output_tokens": made,
        "total_tokens": given_ + made,
        "output_tokens_details": {"reasoning_tokens": reasoning},
    }
    return {"type": kind, "response": {"model": "gpt-x", "usage": usage}}


@pytest.mark.parametrize("kind", ["response.done", "response.completed", "response.incomplete", "response.failed"])
def test_the_turns_of_a_session_add_up(kind: str) -> None:
    """Realtime's end of an answer, and those of the Responses API over WebSocket."""
    reader = told(OpenAISession(), done(kind, 10, 5, 3), done(kind, 20, 7))
    reading = reader.reading()
    assert reading.usage == Usage(input_tokens=30, output_tokens=12, reasoning_tokens=3)
    assert (reader.responses, reading.model) == (2, "gpt-x")


def test_transcription_is_used_too() -> None:
    """What the client said is written down by a model of its own, at its own count."""
    transcribed = {
        "type": "conversation.item.input_audio_transcription.completed",
        "usage": {"type": "tokens", "input_tokens": 17, "output_tokens": 4, "total_tokens": 21},
    }
    reading = told(OpenAISession(), done("response.done", 10, 5), transcribed).reading()
    assert reading.usage == Usage(input_tokens=27, output_tokens=9, reasoning_tokens=0)


def test_what_the_client_says_is_no_usage() -> None:
    """Only the provider's word counts; requests are the client's."""
    reader = told(OpenAISession(), done("response.done", 10, 5), {"type": "response.create"}, from_client=True)
    assert not reader.reading().usage
    assert (reader.requests, reader.responses) == (1, 0)


def counts(prompt: int, answer: int, thoughts: int | None = None, cached: int | None = None) -> dict[str, object]:
    more = {"thoughtsTokenCount": thoughts, "cachedContentTokenCount": cached}
    return {"promptTokenCount": prompt, "responseTokenCount": answer} | {
        name: value for name, value in more.items() if value is not None
    }


OVER = {"serverContent": {"turnComplete": True}}
CONTENT = {"serverContent": {"modelTurn": {"parts": [{"text": "…"}]}}, "usageMetadata": {}}


@pytest.mark.parametrize(
    "messages",
    [
        [
            {"usageMetadata": counts(10, 1)},
            {"usageMetadata": counts(10, 5), **OVER},
            {"usageMetadata": counts(20, 7), **OVER},
        ],
        [CONTENT, OVER, {"usageMetadata": counts(10, 5)}, CONTENT, OVER, {"usageMetadata": counts(20, 7)}],
        [{"usageMetadata": counts(10, 5), "serverContent": {"interrupted": True}}, {"usageMetadata": counts(20, 7)}],
        [
            {"usageMetadata": counts(10, 5)},
            OVER,
            CONTENT,
            {"usageMetadata": counts(20, 3)},
            {"usageMetadata": counts(20, 7)},
        ],
    ],
    ids=["with the end", "behind the end", "interrupted, then broken off", "growing within a turn"],
)
def test_gemini_counts_by_turn(messages: list[object]) -> None:
    """Within a turn the last count stands; turns add up, wherever in them the count comes."""
    assert told(GeminiSession(), *messages).reading().usage == Usage(input_tokens=30, output_tokens=12)


def test_gemini_counts_thoughts_and_cache_as_elsewhere() -> None:
    """Thoughts stand beside the answer, cached tokens within the prompt."""
    reader = told(GeminiSession(), {"usageMetadata": counts(10, 5, thoughts=2, cached=4), **OVER})
    told(reader, {"setup": {"model": "models/gemini-live"}}, {"clientContent": {}}, from_client=True)
    reading = reader.reading()
    assert reading.usage == Usage(input_tokens=10, cache_read_tokens=4, output_tokens=7, reasoning_tokens=2)
    assert (reading.model, reader.requests, reader.responses) == ("models/gemini-live", 1, 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "usage", "response", "usageMetadata", "serverContent", "turnComplete", "model"])
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@example(name="openai", messages=[{"type": [], "usage": None}], from_client=False)
@given(st.sampled_from(sorted(SESSIONS)), st.lists(JSON | st.binary(max_size=40), max_size=5), st.booleans())
def test_no_message_makes_a_reader_fail(name: str, messages: list[object], from_client: bool) -> None:
    """Whatever either side sends."""
    reader = SESSIONS[name]()
    for message in messages:
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        reader.message(b'"usage" usageMetadata response.done ' + data, from_client=from_client)
        reader.message(data, from_client=from_client)
    assert reader.reading().error is None


def test_what_has_a_price_of_its_own_adds_up() -> None:
    """Sound and pictures of all turns, in the words of Realtime and of Live."""
    usage = {
        "input_tokens": 100,
        "input_token_details": {
            "text_tokens": 10,
            "audio_tokens": 60,
            "image_tokens": 30,
            "cached_tokens": 50,
            "cached_tokens_details": {"text_tokens": 5, "audio_tokens": 40, "image_tokens": 5},
        },
        "output_tokens": 20,
        "output_token_details": {"text_tokens": 5, "audio_tokens": 15},
    }
    turn = {"type": "response.done", "response": {"usage": usage}}
    reading = told(OpenAISession(), turn, turn).reading()
    assert reading.usage == Usage(input_tokens=200, cache_read_tokens=100, output_tokens=40)
    assert reading.units == {
        "input_audio_tokens": 120,
        "input_image_tokens": 60,
        "cache_audio_read_tokens": 80,
        "cache_image_read_tokens": 10,
        "output_audio_tokens": 30,
    }
    kinds = {
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 2}, {"modality": "AUDIO", "tokenCount": 8}],
        "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}],
    }
    end = {"serverContent": {"turnComplete": True}, "usageMetadata": {**counts(10, 5), **kinds}}
    assert told(GeminiSession(), end, end).reading().units == {"input_audio_tokens": 16, "output_audio_tokens": 10}
