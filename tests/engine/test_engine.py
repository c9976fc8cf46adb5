"""The engine: one settle and one record per call, whatever happens to it."""

import asyncio
import gzip
import itertools
import threading
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Self

import orjson
import pytest

from interpose.call import Call, Headers, Login, Origin, Peer, Reply, Url, header
from interpose.engine.engine import Engine
from interpose.engine.journey import Clock
from interpose.ledger.record import Record
from interpose.prices import Catalogue, Overrides, Price
from interpose.prices.catalogue import PRICES, GenaiPrices
from interpose.rules.compiled import Limit, Model, Provider, Rules
from interpose.rules.matching import Match
from interpose.rules.secrets import CredentialSource, SecretError
from interpose.rules.values import Budget, Rate
from interpose.secret import Secret
from interpose.upstream.client import Outgoing, UpstreamFailure

OPENAI = Origin("https", "api.openai.com", 443)
JSON = ((b"content-type", b"application/json"),)
SSE = ((b"content-type", b"text/event-stream"),)
COMPLETION = orjson.dumps(
    {
        "object": "chat.completion",
        "model": "gpt-4o",
        "choices": [],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7},
    }
)
SECRET = "sk-real-canary-0123456789"  # a fake


class ScriptedReply:
    session = None  # no WebSocket

    """An upstream reply whose chunks and end are given; an exception among them is raised in its place."""

    def __init__(self, chunks: list[bytes | Exception], headers: Headers = JSON, status: int = 200) -> None:
        self.status, self.reason, self.headers = status, "OK", headers
        self.closed = False
        self.lingers = False
        self._chunks = iter(chunks)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise StopAsyncIteration
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def cut(self) -> None:
        self.closed = True

    def linger(self) -> None:
        self.lingers = True


class ScriptedUpstream:
    """Stands where the connection pool would: answers with what it was given, and remembers what was sent."""

    def __init__(self, answer: Callable[[], ScriptedReply]) -> None:
        self.sent: list[Outgoing] = []
        self._answer = answer

    async def send(self, request: Outgoing) -> ScriptedReply:
        self.sent.append(request)
        return self._answer()

    async def close(self) -> None:
        pass


class Bench:
    """An engine with its surroundings in view."""

    def __init__(
        self,
        answer: Callable[[], ScriptedReply],
        rules: Rules | None = None,
        upstream: type[ScriptedUpstream] | None = None,
        prices: Catalogue | None = None,
    ) -> None:
        self.records: list[Record] = []
        self.upstream = (upstream or ScriptedUpstream)(answer)
        ticks = itertools.count()
        ids = itertools.count(1)
        self.engine = Engine(
            rules or Rules.default(),
            upstream=self.upstream,  # type: ignore[arg-type]
            resolve=self.resolve,
            record=self.records.append,
            clock=Clock(now=lambda: 1_800_000_000.0, monotonic=lambda: next(ticks) / 1000),
            new_id=lambda: f"ip_{next(ids)}",
            prices=prices,
        )

    async def resolve(self, source: CredentialSource) -> Secret:
        return Secret(SECRET, source.name)

    def call(self) -> Call:
        return Call(
            "POST",
            Url(OPENAI, "/v1/chat/completions"),
            ((b"Host", b"api.openai.com"), (b"Authorization", b"Bearer sk-own-fake")),
            b'{"model": "gpt-4o", "messages": []}',
            Peer("127.0.0.1"),
        )

    async def handle(self, **others: object) -> Reply:
        call = self.call()
        for name, value in others.items():
            setattr(call, name, value)
        return await self.engine.handle(call)

    @property
    def record(self) -> Record:
        (record,) = self.records
        return record


def with_provider() -> Rules:
    provider = Provider("openai", "openai", None, OPENAI, "/v1", CredentialSource("env", ("OPENAI_API_KEY",)))
    return Rules("test", providers=MappingProxyType({"openai": provider}))


async def body(reply: Reply) -> bytes:
    return b"".join([chunk async for chunk in reply.body])


async def test_a_call_is_answered_and_recorded() -> None:
    """The reply's bytes pass through; the record holds the provider's own count."""
    bench = Bench(lambda: ScriptedReply([COMPLETION]))
    reply = await bench.handle()
    assert await body(reply) == COMPLETION
    assert reply.headers == JSON
    record = bench.record
    assert (record.outcome, record.status, record.input_tokens, record.output_tokens) == ("ok", 200, 5, 7)
    assert (record.usage_source, record.asked_model, record.host) == ("provider", "gpt-4o", "api.openai.com")
    await reply.body.aclose()
    assert len(bench.records) == 1


