"""The ways by which clients come: each carries AI calls to the engine, and tunnels and counts the rest."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.e2e.certificates import Authority
from tests.e2e.clients import Client, client_tls
from tests.e2e.conftest import Farm
from tests.e2e.proxy import Proxy
from tests.e2e.settings import ENVIRON, OPENAI, PLACEHOLDER, acting_rules, connect_to, rules_text
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

BODY = b'{"model": "gpt-4o", "messages": []}'
ANSWER = b'{"object": "chat.completion", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}'
REAL = b"Bearer " + ENVIRON["FAKE_OPENAI_KEY"].encode()


async def answer(exchange: Exchange) -> None:
    await exchange.json(ANSWER)


async def curl(*arguments: str) -> tuple[int, str, str]:
    """curl's exit status, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--max-time", "20", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


CHAT = ("-H", f"Authorization: Bearer {PLACEHOLDER}", "-d", BODY.decode())


class CorporateProxy:
    """An HTTP proxy as companies have them: CONNECT and absolute-form requests. `asked` are their first lines."""

    def __init__(self, upstream: Upstream, others: Upstream) -> None:
        self.asked: list[str] = []
        self.refuses = False
        self._upstream = upstream
        self._others = others
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        assert self._server is not None
        return "{}:{}".format(*self._server.sockets[0].getsockname()[:2])

    async def __aenter__(self) -> CorporateProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            line = head.partition(b"\r\n")[0].decode()
            self.asked.append(line)
            if self.refuses:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                writer.close()
                return
            where = self._upstream if OPENAI in line else self._others
            host, _, port = where.address.rpartition(":")
            there, back = await asyncio.open_connection(host, int(port))
            if line.startswith("CONNECT "):
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                method, url, version = line.split(" ")
                back.write(f"{method} /{url.split('/', 3)[3]} {version}".encode() + head[len(line) :])
            await asyncio.gather(self._pipe(reader, back), self._pipe(there, writer))

    @staticmethod
    async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


@pytest_asyncio.fixture(loop_scope="session")
async def corporate(upstream: Upstream, plain_stray: Upstream) -> AsyncIterator[CorporateProxy]:
    async with CorporateProxy(upstream, plain_stray) as proxy:
        yield proxy


def rules_behind(corporate: CorporateProxy | None, authority: Authority) -> str:
    more = {"proxy": f"http://{corporate.address}"} if corporate is not None else {}
    return rules_text(
        providers={
            "openai": {
                "format": "openai",
                "base_url": f"https://{OPENAI}/v1",
                "credential": {"env": "FAKE_OPENAI_KEY"},
            }
        },
        intercept={"placeholders": [PLACEHOLDER]},
        upstream={"ca": str(authority.pem), **more},
    )


@pytest.mark.parametrize("by", ["rules", "mode"])
async def test_everything_goes_through_the_proxy_behind_us(
    farm: Farm, authority: Authority, corporate: CorporateProxy, upstream: Upstream, plain_stray: Upstream, by: str
) -> None:
    """AI calls and tunnels by CONNECT, plain HTTP in absolute form; what is on this machine goes direct."""
    more = ("--mode", f"upstream:http://{corporate.address}") if by == "mode" else ()
    rules = rules_behind(None if by == "mode" else corporate, authority)
    proxy = await farm.launch(f"behind-{by}", rules, ENVIRON, *more)
    mark = proxy.ledger.mark()
    with upstream.answering(answer), plain_stray.answering(answer):
        status, out, errors = await curl(
            "-x", proxy.url, "--cacert", str(proxy.ca), *CHAT, f"https://{OPENAI}/v1/chat/completions"
        )
        assert (status, out.encode()) == (0, ANSWER), errors
        assert corporate.asked == [f"CONNECT {OPENAI}:443 HTTP/1.1"]
        status, out, _ = await curl("-x", proxy.url, "http://elsewhere.test/v1/models")
        assert (status, out.encode()) == (0, ANSWER)
        assert corporate.asked[1] == "GET http://elsewhere.test/v1/models HTTP/1.1"
        status, out, _ = await curl("-x", proxy.url, "-p", "http://tunnelled.test:8888/x")
        assert (status, out.encode()) == (0, ANSWER)
        assert corporate.asked[2:] == ["CONNECT tunnelled.test:8888 HTTP/1.1"]
        status, out, _ = await curl("-x", proxy.url, f"http://{plain_stray.address}/direct")
        assert (status, out.encode()) == (0, ANSWER)
        assert len(corporate.asked) == 3
    assert upstream.request.values("authorization") == [REAL]
    connections = await proxy.ledger.connections(mark, 4)
    assert [(row["kind"], row["host"]) for row in connections] == [
        ("ai", OPENAI),
        ("http", "elsewhere.test"),
        ("tunnel", "tunnelled.test"),
        ("http", "127.0.0.1"),
    ]


