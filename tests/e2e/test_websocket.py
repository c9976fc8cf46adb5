"""WebSockets: checked at the upgrade, credentialed, passed on message for message, metered, recorded as one call."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from tests.e2e.certificates import Authority
from tests.e2e.clients import Client, client_tls
from tests.e2e.conftest import Farm
from tests.e2e.proxy import Proxy, Row
from tests.e2e.settings import ENVIRON, GEMINI, NARROW, OPENAI, PLACEHOLDER, VIRTUAL, acting_rules
from tests.e2e.upstream import Exchange, Upstream
from tests.e2e.webapi import logged_in

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = base64.b64encode(b"sixteen bytes 16")
MASK = b"\x00\x00\x00\x00"
# RFC 6455, 1.3
ACCEPT = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest())
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    + ACCEPT
    + b"\r\n\r\n"
)
CLOSE = b"\x88\x02\x03\xe8"
OPENAI_KEY = ENVIRON["FAKE_OPENAI_KEY"].encode()

Talk = Callable[[Exchange], Awaitable[None]]


def upgrade(
    *headers: str, host: str = OPENAI, target: str = "/v1/realtime?model=gpt-realtime", key: str | None = None
) -> bytes:
    """The client's request; `key` in the Authorization header."""
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", *([f"Authorization: Bearer {key}"] if key else []), *headers]
    lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    return ("\r\n".join([*lines, f"Sec-WebSocket-Key: {KEY.decode()}"]) + "\r\n\r\n").encode()


def frame(payload: bytes, *, opcode: int = 1, final: bool = True, mask: bool = True) -> bytes:
    """RFC 6455, 5.2; the mask of zeros leaves the payload as it is."""
    first = bytes([(0x80 if final else 0) | opcode])
    bit = 0x80 if mask else 0
    if len(payload) < 126:
        length = bytes([bit | len(payload)])
    elif len(payload) < 65536:
        length = bytes([bit | 126]) + struct.pack("!H", len(payload))
    else:
        length = bytes([bit | 127]) + struct.pack("!Q", len(payload))
    return first + length + (MASK if mask else b"") + payload


def event(**fields: object) -> bytes:
    return json.dumps(fields).encode()


class Session:
    """The client's end of a session through a proxy."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def send(self, payload: bytes, **how: int) -> None:
        await self.client.send(frame(payload, **how))  # type: ignore[arg-type]  # booleans are integers

    async def read(self) -> tuple[int, bytes]:
        """The next frame: its first byte and its payload."""
        first, second = await self.client.reader.readexactly(2)
        length = second & 0x7F
        if length >= 126:
            (length,) = struct.unpack(
                "!H" if length == 126 else "!Q", await self.client.reader.readexactly(2 if length == 126 else 8)
            )
        return first, await self.client.reader.readexactly(length)


@asynccontextmanager
async def session(proxy: Proxy, upstream: Upstream, talk: Talk, request: bytes) -> AsyncIterator[Session]:
    """An upgraded session with an upstream that answers 101 and then does `talk`."""
    host = next(line for line in request.decode().split("\r\n") if line.startswith("Host: "))[6:]

    async def answer(exchange: Exchange) -> None:
        await exchange.send(SWITCHED)
        await talk(exchange)

    with upstream.answering(answer, reads_itself=True):
        async with await Client.tunnel(proxy.address, f"{host}:443", tls=client_tls(proxy.ca)) as client:
            await client.send(request)
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 "), head
            assert ACCEPT in head
            yield Session(client)


async def goodbye(exchange: Exchange) -> None:
    """Waits for the client's Close, answers it, and hangs up."""
    while (await exchange.connection.read_frame())[:1] != b"\x88":
        pass
    await exchange.send(CLOSE)
    exchange.close()


def details(row: Row) -> dict[str, object]:
    (attempt,) = json.loads(row["attempts"])
    return dict(attempt["websocket"])


