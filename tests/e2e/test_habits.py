"""What people do around mitmproxy keeps working on claimed calls: real `mitmdump -s addons/intercept.py` and options.

Whatever other addons make of a call, no flow holds a credential, and no credential goes where it does not belong.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import pytest
from tests.e2e.certificates import Authority
from tests.e2e.clients import Client
from tests.e2e.mitmtools import BODY, CHAT, Tool, request, running
from tests.e2e.settings import ANTHROPIC, ENVIRON, HOUSE, OPENAI, OWN, PLACEHOLDER, acting_rules, real
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

ANSWER = b'{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}'
EVENTS = [b'data: {"choices": [{"delta": {"content": "word"}}]}\n\n'] * 3 + [b"data: [DONE]\n\n"]
STREAM = b'{"model": "gpt-4o", "stream": true, "messages": []}'
REAL = b"Bearer " + real("openai").encode()


@pytest.fixture
def rules(authority: Authority, dial: dict[str, str]) -> str:
    return acting_rules(authority, dial)


async def answer(exchange: Exchange) -> None:
    if b'"stream": true' in bytes(exchange.request.body):
        await exchange.stream("text/event-stream")
        for each in EVENTS:
            await exchange.chunk(each)
        await exchange.end()
    else:
        await exchange.reply(ANSWER, 200, [(b"content-type", b"application/json"), (b"set-cookie", b"visit=1")])


def script(folder: Path, text: str) -> tuple[str, str]:
    """The options that add a script of the user's own."""
    file = folder / "users_script.py"
    file.write_text(text)
    return "-s", str(file)


async def test_flows_are_changed_before_they_leave_and_when_they_come_back(
    bare: Path, tmp_path: Path, upstream: Upstream, rules: str
) -> None:
    """modify_headers, modify_body, map_remote within the host, stickycookie and anticache, as with any other host."""
    more = (
        "--modify-headers", "/~q/x-asked/yes",
        "--modify-headers", "/~s/x-seen/yes",
        "--modify-body", "/~q/gpt-4o/gpt-4o-mini",
        "--modify-body", "/~s/completion_tokens/edited_tokens",
        "--map-remote", "|/v1/oldname|/v1/chat/completions",
        "--set", "stickycookie=.", "--anticache",
    )  # fmt: skip
    async with running(bare, tmp_path, "intercept.py", rules=rules, more=more) as proxy:
        with upstream.answering(answer):
            response = await proxy.ask(PLACEHOLDER, BODY, "/v1/oldname", ("If-None-Match", "x"))
            first = upstream.request
            await proxy.ask(PLACEHOLDER)
            second = upstream.requests[1]
    assert first.target == CHAT.encode()
    assert bytes(first.body) == BODY.replace(b"gpt-4o", b"gpt-4o-mini")
    assert first.values("content-length") == [str(len(first.body)).encode()]
    assert first.values("x-asked") == [b"yes"]
    assert first.values("if-none-match") == []
    assert first.values("authorization") == second.values("authorization") == [REAL]
    assert second.values("cookie") == [b"visit=1"]
    assert response.value("x-seen") == b"yes"
    assert bytes(response.body) == ANSWER.replace(b"completion_tokens", b"edited_tokens")
    assert response.complete
    assert [row["sent_model"] for row in proxy.rows()] == ["gpt-4o-mini"] * 2


async def test_what_another_addon_answers_is_not_sent(
    bare: Path, tmp_path: Path, upstream: Upstream, rules: str
) -> None:
    """block_list, map_local and a script's response win: also where the body is too large to be held."""
    local = tmp_path / "local.json"
    local.write_text('{"local": true}')
    more = (
        "--set", "block_list=/~u v1.files/403",
        "--map-local", f"|/v1/local|{local}",
        "--set", "block_list=/~u v1.hang/444",
        *script(tmp_path, """
from mitmproxy import http
def request(flow):
    if flow.request.path == "/v1/mine":
        flow.response = http.Response.make(299, b"mine", {"Content-Type": "text/plain"})
"""),
    )  # fmt: skip
    async with running(bare, tmp_path, "intercept.py", rules=rules, more=more) as proxy:
        with upstream.answering(answer):
            assert (await proxy.ask(PLACEHOLDER, BODY, "/v1/files")).status == 403
            assert (await proxy.ask(PLACEHOLDER, b"x" * (9 << 20), "/v1/files")).status == 403
            mapped = await proxy.ask(PLACEHOLDER, BODY, "/v1/local")
            mine = await proxy.ask(PLACEHOLDER, BODY, "/v1/mine")
            async with await proxy.client() as client:
                await client.send(request(PLACEHOLDER, BODY, "/v1/hang"))
                assert await client.at_end()
            assert upstream.requests == []
            assert (await proxy.ask(PLACEHOLDER)).status == 200
    assert bytes(mapped.body) == b'{"local": true}'
    assert (mine.status, bytes(mine.body)) == (299, b"mine")
    assert len(proxy.rows()) == 1


