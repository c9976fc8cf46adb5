"""A request of one word in any format: for those who ask what would become of a call, and have no body of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from interpose.ir import Losses, Message, Text
from interpose.ir import Request as Conversation

from .codecs import Target
from .conversions import Asked, between
from .dialects import Address
from .embeddings.neutral import Input
from .embeddings.neutral import Request as Embedding
from .endpoints import Match


def example(match: Match | None, model: str | None, *, stream: bool = False) -> bytes:
    """The body of a call of that model, in the format of its path; of what has no example, the model alone.

    `model` None is the one that the URL names, else "some-model" where a body has to have one.
    """
    named = model or (match.model if match is not None else None)
    if match is None or match.endpoint not in _EXAMPLES:
        # A model that nobody named would be refused, or lead elsewhere: files and batches have none.
        return orjson.dumps({} if named is None else {"model": named})
    known = named or "some-model"
    here = Address(match.format, None, "")
    asked = Asked(match.format, match.wire, match.model if match.model_span is not None else None)
    pair = between(match.endpoint, asked, "POST", match.api_path, here)
    if pair is None:
        return orjson.dumps({"model": known})
    return orjson.dumps(
        pair.client.write_request(_EXAMPLES[match.endpoint](known, stream), Target(known), Losses()).body
    )


def _conversation(model: str, stream: bool) -> Conversation:
    return Conversation("", model, [Message("user", [Text("Hello")])], max_tokens=1024, stream=stream)


_EXAMPLES: dict[str, Callable[[str, bool], Any]] = {
    "chat": _conversation,
    "completions": _conversation,
    "count_tokens": lambda model, _: _conversation(model, False),
    "embeddings": lambda model, _: Embedding("", model, [Input([Text("Hello")])]),
}
