"""`usage: request`: a stream is asked for its usage, and its client gets what it would have got without."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from interpose.call import Headers, Reply, header
from interpose.rules.compiled import Rules
from interpose.upstream.client import Outgoing, UpstreamFailure

from .test_engine import SSE, Bench, ScriptedReply, body
from .test_holding import END, ROLE, STREAMS, WORD
from .test_sending import rules

USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}\n\n'
DONE = b"data: [DONE]\n\n"
STOP = END.removesuffix(DONE)


def asking() -> Rules:
    made = rules(retry=None)
    return replace(made, routes=(replace(made.routes[0], asks_usage=True),))


async def asked(bench: Bench, request: bytes = STREAMS) -> tuple[Reply, Outgoing]:
    accepts = ((b"Host", b"api.openai.com"), (b"Accept-Encoding", b"gzip"), (b"Content-Type", b"application/json"))
    reply = await bench.handle(body=request, headers=accepts)
    return reply, bench.upstream.sent[0]


@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_the_usage_is_recorded_and_kept_from_the_client(size: int) -> None:
    """The option is put at the end of the body, every other byte stays; its chunk alone is missing from the reply."""
    whole = ROLE + WORD + STOP + USAGE + DONE
    headers: Headers = (*SSE, (b"Content-Length", str(len(whole)).encode()))
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    bench = Bench(lambda: ScriptedReply(list(pieces), headers), asking())
    reply, sent = await asked(bench)
    assert sent.body == STREAMS[:-1] + b',"stream_options":{"include_usage":true}}'
    assert header(sent.headers, b"accept-encoding") == b"identity"
    assert await body(reply) == ROLE + WORD + STOP + DONE
    assert header(reply.headers, b"content-length") is None
    record = bench.record
    assert (record.outcome, record.usage_source, record.input_tokens, record.output_tokens) == ("ok", "provider", 9, 2)


async def test_other_options_of_the_stream_stay() -> None:
    """Only what the rules ask is added to what the client has said."""
    request = STREAMS.replace(b'"stream": true', b'"stream": true, "stream_options": {"include_obfuscation": false}')
    _, sent = await asked(Bench(lambda: ScriptedReply([END], SSE), asking()), request)
    assert isinstance(sent.body, bytes)
    assert orjson.loads(sent.body)["stream_options"] == {"include_obfuscation": False, "include_usage": True}


@pytest.mark.parametrize(
    "request_body",
    [
        STREAMS.replace(b'"stream": true', b'"stream": true, "stream_options": {"include_usage": true}'),
        STREAMS.replace(b"true", b"false"),
    ],
    ids=["asked by the client", "no stream"],
)
async def test_what_needs_no_asking_stays_as_it_is(request_body: bytes) -> None:
    """A client that asks gets the usage; a reply that is no stream tells it anyway."""
    bench = Bench(lambda: ScriptedReply([WORD, USAGE, DONE], SSE), asking())
    reply, sent = await asked(bench, request_body)
    assert sent.body == request_body
    assert await body(reply) == WORD + USAGE + DONE


async def test_a_stream_that_breaks_off_is_given_up_to_its_last_byte() -> None:
    """What stands behind the last blank line is not held back, and the end is no success."""
    broken = UpstreamFailure("reset", "the connection was reset", reached=True)
    bench = Bench(lambda: ScriptedReply([WORD, b'data: {"cho', broken], SSE), asking())
    reply, _ = await asked(bench)
    pieces = [await anext(reply.body), await anext(reply.body)]
    with pytest.raises(UpstreamFailure):
        await anext(reply.body)
    assert pieces == [WORD, b'data: {"cho']
    assert bench.record.outcome == "truncated"


async def test_a_body_that_is_no_json_is_sent_as_it_came() -> None:
    """Nothing is refused for the sake of a count."""
    bench = Bench(lambda: ScriptedReply([END], SSE), asking())
    _, sent = await asked(bench, b"{")
    assert sent.body == b"{"
