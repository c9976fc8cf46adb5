"""mitmweb in a real browser, and its API: AI calls are seen, edited, replayed and killed, and no key is on any page.

Everything is done in both ways to have it: `interpose run --web`, and stock `mitmweb -s addons/intercept.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest
import pytest_asyncio
from playwright.async_api import expect
from tests.e2e.browser import Desk, chat, chromium
from tests.e2e.certificates import Authority
from tests.e2e.clients import client_tls
from tests.e2e.conftest import Farm
from tests.e2e.mitmtools import running
from tests.e2e.proxy import Ledger
from tests.e2e.settings import ENVIRON, OWN, PLACEHOLDER, acting_rules, real
from tests.e2e.upstream import Exchange, Upstream
from tests.e2e.webapi import WebApi, logged_in

pytestmark = pytest.mark.asyncio(loop_scope="session")

REAL = b"Bearer " + real("openai").encode()


@dataclass(frozen=True, slots=True)
class Way:
    """A proxy with a page: where clients come in, what they trust, where the page is, where everything is written."""

    name: str
    proxy: str
    ca: Path
    web: str
    ledger: Ledger
    folder: Path


@pytest_asyncio.fixture(params=["interpose run --web", "mitmweb -s"], loop_scope="session")
async def way(
    request: pytest.FixtureRequest,
    farm: Farm,
    bare: Path,
    tmp_path: Path,
    authority: Authority,
    dial: dict[str, str],
) -> AsyncIterator[Way]:
    rules = acting_rules(authority, dial)
    if request.param == "mitmweb -s":
        async with running(bare, tmp_path, "intercept.py", program="mitmweb", rules=rules) as tool:
            yield Way(request.param, tool.url, tool.ca, tool.web_url, tool.ledger, tool.folder)
        return
    proxy = await farm.launch("web", rules, ENVIRON, "--web", "127.0.0.1:0")
    yield Way(request.param, proxy.url, proxy.ca, proxy.web_url, proxy.ledger, proxy.folder)
    assert await proxy.stop() == 0, proxy.errors


def event(text: str) -> bytes:
    chunk = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o",
        "choices": [{"index": 0, "delta": {"content": text}}],
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


async def talk(exchange: Exchange) -> None:
    """Says back in words what was asked, and the credential that came with it: the worst that a provider may do."""
    asked = json.loads(exchange.request.body)["messages"][0]["content"]
    await exchange.stream("text/event-stream")
    await exchange.chunk(event("You said: "))
    if asked == "at length":
        for _ in range(100):
            await exchange.chunk(event("word " * 10_000))
    await exchange.chunk(event(asked))
    await exchange.chunk(b": " + exchange.request.values("authorization")[0] + b"\n\n")
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end()


async def test_a_streamed_call_is_seen_edited_and_replayed(way: Way, upstream: Upstream) -> None:
    """By a person in a browser, who never sees a credential, nor does anything that the page is told."""
    async with chromium() as browser:
        desk = Desk(await browser.new_page(), way.web)
        await desk.log_in()
        if way.name == "interpose run --web":
            await expect(browser.contexts[0].pages[0].locator("footer")).to_contain_text(way.proxy.rpartition("/")[2])
        mark = way.ledger.mark()
        with upstream.answering(talk):
            # Seen.
            assert await chat(way.proxy, way.ca, PLACEHOLDER, "guten Tag") == "You said: guten Tag"
            await desk.open("https://api.openai.com/v1/chat/completions")
            await desk.sees(PLACEHOLDER, "guten Tag")
            await desk.tab("Response")
            # What was said in one piece; the events are there, too. The key that was said back is masked.
            await desk.sees("text/event-stream", "You said: guten Tag")
            await desk.choose("raw")
            await desk.sees('{"content": "guten Tag"}', "[DONE]", "***")
            assert upstream.request.values("authorization") == [REAL]
            await desk.press("Delete")

            # Edited on its way out.
            await desk.intercept("~u chat & ~q")
            asking = asyncio.create_task(chat(way.proxy, way.ca, PLACEHOLDER, "a typo"))
            await desk.open("chat/completions")
            await desk.sees("a typo")
            assert len(upstream.requests) == 1
            edited = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "no typo"}]}
            await desk.write(json.dumps(edited))
            await desk.sees("no typo")
            await desk.press("Resume")
            assert await asking == "You said: no typo"
            assert json.loads(upstream.requests[1].body) == edited
            assert upstream.requests[1].values("authorization") == [REAL]
            await desk.sees(PLACEHOLDER)
            await desk.tab("Response")
            await desk.sees("no typo")

            # Replayed, by the engine and not by mitmproxy.
            await desk.intercept("")
            await desk.tab("Flow")
            await desk.press("Replay")
            rows = await way.ledger.rows(mark, 3)
            assert len(upstream.requests) == 3
            assert json.loads(upstream.requests[2].body) == edited
            assert upstream.requests[2].values("authorization") == [REAL]
            assert [row["app"] == "replay" for row in rows] == [False, False, True]
            assert [row["outcome"] for row in rows] == ["ok"] * 3
            await desk.sees("no typo")

            # A copy of it, edited and replayed.
            await desk.press("Duplicate")
            await desk.sees("no typo")
            await desk.press("Delete")

            # Larger than what is kept.
            await desk.press("Delete")
            assert len(await chat(way.proxy, way.ca, PLACEHOLDER, "at length")) > 5_000_000
            await desk.open("chat/completions")
            await desk.tab("Comment")
            await desk.sees("shown up to 4,194,304")
        assert desk.complaints == []
        async with logged_in(way.web) as api:
            assert await api.secrets_told({f"the page, {at}": data for at, data in enumerate(desk.told)}) == []
            # The live page has counted what the ledger has.
            rows = await way.ledger.rows(mark, 4)
            live = json.loads(await api.get("/interpose.json?span=run"))
            assert {call["id"] for call in live["calls"]} == {row["id"] for row in rows}
            assert live["run"]["output_tokens"] == sum(row["output_tokens"] for row in rows) > 0
            shown = {call["flow"] for call in live["calls"]}
            assert shown >= {flow["id"] for flow in await api.flows()}
            for command in ("save.har", "save.file"):
                await api.command(command, "@all", str(way.folder / command))
                assert b"api.openai.com" in (way.folder / command).read_bytes()
    for file in way.folder.rglob("*"):
        if file.is_file():
            assert real("openai").encode() not in file.read_bytes(), file


async def test_the_page_is_closed_to_strangers(way: Way) -> None:
    """Without the token, from another site, by another name, or through the proxy itself."""
    base = way.web.partition("/?")[0]
    token = way.web.rpartition("=")[2]
    paths = ("/", "/flows", "/flows/dump", "/events", "/options", "/state", "/updates", "/commands", "/interpose")
    async with httpx.AsyncClient(base_url=base, trust_env=False) as stranger:
        for path in paths:
            for headers in ({}, {"Authorization": "Bearer 0123456789abcdef0123456789abcdef"}):
                response = await stranger.get(path, headers=headers)
                assert response.status_code in (400, 403), (path, response.status_code)
                assert token not in response.text
        port = base.rpartition(":")[2]
        # A name of theirs that points here has no cookie of ours.
        assert (await stranger.get("/flows", headers={"Host": f"evil.test:{port}"})).status_code == 403
    async with logged_in(way.web) as api:
        for headers in ({"Origin": "https://evil.test", "X-XSRFToken": ""}, {"X-XSRFToken": "forged"}):
            forged = await api.client.post("/commands/flow.kill", headers=headers, json={"arguments": ["@all"]})
            assert forged.status_code == 403
        handshake = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Origin": "https://evil.test",
        }
        assert (await api.client.get("/updates", headers=handshake)).status_code == 403
    async with httpx.AsyncClient(proxy=way.proxy, trust_env=False) as through:
        response = await through.get(f"{base}/flows", headers={"Authorization": f"Bearer {token}"})
        assert response.status_code in (403, 502)
        assert response.headers.get("content-type", "") != "application/json; charset=UTF-8"


async def test_a_stream_is_killed_from_the_page(way: Way, upstream: Upstream) -> None:
    """By the page's button or by the command: the upstream is left at once, the client cut off, the ledger told."""

    async def drip(exchange: Exchange) -> None:
        await exchange.stream("text/event-stream")
        await exchange.chunk(event("word"))
        await exchange.gone.wait()

    async with logged_in(way.web) as api:
        for by, version in (("delete", "http/1.1"), ("button", "h2"), ("command", "http/1.1")):
            mark = way.ledger.mark()
            with upstream.answering(drip):
                asking = asyncio.create_task(chat(way.proxy, way.ca, PLACEHOLDER, by, version))
                await upstream.arrived.wait()
                flow = (await api.flows())[-1]
                if by == "button":
                    await api.post(f"/flows/{flow['id']}/kill")
                elif by == "command":
                    await api.command("flow.kill", f"~bq {by}")
                else:
                    (await api.client.delete(f"/flows/{flow['id']}")).raise_for_status()
                async with asyncio.timeout(5):
                    await upstream.connections[-1].gone.wait()
                with pytest.raises((httpx.HTTPError, openai.APIError)):
                    await asking
            row = await way.ledger.row(mark)
            assert row["outcome"] == "aborted"
        mark = way.ledger.mark()
        with upstream.answering(drip):
            await api.post(f"/flows/{flow['id']}/replay")
            await upstream.arrived.wait()
            await api.post(f"/flows/{flow['id']}/kill")
            async with asyncio.timeout(5):
                await upstream.connections[-1].gone.wait()
        row = await way.ledger.row(mark)
        assert (row["outcome"], row["app"]) == ("aborted", "replay")