@pytest.mark.parametrize("option", ["stream_large_bodies=1k", "body_size_limit=20m"])
async def test_limits_of_bodies_leave_the_call_with_the_engine(
    bare: Path, tmp_path: Path, upstream: Upstream, rules: str, option: str
) -> None:
    """mitmproxy's own options for bodies: small, middling and large ones arrive whole, with the credential."""
    async with running(bare, tmp_path, "intercept.py", rules=rules, more=("--set", option)) as proxy:
        with upstream.answering(answer):
            for size in (100, 100_000, 9 << 20):
                body = b'{"model": "gpt-4o", "messages": [], "pad": "' + b"x" * size + b'"}'
                response = await proxy.ask(PLACEHOLDER, body)
                assert (response.status, bytes(response.body)) == (200, ANSWER)
                assert upstream.requests[-1].values("authorization") == [REAL]
                assert bytes(upstream.requests[-1].body) == body


async def test_a_script_may_stream_a_request_and_edit_it_as_it_passes(
    bare: Path, tmp_path: Path, upstream: Upstream, rules: str
) -> None:
    """`flow.request.stream` as a callable, and `flow.response.stream` on the way back."""
    more = script(
        tmp_path,
        """
def requestheaders(flow):
    flow.request.stream = lambda data: data.replace(b"gpt-4o", b"gpt-4x")
def responseheaders(flow):
    flow.response.stream = lambda data: data.replace(b"word", b"WORD")
""",
    )
    async with running(bare, tmp_path, "intercept.py", rules=rules, more=more) as proxy:
        with upstream.answering(answer):
            response = await proxy.ask(PLACEHOLDER, STREAM)
    assert bytes(upstream.request.body) == STREAM.replace(b"gpt-4o", b"gpt-4x")
    assert bytes(response.body) == b"".join(EVENTS).replace(b"word", b"WORD")


async def test_a_rewritten_host_gets_its_own_credential_or_none(
    bare: Path, tmp_path: Path, upstream: Upstream, stray: Upstream, plain_stray: Upstream, rules: str
) -> None:
    """map_remote and a script that sets the host: to a provider of the rules with its credential; a client's own key
    goes nowhere but where the client sent it, and nothing goes to a host that is not of the rules.
    """
    more = (
        "--map-remote", f"|https://{OPENAI}/v1/one|https://{HOUSE}/v1/chat/completions",
        "--map-remote", f"|https://{OPENAI}/v1/two|https://keyless.test/v1/chat/completions",
        "--map-remote", f"|https://{OPENAI}/v1/three|https://evil.test/v1/chat/completions",
        "--map-remote", f"|https://{OPENAI}/v1/four|http://{OPENAI}/v1/chat/completions",
        *script(tmp_path, f"""
def request(flow):
    if flow.request.path == "/v1/five":
        flow.request.host = "evil.test"
    if flow.request.path == "/v1/six":
        flow.request.host, flow.request.path = "{ANTHROPIC}", "/v1/messages"
"""),
    )  # fmt: skip
    async with running(bare, tmp_path, "intercept.py", rules=rules, more=more) as proxy:
        with upstream.answering(answer), stray.answering(answer), plain_stray.answering(answer):
            for key in (PLACEHOLDER, OWN):
                assert (await proxy.ask(key, BODY, "/v1/one")).status == 200
                assert upstream.requests[-1].values("host") == [HOUSE.encode()]
                assert upstream.requests[-1].values("authorization") == [b"Bearer " + real("house").encode()]
                assert (await proxy.ask(key, BODY, "/v1/six")).status == 200
                assert upstream.requests[-1].values("host") == [ANTHROPIC.encode()]
                assert upstream.requests[-1].anywhere(real("anthropic"))
                assert not upstream.requests[-1].anywhere(key)
            arrived = len(upstream.requests)
            for key in (PLACEHOLDER, OWN):
                refused = await proxy.ask(key, BODY, "/v1/two")
                assert refused.status == 500
                assert b"keyless" in refused.body
                for path in ("/v1/three", "/v1/five"):
                    refused = await proxy.ask(key, BODY, path)
                    assert refused.status == 403
                    assert b"evil.test" in refused.body
                assert (await proxy.ask(key, BODY, "/v1/four")).status in (400, 403)
            assert len(upstream.requests) == arrived
            assert stray.requests == plain_stray.requests == []


