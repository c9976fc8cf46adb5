"""The usage report as a page, seen in a browser."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from tests.e2e.browser import PATIENCE, chromium
from tests.ledger.conftest import invented

from interpose.ledger.grouping import Selection, time_zone
from interpose.ledger.record import CALLS, Record, storable
from interpose.ledger.schema import INSERT, open_for_writing
from interpose.ledger.sums import usage
from interpose.reports.usage import Heading, usage_page

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOW = datetime(2026, 11, 26, tzinfo=UTC)
HOSTILE = (
    "<script>document.title = 'owned'</script>",
    '"><img src=https://evil.test/x onerror=alert(1)>',
    "</title></svg><style>*{display:none}</style>",
    "x" * 2048,
    "\x1b[31mred\x07",
    "\u202egnp.exe",
    "مرحبا بالعالم",
    "{{ 7 * 7 }}",
    "]]>&lt;",
    "=cmd|' /C calc'!A0",
)


def calls(kind: str) -> list[Record]:
    chance = random.Random(7)
    if kind == "one":
        return [invented(0, asked_model="gpt-4o", input_tokens=10, output_tokens=3, cost_usd=0.001, duration_ms=8.0)]
    if kind == "hostile":
        return [
            invented(
                place * 3600, provider=name, asked_model=name, client=name, app=name, route=name, input_tokens=10,
                output_tokens=3, cost_usd=20.0 - place, ttft_ms=3.0, duration_ms=8.0, usage_source="provider",
            )
            for place, name in enumerate(HOSTILE)
        ]  # fmt: skip
    if kind == "many":
        return [
            invented(
                chance.randrange(400 * 86400), provider=f"p{place % 3}", asked_model=f"model-{place % 200}",
                client=f"c{place % 600}", input_tokens=100, cache_read_tokens=place % 50, output_tokens=30,
                cost_usd=None if place % 10 == 0 else chance.random(), ttft_ms=chance.randrange(300),
                duration_ms=chance.randrange(5000), outcome=("ok", "ok", "error", "limited", "aborted")[place % 5],
                usage_source=("provider", "estimated")[place % 7 == 0],
            )
            for place in range(2000)
        ]  # fmt: skip
    return []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger and its page of each kind."""
    folder = tmp_path_factory.mktemp("usage-page")
    for kind in ("many", "hostile", "one", "empty"):
        with closing(open_for_writing(folder / f"{kind}.db")) as connection:
            rows = [
                CALLS.seal(storable(call), writer="w", seq=seq, prev_hash="") for seq, call in enumerate(calls(kind), 1)
            ]
            connection.executemany(INSERT["calls"], rows)
        (folder / f"{kind}.html").write_text(page_of(folder / f"{kind}.db"), "utf-8")
    return folder


def page_of(ledger: Path, **asked: Any) -> str:
    only = asked.pop("only", {})
    zone = time_zone(asked.get("timezone", "UTC"))
    return usage_page(ledger, Selection(only=only, zone=zone), Heading(ledger.name, NOW, only=only, **asked))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


