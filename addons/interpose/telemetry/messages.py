"""From a call's transcript to the attributes in which the GenAI conventions tell what was said. Pure.

An event has so much room: for what was answered first, then the instructions, the newest of what was asked, the tools.
What there was no room for is said in the notes.

https://github.com/open-telemetry/semantic-conventions/blob/v1.41.0/docs/gen-ai/gen-ai-events.md
https://github.com/open-telemetry/semantic-conventions/blob/v1.41.0/docs/gen-ai/gen-ai-output-messages.json
https://github.com/open-telemetry/semantic-conventions/blob/v1.41.0/docs/gen-ai/gen-ai-tool-definitions.json
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from interpose.transcripts import Answer, Offer, Transcript, Turn
from interpose.transcripts.documents import dumped, root

from . import conventions as names
from .parts import Scribe, without_blobs

# Ours: what is missing, and the words of a provider that refuses.
NOTES = "interpose.content.notes"
ERROR_MESSAGE = "interpose.error.message"
# So many bytes, as JSON, have all messages of an event.
LARGEST = 256 << 10
MOST_NOTES = 20
MOST_TOOLS = 500
LONGEST_WORDS = 4096
# A schema of a tool is nested more deeply than what it is called with.
DEEPEST = 24

# Where instructions stand apart from the conversation: the others are messages of it.
_APART = frozenset(("system", "systemInstruction", "system_instruction", "instructions", "preamble"))
_ROLES: Mapping[str, str] = {"input": "user", "output": "assistant"}
# Why an answer ended, in the conventions' words where they have one; what they have none for keeps ours.
_REASONS: Mapping[str, str] = {"end": "stop", "tool_calls": "tool_call"}
# Where the schema of a tool's parameters stands, in any format.
_SCHEMAS = (
    ("function", "parameters"),
    ("parameters",),
    ("input_schema",),
    ("toolSpec", "inputSchema", "json"),
    ("parametersJsonSchema",),
    ("parameter_definitions",),
)
_LEFT_OUT = "there was no room"


@dataclass(slots=True)
class Content:
    """What was said, as attributes of an event, and `notes` of what is missing in them."""

    attributes: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        if not self.notes:
            return self.attributes
        more = len(self.notes) - MOST_NOTES
        notes = [*self.notes[:MOST_NOTES], *([f"… ({more:,} more)"] if more > 0 else ())]
        return {**self.attributes, NOTES: notes}


def content(transcript: Transcript, outcome: str, clean: Callable[[str], str], link: Callable[[str], str]) -> Content:
    """`outcome` is the record's, `clean` masks a text, `link` a URL."""
    writing = _Writing(clean, link)
    found = writing.found
    # Of an answer that does not say why it ended.
    ended = "error" if transcript.failure is not None else {"ok": "unknown", "aborted": "aborted"}.get(outcome, "error")
    answers = writing.first(names.OUTPUT_MESSAGES, (_answering(answer, ended) for answer in transcript.answers))
    asides = [turn for turn in transcript.turns if _apart(turn)]
    said = [turn for turn in transcript.turns if not _apart(turn)]
    instructions = writing.first(names.SYSTEM_INSTRUCTIONS, map(_instructing, asides))
    asked = writing.last(names.INPUT_MESSAGES, list(map(_saying, said)))
    tools = writing.first(names.TOOL_DEFINITIONS, map(_offering, transcript.tools[:MOST_TOOLS]))
    attributes = {
        names.SYSTEM_INSTRUCTIONS: [part for parts in instructions for part in parts],
        names.INPUT_MESSAGES: asked,
        names.TOOL_DEFINITIONS: tools,
        names.OUTPUT_MESSAGES: answers,
        names.FINISH_REASONS: [message["finish_reason"] for message in answers],
    }
    found.attributes = {name: value for name, value in attributes.items() if value}
    if transcript.failure is not None and transcript.failure.message:
        words = Scribe(clean, link, LONGEST_WORDS).text(transcript.failure.message)
        found.attributes[ERROR_MESSAGE] = words
    found.notes += [clean(note) for note in transcript.notes]
    return found


type _Written = Callable[[Scribe], Any]


def _apart(turn: Turn) -> bool:
    return turn.role in ("system", "developer") and root(turn.at) in _APART


def _saying(turn: Turn) -> _Written:
    return lambda scribe: _message(turn, scribe)


def _instructing(turn: Turn) -> _Written:
    return lambda scribe: scribe.parts(turn.blocks)


def _answering(answer: Answer, ended: str) -> _Written:
    reason = _REASONS.get(answer.stop, answer.stop)
    if reason == "other":
        reason = answer.word or reason
    return lambda scribe: {**_message(answer.turn, scribe), "finish_reason": scribe.text(reason) or ended}


def _message(turn: Turn, scribe: Scribe) -> dict[str, Any]:
    named = {"name": scribe.text(turn.name)} if turn.name and turn.role not in ("input", "output") else {}
    return {"role": _ROLES.get(turn.role, turn.role), "parts": scribe.parts(turn.blocks), **named}


def _offering(tool: Offer) -> _Written:
    return lambda scribe: _tool(tool, scribe)


def _tool(tool: Offer, scribe: Scribe) -> dict[str, Any]:
    """A function with its schema; of any other tool no more than that it is there: what it is set up with may be its
    own key.
    """
    try:
        given = orjson.loads(without_blobs(scribe.clean(tool.json)))
    except ValueError:
        given = None
    known = given if isinstance(given, dict) else {}
    schema = next((found for path in _SCHEMAS if (found := _at(known, path)) is not None), None)
    kind = known.get("type")
    told: dict[str, Any] = {"type": "function"}
    if schema is None and isinstance(kind, str) and kind != "function":
        told["type"] = scribe.text(kind)
    told["name"] = scribe.text(tool.name) or told["type"]
    if tool.description:
        told["description"] = scribe.text(tool.description)
    if schema is not None:
        told["parameters"] = scribe.json(dumped(schema), DEEPEST)
    return told


def _at(value: Any, path: Iterable[str]) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else None


class _Writing:
    """Fills an event."""

    def __init__(self, clean: Callable[[str], str], link: Callable[[str], str]) -> None:
        self.found = Content()
        self._clean = clean
        self._link = link
        self._left = LARGEST

    def first(self, name: str, written: Iterable[_Written]) -> list[Any]:
        """As many as there is room for, from the first on."""
        told: list[Any] = []
        left_out = 0
        for place, write in enumerate(written):
            if left_out or (made := self._made(f"{name}[{place}]", write)) is None:
                left_out += 1
            else:
                told.append(made)
        if left_out:
            self.found.notes.append(f"{name}: {left_out:,} are left out: {_LEFT_OUT}")
        return told

    def last(self, name: str, written: list[_Written]) -> list[Any]:
        """As many as there is room for, the newest ones, in their order."""
        told: list[Any] = []
        for place in range(len(written) - 1, -1, -1):
            made = self._made(f"{name}[{place}]", written[place])
            if made is None:
                self.found.notes.append(f"{name}: the oldest {place + 1:,} are left out: {_LEFT_OUT}")
                break
            told.append(made)
        return told[::-1]

    def _made(self, where: str, write: _Written) -> Any:
        """None where there is no room for it."""
        scribe = Scribe(self._clean, self._link)
        made = write(scribe)
        size = len(orjson.dumps(made))
        if size > self._left:
            return None
        self._left -= size
        if scribe.cut:
            self.found.notes.append(f"{where} is cut")
        return made
