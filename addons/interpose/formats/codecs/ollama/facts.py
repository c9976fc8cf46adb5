"""Ollama's words, and how what is left over of its JSON is kept and put back.

https://github.com/ollama/ollama/blob/main/docs/api.md, and its types in api/types.go.
"""

from __future__ import annotations

from typing import Final

from interpose.formats.codecs.leftovers import Leftovers
from interpose.ir import Opaque
from interpose.ir.reply import Reason

NAME: Final = "ollama"
CHAT_PATH = "/api/chat"
GENERATE_PATH = "/api/generate"
# Marks requests and replies of /api/generate, where a prompt is gone on with.
GENERATE = "generate"

# Why it is done; load and unload answer a request without messages. It has no other words.
REASONS: dict[str, Reason] = {"stop": "end", "length": "length"}
WORDS: dict[Reason, str] = {"length": "length"}
UNSAID: frozenset[Reason] = frozenset(("content_filter", "refusal", "pause", "error", "other"))

# Whose thinking it was: models take their own back, in plain words and unsigned.
ORIGIN = Opaque(NAME, "signature", "thinking")

LEFTOVERS = Leftovers(NAME)
leftover = LEFTOVERS.leftover
lay_over = LEFTOVERS.lay_over
marks_of = LEFTOVERS.marks_of
