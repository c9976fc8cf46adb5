"""Clients that attack or are merely odd: strange framings, disguised keys, forbidden destinations, stalled uploads.

None of them gets at a credential, at the proxy's memory or descriptors, or in the way of another call. The numbered
attacks on the binding are in test_binding.py and test_surface.py.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.attacks import Watch, attack, direct
from tests.e2e.certificates import Authority
from tests.e2e.clients import Client, client_tls, request_bytes
from tests.e2e.conftest import Farm
from tests.e2e.h2client import H2Client
from tests.e2e.proxy import Proxy
from tests.e2e.settings import (
    ANTHROPIC,
    AZURE,
    ENVIRON,
    GEMINI,
    KEYLESS,
    OPENAI,
    PLACEHOLDER,
    VIRTUAL,
    audit_rules,
    connect_to,
    real,
    rules_text,
)
from tests.e2e.test_large_bodies import assert_memory, forget_peak
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT = "/v1/chat/completions"
MODELS = "/v1/models"
JSON = ("Content-Type", "application/json")
BEARER = ("Authorization", f"Bearer {PLACEHOLDER}")
MIB = 1 << 20
# What is to happen at once may take this long on a busy machine, in seconds; it is far below any timeout of the proxy.
SOON = 10.0


async def tunnel(proxy: Proxy, host: str = OPENAI, *alpn: str) -> Client:
    return await Client.tunnel(proxy.address, f"{host}:443", tls=client_tls(proxy.ca, *alpn))


def get_models() -> list[tuple[str, str]]:
    return [(":method", "GET"), (":scheme", "https"), (":authority", OPENAI), (":path", MODELS)]


# Framing


@pytest.mark.parametrize("trailers", [b"X-T: 1\r\n", b"X-T: 1\r\nX-Checksum: abc\r\n", b""], ids=["one", "two", "none"])
async def test_a_chunked_request_with_trailers(audit: Proxy, watch: Watch, upstream: Upstream, trailers: bytes) -> None:
    """Trailers of a chunked request are dropped: the call is answered, and the connection goes on."""
    head = f"POST {CHAT} HTTP/1.1\r\nHost: {OPENAI}\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n".encode()
    async with await tunnel(audit) as client, asyncio.timeout(SOON):
        await client.send(head + b"2\r\n{}\r\n0\r\n" + trailers + b"\r\n")
        assert (await client.response()).status == 200
        assert (await client.request("GET", MODELS, OPENAI)).status == 200
    first, second = upstream.requests
    assert (bytes(first.body), second.path) == (b"{}", MODELS)
    assert not first.anywhere("X-Checksum")


class SplitTls:
    """A TLS client over a tunnel, whose handshake's first flight is sent in two pieces."""

    def __init__(self, client: Client, context: ssl.SSLContext) -> None:
        self._client = client
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=OPENAI)

    def hello(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._out.read()

    async def write(self, data: bytes) -> None:
        self._client.writer.write(data)
        await self._client.writer.drain()

    async def finish[T](self, step: Callable[[], T]) -> T:
        """Repeats `step` until TLS has read as much as it needs, and sends what it has to say."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self.write(self._out.read())
                data = await self._client.reader.read(1 << 16)
                assert data, "the proxy has closed the connection"
                self._in.write(data)
            else:
                await self.write(self._out.read())
                return result

    async def ask(self, request: bytes) -> bytes:
        """Ends the handshake, sends the request; the first bytes of the reply."""
        await self.finish(self._tls.do_handshake)
        await self.finish(lambda: self._tls.write(request))
        return await self.finish(lambda: self._tls.read(12))


@pytest.mark.parametrize("first", [1, 2, 3, 4, 5, 6, 100])
async def test_a_client_hello_in_two_pieces(audit: Proxy, watch: Watch, first: int) -> None:
    """A handshake whose first bytes come alone is a handshake all the same."""
    async with (
        await Client.tunnel(audit.address, f"{OPENAI}:443", tls=None) as client,
        await tunnel(audit) as other,
        asyncio.timeout(SOON),
    ):
        tls = SplitTls(client, client_tls(audit.ca))
        hello = tls.hello()
        await tls.write(hello[:first])
        # While another connection is answered, the proxy has read those bytes.
        assert (await other.request("GET", MODELS, OPENAI)).status == 200
        await tls.write(hello[first:])
        assert await tls.ask(request_bytes("GET", MODELS, OPENAI)) == b"HTTP/1.1 200"


async def test_tls_to_the_proxy_itself(audit: Proxy, watch: Watch, upstream: Upstream) -> None:
    """As an https:// proxy it agrees on HTTP/1.1, whatever else is offered, and CONNECT works, TLS in TLS."""
    outer = client_tls(audit.ca, "h2", "http/1.1")
    async with await Client.direct(audit.address, tls=outer, sni="localhost") as client, asyncio.timeout(SOON):
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        await client.send(request_bytes("CONNECT", f"{OPENAI}:443", f"{OPENAI}:443"))
        assert (await client.head("HEAD")).status == 200
        await client.writer.start_tls(client_tls(audit.ca), server_hostname=OPENAI)
        assert (await client.request("POST", CHAT, OPENAI, JSON, body=b"{}")).status == 200
    assert (upstream.request.path, bytes(upstream.request.body)) == (CHAT, b"{}")


BAD_VALUES = {"Latin-1": b"caf\xe9", "no UTF-8": b"\xff\xfe", "NUL": b"a\0b", "NUL at the end": b"a\0"}


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES.keys())
async def test_a_header_that_cannot_be_sent(acting: Proxy, watch: Watch, value: bytes) -> None:
    """A header value that is no UTF-8, or holds a NUL, is a 400, and nothing is sent."""
    head = request_bytes("POST", CHAT, OPENAI, BEARER, JSON, ("Content-Length", "2"))[:-2]
    assert await attack(acting, f"{OPENAI}:443", head + b"X-Name: " + value + b"\r\n\r\n{}") == 400
    assert watch.requests == 0


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES.keys())
async def test_a_header_that_cannot_be_sent_over_http2(acting: Proxy, watch: Watch, value: bytes) -> None:
    """The same over HTTP/2, where a stream that is reset is as good a refusal; the connection's others go on."""
    text = value.decode("utf-8", "surrogateescape")
    async with await H2Client.over(await tunnel(acting, OPENAI, "h2")) as client:
        try:
            stream = client.start([*get_models(), ("authorization", BEARER[1]), ("x-name", text)])
            assert (await client.response(stream)).status == 400
        except ConnectionError:
            pass
    assert watch.requests == 0


