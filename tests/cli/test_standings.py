"""What `interpose explain` says of limits: asked of the shared store, without taking anything of it."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.limits.conftest import fresh, valkey

from interpose.limits import Demand, Granted
from interpose.limits.valkey import ValkeyStore

from .conftest import Command

__all__ = ["fresh", "valkey"]  # fixtures

CHAT = "https://api.openai.com/v1/chat/completions"
RULES = """version: 1
providers:
  openai: {format: openai, base_url: https://api.openai.com/v1, credential: {env: OPENAI_API_KEY}}
  spare: {format: openai, base_url: https://spare.test/v1, credential: {env: SPARE_KEY}}
intercept: {placeholders: [sk-dummy]}
limits:
  - {name: calls, per: ip, requests: 20/minute, concurrent: 8}
  - {name: others, match: {endpoint: embeddings}, requests: 1/minute}
  - {name: each, per: provider, tokens: 100000/hour}
routes:
  - {name: chat, match: {endpoint: chat}, to: {provider: openai}, fallback: {provider: spare}}
"""


@pytest.fixture
def asked(interpose: Command, tmp_path: Path) -> Callable[..., str]:
    """What is explained with a store; `--format json` if that is wanted."""

    def ask(store: str, *options: str) -> str:
        file = tmp_path / "rules.yaml"
        file.write_text(f"{RULES}state: {{store: '{store}'}}\n")
        done = interpose("explain", str(file), "--url", CHAT, "--model", "gpt-4o", *options)
        assert done.returncode == 0, done
        return done.stdout

    return ask


def test_limits_in_memory_are_named_with_what_they_ask(asked: Callable[..., str]) -> None:
    """Those that hold, of the call and of each attempt; what is left is the interceptor's to know."""
    said = asked("memory")
    assert "Limits (counted in the interceptor's memory, which knows what is left)\n" in said
    assert "  calls            ip=127.0.0.1     asks 1 of 20 requests in 60 s\n" in said
    assert "  calls            ip=127.0.0.1     asks 1 of 8 calls at a time\n" in said
    assert "  attempt 2: each  provider=spare   asks 10" in said
    assert "others" not in said
    told = json.loads(asked("memory", "--format", "json"))["limits"]
    assert (told["store"], told["problem"]) == (None, None)
    assert [row["attempt"] for row in told["asked"]] == [None, None, 1, 2]
    assert {row["remaining"] for row in told["asked"]} == {None}


def test_what_is_left_in_a_shared_store(asked: Callable[..., str], valkey: str, fresh: Callable[[], str]) -> None:
    """And when all of it can be had again; asking takes nothing."""
    name = fresh()
    asyncio.run(take(valkey, name, Demand("calls/requests/ip=127.0.0.1", "requests", 20, 19, seconds=60)))
    for _ in range(2):
        said = asked(f"{valkey}?prefix={name}")
        assert f"Limits (counted at {valkey})\n" in said
        assert "asks 1 of 20 requests in 60 s" in said
        assert "1 left, all of it again in " in said
        assert "8 left" in said
    asyncio.run(take(valkey, name, Demand("calls/requests/ip=127.0.0.1", "requests", 20, 1, seconds=60)))
    assert ": too little\n" in asked(f"{valkey}?prefix={name}")
    told = json.loads(asked(f"{valkey}?prefix={name}", "--format", "json"))["limits"]
    assert [row["remaining"] for row in told["asked"]][:2] == [0, 8]


def test_a_store_that_does_not_answer_is_said_and_no_failure(asked: Callable[..., str], tmp_path: Path) -> None:
    """Also where its password is not to be had here; nothing shows one."""
    said = asked(f"unix://:fake-password-0@{tmp_path}/none")
    assert (
        f"Limits (what is left is not known: unix://:***@{tmp_path}/none: the store of limits does not answer" in said
    )
    assert "asks 1 of 20 requests in 60 s" in said
    said = asked("redis://:${FAKE_UNSET}@localhost")
    assert "the environment variable FAKE_UNSET is not set" in said
    assert "Sent to openai" in said


async def take(url: str, name: str, demand: Demand) -> None:
    store = ValkeyStore.connect(url, name=name)
    assert isinstance(await store.reserve([demand], time.time()), Granted)
    await store.aclose()
