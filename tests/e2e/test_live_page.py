"""The live page inside mitmweb, in a real browser: its numbers are the ledger's, its filters filter, it is mitmweb's
own authentication that lets somebody in, and what a client calls itself stays text.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from tests.e2e.browser import PATIENCE, chromium
from tests.e2e.certificates import Authority
from tests.e2e.clients import client_tls
from tests.e2e.conftest import Farm
from tests.e2e.proxy import Ledger, Row
from tests.e2e.settings import (
    ANTHROPIC,
    ENVIRON,
    NARROW,
    OPENAI,
    VIRTUAL,
    connect_to,
    digest,
    real,
    rules_text,
)
from tests.e2e.upstream import Exchange, Upstream
from tests.e2e.webapi import logged_in

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOSTILE = "<img src=x onerror=\"document.title='taken'\">\u202e&amp;"
DOWN = "a-model-that-many-ask-for-is-down-or-answers-with-errors-to-most"
PRICES = {"gpt-5-mini": (3, 12), "claude-x": (4, 20)}


def live_rules(authority: Authority, upstream: Upstream) -> str:
    """Two providers, one of them by conversion; clients with keys; limits of all kinds."""

    def provider(name: str, form: str, url: str) -> dict[str, object]:
        return {"format": form, "base_url": url, "credential": {"env": f"FAKE_{name.upper()}_KEY"}}

    return rules_text(
        providers={
            "openai": provider("openai", "openai", f"https://{OPENAI}/v1"),
            "claude": provider("anthropic", "anthropic", f"https://{ANTHROPIC}"),
        },
        clients={"keys": [{"name": "ci", "sha256": digest(VIRTUAL)}, {"name": "web", "sha256": digest(NARROW)}]},
        routes=[
            {"name": "to-claude", "match": {"model": "gpt-4o"}, "to": {"provider": "claude", "model": "claude-x"}},
            {"name": "as-asked", "match": {"endpoint": "chat"}, "to": {"provider": "openai"}},
        ],
        limits=[
            {"name": "chat", "match": {"client": "web"}, "per": "client", "requests": "3/minute"},
            {"name": "spend", "per": "client", "budget": "$1/day"},
        ],
        alerts=[{"name": DOWN, "when": "error_rate > 5%", "window": "5m", "min_requests": 5, "notify": ["log"]}],
        prices={name: {"input": asked, "output": answered} for name, (asked, answered) in PRICES.items()},
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream, (OPENAI, ANTHROPIC))},
    )


@dataclass(frozen=True, slots=True)
class Served:
    """A proxy with the page: where clients come in, what they trust, the page with its token, the ledger."""

    proxy: str
    ca: Path
    live: str
    web: str
    ledger: Ledger
    rules: Path

    @property
    def base(self) -> str:
        return self.web.partition("/?")[0]


def address(output: str) -> str:
    """The page's address, as it is printed at the start."""
    (line,) = [line for line in output.splitlines() if "live page" in line]
    return line.split()[-1]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def page_of(farm: Farm, authority: Authority, upstream: Upstream) -> Served:
    """One for all tests of this module, which come in their order. (For a mitmweb of one's own see test_mitmweb.)"""
    proxy = await farm.get("live-page", live_rules(authority, upstream), ENVIRON, "--web", "127.0.0.1:0")
    rules = proxy.folder / "rules.yaml"
    return Served(proxy.url, proxy.ca, address(proxy.errors), proxy.web_url, proxy.ledger, rules)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as found:
        yield found


