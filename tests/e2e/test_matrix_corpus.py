"""Any client to any provider: unmodified SDKs, each against recorded replies of every provider.

The application knows its own SDK and its own provider's URL. The rules send its model elsewhere; there, an upstream
answers with what a real provider once answered, and holds what it is asked against what the provider publishes. Text,
tool calls with their arguments, why it ended and the tokens are those of the recording, which is read independently of
the program. Rows and columns are in `matrix`; the table of them is shown at the end of a run, and in the README.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from tests.e2e.matrix.clients import CLIENTS, PICTURE, Client, Job, Sdks
from tests.e2e.matrix.loops import refused
from tests.e2e.matrix.providers import PROVIDERS, Provider, loops, playing, recordings
from tests.e2e.matrix.table import Cell, met
from tests.e2e.proxy import Proxy
from tests.e2e.settings import PLACEHOLDER, real
from tests.e2e.upstream import Exchange, Request, Upstream
from tests.formats.codecs.published import flaws

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

PAIRS = [
    pytest.param(client, provider, id=f"{client.name} to {provider.name}")
    for client in CLIENTS
    for provider in PROVIDERS
    if met(client, provider)
]


def converted(client: Client, provider: Provider) -> bool:
    return client.codec != provider.codec


# What the tools of an application return, call by call.
RESULTS = [f"{degrees} degrees" for degrees in range(18, 34)]


def sent(request: Request, client: Client, provider: Provider) -> Any:
    """The body that came, with the house's key and no other. It must be as the provider publishes it, unless it is as
    the SDK has written it.
    """
    assert request.anywhere(real("house"))
    assert not request.anywhere(PLACEHOLDER)
    body = json.loads(bytes(request.body))
    if converted(client, provider):
        assert flaws(provider.codec, body) == []
    assert body.get("model", "real-one") == "real-one"
    return body


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_any_client_to_any_provider(
    client: Client,
    provider: Provider,
    converting: Proxy,
    upstream: Upstream,
    sdks: Sdks,
    cells: dict[Cell, Counter[str]],
) -> None:
    """The answer that the SDK gives its application is the recorded one, streamed and not, with tools and without."""
    mark = converting.ledger.mark()
    for recording in recordings(provider):
        job = Job(recording.streamed, recording.tools, picture=recording.kind == "picture")
        with upstream.answering(playing(provider, recording)):
            told = await sdks.ask(client, provider.key, job)
            assert told.error is None, (recording.line.id, told.error)
            sent(upstream.request, client, provider)
            assert upstream.request.anywhere(PICTURE) == job.picture
        assert told.answers == (recording.answer,), recording.line.id
        if converted(client, provider) and told.models != (None,):
            assert told.models == (client.model.format(provider.key),)
        cells[client.name, provider.name]["recordings"] += 1
    rows = await converting.ledger.rows(mark, len(recordings(provider)))
    for row, recording in zip(rows, recordings(provider), strict=True):
        expected = recording.answer
        assert (row["outcome"], row["provider"], row["sent_model"]) == ("ok", provider.key, "real-one")
        assert (row["client_format"], row["provider_format"]) == (client.format, provider.format)
        assert (row["input_tokens"], row["output_tokens"]) == (expected.input, expected.output), recording.line.id


@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_tools_are_called_and_answered(
    client: Client,
    provider: Provider,
    converting: Proxy,
    upstream: Upstream,
    sdks: Sdks,
    cells: dict[Cell, Counter[str]],
) -> None:
    """The application runs what a recorded answer calls, one or several at once, and returns the results: a strict
    provider takes that turn, which begins as the first one did, and its answer is the application's.
    """
    for loop in loops(provider):
        calls = loop.first.answer.calls
        job = Job(loop.first.streamed, loop.first.tools, results=RESULTS)
        with upstream.answering(playing(provider, loop.first, loop.second)):
            told = await sdks.ask(client, provider.key, job)
            assert told.error is None, (loop.first.line.id, told.error)
            first, second = (sent(request, client, provider) for request in upstream.requests)
        assert told.answers == (loop.first.answer, loop.second.answer), loop.first.line.id
        results, ids = RESULTS[: len(calls)], converted(client, provider)
        problems = refused(provider.codec, first, second, calls, results, ids=ids)
        assert problems == [], loop.first.line.id
        cells[client.name, provider.name]["loops"] += 1


@pytest.mark.parametrize(("client", "provider"), [pair for pair in PAIRS if converted(*pair.values)])
async def test_what_breaks_off_is_an_error(
    client: Client, provider: Provider, converting: Proxy, upstream: Upstream, sdks: Sdks
) -> None:
    """A recorded stream that ends in its middle raises in every SDK, also in those that its own provider's end would
    pass by silently; the ledger says truncated.
    """
    recording = next(each for each in recordings(provider) if each.streamed and each.kind == "text")
    whole = recording.line.reply_bytes()

    async def cut(exchange: Exchange) -> None:
        await exchange.stream(recording.line.content_type or provider.stream_type)
        await exchange.chunk(whole[: len(whole) // 2])
        await exchange.end()

    mark = converting.ledger.mark()
    with upstream.answering(cut):
        told = await sdks.ask(client, provider.key, Job(stream=True))
    assert told.answers == ()
    assert told.error is not None
    assert (await converting.ledger.row(mark))["outcome"] == "truncated"
