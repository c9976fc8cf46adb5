"""What mitmweb tells of AI calls: a comment and a marker in its list, and views of ours beside its own.

By `interpose run --web`, and in a stock `mitmweb -s addons/intercept.py`; one process each.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Request, expect
from tests.e2e.browser import Desk, chat, chromium
from tests.e2e.certificates import Authority
from tests.e2e.clients import client_tls
from tests.e2e.conftest import Farm
from tests.e2e.mitmtools import running
from tests.e2e.proxy import Ledger
from tests.e2e.settings import ANTHROPIC, ENVIRON, OPENAI, PLACEHOLDER, connect_to, real, rules_text
from tests.e2e.upstream import Exchange, Upstream
from tests.e2e.webapi import WebApi, logged_in

pytestmark = pytest.mark.asyncio(loop_scope="session")

SAYS = "Because they must not be late."
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


@dataclass(frozen=True, slots=True)
class Way:
    """A proxy with a page: where clients come in, what they trust, where the page is, where everything is written."""

    proxy: str
    ca: Path
    web: str
    ledger: Ledger
    folder: Path

    async def post(self, **body: object) -> httpx.Response:
        """A chat that is no stream."""
        async with httpx.AsyncClient(proxy=self.proxy, verify=client_tls(self.ca), trust_env=False) as client:
            return await client.post(
                f"https://{OPENAI}/v1/chat/completions",
                headers={"Authorization": f"Bearer {PLACEHOLDER}"},
                json={"messages": [{"role": "user", "content": "Why?"}], **body},
            )


def rules(authority: Authority, upstream: Upstream) -> str:
    """GPT's chats go to Claude, `scarce` ones once a minute, `keyless` ones to a provider that has no key."""
    return rules_text(
        providers={
            "openai": {
                "format": "openai",
                "base_url": f"https://{OPENAI}/v1",
                "credential": {"env": "FAKE_OPENAI_KEY"},
            },
            "claude": {
                "format": "anthropic",
                "base_url": f"https://{ANTHROPIC}",
                "credential": {"env": "FAKE_ANTHROPIC_KEY"},
            },
            "keyless": {"format": "openai", "base_url": "https://keyless.test/v1"},
        },
        intercept={"hosts": [OPENAI], "placeholders": [PLACEHOLDER]},
        limits=[{"name": "tight", "match": {"model": "scarce*"}, "per": ["client"], "requests": "1/minute"}],
        routes=[
            {
                "name": "gpt-to-claude",
                "match": {"model": "gpt-4*"},
                "to": {"provider": "claude", "model": "claude-sonnet-4-5"},
            },
            {"name": "nowhere", "match": {"model": "keyless*"}, "to": {"provider": "keyless"}},
        ],
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream, (OPENAI, ANTHROPIC, "keyless.test"))},
    )


@pytest_asyncio.fixture(scope="module", params=["interpose run --web", "mitmweb -s"], loop_scope="session")
async def way(
    request: pytest.FixtureRequest,
    farm: Farm,
    bare: Path,
    tmp_path_factory: pytest.TempPathFactory,
    authority: Authority,
    upstream: Upstream,
) -> AsyncIterator[Way]:
    text = rules(authority, upstream)
    if request.param == "mitmweb -s":
        folder = tmp_path_factory.mktemp("mitmweb-calls")
        async with running(bare, folder, "intercept.py", program="mitmweb", rules=text) as tool:
            yield Way(tool.url, tool.ca, tool.web_url, tool.ledger, tool.folder)
        return
    proxy = await farm.launch("web-calls", text, ENVIRON, "--web", "127.0.0.1:0")
    yield Way(proxy.url, proxy.ca, proxy.web_url, proxy.ledger, proxy.folder)
    assert await proxy.stop() == 0, proxy.errors


@pytest_asyncio.fixture(loop_scope="session")
async def api(way: Way) -> AsyncIterator[WebApi]:
    """The page's API, with an empty list of flows."""
    async with logged_in(way.web) as found:
        await found.post("/clear")
        yield found


async def providers(exchange: Exchange) -> None:
    """Claude, who has most of what he is asked in his cache and says back the key; and an OpenAI that fails."""
    request = exchange.request
    if request.values("host") == [OPENAI.encode()]:
        fails = json.loads(request.body)["model"] == "broken"
        whole = {"id": "c", "object": "chat.completion", "model": "m", "choices": [], "usage": USAGE}
        await exchange.json(
            json.dumps({"error": {"message": "no"}} if fails else whole).encode(), 500 if fails else 200
        )
        return
    key = request.values("x-api-key")[0].decode()
    await exchange.stream("text/event-stream")
    for event in events(key):
        await exchange.chunk(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    await exchange.end()


def events(key: str) -> list[dict[str, Any]]:
    """https://docs.anthropic.com/en/docs/build-with-claude/streaming"""
    usage = {"input_tokens": 3000, "cache_read_input_tokens": 9000, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": []}
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
            for piece in (SAYS[:10], SAYS[10:], f" Your key is {key}.")
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 800}},
        {"type": "message_stop"},
    ]


SUMMARY = "claude-sonnet-4-5 · 12k in (9k cached) · 0.8k out · $0.024 · gpt-to-claude"


async def view(api: WebApi, flow: dict[str, Any], part: str, name: str) -> str:
    found = json.loads(await api.get(f"/flows/{flow['id']}/{part}/content/{quote(name, safe='')}.json"))
    assert isinstance(found["text"], str)
    return found["text"]


