"""Who looks on at a call: what is told, in which order, and that no credential is among it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from interpose.call import Headers, Url
from interpose.engine.witness import Witness
from interpose.ir.losses import Loss
from interpose.ledger.record import Record
from interpose.masking.whole import Known
from interpose.upstream.client import UpstreamFailure

from .test_engine import COMPLETION, JSON, OPENAI, SECRET, Bench, ScriptedReply, body, with_provider
from .test_sending import QUICK, rules

OWN = "sk-FAKE-of-the-client"
ASKED = b'{"model": "gpt-4o", "messages": []}'


class Notes(Witness):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.known: Known | None = None
        self.told_of: list[tuple[Any, ...]] = []

    def begun(self, known: Known) -> None:
        self.known = known

    def uploaded(self, chunk: bytes) -> None:
        self.told_of.append(("uploaded", chunk))

    def sent(self, attempt: int, method: str, url: str, headers: Headers, body: bytes | None) -> None:
        self.told_of.append(("sent", attempt, method, url, dict(headers), body))

    def received(self, attempt: int, status: int, headers: Headers) -> None:
        self.told_of.append(("received", attempt, status, dict(headers)))

    def arrived(self, attempt: int, chunk: bytes) -> None:
        self.told_of.append(("arrived", attempt, chunk))

    def answered(self, status: int, headers: Headers) -> None:
        self.told_of.append(("answered", status, dict(headers)))

    def told(self, chunk: bytes) -> None:
        self.told_of.append(("told", chunk))

    def settled(self, record: Record, losses: Sequence[Loss]) -> None:
        self.told_of.append(("settled", record.outcome, record.attempts != "[]"))

    def words(self) -> list[str]:
        return [each[0] for each in self.told_of]


async def looked_at(bench: Bench, notes: Witness, **others: object) -> bytes:
    call = bench.call()
    for name, value in others.items():
        setattr(call, name, value)
    reply = await bench.engine.handle(call, [notes])
    return await body(reply)


async def test_a_call_is_told_in_order_without_its_credentials() -> None:
    """Request, both replies piece by piece, and the end; the injected key, the client's and a cookie are masked."""
    headers = (*JSON, (b"set-cookie", b"session=abcdefghijkl; Path=/"), (b"x-echo", f"Bearer {SECRET}".encode()))
    bench, notes = Bench(lambda: ScriptedReply([COMPLETION[:9], COMPLETION[9:]], headers), with_provider()), Notes()
    asked = (
        (b"Host", b"api.openai.com"),
        (b"Authorization", f"Bearer {OWN}".encode()),
        (b"Cookie", b"a=0123456789"),
        (b"X-Note", b"nothing"),
    )
    url = Url(OPENAI, f"/v1/chat/completions?key={OWN}&n=1")
    assert await looked_at(bench, notes, headers=asked, url=url) == COMPLETION
    assert notes.words() == ["sent", "received", "answered", "arrived", "told", "arrived", "told", "settled"]
    sent = notes.told_of[0]
    assert sent[1:3] == (1, "POST")
    assert sent[3].startswith("https://api.openai.com/v1/chat/completions?")
    assert (sent[4][b"Authorization"], sent[4][b"X-Note"], sent[5]) == (b"***", b"nothing", ASKED)
    assert notes.told_of[1][3][b"x-echo"] == b"Bearer ***"
    assert notes.told_of[-1] == ("settled", "ok", True)
    for secret in (SECRET, OWN, "abcdefghijkl", "0123456789"):
        assert secret not in repr(notes.told_of)
    assert notes.known is not None
    assert notes.known.masked(f"it is {SECRET}, {OWN}".encode()) == b"it is ***, ***"


async def test_each_attempt_is_told_by_its_number() -> None:
    """The first attempt's error, though the client never sees it, and the second one's answer."""
    replies = iter([ScriptedReply([b'{"error": {}}'], JSON, 500), ScriptedReply([COMPLETION])])
    bench, notes = Bench(lambda: next(replies), rules(retry=QUICK)), Notes()
    await looked_at(bench, notes)
    assert [(each[0], each[1]) for each in notes.told_of if each[0] in ("sent", "received", "arrived")] == [
        *(("sent", 1), ("received", 1), ("arrived", 1)),
        *(("sent", 2), ("received", 2), ("arrived", 2)),
    ]
    assert [each[1] for each in notes.told_of if each[0] == "answered"] == [200]


async def test_a_refused_call_is_told_too() -> None:
    """Nothing was sent; what the client got is known."""
    bench, notes = Bench(lambda: ScriptedReply([])), Notes()
    said = await looked_at(bench, notes, headers=((b"Host", b"evil.test"),))
    assert notes.words() == ["answered", "told", "settled"]
    assert notes.told_of[1] == ("told", said)


