"""Node under `interpose run`, as programs use it: kept connections, aborts, uploads, errors, exclusions, nested runs.

In versions which the preload leads here by itself (18 and the machine's) and in one that goes by proxy variables.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.e2e import replies
from tests.e2e.certificates import Authority
from tests.e2e.proxy import Ledger
from tests.e2e.replies import providers
from tests.e2e.runtimes import CLIENTS, ENVIRONMENT, Held, Program, Run, launch, runtime
from tests.e2e.settings import OPENAI, PLACEHOLDER, acting_rules
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

HABITS = str(CLIENTS / "node" / "habits.mjs")
CHAT = f"https://{OPENAI}/v1/chat/completions"
REASONS = {"403": "Forbidden", "502": "Bad Gateway"}
VERSIONS = pytest.mark.parametrize("node", ["node18", "node", "node24"])


class Shell:
    """A shell under `interpose run`: programs are started in the environment that it was given."""

    def __init__(self, run: Run, program: Program, environ: dict[str, str]) -> None:
        self.run = run
        self.program = program
        self.environ = environ

    @property
    def ledger(self) -> Ledger:
        return self.run.ledger

    async def start(self, node: str, habit: str, url: str = CHAT, **environ: str) -> Program:
        command = [runtime(node), HABITS, habit, url]
        return await launch(command, {**self.environ, **environ}, self.run.folder)

    async def says(self, node: str, habit: str, url: str = CHAT, **environ: str) -> str:
        """What a program prints that ends well, and by itself."""
        program = await self.start(node, habit, url, **environ)
        status = await program.ended()
        assert status == 0, await program.errors()
        return program.out.decode().strip()

    async def close(self) -> None:
        assert self.program.process.stdin is not None
        self.program.process.stdin.close()
        assert await self.program.ended() == 0, await self.program.errors()


async def shell_under(run: Run) -> Shell:
    program = await run.start(sys.executable, "-c", ENVIRONMENT)
    await program.until(b"\n")
    return Shell(run, program, json.loads(program.out))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shell(
    authority: Authority, dial: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Shell]:
    """One for all tests here. The user's own CA, for servers of the tests that are spoken to directly, is kept."""
    run = Run(
        tmp_path_factory.mktemp("a shell"),
        acting_rules(authority, dial),
        {"NODE_EXTRA_CA_CERTS": str(authority.pem), "NODE_OPTIONS": "--no-warnings"},
    )
    opened = await shell_under(run)
    yield opened
    await opened.close()


@VERSIONS
async def test_connections_are_kept_and_the_program_ends_by_itself(node: str, shell: Shell, upstream: Upstream) -> None:
    """Three requests of an agent come on one connection, which does not keep the process alive when all is said.

    fetch by itself opens a second one while it still reads the end of the first reply.
    """
    mark = shell.ledger.mark()
    with upstream.answering(providers):
        assert await shell.says(node, "reuse") == "done"
    connections = [row["id"].rpartition("_")[0] for row in await shell.ledger.rows(mark, 6)]
    assert len(set(connections[:3])) <= 2
    assert len(set(connections[3:])) == 1


@VERSIONS
async def test_an_abort_closes_the_upstream(node: str, shell: Shell, upstream: Upstream) -> None:
    """Who aborts a fetch gets an AbortError, the provider is hung up on, and the ledger knows."""
    mark = shell.ledger.mark()
    with upstream.answering(Held()):
        assert await shell.says(node, "abort") == "AbortError"
        async with asyncio.timeout(30):
            await upstream.request.connection.gone.wait()
    assert (await shell.ledger.row(mark))["outcome"] == "aborted"


@VERSIONS
async def test_a_large_upload_arrives_whole(node: str, shell: Shell, upstream: Upstream) -> None:
    """24 MiB, by fetch and by https."""

    async def digest(exchange: Exchange) -> None:
        await exchange.reply(hashlib.sha256(exchange.request.body).hexdigest().encode())

    with upstream.answering(digest):
        assert await shell.says(node, "upload", f"https://{OPENAI}/v1/files") == "whole"


@VERSIONS
async def test_a_proxy_that_is_gone_is_an_error_and_no_bypass(node: str, shell: Shell, upstream: Upstream) -> None:
    """A server that could be reached directly is not, when the proxy cannot be."""
    accepted = upstream.accepted
    server = f"https://localhost:{upstream.port}/"
    gone = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), "http://127.0.0.1:1")
    assert (await shell.says(node, "errors", server, **gone)).count("ECONNREFUSED 127.0.0.1:1") == 3
    assert upstream.accepted == accepted