async def test_a_proxy_behind_us_that_refuses_is_named(
    farm: Farm, authority: Authority, corporate: CorporateProxy
) -> None:
    """The AI call is a 502 that says so."""
    corporate.refuses = True
    proxy = await farm.launch("refused", rules_behind(corporate, authority), ENVIRON)
    status, out, _ = await curl(
        "-x", proxy.url, "--cacert", str(proxy.ca), *CHAT, "-w", "%{http_code}", f"https://{OPENAI}/v1/chat/completions"
    )
    assert (status, out[-3:]) == (0, "502")
    assert "the upstream proxy refused" in out
    assert ENVIRON["FAKE_OPENAI_KEY"] not in out


@pytest_asyncio.fixture(loop_scope="session")
async def reverse(farm: Farm, authority: Authority, dial: dict[str, str]) -> Proxy:
    return await farm.get("reverse", acting_rules(authority, dial), ENVIRON, "--mode", f"reverse:https://{OPENAI}")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_reverse_proxy_stands_for_its_target(reverse: Proxy, upstream: Upstream, scheme: str) -> None:
    """By plain HTTP or by TLS to us: the call is one to the target, with its credential."""
    mark = reverse.ledger.mark()
    with upstream.answering(answer):
        status, out, errors = await curl(
            "--cacert", str(reverse.ca), *CHAT, f"{scheme}://localhost:{reverse.port}/v1/chat/completions", "-4"
        )
    assert (status, out.encode()) == (0, ANSWER), errors
    assert upstream.request.values("host") == [OPENAI.encode()]
    assert upstream.request.values("authorization") == [REAL]
    row = await reverse.ledger.row(mark)
    assert (row["host"], row["outcome"], row["input_tokens"], row["app"]) == (OPENAI, "ok", 5, "curl")


async def test_a_web_page_cannot_use_a_reverse_proxy_by_its_own_name(reverse: Proxy, upstream: Upstream) -> None:
    """DNS rebinding: evil.test may point to 127.0.0.1, and the browser then says so in Host."""
    before = len(upstream.requests)
    async with await Client.direct(reverse.address) as client:
        response = await client.request("POST", "/v1/chat/completions", "evil.test", body=BODY)
    assert response.status == 403
    assert b"does not answer as evil.test" in bytes(response.body)
    assert len(upstream.requests) == before


async def test_a_reverse_proxy_for_no_host_of_the_rules_does_not_start(tmp_path: Path) -> None:
    """It would carry calls that nobody claims."""
    proxy = Proxy(tmp_path)
    await proxy.launch(None, None, "--mode", "reverse:https://example.org")
    assert await proxy.ended() == 2
    assert "example.org:443 is no host of the rules" in proxy.errors
    assert len(proxy.errors.splitlines()) == 1


@pytest_asyncio.fixture(loop_scope="session")
async def socks(farm: Farm, authority: Authority, dial: dict[str, str], plain_upstream: Upstream) -> Proxy:
    return await farm.get("socks", acting_rules(authority, dial), ENVIRON, "--mode", "socks5")


async def test_socks_clients_come_by_name(socks: Proxy, upstream: Upstream) -> None:
    """The name that was asked for decides; the host itself is never dialled by mitmproxy."""
    mark = socks.ledger.mark()
    with upstream.answering(answer):
        status, out, errors = await curl(
            "--socks5-hostname", f"127.0.0.1:{socks.port}", "--cacert", str(socks.ca), *CHAT,
            f"https://{OPENAI}/v1/chat/completions",
        )  # fmt: skip
    assert (status, out.encode()) == (0, ANSWER), errors
    assert upstream.request.values("authorization") == [REAL]
    assert (await socks.ledger.row(mark))["host"] == OPENAI


async def test_socks_clients_that_resolve_by_themselves_are_known_by_their_handshake(
    socks: Proxy, upstream: Upstream
) -> None:
    """They ask for an address; the TLS handshake names the host, and the engine dials that name itself."""
    mark = socks.ledger.mark()
    with upstream.answering(answer):
        status, out, errors = await curl(
            "--socks5", f"127.0.0.1:{socks.port}", "--resolve", f"{OPENAI}:443:203.0.113.9", "--cacert", str(socks.ca),
            *CHAT, f"https://{OPENAI}/v1/chat/completions",
        )  # fmt: skip
    assert (status, out.encode()) == (0, ANSWER), errors
    assert (await socks.ledger.row(mark))["host"] == OPENAI


