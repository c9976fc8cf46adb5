"""mitmproxy's console in a terminal of 120 by 40: `mitmproxy -s addons/intercept.py`, as one sees and types it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pyte
import pytest
from ptyprocess import PtyProcess
from tests.e2e.certificates import Authority
from tests.e2e.mitmtools import Tool, free_port
from tests.e2e.settings import PLACEHOLDER, acting_rules, real
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

COLUMNS, LINES = 120, 40
EVENTS = [b'data: {"choices": [{"delta": {"content": "one word"}}]}\n\n', b"data: [DONE]\n\n"]


class Terminal:
    """A program in a terminal: what its screen shows, and keys for it. `written` is all that it has drawn."""

    def __init__(self, command: list[str], environ: dict[str, str], folder: Path) -> None:
        self.written = b""
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)
        self._changed = asyncio.Event()
        self.ended = asyncio.Event()
        # It asks the terminal for colours and the like; what is typed back would be taken for keys.
        environ = {**environ, "TERM": "linux", "LANG": "C.UTF-8", "COLORTERM": ""}
        self.process = PtyProcess.spawn(command, env=environ, cwd=str(folder), dimensions=(LINES, COLUMNS))
        asyncio.get_running_loop().add_reader(self.process.fd, self._read)

    def _read(self) -> None:
        try:
            data = self.process.read(65536)
        except EOFError:
            asyncio.get_running_loop().remove_reader(self.process.fd)
            self.ended.set()
        else:
            self.written += data
            self._stream.feed(data)
        self._changed.set()

    @property
    def shown(self) -> str:
        return "\n".join(self._screen.display)

    def type(self, keys: str) -> None:
        self.process.write(keys.encode())

    async def shows(self, pattern: str) -> str:
        """Waits until the screen shows that."""
        try:
            async with asyncio.timeout(30):
                while not re.search(pattern, self.shown):
                    assert not self.ended.is_set(), self.shown
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{pattern} is not shown:\n{self.shown}") from None
        return self.shown


async def stream(exchange: Exchange) -> None:
    await exchange.stream("text/event-stream")
    for each in EVENTS:
        await exchange.chunk(each)
    await exchange.end()


async def fail(exchange: Exchange) -> None:
    await exchange.json(b'{"error": {"message": "no"}}', status=500)


async def test_a_call_is_seen_in_the_console(
    bare: Path, tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream
) -> None:
    """It starts, lists a streamed call and shows what was said and what that was, marks one that fails, holds one back
    and lets it go, forgets the oldest, and quits on q and y.
    """
    tool = Tool(bare, tmp_path, "mitmproxy")
    tool.port = free_port()
    kept = ("--set", "interpose_flows=2")
    command = tool.command("intercept.py", rules=acting_rules(authority, dial), more=kept)
    command[command.index("-p") + 1] = str(tool.port)
    terminal = Terminal(command, tool.environ, tmp_path)
    await terminal.shows("q Quit")
    terminal.type("E")
    await terminal.shows("interpose: ready")
    terminal.type("q")
    body = b'{"model": "gpt-4o", "stream": true, "messages": []}'
    with upstream.answering(stream):
        assert bytes((await tool.ask(PLACEHOLDER, body)).body) == b"".join(EVENTS)
        assert upstream.request.values("authorization") == [b"Bearer " + real("openai").encode()]
        await terminal.shows(r"POST.*(api\.openai\.com|/v1/chat/completions).*200")
        terminal.type("\r")
        await terminal.shows(PLACEHOLDER)
        # Views of ours, as in mitmweb; the comment, and of what is kept with a flow no more than where to see it.
        terminal.type("\t")
        await terminal.shows(r"(?s)Conversation.*── assistant.*one word")
        terminal.type("\t")
        details = await terminal.shows(r"(?s)Comment: +gpt-4o · .*Asked vs sent")
        assert "provider" not in details
        terminal.type("q")

    # What has failed is marked in the list.
    assert "❌" not in terminal.shown
    with upstream.answering(fail):
        await tool.ask(PLACEHOLDER, body)
    await terminal.shows("❌")

    # Held back by a filter; `A` lets go of all that is held.
    with upstream.answering(stream):
        terminal.type(":set intercept ~q\r")
        await terminal.shows(r"\[i:~q\]|Intercept")
        asking = asyncio.create_task(tool.ask(PLACEHOLDER, body))
        await terminal.shows(r"(?s)POST.*POST.*POST")
        assert upstream.requests == []
        terminal.type("A")
        assert (await asking).status == 200
        assert len(upstream.requests) == 1
    # Of three that are over, the latest two are kept.
    await terminal.shows(r"(?s)\A(?!.*POST.*POST.*POST).*POST.*POST")
    terminal.type("q")
    await terminal.shows(r"(?i)quit")
    terminal.type("y")
    async with asyncio.timeout(30):
        await terminal.ended.wait()
    terminal.process.wait()
    assert terminal.process.exitstatus == 0
    assert b"Traceback" not in terminal.written
    assert [row["outcome"] for row in tool.rows()] == ["ok", "error", "ok"]
    tool.output = terminal.written.decode(errors="replace")
    assert tool.secrets_left() == []


async def test_rules_that_are_wrong_end_the_console_with_the_reason(bare: Path, tmp_path: Path) -> None:
    """The screen is given back, and what is wrong stands on it."""
    tool = Tool(bare, tmp_path, "mitmproxy")
    terminal = Terminal(tool.command("intercept.py", rules="version: 1\nproviderss: {}\n"), tool.environ, tmp_path)
    async with asyncio.timeout(30):
        await terminal.ended.wait()
    terminal.process.wait()
    assert terminal.process.exitstatus == 1
    assert "providerss" in terminal.shown
    assert b"Traceback" not in terminal.written