async def test_a_model_named_by_a_lone_surrogate(acting: Proxy, watch: Watch, upstream: Upstream) -> None:
    """A model whose name is no valid Unicode goes through to the byte, and the call has its record."""
    bodies = [b'{"model":"\\ud800","messages":[]}', b'{"model":"gpt-\\udfff\\ud800x"}', b'{"model":"\\u0000"}']
    mark = acting.ledger.mark()
    async with await tunnel(acting) as client:
        for body in bodies:
            assert (await client.request("POST", CHAT, OPENAI, BEARER, JSON, body=body)).status == 200
    assert [bytes(request.body) for request in upstream.requests] == bodies
    rows = await acting.ledger.rows(mark, len(bodies))
    assert [(row["status"], row["endpoint"], row["provider"]) for row in rows] == [(200, "chat", "openai")] * 3


# Keys


@pytest.mark.parametrize(
    ("host", "path", "header", "prefix", "provider"),
    [
        (OPENAI, CHAT, "authorization", "Bearer ", "openai"),
        (ANTHROPIC, "/v1/messages", "x-api-key", "", "anthropic"),
        (GEMINI, "/v1beta/models/gemini-2.5-flash:generateContent", "x-goog-api-key", "", "gemini"),
        (AZURE, "/openai/v1/chat/completions", "api-key", "", "azure"),
    ],
)
@pytest.mark.parametrize("names", ["{0}", "close, {0}", "{0}, host, content-length, content-type"])
async def test_a_client_cannot_name_the_credential_away(
    acting: Proxy,
    watch: Watch,
    upstream: Upstream,
    host: str,
    path: str,
    header: str,
    prefix: str,
    provider: str,
    names: str,
) -> None:
    """`Connection: x-api-key` takes the client's header away, as RFC 9110 has it, and never the injected one."""
    body = b'{"model":"m"}'
    async with await tunnel(acting, host) as client:
        connection = ("Connection", names.format(header))
        response = await client.request("POST", path, host, (header, prefix + PLACEHOLDER), connection, body=body)
    assert response.status == 200
    request = upstream.request
    assert request.values(header) == [f"{prefix}{real(provider)}".encode()]
    assert (request.values("host"), bytes(request.body)) == ([host.encode()], body)
    assert not request.anywhere(PLACEHOLDER)


DISGUISES = {
    "twice Bearer": f"Bearer Bearer {VIRTUAL}",
    "quoted": f'Bearer "{VIRTUAL}"',
    "quoted, bare": f'"{VIRTUAL}"',
    "tab": f"Bearer\t{VIRTUAL}",
    "comma": f"Bearer,{VIRTUAL}",
    "two": f"Bearer sk-x, Bearer {VIRTUAL}",
    "upper case": f"Bearer {VIRTUAL.upper()}",
}


