"""Every runtime under `interpose run`: programs in tests/clients, unmodified, told nothing but the environment.

Each streams a chat by each of its clients, with a key that is worth nothing. The call must come to us, get the right
credential, arrive word by word, end well, and stand in the ledger under the name of its program.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.e2e.certificates import Authority
from tests.e2e.proxy import Row
from tests.e2e.replies import CHAT, GENERATE, MESSAGES, RESPONSES, Script
from tests.e2e.runtimes import CLIENTS, FIRST, Held, Run, runtime
from tests.e2e.settings import PLACEHOLDER, acting_rules, real
from tests.e2e.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

NODE = CLIENTS / "node"
SDKS = str(NODE / "sdks.mjs")
HTTP = str(NODE / "http.mjs")
STARTED_BY = {"bun": ("run",), "deno": ("run", "--allow-all", "--node-modules-dir=manual")}


@pytest.fixture
def run(authority: Authority, dial: dict[str, str], tmp_path: Path) -> Run:
    return Run(tmp_path, acting_rules(authority, dial))


async def streamed(run: Run, upstream: Upstream, scripts: Sequence[Script], *command: str) -> tuple[bytes, list[Row]]:
    """Runs a program that asks for these streams in turn; what it printed after them, and all records.

    Each stream is held until the program has printed its first words.
    """
    held = Held()
    with upstream.answering(held):
        program = await run.start(*command)
        for place, script in enumerate(scripts):
            await program.until(FIRST[script.host, script.path.partition("?")[0]][1])
            await held.let_go(place)
        status = await program.ended()
        said = await program.errors()
        assert status == 0, said
        for request, script in zip(upstream.requests, scripts, strict=False):
            provider = {CHAT.host: "openai", MESSAGES.host: "anthropic", GENERATE.host: "gemini"}[script.host]
            assert request.anywhere(real(provider))
            assert not request.anywhere(PLACEHOLDER)
    rows = run.ledger.after()
    told = [(row["outcome"], row["input_tokens"], row["output_tokens"]) for row in rows[: len(scripts)]]
    assert told == [("ok", *script.tokens) for script in scripts], said
    assert "went past the proxy" not in said
    return program.out, rows


@pytest.mark.parametrize("name", ["node", "node24", "bun", "deno"])
async def test_official_sdks(name: str, run: Run, upstream: Upstream) -> None:
    """openai, @anthropic-ai/sdk and @google/genai stream and raise errors of their own, on each JavaScript runtime."""
    command = [runtime(name), *STARTED_BY.get(name, ()), SDKS, PLACEHOLDER]
    scripts = (CHAT, RESPONSES, MESSAGES, GENERATE)
    out, rows = await streamed(run, upstream, scripts, *command)
    text = out.decode().splitlines()
    assert text[:4] == ["Good morning ☀", "Good evening", "Bonjour", "Ciao bella"]
    assert text[4:] == ["RateLimitError 429 true", "RateLimitError 429 true", "ApiError 429 true"]
    assert {row["app"] for row in rows} == {name.rstrip("0123456789")}
    assert [row["status"] for row in rows] == [200] * 4 + [429] * 3


ALL = ("fetch", "https", "agent", "http2", "axios", "undici")


@pytest.mark.parametrize(
    ("name", "clients"),
    [
        ("node18", ALL),
        ("node", ALL),
        # By proxy variables alone, http2 and an agent of the program's own would go past.
        ("node24", (*ALL, "undici8")),
        ("bun", ("fetch", "https", "axios", "undici")),
        ("deno", ("fetch", "https", "agent", "axios")),
    ],
)
async def test_http_clients_of_javascript(name: str, clients: tuple[str, ...], run: Run, upstream: Upstream) -> None:
    """Whatever opens HTTPS in Node comes to us, in every version; in Bun and Deno, what heeds proxy variables."""
    command = [runtime(name), *STARTED_BY.get(name, ()), HTTP, PLACEHOLDER, *clients]
    out, rows = await streamed(run, upstream, [CHAT] * len(clients), *command)
    assert out == CHAT.body * len(clients)
    assert {row["app"] for row in rows} == {name.rstrip("0123456789")}


async def test_python(run: Run, upstream: Upstream) -> None:
    """Python's HTTP clients heed the environment: aiohttp when asked to, urllib3 when it is handed the proxy."""
    clients = ("urllib", "requests", "httpx", "aiohttp", "urllib3")
    program = str(CLIENTS / "python" / "http_clients.py")
    out, rows = await streamed(run, upstream, [CHAT] * len(clients), sys.executable, program, PLACEHOLDER, *clients)
    assert out == CHAT.body * len(clients)
    assert {row["app"] for row in rows} == {"python"}


async def test_java(run: Run, upstream: Upstream) -> None:
    """HttpClient and HttpURLConnection, by system properties: Java reads no variable for either proxy or CA."""
    out, rows = await streamed(run, upstream, [CHAT] * 2, "java", str(CLIENTS / "java" / "Chat.java"), PLACEHOLDER)
    assert out == CHAT.body * 2
    assert {row["app"] for row in rows} == {"java"}


async def test_go(run: Run, upstream: Upstream, tmp_path: Path) -> None:
    """net/http of Go, in a program that is compiled as usual."""
    run.environ |= {"GOCACHE": str(tmp_path / "cache"), "GOTOOLCHAIN": "local", "GOPROXY": "off"}
    built = await run.start("go", "build", "-o", str(tmp_path / "chat-in-go"), str(CLIENTS / "go" / "chat.go"))
    assert await built.ended() == 0, await built.errors()
    out, rows = await streamed(run, upstream, [CHAT], str(tmp_path / "chat-in-go"), PLACEHOLDER)
    assert out == CHAT.body
    assert [row["app"] for row in rows] == ["chat-in-go"]


async def test_ruby(run: Run, upstream: Upstream) -> None:
    """net/http of Ruby."""
    out, rows = await streamed(run, upstream, [CHAT], "ruby", str(CLIENTS / "ruby" / "chat.rb"), PLACEHOLDER)
    assert out == CHAT.body
    assert [row["app"] for row in rows] == ["ruby"]


async def test_rust(run: Run, upstream: Upstream) -> None:
    """reqwest with rustls, in a process of Python's: it trusts what rustls-native-certs finds."""
    program = str(CLIENTS / "python" / "rust.py")
    out, _ = await streamed(run, upstream, [CHAT], sys.executable, program, PLACEHOLDER)
    assert out == CHAT.body


async def test_grpc_is_seen_and_refused(run: Run, upstream: Upstream) -> None:
    """A known limit: gRPC comes here and trusts us, is no endpoint that rules know, and ends as an error of its own."""
    with upstream.answering(Held()):
        program = await run.start(sys.executable, str(CLIENTS / "python" / "grpc_call.py"), PLACEHOLDER)
        assert await program.ended() == 0, await program.errors()
        assert program.out == b"PERMISSION_DENIED\n"
        assert upstream.requests == []
    (row,) = run.ledger.after()
    assert (row["host"], row["endpoint"], row["outcome"], row["status"]) == (GENERATE.host, "other", "refused", 403)
