"""Any client to any provider: unmodified SDKs, each against recorded replies of every provider format but its own.

The application knows its own SDK and its own provider's URL. The rules send its model elsewhere; there, an upstream
answers with what a real provider once answered. Text, tool calls with their arguments, why it ended and the tokens are
those of the recording, which is read independently of the program.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import pytest_asyncio
from tests.corpus import Line, lines
from tests.e2e.certificates import Authority
from tests.e2e.conftest import Farm
from tests.e2e.converted import CLIENTS, converting_rules
from tests.e2e.proxy import Proxy
from tests.e2e.recorded_answers import Answer, recorded_answer
from tests.e2e.settings import PLACEHOLDER, real
from tests.e2e.test_sdks import Shell, shell
from tests.e2e.upstream import Exchange, Upstream

__all__ = ["shell"]  # a fixture

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

# Of each provider and kind (whole or streamed, with tool calls or without), so many recordings.
EACH = 4
FAMILIES = {
    "openai": "openai_chat",
    "openai-responses": "openai_responses",
    "anthropic": "anthropic_messages",
    "gemini": "gemini_generate",
}


@cache
def recordings(provider: str) -> dict[tuple[bool, bool], list[tuple[Line, Answer]]]:
    """Recordings of that provider by (streamed, with tool calls)."""
    found: dict[tuple[bool, bool], list[tuple[Line, Answer]]] = {}
    for line in lines(FAMILIES[provider]):
        answer = recorded_answer(line)
        if answer is not None:
            found.setdefault((line.reply_text is not None, bool(answer.calls)), []).append((line, answer))
    chosen = random.Random(7)  # the same ones in every run
    return {kind: chosen.sample(each, min(EACH, len(each))) for kind, each in found.items()}


# A provider `openai` has Responses, too: nothing is converted there.
PAIRS = [
    (client, provider)
    for client in CLIENTS
    for provider in FAMILIES
    if client != provider and (client, provider) != ("openai-responses", "openai")
]


@pytest_asyncio.fixture(loop_scope="session")
async def converting(farm: Farm, authority: Authority, upstream: Upstream) -> Proxy:
    return await farm.get("converting", converting_rules(authority, upstream), {"FAKE_HOUSE_KEY": real("house")})


def playing(line: Line) -> Callable[[Exchange], Any]:
    """An upstream that answers with that recording, in pieces of odd sizes."""
    sizes = random.Random(line.id)

    async def play(exchange: Exchange) -> None:
        data = line.reply_bytes()
        if line.reply_text is None:
            await exchange.json(data)
            return
        await exchange.stream(line.content_type or "text/event-stream")
        while data:
            size = sizes.choice((1, 7, 40, 333, 5000))
            await exchange.chunk(data[:size])
            data = data[size:]
        await exchange.end()

    return play


@pytest.mark.parametrize(("client", "provider"), PAIRS, ids=lambda name: name)
async def test_any_client_to_any_provider(
    client: str, provider: str, converting: Proxy, upstream: Upstream, shell: Shell
) -> None:
    """The answer that the SDK gives its application is the recorded one, streamed and not, with tools and without."""
    shell(converting)
    counted: Counter[tuple[bool, bool]] = Counter()
    for (streamed, tools), chosen in recordings(provider).items():
        for line, expected in chosen:
            mark = converting.ledger.mark()
            with upstream.answering(playing(line)):
                found = await CLIENTS[client](f"to-{provider}", stream=streamed)
                request = upstream.request
            assert found == expected, line.id
            assert request.anywhere(real("house"))
            assert not request.anywhere(PLACEHOLDER)
            assert request.anywhere("real-one")
            row = await converting.ledger.row(mark)
            assert (row["outcome"], row["provider"], row["sent_model"]) == ("ok", provider, "real-one"), line.id
            assert (row["client_format"], row["provider_format"]) == (client, provider)
            assert (row["input_tokens"], row["output_tokens"]) == (expected.input, expected.output), line.id
            counted[streamed, tools] += 1
    assert len(counted) == 4, counted
    assert min(counted.values()) >= 2