@pytest.mark.parametrize("value", DISGUISES.values(), ids=DISGUISES.keys())
@pytest.mark.parametrize("host", [OPENAI, KEYLESS])
async def test_a_virtual_key_in_disguise(acting: Proxy, watch: Watch, host: str, value: str) -> None:
    """A virtual key in a form that no client sends is a 401: it does not leave as somebody's own key."""
    async with await tunnel(acting, host) as client:
        response = await client.request("POST", CHAT, host, ("Authorization", value), JSON, body=b'{"model":"m"}')
    assert response.status == 401
    assert VIRTUAL.encode() not in response.body
    assert watch.requests == 0


# Where nobody may go


def descriptors(proxy: Proxy) -> int | None:
    """How many files and sockets the proxy has open; None where the system does not tell."""
    folder = Path(f"/proc/{proxy.pid}/fd")
    return len(os.listdir(folder)) if folder.exists() else None


# The unspecified address is dialled as loopback: https://man7.org/linux/man-pages/man7/ip.7.html (INADDR_ANY)
SELVES = (
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "017700000001",
    "0177.0.0.1",
    "localhost",
    "[::ffff:127.0.0.1]",
    "0.0.0.0",
    "0",
    "[::ffff:0.0.0.0]",
)


@pytest.mark.parametrize("way", ["absolute-form", "CONNECT"])
@pytest.mark.parametrize("name", SELVES)
async def test_a_call_to_the_proxy_itself(
    farm: Farm, authority: Authority, upstream: Upstream, name: str, way: str
) -> None:
    """However it is spelt, a request for the proxy's own address ends at once in an error, and in no loop."""
    # A proxy of its own: one that calls itself is of no use to other tests.
    proxy = await farm.get("itself", audit_rules(authority, upstream))
    before, target = descriptors(proxy), f"{name}:{proxy.port}"
    method, url = ("CONNECT", target) if way == "CONNECT" else ("GET", f"http://{target}/")
    async with await Client.direct(proxy.address) as client:
        try:
            async with asyncio.timeout(SOON):
                await client.send(request_bytes(method, url, target))
                status = (await client.head()).status
        except TimeoutError:
            status = None
        after = descriptors(proxy)
    assert status in (400, 403, 502), f"descriptors: {before}, then {after}"
    if before is not None and after is not None:
        assert after <= before + 8


METADATA = (
    "169.254.169.254",
    "169.254.169.254.",
    "2852039166",
    "0xa9fea9fe",
    "025177524776",
    "0251.0376.0251.0376",
    "0xa9.0xfe.0xa9.0xfe",
    "169.254.43518",
    "[::ffff:a9fe:a9fe]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[::169.254.169.254]",
    "[fd00:ec2::254]",
)


@pytest.mark.parametrize("name", METADATA)
async def test_metadata_addresses_in_every_spelling(acting: Proxy, watch: Watch, name: str) -> None:
    """An address at which clouds hand out credentials is refused by that name, in CONNECT and in absolute-form."""
    for port in (80, 443):
        connect = request_bytes("CONNECT", f"{name}:{port}", f"{name}:{port}")
        plain = request_bytes("GET", f"http://{name}:{port}/latest/meta-data/", f"{name}:{port}")
        for raw in (connect, plain):
            async with asyncio.timeout(SOON):
                response = await direct(acting, raw)
            assert response is not None
            assert response.status in (403, 502)
            assert b"metadata address" in response.body
    assert watch.requests == 0


# Uploads beside other calls


class Stalling:
    """An upstream that reads no upload to /stalled until told to, and any other at once.

    `received` holds how much of each path's body has been read, `began` is set when a stalled upload has arrived.
    """

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.read = asyncio.Event()
        self.received: dict[str, int] = {}

    async def __call__(self, exchange: Exchange) -> None:
        path = exchange.request.path
        if path.endswith("/stalled"):
            self.began.set()
            await self.read.wait()
        await exchange.connection.read_body(exchange.request)
        self.received[path] = len(exchange.request.body)
        await exchange.json(b"{}")


STALLED = "/v1/files/stalled"
READ = "/v1/files/read"
UPLOAD = 48 * MIB
# Where a stalled upload must have come to stand: what the proxy holds and lets come ahead, and what sockets take.
AHEAD = 24 * MIB
# What two uploads cost at most, however large: 8 MiB held and 4 MiB ahead of each, in a few copies at the peak.
TWO_HELD = 112 * MIB


