"""The interceptor inside a program: `intercept` and `intercept_sync`, with real clients."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.e2e.certificates import Authority
from tests.e2e.proxy import Proxy
from tests.e2e.replies import providers
from tests.e2e.settings import ENVIRON, OPENAI, PLACEHOLDER, acting_rules, real, rules_text
from tests.e2e.upstream import Exchange, Upstream

from interpose import intercept, intercept_sync
from interpose.embedded import Embedded
from interpose.errors import InterposeError
from interpose.hosts.authority import KEY, AuthorityError
from interpose.rules.problem import RulesError

pytestmark = pytest.mark.asyncio(loop_scope="session")

HI: Any = [{"role": "user", "content": "Hi"}]
DOCS = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", DOCS, re.DOTALL)


@pytest.fixture
def rules(authority: Authority, dial: dict[str, str]) -> str:
    """Rules that inject a key, as text."""
    return acting_rules(authority, dial)


@pytest.fixture
def upstream_answers(upstream: Upstream) -> Iterator[Upstream]:
    with upstream.answering(providers):
        yield upstream


def client(proxy: Embedded) -> openai.AsyncOpenAI:
    http_client = openai.DefaultAsyncHttpxClient(proxy=proxy.url, verify=proxy.ssl_context(), trust_env=False)
    return openai.AsyncOpenAI(api_key=PLACEHOLDER, max_retries=0, http_client=http_client)


async def test_an_asyncio_program_has_its_calls_credentialed_and_told(rules: str, upstream_answers: Upstream) -> None:
    """As under `interpose run`; its loop is as it was, all the while."""
    loop = asyncio.get_running_loop()

    def ours() -> tuple[object, ...]:
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        return loop.get_task_factory(), loop.get_exception_handler(), loop.get_debug(), handlers

    before = ours()
    async with intercept(rules, environ=ENVIRON) as proxy:
        assert ours() == before
        assert await proxy.calls() == []
        async with client(proxy) as sdk:
            await sdk.chat.completions.create(model="gpt-4o", messages=HI)
            async with await sdk.chat.completions.create(model="gpt-4o", messages=HI, stream=True) as stream:
                async for _ in stream:
                    pass
        whole, streamed = await proxy.calls()
    assert ours() == before
    for request in upstream_answers.requests:
        assert request.values("authorization") == [f"Bearer {real('openai')}".encode()]
    assert (whole.host, whole.endpoint, whole.outcome, whole.stream) == (OPENAI, "chat", "ok", False)
    assert (streamed.stream, streamed.outcome, streamed.usage_source) == (True, "ok", "provider")
    assert whole.input_tokens
    assert whole.output_tokens


async def test_a_client_that_blocks_the_loop_does_not_block_the_proxy(
    authority: Authority, dial: dict[str, str]
) -> None:
    """The refusal comes from the proxy, while the program's only loop stands still."""
    async with intercept(acting_rules(authority, dial, required=True), environ=ENVIRON) as proxy:
        http_client = openai.DefaultHttpxClient(proxy=proxy.url, verify=proxy.ssl_context(), trust_env=False)
        with openai.OpenAI(api_key="vk-nobody", max_retries=0, http_client=http_client) as sdk:  # noqa: SIM117
            with pytest.raises(openai.AuthenticationError, match="not known"):
                sdk.models.list()
        (call,) = await proxy.calls()
        assert (call.status, call.outcome) == (401, "refused")


APP = """
import os
import openai
question = [{"role": "user", "content": "Hi"}]
reply = openai.OpenAI(max_retries=0).chat.completions.create(model="gpt-4o", messages=question)
print(os.environ["OPENAI_API_KEY"], os.environ["FAKE_OPENAI_KEY"], reply.usage.total_tokens)
"""


