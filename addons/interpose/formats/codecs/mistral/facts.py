"""Mistral's words, and how what is left over of its JSON is kept and put back.

https://docs.mistral.ai/api/endpoint/chat
"""

from __future__ import annotations

from typing import Final

from interpose.formats.codecs.leftovers import Leftovers
from interpose.ir.reply import Reason

NAME: Final = "mistral"
PATH = "/v1/chat/completions"
# https://docs.mistral.ai/api/endpoint/agents and https://docs.mistral.ai/api/endpoint/fim
AGENTS_PATH = "/v1/agents/completions"
FIM_PATH = "/v1/fim/completions"
FIM = "fim"

# Its finish reasons are stop, length, model_length, error and tool_calls; it has none for an answer that was withheld.
WORDS: dict[Reason, str] = {
    "end": "stop",
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "stop",
    "refusal": "stop",
    "pause": "stop",
    "error": "error",
    "other": "stop",
}
# Those that the word above does not say.
UNSAID: frozenset[Reason] = frozenset(("content_filter", "refusal", "pause", "other"))

LEFTOVERS = Leftovers(NAME)
leftover = LEFTOVERS.leftover
lay_over = LEFTOVERS.lay_over
marks_of = LEFTOVERS.marks_of
