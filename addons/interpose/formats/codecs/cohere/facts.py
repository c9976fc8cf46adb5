"""Cohere's words, and how what is left over of its JSON is kept and put back.

https://docs.cohere.com/v2/reference/chat
"""

from __future__ import annotations

import re
from typing import Any, Final

from interpose.formats.codecs.codec import Json
from interpose.formats.codecs.ids import IdRule
from interpose.formats.codecs.leftovers import Leftovers
from interpose.formats.codecs.opaque import pack, unpack
from interpose.ir import Opaque
from interpose.ir.reply import Reason

NAME: Final = "cohere"
PATH = "/v2/chat"

# Any id but an empty one. Cohere's own are a function's name and some letters: "weather_5fdj252rgk1f".
IDS = IdRule(re.compile(r"[\s\S]+"), "call_", 24)

# https://docs.cohere.com/v2/reference/chat#response.body.finish_reason; the last three are of its older API.
REASONS: dict[str, Reason] = {
    "COMPLETE": "end",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR": "error",
    "TIMEOUT": "error",
    "ERROR_TOXIC": "content_filter",
    "ERROR_LIMIT": "length",
    "USER_CANCEL": "other",
}
WORDS: dict[Reason, str] = {
    "end": "COMPLETE",
    "stop": "STOP_SEQUENCE",
    "length": "MAX_TOKENS",
    "tool_calls": "TOOL_CALL",
    "content_filter": "COMPLETE",
    "refusal": "COMPLETE",
    "pause": "COMPLETE",
    "error": "ERROR",
    "other": "COMPLETE",
}
# Those that the word above does not say.
UNSAID: frozenset[Reason] = frozenset(("content_filter", "refusal", "pause", "other"))

# Marks the text that is a plan of which tools to call: Cohere has it beside what it answers.
PLAN = "plan"
# Marks the message that stands for the documents beside a request's messages.
DOCUMENTS = "documents"
# Marks requests of the first version of its chat, whose streams are lines.
FIRST = "cohere:v1"
# Where what another model wants back unread travels through a client of Cohere's, on what it belongs to.
SIGNATURE = "signature"
# Whose thinking it was: models take their own back, in plain words and unsigned.
ORIGIN = Opaque(NAME, "signature", "thinking")

LEFTOVERS = Leftovers(NAME)
leftover = LEFTOVERS.leftover
lay_over = LEFTOVERS.lay_over
marks_of = LEFTOVERS.marks_of


def carried(node: Json) -> Opaque | None:
    """Another model's state that came along in Cohere's words, taken out."""
    signature = node.get(SIGNATURE)
    found = unpack(signature) if isinstance(signature, str) else None
    if found is None or found.format == NAME or pack(found) != signature:
        return None
    del node[SIGNATURE]
    return found


def is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63
