"""Calls that go on with each other are one conversation.

A client sends the whole history with each call. What tells that a call goes on with an earlier one is therefore what
the model had answered there: the same turns up to an answer of its; failing that, ids of its tool calls, a longer text
of its, or the id of its reply (Responses). Two conversations that begin with the same words are two.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from interpose.recordings import Recorded
from interpose.transcripts import Block, Call, Data, Media, Raw, Refusal, Result, Text, Thinking, Transcript, Turn

# So many conversations are open at a time; a call that goes on with an older one begins a new one.
MOST_OPEN = 2000
# A text of the model's that is shorter may be said twice by chance.
TELLING = 80
# A summary that is shorter is none.
SUMMARY = 200
# A history that was summed up has no more turns, and so many of the latest summaries are looked for in it.
SUMMARISED = 4
MOST_SUMMARIES = 50
# A shorter id of a tool call is a mere number.
ODD = 6
SYSTEM = ("system", "developer")

Link = Literal["", "history", "tools", "text", "summary", "reply id", "again"]
Key = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A call in its place in its conversation. `before` are the turns of the call before it and its answer, None for
    the first; `earlier` is what else that one had. `link` says by what the call was recognised.
    """

    conversation: Conversation
    number: int
    call: Recorded
    transcript: Transcript
    before: tuple[Turn, ...] | None = None
    earlier: Transcript | None = None
    link: Link = ""


@dataclass(slots=True)
class Conversation:
    """The ids of its calls, in order. `history` is all that the next one is expected to begin with, `last` what else
    the last one had.
    """

    number: int
    ids: list[str] = field(default_factory=list)
    history: tuple[Turn, ...] = ()
    last: Transcript | None = None