async def test_a_websocket_passes_in_audit_only(audit: Proxy, upstream: Upstream) -> None:
    """The client's own key and messages go through both ways, and the session is recorded as one call."""
    mark, heard = audit.ledger.mark(), []

    async def talk(exchange: Exchange) -> None:
        heard.append(await exchange.connection.read_frame())
        await exchange.send(b"\x81\x05hello")
        heard.append(await exchange.connection.read_frame())
        await exchange.send(CLOSE)
        exchange.close()

    async with session(audit, upstream, talk, upgrade(key="sk-own-fake-websocket")) as client:
        await client.send(b"hi")
        assert await client.read() == (0x81, b"hello")
        await client.send(b"\x03\xe8", opcode=8)
        assert await client.read() == (0x88, b"\x03\xe8")
        row = await audit.ledger.row(mark)
    assert [frame[:1] for frame in heard] == [b"\x81", b"\x88"]
    assert upstream.request.values("authorization") == [b"Bearer sk-own-fake-websocket"]
    assert (row["status"], row["outcome"], row["endpoint"], row["asked_model"]) == (
        101,
        "ok",
        "realtime",
        "gpt-realtime",
    )
    assert row["stream"] == 1
    assert details(row) == {
        "requests": 0,
        "responses": 0,
        "messages_up": 1,
        "messages_down": 1,
        "bytes_up": 16,
        "bytes_down": 11,
        "close": 1000,
    }


@pytest.mark.parametrize(
    "sent",
    [
        {"key": PLACEHOLDER},
        {"key": VIRTUAL},
        {"key": "sk-own-fake"},
        {"headers": f"Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{PLACEHOLDER}, openai-beta.rt"},
    ],
    ids=["placeholder", "virtual", "own", "subprotocol"],
)
async def test_the_credential_is_injected_and_never_shown(
    acting: Proxy, upstream: Upstream, sent: dict[str, str]
) -> None:
    """Wherever the client's key stands, a browser's subprotocol included: it is taken out, the provider's put in."""
    mark = acting.ledger.mark()
    headers = [sent["headers"]] if "headers" in sent else []
    async with session(acting, upstream, goodbye, upgrade(*headers, key=sent.get("key"))) as client:
        await client.send(b"\x03\xe8", opcode=8)
        await client.read()
        row = await acting.ledger.row(mark)
    assert upstream.request.values("authorization") == [b"Bearer " + OPENAI_KEY]
    if headers:
        assert upstream.request.values("sec-websocket-protocol") == [b"realtime, openai-beta.rt"]
    assert PLACEHOLDER.encode() not in upstream.request.head
    assert (row["outcome"], row["credential"], row["provider"]) == ("ok", "env:FAKE_OPENAI_KEY", "openai")


async def test_a_key_in_the_query_is_replaced_there(acting: Proxy, upstream: Upstream) -> None:
    """Gemini Live: no header of ours is added beside it."""
    mark = acting.ledger.mark()
    path = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
    request = upgrade(host=GEMINI, target=f"{path}?key={PLACEHOLDER}")
    async with session(acting, upstream, goodbye, request) as client:
        await client.send(b"\x03\xe8", opcode=8)
        await client.read()
        row = await acting.ledger.row(mark)
    assert PLACEHOLDER.encode() not in upstream.request.head
    sent = [upstream.request.target.partition(b"?")[2], *upstream.request.values("x-goog-api-key")]
    assert ENVIRON["FAKE_GEMINI_KEY"].encode() in b" ".join(sent)
    assert (row["path"], row["endpoint"], row["outcome"]) == (path, "realtime", "ok")


