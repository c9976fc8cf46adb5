"""The columns of the matrix: what each provider once answered, as far as it is recorded, and where the rules find it.

Which recordings are played is chosen once and for all, so that there are texts, calls, several calls at once, thoughts
and answers to pictures, whole and streamed.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.corpus import Line, lines
from tests.e2e.recorded_answers import Answer, recorded_answer
from tests.e2e.recorded_usage import documents
from tests.e2e.upstream import Exchange

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
EVENT_STREAM = "application/vnd.amazon.eventstream"
# Of each kind, whole and streamed, so many recordings.
EACH = 2
# What every provider takes as a tool's name.
NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,63}")
LARGE = 100_000


@dataclass(frozen=True, slots=True)
class Provider:
    """`key` is its name in the rules; `settings` are what these say of it beside its address and its key. `targets` are
    what is asked for whole and for streamed answers; `streams` is what a body means that says nothing of it, None where
    only the target says it.
    """

    name: str
    key: str
    codec: str
    family: str
    format: str
    targets: tuple[str, str]
    base: str = ""
    settings: tuple[tuple[str, object], ...] = ()
    streams: bool | None = False
    stream_type: str = SSE
    recorded: Callable[[Line], bool] = lambda line: True

    @property
    def host(self) -> str:
        return f"{self.key}.provider.test"


def _claude(line: Line) -> bool:
    return isinstance(line.request, dict) and "anthropic_version" in line.request


def _at(path: str) -> Callable[[Line], bool]:
    return lambda line: line.path == path


def _one(path: str) -> tuple[str, str]:
    return path, path


PROVIDERS: tuple[Provider, ...] = (
    Provider(
        "OpenAI Chat",
        "openai",
        "openai-chat",
        "openai_chat",
        "openai",
        _one("/v1/chat/completions"),
        "/v1",
        # So that Responses are converted for it, too.
        settings=(("responses", False),),
    ),
    Provider(
        "OpenAI Responses",
        "openai-responses",
        "openai-responses",
        "openai_responses",
        "openai-responses",
        _one("/v1/responses"),
        "/v1",
    ),
    Provider("Anthropic", "anthropic", "anthropic", "anthropic_messages", "anthropic", _one("/v1/messages")),
    Provider(
        "Gemini",
        "gemini",
        "gemini",
        "gemini_generate",
        "gemini",
        (
            "/v1beta/models/real-one:generateContent",
            "/v1beta/models/real-one:streamGenerateContent?alt=sse",
        ),
        streams=None,
    ),
    Provider(
        "Claude by InvokeModel",
        "bedrock-claude",
        "bedrock-anthropic",
        "bedrock_invoke",
        "anthropic",
        ("/model/real-one/invoke", "/model/real-one/invoke-with-response-stream"),
        settings=(("dialect", "bedrock"),),
        streams=None,
        stream_type=EVENT_STREAM,
        recorded=_claude,
    ),
    Provider(
        "Bedrock Converse",
        "bedrock",
        "bedrock-converse",
        "bedrock_converse",
        "bedrock",
        ("/model/real-one/converse", "/model/real-one/converse-stream"),
        streams=None,
        stream_type=EVENT_STREAM,
    ),
    Provider("Cohere", "cohere", "cohere", "cohere_chat", "cohere", _one("/v2/chat"), recorded=_at("/v2/chat")),
    Provider("Mistral", "mistral", "mistral", "mistral_chat", "mistral", _one("/v1/chat/completions")),
    Provider(
        "Ollama",
        "ollama",
        "ollama",
        "ollama",
        "ollama",
        _one("/api/chat"),
        streams=True,
        stream_type=NDJSON,
        recorded=_at("/api/chat"),
    ),
)


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded reply, and what it answers."""

    line: Line
    answer: Answer
    kind: str

    @property
    def streamed(self) -> bool:
        return self.line.reply_text is not None or self.line.reply_b64 is not None

    @property
    def states(self) -> set[str]:
        """What it holds that its provider alone can read. OpenAI seals it anew in each event: one comes back."""
        return set(_states(documents(self.line)))


def tools_of(*replies: Recording) -> list[str]:
    """What an application offers that gets such answers."""
    return list(dict.fromkeys([*(name for each in replies for name, _ in each.answer.calls), "weather"]))


# How a request shows a picture, in any of the formats.
_PICTURE = re.compile(r'"type":"(?:input_)?image|"image_url":|"inline_?data":|"image":\{|"images":\[')


# Where each format has state that its provider alone can read, and wants back with the next turn.
_STATE = frozenset(("signature", "thoughtSignature", "encrypted_content"))


def _states(value: Any) -> Iterator[str]:
    """What of such state stands anywhere in a reply."""
    inner = value if isinstance(value, list) else []
    if isinstance(value, dict):
        inner = value.values()
        found = (value[key] for key in _STATE & value.keys() if isinstance(value[key], str))
        yield from (state for state in found if state and "REDACTED" not in state)
    for each in inner:
        yield from _states(each)


def _kind(line: Line, answer: Answer) -> str:
    if answer.calls and next(_states(documents(line)), None):
        return "signed"
    if len(answer.calls) > 1:
        return "calls"
    if answer.calls:
        return "call"
    if answer.thought:
        return "thought"
    request = json.dumps(line.request, separators=(",", ":"), ensure_ascii=True)
    return "picture" if _PICTURE.search(request) else "text"


@cache
def _found(provider: Provider) -> dict[tuple[bool, str], list[Recording]]:
    found: dict[tuple[bool, str], list[Recording]] = {}
    for line in lines(provider.family):
        if not provider.recorded(line) or len(line.reply_bytes()) > LARGE:
            continue
        answer = recorded_answer(line)
        if answer is None or not all(NAME.fullmatch(name) for name, _ in answer.calls):
            continue
        recording = Recording(line, answer, _kind(line, answer))
        if recording.streamed and answer.end == "length":
            continue  # where the helpers of openai's Python SDK raise
        found.setdefault((recording.streamed, recording.kind), []).append(recording)
    return found


@cache
def recordings(provider: Provider) -> tuple[Recording, ...]:
    """What is played of that provider."""
    chosen = random.Random(7)  # the same ones in every run
    found = _found(provider)
    return tuple(
        recording for kind in sorted(found) for recording in chosen.sample(found[kind], min(EACH, len(found[kind])))
    )


# What is played to an application that answers calls: kinds of replies, one after the other.
LOOPS = (("call", "text"), ("signed", "text"), ("calls", "call", "text"))


@cache
def loops(provider: Provider) -> tuple[tuple[Recording, ...], ...]:
    """Replies with calls, and those that follow when they are answered, whole and streamed."""
    found = {(each.streamed, each.kind): each for each in recordings(provider)}
    return tuple(
        tuple(found[streamed, kind] for kind in kinds)
        for streamed in (False, True)
        for kinds in LOOPS
        if all((streamed, kind) in found for kind in kinds)
    )


def playing(provider: Provider, *played: Recording) -> Callable[[Exchange], Any]:
    """An upstream that answers with those recordings, one after the other, streams in pieces of odd sizes."""
    sizes, turns = random.Random(played[0].line.id), iter(played)

    async def play(exchange: Exchange) -> None:
        recording = next(turns)
        data = recording.line.reply_bytes()
        if not recording.streamed:
            await exchange.json(data)
            return
        await exchange.stream(recording.line.content_type or provider.stream_type)
        while data:
            size = sizes.choice((1, 7, 40, 333, 5000))
            await exchange.chunk(data[:size])
            data = data[size:]
        await exchange.end()

    return play
