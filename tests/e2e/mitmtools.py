"""mitmproxy's own programs with a script of ours, as somebody runs them who has a checkout and has installed nothing.

A bare Python environment is made once: it has mitmproxy and what interpose depends on, and not interpose. The programs
are mitmproxy's real ones, with their real options.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import sysconfig
import venv
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from mitmproxy import http  # noqa: TID251 - what the programs have written is read by mitmproxy
from mitmproxy.io import FlowReader  # noqa: TID251 - the same
from tests.e2e.clients import Client, Response, client_tls, request_bytes
from tests.e2e.proxy import Ledger, Row
from tests.e2e.settings import ENVIRON, OPENAI

ADDONS = Path(__file__).parents[2] / "addons"
CHAT = "/v1/chat/completions"
BODY = b'{"model": "gpt-4o", "messages": []}'
READY = "interpose: ready"
START = 60.0


def make_bare(folder: Path) -> Path:
    """A Python that has all that interpose needs, and not interpose itself; the path of its interpreter."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    # Named by a .pth file, a folder is searched, but its own .pth files are not read: an editable installation of
    # interpose is done by one.
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    python = folder / "bin" / "python"
    found = subprocess.run([python, "-c", "import mitmproxy, interpose"], capture_output=True, text=True, check=False)
    assert "No module named 'interpose'" in found.stderr, f"interpose is installed after all: {found.stderr}"
    return python


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class Tool:
    """One run of mitmdump or mitmweb. `output` is all that it has said; `folder` holds its CA and interpose's state.

    `port` is the proxy's; `web_url` is the page of mitmweb, with its token.
    """

    def __init__(self, python: Path, folder: Path, program: str = "mitmdump") -> None:
        self.folder = folder
        self.program = program
        self.output = ""
        self.port = 0
        self.web_url = ""
        self.ready = asyncio.Event()
        self.process: asyncio.subprocess.Process | None = None
        self._python = python

    @property
    def ca(self) -> Path:
        return self.folder / "conf" / "mitmproxy-ca-cert.pem"

    @property
    def saved(self) -> Path:
        return self.folder / "flows"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder / "state" / "usage.db")

    def command(self, *scripts: str, rules: str | None = None, more: tuple[str, ...] = ()) -> list[str]:
        """The command line, its rules written to a file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # The program that is installed beside this very interpreter, run by the bare one.
        command = [str(self._python), str(Path(sys.executable).parent / self.program)]
        for script in scripts:
            command += ["-s", str(ADDONS / script)]
        if rules is not None:
            (self.folder / "rules.yaml").write_text(rules)
            command += ["--set", f"interpose_rules={self.folder / 'rules.yaml'}"]
        command += ["--set", f"interpose_state={self.folder / 'state'}", "--set", f"confdir={self.folder / 'conf'}"]
        if self.program == "mitmdump":
            command += ["-w", str(self.saved)]
        if self.program == "mitmweb":
            command += ["--no-web-open-browser", "--web-port", str(free_port())]
        return [*command, "--listen-host", "127.0.0.1", "-p", "0", *more]

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONUNBUFFERED": "1", **ENVIRON}

    async def start(self, *scripts: str, rules: str | None = None, more: tuple[str, ...] = ()) -> None:
        """Starts it; `ready` is set when the engine is."""
        self.process = await asyncio.create_subprocess_exec(
            *self.command(*scripts, rules=rules, more=more),
            env=self.environ,
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=1 << 20,
        )
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        while line := (await self.process.stdout.readline()).decode():
            self.output += line
            if found := re.search(r"proxy listening at 127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
            if found := re.search(r"Web server listening at (\S+)", line):
                self.web_url = found[1]
            if self.port and READY in self.output and (self.web_url or self.program != "mitmweb"):
                self.ready.set()

    async def wait(self) -> None:
        """Until the engine is ready. Fails if the program ends instead."""
        assert self.process is not None
        waits = [asyncio.create_task(self.ready.wait()), asyncio.create_task(self.process.wait())]
        await asyncio.wait(waits, timeout=START, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        assert self.ready.is_set(), f"{self.program} did not start:\n{self.output}"

    async def end(self, by: signal.Signals | None = signal.SIGTERM) -> int:
        """Ends it, or waits until it ends by itself (`by` None); its exit status."""
        assert self.process is not None
        if by is not None and self.process.returncode is None:
            self.process.send_signal(by)
        async with asyncio.timeout(START):
            status = await self.process.wait()
            await self._reading
        return status

    def rows(self) -> list[Row]:
        """The ledger's calls, once the program has ended."""
        with closing(sqlite3.connect(self.folder / "state" / "usage.db")) as ledger:
            ledger.row_factory = sqlite3.Row
            return [dict(row) for row in ledger.execute("SELECT * FROM calls ORDER BY rowid")]

    def flows(self) -> list[Any]:
        """What mitmdump has written by `-w`, read without any script of ours."""
        with self.saved.open("rb") as file:
            found = list(FlowReader(file).stream())
        assert all(isinstance(flow, http.HTTPFlow) for flow in found)
        return found

    def secrets_left(self) -> list[str]:
        """Which of its files, and of what it has said, hold a credential of the rules."""
        said = {"(output)": self.output.encode()}
        files = {str(path.relative_to(self.folder)): path for path in self.folder.rglob("*") if path.is_file()}
        said |= {name: path.read_bytes() for name, path in files.items()}
        keys = [key.encode() for key in ENVIRON.values()]
        return [f"{name} holds {key!r}" for name, data in said.items() for key in keys if key in data]

    async def ask(self, key: str, body: bytes = BODY, path: str = CHAT, *headers: tuple[str, str]) -> Response:
        """One call to OpenAI by a client of its own."""
        async with await self.client() as client:
            await client.send(request(key, body, path, *headers))
            return await client.response()

    async def client(self) -> Client:
        return await Client.tunnel(("127.0.0.1", self.port), f"{OPENAI}:443", tls=client_tls(self.ca))


def request(key: str, body: bytes = BODY, path: str = CHAT, *headers: tuple[str, str]) -> bytes:
    sent = (("Authorization", f"Bearer {key}"), ("Content-Type", "application/json"), *headers)
    return request_bytes("POST", path, OPENAI, *sent, body=body)


@asynccontextmanager
async def running(
    python: Path,
    folder: Path,
    *scripts: str,
    program: str = "mitmdump",
    rules: str | None = None,
    more: tuple[str, ...] = (),
) -> AsyncIterator[Tool]:
    """A program at work. At its end its status, its words and its files are checked."""
    tool = Tool(python, folder, program)
    await tool.start(*scripts, rules=rules, more=more)
    try:
        await tool.wait()
        yield tool
    finally:
        status = await tool.end()
    assert status == 0, tool.output
    assert "Traceback" not in tool.output, tool.output
    assert tool.secrets_left() == []