async def test_tokens_are_metered_from_the_messages_that_report_them(audit: Proxy, upstream: Upstream) -> None:
    """Several answers in one session add up; audio, other events and broken JSON cost nothing."""
    mark = audit.ledger.mark()

    def done(given: int, cached: int, made: int) -> bytes:
        usage = {
            "total_tokens": given + made,
            "input_tokens": given,
            "output_tokens": made,
            "input_token_details": {"cached_tokens": cached, "text_tokens": given, "audio_tokens": 0},
            "output_token_details": {"text_tokens": made, "audio_tokens": 0},
        }
        return event(type="response.done", response={"id": "r", "status": "completed", "usage": usage})

    async def talk(exchange: Exchange) -> None:
        await exchange.send(frame(event(type="session.created", session={"model": "gpt-realtime-x"}), mask=False))
        await exchange.connection.read_frame()
        for payload in (
            event(type="response.output_audio.delta", delta="AAAA"),
            b'{"type": "response.done", broken',
            done(100, 40, 10),
            done(7, 0, 3),
        ):
            await exchange.send(frame(payload, mask=False))
        await goodbye(exchange)

    async with session(audit, upstream, talk, upgrade(key="sk-own-fake")) as client:
        await client.send(event(type="response.create"))
        got = [await client.read() for _ in range(5)]
        await client.send(b"\x03\xe8", opcode=8)
        await client.read()
        row = await audit.ledger.row(mark)
    assert got[3][1] == done(100, 40, 10)
    assert (row["input_tokens"], row["cache_read_tokens"], row["output_tokens"]) == (107, 40, 13)
    assert (row["usage_source"], row["outcome"]) == ("provider", "ok")
    assert (details(row)["requests"], details(row)["responses"]) == (1, 2)


async def test_messages_of_every_kind_pass_as_they_are(audit: Proxy, upstream: Upstream) -> None:
    """Text, binary, in fragments, pings and pongs, a megabyte: what one side sends the other gets, frame by frame."""
    big = bytes(range(256)) * 4096

    async def talk(exchange: Exchange) -> None:
        ping = await exchange.connection.read_frame()
        assert ping[:2] == b"\x89\x84", ping
        await exchange.send(frame(b"pong", opcode=10, mask=False))
        await exchange.send(frame("Grüße".encode(), mask=False))
        await exchange.send(frame(b"\x00\xff", opcode=2, mask=False))
        await exchange.send(frame(b"one ", final=False, mask=False) + frame(b"two", opcode=0, mask=False))
        await exchange.send(frame(big, opcode=2, mask=False))
        await goodbye(exchange)

    async with session(audit, upstream, talk, upgrade(key="sk-own-fake")) as client:
        await client.send(b"ping", opcode=9)
        assert await client.read() == (0x8A, b"pong")
        assert await client.read() == (0x81, "Grüße".encode())
        assert await client.read() == (0x82, b"\x00\xff")
        assert [await client.read(), await client.read()] == [(0x01, b"one "), (0x80, b"two")]
        whole = b""
        while len(whole) < len(big):
            first, payload = await client.read()
            assert first & 0x0F in (2, 0)
            whole += payload
        assert whole == big
        await client.send(b"\x03\xe8", opcode=8)
        await client.read()


async def test_the_providers_close_code_reaches_the_client_and_the_record(audit: Proxy, upstream: Upstream) -> None:
    """A session that the provider closes with an error is one."""
    mark = audit.ledger.mark()

    async def talk(exchange: Exchange) -> None:
        await exchange.send(frame(struct.pack("!H", 1011) + b"server error", opcode=8, mask=False))
        await exchange.connection.read_frame()
        exchange.close()

    async with session(audit, upstream, talk, upgrade(key="sk-own-fake")) as client:
        assert await client.read() == (0x88, struct.pack("!H", 1011) + b"server error")
        await client.send(struct.pack("!H", 1011), opcode=8)
        row = await audit.ledger.row(mark)
    assert (row["outcome"], details(row)["close"]) == ("error", 1011)


async def test_a_provider_that_vanishes_is_no_normal_close(audit: Proxy, upstream: Upstream) -> None:
    """The client sees its connection break, not a Close; the record says truncated."""
    mark = audit.ledger.mark()

    async def talk(exchange: Exchange) -> None:
        await exchange.send(frame(b"half of", mask=False))
        exchange.close()

    async with session(audit, upstream, talk, upgrade(key="sk-own-fake")) as client:
        assert await client.read() == (0x81, b"half of")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.read()
        row = await audit.ledger.row(mark)
    assert row["outcome"] == "truncated"