async def test_an_intercepted_call_is_resumed_or_killed_by_commands(way: Way, upstream: Upstream) -> None:
    """flow.resume lets it go, with what has been edited; flow.kill lets nothing out, and nothing is recorded."""
    async with logged_in(way.web) as api:
        await api.options(intercept="~q & ~u chat")
        with upstream.answering(talk):
            mark = way.ledger.mark()
            asking = asyncio.create_task(chat(way.proxy, way.ca, PLACEHOLDER, "hello"))
            flow = await api.flow(intercepted=True)
            assert upstream.requests == []
            body = json.dumps(
                {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "edited"}], "stream": True}
            )
            await api.edit(flow, request={"content": body})
            await api.command("flow.resume", "@all")
            assert await asking == "You said: edited"
            assert bytes(upstream.request.body) == body.encode()
            assert (await way.ledger.row(mark))["sent_model"] == "gpt-4o-mini"

            asking = asyncio.create_task(chat(way.proxy, way.ca, PLACEHOLDER, "never"))
            flow = await api.flow(intercepted=True)
            await api.command("flow.kill", "~bq never")
            with pytest.raises((httpx.HTTPError, openai.APIError)):
                await asking
            assert len(upstream.requests) == 1

            # Who has gone while a call was held back gets nothing sent in his name.
            mark = way.ledger.mark()
            asking = asyncio.create_task(chat(way.proxy, way.ca, PLACEHOLDER, "gone"))
            flow = await api.flow(intercepted=True)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await way.ledger.connections(mark, 1)
            await api.command("flow.resume", "@all")
            await api.flow(id=flow["id"], intercepted=False)
            assert await chat_after(api, way) == "You said: later"
            assert len(upstream.requests) == 2

            # A reply that is no stream is edited on its way back.
            await api.options(intercept="~s & ~u chat")
            with upstream.answering(whole):
                asking_whole = asyncio.create_task(ask_whole(way))
                flow = await api.flow(intercepted=True)
                await api.edit(flow, response={"content": '{"edited": true}', "code": 203})
                await api.post(f"/flows/{flow['id']}/resume")
                response = await asking_whole
            assert (response.status_code, response.json()) == (203, {"edited": True})
        await api.options(intercept=None)
        assert await api.secrets_told() == []


