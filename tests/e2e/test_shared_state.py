"""Two interceptors on one state folder: allowed, and each keeps its own books in the one ledger."""

from __future__ import annotations

import asyncio

import pytest
from tests.e2e.certificates import Authority
from tests.e2e.clients import Client, client_tls
from tests.e2e.conftest import Farm
from tests.e2e.proxy import Proxy
from tests.e2e.settings import OPENAI, audit_rules
from tests.e2e.upstream import Exchange, Upstream

from interpose.ledger.verify import verify

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def answer(exchange: Exchange) -> None:
    await exchange.json(b'{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}')


async def ask(proxy: Proxy, ca: Proxy) -> int:
    """One call through `proxy`, trusting the CA of `ca`; its status."""
    async with await Client.tunnel(proxy.address, f"{OPENAI}:443", tls=client_tls(ca.ca)) as client:
        body = b'{"model": "gpt-5", "messages": []}'
        return (await client.request("POST", "/v1/chat/completions", OPENAI, body=body)).status


async def test_two_interceptors_share_a_state_folder(farm: Farm, authority: Authority, upstream: Upstream) -> None:
    """One CA, one ledger, a sound chain for each, no call lost."""
    rules = audit_rules(authority, upstream)
    first = await farm.launch("shared-1", rules)
    mark = first.ledger.mark()
    second = await farm.launch("shared-2", rules, None, "--state", str(first.state))
    with upstream.answering(answer):
        assert set(await asyncio.gather(*(ask(proxy, first) for proxy in (first, second) for _ in range(5)))) == {200}
    rows = await first.ledger.rows(mark, 10)
    writers = {row["writer"] for row in rows}
    assert len(writers) == 2
    assert all(sorted(row["seq"] for row in rows if row["writer"] == each) == [1, 2, 3, 4, 5] for each in writers)
    assert not second.state.exists()
    assert await second.stop() == 0
    with upstream.answering(answer):
        assert await ask(first, first) == 200
    assert await first.stop() == 0
    assert verify(first.ledger.path) == []