async def test_replies_on_which_the_rules_had_a_hand_say_so() -> None:
    """x-interpose-… headers come with a provider, and only then."""
    bench = Bench(
        lambda: ScriptedReply([COMPLETION], (*JSON, (b"x-echo", f"Bearer {SECRET}".encode()))), with_provider()
    )
    reply = await bench.handle()
    assert header(reply.headers, b"x-interpose-provider") == b"openai"
    assert header(reply.headers, b"x-interpose-id") == b"ip_1"
    assert header(reply.headers, b"x-echo") == b"Bearer ***"
    await body(reply)
    assert bench.record.credential == "env:OPENAI_API_KEY"
    assert SECRET not in repr(bench.record)


@pytest.mark.parametrize("key", ["sk-FAKE-of-the-client", "vk-FAKE-0123456789abcdef"])
@pytest.mark.parametrize("way", ["Authorization", "query", "login", "twice"])
async def test_a_key_in_the_place_of_a_name_is_not_recorded(key: str, way: str) -> None:
    """As a model, in a path or as a program's name; whether the call goes on or not, and whatever the provider says."""
    said = orjson.dumps({"object": "chat.completion", "model": f"at {key}", "choices": []})
    bench = Bench(lambda: ScriptedReply([said]), with_provider())
    headers = {
        "Authorization": ((b"Host", b"api.openai.com"), (b"Authorization", f"Bearer {key}".encode())),
        "twice": ((b"Host", b"evil.test"), (b"X-Api-Key", key.encode())),
    }.get(way, ((b"Host", b"api.openai.com"),))
    query = f"?key={key}" if way == "query" else ""
    login = Login("ci", key) if way == "login" else None
    reply = await bench.handle(
        headers=headers,
        url=Url(OPENAI, f"/v1/chat/completions{query}"),
        body=orjson.dumps({"model": f"x-{key}", "messages": []}),
        peer=Peer("127.0.0.1", app=f"app {key}", login=login),
    )
    await body(reply)
    reply = await bench.handle(
        headers=headers,
        url=Url(OPENAI, f"/v1/files/{key}{query}"),
        method="GET",
        body=b"",
        peer=Peer("127.0.0.1", login=login),
    )
    await body(reply)
    assert len(bench.records) == 2
    assert key not in repr(bench.records)
    assert bench.records[1].path == "/v1/files/***"
    assert bench.records[0].app == "app ***"


async def test_a_refusal_is_a_reply_in_the_clients_format_and_a_record() -> None:
    """Nothing is sent for a call that is refused."""
    bench = Bench(lambda: ScriptedReply([]))
    reply = await bench.handle(headers=((b"Host", b"evil.test"),))
    assert reply.status == 403
    assert "error" in orjson.loads(await body(reply))
    assert bench.upstream.sent == []
    assert (bench.record.outcome, bench.record.status) == ("refused", 403)


async def test_a_refused_head_has_the_length_of_the_error_and_no_body() -> None:
    """Its bytes would be taken for the next reply of the connection."""
    bench = Bench(lambda: ScriptedReply([]))
    reply = await bench.handle(method="HEAD", headers=((b"Host", b"evil.test"),), body=b"")
    assert (reply.status, await body(reply)) == (403, b"")
    assert int(header(reply.headers, b"content-length") or b"0") > 0
    assert bench.record.outcome == "refused"


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (UpstreamFailure("connect", "cannot connect", reached=False), 502),
        (UpstreamFailure("certificate", "bad certificate", reached=False), 502),
        (UpstreamFailure("timeout", "too slow", reached=True), 504),
    ],
)
async def test_an_upstream_that_cannot_be_reached_is_an_error_reply(failure: UpstreamFailure, status: int) -> None:
    """502 and 504, in the client's format, with one record."""

    def fail() -> ScriptedReply:
        raise failure

    bench = Bench(fail)
    reply = await bench.handle()
    assert reply.status == status
    assert str(failure) in orjson.loads(await body(reply))["error"]["message"]
    assert (bench.record.outcome, bench.record.status) == ("error", status)


