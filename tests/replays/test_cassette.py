"""Answers from recordings: which one answers what, in which pieces, and when; by a clock that nobody waits for."""

import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from interpose.call import Call, Entrance, Headers, Origin, Peer, Url, header
from interpose.recordings import Recorded
from interpose.replays.cassette import Cassette
from interpose.replays.playing import Player
from interpose.rules.compiled import Rules
from interpose.stages.claim import Territory
from interpose.upstream.client import UpstreamFailure

from .made import chat

EVENTS = [b'data: {"n": 1}\n\n', b'data: {"n": 2}\n\n', b"data: [DONE]\n\n"]


class Bench:
    """A player whose waits are noted and not waited for."""

    def __init__(self, *calls: Recorded, speed: float = 1.0) -> None:
        self.cassette = Cassette(calls)
        self.now = 0.0
        self.player = Player(self.cassette, Territory(Rules.default()), speed=speed, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def ask(
        self,
        body: Any,
        *,
        host: str = "api.openai.com",
        path: str = "/v1/chat/completions",
        headers: Headers = (),
        entrance: Entrance = Entrance.INTERCEPT,
        method: str = "POST",
    ) -> tuple[int, Headers, list[tuple[float, bytes]]]:
        """Status, headers, and the pieces of the body with when they came."""
        self.now = 0.0
        url = Url(Origin("https", host, 443), path)
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        reply = await self.player.handle(Call(method, url, headers, sent, Peer("127.0.0.1"), entrance))
        return reply.status, reply.headers, [(round(self.now, 3), piece) async for piece in reply.body]


def asked(**more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], **more}


def answering(call: Recorded, text: str) -> Recorded:
    assert call.answered is not None
    call.answered = replace(call.answered, body=text.encode())
    return call


def streamed(*, chunks: tuple[tuple[float, int], ...] = (), coding: bool = False, **more: Any) -> Recorded:
    call = chat(stream=True)
    assert call.answered is not None
    body = b"".join(EVENTS)
    headers: Headers = ((b"content-type", b"text/event-stream"),)
    if coding:
        body, headers = gzip.compress(body), (*headers, (b"content-encoding", b"gzip"))
    call.answered = replace(call.answered, headers=headers, body=body, began=0.5, ended=2.0, chunks=chunks, **more)
    return call


async def text(found: tuple[int, Headers, list[tuple[float, bytes]]]) -> str:
    return b"".join(piece for _, piece in found[2]).decode()


async def test_the_order_of_members_is_no_matter_and_what_they_say_is() -> None:
    """JSON is matched by what it says."""
    bench = Bench(answering(chat(), "a"), answering(chat(temperature=0.5), "b"))
    reordered = b'{"temperature": 0.5, "messages": [{"content": "Hello", "role": "user"}], "model": "gpt-4o"}'
    assert await text(await bench.ask(reordered)) == "b"
    assert await text(await bench.ask(asked())) == "a"


async def test_equal_requests_get_one_recording_after_the_other_then_the_last_again() -> None:
    """In the order in which they were recorded, whatever the order in the file."""
    bench = Bench(*(answering(chat(number, at=-number), str(number)) for number in range(3)))
    assert [await text(await bench.ask(asked())) for _ in range(5)] == ["2", "1", "0", "0", "0"]


async def test_members_that_say_nothing_about_the_answer_are_left_aside_at_last() -> None:
    """The same body comes first; else who asks is no matter."""
    bench = Bench(answering(chat(user="a"), "a"), answering(chat(user="b"), "b"))
    assert await text(await bench.ask(asked(user="b"))) == "b"
    assert await text(await bench.ask(asked(user="c", metadata={"at": 1}))) == "a"


async def test_what_has_no_recording_is_told_with_the_nearest_and_the_first_difference() -> None:
    """As an error of the client's format, with a status that no client tries again."""
    bench = Bench(chat(1, temperature=1), chat(2))
    status, _, pieces = await bench.ask(asked(messages=[{"role": "user", "content": "Ciao"}]))
    error = json.loads(pieces[0][1])["error"]
    assert (status, error["code"]) == (404, "not_recorded")
    assert "The nearest is made#2" in error["message"]
    assert error["message"].endswith('differs at messages[0].content: recorded "Hello", asked "Ciao".')
    status, _, pieces = await bench.ask({}, host="api.anthropic.com", path="/v1/messages")
    told = json.loads(pieces[0][1])
    assert (status, told["type"]) == (404, "error")
    assert "There are recordings of POST api.openai.com/v1/chat/completions" in told["error"]["message"]
    assert bench.player.refused == 2


async def test_pieces_come_when_they_came() -> None:
    """The head at its time, each chunk at its own."""
    sizes = [len(event) for event in EVENTS]
    bench = Bench(streamed(chunks=((0.7, sizes[0]), (1.1, sizes[1]), (1.9, sizes[2]))))
    _, headers, pieces = await bench.ask(asked(stream=True))
    assert pieces == list(zip((0.7, 1.1, 1.9), EVENTS, strict=True))
    assert header(headers, b"content-length") is None


@pytest.mark.parametrize("coding", [False, True])
async def test_events_are_spread_evenly_where_nobody_knows_when_they_came(*, coding: bool) -> None:
    """Also of a stream that was compressed, which is sent as it is."""
    bench = Bench(streamed(coding=coding))
    _, headers, pieces = await bench.ask(asked(stream=True))
    assert pieces == list(zip((1.0, 1.5, 2.0), EVENTS, strict=True))
    assert header(headers, b"content-encoding") is None