async def test_flow_files_har_files_and_filters(bare: Path, tmp_path: Path, upstream: Upstream, rules: str) -> None:
    """What `-w` has written is read by stock `mitmdump -r` with filters on bodies of streams too; a HAR file has every
    call with its times.
    """
    har = tmp_path / "calls.har"
    async with running(bare, tmp_path, "intercept.py", rules=rules, more=("--set", f"hardump={har}")) as proxy:
        with upstream.answering(answer):
            await proxy.ask(PLACEHOLDER)
            await proxy.ask(PLACEHOLDER, STREAM)
    stock = tmp_path / "stock.har"
    command = [str(bare), str(Path(proxy.command()[1]).with_name("mitmdump")), "-n", "-r", str(proxy.saved)]
    for expression, lines in (("~u chat", 2), ("~bs DONE", 1), ("~bq stream & ~m POST & ~c 200", 1), ("~c 500", 0)):
        process = await asyncio.create_subprocess_exec(
            *command, *(("--set", f"hardump={stock}") if lines == 2 else ()),
            "--set", f"confdir={tmp_path / 'conf'}", expression,
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, errors = await process.communicate()
        assert process.returncode == 0, errors
        assert out.decode().count(f"POST https://{OPENAI}{CHAT}") == lines
    for written in (har, stock):
        text = written.read_text()
        assert not [key for key in ENVIRON.values() if key in text]
        entries = json.loads(text)["log"]["entries"]
        assert [entry["response"]["status"] for entry in entries] == [200, 200]
        assert entries[1]["response"]["content"]["text"].encode() == b"".join(EVENTS)
        assert PLACEHOLDER in json.dumps(entries[0]["request"]["headers"])
        assert all(min(entry["timings"].values()) >= -1 and entry["timings"]["wait"] > 0 for entry in entries)


async def test_server_replay_answers_in_the_place_of_the_provider(
    bare: Path, tmp_path: Path, upstream: Upstream, rules: str
) -> None:
    """`-S`: what was recorded is said again, streams included; the provider is not asked."""
    async with running(bare, tmp_path / "first", "intercept.py", rules=rules) as proxy:
        with upstream.answering(answer):
            await proxy.ask(PLACEHOLDER)
            await proxy.ask(PLACEHOLDER, STREAM)
    more = ("-S", str(proxy.saved), "--set", "server_replay_extra=204")
    async with running(bare, tmp_path / "second", "intercept.py", rules=rules, more=more) as again:
        with upstream.answering(answer):
            assert bytes((await again.ask(PLACEHOLDER, STREAM)).body) == b"".join(EVENTS)
            assert (await again.ask(PLACEHOLDER, BODY, "/v1/other")).status == 204
            assert bytes((await again.ask(PLACEHOLDER)).body) == ANSWER
            assert upstream.requests == []
    assert again.rows() == []


async def test_client_replay_goes_where_the_call_went_or_nowhere(
    bare: Path, tmp_path: Path, upstream: Upstream, stray: Upstream, plain_stray: Upstream, rules: str
) -> None:
    """Flows that a script has edited before they are replayed: another host, another scheme, another port. A key that
    the client sent to one origin is never sent to another, whoever asks for it.
    """
    async with running(bare, tmp_path / "first", "intercept.py", rules=rules) as proxy:
        with upstream.answering(answer):
            await proxy.ask(OWN, BODY, "/v1/chat/completions?a")
            await proxy.ask(PLACEHOLDER, BODY, "/v1/chat/completions?b")
    edits = {
        "evil": 'flow.request.host = "evil.test"',
        "odd": "flow.request.port = 8443",
        "plain": 'flow.request.scheme, flow.request.port = "http", 80',
        "keyless": 'flow.request.host = "keyless.test"',
    }
    for name, edit in edits.items():
        more = (
            "-C",
            str(proxy.saved),
            "--set",
            "keepserving=true",
            *script(tmp_path, f"def request(flow):\n    {edit}\n"),
        )
        with upstream.answering(answer), stray.answering(answer), plain_stray.answering(answer):
            async with running(bare, tmp_path / name, "intercept.py", rules=rules, more=more) as replaying:
                rows = await replaying.ledger.rows("", 2)
            assert upstream.requests == stray.requests == plain_stray.requests == []
        assert {row["outcome"] for row in rows} == {"refused"}, name
        assert [flow.response.status_code >= 400 for flow in replaying.flows()] == [True, True]


async def test_a_provider_that_echoes_the_credential_puts_it_in_no_flow(
    bare: Path, tmp_path: Path, upstream: Upstream, rules: str
) -> None:
    """The client gets what the provider said, byte for byte, compressed or not; what is kept for others is masked."""
    secret = real("openai").encode()
    plain = b'{"choices": [], "error": null, "you sent": "' + secret + b'", "and": 1}'

    async def echo(exchange: Exchange) -> None:
        if b'"stream": true' in bytes(exchange.request.body):
            await exchange.stream("text/event-stream")
            await exchange.chunk(b'data: {"choices": [], "x": "' + secret[:9])
            await exchange.chunk(secret[9:] + b'"}\n\n')
            await exchange.chunk(b"data: [DONE]\n\n")
            await exchange.end()
        elif b"gzip" in b"".join(exchange.request.values("accept-encoding")):
            headers = [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")]
            await exchange.reply(gzip.compress(plain, mtime=0), 200, headers)
        else:
            await exchange.json(plain)

    async with running(bare, tmp_path, "intercept.py", rules=rules) as proxy:
        with upstream.answering(echo):
            first = await proxy.ask(PLACEHOLDER)
            packed = await proxy.ask(PLACEHOLDER, BODY, CHAT, ("Accept-Encoding", "gzip"))
            stream = await proxy.ask(PLACEHOLDER, STREAM)
    assert bytes(first.body) == plain
    assert gzip.decompress(bytes(packed.body)) == plain
    assert secret in bytes(stream.body)
    for flow in proxy.flows():
        assert secret not in flow.response.content
        assert b"***" in flow.response.content


async def test_what_scripts_log_is_scrubbed(bare: Path, tmp_path: Path, upstream: Upstream, rules: str) -> None:
    """Also in a traceback: whatever goes through mitmproxy's log passes by us."""
    more = script(
        tmp_path,
        """
import logging, os
logger = logging.getLogger("users.own")
def request(flow):
    logger.warning("key %s", os.environ["FAKE_OPENAI_KEY"])
def response(flow):
    try:
        raise ValueError(os.environ["FAKE_OPENAI_KEY"])
    except ValueError:
        logger.exception("caught 100%")
""",
    )
    tool = Tool(bare, tmp_path)
    await tool.start("intercept.py", rules=rules, more=more)
    await tool.wait()
    with upstream.answering(answer):
        await tool.ask(PLACEHOLDER)
    assert await tool.end() == 0
    assert "key ***" in tool.output
    assert "ValueError: ***" in tool.output
    assert tool.secrets_left() == []


async def test_an_addon_that_raises_lets_no_call_past_the_engine(
    bare: Path, tmp_path: Path, upstream: Upstream, rules: str
) -> None:
    """The addon's fault is logged; the call is the engine's as before, and recorded."""
    hooks = ("requestheaders", "request", "responseheaders", "response", "next_layer", "http_connect", "server_connect")
    text = "".join(f"def {hook}(data):\n    raise RuntimeError('broken addon')\n" for hook in hooks)
    tool = Tool(bare, tmp_path)
    await tool.start("intercept.py", rules=rules, more=script(tmp_path, text))
    await tool.wait()
    with upstream.answering(answer):
        assert (await tool.ask(PLACEHOLDER)).status == 200
        assert (await tool.ask(PLACEHOLDER, STREAM)).status == 200
        assert {tuple(each.values("authorization")) for each in upstream.requests} == {(REAL,)}
    assert await tool.end() == 0
    assert "broken addon" in tool.output
    assert [row["outcome"] for row in tool.rows()] == ["ok", "ok"]
    assert tool.secrets_left() == []


async def test_plain_http_to_other_hosts_stays_mitmproxys(
    bare: Path, tmp_path: Path, plain_stray: Upstream, rules: str
) -> None:
    """What is not claimed is not ours: block_list and modify_body hold there as they do without us; streams stream."""
    gate = asyncio.Event()

    async def serve(exchange: Exchange) -> None:
        if exchange.request.path == "/stream":
            await exchange.stream("text/event-stream")
            await exchange.chunk(b"data: 1\n\n")
            await gate.wait()
            await exchange.end()
        else:
            await exchange.json(b'{"old": 1}')

    more = (
        "--modify-body",
        "/~s & ~u x/old/new",
        "--modify-body",
        "/~q/old/new",
        "--set",
        "block_list=/~u blocked/403",
    )
    async with running(bare, tmp_path, "intercept.py", rules=rules, more=more) as proxy:
        with plain_stray.answering(serve):
            base = f"http://{plain_stray.address}"
            async with await Client.direct(("127.0.0.1", proxy.port)) as client:
                response = await client.request("POST", f"{base}/x", plain_stray.address, body=b"old")
                assert bytes(response.body) == b'{"new": 1}'
                assert bytes(plain_stray.request.body) == b"new"
                blocked = await client.request("POST", f"{base}/blocked", plain_stray.address, body=b"old")
                assert blocked.status == 403
                assert len(plain_stray.requests) == 1
                await client.send(f"GET {base}/stream HTTP/1.1\r\nHost: {plain_stray.address}\r\n\r\n".encode())
                stream = await client.head()
                assert await client.body_until(stream, b"data: 1\n\n")
                gate.set()
                await client.body(stream)