async def test_a_client_that_vanishes_takes_the_upstream_with_it(audit: Proxy, upstream: Upstream) -> None:
    """Within a moment, without a Close that nobody sent; the record says aborted."""
    mark, after = audit.ledger.mark(), []
    gone = asyncio.Event()

    async def talk(exchange: Exchange) -> None:
        try:
            await exchange.connection.read_frame()
            after.append(await exchange.connection.read_frame())
        except (EOFError, ConnectionError):
            pass  # what is wanted
        finally:
            gone.set()

    async with session(audit, upstream, talk, upgrade(key="sk-own-fake")) as client:
        await client.send(b"hello")
        await asyncio.sleep(0.05)
        client.client.abort()
        async with asyncio.timeout(1):
            await gone.wait()
        row = await audit.ledger.row(mark)
    assert after == []
    assert row["outcome"] == "aborted"


async def test_an_upgrade_that_is_refused_is_an_ordinary_reply(acting: Proxy, upstream: Upstream) -> None:
    """The provider's 401 reaches the client as it is; the connection can be used on."""
    mark = acting.ledger.mark()

    async def refuse(exchange: Exchange) -> None:
        await exchange.send(
            b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
        )

    with upstream.answering(refuse, reads_itself=True):
        async with await Client.tunnel(acting.address, f"{OPENAI}:443", tls=client_tls(acting.ca)) as client:
            await client.send(upgrade(key=PLACEHOLDER))
            response = await client.response()
    assert (response.status, bytes(response.body)) == (401, b"{}")
    row = await acting.ledger.row(mark)
    assert (row["status"], row["outcome"]) == (401, "error")


async def test_an_offer_of_another_protocol_takes_nothing_from_a_request(audit: Proxy, upstream: Upstream) -> None:
    """An Upgrade that is no WebSocket's is one that a server may ignore: the call is sent with its body."""

    async def answer(exchange: Exchange) -> None:
        await exchange.json(b"{}")

    offer = (("Connection", "Upgrade"), ("Upgrade", "shouting/2"), ("Content-Type", "application/json"))
    with upstream.answering(answer):
        async with await Client.tunnel(audit.address, f"{OPENAI}:443", tls=client_tls(audit.ca)) as client:
            for _ in range(2):
                response = await client.request("POST", "/v1/chat/completions", OPENAI, *offer, body=b'{"model":"m"}')
                assert response.status == 200
    assert [bytes(each.body) for each in upstream.requests] == [b'{"model":"m"}'] * 2


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (upgrade(key="vk-unknown-fake"), 401, b"invalid_api_key"),
        (upgrade(key=NARROW), 403, b"model_not_permitted"),
        (
            upgrade(f"Sec-WebSocket-Protocol: openai-insecure-api-key.{VIRTUAL}", key=PLACEHOLDER),
            401,
            b"invalid_api_key",
        ),
        (upgrade(key=NARROW, target="/v1/responses"), 403, b"model_not_permitted"),
        (upgrade(key=PLACEHOLDER, target="/v1/%72ealtime?model=gpt-realtime"), 403, b""),
    ],
    ids=["unknown key", "model not permitted", "two keys", "model in the messages", "suspicious path"],
)
async def test_an_upgrade_is_checked_as_any_call(
    acting: Proxy, upstream: Upstream, request_bytes: bytes, status: int, code: bytes
) -> None:
    """Refused in the client's format before anything is sent."""
    mark, before = acting.ledger.mark(), len(upstream.requests)
    async with await Client.tunnel(acting.address, f"{OPENAI}:443", tls=client_tls(acting.ca)) as client:
        await client.send(request_bytes)
        response = await client.response()
    assert response.status == status
    assert code in bytes(response.body)
    assert len(upstream.requests) == before
    assert (await acting.ledger.row(mark))["outcome"] == "refused"


async def test_a_route_replaces_the_model_in_the_url(acting: Proxy, upstream: Upstream) -> None:
    """Realtime names its model there: the provider of the route gets it with its own key."""
    mark = acting.ledger.mark()
    request = upgrade(key=PLACEHOLDER, target="/v1/realtime?model=house-voice")
    async with session(acting, upstream, goodbye, request) as client:
        await client.send(b"\x03\xe8", opcode=8)
        await client.read()
        row = await acting.ledger.row(mark)
    assert upstream.request.values("host") == [b"house.test"]
    assert upstream.request.values("authorization") == [b"Bearer " + ENVIRON["FAKE_HOUSE_KEY"].encode()]
    assert (row["route"], row["provider"], row["outcome"]) == ("to-house", "house", "ok")


