"""What a WebSocket session used, read from its messages: OpenAI's Realtime and Responses, Gemini's Live.

A session has many turns, each with its own count: they add up. A reader is given single messages of either side and
never raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields

from interpose.ir import Usage

from .gemini import COUNTERS, kinds_of
from .openai_chat import usage_of
from .reader import Json, Reader, child, parse, total

# Larger ones carry audio or images, and no usage.
MESSAGE_LIMIT = 4 * 1024 * 1024


class SessionReader(Reader):
    """Collects one session. `requests` counts what asked for an answer, `responses` the answers that ended."""

    # A message without any of these says nothing of interest, and is not parsed: most are audio.
    SIGNS: tuple[bytes, ...] = ()

    __slots__ = ("requests", "responses")

    def __init__(self) -> None:
        super().__init__()
        self.requests = 0
        self.responses = 0

    def message(self, data: bytes, *, from_client: bool) -> None:
        """One message, text or binary."""
        if len(data) > MESSAGE_LIMIT or not any(sign in data for sign in self.SIGNS):
            return
        try:
            document = parse(data)
        except ValueError:
            return  # not JSON: audio, or somebody else's protocol
        if isinstance(document, dict):
            (self.asked if from_client else self.told)(document)

    def asked(self, message: Json) -> None:
        """A message of the client."""

    def told(self, message: Json) -> None:
        """A message of the provider."""

    def add(self, usage: Usage, units: Mapping[str, int]) -> None:
        """One more turn's usage, and what of it may have a price of its own."""
        for unit, count in units.items():
            self.units[unit] = self.units.get(unit, 0) + count
        sums = {each.name: total(getattr(self.usage, each.name), getattr(usage, each.name)) for each in fields(Usage)}
        self.usage = Usage(**sums)


class OpenAISession(SessionReader):
    """https://platform.openai.com/docs/api-reference/realtime-server-events: usage comes with each `response.done`,
    and with each transcription of what the client said. Over the WebSocket of the Responses API it comes with the
    terminal events of a stream: https://platform.openai.com/docs/guides/websocket-mode
    """

    SIGNS = (b"response.create", b"response.done", b'"usage"', b"session.created", b"session.updated", b'"error"')
    # No set: what a hostile provider sends as a type need not be hashable.
    TERMINAL = ("response.done", "response.completed", "response.incomplete", "response.failed")

    __slots__ = ()

    def asked(self, message: Json) -> None:
        if message.get("type") == "response.create":
            self.requests += 1
            self.name_model(message.get("model") or child(message, "response").get("model"))

    def _count(self, usage: Json) -> None:
        turn = Reader()
        self.add(usage_of(turn, usage), turn.units)
        if turn.flaw is not None:
            self.note(turn.flaw)

    def told(self, message: Json) -> None:
        kind = message.get("type")
        if kind in self.TERMINAL:
            response = child(message, "response")
            self.responses += 1
            self.name_model(response.get("model"))
            if usage := child(response, "usage"):
                self._count(usage)
        elif kind == "conversation.item.input_audio_transcription.completed":
            if usage := child(message, "usage"):
                self._count(usage)
        elif kind in ("session.created", "session.updated"):
            self.name_model(child(message, "session").get("model"))


class GeminiSession(SessionReader):
    """https://ai.google.dev/api/live#UsageMetadata: counted by turn, for the whole context that the turn was given.

    Within a turn a later count replaces an earlier one; a count that comes right behind the end of a turn is its own.
    """

    SIGNS = (b"usageMetadata", b"turnComplete", b"interrupted", b"clientContent", b'"setup"')
    # Live says `response` where generateContent says `candidates`.
    NAMES = (*COUNTERS, "responseTokenCount")

    __slots__ = ("_kinds", "_over", "_turn")

    def __init__(self) -> None:
        super().__init__()
        self._turn: dict[str, int] = {}
        self._kinds: dict[str, int] = {}
        self._over = False

    def asked(self, message: Json) -> None:
        if "clientContent" in message:
            self.requests += 1
        if setup := child(message, "setup"):
            self.name_model(setup.get("model"))

    def told(self, message: Json) -> None:
        for name, value in child(message, "usageMetadata").items():
            if name in self.NAMES and (counted := self.count(value, name)) is not None:
                self._turn[name] = counted
        self._kinds |= kinds_of(self, child(message, "usageMetadata"))
        content = child(message, "serverContent")
        ends = content.get("turnComplete") is True or content.get("interrupted") is True
        if ends:
            self.responses += 1
        if self._turn and (ends or self._over):
            self._end_turn()
        # What comes next, unless it is content, still speaks of the turn that has just ended.
        self._over = (ends or self._over) and not (content and not ends)

    def settle(self) -> Usage:
        if self._turn:
            self._end_turn()
        return self.usage

    def _end_turn(self) -> None:
        told, self._turn = self._turn, {}
        kinds, self._kinds = self._kinds, {}
        prompt, tools, cached, candidates, thoughts = (told.get(name) for name in COUNTERS)
        answered = told.get("responseTokenCount", candidates)
        self.add(
            Usage(
                input_tokens=total(prompt, tools),
                cache_read_tokens=cached,
                output_tokens=total(answered, thoughts),
                reasoning_tokens=thoughts,
            ),
            kinds,
        )


SESSIONS: dict[str, Callable[[], SessionReader]] = {
    "openai": OpenAISession,
    "openai-responses": OpenAISession,
    "gemini": GeminiSession,
}
"""By the client's format; a session of any other is counted, not read."""
