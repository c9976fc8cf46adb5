"""What is kept of a call with its flow: what went upstream and what came back, once, bounded, and without secrets."""

from __future__ import annotations

import asyncio
import gzip
import io
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import pytest
from mitmproxy import http
from mitmproxy.io import FlowReader, FlowWriter
from mitmproxy.test import taddons, tflow
from tests.hosts.mitm.test_remarks import CALL

from interpose.call import Call, Origin, Peer, Url
from interpose.hosts.mitm import remarks
from interpose.hosts.mitm.seen import MOST_ATTEMPTS, Seen, weight
from interpose.masking.whole import Known
from interpose.secret import Scrubber, Secret

SECRET = Secret("sk-FAKE-of-the-rules", "env:KEY")
CLIENT = "sk-FAKE-of-the-client"
ASKED = b'{"model": "gpt-4o"}'
URL = "https://api.anthropic.com/v1/messages"
JSON = ((b"Content-Type", b"application/json"),)


@pytest.fixture(autouse=True)
def context() -> Iterator[None]:
    with taddons.context():
        yield


def witness(flow: http.HTTPFlow, limit: int = 1000) -> Seen:
    scrubber = Scrubber()
    scrubber.learn(SECRET)
    seen = Seen(flow, ASKED, scrubber, limit)
    url = Url(Origin("https", "api.openai.com", 443), "/v1/chat/completions")
    headers = ((b"Authorization", f"Bearer {CLIENT}".encode()),)
    seen.begun(Known(Call("POST", url, headers, ASKED, Peer("127.0.0.1"))))
    return seen


def kept(flow: http.HTTPFlow) -> dict[str, object]:
    """What a flow tells that was saved and loaded."""
    file = io.BytesIO()
    FlowWriter(file).add(flow)
    for secret in (SECRET.reveal(), CLIENT):
        assert secret.encode() not in file.getvalue()
    file.seek(0)
    (loaded,) = FlowReader(file).stream()
    return loaded.metadata[remarks.KEY]


async def test_a_call_that_passes_as_it_came_is_not_kept_twice() -> None:
    """Its bodies are the flow's; its record, and the heads of what was sent and received, are all that is added."""
    flow = tflow.tflow(resp=True)
    seen = witness(flow)
    seen.sent(1, "POST", URL, JSON, ASKED)
    seen.received(1, 200, JSON)
    for chunk in (b"hello, ", b"world"):
        seen.arrived(1, chunk)
        seen.told(chunk)
    seen.settled(CALL, ())
    found = kept(flow)
    assert found["sent"] == [
        {"attempt": 1, "method": "POST", "url": URL, "headers": [["Content-Type", "application/json"]]}
    ]
    assert found["received"] == [{"attempt": 1, "status": 200, "headers": [["Content-Type", "application/json"]]}]
    record = found["record"]
    assert record["cost_usd"] == 0.043
    assert "hash" not in record
    assert "client" not in record
    assert weight(flow) == 0
    assert (flow.comment, flow.marked) == (remarks.words(CALL), remarks.CONVERTED)


async def test_what_passes_as_it_comes_is_not_held() -> None:
    """A stream, or a session of hours: after its first piece nothing of it is collected."""
    flow = tflow.tflow(resp=True)
    seen = witness(flow, limit=1 << 30)
    seen.received(1, 200, JSON)
    tracemalloc.start()
    for _ in range(100):
        seen.arrived(1, chunk := bytes(1 << 20))
        seen.told(chunk)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 3 << 20
    seen.settled(CALL, ())
    assert weight(flow) == 0


@pytest.mark.parametrize(
    ("asked", "sent", "mark"),
    [
        ("api.openai.com/v1/responses", "api.deepseek.com/v1/chat/completions", remarks.CONVERTED),
        ("api.openai.com/v1/chat/completions", "llm.house.test/v1/chat/completions", ""),
        (
            "api.anthropic.com/v1/messages",
            "bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-x/invoke",
            remarks.CONVERTED,
        ),
        ("api.openai.com/v1/files", "api.openai.com/v1/files", ""),
    ],
)
async def test_a_conversion_within_a_family_of_formats_is_marked(asked: str, sent: str, mark: str) -> None:
    """Where a format of one name has several APIs; a model that was replaced is no conversion."""
    flow = tflow.tflow(resp=True)
    flow.request.url, flow.request.method = f"https://{asked}", "POST"
    seen = witness(flow)
    seen.sent(1, "POST", f"https://{sent}", JSON, b'{"model": "another"}')
    seen.settled(replace(CALL, client_format="openai", provider_format="openai"), ())
    assert flow.marked == mark


async def test_what_was_changed_is_kept_without_secrets() -> None:
    """Of each body so much as is shown; a key that somebody says back is masked, compressed or not."""
    flow = tflow.tflow(resp=True)
    seen = witness(flow)
    seen.sent(1, "POST", URL, ((b"x-echo", SECRET.reveal().encode()),), b'{"x": "' + CLIENT.encode() + b'"}')
    seen.received(1, 200, ((b"Content-Encoding", b"gzip"),))
    seen.arrived(1, gzip.compress(b"You sent " + SECRET.reveal().encode() + b", " + CLIENT.encode()))
    seen.told(b"something else")
    seen.settled(CALL, ())
    found = kept(flow)
    assert found["sent"][0]["headers"] == [["x-echo", "***"]]
    assert found["sent"][0]["body"] == b'{"x": "***"}'
    assert found["received"][0]["body"] == b"You sent ***, ***"
    assert found["received"][0]["decoded"] is True
    assert weight(flow) == len(b'{"x": "***"}') + len(b"You sent ***, ***")


async def test_what_is_kept_is_bounded() -> None:
    """By bytes of a body, and by attempts: of many, the first ones and the last."""
    flow = tflow.tflow(resp=True)
    seen = witness(flow, limit=10)
    for attempt in range(1, 50):
        seen.sent(attempt, "POST", URL, (), b"x" * 50)
        seen.received(attempt, 500, ())
        seen.arrived(attempt, b"y" * 50)
    seen.settled(replace(CALL, outcome="error"), ())
    found = kept(flow)
    for part, letter in (("sent", b"x"), ("received", b"y")):
        assert [each["attempt"] for each in found[part]] == [*range(1, MOST_ATTEMPTS), 49]
        assert {(each["body"], each["size"]) for each in found[part]} == {(letter * 10, 50)}


async def test_a_call_that_is_answered_says_so() -> None:
    """Where it went, as far as its headers tell; what was said of it before is over."""
    flow = tflow.tflow()
    witness(flow).settled(CALL, ())
    seen = witness(flow)
    assert "record" not in flow.metadata[remarks.KEY]
    seen.answered(200, ((b"x-interpose-model", b"claude-sonnet-4-5"), (b"x-interpose-route", b"gpt-to-claude")))
    assert flow.comment == "claude-sonnet-4-5 · gpt-to-claude · …"


async def test_a_record_that_comes_from_another_thread_is_told_in_this_one() -> None:
    """As those of the first moments do, which wait for the prices."""
    flow = tflow.tflow()
    seen = witness(flow)
    await asyncio.to_thread(seen.settled, CALL, ())
    while not flow.comment:
        await asyncio.sleep(0)
    assert flow.comment == remarks.words(CALL)
