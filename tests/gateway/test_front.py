"""The gateway's pages, in front of its engine."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from interpose.call import Call, Entrance, Origin, Peer, Reply, Url, header
from interpose.engine.witness import Witness
from interpose.gateway import Front, page_of_json, said


class Engine:
    """Says that it was asked."""

    async def handle(self, call: Call, witnesses: Sequence[Witness] = ()) -> Reply:
        return said(418, call.url.target.encode(), "text/plain")


FRONT = Front(Engine(), {"/healthz": page_of_json(lambda: (503, {"status": "starting"}))})


async def answered(method: str, target: str, entrance: Entrance = Entrance.GATEWAY) -> tuple[Reply, bytes]:
    url = Url(Origin("http", "gateway", 80), target)
    reply = await FRONT.handle(Call(method, url, (), b"", Peer("127.0.0.1"), entrance))
    return reply, b"".join([piece async for piece in reply.body])


@pytest.mark.parametrize("target", ["/healthz", "/healthz?from=balancer"])
async def test_a_page_is_answered_by_itself(target: str) -> None:
    """Whatever its query is."""
    reply, body = await answered("GET", target)
    assert (reply.status, json.loads(body)) == (503, {"status": "starting"})


async def test_a_head_has_no_body() -> None:
    """But says how long it would be."""
    reply, body = await answered("HEAD", "/healthz")
    assert (reply.status, body, header(reply.headers, b"content-length")) == (503, b"", b"22")


async def test_a_page_is_only_read() -> None:
    """Another method is told which ones there are."""
    reply, _ = await answered("POST", "/healthz")
    assert (reply.status, header(reply.headers, b"allow")) == (405, b"GET, HEAD")


@pytest.mark.parametrize("target", ["/v1/models", "/healthz/", "/healthz/x", "/%68ealthz"])
async def test_everything_else_is_the_engines(target: str) -> None:
    """What only looks like a page, too."""
    reply, body = await answered("POST", target)
    assert (reply.status, body) == (418, target.encode())


async def test_what_is_intercepted_asks_for_no_page_of_ours() -> None:
    """It is addressed to somebody else's host."""
    reply, _ = await answered("GET", "/healthz", Entrance.INTERCEPT)
    assert reply.status == 418