async def test_a_stalled_upload_does_not_hold_its_siblings(audit: Proxy, upstream: Upstream) -> None:
    """While one HTTP/2 upload waits for its upstream, other calls on the connection are answered; then it goes on."""
    stalling = Stalling()
    with upstream.answering(stalling, reads_itself=True):
        async with await H2Client.over(await tunnel(audit, OPENAI, "h2")) as client:
            stalled = client.upload(STALLED, OPENAI)
            sending = asyncio.create_task(client.send(stalled, bytes(UPLOAD), end=True))
            await stalling.began.wait()
            last = -1
            while stalled.sent != last:
                # Standing still for a second is what "held" looks like from the client's side; others are well.
                last = stalled.sent
                async with asyncio.timeout(SOON):
                    assert (await client.response(client.start(get_models()))).status == 200
                    assert (await client.response(await client.post(CHAT, OPENAI, body=bytes(MIB)))).status == 200
                await asyncio.sleep(1)
            assert stalled.sent < AHEAD
            assert not sending.done()
            stalling.read.set()
            await sending
            assert (await client.response(stalled)).status == 200
    assert stalling.received[STALLED] == UPLOAD


async def test_two_uploads_of_one_connection_are_held_each_by_its_own_upstream(
    audit: Proxy, upstream: Upstream
) -> None:
    """Of two HTTP/2 uploads one is read and goes through; the other stands, and is not gathered in memory."""
    before, stalling = forget_peak(audit), Stalling()
    with upstream.answering(stalling, reads_itself=True):
        async with await H2Client.over(await tunnel(audit, OPENAI, "h2")) as client:
            size = ("content-length", str(2 * UPLOAD))
            stalled, flowing = client.upload(STALLED, OPENAI, size), client.upload(READ, OPENAI, size)
            held = asyncio.create_task(client.send(stalled, bytes(2 * UPLOAD), end=True))
            await client.send(flowing, bytes(2 * UPLOAD), end=True)
            assert (await client.response(flowing)).status == 200
            assert not held.done()
            assert 0 < stalled.sent < AHEAD
            assert_memory(audit, before, TWO_HELD)
            stalling.read.set()
            await held
            assert (await client.response(stalled)).status == 200
    assert stalling.received == {READ: 2 * UPLOAD, STALLED: 2 * UPLOAD}
    assert_memory(audit, before, TWO_HELD)


# A form whose model the rules replace


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
@pytest.mark.parametrize("quoted", [True, False], ids=["quoted boundary", "bare boundary"])
async def test_a_transcription_form_carries_the_model_of_its_route(
    farm: Farm, authority: Authority, upstream: Upstream, alpn: str, quoted: bool
) -> None:
    """`to: {model}` replaces the model in a multipart form, and not one byte of it besides."""
    rules = rules_text(
        providers={
            "openai": {
                "format": "openai",
                "base_url": f"https://{OPENAI}/v1",
                "credential": {"env": "FAKE_OPENAI_KEY"},
            }
        },
        intercept={"placeholders": [PLACEHOLDER]},
        routes=[
            {
                "name": "newer",
                "match": {"model": "whisper-1"},
                "to": {"provider": "openai", "model": "gpt-4o-transcribe"},
            }
        ],
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream)},
    )
    proxy = await farm.get("transcribing", rules, ENVIRON)
    # The file holds what only looks like the form's own lines.
    audio = b'RIFF\x00\xff\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--X' + bytes(range(256))
    form = (
        b'--XfakeX\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
        + audio
        + b'\r\n--XfakeX\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n'
        + b'--XfakeX\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nwhisper-1\r\n--XfakeX--\r\n'
    )
    sent, wanted = form.replace(b"%s", b"whisper-1"), form.replace(b"%s", b"gpt-4o-transcribe")
    kind = f"multipart/form-data; boundary={'"XfakeX"' if quoted else 'XfakeX'}"
    mark, path = proxy.ledger.mark(), "/v1/audio/transcriptions"

    async def transcribe(exchange: Exchange) -> None:
        await exchange.json(b'{"text":"Good morning"}')

    with upstream.answering(transcribe):
        connection = await tunnel(proxy, OPENAI, alpn)
        if alpn == "h2":
            async with await H2Client.over(connection) as client:
                key = ("authorization", BEARER[1])
                stream = await client.post(path, OPENAI, key, ("content-type", kind), body=sent)
                status = (await client.response(stream)).status
        else:
            async with connection as plain:
                status = (await plain.request("POST", path, OPENAI, BEARER, ("Content-Type", kind), body=sent)).status
        request = upstream.request
    assert status == 200
    assert bytes(request.body) == wanted
    assert (request.values("content-type"), request.values("content-length")) == (
        [kind.encode()],
        [str(len(wanted)).encode()],
    )
    row = await proxy.ledger.row(mark)
    assert (row["asked_model"], row["sent_model"], row["route"]) == ("whisper-1", "gpt-4o-transcribe", "newer")
