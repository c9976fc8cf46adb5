"""`interpose export` over what a real agent has done: one conversation, as the SDK had it, seen in a browser."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from tests.e2e import pages
from tests.e2e.browser import PATIENCE, chromium
from tests.e2e.certificates import Authority
from tests.e2e.clients import client_tls
from tests.e2e.conftest import Farm
from tests.e2e.proxy import Proxy
from tests.e2e.settings import ANTHROPIC, OPENAI, canary, connect_to, rules_text
from tests.e2e.upstream import Upstream
from typer.testing import CliRunner

from interpose.cli.commands import app

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = canary("claude-of-export", "real-")
OWN = canary("own-of-export")
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@dataclass(frozen=True, slots=True)
class Ran:
    """A proxy whose ledger has captured an agent's conversation (`ids`), and one call beside it (`other`)."""

    proxy: Proxy
    ids: list[str]
    other: str

    async def export(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        """What the command says on stdout and stderr."""
        argv = ["export", *arguments, "--state", str(self.proxy.state)]
        done = await asyncio.to_thread(CliRunner().invoke, app, argv)
        assert done.exit_code == status, done.output
        return done.stdout, done.stderr

    def file(self, name: str) -> Path:
        return self.proxy.folder / name


async def agent(client: openai.AsyncOpenAI) -> list[str]:
    """A loop of tools by the SDK: a question, the tool's result, and one more question; the calls' ids."""
    messages: list[Any] = [
        {"role": "system", "content": "You know the **weather**."},
        {"role": "user", "content": "How is it in Paris? <b>Be brief</b>."},
    ]
    ids = []
    for question in (None, None, "Thanks! And who are you?"):
        if question is not None:
            messages.append({"role": "user", "content": question})
        raw = await client.chat.completions.with_raw_response.create(
            model="gpt-4o-mini", messages=messages, tools=[TOOL] if question is None else openai.omit, seed=7
        )
        ids.append(raw.headers["x-interpose-id"])
        message = raw.parse().choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": "15 °C and clear"} for call in message.tool_calls or ()
        ]
    return ids


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ran(farm: Farm, authority: Authority, upstream: Upstream) -> Ran:
    rules = rules_text(
        ledger={"capture": "bodies"},
        providers={
            "claude": {
                "format": "anthropic",
                "base_url": f"https://{ANTHROPIC}",
                "credential": {"env": "FAKE_ANTHROPIC_KEY"},
            }
        },
        routes=[
            {
                "name": "gpt-to-claude",
                "match": {"host": OPENAI, "endpoint": "chat"},
                "to": {"provider": "claude", "model": "claude-sonnet-4-5"},
            }
        ],
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream)},
    )
    proxy = await farm.get("export", rules, {"FAKE_ANTHROPIC_KEY": KEY})
    mark = proxy.ledger.mark()
    transport = httpx.AsyncClient(proxy=proxy.url, verify=client_tls(proxy.ca, "http/1.1"), trust_env=False)
    with upstream.answering(pages.providers):
        async with openai.AsyncOpenAI(api_key=OWN, max_retries=0, http_client=transport) as client:
            ids = await agent(client)
            stream = await client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": "Something else"}], stream=True
            )
            async for _ in stream:
                pass
    rows = await proxy.ledger.rows(mark, 4)
    return Ran(proxy, ids, next(row["id"] for row in rows if row["id"] not in ids))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


