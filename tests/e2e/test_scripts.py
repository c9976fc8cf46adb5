"""The scripts for stock mitmproxy: real `mitmdump -s addons/X.py`, from a checkout, interpose not installed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from mitmproxy.io import FlowReader  # noqa: TID251 - what mitmdump has written is read by mitmproxy
from tests.e2e.certificates import Authority
from tests.e2e.clients import Client, Response, client_tls, request_bytes
from tests.e2e.settings import ENVIRON, HOUSE, OPENAI, PLACEHOLDER, acting_rules, rules_text
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

ADDONS = Path(__file__).parents[2] / "addons"
# mitmdump, with the editable installation of interpose out of sight: the script's folder must do.
BARE = """
import sys
sys.meta_path = [each for each in sys.meta_path if "editable" not in type(each).__module__ + str(each)]
sys.path = [each for each in sys.path if not each.rstrip("/").endswith("addons")]
try:
    import interpose
except ImportError:
    pass
else:
    raise SystemExit("interpose is installed after all")
from mitmproxy.tools.main import mitmdump
mitmdump()
"""
BODY = b'{"model": "gpt-4o", "messages": []}'
KEY = ENVIRON["FAKE_OPENAI_KEY"].encode()
EVENTS = [b'data: {"choices": [{"delta": {"content": "word"}}]}\n\n'] * 3 + [b"data: [DONE]\n\n"]


class Mitmdump:
    """One mitmdump. `output` is all that it has said, `folder` holds its CA, its flows and interpose's state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = ""
        self.port = 0
        self.listening = asyncio.Event()
        self.process: asyncio.subprocess.Process | None = None

    @property
    def ca(self) -> Path:
        return self.folder / "conf" / "mitmproxy-ca-cert.pem"

    @property
    def flows(self) -> Path:
        return self.folder / "flows"

    async def start(self, *scripts: str, rules: str | None = None, more: tuple[str, ...] = ()) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-c", BARE]
        for script in scripts:
            command += ["-s", str(ADDONS / script)]
        if rules is not None:
            (self.folder / "rules.yaml").write_text(rules)
            command += ["--set", f"interpose_rules={self.folder / 'rules.yaml'}"]
        command += ["--set", f"interpose_state={self.folder / 'state'}", "--set", f"confdir={self.folder / 'conf'}"]
        command += ["--listen-host", "127.0.0.1", "-p", "0", "-w", str(self.flows), *more]
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONUNBUFFERED": "1", **ENVIRON}
        self.process = await asyncio.create_subprocess_exec(
            *command, env=environ, cwd=self.folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.output += line.decode()
            if b"listening at 127.0.0.1:" in line:
                self.port = int(line.rpartition(b":")[2].rstrip(b".\n"))
                self.listening.set()

    async def end(self, by: signal.Signals | None = signal.SIGTERM) -> int:
        assert self.process is not None
        if by is not None and self.process.returncode is None:
            self.process.send_signal(by)
        async with asyncio.timeout(30):
            status = await self.process.wait()
            await self._reading
        return status

    def rows(self) -> list[dict[str, object]]:
        with closing(sqlite3.connect(self.folder / "state" / "usage.db")) as ledger:
            ledger.row_factory = sqlite3.Row
            return [dict(row) for row in ledger.execute("SELECT * FROM calls ORDER BY rowid")]


@asynccontextmanager
async def mitmdump(
    folder: Path, *scripts: str, rules: str | None = None, more: tuple[str, ...] = ()
) -> AsyncIterator[Mitmdump]:
    running = Mitmdump(folder)
    await running.start(*scripts, rules=rules, more=more)
    try:
        async with asyncio.timeout(60):
            await running.listening.wait()
        # What arrives before the engine is ready is closed; that is a test of its own.
        await asyncio.sleep(0.5)
        yield running
    finally:
        status = await running.end()
    assert status == 0, running.output
    assert "Traceback" not in running.output, running.output
    for path in (running.flows, running.folder / "state" / "usage.db"):
        assert KEY not in path.read_bytes()
    assert KEY.decode() not in running.output


async def answer(exchange: Exchange) -> None:
    if b'"stream": true' in bytes(exchange.request.body):
        await exchange.stream("text/event-stream")
        for each in EVENTS:
            await exchange.chunk(each)
        await exchange.end()
    else:
        await exchange.json(b'{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}')


async def ask(proxy: Mitmdump, key: str, body: bytes = BODY) -> Response:
    trust = client_tls(proxy.ca)
    async with await Client.tunnel(("127.0.0.1", proxy.port), f"{OPENAI}:443", tls=trust) as client:
        headers = (("Authorization", f"Bearer {key}"), ("Content-Type", "application/json"))
        await client.send(request_bytes("POST", "/v1/chat/completions", OPENAI, *headers, body=body))
        return await client.response()


def marks(response: Response) -> list[bytes]:
    return [name for name, _ in response.headers if name.lower().startswith(b"x-interpose")]


async def test_intercept_does_all_that_the_rules_ask(
    tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream
) -> None:
    """The key is injected, a stream streams and is in the flow file, each call is recorded; no key is in any file."""
    async with mitmdump(tmp_path, "intercept.py", rules=acting_rules(authority, dial)) as proxy:
        with upstream.answering(answer):
            plain = await ask(proxy, PLACEHOLDER)
            assert upstream.request.values("authorization") == [b"Bearer " + KEY]
            stream = await ask(proxy, PLACEHOLDER, b'{"model": "gpt-4o", "stream": true, "messages": []}')
    assert (plain.status, stream.status, bytes(stream.body)) == (200, 200, b"".join(EVENTS))
    assert marks(plain)
    with proxy.flows.open("rb") as file:
        first, second = list(FlowReader(file).stream())
    assert first.request.headers["authorization"] == f"Bearer {PLACEHOLDER}"  # type: ignore[attr-defined]  # both are HTTP flows
    assert first.response.content == bytes(plain.body)  # type: ignore[attr-defined]
    assert second.response.content == b"".join(EVENTS)  # type: ignore[attr-defined]
    rows = proxy.rows()
    assert [(row["outcome"], row["credential"], row["stream"]) for row in rows] == [
        ("ok", "env:FAKE_OPENAI_KEY", 0),
        ("ok", "env:FAKE_OPENAI_KEY", 1),
    ]


@pytest.mark.parametrize("script", ["audit_only.py", "log_usage.py"])
async def test_observing_changes_nothing(
    tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream, script: str
) -> None:
    """Even with rules that would: not a byte of the request, no header on the reply; and the call is recorded."""
    async with mitmdump(tmp_path, script, rules=acting_rules(authority, dial)) as proxy:
        with upstream.answering(answer):
            response = await ask(proxy, PLACEHOLDER, b'{"model":  "house-1"}')
    assert upstream.request.values("authorization") == [f"Bearer {PLACEHOLDER}".encode()]
    assert upstream.request.values("host") == [OPENAI.encode()]
    assert bytes(upstream.request.body) == b'{"model":  "house-1"}'
    assert marks(response) == []
    (row,) = proxy.rows()
    assert (row["route"], row["credential"], row["input_tokens"], row["provider"]) == (None, None, 5, "openai")


async def test_credentials_alone(
    tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream
) -> None:
    """Keys are put in where the call was going anyway; no route leads it elsewhere."""
    async with mitmdump(tmp_path, "inject_credentials.py", rules=acting_rules(authority, dial)) as proxy:
        with upstream.answering(answer):
            await ask(proxy, PLACEHOLDER, b'{"model": "house-1"}')
            assert upstream.request.values("host") == [OPENAI.encode()]
            assert upstream.request.values("authorization") == [b"Bearer " + KEY]
            assert (await ask(proxy, "vk-unknown-fake")).status == 401


async def test_routes_alone_never_lend_a_clients_key_to_another_host(
    tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream
) -> None:
    """A route within the addressed host is taken; one that leads elsewhere is refused: law 6."""
    rules = json.loads(acting_rules(authority, dial))
    rules["routes"].append(
        {"name": "cheap", "match": {"model": "gpt-4o"}, "to": {"provider": "openai", "model": "gpt-x"}}
    )
    async with mitmdump(tmp_path, "route_calls.py", rules=json.dumps(rules)) as proxy:
        with upstream.answering(answer):
            assert (await ask(proxy, "sk-own-fake")).status == 200
            assert bytes(upstream.request.body) == b'{"model": "gpt-x", "messages": []}'
            assert upstream.request.values("authorization") == [b"Bearer sk-own-fake"]
            before = len(upstream.requests)
            refused = await ask(proxy, "sk-own-fake", b'{"model": "house-1"}')
            assert len(upstream.requests) == before
    assert refused.status == 500
    assert HOUSE not in bytes(refused.body).decode()


async def test_two_scripts_share_one_engine(
    tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream
) -> None:
    """It does what either asks, and records each call once."""
    async with mitmdump(
        tmp_path, "inject_credentials.py", "route_calls.py", "log_usage.py", rules=acting_rules(authority, dial)
    ) as proxy:
        with upstream.answering(answer):
            await ask(proxy, PLACEHOLDER, b'{"model": "house-1"}')
    assert upstream.request.values("host") == [HOUSE.encode()]
    (row,) = proxy.rows()
    assert (row["route"], row["provider"]) == ("to-house", "house")


@pytest.mark.parametrize("script", ["apply_limits.py", "convert_formats.py"])
async def test_every_script_runs(
    tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream, script: str
) -> None:
    """Also with rules in which there is nothing for it to do."""
    async with mitmdump(tmp_path, script, rules=acting_rules(authority, dial)) as proxy:
        with upstream.answering(answer):
            assert (await ask(proxy, "sk-own-fake")).status == 200


@pytest.mark.parametrize(
    ("rules", "more", "told"),
    [
        ("version: 1\nproviderss: {}\n", (), "providerss"),
        (None, ("--set", "interpose_rules=/nowhere/rules.yaml"), "/nowhere/rules.yaml"),
        ("acting", ("--set", "ssl_insecure=true"), "ssl_insecure is set"),
    ],
    ids=["a mistake", "no file", "insecure"],
)
async def test_what_is_wrong_ends_mitmdump_with_one_clear_error(
    tmp_path: Path,
    authority: Authority,
    dial: dict[str, str],
    rules: str | None,
    more: tuple[str, ...],
    told: str,
) -> None:
    """It does not go on without the engine."""
    running = Mitmdump(tmp_path)
    text = acting_rules(authority, dial) if rules == "acting" else rules
    await running.start("intercept.py", rules=text, more=more)
    assert await running.end(by=None) == 1, running.output
    assert told in running.output
    assert "Traceback" not in running.output


async def test_replay_goes_through_the_engine_again(
    tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream
) -> None:
    """From a file, in a mitmdump of its own: the provider gets the credential, the flow keeps the placeholder."""
    rules = acting_rules(authority, dial)
    async with mitmdump(tmp_path / "first", "intercept.py", rules=rules) as proxy:
        with upstream.answering(answer):
            await ask(proxy, PLACEHOLDER)
    again = tmp_path / "second"
    with upstream.answering(answer):
        async with mitmdump(again, "intercept.py", rules=rules, more=("-C", str(proxy.flows))) as replaying:
            async with asyncio.timeout(10):
                while not upstream.requests:
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)
    assert upstream.request.values("authorization") == [b"Bearer " + KEY]
    assert len(upstream.requests) == 1
    (row,) = replaying.rows()
    assert (row["outcome"], row["app"]) == ("ok", "replay")
    with replaying.flows.open("rb") as file:
        (flow,) = list(FlowReader(file).stream())
    assert flow.response.status_code == 200  # type: ignore[attr-defined]


async def test_what_other_addons_do_to_flows_is_done(
    tmp_path: Path, upstream: Upstream, authority: Authority, dial: dict[str, str]
) -> None:
    """modify_headers on requests and replies, modify_body on a JSON reply: as with mitmproxy's own upstream."""
    more = (
        "--modify-headers", "/~q/x-asked/yes",
        "--modify-headers", "/~s/x-seen/yes",
        "--modify-body", "/~s/completion_tokens/edited_tokens",
    )  # fmt: skip
    rules = rules_text(upstream=json.loads(acting_rules(authority, dial))["upstream"])
    async with mitmdump(tmp_path, "intercept.py", rules=rules, more=more) as proxy:
        with upstream.answering(answer):
            response = await ask(proxy, "sk-own-fake")
    assert upstream.request.values("x-asked") == [b"yes"]
    assert response.value("x-seen") == b"yes"
    assert b"edited_tokens" in bytes(response.body)
