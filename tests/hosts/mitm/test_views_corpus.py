"""The views over what was recorded of every family: none fails, none is empty, and each reads what its format says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest
from mitmproxy import contentviews, http
from mitmproxy.test import tflow
from tests.corpus import Line, families, lines

from interpose.hosts.mitm.views import VIEWS
from interpose.hosts.mitm.views.conversation import Conversation, Reassembled

# Of each family: some that stream, some that do not.
SAMPLE = 12
CONVERSATIONS = ("openai_chat", "openai_responses", "anthropic_messages", "gemini_generate", "bedrock_converse")
CONVERSATIONS += ("cohere_chat", "mistral_chat", "ollama")


def sample(family: str) -> Iterator[Line]:
    for streaming in (False, True):
        yield from islice((line for line in lines(family) if line.streaming is streaming), SAMPLE)


def flow(line: Line) -> http.HTTPFlow:
    made = tflow.tflow(resp=True)
    url = line.url or "https://api.example.test/"
    made.request = http.Request.make(
        line.method or "POST", url, line.request_bytes(), {"content-type": "application/json"}
    )
    kind = line.content_type or ("text/event-stream" if line.streaming else "application/json")
    made.response = http.Response.make(line.status, line.reply_bytes(), {"content-type": kind})
    return made


def shown(view: contentviews.Contentview, of: http.HTTPFlow, message: http.Message) -> str:
    data = message.content or b""
    metadata = contentviews.Metadata(flow=of, http_message=message, content_type=message.headers["content-type"])
    assert isinstance(view.render_priority(data, metadata), (int, float))
    text = view.prettify(data, metadata)
    assert text.strip()
    assert "cannot be shown here" not in text
    return text


@pytest.mark.parametrize("family", families())
def test_every_view_shows_something_of_every_family(family: str) -> None:
    """Requests and replies, whole and streamed."""
    for line in sample(family):
        made = flow(line)
        for view in VIEWS:
            for message in (made.request, made.response):
                shown(view, made, message)


@pytest.mark.parametrize("family", CONVERSATIONS)
def test_a_conversation_shows_who_said_what(family: str) -> None:
    """For nearly all that is recorded of the formats that have a codec: turns of the request, and the answer."""
    asked = answered = whole = streams = total = 0
    for line in sample(family):
        if not line.ok or not line.request_bytes() or "count" in line.path:
            continue
        made = flow(line)
        total += 1
        asked += "── " in shown(Conversation(), made, made.request)
        answered += "── " in shown(Conversation(), made, made.response)
        if line.streaming and not line.reply_bytes().startswith((b"{", b"[")):
            streams += 1
            whole += "\n{" in shown(Reassembled(), made, made.response)
    assert total >= SAMPLE
    assert (asked, answered, whole) == (total, total, streams)
