"""The real `interpose` command in a subprocess, and what it leaves behind: its ledger, its messages, its files.

Nothing of the program is imported here: tests see what a user sees.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import re
import signal
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

START = 60.0
STOP = 30.0
COMMIT = 20.0
LISTENING = "interpose: listening on http://"
CATCHING = "interpose: catching what "

# What a failing test shows of each record.
TOLD = ("seq", "started_at", "method", "host", "path", "status", "outcome", "attempts")

Row = dict[str, Any]


class Ledger:
    """Reads the SQLite ledger of a running proxy. A row is a dict by the columns of the table `calls`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _query(self, sql: str, *values: object) -> list[Row]:
        if not self.path.exists():
            return []
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=10)
        try:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql, values)]
        finally:
            connection.close()

    def mark(self) -> str:
        """The time, as the ledger writes it: calls that start after it are those of what happens next."""
        return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def after(self, mark: str = "") -> list[Row]:
        """The committed rows of calls that have started after `mark`, in that order."""
        return self._query("SELECT * FROM calls WHERE started_at >= ? ORDER BY started_at, rowid", mark)

    async def rows(self, mark: str, count: int) -> list[Row]:
        """The `count` rows after `mark`, waiting for their commit. Fails if fewer or more come."""
        try:
            async with asyncio.timeout(COMMIT):
                while len(found := self.after(mark)) < count:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            found = self.after(mark)
        told = [{name: row[name] for name in TOLD} for row in found]
        assert len(found) == count, f"{len(found)} ledger records, not {count}: {json.dumps(told, indent=1)}"
        return found

    def opened_after(self, mark: str = "") -> list[Row]:
        """The committed connections that were opened after `mark`, in that order."""
        return self._query("SELECT * FROM connections WHERE opened_at >= ? ORDER BY opened_at, rowid", mark)

    async def connections(self, mark: str, count: int) -> list[Row]:
        """The `count` connections opened after `mark`, waiting for their end and commit."""
        found: list[Row] = []
        async with asyncio.timeout(COMMIT):
            while len(found) < count:
                await asyncio.sleep(0.02)
                found = self.opened_after(mark)
        assert len(found) == count, found
        return found

    async def row(self, mark: str) -> Row:
        """The one row after `mark`."""
        return (await self.rows(mark, 1))[0]


class Proxy:
    """One `interpose run` process. `errors` is everything it has said on stderr, `state` its state folder."""

    # The command, and what it says once it listens.
    command = "run"
    listening = LISTENING

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.port = 0
        self.ports: list[int] = []
        self.stderr: list[str] = []
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def web_url(self) -> str:
        """The page of mitmweb, with its token."""
        found = re.search(r"^interpose: mitmweb: (http://\S+)$", self.errors, re.MULTILINE)
        assert found, self.errors
        return found[1]

    @property
    def ca(self) -> Path:
        return self.state / "ca" / "interpose-ca-cert.pem"

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.state / "usage.db")

    @property
    def errors(self) -> str:
        return "".join(self.stderr)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self, rules: str | None, environ: Mapping[str, str] | None = None, *more: str) -> Proxy:
        """Starts with `rules` (YAML text; None: no rules file) and `more` arguments; waits until it listens."""
        await self.launch(rules, environ, *more)
        assert self._process is not None
        listening = asyncio.create_task(self._listening.wait())
        ended = asyncio.create_task(self._process.wait())
        done, _ = await asyncio.wait({listening, ended}, timeout=START, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        ended.cancel()
        if listening not in done:
            if self.alive:
                self._process.kill()
            await self._process.wait()
            raise AssertionError(f"the proxy did not start:\n{self.errors}")
        return self

    async def launch(self, rules: str | None, environ: Mapping[str, str] | None = None, *more: str) -> None:
        """Starts without waiting for anything."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "interpose",
            self.command,
            "--listen",
            "127.0.0.1:0",
            "--state",
            str(self.state),
        ]
        if rules is not None:
            file = self.folder / "rules.yaml"
            file.write_text(rules)
            command += ["--rules", str(file)]
        command += more
        self._process = await asyncio.create_subprocess_exec(
            *command,
            env=self.environ(environ),
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read(self._process))

    def environ(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        """A clean environment: nothing of the caller's proxies, keys, CAs or home folder reaches the proxy."""
        kept = {
            name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT") if name in os.environ
        }
        return {**kept, "HOME": str(self.folder), "NO_COLOR": "1", "PYTHONUNBUFFERED": "1", **(extra or {})}

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            text = line.decode("utf-8", "replace")
            self.stderr.append(text)
            if self.listening in text:
                place = text.partition(self.listening)[2].split()[0].partition("/")[0]
                self.ports.append(int(place.rpartition(":")[2]))
                self.port = self.ports[0]
            if self.listening in text or CATCHING in text:
                self._listening.set()

    async def ended(self) -> int:
        """Waits until the process has ended by itself; its exit status."""
        assert self._process is not None
        assert self._reading is not None
        async with asyncio.timeout(START):
            status = await self._process.wait()
        await self._reading
        return status

    async def stop(self) -> int:
        """SIGTERM, then the exit status; a process that does not end is killed and counts as -9."""
        assert self._process is not None
        assert self._reading is not None
        if self.alive:
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP):
                status = await self._process.wait()
        except TimeoutError:
            self._process.kill()
            status = await self._process.wait()
        await self._reading
        return status

    def left_behind(self) -> dict[str, bytes]:
        """Everything it has written: each file below its folder except the rules, and its stderr."""
        files = {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.name != "rules.yaml"
        }
        return {**files, "(stderr)": self.errors.encode()}


class Gateway(Proxy):
    """One `interpose serve` process, with its workers."""

    command = "serve"
    listening = "interpose: answering at http://"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"
