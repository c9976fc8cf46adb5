"""Debian's Chromium, headless, looking at mitmweb: what a person does on the page, and all that the page was told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import openai
from playwright.async_api import Browser, Page, WebSocket, async_playwright, expect
from tests.e2e.clients import client_tls

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CHROMIUM = "/usr/bin/chromium"
# Generous for a slow two-core machine; reaching it is a failure, never a step of a test.
PATIENCE = 30_000


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        await browser.close()


class Desk:
    """A person at mitmweb's page. `told` is everything that the page was sent, `complaints` what its console said."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.told: list[bytes] = []
        self.complaints: list[str] = []
        parts = urlsplit(url)
        self.base = f"{parts.scheme}://{parts.netloc}"
        self.token = parts.query.removeprefix("token=")
        page.set_default_timeout(PATIENCE)
        page.on("websocket", self._listen)
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    def _listen(self, websocket: WebSocket) -> None:
        def note(frame: str | bytes) -> None:
            self.told.append(frame if isinstance(frame, bytes) else frame.encode())

        websocket.on("framereceived", note)

    async def log_in(self) -> None:
        """By the form, with the token."""
        response = await self.page.goto(self.base)
        assert response is not None
        assert response.status == 403
        await self.page.locator("input[name=token]").fill(self.token)
        # That first page is an error by its status, which the console tells.
        self.complaints.clear()
        await self.page.keyboard.press("Enter")
        await expect(self.page.locator(".connection-indicator")).to_have_text("connected")

    async def look(self) -> None:
        """Notes what is to be seen now."""
        self.told.append((await self.page.content()).encode())

    async def tab(self, name: str) -> None:
        """Opens the tab of that name: of a flow, or of the page."""
        await self.page.locator("nav a", has_text=name).last.click()

    async def intercept(self, expression: str) -> None:
        await self.tab("Flow List")
        field = self.page.get_by_placeholder("Intercept")
        await field.fill(expression)
        await field.press("Enter")
        await field.blur()

    async def open(self, text: str) -> None:
        """Opens the one flow in whose row `text` stands."""
        row = self.page.locator("tr.has-request", has_text=text)
        await expect(row).to_have_count(1)
        await row.click()
        await self.tab("Request")

    async def sees(self, *texts: str) -> None:
        """Waits until each of `texts` is shown of the flow that is open."""
        for text in texts:
            await expect(self.page.locator(".flow-detail")).to_contain_text(text, timeout=PATIENCE)
        await self.look()

    async def choose(self, view: str) -> None:
        """Another view of the body that is shown."""
        await self.page.locator(".contentview .controls .btn", has_text="View").click()
        await self.page.locator(".dropdown-menu.show").get_by_text(view, exact=True).click()

    async def press(self, button: str) -> None:
        await self.page.locator("button:not([disabled])", has_text=button).first.click()

    async def write(self, text: str) -> None:
        """Puts `text` in the place of the body that is shown."""
        await self.press("Edit")
        await self.page.locator(".cm-content").click()
        await self.page.keyboard.press("Control+A")
        await self.page.keyboard.insert_text(text)
        await self.press("Done")


async def chat(proxy: str, ca: Path, key: str, content: str, version: str = "http/1.1") -> str:
    """A streamed chat by the official SDK through the proxy; the text of its reply."""
    tls = client_tls(ca, version)
    transport = httpx.AsyncClient(proxy=proxy, verify=tls, http2=version == "h2", trust_env=False)
    async with openai.AsyncOpenAI(api_key=key, max_retries=0, http_client=transport) as client:
        stream = await client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": content}], stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
