"""The name of the format, and what all modules of its codec agree on: marks, ids, and who a block comes from.

What an item of the assistant's is made of is told by its blocks in a row: the last of them is marked ENDS, and carries
what is the item's own (`item.phase` among its fields, `id` and `status` among what is silent). Blocks from elsewhere
have no such mark: text that stands together is one message there.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs.codec import ANY_MODEL, Json
from interpose.formats.codecs.ids import RESPONSES, IdRule, make
from interpose.formats.codecs.leftovers import Leftovers
from interpose.ir import Block, CacheMark, Foreign, Losses, Message, Own

NAME = "openai-responses"
CHAT = "openai-chat"

ENDS = "ends"  # the block is the last of its item
EASY = "easy"  # the message was written without a type
STRING = "string"  # the content was a text and no list of parts
PART = "part"  # the foreign block is a part of a message, and no item
ALLOWED = "allowed"  # the choice of tools was written as allowed_tools
ITEM = "item."  # in front of those of a part's fields that are its item's

# Ids say what they are the id of, and are opaque otherwise.
RESPONSE_ID = IdRule(re.compile(r"resp_.+"), "resp_", 40)
ITEM_IDS = {
    kind: IdRule(re.compile(re.escape(prefix) + ".+"), prefix, 40)
    for kind, prefix in (
        ("message", "msg_"),
        ("reasoning", "rs_"),
        ("function_call", "fc_"),
        ("custom_tool_call", "ctc_"),
        ("image_generation_call", "ig_"),
    )
}

LEFTOVERS = Leftovers(NAME)
marked = LEFTOVERS.marked


def is_ours(own: Own | None) -> bool:
    """Whether a node was read by this codec, and is to be written back as it was."""
    return own is not None and own.format == NAME


def own_of(block: Block) -> Own | None:
    """What is this format's own on a block."""
    own = block.own
    return own if own is not None and own.format == NAME else None


def item_id(seed: str, index: int, kind: str) -> str:
    """The id of the item at that place of a reply; the same in a stream and in the whole."""
    return make(f"{seed}:{index}", ITEM_IDS[kind])


@dataclass(slots=True)
class Out:
    """What every function that writes needs: where losses go, and for whom it writes.

    `origin` is the format that is written from, `seed` what the ids of a reply's items are made from (None for a
    request's items, which need none), `custom` the names of the client's custom tools.
    """

    losses: Losses
    origin: str
    capabilities: Capabilities = ANY_MODEL
    seed: str | None = None
    custom: frozenset[str] = frozenset()
    breakpoints: int = 0
    _waiting: OrderedDict[str, deque[str]] = field(default_factory=OrderedDict)
    """By name; only names of which a call waits."""
    _made: dict[str, int] = field(default_factory=dict)

    @property
    def marks(self) -> bool:
        """Whether a prompt cache's marks may be given: models before GPT-5.6 refuse them."""
        return self.capabilities.cache_field == "prompt_cache_breakpoint"

    def call_id(self, id_: str, name: str, at: str) -> str:
        """The id of a call. Where none was given, one is made from what is said and where, and kept for its result."""
        if id_:
            return id_ if len(id_) <= 64 else make(id_, RESPONSES)
        number = self._made[name] = self._made.get(name, 0) + 1
        made = make(f"{self.seed or ''}:{at}:{name}:{number}", RESPONSES)
        self._waiting.setdefault(name, deque()).append(made)
        return made

    def result_id(self, id_: str, name: str | None, at: str) -> str:
        """The id of the call that a result answers: without one, the first of that name that waits."""
        if id_:
            return id_ if len(id_) <= 64 else make(id_, RESPONSES)
        called = name or next(iter(self._waiting), "")
        waiting = self._waiting.get(called)
        if waiting is None:
            return make(f"{at}:{name}", RESPONSES)
        found = waiting.popleft()
        if not waiting:
            del self._waiting[called]
        return found

    def breakpoint(self, cache: CacheMark | None, at: str, part: Json) -> None:
        """A prompt cache's mark: https://developers.openai.com/api/docs/guides/prompt-caching (four at most)."""
        if cache is None:
            return
        if is_ours(cache.own):
            assert cache.own is not None
            part["prompt_cache_breakpoint"] = {"mode": "explicit", **_ttl(cache.ttl), **cache.own.fields}
            return
        if not self.marks:
            self.losses.approximated(at, "the model's prompts are cached by themselves, without marks")
        elif self.breakpoints >= 4:
            self.losses.dropped(at, "a request has four cache breakpoints at most")
        else:
            self.breakpoints += 1
            part["prompt_cache_breakpoint"] = {"mode": "explicit"}
            if cache.ttl is not None:
                self.losses.approximated(at, f"a lifetime of {cache.ttl} is not offered; the default is 30 minutes")


def _ttl(ttl: str | None) -> Json:
    return {} if ttl is None else {"ttl": ttl}


def foreign(block: Foreign, out: Out) -> None:
    """Tells that a block of another format is left out."""
    out.losses.dropped(block.at, f"{block.kind} is {block.format}'s own")
    out.losses.own(block.own, block.at, NAME)


def top(message: Message) -> bool:
    """Whether a message is the system text that stands on top of a request."""
    return message.own is not None and "top" in message.own.marks
