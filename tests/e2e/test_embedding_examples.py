"""The examples of docs/embedding.md that have an engine inside, as they stand there."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tests.e2e.certificates import Authority
from tests.e2e.hosting import both_providers, hosted
from tests.e2e.proxy import Ledger, Proxy
from tests.e2e.replies import providers
from tests.e2e.settings import ENVIRON, VIRTUAL
from tests.e2e.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text("utf-8")
README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
HI: Any = [{"role": "user", "content": "Hi"}]


def examples(heading: str) -> list[str]:
    """The Python programs below a heading of the page."""
    _, found, rest = PAGE.partition(f"\n## {heading}\n")
    assert found
    return re.findall(r"```python\n(.*?)```", rest.partition("\n## ")[0], re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, authority: Authority, upstream: Upstream) -> Path:
    """Where the program is, with its rules."""
    rules = json.loads(both_providers(authority, upstream))
    rules["intercept"]["placeholders"] = ["sk-dummy"]
    (tmp_path / "rules.yaml").write_text(json.dumps(rules))
    return tmp_path


async def program(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    environ = Proxy(folder).environ(ENVIRON)
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=folder, env=environ, stdout=-1, stderr=-1
    )


async def test_the_readme_shows_what_is_run_here() -> None:
    """A client's transport, a mount and a middleware, word for word."""
    shown = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    headings = ("A client of httpx", "Mounted into FastAPI or Starlette", "In front of an application")
    assert [heading for heading in headings if examples(heading)[0] not in shown] == []


@pytest.mark.parametrize("place", [0, 1], ids=["sync", "async"])
async def test_a_client_of_httpx(place: int, folder: Path, upstream: Upstream) -> None:
    """Its answer, and what was recorded of it."""
    with upstream.answering(providers):
        process = await program(folder, "-W", "error", "-c", examples("A client of httpx")[place])
        out, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (0, "")
    assert out.decode() == (
        "Good morning ☀\nchat gpt-4o-mini ok 5\n", "Bonjour: claude-sonnet-4-5 claude ok\n"
    )[place]  # fmt: skip


async def test_mounted(folder: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a server: a client gets any model there."""
    monkeypatch.chdir(folder)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    names: dict[str, Any] = {}
    (code,) = examples("Mounted into FastAPI or Starlette")
    exec(compile(code, "app.py", "exec"), names)
    async with hosted(names["app"], "on") as url:
        async with openai.AsyncOpenAI(base_url=f"{url}/ai/v1", api_key=VIRTUAL, max_retries=0) as sdk:
            with upstream.answering(providers):
                reply = await sdk.chat.completions.create(model="fast", messages=HI)
        (call,) = await names["gateway"].calls()
    assert reply.model == "fast"
    assert (call.provider, call.client, call.outcome) == ("claude", "ci", "ok")


async def test_in_front(folder: Path, upstream: Upstream) -> None:
    """By uvicorn's own command, which ends in good order on SIGTERM; the records are where they were asked to be."""
    (code,) = examples("In front of an application")
    (folder / "app.py").write_text(code)
    process = await program(folder, "-W", "error", "-m", "uvicorn", "app:app", "--port", "0")
    assert process.stderr is not None
    told = b""
    while not (found := re.search(rb"running on (http://\S+)", told)):
        line = await process.stderr.readline()
        assert line, told.decode()
        told += line
    url = found[1].decode()
    async with httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/")).json() == "Hello"
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=VIRTUAL, max_retries=0) as sdk:
        with upstream.answering(providers):
            await sdk.chat.completions.create(model="gpt-4o", messages=HI)
    process.send_signal(signal.SIGTERM)
    _, errors = await process.communicate()
    # uvicorn ends by the signal that it got.
    assert process.returncode in (0, -signal.SIGTERM)
    assert b"Finished server process" in errors, errors.decode()
    assert b"Warning" not in errors
    (row,) = Ledger(folder / "state" / "usage.db").after()
    assert (row["entrance"], row["outcome"]) == ("gateway", "ok")