async def test_a_reply_that_breaks_off_is_told_as_far_as_it_came() -> None:
    """And then the end, once."""
    broken = UpstreamFailure("disconnected", "broke off", reached=True)
    bench, notes = Bench(lambda: ScriptedReply([b'{"half', broken])), Notes()
    call = bench.call()
    reply = await bench.engine.handle(call, [notes])
    with pytest.raises(UpstreamFailure):
        await body(reply)
    assert notes.words() == ["sent", "received", "answered", "arrived", "told", "settled"]
    assert notes.told_of[-1][1] == "truncated"


async def test_a_client_that_leaves_ends_it() -> None:
    """What it has got is told, then that it has gone."""
    bench, notes = Bench(lambda: ScriptedReply([b"one", b"two"])), Notes()
    reply = await bench.engine.handle(bench.call(), [notes])
    assert await anext(reply.body) == b"one"
    await reply.body.aclose()
    assert [each for each in notes.told_of if each[0] in ("told", "settled")] == [
        ("told", b"one"),
        ("settled", "aborted", True),
    ]


async def test_a_witness_that_fails_disturbs_no_call() -> None:
    """It is told no more; the client gets its answer, and the others are told all the same."""

    class Clumsy(Witness):
        def received(self, attempt: int, status: int, headers: Headers) -> None:
            raise RuntimeError("clumsy")

    bench, notes = Bench(lambda: ScriptedReply([COMPLETION])), Notes()
    reply = await bench.engine.handle(bench.call(), [Clumsy(), notes])
    assert await body(reply) == COMPLETION
    assert notes.words()[-1] == "settled"
    assert len(bench.records) == 1


async def test_nobody_looks_unless_somebody_asks() -> None:
    """Without a witness a call has nothing of it: the reply's body is the engine's own."""
    bench = Bench(lambda: ScriptedReply([COMPLETION]))
    reply = await bench.handle()
    assert type(reply.body).__name__ == "Flowing"
    await body(reply)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        (b"Authorization", b"Bearer whatever", b"***"),
        (b"x-api-key", b"short", b"***"),
        (b"Helicone-Auth", b"Bearer x", b"***"),
        (b"X-Amz-Security-Token", b"t", b"***"),
        (b"x-ratelimit-remaining-tokens", b"1200", b"1200"),
        (b"anthropic-ratelimit-tokens-limit", b"9", b"9"),
        (b"Location", b"https://a.test/x?key=abc&alt=sse", b"https://a.test/x?key=***&alt=sse"),
        (
            b"Sec-WebSocket-Protocol",
            b"realtime, openai-insecure-api-key.sk-FAKE, v1",
            b"realtime, openai-insecure-api-key.***, v1",
        ),
    ],
)
def test_headers_are_masked_by_what_they_hold(name: bytes, value: bytes, shown: bytes) -> None:
    """By their names, and by what stands in them; what counts tokens is no secret."""
    known = Known(Bench(lambda: ScriptedReply([])).call())
    assert known.headers(((name, value),)) == ((name, shown),)


def test_what_stands_in_any_secret_place_is_masked_everywhere() -> None:
    """A gateway's own header, a signature in the URL: their values are not kept in a body either."""
    call = Bench(lambda: ScriptedReply([])).call()
    call.headers = ((b"X-Portal-Api-Key", b"portal-FAKE-key"), (b"Helicone-Auth", b"Bearer helicone-FAKE"))
    call.url = Url(OPENAI, "/v1/x?sig=FAKE%2Dsignature&n=not-a-secret")
    known = Known(call)
    said = b"portal-FAKE-key helicone-FAKE FAKE-signature not-a-secret"
    assert known.masked(said) == b"*** *** *** not-a-secret"


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/v1/x?key=abc&alt=sse", "/v1/x?key=***&alt=sse"),
        ("/v1/x?alt=sse&access_token=a.b-c", "/v1/x?alt=sse&access_token=***"),
        ("/v1/x?api-key=1&X-Amz-Signature=2&monkey=3", "/v1/x?api-key=***&X-Amz-Signature=***&monkey=3"),
        ("/v1/x?%6bey=abc", "/v1/x?%6bey=***"),
        ("/v1/vk-0123456789abcdefXYZ/x", "/v1/***/x"),
        ("/v1/ek_0123456789abcdefXYZ/x", "/v1/***/x"),
    ],
)
def test_urls_are_masked_by_their_parameters(target: str, shown: str) -> None:
    """What a parameter's name calls a secret goes, however it is escaped."""
    known = Known(Bench(lambda: ScriptedReply([])).call())
    assert known.url(Url(OPENAI, target)) == f"https://api.openai.com{shown}"
