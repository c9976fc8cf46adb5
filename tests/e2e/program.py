"""Programs under the real `interpose run -- CMD`: what a user starts, heard line by line, and the ledger it leaves.

The programs themselves, unmodified clients in scripts that know nothing of a proxy, are in tests/clients/python; they
run in an environment of their own, which scripts/install makes of the group `clients`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.e2e.certificates import Authority
from tests.e2e.proxy import Ledger, Proxy, Row
from tests.e2e.relay import Relay
from tests.e2e.settings import (
    BEDROCK,
    CANARIES,
    COHERE,
    GEMINI,
    MISTRAL,
    OLLAMA_CLOUD,
    OPENAI,
    connect_to,
    rules_text,
)
from tests.e2e.upstream import Upstream

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tests" / "clients" / "python"
CLIENTS = ROOT / ".venv" / "clients" / "bin"
PYTHON = str(CLIENTS / "python")

# Generous for a slow machine; reaching it is a failure.
PATIENCE = 90.0

OLLAMA_HERE = "127.0.0.1:11434"
PLAYED = (OPENAI, GEMINI, BEDROCK, COHERE, MISTRAL, OLLAMA_CLOUD)


def rules(authority: Authority, upstream: Upstream, plain: Upstream | None = None, **sections: object) -> str:
    """Rules without hosts of their own: it is the table of known ones that has to know whom the clients call."""
    dial = connect_to(upstream, PLAYED)
    if plain is not None:
        dial[OLLAMA_HERE] = plain.address
    return rules_text(upstream={"ca": str(authority.pem), "connect_to": dial}, **sections)


def script(name: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a script of tests/clients/python."""
    return (PYTHON, str(SCRIPTS / f"{name}.py"), *arguments)


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended. `lines` are those that had not been read before; `summary` is all that was said on stderr."""

    status: int
    lines: list[str]
    summary: str


class Program:
    """One command under `interpose run`, in `folder`."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        self.folder = folder
        self._process = process
        assert process.stderr is not None
        self._errors = asyncio.create_task(process.stderr.read())

    @classmethod
    async def start(
        cls, folder: Path, rules: str, *command: str, environ: Mapping[str, str] | None = None, feed: bytes = b""
    ) -> Self:
        """Starts `command` under `interpose run`: `environ` beside the bare minimum, `feed` on its standard input."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rules.yaml").write_text(rules)
        interpose = (sys.executable, "-m", "interpose", "run", "--rules", "rules.yaml", "--state", "state", "--")
        return await cls._start(folder, (*interpose, *command), environ, feed)

    @classmethod
    async def start_alone(
        cls, folder: Path, authority: Authority, relay: Relay, *command: str, environ: Mapping[str, str] | None = None
    ) -> Self:
        """Starts `command` without interpose: a relay leads it to the upstream, whose authority it trusts."""
        folder.mkdir(parents=True, exist_ok=True)
        proxies = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), relay.url)
        trust = {name: str(authority.pem) for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")}
        return await cls._start(folder, command, {**proxies, **trust, **(environ or {})}, b"")

    @classmethod
    async def _start(
        cls, folder: Path, command: tuple[str, ...], environ: Mapping[str, str] | None, feed: bytes
    ) -> Self:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=Proxy(folder).environ(environ),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
        program = cls(folder, process)
        assert process.stdin is not None
        process.stdin.write(feed)
        process.stdin.close()
        return program

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await self._errors

    async def line(self) -> str:
        """The next line that it prints. Fails, with what it said on stderr, if it ends instead."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            if raw := await self._process.stdout.readline():
                return raw.decode().rstrip("\n")
            raise AssertionError(f"the program has ended:\n{(await self._errors).decode()}")

    async def read(self, count: int) -> str:
        """Exactly the next `count` bytes that it prints."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return (await self._process.stdout.readexactly(count)).decode()

    async def told(self, name: str) -> Any:
        """The next thing that a script tells, a JSON pair of a name and a value, which must be of that name."""
        line = await self.line()
        found, value = json.loads(line)
        assert found == name, line
        return value

    async def end(self) -> Ended:
        """Waits for its end. No fake secret may stand in what interpose has said or written."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            out = (await self._process.stdout.read()).decode()
            summary = (await self._errors).decode()
            status = await self._process.wait()
        written = {**self.left_behind(), "(stderr)": summary.encode()}
        for name, content in written.items():
            assert not [key for key in CANARIES if key.encode() in content], f"a secret in {name}"
        return Ended(status, out.splitlines(), summary)

    async def succeeds(self) -> Ended:
        """As `end`; the program must exit with 0 and have nothing more to say."""
        ended = await self.end()
        assert (ended.status, ended.lines) == (0, []), ended.summary
        return ended

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder / "state" / "usage.db")

    def calls(self) -> list[Row]:
        """What the ledger holds; to be asked after the end, when all of it is committed."""
        return self.ledger.after()

    def connections(self) -> list[Row]:
        """The connections that the ledger holds, likewise."""
        return self.ledger.opened_after()

    def left_behind(self) -> dict[str, bytes]:
        """The content of every file in its state folder."""
        files = (path for path in sorted((self.folder / "state").rglob("*")) if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}