class Reader:
    """Somebody who looks at the page. `complaints` is what the console has said, `asked` every request."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.asked: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    async def sees(self, name: str, value: float) -> None:
        """Waits until that number is exactly this one; how it is written is for people."""
        shown = self.page.locator(f"#{name} data")
        await expect(shown).to_have_js_property("value", str(value) if isinstance(value, int) else shortest(value))

    async def lines(self, by: str) -> dict[str, list[float]]:
        """Each name of a table, with its numbers: cost, calls, failed, tokens in, out."""
        rows = await self.page.locator(f"[data-by={by}] tbody tr").all()
        return {
            await row.locator(".name").inner_text(): [
                float(await each.get_attribute("value") or "nan") for each in await row.locator("data").all()
            ]
            for row in rows
        }


def shortest(value: float) -> str:
    """A number as JavaScript writes it."""
    return str(int(value)) if value.is_integer() else repr(value)


@asynccontextmanager
async def reading(browser: Browser, url: str, **options: Any) -> AsyncIterator[Reader]:
    """A new reader at the page. At the end nothing was wrong with it, and nobody else was asked for anything."""
    context = await browser.new_context(**options)
    reader = Reader(await context.new_page())
    # So that its timers can be let run out at once.
    await reader.page.clock.install()
    await reader.page.goto(url)
    yield reader
    assert reader.complaints == []
    assert {urlsplit(each).netloc for each in reader.asked} == {urlsplit(url).netloc}
    await context.close()


# --- calls ------------------------------------------------------------------------------------------------------------


async def answer(exchange: Exchange) -> None:
    """With usage and what is left of the quota; a failure for whoever asks for one."""
    asked = json.loads(exchange.request.body)
    if asked["model"] == "failing":
        await exchange.json(b'{"error": {"message": "down", "type": "server_error"}}', 500)
        return
    if exchange.request.path == "/v1/messages":
        message = {
            "id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"],
            "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": None,
            "usage": {"input_tokens": 900, "cache_read_input_tokens": 2100, "output_tokens": 70},
        }  # fmt: skip
        await exchange.json(json.dumps(message).encode())
        return
    usage = {"prompt_tokens": 1200, "completion_tokens": 30, "prompt_tokens_details": {"cached_tokens": 1000}}
    told = {"id": "c", "object": "chat.completion", "created": 1, "model": asked["model"], "usage": usage}
    headers = [
        (b"content-type", b"application/json"),
        (b"x-ratelimit-limit-requests", b"100"),
        (b"x-ratelimit-remaining-requests", b"8"),
        (b"x-ratelimit-reset-requests", b"60s"),
    ]
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}
    await exchange.reply(json.dumps({**told, "choices": [choice]}).encode(), 200, headers)


async def ask(served: Served, model: str, key: str = VIRTUAL, times: int = 1) -> list[int]:
    """Chats by a client of its own; their statuses."""
    statuses = []
    async with httpx.AsyncClient(
        proxy=served.proxy, verify=client_tls(served.ca), trust_env=False, timeout=60
    ) as client:
        for _ in range(times):
            reply = await client.post(
                f"https://{OPENAI}/v1/chat/completions",
                headers={"Authorization": f"Bearer {key}"},
                json={"model": model, "messages": [{"role": "user", "content": "Hello"}]},
            )
            statuses.append(reply.status_code)
    return statuses


async def some_calls(served: Served, upstream: Upstream) -> list[Row]:
    """Calls of all outcomes, by two clients, of models with and without a price; their records."""
    mark = served.ledger.mark()
    with upstream.answering(answer):
        assert await ask(served, "gpt-4o", times=2) == [200, 200]
        assert await ask(served, "gpt-5-mini", NARROW, times=4) == [200, 200, 200, 429]
        assert await ask(served, "failing") == [500]
        assert await ask(served, "of-no-price") == [200]
        assert await ask(served, HOSTILE) == [200]
    return await served.ledger.rows(mark, 9)


def added(rows: list[Row], column: str) -> float:
    return sum(row[column] or 0 for row in rows)


async def test_its_numbers_are_those_of_the_ledger(page_of: Served, upstream: Upstream, browser: Browser) -> None:
    """Before the first call it says what to do; then the page, its JSON and the ledger tell the same, and a filter is
    that of the records.
    """
    async with reading(browser, page_of.live, timezone_id="Asia/Kathmandu") as reader:
        page = reader.page
        await expect(page.locator("#empty")).to_contain_text("No AI call has come through yet")
        await expect(page.locator("#empty")).to_contain_text(page_of.proxy)
        assert "token" not in page.url
        rows = await some_calls(page_of, upstream)
        await reader.sees("calls", 9)
        await expect(page.locator("#empty")).to_be_hidden()
        await reader.sees("input", int(added(rows, "input_tokens")))
        await reader.sees("output", int(added(rows, "output_tokens")))
        cost = added(rows, "cost_usd")
        for name in ("now", "today", "run", "total"):
            shown = float(await page.locator(f"#{name} data").get_attribute("value") or "nan")
            assert shown == pytest.approx(cost), name
        await reader.sees("failed", 1)
        await expect(page.locator("#failed-more")).to_have_text("1 failed, 1 refused or limited")
        await expect(page.locator("#input-more")).to_contain_text("from the cache")
        await expect(page.locator("#total-more")).to_have_text("2 calls without a price")
        sent = {row["sent_model"] or row["asked_model"] for row in rows}
        of_models = await reader.lines("model")
        assert len(of_models) == len(sent)
        assert of_models["claude-x"] == [
            pytest.approx(added([row for row in rows if row["sent_model"] == "claude-x"], "cost_usd")), 2, 0, 6000, 140,
        ]  # fmt: skip
        of_clients = await reader.lines("client")
        assert {name: numbers[1] for name, numbers in of_clients.items()} == {"ci": 5, "web": 4}
        await expect(page.locator("#limits")).to_contain_text("3 of 3")
        await expect(page.locator("#limits")).to_contain_text("of $1.00")
        await expect(page.locator("#limits")).to_contain_text("8.0% left")
        await expect(page.locator("#ledger")).to_contain_text("9 calls written")
        await expect(page.locator("#notices")).to_contain_text(
            f"Alert {DOWN}: error_rate is 11.1%, of 9 calls in 5m (error_rate > 5%), since"
        )
        await expect(page.locator("#last tbody tr")).to_have_count(9)
        durations = sorted(row["duration_ms"] for row in rows if row["outcome"] == "ok")
        await reader.sees("p50", durations[-(-len(durations) // 2) - 1])

        # By the keyboard.
        await page.locator("select[name=client]").focus()
        await page.keyboard.type("web")
        await reader.sees("calls", 4)
        assert parse_qs(urlsplit(page.url).query) == {"client": ["web"]}
        web = [row for row in rows if row["client"] == "web"]
        await reader.sees("output", int(added(web, "output_tokens")))
        await expect(page.locator("#last tbody tr")).to_have_count(4)
        # It stands in the address, so that it is there again.
        await page.reload()
        await reader.sees("calls", 4)
        await page.locator("[data-by=model] .name").first.click()
        await reader.sees("calls", 4)
        await page.go_back()
        await page.get_by_role("button", name="All calls").click()
        await reader.sees("calls", 9)
        told = await as_json(page_of, client="ci", span="run")
        ours = [row for row in rows if row["client"] == "ci"]
        assert told["total"]["calls"] == len(ours)
        assert told["total"]["cost_usd"] == pytest.approx(added(ours, "cost_usd"))
        assert {call["id"] for call in told["calls"]} == {row["id"] for row in ours}
        assert {(call["asked_model"], call["model"], call["converted"]) for call in told["calls"]} >= {
            ("gpt-4o", "claude-x", True), (HOSTILE, HOSTILE, False),
        }  # fmt: skip


async def as_json(served: Served, **query: str) -> dict[str, Any]:
    """As a script reads it."""
    async with httpx.AsyncClient(base_url=served.base, trust_env=False) as client:
        token = served.web.rpartition("=")[2]
        reply = await client.get("/interpose.json", params=query, headers={"Authorization": f"Bearer {token}"})
        found: dict[str, Any] = reply.raise_for_status().json()
    return found


async def test_what_a_client_calls_itself_stays_text(page_of: Served, upstream: Upstream, browser: Browser) -> None:
    """In tables, filters and the address; what would turn text around is shown as what it is."""
    async with reading(browser, page_of.live) as reader:
        page = reader.page
        with upstream.answering(answer):
            await ask(page_of, HOSTILE)
        row = page.locator("[data-by=model] tr", has_text="onerror")
        await expect(row.locator(".name")).to_have_text(HOSTILE.replace("\u202e", "\\u{202e}"))
        await row.locator(".name").click()
        await expect(page.locator("select[name=model]")).to_have_class("chosen")
        assert parse_qs(urlsplit(page.url).query)["model"] == [HOSTILE]
        await expect(page.locator("[data-by=model] tbody tr")).to_have_count(1)
        assert await page.locator("img").count() == 0
        assert await page.title() == "interpose, live"
    # A credential of the rules is told by nobody, wherever it stands.
    with upstream.answering(answer):
        await ask(page_of, real("openai"))
    told = await as_json(page_of, model="***")
    assert [call["asked_model"] for call in told["calls"]] == ["***"]
    assert real("openai") not in json.dumps(told)


async def test_it_is_closed_to_strangers(page_of: Served, browser: Browser) -> None:
    """Who has no token gets mitmweb's own form, and gets in by it; another name or the proxy itself is no way."""
    token = page_of.web.rpartition("=")[2]
    async with httpx.AsyncClient(base_url=page_of.base, trust_env=False) as stranger:
        for path in ("/interpose", "/interpose.json"):
            for headers in ({}, {"Authorization": "Bearer 0123456789abcdef0123456789abcdef"}):
                reply = await stranger.get(path, headers=headers)
                assert (reply.status_code, token in reply.text) == (403, False)
            assert (await stranger.post(path, data={"token": token})).status_code in (403, 405)
        form = await stranger.get("/interpose")
        assert form.text.partition("xsrf")[0] == (await stranger.get("/")).text.partition("xsrf")[0]
    async with logged_in(page_of.web) as api:
        assert (await api.client.get("/interpose.json")).status_code == 200
        # The cookie is this name's alone.
        port = page_of.base.rpartition(":")[2]
        with_other_name = httpx.AsyncClient(
            base_url=page_of.base, trust_env=False, headers={"Host": f"evil.test:{port}"}
        )
        async with with_other_name as rebound:
            assert (await rebound.get("/interpose.json")).status_code == 403
        cookies = [cookie for cookie in api.client.cookies.jar if cookie.name.startswith("mitmproxy-auth")]
        assert [cookie.get_nonstandard_attr("SameSite") for cookie in cookies] == ["Strict"]
        page = await api.client.get("/interpose")
        assert "'unsafe-inline'" not in page.headers["content-security-policy"]
        assert (page.headers["x-frame-options"], page.headers["cache-control"]) == ("DENY", "no-store")
        odd = await api.client.get("/interpose.json", params={"span": "a year"})
        assert (odd.status_code, "span" in odd.json()["error"]) == (400, True)
    async with httpx.AsyncClient(proxy=page_of.proxy, trust_env=False) as through:
        reply = await through.get(f"{page_of.base}/interpose.json", headers={"Authorization": f"Bearer {token}"})
        assert reply.status_code in (403, 502)
    context = await browser.new_context()
    tab = await context.new_page()
    tab.set_default_timeout(PATIENCE)
    await tab.goto(f"{page_of.base}/interpose?span=run")
    await tab.locator("input[name=token]").fill(token)
    await tab.keyboard.press("Enter")
    await expect(tab.locator("#state")).to_have_text("Live")
    await expect(tab.locator("[name=span][value=run]")).to_be_checked()
    await context.close()


