"""What is kept of calls by the rules: every way in which a call may go, by an engine whose upstream is scripted."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.engine.test_engine import COMPLETION, JSON, OPENAI, SECRET, SSE, Bench, ScriptedReply, body, with_provider
from tests.engine.test_hedging import SAID, Silent, at_once, hedging
from tests.engine.test_holding import START, STREAMS
from tests.engine.test_sending import ASKS, MESSAGE, QUICK, error, reset, rules

from interpose.call import Url
from interpose.capturing import Desk
from interpose.engine.engine import Engine
from interpose.engine.exchange import Exchange
from interpose.engine.journey import Clock
from interpose.engine.witness import Witness
from interpose.ledger import Ledger
from interpose.ledger.captures import Captured, Part, captured
from interpose.ledger.verify import verify
from interpose.rules.compiled import LedgerRules, Rules, Target
from interpose.upstream.client import Outgoing

OWN = "sk-FAKE-of-the-client"
HEADERS = ((b"Host", b"api.openai.com"), (b"Authorization", f"Bearer {OWN}".encode()))
BODIES = LedgerRules(bodies=True)


class Keeping(Bench):
    """A bench whose engine keeps bodies in a ledger at `path`."""

    def __init__(self, path: Path, rules: Rules, *answers: ScriptedReply | Exception) -> None:
        left = iter(answers)

        def answer() -> ScriptedReply:
            given = next(left)
            if isinstance(given, Exception):
                raise given
            return given

        super().__init__(answer, rules)
        self.path = path
        self.ledger = Ledger.open(path, writer="w", clock=time.time)
        self.desk = Desk(self.ledger, credentials=tuple, now=time.monotonic)

        def keep(exchange: Exchange) -> Witness:
            return self.desk.look_at(exchange.id, exchange.call, exchange.inforce.rules.ledger, exchange.began)

        self.engine = Engine(
            rules, upstream=self.upstream, resolve=self.resolve, record=self.desk.record,
            clock=Clock(time.time, time.monotonic), new_id=self.engine.new_id, keep=keep,
        )  # type: ignore[arg-type]  # fmt: skip

    def kept(self) -> list[Captured]:
        self.close()
        assert verify(self.path) == []
        return list(captured(self.path))

    def only(self) -> Captured:
        (call,) = self.kept()
        return call

    def close(self) -> None:
        self.desk.close()
        self.ledger.close()


Opening = Callable[..., Keeping]


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[Opening]:
    """Opens benches, by default with a provider and with bodies kept."""
    opened: list[Keeping] = []

    def open_bench(*answers: ScriptedReply | Exception, rules: Rules | None = None, **ledger: object) -> Keeping:
        by = replace(rules or with_provider(), ledger=replace(BODIES, **ledger))  # type: ignore[arg-type]
        opened.append(Keeping(tmp_path / f"{len(opened)}.db", by, *answers))
        return opened[-1]

    yield open_bench
    for bench in opened:
        bench.close()


def names(call: Captured) -> list[tuple[str, int]]:
    return [(part.part, part.attempt) for part in call.parts]


def part(call: Captured, name: str, attempt: int = 0) -> Part:
    found = call.of(name, attempt)
    assert found is not None
    return found


async def test_all_four_parts_of_a_call_are_kept_without_its_keys(keeping: Opening) -> None:
    """The client's own key and ours are in none of them, wherever they stand; all else is as it was."""
    asked = json.dumps({"model": "gpt-4o", "messages": [], "note": f"{OWN} and {SECRET}"}).encode()
    bench = keeping(ScriptedReply([COMPLETION], (*JSON, (b"x-request-id", b"r1"))))
    url = Url(OPENAI, f"/v1/chat/completions?key={OWN}&n=1")
    assert await body(await bench.handle(headers=HEADERS, url=url, body=asked)) == COMPLETION
    call = bench.only()
    assert names(call) == [("asked", 0), ("sent", 1), ("received", 1), ("answered", 0)]
    first, sent = part(call, "asked"), part(call, "sent", 1)
    assert first.body == sent.body == json.dumps(
        {"model": "gpt-4o", "messages": [], "note": "*** and ***"}
    ).encode()  # fmt: skip
    assert (first.method, first.url) == ("POST", "https://api.openai.com/v1/chat/completions?key=***&n=1")
    assert dict(first.headers) == {"Host": "api.openai.com", "Authorization": "***"}
    assert first.notes == ("credential",)
    received = part(call, "received", 1)
    assert (received.status, received.body, received.media_type) == (200, COMPLETION, "application/json")
    assert dict(received.headers)["x-request-id"] == "r1"
    assert dict(part(call, "answered").headers)["x-interpose-provider"] == "openai"
    content = bench.path.read_bytes()
    assert SECRET.encode() not in content
    assert OWN.encode() not in content