async def test_a_call_is_exported_with_its_conversation(ran: Ran) -> None:
    """Whichever of them it is: every call of it and no other, and none of its keys. By the command itself."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "interpose", "export", ran.ids[1], "--state", str(ran.proxy.state)),
        env=ran.proxy.environ(None),
        cwd=ran.proxy.folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, error = await process.communicate()
    name = f"interpose-{ran.ids[1]}.html"
    assert (process.returncode, out) == (0, b"")
    assert re.fullmatch(rf"interpose: {name}: 1 conversation, 3 calls, \d+ kB\n", error.decode())
    html = ran.file(name).read_text()
    assert KEY not in html
    assert OWN not in html
    assert all(f"<td>{number}</td>" in html for number in ran.ids)
    assert "Something else" not in html
    other, _ = await ran.export(ran.ids[0], "-o", "-")
    assert other.count('class="step"') == 3


async def test_the_conversation_is_read_in_a_browser(ran: Ran, browser: Browser) -> None:
    """In the light and in the dark, on a desk and on a telephone: all of it, no host asked, no complaint."""
    file = ran.file("seen.html")
    await ran.export(ran.ids[0], "--output", str(file))
    for scheme, paper in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(15, 20, 26)")):
        for width in (1440, 390):
            context = await browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})  # type: ignore[arg-type]
            page = await context.new_page()
            page.set_default_timeout(PATIENCE)
            asked: list[str] = []
            complaints: list[str] = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.on("console", lambda message, complaints=complaints: complaints.append(message.text))
            page.on("pageerror", lambda error, complaints=complaints: complaints.append(str(error)))
            await page.goto(file.as_uri())
            steps = page.locator("article.step")
            await expect(steps).to_have_count(3)
            await expect(steps.nth(0).locator(".turn.system strong")).to_have_text("weather")
            await expect(steps.nth(0)).to_contain_text("How is it in Paris? <b>Be brief</b>.")
            await expect(steps.nth(0)).to_contain_text("gpt-4o-mini → claude-sonnet-4-5")
            await expect(steps.nth(0)).to_contain_text("gpt-to-claude")
            await expect(steps.nth(0)).to_contain_text("conversion: dropped seed")
            await expect(steps.nth(0).locator(".turn.assistant")).to_contain_text("→ weather #1")
            await expect(steps.nth(1)).to_contain_text("3 turns as before")
            await expect(steps.nth(1).locator(".turn.tool")).to_contain_text("15 °C and clear")
            await expect(steps.nth(1).locator(".turn.assistant")).to_contain_text("In Paris it is 15 °C and clear.")
            await expect(steps.nth(2)).to_contain_text("5 turns as before")
            await expect(steps.nth(2)).to_contain_text("changed tool weather offered")
            assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == paper
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            assert asked == [file.as_uri()]
            assert complaints == []
            await context.close()


async def test_the_page_is_used_by_the_keyboard(ran: Ran, browser: Browser) -> None:
    """What is folded opens, a result leads to its call, and the way past the top is the first stop."""
    file = ran.file("keys.html")
    await ran.export(ran.ids[0], "--output", str(file))
    page = await browser.new_page()
    page.set_default_timeout(PATIENCE)
    await page.goto(file.as_uri())
    await page.keyboard.press("Tab")
    await expect(page.locator("a.skip")).to_be_focused()
    folded = page.locator("article.step").nth(0).locator("details.sent")
    body = folded.locator("details.raw").first
    await expect(body.locator("pre")).not_to_be_visible()
    await folded.locator("summary").first.focus()
    await page.keyboard.press("Enter")
    await body.locator("summary").focus()
    await page.keyboard.press("Enter")
    # What went upstream: another format, another model.
    await expect(body.locator("pre")).to_contain_text('"model": "claude-sonnet-4-5"')
    await page.locator(".tool.result a").focus()
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(r"#c1-call-1$"))
    await page.close()


async def test_a_run_is_exported_with_its_contents(ran: Ran) -> None:
    """The last one, by that name; or the calls since, of one app; and as Markdown on stdout."""
    _, said = await ran.export("--run", "last", "--output", str(ran.file("run.html")))
    assert "run.html: 2 conversations, 4 calls" in said
    html = ran.file("run.html").read_text()
    assert "<h2>Contents</h2>" in html
    out, _ = await ran.export("--since", "1h", "--format", "md", "--output", "-")
    assert "**user**\n\n> Something else" in out
    out, _ = await ran.export(ran.other, "--format", "json", "-o", "-")
    (conversation,) = json.loads(out)["conversations"]
    (call,) = conversation["calls"]
    assert call["answers"][0]["blocks"] == [{"type": "text", "text": "Hello! How can I help you?", "citations": []}]
    assert call["sent"][0]["request"]["url"] == f"https://{ANTHROPIC}/v1/messages"


async def test_a_connection_is_its_calls(ran: Ran) -> None:
    """By its id, with which those of its calls begin."""
    connection = ran.ids[0].rpartition("_")[0]
    _, said = await ran.export(connection, "-o", str(ran.file("connection.html")))
    assert "2 conversations, 4 calls" in said


async def test_a_call_by_itself(ran: Ran) -> None:
    """With its whole history."""
    out, _ = await ran.export(ran.ids[1], "--alone", "--format", "json", "-o", "-")
    (conversation,) = json.loads(out)["conversations"]
    (call,) = conversation["calls"]
    assert [turn["role"] for turn in call["turns"]] == ["system", "user", "assistant", "tool"]


async def test_what_is_not_there_is_told(ran: Ran) -> None:
    """With the nearest that is; and nothing is written."""
    wrong = f"{ran.ids[0][:-1]}{'x' if ran.ids[0][-1] != 'x' else 'y'}"
    for arguments, status, expected in (
        ((wrong,), 1, f"no call has the id '{wrong}', or one that begins so; did you mean "),
        (("--run", "nobody"), 1, "no run of the ledger is called 'nobody'; --run last is the latest"),
        (("--client", "nobody"), 1, "no calls were recorded for that"),
        ((), 2, "what is to be exported?"),
        (("--since", "soon"), 2, "'soon' is no time"),
        ((ran.ids[0], "--format", "pdf"), 2, "--format pdf is not known: there are html, md, json"),
        ((ran.ids[0], "--limit", "much"), 2, "--limit much is no size"),
        (("--from", "missing.har"), 1, "missing.har: No such file or directory"),
    ):
        _, said = await ran.export(*arguments, "--output", str(ran.file("never.html")), status=status)
        assert expected in said
        assert not ran.file("never.html").exists()
    _, said = await ran.export(wrong, status=1)
    assert ran.other in said


async def test_a_file_of_others_is_not_written_over(ran: Ran) -> None:
    """Unless that is what is wanted; one of ours is."""
    file = ran.file("mine.html")
    file.write_text("<html>mine</html>")
    _, said = await ran.export(ran.ids[0], "-o", str(file), status=1)
    assert "mine.html exists, and is no page that interpose has exported: --force writes over it" in said
    assert file.read_text() == "<html>mine</html>"
    await ran.export(ran.ids[0], "-o", str(file), "--force")
    await ran.export(ran.ids[0], "-o", str(file))
    assert file.stat().st_mode & 0o077 == 0
    assert [path.name for path in ran.proxy.folder.iterdir() if path.name.startswith(".mine")] == []


async def test_a_corrupt_capture_is_told_and_the_rest_is_exported(ran: Ran) -> None:
    """In a copy of the ledger, as it may have come from elsewhere."""
    copy = ran.file("copy.db")
    source, target = sqlite3.connect(ran.proxy.state / "usage.db"), sqlite3.connect(copy)
    source.backup(target)
    target.execute("UPDATE captures SET body = x'00' WHERE id = ? AND part = 'answered'", (ran.ids[1],))
    target.commit()
    source.close()
    target.close()
    out, said = await ran.export(ran.ids[0], "--ledger", str(copy), "-o", "-")
    assert re.search(rf"call {ran.ids[1]}, answered: .*shown without it", said)
    assert "Thanks! And who are you?" in out
    assert "shown without it" in out
    target = sqlite3.connect(copy)
    target.execute("DELETE FROM captures")
    target.commit()
    target.close()
    _, said = await ran.export(ran.ids[0], "--ledger", str(copy), status=1)
    assert "that call was not captured" in said
    assert "capture: bodies" in said