async def chat_after(api: WebApi, way: Way) -> str:
    """A call that nobody holds back: when it is answered, what was let go before has been, too."""
    await api.options(intercept=None)
    return await chat(way.proxy, way.ca, PLACEHOLDER, "later")


async def whole(exchange: Exchange) -> None:
    await exchange.json(b'{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}')


async def ask_whole(way: Way) -> httpx.Response:
    async with httpx.AsyncClient(proxy=way.proxy, verify=client_tls(way.ca), trust_env=False, timeout=30) as client:
        return await client.post(
            "https://api.openai.com/v1/chat/completions",
            headers={"Authorization": f"Bearer {PLACEHOLDER}"},
            json={"model": "gpt-4o", "messages": []},
        )


async def test_edited_replays_go_nowhere_they_should_not(
    way: Way, upstream: Upstream, stray: Upstream, plain_stray: Upstream
) -> None:
    """A flow that is copied, edited on the page and replayed: to another host, by http://, with an own key."""
    edits: list[dict[str, object]] = [
        {"host": "evil.test"},
        {"host": "evil.test", "scheme": "http", "port": 80},
        {"scheme": "http", "port": 80},
        {"host": "keyless.test"},
        {"port": 8443},
        {"path": "//evil.test/v1/chat/completions"},
    ]
    async with logged_in(way.web) as api:
        for key in (PLACEHOLDER, OWN):
            with upstream.answering(talk):
                await chat(way.proxy, way.ca, key, "hello")
                seen = (await api.flows())[-1]
            for edit in edits:
                mark = way.ledger.mark()
                with upstream.answering(talk), stray.answering(talk), plain_stray.answering(talk):
                    copy = (await api.client.post(f"/flows/{seen['id']}/duplicate")).raise_for_status().text
                    await api.edit({"id": copy}, request=edit)
                    await api.post(f"/flows/{copy}/replay")
                    row = await way.ledger.row(mark)
                    assert row["outcome"] == "refused", edit
                    assert upstream.requests == stray.requests == plain_stray.requests == []
                replayed = await api.flow(id=copy)
                assert replayed["response"]["status_code"] >= 400
        assert await api.secrets_told() == []


