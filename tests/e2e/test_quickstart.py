"""Programs for the gateway in docs/quickstart.md and the README: taken from the page and run, as they stand there.

One that finds the gateway by OPENAI_BASE_URL is such a program.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.e2e import pages
from tests.e2e.certificates import Authority
from tests.e2e.pages import Block
from tests.e2e.proxy import Gateway
from tests.e2e.runtimes import MODULES, Run, runtime
from tests.e2e.settings import real
from tests.e2e.test_issued_keys import keys
from tests.e2e.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = "docs/quickstart.md"
BLOCKS = [block for page in (PAGE, "README.md") for block in pages.blocks(page)]
PROGRAMS = [block for block in BLOCKS if block.language in ("js", "python") and "OPENAI_BASE_URL" in block.text]
FIRST = [next(block for block in PROGRAMS if block.language == language) for language in ("js", "python")]


def saved(block: Block, folder: Path) -> list[str]:
    """The program in a file of its own, as npm or pip would have made its folder; the command that runs it."""
    if block.language == "python":
        (folder / "app.py").write_text(block.text)
        return [sys.executable, "app.py"]
    name = "app.cjs" if "require(" in block.text else "app.mjs"
    (folder / name).write_text(block.text)
    (folder / "node_modules").symlink_to(MODULES)
    return [runtime("node"), name]


def printed(block: Block) -> str:
    """What the page says that it prints; a greeting, where that need not be said."""
    after = BLOCKS[(BLOCKS.index(block) + 1) % len(BLOCKS)]
    return after.text.rstrip("\n") if after.language == "text" else pages.SAYS


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
async def test_a_program_of_the_page_runs(
    block: Block, quickstart: Gateway, upstream: Upstream, tmp_path: Path
) -> None:
    """Against interpose serve, with the SDK as it is, a base URL and a key of ours: it prints what the page shows."""
    key = await keys(quickstart, "add", f"{block.language}-{block.line}")
    environ = quickstart.environ({"OPENAI_BASE_URL": quickstart.base_url, "OPENAI_API_KEY": key})
    with upstream.answering(pages.providers):
        out = await pages.ran(*saved(block, tmp_path), environ=environ, folder=tmp_path)
        asked = [json.loads(request.body) for request in upstream.requests if request.path == "/v1/messages"]
    assert out == printed(block)
    assert {body["model"] for body in asked} == {"claude-sonnet-4-5"}
    assert not any(request.anywhere(key) for request in upstream.requests)


@pytest.mark.parametrize("block", FIRST, ids=str)
async def test_it_runs_at_the_virtual_host(
    block: Block, authority: Authority, upstream: Upstream, tmp_path: Path
) -> None:
    """Under interpose run, by the rules that the page adds: without an address, and without a key."""
    _, more = [each.text for each in BLOCKS if each.page == PAGE and each.language == "yaml"]
    real_keys = {"ANTHROPIC_API_KEY": real("anthropic"), "OPENAI_API_KEY": real("openai")}
    run = Run(tmp_path, pages.rules(PAGE, authority, upstream, more), real_keys)
    run.environ["OPENAI_BASE_URL"] = "https://ai.internal/v1"
    with upstream.answering(pages.providers):
        program = await run.start(*saved(block, tmp_path))
        assert await program.ended() == 0, await program.errors()
    assert program.out.decode().rstrip("\n") == printed(block)
    calls = [(row["entrance"], row["host"]) for row in run.ledger.after()]
    assert set(calls) == {("gateway", "ai.internal")}