async def test_a_converted_call_is_kept_in_both_formats(keeping: Opening) -> None:
    """What the client asked and got beside what the provider did, and the losses in the record."""
    by = rules(retry=None)
    by = replace(by, routes=(replace(by.routes[0], targets=(Target("claude", "c"),)),))
    bench = keeping(ScriptedReply([MESSAGE]), rules=by)
    told = await body(await bench.handle(body=ASKS))
    call = bench.only()
    assert part(call, "asked").body == ASKS
    sent = part(call, "sent", 1)
    assert sent.url == "https://api.anthropic.com/v1/messages"
    assert sent.body is not None
    assert "max_tokens" in json.loads(sent.body)
    assert part(call, "received", 1).body == MESSAGE
    assert part(call, "answered").body == told != MESSAGE


async def test_every_attempt_is_kept(keeping: Opening) -> None:
    """One that was answered with an error, one that could not be reached, and the one that succeeded."""
    bench = keeping(error(503, b"busy"), reset(), ScriptedReply([COMPLETION]), rules=rules(retry=QUICK))
    await body(await bench.handle())
    call = bench.only()
    assert names(call) == [
        ("asked", 0), ("sent", 1), ("received", 1), ("sent", 2), ("sent", 3), ("received", 3), ("answered", 0),
    ]  # fmt: skip
    assert (part(call, "received", 1).status, part(call, "received", 1).body) == (503, b"busy")
    assert call.record is not None
    assert len(json.loads(call.record.attempts)) == 3


async def test_an_attempt_that_was_overtaken_is_kept_beside_the_one_that_answered(keeping: Opening) -> None:
    """By the numbers of the record's attempts; of the converted stream the client has its very end, too."""
    bench = keeping(rules=hedging(Target("claude", "c")))
    answers = iter([Silent(), at_once(ScriptedReply([START, *SAID], SSE))])

    async def send(request: Outgoing) -> ScriptedReply:
        return await next(answers)(request)

    bench.upstream.send = send  # type: ignore[method-assign]
    told = await body(await bench.handle(body=STREAMS))
    call = bench.only()
    assert names(call) == [("asked", 0), ("sent", 1), ("sent", 2), ("received", 2), ("answered", 0)]
    assert part(call, "received", 2).body == START + b"".join(SAID)
    assert part(call, "answered").body == told
    assert told.endswith(b"data: [DONE]\n\n")


async def test_a_refused_call_is_kept(keeping: Opening) -> None:
    """What it asked, and our own answer."""
    bench = keeping()
    said = await body(await bench.handle(headers=((b"Host", b"evil.test"),)))
    call = bench.only()
    assert names(call) == [("asked", 0), ("answered", 0)]
    assert (part(call, "answered").status, part(call, "answered").body) == (403, said)


async def test_what_breaks_off_is_kept_as_far_as_it_came(keeping: Opening) -> None:
    """And a client that leaves has its part, too."""
    bench = keeping(ScriptedReply([b'{"half', reset()]))
    reply = await bench.handle()
    with pytest.raises(Exception, match="closed"):
        await body(reply)
    assert part(bench.only(), "answered").body == b'{"half'
    bench = keeping(ScriptedReply([b"one ", b"two"]))
    reply = await bench.handle()
    assert await anext(reply.body) == b"one "
    await reply.body.aclose()
    call = bench.only()
    assert (part(call, "received", 1).body, part(call, "answered").body) == (b"one ", b"one ")
    assert call.record is not None
    assert call.record.outcome == "aborted"


async def test_a_call_that_is_cancelled_before_its_answer_is_kept(keeping: Opening) -> None:
    """What was asked and sent."""
    waits = asyncio.Event()

    class Hangs(ScriptedReply):
        async def __anext__(self) -> bytes:
            waits.set()
            await asyncio.Event().wait()
            raise AssertionError

    by = rules(retry=None)
    by = replace(by, routes=(replace(by.routes[0], targets=(Target("claude", "c"),)),))
    bench = keeping(Hangs([]), rules=by)
    task = asyncio.create_task(bench.handle(body=ASKS))
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert names(bench.only()) == [("asked", 0), ("sent", 1), ("received", 1)]


async def test_a_client_that_left_before_its_call_was_handed_over_is_kept(keeping: Opening) -> None:
    """What it asked."""
    bench = keeping()
    bench.engine.abandon(bench.call())
    assert names(bench.only()) == [("asked", 0)]


async def test_a_stream_is_kept_with_its_times(keeping: Opening) -> None:
    """Each moment with as many bytes as came then; all of them are the body."""
    events = [b'data: {"choices":[{"index":0,"delta":{"content":"%d"}}]}\n\n' % number for number in range(3)]

    class Slowly(ScriptedReply):
        async def __anext__(self) -> bytes:
            await asyncio.sleep(0.003)
            return await super().__anext__()

    bench = keeping(Slowly([*events, b"data: [DONE]\n\n"], SSE))
    await body(await bench.handle(body=b'{"model": "gpt-4o", "stream": true, "messages": []}'))
    received = part(bench.only(), "received", 1)
    assert received.body == b"".join(events) + b"data: [DONE]\n\n"
    assert [count for _, count in received.timing] == [*map(len, events), 14]
    moments = [ms for ms, _ in received.timing]
    assert moments == sorted(moments)
    assert moments[0] > 0


