"""The pytest plugin, in suites of its own: real pytest processes with a real client."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.certificates import Authority
from tests.e2e.proxy import Proxy
from tests.e2e.replies import providers
from tests.e2e.settings import ENVIRON, acting_rules, real
from tests.e2e.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

DOCS = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", DOCS, re.DOTALL)

CONFTEST = """
import json
from pathlib import Path
import pytest

@pytest.fixture(scope="session")
def interpose_rules():
    return json.loads(Path(__file__).with_name("rules.json").read_text())
"""

SUITE = """
import asyncio
import os
import subprocess
import sys
import openai
import pytest
from interpose import intercept_sync
from interpose.errors import InterposeError

HI = [{"role": "user", "content": "Hi"}]

def ask():
    with openai.OpenAI(api_key="sk-dummy", max_retries=0) as client:
        return client.chat.completions.create(model="gpt-4o", messages=HI).usage.total_tokens

async def ask_async():
    async with openai.AsyncOpenAI(api_key="sk-dummy", max_retries=0) as client:
        await client.chat.completions.create(model="gpt-4o", messages=HI)

def test_before():
    assert "HTTPS_PROXY" not in os.environ

def test_one(interpose_proxy):
    assert interpose_proxy.calls() == []
    used = ask()
    (call,) = interpose_proxy.calls()
    assert (call.endpoint, call.asked_model, call.outcome) == ("chat", "gpt-4o", "ok")
    assert call.input_tokens + call.output_tokens == used
    assert os.environ["HTTPS_PROXY"] == interpose_proxy.url
    assert os.environ["FAKE_OPENAI_KEY"] == "sk-dummy"

def test_each_test_sees_its_own_calls(interpose_proxy):
    ask(), ask()
    assert len(interpose_proxy.calls()) == 2

def test_a_program_that_a_test_starts(interpose_proxy):
    code = "import openai; openai.OpenAI(api_key='sk-dummy', max_retries=0).models.list()"
    subprocess.run([sys.executable, "-c", code], check=True)
    (call,) = interpose_proxy.calls()
    assert call.endpoint == "models"

def test_after():
    assert not [name for name in os.environ if name.upper().endswith("_PROXY")]
    assert "SSL_CERT_FILE" not in os.environ
    assert os.environ["FAKE_OPENAI_KEY"].startswith("real-")

@pytest.mark.asyncio
async def test_in_a_loop_of_its_own(interpose_proxy):
    factory = asyncio.get_running_loop().get_task_factory()
    await asyncio.gather(ask_async(), ask_async())
    assert len(interpose_proxy.calls()) == 2
    assert asyncio.get_running_loop().get_task_factory() is factory

@pytest.mark.asyncio(loop_scope="session")
async def test_in_the_loop_of_the_session(interpose_proxy):
    await ask_async()
    assert len(interpose_proxy.calls()) == 1

def test_the_session_sets_nothing(interpose_session):
    assert "HTTPS_PROXY" not in os.environ
    http = openai.DefaultHttpxClient(proxy=interpose_session.url, verify=interpose_session.ssl_context())
    with openai.OpenAI(api_key="sk-dummy", max_retries=0, http_client=http) as client:
        client.models.list()
    assert interpose_session.calls()[-1].endpoint == "models"

def test_a_second_one(interpose_session):
    with pytest.raises(InterposeError, match="another interceptor runs in this process"):
        with intercept_sync():
            pass
"""


async def suite(folder: Path, *arguments: str, environ: dict[str, str] | None = None) -> tuple[int, str]:
    """pytest in `folder`; its exit status and what it has said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments),
        cwd=folder,
        env=Proxy(folder).environ(environ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.fixture
def rules(authority: Authority, dial: dict[str, str]) -> str:
    found = json.loads(acting_rules(authority, dial))
    found["intercept"]["placeholders"] = ["sk-dummy"]
    return json.dumps(found)


@pytest.fixture
def upstream_answers(upstream: Upstream) -> Iterator[Upstream]:
    with upstream.answering(providers):
        yield upstream


@pytest.mark.parametrize("arguments", [(), ("-n", "2"), ("-W", "error"), ("-p", "no:xdist")])
async def test_a_suite_has_its_calls_credentialed_and_told(
    rules: str, upstream_answers: Upstream, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Each test its own; in one process and in several, in loops of any scope, with warnings as errors."""
    (tmp_path / "rules.json").write_text(rules)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    (tmp_path / "test_suite.py").write_text(SUITE)
    status, out = await suite(tmp_path, *arguments, environ=ENVIRON)
    assert status == 0, out
    assert "9 passed" in out
    assert {request.values("authorization")[0] for request in upstream_answers.requests} == {
        f"Bearer {real('openai')}".encode()
    }


async def test_the_example_of_the_documentation_runs(rules: str, upstream_answers: Upstream, tmp_path: Path) -> None:
    """With the rules that the configuration names, from whichever folder pytest is called."""
    (test, ini, conftest) = BLOCKS[-3:]
    assert [kind for kind, _ in (test, ini, conftest)] == ["python", "ini", "python"]
    (tmp_path / "rules.yaml").write_text(rules)
    (tmp_path / "pytest.ini").write_text(ini[1])
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_example.py").write_text(test[1])
    status, out = await suite(tmp_path / "tests", environ=ENVIRON)
    assert status == 0, out
    assert "1 passed" in out
    assert upstream_answers.request.values("authorization") == [f"Bearer {real('openai')}".encode()]
    # The fixture comes before the configuration: these rules have no key to keep from the tests.
    (tmp_path / "tests" / "conftest.py").write_text(conftest[1])
    (tmp_path / "tests" / "test_example.py").write_text(
        "import os\ndef test(interpose_proxy):\n    assert os.environ['FAKE_OPENAI_KEY'].startswith('real-')\n"
    )
    status, out = await suite(tmp_path / "tests", environ=ENVIRON)
    assert status == 0, out


async def test_rules_that_are_wrong_are_told_where_they_are(tmp_path: Path) -> None:
    """As an error of the test that asked for them, with file and line."""
    (tmp_path / "rules.yaml").write_text("version: 1\nrutes: []\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\ninterpose_rules = rules.yaml\n")
    (tmp_path / "test_it.py").write_text("def test(interpose_proxy):\n    pass\ndef test_other():\n    pass\n")
    status, out = await suite(tmp_path)
    assert status == 1
    assert "1 passed, 1 error" in out
    assert f"{tmp_path}/rules.yaml:2:1: rutes" in out


async def test_a_suite_that_does_not_ask_pays_nothing(tmp_path: Path) -> None:
    """Neither mitmproxy nor anything of ours but the plugin itself is imported."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(
        "import sys\ndef test():\n    ours = {name for name in sys.modules if name.startswith(('interpose', 'mitm'))}\n"
        "    assert ours == {'interpose', 'interpose.pytest_plugin'}\n"
    )
    status, out = await suite(tmp_path)
    assert status == 0, out