async def test_what_was_not_kept_whole_is_not_replayed(way: Way, upstream: Upstream) -> None:
    """Half a request is none; an edited one is whole again."""

    async def read(exchange: Exchange) -> None:
        await exchange.json(b"{}")

    pad = "x" * (9 << 20)
    async with logged_in(way.web) as api:
        with upstream.answering(read):
            async with httpx.AsyncClient(
                proxy=way.proxy, verify=client_tls(way.ca), trust_env=False, timeout=60
            ) as client:
                url, headers = "https://api.openai.com/v1/chat/completions", {"Authorization": f"Bearer {PLACEHOLDER}"}
                response = await client.post(url, headers=headers, json={"model": "gpt-4o", "pad": pad})
            assert response.status_code == 200
            assert len(upstream.request.body) > 9 << 20
            (flow,) = await api.flows()
            assert "shown up to 4,194,304" in flow["comment"]
            await api.post(f"/flows/{flow['id']}/replay")
            replayed = await api.flow(id=flow["id"], is_replay="request", status_code=409)
            assert b"was not kept whole" in await api.content(replayed, "response")
            assert len(upstream.requests) == 1
            await api.edit(flow, request={"content": '{"model": "gpt-4o"}'})
            mark = way.ledger.mark()
            await api.post(f"/flows/{flow['id']}/replay")
            await way.ledger.row(mark)
            assert bytes(upstream.requests[1].body) == b'{"model": "gpt-4o"}'
