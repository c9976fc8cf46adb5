"""The providers' lists of models: asked for once at a time, remembered, and told still while one is down."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import pytest
from tests.engine.test_engine import JSON, SECRET, Bench, ScriptedReply, ScriptedUpstream

from interpose.call import Call, Entrance, Headers, Origin, Peer, Url, header
from interpose.engine import lists
from interpose.engine.lists import FRESH, KEPT, PAUSE, Lists, Models, Untold
from interpose.formats.modellists.neutral import Model
from interpose.rules.compiled import Clients, Provider, Rules
from interpose.rules.secrets import CredentialSource
from interpose.stages.draft import Ask, Draft, View
from interpose.stages.listing import ask_of
from interpose.upstream.client import Outgoing, UpstreamFailure

THERE = Origin("https", "api.openai.test", 443)
PROVIDER = Provider("openai", "openai", None, THERE, "/v1", CredentialSource("env", ("KEY",)))
LIST = b'{"object": "list", "data": [{"id": "a", "object": "model", "created": 5, "owned_by": "me"}]}'


def get(target: str = "/v1/models", method: str = "GET") -> Call:
    headers: Headers = ((b"authorization", b"Bearer sk-own-fake"),)
    return Call(
        method, Url(Origin("http", "gateway.test", 80), target), headers, b"", Peer("10.0.0.1"), Entrance.GATEWAY
    )


def asking(*providers: Provider, model: str = "") -> list[Ask]:
    draft = Draft(get(), Rules("test"), View(0.0))
    asks = [ask_of(draft, provider, model) for provider in providers or (PROVIDER,)]
    return [ask for ask in asks if ask is not None]


class Shelf:
    """The lists by a clock that is set by hand, and a provider that answers, fails or waits as it is told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lists = Lists(lambda: self.now)
        self.asked = 0
        self.answer: Models | Exception = {"a": Model("a")}
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self, ask: Ask) -> Models:
        self.asked += 1
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def ids(self) -> tuple[list[str], Headers]:
        gathered = await self.lists.gather(asking(), self.fetch)
        return [name for models in gathered.told.values() for name in models], gathered.headers()


@pytest.fixture
async def shelf() -> Shelf:
    return Shelf()


async def test_a_list_holds_for_some_minutes(shelf: Shelf) -> None:
    """Its provider is not asked again before, and is then."""
    for _ in range(3):
        assert await shelf.ids() == (["a"], ())
    assert shelf.asked == 1
    shelf.now, shelf.answer = FRESH + 1, {"b": Model("b")}
    assert await shelf.ids() == (["b"], ())
    assert shelf.asked == 2


