"""The transcripts of curl in the documentation: each command is run against a gateway, and prints what stands there.

The gateway is that of docs/quickstart.md, by the rules of that page, with Claude and OpenAI played. What a transcript
is, and what in it may differ, is said in `pages`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_asyncio
from tests.e2e import pages
from tests.e2e.pages import Step, transcripts
from tests.e2e.proxy import Gateway
from tests.e2e.test_issued_keys import keys
from tests.e2e.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

# The pages whose transcripts are run.
PAGES = ("README.md", "docs/quickstart.md")
STEPS = [step for page in PAGES for step in transcripts(page)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def key(quickstart: Gateway) -> str:
    """A key of these transcripts alone: nobody else uses up its limits."""
    return await keys(quickstart, "add", "transcripts")


@pytest.mark.parametrize("step", STEPS, ids=str)
async def test_a_command_prints_what_the_page_shows(
    step: Step, quickstart: Gateway, key: str, upstream: Upstream
) -> None:
    """Character by character, but for the declared placeholders."""
    environ = quickstart.environ({"OPENAI_BASE_URL": quickstart.base_url, "OPENAI_API_KEY": key})
    with upstream.answering(pages.providers):
        printed = await pages.ran("bash", "-c", step.command, environ=environ, folder=quickstart.folder)
    assert pages.pattern(step.output).fullmatch(printed), f"{step}: {step.command}\nprints:\n{printed}"


async def test_transcripts_are_found() -> None:
    """What is asked for is there: a list of models, a conversation, a stream, embeddings, errors and headers."""
    commands = [step.command for step in STEPS]
    for word in ("/models ", "/chat/completions", '"stream": true', "/embeddings", "http_code", "x-ratelimit"):
        assert any(word in command for command in commands), word
    assert {step.output.splitlines()[-1] for step in STEPS} >= {"400", "401", "404", "data: [DONE]"}


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ('{"id":"<id>","created":<time>}', '{"id":"chatcmpl-Az_9","created":1795667809}', True),
        ('{"id":"<id>","created":<time>}', '{"id":"chatcmpl-Az_9","created":17956678090}', False),
        ('{"id":"<id>"}', '{"id":""}', False),
        ('{"id":"<id>"}', '{"id":"a","model":"b"}', False),
        ('{"a":1,\n "b":2}', '{"a":1,"b":2}', True),
        ('{"a": 1,\n  "b": 2}', '{"a": 1, "b": 2}', True),
        ('{"a":1}', '{"a":1}\n', False),
        ("a.c", "abc", False),
        ("x: <duration>\ny: <n>", "x: 1m4.5s\ny: 12", True),
        ("x: <duration>", "x: soon", False),
    ],
)
async def test_what_differs_is_noticed(shown: str, printed: str, same: bool) -> None:
    """Folds and placeholders stand for what they are declared for, and for nothing else."""
    assert (pages.pattern(shown).fullmatch(printed) is not None) is same


async def test_half_a_transcript_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of curl among others would not be run, and nobody would notice."""
    (tmp_path / "page.md").write_text("Text\n```console\n$ interpose serve\n$ curl localhost\n```\n")
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    with pytest.raises(ValueError, match=r"page\.md:3: commands of curl stand apart"):
        list(transcripts("page.md"))
