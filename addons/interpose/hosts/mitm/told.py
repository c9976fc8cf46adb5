"""How mitmproxy's tools show a streamed reply: what was said in it, put together, and below it the body as it came.

A view for people, and no more: tokens are counted by the meters, which know each format to the letter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from mitmproxy import contentviews

from interpose.wire.error import WireError
from interpose.wire.sse import SseDecoder

# Any member of a list.
EACH = object()
# Where text stands in the events of the known formats: OpenAI's two, Anthropic's, Gemini's, Cohere's.
TEXT = (
    ("choices", EACH, "delta", "content"),
    ("choices", EACH, "text"),
    ("delta",),
    ("delta", "text"),
    ("delta", "message", "content", "text"),
    ("candidates", EACH, "content", "parts", EACH, "text"),
)
RULE = "─" * 60


class Stream(contentviews.Contentview):
    """The view of `text/event-stream`."""

    @property
    def name(self) -> str:
        return "AI stream"

    def render_priority(self, data: bytes, metadata: contentviews.Metadata) -> float:
        return 2 if (metadata.content_type or "").lower().startswith("text/event-stream") else -1

    def prettify(self, data: bytes, metadata: contentviews.Metadata) -> str:
        """Raises ValueError where there is no event; mitmproxy then shows the body as it is."""
        decoder = SseDecoder()
        try:
            events = [*decoder.feed(data), *decoder.finish()]
        except WireError as error:
            raise ValueError(str(error)) from None
        if not events:
            raise ValueError("no events")
        words = "".join(text for event in events for text in said(event.data))
        text = data.decode("utf-8", "replace")
        return f"{words}\n{RULE}\n{text}" if words else text


def said(data: bytes) -> Iterator[str]:
    """The text that an event adds; none where it is no JSON, or tells of something else."""
    try:
        value = json.loads(data)
    except ValueError:
        return
    for path in TEXT:
        yield from found(value, path)


def found(value: object, path: tuple[object, ...]) -> Iterator[str]:
    """Every string that stands at `path`."""
    if not path:
        if isinstance(value, str):
            yield value
    elif path[0] is EACH:
        for each in value if isinstance(value, list) else ():
            yield from found(each, path[1:])
    elif isinstance(value, dict):
        yield from found(value.get(path[0]), path[1:])