async def test_speed() -> None:
    """Twice as fast takes half of the time; 0 takes none."""
    _, _, twice = await Bench(streamed(), speed=2).ask(asked(stream=True))
    assert [when for when, _ in twice] == [0.5, 0.75, 1.0]
    _, _, at_once = await Bench(streamed(), speed=0).ask(asked(stream=True))
    assert [when for when, _ in at_once] == [0.0, 0.0, 0.0]


async def test_a_recording_that_broke_off_breaks_off_again() -> None:
    """After what had come: success is never invented."""
    bench = Bench(streamed(error="peer closed"))
    with pytest.raises(UpstreamFailure, match="breaks off here"):
        await bench.ask(asked(stream=True))


async def test_a_whole_body_keeps_its_coding_and_has_its_length() -> None:
    """Every byte of it as it was; errors too."""
    call = chat(status=429, reply_headers=((b"content-encoding", b"gzip"), (b"transfer-encoding", b"chunked")))
    assert call.answered is not None
    body = gzip.compress(b'{"error": {"message": "slow down"}}')
    call.answered = replace(call.answered, body=body)
    status, headers, pieces = await Bench(call).ask(asked())
    assert (status, pieces) == (429, [(2.0, body)])
    assert header(headers, b"content-length") == str(len(body)).encode()
    assert header(headers, b"content-encoding") == b"gzip"
    assert header(headers, b"transfer-encoding") is None


async def test_the_host_is_part_of_what_is_asked_but_for_a_gateway() -> None:
    """Who asks us directly names this machine, or whatever name the gateway has."""
    bench = Bench(answering(chat(), "a"))
    assert (await bench.ask(asked(), host="api.mistral.ai"))[0] == 404
    assert (await bench.ask(asked(), host="127.0.0.1"))[0] == 200
    assert (await bench.ask(asked(), host="ai.lan", entrance=Entrance.GATEWAY))[0] == 200


async def test_a_form_is_matched_whatever_its_boundary() -> None:
    """Every client makes up another one."""

    def form(boundary: bytes, said: bytes) -> bytes:
        part = b'\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + said
        return b"--" + boundary + part + b"\r\n--" + boundary + b"--\r\n"

    call = answering(chat(), "heard")
    call.asked = replace(
        call.asked, headers=((b"content-type", b"multipart/form-data; boundary=aaa"),), body=form(b"aaa", b"sound")
    )
    bench = Bench(call)
    kind: Headers = ((b"Content-Type", b'multipart/form-data; boundary="bbb"'),)
    assert await text(await bench.ask(form(b"bbb", b"sound"), headers=kind)) == "heard"
    assert (await bench.ask(form(b"bbb", b"noise"), headers=kind))[0] == 404


async def test_a_head_without_a_recording_has_no_body() -> None:
    """Its bytes would be taken for the next reply of the connection."""
    status, headers, pieces = await Bench(chat()).ask(b"", method="HEAD", path="/v1/models")
    assert (status, pieces) == (404, [])
    assert int(header(headers, b"content-length") or b"0") > 0


@pytest.mark.parametrize("entrance", [Entrance.GATEWAY, Entrance.INTERCEPT])
async def test_what_the_gateway_recorded_answers_whatever_host_is_asked(entrance: Entrance) -> None:
    """It stood at an address of ours, which says nothing: the path decides."""
    call = answering(chat(host="127.0.0.1" if entrance is Entrance.INTERCEPT else "ai.internal"), "hi")
    call.entrance = entrance
    bench = Bench(call, answering(chat(host="api.groq.com"), "groq"))
    assert await text(await bench.ask(asked())) == "hi"
    assert await text(await bench.ask(asked(), host="api.groq.com")) == "groq"


async def test_a_websocket_is_refused_at_once() -> None:
    """What its client says after the handshake is not waited for: that never ends."""

    async def never() -> AsyncIterator[bytes]:
        pytest.fail("the session was waited for")
        yield b""

    headers: Headers = ((b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"))
    url = Url(Origin("https", "api.openai.com", 443), "/v1/realtime")
    reply = await Bench(chat()).player.handle(Call("GET", url, headers, never(), Peer("127.0.0.1")))
    assert reply.status == 404
    assert b"WebSockets are not played" in b"".join([piece async for piece in reply.body])


async def test_deeply_nested_bodies_are_matched_and_told_apart() -> None:
    """However deep JSON nests, it is an answer or a 404, and no failure of ours."""
    deep = [b"[" * depth + b"1" + b"]" * depth for depth in (200, 300, 1000)]
    call = answering(chat(), "deep")
    call.asked = replace(call.asked, body=deep[1])
    bench = Bench(call)
    assert [(await bench.ask(body))[0] for body in deep] == [404, 200, 404]


def test_what_cannot_be_played_is_told() -> None:
    """Without an answer, without a body, or a WebSocket."""
    silent, bodiless, session = chat(1), chat(2), chat(3)
    silent.answered = None
    assert bodiless.answered is not None
    bodiless.answered = replace(bodiless.answered, body=None)
    session.websocket = True
    cassette = Cassette([silent, bodiless, session])
    assert cassette.takes == 0
    assert sorted(cassette.unplayable) == [
        "cannot be played: a WebSocket (made#3)",
        "cannot be played: it has no answer (made#1)",
        "cannot be played: its reply's body was not recorded (made#2)",
    ]