async def test_a_reply_that_breaks_off_is_truncated_and_raises() -> None:
    """The host learns that the body is not whole; the record keeps what was told up to there."""
    start = b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":9}}}\n\n'
    cut = UpstreamFailure("disconnected", "broke off", reached=True)
    bench = Bench(lambda: ScriptedReply([start, cut], SSE))
    reply = await bench.handle(
        url=Url(Origin("https", "api.anthropic.com", 443), "/v1/messages"), headers=((b"Host", b"api.anthropic.com"),)
    )
    with pytest.raises(UpstreamFailure):
        await body(reply)
    await reply.body.aclose()
    assert (bench.record.outcome, bench.record.input_tokens) == ("truncated", 9)


async def test_a_cut_stream_under_another_type_is_truncated_too() -> None:
    """What a body is, its first bytes say; servers name streams in odd ways."""
    bench = Bench(lambda: ScriptedReply([b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'], JSON))
    await body(await bench.handle())
    assert (bench.record.outcome, bench.record.stream) == ("truncated", True)


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_stream_that_ends_without_its_end_is_truncated(compressed: bool) -> None:
    """HTTP calls it complete, the format does not; nor does a compressed stream that was cut."""
    event = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
    headers = (*SSE, (b"content-encoding", b"gzip")) if compressed else SSE
    chunk = gzip.compress(event)[:-9] if compressed else event
    bench = Bench(lambda: ScriptedReply([chunk], headers))
    await body(await bench.handle())
    assert bench.record.outcome == "truncated"


async def test_a_client_that_leaves_closes_the_upstream() -> None:
    """Closing the body settles the call as aborted and ends the upstream's reply."""
    upstream = ScriptedReply([b"data: {}\n\n", b"data: {}\n\n"], SSE)
    bench = Bench(lambda: upstream)
    reply = await bench.handle()
    await anext(reply.body)
    await reply.body.aclose()
    assert upstream.closed
    assert bench.record.outcome == "aborted"


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_client_that_leaves_at_the_formats_end_has_had_it_all(compressed: bool) -> None:
    """SDKs hang up on `[DONE]`, before HTTP's end and before the trailer of a compressed stream: the call is ok."""
    packer = zlib.compressobj(wbits=31)
    last = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    chunk = packer.compress(last) + packer.flush(zlib.Z_SYNC_FLUSH) if compressed else last
    headers = (*SSE, (b"content-encoding", b"gzip")) if compressed else SSE
    bench = Bench(lambda: ScriptedReply([chunk, b"never asked for"], headers))
    reply = await bench.handle()
    await anext(reply.body)
    await reply.body.aclose()
    assert bench.record.outcome == "ok"


async def left(*rules: Rules) -> Bench:
    """One call, whose client leaves while the provider has not answered."""
    waiting = asyncio.Event()

    class Slow(ScriptedUpstream):
        async def send(self, request: Outgoing) -> ScriptedReply:
            waiting.set()
            await asyncio.Event().wait()
            raise AssertionError

    bench = Bench(lambda: ScriptedReply([]), *rules, upstream=Slow)
    task = asyncio.create_task(bench.handle())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return bench


async def test_a_client_that_leaves_before_the_reply_is_recorded_too() -> None:
    """A cancelled call is settled once."""
    bench = await left()
    assert bench.record.outcome == "aborted"


async def test_a_call_that_is_given_up_before_a_word_of_its_use_counts_as_reserved() -> None:
    """Its provider may bill for it all the same: who asks and hangs up again and again is limited, too."""
    limit = Limit("t", Match(), None, tokens=Rate(700, 3600))
    bench = await left(replace(with_provider(), limits=(limit,)))
    refused = await bench.handle()
    assert refused.status == 429
    await body(refused)
    assert [record.outcome for record in bench.records] == ["aborted", "limited"]


@pytest.mark.parametrize("stage", ["claim.Claim", "clients.Clients", "routing.Routing", "credentials.Credentials"])
@pytest.mark.parametrize(
    ("host", "path", "shape"),
    [
        ("api.openai.com", "/v1/chat/completions", {"error": {"type": "api_error"}}),
        ("api.anthropic.com", "/v1/messages", {"type": "error", "error": {"type": "api_error"}}),
        (
            "generativelanguage.googleapis.com",
            "/v1beta/models/gemini-2.5-flash:generateContent",
            {"error": {"status": "INTERNAL"}},
        ),
    ],
)
async def test_an_exception_of_our_own_is_a_500_in_the_clients_format_and_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch, stage: str, host: str, path: str, shape: dict[str, object]
) -> None:
    """Every stage fails closed, in words that the client's SDK understands."""
    bench = Bench(lambda: ScriptedReply([COMPLETION]))

    def broken(*args: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(f"interpose.stages.{stage}.decide", broken)
    reply = await bench.handle(url=Url(Origin("https", host, 443), path), headers=((b"Host", host.encode()),))
    assert reply.status == 500
    said = await body(reply)
    assert b"a bug" not in said
    found = orjson.loads(said)
    for key, value in shape.items():
        assert found[key] == value or value.items() <= found[key].items()  # type: ignore[attr-defined]
    assert bench.upstream.sent == []
    assert (bench.record.outcome, bench.record.status) == ("error", 500)


async def test_a_bug_after_the_upstreams_head_hangs_up_on_the_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    """No stream goes on being generated for a client that has got a 500."""

    def broken(*args: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("interpose.stages.credentials.Credentials.receive", broken)
    upstream = ScriptedReply([b"data: {}\n\n"], SSE)
    bench = Bench(lambda: upstream)
    reply = await bench.handle()
    assert reply.status == 500
    assert upstream.closed
    await body(reply)
    assert bench.record.outcome == "error"


async def test_a_switch_of_protocols_that_nobody_asked_for_is_a_502() -> None:
    """What comes behind a 101 is no HTTP."""
    upstream = ScriptedReply([], status=101)
    bench = Bench(lambda: upstream)
    assert (await bench.handle()).status == 502
    assert upstream.closed


async def test_no_text_of_ours_quotes_a_credential() -> None:
    """The second lock: whatever a failure says, the secret that was sent is not in the client's error."""

    def fail() -> ScriptedReply:
        raise UpstreamFailure("protocol", f"invalid header: Bearer {SECRET}", reached=True)

    bench = Bench(fail, with_provider())
    assert SECRET.encode() not in await body(await bench.handle())


async def test_a_host_that_fails_before_its_call_still_answers_and_records() -> None:
    """`apologise` is the engine's own 500 for an adapter that could not put a call together."""
    bench = Bench(lambda: ScriptedReply([]))
    reply = bench.engine.apologise(Call("GET", Url(OPENAI, "/v1/models"), (), b"", Peer("")))
    assert reply.status == 500
    await body(reply)
    assert (bench.record.outcome, bench.record.path) == ("error", "/v1/models")


async def test_a_call_whose_client_has_left_already_is_recorded_and_not_sent() -> None:
    """`abandon` is for an adapter that has a whole request and nobody to answer."""
    bench = Bench(lambda: ScriptedReply([]))
    bench.engine.abandon(Call("GET", Url(OPENAI, "/v1/models"), ((b"Host", b"api.openai.com"),), b"", Peer("")))
    assert (bench.record.outcome, bench.record.endpoint, bench.record.attempts) == ("aborted", "models", "[]")
    assert bench.upstream.sent == []
    assert await bench.engine.idle(0)


async def test_a_failing_meter_does_not_disturb_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metering observes; its faults stay its own."""

    class Broken:
        streaming = False

        def feed(self, data: bytes) -> None:
            raise RuntimeError("a bug")

        def finish(self) -> None:
            raise RuntimeError("another")

    monkeypatch.setattr("interpose.stages.gauge.meter_for", lambda *args: Broken())
    bench = Bench(lambda: ScriptedReply([COMPLETION, b" "]))
    assert await body(await bench.handle()) == COMPLETION + b" "
    assert bench.record.outcome == "ok"


async def test_a_record_that_cannot_be_made_whole_is_made_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """One record per call, even where our own accounting of it fails."""

    def broken(*args: object, **named: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("interpose.engine.settlement.measure", broken)
    bench = Bench(lambda: ScriptedReply([COMPLETION]))
    assert await body(await bench.handle()) == COMPLETION
    assert (bench.record.outcome, bench.record.status, bench.record.input_tokens) == ("ok", 200, None)


async def test_a_model_that_is_no_unicode_is_recorded_too() -> None:
    """A lone surrogate from JSON's escapes is no reason to lose a record."""
    bench = Bench(lambda: ScriptedReply([COMPLETION]), with_provider())
    await body(await bench.handle(body=b'{"model": "\\ud83d", "messages": []}'))
    assert bench.record.outcome == "ok"


async def test_a_client_that_hangs_up_after_the_formats_end_has_had_it_all() -> None:
    """The official OpenAI SDK closes on [DONE] and does not wait for the end of the HTTP body."""
    finished = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    upstream = ScriptedReply([finished, b""], SSE)
    bench = Bench(lambda: upstream)
    reply = await bench.handle()
    await anext(reply.body)
    await reply.body.aclose()
    assert bench.record.outcome == "ok"
    assert upstream.lingers
    assert not upstream.closed


async def test_a_placeholder_count_of_a_cut_stream_gives_way_to_what_was_seen() -> None:
    """Anthropic's message_start says one output token; the text that came after it says more."""
    message = {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x" * 400}}
    events = [(str(each["type"]).encode(), orjson.dumps(each)) for each in (message, text)]
    start = b"".join(b"event: %s\ndata: %s\n\n" % event for event in events)
    bench = Bench(lambda: ScriptedReply([start], SSE))
    anthropic = Origin("https", "api.anthropic.com", 443)
    await body(await bench.handle(url=Url(anthropic, "/v1/messages"), headers=((b"Host", b"api.anthropic.com"),)))
    record = bench.record
    assert (record.outcome, record.input_tokens, record.output_tokens) == ("truncated", 9, 100)
    assert record.usage_source == "estimated"


async def test_a_broken_coding_is_no_success() -> None:
    """What could be read before the damage stands, and the stream counts as cut."""
    event = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}\n\n'
    packer = zlib.compressobj(wbits=31)
    readable = packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH)
    bench = Bench(lambda: ScriptedReply([readable, b"\xff" * 40], (*SSE, (b"content-encoding", b"gzip"))))
    await body(await bench.handle())
    assert (bench.record.outcome, bench.record.input_tokens) == ("truncated", 5)


async def test_a_credential_that_cannot_be_had_is_a_503() -> None:
    """The secret's backend being down never sends the client's key in its stead."""
    bench = Bench(lambda: ScriptedReply([COMPLETION]), with_provider())

    async def down(source: CredentialSource) -> Secret:
        raise SecretError("the vault is sealed")

    bench.engine._resolve = down
    reply = await bench.handle()
    assert reply.status == 503
    assert bench.upstream.sent == []
    await body(reply)
    assert bench.record.outcome == "error"


async def test_an_uploads_stream_is_passed_on_as_it_is() -> None:
    """A body that is still arriving is neither read nor edited."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"

    bench = Bench(lambda: ScriptedReply([COMPLETION]))
    await body(await bench.handle(body=pieces()))
    sent = bench.upstream.sent[0].body
    assert not isinstance(sent, bytes)
    assert [piece async for piece in sent] == [b"a"]
    assert bench.record.asked_model is None


async def test_closing_the_engine_settles_what_is_in_flight() -> None:
    """No call goes unrecorded when we stop."""
    bench = Bench(lambda: ScriptedReply([b"data: {}\n\n"], SSE))
    reply = await bench.handle()
    await anext(reply.body)
    await bench.engine.drain(0.01)
    await bench.engine.close()
    assert bench.record.outcome == "aborted"


def deployment(name: str) -> bytes:
    return orjson.dumps({"model": name, "messages": []})


async def test_a_call_costs_what_its_model_does() -> None:
    """5 tokens in and 7 out of gpt-4o, in the record and in that of the attempt, with the version of the prices."""
    PRICES.wait()
    bench = Bench(lambda: ScriptedReply([COMPLETION]), prices=PRICES)
    await body(await bench.handle())
    assert bench.record.cost_usd == (5 * 2.5 + 7 * 10) / 1_000_000
    assert bench.record.price_version == PRICES.version()
    (attempt,) = orjson.loads(bench.record.attempts)
    assert attempt["cost_usd"] == bench.record.cost_usd


async def test_a_model_without_a_price_costs_nobody_knows_what() -> None:
    """No price, no cost: null, and not zero; the version says which prices did not know it."""
    PRICES.wait()
    unnamed = COMPLETION.replace(b"gpt-4o", b"my-own")
    bench = Bench(lambda: ScriptedReply([unnamed]), prices=PRICES)
    await body(await bench.handle(body=deployment("my-own")))
    assert (bench.record.cost_usd, bench.record.price_version) == (None, PRICES.version())


async def test_the_model_that_a_reply_names_prices_a_name_that_nobody_knows() -> None:
    """A deployment has a name of its own; what runs there tells its model's."""
    PRICES.wait()
    bench = Bench(lambda: ScriptedReply([COMPLETION]), prices=PRICES)
    await body(await bench.handle(body=deployment("team-a")))
    assert bench.record.cost_usd == (5 * 2.5 + 7 * 10) / 1_000_000


async def test_the_rules_price_comes_first() -> None:
    """A price in the rules holds for the model that was sent, with or without any other prices."""
    rules = replace(with_provider(), prices=Overrides({"gpt-4o": Price(Decimal(1), output=Decimal(2))}))
    bench = Bench(lambda: ScriptedReply([COMPLETION]), rules)
    await body(await bench.handle())
    assert bench.record.cost_usd == (5 + 7 * 2) / 1_000_000


async def test_what_used_nothing_has_no_cost_and_no_price() -> None:
    """A refusal and a failure without usage are not of an unknown price."""
    await asyncio.to_thread(PRICES.wait)
    bench = Bench(lambda: ScriptedReply([b"{}"], status=500), prices=PRICES)
    await body(await bench.handle())
    assert (bench.record.cost_usd, bench.record.price_version) == (None, None)


async def test_a_record_waits_for_the_prices_and_its_call_does_not() -> None:
    """A call that ends before the prices are read is answered at once, and recorded with its cost."""
    go = threading.Event()

    def opened() -> GenaiPrices:
        go.wait(60)
        return GenaiPrices()

    slow = Catalogue(opened)
    slow.start()
    bench = Bench(lambda: ScriptedReply([COMPLETION]), prices=slow)
    assert await body(await bench.handle()) == COMPLETION
    assert bench.records == []
    go.set()
    await asyncio.to_thread(slow.settle)
    assert bench.record.cost_usd == (5 * 2.5 + 7 * 10) / 1_000_000


async def test_a_models_name_does_not_write_lines_of_its_own_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """It is the client's to choose, line breaks and all."""
    limit = Limit("money", Match(), None, budget=Budget(Decimal(5), "day"))
    bench = Bench(lambda: ScriptedReply([COMPLETION]), replace(with_provider(), limits=(limit,)))
    await body(await bench.handle(body=b'{"model": "m\\nERROR: forged", "messages": []}'))
    (said,) = [record.getMessage() for record in caplog.records if "money" in record.getMessage()]
    assert "ERROR: forged" in said
    assert "\n" not in said


async def test_a_loss_without_a_route_is_told_as_such(caplog: pytest.LogCaptureFixture) -> None:
    """Where a name of the rules led the call, there is no route to be named."""
    claude = Provider(
        "claude", "anthropic", None, Origin("https", "c.test", 443), "", CredentialSource("env", ("CLAUDE_KEY",))
    )
    names = (Model("gpt-4o", "claude", "claude-x"),)
    by = Rules("test", providers=MappingProxyType({"claude": claude}), models=names)
    bench = Bench(lambda: ScriptedReply([b"{}"], status=500), by)
    hot = b'{"model": "gpt-4o", "temperature": 2, "messages": [{"role": "user", "content": "Hi"}]}'
    await body(await bench.handle(body=hot))
    (said,) = [record.getMessage() for record in caplog.records if "temperature" in record.getMessage()]
    assert said.startswith("no route: temperature of a call: ")


async def test_a_refused_client_learns_where_its_limits_stand() -> None:
    """Its reply has the headers of the limits that hold for it; being refused costs nothing of them."""
    limits = (
        Limit("calls", Match(), None, ("ip",), Rate(9, 60)),
        Limit("models", Match(), None, ("model",), Rate(99, 60)),
    )
    made = Bench(lambda: ScriptedReply([COMPLETION]), replace(with_provider(), limits=limits))
    two = b'{"model": "a", "model": "b"}'
    for _ in range(2):
        refused = await made.handle(body=two)
        assert refused.status == 400
        assert header(refused.headers, b"x-ratelimit-remaining-requests") == b"9"
    good = await made.handle()
    assert (good.status, header(good.headers, b"x-ratelimit-remaining-requests")) == (200, b"8")