async def test_a_call_is_seen_while_it_is_under_way(page_of: Served, upstream: Upstream, browser: Browser) -> None:
    """Whose it is, where it goes and how far it is; then among the last calls, and no more where it was."""
    let = asyncio.Event()

    async def later(exchange: Exchange) -> None:
        await let.wait()
        await answer(exchange)

    async with reading(browser, f"{page_of.live}&app=") as nobody, reading(browser, page_of.live) as reader:
        mark = page_of.ledger.mark()
        with upstream.answering(later):
            asking = asyncio.create_task(ask(page_of, "gpt-4o"))
            row = reader.page.locator("#under-way tbody tr")
            await expect(row).to_contain_text("claude by to-claude")
            await expect(row).to_contain_text("waiting")
            await expect(reader.page.locator("#calls-more")).to_have_text("1 under way")
            await expect(nobody.page.locator("#state")).to_have_text("Live")
            await expect(nobody.page.locator("#under-way")).to_be_hidden()
            let.set()
            assert await asking == [200]
        await expect(reader.page.locator("#under-way")).to_be_hidden()
        call = (await page_of.ledger.row(mark))["id"]
        last = reader.page.locator("#last tbody tr").first
        await expect(last).to_have_attribute("data-key", call)
        # Its flow is mitmweb's to show.
        await last.get_by_role("link").click()
        await expect(reader.page.locator(".flow-detail")).to_contain_text(call)


