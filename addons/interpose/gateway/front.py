"""The gateway's front: a table of pages that need no key, no limit and no record; everything else is the engine's.

A page is an async function of the call. It answers GET and HEAD.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Protocol, Self

from interpose.call import Call, Entrance, Headers, Reply
from interpose.engine.witness import Witness
from interpose.errors import Refusal

type Page = Callable[[Call], Awaitable[Reply]]

METHODS = ("GET", "HEAD")


class Answers(Protocol):
    """What answers calls: an engine, or a front of it."""

    async def handle(self, call: Call, witnesses: Sequence[Witness] = ()) -> Reply: ...


class Front:
    """Answers the paths of `pages` by themselves, all others by the engine. `bar` says of a call why neither is to."""

    def __init__(
        self, engine: Answers, pages: Mapping[str, Page], bar: Callable[[Call], Refusal | None] = lambda _: None
    ) -> None:
        self._engine = engine
        self._pages = pages
        self._bar = bar

    async def handle(self, call: Call, witnesses: Sequence[Witness] = ()) -> Reply:
        """The reply to a call. Raises nothing but CancelledError, and what a page raises. `witnesses` look on at what
        is the engine's.
        """
        if (refusal := self._bar(call)) is not None:
            call.barred = refusal
            # Which has to know of it, for its records.
            return await self._engine.handle(call, witnesses)
        # What was intercepted asks for a page of somebody else's.
        page = self._pages.get(call.url.path) if call.entrance is not Entrance.INTERCEPT else None
        if page is None:
            return await self._engine.handle(call, witnesses)
        if call.method not in METHODS:
            return said(405, b"", "text/plain", (b"allow", ", ".join(METHODS).encode()))
        reply = await page(call)
        if call.method == "HEAD":
            await reply.body.aclose()
            reply.body = Whole(b"")
        return reply


class Whole:
    """A body that is there at once."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._data:
            raise StopAsyncIteration
        data, self._data = self._data, b""
        return data

    async def aclose(self) -> None:
        self._data = b""


def said(status: int, body: bytes, content_type: str, *more: tuple[bytes, bytes]) -> Reply:
    """A whole reply of ours."""
    headers: Headers = (
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *more,
    )
    return Reply(status, HTTPStatus(status).phrase, headers, Whole(body))


def page_of_json(told: Callable[[], tuple[int, Mapping[str, object]]]) -> Page:
    """A page that tells a status and an object, found out anew each time."""

    async def page(_: Call) -> Reply:
        status, content = told()
        return said(status, json.dumps(content).encode(), "application/json")

    return page
