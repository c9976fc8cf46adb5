"""Unmodified SDKs record through the interceptor, and get the same from the recording: nothing is sent again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from google import genai
from tests.e2e.certificates import Authority
from tests.e2e.clients import client_tls
from tests.e2e.mitmtools import running
from tests.e2e.program import Program
from tests.e2e.proxy import Proxy
from tests.e2e.replies import providers
from tests.e2e.runtimes import CLIENTS, runtime
from tests.e2e.settings import ANTHROPIC, ENVIRON, GEMINI, OPENAI, PLACEHOLDER, connect_to, rules_text
from tests.e2e.test_sdks import DUMMY, HI, Shell, ask_openai, shell
from tests.e2e.upstream import Upstream

__all__ = ["shell"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENCE = 60.0


def rules(authority: Authority, upstream: Upstream) -> str:
    def provider(form: str, url: str, name: str) -> dict[str, object]:
        return {"format": form, "base_url": url, "credential": {"env": f"FAKE_{name}_KEY"}}

    return rules_text(
        providers={
            "openai": provider("openai", f"https://{OPENAI}/v1", "OPENAI"),
            "claude": provider("anthropic", f"https://{ANTHROPIC}", "ANTHROPIC"),
            "gemini": provider("gemini", f"https://{GEMINI}", "GEMINI"),
        },
        intercept={"placeholders": [PLACEHOLDER]},
        ledger={"capture": "bodies"},
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream)},
    )


@dataclass(frozen=True, slots=True)
class Player:
    """`interpose replay --serve`, as far as a client sees it."""

    url: str
    ca: Path


@asynccontextmanager
async def playing(folder: Path, recording: Path, *more: str) -> AsyncIterator[Player]:
    """Plays that recording; its end is checked."""
    folder.mkdir(exist_ok=True)
    command = (sys.executable, "-m", "interpose", "replay", str(recording), "--serve", "--listen", "127.0.0.1:0")
    process = await asyncio.create_subprocess_exec(
        *command,
        *("--state", "state", *more),
        cwd=folder,
        env=Proxy(folder).environ(None),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    said = ""
    try:
        async with asyncio.timeout(PATIENCE):
            while "listening on " not in said:
                line = (await process.stderr.readline()).decode()
                assert line, said
                said += line
        url = said.rpartition("listening on ")[2].strip()
        yield Player(url, folder / "state" / "ca" / "interpose-ca-cert.pem")
        process.terminate()
        async with asyncio.timeout(PATIENCE):
            rest = (await process.stderr.read()).decode()
            assert await process.wait() == 0, said + rest
        assert "Traceback" not in rest
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def ask_all(key: str) -> dict[str, Any]:
    """What three SDKs say, streamed and whole."""
    said: dict[str, Any] = {}
    with openai.OpenAI(api_key=key, max_retries=0) as client:
        said["openai"] = ask_openai(client)
    with anthropic.Anthropic(api_key=key, max_retries=0) as claude:
        whole = claude.messages.create(model="claude-simulated", max_tokens=64, messages=HI)
        with claude.messages.stream(model="claude-simulated", max_tokens=64, messages=HI) as stream:
            pieces = list(stream.text_stream)
            said["anthropic"] = (whole.model_dump(), pieces, stream.get_final_message().model_dump())
    with genai.Client(api_key=key) as google:
        generated = google.models.generate_content(model="gemini-2.5-flash", contents="Hi")
        chunks = google.models.generate_content_stream(model="gemini-2.5-flash", contents="Hi")
        said["google"] = (generated.text, [chunk.text for chunk in chunks])
    return said


async def test_sdks_get_from_each_kind_of_recording_what_they_got_from_their_providers(
    authority: Authority, upstream: Upstream, shell: Shell, bare: Path, tmp_path: Path
) -> None:
    """mitmproxy's flows, its HAR and our ledger's captures, all of one run; played, nobody but the player is asked."""
    har = tmp_path / "calls.har"
    with upstream.answering(providers):
        async with running(
            bare, tmp_path, "intercept.py", rules=rules(authority, upstream), more=("--set", f"hardump={har}")
        ) as tool:
            shell(tool)  # type: ignore[arg-type]  # it has a URL and a CA, as a proxy has
            recorded = await asyncio.to_thread(ask_all, PLACEHOLDER)
    for number, recording in enumerate((tool.saved, har, tmp_path / "state" / "usage.db")):
        before = len(upstream.requests)
        async with playing(tmp_path / str(number), recording, "--speed", "0") as player:
            shell(player)  # type: ignore[arg-type]  # as above
            assert await asyncio.to_thread(ask_all, DUMMY) == recorded, recording
            with openai.OpenAI(
                api_key=DUMMY, base_url=f"{player.url}/v1", http_client=httpx.Client(trust_env=False)
            ) as c:
                assert await asyncio.to_thread(ask_openai, c) == recorded["openai"]
            with openai.OpenAI(api_key=DUMMY, max_retries=0) as client, pytest.raises(openai.NotFoundError) as raised:
                await asyncio.to_thread(client.chat.completions.create, model="gpt-4o-mini", messages=HI, seed=7)
            assert "differs at seed: recorded nothing, asked 7" in str(raised.value)
            async with httpx.AsyncClient(proxy=player.url, verify=client_tls(player.ca)) as plain:
                assert (await plain.get("https://www.example.com/")).status_code == 404
        assert len(upstream.requests) == before


async def test_node_plays_what_it_has_recorded(authority: Authority, upstream: Upstream, tmp_path: Path) -> None:
    """`interpose run` captures, `interpose replay --serve -- CMD` plays: the program prints the same."""
    command = (runtime("node"), str(CLIENTS / "node" / "sdks.mjs"), PLACEHOLDER)
    with upstream.answering(providers):
        async with await Program.start(tmp_path, rules(authority, upstream), *command, environ=ENVIRON) as program:
            ended = await program.end()
    assert (ended.status, len(ended.lines)) == (0, 7), ended.summary
    before = len(upstream.requests)
    ours = (
        sys.executable,
        "-m",
        "interpose",
        "replay",
        "state/usage.db",
        "--serve",
        "--speed",
        "0",
        "--state",
        "played",
    )
    process = await asyncio.create_subprocess_exec(
        *ours,
        "--",
        *command,
        cwd=tmp_path,
        env=Proxy(tmp_path).environ(None),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert (process.returncode, out.decode().splitlines()) == (0, ended.lines), errors.decode()
    assert "answered 7 calls from the recordings" in errors.decode()
    assert len(upstream.requests) == before
