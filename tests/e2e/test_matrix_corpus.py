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
from tests.e2e.matrix.providers import PROVIDERS, Provider, Recording, loops, playing, recordings, tools_of
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


# What of a provider's state an SDK does not keep for the next turn: of replies that were streamed or not, and whose.
FORGOTTEN = frozenset(
    (
        # Its types have no field for it.
        ("ollama", False, "any"),
        ("ollama", True, "any"),
        # Its types have no field for it in a call; of a stream, the application puts together what it knows.
        ("mistralai", False, "gemini"),
        ("mistralai", True, "any"),
        ("cohere", True, "any"),
        # What was thought is lost (LAST_PIECE), and with it what was sealed of that.
        ("openai (Node), Chat", True, "anthropic"),
        ("openai (Node), Chat", True, "openai-responses"),
    )
)


def keeps(client: Client, provider: Provider, recording: Recording) -> bool:
    if (client.name, recording.streamed) == LAST_PIECE and not recording.answer.thought:
        return True
    return FORGOTTEN.isdisjoint((client.name, recording.streamed, key) for key in (provider.key, "any"))


# Where what is thought is in a field that the SDK does not know, and keeps the last piece of.
LAST_PIECE = ("openai (Node), Chat", True)
# google-genai writes base64 in the alphabet of URLs, whichever it was given.
ALPHABET = str.maketrans("-_", "+/")
# What the tools of an application return, call by call.
RESULTS = [f"{degrees} degrees" for degrees in range(18, 34)]


def sent(request: Request, client: Client, provider: Provider, *, stream: bool) -> Any:
    """The body that came, with the house's key and no other. It must be as the provider publishes it, and at the right
    place, unless it is as the SDK has written it.
    """
    assert request.anywhere(real("house"))
    assert not request.anywhere(PLACEHOLDER)
    body = json.loads(bytes(request.body))
    if converted(client, provider):
        assert flaws(provider.codec, body) == []
        assert request.method == b"POST"
        assert request.target.decode() == provider.targets[stream]
        assert provider.streams is None or body.get("stream", provider.streams) is stream
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
        job = Job(recording.streamed, tools_of(recording), picture=recording.kind == "picture")
        with upstream.answering(playing(provider, recording)):
            told = await sdks.ask(client, provider.key, job)
            assert told.error is None, (recording.line.id, told.error)
            sent(upstream.request, client, provider, stream=job.stream)
            assert upstream.request.anywhere(PICTURE) == job.picture
        assert told.answers == (recording.answer,), recording.line.id
        thought = told.answer.thought
        if (client.name, recording.streamed) == LAST_PIECE:
            assert recording.answer.thought.endswith(thought), recording.line.id
        else:
            assert thought == recording.answer.thought, recording.line.id
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
    """The application runs what recorded answers call, one or several at once, and returns the results: a strict
    provider takes each turn, which begins as the one before, and the application gets its answer. What the provider
    had sealed (signatures, encrypted reasoning) comes back to it as far as the SDK keeps what it was given.
    """
    for played in loops(provider):
        first = played[0]
        job = Job(first.streamed, tools_of(*played), results=RESULTS)
        with upstream.answering(playing(provider, *played)):
            told = await sdks.ask(client, provider.key, job)
            assert told.error is None, (first.line.id, told.error)
            bodies = [sent(request, client, provider, stream=job.stream) for request in upstream.requests]
            texts = [bytes(request.body).decode() for request in upstream.requests]
        assert told.answers == tuple(each.answer for each in played), first.line.id
        for before, after, recording in zip(bodies, bodies[1:], played, strict=False):
            calls = recording.answer.calls
            results, ids = RESULTS[: len(calls)], converted(client, provider)
            assert refused(provider.codec, before, after, calls, results, ids=ids) == [], recording.line.id
        if first.states:
            back = any(state.translate(ALPHABET) in texts[1].translate(ALPHABET) for state in first.states)
            assert back == keeps(client, provider, first), first.line.id
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