@VERSIONS
@pytest.mark.parametrize(("host", "status"), [("169.254.169.254", "403"), ("nowhere.invalid", "502")])
async def test_a_refused_tunnel_is_an_error(node: str, host: str, status: str, shell: Shell) -> None:
    """fetch and https fail; https, and the preload, say why. The connection does not keep the process alive."""
    by_fetch, by_https, by_agent = (await shell.says(node, "errors", f"https://{host}/")).splitlines()
    ours, its_own = f"the proxy refused {host}:443: {status} {REASONS[status]}", "Request was cancelled."
    assert by_fetch in {"node18": [ours], "node24": [its_own]}.get(node, [ours, its_own])
    assert by_agent == ours
    assert f"{host}:443" in by_https
    assert status in by_https


@VERSIONS
async def test_no_proxy_is_honoured(node: str, shell: Shell, upstream: Upstream) -> None:
    """A host of NO_PROXY is spoken to directly, any other comes here, if only to be tunnelled."""

    async def hello(exchange: Exchange) -> None:
        await exchange.reply(b"hello")

    server = f"https://localhost:{upstream.port}/"
    with upstream.answering(hello):
        mark = shell.ledger.mark()
        assert await shell.says(node, "get", server) == "hello"
        (tunnelled,) = await shell.ledger.connections(mark, 1)
        assert (tunnelled["kind"], tunnelled["host"], tunnelled["app"]) == ("tunnel", "localhost", "node")
        mark = shell.ledger.mark()
        direct = ("localhost", "other.test,.localhost", f"localhost:{upstream.port}", "*")
        others = ("ocalhost", "localhost:1", "[::1]:1")
        for entries in (direct, others):  # in this order: what should not be recorded would be, before the rest
            said = [shell.says(node, "get", server, NO_PROXY=each, no_proxy=each) for each in entries]
            assert set(await asyncio.gather(*said)) == {"hello"}
        assert len(await shell.ledger.connections(mark, len(others))) == len(others)


@VERSIONS
async def test_tls_by_hand_comes_here_too(node: str, shell: Shell, upstream: Upstream) -> None:
    """Also by a name that an ES module has imported."""
    with upstream.answering(providers):
        assert await shell.says(node, "byHand", f"https://{OPENAI}/v1/models") == "HTTP/1.1 200 OK"


async def test_threads_come_here_too(shell: Shell, upstream: Upstream) -> None:
    """A worker thread loads the preload as the main thread does."""
    mark = shell.ledger.mark()
    with upstream.answering(providers):
        assert await shell.says("node", "worker", f"https://{OPENAI}/v1/models") == replies.MODELS_JSON.decode()
    assert (await shell.ledger.row(mark))["endpoint"] == "models"


async def test_nested_runs_stand_in_each_others_place(
    authority: Authority, dial: dict[str, str], upstream: Upstream, tmp_path: Path
) -> None:
    """The inner run catches the call, and options stand in the environment once, the user's own among them."""
    folders = [tmp_path / name for name in ("outer run", "inner run")]
    for folder in folders:
        folder.mkdir()
    own = {"NODE_OPTIONS": "--no-warnings", "JAVA_TOOL_OPTIONS": '-Dnote="a b"'}
    outer, inner = (Run(folder, acting_rules(authority, dial), own) for folder in folders)
    program = "fetch(process.argv[1], {headers: {authorization: `Bearer ${process.argv[2]}`}}).then(async (reply) => {"
    program += "console.log(await reply.text()); console.log(JSON.stringify(process.env)) })"
    url = f"https://{OPENAI}/v1/models"
    with upstream.answering(providers):
        ran = await outer.start(*inner.argv(runtime("node"), "-e", program, url, PLACEHOLDER))
        assert await ran.ended() == 0, await ran.errors()
    said, printed = ran.out.decode().splitlines()
    assert said == replies.MODELS_JSON.decode()
    environ = json.loads(printed)
    assert environ["NODE_OPTIONS"].startswith("--no-warnings --require ")
    assert environ["NODE_OPTIONS"].count("--require") == 1
    assert environ["JAVA_TOOL_OPTIONS"].startswith('-Dnote="a b" ')
    assert environ["JAVA_TOOL_OPTIONS"].count("-Djavax.net.ssl.trustStore=") == 1
    assert str(inner.state) in environ["JAVA_TOOL_OPTIONS"]
    assert [row["endpoint"] for row in inner.ledger.after()] == ["models"]
    assert outer.ledger.after() == []