class Seen:
    """A page that is open, whom it has asked for anything, and what it has complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    async def holds(self, path: Path, scheme: str, width: int) -> None:
        """What is true of every page."""
        assert self.complaints == []
        assert {url for url in self.asked if not url.startswith("data:")} == {path.as_uri()}
        assert await self.page.title() == "AI usage"
        shade = await self.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert shade == {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 20, 26)"}[scheme]
        assert await self.page.evaluate("document.documentElement.scrollWidth") <= width


async def seen(browser: Browser, path: Path, scheme: Any = "light", width: int = 1440) -> Seen:
    context = await browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    shown = Seen(await context.new_page())
    await shown.page.goto(path.as_uri())
    return shown


@pytest.mark.parametrize("kind", ["many", "hostile", "one", "empty"])
async def test_the_report_is_read_in_a_browser(folder: Path, browser: Browser, kind: str) -> None:
    """400 days and 200 models, hostile names, one call and none: in light and dark, on a desk and on a telephone,
    without a complaint and without asking anybody for anything; of each chart the size that fits.
    """
    for scheme in ("light", "dark"):
        for width in (1440, 390):
            await read(browser, folder / f"{kind}.html", scheme, width)


async def read(browser: Browser, path: Path, scheme: str, width: int) -> None:
    shown = await seen(browser, path, scheme, width)
    await shown.holds(path, scheme, width)
    charts = shown.page.locator(".chart svg")
    visible = [box for box in [await charts.nth(place).bounding_box() for place in range(await charts.count())] if box]
    assert len(visible) == {"many": 5, "hostile": 5, "one": 4, "empty": 0}[path.stem]
    assert all(300 < box["width"] <= width for box in visible)
    if visible:
        # The marks have the page's colours: they come from its style sheet, whose hash is the policy's.
        bar = shown.page.locator(".chart .series-1 rect:visible").first
        fill = await bar.evaluate("element => getComputedStyle(element).fill")
        assert fill == {"light": "rgb(11, 87, 208)", "dark": "rgb(124, 180, 255)"}[scheme]
    else:
        await expect(shown.page.locator("main")).to_contain_text("No calls are recorded in this span")
    await shown.page.context.close()


async def test_the_report_says_what_there_is_and_what_it_lacks(folder: Path, browser: Browser) -> None:
    """The sums of JSON, rankings that are cut where they are long, and what is estimated and has no price."""
    told = usage(folder / "many.db")
    assert told.total is not None
    shown = await seen(browser, folder / "many.html")
    facts = shown.page.locator(".facts")
    await expect(facts).to_contain_text(f"≥ ${told.total.cost_usd:,.2f}")
    await expect(facts).to_contain_text("2\u202f000")
    await expect(facts).to_contain_text("20%")
    main = shown.page.locator("main")
    await expect(main).to_contain_text("200 of 2\u202f000 calls have no known price: the cost is a lower bound")
    await expect(main).to_contain_text("286 of 2\u202f000 calls the provider told no usage")
    await expect(main).to_contain_text("193 others")
    models = shown.page.locator("section", has=shown.page.locator("h2", has_text="Models")).locator("tbody tr")
    assert await models.count() == min(len(told), 500)
    clients = shown.page.locator("section", has=shown.page.locator("h2", has_text="Clients"))
    assert await clients.locator("tbody tr").count() == 500
    await expect(clients).to_contain_text("And 100 more, in interpose usage --by client --format csv")
    await shown.page.context.close()


async def test_tables_are_sorted_by_a_click_and_by_the_keyboard(folder: Path, browser: Browser) -> None:
    """Numbers from the largest, names from the first, and the other way around by another one."""
    shown = await seen(browser, folder / "hostile.html")
    table = shown.page.locator("section", has=shown.page.locator("h2", has_text="Clients")).locator("table")
    costs = table.locator("tbody td:nth-child(8)")

    async def order() -> list[float]:
        return [float(text.removeprefix("$")) for text in await costs.all_inner_texts()]

    head = table.locator("th", has_text="cost")
    await head.locator("button").click()
    assert await order() == sorted(await order(), reverse=True)
    await expect(head).to_have_attribute("aria-sort", "descending")
    await shown.page.keyboard.press("Enter")
    assert await order() == sorted(await order())
    await expect(head).to_have_attribute("aria-sort", "ascending")
    assert shown.complaints == []
    await shown.page.context.close()


async def test_each_chart_has_its_numbers_as_a_table(folder: Path, browser: Browser) -> None:
    """For who cannot see it, and for who wants them exactly."""
    shown = await seen(browser, folder / "one.html")
    for chart in await shown.page.locator(".chart").all():
        title = (await chart.locator("h2").inner_text()).split()[0]
        label = await chart.locator("svg:visible").get_attribute("aria-label")
        assert (label or "").startswith(title)
        await chart.locator("summary").click()
        assert await chart.locator("details tbody tr").count() == 6
    await expect(shown.page.locator(".chart details").first).to_contain_text("$0.0010")
    await shown.page.context.close()


async def test_what_was_asked_stands_on_the_page(folder: Path, browser: Browser) -> None:
    """Its filters, its time zone, and a table of what else it is grouped by."""
    asked = {"only": {"provider": ["p1"]}, "timezone": "Asia/Kolkata", "by": ("outcome", "client")}
    (folder / "asked.html").write_text(page_of(folder / "many.db", **asked), "utf-8")
    shown = await seen(browser, folder / "asked.html")
    main = shown.page.locator("main")
    await expect(main).to_contain_text("Only provider p1.")
    await expect(main).to_contain_text("Asia/Kolkata")
    await expect(shown.page.locator("h2", has_text="By outcome, client")).to_be_visible()
    await expect(shown.page.locator(".facts")).to_contain_text("667")
    await shown.page.context.close()


async def test_the_report_prints(folder: Path, browser: Browser) -> None:
    """On paper: the wide charts, all rows, dark ink on white whatever the screen has."""
    shown = await seen(browser, folder / "many.html", "dark")
    await shown.page.emulate_media(media="print")
    assert await shown.page.locator(".wide svg").first.is_visible()
    assert await shown.page.locator("details").first.is_hidden()
    assert await shown.page.locator(".tall").last.evaluate("box => box.scrollHeight - box.clientHeight") <= 0
    assert await shown.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    panel = await shown.page.locator(".facts").evaluate("box => getComputedStyle(box).backgroundColor")
    assert panel == "rgb(246, 247, 249)"
    assert (await shown.page.pdf())[:5] == b"%PDF-"
    await shown.page.context.close()