async def test_rules_that_are_stale_are_told(page_of: Served, browser: Browser) -> None:
    """Until the file is repaired."""
    good = page_of.rules.read_text()
    async with reading(browser, page_of.live) as reader:
        notice = reader.page.locator("#notices li", has_text="rules.yaml cannot be used since")
        await expect(reader.page.locator("#state")).to_have_text("Live")
        await expect(notice).to_have_count(0)
        page_of.rules.write_text("version: 7\n")
        await expect(notice).to_be_visible()
        page_of.rules.write_text(good)
        await expect(notice).to_have_count(0)


async def test_a_ledger_that_is_away_is_told(page_of: Served, upstream: Upstream, browser: Browser) -> None:
    """And what becomes of the records meanwhile."""
    async with reading(browser, page_of.live) as reader:
        # The call's, and that of its connection.
        notice = reader.page.locator("#notices li", has_text="takes no records just now: 2 records wait on disk")
        with closing(sqlite3.connect(page_of.ledger.path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with upstream.answering(answer):
                await ask(page_of, "gpt-5-mini")
            await expect(notice).to_be_visible()
            await expect(reader.page.locator("#ledger")).to_contain_text("2 waiting on disk")
            connection.execute("ROLLBACK")
        await expect(notice).to_have_count(0)
        await expect(reader.page.locator("#ledger")).to_contain_text("none waiting, none lost")


async def test_a_page_that_gets_no_answer_says_so(page_of: Served, browser: Browser) -> None:
    """And goes on by itself; one whose session is over says what to do."""
    async with reading(browser, page_of.live) as reader:
        page, state = reader.page, reader.page.locator("#state")
        await expect(state).to_have_text("Live")
        await page.context.set_offline(True)
        await page.clock.fast_forward(2000)
        await expect(state).to_contain_text("No answer since")
        await page.context.set_offline(False)
        await page.clock.fast_forward(30_000)
        await expect(state).to_have_text("Live")
        await page.context.clear_cookies()
        await page.clock.fast_forward(2000)
        await expect(state).to_contain_text("Open the address that it has printed")
        # What the browser itself says of a question without an answer, and of a 403.
        assert all("Failed to load resource" in each for each in reader.complaints)
        reader.complaints.clear()


async def test_nobody_is_asked_while_nobody_looks(page_of: Served, browser: Browser) -> None:
    """A tab that is hidden, and one that is paused, asks for nothing; then it goes on."""
    async with reading(browser, page_of.live) as reader:
        page = reader.page
        await expect(page.locator("#state")).to_have_text("Live")
        await page.get_by_role("button", name="Pause").press("Enter")
        await expect(page.locator("#state")).to_contain_text("Paused")
        await nothing_asked(reader)
        await page.get_by_role("button", name="Pause").press("Enter")
        async with page.expect_response(lambda reply: "interpose.json" in reply.url):
            pass
        await page.evaluate(HIDE, arg=True)
        await nothing_asked(reader)
        async with page.expect_response(lambda reply: "interpose.json" in reply.url):
            await page.evaluate(HIDE, arg=False)


HIDE = """hidden => {
  Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


async def nothing_asked(reader: Reader) -> None:
    """Whatever was asked before has been answered; then ten minutes pass in a moment."""
    await reader.page.wait_for_load_state("networkidle")
    before = len(reader.asked)
    await reader.page.clock.fast_forward(600_000)
    # Requests are told in their order: one of ours comes after any that it has made.
    assert await reader.page.evaluate("fetch('interpose.json?calls=7').then(reply => reply.status)") == 200
    assert [url.rpartition("/")[2] for url in reader.asked[before:]] == ["interpose.json?calls=7"]


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_is_read_on_a_desk_and_on_a_telephone(
    page_of: Served, upstream: Upstream, browser: Browser, scheme: Any, width: int
) -> None:
    """In the light and in the dark; nothing is wider than the screen; who wants no motion gets none."""
    options: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
    with upstream.answering(answer):
        await ask(page_of, HOSTILE)
    async with reading(browser, page_of.live, reduced_motion="reduce", **options) as reader:
        page = reader.page
        await expect(page.locator("#last tbody tr").first).to_be_visible()
        shade = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert shade == {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 20, 26)"}[scheme]
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        assert await page.evaluate("document.getAnimations().length") == 0