async def test_many_who_ask_at_once_wait_for_one_asking(shelf: Shelf) -> None:
    """And one of them who leaves takes nothing from the others."""
    shelf.gate.clear()
    waiting = [asyncio.create_task(shelf.ids()) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    shelf.gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [(["a"], ())] * 4
    assert shelf.asked == 1


async def test_an_old_list_is_told_while_its_provider_is_down(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    """As an old one, asked for again after a pause, and kept for a day; the log says it once, and when it is over."""
    await shelf.ids()
    shelf.now, shelf.answer = FRESH + 1, UpstreamFailure("connect", "cannot connect", reached=False)
    stale: Headers = ((b"x-interpose-stale", b"openai"),)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert await shelf.ids() == (["a"], stale)
        assert shelf.asked == 2
        shelf.now += PAUSE + 1
        assert await shelf.ids() == (["a"], stale)
        assert shelf.asked == 3
        assert [record.message for record in caplog.records] == [
            "the provider openai does not tell its models: cannot connect"
        ]
        shelf.now += PAUSE + 1
        shelf.answer = {"b": Model("b")}
        assert await shelf.ids() == (["b"], ())
        assert caplog.records[-1].message == "the provider openai tells its models again"
    shelf.now, shelf.answer = shelf.now + KEPT + 1, Untold("it answered 500")
    assert await shelf.ids() == ([], ((b"x-interpose-incomplete", b"openai"),))


async def test_a_provider_that_is_silent_is_waited_for_so_long(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list goes on without it."""
    monkeypatch.setattr(lists, "DEADLINE", 0.01)
    shelf.gate.clear()
    assert await shelf.ids() == ([], ((b"x-interpose-incomplete", b"openai"),))


async def test_a_mistake_of_ours_costs_one_providers_list(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    """And is in the log."""
    shelf.answer = KeyError("a mistake")
    assert await shelf.ids() == ([], ((b"x-interpose-incomplete", b"openai"),))
    assert "failed inside interpose" in caplog.text


async def test_a_provider_that_has_changed_is_another_one(shelf: Shelf) -> None:
    """What its old address has told says nothing of the new one."""
    await shelf.ids()
    moved = asking(replace(PROVIDER, origin=Origin("https", "elsewhere.test", 443)))
    await shelf.lists.gather(moved, shelf.fetch)
    assert shelf.asked == 2


async def test_an_end_gives_up_what_is_asked(shelf: Shelf) -> None:
    """Whoever still waits is told what is there."""
    shelf.gate.clear()
    waiting = asyncio.create_task(shelf.ids())
    await asyncio.sleep(0)
    await shelf.lists.close()
    assert await waiting == ([], ((b"x-interpose-incomplete", b"openai"),))


# The engine


class Chosen(ScriptedUpstream):
    """Answers each request by what it is."""

    def __init__(self, answer: Callable[[], ScriptedReply]) -> None:
        super().__init__(answer)
        self.by: Callable[[Outgoing], ScriptedReply] = lambda _: answer()

    async def send(self, request: Outgoing) -> ScriptedReply:
        self.sent.append(request)
        return self.by(request)


def bench(
    answer: Callable[[], ScriptedReply] | None = None,
    provider: Provider = PROVIDER,
    upstream: type[ScriptedUpstream] = Chosen,
) -> Bench:
    rules = Rules("test", providers=MappingProxyType({provider.name: provider}), clients=Clients(required=False))
    return Bench(answer or (lambda: ScriptedReply([LIST])), rules, upstream)


async def body_of(at: Bench, call: Call) -> tuple[int, Headers, bytes]:
    reply = await at.engine.handle(call)
    return reply.status, reply.headers, b"".join([chunk async for chunk in reply.body])


async def ids_of(at: Bench) -> list[str]:
    _, _, body = await body_of(at, get())
    return [each["id"] for each in json.loads(body)["data"]]


async def test_a_list_is_one_record_without_usage() -> None:
    """Whatever was asked for it; and the client's own key goes nowhere."""
    at = bench()
    status, headers, body = await body_of(at, get())
    assert (status, json.loads(body)["data"][0]["id"]) == (200, "a")
    assert header(headers, b"content-length") == str(len(body)).encode()
    (sent,) = at.upstream.sent
    assert header(sent.headers, b"authorization") == f"Bearer {SECRET}".encode()
    assert (at.record.endpoint, at.record.outcome, at.record.status) == ("models", "ok", 200)
    assert (at.record.usage_source, at.record.attempts, at.record.provider) == ("none", "[]", None)
    await at.engine.close()


async def test_head_is_told_the_length_alone() -> None:
    """Of the same list."""
    at = bench()
    (_, got, whole), (_, head, nothing) = await body_of(at, get()), await body_of(at, get(method="HEAD"))
    assert (header(head, b"content-length"), nothing) == (header(got, b"content-length"), b"")
    assert whole


REPLIES: list[tuple[str, Callable[[], ScriptedReply], list[str]]] = [
    ("a bare list", lambda: ScriptedReply([b'[{"id": "b"}]']), ["b"]),
    ("compressed", lambda: ScriptedReply([gzip.compress(LIST)], (*JSON, (b"content-encoding", b"gzip"))), ["a"]),
    ("in pieces", lambda: ScriptedReply([LIST[:9], LIST[9:]]), ["a"]),
    ("an error", lambda: ScriptedReply([b"{}"], status=401), []),
    ("no JSON", lambda: ScriptedReply([b"<html>"]), []),
    ("no list", lambda: ScriptedReply([b'{"data": [{"id": 5}]}']), []),
    ("another thing", lambda: ScriptedReply([b'"models"']), []),
    ("one model", lambda: ScriptedReply([b'{"id": "a"}']), []),
    ("broken coding", lambda: ScriptedReply([LIST], (*JSON, (b"content-encoding", b"gzip"))), []),
    ("broken off", lambda: ScriptedReply([UpstreamFailure("disconnected", "it broke off", reached=True)]), []),
]


@pytest.mark.parametrize(("reply", "expected"), [each[1:] for each in REPLIES], ids=[each[0] for each in REPLIES])
async def test_what_providers_answer(reply: Callable[[], ScriptedReply], expected: list[str]) -> None:
    """What is no list of models is none, and no error of the client's."""
    at = bench(reply)
    assert await ids_of(at) == expected
    assert at.record.outcome == "ok"
    await at.engine.close()


async def test_a_list_without_an_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """No provider fills our memory."""
    monkeypatch.setattr(lists, "MOST_BYTES", 10)
    reply = ScriptedReply([b"x" * 6, b"x" * 6, b"never read"])
    at = bench(lambda: reply)
    assert await ids_of(at) == []
    assert reply.closed


async def test_a_key_that_is_echoed_is_not_told() -> None:
    """It would be every client's."""
    at = bench(lambda: ScriptedReply([b'{"data": [{"id": "a", "owned_by": "%b"}]}' % SECRET.encode()]))
    _, _, body = await body_of(at, get())
    assert SECRET.encode() not in body
    assert json.loads(body)["data"][0]["owned_by"] == "***"


async def test_the_next_key_of_a_pool_is_tried() -> None:
    """Where one is not taken."""
    replies = iter([ScriptedReply([b"{}"], status=401), ScriptedReply([LIST])])
    at = bench(lambda: next(replies), replace(PROVIDER, pool=(CredentialSource("env", ("OTHER",)),)))
    assert await ids_of(at) == ["a"]
    assert len(at.upstream.sent) == 2


async def test_a_name_that_is_in_no_list_is_asked_for_once() -> None:
    """Providers know models by more names than they list; whether there is one is remembered, too."""

    def by(request: Outgoing) -> ScriptedReply:
        name = request.url.path.rpartition("/")[2]
        if name == "models":
            return ScriptedReply([LIST])
        found = b'{"id": "a-2026-01-01", "owned_by": "me"}'
        return ScriptedReply([found]) if name == "a-latest" else ScriptedReply([b"{}"], status=404)

    at = bench()
    assert isinstance(at.upstream, Chosen)
    at.upstream.by = by
    for _ in range(2):
        status, _, body = await body_of(at, get("/v1/models/a-latest"))
        assert (status, json.loads(body)["id"], json.loads(body)["owned_by"]) == (200, "a-latest", "me")
        status, _, body = await body_of(at, get("/v1/models/nobodys"))
        assert (status, json.loads(body)["error"]["code"]) == (404, "model_not_found")
    assert [request.url.path for request in at.upstream.sent] == [
        "/v1/models",
        "/v1/models/a-latest",
        "/v1/models/nobodys",
    ]
    assert [record.outcome for record in at.records] == ["ok", "refused"] * 2


async def test_a_client_that_leaves_is_recorded_and_the_list_is_not_lost() -> None:
    """The next one finds it."""
    gate = asyncio.Event()

    class Slow(Chosen):
        async def send(self, request: Outgoing) -> ScriptedReply:
            self.sent.append(request)
            await gate.wait()
            return ScriptedReply([LIST])

    at = bench(upstream=Slow)
    leaving = asyncio.create_task(at.engine.handle(get()))
    while not at.upstream.sent:
        await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert at.record.outcome == "aborted"
    gate.set()
    at.records.clear()
    assert await ids_of(at) == ["a"]
    assert len(at.upstream.sent) == 1
    await at.engine.close()
