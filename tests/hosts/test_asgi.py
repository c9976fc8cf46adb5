"""The ASGI application alone: how a body comes in, and what becomes of one that does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence

import pytest

from interpose.call import Call, Reply
from interpose.engine.witness import Witness
from interpose.gateway import said
from interpose.hosts.asgi import Message, Responder


class Front:
    """Notes the calls, and answers with how much of the body it was given."""

    def __init__(self, *, reads: bool = True) -> None:
        self.calls: list[Call] = []
        self.cancelled = False
        self._reads = reads

    async def handle(self, call: Call, witnesses: Sequence[Witness] = ()) -> Reply:
        self.calls.append(call)
        if call.barred is not None:
            return said(call.barred.status, call.barred.message.encode(), "text/plain")
        if isinstance(call.body, bytes):
            return said(200, json.dumps(["bytes", len(call.body)]).encode(), "application/json")
        try:
            told = sum([len(piece) async for piece in call.body]) if self._reads else -1
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return said(200, json.dumps(["stream", told]).encode(), "application/json")


class Client:
    """Sends the pieces of a body, and then nothing more unless it `leaves`; notes what it is told."""

    def __init__(self, pieces: Iterable[bytes], *, length: int | None = None, whole: bool = True) -> None:
        pieces = list(pieces)
        self._pieces: AsyncIterator[Message] = self._messages(pieces, whole)
        headers = [] if length is None else [(b"content-length", str(length).encode())]
        self.scope = {
            "type": "http",
            "method": "POST",
            "scheme": "http",
            "path": "/v1/chat/completions",
            "headers": [(b"host", b"gateway.test"), *headers],
        }
        self.told: list[Message] = []
        self.sent = 0
        self.leaves = False

    async def _messages(self, pieces: list[bytes], whole: bool) -> AsyncIterator[Message]:
        for place, piece in enumerate(pieces):
            more = not whole or place + 1 < len(pieces)
            self.sent += 1
            yield {"type": "http.request", "body": piece, "more_body": more}
        if self.leaves:
            yield {"type": "http.disconnect"}
        await asyncio.Event().wait()

    async def receive(self) -> Message:
        return await anext(self._pieces)

    async def send(self, message: Message) -> None:
        self.told.append(message)

    async def asks(self, responder: Responder) -> tuple[int, bytes]:
        await responder(self.scope, self.receive, self.send)
        return self.told[0]["status"], b"".join(message["body"] for message in self.told[1:])


BODIES = [
    ([b"ab", b"cd"], None, ["bytes", 4]),
    ([b"abc", b"def"], None, ["stream", 6]),
    ([b"abcdef"], 6, ["stream", 6]),
]


@pytest.mark.parametrize(("pieces", "length", "came"), BODIES)
async def test_a_body_is_held_as_far_as_it_can_be_read(
    pieces: list[bytes], length: int | None, came: list[object]
) -> None:
    """A longer one streams, by what it is or by what it is said to be."""
    _, body = await Client(pieces, length=length).asks(Responder(Front(), readable=5))
    assert json.loads(body) == came


@pytest.mark.parametrize("pieces", [[], [b"{"]])
async def test_a_body_that_does_not_come_is_not_waited_for(pieces: list[bytes]) -> None:
    """Whoever sends nothing more of it gets a 408, by way of the engine: it has a record like any other call."""
    front = Front()
    status, body = await Client(pieces, whole=False).asks(Responder(front, patience=0.05))
    assert (status, body) == (408, b"Nothing more of the body came in 0.05 s.")
    assert front.calls[0].body == b""


async def test_a_body_that_breaks_off_is_told_so() -> None:
    """By a 400 of OpenAI's shape, and nothing goes on: who listens may be a client whose chunks are malformed."""
    front, client = Front(), Client([b"{"], whole=False)
    client.leaves = True
    status, body = await client.asks(Responder(front))
    assert (status, json.loads(body)["error"]["code"]) == (400, "incomplete_body")
    assert front.calls == []


@pytest.mark.parametrize(
    ("leaves", "patience", "expected"), [(True, 30, (400, "incomplete_body")), (False, 0.05, (408, "request_timeout"))]
)
async def test_a_long_body_that_breaks_off_ends_its_call(
    *, leaves: bool, patience: float, expected: tuple[int, str]
) -> None:
    """By cancelling it: to the front it is no failure of whoever it was being sent to. So does a silent one."""
    front, client = Front(), Client([b"x" * 10] * 3, whole=False)
    client.leaves = leaves
    status, body = await client.asks(Responder(front, readable=15, patience=patience))
    assert (status, json.loads(body)["error"]["code"]) == expected
    assert front.cancelled


async def test_a_body_that_nobody_wanted_is_taken_before_the_answer_ends() -> None:
    """A client that is still sending reads its answer only then."""
    client = Client([b"x" * 10] * 20)
    status, _ = await client.asks(Responder(Front(reads=False), readable=50))
    assert (status, client.sent) == (200, 20)


async def test_a_body_that_nobody_wanted_is_not_taken_for_ever() -> None:
    """One that stops coming is given up."""
    client = Client([b"x" * 10] * 20, whole=False)
    status, _ = await client.asks(Responder(Front(reads=False), readable=50, patience=0.05))
    assert (status, client.sent) == (200, 20)