async def test_each_call_says_what_it_was(way: Way, api: WebApi, upstream: Upstream) -> None:
    """In its comment, and by a marker where it was converted, limited, refused or failed."""
    with upstream.answering(providers):
        assert SAYS in await chat(way.proxy, way.ca, PLACEHOLDER, "Why do clocks hurry?")
        for model in ("scarce", "scarce", "keyless", "broken"):
            await way.post(model=model)
    # The first prices may come after the calls.
    await api.flow(comment=SUMMARY)
    told = [(flow["marked"], flow["comment"]) for flow in await api.flows()]
    assert told == [
        ("\N{TWISTED RIGHTWARDS ARROWS}", SUMMARY),
        ("", "scarce · 5 in · 2 out"),
        ("\N{HOURGLASS WITH FLOWING SAND}", "limited · scarce"),
        ("\N{NO ENTRY}", "refused · keyless · nowhere"),
        ("\N{CROSS MARK}", "error 500 · broken"),
    ]
    options = json.loads(await api.get("/options"))
    assert options["web_columns"]["value"][-1] == "comment"


async def test_what_a_person_has_said_stays(way: Way, api: WebApi, upstream: Upstream) -> None:
    """A comment and a mark of theirs, when the call is made again; where they have none, ours is the latest."""
    with upstream.answering(providers):
        await way.post(model="broken")
        flow = await api.flow(comment="error 500 · broken")
        await api.edit(flow, comment="look at this", marked=":red_circle:")
        copy = (await api.client.post(f"/flows/{flow['id']}/duplicate")).raise_for_status().text
        await api.edit({"id": copy}, comment="", marked="")
        for each in (flow["id"], copy):
            mark = way.ledger.mark()
            await api.post(f"/flows/{each}/replay")
            await way.ledger.row(mark)
        assert (await api.flow(id=copy, comment="error 500 · broken"))["marked"] == "\N{CROSS MARK}"
        kept = await api.flow(id=flow["id"])
    assert (kept["comment"], kept["marked"]) == ("look at this", "\N{LARGE RED CIRCLE}")


async def test_the_views_survive_being_saved_and_hold_no_secret(way: Way, api: WebApi, upstream: Upstream) -> None:
    """What is loaded again still tells what it cost and what was changed; keys are in no file, page or view."""
    with upstream.answering(providers):
        await chat(way.proxy, way.ca, PLACEHOLDER, "Why do clocks hurry?")
    await api.flow(comment=SUMMARY)
    saved = await api.get("/flows/dump")
    (await api.client.post("/flows/dump", content=saved)).raise_for_status()
    flow = await api.flow(comment=SUMMARY)
    usage = await view(api, flow, "request", "Usage & cost")
    for expected in ("gpt-4o → claude-sonnet-4-5", "12,000", "75%", "$0.023700", "gpt-to-claude"):
        assert expected in usage, usage
    asked = await view(api, flow, "request", "Asked vs sent")
    for expected in ("- authorization: ***", "+ x-api-key: ***", '+   "model": "claude-sonnet-4-5"', "Losses"):
        assert expected in asked, asked
    answered = await view(api, flow, "response", "Asked vs sent")
    for expected in ("- received  200", "+ answered  200 OK", "+ x-interpose-route: gpt-to-claude"):
        assert expected in answered, answered
    told = {"dump": saved, "usage": usage.encode(), "asked": asked.encode(), "answered": answered.encode()}
    assert await api.secrets_told(told) == []
    for command in ("save.har", "save.file"):
        await api.command(command, "@all", str(way.folder / f"calls.{command}"))
        assert real("anthropic").encode() not in (way.folder / f"calls.{command}").read_bytes()


async def test_a_person_sees_it_in_the_list_and_chooses_a_view(way: Way, api: WebApi, upstream: Upstream) -> None:
    """In a browser: the comment's column, and the views in the menu; nothing is asked of another host."""
    with upstream.answering(providers):
        await chat(way.proxy, way.ca, PLACEHOLDER, "Why do clocks hurry?")
        for model in ("scarce", "keyless", "broken"):
            await way.post(model=model)
    await api.flow(comment=SUMMARY)
    async with chromium() as browser:
        desk = Desk(await browser.new_page(), way.web)
        elsewhere: list[str] = []

        def note(request: Request) -> None:
            if not request.url.startswith((desk.base, desk.base.replace("http", "ws"), "data:")):
                elsewhere.append(request.url)

        desk.page.on("request", note)
        await desk.log_in()
        await expect(desk.page.locator("td.col-comment").first).to_have_text(SUMMARY)
        await desk.open(SUMMARY)
        await desk.sees("Conversation", "── user ", "Why do clocks hurry?")
        await desk.choose("usage & cost")
        await desk.sees("gpt-4o → claude-sonnet-4-5", "12,000", "$0.023700")
        await desk.choose("asked vs sent")
        await desk.sees("- authorization: ***", "+ x-api-key: ***")
        await desk.choose("json")
        await desk.sees('"stream": true')
        await desk.tab("Response")
        await desk.sees("Conversation", "── assistant · end", SAYS)
        await desk.choose("reassembled")
        await desk.sees('"object": "chat.completion"', SAYS)
        await desk.choose("raw")
        await desk.sees("[DONE]")
        # The comment is not cut off where there is room for it.
        await desk.tab("Flow List")
        await desk.page.keyboard.press("Escape")
        cell = desk.page.locator("td.col-comment").first
        assert await cell.evaluate("cell => cell.scrollWidth <= cell.clientWidth")
        assert desk.complaints == []
        assert elsewhere == []
