"""Any client of a provider of another format when it is not all well: errors, cuts, a connection that is reset.

Every client of the matrix, against Claude: what each SDK raises is its own exception for its own provider's errors.
"""

from __future__ import annotations

import pytest
from tests.e2e.matrix.clients import CLIENTS, HI, Client, Job, Sdks
from tests.e2e.proxy import Proxy
from tests.e2e.replies import CLAUDE_SAYS
from tests.e2e.upstream import Exchange, Upstream

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

OTHERS = pytest.mark.parametrize("client", [each for each in CLIENTS if each.codec != "anthropic"], ids=str)


@OTHERS
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_an_error_of_the_provider_is_the_clients_own(
    client: Client, stream: bool, converting: Proxy, upstream: Upstream, sdks: Sdks
) -> None:
    """Claude's 529 is a 503 with the provider's message, in the exception that the SDK raises for its own provider."""

    async def overloaded(exchange: Exchange) -> None:
        body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded just now"},"request_id":"r"}'
        await exchange.json(body, 529)

    mark = converting.ledger.mark()
    with upstream.answering(overloaded):
        told = await sdks.ask(client, "anthropic", Job(stream))
    assert told.error is not None
    assert "Overloaded just now" in told.error["message"]
    assert (told.error["kind"], told.error["status"]) == (client.overloaded, 503)
    row = await converting.ledger.row(mark)
    assert (row["outcome"], row["status"]) == ("error", 529)


@OTHERS
async def test_a_stream_that_breaks_off_never_ends_in_success(
    client: Client, converting: Proxy, upstream: Upstream, sdks: Sdks
) -> None:
    """Cut behind any of its events, or in the middle of one: the SDK raises, and the record says truncated."""
    ends = [at + 2 for at in range(len(CLAUDE_SAYS) - 2) if CLAUDE_SAYS[at : at + 2] == b"\n\n"][:-1]
    for end in (*ends, ends[2] + 40):

        async def cut(exchange: Exchange, end: int = end) -> None:
            await exchange.stream("text/event-stream")
            await exchange.chunk(CLAUDE_SAYS[:end])
            await exchange.end()

        mark = converting.ledger.mark()
        with upstream.answering(cut):
            told = await sdks.ask(client, "anthropic", Job(stream=True))
        assert told.error is not None, CLAUDE_SAYS[:end][-80:]
        assert told.answers == ()
        assert (await converting.ledger.row(mark))["outcome"] == "truncated", CLAUDE_SAYS[:end][-80:]


@OTHERS
async def test_a_stream_that_is_reset_is_an_error(
    client: Client, converting: Proxy, upstream: Upstream, sdks: Sdks
) -> None:
    """Also when the connection itself breaks, in the middle of an event."""

    async def reset(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(CLAUDE_SAYS[: CLAUDE_SAYS.index(b"day")])
        exchange.reset()

    mark = converting.ledger.mark()
    with upstream.answering(reset):
        told = await sdks.ask(client, "anthropic", Job(stream=True))
    assert told.error is not None
    assert (await converting.ledger.row(mark))["outcome"] == "truncated"


@OTHERS
async def test_what_is_asked_arrives(client: Client, upstream: Upstream, sdks: Sdks) -> None:
    """And when all is well, it is the client's question that the provider has been asked."""

    async def claude(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(CLAUDE_SAYS)
        await exchange.end()

    with upstream.answering(claude):
        told = await sdks.ask(client, "anthropic", Job(stream=True))
        assert upstream.request.anywhere(HI)
    assert told.answer.text == "Good day"
