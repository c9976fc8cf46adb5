"""A ledger that others lock while calls go on, its checkpoints, and what becomes of who alters it: from end to end."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import ssl
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from tests.e2e.certificates import Authority
from tests.e2e.conftest import Farm
from tests.e2e.proxy import Proxy
from tests.e2e.settings import OPENAI, OWN, connect_to, rules_text
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

ACROSS = 60.0


async def answer(exchange: Exchange) -> None:
    await exchange.json(b'{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 5}}')


async def ask(proxy: Proxy) -> int:
    trusted = ssl.create_default_context(cafile=str(proxy.ca))
    async with httpx.AsyncClient(proxy=proxy.url, verify=trusted, timeout=ACROSS) as sdk:
        reply = await sdk.post(
            f"https://{OPENAI}/v1/chat/completions",
            json={"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]},
            headers={"authorization": f"Bearer {OWN}"},
        )
        return reply.status_code


async def verified(*arguments: str | Path) -> tuple[int, str]:
    """The status of `interpose usage verify`, and what it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "interpose", "usage", "verify", *map(str, arguments),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


def count(path: Path) -> int:
    with closing(sqlite3.connect(path, timeout=ACROSS)) as connection:
        (found,) = connection.execute("SELECT count(*) FROM calls").fetchone()
    return int(found)


async def test_calls_go_on_and_what_was_done_to_their_records_is_found(
    farm: Farm, authority: Authority, upstream: Upstream
) -> None:
    """While the file is locked they are answered, and recorded when it is free; then its end is cut off."""
    text = rules_text(
        ledger={
            "to": ["sqlite:own.db", "jsonl:calls.jsonl"],
            "keep": {"records": "400d"},
            "checkpoints": {"to": "elsewhere/checkpoints.jsonl"},
        },
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream)},
    )
    proxy = await farm.launch("evidence-kept", text)
    own, lines = proxy.folder / "own.db", proxy.folder / "calls.jsonl"
    with upstream.answering(answer):
        assert await ask(proxy) == 200
        async with asyncio.timeout(ACROSS):
            while count(own) < 1:
                await asyncio.sleep(0.02)
        with closing(sqlite3.connect(own, timeout=ACROSS, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert [await ask(proxy) for _ in range(4)] == [200] * 4
            async with asyncio.timeout(ACROSS):
                while lines.read_bytes().count(b'"table":"calls"') < 5:  # the other sink has not waited
                    await asyncio.sleep(0.02)
                while b'["calls"' not in b"".join(path.read_bytes() for path in proxy.state.glob("spool/*/*/*.jsonl")):
                    await asyncio.sleep(0.02)
            other.execute("ROLLBACK")
        async with asyncio.timeout(ACROSS):
            while count(own) < 5:
                await asyncio.sleep(0.02)
    assert await proxy.stop() == 0
    kept = proxy.folder / "elsewhere" / "checkpoints.jsonl"
    for ledger in (own, f"jsonl:{lines}"):
        status, said = await verified("--ledger", ledger, "--checkpoint", kept)
        assert (status, "sound" in said) == (0, True), said
    with closing(sqlite3.connect(own)) as connection, connection:
        connection.execute("DELETE FROM calls WHERE seq = 5")
    status, said = await verified("--rules", proxy.folder / "rules.yaml", "--checkpoint", kept)
    assert status == 1
    assert "record 5: cut: it is gone from the end: a checkpoint of " in said
    cut = lines.read_bytes().splitlines(keepends=True)
    lines.write_bytes(b"".join([*cut[:3], b"garbage\n", *cut[3:]]))
    status, said = await verified("--ledger", f"jsonl:{lines}")
    assert (status, f"not a record: line 4 of {lines} is no record of ours" in said) == (1, True), said