class Conversations:
    """Sorts calls, which come in the order in which they began."""

    def __init__(self) -> None:
        self.all: list[Conversation] = []
        self._open: OrderedDict[int, Conversation] = OrderedDict()
        self._known: OrderedDict[Hashable, Conversation] = OrderedDict()
        self._summaries: OrderedDict[int, tuple[Hashable, str, Conversation]] = OrderedDict()

    def __iter__(self) -> Iterator[Conversation]:
        return iter(self.all)

    def add(self, call: Recorded, transcript: Transcript) -> Step:
        """The call as a step of the conversation that it is of."""
        who = (call.client, call.app, transcript.format)
        found, link = self._found(who, transcript)
        if found is None:
            found = Conversation(len(self.all) + 1)
            self.all.append(found)
        found.ids.append(call.id)
        before = None if found.last is None else found.history
        if link == "again" and before and before[-1].role == "assistant":
            # The answer that was not liked, or that never came, is in nobody's history.
            before = before[:-1]
        step = Step(found, len(found.ids), call, transcript, before, found.last, link)
        said = tuple(answer.turn for answer in transcript.answers[:1] if answer.turn.role == "assistant")
        kept = found.history if link == "reply id" else ()
        found.history = tuple(replace(turn, raw=None) for turn in (*kept, *transcript.turns, *said))
        self._remember(who, found, transcript)
        self._open[found.number] = found
        self._open.move_to_end(found.number)
        if len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)[1].history = ()
        # The next call holds its own history: of this one, what is compared is kept and no more.
        found.last = replace(transcript, turns=(), answers=(), whole=None)
        return step

    def _found(self, who: Hashable, transcript: Transcript) -> tuple[Conversation | None, Link]:
        parameters = dict(transcript.parameters)
        for name in ("previous_response_id", "conversation"):
            if (value := parameters.get(name)) and (found := self._known.get((who, "id", value))) is not None:
                return found, "reply id"
        keys = [key_of(turn) for turn in transcript.turns if turn.role not in SYSTEM]
        chains = _chains(keys)
        # The same once more: because it failed, or, of a longer conversation, because the answer was not liked.
        if chains and (found := self._known.pop((who, "failed", chains[-1]), None)) is not None:
            return found, "again"
        if chains and (found := self._known.get((who, "asked", chains[-1]))) is not None:
            return found, "again"
        for key, chain in zip(reversed(keys), reversed(chains), strict=True):
            if key[0] == "assistant" and (found := self._known.get((who, "said", chain))) is not None:
                return found, "history"
        for turn in reversed(transcript.turns):
            for block in turn.blocks:
                if isinstance(block, Call) and (found := self._known.get((who, "call", _key(block)))) is not None:
                    return found, "tools"
        for turn in reversed(transcript.turns):
            if turn.role == "assistant" and (found := self._known.get((who, "text", _text(turn)))) is not None:
                return found, "text"
        return self._summarised(who, transcript)

    def _summarised(self, who: Hashable, transcript: Transcript) -> tuple[Conversation | None, Link]:
        """A history that was put into a summary which the model had written, below the same system prompt."""
        system = [key_of(turn) for turn in transcript.turns if turn.role in SYSTEM]
        turns = [turn for turn in transcript.turns if turn.role not in SYSTEM]
        if len(turns) > SUMMARISED:
            return None, ""
        texts = [block.text for turn in turns for block in turn.blocks if isinstance(block, Text)]
        texts = [text for text in texts if len(text) >= SUMMARY]
        for whose, summary, conversation in reversed(self._summaries.values()) if texts else ():
            same = whose == who and [key_of(turn) for turn in conversation.history if turn.role in SYSTEM] == system
            if same and any(summary in text for text in texts):
                return conversation, "summary"
        return None, ""

    def _remember(self, who: Hashable, conversation: Conversation, transcript: Transcript) -> None:
        keys = [key_of(turn) for turn in conversation.history if turn.role not in SYSTEM]
        chains = _chains(keys)
        told: list[tuple[Hashable, ...]] = []
        if not transcript.answers:
            told += [("failed", chain) for chain in chains[-1:]]
        elif keys and keys[-1][0] == "assistant":
            told.append(("said", chains[-1]))
            if len(chains) > 2:
                told.append(("asked", chains[-2]))
        for answer in transcript.answers:
            calls = [block for block in answer.turn.blocks if isinstance(block, Call)]
            told += [("call", _key(block)) for block in calls if len(block.id) >= ODD]
            text = _text(answer.turn)
            if len(text) >= TELLING:
                told.append(("text", text))
            if len(text) >= SUMMARY:
                self._summaries[conversation.number] = (who, text, conversation)
                self._summaries.move_to_end(conversation.number)
        if isinstance(transcript.whole, dict) and isinstance(identity := transcript.whole.get("id"), str):
            told.append(("id", json.dumps(identity)))
        for name, value in transcript.parameters:
            if name == "conversation":
                told.append(("id", value))
        for each in told:
            key = (who, *each)
            self._known[key] = conversation
            self._known.move_to_end(key)
        while len(self._known) > MOST_OPEN * 8:
            self._known.popitem(last=False)
        while len(self._summaries) > MOST_SUMMARIES:
            self._summaries.popitem(last=False)


def _chains(keys: Iterable[Key]) -> list[str]:
    """The digest of each beginning of these."""
    found, digest = [], hashlib.sha256()
    for key in keys:
        digest.update(repr(key).encode("utf-8", "backslashreplace"))
        found.append(digest.hexdigest())
    return found


def _text(turn: Turn) -> str:
    return "\n".join(block.text for block in turn.blocks if isinstance(block, Text)).strip()


def key_of(turn: Turn) -> Key:
    """What of a turn is the same when a client sends it back: without thoughts, sources, and how JSON is spelt."""
    role = {"developer": "system", "tool": "user"}.get(turn.role, turn.role)
    return (role, *(key for block in turn.blocks if (key := _key(block)) is not None))


def _key(block: Block) -> Hashable:
    match block:
        case Text(text) | Refusal(text):
            return text.strip() or None
        case Thinking():
            return None
        case Call(id_, name, arguments):
            return ("call", id_, name, _value(arguments))
        case Result(id_, _, blocks):
            return ("result", id_, *(_key(each) for each in blocks))
        case Media(kind, _, data, place):
            return ("media", kind, hashlib.sha256(data.encode()).digest() if data else place)
        case Data(kind):
            return ("data", kind)
        case Raw(text):
            return ("raw", text)


def _value(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments
