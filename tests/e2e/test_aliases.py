"""Names for models, as an unmodified SDK meets them: asked for by one name, sent by another, answered by the first."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from tests.e2e.certificates import Authority
from tests.e2e.conftest import Farm
from tests.e2e.replies import CHAT_JSON
from tests.e2e.settings import ANTHROPIC, OPENAI, PLACEHOLDER, connect_to, real, rules_text
from tests.e2e.test_failover import good, host_of, streamed
from tests.e2e.test_sdks import Shell, shell
from tests.e2e.upstream import Exchange, Upstream

__all__ = ["shell"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="session")

HI: Any = [{"role": "user", "content": "Hi"}]


async def test_a_name_of_the_rules_leads_to_its_providers(
    farm: Farm, authority: Authority, upstream: Upstream, shell: Shell
) -> None:
    """To OpenAI by its own name, bytes as they come; where that fails to Claude, in the client's name and format."""
    rules = rules_text(
        providers={
            "openai": {
                "format": "openai", "base_url": f"https://{OPENAI}/v1", "credential": {"env": "FAKE_OPENAI_KEY"},
            },
            "claude": {
                "format": "anthropic", "base_url": f"https://{ANTHROPIC}", "credential": {"env": "FAKE_ANTHROPIC_KEY"},
            },
        },
        intercept={"placeholders": [PLACEHOLDER]},
        models=[
            {"id": "smart", "provider": "openai", "model": "house-standard"},
            {"id": "house-standard", "provider": "openai", "model": "gpt-5"},
            {"id": "smart", "provider": "claude", "model": "claude-x"},
        ],
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream)},
    )  # fmt: skip
    keys = {"FAKE_OPENAI_KEY": real("openai"), "FAKE_ANTHROPIC_KEY": real("anthropic")}
    proxy = await farm.get("aliases", rules, keys)
    shell(proxy)
    down = False

    async def answer(exchange: Exchange) -> None:
        if down and host_of(exchange) == OPENAI:
            await exchange.json(b'{"error": {"message": "no"}}', 503)
        else:
            await good(exchange)

    mark = proxy.ledger.mark()
    async with openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0) as client:
        with upstream.answering(answer):
            raw = await client.chat.completions.with_raw_response.create(model="smart", messages=HI)
            assert raw.content == CHAT_JSON
            assert (raw.headers["x-interpose-provider"], raw.headers["x-interpose-model"]) == ("openai", "gpt-5")
            assert json.loads(upstream.request.body)["model"] == "gpt-5"
            down = True
            raw = await client.chat.completions.with_raw_response.create(model="smart", messages=HI)
            assert raw.parse().model == "smart"
            assert (raw.headers["x-interpose-provider"], raw.headers["x-interpose-model"]) == ("claude", "claude-x")
            assert (await streamed(client, "smart"))[1] == "stop"
    rows = await proxy.ledger.rows(mark, 3)
    assert [(row["asked_model"], row["route"], row["provider"], row["sent_model"]) for row in rows] == [
        ("smart", None, "openai", "gpt-5"),
        ("smart", None, "claude", "claude-x"),
        ("smart", None, "claude", "claude-x"),
    ]