async def test_a_program_without_a_loop_leads_others_here(
    rules: str, upstream_answers: Upstream, tmp_path: Path
) -> None:
    """By the environment alone, without the keys; the ledger stays where it was asked to be."""

    def run() -> tuple[str, list[str]]:
        with intercept_sync(rules, state=tmp_path / "state", environ=ENVIRON) as proxy:
            base = {**Proxy(tmp_path).environ(ENVIRON), "OPENAI_API_KEY": PLACEHOLDER}
            argv = [sys.executable, "-c", APP]
            done = subprocess.run(argv, env=proxy.environ(base), capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert proxy.ledger_path == tmp_path / "state" / "usage.db"
            return done.stdout, [call.app or "" for call in proxy.calls()]

    out, apps = await asyncio.to_thread(run)
    assert out.split()[:2] == [PLACEHOLDER, PLACEHOLDER]
    assert int(out.split()[2]) > 0
    assert len(apps) == 1
    assert (tmp_path / "state" / "usage.db").exists()


async def test_nothing_is_left_behind_of_one_without_a_state_folder() -> None:
    """CA, bundles and ledger are gone; what it was is told only while it runs."""
    async with intercept() as proxy:
        folder = proxy.ca_certificate.parents[1]
        bundle = Path(proxy.environ()["SSL_CERT_FILE"])
        assert bundle.is_file()
        assert proxy.ledger_path.is_file()
    assert not folder.exists()
    for asked in (lambda: proxy.url, proxy.environ, proxy.ssl_context):
        with pytest.raises(InterposeError, match="does not run"):
            asked()


async def test_a_second_one_in_the_process_is_refused_and_the_first_goes_on(
    rules: str, upstream_answers: Upstream
) -> None:
    """By a message that says what to do; after the first, there may be another."""
    async with intercept(rules, environ=ENVIRON) as proxy:
        with pytest.raises(InterposeError, match="another interceptor runs in this process already"):
            await intercept().__aenter__()
        with pytest.raises(InterposeError, match="another interceptor runs in this process already"):
            intercept_sync().__enter__()
        with pytest.raises(InterposeError, match="this interceptor runs already"):
            await proxy.__aenter__()
        async with client(proxy) as sdk:
            await sdk.models.list()
        assert len(await proxy.calls()) == 1
    async with intercept(rules, environ=ENVIRON) as proxy:
        assert await proxy.calls() == []


async def test_what_is_wrong_is_raised_at_the_start_and_nothing_runs(tmp_path: Path) -> None:
    """Rules, credentials, CA, state folder: as `interpose run` says it. The next one starts."""
    provider = {"format": "openai", "base_url": "https://api.openai.com/v1", "credential": {"env": "FAKE_NOT_SET"}}
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca" / KEY).touch(mode=0o600)
    (tmp_path / "file").touch()
    for wrong, error, message in (
        (intercept({"version": 1, "rutes": []}), RulesError, "rutes"),
        (intercept({"version": 1, "providers": {"openai": provider}}), RulesError, "FAKE_NOT_SET"),
        (intercept(tmp_path / "nothing.yaml"), RulesError, "no such file"),
        (intercept("version: 1\nrutes: []\n"), RulesError, "rules:2:1: rutes"),
        (intercept(state=tmp_path), AuthorityError, "interpose ca rotate"),
        (intercept(state=tmp_path / "file"), InterposeError, "not a folder"),
    ):
        with pytest.raises(error, match=message):
            await wrong.__aenter__()
    async with intercept() as proxy:
        assert proxy.url.startswith("http://127.0.0.1:")


async def test_calls_waits_for_those_in_flight_and_not_for_ever(rules: str, upstream: Upstream) -> None:
    """A stream that is held open is not among them yet; when it has ended, it is."""
    gate = asyncio.Event()

    async def held(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(b'data: {"choices": [{"index": 0, "delta": {"content": "word"}}]}\n\n')
        await gate.wait()
        await exchange.chunk(b"data: [DONE]\n\n")
        await exchange.end()

    with upstream.answering(held):
        async with intercept(rules, environ=ENVIRON) as proxy, client(proxy) as sdk:
            stream = await sdk.chat.completions.create(model="gpt-4o", messages=HI, stream=True)
            await anext(aiter(stream))
            assert await proxy.calls(wait=0.01) == []
            asked = asyncio.create_task(proxy.calls())
            gate.set()
            async for _ in stream:
                pass
            (call,) = await asked
            assert (call.stream, call.outcome) == (True, "ok")
            assert await proxy.calls(since=call.finished_at) == []


async def test_one_that_is_cancelled_while_it_starts_has_ended_then() -> None:
    """Whenever that was, the next one is in nobody's way."""

    async def hold(seconds: float) -> None:
        async with asyncio.timeout(seconds), intercept():
            await asyncio.Event().wait()

    for seconds in (0, 0.01, 0.1, 0.5):
        with pytest.raises(TimeoutError):
            await hold(seconds)
    async with intercept():
        pass


async def test_what_is_logged_has_no_key_in_it(rules: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever handles it, as long as the interceptor runs; the program's own lines are its own."""
    async with intercept(rules, environ=ENVIRON):
        for name in ("interpose.engine", "mitmproxy.addons.proxyserver", "program"):
            logging.getLogger(name).error("it failed with %s", real("openai"))
    ours, mitmproxys, own = (record.getMessage() for record in caplog.records if "it failed" in record.getMessage())
    assert real("openai") not in ours + mitmproxys
    assert real("openai") in own


async def test_a_program_whose_warnings_are_errors_may_embed_it() -> None:
    """mitmproxy's dependencies deprecate each other; that is not the program's fault."""
    code = "from interpose import intercept_sync\nwith intercept_sync() as proxy:\n    print(proxy.calls())\n"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-X", "dev", "-c", code, stdout=-1, stderr=-1
    )
    out, errors = await process.communicate()
    # asyncio's development mode tells how slow the machine is, too.
    said = [line for line in errors.splitlines() if not line.startswith(b"Executing <")]
    assert (process.returncode, out, said) == (0, b"[]\n", [])


@pytest.mark.parametrize("place", [0, 1])
async def test_the_examples_of_the_documentation_run(
    place: int, authority: Authority, dial: dict[str, str], upstream_answers: Upstream, tmp_path: Path
) -> None:
    """As they stand there."""
    rules = json.loads(acting_rules(authority, dial))
    rules["intercept"]["placeholders"] = ["sk-dummy"]
    (tmp_path / "rules.yaml").write_text(json.dumps(rules))
    (tmp_path / "app.py").write_text(APP)
    kind, code = BLOCKS[place]
    assert kind == "python"
    environ = Proxy(tmp_path).environ({**ENVIRON, "OPENAI_API_KEY": "sk-dummy"})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=tmp_path, env=environ, stdout=-1, stderr=-1
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert re.search((r"^chat gpt-4o-mini ok \d+$", r"^1 calls$")[place], out.decode(), re.MULTILINE)
    assert b"Traceback" not in errors


async def test_rules_are_changed_while_it_runs(
    rules: str, tmp_path: Path, upstream_answers: Upstream, authority: Authority, dial: dict[str, str]
) -> None:
    """Given anew, or read again from their file; what cannot be used changes nothing, also in the environment."""
    file = tmp_path / "rules.yaml"
    file.write_text(rules)
    audit = rules_text(upstream={"ca": str(authority.pem), "connect_to": dial})
    async with intercept(file, environ=ENVIRON) as proxy, client(proxy) as sdk:

        async def key_sent() -> list[bytes]:
            await sdk.chat.completions.create(model="gpt-4o", messages=HI)
            return upstream_answers.requests[-1].values("authorization")

        def withheld() -> bool:
            return proxy.environ(ENVIRON)["FAKE_OPENAI_KEY"] != ENVIRON["FAKE_OPENAI_KEY"]

        injected, own = [f"Bearer {key}".encode() for key in (real("openai"), PLACEHOLDER)]
        assert (await key_sent(), withheld()) == ([injected], True)
        await proxy.reload(audit)
        assert (await key_sent(), withheld()) == ([own], False)
        with pytest.raises(RulesError, match="routess"):
            await proxy.reload({"version": 1, "routess": []})
        await proxy.reload()
        assert await key_sent() == [own]
        await proxy.reload(file)
        file.write_text(audit)
        assert (await key_sent(), withheld()) == ([injected], True)
        await proxy.reload()
        assert await key_sent() == [own]
        assert len({call.rules_version for call in await proxy.calls()}) == 2


async def test_rules_are_changed_without_a_loop(rules: str, tmp_path: Path) -> None:
    """The plain context manager does the same."""

    def program() -> None:
        with intercept_sync(rules, environ=ENVIRON) as proxy:
            assert proxy.environ(ENVIRON)["FAKE_OPENAI_KEY"] == PLACEHOLDER
            proxy.reload(None)
            assert proxy.environ(ENVIRON)["FAKE_OPENAI_KEY"] == ENVIRON["FAKE_OPENAI_KEY"]
            with pytest.raises(RulesError, match="no such file"):
                proxy.reload(tmp_path / "none.yaml")

    await asyncio.to_thread(program)
