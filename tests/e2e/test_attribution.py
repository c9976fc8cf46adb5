"""Everything that left, and whose it was: connections in the ledger, in `interpose usage`, in a run's summary."""

from __future__ import annotations

import asyncio
import getpass
import json
import sys
from pathlib import Path

import pytest
from tests.e2e import replies
from tests.e2e.certificates import Authority
from tests.e2e.program import Program, rules
from tests.e2e.proxy import Proxy
from tests.e2e.relay import Relay
from tests.e2e.replies import providers
from tests.e2e.settings import OPENAI, canary, rules_text
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Looked for in all that interpose writes.
KEY = canary("on-a-command-line")
PLACE = "registry.test"

# Two curls, one to an AI host and one that is tunnelled; each says its process id.
LEAVES = """
curl -sS -o chat.json -A "patient 12" -H "Authorization: Bearer $1" -d "$2" https://api.openai.com/v1/chat/completions &
echo $!; wait $!
curl -sS -o page --proxytunnel --data-binary @upload http://registry.test:8080/upload?token=$1 &
echo $!; wait $!
"""


async def usage(folder: Path, *options: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "interpose", "usage", "--connections", "--state", "state", *options),
        cwd=folder,
        env=Proxy(folder).environ({"COLUMNS": "120"}),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_everything_that_left_is_told_with_whose_it_was(
    authority: Authority, upstream: Upstream, plain_upstream: Upstream, tmp_path: Path
) -> None:
    """Process, user, command without its key, its body and what the rules scrub; and for a tunnel the very bytes that
    the other end has counted.
    """
    (tmp_path / "upload").write_bytes(bytes(300_000))

    async def page(exchange: Exchange) -> None:
        await exchange.reply(bytes(200_000))

    body = json.dumps({"model": "gpt-4o-mini", "messages": []})
    there = {f"{PLACE}:8080": ("127.0.0.1", plain_upstream.port)}
    async with Relay(("127.0.0.1", upstream.port), there) as relay:
        text = rules_text(
            upstream={"ca": str(authority.pem), "proxy": relay.url}, ledger={"scrub": ["(?i)patient [0-9]+"]}
        )
        with upstream.answering(providers), plain_upstream.answering(page):
            command = ("bash", "-c", LEAVES, "leaves", KEY, body)
            async with await Program.start(tmp_path, text, *command) as program:
                pids = [int(await program.line()), int(await program.line())]
                ended = await program.succeeds()
            assert upstream.request.values("authorization") == [f"Bearer {KEY}".encode()]
        counted = relay.passed[f"{PLACE}:8080"]
    assert (tmp_path / "chat.json").read_bytes() == replies.CHAT_JSON
    assert (tmp_path / "page").read_bytes() == bytes(200_000)

    first, second = program.connections()
    assert [first["pid"], second["pid"]] == pids
    assert {(row["app"], row["user"], row["outcome"]) for row in (first, second)} == {("curl", getpass.getuser(), "ok")}
    wanted = "curl -sS -o chat.json -A *** -H Authorization: *** -d *** https://api.openai.com/v1/chat/completions"
    assert first["command"] == wanted
    assert second["command"].endswith("http://registry.test:8080/upload?token=***")
    assert (first["kind"], first["host"], first["port"]) == ("ai", OPENAI, 443)
    assert first["bytes_up"] > len(body)
    assert first["bytes_down"] > len(replies.CHAT_JSON)
    assert (second["kind"], second["host"], second["port"]) == ("tunnel", PLACE, 8080)
    assert counted.up > 300_000
    assert (second["bytes_up"], second["bytes_down"]) == (counted.up, counted.down)
    (call,) = program.calls()
    assert (call["app"], call["id"].startswith(first["id"])) == ("curl", True)

    # The page of the tunnel is told when the run ends, and both whenever they are asked for.
    assert "also passed, undecrypted" in ended.summary
    assert PLACE in ended.summary
    table = await usage(tmp_path)
    (shown,) = [line for line in table.splitlines() if PLACE in line]
    assert shown.split() == [f"{PLACE}:8080", "undecrypted", "curl", "1", "300", "kB", "200", "kB", "–"]
    found = {each["host"]: each for each in json.loads(await usage(tmp_path, "--format", "json"))}
    assert (found[PLACE]["bytes_up"], found[PLACE]["bytes_down"]) == (counted.up, counted.down)
    assert found[OPENAI]["kind"] == "ai"
    assert KEY not in table + ended.summary


# By its own CAs, by a pinned key: curl has done all of TLS when it compares that.
DISTRUSTS = """
curl -s --cacert "$1" https://api.openai.com/v1/models; echo $?
curl -s --pinnedpubkey sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= https://api.x.ai/v1/models; echo $?
"$2" -c 'import ssl, sys, urllib.request as r
try: r.urlopen("https://api.anthropic.com/v1/models", context=ssl.create_default_context(cafile=sys.argv[1]))
except OSError as error: print(error.reason.verify_code)' "$1"
"""


async def test_who_does_not_take_our_certificate_is_named_with_what_to_do(
    authority: Authority, upstream: Upstream, tmp_path: Path
) -> None:
    """One that brings its own CAs, and one that pins a key: both end in the summary and as failures in the ledger."""
    command = ("bash", "-c", DISTRUSTS, "distrusts", str(authority.pem), sys.executable)
    with upstream.answering(providers):
        async with await Program.start(tmp_path, rules(authority, upstream), *command) as program:
            # curl: 60 no certificate that it knows, 90 not the pinned key; OpenSSL: 20 no issuer that it knows.
            assert [await program.line() for _ in range(3)] == ["60", "90", "20"]
            ended = await program.succeeds()
        assert not upstream.requests
    assert [(row["app"], row["host"], row["outcome"]) for row in program.connections()] == [
        ("curl", OPENAI, "tls_refused"),
        ("curl", "api.x.ai", "tls_dropped"),
        ("python", "api.anthropic.com", "tls_refused"),
    ]
    assert program.calls() == []
    said = ended.summary
    assert (
        "1 TLS handshake refused our certificate: api.openai.com from curl: it reads none of the CA variables" in said
    )
    assert "1 TLS handshake refused our certificate: api.anthropic.com from python: " in said
    assert "closed right after the TLS handshake, without a request: api.x.ai from curl: it probably pins" in said
    # One line each while it runs, and no second guesses when the reason is known.
    assert said.count("a client refused our certificate") == 2
    assert "Client TLS handshake failed" not in said
    assert "does the program honour HTTPS_PROXY" not in said
    failed = [each for each in (await usage(tmp_path)).splitlines() if "AI calls" in each]
    assert len(failed) == 3
    assert all(line.split()[-1] == "1" for line in failed)