async def test_socks_tunnels_what_is_not_ours_and_counts_it(
    socks: Proxy, stray: Upstream, authority: Authority
) -> None:
    """Undecrypted, byte for byte counted."""
    mark = socks.ledger.mark()
    host, _, port = stray.address.rpartition(":")
    with stray.answering(answer):
        status, out, errors = await curl(
            "--socks5-hostname", f"127.0.0.1:{socks.port}", "--cacert", str(authority.pem), f"https://{host}:{port}/"
        )
    assert (status, out.encode()) == (0, ANSWER), errors
    (row,) = await socks.ledger.connections(mark, 1)
    assert (row["kind"], row["host"], row["port"], row["app"]) == ("tunnel", host, int(port), "curl")
    assert row["bytes_up"] > 200
    assert row["bytes_down"] > len(ANSWER) + 500
    assert socks.ledger.after(mark) == []


async def test_socks_leads_neither_to_metadata_services_nor_to_ourselves(socks: Proxy) -> None:
    """As no other way does."""
    for target in ("http://169.254.169.254/latest/", f"http://127.0.0.1:{socks.port}/"):
        status, out, _ = await curl("--socks5-hostname", f"127.0.0.1:{socks.port}", target)
        assert status != 0, out


async def test_several_addresses_are_listened_on(farm: Farm, authority: Authority, upstream: Upstream) -> None:
    """IPv6 among them; each is told, each carries calls."""
    rules = rules_text(upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream, [OPENAI])})
    proxy = await farm.launch("several", rules, None, "--listen", "[::1]:0", "--listen", "localhost:0")
    async with asyncio.timeout(5):
        while len(proxy.ports) < 3:
            await asyncio.sleep(0.02)
    with upstream.answering(answer):
        for host, port in zip(("127.0.0.1", "[::1]", "localhost"), proxy.ports, strict=True):
            status, out, errors = await curl(
                "-x", f"http://{host}:{port}", "--cacert", str(proxy.ca), *CHAT, f"https://{OPENAI}/v1/chat/completions"
            )
            assert (status, out.encode()) == (0, ANSWER), errors


async def test_a_port_that_is_taken_is_one_clear_error(audit: Proxy, tmp_path: Path) -> None:
    """Named with its address, without a traceback."""
    proxy = Proxy(tmp_path)
    await proxy.launch(None, None, "--listen", f"127.0.0.1:{audit.port}")
    assert await proxy.ended() == 1
    assert f"cannot listen on 127.0.0.1:0, 127.0.0.1:{audit.port}" in proxy.errors
    assert "Traceback" not in proxy.errors


async def test_a_client_that_refuses_our_certificate_is_seen(audit: Proxy) -> None:
    """By host and program, in the log and in the ledger."""
    mark = audit.ledger.mark()
    status, _, _ = await curl("-x", audit.url, f"https://{OPENAI}/v1/models")
    assert status == 60  # curl: the certificate cannot be verified
    (row,) = await audit.ledger.connections(mark, 1)
    assert (row["kind"], row["host"], row["outcome"], row["app"]) == ("ai", OPENAI, "tls_refused", "curl")
    assert audit.ledger.after(mark) == []


async def test_connections_tell_process_and_bytes(audit: Proxy, stray: Upstream) -> None:
    """Exactly what the client sent and got through a tunnel, whose it was, and no secret of its command line."""
    mark = audit.ledger.mark()

    async def answer_exactly(exchange: Exchange) -> None:
        await exchange.json(b"x" * 1000)

    with stray.answering(answer_exactly):
        trust = client_tls(None)
        async with await Client.tunnel(audit.address, stray.address, tls=trust, sni="evil.test") as client:
            await client.request("GET", "/", "evil.test")
    (row,) = await audit.ledger.connections(mark, 1)
    assert row["kind"] == "tunnel"
    assert row["app"]
    assert row["pid"] > 0
    assert row["user"]
    assert row["bytes_down"] > 1000
    mark = audit.ledger.mark()
    await curl(
        "-x",
        audit.url,
        "--cacert",
        str(audit.ca),
        "-H",
        "Authorization: Bearer sk-fake-0123456789",
        f"https://{OPENAI}/x",
    )
    (row,) = await audit.ledger.connections(mark, 1)
    assert row["command"].startswith("curl -sS")
    assert "sk-fake" not in row["command"]