async def test_an_echo_in_a_stream_is_scrubbed_and_the_record_says_so(keeping: Opening) -> None:
    """Split over chunks, and over events: the client gets it as it came, the ledger without it."""
    half = len(SECRET) // 2
    event = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n'
    chunks = [b'data: {"key": "' + SECRET[:half].encode(), SECRET[half:].encode() + b'"}\n\n']
    chunks += [event % SECRET[:half].encode(), event % SECRET[half:].encode()]
    bench = keeping(ScriptedReply(chunks, SSE))
    assert await body(await bench.handle()) == b"".join(chunks)
    call = bench.only()
    received = part(call, "received", 1)
    assert received.body == b'data: {"key": "***"}\n\n' + event % b"***" + event % b"***"
    assert received.notes == ("credential",)
    assert sum(count for _, count in received.timing) == received.kept == len(received.body)
    assert call.record is not None
    assert json.loads(call.record.attempts)[0]["echoed_credential"] is True


async def test_compressed_bodies_are_kept_decoded_and_scrubbed(keeping: Opening) -> None:
    """In both directions; their headers stand as they were, their sizes are those on the wire."""
    asked = gzip.compress(b'{"model": "gpt-4o", "messages": [], "key": "' + OWN.encode() + b'"}')
    answer = gzip.compress(b'{"echo": "' + SECRET.encode() + b'"}')
    coded = (b"content-encoding", b"gzip")
    bench = keeping(ScriptedReply([answer[:20], answer[20:]], (*JSON, coded)))
    await body(await bench.handle(headers=(*HEADERS, coded), body=asked))
    call = bench.only()
    assert part(call, "asked").body == b'{"model": "gpt-4o", "messages": [], "key": "***"}'
    received = part(call, "received", 1)
    assert (received.body, received.size) == (b'{"echo": "***"}', len(answer))
    assert ("content-encoding", "gzip") in received.headers


async def test_a_body_beyond_the_limit_is_cut_and_says_so(keeping: Opening) -> None:
    """Each by itself; what is beyond is counted, and a key across the cut is not kept in part."""
    long = b"a" * 1020 + OWN.encode() + b"z" * 50_000
    bench = keeping(ScriptedReply([b"b" * 700, b"c" * 700]), body_limit=1024)
    await body(await bench.handle(headers=HEADERS, body=long))
    call = bench.only()
    asked, received = part(call, "asked"), part(call, "received", 1)
    assert (asked.body, asked.size, asked.cut) == (b"a" * 1020 + b"***", len(long), True)
    assert (received.body, received.size, received.cut) == (b"b" * 700 + b"c" * 324, 1400, True)


async def test_a_body_that_streams_through_is_kept(keeping: Opening) -> None:
    """As the client sent it, which is what went upstream."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first, "
        yield b"second"

    bench = keeping(ScriptedReply([COMPLETION]))
    send = bench.upstream.send

    async def reading(request: object) -> ScriptedReply:
        async for _ in request.body:  # type: ignore[attr-defined]
            pass
        return await send(request)  # type: ignore[arg-type]

    bench.upstream.send = reading  # type: ignore[method-assign]
    await body(await bench.handle(body=pieces(), url=Url(OPENAI, "/v1/files")))
    call = bench.only()
    assert part(call, "asked").body == part(call, "sent", 1).body == b"first, second"


async def test_bytes_that_are_no_text_are_kept_as_they_are(keeping: Opening) -> None:
    """Audio, as any other body."""
    sound = bytes(range(256)) * 8
    bench = keeping(ScriptedReply([sound], ((b"content-type", b"audio/mpeg"),)))
    await body(await bench.handle(url=Url(OPENAI, "/v1/audio/speech")))
    received = part(bench.only(), "received", 1)
    assert (received.body, received.media_type) == (sound, "audio/mpeg")


@pytest.mark.parametrize(
    ("ledger", "route", "kept"),
    [(True, None, True), (False, None, False), (True, False, False), (False, True, True), (True, True, True)],
)
async def test_a_route_says_whether_the_bodies_of_its_calls_are_kept(
    keeping: Opening, ledger: bool, route: bool | None, kept: bool
) -> None:
    """Where it says nothing, the ledger's rules do; the record is there anyway."""
    by = rules(retry=None)
    by = replace(by, routes=(replace(by.routes[0], bodies=route),))
    bench = keeping(ScriptedReply([COMPLETION]), rules=by, bodies=ledger)
    await body(await bench.handle())
    assert bool(bench.kept()) is kept


async def test_what_is_kept_follows_the_rules_in_force_when_a_call_began(keeping: Opening) -> None:
    """A reload in the middle changes the next call, not this one."""
    bench = keeping(ScriptedReply([COMPLETION]), ScriptedReply([COMPLETION]), bodies=False)
    reply = await bench.handle()
    others = replace(with_provider(), ledger=replace(BODIES, scrub=("gpt-4o",)))
    bench.engine.inforce = bench.engine.inforce.followed_by(others, bench.upstream)  # type: ignore[arg-type]
    await body(reply)
    await body(await bench.handle())
    call = bench.only()
    assert call.id == "ip_2"
    assert part(call, "asked").body == b'{"model": "***", "messages": []}'
    assert part(call, "asked").notes == ("pattern",)