@pytest_asyncio.fixture(loop_scope="session")
async def shown(farm: Farm, authority: Authority, dial: dict[str, str]) -> Proxy:
    """A proxy with mitmweb, which looks into every message."""
    return await farm.get("sessions", acting_rules(authority, dial), ENVIRON, "--web", "127.0.0.1:0")


async def test_a_session_is_seen_in_mitmweb(shown: Proxy, upstream: Upstream) -> None:
    """Both ways, with the placeholder and not the key; messages pass as they are, large ones too, and the page keeps
    the latest.
    """
    large = b"x" * (3 << 20)

    async def talk(exchange: Exchange) -> None:
        await exchange.connection.read_frame()
        for payload in (b"hello back", large, large, b"the last"):
            await exchange.send(frame(payload, mask=False))
        await goodbye(exchange)

    mark = shown.ledger.mark()
    async with session(shown, upstream, talk, upgrade(key=PLACEHOLDER)) as client, logged_in(shown.web_url) as api:
        await client.send(b"hello")
        assert [(await client.read())[1] for _ in range(4)] == [b"hello back", large, large, b"the last"]
        (flow,) = await api.flows()
        assert flow["websocket"]["messages_meta"]["count"] == 2
        assert flow["comment"] == "gpt-realtime · … · the latest messages only"
        said = json.loads(await api.get(f"/flows/{flow['id']}/messages/content/auto.json"))
        assert [len(each["text"]) for each in said] == [len(large), len("the last")]
        assert upstream.request.values("authorization") == [b"Bearer " + OPENAI_KEY]
        assert PLACEHOLDER in json.dumps(flow["request"]["headers"])
        assert await api.secrets_told() == []
        await client.send(b"\x03\xe8", opcode=8)
        await client.read()
        assert (await shown.ledger.row(mark))["outcome"] == "ok"
        await api.flow(comment="gpt-realtime · the latest messages only")
        await api.post("/clear")


async def test_a_session_says_what_it_used_in_mitmweb(shown: Proxy, upstream: Upstream) -> None:
    """Its answers' tokens together, once it is over; nothing of its messages is kept a second time."""
    usage = {"total_tokens": 1500, "input_tokens": 900, "output_tokens": 600}
    response = {"id": "r", "object": "realtime.response", "status": "completed", "usage": usage}

    async def talk(exchange: Exchange) -> None:
        await exchange.connection.read_frame()
        for turn in range(2):
            event = {"type": "response.done", "event_id": f"e{turn}", "response": response}
            await exchange.send(frame(json.dumps(event).encode(), mask=False))
        await goodbye(exchange)

    async with session(shown, upstream, talk, upgrade(key=PLACEHOLDER)) as client, logged_in(shown.web_url) as api:
        await client.send(b"hello")
        for _ in range(2):
            await client.read()
        await client.send(b"\x03\xe8", opcode=8)
        await client.read()
        flow = await api.flow(comment="gpt-realtime · 1.8k in · 1.2k out · $0.026")
        # It has no bodies: the page shows the view by its messages, once.
        views = json.loads(await api.get(f"/flows/{flow['id']}/messages/content/Usage%20%26%20cost.json"))
        assert ["1,800" in each["text"] for each in views] == [False, False, True]
        await api.post("/clear")


async def test_a_session_is_killed_from_mitmweb(shown: Proxy, upstream: Upstream) -> None:
    """Both ends are cut off at once."""

    async def talk(exchange: Exchange) -> None:
        await exchange.send(frame(b"hello", mask=False))
        await exchange.gone.wait()

    mark = shown.ledger.mark()
    async with session(shown, upstream, talk, upgrade(key=PLACEHOLDER)) as client, logged_in(shown.web_url) as api:
        await client.read()
        await api.post("/flows/kill")
        async with asyncio.timeout(5):
            await upstream.connections[-1].gone.wait()
        assert await client.client.at_end()
        assert (await shown.ledger.row(mark))["outcome"] == "aborted"
        await api.post("/clear")
