"""The main job from a user's seat: `interpose run -- python app.py`, an unmodified program with the official SDK.

The program knows nothing of the proxy: no base URL, no CA, a key that is a placeholder. Its output, its input and its
exit status stay its own.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from tests.e2e import replies
from tests.e2e.certificates import Authority
from tests.e2e.proxy import Ledger, Proxy
from tests.e2e.replies import providers
from tests.e2e.settings import CANARIES, ENVIRON, PLACEHOLDER, acting_rules, real
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

APP = """
import sys
import openai

client = openai.OpenAI(api_key=KEY, max_retries=0)
question = sys.stdin.readline().strip()
stream = client.chat.completions.create(
    model="gpt-4o-mini", messages=[{"role": "user", "content": question}], stream=True
)
for chunk in stream:
    if chunk.choices and chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="", flush=True)
print()
sys.exit(7)
"""


async def start(folder: Path, rules: str, *command: str) -> asyncio.subprocess.Process:
    (folder / "rules.yaml").write_text(rules)
    state = str(folder / "state")
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "interpose", "run", "--rules", str(folder / "rules.yaml"), "--state", state, "--"),
        *command,
        cwd=folder,
        env=Proxy(folder).environ(ENVIRON),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_an_unmodified_program_is_caught_credentialed_streamed_and_recorded(
    authority: Authority, dial: dict[str, str], upstream: Upstream, tmp_path: Path
) -> None:
    """Its calls carry the right key, its words arrive as they come, its exit status is ours, and the ledger knows."""
    (tmp_path / "app.py").write_text(f"KEY = {PLACEHOLDER!r}\n{APP}")
    gate = asyncio.Event()

    async def gated(exchange: Exchange) -> None:
        await exchange.stream(replies.CHAT.content_type)
        await exchange.chunk(b"".join(replies.CHAT.pieces[:2]))
        await gate.wait()
        await exchange.chunk(b"".join(replies.CHAT.pieces[2:]))
        await exchange.end()

    with upstream.answering(gated):
        process = await start(tmp_path, acting_rules(authority, dial), sys.executable, "app.py")
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"What now?\n")
        async with asyncio.timeout(60):
            assert await process.stdout.readexactly(4) == b"Good"
            gate.set()
            out, said = await process.communicate()
        assert upstream.request.values("authorization") == [f"Bearer {real('openai')}".encode()]
        assert b"What now?" in upstream.request.body
    assert out.decode() == " morning ☀\n"
    assert process.returncode == 7, said.decode()
    (row,) = Ledger(tmp_path / "state" / "usage.db").after()
    assert (row["outcome"], row["input_tokens"], row["output_tokens"]) == ("ok", *replies.CHAT.tokens)
    assert (row["provider"], row["credential"]) == ("openai", "env:FAKE_OPENAI_KEY")
    assert not [key for key in CANARIES if key in said.decode()]


async def test_curl_under_run(authority: Authority, dial: dict[str, str], upstream: Upstream, tmp_path: Path) -> None:
    """curl, a program that knows neither Python nor certifi, trusts us too."""
    with upstream.answering(providers):
        url = "https://api.openai.com/v1/models"
        process = await start(tmp_path, acting_rules(authority, dial), "curl", "--silent", "--show-error", url)
        async with asyncio.timeout(60):
            out, said = await process.communicate()
        assert upstream.request.values("authorization") == [f"Bearer {real('openai')}".encode()]
    assert (process.returncode, out) == (0, replies.MODELS_JSON), said.decode()
